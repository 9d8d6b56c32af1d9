//! Layer and batch normalisation: passes over the activations of a layer, between its products.
//!
//! A tile has a few units and a few examples, while a mean needs all of one or the other, so these cannot be
//! epilogues. They are short beside the products: some operations for each of `B · ne` activations, which are in the
//! cache.
//!
//! Sums over the padding of a batch need care: the padding of `u` is zero, that of `u − mean(u)` is not.

use crate::kernels::epilogue::{Partials, activate, through_activation};
use crate::kernels::tile::{Acc, Epilogue};
use crate::kernels::{KernelTable, Tiled, TransposedKernels};
use crate::layout::{Group, Grouped, Split};
use crate::simd::{Scalar, Simd, Vectorized};
use std::ops::Range;

/// The most vectors of a group of examples.
const VECTORS: usize = 3;

/// From `u` to `ẑ` and `h`: `ẑ = (u − mean) · inverse`, `h = f(g ⊙ ẑ + b)`.
pub(crate) struct Normalise<T> {
    pub units: usize,
    pub examples: Split,
    /// `u [ne, B]` comes in, `ẑ` goes out.
    pub zhat: Grouped<T>,
    /// `g [ne]` and `b [ne]`
    pub g: *const T,
    pub b: *const T,
    pub relu: bool,
    /// `h [ne, B]`, written.
    pub h: Grouped<T>,
    /// `1/√(var + ε)`, written: for each example with its padding, or for each unit.
    pub inverse: *mut T,
    /// Mean and variance of each unit, where that is normalised over the examples: written, or read if `running`.
    pub statistics: [*mut T; 2],
    pub running: bool,
    /// One divided by the number that is normalised over.
    pub inverse_count: T,
    pub epsilon: T,
}

/// From the gradient at `ẑ` to that at `u`: `du = inverse · (dẑ − mean(dẑ) − ẑ ⊙ mean(dẑ ⊙ ẑ))`.
pub(crate) struct NormaliseBackward<T> {
    pub units: usize,
    pub examples: Split,
    /// `ẑ [ne, B]`
    pub zhat: Grouped<T>,
    /// `dẑ [ne, B]` comes in, `du` goes out.
    pub du: Grouped<T>,
    /// As [`Normalise::inverse`].
    pub inverse: *const T,
    /// `g`, `db` and `dg` of each unit, from which the means over the examples follow: `mean(dẑ) = g ⊙ db / B` and
    /// `mean(dẑ ⊙ ẑ) = g ⊙ dg / B`.
    pub gradients: [*const T; 3],
    /// One divided by the number that is normalised over.
    pub inverse_count: T,
}

// SAFETY: only addresses are shared; the kernels are unsafe and their caller argues for the accesses.
unsafe impl<T: Sync> Sync for Normalise<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for NormaliseBackward<T> {}

/// The kernels of one instruction set. Those over the units take a range of groups of examples, those over the examples
/// a range of units. All are unsafe: the CPU must have the instruction set, the arrays be valid for their use in the
/// range, and nothing else access what is written there.
pub(crate) struct NormKernels<T> {
    pub over_units: unsafe fn(&Normalise<T>, Range<usize>),
    pub over_units_backward: unsafe fn(&NormaliseBackward<T>, Range<usize>),
    pub over_examples: unsafe fn(&Normalise<T>, Range<usize>),
    pub over_examples_backward: unsafe fn(&NormaliseBackward<T>, Range<usize>),
    pub receive: TransposedKernels<T, GainBackward<T>>,
}

impl<T: Scalar> KernelTable<T> for NormKernels<T> {
    fn of<S: Tiled<T>>() -> &'static Self {
        const {
            &Self {
                over_units: run::<T, S, _, OverUnits>,
                over_units_backward: run::<T, S, _, OverUnits>,
                over_examples: run::<T, S, _, OverExamples>,
                over_examples_backward: run::<T, S, _, OverExamples>,
                receive: TransposedKernels::of::<S>(),
            }
        }
    }
}

/// Work on part of an array.
trait Pass<T: Scalar, W> {
    /// # Safety
    /// The arrays are valid for their use in the range.
    unsafe fn pass<S: Simd<T>>(s: S, work: &W, range: Range<usize>);
}

/// Does a pass with the instruction set `S`.
///
/// # Safety
/// The CPU has the instruction set of `S`; as [`NormKernels`].
unsafe fn run<T: Scalar, S: Simd<T>, W, P: Pass<T, W>>(work: &W, range: Range<usize>) {
    struct Work<'a, S, T, W, P> {
        s: S,
        work: &'a W,
        range: Range<usize>,
        kind: std::marker::PhantomData<(T, P)>,
    }
    impl<S: Simd<T>, T: Scalar, W, P: Pass<T, W>> Vectorized for Work<'_, S, T, W, P> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            // SAFETY: `run` is called with work that is valid in the range.
            unsafe { P::pass(self.s, self.work, self.range) }
        }
    }
    // SAFETY: the caller vouches for the instruction set.
    let s = unsafe { S::token() };
    s.vectorize(Work { s, work, range, kind: std::marker::PhantomData::<(T, P)> });
}

struct OverUnits;
struct OverExamples;

impl<T: Scalar> Pass<T, Normalise<T>> for OverUnits {
    #[inline(always)]
    unsafe fn pass<S: Simd<T>>(s: S, work: &Normalise<T>, groups: Range<usize>) {
        let inverse_count = s.splat(work.inverse_count);
        for group in work.examples.iter(groups) {
            // SAFETY: the caller vouches for all units in these groups.
            unsafe {
                let u = |unit, j| s.load(work.zhat.at(unit, group).add(j * S::LANES));
                let mut mean = [s.zero(); VECTORS];
                for unit in 0..work.units {
                    for (j, mean) in mean.iter_mut().enumerate().take(group.vectors) {
                        *mean = s.add(*mean, u(unit, j));
                    }
                }
                for mean in &mut mean {
                    *mean = s.mul(*mean, inverse_count);
                }
                let mut inverse = [s.zero(); VECTORS];
                for unit in 0..work.units {
                    for (j, squares) in inverse.iter_mut().enumerate().take(group.vectors) {
                        let difference = s.sub(u(unit, j), mean[j]);
                        *squares = s.mul_add(difference, difference, *squares);
                    }
                }
                for (j, inverse) in inverse.iter_mut().enumerate().take(group.vectors) {
                    *inverse = inverse_deviation(s, work, s.mul(*inverse, inverse_count));
                    s.store(work.inverse.add(group.start + j * S::LANES), *inverse);
                }
                for unit in 0..work.units {
                    for j in 0..group.vectors {
                        let zhat = s.mul(s.sub(u(unit, j), mean[j]), inverse[j]);
                        finish(s, work, zhat, (unit, group, j));
                    }
                }
            }
        }
    }
}

impl<T: Scalar> Pass<T, Normalise<T>> for OverExamples {
    #[inline(always)]
    unsafe fn pass<S: Simd<T>>(s: S, work: &Normalise<T>, units: Range<usize>) {
        let inverse_count = s.splat(work.inverse_count);
        for unit in units {
            // SAFETY: the caller vouches for these units in all groups.
            unsafe {
                let u = |group: Group, j| s.load(work.zhat.at(unit, group).add(j * S::LANES));
                let [to_mean, to_variance] = work.statistics.map(|statistic| statistic.add(unit));
                let (mean, variance);
                if work.running {
                    (mean, variance) = (s.splat(*to_mean), s.splat(*to_variance));
                } else {
                    let sum = over_examples(s, work.examples, s.zero(), |sum, group, j| s.add(sum, u(group, j)));
                    mean = s.mul(s.splat(s.sum(sum)), inverse_count);
                    let squares = over_examples(s, work.examples, s.zero(), |sum, group, j| {
                        let difference = inside(s, s.sub(u(group, j), mean), group, j);
                        s.mul_add(difference, difference, sum)
                    });
                    variance = s.mul(s.splat(s.sum(squares)), inverse_count);
                    s.store_first(to_mean, mean, 1);
                    s.store_first(to_variance, variance, 1);
                }
                let inverse = inverse_deviation(s, work, variance);
                s.store_first(work.inverse.add(unit), inverse, 1);
                over_examples(s, work.examples, (), |(), group, j| {
                    let zhat = inside(s, s.mul(s.sub(u(group, j), mean), inverse), group, j);
                    finish(s, work, zhat, (unit, group, j));
                });
            }
        }
    }
}

impl<T: Scalar> Pass<T, NormaliseBackward<T>> for OverUnits {
    #[inline(always)]
    unsafe fn pass<S: Simd<T>>(s: S, work: &NormaliseBackward<T>, groups: Range<usize>) {
        let inverse_count = s.splat(work.inverse_count);
        for group in work.examples.iter(groups) {
            // SAFETY: the caller vouches for all units in these groups.
            unsafe {
                let mut sums = [[s.zero(); 2]; VECTORS];
                for unit in 0..work.units {
                    for (j, [plain, along]) in sums.iter_mut().enumerate().take(group.vectors) {
                        let d = s.load(work.du.at(unit, group).add(j * S::LANES));
                        let zhat = s.load(work.zhat.at(unit, group).add(j * S::LANES));
                        *plain = s.add(*plain, d);
                        *along = s.mul_add(d, zhat, *along);
                    }
                }
                for mean in sums.as_flattened_mut() {
                    *mean = s.mul(*mean, inverse_count);
                }
                for unit in 0..work.units {
                    for (j, &means) in sums.iter().enumerate().take(group.vectors) {
                        let inverse = s.load(work.inverse.add(group.start + j * S::LANES));
                        finish_backward(s, work, means, inverse, (unit, group, j));
                    }
                }
            }
        }
    }
}

impl<T: Scalar> Pass<T, NormaliseBackward<T>> for OverExamples {
    #[inline(always)]
    unsafe fn pass<S: Simd<T>>(s: S, work: &NormaliseBackward<T>, units: Range<usize>) {
        let inverse_count = s.splat(work.inverse_count);
        for unit in units {
            // SAFETY: the caller vouches for these units in all groups.
            unsafe {
                let [g, db, dg] = work.gradients.map(|array| *array.add(unit));
                let g = s.splat(g);
                let means = [s.mul(s.mul(g, s.splat(db)), inverse_count), s.mul(s.mul(g, s.splat(dg)), inverse_count)];
                let inverse = s.splat(*work.inverse.add(unit));
                over_examples(s, work.examples, (), |(), group, j| {
                    finish_backward(s, work, means, inverse, (unit, group, j));
                });
            }
        }
    }
}

/// Folds over all vectors of examples, in order.
#[inline(always)]
fn over_examples<T: Scalar, S: Simd<T>, A>(
    _: S,
    examples: Split,
    first: A,
    mut f: impl FnMut(A, Group, usize) -> A,
) -> A {
    let mut sum = first;
    for group in examples.iter(0..examples.groups()) {
        for j in 0..group.vectors {
            sum = f(sum, group, j);
        }
    }
    sum
}

/// Zero in the padding of the batch.
#[inline(always)]
fn inside<T: Scalar, S: Simd<T>>(s: S, x: S::V, group: Group, j: usize) -> S::V {
    let lane = j * S::LANES;
    if lane + S::LANES > group.len { s.first(x, group.len.saturating_sub(lane)) } else { x }
}

/// `1/√(var + ε)`
#[inline(always)]
fn inverse_deviation<T: Scalar, S: Simd<T>>(s: S, work: &Normalise<T>, variance: S::V) -> S::V {
    s.div(s.splat(T::ONE), s.sqrt(s.add(variance, s.splat(work.epsilon))))
}

/// Stores `ẑ` and `h` of one vector.
///
/// # Safety
/// As [`NormKernels`].
#[inline(always)]
unsafe fn finish<T: Scalar, S: Simd<T>>(
    s: S,
    work: &Normalise<T>,
    zhat: S::V,
    (unit, group, j): (usize, Group, usize),
) {
    // SAFETY: the caller vouches for the arrays.
    unsafe {
        s.store(work.zhat.at(unit, group).add(j * S::LANES), zhat);
        let (g, b) = (s.splat(*work.g.add(unit)), s.splat(*work.b.add(unit)));
        activate(s, s.mul_add(g, zhat, b), work.relu, work.h.at(unit, group), group, j);
    }
}

/// Stores `du` of one vector.
///
/// # Safety
/// As [`NormKernels`].
#[inline(always)]
unsafe fn finish_backward<T: Scalar, S: Simd<T>>(
    s: S,
    work: &NormaliseBackward<T>,
    [plain, along]: [S::V; 2],
    inverse: S::V,
    (unit, group, j): (usize, Group, usize),
) {
    // SAFETY: the caller vouches for the arrays.
    unsafe {
        let place = work.du.at(unit, group).add(j * S::LANES);
        let zhat = s.load(work.zhat.at(unit, group).add(j * S::LANES));
        let rest = s.sub(s.sub(s.load(place), plain), s.mul(zhat, along));
        s.store(place, inside(s, s.mul(inverse, rest), group, j));
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
