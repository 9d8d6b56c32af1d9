//! How each case is measured.

use super::cases::{Case, Op, Sizes};
use super::machine::{Array, Kernels};
use super::measure::{Call, Item};
use interneuron::{
    Context, Error, Init, Isa, Layer, LayerShape, MatMut, MatRef, Network, Params, Sequences, State, Tape, Target,
    Threads, Update, generator,
};
use interneuron_baseline as composed;
use rand::RngExt;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// So small that the weights hardly move: a step takes the same time at any loss.
const LEARNING_RATE: f64 = 1e-6;
/// Elements of the largest matrix of inputs or outputs: 256 examples of 4096.
const MOST_ELEMENTS: usize = 256 * 4096;
/// Examples of the largest batch.
const MOST_EXAMPLES: usize = 1024;
/// Classes of the networks.
const CLASSES: u32 = 10;
/// Elements of the array that is read are those of the largest weights.
const READ: Sizes = Sizes::LARGE;

/// What the cases read: each takes as much from the beginning as it needs.
pub struct Inputs {
    /// Pixels.
    x: Vec<f32>,
    /// Gradients by outputs, small and of both signs, as those of a mean loss are.
    dh: Vec<f32>,
    labels: Vec<u32>,
    array: Array,
}

impl Inputs {
    pub fn new() -> Self {
        let mut rng = generator(1);
        let x: Vec<f32> = (0..MOST_ELEMENTS).map(|_| rng.random()).collect();
        let labels = (0..MOST_EXAMPLES).map(|_| rng.random_range(0..CLASSES)).collect();
        let dh = (0..MOST_ELEMENTS).map(|_| (rng.random::<f32>() - 0.5) / 1024.0).collect();
        Self { x, dh, labels, array: Array::new(READ.weights()) }
    }

    fn x(&self, batch: usize, d: usize) -> Result<MatRef<'_, f32>, Error> {
        MatRef::new(&self.x[..batch * d], batch, d)
    }

    fn dh(&self, batch: usize, ne: usize) -> Result<MatRef<'_, f32>, Error> {
        MatRef::new(&self.dh[..batch * ne], batch, ne)
    }
}

/// What several items use in turn.
type Shared<T> = Arc<Mutex<T>>;

/// Makes items of cases. Networks and parameters are shared where they can be, to save memory.
pub struct Builder<'a> {
    inputs: &'a Inputs,
    /// Those of cases with more than one thread.
    pool: &'a Threads,
    networks: HashMap<(Op, Sizes, Isa), Shared<Network<f32>>>,
    params: HashMap<LayerShape, Shared<Params<f32>>>,
}

impl<'a> Builder<'a> {
    pub fn new(inputs: &'a Inputs, pool: &'a Threads) -> Self {
        Self { inputs, pool, networks: HashMap::new(), params: HashMap::new() }
    }

    /// The item of a case.
    pub fn item(&mut self, case: Case) -> Result<Item<'a>, Error> {
        let threads = if case.threads > 1 { self.pool } else { &Threads::Serial };
        let network = case.op.is_step();
        let (work, call) = match case.isa {
            Some(isa) if case.op.is_limit() => self.limit(&case, isa, threads),
            Some(isa) => {
                let call = if network { self.network(&case, isa, threads) } else { self.layer(&case, isa, threads) };
                (case.flops(), call?)
            }
            None if network => (case.flops(), self.composed_network(&case)?),
            None => (case.flops(), self.composed_layer(&case)?),
        };
        Ok(Item::new(case, work, threads, call))
    }

    fn limit(&self, case: &Case, isa: Isa, threads: &'a Threads) -> (f64, Call<'a>) {
        let (kernels, array) = (Kernels::of(isa), &self.inputs.array);
        if case.op == Op::Read {
            return (array.bytes() as f64, Box::new(move || Ok(kernels.read(array, threads))));
        }
        (kernels.flops() * case.threads as f64, Box::new(move || Ok(kernels.multiply_add(threads))))
    }

    fn network(&mut self, case: &Case, isa: Isa, threads: &'a Threads) -> Result<Call<'a>, Error> {
        let sizes = case.sizes;
        let net = shared(&mut self.networks, (case.op, sizes, isa), || case.architecture()?.build(&isa.into()))?;
        let rows = sizes.steps * case.batch;
        let x = Sequences::new(self.inputs.x(rows, sizes.dims[0])?, sizes.steps)?;
        let classes = sizes.dims[sizes.dims.len() - 1] as u32;
        let labels: Vec<u32> = self.inputs.labels.iter().cycle().take(rows).map(|label| label % classes).collect();
        // That of the last step counts.
        let weights: Vec<f32> = (0..rows).map(|row| f32::from(u8::from(row >= rows - case.batch))).collect();
        let update = case.op.update(LEARNING_RATE);
        Ok(Box::new(move || {
            let mut net = held(&net);
            net.set_threads(threads.clone());
            let target = Target::labels(&labels);
            let target = if sizes.steps > 1 { target.weighted(&weights) } else { target };
            timed(|| net.train_step(x, target, &update))
        }))
    }

    fn composed_network(&self, case: &Case) -> Result<Call<'a>, Error> {
        let net: Network<f32> = case.architecture()?.build(&Context::new()?)?;
        let mut net = composed::Network::new(net.shapes().zip(net.params().map(|params| params.to_owned())))?;
        let x = &self.inputs.x[..case.batch * case.sizes.dims[0]];
        let labels = &self.inputs.labels[..case.batch];
        let update = Update::csgd(LEARNING_RATE);
        Ok(Box::new(move || timed(|| Ok(net.train_step(x, labels, &update)))))
    }

    fn layer(&mut self, case: &Case, isa: Isa, threads: &Threads) -> Result<Call<'a>, Error> {
        let Case { op, batch, .. } = *case;
        let (shape, params) = self.params(case)?;
        let layer = Layer::new(shape, &Context::from(isa).with_threads(threads.clone()))?;
        let (mut tape, mut state) = (Tape::new(), State::new());
        let (d, ne) = (shape.inputs(), shape.outputs());
        let (x, dh) = (self.inputs.x(batch, d)?, self.inputs.dh(batch, ne)?);
        let (mut h, mut dx) = (vec![0.0; batch * ne], vec![0.0; batch * d]);
        let update = Update::csgd(LEARNING_RATE);
        Ok(Box::new(move || {
            let mut params = held(&params);
            let h = MatMut::new(&mut h, batch, ne)?;
            let dx = MatMut::new(&mut dx, batch, d)?;
            if !matches!(op, Op::Backward | Op::Update) {
                return timed(|| layer.infer(params.view(), &mut tape, x, h));
            }
            // Each backward pass needs a forward pass of its own, which is not what is measured here.
            layer.forward(params.view(), &mut tape, x, h)?;
            if op == Op::Backward {
                return timed(|| layer.input_gradient(params.view(), &mut tape, dh, dx));
            }
            timed(|| layer.update(params.view_mut(), &mut state, &mut tape, dh, &update, None))
        }))
    }

    fn composed_layer(&mut self, case: &Case) -> Result<Call<'a>, Error> {
        let (shape, params) = self.params(case)?;
        let mut layer = composed::Layer::new(shape)?;
        let x = &self.inputs.x[..case.batch * shape.inputs()];
        Ok(Box::new(move || {
            let params = held(&params);
            timed(|| {
                layer.forward(params.view(), x);
                Ok(())
            })
        }))
    }

    /// The shape and the parameters of a case that is one layer.
    fn params(&mut self, case: &Case) -> Result<(LayerShape, Shared<Params<f32>>), Error> {
        let shape = case.sizes.shapes(case.op).next().expect("a layer");
        let params = shared(&mut self.params, shape, || Init::first().draw(&shape, &mut generator(1)))?;
        Ok((shape, params))
    }
}

/// What is shared under `key`; made if it is the first time.
fn shared<K: Eq + Hash, T>(
    map: &mut HashMap<K, Shared<T>>,
    key: K,
    make: impl FnOnce() -> Result<T, Error>,
) -> Result<Shared<T>, Error> {
    use std::collections::hash_map::Entry;
    Ok(match map.entry(key) {
        Entry::Occupied(entry) => entry.get().clone(),
        Entry::Vacant(entry) => entry.insert(Arc::new(Mutex::new(make()?))).clone(),
    })
}

fn held<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("no call panicked")
}

fn timed<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<Duration, Error> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}
