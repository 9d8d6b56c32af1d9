//! Epilogues of the backward products whose columns are examples.

use super::tile::{Acc, Epilogue, load, zeros};
use super::walk::{DownColumns, Operand, Walk};
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

    fn at(&self, row: usize, group: Group) -> *mut T {
        self.ptr.wrapping_add((group.index + 1) * self.rows + row)
    }

    /// `sum + x`, or `sum + x²`.
    #[inline(always)]
    fn add<S: Simd<T>>(&self, s: S, sum: S::V, x: S::V) -> S::V
    where
        T: Scalar,
    {
        if self.squares { s.mul_add(x, x, sum) } else { s.add(sum, x) }
    }

    /// `sum + x · y`, or `sum + (x · y)²`.
    #[inline(always)]
    fn mul_add<S: Simd<T>>(&self, s: S, x: S::V, y: S::V, sum: S::V) -> S::V
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
unsafe fn through_activation<T: Scalar, S: Simd<T>>(
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

/// From `dh`, the accumulators, to `du = dz` and `db`: the dense layer and the layer that only subtracts.
pub(crate) struct ExciteBackward<T> {
    /// `h [ne, B]`, read for ReLU's derivative; none for the identity.
    pub h: Option<Grouped<T>>,
    /// `du [ne, B]`, written.
    pub du: Grouped<T>,
    /// `db`, written.
    pub db: Partials<T>,
    /// The unit from which on `h` has a negative sign, and `dh` therefore, too.
    pub negative_from: usize,
}

impl<T: Scalar, S: Simd<T>> Epilogue<T, S> for ExciteBackward<T> {
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        for (i, dh) in acc.into_iter().enumerate() {
            let mut db = s.zero();
            // SAFETY: the caller vouches for the epilogue's pointers in these rows and this group.
            unsafe {
                let negative = row + i >= self.negative_from;
                for (j, dh) in dh.into_iter().enumerate() {
                    let lane = j * S::LANES;
                    let dz = if negative {
                        let dh = s.sub(s.zero(), dh);
                        match self.h {
                            Some(h) => s.where_positive(s.sub(s.zero(), s.load(h.at(row + i, group).add(lane))), dh),
                            None => dh,
                        }
                    } else {
                        through_activation(s, dh, self.h, row + i, group, lane)
                    };
                    s.store(self.du.at(row + i, group).add(lane), dz);
                    db = self.db.add(s, db, dz);
                }
                *self.db.at(row + i, group) = s.sum(db);
            }
        }
    }
}

/// From `dh`, the accumulators, to `du`, `dγ`, `db` and `dg` of a layer that divides.
pub(crate) struct InhibitBackward<T> {
    /// `h [ne, B]`, read for ReLU's derivative; none for the identity.
    pub h: Option<Grouped<T>>,
    /// `g [ne]`
    pub g: *const T,
    /// `1/γ [ne, B]` comes in, `du` goes out.
    pub inv_gamma_to_du: Grouped<T>,
    /// `ẑ [ne, B]` comes in, `dγ` goes out.
    pub zhat_to_dgamma: Grouped<T>,
    /// `db`, written.
    pub db: Partials<T>,
    /// `dg`, written.
    pub dg: Partials<T>,
}

impl<T: Scalar, S: Simd<T>> Epilogue<T, S> for InhibitBackward<T> {
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
                    let (inv_gamma, zhat) = (s.load(du), s.load(dgamma));
                    db = self.db.add(s, db, dz);
                    dg = self.dg.mul_add(s, dz, zhat, dg);
                    let du_vector = s.mul(s.mul(dz, g), inv_gamma);
                    s.store(du, du_vector);
                    s.store(dgamma, s.sub(s.zero(), s.mul(du_vector, zhat)));
                }
                *self.db.at(row + i, group) = s.sum(db);
                *self.dg.at(row + i, group) = s.sum(dg);
            }
        }
    }
}

/// From `dh`, the accumulators, to `dẑ = g ⊙ dz`, `db` and `dg` of a normalised layer.
pub(crate) struct GainBackward<T> {
    /// `h [ne, B]`, read for ReLU's derivative; none for the identity.
    pub h: Option<Grouped<T>>,
    /// `g [ne]`
    pub g: *const T,
    /// `ẑ [ne, B]`, read.
    pub zhat: Grouped<T>,
    /// `dẑ [ne, B]`, written.
    pub dzhat: Grouped<T>,
    /// `db`, written.
    pub db: Partials<T>,
    /// `dg`, written.
    pub dg: Partials<T>,
}

impl<T: Scalar, S: Simd<T>> Epilogue<T, S> for GainBackward<T> {
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        for (i, dh) in acc.into_iter().enumerate() {
            let mut db = s.zero();
            let mut dg = s.zero();
            // SAFETY: the caller vouches for the epilogue's pointers in these rows and this group.
            unsafe {
                let g = s.splat(*self.g.add(row + i));
                for (j, dh) in dh.into_iter().enumerate() {
                    let lane = j * S::LANES;
                    let dz = through_activation(s, dh, self.h, row + i, group, lane);
                    db = self.db.add(s, db, dz);
                    dg = self.dg.mul_add(s, dz, s.load(self.zhat.at(row + i, group).add(lane)), dg);
                    s.store(self.dzhat.at(row + i, group).add(lane), s.mul(dz, g));
                }
                *self.db.at(row + i, group) = s.sum(db);
                *self.dg.at(row + i, group) = s.sum(dg);
            }
        }
    }
}

/// From `P = du Wei`, the accumulators, to `dzI = −P + a ⊙ Q`, and `dalpha = Σ_B a ⊙ zI ⊙ Q` with `Q = dγ Wei`.
pub(crate) struct InterneuronsBackward<T> {
    /// `dzI [ni, B]`, written.
    pub dzi: Grouped<T>,
    /// What division adds; none without it.
    pub divisive: Option<DivisiveBackward<T>>,
}

/// `Q [ni, B] = dγ Wei`
pub(crate) enum Q<T> {
    /// The tile's own sum, of `Wei [ne, ni]` and `dγ [ne, B]`.
    Sum(Operand<T, DownColumns>),
    /// Stored before, for large layers.
    Stored(Grouped<T>),
}

/// The divisive part of [`InterneuronsBackward`].
pub(crate) struct DivisiveBackward<T> {
    pub q: Q<T>,
    /// `a [ni]`
    pub a: *const T,
    /// `a ⊙ zI [ni, B]`
    pub azi: Grouped<T>,
    /// `dalpha`, written.
    pub dalpha: Partials<T>,
}

impl<T: Scalar, S: Simd<T>> Epilogue<T, S> for InterneuronsBackward<T> {
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        let mut dzi = acc;
        for p in dzi.as_flattened_mut() {
            *p = s.sub(s.zero(), *p);
        }
        if let Some(divisive) = &self.divisive {
            // SAFETY: the caller vouches for the epilogue's pointers in these rows and this group.
            let q = unsafe {
                match divisive.q {
                    Q::Sum(operand) => DownColumns::product(s, zeros::<T, S, MR, NV>(s), operand, row, group),
                    Q::Stored(q) => load(s, q, row, group),
                }
            };
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
