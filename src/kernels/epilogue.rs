//! What epilogues of several layers share: a plain store, sums over the examples, the nonlinearity.

use super::tile::{Acc, Epilogue};
use crate::layout::{Group, Grouped};
use crate::simd::{Scalar, Simd};

/// A plain store.
pub(crate) struct Store<T> {
    pub out: Grouped<T>,
}

impl<T: Scalar, S: Simd<T>> Epilogue<T, S> for Store<T> {
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        for (i, x) in acc.into_iter().enumerate() {
            for (j, x) in x.into_iter().enumerate() {
                // SAFETY: the caller vouches for the epilogue's pointers in these rows and this group.
                unsafe { s.store(self.out.at(row + i, group).add(j * S::LANES), x) };
            }
        }
    }
}

/// Sums over the examples, one for each group of examples: row `r` of group `j` is at `(j + 1) · rows + r`, after the
/// sums of the slabs before. Adding them up in order gives the same bits whichever threads computed them.
#[derive(Debug)]
pub(crate) struct Partials<T> {
    ptr: *mut T,
    rows: usize,
    squares: bool,
}

impl<T> Clone for Partials<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Partials<T> {}

impl<T> Partials<T> {
    /// `rows` sums, and then `rows` for each group, at `ptr`; of the squares of what is summed up if `squares`.
    pub fn new(ptr: *mut T, rows: usize, squares: bool) -> Self {
        Self { ptr, rows, squares }
    }

    pub fn at(&self, row: usize, group: Group) -> *mut T {
        self.ptr.wrapping_add((group.index + 1) * self.rows + row)
    }

    /// `sum + x`, or `sum + x²`.
    #[inline(always)]
    pub fn add<S: Simd<T>>(&self, s: S, sum: S::V, x: S::V) -> S::V
    where
        T: Scalar,
    {
        if self.squares { s.mul_add(x, x, sum) } else { s.add(sum, x) }
    }

    /// `sum + x · y`, or `sum + (x · y)²`.
    #[inline(always)]
    pub fn mul_add<S: Simd<T>>(&self, s: S, x: S::V, y: S::V, sum: S::V) -> S::V
    where
        T: Scalar,
    {
        if self.squares {
            let product = s.mul(x, y);
            return s.mul_add(product, product, sum);
        }
        s.mul_add(x, y, sum)
    }
}

/// The gradient at `z`: `dz = dh ⊙ f'(z)`, with ReLU's `f'` read off `h > 0`. Where `h` is not positive it is zero or
/// NaN, and so is the gradient: a NaN that was made inside the layer is not lost.
#[inline(always)]
pub(crate) unsafe fn through_activation<T: Scalar, S: Simd<T>>(
    s: S,
    dh: S::V,
    h: Option<Grouped<T>>,
    row: usize,
    group: Group,
    lane: usize,
) -> S::V {
    match h {
        // SAFETY: the caller vouches for `h` in this row and group.
        Some(h) => s.where_positive(unsafe { s.load(h.at(row, group).add(lane)) }, dh),
        None => dh,
    }
}

/// The end of every layer: `h = f(z)`, zero in the padding of the batch.
///
/// # Safety
/// `h + vector · LANES` is valid for writing a vector.
#[inline(always)]
pub(crate) unsafe fn activate<T: Scalar, S: Simd<T>>(
    s: S,
    z: S::V,
    relu: bool,
    h: *mut T,
    group: Group,
    vector: usize,
) {
    let h_vector = if relu { s.at_least(z, s.zero()) } else { z };
    let lane = vector * S::LANES;
    let h_vector =
        if lane + S::LANES > group.len { s.first(h_vector, group.len.saturating_sub(lane)) } else { h_vector };
    // SAFETY: the caller vouches for a vector at `h + lane`.
    unsafe { s.store(h.add(lane), h_vector) };
}
