//! One run: a network, trained and tested epoch by epoch.

use super::args::{Args, Model};
use super::common::images::Data;
use super::common::inputs::ASK;
use super::common::learn::{self, Course};
use super::common::output::note;
use super::common::progress::{Bar, Screen, brief, left};
use super::common::training::Training;
use super::store::{Common, Store, Which};
use interneuron::{Architecture, Context, Error, Isa, Network, Schedule, Threads, Update, checkpoint};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Instant;

/// What all runs have in common.
pub struct Settings {
    pub common: Common,
    models: Vec<Model>,
    dims: Vec<usize>,
    nis: Vec<usize>,
    epochs: usize,
    /// Of each network, in the order of `models`.
    rates: Vec<f64>,
    isa: Isa,
}

/// What became of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    pub model: String,
    pub seed: u64,
    pub lr: f64,
    pub isa: String,
    pub threads: usize,
    pub status: Status,
    /// Where and why it diverged, if it did.
    pub diverged: Option<Diverged>,
    pub epochs: Vec<Epoch>,
    pub step_us_median: f64,
    /// Images learnt in a second, loading included.
    pub images_per_second: f64,
    /// Whether the checkpoints in the folder are of this run.
    #[serde(default)]
    pub checkpoints: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Finished,
    Diverged,
    /// It was interrupted, or goes on.
    Unfinished,
}

/// Where and why a run diverged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Diverged {
    /// The steps taken before.
    pub step: u64,
    pub lr: f64,
    pub why: String,
}

/// An epoch of a run; losses and errors are those at its end, errors in percent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Epoch {
    pub epoch: usize,
    pub train_loss: f64,
    pub train_error: f64,
    pub test_loss: f64,
    pub test_error: f64,
    /// Time of training in this epoch, without the evaluation.
    pub seconds: f64,
}

impl Settings {
    pub fn new(args: &Args, isa: Isa, data: &Data) -> Result<Self, Box<dyn std::error::Error>> {
        let train = &data.sets.train;
        learn::check_batches([], train.len(), args.batch, args.last_batch)
            .map_err(|expected| format!("--batch is {}: {expected}, the training images", args.batch))?;
        let Args { epochs, batch, seed, last_batch, .. } = *args;
        let rates: Vec<f64> = args.models.iter().map(|&model| args.lr(model)).collect();
        let training = args.training();
        let largest = rates.iter().copied().fold(0.0, f64::max);
        training.check(epochs, largest).map_err(|error| format!("--{error}"))?;
        Ok(Self {
            common: Common {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                data: data.fingerprint.clone(),
                classes: data.classes.found,
                hidden: args.hidden.clone(),
                inhibitory: args.inhibitory,
                batch,
                last_batch,
                seed,
                inputs: args.preparation(),
                schedule_epochs: training.ends().then_some(epochs),
                training,
            },
            models: args.models.clone(),
            dims: [&[train.images.size()][..], &args.hidden, &[data.classes.outputs()]].concat(),
            nis: [vec![args.inhibitory; args.hidden.len()], vec![1]].concat(),
            epochs,
            rates,
            isa,
        })
    }

    /// The largest learning rate of the network at a place of the list.
    pub fn lr(&self, index: usize) -> f64 {
        self.rates[index]
    }

    /// Names the first setting that differs from what was `before`.
    pub fn check_same(&self, before: &Common, data: &Data) -> Result<(), String> {
        if let Some(name) = data.difference(&before.data) {
            return Err(format!("{name} are not those of the runs that are there"));
        }
        let now = &self.common;
        let last_batch = |common: &Common| format!("{:?}", common.last_batch).to_lowercase();
        let fields = |common: &Common| {
            [
                ("version", common.version.clone()),
                ("hidden", format!("{:?}", common.hidden)),
                ("inhibitory", common.inhibitory.to_string()),
                ("batch", common.batch.to_string()),
                ("last-batch", last_batch(common)),
                ("seed", common.seed.to_string()),
                ("standardise", common.inputs.standardise.name().to_owned()),
                ("remedy", common.inputs.remedy.name().to_owned()),
            ]
            .into_iter()
            .chain(fields_of(&common.training))
            // A schedule that ends is another one if it ends elsewhere.
            .chain(common.schedule_epochs.map(|epochs| ("epochs", epochs.to_string())))
        };
        match fields(now).zip(fields(before)).find(|(now, before)| now != before) {
            Some(((name, now), (_, before))) => Err(format!("{name} is {now}: expected {before}")),
            None => Ok(()),
        }
    }

    fn network(&self, model: Model, context: &Context) -> Result<Network<f32>, Error> {
        let architecture = match model {
            Model::Mlp => Architecture::mlp(&self.dims)?,
            Model::Dann | Model::DannNc => {
                self.common.inputs.first_layer(Architecture::dann(&self.dims, &self.nis)?)?
            }
        };
        architecture.seed(self.common.seed).build(context)
    }

    fn update(&self, model: Model, lr: f64) -> Update {
        self.common.training.update(match model {
            Model::Mlp | Model::DannNc => Update::sgd(lr),
            Model::Dann => Update::csgd(lr),
        })
    }
}

/// The options that a training is made of, with their values.
fn fields_of(training: &Training) -> [(&'static str, String); 8] {
    let Training { optimiser, momentum, weight_decay, clip, schedule, warmup, step_every, step_factor } = training;
    [
        ("optimiser", optimiser.name().to_owned()),
        ("momentum", momentum.to_string()),
        ("weight-decay", weight_decay.to_string()),
        ("clip", clip.to_string()),
        ("schedule", schedule.name().to_owned()),
        ("warmup", warmup.to_string()),
        ("step-every", step_every.to_string()),
        ("step-factor", step_factor.to_string()),
    ]
}

impl Diverged {
    fn new(net: &Network<f32>, lr: f64, why: String) -> Self {
        Self { step: net.steps(), lr, why }
    }
}

/// A run on its way.
struct Learner<'a> {
    model: Model,
    index: usize,
    settings: &'a Settings,
    data: &'a Data,
    screen: &'a Screen,
    net: Network<f32>,
    course: Course<'a>,
    schedule: Schedule,
    run: Run,
    step_us: Vec<f64>,
}

/// Trains a network, or what is left of it to do, and keeps its run in the store. A loss that is not finite ends the
/// run but is no error.
pub fn train(
    model: Model,
    index: usize,
    settings: &Settings,
    data: &Data,
    threads: &Threads,
    screen: &Screen,
    store: &mut Store,
) -> Result<(), Error> {
    let done = |run: &Run| run.status == Status::Diverged || run.epochs.len() == settings.epochs;
    if store.run(index).is_some_and(done) {
        screen.note(format_args!("{model}: finished before"));
        return Ok(());
    }
    let mut learner = Learner::new(model, index, settings, data, threads, screen)?;
    if let Some(before) = store.run(index) {
        let last = before.checkpoints.then(|| store.checkpoint_path(&settings.models, index, Which::Last));
        learner.go_on(before, last.as_deref())?;
    }
    threads.install(|| learner.learn(store))
}

impl<'a> Learner<'a> {
    fn new(
        model: Model,
        index: usize,
        settings: &'a Settings,
        data: &'a Data,
        threads: &Threads,
        screen: &'a Screen,
    ) -> Result<Self, Error> {
        let Common { batch, last_batch, seed, .. } = settings.common;
        let run = Run {
            model: model.name().to_owned(),
            seed,
            lr: settings.lr(index),
            isa: settings.isa.name().to_owned(),
            threads: threads.count(),
            status: Status::Unfinished,
            diverged: None,
            epochs: vec![],
            step_us_median: 0.0,
            images_per_second: 0.0,
            checkpoints: false,
        };
        let context = Context::from(settings.isa).with_threads(threads.clone());
        let net = settings.network(model, &context)?;
        let course = Course::new(&data.sets.train, batch, last_batch, seed);
        let schedule = settings.common.training.schedule(run.lr, settings.epochs, course.steps())?;
        Ok(Self { model, index, settings, data, screen, net, course, schedule, run, step_us: vec![] })
    }

    /// Goes on where a run was left, if there is a checkpoint of it; says what it does.
    fn go_on(&mut self, before: &Run, checkpoint: Option<&Path>) -> Result<(), Error> {
        let model = self.model;
        match checkpoint.filter(|path| path.exists()).map(|path| self.load(before, path)) {
            Some(Ok(epochs)) => {
                self.run.epochs = before.epochs[..epochs].to_vec();
                self.run.checkpoints = true;
                self.screen.note(format_args!("{model}: goes on after epoch {epochs}"));
                if before.isa != self.run.isa {
                    let (was, is) = (&before.isa, &self.run.isa);
                    self.screen.note(format_args!("{model}: began with {was} and goes on with {is}, to other bits"));
                }
            }
            Some(Err(why)) => self.screen.note(format_args!("{model}: begins again: {why}")),
            None => self.screen.note(format_args!("{model}: begins again: there is no checkpoint of it")),
        }
        Ok(())
    }

    /// Takes over a checkpoint, and tells how many epochs of the run it is after.
    fn load(&mut self, before: &Run, path: &Path) -> Result<usize, String> {
        let (net, run) = checkpoint::load::<f32>(path, self.net.context()).map_err(|error| error.to_string())?;
        let steps = self.course.steps() as u64;
        let epochs = (net.steps() / steps) as usize;
        let mut course = Course::new(
            &self.data.sets.train,
            self.settings.common.batch,
            self.settings.common.last_batch,
            self.settings.common.seed,
        );
        let whole = net.steps().is_multiple_of(steps) && epochs <= before.epochs.len();
        let scaled = self.data.sets.train.images.scaler().is_some();
        if !whole || run.seed != before.seed || run.scaler.is_some() != scaled || !net.shapes().eq(self.net.shapes()) {
            return Err(format!("{} is of another run", path.display()));
        }
        course.skip(epochs);
        if run.generator != *course.generator() {
            return Err(format!("{} is of another order of the images", path.display()));
        }
        (self.net, self.course) = (net, course);
        Ok(epochs)
    }

    /// The epochs that are left. What there is is kept in the store after each.
    fn learn(&mut self, store: &mut Store) -> Result<(), Error> {
        let first = self.run.epochs.len();
        let images = self.data.sets.train.len();
        let template = "{prefix:8} {bar:30} {percent:>3} %  {rate} images  {eta} left  {msg}";
        let bar = self.screen.bar((self.settings.epochs * images) as u64, template, self.model.name());
        bar.advance((first * images) as u64);
        bar.begin();
        let started = Instant::now();
        while self.run.status == Status::Unfinished && self.epoch(&bar)? {
            let epoch = self.run.epochs.last().filter(|_| self.run.diverged.is_none());
            if let Some(epoch) = epoch {
                let (done, all) = (epoch.epoch - first, self.settings.epochs - first);
                self.tell(epoch, &bar, left(started.elapsed(), done as f64, all as f64));
                if done == all {
                    self.run.status = Status::Finished;
                    self.warn_of_divisors();
                }
            }
            self.keep(store);
        }
        if self.run.status == Status::Unfinished {
            self.keep(store);
        }
        bar.keep();
        if let Some(Diverged { why, .. }) = &self.run.diverged {
            self.screen.note(format_args!("{} stopped: {why}", self.model));
        }
        Ok(())
    }

    /// One epoch and its test. False if it was interrupted.
    fn epoch(&mut self, bar: &Bar) -> Result<bool, Error> {
        let start = Instant::now();
        let (model, settings, schedule) = (self.model, self.settings, self.schedule);
        let step_us = &mut self.step_us;
        let result = self.course.epoch(
            &mut self.net,
            |step| settings.update(model, schedule.rate(step)),
            |step| {
                step_us.push(step.time.as_secs_f64() * 1e6);
                bar.advance(step.images as u64);
            },
        );
        let seconds = start.elapsed().as_secs_f64();
        // A step that diverged was not counted.
        let lr = schedule.rate(self.net.steps() + u64::from(result.is_err()));
        match result {
            Ok(flow) if flow.is_break() => return Ok(false),
            Ok(_) => {}
            Err(error @ (Error::Diverged { .. } | Error::Divisor { .. })) => {
                let ask = if matches!(error, Error::Divisor { .. }) { format!(". {ASK}") } else { String::new() };
                self.diverge(Diverged::new(&self.net, lr, format!("{error}{ask}")));
                return Ok(true);
            }
            Err(error) => return Err(error),
        }
        let number = self.run.epochs.len() + 1;
        let train = self.course.examples.evaluate(&mut self.net, &self.data.sets.train)?;
        let test = self.course.examples.evaluate(&mut self.net, &self.data.sets.test)?;
        let why = [train.loss, test.loss].into_iter().find_map(|loss| learn::diverged(&self.net, loss, number, lr));
        if let Some(why) = why {
            self.diverge(Diverged::new(&self.net, lr, why));
            return Ok(true);
        }
        self.run.epochs.push(Epoch {
            epoch: number,
            train_loss: train.loss,
            train_error: train.error_percent(),
            test_loss: test.loss,
            test_error: test.error_percent(),
            seconds,
        });
        Ok(true)
    }

    fn diverge(&mut self, diverged: Diverged) {
        self.run.status = Status::Diverged;
        self.run.diverged = Some(diverged);
    }

    /// Keeps the run and, if that was asked for, the network. The run first: a checkpoint that is older than its run
    /// can be gone on with.
    fn keep(&mut self, store: &mut Store) {
        self.step_us.sort_by(f64::total_cmp);
        self.run.step_us_median = self.step_us.get(self.step_us.len() / 2).copied().unwrap_or_default();
        let seconds: f64 = self.run.epochs.iter().map(|epoch| epoch.seconds).sum();
        let images = self.run.epochs.len() * self.data.sets.train.len();
        self.run.images_per_second = if images > 0 { images as f64 / seconds } else { 0.0 };
        self.run.checkpoints |= store.saves_checkpoints();
        store.keep(self.index, self.run.clone());
        let Some(last) = self.run.epochs.last().filter(|_| self.run.diverged.is_none()) else { return };
        let whole = self.net.steps() == (last.epoch * self.course.steps()) as u64;
        let best = self.run.epochs[..last.epoch - 1].iter().all(|before| last.test_error < before.test_error);
        let run = checkpoint::Run {
            seed: self.run.seed,
            generator: self.course.generator().clone(),
            scaler: self.data.sets.train.images.scaler().cloned(),
        };
        for which in [Which::Best, Which::Last].into_iter().filter(|which| whole && (*which == Which::Last || best)) {
            let path = store.checkpoint(&self.settings.models, self.index, which);
            store.save_checkpoint(path, |path| checkpoint::save(path, &self.net, &run));
        }
    }

    /// Tells how far it is.
    fn tell(&self, epoch: &Epoch, bar: &Bar, left: std::time::Duration) {
        bar.message(|| format!("test error {:.2} %", epoch.test_error));
        if !self.screen.has_bars() {
            let images_per_second = self.data.sets.train.len() as f64 / epoch.seconds;
            note(format_args!(
                "{:8} epoch {:>3}/{}  train loss {:.4}  test error {:5.2} %  {images_per_second:>7.0} images/s  {} left",
                self.model,
                epoch.epoch,
                self.settings.epochs,
                epoch.train_loss,
                epoch.test_error,
                brief(left)
            ));
        }
    }

    /// A step of training refuses divisors below ε. Images that are only tested may make some.
    fn warn_of_divisors(&self) {
        if let Some((layer, smallest)) = self.course.examples.low_divisor {
            self.screen.note(format_args!(
                "warning: {}: divisive inhibition is negative for some test images (smallest γ: {smallest:.3e} in layer \
                 {layer}): what it answers to them is not to be trusted. {ASK}",
                self.model
            ));
        }
    }
}
