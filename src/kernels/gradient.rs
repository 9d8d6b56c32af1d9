//! Products whose columns are inputs: the weight gradient `δᵀ x`, summed over the examples.
//!
//! The deltas are broadcast, the inputs are loaded as vectors, and the whole sum over the examples is made in registers.
//! What follows is an epilogue: the update of the weights themselves, so that no gradient matrix need exist; a store of
//! the gradient; or, when a batch goes through in slabs, a store of the sum so far, with which the next slab begins.

use super::Tiled;
use super::tile::{Epilogue, Term, accumulate, load, zeros};
use super::walk::AlongRows;
use crate::layout::{Group, Grouped, Split};
use crate::simd::{Simd, Vectorized};
use std::ops::Range;

/// One term of a [`Gradient`]: unit-major deltas and example-major inputs.
#[derive(Debug)]
pub(crate) struct Outer<T> {
    pub delta: Grouped<T>,
    pub x: Grouped<T>,
}

impl<T> Clone for Outer<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Outer<T> {}

/// `init + Σ_t δ_tᵀ x_t`, handed to an epilogue tile by tile.
pub(crate) struct Gradient<T, E> {
    /// What the accumulators begin with, in the groups of `inputs`; zero if none.
    pub init: Option<Grouped<T>>,
    /// The terms; a missing one adds nothing.
    pub terms: [Option<Outer<T>>; 2],
    /// The rows of the gradient.
    pub rows: usize,
    /// The examples that are summed over.
    pub examples: Split,
    /// The columns of the gradient.
    pub inputs: Split,
    /// What becomes of the accumulators.
    pub epilogue: E,
}

// SAFETY: addresses without rights; `gradient` is unsafe and its caller argues for the accesses.
unsafe impl<T: Sync, E> Sync for Gradient<T, E> {}

/// The kernel of a [`Gradient`] with one kind of epilogue: computes all tiles of some rows by some groups of inputs.
pub(crate) type GradientKernel<T, E> = unsafe fn(&Gradient<T, E>, Range<usize>, Range<usize>);

/// Computes the tiles of `rows` by `groups`.
///
/// # Safety
/// The CPU has the instruction set of `S`. The operands are valid for reading, the epilogue's pointers for their use,
/// in these rows and groups, and nothing else accesses what the epilogue writes there.
pub(crate) unsafe fn gradient<T, S, E>(gradient: &Gradient<T, E>, rows: Range<usize>, groups: Range<usize>)
where
    T: Copy,
    S: Tiled<T>,
    E: Epilogue<T, S>,
{
    // SAFETY: the caller vouches for the instruction set.
    let s = unsafe { S::token() };
    for group in gradient.inputs.iter(groups) {
        s.vectorize(GradientColumn { s, gradient, rows: rows.clone(), group });
    }
}

/// The tiles of one group of inputs. They are so short that their loop is vectorized as a whole.
struct GradientColumn<'a, S, T, E> {
    s: S,
    gradient: &'a Gradient<T, E>,
    rows: Range<usize>,
    group: Group,
}

impl<T: Copy, S: Tiled<T>, E: Epilogue<T, S>> Vectorized for GradientColumn<'_, S, T, E> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let mut row = self.rows.start;
        while row < self.rows.end {
            // SAFETY: `gradient` is called with valid operands; the tile takes at most the rows that are left.
            row += unsafe { self.s.gradient_tile(self.gradient, row, self.rows.end - row, self.group) };
        }
    }
}

/// One tile of a gradient.
///
/// # Safety
/// As [`gradient`], for the rows `row..row + MR` and `group`, which has `NV` vectors.
#[inline(always)]
pub(crate) unsafe fn gradient_tile<T, S, E, const MR: usize, const NV: usize>(
    s: S,
    gradient: &Gradient<T, E>,
    row: usize,
    group: Group,
) where
    T: Copy,
    S: Simd<T>,
    E: Epilogue<T, S>,
{
    debug_assert_eq!(group.vectors, NV);
    gradient.epilogue.prepare::<MR>(s, row, group);
    let mut acc = zeros::<T, S, MR, NV>(s);
    if let Some(init) = gradient.init {
        // SAFETY: the caller vouches for these rows and this group.
        acc = unsafe { load(s, init, row, group) };
    }
    for outer in gradient.terms.iter().flatten() {
        for examples in gradient.examples.iter(0..gradient.examples.groups()) {
            let (delta, x) = (outer.delta.at(row, examples), outer.x.at(examples.start, group));
            let term = Term { a: delta, lda: examples.width, b: x, ldb: group.width, k: examples.len };
            // SAFETY: the caller vouches for the operands.
            acc = unsafe { accumulate::<T, S, AlongRows, MR, NV>(s, acc, term) };
        }
    }
    // SAFETY: the caller vouches for the epilogue's pointers.
    unsafe { gradient.epilogue.finish(s, acc, row, group) };
}
