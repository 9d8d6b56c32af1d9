//! Structs that begin with their own size, by which a library knows what a caller of another version means.

use crate::arguments::{Arguments, Checked, Input, choice, flag, pointer, size};
use crate::arrays::ROLES;
use crate::element::INTERNEURON_F32;
use crate::shapes::{INTERNEURON_BY_NI, INTERNEURON_DIVISOR_PLAIN};
use crate::status::{Failure, Outcome};
use interneuron::{Adam, Angle, ClipScope, DecayOrder, Descent, KeptSums, Natural, PerRole, Update};
use std::ffi::{c_char, c_void};
use std::mem::offset_of;

/// How a context computes. Known sizes: with the fields up to `threads`, up to `isa`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ContextConfig {
    /// `sizeof(interneuron_context_config)`.
    pub size: u64,
    /// 0 or 1: every call computes on the thread that makes it. Up to 1024: a pool of so many threads, which the layers
    /// and networks of the context share. The results have the same bits whatever is chosen, also in other modes of
    /// rounding and of flushing to zero than usual: on x86-64 and aarch64 the pool computes in those of the caller.
    pub threads: i64,
    /// The name of the instruction set, or NULL: the one that the environment variable `INTERNEURON_ISA` names, or else
    /// (also where it is empty) the widest of this CPU. Default NULL.
    pub isa: *const c_char,
}

/// What a layer is. Known sizes: with the fields up to `ne`, `ni`, `nonlinearity`, `divisive`, `floor`, `element`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LayerConfig {
    /// `sizeof(interneuron_layer_config)`.
    pub size: u64,
    /// Inputs, at least 1.
    pub d: i64,
    /// Excitatory units, which are the outputs, at least 1.
    pub ne: i64,
    /// Inhibitory interneurons; 0 (the default) makes a plain layer `h = f(x W' + b)`.
    pub ni: i64,
    /// `INTERNEURON_RELU` (the default) or `INTERNEURON_IDENTITY`.
    pub nonlinearity: i64,
    /// 1 if inhibition divides as well as subtracts, 0 if it only subtracts: a struct of zeros says so. 1 in a version of
    /// the struct without the field. Without meaning in a layer without interneurons.
    pub divisive: i64,
    /// `INTERNEURON_BY_NI` (the default), `INTERNEURON_COLUMNS`, `INTERNEURON_LAYER_NORM` or `INTERNEURON_BATCH_NORM`.
    pub kind: i64,
    /// Of sign-constrained columns: how many of the inputs, the last ones, are inhibitory. Default 0.
    pub inhibitory_inputs: i64,
    /// Of sign-constrained columns: how many of the outputs, the last ones, are inhibitory inputs of the layer above.
    /// Default 0.
    pub inhibitory_outputs: i64,
    /// What a layer that divides divides by: `INTERNEURON_DIVISOR_PLAIN` (the default), `..._FLOOR` or `..._ROOT`.
    pub divisor: i64,
    /// With `INTERNEURON_DIVISOR_FLOOR`, from 1e-30 to 1e30. Default 0.
    pub floor: f64,
    /// `INTERNEURON_F32` (the default) or `INTERNEURON_F64`. In a network's `shapes`, 0 or the `element` of the network.
    pub element: i64,
}

/// What a network is. Known sizes: with the fields up to `dims`, `nis`, `seed`, `mean_input`, `element`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NetworkConfig {
    /// `sizeof(interneuron_network_config)`.
    pub size: u64,
    /// The number of layers, from 1 to 1024.
    pub layers: i64,
    /// `layers + 1` numbers: the inputs, then the (excitatory) units of each layer. Hidden layers have ReLU, the last one
    /// the identity. NULL if there are `shapes`.
    pub dims: *const i64,
    /// `layers` numbers: the interneurons of each layer; or NULL (the default), which makes a network of plain layers.
    pub nis: *const i64,
    /// The seed of the parameters. Default 0.
    pub seed: u64,
    /// `layers` layers of any kind in the place of `dims` and `nis`, one after the other and all of the same `size`; or
    /// NULL (the default).
    pub shapes: *const LayerConfig,
    /// How layers with interneurons are drawn: `INTERNEURON_MATCHED` (the default), `INTERNEURON_INDEPENDENT`,
    /// `INTERNEURON_CENTRED` or `INTERNEURON_CENTRED_LOGNORMAL`.
    pub scheme: i64,
    /// With `INTERNEURON_CENTRED_LOGNORMAL` the mean of the weights over their deviation, from 0.001 to 1000; 0 (the
    /// default) is 1. With other schemes 0.
    pub k: f64,
    /// The mean of the inputs, which biases of a first layer with sign-constrained columns make up for. Default 0.
    pub mean_input: f64,
    /// `INTERNEURON_F32` (the default) or `INTERNEURON_F64`.
    pub element: i64,
}

/// Adam's moments, with which a step is along `correction * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)`.
/// Every field counts: PyTorch has 0.9, 0.999, 1e-8 and 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct AdamConfig {
    /// `sizeof(interneuron_adam)`.
    pub size: u64,
    /// At least 0 and less than 1.
    pub beta1: f64,
    /// At least 0 and less than 1.
    pub beta2: f64,
    /// Finite and not negative.
    pub epsilon: f64,
    /// 1 if the largest v so far takes the place of v, 0 if not.
    pub amsgrad: i64,
}

/// The angle rule: the largest of `rates` learning rates, evenly spaced from `lr` down to `lr_min`, with which the angle
/// between a layer's step and what the bound at zero leaves of it has a cosine above `1 - cosine_epsilon`. Every field
/// counts.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct AngleConfig {
    /// `sizeof(interneuron_angle)`.
    pub size: u64,
    /// Above 0 and at most `lr`.
    pub lr_min: f64,
    /// From 1 to 1000.
    pub rates: i64,
    /// From 0 to 1.
    pub cosine_epsilon: f64,
}

/// The diagonal natural gradient, for `interneuron_network_train_step`: `F <- (1 - c) F + c f_lambda mean (dl/dp)^2`, and
/// the step is along `dp / (F + epsilon)`. Every field counts: the original experiments had 0.02, 2.5e-5, 1e-8 and 1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NaturalConfig {
    /// `sizeof(interneuron_natural)`.
    pub size: u64,
    /// Above 0 and at most 1.
    pub c: f64,
    /// Finite and above 0.
    pub f_lambda: f64,
    /// Finite and above 0.
    pub epsilon: f64,
    /// 1 if `1 / (F + epsilon)` is divided by its norm over the layer's Wex, 0 if not.
    pub normalised: i64,
}

/// Weight decay is added to the gradient before momentum or moments.
pub const INTERNEURON_DECAY_BEFORE_MOMENTUM: i64 = 0;
/// Weight decay is added to what momentum or moments make of the gradient.
pub const INTERNEURON_DECAY_AFTER_MOMENTUM: i64 = 1;
/// Weight decay multiplies parameters with `1 - lr * factor * decay`, as in AdamW.
pub const INTERNEURON_DECAY_DECOUPLED: i64 = 2;

/// The gradients of a layer are clipped together.
pub const INTERNEURON_CLIP_LAYER: i64 = 0;
/// Each array is clipped by itself.
pub const INTERNEURON_CLIP_ARRAY: i64 = 1;
/// The gradients of a network are clipped together.
pub const INTERNEURON_CLIP_NETWORK: i64 = 2;

/// How a step changes the parameters: `p <- p - lr * factor * correction * dp`, then `max(p, 0)` for Wex, Wix, Wei and
/// g; other fields add to this, in the order: corrections, clipping, natural gradient, weight decay, momentum or moments,
/// angle rule, step, bound, kept sums. What a step keeps for the next one (velocities, moments) is the layer's or the
/// network's, and is forgotten when parameters are drawn, set or attached. Known sizes: with the fields up to
/// `lr`, `corrections`, `factors`, `natural`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct UpdateConfig {
    /// `sizeof(interneuron_update)`.
    pub size: u64,
    /// The learning rate, finite and not negative.
    pub lr: f64,
    /// 1 if the gradients of inhibitory parameters are corrected by what the Fisher information says of them (dWix by
    /// 1/sqrt(ne), dWei by 1/d, dalpha by 1/(sqrt(ne) d)), 0 (the default) if not.
    pub corrections: i64,
    /// Six further factors on the learning rate, for Wex (or W), Wix, Wei, alpha, g, b in this order, finite and not
    /// negative; or NULL (the default): all 1. Where the factor is 0, nothing changes.
    pub factors: *const f64,
    /// Six weight decays in this order, finite and not negative; or NULL (the default): none.
    pub decay: *const f64,
    /// `INTERNEURON_DECAY_BEFORE_MOMENTUM` (the default), `..._AFTER_MOMENTUM` or `..._DECOUPLED`.
    pub decay_order: i64,
    /// Six momenta in this order, at least 0 and less than 1, `v <- momentum * v + (1 - dampening) * dp`; or NULL (the
    /// default): none.
    pub momentum: *const f64,
    /// 1 for Nesterov's momentum, 0 (the default) for the ordinary one.
    pub nesterov: i64,
    /// Dampening of momentum, from 0 (the default) to 1.
    pub dampening: f64,
    /// Adam's moments in the place of momentum, or NULL (the default).
    pub adam: *const AdamConfig,
    /// Above 0 for exponentiated gradient, `p <- p * exp(-lr * sign(p) * dp)`: what both positive parts of a bias have
    /// beyond its value at first, such as 0.1. With 0 (the default) steps are projected.
    pub split: f64,
    /// 1 if no weight may cross zero, also of a plain layer, and none has a magnitude below `floor`; 0 (the default) if
    /// weights that are not negative have the bound 0.
    pub freeze_signs: i64,
    /// With `freeze_signs`, finite and not negative; 0 (the default) without.
    pub floor: f64,
    /// The largest norm of the gradients that `clip_scope` takes together; 0 (the default) does not clip.
    pub clip: f64,
    /// `INTERNEURON_CLIP_LAYER` (the default), `..._ARRAY`, or in a network `..._NETWORK`.
    pub clip_scope: i64,
    /// What weights keep the sum of their magnitudes: 0 (the default) nothing, 1 each array, 2 each row.
    pub kept_sums: i64,
    /// The angle rule, or NULL (the default).
    pub angle: *const AngleConfig,
    /// The natural gradient, or NULL (the default).
    pub natural: *const NaturalConfig,
}

/// The arrays of a layer: parameters, gradients of them, or what steps keep of them; of float, or of double where the
/// layer's `element` is `INTERNEURON_F64`. Row-major with the last index contiguous. A plain layer
/// has `wex` (its W) and `b`; a layer that only subtracts has neither `alpha` nor `g`; one that normalises has `wex`, `g`
/// and `b`, over a batch the running statistics, too (in the place of their gradients are the statistics of the batch).
/// Fields of arrays that a layer does not have must be NULL. Known sizes: with the fields up to `b`, `running_var`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Arrays {
    /// `sizeof(interneuron_arrays)`.
    pub size: u64,
    /// Wex `[ne, d]`: input to excitatory units, not negative; or the W `[ne, d]` of a plain layer, of any sign.
    pub wex: *mut c_void,
    /// Wix `[ni, d]`: input to interneurons, not negative.
    pub wix: *mut c_void,
    /// Wei `[ne, ni]`: interneurons to excitatory units, not negative.
    pub wei: *mut c_void,
    /// alpha `[ni]`: log-strength of divisive inhibition, of any sign.
    pub alpha: *mut c_void,
    /// g `[ne]`: gain, not negative where inhibition divides.
    pub g: *mut c_void,
    /// b `[ne]`: bias.
    pub b: *mut c_void,
    /// `[ne]`: the running mean of what batch normalisation takes the mean of.
    pub running_mean: *mut c_void,
    /// `[ne]`: its running variance, not negative.
    pub running_var: *mut c_void,
}

/// Where a struct ends that has this field as its last.
macro_rules! through {
    ($type:ident, $field:ident: $of:ty) => {
        offset_of!($type, $field) + size_of::<$of>()
    };
}

pub(crate) use through;

/// A struct that begins with its size, a `u64`.
///
/// # Safety
/// Any bits must be a value; the sizes at most that of the struct, and multiples of 8, the alignment, above 0.
pub unsafe trait Versioned: Copy {
    /// The sizes of all its versions.
    const SIZES: &'static [usize];
    /// What fields are that a caller's version does not have.
    const DEFAULT: Self;
}

// SAFETY: numbers and pointers; ends of fields.
unsafe impl Versioned for ContextConfig {
    const SIZES: &'static [usize] = &[through!(ContextConfig, threads: i64), size_of::<Self>()];
    const DEFAULT: Self = Self { size: 0, threads: 0, isa: std::ptr::null() };
}

// SAFETY: numbers; ends of fields.
unsafe impl Versioned for LayerConfig {
    const SIZES: &'static [usize] = &[
        through!(LayerConfig, ne: i64),
        through!(LayerConfig, ni: i64),
        through!(LayerConfig, nonlinearity: i64),
        through!(LayerConfig, divisive: i64),
        through!(LayerConfig, floor: f64),
        size_of::<Self>(),
    ];
    const DEFAULT: Self = Self {
        size: 0,
        d: 0,
        ne: 0,
        ni: 0,
        nonlinearity: 0,
        divisive: 1,
        kind: INTERNEURON_BY_NI,
        inhibitory_inputs: 0,
        inhibitory_outputs: 0,
        divisor: INTERNEURON_DIVISOR_PLAIN,
        floor: 0.0,
        element: INTERNEURON_F32,
    };
}

// SAFETY: numbers and pointers; ends of fields.
unsafe impl Versioned for NetworkConfig {
    const SIZES: &'static [usize] = &[
        through!(NetworkConfig, dims: *const i64),
        through!(NetworkConfig, nis: *const i64),
        through!(NetworkConfig, seed: u64),
        through!(NetworkConfig, mean_input: f64),
        size_of::<Self>(),
    ];
    const DEFAULT: Self = Self {
        size: 0,
        layers: 0,
        dims: std::ptr::null(),
        nis: std::ptr::null(),
        seed: 0,
        shapes: std::ptr::null(),
        scheme: 0,
        k: 0.0,
        mean_input: 0.0,
        element: INTERNEURON_F32,
    };
}

// SAFETY: numbers and pointers; ends of fields.
unsafe impl Versioned for UpdateConfig {
    const SIZES: &'static [usize] = &[
        through!(UpdateConfig, lr: f64),
        through!(UpdateConfig, corrections: i64),
        through!(UpdateConfig, factors: *const f64),
        size_of::<Self>(),
    ];
    const DEFAULT: Self = Self {
        size: 0,
        lr: 0.0,
        corrections: 0,
        factors: std::ptr::null(),
        decay: std::ptr::null(),
        decay_order: INTERNEURON_DECAY_BEFORE_MOMENTUM,
        momentum: std::ptr::null(),
        nesterov: 0,
        dampening: 0.0,
        adam: std::ptr::null(),
        split: 0.0,
        freeze_signs: 0,
        floor: 0.0,
        clip: 0.0,
        clip_scope: INTERNEURON_CLIP_LAYER,
        kept_sums: 0,
        angle: std::ptr::null(),
        natural: std::ptr::null(),
    };
}

// SAFETY: numbers; the whole.
unsafe impl Versioned for AdamConfig {
    const SIZES: &'static [usize] = &[size_of::<Self>()];
    const DEFAULT: Self = Self { size: 0, beta1: 0.0, beta2: 0.0, epsilon: 0.0, amsgrad: 0 };
}

// SAFETY: numbers; the whole.
unsafe impl Versioned for AngleConfig {
    const SIZES: &'static [usize] = &[size_of::<Self>()];
    const DEFAULT: Self = Self { size: 0, lr_min: 0.0, rates: 0, cosine_epsilon: 0.0 };
}

// SAFETY: numbers; the whole.
unsafe impl Versioned for NaturalConfig {
    const SIZES: &'static [usize] = &[size_of::<Self>()];
    const DEFAULT: Self = Self { size: 0, c: 0.0, f_lambda: 0.0, epsilon: 0.0, normalised: 0 };
}

// SAFETY: numbers and pointers; ends of fields.
unsafe impl Versioned for Arrays {
    const SIZES: &'static [usize] = &[through!(Arrays, b: *mut c_void), size_of::<Self>()];
    const DEFAULT: Self = {
        let null = std::ptr::null_mut();
        Self {
            size: 0,
            wex: null,
            wix: null,
            wei: null,
            alpha: null,
            g: null,
            b: null,
            running_mean: null,
            running_var: null,
        }
    };
}

/// Copies a caller's struct, whatever its version, and announces it as read.
///
/// # Safety
/// Unless NULL or misaligned, the pointer must be to a struct that is as large as its first field says.
pub unsafe fn versioned<T: Versioned>(arguments: &mut Arguments, name: &'static str, ptr: *const T) -> Outcome<T> {
    // SAFETY: as demanded here.
    let size = unsafe { known_size(name, ptr) }?;
    arguments.read(name, ptr.cast::<u8>(), size)?;
    // SAFETY: as large as its first field says.
    Ok(unsafe { copied(ptr, size) })
}

/// Copies `count` of a caller's structs, all of the same version and one after the other, and announces them as read.
///
/// # Safety
/// Unless NULL or misaligned, the pointer must be to as many structs, each as large as the first field of the first says.
pub unsafe fn versioned_array<T: Versioned>(
    arguments: &mut Arguments,
    name: &'static str,
    ptr: *const T,
    count: usize,
) -> Outcome<Vec<T>> {
    // SAFETY: as demanded here.
    let size = unsafe { known_size(name, ptr) }?;
    let bytes = size.saturating_mul(count);
    arguments.read(name, ptr.cast::<u8>(), bytes)?;
    (0..count)
        .map(|i| {
            let element = ptr.wrapping_byte_add(i * size);
            // SAFETY: inside of what the caller vouches for; sizes are multiples of the alignment.
            let own = unsafe { element.cast::<u64>().read() };
            if own != size as u64 {
                let expected = format!("{size}, as in the first");
                return Err(Failure::argument(&format!("{name}[{i}].size"), own, &expected));
            }
            // SAFETY: as above.
            Ok(unsafe { copied(element, size) })
        })
        .collect()
}

/// The size that a caller's struct says it has, if a version has it.
///
/// # Safety
/// As [`versioned`].
pub unsafe fn known_size<T: Versioned>(name: &str, ptr: *const T) -> Outcome<usize> {
    pointer(name, ptr)?;
    // SAFETY: not NULL and aligned; the caller vouches for the struct, which begins with its size.
    let size = unsafe { ptr.cast::<u64>().read() };
    T::SIZES.iter().find(|&&known| known as u64 == size).copied().ok_or_else(|| {
        let known: Vec<_> = T::SIZES.iter().map(usize::to_string).collect();
        let expected = format!("the size of a version that this library knows, in bytes: {}", known.join(", "));
        Failure::argument(&format!("{name}->size"), size, &expected)
    })
}

/// What a caller's struct holds, with defaults for what its version does not have.
///
/// # Safety
/// `size` is one of `SIZES`, and the pointer is to as many readable bytes.
unsafe fn copied<T: Versioned>(ptr: *const T, size: usize) -> T {
    let mut value = T::DEFAULT;
    // SAFETY: both are at least `size` bytes; any bits are a value; a local is in no one else's memory.
    unsafe { std::ptr::copy_nonoverlapping(ptr.cast::<u8>(), (&raw mut value).cast::<u8>(), size) };
    value
}

/// An update whose numbers for each role are still in the caller's memory.
pub struct UpdateInput {
    update: Update,
    factors: Input<f64>,
    decay: Input<f64>,
    momentum: Input<f64>,
}

impl UpdateInput {
    /// # Safety
    /// As [`versioned`], of the update and of the structs that it points to.
    pub unsafe fn read(arguments: &mut Arguments, update: *const UpdateConfig) -> Outcome<Self> {
        // SAFETY: as demanded here.
        let config = unsafe { versioned(arguments, "update", update) }?;
        let mut six = |name, numbers: *const f64| arguments.read(name, numbers, if numbers.is_null() { 0 } else { 6 });
        let factors = six("update->factors", config.factors)?;
        let decay = six("update->decay", config.decay)?;
        let momentum = six("update->momentum", config.momentum)?;
        // SAFETY: as demanded here.
        let (adam, angle, natural) = unsafe {
            (
                optional(arguments, "update->adam", config.adam)?,
                optional(arguments, "update->angle", config.angle)?,
                optional(arguments, "update->natural", config.natural)?,
            )
        };
        let orders = [DecayOrder::BeforeMomentum, DecayOrder::AfterMomentum, DecayOrder::Decoupled];
        let scopes = [ClipScope::Layer, ClipScope::Array, ClipScope::Network];
        let sums = [None, Some(KeptSums::Array), Some(KeptSums::Row)];
        let projected = config.split == 0.0;
        let frozen = flag("update->freeze_signs", config.freeze_signs)?;
        if !frozen && config.floor != 0.0 {
            return Err(Failure::argument("update->floor", config.floor, "0 without freeze_signs"));
        }
        let update = Update {
            corrections: flag("update->corrections", config.corrections)?,
            descent: if projected { Descent::Projected } else { Descent::Exponentiated { split: config.split } },
            decay_order: choice("update->decay_order", config.decay_order, &orders)?,
            nesterov: flag("update->nesterov", config.nesterov)?,
            dampening: config.dampening,
            adam: adam.map(AdamConfig::get).transpose()?,
            floor: frozen.then_some(config.floor),
            clip: Some(config.clip).filter(|clip| *clip != 0.0),
            clip_scope: choice("update->clip_scope", config.clip_scope, &scopes)?,
            kept_sums: choice("update->kept_sums", config.kept_sums, &sums)?,
            angle: angle.map(AngleConfig::get).transpose()?,
            natural: natural.map(NaturalConfig::get).transpose()?,
            ..Update::sgd(config.lr)
        };
        Ok(Self { update, factors, decay, momentum })
    }

    /// # Safety
    /// The arrays, unless NULL, must be six readable numbers each.
    pub unsafe fn get(self, checked: &Checked) -> Update {
        let per_role = |numbers: Input<f64>, default| {
            // SAFETY: as demanded here.
            let given = ROLES.into_iter().zip(unsafe { numbers.slice(checked) });
            given.fold(PerRole::all(default), |all, (role, &number)| all.with(role, number))
        };
        let Self { update, factors, decay, momentum } = self;
        Update {
            factors: per_role(factors, 1.0),
            decay: per_role(decay, 0.0),
            momentum: per_role(momentum, 0.0),
            ..update
        }
    }
}

/// As [`versioned`], or nothing where the pointer is NULL.
///
/// # Safety
/// As [`versioned`].
unsafe fn optional<T: Versioned>(arguments: &mut Arguments, name: &'static str, ptr: *const T) -> Outcome<Option<T>> {
    // SAFETY: as demanded here.
    if ptr.is_null() { Ok(None) } else { unsafe { versioned(arguments, name, ptr) }.map(Some) }
}

impl AdamConfig {
    fn get(self) -> Outcome<Adam> {
        let Self { beta1, beta2, epsilon, amsgrad, .. } = self;
        Ok(Adam { betas: [beta1, beta2], epsilon, amsgrad: flag("update->adam->amsgrad", amsgrad)? })
    }
}

impl AngleConfig {
    fn get(self) -> Outcome<Angle> {
        let Self { lr_min, rates, cosine_epsilon, .. } = self;
        Ok(Angle { lr_min, rates: size("update->angle->rates", rates, 1)?, cosine_epsilon })
    }
}

impl NaturalConfig {
    fn get(self) -> Outcome<Natural> {
        let Self { c, f_lambda, epsilon, normalised, .. } = self;
        Ok(Natural { c, f_lambda, epsilon, normalised: flag("update->natural->normalised", normalised)? })
    }
}
