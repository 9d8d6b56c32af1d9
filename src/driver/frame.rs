//! What every kind of layer has, whatever happens between its input and its output.

use super::{Scratch, partials, totals};
use crate::buffer::{Activations, Buffer};
use crate::element::Element;
use crate::error::Error;
use crate::isa::Isa;
use crate::kernels::Kernels;
use crate::kernels::backward::Partials;
use crate::layout::{Grouped, Split};
use crate::params::Nonlinearity;

/// The output of a layer, its gradient, and the cut of the batch.
#[derive(Clone)]
pub(super) struct Frame<T: Element> {
    pub kernels: &'static Kernels<T>,
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
    pub db: Buffer<T>,
    pub scratch: Scratch<T>,
    /// Whether gradients of slabs before are carried over.
    pub carries: bool,
    /// Whether the backward pass sums up squares over the examples: see [`Partials`].
    pub squares: bool,
}

impl<T: Element> Frame<T> {
    pub fn new(d: usize, ne: usize, nonlinearity: Nonlinearity, isa: Isa) -> Self {
        Self {
            kernels: T::kernels(isa).get(),
            d,
            ne,
            relu: nonlinearity == Nonlinearity::Relu,
            examples: Split::new(0, 1, 1),
            h: Activations::new(),
            h_examples: Activations::new(),
            du: Activations::new(),
            db: Buffer::default(),
            scratch: Scratch::new(),
            carries: false,
            squares: false,
        }
    }

    /// Makes room for a batch; the input gradient is a sum over `deltas` units.
    pub fn prepare(&mut self, batch: usize, training: bool, deltas: usize) -> Result<(), Error> {
        let Self { d, ne, kernels, .. } = *self;
        let examples = Split::new(batch, kernels.lanes, kernels.example_vectors);
        self.h.resize(ne, examples)?;
        if training || self.few(batch) {
            self.h_examples.resize(batch, self.units(ne))?;
        }
        if training {
            self.scratch.prepare(d, deltas, examples)?;
            self.du.resize(ne, examples)?;
            self.db.resize(partials(ne, examples))?;
        }
        self.examples = examples;
        Ok(())
    }

    /// Whether so many examples are few; see [`Kernels::few`].
    pub fn few(&self, batch: usize) -> bool {
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

    /// Where `db` goes.
    pub fn db(&mut self) -> Partials<T> {
        Partials::new(self.db.as_mut_ptr(), self.ne, self.squares)
    }

    /// `db` of all examples.
    pub fn total_db(&mut self) -> &mut [T] {
        totals(&mut self.db, self.ne, self.carries)
    }

    /// Panics unless a matrix of weights, or its gradient, has a row for each unit and a column for each input.
    #[track_caller]
    pub fn assert_weights(&self, elements: usize) {
        assert_eq!(Some(elements), self.ne.checked_mul(self.d), "elements of the weights");
    }

    /// Panics unless the output has the size of the batch, and its copy with a row an example if that is wanted.
    pub fn assert_output(&self, as_examples: bool) {
        let Self { ne, examples, .. } = *self;
        self.h.assert_shape("h", ne, examples);
        if as_examples {
            self.h_examples.assert_shape("h", examples.len(), self.units(ne));
        }
    }

    /// Panics unless the scratch has the size of the batch: the last `prepare` may have been for inference.
    pub fn assert_prepared_for_training(&self) {
        let Self { ne, examples, .. } = *self;
        self.h.assert_shape("h", ne, examples);
        self.du.assert_shape("du", ne, examples);
        assert_eq!(self.db.len(), partials(ne, examples), "partial sums of db");
    }
}
