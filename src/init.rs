//! Initialisation: exponential weights, inhibition that centres and standardises the excitation.

use crate::element::Element;
use crate::error::Error;
use crate::params::array;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

/// The generator of all random numbers here: the same seed gives the same numbers on every machine.
pub type Generator = ChaCha8Rng;

/// The generator of a seed.
pub fn generator(seed: u64) -> Generator {
    Generator::seed_from_u64(seed)
}

/// How a layer's parameters are drawn.
///
/// For a layer with inhibition, with `Exp(scale)` the exponential distribution of mean `scale`:
///
/// ```text
/// scale = √(1/(2d))              if the inputs are raw (the first layer)
///         √(2π/(d(2π−1)))        if they passed a ReLU
/// Wex ~ Exp(scale)
/// ni = 1:  Wix = mean of the rows of Wex,  Wei = 1
/// ni > 1:  Wix ~ Exp(scale),               Wei = 1/ni
/// iid inhibition:  Wix, Wei ~ Exp(√(scale/ni))
/// alpha = ln √((2π−1)/d),  g = 1,  b = 0
/// ```
///
/// The subtraction then removes the mean of the excitation and the division its spread: a fresh layer behaves like
/// layer normalisation. A plain or normalised layer has `W ~ N(0, gain/d)` with gain 1 on raw inputs and 2 on rectified
/// ones; gains begin at 1, running means at 0 and running variances at 1.
///
/// A layer with sign-constrained columns, of `ne` excitatory and `ni` inhibitory inputs, has
///
/// ```text
/// σ_e = 1/√(((2π−1)/(2π)) · (ne + ne²/ni)),  σ_i = (ne/ni) σ_e,  columns ~ Exp(σ_e) and Exp(σ_i),  b = 0
/// ```
///
/// so that inhibition balances excitation, or where no input is inhibitory `W⁺ ~ Exp(1/√d)` and
/// `b = −d · mean_input/√d`.
///
/// Source: Cornford et al., ICLR 2021, section 3 and appendix.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Init {
    /// The inputs are outputs of a ReLU: every layer but a network's first.
    pub rectified_input: bool,
    /// Inhibitory weights are drawn independently instead of matched to the excitation.
    pub iid_inhibition: bool,
    /// The mean of the inputs, where sign-constrained columns are all positive.
    pub mean_input: f64,
}

impl Init {
    /// For the first layer of a network.
    pub fn first() -> Self {
        Self::default()
    }

    /// For every other layer.
    pub fn deeper() -> Self {
        Self { rectified_input: true, ..Self::default() }
    }

    /// Weights of any sign on `d` inputs.
    pub(crate) fn normal<T: Element>(self, len: usize, d: usize, rng: &mut impl Rng) -> Result<Vec<T>, Error> {
        let gain = if self.rectified_input { 2.0 } else { 1.0 };
        let deviation = (gain / d as f64).sqrt();
        array(len, |_| deviation * Distribution::<f64>::sample(&StandardNormal, rng))
    }
}
