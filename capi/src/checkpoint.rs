//! Networks in training, saved as files and loaded again.

use crate::arguments::{Arguments, pointer};
use crate::network::NetworkHandle;
use crate::status::{Outcome, call};
use crate::table::{self, ContextId, NetworkId};
use interneuron::checkpoint::{self, Run};
use std::ffi::{CStr, c_char};
use std::path::PathBuf;

/// The path that a caller's string is.
///
/// # Safety
/// Unless NULL, the string ends with NUL.
unsafe fn path(path: *const c_char) -> Outcome<PathBuf> {
    pointer("path", path)?;
    // SAFETY: as demanded here.
    let text = unsafe { CStr::from_ptr(path) };
    #[cfg(unix)]
    let path = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(text.to_bytes()).into();
    #[cfg(not(unix))]
    let path = text.to_string_lossy().into_owned().into();
    Ok(path)
}

/// Saves a network, with what its updates keep and the steps that it has taken, as a safetensors file, which Python and
/// the Rust crate read, too. The file takes its place whole or not at all, and a network that diverged is not saved.
/// `seed` is kept for the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_save(network: NetworkId, path: *const c_char, seed: u64) -> i32 {
    call(|| {
        // SAFETY: the contract of the header.
        let path = unsafe { self::path(path) }?;
        table::with(network, |NetworkHandle { network, .. }| Ok(checkpoint::save(path, network, &Run::new(seed))?))
    })
}

/// Loads a network of float that `interneuron_network_save`, the Rust crate or Python wrote, and stores its handle in
/// `*network`, and the seed in `*seed` unless that is NULL. What follows has the same bits as if training had not
/// stopped. Files that are broken, or do not hold what they say, are refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_load(
    context: ContextId,
    path: *const c_char,
    network: *mut NetworkId,
    seed: *mut u64,
) -> i32 {
    call(|| {
        // SAFETY: the contract of the header.
        let path = unsafe { self::path(path) }?;
        let mut arguments = Arguments::new();
        let network = arguments.write("network", network, 1)?;
        let seed = arguments.write_wanted("seed", seed, 1)?;
        let checked = arguments.check()?;
        let context = table::context(context)?;
        let (loaded, run) = checkpoint::load::<f32>(path, &context.isa.into())?;
        let handle = table::insert(NetworkHandle { network: loaded, context });
        // SAFETY: the contract of the header.
        unsafe {
            network.put(handle, &checked);
            crate::layer::put(seed, run.seed, &checked);
        }
        Ok(())
    })
}
