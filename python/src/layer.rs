//! Passes through one layer.

use crate::array::{Array, Dtype};
use crate::error::{OrRaise, in_use, shape_error};
use crate::params::Arrays;
use crate::shape::{Number, Shape, compute};
use crate::state::{Either, State, either};
use crate::update::Update;
use interneuron::{MatRef, Tape};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::any::Any;
use std::mem::take;
use std::sync::Mutex;

type AnyTape = Either<Box<Tape<f32>>, Box<Tape<f64>>>;

/// What a forward pass keeps for its backward pass. Used up, it is made again by another forward pass.
#[pyclass(frozen, module = "interneuron._core")]
pub struct Kept {
    shape: Shape,
    tape: Mutex<Option<AnyTape>>,
}

impl Kept {
    fn new<T: Number>(shape: Shape, mut tape: Box<Tape<T>>) -> Self {
        let any: &mut dyn Any = &mut tape;
        let tape = if let Some(tape) = any.downcast_mut::<Box<Tape<f32>>>() {
            Either::F32(take(tape))
        } else {
            Either::F64(take(any.downcast_mut::<Box<Tape<f64>>>().expect("f32 or f64")))
        };
        Self { shape, tape: Mutex::new(Some(tape)) }
    }

    /// The tape, if it is still there, or one that nobody uses, and whether it keeps this pass. Another may keep a pass,
    /// too: that of a graph which was dropped.
    fn take<T: Number>(&self, py: Python<'_>) -> PyResult<(Box<Tape<T>>, bool)> {
        let mut place = self.tape.try_lock().map_err(|_| in_use(py, "what the forward pass kept"))?;
        let mut tape = place.take();
        let any = tape.as_mut().and_then(|tape| {
            either!(tape, tape => {
                let any: &mut dyn Any = tape;
                any.downcast_mut::<Box<Tape<T>>>().map(take)
            })
        });
        Ok(any.map_or_else(|| (T::shared(&self.shape.both).tape(), false), |tape| (tape, true)))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let place = self.tape.get_mut();
        match place.ok().and_then(Option::take) {
            Some(Either::F32(tape)) => f32::shared(&self.shape.both).give_back(tape),
            Some(Either::F64(tape)) => f64::shared(&self.shape.both).give_back(tape),
            None => {}
        }
    }
}

#[pymethods]
impl Kept {
    /// How many divisors were below their bound, of how many, and the smallest of them.
    fn low_divisors(&self, py: Python<'_>) -> PyResult<Option<(u64, u64, Option<f64>)>> {
        let place = self.tape.try_lock().map_err(|_| in_use(py, "what the forward pass kept"))?;
        let low = place.as_ref().and_then(|tape| either!(tape, tape => tape.low_divisors()));
        Ok(low.map(|low| (low.count, low.of, low.smallest)))
    }
}

/// Calls a function for the element type of `x`.
macro_rules! by_dtype {
    ($x:expr, $function:ident($($argument:expr),* $(,)?)) => {{
        let double = $x.dtype() == $crate::array::Dtype::F64;
        if double { $function::<f64>($($argument),*) } else { $function::<f32>($($argument),*) }
    }};
}
pub(crate) use by_dtype;

/// What a forward pass returns: the outputs, and what is kept.
type Forward<'py> = (Bound<'py, PyAny>, Option<Kept>);

/// `h [..., ne]` of `x [..., d]`, and what a backward pass needs if it is to be kept.
#[pyfunction]
pub fn forward<'py>(
    shape: &Bound<'py, Shape>,
    x: &Bound<'py, PyAny>,
    params: &Bound<'py, PyAny>,
    threads: usize,
    keep: bool,
) -> PyResult<Forward<'py>> {
    fn run<'py, T: Number>(
        py: Python<'py>,
        shape: &Shape,
        x: &Bound<'py, PyAny>,
        params: Arrays<'py>,
        threads: usize,
        keep: bool,
    ) -> PyResult<Forward<'py>> {
        let layer = T::shared(&shape.both).layer(py, shape.shape, threads)?;
        let params = params.input(Dtype::of::<T>())?;
        let x = Array::of("x", x)?.input::<T>("inputs", shape.shape.inputs())?;
        if x.examples() == 0 && keep && shape.present().any(|parameter| !parameter.moves()) {
            let text = format!("x has the shape {:?}: expected an example, as batches have no mean without", x.shape());
            return Err(shape_error(py, text));
        }
        let mut sizes = x.shape().to_vec();
        *sizes.last_mut().expect("an input has a dimension") = shape.shape.outputs();
        let mut h = Array::empty::<T>(py, x.family(), "h", &sizes)?;
        if x.examples() == 0 {
            return Ok((h.into_object(), keep.then(|| Kept::new::<T>(shape.clone(), Box::default()))));
        }
        let mut tape = T::shared(&shape.both).tape();
        {
            // SAFETY: the arrays are held here, `h` is new, and the caller lets nobody write to the others meanwhile.
            let (x, params, h) = unsafe { (x.matrix::<T>()?, params.view::<T>(py)?, h.matrix_mut::<T>()?) };
            let tape = &mut tape;
            let pass = || if keep { layer.forward(params, tape, x, h) } else { layer.infer(params, tape, x, h) };
            compute(py, pass)?;
        }
        let kept = if keep {
            Some(Kept::new(shape.clone(), tape))
        } else {
            T::shared(&shape.both).give_back(tape);
            None
        };
        Ok((h.into_object(), kept))
    }
    let (py, shape) = (x.py(), shape.get());
    let params = Arrays::of("params", params, shape)?;
    by_dtype!(params.first(), run(py, shape, x, params, threads, keep))
}

/// What a backward pass begins with.
struct Backward<'py, T: Number> {
    x: Array<'py>,
    dh: Array<'py>,
    tape: Box<Tape<T>>,
    is_kept: bool,
}

impl<'py, T: Number> Backward<'py, T> {
    fn new(kept: &Kept, dh: &Bound<'py, PyAny>, x: &Bound<'py, PyAny>) -> PyResult<Self> {
        let (py, shape) = (dh.py(), kept.shape.shape);
        let x = Array::of("x", x)?.input::<T>("inputs", shape.inputs())?;
        let dh = Array::of("dh", dh)?.input::<T>("outputs", shape.outputs())?;
        if dh.examples() != x.examples() {
            let text = format!("dh has {} examples, x has {}: expected as many", dh.examples(), x.examples());
            return Err(shape_error(py, text));
        }
        let (tape, is_kept) = kept.take(py)?;
        Ok(Self { x, dh, tape, is_kept })
    }

    fn is_empty(&self) -> bool {
        self.x.examples() == 0
    }

    /// Makes the forward pass again if a backward pass has used it up.
    fn refill(
        is_kept: bool,
        tape: &mut Tape<T>,
        layer: &interneuron::Layer<T>,
        params: interneuron::ParamsRef<'_, T>,
        x: MatRef<'_, T>,
    ) -> Result<(), interneuron::Error> {
        if is_kept {
            return Ok(());
        }
        let (rows, cols) = (x.rows(), layer.shape().outputs());
        let mut h = vec![T::ZERO; rows * cols];
        layer.forward(params, tape, x, interneuron::MatMut::new(&mut h, rows, cols)?)
    }
}

/// `dx`, and the gradients of the parameters.
type Gradients<'py> = (Option<Bound<'py, PyAny>>, Option<Bound<'py, PyTuple>>);

/// `dx` and the gradients of all parameters, where they are needed.
#[pyfunction]
pub fn backward<'py>(
    kept: &Bound<'py, Kept>,
    dh: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    params: &Bound<'py, PyAny>,
    threads: usize,
    needs_x: bool,
    needs_params: bool,
) -> PyResult<Gradients<'py>> {
    fn run<'py, T: Number>(
        py: Python<'py>,
        kept: &Kept,
        dh: &Bound<'py, PyAny>,
        x: &Bound<'py, PyAny>,
        params: Arrays<'py>,
        (threads, needs_x, needs_params): (usize, bool, bool),
    ) -> PyResult<Gradients<'py>> {
        let shape = &kept.shape;
        let layer = T::shared(&shape.both).layer(py, shape.shape, threads)?;
        let mut pass = Backward::<T>::new(kept, dh, x)?;
        let family = pass.x.family();
        let params = params.input(Dtype::of::<T>())?;
        let dx = needs_x.then(|| Array::empty::<T>(py, family, "dx", pass.x.shape())).transpose();
        let mut dx = dx?;
        if pass.is_empty() {
            let zeros = needs_params.then(|| Arrays::zeros::<T>(py, family, shape)).transpose()?;
            let zeros = zeros.map(|zeros| PyTuple::new(py, zeros.into_objects().collect::<Vec<_>>())).transpose()?;
            return Ok((dx.map(Array::into_object), zeros));
        }
        let mut gradients = needs_params.then(|| Arrays::empty::<T>(py, family, shape)).transpose()?;
        {
            let Backward { x, dh, tape, is_kept } = &mut pass;
            // SAFETY: the arrays are held here, those that are written are new, and the caller lets nobody write to the
            // others meanwhile.
            let (x, dh, params) = unsafe { (x.matrix::<T>()?, dh.matrix::<T>()?, params.view::<T>(py)?) };
            // SAFETY: as above.
            let dx = dx.as_mut().map(|dx| unsafe { dx.matrix_mut::<T>() }).transpose()?;
            // SAFETY: as above.
            let into = gradients.as_mut().map(|arrays| unsafe { arrays.view_mut::<T>(py) }).transpose()?;
            let result = compute(py, || {
                Backward::refill(*is_kept, tape, &layer, params, x)?;
                match (into, dx) {
                    (Some(into), dx) => layer.backward(params, tape, dh, into, dx),
                    (None, Some(dx)) => layer.input_gradient(params, tape, dh, dx),
                    (None, None) => Ok(()),
                }
            });
            T::shared(&shape.both).give_back(take(tape));
            result?;
        }
        let gradients = gradients.map(|arrays| PyTuple::new(py, arrays.into_objects().collect::<Vec<_>>()));
        Ok((dx.map(Array::into_object), gradients.transpose()?))
    }
    let (py, kept) = (dh.py(), kept.get());
    let params = Arrays::of("params", params, &kept.shape)?;
    by_dtype!(params.first(), run(py, kept, dh, x, params, (threads, needs_x, needs_params)))
}

/// The fused step: overwrites the parameters; returns `dx` if it is needed.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "as Python calls it")]
pub fn update<'py>(
    kept: &Bound<'py, Kept>,
    dh: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    params: &Bound<'py, PyAny>,
    state: &Bound<'py, State>,
    update: &Bound<'py, Update>,
    threads: usize,
    needs_x: bool,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    fn run<'py, T: Number>(
        py: Python<'py>,
        kept: &Kept,
        dh: &Bound<'py, PyAny>,
        x: &Bound<'py, PyAny>,
        mut params: Arrays<'py>,
        (state, update): (&State, &Update),
        (threads, needs_x): (usize, bool),
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let shape = &kept.shape;
        let layer = T::shared(&shape.both).layer(py, shape.shape, threads)?;
        let mut pass = Backward::<T>::new(kept, dh, x)?;
        params.check_apart(&[&pass.x, &pass.dh])?;
        let mut dx = needs_x.then(|| Array::empty::<T>(py, pass.x.family(), "dx", pass.x.shape())).transpose()?;
        if pass.is_empty() {
            return Ok(dx.map(Array::into_object));
        }
        let mut state = state.of::<T>(py, shape)?;
        {
            let Backward { x, dh, tape, is_kept } = &mut pass;
            // SAFETY: the arrays are held here, those that are written overlap nothing else, and the caller lets nobody
            // use them, or write to the others, meanwhile.
            let (x, dh, mut params) = unsafe { (x.matrix::<T>()?, dh.matrix::<T>()?, params.view_mut::<T>(py)?) };
            // SAFETY: as above.
            let dx = dx.as_mut().map(|dx| unsafe { dx.matrix_mut::<T>() }).transpose()?;
            let state = &mut state.state;
            let result = compute(py, || {
                Backward::refill(*is_kept, tape, &layer, params.view(), x)?;
                layer.update(params.view_mut(), state, tape, dh, &update.0, dx)
            });
            T::shared(&shape.both).give_back(take(tape));
            result?;
        }
        Ok(dx.map(Array::into_object))
    }
    let (py, kept) = (dh.py(), kept.get());
    let params = Arrays::of("params", params, &kept.shape)?;
    by_dtype!(params.first(), run(py, kept, dh, x, params, (state.get(), update.get()), (threads, needs_x)))
}

/// A step with gradients that were handed out: overwrites the parameters.
#[pyfunction]
pub fn apply<'py>(
    shape: &Bound<'py, Shape>,
    params: &Bound<'py, PyAny>,
    gradients: &Bound<'py, PyAny>,
    state: &Bound<'py, State>,
    update: &Bound<'py, Update>,
    threads: usize,
) -> PyResult<()> {
    fn run<'py, T: Number>(
        py: Python<'py>,
        shape: &Shape,
        mut params: Arrays<'py>,
        gradients: &Bound<'py, PyAny>,
        (state, update): (&State, &Update),
        threads: usize,
    ) -> PyResult<()> {
        let layer = T::shared(&shape.both).layer(py, shape.shape, threads)?;
        let gradients = Arrays::of_input("gradients", gradients, shape, Dtype::of::<T>())?;
        params.check_apart(&gradients.arrays.iter().collect::<Vec<_>>())?;
        let mut state = state.of::<T>(py, shape)?;
        // SAFETY: the arrays are held here, those that are written overlap nothing else, and the caller lets nobody use
        // them, or write to the others, meanwhile.
        let (params, gradients) = unsafe { (params.view_mut::<T>(py)?, gradients.view::<T>(py)?) };
        let state = &mut state.state;
        compute(py, || layer.apply(params, state, &update.0, gradients))
    }
    let (py, shape) = (params.py(), shape.get());
    let params = Arrays::of("params", params, shape)?;
    by_dtype!(params.first(), run(py, shape, params, gradients, (state.get(), update.get()), threads))
}

/// Checks that an update can be used for a layer of elements of this type.
#[pyfunction]
pub fn check_update(py: Python<'_>, update: &Bound<'_, Update>, dtype: &str) -> PyResult<()> {
    match crate::state::float(py, dtype)? {
        Dtype::F64 => update.get().0.check::<f64>(),
        _ => update.get().0.check::<f32>(),
    }
    .or_raise(py)
}
