//! The layer with layer or batch normalisation.

mod kernels;

use super::buffers::{Batch, Input, LayerBuffers};
use super::collect::{Collect, Sums, WeightGradient};
use super::input_gradient::InputGradient;
#[cfg(feature = "checkpoint")]
use super::kind::Tensors;
use super::kind::{Kind, Ports};
use super::nonlinearity::Nonlinearity;
use super::pass::{Pass, Standardised};
use crate::buffer::{Activations, Buffer, Examples};
use crate::driver::phase::run_in_parts;
use crate::driver::{Side, transpose};
use crate::element::{Element, table};
use crate::error::{Error, dimension};
use crate::init::{Init, RandomNumbers};
use crate::isa::Isa;
use crate::kernels::epilogue::Store;
use crate::kernels::product::{Product, ProductKernel};
use crate::params::arrays::arrays;
use crate::params::schema::{Names, Parameter, Role, Schema, Shape};
use crate::params::{Params, ParamsMut, ParamsRef, array};
use crate::threads::Team;
pub(super) use kernels::NormKernels;
use kernels::{GainBackward, Normalise, NormaliseBackward};
use std::ops::Range;

/// ε beside the variance.
const EPSILON: f64 = 1e-5;

/// What a layer is normalised over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Normalisation {
    /// The units, for each example: layer normalisation.
    Layer,
    /// The examples of a batch, for each unit: batch normalisation. Running statistics take the batch's place in
    /// evaluation.
    Batch,
}

/// Dimensions of a layer that is normalised, and over what:
///
/// ```text
/// u = x Wᵀ      ẑ = (u − mean(u)) / √(var(u) + ε),  ε = 1e-5      h = f(g ⊙ ẑ + b)
/// ```
///
/// with the mean and the variance (divided by the number) of one example's units, or of one unit in all examples of the
/// batch. In evaluation the latter are the running statistics, of which each step takes in a tenth:
/// `mean ← 0.9 mean + 0.1 mean(u)` and `variance ← 0.9 variance + 0.1 var(u) · B/(B−1)`, whatever the learning rate is.
///
/// Sources: Ba, Kiros, Hinton, "Layer normalization", 2016; Ioffe, Szegedy, "Batch normalization", ICML 2015.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NormShape {
    /// Inputs `d`.
    pub d: usize,
    /// Outputs `ne`.
    pub ne: usize,
    /// The nonlinearity `f`.
    pub nonlinearity: Nonlinearity,
    /// What is normalised over.
    pub over: Normalisation,
}

impl NormShape {
    /// A hidden layer: ReLU.
    pub fn new(d: usize, ne: usize, over: Normalisation) -> Self {
        Self { d, ne, nonlinearity: Nonlinearity::Relu, over }
    }

    /// The same with the identity instead of ReLU, for output layers.
    #[must_use]
    pub fn linear(self) -> Self {
        Self { nonlinearity: Nonlinearity::Identity, ..self }
    }
}

impl Shape for NormShape {
    fn schema(&self) -> Result<Schema, Error> {
        let &Self { d, ne, .. } = self;
        dimension("d", d)?;
        dimension("ne", ne)?;
        let running = self.over == Normalisation::Batch;
        let parameters = [
            Parameter::matrix(Role::Weights, ne, d),
            Parameter::vector(Role::Gain, ne),
            Parameter::vector(Role::Bias, ne),
            Parameter::vector(Role::Statistic, ne).only_if(running),
            Parameter::vector(Role::Statistic, ne).non_negative().only_if(running),
        ];
        Schema::new(Norm::KIND, parameters)
    }
}

/// The places of the arrays in the schema.
const PLACES: Norm<usize> = Norm { w: 0, g: 1, b: 2, mean: 3, variance: 4 };

arrays! {
    /// One `A` for each array of a normalised layer: the arrays themselves, views of them, gradients.
    ///
    /// Among gradients, `mean` and `variance` are no gradients but the statistics of the batch, as the running ones
    /// take them in.
    Norm, NormParams, NormRef, NormMut for NormShape: "normalised" {
        /// `W [ne, d]`: weights, row-major.
        w = "W",
        /// `g [ne]`: gain, of any sign.
        g = "g",
        /// `b [ne]`: bias.
        b = "b",
        /// Running mean `[ne]` of batch normalisation; empty in layer normalisation.
        mean = "running_mean",
        /// Running variance `[ne]` of batch normalisation; empty in layer normalisation.
        variance = "running_var",
    }
}

impl Kind for NormShape {
    fn ports(&self) -> Ports {
        let &Self { d, ne, nonlinearity, over } = self;
        let batch_statistics = over == Normalisation::Batch;
        Ports { inputs: d, outputs: ne, nonlinearity, batch_statistics, ..Ports::default() }
    }

    fn draw<T: Element>(&self, init: Init, numbers: &mut impl RandomNumbers) -> Result<Params<T>, Error> {
        let schema = self.schema()?;
        let w = init.normal(schema[PLACES.w].elements(), self.d, numbers)?;
        let filled = |(i, value): (usize, f64)| array(schema[i].elements(), |_| value);
        // The gain, the bias and the running statistics.
        let others = [(PLACES.g, 1.0), (PLACES.b, 0.0), (PLACES.mean, 0.0), (PLACES.variance, 1.0)].map(filled);
        let arrays = [Ok(w)].into_iter().chain(others).collect::<Result<_, _>>()?;
        Ok(Params::of(schema.names, arrays))
    }

    fn pass<T: Element>(&self, isa: Isa) -> Result<Box<dyn Pass<T>>, Error> {
        Ok(Box::new(NormPass {
            shape: *self,
            kernels: table::<T, _>(isa),
            buffers: LayerBuffers::new(self.schema()?, (self.d, self.ne), self.nonlinearity, isa),
            zhat: Activations::new(),
            inverse: Buffer::default(),
            statistics: [Buffer::default(), Buffer::default()],
            dg: Sums::new(self.ne),
        }))
    }

    #[cfg(feature = "checkpoint")]
    fn of_tensors(tensors: &mut dyn Tensors, nonlinearity: Nonlinearity) -> Result<Option<Self>, String> {
        if !tensors.has("W") || !tensors.has("g") {
            return Ok(None);
        }
        let [ne, d] = tensors.matrix("W")?;
        let over = if tensors.has("running_mean") { Normalisation::Batch } else { Normalisation::Layer };
        Ok(Some(Self { d, ne, nonlinearity, over }))
    }
}

/// What a pass through a normalised layer keeps, and the order of its phases.
#[derive(Clone)]
struct NormPass<T: Element> {
    shape: NormShape,
    kernels: &'static NormKernels<T>,
    buffers: LayerBuffers<T>,
    /// `u`, then `ẑ [ne, B]`
    zhat: Activations<T>,
    /// `1/√(var + ε)` of each example with the padding, or of each unit.
    inverse: Buffer<T>,
    /// Mean and variance of each unit in the batch, for batch normalisation.
    statistics: [Buffer<T>; 2],
    dg: Sums<T>,
}

impl<T: Element> NormPass<T> {
    fn excite<W: Side>(&mut self, team: &Team<'_>, w: &[T], x: W::Input<'_, T>, store: ProductKernel<T, W, Store<T>>) {
        let NormShape { d, ne, .. } = self.shape;
        let LayerBuffers { kernels, examples, .. } = self.buffers;
        self.zhat.assert_shape("u", ne, examples);
        let u = self.zhat.grouped_mut();
        let terms = [Some(W::operand(w, d, x)), None];
        let product = Product { init: None, terms, examples, epilogue: Store { out: u } };
        // SAFETY: the weights and x are borrowed and were checked; u is borrowed mutably and has the size of the batch.
        unsafe { run_in_parts(team, (kernels, ne), (store, store), product, u, |_, _| ()) };
    }

    fn normalise(&mut self, team: &Team<'_>, params: NormRef<'_, T>, training: bool) {
        let NormShape { ne, over, .. } = self.shape;
        let LayerBuffers { examples, .. } = self.buffers;
        self.buffers.assert_output(false);
        self.zhat.assert_shape("u", ne, examples);
        self.assert_inverse();
        let running = over == Normalisation::Batch && !training;
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
            relu: self.buffers.relu(),
            h: self.buffers.h.grouped_mut(),
            inverse: self.inverse.as_mut_ptr(),
            statistics,
            running,
            inverse_count: self.inverse_count(),
            epsilon: T::from_f64(EPSILON),
        };
        let kernel = match over {
            Normalisation::Layer => self.kernels.over_units,
            Normalisation::Batch => self.kernels.over_examples,
        };
        // SAFETY: the parameters are borrowed and were checked; what is written is borrowed mutably and has the size of
        // the batch.
        self.pass(team, |range| unsafe { kernel(&work, range) });
    }

    /// 1/n, where n are the units or examples that are normalised over.
    fn inverse_count(&self) -> T {
        let number = match self.shape.over {
            Normalisation::Layer => self.shape.ne,
            Normalisation::Batch => self.buffers.examples.len(),
        };
        T::ONE / T::from_f64(number as f64)
    }

    /// Runs a pass over all activations: by groups of examples where units are normalised over, by units otherwise.
    fn pass(&self, team: &Team<'_>, task: impl Fn(Range<usize>) + Sync) {
        /// Operations of a pass for each activation.
        const OPERATIONS: usize = 8;
        let (ne, examples) = (self.shape.ne, self.buffers.examples);
        let tasks = match self.shape.over {
            Normalisation::Layer => examples.groups(),
            Normalisation::Batch => ne,
        };
        team.run(ne.saturating_mul(OPERATIONS * examples.len()), tasks, task);
    }

    /// Panics unless there is room for the deviations.
    fn assert_inverse(&self) {
        let NormShape { ne, over, .. } = self.shape;
        match over {
            Normalisation::Layer => {
                assert_eq!(self.inverse.len(), self.buffers.all.padded(), "deviations of the examples")
            }
            Normalisation::Batch => {
                let lengths = [&self.inverse, &self.statistics[0], &self.statistics[1]].map(|buffer| buffer.len());
                assert_eq!(lengths, [ne; 3], "statistics of the units");
            }
        }
    }

    /// Panics unless the buffers have the size of the batch: the last `prepare` may have been for inference.
    fn assert_prepared_for_training(&self) {
        let NormShape { ne, .. } = self.shape;
        let examples = self.buffers.examples;
        self.buffers.assert_prepared_for_training();
        self.zhat.assert_shape("ẑ", ne, examples);
        self.assert_inverse();
        self.dg.assert_prepared("dg", examples);
    }
}

impl<T: Element> Pass<T> for NormPass<T> {
    fn clone_box(&self) -> Box<dyn Pass<T>> {
        Box::new(self.clone())
    }

    fn buffers(&self) -> &LayerBuffers<T> {
        &self.buffers
    }

    fn buffers_mut(&mut self) -> &mut LayerBuffers<T> {
        &mut self.buffers
    }

    fn prepare(&mut self, batch: Batch, training: bool) -> Result<(), Error> {
        let NormShape { ne, over, .. } = self.shape;
        self.buffers.prepare(batch, training, ne)?;
        let examples = self.buffers.all;
        self.zhat.resize(ne, examples)?;
        match over {
            Normalisation::Layer => self.inverse.resize(examples.padded())?,
            Normalisation::Batch => {
                self.inverse.resize(ne)?;
                self.statistics.iter_mut().try_for_each(|statistic| statistic.resize(ne))?;
            }
        }
        if training { self.dg.prepare(self.buffers.examples) } else { Ok(()) }
    }

    fn turn_to(&mut self, steps: Range<usize>) -> Result<(), Error> {
        self.buffers.turn_to(steps)?;
        self.dg.prepare(self.buffers.examples)
    }

    /// `u = x Wᵀ`, then `h = f(g ⊙ ẑ + b)`.
    fn forward(&mut self, team: &Team<'_>, params: ParamsRef<'_, T>, x: Input<'_, T>, training: bool) {
        let params: NormRef<'_, T> = self.buffers.own(params);
        let store = &self.buffers.kernels.store;
        match x.checked(&self.buffers) {
            Input::Units(x) => self.excite(team, params.w, x, store.along),
            Input::Examples(x) => self.excite(team, params.w, x, store.dots),
        }
        self.normalise(team, params, training);
        let buffers = &mut self.buffers;
        let examples = buffers.examples;
        let as_examples = training || buffers.dots;
        buffers.assert_output(as_examples);
        if as_examples {
            transpose::all_to_examples(team, buffers.h.units(), examples, &mut buffers.h_examples);
        }
    }

    fn standardised(&self) -> [Option<Standardised<'_, T>>; 2] {
        [Some(Standardised { inverse: None, zhat: &self.zhat, examples: self.buffers.examples }), None]
    }

    fn receive(&mut self, team: &Team<'_>, params: ParamsRef<'_, T>, dh: InputGradient<'_, T>) {
        let params: NormRef<'_, T> = self.buffers.own(params);
        self.assert_prepared_for_training();
        let Self { shape, kernels, buffers, zhat, dg, .. } = self;
        let (units, examples, squares) = (shape.ne, buffers.examples, buffers.squares);
        let epilogue = GainBackward {
            h: buffers.derivative(),
            g: params.g.as_ptr(),
            zhat: zhat.grouped(),
            dzhat: buffers.du.grouped_mut(),
            db: buffers.db.partials(squares),
            dg: dg.partials(squares),
        };
        // SAFETY: parameters are borrowed, what is written is borrowed mutably; all have these units and examples.
        unsafe { dh.receive(team, &kernels.receive, (units, examples), epilogue) };
    }

    /// `du` from `dẑ`
    fn inner_backward(&mut self, team: &Team<'_>, params: ParamsRef<'_, T>) {
        let NormShape { ne, over, .. } = self.shape;
        let params: NormRef<'_, T> = self.buffers.own(params);
        self.assert_prepared_for_training();
        let LayerBuffers { examples, accumulated, .. } = self.buffers;
        let gradients = match over {
            Normalisation::Layer => [std::ptr::null(); 3],
            // The whole batch is one slab, so that there are no gradients of slabs before.
            Normalisation::Batch => {
                assert!(!accumulated, "batch normalisation of a part of a batch");
                let (db, dg) = (self.buffers.db.total(false), self.dg.total(false));
                [params.g.as_ptr(), db.as_ptr(), dg.as_ptr()]
            }
        };
        let work = NormaliseBackward {
            units: ne,
            examples,
            zhat: self.zhat.grouped(),
            du: self.buffers.du.grouped_mut(),
            inverse: self.inverse.as_ptr(),
            gradients,
            inverse_count: self.inverse_count(),
        };
        let kernel = match over {
            Normalisation::Layer => self.kernels.over_units_backward,
            Normalisation::Batch => self.kernels.over_examples_backward,
        };
        // SAFETY: the parameters are borrowed and were checked; du is borrowed mutably and has the size of the batch.
        self.pass(team, |range| unsafe { kernel(&work, range) });
    }

    /// `dx = du W`
    fn input_gradient<'a>(&'a mut self, params: ParamsRef<'a, T>) -> InputGradient<'a, T> {
        let params: NormRef<'_, T> = self.buffers.own(params);
        InputGradient::new(&mut self.buffers, params.w, None)
    }

    /// `dW = duᵀ x`, and the statistics of the batch.
    fn gradients(&mut self, x: Examples<'_, T>, collect: &mut Collect<'_, '_, T>) {
        self.assert_prepared_for_training();
        let LayerBuffers { du, db, slabs, examples, .. } = &mut self.buffers;
        collect.matrices(slabs, [WeightGradient::new(PLACES.w, *examples, [Some((du.units(), x)), None])]);
        collect.vector(PLACES.b, db);
        collect.vector(PLACES.g, &mut self.dg);
        if self.shape.over == Normalisation::Batch {
            // The estimate of the variance for all examples that there are: `B/(B−1)` of that of the batch.
            let examples = examples.len() as f64;
            let ratio = T::from_f64(examples / (examples - 1.0).max(1.0));
            let [mean, variance] = &mut self.statistics;
            variance.iter_mut().for_each(|variance| *variance = *variance * ratio);
            collect.statistic(PLACES.mean, mean);
            collect.statistic(PLACES.variance, variance);
        }
    }
}
