//! Losses against the naive reference, and steps with a loss of the caller's own.

mod common;

use common::{Tolerance, assert_within, bits, cast, isas, largest};
use interneuron::*;
use proptest::prelude::*;
use rand::RngExt;

/// A target in numbers: 0 labels, 1 probabilities, 2 values, 3 binary.
#[derive(Clone, Debug)]
struct Problem {
    kind: usize,
    examples: usize,
    outputs: usize,
    smoothing: f64,
    /// 0 equal, 1 of examples, 2 of elements.
    weighting: usize,
    seed: u64,
}

/// The arrays of a problem: outputs, targets, weights of examples, weights of elements.
struct Arrays<T> {
    o: Vec<T>,
    y: Vec<T>,
    labels: Vec<u32>,
    w: Vec<T>,
    mask: Vec<T>,
}

impl Problem {
    fn arrays<T: Element>(&self) -> Arrays<T> {
        let mut rng = generator(self.seed);
        let n = self.examples * self.outputs;
        // Numbers of f32, so that both types have the same problem.
        let mut draw = |n: usize, scale: f32| -> Vec<f64> {
            (0..n).map(|_| f64::from((rng.random::<f32>() - 0.5) * scale)).collect()
        };
        let o = draw(n, 12.0);
        let y = draw(n, 2.0).into_iter().map(|y| if self.kind == 2 { y } else { y.abs() }).collect::<Vec<_>>();
        // A third of them zero.
        let weight = |w: f64| if w < 0.34 { 0.0 } else { w };
        let w: Vec<f64> = draw(self.examples, 2.0).into_iter().map(|w| weight(w.abs())).collect();
        let mask: Vec<f64> = draw(n, 2.0).into_iter().map(|w| weight(w.abs())).collect();
        let labels = (0..self.examples).map(|_| rng.random_range(0..self.outputs as u32)).collect();
        Arrays { o: cast(&o), y: cast(&y), labels, w: cast(&w), mask: cast(&mask) }
    }

    fn target<'a, T: Element>(&self, arrays: &'a Arrays<T>) -> Target<'a, T> {
        let y = MatRef::new(&arrays.y, self.examples, self.outputs).unwrap();
        let target = match self.kind {
            0 => Target::labels(&arrays.labels).smoothed(self.smoothing),
            1 => Target::probabilities(y).smoothed(self.smoothing),
            2 => Target::values(y),
            _ => Target::binary(y),
        };
        match self.weighting {
            0 => target,
            2 if self.kind > 1 => target.masked(MatRef::new(&arrays.mask, self.examples, self.outputs).unwrap()),
            _ => target.weighted(&arrays.w),
        }
    }

    /// The largest of the terms whose difference is a gradient of a softmax; 0 for other losses.
    fn largest_term(&self) -> f64 {
        let Arrays { y, w, .. } = self.arrays::<f64>();
        let w = if self.weighting == 0 { vec![1.0; self.examples] } else { w };
        let total: f64 = w.iter().sum();
        if self.kind > 1 || total == 0.0 {
            return 0.0;
        }
        let sums =
            y.chunks_exact(self.outputs).map(|y| if self.kind == 0 { 1.0 } else { y.iter().sum::<f64>().max(1.0) });
        sums.zip(w).fold(0.0, |most: f64, (sum, w)| most.max(sum * w / total))
    }

    /// Loss and gradient by the reference.
    fn reference(&self) -> (f64, Vec<f64>) {
        let (Arrays { o, y, labels, w, mask }, k) = (self.arrays::<f64>(), self.outputs);
        let w = if self.weighting == 0 { vec![1.0; self.examples] } else { w };
        if self.kind < 2 {
            let y = |i: usize| if self.kind == 0 { f64::from(labels[i / k] as usize == i % k) } else { y[i] };
            let t = (0..o.len()).map(|i| (1.0 - self.smoothing) * y(i) + self.smoothing / k as f64);
            return reference::weighted_cross_entropy(&o, &t.collect::<Vec<_>>(), &w);
        }
        let each = if self.weighting == 2 { mask } else { (0..o.len()).map(|i| w[i / k]).collect() };
        let loss = if self.kind == 2 { reference::squared_error } else { reference::binary_cross_entropy };
        reference::mean_of_elements(&o, &y, &each, loss)
    }
}

prop_compose! {
    fn problems()(
        (kind, weighting) in (0_usize..4, 0_usize..3),
        (examples, outputs) in (1_usize..40, 1_usize..20),
        smoothing in prop_oneof![Just(0.0), 0.0..=1.0],
        seed: u64,
    ) -> Problem {
        Problem { kind, examples, outputs, smoothing, weighting, seed }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn losses_agree_with_the_reference(problem in problems()) {
        /// Roundings of sums of up to 20 exponentials and of 800 losses, in f32 of the exponentials alone.
        fn check<T: Tolerance>(problem: &Problem, tolerance: f64) {
            let arrays = problem.arrays::<T>();
            let o = MatRef::new(&arrays.o, problem.examples, problem.outputs).unwrap();
            let mut d = vec![T::from_f64(f64::NAN); arrays.o.len()];
            let out = MatMut::new(&mut d, problem.examples, problem.outputs).unwrap();
            let got = problem.target(&arrays).loss(o, Some(out)).unwrap();
            let (loss, gradient) = problem.reference();
            // The logarithm of a sum that is 1 or more: what it is off by is a rounding of that sum, however small it is.
            assert_within("loss", &[got.loss], &[loss], loss.max(1.0), tolerance);
            // Differences of `T p` and `t`, which may be much larger than what is left of them.
            let scale = largest(&gradient).max(problem.largest_term());
            assert_within("doutputs", &d, &gradient, scale, tolerance);
            assert_eq!(problem.target(&arrays).loss(o, None).unwrap(), got);
        }
        check::<f64>(&problem, 1e-12);
        check::<f32>(&problem, 1e-5);
    }

    /// The gradient of the reference is its derivative.
    #[test]
    fn gradients_of_the_reference_are_differences(problem in problems()) {
        const STEP: f64 = 1e-4;
        let (_, gradient) = problem.reference();
        let Arrays { o, .. } = problem.arrays::<f64>();
        for i in (0..o.len()).step_by(o.len().div_ceil(7)) {
            let moved = |by: f64| {
                let mut arrays = problem.arrays::<f64>();
                arrays.o[i] += by;
                let o = MatRef::new(&arrays.o, problem.examples, problem.outputs).unwrap();
                problem.target(&arrays).loss(o, None).unwrap().loss
            };
            let difference = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            // Losses of up to 300, whose rounding, some 1e-13, is divided by two steps: 1e-9. The third derivative, of up
            // to 2, times a sixth of the step's square: 3e-9.
            prop_assert!((difference - gradient[i]).abs() < 1e-8, "{i}: {difference} {}", gradient[i]);
        }
    }
}

/// A step with a target is the step with the same loss called, to the bit: one slab, several, and batch normalisation.
#[test]
fn called_losses_take_the_steps_of_targets() {
    fn check<T: Element>(architecture: &Architecture, isa: Isa, problem: &Problem) {
        let arrays = problem.arrays::<T>();
        let target = problem.target(&arrays);
        let x: Vec<T> = (0..problem.examples * 13).map(|i| T::from_f64((i * i % 17) as f64 / 17.0)).collect();
        let x = MatRef::new(&x, problem.examples, 13).unwrap();
        let [mut net, mut called] = [(); 2].map(|()| architecture.build::<T>(&isa.into()).unwrap());
        let update = Update { momentum: PerRole::all(0.5), ..Update::csgd(0.01) };
        for step in 0..3 {
            let want = net.train_step(x, target, &update).unwrap();
            let got = called.step_with(x, &update, |o, d| target.loss(o, Some(d)).unwrap().loss).unwrap();
            let what = format!("{isa}, {problem:?}, step {step}");
            // In several slabs the loss is summed up slab by slab.
            assert!((got - want).abs() <= 1e-12 * want.abs(), "{what}: {got} {want}");
            for (want, got) in net.params().zip(called.params()) {
                for ((name, want), (_, got)) in want.arrays().into_iter().zip(got.arrays()) {
                    assert_eq!(bits(got), bits(want), "{what}: {name}");
                }
            }
        }
        assert!(called.state() == net.state());
    }
    let architectures = [
        Architecture::dann(&[13, 20, 5], &[3, 1]).unwrap(),
        Architecture::mlp(&[13, 20, 5]).unwrap(),
        Architecture::batch_norm(&[13, 20, 5]).unwrap(),
    ];
    for architecture in &architectures {
        for isa in isas() {
            for examples in [2, 33, 300] {
                for (kind, weighting) in [(0, 0), (0, 1), (1, 0), (2, 2), (3, 1)] {
                    let problem = Problem { kind, examples, outputs: 5, smoothing: 0.1, weighting, seed: 3 };
                    check::<f32>(architecture, isa, &problem);
                    check::<f64>(architecture, isa, &problem);
                }
            }
        }
    }
}

/// What has no weight is asked for nothing: not a finite output, and nothing flows back from it.
#[test]
fn what_has_no_weight_does_not_count() {
    let o = [f64::NAN, 1.0, 2.0, 0.5];
    let outputs = MatRef::new(&o, 2, 2).unwrap();
    let mut d = [7.0; 4];
    let first = Target::labels(&[0, 0]).weighted(&[0.0, 2.0]);
    let got = first.loss(outputs, Some(MatMut::new(&mut d, 2, 2).unwrap())).unwrap();
    assert!(got.loss.is_finite() && (got.examples, got.errors) == (1, 0));
    assert!(d[..2] == [0.0; 2] && d[2] < 0.0 && d[3] > 0.0);
    let (y, mask) = ([0.0; 4], [0.0, 1.0, 0.0, 1.0]);
    let matrix = |array| MatRef::new(array, 2, 2).unwrap();
    for target in [Target::values(matrix(&y)), Target::binary(matrix(&y))] {
        let masked = target.masked(matrix(&mask));
        let got = masked.loss(outputs, Some(MatMut::new(&mut d, 2, 2).unwrap())).unwrap();
        assert!(got.loss > 0.0 && d[0] == 0.0 && d[2] == 0.0 && d[1] > 0.0 && d[3] > 0.0, "{got:?} {d:?}");
        let nothing = target.masked(matrix(&y)).loss(outputs, Some(MatMut::new(&mut d, 2, 2).unwrap())).unwrap();
        assert_eq!((nothing.loss, d), (0.0, [0.0; 4]));
    }
}

#[test]
fn targets_that_cannot_be_are_refused_before_anything_moves() {
    let mut net: Network<f64> =
        Architecture::dann(&[3, 4, 2], &[2, 1]).unwrap().build(&Context::new().unwrap()).unwrap();
    let before: Vec<_> = net.params().cloned().collect();
    let x = [0.5; 6];
    let x = MatRef::new(&x, 2, 3).unwrap();
    let (good, wide, bad, beyond) = ([0.5; 4], [0.5; 6], [0.5, f64::NAN, 0.5, -1.0], [0.5, 2.0, 0.0, 1.0]);
    let matrix = |array| MatRef::new(array, 2, 2).unwrap();
    let fine = Update::csgd(0.1);
    let cases: [(Target<'_, f64>, &str); 10] = [
        (Target::values(MatRef::new(&wide, 2, 3).unwrap()), "values has 3 columns, the network has 2 outputs"),
        (Target::values(matrix(&bad)), "values[1] is NaN: expected a finite number"),
        (Target::probabilities(matrix(&bad)), "probabilities[1] is NaN: expected a finite number ≥ 0"),
        (Target::binary(matrix(&beyond)), "binary[1] is 2: expected a number from 0 to 1"),
        (Target::labels(&[0, 1]).weighted(&good), "weights has 4 elements: expected 2"),
        (Target::labels(&[0, 1]).weighted(&bad[2..]), "weights[1] is -1: expected a finite number ≥ 0"),
        (Target::values(matrix(&good)).masked(matrix(&bad)), "mask[1] is NaN: expected a finite number ≥ 0"),
        (
            Target::labels(&[0, 1]).masked(matrix(&good)),
            "a mask of softmax outputs is not supported here; use weights of examples, or a target of values",
        ),
        (Target::labels(&[0, 1]).smoothed(1.5), "smoothing is 1.5: expected from 0 to 1"),
        (
            Target::values(matrix(&good)).smoothed(0.1),
            "label smoothing of values is not supported here; use labels or probabilities",
        ),
    ];
    for (target, expected) in cases {
        assert_eq!(net.train_step(x, target, &fine).unwrap_err().to_string(), expected);
        assert_eq!(net.evaluate(x, target).unwrap_err().to_string(), expected);
    }
    let natural = Update::natural(0.1, Natural::default());
    let error = net.train_step(x, Target::values(matrix(&good)), &natural).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    let error = net.step_with(x, &natural, |_, _| 0.0).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    let error = net.step_with(x, &fine, |_, _| f64::NAN).unwrap_err();
    assert!(matches!(error, Error::Diverged { step: 0, .. }), "{error}");
    let error = net
        .step_with(x, &fine, |_, mut d| {
            d.row_mut(1)[0] = f64::INFINITY;
            1.0
        })
        .unwrap_err();
    assert_eq!(error.to_string(), "doutputs[2] is inf: expected a finite number");
    assert!(net.params().eq(&before) && net.steps() == 0);
    // A loss without a gradient moves nothing.
    assert_eq!(net.step_with(x, &fine, |_, _| 2.5).unwrap(), 2.5);
    assert!(net.params().eq(&before) && net.steps() == 1);
}
