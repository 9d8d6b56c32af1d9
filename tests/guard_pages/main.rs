//! Nothing is read or written outside of the arrays: every kernel, on every instruction set, on memory that ends at an
//! unreadable page, and then on memory that begins at one. An access one element too far ends the process.
#![cfg(all(unix, target_pointer_width = "64"))]

mod allocator;
#[path = "../common/mod.rs"]
mod common;

use allocator::{GuardPages, Side, guarded};
use common::isas;
use common::problem::{BATCHES, INTERNEURONS, KINDS, LARGE, UNITS, shape};
use interneuron::*;
use std::cell::RefCell;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

#[global_allocator]
static GUARD_PAGES: GuardPages = GuardPages;

thread_local! {
    /// What is being computed, for the message of a crash.
    static CASE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Lets a crash say in which case it happened.
fn explain_crashes() {
    extern "C" fn explain(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the system hands in what it knows of the signal.
        let address = unsafe { (*info).si_addr() }.addr();
        // The thread crashed in a kernel, not in the middle of an allocation, so it may still allocate.
        let case = CASE.with_borrow(String::clone);
        // Past the capture of the test harness, which ends with the process.
        let _ = writeln!(std::io::stderr(), "access to {address:#x}, outside of all arrays, in {case}");
        // SAFETY: with the default action, the access that is tried again ends the process.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: a plain struct of numbers, for which zeros are a value; the handler is a function of the right type.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = explain as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
        }
    }
}

/// Numbers from 0 to 1, some of them 0.
fn numbers<T: Element>(len: usize) -> Vec<T> {
    let mut numbers = vec![T::ZERO; len];
    numbers.iter_mut().enumerate().for_each(|(i, x)| *x = T::from_f64((i * i % 31) as f64 / 32.0));
    numbers
}

/// Rules with all that an update may keep and do, which take turns.
fn update(i: usize) -> Update {
    let plain = Update::csgd(0.01);
    let decay = PerRole::all(0.01);
    [
        plain,
        Update { momentum: PerRole::all(0.9), nesterov: true, decay, ..plain },
        Update { momentum: PerRole::all(0.5), decay, floor: Some(1e-3), ..Update::eg(0.01) },
        Update { clip: Some(1.0), ..plain },
        Update { decay_order: DecayOrder::Decoupled, kept_sums: Some(KeptSums::Row), ..Update::adamw_eg(0.01) },
        Update { adam: Some(Adam { amsgrad: true, ..Adam::default() }), clip_scope: ClipScope::Array, ..plain },
        Update::adamw(0.01),
        Update { angle: Some(Angle { lr_min: 1e-3, rates: 3, cosine_epsilon: 0.01 }), ..plain },
    ][i % 8]
}

/// A matrix with `gap` elements between its rows and none after the last, for reading.
fn matrix<T: Element>(rows: usize, cols: usize, gap: usize) -> Vec<T> {
    numbers((rows - 1) * (cols + gap) + cols)
}

/// Everything that a layer does, to all of its results.
fn layer<T: Element>(
    shape: LayerShape,
    batch: usize,
    isa: Isa,
    threads: Threads,
    turn: usize,
) -> (Vec<Params<T>>, [Vec<T>; 2]) {
    let (d, ne) = (shape.inputs(), shape.outputs());
    let gap = if turn.is_multiple_of(3) { 3 } else { 0 };
    let mut params = Params::<T>::zeros(&shape).unwrap();
    params.view_mut().arrays().into_iter().for_each(|(_, array)| array.copy_from_slice(&numbers(array.len())));
    let mut gradients = Params::<T>::zeros(&shape).unwrap();
    let (x, dh) = (matrix::<T>(batch, d, gap), matrix::<T>(batch, ne, gap));
    let (mut h, mut dx) = (matrix::<T>(batch, ne, gap), matrix::<T>(batch, d, gap));
    let x = MatRef::with_stride(&x, batch, d, d + gap).unwrap();
    let dh = MatRef::with_stride(&dh, batch, ne, ne + gap).unwrap();
    macro_rules! out {
        ($array:ident, $width:expr) => {
            MatMut::with_stride(&mut $array, batch, $width, $width + gap).unwrap()
        };
    }
    let layer = Layer::<T>::new(shape, &Context::from(isa).with_threads(threads)).unwrap();
    let mut tape = Tape::new();
    layer.infer(params.view(), &mut tape, x, out!(h, ne)).unwrap();
    layer.forward(params.view(), &mut tape, x, out!(h, ne)).unwrap();
    if let LayerShape::Dann(DannShape { ni, divisive, .. }) = shape {
        let mut zi = matrix::<T>(batch, ni, gap);
        tape.interneurons(out!(zi, ni)).unwrap();
        if divisive {
            let (mut zhat, mut gamma) = (matrix::<T>(batch, ne, gap), matrix::<T>(batch, ne, gap));
            tape.standardised(out!(zhat, ne), out!(gamma, ne)).unwrap();
        }
    }
    layer.backward(params.view(), &mut tape, dh, gradients.view_mut(), Some(out!(dx, d))).unwrap();
    layer.forward(params.view(), &mut tape, x, out!(h, ne)).unwrap();
    layer.input_gradient(params.view(), &mut tape, dh, out!(dx, d)).unwrap();
    layer.forward(params.view(), &mut tape, x, out!(h, ne)).unwrap();
    layer.update(params.view_mut(), &mut State::new(), &mut tape, dh, &update(turn), Some(out!(dx, d))).unwrap();
    layer.apply(&mut params, &mut State::new(), &update(turn), &gradients).unwrap();
    (vec![params, gradients], [h, dx])
}

/// Everything that a network does beside what its layers do alone: layers fused with those below, slabs, evaluation,
/// and natural gradients where there are any.
fn network<T: Element>(
    architecture: &Architecture,
    batch: usize,
    isa: Isa,
    threads: Threads,
    turn: usize,
) -> (Vec<Params<T>>, [Vec<T>; 2]) {
    let mut net: Network<T> = architecture.build(&Context::from(isa).with_threads(threads)).unwrap();
    let (inputs, classes) = (net.inputs(), net.outputs());
    let x = numbers::<T>(batch * inputs);
    let x = MatRef::new(&x, batch, inputs).unwrap();
    let mut labels = vec![0; batch];
    labels.iter_mut().enumerate().for_each(|(i, label)| *label = (i % classes) as u32);
    let mut logits = vec![T::ZERO; batch * classes];
    let mut gradients = net.zero_gradients().unwrap();
    net.logits(x, MatMut::new(&mut logits, batch, classes).unwrap()).unwrap();
    net.gradients(x, &labels, &mut gradients).unwrap();
    net.apply(&update(turn), &gradients).unwrap();
    let mut losses = vec![net.train_step(x, &labels, &update(turn)).unwrap()];
    match net.train_step(x, &labels, &Update::natural(1e-3, Natural::default())) {
        Ok(loss) => losses.push(loss),
        Err(error) => assert!(matches!(error, Error::Unsupported { .. }), "{error}"),
    }
    losses.push(net.evaluate(x, &labels).unwrap().loss);
    (net.params().map(|params| params.to_owned()).collect(), [logits, losses.into_iter().map(T::from_f64).collect()])
}

/// Everything that a network with states does in so many steps: noise, states handed in and carried over, steps that are
/// not kept, and what its first layer does alone.
fn through_time<T: Element>(
    architecture: &Architecture,
    (steps, examples): (usize, usize),
    isa: Isa,
    threads: Threads,
    turn: usize,
) -> (Vec<Params<T>>, [Vec<T>; 2]) {
    let context = Context::from(isa).with_threads(threads);
    let mut plan = architecture.plan::<T>(&context).unwrap();
    plan.keep_at_most(turn.is_multiple_of(2).then_some(1));
    let mut net = Network::new(plan, architecture.draw().unwrap(), TrainState::new(1)).unwrap();
    let (rows, inputs, outputs) = (steps * examples, net.inputs(), net.outputs());
    let Some(LayerShape::Recurrent(shape)) = net.shapes().next() else { panic!("a recurrent layer comes first") };
    let (x, noise, states) = (numbers::<T>(rows * inputs), numbers::<T>(rows * shape.ne), numbers(examples * shape.ne));
    let layers = net.shapes().len();
    let of_first = |values| {
        let mut all = vec![None; layers];
        all[0] = Some(values);
        all
    };
    let noise = of_first(MatRef::new(&noise, rows, shape.ne).unwrap());
    let states = of_first(MatRef::new(&states, examples, shape.ne).unwrap());
    let x = Sequences::new(MatRef::new(&x, rows, inputs).unwrap(), steps).unwrap().noise(&noise).states(&states);
    let mut labels = vec![0; rows];
    labels.iter_mut().enumerate().for_each(|(i, label)| *label = (i % outputs) as u32);
    let weights: Vec<T> = (0..rows).map(|i| T::from_f64(f64::from(u8::from(i % 3 > 0)))).collect();
    let target = || Target::labels(&labels).weighted(&weights);
    let mut results = vec![T::ZERO; rows * outputs];
    let mut losses = vec![net.train_step(x, target(), &update(turn)).unwrap()];
    losses.push(net.train_step(x.carried(), target(), &update(turn)).unwrap());
    net.logits(x, MatMut::new(&mut results, rows, outputs).unwrap()).unwrap();

    let (layer, mut tape) = (Layer::<T>::new(shape, &context).unwrap(), Tape::new());
    let params = net.params().next().unwrap();
    let (mut h, mut dx) = (numbers::<T>(rows * shape.visible), numbers::<T>(rows * inputs));
    let dh = numbers::<T>(rows * shape.visible);
    let mut gradients = Params::<T>::zeros(&shape).unwrap();
    let only = [noise[0]];
    let alone = Sequences::new(MatRef::new(&dx, rows, inputs).unwrap(), steps).unwrap().noise(&only);
    layer.infer(params, &mut tape, alone, MatMut::new(&mut h, rows, shape.visible).unwrap()).unwrap();
    layer.forward(params, &mut tape, alone, MatMut::new(&mut h, rows, shape.visible).unwrap()).unwrap();
    let dh = MatRef::new(&dh, rows, shape.visible).unwrap();
    let into_dx = MatMut::new(&mut dx, rows, inputs).unwrap();
    layer.backward(params, &mut tape, dh, &mut gradients, Some(into_dx)).unwrap();
    let mut dstates = numbers::<T>(examples * shape.ne);
    tape.state_gradient(MatMut::new(&mut dstates, examples, shape.ne).unwrap()).unwrap();
    results.extend(losses.into_iter().map(T::from_f64));
    let params = net.params().map(|params| params.to_owned()).chain([gradients]).collect();
    (params, [results, [h, dx, dstates].concat()])
}

/// Runs a case on ordinary memory, then guarded on either side: with the same results, or memory was read that nobody
/// had written.
fn on_both_sides<T: Element>(case: &str, run: impl Fn() -> (Vec<Params<T>>, [Vec<T>; 2])) {
    let bits = |(params, outputs): (Vec<Params<T>>, [Vec<T>; 2])| -> Vec<Vec<u64>> {
        let arrays = params.iter().flat_map(|params| params.view().arrays()).map(|(_, array)| common::bits(array));
        arrays.chain(outputs.iter().map(|output| common::bits(output))).collect()
    };
    // Ordinary memory last: a stray write there ends the process some time later, and nobody knows why.
    let [after, before] = [Side::After, Side::Before].map(|side| {
        CASE.set(format!("{case}, a page {side:?} each array"));
        bits(guarded(side, &run))
    });
    CASE.set(case.to_owned());
    let want = bits(run());
    assert!(after == want && before == want, "{case}: other results on guarded memory");
}

/// Pairs of all units and inputs, with interneurons and batches in turn, such that each of them also meets each number
/// of units and of inputs.
fn shapes() -> impl Iterator<Item = (usize, (usize, usize, usize, usize))> {
    let few = if cfg!(debug_assertions) { 97 } else { 1 };
    let pair = |i: usize| {
        let (a, b) = (i / UNITS.len(), i % UNITS.len());
        let (ni, batch) = (INTERNEURONS[(a + 5 * b) % INTERNEURONS.len()], BATCHES[(a + 5 * b) % BATCHES.len()]);
        (i, (UNITS[a], UNITS[b], ni, batch))
    };
    (0..UNITS.len().pow(2)).step_by(few).map(pair)
}

#[test]
fn layers_touch_nothing_but_their_arrays() {
    explain_crashes();
    for isa in isas() {
        for kind in &KINDS[1..] {
            for (turn, dims) in shapes() {
                let shape = shape(dims, *kind, turn.is_multiple_of(2));
                let case = format!("{kind:?} {dims:?}, {isa}");
                on_both_sides(&format!("{case}, f32"), || layer::<f32>(shape, dims.3, isa, Threads::Serial, turn));
                on_both_sides(&format!("{case}, f64"), || layer::<f64>(shape, dims.3, isa, Threads::Serial, turn));
            }
        }
    }
}

#[test]
fn networks_touch_nothing_but_their_arrays() {
    explain_crashes();
    for isa in isas() {
        for (turn, (d, ne, ni, batch)) in shapes() {
            let dims = [d, ne, ni + 1, 1 + ne % 11];
            let dann = || Architecture::dann(&dims, &[ni, 1 + batch % 7, 1]);
            let architecture = match turn % 6 {
                0 | 1 => dann(),
                2 => dann().map(Architecture::subtractive),
                3 => Architecture::mlp(&dims),
                4 => Architecture::layer_norm(&dims),
                _ => Architecture::batch_norm(&dims),
            };
            let architecture = architecture.unwrap();
            let case = format!("{dims:?} {ni}, {} of 6, batch {batch}, {isa}", turn % 6);
            on_both_sides(&format!("{case}, f32"), || network::<f32>(&architecture, batch, isa, Threads::Serial, turn));
            on_both_sides(&format!("{case}, f64"), || network::<f64>(&architecture, batch, isa, Threads::Serial, turn));
        }
    }
}

#[test]
fn networks_with_states_touch_nothing_but_their_arrays() {
    explain_crashes();
    for isa in isas() {
        for (turn, (d, ne, ni, batch)) in shapes().step_by(if cfg!(debug_assertions) { 1 } else { 5 }) {
            let dann = RecurrentShape::dann(d, ne, ni, 1 + ni / 2);
            let (steps, examples) = (1 + turn % 4, 1 + batch / 3);
            let leak = Leak::new(0.4).unwrap();
            let shape = match turn % 7 {
                0 => dann,
                1 => dann.divisive(Divisor::Plain).learned_state(),
                2 => dann.divisive(Divisor::Root).dynamics(Dynamics::Rate(leak)),
                3 => RecurrentShape::columns(d, ne + 1, 0, 1).no_self().dynamics(Dynamics::State(leak)),
                4 => RecurrentShape::columns(d, ne + 2, 0, 2).unsigned().visible(ne.min(1 + turn % ne)),
                5 => RecurrentShape::plain(d, ne).dynamics(Dynamics::Rate(Leak::per_unit())).learned_state(),
                _ => dann.dynamics(Dynamics::State(Leak::per_unit())).visible(1 + turn % ne),
            };
            let inhibitory = LayerShape::from(shape);
            let readout = DenseShape::new(inhibitory.outputs(), 1 + d % 5).linear();
            let readout = if turn % 7 == 3 { readout.columns(1, 0) } else { readout };
            let architecture = Architecture::of(vec![shape.into(), readout.into()]).unwrap();
            let case = format!("{shape:?}, {steps} by {examples}, {isa}");
            let sizes = (steps, examples);
            on_both_sides(&format!("{case}, f32"), || {
                through_time::<f32>(&architecture, sizes, isa, Threads::Serial, turn)
            });
            on_both_sides(&format!("{case}, f64"), || {
                through_time::<f64>(&architecture, sizes, isa, Threads::Serial, turn)
            });
        }
    }
}

/// Sums in parts, weights in panels, batches in slabs; and other threads than the one that owns the memory.
#[test]
fn large_layers_and_networks_touch_nothing_but_their_arrays() {
    if cfg!(debug_assertions) {
        return; // Minutes without optimisation.
    }
    explain_crashes();
    let pool = Threads::from(rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap());
    for isa in isas() {
        for (turn, (dims, kind)) in LARGE.into_iter().enumerate() {
            let shape = shape(dims, kind, true);
            let case = format!("{kind:?} {dims:?}, {isa}");
            on_both_sides(&format!("{case}, f32"), || layer::<f32>(shape, dims.3, isa, Threads::Serial, turn));
            on_both_sides(&format!("{case}, f64"), || layer::<f64>(shape, dims.3, isa, Threads::Serial, turn));
            on_both_sides(&format!("{case}, 3 threads"), || layer::<f32>(shape, dims.3, isa, pool.clone(), turn));
        }
        for batch in [191, 193, 321, 641] {
            let architecture = Architecture::dann(&[79, 130, 61, 10], &[9, 5, 1]).unwrap();
            on_both_sides(&format!("a batch of {batch}, {isa}"), || {
                network::<f32>(&architecture, batch, isa, Threads::Serial, batch)
            });
        }
    }
}

/// The pages do what they are there for: an access one element too far, or too early, ends a process.
#[test]
fn an_access_outside_of_an_array_ends_the_process() {
    for access in ["read after", "write after", "read before", "write before"] {
        let test = std::env::current_exe().unwrap();
        let arguments = ["--exact", "make_an_access", "--include-ignored", "--nocapture"];
        let output = Command::new(test).args(arguments).env(ACCESS, access).output().unwrap();
        assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{access}: {output:?}");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains("outside of all arrays, in a trial"), "{access}: {message}");
    }
    // Inside of the array nothing happens.
    make_an_access();
}

const ACCESS: &str = "INTERNEURON_TEST_ACCESS";

#[test]
#[ignore = "run in a process of its own by the test above"]
fn make_an_access() {
    explain_crashes();
    CASE.set("a trial".to_owned());
    let access = std::env::var(ACCESS).unwrap_or_default();
    for (side, index) in [(Side::After, 7_isize), (Side::Before, -1)] {
        let array = guarded(side, || vec![1.0_f32; 7]);
        let place = array.as_ptr().wrapping_offset(index).cast_mut();
        let here = if side == Side::After { "after" } else { "before" };
        // SAFETY: none: this is what must end the process. The last one is fine.
        unsafe {
            if access == format!("read {here}") {
                place.read_volatile();
            }
            if access == format!("write {here}") {
                place.write_volatile(0.0);
            }
            assert_eq!(array.as_ptr().read_volatile(), 1.0);
        }
    }
}
