//! A step as kernels take it, by whatever rule: while the weight gradients are in the first-level cache, or in a pass over
//! arrays whose gradients are there already.
//!
//! A rule says where a step goes ([`Direct`]) and how a parameter moves there ([`Move`]). Products and sums are rounded
//! one by one, so that a step has the same bits wherever it is made.

use super::adam::Moments;
use super::exponentiated::Exponentiated;
use super::momentum::Velocity;
use super::natural::Inverse;
use super::projected::Projected;
use crate::kernels::Tiled;
use crate::kernels::gradient::{self, Gradient};
use crate::kernels::tile::{Acc, Epilogue};
use crate::kernels::update::{ForEach, Lanes, prefetch};
use crate::layout::Group;
use crate::simd::{Scalar, Simd, Vectorized};
use std::mem::MaybeUninit;
use std::ops::Range;

/// What makes the direction of a step of a gradient.
pub(crate) trait Direct<T: Scalar, S: Simd<T>>: Copy {
    /// The direction for one vector, whose place is `at` elements from the beginning of the parameter `w`. What the
    /// rule keeps there moves.
    ///
    /// # Safety
    /// The arrays are valid for reading and writing these lanes.
    unsafe fn direction(self, s: S, at: usize, lanes: Lanes, gradient: S::V, w: S::V) -> S::V;
}

/// How a parameter moves along a direction.
pub(crate) trait Move<T: Scalar, S: Simd<T>>: Copy {
    /// Where a step from `w` along `d` leads. What the rule keeps there moves.
    ///
    /// # Safety
    /// As [`Direct::direction`].
    unsafe fn moved(self, s: S, at: usize, lanes: Lanes, w: S::V, d: S::V) -> S::V;
}

/// What is done with a gradient first of all:
///
/// ```text
/// d = correction · dθ,  times scale / (F + ε) with a diagonal natural gradient,  then d + decay · θ
/// ```
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scaled<T> {
    pub correction: T,
    pub natural: Option<Inverse<T>>,
    pub decay: Option<T>,
}

impl<T: Scalar> Scaled<T> {
    /// The gradient as it is.
    pub const NOTHING: Self = Self { correction: T::ONE, natural: None, decay: None };
}

impl<T: Scalar, S: Simd<T>> Direct<T, S> for Scaled<T> {
    #[inline(always)]
    unsafe fn direction(self, s: S, at: usize, lanes: Lanes, gradient: S::V, w: S::V) -> S::V {
        let mut d = s.mul(s.splat(self.correction), gradient);
        if let Some(inverse) = self.natural {
            // SAFETY: the caller vouches for the arrays.
            d = unsafe { inverse.divided(s, at, lanes, d) };
        }
        if let Some(decay) = self.decay {
            d = s.add(d, s.mul(s.splat(decay), w));
        }
        d
    }
}

/// Where a step goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Direction<T> {
    Gradient(Scaled<T>),
    Velocity(Velocity<T>),
    Moments(Moments<T>),
}

impl<T: Scalar> Direction<T> {
    /// The arrays that it reads; null after the last.
    pub fn arrays(&self) -> [*const T; 4] {
        let none = std::ptr::null();
        let of = |scaled: &Scaled<T>| scaled.natural.map_or(none, |inverse| inverse.fisher);
        match self {
            Self::Gradient(scaled) => [of(scaled), none, none, none],
            Self::Velocity(velocity) => [velocity.velocity, of(&velocity.scaled), none, none],
            Self::Moments(moments) => [moments.first, moments.second, moments.largest, none],
        }
    }
}

impl<T: Scalar, S: Simd<T>> Direct<T, S> for Direction<T> {
    #[inline(always)]
    unsafe fn direction(self, s: S, at: usize, lanes: Lanes, gradient: S::V, w: S::V) -> S::V {
        // SAFETY: the caller vouches for the arrays.
        unsafe {
            match self {
                Self::Gradient(scaled) => scaled.direction(s, at, lanes, gradient, w),
                Self::Velocity(velocity) => velocity.direction(s, at, lanes, gradient, w),
                Self::Moments(moments) => moments.direction(s, at, lanes, gradient, w),
            }
        }
    }
}

/// How a parameter moves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Motion<T> {
    Projected(Projected<T>),
    Exponentiated(Exponentiated<T>),
}

impl<T: Scalar, S: Simd<T>> Move<T, S> for Motion<T> {
    #[inline(always)]
    unsafe fn moved(self, s: S, at: usize, lanes: Lanes, w: S::V, d: S::V) -> S::V {
        // SAFETY: the caller vouches for the arrays.
        unsafe {
            match self {
                Self::Projected(projected) => projected.moved(s, at, lanes, w, d),
                Self::Exponentiated(exponentiated) => exponentiated.moved(s, at, lanes, w, d),
            }
        }
    }
}

/// A step of one parameter by any rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy<T> {
    /// The parameter, row-major.
    pub w: *mut T,
    /// Distance of its rows, and of those of all arrays that the rule keeps.
    pub ld: usize,
    pub direction: Direction<T>,
    pub motion: Motion<T>,
    /// Other arrays that it reads: see [`Direction::arrays`].
    pub arrays: [*const T; 4],
}

/// The vectors of some part of a parameter, with their gradients.
trait Walk<T: Scalar, S: Simd<T>> {
    /// Treats each of them.
    ///
    /// # Safety
    /// The arrays of `work` are valid for reading and writing these vectors.
    unsafe fn each(self, work: impl ForEach<T, S>);
}

impl<T: Scalar> Policy<T> {
    /// Takes the step of some vectors. The rules that most networks are trained with have a loop of their own, in which
    /// what they do not use is known not to be there; all others share one that asks for each vector.
    ///
    /// # Safety
    /// The arrays are valid for reading and writing these vectors.
    #[inline(always)]
    unsafe fn step<S: Simd<T>>(&self, walk: impl Walk<T, S>) {
        let Self { w, direction, motion, .. } = *self;
        // SAFETY: the caller vouches for the arrays.
        unsafe {
            match (direction, motion) {
                (Direction::Velocity(velocity), Motion::Projected(projected))
                    if velocity.is_common() && projected.is_common() =>
                {
                    walk.each(Step { w, direction: velocity.common(), motion: projected.common() });
                }
                (Direction::Moments(moments), Motion::Projected(projected))
                    if moments.is_common() && projected.is_common() =>
                {
                    walk.each(Step { w, direction: moments.common(), motion: projected.common() });
                }
                _ => walk.each(Step { w, direction, motion }),
            }
        }
    }
}

/// A step in one direction by one motion.
#[derive(Clone, Copy)]
struct Step<T, D, M> {
    w: *mut T,
    direction: D,
    motion: M,
}

impl<T: Scalar, S: Simd<T>, D: Direct<T, S>, M: Move<T, S>> ForEach<T, S> for Step<T, D, M> {
    #[inline(always)]
    unsafe fn vector(self, s: S, at: usize, lanes: Lanes, gradient: S::V) {
        let place = self.w.wrapping_add(at);
        // SAFETY: the caller vouches for the arrays.
        unsafe {
            let w = lanes.load(s, place);
            let d = self.direction.direction(s, at, lanes, gradient, w);
            lanes.store(s, place, self.motion.moved(s, at, lanes, w, d));
        }
    }
}

/// Rows of a weight gradient that are made before their step is taken, a multiple of the usual tiles' heights: few
/// enough to stay in the first-level cache, with all that the rule reads.
const ROWS: usize = 15;
/// The most columns of a group of inputs.
const COLUMNS: usize = 48;

/// Gradients of some rows and one group of inputs.
#[repr(align(64))]
struct Sums<T>([MaybeUninit<T>; ROWS * COLUMNS]);

/// Computes the tiles of `rows` by `groups` and takes their step, some rows at a time. A rule is longer than the sums of
/// a tile: between two of these it would keep the one from beginning while the other ends.
///
/// # Safety
/// As [`gradient::gradient`]; the arrays of the policy are written, and have rows and columns as the gradient.
pub(crate) unsafe fn gradient_and_step<T: Scalar, S: Tiled<T>>(
    work: &Gradient<T, Policy<T>>,
    rows: Range<usize>,
    groups: Range<usize>,
) {
    const { assert!(S::INPUT_VECTORS * S::LANES <= COLUMNS, "a group fits") };
    // SAFETY: the caller vouches for the instruction set.
    let s = unsafe { S::token() };
    let &Gradient { init, terms, rows: all, examples, inputs, epilogue: ref policy } = work;
    let mut sums = Sums::<T>([const { MaybeUninit::uninit() }; ROWS * COLUMNS]);
    let sums = sums.0.as_mut_ptr().cast::<T>();
    let mut ahead = Gradient { init, terms, rows: all, examples, inputs, epilogue: Ahead { sums, width: 0, policy } };
    for number in groups {
        let group = inputs.group(number);
        for first in rows.clone().step_by(ROWS) {
            let rows = first..rows.end.min(first + ROWS);
            // Where the sums would begin if they had all rows and columns.
            let origin = sums.wrapping_sub(first * group.width + group.start);
            ahead.epilogue = Ahead { sums: origin, width: group.width, policy };
            // SAFETY: the caller vouches for the operands; the sums have room for these rows and this group.
            unsafe { gradient::gradient::<T, S, _>(&ahead, rows.clone(), number..number + 1) };
            s.vectorize(Block { s, policy, sums, rows, group });
        }
    }
}

/// Stores the sums of a tile for the step that follows, whose arrays it prefetches.
#[derive(Clone, Copy)]
struct Ahead<'a, T> {
    sums: *mut T,
    /// Distance of their rows.
    width: usize,
    policy: &'a Policy<T>,
}

impl<T: Scalar, S: Simd<T>> Epilogue<T, S> for Ahead<'_, T> {
    #[inline(always)]
    fn prepare<const MR: usize, const NV: usize>(&self, s: S, row: usize, group: Group) {
        let &Policy { w, ld, arrays, .. } = self.policy;
        prefetch::<T, S, MR, NV>(s, w, ld, (row, group));
        for array in arrays {
            if array.is_null() {
                break;
            }
            prefetch::<T, S, MR, NV>(s, array, ld, (row, group));
        }
    }

    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        for (i, x) in acc.into_iter().enumerate() {
            for (j, x) in x.into_iter().enumerate() {
                // SAFETY: the caller vouches for the sums, which have room for whole vectors.
                unsafe { s.store(self.sums.wrapping_add((row + i) * self.width + group.start + j * S::LANES), x) };
            }
        }
    }
}

/// The step of some rows and one group of inputs, whose gradients are there.
struct Block<'a, S, T> {
    s: S,
    policy: &'a Policy<T>,
    sums: *const T,
    rows: Range<usize>,
    group: Group,
}

impl<T: Scalar, S: Simd<T>> Vectorized for Block<'_, S, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        // SAFETY: `gradient_and_step` is called with arrays that are valid in the rows and the group.
        unsafe { self.policy.step(self) };
    }
}

impl<T: Scalar, S: Simd<T>> Walk<T, S> for Block<'_, S, T> {
    #[inline(always)]
    unsafe fn each(self, work: impl ForEach<T, S>) {
        let Self { s, policy: &Policy { ld, .. }, mut sums, rows, group } = self;
        let whole = group.len == group.width;
        for row in rows {
            let at = row * ld + group.start;
            for j in 0..group.vectors {
                let first = j * S::LANES;
                // SAFETY: the caller vouches for the arrays in these rows and columns, of which there are sums.
                unsafe {
                    let gradient = s.load(sums.wrapping_add(first));
                    if whole {
                        work.vector(s, at + first, Lanes::All, gradient);
                    } else {
                        let lanes = Lanes::First((group.len - first).min(S::LANES));
                        work.vector(s, at + first, lanes, gradient);
                    }
                }
            }
            sums = sums.wrapping_add(group.width);
        }
    }
}

/// A step of an array whose gradient is there already.
pub(crate) struct Elementwise<T> {
    pub policy: Policy<T>,
    pub gradient: *mut T,
    /// Whether the direction of the step overwrites the gradient, instead of the step being made.
    pub direction_only: bool,
}

// SAFETY: only addresses are shared; `elementwise` is unsafe and its caller argues for the accesses.
unsafe impl<T: Sync> Sync for Elementwise<T> {}

/// The kernel of [`Elementwise`], for some of the elements.
pub(crate) type ElementwiseKernel<T> = unsafe fn(&Elementwise<T>, Range<usize>);

/// Makes the step of some elements.
///
/// # Safety
/// The CPU has the instruction set of `S`. The arrays are valid for reading and writing these elements, and nothing
/// else accesses them.
pub(crate) unsafe fn elementwise<T: Scalar, S: Simd<T>>(work: &Elementwise<T>, range: Range<usize>) {
    // SAFETY: the caller vouches for the instruction set.
    let s = unsafe { S::token() };
    s.vectorize(Elements { s, work, range });
}

struct Elements<'a, S, T> {
    s: S,
    work: &'a Elementwise<T>,
    range: Range<usize>,
}

impl<T: Scalar, S: Simd<T>> Vectorized for Elements<'_, S, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let &Elementwise { policy: Policy { w, direction, .. }, gradient, direction_only } = self.work;
        // SAFETY: `elementwise` is called with arrays that are valid in the range.
        unsafe {
            if direction_only {
                self.each(Directed { w, direction, gradient });
            } else {
                self.work.policy.step(self);
            }
        }
    }
}

impl<T: Scalar, S: Simd<T>> Walk<T, S> for Elements<'_, S, T> {
    #[inline(always)]
    unsafe fn each(self, work: impl ForEach<T, S>) {
        let Self { s, work: &Elementwise { gradient, .. }, range } = self;
        for at in range.clone().step_by(S::LANES) {
            let left = range.end - at;
            let lanes = if left >= S::LANES { Lanes::All } else { Lanes::First(left) };
            // SAFETY: the caller vouches for the arrays in the range.
            unsafe { work.vector(s, at, lanes, lanes.load(s, gradient.wrapping_add(at))) };
        }
    }
}

/// The direction of a step, which overwrites the gradient.
#[derive(Clone, Copy)]
struct Directed<T> {
    w: *const T,
    direction: Direction<T>,
    gradient: *mut T,
}

impl<T: Scalar, S: Simd<T>> ForEach<T, S> for Directed<T> {
    #[inline(always)]
    unsafe fn vector(self, s: S, at: usize, lanes: Lanes, gradient: S::V) {
        // SAFETY: the caller vouches for the arrays.
        unsafe {
            let w = lanes.load(s, self.w.wrapping_add(at));
            let d = self.direction.direction(s, at, lanes, gradient, w);
            lanes.store(s, self.gradient.wrapping_add(at), d);
        }
    }
}
