//! What every kind of layer keeps of a pass, whatever happens between its input and its output.

use super::collect::Sums;
use super::nonlinearity::Nonlinearity;
use crate::buffer::{Activations, Buffer};
use crate::driver::panels;
use crate::element::{Element, table};
use crate::error::Error;
use crate::isa::Isa;
use crate::kernels::Kernels;
use crate::layout::{Grouped, Split};
use crate::params::ParamsRef;
use crate::params::schema::Schema;
use std::sync::Arc;

/// The output of a layer, its gradient, and the cut of the batch.
#[derive(Clone)]
pub(crate) struct LayerBuffers<T: Element> {
    pub kernels: &'static Kernels<T>,
    /// The arrays of the layer. A reference, so that a step neither copies nor allocates.
    pub schema: Arc<Schema>,
    /// Inputs and units.
    d: usize,
    ne: usize,
    relu: bool,
    pub examples: Split,
    /// `h [ne, B]` and `h [B, ne]`
    pub h: Activations<T>,
    pub h_examples: Activations<T>,
    /// `du [ne, B]`
    pub du: Activations<T>,
    pub db: Sums<T>,
    pub scratch: Scratch<T>,
    /// The gradients of the slabs before, of each parameter that is a matrix; empty if there is one slab.
    pub slabs: Vec<Activations<T>>,
    /// Whether there are gradients of slabs before.
    pub accumulated: bool,
    /// Whether the backward pass sums up squares over the examples: see [`crate::kernels::epilogue::Partials`].
    pub squares: bool,
}

impl<T: Element> LayerBuffers<T> {
    pub fn new(schema: Schema, (d, ne): (usize, usize), nonlinearity: Nonlinearity, isa: Isa) -> Self {
        Self {
            kernels: table::<T, Kernels<T>>(isa),
            slabs: schema.iter().map(|_| Activations::new()).collect(),
            schema: Arc::new(schema),
            d,
            ne,
            relu: nonlinearity == Nonlinearity::Relu,
            examples: Split::new(0, 1, 1),
            h: Activations::new(),
            h_examples: Activations::new(),
            du: Activations::new(),
            db: Sums::new(ne),
            scratch: Scratch::new(),
            accumulated: false,
            squares: false,
        }
    }

    /// Makes room for a batch; the input gradient is a sum over `deltas` units.
    pub fn prepare(&mut self, batch: usize, training: bool, deltas: usize) -> Result<(), Error> {
        let Self { d, ne, kernels, .. } = *self;
        let examples = Split::new(batch, kernels.lanes, kernels.example_vectors);
        self.h.resize(ne, examples)?;
        if training || self.uses_dot_products(batch) {
            self.h_examples.resize(batch, self.units(ne))?;
        }
        if training {
            self.scratch.prepare(d, deltas, examples)?;
            self.du.resize(ne, examples)?;
            self.db.prepare(examples)?;
        }
        self.examples = examples;
        Ok(())
    }

    /// Begins with no gradients of slabs, and makes room to sum them up if there is more than one slab.
    pub fn prepare_slabs(&mut self, slabs: usize) -> Result<(), Error> {
        // A panic in a pass of squares, which somebody caught, may have left both.
        (self.accumulated, self.squares) = (false, false);
        for (i, parameter) in self.schema.iter().enumerate().filter(|_| slabs > 1) {
            if let [rows, cols] = *parameter.dimensions() {
                let columns = self.units(cols);
                self.slabs[i].resize(rows, columns)?;
            }
        }
        Ok(())
    }

    /// Parameters as their kind has them.
    ///
    /// # Panics
    /// If they are not of the layer: callers of a pass check that.
    pub fn own<'p, P: TryFrom<ParamsRef<'p, T>, Error = Error>>(&self, params: ParamsRef<'p, T>) -> P {
        let own = params.check(&self.schema).and_then(|()| P::try_from(params));
        own.expect("checked by the layer")
    }

    /// Whether the batch is so small that the forward product uses dot products: see [`Kernels::few`].
    pub fn uses_dot_products(&self, batch: usize) -> bool {
        batch <= self.kernels.few
    }

    /// How the weight gradient cuts so many units.
    pub fn units(&self, n: usize) -> Split {
        Split::new(n, self.kernels.lanes, self.kernels.input_vectors)
    }

    /// How the weight gradient cuts the inputs.
    pub fn inputs(&self) -> Split {
        self.units(self.d)
    }

    pub fn relu(&self) -> bool {
        self.relu
    }

    /// What the derivative of the nonlinearity is read off, if it has one.
    pub fn derivative(&self) -> Option<Grouped<T>> {
        self.relu.then(|| self.h.grouped())
    }

    /// The output as the layer above reads it.
    pub fn output(&self, dot_products: bool) -> Input<'_, T> {
        if dot_products { Input::Examples(&self.h_examples) } else { Input::Units(&self.h) }
    }

    /// Panics unless the output has the size of the batch, and its copy with a row an example if that is wanted.
    pub fn assert_output(&self, as_examples: bool) {
        let Self { ne, examples, .. } = *self;
        self.h.assert_shape("h", ne, examples);
        if as_examples {
            self.h_examples.assert_shape("h", examples.len(), self.units(ne));
        }
    }

    /// Panics unless the buffers have the size of the batch: the last `prepare` may have been for inference.
    pub fn assert_prepared_for_training(&self) {
        let Self { ne, examples, .. } = *self;
        self.h.assert_shape("h", ne, examples);
        self.du.assert_shape("du", ne, examples);
        self.db.assert_prepared("db", examples);
    }
}

/// What products with the transposed weights of a large layer need; empty for a small one.
#[derive(Clone)]
pub(crate) struct Scratch<T> {
    pub panels: Buffer<T>,
    /// Sums so far `[d, B]`.
    pub partial: Activations<T>,
}

impl<T: Element> Scratch<T> {
    pub fn new() -> Self {
        Self { panels: Buffer::default(), partial: Activations::new() }
    }

    /// Makes room for the input gradient of a layer with `rows` inputs and sums of length `k`.
    pub fn prepare(&mut self, rows: usize, k: usize, examples: Split) -> Result<(), Error> {
        if panels::pay::<T>(rows, k, examples) {
            self.prepare_panels(rows)?;
            self.partial.resize(rows, examples)?;
        }
        Ok(())
    }

    /// Makes room for panels of weights with so many columns.
    pub fn prepare_panels(&mut self, columns: usize) -> Result<(), Error> {
        self.panels.resize(panels::elements(columns).max(self.panels.len()))
    }
}

/// A layer's input as the forward product reads it.
#[derive(Clone, Copy)]
pub(crate) enum Input<'a, T> {
    /// `x [d, B]`
    Units(&'a Activations<T>),
    /// `x [B, d]`, for [dot products](LayerBuffers::uses_dot_products).
    Examples(&'a Activations<T>),
}

impl<T: Element> Input<'_, T> {
    /// Panics unless it is an input of this layer, with the examples of the batch.
    pub fn checked(self, buffers: &LayerBuffers<T>) -> Self {
        let (examples, inputs) = (buffers.examples, buffers.inputs());
        match self {
            Self::Units(x) => x.assert_shape("x", inputs.len(), examples),
            Self::Examples(x) => x.assert_shape("x", examples.len(), inputs),
        }
        self
    }
}
