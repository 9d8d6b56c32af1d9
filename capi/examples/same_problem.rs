//! The problem of `examples/c/train.c`, trained by the Rust crate: prints the same last line, to the bit.

use interneuron::{Architecture, Context, Error, MatRef, Network, Update};

const SEED: u64 = 7;
const CLASSES: usize = 10;
const INPUTS: usize = 64;
const EXAMPLES: usize = 1000;
const BATCH: usize = 32;

fn main() -> Result<(), Error> {
    let mut state = SEED;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as u32
    };
    let patterns: Vec<u32> = (0..CLASSES * INPUTS).map(|_| next()).collect();
    let mut input = |i: usize| {
        let pattern = patterns[i / INPUTS % CLASSES * INPUTS + i % INPUTS];
        ((pattern + next()) >> 1) as f32 / 16_777_216.0
    };
    let x: Vec<f32> = (0..EXAMPLES * INPUTS).map(&mut input).collect();
    let labels: Vec<u32> = (0..EXAMPLES).map(|n| (n % CLASSES) as u32).collect();

    let mut network: Network<f32> =
        Architecture::dann(&[INPUTS, 100, CLASSES], &[10, 1])?.seed(SEED).build(&Context::new()?)?;
    // The examples of an epoch are spread evenly over its steps.
    let steps = (EXAMPLES / BATCH).max(1);
    let begin = |step| step * EXAMPLES / steps;
    for _ in 0..5 {
        for examples in (0..steps).map(|step| begin(step)..begin(step + 1)) {
            let inputs = &x[examples.start * INPUTS..examples.end * INPUTS];
            let inputs = MatRef::new(inputs, examples.len(), INPUTS)?;
            network.train_step(inputs, &labels[examples], &Update::csgd(0.1))?;
        }
    }
    let all = MatRef::new(&x, EXAMPLES, INPUTS)?;
    let result = network.evaluate(all, &labels)?;
    let (loss, errors) = (result.loss, result.errors);
    println!("loss {loss:.9}, bits {:016x}, {errors} of {EXAMPLES} wrong", loss.to_bits());
    Ok(())
}
