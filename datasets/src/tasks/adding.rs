//! The adding problem.

use super::{Task, Trial};
use crate::sequences::Loss;
use interneuron::{Error, Generator};
use rand::RngExt;

/// `x_t = (u_t, p_t)` with `u` uniform in [0, 1) and `p = 1` at two different steps, else 0: the answer at the last step is
/// the sum of the two `u`. Who always answers 1 has a mean squared error of 1/6.
///
/// Source: Hochreiter, Schmidhuber, "Long short-term memory", Neural Computation 1997, with two marked steps anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adding {
    steps: usize,
}

impl Adding {
    /// Of so many steps.
    ///
    /// # Errors
    /// [`Error::Dimension`] unless there are 2 to 1,000,000.
    pub fn new(steps: usize) -> Result<Self, Error> {
        if !(2..=1_000_000).contains(&steps) {
            return Err(Error::Dimension { name: "steps", value: steps, expected: "2 to 1000000" });
        }
        Ok(Self { steps })
    }
}

impl Task for Adding {
    fn inputs(&self) -> usize {
        2
    }

    fn outputs(&self) -> usize {
        1
    }

    fn loss(&self) -> Loss {
        Loss::Values
    }

    fn longest(&self) -> usize {
        self.steps
    }

    fn draw(&self, trial: &mut Trial, rng: &mut Generator) {
        let first = rng.random_range(0..self.steps);
        let second = (first + rng.random_range(1..self.steps)) % self.steps;
        let mut sum = 0.0;
        for t in 0..self.steps {
            let (u, marked) = (rng.random_range(0.0..1.0), t == first || t == second);
            // As a network in f32 sees it.
            sum += if marked { f64::from(u as f32) } else { 0.0 };
            let last = t + 1 == self.steps;
            trial.valued(&[u, f64::from(u8::from(marked))], &[if last { sum } else { 0.0 }], f32::from(u8::from(last)));
        }
    }
}
