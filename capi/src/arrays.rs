//! The arrays of a layer: places in the order of the struct [`Arrays`], some of them empty in some kinds of layers.

use crate::arguments::{Arguments, Checked, Input, Name, Output, pointer_or_null};
use crate::config::{Arrays, versioned, versioned_array};
use crate::status::{Failure, Outcome};
use interneuron::{Element, Error, LayerShape, Parameter, Params, ParamsMut, ParamsRef, Role, Schema};
use std::ffi::{CStr, c_void};

/// The roles that the structs of the ABI have a place or a number for, in their order.
pub const ROLES: [Role; 6] =
    [Role::Weights, Role::ToInterneurons, Role::FromInterneurons, Role::LogStrength, Role::Gain, Role::Bias];
/// How many places there are: one for each of these roles, and two for running statistics.
pub const PLACES: usize = ROLES.len() + STATISTICS.len();
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
    let moved = ROLES.into_iter().position(|role| role == parameter.role);
    let kept = || STATISTICS.into_iter().position(|name| name == parameter.name).map(|i| ROLES.len() + i);
    moved.or_else(kept).expect("a parameter that the ABI has a place for")
}

/// The number of elements in each place; 0 where the layer has no such array.
pub fn lengths(schema: &Schema) -> Places<usize> {
    lengths_of(schema, Parameter::elements)
}

/// So many elements for each parameter in its place.
pub fn lengths_of(schema: &Schema, len: impl Fn(&Parameter) -> usize) -> Places<usize> {
    let mut lengths = [0; PLACES];
    schema.iter().for_each(|parameter| lengths[place(parameter)] = len(parameter));
    lengths
}

/// A vector has one column.
pub fn rows_and_columns(dimensions: &[usize]) -> (usize, usize) {
    (dimensions[0], dimensions.get(1).copied().unwrap_or(1))
}

/// The arrays that the layer has, in the order of the places.
pub fn present(schema: &Schema) -> Vec<&Parameter> {
    let mut present: Vec<_> = schema.iter().filter(|parameter| parameter.elements() > 0).collect();
    present.sort_by_key(|parameter| place(parameter));
    present
}

/// Name, rows and columns of each array that the layer has, in the order of the places.
pub fn describe(schema: &Schema) -> Vec<(&'static CStr, usize, usize)> {
    const NAMES: [&CStr; 10] =
        [c"Wex", c"W", c"Wpos", c"Wix", c"Wei", c"alpha", c"g", c"b", c"running_mean", c"running_var"];
    let named = |name: &str| NAMES.into_iter().find(|c| c.to_bytes() == name.as_bytes());
    let arrays = present(schema).into_iter().map(|parameter| {
        let (rows, columns) = rows_and_columns(parameter.dimensions());
        (named(parameter.name).expect("a name that the ABI knows"), rows, columns)
    });
    arrays.collect()
}

/// The addresses of a layer's arrays.
pub type Pointers = Places<*mut c_void>;

/// No array.
pub const NOWHERE: Pointers = [std::ptr::null_mut(); PLACES];

/// The pointers of a caller's struct.
///
/// # Safety
/// As [`versioned`].
pub unsafe fn pointers(arguments: &mut Arguments, arrays: *const Arrays) -> Outcome<Pointers> {
    // SAFETY: as demanded here.
    unsafe { versioned(arguments, "arrays", arrays) }.map(Arrays::pointers)
}

/// The pointers of a caller's structs, one for each of so many layers.
///
/// # Safety
/// As [`versioned_array`].
pub unsafe fn pointers_of_layers(
    arguments: &mut Arguments,
    arrays: *const Arrays,
    layers: usize,
) -> Outcome<Vec<Pointers>> {
    // SAFETY: as demanded here.
    let structs = unsafe { versioned_array(arguments, "arrays", arrays, layers) }?;
    Ok(structs.into_iter().map(Arrays::pointers).collect())
}

impl Arrays {
    fn pointers(self) -> Pointers {
        let Self { wex, wix, wei, alpha, g, b, running_mean, running_var, .. } = self;
        [wex, wix, wei, alpha, g, b, running_mean, running_var]
    }
}

/// Where the arrays of a layer are, how long they are, and what errors call them.
#[derive(Clone, Copy)]
pub struct Located<'a> {
    pub names: &'static Places<&'static str>,
    /// Of a network, the layer.
    pub layer: Option<usize>,
    pub pointers: &'a Pointers,
    pub lengths: &'a Places<usize>,
}

impl<'a> Located<'a> {
    /// Those that the caller hands in.
    pub fn handed_in(layer: Option<usize>, pointers: &'a Pointers, lengths: &'a Places<usize>) -> Self {
        Self { names: &ARRAYS, layer, pointers, lengths }
    }

    /// Those that a layer was attached to.
    pub fn attached(layer: Option<usize>, pointers: &'a Pointers, lengths: &'a Places<usize>) -> Self {
        Self { names: &ATTACHED, layer, pointers, lengths }
    }

    fn name(&self, i: usize) -> Name {
        Name::of(self.names[i], self.layer)
    }

    /// Refuses pointers for arrays that there are not, which `because` says why: a caller that passes one takes the layer
    /// for another. The others may be NULL.
    pub fn check<T>(&self, because: &str) -> Outcome {
        for (i, (&pointer, &len)) in self.pointers.iter().zip(self.lengths).enumerate() {
            if len == 0 && !pointer.is_null() {
                let (name, expected) = (self.name(i).to_string(), format!("NULL, as {because}"));
                return Err(Failure::argument(&name, format!("{pointer:p}"), &expected));
            }
            pointer_or_null::<T>(self.name(i), pointer.cast())?;
        }
        Ok(())
    }

    /// Announces all arrays for reading.
    pub fn read<T: Copy>(&self, arguments: &mut Arguments) -> Outcome<Places<Input<T>>> {
        let mut inputs = [Input::nothing(); PLACES];
        for (i, input) in inputs.iter_mut().enumerate() {
            *input = arguments.read(self.name(i), self.pointers[i].cast_const().cast(), self.lengths[i])?;
        }
        Ok(inputs)
    }

    /// Announces all arrays for writing.
    pub fn write<T>(&self, arguments: &mut Arguments) -> Outcome<Places<Output<T>>> {
        let mut outputs = [(); PLACES].map(|()| Output::nothing());
        for (i, output) in outputs.iter_mut().enumerate() {
            *output = arguments.write(self.name(i), self.pointers[i].cast(), self.lengths[i])?;
        }
        Ok(outputs)
    }

    /// As [`Located::check`] and [`Located::write_wanted`].
    pub fn wanted<T>(&self, arguments: &mut Arguments) -> Outcome<Places<Option<Output<T>>>> {
        self.check::<T>(NO_SUCH_ARRAY)?;
        self.write_wanted(arguments)
    }

    /// Announces the arrays for writing whose pointers are not NULL.
    pub fn write_wanted<T>(&self, arguments: &mut Arguments) -> Outcome<Places<Option<Output<T>>>> {
        let mut outputs = [(); PLACES].map(|()| None);
        for (i, output) in outputs.iter_mut().enumerate() {
            *output = arguments.write_wanted(self.name(i), self.pointers[i].cast(), self.lengths[i])?;
        }
        Ok(outputs)
    }
}

/// Why a pointer has to be NULL.
pub const NO_SUCH_ARRAY: &str = "the layer has no such array";

/// # Safety
/// As [`Input::slice`], for each array.
pub unsafe fn slices<T>(inputs: Places<Input<T>>, checked: &Checked) -> Places<&[T]> {
    // SAFETY: as demanded here.
    inputs.map(|input| unsafe { input.slice(checked) })
}

/// # Safety
/// As [`Output::slice`], for each array.
#[expect(clippy::mut_from_ref, reason = "there is one `Output` of each array, which this takes")]
pub unsafe fn slices_mut<T>(outputs: Places<Output<T>>, checked: &Checked) -> Places<&mut [T]> {
    // SAFETY: as demanded here.
    outputs.map(|output| unsafe { output.slice(checked) })
}

/// Copies arrays to where a caller wants them.
///
/// # Safety
/// As [`Output::slice`], for each array.
pub unsafe fn copy_out<T: Copy>(outputs: Places<Option<Output<T>>>, from: Places<&[T]>, checked: &Checked) {
    for (output, from) in outputs.into_iter().zip(from) {
        if let Some(output) = output {
            // SAFETY: as demanded here.
            unsafe { output.slice(checked) }.copy_from_slice(from);
        }
    }
}

/// The arrays as the Rust crate has them.
pub fn view<'a, T>(schema: &Schema, all: Places<&'a [T]>) -> Result<ParamsRef<'a, T>, Error> {
    ParamsRef::new(schema, in_order(schema, all))
}

/// The arrays in the order of the schema.
pub fn in_order<'a, T>(schema: &Schema, all: Places<&'a [T]>) -> impl Iterator<Item = &'a [T]> {
    schema.iter().map(move |parameter| all[place(parameter)])
}

/// As [`view`], for writing.
pub fn view_mut<'a, T>(schema: &Schema, mut all: Places<&'a mut [T]>) -> Result<ParamsMut<'a, T>, Error> {
    ParamsMut::new(schema, schema.iter().map(|parameter| std::mem::take(&mut all[place(parameter)])))
}

/// The arrays of the Rust crate in their places.
pub fn places<'a, T>(schema: &Schema, params: ParamsRef<'a, T>) -> Places<&'a [T]> {
    let mut all: Places<&[T]> = [&[]; PLACES];
    schema.iter().zip(params.iter()).for_each(|(parameter, array)| all[place(parameter)] = array);
    all
}

/// A copy, or an error if there is no memory for it.
pub fn copy<T: Element>(shape: &LayerShape, params: ParamsRef<'_, T>) -> Outcome<Params<T>> {
    let mut copy = Params::zeros(shape)?;
    copy.view_mut().into_iter().zip(params.iter()).for_each(|(to, from)| to.copy_from_slice(from));
    Ok(copy)
}
