//! A layer of any kind.

use super::Nonlinearity;
use super::dann::{Dann, DannMut, DannParams, DannRef, DannShape};
use super::dense::{DenseMut, DenseParams, DenseRef, DenseShape};
use crate::element::Element;
use crate::error::Error;

/// The shape of a layer of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LayerShape {
    /// Separate excitatory and inhibitory units.
    Dann(DannShape),
    /// A plain layer.
    Dense(DenseShape),
}

impl LayerShape {
    /// Inputs `d`.
    pub fn inputs(&self) -> usize {
        match self {
            Self::Dann(shape) => shape.d,
            Self::Dense(shape) => shape.d,
        }
    }

    /// Outputs `ne`.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Dann(shape) => shape.ne,
            Self::Dense(shape) => shape.ne,
        }
    }

    /// The names of its parameters with their dimensions, as they are stored: row-major.
    ///
    /// In the subtractive variant there is neither `alpha` nor `g`.
    pub fn arrays(&self) -> Vec<(&'static str, Vec<usize>)> {
        match *self {
            Self::Dann(DannShape { d, ne, ni, divisive, .. }) => {
                let dimensions = Dann {
                    wex: vec![ne, d],
                    wix: vec![ni, d],
                    wei: vec![ne, ni],
                    alpha: vec![ni],
                    g: vec![ne],
                    b: vec![ne],
                };
                let arrays = Dann::<()>::NAMES.zip(dimensions).into_array();
                arrays.into_iter().filter(|(name, _)| divisive || !["alpha", "g"].contains(name)).collect()
            }
            Self::Dense(DenseShape { d, ne, .. }) => vec![("W", vec![ne, d]), ("b", vec![ne])],
        }
    }

    /// The nonlinearity at its end.
    pub fn nonlinearity(&self) -> Nonlinearity {
        match self {
            Self::Dann(shape) => shape.nonlinearity,
            Self::Dense(shape) => shape.nonlinearity,
        }
    }

    /// What errors call the kind.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Dann(_) => "DANN",
            Self::Dense(_) => "dense",
        }
    }

    /// Checks the dimensions.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self {
            Self::Dann(shape) => shape.lengths().map(|_| ()),
            Self::Dense(shape) => shape.lengths().map(|_| ()),
        }
    }

    /// Useful floating-point operations of a train step with `batch` examples, forward and backward, with or without
    /// the input gradient: `2·B·d·(ne+ni)·c + 12·B·ne·ni`, c = 3 or 2. Half of the last term is division's and is not
    /// counted in the subtractive variant.
    pub fn train_flops(&self, batch: usize, input_gradient: bool) -> f64 {
        let products = if input_gradient { 3.0 } else { 2.0 };
        let (b, d, ne, ni) = self.sizes(batch);
        2.0 * b * d * (ne + ni) * products + 6.0 * self.inhibitions() * b * ne * ni
    }

    /// Useful floating-point operations of a forward pass: `2·B·d·(ne+ni) + 4·B·ne·ni`, half of the last term being
    /// division's.
    pub fn forward_flops(&self, batch: usize) -> f64 {
        let (b, d, ne, ni) = self.sizes(batch);
        2.0 * b * d * (ne + ni) + 2.0 * self.inhibitions() * b * ne * ni
    }

    /// Kinds of inhibition: subtractive, or subtractive and divisive.
    fn inhibitions(&self) -> f64 {
        if matches!(self, Self::Dann(DannShape { divisive: true, .. })) { 2.0 } else { 1.0 }
    }

    fn sizes(&self, batch: usize) -> (f64, f64, f64, f64) {
        let ni = match self {
            Self::Dann(shape) => shape.ni,
            Self::Dense(_) => 0,
        };
        (batch as f64, self.inputs() as f64, self.outputs() as f64, ni as f64)
    }
}

impl From<DannShape> for LayerShape {
    fn from(shape: DannShape) -> Self {
        Self::Dann(shape)
    }
}

impl From<DenseShape> for LayerShape {
    fn from(shape: DenseShape) -> Self {
        Self::Dense(shape)
    }
}

/// The arrays of a layer of any kind: `A` for a DANN's, `P` for a plain layer's.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum LayerArrays<A, P> {
    /// Separate excitatory and inhibitory units.
    Dann(A),
    /// A plain layer.
    Dense(P),
}

/// Owned arrays, one for each parameter.
pub type LayerParams<T> = LayerArrays<DannParams<T>, DenseParams<T>>;
/// Arrays that are read.
pub type LayerRef<'a, T> = LayerArrays<DannRef<'a, T>, DenseRef<'a, T>>;
/// Arrays that are written: parameters to update, or gradients to fill.
pub type LayerMut<'a, T> = LayerArrays<DannMut<'a, T>, DenseMut<'a, T>>;

impl<T: Element> LayerParams<T> {
    /// Arrays of zeros.
    ///
    /// # Errors
    /// [`Error::Dimension`] if a dimension is zero or overflows, [`Error::TooLarge`] if an array does not fit in memory.
    pub fn zeros(shape: &LayerShape) -> Result<Self, Error> {
        Ok(match shape {
            LayerShape::Dann(shape) => Self::Dann(DannParams::zeros(shape)?),
            LayerShape::Dense(shape) => Self::Dense(DenseParams::zeros(shape)?),
        })
    }

    /// A view for reading.
    pub fn view(&self) -> LayerRef<'_, T> {
        match self {
            Self::Dann(params) => LayerArrays::Dann(params.view()),
            Self::Dense(params) => LayerArrays::Dense(params.view()),
        }
    }

    /// A view for writing.
    pub fn view_mut(&mut self) -> LayerMut<'_, T> {
        match self {
            Self::Dann(params) => LayerArrays::Dann(params.view_mut()),
            Self::Dense(params) => LayerArrays::Dense(params.view_mut()),
        }
    }
}

impl<'a, T: Element> LayerRef<'a, T> {
    /// A copy of the arrays.
    pub fn to_owned(&self) -> LayerParams<T> {
        match self {
            Self::Dann(params) => LayerArrays::Dann(params.map(<[T]>::to_vec)),
            Self::Dense(params) => LayerArrays::Dense(params.map(<[T]>::to_vec)),
        }
    }

    /// The arrays with their names, in the order of the fields.
    pub fn arrays(&self) -> Vec<(&'static str, &'a [T])> {
        match self {
            Self::Dann(params) => Dann::<()>::NAMES.zip(*params).into_array().to_vec(),
            Self::Dense(params) => vec![("W", params.w), ("b", params.b)],
        }
    }

    /// Checks kind and lengths.
    pub(crate) fn check(&self, shape: &LayerShape) -> Result<(), Error> {
        match (self, shape) {
            (Self::Dann(params), LayerShape::Dann(shape)) => params.check(shape),
            (Self::Dense(params), LayerShape::Dense(shape)) => params.check(shape),
            _ => Err(Error::Kind { expected: shape.kind() }),
        }
    }

    /// Checks that the arrays can be a layer's parameters: kind, lengths, finite values, and no negative values where
    /// the sign is kept.
    ///
    /// # Errors
    /// [`Error::Kind`], [`Error::Length`] or [`Error::Value`]; [`Error::Dimension`] if the shape itself is impossible.
    pub fn validate(&self, shape: &LayerShape) -> Result<(), Error> {
        match (self, shape) {
            (Self::Dann(params), LayerShape::Dann(shape)) => params.validate(shape),
            (Self::Dense(params), LayerShape::Dense(shape)) => params.validate(shape),
            _ => Err(Error::Kind { expected: shape.kind() }),
        }
    }
}

impl<'a, T: Element> LayerMut<'a, T> {
    /// The arrays with their names, in the order of the fields.
    pub fn arrays(self) -> Vec<(&'static str, &'a mut [T])> {
        match self {
            Self::Dann(params) => Dann::<()>::NAMES.zip(params).into_array().into(),
            Self::Dense(params) => vec![("W", params.w), ("b", params.b)],
        }
    }

    /// A view for reading.
    pub fn view(&self) -> LayerRef<'_, T> {
        match self {
            Self::Dann(params) => LayerArrays::Dann(params.view()),
            Self::Dense(params) => LayerArrays::Dense(params.view()),
        }
    }
}

impl<'a, T> From<DannRef<'a, T>> for LayerRef<'a, T> {
    fn from(params: DannRef<'a, T>) -> Self {
        Self::Dann(params)
    }
}

impl<'a, T> From<DenseRef<'a, T>> for LayerRef<'a, T> {
    fn from(params: DenseRef<'a, T>) -> Self {
        Self::Dense(params)
    }
}

impl<'a, T> From<DannMut<'a, T>> for LayerMut<'a, T> {
    fn from(params: DannMut<'a, T>) -> Self {
        Self::Dann(params)
    }
}

impl<'a, T> From<DenseMut<'a, T>> for LayerMut<'a, T> {
    fn from(params: DenseMut<'a, T>) -> Self {
        Self::Dense(params)
    }
}
