//! Loops over tiles and tasks: what runs when, in which order, and on which part of the matrices.
//!
//! Drivers are safe: they borrow every array that they hand to a kernel for the duration of the phase, and cut each
//! phase into tasks that write disjoint parts.

mod apply;
mod dann;
mod dense;
mod frame;
mod grid;
mod norm;
mod phase;
mod transpose;
mod weights;

pub(crate) use dann::DannDriver;
pub(crate) use dense::DenseDriver;
pub(crate) use norm::NormDriver;
pub(crate) use transpose::{copy_examples, from_rows, to_rows};

use crate::buffer::{Activations, Buffer};
use crate::element::Element;
use crate::error::Error;
use crate::isa::Isa;
use crate::kernels::Kernels;
use crate::kernels::backward::{ExciteBackward, GainBackward, InhibitBackward, Store};
use crate::kernels::product::Product;
use crate::kernels::walk::{Block, Broadcast, Dots, DownColumns, Operand, Walk};
use crate::layout::Split;
use crate::params::layer::{LayerArrays, LayerMut, LayerRef, LayerShape};
use crate::params::state::State;
use crate::params::update::{Moment, Update};
use crate::threads::Crew;
use frame::Frame;
use std::marker::PhantomData;

/// A batch cut into slabs of about 128 examples, the first example of each and their number. The activations of a slab
/// stay in a second-level cache of 1 MiB from one layer to the next; the gradients are carried over from slab to slab,
/// and the last is fused with the update. (Whole batches of 1024 took a tenth longer: every layer then reads and writes
/// some ten arrays of 2 MB.)
pub(crate) fn slabs(batch: usize) -> impl ExactSizeIterator<Item = (usize, usize)> {
    /// Whole vectors of any instruction set, two to a group.
    const UNIT: usize = 32;
    const SLAB: usize = 128;
    let slabs = ((batch + SLAB / 2) / SLAB).max(1);
    let units = batch.div_ceil(UNIT);
    // Units are shared out evenly: a last slab of a few examples would cost a pass over all weights.
    let start = move |i: usize| (i * units / slabs * UNIT).min(batch);
    (0..slabs).map(move |i| (start(i), start(i + 1) - start(i)))
}

/// The most examples of a slab: who makes room for them first fails before anything is written, or not at all.
pub(crate) fn largest_slab(batch: usize) -> usize {
    slabs(batch).map(|(_, len)| len).max().unwrap_or(0)
}

/// Where `dh` of a layer comes from, or where a layer's input gradient `dx` goes: into an array, or on through the
/// nonlinearity and the inhibition of the layer below, before it leaves the registers.
pub(crate) enum Backward<'a, T> {
    /// Stored.
    Store(&'a mut Activations<T>),
    /// Into a layer that does not divide.
    Excite(Fused<'a, ExciteBackward<T>>),
    /// Into a layer that divides.
    Inhibit(Fused<'a, InhibitBackward<T>>),
    /// Into a layer that is normalised.
    Gain(Fused<'a, GainBackward<T>>),
}

/// An epilogue that borrows the arrays of a layer, and the layer's units and examples: all its arrays were checked to
/// have them.
pub(crate) struct Fused<'a, E> {
    epilogue: E,
    units: usize,
    examples: Split,
    borrow: PhantomData<&'a mut ()>,
}

/// An input gradient `init + Σ terms`, with what computing it needs.
struct InputGradient<'a, T: Element> {
    kernels: &'a Kernels<T>,
    init: Option<&'a Activations<T>>,
    terms: [Option<Operand<T, DownColumns>>; 2],
    /// Units of the layer below.
    rows: usize,
    examples: Split,
    scratch: &'a mut Scratch<T>,
}

/// What products with the transposed weights of a large layer need; empty for a small one.
#[derive(Clone)]
struct Scratch<T> {
    panels: Buffer<T>,
    /// Sums so far `[d, B]`.
    partial: Activations<T>,
}

impl<T: Element> Scratch<T> {
    fn new() -> Self {
        Self { panels: Buffer::default(), partial: Activations::new() }
    }

    /// Makes room for the input gradient of a layer with `rows` inputs and sums of length `k`.
    fn prepare(&mut self, rows: usize, k: usize, examples: Split) -> Result<(), Error> {
        if phase::in_panels::<T>(rows, k, examples) {
            self.prepare_panels(rows)?;
            self.partial.resize(rows, examples)?;
        }
        Ok(())
    }

    /// Makes room for panels of weights with so many columns.
    fn prepare_panels(&mut self, columns: usize) -> Result<(), Error> {
        self.panels.resize(phase::panels_len(columns).max(self.panels.len()))
    }
}

impl<T: Element> Backward<'_, T> {
    /// Computes an input gradient and lets it go where it should.
    ///
    /// # Safety
    /// The terms are valid for reading in all rows and examples, and their weights have `rows` columns.
    unsafe fn run(self, crew: &Crew<'_>, gradient: InputGradient<'_, T>) {
        let InputGradient { kernels, init, terms, rows, examples, scratch } = gradient;
        let check = |units, of| assert_eq!((units, of), (rows, examples), "units and examples of the layer below");
        if let Some(init) = init {
            check(init.rows(), init.columns());
        }
        let k = terms.iter().flatten().map(|term| term.depth.len).sum();
        let in_panels = phase::in_panels::<T>(rows, k, examples);
        if in_panels {
            check(scratch.partial.rows(), scratch.partial.columns());
        }
        let init = init.map(Activations::grouped);
        macro_rules! run {
            ($kernel:ident, $epilogue:expr, $partial:expr) => {{
                let product = Product { init, terms, examples, epilogue: $epilogue };
                // SAFETY: the caller vouches for the terms; the epilogue borrows its arrays mutably through `self`, and
                // `check` compared their units and examples with those of the product.
                unsafe {
                    if in_panels {
                        let kernel = (kernels.panels.store, kernels.panels.$kernel);
                        phase::run_in_panels(crew, (kernels, rows), kernel, product, (&mut scratch.panels, $partial));
                    } else {
                        phase::run_product(crew, (kernels, rows), kernels.down.$kernel, &product, |_, _| ());
                    }
                }
            }};
        }
        match self {
            Self::Store(out) => {
                check(out.rows(), out.columns());
                let out = out.grouped_mut();
                run!(store, Store { out }, out);
            }
            Self::Excite(fused) => {
                check(fused.units, fused.examples);
                run!(excite, fused.epilogue, scratch.partial.grouped_mut());
            }
            Self::Inhibit(fused) => {
                check(fused.units, fused.examples);
                run!(inhibit, fused.epilogue, scratch.partial.grouped_mut());
            }
            Self::Gain(fused) => {
                check(fused.units, fused.examples);
                run!(gain, fused.epilogue, scratch.partial.grouped_mut());
            }
        }
    }
}

/// A layer's input as the forward product reads it.
#[derive(Clone, Copy)]
pub(crate) enum Input<'a, T> {
    /// `x [d, B]`
    Units(&'a Activations<T>),
    /// `x [B, d]`, for [few](Driver::few) examples.
    Examples(&'a Activations<T>),
}

impl<T: Element> Input<'_, T> {
    /// Panics unless it is an input of this layer, with the examples of the batch.
    fn checked(self, frame: &Frame<T>) -> Self {
        let (examples, inputs) = (frame.examples, frame.inputs());
        match self {
            Self::Units(x) => x.assert_shape("x", inputs.len(), examples),
            Self::Examples(x) => x.assert_shape("x", examples.len(), inputs),
        }
        self
    }
}

/// A side from which the forward product reads activations.
trait Side: Walk {
    /// Whether rows are examples.
    const EXAMPLES: bool;
    /// Weights at `a` with rows `lda` elements apart, and the activations that they meet.
    fn operand<T: Element>(a: &[T], lda: usize, b: &Activations<T>) -> Operand<T, Self>;
    /// Parts of a sum, of `most` terms or a few less.
    fn parts(depth: Self::Depth, most: usize) -> usize;
    /// Part `i` of them.
    fn part(depth: Self::Depth, most: usize, i: usize) -> Self::Depth;
}

impl<W: Broadcast> Side for W {
    const EXAMPLES: bool = false;

    fn operand<T: Element>(a: &[T], lda: usize, b: &Activations<T>) -> Operand<T, Self> {
        Operand { a: a.as_ptr(), lda, b: b.grouped(), depth: Block { first: 0, len: b.rows() } }
    }
    fn parts(depth: Block, most: usize) -> usize {
        depth.len.div_ceil(most)
    }
    fn part(Block { first, len }: Block, most: usize, i: usize) -> Block {
        let each = len.div_ceil(len.div_ceil(most));
        Block { first: first + i * each, len: each.min(len - i * each) }
    }
}

impl Side for Dots {
    const EXAMPLES: bool = true;

    fn operand<T: Element>(a: &[T], lda: usize, b: &Activations<T>) -> Operand<T, Self> {
        Operand { a: a.as_ptr(), lda, b: b.grouped(), depth: b.columns() }
    }
    fn parts(_: Split, _: usize) -> usize {
        1
    }
    fn part(depth: Split, _: usize, _: usize) -> Split {
        depth
    }
}

/// The scratch of a layer of any kind and the order of its phases. Parameters come as the caller holds them.
#[derive(Clone)]
pub(crate) enum Driver<T: Element> {
    Dann(Box<DannDriver<T>>),
    Dense(Box<DenseDriver<T>>),
    Norm(Box<NormDriver<T>>),
}

/// Calls a driver of any kind.
macro_rules! with_driver {
    ($self:expr, $driver:ident => $call:expr) => {
        match $self {
            Driver::Dann($driver) => $call,
            Driver::Dense($driver) => $call,
            Driver::Norm($driver) => $call,
        }
    };
}

/// Calls a driver with parameters of its kind.
macro_rules! with_params {
    (($self:expr, $params:expr), ($driver:ident, $own:ident) => $call:expr) => {
        match ($self, $params) {
            (Driver::Dann($driver), LayerArrays::Dann($own)) => $call,
            (Driver::Dense($driver), LayerArrays::Dense($own)) => $call,
            (Driver::Norm($driver), LayerArrays::Norm($own)) => $call,
            _ => unreachable!("the layer checks the kind of its parameters"),
        }
    };
}

impl<T: Element> Driver<T> {
    pub fn new(shape: LayerShape, isa: Isa) -> Result<Self, Error> {
        Ok(match shape {
            LayerShape::Dann(shape) => Self::Dann(Box::new(DannDriver::new(shape, isa)?)),
            LayerShape::Dense(shape) => Self::Dense(Box::new(DenseDriver::new(shape, isa)?)),
            LayerShape::Norm(shape) => Self::Norm(Box::new(NormDriver::new(shape, isa)?)),
        })
    }

    /// Makes room for a batch, after which a pass allocates nothing.
    pub fn prepare(&mut self, batch: usize, training: bool) -> Result<(), Error> {
        with_driver!(self, driver => driver.prepare(batch, training))
    }

    /// Makes room for gradients that are carried over from slab to slab, and begins with none.
    pub fn prepare_slabs(&mut self, slabs: usize) -> Result<(), Error> {
        with_driver!(self, driver => driver.prepare_slabs(slabs))
    }

    fn frame(&self) -> &Frame<T> {
        with_driver!(self, driver => &driver.frame)
    }

    fn frame_mut(&mut self) -> &mut Frame<T> {
        with_driver!(self, driver => &mut driver.frame)
    }

    /// `h [ne, B]` of the last forward pass.
    pub fn output(&self) -> &Activations<T> {
        &self.frame().h
    }

    /// `h [B, ne]` of the last forward pass of training or of few examples.
    pub fn output_examples(&self) -> &Activations<T> {
        &self.frame().h_examples
    }

    /// Whether so many examples are so few that the forward product should read [`Input::Examples`].
    pub fn few(&self, batch: usize) -> bool {
        self.frame().few(batch)
    }

    /// How the weight gradient wants the layer's input: its units, cut into groups.
    pub fn inputs(&self) -> Split {
        self.frame().inputs()
    }

    /// The output as the layer above reads it.
    pub fn output_for(&self, few: bool) -> Input<'_, T> {
        if few { Input::Examples(self.output_examples()) } else { Input::Units(self.output()) }
    }

    /// From the layer's input to `h`, keeping for `training` what the backward pass needs.
    pub fn forward(&mut self, crew: &Crew<'_>, params: LayerRef<'_, T>, x: Input<'_, T>, training: bool) {
        with_params!((self, params), (driver, params) => driver.forward(crew, params, x, training))
    }

    /// What inhibition or normalisation did in the last forward pass of training, for layers that have a divisor: one
    /// divided by it, and `ẑ [ne, B]`. Before the backward pass.
    pub fn standardised(&self) -> Option<(Option<&Activations<T>>, &Activations<T>)> {
        match self {
            Self::Dann(driver) => driver.standardised().map(|(inverse, zhat)| (Some(inverse), zhat)),
            Self::Dense(_) => None,
            Self::Norm(driver) => Some((None, driver.standardised())),
        }
    }

    /// Where `dh` goes; see [`Backward`].
    pub fn backward<'a>(&'a mut self, params: LayerRef<'a, T>) -> Backward<'a, T> {
        with_params!((self, params), (driver, params) => driver.backward(params))
    }

    /// Lets a `dh` that is in an array go where it should.
    pub fn backward_from(&mut self, crew: &Crew<'_>, params: LayerRef<'_, T>, dh: &Activations<T>) {
        let &Frame { kernels, examples, .. } = self.frame();
        let (rows, scratch) = (dh.rows(), &mut Scratch::new());
        let gradient = InputGradient { kernels, init: Some(dh), terms: [None, None], rows, examples, scratch };
        // SAFETY: there are no terms.
        unsafe { self.backward(params).run(crew, gradient) };
    }

    /// What must happen between `dh` and the gradients of inputs and weights, for all units or examples together.
    pub fn inner_backward(&mut self, crew: &Crew<'_>, params: LayerRef<'_, T>) {
        with_params!((self, params), (driver, params) => driver.inner_backward(crew, params))
    }

    /// `dx [d, B]`.
    pub fn input_gradient(&mut self, crew: &Crew<'_>, params: LayerRef<'_, T>, into: Backward<'_, T>) {
        with_params!((self, params), (driver, params) => driver.input_gradient(crew, params, into))
    }

    /// The step, with the layer's input `x [B, d]`: fused with the gradients where the rule allows it. The rule was
    /// checked and the state prepared for it.
    pub fn update(
        &mut self,
        crew: &Crew<'_>,
        (shape, rule): (&LayerShape, &Update),
        params: LayerMut<'_, T>,
        x: &Activations<T>,
        state: &mut State<T>,
    ) {
        if rule.needs_gradients() {
            let mut gradients = state.gradients.take().expect("the state was prepared");
            self.gradients(crew, gradients.view_mut(), x);
            apply::apply_stored(crew, self.frame().kernels, (shape, rule), params, &mut gradients, state);
            state.gradients = Some(gradients);
            return;
        }
        let moment = Moment { lr: rule.lr, clip: 1.0, natural: state.natural_scale(rule) };
        let targets = state.targets(shape, rule, &moment, params);
        with_params!((self, targets), (driver, targets) => driver.update(crew, targets, x))
    }

    /// A step with gradients that were handed out. The rule was checked and the state prepared for it.
    pub fn apply(
        &self,
        crew: &Crew<'_>,
        rule: (&LayerShape, &Update),
        params: LayerMut<'_, T>,
        gradients: LayerRef<'_, T>,
        state: &mut State<T>,
    ) {
        apply::apply(crew, self.frame().kernels, rule, params, gradients, state);
    }

    /// Carries the gradients over to the next slab, with the layer's input `x [B, d]`.
    pub fn carry(&mut self, crew: &Crew<'_>, x: &Activations<T>) {
        with_driver!(self, driver => driver.carry(crew, x))
    }

    /// All gradients but `dx`, with the layer's input `x [B, d]`.
    pub fn gradients(&mut self, crew: &Crew<'_>, gradients: LayerMut<'_, T>, x: &Activations<T>) {
        with_params!((self, gradients), (driver, gradients) => driver.gradients(crew, gradients, x))
    }

    /// Makes room for a backward pass of squares, for the batch that was prepared.
    pub fn prepare_squares(&mut self) -> Result<(), Error> {
        if let Self::Dann(driver) = self { driver.prepare_to_keep() } else { Ok(()) }
    }

    /// Makes the next backward pass one of squares, for [`Driver::curvature`]: what it uses up is kept for another.
    pub fn begin_squares(&mut self) {
        self.frame_mut().squares = true;
        if let Self::Dann(driver) = self {
            driver.keep();
        }
    }

    /// After a backward pass of squares: `F ← keep · F + scale · Σ_B (∂θ)²` for all parameters, with the layer's input
    /// `x [B, d]`. Then makes way for an ordinary backward pass of the same forward pass.
    pub fn curvature(&mut self, crew: &Crew<'_>, fisher: LayerMut<'_, T>, x: &Activations<T>, coefficients: [T; 2]) {
        with_params!((&mut *self, fisher), (driver, fisher) => driver.curvature(crew, fisher, x, coefficients));
        self.frame_mut().squares = false;
        if let Self::Dann(driver) = self {
            driver.restore();
        }
    }
}

/// How many sums over the examples there are for `rows` rows; see [`crate::kernels::backward::Partials`].
fn partials(rows: usize, examples: Split) -> usize {
    rows * (examples.groups() + 1)
}

/// Adds the groups' partial sums, one after the other, to those that were `carried` over from the slabs before, if any.
fn totals<T: Element>(partials: &mut [T], rows: usize, carried: bool) -> &mut [T] {
    let (total, groups) = partials.split_at_mut(rows);
    if !carried {
        total.fill(T::ZERO);
    }
    for group in groups.chunks_exact(rows) {
        total.iter_mut().zip(group).for_each(|(sum, &part)| *sum = *sum + part);
    }
    total
}

/// `F ← keep · F + scale · Σ`, at most the largest number, with the groups' partial sums of squares. Sums that are carried over stay.
fn curvature_of_sums<T: Element>(fisher: &mut [T], partials: &[T], [keep, scale]: [T; 2]) {
    let rows = fisher.len();
    for (row, f) in fisher.iter_mut().enumerate() {
        let groups = partials[rows..].iter().skip(row).step_by(rows);
        let sum = keep * *f + scale * groups.fold(T::ZERO, |sum, &part| sum + part);
        *f = if sum > T::MAX { T::MAX } else { sum };
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn slabs_cover_the_batch_once() {
        for batch in 1..2000 {
            let mut next = 0;
            for (start, len) in super::slabs(batch) {
                let least = if batch < 192 { batch } else { 65 };
                assert!(start == next && (least..=192).contains(&len), "{batch}: {start}, {len}");
                next += len;
            }
            assert_eq!(next, batch);
        }
    }
}
