//! What the tests share: the instruction sets to run on, and how close is close enough.
#![allow(dead_code)] // each test binary uses a part

use interneuron::{Element, Isa};
use std::io::Write;
use std::sync::Once;

/// The instruction sets to test: the one that `INTERNEURON_ISA` forces, or all that this CPU has. Says once in each
/// test binary which these are and which are skipped, past the capture of the test harness.
pub fn isas() -> Vec<Isa> {
    static SAID: Once = Once::new();
    let forced = std::env::var_os(Isa::ENV).is_some();
    let isas: Vec<Isa> =
        if forced { vec![Isa::select().expect("INTERNEURON_ISA")] } else { Isa::available().collect() };
    SAID.call_once(|| {
        let names: Vec<_> = isas.iter().map(|isa| isa.name()).collect();
        let skipped: Vec<_> = Isa::NAMES.into_iter().filter(|name| !names.contains(name)).collect();
        let why = if forced { "another is forced" } else { "this CPU lacks it" };
        let mut message = format!("instruction sets tested: {}", names.join(", "));
        if !skipped.is_empty() {
            message += &format!("; SKIPPED: {} ({why})", skipped.join(", "));
        }
        let _ = writeln!(std::io::stderr(), "{message}");
    });
    isas
}

/// How far a result may be from the reference, relative to the largest element of the array.
///
/// The reference computes in f64. A sum of n rounded products is off by at most about n·ε times the sum of their
/// magnitudes, typically √n·ε. Excitation is a sum of positive terms of which inhibition then removes nearly all, so
/// the error of ẑ is larger than its own ε by the ratio of excitation to spread, about √d.
pub trait Tolerance: Element {
    /// One pass of a layer: √n · √d · ε for sums and layers of up to a few hundred, times a margin of about 10.
    const LAYER: f64;
    /// Parameters after some steps of a network: errors pass through the layers and add up over the steps.
    const NETWORK: f64;
}

impl Tolerance for f32 {
    const LAYER: f64 = 1e-4;
    const NETWORK: f64 = 2e-4;
}

impl Tolerance for f64 {
    const LAYER: f64 = 1e-12;
    const NETWORK: f64 = 1e-11;
}

/// The largest difference, relative to the largest element of `want`.
pub fn distance<T: Element>(got: &[T], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len(), "length");
    let scale = want.iter().fold(0.0, |m: f64, w| m.max(w.abs()));
    let difference = got.iter().zip(want).map(|(g, w)| (g.to_f64() - w).abs());
    // A NaN must not pass as small.
    let largest = difference.fold(0.0, |m: f64, d| if d > m || d.is_nan() { d } else { m });
    if largest == 0.0 { 0.0 } else { largest / scale }
}

/// Panics unless `got` is close to `want`.
#[track_caller]
pub fn assert_close<T: Element>(what: &str, got: &[T], want: &[f64], tolerance: f64) {
    let distance = distance(got, want);
    assert!(distance <= tolerance, "{what}: off by {distance:.2e} of the largest element, allowed {tolerance:.0e}");
}

/// The array in another element type.
pub fn cast<T: Element>(values: &[f64]) -> Vec<T> {
    values.iter().map(|&value| T::from_f64(value)).collect()
}

/// The bits of an array, for comparing exactly.
pub fn bits<T: Element>(values: &[T]) -> Vec<u64> {
    values.iter().map(|value| value.to_f64().to_bits()).collect()
}
