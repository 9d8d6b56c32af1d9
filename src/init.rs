//! Initialisation: exponential weights, inhibition that centres and standardises the excitation.

use crate::element::Element;
use crate::error::Error;
use crate::params::array;
use crate::params::dann::{Dann, DannParams, DannShape};
use crate::params::dense::{Columns, Dense, DenseParams, DenseShape};
use crate::params::layer::{LayerParams, LayerShape};
use crate::params::norm::{Norm, NormParams, NormShape};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Exp1, StandardNormal};
use std::f64::consts::PI;

/// The generator of all random numbers here: the same seed gives the same numbers on every machine.
pub type Generator = ChaCha8Rng;

/// The generator of a seed.
pub fn generator(seed: u64) -> Generator {
    Generator::seed_from_u64(seed)
}

/// How a layer's parameters are drawn.
///
/// For a layer with inhibition, with `Exp(scale)` the exponential distribution of mean `scale`:
///
/// ```text
/// scale = √(1/(2d))              if the inputs are raw (the first layer)
///         √(2π/(d(2π−1)))        if they passed a ReLU
/// Wex ~ Exp(scale)
/// ni = 1:  Wix = mean of the rows of Wex,  Wei = 1
/// ni > 1:  Wix ~ Exp(scale),               Wei = 1/ni
/// iid inhibition:  Wix, Wei ~ Exp(√(scale/ni))
/// alpha = ln √((2π−1)/d),  g = 1,  b = 0
/// ```
///
/// The subtraction then removes the mean of the excitation and the division its spread: a fresh layer behaves like
/// layer normalisation. A plain or normalised layer has `W ~ N(0, gain/d)` with gain 1 on raw inputs and 2 on rectified
/// ones; gains begin at 1, running means at 0 and running variances at 1.
///
/// A layer with sign-constrained columns, of `ne` excitatory and `ni` inhibitory inputs, has
///
/// ```text
/// σ_e = 1/√(((2π−1)/(2π)) · (ne + ne²/ni)),  σ_i = (ne/ni) σ_e,  columns ~ Exp(σ_e) and Exp(σ_i),  b = 0
/// ```
///
/// so that inhibition balances excitation, or where no input is inhibitory `W⁺ ~ Exp(1/√d)` and
/// `b = −d · mean_input/√d`.
///
/// Source: Cornford et al., ICLR 2021, section 3 and appendix.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Init {
    /// The inputs are outputs of a ReLU: every layer but a network's first.
    pub rectified_input: bool,
    /// Inhibitory weights are drawn independently instead of matched to the excitation.
    pub iid_inhibition: bool,
    /// The mean of the inputs, where sign-constrained columns are all positive.
    pub mean_input: f64,
}

impl Init {
    /// For the first layer of a network.
    pub fn first() -> Self {
        Self::default()
    }

    /// For every other layer.
    pub fn deeper() -> Self {
        Self { rectified_input: true, ..Self::default() }
    }

    /// Draws a layer's parameters. Numbers are drawn in f64, so `f32` and `f64` layers of a seed differ by rounding.
    ///
    /// # Errors
    /// [`Error::Dimension`] if a dimension is zero or overflows, [`Error::TooLarge`] if an array does not fit in
    /// memory.
    pub fn draw<T: Element>(self, shape: &LayerShape, rng: &mut impl Rng) -> Result<LayerParams<T>, Error> {
        Ok(match shape {
            LayerShape::Dann(shape) => LayerParams::Dann(self.draw_dann(shape, rng)?),
            LayerShape::Dense(shape) => LayerParams::Dense(self.draw_dense(shape, rng)?),
            LayerShape::Norm(shape) => LayerParams::Norm(self.draw_norm(shape, rng)?),
        })
    }

    /// Draws the parameters of a layer with inhibition.
    ///
    /// # Errors
    /// As [`Init::draw`].
    pub fn draw_dann<T: Element>(self, shape: &DannShape, rng: &mut impl Rng) -> Result<DannParams<T>, Error> {
        let lengths = shape.lengths()?;
        let (d, ni) = (shape.d as f64, shape.ni as f64);
        let scale = if self.rectified_input { (2.0 * PI / (d * (2.0 * PI - 1.0))).sqrt() } else { (0.5 / d).sqrt() };
        let mut exponential = |len, scale| array(len, |_| scale * Distribution::<f64>::sample(&Exp1, rng));
        let wex: Vec<T> = exponential(lengths.wex, scale)?;
        let (wix, wei) = if self.iid_inhibition {
            let scale = (scale / ni).sqrt();
            (exponential(lengths.wix, scale)?, exponential(lengths.wei, scale)?)
        } else if shape.ni == 1 {
            let mean = |k: usize| wex[k..].iter().step_by(shape.d).map(|w| w.to_f64()).sum::<f64>() / shape.ne as f64;
            (array(lengths.wix, mean)?, array(lengths.wei, |_| 1.0)?)
        } else {
            (exponential(lengths.wix, scale)?, array(lengths.wei, |_| 1.0 / ni)?)
        };
        let alpha = ((2.0 * PI - 1.0) / d).sqrt().ln();
        Ok(Dann {
            wex,
            wix,
            wei,
            alpha: array(lengths.alpha, |_| alpha)?,
            g: array(lengths.g, |_| 1.0)?,
            b: array(lengths.b, |_| 0.0)?,
        })
    }

    /// Draws the parameters of a layer without interneurons.
    ///
    /// # Errors
    /// As [`Init::draw`].
    pub fn draw_dense<T: Element>(self, shape: &DenseShape, rng: &mut impl Rng) -> Result<DenseParams<T>, Error> {
        let lengths = shape.lengths()?;
        let Some(Columns { inhibitory_inputs, .. }) = shape.columns else {
            return Ok(Dense { w: self.normal(lengths.w, shape.d, rng)?, b: array(lengths.b, |_| 0.0)? });
        };
        let (d, excitatory) = (shape.d, shape.d - inhibitory_inputs);
        let (scales, bias) = if inhibitory_inputs == 0 || excitatory == 0 {
            let root = (d as f64).sqrt();
            ([1.0 / root; 2], if excitatory == 0 { root } else { -root } * self.mean_input)
        } else {
            let (ne, ni) = (excitatory as f64, inhibitory_inputs as f64);
            let scale = 1.0 / ((2.0 * PI - 1.0) / (2.0 * PI) * (ne + ne * ne / ni)).sqrt();
            ([scale, ne / ni * scale], 0.0)
        };
        let exponential = |i: usize| {
            let scale = scales[usize::from(i % d >= excitatory)];
            scale * Distribution::<f64>::sample(&Exp1, rng)
        };
        Ok(Dense { w: array(lengths.w, exponential)?, b: array(lengths.b, |_| bias)? })
    }

    /// Draws the parameters of a normalised layer.
    ///
    /// # Errors
    /// As [`Init::draw`].
    pub fn draw_norm<T: Element>(self, shape: &NormShape, rng: &mut impl Rng) -> Result<NormParams<T>, Error> {
        let lengths = shape.lengths()?;
        Ok(Norm {
            w: self.normal(lengths.w, shape.d, rng)?,
            g: array(lengths.g, |_| 1.0)?,
            b: array(lengths.b, |_| 0.0)?,
            mean: array(lengths.mean, |_| 0.0)?,
            variance: array(lengths.variance, |_| 1.0)?,
        })
    }

    /// Weights of any sign on `d` inputs.
    fn normal<T: Element>(self, len: usize, d: usize, rng: &mut impl Rng) -> Result<Vec<T>, Error> {
        let gain = if self.rectified_input { 2.0 } else { 1.0 };
        let deviation = (gain / d as f64).sqrt();
        array(len, |_| deviation * Distribution::<f64>::sample(&StandardNormal, rng))
    }
}
