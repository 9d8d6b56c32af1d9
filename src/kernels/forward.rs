//! Epilogues of the forward products.

use super::tile::{Acc, Epilogue, zeros};
use super::walk::{Operand, Walk};
use crate::layout::{Group, Grouped};
use crate::simd::{Scalar, Simd};

/// `zI` as the excitatory units need it: `−zI` for the subtraction (so that every term of a product adds) and
/// `a ⊙ zI` for the division.
pub(crate) struct Interneurons<T> {
    /// `−zI [ni, B]`
    pub minus_zi: Grouped<T>,
    /// `a ⊙ zI [ni, B]` and `a [ni]`; none without division.
    pub divisive: Option<(Grouped<T>, *const T)>,
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
    }
}

/// The end of every layer: `h = f(z)`, zero in the padding of the batch.
///
/// # Safety
/// `h + vector · LANES` is valid for writing a vector.
#[inline(always)]
pub(super) unsafe fn activate<T: Scalar, S: Simd<T>>(
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

/// `h = f(z + b)`: the dense layer, and with `−s` as a second term the layer that only subtracts.
pub(crate) struct Excite<T> {
    /// `b [ne]`
    pub b: *const T,
    /// ReLU or identity.
    pub relu: bool,
    /// `h [ne, B]`
    pub h: Grouped<T>,
    /// The unit from which on `h` is stored with a negative sign.
    pub negative_from: usize,
}

impl<T: Scalar, S: Simd<T>> Epilogue<T, S> for Excite<T> {
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        for (i, z) in acc.into_iter().enumerate() {
            // SAFETY: the caller vouches for the epilogue's pointers in these rows and this group.
            unsafe {
                let b = s.splat(*self.b.add(row + i));
                let h = self.h.at(row + i, group);
                for (j, z) in z.into_iter().enumerate() {
                    activate(s, s.add(z, b), self.relu, h, group, j);
                }
                // Apart from the others, so that they need not ask.
                if row + i >= self.negative_from {
                    for j in 0..NV {
                        let h = h.add(j * S::LANES);
                        s.store(h, s.sub(s.zero(), s.load(h)));
                    }
                }
            }
        }
    }
}

/// `h = f(g ⊙ (zE − s) / γ + b)` with `γ = (a ⊙ zI) Weiᵀ + ε`: the accumulators come in as `zE − s`.
///
/// γ is a second product of the same tile. Its registers are free because the compiler parks `zE − s` on the stack,
/// one store and one load per vector, against `d + 2·ni` multiply-adds.
pub(crate) struct Inhibit<T, W: Walk> {
    /// `Wei [ne, ni]` and `a ⊙ zI [ni, B]`
    pub gamma: Operand<T, W>,
    /// ε
    pub epsilon: T,
    /// `g [ne]`
    pub g: *const T,
    /// `b [ne]`
    pub b: *const T,
    /// ReLU or identity.
    pub relu: bool,
    /// `h [ne, B]`
    pub h: Grouped<T>,
    /// `ẑ [ne, B]` and `1/γ [ne, B]`, for the backward pass.
    pub keep: Option<(Grouped<T>, Grouped<T>)>,
}

impl<T: Scalar, S: Simd<T>, W: Walk> Epilogue<T, S> for Inhibit<T, W> {
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        // SAFETY: the caller vouches for the epilogue's pointers in these rows and this group.
        let gamma = unsafe { W::product(s, zeros::<T, S, MR, NV>(s), self.gamma, row, group) };
        for (i, (difference, gamma)) in acc.into_iter().zip(gamma).enumerate() {
            // SAFETY: as above.
            unsafe {
                let g = s.splat(*self.g.add(row + i));
                let b = s.splat(*self.b.add(row + i));
                for (j, (difference, gamma)) in difference.into_iter().zip(gamma).enumerate() {
                    let inverse = s.div(s.splat(T::ONE), s.add(gamma, s.splat(self.epsilon)));
                    let standardised = s.mul(difference, inverse);
                    if let Some((zhat, inv_gamma)) = self.keep {
                        s.store(zhat.at(row + i, group).add(j * S::LANES), standardised);
                        s.store(inv_gamma.at(row + i, group).add(j * S::LANES), inverse);
                    }
                    activate(s, s.mul_add(g, standardised, b), self.relu, self.h.at(row + i, group), group, j);
                }
            }
        }
    }
}
