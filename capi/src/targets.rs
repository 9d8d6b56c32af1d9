//! Networks trained by any target, or by a loss that the caller computes.

use crate::arguments::{Arguments, Checked, Input, area, choice, examples};
use crate::config::{UpdateConfig, UpdateInput, Versioned, versioned};
use crate::fork;
use crate::layer::put;
use crate::network::NetworkHandle;
use crate::status::{Failure, Outcome, call};
use crate::table::{self, NetworkId};
use interneuron::{MatRef, Network, Target};
use std::ffi::c_void;
use std::mem::offset_of;

/// Softmax cross-entropy with the class of each example.
pub const INTERNEURON_LABELS: i64 = 0;
/// Softmax cross-entropy with the probability of each class.
pub const INTERNEURON_PROBABILITIES: i64 = 1;
/// Squared error.
pub const INTERNEURON_VALUES: i64 = 2;
/// Binary cross-entropy with logits.
pub const INTERNEURON_BINARY: i64 = 3;

/// What the outputs of a network are to be, and so the loss: the mean over examples, or for values and binary targets over
/// elements, each with a weight. Known sizes: the whole.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TargetConfig {
    /// `sizeof(interneuron_target)`.
    pub size: u64,
    /// `INTERNEURON_LABELS` (the default), `..._PROBABILITIES`, `..._VALUES` or `..._BINARY`.
    pub kind: i64,
    /// With `INTERNEURON_LABELS`, `[batch]`: each less than the number of outputs. Otherwise NULL.
    pub labels: *const u32,
    /// With the other kinds, `[batch, outputs]`: probabilities, not negative; any values; or from 0 to 1. NULL with labels.
    pub y: *const f32,
    /// Weights of the examples `[batch]`, finite and not negative; or NULL (the default): all 1.
    pub weights: *const f32,
    /// Weights of the elements `[batch, outputs]` of values and binary targets, finite and not negative, in the place of
    /// `weights`: a mask, for instance; or NULL (the default).
    pub mask: *const f32,
    /// Label smoothing of labels and probabilities, from 0 (the default) to 1.
    pub smoothing: f64,
}

// SAFETY: numbers and pointers; the whole.
unsafe impl Versioned for TargetConfig {
    const SIZES: &'static [usize] = &[offset_of!(TargetConfig, smoothing) + size_of::<f64>()];
    const DEFAULT: Self = {
        let null = std::ptr::null();
        Self { size: 0, kind: 0, labels: std::ptr::null(), y: null, weights: null, mask: null, smoothing: 0.0 }
    };
}

/// A loss that the caller computes: from `outputs [batch, count]` it returns the loss and overwrites `doutputs [batch,
/// count]`, zeros at first, with its gradient. `data` is what the caller handed in. It must return (no exception, no
/// longjmp) and write to no other array of the call; calls with the same network return INTERNEURON_BUSY meanwhile. In a
/// child process that it forks it must not return.
pub type Loss = Option<
    unsafe extern "C" fn(data: *mut c_void, batch: i64, count: i64, outputs: *const f32, doutputs: *mut f32) -> f64,
>;

/// A target whose arrays are still in the caller's memory.
struct TargetInput {
    kind: i64,
    labels: Input<u32>,
    y: Input<f32>,
    weights: Input<f32>,
    mask: Option<Input<f32>>,
    smoothing: f64,
    batch: usize,
    outputs: usize,
}

impl TargetInput {
    /// The class of each example.
    fn labels(labels: Input<u32>, batch: usize, outputs: usize) -> Self {
        let (y, weights) = (Input::nothing(), Input::nothing());
        Self { kind: INTERNEURON_LABELS, labels, y, weights, mask: None, smoothing: 0.0, batch, outputs }
    }

    /// For so many examples of a network with so many outputs.
    ///
    /// # Safety
    /// As [`versioned`].
    unsafe fn read(
        arguments: &mut Arguments,
        target: *const TargetConfig,
        batch: usize,
        outputs: usize,
    ) -> Outcome<Self> {
        // SAFETY: as demanded here.
        let config = unsafe { versioned(arguments, "target", target) }?;
        let kinds = [INTERNEURON_LABELS, INTERNEURON_PROBABILITIES, INTERNEURON_VALUES, INTERNEURON_BINARY];
        let kind = choice("target->kind", config.kind, &kinds)?;
        let by_labels = kind == INTERNEURON_LABELS;
        let elements = area(batch, outputs)?;
        for (name, there, fits) in
            [("target->labels", !config.labels.is_null(), by_labels), ("target->y", !config.y.is_null(), !by_labels)]
        {
            if there && !fits {
                return Err(Failure::argument(name, "a pointer", "NULL with a target of this kind"));
            }
        }
        if !config.weights.is_null() && !config.mask.is_null() {
            return Err(Failure::argument("target->mask", "a pointer", "NULL, as there are weights of examples"));
        }
        let labels = arguments.read("target->labels", config.labels, if by_labels { batch } else { 0 })?;
        let y = arguments.read("target->y", config.y, if by_labels { 0 } else { elements })?;
        let weights =
            arguments.read("target->weights", config.weights, if config.weights.is_null() { 0 } else { batch })?;
        let mask = if config.mask.is_null() { None } else { Some(config.mask) };
        let mask = mask.map(|mask| arguments.read("target->mask", mask, elements)).transpose()?;
        Ok(Self { kind, labels, y, weights, mask, smoothing: config.smoothing, batch, outputs })
    }

    /// # Safety
    /// As [`Input::slice`], for each array.
    unsafe fn get(self, checked: &Checked) -> Outcome<Target<'_, f32>> {
        let Self { kind, labels, y, weights, mask, smoothing, batch, outputs } = self;
        // SAFETY: as demanded here.
        let (labels, y, weights, mask) = unsafe {
            (labels.slice(checked), y.slice(checked), weights.slice(checked), mask.map(|mask| mask.slice(checked)))
        };
        let matrix = |elements| MatRef::new(elements, batch, outputs);
        let target = match kind {
            INTERNEURON_LABELS => Target::labels(labels),
            INTERNEURON_PROBABILITIES => Target::probabilities(matrix(y)?),
            INTERNEURON_VALUES => Target::values(matrix(y)?),
            _ => Target::binary(matrix(y)?),
        };
        let target = if weights.is_empty() { target } else { target.weighted(weights) };
        let target = mask.map_or(Ok(target), |mask| matrix(mask).map(|mask| target.masked(mask)))?;
        Ok(target.smoothed(smoothing))
    }
}

/// Examples, and what a network is to make of them, in a caller's memory.
pub struct Examples {
    x: Input<f32>,
    target: TargetInput,
    inputs: usize,
}

impl Examples {
    /// With the class of each.
    pub fn labelled(
        arguments: &mut Arguments,
        network: &Network<f32>,
        batch: i64,
        x: *const f32,
        labels: *const u32,
    ) -> Outcome<Self> {
        let (batch, inputs, outputs) = (examples(batch)?, network.inputs(), network.outputs());
        let x = arguments.read("x", x, area(batch, inputs)?)?;
        let labels = arguments.read("labels", labels, batch)?;
        Ok(Self { x, target: TargetInput::labels(labels, batch, outputs), inputs })
    }

    /// With any target.
    ///
    /// # Safety
    /// As [`versioned`].
    pub unsafe fn targeted(
        arguments: &mut Arguments,
        network: &Network<f32>,
        batch: i64,
        x: *const f32,
        target: *const TargetConfig,
    ) -> Outcome<Self> {
        let (batch, inputs, outputs) = (examples(batch)?, network.inputs(), network.outputs());
        let x = arguments.read("x", x, area(batch, inputs)?)?;
        // SAFETY: as demanded here.
        Ok(Self { x, target: unsafe { TargetInput::read(arguments, target, batch, outputs) }?, inputs })
    }

    /// # Safety
    /// As [`Input::slice`], for each array.
    pub unsafe fn get(self, checked: &Checked) -> Outcome<(MatRef<'_, f32>, Target<'_, f32>)> {
        let batch = self.target.batch;
        // SAFETY: as demanded here.
        let (x, target) = unsafe { (self.x.slice(checked), self.target.get(checked)?) };
        Ok((MatRef::new(x, batch, self.inputs)?, target))
    }
}

/// A step of training on examples that `read` announces.
///
/// # Safety
/// The contract of the header.
pub unsafe fn train(
    network: NetworkId,
    update: *const UpdateConfig,
    loss: *mut f64,
    read: impl FnOnce(&mut Arguments, &Network<f32>) -> Outcome<Examples>,
) -> Outcome {
    let mut arguments = Arguments::new();
    // SAFETY: as demanded here.
    let update = unsafe { UpdateInput::read(&mut arguments, update) }?;
    table::with(network, |NetworkHandle { context, network, .. }| {
        let examples = read(&mut arguments, network)?;
        let loss = arguments.write_wanted("loss", loss, 1)?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        let (update, (x, target)) = unsafe { (update.get(&checked), examples.get(&checked)?) };
        network.set_threads(context.threads()?);
        let value = network.train_step(x, target, &update)?;
        // SAFETY: as demanded here.
        unsafe { put(loss, value, &checked) };
        Ok(())
    })
}

/// Loss and errors on examples that `read` announces.
///
/// # Safety
/// The contract of the header.
pub unsafe fn evaluate(
    network: NetworkId,
    loss: *mut f64,
    errors: *mut i64,
    read: impl FnOnce(&mut Arguments, &Network<f32>) -> Outcome<Examples>,
) -> Outcome {
    table::with(network, |NetworkHandle { context, network, .. }| {
        let mut arguments = Arguments::new();
        let examples = read(&mut arguments, network)?;
        let loss = arguments.write_wanted("loss", loss, 1)?;
        let errors = arguments.write_wanted("errors", errors, 1)?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        let (x, target) = unsafe { examples.get(&checked) }?;
        network.set_threads(context.threads()?);
        let result = network.evaluate(x, target)?;
        // SAFETY: as demanded here.
        unsafe {
            put(loss, result.loss, &checked);
            put(errors, result.errors as i64, &checked);
        }
        Ok(())
    })
}

/// As `interneuron_network_train_step`, with any target in the place of labels.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_train_target(
    network: NetworkId,
    batch: i64,
    x: *const f32,
    target: *const TargetConfig,
    update: *const UpdateConfig,
    loss: *mut f64,
) -> i32 {
    // SAFETY: the contract of the header.
    let read = |arguments: &mut _, network: &_| unsafe { Examples::targeted(arguments, network, batch, x, target) };
    // SAFETY: the contract of the header.
    call(|| unsafe { train(network, update, loss, read) })
}

/// As `interneuron_network_evaluate`, with any target in the place of labels. `*errors` is 0 where the target knows no
/// classes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_evaluate_target(
    network: NetworkId,
    batch: i64,
    x: *const f32,
    target: *const TargetConfig,
    loss: *mut f64,
    errors: *mut i64,
) -> i32 {
    // SAFETY: the contract of the header.
    let read = |arguments: &mut _, network: &_| unsafe { Examples::targeted(arguments, network, batch, x, target) };
    // SAFETY: the contract of the header.
    call(|| unsafe { evaluate(network, loss, errors, read) })
}

/// One step of training with a loss of the caller's own: forward on `x [batch, inputs]`, `compute` with the outputs,
/// backward and update. Stores what `compute` returned in `*loss` unless that is NULL. A loss or a gradient that is not
/// finite is refused before anything changes. Natural gradients need a target.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_train_with(
    network: NetworkId,
    batch: i64,
    x: *const f32,
    compute: Loss,
    data: *mut c_void,
    update: *const UpdateConfig,
    loss: *mut f64,
) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        let compute = compute.ok_or_else(|| {
            Failure::new(crate::status::INTERNEURON_NULL_POINTER, "compute is NULL: expected a function")
        })?;
        // SAFETY: the contract of the header.
        let update = unsafe { UpdateInput::read(&mut arguments, update) }?;
        table::with(network, |NetworkHandle { context, network, .. }| {
            let (batch, inputs, outputs) = (examples(batch)?, network.inputs(), network.outputs());
            let x = arguments.read("x", x, area(batch, inputs)?)?;
            let loss = arguments.write_wanted("loss", loss, 1)?;
            let checked = arguments.check()?;
            // SAFETY: the contract of the header.
            let (update, x) = unsafe { (update.get(&checked), x.slice(&checked)) };
            network.set_threads(context.threads()?);
            let x = MatRef::new(x, batch, inputs)?;
            let value = network.step_with(x, &update, |out, mut gradient| {
                let packed = "rows of a step follow one another";
                let (out, gradient) =
                    (out.as_slice().expect(packed).as_ptr(), gradient.as_mut_slice().expect(packed).as_mut_ptr());
                let generation = fork::generation();
                // SAFETY: the contract of the header; both have `batch · outputs` elements.
                let loss = unsafe { compute(data, batch as i64, outputs as i64, out, gradient) };
                // The threads of the pool are in the parent, so that the step would never end.
                assert!(generation == fork::generation(), "a loss returned in a child process that it forked");
                loss
            })?;
            // SAFETY: the contract of the header.
            unsafe { put(loss, value, &checked) };
            Ok(())
        })
    })
}
