//! Networks in training, saved as files and loaded again, and what is done to their inputs.

use crate::arguments::{Arguments, pointer};
use crate::element::either;
use crate::layer::put;
use crate::network::{AnyNetwork, NetworkHandle};
use crate::status::{Failure, INTERNEURON_FILE, Outcome, call};
use crate::table::{self, ContextId, NetworkId};
use interneuron::checkpoint::{self, Run};
use interneuron::{Element, Error, Scaler};
use std::ffi::{CStr, c_char};
use std::path::PathBuf;

/// The path that a caller's string is, announced as read.
///
/// # Safety
/// Unless NULL, the string ends with NUL.
unsafe fn path(arguments: &mut Arguments, path: *const c_char) -> Outcome<PathBuf> {
    pointer("path", path)?;
    // SAFETY: as demanded here.
    let text = unsafe { CStr::from_ptr(path) };
    arguments.read("path", path, text.count_bytes() + 1)?;
    #[cfg(unix)]
    let path = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(text.to_bytes()).into();
    #[cfg(not(unix))]
    let path =
        text.to_str().map_err(|_| crate::status::Failure::argument("path", format!("{text:?}"), "UTF-8"))?.into();
    Ok(path)
}

impl<T: Element> NetworkHandle<T> {
    /// # Safety
    /// The contract of the header.
    unsafe fn save(&self, mut arguments: Arguments, path: PathBuf, seed: u64) -> Outcome {
        let Self { plan, params, state, run, lengths, .. } = self;
        let params = params.read(&mut arguments, lengths)?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        let params = unsafe { params.views(plan, &checked) }?;
        // The state of a generator is that of its seed.
        let begun = if seed == run.seed { run.clone() } else { Run::new(seed) };
        checkpoint::save_plan(path, plan, params.params(), state, &Run { scaler: run.scaler.clone(), ..begun })?;
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn get_scaler(&self, there: *mut i64, offset: *mut f64, scale: *mut f64) -> Outcome {
        let Self { plan, run, .. } = self;
        let mut arguments = Arguments::new();
        let there = arguments.write_wanted("there", there, 1)?;
        let maps = [("offset", offset), ("scale", scale)];
        let [offset, scale] = maps.map(|(name, map)| arguments.write_wanted(name, map, plan.inputs()));
        let maps = [offset?, scale?];
        self.announce(&mut arguments)?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        unsafe { put(there, run.scaler.is_some().into(), &checked) };
        let Some(scaler) = &run.scaler else { return Ok(()) };
        for (map, from) in maps.into_iter().zip([scaler.offset(), scaler.scale()]) {
            if let Some(map) = map {
                // SAFETY: as demanded here.
                unsafe { map.slice(&checked) }.copy_from_slice(from);
            }
        }
        Ok(())
    }

    /// # Safety
    /// The contract of the header.
    unsafe fn set_scaler(&mut self, offset: *const f64, scale: *const f64) -> Outcome {
        if offset.is_null() && scale.is_null() {
            self.run.scaler = None;
            return Ok(());
        }
        let mut arguments = Arguments::new();
        let offset = arguments.read("offset", offset, self.plan.inputs())?;
        let scale = arguments.read("scale", scale, self.plan.inputs())?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        let (offset, scale) = unsafe { (offset.slice(&checked), scale.slice(&checked)) };
        self.run.scaler = Some(Scaler::new(offset.to_vec(), scale.to_vec())?);
        Ok(())
    }
}

/// Saves a network, with what its updates keep, the steps that it has taken and what is done to its inputs, as a
/// safetensors file, which Python and the Rust crate read, too. The file takes its place whole or not at all, and a network
/// that diverged is not saved. `seed` is kept for the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_save(network: NetworkId, path: *const c_char, seed: u64) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        // SAFETY: the contract of the header.
        let path = unsafe { self::path(&mut arguments, path) }?;
        table::with(network, |network: &mut AnyNetwork| {
            // SAFETY: the contract of the header.
            unsafe { either!(network, network => network.save(arguments, path, seed)) }
        })
    })
}

/// A network of elements `T` from a file.
///
/// # Safety
/// The contract of the header.
unsafe fn load<T: Element>(
    context: ContextId,
    path: *const c_char,
    network: *mut NetworkId,
    seed: *mut u64,
    of: impl FnOnce(NetworkHandle<T>) -> AnyNetwork,
) -> Outcome {
    let mut arguments = Arguments::new();
    // SAFETY: as demanded here.
    let path = unsafe { self::path(&mut arguments, path) }?;
    let network = arguments.write("network", network, 1)?;
    let seed = arguments.write_wanted("seed", seed, 1)?;
    let checked = arguments.check()?;
    let context = table::context(context)?;
    let name = path.display().to_string();
    let (loaded, run) = checkpoint::load(path, &context.isa.into())?;
    // Calls have no steps: each example would be a sequence of one.
    if loaded.shapes().any(|shape| shape.is_recurrent()) {
        let (what, expected) = ("a recurrent layer in the C library", "layers without states");
        let error = Error::Unsupported { what, expected };
        return Err(Failure::new(INTERNEURON_FILE, format!("{name}: {error}")));
    }
    let kept = run.seed;
    let handle = table::insert(of(NetworkHandle::new(loaded, context, run)));
    // SAFETY: as demanded here.
    unsafe {
        network.put(handle, &checked);
        put(seed, kept, &checked);
    }
    Ok(())
}

/// Loads a network of float that `interneuron_network_save`, the Rust crate or Python wrote, and stores its handle in
/// `*network`, and the seed in `*seed` unless that is NULL. What follows has the same bits as if training had not
/// stopped. Files that are broken, or do not hold what they say, are refused. Recurrent layers are
/// refused, too. If the file says what is done to inputs, `interneuron_network_get_scaler` tells: the network computes with inputs that are handed to it as they are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_load(
    context: ContextId,
    path: *const c_char,
    network: *mut NetworkId,
    seed: *mut u64,
) -> i32 {
    // SAFETY: the contract of the header.
    call(|| unsafe { load(context, path, network, seed, AnyNetwork::F32) })
}

/// As `interneuron_network_load`, of a network of double. A file holds numbers of one of them, and the call for the other
/// refuses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_load_f64(
    context: ContextId,
    path: *const c_char,
    network: *mut NetworkId,
    seed: *mut u64,
) -> i32 {
    // SAFETY: the contract of the header.
    call(|| unsafe { load(context, path, network, seed, AnyNetwork::F64) })
}

/// What is done to inputs before the network sees them, which is the caller's to do: `(x - offset) * scale`, as a file had
/// it or as it was set. Stores 1 in `*there` and overwrites `offset [inputs]` and `scale [inputs]`, or stores 0 and leaves
/// them alone. Each may be NULL: not wanted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_get_scaler(
    network: NetworkId,
    there: *mut i64,
    offset: *mut f64,
    scale: *mut f64,
) -> i32 {
    call(|| {
        table::with(network, |network: &mut AnyNetwork| {
            // SAFETY: the contract of the header.
            unsafe { either!(network, network => network.get_scaler(there, offset, scale)) }
        })
    })
}

/// Sets what is done to inputs before the network sees them, for files to hold: `offset [inputs]`, finite, and
/// `scale [inputs]`, finite and above 0; or both NULL: nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_set_scaler(
    network: NetworkId,
    offset: *const f64,
    scale: *const f64,
) -> i32 {
    call(|| {
        table::with(network, |network: &mut AnyNetwork| {
            // SAFETY: the contract of the header.
            unsafe { either!(network, network => network.set_scaler(offset, scale)) }
        })
    })
}
