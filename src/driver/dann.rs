//! The layer with inhibition.

use super::phase::{self, run_gradients, run_in_panels, run_in_parts, run_product};
use super::{Backward, Fused, Input, InputGradient, Scratch, Side, partials, totals, transpose};
use crate::buffer::{Activations, Buffer};
use crate::element::Element;
use crate::error::Error;
use crate::isa::Isa;
use crate::kernels::backward::{
    DivisiveBackward, ExciteBackward, InhibitBackward, InterneuronsBackward, Partials, Q, Store,
};
use crate::kernels::forward::{Excite, Inhibit, Interneurons};
use crate::kernels::gradient::{Gradient, GradientKernel, Outer};
use crate::kernels::product::Product;
use crate::kernels::update::{HandOut, Step};
use crate::kernels::walk::DownColumns;
use crate::kernels::{Forward, Kernels};
use crate::layout::Split;
use crate::params::Nonlinearity;
use crate::params::dann::{Dann, DannMut, DannRef, DannShape};
use crate::params::update::descend;
use crate::threads::Crew;
use std::marker::PhantomData;

/// ε of γ.
const EPSILON: f64 = 1e-8;

/// The scratch of a layer with inhibition and the order of its phases.
#[derive(Clone)]
pub(crate) struct DannDriver<T: Element> {
    shape: DannShape,
    kernels: &'static Kernels<T>,
    examples: Split,
    /// `exp(alpha)`, as of the forward pass.
    a: Buffer<T>,
    minus_zi: Activations<T>,
    azi: Activations<T>,
    minus_zi_examples: Activations<T>,
    azi_examples: Activations<T>,
    h: Activations<T>,
    h_examples: Activations<T>,
    /// `1/γ` from forward to backward.
    du: Activations<T>,
    /// `ẑ` from forward to backward.
    dgamma: Activations<T>,
    dzi: Activations<T>,
    /// `dγ Wei` of a large layer.
    q: Activations<T>,
    db: Buffer<T>,
    dg: Buffer<T>,
    dalpha: Buffer<T>,
    scratch: Scratch<T>,
    /// `dWex`, `dWix` and `dWei` of the slabs before.
    carried: [Activations<T>; 3],
    /// Whether there were any.
    carries: bool,
}

impl<T: Element> DannDriver<T> {
    pub fn new(shape: DannShape, isa: Isa) -> Result<Self, Error> {
        shape.lengths()?;
        Ok(Self {
            shape,
            kernels: T::kernels(isa).get(),
            examples: Split::new(0, 1, 1),
            a: Buffer::default(),
            minus_zi: Activations::new(),
            azi: Activations::new(),
            minus_zi_examples: Activations::new(),
            azi_examples: Activations::new(),
            h: Activations::new(),
            h_examples: Activations::new(),
            du: Activations::new(),
            dgamma: Activations::new(),
            dzi: Activations::new(),
            q: Activations::new(),
            db: Buffer::default(),
            dg: Buffer::default(),
            dalpha: Buffer::default(),
            scratch: Scratch::new(),
            carried: [(); 3].map(|()| Activations::new()),
            carries: false,
        })
    }

    pub fn shape(&self) -> DannShape {
        self.shape
    }

    /// Makes room for a batch.
    pub fn prepare(&mut self, batch: usize, training: bool) -> Result<(), Error> {
        let Self { shape: DannShape { d, ne, ni, divisive, .. }, kernels, .. } = *self;
        let examples = Split::new(batch, kernels.lanes, kernels.example_vectors);
        self.minus_zi.resize(ni, examples)?;
        self.h.resize(ne, examples)?;
        if divisive {
            self.a.resize(ni)?;
            self.azi.resize(ni, examples)?;
        }
        if training || self.few(batch) {
            let units = |n| Split::new(n, kernels.lanes, kernels.input_vectors);
            self.h_examples.resize(batch, units(ne))?;
            self.minus_zi_examples.resize(batch, units(ni))?;
            if divisive {
                self.azi_examples.resize(batch, units(ni))?;
            }
        }
        if training {
            self.scratch.prepare(d, ne + ni, examples)?;
            if phase::in_panels::<T>(ni, ne, examples) {
                self.scratch.prepare_panels(ni)?;
                if divisive {
                    self.q.resize(ni, examples)?;
                }
            }
            self.du.resize(ne, examples)?;
            self.dzi.resize(ni, examples)?;
            self.db.resize(partials(ne, examples))?;
            if divisive {
                self.dgamma.resize(ne, examples)?;
                self.dg.resize(partials(ne, examples))?;
                self.dalpha.resize(partials(ni, examples))?;
            }
        }
        self.examples = examples;
        Ok(())
    }

    /// Makes room for gradients that are carried over from slab to slab, and begins with none.
    pub fn prepare_slabs(&mut self, slabs: usize) -> Result<(), Error> {
        let DannShape { ne, ni, .. } = self.shape;
        self.carries = false;
        if slabs > 1 {
            let (inputs, interneurons) = (self.inputs(), self.interneurons());
            let [wex, wix, wei] = &mut self.carried;
            wex.resize(ne, inputs)?;
            wix.resize(ni, inputs)?;
            wei.resize(ne, interneurons)?;
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

    fn interneurons(&self) -> Split {
        Split::new(self.shape.ni, self.kernels.lanes, self.kernels.input_vectors)
    }

    /// `−zI [ni, B]` of the last forward pass.
    pub fn minus_zi(&self) -> &Activations<T> {
        &self.minus_zi
    }

    /// `1/γ [ne, B]` and `ẑ [ne, B]`, after a forward pass of training and before the backward pass.
    pub fn standardised(&self) -> (&Activations<T>, &Activations<T>) {
        (&self.du, &self.dgamma)
    }

    /// Whether so many examples are few.
    pub fn few(&self, batch: usize) -> bool {
        batch <= self.kernels.few
    }

    /// The interneurons, then the excitatory units that they inhibit.
    pub fn forward(&mut self, crew: &Crew<'_>, params: DannRef<'_, T>, x: Input<'_, T>, training: bool) {
        let Self { shape: DannShape { d, .. }, kernels, examples, .. } = *self;
        match x {
            Input::Units(x) => {
                x.assert_shape("x", d, examples);
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
        params: DannRef<'_, T>,
        x: &Activations<T>,
        forward: &Forward<T, W>,
        training: bool,
    ) {
        let Self { shape, kernels, examples, .. } = *self;
        let DannShape { d, ne, ni, divisive, .. } = shape;
        params.check(&shape).expect("checked by the layer");
        self.minus_zi.assert_shape("zI", ni, examples);
        self.h.assert_shape("h", ne, examples);
        let as_examples = training || W::EXAMPLES;
        if training {
            self.assert_prepared_for_training();
        }
        if as_examples {
            self.assert_examples();
        }
        if divisive {
            self.azi.assert_shape("a ⊙ zI", ni, examples);
            assert_eq!(self.a.len(), ni, "length of a");
        }
        let relu = shape.nonlinearity == Nonlinearity::Relu;
        self.a.iter_mut().zip(params.alpha).for_each(|(a, &alpha)| *a = alpha.exp());

        let (minus_zi, azi, h) = (self.minus_zi.grouped_mut(), self.azi.grouped_mut(), self.h.grouped_mut());
        let units = self.interneurons();
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
            let kernel = (forward.part, forward.interneurons);
            run_in_parts(crew, (kernels, ni), kernel, product, minus_zi, |rows, groups| {
                if let Some(to) = minus_zi_examples {
                    transpose::to_examples(minus_zi, to, rows.clone(), examples.iter(groups.clone()));
                }
                if let Some(to) = azi_examples {
                    transpose::to_examples(azi, to, rows, examples.iter(groups));
                }
            });
        }

        let (minus_zi, azi) =
            if W::EXAMPLES { (&self.minus_zi_examples, &self.azi_examples) } else { (&self.minus_zi, &self.azi) };
        let terms = [Some(W::operand(params.wex, d, x)), Some(W::operand(params.wei, ni, minus_zi))];
        let to = as_examples.then(|| (self.h_examples.grouped_mut(), self.h_examples.columns()));
        let after = |rows, groups| {
            if let Some(to) = to {
                // SAFETY: h is written in these rows and groups, the copy is borrowed mutably.
                unsafe { transpose::to_examples(h, to, rows, examples.iter(groups)) };
            }
        };
        // SAFETY: as above.
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
                    keep: training.then(|| (self.dgamma.grouped_mut(), self.du.grouped_mut())),
                };
                let product = Product { init: None, terms, examples, epilogue };
                run_in_parts(crew, (kernels, ne), (forward.part, forward.inhibit), product, h, after);
            } else {
                let epilogue = Excite { b: params.b.as_ptr(), relu, h };
                let product = Product { init: None, terms, examples, epilogue };
                run_in_parts(crew, (kernels, ne), (forward.part, forward.excite), product, h, after);
            }
        }
    }

    /// Panics unless the copies with a row an example have the size of the batch.
    fn assert_examples(&self) {
        let Self { shape: DannShape { ne, divisive, .. }, kernels, examples, .. } = *self;
        let units = Split::new(ne, kernels.lanes, kernels.input_vectors);
        self.h_examples.assert_shape("h", examples.len(), units);
        self.minus_zi_examples.assert_shape("zI", examples.len(), self.interneurons());
        if divisive {
            self.azi_examples.assert_shape("a ⊙ zI", examples.len(), self.interneurons());
        }
    }

    /// Panics unless the scratch has the size of the batch: the last `prepare` may have been for inference.
    fn assert_prepared_for_training(&self) {
        let Self { shape: DannShape { ne, ni, divisive, .. }, examples, .. } = *self;
        let units = self.interneurons();
        self.h.assert_shape("h", ne, examples);
        self.du.assert_shape("du", ne, examples);
        self.dzi.assert_shape("dzI", ni, examples);
        self.minus_zi_examples.assert_shape("zI", examples.len(), units);
        assert_eq!(self.db.len(), partials(ne, examples), "partial sums of db");
        if divisive {
            self.dgamma.assert_shape("dγ", ne, examples);
            self.azi.assert_shape("a ⊙ zI", ni, examples);
            self.azi_examples.assert_shape("a ⊙ zI", examples.len(), units);
            assert_eq!(self.a.len(), ni, "length of a");
            assert_eq!(self.dg.len(), partials(ne, examples), "partial sums of dg");
            assert_eq!(self.dalpha.len(), partials(ni, examples), "partial sums of dalpha");
        }
    }

    /// Panics unless there is room for the gradients that are carried over.
    fn assert_room_to_carry(&self) {
        let DannShape { ne, ni, .. } = self.shape;
        let [dwex, dwix, dwei] = &self.carried;
        dwex.assert_shape("dWex", ne, self.inputs());
        dwix.assert_shape("dWix", ni, self.inputs());
        dwei.assert_shape("dWei", ne, self.interneurons());
    }

    /// Where `dh` goes. It turns 1/γ into du and ẑ into dγ, so it can be used once after each forward pass.
    pub fn backward<'a>(&'a mut self, params: DannRef<'a, T>) -> Backward<'a, T> {
        params.check(&self.shape).expect("checked by the layer");
        self.assert_prepared_for_training();
        let DannShape { ne, .. } = self.shape;
        let h = (self.shape.nonlinearity == Nonlinearity::Relu).then(|| self.h.grouped());
        let db = Partials::new(self.db.as_mut_ptr(), self.shape.ne);
        if self.shape.divisive {
            let epilogue = InhibitBackward {
                h,
                g: params.g.as_ptr(),
                inv_gamma_to_du: self.du.grouped_mut(),
                zhat_to_dgamma: self.dgamma.grouped_mut(),
                db,
                dg: Partials::new(self.dg.as_mut_ptr(), self.shape.ne),
            };
            Backward::Inhibit(Fused { epilogue, units: ne, examples: self.examples, borrow: PhantomData })
        } else {
            let epilogue = ExciteBackward { h, du: self.du.grouped_mut(), db };
            Backward::Excite(Fused { epilogue, units: ne, examples: self.examples, borrow: PhantomData })
        }
    }

    /// Lets a `dh` that is in an array go where it should.
    pub fn backward_from(&mut self, crew: &Crew<'_>, params: DannRef<'_, T>, dh: &Activations<T>) {
        let Self { shape, kernels, examples, .. } = *self;
        let init = Some(dh);
        let scratch = &mut Scratch::new();
        let gradient = InputGradient { kernels, init, terms: [None, None], rows: shape.ne, examples, scratch };
        // SAFETY: there are no terms.
        unsafe { self.backward(params).run(crew, gradient) };
    }

    /// `dzI = −du Wei + a ⊙ (dγ Wei)`, and dalpha.
    pub fn interneurons_backward(&mut self, crew: &Crew<'_>, params: DannRef<'_, T>) {
        let Self { shape: DannShape { ne, ni, divisive, .. }, kernels, examples, .. } = *self;
        params.check(&self.shape).expect("checked by the layer");
        self.assert_prepared_for_training();
        let in_panels = phase::in_panels::<T>(ni, ne, examples);
        if in_panels && divisive {
            self.q.assert_shape("dγ Wei", ni, examples);
        }
        let (p, q) =
            (DownColumns::operand(params.wei, ni, &self.du), DownColumns::operand(params.wei, ni, &self.dgamma));
        let dzi = self.dzi.grouped_mut();
        let dalpha = Partials::new(self.dalpha.as_mut_ptr(), ni);
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
                let panels = &mut self.scratch.panels;
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
    pub fn input_gradient(&mut self, crew: &Crew<'_>, params: DannRef<'_, T>, into: Backward<'_, T>) {
        params.check(&self.shape).expect("checked by the layer");
        self.assert_prepared_for_training();
        let Self { shape: DannShape { d, .. }, kernels, examples, .. } = *self;
        let terms =
            [Some(DownColumns::operand(params.wex, d, &self.du)), Some(DownColumns::operand(params.wix, d, &self.dzi))];
        let scratch = &mut self.scratch;
        // SAFETY: the weights are borrowed and were checked, du and dzI have the batch's size.
        unsafe { into.run(crew, InputGradient { kernels, init: None, terms, rows: d, examples, scratch }) };
    }

    /// `θ ← θ − scale · dθ`, clamped where a parameter keeps its sign.
    pub fn update(&mut self, crew: &Crew<'_>, params: DannMut<'_, T>, x: &Activations<T>, scales: Dann<f64>) {
        let DannShape { d, ne, ni, divisive, .. } = self.shape;
        params.view().check(&self.shape).expect("checked by the layer");
        let scales = scales.map(T::from_f64);
        let step = |w: &mut [T], ld, scale| Step { w: w.as_mut_ptr(), ld, scale, low: T::ZERO };
        let epilogues =
            [step(params.wex, d, scales.wex), step(params.wix, d, scales.wix), step(params.wei, ni, scales.wei)];
        self.weight_gradients(crew, x, self.kernels.step, epilogues);
        descend(params.b, totals(&mut self.db, ne, self.carries), scales.b, true);
        if divisive {
            descend(params.g, totals(&mut self.dg, ne, self.carries), scales.g, false);
            descend(params.alpha, totals(&mut self.dalpha, ni, self.carries), scales.alpha, true);
        }
        self.carries = false;
    }

    /// All gradients, without corrections.
    pub fn gradients(&mut self, crew: &Crew<'_>, gradients: DannMut<'_, T>, x: &Activations<T>) {
        let DannShape { d, ne, ni, divisive, .. } = self.shape;
        gradients.view().check(&self.shape).expect("checked by the layer");
        let hand_out = |grad: &mut [T], ld| HandOut { grad: grad.as_mut_ptr(), ld };
        let epilogues = [hand_out(gradients.wex, d), hand_out(gradients.wix, d), hand_out(gradients.wei, ni)];
        self.weight_gradients(crew, x, self.kernels.hand_out, epilogues);
        gradients.b.copy_from_slice(totals(&mut self.db, ne, self.carries));
        if divisive {
            gradients.g.copy_from_slice(totals(&mut self.dg, ne, self.carries));
            gradients.alpha.copy_from_slice(totals(&mut self.dalpha, ni, self.carries));
        }
        self.carries = false;
    }

    /// Adds the gradients to those of the slabs before.
    pub fn carry(&mut self, crew: &Crew<'_>, x: &Activations<T>) {
        let DannShape { ne, ni, divisive, .. } = self.shape;
        self.assert_room_to_carry();
        let epilogues = self.carried.each_mut().map(|carried| Store { out: carried.grouped_mut() });
        self.weight_gradients(crew, x, self.kernels.carry, epilogues);
        totals(&mut self.db, ne, self.carries);
        if divisive {
            totals(&mut self.dg, ne, self.carries);
            totals(&mut self.dalpha, ni, self.carries);
        }
        self.carries = true;
    }

    /// `dWex = duᵀ x`, `dWix = dzIᵀ x`, `dWei = −duᵀ zI + dγᵀ (a ⊙ zI)`: one phase.
    fn weight_gradients<E>(
        &self,
        crew: &Crew<'_>,
        x: &Activations<T>,
        kernel: GradientKernel<T, E>,
        [wex, wix, wei]: [E; 3],
    ) {
        let Self { shape: DannShape { ne, divisive, .. }, examples, .. } = *self;
        x.assert_shape("x", examples.len(), self.inputs());
        if self.carries {
            self.assert_room_to_carry();
        }
        self.assert_prepared_for_training();
        let init = |carried: &Activations<T>| self.carries.then(|| carried.grouped());
        let of_input = |delta: &Activations<T>, carried, epilogue| Gradient {
            init: init(carried),
            terms: [Some(Outer { delta: delta.grouped(), x: x.grouped() }), None],
            rows: delta.rows(),
            examples,
            inputs: self.inputs(),
            epilogue,
        };
        let outer = |delta: &Activations<T>, x: &Activations<T>| Outer { delta: delta.grouped(), x: x.grouped() };
        let wei = Gradient {
            init: init(&self.carried[2]),
            terms: [
                Some(outer(&self.du, &self.minus_zi_examples)),
                divisive.then(|| outer(&self.dgamma, &self.azi_examples)),
            ],
            rows: ne,
            examples,
            inputs: self.interneurons(),
            epilogue: wei,
        };
        // SAFETY: the activations have the batch's size; the epilogues write arrays of the layer's shape that the
        // caller borrows mutably.
        unsafe {
            let [dwex, dwix, _] = &self.carried;
            run_gradients(crew, kernel, &[of_input(&self.du, dwex, wex), of_input(&self.dzi, dwix, wix), wei]);
        };
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
        let mut driver = DannDriver::new(shape, Isa::best()).unwrap();
        driver.prepare(5, true).unwrap();
        driver.prepare(500, false).unwrap();
        let _ = driver.backward(params.view());
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
                let mut driver = DannDriver::new(shape, isa).unwrap();
                driver.prepare(5, true).unwrap();
                let mut x = Activations::new();
                x.resize(7, driver.examples).unwrap();
                Threads::Serial.region(0.0, |crew| driver.forward(crew, params.view(), Input::Units(&x), true));
                let group = driver.examples.group(0);
                for unit in 0..13 {
                    let (inside, padding) = driver.output().row(unit, group).split_at(5);
                    assert!(
                        inside.iter().all(|&h| h == 0.5) && padding.iter().all(|&h| h == 0.0),
                        "{isa}, unit {unit}"
                    );
                }
            }
        }
    }
}
