//! Single layers, on parameters of their own or on a caller's.

use crate::arguments::{Arguments, Checked, Input, Output, area, examples, flag, index};
use crate::arrays::{self, ARRAYS, ATTACHED, PLACES, Places};
use crate::config::{Arrays, LayerConfig, UpdateConfig, UpdateInput, versioned};
use crate::context::Context;
use crate::shapes::shape;
use crate::status::{
    Failure, INTERNEURON_INVALID_ARGUMENT, INTERNEURON_OUT_OF_RESOURCES, INTERNEURON_WRONG_ORDER, Outcome, call,
};
use crate::table::{self, ContextId, LayerId};
use interneuron::{Init, Layer, LayerShape, MatMut, MatRef, ParamsMut, ParamsRef, Schema, State, Tape, generator};
use std::ffi::c_char;
use std::sync::Arc;

/// A layer, what its calls keep, and where its parameters are.
pub struct LayerHandle {
    /// Before the context, which waits for the threads of its pool to end: the layer has a share of the pool.
    kernels: Layer<f32>,
    tape: Tape<f32>,
    state: State<f32>,
    context: Arc<Context>,
    lengths: Places<usize>,
    params: Params,
    /// Room for outputs that the caller does not want.
    unwanted: Places<Vec<f32>>,
}

enum Params {
    /// Neither drawn, nor copied in, nor attached.
    None,
    Own(interneuron::Params<f32>),
    Attached(Attached),
}

/// Arrays that the caller keeps alive.
#[derive(Clone, Copy)]
struct Attached(Places<*mut f32>);

// SAFETY: addresses; by the contract of the header, a call with the layer may use what they point to.
unsafe impl Send for Attached {}

/// Parameters that a call reads.
enum Reading<'p> {
    Own(&'p interneuron::Params<f32>),
    Attached(Places<Input<f32>>),
}

/// Parameters that a call changes.
enum Writing<'p> {
    Own(&'p mut interneuron::Params<f32>),
    Attached(Places<Output<f32>>),
}

impl Params {
    fn missing() -> Failure {
        let text = "the layer has no parameters: expected interneuron_layer_init, interneuron_layer_attach or \
                    interneuron_layer_set_parameters before";
        Failure::new(INTERNEURON_WRONG_ORDER, text)
    }

    /// Announces attached arrays, for calls that do not use them.
    fn announce(&self, arguments: &mut Arguments, lengths: &Places<usize>) -> Outcome {
        match self {
            Self::None => Ok(()),
            _ => self.read(arguments, lengths).map(|_| ()),
        }
    }

    fn read(&self, arguments: &mut Arguments, lengths: &Places<usize>) -> Outcome<Reading<'_>> {
        match self {
            Self::None => Err(Self::missing()),
            Self::Own(params) => Ok(Reading::Own(params)),
            Self::Attached(Attached(pointers)) => {
                Ok(Reading::Attached(arrays::read(arguments, &ATTACHED, pointers, lengths)?))
            }
        }
    }

    fn write(&mut self, arguments: &mut Arguments, lengths: &Places<usize>) -> Outcome<Writing<'_>> {
        match self {
            Self::None => Err(Self::missing()),
            Self::Own(params) => Ok(Writing::Own(params)),
            Self::Attached(Attached(pointers)) => {
                Ok(Writing::Attached(arrays::write(arguments, &ATTACHED, pointers, lengths)?))
            }
        }
    }

    /// Makes these the parameters: in the attached arrays, or else as the layer's own.
    ///
    /// # Safety
    /// As [`Output::slice`], for attached arrays.
    unsafe fn replace(&mut self, mut arguments: Arguments, schema: &Schema, new: interneuron::Params<f32>) -> Outcome {
        if let Self::Attached(Attached(pointers)) = self {
            let outputs = arrays::write(&mut arguments, &ATTACHED, pointers, &arrays::lengths(schema))?;
            let checked = arguments.check()?;
            // SAFETY: as demanded here.
            let outputs = unsafe { arrays::slices_mut(outputs, &checked) };
            for (to, from) in outputs.into_iter().zip(arrays::places(schema, new.view())) {
                to.copy_from_slice(from);
            }
        } else {
            *self = Self::Own(new);
        }
        Ok(())
    }
}

impl Reading<'_> {
    /// # Safety
    /// As [`Input::slice`], for attached arrays.
    unsafe fn view<'a>(&'a self, schema: &Schema, checked: &'a Checked) -> Outcome<ParamsRef<'a, f32>> {
        Ok(match self {
            Self::Own(params) => params.view(),
            // SAFETY: as demanded here.
            Self::Attached(inputs) => arrays::view(schema, unsafe { arrays::slices(*inputs, checked) })?,
        })
    }
}

impl<'p> Writing<'p> {
    /// # Safety
    /// As [`Output::slice`], for attached arrays.
    unsafe fn view<'a>(self, schema: &Schema, checked: &'a Checked) -> Outcome<ParamsMut<'a, f32>>
    where
        'p: 'a,
    {
        Ok(match self {
            Self::Own(params) => params.view_mut(),
            // SAFETY: as demanded here.
            Self::Attached(outputs) => arrays::view_mut(schema, unsafe { arrays::slices_mut(outputs, checked) })?,
        })
    }
}

impl LayerHandle {
    /// Forward, with or without keeping what a backward pass needs.
    ///
    /// # Safety
    /// The contract of the header.
    unsafe fn pass(&mut self, batch: i64, x: *const f32, h: *mut f32, training: bool) -> Outcome {
        let Self { context, kernels, tape, lengths, params, .. } = self;
        let shape = kernels.shape();
        let (batch, d, ne) = (examples(batch)?, shape.inputs(), shape.outputs());
        let mut arguments = Arguments::new();
        let params = params.read(&mut arguments, lengths)?;
        let x = arguments.read("x", x, area(batch, d)?)?;
        let h = arguments.write("h", h, area(batch, ne)?)?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        let (params, x, h) =
            unsafe { (params.view(kernels.schema(), &checked)?, x.slice(&checked), h.slice(&checked)) };
        let (x, h) = (MatRef::new(x, batch, d)?, MatMut::new(h, batch, ne)?);
        kernels.set_threads(context.threads()?);
        if training { kernels.forward(params, tape, x, h) } else { kernels.infer(params, tape, x, h) }?;
        Ok(())
    }
}

/// Creates a layer and stores its handle in `*layer`. It has no parameters yet: `interneuron_layer_init`,
/// `interneuron_layer_attach` or `interneuron_layer_set_parameters` comes next.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_create(
    context: ContextId,
    config: *const LayerConfig,
    layer: *mut LayerId,
) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        let layer = arguments.write("layer", layer, 1)?;
        // SAFETY: the contract of the header.
        let config = unsafe { versioned(&mut arguments, "config", config) }?;
        let checked = arguments.check()?;
        let shape = shape(&config, "config->")?;
        let context = table::context(context)?;
        let kernels = Layer::new(shape, &context.isa.into())?;
        let lengths = arrays::lengths(kernels.schema());
        let unwanted = [(); PLACES].map(|()| vec![]);
        let handle = table::insert(LayerHandle {
            kernels,
            tape: Tape::new(),
            state: State::new(),
            context,
            lengths,
            params: Params::None,
            unwanted,
        });
        // SAFETY: the contract of the header.
        unsafe { layer.put(handle, &checked) };
        Ok(())
    })
}

/// Frees a layer, and its parameters if they are its own.
#[unsafe(no_mangle)]
pub extern "C" fn interneuron_layer_free(layer: LayerId) -> i32 {
    call(|| table::free::<LayerHandle>(layer))
}

/// Draws the parameters: into the attached arrays, or else into arrays that the layer owns. `rectified_input` is 0 if
/// the inputs are raw numbers, 1 if they passed a ReLU. The same seed draws the same parameters on every machine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_init(layer: LayerId, seed: u64, rectified_input: i64) -> i32 {
    call(|| {
        let rectified_input = flag("rectified_input", rectified_input)?;
        table::with(layer, |LayerHandle { kernels, params, state, .. }| {
            let init = if rectified_input { Init::deeper() } else { Init::first() };
            let new = init.draw(&kernels.shape(), &mut generator(seed))?;
            // SAFETY: the contract of the header: attached arrays are alive and not in use elsewhere.
            unsafe { params.replace(Arguments::new(), kernels.schema(), new) }?;
            *state = State::new();
            Ok(())
        })
    })
}

/// Lets the layer use the caller's arrays as its parameters from now on: no copy is made, calls read them and updates
/// change them in place. They must stay alive, and during calls with this layer nobody else may write to them (or read
/// them, during updates), until they are detached, replaced by other arrays, or the layer is freed. Their content is
/// not looked at. Parameters that the layer owned are freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_attach(layer: LayerId, arrays: *const Arrays) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        // SAFETY: the contract of the header.
        let pointers = unsafe { arrays::pointers(&mut arguments, arrays) }?;
        table::with(layer, |LayerHandle { lengths, params, state, .. }| {
            arrays::check_places(&pointers, lengths)?;
            // As updates will write them.
            arrays::write(&mut arguments, &ARRAYS, &pointers, lengths)?;
            arguments.check()?;
            *params = Params::Attached(Attached(pointers));
            *state = State::new();
            Ok(())
        })
    })
}

/// Copies the attached arrays into arrays that the layer owns, which are its parameters from now on. The attached
/// arrays are then the caller's alone again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_detach(layer: LayerId) -> i32 {
    call(|| {
        table::with(layer, |LayerHandle { kernels, lengths, params, .. }| {
            if !matches!(params, Params::Attached(_)) {
                let text = "the layer uses no arrays of the caller: expected interneuron_layer_attach before";
                return Err(Failure::new(INTERNEURON_WRONG_ORDER, text));
            }
            let mut arguments = Arguments::new();
            let reading = params.read(&mut arguments, lengths)?;
            let checked = arguments.check()?;
            // SAFETY: the contract of the header: attached arrays are alive and nobody writes to them meanwhile.
            let copy = arrays::copy(&kernels.shape(), unsafe { reading.view(kernels.schema(), &checked)? })?;
            *params = Params::Own(copy);
            Ok(())
        })
    })
}

/// Stores in `*count` how many parameter arrays the layer has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_parameter_count(layer: LayerId, count: *mut i64) -> i32 {
    call(|| {
        table::with(layer, |LayerHandle { kernels, lengths, params, .. }| {
            let mut arguments = Arguments::new();
            params.announce(&mut arguments, lengths)?;
            let count = arguments.write("count", count, 1)?;
            let (checked, arrays) = (arguments.check()?, arrays::describe(kernels.schema()));
            // SAFETY: the contract of the header.
            unsafe { count.put(arrays.len() as i64, &checked) };
            Ok(())
        })
    })
}

/// Tells what parameter array `i` of the layer is: its name as in the equations (never freed), its rows and its
/// columns; a vector has one column. Each output may be NULL. The order is that of the fields of `interneuron_arrays`,
/// without those that the layer does not have.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_parameter(
    layer: LayerId,
    i: i64,
    name: *mut *const c_char,
    rows: *mut i64,
    columns: *mut i64,
) -> i32 {
    call(|| {
        table::with(layer, |LayerHandle { kernels, lengths, params, .. }| {
            let mut arguments = Arguments::new();
            params.announce(&mut arguments, lengths)?;
            let outputs = DescriptionOutput::new(arguments, name, rows, columns)?;
            let arrays = arrays::describe(kernels.schema());
            // SAFETY: the contract of the header.
            unsafe { outputs.write(arrays[index("i", i, arrays.len())?]) }
        })
    })
}

/// Where a caller wants to know what an array is.
pub struct DescriptionOutput {
    arguments: Arguments,
    name: Option<Output<*const c_char>>,
    rows: Option<Output<i64>>,
    columns: Option<Output<i64>>,
}

impl DescriptionOutput {
    /// `arguments` are what they must not overlap.
    pub fn new(mut arguments: Arguments, name: *mut *const c_char, rows: *mut i64, columns: *mut i64) -> Outcome<Self> {
        let name = arguments.write_wanted("name", name, 1)?;
        let rows = arguments.write_wanted("rows", rows, 1)?;
        let columns = arguments.write_wanted("columns", columns, 1)?;
        Ok(Self { arguments, name, rows, columns })
    }

    /// # Safety
    /// As [`Output::slice`], for each that is not NULL.
    pub unsafe fn write(self, (name, rows, columns): (&'static std::ffi::CStr, usize, usize)) -> Outcome {
        let checked = self.arguments.check()?;
        // SAFETY: as demanded here.
        unsafe {
            put(self.name, name.as_ptr(), &checked);
            put(self.rows, rows as i64, &checked);
            put(self.columns, columns as i64, &checked);
        }
        Ok(())
    }
}

/// Writes a single value if it is wanted.
///
/// # Safety
/// As [`Output::slice`].
pub unsafe fn put<T>(output: Option<Output<T>>, value: T, checked: &Checked) {
    if let Some(output) = output {
        // SAFETY: as demanded here.
        unsafe { output.put(value, checked) };
    }
}

/// Copies parameters in: into the attached arrays, or else into arrays that the layer owns. No pointer of an array that
/// the layer has may be NULL. Values that are not finite, or negative where they must not be, are refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_set_parameters(layer: LayerId, arrays: *const Arrays) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        // SAFETY: the contract of the header.
        let pointers = unsafe { arrays::pointers(&mut arguments, arrays) }?;
        table::with(layer, |LayerHandle { kernels, lengths, params, state, .. }| {
            // SAFETY: the contract of the header.
            let new = unsafe { read_parameters(&mut arguments, &kernels.shape(), &pointers, lengths) }?;
            // SAFETY: the contract of the header: attached arrays are alive and not in use elsewhere.
            unsafe { params.replace(arguments, kernels.schema(), new) }?;
            *state = State::new();
            Ok(())
        })
    })
}

/// A copy of parameters that a caller hands in. Their arrays are announced.
///
/// # Safety
/// As [`Input::slice`], for each array.
pub unsafe fn read_parameters(
    arguments: &mut Arguments,
    shape: &LayerShape,
    pointers: &Places<*mut f32>,
    lengths: &Places<usize>,
) -> Outcome<interneuron::Params<f32>> {
    arrays::check_places(pointers, lengths)?;
    let inputs = arrays::read(arguments, &ARRAYS, pointers, lengths)?;
    // Nothing is written while these slices exist.
    let checked = Arguments::new().check()?;
    // SAFETY: as demanded here.
    let new = arrays::view(&shape.schema()?, unsafe { arrays::slices(inputs, &checked) })?;
    new.validate(shape)?;
    arrays::copy(shape, new)
}

/// Copies the parameters out. Arrays whose pointers are NULL are not wanted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_get_parameters(layer: LayerId, arrays: *const Arrays) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        // SAFETY: the contract of the header.
        let pointers = unsafe { arrays::pointers(&mut arguments, arrays) }?;
        table::with(layer, |LayerHandle { kernels, lengths, params, .. }| {
            let reading = params.read(&mut arguments, lengths)?;
            let (outputs, checked) = wanted(arguments, &pointers, lengths)?;
            // SAFETY: the contract of the header.
            unsafe { copy_out(kernels.schema(), reading.view(kernels.schema(), &checked)?, outputs, &checked) };
            Ok(())
        })
    })
}

/// Announces and checks the arrays that a caller wants parameters in.
pub fn wanted(
    mut arguments: Arguments,
    pointers: &Places<*mut f32>,
    lengths: &Places<usize>,
) -> Outcome<(Places<Option<Output<f32>>>, Checked)> {
    arrays::check_places(pointers, lengths)?;
    let outputs = arrays::write_wanted(&mut arguments, pointers, lengths)?;
    Ok((outputs, arguments.check()?))
}

/// Copies parameters to where a caller wants them.
///
/// # Safety
/// As [`Output::slice`], for each array.
pub unsafe fn copy_out(
    schema: &Schema,
    params: ParamsRef<'_, f32>,
    outputs: Places<Option<Output<f32>>>,
    checked: &Checked,
) {
    for (output, from) in outputs.into_iter().zip(arrays::places(schema, params)) {
        if let Some(output) = output {
            // SAFETY: as demanded here.
            unsafe { output.slice(checked) }.copy_from_slice(from);
        }
    }
}

/// From `x [batch, d]` to `h [batch, ne]`, which is overwritten. The layer keeps what a following
/// `interneuron_layer_backward` or `interneuron_layer_update` needs. If memory for that is missing, what an earlier
/// forward pass kept is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_forward(layer: LayerId, batch: i64, x: *const f32, h: *mut f32) -> i32 {
    // SAFETY: the contract of the header.
    call(|| table::with(layer, |layer: &mut LayerHandle| unsafe { layer.pass(batch, x, h, true) }))
}

/// As `interneuron_layer_forward`, but nothing is kept for a backward pass, also not what an earlier forward pass kept.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_infer(layer: LayerId, batch: i64, x: *const f32, h: *mut f32) -> i32 {
    // SAFETY: the contract of the header.
    call(|| table::with(layer, |layer: &mut LayerHandle| unsafe { layer.pass(batch, x, h, false) }))
}

/// All gradients: from `x [batch, d]` and `dh [batch, ne]` to `arrays`, the gradients of the parameters, and to
/// `dx [batch, d]`; all are overwritten. `x`, `batch` and the parameters must be those of the forward pass that went
/// before, which serves one backward pass or update. `arrays` itself, each pointer in it, and `dx` may be NULL: not
/// wanted. If only `dx` is wanted, no other gradient is computed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_backward(
    layer: LayerId,
    batch: i64,
    x: *const f32,
    dh: *const f32,
    arrays: *const Arrays,
    dx: *mut f32,
) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        let pointers = match arrays.is_null() {
            true => [std::ptr::null_mut(); PLACES],
            // SAFETY: the contract of the header.
            false => unsafe { arrays::pointers(&mut arguments, arrays) }?,
        };
        table::with(layer, |LayerHandle { context, kernels, tape, lengths, params, unwanted, .. }| {
            let shape = kernels.shape();
            let (batch, d, ne) = (examples(batch)?, shape.inputs(), shape.outputs());
            arrays::check_places(&pointers, lengths)?;
            let params = params.read(&mut arguments, lengths)?;
            // The tape has a copy of x. The array is only held against the outputs, which must not overlap it.
            arguments.read("x", x, area(batch, d)?)?;
            let dh = arguments.read("dh", dh, area(batch, ne)?)?;
            let gradients = arrays::write_wanted(&mut arguments, &pointers, lengths)?;
            let dx = arguments.write_wanted("dx", dx, area(batch, d)?)?;
            let checked = arguments.check()?;
            // SAFETY: the contract of the header.
            let (params, dh) = unsafe { (params.view(kernels.schema(), &checked)?, dh.slice(&checked)) };
            let dh = MatRef::new(dh, batch, ne)?;
            // SAFETY: the contract of the header.
            let dx = dx.map(|dx| unsafe { dx.slice(&checked) });
            let dx = dx.map(|dx| MatMut::new(dx, batch, d)).transpose()?;
            in_order(tape, batch)?;
            kernels.set_threads(context.threads()?);
            match dx {
                Some(dx) if gradients.iter().all(Option::is_none) => {
                    kernels.input_gradient(params, tape, dh, dx)?;
                }
                dx => {
                    let mut places: Places<&mut [f32]> = Default::default();
                    let unwanted = unwanted.iter_mut().zip(*lengths);
                    for ((place, gradient), (unwanted, len)) in places.iter_mut().zip(gradients).zip(unwanted) {
                        *place = match gradient {
                            // SAFETY: the contract of the header.
                            Some(gradient) => unsafe { gradient.slice(&checked) },
                            None => room(unwanted, len)?,
                        };
                    }
                    let gradients = arrays::view_mut(kernels.schema(), places)?;
                    kernels.backward(params, tape, dh, gradients, dx)?;
                }
            }
            Ok(())
        })
    })
}

/// Refuses a backward pass that does not follow a forward pass with as many examples.
fn in_order(tape: &Tape<f32>, batch: usize) -> Outcome {
    if tape.examples() == Some(batch) { Ok(()) } else { Err(interneuron::Error::NoForward.into()) }
}

/// A scratch array of this length.
fn room(scratch: &mut Vec<f32>, len: usize) -> Outcome<&mut [f32]> {
    let more = len.saturating_sub(scratch.len());
    scratch.try_reserve_exact(more).map_err(|_| {
        let text = format!("outputs that are not wanted need {len} elements: expected memory for them");
        Failure::new(INTERNEURON_OUT_OF_RESOURCES, text)
    })?;
    scratch.resize(len, 0.0);
    Ok(scratch)
}

/// Backward and update in one, which never stores a gradient of a weight: from `x [batch, d]` and `dh [batch, ne]` to
/// the changed parameters, and to `dx [batch, d]` (of the parameters before the change) unless it is NULL. `x`,
/// `batch` and the parameters must be those of the forward pass that went before, which serves one backward pass or
/// update.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_update(
    layer: LayerId,
    batch: i64,
    x: *const f32,
    dh: *const f32,
    update: *const UpdateConfig,
    dx: *mut f32,
) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        // SAFETY: the contract of the header.
        let update = unsafe { UpdateInput::read(&mut arguments, update) }?;
        table::with(layer, |LayerHandle { context, kernels, tape, state, lengths, params, .. }| {
            let shape = kernels.shape();
            let (batch, d, ne) = (examples(batch)?, shape.inputs(), shape.outputs());
            let params = params.write(&mut arguments, lengths)?;
            // The tape has a copy of x. The array is only held against the outputs, which must not overlap it.
            arguments.read("x", x, area(batch, d)?)?;
            let dh = arguments.read("dh", dh, area(batch, ne)?)?;
            let dx = arguments.write_wanted("dx", dx, area(batch, d)?)?;
            let checked = arguments.check()?;
            // SAFETY: the contract of the header.
            let (update, params) = unsafe { (update.get(&checked), params.view(kernels.schema(), &checked)?) };
            // SAFETY: the contract of the header.
            let dh = MatRef::new(unsafe { dh.slice(&checked) }, batch, ne)?;
            // SAFETY: the contract of the header.
            let dx = dx.map(|dx| unsafe { dx.slice(&checked) });
            let dx = dx.map(|dx| MatMut::new(dx, batch, d)).transpose()?;
            in_order(tape, batch)?;
            kernels.set_threads(context.threads()?);
            kernels.update(params, state, tape, dh, &update, dx)?;
            Ok(())
        })
    })
}

/// What inhibition did in the last `interneuron_layer_forward` with as many examples, before a backward pass or an
/// update follows it: the activity of the interneurons `zi [batch, ni]`, and in a layer that divides the standardised
/// excitation `zhat [batch, ne] = (zE - s) / y` and the divisor `y [batch, ne]`. Each may be NULL: not wanted. Nothing
/// of the layer changes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_inhibition(
    layer: LayerId,
    batch: i64,
    zi: *mut f32,
    zhat: *mut f32,
    y: *mut f32,
) -> i32 {
    call(|| {
        table::with(layer, |LayerHandle { kernels, tape, lengths, params, unwanted, .. }| {
            let shape = kernels.shape();
            let (ne, ni, divisive) = (shape.outputs(), shape.interneurons(), shape.divisive());
            if ni == 0 {
                return Err(Failure::new(
                    INTERNEURON_INVALID_ARGUMENT,
                    "the layer has no interneurons: expected one that has",
                ));
            }
            let wants_division = !zhat.is_null() || !y.is_null();
            if wants_division && !divisive {
                let text = "the layer only subtracts: expected NULL for zhat and y";
                return Err(Failure::new(INTERNEURON_INVALID_ARGUMENT, text));
            }
            let batch = examples(batch)?;
            let mut arguments = Arguments::new();
            // Outputs must not overlap attached arrays either.
            params.read(&mut arguments, lengths)?;
            let zi = arguments.write_wanted("zi", zi, area(batch, ni)?)?;
            let zhat = arguments.write_wanted("zhat", zhat, area(batch, ne)?)?;
            let y = arguments.write_wanted("y", y, area(batch, ne)?)?;
            let checked = arguments.check()?;
            // Each fails only for want of a forward pass and before it writes: if the first does not, nor does the
            // second.
            if zhat.is_some() || y.is_some() {
                let [first, second, ..] = unwanted;
                // SAFETY: the contract of the header.
                let (zhat, y) = unsafe { (zhat.map(|o| o.slice(&checked)), y.map(|o| o.slice(&checked))) };
                let zhat = zhat.map_or_else(|| room(first, batch * ne), Ok)?;
                let y = y.map_or_else(|| room(second, batch * ne), Ok)?;
                tape.standardised(MatMut::new(zhat, batch, ne)?, MatMut::new(y, batch, ne)?)?;
            }
            if let Some(zi) = zi {
                // SAFETY: the contract of the header.
                let zi = unsafe { zi.slice(&checked) };
                tape.interneurons(MatMut::new(zi, batch, ni)?)?;
            }
            Ok(())
        })
    })
}
