//! What the tests share: the instruction sets to run on, and how close is close enough.
#![allow(dead_code)] // each test binary uses a part

pub mod examples;
pub mod problem;

use interneuron::{Element, Isa, RandomNumbers};
use std::ffi::OsString;
use std::io::Write;
use std::sync::Once;

/// An environment variable; one that is empty counts as not set.
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The instruction sets to test: the one that `INTERNEURON_ISA` forces, or all that this CPU has. Says once in each
/// test binary which these are and which are skipped, past the capture of the test harness.
pub fn isas() -> Vec<Isa> {
    static SAID: Once = Once::new();
    let forced = variable(Isa::ENV).is_some();
    let isas: Vec<Isa> =
        if forced { vec![Isa::select().expect("INTERNEURON_ISA")] } else { Isa::available().collect() };
    SAID.call_once(|| {
        let names: Vec<_> = isas.iter().map(|isa| isa.name()).collect();
        let skipped: Vec<_> = Isa::NAMES.iter().copied().filter(|name| !names.contains(name)).collect();
        let why = if forced { "another is forced" } else { "this CPU lacks it" };
        let mut message = format!("instruction sets tested: {}", names.join(", "));
        if !skipped.is_empty() {
            message += &format!("; SKIPPED: {} ({why})", skipped.join(", "));
        }
        let _ = writeln!(std::io::stderr(), "{message}");
    });
    isas
}

/// How far a result may be from the reference, which computes in f64, relative to the scale of the array.
///
/// The scale is the largest element, or what the result would change by, scaled up, if the inputs changed in their last
/// digits: excitation is a sum of positive terms of which inhibition removes nearly all, so rounding can weigh more
/// than it seems from the result. A sum of n products, rounded one by one, is off by about √n·ε of that.
pub trait Tolerance: Element {
    /// The distance from 1 to the next number.
    const EPSILON: f64;
    /// One pass of a layer with up to 130 units, inputs and examples: √130·ε and a margin of about 10.
    const LAYER: f64;
    /// Ten steps of a network of three layers, whose errors add up.
    const NETWORK: f64;

    /// As many steps of a network of three layers. Training amplifies errors: what differs by a rounding at first
    /// drifts apart, and goes on to do so.
    ///
    /// Measured: 40 seeds each of networks like the golden ones, of four kinds and at three rates, the portable kernels
    /// against AVX2 and against parameters changed in their last digits, for 50 steps in f64. Of networks with
    /// inhibition and 64 inputs, which amplify most, the worst loss of the seeds was off by 1e-15 to 6e-14 after 10
    /// steps and by 2e-12 to 9e-10 after 25, and the worst parameter by 3e-14 to 3e-12 and by 5e-11 to 3e-8: 8 to 15
    /// doublings in 15 steps, one a step at most. It does not grow evenly, but by bursts when a unit crosses the kink
    /// of its ReLU: of up to 8 doublings in 5 steps, which are 3 more than that. In f32 nothing is left to compare
    /// after some 20 steps: long runs are held to f64.
    fn network(steps: usize) -> f64 {
        const TEN: usize = 10;
        const BURST: usize = 3;
        if steps <= TEN { Self::NETWORK } else { Self::NETWORK * 2_f64.powi((steps - TEN + BURST) as i32) }
    }
}

impl Tolerance for f32 {
    const EPSILON: f64 = f32::EPSILON as f64;
    const LAYER: f64 = 1e-5;
    const NETWORK: f64 = 1e-5;
}

impl Tolerance for f64 {
    const EPSILON: f64 = f64::EPSILON;
    const LAYER: f64 = 2e-14;
    const NETWORK: f64 = 1e-13;
}

/// The largest magnitude in an array.
pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m: f64, value| m.max(value.abs()))
}

/// Panics unless `got` is close to `want`, relative to the largest element of `want`.
#[track_caller]
pub fn assert_close<T: Element>(what: &str, got: &[T], want: &[f64], tolerance: f64) {
    assert_within(what, got, want, largest(want), tolerance);
}

/// Panics unless `got` differs from `want` nowhere by more than `tolerance · scale`.
#[track_caller]
pub fn assert_within<T: Element>(what: &str, got: &[T], want: &[f64], scale: f64, tolerance: f64) {
    each_within(what, got, want, scale, |_| tolerance);
}

/// As [`assert_close`], with a tolerance of each element's own.
#[track_caller]
pub fn assert_close_each<T: Element>(what: &str, got: &[T], want: &[f64], tolerance: impl Fn(usize) -> f64) {
    each_within(what, got, want, largest(want), tolerance);
}

#[track_caller]
fn each_within<T: Element>(what: &str, got: &[T], want: &[f64], scale: f64, tolerance: impl Fn(usize) -> f64) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let difference = (got.to_f64() - want).abs();
        // Written so that a NaN fails.
        let close = difference <= tolerance(i) * scale;
        assert!(close, "{what}[{i}] is {got}, expected {want}: off by {:.1e} of {scale:.1e}", difference / scale);
    }
}

/// The array in another element type.
pub fn cast<T: Element>(values: &[f64]) -> Vec<T> {
    values.iter().map(|&value| T::from_f64(value)).collect()
}

/// The bits of an array, for comparing exactly. All NaNs are one: which of two operands hands on its own is no promise.
pub fn bits<T: Element>(values: &[T]) -> Vec<u64> {
    let bits = |value: f64| if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
    values.iter().map(|value| bits(value.to_f64())).collect()
}

/// Random numbers that were drawn before: an initialisation has the very numbers that it is compared with.
pub struct Replay<'n>(std::slice::Iter<'n, f64>);

impl<'n> Replay<'n> {
    pub fn new(numbers: &'n [f64]) -> Self {
        Self(numbers.iter())
    }

    fn next(&mut self) -> f64 {
        *self.0.next().expect("more numbers are drawn than there are")
    }
}

/// Of one distribution: whoever asks for another gets numbers that do not fit.
impl RandomNumbers for Replay<'_> {
    fn exponential(&mut self) -> f64 {
        self.next()
    }

    fn normal(&mut self) -> f64 {
        self.next()
    }
}
