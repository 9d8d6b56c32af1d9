//! What steps keep, as an object of Python.

use crate::array::{Array, Dtype, Family};
use crate::error::{OrRaise, in_use, invalid_value, shape_error};
use crate::params::Arrays;
use crate::shape::{Number, Shape};
use interneuron::{Element, Params};
use pyo3::prelude::*;
use std::any::Any;
use std::sync::{Mutex, MutexGuard, TryLockError};

/// Something for one of the element types.
#[derive(Clone, PartialEq)]
pub enum Either<A, B> {
    F32(A),
    F64(B),
}

/// The same code for either.
macro_rules! either {
    ($value:expr, $inner:pat => $body:expr) => {
        match $value {
            $crate::state::Either::F32($inner) => $body,
            $crate::state::Either::F64($inner) => $body,
        }
    };
}
pub(crate) use either;

/// The lock, unless another thread has it.
pub fn lock<'m, A>(py: Python<'_>, mutex: &'m Mutex<A>, what: &str) -> PyResult<MutexGuard<'m, A>> {
    match mutex.try_lock() {
        Ok(guard) => Ok(guard),
        Err(TryLockError::Poisoned(guard)) => Ok(guard.into_inner()),
        Err(TryLockError::WouldBlock) => Err(in_use(py, what)),
    }
}

/// The element type of a name: float32 or float64.
pub fn float(py: Python<'_>, dtype: &str) -> PyResult<Dtype> {
    match Dtype::named(dtype) {
        Some(dtype @ (Dtype::F32 | Dtype::F64)) => Ok(dtype),
        _ => Err(invalid_value(py, format!("dtype is {dtype:?}: expected \"float32\" or \"float64\""))),
    }
}

type Kept = Either<interneuron::State<f32>, interneuron::State<f64>>;

/// What steps keep of one layer.
#[pyclass(frozen, module = "interneuron._core")]
pub struct State {
    pub shape: Shape,
    kept: Mutex<Kept>,
}

impl State {
    pub fn with<T: Number>(shape: Shape, state: interneuron::State<T>) -> Self {
        let mut state = Some(state);
        let any: &mut dyn Any = &mut state;
        let kept = match any.downcast_mut::<Option<interneuron::State<f32>>>() {
            Some(state) => Either::F32(state.take().expect("the state")),
            None => Either::F64(
                any.downcast_mut::<Option<interneuron::State<f64>>>().and_then(Option::take).expect("f32 or f64"),
            ),
        };
        Self { shape, kept: Mutex::new(kept) }
    }

    fn lock(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, Kept>> {
        lock(py, &self.kept, "the state")
    }

    /// Its state of elements `T`, to be changed by a call.
    pub fn of<'s, T: Number>(&'s self, py: Python<'_>, shape: &Shape) -> PyResult<Taken<'s, T>> {
        if shape.schema != self.shape.schema {
            let text = format!("state is of the layer {}: expected {}", self.shape.text(), shape.text());
            return Err(shape_error(py, text));
        }
        let mut guard = self.lock(py)?;
        let state = either!(&mut *guard, state => {
            let any: &mut dyn Any = state;
            any.downcast_mut::<interneuron::State<T>>().map(std::mem::take)
        });
        let Some(state) = state else {
            let text = format!("state is of another element type: expected {}", Dtype::of::<T>().name());
            return Err(shape_error(py, text));
        };
        Ok(Taken { state, guard })
    }
}

/// A state while a call changes it. It is put back when it is dropped.
pub struct Taken<'s, T: Element> {
    pub state: interneuron::State<T>,
    guard: MutexGuard<'s, Kept>,
}

impl<T: Element> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        either!(&mut *self.guard, state => {
            let any: &mut dyn Any = state;
            if let Some(place) = any.downcast_mut::<interneuron::State<T>>() {
                *place = std::mem::take(&mut self.state);
            }
        });
    }
}

#[pymethods]
impl State {
    #[new]
    fn new(py: Python<'_>, shape: &Bound<'_, Shape>, dtype: &str) -> PyResult<Self> {
        let kept = match float(py, dtype)? {
            Dtype::F64 => Either::F64(interneuron::State::new()),
            _ => Either::F32(interneuron::State::new()),
        };
        Ok(Self { shape: shape.get().clone(), kept: Mutex::new(kept) })
    }

    #[getter]
    fn shape(&self) -> Shape {
        self.shape.clone()
    }

    /// The names of all that is kept.
    fn names(&self, py: Python<'_>) -> PyResult<Vec<&'static str>> {
        Ok(either!(&*self.lock(py)?, state => state.iter().map(|(name, _)| name).collect()))
    }

    /// Copies of the arrays under a name: one for each parameter that the layer has, None of which nothing is kept.
    #[pyo3(signature = (name, like = None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        like: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Vec<Option<Bound<'py, PyAny>>>>> {
        fn copies<'py, T: Element>(
            py: Python<'py>,
            shape: &Shape,
            name: &str,
            params: &Params<T>,
            family: Family,
        ) -> PyResult<Vec<Option<Bound<'py, PyAny>>>> {
            let mut all = vec![];
            for (parameter, array) in shape.schema.iter().zip(params.view().iter()) {
                if parameter.elements() == 0 {
                    continue;
                }
                all.push(match interneuron::State::<T>::dimensions(name, parameter) {
                    None => None,
                    Some(dimensions) => {
                        let mut copy = Array::empty::<T>(py, family, parameter.name, dimensions)?;
                        // SAFETY: nobody else has it yet.
                        unsafe { copy.slice_mut::<T>() }?.copy_from_slice(array);
                        Some(copy.into_object())
                    }
                });
            }
            Ok(all)
        }
        let family = like.map_or(Ok(Family::NumPy), |like| Array::of("like", like).map(|like| like.family()))?;
        let guard = self.lock(py)?;
        either!(&*guard, state => {
            state.get(name).map(|params| copies(py, &self.shape, name, params, family)).transpose()
        })
    }

    /// Keeps copies of the arrays under a name. Of those that no step moves nothing need be handed over.
    fn set<'py>(
        &self,
        py: Python<'py>,
        params: &Bound<'py, PyAny>,
        name: &str,
        arrays: Vec<Option<Bound<'py, PyAny>>>,
    ) -> PyResult<()> {
        fn set<'py, T: Number>(
            py: Python<'py>,
            state: &State,
            params: &Bound<'py, PyAny>,
            name: &str,
            arrays: &[Option<Bound<'py, PyAny>>],
        ) -> PyResult<()> {
            let shape = &state.shape;
            let params = Arrays::of_input("params", params, shape, Dtype::of::<T>())?;
            let count = shape.present().count();
            if arrays.len() != count {
                return Err(shape_error(py, format!("arrays are {}: expected {count}", arrays.len())));
            }
            let mut kept: Vec<Option<Array<'py>>> = vec![];
            for (parameter, array) in shape.present().zip(arrays) {
                let array = array.as_ref().map(|array| Array::of(parameter.name, array)?.contiguous()).transpose()?;
                if let Some(array) = &array {
                    array.check_dtype(Dtype::of::<T>())?;
                }
                kept.push(array);
            }
            let mut kept = kept.iter();
            let largest = shape.schema.iter().map(interneuron::Parameter::elements).max().unwrap_or_default();
            let zeros = vec![T::ZERO; largest];
            let slices = shape.schema.iter().map(|parameter| {
                let array = if parameter.elements() > 0 { kept.next().and_then(Option::as_ref) } else { None };
                let room = interneuron::State::<T>::dimensions(name, parameter).filter(|_| !parameter.moves());
                let nothing = &zeros[..room.map_or(0, |room| room.iter().product())];
                // SAFETY: the elements are copied while Python runs nothing else.
                array.map_or(nothing, |array| unsafe { array.slice::<T>() })
            });
            // SAFETY: they are read while Python runs nothing else.
            let params = unsafe { params.view::<T>(py) }?;
            state.of::<T>(py, shape)?.state.set(&shape.shape, params, name, slices).or_raise(py)
        }
        let double = matches!(&*self.lock(py)?, Either::F64(_));
        if double { set::<f64>(py, self, params, name, &arrays) } else { set::<f32>(py, self, params, name, &arrays) }
    }

    /// Forgets all that is kept.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        either!(&mut *self.lock(py)?, state => *state = interneuron::State::new());
        Ok(())
    }

    /// A copy.
    fn copy(&self, py: Python<'_>) -> PyResult<Self> {
        Ok(Self { shape: self.shape.clone(), kept: Mutex::new(self.lock(py)?.clone()) })
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Ok(other) = other.cast::<Self>() else { return Ok(false) };
        let other = other.get();
        Ok(std::ptr::eq(self, other)
            || (self.shape.schema == other.shape.schema && *self.lock(py)? == *other.lock(py)?))
    }
}
