//! One run: a network, trained and tested epoch by epoch.

use super::args::{Args, Model};
use super::common::images::classes;
use super::common::learn::{self, Course};
use super::progress::Progress;
use interneuron::data::TrainTest;
use interneuron::{Architecture, Isa, Network, Threads, Update};
use rayon::ThreadPool;
use std::error::Error;
use std::time::Instant;

/// What all runs have in common.
pub struct Settings {
    dims: Vec<usize>,
    nis: Vec<usize>,
    epochs: usize,
    batch: usize,
    lr: Option<f64>,
    seed: u64,
    isa: Isa,
    /// The threads that compute. Runs are to be started inside, so that a step does not have to enter the pool.
    pub threads: ThreadPool,
}

/// What became of a run.
#[derive(serde::Serialize)]
pub struct Run {
    pub model: &'static str,
    pub seed: u64,
    pub lr: f64,
    pub isa: &'static str,
    pub threads: usize,
    pub epochs: Vec<Epoch>,
    pub step_us_median: f64,
    /// Images learnt in a second, loading included.
    #[serde(skip)]
    pub images_per_second: f64,
    /// Why it ended early.
    #[serde(skip)]
    pub diverged: Option<String>,
}

/// An epoch of a run; losses and errors are those at its end, errors in percent.
#[derive(serde::Serialize)]
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
    pub fn new(args: &Args, isa: Isa, data: &TrainTest) -> Result<Self, Box<dyn Error>> {
        let images = data.train.len();
        if args.batch > images {
            return Err(format!("--batch is {}: expected at most {images}, the training images", args.batch).into());
        }
        let dims = [&[data.train.images.size()][..], &args.hidden, &[classes(data)]].concat();
        let nis = [vec![args.inhibitory; args.hidden.len()], vec![1]].concat();
        let threads = match args.threads {
            Some(threads) => threads,
            None => std::thread::available_parallelism()?.get(),
        };
        let threads = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        let Args { epochs, batch, lr, seed, .. } = *args;
        Ok(Self { dims, nis, epochs, batch, lr, seed, isa, threads })
    }
}

/// Trains a network. A loss that is not finite ends the run but is no error.
pub fn train(model: Model, settings: &Settings, data: &TrainTest) -> Result<Run, interneuron::Error> {
    let lr = settings.lr.unwrap_or(model.default_lr());
    let (architecture, update) = match model {
        Model::Mlp => (Architecture::mlp(&settings.dims)?, Update::sgd(lr)),
        Model::Dann => (Architecture::dann(&settings.dims, &settings.nis)?, Update::csgd(lr)),
        Model::DannNc => (Architecture::dann(&settings.dims, &settings.nis)?, Update::sgd(lr)),
    };
    let mut net: Network<f32> = architecture.seed(settings.seed).isa(settings.isa).build()?;
    let threads = Threads::Pool(&settings.threads);

    let mut course = Course::new(&data.train, settings.batch, settings.seed);
    let mut step_us = vec![];
    let (mut epochs, mut seconds, mut diverged) = (vec![], 0.0, None);
    let progress = Progress::new(model, settings.epochs, data.train.len());
    for epoch in 1..=settings.epochs {
        let start = Instant::now();
        let result = course.epoch(&mut net, threads, &update, |step| {
            step_us.push(step.time.as_secs_f64() * 1e6);
            progress.advance(step.images);
        });
        match result {
            Ok(()) => {}
            Err(error @ interneuron::Error::Diverged { .. }) => {
                diverged = Some(error.to_string());
                break;
            }
            Err(error) => return Err(error),
        }
        let epoch_seconds = start.elapsed().as_secs_f64();
        seconds += epoch_seconds;
        let train = course.examples.evaluate(&mut net, threads, &data.train)?;
        let test = course.examples.evaluate(&mut net, threads, &data.test)?;
        diverged = [train.loss, test.loss].into_iter().find_map(|loss| learn::diverged(&net, loss, epoch, lr));
        if diverged.is_some() {
            break;
        }
        let epoch = Epoch {
            epoch,
            train_loss: train.loss,
            train_error: train.error_percent(),
            test_loss: test.loss,
            test_error: test.error_percent(),
            seconds: epoch_seconds,
        };
        progress.epoch(&epoch, data.train.len() as f64 / epoch_seconds);
        epochs.push(epoch);
    }
    progress.finish();
    if let Some(why) = &diverged {
        eprintln!("{model} stopped: {why}");
    }
    let images = epochs.len() * data.train.len();
    step_us.sort_by(f64::total_cmp);
    Ok(Run {
        model: model.name(),
        seed: settings.seed,
        lr,
        isa: settings.isa.name(),
        threads: threads.count(),
        epochs,
        step_us_median: step_us.get(step_us.len() / 2).copied().unwrap_or_default(),
        images_per_second: if images > 0 { images as f64 / seconds } else { 0.0 },
        diverged,
    })
}
