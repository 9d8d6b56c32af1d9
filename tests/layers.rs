//! Properties of the layers, on every instruction set and in both element types, over shapes on both sides of every
//! tile edge.

mod common;

use common::{Tolerance, assert_close, assert_within, bits, cast, isas, largest};
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

/// Which kind of layer a problem has.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Divisive,
    Subtractive,
    Dense,
    /// Sign-constrained columns, with inhibitory units among inputs and outputs.
    Columns,
    LayerNorm,
    BatchNorm,
}

const KINDS: [Kind; 7] =
    [Kind::Divisive, Kind::Divisive, Kind::Subtractive, Kind::Dense, Kind::Columns, Kind::LayerNorm, Kind::BatchNorm];

/// A layer, its parameters and a batch, in f64 but exact in f32.
#[derive(Clone, Debug)]
struct Problem {
    shape: LayerShape,
    batch: usize,
    params: LayerParams<f64>,
    x: Vec<f64>,
    dh: Vec<f64>,
}

impl Problem {
    fn new((d, ne, ni, batch): (usize, usize, usize, usize), kind: Kind, relu: bool, seed: u64) -> Self {
        let mut rng = generator(seed);
        let nonlinearity = if relu { Nonlinearity::Relu } else { Nonlinearity::Identity };
        let shape: LayerShape = match kind {
            Kind::Dense => DenseShape { d, ne, nonlinearity, columns: None }.into(),
            Kind::Columns => {
                DenseShape { d, ne, nonlinearity, columns: None }.columns(ni.min(d) / 2, ni.min(ne)).into()
            }
            Kind::LayerNorm => NormShape { d, ne, nonlinearity, over: Over::Units }.into(),
            Kind::BatchNorm => NormShape { d, ne, nonlinearity, over: Over::Examples }.into(),
            _ => DannShape { d, ne, ni, nonlinearity, divisive: kind == Kind::Divisive }.into(),
        };
        let mut params = Init::deeper().draw::<f64>(&shape, &mut rng).unwrap();
        // Every parameter moves away from its special initial value, and some weights are at their floor.
        for (name, array) in params.view_mut().arrays() {
            for value in array {
                let normal: f64 = StandardNormal.sample(&mut rng);
                *value = match name {
                    "Wei" => *value * (1.0 + 0.5 * normal.abs()),
                    "alpha" | "b" | "running_mean" => *value + 0.3 * normal,
                    "g" => normal.abs(),
                    "running_var" => *value * (1.0 + normal.abs()),
                    _ => *value,
                };
                let zero = ["Wex", "Wix", "g", "W"].contains(&name) && rng.random_bool(0.1);
                *value = if zero { 0.0 } else { f64::from(*value as f32) };
            }
        }
        let mut normal = || f64::from(Distribution::<f32>::sample(&StandardNormal, &mut rng));
        let mut x: Vec<f64> = (0..batch * d).map(|_| normal().max(0.0)).collect();
        let dh = (0..batch * ne).map(|_| normal()).collect();
        // Inhibitory units have a negative sign.
        if let LayerShape::Dense(DenseShape { columns: Some(columns), .. }) = shape {
            let rows = x.chunks_exact_mut(d);
            rows.for_each(|row| row[d - columns.inhibitory_inputs..].iter_mut().for_each(|x| *x = -*x));
        }
        // Examples without any input occur.
        x.chunks_exact_mut(d).filter(|_| rng.random_bool(0.05)).for_each(|row| row.fill(0.0));
        Self { shape, batch, params, x, dh }
    }

    fn params<T: Element>(&self) -> LayerParams<T> {
        let mut params = LayerParams::zeros(&self.shape).unwrap();
        for ((_, to), (_, from)) in params.view_mut().arrays().into_iter().zip(self.params.view().arrays()) {
            to.iter_mut().zip(from).for_each(|(to, &from)| *to = T::from_f64(from));
        }
        params
    }

    /// The same problem with every number changed by about a part `change` of itself.
    fn perturbed(&self, change: f64, rng: &mut Generator) -> Self {
        let mut problem = self.clone();
        for (_, array) in problem.params.view_mut().arrays() {
            perturb(array, change, rng);
        }
        perturb(&mut problem.x, change, rng);
        perturb(&mut problem.dh, change, rng);
        problem
    }

    /// Solves the problem with the reference. A `change` perturbs every intermediate result too, and what the backward
    /// pass multiplies with, apart from the forward pass: its products are rounded on their own. A layer that divides is
    /// invariant to the scale of its input, so that changes which both passes share would cancel.
    fn solve(&self, update: &Update, mut change: Option<(f64, &mut Generator)>) -> Solution {
        let mut inexact = |array: &mut [f64]| {
            if let Some((change, rng)) = &mut change {
                perturb(array, *change, rng);
            }
        };
        let (mut again, mut x) = (self.params.clone(), self.x.clone());
        again.view_mut().arrays().into_iter().for_each(|(_, array)| inexact(array));
        inexact(&mut x);
        let mut forward = reference::forward(&self.shape, &self.params, &self.x);
        match &mut forward {
            reference::Forward::Dann(forward) => {
                [&mut forward.zi, &mut forward.gamma, &mut forward.zhat].into_iter().for_each(|array| inexact(array));
            }
            reference::Forward::Norm(forward) => {
                [&mut forward.variance, &mut forward.zhat].into_iter().for_each(|array| inexact(array));
            }
            reference::Forward::Dense(..) => {}
        }
        let (dx, gradients) = reference::backward(&self.shape, &again, &x, &forward, &self.dh);
        let mut updated = self.params.clone();
        reference::update(&self.shape, &mut updated, &gradients, update, &mut reference::Kept::default());
        let (z, h) = (forward.z().to_vec(), forward.h().to_vec());
        Solution { z, outcome: Outcome { h, dx, gradients, updated } }
    }
}

/// Changes each value by a part of itself that is drawn evenly and has the standard deviation `change`. With changes of
/// one size, only their signs drawn, the few terms of a small layer would now and then cancel exactly and hide how much
/// rounding can weigh.
fn perturb(array: &mut [f64], change: f64, rng: &mut Generator) {
    let limit = 3_f64.sqrt() * change;
    array.iter_mut().for_each(|value| *value *= 1.0 + rng.random_range(-limit..limit));
}

/// What a layer made of a problem.
#[derive(Clone, Debug, PartialEq)]
struct Outcome<T> {
    h: Vec<T>,
    dx: Vec<T>,
    gradients: LayerParams<T>,
    updated: LayerParams<T>,
}

impl<T: Element> Outcome<T> {
    fn arrays(&self) -> Vec<(String, &[T])> {
        let named = |prefix: &'static str, params: &'_ LayerParams<T>| -> Vec<String> {
            params.view().arrays().iter().map(|(name, _)| format!("{prefix}{name}")).collect()
        };
        let names = [vec!["h".into(), "dx".into()], named("d", &self.gradients), named("updated ", &self.updated)];
        let params = [&self.gradients, &self.updated].into_iter().flat_map(|params| params.view().arrays());
        let arrays = [&self.h[..], &self.dx].into_iter().chain(params.map(|(_, array)| array));
        names.concat().into_iter().zip(arrays).collect()
    }
}

/// What the reference makes of a problem.
struct Solution {
    z: Vec<f64>,
    outcome: Outcome<f64>,
}

/// The solution of a problem, and on which scale each of its arrays is to be compared.
struct Expected {
    outcome: Outcome<f64>,
    /// For each array, a scale for each of its rows: one for an example of h and dx, because an example without input
    /// has a γ of ε and a gradient 1e8 times that of others; one for a whole parameter.
    scales: Vec<Vec<f64>>,
    /// A unit is so close to the kink of its ReLU that rounding could carry it across: there the gradient jumps, and
    /// two right answers differ.
    at_a_kink: bool,
}

impl Expected {
    fn new(problem: &Problem, update: &Update) -> Self {
        /// A hundred times the rounding of f32: what is to be compared must not change its course within that.
        const CHANGE: f64 = 1e-5;
        let Solution { z, outcome } = problem.solve(update, None);
        let rows = |array: usize| if array < 2 { problem.batch } else { 1 };
        let mut scales: Vec<Vec<f64>> = vec![];
        for (k, (_, array)) in outcome.arrays().into_iter().enumerate() {
            let width = (array.len() / rows(k)).max(1);
            scales.push(array.chunks(width).map(largest).collect());
        }
        let mut at_a_kink = false;
        // So many that not all are small by luck, even for an array of one element.
        for seed in 0..8 {
            let rng = &mut generator(seed);
            let moved = problem.perturbed(CHANGE, rng).solve(update, Some((CHANGE, rng)));
            at_a_kink |= z.iter().zip(&moved.z).any(|(z, moved)| (*z > 0.0) != (*moved > 0.0));
            let pairs = outcome.arrays().into_iter().zip(moved.outcome.arrays());
            for (scales, ((_, here), (_, moved))) in scales.iter_mut().zip(pairs) {
                let width = (here.len() / scales.len().max(1)).max(1);
                for (scale, (here, moved)) in scales.iter_mut().zip(here.chunks(width).zip(moved.chunks(width))) {
                    let change = here.iter().zip(moved).fold(0.0, |m: f64, (here, moved)| m.max((here - moved).abs()));
                    *scale = scale.max(change / CHANGE);
                }
            }
        }
        Self { outcome, scales, at_a_kink }
    }

    fn assert<T: Tolerance>(&self, what: &str, got: &Outcome<T>) {
        let arrays = self.outcome.arrays().into_iter().zip(got.arrays()).zip(&self.scales);
        for (((name, want), (_, got)), scales) in arrays {
            assert_eq!(got.len(), want.len(), "{what}: length of {name}");
            let width = (got.len() / scales.len().max(1)).max(1);
            let rows = got.chunks(width).zip(want.chunks(width)).zip(scales);
            for (row, ((got, want), &scale)) in rows.enumerate() {
                assert_within(&format!("{what}: {name}, row {row}"), got, want, scale, T::LAYER);
            }
        }
    }
}

/// Roundings of one f32 that a normalised layer's outputs may be off by in evaluation: sums of up to 130 products, of which
/// a running mean that is as large may be subtracted.
const NORM_ROUNDING: f64 = 130.0;

/// Runs a problem on the kernels: forward, all gradients, and the fused update.
fn run<T: Element>(problem: &Problem, isa: Isa, threads: Threads<'_>, update: &Update) -> Outcome<T> {
    let Problem { shape, batch, .. } = *problem;
    let (d, ne) = (shape.inputs(), shape.outputs());
    let (x, dh) = (cast::<T>(&problem.x), cast::<T>(&problem.dh));
    let x = MatRef::new("x", &x, batch, d).unwrap();
    let dh = MatRef::new("dh", &dh, batch, ne).unwrap();
    let params = problem.params::<T>();
    let mut layer = Layer::<T>::new(shape, isa).unwrap();
    // Outputs begin as NaN, so that a stray read shows.
    let nan = |n: usize| vec![T::from_f64(f64::NAN); n];
    let (mut h, mut dx) = (nan(batch * ne), nan(batch * d));
    let (mut gradients, mut updated) = (params.clone(), params.clone());
    gradients.view_mut().arrays().into_iter().for_each(|(_, array)| array.fill(T::from_f64(f64::NAN)));
    let forward = |layer: &mut Layer<T>, h: &mut Vec<T>| {
        layer.forward(threads, params.view(), x, MatMut::new("h", h, batch, ne).unwrap()).unwrap();
    };
    forward(&mut layer, &mut h);
    let mut inferred = nan(batch * ne);
    let inferred_out = MatMut::new("h", &mut inferred, batch, ne).unwrap();
    layer.infer(threads, params.view(), x, inferred_out).unwrap();
    if let (LayerShape::Norm(shape @ NormShape { over: Over::Examples, .. }), LayerArrays::Norm(params)) =
        (shape, &problem.params)
    {
        // Running statistics take the place of the batch's.
        let want = reference::norm_forward(&shape, params, &problem.x, true).h;
        let scale = largest(&want).max(1.0) * NORM_ROUNDING;
        assert_within(&format!("{isa}: h in evaluation"), &inferred, &want, scale, f64::from(f32::EPSILON));
    } else {
        assert_eq!(bits(&inferred), bits(&h), "{isa}: h without a backward pass");
    }
    forward(&mut layer, &mut h);
    let dx_out = MatMut::new("dx", &mut dx, batch, d).unwrap();
    layer.backward(threads, params.view(), x, dh, gradients.view_mut(), Some(dx_out)).unwrap();
    forward(&mut layer, &mut h);
    let mut alone = nan(batch * d);
    let alone_out = MatMut::new("dx", &mut alone, batch, d).unwrap();
    layer.input_gradient(threads, params.view(), dh, alone_out).unwrap();
    assert_eq!(bits(&alone), bits(&dx), "{isa}: dx without the other gradients");
    forward(&mut layer, &mut h);
    layer.update(threads, updated.view_mut(), x, dh, update, None).unwrap();
    Outcome { h, dx, gradients, updated }
}

/// Runs a problem on the composed baseline.
fn run_composed<T: composed::Gemm>(problem: &Problem, update: &Update) -> Outcome<T> {
    let (x, dh) = (cast::<T>(&problem.x), cast::<T>(&problem.dh));
    let mut updated = problem.params::<T>();
    let mut layer = composed::Layer::<T>::new(problem.shape).unwrap();
    layer.forward(updated.view(), &x);
    layer.backward(updated.view(), &x, &dh, true);
    layer.update(&mut updated, update);
    Outcome { h: layer.h().to_vec(), dx: layer.dx().to_vec(), gradients: layer.gradients().to_owned(), updated }
}

prop_compose! {
    fn problems()(
        dims in (select(&UNITS[..]), select(&UNITS[..]), select(&INTERNEURONS[..]), select(&BATCHES[..])),
        kind in select(&KINDS[..]),
        relu: bool,
        seed: u64,
    ) -> Problem {
        Problem::new(dims, kind, relu, seed)
    }
}

prop_compose! {
    /// Problems that the composed baseline has.
    fn composed_problems()(
        dims in (select(&UNITS[..]), select(&UNITS[..]), select(&INTERNEURONS[..]), select(&BATCHES[..])),
        kind in select(&KINDS[1..4]),
        relu: bool,
        seed: u64,
    ) -> Problem {
        Problem::new(dims, kind, relu, seed)
    }
}

prop_compose! {
    /// Updates with any policies but a natural gradient, which only networks have.
    fn policies()(
        (corrections, exponentiated, nesterov) in (any::<bool>(), any::<bool>(), any::<bool>()),
        lr in 0.001..0.3,
        momentum in select(&[0.0, 0.5, 0.9][..]),
        decay in select(&[[0.0; 6], [0.1, 0.0, 0.0, 0.0, 0.0, 0.0], [0.01, 0.02, 0.03, 0.04, 0.05, 0.06]][..]),
        floor in select(&[None, Some(0.0), Some(1e-3)][..]),
        clip in select(&[None, Some(0.5), Some(1e6)][..]),
        angle in select(&[None, Some((1, 0.01)), Some((5, 0.01)), Some((7, 0.2))][..]),
    ) -> Update {
        let [wex, wix, wei, alpha, g, b] = decay;
        Update {
            corrections,
            descent: if exponentiated { Descent::Exponentiated { split: 0.25 } } else { Descent::Projected },
            momentum,
            nesterov,
            decay: Dann { wex, wix, wei, alpha, g, b },
            floor,
            clip,
            angle: angle.map(|(rates, cosine_epsilon)| Angle { lr_min: lr / 64.0, rates, cosine_epsilon }),
            factors: Dann { wex: 1.0, wix: 0.5, wei: 2.0, alpha: 0.1, g: 0.0, b: 1.5 },
            ..Update::sgd(lr)
        }
    }
}

prop_compose! {
    /// Only layers with interneurons.
    fn inhibited()(
        dims in (select(&UNITS[..]), select(&UNITS[..]), select(&INTERNEURONS[..]), select(&BATCHES[..])),
        kind in select(&[Kind::Divisive, Kind::Subtractive][..]),
        relu: bool,
        seed: u64,
    ) -> (Problem, DannShape, DannParams<f64>) {
        let problem = Problem::new(dims, kind, relu, seed);
        let LayerShape::Dann(shape) = problem.shape else { unreachable!() };
        let LayerArrays::Dann(params) = problem.params.clone() else { unreachable!() };
        (problem, shape, params)
    }
}

/// The array of this name before the step.
fn problem_array<'p>(problem: &'p Problem, name: &str) -> &'p [f64] {
    problem.params.view().arrays().into_iter().find(|(array, _)| *array == name).unwrap().1
}

/// Fewer cases without optimisation, where a case takes a hundred times as long.
fn config() -> ProptestConfig {
    let cases = if cfg!(debug_assertions) { 32 } else { 1000 };
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
        let update = Update { corrections, ..Update::sgd(lr) };
        let want = Expected::new(&problem, &update);
        prop_assume!(!want.at_a_kink);
        for isa in isas() {
            want.assert(&format!("{isa}, f64"), &run::<f64>(&problem, isa, Threads::Serial, &update));
            want.assert(&format!("{isa}, f32"), &run::<f32>(&problem, isa, Threads::Serial, &update));
        }
    }

    #[test]
    fn the_composed_baseline_agrees_with_the_reference(problem in composed_problems(), corrections: bool) {
        let update = Update { corrections, ..Update::sgd(0.1) };
        let want = Expected::new(&problem, &update);
        prop_assume!(!want.at_a_kink);
        want.assert("composed, f64", &run_composed::<f64>(&problem, &update));
        want.assert("composed, f32", &run_composed::<f32>(&problem, &update));
    }

    #[test]
    fn threads_and_fusion_do_not_change_a_bit(problem in problems(), corrections: bool) {
        let factors = Dann { wex: 0.5, wix: 2.0, wei: 3.0, alpha: 0.1, g: 0.0, b: 1.5 };
        let update = Update { corrections, factors, ..Update::sgd(0.1) };
        fn check<T: Element>(problem: &Problem, isa: Isa, update: &Update) {
            let serial = run::<T>(problem, isa, Threads::Serial, update);
            let same = |what: &str, other: &Outcome<T>| {
                for ((name, a), (_, b)) in serial.arrays().into_iter().zip(other.arrays()) {
                    assert_eq!(bits(a), bits(b), "{isa}, {what}: {name}");
                }
            };
            for pool in pools() {
                same("threads", &run::<T>(problem, isa, Threads::Pool(pool), update));
            }
            let mut applied = problem.params::<T>();
            update.apply(&problem.shape, applied.view_mut(), serial.gradients.view(), &mut State::new()).unwrap();
            same("handed-out gradients", &Outcome { updated: applied, ..serial.clone() });
        }
        for isa in isas() {
            check::<f32>(&problem, isa, &update);
            check::<f64>(&problem, isa, &update);
        }
    }

    /// Three steps by each of the two ways that a layer has: gradients and update in one pass, or one after the other.
    #[test]
    fn policies_do_the_same_fused_and_apart(problem in problems(), update in policies()) {
        fn check<T: Element>(problem: &Problem, isa: Isa, update: &Update) {
            let Problem { shape, batch, .. } = *problem;
            let (x, dh) = (cast::<T>(&problem.x), cast::<T>(&problem.dh));
            let x = MatRef::new("x", &x, batch, shape.inputs()).unwrap();
            let dh = MatRef::new("dh", &dh, batch, shape.outputs()).unwrap();
            let mut layer = Layer::<T>::new(shape, isa).unwrap();
            let (mut fused, mut apart, mut state) = (problem.params::<T>(), problem.params::<T>(), State::new());
            let mut gradients = fused.clone();
            let mut h = vec![T::ZERO; batch * shape.outputs()];
            for step in 0..3 {
                let mut forward = |layer: &mut Layer<T>| {
                    let h = MatMut::new("h", &mut h, batch, shape.outputs()).unwrap();
                    layer.forward(Threads::Serial, apart.view(), x, h).unwrap();
                };
                forward(&mut layer);
                layer.backward(Threads::Serial, apart.view(), x, dh, gradients.view_mut(), None).unwrap();
                forward(&mut layer);
                layer.update(Threads::Serial, fused.view_mut(), x, dh, update, None).unwrap();
                update.apply(&shape, apart.view_mut(), gradients.view(), &mut state).unwrap();
                for ((name, fused), (_, apart)) in fused.view().arrays().into_iter().zip(apart.view().arrays()) {
                    assert_eq!(bits(fused), bits(apart), "{isa}: {name} after step {step}");
                }
            }
        }
        for isa in isas() {
            check::<f32>(&problem, isa, &update);
            check::<f64>(&problem, isa, &update);
        }
    }

    #[test]
    fn policies_agree_with_the_reference(problem in problems(), update in policies()) {
        let forward = reference::forward(&problem.shape, &problem.params, &problem.x);
        let (_, mut gradients) = reference::backward(&problem.shape, &problem.params, &problem.x, &forward, &problem.dh);
        // Gradients of a silent example are out of all proportion, and so would the exponents be.
        for (name, array) in gradients.view_mut().arrays() {
            let limit = if name.starts_with("running") { f64::INFINITY } else { 4.0 };
            array.iter_mut().for_each(|gradient| *gradient = f64::from(gradient.clamp(-limit, limit) as f32));
        }
        let mut want = problem.params.clone();
        let mut kept = reference::Kept::default();
        let (mut wide, mut wide_state) = (problem.params::<f64>(), State::new());
        let (mut narrow, mut narrow_state) = (problem.params::<f32>(), State::new());
        let mut narrow_gradients = narrow.clone();
        for ((_, to), (_, from)) in narrow_gradients.view_mut().arrays().into_iter().zip(gradients.view().arrays()) {
            to.iter_mut().zip(from).for_each(|(to, &from)| *to = from as f32);
        }
        for _ in 0..3 {
            reference::update(&problem.shape, &mut want, &gradients, &update, &mut kept);
            update.apply(&problem.shape, wide.view_mut(), gradients.view(), &mut wide_state).unwrap();
            update.apply(&problem.shape, narrow.view_mut(), narrow_gradients.view(), &mut narrow_state).unwrap();
        }
        for ((name, want), ((_, wide), (_, narrow))) in
            want.view().arrays().into_iter().zip(wide.view().arrays().into_iter().zip(narrow.view().arrays()))
        {
            // A parameter, and how far three steps may go: what the rounding of the step weighs against.
            let scale = 10.0 * (largest(want) + largest(problem_array(&problem, name)) + 1.0);
            assert_within(&format!("{name} in f64"), wide, want, scale, f64::LAYER);
            // In f32 the angle rule may round to the next rate.
            if update.angle.is_none() {
                assert_within(&format!("{name} in f32"), narrow, want, scale, f32::LAYER);
            }
        }
    }

    #[test]
    fn updates_keep_signs_and_a_zero_rate_changes_nothing(problem in problems(), lr in 0.1..100.0) {
        for isa in isas() {
            let updated = run::<f32>(&problem, isa, Threads::Serial, &Update::sgd(lr)).updated;
            for (name, array) in updated.view().arrays() {
                let columns = matches!(problem.shape, LayerShape::Dense(DenseShape { columns: Some(_), .. }));
                let norm = matches!(problem.shape, LayerShape::Norm(_));
                let signed = ["alpha", "b", "running_mean"].contains(&name)
                    || (name == "W" && !columns)
                    || (name == "g" && norm);
                prop_assert!(signed || array.iter().all(|&w| w >= 0.0), "{}: {}", isa, name);
            }
            let mut unchanged = run::<f32>(&problem, isa, Threads::Serial, &Update::csgd(0.0)).updated;
            let before = problem.params::<f32>();
            // Running statistics have a rate of their own.
            if let (LayerArrays::Norm(unchanged), LayerArrays::Norm(before)) = (&mut unchanged, &before) {
                unchanged.mean.clone_from(&before.mean);
                unchanged.variance.clone_from(&before.variance);
            }
            prop_assert_eq!(unchanged, before, "{}", isa);
        }
    }

    #[test]
    fn corrections_scale_as_stated((problem, DannShape { d, ne, .. }, before) in inhibited()) {
        let lr = 1e-3;
        for isa in isas() {
            let [plain, corrected] = [Update::sgd(lr), Update::csgd(lr)].map(|update| {
                let LayerArrays::Dann(updated) = run::<f64>(&problem, isa, Threads::Serial, &update).updated else {
                    unreachable!("a layer with inhibition")
                };
                updated
            });
            prop_assert!(plain.wex == corrected.wex && plain.g == corrected.g && plain.b == corrected.b);
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
    fn without_inhibition_it_is_a_dense_layer((problem, shape, params) in inhibited()) {
        let DannShape { d, ne, nonlinearity, .. } = shape;
        let dense = DenseShape { d, ne, nonlinearity, columns: None };
        for isa in isas() {
            let x = MatRef::new("x", &problem.x, problem.batch, d).unwrap();
            let forward = |shape: LayerShape, params: LayerRef<'_, f64>| {
                let mut h = vec![f64::NAN; problem.batch * ne];
                let out = MatMut::new("h", &mut h, problem.batch, ne).unwrap();
                Layer::new(shape, isa).unwrap().forward(Threads::Serial, params, x, out).unwrap();
                h
            };
            // Wei = 0 silences the interneurons and leaves γ = ε, which a gain of ε undoes.
            let mut params = params.clone();
            params.wei.fill(0.0);
            params.g.fill(reference::EPSILON); // empty without division
            let inhibited = forward(shape.into(), params.view().into());
            let plain = forward(dense.into(), Dense { w: &params.wex[..], b: &params.b[..] }.into());
            assert_close(&format!("{isa}"), &inhibited, &plain, f64::LAYER);
        }
    }

    #[test]
    fn strided_views_give_the_same_bits_and_gaps_stay(problem in problems(), gap in 1_usize..5) {
        let (d, ne, batch) = (problem.shape.inputs(), problem.shape.outputs(), problem.batch);
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
}

/// Layers that are large enough for sums in parts and for weights in panels: long sums with many examples, rows that are
/// a power of two apart, and the same just missed.
#[test]
fn large_layers_agree_with_the_reference() {
    if cfg!(debug_assertions) {
        return; // Minutes without optimisation.
    }
    let update = Update::csgd(0.1);
    for (dims, kind) in [
        ((1300, 70, 13, 200), Kind::Divisive),
        ((256, 150, 17, 64), Kind::Divisive),
        ((512, 290, 50, 33), Kind::Subtractive),
        ((510, 290, 50, 33), Kind::Divisive),
        ((256, 530, 1, 40), Kind::Dense),
        ((1024, 64, 4, 32), Kind::Divisive),
        ((700, 800, 9, 96), Kind::Dense),
        // One and two columns more than panels begin with, for groups of two and three vectors.
        ((793, 700, 1, 64), Kind::Dense),
        ((794, 700, 9, 33), Kind::Divisive),
        ((793, 700, 9, 40), Kind::Divisive),
        ((40, 900, 601, 33), Kind::Divisive),
        // Several slabs of inference.
        ((64, 40, 5, 641), Kind::Divisive),
        // Interneurons in panels too, by the power of two and by size.
        ((64, 130, 256, 40), Kind::Divisive),
        ((40, 900, 600, 32), Kind::Divisive),
        ((40, 130, 256, 33), Kind::Subtractive),
        ((1300, 70, 13, 200), Kind::LayerNorm),
        ((793, 700, 9, 40), Kind::BatchNorm),
        ((512, 290, 50, 200), Kind::Columns),
    ] {
        let problem = Problem::new(dims, kind, true, 5);
        let want = Expected::new(&problem, &update);
        for isa in isas() {
            let serial = run::<f32>(&problem, isa, Threads::Serial, &update);
            want.assert(&format!("{dims:?}, {isa}, f32"), &serial);
            want.assert(&format!("{dims:?}, {isa}, f64"), &run::<f64>(&problem, isa, Threads::Serial, &update));
            let shared = run::<f32>(&problem, isa, Threads::Pool(&pools()[1]), &update);
            for ((name, a), (_, b)) in serial.arrays().into_iter().zip(shared.arrays()) {
                assert_eq!(bits(a), bits(b), "{dims:?}, {isa}, threads: {name}");
            }
        }
    }
}

/// Rules that take turns: the parts of a bias that one moves are forgotten by the other, and a rate of zero moves nothing.
#[test]
fn rules_can_take_turns() {
    let shape: LayerShape = DenseShape::new(1, 40).into();
    let mut params = LayerParams::<f32>::zeros(&shape).unwrap();
    for (i, (_, array)) in params.view_mut().arrays().into_iter().enumerate() {
        array.iter_mut().enumerate().for_each(|(j, value)| *value = (j as f32 - 17.3) * 0.0937 + i as f32);
    }
    let (before, mut gradients, mut state) = (params.clone(), params.clone(), State::new());
    gradients.view_mut().arrays().into_iter().for_each(|(_, array)| array.fill(1.0));
    let mut step = |update: &Update, state: &mut State<f32>| {
        update.apply(&shape, params.view_mut(), gradients.view(), state).unwrap();
        params.clone()
    };
    assert_eq!(step(&Update::eg(0.0), &mut state), before, "a rate of zero");
    let frozen = Update { factors: Dann { b: 0.0, ..Dann::all(1.0) }, ..Update::eg(0.1) };
    let bias = |params: &LayerParams<f32>| params.view().arrays()[1].1.to_vec();
    assert_eq!(bias(&step(&frozen, &mut state)), bias(&before), "a factor of zero");
    let mut last = bias(&before);
    for update in [Update::eg(0.1), Update::sgd(2.0), Update::eg(0.1), Update::sgd(0.1), Update::eg(0.3)] {
        let next = bias(&step(&update, &mut state));
        assert!(last.iter().zip(&next).all(|(last, next)| next < last), "down the gradient, by {update:?}");
        last = next;
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
    for (left, on_average) in [(PI / (2.0 * PI - 1.0), 1.0), (1.0, PI / (2.0 * PI - 1.0))] {
        let x = rectified(batch * shape.d, left, 3);
        let expected: Vec<f64> = x
            .chunks_exact(shape.d)
            .map(|x| {
                let (mean, variance) = reference::mean_and_variance(x);
                (variance / mean.powi(2) + 1.0) / (2.0 * PI - 1.0)
            })
            .collect();
        // 600 inputs make up the ratio: its standard error is about a tenth for one example.
        let (mean, _) = reference::mean_and_variance(&expected);
        assert!((mean / on_average - 1.0).abs() < 5.0 * 0.1 / (batch as f64).sqrt(), "{mean} {on_average}");
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
            for (zhat, expected) in zhat.chunks_exact(shape.ne).zip(&expected) {
                let (mean, variance) = reference::mean_and_variance(zhat);
                // Five standard errors: the mean of 200 interneurons is subtracted; 2000 units show the variance, to
                // √(2/2000), and 200 interneurons of 600 inputs the divisor, which adds little.
                assert!(mean.abs() < 5.0 / 200_f64.sqrt(), "{isa}: mean {mean}");
                assert!(
                    (variance / expected - 1.0).abs() < 5.0 * 0.035,
                    "{isa}: variance {variance}, expected {expected}"
                );
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
fn columns_are_balanced() {
    use std::f64::consts::PI;
    // 40 inhibitory units of 440: σ_e and σ_i, and so a mean of zero where all units do the same.
    let shape = DenseShape::new(440, 300).columns(40, 28);
    let params = Init::deeper().draw_dense::<f64>(&shape, &mut generator(5)).unwrap();
    let (ne, ni) = (400.0, 40.0);
    let excitatory = 1.0 / ((2.0 * PI - 1.0) / (2.0 * PI) * (ne + ne * ne / ni)).sqrt();
    for (columns, want) in [(0..400, excitatory), (400..440, ne / ni * excitatory)] {
        let weights: Vec<f64> = params.w.chunks_exact(440).flat_map(|row| row[columns.clone()].to_vec()).collect();
        let (mean, variance) = reference::mean_and_variance(&weights);
        // Five standard errors: 1/√n of the mean and √8/√n of an exponential's variance.
        let error = 5.0 / (weights.len() as f64).sqrt();
        assert!((mean / want - 1.0).abs() < error, "{mean} {want}");
        assert!((variance / want.powi(2) - 1.0).abs() < 8_f64.sqrt() * error, "{variance}");
    }
    assert!(params.b.iter().all(|&b| b == 0.0));
    let first = Init { mean_input: 0.25, ..Init::first() };
    let params = first.draw_dense::<f64>(&DenseShape::new(400, 300).columns(0, 28), &mut generator(6)).unwrap();
    let (mean, _) = reference::mean_and_variance(&params.w);
    assert!((mean * 20.0 - 1.0).abs() < 5.0 / 120_000_f64.sqrt(), "the mean is 1/√d");
    assert!(params.b.iter().all(|&b| b == -5.0), "d · mean / √d = 400 · 0.25 / 20");
    let norm = Init::deeper().draw_norm::<f64>(&NormShape::new(400, 300, Over::Examples), &mut generator(7)).unwrap();
    let (_, variance) = reference::mean_and_variance(&norm.w);
    assert!((variance * 200.0 - 1.0).abs() < 5.0 * (2.0_f64 / 120_000.0).sqrt(), "2/d");
    assert!(norm.g.iter().chain(&norm.variance).all(|&x| x == 1.0));
    assert!(norm.b.iter().chain(&norm.mean).all(|&x| x == 0.0));
}

#[test]
fn nan_and_infinity_stay_in_their_rows() {
    let problem = Problem::new((33, 21, 5, 19), Kind::Divisive, true, 1);
    for isa in isas() {
        let clean = run::<f32>(&problem, isa, Threads::Serial, &Update::sgd(0.1));
        for poison in [f64::NAN, f64::INFINITY] {
            let mut poisoned = Problem::new((33, 21, 5, 19), Kind::Divisive, true, 1);
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

/// The padding of a batch takes part in every sum over the examples, times zero: nothing that is not finite may be in it.
#[test]
fn a_poisoned_batch_leaves_nothing_behind() {
    for kind in &KINDS[1..] {
        let kind = *kind;
        let large = Problem::new((33, 21, 5, 32), kind, true, 2);
        let (d, ne) = (33, 21);
        // More than a vector, and so few that they go forward by dot products.
        for (isa, batch) in isas().into_iter().flat_map(|isa| [17, 4, 2, 1].map(|batch| (isa, batch))) {
            let small = Problem::new((33, 21, 5, batch), kind, true, 3);
            let poison = vec![f32::NAN; 32 * d];
            let poison_dh = vec![f32::NAN; 32 * ne];
            let mut poisoned = large.params::<f32>();
            let mut layer = Layer::<f32>::new(large.shape, isa).unwrap();
            let mut h = vec![0.0; 32 * ne];
            let x = MatRef::new("x", &poison, 32, d).unwrap();
            let dh = MatRef::new("dh", &poison_dh, 32, ne).unwrap();
            layer.forward(Threads::Serial, poisoned.view(), x, MatMut::new("h", &mut h, 32, ne).unwrap()).unwrap();
            layer.update(Threads::Serial, poisoned.view_mut(), x, dh, &Update::sgd(0.1), None).unwrap();

            let mut run_small = |layer: &mut Layer<f32>| {
                let mut params = small.params::<f32>();
                let (x, dh) = (cast::<f32>(&small.x), cast::<f32>(&small.dh));
                let x = MatRef::new("x", &x, batch, d).unwrap();
                let dh = MatRef::new("dh", &dh, batch, ne).unwrap();
                let out = MatMut::new("h", &mut h[..batch * ne], batch, ne).unwrap();
                layer.forward(Threads::Serial, params.view(), x, out).unwrap();
                layer.update(Threads::Serial, params.view_mut(), x, dh, &Update::sgd(0.1), None).unwrap();
                params
            };
            let after_poison = run_small(&mut layer);
            let fresh = run_small(&mut Layer::<f32>::new(small.shape, isa).unwrap());
            assert_eq!(after_poison, fresh, "{isa}, {kind:?}");
        }
    }
}
