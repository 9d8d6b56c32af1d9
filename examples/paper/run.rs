//! One run: a network, trained and tested epoch by epoch on one thread.

use super::common::inputs::ASK;
use super::common::learn::{self, Course};
use super::experiment::{Experiment, Settings};
use super::layers::Layer;
use super::networks;
use interneuron::{Error, Network, Schedule, Update, checkpoint};
use interneuron_datasets::{Dataset, TrainTest};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Instant;

/// How many of the last errors count.
const LAST: usize = 5;
/// How many of the first validation or test images layers are recorded on.
const RECORDED: usize = 1000;

/// What became of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub settings: Settings,
    pub epochs: Vec<Epoch>,
    /// On the images that it learnt, at the end, in percent.
    pub train_error: Option<f64>,
    /// Why it ended early.
    pub diverged: Option<String>,
    /// Of the whole run; the only thing that is not the same in each repetition.
    pub seconds: f64,
}

/// An epoch of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Epoch {
    pub epoch: usize,
    /// Mean of the losses of its steps.
    pub train_loss: f64,
    /// At its end, in percent: on the validation images in a trial, on the test images in a final run.
    pub error: f64,
    /// What each layer does then, from the input to the output, if that is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<Layer>>,
}

impl Record {
    /// Mean of the last errors, in percent; without any, none.
    pub fn error(&self) -> Option<f64> {
        let last = &self.epochs[self.epochs.len().saturating_sub(LAST)..];
        let sum: f64 = last.iter().map(|epoch| epoch.error).sum();
        (self.diverged.is_none() && !last.is_empty()).then(|| sum / last.len() as f64)
    }

    /// What trials are compared by: less is better, and to diverge is worst.
    pub fn score(&self) -> f64 {
        self.error().unwrap_or(f64::INFINITY)
    }

    /// Whether it has as many epochs as it should.
    pub fn is_whole(&self) -> bool {
        self.diverged.is_some() || (self.epochs.len() == self.settings.epochs && self.train_error.is_some())
    }
}

/// Why a run ended early.
enum End {
    Diverged(String),
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        match error {
            Error::Diverged { .. } => Self::Diverged(error.to_string()),
            Error::Divisor { .. } => Self::Diverged(format!("{error}. {ASK}")),
            error => Self::Failed(error),
        }
    }
}

/// A run on its way.
struct Learner<'a> {
    experiment: &'a Experiment,
    settings: &'a Settings,
    data: &'a TrainTest,
    net: Network<f32>,
    update: Update,
    schedule: Schedule,
    course: Course<'a>,
}

/// Trains and tests a network; a final one is saved if there is a file to save it to, unless it diverged. A loss or a
/// parameter that is not finite ends the run but is no error. `learnt` gets the number of images that were learnt;
/// `go_on` is asked after each epoch, and a run that may not go on, or is interrupted, ends without a record.
pub fn run(
    experiment: &Experiment,
    settings: &Settings,
    save: Option<&Path>,
    learnt: impl Fn(usize),
    go_on: impl Fn(&Epoch) -> bool,
) -> Result<Option<Record>, Error> {
    let start = Instant::now();
    let mut learner = Learner::new(experiment, settings)?;
    let mut epochs = vec![];
    let (train_error, diverged) = match learner.learn(&mut epochs, learnt, go_on) {
        Ok(None) => return Ok(None),
        Ok(Some(train_error)) => (Some(train_error), None),
        Err(End::Diverged(why)) => (None, Some(why)),
        Err(End::Failed(error)) => return Err(error),
    };
    if let (Some(path), None) = (save, &diverged) {
        let seed = settings.seed;
        let scaler = learner.data.train.images.scaler().cloned();
        checkpoint::save(path, &learner.net, &checkpoint::Run { scaler, ..checkpoint::Run::new(seed) })?;
    }
    let settings = settings.clone();
    Ok(Some(Record { settings, epochs, train_error, diverged, seconds: start.elapsed().as_secs_f64() }))
}

impl<'a> Learner<'a> {
    fn new(experiment: &'a Experiment, settings: &'a Settings) -> Result<Self, Error> {
        let kind = networks::find(&settings.network).expect("settings are made of known networks");
        let data = &experiment.stage(settings.phase).data;
        let course = Course::new(&data.train, settings.batch, settings.last_batch, settings.seed);
        let training = &experiment.config.training;
        Ok(Self {
            experiment,
            settings,
            data,
            net: experiment.network(kind, settings)?,
            update: kind.update_at(settings.rate, &experiment.config),
            schedule: training.schedule(settings.rate, settings.epochs, course.steps())?,
            course,
        })
    }

    /// All epochs, and at last the training error; none if it may not go on.
    fn learn(
        &mut self,
        epochs: &mut Vec<Epoch>,
        learnt: impl Fn(usize),
        go_on: impl Fn(&Epoch) -> bool,
    ) -> Result<Option<f64>, End> {
        for number in 1..=self.settings.epochs {
            let Some(epoch) = self.epoch(number, &learnt)? else { return Ok(None) };
            let stop = !go_on(&epoch);
            epochs.push(epoch);
            if stop {
                return Ok(None);
            }
        }
        Ok(Some(self.error(&self.data.train, self.settings.epochs)?))
    }

    /// One epoch; none if somebody wants the program to end.
    fn epoch(&mut self, number: usize, learnt: &impl Fn(usize)) -> Result<Option<Epoch>, End> {
        let (mut sum, mut steps) = (0.0, 0);
        let flow = self.course.epoch(
            &mut self.net,
            |step| Update { lr: self.schedule.rate(step), ..self.update },
            |step| {
                sum += step.loss;
                steps += 1;
                learnt(step.images);
            },
        )?;
        if flow.is_break() {
            return Ok(None);
        }
        let error = self.error(&self.data.test, number)?;
        let layers = if self.experiment.config.record { Some(self.layers()?) } else { None };
        Ok(Some(Epoch { epoch: number, train_loss: sum / f64::from(steps), error, layers }))
    }

    /// The error on a set after so many epochs, in percent.
    fn error(&mut self, data: &Dataset, epoch: usize) -> Result<f64, End> {
        let result = self.course.examples.evaluate(&mut self.net, data)?;
        let rate = self.schedule.rate(self.net.steps());
        match learn::diverged(&self.net, result.loss, epoch, rate) {
            Some(why) => Err(End::Diverged(why)),
            None => Ok(result.error_percent()),
        }
    }

    fn layers(&mut self) -> Result<Vec<Layer>, End> {
        let images = 0..self.data.test.len().min(RECORDED);
        let (x, labels) = self.course.examples.load(&self.data.test, images)?;
        let statistics = self.net.inspect(x, labels, &self.update)?;
        Ok(statistics.into_iter().map(Layer::from).collect())
    }
}
