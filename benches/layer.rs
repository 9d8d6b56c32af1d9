//! One layer: forward, all gradients, and the fused update at the paper's shapes, square layers from 64 to 4096 units,
//! and the initialisation; and what subnormal numbers cost.
//!
//! `cargo bench --bench layer`. Groups are `<operation>/<d>-<ne>-<ni>/b<batch>`, lines the implementation and its
//! threads. Throughput is useful floating-point operations a second (criterion calls them elements), or bytes of
//! parameters a second for `init`.

mod common;

use common::{THREADS, pool, timed, timed_after};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use interneuron::*;
use interneuron_baseline as composed;
use std::time::Instant;

/// A layer, a batch, and somewhere to put the results.
struct Problem {
    shape: DannShape,
    batch: usize,
    params: DannParams<f32>,
    gradients: DannParams<f32>,
    x: Vec<f32>,
    dh: Vec<f32>,
    h: Vec<f32>,
    dx: Vec<f32>,
}

#[derive(Clone, Copy)]
enum Operation {
    Forward,
    /// All gradients, that of the input too, handed out.
    Backward,
    /// Backward without the input's gradient, and the update.
    Update,
}

impl Operation {
    const ALL: [(Self, &str); 3] = [(Self::Forward, "forward"), (Self::Backward, "backward"), (Self::Update, "update")];

    fn flops(self, shape: DannShape, batch: usize) -> f64 {
        let layer = LayerShape::from(shape);
        let forward = layer.forward_flops(batch);
        match self {
            Self::Forward => forward,
            Self::Backward => layer.train_flops(batch, true) - forward,
            Self::Update => layer.train_flops(batch, false) - forward,
        }
    }
}

impl Problem {
    fn new((d, ne, ni): (usize, usize, usize), batch: usize) -> Self {
        use rand::RngExt;
        let shape = DannShape::new(d, ne, ni);
        let mut rng = generator(1);
        let params = Init::deeper().draw_dann(&shape, &mut rng).unwrap();
        let mut draw = |n: usize| (0..n).map(|_| rng.random::<f32>()).collect::<Vec<_>>();
        let (x, dh) = (draw(batch * d), draw(batch * ne));
        let gradients = params.clone();
        Self { shape, batch, params, gradients, x, dh, h: vec![0.0; batch * ne], dx: vec![0.0; batch * d] }
    }

    fn name(&self) -> String {
        let DannShape { d, ne, ni, .. } = self.shape;
        format!("{d}-{ne}-{ni}/b{}", self.batch)
    }

    fn bench(&mut self, group: &mut BenchmarkGroup<'_, WallTime>, operation: Operation, isa: Isa) {
        let Self { shape: DannShape { d, ne, .. }, batch, .. } = *self;
        let (mut tape, mut state) = (Tape::new(), State::new());
        let x = MatRef::new(&self.x, batch, d).unwrap();
        let dh = MatRef::new(&self.dh, batch, ne).unwrap();
        let update = Update::csgd(1e-6);
        for threads in THREADS {
            let pool = pool(threads);
            let layer = Layer::<f32>::new(self.shape, &Context::from(isa).with_threads(pool.clone())).unwrap();
            group.bench_function(format!("{isa}/{threads}"), |b| match operation {
                Operation::Forward => timed(b, &pool, || {
                    let h = MatMut::new(&mut self.h, batch, ne).unwrap();
                    layer.infer(self.params.view(), &mut tape, x, h).unwrap();
                }),
                _ => timed_after(b, &pool, || {
                    let h = MatMut::new(&mut self.h, batch, ne).unwrap();
                    layer.forward(self.params.view(), &mut tape, x, h).unwrap();
                    let start = Instant::now();
                    if let Operation::Backward = operation {
                        let dx = MatMut::new(&mut self.dx, batch, d).unwrap();
                        let gradients = self.gradients.view_mut();
                        layer.backward(self.params.view(), &mut tape, dh, gradients, Some(dx)).unwrap();
                    } else {
                        layer.update(self.params.view_mut(), &mut state, &mut tape, dh, &update, None).unwrap();
                    }
                    start.elapsed()
                }),
            });
        }
    }

    fn bench_composed(&mut self, group: &mut BenchmarkGroup<'_, WallTime>, operation: Operation) {
        let mut layer = composed::Layer::<f32>::new(self.shape).unwrap();
        let mut params = Params::from(self.params.clone());
        let update = Update::csgd(1e-6);
        group.bench_function("composed/1", |b| {
            timed_after(b, &Threads::Serial, || {
                let start = Instant::now();
                layer.forward(params.view(), &self.x);
                if let Operation::Forward = operation {
                    return start.elapsed();
                }
                let start = Instant::now();
                layer.backward(params.view(), &self.x, &self.dh, matches!(operation, Operation::Backward));
                if let Operation::Update = operation {
                    layer.update(&mut params, &update);
                }
                start.elapsed()
            });
        });
    }
}

fn operations(c: &mut Criterion) {
    for dims in [(784, 500, 50), (500, 500, 50), (500, 10, 1)] {
        let mut problem = Problem::new(dims, 32);
        for (operation, name) in Operation::ALL {
            let mut group = c.benchmark_group(format!("{name}/{}", problem.name()));
            group.throughput(Throughput::Elements(operation.flops(problem.shape, problem.batch) as u64));
            problem.bench_composed(&mut group, operation);
            Isa::available().for_each(|isa| problem.bench(&mut group, operation, isa));
            group.finish();
        }
    }
}

fn sizes(c: &mut Criterion) {
    for n in [64, 128, 256, 512, 1024, 2048, 4096] {
        let mut problem = Problem::new((n, n, n / 10), 64);
        for (operation, name) in Operation::ALL {
            let mut group = c.benchmark_group(format!("{name}/{}", problem.name()));
            group.sample_size(10);
            group.throughput(Throughput::Elements(operation.flops(problem.shape, problem.batch) as u64));
            problem.bench_composed(&mut group, operation);
            problem.bench(&mut group, operation, Isa::best());
            group.finish();
        }
    }
}

/// Numbers below the smallest normal one, which some processors are slow with: to be compared with the same operations
/// on ordinary numbers.
fn subnormals(c: &mut Criterion) {
    let scale = |array: &mut Vec<f32>| array.iter_mut().for_each(|value| *value *= f32::MIN_POSITIVE / 1024.0);
    for subnormal in ["x", "dh", "weights"] {
        for (operation, name) in Operation::ALL {
            let mut problem = Problem::new((500, 500, 50), 32);
            match subnormal {
                "x" => scale(&mut problem.x),
                "dh" => scale(&mut problem.dh),
                _ => [&mut problem.params.wex, &mut problem.params.wix].into_iter().for_each(scale),
            }
            let mut group = c.benchmark_group(format!("{name}-subnormal-{subnormal}/{}", problem.name()));
            Isa::available().for_each(|isa| problem.bench(&mut group, operation, isa));
            group.finish();
        }
    }
}

fn init(c: &mut Criterion) {
    for (d, ne, ni) in [(784, 500, 50), (4096, 4096, 409)] {
        let shape = DannShape::new(d, ne, ni);
        let bytes = 4 * (d * ne + d * ni + ne * ni);
        let mut group = c.benchmark_group(format!("init/{d}-{ne}-{ni}"));
        group.sample_size(10);
        group.throughput(Throughput::Bytes(bytes as u64));
        let mut rng = generator(1);
        group.bench_function("f32", |b| b.iter(|| Init::deeper().draw_dann::<f32>(&shape, &mut rng).unwrap()));
        group.finish();
    }
}

criterion_group!(benches, operations, sizes, subnormals, init);
criterion_main!(benches);
