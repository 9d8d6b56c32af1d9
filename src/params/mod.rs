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

/// Checks a dimension.
fn dimension(name: &'static str, value: usize) -> Result<(), Error> {
    if value == 0 {
        return Err(Error::Dimension { name, value, expected: "at least 1" });
    }
    Ok(())
}

/// The elements of an array with these two dimensions.
fn area(name: &'static str, rows: usize, cols: usize) -> Result<usize, Error> {
    let elements = rows.checked_mul(cols).filter(|&n| n <= isize::MAX as usize / size_of::<f64>());
    elements.ok_or(Error::Dimension { name, value: rows, expected: "dimensions whose product fits in memory" })
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

/// Checks the length of an array.
fn length(name: &'static str, len: usize, expected: usize) -> Result<(), Error> {
    if len != expected {
        return Err(Error::Length { name, len, expected });
    }
    Ok(())
}

/// Checks that all values are finite and, where a sign is kept, not negative.
fn values<T: Element>(name: &'static str, values: &[T], signed: bool) -> Result<(), Error> {
    match values.iter().position(|&v| !v.is_finite() || (!signed && v < T::ZERO)) {
        None => Ok(()),
        Some(index) => Err(Error::Value {
            name,
            index,
            value: values[index].to_f64(),
            expected: if signed { "a finite number" } else { "a finite number ≥ 0" },
        }),
    }
}
