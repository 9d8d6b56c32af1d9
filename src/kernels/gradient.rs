//! Products whose columns are inputs: the weight gradient `δᵀ x`, summed over the examples.
//!
//! The deltas are broadcast, the inputs are loaded as vectors, and the whole sum over the examples is accumulated in
//! registers. What follows is an epilogue: the update of the weights themselves, so that no gradient matrix need exist;
//! a store of the gradient; or, when a batch goes through in slabs, a store of the sum so far, to which the next adds.

use super::Tiled;
use super::access::RowMajor;
use super::tile::{Acc, Epilogue, Term, accumulate, add, load, zeros};
use crate::layout::{Group, Grouped, Split};
use crate::simd::{Scalar, Simd, Vectorized};
use std::ops::Range;

/// One term of a [`Gradient`]: unit-major deltas and example-major inputs.
#[derive(Debug)]
pub(crate) struct Outer<T> {
    pub delta: Grouped<T>,
    pub x: Grouped<T>,
    /// The row of `x` that is example 0.
    pub first: usize,
}

impl<T> Clone for Outer<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Outer<T> {}

/// `init + Σ_t δ_tᵀ x_t`, handed to an epilogue tile by tile.
pub(crate) struct Gradient<T, E> {
    /// What is added to the sum, in the groups of `inputs`; nothing if none.
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

// SAFETY: only addresses are shared; `gradient` is unsafe and its caller argues for the accesses.
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
    T: Scalar,
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

impl<T: Scalar, S: Tiled<T>, E: Epilogue<T, S>> Vectorized for GradientColumn<'_, S, T, E> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        // What a tile of 32 examples spends on finding its terms and groups shows: 3 % of an update.
        match (self.gradient.terms, self.gradient.examples.groups()) {
            ([Some(only), None], 1) => {
                self.tiles(Some(self.gradient.part(only, self.gradient.examples.group(0), self.group)))
            }
            _ => self.tiles(None),
        }
    }
}

impl<T: Scalar, S: Tiled<T>, E: Epilogue<T, S>> GradientColumn<'_, S, T, E> {
    #[inline(always)]
    fn tiles(&self, only: Option<Part<T>>) {
        let mut row = self.rows.start;
        while row < self.rows.end {
            let left = self.rows.end - row;
            // SAFETY: `gradient` is called with valid operands; the tile takes at most the rows that are left.
            row += unsafe { self.s.gradient_tile(self.gradient, only, row, left, self.group) };
        }
    }
}

/// Part of the sum for one group of inputs: one group of examples of one term.
#[derive(Clone, Copy)]
pub(crate) struct Part<T> {
    /// The deltas of row 0, with rows `ld` elements apart.
    delta: *const T,
    ld: usize,
    /// The inputs of the first example.
    x: *const T,
    /// Examples.
    len: usize,
}

impl<T, E> Gradient<T, E> {
    #[inline(always)]
    fn part(&self, outer: Outer<T>, examples: Group, group: Group) -> Part<T> {
        Part {
            delta: outer.delta.at(0, examples),
            ld: examples.width,
            x: outer.x.at(outer.first + examples.first, group),
            len: examples.len,
        }
    }
}

/// One tile of a gradient.
///
/// # Safety
/// As [`gradient`], for the rows `row..row + MR` and `group`, which has `NV` vectors; `only` is the whole sum if there.
#[inline(always)]
pub(crate) unsafe fn gradient_tile<T, S, E, const MR: usize, const NV: usize>(
    s: S,
    gradient: &Gradient<T, E>,
    only: Option<Part<T>>,
    row: usize,
    group: Group,
) where
    T: Scalar,
    S: Simd<T>,
    E: Epilogue<T, S>,
{
    debug_assert_eq!(group.vectors, NV);
    gradient.epilogue.prepare::<MR, NV>(s, row, group);
    if let Some(init) = gradient.init {
        for i in 0..MR {
            for j in 0..NV {
                s.prefetch(init.at(row + i, group).wrapping_add(j * S::LANES));
            }
        }
    }
    let mut acc = zeros::<T, S, MR, NV>(s);
    if E::SQUARES {
        for examples in gradient.examples.iter(0..gradient.examples.groups()) {
            let parts = gradient.terms.map(|outer| outer.map(|outer| gradient.part(outer, examples, group)));
            // SAFETY: the caller vouches for the operands.
            acc = unsafe { squares(s, acc, parts, row) };
        }
    } else if let Some(part) = only {
        // SAFETY: the caller vouches for the operands.
        acc = unsafe { part.accumulate(s, acc, row) };
    } else {
        for outer in gradient.terms.iter().flatten() {
            for examples in gradient.examples.iter(0..gradient.examples.groups()) {
                // SAFETY: the caller vouches for the operands.
                acc = unsafe { gradient.part(*outer, examples, group).accumulate(s, acc, row) };
            }
        }
    }
    if let Some(init) = gradient.init {
        // SAFETY: the caller vouches for these rows and this group.
        acc = add::<T, S, MR, NV>(s, acc, unsafe { load(s, init, row, group) });
    }
    // SAFETY: the caller vouches for the epilogue's pointers.
    unsafe { gradient.epilogue.finish(s, acc, row, group) };
}

/// Adds the squares `(Σ_t δ_t x_t)²` of one group of examples: the diagonal of their gradients' second moment. No
/// square is stored before the sum; each takes one product more than a sum.
///
/// # Safety
/// As [`Part::accumulate`].
#[inline(always)]
unsafe fn squares<T: Scalar, S: Simd<T>, const MR: usize, const NV: usize>(
    s: S,
    mut acc: Acc<S::V, MR, NV>,
    parts: [Option<Part<T>>; 2],
    row: usize,
) -> Acc<S::V, MR, NV> {
    let [Some(first), second] = parts else { return acc };
    for k in 0..first.len {
        // SAFETY: the caller vouches for the operands.
        let x = |part: Part<T>, j| unsafe { s.load(part.x.add(k * NV * S::LANES + j * S::LANES)) };
        // SAFETY: as above.
        let delta = |part: Part<T>, i| s.splat(unsafe { *part.delta.add((row + i) * part.ld + k) });
        for (i, acc) in acc.iter_mut().enumerate() {
            let d = delta(first, i);
            for (j, acc) in acc.iter_mut().enumerate() {
                let mut sum = s.mul(d, x(first, j));
                if let Some(second) = second {
                    sum = s.mul_add(delta(second, i), x(second, j), sum);
                }
                *acc = s.mul_add(sum, sum, *acc);
            }
        }
    }
    acc
}

impl<T: Scalar> Part<T> {
    /// Adds the part to the sums of the rows from `row` on.
    ///
    /// # Safety
    /// The operands are valid for reading in these rows, and the group of inputs has `NV` vectors.
    #[inline(always)]
    unsafe fn accumulate<S: Simd<T>, const MR: usize, const NV: usize>(
        self,
        s: S,
        acc: Acc<S::V, MR, NV>,
        row: usize,
    ) -> Acc<S::V, MR, NV> {
        let Self { delta, ld, x, len } = self;
        let term = Term { a: delta.wrapping_add(row * ld), lda: ld, b: x, ldb: NV * S::LANES, k: len };
        // SAFETY: the caller vouches for the operands.
        unsafe { accumulate::<T, S, RowMajor, MR, NV>(s, acc, term) }
    }
}
