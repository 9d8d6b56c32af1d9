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
use draw::{
    Batch, Choice, Dim, File, FileName, Fill, Flag, Handle, Index, Isa, Layers, Place, Rate, StateName, Stride, Struct,
    Threads, Which,
};
use frame::{Eight, Extent, Frame, MOST, Memory, Role, Slot, last_error};
use interneuron_capi::*;
use libfuzzer_sys::fuzz_target;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::{null, null_mut};
use std::rc::Rc;
use std::sync::OnceLock;

/// A call of each entry point; those that layers and networks both have are one, and so are those with and without strides.
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
        x: Given,
        h: Wanted,
    },
    Backward {
        ready: Ready,
        layer: Handle,
        batch: Batch,
        x: Given,
        dh: Given,
        gradients: Option<Parameters>,
        dx: Wanted,
    },
    Update {
        ready: Ready,
        layer: Handle,
        batch: Batch,
        x: Given,
        dh: Given,
        update: Step,
        dx: Wanted,
    },
    /// A step of a layer, or of a network.
    Apply(bool, Handle, Step, Parameters),
    AttachNetwork(Handle, Parameters),
    DetachNetwork(Handle),
    Inhibition {
        ready: Ready,
        layer: Handle,
        batch: Batch,
        zi: Wanted,
        zhat: Wanted,
        y: Wanted,
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
        x: Given,
        logits: Wanted,
    },
    TrainTarget {
        network: Handle,
        batch: Batch,
        x: Given,
        target: Aim,
        update: Step,
        loss: Place,
    },
    EvaluateTarget {
        network: Handle,
        batch: Batch,
        x: Given,
        target: Aim,
        loss: Place,
        errors: Place,
    },
    TrainWith {
        network: Handle,
        batch: Batch,
        x: Given,
        /// Whether the loss is for the other element.
        other: u8,
        compute: Compute,
        update: Step,
        loss: Place,
    },
    Gradients {
        network: Handle,
        batch: Batch,
        x: Given,
        target: Aim,
        gradients: Parameters,
        loss: Place,
    },
    Inspect {
        network: Handle,
        batch: Batch,
        x: Given,
        target: Aim,
        update: Step,
        statistics: (Place, Choice),
    },
    StateCount(Of, Place),
    StateName(Of, Index, Place),
    StateSize {
        of: Of,
        name: StateName,
        i: Index,
        rows: Place,
        columns: Place,
    },
    GetState(Of, StateName, Parameters),
    SetState(Of, StateName, Parameters),
    Save(Handle, FileName, u64),
    Load {
        context: Handle,
        file: FileName,
        double: bool,
        out: Place,
        seed: Place,
    },
    GetScaler(Handle, [Place; 3]),
    SetScaler(Handle, [(Place, Fill); 2]),
    Race(u8, [Racer; 2]),
}

/// A matrix that is handed in.
#[derive(Arbitrary, Clone, Copy, Debug, Default)]
struct Given(Place, Fill, Stride);

/// A matrix that is asked for.
#[derive(Arbitrary, Clone, Copy, Debug, Default)]
struct Wanted(Place, Stride);

/// What a network is to make of examples.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Aim {
    config: Struct,
    kind: Choice,
    labels: (Place, Fill),
    y: Given,
    weights: Option<(Place, Fill)>,
    mask: Option<Given>,
    smoothing: Rate,
    /// What is there besides, or missing.
    odd: u8,
}

/// What a loss of the caller's own does.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Compute {
    Fine,
    FineToo,
    NotFinite,
    NoGradient,
    Null,
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
    kind: NewKind,
    element: Flag,
    config: Struct,
    out: Place,
}

/// What a layer is, beside its inputs and outputs.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct NewKind {
    ni: Option<Dim>,
    nonlinearity: Flag,
    subtractive: Flag,
    kind: Choice,
    inhibitory: [Choice; 2],
    divisor: Choice,
    floor: Rate,
}

impl NewKind {
    /// As a caller says it, who mostly says nothing of what this kind has not.
    fn config(self, d: i64, ne: i64) -> LayerConfig {
        let (kind, divisive) = (self.kind.get(4), 1_i64.wrapping_sub(self.subtractive.get()));
        let (ni, floor) = (self.ni.map_or(0, |ni| ni.get(6)), self.floor.get());
        let odd = floor.is_nan();
        let ni = if odd || kind == INTERNEURON_BY_NI { ni } else { 0 };
        let divides = odd || (kind == INTERNEURON_BY_NI && ni > 0 && divisive == 1);
        let divisor = if divides { self.divisor.get(3) } else { 0 };
        let columns = odd || kind == INTERNEURON_COLUMNS;
        let [inhibitory_inputs, inhibitory_outputs] =
            self.inhibitory.map(|units| if columns { units.get(4) } else { 0 });
        LayerConfig {
            d,
            ne,
            ni,
            nonlinearity: self.nonlinearity.get(),
            divisive,
            kind,
            inhibitory_inputs,
            inhibitory_outputs,
            divisor,
            floor: if divisor == INTERNEURON_DIVISOR_FLOOR { floor } else { 0.0 },
            ..zeroed()
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct NewNetwork {
    context: Handle,
    layers: Layers,
    dims: (Place, [Dim; 5]),
    nis: Option<(Place, [Dim; 4])>,
    shapes: Option<(Struct, [NewKind; 4])>,
    scheme: Choice,
    k: Rate,
    mean_input: Flag,
    element: Flag,
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
    kind: i64,
    /// Of sign-constrained columns, among inputs and outputs.
    inhibitory: [usize; 2],
    double: bool,
}

impl Shape {
    /// What a configuration describes, which the frame is to refuse if that is nothing.
    fn of(frame: &mut Frame, config: &LayerConfig, double: bool) -> Self {
        let &LayerConfig { kind, divisor, floor, .. } = config;
        demand_flag(frame, config.nonlinearity);
        demand_flag(frame, config.divisive);
        let mut size = |value: i64, least: i64| {
            frame.demand(value >= least, INTERNEURON_INVALID_ARGUMENT);
            value.max(least) as usize
        };
        let (d, ne, ni) = (size(config.d, 1), size(config.ne, 1), size(config.ni, 0));
        let inhibitory = [size(config.inhibitory_inputs, 0), size(config.inhibitory_outputs, 0)];
        let divisive = config.divisive == 1;
        let shape = Self { d, ne, ni, divisive, kind, inhibitory, double };
        let divides = kind == INTERNEURON_BY_NI && ni > 0 && divisive;
        for fine in [
            (INTERNEURON_BY_NI..=INTERNEURON_BATCH_NORM).contains(&kind),
            (INTERNEURON_DIVISOR_PLAIN..=INTERNEURON_DIVISOR_ROOT).contains(&divisor),
            ni == 0 || kind == INTERNEURON_BY_NI,
            divisor == INTERNEURON_DIVISOR_PLAIN || divides,
            if divisor == INTERNEURON_DIVISOR_FLOOR { (1e-30..=1e30).contains(&floor) } else { floor == 0.0 },
            inhibitory == [0; 2] || kind == INTERNEURON_COLUMNS,
            inhibitory[0] <= d && inhibitory[1] <= ne,
            !shape.overflows(),
        ] {
            frame.demand(fine, INTERNEURON_INVALID_ARGUMENT);
        }
        shape
    }

    /// The elements of each array; those that the layer does not have are empty.
    fn lengths(&self) -> Eight<usize> {
        let Self { d, ne, ni, divisive, kind, .. } = *self;
        let [alpha, g] = match kind {
            INTERNEURON_LAYER_NORM | INTERNEURON_BATCH_NORM => [0, ne],
            _ if ni > 0 && divisive => [ni, ne],
            _ => [0; 2],
        };
        let running = if kind == INTERNEURON_BATCH_NORM { ne } else { 0 };
        [ne.saturating_mul(d), ni.saturating_mul(d), ne.saturating_mul(ni), alpha, g, ne, running, running]
    }

    /// Whether the elements of an array may be negative.
    fn is_signed(&self, j: usize) -> bool {
        let norm = [INTERNEURON_LAYER_NORM, INTERNEURON_BATCH_NORM].contains(&self.kind);
        match j {
            0 => self.ni == 0 && self.kind != INTERNEURON_COLUMNS,
            4 => norm,
            3 | 5 | 6 => true,
            _ => false,
        }
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
    Own(Eight<Vec<u8>>),
    Attached(Eight<Option<Slot>>),
}

struct Network {
    handle: u64,
    shapes: Vec<Shape>,
    params: Vec<Params>,
    scaled: bool,
    /// Whether its parameters may be such that divisors are not positive for positive inputs.
    wild: bool,
}

/// A network in a file.
#[derive(Clone)]
struct Saved {
    shapes: Vec<Shape>,
    scaled: bool,
    wild: bool,
}

/// What the program has made, as the target sees it.
struct World {
    second: bool,
    /// Memory that many arrays share.
    shared: Rc<Memory>,
    contexts: Vec<u64>,
    layers: Vec<Layer>,
    networks: Vec<Network>,
    files: [Option<Saved>; FileName::MOST],
    /// All handles that were ever handed out.
    ever: Vec<u64>,
    last_error: String,
    /// Statuses and hashes of outputs.
    trace: Vec<u64>,
    /// Multiply-adds that the program may still spend.
    work: usize,
}

/// The lengths of arrays for a layer that there is not.
const NO_SHAPE: Shape =
    Shape { d: 3, ne: 2, ni: 1, divisive: true, kind: INTERNEURON_BY_NI, inhibitory: [0; 2], double: false };
/// Sizes of all versions of the structs.
const CONTEXT_SIZES: [usize; 2] = [16, 24];
const LAYER_SIZES: [usize; 6] = [24, 32, 40, 48, 88, 96];
const NETWORK_SIZES: [usize; 5] = [24, 32, 40, 72, 80];
const UPDATE_SIZES: [usize; 4] = [16, 24, 32, 144];
const ARRAYS_SIZES: [usize; 2] = [56, 72];
const TARGET_SIZES: [usize; 2] = [56, 72];

/// A struct of the header in which everything is 0 or NULL.
fn zeroed<T: Copy>() -> T {
    // SAFETY: numbers and pointers that may be NULL.
    unsafe { std::mem::zeroed() }
}

/// The folder of all files.
fn folder() -> &'static std::path::Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().expect("a folder for files")).path()
}

impl World {
    fn new(second: bool) -> Self {
        let shared = Memory::new(4096);
        shared.fill(0, (0..1024).map(|i| (i % 32) as f32 / 32.0));
        for i in 0..FileName::MOST {
            // There may be none.
            let _ = std::fs::remove_file(folder().join(i.to_string()));
        }
        let (contexts, layers, networks, files, ever, trace) = Default::default();
        let (last_error, work) = (last_error(), 20_000_000);
        Self { second, shared, contexts, layers, networks, files, ever, last_error, trace, work }
    }

    fn frame(&self) -> Frame {
        let networks = self.networks.iter().flat_map(|network| &network.params);
        let attached =
            self.layers.iter().map(|layer| &layer.params).chain(networks).filter_map(|params| match params {
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

    /// The call uses the parameters of a network.
    fn uses_network(&self, frame: &mut Frame, network: Option<usize>, written: bool) {
        for params in network.map_or(&[][..], |i| &self.networks[i].params) {
            if let Params::Attached(slots) = params {
                slots.iter().flatten().for_each(|slot| frame.implicit(slot, written));
            }
        }
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
                let pointers = eight(&mut frame, arrays, &shape.lengths(), shape.double, Role::Kept);
                let arrays = structs(&mut frame, arrays, &[pointers]);
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
                    layer.params.detach();
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
                let h = output(&mut frame, h, batch, shape.ne, shape.double, Role::Output);
                let ((x, x_stride), (h, h_stride)) = (x, h);
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                let status = unsafe {
                    match (training, x_stride == 0 && h_stride == 0) {
                        (true, true) => interneuron_layer_forward(layer, batch, x, h),
                        (false, true) => interneuron_layer_infer(layer, batch, x, h),
                        (true, _) => interneuron_layer_forward_strided(layer, batch, x, x_stride, h, h_stride),
                        (false, _) => interneuron_layer_infer_strided(layer, batch, x, x_stride, h, h_stride),
                    }
                };
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
                let dh = input(&mut frame, dh, batch, shape.ne, shape.double);
                let gradients = gradients.filter(|gradients| !gradients.config.0.is_null());
                let gradients = gradients.map_or(null(), |gradients| {
                    let pointers = eight(&mut frame, gradients, &shape.lengths(), shape.double, Role::Wanted);
                    structs(&mut frame, gradients, &[pointers])
                });
                let dx = output(&mut frame, dx, batch, shape.d, shape.double, Role::Wanted);
                let ((x, x_stride), (dh, dh_stride), (dx, dx_stride)) = (x, dh, dx);
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                let status = unsafe {
                    if [x_stride, dh_stride, dx_stride] == [0; 3] {
                        interneuron_layer_backward(layer, batch, x, dh, gradients, dx)
                    } else {
                        interneuron_layer_backward_strided(
                            layer, batch, x, x_stride, dh, dh_stride, gradients, dx, dx_stride,
                        )
                    }
                };
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
                let dh = input(&mut frame, dh, batch, shape.ne, shape.double);
                let update = step(&mut frame, update, true, shape.double);
                let dx = output(&mut frame, dx, batch, shape.d, shape.double, Role::Wanted);
                let ((x, x_stride), (dh, dh_stride), (dx, dx_stride)) = (x, dh, dx);
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                let status = unsafe {
                    if [x_stride, dh_stride, dx_stride] == [0; 3] {
                        interneuron_layer_update(layer, batch, x, dh, update, dx)
                    } else {
                        interneuron_layer_update_strided(
                            layer, batch, x, x_stride, dh, dh_stride, update, dx, dx_stride,
                        )
                    }
                };
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
                let double = shape.double;
                let (zi, zi_stride) = output(&mut frame, zi, batch, shape.ni.max(1), double, Role::Wanted);
                let [(zhat, zhat_stride), (y, y_stride)] =
                    [zhat, y].map(|wanted| output(&mut frame, wanted, batch, shape.ne, double, Role::Wanted));
                let divides = !zhat.is_null() || !y.is_null();
                frame.demand(shape.ni > 0 && (shape.divisive || !divides), INTERNEURON_INVALID_ARGUMENT);
                if (divides || !zi.is_null()) && kept != Some(batch) {
                    frame.demand(false, INTERNEURON_WRONG_ORDER);
                    frame.demand(kept.is_none(), INTERNEURON_INVALID_ARGUMENT);
                }
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                let status = unsafe {
                    if [zi_stride, zhat_stride, y_stride] == [0; 3] {
                        interneuron_layer_inhibition(layer, batch, zi, zhat, y)
                    } else {
                        interneuron_layer_inhibition_strided(
                            layer,
                            batch,
                            zi,
                            zi_stride,
                            zhat,
                            zhat_stride,
                            y,
                            y_stride,
                        )
                    }
                };
                self.finish_layer(frame, status, found, false);
            }
            Call::LayerCount(network, count) => {
                let mut frame = self.frame();
                let (network, found) = self.network(&mut frame, network);
                self.uses_network(&mut frame, found, false);
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
                self.uses_network(&mut frame, target.network, false);
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
                self.uses_network(&mut frame, target.network, false);
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
                let (lengths, double) = (target.shape.lengths(), target.shape.double);
                let pointers = eight(&mut frame, arrays, &lengths, double, Role::Input);
                let arrays = structs(&mut frame, arrays, &[pointers]);
                for (j, (pointer, len)) in pointers.into_iter().zip(lengths).enumerate() {
                    let fine = |value: &f64| value.is_finite() && (target.shape.is_signed(j) || *value >= 0.0);
                    let values = frame.values(double, pointer, Extent::whole(len));
                    frame.demand(values.iter().all(fine), INTERNEURON_INVALID_ARGUMENT);
                }
                self.uses(&mut frame, target.layer, true, false);
                self.uses_written(&mut frame, &target);
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                let status = unsafe {
                    match of {
                        Of::Layer(_) => interneuron_layer_set_parameters(target.handle, arrays),
                        Of::Network(..) => interneuron_network_set_parameters(target.handle, target.k, arrays),
                    }
                };
                self.finish_target(frame, status, &target, true);
            }
            Call::GetParameters(of, arrays) => {
                let mut frame = self.frame();
                let target = self.target(&mut frame, of);
                let pointers = eight(&mut frame, arrays, &target.shape.lengths(), target.shape.double, Role::Wanted);
                let arrays = structs(&mut frame, arrays, &[pointers]);
                self.uses(&mut frame, target.layer, false, true);
                self.uses_network(&mut frame, target.network, false);
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                let status = unsafe {
                    match of {
                        Of::Layer(_) => interneuron_layer_get_parameters(target.handle, arrays),
                        Of::Network(..) => interneuron_network_get_parameters(target.handle, target.k, arrays),
                    }
                };
                self.finish_target(frame, status, &target, false);
            }
            Call::TrainStep { network, batch, x: (place, fill), labels, update, loss } => {
                let mut frame = self.frame();
                let (network, found) = self.network(&mut frame, network);
                let batch = batch.get(None);
                let x = Given(place, fill, Stride::default());
                let Some(((x, _), negative)) = self.examples(&mut frame, found, batch, x, true) else { return };
                let labels = self.labels(&mut frame, found, batch, labels);
                let update = step(&mut frame, update, false, self.is_double(found));
                let loss = frame.array(loss, 1, Role::Wanted, |_| 0.0);
                frame.excuse(INTERNEURON_DIVERGED);
                self.excuse_divisors(&mut frame, found, negative);
                self.uses_network(&mut frame, found, true);
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                let status = unsafe { interneuron_network_train_step(network, batch, x, labels, update, loss) };
                self.finish_network(frame, status, found, true);
            }
            Call::Evaluate { network, batch, x: (place, fill), labels, loss, errors } => {
                let mut frame = self.frame();
                let (network, found) = self.network(&mut frame, network);
                let batch = batch.get(None);
                let x = Given(place, fill, Stride::default());
                let Some(((x, _), _)) = self.examples(&mut frame, found, batch, x, false) else { return };
                let labels = self.labels(&mut frame, found, batch, labels);
                let loss = frame.array(loss, 1, Role::Wanted, |_| 0.0);
                let errors = frame.array(errors, 1, Role::Wanted, |_| 0);
                self.uses_network(&mut frame, found, false);
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                let status = unsafe { interneuron_network_evaluate(network, batch, x, labels, loss, errors) };
                self.finish_network(frame, status, found, false);
            }
            Call::Logits { network, batch, x, logits } => {
                let mut frame = self.frame();
                let (network, found) = self.network(&mut frame, network);
                let batch = batch.get(None);
                let Some(((x, x_stride), _)) = self.examples(&mut frame, found, batch, x, false) else { return };
                let (columns, double) = (self.ends(found).1.ne, self.is_double(found));
                let (logits, stride) = output(&mut frame, logits, batch, columns, double, Role::Output);
                self.uses_network(&mut frame, found, false);
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                let status = unsafe {
                    if [x_stride, stride] == [0; 2] {
                        interneuron_network_logits(network, batch, x, logits)
                    } else {
                        interneuron_network_logits_strided(network, batch, x, x_stride, logits, stride)
                    }
                };
                self.finish_network(frame, status, found, false);
            }
            Call::TrainTarget { network, batch, x, target, update, loss } => {
                let mut frame = self.frame();
                let (network, found) = self.network(&mut frame, network);
                let batch = batch.get(None);
                let Some(((x, stride), negative)) = self.examples(&mut frame, found, batch, x, true) else { return };
                let target = self.aim(&mut frame, found, batch, target);
                let update = step(&mut frame, update, false, self.is_double(found));
                let loss = frame.array(loss, 1, Role::Wanted, |_| 0.0);
                frame.excuse(INTERNEURON_DIVERGED);
                self.excuse_divisors(&mut frame, found, negative);
                self.uses_network(&mut frame, found, true);
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                let status = unsafe {
                    if stride == 0 {
                        interneuron_network_train_target(network, batch, x, target, update, loss)
                    } else {
                        interneuron_network_train_target_strided(network, batch, x, stride, target, update, loss)
                    }
                };
                self.finish_network(frame, status, found, true);
            }
            Call::EvaluateTarget { network, batch, x, target, loss, errors } => {
                let mut frame = self.frame();
                let (network, found) = self.network(&mut frame, network);
                let batch = batch.get(None);
                let Some(((x, stride), _)) = self.examples(&mut frame, found, batch, x, false) else { return };
                let target = self.aim(&mut frame, found, batch, target);
                let loss = frame.array(loss, 1, Role::Wanted, |_| 0.0);
                let errors = frame.array(errors, 1, Role::Wanted, |_| 0);
                self.uses_network(&mut frame, found, false);
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                let status = unsafe {
                    if stride == 0 {
                        interneuron_network_evaluate_target(network, batch, x, target, loss, errors)
                    } else {
                        interneuron_network_evaluate_target_strided(network, batch, x, stride, target, loss, errors)
                    }
                };
                self.finish_network(frame, status, found, false);
            }
            Call::TrainWith { network, batch, x, other, mut compute, update, loss } => {
                let mut frame = self.frame();
                let (network, found) = self.network(&mut frame, network);
                let (batch, double) = (batch.get(None), self.is_double(found));
                let Some(((x, stride), negative)) = self.examples(&mut frame, found, batch, x, true) else { return };
                let update = step(&mut frame, update, false, double);
                let loss = frame.array(loss, 1, Role::Wanted, |_| 0.0);
                self.excuse_divisors(&mut frame, found, negative);
                self.uses_network(&mut frame, found, true);
                frame.demand(compute != Compute::NotFinite, INTERNEURON_DIVERGED);
                frame.demand(compute != Compute::NoGradient, INTERNEURON_INVALID_ARGUMENT);
                frame.demand(compute != Compute::Null, INTERNEURON_NULL_POINTER);
                let other = other >= 240;
                frame.demand(!other || found.is_none(), INTERNEURON_INVALID_ARGUMENT);
                let there = compute != Compute::Null;
                let data = (&raw mut compute).cast();
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                let status = unsafe {
                    if double != other {
                        let own: LossF64 = if there { Some(own::<f64>) } else { None };
                        interneuron_network_train_with_f64(network, batch, x, stride, own, data, update, loss)
                    } else {
                        let own: Loss = if there { Some(own::<f32>) } else { None };
                        if stride == 0 {
                            interneuron_network_train_with(network, batch, x, own, data, update, loss)
                        } else {
                            interneuron_network_train_with_strided(network, batch, x, stride, own, data, update, loss)
                        }
                    }
                };
                self.finish_network(frame, status, found, true);
            }
            Call::Gradients { network, batch, x, target, gradients, loss } => {
                let mut frame = self.frame();
                let (network, found) = self.network(&mut frame, network);
                let batch = batch.get(None);
                let Some(((x, stride), _)) = self.examples(&mut frame, found, batch, x, true) else { return };
                let target = self.aim(&mut frame, found, batch, target);
                let (arrays, _) = self.all(&mut frame, found, gradients, Role::Wanted);
                let loss = frame.array(loss, 1, Role::Wanted, |_| 0.0);
                // A loss that is no number, too.
                frame.excuse(INTERNEURON_INVALID_ARGUMENT);
                self.uses_network(&mut frame, found, false);
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                let status = unsafe { interneuron_network_gradients(network, batch, x, stride, target, arrays, loss) };
                self.finish_network(frame, status, found, false);
            }
            Call::Inspect { network, batch, x, target, update, statistics: (place, size) } => {
                let mut frame = self.frame();
                let (network, found) = self.network(&mut frame, network);
                let batch = batch.get(None);
                let Some(((x, stride), _)) = self.examples(&mut frame, found, batch, x, true) else { return };
                let target = self.aim(&mut frame, found, batch, target);
                let update = step(&mut frame, update, false, self.is_double(found));
                let layers = found.map_or(1, |i| self.networks[i].shapes.len());
                let size = (size_of::<StatisticsOutput>() as u64).wrapping_add(size.get(1) as u64);
                let statistics = frame.written_structures(place, layers, size);
                frame.excuse(INTERNEURON_INVALID_ARGUMENT);
                self.uses_network(&mut frame, found, false);
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                let status = unsafe {
                    if stride == 0 {
                        interneuron_network_inspect(network, batch, x, target, update, statistics)
                    } else {
                        interneuron_network_inspect_strided(network, batch, x, stride, target, update, statistics)
                    }
                };
                self.finish_network(frame, status, found, false);
            }
            Call::Apply(single, handle, update, gradients) => {
                let mut frame = self.frame();
                if single {
                    let (layer, found) = self.layer(&mut frame, handle);
                    let (shape, _) = self.layer_state(found);
                    self.uses(&mut frame, found, true, true);
                    let update = step(&mut frame, update, true, shape.double);
                    let pointers = eight(&mut frame, gradients, &shape.lengths(), shape.double, Role::Input);
                    let arrays = structs(&mut frame, gradients, &[pointers]);
                    // SAFETY: all arguments are of the frame; attached arrays are alive.
                    let status = unsafe { interneuron_layer_apply(layer, update, arrays) };
                    self.finish_layer(frame, status, found, true);
                } else {
                    let (network, found) = self.network(&mut frame, handle);
                    self.uses_network(&mut frame, found, true);
                    let update = step(&mut frame, update, false, self.is_double(found));
                    let (arrays, _) = self.all(&mut frame, found, gradients, Role::Input);
                    // SAFETY: all arguments are of the frame; attached arrays are alive.
                    let status = unsafe { interneuron_network_apply(network, update, arrays) };
                    self.finish_network(frame, status, found, true);
                    // Of gradients of any numbers.
                    found.into_iter().for_each(|i| self.networks[i].wild = true);
                }
            }
            Call::AttachNetwork(network, arrays) => {
                let mut frame = self.frame();
                let (network, found) = self.network(&mut frame, network);
                let (arrays, pointers) = self.all(&mut frame, found, arrays, Role::Kept);
                // SAFETY: all arguments are of the frame; the network keeps the arrays.
                let status = unsafe { interneuron_network_attach(network, arrays) };
                let slots: Vec<_> = pointers.iter().map(|layer| layer.map(|pointer| frame.slot(pointer))).collect();
                if self.finish(frame, status) {
                    let network = &mut self.networks[found.unwrap()];
                    network.params = slots.into_iter().map(Params::Attached).collect();
                    network.wild = true;
                }
            }
            Call::DetachNetwork(network) => {
                let mut frame = self.frame();
                let (network, found) = self.network(&mut frame, network);
                self.uses_network(&mut frame, found, false);
                let own = found.is_some_and(|i| matches!(self.networks[i].params[0], Params::Own(_)));
                frame.demand(!own, INTERNEURON_WRONG_ORDER);
                // SAFETY: attached arrays are alive.
                let status = unsafe { interneuron_network_detach(network) };
                if self.finish(frame, status) {
                    let network = &mut self.networks[found.unwrap()];
                    network.params.iter_mut().for_each(Params::detach);
                    network.see(false);
                }
            }
            Call::StateCount(of, count) => {
                let mut frame = self.frame();
                let target = self.target(&mut frame, of);
                self.uses(&mut frame, target.layer, false, false);
                self.uses_network(&mut frame, target.network, false);
                let kept = target.kept(of);
                let count = frame.array(count, 1, Role::Output, |_| 0);
                // SAFETY: all arguments are of the frame.
                let status = unsafe {
                    match of {
                        Of::Layer(_) => interneuron_layer_state_count(target.handle, count),
                        Of::Network(..) => interneuron_network_state_count(target.handle, target.k, count),
                    }
                };
                let told = frame.content(count, 1);
                if self.finish_target(frame, status, &target, false) {
                    assert_eq!(told, [kept.len() as i64]);
                }
            }
            Call::StateName(of, i, name) => {
                let mut frame = self.frame();
                let (target, i) = (self.target(&mut frame, of), i.get());
                self.uses(&mut frame, target.layer, false, false);
                self.uses_network(&mut frame, target.network, false);
                frame.demand((0..target.kept(of).len() as i64).contains(&i), INTERNEURON_INVALID_ARGUMENT);
                let name = frame.array(name.apart(), 1, Role::Output, |_| null());
                // SAFETY: all arguments are of the frame.
                let status = unsafe {
                    match of {
                        Of::Layer(_) => interneuron_layer_state_name(target.handle, i, name),
                        Of::Network(..) => interneuron_network_state_name(target.handle, target.k, i, name),
                    }
                };
                self.finish_target(frame, status, &target, false);
            }
            Call::StateSize { of, name, i, rows, columns } => {
                let mut frame = self.frame();
                let (target, i) = (self.target(&mut frame, of), i.get());
                self.uses(&mut frame, target.layer, false, false);
                self.uses_network(&mut frame, target.network, false);
                let (name, _) = state_name(&mut frame, name);
                frame.demand((0..target.there().len() as i64).contains(&i), INTERNEURON_INVALID_ARGUMENT);
                let [rows, columns] = [rows, columns].map(|place| frame.array(place, 1, Role::Wanted, |_| 0));
                let (handle, k) = (target.handle, target.k);
                // SAFETY: all arguments are of the frame.
                let status = unsafe {
                    match of {
                        Of::Layer(_) => interneuron_layer_state_size(handle, name, i, rows, columns),
                        Of::Network(..) => interneuron_network_state_size(handle, k, name, i, rows, columns),
                    }
                };
                self.finish_target(frame, status, &target, false);
            }
            Call::GetState(of, name, arrays) => {
                let mut frame = self.frame();
                let target = self.target(&mut frame, of);
                let (name, text) = state_name(&mut frame, name);
                let kept = target.kept(of);
                frame.demand(text.is_some_and(|text| kept.contains(&text)), INTERNEURON_INVALID_ARGUMENT);
                let lengths = target.kept_lengths(of, text);
                let pointers = eight(&mut frame, arrays, &lengths, target.shape.double, Role::Wanted);
                let arrays = structs(&mut frame, arrays, &[pointers]);
                self.uses(&mut frame, target.layer, false, false);
                self.uses_network(&mut frame, target.network, false);
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                let status = unsafe {
                    match of {
                        Of::Layer(_) => interneuron_layer_get_state(target.handle, name, arrays),
                        Of::Network(..) => interneuron_network_get_state(target.handle, target.k, name, arrays),
                    }
                };
                self.finish_target(frame, status, &target, false);
            }
            Call::SetState(of, name, arrays) => {
                let mut frame = self.frame();
                let target = self.target(&mut frame, of);
                let (name, text) = state_name(&mut frame, name);
                let lengths = target.kept_lengths(of, text);
                let pointers = eight(&mut frame, arrays, &lengths, target.shape.double, Role::Input);
                let arrays = structs(&mut frame, arrays, &[pointers]);
                for (pointer, len) in pointers.into_iter().zip(lengths) {
                    let values = frame.values(target.shape.double, pointer, Extent::whole(len));
                    frame.demand(values.iter().all(|value| value.is_finite()), INTERNEURON_INVALID_ARGUMENT);
                    // Some are never negative, or not more so than something else.
                    if values.iter().any(|&value| value < 0.0) || text == Some("negative") {
                        frame.excuse(INTERNEURON_INVALID_ARGUMENT);
                    }
                }
                self.uses(&mut frame, target.layer, false, true);
                self.uses_network(&mut frame, target.network, false);
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                let status = unsafe {
                    match of {
                        Of::Layer(_) => interneuron_layer_set_state(target.handle, name, arrays),
                        Of::Network(..) => interneuron_network_set_state(target.handle, target.k, name, arrays),
                    }
                };
                if self.finish_target(frame, status, &target, false) {
                    assert!(target.kept(of).contains(&text.unwrap()));
                    target.network.into_iter().for_each(|i| self.networks[i].wild = true);
                }
            }
            Call::Save(network, name, seed) => {
                let mut frame = self.frame();
                let (network, found) = self.network(&mut frame, network);
                let (path, number) = file(&mut frame, name);
                frame.demand(path.is_null() || number.is_some(), INTERNEURON_FILE);
                // What diverged is not saved.
                frame.excuse(INTERNEURON_FILE);
                self.uses_network(&mut frame, found, false);
                // SAFETY: all arguments are of the frame; attached arrays are alive.
                let status = unsafe { interneuron_network_save(network, path, seed) };
                let ok = self.finish(frame, status);
                if let (true, Some(i), Some(number)) = (ok, found, number) {
                    let Network { shapes, scaled, wild, .. } = &self.networks[i];
                    self.files[number] = Some(Saved { shapes: shapes.clone(), scaled: *scaled, wild: *wild });
                }
            }
            Call::Load { context, file: name, double, out, seed } => {
                if self.networks.len() == 3 {
                    return;
                }
                let mut frame = self.frame();
                let context = self.context(&mut frame, context);
                let (path, number) = file(&mut frame, name);
                let saved = number.and_then(|number| self.files[number].clone());
                let saved = saved.filter(|saved| saved.shapes[0].double == double);
                frame.demand(path.is_null() || saved.is_some(), INTERNEURON_FILE);
                let out = frame.array(out.apart(), 1, Role::Output, |_| 0);
                let seed = frame.array(seed.apart(), 1, Role::Wanted, |_| 0);
                let load = if double { interneuron_network_load_f64 } else { interneuron_network_load };
                // SAFETY: all arguments are of the frame.
                let status = unsafe { load(context, path, out, seed) };
                if let Some(handle) = self.finish_create(frame, status, out) {
                    let Saved { shapes, scaled, wild } = saved.unwrap();
                    self.add_network(handle, shapes, scaled, wild);
                }
            }
            Call::GetScaler(network, [there, offset, scale]) => {
                let mut frame = self.frame();
                let (network, found) = self.network(&mut frame, network);
                let inputs = self.ends(found).0.d;
                let there = frame.array(there, 1, Role::Wanted, |_| 0);
                let [offset, scale] = [offset, scale].map(|place| frame.array(place, inputs, Role::Wanted, |_| 0.0));
                self.uses_network(&mut frame, found, false);
                // SAFETY: all arguments are of the frame.
                let status = unsafe { interneuron_network_get_scaler(network, there, offset, scale) };
                let (told, wanted) = (frame.content(there, 1), !there.is_null());
                // Where there is none, the arrays are left alone.
                let (ok, _) = frame.check(status, &mut self.last_error);
                self.trace.push(status as u64);
                if ok && wanted {
                    assert_eq!(told, [i64::from(self.networks[found.unwrap()].scaled)]);
                }
            }
            Call::SetScaler(network, maps) => {
                let mut frame = self.frame();
                let (network, found) = self.network(&mut frame, network);
                let inputs = self.ends(found).0.d;
                let none = maps.iter().all(|(place, _)| place.is_null());
                let [offset, scale] = maps.map(|(place, fill)| {
                    let role = if none { Role::Wanted } else { Role::Input };
                    if none { null_mut() } else { frame.array(place, inputs, role, |i| f64::from(fill.get(i))) }
                });
                let finite = frame.content(offset, inputs).iter().all(|offset| offset.is_finite());
                let positive = frame.content(scale, inputs).iter().all(|scale| scale.is_finite() && *scale > 0.0);
                frame.demand(finite && positive, INTERNEURON_INVALID_ARGUMENT);
                // SAFETY: all arguments are of the frame.
                let status = unsafe { interneuron_network_set_scaler(network, offset, scale) };
                if self.finish(frame, status) {
                    self.networks[found.unwrap()].scaled = !none;
                }
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
        let default = LayerConfig { divisive: 1, ..zeroed() };
        let (d, ne) = (choice.d.get(20), choice.ne.get(20));
        let value = LayerConfig { element: choice.element.get(), ..choice.kind.config(d, ne) };
        let (config, effective) = frame.structure(choice.config, &LAYER_SIZES, default, value);
        let out = frame.array(choice.out.apart(), 1, Role::Output, |_| 0);
        demand_flag(&mut frame, effective.element);
        let shape = Shape::of(&mut frame, &effective, effective.element == INTERNEURON_F64);
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
        let size = choice.config.size(&NETWORK_SIZES);
        // A version without the field has no such layers.
        let shapes = choice.shapes.filter(|_| size >= NETWORK_SIZES[3] as u64);
        let element = choice.element.get();
        let double = element == INTERNEURON_F64 && size >= NETWORK_SIZES[4] as u64;
        let (place, dims) = choice.dims;
        let dim = |i: usize| dims[i % 5].get(20);
        let described: Vec<LayerConfig>;
        let (mut dims_c, mut nis_c, mut shapes_c) = (null_mut(), null_mut(), null());
        if let Some((config, kinds)) = shapes {
            let kinds = (0..count).map(|k| kinds[k % 4].config(dim(k), dim(k + 1)));
            // Mostly of the element of the network, or of none.
            let kinds = kinds.enumerate().map(|(k, kind)| LayerConfig { element: (k as i64 % 2) * element, ..kind });
            let default = LayerConfig { divisive: 1, ..zeroed() };
            (shapes_c, described) = frame.structures(config, &LAYER_SIZES, default, &kinds.collect::<Vec<_>>());
        } else {
            dims_c = frame.array(place.apart(), count + 1, Role::Input, dim);
            // A version without the field is one without interneurons.
            let nis = choice.nis.filter(|_| size > NETWORK_SIZES[0] as u64);
            nis_c = nis.map_or(null_mut(), |(place, nis)| {
                let place = if place.is_null() { Place::default() } else { place };
                frame.array(place.apart(), count, Role::Input, |i| nis[i % 4].get(6))
            });
            let (dims, nis) = (frame.content(dims_c, count + 1), frame.content(nis_c, count));
            let of = |(k, pair): (usize, &[i64])| {
                let ni = nis.get(k).copied();
                LayerConfig { d: pair[0], ne: pair[1], ni: ni.unwrap_or(0), divisive: 1, ..zeroed() }
            };
            frame.demand(nis.iter().all(|&ni| ni >= 1), INTERNEURON_INVALID_ARGUMENT);
            described = dims.windows(2).enumerate().map(of).collect();
        }
        let (scheme, k) = (choice.scheme.get(4), choice.k.get());
        let mean_input = [0.0, 0.5, f64::NAN][usize::from(choice.mean_input.get().rem_euclid(7) as u8 % 3)];
        let default: NetworkConfig = zeroed();
        let value = NetworkConfig {
            layers,
            dims: dims_c,
            nis: nis_c,
            seed: choice.seed,
            shapes: shapes_c,
            scheme,
            k: if scheme == INTERNEURON_CENTRED_LOGNORMAL { k } else { 0.0 },
            mean_input,
            element,
            ..default
        };
        let (config, effective) = frame.structure(choice.config, &NETWORK_SIZES, default, value);
        let out = frame.array(choice.out.apart(), 1, Role::Output, |_| 0);
        demand_flag(&mut frame, effective.element);
        frame.demand((0..4).contains(&effective.scheme), INTERNEURON_INVALID_ARGUMENT);
        let k = effective.k;
        frame.demand(k == 0.0 || (1e-3..=1e3).contains(&k), INTERNEURON_INVALID_ARGUMENT);
        if k != 0.0 && k < 0.1 {
            // Weights may be too large for their element.
            frame.excuse(INTERNEURON_INVALID_ARGUMENT);
        }
        frame.demand(effective.mean_input.is_finite(), INTERNEURON_INVALID_ARGUMENT);
        for layer in &described {
            let fine = layer.element == 0 || layer.element == effective.element;
            frame.demand(fine, INTERNEURON_INVALID_ARGUMENT);
        }
        let shapes: Vec<_> = described.iter().map(|layer| Shape::of(&mut frame, layer, double)).collect();
        for (k, below) in shapes.iter().enumerate() {
            let above = shapes.get(k + 1).map_or(0, |above| above.inhibitory[0]);
            frame.demand(below.inhibitory[1] == above, INTERNEURON_INVALID_ARGUMENT);
        }
        let huge = shapes.iter().any(Shape::is_huge);
        frame.demand(!huge, INTERNEURON_OUT_OF_RESOURCES);
        if !self.spend(if huge { 0 } else { shapes.iter().map(|shape| shape.work(1)).sum() }) {
            return;
        }
        // SAFETY: all arguments are of the frame.
        let status = unsafe { interneuron_network_create(context, config, out) };
        if let Some(handle) = self.finish_create(frame, status, out) {
            // What hands on numbers of both signs is nothing for plain divisors.
            self.add_network(handle, shapes, false, choice.shapes.is_some());
        }
    }

    fn add_network(&mut self, handle: u64, shapes: Vec<Shape>, scaled: bool, wild: bool) {
        let params = shapes.iter().map(|_| Params::None).collect();
        let mut network = Network { handle, shapes, params, scaled, wild };
        network.see(true);
        self.networks.push(network);
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
            let (ready, x, h) = (Ready(255), Given::default(), Wanted::default());
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
    fn matrix(&mut self, frame: &mut Frame, x: Given, batch: i64, shape: &Shape) -> Option<(*const c_void, i64)> {
        let work = if shape.is_huge() { 0 } else { shape.work(rows(frame, batch, shape.d, shape.double)) };
        self.spend(work).then(|| input(frame, x, batch, shape.d, shape.double))
    }

    fn is_double(&self, network: Option<usize>) -> bool {
        self.ends(network).0.double
    }

    /// The inputs of a network, and whether one is negative, unless the program may not spend so much. For training they
    /// must be finite.
    fn examples(
        &mut self,
        frame: &mut Frame,
        network: Option<usize>,
        batch: i64,
        x: Given,
        training: bool,
    ) -> Option<((*const c_void, i64), bool)> {
        let (first, _) = self.ends(network);
        let rows = rows(frame, batch, first.d, first.double);
        let work = network.map_or(0, |i| self.networks[i].shapes.iter().map(|shape| shape.work(rows)).sum());
        if !self.spend(work) {
            return None;
        }
        let (x, stride) = input(frame, x, batch, first.d, first.double);
        let extent = extent(frame, batch, first.d, stride, first.double);
        let values = frame.values(first.double, x, extent);
        frame.demand(!training || values.iter().all(|x| x.is_finite()), INTERNEURON_INVALID_ARGUMENT);
        Some(((x, stride), values.iter().any(|&x| x < 0.0)))
    }

    /// Negative inputs, and parameters that somebody else made, may make divisors negative.
    fn excuse_divisors(&self, frame: &mut Frame, network: Option<usize>, negative: bool) {
        if negative || network.is_some_and(|i| self.networks[i].wild) {
            frame.excuse(INTERNEURON_INVALID_ARGUMENT);
        }
    }

    fn labels(
        &self,
        frame: &mut Frame,
        network: Option<usize>,
        batch: i64,
        (place, fill): (Place, Fill),
    ) -> *const u32 {
        let ((first, last), labels) = (self.ends(network), Role::Input);
        let rows = rows(frame, batch, first.d, first.double);
        let labels = frame.array(place, rows, labels, |i| fill.label(i, last.ne));
        let fine = frame.content(labels, rows).iter().all(|&label| (label as usize) < last.ne);
        frame.demand(fine, INTERNEURON_INVALID_ARGUMENT);
        labels
    }

    /// The target of examples.
    fn aim(&self, frame: &mut Frame, network: Option<usize>, batch: i64, aim: Aim) -> *const TargetConfig {
        let Aim { config, kind, labels, y, weights, mask, smoothing, odd } = aim;
        let ((first, last), kind) = (self.ends(network), kind.get(4));
        let (double, count) = (first.double, rows(frame, batch, first.d, first.double));
        // A version without the fields has packed rows.
        let strided = config.size(&TARGET_SIZES) > TARGET_SIZES[0] as u64;
        let packed =
            |Given(place, fill, stride): Given| Given(place, fill, if strided { stride } else { Stride::default() });
        let mut value: TargetConfig = zeroed();
        let by_labels = kind == INTERNEURON_LABELS;
        if by_labels {
            value.labels = self.labels(frame, network, batch, labels);
        } else {
            (value.y, value.y_stride) = input(frame, packed(y), batch, last.ne, double);
            let extent = extent(frame, batch, last.ne, value.y_stride, double);
            let fine = |y: &f64| match kind {
                INTERNEURON_PROBABILITIES => y.is_finite() && *y >= 0.0,
                INTERNEURON_VALUES => y.is_finite(),
                _ => (0.0..=1.0).contains(y),
            };
            let values = frame.values(double, value.y, extent);
            frame.demand(values.iter().all(fine), INTERNEURON_INVALID_ARGUMENT);
        }
        let weight = |weight: &f64| weight.is_finite() && *weight >= 0.0;
        if let Some((place, fill)) = weights.filter(|(place, _)| !place.is_null()) {
            let extent = Extent::whole(count);
            value.weights = frame.numbers(double, place, extent, Role::Input, |i| fill.get(i));
            let fine = frame.values(double, value.weights, extent).iter().all(weight);
            frame.demand(fine, INTERNEURON_INVALID_ARGUMENT);
        } else if let Some(mask) = mask.filter(|Given(place, ..)| !place.is_null()) {
            (value.mask, value.mask_stride) = input(frame, packed(mask), batch, last.ne, double);
            let extent = extent(frame, batch, last.ne, value.mask_stride, double);
            let fine = frame.values(double, value.mask, extent).iter().all(weight);
            let softmax = by_labels || kind == INTERNEURON_PROBABILITIES;
            frame.demand(fine && !softmax, INTERNEURON_INVALID_ARGUMENT);
        }
        // Only what has a softmax is smoothed.
        let smoothing = smoothing.get();
        value.smoothing = if kind < INTERNEURON_VALUES || odd % 16 == 1 { smoothing } else { 0.0 };
        frame.demand((0.0..=1.0).contains(&value.smoothing), INTERNEURON_INVALID_ARGUMENT);
        frame.demand(value.smoothing == 0.0 || kind < INTERNEURON_VALUES, INTERNEURON_INVALID_ARGUMENT);
        match odd {
            240..=247 => {
                // The other one of both, which is not looked at.
                (value.labels, value.y) = (value.labels.max(value.y.cast()), value.y.max(value.labels.cast()));
                frame.demand(false, INTERNEURON_INVALID_ARGUMENT);
            }
            248..=251 if strided && by_labels => {
                value.y_stride = 5;
                frame.demand(false, INTERNEURON_INVALID_ARGUMENT);
            }
            252..=255 if strided && value.mask.is_null() => {
                value.mask_stride = -1;
                frame.demand(false, INTERNEURON_INVALID_ARGUMENT);
            }
            _ => {}
        }
        value.kind = kind;
        frame.demand((0..4).contains(&kind), INTERNEURON_INVALID_ARGUMENT);
        frame.structure(config, &TARGET_SIZES, zeroed(), value).0
    }

    /// Arrays for all layers of a network: their structs, and the pointers in them.
    fn all(
        &self,
        frame: &mut Frame,
        network: Option<usize>,
        choice: Parameters,
        role: Role,
    ) -> (*const Arrays, Vec<Eight<*mut c_void>>) {
        let shapes = network.map_or(&[NO_SHAPE][..], |i| &self.networks[i].shapes);
        let of = |shape: &Shape| eight(frame, choice, &shape.lengths(), shape.double, role);
        let pointers: Vec<_> = shapes.iter().map(of).collect();
        (structs(frame, choice, &pointers), pointers)
    }

    /// The call writes the parameters of a layer of a network, if they are attached.
    fn uses_written(&self, frame: &mut Frame, target: &Target) {
        let layer = target.network.and_then(|i| self.networks[i].params.get(usize::try_from(target.k).ok()?));
        if let Some(Params::Attached(slots)) = layer {
            slots.iter().flatten().for_each(|slot| frame.implicit(slot, true));
        }
    }

    /// As [`World::finish_layer`], whichever it is.
    fn finish_target(&mut self, frame: Frame, status: i32, target: &Target, changes: bool) -> bool {
        let ok = self.finish(frame, status);
        if let Some(i) = target.layer {
            self.layers[i].see(ok && changes);
        }
        if let Some(i) = target.network {
            self.networks[i].see(ok && changes);
        }
        ok
    }

    fn target(&self, frame: &mut Frame, of: Of) -> Target {
        match of {
            Of::Layer(layer) => {
                let (handle, layer) = self.layer(frame, layer);
                Target { handle, k: 0, layer, network: None, shape: self.layer_state(layer).0, found: layer.is_some() }
            }
            Of::Network(network, k) => {
                let ((handle, network), k) = (self.network(frame, network), k.get());
                let shapes = network.map_or(&[][..], |i| &self.networks[i].shapes);
                let shape = usize::try_from(k).ok().and_then(|k| shapes.get(k));
                frame.demand(network.is_none() || shape.is_some(), INTERNEURON_INVALID_ARGUMENT);
                let found = shape.is_some();
                Target { handle, k, layer: None, network, shape: *shape.unwrap_or(&NO_SHAPE), found }
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
    /// Whether there is such a layer.
    found: bool,
}

impl Target {
    /// The lengths of the arrays that there are.
    fn there(&self) -> Vec<usize> {
        self.shape.lengths().into_iter().filter(|&len| len > 0).collect()
    }

    /// Whether the handle names what the call is about, and so answers.
    fn is_there(&self) -> bool {
        let layers = usize::try_from(self.k).is_ok();
        self.layer.is_some() || (self.network.is_some() && layers && self.found)
    }

    /// The names of what is kept.
    fn kept(&self, of: Of) -> Vec<&'static str> {
        if !self.is_there() {
            return vec![];
        }
        let (mut count, mut name): (i64, *const c_char) = (0, null());
        // SAFETY: pointers to locals; names are never freed.
        unsafe {
            let status = match of {
                Of::Layer(_) => interneuron_layer_state_count(self.handle, &mut count),
                Of::Network(..) => interneuron_network_state_count(self.handle, self.k, &mut count),
            };
            assert_eq!(status, INTERNEURON_OK, "{}", last_error());
            let names = (0..count).map(|i| {
                let status = match of {
                    Of::Layer(_) => interneuron_layer_state_name(self.handle, i, &mut name),
                    Of::Network(..) => interneuron_network_state_name(self.handle, self.k, i, &mut name),
                };
                assert_eq!(status, INTERNEURON_OK, "{}", last_error());
                CStr::from_ptr(name).to_str().unwrap()
            });
            names.collect()
        }
    }

    /// How many numbers are kept of each array under a name.
    fn kept_lengths(&self, of: Of, name: Option<&str>) -> Eight<usize> {
        let Some(name) = name.filter(|_| self.is_there()) else { return NO_SHAPE.lengths() };
        let name = std::ffi::CString::new(name).unwrap();
        let mut i = 0;
        self.shape.lengths().map(|len| {
            let (mut rows, mut columns) = (0, 0);
            if len > 0 {
                let (handle, name, k) = (self.handle, name.as_ptr(), self.k);
                // SAFETY: pointers to locals.
                let status = unsafe {
                    match of {
                        Of::Layer(_) => interneuron_layer_state_size(handle, name, i, &mut rows, &mut columns),
                        Of::Network(..) => interneuron_network_state_size(handle, k, name, i, &mut rows, &mut columns),
                    }
                };
                assert_eq!(status, INTERNEURON_OK, "{}", last_error());
                i += 1;
            }
            (rows * columns) as usize
        })
    }
}

impl Params {
    /// Takes over what the attached arrays hold.
    fn detach(&mut self) {
        let Self::Attached(slots) = self else { panic!("detached from nothing") };
        *self = Self::Own(slots.each_ref().map(|slot| slot.as_ref().map_or(vec![], Slot::content)));
    }

    /// Takes note of parameters that changed, or asserts that they did not. (Attached arrays are watched otherwise.)
    fn see(&mut self, changed: bool, shape: &Shape, get: impl FnOnce(&Arrays) -> i32) {
        if let Self::None = self
            && changed
        {
            *self = Self::Own(Default::default());
        }
        if let Self::Own(before) = self {
            let now = parameters(shape, get);
            assert!(changed || now == *before, "parameters changed");
            *before = now;
        }
    }
}

impl Layer {
    fn see(&mut self, changed: bool) {
        let Self { handle, shape, params, .. } = self;
        // SAFETY: arrays of the layer's lengths.
        params.see(changed, shape, |arrays| unsafe { interneuron_layer_get_parameters(*handle, arrays) });
    }
}

impl Network {
    fn see(&mut self, changed: bool) {
        for (k, (params, shape)) in (0..).zip(self.params.iter_mut().zip(&self.shapes)) {
            // SAFETY: arrays of the layer's lengths.
            let get = |arrays: &Arrays| unsafe { interneuron_network_get_parameters(self.handle, k, arrays) };
            params.see(changed, shape, get);
        }
    }
}

/// The bytes of all parameters of a layer, which `get` copies out.
fn parameters(shape: &Shape, get: impl FnOnce(&Arrays) -> i32) -> Eight<Vec<u8>> {
    // Whole words, so that any element is aligned.
    let mut arrays = shape.lengths().map(|len| vec![0_u64; len]);
    let pointers = arrays.each_mut().map(|a| if a.is_empty() { null_mut() } else { a.as_mut_ptr().cast() });
    let status = get(&arrays_of(pointers));
    assert_eq!(status, INTERNEURON_OK, "{}", last_error());
    let bytes = if shape.double { 8 } else { 4 };
    arrays.map(|array| {
        let all = array.iter().flat_map(|word| word.to_ne_bytes());
        all.take(array.len() * bytes).collect()
    })
}

/// A whole struct.
fn arrays_of([wex, wix, wei, alpha, g, b, running_mean, running_var]: Eight<*mut c_void>) -> Arrays {
    Arrays { size: size_of::<Arrays>() as u64, wex, wix, wei, alpha, g, b, running_mean, running_var }
}

/// The rows of an array, or one if there cannot be so many.
fn rows(frame: &mut Frame, batch: i64, width: usize, double: bool) -> usize {
    let bytes = (if double { 8 } else { 4 }) * width as u128;
    let fits = (batch as u128).checked_mul(bytes).is_some_and(|bytes| bytes <= isize::MAX as u128);
    frame.demand(batch >= 1 && fits, INTERNEURON_INVALID_ARGUMENT);
    if (1..=4096).contains(&batch) { batch as usize } else { 1 }
}

/// The extent of a matrix; packed if there can be none with such a stride.
fn extent(frame: &mut Frame, batch: i64, width: usize, stride: i64, double: bool) -> Extent {
    let rows = rows(frame, batch, width, double);
    let packed = rows.saturating_mul(width);
    let whole = Extent { len: packed, width: width.max(1), stride: width.max(1) };
    if stride == 0 {
        return whole;
    }
    let bytes: i128 = if double { 8 } else { 4 };
    let len = (rows as i128 - 1) * i128::from(stride) + width as i128;
    let fine = i128::from(stride) >= width as i128 && len * bytes <= isize::MAX as i128;
    frame.demand(fine, INTERNEURON_INVALID_ARGUMENT);
    if fine { Extent { len: len as usize, width: width.max(1), stride: stride as usize } } else { whole }
}

/// A matrix that is read, and its stride.
fn input(
    frame: &mut Frame,
    Given(place, fill, stride): Given,
    batch: i64,
    width: usize,
    double: bool,
) -> (*const c_void, i64) {
    let stride = stride.get(width);
    let extent = extent(frame, batch, width, stride, double);
    (frame.numbers(double, place, extent, Role::Input, |i| fill.get(i)).cast_const(), stride)
}

/// A matrix that is written, and its stride.
fn output(
    frame: &mut Frame,
    Wanted(place, stride): Wanted,
    batch: i64,
    width: usize,
    double: bool,
    role: Role,
) -> (*mut c_void, i64) {
    let stride = stride.get(width);
    let extent = extent(frame, batch, width, stride, double);
    (frame.numbers(double, place, extent, role, |_| 0.0), stride)
}

/// The arrays of a layer, of these lengths.
fn eight(
    frame: &mut Frame,
    choice: Parameters,
    lengths: &Eight<usize>,
    double: bool,
    role: Role,
) -> Eight<*mut c_void> {
    let Parameters { config, fill, unwanted, elsewhere } = choice;
    let mut pointers = [null_mut(); 8];
    // A version without the last fields has no such arrays.
    let fields = if config.size(&ARRAYS_SIZES) == ARRAYS_SIZES[0] as u64 { 6 } else { 8 };
    for (j, (pointer, &len)) in pointers.iter_mut().zip(lengths).enumerate() {
        let place = elsewhere.into_iter().find(|&(at, _)| usize::from(at % 8) == j && at >= 128);
        let place = place.map_or(Place::own(unwanted >> j & 1 == 0), |(_, place)| place);
        if j >= fields {
            frame.demand(len == 0 || role == Role::Wanted, INTERNEURON_NULL_POINTER);
        } else if len > 0 {
            *pointer = frame.numbers(double, place, Extent::whole(len), role, |i| fill.get(i));
        } else if place.is_shared() {
            // The layer has no such array.
            *pointer = frame.numbers(double, place, Extent::whole(1), Role::Input, |_| 0.0);
            frame.demand(pointer.is_null(), INTERNEURON_INVALID_ARGUMENT);
        }
    }
    pointers
}

/// The structs of such arrays.
fn structs(frame: &mut Frame, choice: Parameters, pointers: &[Eight<*mut c_void>]) -> *const Arrays {
    let values: Vec<_> = pointers.iter().map(|&pointers| arrays_of(pointers)).collect();
    frame.structures(choice.config, &ARRAYS_SIZES, zeroed(), &values).0
}

/// The name of a state, and the text if there is such a one.
fn state_name(frame: &mut Frame, name: StateName) -> (*const c_char, Option<&'static str>) {
    let Some(text) = name.get() else {
        frame.demand(false, INTERNEURON_NULL_POINTER);
        return (null(), None);
    };
    let known = StateName::KNOWN.contains(&text);
    frame.demand(known, INTERNEURON_INVALID_ARGUMENT);
    (frame.string(text), known.then(|| std::str::from_utf8(text).unwrap()))
}

/// A path, and the number of the file if there may be one.
fn file(frame: &mut Frame, name: FileName) -> (*const c_char, Option<usize>) {
    let (path, number) = match name.get() {
        File::Number(i) => (folder().join(i.to_string()), Some(i)),
        File::Impossible("") => (std::path::PathBuf::new(), None),
        File::Impossible(name) => (folder().join(name), None),
        File::Null => {
            frame.demand(false, INTERNEURON_NULL_POINTER);
            return (null(), None);
        }
    };
    (frame.string(path.to_str().unwrap().as_bytes()), number)
}

/// A loss of the caller's own.
unsafe extern "C" fn own<T: Copy + From<f32>>(
    data: *mut c_void,
    batch: i64,
    count: i64,
    outputs: *const T,
    doutputs: *mut T,
) -> f64 {
    let elements = (batch * count) as usize;
    // SAFETY: what the target hands in, and as many elements as the header says.
    let (compute, outputs, doutputs) = unsafe {
        let doutputs = std::slice::from_raw_parts_mut(doutputs, elements);
        (*data.cast::<Compute>(), std::slice::from_raw_parts(outputs, elements), doutputs)
    };
    assert_eq!(outputs.len(), doutputs.len());
    doutputs.fill(T::from(0.25));
    if compute == Compute::NoGradient {
        doutputs[elements / 2] = T::from(f32::INFINITY);
    }
    if compute == Compute::NotFinite { f64::NAN } else { 1.5 }
}

/// A step of a single layer, or of a network.
fn step(frame: &mut Frame, step: Step, single: bool, double: bool) -> *const UpdateConfig {
    let Step { config, lr, corrections, factors, momentum, nesterov, clip, clip_scope } = step;
    let six = |frame: &mut Frame, numbers: Option<(Place, [Rate; 2])>, least| {
        let numbers = numbers.filter(|(place, _)| config.size(&UPDATE_SIZES) >= least && !place.is_null());
        numbers.map_or(null_mut(), |(place, rates)| frame.array(place, 6, Role::Input, |i| rates[i % 2].get()))
    };
    let (factors, momentum) = (six(frame, factors, 32), six(frame, momentum, 144));
    let default: UpdateConfig = zeroed();
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
    let rounded = |x: f64| if double { x } else { f64::from(x as f32) };
    let valid = |x: f64| x >= 0.0 && rounded(x).is_finite();
    frame.demand(valid(effective.lr), INTERNEURON_INVALID_ARGUMENT);
    let clip = effective.clip;
    frame.demand(clip == 0.0 || (valid(clip) && rounded(clip) > 0.0), INTERNEURON_INVALID_ARGUMENT);
    frame.demand(clip == 0.0 || effective.clip_scope < 2 || !single, INTERNEURON_INVALID_ARGUMENT);
    let mut factors = frame.content(factors, 6).into_iter();
    frame.demand(factors.all(|factor| valid(factor) && valid(factor * effective.lr)), INTERNEURON_INVALID_ARGUMENT);
    let mut momentum = frame.content(momentum, 6).into_iter();
    frame.demand(momentum.all(|momentum| valid(momentum) && rounded(momentum) < 1.0), INTERNEURON_INVALID_ARGUMENT);
    update
}

fn demand_flag(frame: &mut Frame, value: i64) {
    frame.demand(value == 0 || value == 1, INTERNEURON_INVALID_ARGUMENT);
}

/// One call of one of two threads. What it does not succeed in it leaves alone.
fn racer_call(racer: Racer, handle: u64, shape: &Shape) -> i32 {
    // As many bytes as doubles have; floats are some other numbers, all finite.
    let (x, dh) = (vec![0.5_f64; shape.d], vec![0.25_f64; shape.ne]);
    let mut h = vec![-77.0_f64; shape.ne];
    let (x, dh, h_out): (*const c_void, *const c_void, *mut c_void) =
        (x.as_ptr().cast(), dh.as_ptr().cast(), h.as_mut_ptr().cast());
    let update = UpdateConfig { size: 16, lr: 0.1, ..zeroed() };
    // SAFETY: arrays for one example and of the layer's lengths.
    let status = unsafe {
        match racer {
            Racer::Forward => interneuron_layer_forward(handle, 1, x, h_out),
            Racer::Infer => interneuron_layer_infer(handle, 1, x, h_out),
            Racer::Update => interneuron_layer_update(handle, 1, x, dh, &update, null_mut()),
            Racer::Init => interneuron_layer_init(handle, 1, 0),
            Racer::Get => {
                let arrays = Arrays { size: 56, b: h_out, ..zeroed() };
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
