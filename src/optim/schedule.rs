//! Learning rates from step to step.

use crate::error::Error;

/// A learning rate for each step of a run: a plain value. In step n = 1, 2, … it is, with the peak η, W steps of warm-up,
/// N steps in all, the last D of which decay to η_min,
///
/// ```text
/// η · n/W                              for n ≤ W
/// η                                    for n ≤ N − D
/// η_min + (η − η_min) · k              for n ≤ N:  ρ = (n−1−(N−D)) / D,  k = 1 − ρ (linear) or (1 + cos πρ)/2 (cosine)
/// η_min                                after that
/// ```
///
/// A constant rate has no decay, and one in steps is `η · factor^⌊(n−1−W)/every⌋` after the warm-up. Without warm-up and
/// with D = N the others are `CosineAnnealingLR` and `LinearLR` of PyTorch, that in steps is its `StepLR`.
///
/// ```
/// use interneuron::{Schedule, Update};
///
/// let schedule = Schedule::cosine(0.1, 1000)?.warmup(100)?;
/// let update = Update { lr: schedule.rate(50), ..Update::csgd(0.0) };
/// assert_eq!(update.lr, 0.05);
/// assert_eq!(schedule.rate(2000), 0.0);
/// # Ok::<(), interneuron::Error>(())
/// ```
///
/// With [`Network::steps`](crate::Network::steps) steps taken so far, the next is that number and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    peak: f64,
    lowest: f64,
    warmup: u64,
    course: Course,
}

/// What comes after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Course {
    Constant,
    Steps {
        every: u64,
        factor: f64,
    },
    /// The last `decay` of `total` steps, or all after the warm-up.
    Decay {
        curve: Curve,
        total: u64,
        decay: Option<u64>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Curve {
    Linear,
    Cosine,
}

impl Schedule {
    fn new(peak: f64, course: Course) -> Result<Self, Error> {
        if !(peak >= 0.0 && peak.is_finite()) {
            return Err(Error::LearningRate { lr: peak });
        }
        Self { peak, lowest: 0.0, warmup: 0, course }.checked()
    }

    /// The same rate in all steps.
    ///
    /// # Errors
    /// [`Error::LearningRate`] unless `lr` is finite and ≥ 0.
    pub fn constant(lr: f64) -> Result<Self, Error> {
        Self::new(lr, Course::Constant)
    }

    /// A rate that is multiplied by `factor` after `every` so many steps.
    ///
    /// # Errors
    /// [`Error::LearningRate`] as [`Schedule::constant`]; [`Error::Policy`] unless `every` is at least 1 and `factor`
    /// from 0 to 1.
    pub fn steps(lr: f64, every: u64, factor: f64) -> Result<Self, Error> {
        Self::new(lr, Course::Steps { every, factor })
    }

    /// A rate that falls in a straight line to 0, after `total` steps.
    ///
    /// # Errors
    /// [`Error::LearningRate`] as [`Schedule::constant`]; [`Error::Policy`] if `total` is 0.
    pub fn linear(lr: f64, total: u64) -> Result<Self, Error> {
        Self::new(lr, Course::Decay { curve: Curve::Linear, total, decay: None })
    }

    /// A rate that falls along half a cosine to 0, after `total` steps.
    ///
    /// # Errors
    /// As [`Schedule::linear`].
    pub fn cosine(lr: f64, total: u64) -> Result<Self, Error> {
        Self::new(lr, Course::Decay { curve: Curve::Cosine, total, decay: None })
    }

    /// The same with a first part of `steps` steps in which the rate grows in a straight line: η/W in the first, η in
    /// the last.
    ///
    /// # Errors
    /// [`Error::Policy`] if warm-up and decay are more than all steps together.
    pub fn warmup(self, steps: u64) -> Result<Self, Error> {
        Self { warmup: steps, ..self }.checked()
    }

    /// The same with a decay in the last `steps` steps only.
    ///
    /// # Errors
    /// [`Error::Policy`] if warm-up and decay are more than all steps together; [`Error::Unsupported`] for a schedule
    /// that is neither linear nor cosine.
    pub fn decay(self, steps: u64) -> Result<Self, Error> {
        let Course::Decay { curve, total, .. } = self.course else { return Err(NO_DECAY) };
        Self { course: Course::Decay { curve, total, decay: Some(steps) }, ..self }.checked()
    }

    /// The same with a decay to `lowest` instead of 0.
    ///
    /// # Errors
    /// [`Error::Policy`] unless `lowest` is at least 0 and at most the largest rate; [`Error::Unsupported`] for a
    /// schedule that is neither linear nor cosine.
    pub fn down_to(self, lowest: f64) -> Result<Self, Error> {
        let Course::Decay { .. } = self.course else { return Err(NO_DECAY) };
        Self { lowest, ..self }.checked()
    }

    /// The rate of step `n`, counted from 1.
    pub fn rate(&self, n: u64) -> f64 {
        let Self { peak, lowest, warmup, course } = *self;
        if n <= warmup {
            return peak * n as f64 / warmup as f64;
        }
        match course {
            Course::Constant => peak,
            Course::Steps { every, factor } => peak * factor.powf((n.saturating_sub(1 + warmup) / every) as f64),
            Course::Decay { total, .. } if n > total => lowest,
            Course::Decay { curve, total, decay } => {
                let decay = decay.unwrap_or(total - warmup);
                let before = total - decay;
                if n <= before {
                    return peak;
                }
                let part = (n.max(1) - 1 - before) as f64 / decay as f64;
                let k = match curve {
                    Curve::Linear => 1.0 - part,
                    Curve::Cosine => (1.0 + (std::f64::consts::PI * part).cos()) / 2.0,
                };
                lowest + (peak - lowest) * k
            }
        }
    }

    fn checked(self) -> Result<Self, Error> {
        let rule = |name, value, fine: bool, expected| {
            if fine { Ok(()) } else { Err(Error::Policy { name, value, expected }) }
        };
        match self.course {
            Course::Constant => {}
            Course::Steps { every, factor } => {
                rule("every", every as f64, every > 0, "at least 1")?;
                rule("factor", factor, (0.0..=1.0).contains(&factor), "from 0 to 1")?;
            }
            Course::Decay { total, decay, .. } => {
                rule("total", total as f64, total > 0, "at least 1")?;
                let both = self.warmup.checked_add(decay.unwrap_or(0)).filter(|&both| both <= total);
                let expected = "so much that warm-up and decay are at most all steps together";
                rule("total", total as f64, both.is_some(), expected)?;
                let fine = self.lowest >= 0.0 && self.lowest <= self.peak;
                rule("lowest", self.lowest, fine, "at least 0 and at most the largest rate")?;
            }
        }
        Ok(self)
    }
}

const NO_DECAY: Error =
    Error::Unsupported { what: "a decay of such a schedule", expected: "Schedule::linear or Schedule::cosine" };

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: Result<Schedule, Error>, steps: u64) -> Vec<f64> {
        let schedule = schedule.unwrap();
        (1..=steps).map(|n| schedule.rate(n)).collect()
    }

    #[test]
    fn schedules_by_hand() {
        assert_eq!(rates(Schedule::constant(0.5), 3), [0.5; 3]);
        assert_eq!(rates(Schedule::steps(1.0, 2, 0.5), 5), [1.0, 1.0, 0.5, 0.5, 0.25]);
        assert_eq!(rates(Schedule::linear(1.0, 4), 6), [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]);
        let constant_then_down = Schedule::linear(1.0, 6).and_then(|s| s.warmup(2)).and_then(|s| s.decay(2));
        assert_eq!(rates(constant_then_down, 8), [0.5, 1.0, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0]);
        let to_half = Schedule::cosine(1.0, 4).and_then(|s| s.down_to(0.5));
        let want = [1.0, 0.75 + 0.25 * 0.5_f64.sqrt(), 0.75];
        let got = rates(to_half, 5);
        assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-15), "{got:?}");
        assert_eq!(got[4], 0.5);
        // All steps are warm-up; and a warm-up before steps.
        assert_eq!(rates(Schedule::cosine(1.0, 2).and_then(|s| s.warmup(2)), 3), [0.5, 1.0, 0.0]);
        assert_eq!(rates(Schedule::steps(1.0, 1, 0.5).and_then(|s| s.warmup(2)), 4), [0.5, 1.0, 1.0, 0.5]);
    }

    #[test]
    fn what_cannot_be_a_schedule_is_refused() {
        let total = Schedule::cosine(0.1, 10).unwrap();
        for (schedule, expected) in [
            (Schedule::constant(f64::NAN), "lr is NaN: expected a finite number ≥ 0"),
            (Schedule::steps(0.1, 0, 0.5), "every is 0: expected at least 1"),
            (Schedule::steps(0.1, 1, 1.5), "factor is 1.5: expected from 0 to 1"),
            (Schedule::linear(0.1, 0), "total is 0: expected at least 1"),
            (total.warmup(11), "total is 10: expected so much that warm-up and decay"),
            (total.warmup(4).and_then(|s| s.decay(7)), "total is 10: expected so much that warm-up and decay"),
            (total.decay(u64::MAX).and_then(|s| s.warmup(1)), "total is 10: expected so much that"),
            (total.down_to(0.2), "lowest is 0.2: expected at least 0 and at most the largest rate"),
            (Schedule::constant(0.1).and_then(|s| s.decay(1)), "a decay of such a schedule is not supported here"),
        ] {
            let error = schedule.unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
