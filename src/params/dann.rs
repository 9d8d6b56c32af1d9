//! The layer with inhibition.

use super::{Nonlinearity, area, dimension, length, values, zeros};
use crate::element::Element;
use crate::error::Error;

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
}

/// One `A` for each parameter of a layer with inhibition: the arrays themselves, views of them, gradients, factors.
///
/// Matrices are row-major with the last index contiguous.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dann<A> {
    /// `Wex [ne, d]`: input → excitatory weights, ≥ 0.
    pub wex: A,
    /// `Wix [ni, d]`: input → interneuron weights, ≥ 0.
    pub wix: A,
    /// `Wei [ne, ni]`: interneuron → excitatory weights, ≥ 0.
    pub wei: A,
    /// `alpha [ni]`: log-strength of divisive inhibition, of any sign. Empty in the subtractive variant.
    pub alpha: A,
    /// `g [ne]`: gain, ≥ 0. Empty in the subtractive variant.
    pub g: A,
    /// `b [ne]`: bias.
    pub b: A,
}

/// Owned arrays, one for each parameter.
pub type DannParams<T> = Dann<Vec<T>>;
/// Arrays that are read.
pub type DannRef<'a, T> = Dann<&'a [T]>;
/// Arrays that are written: parameters to update, or gradients to fill.
pub type DannMut<'a, T> = Dann<&'a mut [T]>;

impl<A> Dann<A> {
    /// The names of the parameters, as in the equations.
    pub const NAMES: Dann<&'static str> = Dann { wex: "Wex", wix: "Wix", wei: "Wei", alpha: "alpha", g: "g", b: "b" };

    /// The same value for each parameter.
    pub fn all(value: A) -> Self
    where
        A: Clone,
    {
        Dann {
            wex: value.clone(),
            wix: value.clone(),
            wei: value.clone(),
            alpha: value.clone(),
            g: value.clone(),
            b: value,
        }
    }

    /// `f` of each parameter.
    pub fn map<B>(self, mut f: impl FnMut(A) -> B) -> Dann<B> {
        Dann { wex: f(self.wex), wix: f(self.wix), wei: f(self.wei), alpha: f(self.alpha), g: f(self.g), b: f(self.b) }
    }

    /// Each parameter together with its counterpart.
    pub fn zip<B>(self, other: Dann<B>) -> Dann<(A, B)> {
        Dann {
            wex: (self.wex, other.wex),
            wix: (self.wix, other.wix),
            wei: (self.wei, other.wei),
            alpha: (self.alpha, other.alpha),
            g: (self.g, other.g),
            b: (self.b, other.b),
        }
    }

    /// The parameters in the order `wex`, `wix`, `wei`, `alpha`, `g`, `b`.
    pub fn into_array(self) -> [A; 6] {
        [self.wex, self.wix, self.wei, self.alpha, self.g, self.b]
    }
}

impl<T: Element> DannParams<T> {
    /// Arrays of zeros.
    ///
    /// # Errors
    /// [`Error::Dimension`] if a dimension is zero, [`Error::TooLarge`] if an array does not fit in memory.
    pub fn zeros(shape: &DannShape) -> Result<Self, Error> {
        let lengths = shape.lengths()?;
        Ok(Dann {
            wex: zeros(lengths.wex)?,
            wix: zeros(lengths.wix)?,
            wei: zeros(lengths.wei)?,
            alpha: zeros(lengths.alpha)?,
            g: zeros(lengths.g)?,
            b: zeros(lengths.b)?,
        })
    }

    /// A view for reading.
    pub fn view(&self) -> DannRef<'_, T> {
        Dann { wex: &self.wex, wix: &self.wix, wei: &self.wei, alpha: &self.alpha, g: &self.g, b: &self.b }
    }

    /// A view for writing.
    pub fn view_mut(&mut self) -> DannMut<'_, T> {
        Dann {
            wex: &mut self.wex,
            wix: &mut self.wix,
            wei: &mut self.wei,
            alpha: &mut self.alpha,
            g: &mut self.g,
            b: &mut self.b,
        }
    }
}

impl<T: Element> DannRef<'_, T> {
    /// Checks the length of each array.
    pub(crate) fn check(&self, shape: &DannShape) -> Result<(), Error> {
        let arrays = self.map(<[T]>::len).zip(shape.lengths()?).zip(Dann::<()>::NAMES);
        arrays.into_array().into_iter().try_for_each(|((len, expected), name)| length(name, len, expected))
    }

    /// Checks that the arrays can be a layer's parameters: their lengths, that all values are finite, and that `Wex`,
    /// `Wix`, `Wei` and `g` are nowhere negative.
    ///
    /// # Errors
    /// [`Error::Length`] or [`Error::Value`], naming the parameter; [`Error::Dimension`] if the shape itself is impossible.
    pub fn validate(&self, shape: &DannShape) -> Result<(), Error> {
        self.check(shape)?;
        let arrays = self.zip(Dann::<()>::NAMES).zip(SIGNED);
        arrays.into_array().into_iter().try_for_each(|((array, name), signed)| values(name, array, signed))
    }
}

impl<T: Element> DannMut<'_, T> {
    /// A view for reading.
    pub fn view(&self) -> DannRef<'_, T> {
        Dann { wex: self.wex, wix: self.wix, wei: self.wei, alpha: self.alpha, g: self.g, b: self.b }
    }
}

/// Which parameters may be negative.
pub(crate) const SIGNED: Dann<bool> = Dann { wex: false, wix: false, wei: false, alpha: true, g: false, b: true };
