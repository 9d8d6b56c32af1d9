//! Initialisation: positive weights, inhibition that centres and standardises the excitation.

mod inputs;
mod moments;
mod numbers;
mod scheme;

use crate::element::Element;
use crate::error::Error;
use crate::layers::recurrent::RecurrentInit;
use crate::params::array;
pub use inputs::Inputs;
pub use moments::InputMoments;
pub use numbers::{Generator, RandomNumbers, generator};
pub(crate) use scheme::centred_deviation;
pub use scheme::{Law, Scheme};

/// How a layer's parameters are drawn.
///
/// How a layer with inhibition is drawn is chosen by [`Scheme`], for inputs that [`Inputs`] tells of. Its gains begin
/// at 1 and its biases at 0.
///
/// A plain or normalised layer has `W ~ N(0, n/d)`, with `n` of [`Inputs`]: 1 for linear inputs, 2 for rectified ones;
/// gains begin at 1, biases and running means at 0 and running variances at 1.
///
/// A layer with sign-constrained columns, of `ne` excitatory and `ni` inhibitory inputs, has
///
/// ```text
/// σ_e = 1/√(((2π−1)/(2π)) · (ne + ne²/ni)),  σ_i = (ne/ni) σ_e,  columns ~ Exp(σ_e) and Exp(σ_i),  b = 0
/// ```
///
/// so that inhibition balances excitation, or where no input is inhibitory `W⁺ ~ Exp(1/√d)` and
/// `b = −d · mean_input/√d`, whatever its inputs are. `Exp(scale)` is the exponential distribution of mean `scale`.
///
/// Source: Cornford et al., ICLR 2021, section 3 and appendix.
///
/// ```
/// use interneuron::*;
///
/// // Inhibition that centres every input, also of both signs, behind a linear layer.
/// let init = Init { scheme: Scheme::Centred(Law::Exponential), ..Init::first() };
/// let shape = DannShape::new(3, 4, 2).subtractive();
/// let params = init.draw_dann::<f64>(&shape, &mut generator(1))?;
/// let forward = reference::dann_forward(&shape, &params, &[-0.5, 2.0, 1.0]);
/// assert!(forward.z.iter().sum::<f64>().abs() < 1e-12);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Init {
    /// What the inputs of the layer are.
    pub inputs: Inputs,
    /// How the weights of a layer with inhibition are drawn.
    pub scheme: Scheme,
    /// The mean of the inputs, where sign-constrained columns are all positive.
    pub mean_input: f64,
    /// How a recurrent layer is drawn.
    pub recurrent: RecurrentInit,
}

impl Init {
    /// For the first layer of a network: linear inputs.
    pub fn first() -> Self {
        Self::default()
    }

    /// For every other layer: rectified inputs.
    pub fn deeper() -> Self {
        Self { inputs: Inputs::Rectified, ..Self::default() }
    }

    /// Weights of any sign on `d` inputs.
    pub(crate) fn normal<T: Element>(
        self,
        len: usize,
        d: usize,
        numbers: &mut impl RandomNumbers,
    ) -> Result<Vec<T>, Error> {
        let deviation = (self.inputs.numerator()? / d as f64).sqrt();
        array(len, |_| deviation * numbers.normal())
    }
}
