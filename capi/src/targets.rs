//! Networks trained by any target, or by a loss that the caller computes.

use crate::arguments::{Arguments, Checked, Input, MatrixIn, MatrixInput, choice, examples};
use crate::config::{UpdateConfig, UpdateInput, Versioned, through, versioned};
use crate::element::{Either, either};
use crate::fork;
use crate::layer::put;
use crate::network::{AnyNetwork, NetworkHandle};
use crate::status::{Failure, INTERNEURON_INVALID_ARGUMENT, INTERNEURON_NULL_POINTER, Outcome, call};
use crate::table::{self, NetworkId};
use interneuron::{Element, Error, MatRef, Plan, Target};
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
/// elements, each with a weight. Known sizes: with the fields up to `smoothing`, `mask_stride`.
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
    pub y: *const c_void,
    /// Weights of the examples `[batch]`, finite and not negative; or NULL (the default): all 1.
    pub weights: *const c_void,
    /// Weights of the elements `[batch, outputs]` of values and binary targets, finite and not negative, in the place of
    /// `weights`: a mask, for instance; or NULL (the default).
    pub mask: *const c_void,
    /// Label smoothing of labels and probabilities, from 0 (the default) to 1.
    pub smoothing: f64,
    /// How far the rows of `y` are apart, in elements; 0 (the default) is packed.
    pub y_stride: i64,
    /// How far the rows of `mask` are apart, in elements; 0 (the default) is packed.
    pub mask_stride: i64,
}

// SAFETY: numbers and pointers; ends of fields.
unsafe impl Versioned for TargetConfig {
    const SIZES: &'static [usize] = &[through!(TargetConfig, smoothing: f64), size_of::<Self>()];
    const DEFAULT: Self = {
        let (labels, null) = (std::ptr::null(), std::ptr::null());
        let (y, weights, mask) = (null, null, null);
        Self { size: 0, kind: 0, labels, y, weights, mask, smoothing: 0.0, y_stride: 0, mask_stride: 0 }
    };
}

/// A loss that the caller computes: from `outputs [batch, count]` it returns the loss and overwrites `doutputs [batch,
/// count]`, zeros at first, with its gradient. `data` is what the caller handed in. It must return (no exception, no
/// longjmp) and write to no other array of the call; calls with the same network return INTERNEURON_BUSY meanwhile. In a
/// child process that it forks it must not return.
pub type Loss = Option<
    unsafe extern "C" fn(data: *mut c_void, batch: i64, count: i64, outputs: *const f32, doutputs: *mut f32) -> f64,
>;

/// The same for networks of double.
pub type LossF64 = Option<
    unsafe extern "C" fn(data: *mut c_void, batch: i64, count: i64, outputs: *const f64, doutputs: *mut f64) -> f64,
>;

/// Either, for networks of one element.
type LossOf<T> = unsafe extern "C" fn(*mut c_void, i64, i64, *const T, *mut T) -> f64;

/// Examples as a call gets them.
#[derive(Clone, Copy)]
pub struct ExamplesIn<A> {
    pub batch: i64,
    pub x: MatrixIn,
    pub target: A,
}

/// The class of each example, as a call gets it.
#[derive(Clone, Copy)]
pub struct Label(pub *const u32);

/// What a call may be handed as a target.
pub trait TargetIn: Copy {
    /// Announces the arrays, for so many examples of a network with so many outputs.
    ///
    /// # Safety
    /// As [`versioned`].
    unsafe fn read<T: Element>(self, arguments: &mut Arguments, size: (usize, usize)) -> Outcome<TargetInput<T>>;
}

impl TargetIn for Label {
    unsafe fn read<T: Element>(self, arguments: &mut Arguments, (batch, _): (usize, usize)) -> Outcome<TargetInput<T>> {
        let labels = arguments.read("labels", self.0, batch)?;
        Ok(TargetInput { labels, ..TargetInput::nothing() })
    }
}

impl TargetIn for *const TargetConfig {
    unsafe fn read<T: Element>(self, arguments: &mut Arguments, size: (usize, usize)) -> Outcome<TargetInput<T>> {
        // SAFETY: as demanded here.
        let config = unsafe { versioned(arguments, "target", self) }?;
        let kinds = [INTERNEURON_LABELS, INTERNEURON_PROBABILITIES, INTERNEURON_VALUES, INTERNEURON_BINARY];
        let kind = choice("target->kind", config.kind, &kinds)?;
        let by_labels = kind == INTERNEURON_LABELS;
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
        for (name, stride, there) in [
            ("target->y_stride", config.y_stride, !by_labels),
            ("target->mask_stride", config.mask_stride, !config.mask.is_null()),
        ] {
            if stride != 0 && !there {
                return Err(Failure::argument(name, stride, "0, as there is no such matrix"));
            }
        }
        let mut input = TargetInput { kind, smoothing: config.smoothing, ..TargetInput::nothing() };
        if by_labels {
            input.labels = arguments.read("target->labels", config.labels, size.0)?;
        } else {
            input.y = Some(arguments.read_matrix("target->y", (config.y, config.y_stride), size)?);
        }
        if !config.weights.is_null() {
            input.weights = arguments.read("target->weights", config.weights.cast(), size.0)?;
        }
        if !config.mask.is_null() {
            input.mask = Some(arguments.read_matrix("target->mask", (config.mask, config.mask_stride), size)?);
        }
        Ok(input)
    }
}

/// A target whose arrays are still in the caller's memory.
pub struct TargetInput<T> {
    kind: i64,
    labels: Input<u32>,
    y: Option<MatrixInput<T>>,
    weights: Input<T>,
    mask: Option<MatrixInput<T>>,
    smoothing: f64,
}

impl<T: Element> TargetInput<T> {
    fn nothing() -> Self {
        let (labels, weights) = (Input::nothing(), Input::nothing());
        Self { kind: INTERNEURON_LABELS, labels, y: None, weights, mask: None, smoothing: 0.0 }
    }

    /// # Safety
    /// As [`Input::slice`], for each array.
    unsafe fn get(self, checked: &Checked) -> Outcome<Target<'_, T>> {
        let Self { kind, labels, y, weights, mask, smoothing } = self;
        // SAFETY: as demanded here.
        let (labels, weights) = unsafe { (labels.slice(checked), weights.slice(checked)) };
        // SAFETY: as demanded here.
        let [y, mask] = [y, mask].map(|matrix| matrix.map(|matrix| unsafe { matrix.get(checked) }).transpose());
        let target = match (kind, y?) {
            (INTERNEURON_PROBABILITIES, Some(y)) => Target::probabilities(y),
            (INTERNEURON_VALUES, Some(y)) => Target::values(y),
            (INTERNEURON_BINARY, Some(y)) => Target::binary(y),
            _ => Target::labels(labels),
        };
        let target = if weights.is_empty() { target } else { target.weighted(weights) };
        let target = mask?.map_or(target, |mask| target.masked(mask));
        Ok(target.smoothed(smoothing))
    }
}

/// Examples, and what a network is to make of them, in a caller's memory.
pub struct Examples<T> {
    x: MatrixInput<T>,
    target: TargetInput<T>,
}

impl<T: Element> Examples<T> {
    /// Announces the arrays.
    ///
    /// # Safety
    /// As [`versioned`].
    pub unsafe fn read(
        arguments: &mut Arguments,
        plan: &Plan<T>,
        ExamplesIn { batch, x, target }: ExamplesIn<impl TargetIn>,
    ) -> Outcome<Self> {
        let batch = examples(batch)?;
        let x = arguments.read_matrix("x", x, (batch, plan.inputs()))?;
        // SAFETY: as demanded here.
        Ok(Self { x, target: unsafe { target.read(arguments, (batch, plan.outputs())) }? })
    }

    /// # Safety
    /// As [`Input::slice`], for each array.
    pub unsafe fn get(self, checked: &Checked) -> Outcome<(MatRef<'_, T>, Target<'_, T>)> {
        // SAFETY: as demanded here.
        unsafe { Ok((self.x.get(checked)?, self.target.get(checked)?)) }
    }
}

/// An error with the names that the header has for parts of a target.
pub fn named(error: Error) -> Failure {
    let field = |name| match name {
        "probabilities" | "values" | "binary" => Some("target->y"),
        "weights" => Some("target->weights"),
        "mask" => Some("target->mask"),
        "smoothing" => Some("target->smoothing"),
        _ => None,
    };
    match error {
        Error::Value { name, index, value, expected } if field(name).is_some() => {
            Failure::argument(&format!("{}[{index}]", field(name).unwrap_or(name)), value, expected)
        }
        Error::Policy { name, value, expected } if field(name).is_some() => {
            Failure::argument(field(name).unwrap_or(name), value, expected)
        }
        other => other.into(),
    }
}

impl<T: Element> NetworkHandle<T> {
    /// # Safety
    /// The contract of the header.
    unsafe fn train(
        &mut self,
        mut arguments: Arguments,
        examples: ExamplesIn<impl TargetIn>,
        update: UpdateInput,
        loss: *mut f64,
    ) -> Outcome {
        let Self { plan, params, lengths, state, context, .. } = self;
        // SAFETY: as demanded here.
        let examples = unsafe { Examples::read(&mut arguments, plan, examples) }?;
        let loss = arguments.write_wanted("loss", loss, 1)?;
        let params = params.write(&mut arguments, lengths)?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        let (update, (x, target)) = unsafe { (update.get(&checked), examples.get(&checked)?) };
        // SAFETY: as demanded here.
        let mut params = unsafe { params.views(plan, &checked) }?;
        plan.set_threads(context.threads()?);
        let value = plan.train_step(params.params(), state, x, target, &update).map_err(named)?;
        // SAFETY: as demanded here.
        unsafe { put(loss, value, &checked) };
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn evaluate(
        &mut self,
        mut arguments: Arguments,
        examples: ExamplesIn<impl TargetIn>,
        (loss, errors): (*mut f64, *mut i64),
    ) -> Outcome {
        let Self { plan, params, lengths, context, .. } = self;
        // SAFETY: as demanded here.
        let examples = unsafe { Examples::read(&mut arguments, plan, examples) }?;
        let loss = arguments.write_wanted("loss", loss, 1)?;
        let errors = arguments.write_wanted("errors", errors, 1)?;
        let params = params.read(&mut arguments, lengths)?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        let (params, (x, target)) = unsafe { (params.views(plan, &checked)?, examples.get(&checked)?) };
        plan.set_threads(context.threads()?);
        let result = plan.evaluate(params.params(), x, target).map_err(named)?;
        // SAFETY: as demanded here.
        unsafe {
            put(loss, result.loss, &checked);
            put(errors, result.errors as i64, &checked);
        }
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn train_with(
        &mut self,
        mut arguments: Arguments,
        (batch, x): (i64, MatrixIn),
        (compute, data): (LossOf<T>, *mut c_void),
        update: UpdateInput,
        loss: *mut f64,
    ) -> Outcome {
        let Self { plan, params, lengths, state, context, .. } = self;
        let (batch, outputs) = (examples(batch)?, plan.outputs());
        let x = arguments.read_matrix("x", x, (batch, plan.inputs()))?;
        let loss = arguments.write_wanted("loss", loss, 1)?;
        let params = params.write(&mut arguments, lengths)?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        let (update, x, mut params) =
            unsafe { (update.get(&checked), x.get(&checked)?, params.views(plan, &checked)?) };
        plan.set_threads(context.threads()?);
        let value = plan.step_with(params.params(), state, x, &update, |out, mut gradient| {
            let packed = "rows of a step follow one another";
            let (out, gradient) =
                (out.as_slice().expect(packed).as_ptr(), gradient.as_mut_slice().expect(packed).as_mut_ptr());
            let generation = fork::generation();
            // SAFETY: as demanded here; both have `batch · outputs` elements.
            let loss = unsafe { compute(data, batch as i64, outputs as i64, out, gradient) };
            // The threads of the pool are in the parent, so that the step would never end.
            assert!(generation == fork::generation(), "a loss returned in a child process that it forked");
            loss
        })?;
        // SAFETY: as demanded here.
        unsafe { put(loss, value, &checked) };
        Ok(())
    }
}

/// A step of training.
///
/// # Safety
/// The contract of the header.
pub unsafe fn train(
    network: NetworkId,
    examples: ExamplesIn<impl TargetIn>,
    update: *const UpdateConfig,
    loss: *mut f64,
) -> Outcome {
    let mut arguments = Arguments::new();
    // SAFETY: as demanded here.
    let update = unsafe { UpdateInput::read(&mut arguments, update) }?;
    table::with(network, |network: &mut AnyNetwork| {
        // SAFETY: as demanded here.
        unsafe { either!(network, network => network.train(arguments, examples, update, loss)) }
    })
}

/// Loss and errors.
///
/// # Safety
/// The contract of the header.
pub unsafe fn evaluate(
    network: NetworkId,
    examples: ExamplesIn<impl TargetIn>,
    loss: *mut f64,
    errors: *mut i64,
) -> Outcome {
    let (arguments, results) = (Arguments::new(), (loss, errors));
    table::with(network, |network: &mut AnyNetwork| {
        // SAFETY: as demanded here.
        unsafe { either!(network, network => network.evaluate(arguments, examples, results)) }
    })
}

/// A step with a loss that is for networks of one element.
///
/// # Safety
/// The contract of the header.
unsafe fn train_with(
    network: NetworkId,
    (batch, x): (i64, MatrixIn),
    (compute, data): (Either<Loss, LossF64>, *mut c_void),
    update: *const UpdateConfig,
    loss: *mut f64,
) -> Outcome {
    let missing = || Failure::new(INTERNEURON_NULL_POINTER, "compute is NULL: expected a function");
    let compute = match compute {
        Either::F32(compute) => Either::F32(compute.ok_or_else(missing)?),
        Either::F64(compute) => Either::F64(compute.ok_or_else(missing)?),
    };
    let mut arguments = Arguments::new();
    // SAFETY: as demanded here.
    let update = unsafe { UpdateInput::read(&mut arguments, update) }?;
    let wrong = |element, call| {
        let text = format!("compute is for another element: expected {call} with a network of {element}");
        Err(Failure::new(INTERNEURON_INVALID_ARGUMENT, text))
    };
    table::with(network, |network: &mut AnyNetwork| match (network, compute) {
        (AnyNetwork::F32(network), Either::F32(compute)) => {
            // SAFETY: as demanded here.
            unsafe { network.train_with(arguments, (batch, x), (compute, data), update, loss) }
        }
        (AnyNetwork::F64(network), Either::F64(compute)) => {
            // SAFETY: as demanded here.
            unsafe { network.train_with(arguments, (batch, x), (compute, data), update, loss) }
        }
        (AnyNetwork::F32(_), _) => wrong("float", "interneuron_network_train_with"),
        (AnyNetwork::F64(_), _) => wrong("double", "interneuron_network_train_with_f64"),
    })
}

/// As `interneuron_network_train_step`, with any target in the place of labels.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_train_target(
    network: NetworkId,
    batch: i64,
    x: *const c_void,
    target: *const TargetConfig,
    update: *const UpdateConfig,
    loss: *mut f64,
) -> i32 {
    // SAFETY: the contract of the header.
    unsafe { interneuron_network_train_target_strided(network, batch, x, 0, target, update, loss) }
}

/// The same, with rows that are as far apart as the stride says (and the strides of `target`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_train_target_strided(
    network: NetworkId,
    batch: i64,
    x: *const c_void,
    x_stride: i64,
    target: *const TargetConfig,
    update: *const UpdateConfig,
    loss: *mut f64,
) -> i32 {
    let examples = ExamplesIn { batch, x: (x, x_stride), target };
    // SAFETY: the contract of the header.
    call(|| unsafe { train(network, examples, update, loss) })
}

/// As `interneuron_network_evaluate`, with any target in the place of labels. `*errors` is 0 where the target knows no
/// classes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_evaluate_target(
    network: NetworkId,
    batch: i64,
    x: *const c_void,
    target: *const TargetConfig,
    loss: *mut f64,
    errors: *mut i64,
) -> i32 {
    // SAFETY: the contract of the header.
    unsafe { interneuron_network_evaluate_target_strided(network, batch, x, 0, target, loss, errors) }
}

/// The same, with rows that are as far apart as the stride says (and the strides of `target`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_evaluate_target_strided(
    network: NetworkId,
    batch: i64,
    x: *const c_void,
    x_stride: i64,
    target: *const TargetConfig,
    loss: *mut f64,
    errors: *mut i64,
) -> i32 {
    let examples = ExamplesIn { batch, x: (x, x_stride), target };
    // SAFETY: the contract of the header.
    call(|| unsafe { evaluate(network, examples, loss, errors) })
}

/// One step of training with a loss of the caller's own: forward on `x [batch, inputs]`, `compute` with the outputs,
/// backward and update. Stores what `compute` returned in `*loss` unless that is NULL. A loss or a gradient that is not
/// finite is refused before anything changes. Natural gradients need a target. The network is one of float.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_train_with(
    network: NetworkId,
    batch: i64,
    x: *const c_void,
    compute: Loss,
    data: *mut c_void,
    update: *const UpdateConfig,
    loss: *mut f64,
) -> i32 {
    // SAFETY: the contract of the header.
    unsafe { interneuron_network_train_with_strided(network, batch, x, 0, compute, data, update, loss) }
}

/// The same, with rows that are as far apart as the stride says. What `compute` gets is packed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_train_with_strided(
    network: NetworkId,
    batch: i64,
    x: *const c_void,
    x_stride: i64,
    compute: Loss,
    data: *mut c_void,
    update: *const UpdateConfig,
    loss: *mut f64,
) -> i32 {
    let (examples, compute) = ((batch, (x, x_stride)), (Either::F32(compute), data));
    // SAFETY: the contract of the header.
    call(|| unsafe { train_with(network, examples, compute, update, loss) })
}

/// As `interneuron_network_train_with_strided`, with a network of double.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_train_with_f64(
    network: NetworkId,
    batch: i64,
    x: *const c_void,
    x_stride: i64,
    compute: LossF64,
    data: *mut c_void,
    update: *const UpdateConfig,
    loss: *mut f64,
) -> i32 {
    let (examples, compute) = ((batch, (x, x_stride)), (Either::F64(compute), data));
    // SAFETY: the contract of the header.
    call(|| unsafe { train_with(network, examples, compute, update, loss) })
}
