//! `rnn_*`: recurrent layers and a readout in training through time.

use crate::case::{Case, Ledger};
use crate::common::{Tolerance, isas};
use interneuron::reference::{self, SequencesOf};
use interneuron::*;

pub fn compare(case: &Case) -> bool {
    let known = ["dann", "colei", "plain"].contains(&case.kind())
        && ["dann", "colei", "linear"].contains(&case.says("readout"))
        && ["ce", "mse"].contains(&case.says("loss"))
        && ["sgd", "csgd", "adam"].contains(&case.says("update"));
    if !known {
        return false;
    }
    of_reference(case);
    for isa in isas() {
        of_layers::<f64>(case, isa);
        of_layers::<f32>(case, isa);
        of_network::<f64>(case, isa);
        of_network::<f32>(case, isa);
    }
    true
}

/// What only the reference has: the arrays inside a layer.
const INSIDE: [&str; 8] = ["z_", "v_", "iU_", "iW_", "gammaU_", "gammaW_", "dh_", "dz_"];
/// What a case gives.
const GIVEN: [&str; 9] = ["T", "batch", "steps", "lr", "clip", "dims", "x", "y", "mask"];
/// What a case gives of a layer.
const GIVEN_OF_LAYER: [&str; 9] =
    ["div_", "nis_", "form_", "kappa_", "learn_h0_", "no_self_", "sign", "xi_", "readout_units"];

/// The arrays of a case that begin so.
fn names<'c>(case: &'c Case, begin: &[&str]) -> Vec<&'c str> {
    let names = case.arrays.keys().map(String::as_str);
    names.filter(|name| begin.iter().any(|begin| name.starts_with(begin))).collect()
}

/// What a network is at its beginning, and the sequences that it sees.
struct Begin<T> {
    shapes: Vec<LayerShape>,
    params: Vec<Params<T>>,
    steps: usize,
    examples: usize,
    /// With the signs of inputs of sign-constrained columns.
    x: Vec<T>,
    noise: Vec<Option<Vec<T>>>,
    mask: Vec<T>,
    labels: Vec<u32>,
    values: Vec<T>,
}

/// How many of the signs are negative; they must be the last ones.
fn negative(case: &Case, name: &str) -> usize {
    let Some(signs) = case.arrays.get(name) else { return 0 };
    let count = signs.iter().filter(|&&sign| sign < 0.0).count();
    assert!(signs[signs.len() - count..].iter().all(|&sign| sign < 0.0), "{}: {name}", case.name);
    count
}

impl Case {
    fn flag_of(&self, name: &str, k: usize) -> bool {
        self.number(&format!("{name}_{k}")) != 0.0
    }

    fn recurrent(&self, k: usize) -> RecurrentShape {
        let (dims, last) = (self.integers("dims"), self.integers("dims").len() - 3);
        let (d, ne) = (dims[k], dims[k + 1]);
        let nis = self.integers(&format!("nis_{k}"));
        let shape = match self.kind() {
            "dann" => RecurrentShape::dann(d, ne, nis[0], nis[1]),
            "colei" => {
                let [inputs, units] = ["signU", "signW"].map(|name| negative(self, &format!("{name}_{k}")));
                RecurrentShape::columns(d, ne, inputs, units)
            }
            _ => RecurrentShape::plain(d, ne),
        };
        let shape = if self.flag_of("div", k) { shape.divisive(Divisor::Plain) } else { shape };
        let kappas = self.array(&format!("kappa_{k}"));
        let leak = if kappas.len() == 1 { Leak::new(kappas[0]).unwrap() } else { Leak::per_unit() };
        let shape = shape.dynamics(match self.integer(&format!("form_{k}")) {
            0 => Dynamics::Plain,
            1 => Dynamics::Rate(leak),
            2 => Dynamics::State(leak),
            form => panic!("{}: form {form}", self.name),
        });
        let shape = if self.flag_of("learn_h0", k) { shape.learned_state() } else { shape };
        let shape = if self.flag_of("no_self", k) { shape.no_self() } else { shape };
        let (visible, above) = match k == last {
            true => (self.integer("readout_units"), format!("sign_{}", k + 1)),
            false => (ne, format!("signU_{}", k + 1)),
        };
        let shape = shape.visible(visible);
        // Readouts with weights of any sign see units as they are.
        if negative(self, &above) > 0 { shape } else { shape.unsigned() }
    }

    fn readout(&self) -> LayerShape {
        let dims = self.integers("dims");
        let k = dims.len() - 2;
        let (d, outputs) = (self.integer("readout_units"), dims[k + 1]);
        match self.says("readout") {
            "dann" => {
                let shape = DannShape::new(d, outputs, self.integer(&format!("nis_{k}"))).linear();
                if self.flag_of("div", k) { shape.into() } else { shape.subtractive().into() }
            }
            "colei" => DenseShape::new(d, outputs).linear().columns(negative(self, &format!("sign_{k}")), 0).into(),
            _ => DenseShape::new(d, outputs).linear().into(),
        }
    }

    fn begin<T: Element>(&self) -> Begin<T> {
        let layers = self.integers("dims").len() - 1;
        let recurrent = (0..layers - 1).map(|k| self.recurrent(k).into());
        let shapes: Vec<LayerShape> = recurrent.chain([self.readout()]).collect();
        let params = |(k, shape): (usize, &LayerShape)| {
            let mut params = Params::zeros(shape).unwrap();
            for parameter in shape.schema().unwrap().iter().filter(|parameter| parameter.elements() > 0) {
                let name = match parameter.name {
                    "kappa" => format!("kappa_{k}"),
                    name => format!("p{k}_{name}"),
                };
                params.get_mut(parameter.name).unwrap().copy_from_slice(&self.cast::<T>(&name));
            }
            params
        };
        let params = shapes.iter().enumerate().map(params).collect();
        let (steps, examples) = (self.integer("T"), self.integer("batch"));
        let (labels, values) = match self.says("loss") {
            "ce" => (self.array("y").iter().map(|&y| y as u32).collect(), vec![]),
            _ => (vec![], self.cast("y")),
        };
        Begin {
            params,
            steps,
            examples,
            x: self.with_signs("x").iter().map(|&x| T::from_f64(x)).collect(),
            noise: (0..layers).map(|k| self.arrays.get(&format!("xi_{k}")).map(|xi| crate::common::cast(xi))).collect(),
            mask: self.cast("mask"),
            labels,
            values,
            shapes,
        }
    }

    /// `x`, or the gradient by it, with the signs of the first layer's inputs.
    fn with_signs(&self, name: &str) -> Vec<f64> {
        let d = self.integer("dims");
        let signs = self.arrays.get("signU_0");
        let sign = |i: usize| signs.map_or(1.0, |signs| signs[i % d]);
        self.array(name).iter().enumerate().map(|(i, x)| x * sign(i)).collect()
    }

    fn update_rule(&self) -> Update {
        let lr = self.number("lr");
        let update = match self.says("update") {
            "csgd" => Update::csgd(lr),
            "adam" => Update::adam(lr),
            _ => Update::sgd(lr),
        };
        let clip = self.number("clip");
        let clip_scope = match self.says("clip_scope") {
            "tensor" => ClipScope::Array,
            "global" => ClipScope::Network,
            _ => ClipScope::Layer,
        };
        Update { clip: Some(clip).filter(|&clip| clip > 0.0), clip_scope, ..update }
    }
}

impl<T: Element> Begin<T> {
    fn target(&self) -> Target<'_, T> {
        let target = match &self.values[..] {
            [] => Target::labels(&self.labels),
            values => Target::values(MatRef::new(values, self.rows(), values.len() / self.rows()).unwrap()),
        };
        target.weighted(&self.mask)
    }

    fn rows(&self) -> usize {
        self.steps * self.examples
    }

    /// The loss of such outputs, and its gradient by them.
    fn loss(&self, outputs: &[T]) -> (f64, Vec<T>) {
        let columns = outputs.len() / self.rows();
        let mut doutputs = vec![T::ZERO; outputs.len()];
        let matrix = MatRef::new(outputs, self.rows(), columns).unwrap();
        let into = MatMut::new(&mut doutputs, self.rows(), columns).unwrap();
        (self.target().loss(matrix, Some(into)).unwrap().loss, doutputs)
    }
}

/// Far below what the kernels are allowed: the reference computes as the equations read.
const OF_REFERENCE: f64 = 1e-12;

fn of_reference(case: &Case) {
    let begin = case.begin::<f64>();
    let mut ledger = Ledger::new::<f64>(case, "by the reference", OF_REFERENCE);
    let last = begin.shapes.len() - 1;
    let of = |k: usize| match begin.shapes[k] {
        LayerShape::Recurrent(shape) => shape,
        other => panic!("{other:?} below the readout"),
    };
    let mut forwards = vec![];
    let mut inputs = vec![begin.x.clone()];
    for k in 0..last {
        let sequences =
            SequencesOf { x: &inputs[k], steps: begin.steps, noise: begin.noise[k].as_deref(), states: None };
        let forward = reference::recurrent_forward(&of(k), &begin.params[k], sequences);
        ledger.close(&format!("z_{k}"), &forward.z);
        ledger.close(&format!("h_{k}"), &forward.h);
        if let Dynamics::State(_) = of(k).dynamics {
            ledger.close(&format!("v_{k}"), &forward.v);
        }
        if let Cell::Dann { divisor, .. } = of(k).cell {
            for (leg, all) in [("U", &forward.input), ("W", &forward.recurrent)] {
                let zi: Vec<f64> = all.iter().flat_map(|step| step.zi.clone()).collect();
                ledger.close(&format!("i{leg}_{k}"), &zi);
                if divisor.is_some() {
                    let gamma: Vec<f64> = all.iter().flat_map(|step| step.gamma.clone()).collect();
                    ledger.close(&format!("gamma{leg}_{k}"), &gamma);
                }
            }
        }
        inputs.push(forward.out.clone());
        forwards.push(forward);
    }
    let (readout, params) = (begin.shapes[last], &begin.params[last]);
    let forward = reference::forward(&readout, params, &inputs[last]);
    ledger.close("out", forward.h());
    let (loss, doutputs) = begin.loss(forward.h());
    assert!((loss - case.array("loss")[0]).abs() <= OF_REFERENCE * loss.abs().max(1.0), "{}: loss", case.name);
    let (mut dx, gradients) = reference::backward(&readout, params, &inputs[last], &forward, &doutputs);
    of_gradients(&mut ledger, last, &gradients);
    for k in (0..last).rev() {
        let sequences =
            SequencesOf { x: &inputs[k], steps: begin.steps, noise: begin.noise[k].as_deref(), states: None };
        let backward = reference::recurrent_backward(&of(k), &begin.params[k], sequences, &forwards[k], &dx);
        ledger.close(&format!("dh_{k}"), &backward.dh);
        ledger.close(&format!("dz_{k}"), &backward.dz);
        of_gradients(&mut ledger, k, &backward.gradients);
        dx = backward.dx;
    }
    ledger.close("dx", &with_signs(case, dx));
    let mut rest = names(case, &["p", "q", "r", "loss", "norms"]);
    rest.extend(names(case, &GIVEN_OF_LAYER));
    ledger.close_all(&[&rest[..], &GIVEN].concat());
}

/// The gradient by `x` as the case has it: without the signs of the inputs.
fn with_signs<T: Element>(case: &Case, dx: Vec<T>) -> Vec<T> {
    let d = case.integer("dims");
    let negative = negative(case, "signU_0");
    dx.into_iter().enumerate().map(|(i, dx)| if i % d < d - negative { dx } else { -dx }).collect()
}

/// Compares the gradients of layer `k`: those of what steps move.
fn of_gradients<T: Element>(ledger: &mut Ledger<'_>, k: usize, gradients: &Params<T>) {
    for (name, got) in gradients.arrays() {
        let name = format!("d{k}_{name}");
        if ledger.has(&name) {
            ledger.close(&name, got);
        }
    }
}

/// How far sums through many steps may be off: each rounds as a layer does, and what it rounds goes on to the others.
fn through_time<T: Tolerance>(steps: usize) -> f64 {
    T::NETWORK * (steps as f64).sqrt()
}

/// Layer by layer, on its own.
fn of_layers<T: Tolerance>(case: &Case, isa: Isa) {
    let begin = case.begin::<T>();
    let mut ledger = Ledger::new::<T>(case, &format!("by layers on {isa}"), through_time::<T>(begin.steps));
    let (rows, context): (_, Context) = (begin.rows(), isa.into());
    let layers: Vec<Layer<T>> = begin.shapes.iter().map(|&shape| Layer::new(shape, &context).unwrap()).collect();
    let mut tapes: Vec<Tape<T>> = layers.iter().map(|_| Tape::new()).collect();
    let mut x = begin.x.clone();
    for (k, (layer, tape)) in layers.iter().zip(&mut tapes).enumerate() {
        let (inputs, outputs) = (layer.shape().inputs(), layer.shape().outputs());
        let noise = [begin.noise[k].as_ref().map(|xi| MatRef::new(xi, rows, xi.len() / rows).unwrap())];
        let sequences = Sequences::new(MatRef::new(&x, rows, inputs).unwrap(), begin.steps).unwrap();
        let sequences = if noise[0].is_some() { sequences.noise(&noise) } else { sequences };
        let mut h = vec![T::ZERO; rows * outputs];
        layer.forward(&begin.params[k], tape, sequences, MatMut::new(&mut h, rows, outputs).unwrap()).unwrap();
        match layer.shape() {
            LayerShape::Recurrent(shape) if shape.visible == shape.ne => {
                let negative = match shape.cell {
                    Cell::Columns { inhibitory_units, .. } if shape.signed => inhibitory_units,
                    _ => 0,
                };
                let unsigned = |(i, &h): (usize, &T)| if i % shape.ne < shape.ne - negative { h } else { -h };
                ledger.close(&format!("h_{k}"), &h.iter().enumerate().map(unsigned).collect::<Vec<_>>());
            }
            LayerShape::Recurrent(_) => {}
            _ => ledger.close("out", &h),
        }
        x = h;
    }
    let mut dh = begin.loss(&x).1;
    for (k, (layer, tape)) in layers.iter().zip(&mut tapes).enumerate().rev() {
        let (inputs, outputs) = (layer.shape().inputs(), layer.shape().outputs());
        let (mut dx, mut gradients) = (vec![T::ZERO; rows * inputs], Params::zeros(&layer.shape()).unwrap());
        let into_dx = MatMut::new(&mut dx, rows, inputs).unwrap();
        let dh_of = MatRef::new(&dh, rows, outputs).unwrap();
        layer.backward(&begin.params[k], tape, dh_of, &mut gradients, Some(into_dx)).unwrap();
        of_gradients(&mut ledger, k, &gradients);
        dh = dx;
    }
    ledger.close("dx", &with_signs(case, dh));
    let mut rest = names(case, &["p", "q", "r", "loss", "norms", "h_"]);
    rest.extend(names(case, &INSIDE));
    rest.extend(names(case, &GIVEN_OF_LAYER));
    ledger.close_all(&[&rest[..], &GIVEN].concat());
}

fn of_network<T: Tolerance>(case: &Case, isa: Isa) {
    let begin = case.begin::<T>();
    let tolerance = through_time::<T>(begin.steps);
    let mut ledger = Ledger::new::<T>(case, &format!("by a network on {isa}"), tolerance);
    let (rows, steps, update) = (begin.rows(), case.integer("steps"), case.update_rule());
    let architecture = Architecture::of(begin.shapes.clone()).unwrap();
    let plan = architecture.plan(&isa.into()).unwrap();
    let mut net = Network::new(plan, begin.params.clone(), TrainState::new(1)).unwrap();
    let noise: Vec<_> =
        begin.noise.iter().map(|xi| xi.as_ref().map(|xi| MatRef::new(xi, rows, xi.len() / rows).unwrap())).collect();
    let x = Sequences::new(MatRef::new(&begin.x, rows, net.inputs()).unwrap(), begin.steps).unwrap().noise(&noise);
    let mut out = vec![T::ZERO; rows * net.outputs()];
    let columns = net.outputs();
    net.logits(x, MatMut::new(&mut out, rows, columns).unwrap()).unwrap();
    ledger.close("out", &out);
    let (mut losses, mut norms) = (vec![], vec![]);
    for step in 0..steps {
        let mut gradients = net.zero_gradients().unwrap();
        net.gradients(x, begin.target(), &mut gradients).unwrap();
        if step == 0 {
            gradients.iter().enumerate().for_each(|(k, gradients)| of_gradients(&mut ledger, k, gradients));
        }
        norms.extend(corrected_norms(&begin.shapes, &gradients, &update));
        losses.push(net.train_step(x, begin.target(), &update).unwrap());
        if step == 0 {
            of_params(&mut ledger, &net, 'r');
        }
    }
    let later = |i: usize| T::network(i + 1).max(tolerance);
    ledger.close_within("loss", &losses, later);
    if ledger.has("norms") {
        let groups = norms.len() / steps;
        ledger.close_within("norms", &norms, |i| later(i / groups));
    }
    ledger.tolerance = later(steps);
    of_params(&mut ledger, &net, 'q');
    ledger.close("loss_end", &[net.evaluate(x, begin.target()).unwrap().loss]);
    let mut rest = names(case, &["p", "h_", "dx"]);
    rest.extend(names(case, &INSIDE));
    rest.extend(names(case, &GIVEN_OF_LAYER));
    ledger.close_all(&[&rest[..], &GIVEN].concat());
}

/// Compares the parameters of a time.
fn of_params<T: Element>(ledger: &mut Ledger<'_>, net: &Network<T>, time: char) {
    for (k, params) in net.params().enumerate() {
        for (name, got) in params.arrays() {
            let name = format!("{time}{k}_{name}");
            if ledger.has(&name) {
                ledger.close(&name, got);
            }
        }
    }
}

/// The norms that clipping goes by, of gradients with their corrections: of each group of a scope.
fn corrected_norms<T: Element>(shapes: &[LayerShape], gradients: &[Params<T>], update: &Update) -> Vec<f64> {
    let mut squares = vec![];
    for (shape, gradients) in shapes.iter().zip(gradients) {
        let schema = shape.schema().unwrap();
        let of_array = |(parameter, (_, array)): (&Parameter, (&str, &[T]))| {
            let correction = if update.corrections { parameter.correction } else { 1.0 };
            array.iter().map(|d| (correction * T::to_f64(*d)).powi(2)).sum::<f64>()
        };
        let moved = schema
            .iter()
            .zip(gradients.arrays())
            .filter(|(parameter, (_, array))| parameter.moves() && !array.is_empty());
        squares.push(moved.map(of_array).collect::<Vec<_>>());
    }
    let of_layers = squares.iter().map(|arrays| arrays.iter().sum::<f64>());
    let groups: Vec<f64> = match update.clip_scope {
        ClipScope::Array => squares.concat(),
        ClipScope::Layer => of_layers.collect(),
        _ => vec![of_layers.sum()],
    };
    groups.into_iter().map(f64::sqrt).collect()
}
