//! How the weights of a layer with inhibition are drawn.

use super::{Inputs, RandomNumbers};
use crate::error::Error;

/// How the weights of a layer with inhibition are drawn. `Exp(scale)` is the exponential distribution of mean `scale`.
///
/// Matched, the default: interneurons are drawn like excitatory units, and inhibit as much as these excite.
///
/// ```text
/// scale = √(1/(2d))              for linear inputs
///         √(2π/(d(2π−1)))        for rectified ones
/// Wex ~ Exp(scale)
/// ni = 1:  Wix = mean of the rows of Wex,  Wei = 1
/// ni > 1:  Wix ~ Exp(scale),               Wei = 1/ni
/// alpha = ln √((2π−1)/d),  with a root ln √(π/(d + 2π − 1)),  g = 1,  b = 0
/// ```
///
/// The subtraction then removes the mean of the excitation, up to the chance of few interneurons, and the division its
/// spread: a fresh layer behaves like layer normalisation. For inputs that were measured, `scale` and `alpha` are those
/// of [`InputMoments`](crate::InputMoments).
///
/// Independent: the same, but `Wix, Wei ~ Exp(√(scale/ni))`.
///
/// Centred: every interneuron sees the mean of the excitatory weights.
///
/// ```text
/// s = √(n ne/(d(ne−1))), for one unit √(n/d)          n by Inputs: 1 linear, 2 rectified, 1/3 recurrent
/// Wex ~ a law of mean k s and deviation s
/// Wix = mean of the rows of Wex, in each of its rows
/// Wei ~ the same law, each row divided by its sum
/// alpha = that of a matched layer less ln k,  g = 1,  b = 0
/// ```
///
/// Whatever `Wei` is, `Wex − Wei Wix` is `Wex` without its mean row. So excitation less inhibition sums up to 0 over the
/// units for *every* input, also a negative one, and the square of it is `n · mean x²` on average. A layer of one unit
/// gives nothing but its bias.
///
/// Division needs inputs ≥ 0 by every scheme. For inputs of both signs there are other divisors
/// ([`Divisor`](crate::Divisor)) and layers that only subtract:
/// [`DannShape::subtractive`](crate::DannShape::subtractive).
///
/// Sources: Cornford et al., ICLR 2021, section 3 and appendix; for exact centring the code that the same group has
/// published since 2023.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Scheme {
    /// Interneurons that are matched to the excitation.
    #[default]
    Matched,
    /// Inhibitory weights that are drawn independently of the excitation.
    Independent,
    /// Interneurons that each see the mean of the excitatory weights, which are drawn by this law.
    Centred(Law),
}

impl Scheme {
    /// Checks its numbers.
    ///
    /// # Errors
    /// [`Error::Policy`] if `k` cannot be used.
    pub(crate) fn check(self) -> Result<(), Error> {
        match self {
            Self::Centred(Law::Lognormal { k }) if !(1e-3..=1e3).contains(&k) => {
                Err(Error::Policy { name: "k", value: k, expected: "from 0.001 to 1000" })
            }
            _ => Ok(()),
        }
    }
}

/// The distribution of excitatory weights around their mean, for [`Scheme::Centred`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Law {
    /// Exponential: mean and deviation `s`, so `k = 1`.
    #[default]
    Exponential,
    /// Lognormal, `exp(μ + σ N(0, 1))` with `σ² = ln(1 + 1/k²)` and `μ = ln(k s) − σ²/2`: mean `k s` and deviation `s`.
    Lognormal {
        /// The mean over the deviation: from 0.001 to 1000. With 1 as exponential weights have it.
        k: f64,
    },
}

impl Law {
    /// The mean over the deviation.
    pub(crate) fn k(self) -> f64 {
        match self {
            Self::Exponential => 1.0,
            Self::Lognormal { k } => k,
        }
    }

    /// A weight of deviation `s`.
    pub(crate) fn draw(self, s: f64, numbers: &mut impl RandomNumbers) -> f64 {
        match self {
            Self::Exponential => s * numbers.exponential(),
            Self::Lognormal { k } => {
                let variance = (1.0 / (k * k)).ln_1p();
                ((k * s).ln() - variance / 2.0 + variance.sqrt() * numbers.normal()).exp()
            }
        }
    }
}

/// The deviation `s` of the excitatory weights of `ne` units on `d` inputs, for [`Scheme::Centred`].
///
/// # Errors
/// As [`Inputs::numerator`].
pub(crate) fn centred_deviation(inputs: Inputs, d: usize, ne: usize) -> Result<f64, Error> {
    let (n, d, ne) = (inputs.numerator()?, d as f64, ne as f64);
    // What the mean row takes away of the variance.
    let left = if ne > 1.0 { (ne - 1.0) / ne } else { 1.0 };
    Ok((n / (d * left)).sqrt())
}
