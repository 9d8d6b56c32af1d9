//! Single layers, on parameters of their own or on a caller's.

use crate::arguments::{Arguments, Checked, MatrixIn, MatrixOut, Output, examples, flag, index};
use crate::arrays::{self, Located, NO_SUCH_ARRAY, NOWHERE, PLACES, Places, Pointers};
use crate::config::{Arrays, LayerConfig, UpdateConfig, UpdateInput, versioned};
use crate::context::Context;
use crate::element::{Either, either, element};
use crate::held::{Attached, Held};
use crate::shapes::shape;
use crate::state::Kept;
use crate::status::{
    Failure, INTERNEURON_INVALID_ARGUMENT, INTERNEURON_OUT_OF_RESOURCES, INTERNEURON_WRONG_ORDER, Outcome, call,
};
use crate::table::{self, ContextId, LayerId};
use interneuron::{Element, Init, Layer, LayerShape, MatMut, Params, State, Tape, generator};
use std::ffi::{CStr, c_char, c_void};
use std::sync::Arc;

/// A layer of either element.
pub type AnyLayer = Either<LayerHandle<f32>, LayerHandle<f64>>;

/// A layer, what its calls keep, and where its parameters are.
pub struct LayerHandle<T: Element> {
    /// Before the context, which waits for the threads of its pool to end: the layer has a share of the pool.
    kernels: Layer<T>,
    tape: Tape<T>,
    state: State<T>,
    context: Arc<Context>,
    lengths: Places<usize>,
    params: Held<T>,
    /// Room for outputs that the caller does not want.
    unwanted: Places<Vec<T>>,
}

impl<T: Element> LayerHandle<T> {
    fn new(shape: LayerShape, context: Arc<Context>) -> Outcome<Self> {
        let kernels = Layer::new(shape, &context.isa.into())?;
        let lengths = arrays::lengths(kernels.schema());
        let unwanted = [(); PLACES].map(|()| vec![]);
        let (tape, state, params) = (Tape::new(), State::new(), Held::None);
        Ok(Self { kernels, tape, state, context, lengths, params, unwanted })
    }

    /// Examples, inputs and outputs.
    fn sizes(&self, batch: i64) -> Outcome<(usize, usize, usize)> {
        let shape = self.kernels.shape();
        Ok((examples(batch)?, shape.inputs(), shape.outputs()))
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn init(&mut self, seed: u64, rectified_input: bool) -> Outcome {
        let Self { kernels, params, state, .. } = self;
        let init = if rectified_input { Init::deeper() } else { Init::first() };
        let new = init.draw(&kernels.shape(), &mut generator(seed))?;
        // SAFETY: as demanded here: attached arrays are alive and not in use elsewhere.
        unsafe { params.replace(Arguments::new(), kernels.schema(), new) }?;
        *state = State::new();
        Ok(())
    }

    fn attach(&mut self, mut arguments: Arguments, pointers: Pointers) -> Outcome {
        let arrays = Located::handed_in(None, &pointers, &self.lengths);
        arrays.check::<T>(NO_SUCH_ARRAY)?;
        // As updates will write them.
        arrays.write::<T>(&mut arguments)?;
        arguments.check()?;
        self.params = Held::Attached(Attached(pointers));
        self.state = State::new();
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn detach(&mut self) -> Outcome {
        let Self { kernels, lengths, params, .. } = self;
        if !matches!(params, Held::Attached(_)) {
            let text = "the layer uses no arrays of the caller: expected interneuron_layer_attach before";
            return Err(Failure::new(INTERNEURON_WRONG_ORDER, text));
        }
        let mut arguments = Arguments::new();
        let reading = params.read(&mut arguments, lengths)?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here: attached arrays are alive and nobody writes to them meanwhile.
        let copy = arrays::copy(&kernels.shape(), unsafe { reading.view(kernels.schema(), &checked)? })?;
        *params = Held::Own(copy);
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn count(&self, count: *mut i64) -> Outcome {
        let mut arguments = Arguments::new();
        self.params.announce(&mut arguments, &self.lengths)?;
        let count = arguments.write("count", count, 1)?;
        let (checked, arrays) = (arguments.check()?, arrays::describe(self.kernels.schema()));
        // SAFETY: as demanded here.
        unsafe { count.put(arrays.len() as i64, &checked) };
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn describe(&self, i: i64, name: *mut *const c_char, rows: *mut i64, columns: *mut i64) -> Outcome {
        let mut arguments = Arguments::new();
        self.params.announce(&mut arguments, &self.lengths)?;
        let outputs = DescriptionOutput::new(arguments, name, rows, columns)?;
        let arrays = arrays::describe(self.kernels.schema());
        // SAFETY: as demanded here.
        unsafe { outputs.write(arrays[index("i", i, arrays.len())?]) }
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn set_parameters(&mut self, mut arguments: Arguments, pointers: &Pointers) -> Outcome {
        let Self { kernels, lengths, params, state, .. } = self;
        let located = Located::handed_in(None, pointers, lengths);
        // SAFETY: as demanded here.
        let new = unsafe { read_parameters(&mut arguments, &kernels.shape(), located) }?;
        // SAFETY: as demanded here: attached arrays are alive and not in use elsewhere.
        unsafe { params.replace(arguments, kernels.schema(), new) }?;
        *state = State::new();
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn get_parameters(&self, mut arguments: Arguments, pointers: &Pointers) -> Outcome {
        let schema = self.kernels.schema();
        let reading = self.params.read(&mut arguments, &self.lengths)?;
        let outputs = Located::handed_in(None, pointers, &self.lengths).wanted(&mut arguments)?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        unsafe { arrays::copy_out(outputs, arrays::places(schema, reading.view(schema, &checked)?), &checked) };
        Ok(())
    }

    /// Forward, with or without keeping what a backward pass needs.
    ///
    /// # Safety
    /// The contract of the header.
    unsafe fn pass(&mut self, batch: i64, x: MatrixIn, h: MatrixOut, training: bool) -> Outcome {
        let (batch, d, ne) = self.sizes(batch)?;
        let Self { context, kernels, tape, lengths, params, .. } = self;
        let mut arguments = Arguments::new();
        let params = params.read(&mut arguments, lengths)?;
        let x = arguments.read_matrix("x", x, (batch, d))?;
        let h = arguments.write_matrix("h", h, (batch, ne))?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        let (params, x, h) = unsafe { (params.view(kernels.schema(), &checked)?, x.get(&checked)?, h.get(&checked)?) };
        kernels.set_threads(context.threads()?);
        if training { kernels.forward(params, tape, x, h) } else { kernels.infer(params, tape, x, h) }?;
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn backward(
        &mut self,
        mut arguments: Arguments,
        batch: i64,
        (x, dh): (MatrixIn, MatrixIn),
        pointers: &Pointers,
        dx: MatrixOut,
    ) -> Outcome {
        let (batch, d, ne) = self.sizes(batch)?;
        let Self { context, kernels, tape, lengths, params, unwanted, .. } = self;
        let located = Located::handed_in(None, pointers, lengths);
        located.check::<T>(NO_SUCH_ARRAY)?;
        let params = params.read(&mut arguments, lengths)?;
        // The tape has a copy of x. The array is only held against the outputs, which must not overlap it.
        arguments.read_matrix::<T>("x", x, (batch, d))?;
        let dh = arguments.read_matrix("dh", dh, (batch, ne))?;
        let gradients = located.write_wanted(&mut arguments)?;
        let dx = arguments.write_matrix_wanted("dx", dx, (batch, d))?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        let (params, dh) = unsafe { (params.view(kernels.schema(), &checked)?, dh.get(&checked)?) };
        // SAFETY: as demanded here.
        let dx = dx.map(|dx| unsafe { dx.get(&checked) }).transpose()?;
        in_order(tape, batch)?;
        kernels.set_threads(context.threads()?);
        match dx {
            Some(dx) if gradients.iter().all(Option::is_none) => {
                kernels.input_gradient(params, tape, dh, dx)?;
            }
            dx => {
                // SAFETY: as demanded here.
                let places = unsafe { or_room(gradients, unwanted, lengths, &checked) }?;
                kernels.backward(params, tape, dh, arrays::view_mut(kernels.schema(), places)?, dx)?;
            }
        }
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn update(
        &mut self,
        mut arguments: Arguments,
        batch: i64,
        (x, dh): (MatrixIn, MatrixIn),
        update: UpdateInput,
        dx: MatrixOut,
    ) -> Outcome {
        let (batch, d, ne) = self.sizes(batch)?;
        let Self { context, kernels, tape, state, lengths, params, .. } = self;
        let params = params.write(&mut arguments, lengths)?;
        // The tape has a copy of x. The array is only held against the outputs, which must not overlap it.
        arguments.read_matrix::<T>("x", x, (batch, d))?;
        let dh = arguments.read_matrix("dh", dh, (batch, ne))?;
        let dx = arguments.write_matrix_wanted("dx", dx, (batch, d))?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        let (update, params) = unsafe { (update.get(&checked), params.view(kernels.schema(), &checked)?) };
        // SAFETY: as demanded here.
        let dh = unsafe { dh.get(&checked) }?;
        // SAFETY: as demanded here.
        let dx = dx.map(|dx| unsafe { dx.get(&checked) }).transpose()?;
        in_order(tape, batch)?;
        kernels.set_threads(context.threads()?);
        kernels.update(params, state, tape, dh, &update, dx)?;
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn apply(&mut self, mut arguments: Arguments, update: UpdateInput, pointers: &Pointers) -> Outcome {
        let Self { context, kernels, state, lengths, params, .. } = self;
        let located = Located::handed_in(None, pointers, lengths);
        located.check::<T>(NO_SUCH_ARRAY)?;
        let params = params.write(&mut arguments, lengths)?;
        let gradients = located.read(&mut arguments)?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        let (update, params) = unsafe { (update.get(&checked), params.view(kernels.schema(), &checked)?) };
        // SAFETY: as demanded here.
        let gradients = arrays::view(kernels.schema(), unsafe { arrays::slices(gradients, &checked) })?;
        kernels.set_threads(context.threads()?);
        kernels.apply(params, state, &update, gradients)?;
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn inhibition(&mut self, batch: i64, zi: MatrixOut, zhat: MatrixOut, y: MatrixOut) -> Outcome {
        let Self { kernels, tape, lengths, params, unwanted, .. } = self;
        let shape = kernels.shape();
        let (ne, ni, divisive) = (shape.outputs(), shape.interneurons(), shape.divisive());
        if ni == 0 {
            let text = "the layer has no interneurons: expected one that has";
            return Err(Failure::new(INTERNEURON_INVALID_ARGUMENT, text));
        }
        let wants_division = !zhat.0.is_null() || !y.0.is_null();
        if wants_division && !divisive {
            let text = "the layer only subtracts: expected NULL for zhat and y";
            return Err(Failure::new(INTERNEURON_INVALID_ARGUMENT, text));
        }
        let batch = examples(batch)?;
        let mut arguments = Arguments::new();
        // Outputs must not overlap attached arrays either.
        params.read(&mut arguments, lengths)?;
        let zi = arguments.write_matrix_wanted("zi", zi, (batch, ni))?;
        let zhat = arguments.write_matrix_wanted("zhat", zhat, (batch, ne))?;
        let y = arguments.write_matrix_wanted("y", y, (batch, ne))?;
        let checked = arguments.check()?;
        // Each fails only for want of a forward pass and before it writes: if the first does not, nor does the
        // second.
        if zhat.is_some() || y.is_some() {
            let [first, second, ..] = unwanted;
            let packed = |room| Ok(MatMut::new(room, batch, ne)?);
            // SAFETY: as demanded here.
            let (zhat, y) = unsafe { (zhat.map(|o| o.get(&checked)), y.map(|o| o.get(&checked))) };
            let zhat = zhat.unwrap_or_else(|| room(first, batch * ne).and_then(packed))?;
            let y = y.unwrap_or_else(|| room(second, batch * ne).and_then(packed))?;
            tape.standardised(zhat, y)?;
        }
        if let Some(zi) = zi {
            // SAFETY: as demanded here.
            tape.interneurons(unsafe { zi.get(&checked) }?)?;
        }
        Ok(())
    }

    /// What steps keep, and of what.
    pub fn kept(&mut self, arguments: &mut Arguments) -> Outcome<Kept<'_, T>> {
        let Self { kernels, state, lengths, params, .. } = self;
        let params = if let Held::None = params { None } else { Some(params.read(arguments, lengths)?) };
        Ok(Kept { shape: kernels.shape(), schema: *kernels.schema(), state, params })
    }
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
    pub unsafe fn write(self, (name, rows, columns): (&'static CStr, usize, usize)) -> Outcome {
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
pub unsafe fn put<A>(output: Option<Output<A>>, value: A, checked: &Checked) {
    if let Some(output) = output {
        // SAFETY: as demanded here.
        unsafe { output.put(value, checked) };
    }
}

/// A copy of parameters that a caller hands in. Their arrays are announced.
///
/// # Safety
/// As [`Input::slice`](crate::arguments::Input::slice), for each array.
pub unsafe fn read_parameters<T: Element>(
    arguments: &mut Arguments,
    shape: &LayerShape,
    located: Located<'_>,
) -> Outcome<Params<T>> {
    located.check::<T>(NO_SUCH_ARRAY)?;
    let inputs = located.read(arguments)?;
    // Nothing is written while these slices exist.
    let checked = Arguments::new().check()?;
    // SAFETY: as demanded here.
    let new = arrays::view(&shape.schema()?, unsafe { arrays::slices(inputs, &checked) })?;
    new.validate(shape)?;
    arrays::copy(shape, new)
}

/// Refuses a backward pass that does not follow a forward pass with as many examples.
fn in_order<T: Element>(tape: &Tape<T>, batch: usize) -> Outcome {
    if tape.examples() == Some(batch) { Ok(()) } else { Err(interneuron::Error::NoForward.into()) }
}

/// The outputs that a caller wants, and room for the others.
///
/// # Safety
/// As [`Output::slice`].
pub unsafe fn or_room<'a, T: Element>(
    wanted: Places<Option<Output<T>>>,
    unwanted: &'a mut Places<Vec<T>>,
    lengths: &Places<usize>,
    checked: &'a Checked,
) -> Outcome<Places<&'a mut [T]>> {
    let mut places: Places<&mut [T]> = Default::default();
    for ((place, output), (unwanted, len)) in places.iter_mut().zip(wanted).zip(unwanted.iter_mut().zip(*lengths)) {
        *place = match output {
            // SAFETY: as demanded here.
            Some(output) => unsafe { output.slice(checked) },
            None => room(unwanted, len)?,
        };
    }
    Ok(places)
}

/// A scratch array of this length.
fn room<T: Element>(scratch: &mut Vec<T>, len: usize) -> Outcome<&mut [T]> {
    let more = len.saturating_sub(scratch.len());
    scratch.try_reserve_exact(more).map_err(|_| {
        let text = format!("outputs that are not wanted need {len} elements: expected memory for them");
        Failure::new(INTERNEURON_OUT_OF_RESOURCES, text)
    })?;
    scratch.resize(len, T::ZERO);
    Ok(scratch)
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
        let (shape, element) = (shape(&config, "config->")?, element("config->element", config.element)?);
        let context = table::context(context)?;
        let handle = table::insert(match element {
            Either::F32(()) => AnyLayer::F32(LayerHandle::new(shape, context)?),
            Either::F64(()) => AnyLayer::F64(LayerHandle::new(shape, context)?),
        });
        // SAFETY: the contract of the header.
        unsafe { layer.put(handle, &checked) };
        Ok(())
    })
}

/// Frees a layer, and its parameters if they are its own.
#[unsafe(no_mangle)]
pub extern "C" fn interneuron_layer_free(layer: LayerId) -> i32 {
    call(|| table::free::<AnyLayer>(layer))
}

/// Draws the parameters: into the attached arrays, or else into arrays that the layer owns. `rectified_input` is 0 if
/// the inputs are raw numbers, 1 if they passed a ReLU. The same seed draws the same parameters on every machine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_init(layer: LayerId, seed: u64, rectified_input: i64) -> i32 {
    call(|| {
        let rectified_input = flag("rectified_input", rectified_input)?;
        table::with(layer, |layer: &mut AnyLayer| {
            // SAFETY: the contract of the header.
            unsafe { either!(layer, layer => layer.init(seed, rectified_input)) }
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
        table::with(layer, |layer: &mut AnyLayer| either!(layer, layer => layer.attach(arguments, pointers)))
    })
}

/// Copies the attached arrays into arrays that the layer owns, which are its parameters from now on. The attached
/// arrays are then the caller's alone again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_detach(layer: LayerId) -> i32 {
    // SAFETY: the contract of the header.
    call(|| table::with(layer, |layer: &mut AnyLayer| unsafe { either!(layer, layer => layer.detach()) }))
}

/// Stores in `*count` how many parameter arrays the layer has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_parameter_count(layer: LayerId, count: *mut i64) -> i32 {
    // SAFETY: the contract of the header.
    call(|| table::with(layer, |layer: &mut AnyLayer| unsafe { either!(layer, layer => layer.count(count)) }))
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
        table::with(layer, |layer: &mut AnyLayer| {
            // SAFETY: the contract of the header.
            unsafe { either!(layer, layer => layer.describe(i, name, rows, columns)) }
        })
    })
}

/// Copies parameters in: into the attached arrays, or else into arrays that the layer owns. No pointer of an array that
/// the layer has may be NULL. Values that are not finite, or negative where they must not be, are refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_set_parameters(layer: LayerId, arrays: *const Arrays) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        // SAFETY: the contract of the header.
        let pointers = unsafe { arrays::pointers(&mut arguments, arrays) }?;
        table::with(layer, |layer: &mut AnyLayer| {
            // SAFETY: the contract of the header.
            unsafe { either!(layer, layer => layer.set_parameters(arguments, &pointers)) }
        })
    })
}

/// Copies the parameters out. Arrays whose pointers are NULL are not wanted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_get_parameters(layer: LayerId, arrays: *const Arrays) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        // SAFETY: the contract of the header.
        let pointers = unsafe { arrays::pointers(&mut arguments, arrays) }?;
        table::with(layer, |layer: &mut AnyLayer| {
            // SAFETY: the contract of the header.
            unsafe { either!(layer, layer => layer.get_parameters(arguments, &pointers)) }
        })
    })
}

/// From `x [batch, d]` to `h [batch, ne]`, which is overwritten. The layer keeps what a following
/// `interneuron_layer_backward` or `interneuron_layer_update` needs. If memory for that is missing, what an earlier
/// forward pass kept is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_forward(
    layer: LayerId,
    batch: i64,
    x: *const c_void,
    h: *mut c_void,
) -> i32 {
    // SAFETY: the contract of the header.
    unsafe { interneuron_layer_forward_strided(layer, batch, x, 0, h, 0) }
}

/// The same, with rows that are as far apart as the strides say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_forward_strided(
    layer: LayerId,
    batch: i64,
    x: *const c_void,
    x_stride: i64,
    h: *mut c_void,
    h_stride: i64,
) -> i32 {
    call(|| {
        table::with(layer, |layer: &mut AnyLayer| {
            // SAFETY: the contract of the header.
            unsafe { either!(layer, layer => layer.pass(batch, (x, x_stride), (h, h_stride), true)) }
        })
    })
}

/// As `interneuron_layer_forward`, but nothing is kept for a backward pass, also not what an earlier forward pass kept.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_infer(layer: LayerId, batch: i64, x: *const c_void, h: *mut c_void) -> i32 {
    // SAFETY: the contract of the header.
    unsafe { interneuron_layer_infer_strided(layer, batch, x, 0, h, 0) }
}

/// The same, with rows that are as far apart as the strides say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_infer_strided(
    layer: LayerId,
    batch: i64,
    x: *const c_void,
    x_stride: i64,
    h: *mut c_void,
    h_stride: i64,
) -> i32 {
    call(|| {
        table::with(layer, |layer: &mut AnyLayer| {
            // SAFETY: the contract of the header.
            unsafe { either!(layer, layer => layer.pass(batch, (x, x_stride), (h, h_stride), false)) }
        })
    })
}

/// All gradients: from `x [batch, d]` and `dh [batch, ne]` to `arrays`, the gradients of the parameters, and to
/// `dx [batch, d]`; all are overwritten. `x`, `batch` and the parameters must be those of the forward pass that went
/// before, which serves one backward pass or update. `arrays` itself, each pointer in it, and `dx` may be NULL: not
/// wanted. If only `dx` is wanted, no other gradient is computed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_backward(
    layer: LayerId,
    batch: i64,
    x: *const c_void,
    dh: *const c_void,
    arrays: *const Arrays,
    dx: *mut c_void,
) -> i32 {
    // SAFETY: the contract of the header.
    unsafe { interneuron_layer_backward_strided(layer, batch, x, 0, dh, 0, arrays, dx, 0) }
}

/// The same, with rows that are as far apart as the strides say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_backward_strided(
    layer: LayerId,
    batch: i64,
    x: *const c_void,
    x_stride: i64,
    dh: *const c_void,
    dh_stride: i64,
    arrays: *const Arrays,
    dx: *mut c_void,
    dx_stride: i64,
) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        let pointers = match arrays.is_null() {
            true => NOWHERE,
            // SAFETY: the contract of the header.
            false => unsafe { arrays::pointers(&mut arguments, arrays) }?,
        };
        let (matrices, dx) = (((x, x_stride), (dh, dh_stride)), (dx, dx_stride));
        table::with(layer, |layer: &mut AnyLayer| {
            // SAFETY: the contract of the header.
            unsafe { either!(layer, layer => layer.backward(arguments, batch, matrices, &pointers, dx)) }
        })
    })
}

/// Backward and update in one, which never stores a gradient of a weight: from `x [batch, d]` and `dh [batch, ne]` to
/// the changed parameters, and to `dx [batch, d]` (of the parameters before the change) unless it is NULL. `x`,
/// `batch` and the parameters must be those of the forward pass that went before, which serves one backward pass or
/// update.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_update(
    layer: LayerId,
    batch: i64,
    x: *const c_void,
    dh: *const c_void,
    update: *const UpdateConfig,
    dx: *mut c_void,
) -> i32 {
    // SAFETY: the contract of the header.
    unsafe { interneuron_layer_update_strided(layer, batch, x, 0, dh, 0, update, dx, 0) }
}

/// The same, with rows that are as far apart as the strides say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_update_strided(
    layer: LayerId,
    batch: i64,
    x: *const c_void,
    x_stride: i64,
    dh: *const c_void,
    dh_stride: i64,
    update: *const UpdateConfig,
    dx: *mut c_void,
    dx_stride: i64,
) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        // SAFETY: the contract of the header.
        let update = unsafe { UpdateInput::read(&mut arguments, update) }?;
        let (matrices, dx) = (((x, x_stride), (dh, dh_stride)), (dx, dx_stride));
        table::with(layer, |layer: &mut AnyLayer| {
            // SAFETY: the contract of the header.
            unsafe { either!(layer, layer => layer.update(arguments, batch, matrices, update, dx)) }
        })
    })
}

/// Takes a step with gradients that `interneuron_layer_backward` handed out, perhaps averaged by the caller. No pointer of
/// an array that the layer has may be NULL. With unchanged gradients the parameters get the same bits as by
/// `interneuron_layer_update`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_apply(
    layer: LayerId,
    update: *const UpdateConfig,
    arrays: *const Arrays,
) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        // SAFETY: the contract of the header.
        let update = unsafe { UpdateInput::read(&mut arguments, update) }?;
        // SAFETY: the contract of the header.
        let pointers = unsafe { arrays::pointers(&mut arguments, arrays) }?;
        table::with(layer, |layer: &mut AnyLayer| {
            // SAFETY: the contract of the header.
            unsafe { either!(layer, layer => layer.apply(arguments, update, &pointers)) }
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
    zi: *mut c_void,
    zhat: *mut c_void,
    y: *mut c_void,
) -> i32 {
    // SAFETY: the contract of the header.
    unsafe { interneuron_layer_inhibition_strided(layer, batch, zi, 0, zhat, 0, y, 0) }
}

/// The same, with rows that are as far apart as the strides say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_layer_inhibition_strided(
    layer: LayerId,
    batch: i64,
    zi: *mut c_void,
    zi_stride: i64,
    zhat: *mut c_void,
    zhat_stride: i64,
    y: *mut c_void,
    y_stride: i64,
) -> i32 {
    call(|| {
        let (zi, zhat, y) = ((zi, zi_stride), (zhat, zhat_stride), (y, y_stride));
        table::with(layer, |layer: &mut AnyLayer| {
            // SAFETY: the contract of the header.
            unsafe { either!(layer, layer => layer.inhibition(batch, zi, zhat, y)) }
        })
    })
}
