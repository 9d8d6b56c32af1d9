//! The element types of the kernels: `f32` and `f64`.

use crate::isa::{Isa, Kind};
use crate::kernels::Kernels;
use crate::simd::Portable;
#[cfg(all(target_arch = "x86_64", not(interneuron_portable)))]
use crate::simd::{Avx2, Avx512};
use std::fmt::{Debug, Display};
use std::ops::{Add, Div, Mul, Neg, Sub};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A floating-point type that the kernels compute with: `f32` or `f64`.
pub trait Element:
    sealed::Sealed
    + KernelsOf
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

/// Finds the kernels of an element type; apart from [`Element`] so that no public trait names private types.
pub trait KernelsOf: Sized {
    #[doc(hidden)]
    fn kernels(isa: Isa) -> &'static Table<Self>;
}

#[doc(hidden)]
pub struct Table<T>(Kernels<T>);

impl<T> Table<T> {
    pub(crate) fn get(&self) -> &Kernels<T> {
        &self.0
    }
}

macro_rules! element {
    ($t:ident, $four:ident) => {
        impl Element for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NEG_INFINITY: Self = $t::NEG_INFINITY;
            const MAX: Self = $t::MAX;

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

        impl KernelsOf for $t {
            fn kernels(isa: Isa) -> &'static Table<Self> {
                static PORTABLE: Table<$t> = Table(Kernels::of::<Portable>());
                #[cfg(all(target_arch = "x86_64", not(interneuron_portable)))]
                static AVX2: Table<$t> = Table(Kernels::of::<Avx2>());
                #[cfg(all(target_arch = "x86_64", not(interneuron_portable)))]
                static AVX512: Table<$t> = Table(Kernels::of::<Avx512>());
                match isa.kind() {
                    Kind::Portable => &PORTABLE,
                    #[cfg(all(target_arch = "x86_64", not(interneuron_portable)))]
                    Kind::Avx2 => &AVX2,
                    #[cfg(all(target_arch = "x86_64", not(interneuron_portable)))]
                    Kind::Avx512 => &AVX512,
                }
            }
        }
    };
}

element!(f32, f32x4);
element!(f64, f64x4);
