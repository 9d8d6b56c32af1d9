//! Inputs of layers and networks, perhaps in time.

use crate::array::{Array, Dtype};
use crate::error::{invalid_value, shape_error};
use crate::shape::{Number, Shape};
use interneuron::{Element, MatRef};
use pyo3::prelude::*;
use pyo3::types::PyMapping;

/// Inputs in time `x [T, B, d]`, with noise and the states in which sequences begin.
#[pyclass(frozen, module = "interneuron._core")]
pub struct Sequences {
    #[pyo3(get)]
    x: Py<PyAny>,
    #[pyo3(get)]
    noise: Option<Py<PyAny>>,
    #[pyo3(get)]
    states: Option<Py<PyAny>>,
    #[pyo3(get)]
    carried: bool,
}

#[pymethods]
impl Sequences {
    #[new]
    #[pyo3(signature = (x, *, noise = None, states = None, carried = false))]
    fn new(
        py: Python<'_>,
        x: Py<PyAny>,
        noise: Option<Py<PyAny>>,
        states: Option<Py<PyAny>>,
        carried: bool,
    ) -> PyResult<Self> {
        if carried && states.is_some() {
            let text = "states are given with carried=True: expected one of them, or neither";
            return Err(invalid_value(py, text.into()));
        }
        Ok(Self { x, noise, states, carried })
    }
}

/// What a call was handed: an array, or sequences.
pub struct Given<'py> {
    x: Array<'py>,
    noise: Option<Bound<'py, PyAny>>,
    states: Option<Bound<'py, PyAny>>,
    carried: bool,
}

impl<'py> Given<'py> {
    pub fn of(x: &Bound<'py, PyAny>) -> PyResult<Self> {
        let Ok(sequences) = x.cast::<Sequences>() else {
            return Ok(Self { x: Array::of("x", x)?, noise: None, states: None, carried: false });
        };
        let (py, it) = (x.py(), sequences.get());
        let bound = |object: &Option<Py<PyAny>>| object.as_ref().map(|object| object.bind(py).clone());
        let (noise, states) = (bound(&it.noise), bound(&it.states));
        Ok(Self { x: Array::of("x", it.x.bind(py))?, noise, states, carried: it.carried })
    }

    pub fn dtype(&self) -> Dtype {
        self.x.dtype()
    }

    pub fn python(&self) -> Python<'py> {
        self.x.python()
    }

    pub fn check_dtype(self, expected: Dtype) -> PyResult<Self> {
        self.x.check_dtype(expected).map(|()| self)
    }

    /// The arrays that layers of these shapes, one upon the other, take.
    pub fn inputs<T: Number>(self, shapes: &[Shape]) -> PyResult<Inputs<'py>> {
        let Self { x, noise, states, carried } = self;
        let py = x.python();
        let in_time = shapes.iter().any(|shape| shape.recurrent().is_some());
        let d = shapes[0].shape.inputs();
        if in_time && (x.shape().len() != 3 || x.shape()[0] == 0) {
            let text = format!("x has the shape {:?}: expected [T, B, {d}], with at least one step", x.shape());
            return Err(shape_error(py, text));
        }
        let x = x.input::<T>("inputs", d)?;
        if !in_time && (noise.is_some() || states.is_some() || carried) {
            let what = if noise.is_some() { "noise" } else { "states" };
            let text = format!("{what} come with x, and no layer is recurrent: expected x alone");
            return Err(invalid_value(py, text));
        }
        let lead = x.shape()[..x.shape().len() - 1].to_vec();
        let noise = per_layer::<T>("noise", noise, shapes, &lead)?;
        let states = per_layer::<T>("states", states, shapes, lead.get(1..).unwrap_or_default())?;
        Ok(Inputs { x, noise, states, carried, in_time })
    }
}

/// An array `[..., ne]` for each layer that has some: one by itself is that of the only recurrent layer.
fn per_layer<'py, T: Number>(
    name: &'static str,
    object: Option<Bound<'py, PyAny>>,
    shapes: &[Shape],
    lead: &[usize],
) -> PyResult<Vec<Option<Array<'py>>>> {
    let Some(object) = object else { return Ok(vec![]) };
    let py = object.py();
    let mut all: Vec<Option<Array<'py>>> = shapes.iter().map(|_| None).collect();
    let mut put = |k: usize, array: &Bound<'py, PyAny>| {
        let Some(units) = shapes.get(k).and_then(Shape::recurrent).map(|shape| shape.ne) else {
            let text = format!("{name} has an array for layer {k}: expected the number of a recurrent layer");
            return Err(invalid_value(py, text));
        };
        let array = Array::of(name, array)?;
        if array.shape() != [lead, &[units]].concat() {
            let expected = [lead, &[units]].concat();
            let text = format!("{name} of layer {k} has the shape {:?}: expected {expected:?}", array.shape());
            return Err(shape_error(py, text));
        }
        all[k] = Some(array.input::<T>("units", units)?);
        Ok(())
    };
    if let Ok(mapping) = object.cast::<PyMapping>() {
        for item in mapping.items()?.iter() {
            let (k, array): (usize, Bound<'py, PyAny>) = item.extract()?;
            put(k, &array)?;
        }
        return Ok(all);
    }
    let recurrent: Vec<usize> = (0..shapes.len()).filter(|&k| shapes[k].recurrent().is_some()).collect();
    match recurrent[..] {
        [k] => put(k, &object)?,
        _ => {
            let text = format!(
                "{name} is one array, and there are {} recurrent layers: expected a mapping from the numbers of layers",
                recurrent.len()
            );
            return Err(shape_error(py, text));
        }
    }
    Ok(all)
}

/// The elements of the arrays that are there.
///
/// # Safety
/// As [`Inputs::view`].
unsafe fn matrices<'a, T: Element>(arrays: &'a [Option<Array<'_>>]) -> PyResult<Vec<Option<MatRef<'a, T>>>> {
    // SAFETY: as demanded here.
    arrays.iter().map(|array| array.as_ref().map(|array| unsafe { array.matrix() }).transpose()).collect()
}

/// Inputs with what comes along, held.
pub struct Inputs<'py> {
    pub x: Array<'py>,
    noise: Vec<Option<Array<'py>>>,
    states: Vec<Option<Array<'py>>>,
    carried: bool,
    in_time: bool,
}

/// Inputs as the kernels take them.
pub struct View<'a, T> {
    pub x: MatRef<'a, T>,
    noise: Vec<Option<MatRef<'a, T>>>,
    states: Vec<Option<MatRef<'a, T>>>,
    steps: usize,
    carried: bool,
}

impl<'py> Inputs<'py> {
    /// Rows of `x`.
    pub fn rows(&self) -> usize {
        self.x.examples()
    }

    /// The dimensions of `x` but the last, if they are those of steps and examples.
    pub fn steps_and_examples(&self) -> Option<&[usize]> {
        self.in_time.then(|| &self.x.shape()[..2])
    }

    /// The dimensions of an array with so many columns in the place of the inputs.
    pub fn sizes(&self, cols: usize) -> Vec<usize> {
        let mut sizes = self.x.shape().to_vec();
        *sizes.last_mut().expect("an input has a dimension") = cols;
        sizes
    }

    /// All arrays.
    pub fn arrays(&self) -> impl Iterator<Item = &Array<'py>> {
        [&self.x].into_iter().chain(self.noise.iter().chain(&self.states).flatten())
    }

    /// Refuses inputs without rows.
    pub fn with_rows(self) -> PyResult<Self> {
        if self.rows() == 0 {
            let text = format!("x has the shape {:?}: expected at least one example", self.x.shape());
            return Err(shape_error(self.x.python(), text));
        }
        Ok(self)
    }

    /// Refuses states that were carried over: a layer by itself has none.
    pub fn not_carried(self) -> PyResult<Self> {
        if self.carried {
            let text =
                "carried is True for a layer by itself: expected states, such as those that the call before returned";
            return Err(invalid_value(self.x.python(), text.into()));
        }
        Ok(self)
    }

    /// There must be rows.
    ///
    /// # Safety
    /// While the view lives, nobody writes to the elements.
    pub unsafe fn view<T: Element>(&self) -> PyResult<View<'_, T>> {
        // SAFETY: as demanded here; they have rows, as `x` has.
        let (noise, states) = unsafe { (matrices(&self.noise)?, matrices(&self.states)?) };
        let steps = self.steps_and_examples().map_or(1, |lead| lead[0]);
        // SAFETY: as demanded here.
        Ok(View { x: unsafe { self.x.matrix() }?, noise, states, steps, carried: self.carried })
    }
}

impl<T: Element> View<'_, T> {
    /// The sequences, or rows by themselves.
    pub fn sequences(&self) -> Result<interneuron::Sequences<'_, T>, interneuron::Error> {
        let sequences = interneuron::Sequences::new(self.x, self.steps)?.noise(&self.noise);
        Ok(match (self.carried, self.states.is_empty()) {
            (true, _) => sequences.carried(),
            (_, false) => sequences.states(&self.states),
            (_, true) => sequences,
        })
    }
}
