//! A step allocates nothing once it has seen the batch size.

mod common;

use common::isas;
use interneuron::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what all threads allocate.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller vouches for the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller vouches for pointer and layout.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Inputs and units. Without optimisation a tenth of the work: too little to be shared, but in time.
const DIMS: [usize; 4] = if cfg!(debug_assertions) { [9, 17, 11, 10] } else { [37, 53, 29, 10] };

/// What allocates now and then would do so in some of them. Few, because after a minute the test harness says so, and
/// allocates.
const REPETITIONS: usize = 3;

// One test in this file: another would allocate at the same time.
#[test]
fn steps_after_the_first_allocate_nothing() {
    let x: Vec<f32> = (0..300 * DIMS[0]).map(|i| (i % 11) as f32 / 11.0).collect();
    let labels: Vec<u32> = (0..300).map(|i| i % 10).collect();
    let x = MatRef::new(&x, 300, DIMS[0]).unwrap();
    // More than a slab, less than a vector, and so few that they go forward by dot products.
    let parts = [300, 50, 7, 1].map(|n| (x.slice(0, n).unwrap(), n));
    let update = Update::csgd(0.05);
    let architectures = [
        Architecture::dann(&DIMS, &[7, 13, 1]).unwrap(),
        Architecture::dann(&DIMS, &[7, 13, 1]).unwrap().subtractive(),
        Architecture::mlp(&DIMS).unwrap(),
        Architecture::layer_norm(&DIMS).unwrap(),
        Architecture::batch_norm(&DIMS).unwrap(),
        Architecture::column_ei(&DIMS, 10, 0.5).unwrap(),
    ];
    // Rules that keep something from step to step, or need all gradients of a layer first.
    let updates = [
        update,
        Update { momentum: PerRole::all(0.9), ..update },
        Update { clip: Some(1.0), ..update },
        Update { angle: Some(Angle { lr_min: 1e-3, rates: 3, cosine_epsilon: 0.01 }), ..update },
        Update::eg(0.05),
        Update::adamw(0.01),
        Update { kept_sums: Some(KeptSums::Row), ..Update::adamw_eg(0.01) },
        Update::natural(0.05, Natural::default()),
    ];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    // The pool's threads allocate while they start.
    pool.broadcast(|_| ());
    for isa in isas() {
        for architecture in &architectures {
            let mut net: Network<f32> = architecture.clone().isa(isa).build().unwrap();
            let mut gradients = net.zero_gradients().unwrap();
            // Batch normalisation has no natural gradient.
            let updates = &updates[..if *architecture == architectures[4] { 7 } else { 8 }];
            let mut once = |threads: Threads<'_>| {
                for (x, n) in parts {
                    // All rules where a batch is cut into slabs; the others are the same for each size.
                    for update in if n > 192 { updates } else { &updates[..1] } {
                        net.train_step(threads, x, &labels[..n], update).unwrap();
                    }
                    net.evaluate(threads, x, &labels[..n]).unwrap();
                    net.gradients(threads, x, &labels[..n], &mut gradients).unwrap();
                }
            };
            once(Threads::Serial);
            let before = ALLOCATIONS.load(Ordering::SeqCst);
            (0..REPETITIONS).for_each(|_| once(Threads::Serial));
            assert_eq!(ALLOCATIONS.load(Ordering::SeqCst) - before, 0, "{isa}: serial");
            // Inside the pool: entering it from outside lets the pool's queue allocate now and then.
            let in_pool = pool.install(|| {
                once(Threads::Pool(&pool));
                let before = ALLOCATIONS.load(Ordering::SeqCst);
                (0..REPETITIONS).for_each(|_| once(Threads::Pool(&pool)));
                ALLOCATIONS.load(Ordering::SeqCst) - before
            });
            assert_eq!(in_pool, 0, "{isa}: in a pool");
        }
    }
}
