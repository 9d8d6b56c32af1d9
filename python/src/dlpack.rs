//! The table of C functions by which libraries hand tensors to one another: DLPack 1.3, `__dlpack_c_exchange_api__`.
//!
//! Source: `dlpack.h` of the DLPack project. The structs are laid out as there.

use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use std::ffi::{c_char, c_int, c_void};
use std::ptr::{NonNull, null_mut};

/// The device that is this processor.
pub const CPU: i32 = 1;
/// The major version whose table this is.
const MAJOR: u32 = 1;

#[repr(C)]
struct Version {
    major: u32,
    minor: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Device {
    pub kind: i32,
    pub id: i32,
}

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DataType {
    pub code: u8,
    pub bits: u8,
    pub lanes: u16,
}

/// A tensor, whose shape and strides are somebody else's.
#[repr(C)]
pub struct Tensor {
    pub data: *mut c_void,
    pub device: Device,
    pub rank: i32,
    pub dtype: DataType,
    pub shape: *mut i64,
    pub strides: *mut i64,
    pub byte_offset: u64,
}

/// A tensor that is owned.
#[repr(C)]
struct Managed {
    version: Version,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Managed)>,
    flags: u64,
    tensor: Tensor,
}

type SetError = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char);

/// The table. It lives as long as the library that has it.
#[repr(C)]
pub struct Exchange {
    version: Version,
    older: *const Exchange,
    allocate: unsafe extern "C" fn(*mut Tensor, *mut *mut Managed, *mut c_void, SetError) -> c_int,
    managed_of: unsafe extern "C" fn(*mut c_void, *mut *mut Managed) -> c_int,
    object_of: unsafe extern "C" fn(*mut Managed, *mut *mut c_void) -> c_int,
    tensor_of: Option<unsafe extern "C" fn(*mut c_void, *mut Tensor) -> c_int>,
}

// SAFETY: the table is never written, and its functions may be called by any thread that Python runs on.
unsafe impl Sync for Exchange {}

impl Tensor {
    /// What a function fills in.
    pub fn empty() -> Self {
        let (device, dtype) = (Device { kind: 0, id: 0 }, DataType { code: 0, bits: 0, lanes: 0 });
        Self { data: null_mut(), device, rank: 0, dtype, shape: null_mut(), strides: null_mut(), byte_offset: 0 }
    }
}

/// What a failed allocation says.
unsafe extern "C" fn note(into: *mut c_void, _kind: *const c_char, text: *const c_char) {
    // SAFETY: `into` is the string that was handed in with this function, and the text ends with NUL.
    unsafe { *into.cast::<String>() = std::ffi::CStr::from_ptr(text).to_string_lossy().into_owned() };
}

impl Exchange {
    /// The table that the type of a tensor has, if it has one of a version that is known here.
    pub fn of(kind: &Bound<'_, PyAny>) -> Option<&'static Self> {
        let capsule = kind.getattr("__dlpack_c_exchange_api__").ok()?;
        let capsule = capsule.cast::<PyCapsule>().ok()?;
        let pointer = capsule.pointer_checked(Some(c"dlpack_exchange_api")).ok()?;
        let mut table: *const Self = pointer.as_ptr().cast();
        while !table.is_null() {
            // SAFETY: the capsule's name says that it points to such a table, which lives as long as the library. What
            // follows the version and the older table is only looked at in a version that is known.
            let (major, older) = unsafe { ((*table).version.major, (*table).older) };
            if major == MAJOR {
                // SAFETY: as above.
                let table = unsafe { &*table };
                return table.tensor_of.is_some().then_some(table);
            }
            table = older;
        }
        None
    }

    /// What a tensor is. Its shape and strides live as long as the tensor is not changed.
    ///
    /// # Errors
    /// What the library says of a tensor that has no such form.
    pub fn view(&self, object: &Bound<'_, PyAny>) -> PyResult<Tensor> {
        let mut tensor = Tensor::empty();
        let function = self.tensor_of.expect("a table with this function");
        // SAFETY: the object is an instance of the type that has this table, and Python runs on this thread.
        let status = unsafe { function(object.as_ptr().cast(), &raw mut tensor) };
        if status == 0 { Ok(tensor) } else { Err(PyErr::fetch(object.py())) }
    }

    /// A new tensor on this processor, and where its elements are.
    ///
    /// # Errors
    /// What the library says if there is no memory for it.
    pub fn allocate<'py>(
        &self,
        py: Python<'py>,
        dtype: DataType,
        shape: &mut [i64],
    ) -> PyResult<(Bound<'py, PyAny>, NonNull<c_void>)> {
        let mut prototype = Tensor {
            device: Device { kind: CPU, id: 0 },
            rank: shape.len() as i32,
            dtype,
            shape: shape.as_mut_ptr(),
            ..Tensor::empty()
        };
        let (mut managed, mut text) = (null_mut(), String::new());
        let into = (&raw mut text).cast();
        // SAFETY: the prototype has shape and type, and `note` takes what it is handed.
        let status = unsafe { (self.allocate)(&raw mut prototype, &raw mut managed, into, note) };
        if status != 0 || managed.is_null() {
            return Err(PyErr::take(py).unwrap_or_else(|| pyo3::exceptions::PyMemoryError::new_err(text)));
        }
        // SAFETY: it was just made.
        let data = unsafe { (*managed).tensor.data.byte_add((*managed).tensor.byte_offset as usize) };
        let mut object = null_mut();
        // SAFETY: the function takes the tensor over.
        let status = unsafe { (self.object_of)(managed, &raw mut object) };
        if status != 0 || object.is_null() {
            return Err(PyErr::fetch(py));
        }
        // SAFETY: a new reference to an object of Python.
        let object = unsafe { Bound::from_owned_ptr(py, object.cast::<PyObject>()) };
        Ok((object, NonNull::new(data).unwrap_or(NonNull::<u64>::dangling().cast())))
    }
}
