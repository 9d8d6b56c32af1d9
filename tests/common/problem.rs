//! A layer, its parameters and a batch: made, solved by the reference, and run on the kernels.

use super::{Tolerance, assert_within, bits, cast, largest};
use interneuron::*;
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};

/// Units and inputs around multiples of tile heights (2 to 12) and of vector groups (up to 3 · 16).
pub const UNITS: [usize; 26] =
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15, 16, 17, 24, 25, 31, 32, 33, 48, 49, 64, 65, 97, 130];
/// Interneurons: fewer than a tile, around one, and more than the units of many shapes.
pub const INTERNEURONS: [usize; 12] = [1, 2, 3, 4, 5, 8, 12, 13, 16, 17, 33, 50];
/// Batches around multiples of vectors (4 to 16) and of groups of them.
pub const BATCHES: [usize; 18] = [1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 31, 32, 33, 48, 49, 64, 65, 130];

/// Which kind of layer a problem has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Divisive,
    Subtractive,
    Dense,
    /// Sign-constrained columns, with inhibitory units among inputs and outputs.
    Columns,
    LayerNorm,
    BatchNorm,
    /// Divisive, with a floor that some divisors are below, of inputs of both signs.
    Floor,
    /// Divisive, by a root, of inputs of both signs.
    Root,
}

impl Kind {
    /// What inhibition divides by, if it divides.
    fn divisor(self) -> Option<Divisor> {
        match self {
            Self::Divisive => Some(Divisor::Plain),
            Self::Floor => Some(Divisor::floor(0.25).unwrap()),
            Self::Root => Some(Divisor::Root),
            _ => None,
        }
    }
}

pub const KINDS: [Kind; 9] = [
    Kind::Divisive,
    Kind::Divisive,
    Kind::Subtractive,
    Kind::Dense,
    Kind::Columns,
    Kind::LayerNorm,
    Kind::BatchNorm,
    Kind::Floor,
    Kind::Root,
];

/// Layers that are large enough for sums in parts and for weights in panels: long sums with many examples, rows that
/// are a power of two apart, and the same just missed. Inputs, units, interneurons, batch.
pub const LARGE: [((usize, usize, usize, usize), Kind); 23] = [
    ((1300, 70, 13, 200), Kind::Divisive),
    ((256, 150, 17, 64), Kind::Divisive),
    ((512, 290, 50, 33), Kind::Subtractive),
    ((510, 290, 50, 33), Kind::Divisive),
    ((256, 530, 1, 40), Kind::Dense),
    // Panels that end where their memory does.
    ((256, 256, 1, 40), Kind::Dense),
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
    ((793, 700, 9, 40), Kind::Floor),
    ((64, 130, 256, 40), Kind::Floor),
    ((793, 700, 9, 40), Kind::Root),
    ((64, 130, 256, 40), Kind::Root),
];

/// The shape of a layer of this kind: inputs, units, interneurons (or inhibitory columns), batch.
pub fn shape((d, ne, ni, _): (usize, usize, usize, usize), kind: Kind, relu: bool) -> LayerShape {
    let nonlinearity = if relu { Nonlinearity::Relu } else { Nonlinearity::Identity };
    match kind {
        Kind::Dense => DenseShape { d, ne, nonlinearity, columns: None }.into(),
        Kind::Columns => DenseShape { d, ne, nonlinearity, columns: None }.columns(ni.min(d) / 2, ni.min(ne)).into(),
        Kind::LayerNorm => NormShape { d, ne, nonlinearity, over: Normalisation::Layer }.into(),
        Kind::BatchNorm => NormShape { d, ne, nonlinearity, over: Normalisation::Batch }.into(),
        _ => {
            let divisor = kind.divisor();
            let (divisive, divisor) = (divisor.is_some(), divisor.unwrap_or_default());
            DannShape { nonlinearity, divisive, divisor, ..DannShape::new(d, ne, ni) }.into()
        }
    }
}

/// A layer, its parameters and a batch, in f64 but exact in f32.
#[derive(Clone, Debug)]
pub struct Problem {
    pub shape: LayerShape,
    pub batch: usize,
    pub params: Params<f64>,
    pub x: Vec<f64>,
    pub dh: Vec<f64>,
}

impl Problem {
    pub fn new((d, ne, ni, batch): (usize, usize, usize, usize), kind: Kind, relu: bool, seed: u64) -> Self {
        let mut rng = generator(seed);
        let shape = shape((d, ne, ni, batch), kind, relu);
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
        let signed = matches!(kind, Kind::Floor | Kind::Root);
        let mut x: Vec<f64> = (0..batch * d).map(|_| if signed { normal() } else { normal().max(0.0) }).collect();
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

    pub fn params<T: Element>(&self) -> Params<T> {
        let mut params = Params::zeros(&self.shape).unwrap();
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
    /// pass multiplies with, apart from the forward pass: its products are rounded on their own. A layer that divides
    /// is invariant to the scale of its input, so that changes which both passes share would cancel.
    pub fn solve(&self, update: &Update, mut change: Option<(f64, &mut Generator)>) -> Solution {
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
        let floored = match forward {
            reference::Forward::Dann(forward) => forward.floored,
            _ => vec![],
        };
        Solution { z, floored, outcome: Outcome { h, dx, gradients, updated } }
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
pub struct Outcome<T> {
    pub h: Vec<T>,
    pub dx: Vec<T>,
    pub gradients: Params<T>,
    pub updated: Params<T>,
}

impl<T: Element> Outcome<T> {
    pub fn arrays(&self) -> Vec<(String, &[T])> {
        let named = |prefix: &'static str, params: &'_ Params<T>| -> Vec<String> {
            params.view().arrays().iter().map(|(name, _)| format!("{prefix}{name}")).collect()
        };
        let names = [vec!["h".into(), "dx".into()], named("d", &self.gradients), named("updated ", &self.updated)];
        let params = [&self.gradients, &self.updated].into_iter().flat_map(|params| params.view().arrays());
        let arrays = [&self.h[..], &self.dx].into_iter().chain(params.map(|(_, array)| array));
        names.concat().into_iter().zip(arrays).collect()
    }
}

/// What the reference makes of a problem.
pub struct Solution {
    pub z: Vec<f64>,
    /// Where a divisor was below its floor.
    pub floored: Vec<bool>,
    pub outcome: Outcome<f64>,
}

/// The solution of a problem, and on which scale each of its arrays is to be compared.
pub struct Expected {
    pub outcome: Outcome<f64>,
    /// For each array, a scale for each of its rows: one for an example of h and dx, because an example without input
    /// has a γ of ε and a gradient 1e8 times that of others; one for a whole parameter.
    scales: Vec<Vec<f64>>,
    /// A unit is so close to the kink of its ReLU, or a divisor to its floor, that rounding could carry it across: there the gradient jumps, and
    /// two right answers differ.
    pub at_a_kink: bool,
}

impl Expected {
    pub fn new(problem: &Problem, update: &Update) -> Self {
        /// A hundred times the rounding of f32: what is to be compared must not change its course within that.
        const CHANGE: f64 = 1e-5;
        let Solution { z, floored, outcome } = problem.solve(update, None);
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
            at_a_kink |= floored != moved.floored;
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

    pub fn assert<T: Tolerance>(&self, what: &str, got: &Outcome<T>) {
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

/// Runs a problem on the kernels: forward, all gradients, and the fused update.
pub fn run<T: Element>(problem: &Problem, isa: Isa, threads: Threads, update: &Update) -> Outcome<T> {
    let Problem { shape, batch, .. } = *problem;
    let (d, ne) = (shape.inputs(), shape.outputs());
    let (x, dh) = (cast::<T>(&problem.x), cast::<T>(&problem.dh));
    let x = MatRef::new(&x, batch, d).unwrap();
    let dh = MatRef::new(&dh, batch, ne).unwrap();
    let params = problem.params::<T>();
    let layer = Layer::<T>::new(shape, &Context::from(isa).with_threads(threads)).unwrap();
    let mut tape = Tape::new();
    // Outputs begin as NaN, so that a stray read shows.
    let nan = |n: usize| vec![T::from_f64(f64::NAN); n];
    let (mut h, mut dx) = (nan(batch * ne), nan(batch * d));
    let (mut gradients, mut updated) = (params.clone(), params.clone());
    gradients.view_mut().arrays().into_iter().for_each(|(_, array)| array.fill(T::from_f64(f64::NAN)));
    let forward = |tape: &mut Tape<T>, h: &mut Vec<T>| {
        layer.forward(params.view(), tape, x, MatMut::new(h, batch, ne).unwrap()).unwrap();
    };
    forward(&mut tape, &mut h);
    let mut inferred = nan(batch * ne);
    let inferred_out = MatMut::new(&mut inferred, batch, ne).unwrap();
    layer.infer(params.view(), &mut tape, x, inferred_out).unwrap();
    // In batch normalisation, running statistics take the place of the batch's.
    if !matches!(shape, LayerShape::Norm(NormShape { over: Normalisation::Batch, .. })) {
        assert_eq!(bits(&inferred), bits(&h), "{isa}: h without a backward pass");
    }
    forward(&mut tape, &mut h);
    let dx_out = MatMut::new(&mut dx, batch, d).unwrap();
    layer.backward(params.view(), &mut tape, dh, gradients.view_mut(), Some(dx_out)).unwrap();
    forward(&mut tape, &mut h);
    let mut alone = nan(batch * d);
    let alone_out = MatMut::new(&mut alone, batch, d).unwrap();
    layer.input_gradient(params.view(), &mut tape, dh, alone_out).unwrap();
    assert_eq!(bits(&alone), bits(&dx), "{isa}: dx without the other gradients");
    forward(&mut tape, &mut h);
    layer.update(updated.view_mut(), &mut State::new(), &mut tape, dh, update, None).unwrap();
    Outcome { h, dx, gradients, updated }
}

/// Checks what batch normalisation does in evaluation, with running statistics in the place of the batch's.
pub fn check_evaluation<T: Element>(problem: &Problem, isa: Isa) {
    /// Roundings of one f32 that outputs may be off by: sums of up to 130 products, of which a running mean that is as
    /// large may be subtracted.
    const ROUNDINGS: f64 = 130.0;
    let LayerShape::Norm(shape @ NormShape { over: Normalisation::Batch, d, ne, .. }) = problem.shape else { return };
    let params = &NormParams::try_from(problem.params.clone()).unwrap();
    let (x, own) = (cast::<T>(&problem.x), problem.params::<T>());
    let x = MatRef::new(&x, problem.batch, d).unwrap();
    let mut h = vec![T::from_f64(f64::NAN); problem.batch * ne];
    let out = MatMut::new(&mut h, problem.batch, ne).unwrap();
    Layer::<T>::new(shape, &isa.into()).unwrap().infer(own.view(), &mut Tape::new(), x, out).unwrap();
    let want = reference::norm_forward(&shape, params, &problem.x, true).h;
    let scale = largest(&want).max(1.0) * ROUNDINGS;
    assert_within(&format!("{isa}: h in evaluation"), &h, &want, scale, f64::from(f32::EPSILON));
}
