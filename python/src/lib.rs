//! The extension module of Python's package: checks, views of arrays, and calls of the kernels. Everything that needs no
//! memory of arrays is Python, in `py_src`.

mod array;
mod dlpack;
mod error;
mod files;
mod layer;
mod params;
mod plan;
mod sequences;
mod shape;
mod state;
mod threads;
mod update;

use pyo3::prelude::*;

/// The instruction sets that this CPU has, the widest last.
#[pyfunction]
fn isas() -> Vec<&'static str> {
    interneuron::Isa::available().map(interneuron::Isa::name).collect()
}

/// The instruction set that is used: that of `INTERNEURON_ISA`, or the widest.
#[pyfunction]
fn isa(py: Python<'_>) -> PyResult<&'static str> {
    use error::OrRaise;
    Ok(interneuron::Isa::select().or_raise(py)?.name())
}

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    threads::watch();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<shape::Shape>()?;
    module.add_class::<update::Update>()?;
    module.add_class::<state::State>()?;
    module.add_class::<layer::Kept>()?;
    module.add_class::<sequences::Sequences>()?;
    module.add_class::<plan::Plan>()?;
    module.add_class::<plan::TrainState>()?;
    module.add_class::<plan::Target>()?;
    module.add_function(wrap_pyfunction!(layer::forward, module)?)?;
    module.add_function(wrap_pyfunction!(layer::backward, module)?)?;
    module.add_function(wrap_pyfunction!(layer::update, module)?)?;
    module.add_function(wrap_pyfunction!(layer::forward_through_time, module)?)?;
    module.add_function(wrap_pyfunction!(layer::backward_through_time, module)?)?;
    module.add_function(wrap_pyfunction!(layer::update_through_time, module)?)?;
    module.add_function(wrap_pyfunction!(layer::apply, module)?)?;
    module.add_function(wrap_pyfunction!(layer::check_update, module)?)?;
    module.add_function(wrap_pyfunction!(plan::loss, module)?)?;
    module.add_function(wrap_pyfunction!(plan::network, module)?)?;
    module.add_function(wrap_pyfunction!(plan::draw, module)?)?;
    module.add_function(wrap_pyfunction!(plan::draw_layer, module)?)?;
    module.add_function(wrap_pyfunction!(files::save, module)?)?;
    module.add_function(wrap_pyfunction!(files::load, module)?)?;
    module.add_function(wrap_pyfunction!(files::digits, module)?)?;
    module.add_function(wrap_pyfunction!(files::load_images, module)?)?;
    module.add_function(wrap_pyfunction!(threads::pools, module)?)?;
    module.add_function(wrap_pyfunction!(array::_use_dlpack, module)?)?;
    module.add_function(wrap_pyfunction!(isas, module)?)?;
    module.add_function(wrap_pyfunction!(isa, module)?)
}
