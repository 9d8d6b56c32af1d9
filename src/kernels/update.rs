//! Epilogues of the weight gradient: the plain step, and what else becomes of gradients. Steps by any other rule are in
//! [`crate::optim::policy`].

use super::tile::{Acc, Epilogue};
use crate::layout::Group;
use crate::simd::{Scalar, Simd};

/// `W ← max(W − scale · dW, low)`, the gradient being the accumulators: it need not be stored. The fast path
/// of plain projected descent.
#[derive(Clone, Copy)]
pub(crate) struct Step<T, V = T> {
    /// The weights, row-major.
    pub w: *mut T,
    /// Distance of their rows.
    pub ld: usize,
    /// Learning rate times correction times factor.
    pub scale: V,
    /// 0 for weights that keep their sign, −∞ for others.
    pub low: V,
}

/// `dW`, stored row-major.
#[derive(Clone, Copy)]
pub(crate) struct StoreGradient<T> {
    /// The gradient.
    pub grad: *mut T,
    /// Distance of its rows.
    pub ld: usize,
}

/// `F ← min(keep · F + scale · Σ_B (∂W)², MAX)`: the accumulators are sums of squares.
#[derive(Clone, Copy)]
pub(crate) struct Curvature<T> {
    /// `F`, row-major.
    pub fisher: *mut T,
    /// Distance of its rows.
    pub ld: usize,
    pub keep: T,
    pub scale: T,
}

/// What an epilogue does with each vector of a gradient; no closure, see [`crate::simd::Vectorized::call`].
pub(crate) trait ForEach<T: Scalar, S: Simd<T>>: Copy {
    /// Treats `x`, whose place is `at` elements from the beginning of a row-major matrix.
    ///
    /// # Safety
    /// The arrays are valid for reading and writing these lanes.
    unsafe fn vector(self, s: S, at: usize, lanes: Lanes, x: S::V);
}

/// Treats all vectors of a tile.
///
/// A tile with a partial last vector takes a path of its own: testing every vector spilled accumulators and cost a
/// tenth of an update.
///
/// # Safety
/// As [`Epilogue::finish`].
#[inline(always)]
pub(crate) unsafe fn for_each<T: Scalar, S: Simd<T>, const MR: usize, const NV: usize>(
    s: S,
    acc: Acc<S::V, MR, NV>,
    ld: usize,
    (row, group): (usize, Group),
    work: impl ForEach<T, S>,
) {
    let at = |i, j| (row + i) * ld + group.start + j * S::LANES;
    if group.len == group.width {
        for (i, x) in acc.into_iter().enumerate() {
            for (j, x) in x.into_iter().enumerate() {
                // SAFETY: the caller vouches for the arrays in these rows and columns.
                unsafe { work.vector(s, at(i, j), Lanes::All, x) };
            }
        }
        return;
    }
    for (i, x) in acc.into_iter().enumerate() {
        for (j, x) in x.into_iter().enumerate() {
            let lanes = Lanes::First((group.len - j * S::LANES).min(S::LANES));
            // SAFETY: as above.
            unsafe { work.vector(s, at(i, j), lanes, x) };
        }
    }
}

/// The lanes of a vector that are inside an array.
#[derive(Clone, Copy)]
pub(crate) enum Lanes {
    All,
    First(usize),
}

impl Lanes {
    /// # Safety
    /// `p` is valid for reading these lanes.
    #[inline(always)]
    pub unsafe fn load<T: Scalar, S: Simd<T>>(self, s: S, p: *const T) -> S::V {
        // SAFETY: the caller vouches for `p`.
        unsafe {
            match self {
                Self::All => s.load(p),
                Self::First(n) => s.load_first(p, n),
            }
        }
    }

    /// # Safety
    /// `p` is valid for writing these lanes.
    #[inline(always)]
    pub unsafe fn store<T: Scalar, S: Simd<T>>(self, s: S, p: *mut T, x: S::V) {
        // SAFETY: the caller vouches for `p`.
        unsafe {
            match self {
                Self::All => s.store(p, x),
                Self::First(n) => s.store_first(p, x, n),
            }
        }
    }
}

/// Prefetches a tile of a row-major matrix. The rows of large weights are pages apart, where the hardware does not
/// guess which line is next.
#[inline(always)]
pub(crate) fn prefetch<T: Scalar, S: Simd<T>, const MR: usize, const NV: usize>(
    s: S,
    matrix: *const T,
    ld: usize,
    (row, group): (usize, Group),
) {
    let mut w = matrix.wrapping_add(row * ld + group.start);
    for _ in 0..MR {
        for j in 0..NV {
            s.prefetch(w.wrapping_add(j * S::LANES));
        }
        s.prefetch(w.wrapping_add(NV * S::LANES - 1));
        w = w.wrapping_add(ld);
    }
}

impl<T: Scalar, S: Simd<T>> Epilogue<T, S> for Step<T> {
    #[inline(always)]
    fn prepare<const MR: usize, const NV: usize>(&self, s: S, row: usize, group: Group) {
        prefetch::<T, S, MR, NV>(s, self.w, self.ld, (row, group));
    }

    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        let Self { w, ld, scale, low } = *self;
        let vectors = Step { w, ld, scale: s.splat(scale), low: s.splat(low) };
        // SAFETY: the caller vouches for the arrays.
        unsafe { for_each(s, acc, ld, (row, group), vectors) };
    }
}

impl<T: Scalar, S: Simd<T>> ForEach<T, S> for Step<T, S::V> {
    #[inline(always)]
    unsafe fn vector(self, s: S, at: usize, lanes: Lanes, dw: S::V) {
        let w = self.w.wrapping_add(at);
        // SAFETY: the caller vouches for the weights.
        unsafe { lanes.store(s, w, s.at_least(s.sub(lanes.load(s, w), s.mul(self.scale, dw)), self.low)) };
    }
}

impl<T: Scalar, S: Simd<T>> Epilogue<T, S> for StoreGradient<T> {
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        // SAFETY: the caller vouches for the arrays.
        unsafe { for_each(s, acc, self.ld, (row, group), *self) };
    }
}

impl<T: Scalar, S: Simd<T>> ForEach<T, S> for StoreGradient<T> {
    #[inline(always)]
    unsafe fn vector(self, s: S, at: usize, lanes: Lanes, dw: S::V) {
        // SAFETY: the caller vouches for the gradient.
        unsafe { lanes.store(s, self.grad.wrapping_add(at), dw) };
    }
}

impl<T: Scalar, S: Simd<T>> Epilogue<T, S> for Curvature<T> {
    const SQUARES: bool = true;

    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        // SAFETY: the caller vouches for the arrays.
        unsafe { for_each(s, acc, self.ld, (row, group), *self) };
    }
}

impl<T: Scalar, S: Simd<T>> ForEach<T, S> for Curvature<T> {
    #[inline(always)]
    unsafe fn vector(self, s: S, at: usize, lanes: Lanes, squares: S::V) {
        let f = self.fisher.wrapping_add(at);
        // An infinity would stay.
        let [keep, scale, least] = [s.splat(self.keep), s.splat(self.scale), s.splat(-T::MAX)];
        // SAFETY: the caller vouches for F.
        unsafe {
            let sum = s.add(s.mul(keep, lanes.load(s, f)), s.mul(scale, squares));
            lanes.store(s, f, s.sub(s.zero(), s.at_least(s.sub(s.zero(), sum), least)));
        }
    }
}
