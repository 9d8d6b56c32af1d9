//! The plain dense layer, which the layer with inhibition is compared with.

use super::{Nonlinearity, area, dimension, length, values, zeros};
use crate::element::Element;
use crate::error::Error;

/// Dimensions of a plain layer `h = f(x Wᵀ + b)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DenseShape {
    /// Inputs `d`.
    pub d: usize,
    /// Outputs `ne`.
    pub ne: usize,
    /// The nonlinearity `f`.
    pub nonlinearity: Nonlinearity,
}

impl DenseShape {
    /// A hidden layer: ReLU.
    pub fn new(d: usize, ne: usize) -> Self {
        Self { d, ne, nonlinearity: Nonlinearity::Relu }
    }

    /// The same with the identity instead of ReLU, for output layers.
    #[must_use]
    pub fn linear(self) -> Self {
        Self { nonlinearity: Nonlinearity::Identity, ..self }
    }

    /// The length of every parameter array.
    ///
    /// # Errors
    /// [`Error::Dimension`] if a dimension is zero or an array would not fit in memory.
    pub fn lengths(&self) -> Result<Dense<usize>, Error> {
        dimension("d", self.d)?;
        dimension("ne", self.ne)?;
        Ok(Dense { w: area("ne", self.ne, self.d)?, b: self.ne })
    }
}

/// One `A` for each parameter of a plain layer: the arrays themselves, views of them, gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dense<A> {
    /// `W [ne, d]`: weights, row-major.
    pub w: A,
    /// `b [ne]`: bias.
    pub b: A,
}

/// Owned arrays, one for each parameter.
pub type DenseParams<T> = Dense<Vec<T>>;
/// Arrays that are read.
pub type DenseRef<'a, T> = Dense<&'a [T]>;
/// Arrays that are written: parameters to update, or gradients to fill.
pub type DenseMut<'a, T> = Dense<&'a mut [T]>;

impl<A> Dense<A> {
    /// `f` of each parameter.
    pub fn map<B>(self, mut f: impl FnMut(A) -> B) -> Dense<B> {
        Dense { w: f(self.w), b: f(self.b) }
    }
}

impl<T: Element> DenseParams<T> {
    /// Arrays of zeros.
    ///
    /// # Errors
    /// [`Error::Dimension`] if a dimension is zero, [`Error::TooLarge`] if an array does not fit in memory.
    pub fn zeros(shape: &DenseShape) -> Result<Self, Error> {
        let lengths = shape.lengths()?;
        Ok(Dense { w: zeros(lengths.w)?, b: zeros(lengths.b)? })
    }

    /// A view for reading.
    pub fn view(&self) -> DenseRef<'_, T> {
        Dense { w: &self.w, b: &self.b }
    }

    /// A view for writing.
    pub fn view_mut(&mut self) -> DenseMut<'_, T> {
        Dense { w: &mut self.w, b: &mut self.b }
    }
}

impl<T: Element> DenseRef<'_, T> {
    /// Checks the length of each array.
    pub(crate) fn check(&self, shape: &DenseShape) -> Result<(), Error> {
        let expected = shape.lengths()?;
        length("W", self.w.len(), expected.w)?;
        length("b", self.b.len(), expected.b)
    }

    /// Checks that the arrays can be a layer's parameters: their lengths, and that all values are finite.
    ///
    /// # Errors
    /// [`Error::Length`] or [`Error::Value`], naming the parameter; [`Error::Dimension`] if the shape itself is impossible.
    pub fn validate(&self, shape: &DenseShape) -> Result<(), Error> {
        self.check(shape)?;
        values("W", self.w, true)?;
        values("b", self.b, true)
    }
}

impl<T: Element> DenseMut<'_, T> {
    /// A view for reading.
    pub fn view(&self) -> DenseRef<'_, T> {
        Dense { w: self.w, b: self.b }
    }
}
