//! The parameters of a fresh layer with inhibition.

use crate::element::Element;
use crate::error::Error;
use crate::init::{Init, Inputs, Law, RandomNumbers, Scheme, centred_deviation};
use crate::layers::dann::{Dann, DannParams, DannShape};
use crate::layers::inhibition::division::Divisor;
use crate::params::array;
use std::f64::consts::PI;

/// `Wex`, `Wix` and `Wei`.
type Weights<T> = [Vec<T>; 3];

impl Init {
    /// Draws the parameters of a layer with inhibition: see [`Scheme`]. The numbers of `Wex` are drawn first, then
    /// those of `Wix` and those of `Wei`, each row by row, as far as these are drawn.
    ///
    /// # Errors
    /// As [`Init::draw`].
    pub fn draw_dann<T: Element>(
        self,
        shape: &DannShape,
        numbers: &mut impl RandomNumbers,
    ) -> Result<DannParams<T>, Error> {
        let lengths = shape.lengths()?;
        self.scheme.check()?;
        let ([wex, wix, wei], alpha) = match self.scheme {
            Scheme::Centred(law) => {
                let s = centred_deviation(self.inputs, shape.d, shape.ne)?;
                (centred(shape, law, s, numbers)?, (fixed_strength(shape) / law.k()).ln())
            }
            Scheme::Matched => {
                let (scale, alpha) = self.scale_and_alpha::<T>(shape)?;
                (matched(shape, scale, numbers)?, alpha)
            }
            Scheme::Independent => {
                let (scale, alpha) = self.scale_and_alpha::<T>(shape)?;
                (independent(shape, scale, numbers)?, alpha)
            }
        };
        Ok(Dann {
            wex,
            wix,
            wei,
            alpha: array(lengths.alpha, |_| alpha)?,
            g: array(lengths.g, |_| 1.0)?,
            b: array(lengths.b, |_| 0.0)?,
        })
    }

    /// The scale of exponential weights, and `alpha`.
    fn scale_and_alpha<T: Element>(self, shape: &DannShape) -> Result<(f64, f64), Error> {
        let inputs = shape.d as f64;
        let scale = match self.inputs {
            Inputs::Linear => (0.5 / inputs).sqrt(),
            Inputs::Rectified => (2.0 * PI / (inputs * (2.0 * PI - 1.0))).sqrt(),
            Inputs::Measured(moments) => {
                return Ok((moments.scale::<T>(shape.d)?, moments.alpha(shape.d, shape.divides_by())?));
            }
            Inputs::Recurrent => {
                return Err(Error::Unsupported {
                    what: "a draw for recurrent inputs by Scheme::Matched or Scheme::Independent",
                    expected: "Scheme::Centred",
                });
            }
        };
        Ok((scale, fixed_strength(shape).ln()))
    }
}

/// `exp(alpha)` that standardises what a half-normal distribution of inputs excites.
pub(in crate::layers) fn fixed_strength(shape: &DannShape) -> f64 {
    let d = shape.d as f64;
    match shape.divisor {
        Divisor::Plain | Divisor::Floor(_) => ((2.0 * PI - 1.0) / d).sqrt(),
        Divisor::Root => (PI / (d + 2.0 * PI - 1.0)).sqrt(),
    }
}

/// An array of exponential numbers of mean `scale`.
fn exponential<T: Element>(len: usize, scale: f64, numbers: &mut impl RandomNumbers) -> Result<Vec<T>, Error> {
    array(len, |_| scale * numbers.exponential())
}

/// The mean of the rows of `wex [ne, d]`.
fn mean_row<T: Element>(wex: &[T], d: usize) -> Result<Vec<T>, Error> {
    let units = (wex.len() / d) as f64;
    array(d, |k| wex[k..].iter().step_by(d).map(|w| w.to_f64()).sum::<f64>() / units)
}

fn matched<T: Element>(
    &DannShape { d, ne, ni, .. }: &DannShape,
    scale: f64,
    numbers: &mut impl RandomNumbers,
) -> Result<Weights<T>, Error> {
    let wex = exponential(ne * d, scale, numbers)?;
    let wix = if ni == 1 { mean_row(&wex, d)? } else { exponential(ni * d, scale, numbers)? };
    Ok([wex, wix, array(ne * ni, |_| 1.0 / ni as f64)?])
}

fn independent<T: Element>(
    &DannShape { d, ne, ni, .. }: &DannShape,
    scale: f64,
    numbers: &mut impl RandomNumbers,
) -> Result<Weights<T>, Error> {
    let wex = exponential(ne * d, scale, numbers)?;
    let scale = (scale / ni as f64).sqrt();
    Ok([wex, exponential(ni * d, scale, numbers)?, exponential(ne * ni, scale, numbers)?])
}

pub(in crate::layers) fn centred<T: Element>(
    &DannShape { d, ne, ni, .. }: &DannShape,
    law: Law,
    s: f64,
    numbers: &mut impl RandomNumbers,
) -> Result<Weights<T>, Error> {
    let wex = array(ne * d, |_| law.draw(s, numbers))?;
    // The mean of the weights as they are after rounding.
    let mean = mean_row::<T>(&wex, d)?;
    let wix = array(ni * d, |i| mean[i % d].to_f64())?;
    let mut row = Vec::new();
    row.try_reserve_exact(ni).map_err(|_| Error::TooLarge { elements: ni })?;
    let wei = array(ne * ni, |i| {
        if i % ni == 0 {
            row.clear();
            // Their deviation does not matter: it is divided away.
            row.extend((0..ni).map(|_| law.draw(1.0, numbers)));
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|w| *w = if sum > 0.0 { *w / sum } else { 1.0 / ni as f64 });
        }
        row[i % ni]
    })?;
    Ok([wex, wix, wei])
}
