//! Checkpoints and data sets.

use crate::array::{Array, Dtype, Family};
use crate::error::{OrRaise, invalid_value, shape_error};
use crate::params::Arrays;
use crate::plan::TrainState;
use crate::shape::{Number, Shape, compute};
use crate::state::{State, float};
use interneuron::checkpoint::{self, Run};
use interneuron::{Architecture, Context, Network, Scaler};
use interneuron_datasets::{Dataset, TrainTest};
use pyo3::prelude::*;
use pyo3::types::PyList;

/// Offset and scale of each input.
type Maps = (Vec<f64>, Vec<f64>);

/// Saves a network in training: its parameters, what steps keep of them, and what is done to inputs before.
#[pyfunction]
#[pyo3(signature = (path, shapes, params, states, state, seed, scaler = None))]
#[expect(clippy::too_many_arguments, reason = "as Python calls it")]
pub fn save<'py>(
    py: Python<'py>,
    path: std::path::PathBuf,
    shapes: Vec<PyRef<'py, Shape>>,
    params: Vec<Bound<'py, PyAny>>,
    states: Vec<PyRef<'py, State>>,
    state: &Bound<'py, TrainState>,
    seed: u64,
    scaler: Option<Maps>,
) -> PyResult<()> {
    fn network<'py, T: Number>(
        py: Python<'py>,
        shapes: &[Shape],
        params: &[Arrays<'py>],
        states: &[PyRef<'py, State>],
        state: &TrainState,
    ) -> PyResult<Network<T>> {
        let architecture = Architecture::of(shapes.iter().map(|shape| shape.shape).collect()).or_raise(py)?;
        let plan = architecture.plan(&Context::new().or_raise(py)?).or_raise(py)?;
        let mut owned = vec![];
        for arrays in params {
            arrays.arrays.iter().try_for_each(|array| array.check_dtype(Dtype::of::<T>()))?;
            // SAFETY: they are copied at once.
            owned.push(unsafe { arrays.view::<T>(py) }?.to_owned());
        }
        let mut state = state.lock(py)?.of_mut::<T>().clone();
        let layers = states.iter().zip(shapes).map(|(state, shape)| Ok(state.of::<T>(py, shape)?.state.clone()));
        *state.layers_mut() = layers.collect::<PyResult<_>>()?;
        Network::new(plan, owned, state).or_raise(py)
    }
    let shapes: Vec<Shape> = shapes.iter().map(|shape| (**shape).clone()).collect();
    if params.len() != shapes.len() || states.len() != shapes.len() {
        let text =
            format!("params and states are {} and {}: expected {} of both", params.len(), states.len(), shapes.len());
        return Err(shape_error(py, text));
    }
    let scaler = scaler.map(|(offset, scale)| Scaler::new(offset, scale)).transpose().or_raise(py)?;
    let run = Run { scaler, ..Run::new(seed) };
    let mut arrays = vec![];
    for (params, shape) in params.iter().zip(&shapes) {
        arrays.push(Arrays::of("params", params, shape)?.contiguous()?);
    }
    match arrays[0].arrays[0].dtype() {
        Dtype::F64 => {
            let network = network::<f64>(py, &shapes, &arrays, &states, state.get())?;
            compute(py, || checkpoint::save(&path, &network, &run))
        }
        _ => {
            let network = network::<f32>(py, &shapes, &arrays, &states, state.get())?;
            compute(py, || checkpoint::save(&path, &network, &run))
        }
    }
}

/// What a file holds: shapes, element type, parameters, what steps keep, the state, the seed, the scaler.
type Loaded<'py> = (Vec<Shape>, &'static str, Bound<'py, PyList>, Vec<State>, TrainState, u64, Option<Maps>);

/// Loads a network in training, of elements of this type.
#[pyfunction]
pub fn load<'py>(py: Python<'py>, path: std::path::PathBuf, dtype: &str) -> PyResult<Loaded<'py>> {
    fn run<'py, T: Number>(py: Python<'py>, path: &std::path::Path) -> PyResult<Loaded<'py>> {
        let context = Context::new().or_raise(py)?;
        let (network, run) = compute(py, || checkpoint::load::<T>(path, &context))?;
        let shapes = network.shapes().map(|shape| Shape::new(py, shape)).collect::<PyResult<Vec<_>>>()?;
        let (_, params, mut state) = network.into_parts();
        let layers = PyList::empty(py);
        for (params, shape) in params.iter().zip(&shapes) {
            let mut arrays = Arrays::empty::<T>(py, Family::NumPy, shape)?;
            // SAFETY: nobody else has them yet.
            let view = unsafe { arrays.view_mut::<T>(py) }?;
            view.into_iter().zip(params.view().iter()).for_each(|(into, from)| into.copy_from_slice(from));
            layers.append(PyList::new(py, arrays.into_objects().collect::<Vec<_>>())?)?;
        }
        let mut kept = std::mem::take(state.layers_mut());
        kept.resize_with(shapes.len(), interneuron::State::new);
        let states = shapes.iter().zip(kept).map(|(shape, state)| State::with(shape.clone(), state)).collect();
        let scaler = run.scaler.map(|scaler| (scaler.offset().to_vec(), scaler.scale().to_vec()));
        Ok((shapes, Dtype::of::<T>().name(), layers, states, TrainState::with(state), run.seed, scaler))
    }
    match float(py, dtype)? {
        Dtype::F64 => run::<f64>(py, &path),
        _ => run::<f32>(py, &path),
    }
}

/// Images and labels of a training and a test set.
type Images<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>);

fn images<'py>(py: Python<'py>, set: &TrainTest) -> PyResult<Images<'py>> {
    let arrays = |set: &Dataset| {
        let (count, size) = (set.len(), set.images.size());
        let mut gathered: Vec<f32> = vec![];
        py.detach(|| set.images.gather(0..count, &mut gathered));
        let mut x = Array::empty::<f32>(py, Family::NumPy, "x", &[count, size])?;
        // SAFETY: nobody else has it yet.
        unsafe { x.slice_mut::<f32>() }?.copy_from_slice(&gathered);
        let labels: Vec<i64> = set.labels.iter().map(|&label| i64::from(label)).collect();
        let labels = py.import("numpy")?.call_method1("array", (labels, "int64"))?;
        Ok::<_, PyErr>((x.into_object(), labels))
    };
    let ((x, y), (x_test, y_test)) = (arrays(&set.train)?, arrays(&set.test)?);
    Ok((x, y, x_test, y_test))
}

/// Drawn digits.
#[pyfunction]
pub fn digits(py: Python<'_>, train: usize, test: usize, seed: u64) -> PyResult<Images<'_>> {
    const MOST: usize = 10_000_000;
    for (name, count) in [("train", train), ("test", test)] {
        if !(1..=MOST).contains(&count) {
            return Err(invalid_value(py, format!("{name} is {count}: expected from 1 to {MOST}")));
        }
    }
    let set = compute(py, || Ok(interneuron_datasets::digits(train, test, seed)))?;
    images(py, &set)
}

/// A data set in MNIST's format, plain or compressed.
#[pyfunction]
pub fn load_images(py: Python<'_>, folder: std::path::PathBuf) -> PyResult<Images<'_>> {
    let set = compute(py, || interneuron_datasets::load(&folder))?;
    images(py, &set)
}
