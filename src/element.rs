//! The element types of the kernels: `f32` and `f64`.

use crate::isa::Isa;
use crate::simd::Scalar;
use std::any::{Any, TypeId, type_name};

/// A floating-point type that the kernels compute with: `f32`, or `f64` where the feature of that name is on. See
/// [`Scalar`] for what it offers.
pub trait Element: Scalar + Tables {}

/// Finds the kernels of an element type.
pub trait Tables {
    /// The table of a type for an instruction set, if it is in the list.
    #[doc(hidden)]
    fn find(isa: Isa, table: TypeId) -> Option<&'static AnyTable>;
}

/// A table of kernels. Its type is not named here, so that a kind of layer may bring one of its own along.
pub type AnyTable = dyn Any + Send + Sync;

impl Element for f32 {}
#[cfg(feature = "f64")]
impl Element for f64 {}

/// The table of kernels of a type.
pub(crate) fn table<T: Element, K: Any>(isa: Isa) -> &'static K {
    let found = T::find(isa, TypeId::of::<K>()).and_then(|table| table.downcast_ref());
    found.unwrap_or_else(|| panic!("{} is not in the list of tables", type_name::<K>()))
}
