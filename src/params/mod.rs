//! What a layer is: its dimensions and its parameters, as owned arrays or as views of a caller's.

pub(crate) mod arrays;
pub(crate) mod dann;
pub(crate) mod dense;
pub(crate) mod layer;
pub(crate) mod norm;
pub(crate) mod state;
pub(crate) mod update;

use crate::element::Element;
use crate::error::Error;

/// The nonlinearity `f` at a layer's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Nonlinearity {
    /// `f(z) = max(z, 0)`, for hidden layers.
    #[default]
    Relu,
    /// `f(z) = z`, for output layers.
    Identity,
}

/// An array of `value(0)`, `value(1)`, …, or an error if there is no memory for it.
pub(crate) fn array<T: Element>(len: usize, value: impl FnMut(usize) -> f64) -> Result<Vec<T>, Error> {
    let mut array = Vec::new();
    array.try_reserve_exact(len).map_err(|_| Error::TooLarge { elements: len })?;
    array.extend((0..len).map(value).map(T::from_f64));
    Ok(array)
}

/// An array of zeros, or an error if there is no memory for it.
fn zeros<T: Element>(len: usize) -> Result<Vec<T>, Error> {
    array(len, |_| 0.0)
}
