//! What a call through the ABI costs beside the call in Rust.

use super::*;
use crate::layer::*;
use interneuron::{Context, DannShape, Init, Layer, MatMut, MatRef, State, Tape, Update, generator};
use std::ffi::c_void;
use std::hint::black_box;
use std::time::Instant;

/// Not a test of correctness, and other work on the machine would disturb it:
/// `cargo test -p interneuron-capi --release -- --ignored --nocapture overhead`.
///
/// The same forward pass and update of a layer of 500 + 50 units at batch 32, on one thread, in turns: the machine's
/// mood is then the same for both.
#[test]
#[ignore = "measures time"]
fn overhead_of_a_call_at_batch_32() {
    const SHAPE: (usize, usize, usize, usize) = (32, 500, 500, 50);
    const ROUNDS: usize = 3000;
    let (batch, d, ne, ni) = SHAPE;
    let shape = DannShape::new(d, ne, ni);
    let drawn = Init::deeper().draw_dann::<f32>(&shape, &mut generator(1)).unwrap();
    let (x, dh) = (numbers(batch * d), numbers(batch * ne).iter().map(|v| v - 0.5).collect::<Vec<_>>());
    let mut h = vec![0.0; batch * ne];
    // Both use the same arrays, so neither has the better place in memory. A zero rate leaves them as they are.
    let mut arrays = drawn.into_array();
    let context = OwnContext::new(0, "");
    let layer = context.layer(layer_config(d as i64, ne as i64, ni as i64));
    // SAFETY: arrays of the layer's lengths, which live to the end.
    ok(unsafe { interneuron_layer_attach(layer.0, &pointers(&mut arrays)) });
    let rust = Layer::<f32>::new(shape, &Context::new().unwrap()).unwrap();
    let (mut tape, mut state) = (Tape::new(), State::new());
    // Pointers that the optimiser knows nothing about, as across a library's boundary.
    type Forward = unsafe extern "C" fn(u64, i64, *const c_void, *mut c_void) -> i32;
    type Backward =
        unsafe extern "C" fn(u64, i64, *const c_void, *const c_void, *const UpdateConfig, *mut c_void) -> i32;
    let forward = black_box(interneuron_layer_forward as Forward);
    let update = black_box(interneuron_layer_update as Backward);
    let (mut through_c, mut in_rust): (Vec<_>, Vec<_>) = Default::default();
    let step = update_config(0.0, 1);
    for round in 0..2 * ROUNDS {
        let start = Instant::now();
        if round % 2 == 0 {
            // SAFETY: as above; arrays of a batch of 32.
            unsafe {
                ok(forward(layer.0, batch as i64, x.as_ptr().cast(), h.as_mut_ptr().cast()));
                ok(update(layer.0, batch as i64, x.as_ptr().cast(), dh.as_ptr().cast(), &step, std::ptr::null_mut()));
            }
            through_c.push(start.elapsed());
        } else {
            let (x, dh) = (MatRef::new(&x, batch, d).unwrap(), MatRef::new(&dh, batch, ne).unwrap());
            let [wex, wix, wei, alpha, g, b] = arrays.each_mut().map(Vec::as_mut_slice);
            let params = interneuron::DannMut { wex, wix, wei, alpha, g, b };
            let out = MatMut::new(&mut h, batch, ne).unwrap();
            rust.forward(params.view(), &mut tape, x, out).unwrap();
            rust.update(params, &mut state, &mut tape, dh, &Update::csgd(0.0), None).unwrap();
            in_rust.push(start.elapsed());
        }
    }
    let median = |times: &mut Vec<std::time::Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e6
    };
    let (c, rust) = (median(&mut through_c), median(&mut in_rust));
    let percent = 100.0 * (c - rust) / rust;
    println!(
        "forward and update, {ne}+{ni} units, batch {batch}: C {c:.2} us, Rust {rust:.2} us, overhead {percent:.2} %"
    );
    // The part of a call that is the ABI's alone: a call that does everything but compute.
    let start = Instant::now();
    for _ in 0..100_000 {
        let mut count = 0;
        // SAFETY: a pointer to a local.
        unsafe { interneuron_layer_parameter_count(layer.0, &mut count) };
        black_box(count);
    }
    println!("a call that computes nothing: {:.3} us", start.elapsed().as_secs_f64() * 1e6 / 1e5);
    assert!(percent < 2.0);
}
