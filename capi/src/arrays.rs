//! The arrays of a layer: places in the order of the struct [`Arrays`], some of them empty in some kinds of layers.

use crate::arguments::{Arguments, Checked, Input, Output, pointer_or_null};
use crate::config::{Arrays, versioned};
use crate::status::{Failure, Outcome};
use interneuron::{Error, LayerShape, Parameter, Params, ParamsMut, ParamsRef, Role, Schema};
use std::ffi::CStr;

/// How many there are: one for each role that a step moves, and two for running statistics.
pub const PLACES: usize = Role::MOVED.len() + STATISTICS.len();
const STATISTICS: [&str; 2] = ["running_mean", "running_var"];

/// One for each place.
pub type Places<A> = [A; PLACES];

/// What errors call the arrays: those of an argument, and those that a layer was attached to.
pub const ARRAYS: Places<&str> = [
    "arrays->wex",
    "arrays->wix",
    "arrays->wei",
    "arrays->alpha",
    "arrays->g",
    "arrays->b",
    "arrays->running_mean",
    "arrays->running_var",
];
pub const ATTACHED: Places<&str> = [
    "the attached wex",
    "the attached wix",
    "the attached wei",
    "the attached alpha",
    "the attached g",
    "the attached b",
    "the attached running_mean",
    "the attached running_var",
];

/// The place of a parameter. Kinds of layers with others are none that the ABI makes.
pub fn place(parameter: &Parameter) -> usize {
    let moved = Role::MOVED.into_iter().position(|role| role == parameter.role);
    let kept = || STATISTICS.into_iter().position(|name| name == parameter.name).map(|i| Role::MOVED.len() + i);
    moved.or_else(kept).expect("a parameter that the ABI has a place for")
}

/// The number of elements in each place; 0 where the layer has no such array.
pub fn lengths(schema: &Schema) -> Places<usize> {
    let mut lengths = [0; PLACES];
    schema.iter().for_each(|parameter| lengths[place(parameter)] = parameter.elements());
    lengths
}

/// Name, rows and columns of each array that the layer has, in the order of the places. A vector has one column.
pub fn describe(schema: &Schema) -> Vec<(&'static CStr, usize, usize)> {
    const NAMES: [&CStr; 10] =
        [c"Wex", c"W", c"Wpos", c"Wix", c"Wei", c"alpha", c"g", c"b", c"running_mean", c"running_var"];
    let named = |name: &str| NAMES.into_iter().find(|c| c.to_bytes() == name.as_bytes());
    let present = schema.iter().filter(|parameter| parameter.elements() > 0);
    let mut arrays: Vec<_> = present
        .map(|parameter| {
            let (dimensions, name) =
                (parameter.dimensions(), named(parameter.name).expect("a name that the ABI knows"));
            (place(parameter), (name, dimensions[0], dimensions.get(1).copied().unwrap_or(1)))
        })
        .collect();
    arrays.sort_by_key(|(place, _)| *place);
    arrays.into_iter().map(|(_, array)| array).collect()
}

/// The pointers of a caller's struct.
///
/// # Safety
/// As [`versioned`].
pub unsafe fn pointers(arguments: &mut Arguments, arrays: *const Arrays) -> Outcome<Places<*mut f32>> {
    // SAFETY: as demanded here.
    let Arrays { wex, wix, wei, alpha, g, b, running_mean, running_var, .. } =
        unsafe { versioned(arguments, "arrays", arrays) }?;
    Ok([wex, wix, wei, alpha, g, b, running_mean, running_var])
}

/// Refuses pointers for arrays that the layer does not have: a caller that passes one takes the layer for another.
pub fn check_places(pointers: &Places<*mut f32>, lengths: &Places<usize>) -> Outcome {
    for ((&pointer, &len), name) in pointers.iter().zip(lengths).zip(ARRAYS) {
        if len == 0 && !pointer.is_null() {
            return Err(Failure::argument(name, format!("{pointer:p}"), "NULL, as the layer has no such array"));
        }
        pointer_or_null(name, pointer)?;
    }
    Ok(())
}

/// Announces all arrays of a layer for reading.
pub fn read(
    arguments: &mut Arguments,
    names: &Places<&'static str>,
    pointers: &Places<*mut f32>,
    lengths: &Places<usize>,
) -> Outcome<Places<Input<f32>>> {
    let mut inputs = [Input::nothing(); PLACES];
    for (i, input) in inputs.iter_mut().enumerate() {
        *input = arguments.read(names[i], pointers[i].cast_const(), lengths[i])?;
    }
    Ok(inputs)
}

/// Announces all arrays of a layer for writing.
pub fn write(
    arguments: &mut Arguments,
    names: &Places<&'static str>,
    pointers: &Places<*mut f32>,
    lengths: &Places<usize>,
) -> Outcome<Places<Output<f32>>> {
    let mut outputs = [(); PLACES].map(|()| Output::nothing());
    for (i, output) in outputs.iter_mut().enumerate() {
        *output = arguments.write(names[i], pointers[i], lengths[i])?;
    }
    Ok(outputs)
}

/// Announces the arrays for writing whose pointers are not NULL.
pub fn write_wanted(
    arguments: &mut Arguments,
    pointers: &Places<*mut f32>,
    lengths: &Places<usize>,
) -> Outcome<Places<Option<Output<f32>>>> {
    let mut outputs = [(); PLACES].map(|()| None);
    for (i, output) in outputs.iter_mut().enumerate() {
        *output = arguments.write_wanted(ARRAYS[i], pointers[i], lengths[i])?;
    }
    Ok(outputs)
}

/// # Safety
/// As [`Input::slice`], for each array.
pub unsafe fn slices(inputs: Places<Input<f32>>, checked: &Checked) -> Places<&[f32]> {
    // SAFETY: as demanded here.
    inputs.map(|input| unsafe { input.slice(checked) })
}

/// # Safety
/// As [`Output::slice`], for each array.
#[expect(clippy::mut_from_ref, reason = "there is one `Output` of each array, which this takes")]
pub unsafe fn slices_mut(outputs: Places<Output<f32>>, checked: &Checked) -> Places<&mut [f32]> {
    // SAFETY: as demanded here.
    outputs.map(|output| unsafe { output.slice(checked) })
}

/// The arrays as the Rust crate has them.
pub fn view<'a>(schema: &Schema, all: Places<&'a [f32]>) -> Result<ParamsRef<'a, f32>, Error> {
    ParamsRef::new(schema, schema.iter().map(|parameter| all[place(parameter)]))
}

/// As [`view`], for writing.
pub fn view_mut<'a>(schema: &Schema, mut all: Places<&'a mut [f32]>) -> Result<ParamsMut<'a, f32>, Error> {
    ParamsMut::new(schema, schema.iter().map(|parameter| std::mem::take(&mut all[place(parameter)])))
}

/// The arrays of the Rust crate in their places.
pub fn places<'a>(schema: &Schema, params: ParamsRef<'a, f32>) -> Places<&'a [f32]> {
    let mut all: Places<&[f32]> = [&[]; PLACES];
    schema.iter().zip(params.iter()).for_each(|(parameter, array)| all[place(parameter)] = array);
    all
}

/// A copy, or an error if there is no memory for it.
pub fn copy(shape: &LayerShape, params: ParamsRef<'_, f32>) -> Outcome<Params<f32>> {
    let mut copy = Params::zeros(shape)?;
    copy.view_mut().into_iter().zip(params.iter()).for_each(|(to, from)| to.copy_from_slice(from));
    Ok(copy)
}
