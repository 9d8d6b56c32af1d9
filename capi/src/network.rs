//! Whole networks, trained on labels.

use crate::arguments::{Arguments, Checked, MatrixIn, MatrixOut, examples, index, pointer, size};
use crate::arrays::{self, Located, PLACES, Places, Pointers};
use crate::config::{Arrays, LayerConfig, NetworkConfig, UpdateConfig, UpdateInput, versioned, versioned_array};
use crate::context::Context;
use crate::element::{Either, either, element};
use crate::held::{Attached, HeldByAll};
use crate::layer::{DescriptionOutput, or_room, put, read_parameters};
use crate::shapes::{scheme, shape};
use crate::state::Kept;
use crate::status::{Failure, INTERNEURON_WRONG_ORDER, Outcome, call};
use crate::table::{self, ContextId, NetworkId};
use crate::targets::{self, Examples, ExamplesIn, Label, TargetConfig};
use interneuron::checkpoint::Run;
use interneuron::{Architecture, Element, LayerShape, Network, Params, Plan, Schema, State, TrainState};
use std::ffi::{c_char, c_void};
use std::sync::Arc;

/// More than this is a mistake rather than a network.
const MOST_LAYERS: i64 = 1024;

/// A network of either element.
pub type AnyNetwork = Either<NetworkHandle<f32>, NetworkHandle<f64>>;

/// A network, and where its parameters are.
pub struct NetworkHandle<T: Element> {
    /// Before the context, which waits for the threads of its pool to end: the network has a share of the pool.
    pub plan: Plan<T>,
    pub params: HeldByAll<T>,
    pub state: TrainState<T>,
    pub context: Arc<Context>,
    /// What a file is to hold beside the network.
    pub run: Run,
    /// Of the arrays of each layer.
    pub lengths: Vec<Places<usize>>,
    /// Room for gradients that the caller does not want.
    unwanted: Vec<Places<Vec<T>>>,
}

impl<T: Element> NetworkHandle<T> {
    pub fn new(network: Network<T>, context: Arc<Context>, run: Run) -> Self {
        let (plan, params, state) = network.into_parts();
        let lengths: Vec<_> = plan.schemas().map(arrays::lengths).collect();
        let unwanted = lengths.iter().map(|_| [(); PLACES].map(|()| vec![])).collect();
        Self { plan, params: HeldByAll::Own(params), state, context, run, lengths, unwanted }
    }

    /// The number, shape and arrays of layer `k`.
    fn layer(&self, k: i64) -> Outcome<(usize, LayerShape, Schema)> {
        let k = index("k", k, self.lengths.len())?;
        let layer = self.plan.shapes().zip(self.plan.schemas()).nth(k);
        let (shape, schema) = layer.expect("an index below the number of layers");
        Ok((k, shape, *schema))
    }

    /// Announces attached arrays, for calls that do not use them.
    pub fn announce(&self, arguments: &mut Arguments) -> Outcome {
        self.params.read(arguments, &self.lengths).map(|_| ())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn attach(&mut self, arrays: *const Arrays) -> Outcome {
        let mut arguments = Arguments::new();
        // SAFETY: as demanded here.
        let layers = unsafe { arrays::pointers_of_layers(&mut arguments, arrays, self.lengths.len()) }?;
        for (k, (pointers, lengths)) in layers.iter().zip(&self.lengths).enumerate() {
            let located = Located::handed_in(Some(k), pointers, lengths);
            located.check::<T>(arrays::NO_SUCH_ARRAY)?;
            // As steps will write them.
            located.write::<T>(&mut arguments)?;
        }
        arguments.check()?;
        self.params = HeldByAll::Attached(layers.into_iter().map(Attached).collect());
        (0..self.lengths.len()).for_each(|k| self.state.forget(k));
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn detach(&mut self) -> Outcome {
        let Self { plan, params, lengths, .. } = self;
        if let HeldByAll::Own(_) = params {
            let text = "the network uses no arrays of the caller: expected interneuron_network_attach before";
            return Err(Failure::new(INTERNEURON_WRONG_ORDER, text));
        }
        let mut arguments = Arguments::new();
        let reading = params.read(&mut arguments, lengths)?;
        let checked = arguments.check()?;
        let layers = plan.shapes().zip(plan.schemas()).enumerate();
        let copies = layers.map(|(k, (shape, schema))| {
            let layer = reading.layer(k);
            // SAFETY: as demanded here: attached arrays are alive and nobody writes to them meanwhile.
            arrays::copy(&shape, unsafe { layer.view(schema, &checked) }?)
        });
        *params = HeldByAll::Own(copies.collect::<Outcome<Vec<Params<T>>>>()?);
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn logits(&mut self, batch: i64, x: MatrixIn, logits: MatrixOut) -> Outcome {
        let Self { plan, params, lengths, context, .. } = self;
        let batch = examples(batch)?;
        let mut arguments = Arguments::new();
        let x = arguments.read_matrix("x", x, (batch, plan.inputs()))?;
        let logits = arguments.write_matrix("logits", logits, (batch, plan.outputs()))?;
        let params = params.read(&mut arguments, lengths)?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        let (params, x, logits) = unsafe { (params.views(plan, &checked)?, x.get(&checked)?, logits.get(&checked)?) };
        plan.set_threads(context.threads()?);
        plan.logits(params.params(), x, logits)?;
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn gradients(
        &mut self,
        mut arguments: Arguments,
        examples: ExamplesIn<*const TargetConfig>,
        gradients: *const Arrays,
        loss: *mut f64,
    ) -> Outcome {
        let Self { plan, params, lengths, context, unwanted, .. } = self;
        // SAFETY: as demanded here.
        let examples = unsafe { Examples::read(&mut arguments, plan, examples) }?;
        // SAFETY: as demanded here.
        let layers = unsafe { arrays::pointers_of_layers(&mut arguments, gradients, lengths.len()) }?;
        let wanted = layers.iter().zip(&*lengths).enumerate();
        let wanted = wanted
            .map(|(k, (pointers, lengths))| Located::handed_in(Some(k), pointers, lengths).wanted(&mut arguments));
        let wanted = wanted.collect::<Outcome<Vec<_>>>()?;
        let loss = arguments.write_wanted("loss", loss, 1)?;
        let params = params.read(&mut arguments, lengths)?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        let (params, (x, target)) = unsafe { (params.views(plan, &checked)?, examples.get(&checked)?) };
        let layers = wanted.into_iter().zip(unwanted).zip(&*lengths).zip(plan.schemas());
        let gradients = layers.map(|(((wanted, unwanted), lengths), schema)| {
            // SAFETY: as demanded here.
            let places = unsafe { or_room(wanted, unwanted, lengths, &checked) }?;
            Ok(arrays::view_mut(schema, places)?)
        });
        let mut gradients = gradients.collect::<Outcome<Vec<_>>>()?;
        plan.set_threads(context.threads()?);
        let value = plan.gradients(params.params(), x, target, &mut gradients).map_err(targets::named)?;
        // SAFETY: as demanded here.
        unsafe { put(loss, value, &checked) };
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn apply(&mut self, mut arguments: Arguments, update: UpdateInput, gradients: *const Arrays) -> Outcome {
        let Self { plan, params, lengths, state, context, .. } = self;
        // SAFETY: as demanded here.
        let layers = unsafe { arrays::pointers_of_layers(&mut arguments, gradients, lengths.len()) }?;
        let inputs = layers.iter().zip(&*lengths).enumerate().map(|(k, (pointers, lengths))| {
            let located = Located::handed_in(Some(k), pointers, lengths);
            located.check::<T>(arrays::NO_SUCH_ARRAY)?;
            located.read(&mut arguments)
        });
        let inputs = inputs.collect::<Outcome<Vec<_>>>()?;
        let params = params.write(&mut arguments, lengths)?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        let (update, mut params) = unsafe { (update.get(&checked), params.views(plan, &checked)?) };
        let gradients = plan.schemas().zip(inputs).map(|(schema, inputs)| {
            // SAFETY: as demanded here.
            Ok(arrays::view(schema, unsafe { arrays::slices(inputs, &checked) })?)
        });
        let gradients = gradients.collect::<Outcome<Vec<_>>>()?;
        plan.set_threads(context.threads()?);
        plan.apply(params.params(), state, &update, &gradients)?;
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn set_parameters(&mut self, mut arguments: Arguments, k: i64, pointers: &Pointers) -> Outcome {
        let (k, shape, schema) = self.layer(k)?;
        let located = Located::handed_in(None, pointers, &self.lengths[k]);
        // SAFETY: as demanded here.
        let new = unsafe { read_parameters(&mut arguments, &shape, located) }?;
        // SAFETY: as demanded here: attached arrays are alive and not in use elsewhere.
        unsafe { self.params.replace(arguments, k, &schema, new) }?;
        self.state.forget(k);
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn get_parameters(&self, mut arguments: Arguments, k: i64, pointers: &Pointers) -> Outcome {
        let (k, _, schema) = self.layer(k)?;
        let reading = self.params.read(&mut arguments, &self.lengths)?.layer(k);
        let outputs = Located::handed_in(None, pointers, &self.lengths[k]).wanted(&mut arguments)?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        unsafe { arrays::copy_out(outputs, arrays::places(&schema, reading.view(&schema, &checked)?), &checked) };
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn layers(&self, count: *mut i64) -> Outcome {
        let mut arguments = Arguments::new();
        let count = arguments.write("count", count, 1)?;
        self.announce(&mut arguments)?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        unsafe { count.put(self.lengths.len() as i64, &checked) };
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn count(&self, k: i64, count: *mut i64) -> Outcome {
        let mut arguments = Arguments::new();
        let count = arguments.write("count", count, 1)?;
        self.announce(&mut arguments)?;
        let (checked, (_, _, schema)) = (arguments.check()?, self.layer(k)?);
        // SAFETY: as demanded here.
        unsafe { count.put(arrays::describe(&schema).len() as i64, &checked) };
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn describe(&self, k: i64, i: i64, name: *mut *const c_char, rows: *mut i64, columns: *mut i64) -> Outcome {
        let mut arguments = Arguments::new();
        self.announce(&mut arguments)?;
        let outputs = DescriptionOutput::new(arguments, name, rows, columns)?;
        let arrays = arrays::describe(&self.layer(k)?.2);
        // SAFETY: as demanded here.
        unsafe { outputs.write(arrays[index("i", i, arrays.len())?]) }
    }

    /// What steps keep of layer `k`, and of what.
    pub fn kept(&mut self, arguments: &mut Arguments, k: i64) -> Outcome<Kept<'_, T>> {
        let (k, shape, schema) = self.layer(k)?;
        let Self { params, lengths, state, .. } = self;
        let params = Some(params.read(arguments, lengths)?.layer(k));
        let layers = state.layers_mut();
        layers.resize_with(lengths.len(), State::new);
        Ok(Kept { shape, schema, state: &mut layers[k], params })
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
        let (architecture, run) = (architecture.mean_input(config.mean_input), Run::new(config.seed));
        let element = element("config->element", config.element)?;
        let context = table::context(context)?;
        let isa = context.isa.into();
        let handle = table::insert(match element {
            Either::F32(()) => AnyNetwork::F32(NetworkHandle::new(architecture.build(&isa)?, context, run)),
            Either::F64(()) => AnyNetwork::F64(NetworkHandle::new(architecture.build(&isa)?, context, run)),
        });
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
        let shapes = named.map(|(k, layer)| layer_shape(k, layer, config.element));
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

/// That of layer `k` in a network of some element.
fn layer_shape(k: usize, layer: &LayerConfig, element: i64) -> Outcome<LayerShape> {
    let prefix = format!("config->shapes[{k}].");
    if layer.element != 0 && layer.element != element {
        let expected = format!("0, or that of the network, {element}");
        return Err(Failure::argument(&format!("{prefix}element"), layer.element, &expected));
    }
    shape(layer, &prefix)
}

/// Frees a network, and its parameters if they are its own.
#[unsafe(no_mangle)]
pub extern "C" fn interneuron_network_free(network: NetworkId) -> i32 {
    call(|| table::free::<AnyNetwork>(network))
}

/// Lets the network use the caller's arrays as its parameters from now on, of which `arrays` has a struct for each layer,
/// all of the same `size`: no copy is made, calls read them and steps change them in place, as with
/// `interneuron_layer_attach`. Their content is not looked at. Parameters that the network owned are freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_attach(network: NetworkId, arrays: *const Arrays) -> i32 {
    call(|| {
        table::with(network, |network: &mut AnyNetwork| {
            // SAFETY: the contract of the header.
            unsafe { either!(network, network => network.attach(arrays)) }
        })
    })
}

/// Copies the attached arrays into arrays that the network owns, which are its parameters from now on. The attached
/// arrays are then the caller's alone again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_detach(network: NetworkId) -> i32 {
    // SAFETY: the contract of the header.
    call(|| table::with(network, |network: &mut AnyNetwork| unsafe { either!(network, network => network.detach()) }))
}

/// One step of training on the examples `x [batch, inputs]`, all finite, with `labels [batch]`, each less than the
/// number of outputs: forward, softmax cross-entropy averaged over the batch, backward and update. Stores the loss
/// before the update in `*loss` unless that is NULL.
///
/// Inhibition divides by numbers that are positive for inputs which are not negative. A step whose inputs make one
/// negative is refused with INTERNEURON_INVALID_ARGUMENT before anything changes: subtract from each input its smallest
/// value in the training data.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_train_step(
    network: NetworkId,
    batch: i64,
    x: *const c_void,
    labels: *const u32,
    update: *const UpdateConfig,
    loss: *mut f64,
) -> i32 {
    let examples = ExamplesIn { batch, x: (x, 0), target: Label(labels) };
    // SAFETY: the contract of the header.
    call(|| unsafe { targets::train(network, examples, update, loss) })
}

/// Stores the mean loss on the examples in `*loss`, and in `*errors` how many of them have their largest output
/// elsewhere than at their label. Either may be NULL. `batch` may be as large as memory allows: it is cut in pieces.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_evaluate(
    network: NetworkId,
    batch: i64,
    x: *const c_void,
    labels: *const u32,
    loss: *mut f64,
    errors: *mut i64,
) -> i32 {
    let examples = ExamplesIn { batch, x: (x, 0), target: Label(labels) };
    // SAFETY: the contract of the header.
    call(|| unsafe { targets::evaluate(network, examples, loss, errors) })
}

/// The outputs before the softmax: from `x [batch, inputs]` to `logits [batch, outputs]`, which is overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_logits(
    network: NetworkId,
    batch: i64,
    x: *const c_void,
    logits: *mut c_void,
) -> i32 {
    // SAFETY: the contract of the header.
    unsafe { interneuron_network_logits_strided(network, batch, x, 0, logits, 0) }
}

/// The same, with rows that are as far apart as the strides say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_logits_strided(
    network: NetworkId,
    batch: i64,
    x: *const c_void,
    x_stride: i64,
    logits: *mut c_void,
    logits_stride: i64,
) -> i32 {
    call(|| {
        table::with(network, |network: &mut AnyNetwork| {
            // SAFETY: the contract of the header.
            unsafe { either!(network, network => network.logits(batch, (x, x_stride), (logits, logits_stride))) }
        })
    })
}

/// The loss on the examples `x [batch, inputs]` with a `target`, in `*loss` unless that is NULL, and its gradients by all
/// parameters, which overwrite `arrays`: a struct for each layer, all of the same `size`, in which a pointer that is NULL
/// is not wanted. Nothing of the network changes. `x_stride` is how far the rows of `x` are apart; 0 is packed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_gradients(
    network: NetworkId,
    batch: i64,
    x: *const c_void,
    x_stride: i64,
    target: *const TargetConfig,
    arrays: *const Arrays,
    loss: *mut f64,
) -> i32 {
    call(|| {
        let (arguments, examples) = (Arguments::new(), ExamplesIn { batch, x: (x, x_stride), target });
        table::with(network, |network: &mut AnyNetwork| {
            // SAFETY: the contract of the header.
            unsafe { either!(network, network => network.gradients(arguments, examples, arrays, loss)) }
        })
    })
}

/// Takes a step with gradients that `interneuron_network_gradients` handed out, perhaps averaged by the caller: `arrays`
/// has a struct for each layer, all of the same `size`, in which no pointer of an array that the layer has may be NULL.
/// With unchanged gradients the parameters get the same bits as by a step of training. Natural gradients need such a step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_apply(
    network: NetworkId,
    update: *const UpdateConfig,
    arrays: *const Arrays,
) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        // SAFETY: the contract of the header.
        let update = unsafe { UpdateInput::read(&mut arguments, update) }?;
        table::with(network, |network: &mut AnyNetwork| {
            // SAFETY: the contract of the header.
            unsafe { either!(network, network => network.apply(arguments, update, arrays)) }
        })
    })
}

/// Stores in `*count` how many layers the network has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_layer_count(network: NetworkId, count: *mut i64) -> i32 {
    call(|| {
        pointer("count", count)?;
        table::with(network, |network: &mut AnyNetwork| {
            // SAFETY: the contract of the header.
            unsafe { either!(network, network => network.layers(count)) }
        })
    })
}

/// Stores in `*count` how many parameter arrays layer `k` of the network has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_parameter_count(network: NetworkId, k: i64, count: *mut i64) -> i32 {
    call(|| {
        pointer("count", count)?;
        table::with(network, |network: &mut AnyNetwork| {
            // SAFETY: the contract of the header.
            unsafe { either!(network, network => network.count(k, count)) }
        })
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
        table::with(network, |network: &mut AnyNetwork| {
            // SAFETY: the contract of the header.
            unsafe { either!(network, network => network.describe(k, i, name, rows, columns)) }
        })
    })
}

/// Copies the parameters of layer `k` in: into the attached arrays, or else into arrays that the network owns. No pointer
/// of an array that the layer has may be NULL. Values that are not finite, or negative where they must not be, are refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_set_parameters(network: NetworkId, k: i64, arrays: *const Arrays) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        // SAFETY: the contract of the header.
        let pointers = unsafe { arrays::pointers(&mut arguments, arrays) }?;
        table::with(network, |network: &mut AnyNetwork| {
            // SAFETY: the contract of the header.
            unsafe { either!(network, network => network.set_parameters(arguments, k, &pointers)) }
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
        table::with(network, |network: &mut AnyNetwork| {
            // SAFETY: the contract of the header.
            unsafe { either!(network, network => network.get_parameters(arguments, k, &pointers)) }
        })
    })
}
