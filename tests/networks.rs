//! Networks: whole steps, determinism, evaluation.

mod common;

use common::{Tolerance, assert_close, bits, isas};
use interneuron::*;
use interneuron_baseline as composed;
use rand::RngExt;

/// Layers that end inside tiles and vectors, a batch of more than one group.
const DIMS: [usize; 4] = [37, 53, 29, 10];
const NIS: [usize; 3] = [7, 13, 1];
const BATCH: usize = 45;

fn architectures() -> Vec<(&'static str, Architecture)> {
    let dann = Architecture::dann(&DIMS, &NIS).unwrap().seed(3);
    vec![
        ("dann", dann.clone()),
        ("iid", dann.clone().iid_inhibition()),
        ("subtractive", dann.subtractive()),
        ("mlp", Architecture::mlp(&DIMS).unwrap().seed(3)),
        ("layer norm", Architecture::layer_norm(&DIMS).unwrap().seed(3)),
        ("batch norm", Architecture::batch_norm(&DIMS).unwrap().seed(3)),
        ("columns", Architecture::column_ei(&DIMS, 10, 0.125).unwrap().seed(3)),
    ]
}

/// Those that the composed baseline has.
fn composed_architectures() -> Vec<(&'static str, Architecture)> {
    architectures().into_iter().take(4).collect()
}

fn examples<T: Element>(count: usize) -> (Vec<T>, Vec<u32>) {
    examples_of(count, DIMS[0])
}

fn examples_of<T: Element>(count: usize, inputs: usize) -> (Vec<T>, Vec<u32>) {
    let mut rng = generator(9);
    // As sparse as images are: the initialisation counts on it.
    let mut pixel = || if rng.random_bool(0.25) { rng.random_range(0.0..1.0) } else { 0.0 };
    let x: Vec<T> = (0..count * inputs).map(|_| T::from_f64(pixel())).collect();
    // The label is the largest of the first ten inputs.
    let largest = |x: &[T]| (1..10).fold(0, |best, i| if x[i] > x[best] { i } else { best });
    let labels = x.chunks_exact(inputs).map(|x| largest(x) as u32).collect();
    (x, labels)
}

fn all_bits<T: Element>(net: &Network<T>) -> Vec<Vec<u64>> {
    net.params().flat_map(|params| params.arrays()).map(|(_, array)| bits(array)).collect()
}

fn owned<T: Element>(net: &Network<T>) -> Vec<(LayerShape, Params<T>)> {
    net.shapes().zip(net.params()).map(|(shape, params)| (shape, params.to_owned())).collect()
}

/// Steps of a run. Without optimisation a step takes a hundred times as long.
const STEPS: usize = if cfg!(debug_assertions) { 4 } else { 20 };

/// Runs some steps and returns the bits of losses and parameters.
fn run<T: Element>(
    architecture: &Architecture,
    context: &Context,
    mut step: impl FnMut(&mut Network<T>) -> f64,
) -> (Vec<u64>, Vec<Vec<u64>>) {
    let mut net: Network<T> = architecture.build(context).unwrap();
    let losses = (0..STEPS).map(|_| step(&mut net).to_bits()).collect();
    (losses, all_bits(&net))
}

#[test]
fn threads_and_fusion_do_not_change_a_bit_of_a_run() {
    // With optimisation, layers so large that most phases of a step are shared. A batch of two slabs.
    let (dims, nis, batch) =
        if cfg!(debug_assertions) { (DIMS, NIS, BATCH) } else { ([211, 199, 203, 24], [50, 41, 24], 221) };
    fn check<T: Element>(architecture: &Architecture, isa: Isa, (inputs, batch): (usize, usize), what: &str) {
        let (x, labels) = examples_of::<T>(batch, inputs);
        let x = MatRef::new(&x, batch, inputs).unwrap();
        let update = Update::csgd(0.05);
        let steps = |threads: Threads| {
            let context = Context::from(isa).with_threads(threads);
            run::<T>(architecture, &context, |net| net.train_step(x, &labels, &update).unwrap())
        };
        let serial = steps(Threads::Serial);
        for threads in 1..=4 {
            let pool = std::sync::Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
            assert!(steps(pool.clone().into()) == serial, "{what}: {threads} threads");
            assert!(pool.install(|| steps(pool.clone().into())) == serial, "{what}: inside a pool of {threads}");
        }
        let mut gradients = architecture.build::<T>(&isa.into()).unwrap().zero_gradients().unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for threads in [Threads::Serial, pool.into()] {
            let context = Context::from(isa).with_threads(threads);
            let apart = run::<T>(architecture, &context, |net| {
                let loss = net.gradients(x, &labels, &mut gradients).unwrap();
                net.apply(&update, &gradients).unwrap();
                loss
            });
            assert!(apart == serial, "{what}: gradients, then apply, {} threads", context.threads().count());
        }
    }
    let dann = Architecture::dann(&dims, &nis).unwrap().seed(3);
    let architectures = [
        ("dann", dann.clone()),
        ("subtractive", dann.subtractive()),
        ("mlp", Architecture::mlp(&dims).unwrap()),
        ("layer norm", Architecture::layer_norm(&dims).unwrap()),
        ("batch norm", Architecture::batch_norm(&dims).unwrap()),
        ("columns", Architecture::column_ei(&dims, 4, 0.125).unwrap()),
    ];
    for (name, architecture) in architectures {
        for isa in isas() {
            check::<f32>(&architecture, isa, (dims[0], batch), &format!("{name}, {isa}, f32"));
            // The others have no kernels of their own between products: one element type shows it.
            if ["dann", "mlp", "batch norm"].contains(&name) {
                check::<f64>(&architecture, isa, (dims[0], batch), &format!("{name}, {isa}, f64"));
            }
        }
    }
}

/// A plan on arrays that somebody else owns takes the steps that a network takes on its own, and serves several sets of
/// parameters in turn.
#[test]
fn plans_work_on_anybodys_parameters() {
    fn check<T: Element>(architecture: &Architecture, isa: Isa, update: &Update) {
        let (x, labels) = examples::<T>(BATCH);
        let x = MatRef::new(&x, BATCH, DIMS[0]).unwrap();
        let context = isa.into();
        let mut net: Network<T> = architecture.build(&context).unwrap();
        let mut plan: Plan<T> = architecture.plan(&context).unwrap();
        // One after the other in one vector, with a gap between them.
        let drawn: Vec<Params<T>> = architecture.draw().unwrap();
        let mut memory = vec![];
        for (_, array) in drawn.iter().flat_map(|params| params.arrays()) {
            memory.extend_from_slice(array);
            memory.push(T::from_f64(f64::NAN));
        }
        let (mut owned, mut owned_state, mut state) = (drawn, TrainState::new(0), TrainState::new(0));
        let mut gradients = plan.zero_gradients().unwrap();
        for _ in 0..3 {
            let want = net.train_step(x, &labels, update).unwrap();
            let schemas: Vec<Schema> = plan.schemas().copied().collect();
            let mut rest = &mut memory[..];
            let mut views: Vec<ParamsMut<'_, T>> = schemas
                .iter()
                .map(|schema| {
                    let arrays = schema.iter().map(|parameter| {
                        let (array, after) = std::mem::take(&mut rest).split_at_mut(parameter.elements());
                        rest = &mut after[1..];
                        array
                    });
                    ParamsMut::new(schema, arrays).unwrap()
                })
                .collect();
            let loss = plan.train_step(&mut views, &mut state, x, &labels, update).unwrap();
            // The other set moves by gradients that are handed out.
            let other = plan.gradients(&owned, x, &labels, &mut gradients).unwrap();
            plan.apply(&mut owned, &mut owned_state, update, &gradients).unwrap();
            assert_eq!([loss.to_bits(), other.to_bits()], [want.to_bits(); 2], "{isa}");
            for ((params, view), owned) in net.params().zip(&views).zip(&owned) {
                assert!(params.view() == view.view() && params == owned, "{isa}, {update:?}");
            }
            let [want, got] = [net.evaluate(x, &labels), plan.evaluate(&views, x, &labels)];
            assert_eq!(got, want);
            let [want, got] = [net.inspect(x, &labels, update), plan.inspect(&owned, x, &labels, update)];
            assert_eq!(got, want);
        }
        for state in [state, owned_state] {
            assert!(state.layers().eq(net.state().layers()) && state.steps() == 3, "{isa}, {update:?}");
        }
    }
    for (_, architecture) in architectures() {
        for isa in isas() {
            check::<f32>(&architecture, isa, &Update { momentum: PerRole::all(0.9), ..Update::csgd(0.01) });
            check::<f64>(&architecture, isa, &Update { clip: Some(0.1), ..Update::sgd(0.01) });
        }
    }
}

/// Clipping by the norm of all layers: the step is that of gradients that were scaled by hand.
#[test]
fn networks_clip_by_the_norm_of_all_layers() {
    let (x, labels) = examples::<f64>(BATCH);
    let x = MatRef::new(&x, BATCH, DIMS[0]).unwrap();
    for (name, architecture) in architectures() {
        for isa in isas() {
            for clip in [0.01, 1e6] {
                let plain = Update::csgd(0.1);
                let update = Update { clip: Some(clip), clip_scope: ClipScope::Network, ..plain };
                let [mut net, mut apart, mut scaled] =
                    [(); 3].map(|()| architecture.build::<f64>(&isa.into()).unwrap());
                let mut gradients = net.zero_gradients().unwrap();
                apart.gradients(x, &labels, &mut gradients).unwrap();
                apart.apply(&update, &gradients).unwrap();
                net.train_step(x, &labels, &update).unwrap();
                assert!(all_bits(&net) == all_bits(&apart), "{name}, {isa}: apart");
                let mut squares = 0.0;
                for (shape, gradients) in net.shapes().zip(&gradients) {
                    let schema = shape.schema().unwrap();
                    let moved = schema.iter().zip(gradients.arrays()).filter(|(parameter, _)| parameter.moves());
                    squares += moved
                        .flat_map(|(parameter, (_, array))| array.iter().map(|g| (g * parameter.correction).powi(2)))
                        .sum::<f64>();
                }
                let factor = (clip / (squares.sqrt() + 1e-6)).min(1.0);
                assert_eq!(factor < 1.0, clip < 1.0, "{name}");
                for (shape, gradients) in net.shapes().zip(&mut gradients) {
                    let schema = shape.schema().unwrap();
                    for (parameter, (_, array)) in schema.iter().zip(gradients.view_mut().arrays()) {
                        array.iter_mut().filter(|_| parameter.moves()).for_each(|g| *g *= factor);
                    }
                }
                scaled.apply(&plain, &gradients).unwrap();
                for (net, scaled) in net.params().zip(scaled.params()) {
                    for ((name, got), (_, want)) in net.arrays().into_iter().zip(scaled.arrays()) {
                        assert_close(name, got, want, f64::LAYER);
                    }
                }
            }
        }
    }
}

/// Every rule with gradients that were handed out, on arrays so large that threads share them: parameters and what the
/// rule keeps of them.
#[test]
fn threads_do_not_change_a_bit_of_gradients_that_are_applied() {
    let (inputs, batch) = (300, 3);
    let architecture = Architecture::dann(&[inputs, 250, 10], &[150, 1]).unwrap();
    let (x, labels) = examples_of::<f32>(batch, inputs);
    let x = MatRef::new(&x, batch, inputs).unwrap();
    let angle = Some(Angle { lr_min: 1e-3, rates: 4, cosine_epsilon: 1e-3 });
    for update in [
        Update::csgd(0.1),
        Update { momentum: PerRole::all(0.9), decay: PerRole::all(1e-3), ..Update::csgd(0.1) },
        Update { clip: Some(0.01), ..Update::sgd(0.1) },
        Update { angle, ..Update::csgd(0.5) },
        Update::eg(0.1),
        Update { corrections: true, ..Update::adamw(0.01) },
        Update { kept_sums: Some(KeptSums::Row), momentum: PerRole::all(0.5), dampening: 0.5, ..Update::eg(0.1) },
    ] {
        let run = |threads: Threads| {
            let mut net: Network<f32> = architecture.build(&Context::new().unwrap().with_threads(threads)).unwrap();
            let mut gradients = net.zero_gradients().unwrap();
            for _ in 0..2 {
                net.gradients(x, &labels, &mut gradients).unwrap();
                net.apply(&update, &gradients).unwrap();
            }
            net
        };
        let serial = run(Threads::Serial);
        for threads in 2..=3 {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let shared = run(pool.into());
            assert!(all_bits(&shared) == all_bits(&serial), "{update:?}, {threads} threads");
            assert!(shared.state().layers().eq(serial.state().layers()), "{update:?}, {threads} threads");
        }
    }
}

/// A network's step put together from single layers that are called forward, backward and update apart, each on its own
/// arrays.
#[test]
fn layers_called_apart_give_the_bits_of_the_networks_step() {
    fn check<T: Element>(architecture: &Architecture, isa: Isa, fused: bool, batch: usize) {
        let (x, labels) = examples::<T>(batch);
        // Inhibition that does not match the excitation diverges at higher rates.
        let update = Update::csgd(0.01);
        let whole = run::<T>(architecture, &isa.into(), |net| {
            let x = MatRef::new(&x, batch, DIMS[0]).unwrap();
            net.train_step(x, &labels, &update).unwrap()
        });
        let net: Network<T> = architecture.build(&isa.into()).unwrap();
        let mut layers: Vec<_> = owned(&net)
            .into_iter()
            .map(|(shape, params)| (Layer::<T>::new(shape, &isa.into()).unwrap(), params, Tape::new()))
            .collect();
        for _ in 0..STEPS {
            let mut inputs = vec![x.clone()];
            for (layer, params, tape) in &mut layers {
                let (d, ne) = (layer.shape().inputs(), layer.shape().outputs());
                let mut h = vec![T::ZERO; batch * ne];
                let x = MatRef::new(inputs.last().unwrap(), batch, d).unwrap();
                layer.forward(params.view(), tape, x, MatMut::new(&mut h, batch, ne).unwrap()).unwrap();
                inputs.push(h);
            }
            let mut dh = softmax_gradient(&inputs.pop().unwrap(), &labels);
            for (layer, params, tape) in layers.iter_mut().rev() {
                let (d, ne) = (layer.shape().inputs(), layer.shape().outputs());
                let mut dx = vec![T::ZERO; batch * d];
                let dh_in = MatRef::new(&dh, batch, ne).unwrap();
                let dx_out = Some(MatMut::new(&mut dx, batch, d).unwrap());
                if fused {
                    layer.update(params.view_mut(), &mut State::new(), tape, dh_in, &update, dx_out).unwrap();
                } else {
                    let mut gradients = Params::zeros(&layer.shape()).unwrap();
                    layer.backward(params.view(), tape, dh_in, gradients.view_mut(), dx_out).unwrap();
                    let state = &mut State::new();
                    layer.apply(params, state, &update, &gradients).unwrap();
                }
                dh = dx;
            }
        }
        let apart: Vec<_> =
            layers.iter().flat_map(|(_, params, _)| params.view().arrays()).map(|(_, a)| bits(a)).collect();
        assert!(apart == whole.1, "{isa}, fused: {fused}");
    }
    for (_, architecture) in architectures() {
        for isa in isas() {
            for (fused, batch) in [(false, BATCH), (true, BATCH), (true, 1), (true, 4)] {
                check::<f32>(&architecture, isa, fused, batch);
                check::<f64>(&architecture, isa, fused, batch);
            }
        }
    }
}

/// `(softmax − onehot)/B`, in the order of operations of the library.
fn softmax_gradient<T: Element>(logits: &[T], labels: &[u32]) -> Vec<T> {
    let classes = logits.len() / labels.len();
    let per_example = T::ONE / T::from_f64(labels.len() as f64);
    let mut gradient = logits.to_vec();
    for (row, &label) in gradient.chunks_exact_mut(classes).zip(labels) {
        let largest = row.iter().copied().fold(T::NEG_INFINITY, |m, x| if x > m { x } else { m });
        row.iter_mut().for_each(|x| *x = (*x - largest).exp());
        let sum = row.iter().fold(T::ZERO, |sum, &x| sum + x);
        for (class, x) in row.iter_mut().enumerate() {
            let target = if class == label as usize { T::ONE } else { T::ZERO };
            *x = (*x / sum - target) * per_example;
        }
    }
    gradient
}

#[test]
fn steps_agree_with_the_composed_network() {
    fn check<T: Tolerance + composed::Gemm>(name: &str, architecture: &Architecture, isa: Isa, batch: usize) {
        let (x, labels) = examples::<T>(batch);
        let matrix = MatRef::new(&x, batch, DIMS[0]).unwrap();
        let update = Update::csgd(0.05);
        let mut net: Network<T> = architecture.build(&isa.into()).unwrap();
        let mut composed = composed::Network::new(owned(&net)).unwrap();
        for _ in 0..5 {
            let loss = net.train_step(matrix, &labels, &update).unwrap();
            let want = composed.train_step(&x, &labels, &update);
            assert!((loss - want).abs() <= T::NETWORK * want, "{name}, {isa}: {loss} {want}");
        }
        for (params, want) in net.params().zip(composed.params()) {
            for ((array, got), (_, want)) in params.arrays().into_iter().zip(want.view().arrays()) {
                let want: Vec<f64> = want.iter().map(|w| w.to_f64()).collect();
                assert_close(&format!("{isa}: {array}"), got, &want, T::NETWORK);
            }
        }
    }
    for (name, architecture) in composed_architectures() {
        for isa in isas() {
            // Unmatched inhibition starts with losses in the hundreds, and its first steps magnify rounding a lot.
            if name != "iid" {
                check::<f32>(name, &architecture, isa, BATCH);
            }
            check::<f64>(name, &architecture, isa, BATCH);
            // Three slabs, whose gradients are carried over. In f64 alone: a sum over so many examples that cancels to
            // a bias near zero says more about f32 than about the sum.
            check::<f64>(name, &architecture, isa, 400);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_network() {
    for (name, architecture) in architectures() {
        let build = |seed| all_bits(&architecture.clone().seed(seed).build::<f32>(&Context::new().unwrap()).unwrap());
        assert!(build(5) == build(5), "{name}");
        assert!(build(5) != build(6), "{name}");
    }
}

#[test]
fn evaluation_takes_any_number_of_examples() {
    for (_, architecture) in architectures() {
        for isa in isas() {
            let mut net: Network<f64> = architecture.build(&isa.into()).unwrap();
            for count in [1, 255, 256, 257, 600] {
                let (x, labels) = examples::<f64>(count);
                let mut logits = vec![f64::NAN; count * 10];
                let x = MatRef::new(&x, count, DIMS[0]).unwrap();
                net.logits(x, MatMut::new(&mut logits, count, 10).unwrap()).unwrap();
                let (loss, _) = reference::softmax_cross_entropy(&logits, &labels);
                let wrong = logits.chunks_exact(10).zip(&labels).filter(|(logits, label)| {
                    // The first of the largest: outputs of silent units are equal.
                    let best = (0..10).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
                    best != **label as usize
                });
                let want = Evaluation { loss, errors: wrong.count(), examples: count };
                let got = net.evaluate(x, &labels).unwrap();
                assert!((got.loss - want.loss).abs() <= f64::NETWORK * want.loss, "{got:?} {want:?}");
                assert_eq!((got.errors, got.examples), (want.errors, want.examples));
                let one = (got.error_percent() - 100.0 * want.errors as f64 / count as f64).abs();
                assert!(one < 1e-12);
            }
        }
    }
}

#[test]
fn evaluation_between_steps_changes_nothing() {
    let (_, architecture) = architectures().swap_remove(0);
    let (x, labels) = examples::<f32>(300);
    let x = MatRef::new(&x, 300, DIMS[0]).unwrap();
    let mut nets: [Network<f32>; 2] = std::array::from_fn(|_| architecture.build(&Context::new().unwrap()).unwrap());
    for start in 0..6 {
        // Batches of many sizes: scratch that a larger one left behind must not show.
        let size = [33, 1, 45, 16, 7, 32][start];
        let batch = x.slice(start * 45, size).unwrap();
        for net in &mut nets {
            net.train_step(batch, &labels[start * 45..][..size], &Update::csgd(0.1)).unwrap();
        }
        nets[1].evaluate(x, &labels).unwrap();
    }
    assert!(all_bits(&nets[0]) == all_bits(&nets[1]));
    let mut fresh: Network<f32> = architecture.build(&Context::new().unwrap()).unwrap();
    for (k, (_, params)) in owned(&nets[0]).into_iter().enumerate() {
        fresh.set_params(k, params).unwrap();
    }
    let logits = |net: &mut Network<f32>| {
        let mut logits = vec![0.0; 3000];
        net.logits(x, MatMut::new(&mut logits, 300, 10).unwrap()).unwrap();
        bits(&logits)
    };
    assert!(logits(&mut fresh) == logits(&mut nets[1]), "a network is its parameters");
}

#[test]
fn networks_learn_their_examples() {
    let (x, labels) = examples::<f32>(BATCH);
    let x = MatRef::new(&x, BATCH, DIMS[0]).unwrap();
    for (name, architecture) in architectures() {
        // Inhibition that does not match the excitation starts with losses in the hundreds.
        let lr = if name == "iid" { 0.01 } else { 0.1 };
        // Without optimisation the widest alone, which is the quickest.
        let skipped = if cfg!(debug_assertions) { isas().len() - 1 } else { 0 };
        for isa in isas().into_iter().skip(skipped) {
            let mut net: Network<f32> = architecture.build(&isa.into()).unwrap();
            let before = net.evaluate(x, &labels).unwrap();
            for _ in 0..600 {
                net.train_step(x, &labels, &Update::csgd(lr)).unwrap();
            }
            let after = net.evaluate(x, &labels).unwrap();
            assert!(after.loss < 0.5 * before.loss, "{name} on {isa}: {} → {}", before.loss, after.loss);
            assert_eq!(net.steps(), 600);
        }
    }
}

#[test]
fn a_diverged_loss_is_an_error_and_leaves_the_parameters() {
    let (x, labels) = examples::<f32>(BATCH);
    let x = MatRef::new(&x, BATCH, DIMS[0]).unwrap();
    for isa in isas() {
        let mut net: Network<f32> = Architecture::mlp(&DIMS).unwrap().build(&isa.into()).unwrap();
        let update = Update::sgd(1e30);
        let error = loop {
            let before = all_bits(&net);
            match net.train_step(x, &labels, &update) {
                Ok(loss) => assert!(loss.is_finite()),
                Err(error) => {
                    assert!(all_bits(&net) == before, "{isa}: the failed step changed parameters");
                    break error;
                }
            }
            assert!(net.steps() < 10, "{isa}: a rate of 1e30 should diverge");
        };
        let Error::Diverged { step, lr, loss } = error else { panic!("{error}") };
        assert!(step == net.steps() && lr == 1e30 && !loss.is_finite());
        assert!(error.to_string().contains("1e30") || error.to_string().contains("1000000"), "{error}");
    }
}

#[test]
fn a_failed_step_leaves_nothing_behind() {
    // Three slabs, the last of which fails when the gradients of the others are already there; then batches of every
    // kind, of which some find the place of their padding full of what failed.
    let (x, labels) = examples::<f64>(400);
    // Sums overflow, and infinities cancel each other to NaN.
    let bad = vec![f64::MAX; 272 * DIMS[0]];
    let bad = [&x[..128 * DIMS[0]], &bad].concat();
    for (name, architecture) in architectures() {
        for isa in isas() {
            let step = |net: &mut Network<f64>, x: &[f64], batch: usize| {
                let x = MatRef::new(&x[..batch * DIMS[0]], batch, DIMS[0]).unwrap();
                let evaluation = net.evaluate(x, &labels[..batch]).unwrap();
                (evaluation, net.train_step(x, &labels[..batch], &Update::csgd(0.01)))
            };
            // Without optimisation a minute for all of them.
            let batches = if cfg!(debug_assertions) { &[2, 17][..] } else { &[1, 2, 4, 17, 400] };
            for &batch in batches {
                let [mut fresh, mut net] = std::array::from_fn(|_| architecture.build::<f64>(&isa.into()).unwrap());
                assert!(matches!(step(&mut net, &bad, 400).1, Err(Error::Diverged { .. })), "{name}, {isa}");
                let (got, want) = (step(&mut net, &x, batch), step(&mut fresh, &x, batch));
                assert_eq!(got, want, "{name}, {isa}, batch {batch}");
                assert!(got.1.is_ok() && all_bits(&net) == all_bits(&fresh), "{name}, {isa}, batch {batch}");
            }
        }
    }
}

/// Layers so large that the input gradient goes through panels on its way into the layer below.
#[test]
fn large_networks_agree_with_the_composed_network() {
    if cfg!(debug_assertions) {
        return; // Minutes without optimisation.
    }
    let (batch, dims) = (41, [30, 793, 700, 5]);
    let (x, labels) = examples_of::<f64>(batch, dims[0]);
    let labels: Vec<u32> = labels.iter().map(|label| label % 5).collect();
    let matrix = MatRef::new(&x, batch, dims[0]).unwrap();
    let dann = Architecture::dann(&dims, &[3, 9, 2]).unwrap();
    for architecture in [dann.clone(), dann.subtractive(), Architecture::mlp(&dims).unwrap()] {
        for isa in isas() {
            let mut net: Network<f64> = architecture.build(&isa.into()).unwrap();
            let mut composed = composed::Network::new(owned(&net)).unwrap();
            for _ in 0..2 {
                net.train_step(matrix, &labels, &Update::csgd(0.05)).unwrap();
                composed.train_step(&x, &labels, &Update::csgd(0.05));
            }
            for (params, want) in net.params().zip(composed.params()) {
                for ((array, got), (_, want)) in params.arrays().into_iter().zip(want.view().arrays()) {
                    assert_close(&format!("{isa}: {array}"), got, want, f64::NETWORK);
                }
            }
        }
    }
}

/// What `inspect` says against the reference's forward pass and the step that is then taken.
#[test]
fn inspection_agrees_with_the_reference_and_the_step() {
    let close = |got: f64, want: f64, what: &str| {
        assert!((got - want).abs() <= f64::NETWORK * (1.0 + want.abs()), "{what}: {got}, expected {want}");
    };
    // A slab, and three of them; so large a rate that the bound takes part of the step.
    for (batch, (name, architecture)) in
        [BATCH, 400].into_iter().flat_map(|n| architectures().into_iter().map(move |a| (n, a)))
    {
        let (x, labels) = examples::<f64>(batch);
        let matrix = MatRef::new(&x, batch, DIMS[0]).unwrap();
        for isa in isas() {
            let mut net: Network<f64> = architecture.build(&isa.into()).unwrap();
            // Away from the beginning: some weights at zero, γ no longer alike.
            for _ in 0..3 {
                net.train_step(matrix, &labels, &Update::csgd(0.02)).unwrap();
            }
            let before = owned(&net);
            let mut gradients = net.zero_gradients().unwrap();
            net.gradients(matrix, &labels, &mut gradients).unwrap();
            let update = Update { factors: PerRole::all(1.0).with(Role::ToInterneurons, 0.5), ..Update::csgd(0.3) };
            let statistics = net.inspect(matrix, &labels, &update).unwrap();
            assert_eq!(owned(&net), before, "{name}: nothing is changed");
            net.train_step(matrix, &labels, &update).unwrap();
            let mut input = x.clone();
            for (k, ((shape, params), seen)) in before.iter().zip(&statistics).enumerate() {
                let what = format!("{name}, {isa}, batch {batch}, layer {k}");
                let forward = reference::forward(shape, params, &input);
                let (zhat, gamma) = match &forward {
                    reference::Forward::Dann(forward) if matches!(shape, LayerShape::Dann(shape) if shape.divisive) => {
                        (Some(&forward.zhat), Some(&forward.gamma))
                    }
                    reference::Forward::Norm(forward) => (Some(&forward.zhat), None),
                    _ => (None, None),
                };
                assert_eq!((seen.zhat.is_some(), seen.gamma.is_some()), (zhat.is_some(), gamma.is_some()), "{what}");
                if let (Some((mean, variance)), Some(zhat)) = (seen.zhat, zhat) {
                    let (want_mean, want_variance) = reference::mean_and_variance(zhat);
                    close(mean, want_mean, &format!("{what}: mean"));
                    close(variance, want_variance, &format!("{what}: variance"));
                }
                if let (Some((least, largest)), Some(gamma)) = (seen.gamma, gamma) {
                    close(least, gamma.iter().copied().fold(f64::INFINITY, f64::min), &what);
                    close(largest, gamma.iter().copied().fold(0.0, f64::max), &what);
                }
                let units = shape.outputs();
                let silent = (0..units).filter(|&unit| forward.h()[unit..].iter().step_by(units).all(|&h| h == 0.0));
                let relu = shape.nonlinearity() == Nonlinearity::Relu;
                assert_eq!(seen.silent, relu.then(|| silent.count() as f64 / units as f64), "{what}");
                let weights = params.view().arrays().into_iter().filter(|(name, _)| name.starts_with('W'));
                let weights: Vec<f64> = weights.flat_map(|(_, array)| array.to_vec()).collect();
                let zeros = weights.iter().filter(|&&w| w == 0.0).count();
                assert_eq!(seen.zero_weights, zeros as f64 / weights.len() as f64, "{what}");
                let names = shape.schema().unwrap().iter().map(|parameter| parameter.name).collect::<Vec<_>>();
                let learnt = gradients[k]
                    .view()
                    .arrays()
                    .into_iter()
                    .filter(|(name, array)| !array.is_empty() && !name.starts_with("running"));
                for ((_, array), (got_name, norm)) in learnt.clone().zip(&seen.gradient_norms) {
                    assert!(names.contains(got_name), "{what}: {got_name}");
                    close(*norm, array.iter().map(|g| g * g).sum::<f64>().sqrt(), &format!("{what}: {got_name}"));
                }
                assert_eq!(learnt.count(), seen.gradient_norms.len(), "{what}");
                // The cosine, from the step that was taken and the one that was wanted.
                let bounded = ["Wex", "Wix", "Wei", "g"];
                let columns = matches!(shape, LayerShape::Dense(shape) if shape.columns.is_some());
                let dann = matches!(shape, LayerShape::Dann(_));
                let (mut product, mut free, mut taken) = (0.0, 0.0, 0.0);
                let after = net.params().nth(k).unwrap().arrays();
                for (((array, before), (_, after)), (_, gradient)) in
                    params.view().arrays().into_iter().zip(after).zip(gradients[k].view().arrays())
                {
                    if !(columns && array == "Wpos" || dann && bounded.contains(&array)) {
                        continue;
                    }
                    let (d, ne) = (shape.inputs() as f64, units as f64);
                    let scale = match array {
                        "Wix" => 0.5 / ne.sqrt(),
                        "Wei" => 1.0 / d,
                        _ => 1.0,
                    };
                    for ((before, after), gradient) in before.iter().zip(after).zip(gradient) {
                        let (want, got) = (-update.lr * scale * gradient, after - before);
                        product += want * got;
                        free += want * want;
                        taken += got * got;
                    }
                }
                let cosine = (free * taken > 0.0).then(|| product / (free * taken).sqrt());
                assert_eq!(seen.cosine.is_some(), cosine.is_some(), "{what}");
                if let (Some(got), Some(want)) = (seen.cosine, cosine) {
                    close(got, want, &format!("{what}: cosine"));
                    assert!(got < 1.0 || !relu, "{what}: the bound takes part of a step");
                }
                input = forward.h().to_vec();
            }
        }
    }
}

/// A natural step that fails leaves the estimate and the generator of labels as they were, also when the first slab was
/// still fine; and an estimate cannot overflow.
#[test]
fn natural_steps_that_fail_change_nothing() {
    let update = Update::natural(0.05, Natural { epsilon: 1e-3, ..Natural::default() });
    let (x, labels) = examples::<f32>(400);
    for (_, architecture) in architectures().into_iter().filter(|(name, _)| *name != "batch norm") {
        for isa in isas() {
            let [mut net, mut other] = std::array::from_fn(|_| architecture.build::<f32>(&isa.into()).unwrap());
            let step = |net: &mut Network<f32>, x: &[f32]| {
                net.train_step(MatRef::new(x, 400, DIMS[0]).unwrap(), &labels, &update)
            };
            for net in [&mut net, &mut other] {
                step(net, &x).unwrap();
            }
            let mut bad = x.clone();
            bad[399 * DIMS[0]..].fill(f32::MAX);
            assert!(matches!(step(&mut net, &bad), Err(Error::Diverged { .. })));
            assert!(net.state().layers().eq(other.state().layers()), "{isa}: the estimate");
            for net in [&mut net, &mut other] {
                step(net, &x).unwrap();
            }
            assert!(
                all_bits(&net) == all_bits(&other) && net.state().layers().eq(other.state().layers()),
                "{isa}: labels"
            );
        }
    }
    // Squares beyond f32.
    let shapes = vec![DenseShape::new(4, 3).linear().into()];
    let mut net: Network<f32> = Architecture::of(shapes).unwrap().build(&Context::new().unwrap()).unwrap();
    let huge = [3e20_f32, 0.0, 1e22, 1.0];
    let x = MatRef::new(&huge, 1, 4).unwrap();
    for _ in 0..3 {
        match net.train_step(x, &[1], &update) {
            Ok(_) | Err(Error::Diverged { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(net.params().flat_map(|params| params.arrays()).all(|(_, array)| array.iter().all(|w| w.is_finite())));
    }
}
