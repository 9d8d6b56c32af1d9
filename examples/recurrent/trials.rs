//! What the networks learn: trials of a task, or rows of images.

use super::args::{Args, TaskName};
use super::common::images::Data;
use super::common::inputs::{Preparation, Remedy, Standardise};
use interneuron::{Generator, generator};
use interneuron_datasets::tasks::{Adding, ContextDecision, DelayedMatch, PerceptualDecision, SongDecision, Task};
use interneuron_datasets::{Loss, SequenceBatch};
use rand::seq::SliceRandom;
use std::error::Error;

/// Drawn images for training and testing.
const DRAWN: (usize, usize) = (8_000, 2_000);
/// Trials of a test.
const TESTED: usize = 1_000;
/// Sequences that are tested together.
const TOGETHER: usize = 500;

/// Where sequences come from.
pub struct Trials {
    source: Source,
    seed: u64,
    batch: usize,
    /// Of an epoch.
    updates: usize,
    pub inputs: usize,
    pub outputs: usize,
    pub loss: Loss,
    pub tests: Vec<SequenceBatch>,
}

enum Source {
    Task(Box<dyn Task>),
    Rows(Box<Data>),
}

/// Sequences of training, one batch after the other.
pub struct Course<'a> {
    trials: &'a Trials,
    rng: Generator,
    order: Vec<usize>,
    pub batch: SequenceBatch,
}

impl Trials {
    pub fn new(args: &Args) -> Result<Self, Box<dyn Error>> {
        let dt = args.dt();
        let source: Source = match args.task {
            TaskName::Adding => Source::Task(Box::new(Adding::new(args.steps)?)),
            TaskName::Decision => Source::Task(Box::new(PerceptualDecision::new(dt)?)),
            TaskName::Matching => Source::Task(Box::new(DelayedMatch::new(dt)?)),
            TaskName::Context => Source::Task(Box::new(ContextDecision::new(dt)?)),
            TaskName::Song => Source::Task(Box::new(SongDecision::new(dt)?)),
            TaskName::Rows => {
                let as_they_are = Preparation { standardise: Standardise::No, remedy: Remedy::None };
                Source::Rows(Box::new(Data::load(args.data.as_deref(), DRAWN, args.seed, as_they_are)?))
            }
        };
        if args.data.is_some() && args.task != TaskName::Rows {
            return Err(format!("--data goes with --task rows, not with {}", args.task.name()).into());
        }
        let (inputs, outputs, loss) = match &source {
            Source::Task(task) => (task.inputs(), task.outputs(), task.loss()),
            Source::Rows(data) => (data.sets.train.images.width, data.classes.outputs(), Loss::Labels),
        };
        let batch = args.batch();
        let updates = match &source {
            Source::Task(_) => args.updates(),
            Source::Rows(data) => {
                let images = data.sets.train.len();
                if batch > images {
                    return Err(format!("--batch is {batch}: expected at most {images}, the training images").into());
                }
                images / batch
            }
        };
        let mut trials = Self { source, seed: args.seed, batch, updates, inputs, outputs, loss, tests: vec![] };
        trials.tests = trials.draw_tests(args)?;
        Ok(trials)
    }

    /// The same for all networks.
    fn draw_tests(&self, args: &Args) -> Result<Vec<SequenceBatch>, Box<dyn Error>> {
        // Not the trials of any training, which have the generators of seeds as they are.
        let mut rng = generator(!self.seed);
        let mut tests = vec![];
        match &self.source {
            Source::Task(task) => {
                // Evidence of one length, so that what differs is its strength.
                let decision = PerceptualDecision::new(args.dt())?.stimulus(500.0)?;
                let tested: &dyn Task = if args.task == TaskName::Decision { &decision } else { &**task };
                for _ in 0..TESTED.div_ceil(TOGETHER) {
                    let mut batch = SequenceBatch::new();
                    batch.draw(tested, TOGETHER, &mut rng)?;
                    tests.push(batch);
                }
            }
            Source::Rows(data) => {
                let all: Vec<usize> = (0..data.sets.test.len()).collect();
                for indices in all.chunks(TOGETHER) {
                    let mut batch = SequenceBatch::new();
                    batch.rows_of(&data.sets.test, indices)?;
                    tests.push(batch);
                }
            }
        }
        Ok(tests)
    }

    /// Updates of an epoch.
    pub fn updates(&self) -> usize {
        self.updates
    }

    /// Training from its beginning.
    pub fn course(&self) -> Course<'_> {
        Course { trials: self, rng: generator(self.seed), order: vec![], batch: SequenceBatch::new() }
    }
}

impl Course<'_> {
    /// The sequences of the next update.
    pub fn next(&mut self) -> Result<(), interneuron::Error> {
        let Self { trials, rng, order, batch } = self;
        match &trials.source {
            Source::Task(task) => batch.draw(&**task, trials.batch, rng),
            Source::Rows(data) => {
                if order.len() < trials.batch {
                    order.clear();
                    order.extend(0..data.sets.train.len());
                    order.shuffle(rng);
                }
                let rest = order.len() - trials.batch;
                batch.rows_of(&data.sets.train, &order[rest..])?;
                order.truncate(rest);
                Ok(())
            }
        }
    }
}
