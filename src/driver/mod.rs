//! Loops over tiles and tasks: what runs when, in which order, and on which part of the matrices.
//!
//! Drivers are safe: they borrow every array that they hand to a kernel for the duration of the phase, and cut each
//! phase into tasks that write disjoint parts.

mod dann;
mod dense;
mod grid;
mod transpose;

pub(crate) use dann::DannDriver;
pub(crate) use dense::DenseDriver;
pub(crate) use transpose::{copy_examples, from_rows, to_rows};

use crate::buffer::Activations;
use crate::element::Element;
use crate::error::Error;
use crate::isa::Isa;
use crate::kernels::Kernels;
use crate::kernels::backward::{ExciteBackward, InhibitBackward, Store};
use crate::kernels::gradient::{Gradient, GradientKernel};
use crate::kernels::product::{Operand, Product, ProductKernel};
use crate::kernels::tile::DownColumns;
use crate::layout::Split;
use crate::params::layer::{LayerArrays, LayerMut, LayerRef, LayerShape};
use crate::params::update::Update;
use crate::threads::Crew;
use grid::Grid;
use std::marker::PhantomData;
use std::ops::Range;

/// A batch cut into slabs of about 128 examples, the first example of each and their number. The activations of a slab
/// stay in a second-level cache of 1 MiB from one layer to the next; the gradients are carried over from slab to slab,
/// and the last is fused with the update. (Whole batches of 1024 took a tenth longer: every layer then reads and writes
/// some ten arrays of 2 MB.)
pub(crate) fn slabs(batch: usize) -> impl ExactSizeIterator<Item = (usize, usize)> {
    /// Whole vectors of any instruction set, two to a group.
    const UNIT: usize = 32;
    const SLAB: usize = 128;
    let slabs = ((batch + SLAB / 2) / SLAB).max(1);
    let slab = batch.div_ceil(slabs).next_multiple_of(UNIT);
    (0..batch.div_ceil(slab)).map(move |i| (i * slab, slab.min(batch - i * slab)))
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
}

/// An epilogue that borrows the arrays of a layer, and the layer's units and examples: all its arrays were checked to
/// have them.
pub(crate) struct Fused<'a, E> {
    epilogue: E,
    units: usize,
    examples: Split,
    borrow: PhantomData<&'a mut ()>,
}

impl<T: Element> Backward<'_, T> {
    /// Computes `init + Σ terms` for the `rows` units of the layer below and lets it go where it should.
    ///
    /// # Safety
    /// The terms are valid for reading in `rows` and all examples.
    unsafe fn run(
        self,
        crew: &Crew<'_>,
        kernels: &Kernels<T>,
        init: Option<&Activations<T>>,
        terms: [Option<Operand<T>>; 2],
        (rows, examples): (usize, Split),
    ) {
        macro_rules! run {
            ($kernel:expr, $epilogue:expr) => {{
                let init = init.map(Activations::grouped);
                let product = Product { init, terms, examples, epilogue: $epilogue, walk: PhantomData::<DownColumns> };
                // SAFETY: the caller vouches for the terms; the epilogue borrows its arrays mutably through `self`, and
                // `check` compared their units and examples with those of the product.
                unsafe { run_product(crew, (kernels, rows), $kernel, &product, |_, _| ()) }
            }};
        }
        let check = |units, of| assert_eq!((units, of), (rows, examples), "units and examples of the layer below");
        if let Some(init) = init {
            check(init.rows(), init.columns());
        }
        match self {
            Self::Store(out) => {
                check(out.rows(), out.columns());
                run!(kernels.input_gradient, Store { out: out.grouped_mut() });
            }
            Self::Excite(fused) => {
                check(fused.units, fused.examples);
                run!(kernels.excite_backward, fused.epilogue);
            }
            Self::Inhibit(fused) => {
                check(fused.units, fused.examples);
                run!(kernels.inhibit_backward, fused.epilogue);
            }
        }
    }
}

/// The scratch of a layer of any kind and the order of its phases. Parameters come as the caller holds them.
#[derive(Clone)]
pub(crate) enum Driver<T: Element> {
    Dann(Box<DannDriver<T>>),
    Dense(Box<DenseDriver<T>>),
}

/// Calls a driver with parameters of its kind.
macro_rules! with_params {
    (($self:expr, $params:expr), ($driver:ident, $own:ident) => $call:expr) => {
        match ($self, $params) {
            (Driver::Dann($driver), LayerArrays::Dann($own)) => $call,
            (Driver::Dense($driver), LayerArrays::Dense($own)) => $call,
            _ => unreachable!("the layer checks the kind of its parameters"),
        }
    };
}

impl<T: Element> Driver<T> {
    pub fn new(shape: LayerShape, isa: Isa) -> Result<Self, Error> {
        Ok(match shape {
            LayerShape::Dann(shape) => Self::Dann(Box::new(DannDriver::new(shape, isa)?)),
            LayerShape::Dense(shape) => Self::Dense(Box::new(DenseDriver::new(shape, isa)?)),
        })
    }

    /// Makes room for a batch, after which a pass allocates nothing.
    pub fn prepare(&mut self, batch: usize, training: bool) -> Result<(), Error> {
        match self {
            Self::Dann(driver) => driver.prepare(batch, training),
            Self::Dense(driver) => driver.prepare(batch, training),
        }
    }

    /// Makes room for gradients that are carried over from slab to slab, and begins with none.
    pub fn prepare_slabs(&mut self, slabs: usize) -> Result<(), Error> {
        match self {
            Self::Dann(driver) => driver.prepare_slabs(slabs),
            Self::Dense(driver) => driver.prepare_slabs(slabs),
        }
    }

    /// `h [ne, B]` of the last forward pass.
    pub fn output(&self) -> &Activations<T> {
        match self {
            Self::Dann(driver) => driver.output(),
            Self::Dense(driver) => driver.output(),
        }
    }

    /// `h [B, ne]` of the last forward pass of training, as the layer above needs it for its weight gradient.
    pub fn output_examples(&self) -> &Activations<T> {
        match self {
            Self::Dann(driver) => driver.output_examples(),
            Self::Dense(driver) => driver.output_examples(),
        }
    }

    /// From `x [d, B]` to `h`, keeping for `training` what the backward pass needs.
    pub fn forward(&mut self, crew: &Crew<'_>, params: LayerRef<'_, T>, x: &Activations<T>, training: bool) {
        with_params!((self, params), (driver, params) => driver.forward(crew, params, x, training))
    }

    /// Where `dh` goes; see [`Backward`].
    pub fn backward<'a>(&'a mut self, params: LayerRef<'a, T>) -> Backward<'a, T> {
        with_params!((self, params), (driver, params) => driver.backward(params))
    }

    /// Lets a `dh` that is in an array go where it should.
    pub fn backward_from(&mut self, crew: &Crew<'_>, params: LayerRef<'_, T>, dh: &Activations<T>) {
        with_params!((self, params), (driver, params) => driver.backward_from(crew, params, dh))
    }

    /// What must happen between `dh` and the gradients of inputs and weights.
    pub fn interneurons_backward(&mut self, crew: &Crew<'_>, params: LayerRef<'_, T>) {
        if let (Self::Dann(driver), LayerArrays::Dann(params)) = (self, params) {
            driver.interneurons_backward(crew, params);
        }
    }

    /// `dx [d, B]`.
    pub fn input_gradient(&self, crew: &Crew<'_>, params: LayerRef<'_, T>, into: Backward<'_, T>) {
        with_params!((self, params), (driver, params) => driver.input_gradient(crew, params, into))
    }

    /// How the weight gradient wants the layer's input: its units, cut into groups.
    pub fn inputs(&self) -> Split {
        match self {
            Self::Dann(driver) => driver.inputs(),
            Self::Dense(driver) => driver.inputs(),
        }
    }

    /// The fused step, with the layer's input `x [B, d]`. The rule was checked.
    pub fn update(&mut self, crew: &Crew<'_>, params: LayerMut<'_, T>, x: &Activations<T>, rule: &Update) {
        match (self, params) {
            (Self::Dann(driver), LayerArrays::Dann(params)) => {
                let scales = rule.scales(&driver.shape());
                driver.update(crew, params, x, scales);
            }
            (Self::Dense(driver), LayerArrays::Dense(params)) => driver.update(crew, params, x, rule.dense_scales()),
            _ => unreachable!("the layer checks the kind of its parameters"),
        }
    }

    /// Carries the gradients over to the next slab, with the layer's input `x [B, d]`.
    pub fn carry(&mut self, crew: &Crew<'_>, x: &Activations<T>) {
        match self {
            Self::Dann(driver) => driver.carry(crew, x),
            Self::Dense(driver) => driver.carry(crew, x),
        }
    }

    /// All gradients but `dx`, with the layer's input `x [B, d]`.
    pub fn gradients(&mut self, crew: &Crew<'_>, gradients: LayerMut<'_, T>, x: &Activations<T>) {
        with_params!((self, gradients), (driver, gradients) => driver.gradients(crew, gradients, x))
    }
}

/// Computes all tiles of a product, one phase. `after` then treats the same rows and groups, while they are in the cache.
///
/// # Safety
/// As [`crate::kernels::product::product`], for all rows and groups.
unsafe fn run_product<T: Element, W: Sync, E>(
    crew: &Crew<'_>,
    (kernels, rows): (&Kernels<T>, usize),
    kernel: ProductKernel<T, W, E>,
    product: &Product<T, W, E>,
    after: impl Fn(Range<usize>, Range<usize>) + Sync,
) {
    let k = product.terms.iter().flatten().map(|term| term.b.rows()).sum::<usize>().max(1);
    let grid = Grid::of_product(kernels, rows, product.examples, k);
    crew.run(rows * k * product.examples.len(), grid.tasks(), |tasks| {
        for (rows, groups) in grid.parts(tasks) {
            // SAFETY: the caller vouches for the whole grid; its tasks are disjoint.
            unsafe { kernel(product, rows.clone(), groups.clone()) };
            after(rows, groups);
        }
    });
}

/// Computes all tiles of some weight gradients, one phase.
///
/// # Safety
/// As [`crate::kernels::gradient::gradient`], for all rows and groups of each gradient.
unsafe fn run_gradients<T: Element, E>(crew: &Crew<'_>, kernel: GradientKernel<T, E>, gradients: &[Gradient<T, E>]) {
    let grid = |gradient: &Gradient<T, E>| Grid::of_gradient(gradient.rows, gradient.inputs);
    let tasks = gradients.iter().map(|gradient| grid(gradient).tasks()).sum();
    let work = |gradient: &Gradient<T, E>| gradient.rows * gradient.inputs.len() * gradient.examples.len();
    crew.run(gradients.iter().map(work).sum(), tasks, |tasks| {
        let mut first = 0;
        for gradient in gradients {
            let grid = grid(gradient);
            let here = tasks.start.max(first) - first..tasks.end.clamp(first, first + grid.tasks()) - first;
            for (rows, groups) in grid.parts(here) {
                // SAFETY: the caller vouches for the whole grid; its tasks are disjoint.
                unsafe { kernel(gradient, rows, groups) };
            }
            first += grid.tasks();
        }
    });
}

/// How many sums over the examples there are for `rows` rows; see [`crate::kernels::backward::Partials`].
fn partials(rows: usize, examples: Split) -> usize {
    rows * (examples.groups() + 1)
}

/// Adds the groups' partial sums, one after the other, to those that were `carried` over from the slabs before, if any.
fn totals<T: Element>(partials: &mut [T], rows: usize, carried: bool) -> &[T] {
    let (total, groups) = partials.split_at_mut(rows);
    if !carried {
        total.fill(T::ZERO);
    }
    for group in groups.chunks_exact(rows) {
        total.iter_mut().zip(group).for_each(|(sum, &part)| *sum = *sum + part);
    }
    total
}

#[cfg(test)]
mod tests {
    #[test]
    fn slabs_cover_the_batch_once() {
        for batch in 1..2000 {
            let mut next = 0;
            for (start, len) in super::slabs(batch) {
                assert!(start == next && (1..=192).contains(&len), "{batch}: {start}, {len}");
                next += len;
            }
            assert_eq!(next, batch);
        }
    }
}
