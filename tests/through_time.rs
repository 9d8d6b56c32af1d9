//! Recurrent layers: gradients through time against differences of the loss, and what must not change a bit.

mod common;

use common::{Tolerance, assert_within, cast, isas, largest};
use interneuron::*;

/// A recurrent layer of each kind and form, with 5 inputs.
fn zoo() -> Vec<RecurrentShape> {
    let dann = RecurrentShape::dann(5, 13, 2, 3);
    let cells = [
        dann,
        dann.divisive(Divisor::Plain),
        dann.divisive(Divisor::floor(0.01).unwrap()),
        dann.divisive(Divisor::Root),
        RecurrentShape::columns(5, 13, 0, 3),
        RecurrentShape::plain(5, 13),
    ];
    let forms = [
        Dynamics::Plain,
        Dynamics::Rate(Leak::new(0.3).unwrap()),
        Dynamics::State(Leak::new(0.2).unwrap()),
        Dynamics::Rate(Leak::per_unit()),
        Dynamics::State(Leak::per_unit()),
    ];
    let mut all = vec![];
    for cell in cells {
        for form in forms {
            let shape = cell.dynamics(form);
            all.extend([shape, shape.learned_state()]);
            if !matches!(cell.cell, Cell::Dann { .. }) {
                all.push(shape.no_self());
                all.extend([shape.visible(12).learned_state(), shape.visible(11).unsigned()]);
                all.push(shape.unsigned());
            }
        }
    }
    all
}

/// A layer, and a readout that goes with it.
fn layers(shape: RecurrentShape) -> Vec<LayerShape> {
    let readout = DenseShape::new(shape.visible, 3).linear();
    let readout = match shape.cell {
        Cell::Columns { inhibitory_units, .. } if shape.signed => {
            readout.columns(inhibitory_units.saturating_sub(shape.ne - shape.visible), 0)
        }
        _ => readout,
    };
    vec![shape.into(), readout.into()]
}

/// Numbers from 0 to 1.
fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..count).map(|_| next()).collect()
}

/// Fresh parameters, with leaks and first states that are not what they begin with.
fn params(architecture: &Architecture) -> Vec<Params<f64>> {
    let mut params = architecture.draw::<f64>().unwrap();
    for (i, layer) in params.iter_mut().enumerate() {
        for (name, scale) in [("kappa", 0.8), ("h0", 0.5), ("b", 0.2)] {
            if let Some(array) = layer.get_mut(name) {
                let drawn = numbers(array.len(), 100 + i as u64);
                array.iter_mut().zip(drawn).for_each(|(to, x)| *to = scale * x + 0.1);
            }
        }
    }
    params
}

/// The first `few` without optimisation, which takes thirty times as long.
fn thorough<T>(all: &[T], few: usize) -> &[T] {
    if cfg!(debug_assertions) { &all[..few] } else { all }
}

/// Steps and examples: in one window and in three; folded where that can be, and where it is not worth it; a single step.
const SIZES: [(usize, usize); 4] = [(6, 3), (6, 70), (3, 1), (1, 4)];

#[test]
fn gradients_are_differences_of_the_loss() {
    for isa in isas() {
        let context = Context::new().unwrap().with_isa(isa);
        for (number, (shape, (steps, examples))) in
            zoo().into_iter().flat_map(|shape| thorough(&SIZES, 1).iter().map(move |&size| (shape, size))).enumerate()
        {
            let architecture = Architecture::of(layers(shape)).unwrap().seed(number as u64);
            let mut plan = architecture.plan::<f64>(&context).unwrap();
            let mut params = params(&architecture);
            if shape.no_self {
                let array = params[0].get_mut(if shape.cell == Cell::Plain { "W" } else { "Wpos" }).unwrap();
                (0..13).for_each(|i| array[i * 13 + i] = 0.0);
            }
            let x = numbers(steps * examples * 5, 1000 + number as u64);
            let noise: Vec<f64> = numbers(steps * examples * 13, 7).into_iter().map(|x| x - 0.5).collect();
            let noise = [Some(MatRef::new(&noise, steps * examples, 13).unwrap()), None];
            let weights =
                numbers(steps * examples, 3).into_iter().map(|x| if x < 0.3 { 0.0 } else { x }).collect::<Vec<_>>();
            let labels: Vec<u32> = (0..steps * examples).map(|i| (i % 3) as u32).collect();
            let x = Sequences::new(MatRef::new(&x, steps * examples, 5).unwrap(), steps).unwrap();
            let x = if number % 2 == 0 { x.noise(&noise) } else { x };
            let target = Target::labels(&labels).weighted(&weights);
            let mut gradients = plan.zero_gradients().unwrap();
            plan.gradients(&params, x, target, &mut gradients).unwrap();
            for layer in 0..2 {
                let names: Vec<_> =
                    gradients[layer].arrays().iter().map(|(name, array)| (*name, array.to_vec())).collect();
                for (name, gradient) in names {
                    let largest = gradient.iter().fold(1e-3, |most: f64, g| most.max(g.abs()));
                    for i in (0..gradient.len()).step_by(gradient.len() / (if examples > 3 { 2 } else { 5 }) + 1) {
                        let diagonal = shape.no_self && ["W", "Wpos"].contains(&name) && layer == 0 && i % 14 == 0;
                        let fixed = name == "kappa" || name == "h0" && !shape.learned_state;
                        let eps = 1e-6;
                        let mut loss = |change: f64| {
                            params[layer].get_mut(name).unwrap()[i] += change;
                            let loss = plan.evaluate(&params, x, target).unwrap().loss;
                            params[layer].get_mut(name).unwrap()[i] -= change;
                            loss
                        };
                        let expected = if fixed || diagonal { 0.0 } else { (loss(eps) - loss(-eps)) / (2.0 * eps) };
                        let is = gradient[i];
                        assert!(
                            (is - expected).abs() <= 1e-6 * largest,
                            "{isa} {number} {shape:?}, {steps} by {examples}: d{name}[{i}] of layer {layer} is {is}, not {expected}"
                        );
                    }
                }
            }
        }
    }
}

/// A network of two recurrent layers and a readout, for `steps` by `examples`.
fn stack(divisor: Option<Divisor>) -> Architecture {
    let below = RecurrentShape::dann(5, 70, 7, 7).learned_state();
    let above = RecurrentShape::dann(70, 37, 4, 3).state(0.4).unwrap();
    let [below, above] = [below, above].map(|shape| divisor.map_or(shape, |divisor| shape.divisive(divisor)));
    let readout = DannShape::new(37, 3, 1).subtractive().linear();
    Architecture::of(vec![below.into(), above.into(), readout.into()]).unwrap().seed(3)
}

/// The parameters after some steps of training, and the losses.
fn trained(
    architecture: &Architecture,
    context: &Context,
    examples: usize,
    keep: Option<usize>,
) -> (Vec<Vec<f32>>, Vec<f64>) {
    let steps = 9;
    let x: Vec<f32> = numbers(steps * examples * 5, 2).into_iter().map(|x| x as f32).collect();
    let labels: Vec<u32> = (0..steps * examples).map(|i| (i % 3) as u32).collect();
    let weights: Vec<f32> = (0..steps * examples).map(|i| if i / examples % 3 == 2 { 1.0 } else { 0.0 }).collect();
    let x = Sequences::new(MatRef::new(&x, steps * examples, 5).unwrap(), steps).unwrap();
    let mut plan = architecture.plan::<f32>(context).unwrap();
    plan.keep_at_most(keep);
    let mut net = Network::new(plan, architecture.draw().unwrap(), TrainState::new(1)).unwrap();
    let update = Update { momentum: PerRole::all(0.5), ..Update::csgd(0.01) };
    let step = |_| net.train_step(x, Target::labels(&labels).weighted(&weights), &update).unwrap();
    let losses = (0..4).map(step).collect();
    (
        net.params()
            .flat_map(|params| params.arrays().into_iter().map(|(_, array)| array.to_vec()).collect::<Vec<_>>())
            .collect(),
        losses,
    )
}

#[test]
fn threads_and_what_is_kept_change_no_bit() {
    for isa in isas() {
        for divisor in [None, Some(Divisor::Plain)] {
            for &examples in thorough(&[21, 2, 150], 1) {
                let context = Context::new().unwrap().with_isa(isa);
                let expected = trained(&stack(divisor), &context, examples, None);
                assert!(expected.1[3] < expected.1[0], "it learns: {:?}", expected.1);
                for keep in [1, 2, 4] {
                    let is = trained(&stack(divisor), &context, examples, Some(keep));
                    assert_eq!(is, expected, "{isa} {divisor:?}, {examples} examples, {keep} steps kept");
                }
                for threads in 2..=4 {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let context = context.clone().with_threads(std::sync::Arc::new(pool));
                    let is = trained(&stack(divisor), &context, examples, None);
                    assert_eq!(is, expected, "{isa} {divisor:?}, {examples} examples, {threads} threads");
                }
            }
        }
    }
}

/// `h`, `dx`, and the gradients of all parameters.
type Passed = (Vec<f64>, Vec<f64>, Vec<Vec<f64>>);

/// Forward and backward through a layer by itself.
fn passed(layer: &Layer<f64>, tape: &mut Tape<f64>, params: &Params<f64>, x: Sequences<'_, f64>, dh: &[f64]) -> Passed {
    let (rows, shape) = (x.rows(), layer.shape());
    let (mut h, mut dx) = (vec![0.0; rows * shape.outputs()], vec![0.0; rows * shape.inputs()]);
    let mut gradients = Params::zeros(&shape).unwrap();
    layer.forward(params, tape, x, MatMut::new(&mut h, rows, shape.outputs()).unwrap()).unwrap();
    let dh = MatRef::new(dh, rows, shape.outputs()).unwrap();
    let into_dx = MatMut::new(&mut dx, rows, shape.inputs()).unwrap();
    layer.backward(params, tape, dh, &mut gradients, Some(into_dx)).unwrap();
    (h, dx, gradients.arrays().into_iter().map(|(_, array)| array.to_vec()).collect())
}

#[test]
fn one_step_is_the_dense_layer() {
    for isa in isas() {
        let context = Context::new().unwrap().with_isa(isa);
        for divisor in [None, Some(Divisor::Plain), Some(Divisor::Root)] {
            let shape = RecurrentShape::dann(5, 13, 2, 3);
            let dense = DannShape::new(5, 13, 2);
            let (shape, dense) = match divisor {
                Some(divisor) => (shape.divisive(divisor), dense.divisor(divisor)),
                None => (shape, dense.subtractive()),
            };
            let params: Params<f64> = Init::first().draw(&shape.into(), &mut generator(5)).unwrap();
            let of_dense = DannParams {
                wex: params["Uex"].to_vec(),
                wix: params["Uix"].to_vec(),
                wei: params["Uei"].to_vec(),
                alpha: params["Ualpha"].to_vec(),
                g: params["Ug"].to_vec(),
                b: params["b"].to_vec(),
            };
            for examples in [1, 2, 7, 33, 200] {
                let (x, dh) = (numbers(examples * 5, 1), numbers(examples * 13, 2));
                let x = Sequences::new(MatRef::new(&x, examples, 5).unwrap(), 1).unwrap();
                let one = passed(&Layer::new(shape, &context).unwrap(), &mut Tape::new(), &params, x, &dh);
                let dense = Layer::new(dense, &context).unwrap();
                let other = passed(&dense, &mut Tape::new(), &of_dense.clone().into(), x, &dh);
                assert_eq!((&one.0, &one.1), (&other.0, &other.1), "{isa} {divisor:?}, {examples} examples");
                let [input @ .., b] = &other.2[..] else { unreachable!() };
                assert_eq!((&one.2[..5], &one.2[10]), (input, b), "{isa} {divisor:?}, {examples} examples");
                assert!(one.2[5..10].iter().flatten().all(|&d| d == 0.0), "no recurrence in one step");
            }
        }
    }
}

#[test]
fn a_sequence_cut_in_two_is_the_whole() {
    for isa in isas() {
        let context = Context::new().unwrap().with_isa(isa);
        for (number, shape) in zoo().into_iter().enumerate() {
            let architecture = Architecture::of(layers(shape)).unwrap().seed(number as u64);
            let params = params(&architecture).swap_remove(0);
            let layer = Layer::new(shape, &context).unwrap();
            let (steps, examples, visible) = (8, 6, shape.visible);
            let (x, mut dh) = (numbers(steps * examples * 5, 1), numbers(steps * examples * visible, 2));
            let all = |x, steps| Sequences::new(MatRef::new(x, steps * examples, 5).unwrap(), steps).unwrap();
            let whole = passed(&layer, &mut Tape::new(), &params, all(&x, steps), &dh);
            let (first, second) = x.split_at(x.len() / 2);
            let half = dh.len() / 2;
            // Carried over.
            let (mut tape, mut h) = (Tape::new(), vec![0.0; half]);
            let rows = steps / 2 * examples;
            layer
                .infer(&params, &mut tape, all(first, steps / 2), MatMut::new(&mut h, rows, visible).unwrap())
                .unwrap();
            assert_eq!(h, whole.0[..half], "{isa} {shape:?}");
            let states = tape.last_states().unwrap().as_slice().unwrap().to_vec();
            layer
                .infer(
                    &params,
                    &mut tape,
                    all(second, steps / 2).carried(),
                    MatMut::new(&mut h, rows, visible).unwrap(),
                )
                .unwrap();
            assert_eq!(h, whole.0[half..], "{isa} {shape:?}");
            // Handed over, and back.
            let states = [Some(MatRef::new(&states, examples, 13).unwrap())];
            let later = passed(&layer, &mut tape, &params, all(second, steps / 2).states(&states), &dh[half..]);
            assert_eq!(later.0, whole.0[half..], "{isa} {shape:?}");
            let mut back = vec![0.0; examples * 13];
            tape.state_gradient(MatMut::new(&mut back, examples, 13).unwrap()).unwrap();
            if !matches!(shape.dynamics, Dynamics::State(_)) && visible == 13 {
                // What comes back to the states is one more gradient of the last step of the first half.
                let signs = |unit: usize| match shape.cell {
                    Cell::Columns { inhibitory_units, .. } if shape.signed && unit >= 13 - inhibitory_units => -1.0,
                    _ => 1.0,
                };
                let last = &mut dh[half - examples * 13..half];
                last.iter_mut().zip(&back).enumerate().for_each(|(i, (dh, back))| *dh += signs(i % 13) * back);
                let earlier = passed(&layer, &mut tape, &params, all(first, steps / 2), &dh[..half]);
                let near = |is: f64, expected: f64, scale: f64| (is - expected).abs() <= 1e-12 * scale;
                for (i, &expected) in whole.1.iter().enumerate() {
                    let is = if i < whole.1.len() / 2 { earlier.1[i] } else { later.1[i - whole.1.len() / 2] };
                    assert!(near(is, expected, 1.0), "{isa} {shape:?}: dx[{i}] is {is}, not {expected}");
                }
                for (j, expected) in whole.2.iter().enumerate() {
                    let scale = expected.iter().fold(1.0, |most: f64, d| most.max(d.abs()));
                    for (i, &expected) in expected.iter().enumerate() {
                        let is = earlier.2[j][i] + later.2[j][i];
                        assert!(near(is, expected, scale), "{isa} {shape:?}: array {j}[{i}] is {is}, not {expected}");
                    }
                }
            }
        }
    }
}

/// Many sequences are folded, one alone is not.
#[test]
fn folded_legs_are_the_legs() {
    for isa in isas() {
        let context = Context::new().unwrap().with_isa(isa);
        let shape = RecurrentShape::dann(5, 40, 4, 4);
        let params: Params<f64> = Init::first().draw(&shape.into(), &mut generator(5)).unwrap();
        let layer = Layer::new(shape, &context).unwrap();
        let (steps, examples) = (2, 30);
        let (x, dh) = (numbers(steps * examples * 5, 1), numbers(steps * examples * 40, 2));
        let all = Sequences::new(MatRef::new(&x, steps * examples, 5).unwrap(), steps).unwrap();
        let folded = passed(&layer, &mut Tape::new(), &params, all, &dh);
        let mut sums: Vec<Vec<f64>> = folded.2.iter().map(|array| vec![0.0; array.len()]).collect();
        for i in 0..examples {
            let of = |all: &[f64], width: usize| -> Vec<f64> {
                (0..steps).flat_map(|t| all[(t * examples + i) * width..][..width].to_vec()).collect()
            };
            let (x, dh) = (of(&x, 5), of(&dh, 40));
            let x = Sequences::new(MatRef::new(&x, steps, 5).unwrap(), steps).unwrap();
            let alone = passed(&layer, &mut Tape::new(), &params, x, &dh);
            for (what, is, expected) in [("h", of(&folded.0, 40), alone.0), ("dx", of(&folded.1, 5), alone.1)] {
                for (is, expected) in is.into_iter().zip(expected) {
                    // Excitation is a sum of 40 terms, most of which inhibition removes.
                    assert!((is - expected).abs() <= 1e-13, "{isa}: {what} of example {i}: {is}, not {expected}");
                }
            }
            for (sum, array) in sums.iter_mut().flatten().zip(alone.2.iter().flatten()) {
                *sum += array;
            }
        }
        for (is, expected) in folded.2.iter().flatten().zip(sums.iter().flatten()) {
            assert!((is - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{isa}: {is}, not {expected}");
        }
    }
}

/// Sizes around the edges of tiles and vectors: inputs, units, interneurons of each leg, steps, examples.
const EDGES: [[usize; 6]; 9] = [
    [1, 1, 1, 1, 3, 1],
    [2, 3, 1, 2, 2, 5],
    [3, 7, 2, 1, 4, 8],
    [9, 16, 3, 3, 3, 17],
    [17, 15, 4, 5, 2, 33],
    [5, 33, 7, 9, 3, 31],
    [31, 48, 15, 1, 1, 16],
    [16, 65, 17, 16, 2, 50],
    [3, 100, 10, 25, 5, 40],
];

/// Arrays of a layer with their names: what goes out, the last states, `dx`, the gradient by the first states of each
/// example, and those of the parameters.
type Results<T> = Vec<(&'static str, Vec<T>)>;

/// Parameters and sequences, in f64 but exact in f32.
#[derive(Clone)]
struct Problem {
    shape: RecurrentShape,
    steps: usize,
    params: Params<f64>,
    /// Inputs, noise, first states, and the gradient by what goes out.
    arrays: [Vec<f64>; 4],
    with_noise: bool,
    with_states: bool,
}

impl Problem {
    fn new(shape: RecurrentShape, steps: usize, examples: usize, seed: u64) -> Self {
        let RecurrentShape { d, ne, visible, .. } = shape;
        let exact = |x: f64| f64::from(x as f32);
        let mut params: Params<f64> = Init::first().draw(&shape.into(), &mut generator(seed)).unwrap();
        for (name, scale) in [("kappa", 0.8), ("h0", 0.5), ("b", 0.2)] {
            let array = params.get_mut(name).unwrap();
            let drawn = numbers(array.len(), seed);
            array.iter_mut().zip(drawn).for_each(|(to, x)| *to = scale * x + 0.1);
        }
        for (_, array) in params.view_mut().arrays() {
            array.iter_mut().for_each(|x| *x = exact(*x));
        }
        let rows = steps * examples;
        let sizes = [(rows * d, 0.0), (rows * ne, -0.5), (examples * ne, 0.1), (rows * visible, -0.5)];
        let mut drawn = seed;
        let arrays = sizes.map(|(count, least)| {
            drawn += 1;
            numbers(count, drawn).into_iter().map(|x| exact(x + least)).collect()
        });
        let with = seed.is_multiple_of(2);
        let problem = Self { shape, steps, params, arrays, with_noise: with, with_states: seed.is_multiple_of(3) };
        problem.away_from_kinks()
    }

    fn sequences(&self) -> reference::SequencesOf<'_> {
        let [x, noise, states, _] = &self.arrays;
        let (noise, states) = (self.with_noise.then_some(&noise[..]), self.with_states.then_some(&states[..]));
        reference::SequencesOf { x, steps: self.steps, noise, states }
    }

    /// The same with some noise where the argument of a ReLU is so near to 0 that rounding decides what follows.
    fn away_from_kinks(mut self) -> Self {
        const NEAR: f64 = 1e-3;
        loop {
            let forward = reference::recurrent_forward(&self.shape, &self.params, self.sequences());
            let near = |x: &f64| x.abs() < NEAR;
            let at: Vec<usize> = (0..forward.v.len()).filter(|&i| near(&forward.v[i])).collect();
            if at.is_empty() {
                return self;
            }
            if !self.with_noise {
                (self.with_noise, self.arrays[1]) = (true, vec![0.0; forward.z.len()]);
            }
            at.into_iter().for_each(|i| self.arrays[1][i] += 0.0625);
        }
    }

    /// The same with every number changed by about a part `change` of itself.
    fn perturbed(&self, change: f64, seed: u64) -> Self {
        let mut problem = self.clone();
        let perturb = |array: &mut [f64], seed| {
            let drawn = numbers(array.len(), seed);
            array.iter_mut().zip(drawn).for_each(|(x, by)| *x *= 1.0 + change * (2.0 * by - 1.0));
        };
        problem.params.view_mut().arrays().into_iter().for_each(|(_, array)| perturb(array, seed));
        problem.arrays.iter_mut().zip(seed..).for_each(|(array, seed)| perturb(array, seed));
        problem
    }

    fn of_reference(&self) -> Results<f64> {
        let (sequences, dout) = (self.sequences(), &self.arrays[3]);
        let forward = reference::recurrent_forward(&self.shape, &self.params, sequences);
        let backward = reference::recurrent_backward(&self.shape, &self.params, sequences, &forward, dout);
        let results = vec![("h", forward.out), ("the last states", forward.end)];
        let gradients = backward.gradients.arrays().into_iter().map(|(name, array)| (name, array.to_vec()));
        results.into_iter().chain([("dx", backward.dx), ("dh0 of each", backward.dstates)]).chain(gradients).collect()
    }

    fn of_layer<T: Element>(&self, isa: Isa) -> Results<T> {
        let RecurrentShape { d, ne, visible, .. } = self.shape;
        let mut params = Params::<T>::zeros(&self.shape).unwrap();
        for (name, array) in self.params.arrays() {
            params.get_mut(name).unwrap().copy_from_slice(&cast(array));
        }
        let [x, noise, states, dout] = self.arrays.each_ref().map(|array| cast::<T>(array));
        let rows = x.len() / d;
        let examples = rows / self.steps;
        let noise = [Some(MatRef::new(&noise, rows, ne).unwrap())];
        let states = [Some(MatRef::new(&states, examples, ne).unwrap())];
        let sequences = Sequences::new(MatRef::new(&x, rows, d).unwrap(), self.steps).unwrap();
        let sequences = if self.with_noise { sequences.noise(&noise) } else { sequences };
        let sequences = if self.with_states { sequences.states(&states) } else { sequences };
        let (layer, mut tape) = (Layer::<T>::new(self.shape, &isa.into()).unwrap(), Tape::new());
        let (mut inferred, mut h) = (vec![T::ZERO; rows * visible], vec![T::ZERO; rows * visible]);
        layer.infer(&params, &mut tape, sequences, MatMut::new(&mut inferred, rows, visible).unwrap()).unwrap();
        layer.forward(&params, &mut tape, sequences, MatMut::new(&mut h, rows, visible).unwrap()).unwrap();
        assert_eq!(inferred, h, "inference of {:?}", self.shape);
        let end = tape.last_states().unwrap().as_slice().unwrap().to_vec();
        let (mut dx, mut gradients) = (vec![T::ZERO; rows * d], Params::zeros(&self.shape).unwrap());
        let dout = MatRef::new(&dout, rows, visible).unwrap();
        let into_dx = MatMut::new(&mut dx, rows, d).unwrap();
        layer.backward(&params, &mut tape, dout, &mut gradients, Some(into_dx)).unwrap();
        let mut dstates = vec![T::ZERO; examples * ne];
        tape.state_gradient(MatMut::new(&mut dstates, examples, ne).unwrap()).unwrap();
        let gradients = gradients.arrays().into_iter().map(|(name, array)| (name, array.to_vec())).collect::<Vec<_>>();
        let results = vec![("h", h), ("the last states", end), ("dx", dx), ("dh0 of each", dstates)];
        results.into_iter().chain(gradients).collect()
    }
}

/// What a layer does on its own is what the reference does, relative to the largest element of an array, or to what it
/// would change by if all numbers changed in their last digits, scaled up.
fn as_the_reference(isa: Isa, problem: &Problem, seed: u64) {
    const CHANGE: f64 = 1e-6;
    let expected = problem.of_reference();
    // What divides by the only input there is is constant: its gradients are what is left of numbers around 1.
    let least = if problem.shape.d.min(problem.shape.ne) == 1 { 1.0 } else { 1e-3 };
    let mut scales: Vec<f64> = expected.iter().map(|(_, array)| largest(array).max(least)).collect();
    for other in 0..3 {
        let moved = problem.perturbed(CHANGE, seed + 1000 * (other + 1)).of_reference();
        for ((scale, (_, one)), (_, other)) in scales.iter_mut().zip(&expected).zip(moved) {
            let most = one.iter().zip(other).fold(0.0, |most: f64, (a, b)| most.max((a - b).abs()));
            *scale = scale.max(most / CHANGE);
        }
    }
    fn close<T: Tolerance>(isa: Isa, problem: &Problem, expected: &Results<f64>, scales: &[f64]) {
        let of = problem.of_layer::<T>(isa);
        for (((name, got), (_, expected)), &scale) in of.iter().zip(expected).zip(scales) {
            let (shape, steps) = (problem.shape, problem.steps);
            let what = format!("{isa} {} {shape:?}, {steps} steps: {name}", std::any::type_name::<T>());
            assert_within(&what, got, expected, scale, T::LAYER);
        }
    }
    close::<f64>(isa, problem, &expected, &scales);
    close::<f32>(isa, problem, &expected, &scales);
}

#[test]
fn layers_are_as_the_reference() {
    for isa in isas() {
        for (number, [d, ne, nu, nw, steps, examples]) in thorough(&EDGES, 4).iter().copied().enumerate() {
            let dann = RecurrentShape::dann(d, ne, nu, nw);
            let dann = [None, Some(Divisor::Plain), Some(Divisor::floor(0.05).unwrap()), Some(Divisor::Root)]
                .map(|divisor| divisor.map_or(dann, |divisor| dann.divisive(divisor)));
            let columns = RecurrentShape::columns(d, ne.max(2), 0, ne.div_ceil(4));
            let others = [columns, columns.unsigned(), RecurrentShape::plain(d, ne), columns.no_self().visible(1)];
            for (i, shape) in dann.into_iter().chain(others).enumerate() {
                let forms =
                    [Dynamics::Plain, Dynamics::Rate(Leak::per_unit()), Dynamics::State(Leak::new(0.3).unwrap())];
                for (j, form) in forms.into_iter().enumerate() {
                    let shape = shape.dynamics(form);
                    let shape = if (i + j) % 2 == 0 { shape.learned_state() } else { shape };
                    let seed = (number * 100 + i * 10 + j) as u64;
                    as_the_reference(isa, &Problem::new(shape, steps, examples, seed), seed);
                }
            }
        }
    }
}
