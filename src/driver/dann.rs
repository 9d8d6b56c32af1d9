//! The layer with inhibition.

use super::frame::Frame;
use super::phase::{self, run_elementwise, run_gradients, run_in_panels, run_in_parts, run_product};
use super::{Backward, Fused, Input, InputGradient, Side, curvature_of_sums, partials, totals, transpose};
use crate::buffer::{Activations, Buffer};
use crate::element::Element;
use crate::error::Error;
use crate::isa::Isa;
use crate::kernels::Forward;
use crate::kernels::backward::{
    DivisiveBackward, ExciteBackward, InhibitBackward, InterneuronsBackward, Partials, Q, Store,
};
use crate::kernels::forward::{Excite, Inhibit, Interneurons};
use crate::kernels::gradient::{Gradient, GradientKernel, Outer};
use crate::kernels::product::Product;
use crate::kernels::update::{Curvature, HandOut, Step};
use crate::kernels::walk::DownColumns;
use crate::layout::Split;
use crate::params::dann::{Dann, DannMut, DannRef, DannShape};
use crate::params::state::Target;
use crate::threads::Crew;
use std::marker::PhantomData;

/// ε of γ.
const EPSILON: f64 = 1e-8;

/// The scratch of a layer with inhibition and the order of its phases.
#[derive(Clone)]
pub(crate) struct DannDriver<T: Element> {
    shape: DannShape,
    /// `du` holds `1/γ` from forward to backward.
    pub(super) frame: Frame<T>,
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
    dg: Buffer<T>,
    dalpha: Buffer<T>,
    /// `dWex`, `dWix` and `dWei` of the slabs before.
    carried: [Activations<T>; 3],
    /// What `du` and `dgamma` held before a backward pass of squares.
    kept: [Activations<T>; 2],
}

impl<T: Element> DannDriver<T> {
    pub fn new(shape: DannShape, isa: Isa) -> Result<Self, Error> {
        shape.lengths()?;
        Ok(Self {
            shape,
            frame: Frame::new(shape.d, shape.ne, shape.nonlinearity, isa),
            a: Buffer::default(),
            minus_zi: Activations::new(),
            azi: Activations::new(),
            minus_zi_examples: Activations::new(),
            azi_examples: Activations::new(),
            dgamma: Activations::new(),
            dzi: Activations::new(),
            q: Activations::new(),
            dg: Buffer::default(),
            dalpha: Buffer::default(),
            carried: [(); 3].map(|()| Activations::new()),
            kept: [(); 2].map(|()| Activations::new()),
        })
    }

    /// Makes room for a batch.
    pub fn prepare(&mut self, batch: usize, training: bool) -> Result<(), Error> {
        let DannShape { ne, ni, divisive, .. } = self.shape;
        self.frame.prepare(batch, training, ne + ni)?;
        let (examples, units) = (self.frame.examples, self.interneurons());
        self.minus_zi.resize(ni, examples)?;
        if divisive {
            self.a.resize(ni)?;
            self.azi.resize(ni, examples)?;
        }
        if training || self.frame.few(batch) {
            self.minus_zi_examples.resize(batch, units)?;
            if divisive {
                self.azi_examples.resize(batch, units)?;
            }
        }
        if training {
            if phase::in_panels::<T>(ni, ne, examples) {
                self.frame.scratch.prepare_panels(ni)?;
                if divisive {
                    self.q.resize(ni, examples)?;
                }
            }
            self.dzi.resize(ni, examples)?;
            if divisive {
                self.dgamma.resize(ne, examples)?;
                self.dg.resize(partials(ne, examples))?;
                self.dalpha.resize(partials(ni, examples))?;
            }
        }
        Ok(())
    }

    /// Makes room for gradients that are carried over from slab to slab, and begins with none.
    pub fn prepare_slabs(&mut self, slabs: usize) -> Result<(), Error> {
        let DannShape { ne, ni, .. } = self.shape;
        self.frame.carries = false;
        if slabs > 1 {
            let (inputs, interneurons) = (self.frame.inputs(), self.interneurons());
            let [wex, wix, wei] = &mut self.carried;
            wex.resize(ne, inputs)?;
            wix.resize(ni, inputs)?;
            wei.resize(ne, interneurons)?;
        }
        Ok(())
    }

    fn interneurons(&self) -> Split {
        self.frame.units(self.shape.ni)
    }

    /// `−zI [ni, B]` of the last forward pass.
    pub fn minus_zi(&self) -> &Activations<T> {
        &self.minus_zi
    }

    /// `1/γ [ne, B]` and `ẑ [ne, B]` of a layer that divides, after a forward pass of training and before the backward
    /// pass.
    pub fn standardised(&self) -> Option<(&Activations<T>, &Activations<T>)> {
        self.shape.divisive.then_some((&self.frame.du, &self.dgamma))
    }

    /// Makes room for what [`DannDriver::keep`] keeps.
    pub fn prepare_to_keep(&mut self) -> Result<(), Error> {
        let [du, dgamma] = &mut self.kept;
        du.resize_as(&self.frame.du)?;
        dgamma.resize_as(&self.dgamma)
    }

    /// Keeps what a backward pass uses up.
    pub fn keep(&mut self) {
        let [du, dgamma] = &mut self.kept;
        du.copy_from(&self.frame.du);
        dgamma.copy_from(&self.dgamma);
    }

    /// Takes back what [`DannDriver::keep`] kept.
    pub fn restore(&mut self) {
        let [du, dgamma] = &mut self.kept;
        std::mem::swap(du, &mut self.frame.du);
        std::mem::swap(dgamma, &mut self.dgamma);
    }

    /// The interneurons, then the excitatory units that they inhibit.
    pub fn forward(&mut self, crew: &Crew<'_>, params: DannRef<'_, T>, x: Input<'_, T>, training: bool) {
        let kernels = self.frame.kernels;
        match x.checked(&self.frame) {
            Input::Units(x) => self.forward_from(crew, params, x, &kernels.along, training),
            Input::Examples(x) => self.forward_from(crew, params, x, &kernels.dots, training),
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
        let DannShape { d, ne, ni, divisive, .. } = self.shape;
        let Frame { kernels, examples, .. } = self.frame;
        params.check(&self.shape).expect("checked by the layer");
        self.minus_zi.assert_shape("zI", ni, examples);
        let as_examples = training || W::EXAMPLES;
        self.frame.assert_output(as_examples);
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
        let relu = self.frame.relu();
        self.a.iter_mut().zip(params.alpha).for_each(|(a, &alpha)| *a = alpha.exp());

        let (minus_zi, azi, h) = (self.minus_zi.grouped_mut(), self.azi.grouped_mut(), self.frame.h.grouped_mut());
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

        let (minus_zi, azi) =
            if W::EXAMPLES { (&self.minus_zi_examples, &self.azi_examples) } else { (&self.minus_zi, &self.azi) };
        let terms = [Some(W::operand(params.wex, d, x)), Some(W::operand(params.wei, ni, minus_zi))];
        let h_examples = &mut self.frame.h_examples;
        let to = as_examples.then(|| (h_examples.grouped_mut(), h_examples.columns()));
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
                    g: params.g.as_ptr(),
                    b: params.b.as_ptr(),
                    relu,
                    h,
                    keep: training.then(|| (self.dgamma.grouped_mut(), self.frame.du.grouped_mut())),
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
        let examples = self.frame.examples;
        self.minus_zi_examples.assert_shape("zI", examples.len(), self.interneurons());
        if self.shape.divisive {
            self.azi_examples.assert_shape("a ⊙ zI", examples.len(), self.interneurons());
        }
    }

    /// Panics unless the scratch has the size of the batch: the last `prepare` may have been for inference.
    fn assert_prepared_for_training(&self) {
        let DannShape { ne, ni, divisive, .. } = self.shape;
        let (examples, units) = (self.frame.examples, self.interneurons());
        self.frame.assert_prepared_for_training();
        self.dzi.assert_shape("dzI", ni, examples);
        self.minus_zi_examples.assert_shape("zI", examples.len(), units);
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
        dwex.assert_shape("dWex", ne, self.frame.inputs());
        dwix.assert_shape("dWix", ni, self.frame.inputs());
        dwei.assert_shape("dWei", ne, self.interneurons());
    }

    /// Where `dh` goes. It turns 1/γ into du and ẑ into dγ, so it can be used once after each forward pass.
    pub fn backward<'a>(&'a mut self, params: DannRef<'a, T>) -> Backward<'a, T> {
        params.check(&self.shape).expect("checked by the layer");
        self.assert_prepared_for_training();
        let DannShape { ne, divisive, .. } = self.shape;
        let frame = &mut self.frame;
        let squares = frame.squares;
        let (h, du, db) = (frame.derivative(), frame.du.grouped_mut(), frame.db());
        let examples = frame.examples;
        if divisive {
            let epilogue = InhibitBackward {
                h,
                g: params.g.as_ptr(),
                inv_gamma_to_du: du,
                zhat_to_dgamma: self.dgamma.grouped_mut(),
                db,
                dg: Partials::new(self.dg.as_mut_ptr(), ne, squares),
            };
            Backward::Inhibit(Fused { epilogue, units: ne, examples, borrow: PhantomData })
        } else {
            let epilogue = ExciteBackward { h, du, db, negative_from: ne };
            Backward::Excite(Fused { epilogue, units: ne, examples, borrow: PhantomData })
        }
    }

    /// `dzI = −du Wei + a ⊙ (dγ Wei)`, and dalpha.
    pub fn inner_backward(&mut self, crew: &Crew<'_>, params: DannRef<'_, T>) {
        let DannShape { ne, ni, divisive, .. } = self.shape;
        let Frame { kernels, examples, .. } = self.frame;
        params.check(&self.shape).expect("checked by the layer");
        self.assert_prepared_for_training();
        let in_panels = phase::in_panels::<T>(ni, ne, examples);
        if in_panels && divisive {
            self.q.assert_shape("dγ Wei", ni, examples);
        }
        let (p, q) =
            (DownColumns::operand(params.wei, ni, &self.frame.du), DownColumns::operand(params.wei, ni, &self.dgamma));
        let dzi = self.dzi.grouped_mut();
        let dalpha = Partials::new(self.dalpha.as_mut_ptr(), ni, self.frame.squares);
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
                let panels = &mut self.frame.scratch.panels;
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
        let Self { shape: DannShape { d, .. }, frame, dzi, .. } = self;
        let (kernels, examples, rows) = (frame.kernels, frame.examples, *d);
        let terms = [
            Some(DownColumns::operand(params.wex, rows, &frame.du)),
            Some(DownColumns::operand(params.wix, rows, dzi)),
        ];
        let scratch = &mut frame.scratch;
        // SAFETY: the weights are borrowed and were checked, du and dzI have the batch's size.
        unsafe { into.run(crew, InputGradient { kernels, init: None, terms, rows, examples, scratch }) };
    }

    /// The step of all parameters.
    pub fn update(&mut self, crew: &Crew<'_>, mut targets: Dann<Target<'_, T>>, x: &Activations<T>) {
        let DannShape { d, ne, ni, divisive, .. } = self.shape;
        let kernels = self.frame.kernels;
        let Dann { wex, wix, wei, alpha, g, b } = &mut targets;
        let lengths = self.shape.lengths().expect("checked by the layer");
        let matrices = [&*wex, &*wix, &*wei].map(|target| target.array.len());
        assert_eq!(matrices, [lengths.wex, lengths.wix, lengths.wei], "elements of Wex, Wix and Wei");
        if let [Some(ex), Some(ix), Some(ei)] = [&*wex, &*wix, &*wei].map(Target::plain) {
            let step =
                |target: &mut Target<'_, T>, ld, (scale, low)| Step { w: target.array.as_mut_ptr(), ld, scale, low };
            let epilogues = [step(wex, d, ex), step(wix, d, ix), step(wei, ni, ei)];
            self.weight_gradients(crew, x, kernels.step, epilogues);
        } else {
            let epilogues = [wex.policy(d), wix.policy(d), wei.policy(ni)];
            self.weight_gradients(crew, x, kernels.policy, epilogues);
        }
        run_elementwise(crew, kernels, b, self.frame.total_db());
        if divisive {
            run_elementwise(crew, kernels, g, totals(&mut self.dg, ne, self.frame.carries));
            run_elementwise(crew, kernels, alpha, totals(&mut self.dalpha, ni, self.frame.carries));
        }
        self.frame.carries = false;
    }

    /// `F ← keep · F + scale · Σ_B (∂θ)²`, after a backward pass of squares.
    pub fn curvature(
        &mut self,
        crew: &Crew<'_>,
        fisher: DannMut<'_, T>,
        x: &Activations<T>,
        coefficients @ [keep, scale]: [T; 2],
    ) {
        let DannShape { d, ni, .. } = self.shape;
        fisher.view().check(&self.shape).expect("made for the layer");
        let curvature = |fisher: &mut [T], ld| Curvature { fisher: fisher.as_mut_ptr(), ld, keep, scale };
        let epilogues = [curvature(fisher.wex, d), curvature(fisher.wix, d), curvature(fisher.wei, ni)];
        // What the slabs before carried over is no part of the squares.
        let carries = std::mem::replace(&mut self.frame.carries, false);
        self.weight_gradients(crew, x, self.frame.kernels.curvature, epilogues);
        self.frame.carries = carries;
        curvature_of_sums(fisher.b, &self.frame.db, coefficients);
        curvature_of_sums(fisher.g, &self.dg, coefficients);
        curvature_of_sums(fisher.alpha, &self.dalpha, coefficients);
    }

    /// All gradients, without corrections.
    pub fn gradients(&mut self, crew: &Crew<'_>, gradients: DannMut<'_, T>, x: &Activations<T>) {
        let DannShape { d, ne, ni, divisive, .. } = self.shape;
        gradients.view().check(&self.shape).expect("checked by the layer");
        let hand_out = |grad: &mut [T], ld| HandOut { grad: grad.as_mut_ptr(), ld };
        let epilogues = [hand_out(gradients.wex, d), hand_out(gradients.wix, d), hand_out(gradients.wei, ni)];
        self.weight_gradients(crew, x, self.frame.kernels.hand_out, epilogues);
        gradients.b.copy_from_slice(self.frame.total_db());
        if divisive {
            gradients.g.copy_from_slice(totals(&mut self.dg, ne, self.frame.carries));
            gradients.alpha.copy_from_slice(totals(&mut self.dalpha, ni, self.frame.carries));
        }
        self.frame.carries = false;
    }

    /// Adds the gradients to those of the slabs before.
    pub fn carry(&mut self, crew: &Crew<'_>, x: &Activations<T>) {
        let DannShape { ne, ni, divisive, .. } = self.shape;
        self.assert_room_to_carry();
        let epilogues = self.carried.each_mut().map(|carried| Store { out: carried.grouped_mut() });
        self.weight_gradients(crew, x, self.frame.kernels.carry, epilogues);
        self.frame.total_db();
        if divisive {
            totals(&mut self.dg, ne, self.frame.carries);
            totals(&mut self.dalpha, ni, self.frame.carries);
        }
        self.frame.carries = true;
    }

    /// `dWex = duᵀ x`, `dWix = dzIᵀ x`, `dWei = −duᵀ zI + dγᵀ (a ⊙ zI)`: one phase.
    fn weight_gradients<E>(
        &self,
        crew: &Crew<'_>,
        x: &Activations<T>,
        kernel: GradientKernel<T, E>,
        [wex, wix, wei]: [E; 3],
    ) {
        let DannShape { ne, divisive, .. } = self.shape;
        let Frame { examples, du, .. } = &self.frame;
        let (examples, inputs) = (*examples, self.frame.inputs());
        x.assert_shape("x", examples.len(), inputs);
        if self.frame.carries {
            self.assert_room_to_carry();
        }
        self.assert_prepared_for_training();
        let init = |carried: &Activations<T>| self.frame.carries.then(|| carried.grouped());
        let of_input = |delta: &Activations<T>, carried, epilogue| Gradient {
            init: init(carried),
            terms: [Some(Outer { delta: delta.grouped(), x: x.grouped() }), None],
            rows: delta.rows(),
            examples,
            inputs,
            epilogue,
        };
        let outer = |delta: &Activations<T>, x: &Activations<T>| Outer { delta: delta.grouped(), x: x.grouped() };
        let wei = Gradient {
            init: init(&self.carried[2]),
            terms: [
                Some(outer(du, &self.minus_zi_examples)),
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
            run_gradients(crew, kernel, &[of_input(du, dwex, wex), of_input(&self.dzi, dwix, wix), wei]);
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
                x.resize(7, driver.frame.examples).unwrap();
                Threads::Serial.region(0.0, |crew| driver.forward(crew, params.view(), Input::Units(&x), true));
                let group = driver.frame.examples.group(0);
                for unit in 0..13 {
                    let (inside, padding) = driver.frame.h.row(unit, group).split_at(5);
                    assert!(
                        inside.iter().all(|&h| h == 0.5) && padding.iter().all(|&h| h == 0.0),
                        "{isa}, unit {unit}"
                    );
                }
            }
        }
    }
}
