//! Whole train steps: the paper's network at batch 32, what policies cost there, and batches from 1 to 130.
//!
//! `cargo bench --bench step`. Groups are `step/<network>/<dims>/b<batch>`, `policy/<dims>/b<batch>` and
//! `batch/<dims>/b<batch>`, lines the implementation (or the policy) and its threads. Throughput is useful
//! floating-point operations a second (criterion calls them elements), by the formula of [`LayerShape::train_flops`].

mod common;

use common::{THREADS, pool, timed};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use interneuron::*;
use interneuron_baseline as composed;

const DIMS: [usize; 5] = [784, 500, 500, 500, 10];
const NIS: [usize; 4] = [50, 50, 50, 1];
const NAME: &str = "784-500-500-500-10";

/// Pixels and labels of a batch, from a seed.
fn examples(batch: usize) -> (Vec<f32>, Vec<u32>) {
    use rand::RngExt;
    let mut rng = generator(1);
    let x = (0..batch * DIMS[0]).map(|_| rng.random::<f32>()).collect();
    let labels = (0..batch).map(|_| rng.random_range(0..10)).collect();
    (x, labels)
}

fn flops(net: &Network<f32>, batch: usize) -> Throughput {
    let flops: f64 = net.shapes().enumerate().map(|(k, shape)| shape.train_flops(batch, k > 0)).sum();
    Throughput::Elements(flops as u64)
}

/// A rate so small that the weights hardly move: a step takes the same time at any loss.
fn update() -> Update {
    Update::csgd(1e-6)
}

fn step(c: &mut Criterion) {
    let batch = 32;
    let (x, labels) = examples(batch);
    let matrix = MatRef::new(&x, batch, DIMS[0]).unwrap();
    let networks = [("dann", Architecture::dann(&DIMS, &NIS).unwrap()), ("mlp", Architecture::mlp(&DIMS).unwrap())];
    for (name, architecture) in networks {
        let net: Network<f32> = architecture.build(&Context::new().unwrap()).unwrap();
        let mut group = c.benchmark_group(format!("step/{name}/{NAME}/b{batch}"));
        group.throughput(flops(&net, batch));
        let layers = net.shapes().zip(net.params()).map(|(shape, params)| (shape, params.to_owned()));
        let mut composed = composed::Network::new(layers).unwrap();
        group.bench_function("composed/1", |b| b.iter(|| composed.train_step(&x, &labels, &update())));
        for isa in Isa::available() {
            let mut net: Network<f32> = architecture.build(&isa.into()).unwrap();
            for threads in THREADS {
                let pool = pool(threads);
                net.set_threads(pool.clone());
                group.bench_function(format!("{isa}/{threads}"), |b| {
                    timed(b, &pool, || {
                        net.train_step(matrix, &labels, &update()).unwrap();
                    });
                });
            }
        }
        group.finish();
    }
}

/// What each policy adds to a step. The work that counts is that of the step without any.
fn policies(c: &mut Criterion) {
    let batch = 32;
    let (x, labels) = examples(batch);
    let matrix = MatRef::new(&x, batch, DIMS[0]).unwrap();
    let policies = [
        ("none", update()),
        ("decay", Update { decay: PerRole::all(1e-6), ..update() }),
        ("momentum", Update { momentum: PerRole::all(0.9), ..update() }),
        ("adamw", Update::adamw(1e-6)),
        ("exponentiated", Update::eg(1e-6)),
        ("clip", Update { clip: Some(1e6), ..update() }),
        ("angle", Update { angle: Some(Angle { lr_min: 1e-9, rates: 10, cosine_epsilon: 0.01 }), ..update() }),
        ("natural", Update::natural(1e-6, Natural::default())),
    ];
    let net: Network<f32> = Architecture::dann(&DIMS, &NIS).unwrap().build(&Context::new().unwrap()).unwrap();
    let mut group = c.benchmark_group(format!("policy/{NAME}/b{batch}"));
    group.throughput(flops(&net, batch));
    for (name, update) in policies {
        let mut net = net.clone();
        group.bench_function(format!("{name}/1"), |b| {
            timed(b, &Threads::Serial, || {
                net.train_step(matrix, &labels, &update).unwrap();
            });
        });
    }
    group.finish();
}

fn batches(c: &mut Criterion) {
    let (x, labels) = examples(130);
    let isa = Isa::best();
    let mut net: Network<f32> = Architecture::dann(&DIMS, &NIS).unwrap().build(&isa.into()).unwrap();
    for batch in [1, 2, 3, 4, 6, 8, 12, 15, 16, 17, 24, 31, 32, 33, 48, 49, 64, 65, 80, 96, 97, 112, 128, 129, 130] {
        let mut group = c.benchmark_group(format!("batch/{NAME}/b{batch}"));
        group.throughput(flops(&net, batch));
        let matrix = MatRef::new(&x[..batch * DIMS[0]], batch, DIMS[0]).unwrap();
        for threads in THREADS {
            let pool = pool(threads);
            net.set_threads(pool.clone());
            group.bench_function(format!("{isa}/{threads}"), |b| {
                timed(b, &pool, || {
                    net.train_step(matrix, &labels[..batch], &update()).unwrap();
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, step, policies, batches);
criterion_main!(benches);
