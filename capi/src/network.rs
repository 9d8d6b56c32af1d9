//! Whole networks, trained on labels.

use crate::arguments::{Arguments, Checked, area, examples, index, pointer, size};
use crate::arrays;
use crate::config::{Arrays, NetworkConfig, UpdateConfig, versioned, versioned_array};
use crate::context::Context;
use crate::layer::{DescriptionOutput, copy_out, read_parameters, wanted};
use crate::shapes::{scheme, shape};
use crate::status::{Failure, Outcome, call};
use crate::table::{self, ContextId, NetworkId};
use crate::targets::{self, Examples};
use interneuron::checkpoint::Run;
use interneuron::{Architecture, LayerShape, MatMut, MatRef, Network};
use std::ffi::c_char;
use std::sync::Arc;

/// More than this is a mistake rather than a network.
const MOST_LAYERS: i64 = 1024;

/// A network, which owns its parameters.
pub struct NetworkHandle {
    /// Before the context, which waits for the threads of its pool to end: the network has a share of the pool.
    pub network: Network<f32>,
    pub context: Arc<Context>,
    /// What a file is to hold beside the network.
    pub run: Run,
}

impl NetworkHandle {
    /// The shape of layer `k`.
    fn shape(&self, k: i64) -> Outcome<(usize, LayerShape)> {
        let mut shapes = self.network.shapes();
        let k = index("k", k, shapes.len())?;
        Ok((k, shapes.nth(k).expect("an index below the number of layers")))
    }
}

/// Creates a network with drawn parameters and stores its handle in `*network`. With the same seed it has the same
/// parameters as `Architecture::dann` (or `mlp`, or `of` layers) of the Rust crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_create(
    context: ContextId,
    config: *const NetworkConfig,
    network: *mut NetworkId,
) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        let network = arguments.write("network", network, 1)?;
        // SAFETY: the contract of the header.
        let config = unsafe { versioned(&mut arguments, "config", config) }?;
        if !(1..=MOST_LAYERS).contains(&config.layers) {
            return Err(Failure::argument("config->layers", config.layers, &format!("from 1 to {MOST_LAYERS}")));
        }
        // SAFETY: the contract of the header.
        let (architecture, checked) = unsafe { architecture(arguments, &config) }?;
        let architecture = architecture.init(scheme(config.scheme, config.k)?).seed(config.seed);
        if !config.mean_input.is_finite() {
            return Err(Failure::argument("config->mean_input", config.mean_input, "a finite number"));
        }
        let context = table::context(context)?;
        let built = architecture.mean_input(config.mean_input).build(&context.isa.into())?;
        let handle = table::insert(NetworkHandle { network: built, context, run: Run::new(config.seed) });
        // SAFETY: the contract of the header.
        unsafe { network.put(handle, &checked) };
        Ok(())
    })
}

/// The layers that a configuration describes, before they are drawn.
///
/// # Safety
/// As [`versioned`] and [`Input::slice`](crate::arguments::Input::slice), for what the configuration points to.
unsafe fn architecture(mut arguments: Arguments, config: &NetworkConfig) -> Outcome<(Architecture, Checked)> {
    let layers = config.layers as usize;
    if !config.shapes.is_null() {
        for (name, ptr) in [("config->dims", config.dims), ("config->nis", config.nis)] {
            if !ptr.is_null() {
                return Err(Failure::argument(name, format!("{ptr:p}"), "NULL, as there are shapes"));
            }
        }
        // SAFETY: as demanded here.
        let configs = unsafe { versioned_array(&mut arguments, "config->shapes", config.shapes, layers) }?;
        let checked = arguments.check()?;
        let named = configs.iter().enumerate();
        let shapes = named.map(|(k, config)| shape(config, &format!("config->shapes[{k}].")));
        return Ok((Architecture::of(shapes.collect::<Outcome<_>>()?)?, checked));
    }
    let dims = arguments.read("config->dims", config.dims, layers + 1)?;
    let nis = if config.nis.is_null() { 0 } else { layers };
    let nis = arguments.read("config->nis", config.nis, nis)?;
    let checked = arguments.check()?;
    // SAFETY: as demanded here.
    let (dims, nis) = unsafe { (dims.slice(&checked), nis.slice(&checked)) };
    let sizes = |name: &str, values: &[i64]| {
        let sizes = values.iter().enumerate().map(|(i, &value)| size(&format!("config->{name}[{i}]"), value, 1));
        sizes.collect::<Outcome<Vec<_>>>()
    };
    let (dims, nis) = (sizes("dims", dims)?, sizes("nis", nis)?);
    let architecture = if nis.is_empty() { Architecture::mlp(&dims) } else { Architecture::dann(&dims, &nis) }?;
    Ok((architecture, checked))
}

/// Frees a network.
#[unsafe(no_mangle)]
pub extern "C" fn interneuron_network_free(network: NetworkId) -> i32 {
    call(|| table::free::<NetworkHandle>(network))
}

/// One step of training on the examples `x [batch, inputs]`, all finite, with `labels [batch]`, each less than the
/// number of outputs: forward, softmax cross-entropy averaged over the batch, backward and update. Stores the loss
/// before the update in `*loss` unless that is NULL.
///
/// Inhibition divides by numbers that are positive for inputs which are not negative. A step whose inputs make one negative is refused with
/// INTERNEURON_INVALID_ARGUMENT before anything changes: subtract from each input its smallest value in the training data.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_train_step(
    network: NetworkId,
    batch: i64,
    x: *const f32,
    labels: *const u32,
    update: *const UpdateConfig,
    loss: *mut f64,
) -> i32 {
    let read = |arguments: &mut _, network: &_| Examples::labelled(arguments, network, batch, x, labels);
    // SAFETY: the contract of the header.
    call(|| unsafe { targets::train(network, update, loss, read) })
}

/// Stores the mean loss on the examples in `*loss`, and in `*errors` how many of them have their largest output
/// elsewhere than at their label. Either may be NULL. `batch` may be as large as memory allows: it is cut in pieces.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_evaluate(
    network: NetworkId,
    batch: i64,
    x: *const f32,
    labels: *const u32,
    loss: *mut f64,
    errors: *mut i64,
) -> i32 {
    let read = |arguments: &mut _, network: &_| Examples::labelled(arguments, network, batch, x, labels);
    // SAFETY: the contract of the header.
    call(|| unsafe { targets::evaluate(network, loss, errors, read) })
}

/// The outputs before the softmax: from `x [batch, inputs]` to `logits [batch, outputs]`, which is overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_logits(
    network: NetworkId,
    batch: i64,
    x: *const f32,
    logits: *mut f32,
) -> i32 {
    call(|| {
        table::with(network, |NetworkHandle { context, network, .. }| {
            let (batch, inputs, classes) = (examples(batch)?, network.inputs(), network.outputs());
            let mut arguments = Arguments::new();
            let x = arguments.read("x", x, area(batch, inputs)?)?;
            let logits = arguments.write("logits", logits, area(batch, classes)?)?;
            let checked = arguments.check()?;
            // SAFETY: the contract of the header.
            let (x, logits) = unsafe { (x.slice(&checked), logits.slice(&checked)) };
            let logits = MatMut::new(logits, batch, classes)?;
            network.set_threads(context.threads()?);
            network.logits(MatRef::new(x, batch, inputs)?, logits)?;
            Ok(())
        })
    })
}

/// Stores in `*count` how many layers the network has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_layer_count(network: NetworkId, count: *mut i64) -> i32 {
    call(|| {
        pointer("count", count)?;
        let layers = table::with(network, |network: &mut NetworkHandle| Ok(network.network.shapes().len()))?;
        // SAFETY: not NULL, aligned, and by the contract of the header writable.
        unsafe { count.write(layers as i64) };
        Ok(())
    })
}

/// Stores in `*count` how many parameter arrays layer `k` of the network has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_parameter_count(network: NetworkId, k: i64, count: *mut i64) -> i32 {
    call(|| {
        pointer("count", count)?;
        let arrays =
            table::with(network, |network: &mut NetworkHandle| Ok(arrays::describe(&network.shape(k)?.1.schema()?)))?;
        // SAFETY: not NULL, aligned, and by the contract of the header writable.
        unsafe { count.write(arrays.len() as i64) };
        Ok(())
    })
}

/// Tells what parameter array `i` of layer `k` is: as `interneuron_layer_parameter`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_parameter(
    network: NetworkId,
    k: i64,
    i: i64,
    name: *mut *const c_char,
    rows: *mut i64,
    columns: *mut i64,
) -> i32 {
    call(|| {
        let outputs = DescriptionOutput::new(Arguments::new(), name, rows, columns)?;
        let arrays =
            table::with(network, |network: &mut NetworkHandle| Ok(arrays::describe(&network.shape(k)?.1.schema()?)))?;
        // SAFETY: the contract of the header.
        unsafe { outputs.write(arrays[index("i", i, arrays.len())?]) }
    })
}

/// Copies the parameters of layer `k` in. No pointer of an array that the layer has may be NULL. Values that are not
/// finite, or negative where they must not be, are refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_set_parameters(network: NetworkId, k: i64, arrays: *const Arrays) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        // SAFETY: the contract of the header.
        let pointers = unsafe { arrays::pointers(&mut arguments, arrays) }?;
        table::with(network, |network: &mut NetworkHandle| {
            let (k, shape) = network.shape(k)?;
            // SAFETY: the contract of the header.
            let new =
                unsafe { read_parameters(&mut arguments, &shape, &pointers, &arrays::lengths(&shape.schema()?)) }?;
            network.network.set_params(k, new)?;
            Ok(())
        })
    })
}

/// Copies the parameters of layer `k` out. Arrays whose pointers are NULL are not wanted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_get_parameters(network: NetworkId, k: i64, arrays: *const Arrays) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        // SAFETY: the contract of the header.
        let pointers = unsafe { arrays::pointers(&mut arguments, arrays) }?;
        table::with(network, |network: &mut NetworkHandle| {
            let (k, shape) = network.shape(k)?;
            let params = network.network.params().nth(k).expect("a layer of each shape");
            let schema = &shape.schema()?;
            let (outputs, checked) = wanted(arguments, &pointers, &arrays::lengths(schema))?;
            // SAFETY: the contract of the header.
            unsafe { copy_out(schema, params.view(), outputs, &checked) };
            Ok(())
        })
    })
}
