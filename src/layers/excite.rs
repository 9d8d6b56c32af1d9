//! Units that nothing divides: the epilogues of the dense layer and of the layer that only subtracts.

use crate::kernels::epilogue::{Partials, activate, through_activation};
use crate::kernels::tile::{Acc, Epilogue};
use crate::kernels::{ForwardKernels, KernelTable, Tiled, TransposedKernels};
use crate::layout::{Group, Grouped};
use crate::simd::{Scalar, Simd};

/// The kernels of such units.
pub(crate) struct ExciteKernels<T> {
    pub forward: ForwardKernels<T, Excite<T>>,
    pub receive: TransposedKernels<T, ExciteBackward<T>>,
}

impl<T: Scalar> KernelTable<T> for ExciteKernels<T> {
    fn of<S: Tiled<T>>() -> &'static Self {
        const { &Self { forward: ForwardKernels::of::<S>(), receive: TransposedKernels::of::<S>() } }
    }
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
