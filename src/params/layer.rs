//! A layer of any kind.

use super::Nonlinearity;
use super::arrays::Letter;
use super::dann::{Dann, DannMut, DannParams, DannRef, DannShape};
use super::dense::{Dense, DenseMut, DenseParams, DenseRef, DenseShape};
use super::norm::{Norm, NormMut, NormParams, NormRef, NormShape};
use crate::element::Element;
use crate::error::Error;

/// The shape of a layer of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LayerShape {
    /// Separate excitatory and inhibitory units.
    Dann(DannShape),
    /// No interneurons: a plain layer, or columns that keep their signs.
    Dense(DenseShape),
    /// Layer or batch normalisation.
    Norm(NormShape),
}

/// The same expression for the shape or the arrays of each kind of layer.
macro_rules! each {
    ($value:expr, $of:ident, $own:ident => $call:expr) => {
        match $value {
            $of::Dann($own) => $call,
            $of::Dense($own) => $call,
            $of::Norm($own) => $call,
        }
    };
}

/// The same expression for two values, each in the variant of the same kind of layer.
macro_rules! both {
    (($first:expr, $second:expr), ($of:ident, $with:ident), ($a:ident, $b:ident) => $call:expr, else $otherwise:expr) => {
        match ($first, $second) {
            ($of::Dann($a), $with::Dann($b)) => $call,
            ($of::Dense($a), $with::Dense($b)) => $call,
            ($of::Norm($a), $with::Norm($b)) => $call,
            _ => $otherwise,
        }
    };
}

impl LayerShape {
    /// Inputs `d`.
    pub fn inputs(&self) -> usize {
        each!(self, Self, shape => shape.d)
    }

    /// Outputs `ne`.
    pub fn outputs(&self) -> usize {
        each!(self, Self, shape => shape.ne)
    }

    /// The names of its arrays with their dimensions, as they are stored: row-major.
    ///
    /// Arrays that a variant does not have are left out: `alpha` and `g` where inhibition does not divide, running
    /// statistics in layer normalisation. The others are in the order of the fields.
    pub fn arrays(&self) -> Vec<(&'static str, Vec<usize>)> {
        let (d, ne) = (self.inputs(), self.outputs());
        match self {
            Self::Dann(shape) => {
                let (ni, division) = (shape.ni, shape.divisive);
                let dimensions = Dann {
                    wex: vec![ne, d],
                    wix: vec![ni, d],
                    wei: vec![ne, ni],
                    alpha: if division { vec![ni] } else { vec![] },
                    g: if division { vec![ne] } else { vec![] },
                    b: vec![ne],
                };
                there_are(shape.names().zip(dimensions).into_array())
            }
            Self::Dense(shape) => there_are(shape.names().zip(Dense { w: vec![ne, d], b: vec![ne] }).into_array()),
            Self::Norm(shape) => {
                let running = || if self.has_batch_statistics() { vec![ne] } else { vec![] };
                let dimensions =
                    Norm { w: vec![ne, d], g: vec![ne], b: vec![ne], mean: running(), variance: running() };
                there_are(shape.names().zip(dimensions).into_array())
            }
        }
    }

    /// The nonlinearity at its end.
    pub fn nonlinearity(&self) -> Nonlinearity {
        each!(self, Self, shape => shape.nonlinearity)
    }

    /// Whether what it does with an example depends on the others of the batch.
    pub(crate) fn has_batch_statistics(&self) -> bool {
        matches!(self, Self::Norm(NormShape { over: super::norm::Over::Examples, .. }))
    }

    /// What errors call the kind.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Dann(_) => "DANN",
            Self::Dense(_) => "dense",
            Self::Norm(_) => "normalised",
        }
    }

    /// Whether a parameter may be negative.
    pub(crate) fn signed(&self, letter: Letter) -> bool {
        each!(self, Self, shape => shape.signed(letter))
    }

    /// Checks the dimensions.
    pub(crate) fn check(&self) -> Result<(), Error> {
        each!(self, Self, shape => shape.lengths().map(|_| ()))
    }

    /// Useful floating-point operations of a train step with `batch` examples, forward and backward, with or without
    /// the input gradient: `2·B·d·(ne+ni)·c + 12·B·ne·ni`, c = 3 or 2. Half of the last term is division's and is not
    /// counted in the subtractive variant. Normalisation is not counted: it is no product.
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
        let ni = if let Self::Dann(shape) = self { shape.ni } else { 0 };
        (batch as f64, self.inputs() as f64, self.outputs() as f64, ni as f64)
    }
}

/// The arrays that have dimensions.
fn there_are<const N: usize>(arrays: [(&'static str, Vec<usize>); N]) -> Vec<(&'static str, Vec<usize>)> {
    arrays.into_iter().filter(|(_, dimensions)| !dimensions.is_empty()).collect()
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

impl From<NormShape> for LayerShape {
    fn from(shape: NormShape) -> Self {
        Self::Norm(shape)
    }
}

/// The arrays of a layer of any kind: `A` for a DANN's, `P` for those of a layer without interneurons, `N` for a
/// normalised layer's.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum LayerArrays<A, P, N> {
    /// Separate excitatory and inhibitory units.
    Dann(A),
    /// No interneurons.
    Dense(P),
    /// Layer or batch normalisation.
    Norm(N),
}

/// One `A` for each array of a layer of any kind.
pub(crate) type LayerOf<A> = LayerArrays<Dann<A>, Dense<A>, Norm<A>>;
/// Owned arrays, one for each parameter.
pub type LayerParams<T> = LayerArrays<DannParams<T>, DenseParams<T>, NormParams<T>>;
/// Arrays that are read.
pub type LayerRef<'a, T> = LayerArrays<DannRef<'a, T>, DenseRef<'a, T>, NormRef<'a, T>>;
/// Arrays that are written: parameters to update, or gradients to fill.
pub type LayerMut<'a, T> = LayerArrays<DannMut<'a, T>, DenseMut<'a, T>, NormMut<'a, T>>;

impl<A> LayerOf<A> {
    /// Calls `f` with each letter and array, in the order of the fields.
    pub(crate) fn for_each(self, f: impl FnMut(Letter, A)) {
        self.map(f);
    }

    /// Each array together with its counterpart.
    ///
    /// # Panics
    /// If the other arrays are of another kind of layer.
    pub(crate) fn zip<B>(self, other: LayerOf<B>) -> LayerOf<(A, B)> {
        match (self, other) {
            (Self::Dann(own), LayerArrays::Dann(other)) => LayerArrays::Dann(own.zip(other)),
            (Self::Dense(own), LayerArrays::Dense(other)) => LayerArrays::Dense(own.zip(other)),
            (Self::Norm(own), LayerArrays::Norm(other)) => LayerArrays::Norm(own.zip(other)),
            _ => unreachable!("arrays of one kind of layer"),
        }
    }

    /// `f` of each letter and array.
    pub(crate) fn map<B>(self, mut f: impl FnMut(Letter, A) -> B) -> LayerOf<B> {
        match self {
            Self::Dann(own) => LayerArrays::Dann(Dann::<()>::LETTERS.zip(own).map(|(l, array)| f(l, array))),
            Self::Dense(own) => LayerArrays::Dense(Dense::<()>::LETTERS.zip(own).map(|(l, array)| f(l, array))),
            Self::Norm(own) => LayerArrays::Norm(Norm::<()>::LETTERS.zip(own).map(|(l, array)| f(l, array))),
        }
    }
}

impl<T: Element> LayerParams<T> {
    /// Arrays of zeros.
    ///
    /// # Errors
    /// [`Error::Dimension`] if a dimension is zero or overflows, [`Error::TooLarge`] if an array does not fit in memory.
    pub fn zeros(shape: &LayerShape) -> Result<Self, Error> {
        Ok(match shape {
            LayerShape::Dann(shape) => Self::Dann(DannParams::zeros(shape)?),
            LayerShape::Dense(shape) => Self::Dense(DenseParams::zeros(shape)?),
            LayerShape::Norm(shape) => Self::Norm(NormParams::zeros(shape)?),
        })
    }

    /// A view for reading.
    pub fn view(&self) -> LayerRef<'_, T> {
        match self {
            Self::Dann(params) => LayerArrays::Dann(params.view()),
            Self::Dense(params) => LayerArrays::Dense(params.view()),
            Self::Norm(params) => LayerArrays::Norm(params.view()),
        }
    }

    /// A view for writing.
    pub fn view_mut(&mut self) -> LayerMut<'_, T> {
        match self {
            Self::Dann(params) => LayerArrays::Dann(params.view_mut()),
            Self::Dense(params) => LayerArrays::Dense(params.view_mut()),
            Self::Norm(params) => LayerArrays::Norm(params.view_mut()),
        }
    }
}

impl<'a, T: Element> LayerRef<'a, T> {
    /// A copy of the arrays.
    pub fn to_owned(&self) -> LayerParams<T> {
        self.map(|_, array| array.to_vec())
    }

    /// The arrays with their names, in the order of the fields. Those that a variant of the layer does not have are
    /// empty.
    pub fn arrays(&self) -> Vec<(&'static str, &'a [T])> {
        match *self {
            Self::Dann(params) => Dann::<()>::NAMES.zip(params).into_array().into(),
            Self::Dense(params) => Dense::<()>::NAMES.zip(params).into_array().into(),
            Self::Norm(params) => Norm::<()>::NAMES.zip(params).into_array().into(),
        }
    }

    /// Checks kind and lengths.
    pub(crate) fn check(&self, shape: &LayerShape) -> Result<(), Error> {
        both!((self, shape), (Self, LayerShape), (params, shape) => params.check(shape),
            else Err(Error::Kind { expected: shape.kind() }))
    }

    /// Checks that the arrays can be a layer's parameters: kind, lengths, finite values, and no negative values where
    /// the sign is kept.
    ///
    /// # Errors
    /// [`Error::Kind`], [`Error::Length`] or [`Error::Value`]; [`Error::Dimension`] if the shape itself is impossible.
    pub fn validate(&self, shape: &LayerShape) -> Result<(), Error> {
        both!((self, shape), (Self, LayerShape), (params, shape) => params.validate(shape),
            else Err(Error::Kind { expected: shape.kind() }))
    }
}

impl<'a, T: Element> LayerMut<'a, T> {
    /// The arrays with their names, in the order of the fields. Those that a variant of the layer does not have are
    /// empty.
    pub fn arrays(self) -> Vec<(&'static str, &'a mut [T])> {
        match self {
            Self::Dann(params) => Dann::<()>::NAMES.zip(params).into_array().into(),
            Self::Dense(params) => Dense::<()>::NAMES.zip(params).into_array().into(),
            Self::Norm(params) => Norm::<()>::NAMES.zip(params).into_array().into(),
        }
    }

    /// A view for reading.
    pub fn view(&self) -> LayerRef<'_, T> {
        match self {
            Self::Dann(params) => LayerArrays::Dann(params.view()),
            Self::Dense(params) => LayerArrays::Dense(params.view()),
            Self::Norm(params) => LayerArrays::Norm(params.view()),
        }
    }
}

/// Arrays of one kind of layer are arrays of a layer.
macro_rules! from {
    ($($variant:ident: $ref:ident, $mut:ident);*) => {$(
        impl<'a, T> From<$ref<'a, T>> for LayerRef<'a, T> {
            fn from(params: $ref<'a, T>) -> Self {
                Self::$variant(params)
            }
        }

        impl<'a, T> From<$mut<'a, T>> for LayerMut<'a, T> {
            fn from(params: $mut<'a, T>) -> Self {
                Self::$variant(params)
            }
        }
    )*};
}

from!(Dann: DannRef, DannMut; Dense: DenseRef, DenseMut; Norm: NormRef, NormMut);
