//! The bounds of numbers that users type, on a command line or in a configuration.

/// Passes over a data set: more would take a lifetime.
pub const MOST_EPOCHS: u64 = 100_000;
/// Examples: more than any data set in these formats has.
pub const MOST_IMAGES: u64 = 1_000_000_000;
/// Seeds end where configuration files end: TOML has no larger integers.
pub const MOST_SEED: u64 = i64::MAX as u64;
/// Threads: more is a mistake rather than a machine.
pub const MOST_THREADS: u64 = 1024;
/// Momentum: steps that are ten thousand times as long as plain ones.
pub const MOST_MOMENTUM: f64 = 0.9999;
/// Weight decay: with more nothing would be left after a few steps.
pub const MOST_DECAY: f64 = 1.0;
/// Norms that gradients are clipped to. Outside of these nothing is, or nothing is left.
pub const CLIPS: [f64; 2] = [1e-9, 1e9];
