//! The plain layer.

use super::phase::{run_gradients, run_in_parts};
use super::{Backward, Fused, Input, InputGradient, Scratch, Side, partials, totals, transpose};
use crate::buffer::{Activations, Buffer};
use crate::element::Element;
use crate::error::Error;
use crate::isa::Isa;
use crate::kernels::backward::{ExciteBackward, Partials, Store};
use crate::kernels::forward::Excite;
use crate::kernels::gradient::{Gradient, GradientKernel, Outer};
use crate::kernels::product::Product;
use crate::kernels::update::{HandOut, Step};
use crate::kernels::walk::DownColumns;
use crate::kernels::{Forward, Kernels};
use crate::layout::Split;
use crate::params::Nonlinearity;
use crate::params::dense::{Dense, DenseMut, DenseRef, DenseShape};
use crate::params::update::descend;
use crate::threads::Crew;
use std::marker::PhantomData;

/// The scratch of a plain layer and the order of its phases.
#[derive(Clone)]
pub(crate) struct DenseDriver<T: Element> {
    shape: DenseShape,
    kernels: &'static Kernels<T>,
    examples: Split,
    h: Activations<T>,
    h_examples: Activations<T>,
    du: Activations<T>,
    db: Buffer<T>,
    scratch: Scratch<T>,
    /// `dW` of the slabs before.
    carried: Activations<T>,
    /// Whether there were any.
    carries: bool,
}

impl<T: Element> DenseDriver<T> {
    pub fn new(shape: DenseShape, isa: Isa) -> Result<Self, Error> {
        shape.lengths()?;
        Ok(Self {
            shape,
            kernels: T::kernels(isa).get(),
            examples: Split::new(0, 1, 1),
            h: Activations::new(),
            h_examples: Activations::new(),
            du: Activations::new(),
            db: Buffer::default(),
            scratch: Scratch::new(),
            carried: Activations::new(),
            carries: false,
        })
    }

    /// Makes room for a batch.
    pub fn prepare(&mut self, batch: usize, training: bool) -> Result<(), Error> {
        let Self { shape, kernels, .. } = *self;
        let examples = Split::new(batch, kernels.lanes, kernels.example_vectors);
        self.h.resize(shape.ne, examples)?;
        if training || self.few(batch) {
            self.h_examples.resize(batch, Split::new(shape.ne, kernels.lanes, kernels.input_vectors))?;
        }
        if training {
            self.scratch.prepare(shape.d, shape.ne, examples)?;
            self.du.resize(shape.ne, examples)?;
            self.db.resize(partials(shape.ne, examples))?;
        }
        self.examples = examples;
        Ok(())
    }

    /// Makes room for gradients that are carried over from slab to slab, and begins with none.
    pub fn prepare_slabs(&mut self, slabs: usize) -> Result<(), Error> {
        self.carries = false;
        if slabs > 1 {
            self.carried.resize(self.shape.ne, self.inputs())?;
        }
        Ok(())
    }

    pub fn output(&self) -> &Activations<T> {
        &self.h
    }

    pub fn output_examples(&self) -> &Activations<T> {
        &self.h_examples
    }

    pub fn inputs(&self) -> Split {
        Split::new(self.shape.d, self.kernels.lanes, self.kernels.input_vectors)
    }

    /// Whether so many examples are few.
    pub fn few(&self, batch: usize) -> bool {
        batch <= self.kernels.few
    }

    /// `h = f(x Wᵀ + b)`
    pub fn forward(&mut self, crew: &Crew<'_>, params: DenseRef<'_, T>, x: Input<'_, T>, training: bool) {
        let Self { shape, kernels, examples, .. } = *self;
        match x {
            Input::Units(x) => {
                x.assert_shape("x", shape.d, examples);
                self.forward_from(crew, params, x, &kernels.along, training);
            }
            Input::Examples(x) => {
                x.assert_shape("x", examples.len(), self.inputs());
                self.forward_from(crew, params, x, &kernels.dots, training);
            }
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
        let Self { shape: DenseShape { d, ne, nonlinearity }, kernels, examples, .. } = *self;
        params.check(&self.shape).expect("checked by the layer");
        self.h.assert_shape("h", ne, examples);
        let h = self.h.grouped_mut();
        let to = (training || W::EXAMPLES).then(|| {
            self.h_examples.assert_shape("h", examples.len(), Split::new(ne, kernels.lanes, kernels.input_vectors));
            (self.h_examples.grouped_mut(), self.h_examples.columns())
        });
        let product = Product {
            init: None,
            terms: [Some(W::operand(params.w, d, x)), None],
            examples,
            epilogue: Excite { b: params.b.as_ptr(), relu: nonlinearity == Nonlinearity::Relu, h },
        };
        // SAFETY: parameters and x are borrowed and were checked, h and its copy are borrowed mutably and have the size
        // of the batch.
        unsafe {
            run_in_parts(crew, (kernels, ne), (forward.part, forward.excite), product, h, |rows, groups| {
                if let Some(to) = to {
                    transpose::to_examples(h, to, rows, examples.iter(groups));
                }
            });
        }
    }

    /// Where `dh` goes.
    pub fn backward(&mut self, _: DenseRef<'_, T>) -> Backward<'_, T> {
        let Self { shape: DenseShape { ne, nonlinearity, .. }, examples, .. } = *self;
        self.h.assert_shape("h", ne, examples);
        self.du.assert_shape("du", ne, examples);
        assert_eq!(self.db.len(), partials(ne, examples), "partial sums of db");
        let relu = nonlinearity == Nonlinearity::Relu;
        let epilogue = ExciteBackward {
            h: relu.then(|| self.h.grouped()),
            du: self.du.grouped_mut(),
            db: Partials::new(self.db.as_mut_ptr(), self.shape.ne),
        };
        Backward::Excite(Fused { epilogue, units: ne, examples, borrow: PhantomData })
    }

    /// Lets a `dh` that is in an array go where it should.
    pub fn backward_from(&mut self, crew: &Crew<'_>, params: DenseRef<'_, T>, dh: &Activations<T>) {
        let Self { shape, kernels, examples, .. } = *self;
        let init = Some(dh);
        let scratch = &mut Scratch::new();
        let gradient = InputGradient { kernels, init, terms: [None, None], rows: shape.ne, examples, scratch };
        // SAFETY: there are no terms.
        unsafe { self.backward(params).run(crew, gradient) };
    }

    /// `dx = du W`
    pub fn input_gradient(&mut self, crew: &Crew<'_>, params: DenseRef<'_, T>, into: Backward<'_, T>) {
        params.check(&self.shape).expect("checked by the layer");
        let Self { shape: DenseShape { d, ne, .. }, kernels, examples, .. } = *self;
        self.du.assert_shape("du", ne, examples);
        let terms = [Some(DownColumns::operand(params.w, d, &self.du)), None];
        let scratch = &mut self.scratch;
        // SAFETY: the weights are borrowed and were checked, du has the batch's size.
        unsafe { into.run(crew, InputGradient { kernels, init: None, terms, rows: d, examples, scratch }) };
    }

    /// `W ← W − scale · duᵀ x`, `b ← b − scale · db`
    pub fn update(&mut self, crew: &Crew<'_>, params: DenseMut<'_, T>, x: &Activations<T>, scales: Dense<f64>) {
        let shape = self.shape;
        params.view().check(&shape).expect("checked by the layer");
        let scales = scales.map(T::from_f64);
        let epilogue = Step { w: params.w.as_mut_ptr(), ld: shape.d, scale: scales.w, low: T::NEG_INFINITY };
        self.weight_gradient(crew, x, self.kernels.step, epilogue);
        descend(params.b, totals(&mut self.db, shape.ne, self.carries), scales.b, true);
        self.carries = false;
    }

    /// `dW = duᵀ x`, `db`
    pub fn gradients(&mut self, crew: &Crew<'_>, gradients: DenseMut<'_, T>, x: &Activations<T>) {
        let shape = self.shape;
        gradients.view().check(&shape).expect("checked by the layer");
        let epilogue = HandOut { grad: gradients.w.as_mut_ptr(), ld: shape.d };
        self.weight_gradient(crew, x, self.kernels.hand_out, epilogue);
        gradients.b.copy_from_slice(totals(&mut self.db, shape.ne, self.carries));
        self.carries = false;
    }

    /// Adds the gradients to those of the slabs before.
    pub fn carry(&mut self, crew: &Crew<'_>, x: &Activations<T>) {
        self.carried.assert_shape("dW", self.shape.ne, self.inputs());
        let epilogue = Store { out: self.carried.grouped_mut() };
        self.weight_gradient(crew, x, self.kernels.carry, epilogue);
        totals(&mut self.db, self.shape.ne, self.carries);
        self.carries = true;
    }

    fn weight_gradient<E>(&self, crew: &Crew<'_>, x: &Activations<T>, kernel: GradientKernel<T, E>, epilogue: E) {
        let Self { shape, examples, .. } = *self;
        x.assert_shape("x", examples.len(), self.inputs());
        self.du.assert_shape("du", shape.ne, examples);
        if self.carries {
            self.carried.assert_shape("dW", shape.ne, self.inputs());
        }
        let gradient = Gradient {
            init: self.carries.then(|| self.carried.grouped()),
            terms: [Some(Outer { delta: self.du.grouped(), x: x.grouped() }), None],
            rows: shape.ne,
            examples,
            inputs: self.inputs(),
            epilogue,
        };
        // SAFETY: x and du have the batch's size; the epilogue writes an array of the layer's shape that the caller
        // borrows mutably.
        unsafe { run_gradients(crew, kernel, &[gradient]) };
    }
}
