//! Properties of the layers, on every instruction set and in both element types, over shapes on both sides of every
//! tile edge.

mod common;

use common::problem::{
    BATCHES, Expected, INTERNEURONS, KINDS, Kind, LARGE, Outcome, Problem, UNITS, check_evaluation, run,
};
use common::{Tolerance, assert_close, assert_within, bits, cast, isas, largest};
use interneuron::*;
use interneuron_baseline as composed;
use proptest::prelude::*;
use proptest::sample::select;
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};

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

/// What threads may hand to one another, and what they may share.
#[test]
fn layers_tapes_and_plans_may_go_to_other_threads() {
    fn check<S: Send + Sync>() {}
    check::<(Layer<f32>, Tape<f64>, State<f32>, Plan<f64>, Network<f32>, TrainState<f64>, Context, Target<'_, f32>)>();
}

/// Values for the roles in their order.
fn per_role(values: [f64; 6]) -> PerRole<f64> {
    Role::MOVED.into_iter().zip(values).fold(PerRole::all(0.0), |all, (role, value)| all.with(role, value))
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

/// Adam's moments: a first β of 0, powers that are far from 1 and near to it, ε of either size, amsgrad.
const MOMENTS: [Option<Adam>; 4] = [
    None,
    Some(Adam { betas: [0.9, 0.999], epsilon: 1e-8, amsgrad: false }),
    Some(Adam { betas: [0.5, 0.9], epsilon: 0.25, amsgrad: true }),
    Some(Adam { betas: [0.0, 0.5], epsilon: 1e-3, amsgrad: false }),
];

prop_compose! {
    /// Updates with any policies but a natural gradient, which only networks have.
    fn policies()(
        (corrections, exponentiated, nesterov) in (any::<bool>(), any::<bool>(), any::<bool>()),
        lr in 0.001..0.3,
        momentum in select(&[[0.0; 6], [0.5; 6], [0.9; 6], [0.9, 0.0, 0.5, 0.25, 0.0, 0.9]][..]),
        dampening in select(&[0.0, 0.0, 0.5, 1.0][..]),
        adam in select(&MOMENTS[..]),
        decay in select(&[[0.0; 6], [0.1, 0.0, 0.0, 0.0, 0.0, 0.0], [0.01, 0.02, 0.03, 0.04, 0.05, 0.06]][..]),
        decay_order in select(&[DecayOrder::BeforeMomentum, DecayOrder::AfterMomentum, DecayOrder::Decoupled][..]),
        floor in select(&[None, Some(0.0), Some(1e-3)][..]),
        (clip, clip_scope) in (
            select(&[None, Some(0.5), Some(1e6)][..]),
            select(&[ClipScope::Layer, ClipScope::Array][..]),
        ),
        kept_sums in select(&[None, None, Some(KeptSums::Array), Some(KeptSums::Row)][..]),
        angle in select(&[None, Some((1, 0.01)), Some((5, 0.01)), Some((7, 0.2))][..]),
    ) -> Update {
        let moments = adam.is_some();
        let coupled = decay_order == DecayOrder::BeforeMomentum;
        Update {
            corrections,
            descent: if exponentiated { Descent::Exponentiated { split: 0.25 } } else { Descent::Projected },
            // What cannot be together.
            momentum: if moments { PerRole::all(0.0) } else { per_role(momentum) },
            nesterov: nesterov && !moments,
            dampening: if nesterov || moments { 0.0 } else { dampening },
            adam,
            decay: per_role(decay),
            decay_order: if moments && exponentiated && coupled { DecayOrder::Decoupled } else { decay_order },
            floor,
            clip,
            clip_scope,
            kept_sums,
            angle: angle.map(|(rates, cosine_epsilon)| Angle { lr_min: lr / 64.0, rates, cosine_epsilon }),
            factors: per_role([1.0, 0.5, 2.0, 0.1, 0.0, 1.5]),
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
        let params = DannParams::try_from(problem.params.clone()).unwrap();
        (problem, shape, params)
    }
}

/// What three steps with the same gradients make of the parameters, in f64; and for each array what a change of all
/// numbers in their last digits would change, scaled up.
fn expected_steps(problem: &Problem, gradients: &Params<f64>, update: &Update, seed: u64) -> (Params<f64>, Vec<f64>) {
    const CHANGE: f64 = 1e-6;
    let mut rng = generator(seed);
    let mut inexact = |params: &Params<f64>, change: f64| {
        let mut params = params.clone();
        let arrays = params.view_mut().arrays().into_iter().flat_map(|(_, array)| array);
        arrays.for_each(|value| *value *= 1.0 + change * rng.random_range(-1.0..1.0));
        params
    };
    let mut steps = |change: f64| {
        let mut params = inexact(&problem.params, change);
        let mut kept = reference::Kept::default();
        for _ in 0..3 {
            reference::update(&problem.shape, &mut params, &inexact(gradients, change), update, &mut kept);
        }
        params
    };
    let want = steps(0.0);
    let mut scales = vec![0.0_f64; want.arrays().len()];
    // So many that not all are small by luck.
    for _ in 0..4 {
        for ((scale, (_, want)), (_, moved)) in scales.iter_mut().zip(want.arrays()).zip(steps(CHANGE).arrays()) {
            let most = want.iter().zip(moved).fold(0.0, |m: f64, (want, moved)| m.max((want - moved).abs()));
            *scale = scale.max(most / CHANGE);
        }
    }
    (want, scales)
}

/// The array of this name before the step.
fn problem_array<'p>(problem: &'p Problem, name: &str) -> &'p [f64] {
    problem.params.view().arrays().into_iter().find(|(array, _)| *array == name).unwrap().1
}

/// As many cases as `PROPTEST_CASES` says, or else fewer without optimisation, where a case takes a hundred times as
/// long.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases = asked.unwrap_or(if cfg!(debug_assertions) { 32 } else { 1000 });
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn pools() -> &'static [Threads] {
    static POOLS: std::sync::OnceLock<Vec<Threads>> = std::sync::OnceLock::new();
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().into();
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
            check_evaluation::<f64>(&problem, isa);
            check_evaluation::<f32>(&problem, isa);
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
        let factors = per_role([0.5, 2.0, 3.0, 0.1, 0.0, 1.5]);
        let update = Update { corrections, factors, ..Update::sgd(0.1) };
        fn check<T: Element>(problem: &Problem, isa: Isa, update: &Update) {
            let serial = run::<T>(problem, isa, Threads::Serial, update);
            let same = |what: &str, other: &Outcome<T>| {
                for ((name, a), (_, b)) in serial.arrays().into_iter().zip(other.arrays()) {
                    assert_eq!(bits(a), bits(b), "{isa}, {what}: {name}");
                }
            };
            for pool in pools() {
                same("threads", &run::<T>(problem, isa, pool.clone(), update));
            }
            let mut applied = problem.params::<T>();
            let layer = Layer::new(problem.shape, &isa.into()).unwrap();
            layer.apply(&mut applied, &mut State::new(), update, &serial.gradients).unwrap();
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
            let x = MatRef::new(&x, batch, shape.inputs()).unwrap();
            let dh = MatRef::new(&dh, batch, shape.outputs()).unwrap();
            let layer = Layer::<T>::new(shape, &isa.into()).unwrap();
            let (mut fused, mut apart) = (problem.params::<T>(), problem.params::<T>());
            let [mut fused_state, mut apart_state] = [State::new(), State::new()];
            let mut tape = Tape::new();
            let mut gradients = fused.clone();
            let mut h = vec![T::ZERO; batch * shape.outputs()];
            for step in 0..3 {
                let mut forward = |tape: &mut Tape<T>| {
                    let h = MatMut::new(&mut h, batch, shape.outputs()).unwrap();
                    layer.forward(apart.view(), tape, x, h).unwrap();
                };
                forward(&mut tape);
                layer.backward(apart.view(), &mut tape, dh, gradients.view_mut(), None).unwrap();
                forward(&mut tape);
                layer.update(fused.view_mut(), &mut fused_state, &mut tape, dh, update, None).unwrap();
                layer.apply(&mut apart, &mut apart_state, update, &gradients).unwrap();
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

    /// Passes of other sizes, each on a tape of its own, all forward and then all backward, as through time: each gives
    /// what it gives alone, and so does a tape that another layer had before.
    #[test]
    fn passes_that_are_outstanding_do_not_disturb_one_another(problem in problems(), other in problems()) {
        fn check<T: Element>(problem: &Problem, other: &Problem, isa: Isa) {
            let Problem { shape, batch, .. } = *problem;
            let (d, ne) = (shape.inputs(), shape.outputs());
            let (x, dh, params) = (cast::<T>(&problem.x), cast::<T>(&problem.dh), problem.params::<T>());
            let layer = Layer::<T>::new(shape, &isa.into()).unwrap();
            let forward = |tape: &mut Tape<T>, examples: usize| {
                let mut h = vec![T::ZERO; examples * ne];
                let x = MatRef::new(&x[..examples * d], examples, d).unwrap();
                layer.forward(params.view(), tape, x, MatMut::new(&mut h, examples, ne).unwrap()).unwrap();
                h
            };
            let backward = |tape: &mut Tape<T>, examples: usize| {
                let (mut gradients, mut dx) = (params.clone(), vec![T::ZERO; examples * d]);
                let dx_out = MatMut::new(&mut dx, examples, d).unwrap();
                let dh = MatRef::new(&dh[..examples * ne], examples, ne).unwrap();
                layer.backward(params.view(), tape, dh, gradients.view_mut(), Some(dx_out)).unwrap();
                (gradients, dx)
            };
            let alone = |examples: usize| {
                let mut tape = Tape::new();
                (forward(&mut tape, examples), backward(&mut tape, examples))
            };
            let mut used = Tape::new();
            let out = &mut vec![T::ZERO; other.batch * other.shape.outputs()];
            Layer::new(other.shape, &isa.into()).unwrap().forward(
                other.params::<T>().view(),
                &mut used,
                MatRef::new(&cast::<T>(&other.x), other.batch, other.shape.inputs()).unwrap(),
                MatMut::new(out, other.batch, other.shape.outputs()).unwrap(),
            ).unwrap();
            let sizes = [batch, 1, batch.div_ceil(2), batch];
            let mut tapes = [Tape::new(), used, Tape::new(), Tape::new()];
            let outputs: Vec<_> = sizes.iter().zip(&mut tapes).map(|(&size, tape)| forward(tape, size)).collect();
            for ((&size, tape), h) in sizes.iter().zip(&mut tapes).zip(outputs).rev() {
                let (gradients, dx) = backward(tape, size);
                let (want_h, (want_gradients, want_dx)) = alone(size);
                assert_eq!((bits(&h), bits(&dx)), (bits(&want_h), bits(&want_dx)), "{isa}: {size} examples");
                assert!(gradients == want_gradients, "{isa}: gradients of {size} examples");
            }
        }
        for isa in isas() {
            check::<f32>(&problem, &other, isa);
            check::<f64>(&problem, &other, isa);
        }
    }

    #[test]
    fn policies_agree_with_the_reference(problem in problems(), update in policies(), seed: u64) {
        let forward = reference::forward(&problem.shape, &problem.params, &problem.x);
        let (_, mut gradients) = reference::backward(&problem.shape, &problem.params, &problem.x, &forward, &problem.dh);
        // Gradients of a silent example are out of all proportion, and so would the exponents be.
        for (name, array) in gradients.view_mut().arrays() {
            let limit = if name.starts_with("running") { f64::INFINITY } else { 4.0 };
            array.iter_mut().for_each(|gradient| *gradient = f64::from(gradient.clamp(-limit, limit) as f32));
        }
        let (want, change) = expected_steps(&problem, &gradients, &update, seed);
        let (mut wide, mut wide_state) = (problem.params::<f64>(), State::new());
        let (mut narrow, mut narrow_state) = (problem.params::<f32>(), State::new());
        let mut narrow_gradients = narrow.clone();
        for ((_, to), (_, from)) in narrow_gradients.view_mut().arrays().into_iter().zip(gradients.view().arrays()) {
            to.iter_mut().zip(from).for_each(|(to, &from)| *to = from as f32);
        }
        for _ in 0..3 {
            let context = Context::new().unwrap();
            let layer = Layer::new(problem.shape, &context).unwrap();
            layer.apply(&mut wide, &mut wide_state, &update, &gradients).unwrap();
            let layer = Layer::new(problem.shape, &context).unwrap();
            layer.apply(&mut narrow, &mut narrow_state, &update, &narrow_gradients).unwrap();
        }
        for (((name, want), change), ((_, wide), (_, narrow))) in
            want.view().arrays().into_iter().zip(change).zip(wide.view().arrays().into_iter().zip(narrow.view().arrays()))
        {
            // A parameter, and how far three steps may go: what the rounding of the step weighs against.
            let scale = (10.0 * (largest(want) + largest(problem_array(&problem, name)) + 1.0)).max(change);
            assert_within(&format!("{name} in f64"), wide, want, scale, f64::LAYER);
            // In f32 the angle rule may round to the next rate.
            if update.angle.is_none() {
                assert_within(&format!("{name} in f32"), narrow, want, scale, f32::LAYER);
            }
        }
    }

    /// Parameters with the factor 0, and all that is kept of them, whatever the rule.
    #[test]
    fn a_factor_of_zero_freezes_parameters_and_what_is_kept_of_them(
        problem in problems(),
        update in policies(),
        frozen in proptest::array::uniform6(any::<bool>()),
    ) {
        let Problem { shape, batch, .. } = problem;
        let factors = Role::MOVED.into_iter().zip(frozen).filter(|(_, frozen)| *frozen);
        let factors = factors.fold(PerRole::all(1.0), |factors, (role, _)| factors.with(role, 0.0));
        let (before, schema) = (problem.params::<f32>(), shape.schema().unwrap());
        let (x, dh) = (cast::<f32>(&problem.x), cast::<f32>(&problem.dh));
        let (x, dh) = (MatRef::new(&x, batch, shape.inputs()).unwrap(), MatRef::new(&dh, batch, shape.outputs()).unwrap());
        let mut h = vec![0.0; batch * shape.outputs()];
        let layer = Layer::<f32>::new(shape, &isas()[0].into()).unwrap();
        let (mut tape, mut state) = (Tape::new(), State::new());
        let mut params = before.clone();
        let mut step = |params: &mut Params<f32>, update: &Update| {
            let h = MatMut::new(&mut h, batch, shape.outputs()).unwrap();
            layer.forward(params.view(), &mut tape, x, h).unwrap();
            layer.update(params.view_mut(), &mut state, &mut tape, dh, update, None).unwrap();
            state.clone()
        };
        let first = step(&mut params, &update);
        let after_first = params.clone();
        let second = step(&mut params, &Update { factors, ..update });
        let kept = ["velocity", "negative", "moment", "square", "largest_square", "steps", "velocity_steps",
            "decay_velocity", "sum", "row_sums"];
        for (i, parameter) in schema.iter().enumerate() {
            if parameter.role == Role::Statistic || factors[parameter.role] != 0.0 {
                continue;
            }
            let name = parameter.name;
            prop_assert_eq!(bits(&after_first[name]), bits(&params[name]), "{}", name);
            for slot in kept {
                let arrays = [&first, &second].map(|state| state.get(slot).map(|params| bits(params.arrays()[i].1)));
                prop_assert_eq!(&arrays[0], &arrays[1], "{} of {}", slot, name);
            }
        }
    }

    #[test]
    fn updates_keep_signs_and_a_zero_rate_changes_nothing(problem in problems(), lr in 0.1..100.0) {
        for isa in isas() {
            let norm = matches!(problem.shape, LayerShape::Norm(_));
            let updated = run::<f32>(&problem, isa, Threads::Serial, &Update::sgd(lr)).updated;
            for (name, array) in updated.view().arrays() {
                let signed = ["alpha", "b", "running_mean", "W"].contains(&name) || (name == "g" && norm);
                prop_assert!(signed || array.iter().all(|&w| w >= 0.0), "{}: {}", isa, name);
            }
            let mut unchanged = run::<f32>(&problem, isa, Threads::Serial, &Update::csgd(0.0)).updated;
            let before = problem.params::<f32>();
            // Running statistics have a rate of their own.
            for name in ["running_mean", "running_var"].into_iter().filter(|_| norm) {
                unchanged[name].copy_from_slice(&before[name]);
            }
            prop_assert_eq!(unchanged, before, "{}", isa);
        }
    }

    #[test]
    fn corrections_scale_as_stated((problem, DannShape { d, ne, .. }, before) in inhibited()) {
        let lr = 1e-3;
        for isa in isas() {
            let [plain, corrected] = [Update::sgd(lr), Update::csgd(lr)].map(|update| {
                DannParams::try_from(run::<f64>(&problem, isa, Threads::Serial, &update).updated).unwrap()
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
            let x = MatRef::new(&problem.x, problem.batch, d).unwrap();
            let forward = |shape: LayerShape, params: ParamsRef<'_, f64>| {
                let mut h = vec![f64::NAN; problem.batch * ne];
                let out = MatMut::new(&mut h, problem.batch, ne).unwrap();
                Layer::new(shape, &isa.into()).unwrap().forward(params, &mut Tape::new(), x, out).unwrap();
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
            let x = MatRef::with_stride(&x[..x.len() - gap], batch, d, d + gap).unwrap();
            let dh = MatRef::with_stride(&dh[..dh.len() - gap], batch, ne, ne + gap).unwrap();
            let mut h = vec![f32::INFINITY; batch * (ne + gap)];
            let mut dx = vec![f32::INFINITY; batch * (d + gap)];
            let mut params = problem.params::<f32>();
            let layer = Layer::<f32>::new(problem.shape, &isa.into()).unwrap();
            let mut tape = Tape::new();
            let h_out = MatMut::with_stride(&mut h, batch, ne, ne + gap).unwrap();
            layer.forward(params.view(), &mut tape, x, h_out).unwrap();
            let dx_out = MatMut::with_stride(&mut dx, batch, d, d + gap).unwrap();
            layer.update(params.view_mut(), &mut State::new(), &mut tape, dh, &update, Some(dx_out)).unwrap();
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

#[test]
fn large_layers_agree_with_the_reference() {
    if cfg!(debug_assertions) {
        return; // Minutes without optimisation.
    }
    let update = Update::csgd(0.1);
    for (dims, kind) in LARGE {
        let problem = Problem::new(dims, kind, true, 5);
        let want = Expected::new(&problem, &update);
        for isa in isas() {
            let serial = run::<f32>(&problem, isa, Threads::Serial, &update);
            want.assert(&format!("{dims:?}, {isa}, f32"), &serial);
            want.assert(&format!("{dims:?}, {isa}, f64"), &run::<f64>(&problem, isa, Threads::Serial, &update));
            let shared = run::<f32>(&problem, isa, pools()[1].clone(), &update);
            for ((name, a), (_, b)) in serial.arrays().into_iter().zip(shared.arrays()) {
                assert_eq!(bits(a), bits(b), "{dims:?}, {isa}, threads: {name}");
            }
        }
    }
}

/// Rules that take turns: the parts of a bias that one moves are forgotten by the other, and a rate of zero moves
/// nothing.
#[test]
fn rules_can_take_turns() {
    let shape: LayerShape = DenseShape::new(1, 40).into();
    let mut params = Params::<f32>::zeros(&shape).unwrap();
    for (i, (_, array)) in params.view_mut().arrays().into_iter().enumerate() {
        array.iter_mut().enumerate().for_each(|(j, value)| *value = (j as f32 - 17.3) * 0.0937 + i as f32);
    }
    let (before, mut gradients, mut state) = (params.clone(), params.clone(), State::new());
    gradients.view_mut().arrays().into_iter().for_each(|(_, array)| array.fill(1.0));
    let layer = Layer::new(shape, &Context::new().unwrap()).unwrap();
    let mut step = |update: &Update, state: &mut State<f32>| {
        layer.apply(&mut params, state, update, &gradients).unwrap();
        params.clone()
    };
    assert_eq!(step(&Update::eg(0.0), &mut state), before, "a rate of zero");
    let frozen = Update { factors: PerRole::all(1.0).with(Role::Bias, 0.0), ..Update::eg(0.1) };
    let bias = |params: &Params<f32>| params.view().arrays()[1].1.to_vec();
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
            let layer = Layer::new(shape, &isa.into()).unwrap();
            let mut tape = Tape::new();
            let mut h = vec![0.0; batch * shape.ne];
            let (mut zhat, mut gamma) = (h.clone(), h.clone());
            let x = MatRef::new(&x, batch, shape.d).unwrap();
            layer.forward(params.view(), &mut tape, x, MatMut::new(&mut h, batch, shape.ne).unwrap()).unwrap();
            let [zhat_out, gamma_out] = [&mut zhat, &mut gamma].map(|out| MatMut::new(out, batch, shape.ne).unwrap());
            tape.standardised(zhat_out, gamma_out).unwrap();
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

        let iid = Init { scheme: Scheme::Independent, ..init }.draw_dann::<f64>(&shape, &mut generator(7)).unwrap();
        let scale = (want.scale / 40.0).sqrt();
        for weights in [&iid.wix, &iid.wei] {
            let (mean, _) = reference::mean_and_variance(weights);
            assert!((mean / scale - 1.0).abs() < 5.0 / (weights.len() as f64).sqrt(), "iid inhibition");
        }
    }
    let narrow = Init::first().draw_dann::<f32>(&DannShape::new(30, 20, 5), &mut generator(8)).unwrap();
    let wide = Init::first().draw_dann::<f64>(&DannShape::new(30, 20, 5), &mut generator(8)).unwrap();
    assert!(narrow.wex.iter().zip(&wide.wex).all(|(n, w)| *n == *w as f32), "a seed draws the same numbers");
    let plain = Init::deeper().draw::<f64>(&DenseShape::new(400, 300).into(), &mut generator(9)).unwrap();
    let (mean, variance) = reference::mean_and_variance(&plain["W"]);
    assert!(mean.abs() < 5.0 * (2.0_f64 / 400.0).sqrt() / 120_000_f64.sqrt());
    assert!((variance / (2.0 / 400.0) - 1.0).abs() < 5.0 * (2.0_f64 / 120_000.0).sqrt());
}

#[test]
fn columns_are_balanced() {
    use std::f64::consts::PI;
    // 40 inhibitory units of 440: σ_e and σ_i, and so a mean of zero where all units do the same.
    let shape = DenseShape::new(440, 300).columns(40, 28);
    let params = Init::deeper().draw::<f64>(&shape.into(), &mut generator(5)).unwrap();
    let (ne, ni) = (400.0, 40.0);
    let excitatory = 1.0 / ((2.0 * PI - 1.0) / (2.0 * PI) * (ne + ne * ne / ni)).sqrt();
    for (columns, want) in [(0..400, excitatory), (400..440, ne / ni * excitatory)] {
        let weights: Vec<f64> =
            params["Wpos"].chunks_exact(440).flat_map(|row| row[columns.clone()].to_vec()).collect();
        let (mean, variance) = reference::mean_and_variance(&weights);
        // Five standard errors: 1/√n of the mean and √8/√n of an exponential's variance.
        let error = 5.0 / (weights.len() as f64).sqrt();
        assert!((mean / want - 1.0).abs() < error, "{mean} {want}");
        assert!((variance / want.powi(2) - 1.0).abs() < 8_f64.sqrt() * error, "{variance}");
    }
    assert!(params["b"].iter().all(|&b| b == 0.0));
    let first = Init { mean_input: 0.25, ..Init::first() };
    let params = first.draw::<f64>(&DenseShape::new(400, 300).columns(0, 28).into(), &mut generator(6)).unwrap();
    let (mean, _) = reference::mean_and_variance(&params["Wpos"]);
    assert!((mean * 20.0 - 1.0).abs() < 5.0 / 120_000_f64.sqrt(), "the mean is 1/√d");
    assert!(params["b"].iter().all(|&b| b == -5.0), "d · mean / √d = 400 · 0.25 / 20");
    let shape = NormShape::new(400, 300, Normalisation::Batch);
    let norm = Init::deeper().draw::<f64>(&shape.into(), &mut generator(7)).unwrap();
    let (_, variance) = reference::mean_and_variance(&norm["W"]);
    assert!((variance * 200.0 - 1.0).abs() < 5.0 * (2.0_f64 / 120_000.0).sqrt(), "2/d");
    assert!(norm["g"].iter().chain(&norm["running_var"]).all(|&x| x == 1.0));
    assert!(norm["b"].iter().chain(&norm["running_mean"]).all(|&x| x == 0.0));
}

/// The padding of a batch takes part in every sum over the examples, times zero: nothing that is not finite may be in
/// it.
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
            let layer = Layer::<f32>::new(large.shape, &isa.into()).unwrap();
            let (mut tape, mut state) = (Tape::new(), State::new());
            let mut h = vec![0.0; 32 * ne];
            let x = MatRef::new(&poison, 32, d).unwrap();
            let dh = MatRef::new(&poison_dh, 32, ne).unwrap();
            layer.forward(poisoned.view(), &mut tape, x, MatMut::new(&mut h, 32, ne).unwrap()).unwrap();
            layer.update(poisoned.view_mut(), &mut state, &mut tape, dh, &Update::sgd(0.1), None).unwrap();

            let mut run_small = |tape: &mut Tape<f32>, state: &mut State<f32>| {
                let mut params = small.params::<f32>();
                let (x, dh) = (cast::<f32>(&small.x), cast::<f32>(&small.dh));
                let x = MatRef::new(&x, batch, d).unwrap();
                let dh = MatRef::new(&dh, batch, ne).unwrap();
                let out = MatMut::new(&mut h[..batch * ne], batch, ne).unwrap();
                layer.forward(params.view(), tape, x, out).unwrap();
                layer.update(params.view_mut(), state, tape, dh, &Update::sgd(0.1), None).unwrap();
                params
            };
            let after_poison = run_small(&mut tape, &mut state);
            let fresh = run_small(&mut Tape::new(), &mut State::new());
            assert_eq!(after_poison, fresh, "{isa}, {kind:?}");
        }
    }
}
