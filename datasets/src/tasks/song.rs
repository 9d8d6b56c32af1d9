//! The decision task of Song, Yang, Wang, and what became of it.

use super::{Clock, Condition, Task, Trial, count, normal, one_of, signed};
use crate::sequences::Loss;
use interneuron::{Error, Generator};
use rand::RngExt;

/// Targets and inputs at rest.
const REST: f64 = 0.2;
/// How many times the coherence a stimulus has.
const STRENGTH: f64 = 3.2;

/// The decision task of Song, Yang, Wang: two noisy inputs, and the output of the larger one goes up.
///
/// Fixation of 100 ms, stimulus of 800 ms, decision of 300 ms. The inputs are `max(0, 0.2 + (1 ± 3.2 q/100)/2 + √(2/κ)·0.01·N)`
/// during the stimulus, else without the second term, with `q` of 1, 2, 4, 8 or 16 and `κ = dt/100`. Targets are 0.2, but
/// 1 of the output of the larger input during the decision; the stimulus has no weight in the loss. One trial in 11 has no
/// stimulus and lasts 2000 ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SongDecision {
    clock: Clock,
}

impl SongDecision {
    /// With time steps of `dt` milliseconds; 20 as published.
    ///
    /// # Errors
    /// [`Error::Policy`] unless `dt` is from 1 to 100.
    pub fn new(dt: f64) -> Result<Self, Error> {
        Ok(Self { clock: Clock::new(dt)? })
    }

    /// The coherences, of which a stimulus has 3.2 times as much, in percent.
    pub const COHERENCES: [f64; 5] = [1.0, 2.0, 4.0, 8.0, 16.0];
    /// The periods in milliseconds: fixation, stimulus, decision; and what a trial without stimulus lasts.
    const PERIODS: [f64; 3] = [100.0, 800.0, 300.0];
    const QUIET: f64 = 2000.0;
}

impl Task for SongDecision {
    fn inputs(&self) -> usize {
        2
    }

    fn outputs(&self) -> usize {
        2
    }

    fn loss(&self) -> Loss {
        Loss::Values
    }

    fn longest(&self) -> usize {
        self.clock.steps(Self::QUIET).max(self.clock.all(Self::PERIODS))
    }

    fn draw(&self, trial: &mut Trial, rng: &mut Generator) {
        let clock = self.clock;
        let sigma = 0.01 * (2.0 * 100.0 / clock.dt()).sqrt();
        let inputs =
            |stimulus: [f64; 2], rng: &mut Generator| stimulus.map(|x| (REST + x + sigma * normal(rng)).max(0.0));
        let rest = [REST; 2];
        if rng.random_range(0..11) == 0 {
            let steps = clock.steps(Self::QUIET);
            trial.condition = Condition { fixation: (0, steps), ..Condition::default() };
            (0..steps).for_each(|_| trial.valued(&inputs([0.0; 2], rng), &rest, 1.0));
            return;
        }
        let side = rng.random_range(0..2_u32);
        let coherence = signed(STRENGTH * one_of(&Self::COHERENCES, rng), side);
        let [fixation, stimulus, decision] = clock.periods(Self::PERIODS);
        let answer = 1 + side;
        trial.condition = Condition { coherence, side, answer, fixation, stimulus, decision, ..Condition::default() };
        (0..count(fixation)).for_each(|_| trial.valued(&inputs([0.0; 2], rng), &rest, 1.0));
        let shown = [1.0 + coherence / 100.0, 1.0 - coherence / 100.0].map(|x| x / 2.0);
        (0..count(stimulus)).for_each(|_| trial.valued(&inputs(shown, rng), &rest, 0.0));
        let up = chosen(answer);
        (0..count(decision)).for_each(|_| trial.valued(&inputs([0.0; 2], rng), &up, 1.0));
    }
}

/// The decision task of Song, Yang, Wang as in runs of 2025 with networks of this crate's kinds: evidence of any strength.
///
/// All trials have `T = 60` steps, of which those from 11 to 31, counted from 1, are the stimulus. The inputs are
/// `0.2 + 0.05·N`, during the stimulus `1 ± 3.2 q` more. In half of the trials `q` is 0, all targets are 0.2 and all steps
/// count; in the others `q` is uniform in `[−0.2, 0.2)`, the output of the input that is larger at step 31, noise included,
/// has the target 1 from step 11 on, and the stimulus has no weight in the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GradedDecision {
    coherence: Option<f64>,
}

impl GradedDecision {
    /// As published for training.
    pub const fn new() -> Self {
        Self { coherence: None }
    }

    /// The same with one `q` for all trials, each of which asks for a decision, as those for testing do.
    ///
    /// # Errors
    /// [`Error::Policy`] unless `q` is from −0.2 to 0.2.
    pub fn coherence(self, q: f64) -> Result<Self, Error> {
        if !(-Self::MOST..=Self::MOST).contains(&q) {
            return Err(Error::Policy { name: "coherence", value: q, expected: "-0.2 to 0.2" });
        }
        Ok(Self { coherence: Some(q) })
    }

    const STEPS: usize = 60;
    /// The first step of the stimulus, counted from 0, and the step behind its last.
    const STIMULUS: (usize, usize) = (10, 31);
    /// The largest `q`.
    const MOST: f64 = 0.2;
}

impl Task for GradedDecision {
    fn inputs(&self) -> usize {
        2
    }

    fn outputs(&self) -> usize {
        2
    }

    fn loss(&self) -> Loss {
        Loss::Values
    }

    fn longest(&self) -> usize {
        Self::STEPS
    }

    fn draw(&self, trial: &mut Trial, rng: &mut Generator) {
        let decides = self.coherence.is_some() || rng.random_bool(0.5);
        let q = match self.coherence {
            Some(q) => q,
            None if decides => rng.random_range(-Self::MOST..Self::MOST),
            None => 0.0,
        };
        let (start, end) = Self::STIMULUS;
        let shown = |t: usize| (start..end).contains(&t);
        let (mut x, mut larger) = ([[0.0; 2]; Self::STEPS], 0);
        for (t, x) in x.iter_mut().enumerate() {
            let stimulus = if shown(t) { [1.0 + STRENGTH * q, 1.0 - STRENGTH * q] } else { [0.0; 2] };
            *x = stimulus.map(|s| REST + s + 0.05 * normal(rng));
            if t + 1 == end {
                larger = u32::from(x[1] > x[0]);
            }
        }
        let answer = if decides { 1 + larger } else { 0 };
        trial.condition = Condition {
            coherence: 100.0 * STRENGTH * q,
            side: u32::from(q < 0.0),
            answer,
            fixation: (0, start),
            stimulus: Self::STIMULUS,
            decision: if decides { (end, Self::STEPS) } else { (0, 0) },
            ..Condition::default()
        };
        for (t, x) in x.iter().enumerate() {
            let targets = if decides && t >= start { chosen(answer) } else { [REST; 2] };
            trial.valued(x, &targets, if decides && shown(t) { 0.0 } else { 1.0 });
        }
    }
}

/// The targets where an answer is to be given: 1 of its output.
fn chosen(answer: u32) -> [f64; 2] {
    [1, 2].map(|output| if output == answer { 1.0 } else { REST })
}
