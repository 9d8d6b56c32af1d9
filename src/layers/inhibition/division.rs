//! What becomes of the sum that divides: kinds of divisors, each for all vectors of a layer.

use crate::element::Element;
use crate::error::Error;
use crate::simd::{Scalar, Simd};

/// ε of γ.
pub(crate) const EPSILON: f64 = 1e-8;
/// What is added under the root.
const ROOT_EPSILON: f64 = 1e-5;

/// What a layer with inhibition divides by, with `a = exp(alpha)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Divisor {
    /// `γ = (a ⊙ zI) Weiᵀ + ε` with ε = 1e-8: for inputs ≥ 0.
    #[default]
    Plain,
    /// `γ = max((a ⊙ zI) Weiᵀ + ε, γ_min)`, and no gradient through a divisor that was below `γ_min`. For inputs of both
    /// signs, and for examples without input, whose gradients are then at most `1/γ_min` times those of others. 0.01 is
    /// a floor that inputs ≥ 0 do not meet; from 1e-4 to 1 all serve, and 1e-6 does not.
    Floor(Floor),
    /// `γ = √((a ⊙ zI)² Weiᵀ + 1e-5)`, the squares elementwise: for inputs of both signs. `alpha` begins where the mean
    /// square of γ is the variance of what it divides.
    Root,
}

impl Divisor {
    /// With a floor of `γ_min`.
    ///
    /// # Errors
    /// As [`Floor::new`].
    pub fn floor(least: f64) -> Result<Self, Error> {
        Ok(Self::Floor(Floor::new(least)?))
    }
}

/// As checkpoints have it: `plain`, `root` or `floor:0.01`.
#[cfg(feature = "checkpoint")]
impl Divisor {
    pub(crate) fn text(self) -> String {
        match self {
            Self::Plain => "plain".to_owned(),
            Self::Floor(floor) => format!("floor:{:e}", floor.get()),
            Self::Root => "root".to_owned(),
        }
    }

    pub(crate) fn of_text(text: &str) -> Option<Self> {
        match text {
            "plain" => Some(Self::Plain),
            "root" => Some(Self::Root),
            _ => Self::floor(text.strip_prefix("floor:")?.parse().ok()?).ok(),
        }
    }
}

/// The least divisor `γ_min` of a layer: a number from 1e-30 to 1e30, so that it and its inverse are numbers in any
/// element type.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Floor {
    /// The bits of the number, of which each has one form.
    bits: u64,
}

impl Floor {
    /// A floor of `γ_min`.
    ///
    /// # Errors
    /// [`Error::Policy`] if it is not from 1e-30 to 1e30.
    pub fn new(least: f64) -> Result<Self, Error> {
        if !(1e-30..=1e30).contains(&least) {
            return Err(Error::Policy { name: "floor", value: least, expected: "from 1e-30 to 1e30" });
        }
        Ok(Self { bits: least.to_bits() })
    }

    /// `γ_min`.
    pub fn get(self) -> f64 {
        f64::from_bits(self.bits)
    }
}

impl std::fmt::Debug for Floor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Floor").field(&self.get()).finish()
    }
}

/// The divisor of a layer, as its passes need it. The plain one has kernels of its own.
#[derive(Clone, Copy)]
pub(crate) enum Division<T> {
    Plain(Plain<T>),
    Other(Other<T>),
}

impl<T: Element> Division<T> {
    pub fn new(divisor: Divisor) -> Self {
        match divisor {
            Divisor::Plain => Self::Plain(Plain::new()),
            Divisor::Floor(floor) => Self::Other(Other::Floor(Floored::new(floor))),
            Divisor::Root => Self::Other(Other::Root(Root { epsilon: T::from_f64(ROOT_EPSILON) })),
        }
    }

    /// What is added to the sum, and the bound.
    pub fn bound(self) -> [T; 2] {
        match self {
            Self::Plain(divide) => [divide.epsilon, divide.bound()],
            Self::Other(Other::Floor(divide)) => [divide.epsilon, divide.bound()],
            Self::Other(Other::Root(divide)) => [divide.epsilon, divide.bound()],
        }
    }

    /// Whether it is a sum of squares.
    pub fn is_root(self) -> bool {
        matches!(self, Self::Other(Other::Root(_)))
    }

    /// `1/γ` from what was kept of it.
    pub fn kept(self, kept: T) -> T {
        match self {
            Self::Other(_) if kept < T::ZERO => -kept,
            _ => kept,
        }
    }
}

/// Numbers of a kind of divisor, as kernels need them.
pub(crate) trait Divide<T: Scalar>: Copy + Send + Sync + 'static {
    /// The bound: divisors below it are low.
    fn bound(self) -> T;

    /// The sum of the division before its bound.
    fn unbounded<S: Simd<T>>(self, s: S, sum: S::V) -> S::V;

    /// `1/γ`, and what the backward pass gets of it.
    #[inline(always)]
    fn inverse<S: Simd<T>>(self, s: S, unbounded: S::V) -> [S::V; 2] {
        [s.div(s.splat(T::ONE), unbounded); 2]
    }

    /// `1/γ` from what was kept of it.
    #[inline(always)]
    fn kept<S: Simd<T>>(self, _: S, kept: S::V) -> S::V {
        kept
    }

    /// The gradient by the sum, from `du ⊙ ẑ` and what was kept of `1/γ`.
    fn dsum<S: Simd<T>>(self, s: S, du_zhat: S::V, kept: S::V) -> S::V;
}

/// See [`Divisor::Plain`].
#[derive(Clone, Copy)]
pub(crate) struct Plain<T> {
    epsilon: T,
}

impl<T: Element> Plain<T> {
    pub fn new() -> Self {
        Self { epsilon: T::from_f64(EPSILON) }
    }
}

impl<T: Scalar> Divide<T> for Plain<T> {
    #[inline(always)]
    fn bound(self) -> T {
        self.epsilon
    }

    #[inline(always)]
    fn unbounded<S: Simd<T>>(self, s: S, sum: S::V) -> S::V {
        s.add(sum, s.splat(self.epsilon))
    }

    /// `dγ = −du ⊙ ẑ`
    #[inline(always)]
    fn dsum<S: Simd<T>>(self, s: S, du_zhat: S::V, _: S::V) -> S::V {
        s.sub(s.zero(), du_zhat)
    }
}

/// See [`Divisor::Floor`]. What is kept of `1/γ` is negative where γ was below the floor.
#[derive(Clone, Copy)]
pub(crate) struct Floored<T> {
    epsilon: T,
    floor: T,
}

impl<T: Element> Floored<T> {
    pub fn new(floor: Floor) -> Self {
        Self { epsilon: T::from_f64(EPSILON), floor: T::from_f64(floor.get()) }
    }
}

impl<T: Scalar> Divide<T> for Floored<T> {
    #[inline(always)]
    fn bound(self) -> T {
        self.floor
    }

    #[inline(always)]
    fn unbounded<S: Simd<T>>(self, s: S, sum: S::V) -> S::V {
        s.add(sum, s.splat(self.epsilon))
    }

    #[inline(always)]
    fn inverse<S: Simd<T>>(self, s: S, unbounded: S::V) -> [S::V; 2] {
        let (floor, half) = (s.splat(self.floor), s.splat(T::from_f64(0.5)));
        let inverse = s.div(s.splat(T::ONE), s.at_least(unbounded, floor));
        // 1 where it is below, and 0 of any sign elsewhere: a difference of 0 has the sign of the caller's rounding.
        let below = s.at_least(s.where_positive(s.sub(floor, unbounded), s.splat(T::ONE)), s.zero());
        [inverse, s.flip(inverse, s.sub(half, below))]
    }

    #[inline(always)]
    fn kept<S: Simd<T>>(self, s: S, kept: S::V) -> S::V {
        s.flip(kept, kept)
    }

    /// `dγ = −du ⊙ ẑ`, 0 where it was below the floor.
    #[inline(always)]
    fn dsum<S: Simd<T>>(self, s: S, du_zhat: S::V, kept: S::V) -> S::V {
        s.where_positive(s.at_least(kept, s.zero()), s.sub(s.zero(), du_zhat))
    }
}

/// See [`Divisor::Root`].
#[derive(Clone, Copy)]
pub(crate) struct Root<T> {
    epsilon: T,
}

impl<T: Scalar> Divide<T> for Root<T> {
    /// A root is not below 0.
    #[inline(always)]
    fn bound(self) -> T {
        T::ZERO
    }

    #[inline(always)]
    fn unbounded<S: Simd<T>>(self, s: S, sum: S::V) -> S::V {
        s.sqrt(s.add(sum, s.splat(self.epsilon)))
    }

    /// `dγ/(2γ) = −du ⊙ ẑ/(2γ)`
    #[inline(always)]
    fn dsum<S: Simd<T>>(self, s: S, du_zhat: S::V, kept: S::V) -> S::V {
        s.mul(du_zhat, s.mul(s.splat(T::from_f64(-0.5)), kept))
    }
}

/// The divisors that share kernels.
#[derive(Clone, Copy)]
pub(crate) enum Other<T> {
    Floor(Floored<T>),
    Root(Root<T>),
}

impl<T: Scalar> Divide<T> for Other<T> {
    #[inline(always)]
    fn bound(self) -> T {
        match self {
            Self::Floor(divide) => divide.bound(),
            Self::Root(divide) => divide.bound(),
        }
    }

    #[inline(always)]
    fn unbounded<S: Simd<T>>(self, s: S, sum: S::V) -> S::V {
        match self {
            Self::Floor(divide) => divide.unbounded(s, sum),
            Self::Root(divide) => divide.unbounded(s, sum),
        }
    }

    #[inline(always)]
    fn inverse<S: Simd<T>>(self, s: S, unbounded: S::V) -> [S::V; 2] {
        match self {
            Self::Floor(divide) => divide.inverse(s, unbounded),
            Self::Root(divide) => divide.inverse(s, unbounded),
        }
    }

    #[inline(always)]
    fn kept<S: Simd<T>>(self, s: S, kept: S::V) -> S::V {
        match self {
            Self::Floor(divide) => divide.kept(s, kept),
            Self::Root(divide) => divide.kept(s, kept),
        }
    }

    #[inline(always)]
    fn dsum<S: Simd<T>>(self, s: S, du_zhat: S::V, kept: S::V) -> S::V {
        match self {
            Self::Floor(divide) => divide.dsum(s, du_zhat, kept),
            Self::Root(divide) => divide.dsum(s, du_zhat, kept),
        }
    }
}
