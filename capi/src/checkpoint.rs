//! Networks in training, saved as files and loaded again, and what is done to their inputs.

use crate::arguments::{Arguments, pointer};
use crate::layer::put;
use crate::network::NetworkHandle;
use crate::status::{Outcome, call};
use crate::table::{self, ContextId, NetworkId};
use interneuron::Scaler;
use interneuron::checkpoint::{self, Run};
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

/// Saves a network, with what its updates keep, the steps that it has taken and what is done to its inputs, as a
/// safetensors file, which Python and the Rust crate read, too. The file takes its place whole or not at all, and a network
/// that diverged is not saved. `seed` is kept for the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_save(network: NetworkId, path: *const c_char, seed: u64) -> i32 {
    call(|| {
        // SAFETY: the contract of the header.
        let path = unsafe { self::path(&mut Arguments::new(), path) }?;
        table::with(network, |NetworkHandle { network, run, .. }| {
            // The state of a generator is that of its seed.
            let begun = if seed == run.seed { run.clone() } else { Run::new(seed) };
            checkpoint::save(path, network, &Run { scaler: run.scaler.clone(), ..begun })?;
            Ok(())
        })
    })
}

/// Loads a network of float that `interneuron_network_save`, the Rust crate or Python wrote, and stores its handle in
/// `*network`, and the seed in `*seed` unless that is NULL. What follows has the same bits as if training had not
/// stopped. Files that are broken, or do not hold what they say, are refused. If the file says what is done to inputs,
/// `interneuron_network_get_scaler` tells: the network computes with inputs that are handed to it as they are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_load(
    context: ContextId,
    path: *const c_char,
    network: *mut NetworkId,
    seed: *mut u64,
) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        // SAFETY: the contract of the header.
        let path = unsafe { self::path(&mut arguments, path) }?;
        let network = arguments.write("network", network, 1)?;
        let seed = arguments.write_wanted("seed", seed, 1)?;
        let checked = arguments.check()?;
        let context = table::context(context)?;
        let (loaded, run) = checkpoint::load::<f32>(path, &context.isa.into())?;
        let kept = run.seed;
        let handle = table::insert(NetworkHandle { network: loaded, context, run });
        // SAFETY: the contract of the header.
        unsafe {
            network.put(handle, &checked);
            put(seed, kept, &checked);
        }
        Ok(())
    })
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
        table::with(network, |NetworkHandle { network, run, .. }| {
            let mut arguments = Arguments::new();
            let there = arguments.write_wanted("there", there, 1)?;
            let maps = [("offset", offset), ("scale", scale)];
            let [offset, scale] = maps.map(|(name, map)| arguments.write_wanted(name, map, network.inputs()));
            let (maps, checked) = ([offset?, scale?], arguments.check()?);
            // SAFETY: the contract of the header.
            unsafe { put(there, run.scaler.is_some().into(), &checked) };
            let Some(scaler) = &run.scaler else { return Ok(()) };
            for (map, from) in maps.into_iter().zip([scaler.offset(), scaler.scale()]) {
                if let Some(map) = map {
                    // SAFETY: the contract of the header.
                    unsafe { map.slice(&checked) }.copy_from_slice(from);
                }
            }
            Ok(())
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
        table::with(network, |NetworkHandle { network, run, .. }| {
            if offset.is_null() && scale.is_null() {
                run.scaler = None;
                return Ok(());
            }
            let mut arguments = Arguments::new();
            let offset = arguments.read("offset", offset, network.inputs())?;
            let scale = arguments.read("scale", scale, network.inputs())?;
            let checked = arguments.check()?;
            // SAFETY: the contract of the header.
            let (offset, scale) = unsafe { (offset.slice(&checked), scale.slice(&checked)) };
            run.scaler = Some(Scaler::new(offset.to_vec(), scale.to_vec())?);
            Ok(())
        })
    })
}
