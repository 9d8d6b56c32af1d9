//! The layer with layer or batch normalisation.

use super::arrays::{Letter, arrays};
use super::{Nonlinearity, zeros};
use crate::element::Element;
use crate::error::{Error, area, dimension};

/// What a layer is normalised over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Over {
    /// The units, for each example: layer normalisation.
    Units,
    /// The examples of a batch, for each unit: batch normalisation. Running statistics take the batch's place in
    /// evaluation.
    Examples,
}

/// Dimensions of a layer that is normalised, and over what:
///
/// ```text
/// u = x Wᵀ      ẑ = (u − mean(u)) / √(var(u) + ε),  ε = 1e-5      h = f(g ⊙ ẑ + b)
/// ```
///
/// with the mean and the variance (divided by the number) of one example's units, or of one unit in all examples of the
/// batch. In evaluation the latter are the running statistics, of which each step takes in a tenth:
/// `mean ← 0.9 mean + 0.1 mean(u)` and `variance ← 0.9 variance + 0.1 var(u) · B/(B−1)`, whatever the learning rate is.
///
/// Sources: Ba, Kiros, Hinton, "Layer normalization", 2016; Ioffe, Szegedy, "Batch normalization", ICML 2015.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NormShape {
    /// Inputs `d`.
    pub d: usize,
    /// Outputs `ne`.
    pub ne: usize,
    /// The nonlinearity `f`.
    pub nonlinearity: Nonlinearity,
    /// What is normalised over.
    pub over: Over,
}

impl NormShape {
    /// A hidden layer: ReLU.
    pub fn new(d: usize, ne: usize, over: Over) -> Self {
        Self { d, ne, nonlinearity: Nonlinearity::Relu, over }
    }

    /// The same with the identity instead of ReLU, for output layers.
    #[must_use]
    pub fn linear(self) -> Self {
        Self { nonlinearity: Nonlinearity::Identity, ..self }
    }

    /// The length of every parameter array. Layer normalisation has no running statistics.
    ///
    /// # Errors
    /// [`Error::Dimension`] if a dimension is zero or an array would not fit in memory.
    pub fn lengths(&self) -> Result<Norm<usize>, Error> {
        dimension("d", self.d)?;
        dimension("ne", self.ne)?;
        let running = if self.over == Over::Examples { self.ne } else { 0 };
        Ok(Norm { w: area("ne", self.ne, self.d)?, g: self.ne, b: self.ne, mean: running, variance: running })
    }

    pub(crate) fn names(&self) -> Norm<&'static str> {
        Norm::<()>::NAMES
    }

    /// Whether a parameter may be negative.
    pub(crate) fn signed(&self, letter: Letter) -> bool {
        letter != Letter::Variance
    }
}

arrays! {
    /// One `A` for each array of a normalised layer: the arrays themselves, views of them, gradients.
    ///
    /// Among gradients, `mean` and `variance` are no gradients but the statistics of the batch, as the running ones take
    /// them in.
    Norm, NormParams, NormRef, NormMut for NormShape {
        /// `W [ne, d]`: weights, row-major.
        w: Wex = "W",
        /// `g [ne]`: gain, of any sign.
        g: G = "g",
        /// `b [ne]`: bias.
        b: B = "b",
        /// Running mean `[ne]` of batch normalisation; empty in layer normalisation.
        mean: Mean = "running_mean",
        /// Running variance `[ne]` of batch normalisation; empty in layer normalisation.
        variance: Variance = "running_var",
    }
}
