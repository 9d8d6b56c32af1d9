//! What a layer is, as Python says it, and what all layers of a shape share.

use crate::error::{OrRaise, internal_error, invalid_value};
use crate::threads::threads;
use crate::update::ROLES;
use interneuron::{
    Cell, Context, DannShape, DenseShape, Divisor, Dynamics, Element, Error, Floor, Layer, LayerShape, Leak,
    Nonlinearity, NormShape, Normalisation, Parameter, RecurrentShape, Role, Schema, Tape,
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

    /// The same as a recurrent layer, if it is one.
    pub fn recurrent(&self) -> Option<&RecurrentShape> {
        match &self.shape {
            LayerShape::Recurrent(shape) => Some(shape),
            _ => None,
        }
    }

    /// The arrays that such a layer has.
    pub fn present(&self) -> impl Iterator<Item = &Parameter> {
        self.schema.iter().filter(|parameter| parameter.elements() > 0)
    }

    /// Kind and numbers.
    pub fn text(&self) -> String {
        let (d, ne) = (self.inputs(), self.outputs());
        let end = if self.relu() { "relu" } else { "identity" };
        let divisor = || match self.shape.divisor() {
            None => "none".into(),
            Some(Divisor::Root) => "root".into(),
            Some(Divisor::Floor(floor)) => format!("{:e}", floor.get()),
            Some(Divisor::Plain) => "plain".into(),
        };
        if let LayerShape::Recurrent(shape) = self.shape {
            let (kind, d, ne, form) = (self.kind(), shape.d, shape.ne, shape.text());
            return match shape.cell {
                Cell::Dann { nu, nw, .. } => format!("{kind}:{d},{ne},{nu},{nw},{},{form}", divisor()),
                Cell::Columns { inhibitory_inputs, inhibitory_units } => {
                    format!("{kind}:{d},{ne},{inhibitory_inputs},{inhibitory_units},{form}")
                }
                Cell::Plain => format!("{kind}:{d},{ne},{form}"),
            };
        }
        match self.kind() {
            "dann" => format!("dann:{d},{ne},{},{end},{}", self.interneurons(), divisor()),
            "columns" => {
                let (inputs, outputs) = self.inhibitory();
                format!("columns:{d},{ne},{inputs},{outputs},{end}")
            }
            kind => format!("{kind}:{d},{ne},{end}"),
        }
    }

    fn inhibitory(&self) -> (usize, usize) {
        match self.shape {
            LayerShape::Recurrent(RecurrentShape {
                cell: Cell::Columns { inhibitory_inputs, inhibitory_units },
                ne,
                visible,
                signed,
                ..
            }) => (inhibitory_inputs, if signed { inhibitory_units.saturating_sub(ne - visible) } else { 0 }),
            LayerShape::Dense(DenseShape { columns: Some(columns), .. }) => {
                (columns.inhibitory_inputs, columns.inhibitory_outputs)
            }
            _ => (0, 0),
        }
    }
}

/// The leak κ: a number for all units, or a word.
#[derive(FromPyObject)]
pub enum KappaName {
    Number(f64),
    Name(String),
}

/// How a recurrent layer goes from step to step, as Python says it.
fn dynamics(py: Python<'_>, name: &str, kappa: Option<KappaName>) -> PyResult<Dynamics> {
    let leak = |kappa: Option<KappaName>| match kappa {
        Some(KappaName::Number(kappa)) => Leak::new(kappa).or_raise(py),
        Some(KappaName::Name(name)) if name == "per_unit" => Ok(Leak::per_unit()),
        Some(KappaName::Name(name)) => Err(invalid_value(
            py,
            format!("kappa is {name:?}: expected a number above 0 and at most 1, or \"per_unit\""),
        )),
        None => Err(invalid_value(
            py,
            format!("kappa is None with dynamics {name:?}: expected a number above 0 and at most 1, or \"per_unit\""),
        )),
    };
    match (name, kappa) {
        ("plain", None) => Ok(Dynamics::Plain),
        ("plain", Some(_)) => {
            let expected = "None, or the dynamics \"rate\" or \"state\"";
            Err(invalid_value(py, format!("kappa is given with dynamics \"plain\": expected {expected}")))
        }
        ("rate", kappa) => Ok(Dynamics::Rate(leak(kappa)?)),
        ("state", kappa) => Ok(Dynamics::State(leak(kappa)?)),
        _ => {
            let expected = "\"plain\", \"rate\" or \"state\"";
            Err(invalid_value(py, format!("dynamics is {name:?}: expected {expected}")))
        }
    }
}

/// What all recurrent layers can have.
struct InTime<'a> {
    dynamics: &'a str,
    kappa: Option<KappaName>,
    learned_state: bool,
    no_self: bool,
    visible: Option<usize>,
}

impl InTime<'_> {
    fn of(self, py: Python<'_>, shape: RecurrentShape) -> PyResult<RecurrentShape> {
        let Self { dynamics: name, kappa, learned_state, no_self, visible } = self;
        let visible = visible.unwrap_or(shape.ne);
        Ok(RecurrentShape { dynamics: dynamics(py, name, kappa)?, learned_state, no_self, visible, ..shape })
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

    #[staticmethod]
    #[pyo3(signature = (
        d, ne, nu, nw, *, divisor = None, dynamics = "plain", kappa = None, learned_state = false, visible = None
    ))]
    #[expect(clippy::too_many_arguments, reason = "as Python calls it")]
    fn recurrent_dann(
        py: Python<'_>,
        d: usize,
        ne: usize,
        nu: usize,
        nw: usize,
        divisor: Option<DivisorName>,
        dynamics: &str,
        kappa: Option<KappaName>,
        learned_state: bool,
        visible: Option<usize>,
    ) -> PyResult<Self> {
        let shape = RecurrentShape::dann(d, ne, nu, nw);
        let shape = match divisor {
            None => shape,
            Some(divisor) => shape.divisive(divisor.divisor(py)?),
        };
        let in_time = InTime { dynamics, kappa, learned_state, no_self: false, visible };
        Self::new(py, in_time.of(py, shape)?)
    }

    #[staticmethod]
    #[pyo3(signature = (
        d, ne, inhibitory_units, *, inhibitory_inputs = 0, dynamics = "plain", kappa = None, learned_state = false,
        no_self = false, visible = None, signed = true
    ))]
    #[expect(clippy::too_many_arguments, reason = "as Python calls it")]
    fn recurrent_columns(
        py: Python<'_>,
        d: usize,
        ne: usize,
        inhibitory_units: usize,
        inhibitory_inputs: usize,
        dynamics: &str,
        kappa: Option<KappaName>,
        learned_state: bool,
        no_self: bool,
        visible: Option<usize>,
        signed: bool,
    ) -> PyResult<Self> {
        let shape = RecurrentShape::columns(d, ne, inhibitory_inputs, inhibitory_units);
        let shape = if signed { shape } else { shape.unsigned() };
        Self::new(py, InTime { dynamics, kappa, learned_state, no_self, visible }.of(py, shape)?)
    }

    #[staticmethod]
    #[pyo3(signature = (
        d, ne, *, dynamics = "plain", kappa = None, learned_state = false, no_self = false, visible = None
    ))]
    #[expect(clippy::too_many_arguments, reason = "as Python calls it")]
    fn recurrent_plain(
        py: Python<'_>,
        d: usize,
        ne: usize,
        dynamics: &str,
        kappa: Option<KappaName>,
        learned_state: bool,
        no_self: bool,
        visible: Option<usize>,
    ) -> PyResult<Self> {
        let in_time = InTime { dynamics, kappa, learned_state, no_self, visible };
        Self::new(py, in_time.of(py, RecurrentShape::plain(d, ne))?)
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
        let divisor = || match fields[4] {
            "none" => None,
            name => Some(name.parse().map_or_else(|_| DivisorName::Name(name.into()), DivisorName::Floor)),
        };
        let in_time = |shape: RecurrentShape| {
            let shape = shape.with_text(fields[fields.len() - 1]).ok_or_else(wrong)?;
            Self::new(py, shape)
        };
        match (kind, fields.len()) {
            ("recurrent_dann", 6) => {
                let shape = RecurrentShape::dann(d, ne, number(2)?, number(3)?);
                let divisor = divisor().map(|divisor| divisor.divisor(py)).transpose()?;
                in_time(divisor.map_or(shape, |divisor| shape.divisive(divisor)))
            }
            ("recurrent_columns", 5) => in_time(RecurrentShape::columns(d, ne, number(2)?, number(3)?)),
            ("recurrent_plain", 3) => in_time(RecurrentShape::plain(d, ne)),
            ("dann", 5) => Self::dann(py, d, ne, number(2)?, relu(3)?, divisor()),
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
            LayerShape::Recurrent(RecurrentShape { cell: Cell::Dann { .. }, .. }) => "recurrent_dann",
            LayerShape::Recurrent(RecurrentShape { cell: Cell::Columns { .. }, .. }) => "recurrent_columns",
            LayerShape::Recurrent(RecurrentShape { cell: Cell::Plain, .. }) => "recurrent_plain",
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

    /// Units of a recurrent layer, of which the first `outputs` go out; 0 of other layers.
    #[getter]
    fn recurrent_units(&self) -> usize {
        self.recurrent().map_or(0, |shape| shape.ne)
    }

    /// Interneurons of the input leg and of the recurrent leg.
    #[getter]
    fn leg_interneurons(&self) -> (usize, usize) {
        match self.recurrent() {
            Some(RecurrentShape { cell: Cell::Dann { nu, nw, .. }, .. }) => (*nu, *nw),
            _ => (0, 0),
        }
    }

    #[getter]
    fn inhibitory_units(&self) -> usize {
        match self.recurrent() {
            Some(RecurrentShape { cell: Cell::Columns { inhibitory_units, .. }, .. }) => *inhibitory_units,
            _ => 0,
        }
    }

    #[getter]
    fn dynamics(&self) -> Option<&'static str> {
        self.recurrent().map(|shape| match shape.dynamics {
            Dynamics::Plain => "plain",
            Dynamics::Rate(_) => "rate",
            Dynamics::State(_) => "state",
        })
    }

    #[getter]
    fn kappa<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(leak) = self.recurrent().and_then(|shape| shape.dynamics.leak()) else { return Ok(None) };
        Ok(Some(match leak.get() {
            Some(kappa) => kappa.into_pyobject(py)?.into_any(),
            None => "per_unit".into_pyobject(py)?.into_any(),
        }))
    }

    #[getter]
    fn learned_state(&self) -> bool {
        self.recurrent().is_some_and(|shape| shape.learned_state)
    }

    #[getter]
    fn no_self(&self) -> bool {
        self.recurrent().is_some_and(|shape| shape.no_self)
    }

    #[getter]
    fn signed(&self) -> bool {
        self.recurrent().is_some_and(|shape| shape.signed)
    }

    /// The arrays that such a layer has: name, dimensions, role, whether elements may be negative, and its correction.
    #[getter]
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Vec<Described<'py>>> {
        let role = |role: Role| match role {
            Role::Statistic => "statistic",
            moved => Role::MOVED.iter().position(|it| *it == moved).map_or("constant", |k| ROLES[k]),
        };
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
