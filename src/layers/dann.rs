//! The layer with inhibition.

#[cfg(feature = "checkpoint")]
use super::Tensors;
use super::buffers::{Input, LayerBuffers};
use super::collect::{Collect, Sums, WeightGradient};
use super::sink::{Fused, GradientSink, input_gradient};
use super::{Kind, Nonlinearity, Standardised, Tape};
use crate::buffer::{Activations, Buffer};
use crate::driver::phase::{self, run_in_panels, run_in_parts, run_product};
use crate::driver::{Side, transpose};
use crate::element::Element;
use crate::error::Error;
use crate::init::Init;
use crate::isa::Isa;
use crate::kernels::Forward;
use crate::kernels::backward::{DivisiveBackward, ExciteBackward, InhibitBackward, InterneuronsBackward, Q, Store};
use crate::kernels::forward::{Excite, Inhibit, Interneurons};
use crate::kernels::product::Product;
use crate::kernels::walk::DownColumns;
use crate::layout::Split;
use crate::params::arrays::arrays;
use crate::params::schema::{Names, Parameter, Role, Schema, Shape};
use crate::params::{Params, ParamsMut, ParamsRef, array, dimension};
use crate::threads::Crew;
use rand::Rng;
use rand_distr::{Distribution, Exp1};
use std::f64::consts::PI;
use std::marker::PhantomData;

/// Dimensions and variant of a layer with separate excitatory and inhibitory units.
///
/// ```text
/// zE = x Wexᵀ            zI = x Wixᵀ
/// s  = zI Weiᵀ           γ  = (exp(alpha) ⊙ zI) Weiᵀ + ε,  ε = 1e-8
/// h  = f(g ⊙ (zE − s) / γ + b)
/// ```
///
/// The subtractive variant has neither γ, `alpha` nor `g`: `h = f(zE − s + b)`.
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
}

impl DannShape {
    /// A hidden layer: ReLU, subtractive and divisive inhibition.
    pub fn new(d: usize, ne: usize, ni: usize) -> Self {
        Self { d, ne, ni, nonlinearity: Nonlinearity::Relu, divisive: true }
    }

    /// The same with the identity instead of ReLU, for output layers.
    #[must_use]
    pub fn linear(self) -> Self {
        Self { nonlinearity: Nonlinearity::Identity, ..self }
    }

    /// The same without division.
    #[must_use]
    pub fn subtractive(self) -> Self {
        Self { divisive: false, ..self }
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
    fn inputs(&self) -> usize {
        self.d
    }

    fn outputs(&self) -> usize {
        self.ne
    }

    fn nonlinearity(&self) -> Nonlinearity {
        self.nonlinearity
    }

    fn interneurons(&self) -> usize {
        self.ni
    }

    fn divisive(&self) -> bool {
        self.divisive
    }

    fn without_division(self) -> Self {
        self.subtractive()
    }

    fn draw<T: Element>(&self, init: Init, rng: &mut impl Rng) -> Result<Params<T>, Error> {
        Ok(init.draw_dann(self, rng)?.into())
    }

    fn tape<T: Element>(&self, isa: Isa) -> Result<Box<dyn Tape<T>>, Error> {
        Ok(Box::new(DannTape::new(*self, isa)))
    }

    #[cfg(feature = "checkpoint")]
    fn of_tensors(tensors: &mut dyn Tensors, nonlinearity: Nonlinearity) -> Result<Option<Self>, String> {
        if !tensors.has("Wex") {
            return Ok(None);
        }
        let ([ne, d], [ni, _]) = (tensors.matrix("Wex")?, tensors.matrix("Wix")?);
        Ok(Some(Self { d, ne, ni, nonlinearity, divisive: tensors.has("alpha") }))
    }
}

impl Init {
    /// Draws the parameters of a layer with inhibition.
    ///
    /// # Errors
    /// As [`Init::draw`].
    pub fn draw_dann<T: Element>(self, shape: &DannShape, rng: &mut impl Rng) -> Result<DannParams<T>, Error> {
        let lengths = shape.lengths()?;
        let (d, ni) = (shape.d as f64, shape.ni as f64);
        let scale = if self.rectified_input { (2.0 * PI / (d * (2.0 * PI - 1.0))).sqrt() } else { (0.5 / d).sqrt() };
        let mut exponential = |len, scale| array(len, |_| scale * Distribution::<f64>::sample(&Exp1, rng));
        let wex: Vec<T> = exponential(lengths.wex, scale)?;
        let (wix, wei) = if self.iid_inhibition {
            let scale = (scale / ni).sqrt();
            (exponential(lengths.wix, scale)?, exponential(lengths.wei, scale)?)
        } else if shape.ni == 1 {
            let mean = |k: usize| wex[k..].iter().step_by(shape.d).map(|w| w.to_f64()).sum::<f64>() / shape.ne as f64;
            (array(lengths.wix, mean)?, array(lengths.wei, |_| 1.0)?)
        } else {
            (exponential(lengths.wix, scale)?, array(lengths.wei, |_| 1.0 / ni)?)
        };
        let alpha = ((2.0 * PI - 1.0) / d).sqrt().ln();
        Ok(Dann {
            wex,
            wix,
            wei,
            alpha: array(lengths.alpha, |_| alpha)?,
            g: array(lengths.g, |_| 1.0)?,
            b: array(lengths.b, |_| 0.0)?,
        })
    }
}

/// ε of γ.
const EPSILON: f64 = 1e-8;

/// What a pass through a layer with inhibition keeps, and the order of its phases.
#[derive(Clone)]
struct DannTape<T: Element> {
    shape: DannShape,
    /// `du` holds `1/γ` from forward to backward.
    buffers: LayerBuffers<T>,
    /// `exp(alpha)`, as of the forward pass.
    a: Buffer<T>,
    minus_zi: Activations<T>,
    azi: Activations<T>,
    minus_zi_examples: Activations<T>,
    azi_examples: Activations<T>,
    /// `ẑ` from forward to backward.
    dgamma: Activations<T>,
    dzi: Activations<T>,
    /// `dγ Wei` of a large layer.
    q: Activations<T>,
    dg: Sums<T>,
    dalpha: Sums<T>,
    /// What `du` and `dgamma` held before a Fisher pass.
    saved: [Activations<T>; 2],
}

impl<T: Element> DannTape<T> {
    fn new(shape: DannShape, isa: Isa) -> Self {
        let DannShape { d, ne, ni, nonlinearity, .. } = shape;
        Self {
            shape,
            buffers: LayerBuffers::new((d, ne), nonlinearity, isa),
            a: Buffer::default(),
            minus_zi: Activations::new(),
            azi: Activations::new(),
            minus_zi_examples: Activations::new(),
            azi_examples: Activations::new(),
            dgamma: Activations::new(),
            dzi: Activations::new(),
            q: Activations::new(),
            dg: Sums::new(ne),
            dalpha: Sums::new(ni),
            saved: [Activations::new(), Activations::new()],
        }
    }

    /// The arrays of this layer.
    fn own<'a>(&self, params: ParamsRef<'a, T>) -> DannRef<'a, T> {
        let own = DannRef::try_from(params).expect("checked by the layer");
        let lengths = self.shape.lengths().expect("checked by the layer");
        assert_eq!(own.map(<[T]>::len), lengths, "elements of the arrays");
        own
    }

    /// How the weight gradient cuts the interneurons.
    fn interneurons(&self) -> Split {
        self.buffers.units(self.shape.ni)
    }

    /// The interneurons: `zI = x Wixᵀ`, as `−zI` and `exp(alpha) ⊙ zI`.
    fn excite_interneurons<W: Side>(
        &mut self,
        crew: &Crew<'_>,
        params: DannRef<'_, T>,
        x: &Activations<T>,
        forward: &Forward<T, W>,
        as_examples: bool,
    ) {
        let DannShape { d, ni, divisive, .. } = self.shape;
        let LayerBuffers { kernels, examples, .. } = self.buffers;
        self.minus_zi.assert_shape("zI", ni, examples);
        if as_examples {
            self.assert_examples();
        }
        if divisive {
            self.azi.assert_shape("a ⊙ zI", ni, examples);
            assert_eq!(self.a.len(), ni, "length of a");
        }
        self.a.iter_mut().zip(params.alpha).for_each(|(a, &alpha)| *a = alpha.exp());
        let (minus_zi, azi, units) = (self.minus_zi.grouped_mut(), self.azi.grouped_mut(), self.interneurons());
        let minus_zi_examples = as_examples.then(|| (self.minus_zi_examples.grouped_mut(), units));
        let azi_examples = (as_examples && divisive).then(|| (self.azi_examples.grouped_mut(), units));
        let product = Product {
            init: None,
            terms: [Some(W::operand(params.wix, d, x)), None],
            examples,
            epilogue: Interneurons { minus_zi, divisive: divisive.then(|| (azi, self.a.as_ptr())) },
        };
        // SAFETY: parameters and x are borrowed and were checked, the outputs and their copies are borrowed mutably and
        // have the size of the batch.
        unsafe {
            let kernel = (forward.store, forward.interneurons);
            run_in_parts(crew, (kernels, ni), kernel, product, minus_zi, |rows, groups| {
                if let Some(to) = minus_zi_examples {
                    transpose::to_examples(minus_zi, to, rows.clone(), examples.iter(groups.clone()));
                }
                if let Some(to) = azi_examples {
                    transpose::to_examples(azi, to, rows, examples.iter(groups));
                }
            });
        }
    }

    /// The excitatory units and their inhibition, after the interneurons.
    fn excite<W: Side>(
        &mut self,
        crew: &Crew<'_>,
        params: DannRef<'_, T>,
        x: &Activations<T>,
        forward: &Forward<T, W>,
        training: bool,
    ) {
        let DannShape { d, ne, ni, divisive, .. } = self.shape;
        let LayerBuffers { kernels, examples, .. } = self.buffers;
        let as_examples = training || W::EXAMPLES;
        self.buffers.assert_output(as_examples);
        if training {
            self.assert_prepared_for_training();
        }
        let (relu, h) = (self.buffers.relu(), self.buffers.h.grouped_mut());
        let (minus_zi, azi) =
            if W::EXAMPLES { (&self.minus_zi_examples, &self.azi_examples) } else { (&self.minus_zi, &self.azi) };
        let terms = [Some(W::operand(params.wex, d, x)), Some(W::operand(params.wei, ni, minus_zi))];
        let h_examples = &mut self.buffers.h_examples;
        let to = as_examples.then(|| (h_examples.grouped_mut(), h_examples.columns()));
        let after = |rows, groups| {
            if let Some(to) = to {
                // SAFETY: h is written in these rows and groups, the copy is borrowed mutably.
                unsafe { transpose::to_examples(h, to, rows, examples.iter(groups)) };
            }
        };
        // SAFETY: parameters and activations are borrowed and were checked, the outputs are borrowed mutably and have
        // the size of the batch.
        unsafe {
            if divisive {
                let epilogue = Inhibit {
                    gamma: W::operand(params.wei, ni, azi),
                    epsilon: T::from_f64(EPSILON),
                    one: T::ONE,
                    g: params.g.as_ptr(),
                    b: params.b.as_ptr(),
                    relu,
                    h,
                    keep: training.then(|| (self.dgamma.grouped_mut(), self.buffers.du.grouped_mut())),
                };
                let product = Product { init: None, terms, examples, epilogue };
                run_in_parts(crew, (kernels, ne), (forward.store, forward.inhibit), product, h, after);
            } else {
                let epilogue = Excite { b: params.b.as_ptr(), relu, h, negative_from: ne };
                let product = Product { init: None, terms, examples, epilogue };
                run_in_parts(crew, (kernels, ne), (forward.store, forward.excite), product, h, after);
            }
        }
    }

    /// Panics unless the copies with a row an example have the size of the batch.
    fn assert_examples(&self) {
        let examples = self.buffers.examples;
        self.minus_zi_examples.assert_shape("zI", examples.len(), self.interneurons());
        if self.shape.divisive {
            self.azi_examples.assert_shape("a ⊙ zI", examples.len(), self.interneurons());
        }
    }

    /// Panics unless the buffers have the size of the batch: the last `prepare` may have been for inference.
    fn assert_prepared_for_training(&self) {
        let DannShape { ne, ni, divisive, .. } = self.shape;
        let examples = self.buffers.examples;
        self.buffers.assert_prepared_for_training();
        self.dzi.assert_shape("dzI", ni, examples);
        self.assert_examples();
        if divisive {
            self.dgamma.assert_shape("dγ", ne, examples);
            self.azi.assert_shape("a ⊙ zI", ni, examples);
            assert_eq!(self.a.len(), ni, "length of a");
            self.dg.assert_prepared("dg", examples);
            self.dalpha.assert_prepared("dalpha", examples);
        }
    }
}

impl<T: Element> Tape<T> for DannTape<T> {
    fn clone_box(&self) -> Box<dyn Tape<T>> {
        Box::new(self.clone())
    }

    fn buffers(&self) -> &LayerBuffers<T> {
        &self.buffers
    }

    fn buffers_mut(&mut self) -> &mut LayerBuffers<T> {
        &mut self.buffers
    }

    fn prepare(&mut self, batch: usize, training: bool) -> Result<(), Error> {
        let DannShape { ne, ni, divisive, .. } = self.shape;
        self.buffers.prepare(batch, training, ne + ni)?;
        let (examples, units) = (self.buffers.examples, self.interneurons());
        self.minus_zi.resize(ni, examples)?;
        if divisive {
            self.a.resize(ni)?;
            self.azi.resize(ni, examples)?;
        }
        if training || self.buffers.uses_dot_products(batch) {
            self.minus_zi_examples.resize(batch, units)?;
            if divisive {
                self.azi_examples.resize(batch, units)?;
            }
        }
        if training {
            if phase::in_panels::<T>(ni, ne, examples) {
                self.buffers.scratch.prepare_panels(ni)?;
                if divisive {
                    self.q.resize(ni, examples)?;
                }
            }
            self.dzi.resize(ni, examples)?;
            if divisive {
                self.dgamma.resize(ne, examples)?;
                self.dg.prepare(examples)?;
                self.dalpha.prepare(examples)?;
            }
        }
        Ok(())
    }

    fn forward(&mut self, crew: &Crew<'_>, params: ParamsRef<'_, T>, x: Input<'_, T>, training: bool) {
        let (kernels, params) = (self.buffers.kernels, self.own(params));
        match x.checked(&self.buffers) {
            Input::Units(x) => {
                self.excite_interneurons(crew, params, x, &kernels.along, training);
                self.excite(crew, params, x, &kernels.along, training);
            }
            Input::Examples(x) => {
                self.excite_interneurons(crew, params, x, &kernels.dots, true);
                self.excite(crew, params, x, &kernels.dots, training);
            }
        }
    }

    fn standardised(&self) -> Option<Standardised<'_, T>> {
        self.shape.divisive.then_some(Standardised { inverse: Some(&self.buffers.du), zhat: &self.dgamma })
    }

    fn minus_zi(&self) -> Option<&Activations<T>> {
        Some(&self.minus_zi)
    }

    /// It turns 1/γ into du and ẑ into dγ.
    fn sink<'a>(&'a mut self, params: ParamsRef<'a, T>) -> GradientSink<'a, T> {
        let params = self.own(params);
        self.assert_prepared_for_training();
        let Self { shape: DannShape { ne, divisive, .. }, buffers, dgamma, dg, .. } = self;
        let (units, examples, squares) = (*ne, buffers.examples, buffers.squares);
        let (h, du, db) = (buffers.derivative(), buffers.du.grouped_mut(), buffers.db.partials(squares));
        if *divisive {
            let epilogue = InhibitBackward {
                h,
                g: params.g.as_ptr(),
                inv_gamma_to_du: du,
                zhat_to_dgamma: dgamma.grouped_mut(),
                db,
                dg: dg.partials(squares),
            };
            GradientSink::Inhibit(Fused { epilogue, units, examples, borrow: PhantomData })
        } else {
            let epilogue = ExciteBackward { h, du, db, negative_from: units };
            GradientSink::Excite(Fused { epilogue, units, examples, borrow: PhantomData })
        }
    }

    /// `dzI = −du Wei + a ⊙ (dγ Wei)`, and dalpha.
    fn inner_backward(&mut self, crew: &Crew<'_>, params: ParamsRef<'_, T>) {
        let DannShape { ne, ni, divisive, .. } = self.shape;
        let LayerBuffers { kernels, examples, squares, .. } = self.buffers;
        let params = self.own(params);
        self.assert_prepared_for_training();
        let in_panels = phase::in_panels::<T>(ni, ne, examples);
        if in_panels && divisive {
            self.q.assert_shape("dγ Wei", ni, examples);
        }
        let p = DownColumns::operand(params.wei, ni, &self.buffers.du);
        let q = DownColumns::operand(params.wei, ni, &self.dgamma);
        let dzi = self.dzi.grouped_mut();
        let dalpha = self.dalpha.partials(squares);
        let epilogue = |q| InterneuronsBackward {
            dzi,
            divisive: divisive.then(|| DivisiveBackward { q, a: self.a.as_ptr(), azi: self.azi.grouped(), dalpha }),
        };
        // SAFETY: the parameters are borrowed and were checked, the activations have the batch's size, and those that
        // are written are borrowed mutably.
        unsafe {
            if in_panels {
                let out = self.q.grouped_mut();
                let epilogue = epilogue(Q::Stored(out));
                let panels = &mut self.buffers.scratch.panels;
                if divisive {
                    let kernel = kernels.panels.store;
                    let terms = [Some(q), None];
                    let product = Product { init: None, terms, examples, epilogue: Store { out } };
                    run_in_panels(crew, (kernels, ni), (kernel, kernel), product, (panels, out));
                }
                let kernel = (kernels.panels.store, kernels.panels.interneurons);
                let product = Product { init: None, terms: [Some(p), None], examples, epilogue };
                run_in_panels(crew, (kernels, ni), kernel, product, (panels, dzi));
            } else {
                let epilogue = epilogue(Q::Sum(q));
                let product = Product { init: None, terms: [Some(p), None], examples, epilogue };
                run_product(crew, (kernels, ni), kernels.down.interneurons, &product, |_, _| ());
            }
        }
    }

    /// `dx = du Wex + dzI Wix`
    fn input_gradient(&mut self, crew: &Crew<'_>, params: ParamsRef<'_, T>, into: GradientSink<'_, T>) {
        let params = self.own(params);
        self.assert_prepared_for_training();
        input_gradient(crew, &mut self.buffers, params.wex, Some((params.wix, &self.dzi)), into);
    }

    /// `dWex = duᵀ x`, `dWix = dzIᵀ x`, `dWei = −duᵀ zI + dγᵀ (a ⊙ zI)`
    fn gradients(&mut self, x: &Activations<T>, collect: &mut Collect<'_, '_, T>) {
        self.assert_prepared_for_training();
        let Self { shape: DannShape { divisive, .. }, buffers, dzi, dgamma, .. } = self;
        let LayerBuffers { du, db, slabs, .. } = buffers;
        let inhibition = [Some((&*du, &self.minus_zi_examples)), divisive.then_some((&*dgamma, &self.azi_examples))];
        let matrices = [
            WeightGradient { parameter: PLACES.wex, terms: [Some((&*du, x)), None] },
            WeightGradient { parameter: PLACES.wix, terms: [Some((&*dzi, x)), None] },
            WeightGradient { parameter: PLACES.wei, terms: inhibition },
        ];
        collect.matrices(slabs, matrices);
        collect.vector(PLACES.b, db);
        if *divisive {
            collect.vector(PLACES.g, &mut self.dg);
            collect.vector(PLACES.alpha, &mut self.dalpha);
        }
    }

    fn prepare_fisher_pass(&mut self) -> Result<(), Error> {
        let [du, dgamma] = &mut self.saved;
        du.resize_as(&self.buffers.du)?;
        dgamma.resize_as(&self.dgamma)
    }

    fn save(&mut self) {
        let [du, dgamma] = &mut self.saved;
        du.copy_from(&self.buffers.du);
        dgamma.copy_from(&self.dgamma);
    }

    fn restore(&mut self) {
        let [du, dgamma] = &mut self.saved;
        std::mem::swap(du, &mut self.buffers.du);
        std::mem::swap(dgamma, &mut self.dgamma);
    }
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
        let mut tape = DannTape::new(shape, Isa::best());
        tape.prepare(5, true).unwrap();
        tape.prepare(500, false).unwrap();
        let _ = tape.sink(params.view().into());
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
                let mut tape = DannTape::new(shape, isa);
                tape.prepare(5, true).unwrap();
                let mut x = Activations::new();
                x.resize(7, tape.buffers.examples).unwrap();
                Threads::Serial.region(0.0, |crew| tape.forward(crew, params.view().into(), Input::Units(&x), true));
                let group = tape.buffers.examples.group(0);
                for unit in 0..13 {
                    let (inside, padding) = tape.buffers.h.row(unit, group).split_at(5);
                    assert!(
                        inside.iter().all(|&h| h == 0.5) && padding.iter().all(|&h| h == 0.0),
                        "{isa}, unit {unit}"
                    );
                }
            }
        }
    }
}
