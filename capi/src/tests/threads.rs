//! Handles that move between threads, are used by two at once, or met a defect.

use super::*;
use crate::info::interneuron_abi_version;
use crate::layer::*;
use crate::network::interneuron_network_evaluate;
use crate::status::{INTERNEURON_BUSY, INTERNEURON_INTERNAL, INTERNEURON_INVALID_HANDLE, call};
use crate::table;
use std::sync::Barrier;

#[test]
fn a_second_thread_is_refused_until_the_first_is_done() {
    let context = OwnContext::new(0, "");
    let layer = context.layer(layer_config(2, 2, 1));
    let (started, end) = (Barrier::new(2), Barrier::new(2));
    let forward = || {
        let mut h = [UNTOUCHED; 2];
        // SAFETY: one example.
        let status =
            unsafe { interneuron_layer_forward(layer.0, 1, [1.0_f32, 2.0].as_ptr().cast(), h.as_mut_ptr().cast()) };
        (status, h)
    };
    // SAFETY: a layer with parameters of its own.
    ok(unsafe { interneuron_layer_init(layer.0, 1, 0) });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            ok(call(|| {
                table::with(layer.0, |_: &mut AnyLayer| {
                    started.wait();
                    end.wait();
                    Ok(())
                })
            }));
        });
        started.wait();
        let (status, h) = forward();
        fails(status, INTERNEURON_BUSY, &["in use by a call"]);
        assert_eq!(h, [UNTOUCHED; 2]);
        fails(interneuron_layer_free(layer.0), INTERNEURON_BUSY, &["in use by a call"]);
        end.wait();
    });
    // The handle moves to a third thread, whose last error is its own.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(last_error(), "");
            ok(forward().0);
        });
    });
}

#[test]
fn a_panic_becomes_a_status_and_spoils_the_handle() {
    let context = OwnContext::new(0, "");
    let layer = context.layer(layer_config(2, 2, 1));
    let broken = call(|| table::with(layer.0, |_: &mut AnyLayer| -> Result<(), _> { panic!("seven is {}", 8) }));
    fails(broken, INTERNEURON_INTERNAL, &["a defect of interneuron", "seven is 8"]);
    // SAFETY: a layer with parameters of its own.
    let later = unsafe { interneuron_layer_init(layer.0, 1, 0) };
    fails(later, INTERNEURON_INTERNAL, &["expected to be freed"]);
    ok(interneuron_layer_free(layer.0));
    fails(interneuron_layer_free(layer.0), INTERNEURON_INVALID_HANDLE, &["not yet freed"]);
}

/// Whatever the order, a call on a handle that others use and free does its work, or says why not.
#[test]
fn threads_that_race_for_a_handle() {
    let context = OwnContext::new(0, "");
    for _ in 0..20 {
        let layer = context.layer(layer_config(8, 8, 2));
        let start = Barrier::new(4);
        // SAFETY: a layer with parameters of its own.
        ok(unsafe { interneuron_layer_init(layer.0, 1, 0) });
        let race = |frees: bool| {
            start.wait();
            let (x, mut h) = (numbers(8), [UNTOUCHED; 8]);
            let mut freed = 0;
            for call in 0..50 {
                // SAFETY: one example.
                match unsafe { interneuron_layer_forward(layer.0, 1, x.as_ptr().cast(), h.as_mut_ptr().cast()) } {
                    INTERNEURON_OK => assert!(h.iter().all(|&value| value != UNTOUCHED)),
                    INTERNEURON_BUSY | INTERNEURON_INVALID_HANDLE => {}
                    other => panic!("{other}: {}", last_error()),
                }
                if frees && call > 10 {
                    freed += usize::from(interneuron_layer_free(layer.0) == INTERNEURON_OK);
                }
            }
            freed
        };
        let freed: usize = std::thread::scope(|scope| {
            let race = &race;
            let threads = [false, false, true, true].map(|frees| scope.spawn(move || race(frees)));
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(freed <= 1, "freed {freed} times");
    }
}

#[test]
fn many_threads_use_one_context() {
    let context = OwnContext::new(3, "");
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let context = &context;
            scope.spawn(move || {
                let network = context.network(&[64, 256, 10], Some(&[8, 1]), seed);
                let (x, labels) = (numbers(64 * 100), vec![1; 100]);
                let mut losses = [0.0; 5];
                for loss in &mut losses {
                    let (x, labels, errors) = (x.as_ptr(), labels.as_ptr(), std::ptr::null_mut());
                    // SAFETY: 100 examples and labels.
                    ok(unsafe { interneuron_network_evaluate(network.0, 100, x.cast(), labels, loss, errors) });
                }
                assert!(losses.iter().all(|&loss| loss == losses[0] && loss > 0.0));
            });
        }
    });
    assert_eq!(interneuron_abi_version(), 1);
}
