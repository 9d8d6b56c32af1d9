//! Properties of the layers, on every instruction set and in both element types, over shapes on both sides of every
//! tile edge.

mod common;

use common::{Tolerance, assert_close, bits, cast, isas};
use interneuron::*;
use proptest::prelude::*;
use proptest::sample::select;
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};

/// Units and inputs around multiples of tile heights (2 to 12) and of vector groups (up to 3 · 16).
const UNITS: [usize; 26] =
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15, 16, 17, 24, 25, 31, 32, 33, 48, 49, 64, 65, 97, 130];
/// Interneurons: fewer than a tile, around one, and more than the units of many shapes.
const INTERNEURONS: [usize; 12] = [1, 2, 3, 4, 5, 8, 12, 13, 16, 17, 33, 50];
/// Batches around multiples of vectors (4 to 16) and of groups of them.
const BATCHES: [usize; 18] = [1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 31, 32, 33, 48, 49, 64, 65, 130];

/// A layer, its parameters and a batch, in f64 but exact in f32.
#[derive(Debug)]
struct Problem {
    shape: DannShape,
    batch: usize,
    params: DannParams<f64>,
    x: Vec<f64>,
    dh: Vec<f64>,
}

impl Problem {
    fn new((d, ne, ni, batch): (usize, usize, usize, usize), relu: bool, divisive: bool, seed: u64) -> Self {
        let mut rng = generator(seed);
        let mut shape = DannShape { divisive, ..DannShape::new(d, ne, ni) };
        if !relu {
            shape = shape.linear();
        }
        let exact = |x: f64| f64::from(x as f32);
        let mut params = Init::deeper().draw_dann::<f64>(&shape, &mut rng).unwrap();
        let mut normal = || exact(StandardNormal.sample(&mut rng));
        params.wei.iter_mut().for_each(|w| *w *= 1.0 + 0.5 * normal().abs());
        params.alpha.iter_mut().for_each(|alpha| *alpha += 0.3 * normal());
        params.g.iter_mut().for_each(|g| *g = normal().abs());
        params.b.iter_mut().for_each(|b| *b = 0.3 * normal());
        let mut x: Vec<f64> = (0..batch * d).map(|_| normal().max(0.0)).collect();
        let dh = (0..batch * ne).map(|_| normal()).collect();
        // Weights and gains at their floor, and examples without any input, occur.
        for array in [&mut params.wex, &mut params.wix, &mut params.g] {
            array.iter_mut().for_each(|w| *w = if rng.random_bool(0.1) { 0.0 } else { exact(*w) });
        }
        for array in [&mut params.wei, &mut params.alpha, &mut params.b] {
            array.iter_mut().for_each(|w| *w = exact(*w));
        }
        x.chunks_exact_mut(d).for_each(|row| {
            if rng.random_bool(0.05) {
                row.fill(0.0);
            }
        });
        Self { shape, batch, params, x, dh }
    }

    fn params<T: Element>(&self) -> DannParams<T> {
        self.params.clone().map(|array| cast(&array))
    }
}

/// What a layer made of a problem.
#[derive(Clone, Debug, PartialEq)]
struct Outcome<T> {
    h: Vec<T>,
    dx: Vec<T>,
    gradients: DannParams<T>,
    updated: DannParams<T>,
}

/// Runs a problem on the kernels: forward, all gradients, and the fused update.
fn run<T: Element>(problem: &Problem, isa: Isa, threads: Threads<'_>, update: &Update) -> Outcome<T> {
    let Problem { shape, batch, .. } = *problem;
    let (x, dh) = (cast::<T>(&problem.x), cast::<T>(&problem.dh));
    let x = MatRef::new("x", &x, batch, shape.d).unwrap();
    let dh = MatRef::new("dh", &dh, batch, shape.ne).unwrap();
    let params = problem.params::<T>();
    let mut layer = Layer::<T>::new(shape, isa).unwrap();
    // Outputs begin as NaN, so that a stray read shows.
    let nan = |n: usize| vec![T::from_f64(f64::NAN); n];
    let mut outcome = Outcome {
        h: nan(batch * shape.ne),
        dx: nan(batch * shape.d),
        gradients: shape.lengths().unwrap().map(nan),
        updated: params.clone(),
    };
    let forward = |layer: &mut Layer<T>, h: &mut Vec<T>| {
        layer.forward(threads, params.view(), x, MatMut::new("h", h, batch, shape.ne).unwrap()).unwrap();
    };
    forward(&mut layer, &mut outcome.h);
    let dx = MatMut::new("dx", &mut outcome.dx, batch, shape.d).unwrap();
    layer.backward(threads, params.view(), x, dh, outcome.gradients.view_mut(), Some(dx)).unwrap();
    forward(&mut layer, &mut outcome.h);
    layer.update(threads, outcome.updated.view_mut(), x, dh, update, None).unwrap();
    outcome
}

fn expected(problem: &Problem, update: &Update) -> Outcome<f64> {
    let Problem { shape, params, x, dh, .. } = problem;
    let forward = reference::dann_forward(shape, params, x);
    let (dx, gradients) = reference::dann_backward(shape, params, x, &forward, dh);
    let mut updated = params.clone();
    reference::dann_update(shape, &mut updated, &gradients, update);
    Outcome { h: forward.h, dx, gradients, updated }
}

fn assert_outcome<T: Tolerance>(what: &str, got: &Outcome<T>, want: &Outcome<f64>) {
    assert_close(&format!("{what}: h"), &got.h, &want.h, T::LAYER);
    assert_close(&format!("{what}: dx"), &got.dx, &want.dx, T::LAYER);
    let names = Dann::<()>::NAMES;
    got.gradients.view().zip(want.gradients.view()).zip(names).map(|((got, want), name)| {
        assert_close(&format!("{what}: d{name}"), got, want, T::LAYER);
    });
    got.updated.view().zip(want.updated.view()).zip(names).map(|((got, want), name)| {
        assert_close(&format!("{what}: updated {name}"), got, want, T::LAYER);
    });
}

/// Whether no unit is so close to the kink of its ReLU that rounding to f32 could carry it across: there the gradient
/// jumps, and two right answers differ.
fn clear_of_kinks(problem: &Problem) -> bool {
    let z = reference::dann_forward(&problem.shape, &problem.params, &problem.x).z;
    let scale = z.iter().fold(0.0, |m: f64, z| m.max(z.abs()));
    problem.shape.nonlinearity == Nonlinearity::Identity || z.iter().all(|z| z.abs() > 1e-5 * scale.min(1.0))
}

prop_compose! {
    fn problems()(
        dims in (select(&UNITS[..]), select(&UNITS[..]), select(&INTERNEURONS[..]), select(&BATCHES[..])),
        relu: bool,
        divisive in proptest::bool::weighted(0.75),
        seed: u64,
    ) -> Problem {
        Problem::new(dims, relu, divisive, seed)
    }
}

/// Fewer cases without optimisation, where a case takes a hundred times as long.
fn config() -> ProptestConfig {
    let cases = if cfg!(debug_assertions) { 32 } else { 256 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn pools() -> &'static [rayon::ThreadPool] {
    static POOLS: std::sync::OnceLock<Vec<rayon::ThreadPool>> = std::sync::OnceLock::new();
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    POOLS.get_or_init(|| (2..=4).map(pool).collect())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn kernels_agree_with_the_reference(problem in problems(), corrections: bool, lr in 0.001..0.5) {
        prop_assume!(clear_of_kinks(&problem));
        let update = Update { corrections, ..Update::sgd(lr) };
        let want = expected(&problem, &update);
        for isa in isas() {
            assert_outcome(&format!("{isa}, f64"), &run::<f64>(&problem, isa, Threads::Serial, &update), &want);
            assert_outcome(&format!("{isa}, f32"), &run::<f32>(&problem, isa, Threads::Serial, &update), &want);
        }
    }

    #[test]
    fn the_composed_baseline_agrees_with_the_reference(problem in problems(), corrections: bool) {
        prop_assume!(clear_of_kinks(&problem));
        let update = Update { corrections, ..Update::sgd(0.1) };
        let want = expected(&problem, &update);
        fn composed<T: composed::Gemm>(problem: &Problem, update: &Update) -> Outcome<T> {
            let (x, dh) = (cast::<T>(&problem.x), cast::<T>(&problem.dh));
            let mut params = LayerParams::Dann(problem.params::<T>());
            let mut layer = composed::Layer::<T>::new(problem.shape).unwrap();
            layer.forward(params.view(), &x);
            layer.backward(params.view(), &x, &dh, true);
            layer.update(&mut params, update);
            let LayerArrays::Dann(gradients) = layer.gradients().to_owned() else { unreachable!() };
            let LayerArrays::Dann(updated) = params else { unreachable!() };
            Outcome { h: layer.h().to_vec(), dx: layer.dx().to_vec(), gradients, updated }
        }
        assert_outcome("composed, f64", &composed::<f64>(&problem, &update), &want);
        assert_outcome("composed, f32", &composed::<f32>(&problem, &update), &want);
    }

    #[test]
    fn threads_and_fusion_do_not_change_a_bit(problem in problems(), corrections: bool) {
        let factors = Dann { wex: 0.5, wix: 2.0, wei: 3.0, alpha: 0.1, g: 0.0, b: 1.5 };
        let update = Update { corrections, factors, ..Update::sgd(0.1) };
        fn check<T: Element>(problem: &Problem, isa: Isa, update: &Update) {
            let serial = run::<T>(problem, isa, Threads::Serial, update);
            for pool in pools() {
                let threaded = run::<T>(problem, isa, Threads::Pool(pool), update);
                assert!(serial == threaded, "{isa}: {} threads", pool.current_num_threads());
            }
            let mut applied = problem.params::<T>();
            let shape = LayerShape::Dann(problem.shape);
            update.apply(&shape, applied.view_mut(), serial.gradients.view()).unwrap();
            for (fused, applied) in serial.updated.into_array().iter().zip(applied.into_array()) {
                assert_eq!(bits(fused), bits(&applied), "{isa}: fused and handed-out");
            }
        }
        for isa in isas() {
            check::<f32>(&problem, isa, &update);
            check::<f64>(&problem, isa, &update);
        }
    }

    #[test]
    fn updates_keep_signs_and_a_zero_rate_changes_nothing(problem in problems(), lr in 0.1..100.0) {
        for isa in isas() {
            let updated = run::<f32>(&problem, isa, Threads::Serial, &Update::sgd(lr)).updated;
            for array in [&updated.wex, &updated.wix, &updated.wei, &updated.g] {
                prop_assert!(array.iter().all(|&w| w >= 0.0), "{}", isa);
            }
            let unchanged = run::<f32>(&problem, isa, Threads::Serial, &Update::csgd(0.0)).updated;
            prop_assert_eq!(unchanged, problem.params::<f32>(), "{}", isa);
        }
    }

    #[test]
    fn corrections_scale_as_stated(problem in problems()) {
        let DannShape { d, ne, .. } = problem.shape;
        let lr = 1e-3;
        for isa in isas() {
            let [plain, corrected] = [Update::sgd(lr), Update::csgd(lr)]
                .map(|update| run::<f64>(&problem, isa, Threads::Serial, &update).updated);
            prop_assert!(plain.wex == corrected.wex && plain.g == corrected.g && plain.b == corrected.b);
            let before = &problem.params;
            let (root_ne, d) = ((ne as f64).sqrt(), d as f64);
            for (before, plain, corrected, divisor) in [
                (&before.wix, &plain.wix, &corrected.wix, root_ne),
                (&before.wei, &plain.wei, &corrected.wei, d),
                (&before.alpha, &plain.alpha, &corrected.alpha, root_ne * d),
            ] {
                for ((before, plain), corrected) in before.iter().zip(plain).zip(corrected) {
                    // Where the plain step ran into the clamp, its length says nothing.
                    if *plain != 0.0 {
                        let (long, short) = (plain - before, corrected - before);
                        let rounding = 4.0 * f64::EPSILON * (before.abs() + long.abs());
                        prop_assert!((long / divisor - short).abs() <= rounding, "{}: {} {}", isa, long, short);
                    }
                }
            }
        }
    }

    #[test]
    fn without_inhibition_it_is_a_dense_layer(problem in problems()) {
        let shape = problem.shape;
        let DannShape { d, ne, nonlinearity, .. } = shape;
        let dense = DenseShape { d, ne, nonlinearity };
        for isa in isas() {
            let x = MatRef::new("x", &problem.x, problem.batch, d).unwrap();
            let forward = |shape: LayerShape, params: LayerRef<'_, f64>| {
                let mut h = vec![f64::NAN; problem.batch * ne];
                let out = MatMut::new("h", &mut h, problem.batch, ne).unwrap();
                Layer::new(shape, isa).unwrap().forward(Threads::Serial, params, x, out).unwrap();
                h
            };
            // Wei = 0 silences the interneurons and leaves γ = ε, which a gain of ε undoes.
            let mut params = problem.params.clone();
            params.wei.fill(0.0);
            params.g.fill(reference::EPSILON);
            let inhibited = forward(shape.into(), params.view().into());
            let plain = forward(dense.into(), Dense { w: &params.wex[..], b: &params.b[..] }.into());
            assert_close(&format!("{isa}"), &inhibited, &plain, f64::LAYER);
        }
    }

    #[test]
    fn strided_views_give_the_same_bits_and_gaps_stay(problem in problems(), gap in 1_usize..5) {
        let DannShape { d, ne, .. } = problem.shape;
        let batch = problem.batch;
        let spread = |values: &[f64], width: usize| -> Vec<f32> {
            values.chunks_exact(width).flat_map(|row| row.iter().map(|&v| v as f32).chain(vec![f32::NAN; gap])).collect()
        };
        let (x, dh) = (spread(&problem.x, d), spread(&problem.dh, ne));
        let update = Update::csgd(0.1);
        for isa in isas() {
            let want = run::<f32>(&problem, isa, Threads::Serial, &update);
            // The last row ends with its last element: the gap after it is not part of the view.
            let x = MatRef::with_stride("x", &x[..x.len() - gap], batch, d, d + gap).unwrap();
            let dh = MatRef::with_stride("dh", &dh[..dh.len() - gap], batch, ne, ne + gap).unwrap();
            let mut h = vec![f32::INFINITY; batch * (ne + gap)];
            let mut dx = vec![f32::INFINITY; batch * (d + gap)];
            let mut params = problem.params::<f32>();
            let mut layer = Layer::<f32>::new(problem.shape, isa).unwrap();
            let h_out = MatMut::with_stride("h", &mut h, batch, ne, ne + gap).unwrap();
            layer.forward(Threads::Serial, params.view(), x, h_out).unwrap();
            let dx_out = MatMut::with_stride("dx", &mut dx, batch, d, d + gap).unwrap();
            layer.update(Threads::Serial, params.view_mut(), x, dh, &update, Some(dx_out)).unwrap();
            prop_assert_eq!(&params, &want.updated);
            for (got, want, width) in [(&h, &want.h, ne), (&dx, &want.dx, d)] {
                for (got, want) in got.chunks_exact(width + gap).zip(want.chunks_exact(width)) {
                    prop_assert_eq!(&got[..width], want);
                    prop_assert!(got[width..].iter().all(|&v| v == f32::INFINITY), "a gap was written");
                }
            }
        }
    }

    #[test]
    fn plain_layers_agree_with_the_reference(problem in problems(), lr in 0.001..0.5) {
        prop_assume!(clear_of_kinks(&problem));
        let DannShape { d, ne, nonlinearity, .. } = problem.shape;
        let shape = DenseShape { d, ne, nonlinearity };
        // Weights of any sign.
        let w: Vec<f64> = problem.params.wex.iter().enumerate().map(|(i, w)| if i % 2 == 0 { *w } else { -w }).collect();
        let params = Dense { w, b: problem.params.b.clone() };
        let update = Update::sgd(lr);
        let (z, want_h) = reference::dense_forward(&shape, &params, &problem.x);
        prop_assume!(nonlinearity == Nonlinearity::Identity || z.iter().all(|z| z.abs() > 1e-5));
        let (want_dx, want_gradients) = reference::dense_backward(&shape, &params, &problem.x, &z, &problem.dh);
        let mut want = params.clone();
        reference::dense_update(&mut want, &want_gradients, &update);

        fn check<T: Tolerance>(
            problem: &Problem,
            (isa, shape, update): (Isa, DenseShape, &Update),
            params: &DenseParams<f64>,
            (want_h, want_dx): (&[f64], &[f64]),
            (want_gradients, want): (&DenseParams<f64>, &DenseParams<f64>),
        ) {
            let DenseShape { d, ne, .. } = shape;
            let batch = problem.batch;
            let (x, dh) = (cast::<T>(&problem.x), cast::<T>(&problem.dh));
            let x = MatRef::new("x", &x, batch, d).unwrap();
            let dh = MatRef::new("dh", &dh, batch, ne).unwrap();
            let params: DenseParams<T> = params.clone().map(|array| cast(&array));
            let run = |threads: Threads<'_>| {
                let mut layer = Layer::<T>::new(shape, isa).unwrap();
                let (mut h, mut dx) = (vec![T::ZERO; batch * ne], vec![T::ZERO; batch * d]);
                let mut gradients = DenseParams::<T>::zeros(&shape).unwrap();
                let mut updated = params.clone();
                layer.forward(threads, params.view(), x, MatMut::new("h", &mut h, batch, ne).unwrap()).unwrap();
                let dx_out = MatMut::new("dx", &mut dx, batch, d).unwrap();
                layer.backward(threads, params.view(), x, dh, gradients.view_mut(), Some(dx_out)).unwrap();
                layer.forward(threads, params.view(), x, MatMut::new("h", &mut h, batch, ne).unwrap()).unwrap();
                layer.update(threads, updated.view_mut(), x, dh, update, None).unwrap();
                (h, dx, gradients, updated)
            };
            let (h, dx, gradients, updated) = run(Threads::Serial);
            assert_close("h", &h, want_h, T::LAYER);
            assert_close("dx", &dx, want_dx, T::LAYER);
            assert_close("dW", &gradients.w, &want_gradients.w, T::LAYER);
            assert_close("db", &gradients.b, &want_gradients.b, T::LAYER);
            assert_close("updated W", &updated.w, &want.w, T::LAYER);
            assert_close("updated b", &updated.b, &want.b, T::LAYER);
            let mut applied = params.clone();
            update.apply(&shape.into(), applied.view_mut(), gradients.view()).unwrap();
            assert_eq!((bits(&applied.w), bits(&applied.b)), (bits(&updated.w), bits(&updated.b)), "fused");
            assert!(run(Threads::Pool(&pools()[1])) == (h, dx, gradients, updated), "threads");
        }
        for isa in isas() {
            let (outputs, arrays) = ((&want_h[..], &want_dx[..]), (&want_gradients, &want));
            check::<f32>(&problem, (isa, shape, &update), &params, outputs, arrays);
            check::<f64>(&problem, (isa, shape, &update), &params, outputs, arrays);
        }
    }
}

/// Random inputs that passed a ReLU, of which a part is silent: the ratio of their mean square to their squared mean
/// is π divided by the part that is left.
fn rectified(n: usize, left: f64, seed: u64) -> Vec<f64> {
    let mut rng = generator(seed);
    let mut draw = || -> f64 { if rng.random_bool(left) { StandardNormal.sample(&mut rng) } else { 0.0 } };
    (0..n).map(|_| draw().max(0.0)).collect()
}

#[test]
fn a_fresh_layer_standardises() {
    use std::f64::consts::PI;
    let shape = DannShape::new(600, 2000, 200);
    let batch = 6;
    // Across units ẑ has the variance (mean x² / (mean x)²) / (2π−1): 1 for inputs of which a little more than half the
    // positive part is left, less for the whole positive part of a normal variable.
    for (left, variance_expected) in [(PI / (2.0 * PI - 1.0), 1.0), (1.0, PI / (2.0 * PI - 1.0))] {
        let x = rectified(batch * shape.d, left, 3);
        for isa in isas() {
            let params = Init::deeper().draw_dann::<f64>(&shape, &mut generator(4)).unwrap();
            let mut layer = Layer::new(shape, isa).unwrap();
            let mut h = vec![0.0; batch * shape.ne];
            let (mut zhat, mut gamma) = (h.clone(), h.clone());
            let x = MatRef::new("x", &x, batch, shape.d).unwrap();
            layer
                .forward(Threads::Serial, params.view(), x, MatMut::new("h", &mut h, batch, shape.ne).unwrap())
                .unwrap();
            let [zhat_out, gamma_out] =
                [&mut zhat, &mut gamma].map(|out| MatMut::new("out", out, batch, shape.ne).unwrap());
            layer.standardised(zhat_out, gamma_out).unwrap();
            for zhat in zhat.chunks_exact(shape.ne) {
                let (mean, variance) = reference::mean_and_variance(zhat);
                // Five standard errors: the mean of 200 interneurons is subtracted, 2000 units show the variance, and
                // 600 inputs make up the ratio.
                assert!(mean.abs() < 5.0 / 200_f64.sqrt(), "{isa}: mean {mean}");
                assert!((variance / variance_expected - 1.0).abs() < 5.0 * 0.07, "{isa}: variance {variance}");
            }
        }
    }
}

#[test]
fn initial_parameters_have_their_statistics() {
    for (init, rectified_input) in [(Init::first(), false), (Init::deeper(), true)] {
        let shape = DannShape::new(400, 300, 40);
        let want = reference::init_statistics(shape.d, rectified_input);
        let params = init.draw_dann::<f64>(&shape, &mut generator(5)).unwrap();
        for weights in [&params.wex, &params.wix] {
            let (mean, variance) = reference::mean_and_variance(weights);
            // Five standard errors: 1/√n of the mean and √8/√n of an exponential's variance.
            let error = 5.0 / (weights.len() as f64).sqrt();
            assert!((mean / want.scale - 1.0).abs() < error, "mean");
            assert!((variance / want.scale.powi(2) - 1.0).abs() < 8_f64.sqrt() * error, "variance");
        }
        assert!(params.wei.iter().all(|&w| w == 1.0 / 40.0));
        assert!(params.alpha.iter().all(|&a| (a - want.alpha).abs() < 1e-15));
        assert!(params.g.iter().all(|&g| g == 1.0) && params.b.iter().all(|&b| b == 0.0));

        let one = init.draw_dann::<f64>(&DannShape::new(20, 30, 1), &mut generator(6)).unwrap();
        let column_mean = |k: usize| one.wex[k..].iter().step_by(20).sum::<f64>() / 30.0;
        assert!((0..20).all(|k| (one.wix[k] - column_mean(k)).abs() < 1e-15), "Wix is the mean of the rows of Wex");
        assert!(one.wei.iter().all(|&w| w == 1.0));

        let iid = Init { iid_inhibition: true, ..init }.draw_dann::<f64>(&shape, &mut generator(7)).unwrap();
        let scale = (want.scale / 40.0).sqrt();
        for weights in [&iid.wix, &iid.wei] {
            let (mean, _) = reference::mean_and_variance(weights);
            assert!((mean / scale - 1.0).abs() < 5.0 / (weights.len() as f64).sqrt(), "iid inhibition");
        }
    }
    let narrow = Init::first().draw_dann::<f32>(&DannShape::new(30, 20, 5), &mut generator(8)).unwrap();
    let wide = Init::first().draw_dann::<f64>(&DannShape::new(30, 20, 5), &mut generator(8)).unwrap();
    assert!(narrow.wex.iter().zip(&wide.wex).all(|(n, w)| *n == *w as f32), "a seed draws the same numbers");
    let plain = Init::deeper().draw_dense::<f64>(&DenseShape::new(400, 300), &mut generator(9)).unwrap();
    let (mean, variance) = reference::mean_and_variance(&plain.w);
    assert!(mean.abs() < 5.0 * (2.0_f64 / 400.0).sqrt() / 120_000_f64.sqrt());
    assert!((variance / (2.0 / 400.0) - 1.0).abs() < 5.0 * (2.0_f64 / 120_000.0).sqrt());
}

#[test]
fn nan_and_infinity_stay_in_their_rows() {
    let problem = Problem::new((33, 21, 5, 19), true, true, 1);
    for isa in isas() {
        let clean = run::<f32>(&problem, isa, Threads::Serial, &Update::sgd(0.1));
        for poison in [f64::NAN, f64::INFINITY] {
            let mut poisoned = Problem::new((33, 21, 5, 19), true, true, 1);
            poisoned.x[7 * 33 + 2] = poison;
            let h = run::<f32>(&poisoned, isa, Threads::Serial, &Update::sgd(0.1)).h;
            for (row, (got, want)) in h.chunks_exact(21).zip(clean.h.chunks_exact(21)).enumerate() {
                if row == 7 {
                    assert!(got.iter().any(|h| h.is_nan()), "{isa}: {poison} was lost");
                } else {
                    assert_eq!(got, want, "{isa}: row {row}");
                }
            }
        }
    }
}
