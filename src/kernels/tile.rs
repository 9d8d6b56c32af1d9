//! The register tile: `acc[i][j] += Σ_k A[i, k] · B[k, j]`, the product under the kernels for all but the smallest
//! batches.
//!
//! `A` is the operand that is broadcast, one element at a time: weights, or a layer's deltas. `B` is the operand that
//! is loaded as vectors: activations in the [`crate::layout`] of the kernels.
//! How a tile finds its elements is an [`Access`](super::access::Access); what happens to its accumulators afterwards is
//! an [`Epilogue`].
//!
//! A tile of MR rows and NV vectors issues MR·NV multiply-adds for MR + NV loads. With two multiply-adds and two loads
//! a cycle and four cycles of latency it needs MR·NV ≥ 8 to keep the units busy, and MR·NV + NV + 1 registers:
//! 12 × 2 fits the 32 registers of AVX-512, 6 × 2 the 16 of AVX2.

use crate::layout::{Group, Grouped};
use crate::simd::{Scalar, Simd};

/// One product `A · B` that a tile adds up.
#[derive(Clone, Copy)]
pub(crate) struct Term<T> {
    /// `A` at the tile's first row and k = 0.
    pub a: *const T,
    /// Distance of stored rows of `A`.
    pub lda: usize,
    /// `B` at k = 0 and the tile's first column.
    pub b: *const T,
    /// Distance of rows of `B`.
    pub ldb: usize,
    /// Length of the sum.
    pub k: usize,
}

/// An access in which one element of `A` at a time meets vectors over the columns of `B`.
pub(crate) trait Broadcast: Copy + 'static {
    /// Index of `A[row, k]` from the first element, for a tile's first row.
    #[inline(always)]
    fn origin(row: usize, k: usize, ld: usize) -> usize {
        Self::index(row, k, ld)
    }
    /// Index of `A[row, k]` from the tile's first element.
    fn index(row: usize, k: usize, ld: usize) -> usize;
}

/// The accumulators of a tile: `MR` rows of `NV` vectors.
pub(crate) type Acc<V, const MR: usize, const NV: usize> = [[V; NV]; MR];

/// What is done with the accumulators of a tile while they are in registers.
pub(crate) trait Epilogue<T: Scalar, S: Simd<T>> {
    /// Whether a gradient hands it the sums over the examples of the squares `(Σ_t δ_t x_t)²` instead of the sums
    /// themselves.
    const SQUARES: bool = false;

    /// Prefetches what [`Epilogue::finish`] reads, before the sums are made.
    #[inline(always)]
    fn prepare<const MR: usize, const NV: usize>(&self, _: S, _row: usize, _group: Group) {}

    /// Consumes the tile whose first row is `row` and whose columns are `group`.
    ///
    /// # Safety
    /// The pointers of the epilogue are valid for the rows `row..row + MR` and the columns of `group`, and nothing
    /// else accesses what it writes.
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group);
}

/// A tile of zeros.
#[inline(always)]
pub(crate) fn zeros<T: Scalar, S: Simd<T>, const MR: usize, const NV: usize>(s: S) -> Acc<S::V, MR, NV> {
    [[s.zero(); NV]; MR]
}

/// The tile of a matrix that is stored in the groups of its columns.
///
/// # Safety
/// `from` is valid for reading the rows `row..row + MR` of `group`, which has `NV` vectors.
#[inline(always)]
pub(crate) unsafe fn load<T: Scalar, S: Simd<T>, const MR: usize, const NV: usize>(
    s: S,
    from: Grouped<T>,
    row: usize,
    group: Group,
) -> Acc<S::V, MR, NV> {
    let mut acc = zeros::<T, S, MR, NV>(s);
    for (i, acc) in acc.iter_mut().enumerate() {
        for (j, acc) in acc.iter_mut().enumerate() {
            // SAFETY: the caller vouches for these elements.
            *acc = unsafe { s.load(from.at(row + i, group).add(j * S::LANES)) };
        }
    }
    acc
}

/// `acc + other`
#[inline(always)]
pub(crate) fn add<T: Scalar, S: Simd<T>, const MR: usize, const NV: usize>(
    s: S,
    mut acc: Acc<S::V, MR, NV>,
    other: Acc<S::V, MR, NV>,
) -> Acc<S::V, MR, NV> {
    for (acc, other) in acc.iter_mut().zip(other) {
        for (acc, other) in acc.iter_mut().zip(other) {
            *acc = s.add(*acc, other);
        }
    }
    acc
}

/// `acc + A · B`, the sum over k in ascending order.
///
/// # Safety
/// `A` is valid for reading `MR` rows by `k`, `B` for reading `k` rows of `NV` vectors.
#[inline(always)]
pub(crate) unsafe fn accumulate<T: Scalar, S: Simd<T>, W: Broadcast, const MR: usize, const NV: usize>(
    s: S,
    mut acc: Acc<S::V, MR, NV>,
    term: Term<T>,
) -> Acc<S::V, MR, NV> {
    for k in 0..term.k {
        let mut b = [s.zero(); NV];
        for (j, b) in b.iter_mut().enumerate() {
            // SAFETY: the caller vouches for row k of `B`.
            *b = unsafe { s.load(term.b.add(k * term.ldb + j * S::LANES)) };
        }
        for (i, row) in acc.iter_mut().enumerate() {
            // SAFETY: the caller vouches for `MR` rows of `A`.
            let a = s.splat(unsafe { *term.a.add(W::index(i, k, term.lda)) });
            for (c, b) in row.iter_mut().zip(b) {
                *c = s.mul_add(a, b, *c);
            }
        }
    }
    acc
}
