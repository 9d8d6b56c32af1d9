//! Tasks for recurrent networks, drawn from a seed, one trial a sequence.
//!
//! | task | inputs, outputs | loss |
//! |---|---|---|
//! | [`Adding`] | 2, 1 | squared error at the last step |
//! | [`PerceptualDecision`] | 3, 3 | cross-entropy at all steps |
//! | [`DelayedMatch`] | 3, 3 | cross-entropy at all steps |
//! | [`ContextDecision`] | 7, 3 | cross-entropy at all steps |
//! | [`SongDecision`] | 2, 2 | squared error, but for the stimulus |
//! | [`GradedDecision`] | 2, 2 | squared error, but for the stimulus |
//!
//! The cognitive tasks are those of neurogym, one trial a sequence, where label 0 is "fixate"; [`SongDecision`] is that of
//! Song, Yang, Wang, PLoS Computational Biology 2016, and [`GradedDecision`] what became of it in runs of 2025. A period
//! of so many milliseconds has `⌊ms/dt⌋` steps.

mod adding;
mod context;
mod decision;
mod matching;
mod song;

pub use adding::Adding;
pub use context::ContextDecision;
pub use decision::PerceptualDecision;
pub use matching::DelayedMatch;
pub use song::{GradedDecision, SongDecision};

use crate::sequences::{Loss, reserve};
use interneuron::{Error, Generator};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};

/// What draws trials.
pub trait Task: Send + Sync {
    /// Inputs `d`.
    fn inputs(&self) -> usize;

    /// Outputs `K`.
    fn outputs(&self) -> usize;

    /// What outputs are compared with.
    fn loss(&self) -> Loss;

    /// The most steps that a trial may have. A batch makes room for so many, so that it allocates once.
    fn longest(&self) -> usize;

    /// Draws a trial into an empty one: at least one step, all by [`Trial::labelled`] or all by [`Trial::valued`], as
    /// [`Self::loss`] says.
    fn draw(&self, trial: &mut Trial, rng: &mut Generator);
}

/// What a trial is about, for what is made of the answers. Of a period there are the first step and the step behind its
/// last, which are equal where a task does not have it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Condition {
    /// The strength of the evidence for answer 1 over answer 2, in percent of coherence; 0 in tasks without.
    pub coherence: f64,
    /// The same of the evidence that is to be passed over; 0 in tasks without.
    pub distraction: f64,
    /// The side of the larger input, or the channel of the sample, 0 or 1: it is known also where the evidence is 0. 0 in
    /// tasks without sides.
    pub side: u32,
    /// The answer that is right: a label, or 1 + the output that is to go up; 0 where there is nothing to answer.
    pub answer: u32,
    /// The context, counted from 1; 0 in tasks without.
    pub context: u32,
    /// The steps before the stimulus.
    pub fixation: (usize, usize),
    /// The steps of the stimulus, or of the sample.
    pub stimulus: (usize, usize),
    /// The steps between stimulus and answer, or between sample and test.
    pub delay: (usize, usize),
    /// The steps of what is compared with the sample.
    pub test: (usize, usize),
    /// The steps in which the answer is due.
    pub decision: (usize, usize),
}

/// One sequence, step by step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trial {
    pub(crate) x: Vec<f32>,
    pub(crate) labels: Vec<u32>,
    pub(crate) values: Vec<f32>,
    pub(crate) weights: Vec<f32>,
    /// What it is about.
    pub condition: Condition,
}

impl Trial {
    /// How many steps it has.
    pub fn steps(&self) -> usize {
        self.weights.len()
    }

    /// A step with a label.
    pub fn labelled(&mut self, x: &[f64], label: u32, weight: f32) {
        self.x.extend(x.iter().map(|&x| x as f32));
        self.labels.push(label);
        self.weights.push(weight);
    }

    /// A step with values.
    pub fn valued(&mut self, x: &[f64], values: &[f64], weight: f32) {
        self.x.extend(x.iter().map(|&x| x as f32));
        self.values.extend(values.iter().map(|&y| y as f32));
        self.weights.push(weight);
    }

    /// Makes room for the longest trial.
    pub(crate) fn reserve(&mut self, longest: usize, inputs: usize, outputs: usize, loss: Loss) -> Result<(), Error> {
        reserve(&mut self.x, longest.saturating_mul(inputs))?;
        reserve(&mut self.weights, longest)?;
        match loss {
            Loss::Labels => reserve(&mut self.labels, longest),
            Loss::Values => reserve(&mut self.values, longest.saturating_mul(outputs)),
        }
    }

    /// Checks that it is one of this task.
    pub(crate) fn check(&self, task: &dyn Task) -> Result<(), Error> {
        let steps = self.steps();
        if steps == 0 || steps > task.longest() {
            let expected = "at least 1, and at most what the task says to be the longest";
            return Err(Error::Dimension { name: "steps of a trial", value: steps, expected });
        }
        let (labels, values) = match task.loss() {
            Loss::Labels => (steps, 0),
            Loss::Values => (0, steps * task.outputs()),
        };
        let lengths = [
            ("x of a trial", self.x.len(), steps * task.inputs()),
            ("labels of a trial", self.labels.len(), labels),
            ("values of a trial", self.values.len(), values),
        ];
        match lengths.into_iter().find(|&(_, len, expected)| len != expected) {
            Some((name, len, expected)) => Err(Error::Length { name, len, expected }),
            None => Ok(()),
        }
    }

    pub(crate) fn clear(&mut self) {
        let Self { x, labels, values, weights, condition } = self;
        [x, values, weights].into_iter().for_each(Vec::clear);
        labels.clear();
        *condition = Condition::default();
    }

    /// Appends the inputs of a step, zeros behind the last.
    pub(crate) fn copy_step(&self, t: usize, inputs: usize, x: &mut Vec<f32>) {
        match self.x.get(t * inputs..(t + 1) * inputs) {
            Some(step) => x.extend_from_slice(step),
            None => x.resize(x.len() + inputs, 0.0),
        }
    }
}

/// A time step in milliseconds, which times of a task are divided by, and its noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Clock {
    dt: f64,
}

impl Clock {
    /// Of a task all of whose periods last 100 ms or more.
    ///
    /// # Errors
    /// [`Error::Policy`] unless the step is from 1 to 100 ms: then each period has a step.
    pub fn new(dt: f64) -> Result<Self, Error> {
        Self::up_to(100.0, dt, "1 to 100 milliseconds")
    }

    /// Of a task whose shortest period lasts `most` ms, which `expected` says in words.
    pub fn up_to(most: f64, dt: f64, expected: &'static str) -> Result<Self, Error> {
        if !(1.0..=most).contains(&dt) {
            return Err(Error::Policy { name: "dt", value: dt, expected });
        }
        Ok(Self { dt })
    }

    pub fn dt(self) -> f64 {
        self.dt
    }

    /// Whole steps of a time.
    pub fn steps(self, milliseconds: f64) -> usize {
        (milliseconds / self.dt) as usize
    }

    /// Steps of some periods, one after the other.
    pub fn all<const N: usize>(self, milliseconds: [f64; N]) -> usize {
        milliseconds.into_iter().map(|time| self.steps(time)).sum()
    }

    /// Periods one after the other: each from its first step to the one behind its last.
    pub fn periods<const N: usize>(self, milliseconds: [f64; N]) -> [(usize, usize); N] {
        let mut end = 0;
        milliseconds.map(|time| {
            let start = end;
            end += self.steps(time);
            (start, end)
        })
    }

    /// The deviation of the noise of a stimulus: `σ = 1/√dt`.
    pub fn sigma(self) -> f64 {
        1.0 / self.dt.sqrt()
    }
}

/// One of some things, each as likely.
pub(crate) fn one_of<A: Copy>(all: &[A], rng: &mut Generator) -> A {
    all[rng.random_range(0..all.len())]
}

pub(crate) fn normal(rng: &mut Generator) -> f64 {
    StandardNormal.sample(rng)
}

/// How many steps a period has.
pub(crate) fn count((start, end): (usize, usize)) -> usize {
    end - start
}

/// A number with its sign: the evidence for answer 1, which is that of side 0.
pub(crate) fn signed(strength: f64, side: u32) -> f64 {
    if side == 0 { strength } else { -strength }
}
