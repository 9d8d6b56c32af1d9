//! Epilogues of the weight gradient.

use super::tile::{Acc, Epilogue};
use crate::layout::Group;
use crate::simd::Simd;

/// `W ← max(W − scale · dW, low)`, the gradient being the accumulators: it is never stored.
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

/// Where vector `j` of a row belongs in a row-major matrix, and how many of its lanes are inside.
#[inline(always)]
fn place<T>((matrix, ld): (*mut T, usize), row: usize, group: Group, j: usize, lanes: usize) -> (*mut T, usize) {
    let lane = j * lanes;
    (matrix.wrapping_add(row * ld + group.start + lane), (group.len - lane).min(lanes))
}

impl<T: Copy, S: Simd<T>> Epilogue<T, S> for Step<T> {
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        let scale = s.splat(self.scale);
        let low = s.splat(self.low);
        for (i, dw) in acc.into_iter().enumerate() {
            for (j, dw) in dw.into_iter().enumerate() {
                let (w, lanes) = place((self.w, self.ld), row + i, group, j, S::LANES);
                let change = s.mul(scale, dw);
                // SAFETY: the caller vouches for the weights in these rows and columns.
                unsafe {
                    if lanes == S::LANES {
                        s.store(w, s.at_least(s.sub(s.load(w), change), low));
                    } else {
                        s.store_first(w, s.at_least(s.sub(s.load_first(w, lanes), change), low), lanes);
                    }
                }
            }
        }
    }
}

impl<T: Copy, S: Simd<T>> Epilogue<T, S> for HandOut<T> {
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        for (i, dw) in acc.into_iter().enumerate() {
            for (j, dw) in dw.into_iter().enumerate() {
                let (grad, lanes) = place((self.grad, self.ld), row + i, group, j, S::LANES);
                // SAFETY: the caller vouches for the gradient in these rows and columns.
                unsafe {
                    if lanes == S::LANES {
                        s.store(grad, dw);
                    } else {
                        s.store_first(grad, dw, lanes);
                    }
                }
            }
        }
    }
}
