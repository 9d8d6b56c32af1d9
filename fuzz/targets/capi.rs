//! Calls of the C ABI in any order, with any arguments that a C program can pass.
//!
//! What the header leaves to the caller is kept: arrays are as long as the sizes say (and not one byte longer, so that
//! AddressSanitizer sees an access behind them), and attached arrays live as long as they are attached. Everything else
//! may be wrong. The target knows what is wrong with a call, and so which statuses it may return: none but OK if
//! nothing is. A call that fails has to leave every byte that it was handed, and all parameters, as they were.
//!
//! A program may run a second time on other numbers of threads and with other bytes in its outputs: all results must
//! have the same bits.

#![no_main]

#[path = "capi/draw.rs"]
mod draw;
#[path = "capi/frame.rs"]
mod frame;

use arbitrary::{Arbitrary, Unstructured};
use draw::{Batch, Dim, Fill, Flag, Handle, Index, Isa, Layers, Place, Rate, Struct, Threads, Which};
use frame::{Frame, MOST, Memory, Role, Six, Slot, last_error};
use interneuron_capi::*;
use libfuzzer_sys::fuzz_target;
use std::ffi::{CStr, c_char};
use std::ptr::{null, null_mut};
use std::rc::Rc;

/// A call of each entry point but those of targets, statistics and files; those that layers and networks both have are one.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Call {
    /// Both versions. (The text of the last error is asked for after each call.)
    Info,
    IsaCount(Place),
    IsaName(Index, Place),
    ContextCreate(NewContext),
    LayerCreate(NewLayer),
    NetworkCreate(NewNetwork),
    Free(Kind, Handle),
    Init(Handle, u64, Flag),
    Attach(Handle, Parameters),
    Detach(Handle),
    Forward {
        ready: Ready,
        training: bool,
        layer: Handle,
        batch: Batch,
        x: (Place, Fill),
        h: Place,
    },
    Backward {
        ready: Ready,
        layer: Handle,
        batch: Batch,
        x: (Place, Fill),
        dh: (Place, Fill),
        gradients: Option<Parameters>,
        dx: Place,
    },
    Update {
        ready: Ready,
        layer: Handle,
        batch: Batch,
        x: (Place, Fill),
        dh: (Place, Fill),
        update: Step,
        dx: Place,
    },
    Inhibition {
        ready: Ready,
        layer: Handle,
        batch: Batch,
        zi: Place,
        zhat: Place,
        y: Place,
    },
    LayerCount(Handle, Place),
    ParameterCount(Of, Place),
    Parameter {
        of: Of,
        i: Index,
        name: Place,
        rows: Place,
        columns: Place,
    },
    SetParameters(Of, Parameters),
    GetParameters(Of, Parameters),
    TrainStep {
        network: Handle,
        batch: Batch,
        x: (Place, Fill),
        labels: (Place, Fill),
        update: Step,
        loss: Place,
    },
    Evaluate {
        network: Handle,
        batch: Batch,
        x: (Place, Fill),
        labels: (Place, Fill),
        loss: Place,
        errors: Place,
    },
    Logits {
        network: Handle,
        batch: Batch,
        x: (Place, Fill),
        logits: Place,
    },
    Race(u8, [Racer; 2]),
}

/// Whether calls that have to come first are made if they are missing: mostly.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Ready(u8);

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Kind {
    Context,
    Layer,
    Network,
}

/// A layer, or one of a network.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Of {
    Layer(Handle),
    Network(Handle, Index),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct NewContext {
    threads: Threads,
    isa: Isa,
    config: Struct,
    out: Place,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct NewLayer {
    context: Handle,
    d: Dim,
    ne: Dim,
    ni: Option<Dim>,
    nonlinearity: Flag,
    subtractive: Flag,
    config: Struct,
    out: Place,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct NewNetwork {
    context: Handle,
    layers: Layers,
    dims: (Place, [Dim; 5]),
    nis: Option<(Place, [Dim; 4])>,
    seed: u64,
    config: Struct,
    out: Place,
}

/// The arrays of a layer, two of which may be somewhere else than the others, or unwanted.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Parameters {
    config: Struct,
    fill: Fill,
    unwanted: u8,
    elsewhere: [(u8, Place); 2],
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Step {
    config: Struct,
    lr: Rate,
    corrections: Flag,
    factors: Option<(Place, [Rate; 2])>,
    momentum: Option<(Place, [Rate; 2])>,
    nesterov: Flag,
    clip: Rate,
    clip_scope: Flag,
}

/// What one of two threads does with a layer.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Racer {
    Forward,
    Infer,
    Update,
    Init,
    Get,
    Free,
}

/// The creation of a context, a layer and a network, and calls on what there is.
#[derive(Debug)]
struct Program {
    twice: bool,
    calls: Vec<Call>,
}

impl<'a> Arbitrary<'a> for Program {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let twice = u.arbitrary()?;
        let mut calls = vec![
            Call::ContextCreate(u.arbitrary()?),
            Call::LayerCreate(u.arbitrary()?),
            Call::NetworkCreate(u.arbitrary()?),
        ];
        while !u.is_empty() && calls.len() < 32 {
            calls.push(u.arbitrary()?);
        }
        Ok(Self { twice, calls })
    }
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    d: usize,
    ne: usize,
    /// 0 for a plain layer.
    ni: usize,
    divisive: bool,
}

impl Shape {
    /// The elements of each array; those that the layer does not have are empty.
    fn lengths(&self) -> Six<usize> {
        let Self { d, ne, ni, divisive } = *self;
        let [alpha, g] = if ni > 0 && divisive { [ni, ne] } else { [0; 2] };
        [ne.saturating_mul(d), ni.saturating_mul(d), ne.saturating_mul(ni), alpha, g, ne]
    }

    /// Whether an array is larger than memory can be: for the library, if its elements were f64.
    fn overflows(&self) -> bool {
        self.lengths().iter().any(|&len| len > isize::MAX as usize / 8)
    }

    fn is_huge(&self) -> bool {
        self.lengths().iter().any(|&len| len > MOST)
    }

    /// Multiply-adds of a step.
    fn work(&self, batch: usize) -> usize {
        3 * batch * (self.d * (self.ne + self.ni) + self.ne * self.ni)
    }
}

struct Layer {
    handle: u64,
    shape: Shape,
    /// Examples of the forward pass that a backward pass may follow.
    kept: Option<i64>,
    params: Params,
}

enum Params {
    None,
    /// The layer's own, as they were last seen.
    Own(Six<Vec<u32>>),
    Attached(Six<Option<Slot>>),
}

struct Network {
    handle: u64,
    shapes: Vec<Shape>,
    /// As they were last seen.
    params: Vec<Six<Vec<u32>>>,
}

/// What the program has made, as the target sees it.
struct World {
    second: bool,
    /// Memory that many arrays share.
    shared: Rc<Memory>,
    contexts: Vec<u64>,
    layers: Vec<Layer>,
    networks: Vec<Network>,
    /// All handles that were ever handed out.
    ever: Vec<u64>,
    last_error: String,
    /// Statuses and hashes of outputs.
    trace: Vec<u64>,
    /// Multiply-adds that the program may still spend.
    work: usize,
}

/// The lengths of arrays for a layer that there is not.
const NO_SHAPE: Shape = Shape { d: 3, ne: 2, ni: 1, divisive: true };
/// Sizes of all versions of the structs.
const CONTEXT_SIZES: [usize; 2] = [16, 24];
const LAYER_SIZES: [usize; 5] = [24, 32, 40, 48, 88];
const NETWORK_SIZES: [usize; 4] = [24, 32, 40, 72];
const UPDATE_SIZES: [usize; 4] = [16, 24, 32, 144];
const ARRAYS_SIZES: [usize; 2] = [56, 72];

impl World {
    fn new(second: bool) -> Self {
        let shared = Memory::new(4096);
        shared.fill(0, (0..1024).map(|i| (i % 32) as f32 / 32.0));
        let (contexts, layers, networks, ever, trace) = Default::default();
        Self { second, shared, contexts, layers, networks, ever, last_error: last_error(), trace, work: 20_000_000 }
    }

    fn frame(&self) -> Frame {
        let attached = self.layers.iter().filter_map(|layer| match &layer.params {
            Params::Attached(slots) => Some(slots.iter().flatten().cloned()),
            _ => None,
        });
        Frame::new(self.shared.clone(), attached.flatten().collect(), if self.second { 0x42 } else { 0xff })
    }

    /// Takes from what the program may spend; false if that is too little.
    fn spend(&mut self, work: usize) -> bool {
        let left = self.work.checked_sub(work);
        self.work = left.unwrap_or(self.work);
        left.is_some()
    }

    fn handle(&self, kind: Kind, choice: Handle) -> u64 {
        let live: Vec<_> = match kind {
            Kind::Context => self.contexts.clone(),
            Kind::Layer => self.layers.iter().map(|layer| layer.handle).collect(),
            Kind::Network => self.networks.iter().map(|network| network.handle).collect(),
        };
        let pick = |handles: &[u64], i: usize| handles.get(i % handles.len().max(1)).copied().unwrap_or(0);
        match choice.get() {
            Which::Live(i) => pick(&live, i),
            Which::Ever(i) => pick(&self.ever, i),
            Which::Number(number) => number,
        }
    }

    fn context(&self, frame: &mut Frame, choice: Handle) -> u64 {
        let handle = self.handle(Kind::Context, choice);
        frame.demand(self.contexts.contains(&handle), INTERNEURON_INVALID_HANDLE);
        handle
    }

    fn layer(&self, frame: &mut Frame, choice: Handle) -> (u64, Option<usize>) {
        let handle = self.handle(Kind::Layer, choice);
        let found = self.layers.iter().position(|layer| layer.handle == handle);
        frame.demand(found.is_some(), INTERNEURON_INVALID_HANDLE);
        (handle, found)
    }

    fn network(&self, frame: &mut Frame, choice: Handle) -> (u64, Option<usize>) {
        let handle = self.handle(Kind::Network, choice);
        let found = self.networks.iter().position(|network| network.handle == handle);
        frame.demand(found.is_some(), INTERNEURON_INVALID_HANDLE);
        (handle, found)
    }

    /// Shape, and what a forward pass kept.
    fn layer_state(&self, layer: Option<usize>) -> (Shape, Option<i64>) {
        layer.map_or((NO_SHAPE, None), |i| (self.layers[i].shape, self.layers[i].kept))
    }

    /// The first and last layer of a network.
    fn ends(&self, network: Option<usize>) -> (Shape, Shape) {
        let shapes = network.map_or(&[NO_SHAPE][..], |i| &self.networks[i].shapes);
        (shapes[0], shapes[shapes.len() - 1])
    }

    /// The call uses the parameters of a layer, which it may need to have.
    fn uses(&self, frame: &mut Frame, layer: Option<usize>, written: bool, needed: bool) {
        match layer.map(|i| &self.layers[i].params) {
            Some(Params::None) => frame.demand(!needed, INTERNEURON_WRONG_ORDER),
            Some(Params::Attached(slots)) => slots.iter().flatten().for_each(|slot| frame.implicit(slot, written)),
            _ => {}
        }
    }

    /// Checks the outcome of a call.
    fn finish(&mut self, frame: Frame, status: i32) -> bool {
        let (ok, hash) = frame.check(status, &mut self.last_error);
        self.trace.extend([status as u64, hash]);
        ok
    }

    /// Checks the outcome of a call that creates something, and takes note of its handle.
    fn finish_create(&mut self, frame: Frame, status: i32, out: *const u64) -> Option<u64> {
        let handle = frame.content(out, 1);
        let (ok, _) = frame.check(status, &mut self.last_error);
        self.trace.push(status as u64);
        let handle = *handle.first().filter(|_| ok)?;
        assert!(handle != 0 && !self.ever.contains(&handle));
        self.ever.push(handle);
        Some(handle)
    }

    /// Checks the outcome of a call with a layer, and that its own parameters change only where they should.
    fn finish_layer(&mut self, frame: Frame, status: i32, layer: Option<usize>, changes: bool) -> bool {
        let ok = self.finish(frame, status);
        if let Some(i) = layer {
            self.layers[i].see(ok && changes);
        }
        ok
    }

    /// As [`World::finish_layer`].
    fn finish_network(&mut self, frame: Frame, status: i32, network: Option<usize>, changes: bool) {
        let ok = self.finish(frame, status);
        if let Some(i) = network {
            self.networks[i].see(ok && changes);
        }
    }

    fn call(&mut self, call: Call) {
        match call {
            Call::Info => {
                assert_eq!(interneuron_abi_version(), 1);
                // SAFETY: a string that is never freed.
                assert!(!unsafe { CStr::from_ptr(interneuron_version()) }.is_empty());
            }
            Call::IsaCount(count) => {
                let mut frame = self.frame();
                let count = frame.array(count, 1, Role::Output, |_| 0);
                // SAFETY: all arguments are of the frame.
                let status = unsafe { interneuron_isa_count(count) };
                self.finish(frame, status);
            }
            Call::IsaName(i, name) => {
                let (mut frame, i) = (self.frame(), i.get());
                frame.demand((0..isas().len() as i64).contains(&i), INTERNEURON_INVALID_ARGUMENT);
                let name = frame.array(name, 1, Role::Output, |_| null());
                // SAFETY: all arguments are of the frame.
                let status = unsafe { interneuron_isa_name(i, name) };
                self.finish(frame, status);
            }
            Call::ContextCreate(choice) => self.context_create(choice),
            Call::LayerCreate(choice) => self.layer_create(choice),
            Call::NetworkCreate(choice) => self.network_create(choice),
            Call::Free(kind, handle) => self.free(kind, handle),
            Call::Init(layer, seed, rectified) => {
                let mut frame = self.frame();
                let ((layer, found), rectified) = (self.layer(&mut frame, layer), rectified.get());
                let (shape, _) = self.layer_state(found);
                if !shape.is_huge() && !self.spend(shape.work(1)) {
                    return;
                }
                frame.demand(!shape.is_huge(), INTERNEURON_OUT_OF_RESOURCES);
                demand_flag(&mut frame, rectified);
                self.uses(&mut frame, found, true, false);
                // SAFETY: attached arrays are alive.
                let status = unsafe { interneuron_layer_init(layer, seed, rectified) };
                self.finish_layer(frame, status, found, true);
            }
            Call::Attach(layer, arrays) => {
                let mut frame = self.frame();
                let (layer, found) = self.layer(&mut frame, layer);
                let (shape, _) = self.layer_state(found);
                let (arrays, pointers) = six(&mut frame, arrays, &shape, Role::Kept);
                // SAFETY: all arguments are of the frame; the layer keeps the arrays.
                let status = unsafe { interneuron_layer_attach(layer, arrays) };
                let slots = pointers.map(|pointer| frame.slot(pointer));
                if self.finish(frame, status) {
                    self.layers[found.unwrap()].params = Params::Attached(slots);
                }
            }
            Call::Detach(layer) => {
                let mut frame = self.frame();
                let (layer, found) = self.layer(&mut frame, layer);
                self.uses(&mut frame, found, false, true);
                let own = found.is_some_and(|i| matches!(self.layers[i].params, Params::Own(_)));
                frame.demand(!own, INTERNEURON_WRONG_ORDER);
                // SAFETY: attached arrays are alive.
                let status = unsafe { interneuron_layer_detach(layer) };
                if self.finish(frame, status) {
                    let layer = &mut self.layers[found.unwrap()];
                    let Params::Attached(slots) = &layer.params else { panic!("detached from nothing") };
                    layer.params =
                        Params::Own(slots.each_ref().map(|slot| slot.as_ref().map_or(vec![], Slot::content)));
                    layer.see(false);
                }
            }
            Call::Forward { ready, training, layer, batch, x, h } => {
                self.ready(ready, layer, None);
                let mut frame = self.frame();
                let (layer, found) = self.layer(&mut frame, layer);
                let (shape, kept) = self.layer_state(found);
                let batch = batch.get(kept);
                self.uses(&mut frame, found, false, true);
                let Some(x) = self.matrix(&mut frame, x, batch, &shape) else { return };
                let h = output(&mut frame, h, batch, shape.ne, Role::Output);
                let pass = if training { interneuron_layer_forward } else { interneuron_layer_infer };
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                let status = unsafe { pass(layer, batch, x, h) };
                if self.finish_layer(frame, status, found, false) {
                    self.layers[found.unwrap()].kept = training.then_some(batch);
                }
            }
            Call::Backward { ready, layer, batch, x, dh, gradients, dx } => {
                self.ready(ready, layer, Some(batch));
                let mut frame = self.frame();
                let (layer, found) = self.layer(&mut frame, layer);
                let (shape, kept) = self.layer_state(found);
                let batch = batch.get(kept);
                frame.demand(kept == Some(batch), INTERNEURON_WRONG_ORDER);
                self.uses(&mut frame, found, false, true);
                let Some(x) = self.matrix(&mut frame, x, batch, &shape) else { return };
                let dh = input(&mut frame, dh, batch, shape.ne);
                let gradients = gradients.filter(|gradients| !gradients.config.0.is_null());
                let gradients =
                    gradients.map_or(null(), |gradients| six(&mut frame, gradients, &shape, Role::Wanted).0);
                let dx = output(&mut frame, dx, batch, shape.d, Role::Wanted);
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                let status = unsafe { interneuron_layer_backward(layer, batch, x, dh, gradients, dx) };
                if self.finish_layer(frame, status, found, false) {
                    self.layers[found.unwrap()].kept = None;
                }
            }
            Call::Update { ready, layer, batch, x, dh, update, dx } => {
                self.ready(ready, layer, Some(batch));
                let mut frame = self.frame();
                let (layer, found) = self.layer(&mut frame, layer);
                let (shape, kept) = self.layer_state(found);
                let batch = batch.get(kept);
                frame.demand(kept == Some(batch), INTERNEURON_WRONG_ORDER);
                self.uses(&mut frame, found, true, true);
                let Some(x) = self.matrix(&mut frame, x, batch, &shape) else { return };
                let dh = input(&mut frame, dh, batch, shape.ne);
                let update = step(&mut frame, update, true);
                let dx = output(&mut frame, dx, batch, shape.d, Role::Wanted);
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                let status = unsafe { interneuron_layer_update(layer, batch, x, dh, update, dx) };
                if self.finish_layer(frame, status, found, true) {
                    self.layers[found.unwrap()].kept = None;
                }
            }
            Call::Inhibition { ready, layer, batch, zi, zhat, y } => {
                self.ready(ready, layer, Some(batch));
                let mut frame = self.frame();
                let (layer, found) = self.layer(&mut frame, layer);
                let (shape, kept) = self.layer_state(found);
                let batch = batch.get(kept);
                self.uses(&mut frame, found, false, true);
                let zi = output(&mut frame, zi, batch, shape.ni.max(1), Role::Wanted);
                let [zhat, y] = [zhat, y].map(|place| output(&mut frame, place, batch, shape.ne, Role::Wanted));
                let divides = !zhat.is_null() || !y.is_null();
                frame.demand(shape.ni > 0 && (shape.divisive || !divides), INTERNEURON_INVALID_ARGUMENT);
                if (divides || !zi.is_null()) && kept != Some(batch) {
                    frame.demand(false, INTERNEURON_WRONG_ORDER);
                    frame.demand(kept.is_none(), INTERNEURON_INVALID_ARGUMENT);
                }
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                let status = unsafe { interneuron_layer_inhibition(layer, batch, zi, zhat, y) };
                self.finish_layer(frame, status, found, false);
            }
            Call::LayerCount(network, count) => {
                let mut frame = self.frame();
                let (network, found) = self.network(&mut frame, network);
                let count = frame.array(count, 1, Role::Output, |_| 0);
                // SAFETY: all arguments are of the frame.
                let status = unsafe { interneuron_network_layer_count(network, count) };
                let told = frame.content(count, 1);
                if self.finish(frame, status) {
                    assert_eq!(told, [self.networks[found.unwrap()].shapes.len() as i64]);
                }
            }
            Call::ParameterCount(of, count) => {
                let mut frame = self.frame();
                let target = self.target(&mut frame, of);
                self.uses(&mut frame, target.layer, false, false);
                let count = frame.array(count, 1, Role::Output, |_| 0);
                // SAFETY: all arguments are of the frame.
                let status = unsafe {
                    match of {
                        Of::Layer(_) => interneuron_layer_parameter_count(target.handle, count),
                        Of::Network(..) => interneuron_network_parameter_count(target.handle, target.k, count),
                    }
                };
                let told = frame.content(count, 1);
                if self.finish(frame, status) {
                    assert_eq!(told, [target.there().len() as i64]);
                }
            }
            Call::Parameter { of, i, name, rows, columns } => {
                let mut frame = self.frame();
                let (target, i) = (self.target(&mut frame, of), i.get());
                self.uses(&mut frame, target.layer, false, false);
                frame.demand((0..target.there().len() as i64).contains(&i), INTERNEURON_INVALID_ARGUMENT);
                let name = frame.array(name, 1, Role::Wanted, |_| null());
                let [rows, columns] = [rows, columns].map(|place| frame.array(place, 1, Role::Wanted, |_| 0));
                // SAFETY: all arguments are of the frame.
                let status = unsafe {
                    match of {
                        Of::Layer(_) => interneuron_layer_parameter(target.handle, i, name, rows, columns),
                        Of::Network(..) => {
                            interneuron_network_parameter(target.handle, target.k, i, name, rows, columns)
                        }
                    }
                };
                let (told, wanted) = ([rows, columns].map(|out| frame.content(out, 1)).concat(), !rows.is_null());
                if self.finish(frame, status) && wanted && !columns.is_null() {
                    assert_eq!(told.iter().product::<i64>(), target.there()[i as usize] as i64);
                }
            }
            Call::SetParameters(of, arrays) => {
                let mut frame = self.frame();
                let target = self.target(&mut frame, of);
                let (arrays, pointers) = six(&mut frame, arrays, &target.shape, Role::Input);
                for (j, (pointer, len)) in pointers.into_iter().zip(target.shape.lengths()).enumerate() {
                    let signed = target.shape.ni == 0 || j == 3 || j == 5;
                    let fine = |value: &f32| value.is_finite() && (signed || *value >= 0.0);
                    frame.demand(frame.content(pointer, len).iter().all(fine), INTERNEURON_INVALID_ARGUMENT);
                }
                self.uses(&mut frame, target.layer, true, false);
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                unsafe {
                    match of {
                        Of::Layer(_) => {
                            let status = interneuron_layer_set_parameters(target.handle, arrays);
                            self.finish_layer(frame, status, target.layer, true);
                        }
                        Of::Network(..) => {
                            let status = interneuron_network_set_parameters(target.handle, target.k, arrays);
                            self.finish_network(frame, status, target.network, true);
                        }
                    }
                }
            }
            Call::GetParameters(of, arrays) => {
                let mut frame = self.frame();
                let target = self.target(&mut frame, of);
                let (arrays, _) = six(&mut frame, arrays, &target.shape, Role::Wanted);
                self.uses(&mut frame, target.layer, false, true);
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                unsafe {
                    match of {
                        Of::Layer(_) => {
                            let status = interneuron_layer_get_parameters(target.handle, arrays);
                            self.finish_layer(frame, status, target.layer, false);
                        }
                        Of::Network(..) => {
                            let status = interneuron_network_get_parameters(target.handle, target.k, arrays);
                            self.finish_network(frame, status, target.network, false);
                        }
                    }
                }
            }
            Call::TrainStep { network, batch, x, labels, update, loss } => {
                let mut frame = self.frame();
                let (network, found) = self.network(&mut frame, network);
                let batch = batch.get(None);
                let Some((x, labels)) = self.examples(&mut frame, found, batch, x, labels) else { return };
                let inputs = self.ends(found).0.d;
                let numbers = rows(&mut frame, batch, inputs).saturating_mul(inputs);
                let finite = frame.content(x, numbers).iter().all(|x| x.is_finite());
                frame.demand(finite, INTERNEURON_INVALID_ARGUMENT);
                let update = step(&mut frame, update, false);
                let loss = frame.array(loss, 1, Role::Wanted, |_| 0.0);
                frame.excuse(INTERNEURON_DIVERGED);
                // They may make divisors negative.
                if frame.content(x, numbers).iter().any(|&x| x < 0.0) {
                    frame.excuse(INTERNEURON_INVALID_ARGUMENT);
                }
                // SAFETY: all arguments are of the frame.
                let status = unsafe { interneuron_network_train_step(network, batch, x, labels, update, loss) };
                self.finish_network(frame, status, found, true);
            }
            Call::Evaluate { network, batch, x, labels, loss, errors } => {
                let mut frame = self.frame();
                let (network, found) = self.network(&mut frame, network);
                let batch = batch.get(None);
                let Some((x, labels)) = self.examples(&mut frame, found, batch, x, labels) else { return };
                let loss = frame.array(loss, 1, Role::Wanted, |_| 0.0);
                let errors = frame.array(errors, 1, Role::Wanted, |_| 0);
                // SAFETY: all arguments are of the frame.
                let status = unsafe { interneuron_network_evaluate(network, batch, x, labels, loss, errors) };
                self.finish_network(frame, status, found, false);
            }
            Call::Logits { network, batch, x, logits } => {
                let mut frame = self.frame();
                let (network, found) = self.network(&mut frame, network);
                let batch = batch.get(None);
                let (first, last) = self.ends(found);
                if !self.spend_network(found, rows(&mut frame, batch, first.d)) {
                    return;
                }
                let x = input(&mut frame, x, batch, first.d);
                let logits = output(&mut frame, logits, batch, last.ne, Role::Output);
                // SAFETY: all arguments are of the frame.
                let status = unsafe { interneuron_network_logits(network, batch, x, logits) };
                self.finish_network(frame, status, found, false);
            }
            Call::Race(layer, racers) => self.race(layer.into(), racers),
        }
    }

    fn context_create(&mut self, NewContext { threads, isa, config, out }: NewContext) {
        if self.contexts.len() == 3 {
            return;
        }
        let mut frame = self.frame();
        // A version without the field has no name.
        let isa = isa.get().filter(|_| config.size(&CONTEXT_SIZES) > CONTEXT_SIZES[0] as u64);
        let text = isa.map(|name| frame.string(name));
        let default = ContextConfig { size: 0, threads: 0, isa: null() };
        let value = ContextConfig { threads: threads.get(self.second), isa: text.unwrap_or(null()), ..default };
        let (config, effective) = frame.structure(config, &CONTEXT_SIZES, default, value);
        let out = frame.array(out.apart(), 1, Role::Output, |_| 0);
        frame.demand((0..=1024).contains(&effective.threads), INTERNEURON_INVALID_ARGUMENT);
        let known = effective.isa.is_null() || isas().iter().any(|known| Some(known.as_bytes()) == isa);
        frame.demand(known, INTERNEURON_UNSUPPORTED);
        // SAFETY: all arguments are of the frame.
        let status = unsafe { interneuron_context_create(config, out) };
        let handle = self.finish_create(frame, status, out);
        self.contexts.extend(handle);
    }

    fn layer_create(&mut self, choice: NewLayer) {
        if self.layers.len() == 4 {
            return;
        }
        let mut frame = self.frame();
        let context = self.context(&mut frame, choice.context);
        // SAFETY: numbers.
        let default = LayerConfig { divisive: 1, ..unsafe { std::mem::zeroed() } };
        let (nonlinearity, divisive) = (choice.nonlinearity.get(), 1_i64.wrapping_sub(choice.subtractive.get()));
        let ni = choice.ni.map_or(0, |ni| ni.get(6));
        let (d, ne) = (choice.d.get(20), choice.ne.get(20));
        let value = LayerConfig { d, ne, ni, nonlinearity, divisive, ..default };
        let (config, LayerConfig { d, ne, ni, nonlinearity, divisive, .. }) =
            frame.structure(choice.config, &LAYER_SIZES, default, value);
        let out = frame.array(choice.out.apart(), 1, Role::Output, |_| 0);
        demand_flag(&mut frame, nonlinearity);
        demand_flag(&mut frame, divisive);
        let size = |frame: &mut Frame, value: i64, least: i64| {
            frame.demand(value >= least, INTERNEURON_INVALID_ARGUMENT);
            value.max(least) as usize
        };
        let (d, ne, ni) = (size(&mut frame, d, 1), size(&mut frame, ne, 1), size(&mut frame, ni, 0));
        let shape = Shape { d, ne, ni, divisive: divisive == 1 };
        frame.demand(!shape.overflows(), INTERNEURON_INVALID_ARGUMENT);
        // SAFETY: all arguments are of the frame.
        let status = unsafe { interneuron_layer_create(context, config, out) };
        let handle = self.finish_create(frame, status, out);
        self.layers.extend(handle.map(|handle| Layer { handle, shape, kept: None, params: Params::None }));
    }

    fn network_create(&mut self, choice: NewNetwork) {
        if self.networks.len() == 3 {
            return;
        }
        let mut frame = self.frame();
        let context = self.context(&mut frame, choice.context);
        let layers = choice.layers.get();
        let allowed = (1..=1024).contains(&layers);
        frame.demand(allowed, INTERNEURON_INVALID_ARGUMENT);
        let count = if allowed { layers as usize } else { 4 };
        let (place, dims) = choice.dims;
        let dims = frame.array(place.apart(), count + 1, Role::Input, |i| dims[i % 5].get(20));
        // A version without the field is one without interneurons.
        let nis = choice.nis.filter(|_| choice.config.size(&NETWORK_SIZES) > NETWORK_SIZES[0] as u64);
        let nis = nis.map_or(null_mut(), |(place, nis)| {
            let place = if place.is_null() { Place::default() } else { place };
            frame.array(place.apart(), count, Role::Input, |i| nis[i % 4].get(6))
        });
        // SAFETY: numbers and pointers that may be NULL.
        let default: NetworkConfig = unsafe { std::mem::zeroed() };
        let value = NetworkConfig { layers, dims, nis, seed: choice.seed, ..default };
        let (config, _) = frame.structure(choice.config, &NETWORK_SIZES, default, value);
        let out = frame.array(choice.out.apart(), 1, Role::Output, |_| 0);
        let (dims, nis) = (frame.content(dims, count + 1), frame.content(nis, count));
        let positive = dims.iter().chain(&nis).all(|&n| n >= 1);
        frame.demand(positive, INTERNEURON_INVALID_ARGUMENT);
        let shape = |(k, pair): (usize, &[i64])| {
            let ni = nis.get(k).copied().unwrap_or(0);
            let [d, ne, ni] = [pair[0], pair[1], ni].map(|n| n.max(0) as usize);
            Shape { d, ne, ni, divisive: true }
        };
        let shapes: Vec<_> = dims.windows(2).enumerate().map(shape).collect();
        frame.demand(!shapes.iter().any(Shape::overflows), INTERNEURON_INVALID_ARGUMENT);
        let huge = shapes.iter().any(Shape::is_huge);
        frame.demand(!huge, INTERNEURON_OUT_OF_RESOURCES);
        if !self.spend(if huge { 0 } else { shapes.iter().map(|shape| shape.work(1)).sum() }) {
            return;
        }
        // SAFETY: all arguments are of the frame.
        let status = unsafe { interneuron_network_create(context, config, out) };
        if let Some(handle) = self.finish_create(frame, status, out) {
            let mut network = Network { handle, shapes, params: vec![] };
            network.see(true);
            self.networks.push(network);
        }
    }

    fn free(&mut self, kind: Kind, choice: Handle) {
        let mut frame = self.frame();
        let handle = self.handle(kind, choice);
        let (free, live): (extern "C" fn(u64) -> i32, _) = match kind {
            Kind::Context => (interneuron_context_free, self.contexts.contains(&handle)),
            Kind::Layer => (interneuron_layer_free, self.layers.iter().any(|layer| layer.handle == handle)),
            Kind::Network => (interneuron_network_free, self.networks.iter().any(|n| n.handle == handle)),
        };
        frame.demand(live, INTERNEURON_INVALID_HANDLE);
        if self.finish(frame, free(handle)) {
            self.forget(handle);
        }
    }

    /// Gives a layer parameters if it has none, and makes a forward pass if none is there for a call with such a batch.
    fn ready(&mut self, Ready(byte): Ready, handle: Handle, batch: Option<Batch>) {
        let (_, layer) = self.layer(&mut self.frame(), handle);
        let Some(i) = layer.filter(|_| byte < 224) else { return };
        if let Params::None = self.layers[i].params {
            self.call(Call::Init(handle, 0, Flag::default()));
        }
        if let (Some(batch), None) = (batch, self.layers[i].kept) {
            let (ready, x, h) = (Ready(255), Default::default(), Place::default());
            self.call(Call::Forward { ready, training: true, layer: handle, batch, x, h });
        }
    }

    /// The handle was freed.
    fn forget(&mut self, handle: u64) {
        self.contexts.retain(|&context| context != handle);
        self.layers.retain(|layer| layer.handle != handle);
        self.networks.retain(|network| network.handle != handle);
    }

    /// The input of a layer, unless the program may not spend so much.
    fn matrix(&mut self, frame: &mut Frame, x: (Place, Fill), batch: i64, shape: &Shape) -> Option<*const f32> {
        let work = if shape.is_huge() { 0 } else { shape.work(rows(frame, batch, shape.d)) };
        self.spend(work).then(|| input(frame, x, batch, shape.d))
    }

    fn spend_network(&mut self, network: Option<usize>, batch: usize) -> bool {
        let work = network.map_or(0, |i| self.networks[i].shapes.iter().map(|shape| shape.work(batch)).sum());
        self.spend(work)
    }

    /// Examples and labels of a network, unless the program may not spend so much.
    fn examples(
        &mut self,
        frame: &mut Frame,
        network: Option<usize>,
        batch: i64,
        x: (Place, Fill),
        (place, fill): (Place, Fill),
    ) -> Option<(*const f32, *const u32)> {
        let (first, last) = self.ends(network);
        let rows = rows(frame, batch, first.d);
        if !self.spend_network(network, rows) {
            return None;
        }
        let x = input(frame, x, batch, first.d);
        let labels = frame.array(place, rows, Role::Input, |i| fill.label(i, last.ne));
        let fine = frame.content(labels, rows).iter().all(|&label| (label as usize) < last.ne);
        frame.demand(fine, INTERNEURON_INVALID_ARGUMENT);
        Some((x, labels))
    }

    fn target(&self, frame: &mut Frame, of: Of) -> Target {
        match of {
            Of::Layer(layer) => {
                let (handle, layer) = self.layer(frame, layer);
                Target { handle, k: 0, layer, network: None, shape: self.layer_state(layer).0 }
            }
            Of::Network(network, k) => {
                let ((handle, network), k) = (self.network(frame, network), k.get());
                let shapes = network.map_or(&[][..], |i| &self.networks[i].shapes);
                let shape = usize::try_from(k).ok().and_then(|k| shapes.get(k));
                frame.demand(network.is_none() || shape.is_some(), INTERNEURON_INVALID_ARGUMENT);
                Target { handle, k, layer: None, network, shape: *shape.unwrap_or(&NO_SHAPE) }
            }
        }
    }

    /// Two threads call the same layer at the same time, each a few times.
    fn race(&mut self, i: usize, racers: [Racer; 2]) {
        let i = i % self.layers.len().max(1);
        let Some(&Layer { handle, shape, .. }) = self.layers.get(i) else { return };
        if shape.is_huge() || !self.spend(shape.work(16)) {
            return;
        }
        let allowed = |status| match status {
            INTERNEURON_OK | INTERNEURON_BUSY | INTERNEURON_WRONG_ORDER => true,
            INTERNEURON_INVALID_HANDLE => racers.contains(&Racer::Free),
            _ => false,
        };
        let run = |racer| {
            (0..4).any(|_| {
                let status = racer_call(racer, handle, &shape);
                assert!(allowed(status), "{racer:?} of {racers:?} returned {status}: {}", last_error());
                racer == Racer::Free && status == INTERNEURON_OK
            })
        };
        let freed = std::thread::scope(|scope| {
            let [a, b] = racers.map(|racer| scope.spawn(move || run(racer)));
            [a.join().unwrap(), b.join().unwrap()]
        });
        match freed {
            [true, true] => panic!("freed twice"),
            [false, false] => {
                // Whichever call came last, what is there from now on is known.
                if racers.contains(&Racer::Init) {
                    assert_eq!(racer_call(Racer::Init, handle, &shape), INTERNEURON_OK);
                }
                racer_call(Racer::Infer, handle, &shape);
                self.last_error = last_error();
                self.layers[i].kept = None;
                let layer = &mut self.layers[i];
                layer.see(racers.contains(&Racer::Init) || !matches!(layer.params, Params::None));
            }
            _ => self.forget(handle),
        }
    }

    /// Checks what is still there, frees it, and asserts that no handle names anything.
    fn end(&mut self) {
        self.layers.iter_mut().for_each(|layer| layer.see(false));
        self.networks.iter_mut().for_each(|network| network.see(false));
        let free: [extern "C" fn(u64) -> i32; 3] =
            [interneuron_context_free, interneuron_network_free, interneuron_layer_free];
        let live = [
            self.contexts.clone(),
            self.networks.iter().map(|network| network.handle).collect(),
            self.layers.iter().map(|layer| layer.handle).collect(),
        ];
        for (free, live) in free.into_iter().zip(live) {
            live.into_iter().for_each(|handle| assert_eq!(free(handle), INTERNEURON_OK));
        }
        for &handle in &self.ever {
            free.into_iter().for_each(|free| assert_eq!(free(handle), INTERNEURON_INVALID_HANDLE));
        }
    }
}

/// What a call that layers and networks have is about.
struct Target {
    handle: u64,
    k: i64,
    layer: Option<usize>,
    network: Option<usize>,
    shape: Shape,
}

impl Target {
    /// The lengths of the arrays that there are.
    fn there(&self) -> Vec<usize> {
        self.shape.lengths().into_iter().filter(|&len| len > 0).collect()
    }
}

impl Layer {
    /// Takes note of parameters that changed, or asserts that they did not. (Attached arrays are watched otherwise.)
    fn see(&mut self, changed: bool) {
        let Self { handle, shape, params, .. } = self;
        match params {
            Params::Own(before) => {
                let now = parameters(shape, |arrays| {
                    // SAFETY: arrays of the layer's lengths.
                    unsafe { interneuron_layer_get_parameters(*handle, arrays) }
                });
                assert!(changed || now == *before, "parameters of a layer changed");
                *before = now;
            }
            Params::None if changed => {
                *params = Params::Own(Default::default());
                self.see(true);
            }
            _ => {}
        }
    }
}

impl Network {
    /// As [`Layer::see`].
    fn see(&mut self, changed: bool) {
        let now = (0..).zip(&self.shapes).map(|(k, shape)| {
            parameters(shape, |arrays| {
                // SAFETY: arrays of the layer's lengths.
                unsafe { interneuron_network_get_parameters(self.handle, k, arrays) }
            })
        });
        let now: Vec<_> = now.collect();
        assert!(changed || now == self.params, "parameters of a network changed");
        self.params = now;
    }
}

/// The bits of all parameters of a layer, which `get` copies out.
fn parameters(shape: &Shape, get: impl FnOnce(&Arrays) -> i32) -> Six<Vec<u32>> {
    let mut arrays = shape.lengths().map(|len| vec![0.0_f32; len]);
    let [wex, wix, wei, alpha, g, b] =
        arrays.each_mut().map(|array| if array.is_empty() { null_mut() } else { array.as_mut_ptr() });
    // SAFETY: numbers and pointers that may be NULL.
    let null: Arrays = unsafe { std::mem::zeroed() };
    let status = get(&Arrays { size: size_of::<Arrays>() as u64, wex, wix, wei, alpha, g, b, ..null });
    assert_eq!(status, INTERNEURON_OK, "{}", last_error());
    arrays.map(|array| array.iter().map(|value| value.to_bits()).collect())
}

/// The rows of an array, or one if there cannot be so many.
fn rows(frame: &mut Frame, batch: i64, width: usize) -> usize {
    let fits = (batch as u128).checked_mul(4 * width as u128).is_some_and(|bytes| bytes <= isize::MAX as u128);
    frame.demand(batch >= 1 && fits, INTERNEURON_INVALID_ARGUMENT);
    if (1..=4096).contains(&batch) { batch as usize } else { 1 }
}

fn input(frame: &mut Frame, (place, fill): (Place, Fill), batch: i64, width: usize) -> *const f32 {
    let len = rows(frame, batch, width).saturating_mul(width);
    frame.array(place, len, Role::Input, |i| fill.get(i))
}

fn output(frame: &mut Frame, place: Place, batch: i64, width: usize, role: Role) -> *mut f32 {
    let len = rows(frame, batch, width).saturating_mul(width);
    frame.array(place, len, role, |_| 0.0)
}

/// The arrays of a layer: the struct, and its pointers.
fn six(frame: &mut Frame, choice: Parameters, shape: &Shape, role: Role) -> (*const Arrays, Six<*mut f32>) {
    let Parameters { config, fill, unwanted, elsewhere } = choice;
    let mut pointers = [null_mut(); 6];
    for (j, (pointer, len)) in pointers.iter_mut().zip(shape.lengths()).enumerate() {
        let place = elsewhere.into_iter().find(|&(at, _)| usize::from(at % 6) == j && at >= 128);
        let place = place.map_or(Place::own(unwanted >> j & 1 == 0), |(_, place)| place);
        if len > 0 {
            *pointer = frame.array(place, len, role, |i| fill.get(i));
        } else if place.is_shared() {
            // The layer has no such array.
            *pointer = frame.array(place, 1, Role::Input, |_| 0.0);
            frame.demand(pointer.is_null(), INTERNEURON_INVALID_ARGUMENT);
        }
    }
    let [wex, wix, wei, alpha, g, b] = pointers;
    // SAFETY: numbers and pointers that may be NULL.
    let default: Arrays = unsafe { std::mem::zeroed() };
    let value = Arrays { wex, wix, wei, alpha, g, b, ..default };
    (frame.structure(config, &ARRAYS_SIZES, default, value).0, pointers)
}

/// A step of a single layer, or of a network.
fn step(frame: &mut Frame, step: Step, single: bool) -> *const UpdateConfig {
    let Step { config, lr, corrections, factors, momentum, nesterov, clip, clip_scope } = step;
    let six = |frame: &mut Frame, numbers: Option<(Place, [Rate; 2])>, least| {
        let numbers = numbers.filter(|(place, _)| config.size(&UPDATE_SIZES) >= least && !place.is_null());
        numbers.map_or(null_mut(), |(place, rates)| frame.array(place, 6, Role::Input, |i| rates[i % 2].get()))
    };
    let (factors, momentum) = (six(frame, factors, 32), six(frame, momentum, 144));
    // SAFETY: numbers and pointers that may be NULL.
    let default: UpdateConfig = unsafe { std::mem::zeroed() };
    let value = UpdateConfig {
        lr: lr.get(),
        corrections: corrections.get(),
        factors,
        momentum,
        nesterov: nesterov.get(),
        clip: clip.get(),
        clip_scope: clip_scope.get(),
        ..default
    };
    let (update, effective) = frame.structure(config, &UPDATE_SIZES, default, value);
    demand_flag(frame, effective.corrections);
    demand_flag(frame, effective.nesterov);
    frame.demand((0..=2).contains(&effective.clip_scope), INTERNEURON_INVALID_ARGUMENT);
    // As the library will round them.
    let valid = |x: f64| x >= 0.0 && (x as f32).is_finite();
    frame.demand(valid(effective.lr), INTERNEURON_INVALID_ARGUMENT);
    let clip = effective.clip;
    frame.demand(clip == 0.0 || (valid(clip) && clip as f32 > 0.0), INTERNEURON_INVALID_ARGUMENT);
    frame.demand(clip == 0.0 || effective.clip_scope < 2 || !single, INTERNEURON_INVALID_ARGUMENT);
    let mut factors = frame.content(factors, 6).into_iter();
    frame.demand(factors.all(|factor| valid(factor) && valid(factor * effective.lr)), INTERNEURON_INVALID_ARGUMENT);
    let mut momentum = frame.content(momentum, 6).into_iter();
    frame.demand(momentum.all(|momentum| valid(momentum) && (momentum as f32) < 1.0), INTERNEURON_INVALID_ARGUMENT);
    update
}

fn demand_flag(frame: &mut Frame, value: i64) {
    frame.demand(value == 0 || value == 1, INTERNEURON_INVALID_ARGUMENT);
}

/// One call of one of two threads. What it does not succeed in it leaves alone.
fn racer_call(racer: Racer, handle: u64, shape: &Shape) -> i32 {
    let (x, dh) = (vec![0.5_f32; shape.d], vec![0.25_f32; shape.ne]);
    let mut h = vec![-77.0_f32; shape.ne];
    // SAFETY: numbers and pointers that may be NULL.
    let update = UpdateConfig { size: 16, lr: 0.1, ..unsafe { std::mem::zeroed() } };
    // SAFETY: arrays for one example and of the layer's lengths.
    let status = unsafe {
        match racer {
            Racer::Forward => interneuron_layer_forward(handle, 1, x.as_ptr(), h.as_mut_ptr()),
            Racer::Infer => interneuron_layer_infer(handle, 1, x.as_ptr(), h.as_mut_ptr()),
            Racer::Update => interneuron_layer_update(handle, 1, x.as_ptr(), dh.as_ptr(), &update, null_mut()),
            Racer::Init => interneuron_layer_init(handle, 1, 0),
            Racer::Get => {
                let arrays = Arrays { size: 56, b: h.as_mut_ptr(), ..std::mem::zeroed() };
                interneuron_layer_get_parameters(handle, &arrays)
            }
            Racer::Free => interneuron_layer_free(handle),
        }
    };
    assert!(status == INTERNEURON_OK || h.iter().all(|&h| h == -77.0), "{racer:?} failed and wrote");
    status
}

/// The names of the instruction sets that there are.
fn isas() -> Vec<&'static str> {
    let mut count = 0;
    let mut name: *const c_char = null();
    // SAFETY: pointers to locals.
    assert_eq!(unsafe { interneuron_isa_count(&mut count) }, INTERNEURON_OK);
    let names = (0..count).map(|i| {
        // SAFETY: a pointer to a local; then a string that is never freed.
        unsafe {
            assert_eq!(interneuron_isa_name(i, &mut name), INTERNEURON_OK);
            CStr::from_ptr(name).to_str().unwrap()
        }
    });
    names.collect()
}

/// Lets the allocator of AddressSanitizer refuse what is too large, as others do.
#[unsafe(no_mangle)]
extern "C" fn __asan_default_options() -> *const c_char {
    c"allocator_may_return_null=1".as_ptr()
}

fn run(calls: &[Call], second: bool) -> Vec<u64> {
    let mut world = World::new(second);
    calls.iter().for_each(|&call| world.call(call));
    world.end();
    world.trace
}

fuzz_target!(|program: Program| {
    let Program { twice, calls } = program;
    let trace = run(&calls, false);
    // Who wins a race may differ.
    if twice && !calls.iter().any(|call| matches!(call, Call::Race(..))) {
        assert!(run(&calls, true) == trace, "the results depend on the threads or on what outputs held before");
    }
});
