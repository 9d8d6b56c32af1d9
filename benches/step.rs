//! The paper's network, one train step at batch 32: every instruction set beside the composed baseline.
//!
//! `cargo bench --bench step`. Throughput is useful floating-point work a second, by the formula of
//! [`LayerShape::train_flops`].

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use interneuron::*;
use std::time::Instant;

const DIMS: [usize; 5] = [784, 500, 500, 500, 10];
const NIS: [usize; 4] = [50, 50, 50, 1];
const BATCH: usize = 32;

/// Pixels and labels of a batch, from a seed.
fn batch() -> (Vec<f32>, Vec<u32>) {
    use rand::RngExt;
    let mut rng = generator(1);
    let x = (0..BATCH * DIMS[0]).map(|_| rng.random::<f32>()).collect();
    let labels = (0..BATCH).map(|_| rng.random_range(0..10)).collect();
    (x, labels)
}

fn step(c: &mut Criterion) {
    let (x, labels) = batch();
    let matrix = MatRef::new("x", &x, BATCH, DIMS[0]).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    // A rate so small that the weights hardly move: a step takes the same time at any loss.
    let update = Update::csgd(1e-6);
    let networks = [("dann", Architecture::dann(&DIMS, &NIS).unwrap()), ("mlp", Architecture::mlp(&DIMS).unwrap())];
    for (name, architecture) in networks {
        let net: Network<f32> = architecture.clone().build().unwrap();
        let flops: f64 = net.shapes().enumerate().map(|(k, shape)| shape.train_flops(BATCH, k > 0)).sum();
        let mut group = c.benchmark_group(format!("step_f32/{name}/784-500-500-500-10/b{BATCH}"));
        group.throughput(Throughput::Elements(flops as u64));
        let layers = net.shapes().zip(net.params()).map(|(shape, params)| (shape, params.to_owned()));
        let mut composed = composed::Network::new(layers).unwrap();
        group.bench_function("composed", |b| b.iter(|| composed.train_step(&x, &labels, &update)));
        for isa in Isa::available() {
            let mut net: Network<f32> = architecture.clone().isa(isa).build().unwrap();
            group.bench_function(format!("{isa}/1"), |b| {
                b.iter(|| net.train_step(Threads::Serial, matrix, &labels, &update).unwrap())
            });
            // The loop runs inside the pool, as a training loop should: entering a pool wakes its threads up.
            group.bench_function(format!("{isa}/2"), |b| {
                b.iter_custom(|steps| {
                    pool.install(|| {
                        let start = Instant::now();
                        for _ in 0..steps {
                            net.train_step(Threads::Pool(&pool), matrix, &labels, &update).unwrap();
                        }
                        start.elapsed()
                    })
                })
            });
        }
        group.finish();
    }
}

criterion_group!(benches, step);
criterion_main!(benches);
