//! What a kind of layer tells of a layer.

use super::inhibition::division::Divisor;
use super::nonlinearity::Nonlinearity;
use super::pass::Pass;
use crate::element::Element;
use crate::error::Error;
use crate::init::{Init, RandomNumbers};
use crate::isa::Isa;
use crate::params::schema::Shape;
use crate::params::{Params, ParamsRef};

/// What a layer is from outside.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ports {
    /// Inputs `d`.
    pub inputs: usize,
    /// Outputs `ne`.
    pub outputs: usize,
    pub nonlinearity: Nonlinearity,
    /// Interneurons `ni`.
    pub interneurons: usize,
    /// What inhibition divides by, if it divides.
    pub divisor: Option<Divisor>,
    /// How many of the inputs, and of the outputs, the last ones, come in and go out with a negative sign, in a kind
    /// that has such inputs and outputs.
    pub inhibitory: Option<[usize; 2]>,
    /// Whether what it does with an example depends on the others of the batch.
    pub batch_statistics: bool,
    /// Whether what it does at one step depends on the steps before.
    pub recurrent: bool,
}

/// A kind of layer, as the value that describes one layer of it.
pub(crate) trait Kind: Shape + Copy + Send + Sync + 'static {
    /// What it is from outside.
    fn ports(&self) -> Ports;

    /// The same without division.
    #[must_use]
    fn without_division(self) -> Self {
        self
    }

    /// The same with another divisor, if it divides.
    #[must_use]
    fn with_divisor(self, _: Divisor) -> Self {
        self
    }

    /// The same with so many of the outputs going out with a negative sign, if the kind can do that.
    #[cfg(feature = "checkpoint")]
    #[must_use]
    fn with_inhibitory_outputs(self, _: usize) -> Self {
        self
    }

    /// Useful floating-point operations of a pass with `batch` examples, of so many products with the weights of inputs:
    /// see [`LayerShape::train_flops`](super::LayerShape::train_flops).
    fn flops(&self, batch: usize, products: f64, training: bool) -> f64 {
        let Ports { inputs, outputs, interneurons, divisor, .. } = self.ports();
        let [b, d, ne, ni] = [batch, inputs, outputs, interneurons].map(|n| n as f64);
        let inhibitions = if divisor.is_some() { 2.0 } else { 1.0 };
        let passes = if training { 3.0 } else { 1.0 };
        2.0 * b * d * (ne + ni) * products + 2.0 * passes * inhibitions * b * ne * ni
    }

    /// The spectral radius of what takes states from one step to the next, in a kind that has some.
    fn radius<T: Element>(&self, _: ParamsRef<'_, T>) -> Option<f64> {
        None
    }

    /// Draws its parameters.
    fn draw<T: Element>(&self, init: Init, numbers: &mut impl RandomNumbers) -> Result<Params<T>, Error>;

    /// The buffers of a pass.
    fn pass<T: Element>(&self, isa: Isa) -> Result<Box<dyn Pass<T>>, Error>;

    /// The shape that a file's tensors have, if they are of this kind, as far as it can be told from one tensor of each
    /// dimension.
    #[cfg(feature = "checkpoint")]
    fn of_tensors(tensors: &mut dyn Tensors, nonlinearity: Nonlinearity) -> Result<Option<Self>, String>;
}

/// The tensors of one layer in a file.
#[cfg(feature = "checkpoint")]
pub(crate) trait Tensors {
    /// What errors call the layer.
    fn layer(&self) -> String;
    /// Whether there is a tensor of a name.
    fn has(&self, name: &str) -> bool;
    /// The dimensions of a matrix.
    fn matrix(&self, name: &str) -> Result<[usize; 2], String>;
    /// What it divides by, if it divides.
    fn divisor(&self) -> Divisor;
    /// How a recurrent layer goes from step to step, if the file says so: what `RecurrentShape::text` said.
    fn recurrence(&self) -> Option<String>;
    /// Takes a tensor with `n` signs out of the file: how many, the last ones, are negative.
    fn take_signs(&mut self, name: &str, n: usize) -> Result<usize, String>;
}
