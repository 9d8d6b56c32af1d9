//! Epilogues of the weight gradient.

use super::tile::{Acc, Epilogue};
use crate::layout::Group;
use crate::simd::Simd;

/// `W ← max(W − scale · dW, low)`, the gradient being the accumulators: it need not be stored.
///
/// The product and the difference are rounded one after the other, as a caller's own loop over a handed-out gradient
/// would round them.
pub(crate) struct Step<T> {
    /// The weights, row-major.
    pub w: *mut T,
    /// Distance of their rows.
    pub ld: usize,
    /// Learning rate times correction times factor.
    pub scale: T,
    /// 0 for weights that keep their sign, −∞ for others.
    pub low: T,
}

/// `dW`, stored row-major.
pub(crate) struct HandOut<T> {
    /// The gradient.
    pub grad: *mut T,
    /// Distance of its rows.
    pub ld: usize,
}

/// Replaces vector after vector of the tile's part of a row-major matrix by `f(matrix, dW)`.
///
/// A tile that ends inside a vector has a path of its own, lest every vector of every tile ask: the questions kept the
/// accumulators from staying in registers and cost a tenth of an update.
///
/// # Safety
/// The matrix is valid for reading and writing in the rows `row..row + MR` and the columns of `group`.
#[inline(always)]
unsafe fn replace<T: Copy, S: Simd<T>, const MR: usize, const NV: usize>(
    s: S,
    acc: Acc<S::V, MR, NV>,
    (matrix, ld): (*mut T, usize),
    (row, group): (usize, Group),
    f: impl Fn(S::V, S::V) -> S::V,
) {
    let matrix = matrix.wrapping_add(row * ld + group.start);
    let whole = group.len == group.width;
    for (i, dw) in acc.into_iter().enumerate() {
        for (j, dw) in dw.into_iter().enumerate() {
            let w = matrix.wrapping_add(i * ld + j * S::LANES);
            // SAFETY: the caller vouches for the matrix.
            unsafe {
                if whole {
                    s.store(w, f(s.load(w), dw));
                } else {
                    let lanes = (group.len - j * S::LANES).min(S::LANES);
                    s.store_first(w, f(s.load_first(w, lanes), dw), lanes);
                }
            }
        }
    }
}

impl<T: Copy, S: Simd<T>> Epilogue<T, S> for Step<T> {
    /// The rows of large weights are pages apart, where the machine does not guess which line is next.
    #[inline(always)]
    fn prepare<const MR: usize, const NV: usize>(&self, s: S, row: usize, group: Group) {
        let mut w = self.w.wrapping_add(row * self.ld + group.start);
        for _ in 0..MR {
            for j in 0..NV {
                s.prefetch(w.wrapping_add(j * S::LANES));
            }
            s.prefetch(w.wrapping_add(NV * S::LANES - 1));
            w = w.wrapping_add(self.ld);
        }
    }

    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        let (scale, low) = (s.splat(self.scale), s.splat(self.low));
        // SAFETY: the caller vouches for the weights in these rows and columns.
        unsafe {
            replace(s, acc, (self.w, self.ld), (row, group), |w, dw| s.at_least(s.sub(w, s.mul(scale, dw)), low));
        }
    }
}

impl<T: Copy, S: Simd<T>> Epilogue<T, S> for HandOut<T> {
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        // SAFETY: the caller vouches for the gradient in these rows and columns.
        unsafe { replace(s, acc, (self.grad, self.ld), (row, group), |_, dw| dw) };
    }
}
