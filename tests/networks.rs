//! Networks: whole steps, determinism, evaluation.

mod common;

use common::{Tolerance, assert_close, bits, isas};
use interneuron::*;
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
    ]
}

fn examples<T: Element>(count: usize) -> (Vec<T>, Vec<u32>) {
    let mut rng = generator(9);
    // As sparse as images are: the initialisation counts on it.
    let mut pixel = || if rng.random_bool(0.25) { rng.random_range(0.0..1.0) } else { 0.0 };
    let x: Vec<T> = (0..count * DIMS[0]).map(|_| T::from_f64(pixel())).collect();
    // The label is the largest of the first ten inputs.
    let largest = |x: &[T]| (1..10).fold(0, |best, i| if x[i] > x[best] { i } else { best });
    let labels = x.chunks_exact(DIMS[0]).map(|x| largest(x) as u32).collect();
    (x, labels)
}

fn all_bits<T: Element>(net: &Network<T>) -> Vec<Vec<u64>> {
    net.params().flat_map(|params| params.arrays()).map(|(_, array)| bits(array)).collect()
}

fn owned<T: Element>(net: &Network<T>) -> Vec<(LayerShape, LayerParams<T>)> {
    net.shapes().zip(net.params()).map(|(shape, params)| (shape, params.to_owned())).collect()
}

#[test]
fn threads_and_fusion_do_not_change_a_bit_of_a_run() {
    fn check<T: Element>(architecture: &Architecture, isa: Isa, what: &str) {
        let (x, labels) = examples::<T>(BATCH);
        let x = MatRef::new("x", &x, BATCH, DIMS[0]).unwrap();
        let update = Update::csgd(0.05);
        let run = |threads: Threads<'_>| {
            let mut net: Network<T> = architecture.clone().isa(isa).build().unwrap();
            let step = |_| net.train_step(threads, x, &labels, &update).unwrap().to_bits();
            let losses: Vec<u64> = (0..20).map(step).collect();
            (losses, all_bits(&net))
        };
        let serial = run(Threads::Serial);
        for threads in 1..=4 {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert!(run(Threads::Pool(&pool)) == serial, "{what}: {threads} threads");
            assert!(pool.install(|| run(Threads::Pool(&pool))) == serial, "{what}: inside a pool of {threads}");
        }
        let mut net: Network<T> = architecture.clone().isa(isa).build().unwrap();
        let mut gradients = net.zero_gradients().unwrap();
        let mut step = |_| {
            let loss = net.gradients(Threads::Serial, x, &labels, &mut gradients).unwrap();
            net.apply(&update, &gradients).unwrap();
            loss.to_bits()
        };
        let losses: Vec<u64> = (0..20).map(&mut step).collect();
        assert!((losses, all_bits(&net)) == serial, "{what}: gradients, then apply");
    }
    for (name, architecture) in architectures() {
        for isa in isas() {
            check::<f32>(&architecture, isa, &format!("{name}, {isa}, f32"));
            check::<f64>(&architecture, isa, &format!("{name}, {isa}, f64"));
        }
    }
}

#[test]
fn steps_agree_with_the_composed_network() {
    fn check<T: Tolerance + composed::Gemm>(name: &str, architecture: &Architecture, isa: Isa) {
        let (x, labels) = examples::<T>(BATCH);
        let matrix = MatRef::new("x", &x, BATCH, DIMS[0]).unwrap();
        let update = Update::csgd(0.05);
        let mut net: Network<T> = architecture.clone().isa(isa).build().unwrap();
        let mut composed = composed::Network::new(owned(&net)).unwrap();
        for _ in 0..5 {
            let loss = net.train_step(Threads::Serial, matrix, &labels, &update).unwrap();
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
    for (name, architecture) in architectures() {
        for isa in isas() {
            // Unmatched inhibition starts with losses in the hundreds, and its first steps magnify rounding a lot.
            if name != "iid" {
                check::<f32>(name, &architecture, isa);
            }
            check::<f64>(name, &architecture, isa);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_network() {
    for (name, architecture) in architectures() {
        let build = |seed| all_bits(&architecture.clone().seed(seed).build::<f32>().unwrap());
        assert!(build(5) == build(5), "{name}");
        assert!(build(5) != build(6), "{name}");
    }
}

#[test]
fn evaluation_takes_any_number_of_examples() {
    for (_, architecture) in architectures() {
        for isa in isas() {
            let mut net: Network<f64> = architecture.clone().isa(isa).build().unwrap();
            for count in [1, 255, 256, 257, 600] {
                let (x, labels) = examples::<f64>(count);
                let mut logits = vec![f64::NAN; count * 10];
                let x = MatRef::new("x", &x, count, DIMS[0]).unwrap();
                net.logits(Threads::Serial, x, MatMut::new("logits", &mut logits, count, 10).unwrap()).unwrap();
                let (loss, _) = reference::softmax_cross_entropy(&logits, &labels);
                let wrong = logits.chunks_exact(10).zip(&labels).filter(|(logits, label)| {
                    let best = (0..10).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
                    best != **label as usize
                });
                let want = Evaluation { loss, errors: wrong.count(), examples: count };
                let got = net.evaluate(Threads::Serial, x, &labels).unwrap();
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
    let x = MatRef::new("x", &x, 300, DIMS[0]).unwrap();
    let mut nets: [Network<f32>; 2] = std::array::from_fn(|_| architecture.clone().build().unwrap());
    for start in 0..6 {
        // Batches of many sizes: scratch that a larger one left behind must not show.
        let size = [33, 1, 45, 16, 7, 32][start];
        let batch = x.slice(start * 45, size).unwrap();
        for net in &mut nets {
            net.train_step(Threads::Serial, batch, &labels[start * 45..][..size], &Update::csgd(0.1)).unwrap();
        }
        nets[1].evaluate(Threads::Serial, x, &labels).unwrap();
    }
    assert!(all_bits(&nets[0]) == all_bits(&nets[1]));
    let mut fresh: Network<f32> = architecture.build().unwrap();
    for (k, (_, params)) in owned(&nets[0]).into_iter().enumerate() {
        fresh.set_params(k, params).unwrap();
    }
    let logits = |net: &mut Network<f32>| {
        let mut logits = vec![0.0; 3000];
        net.logits(Threads::Serial, x, MatMut::new("logits", &mut logits, 300, 10).unwrap()).unwrap();
        bits(&logits)
    };
    assert!(logits(&mut fresh) == logits(&mut nets[1]), "a network is its parameters");
}

#[test]
fn networks_learn_their_examples() {
    let (x, labels) = examples::<f32>(BATCH);
    let x = MatRef::new("x", &x, BATCH, DIMS[0]).unwrap();
    for (name, architecture) in architectures() {
        // Inhibition that does not match the excitation starts with losses in the hundreds.
        let lr = if name == "iid" { 0.01 } else { 0.1 };
        for isa in isas() {
            let mut net: Network<f32> = architecture.clone().isa(isa).build().unwrap();
            let before = net.evaluate(Threads::Serial, x, &labels).unwrap();
            for _ in 0..600 {
                net.train_step(Threads::Serial, x, &labels, &Update::csgd(lr)).unwrap();
            }
            let after = net.evaluate(Threads::Serial, x, &labels).unwrap();
            assert!(after.loss < 0.5 * before.loss, "{name} on {isa}: {} → {}", before.loss, after.loss);
            assert_eq!(net.steps(), 600);
        }
    }
}

#[test]
fn a_diverged_loss_is_an_error_and_leaves_the_parameters() {
    let (x, labels) = examples::<f32>(BATCH);
    let x = MatRef::new("x", &x, BATCH, DIMS[0]).unwrap();
    for isa in isas() {
        let mut net: Network<f32> = Architecture::mlp(&DIMS).unwrap().isa(isa).build().unwrap();
        let update = Update::sgd(1e30);
        let error = loop {
            let before = all_bits(&net);
            match net.train_step(Threads::Serial, x, &labels, &update) {
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
