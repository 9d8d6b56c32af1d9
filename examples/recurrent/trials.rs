//! What the networks learn: trials of a task, or rows of images.

use super::args::{Args, TaskName};
use super::common::images::Data;
use super::common::inputs::{Preparation, Remedy, Standardise};
use interneuron::{Generator, generator};
use interneuron_datasets::tasks::{Adding, ContextDecision, DelayedMatch, PerceptualDecision, SongDecision, Task};
use interneuron_datasets::{Axes, Loss, NpzOptions, SequenceBatch, SequenceSet, read_npz};
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
    Own(Box<SequenceSet>),
}

impl Source {
    /// Sequences for training; 0 where they are drawn.
    fn training(&self) -> usize {
        match self {
            Self::Task(_) => 0,
            Self::Rows(data) => data.sets.train.len(),
            Self::Own(set) => set.len() - set.len().div_ceil(5),
        }
    }
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
            TaskName::Own => {
                let data = args.data.as_ref().ok_or("--data is missing: expected an archive (.npz) for --task own")?;
                let axes = if args.steps_first { Axes::StepsFirst } else { Axes::ExamplesFirst };
                let set = read_npz(data, NpzOptions { axes, ..NpzOptions::default() })?;
                if set.len() < 2 {
                    let file = data.display();
                    return Err(
                        format!("--data {file}: one sequence: expected one for training and one for the test").into()
                    );
                }
                Source::Own(Box::new(set))
            }
            TaskName::Rows => {
                let as_they_are = Preparation { standardise: Standardise::No, remedy: Remedy::None };
                Source::Rows(Box::new(Data::load(args.data.as_deref(), DRAWN, args.seed, as_they_are)?))
            }
        };
        if args.data.is_some() && !matches!(args.task, TaskName::Rows | TaskName::Own) {
            return Err(format!("--data goes with --task rows or own, not with {}", args.task.name()).into());
        }
        let (inputs, outputs, loss) = match &source {
            Source::Task(task) => (task.inputs(), task.outputs(), task.loss()),
            Source::Rows(data) => (data.sets.train.images.width, data.classes.outputs(), Loss::Labels),
            Source::Own(set) => (set.inputs(), set.outputs(), set.loss()),
        };
        let batch = args.batch();
        let updates = match &source {
            Source::Task(_) => args.updates(),
            Source::Rows(_) | Source::Own(_) => {
                let there = source.training();
                if batch > there {
                    return Err(
                        format!("--batch is {batch}: expected at most {there}, what there is for training").into()
                    );
                }
                there / batch
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
            Source::Own(set) => {
                let all: Vec<usize> = (self.source.training()..set.len()).collect();
                for indices in all.chunks(TOGETHER) {
                    let mut batch = SequenceBatch::new();
                    batch.gather(set, indices)?;
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
            Source::Rows(_) | Source::Own(_) => {
                if order.len() < trials.batch {
                    order.clear();
                    order.extend(0..trials.source.training());
                    order.shuffle(rng);
                }
                let rest = order.len() - trials.batch;
                match &trials.source {
                    Source::Own(set) => batch.gather(set, &order[rest..])?,
                    Source::Rows(data) => batch.rows_of(&data.sets.train, &order[rest..])?,
                    Source::Task(_) => {}
                }
                order.truncate(rest);
                Ok(())
            }
        }
    }
}
