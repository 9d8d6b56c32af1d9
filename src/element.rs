//! The element types of the kernels: `f32` and `f64`.

use crate::isa::{ForIsa, InstructionSet, Isa};
use crate::kernels::Kernels;
use crate::simd::Scalar;
use std::marker::PhantomData;

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

/// Finds the table of an instruction set.
struct Find<T>(PhantomData<T>);

macro_rules! element {
    ($t:ident) => {
        impl Element for $t {}

        impl KernelsOf for $t {
            // Inlined in another crate, it would have the kernels compiled there once more.
            #[inline(never)]
            fn kernels(isa: Isa) -> &'static Table<Self> {
                isa.dispatch(Find(PhantomData::<Self>))
            }
        }

        impl ForIsa for Find<$t> {
            type Output = &'static Table<$t>;

            fn call<S: InstructionSet>(self) -> &'static Table<$t> {
                const { &Table(Kernels::of::<S>()) }
            }
        }
    };
}

element!(f32);
element!(f64);
