//! Update rules as Python says them.

use crate::error::{OrRaise, invalid_value};
use interneuron::{Adam, Angle, ClipScope, DecayOrder, Descent, KeptSums, Natural, PerRole, Role};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyTuple};

/// The names of roles, in the order of [`Role::MOVED`].
pub const ROLES: [&str; Role::MOVED.len()] = ["Wex", "Wix", "Wei", "alpha", "g", "b", "h0"];

/// How a step changes the parameters.
#[pyclass(frozen, module = "interneuron._core")]
pub struct Update(pub interneuron::Update);

/// A number for all roles, or a mapping from roles to numbers.
fn per_role(name: &str, value: Option<&Bound<'_, PyAny>>, missing: f64) -> PyResult<PerRole<f64>> {
    let Some(value) = value.filter(|value| !value.is_none()) else { return Ok(PerRole::all(missing)) };
    if let Ok(number) = value.extract() {
        return Ok(PerRole::all(number));
    }
    let expected =
        || PyTypeError::new_err(format!("{name} is {value}: expected a number, or numbers by the names of {ROLES:?}"));
    let mapping = value.cast::<PyMapping>().map_err(|_| expected())?;
    let mut all = PerRole::all(missing);
    for item in mapping.items()?.iter() {
        let (role, number): (String, f64) = item.extract().map_err(|_| expected())?;
        // What the same role is called where there are no interneurons.
        let role = if role == "W" || role == "Wpos" { "Wex" } else { &role };
        let place = ROLES.iter().position(|known| *known == role).ok_or_else(|| {
            invalid_value(value.py(), format!("{name} has a value for {role:?}: expected one of {ROLES:?}"))
        })?;
        all = all.with(Role::MOVED[place], number);
    }
    Ok(all)
}

/// One of some names.
fn choice<T: Copy>(py: Python<'_>, name: &str, value: &str, all: &[(&str, T)]) -> PyResult<T> {
    all.iter().find(|(known, _)| *known == value).map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(known, _)| *known).collect();
        invalid_value(py, format!("{name} is {value:?}: expected one of {names:?}"))
    })
}

const DECAY_ORDERS: [(&str, DecayOrder); 3] = [
    ("before_momentum", DecayOrder::BeforeMomentum),
    ("after_momentum", DecayOrder::AfterMomentum),
    ("decoupled", DecayOrder::Decoupled),
];
const CLIP_SCOPES: [(&str, ClipScope); 3] =
    [("layer", ClipScope::Layer), ("array", ClipScope::Array), ("network", ClipScope::Network)];
const KEPT_SUMS: [(&str, KeptSums); 2] = [("array", KeptSums::Array), ("row", KeptSums::Row)];

fn name_of<T: Copy + PartialEq>(all: &[(&'static str, T)], value: T) -> &'static str {
    all.iter().find(|(_, known)| *known == value).expect("every value has a name").0
}

#[pymethods]
impl Update {
    #[new]
    #[pyo3(signature = (
        lr, *, corrections = false, factors = None, exponentiated = None, decay = None, decay_order = "before_momentum",
        momentum = None, nesterov = false, dampening = 0.0, adam = None, floor = None, clip = None, clip_scope = "layer",
        kept_sums = None, angle = None, natural = None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "each is a keyword")]
    fn new(
        py: Python<'_>,
        lr: f64,
        corrections: bool,
        factors: Option<&Bound<'_, PyAny>>,
        exponentiated: Option<f64>,
        decay: Option<&Bound<'_, PyAny>>,
        decay_order: &str,
        momentum: Option<&Bound<'_, PyAny>>,
        nesterov: bool,
        dampening: f64,
        adam: Option<(f64, f64, f64, bool)>,
        floor: Option<f64>,
        clip: Option<f64>,
        clip_scope: &str,
        kept_sums: Option<&str>,
        angle: Option<(f64, usize, f64)>,
        natural: Option<(f64, f64, f64, bool)>,
    ) -> PyResult<Self> {
        let update = interneuron::Update {
            corrections,
            factors: per_role("factors", factors, 1.0)?,
            descent: exponentiated.map_or(Descent::Projected, |split| Descent::Exponentiated { split }),
            decay: per_role("decay", decay, 0.0)?,
            decay_order: choice(py, "decay_order", decay_order, &DECAY_ORDERS)?,
            momentum: per_role("momentum", momentum, 0.0)?,
            nesterov,
            dampening,
            adam: adam.map(|(beta1, beta2, epsilon, amsgrad)| Adam { betas: [beta1, beta2], epsilon, amsgrad }),
            floor,
            clip,
            clip_scope: choice(py, "clip_scope", clip_scope, &CLIP_SCOPES)?,
            kept_sums: kept_sums.map(|name| choice(py, "kept_sums", name, &KEPT_SUMS)).transpose()?,
            angle: angle.map(|(lr_min, rates, cosine_epsilon)| Angle { lr_min, rates, cosine_epsilon }),
            natural: natural.map(|(c, f_lambda, epsilon, normalised)| Natural { c, f_lambda, epsilon, normalised }),
            ..interneuron::Update::sgd(lr)
        };
        // Those of f32 are checked where they are used.
        update.check::<f64>().or_raise(py)?;
        Ok(Self(update))
    }

    #[getter]
    fn lr(&self) -> f64 {
        self.0.lr
    }

    /// The same with another learning rate.
    fn with_lr(&self, lr: f64) -> Self {
        Self(interneuron::Update { lr, ..self.0 })
    }

    /// The keywords that make it, all of them.
    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let it = &self.0;
        let fields = PyDict::new(py);
        let per_role = |values: &PerRole<f64>| {
            let by_name = PyDict::new(py);
            values.iter().zip(ROLES).try_for_each(|((_, value), role)| by_name.set_item(role, value))?;
            Ok::<_, PyErr>(by_name)
        };
        let split = match it.descent {
            Descent::Projected => None,
            Descent::Exponentiated { split } => Some(split),
        };
        fields.set_item("lr", it.lr)?;
        fields.set_item("corrections", it.corrections)?;
        fields.set_item("factors", per_role(&it.factors)?)?;
        fields.set_item("exponentiated", split)?;
        fields.set_item("decay", per_role(&it.decay)?)?;
        fields.set_item("decay_order", name_of(&DECAY_ORDERS, it.decay_order))?;
        fields.set_item("momentum", per_role(&it.momentum)?)?;
        fields.set_item("nesterov", it.nesterov)?;
        fields.set_item("dampening", it.dampening)?;
        fields.set_item("adam", it.adam.map(|Adam { betas: [a, b], epsilon, amsgrad }| (a, b, epsilon, amsgrad)))?;
        fields.set_item("floor", it.floor)?;
        fields.set_item("clip", it.clip)?;
        fields.set_item("clip_scope", name_of(&CLIP_SCOPES, it.clip_scope))?;
        fields.set_item("kept_sums", it.kept_sums.map(|sums| name_of(&KEPT_SUMS, sums)))?;
        fields.set_item(
            "angle",
            it.angle.map(|Angle { lr_min, rates, cosine_epsilon }| (lr_min, rates, cosine_epsilon)),
        )?;
        let natural = it.natural.map(|Natural { c, f_lambda, epsilon, normalised }| (c, f_lambda, epsilon, normalised));
        fields.set_item("natural", natural)?;
        Ok(fields)
    }

    #[staticmethod]
    fn of_fields<'py>(fields: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
        let (fields, py) = (fields.copy()?, fields.py());
        let lr = fields.get_item("lr")?;
        fields.del_item("lr")?;
        py.get_type::<Self>().call((lr,), Some(&fields))
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| other.get().0 == self.0)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let plain = Self(interneuron::Update::sgd(self.0.lr)).fields(py)?;
        let mut said = vec![self.0.lr.to_string()];
        for (key, value) in self.fields(py)? {
            if key.to_string() != "lr" && !plain.get_item(&key)?.is_some_and(|plain| plain.eq(&value).unwrap_or(false))
            {
                said.push(format!("{key}={}", value.repr()?));
            }
        }
        Ok(format!("Update({})", said.join(", ")))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        Ok((py.get_type::<Self>().getattr("of_fields")?, PyTuple::new(py, [self.fields(py)?])?))
    }
}
