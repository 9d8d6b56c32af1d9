//! What every kind of layer keeps of a pass, whatever happens between its input and its output.

use super::collect::Sums;
use super::nonlinearity::Nonlinearity;
use crate::buffer::{Activations, Buffer, Units};
use crate::driver::panels;
use crate::element::{Element, table};
use crate::error::Error;
use crate::isa::Isa;
use crate::kernels::Kernels;
use crate::layout::{Grouped, Split};
use crate::params::ParamsRef;
use crate::params::schema::Schema;
use std::ops::Range;
use std::sync::Arc;

/// What a pass makes room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Examples of a step.
    pub examples: usize,
    /// Steps of the sequences; 1 without.
    pub steps: usize,
    /// The most steps that it is at together.
    pub window: usize,
    /// Whether dot products may be the way forward, for a few examples.
    pub dots: bool,
    /// Steps of the sequences in all, of which `steps` are kept.
    pub whole: usize,
}

impl Batch {
    /// Examples without steps.
    pub fn of(examples: usize) -> Self {
        Self { examples, steps: 1, window: 1, dots: true, whole: 1 }
    }
}

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
    /// The examples that there is room for, those of all steps.
    pub all: Split,
    /// Those of the steps that it is at: see [`Pass::turn_to`](super::pass::Pass::turn_to).
    pub examples: Split,
    /// Whether the batch is so small that the forward product uses dot products: see [`Kernels::few`].
    pub dots: bool,
    /// Whether it is a part of another layer, which alone reads its output: not with a row an example.
    pub inner: bool,
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
            all: Split::new(0, 1, 1),
            examples: Split::new(0, 1, 1),
            dots: false,
            inner: false,
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
    pub fn prepare(&mut self, batch: Batch, training: bool, deltas: usize) -> Result<(), Error> {
        let Self { d, ne, .. } = *self;
        let (all, dots) = self.cut(batch);
        let examples = all.blocks(0..batch.window);
        self.h.resize(ne, all)?;
        if self.as_examples(training) || dots {
            self.h_examples.resize(all.len(), self.units(ne))?;
        }
        if training {
            self.scratch.prepare(d, deltas, all, examples)?;
            self.du.resize(ne, all)?;
            self.db.prepare(examples)?;
        }
        (self.all, self.examples, self.dots) = (all, examples, dots);
        Ok(())
    }

    /// Whether the output is wanted with a row an example, too: by the weight gradient of the layer above.
    pub fn as_examples(&self, training: bool) -> bool {
        training && !self.inner
    }

    /// Makes room for a batch in a layer that has its own place for its deltas and, unless `outputs`, for its output.
    pub fn prepare_part(&mut self, batch: Batch, training: bool, outputs: bool) -> Result<(), Error> {
        let (all, dots) = self.cut(batch);
        if outputs {
            self.h.resize(self.ne, all)?;
        }
        if outputs && training {
            self.h_examples.resize(all.len(), self.units(self.ne))?;
        }
        (self.all, self.examples, self.dots) = (all, all.blocks(0..batch.window), dots);
        Ok(())
    }

    /// How the examples are cut, and whether they are so few that dot products are the faster way forward.
    pub fn cut(&self, Batch { examples, steps, dots, .. }: Batch) -> (Split, bool) {
        let Kernels { lanes, example_vectors, few, .. } = *self.kernels;
        let all = Split::new(examples, lanes, example_vectors).repeated(steps);
        (all, dots && all.len() <= few)
    }

    /// Turns to other steps, of which there are no more than there is room for.
    pub fn turn_to(&mut self, steps: Range<usize>) -> Result<(), Error> {
        self.examples = self.all.blocks(steps);
        self.db.prepare(self.examples)
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

    /// Panics unless the output has the size of the batch, and its copy with a row an example if that is wanted.
    pub fn assert_output(&self, as_examples: bool) {
        let Self { ne, examples, .. } = *self;
        self.h.assert_shape("h", ne, examples);
        if as_examples {
            self.h_examples.examples().assert_shape("h", examples, self.units(ne));
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

    /// Makes room for the input gradient of a layer with `rows` inputs and sums of length `k`, of `examples` at a time.
    pub fn prepare(&mut self, rows: usize, k: usize, all: Split, examples: Split) -> Result<(), Error> {
        if panels::pay::<T>(rows, k, examples) {
            self.prepare_panels(rows)?;
            self.partial.resize(rows, all)?;
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
    Units(Units<'a, T>),
    /// `x [B, d]`, for [dot products](LayerBuffers::dots).
    Examples(&'a Activations<T>),
}

impl<T: Element> Input<'_, T> {
    /// Panics unless it is an input of this layer, with the examples of the batch.
    pub fn checked(self, buffers: &LayerBuffers<T>) -> Self {
        let (examples, inputs) = (buffers.examples, buffers.inputs());
        match self {
            Self::Units(x) => x.assert_shape("x", inputs.len(), examples),
            Self::Examples(x) => x.examples().assert_shape("x", examples, inputs),
        }
        self
    }
}
