//! Arrays of NumPy and tensors of PyTorch, seen as memory.

use crate::dlpack::{self, DataType, Exchange};
use crate::error::{OrRaise, dtype_error, invalid_value, shape_error};
use interneuron::{Element, MatMut, MatRef};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};

/// The most dimensions of an array.
const MOST_DIMENSIONS: usize = 8;

/// The type of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    /// None that is computed with.
    Other,
}

const DTYPES: [(Dtype, &str, usize); 10] = [
    (Dtype::F32, "float32", 4),
    (Dtype::F64, "float64", 8),
    (Dtype::I8, "int8", 1),
    (Dtype::I16, "int16", 2),
    (Dtype::I32, "int32", 4),
    (Dtype::I64, "int64", 8),
    (Dtype::U8, "uint8", 1),
    (Dtype::U16, "uint16", 2),
    (Dtype::U32, "uint32", 4),
    (Dtype::U64, "uint64", 8),
];

impl Dtype {
    /// The one of a name.
    pub fn named(name: &str) -> Option<Self> {
        DTYPES.iter().find(|(_, known, _)| *known == name).map(|(dtype, ..)| *dtype)
    }

    /// What NumPy and PyTorch call it.
    pub fn name(self) -> &'static str {
        DTYPES.iter().find(|(dtype, ..)| *dtype == self).map_or("another type", |(_, name, _)| name)
    }

    fn size(self) -> usize {
        DTYPES.iter().find(|(dtype, ..)| *dtype == self).map_or(1, |(.., size)| *size)
    }

    /// That of elements `T`.
    pub fn of<T: Element>() -> Self {
        if size_of::<T>() == 4 { Self::F32 } else { Self::F64 }
    }

    fn of_dlpack(dtype: DataType) -> Self {
        match (dtype.code, dtype.bits, dtype.lanes) {
            (2, 32, 1) => Self::F32,
            (2, 64, 1) => Self::F64,
            (0, 8, 1) => Self::I8,
            (0, 16, 1) => Self::I16,
            (0, 32, 1) => Self::I32,
            (0, 64, 1) => Self::I64,
            (1, 8, 1) => Self::U8,
            (1, 16, 1) => Self::U16,
            (1, 32, 1) => Self::U32,
            (1, 64, 1) => Self::U64,
            _ => Self::Other,
        }
    }

    /// That of a buffer: a letter of the module `struct`, perhaps after one for the order of bytes.
    fn of_buffer(format: &str, size: usize) -> Self {
        let letter = match format.as_bytes() {
            [letter] | [b'@' | b'=', letter] => *letter,
            [b'<', letter] if cfg!(target_endian = "little") => *letter,
            [b'>' | b'!', letter] if cfg!(target_endian = "big") => *letter,
            _ => return Self::Other,
        };
        match (letter, size) {
            (b'f', 4) => Self::F32,
            (b'd', 8) => Self::F64,
            (b'b' | b'h' | b'i' | b'l' | b'q' | b'n', 1) => Self::I8,
            (b'b' | b'h' | b'i' | b'l' | b'q' | b'n', 2) => Self::I16,
            (b'b' | b'h' | b'i' | b'l' | b'q' | b'n', 4) => Self::I32,
            (b'b' | b'h' | b'i' | b'l' | b'q' | b'n', 8) => Self::I64,
            (b'B' | b'H' | b'I' | b'L' | b'Q' | b'N', 1) => Self::U8,
            (b'B' | b'H' | b'I' | b'L' | b'Q' | b'N', 2) => Self::U16,
            (b'B' | b'H' | b'I' | b'L' | b'Q' | b'N', 4) => Self::U32,
            (b'B' | b'H' | b'I' | b'L' | b'Q' | b'N', 8) => Self::U64,
            _ => Self::Other,
        }
    }
}

/// PyTorch, once a tensor of it was seen.
struct Torch {
    tensor: Py<PyType>,
    parameter: Py<PyType>,
    exchange: Option<&'static Exchange>,
    empty: Py<PyAny>,
    dtypes: [Py<PyAny>; 2],
}

static TORCH: PyOnceLock<Torch> = PyOnceLock::new();
/// Whether tensors are read by the table of DLPack where there is one.
static EXCHANGE: AtomicBool = AtomicBool::new(true);

/// For tests: whether tensors are read by the table of DLPack where there is one, or by their attributes, as those of a
/// PyTorch without it.
#[pyfunction]
pub fn _use_dlpack(wanted: bool) {
    EXCHANGE.store(wanted, Ordering::Relaxed);
}

impl Torch {
    /// PyTorch, if the object is one of its tensors.
    fn of<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<&'py Self>> {
        let py = object.py();
        let Some(torch) = TORCH.get(py) else {
            static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
            let Some(module) = MODULES.import(py, "sys", "modules")?.get_item("torch")? else { return Ok(None) };
            // A module that is being imported by another thread may not have it yet.
            let Ok(tensor) = module.getattr("Tensor") else { return Ok(None) };
            if !object.is_instance(&tensor)? {
                return Ok(None);
            }
            let torch = TORCH.get_or_try_init(py, || {
                let exchange = Exchange::of(&tensor);
                let parameter = module.getattr("nn")?.getattr("Parameter")?.cast_into::<PyType>()?.unbind();
                let dtypes = [module.getattr("float32")?.unbind(), module.getattr("float64")?.unbind()];
                let (empty, tensor) = (module.getattr("empty")?.unbind(), tensor.cast_into::<PyType>()?.unbind());
                Ok::<_, PyErr>(Self { tensor, parameter, exchange, empty, dtypes })
            })?;
            return Ok(Some(torch));
        };
        let kind = object.get_type_ptr();
        let is = kind.cast() == torch.tensor.as_ptr() || kind.cast() == torch.parameter.as_ptr();
        Ok((is || object.is_instance(torch.tensor.bind(py))?).then_some(torch))
    }

    fn exchange(&self) -> Option<&'static Exchange> {
        self.exchange.filter(|_| EXCHANGE.load(Ordering::Relaxed))
    }
}

/// Whose arrays they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    NumPy,
    Torch,
}

/// An array: where its elements are. It holds the object, so they stay there.
pub struct Array<'py> {
    name: &'static str,
    object: Bound<'py, PyAny>,
    /// Held until the array is dropped, so that nobody moves the elements.
    _buffer: Option<PyUntypedBuffer>,
    family: Family,
    address: *mut c_void,
    dtype: Dtype,
    writable: bool,
    rank: usize,
    shape: [usize; MOST_DIMENSIONS],
    /// In elements.
    strides: [isize; MOST_DIMENSIONS],
}

impl<'py> Array<'py> {
    /// The array that an object is. Errors call it by `name`.
    pub fn of(name: &'static str, object: &Bound<'py, PyAny>) -> PyResult<Self> {
        match Torch::of(object)? {
            Some(torch) => Self::of_tensor(name, object, torch),
            None => Self::of_buffer(name, object),
        }
    }

    fn new(name: &'static str, object: &Bound<'py, PyAny>, family: Family, rank: usize) -> PyResult<Self> {
        if rank > MOST_DIMENSIONS {
            let text = format!("{name} has {rank} dimensions: expected at most {MOST_DIMENSIONS}");
            return Err(shape_error(object.py(), text));
        }
        let (address, dtype) = (std::ptr::null_mut(), Dtype::Other);
        let (shape, strides) = ([0; MOST_DIMENSIONS], [0; MOST_DIMENSIONS]);
        let object = object.clone();
        Ok(Self { name, object, _buffer: None, family, address, dtype, writable: true, rank, shape, strides })
    }

    fn of_buffer(name: &'static str, object: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = object.py();
        let buffer = PyUntypedBuffer::get(object).map_err(|_| {
            let kind = object.get_type();
            PyTypeError::new_err(format!("{name} is {kind}: expected an array of NumPy or a tensor of PyTorch"))
        })?;
        let mut array = Self::new(name, object, Family::NumPy, buffer.dimensions())?;
        array.address = buffer.buf_ptr();
        array.writable = !buffer.readonly();
        let size = buffer.item_size();
        array.dtype = Dtype::of_buffer(&buffer.format().to_string_lossy(), size);
        if buffer.suboffsets().is_some() {
            return Err(shape_error(py, format!("{name} is made of pointers: expected rows in one piece of memory")));
        }
        for (k, (&len, &stride)) in buffer.shape().iter().zip(buffer.strides()).enumerate() {
            array.shape[k] = len;
            // A distance that is no number of elements cannot be said in elements; 0 is copied.
            array.strides[k] = if stride % size.max(1) as isize == 0 { stride / size.max(1) as isize } else { 0 };
        }
        array._buffer = Some(buffer);
        Ok(array)
    }

    fn of_tensor(name: &'static str, object: &Bound<'py, PyAny>, torch: &Torch) -> PyResult<Self> {
        let wrong_device = |device: String| {
            let text = format!("{name} is on the device {device}: expected one on the CPU, by .cpu()");
            Err(PyTypeError::new_err(text))
        };
        let mut array = match torch.exchange() {
            Some(exchange) => {
                let tensor = match exchange.view(object) {
                    Ok(tensor) => tensor,
                    // PyTorch says of some devices that DLPack has no word for them, and where in its code it found out.
                    Err(error) => match object.getattr("device")?.to_string() {
                        device if device == "cpu" => return Err(error),
                        device => return wrong_device(device),
                    },
                };
                if tensor.device.kind != dlpack::CPU {
                    return wrong_device(object.getattr("device")?.to_string());
                }
                let mut array = Self::new(name, object, Family::Torch, tensor.rank as usize)?;
                array.dtype = Dtype::of_dlpack(tensor.dtype);
                for k in 0..array.rank {
                    // SAFETY: shape and strides have as many numbers as the tensor has dimensions.
                    let (len, stride) = unsafe { (*tensor.shape.add(k), *tensor.strides.add(k)) };
                    (array.shape[k], array.strides[k]) = (len as usize, stride as isize);
                }
                array.address = tensor.data.wrapping_byte_add(tensor.byte_offset as usize);
                array
            }
            None => {
                let device = object.getattr("device")?;
                if device.getattr("type")?.extract::<String>()? != "cpu" {
                    return wrong_device(device.to_string());
                }
                let (shape, strides): (Vec<usize>, Vec<isize>) =
                    (object.getattr("shape")?.extract()?, object.call_method0("stride")?.extract()?);
                let mut array = Self::new(name, object, Family::Torch, shape.len())?;
                array.shape[..shape.len()].copy_from_slice(&shape);
                array.strides[..shape.len()].copy_from_slice(&strides);
                let dtype = object.getattr("dtype")?.to_string();
                array.dtype = Dtype::named(dtype.trim_start_matches("torch.")).unwrap_or(Dtype::Other);
                let address: usize = object.call_method0("data_ptr")?.extract()?;
                array.address = std::ptr::with_exposed_provenance_mut(address);
                array
            }
        };
        if array.address.is_null() && array.elements() > 0 {
            let kind = object.get_type();
            return Err(PyTypeError::new_err(format!(
                "{name} is {kind} without memory: expected a tensor with elements"
            )));
        }
        array.name = name;
        Ok(array)
    }

    /// A new array of the same family, of elements `T`. What is in it is to be overwritten.
    pub fn empty<T: Element>(py: Python<'py>, family: Family, name: &'static str, shape: &[usize]) -> PyResult<Self> {
        match family {
            Family::NumPy => {
                static EMPTY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
                let empty = EMPTY.import(py, "numpy", "empty")?;
                Self::of_buffer(name, &empty.call1((PyTuple::new(py, shape)?, Dtype::of::<T>().name()))?)
            }
            Family::Torch => {
                let torch = TORCH.get(py).expect("a tensor was seen");
                let Some(exchange) = torch.exchange() else {
                    let dtype = &torch.dtypes[usize::from(Dtype::of::<T>() == Dtype::F64)];
                    let keywords = PyDict::new(py);
                    keywords.set_item("dtype", dtype)?;
                    // Not where new tensors are by default.
                    keywords.set_item("device", "cpu")?;
                    let tensor = torch.empty.bind(py).call((PyTuple::new(py, shape)?,), Some(&keywords))?;
                    return Self::of_tensor(name, &tensor, torch);
                };
                let mut sizes = [0; MOST_DIMENSIONS];
                sizes.iter_mut().zip(shape).for_each(|(to, &from)| *to = from as i64);
                let dtype = DataType { code: 2, bits: 8 * size_of::<T>() as u8, lanes: 1 };
                let (object, data) = exchange.allocate(py, dtype, &mut sizes[..shape.len()])?;
                let mut array = Self::new(name, &object, Family::Torch, shape.len())?;
                (array.address, array.dtype) = (data.as_ptr(), Dtype::of::<T>());
                array.shape[..shape.len()].copy_from_slice(shape);
                let mut stride = 1;
                for k in (0..shape.len()).rev() {
                    array.strides[k] = stride as isize;
                    stride *= shape[k];
                }
                Ok(array)
            }
        }
    }

    pub fn family(&self) -> Family {
        self.family
    }

    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape[..self.rank]
    }

    pub fn elements(&self) -> usize {
        self.shape().iter().product()
    }

    /// The object itself.
    pub fn into_object(self) -> Bound<'py, PyAny> {
        self.object
    }

    pub fn python(&self) -> Python<'py> {
        self.object.py()
    }

    /// Checks the type of the elements.
    pub fn check_dtype(&self, expected: Dtype) -> PyResult<()> {
        if self.dtype == expected {
            return Ok(());
        }
        let (name, expected) = (self.name, expected.name());
        let is = if self.dtype == Dtype::Other {
            self.object.getattr("dtype")?.to_string()
        } else {
            self.dtype.name().into()
        };
        let cast = match (self.family, expected) {
            (Family::Torch, "float32") => format!("{name}.float()"),
            (Family::Torch, "float64") => format!("{name}.double()"),
            _ => format!("{name}.astype({expected:?})"),
        };
        Err(dtype_error(self.python(), format!("{name} is of {is}: expected {expected}, by {cast}")))
    }

    /// Whether elements lie at multiples of their size.
    fn is_aligned(&self) -> bool {
        self.address.addr().is_multiple_of(self.dtype.size())
    }

    /// Whether the elements follow one another in the order of the indices.
    pub fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        let in_order = (0..self.rank).rev().all(|k| {
            let fine = self.shape[k] == 1 || self.strides[k] == expected;
            expected *= self.shape[k] as isize;
            fine
        });
        self.elements() == 0 || (in_order && self.is_aligned())
    }

    /// A copy whose elements follow one another.
    fn copied(&self) -> PyResult<Self> {
        let copy = match self.family {
            Family::Torch => self.object.call_method0("detach")?.call_method0("contiguous")?,
            Family::NumPy => {
                let keywords = PyDict::new(self.python());
                keywords.set_item("order", "C")?;
                self.python().import("numpy")?.getattr("array")?.call((&self.object,), Some(&keywords))?
            }
        };
        let array = Self::of(self.name, &copy)?;
        // What is in order but not aligned is not copied by that.
        if array.is_contiguous() { Ok(array) } else { Self::of(self.name, &copy.call_method0("clone")?) }
    }

    /// The same, or a copy, whose elements follow one another.
    pub fn contiguous(self) -> PyResult<Self> {
        if self.is_contiguous() { Ok(self) } else { self.copied() }
    }

    /// Rows and distance of rows of a matrix of so many columns whose leading dimensions are flattened, if that can be
    /// said of its memory.
    fn rows(&self, cols: usize) -> Option<(usize, usize)> {
        let leading = self.rank - 1;
        let rows: usize = self.shape[..leading].iter().product();
        if !self.is_aligned() || (cols > 1 && self.strides[leading] != 1) {
            return None;
        }
        // The distance of rows is that of the last leading dimension of more than one; those before must go on in it.
        let (mut stride, mut span) = (None, 1);
        for k in (0..leading).rev().filter(|&k| self.shape[k] != 1) {
            let expected = stride.map_or(self.strides[k], |stride: isize| stride * span as isize);
            if self.strides[k] != expected {
                return None;
            }
            stride = stride.or(Some(self.strides[k]));
            span *= self.shape[k];
        }
        let stride = stride.unwrap_or(cols as isize);
        (stride >= cols as isize).then_some((rows, stride as usize))
    }

    /// An input: the same, or a copy where rows cannot be read as they lie.
    pub fn input<T: Element>(self, what: &str, cols: usize) -> PyResult<Self> {
        self.check_dtype(Dtype::of::<T>())?;
        if self.rank == 0 || self.shape[self.rank - 1] != cols {
            let (name, shape) = (self.name, self.shape());
            let text = format!("{name} has the shape {shape:?}: expected {cols} {what} in the last dimension");
            return Err(shape_error(self.python(), text));
        }
        if self.elements() == 0 || self.rows(cols).is_some() { Ok(self) } else { self.copied() }
    }

    /// Examples in an array whose last dimension is that of columns.
    pub fn examples(&self) -> usize {
        self.shape[..self.rank - 1].iter().product()
    }

    /// The elements as a matrix of which something is read. There must be some.
    ///
    /// # Safety
    /// While the slice lives, nobody writes to the elements.
    pub unsafe fn matrix<T: Element>(&self) -> PyResult<MatRef<'_, T>> {
        let cols = self.shape[self.rank - 1];
        let (rows, stride) = self.rows(cols).expect("an input");
        // SAFETY: the object has these elements and is held here; a float has no invalid bits; the rest is demanded here.
        let data = unsafe { std::slice::from_raw_parts(self.address.cast::<T>(), (rows - 1) * stride + cols) };
        MatRef::with_stride(data, rows, cols, stride).or_raise(self.python())
    }

    /// The elements of a new array, as a matrix that is written. There must be some.
    ///
    /// # Safety
    /// Nobody else has the array.
    pub unsafe fn matrix_mut<T: Element>(&mut self) -> PyResult<MatMut<'_, T>> {
        let (cols, rows, py) = (self.shape[self.rank - 1], self.examples(), self.python());
        // SAFETY: as demanded here.
        MatMut::new(unsafe { self.slice_mut() }?, rows, cols).or_raise(py)
    }

    /// The elements, in the order of the indices, of an array whose elements follow one another.
    ///
    /// # Safety
    /// While the slice lives, nobody writes to the elements.
    pub unsafe fn slice<T: Copy>(&self) -> &[T] {
        assert!(self.is_contiguous() && self.dtype.size() == size_of::<T>(), "a checked array");
        if self.elements() == 0 {
            return &[];
        }
        // SAFETY: the object has these elements and is held here; numbers have no invalid bits; the rest is demanded here.
        unsafe { std::slice::from_raw_parts(self.address.cast(), self.elements()) }
    }

    /// The elements that are to be written, in the order of the indices.
    ///
    /// # Errors
    /// If the array is read-only, or its elements do not follow one another.
    ///
    /// # Safety
    /// While the slice lives, nobody else reads or writes the elements.
    pub unsafe fn slice_mut<T: Element>(&mut self) -> PyResult<&mut [T]> {
        let name = self.name;
        self.check_dtype(Dtype::of::<T>())?;
        if !self.writable {
            return Err(invalid_value(
                self.python(),
                format!("{name} is read-only: expected an array that can be written"),
            ));
        }
        if !self.is_contiguous() {
            let (shape, strides) = (self.shape(), &self.strides[..self.rank]);
            let text = format!(
                "{name} of shape {shape:?} has strides of {strides:?} elements: expected a row-major array without gaps"
            );
            return Err(shape_error(self.python(), text));
        }
        if self.elements() == 0 {
            return Ok(&mut []);
        }
        // SAFETY: as for reading; the array can be written, and nobody else uses it.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.address.cast(), self.elements()) })
    }

    /// Whether some of the memory that the two span is the same.
    fn overlaps(&self, other: &Self) -> bool {
        let span = |array: &Self| {
            if array.elements() == 0 {
                return None;
            }
            let (mut least, mut most) = (0, 0);
            for k in 0..array.rank {
                let reach = array.strides[k] * (array.shape[k] as isize - 1);
                if reach < 0 { least += reach } else { most += reach }
            }
            let (start, size) = (array.address.addr() as isize, array.dtype.size() as isize);
            Some((start + least * size, start + (most + 1) * size))
        };
        span(self).zip(span(other)).is_some_and(|((a, a_end), (b, b_end))| a < b_end && b < a_end)
    }

    /// Checks that what is written overlaps nothing else.
    pub fn check_apart<'a>(written: &[&'a Self], read: &[&'a Self]) -> PyResult<()>
    where
        'py: 'a,
    {
        for (k, array) in written.iter().enumerate() {
            if let Some(other) = written[k + 1..].iter().chain(read).find(|other| array.overlaps(other)) {
                let text = format!("{} shares memory with {}: expected arrays of their own", array.name, other.name);
                return Err(shape_error(array.python(), text));
            }
        }
        Ok(())
    }

    /// Overwrites the elements with zeros.
    ///
    /// # Safety
    /// Nobody else has the array.
    pub unsafe fn fill_zero<T: Element>(&mut self) -> PyResult<()> {
        // SAFETY: as demanded here.
        unsafe { self.slice_mut::<T>() }?.fill(T::ZERO);
        Ok(())
    }

    /// The elements of an array of integers, each less than 2³²; of one dimension, unless that was seen to already.
    pub fn labels(self, in_a_row: bool) -> PyResult<Vec<u32>> {
        fn all<I: Copy + std::fmt::Display>(py: Python<'_>, name: &str, values: &[I]) -> PyResult<Vec<u32>>
        where
            u32: TryFrom<I>,
        {
            let mut labels = Vec::with_capacity(values.len());
            for (index, &value) in values.iter().enumerate() {
                labels.push(u32::try_from(value).map_err(|_| {
                    invalid_value(py, format!("{name}[{index}] is {value}: expected the number of a class, from 0"))
                })?);
            }
            Ok(labels)
        }
        if in_a_row && self.rank != 1 {
            let text = format!("{} has the shape {:?}: expected one label for each example", self.name, self.shape());
            return Err(shape_error(self.python(), text));
        }
        let array = self.contiguous()?;
        let (py, name) = (array.python(), array.name);
        // SAFETY: the elements are copied at once.
        unsafe {
            match array.dtype {
                Dtype::I8 => all::<i8>(py, name, array.slice()),
                Dtype::I16 => all::<i16>(py, name, array.slice()),
                Dtype::I32 => all::<i32>(py, name, array.slice()),
                Dtype::I64 => all::<i64>(py, name, array.slice()),
                Dtype::U8 => all::<u8>(py, name, array.slice()),
                Dtype::U16 => all::<u16>(py, name, array.slice()),
                Dtype::U32 => all::<u32>(py, name, array.slice()),
                Dtype::U64 => all::<u64>(py, name, array.slice()),
                _ => {
                    let is = array.object.getattr("dtype")?;
                    Err(dtype_error(py, format!("{name} is of {is}: expected labels of an integer type")))
                }
            }
        }
    }
}
