//! The layer with inhibition.

use super::buffers::{Batch, Input, LayerBuffers};
use super::collect::{Collect, Sums, WeightGradient};
use super::excite::{Excite, ExciteBackward, ExciteKernels};
use super::inhibition::Inhibition;
use super::inhibition::division::{Divide, Division, Divisor, Other, Plain};
use super::inhibition::kernels::{CountLows, Inhibit, InhibitBackward, InhibitionKernels, Interneurons};
use super::inhibition::low::{LowDivisors, Lows};
use super::input_gradient::InputGradient;
#[cfg(feature = "checkpoint")]
use super::kind::Tensors;
use super::kind::{Kind, Ports};
use super::nonlinearity::Nonlinearity;
use super::pass::{Pass, Standardised};
use crate::buffer::{Activations, Examples};
use crate::driver::phase::run_in_parts;
use crate::driver::{Side, transpose};
use crate::element::{Element, table};
use crate::error::{Error, dimension};
use crate::init::{Init, RandomNumbers};
use crate::isa::Isa;
use crate::kernels::access::{Access, Operand};
use crate::kernels::epilogue::{Partials, Store};
use crate::kernels::product::{Product, ProductKernel};
use crate::layout::Grouped;
use crate::params::arrays::arrays;
use crate::params::schema::{Names, Parameter, Role, Schema, Shape};
use crate::params::{Params, ParamsMut, ParamsRef};
use crate::threads::Team;
use std::ops::Range;

/// Dimensions and variant of a layer with separate excitatory and inhibitory units.
///
/// ```text
/// zE = x Wexᵀ            zI = x Wixᵀ
/// s  = zI Weiᵀ           γ  = (exp(alpha) ⊙ zI) Weiᵀ + ε,  ε = 1e-8
/// h  = f(g ⊙ (zE − s) / γ + b)
/// ```
///
/// Other divisors than this γ: see [`Divisor`]. The subtractive variant has neither γ, `alpha` nor `g`:
/// `h = f(zE − s + b)`.
///
/// Source: Cornford et al., "Learning to live with Dale's principle", ICLR 2021.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DannShape {
    /// Inputs `d`.
    pub d: usize,
    /// Excitatory units `ne`, the outputs.
    pub ne: usize,
    /// Inhibitory interneurons `ni`.
    pub ni: usize,
    /// The nonlinearity `f`.
    pub nonlinearity: Nonlinearity,
    /// Whether inhibition divides as well as subtracts.
    pub divisive: bool,
    /// What it divides by, if it divides.
    pub divisor: Divisor,
}

impl DannShape {
    /// A hidden layer: ReLU, subtractive and divisive inhibition.
    pub fn new(d: usize, ne: usize, ni: usize) -> Self {
        Self { d, ne, ni, nonlinearity: Nonlinearity::Relu, divisive: true, divisor: Divisor::Plain }
    }

    /// The same with the identity instead of ReLU, for output layers.
    #[must_use]
    pub fn linear(self) -> Self {
        Self { nonlinearity: Nonlinearity::Identity, ..self }
    }

    /// The same without division.
    #[must_use]
    pub fn subtractive(self) -> Self {
        Self { divisive: false, divisor: Divisor::Plain, ..self }
    }

    /// The same with another divisor, in a layer that divides: [`Divisor::floor`] for inputs of both signs.
    #[must_use]
    pub fn divisor(self, divisor: Divisor) -> Self {
        Self { divisor, ..self }
    }

    /// What it divides by.
    pub(super) fn divides_by(&self) -> Option<Divisor> {
        self.divisive.then_some(self.divisor)
    }

    /// The length of every parameter array. In the subtractive variant `alpha` and `g` are empty.
    ///
    /// # Errors
    /// [`Error::Dimension`] if a dimension is zero or an array would not fit in memory.
    pub fn lengths(&self) -> Result<Dann<usize>, Error> {
        Ok(Dann::of(self.schema()?.iter().map(Parameter::elements)))
    }
}

impl Shape for DannShape {
    fn schema(&self) -> Result<Schema, Error> {
        let &Self { d, ne, ni, divisive, .. } = self;
        dimension("d", d)?;
        dimension("ne", ne)?;
        dimension("ni", ni)?;
        // Source of the corrections: Cornford et al., ICLR 2021, section 4.
        let (root_ne, inputs) = ((ne as f64).sqrt(), d as f64);
        let parameters = [
            Parameter::matrix(Role::Weights, ne, d).non_negative(),
            Parameter::matrix(Role::ToInterneurons, ni, d).non_negative().corrected(1.0 / root_ne),
            Parameter::matrix(Role::FromInterneurons, ne, ni).non_negative().corrected(1.0 / inputs),
            Parameter::vector(Role::LogStrength, ni).corrected(1.0 / (root_ne * inputs)).only_if(divisive),
            Parameter::vector(Role::Gain, ne).non_negative().only_if(divisive),
            Parameter::vector(Role::Bias, ne),
        ];
        Schema::new(Dann::KIND, parameters)
    }
}

/// The places of the arrays in the schema.
const PLACES: Dann<usize> = Dann { wex: 0, wix: 1, wei: 2, alpha: 3, g: 4, b: 5 };

arrays! {
    /// One `A` for each parameter of a layer with inhibition: the arrays themselves, views of them, gradients, factors.
    ///
    /// Matrices are row-major with the last index contiguous.
    Dann, DannParams, DannRef, DannMut for DannShape: "DANN" {
        /// `Wex [ne, d]`: input → excitatory weights, ≥ 0.
        wex = "Wex",
        /// `Wix [ni, d]`: input → interneuron weights, ≥ 0.
        wix = "Wix",
        /// `Wei [ne, ni]`: interneuron → excitatory weights, ≥ 0.
        wei = "Wei",
        /// `alpha [ni]`: log-strength of divisive inhibition, of any sign. Empty in the subtractive variant.
        alpha = "alpha",
        /// `g [ne]`: gain, ≥ 0. Empty in the subtractive variant.
        g = "g",
        /// `b [ne]`: bias.
        b = "b",
    }
}

impl Kind for DannShape {
    fn ports(&self) -> Ports {
        let &Self { d, ne, ni, nonlinearity, .. } = self;
        let divisor = self.divides_by();
        Ports { inputs: d, outputs: ne, nonlinearity, interneurons: ni, divisor, ..Ports::default() }
    }

    fn without_division(self) -> Self {
        self.subtractive()
    }

    fn with_divisor(self, divisor: Divisor) -> Self {
        if self.divisive { self.divisor(divisor) } else { self }
    }

    fn draw<T: Element>(&self, init: Init, numbers: &mut impl RandomNumbers) -> Result<Params<T>, Error> {
        Ok(init.draw_dann(self, numbers)?.into())
    }

    fn pass<T: Element>(&self, isa: Isa) -> Result<Box<dyn Pass<T>>, Error> {
        let &Self { ne, ni, nonlinearity, .. } = self;
        let buffers = LayerBuffers::new(self.schema()?, (self.d, ne), nonlinearity, isa);
        let (inhibition, kernels) = (Inhibition::new(ne, ni, self.divides_by()), table::<T, _>(isa));
        let excite = table::<T, _>(isa);
        Ok(Box::new(DannPass { shape: *self, kernels, excite, buffers, inhibition, dg: Sums::new(ne) }))
    }

    #[cfg(feature = "checkpoint")]
    fn of_tensors(tensors: &mut dyn Tensors, nonlinearity: Nonlinearity) -> Result<Option<Self>, String> {
        if !tensors.has("Wex") {
            return Ok(None);
        }
        let ([ne, d], [ni, _]) = (tensors.matrix("Wex")?, tensors.matrix("Wix")?);
        let shape = Self::new(d, ne, ni);
        let shape = if tensors.has("alpha") { shape.divisor(tensors.divisor()) } else { shape.subtractive() };
        Ok(Some(Self { nonlinearity, ..shape }))
    }
}

/// What a pass through a layer with inhibition keeps, and the order of its phases.
#[derive(Clone)]
struct DannPass<T: Element> {
    shape: DannShape,
    kernels: &'static InhibitionKernels<T>,
    /// Those of units that are not divided.
    excite: &'static ExciteKernels<T>,
    /// `du` holds `1/γ` from forward to backward.
    buffers: LayerBuffers<T>,
    inhibition: Inhibition<T>,
    dg: Sums<T>,
}

/// The kernels of a forward pass that reads its input by one access.
struct Forward<T, W: Access> {
    store: ProductKernel<T, W, Store<T>>,
    interneurons: ProductKernel<T, W, Interneurons<T>>,
    inhibit: ProductKernel<T, W, Inhibit<T, W, Plain<T>>>,
    inhibit_other: ProductKernel<T, W, Inhibit<T, W, Other<T>>>,
    count_lows: ProductKernel<T, W, CountLows<T>>,
    excite: ProductKernel<T, W, Excite<T>>,
}

/// The kernels of the units' product with one kind of divisor.
type Dividing<T, W, D> =
    (ProductKernel<T, W, Store<T>>, ProductKernel<T, W, Inhibit<T, W, D>>, ProductKernel<T, W, CountLows<T>>);

impl<T: Element> DannPass<T> {
    fn forward_from<W: Side>(
        &mut self,
        team: &Team<'_>,
        params: DannRef<'_, T>,
        x: W::Input<'_, T>,
        forward: Forward<T, W>,
        training: bool,
    ) {
        let Self { shape: DannShape { d, ne, divisive, .. }, buffers, inhibition, .. } = self;
        let (d, ne, as_examples) = (*d, *ne, training || W::EXAMPLES);
        inhibition.forward(
            team,
            buffers,
            W::operand(params.wix, d, x),
            params.alpha,
            (forward.store, forward.interneurons),
            as_examples,
        );
        let as_examples = buffers.as_examples(training) || W::EXAMPLES;
        buffers.assert_output(as_examples);
        if training {
            inhibition.assert_backward(buffers);
            buffers.assert_prepared_for_training();
        }
        let [s, _] = inhibition.terms(params.wei);
        let (division, examples, h) = (inhibition.division, buffers.examples, buffers.h.grouped_mut());
        let excitation = [Some(W::operand(params.wex, d, x)), Some(s)];
        let to = as_examples.then(|| (buffers.h_examples.grouped_mut(), buffers.h_examples.columns(), 0));
        let after = |rows, groups| {
            if let Some(to) = to {
                // SAFETY: h is written in these rows and groups, the copy is borrowed mutably.
                unsafe { transpose::to_examples(h, to, rows, examples.iter(groups)) };
            }
        };
        match division {
            _ if !*divisive => {
                let epilogue = Excite { b: params.b.as_ptr(), relu: buffers.relu(), h, negative_from: ne };
                let product = Product { init: None, terms: excitation, examples, epilogue };
                let kernels = (buffers.kernels, ne);
                // SAFETY: parameters and activations are borrowed and were checked, h is borrowed mutably and has the
                // size of the batch.
                unsafe { run_in_parts(team, kernels, (forward.store, forward.excite), product, h, after) };
            }
            Division::Plain(divide) => {
                let kernels = (forward.store, forward.inhibit, forward.count_lows);
                self.divide(team, params, excitation, (divide, kernels), training, after);
            }
            Division::Other(divide) => {
                let kernels = (forward.store, forward.inhibit_other, forward.count_lows);
                self.divide(team, params, excitation, (divide, kernels), training, after);
            }
        }
    }

    /// The units' product, whose excitation less inhibition is divided by what is made of a sum.
    fn divide<W: Side, D: Divide<T>>(
        &mut self,
        team: &Team<'_>,
        params: DannRef<'_, T>,
        excitation: [Option<Operand<T, W>>; 2],
        (divide, (store, inhibit, count_lows)): (D, Dividing<T, W, D>),
        training: bool,
        after: impl Fn(Range<usize>, Range<usize>) + Sync,
    ) {
        let Self { shape: DannShape { ne, .. }, buffers, inhibition, .. } = self;
        let ([_, sum], ne, h) = (inhibition.terms(params.wei), *ne, buffers.h.grouped_mut());
        let LayerBuffers { kernels, examples, .. } = *buffers;
        inhibition.lows.begin_slab(ne * examples.len());
        let epilogue = Inhibit {
            gamma: sum,
            divide,
            g: params.g.as_ptr(),
            b: params.b.as_ptr(),
            relu: buffers.relu(),
            h,
            keep: training.then(|| (inhibition.dgamma.grouped_mut(), buffers.du.grouped_mut())),
            any_low: &raw const inhibition.lows.any,
        };
        let product = Product { init: None, terms: excitation, examples, epilogue };
        // SAFETY: parameters and activations are borrowed and were checked, the outputs are borrowed mutably and have
        // the size of the batch.
        unsafe { run_in_parts(team, (kernels, ne), (store, inhibit), product, h, after) };
        inhibition.count_lows(team, (kernels, examples), sum, count_lows);
    }

    /// Panics unless there is room for the passes of training: the last `prepare` may have been for inference.
    fn assert_prepared_for_training(&self) {
        self.buffers.assert_prepared_for_training();
        self.inhibition.assert_backward(&self.buffers);
        if self.shape.divisive {
            self.dg.assert_prepared("dg", self.buffers.examples);
        }
    }
}

impl<T: Element> Pass<T> for DannPass<T> {
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
        let DannShape { ne, ni, divisive, .. } = self.shape;
        self.buffers.prepare(batch, training, ne + ni)?;
        self.inhibition.prepare(&mut self.buffers, training)?;
        if training && divisive { self.dg.prepare(self.buffers.examples) } else { Ok(()) }
    }

    fn turn_to(&mut self, steps: Range<usize>) -> Result<(), Error> {
        self.buffers.turn_to(steps)?;
        self.inhibition.turn_to(self.buffers.examples)?;
        if self.shape.divisive { self.dg.prepare(self.buffers.examples) } else { Ok(()) }
    }

    fn forward(&mut self, team: &Team<'_>, params: ParamsRef<'_, T>, x: Input<'_, T>, training: bool) {
        let params: DannRef<'_, T> = self.buffers.own(params);
        let (store, kernels, excite) = (&self.buffers.kernels.store, self.kernels, &self.excite.forward);
        match x.checked(&self.buffers) {
            Input::Units(x) => {
                let forward = Forward {
                    store: store.along,
                    interneurons: kernels.interneurons.along,
                    inhibit: kernels.inhibit.along,
                    inhibit_other: kernels.inhibit_other.along,
                    count_lows: kernels.count_lows.along,
                    excite: excite.along,
                };
                self.forward_from(team, params, x, forward, training)
            }
            Input::Examples(x) => {
                let forward = Forward {
                    store: store.dots,
                    interneurons: kernels.interneurons.dots,
                    inhibit: kernels.inhibit.dots,
                    inhibit_other: kernels.inhibit_other.dots,
                    count_lows: kernels.count_lows.dots,
                    excite: excite.dots,
                };
                self.forward_from(team, params, x, forward, training)
            }
        }
    }

    fn standardised(&self) -> [Option<Standardised<'_, T>>; 2] {
        let Self { buffers: LayerBuffers { du, examples, .. }, inhibition, .. } = self;
        let inverse = Some((du, inhibition.division));
        let standardised = Standardised { inverse, zhat: &inhibition.dgamma, examples: *examples };
        [self.shape.divisive.then_some(standardised), None]
    }

    fn low_divisors(&self) -> Option<LowDivisors> {
        self.shape.divisive.then(|| self.inhibition.lows.total())
    }

    fn begin_count(&mut self) {
        self.inhibition.lows = Lows::new();
    }

    fn minus_zi(&self) -> Option<&Activations<T>> {
        Some(self.inhibition.minus_zi())
    }

    /// It turns 1/γ into du and ẑ into dγ.
    fn receive(&mut self, team: &Team<'_>, params: ParamsRef<'_, T>, dh: InputGradient<'_, T>) {
        let params: DannRef<'_, T> = self.buffers.own(params);
        self.assert_prepared_for_training();
        let Self { shape: DannShape { ne, divisive, .. }, kernels, excite, buffers, inhibition, dg } = self;
        let (units, examples, squares) = (*ne, buffers.examples, buffers.squares);
        let (h, du, db) = (buffers.derivative(), buffers.du.grouped_mut(), buffers.db.partials(squares));
        let of = (units, examples);
        match inhibition.division {
            _ if !*divisive => {
                let epilogue = ExciteBackward { h, du, db, negative_from: units };
                // SAFETY: parameters are borrowed, what is written is borrowed mutably; all have these units and
                // examples.
                unsafe { dh.receive(team, &excite.receive, of, epilogue) };
            }
            Division::Plain(divide) => {
                let epilogue = epilogue_of(divide, h, params.g, (du, inhibition), (db, dg.partials(squares)));
                // SAFETY: as above.
                unsafe { dh.receive(team, &kernels.receive, of, epilogue) };
            }
            Division::Other(divide) => {
                let epilogue = epilogue_of(divide, h, params.g, (du, inhibition), (db, dg.partials(squares)));
                // SAFETY: as above.
                unsafe { dh.receive(team, &kernels.receive_other, of, epilogue) };
            }
        }
    }

    fn inner_backward(&mut self, team: &Team<'_>, params: ParamsRef<'_, T>) {
        let params: DannRef<'_, T> = self.buffers.own(params);
        self.assert_prepared_for_training();
        self.inhibition.backward(team, self.kernels, &mut self.buffers, params.wei);
    }

    /// `dx = du Wex + dzI Wix`
    fn input_gradient<'a>(&'a mut self, params: ParamsRef<'a, T>) -> InputGradient<'a, T> {
        let params: DannRef<'_, T> = self.buffers.own(params);
        InputGradient::new(&mut self.buffers, params.wex, Some((params.wix, &self.inhibition.dzi)))
    }

    /// `dWex = duᵀ x`
    fn gradients(&mut self, x: Examples<'_, T>, collect: &mut Collect<'_, '_, T>) {
        self.assert_prepared_for_training();
        let Self { shape: DannShape { divisive, .. }, buffers, inhibition, dg, .. } = self;
        let LayerBuffers { du, db, slabs, examples, .. } = buffers;
        let (du, examples) = (du.units(), *examples);
        let wex = WeightGradient::new(PLACES.wex, examples, [Some((du, x)), None]);
        let [wix, wei] = inhibition.gradients((PLACES.wix, PLACES.wei), examples, du, x);
        collect.matrices(slabs, [wex, wix, wei]);
        collect.vector(PLACES.b, db);
        if *divisive {
            collect.vector(PLACES.g, dg);
            collect.vector(PLACES.alpha, &mut inhibition.dalpha);
        }
    }

    fn prepare_fisher_pass(&mut self) -> Result<(), Error> {
        self.inhibition.prepare_save(&self.buffers)
    }

    fn save(&mut self) {
        self.inhibition.save(&self.buffers);
    }

    fn restore(&mut self) {
        self.inhibition.restore(&mut self.buffers);
    }
}

/// How a layer that divides receives `dh`.
fn epilogue_of<T: Element, D: Divide<T>>(
    divide: D,
    h: Option<Grouped<T>>,
    g: &[T],
    (du, inhibition): (Grouped<T>, &mut Inhibition<T>),
    (db, dg): (Partials<T>, Partials<T>),
) -> InhibitBackward<T, D> {
    let zhat_to_dgamma = inhibition.dgamma.grouped_mut();
    InhibitBackward { divide, h, g: g.as_ptr(), inv_gamma_to_du: du, zhat_to_dgamma, db, dg }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::Threads;

    #[test]
    #[should_panic(expected = "rows and columns of du")]
    fn a_backward_pass_after_inference_is_refused() {
        let shape = DannShape::new(7, 13, 3);
        let params = shape.lengths().unwrap().map(|len| vec![0.5_f32; len]);
        let mut pass = shape.pass(Isa::best()).unwrap();
        pass.prepare(Batch::of(5), true).unwrap();
        pass.prepare(Batch::of(500), false).unwrap();
        let mut dh = Activations::new();
        dh.resize(13, pass.buffers().examples).unwrap();
        Threads::Serial.region(0.0, |team| pass.receive_array(team, params.view().into(), &dh));
    }

    #[test]
    fn the_padding_of_the_output_is_zero() {
        for shape in
            [DannShape::new(7, 13, 3), DannShape::new(7, 13, 3).linear(), DannShape::new(7, 13, 3).subtractive()]
        {
            for isa in Isa::available() {
                let lengths = shape.lengths().unwrap();
                // A bias makes every output positive, even that of an example without any input.
                let params = lengths.map(|len| vec![0.5_f32; len]);
                let mut pass = shape.pass(isa).unwrap();
                pass.prepare(Batch::of(5), true).unwrap();
                let mut x = Activations::new();
                x.resize(7, pass.buffers().examples).unwrap();
                Threads::Serial
                    .region(0.0, |team| pass.forward(team, params.view().into(), Input::Units(x.units()), true));
                let group = pass.buffers().examples.group(0);
                for unit in 0..13 {
                    let (inside, padding) = pass.buffers().h.row(unit, group).split_at(5);
                    assert!(
                        inside.iter().all(|&h| h == 0.5) && padding.iter().all(|&h| h == 0.0),
                        "{isa}, unit {unit}"
                    );
                }
            }
        }
    }
}
