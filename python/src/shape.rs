//! What a layer is, as Python says it, and what all layers of a shape share.

use crate::error::{OrRaise, internal_error, invalid_value};
use crate::threads::threads;
use crate::update::ROLES;
use interneuron::{
    Context, DannShape, DenseShape, Divisor, Element, Error, Floor, Layer, LayerShape, Nonlinearity, NormShape,
    Normalisation, Parameter, Role, Schema, Tape,
};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

/// Runs a computation while other threads of Python go on, and turns its error or its panic into an exception.
pub fn compute<R: Send>(py: Python<'_>, f: impl FnOnce() -> Result<R, Error> + Send) -> PyResult<R> {
    match py.detach(|| catch_unwind(AssertUnwindSafe(f))) {
        Ok(result) => result.or_raise(py),
        Err(panic) => Err(internal_error(py, &*panic)),
    }
}

/// Tapes of a shape that are kept for the next pass.
const MOST_TAPES: usize = 32;

/// What layers of a shape and an element type share: the layer itself, which computes on one thread, and tapes that
/// nobody uses at the moment.
pub struct Shared<T: Element> {
    layer: OnceLock<Layer<T>>,
    /// Locked by who does nothing else meanwhile. Who cannot have it goes without, as in a child process that was forked
    /// at that moment.
    #[expect(clippy::vec_box, reason = "they are handed on, and a tape itself is large")]
    tapes: Mutex<Vec<Box<Tape<T>>>>,
}

impl<T: Element> Shared<T> {
    const fn new() -> Self {
        Self { layer: OnceLock::new(), tapes: Mutex::new(vec![]) }
    }

    /// The layer, to compute on so many threads.
    pub fn layer(&self, py: Python<'_>, shape: LayerShape, count: usize) -> PyResult<Cow<'_, Layer<T>>> {
        let layer = match self.layer.get() {
            Some(layer) => layer,
            None => {
                let layer = Layer::new(shape, &Context::new().or_raise(py)?).or_raise(py)?;
                self.layer.get_or_init(|| layer)
            }
        };
        if count == 1 {
            return Ok(Cow::Borrowed(layer));
        }
        // A clone goes on with the tapes of the layer.
        let mut layer = layer.clone();
        layer.set_threads(threads(py, count)?);
        Ok(Cow::Owned(layer))
    }

    /// A tape that nobody uses.
    pub fn tape(&self) -> Box<Tape<T>> {
        self.tapes.try_lock().ok().and_then(|mut tapes| tapes.pop()).unwrap_or_default()
    }

    /// Keeps a tape for the next pass.
    pub fn give_back(&self, tape: Box<Tape<T>>) {
        if let Ok(mut tapes) = self.tapes.try_lock()
            && tapes.len() < MOST_TAPES
        {
            tapes.push(tape);
        }
    }
}

/// What layers of a shape share, for both element types.
pub struct Both {
    pub f32: Shared<f32>,
    pub f64: Shared<f64>,
}

/// An element type, and what is there for it.
pub trait Number: Element {
    fn shared(both: &Both) -> &Shared<Self>;
}

impl Number for f32 {
    fn shared(both: &Both) -> &Shared<Self> {
        &both.f32
    }
}

impl Number for f64 {
    fn shared(both: &Both) -> &Shared<Self> {
        &both.f64
    }
}

/// What a layer is: its kind and its numbers.
#[pyclass(frozen, skip_from_py_object, module = "interneuron._core")]
#[derive(Clone)]
pub struct Shape {
    pub shape: LayerShape,
    pub schema: Arc<Schema>,
    pub both: Arc<Both>,
}

impl Shape {
    pub fn new(py: Python<'_>, shape: impl Into<LayerShape>) -> PyResult<Self> {
        static SHAPES: Mutex<Option<HashMap<LayerShape, Weak<Both>>>> = Mutex::new(None);
        let shape = shape.into();
        let schema = Arc::new(shape.schema().or_raise(py)?);
        let mut shapes = SHAPES.lock().unwrap_or_else(PoisonError::into_inner);
        let shapes = shapes.get_or_insert_default();
        if let Some(both) = shapes.get(&shape).and_then(Weak::upgrade) {
            return Ok(Self { shape, schema, both });
        }
        shapes.retain(|_, both| both.strong_count() > 0);
        let both = Arc::new(Both { f32: Shared::new(), f64: Shared::new() });
        shapes.insert(shape, Arc::downgrade(&both));
        Ok(Self { shape, schema, both })
    }

    /// The arrays that such a layer has.
    pub fn present(&self) -> impl Iterator<Item = &Parameter> {
        self.schema.iter().filter(|parameter| parameter.elements() > 0)
    }

    /// Kind and numbers.
    pub fn text(&self) -> String {
        let (d, ne) = (self.inputs(), self.outputs());
        let end = if self.relu() { "relu" } else { "identity" };
        match self.kind() {
            "dann" => {
                let divisor = match self.shape.divisor() {
                    None => "none".into(),
                    Some(Divisor::Root) => "root".into(),
                    Some(Divisor::Floor(floor)) => format!("{:e}", floor.get()),
                    Some(Divisor::Plain) => "plain".into(),
                };
                format!("dann:{d},{ne},{},{end},{divisor}", self.interneurons())
            }
            "columns" => {
                let (inputs, outputs) = self.inhibitory();
                format!("columns:{d},{ne},{inputs},{outputs},{end}")
            }
            kind => format!("{kind}:{d},{ne},{end}"),
        }
    }

    fn inhibitory(&self) -> (usize, usize) {
        match self.shape {
            LayerShape::Dense(DenseShape { columns: Some(columns), .. }) => {
                (columns.inhibitory_inputs, columns.inhibitory_outputs)
            }
            _ => (0, 0),
        }
    }
}

fn nonlinearity(relu: bool) -> Nonlinearity {
    if relu { Nonlinearity::Relu } else { Nonlinearity::Identity }
}

/// What inhibition divides by: nothing, a name, or a floor.
#[derive(FromPyObject)]
pub enum DivisorName {
    Name(String),
    Floor(f64),
}

impl DivisorName {
    pub fn divisor(self, py: Python<'_>) -> PyResult<Divisor> {
        match self {
            Self::Floor(least) => Ok(Divisor::Floor(Floor::new(least).or_raise(py)?)),
            Self::Name(name) => match &*name {
                "plain" => Ok(Divisor::Plain),
                "root" => Ok(Divisor::Root),
                _ => Err(invalid_value(
                    py,
                    format!("divisor is {name:?}: expected \"plain\", \"root\", a floor such as 0.01, or None"),
                )),
            },
        }
    }
}

/// An array: its name, its dimensions, its role, whether elements may be negative, and its correction.
type Described<'py> = (&'static str, Bound<'py, PyTuple>, &'static str, bool, f64);

#[pymethods]
impl Shape {
    #[staticmethod]
    #[pyo3(
        signature = (d, ne, ni, *, relu = true, divisor = Some(DivisorName::Name("plain".into()))),
        text_signature = "(d, ne, ni, *, relu=True, divisor='plain')"
    )]
    fn dann(
        py: Python<'_>,
        d: usize,
        ne: usize,
        ni: usize,
        relu: bool,
        divisor: Option<DivisorName>,
    ) -> PyResult<Self> {
        let shape = DannShape { nonlinearity: nonlinearity(relu), ..DannShape::new(d, ne, ni) };
        let shape = match divisor {
            None => shape.subtractive(),
            Some(divisor) => shape.divisor(divisor.divisor(py)?),
        };
        Self::new(py, shape)
    }

    #[staticmethod]
    #[pyo3(signature = (d, ne, *, relu = true))]
    fn linear(py: Python<'_>, d: usize, ne: usize, relu: bool) -> PyResult<Self> {
        Self::new(py, DenseShape { nonlinearity: nonlinearity(relu), ..DenseShape::new(d, ne) })
    }

    #[staticmethod]
    #[pyo3(signature = (d, ne, *, inhibitory_inputs = 0, inhibitory_outputs = 0, relu = true))]
    fn columns(
        py: Python<'_>,
        d: usize,
        ne: usize,
        inhibitory_inputs: usize,
        inhibitory_outputs: usize,
        relu: bool,
    ) -> PyResult<Self> {
        let shape = DenseShape { nonlinearity: nonlinearity(relu), ..DenseShape::new(d, ne) };
        Self::new(py, shape.columns(inhibitory_inputs, inhibitory_outputs))
    }

    #[staticmethod]
    #[pyo3(signature = (d, ne, *, relu = true))]
    fn layer_norm(py: Python<'_>, d: usize, ne: usize, relu: bool) -> PyResult<Self> {
        Self::new(py, NormShape { nonlinearity: nonlinearity(relu), ..NormShape::new(d, ne, Normalisation::Layer) })
    }

    #[staticmethod]
    #[pyo3(signature = (d, ne, *, relu = true))]
    fn batch_norm(py: Python<'_>, d: usize, ne: usize, relu: bool) -> PyResult<Self> {
        Self::new(py, NormShape { nonlinearity: nonlinearity(relu), ..NormShape::new(d, ne, Normalisation::Batch) })
    }

    /// The shape that `str(shape)` describes: kind and numbers, such as `dann:784,500,50,relu,plain`.
    #[staticmethod]
    fn parse(py: Python<'_>, text: &str) -> PyResult<Self> {
        let wrong = || invalid_value(py, format!("shape is {text:?}: expected what str(shape) says"));
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        let fields: Vec<&str> = rest.split(',').collect();
        let number = |k: usize| fields.get(k).and_then(|field| field.parse::<usize>().ok()).ok_or_else(wrong);
        let (d, ne) = (number(0)?, number(1)?);
        let relu = |k: usize| match fields.get(k) {
            Some(&"relu") => Ok(true),
            Some(&"identity") => Ok(false),
            _ => Err(wrong()),
        };
        match (kind, fields.len()) {
            ("dann", 5) => {
                let divisor = match fields[4] {
                    "none" => None,
                    name => Some(name.parse().map_or_else(|_| DivisorName::Name(name.into()), DivisorName::Floor)),
                };
                Self::dann(py, d, ne, number(2)?, relu(3)?, divisor)
            }
            ("linear", 3) => Self::linear(py, d, ne, relu(2)?),
            ("columns", 5) => Self::columns(py, d, ne, number(2)?, number(3)?, relu(4)?),
            ("layer_norm", 3) => Self::layer_norm(py, d, ne, relu(2)?),
            ("batch_norm", 3) => Self::batch_norm(py, d, ne, relu(2)?),
            _ => Err(wrong()),
        }
    }

    #[getter]
    fn kind(&self) -> &'static str {
        match self.shape {
            LayerShape::Dann(_) => "dann",
            LayerShape::Norm(NormShape { over: Normalisation::Layer, .. }) => "layer_norm",
            LayerShape::Norm(_) => "batch_norm",
            LayerShape::Dense(DenseShape { columns: Some(_), .. }) => "columns",
            _ => "linear",
        }
    }

    #[getter]
    fn inputs(&self) -> usize {
        self.shape.inputs()
    }

    #[getter]
    fn outputs(&self) -> usize {
        self.shape.outputs()
    }

    #[getter]
    fn interneurons(&self) -> usize {
        self.shape.interneurons()
    }

    #[getter]
    fn relu(&self) -> bool {
        self.shape.nonlinearity() == Nonlinearity::Relu
    }

    #[getter]
    fn divisive(&self) -> bool {
        self.shape.divisive()
    }

    #[getter]
    fn divisor<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(match self.shape.divisor() {
            None => None,
            Some(Divisor::Plain) => Some("plain".into_pyobject(py)?.into_any()),
            Some(Divisor::Root) => Some("root".into_pyobject(py)?.into_any()),
            Some(Divisor::Floor(floor)) => Some(floor.get().into_pyobject(py)?.into_any()),
        })
    }

    #[getter]
    fn inhibitory_inputs(&self) -> usize {
        self.inhibitory().0
    }

    #[getter]
    fn inhibitory_outputs(&self) -> usize {
        self.inhibitory().1
    }

    /// The arrays that such a layer has: name, dimensions, role, whether elements may be negative, and its correction.
    #[getter]
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Vec<Described<'py>>> {
        let role = |role: Role| Role::MOVED.iter().position(|moved| *moved == role).map_or("statistic", |k| ROLES[k]);
        self.present()
            .map(|it| Ok((it.name, PyTuple::new(py, it.dimensions())?, role(it.role), it.signed, it.correction)))
            .collect()
    }

    fn __str__(&self) -> String {
        self.text()
    }

    fn __repr__(&self) -> String {
        format!("Shape.parse({:?})", self.text())
    }
    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| other.get().shape == self.shape)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.shape.hash(&mut hasher);
        hasher.finish()
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        Ok((py.get_type::<Self>().getattr("parse")?, PyTuple::new(py, [self.text()])?))
    }
}
