//! The layer with inhibition.

use super::arrays::{Letter, arrays};
use super::{Nonlinearity, zeros};
use crate::element::Element;
use crate::error::{Error, area, dimension};

/// Dimensions and variant of a layer with separate excitatory and inhibitory units.
///
/// ```text
/// zE = x Wexᵀ            zI = x Wixᵀ
/// s  = zI Weiᵀ           γ  = (exp(alpha) ⊙ zI) Weiᵀ + ε,  ε = 1e-8
/// h  = f(g ⊙ (zE − s) / γ + b)
/// ```
///
/// The subtractive variant has neither γ, `alpha` nor `g`: `h = f(zE − s + b)`.
///
/// Source: Cornford et al., "Learning to live with Dale's principle", ICLR 2021.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DannShape {
    /// Inputs `d`.
    pub d: usize,
    /// Excitatory units `ne`, the outputs.
    pub ne: usize,
    /// Inhibitory interneurons `ni`.
    pub ni: usize,
    /// The nonlinearity `f`.
    pub nonlinearity: Nonlinearity,
    /// Whether inhibition divides as well as subtracts.
    pub divisive: bool,
}

impl DannShape {
    /// A hidden layer: ReLU, subtractive and divisive inhibition.
    pub fn new(d: usize, ne: usize, ni: usize) -> Self {
        Self { d, ne, ni, nonlinearity: Nonlinearity::Relu, divisive: true }
    }

    /// The same with the identity instead of ReLU, for output layers.
    #[must_use]
    pub fn linear(self) -> Self {
        Self { nonlinearity: Nonlinearity::Identity, ..self }
    }

    /// The same without division.
    #[must_use]
    pub fn subtractive(self) -> Self {
        Self { divisive: false, ..self }
    }

    /// The length of every parameter array. In the subtractive variant `alpha` and `g` are empty.
    ///
    /// # Errors
    /// [`Error::Dimension`] if a dimension is zero or an array would not fit in memory.
    pub fn lengths(&self) -> Result<Dann<usize>, Error> {
        dimension("d", self.d)?;
        dimension("ne", self.ne)?;
        dimension("ni", self.ni)?;
        Ok(Dann {
            wex: area("ne", self.ne, self.d)?,
            wix: area("ni", self.ni, self.d)?,
            wei: area("ne", self.ne, self.ni)?,
            alpha: if self.divisive { self.ni } else { 0 },
            g: if self.divisive { self.ne } else { 0 },
            b: self.ne,
        })
    }

    pub(crate) fn names(&self) -> Dann<&'static str> {
        Dann::<()>::NAMES
    }

    /// Whether a parameter may be negative.
    pub(crate) fn signed(&self, letter: Letter) -> bool {
        matches!(letter, Letter::Alpha | Letter::B)
    }
}

arrays! {
    /// One `A` for each parameter of a layer with inhibition: the arrays themselves, views of them, gradients, factors.
    ///
    /// Matrices are row-major with the last index contiguous.
    Dann, DannParams, DannRef, DannMut for DannShape {
        /// `Wex [ne, d]`: input → excitatory weights, ≥ 0.
        wex: Wex = "Wex",
        /// `Wix [ni, d]`: input → interneuron weights, ≥ 0.
        wix: Wix = "Wix",
        /// `Wei [ne, ni]`: interneuron → excitatory weights, ≥ 0.
        wei: Wei = "Wei",
        /// `alpha [ni]`: log-strength of divisive inhibition, of any sign. Empty in the subtractive variant.
        alpha: Alpha = "alpha",
        /// `g [ne]`: gain, ≥ 0. Empty in the subtractive variant.
        g: G = "g",
        /// `b [ne]`: bias.
        b: B = "b",
    }
}
