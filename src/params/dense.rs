//! The layer without interneurons: a plain one, or one whose columns keep their signs.

use super::arrays::{Letter, arrays};
use super::{Nonlinearity, zeros};
use crate::element::Element;
use crate::error::{Error, area, at_most, dimension};

/// Dimensions of a layer `h = f(x Wᵀ + b)`, and whether it obeys Dale's principle by its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DenseShape {
    /// Inputs `d`.
    pub d: usize,
    /// Outputs `ne`.
    pub ne: usize,
    /// The nonlinearity `f`.
    pub nonlinearity: Nonlinearity,
    /// Excitatory and inhibitory units side by side; none in a plain layer.
    pub columns: Option<Columns>,
}

/// Dale's principle by sign-constrained columns, ColumnEI: `z = (W⁺ D) x + b` with `W⁺ ≥ 0` and `D` diagonal, +1 for the
/// excitatory units of the layer below and −1 for its inhibitory ones, which are the last.
///
/// `D` is never multiplied with a matrix: `(W⁺ D) x = W⁺ (D x)`, so each unit hands on what it does with its own sign.
/// The layer computes `h = D' f(x W⁺ᵀ + b)`, where `D'` has −1 for the last `inhibitory_outputs` units, and its input
/// has gone through the `D` of the layer below in the same way. What comes in as `dh` are gradients by that signed output,
/// and `dx` are gradients by the signed input.
///
/// Source: Song, Yang, Wang, "Training excitatory-inhibitory recurrent neural networks", PLoS Computational Biology 2016,
/// as the baseline of Cornford et al., ICLR 2021.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Columns {
    /// How many of the inputs, the last ones, are inhibitory and come in with a negative sign. The initialisation
    /// balances them against the others.
    pub inhibitory_inputs: usize,
    /// How many of the outputs, the last ones, are inhibitory and go out with a negative sign.
    pub inhibitory_outputs: usize,
}

impl DenseShape {
    /// A hidden layer: ReLU, weights of any sign.
    pub fn new(d: usize, ne: usize) -> Self {
        Self { d, ne, nonlinearity: Nonlinearity::Relu, columns: None }
    }

    /// The same with the identity instead of ReLU, for output layers.
    #[must_use]
    pub fn linear(self) -> Self {
        Self { nonlinearity: Nonlinearity::Identity, ..self }
    }

    /// The same with weights ≥ 0, and so many inhibitory units among inputs and outputs: see [`Columns`].
    #[must_use]
    pub fn columns(self, inhibitory_inputs: usize, inhibitory_outputs: usize) -> Self {
        Self { columns: Some(Columns { inhibitory_inputs, inhibitory_outputs }), ..self }
    }

    /// The length of every parameter array.
    ///
    /// # Errors
    /// [`Error::Dimension`] if a dimension is zero, an array would not fit in memory, or more units are inhibitory than
    /// there are.
    pub fn lengths(&self) -> Result<Dense<usize>, Error> {
        dimension("d", self.d)?;
        dimension("ne", self.ne)?;
        let Columns { inhibitory_inputs, inhibitory_outputs } = self.columns.unwrap_or_default();
        at_most("inhibitory_inputs", inhibitory_inputs, self.d, "at most d, the inputs")?;
        at_most("inhibitory_outputs", inhibitory_outputs, self.ne, "at most ne, the outputs")?;
        Ok(Dense { w: area("ne", self.ne, self.d)?, b: self.ne })
    }

    /// The output from which on signs are negative.
    pub(crate) fn negative_from(&self) -> usize {
        self.ne - self.columns.unwrap_or_default().inhibitory_outputs
    }

    pub(crate) fn names(&self) -> Dense<&'static str> {
        let w = if self.columns.is_some() { "Wpos" } else { Dense::<()>::NAMES.w };
        Dense { w, ..Dense::<()>::NAMES }
    }

    /// Whether a parameter may be negative.
    pub(crate) fn signed(&self, letter: Letter) -> bool {
        self.columns.is_none() || letter == Letter::B
    }
}

arrays! {
    /// One `A` for each parameter of a layer without interneurons: the arrays themselves, views of them, gradients.
    Dense, DenseParams, DenseRef, DenseMut for DenseShape {
        /// `W [ne, d]`: weights, row-major; ≥ 0 (`Wpos`) where columns keep their signs.
        w: Wex = "W",
        /// `b [ne]`: bias.
        b: B = "b",
    }
}
