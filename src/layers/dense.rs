//! The layer without interneurons: a plain one, or one whose columns keep their signs.

use super::buffers::{Batch, Input, LayerBuffers};
use super::collect::{Collect, WeightGradient};
use super::excite::{Excite, ExciteBackward, ExciteKernels};
use super::input_gradient::InputGradient;
#[cfg(feature = "checkpoint")]
use super::kind::Tensors;
use super::kind::{Kind, Ports};
use super::nonlinearity::Nonlinearity;
use super::pass::Pass;
use crate::buffer::Examples;
#[cfg(feature = "checkpoint")]
use crate::checkpoint::SIGN;
use crate::driver::phase::{InParts, run_in_parts};
use crate::driver::{Side, transpose};
use crate::element::{Element, table};
use crate::error::{Error, at_most, dimension};
use crate::init::{Init, RandomNumbers};
use crate::isa::Isa;
use crate::kernels::product::Product;
use crate::params::arrays::arrays;
use crate::params::schema::{Names, Parameter, Role, Schema, Shape};
use crate::params::{Params, ParamsMut, ParamsRef, array};
use crate::threads::Team;
use std::f64::consts::PI;

/// Dimensions of a layer `h = f(x Wᵀ + b)`, and whether it obeys Dale's principle by its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DenseShape {
    /// Inputs `d`.
    pub d: usize,
    /// Outputs `ne`.
    pub ne: usize,
    /// The nonlinearity `f`.
    pub nonlinearity: Nonlinearity,
    /// Excitatory and inhibitory units side by side; none in a plain layer.
    pub columns: Option<Columns>,
}

/// Dale's principle by sign-constrained columns, ColumnEI: `z = (W⁺ D) x + b` with `W⁺ ≥ 0` and `D` diagonal, +1 for
/// the excitatory units of the layer below and −1 for its inhibitory ones, which are the last.
///
/// `D` is never multiplied with a matrix: `(W⁺ D) x = W⁺ (D x)`, so each unit hands on what it does with its own sign.
/// The layer computes `h = D' f(x W⁺ᵀ + b)`, where `D'` has −1 for the last `inhibitory_outputs` units, and its input
/// has gone through the `D` of the layer below in the same way. What comes in as `dh` are gradients by that signed
/// output, and `dx` are gradients by the signed input.
///
/// Source: Song, Yang, Wang, "Training excitatory-inhibitory recurrent neural networks", PLoS Computational Biology
/// 2016, as the baseline of Cornford et al., ICLR 2021.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Columns {
    /// How many of the inputs, the last ones, are inhibitory and come in with a negative sign. The initialisation
    /// balances them against the others.
    pub inhibitory_inputs: usize,
    /// How many of the outputs, the last ones, are inhibitory and go out with a negative sign.
    pub inhibitory_outputs: usize,
}

impl DenseShape {
    /// A hidden layer: ReLU, weights of any sign.
    pub fn new(d: usize, ne: usize) -> Self {
        Self { d, ne, nonlinearity: Nonlinearity::Relu, columns: None }
    }

    /// The same with the identity instead of ReLU, for output layers.
    #[must_use]
    pub fn linear(self) -> Self {
        Self { nonlinearity: Nonlinearity::Identity, ..self }
    }

    /// The same with weights ≥ 0, and so many inhibitory units among inputs and outputs: see [`Columns`].
    #[must_use]
    pub fn columns(self, inhibitory_inputs: usize, inhibitory_outputs: usize) -> Self {
        Self { columns: Some(Columns { inhibitory_inputs, inhibitory_outputs }), ..self }
    }

    /// The output from which on signs are negative.
    fn negative_from(&self) -> usize {
        self.ne - self.columns.unwrap_or_default().inhibitory_outputs
    }
}

/// The scales of excitatory and of inhibitory columns that balance one another, of `d` inputs.
pub(super) fn column_scales(d: usize, inhibitory_inputs: usize) -> [f64; 2] {
    let excitatory = d - inhibitory_inputs;
    if inhibitory_inputs == 0 || excitatory == 0 {
        return [1.0 / (d as f64).sqrt(); 2];
    }
    let (ne, ni) = (excitatory as f64, inhibitory_inputs as f64);
    let scale = 1.0 / ((2.0 * PI - 1.0) / (2.0 * PI) * (ne + ne * ne / ni)).sqrt();
    [scale, ne / ni * scale]
}

/// The names where columns keep their signs.
const COLUMNS: &Names = &Names { arrays: &["Wpos", "b"], ..*Dense::KIND };

impl Shape for DenseShape {
    fn schema(&self) -> Result<Schema, Error> {
        let &Self { d, ne, columns, .. } = self;
        dimension("d", d)?;
        dimension("ne", ne)?;
        let Columns { inhibitory_inputs, inhibitory_outputs } = columns.unwrap_or_default();
        at_most("inhibitory_inputs", inhibitory_inputs, d, "at most d, the inputs")?;
        at_most("inhibitory_outputs", inhibitory_outputs, ne, "at most ne, the outputs")?;
        let (w, b) = (Parameter::matrix(Role::Weights, ne, d), Parameter::vector(Role::Bias, ne));
        match columns {
            None => Schema::new(Dense::KIND, [w, b]),
            Some(_) => Schema::new(COLUMNS, [w.non_negative(), b]),
        }
    }
}

/// The places of the arrays in the schema.
const PLACES: Dense<usize> = Dense { w: 0, b: 1 };

arrays! {
    /// One `A` for each parameter of a layer without interneurons: the arrays themselves, views of them, gradients.
    Dense, DenseParams, DenseRef, DenseMut for DenseShape: "dense" {
        /// `W [ne, d]`: weights, row-major; ≥ 0 (`Wpos`) where columns keep their signs.
        w = "W",
        /// `b [ne]`: bias.
        b = "b",
    }
}

impl Kind for DenseShape {
    fn ports(&self) -> Ports {
        let &Self { d, ne, nonlinearity, columns } = self;
        let inhibitory = columns.map(|columns| [columns.inhibitory_inputs, columns.inhibitory_outputs]);
        Ports { inputs: d, outputs: ne, nonlinearity, inhibitory, ..Ports::default() }
    }

    #[cfg(feature = "checkpoint")]
    fn with_inhibitory_outputs(self, inhibitory_outputs: usize) -> Self {
        Self { columns: self.columns.map(|columns| Columns { inhibitory_outputs, ..columns }), ..self }
    }

    fn draw<T: Element>(&self, init: Init, numbers: &mut impl RandomNumbers) -> Result<Params<T>, Error> {
        let schema = self.schema()?;
        let ([weights, biases], d) = ([0, 1].map(|i| schema[i].elements()), self.d);
        let params = |w, b| Params::of(schema.names, vec![w, b]);
        let Some(Columns { inhibitory_inputs, .. }) = self.columns else {
            return Ok(params(init.normal(weights, d, numbers)?, array(biases, |_| 0.0)?));
        };
        let (excitatory, root) = (d - inhibitory_inputs, (d as f64).sqrt());
        let scales = column_scales(d, inhibitory_inputs);
        let bias = match (excitatory, inhibitory_inputs) {
            (0, _) => root * init.mean_input,
            (_, 0) => -root * init.mean_input,
            _ => 0.0,
        };
        let exponential = |i: usize| {
            let scale = scales[usize::from(i % d >= excitatory)];
            scale * numbers.exponential()
        };
        Ok(params(array(weights, exponential)?, array(biases, |_| bias)?))
    }

    fn pass<T: Element>(&self, isa: Isa) -> Result<Box<dyn Pass<T>>, Error> {
        let buffers = LayerBuffers::new(self.schema()?, (self.d, self.ne), self.nonlinearity, isa);
        Ok(Box::new(DensePass { shape: *self, kernels: table::<T, _>(isa), buffers }))
    }

    #[cfg(feature = "checkpoint")]
    fn of_tensors(tensors: &mut dyn Tensors, nonlinearity: Nonlinearity) -> Result<Option<Self>, String> {
        if tensors.has("Wpos") {
            let [ne, d] = tensors.matrix("Wpos")?;
            let columns = Columns { inhibitory_inputs: tensors.take_signs(SIGN, d)?, inhibitory_outputs: 0 };
            return Ok(Some(Self { d, ne, nonlinearity, columns: Some(columns) }));
        }
        if !tensors.has("W") {
            return Ok(None);
        }
        let [ne, d] = tensors.matrix("W")?;
        Ok(Some(Self { d, ne, nonlinearity, columns: None }))
    }
}

/// What a pass through a layer without interneurons keeps, and the order of its phases.
#[derive(Clone)]
struct DensePass<T: Element> {
    shape: DenseShape,
    kernels: &'static ExciteKernels<T>,
    buffers: LayerBuffers<T>,
}

impl<T: Element> DensePass<T> {
    fn forward_from<W: Side>(
        &mut self,
        team: &Team<'_>,
        params: DenseRef<'_, T>,
        x: W::Input<'_, T>,
        kernel: InParts<T, W, Excite<T>>,
        training: bool,
    ) {
        let Self { shape, buffers, .. } = self;
        let (DenseShape { d, ne, .. }, negative_from) = (*shape, shape.negative_from());
        let as_examples = buffers.as_examples(training) || W::EXAMPLES;
        buffers.assert_output(as_examples);
        let (kernels, examples, h) = (buffers.kernels, buffers.examples, buffers.h.grouped_mut());
        let to = as_examples.then(|| (buffers.h_examples.grouped_mut(), buffers.h_examples.columns(), 0));
        let product = Product {
            init: None,
            terms: [Some(W::operand(params.w, d, x)), None],
            examples,
            epilogue: Excite { b: params.b.as_ptr(), relu: buffers.relu(), h, negative_from },
        };
        // SAFETY: parameters and x are borrowed and were checked, h and its copy are borrowed mutably and have the size
        // of the batch.
        unsafe {
            run_in_parts(team, (kernels, ne), kernel, product, h, |rows, groups| {
                if let Some(to) = to {
                    transpose::to_examples(h, to, rows, examples.iter(groups));
                }
            });
        }
    }
}

impl<T: Element> Pass<T> for DensePass<T> {
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
        self.buffers.prepare(batch, training, self.shape.ne)
    }

    /// `h = f(x Wᵀ + b)`
    fn forward(&mut self, team: &Team<'_>, params: ParamsRef<'_, T>, x: Input<'_, T>, training: bool) {
        let params: DenseRef<'_, T> = self.buffers.own(params);
        let (store, excite) = (&self.buffers.kernels.store, &self.kernels.forward);
        match x.checked(&self.buffers) {
            Input::Units(x) => self.forward_from(team, params, x, (store.along, excite.along), training),
            Input::Examples(x) => self.forward_from(team, params, x, (store.dots, excite.dots), training),
        }
    }

    fn receive(&mut self, team: &Team<'_>, _: ParamsRef<'_, T>, dh: InputGradient<'_, T>) {
        let Self { shape, kernels, buffers } = self;
        buffers.assert_prepared_for_training();
        let (units, examples, squares) = (shape.ne, buffers.examples, buffers.squares);
        let epilogue = ExciteBackward {
            h: buffers.derivative(),
            du: buffers.du.grouped_mut(),
            db: buffers.db.partials(squares),
            negative_from: shape.negative_from(),
        };
        // SAFETY: parameters are borrowed, what is written is borrowed mutably; all have these units and examples.
        unsafe { dh.receive(team, &kernels.receive, (units, examples), epilogue) };
    }

    /// `dx = du W`
    fn input_gradient<'a>(&'a mut self, params: ParamsRef<'a, T>) -> InputGradient<'a, T> {
        let params: DenseRef<'_, T> = self.buffers.own(params);
        InputGradient::new(&mut self.buffers, params.w, None)
    }

    /// `dW = duᵀ x`
    fn gradients(&mut self, x: Examples<'_, T>, collect: &mut Collect<'_, '_, T>) {
        self.buffers.assert_prepared_for_training();
        let LayerBuffers { du, db, slabs, examples, .. } = &mut self.buffers;
        collect.matrices(slabs, [WeightGradient::new(PLACES.w, *examples, [Some((du.units(), x)), None])]);
        collect.vector(PLACES.b, db);
    }
}
