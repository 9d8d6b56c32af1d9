//! What steps keep of layers, out of and into a caller's arrays.

use crate::arguments::{Arguments, index, pointer};
use crate::arrays::{self, Located, Places, Pointers};
use crate::config::Arrays;
use crate::element::either;
use crate::held::Reading;
use crate::layer::{AnyLayer, DescriptionOutput};
use crate::network::AnyNetwork;
use crate::status::{Failure, Outcome, call};
use crate::table::{self, LayerId, NetworkId};
use interneuron::{Element, LayerShape, Schema, State};
use std::ffi::{CStr, c_char};

/// All names that something is kept under: those of checkpoints.
const NAMES: [&CStr; 11] = [
    c"velocity",
    c"fisher",
    c"negative",
    c"moment",
    c"square",
    c"largest_square",
    c"steps",
    c"velocity_steps",
    c"decay_velocity",
    c"sum",
    c"row_sums",
];

fn text(name: &CStr) -> &str {
    name.to_str().expect("names are ASCII")
}

fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// The name that a caller's string is, announced as read.
///
/// # Safety
/// Unless NULL, the string ends with NUL.
unsafe fn asked(arguments: &mut Arguments, name: *const c_char) -> Outcome<&'static str> {
    pointer("name", name)?;
    // SAFETY: as demanded here.
    let asked = unsafe { CStr::from_ptr(name) };
    arguments.read("name", name, asked.count_bytes() + 1)?;
    let known = NAMES.into_iter().find(|known| *known == asked).map(text);
    known.ok_or_else(|| {
        Failure::argument("name", format!("{asked:?}"), &format!("one of {}", list(NAMES.into_iter().map(text))))
    })
}

/// What steps keep of a layer, and of what.
pub struct Kept<'a, T: Element> {
    pub shape: LayerShape,
    pub schema: Schema,
    pub state: &'a mut State<T>,
    /// Its parameters, if it has any.
    pub params: Option<Reading<'a, T>>,
}

impl<T: Element> Kept<'_, T> {
    /// How many numbers are kept of each parameter under a name, in the places.
    fn lengths(&self, name: &str) -> Places<usize> {
        arrays::lengths_of(&self.schema, |parameter| {
            State::<T>::dimensions(name, parameter).map_or(0, |dimensions| dimensions.iter().product())
        })
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn count(self, mut arguments: Arguments, count: *mut i64) -> Outcome {
        let count = arguments.write("count", count, 1)?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        unsafe { count.put(self.state.iter().count() as i64, &checked) };
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn name(self, mut arguments: Arguments, i: i64, name: *mut *const c_char) -> Outcome {
        let out = arguments.write("name", name, 1)?;
        let checked = arguments.check()?;
        let i = index("i", i, self.state.iter().count())?;
        let (kept, _) = self.state.iter().nth(i).expect("an index below the count");
        let name = NAMES.into_iter().find(|name| text(name) == kept).expect("a name that the ABI knows");
        // SAFETY: as demanded here.
        unsafe { out.put(name.as_ptr(), &checked) };
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn size(self, arguments: Arguments, name: &str, i: i64, rows: *mut i64, columns: *mut i64) -> Outcome {
        let outputs = DescriptionOutput::new(arguments, std::ptr::null_mut(), rows, columns)?;
        let parameters = arrays::present(&self.schema);
        let dimensions = State::<T>::dimensions(name, parameters[index("i", i, parameters.len())?]);
        let (rows, columns) = dimensions.map_or((0, 0), arrays::rows_and_columns);
        // SAFETY: as demanded here.
        unsafe { outputs.write((c"", rows, columns)) }
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn get(self, mut arguments: Arguments, name: &str, pointers: &Pointers) -> Outcome {
        let Some(kept) = self.state.get(name) else {
            let names = list(self.state.iter().map(|(name, _)| name));
            let there = if names.is_empty() { "nothing is".to_owned() } else { format!("{names} are") };
            return Err(Failure::argument("name", format!("{name:?}"), &format!("one that is kept: {there}")));
        };
        let lengths = self.lengths(name);
        let located = Located::handed_in(None, pointers, &lengths);
        located.check::<T>(NOT_KEPT)?;
        let outputs = located.write_wanted(&mut arguments)?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        unsafe { arrays::copy_out(outputs, arrays::places(&self.schema, kept.view()), &checked) };
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn set(self, mut arguments: Arguments, name: &str, pointers: &Pointers) -> Outcome {
        let lengths = self.lengths(name);
        let located = Located::handed_in(None, pointers, &lengths);
        located.check::<T>(NOT_KEPT)?;
        let inputs = located.read(&mut arguments)?;
        let checked = arguments.check()?;
        let params = self.params.ok_or_else(crate::held::missing)?;
        // SAFETY: as demanded here.
        let (params, new) = unsafe { (params.view(&self.schema, &checked)?, arrays::slices(inputs, &checked)) };
        self.state.set(&self.shape, params, name, arrays::in_order(&self.schema, new))?;
        Ok(())
    }
}

/// Why a pointer has to be NULL.
const NOT_KEPT: &str = "nothing is kept of it under this name";

/// Stores in `*count` under how many names something is kept of the layer from step to step: none before the first
/// `interneuron_layer_update`, and no more than the update needs that came last. Parameters that are drawn, set or
/// attached forget it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_state_count(layer: LayerId, count: *mut i64) -> i32 {
    call(|| {
        table::with(layer, |layer: &mut AnyLayer| {
            let mut arguments = Arguments::new();
            // SAFETY: the contract of the header.
            unsafe { either!(layer, layer => layer.kept(&mut arguments)?.count(arguments, count)) }
        })
    })
}

/// Stores in `*name` name `i` of those that something is kept under (never freed): `velocity` with momentum; `moment`,
/// `square`, `largest_square` and `steps` with Adam; `velocity_steps` with dampening; `decay_velocity` and `negative` with
/// exponentiated gradient; `fisher` with the natural gradient; `sum` or `row_sums` with kept sums.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_state_name(layer: LayerId, i: i64, name: *mut *const c_char) -> i32 {
    call(|| {
        table::with(layer, |layer: &mut AnyLayer| {
            let mut arguments = Arguments::new();
            // SAFETY: the contract of the header.
            unsafe { either!(layer, layer => layer.kept(&mut arguments)?.name(arguments, i, name)) }
        })
    })
}

/// Tells how many rows and columns the array has that is kept under a name of parameter array `i` (in the order of
/// `interneuron_layer_parameter`), whether it is kept now or not: those of the parameter, one for each of its rows, or a
/// single number; 0 and 0 of a parameter that never has one. Each output may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_state_size(
    layer: LayerId,
    name: *const c_char,
    i: i64,
    rows: *mut i64,
    columns: *mut i64,
) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        // SAFETY: the contract of the header.
        let name = unsafe { asked(&mut arguments, name) }?;
        table::with(layer, |layer: &mut AnyLayer| {
            // SAFETY: the contract of the header.
            unsafe { either!(layer, layer => layer.kept(&mut arguments)?.size(arguments, name, i, rows, columns)) }
        })
    })
}

/// Copies what is kept under a name out, into the place of each parameter. Arrays whose pointers are NULL are not wanted;
/// those of parameters of which nothing is kept must be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_get_state(
    layer: LayerId,
    name: *const c_char,
    arrays: *const Arrays,
) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        // SAFETY: the contract of the header.
        let (name, pointers) = unsafe { (asked(&mut arguments, name)?, arrays::pointers(&mut arguments, arrays)?) };
        table::with(layer, |layer: &mut AnyLayer| {
            // SAFETY: the contract of the header.
            unsafe { either!(layer, layer => layer.kept(&mut arguments)?.get(arguments, name, &pointers)) }
        })
    })
}

/// Keeps what the arrays hold under a name, as if a step had left it; what was kept under the name is overwritten. No
/// pointer may be NULL of a parameter of which something is kept, and those of the others must be. Numbers that no step
/// can leave are refused. Who goes on with a run first sets (or attaches) the parameters, then what was kept.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_set_state(
    layer: LayerId,
    name: *const c_char,
    arrays: *const Arrays,
) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        // SAFETY: the contract of the header.
        let (name, pointers) = unsafe { (asked(&mut arguments, name)?, arrays::pointers(&mut arguments, arrays)?) };
        table::with(layer, |layer: &mut AnyLayer| {
            // SAFETY: the contract of the header.
            unsafe { either!(layer, layer => layer.kept(&mut arguments)?.set(arguments, name, &pointers)) }
        })
    })
}

/// As `interneuron_layer_state_count`, of layer `k` of a network.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_state_count(network: NetworkId, k: i64, count: *mut i64) -> i32 {
    call(|| {
        table::with(network, |network: &mut AnyNetwork| {
            let mut arguments = Arguments::new();
            // SAFETY: the contract of the header.
            unsafe { either!(network, network => network.kept(&mut arguments, k)?.count(arguments, count)) }
        })
    })
}

/// As `interneuron_layer_state_name`, of layer `k` of a network.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_state_name(
    network: NetworkId,
    k: i64,
    i: i64,
    name: *mut *const c_char,
) -> i32 {
    call(|| {
        table::with(network, |network: &mut AnyNetwork| {
            let mut arguments = Arguments::new();
            // SAFETY: the contract of the header.
            unsafe { either!(network, network => network.kept(&mut arguments, k)?.name(arguments, i, name)) }
        })
    })
}

/// As `interneuron_layer_state_size`, of layer `k` of a network.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_state_size(
    network: NetworkId,
    k: i64,
    name: *const c_char,
    i: i64,
    rows: *mut i64,
    columns: *mut i64,
) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        // SAFETY: the contract of the header.
        let name = unsafe { asked(&mut arguments, name) }?;
        table::with(network, |network: &mut AnyNetwork| {
            // SAFETY: the contract of the header.
            unsafe {
                either!(network, network => network.kept(&mut arguments, k)?.size(arguments, name, i, rows, columns))
            }
        })
    })
}

/// As `interneuron_layer_get_state`, of layer `k` of a network.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_get_state(
    network: NetworkId,
    k: i64,
    name: *const c_char,
    arrays: *const Arrays,
) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        // SAFETY: the contract of the header.
        let (name, pointers) = unsafe { (asked(&mut arguments, name)?, arrays::pointers(&mut arguments, arrays)?) };
        table::with(network, |network: &mut AnyNetwork| {
            // SAFETY: the contract of the header.
            unsafe { either!(network, network => network.kept(&mut arguments, k)?.get(arguments, name, &pointers)) }
        })
    })
}

/// As `interneuron_layer_set_state`, of layer `k` of a network.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_set_state(
    network: NetworkId,
    k: i64,
    name: *const c_char,
    arrays: *const Arrays,
) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        // SAFETY: the contract of the header.
        let (name, pointers) = unsafe { (asked(&mut arguments, name)?, arrays::pointers(&mut arguments, arrays)?) };
        table::with(network, |network: &mut AnyNetwork| {
            // SAFETY: the contract of the header.
            unsafe { either!(network, network => network.kept(&mut arguments, k)?.set(arguments, name, &pointers)) }
        })
    })
}
