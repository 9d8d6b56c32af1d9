//! Decisions between two alternatives.

use super::{Clock, Condition, Task, Trial, count, normal, one_of, signed};
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
    /// [`Error::Policy`] unless `dt` is from 1 to 50, the shortest fixation.
    pub fn new(dt: f64) -> Result<Self, Error> {
        Ok(Self { clock: Clock::up_to(Self::FIXATIONS[0], dt, "1 to 50 milliseconds")?, stimulus: None })
    }

    /// The same with a stimulus of so many milliseconds in all trials.
    ///
    /// # Errors
    /// [`Error::Policy`] unless it is from `dt` to 10,000.
    pub fn stimulus(self, milliseconds: f64) -> Result<Self, Error> {
        if !(self.clock.dt()..=10_000.0).contains(&milliseconds) {
            let expected = "a time step to 10000 milliseconds";
            return Err(Error::Policy { name: "stimulus", value: milliseconds, expected });
        }
        Ok(Self { stimulus: Some(milliseconds), ..self })
    }

    /// The coherences, in percent.
    pub const COHERENCES: [f64; 5] = [0.0, 6.4, 12.8, 25.6, 51.2];
    /// What the periods last, in milliseconds.
    const FIXATIONS: [f64; 4] = [50.0, 100.0, 200.0, 400.0];
    const STIMULI: [f64; 4] = [100.0, 200.0, 400.0, 800.0];
    const DECISION: f64 = 100.0;
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

    fn longest(&self) -> usize {
        self.clock.all([Self::FIXATIONS[3], self.stimulus.unwrap_or(Self::STIMULI[3]), Self::DECISION])
    }

    fn draw(&self, trial: &mut Trial, rng: &mut Generator) {
        let clock = self.clock;
        let fixation = one_of(&Self::FIXATIONS, rng);
        let drawn = one_of(&Self::STIMULI, rng);
        let side = rng.random_range(0..2_u32);
        let coherence = signed(one_of(&Self::COHERENCES, rng), side);
        let times = [fixation, self.stimulus.unwrap_or(drawn), Self::DECISION];
        let [fixation, stimulus, decision] = clock.periods(times);
        let answer = 1 + side;
        trial.condition = Condition { coherence, side, answer, fixation, stimulus, decision, ..Condition::default() };
        (0..count(fixation)).for_each(|_| trial.labelled(&[1.0, 0.0, 0.0], 0, 1.0));
        for _ in 0..count(stimulus) {
            let [one, other] = evidence(coherence).map(|e| e + clock.sigma() * normal(rng));
            trial.labelled(&[0.0, one, other], 0, 1.0);
        }
        (0..count(decision)).for_each(|_| trial.labelled(&[0.0; 3], answer, 1.0));
    }
}
