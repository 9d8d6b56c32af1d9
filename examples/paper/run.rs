//! One run: a network, trained and tested epoch by epoch on one thread.

use super::common::learn::Course;
use super::experiment::{Experiment, Phase, Settings};
use super::layers::Layer;
use super::networks;
use interneuron::checkpoint;
use interneuron::{Error, Threads, generator};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
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

/// Trains and tests a network; a final one is saved if there is a file to save it to. A loss that is not finite ends the
/// run but is no error. `learnt` is told how many images were learnt; `go_on` is asked after each epoch, and a run that
/// may not go on ends without a record.
pub fn run(
    experiment: &Experiment,
    settings: &Settings,
    save: Option<&Path>,
    learnt: impl Fn(usize),
    go_on: impl Fn(&Epoch) -> ControlFlow<()>,
) -> Result<Option<Record>, Error> {
    let start = Instant::now();
    let kind = networks::find(&settings.network).expect("settings are made of known networks");
    let data = &experiment.stage(settings.phase).data;
    let update = (kind.update)(settings.rate, &experiment.config);
    let mut net = experiment.network(kind, settings)?;
    let mut course = Course::new(&data.train, settings.batch, settings.seed);
    let mut epochs = vec![];
    let (mut train_error, mut diverged) = (None, None);
    let too_far =
        |epoch: usize| Some(format!("after epoch {epoch} at learning rate {} the loss is not finite", settings.rate));
    for epoch in 1..=settings.epochs {
        let (mut sum, mut steps) = (0.0, 0);
        let result = course.epoch(&mut net, Threads::Serial, &update, |step| {
            sum += step.loss;
            steps += 1;
            learnt(step.images);
        });
        match result {
            Ok(()) => {}
            Err(error @ Error::Diverged { .. }) => {
                diverged = Some(error.to_string());
                break;
            }
            Err(error) => return Err(error),
        }
        let test = course.examples.evaluate(&mut net, Threads::Serial, &data.test)?;
        if !test.loss.is_finite() {
            diverged = too_far(epoch);
            break;
        }
        let mut layers = None;
        if experiment.config.record {
            let (x, labels) = course.examples.load(&data.test, 0..data.test.len().min(RECORDED))?;
            let statistics = net.inspect(Threads::Serial, x, labels, &update)?;
            layers = Some(statistics.into_iter().map(Layer::from).collect());
        }
        let epoch = Epoch { epoch, train_loss: sum / f64::from(steps), error: test.error_percent(), layers };
        let stop = go_on(&epoch).is_break();
        epochs.push(epoch);
        if stop {
            return Ok(None);
        }
    }
    if diverged.is_none() {
        let train = course.examples.evaluate(&mut net, Threads::Serial, &data.train)?;
        if train.loss.is_finite() {
            train_error = Some(train.error_percent());
        } else {
            diverged = too_far(settings.epochs);
        }
    }
    if let (Some(path), None, Phase::Final) = (save, &diverged, settings.phase) {
        checkpoint::save(path, &net, &checkpoint::Run { seed: settings.seed, generator: generator(settings.seed) })?;
    }
    let settings = settings.clone();
    Ok(Some(Record { settings, epochs, train_error, diverged, seconds: start.elapsed().as_secs_f64() }))
}
