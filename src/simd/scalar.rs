//! The numbers that vectors are made of: `f32` and `f64`.

use super::exp::Constants;
use std::fmt::{Debug, Display};
use std::ops::{Add, Div, Mul, Neg, Sub};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A floating-point number, `f32` or `f64`: what [`Element`](crate::Element) knows of one number.
pub trait Scalar:
    sealed::Sealed
    + Copy
    + Default
    + PartialOrd
    + Debug
    + Display
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + bytemuck::Pod
{
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
    /// −∞
    const NEG_INFINITY: Self;
    /// The largest finite value.
    const MAX: Self;
    /// The smallest normal number above 0.
    const MIN_POSITIVE: Self;
    /// What the exponential function of vectors needs.
    #[doc(hidden)]
    const EXP: Constants<Self>;

    /// The nearest value to `x`.
    fn from_f64(x: f64) -> Self;
    /// `self` without a change.
    fn to_f64(self) -> f64;
    /// `e` to the power of `self`.
    fn exp(self) -> Self;
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// Rows for columns. In registers: the layouts of activations are made of such blocks.
    #[doc(hidden)]
    fn transpose(block: [[Self; 4]; 4]) -> [[Self; 4]; 4];
}

macro_rules! scalar {
    ($t:ident, $four:ident) => {
        impl Scalar for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NEG_INFINITY: Self = $t::NEG_INFINITY;
            const MAX: Self = $t::MAX;
            const MIN_POSITIVE: Self = $t::MIN_POSITIVE;
            const EXP: Constants<Self> = Constants::<Self>::VALUES;

            #[inline]
            fn from_f64(x: f64) -> Self {
                x as Self
            }
            #[inline]
            fn to_f64(self) -> f64 {
                self.into()
            }
            #[inline]
            fn exp(self) -> Self {
                self.exp()
            }
            #[inline]
            fn is_finite(self) -> bool {
                self.is_finite()
            }
            #[inline]
            fn transpose(block: [[Self; 4]; 4]) -> [[Self; 4]; 4] {
                wide::$four::transpose(block.map(wide::$four::from)).map(wide::$four::to_array)
            }
        }
    };
}

scalar!(f32, f32x4);
scalar!(f64, f64x4);
