//! Decisions by context.

use super::decision::evidence;
use super::{Clock, Condition, Task, Trial, count, normal, one_of, signed};
use crate::sequences::Loss;
use interneuron::{Error, Generator};
use rand::RngExt;
use rand_distr::{Distribution, Exp1};
use std::ops::Range;

/// Which of the two inputs of the modality that the context names is larger? The other modality is to be passed over.
///
/// Fixation of 300 ms, stimulus 750, delay exponential of mean 600 redrawn until in [300, 3000), decision 100. Channel 0
/// is 1 until the decision; 1–2 and 3–4 are the two modalities, each as in
/// [`PerceptualDecision`](super::PerceptualDecision) with a side and a coherence of 5, 15 or 50 percent of its own, during
/// the stimulus only; channel 4 + c is 1 at all steps, with the context c of 1 or 2. The label is 0 before the decision,
/// then 1 or 2 by the side of modality c.
///
/// Source: the task of this name in neurogym, whose channel 0 ends with the fixation, so that nothing tells when to answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ContextDecision {
    clock: Clock,
}

impl ContextDecision {
    /// With time steps of `dt` milliseconds: 100, or 20.
    ///
    /// # Errors
    /// [`Error::Policy`] unless `dt` is from 1 to 100.
    pub fn new(dt: f64) -> Result<Self, Error> {
        Ok(Self { clock: Clock::new(dt)? })
    }

    /// The coherences of each modality, in percent.
    pub const COHERENCES: [f64; 3] = [5.0, 15.0, 50.0];
    /// The mean of the delay before it is cut, and the ends of what is left of it, in milliseconds.
    const DELAY: (f64, Range<f64>) = (600.0, 300.0..3000.0);

    /// The periods in milliseconds: fixation, stimulus, delay, decision.
    fn periods(delay: f64) -> [f64; 4] {
        [300.0, 750.0, delay, 100.0]
    }
}

impl Task for ContextDecision {
    fn inputs(&self) -> usize {
        7
    }

    fn outputs(&self) -> usize {
        3
    }

    fn loss(&self) -> Loss {
        Loss::Labels
    }

    fn longest(&self) -> usize {
        self.clock.all(Self::periods(Self::DELAY.1.end))
    }

    fn draw(&self, trial: &mut Trial, rng: &mut Generator) {
        let clock = self.clock;
        let context = rng.random_range(1..3_u32);
        let sides = [(); 2].map(|()| rng.random_range(0..2_u32));
        let coherences = sides.map(|side| signed(one_of(&Self::COHERENCES, rng), side));
        let (mean, ends) = Self::DELAY;
        let delay = loop {
            let delay = mean * <Exp1 as Distribution<f64>>::sample(&Exp1, rng);
            if ends.contains(&delay) {
                break delay;
            }
        };
        let [fixation, stimulus, delay, decision] = clock.periods(Self::periods(delay));
        let named = context as usize - 1;
        let (coherence, distraction) = (coherences[named], coherences[1 - named]);
        let (side, answer, test) = (sides[named], 1 + sides[named], (0, 0));
        trial.condition =
            Condition { coherence, distraction, side, answer, context, fixation, stimulus, delay, test, decision };
        let cues = [1.0, 0.0].map(|first: f64| if context == 1 { first } else { 1.0 - first });
        let quiet = [1.0, 0.0, 0.0, 0.0, 0.0, cues[0], cues[1]];
        (0..count(fixation)).for_each(|_| trial.labelled(&quiet, 0, 1.0));
        for _ in 0..count(stimulus) {
            let mut x = quiet;
            for (modality, coherence) in coherences.into_iter().enumerate() {
                for (k, e) in evidence(coherence).into_iter().enumerate() {
                    x[1 + 2 * modality + k] = e + clock.sigma() * normal(rng);
                }
            }
            trial.labelled(&x, 0, 1.0);
        }
        (0..count(delay)).for_each(|_| trial.labelled(&quiet, 0, 1.0));
        let go = [0.0, 0.0, 0.0, 0.0, 0.0, cues[0], cues[1]];
        (0..count(decision)).for_each(|_| trial.labelled(&go, answer, 1.0));
    }
}
