//! Tasks for recurrent networks, drawn from a seed, one trial a sequence.
//!
//! | task | inputs, outputs | loss |
//! |---|---|---|
//! | [`Adding`] | 2, 1 | squared error at the last step |
//! | [`PerceptualDecision`] | 3, 3 | cross-entropy at all steps |
//! | [`DelayedMatch`] | 3, 3 | cross-entropy at all steps |
//! | [`ContextDecision`] | 7, 3 | cross-entropy at all steps |
//! | [`SongDecision`] | 2, 2 | squared error, but for the stimulus |
//!
//! The cognitive tasks are those of neurogym, one trial a sequence, where label 0 is "fixate"; [`SongDecision`] is that of
//! Song, Yang, Wang, PLoS Computational Biology 2016.

mod adding;
mod context;
mod decision;
mod matching;

pub use adding::Adding;
pub use context::ContextDecision;
pub use decision::{PerceptualDecision, SongDecision};
pub use matching::DelayedMatch;

use crate::sequences::Loss;
use interneuron::{Error, Generator};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use std::ops::Range;

/// What draws trials.
pub trait Task: Send + Sync {
    /// Inputs `d`.
    fn inputs(&self) -> usize;

    /// Outputs `K`.
    fn outputs(&self) -> usize;

    /// What outputs are compared with.
    fn loss(&self) -> Loss;

    /// Draws a trial into an empty one.
    fn draw(&self, trial: &mut Trial, rng: &mut Generator);
}

/// What a trial is about, for what is made of the answers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Condition {
    /// The strength of the evidence for answer 1 over answer 2, in percent of coherence; 0 in tasks without.
    pub coherence: f64,
    /// The answer that is right: a label, or 0 in tasks without.
    pub answer: u32,
    /// The context, counted from 1; 0 in tasks without.
    pub context: u32,
    /// The first step of the stimulus, and the step behind its last.
    pub stimulus: (usize, usize),
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
    /// # Errors
    /// [`Error::Policy`] unless the step is from 1 to 100 ms.
    pub fn new(dt: f64) -> Result<Self, Error> {
        if !(1.0..=100.0).contains(&dt) {
            return Err(Error::Policy { name: "dt", value: dt, expected: "1 to 100 milliseconds" });
        }
        Ok(Self { dt })
    }

    /// Steps of a time, at least one.
    pub fn steps(self, milliseconds: f64) -> usize {
        ((milliseconds / self.dt) as usize).max(1)
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

/// Periods one after the other, of so many steps each.
pub(crate) fn periods<const N: usize>(steps: [usize; N]) -> [Range<usize>; N] {
    let mut end = 0;
    steps.map(|steps| {
        end += steps;
        end - steps..end
    })
}
