//! A step allocates nothing once it has seen the batch size, and neither does filling a batch of sequences.

mod common;

use common::isas;
use interneuron::*;
use interneuron_datasets::tasks::{Adding, ContextDecision, PerceptualDecision, SongDecision, Task};
use interneuron_datasets::{SequenceBatch, SequenceSet, SequenceTargets, digits};
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

/// Trials of any length, rows of images, and sequences of a set go where those before them were.
fn batches_after_the_first_allocate_nothing() {
    let images = digits(30, 1, 1).train;
    let labels = SequenceTargets::Labels((0..30 * 7).map(|i| i % 3).collect());
    let x = (0..30 * 7 * 4).map(|i| i as f32).collect();
    // Sequences of 1 to 7 steps.
    let weights = (0..30 * 7).map(|i| f32::from(u8::from(i % 7 <= i / 7 % 7))).collect();
    let set = SequenceSet::new(x, [30, 7, 4], labels, weights).unwrap();
    let indices: Vec<usize> = (0..30).collect();
    let tasks: [Box<dyn Task>; 4] = [
        Box::new(Adding::new(20).unwrap()),
        Box::new(PerceptualDecision::new(20.0).unwrap()),
        Box::new(ContextDecision::new(100.0).unwrap()),
        Box::new(SongDecision::new(20.0).unwrap()),
    ];
    for task in &tasks {
        let (mut batch, mut rng) = (SequenceBatch::new(), generator(3));
        batch.draw(&**task, 8, &mut rng).unwrap();
        let before = ALLOCATIONS.load(Ordering::SeqCst);
        (0..20).for_each(|_| batch.draw(&**task, 8, &mut rng).unwrap());
        assert_eq!(ALLOCATIONS.load(Ordering::SeqCst) - before, 0, "trials of {} inputs", task.inputs());
    }
    let mut batch = SequenceBatch::new();
    let mut fill = |i: usize| {
        batch.gather(&set, &indices[i..][..5]).unwrap();
        batch.rows_of(&images, &indices[i..][..5]).unwrap();
    };
    fill(0);
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    (1..20).for_each(fill);
    assert_eq!(ALLOCATIONS.load(Ordering::SeqCst) - before, 0, "sequences of a set, and rows");
}

// One test in this file: another would allocate at the same time.
#[test]
fn steps_after_the_first_allocate_nothing() {
    batches_after_the_first_allocate_nothing();
    let x: Vec<f32> = (0..300 * DIMS[0]).map(|i| (i % 11) as f32 / 11.0).collect();
    let labels: Vec<u32> = (0..300).map(|i| i % 10).collect();
    let x = MatRef::new(&x, 300, DIMS[0]).unwrap();
    // More than a slab, less than a vector, and so few that they go forward by dot products.
    // Where there are states, so many steps of sequences.
    let parts = [(300, 5), (50, 10), (7, 7), (1, 1)];
    let parts = parts.map(|(n, steps)| (Sequences::new(x.slice(0, n).unwrap(), steps).unwrap(), n));
    let update = Update::csgd(0.05);
    let architectures = [
        Architecture::dann(&DIMS, &[7, 13, 1]).unwrap(),
        Architecture::dann(&DIMS, &[7, 13, 1]).unwrap().subtractive(),
        Architecture::mlp(&DIMS).unwrap(),
        Architecture::layer_norm(&DIMS).unwrap(),
        Architecture::batch_norm(&DIMS).unwrap(),
        Architecture::column_ei(&DIMS, 10, 0.5).unwrap(),
        Architecture::of(recurrent(false)).unwrap(),
        Architecture::of(recurrent(true)).unwrap(),
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
    let pool = std::sync::Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
    // The pool's threads allocate while they start.
    pool.broadcast(|_| ());
    for isa in isas() {
        for architecture in &architectures {
            let mut net: Network<f32> = architecture.build(&isa.into()).unwrap();
            let mut gradients = net.zero_gradients().unwrap();
            // Batch normalisation and networks with states have no natural gradient.
            let has_natural = *architecture != architectures[4] && !net.shapes().any(|shape| shape.is_recurrent());
            let updates = &updates[..if has_natural { 8 } else { 7 }];
            let mut once = |threads: &Threads| {
                net.set_threads(threads.clone());
                for (x, n) in parts {
                    // All rules where a batch is cut into slabs; the others are the same for each size.
                    for update in if n > 192 { updates } else { &updates[..1] } {
                        net.train_step(x, &labels[..n], update).unwrap();
                    }
                    net.evaluate(x, &labels[..n]).unwrap();
                    net.gradients(x, &labels[..n], &mut gradients).unwrap();
                }
            };
            once(&Threads::Serial);
            let before = ALLOCATIONS.load(Ordering::SeqCst);
            (0..REPETITIONS).for_each(|_| once(&Threads::Serial));
            assert_eq!(ALLOCATIONS.load(Ordering::SeqCst) - before, 0, "{isa}: serial");
            on_a_callers_arrays(architecture, isa, parts[0].0, &labels);
            // Inside the pool: entering it from outside lets the pool's queue allocate now and then.
            let threads = Threads::from(pool.clone());
            let in_pool = pool.install(|| {
                once(&threads);
                let before = ALLOCATIONS.load(Ordering::SeqCst);
                (0..REPETITIONS).for_each(|_| once(&threads));
                ALLOCATIONS.load(Ordering::SeqCst) - before
            });
            assert_eq!(in_pool, 0, "{isa}: in a pool");
        }
    }
}

/// Layers with states: inhibition that subtracts, or divides, and columns above it.
fn recurrent(divisive: bool) -> Vec<LayerShape> {
    let [d, below, above, outputs] = DIMS;
    let first = RecurrentShape::dann(d, below, 3, 2).learned_state();
    let first = if divisive { first.divisive(Divisor::Plain) } else { first };
    let second = RecurrentShape::columns(below, above, 0, 2).visible(above - 2).no_self().state(0.3).unwrap();
    vec![first.into(), second.into(), DenseShape::new(above - 2, outputs).linear().into()]
}

/// A plan on views, and a layer with its tape.
fn on_a_callers_arrays(architecture: &Architecture, isa: Isa, x: Sequences<'_, f32>, labels: &[u32]) {
    let update = Update { momentum: PerRole::all(0.5), ..Update::csgd(0.01) };
    let mut plan: Plan<f32> = architecture.plan(&isa.into()).unwrap();
    let (mut params, mut gradients) = (architecture.draw::<f32>().unwrap(), plan.zero_gradients().unwrap());
    let mut state = TrainState::new(1);
    let shape = plan.shapes().next().unwrap();
    let (layer, mut layer_params) = (Layer::new(shape, &isa.into()).unwrap(), params[0].clone());
    let (mut tape, mut layer_state) = (Tape::new(), State::new());
    let mut h = vec![0.0; x.rows() * shape.outputs()];
    let mut views: Vec<_> = params.iter_mut().map(Params::view_mut).collect();
    let mut once = || {
        plan.train_step(&mut views, &mut state, x, labels, &update).unwrap();
        plan.gradients(&views, x, labels, &mut gradients).unwrap();
        plan.apply(&mut views, &mut state, &update, &gradients).unwrap();
        plan.evaluate(&views, x, labels).unwrap();
        plan.step_with(&mut views, &mut state, x, &update, |o, d| {
            Target::labels(labels).loss(o, Some(d)).unwrap().loss
        })
        .unwrap();
        let out = MatMut::new(&mut h, x.rows(), shape.outputs()).unwrap();
        layer.forward(&layer_params, &mut tape, x, out).unwrap();
        let dh = MatRef::new(&h, x.rows(), shape.outputs()).unwrap();
        layer.update(&mut layer_params, &mut layer_state, &mut tape, dh, &update, None).unwrap();
    };
    once();
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    (0..REPETITIONS).for_each(|_| once());
    assert_eq!(ALLOCATIONS.load(Ordering::SeqCst) - before, 0, "{isa}: on a caller's arrays");
}
