//! Passes through one layer.

use crate::array::{Array, Dtype};
use crate::error::{OrRaise, in_use, shape_error};
use crate::params::Arrays;
use crate::plan::copy_of;
use crate::sequences::{Given, Inputs};
use crate::shape::{Number, Shape, compute};
use crate::state::{Either, State, either};
use crate::update::Update;
use interneuron::{MatMut, Role, Tape};
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

/// What a forward pass makes: the outputs, the states `[B, ne]` in which sequences end if they are wanted, and what is
/// kept.
struct Forward<'py> {
    h: Bound<'py, PyAny>,
    last: Option<Bound<'py, PyAny>>,
    kept: Option<Kept>,
}

fn pass_forward<'py>(
    shape: &Bound<'py, Shape>,
    x: &Bound<'py, PyAny>,
    params: &Bound<'py, PyAny>,
    threads: usize,
    (keep, wants_last): (bool, bool),
) -> PyResult<Forward<'py>> {
    fn run<'py, T: Number>(
        py: Python<'py>,
        shape: &Shape,
        x: Given<'py>,
        params: Arrays<'py>,
        threads: usize,
        (keep, wants_last): (bool, bool),
    ) -> PyResult<Forward<'py>> {
        let layer = T::shared(&shape.both).layer(py, shape.shape, threads)?;
        let params = params.input(Dtype::of::<T>())?;
        let x = x.inputs::<T>(std::slice::from_ref(shape))?.not_carried()?;
        let family = x.x.family();
        let of_batches = shape.present().any(|parameter| parameter.role == Role::Statistic);
        if x.rows() == 0 && keep && of_batches {
            let text =
                format!("x has the shape {:?}: expected an example, as batches have no mean without", x.x.shape());
            return Err(shape_error(py, text));
        }
        let mut h = Array::empty::<T>(py, family, "h", &x.sizes(shape.shape.outputs()))?;
        let units = shape.recurrent().filter(|_| wants_last).map(|shape| shape.ne);
        if x.rows() == 0 {
            let last = units.map(|units| Array::empty::<T>(py, family, "states", &[0, units])).transpose()?;
            let kept = keep.then(|| Kept::new::<T>(shape.clone(), Box::default()));
            return Ok(Forward { h: h.into_object(), last: last.map(Array::into_object), kept });
        }
        let mut tape = T::shared(&shape.both).tape();
        {
            // SAFETY: the arrays are held here, `h` is new, and the caller lets nobody write to the others meanwhile.
            let (x, params, h) = unsafe { (x.view::<T>()?, params.view::<T>(py)?, h.matrix_mut::<T>()?) };
            let tape = &mut tape;
            compute(py, || {
                let x = x.sequences()?;
                if keep { layer.forward(params, tape, x, h) } else { layer.infer(params, tape, x, h) }
            })?;
        }
        let last = tape.last_states().filter(|_| units.is_some());
        let last = last.map(|last| copy_of(py, family, "states", last)).transpose()?;
        let kept = if keep {
            Some(Kept::new(shape.clone(), tape))
        } else {
            T::shared(&shape.both).give_back(tape);
            None
        };
        Ok(Forward { h: h.into_object(), last, kept })
    }
    let (py, shape) = (x.py(), shape.get());
    let (x, params) = (Given::of(x)?, Arrays::of("params", params, shape)?);
    by_dtype!(params.first(), run(py, shape, x, params, threads, (keep, wants_last)))
}

/// `h [..., ne]` of `x [..., d]`, and what a backward pass needs if it is to be kept.
#[pyfunction]
pub fn forward<'py>(
    shape: &Bound<'py, Shape>,
    x: &Bound<'py, PyAny>,
    params: &Bound<'py, PyAny>,
    threads: usize,
    keep: bool,
) -> PyResult<(Bound<'py, PyAny>, Option<Kept>)> {
    let Forward { h, kept, .. } = pass_forward(shape, x, params, threads, (keep, false))?;
    Ok((h, kept))
}

/// As [`forward`], through a recurrent layer: also the states `[B, ne]` in which the sequences end.
#[pyfunction]
pub fn forward_through_time<'py>(
    shape: &Bound<'py, Shape>,
    x: &Bound<'py, PyAny>,
    params: &Bound<'py, PyAny>,
    threads: usize,
    keep: bool,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>, Option<Kept>)> {
    check_recurrent(x.py(), shape.get())?;
    let Forward { h, last, kept } = pass_forward(shape, x, params, threads, (keep, true))?;
    Ok((h, last.expect("the states of a recurrent layer"), kept))
}

fn check_recurrent(py: Python<'_>, shape: &Shape) -> PyResult<()> {
    if shape.recurrent().is_some() {
        return Ok(());
    }
    let text = format!("shape is {}: expected that of a recurrent layer, such as Shape.recurrent_dann", shape.text());
    Err(shape_error(py, text))
}

/// What a backward pass begins with.
struct Backward<'py, T: Number> {
    x: Inputs<'py>,
    dh: Array<'py>,
    tape: Box<Tape<T>>,
    is_kept: bool,
}

impl<'py, T: Number> Backward<'py, T> {
    fn new(kept: &Kept, dh: &Bound<'py, PyAny>, x: Given<'py>) -> PyResult<Self> {
        let (py, shape) = (dh.py(), kept.shape.shape);
        let x = x.inputs::<T>(std::slice::from_ref(&kept.shape))?.not_carried()?;
        let dh = Array::of("dh", dh)?.input::<T>("outputs", shape.outputs())?;
        if dh.examples() != x.rows() {
            let text = format!("dh has {} examples, x has {}: expected as many", dh.examples(), x.rows());
            return Err(shape_error(py, text));
        }
        let (tape, is_kept) = kept.take(py)?;
        Ok(Self { x, dh, tape, is_kept })
    }

    /// A new array for the gradient by the first states, if it is wanted.
    fn dstates(&self, py: Python<'py>, shape: &Shape, wanted: bool) -> PyResult<Option<Array<'py>>> {
        let (Some(lead), Some(layer)) = (self.x.steps_and_examples().filter(|_| wanted), shape.recurrent()) else {
            return Ok(None);
        };
        Array::empty::<T>(py, self.x.x.family(), "dstates", &[lead[1], layer.ne]).map(Some)
    }

    fn is_empty(&self) -> bool {
        self.x.rows() == 0
    }

    /// Makes the forward pass again if a backward pass has used it up.
    fn refill(
        is_kept: bool,
        tape: &mut Tape<T>,
        layer: &interneuron::Layer<T>,
        params: interneuron::ParamsRef<'_, T>,
        x: interneuron::Sequences<'_, T>,
    ) -> Result<(), interneuron::Error> {
        if is_kept {
            return Ok(());
        }
        let (rows, cols) = (x.rows(), layer.shape().outputs());
        let mut h = vec![T::ZERO; rows * cols];
        layer.forward(params, tape, x, MatMut::new(&mut h, rows, cols)?)
    }
}

/// What is needed of a backward pass: `dx`, the gradients of the parameters, that by the first states.
#[derive(Clone, Copy)]
struct Needs {
    x: bool,
    params: bool,
    states: bool,
}

/// What a backward pass makes, where it is needed.
struct Gradients<'py> {
    dx: Option<Bound<'py, PyAny>>,
    dstates: Option<Bound<'py, PyAny>>,
    params: Option<Bound<'py, PyTuple>>,
}

fn pass_backward<'py>(
    kept: &Bound<'py, Kept>,
    dh: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    params: &Bound<'py, PyAny>,
    threads: usize,
    needs: Needs,
) -> PyResult<Gradients<'py>> {
    fn run<'py, T: Number>(
        py: Python<'py>,
        kept: &Kept,
        dh: &Bound<'py, PyAny>,
        x: Given<'py>,
        params: Arrays<'py>,
        (threads, needs): (usize, Needs),
    ) -> PyResult<Gradients<'py>> {
        let shape = &kept.shape;
        let layer = T::shared(&shape.both).layer(py, shape.shape, threads)?;
        let mut pass = Backward::<T>::new(kept, dh, x)?;
        let family = pass.x.x.family();
        let params = params.input(Dtype::of::<T>())?;
        let mut dstates = pass.dstates(py, shape, needs.states)?;
        // Without it nothing would go through the layer.
        let only_states = dstates.is_some() && !needs.params;
        let dx = (needs.x || only_states).then(|| Array::empty::<T>(py, family, "dx", pass.x.x.shape())).transpose();
        let mut dx = dx?;
        let objects = |dx: Option<Array<'py>>, dstates: Option<Array<'py>>, gradients: Option<Arrays<'py>>| {
            let params = gradients.map(|arrays| PyTuple::new(py, arrays.into_objects().collect::<Vec<_>>()));
            Ok(Gradients {
                dx: dx.filter(|_| needs.x).map(Array::into_object),
                dstates: dstates.map(Array::into_object),
                params: params.transpose()?,
            })
        };
        if pass.is_empty() {
            return objects(dx, dstates, needs.params.then(|| Arrays::zeros::<T>(py, family, shape)).transpose()?);
        }
        let mut gradients = needs.params.then(|| Arrays::empty::<T>(py, family, shape)).transpose()?;
        {
            let Backward { x, dh, tape, is_kept } = &mut pass;
            // SAFETY: the arrays are held here, those that are written are new, and the caller lets nobody write to the
            // others meanwhile.
            let (x, dh, params) = unsafe { (x.view::<T>()?, dh.matrix::<T>()?, params.view::<T>(py)?) };
            // SAFETY: as above.
            let dx = dx.as_mut().map(|dx| unsafe { dx.matrix_mut::<T>() }).transpose()?;
            // SAFETY: as above.
            let dstates = dstates.as_mut().map(|dstates| unsafe { dstates.matrix_mut::<T>() }).transpose()?;
            // SAFETY: as above.
            let into = gradients.as_mut().map(|arrays| unsafe { arrays.view_mut::<T>(py) }).transpose()?;
            let result = compute(py, || {
                Backward::refill(*is_kept, tape, &layer, params, x.sequences()?)?;
                match (into, dx) {
                    (Some(into), dx) => layer.backward(params, tape, dh, into, dx)?,
                    (None, Some(dx)) => layer.input_gradient(params, tape, dh, dx)?,
                    (None, None) => {}
                }
                dstates.map_or(Ok(()), |dstates| tape.state_gradient(dstates))
            });
            T::shared(&shape.both).give_back(take(tape));
            result?;
        }
        objects(dx, dstates, gradients)
    }
    let (py, kept) = (dh.py(), kept.get());
    let (x, params) = (Given::of(x)?, Arrays::of("params", params, &kept.shape)?);
    by_dtype!(params.first(), run(py, kept, dh, x, params, (threads, needs)))
}

/// `dx`, and the gradients of the parameters.
type ByParams<'py> = (Option<Bound<'py, PyAny>>, Option<Bound<'py, PyTuple>>);

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
) -> PyResult<ByParams<'py>> {
    let needs = Needs { x: needs_x, params: needs_params, states: false };
    let Gradients { dx, params, .. } = pass_backward(kept, dh, x, params, threads, needs)?;
    Ok((dx, params))
}

/// What a backward pass through a recurrent layer returns: `dx`, the gradient by the states before the first step
/// `[B, ne]`, and the gradients of the parameters.
type ThroughTime<'py> = (Option<Bound<'py, PyAny>>, Bound<'py, PyAny>, Option<Bound<'py, PyTuple>>);

/// As [`backward`], through a recurrent layer: also the gradient by the states before the first step.
#[pyfunction]
pub fn backward_through_time<'py>(
    kept: &Bound<'py, Kept>,
    dh: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    params: &Bound<'py, PyAny>,
    threads: usize,
    needs_x: bool,
    needs_params: bool,
) -> PyResult<ThroughTime<'py>> {
    check_recurrent(dh.py(), &kept.get().shape)?;
    let needs = Needs { x: needs_x, params: needs_params, states: true };
    let Gradients { dx, dstates, params } = pass_backward(kept, dh, x, params, threads, needs)?;
    Ok((dx, dstates.expect("the states of a recurrent layer"), params))
}

/// `dx`, and the gradient by the first states, where they are needed.
type Back<'py> = (Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>);

#[expect(clippy::too_many_arguments, reason = "as Python calls it")]
fn pass_update<'py>(
    kept: &Bound<'py, Kept>,
    dh: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    params: &Bound<'py, PyAny>,
    state: &Bound<'py, State>,
    update: &Bound<'py, Update>,
    threads: usize,
    needs: Needs,
) -> PyResult<Back<'py>> {
    fn run<'py, T: Number>(
        py: Python<'py>,
        kept: &Kept,
        dh: &Bound<'py, PyAny>,
        x: Given<'py>,
        mut params: Arrays<'py>,
        (state, update): (&State, &Update),
        (threads, needs): (usize, Needs),
    ) -> PyResult<Back<'py>> {
        let shape = &kept.shape;
        let layer = T::shared(&shape.both).layer(py, shape.shape, threads)?;
        let mut pass = Backward::<T>::new(kept, dh, x)?;
        params.check_apart(&pass.x.arrays().chain([&pass.dh]).collect::<Vec<_>>())?;
        let mut dstates = pass.dstates(py, shape, needs.states)?;
        let dx = needs.x.then(|| Array::empty::<T>(py, pass.x.x.family(), "dx", pass.x.x.shape())).transpose();
        let mut dx = dx?;
        if pass.is_empty() {
            return Ok((dx.map(Array::into_object), dstates.map(Array::into_object)));
        }
        let mut state = state.of::<T>(py, shape)?;
        {
            let Backward { x, dh, tape, is_kept } = &mut pass;
            // SAFETY: the arrays are held here, those that are written overlap nothing else, and the caller lets nobody
            // use them, or write to the others, meanwhile.
            let (x, dh, mut params) = unsafe { (x.view::<T>()?, dh.matrix::<T>()?, params.view_mut::<T>(py)?) };
            // SAFETY: as above.
            let dx = dx.as_mut().map(|dx| unsafe { dx.matrix_mut::<T>() }).transpose()?;
            // SAFETY: as above.
            let dstates = dstates.as_mut().map(|dstates| unsafe { dstates.matrix_mut::<T>() }).transpose()?;
            let state = &mut state.state;
            let result = compute(py, || {
                Backward::refill(*is_kept, tape, &layer, params.view(), x.sequences()?)?;
                layer.update(params.view_mut(), state, tape, dh, &update.0, dx)?;
                dstates.map_or(Ok(()), |dstates| tape.state_gradient(dstates))
            });
            T::shared(&shape.both).give_back(take(tape));
            result?;
        }
        Ok((dx.map(Array::into_object), dstates.map(Array::into_object)))
    }
    let (py, kept) = (dh.py(), kept.get());
    let (x, params) = (Given::of(x)?, Arrays::of("params", params, &kept.shape)?);
    by_dtype!(params.first(), run(py, kept, dh, x, params, (state.get(), update.get()), (threads, needs)))
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
    let needs = Needs { x: needs_x, params: true, states: false };
    Ok(pass_update(kept, dh, x, params, state, update, threads, needs)?.0)
}

/// As [`update`], of a recurrent layer: also returns the gradient by the states before the first step.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "as Python calls it")]
pub fn update_through_time<'py>(
    kept: &Bound<'py, Kept>,
    dh: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    params: &Bound<'py, PyAny>,
    state: &Bound<'py, State>,
    update: &Bound<'py, Update>,
    threads: usize,
    needs_x: bool,
) -> PyResult<(Option<Bound<'py, PyAny>>, Bound<'py, PyAny>)> {
    check_recurrent(dh.py(), &kept.get().shape)?;
    let needs = Needs { x: needs_x, params: true, states: true };
    let (dx, dstates) = pass_update(kept, dh, x, params, state, update, threads, needs)?;
    Ok((dx, dstates.expect("the states of a recurrent layer")))
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
