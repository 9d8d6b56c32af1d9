//! Decisions between two alternatives.

use super::{Clock, Condition, Task, Trial, normal, one_of, periods};
use crate::sequences::Loss;
use interneuron::{Error, Generator};
use rand::RngExt;

/// Which of two noisy inputs is larger? The network fixates until the decision, and then answers 1 or 2.
///
/// Channel 0 is 1 during the fixation, of 50, 100, 200 or 400 ms. During the stimulus, of 100, 200, 400 or 800 ms,
/// channels 1 and 2 are `½ ± q/200 + σN`, with a coherence `q` of 0, 6.4, 12.8, 25.6 or 51.2 percent, the larger one on
/// either side, and fresh `N ~ normal(0, 1)`, `σ = 1/√dt`. All channels are 0 during the decision, of 100 ms. The label is
/// 0 before the decision, then 1 or 2.
///
/// Source: the task of this name in neurogym.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerceptualDecision {
    clock: Clock,
    stimulus: Option<f64>,
}

impl PerceptualDecision {
    /// With time steps of `dt` milliseconds; 20 as published.
    ///
    /// # Errors
    /// [`Error::Policy`] unless `dt` is from 1 to 100.
    pub fn new(dt: f64) -> Result<Self, Error> {
        Ok(Self { clock: Clock::new(dt)?, stimulus: None })
    }

    /// The same with a stimulus of so many milliseconds in all trials.
    ///
    /// # Errors
    /// [`Error::Policy`] unless it is from 1 to 10,000.
    pub fn stimulus(self, milliseconds: f64) -> Result<Self, Error> {
        if !(1.0..=10_000.0).contains(&milliseconds) {
            let expected = "1 to 10000 milliseconds";
            return Err(Error::Policy { name: "stimulus", value: milliseconds, expected });
        }
        Ok(Self { stimulus: Some(milliseconds), ..self })
    }

    /// The coherences, in percent.
    pub const COHERENCES: [f64; 5] = [0.0, 6.4, 12.8, 25.6, 51.2];
}

/// Two inputs that differ by a signed coherence in percent, without noise.
pub(super) fn evidence(coherence: f64) -> [f64; 2] {
    [0.5 + coherence / 200.0, 0.5 - coherence / 200.0]
}

impl Task for PerceptualDecision {
    fn inputs(&self) -> usize {
        3
    }

    fn outputs(&self) -> usize {
        3
    }

    fn loss(&self) -> Loss {
        Loss::Labels
    }

    fn draw(&self, trial: &mut Trial, rng: &mut Generator) {
        let clock = self.clock;
        let fixation = one_of(&[50.0, 100.0, 200.0, 400.0], rng);
        let drawn = one_of(&[100.0, 200.0, 400.0, 800.0], rng);
        let side = rng.random_range(0..2_u32);
        let coherence = one_of(&Self::COHERENCES, rng);
        let coherence = if side == 0 { coherence } else { -coherence };
        let times = [fixation, self.stimulus.unwrap_or(drawn), 100.0].map(|time| clock.steps(time));
        let [fixation, stimulus, decision] = periods(times);
        trial.condition =
            Condition { coherence, answer: 1 + side, context: 0, stimulus: (stimulus.start, stimulus.end) };
        for _ in fixation {
            trial.labelled(&[1.0, 0.0, 0.0], 0, 1.0);
        }
        for _ in stimulus {
            let [one, other] = evidence(coherence).map(|e| e + clock.sigma() * normal(rng));
            trial.labelled(&[0.0, one, other], 0, 1.0);
        }
        for _ in decision {
            trial.labelled(&[0.0; 3], 1 + side, 1.0);
        }
    }
}

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
    /// Targets and inputs at rest.
    const REST: f64 = 0.2;
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

    fn draw(&self, trial: &mut Trial, rng: &mut Generator) {
        let clock = self.clock;
        let sigma = 0.01 * (2.0 * 100.0 / clock.dt).sqrt();
        let inputs =
            |stimulus: [f64; 2], rng: &mut Generator| stimulus.map(|x| (Self::REST + x + sigma * normal(rng)).max(0.0));
        let rest = [Self::REST; 2];
        if rng.random_range(0..11) == 0 {
            for _ in 0..clock.steps(2000.0) {
                trial.valued(&inputs([0.0; 2], rng), &rest, 1.0);
            }
            return;
        }
        let side = rng.random_range(0..2_u32);
        let coherence = 3.2 * one_of(&Self::COHERENCES, rng);
        let coherence = if side == 0 { coherence } else { -coherence };
        let [fixation, stimulus, decision] = periods([100.0, 800.0, 300.0].map(|time| clock.steps(time)));
        trial.condition =
            Condition { coherence, answer: 1 + side, context: 0, stimulus: (stimulus.start, stimulus.end) };
        for _ in fixation {
            trial.valued(&inputs([0.0; 2], rng), &rest, 1.0);
        }
        for _ in stimulus {
            let strength = [1.0 + coherence / 100.0, 1.0 - coherence / 100.0].map(|x| x / 2.0);
            trial.valued(&inputs(strength, rng), &rest, 0.0);
        }
        let chosen = if side == 0 { [1.0, Self::REST] } else { [Self::REST, 1.0] };
        for _ in decision {
            trial.valued(&inputs([0.0; 2], rng), &chosen, 1.0);
        }
    }
}
