//! Initialisation from the moments of a batch of inputs.

use crate::element::Element;
use crate::error::Error;
use crate::layers::inhibition::division::Divisor;
use crate::matrix::MatRef;

/// The moments of a batch of inputs, from which inhibition is drawn that standardises what such inputs excite:
///
/// ```text
/// scale = √(v/(d (m2 + v)))
/// exp(alpha) = √((m2 + v)/d)/m1    or √(m2/d)/m1 for unit variance
///              √(d m2/(E(Σx)² + d m2))    with a root
/// ```
///
/// in the place of the `scale` and `alpha` of [`Scheme`](crate::Scheme). `ẑ` of a fresh matched layer then has variance
/// `m2/(m2 + v)` over its units, or 1, and with more than one interneuron a mean square of `1 + 1/ni` times that. The
/// fixed `alpha = ln √((2π−1)/d)` is that of half-normal inputs: `m1 = 1/√(2π)`, `m2 = ½`, `v = ½ − 1/(2π)`; so is that of
/// a root, `ln √(π/(d + 2π − 1))`. Networks are drawn layer after layer, each from the outputs of those before it:
/// [`Architecture::draw_from`](crate::Architecture::draw_from).
///
/// Source: the published code of DeepEISNN.
///
/// ```
/// use interneuron::*;
///
/// let x = [0.0, 0.5, 1.0, 1.0, 0.25, 0.75]; // two examples of three inputs
/// let moments = InputMoments::of(MatRef::new(&x, 2, 3)?)?;
/// assert!((moments.m1 - 3.5 / 6.0).abs() < 1e-12);
/// let init = Init { inputs: Inputs::Measured(moments), ..Init::default() };
/// let params = init.draw_dann::<f64>(&DannShape::new(3, 4, 2), &mut generator(1))?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputMoments {
    /// The mean of all inputs of all examples: above 0 for division, but for that by a root.
    pub m1: f64,
    /// The mean of their squares.
    pub m2: f64,
    /// The unbiased variance over the examples, averaged over the inputs, above 0.
    pub v: f64,
    /// The mean over the examples of the square of the sum of their inputs, `E(Σx)²`. Only a root asks for it.
    pub sum2: f64,
    /// Whether the variance of `ẑ` over units is to be 1 instead of `m2/(m2 + v)`. A root makes it about 1.
    pub unit_variance: bool,
}

impl InputMoments {
    /// Those of the examples `x [B, d]`, at least two. The variance is not made 1.
    ///
    /// # Errors
    /// [`Error::Dimension`] if there is one example only, [`Error::Value`] if an element is not finite,
    /// [`Error::Policy`] if their variance is not above 0, which the spread of weights needs. A mean that is not is refused
    /// when a layer is drawn that needs it.
    pub fn of<T: Element>(x: MatRef<'_, T>) -> Result<Self, Error> {
        x.check_finite("x")?;
        let (rows, cols) = (x.rows(), x.cols());
        if rows < 2 {
            return Err(Error::Dimension { name: "rows", value: rows, expected: "at least 2" });
        }
        let (examples, inputs) = (rows as f64, cols as f64);
        let column = |input: usize| (0..rows).map(move |row| x.row(row)[input].to_f64());
        let (mut m1, mut m2, mut v) = (0.0, 0.0, 0.0);
        for input in 0..cols {
            let mean = column(input).sum::<f64>() / examples;
            m1 += mean / inputs;
            m2 += column(input).map(|x| x * x).sum::<f64>() / examples / inputs;
            v += column(input).map(|x| (x - mean).powi(2)).sum::<f64>() / (examples - 1.0) / inputs;
        }
        let square = |row| x.row(row).iter().map(|x| x.to_f64()).sum::<f64>().powi(2);
        let sum2 = (0..rows).map(square).sum::<f64>() / examples;
        let moments = Self { m1, m2, v, sum2, unit_variance: false };
        moments.check().map(|()| moments)
    }

    /// Checks that weights can be drawn from them.
    fn check(self) -> Result<(), Error> {
        let numbers = [("m2", self.m2), ("v", self.v), ("m2 + v", self.m2 + self.v)];
        numbers.into_iter().try_for_each(|(name, value)| above_0(name, value))
    }

    /// The scale of the weights of `d` inputs, in `T`.
    ///
    /// # Errors
    /// [`Error::Policy`] if a moment is not a finite number above 0, or the variance too small for weights above 0.
    pub(crate) fn scale<T: Element>(self, d: usize) -> Result<f64, Error> {
        self.check()?;
        let Self { m2, v, .. } = self;
        let scale = (v / (m2 + v) / d as f64).sqrt();
        if T::from_f64(scale) == T::ZERO {
            return Err(Error::Policy { name: "v", value: v, expected: "a larger part of m2" });
        }
        Ok(scale)
    }

    /// `alpha` of `d` inputs; 0 where nothing divides.
    ///
    /// # Errors
    /// [`Error::Policy`] if a moment that the divisor asks for is not a finite number above 0.
    pub(crate) fn alpha(self, d: usize, divisor: Option<Divisor>) -> Result<f64, Error> {
        let Self { m1, m2, v, sum2, unit_variance } = self;
        let d = d as f64;
        match divisor {
            None => Ok(0.0),
            Some(Divisor::Plain | Divisor::Floor(_)) => {
                above_0("m1", m1)?;
                let spread = if unit_variance { m2 } else { m2 + v };
                Ok(0.5 * (spread / d).ln() - m1.ln())
            }
            Some(Divisor::Root) => {
                // A sum that is 0 for every example is one of inputs of both signs.
                if !(sum2 >= 0.0 && sum2.is_finite()) {
                    return Err(Error::Policy { name: "sum2", value: sum2, expected: "a finite number ≥ 0" });
                }
                Ok(-0.5 * (sum2 / (d * m2)).ln_1p())
            }
        }
    }
}

fn above_0(name: &'static str, value: f64) -> Result<(), Error> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::Policy { name, value, expected: "a finite number > 0" })
}
