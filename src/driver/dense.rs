//! The layer without interneurons.

use super::frame::Frame;
use super::phase::{run_elementwise, run_in_parts};
use super::weights::{self, Weights};
use super::{Backward, Fused, Input, Side, curvature_of_sums, transpose};
use crate::buffer::Activations;
use crate::element::Element;
use crate::error::Error;
use crate::isa::Isa;
use crate::kernels::Forward;
use crate::kernels::backward::ExciteBackward;
use crate::kernels::forward::Excite;
use crate::kernels::product::Product;
use crate::params::dense::{Dense, DenseMut, DenseRef, DenseShape};
use crate::params::state::Target;
use crate::threads::Crew;
use std::marker::PhantomData;

/// The scratch of a layer without interneurons and the order of its phases.
#[derive(Clone)]
pub(crate) struct DenseDriver<T: Element> {
    shape: DenseShape,
    pub(super) frame: Frame<T>,
    weights: Weights<T>,
}

impl<T: Element> DenseDriver<T> {
    pub fn new(shape: DenseShape, isa: Isa) -> Result<Self, Error> {
        shape.lengths()?;
        let frame = Frame::new(shape.d, shape.ne, shape.nonlinearity, isa);
        Ok(Self { shape, frame, weights: Weights::new() })
    }

    /// Makes room for a batch.
    pub fn prepare(&mut self, batch: usize, training: bool) -> Result<(), Error> {
        self.frame.prepare(batch, training, self.shape.ne)
    }

    /// Makes room for gradients that are carried over from slab to slab, and begins with none.
    pub fn prepare_slabs(&mut self, slabs: usize) -> Result<(), Error> {
        self.weights.prepare_slabs(&mut self.frame, slabs)
    }

    /// `h = f(x Wᵀ + b)`
    pub fn forward(&mut self, crew: &Crew<'_>, params: DenseRef<'_, T>, x: Input<'_, T>, training: bool) {
        let kernels = self.frame.kernels;
        match x.checked(&self.frame) {
            Input::Units(x) => self.forward_from(crew, params, x, &kernels.along, training),
            Input::Examples(x) => self.forward_from(crew, params, x, &kernels.dots, training),
        }
    }

    fn forward_from<W: Side>(
        &mut self,
        crew: &Crew<'_>,
        params: DenseRef<'_, T>,
        x: &Activations<T>,
        forward: &Forward<T, W>,
        training: bool,
    ) {
        params.check(&self.shape).expect("checked by the layer");
        let Self { shape, frame, .. } = self;
        let (DenseShape { d, ne, .. }, negative_from) = (*shape, shape.negative_from());
        let as_examples = training || W::EXAMPLES;
        frame.assert_output(as_examples);
        let (kernels, examples, h) = (frame.kernels, frame.examples, frame.h.grouped_mut());
        let to = as_examples.then(|| (frame.h_examples.grouped_mut(), frame.h_examples.columns()));
        let product = Product {
            init: None,
            terms: [Some(W::operand(params.w, d, x)), None],
            examples,
            epilogue: Excite { b: params.b.as_ptr(), relu: frame.relu(), h, negative_from },
        };
        // SAFETY: parameters and x are borrowed and were checked, h and its copy are borrowed mutably and have the size
        // of the batch.
        unsafe {
            run_in_parts(crew, (kernels, ne), (forward.store, forward.excite), product, h, |rows, groups| {
                if let Some(to) = to {
                    transpose::to_examples(h, to, rows, examples.iter(groups));
                }
            });
        }
    }

    /// Where `dh` goes.
    pub fn backward(&mut self, _: DenseRef<'_, T>) -> Backward<'_, T> {
        let Self { shape, frame, .. } = self;
        frame.assert_prepared_for_training();
        let (units, negative_from) = (shape.ne, shape.negative_from());
        let epilogue =
            ExciteBackward { h: frame.derivative(), du: frame.du.grouped_mut(), db: frame.db(), negative_from };
        Backward::Excite(Fused { epilogue, units, examples: frame.examples, borrow: PhantomData })
    }

    /// Nothing: `du` is there.
    pub fn inner_backward(&mut self, _: &Crew<'_>, _: DenseRef<'_, T>) {}

    /// `dx = du W`
    pub fn input_gradient(&mut self, crew: &Crew<'_>, params: DenseRef<'_, T>, into: Backward<'_, T>) {
        params.check(&self.shape).expect("checked by the layer");
        weights::input_gradient(crew, &mut self.frame, params.w, into);
    }

    /// The step of `W` and `b`.
    pub fn update(&mut self, crew: &Crew<'_>, mut targets: Dense<Target<'_, T>>, x: &Activations<T>) {
        self.weights.update(crew, &mut self.frame, &mut targets.w, x);
        run_elementwise(crew, self.frame.kernels, &mut targets.b, self.frame.total_db());
        self.frame.carries = false;
    }

    /// `dW = duᵀ x`, `db`
    pub fn gradients(&mut self, crew: &Crew<'_>, gradients: DenseMut<'_, T>, x: &Activations<T>) {
        self.weights.hand_out(crew, &mut self.frame, gradients.w, x);
        gradients.b.copy_from_slice(self.frame.total_db());
        self.frame.carries = false;
    }

    /// Adds the gradients to those of the slabs before.
    pub fn carry(&mut self, crew: &Crew<'_>, x: &Activations<T>) {
        self.weights.carry(crew, &mut self.frame, x);
        self.frame.total_db();
        self.frame.carries = true;
    }

    /// `F ← keep · F + scale · Σ_B (∂θ)²`, after a backward pass of squares.
    pub fn curvature(&mut self, crew: &Crew<'_>, fisher: DenseMut<'_, T>, x: &Activations<T>, coefficients: [T; 2]) {
        self.weights.curvature(crew, &mut self.frame, fisher.w, x, coefficients);
        curvature_of_sums(fisher.b, &self.frame.db, coefficients);
    }
}
