//! What a kind of layer tells of a layer.

use super::inhibition::division::Divisor;
use super::nonlinearity::Nonlinearity;
use super::pass::Pass;
use crate::element::Element;
use crate::error::Error;
use crate::init::{Init, RandomNumbers};
use crate::isa::Isa;
use crate::params::Params;
use crate::params::schema::Shape;

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
    /// Takes the signs of `d` inputs out of the file: how many, the last ones, are negative.
    fn take_signs(&mut self, d: usize) -> Result<usize, String>;
}
