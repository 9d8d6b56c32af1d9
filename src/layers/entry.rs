//! The input of the first layer, in the layouts that passes read.

use super::buffers::{Input, LayerBuffers};
use crate::buffer::Activations;
use crate::driver::{copy_examples, from_rows};
use crate::element::Element;
use crate::error::Error;
use crate::matrix::MatRef;
use crate::threads::Team;

/// A copy of a caller's examples, as the forward product and the weight gradient of the first layer read them.
#[derive(Clone)]
pub(crate) struct Entry<T> {
    /// `x [d, B]`
    units: Activations<T>,
    /// `x [B, d]`
    pub examples: Activations<T>,
}

impl<T: Element> Entry<T> {
    pub fn new() -> Self {
        Self { units: Activations::new(), examples: Activations::new() }
    }

    /// Makes room for the batch that the first layer was prepared for.
    pub fn prepare(&mut self, first: &LayerBuffers<T>) -> Result<(), Error> {
        let inputs = first.inputs();
        self.units.resize(inputs.len(), first.examples)?;
        self.examples.resize(first.examples.len(), inputs)
    }

    /// Copies the examples to where the forward pass of the first layer reads them; for training, also to where its
    /// weight gradient will.
    pub fn load(&mut self, team: &Team<'_>, first: &LayerBuffers<T>, x: MatRef<'_, T>, training: bool) -> Input<'_, T> {
        let few = first.uses_dot_products(x.rows());
        if training || few {
            copy_examples(team, x, &mut self.examples);
        }
        if few {
            return Input::Examples(&self.examples);
        }
        from_rows(team, x, &mut self.units);
        Input::Units(&self.units)
    }
}
