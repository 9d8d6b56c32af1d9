//! Projected descent: a step along a direction, and back to the bound.

use super::policy::Move;
use crate::kernels::update::Lanes;
use crate::simd::{Scalar, Simd};

/// `θ ← bounded(keep · θ − rate · d)`. Decoupled decay is in `keep`, which is 1 without: then the product changes no
/// bit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Projected<T> {
    pub rate: T,
    pub keep: T,
    pub bound: Bound<T>,
}

impl<T: Scalar> Projected<T> {
    /// Whether it is a step that has a loop of its own: see [`Projected::common`].
    pub fn is_common(&self) -> bool {
        self.bound.floor.is_none()
    }

    /// The same where [`Projected::is_common`], told in a way that the compiler sees.
    #[inline(always)]
    pub fn common(self) -> Self {
        Self { bound: Bound { floor: None, ..self.bound }, ..self }
    }
}

impl<T: Scalar, S: Simd<T>> Move<T, S> for Projected<T> {
    #[inline(always)]
    unsafe fn moved(self, s: S, _: usize, _: Lanes, w: S::V, d: S::V) -> S::V {
        let Self { rate, keep, bound } = self;
        bound.hold(s, s.sub(s.mul(s.splat(keep), w), s.mul(s.splat(rate), d)), w)
    }
}

/// What a parameter may not cross.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound<T> {
    /// 0 or more for parameters that are not negative, −∞ for others.
    pub low: T,
    /// The least magnitude of parameters of any sign that keep theirs.
    pub floor: Option<T>,
}

impl<T: Scalar> Bound<T> {
    /// What may become of `w` where `next` is wanted.
    #[inline(always)]
    pub fn hold<S: Simd<T>>(self, s: S, next: S::V, w: S::V) -> S::V {
        match self.floor {
            Some(floor) => s.flip(s.at_least(s.flip(next, w), s.splat(floor)), w),
            None => s.at_least(next, s.splat(self.low)),
        }
    }
}
