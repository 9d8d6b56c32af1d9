//! The epilogues of interneurons and of the units that they inhibit.

use super::division::{Divide, Other, Plain};
use super::low::Lows;
use crate::kernels::access::{Access, DotProduct, Operand, RowMajor, Transposed};
use crate::kernels::epilogue::{Partials, Store, activate, through_activation};
use crate::kernels::tile::{Acc, Epilogue, load, zeros};
use crate::kernels::{ForwardKernels, KernelTable, Tiled, TransposedKernels};
use crate::layout::{Group, Grouped};
use crate::simd::{Scalar, Simd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The kernels of interneurons, and of units that they divide.
pub(crate) struct InhibitionKernels<T> {
    pub interneurons: ForwardKernels<T, Interneurons<T>>,
    pub inhibit: DividingKernels<T, Plain<T>>,
    /// For divisors other than the plain one.
    pub inhibit_other: DividingKernels<T, Other<T>>,
    pub count_lows: ForwardKernels<T, CountLows<T>>,
    pub receive: TransposedKernels<T, InhibitBackward<T, Plain<T>>>,
    pub receive_other: TransposedKernels<T, InhibitBackward<T, Other<T>>>,
    pub interneurons_backward: TransposedKernels<T, InterneuronsBackward<T>>,
}

/// The forward kernels of units that one kind of divisor divides.
type DividingKernels<T, D> = ForwardKernels<T, Inhibit<T, RowMajor, D>, Inhibit<T, DotProduct, D>>;

impl<T: Scalar> KernelTable<T> for InhibitionKernels<T> {
    fn of<S: Tiled<T>>() -> &'static Self {
        const {
            &Self {
                interneurons: ForwardKernels::of::<S>(),
                inhibit: ForwardKernels::of::<S>(),
                inhibit_other: ForwardKernels::of::<S>(),
                count_lows: ForwardKernels::of::<S>(),
                receive: TransposedKernels::of::<S>(),
                receive_other: TransposedKernels::of::<S>(),
                interneurons_backward: TransposedKernels::of::<S>(),
            }
        }
    }
}

/// `zI` as the excitatory units need it: `−zI` for the subtraction (so that every term of a product adds) and
/// `a ⊙ zI`, or its square, for the division.
pub(crate) struct Interneurons<T> {
    /// `−zI [ni, B]`
    pub minus_zi: Grouped<T>,
    /// `a ⊙ zI [ni, B]` and `a [ni]`; none without division.
    pub divisive: Option<(Grouped<T>, *const T)>,
    /// Where `a ⊙ zI` is to be squared, with a root.
    pub squared: Option<Grouped<T>>,
}

impl<T: Scalar, S: Simd<T>> Epilogue<T, S> for Interneurons<T> {
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        for (i, zi) in acc.into_iter().enumerate() {
            for (j, zi) in zi.into_iter().enumerate() {
                // SAFETY: the caller vouches for the epilogue's pointers in these rows and this group.
                unsafe {
                    s.store(self.minus_zi.at(row + i, group).add(j * S::LANES), s.sub(s.zero(), zi));
                    if let Some((azi, a)) = self.divisive {
                        let a = s.splat(*a.add(row + i));
                        s.store(azi.at(row + i, group).add(j * S::LANES), s.mul(a, zi));
                    }
                }
            }
        }
        // Apart, so that others are not asked for each vector.
        if let Some(azi) = self.squared {
            // SAFETY: as above.
            unsafe {
                let mut squares = load::<T, S, MR, NV>(s, azi, row, group);
                for azi in squares.as_flattened_mut() {
                    *azi = s.mul(*azi, *azi);
                }
                Store { out: azi }.finish(s, squares, row, group);
            }
        }
    }
}

/// `h = f(g ⊙ (zE − s) / γ + b)` with a γ made of `(a ⊙ zI) Weiᵀ`: the accumulators come in as `zE − s`.
///
/// γ is a second product of the same tile. Its registers are free because the compiler parks `zE − s` on the stack,
/// one store and one load per vector, against `d + 2·ni` multiply-adds.
pub(crate) struct Inhibit<T, W: Access, D> {
    /// `Wei [ne, ni]` and `a ⊙ zI [ni, B]`
    pub gamma: Operand<T, W>,
    /// What is made of the sum.
    pub divide: D,
    /// `g [ne]`
    pub g: *const T,
    /// `b [ne]`
    pub b: *const T,
    /// ReLU or identity.
    pub relu: bool,
    /// `h [ne, B]`
    pub h: Grouped<T>,
    /// `ẑ [ne, B]` and what is kept of `1/γ [ne, B]`, for the backward pass.
    pub keep: Option<(Grouped<T>, Grouped<T>)>,
    /// Set if a divisor is below its bound.
    pub any_low: *const AtomicBool,
}

/// Counts divisors below their bound, without the padding of the batch: the accumulators come in as `γ − ε`.
pub(crate) struct CountLows<T> {
    /// ε
    pub epsilon: T,
    /// The bound.
    pub bound: T,
    /// Where they are counted.
    pub lows: *const Lows,
}

impl<T: Scalar, S: Simd<T>> Epilogue<T, S> for CountLows<T> {
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, _: usize, group: Group) {
        /// The most lanes of a vector.
        const LANES: usize = 16;
        const { assert!(S::LANES <= LANES, "a vector has its place") };
        let (mut count, mut smallest) = (0, self.bound);
        let mut lanes = [T::ZERO; LANES];
        for gamma in acc {
            for (j, gamma) in gamma.into_iter().enumerate() {
                // SAFETY: there are as many lanes as a vector can have.
                unsafe { s.store(lanes.as_mut_ptr(), s.add(gamma, s.splat(self.epsilon))) };
                for &gamma in lanes.iter().take(S::LANES.min(group.len.saturating_sub(j * S::LANES))) {
                    count += usize::from(gamma < self.bound);
                    smallest = if gamma < smallest { gamma } else { smallest };
                }
            }
        }
        if count > 0 {
            // SAFETY: the caller vouches for the epilogue's pointers.
            unsafe { (*self.lows).add(count, smallest.to_f64()) };
        }
    }
}

impl<T: Scalar, S: Simd<T>, W: Access, D: Divide<T>> Epilogue<T, S> for Inhibit<T, W, D> {
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        // SAFETY: the caller vouches for the epilogue's pointers in these rows and this group.
        let gamma = unsafe { W::product(s, zeros::<T, S, MR, NV>(s), self.gamma, row, group) };
        let bound = s.splat(self.divide.bound());
        let mut least = bound;
        for (i, (difference, gamma)) in acc.into_iter().zip(gamma).enumerate() {
            // SAFETY: as above.
            unsafe {
                let g = s.splat(*self.g.add(row + i));
                let b = s.splat(*self.b.add(row + i));
                for (j, (difference, gamma)) in difference.into_iter().zip(gamma).enumerate() {
                    let gamma = self.divide.unbounded(s, gamma);
                    least = s.at_most(least, gamma);
                    let [inverse, kept] = self.divide.inverse(s, gamma);
                    let standardised = s.mul(difference, inverse);
                    if let Some((zhat, inv_gamma)) = self.keep {
                        s.store(zhat.at(row + i, group).add(j * S::LANES), standardised);
                        s.store(inv_gamma.at(row + i, group).add(j * S::LANES), kept);
                    }
                    activate(s, s.mul_add(g, standardised, b), self.relu, self.h.at(row + i, group), group, j);
                }
            }
        }
        // No term is negative, so that none hides another. A call from here, or a count, would cost the tile a register.
        if s.sum(s.sub(bound, least)) > T::ZERO {
            // SAFETY: as above.
            unsafe { (*self.any_low).store(true, Ordering::Relaxed) };
        }
    }
}

/// From `dh`, the accumulators, to `du`, `dγ`, `db` and `dg` of a layer that divides.
pub(crate) struct InhibitBackward<T, D> {
    /// What was made of the sum that divides.
    pub divide: D,
    /// `h [ne, B]`, read for ReLU's derivative; none for the identity.
    pub h: Option<Grouped<T>>,
    /// `g [ne]`
    pub g: *const T,
    /// What was kept of `1/γ [ne, B]` comes in, `du` goes out.
    pub inv_gamma_to_du: Grouped<T>,
    /// `ẑ [ne, B]` comes in, the gradient by the sum goes out: `dγ` where ε is added to it.
    pub zhat_to_dgamma: Grouped<T>,
    /// `db`, written.
    pub db: Partials<T>,
    /// `dg`, written.
    pub dg: Partials<T>,
}

impl<T: Scalar, S: Simd<T>, D: Divide<T>> Epilogue<T, S> for InhibitBackward<T, D> {
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        for (i, dh) in acc.into_iter().enumerate() {
            let mut db = s.zero();
            let mut dg = s.zero();
            // SAFETY: the caller vouches for the epilogue's pointers in these rows and this group.
            unsafe {
                let g = s.splat(*self.g.add(row + i));
                for (j, dh) in dh.into_iter().enumerate() {
                    let dz = through_activation(s, dh, self.h, row + i, group, j * S::LANES);
                    let du = self.inv_gamma_to_du.at(row + i, group).add(j * S::LANES);
                    let dgamma = self.zhat_to_dgamma.at(row + i, group).add(j * S::LANES);
                    let (kept, zhat) = (s.load(du), s.load(dgamma));
                    db = self.db.add(s, db, dz);
                    dg = self.dg.mul_add(s, dz, zhat, dg);
                    let du_vector = s.mul(s.mul(dz, g), self.divide.kept(s, kept));
                    s.store(du, du_vector);
                    s.store(dgamma, self.divide.dsum(s, s.mul(du_vector, zhat), kept));
                }
                *self.db.at(row + i, group) = s.sum(db);
                *self.dg.at(row + i, group) = s.sum(dg);
            }
        }
    }
}

/// From `P = du Wei`, the accumulators, to `dzI = −P + a ⊙ Q`, and `dalpha = Σ_B a ⊙ zI ⊙ Q` with `Q = dγ Wei`. With a
/// root, `dzI = −P + 2 a² ⊙ zI ⊙ Q` and `dalpha = Σ_B 2 (a ⊙ zI)² ⊙ Q` with `Q = dγ/(2γ) Wei`.
pub(crate) struct InterneuronsBackward<T, W: Access = Transposed> {
    /// `dzI [ni, B]`, written.
    pub dzi: Grouped<T>,
    /// What division adds; none without it.
    pub divisive: Option<DivisiveBackward<T, W>>,
    /// What division by a root adds, in its place.
    pub root: Option<RootBackward<T, W>>,
}

/// `Q [ni, B] = dγ Wei`
pub(crate) enum Q<T, W: Access> {
    /// The tile's own sum, of `Wei [ne, ni]` (or its transpose, by rows) and `dγ [ne, B]`.
    Sum(Operand<T, W>),
    /// Stored before, for large layers.
    Stored(Grouped<T>),
}

impl<T: Scalar, W: Access> Q<T, W> {
    /// A tile of it.
    ///
    /// # Safety
    /// Its pointers are valid for reading in the rows `row..row + MR` and the columns of `group`.
    #[inline(always)]
    unsafe fn tile<S: Simd<T>, const MR: usize, const NV: usize>(
        &self,
        s: S,
        row: usize,
        group: Group,
    ) -> Acc<S::V, MR, NV> {
        // SAFETY: the caller vouches for the pointers.
        unsafe {
            match *self {
                Self::Sum(operand) => W::product(s, zeros::<T, S, MR, NV>(s), operand, row, group),
                Self::Stored(q) => load(s, q, row, group),
            }
        }
    }
}

/// The divisive part of [`InterneuronsBackward`] with a root.
pub(crate) struct RootBackward<T, W: Access> {
    pub divisive: DivisiveBackward<T, W>,
    /// `−zI [ni, B]`
    pub minus_zi: Grouped<T>,
}

impl<T: Scalar, W: Access> RootBackward<T, W> {
    /// `dzI += 2 a² ⊙ zI ⊙ Q`, and dalpha.
    ///
    /// # Safety
    /// As [`Epilogue::finish`].
    #[inline(always)]
    unsafe fn add<S: Simd<T>, const MR: usize, const NV: usize>(
        &self,
        s: S,
        dzi: &mut Acc<S::V, MR, NV>,
        row: usize,
        group: Group,
    ) {
        let Self { divisive: DivisiveBackward { q, a, azi, dalpha: sums }, minus_zi } = self;
        // SAFETY: the caller vouches for the epilogue's pointers in these rows and this group.
        let q = unsafe { q.tile::<S, MR, NV>(s, row, group) };
        for (i, (dzi, q)) in dzi.iter_mut().zip(q).enumerate() {
            let mut dalpha = s.zero();
            // SAFETY: as above.
            unsafe {
                let a = *a.add(row + i);
                let minus_square = s.splat(-(a * a));
                for (j, (dzi, q)) in dzi.iter_mut().zip(q).enumerate() {
                    let twice = s.add(q, q);
                    let minus_zi = s.load(minus_zi.at(row + i, group).add(j * S::LANES));
                    *dzi = s.mul_add(s.mul(minus_square, minus_zi), twice, *dzi);
                    let square = s.load(azi.at(row + i, group).add(j * S::LANES));
                    dalpha = sums.mul_add(s, square, twice, dalpha);
                }
                *sums.at(row + i, group) = s.sum(dalpha);
            }
        }
    }
}

/// The divisive part of [`InterneuronsBackward`].
pub(crate) struct DivisiveBackward<T, W: Access> {
    pub q: Q<T, W>,
    /// `a [ni]`
    pub a: *const T,
    /// `a ⊙ zI [ni, B]`, or its square with a root.
    pub azi: Grouped<T>,
    /// `dalpha`, written.
    pub dalpha: Partials<T>,
}

impl<T: Scalar, S: Simd<T>, W: Access> Epilogue<T, S> for InterneuronsBackward<T, W> {
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        let mut dzi = acc;
        for p in dzi.as_flattened_mut() {
            *p = s.sub(s.zero(), *p);
        }
        if let Some(root) = &self.root {
            // SAFETY: the caller vouches for the epilogue's pointers in these rows and this group.
            unsafe { root.add(s, &mut dzi, row, group) };
        } else if let Some(divisive) = &self.divisive {
            // SAFETY: the caller vouches for the epilogue's pointers in these rows and this group.
            let q = unsafe { divisive.q.tile::<S, MR, NV>(s, row, group) };
            for (i, (dzi, q)) in dzi.iter_mut().zip(q).enumerate() {
                let mut dalpha = s.zero();
                // SAFETY: as above.
                unsafe {
                    let a = s.splat(*divisive.a.add(row + i));
                    for (j, (dzi, q)) in dzi.iter_mut().zip(q).enumerate() {
                        *dzi = s.mul_add(a, q, *dzi);
                        let azi = s.load(divisive.azi.at(row + i, group).add(j * S::LANES));
                        dalpha = divisive.dalpha.mul_add(s, azi, q, dalpha);
                    }
                    *divisive.dalpha.at(row + i, group) = s.sum(dalpha);
                }
            }
        }
        // SAFETY: as above.
        unsafe { Store { out: self.dzi }.finish(s, dzi, row, group) };
    }
}
