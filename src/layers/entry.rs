//! The input of the first layer, in the layouts that passes read.

use super::buffers::{Input, LayerBuffers};
use crate::buffer::{Activations, Examples};
use crate::driver::{copy_examples, from_rows};
use crate::element::Element;
use crate::error::Error;
use crate::matrix::{MatRef, Steps};
use crate::threads::Team;

/// A copy of a caller's examples, as the forward product and the weight gradient of the first layer read them.
#[derive(Clone)]
pub(crate) struct Entry<T> {
    /// `x [d, B]`
    units: Activations<T>,
    /// `x [B, d]`
    examples: Activations<T>,
}

impl<T: Element> Entry<T> {
    pub fn new() -> Self {
        Self { units: Activations::new(), examples: Activations::new() }
    }

    /// Makes room for the batch that the first layer was prepared for.
    pub fn prepare(&mut self, first: &LayerBuffers<T>) -> Result<(), Error> {
        let inputs = first.inputs();
        self.units.resize(inputs.len(), first.all)?;
        self.examples.resize(first.all.len(), inputs)
    }

    /// Copies the examples of the steps that the first layer is at to where its forward pass reads them; for training,
    /// also to where its weight gradient will.
    pub fn load(
        &mut self,
        team: &Team<'_>,
        first: &LayerBuffers<T>,
        x: Steps<MatRef<'_, T>>,
        training: bool,
    ) -> Input<'_, T> {
        let &LayerBuffers { examples, dots, .. } = first;
        if training || dots {
            copy_examples(team, x, examples, &mut self.examples);
        }
        if dots {
            return Input::Examples(&self.examples);
        }
        from_rows(team, x, examples, &mut self.units);
        Input::Units(self.units.units())
    }

    /// `x [B, d]`
    pub fn examples(&self) -> Examples<'_, T> {
        self.examples.examples()
    }
}
