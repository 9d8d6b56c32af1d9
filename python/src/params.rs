//! The arrays of layers that somebody else owns.

use crate::array::{Array, Dtype, Family};
use crate::error::{OrRaise, shape_error};
use crate::shape::Shape;
use interneuron::{Element, ParamsMut, ParamsRef};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// The arrays of a layer: those that it has, in their order.
pub struct Arrays<'py> {
    pub arrays: Vec<Array<'py>>,
    shape: Shape,
}

impl<'py> Arrays<'py> {
    /// The arrays of a sequence, with the dimensions that a layer of this shape has. Errors call them by `name`.
    pub fn of(name: &'static str, objects: &Bound<'py, PyAny>, shape: &Shape) -> PyResult<Self> {
        let objects = match objects.cast::<PyTuple>() {
            Ok(objects) => objects.clone(),
            Err(_) => PyTuple::new(objects.py(), objects.try_iter()?.collect::<PyResult<Vec<_>>>()?)?,
        };
        let mut arrays = Vec::with_capacity(objects.len());
        for (object, parameter) in objects.iter_borrowed().zip(shape.present()) {
            arrays.push(Array::of(parameter.name, &object)?);
            let (is, expected) = (arrays[arrays.len() - 1].shape(), parameter.dimensions());
            if is != expected {
                let text = format!("{} has the shape {is:?}: expected {expected:?}", parameter.name);
                return Err(shape_error(objects.py(), text));
            }
        }
        if arrays.len() != objects.len() || arrays.len() != shape.present().count() {
            let names: Vec<&str> = shape.present().map(|parameter| parameter.name).collect();
            let text = format!("{name} are {} arrays: expected {}, {}", objects.len(), names.len(), names.join(", "));
            return Err(shape_error(objects.py(), text));
        }
        Ok(Self { arrays, shape: shape.clone() })
    }

    /// Arrays that are read: those that cannot be read as they lie are copied.
    pub fn of_input(name: &'static str, objects: &Bound<'py, PyAny>, shape: &Shape, dtype: Dtype) -> PyResult<Self> {
        Self::of(name, objects, shape)?.input(dtype)
    }

    /// The same of elements of this type, as arrays that are read.
    pub fn input(self, dtype: Dtype) -> PyResult<Self> {
        self.arrays.iter().try_for_each(|array| array.check_dtype(dtype))?;
        self.contiguous()
    }

    /// The first array, by which the element type is known.
    pub fn first(&self) -> &Array<'py> {
        self.arrays.first().expect("every layer has arrays")
    }

    /// The same, with copies of those that are not row-major without gaps.
    pub fn contiguous(self) -> PyResult<Self> {
        if self.arrays.iter().all(Array::is_contiguous) {
            return Ok(self);
        }
        let Self { arrays, shape } = self;
        Ok(Self { arrays: arrays.into_iter().map(Array::contiguous).collect::<PyResult<_>>()?, shape })
    }

    /// New arrays of zeros, of a family.
    pub fn zeros<T: Element>(py: Python<'py>, family: Family, shape: &Shape) -> PyResult<Self> {
        let mut new = Self::empty::<T>(py, family, shape)?;
        for array in &mut new.arrays {
            // SAFETY: nobody else has it yet.
            unsafe { array.fill_zero::<T>() }?;
        }
        Ok(new)
    }

    /// New arrays, of a family. What is in them is to be overwritten.
    pub fn empty<T: Element>(py: Python<'py>, family: Family, shape: &Shape) -> PyResult<Self> {
        let array =
            |parameter: &interneuron::Parameter| Array::empty::<T>(py, family, parameter.name, parameter.dimensions());
        Ok(Self { arrays: shape.present().map(array).collect::<PyResult<_>>()?, shape: shape.clone() })
    }

    /// The objects.
    pub fn into_objects(self) -> impl Iterator<Item = Bound<'py, PyAny>> {
        self.arrays.into_iter().map(Array::into_object)
    }

    /// A view for reading.
    ///
    /// # Safety
    /// While the view lives, nobody writes to the elements.
    pub unsafe fn view<T: Element>(&self, py: Python<'py>) -> PyResult<ParamsRef<'_, T>> {
        let mut arrays = self.arrays.iter();
        let all = self.shape.schema.iter().map(|parameter| {
            let array = (parameter.elements() > 0).then(|| arrays.next().expect("as many as the layer has"));
            // SAFETY: as demanded here.
            array.map_or(&[][..], |array| unsafe { array.slice() })
        });
        ParamsRef::new(&self.shape.schema, all).or_raise(py)
    }

    /// A view for writing.
    ///
    /// # Errors
    /// If an array is of another type, read-only, or not row-major without gaps.
    ///
    /// # Safety
    /// While the view lives, nobody else reads or writes the elements.
    pub unsafe fn view_mut<T: Element>(&mut self, py: Python<'py>) -> PyResult<ParamsMut<'_, T>> {
        let mut arrays = self.arrays.iter_mut();
        let mut all: Vec<&mut [T]> = vec![];
        for parameter in self.shape.schema.iter() {
            all.push(if parameter.elements() > 0 {
                // SAFETY: as demanded here.
                unsafe { arrays.next().expect("as many as the layer has").slice_mut() }?
            } else {
                &mut []
            });
        }
        ParamsMut::new(&self.shape.schema, all).or_raise(py)
    }

    /// Checks that these, which are written, overlap neither one another nor what is read.
    pub fn check_apart(&self, read: &[&Array<'py>]) -> PyResult<()> {
        let written: Vec<&Array<'py>> = self.arrays.iter().collect();
        Array::check_apart(&written, read)
    }
}
