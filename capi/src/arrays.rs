//! The arrays of a layer: six places in the order of the struct [`Arrays`], some of them empty in some kinds of layers.

use crate::arguments::{Arguments, Checked, Input, Output, pointer_or_null};
use crate::config::{Arrays, versioned};
use crate::status::{Failure, Outcome};
use interneuron::{Error, LayerShape, Params, ParamsMut, ParamsRef, Role, Schema};
use std::ffi::CStr;

/// One for each place.
pub type Six<A> = [A; 6];

/// What errors call the arrays: those of an argument, and those that a layer was attached to.
pub const ARRAYS: Six<&str> = ["arrays->wex", "arrays->wix", "arrays->wei", "arrays->alpha", "arrays->g", "arrays->b"];
pub const ATTACHED: Six<&str> = [
    "the attached wex",
    "the attached wix",
    "the attached wei",
    "the attached alpha",
    "the attached g",
    "the attached b",
];

/// The place of the parameters of a role. Kinds of layers with other roles are none that the ABI makes.
fn place(role: Role) -> usize {
    Role::MOVED.into_iter().position(|moved| moved == role).expect("a role that the ABI has a place for")
}

/// The number of elements in each place; 0 where the layer has no such array.
pub fn lengths(schema: &Schema) -> Six<usize> {
    let mut lengths = [0; 6];
    schema.iter().for_each(|parameter| lengths[place(parameter.role)] = parameter.elements());
    lengths
}

/// Name, rows and columns of each array that the layer has, in the order of the places. A vector has one column.
pub fn describe(schema: &Schema) -> Vec<(&'static CStr, usize, usize)> {
    const NAMES: [&CStr; 7] = [c"Wex", c"W", c"Wix", c"Wei", c"alpha", c"g", c"b"];
    let named = |name: &str| NAMES.into_iter().find(|c| c.to_bytes() == name.as_bytes());
    let present = schema.iter().filter(|parameter| parameter.elements() > 0);
    let mut arrays: Vec<_> = present
        .map(|parameter| {
            let (dimensions, name) =
                (parameter.dimensions(), named(parameter.name).expect("a name that the ABI knows"));
            (place(parameter.role), (name, dimensions[0], dimensions.get(1).copied().unwrap_or(1)))
        })
        .collect();
    arrays.sort_by_key(|(place, _)| *place);
    arrays.into_iter().map(|(_, array)| array).collect()
}

/// The pointers of a caller's struct.
///
/// # Safety
/// As [`versioned`].
pub unsafe fn pointers(arguments: &mut Arguments, arrays: *const Arrays) -> Outcome<Six<*mut f32>> {
    // SAFETY: as demanded here.
    let Arrays { wex, wix, wei, alpha, g, b, .. } = unsafe { versioned(arguments, "arrays", arrays) }?;
    Ok([wex, wix, wei, alpha, g, b])
}

/// Refuses pointers for arrays that the layer does not have: a caller that passes one takes the layer for another.
pub fn check_places(pointers: &Six<*mut f32>, lengths: &Six<usize>) -> Outcome {
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
    names: &Six<&'static str>,
    pointers: &Six<*mut f32>,
    lengths: &Six<usize>,
) -> Outcome<Six<Input<f32>>> {
    let mut inputs = [Input::nothing(); 6];
    for (i, input) in inputs.iter_mut().enumerate() {
        *input = arguments.read(names[i], pointers[i].cast_const(), lengths[i])?;
    }
    Ok(inputs)
}

/// Announces all arrays of a layer for writing.
pub fn write(
    arguments: &mut Arguments,
    names: &Six<&'static str>,
    pointers: &Six<*mut f32>,
    lengths: &Six<usize>,
) -> Outcome<Six<Output<f32>>> {
    let mut outputs = [(); 6].map(|()| Output::nothing());
    for (i, output) in outputs.iter_mut().enumerate() {
        *output = arguments.write(names[i], pointers[i], lengths[i])?;
    }
    Ok(outputs)
}

/// Announces the arrays for writing whose pointers are not NULL.
pub fn write_wanted(
    arguments: &mut Arguments,
    pointers: &Six<*mut f32>,
    lengths: &Six<usize>,
) -> Outcome<Six<Option<Output<f32>>>> {
    let mut outputs = [(); 6].map(|()| None);
    for (i, output) in outputs.iter_mut().enumerate() {
        *output = arguments.write_wanted(ARRAYS[i], pointers[i], lengths[i])?;
    }
    Ok(outputs)
}

/// # Safety
/// As [`Input::slice`], for each array.
pub unsafe fn slices(inputs: Six<Input<f32>>, checked: &Checked) -> Six<&[f32]> {
    // SAFETY: as demanded here.
    inputs.map(|input| unsafe { input.slice(checked) })
}

/// # Safety
/// As [`Output::slice`], for each array.
#[expect(clippy::mut_from_ref, reason = "there is one `Output` of each array, which this takes")]
pub unsafe fn slices_mut(outputs: Six<Output<f32>>, checked: &Checked) -> Six<&mut [f32]> {
    // SAFETY: as demanded here.
    outputs.map(|output| unsafe { output.slice(checked) })
}

/// The six as the Rust crate has them.
pub fn view<'a>(schema: &Schema, six: Six<&'a [f32]>) -> Result<ParamsRef<'a, f32>, Error> {
    ParamsRef::new(schema, schema.iter().map(|parameter| six[place(parameter.role)]))
}

/// As [`view`], for writing.
pub fn view_mut<'a>(schema: &Schema, mut six: Six<&'a mut [f32]>) -> Result<ParamsMut<'a, f32>, Error> {
    ParamsMut::new(schema, schema.iter().map(|parameter| std::mem::take(&mut six[place(parameter.role)])))
}

/// The arrays of the Rust crate in their places.
pub fn places<'a>(schema: &Schema, params: ParamsRef<'a, f32>) -> Six<&'a [f32]> {
    let mut six: Six<&[f32]> = [&[]; 6];
    schema.iter().zip(params.iter()).for_each(|(parameter, array)| six[place(parameter.role)] = array);
    six
}

/// A copy, or an error if there is no memory for it.
pub fn copy(shape: &LayerShape, params: ParamsRef<'_, f32>) -> Outcome<Params<f32>> {
    let mut copy = Params::zeros(shape)?;
    copy.view_mut().into_iter().zip(params.iter()).for_each(|(to, from)| to.copy_from_slice(from));
    Ok(copy)
}
