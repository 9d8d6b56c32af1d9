//! Tests of the entry points, called as a C program calls them.

mod attached;
mod elements;
#[cfg(unix)]
mod fork;
mod overhead;
mod refusals;
mod results;
mod states;
mod threads;
mod training;

use crate::config::{Arrays, ContextConfig, LayerConfig, NetworkConfig, UpdateConfig, Versioned};
use crate::context::{interneuron_context_create, interneuron_context_free};
use crate::layer::{interneuron_layer_create, interneuron_layer_free};
use crate::network::{interneuron_network_create, interneuron_network_free};
use crate::status::{INTERNEURON_OK, interneuron_last_error};
use std::ffi::{CStr, CString};
use std::ptr::null_mut;

/// What an output holds that nobody has written to.
const UNTOUCHED: f32 = -77.0;

/// Asserts that a call succeeds.
#[track_caller]
fn ok(status: i32) {
    assert_eq!(status, INTERNEURON_OK, "{}", last_error());
}

/// Asserts that a call fails with this status and a text that has all of these parts.
#[track_caller]
fn fails(status: i32, expected: i32, parts: &[&str]) {
    let text = last_error();
    assert_eq!(status, expected, "{text}");
    for part in parts {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
}

fn last_error() -> String {
    // SAFETY: a string that ends with NUL, and no call of this thread fails before it is copied.
    unsafe { CStr::from_ptr(interneuron_last_error()) }.to_str().unwrap().to_owned()
}

/// A context that is freed at the end.
struct OwnContext(u64);

impl OwnContext {
    fn new(threads: i64, isa: &str) -> Self {
        let isa = CString::new(isa).unwrap();
        let size = size_of::<ContextConfig>() as u64;
        let config = ContextConfig { size, threads, isa: if isa.is_empty() { std::ptr::null() } else { isa.as_ptr() } };
        let mut handle = 0;
        // SAFETY: pointers to locals.
        ok(unsafe { interneuron_context_create(&config, &mut handle) });
        Self(handle)
    }

    fn layer(&self, config: LayerConfig) -> OwnLayer {
        let mut handle = 0;
        // SAFETY: pointers to locals.
        ok(unsafe { interneuron_layer_create(self.0, &config, &mut handle) });
        OwnLayer(handle)
    }

    fn network(&self, dims: &[i64], nis: Option<&[i64]>, seed: u64) -> OwnNetwork {
        let config = network_config(dims, nis, seed);
        let mut handle = 0;
        // SAFETY: pointers to locals and to as many numbers as there are layers.
        ok(unsafe { interneuron_network_create(self.0, &config, &mut handle) });
        OwnNetwork(handle)
    }
}

impl Drop for OwnContext {
    fn drop(&mut self) {
        interneuron_context_free(self.0);
    }
}

/// A layer that is freed at the end.
struct OwnLayer(u64);

impl Drop for OwnLayer {
    fn drop(&mut self) {
        interneuron_layer_free(self.0);
    }
}

/// A network that is freed at the end.
struct OwnNetwork(u64);

impl Drop for OwnNetwork {
    fn drop(&mut self) {
        interneuron_network_free(self.0);
    }
}

fn layer_config(d: i64, ne: i64, ni: i64) -> LayerConfig {
    LayerConfig { size: size_of::<LayerConfig>() as u64, d, ne, ni, ..LayerConfig::DEFAULT }
}

fn network_config(dims: &[i64], nis: Option<&[i64]>, seed: u64) -> NetworkConfig {
    let nis = nis.map_or(std::ptr::null(), <[i64]>::as_ptr);
    let layers = dims.len() as i64 - 1;
    NetworkConfig {
        size: size_of::<NetworkConfig>() as u64,
        layers,
        dims: dims.as_ptr(),
        nis,
        seed,
        ..NetworkConfig::DEFAULT
    }
}

fn update_config(lr: f64, corrections: i64) -> UpdateConfig {
    UpdateConfig { size: size_of::<UpdateConfig>() as u64, lr, corrections, ..UpdateConfig::DEFAULT }
}

/// Arrays of a layer in Rust's memory, in the order of the fields; empty ones, and those that are missing at the end, are
/// NULL for C.
fn pointers<T, const N: usize>(arrays: &mut [Vec<T>; N]) -> Arrays {
    let mut all = arrays.iter_mut().map(|a| if a.is_empty() { null_mut() } else { a.as_mut_ptr().cast() });
    let [wex, wix, wei, alpha, g, b, running_mean, running_var] = [(); 8].map(|()| all.next().unwrap_or(null_mut()));
    Arrays { size: size_of::<Arrays>() as u64, wex, wix, wei, alpha, g, b, running_mean, running_var }
}

/// Arrays of a layer with inhibition, untouched.
fn untouched(d: usize, ne: usize, ni: usize) -> [Vec<f32>; 6] {
    [ne * d, ni * d, ne * ni, ni, ne, ne].map(|len| vec![UNTOUCHED; len])
}

/// Some numbers from 0 to 1.
fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * i % 31) as f32 / 32.0).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
