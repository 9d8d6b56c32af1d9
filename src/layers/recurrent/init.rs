//! The parameters of a fresh recurrent layer.

use super::radius::spectral_radius;
use super::{COLUMNS, Cell, DANN, PLAIN, RecurrentShape};
use crate::element::Element;
use crate::error::Error;
use crate::init::{Init, RandomNumbers};
use crate::init::{Law, Scheme};
use crate::layers::dann::DannShape;
use crate::layers::dense::column_scales;
use crate::layers::inhibition::init::{centred, fixed_strength};
use crate::params::schema::Shape;
use crate::params::{Params, array, collected};
use std::f64::consts::PI;

/// How a recurrent layer is drawn. `Exp(s)` is the exponential distribution of mean `s`; `ρ` a spectral radius.
///
/// [`Cell::Dann`], each leg by itself:
///
/// ```text
/// Lex ~ Exp(s)      Lix = mean of the rows of Lex, in each of its rows      Lei ~ Exp(1), rows divided by their sums
/// s = √(1/(3(ne−1)))                 both legs, so that Lex − Lei Lix has variance 1/(3ne) and a radius of about 0.58
/// s = ρ/√(ne−1)                      the recurrent leg, of another radius
/// with division   s = √(2π/(n(2π−1))),  Lalpha = ln √((2π−1)/n)   of n inputs,  Lg = 1
/// ```
///
/// [`Cell::Columns`]: `Wpos` as a dense layer with such columns has them, without a diagonal, then scaled to a radius of
/// 1.5 with the signs of the columns; `Upos` as a dense layer has it.
///
/// [`Cell::Plain`]: `U` and `W` uniform within `±1/√ne`; of another radius, `W` is scaled to it.
///
/// With [`InputLeg::FewInputs`] `U` is uniform within `±1/√d`. `b = 0`, and `h0 = 0`, but 0.1 where it is learned and inhibition divides: at 0 its gradient would be that of a
/// division by ε.
///
/// Source: the published code of Li et al., NeurIPS 2023; division is ours.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RecurrentInit {
    /// How the input leg is drawn.
    pub input: InputLeg,
    /// The spectral radius of the recurrent weights, signs and inhibition included: above 0 and at most 1000. Those of
    /// [`RecurrentInit`] if there is none. Not with division, which is blind to the scale of the weights.
    pub radius: Option<f64>,
}

/// How the input leg of a recurrent layer is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputLeg {
    /// As published: see [`RecurrentInit`].
    #[default]
    Published,
    /// `Uex ~ Exp(1/√d)`, and so `Upos`: for a few inputs to many units, whose drive would otherwise vanish beside the
    /// noise. Other arrays follow.
    FewInputs,
}

impl RecurrentInit {
    /// Checks its numbers.
    ///
    /// # Errors
    /// [`Error::Policy`] if the radius cannot be used.
    pub(crate) fn check(self) -> Result<(), Error> {
        match self.radius {
            Some(radius) if !(radius > 0.0 && radius <= 1e3) => {
                Err(Error::Policy { name: "radius", value: radius, expected: "above 0 and at most 1000" })
            }
            _ => Ok(()),
        }
    }
}

impl Init {
    /// Draws the parameters of a recurrent layer: see [`RecurrentInit`]. Arrays are drawn in the order of the schema.
    pub(super) fn draw_recurrent<T: Element>(
        self,
        shape: &RecurrentShape,
        numbers: &mut impl RandomNumbers,
    ) -> Result<Params<T>, Error> {
        let schema = shape.schema()?;
        self.recurrent.check()?;
        let &RecurrentShape { ne, cell, learned_state, .. } = shape;
        let divides = shape.divides_by().is_some();
        let leg_arrays = match cell {
            Cell::Dann { .. } => self.dann_legs(shape, numbers)?,
            Cell::Columns { .. } => self.column_legs(shape, numbers)?,
            Cell::Plain => self.plain_legs(shape, numbers)?,
        };
        let names = match cell {
            Cell::Dann { .. } => DANN,
            Cell::Columns { .. } => COLUMNS,
            Cell::Plain => PLAIN,
        };
        let kappas = schema.last().expect("a recurrent layer has arrays").elements();
        let h0 = if learned_state && divides { 0.1 } else { 0.0 };
        let rest = [array(ne, |_| 0.0)?, array(ne, |_| h0)?, array(kappas, |_| 1.0)?];
        Ok(Params::of(names, leg_arrays.into_iter().chain(rest).collect()))
    }

    fn dann_legs<T: Element>(
        self,
        shape: &RecurrentShape,
        numbers: &mut impl RandomNumbers,
    ) -> Result<Vec<Vec<T>>, Error> {
        let &RecurrentShape { d, ne, cell: Cell::Dann { nu, nw, divisor }, .. } = shape else { unreachable!() };
        // Of one unit nothing is left but its bias.
        let others = (ne as f64 - 1.0).max(1.0);
        let mut arrays = vec![];
        for (inputs, ni, recurrent) in [(d, nu, false), (ne, nw, true)] {
            let n = inputs as f64;
            let few = !recurrent && self.recurrent.input == InputLeg::FewInputs;
            let s = match self.recurrent.radius.filter(|_| recurrent) {
                _ if few => 1.0 / n.sqrt(),
                _ if divisor.is_some() => (2.0 * PI / (n * (2.0 * PI - 1.0))).sqrt(),
                Some(radius) => radius / others.sqrt(),
                None => (1.0 / (3.0 * others)).sqrt(),
            };
            let leg = DannShape::new(inputs, ne, ni);
            let leg = divisor.map_or(leg.subtractive(), |divisor| leg.divisor(divisor));
            arrays.extend(centred::<T>(&leg, self.law(), s, numbers)?);
            let (alphas, gains) = if divisor.is_some() { (ni, ne) } else { (0, 0) };
            arrays.push(array(alphas, |_| (fixed_strength(&leg) / self.law().k()).ln())?);
            arrays.push(array(gains, |_| 1.0)?);
        }
        Ok(arrays)
    }

    fn column_legs<T: Element>(
        self,
        shape: &RecurrentShape,
        numbers: &mut impl RandomNumbers,
    ) -> Result<Vec<Vec<T>>, Error> {
        let &RecurrentShape { d, ne, cell: Cell::Columns { inhibitory_inputs, inhibitory_units }, .. } = shape else {
            unreachable!()
        };
        let few = self.recurrent.input == InputLeg::FewInputs;
        let scales = if few { [1.0 / (d as f64).sqrt(); 2] } else { column_scales(d, inhibitory_inputs) };
        let upos = array(ne * d, |i| scales[usize::from(i % d >= d - inhibitory_inputs)] * numbers.exponential())?;
        let (scales, excitatory) = (column_scales(ne, inhibitory_units), ne - inhibitory_units);
        let mut wpos = collected(ne * ne, |i| scales[usize::from(i % ne >= excitatory)] * numbers.exponential())?;
        wpos.iter_mut().step_by(ne + 1).for_each(|own| *own = 0.0);
        let signed = |i: usize| if i % ne >= excitatory { -wpos[i] } else { wpos[i] };
        let factor = factor_to_radius(self.recurrent.radius.unwrap_or(COLUMN_RADIUS), &collected(ne * ne, signed)?, ne);
        Ok(vec![upos, array(ne * ne, |i| factor * wpos[i])?])
    }

    fn plain_legs<T: Element>(
        self,
        shape: &RecurrentShape,
        numbers: &mut impl RandomNumbers,
    ) -> Result<Vec<Vec<T>>, Error> {
        let &RecurrentShape { d, ne, no_self, .. } = shape;
        let scale = match self.recurrent.input {
            InputLeg::Published => 1.0 / (ne as f64).sqrt(),
            InputLeg::FewInputs => 1.0 / (d as f64).sqrt(),
        };
        let u = array(ne * d, |_| scale * (2.0 * numbers.uniform() - 1.0))?;
        let mut w = collected(ne * ne, |_| (2.0 * numbers.uniform() - 1.0) / (ne as f64).sqrt())?;
        if no_self {
            w.iter_mut().step_by(ne + 1).for_each(|own| *own = 0.0);
        }
        let factor = self.recurrent.radius.map_or(1.0, |radius| factor_to_radius(radius, &w, ne));
        Ok(vec![u, array(ne * ne, |i| factor * w[i])?])
    }

    /// The law of excitatory weights.
    fn law(self) -> Law {
        match self.scheme {
            Scheme::Centred(law) => law,
            Scheme::Matched | Scheme::Independent => Law::Exponential,
        }
    }
}

/// The spectral radius of fresh columns.
const COLUMN_RADIUS: f64 = 1.5;

/// What scales a matrix to a spectral radius; 1 for one whose radius is 0, as that of a single unit.
fn factor_to_radius(radius: f64, w: &[f64], n: usize) -> f64 {
    let is = spectral_radius(w, n);
    if is > 0.0 { radius / is } else { 1.0 }
}
