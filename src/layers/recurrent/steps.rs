//! Step after step, each a few products of the step before.

use crate::driver::grid::Grid;
use crate::driver::transpose;
use crate::element::Element;
use crate::kernels::Kernels;
use crate::kernels::access::{Access, RowMajor};
use crate::kernels::product::{Product, ProductKernel};
use crate::layout::{Grouped, Split};
use crate::threads::Team;
use std::ops::Range;

/// A part of a step that reads what the parts before it wrote of the same examples.
pub(super) trait Stage: Sync {
    /// Rows of its product.
    fn rows(&self) -> usize;

    /// Terms of its sums.
    fn depth(&self) -> usize;

    /// Computes some rows of some groups of examples.
    ///
    /// # Safety
    /// As [`crate::kernels::product::product`].
    unsafe fn run(&self, rows: Range<usize>, groups: Range<usize>);
}

/// A product, and copies of what it wrote with a row an example.
pub(super) struct ProductStage<T, E> {
    pub kernel: ProductKernel<T, RowMajor, E>,
    pub rows: usize,
    pub product: Product<T, RowMajor, E>,
    pub copies: [Option<Copies<T>>; 2],
}

/// A copy of unit-major activations with a row an example.
#[derive(Clone, Copy)]
pub(super) struct Copies<T> {
    pub from: Grouped<T>,
    pub to: Grouped<T>,
    /// The columns of `to`.
    pub units: Split,
    /// The row of `to` that is example 0.
    pub first: usize,
}

impl<T: Element, E> Stage for ProductStage<T, E> {
    fn rows(&self) -> usize {
        self.rows
    }

    fn depth(&self) -> usize {
        self.product.terms.iter().flatten().map(|term| RowMajor::len(term.depth)).sum()
    }

    unsafe fn run(&self, rows: Range<usize>, groups: Range<usize>) {
        // SAFETY: the caller vouches for the product, and so for the copies of what it writes.
        unsafe {
            (self.kernel)(&self.product, rows.clone(), groups.clone());
            for copy in self.copies.into_iter().flatten() {
                let examples = self.product.examples.iter(groups.clone());
                transpose::to_examples(copy.from, (copy.to, copy.units, copy.first), rows.clone(), examples);
            }
        }
    }
}

/// Computes the stages of some steps, one step after the other. `window` are the examples of all of them; `order` counts
/// from its first step, and `stages` says what a step has.
///
/// No sequence needs another one. So threads take sequences where there are enough groups of them, and meet only at the
/// end; else they share the units of each stage.
///
/// # Safety
/// The stages' operands are valid in the window, and nothing else accesses what they write.
pub(super) unsafe fn run_steps<'s, T: Element>(
    team: &Team<'_>,
    kernels: &Kernels<T>,
    window: Split,
    order: impl Iterator<Item = usize> + Clone + Sync,
    stages: impl Fn(usize) -> &'s [&'s dyn Stage] + Sync,
) {
    let (groups, block) = (window.block_groups(), window.blocks(0..1));
    let of_step = |step: usize, groups: &Range<usize>| {
        let first = step * window.block_groups();
        first + groups.start..first + groups.end
    };
    let work = |stage: &dyn Stage| stage.rows().saturating_mul(stage.depth().max(1)).saturating_mul(block.len());
    if shared_by_sequences(groups, team.threads()) {
        let all = order.clone().flat_map(&stages).map(|stage| work(*stage));
        team.run(all.fold(0, usize::saturating_add), groups, |groups| {
            for step in order.clone() {
                for stage in stages(step) {
                    // SAFETY: the caller vouches for the stages; each task has examples of its own.
                    unsafe { stage.run(0..stage.rows(), of_step(step, &groups)) };
                }
            }
        });
        return;
    }
    for step in order {
        for stage in stages(step) {
            let grid = Grid::of_product(kernels, stage.rows(), block, stage.depth().max(1));
            team.run(work(*stage), grid.tasks(), |tasks| {
                for (rows, groups) in grid.parts(tasks) {
                    // SAFETY: the caller vouches for the stages; tasks are disjoint.
                    unsafe { stage.run(rows, of_step(step, &groups)) };
                }
            });
        }
    }
}

/// Whether so many threads share so many groups of sequences about evenly.
fn shared_by_sequences(groups: usize, threads: usize) -> bool {
    let rounds = groups.div_ceil(threads);
    4 * rounds * threads <= 5 * groups
}
