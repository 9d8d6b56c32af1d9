//! Delayed match to sample.

use super::{Clock, Condition, Task, Trial, count, normal};
use crate::sequences::Loss;
use interneuron::{Error, Generator};
use rand::RngExt;

/// Is the test what the sample was? The network fixates until the decision, and then answers 1 for a match or 2.
///
/// Fixation of 300 ms, sample 500, delay 1000, test 500, decision 900. Channel 0 is 1 until the decision. During sample and
/// test one of channels 1 and 2 is 1, both with noise `σN`, `σ = 1/√dt`: that of the sample at random, that of the test
/// the same or the other one, each half of the time.
///
/// Source: the task of this name in neurogym.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DelayedMatch {
    clock: Clock,
}

impl DelayedMatch {
    /// With time steps of `dt` milliseconds: 100 for 32 steps, 20 for 160.
    ///
    /// # Errors
    /// [`Error::Policy`] unless `dt` is from 1 to 100.
    pub fn new(dt: f64) -> Result<Self, Error> {
        Ok(Self { clock: Clock::new(dt)? })
    }

    /// The periods in milliseconds: fixation, sample, delay, test, decision.
    const PERIODS: [f64; 5] = [300.0, 500.0, 1000.0, 500.0, 900.0];
}

impl Task for DelayedMatch {
    fn inputs(&self) -> usize {
        3
    }

    fn outputs(&self) -> usize {
        3
    }

    fn loss(&self) -> Loss {
        Loss::Labels
    }

    fn longest(&self) -> usize {
        self.clock.all(Self::PERIODS)
    }

    fn draw(&self, trial: &mut Trial, rng: &mut Generator) {
        let clock = self.clock;
        let side = rng.random_range(0..2_u32);
        let matches = rng.random_bool(0.5);
        let (shown, answer) = if matches { (side, 1) } else { (1 - side, 2) };
        let [fixation, sample, delay, test, decision] = clock.periods(Self::PERIODS);
        trial.condition =
            Condition { side, answer, fixation, stimulus: sample, delay, test, decision, ..Condition::default() };
        let show = |trial: &mut Trial, channel: u32, rng: &mut Generator| {
            let [one, other] = [0, 1].map(|k| f64::from(u8::from(k == channel)) + clock.sigma() * normal(rng));
            trial.labelled(&[1.0, one, other], 0, 1.0);
        };
        (0..count(fixation)).for_each(|_| trial.labelled(&[1.0, 0.0, 0.0], 0, 1.0));
        (0..count(sample)).for_each(|_| show(trial, side, rng));
        (0..count(delay)).for_each(|_| trial.labelled(&[1.0, 0.0, 0.0], 0, 1.0));
        (0..count(test)).for_each(|_| show(trial, shown, rng));
        (0..count(decision)).for_each(|_| trial.labelled(&[0.0; 3], answer, 1.0));
    }
}
