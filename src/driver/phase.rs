//! Phases: one kernel, or one after the other, on the tasks of a grid.

use super::grid::Grid;
use super::{Side, panels, transpose};
use crate::buffer::Buffer;
use crate::cache;
use crate::element::Element;
use crate::kernels::Kernels;
use crate::kernels::access::{Access, Block, Operand, PackedTransposed, Transposed};
use crate::kernels::epilogue::Store;
use crate::kernels::gradient::{Gradient, GradientKernel};
use crate::kernels::product::{Product, ProductKernel};
use crate::layout::Grouped;
use crate::optim::policy::{Elementwise, Policy};
use crate::threads::Team;
use std::ops::Range;

/// Multiply-adds of a product with these dimensions, roughly: enough to tell little from much.
fn work(dimensions: [usize; 3]) -> usize {
    dimensions.into_iter().fold(1, usize::saturating_mul)
}

/// Computes all tiles of a product, one phase. `after` then treats the same rows and groups, while they are in the
/// cache.
///
/// # Safety
/// As [`crate::kernels::product::product`], for all rows and groups.
pub(crate) unsafe fn run_product<T: Element, W: Access, E>(
    team: &Team<'_>,
    (kernels, rows): (&Kernels<T>, usize),
    kernel: ProductKernel<T, W, E>,
    product: &Product<T, W, E>,
    after: impl Fn(Range<usize>, Range<usize>) + Sync,
) {
    if product.examples.groups() == 0 {
        return;
    }
    let k = product.terms.iter().flatten().map(|term| W::len(term.depth)).sum::<usize>().max(1);
    let grid = Grid::of_product(kernels, rows, product.examples, k);
    team.run(work([rows, k, product.examples.len()]), grid.tasks(), |tasks| {
        for (rows, groups) in grid.parts(tasks) {
            // SAFETY: the caller vouches for the whole grid; its tasks are disjoint.
            unsafe { kernel(product, rows.clone(), groups.clone()) };
            after(rows, groups);
        }
    });
}

/// The kernels of a sum in parts: one stores the sums so far, the other, for the last part, does what the product is
/// for.
pub(crate) type InParts<T, W, E> = (ProductKernel<T, W, Store<T>>, ProductKernel<T, W, E>);

/// As [`run_product`], but a first sum that is too long for its activations to stay in the cache is made in parts, each
/// for all rows and groups: the weights are read once, the sums so far go to `partial` and back.
///
/// # Safety
/// As [`run_product`]; `partial` is like an output, and the epilogue may write it.
pub(crate) unsafe fn run_in_parts<T: Element, W: Side, E>(
    team: &Team<'_>,
    (kernels, rows): (&Kernels<T>, usize),
    (part_kernel, kernel): InParts<T, W, E>,
    mut product: Product<T, W, E>,
    partial: Grouped<T>,
    after: impl Fn(Range<usize>, Range<usize>) + Sync,
) {
    /// The shortest part: loading and storing a tile's sums costs little beside it.
    const SHORTEST: usize = 256;
    if let [Some(term), _] = &mut product.terms {
        let bytes_of_row = (product.examples.padded() * size_of::<T>()).max(1);
        let most = (cache::activations() / bytes_of_row).max(SHORTEST);
        let (depth, parts) = (term.depth, W::parts(term.depth, most));
        for i in 0..parts - 1 {
            let terms = [Some(Operand { depth: W::part(depth, most, i), ..*term }), None];
            let init = if i == 0 { product.init } else { Some(partial) };
            let part = Product { init, terms, examples: product.examples, epilogue: Store { out: partial } };
            // SAFETY: the caller vouches for the operands and for `partial`.
            unsafe { run_product(team, (kernels, rows), part_kernel, &part, |_, _| ()) };
        }
        if parts > 1 {
            term.depth = W::part(depth, most, parts - 1);
            product.init = Some(partial);
        }
    }
    // SAFETY: the caller vouches for the operands.
    unsafe { run_product(team, (kernels, rows), kernel, &product, after) };
}

/// Computes a product down the columns of large weights, some rows of them after the other: these are copied to panels
/// that tiles read from beginning to end.
///
/// # Safety
/// As [`run_product`]; `partial` is like an output, and the epilogue may write it; the weights have `rows` columns.
pub(crate) unsafe fn run_in_panels<T: Element, E>(
    team: &Team<'_>,
    (kernels, rows): (&Kernels<T>, usize),
    (part_kernel, kernel): InParts<T, PackedTransposed, E>,
    product: Product<T, Transposed, E>,
    (buffer, partial): (&mut Buffer<T>, Grouped<T>),
) {
    let Product { mut init, terms, examples, epilogue } = product;
    let count = panels::count(rows);
    let parts = |term: Operand<T, Transposed>| {
        let count = Transposed::parts(term.depth, panels::DEPTH);
        (0..count).map(move |i| Operand { depth: Transposed::part(term.depth, panels::DEPTH, i), ..term })
    };
    let mut parts = terms.into_iter().flatten().flat_map(parts).peekable();
    while let Some(Operand { a, lda, b, depth }) = parts.next() {
        let Block { first, len } = depth;
        let a = a.wrapping_add(first * lda);
        // SAFETY: the caller vouches for the weights; the buffer has room for all panels.
        unsafe { transpose::to_panels(team, (a, lda, len), (rows, count), buffer) };
        let panel = panels::stride(len);
        let a = buffer.as_ptr().wrapping_sub(first * PackedTransposed::WIDTH);
        let terms = [Some(Operand { a, lda: panel, b, depth }), None];
        // SAFETY: the caller vouches for the operands, `partial` and the epilogue.
        unsafe {
            if parts.peek().is_some() {
                let part = Product { init, terms, examples, epilogue: Store { out: partial } };
                run_product(team, (kernels, rows), part_kernel, &part, |_, _| ());
                init = Some(partial);
            } else {
                let last = Product { init, terms, examples, epilogue };
                return run_product(team, (kernels, rows), kernel, &last, |_, _| ());
            }
        }
    }
}

/// Computes all tiles of some weight gradients, one phase.
///
/// # Safety
/// As [`crate::kernels::gradient::gradient`], for all rows and groups of each gradient.
pub(crate) unsafe fn run_gradients<T: Element, E>(
    team: &Team<'_>,
    kernel: GradientKernel<T, E>,
    gradients: &[Gradient<T, E>],
) {
    let grid = |gradient: &Gradient<T, E>| Grid::of_gradient(gradient.rows, gradient.inputs);
    let tasks = gradients.iter().map(|gradient| grid(gradient).tasks()).sum();
    let of = |gradient: &Gradient<T, E>| work([gradient.rows, gradient.inputs.len(), gradient.examples.len()]);
    team.run(gradients.iter().map(of).fold(0, usize::saturating_add), tasks, |tasks| {
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

/// Takes the step of an array whose gradient is there, or overwrites the gradient with the direction of the step.
///
/// # Safety
/// The arrays have `len` elements and are valid for what the kernel does with them.
pub(crate) unsafe fn run_elementwise<T: Element>(
    team: &Team<'_>,
    kernels: &Kernels<T>,
    len: usize,
    policy: Policy<T>,
    gradient: *mut T,
    direction_only: bool,
) {
    /// Elements of a task: whole vectors, some microseconds.
    const TOGETHER: usize = 1 << 14;
    let work = Elementwise { policy, gradient, direction_only };
    // A step waits for memory: it takes as long as some multiply-adds.
    team.run(len.saturating_mul(8), len.div_ceil(TOGETHER), |tasks| {
        let range = tasks.start * TOGETHER..len.min(tasks.end * TOGETHER);
        // SAFETY: the caller vouches for the arrays; tasks are disjoint.
        unsafe { (kernels.elementwise)(&work, range) };
    });
}
