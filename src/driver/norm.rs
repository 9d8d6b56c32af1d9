//! The layer with layer or batch normalisation.

use super::frame::Frame;
use super::phase::{run_elementwise, run_in_parts};
use super::weights::{self, Weights};
use super::{Backward, Fused, Input, Side, curvature_of_sums, partials, totals, transpose};
use crate::buffer::{Activations, Buffer};
use crate::element::Element;
use crate::error::Error;
use crate::isa::Isa;
use crate::kernels::Forward;
use crate::kernels::backward::{GainBackward, Partials, Store};
use crate::kernels::normalise::{Normalise, NormaliseBackward};
use crate::kernels::product::Product;
use crate::params::norm::{Norm, NormMut, NormRef, NormShape, Over};
use crate::params::state::Target;
use crate::threads::Crew;
use std::marker::PhantomData;
use std::ops::Range;

/// ε beside the variance.
const EPSILON: f64 = 1e-5;

/// The scratch of a normalised layer and the order of its phases.
#[derive(Clone)]
pub(crate) struct NormDriver<T: Element> {
    shape: NormShape,
    pub(super) frame: Frame<T>,
    weights: Weights<T>,
    /// `u`, then `ẑ [ne, B]`
    zhat: Activations<T>,
    /// `1/√(var + ε)` of each example with the padding, or of each unit.
    inverse: Buffer<T>,
    /// Mean and variance of each unit in the batch, for batch normalisation.
    statistics: [Buffer<T>; 2],
    dg: Buffer<T>,
}

impl<T: Element> NormDriver<T> {
    pub fn new(shape: NormShape, isa: Isa) -> Result<Self, Error> {
        shape.lengths()?;
        Ok(Self {
            shape,
            frame: Frame::new(shape.d, shape.ne, shape.nonlinearity, isa),
            weights: Weights::new(),
            zhat: Activations::new(),
            inverse: Buffer::default(),
            statistics: [(); 2].map(|()| Buffer::default()),
            dg: Buffer::default(),
        })
    }

    /// Makes room for a batch.
    pub fn prepare(&mut self, batch: usize, training: bool) -> Result<(), Error> {
        let NormShape { ne, over, .. } = self.shape;
        self.frame.prepare(batch, training, ne)?;
        let examples = self.frame.examples;
        self.zhat.resize(ne, examples)?;
        match over {
            Over::Units => self.inverse.resize(examples.padded())?,
            Over::Examples => {
                self.inverse.resize(ne)?;
                self.statistics.iter_mut().try_for_each(|statistic| statistic.resize(ne))?;
            }
        }
        if training { self.dg.resize(partials(ne, examples)) } else { Ok(()) }
    }

    /// Makes room for gradients that are carried over from slab to slab, and begins with none.
    pub fn prepare_slabs(&mut self, slabs: usize) -> Result<(), Error> {
        self.weights.prepare_slabs(&mut self.frame, slabs)
    }

    /// `ẑ [ne, B]`, after a forward pass of training.
    pub fn standardised(&self) -> &Activations<T> {
        &self.zhat
    }

    /// `u = x Wᵀ`, then `h = f(g ⊙ ẑ + b)`.
    pub fn forward(&mut self, crew: &Crew<'_>, params: NormRef<'_, T>, x: Input<'_, T>, training: bool) {
        let kernels = self.frame.kernels;
        params.check(&self.shape).expect("checked by the layer");
        match x.checked(&self.frame) {
            Input::Units(x) => self.excite(crew, params.w, x, &kernels.along),
            Input::Examples(x) => self.excite(crew, params.w, x, &kernels.dots),
        }
        self.normalise(crew, params, training);
        let frame = &mut self.frame;
        let examples = frame.examples;
        let as_examples = training || frame.few(examples.len());
        frame.assert_output(as_examples);
        if as_examples {
            let (from, units, groups) = (frame.h.grouped(), frame.h_examples.columns(), examples.groups());
            let to = (frame.h_examples.grouped_mut(), units);
            let count = units.groups();
            // By groups of units: each is read and written whole by one task.
            crew.run(units.len().saturating_mul(16 * examples.len()), count, |tasks| {
                for group in units.iter(tasks) {
                    let rows = group.start..group.start + group.len;
                    // SAFETY: h and its copy are borrowed and have the size of the batch; tasks are disjoint.
                    unsafe { transpose::to_examples(from, to, rows, examples.iter(0..groups)) };
                }
            });
        }
    }

    fn excite<W: Side>(&mut self, crew: &Crew<'_>, w: &[T], x: &Activations<T>, forward: &Forward<T, W>) {
        let NormShape { d, ne, .. } = self.shape;
        let Frame { kernels, examples, .. } = self.frame;
        self.zhat.assert_shape("u", ne, examples);
        let u = self.zhat.grouped_mut();
        let terms = [Some(W::operand(w, d, x)), None];
        let product = Product { init: None, terms, examples, epilogue: Store { out: u } };
        // SAFETY: the weights and x are borrowed and were checked; u is borrowed mutably and has the size of the batch.
        unsafe { run_in_parts(crew, (kernels, ne), (forward.store, forward.store), product, u, |_, _| ()) };
    }

    fn normalise(&mut self, crew: &Crew<'_>, params: NormRef<'_, T>, training: bool) {
        let NormShape { ne, over, .. } = self.shape;
        let Frame { kernels, examples, .. } = self.frame;
        self.frame.assert_output(false);
        self.zhat.assert_shape("u", ne, examples);
        self.assert_inverse();
        let running = over == Over::Examples && !training;
        let statistics = if running {
            // The kernel only reads them.
            [params.mean, params.variance].map(|statistic| statistic.as_ptr().cast_mut())
        } else {
            self.statistics.each_mut().map(|statistic| statistic.as_mut_ptr())
        };
        let work = Normalise {
            units: ne,
            examples,
            zhat: self.zhat.grouped_mut(),
            g: params.g.as_ptr(),
            b: params.b.as_ptr(),
            relu: self.frame.relu(),
            h: self.frame.h.grouped_mut(),
            inverse: self.inverse.as_mut_ptr(),
            statistics,
            running,
            share: self.share(),
            epsilon: T::from_f64(EPSILON),
        };
        let kernel = match over {
            Over::Units => kernels.normalisation.over_units,
            Over::Examples => kernels.normalisation.over_examples,
        };
        // SAFETY: the parameters are borrowed and were checked; what is written is borrowed mutably and has the size of
        // the batch.
        self.pass(crew, |range| unsafe { kernel(&work, range) });
    }

    /// One divided by the number that is normalised over.
    fn share(&self) -> T {
        let number = match self.shape.over {
            Over::Units => self.shape.ne,
            Over::Examples => self.frame.examples.len(),
        };
        T::ONE / T::from_f64(number as f64)
    }

    /// Runs a pass over all activations: by groups of examples where units are normalised over, by units otherwise.
    fn pass(&self, crew: &Crew<'_>, task: impl Fn(Range<usize>) + Sync) {
        /// Operations of a pass for each activation.
        const OPERATIONS: usize = 8;
        let (ne, examples) = (self.shape.ne, self.frame.examples);
        let tasks = match self.shape.over {
            Over::Units => examples.groups(),
            Over::Examples => ne,
        };
        crew.run(ne.saturating_mul(OPERATIONS * examples.len()), tasks, task);
    }

    /// Panics unless there is room for the deviations.
    fn assert_inverse(&self) {
        let NormShape { ne, over, .. } = self.shape;
        match over {
            Over::Units => assert_eq!(self.inverse.len(), self.frame.examples.padded(), "deviations of the examples"),
            Over::Examples => {
                let lengths = [&self.inverse, &self.statistics[0], &self.statistics[1]].map(|buffer| buffer.len());
                assert_eq!(lengths, [ne; 3], "statistics of the units");
            }
        }
    }

    /// Panics unless the scratch has the size of the batch: the last `prepare` may have been for inference.
    fn assert_prepared_for_training(&self) {
        let NormShape { ne, .. } = self.shape;
        let examples = self.frame.examples;
        self.frame.assert_prepared_for_training();
        self.zhat.assert_shape("ẑ", ne, examples);
        self.assert_inverse();
        assert_eq!(self.dg.len(), partials(ne, examples), "partial sums of dg");
    }

    /// Where `dh` goes.
    pub fn backward<'a>(&'a mut self, params: NormRef<'a, T>) -> Backward<'a, T> {
        params.check(&self.shape).expect("checked by the layer");
        self.assert_prepared_for_training();
        let ne = self.shape.ne;
        let frame = &mut self.frame;
        let epilogue = GainBackward {
            h: frame.derivative(),
            g: params.g.as_ptr(),
            zhat: self.zhat.grouped(),
            dzhat: frame.du.grouped_mut(),
            db: frame.db(),
            dg: Partials::new(self.dg.as_mut_ptr(), ne, frame.squares),
        };
        Backward::Gain(Fused { epilogue, units: ne, examples: frame.examples, borrow: PhantomData })
    }

    /// `du` from `dẑ`.
    pub fn inner_backward(&mut self, crew: &Crew<'_>, params: NormRef<'_, T>) {
        let NormShape { ne, over, .. } = self.shape;
        params.check(&self.shape).expect("checked by the layer");
        self.assert_prepared_for_training();
        let Frame { kernels, examples, carries, .. } = self.frame;
        let gradients = match over {
            Over::Units => [std::ptr::null(); 3],
            // The whole batch is one slab, so that nothing is carried over into these sums.
            Over::Examples => {
                assert!(!carries, "batch normalisation of a part of a batch");
                [params.g.as_ptr(), self.frame.total_db().as_ptr(), totals(&mut self.dg, ne, false).as_ptr()]
            }
        };
        let work = NormaliseBackward {
            units: ne,
            examples,
            zhat: self.zhat.grouped(),
            du: self.frame.du.grouped_mut(),
            inverse: self.inverse.as_ptr(),
            gradients,
            share: self.share(),
        };
        let kernel = match over {
            Over::Units => kernels.normalisation.over_units_backward,
            Over::Examples => kernels.normalisation.over_examples_backward,
        };
        // SAFETY: the parameters are borrowed and were checked; du is borrowed mutably and has the size of the batch.
        self.pass(crew, |range| unsafe { kernel(&work, range) });
    }

    /// `dx = du W`
    pub fn input_gradient(&mut self, crew: &Crew<'_>, params: NormRef<'_, T>, into: Backward<'_, T>) {
        params.check(&self.shape).expect("checked by the layer");
        weights::input_gradient(crew, &mut self.frame, params.w, into);
    }

    /// The step of all parameters; running statistics take in those of the batch.
    pub fn update(&mut self, crew: &Crew<'_>, mut targets: Norm<Target<'_, T>>, x: &Activations<T>) {
        let kernels = self.frame.kernels;
        self.weights.update(crew, &mut self.frame, &mut targets.w, x);
        run_elementwise(crew, kernels, &mut targets.b, self.frame.total_db());
        run_elementwise(crew, kernels, &mut targets.g, totals(&mut self.dg, self.shape.ne, self.frame.carries));
        if self.shape.over == Over::Examples {
            self.count_all();
            let [mean, variance] = &self.statistics;
            run_elementwise(crew, kernels, &mut targets.mean, mean);
            run_elementwise(crew, kernels, &mut targets.variance, variance);
        }
        self.frame.carries = false;
    }

    /// All gradients, and the statistics of the batch.
    pub fn gradients(&mut self, crew: &Crew<'_>, gradients: NormMut<'_, T>, x: &Activations<T>) {
        self.weights.hand_out(crew, &mut self.frame, gradients.w, x);
        gradients.b.copy_from_slice(self.frame.total_db());
        gradients.g.copy_from_slice(totals(&mut self.dg, self.shape.ne, self.frame.carries));
        if self.shape.over == Over::Examples {
            self.count_all();
            let [mean, variance] = &self.statistics;
            gradients.mean.copy_from_slice(mean);
            gradients.variance.copy_from_slice(variance);
        }
        self.frame.carries = false;
    }

    /// Turns the variance of the batch into the estimate for all examples that there are: `B/(B−1)` of it.
    fn count_all(&mut self) {
        let examples = self.frame.examples.len() as f64;
        let ratio = T::from_f64(examples / (examples - 1.0).max(1.0));
        let [_, variance] = &mut self.statistics;
        variance.iter_mut().for_each(|variance| *variance = *variance * ratio);
    }

    /// Adds the gradients to those of the slabs before.
    pub fn carry(&mut self, crew: &Crew<'_>, x: &Activations<T>) {
        self.weights.carry(crew, &mut self.frame, x);
        self.frame.total_db();
        totals(&mut self.dg, self.shape.ne, self.frame.carries);
        self.frame.carries = true;
    }

    /// `F ← keep · F + scale · Σ_B (∂θ)²`, after a backward pass of squares.
    pub fn curvature(&mut self, crew: &Crew<'_>, fisher: NormMut<'_, T>, x: &Activations<T>, coefficients: [T; 2]) {
        self.weights.curvature(crew, &mut self.frame, fisher.w, x, coefficients);
        curvature_of_sums(fisher.b, &self.frame.db, coefficients);
        curvature_of_sums(fisher.g, &self.dg, coefficients);
    }
}
