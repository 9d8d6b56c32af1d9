//! Inhibition: interneurons and what they do to the units above them. A part of layers.
//!
//! ```text
//! zI = x Wixᵀ      s = zI Weiᵀ      γ = (exp(alpha) ⊙ zI) Weiᵀ + ε,  ε = 1e-8      ẑ = (zE − s) / γ
//! ```
//!
//! `zI` is kept as `−zI` and as `a ⊙ zI` with `a = exp(alpha)`, so that `zE − s` is one sum of two products, and so is
//! the gradient of `Wei`. For the divisor that is a root of a sum of squares, what is called `a ⊙ zI` is its square.

pub(crate) mod division;
pub(in crate::layers) mod init;
pub(in crate::layers) mod kernels;
pub(crate) mod low;

use super::buffers::LayerBuffers;
use super::collect::{Sums, WeightGradient};
use crate::buffer::{Activations, Buffer, Examples, Units};
use crate::driver::phase::{InParts, run_in_panels, run_in_parts, run_product};
use crate::driver::{Side, panels, transpose};
use crate::element::Element;
use crate::error::Error;
use crate::kernels::Kernels;
use crate::kernels::access::{Access, Operand, Transposed};
use crate::kernels::epilogue::Store;
use crate::kernels::product::{Product, ProductKernel};
use crate::layout::{Grouped, Split};
use crate::threads::Team;
use division::{Division, Divisor};
use kernels::{CountLows, DivisiveBackward, InhibitionKernels, Interneurons, InterneuronsBackward, Q, RootBackward};
use low::Lows;

/// A copy from unit-major to example-major activations, which have these columns.
type ToExamples<T> = (Grouped<T>, Grouped<T>, Split);

/// What a pass keeps of the interneurons of a layer.
#[derive(Clone)]
pub(super) struct Inhibition<T> {
    ne: usize,
    ni: usize,
    divisive: bool,
    /// What it divides by, if it does.
    pub division: Division<T>,
    /// `exp(alpha)`, as of the forward pass.
    a: Buffer<T>,
    minus_zi: Activations<T>,
    azi: Activations<T>,
    minus_zi_examples: Activations<T>,
    azi_examples: Activations<T>,
    /// `ẑ` from forward to backward.
    pub dgamma: Activations<T>,
    pub dzi: Activations<T>,
    /// `dγ Wei` of a large layer.
    q: Activations<T>,
    pub dalpha: Sums<T>,
    /// Divisors below their bound, of all slabs of a pass.
    pub lows: Lows,
    /// What `du` and `dgamma` held before a Fisher pass.
    saved: [Activations<T>; 2],
}

impl<T: Element> Inhibition<T> {
    /// The interneurons of a layer of `ne` units.
    pub fn new(ne: usize, ni: usize, divisor: Option<Divisor>) -> Self {
        Self {
            ne,
            ni,
            divisive: divisor.is_some(),
            division: Division::new(divisor.unwrap_or_default()),
            a: Buffer::default(),
            minus_zi: Activations::new(),
            azi: Activations::new(),
            minus_zi_examples: Activations::new(),
            azi_examples: Activations::new(),
            dgamma: Activations::new(),
            dzi: Activations::new(),
            q: Activations::new(),
            dalpha: Sums::new(ni),
            lows: Lows::new(),
            saved: [Activations::new(), Activations::new()],
        }
    }

    /// Makes room for the batch that the layer's buffers were prepared for.
    pub fn prepare(&mut self, buffers: &mut LayerBuffers<T>, training: bool) -> Result<(), Error> {
        let &mut Self { ne, ni, divisive, .. } = self;
        let (examples, units) = (buffers.all, buffers.units(ni));
        let batch = examples.len();
        self.minus_zi.resize(ni, examples)?;
        if divisive {
            self.a.resize(ni)?;
            self.azi.resize(ni, examples)?;
        }
        if training || buffers.dots {
            self.minus_zi_examples.resize(batch, units)?;
            if divisive {
                self.azi_examples.resize(batch, units)?;
            }
        }
        if training {
            if panels::pay::<T>(ni, ne, examples) {
                buffers.scratch.prepare_panels(ni)?;
                if divisive {
                    self.q.resize(ni, examples)?;
                }
            }
            self.dzi.resize(ni, examples)?;
            if divisive {
                self.dgamma.resize(ne, examples)?;
                self.dalpha.prepare(buffers.examples)?;
            }
        }
        Ok(())
    }

    /// Turns to other steps, of which there are no more than there were room for.
    pub fn turn_to(&mut self, examples: Split) -> Result<(), Error> {
        if self.divisive { self.dalpha.prepare(examples) } else { Ok(()) }
    }

    /// `zI = x Wixᵀ`, as `−zI` and `a ⊙ zI`; with `as_examples` also with a row an example.
    pub fn forward<W: Side>(
        &mut self,
        team: &Team<'_>,
        buffers: &LayerBuffers<T>,
        wix: Operand<T, W>,
        alpha: &[T],
        kernel: InParts<T, W, Interneurons<T>>,
        as_examples: bool,
    ) {
        let &mut Self { ni, divisive, .. } = self;
        let &LayerBuffers { kernels, examples, .. } = buffers;
        self.assert_forward(buffers, as_examples);
        self.strengths(alpha);
        let (epilogue, units) = (self.interneurons(), buffers.units(ni));
        let (minus_zi, azi) = (self.minus_zi.grouped_mut(), self.azi.grouped_mut());
        let minus_zi_examples = as_examples.then(|| (self.minus_zi_examples.grouped_mut(), units, 0));
        let azi_examples = (as_examples && divisive).then(|| (self.azi_examples.grouped_mut(), units, 0));
        let product = Product { init: None, terms: [Some(wix), None], examples, epilogue };
        // SAFETY: parameters and x are borrowed by the caller and were checked, the outputs and their copies are
        // borrowed mutably and have the size of the batch.
        unsafe {
            run_in_parts(team, (kernels, ni), kernel, product, minus_zi, |rows, groups| {
                if let Some(to) = minus_zi_examples {
                    transpose::to_examples(minus_zi, to, rows.clone(), examples.iter(groups.clone()));
                }
                if let Some(to) = azi_examples {
                    transpose::to_examples(azi, to, rows, examples.iter(groups));
                }
            });
        }
    }

    /// How many interneurons there are.
    pub fn ni(&self) -> usize {
        self.ni
    }

    /// Whether they divide.
    pub fn divides(&self) -> bool {
        self.divisive
    }

    /// What is to be copied after a forward product.
    pub fn copies(&mut self) -> [Option<ToExamples<T>>; 2] {
        let copy = |from: &Activations<T>, to: &mut Activations<T>| (from.grouped(), to.grouped_mut(), to.columns());
        let minus_zi = copy(&self.minus_zi, &mut self.minus_zi_examples);
        let azi = self.divisive.then(|| copy(&self.azi, &mut self.azi_examples));
        [Some(minus_zi), azi]
    }

    /// `a = exp(alpha)`
    pub fn strengths(&mut self, alpha: &[T]) {
        self.a.iter_mut().zip(alpha).for_each(|(a, &alpha)| *a = alpha.exp());
    }

    /// What the product `x Wixᵀ` ends in.
    pub fn interneurons(&mut self) -> Interneurons<T> {
        let (minus_zi, azi) = (self.minus_zi.grouped_mut(), self.azi.grouped_mut());
        let squared = self.division.is_root().then_some(azi);
        Interneurons { minus_zi, divisive: self.divisive.then(|| (azi, self.a.as_ptr())), squared }
    }

    /// What the product `du Wei` ends in.
    pub fn interneurons_backward<W: Access>(&mut self, q: Q<T, W>, squares: bool) -> InterneuronsBackward<T, W> {
        let (dzi, dalpha) = (self.dzi.grouped_mut(), self.dalpha.partials(squares));
        let (root, minus_zi) = (self.division.is_root(), self.minus_zi.grouped());
        let part = DivisiveBackward { q, a: self.a.as_ptr(), azi: self.azi.grouped(), dalpha };
        match (self.divisive, root) {
            (false, _) => InterneuronsBackward { dzi, divisive: None, root: None },
            (true, false) => InterneuronsBackward { dzi, divisive: Some(part), root: None },
            (true, true) => {
                InterneuronsBackward { dzi, divisive: None, root: Some(RootBackward { divisive: part, minus_zi }) }
            }
        }
    }

    /// What the units' product takes from a forward pass: the terms that make `−s` and `γ − ε`.
    pub fn terms<W: Side>(&self, wei: &[T]) -> [Operand<T, W>; 2] {
        let minus_zi = W::input(&self.minus_zi, &self.minus_zi_examples);
        let azi = W::input(&self.azi, &self.azi_examples);
        [W::operand(wei, self.ni, minus_zi), W::operand(wei, self.ni, azi)]
    }

    /// Counts the divisors below their bound of a forward pass that found one, from what it kept: it makes them once more.
    pub fn count_lows<W: Side>(
        &mut self,
        team: &Team<'_>,
        (kernels, examples): (&Kernels<T>, Split),
        gamma: Operand<T, W>,
        kernel: ProductKernel<T, W, CountLows<T>>,
    ) {
        if !*self.lows.any.get_mut() {
            return;
        }
        let [epsilon, bound] = self.division.bound();
        let epilogue = CountLows { epsilon, bound, lows: &raw const self.lows };
        let product = Product { init: None, terms: [Some(gamma), None], examples, epilogue };
        // SAFETY: the caller borrows Wei, the activations are borrowed here; both were read in the forward pass. The
        // count has its atomics.
        unsafe { run_product(team, (kernels, self.ne), kernel, &product, |_, _| ()) };
    }

    /// `−zI [ni, B]` of the last forward pass.
    pub fn minus_zi(&self) -> &Activations<T> {
        &self.minus_zi
    }

    /// `dzI = −du Wei + a ⊙ (dγ Wei)`, and dalpha.
    pub fn backward(&mut self, team: &Team<'_>, own: &InhibitionKernels<T>, buffers: &mut LayerBuffers<T>, wei: &[T]) {
        let &mut Self { ne, ni, divisive, .. } = self;
        let &mut LayerBuffers { kernels, examples, squares, .. } = buffers;
        self.assert_backward(buffers);
        assert_eq!(wei.len(), ne * ni, "elements of Wei");
        let in_panels = panels::pay::<T>(ni, ne, examples);
        if in_panels && divisive {
            self.q.assert_shape("dγ Wei", ni, examples);
        }
        let p = Transposed::operand(wei, ni, buffers.du.units());
        let q = Transposed::operand(wei, ni, self.dgamma.units());
        let dzi = self.dzi.grouped_mut();
        // SAFETY: the parameters are borrowed and were checked, the activations have the batch's size, and those that
        // are written are borrowed mutably.
        unsafe {
            if in_panels {
                let out = self.q.grouped_mut();
                let epilogue = self.interneurons_backward(Q::Stored(out), squares);
                let (room, store) = (&mut buffers.scratch.panels, kernels.store_transposed.packed);
                if divisive {
                    let kernel = store;
                    let terms = [Some(q), None];
                    let product = Product { init: None, terms, examples, epilogue: Store { out } };
                    run_in_panels(team, (kernels, ni), (kernel, kernel), product, (room, out));
                }
                let kernel = (store, own.interneurons_backward.packed);
                let product = Product { init: None, terms: [Some(p), None], examples, epilogue };
                run_in_panels(team, (kernels, ni), kernel, product, (room, dzi));
            } else {
                let epilogue = self.interneurons_backward(Q::Sum(q), squares);
                let product = Product { init: None, terms: [Some(p), None], examples, epilogue };
                run_product(team, (kernels, ni), own.interneurons_backward.in_place, &product, |_, _| ());
            }
        }
    }

    /// `dWix = dzIᵀ x` and `dWei = −duᵀ zI + dγᵀ (a ⊙ zI)`, of the parameters in these places.
    pub fn gradients<'g>(
        &'g self,
        (wix, wei): (usize, usize),
        examples: Split,
        du: Units<'g, T>,
        x: Examples<'g, T>,
    ) -> [WeightGradient<'g, T>; 2] {
        let division = self.divisive.then_some((self.dgamma.units(), self.azi_examples.examples()));
        let subtraction = Some((du, self.minus_zi_examples.examples()));
        [
            WeightGradient::new(wix, examples, [Some((self.dzi.units(), x)), None]),
            WeightGradient::new(wei, examples, [subtraction, division]),
        ]
    }

    /// Makes room for what [`Inhibition::save`] saves.
    pub fn prepare_save(&mut self, buffers: &LayerBuffers<T>) -> Result<(), Error> {
        let [du, dgamma] = &mut self.saved;
        du.resize_as(&buffers.du)?;
        dgamma.resize_as(&self.dgamma)
    }

    /// Saves what a backward pass uses up: `1/γ` in `du`, and `ẑ`.
    pub fn save(&mut self, buffers: &LayerBuffers<T>) {
        let [du, dgamma] = &mut self.saved;
        du.copy_from(&buffers.du);
        dgamma.copy_from(&self.dgamma);
    }

    /// Takes back what [`Inhibition::save`] saved.
    pub fn restore(&mut self, buffers: &mut LayerBuffers<T>) {
        let [du, dgamma] = &mut self.saved;
        std::mem::swap(du, &mut buffers.du);
        std::mem::swap(dgamma, &mut self.dgamma);
    }

    /// Panics unless there is room for a forward pass of the batch.
    pub fn assert_forward(&self, buffers: &LayerBuffers<T>, as_examples: bool) {
        let &Self { ni, divisive, .. } = self;
        let (examples, units) = (buffers.examples, buffers.units(ni));
        self.minus_zi.assert_shape("zI", ni, examples);
        if as_examples {
            self.minus_zi_examples.examples().assert_shape("zI", examples, units);
        }
        if divisive {
            self.azi.assert_shape("a ⊙ zI", ni, examples);
            assert_eq!(self.a.len(), ni, "length of a");
            if as_examples {
                self.azi_examples.examples().assert_shape("a ⊙ zI", examples, units);
            }
        }
    }

    /// Panics unless there is room for the passes of training: the last `prepare` may have been for inference.
    pub fn assert_backward(&self, buffers: &LayerBuffers<T>) {
        let examples = buffers.examples;
        self.assert_forward(buffers, true);
        self.dzi.assert_shape("dzI", self.ni, examples);
        if self.divisive {
            self.dgamma.assert_shape("dγ", self.ne, examples);
            self.dalpha.assert_prepared("dalpha", examples);
        }
    }
}
