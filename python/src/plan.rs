//! Passes through a network.

use crate::array::{Array, Dtype, Family};
use crate::error::{OrRaise, invalid_value, shape_error};
use crate::layer::by_dtype;
use crate::params::Arrays;
use crate::sequences::{Given, Inputs};
use crate::shape::{DivisorName, Number, Shape, compute};
use crate::state::{Either, State, Taken, either, float, lock};
use crate::threads::threads;
use crate::update::Update;
use interneuron::{
    Architecture, Context, Element, Evaluation, Init, InputLeg, Law, LayerStatistics, NetworkParams, NetworkParamsMut,
    ParamsMut, ParamsRef, RecurrentInit, Scheme, generator,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::any::Any;
use std::sync::Mutex;

/// The steps of a network, and the generator of the labels that a natural gradient draws. What steps keep of layers is
/// elsewhere.
#[derive(Clone, PartialEq)]
pub struct Counted {
    f32: interneuron::TrainState<f32>,
    f64: interneuron::TrainState<f64>,
    double: bool,
}

/// See [`Counted`].
#[pyclass(frozen, module = "interneuron._core")]
pub struct TrainState(Mutex<Counted>);

impl TrainState {
    pub fn with<T: Number>(state: interneuron::TrainState<T>) -> Self {
        let mut counted = Counted::new(0);
        counted.double = Dtype::of::<T>() == Dtype::F64;
        *counted.of_mut::<T>() = state;
        Self(Mutex::new(counted))
    }

    pub fn lock(&self, py: Python<'_>) -> PyResult<std::sync::MutexGuard<'_, Counted>> {
        lock(py, &self.0, "the state")
    }
}

impl Counted {
    fn new(seed: u64) -> Self {
        let (f32, f64) = (interneuron::TrainState::new(seed), interneuron::TrainState::new(seed));
        Self { f32, f64, double: false }
    }

    /// That of networks of elements `T`.
    pub fn of_mut<T: Number>(&mut self) -> &mut interneuron::TrainState<T> {
        self.double = Dtype::of::<T>() == Dtype::F64;
        let both: [&mut dyn Any; 2] = [&mut self.f32, &mut self.f64];
        both.into_iter().find_map(|state| state.downcast_mut()).expect("f32 or f64")
    }
}

#[pymethods]
impl TrainState {
    #[new]
    #[pyo3(signature = (seed = 0))]
    fn new(seed: u64) -> Self {
        Self(Mutex::new(Counted::new(seed)))
    }

    /// Steps taken so far.
    #[getter]
    fn steps(&self, py: Python<'_>) -> PyResult<u64> {
        let counted = self.lock(py)?;
        Ok(if counted.double { counted.f64.steps() } else { counted.f32.steps() })
    }

    /// A copy.
    fn copy(&self, py: Python<'_>) -> PyResult<Self> {
        Ok(Self(Mutex::new(self.lock(py)?.clone())))
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Ok(other) = other.cast::<Self>() else { return Ok(false) };
        let other = other.get();
        Ok(std::ptr::eq(self, other) || *self.lock(py)? == *other.lock(py)?)
    }

    /// What [`TrainState::of_lines`] reads: a line for each element type, and which of them counts.
    fn lines(&self, py: Python<'_>) -> PyResult<(String, String, bool)> {
        let counted = self.lock(py)?;
        Ok((counted.f32.to_line(), counted.f64.to_line(), counted.double))
    }

    /// The state that lines tell of.
    #[staticmethod]
    fn of_lines(py: Python<'_>, single: &str, double: &str, is_double: bool) -> PyResult<Self> {
        let wrong = |line: &str| invalid_value(py, format!("line is {line:?}: expected what lines() says"));
        let f32 = interneuron::TrainState::of_line(single).ok_or_else(|| wrong(single))?;
        let f64 = interneuron::TrainState::of_line(double).ok_or_else(|| wrong(double))?;
        Ok(Self(Mutex::new(Counted { f32, f64, double: is_double })))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (String, String, bool))> {
        Ok((py.get_type::<Self>().getattr("of_lines")?, self.lines(py)?))
    }
}

/// What outputs are to be.
#[pyclass(frozen, subclass, module = "interneuron._core")]
pub struct Target {
    kind: Aim,
    y: Py<PyAny>,
    weights: Option<Py<PyAny>>,
    mask: Option<Py<PyAny>>,
    smoothing: f64,
}

#[derive(Clone, Copy, PartialEq)]
enum Aim {
    Labels,
    Probabilities,
    Values,
    Binary,
}

#[pymethods]
impl Target {
    #[new]
    #[pyo3(signature = (kind, y, *, weights = None, mask = None, smoothing = 0.0))]
    fn new(
        py: Python<'_>,
        kind: &str,
        y: Py<PyAny>,
        weights: Option<Py<PyAny>>,
        mask: Option<Py<PyAny>>,
        smoothing: f64,
    ) -> PyResult<Self> {
        let kind = match kind {
            "labels" => Aim::Labels,
            "probabilities" => Aim::Probabilities,
            "values" => Aim::Values,
            "binary" => Aim::Binary,
            _ => {
                let expected = "\"labels\", \"probabilities\", \"values\" or \"binary\"";
                return Err(invalid_value(py, format!("kind is {kind:?}: expected {expected}")));
            }
        };
        if weights.is_some() && mask.is_some() {
            let text = "weights and mask are both given: expected one of them; a mask can be multiplied with weights";
            return Err(invalid_value(py, text.into()));
        }
        Ok(Self { kind, y, weights, mask, smoothing })
    }
}

/// The arrays of a target, held.
struct Held<'py> {
    kind: Aim,
    labels: Vec<u32>,
    y: Option<Array<'py>>,
    weights: Option<Array<'py>>,
    mask: Option<Array<'py>>,
    smoothing: f64,
}

impl<'py> Held<'py> {
    /// The arrays of a target of so many outputs. `lead` are the dimensions before, if each is to be as it is there.
    fn new<T: Number>(py: Python<'py>, target: &Target, outputs: usize, lead: Option<&[usize]>) -> PyResult<Self> {
        let check = |array: Array<'py>, name: &str, dimensions: usize| {
            let is = array.shape().get(..dimensions.min(array.shape().len())).unwrap_or_default();
            match lead.filter(|&lead| lead != is) {
                None => Ok(array),
                Some(lead) => {
                    let text = format!(
                        "{name} has the shape {:?}: expected {lead:?} steps and examples, as x has",
                        array.shape()
                    );
                    Err(shape_error(py, text))
                }
            }
        };
        let matrix = |name, object: &Py<PyAny>| {
            let array = Array::of(name, object.bind(py))?;
            let leading = array.shape().len().saturating_sub(1);
            check(array.input::<T>("outputs", outputs)?, name, leading)
        };
        let vector = |name, object: &Py<PyAny>| {
            let array = Array::of(name, object.bind(py))?;
            check(array, name, usize::MAX)
        };
        let weights = |object: &Py<PyAny>| {
            let weights = vector("weights", object)?.contiguous()?;
            weights.check_dtype(Dtype::of::<T>()).map(|()| weights)
        };
        let (mut labels, mut y) = (vec![], None);
        if target.kind == Aim::Labels {
            labels = vector("labels", &target.y)?.labels(lead.is_none())?;
        } else {
            let name = match target.kind {
                Aim::Probabilities => "probabilities",
                Aim::Values => "values",
                _ => "binary",
            };
            y = Some(matrix(name, &target.y)?);
        }
        Ok(Self {
            kind: target.kind,
            labels,
            y,
            weights: target.weights.as_ref().map(weights).transpose()?,
            mask: target.mask.as_ref().map(|mask| matrix("mask", mask)).transpose()?,
            smoothing: target.smoothing,
        })
    }

    /// # Safety
    /// While the target lives, nobody writes to the elements.
    unsafe fn view<T: Number>(&self, examples: usize) -> PyResult<interneuron::Target<'_, T>> {
        for (what, array) in [("the target", &self.y), ("the mask", &self.mask)] {
            if let Some(array) = array.as_ref().filter(|array| array.examples() != examples) {
                let text = format!("{what} has {} rows, x has {examples}: expected as many", array.examples());
                return Err(shape_error(array.python(), text));
            }
        }
        // SAFETY: as demanded here; there is an example, and so there are elements.
        let y = self.y.as_ref().map(|y| unsafe { y.matrix::<T>() });
        let y = y.transpose()?;
        let target = match (self.kind, y) {
            (Aim::Probabilities, Some(y)) => interneuron::Target::probabilities(y),
            (Aim::Values, Some(y)) => interneuron::Target::values(y),
            (Aim::Binary, Some(y)) => interneuron::Target::binary(y),
            _ => interneuron::Target::labels(&self.labels),
        };
        let target = target.smoothed(self.smoothing);
        // SAFETY: as demanded here.
        Ok(match (&self.weights, &self.mask) {
            (Some(weights), _) => target.weighted(unsafe { weights.slice() }),
            // SAFETY: as demanded here.
            (_, Some(mask)) => target.masked(unsafe { mask.matrix() }?),
            _ => target,
        })
    }
}

/// Divisors below their bound, of how many, and the smallest of them.
type Low = (u64, u64, Option<f64>);

/// The loss of outputs `[B, K]`, and its gradient by them.
#[pyfunction]
pub fn loss<'py>(outputs: &Bound<'py, PyAny>, target: &Bound<'py, Target>) -> PyResult<(f64, Bound<'py, PyAny>)> {
    fn run<'py, T: Number>(
        py: Python<'py>,
        outputs: Array<'py>,
        target: &Target,
    ) -> PyResult<(f64, Bound<'py, PyAny>)> {
        let classes = outputs.shape().last().copied().unwrap_or_default();
        let outputs = outputs.input::<T>("outputs", classes)?;
        if outputs.elements() == 0 {
            let text = format!("outputs have the shape {:?}: expected at least one example", outputs.shape());
            return Err(shape_error(py, text));
        }
        // Labels of steps and examples, where they are more than a row.
        let in_time = target.kind == Aim::Labels && Array::of("labels", target.y.bind(py))?.shape().len() > 1;
        let lead = outputs.shape()[..outputs.shape().len() - 1].to_vec();
        let target = Held::new::<T>(py, target, classes, in_time.then_some(&*lead))?;
        let mut doutputs = Array::empty::<T>(py, outputs.family(), "doutputs", outputs.shape())?;
        let loss = {
            // SAFETY: the arrays are held here, the gradient is new, and the caller lets nobody write to the others.
            let (view, target) = unsafe { (outputs.matrix::<T>()?, target.view::<T>(outputs.examples())?) };
            // SAFETY: as above.
            let into = unsafe { doutputs.matrix_mut::<T>() }?;
            compute(py, || target.loss(view, Some(into)))?.loss
        };
        Ok((loss, doutputs.into_object()))
    }
    let (py, outputs) = (outputs.py(), Array::of("outputs", outputs)?);
    by_dtype!(outputs, run(py, outputs, target.get()))
}

type AnyPlan = Either<interneuron::Plan<f32>, interneuron::Plan<f64>>;

/// The passes through a network, on parameters that somebody else owns.
#[pyclass(frozen, module = "interneuron._core")]
pub struct Plan {
    shapes: Vec<Shape>,
    dtype: Dtype,
    plan: Mutex<AnyPlan>,
}

/// The arrays of all layers.
struct Layers<'py>(Vec<Arrays<'py>>);

impl<'py> Layers<'py> {
    fn of(name: &'static str, objects: &Bound<'py, PyAny>, shapes: &[Shape], dtype: Option<Dtype>) -> PyResult<Self> {
        let layers: Vec<Bound<'py, PyAny>> = objects.try_iter()?.collect::<PyResult<_>>()?;
        if layers.len() != shapes.len() {
            let text = format!("{name} are those of {} layers: expected {}", layers.len(), shapes.len());
            return Err(shape_error(objects.py(), text));
        }
        let arrays = layers.iter().zip(shapes).map(|(arrays, shape)| match dtype {
            Some(dtype) => Arrays::of_input(name, arrays, shape, dtype),
            None => Arrays::of(name, arrays, shape),
        });
        Ok(Self(arrays.collect::<PyResult<_>>()?))
    }

    fn arrays(&self) -> impl Iterator<Item = &Array<'py>> {
        self.0.iter().flat_map(|layer| &layer.arrays)
    }

    /// The first array, by which the element type is known.
    fn first(&self) -> &Array<'py> {
        self.arrays().next().expect("a network has a layer, and every layer arrays")
    }

    fn check_apart(&self, read: &[&Array<'py>]) -> PyResult<()> {
        Array::check_apart(&self.arrays().collect::<Vec<_>>(), read)
    }

    /// # Safety
    /// As [`Arrays::view`].
    unsafe fn view<T: Element>(&self, py: Python<'py>) -> PyResult<Vec<ParamsRef<'_, T>>> {
        // SAFETY: as demanded here.
        self.0.iter().map(|layer| unsafe { layer.view(py) }).collect()
    }

    /// # Safety
    /// As [`Arrays::view_mut`].
    unsafe fn view_mut<T: Element>(&mut self, py: Python<'py>) -> PyResult<Vec<ParamsMut<'_, T>>> {
        // SAFETY: as demanded here.
        self.0.iter_mut().map(|layer| unsafe { layer.view_mut(py) }).collect()
    }
}

/// The states of all layers, taken until this is dropped.
struct States<'s, T: Number>(Vec<Taken<'s, T>>);

impl<'s, T: Number> States<'s, T> {
    fn of(py: Python<'_>, states: &'s [PyRef<'_, State>], shapes: &[Shape]) -> PyResult<Self> {
        if states.len() != shapes.len() {
            return Err(shape_error(
                py,
                format!("states are {}: expected one for each of {} layers", states.len(), shapes.len()),
            ));
        }
        Ok(Self(states.iter().zip(shapes).map(|(state, shape)| state.of(py, shape)).collect::<PyResult<_>>()?))
    }

    /// Hands all of them to a network's state, for the time of a call.
    fn lend<R>(
        &mut self,
        state: &mut interneuron::TrainState<T>,
        f: impl FnOnce(&mut interneuron::TrainState<T>) -> R,
    ) -> R {
        state.layers_mut().clear();
        state.layers_mut().extend(self.0.iter_mut().map(|taken| std::mem::take(&mut taken.state)));
        let result = f(state);
        // A step that failed may have left none of layers of which nothing was kept.
        let layers = state.layers_mut().drain(..);
        self.0.iter_mut().zip(layers).for_each(|(taken, layer)| taken.state = layer);
        result
    }
}

impl Plan {
    /// Runs a function with the plan of elements `T`.
    fn with<T: Number, R>(
        &self,
        py: Python<'_>,
        count: usize,
        f: impl FnOnce(&mut interneuron::Plan<T>) -> PyResult<R>,
    ) -> PyResult<R> {
        let threads = threads(py, count)?;
        let mut guard = lock(py, &self.plan, "the network")?;
        let plan = either!(&mut *guard, plan => {
            let any: &mut dyn Any = plan;
            any.downcast_mut::<interneuron::Plan<T>>()
        });
        let plan = plan.expect("the plan's own element type");
        plan.set_threads(threads);
        f(plan)
    }

    fn outputs(&self) -> usize {
        self.shapes[self.shapes.len() - 1].shape.outputs()
    }

    /// Examples, of which there must be some.
    fn examples<'py, T: Number>(&self, x: Given<'py>) -> PyResult<Inputs<'py>> {
        x.inputs::<T>(&self.shapes)?.with_rows()
    }

    /// A target of what the network makes of `x`.
    fn target<'py, T: Number>(&self, target: &Target, x: &Inputs<'py>) -> PyResult<Held<'py>> {
        Held::new::<T>(x.x.python(), target, self.outputs(), x.steps_and_examples())
    }

    /// What all calls begin with.
    fn x<'py>(&self, x: &Bound<'py, PyAny>) -> PyResult<Given<'py>> {
        Given::of(x)?.check_dtype(self.dtype)
    }
}

#[pymethods]
impl Plan {
    #[new]
    fn new(py: Python<'_>, shapes: Vec<PyRef<'_, Shape>>, dtype: &str) -> PyResult<Self> {
        let shapes: Vec<Shape> = shapes.iter().map(|shape| (**shape).clone()).collect();
        let architecture = Architecture::of(shapes.iter().map(|shape| shape.shape).collect()).or_raise(py)?;
        let (dtype, context) = (float(py, dtype)?, Context::new().or_raise(py)?);
        let plan = match dtype {
            Dtype::F64 => Either::F64(architecture.plan(&context).or_raise(py)?),
            _ => Either::F32(architecture.plan(&context).or_raise(py)?),
        };
        Ok(Self { shapes, dtype, plan: Mutex::new(plan) })
    }

    #[getter]
    fn shapes(&self) -> Vec<Shape> {
        self.shapes.clone()
    }

    #[getter]
    fn dtype(&self) -> &'static str {
        self.dtype.name()
    }

    /// Forward, loss, backward and update: overwrites the parameters; returns the loss before.
    #[expect(clippy::too_many_arguments, reason = "as Python calls it")]
    fn train_step<'py>(
        &self,
        params: &Bound<'py, PyAny>,
        states: Vec<PyRef<'py, State>>,
        state: &Bound<'py, TrainState>,
        x: &Bound<'py, PyAny>,
        target: &Bound<'py, Target>,
        update: &Bound<'py, Update>,
        threads: usize,
    ) -> PyResult<f64> {
        fn run<'py, T: Number>(
            plan: &Plan,
            mut params: Layers<'py>,
            states: &[PyRef<'py, State>],
            state: &TrainState,
            (x, target): (Given<'py>, &Target),
            update: &Update,
            threads: usize,
        ) -> PyResult<f64> {
            let py = x.python();
            let x = plan.examples::<T>(x)?;
            let target = plan.target::<T>(target, &x)?;
            let also = [&target.y, &target.weights, &target.mask];
            params.check_apart(&also.into_iter().flatten().chain(x.arrays()).collect::<Vec<_>>())?;
            let mut states = States::<T>::of(py, states, &plan.shapes)?;
            let mut counted = state.lock(py)?;
            // SAFETY: the arrays are held here, those that are written overlap nothing else, and the caller lets nobody
            // use them, or write to the others, meanwhile.
            let (x_view, mut params, target) =
                unsafe { (x.view::<T>()?, params.view_mut::<T>(py)?, target.view::<T>(x.rows())?) };
            plan.with::<T, _>(py, threads, |plan| {
                states.lend(counted.of_mut::<T>(), |state| {
                    let params = NetworkParamsMut::from(&mut params);
                    compute(py, || plan.train_step(params, state, x_view.sequences()?, target, &update.0))
                })
            })
        }
        let x = self.x(x)?;
        let params = Layers::of("params", params, &self.shapes, None)?;
        by_dtype!(x, run(self, params, &states, state.get(), (x, target.get()), update.get(), threads))
    }

    /// The loss, and its gradients by all parameters, which overwrite `gradients`.
    fn gradients<'py>(
        &self,
        params: &Bound<'py, PyAny>,
        x: &Bound<'py, PyAny>,
        target: &Bound<'py, Target>,
        gradients: &Bound<'py, PyAny>,
        threads: usize,
    ) -> PyResult<f64> {
        fn run<'py, T: Number>(
            plan: &Plan,
            params: Layers<'py>,
            (x, target): (Given<'py>, &Target),
            mut gradients: Layers<'py>,
            threads: usize,
        ) -> PyResult<f64> {
            let py = x.python();
            let x = plan.examples::<T>(x)?;
            let target = plan.target::<T>(target, &x)?;
            let also = [&target.y, &target.weights, &target.mask];
            let read = also.into_iter().flatten().chain(x.arrays()).chain(params.arrays());
            gradients.check_apart(&read.collect::<Vec<_>>())?;
            // SAFETY: as in `train_step`.
            let (x_view, params, target) =
                unsafe { (x.view::<T>()?, params.view::<T>(py)?, target.view::<T>(x.rows())?) };
            // SAFETY: as in `train_step`.
            let mut gradients = unsafe { gradients.view_mut::<T>(py) }?;
            let (params, gradients) = (NetworkParams::from(&params), NetworkParamsMut::from(&mut gradients));
            plan.with::<T, _>(py, threads, |plan| {
                compute(py, || plan.gradients(params, x_view.sequences()?, target, gradients))
            })
        }
        let x = self.x(x)?;
        let params = Layers::of("params", params, &self.shapes, Some(self.dtype))?;
        let gradients = Layers::of("gradients", gradients, &self.shapes, None)?;
        by_dtype!(x, run(self, params, (x, target.get()), gradients, threads))
    }

    /// A step with gradients that were handed out: overwrites the parameters.
    #[expect(clippy::too_many_arguments, reason = "as Python calls it")]
    fn apply<'py>(
        &self,
        py: Python<'py>,
        params: &Bound<'py, PyAny>,
        states: Vec<PyRef<'py, State>>,
        state: &Bound<'py, TrainState>,
        gradients: &Bound<'py, PyAny>,
        update: &Bound<'py, Update>,
        threads: usize,
    ) -> PyResult<()> {
        fn run<'py, T: Number>(
            py: Python<'py>,
            plan: &Plan,
            mut params: Layers<'py>,
            (states, state): (&[PyRef<'py, State>], &TrainState),
            gradients: Layers<'py>,
            update: &Update,
            threads: usize,
        ) -> PyResult<()> {
            params.check_apart(&gradients.arrays().collect::<Vec<_>>())?;
            let mut states = States::<T>::of(py, states, &plan.shapes)?;
            let mut counted = state.lock(py)?;
            // SAFETY: as in `train_step`.
            let (mut params, gradients) = unsafe { (params.view_mut::<T>(py)?, gradients.view::<T>(py)?) };
            plan.with::<T, _>(py, threads, |plan| {
                states.lend(counted.of_mut::<T>(), |state| {
                    let (params, gradients) = (NetworkParamsMut::from(&mut params), NetworkParams::from(&gradients));
                    compute(py, || plan.apply(params, state, &update.0, gradients))
                })
            })
        }
        let params = Layers::of("params", params, &self.shapes, None)?;
        let gradients = Layers::of("gradients", gradients, &self.shapes, Some(self.dtype))?;
        by_dtype!(gradients.first(), run(py, self, params, (&states, state.get()), gradients, update.get(), threads))
    }

    /// Loss, errors, and examples that count.
    fn evaluate<'py>(
        &self,
        params: &Bound<'py, PyAny>,
        x: &Bound<'py, PyAny>,
        target: &Bound<'py, Target>,
        threads: usize,
    ) -> PyResult<(f64, usize, usize)> {
        fn run<'py, T: Number>(
            plan: &Plan,
            params: &Layers<'py>,
            (x, target): (Given<'py>, &Target),
            threads: usize,
        ) -> PyResult<(f64, usize, usize)> {
            let py = x.python();
            let x = plan.examples::<T>(x)?;
            let target = plan.target::<T>(target, &x)?;
            // SAFETY: the arrays are held here, and the caller lets nobody write to them meanwhile.
            let (x_view, params, target) =
                unsafe { (x.view::<T>()?, params.view::<T>(py)?, target.view::<T>(x.rows())?) };
            let params = NetworkParams::from(&params);
            let Evaluation { loss, errors, examples } = plan
                .with::<T, _>(py, threads, |plan| compute(py, || plan.evaluate(params, x_view.sequences()?, target)))?;
            Ok((loss, errors, examples))
        }
        let x = self.x(x)?;
        let params = Layers::of("params", params, &self.shapes, Some(self.dtype))?;
        by_dtype!(x, run(self, &params, (x, target.get()), threads))
    }

    /// The outputs of the last layer.
    fn logits<'py>(
        &self,
        params: &Bound<'py, PyAny>,
        x: &Bound<'py, PyAny>,
        threads: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        fn run<'py, T: Number>(
            plan: &Plan,
            params: &Layers<'py>,
            x: Given<'py>,
            threads: usize,
        ) -> PyResult<Bound<'py, PyAny>> {
            let py = x.python();
            let x = x.inputs::<T>(&plan.shapes)?;
            let mut logits = Array::empty::<T>(py, x.x.family(), "logits", &x.sizes(plan.outputs()))?;
            if x.rows() > 0 {
                // SAFETY: the arrays are held here, the outputs are new, and the caller lets nobody write to the others.
                let (x, params, out) = unsafe { (x.view::<T>()?, params.view::<T>(py)?, logits.matrix_mut::<T>()?) };
                let params = NetworkParams::from(&params);
                plan.with::<T, _>(py, threads, |plan| compute(py, || plan.logits(params, x.sequences()?, out)))?;
            }
            Ok(logits.into_object())
        }
        let x = self.x(x)?;
        let params = Layers::of("params", params, &self.shapes, Some(self.dtype))?;
        by_dtype!(x, run(self, &params, x, threads))
    }

    /// Statistics of what each layer does.
    fn inspect<'py>(
        &self,
        params: &Bound<'py, PyAny>,
        x: &Bound<'py, PyAny>,
        target: &Bound<'py, Target>,
        update: &Bound<'py, Update>,
        threads: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        fn run<'py, T: Number>(
            plan: &Plan,
            params: &Layers<'py>,
            (x, target): (Given<'py>, &Target),
            update: &Update,
            threads: usize,
        ) -> PyResult<Vec<LayerStatistics>> {
            let py = x.python();
            let x = plan.examples::<T>(x)?;
            let target = plan.target::<T>(target, &x)?;
            // SAFETY: the arrays are held here, and the caller lets nobody write to them meanwhile.
            let (x_view, params, target) =
                unsafe { (x.view::<T>()?, params.view::<T>(py)?, target.view::<T>(x.rows())?) };
            let params = NetworkParams::from(&params);
            plan.with::<T, _>(py, threads, |plan| {
                compute(py, || plan.inspect(params, x_view.sequences()?, target, &update.0))
            })
        }
        let py = x.py();
        let x = self.x(x)?;
        let params = Layers::of("params", params, &self.shapes, Some(self.dtype))?;
        let all = by_dtype!(x, run(self, &params, (x, target.get()), update.get(), threads))?;
        PyList::new(py, all.iter().map(|layer| statistics(py, layer)).collect::<PyResult<Vec<_>>>()?)
    }

    /// Keeps no more than so many steps of a sequence for the backward pass; None keeps all.
    fn keep_at_most(&self, py: Python<'_>, steps: Option<usize>) -> PyResult<()> {
        either!(&mut *lock(py, &self.plan, "the network")?, plan => plan.keep_at_most(steps));
        Ok(())
    }

    /// Copies of the states `[B, ne]` in which the last sequences ended, of each recurrent layer.
    fn last_states<'py>(&self, py: Python<'py>) -> PyResult<Vec<Option<Bound<'py, PyAny>>>> {
        let plan = lock(py, &self.plan, "the network")?;
        either!(&*plan, plan => {
            let copy = |states: interneuron::MatRef<'_, _>| copy_of(py, Family::NumPy, "states", states);
            plan.last_states().map(|states| states.filter(|it| it.rows() > 0).map(copy).transpose()).collect()
        })
    }

    /// How many divisors of each layer were below their bound in the last call.
    fn low_divisors(&self, py: Python<'_>) -> PyResult<Vec<Option<Low>>> {
        let plan = lock(py, &self.plan, "the network")?;
        let all = |low: interneuron::LowDivisors| (low.count, low.of, low.smallest);
        Ok(either!(&*plan, plan => plan.low_divisors().map(|low| low.map(all)).collect()))
    }
}

/// A new array with the elements of a matrix.
pub fn copy_of<'py, T: Element>(
    py: Python<'py>,
    family: Family,
    name: &'static str,
    matrix: interneuron::MatRef<'_, T>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut copy = Array::empty::<T>(py, family, name, &[matrix.rows(), matrix.cols()])?;
    // SAFETY: nobody else has it yet.
    let into = unsafe { copy.slice_mut::<T>() }?;
    into.chunks_exact_mut(matrix.cols()).zip(0..).for_each(|(into, row)| into.copy_from_slice(matrix.row(row)));
    Ok(copy.into_object())
}

/// The statistics of a layer, by their names.
fn statistics<'py>(py: Python<'py>, layer: &LayerStatistics) -> PyResult<Bound<'py, PyDict>> {
    let all = PyDict::new(py);
    let low = layer.low_divisors.map(|low| (low.count, low.of, low.smallest));
    all.set_item("zhat_mean", layer.zhat.map(|(mean, _)| mean))?;
    all.set_item("zhat_variance", layer.zhat.map(|(_, variance)| variance))?;
    all.set_item("gamma_min", layer.gamma.map(|(least, _)| least))?;
    all.set_item("gamma_max", layer.gamma.map(|(_, largest)| largest))?;
    all.set_item("low_divisors", low)?;
    all.set_item("silent", layer.silent)?;
    let steps = PyDict::new(py);
    let column = |of: fn(&interneuron::StepStatistics) -> f64| layer.steps.iter().map(of).collect::<Vec<f64>>();
    steps.set_item("mean", column(|step| step.mean))?;
    steps.set_item("variance", column(|step| step.variance))?;
    steps.set_item("active", column(|step| step.active))?;
    all.set_item("steps", layer.radius.map(|_| steps))?;
    all.set_item("radius", layer.radius)?;
    all.set_item("zero_weights", layer.zero_weights)?;
    all.set_item("cosine", layer.cosine)?;
    let norms = PyDict::new(py);
    layer.gradient_norms.iter().try_for_each(|(name, norm)| norms.set_item(name, norm))?;
    all.set_item("gradient_norms", norms)?;
    Ok(all)
}

/// A scheme: its name, or the `k` of lognormal weights.
#[derive(FromPyObject)]
pub enum SchemeName {
    Name(String),
    Lognormal(f64),
}

impl SchemeName {
    fn scheme(self, py: Python<'_>) -> PyResult<Scheme> {
        match self {
            Self::Lognormal(k) => Ok(Scheme::Centred(Law::Lognormal { k })),
            Self::Name(name) => match &*name {
                "matched" => Ok(Scheme::Matched),
                "independent" => Ok(Scheme::Independent),
                "centred" => Ok(Scheme::Centred(Law::Exponential)),
                _ => {
                    let expected = "\"matched\", \"independent\", \"centred\", or the k of lognormal weights";
                    Err(invalid_value(py, format!("scheme is {name:?}: expected {expected}")))
                }
            },
        }
    }
}

/// The shapes of a network that the paper compares.
#[pyfunction]
#[pyo3(
    signature = (kind, dims, nis = None, *, divisor = Some(DivisorName::Name("plain".into())), ratio = 10),
    text_signature = "(kind, dims, nis=None, *, divisor='plain', ratio=10)"
)]
pub fn network(
    py: Python<'_>,
    kind: &str,
    dims: Vec<usize>,
    nis: Option<Vec<usize>>,
    divisor: Option<DivisorName>,
    ratio: usize,
) -> PyResult<Vec<Shape>> {
    if nis.is_some() != (kind == "dann") {
        let expected =
            if kind == "dann" { "the interneurons of each layer" } else { "None for layers without interneurons" };
        return Err(invalid_value(py, format!("nis is {nis:?} for kind {kind:?}: expected {expected}")));
    }
    let architecture = match kind {
        "dann" => Architecture::dann(&dims, &nis.unwrap_or_default()),
        "mlp" => Architecture::mlp(&dims),
        "layer_norm" => Architecture::layer_norm(&dims),
        "batch_norm" => Architecture::batch_norm(&dims),
        "column_ei" => Architecture::column_ei(&dims, ratio, 0.0),
        _ => {
            let expected = "\"dann\", \"mlp\", \"layer_norm\", \"batch_norm\" or \"column_ei\"";
            return Err(invalid_value(py, format!("kind is {kind:?}: expected {expected}")));
        }
    };
    let architecture = architecture.or_raise(py)?;
    let architecture = match divisor {
        None => architecture.subtractive(),
        Some(divisor) => architecture.divisor(divisor.divisor(py)?),
    };
    let plan = architecture.plan::<f32>(&Context::new().or_raise(py)?).or_raise(py)?;
    plan.shapes().map(|shape| Shape::new(py, shape)).collect()
}

/// How recurrent layers are drawn.
fn recurrent_init(radius: Option<f64>, few_inputs: bool) -> RecurrentInit {
    RecurrentInit { input: if few_inputs { InputLeg::FewInputs } else { InputLeg::Published }, radius }
}

/// Parameters that were drawn, into the arrays of a caller.
fn copy_into<'py, T: Number>(
    py: Python<'py>,
    mut params: Layers<'py>,
    drawn: &[interneuron::Params<T>],
) -> PyResult<()> {
    params.check_apart(&[])?;
    // SAFETY: the arrays are held here, overlap nothing, and the caller lets nobody use them meanwhile.
    let params = unsafe { params.view_mut::<T>(py) }?;
    for (into, from) in params.into_iter().zip(drawn) {
        into.into_iter().zip(from.view().iter()).for_each(|(into, from)| into.copy_from_slice(from));
    }
    Ok(())
}

/// Overwrites the parameters of a layer of its own with those of a seed.
#[pyfunction]
#[pyo3(signature = (
    shape, params, seed, *, rectified, scheme = None, mean_input = 0.0, radius = None, few_inputs = false
))]
#[expect(clippy::too_many_arguments, reason = "as Python calls it")]
pub fn draw_layer<'py>(
    py: Python<'py>,
    shape: &Bound<'py, Shape>,
    params: &Bound<'py, PyAny>,
    seed: u64,
    rectified: bool,
    scheme: Option<SchemeName>,
    mean_input: f64,
    radius: Option<f64>,
    few_inputs: bool,
) -> PyResult<()> {
    fn run<'py, T: Number>(py: Python<'py>, init: Init, seed: u64, shape: &Shape, params: Layers<'py>) -> PyResult<()> {
        let drawn = compute(py, || init.draw::<T>(&shape.shape, &mut generator(seed)))?;
        copy_into(py, params, &[drawn])
    }
    let scheme = scheme.map_or(Ok(Scheme::default()), |scheme| scheme.scheme(py))?;
    let inputs = if rectified { interneuron::Inputs::Rectified } else { interneuron::Inputs::Linear };
    let (shape, recurrent) = (shape.get(), recurrent_init(radius, few_inputs));
    let params = Layers(vec![Arrays::of("params", params, shape)?]);
    by_dtype!(params.first(), run(py, Init { inputs, scheme, mean_input, recurrent }, seed, shape, params))
}

/// Overwrites the parameters of a network with those of a seed.
#[pyfunction]
#[pyo3(signature = (
    shapes, params, seed, *, schemes = None, mean_input = 0.0, x = None, radius = None, few_inputs = false
))]
#[expect(clippy::too_many_arguments, reason = "as Python calls it")]
pub fn draw<'py>(
    py: Python<'py>,
    shapes: Vec<PyRef<'py, Shape>>,
    params: &Bound<'py, PyAny>,
    seed: u64,
    schemes: Option<Vec<SchemeName>>,
    mean_input: f64,
    x: Option<&Bound<'py, PyAny>>,
    radius: Option<f64>,
    few_inputs: bool,
) -> PyResult<()> {
    fn run<'py, T: Number>(
        py: Python<'py>,
        architecture: &Architecture,
        params: Layers<'py>,
        x: Option<&Bound<'py, PyAny>>,
        inputs: usize,
    ) -> PyResult<()> {
        let Some(x) = x else {
            let drawn = compute(py, || architecture.draw::<T>())?;
            return copy_into(py, params, &drawn);
        };
        let x = Array::of("x", x)?.input::<T>("inputs", inputs)?;
        if x.examples() == 0 {
            return Err(shape_error(py, "x has no examples: expected at least two".into()));
        }
        // SAFETY: the array is held here, and the caller lets nobody write to it meanwhile.
        let x = unsafe { x.matrix::<T>() }?;
        let context = Context::new().or_raise(py)?;
        let drawn = compute(py, || architecture.draw_from::<T>(x, &context))?;
        copy_into(py, params, &drawn)
    }
    let shapes: Vec<Shape> = shapes.iter().map(|shape| (**shape).clone()).collect();
    let mut architecture = Architecture::of(shapes.iter().map(|shape| shape.shape).collect()).or_raise(py)?;
    architecture = architecture.seed(seed).mean_input(mean_input).recurrent_init(recurrent_init(radius, few_inputs));
    if let Some(schemes) = schemes {
        if schemes.len() != shapes.len() {
            let text = format!("schemes are {}: expected one for each of {} layers", schemes.len(), shapes.len());
            return Err(shape_error(py, text));
        }
        for (k, scheme) in schemes.into_iter().enumerate() {
            architecture = architecture.init_layer(k, scheme.scheme(py)?).or_raise(py)?;
        }
    }
    let params = Layers::of("params", params, &shapes, None)?;
    let inputs = shapes[0].shape.inputs();
    by_dtype!(params.first(), run(py, &architecture, params, x, inputs))
}
