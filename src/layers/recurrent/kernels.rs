//! The epilogues of a step through time, forward and back.

use crate::kernels::access::{Access, Operand, RowMajor};
use crate::kernels::epilogue::Partials;
use crate::kernels::gradient::{self, GradientKernel};
use crate::kernels::product::{self, ProductKernel};
use crate::kernels::tile::{Acc, Epilogue, load, zeros};
use crate::kernels::update::{ForEach, Lanes, for_each};
use crate::kernels::{KernelTable, Tiled};
use crate::layers::inhibition::division::{Divide, Other, Plain};
use crate::layers::inhibition::kernels::InterneuronsBackward;
use crate::layout::{Group, Grouped};
use crate::simd::{Scalar, Simd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The kernels of a recurrent layer.
pub(crate) struct RecurrentKernels<T> {
    pub advance: ProductKernel<T, RowMajor, Advance<T>>,
    pub advance_divided: ProductKernel<T, RowMajor, AdvanceDivided<T, Plain<T>>>,
    pub advance_divided_other: ProductKernel<T, RowMajor, AdvanceDivided<T, Other<T>>>,
    pub retreat: ProductKernel<T, RowMajor, Retreat<T>>,
    pub retreat_divided: ProductKernel<T, RowMajor, RetreatDivided<T, Plain<T>>>,
    pub retreat_divided_other: ProductKernel<T, RowMajor, RetreatDivided<T, Other<T>>>,
    pub interneurons_backward: ProductKernel<T, RowMajor, InterneuronsBackward<T, RowMajor>>,
    pub fold: GradientKernel<T, Fold<T>>,
}

impl<T: Scalar> KernelTable<T> for RecurrentKernels<T> {
    fn of<S: Tiled<T>>() -> &'static Self {
        const {
            &Self {
                advance: product::product::<T, S, _, _>,
                advance_divided: product::product::<T, S, _, _>,
                advance_divided_other: product::product::<T, S, _, _>,
                retreat: product::product::<T, S, _, _>,
                retreat_divided: product::product::<T, S, _, _>,
                retreat_divided_other: product::product::<T, S, _, _>,
                interneurons_backward: product::product::<T, S, _, _>,
                fold: gradient::gradient::<T, S, _>,
            }
        }
    }
}

/// From `z_t`, the accumulators, to the state of the step. What a step before or after this one has comes as an array
/// whose blocks are so many behind or before those of this step.
pub(crate) struct Advance<T> {
    pub rule: AdvanceRule<T>,
    /// `h_t [ne, B]`, written; negative from a unit on.
    pub h: Grouped<T>,
    pub negative_from: usize,
}

/// How a state follows: see [`Dynamics`](super::Dynamics).
pub(crate) enum AdvanceRule<T> {
    /// `h_t = f(z_t)`
    Plain,
    /// `h_t = (1−κ) h_{t−1} + κ f(z_t)`
    Rate {
        /// `κ [ne]`
        kappa: *const T,
        /// `h_{t−1} [ne, B]`
        before: Grouped<T>,
        /// `f(z_t) [ne, B]`, written.
        rates: Grouped<T>,
    },
    /// `v_t = (1−κ) v_{t−1} + κ z_t`, `h_t = f(v_t)`
    State {
        /// `κ [ne]`
        kappa: *const T,
        /// `v_{t−1} [ne, B]`
        before: Grouped<T>,
        /// `v_t [ne, B]`, written.
        v: Grouped<T>,
    },
}

/// `−x` where `negative`.
#[inline(always)]
fn signed<T: Scalar, S: Simd<T>>(s: S, x: S::V, negative: bool) -> S::V {
    if negative { s.sub(s.zero(), x) } else { x }
}

/// Without what is in the padding of the batch.
#[inline(always)]
fn inside<T: Scalar, S: Simd<T>>(s: S, x: S::V, group: Group, vector: usize) -> S::V {
    let lane = vector * S::LANES;
    if lane + S::LANES > group.len { s.first(x, group.len.saturating_sub(lane)) } else { x }
}

impl<T: Scalar> Advance<T> {
    /// One vector of a unit.
    ///
    /// # Safety
    /// The pointers are valid in this row and group.
    #[inline(always)]
    unsafe fn vector<S: Simd<T>>(&self, s: S, z: S::V, row: usize, group: Group, j: usize) {
        let at = |array: Grouped<T>| array.at(row, group).wrapping_add(j * S::LANES);
        let negative = row >= self.negative_from;
        let rate = |x| s.at_least(x, s.zero());
        // SAFETY: the caller vouches for the pointers.
        unsafe {
            let h = match self.rule {
                AdvanceRule::Plain => signed(s, rate(z), negative),
                AdvanceRule::Rate { kappa, before, rates } => {
                    let kappa = *kappa.add(row);
                    let f = rate(z);
                    s.store(at(rates), f);
                    let kept = s.mul(s.splat(T::ONE - kappa), s.load(at(before)));
                    s.flush(s.mul_add(s.splat(kappa), signed(s, f, negative), kept))
                }
                AdvanceRule::State { kappa, before, v } => {
                    let kappa = *kappa.add(row);
                    let kept = s.mul(s.splat(T::ONE - kappa), s.load(at(before)));
                    let state = inside(s, s.flush(s.mul_add(s.splat(kappa), z, kept)), group, j);
                    s.store(at(v), state);
                    signed(s, rate(state), negative)
                }
            };
            s.store(at(self.h), inside(s, h, group, j));
        }
    }
}

impl<T: Scalar, S: Simd<T>> Epilogue<T, S> for Advance<T> {
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        for (i, z) in acc.into_iter().enumerate() {
            for (j, z) in z.into_iter().enumerate() {
                // SAFETY: the caller vouches for the epilogue's pointers in these rows and this group.
                unsafe { self.vector(s, z, row + i, group, j) };
            }
        }
    }
}

/// As [`Advance`], from `E − I Leiᵀ` of the recurrent leg, which is divided and added to what the input leg gives.
pub(crate) struct AdvanceDivided<T, D> {
    /// `Wei [ne, nw]` and `a ⊙ I [nw, B]`
    pub gamma: Operand<T, RowMajor>,
    /// What is made of the sum.
    pub divide: D,
    /// `Wg [ne]`
    pub g: *const T,
    /// `A(x_t; U) + b + ξ_t [ne, B]`
    pub drive: Grouped<T>,
    /// `û [ne, B]` and what is kept of `1/γ [ne, B]`, for the backward pass.
    pub keep: Option<(Grouped<T>, Grouped<T>)>,
    /// Set if a divisor is below its bound.
    pub any_low: *const AtomicBool,
    pub advance: Advance<T>,
}

impl<T: Scalar, S: Simd<T>, D: Divide<T>> Epilogue<T, S> for AdvanceDivided<T, D> {
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        // SAFETY: the caller vouches for the epilogue's pointers in these rows and this group.
        let gamma = unsafe { RowMajor::product(s, zeros::<T, S, MR, NV>(s), self.gamma, row, group) };
        // SAFETY: as above.
        let drive = unsafe { load::<T, S, MR, NV>(s, self.drive, row, group) };
        let bound = s.splat(self.divide.bound());
        let mut least = bound;
        for (i, (difference, (gamma, drive))) in acc.into_iter().zip(gamma.into_iter().zip(drive)).enumerate() {
            // SAFETY: as above.
            let g = s.splat(unsafe { *self.g.add(row + i) });
            for (j, (difference, (gamma, drive))) in
                difference.into_iter().zip(gamma.into_iter().zip(drive)).enumerate()
            {
                let gamma = self.divide.unbounded(s, gamma);
                least = s.at_most(least, gamma);
                let [inverse, kept] = self.divide.inverse(s, gamma);
                let standardised = s.mul(difference, inverse);
                // SAFETY: as above.
                unsafe {
                    if let Some((zhat, inv_gamma)) = self.keep {
                        s.store(zhat.at(row + i, group).add(j * S::LANES), standardised);
                        s.store(inv_gamma.at(row + i, group).add(j * S::LANES), kept);
                    }
                    self.advance.vector(s, s.mul_add(g, standardised, drive), row + i, group, j);
                }
            }
        }
        // No term is negative, so that none hides another.
        if s.sum(s.sub(bound, least)) > T::ZERO {
            // SAFETY: as above.
            unsafe { (*self.any_low).store(true, Ordering::Relaxed) };
        }
    }
}

/// From the gradient by what goes out and on of a step, the accumulators, to `dz_t`.
pub(crate) struct Retreat<T> {
    pub rule: RetreatRule<T>,
    /// `h_t [ne, B]`; negative from a unit on, and so is its gradient then.
    pub h: Grouped<T>,
    pub negative_from: usize,
    /// `dz_t [ne, B]`, written.
    pub dz: Grouped<T>,
}

/// What comes back besides: see [`Dynamics`](super::Dynamics).
pub(crate) enum RetreatRule<T> {
    Plain,
    Rate {
        /// `κ [ne]`
        kappa: *const T,
        /// `f(z_t) [ne, B]`
        rates: Grouped<T>,
        /// The gradient by `h_{t+1}` comes in, that by `h_t` goes out.
        carry: OneBlock<T>,
    },
    State {
        /// `κ [ne]`
        kappa: *const T,
        /// The gradient by `v_{t+1}` comes in, that by `v_t` goes out.
        carry: OneBlock<T>,
    },
}

/// A block `[ne, B]` that serves all steps.
#[derive(Clone, Copy)]
pub(crate) struct OneBlock<T> {
    pub block: Grouped<T>,
    /// Columns of a block, with their padding.
    pub padded: usize,
}

impl<T> OneBlock<T> {
    /// Row `row` of a group of any block.
    #[inline(always)]
    fn at(&self, row: usize, group: Group) -> *mut T {
        self.block.at(row, Group { start: group.start % self.padded, ..group })
    }
}

impl<T: Scalar> Retreat<T> {
    /// One vector of a unit: `dz`.
    ///
    /// # Safety
    /// The pointers are valid in this row and group.
    #[inline(always)]
    unsafe fn vector<S: Simd<T>>(&self, s: S, dh: S::V, row: usize, group: Group, j: usize) -> S::V {
        let lane = j * S::LANES;
        let negative = row >= self.negative_from;
        // SAFETY: the caller vouches for the pointers.
        unsafe {
            let h = |()| signed(s, s.load(self.h.at(row, group).add(lane)), negative);
            let dz = match self.rule {
                RetreatRule::Plain => s.where_positive(h(()), signed(s, dh, negative)),
                RetreatRule::Rate { kappa, rates, carry } => {
                    let (kappa, carry) = (*kappa.add(row), carry.at(row, group).add(lane));
                    let dh = s.flush(s.mul_add(s.splat(T::ONE - kappa), s.load(carry), dh));
                    s.store(carry, dh);
                    let f = s.load(rates.at(row, group).add(lane));
                    s.mul(s.splat(kappa), s.where_positive(f, signed(s, dh, negative)))
                }
                RetreatRule::State { kappa, carry } => {
                    let (kappa, carry) = (*kappa.add(row), carry.at(row, group).add(lane));
                    let through = s.where_positive(h(()), signed(s, dh, negative));
                    let dv = s.flush(s.mul_add(s.splat(T::ONE - kappa), s.load(carry), through));
                    s.store(carry, dv);
                    s.mul(s.splat(kappa), dv)
                }
            };
            // What comes back over many steps shrinks: it would crawl along as subnormal numbers.
            let dz = s.flush(dz);
            s.store(self.dz.at(row, group).add(lane), dz);
            dz
        }
    }
}

impl<T: Scalar, S: Simd<T>> Epilogue<T, S> for Retreat<T> {
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        for (i, dh) in acc.into_iter().enumerate() {
            for (j, dh) in dh.into_iter().enumerate() {
                // SAFETY: the caller vouches for the epilogue's pointers in these rows and this group.
                _ = unsafe { self.vector(s, dh, row + i, group, j) };
            }
        }
    }
}

/// As [`Retreat`], and on to `du`, `dγ` and `dg` of a recurrent leg that divides.
pub(crate) struct RetreatDivided<T, D> {
    /// What was made of the sum that divides.
    pub divide: D,
    /// `Wg [ne]`
    pub g: *const T,
    /// What was kept of `1/γ [ne, B]` comes in, `du` goes out.
    pub inv_gamma_to_du: Grouped<T>,
    /// `û [ne, B]` comes in, the gradient by the sum goes out: `dγ` where ε is added to it.
    pub zhat_to_dgamma: Grouped<T>,
    /// `dg`, written.
    pub dg: Partials<T>,
    pub retreat: Retreat<T>,
}

impl<T: Scalar, S: Simd<T>, D: Divide<T>> Epilogue<T, S> for RetreatDivided<T, D> {
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        for (i, dh) in acc.into_iter().enumerate() {
            let mut dg = s.zero();
            // SAFETY: the caller vouches for the epilogue's pointers in these rows and this group.
            unsafe {
                let g = s.splat(*self.g.add(row + i));
                for (j, dh) in dh.into_iter().enumerate() {
                    let dz = self.retreat.vector(s, dh, row + i, group, j);
                    let du = self.inv_gamma_to_du.at(row + i, group).add(j * S::LANES);
                    let dgamma = self.zhat_to_dgamma.at(row + i, group).add(j * S::LANES);
                    let (kept, zhat) = (s.load(du), s.load(dgamma));
                    dg = self.dg.mul_add(s, dz, zhat, dg);
                    let du_vector = s.mul(s.mul(dz, g), self.divide.kept(s, kept));
                    s.store(du, du_vector);
                    s.store(dgamma, self.divide.dsum(s, s.mul(du_vector, zhat), kept));
                }
                *self.dg.at(row + i, group) = s.sum(dg);
            }
        }
    }
}

/// `V = Lex + Σ`, row-major: with `−Lei Lix` as the sum, the accumulators, what a leg that only subtracts comes down to.
#[derive(Clone, Copy)]
pub(crate) struct Fold<T> {
    /// `Lex`
    pub base: *const T,
    /// `V`, written.
    pub out: *mut T,
    /// Distance of the rows of both.
    pub ld: usize,
}

impl<T: Scalar, S: Simd<T>> Epilogue<T, S> for Fold<T> {
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        // SAFETY: the caller vouches for the arrays.
        unsafe { for_each(s, acc, self.ld, (row, group), *self) };
    }
}

impl<T: Scalar, S: Simd<T>> ForEach<T, S> for Fold<T> {
    #[inline(always)]
    unsafe fn vector(self, s: S, at: usize, lanes: Lanes, sum: S::V) {
        // SAFETY: the caller vouches for the arrays.
        unsafe { lanes.store(s, self.out.wrapping_add(at), s.add(lanes.load(s, self.base.wrapping_add(at)), sum)) };
    }
}
