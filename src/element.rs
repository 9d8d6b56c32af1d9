//! The element types of the kernels: `f32` and `f64`.

use crate::isa::{Isa, Kind};
use crate::kernels::Kernels;
#[cfg(all(target_arch = "x86_64", not(interneuron_portable)))]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Portable, Scalar};

/// A floating-point type that the kernels compute with: `f32` or `f64`. See [`Scalar`] for what it offers.
pub trait Element: Scalar + KernelsOf {}

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
    ($t:ident) => {
        impl Element for $t {}

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

element!(f32);
element!(f64);
