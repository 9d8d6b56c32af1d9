//! Structs that begin with their own size, by which a library knows what a caller of another version means.

use crate::arguments::{Arguments, Checked, Input, flag, pointer};
use crate::status::{Failure, Outcome};
use interneuron::{PerRole, Role, Update};
use std::ffi::c_char;
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

/// What a layer is. Known sizes: with the fields up to `ne`, `ni`, `nonlinearity`, `divisive`.
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
    /// 1 (the default) if inhibition divides as well as subtracts, 0 if it only subtracts. Without meaning in a plain
    /// layer.
    pub divisive: i64,
}

/// What a network is. Hidden layers have ReLU, the last one the identity. Known sizes: with the fields up to `dims`,
/// `nis`, `seed`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NetworkConfig {
    /// `sizeof(interneuron_network_config)`.
    pub size: u64,
    /// The number of layers, from 1 to 1024.
    pub layers: i64,
    /// `layers + 1` numbers: the inputs, then the (excitatory) units of each layer.
    pub dims: *const i64,
    /// `layers` numbers: the interneurons of each layer; or NULL (the default), which makes a network of plain layers.
    pub nis: *const i64,
    /// The seed of the parameters. Default 0.
    pub seed: u64,
}

/// How a step changes the parameters: `p <- p - lr * factor * correction * dp`, then `max(p, 0)` for Wex, Wix, Wei and
/// g. Known sizes: with the fields up to `lr`, `corrections`, `factors`.
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
    /// negative; or NULL (the default): all 1.
    pub factors: *const f64,
}

/// The arrays of a layer: parameters, or gradients of them. Row-major with the last index contiguous. A plain layer
/// has `wex` (its W) and `b`; a layer that only subtracts has neither `alpha` nor `g`. Fields of arrays that a layer
/// does not have must be NULL.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Arrays {
    /// `sizeof(interneuron_arrays)`.
    pub size: u64,
    /// Wex `[ne, d]`: input to excitatory units, not negative; or the W `[ne, d]` of a plain layer, of any sign.
    pub wex: *mut f32,
    /// Wix `[ni, d]`: input to interneurons, not negative.
    pub wix: *mut f32,
    /// Wei `[ne, ni]`: interneurons to excitatory units, not negative.
    pub wei: *mut f32,
    /// alpha `[ni]`: log-strength of divisive inhibition, of any sign.
    pub alpha: *mut f32,
    /// g `[ne]`: gain, not negative.
    pub g: *mut f32,
    /// b `[ne]`: bias.
    pub b: *mut f32,
}

/// Where a struct ends that has this field as its last.
macro_rules! through {
    ($type:ident, $field:ident: $of:ty) => {
        offset_of!($type, $field) + size_of::<$of>()
    };
}

/// A struct that begins with its size, a `u64`.
///
/// # Safety
/// Any bits must be a value, and the sizes at most that of the struct and at least that of a `u64`.
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
        size_of::<Self>(),
    ];
    const DEFAULT: Self = Self { size: 0, d: 0, ne: 0, ni: 0, nonlinearity: 0, divisive: 1 };
}

// SAFETY: numbers and pointers; ends of fields.
unsafe impl Versioned for NetworkConfig {
    const SIZES: &'static [usize] =
        &[through!(NetworkConfig, dims: *const i64), through!(NetworkConfig, nis: *const i64), size_of::<Self>()];
    const DEFAULT: Self = Self { size: 0, layers: 0, dims: std::ptr::null(), nis: std::ptr::null(), seed: 0 };
}

// SAFETY: numbers and pointers; ends of fields.
unsafe impl Versioned for UpdateConfig {
    const SIZES: &'static [usize] =
        &[through!(UpdateConfig, lr: f64), through!(UpdateConfig, corrections: i64), size_of::<Self>()];
    const DEFAULT: Self = Self { size: 0, lr: 0.0, corrections: 0, factors: std::ptr::null() };
}

// SAFETY: numbers and pointers; the whole.
unsafe impl Versioned for Arrays {
    const SIZES: &'static [usize] = &[size_of::<Self>()];
    const DEFAULT: Self = {
        let null = std::ptr::null_mut();
        Self { size: 0, wex: null, wix: null, wei: null, alpha: null, g: null, b: null }
    };
}

/// Copies a caller's struct, whatever its version, and announces it as read.
///
/// # Safety
/// Unless NULL or misaligned, the pointer must be to a struct that is as large as its first field says.
pub unsafe fn versioned<T: Versioned>(arguments: &mut Arguments, name: &'static str, ptr: *const T) -> Outcome<T> {
    pointer(name, ptr)?;
    // SAFETY: not NULL and aligned; the caller vouches for the struct, which begins with its size.
    let size = unsafe { ptr.cast::<u64>().read() };
    let Some(&size) = T::SIZES.iter().find(|&&known| known as u64 == size) else {
        let known: Vec<_> = T::SIZES.iter().map(usize::to_string).collect();
        let expected = format!("the size of a version that this library knows, in bytes: {}", known.join(", "));
        return Err(Failure::argument(&format!("{name}->size"), size, &expected));
    };
    arguments.read(name, ptr.cast::<u8>(), size)?;
    let mut value = T::DEFAULT;
    // SAFETY: both are at least `size` bytes, one of `SIZES`; any bits are a value; a local is in no one else's memory.
    unsafe { std::ptr::copy_nonoverlapping(ptr.cast::<u8>(), (&raw mut value).cast::<u8>(), size) };
    Ok(value)
}

/// An update whose factors are still in the caller's memory.
pub struct UpdateInput {
    update: Update,
    factors: Input<f64>,
}

impl UpdateInput {
    /// # Safety
    /// As [`versioned`].
    pub unsafe fn read(arguments: &mut Arguments, update: *const UpdateConfig) -> Outcome<Self> {
        // SAFETY: as demanded here.
        let config = unsafe { versioned(arguments, "update", update) }?;
        let update = Update { corrections: flag("update->corrections", config.corrections)?, ..Update::sgd(config.lr) };
        let six = if config.factors.is_null() { 0 } else { 6 };
        Ok(Self { update, factors: arguments.read("update->factors", config.factors, six)? })
    }

    /// # Safety
    /// The factors, unless NULL, must be six readable numbers.
    pub unsafe fn get(self, checked: &Checked) -> Update {
        // SAFETY: as demanded here.
        let given = Role::MOVED.into_iter().zip(unsafe { self.factors.slice(checked) });
        let factors = given.fold(PerRole::all(1.0), |factors, (role, &factor)| factors.with(role, factor));
        Update { factors, ..self.update }
    }
}
