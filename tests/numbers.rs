//! Numbers at the edge: what is not finite, what is as small as numbers get, and weights and units that are zero. The
//! policy is in the documentation of the crate.

mod common;

use common::problem::{Kind, Outcome, Problem, run};
use common::{Tolerance, bits, cast, isas};
use interneuron::*;
use interneuron_baseline as composed;

/// All kinds of layers that treat each example on its own.
const KINDS: [Kind; 7] =
    [Kind::Divisive, Kind::Subtractive, Kind::Dense, Kind::Columns, Kind::LayerNorm, Kind::Floor, Kind::Root];

/// Inputs, units and interneurons that end within tiles and vectors.
const DIMS: (usize, usize, usize) = (33, 21, 5);

/// Batches that go forward by dot products, that fill a part of a vector, and that take several groups of them.
const BATCHES: [usize; 5] = [1, 3, 16, 19, 70];

fn problem(kind: Kind, batch: usize, relu: bool) -> Problem {
    Problem::new((DIMS.0, DIMS.1, DIMS.2, batch), kind, relu, 1)
}

/// The classes of numbers that arithmetic keeps apart: NaN, either infinity, finite.
fn class(x: f64) -> f64 {
    if x.is_finite() { 0.0 } else { x }
}

/// `h` of a forward pass with and without what a backward pass needs, and `dx` of a gradient that ends there.
fn rows<T: Element>(problem: &Problem, isa: Isa) -> [Vec<T>; 3] {
    let (d, ne, batch) = (problem.shape.inputs(), problem.shape.outputs(), problem.batch);
    let (x, dh, params) = (cast::<T>(&problem.x), cast::<T>(&problem.dh), problem.params::<T>());
    let x = MatRef::new(&x, batch, d).unwrap();
    let dh = MatRef::new(&dh, batch, ne).unwrap();
    let layer = Layer::<T>::new(problem.shape, &isa.into()).unwrap();
    let mut tape = Tape::new();
    let [mut h, mut inferred, mut dx] = [ne, ne, d].map(|width| vec![T::ONE; batch * width]);
    let out = MatMut::new(&mut inferred, batch, ne).unwrap();
    layer.infer(params.view(), &mut tape, x, out).unwrap();
    layer.forward(params.view(), &mut tape, x, MatMut::new(&mut h, batch, ne).unwrap()).unwrap();
    let out = MatMut::new(&mut dx, batch, d).unwrap();
    layer.input_gradient(params.view(), &mut tape, dh, out).unwrap();
    [h, inferred, dx]
}

/// What is not finite in an example reaches all that follows from this example as IEEE arithmetic says, and nothing of
/// the others.
#[test]
fn what_is_not_finite_stays_in_its_row() {
    fn check<T: Element>(kind: Kind, batch: usize, isa: Isa) {
        let clean = problem(kind, batch, false);
        let want = rows::<T>(&clean, isa);
        for (row, col) in [(0, DIMS.0 - 1), (batch / 2, 0), (batch - 1, 17)] {
            for poison in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let mut poisoned = clean.clone();
                poisoned.x[row * DIMS.0 + col] = poison;
                let what = format!("{kind:?}, batch {batch}, {isa}, {poison} at [{row}, {col}]");
                let got = rows::<T>(&poisoned, isa);
                for (got, want) in got.iter().zip(&want) {
                    let width = got.len() / batch;
                    for (i, (got, want)) in got.chunks_exact(width).zip(want.chunks_exact(width)).enumerate() {
                        assert!(i == row || bits(got) == bits(want), "{what}: row {i}");
                    }
                }
                // Sums that overflow nowhere have one class, in whatever order they are made.
                let reference = reference::forward(&poisoned.shape, &poisoned.params, &poisoned.x);
                for h in [&got[0], &got[1]] {
                    for (got, want) in h.iter().zip(reference.h()) {
                        let (got, want) = (class(got.to_f64()), class(*want));
                        assert!(got == want || (got.is_nan() && want.is_nan()), "{what}: {got} {want}");
                    }
                }
                assert!(got[0][row * DIMS.1..][..DIMS.1].iter().any(|h| !h.is_finite()), "{what}: it was lost");
            }
        }
    }
    for isa in isas() {
        for kind in KINDS {
            for batch in BATCHES {
                check::<f32>(kind, batch, isa);
                check::<f64>(kind, batch, isa);
            }
        }
    }
}

/// The same for a gradient that comes from above.
#[test]
fn what_is_not_finite_in_a_gradient_stays_in_its_row() {
    for isa in isas() {
        for kind in KINDS {
            for batch in BATCHES {
                let clean = problem(kind, batch, false);
                let [_, _, want] = rows::<f32>(&clean, isa);
                for poison in [f64::NAN, f64::INFINITY] {
                    let mut poisoned = clean.clone();
                    let row = batch / 2;
                    poisoned.dh[row * DIMS.1 + 2] = poison;
                    let [_, _, dx] = rows::<f32>(&poisoned, isa);
                    for (i, (got, want)) in dx.chunks_exact(DIMS.0).zip(want.chunks_exact(DIMS.0)).enumerate() {
                        let what = format!("{kind:?}, batch {batch}, {isa}, {poison}: row {i}");
                        if i == row {
                            assert!(got.iter().any(|dx| !dx.is_finite()), "{what} lost it");
                        } else {
                            assert_eq!(bits(got), bits(want), "{what}");
                        }
                    }
                }
            }
        }
    }
}

/// Panics unless all numbers are of the classes expected; returns how many gradients of parameters are NaN.
#[track_caller]
fn same_classes<T: Element>(what: &str, got: &Outcome<T>, want: &Outcome<f64>) -> usize {
    let mut found = 0;
    for ((array, got), (_, want)) in got.arrays().into_iter().zip(want.arrays()) {
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            let (class, expected) = (class(got.to_f64()), class(*want));
            let same = class == expected || (class.is_nan() && expected.is_nan());
            assert!(same, "{what}: {array}[{i}] is {got}, expected {want}");
            found += usize::from(array.starts_with('d') && array != "dx" && class.is_nan());
        }
    }
    found
}

/// A NaN that is made inside a layer, of an infinite weight and an input of zero, goes wherever the equations take it:
/// no gradient is zero where it should be NaN, because ReLU's derivative was read off an output that is not above zero.
#[test]
fn a_nan_made_inside_reaches_the_gradients() {
    fn check<T: Element>(kind: Kind, batch: usize, isa: Isa, (weights, unit, poison): (&str, usize, f64)) {
        let mut problem = problem(kind, batch, true);
        let input = 6;
        let arrays = problem.params.view_mut().arrays();
        let Some((name, array)) = arrays.into_iter().find(|(name, _)| name.starts_with(weights)) else { return };
        array[unit * DIMS.0 + input] = poison;
        // Silent for every other example, and not for the others: those get an infinity.
        problem.x.chunks_exact_mut(DIMS.0).enumerate().for_each(|(i, x)| x[input] = (i % 2) as f64);
        let update = Update::csgd(0.1);
        let want = problem.solve(&update, None).outcome;
        let got = run::<T>(&problem, isa, Threads::Serial, &update);
        let what = format!("{kind:?}, batch {batch}, {isa}, {name} of unit {unit} with {poison}");
        let found = same_classes(&what, &got, &want);
        assert!(found > DIMS.0, "{what}: {found} gradients are NaN");
        if matches!(kind, Kind::Divisive | Kind::Subtractive | Kind::Dense) {
            let (params, x, dh) = (problem.params::<f64>(), &problem.x, &problem.dh);
            let mut layer = composed::Layer::<f64>::new(problem.shape).unwrap();
            layer.forward(params.view(), x);
            layer.backward(params.view(), x, dh, true);
            let mut updated = params.clone();
            layer.update(&mut updated, &update);
            let (h, dx, gradients) = (layer.h().to_vec(), layer.dx().to_vec(), layer.gradients().to_owned());
            same_classes(&format!("{what}, composed"), &Outcome { h, dx, gradients, updated }, &want);
        }
    }
    for isa in isas() {
        for kind in KINDS.into_iter().chain([Kind::BatchNorm]) {
            for batch in BATCHES {
                // Unit 18 has a negative sign in a layer of columns.
                let poisons = [("W", 3, f64::INFINITY), ("W", 18, f64::INFINITY), ("W", 3, f64::NAN)];
                for poison in poisons.into_iter().chain([("Wix", 3, f64::INFINITY)]) {
                    check::<f32>(kind, batch, isa, poison);
                    check::<f64>(kind, batch, isa, poison);
                }
            }
        }
    }
}

/// ReLU may hide an infinity from the loss and not from the gradients, so a step looks at its inputs itself.
#[test]
fn a_step_refuses_inputs_that_are_not_finite() {
    let shapes = vec![DenseShape::new(2, 3).into(), DenseShape::new(3, 2).linear().into()];
    for isa in isas() {
        let mut net: Network<f32> = Architecture::of(shapes.clone()).unwrap().build(&isa.into()).unwrap();
        let hidden = Dense { w: vec![-1.0; 6], b: vec![0.5; 3] };
        net.set_params(0, hidden.into()).unwrap();
        let before: Vec<_> = net.params().map(|params| params.to_owned()).collect();
        for poison in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            let x = [0.5, 0.5, 0.5, poison];
            let x = MatRef::new(&x, 2, 2).unwrap();
            if poison == f32::INFINITY {
                assert!(net.evaluate(x, &[0, 1]).unwrap().loss.is_finite(), "the hidden units hide it");
            }
            let error = net.train_step(x, &[0, 1], &Update::sgd(0.1)).unwrap_err();
            assert!(matches!(error, Error::Value { name: "x", index: 3, .. }), "{error}");
            let mut gradients = net.zero_gradients().unwrap();
            let error = net.gradients(x, &[0, 1], &mut gradients).unwrap_err();
            assert!(matches!(error, Error::Value { name: "x", index: 3, .. }), "{error}");
            assert!(net.params().map(|params| params.to_owned()).eq(before.iter().cloned()), "{isa}");
        }
    }
}

/// Panics unless the kernels agree with the reference, where all numbers are to be finite.
#[track_caller]
fn assert_agrees<T: Tolerance>(what: &str, problem: &Problem, isa: Isa, update: &Update) -> Outcome<T> {
    let want = problem.solve(update, None).outcome;
    let got = run::<T>(problem, isa, Threads::Serial, update);
    for ((name, got), (_, want)) in got.arrays().into_iter().zip(want.arrays()) {
        let scale = common::largest(want);
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            let difference = (got.to_f64() - want).abs();
            let close = got.is_finite() && difference <= T::LAYER * scale;
            assert!(close, "{what}, {isa}: {name}[{i}] is {got}, expected {want}");
        }
    }
    got
}

/// Without input, and for a unit without inhibition, γ is ε or its floor: large quotients, but numbers.
#[test]
fn gamma_at_its_floor() {
    for isa in isas() {
        let cases = [(true, 4), (false, 4), (true, 37), (false, 37)];
        let kinds = [Kind::Divisive, Kind::Floor, Kind::Root];
        for (kind, (silent_input, batch)) in kinds.into_iter().flat_map(|kind| cases.map(|case| (kind, case))) {
            let mut problem = problem(kind, batch, true);
            if silent_input {
                problem.x.chunks_exact_mut(DIMS.0).step_by(2).for_each(|x| x.fill(0.0));
            } else {
                problem.params["Wei"].chunks_exact_mut(DIMS.2).step_by(3).for_each(|wei| wei.fill(0.0));
            }
            let update = Update::csgd(1e-12);
            let outcome = assert_agrees::<f32>(&format!("least γ of {kind:?}"), &problem, isa, &update);
            assert_agrees::<f64>(&format!("least γ of {kind:?}"), &problem, isa, &update);
            if silent_input {
                let params = DannParams::try_from(problem.params::<f32>()).unwrap();
                let h = params.b.iter().map(|b| b.max(0.0));
                assert!(outcome.h[..DIMS.1].iter().copied().eq(h), "{isa}: without input, f(b) is left");
            }
        }
    }
}

/// A step that is far too long drives weights to exactly zero and not below; from there a layer goes on with numbers.
#[test]
fn weights_driven_to_zero() {
    for isa in isas() {
        for kind in KINDS {
            let mut problem = problem(kind, 19, true);
            let step = Update::sgd(1e6);
            let updated = run::<f64>(&problem, isa, Threads::Serial, &step).updated;
            let kept = |name: &str| match kind {
                Kind::Columns => name == "W",
                Kind::Divisive | Kind::Subtractive => ["Wex", "Wix", "Wei", "g"].contains(&name),
                _ => false,
            };
            let arrays = updated.view().arrays();
            assert!(arrays.iter().filter(|(name, _)| kept(name)).all(|(_, w)| w.iter().all(|&w| w >= 0.0)));
            if kept("W") || kept("Wex") {
                assert!(arrays.iter().any(|(_, w)| w.contains(&0.0)), "{kind:?}, {isa}: none at zero");
            }
            // All of them at zero.
            for (name, array) in problem.params.view_mut().arrays() {
                if !["b", "running_mean", "running_var"].contains(&name) {
                    array.fill(0.0);
                }
            }
            let outcome = assert_agrees::<f32>("weights of zero", &problem, isa, &Update::csgd(1e-3));
            assert_agrees::<f64>("weights of zero", &problem, isa, &Update::csgd(1e-3));
            assert!(outcome.dx.iter().all(|&dx| dx == 0.0), "{kind:?}, {isa}");
        }
    }
}

/// Units that no example activates have outputs and gradients of exactly zero: a step leaves them as they are.
#[test]
fn silent_units_stay_as_they_are() {
    for isa in isas() {
        for kind in KINDS {
            for batch in BATCHES {
                let mut problem = problem(kind, batch, true);
                for (name, array) in problem.params.view_mut().arrays() {
                    if name == "b" {
                        array.fill(-1e12);
                    }
                }
                let got = run::<f32>(&problem, isa, Threads::Serial, &Update::csgd(0.1));
                assert!(got.h.iter().chain(&got.dx).all(|&value| value == 0.0), "{kind:?}, {isa}");
                let before = problem.params::<f32>();
                for ((name, after), (_, before)) in got.updated.view().arrays().into_iter().zip(before.view().arrays())
                {
                    assert_eq!(bits(after), bits(before), "{kind:?}, {isa}: {name}");
                }
            }
        }
    }
}

/// Numbers below the smallest normal one are not taken for zero.
#[test]
fn subnormal_numbers_count() {
    fn check<T: Tolerance>(kind: Kind, isa: Isa, smallest_normal: f64) {
        let what = format!("{kind:?}, subnormal");
        // A sum of a few products, each rounded to a multiple of the smallest number.
        let rounding = 1e3 * smallest_normal * T::EPSILON;
        let scale = smallest_normal / 16.0;
        let mut small = problem(kind, 19, false);
        small.params.view_mut().arrays().into_iter().filter(|(name, _)| *name == "b").for_each(|(_, b)| b.fill(0.0));
        let mut gradients = small.clone();
        small.x.iter_mut().for_each(|x| *x = T::from_f64(*x * scale).to_f64());
        // Inputs of a layer that divides are so small beside ε that its outputs are proportional to them.
        let outcome = assert_agrees_in_h::<T>(&what, &small, isa, (kind == Kind::Divisive, rounding));
        if !matches!(kind, Kind::Divisive | Kind::LayerNorm) {
            assert!(outcome.iter().any(|h| h.to_f64() != 0.0 && h.to_f64().abs() < smallest_normal), "{what}, {isa}");
        }
        gradients.dh.iter_mut().for_each(|dh| *dh = T::from_f64(*dh * scale).to_f64());
        let got = run::<T>(&gradients, isa, Threads::Serial, &Update::sgd(0.1));
        assert!(got.dx.iter().any(|dx| dx.to_f64() != 0.0), "{what} gradients, {isa}");
        assert!(got.arrays().iter().all(|(_, array)| array.iter().all(|value| value.is_finite())), "{what}, {isa}");
    }
    /// Compares the outputs alone.
    #[track_caller]
    fn assert_agrees_in_h<T: Tolerance>(
        what: &str,
        problem: &Problem,
        isa: Isa,
        (divisive, smallest): (bool, f64),
    ) -> Vec<T> {
        let [h, ..] = rows::<T>(problem, isa);
        let want = reference::forward(&problem.shape, &problem.params, &problem.x);
        // What a divisor of ε makes of a rounding.
        let smallest = if divisive { smallest / reference::EPSILON } else { smallest };
        let scale = common::largest(want.h());
        for (i, (h, want)) in h.iter().zip(want.h()).enumerate() {
            let close = (h.to_f64() - want).abs() <= T::LAYER * scale + smallest;
            assert!(close, "{what}, {isa}: h[{i}] is {:e}, expected {want:e}", h.to_f64());
        }
        h
    }
    for isa in isas() {
        for kind in KINDS {
            check::<f32>(kind, isa, f64::from(f32::MIN_POSITIVE));
            check::<f64>(kind, isa, f64::MIN_POSITIVE);
        }
    }
}

/// A rate that is far too high ends with an error that says in which step and at which rate, with the parameters that
/// went into the step, in every kind of network.
#[test]
fn rates_that_diverge() {
    let x: Vec<f32> = (0..20 * 9).map(|i| (i * i % 17) as f32 / 16.0).collect();
    let x = MatRef::new(&x, 20, 9).unwrap();
    let labels: Vec<u32> = (0..20).map(|i| i % 3).collect();
    let dims = [9, 12, 7, 3];
    let dann = Architecture::dann(&dims, &[3, 2, 1]).unwrap();
    let architectures = [
        dann.clone(),
        dann.subtractive(),
        Architecture::mlp(&dims).unwrap(),
        Architecture::layer_norm(&dims).unwrap(),
        Architecture::batch_norm(&dims).unwrap(),
        Architecture::column_ei(&dims, 4, 0.25).unwrap(),
    ];
    for isa in isas() {
        for architecture in &architectures {
            for rate in [1e20, 1e38] {
                let mut net: Network<f32> = architecture.build(&isa.into()).unwrap();
                let update = Update { momentum: PerRole::all(0.9), ..Update::sgd(rate) };
                let mut before: Vec<_> = net.params().map(|params| params.to_owned()).collect();
                let mut diverged = false;
                while net.steps() < 50 && !diverged {
                    match net.train_step(x, &labels, &update) {
                        Ok(loss) => assert!(loss.is_finite()),
                        Err(error) => {
                            let Error::Diverged { step, lr, .. } = error else { panic!("{error}") };
                            assert_eq!((step, lr), (net.steps(), rate));
                            let text = error.to_string();
                            assert!(text.contains(&format!("step {step} at learning rate {rate}")), "{text}");
                            diverged = true;
                            continue;
                        }
                    }
                    before = net.params().map(|params| params.to_owned()).collect();
                }
                // What is normalised may take steps of any length.
                let normalised = net.shapes().any(|shape| matches!(shape, LayerShape::Norm(_)));
                assert!(diverged || normalised, "{isa}, {rate}: {architecture:?}");
                let same = net.params().zip(&before).all(|(now, before)| {
                    let pairs = now.arrays().into_iter().zip(before.view().arrays());
                    pairs.into_iter().all(|((_, now), (_, before))| bits(now) == bits(before))
                });
                assert!(same, "{isa}: the failed step changed parameters");
            }
        }
    }
}
