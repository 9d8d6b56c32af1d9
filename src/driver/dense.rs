//! The plain layer.

use super::frame::Frame;
use super::phase::{run_gradients, run_in_parts};
use super::{Backward, Fused, Input, InputGradient, Side, transpose};
use crate::buffer::Activations;
use crate::element::Element;
use crate::error::Error;
use crate::isa::Isa;
use crate::kernels::Forward;
use crate::kernels::backward::{ExciteBackward, Store};
use crate::kernels::forward::Excite;
use crate::kernels::gradient::{Gradient, GradientKernel, Outer};
use crate::kernels::product::Product;
use crate::kernels::update::{HandOut, Step};
use crate::kernels::walk::DownColumns;
use crate::params::dense::{Dense, DenseMut, DenseRef, DenseShape};
use crate::params::update::descend;
use crate::threads::Crew;
use std::marker::PhantomData;

/// The scratch of a plain layer and the order of its phases.
#[derive(Clone)]
pub(crate) struct DenseDriver<T: Element> {
    shape: DenseShape,
    pub(super) frame: Frame<T>,
    /// `dW` of the slabs before.
    carried: Activations<T>,
}

impl<T: Element> DenseDriver<T> {
    pub fn new(shape: DenseShape, isa: Isa) -> Result<Self, Error> {
        shape.lengths()?;
        let frame = Frame::new(shape.d, shape.ne, shape.nonlinearity, isa);
        Ok(Self { shape, frame, carried: Activations::new() })
    }

    /// Makes room for a batch.
    pub fn prepare(&mut self, batch: usize, training: bool) -> Result<(), Error> {
        self.frame.prepare(batch, training, self.shape.ne)
    }

    /// Makes room for gradients that are carried over from slab to slab, and begins with none.
    pub fn prepare_slabs(&mut self, slabs: usize) -> Result<(), Error> {
        self.frame.carries = false;
        if slabs > 1 {
            self.carried.resize(self.shape.ne, self.frame.inputs())?;
        }
        Ok(())
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
        let Self { shape: DenseShape { d, ne, .. }, frame, .. } = self;
        let as_examples = training || W::EXAMPLES;
        frame.assert_output(as_examples);
        let (kernels, examples, h) = (frame.kernels, frame.examples, frame.h.grouped_mut());
        let to = as_examples.then(|| (frame.h_examples.grouped_mut(), frame.h_examples.columns()));
        let product = Product {
            init: None,
            terms: [Some(W::operand(params.w, *d, x)), None],
            examples,
            epilogue: Excite { b: params.b.as_ptr(), relu: frame.relu(), h },
        };
        // SAFETY: parameters and x are borrowed and were checked, h and its copy are borrowed mutably and have the size
        // of the batch.
        unsafe {
            run_in_parts(crew, (kernels, *ne), (forward.part, forward.excite), product, h, |rows, groups| {
                if let Some(to) = to {
                    transpose::to_examples(h, to, rows, examples.iter(groups));
                }
            });
        }
    }

    /// Where `dh` goes.
    pub fn backward(&mut self, _: DenseRef<'_, T>) -> Backward<'_, T> {
        let Self { shape: DenseShape { ne, .. }, frame, .. } = self;
        frame.assert_prepared_for_training();
        let epilogue = ExciteBackward { h: frame.derivative(), du: frame.du.grouped_mut(), db: frame.db() };
        Backward::Excite(Fused { epilogue, units: *ne, examples: frame.examples, borrow: PhantomData })
    }

    /// `dx = du W`
    pub fn input_gradient(&mut self, crew: &Crew<'_>, params: DenseRef<'_, T>, into: Backward<'_, T>) {
        params.check(&self.shape).expect("checked by the layer");
        let Self { shape: DenseShape { d, .. }, frame, .. } = self;
        frame.assert_prepared_for_training();
        let (kernels, examples) = (frame.kernels, frame.examples);
        let terms = [Some(DownColumns::operand(params.w, *d, &frame.du)), None];
        let scratch = &mut frame.scratch;
        // SAFETY: the weights are borrowed and were checked, du has the batch's size.
        unsafe { into.run(crew, InputGradient { kernels, init: None, terms, rows: *d, examples, scratch }) };
    }

    /// `W ← W − scale · duᵀ x`, `b ← b − scale · db`
    pub fn update(&mut self, crew: &Crew<'_>, params: DenseMut<'_, T>, x: &Activations<T>, scales: Dense<f64>) {
        let shape = self.shape;
        params.view().check(&shape).expect("checked by the layer");
        let scales = scales.map(T::from_f64);
        let epilogue = Step { w: params.w.as_mut_ptr(), ld: shape.d, scale: scales.w, low: T::NEG_INFINITY };
        self.weight_gradient(crew, x, self.frame.kernels.step, epilogue);
        descend(params.b, self.frame.total_db(), scales.b, true);
        self.frame.carries = false;
    }

    /// `dW = duᵀ x`, `db`
    pub fn gradients(&mut self, crew: &Crew<'_>, gradients: DenseMut<'_, T>, x: &Activations<T>) {
        let shape = self.shape;
        gradients.view().check(&shape).expect("checked by the layer");
        let epilogue = HandOut { grad: gradients.w.as_mut_ptr(), ld: shape.d };
        self.weight_gradient(crew, x, self.frame.kernels.hand_out, epilogue);
        gradients.b.copy_from_slice(self.frame.total_db());
        self.frame.carries = false;
    }

    /// Adds the gradients to those of the slabs before.
    pub fn carry(&mut self, crew: &Crew<'_>, x: &Activations<T>) {
        self.carried.assert_shape("dW", self.shape.ne, self.frame.inputs());
        let epilogue = Store { out: self.carried.grouped_mut() };
        self.weight_gradient(crew, x, self.frame.kernels.carry, epilogue);
        self.frame.total_db();
        self.frame.carries = true;
    }

    fn weight_gradient<E>(&self, crew: &Crew<'_>, x: &Activations<T>, kernel: GradientKernel<T, E>, epilogue: E) {
        let Self { shape, frame, carried } = self;
        x.assert_shape("x", frame.examples.len(), frame.inputs());
        frame.assert_prepared_for_training();
        if frame.carries {
            carried.assert_shape("dW", shape.ne, frame.inputs());
        }
        let gradient = Gradient {
            init: frame.carries.then(|| carried.grouped()),
            terms: [Some(Outer { delta: frame.du.grouped(), x: x.grouped() }), None],
            rows: shape.ne,
            examples: frame.examples,
            inputs: frame.inputs(),
            epilogue,
        };
        // SAFETY: x and du have the batch's size; the epilogue writes an array of the layer's shape that the caller
        // borrows mutably.
        unsafe { run_gradients(crew, kernel, &[gradient]) };
    }
}
