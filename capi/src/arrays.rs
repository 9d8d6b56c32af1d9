//! The arrays of a layer: six places in the order of the struct [`Arrays`], some of them empty in some kinds of layers.

use crate::arguments::{Arguments, Checked, Input, Output, pointer_or_null};
use crate::config::{Arrays, versioned};
use crate::status::{Failure, Outcome};
use interneuron::{DannMut, DannRef, DenseMut, DenseRef, LayerArrays, LayerMut, LayerParams, LayerRef, LayerShape};
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

/// The number of elements in each place; 0 where the layer has no such array.
pub fn lengths(shape: &LayerShape) -> Outcome<Six<usize>> {
    Ok(match shape {
        LayerShape::Dann(shape) => shape.lengths()?.into_array(),
        LayerShape::Dense(shape) => {
            let [w, b] = shape.lengths()?.into_array();
            [w, 0, 0, 0, 0, b]
        }
        _ => unreachable!("a kind of layer that the ABI does not make"),
    })
}

/// Name, rows and columns of each array that the layer has, in the order of the places. A vector has one column.
pub fn describe(shape: &LayerShape) -> Outcome<Vec<(&'static CStr, usize, usize)>> {
    let (d, ne) = (shape.inputs(), shape.outputs());
    let (w, ni) = if let LayerShape::Dann(shape) = shape { (c"Wex", shape.ni) } else { (c"W", 0) };
    let all = [(w, ne, d), (c"Wix", ni, d), (c"Wei", ne, ni), (c"alpha", ni, 1), (c"g", ne, 1), (c"b", ne, 1)];
    Ok(all.into_iter().zip(lengths(shape)?).filter(|&(_, len)| len > 0).map(|(array, _)| array).collect())
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
pub fn view<'a>(shape: &LayerShape, [wex, wix, wei, alpha, g, b]: Six<&'a [f32]>) -> LayerRef<'a, f32> {
    match shape {
        LayerShape::Dann(_) => DannRef { wex, wix, wei, alpha, g, b }.into(),
        LayerShape::Dense(_) => DenseRef { w: wex, b }.into(),
        _ => unreachable!("a kind of layer that the ABI does not make"),
    }
}

/// As [`view`], for writing.
pub fn view_mut<'a>(shape: &LayerShape, [wex, wix, wei, alpha, g, b]: Six<&'a mut [f32]>) -> LayerMut<'a, f32> {
    match shape {
        LayerShape::Dann(_) => DannMut { wex, wix, wei, alpha, g, b }.into(),
        LayerShape::Dense(_) => DenseMut { w: wex, b }.into(),
        _ => unreachable!("a kind of layer that the ABI does not make"),
    }
}

/// The arrays of the Rust crate in their places.
pub fn places<'a>(params: LayerRef<'a, f32>) -> Six<&'a [f32]> {
    match params {
        LayerArrays::Dann(params) => params.into_array(),
        LayerArrays::Dense(params) => [params.w, &[], &[], &[], &[], params.b],
        _ => unreachable!("a kind of layer that the ABI does not make"),
    }
}

/// As [`places`], for writing.
pub fn places_mut<'a>(params: LayerMut<'a, f32>) -> Six<&'a mut [f32]> {
    match params {
        LayerArrays::Dann(params) => params.into_array(),
        LayerArrays::Dense(params) => [params.w, &mut [], &mut [], &mut [], &mut [], params.b],
        _ => unreachable!("a kind of layer that the ABI does not make"),
    }
}

/// A copy, or an error if there is no memory for it.
pub fn copy(shape: &LayerShape, params: LayerRef<'_, f32>) -> Outcome<LayerParams<f32>> {
    let mut copy = LayerParams::zeros(shape)?;
    for (to, from) in places_mut(copy.view_mut()).into_iter().zip(places(params)) {
        to.copy_from_slice(from);
    }
    Ok(copy)
}
