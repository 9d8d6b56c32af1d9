//! Random numbers: generators, or numbers that were drawn before.

use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Exp1, StandardNormal};

/// The generator of all random numbers here: the same seed gives the same numbers on every machine.
pub type Generator = ChaCha8Rng;

/// The generator of a seed.
pub fn generator(seed: u64) -> Generator {
    Generator::seed_from_u64(seed)
}

/// Where an initialisation has its random numbers from: any generator of `rand`, or whoever hands out numbers that were
/// drawn elsewhere, so that a layer begins with the very weights of another program.
pub trait RandomNumbers {
    /// The next number of the exponential distribution of mean 1.
    fn exponential(&mut self) -> f64;
    /// The next number of the normal distribution of mean 0 and variance 1.
    fn normal(&mut self) -> f64;
    /// The next number of the uniform distribution from 0 to 1.
    fn uniform(&mut self) -> f64 {
        (-self.exponential()).exp()
    }
}

impl<R: Rng> RandomNumbers for R {
    fn exponential(&mut self) -> f64 {
        Exp1.sample(self)
    }

    fn normal(&mut self) -> f64 {
        StandardNormal.sample(self)
    }

    fn uniform(&mut self) -> f64 {
        self.random()
    }
}
