//! The crate's errors as exceptions of the package.

use interneuron::Error;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;
use std::any::Any;

/// An exception of `interneuron.errors`, which are classes of Python: they have several bases.
fn exception<'py, A>(py: Python<'py>, name: &str, arguments: A) -> PyErr
where
    A: IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error = PyErr>,
{
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || py.import("interneuron.errors").map(Bound::unbind));
    let class = module.and_then(|module| module.bind(py).getattr(name));
    let value = class.and_then(|class| class.call1(arguments.into_pyobject(py)?));
    value.map_or_else(|error| error, PyErr::from_value)
}

/// Sizes, strides or kinds that do not go together.
pub fn shape_error(py: Python<'_>, text: String) -> PyErr {
    exception(py, "ShapeError", (text,))
}

/// Elements of another type than what they meet.
pub fn dtype_error(py: Python<'_>, text: String) -> PyErr {
    exception(py, "DtypeError", (text,))
}

/// A number, a name or an element that is not what it may be.
pub fn invalid_value(py: Python<'_>, text: String) -> PyErr {
    exception(py, "InvalidValue", (text,))
}

/// What another thread is in a call with.
pub fn in_use(py: Python<'_>, what: &str) -> PyErr {
    exception(py, "InUse", (format!("{what} is in use by another thread: expected one call at a time"),))
}

/// A defect of the package.
pub fn internal_error(py: Python<'_>, panic: &(dyn Any + Send)) -> PyErr {
    let said = panic.downcast_ref::<&str>().copied();
    let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic");
    exception(py, "InternalError", (format!("{said}: this is a defect of interneuron; arrays may be half-written"),))
}

/// The exception of an error.
pub fn of(py: Python<'_>, error: &Error) -> PyErr {
    let text = error.to_string();
    let inner = match error {
        Error::Layer { source, .. } => source,
        other => other,
    };
    match *inner {
        Error::Dimension { .. } | Error::Mismatch { .. } | Error::Kind { .. } => shape_error(py, text),
        Error::Length { .. } | Error::Stride { .. } => shape_error(py, text),
        Error::Diverged { step, lr, loss } => exception(py, "Diverged", (text, step, lr, loss)),
        Error::Loss { loss } => exception(py, "Diverged", (text, py.None(), py.None(), loss)),
        Error::Divisor { layer, share, smallest } => exception(py, "DivisorError", (text, layer, share, smallest)),
        Error::TooLarge { .. } => exception(py, "TooLarge", (text,)),
        Error::File { .. } => exception(py, "CheckpointError", (text,)),
        Error::NoForward => exception(py, "InternalError", (text,)),
        _ => invalid_value(py, text),
    }
}

/// What was computed, or its error as an exception.
pub trait OrRaise<R> {
    /// The result, or the exception of its error.
    fn or_raise(self, py: Python<'_>) -> PyResult<R>;
}

impl<R> OrRaise<R> for Result<R, Error> {
    fn or_raise(self, py: Python<'_>) -> PyResult<R> {
        self.map_err(|error| of(py, &error))
    }
}
