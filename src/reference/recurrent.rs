//! The recurrent layer as its equations read.

use super::{
    DannForward, dann_backward, dann_forward, elementwise, length, sum_over_batch, times, times_transposed, transposed,
};
use crate::layers::dann::{DannParams, DannShape};
use crate::layers::recurrent::{Cell, Dynamics, RecurrentShape};
use crate::params::Params;
use crate::params::schema::Shape;

/// Sequences of a batch of examples, time-major.
#[derive(Clone, Copy, Debug)]
pub struct SequencesOf<'a> {
    /// Inputs `x [T, B, d]`, with the signs of a layer below whose columns have signs.
    pub x: &'a [f64],
    /// Steps `T`.
    pub steps: usize,
    /// Noise `ξ [T, B, ne]`, if any.
    pub noise: Option<&'a [f64]>,
    /// States before the first step `[B, ne]`, if not those of the parameter `h0`.
    pub states: Option<&'a [f64]>,
}

/// Everything that the forward pass of a recurrent layer computes, for each step.
#[derive(Clone, Debug, PartialEq)]
pub struct RecurrentForward {
    /// `z [T, B, ne]`: the sum of both legs, bias and noise.
    pub z: Vec<f64>,
    /// `v [T, B, ne]`: the state of the `state` form; `z` in the others.
    pub v: Vec<f64>,
    /// `h [T, B, ne]`, without signs.
    pub h: Vec<f64>,
    /// `[T, B, visible]`: what goes out, with signs if the layer is signed.
    pub out: Vec<f64>,
    /// What interneurons and divisors of the input leg do at each step; empty where there are none.
    pub input: Vec<DannForward>,
    /// The same of the recurrent leg.
    pub recurrent: Vec<DannForward>,
    /// The states before the first step `[B, ne]`: `h_0`, or `v_0` in the `state` form.
    pub start: Vec<f64>,
    /// Those after the last.
    pub end: Vec<f64>,
}

/// What the backward pass of a recurrent layer computes.
#[derive(Clone, Debug, PartialEq)]
pub struct RecurrentBackward {
    /// The gradient by each `h_t`, of what follows from it at all steps `[T, B, ne]`.
    pub dh: Vec<f64>,
    /// `dz [T, B, ne]`
    pub dz: Vec<f64>,
    /// `dx [T, B, d]`
    pub dx: Vec<f64>,
    /// The gradient by the states before the first step `[B, ne]`.
    pub dstates: Vec<f64>,
    /// The gradients of the parameters, summed over examples and steps.
    pub gradients: Params<f64>,
}

/// The arrays of a leg.
struct Leg {
    /// As a layer by itself, where there are interneurons.
    dann: Option<(DannShape, DannParams<f64>)>,
    /// `L`, or `L⁺ D`
    weights: Vec<f64>,
    inputs: usize,
    ne: usize,
}

/// −1 for the last `inhibitory` of `n`, else 1.
fn signs(n: usize, inhibitory: usize) -> impl Fn(usize) -> f64 {
    move |i| if i % n < n - inhibitory { 1.0 } else { -1.0 }
}

impl Leg {
    /// Leg `U` or `W`.
    fn of(shape: &RecurrentShape, params: &Params<f64>, name: char) -> Self {
        let &RecurrentShape { d, ne, cell, .. } = shape;
        let inputs = if name == 'U' { d } else { ne };
        let array = |rest: &str| params[&format!("{name}{rest}")[..]].to_vec();
        let (dann, weights) = match cell {
            Cell::Dann { nu, nw, divisor } => {
                let ni = if name == 'U' { nu } else { nw };
                let shape = DannShape::new(inputs, ne, ni).linear();
                let shape = divisor.map_or(shape.subtractive(), |divisor| shape.divisor(divisor));
                let (wex, wix, wei) = (array("ex"), array("ix"), array("ei"));
                let (alpha, g, b) = (array("alpha"), array("g"), vec![0.0; ne]);
                (Some((shape, DannParams { wex, wix, wei, alpha, g, b })), vec![])
            }
            Cell::Columns { inhibitory_units, .. } => {
                // Inputs come with their signs.
                let sign = signs(inputs, if name == 'U' { 0 } else { inhibitory_units });
                let w = array("pos");
                (None, elementwise(w.len(), |i| w[i] * sign(i)))
            }
            Cell::Plain => (None, array("")),
        };
        Self { dann, weights, inputs, ne }
    }

    /// `A [B, ne]` of `v [B, inputs]`.
    fn forward(&self, v: &[f64]) -> (Vec<f64>, Option<DannForward>) {
        match &self.dann {
            Some((shape, params)) => {
                let forward = dann_forward(shape, params, v);
                (forward.z.clone(), Some(forward))
            }
            None => (times_transposed(v, &self.weights, self.inputs), None),
        }
    }

    /// The gradient of `v`, and those of the leg's arrays by what follows their letter.
    fn backward(
        &self,
        v: &[f64],
        forward: Option<&DannForward>,
        da: &[f64],
    ) -> (Vec<f64>, Vec<(&'static str, Vec<f64>)>) {
        match (&self.dann, forward) {
            (Some((shape, params)), Some(forward)) => {
                let (dv, d) = dann_backward(shape, params, v, forward, da);
                (dv, vec![("ex", d.wex), ("ix", d.wix), ("ei", d.wei), ("alpha", d.alpha), ("g", d.g)])
            }
            _ => {
                let dv = times(da, &self.weights, self.ne);
                (dv, vec![("", times(&transposed(da, self.ne), v, da.len() / self.ne))])
            }
        }
    }
}

fn kappa(shape: &RecurrentShape, params: &Params<f64>) -> impl Fn(usize) -> f64 {
    let one = shape.dynamics.leak().map_or(Some(1.0), |leak| leak.get());
    let (each, ne) = (params["kappa"].to_vec(), shape.ne);
    move |i| one.unwrap_or_else(|| each[i % ne])
}

fn rectified(x: &[f64]) -> Vec<f64> {
    x.iter().map(|&x| if x < 0.0 { 0.0 } else { x }).collect()
}

/// The forward pass of a recurrent layer.
///
/// # Panics
/// If the parameters are not those of the shape, or the sequences have not whole steps of `ne` and `d` numbers an example.
pub fn recurrent_forward(shape: &RecurrentShape, params: &Params<f64>, sequences: SequencesOf<'_>) -> RecurrentForward {
    let &RecurrentShape { d, ne, visible, dynamics, signed, .. } = shape;
    let SequencesOf { x, steps, noise, states } = sequences;
    length("x", x.len() % (steps * d), 0);
    let batch = x.len() / (steps * d);
    let size = batch * ne;
    let (input, recurrent, kappa) = (Leg::of(shape, params, 'U'), Leg::of(shape, params, 'W'), kappa(shape, params));
    let start = states.map_or_else(|| elementwise(size, |i| params["h0"][i % ne]), <[f64]>::to_vec);
    length("states", start.len(), size);
    let is_state = matches!(dynamics, Dynamics::State(_));
    let mut state = start.clone();
    let mut h_before = if is_state { rectified(&start) } else { start.clone() };
    let mut all = RecurrentForward {
        z: vec![],
        v: vec![],
        h: vec![],
        out: vec![],
        input: vec![],
        recurrent: vec![],
        start,
        end: vec![],
    };
    let sign = signs(ne, if signed { shape.inhibitory_units() } else { 0 });
    for t in 0..steps {
        let (from_inputs, of_input) = input.forward(&x[t * batch * d..][..batch * d]);
        let (from_states, of_states) = recurrent.forward(&h_before);
        let noise = |i: usize| noise.map_or(0.0, |noise| noise[t * size + i]);
        let z = elementwise(size, |i| from_inputs[i] + from_states[i] + params["b"][i % ne] + noise(i));
        let f = rectified(&z);
        let (v, h) = match dynamics {
            Dynamics::Plain => (z.clone(), f),
            Dynamics::Rate(_) => (z.clone(), elementwise(size, |i| (1.0 - kappa(i)) * h_before[i] + kappa(i) * f[i])),
            Dynamics::State(_) => {
                let v = elementwise(size, |i| (1.0 - kappa(i)) * state[i] + kappa(i) * z[i]);
                let h = rectified(&v);
                (v, h)
            }
        };
        state = if is_state { v.clone() } else { h.clone() };
        h_before.clone_from(&h);
        all.out.extend((0..size).filter(|i| i % ne < visible).map(|i| sign(i) * h[i]));
        all.z.extend(z);
        all.v.extend(v);
        all.h.extend(h);
        all.input.extend(of_input);
        all.recurrent.extend(of_states);
    }
    all.end = state;
    all
}

/// The gradients of a recurrent layer, without corrections, from those of what goes out at each step, `dout [T, B, visible]`.
///
/// # Panics
/// As [`recurrent_forward`], and if `forward` is not the forward pass of these sequences.
pub fn recurrent_backward(
    shape: &RecurrentShape,
    params: &Params<f64>,
    sequences: SequencesOf<'_>,
    forward: &RecurrentForward,
    dout: &[f64],
) -> RecurrentBackward {
    let &RecurrentShape { d, ne, visible, dynamics, signed, .. } = shape;
    let SequencesOf { x, steps, states, .. } = sequences;
    let batch = x.len() / (steps * d);
    let size = batch * ne;
    length("dout", dout.len(), steps * batch * visible);
    let (input, recurrent, kappa) = (Leg::of(shape, params, 'U'), Leg::of(shape, params, 'W'), kappa(shape, params));
    let sign = signs(ne, if signed { shape.inhibitory_units() } else { 0 });
    let schema = shape.schema().expect("a possible shape");
    let zeros = schema.iter().map(|parameter| vec![0.0; parameter.elements()]).collect();
    let mut gradients = Params::of(schema.names, zeros);
    let mut add = |name: &str, d: &[f64]| {
        let array = gradients.get_mut(name).expect("an array of the layer");
        array.iter_mut().zip(d).for_each(|(sum, d)| *sum += d);
    };
    let (mut dh_all, mut dz_all, mut dx) = (vec![0.0; steps * size], vec![0.0; steps * size], vec![0.0; x.len()]);
    // What comes back to h_t, and to v_t in the state form.
    let (mut c, mut dv_after) = (vec![0.0; size], vec![0.0; size]);
    let is_positive = |x: f64| if x > 0.0 { 1.0 } else { 0.0 };
    let columns = if matches!(shape.cell, Cell::Columns { .. }) { "pos" } else { "" };
    for t in (0..steps).rev() {
        let at = |array: &[f64], i: usize| array[t * size + i];
        let delta = |i: usize| {
            let unit = i % ne;
            if unit < visible { sign(unit) * dout[(t * batch + i / ne) * visible + unit] } else { 0.0 }
        };
        let dh = elementwise(size, |i| delta(i) + c[i]);
        let z_positive = |i: usize| is_positive(at(&forward.z, i));
        let dz = match dynamics {
            Dynamics::Plain => elementwise(size, |i| dh[i] * z_positive(i)),
            Dynamics::Rate(_) => elementwise(size, |i| kappa(i) * dh[i] * z_positive(i)),
            Dynamics::State(_) => {
                let dv = |i: usize| dh[i] * is_positive(at(&forward.v, i)) + (1.0 - kappa(i)) * dv_after[i];
                dv_after = elementwise(size, dv);
                elementwise(size, |i| kappa(i) * dv_after[i])
            }
        };
        let before = match (t, dynamics) {
            (0, Dynamics::State(_)) => rectified(&forward.start),
            (0, _) => forward.start.clone(),
            _ => forward.h[(t - 1) * size..][..size].to_vec(),
        };
        add("b", &sum_over_batch(&dz, ne));
        let x = &x[t * batch * d..][..batch * d];
        let (dx_t, of_input) = input.backward(x, forward.input.get(t), &dz);
        let (dh_before, of_states) = recurrent.backward(&before, forward.recurrent.get(t), &dz);
        dx[t * batch * d..][..batch * d].copy_from_slice(&dx_t);
        for (letter, arrays) in [("U", of_input), ("W", of_states)] {
            for (rest, mut array) in arrays {
                if rest.is_empty() {
                    // By L⁺, where the product is with L⁺ D.
                    let inhibitory = if letter == "W" { shape.inhibitory_units() } else { 0 };
                    let sign = signs(if letter == "W" { ne } else { d }, inhibitory);
                    array.iter_mut().enumerate().for_each(|(i, d)| *d *= sign(i));
                }
                add(&format!("{letter}{}", if rest.is_empty() { columns } else { rest }), &array);
            }
        }
        let leaked = |i: usize| if matches!(dynamics, Dynamics::Rate(_)) { (1.0 - kappa(i)) * dh[i] } else { 0.0 };
        c = elementwise(size, |i| dh_before[i] + leaked(i));
        dh_all[t * size..][..size].copy_from_slice(&dh);
        dz_all[t * size..][..size].copy_from_slice(&dz);
    }
    let dstates = match dynamics {
        Dynamics::State(_) => {
            elementwise(size, |i| c[i] * is_positive(forward.start[i]) + (1.0 - kappa(i)) * dv_after[i])
        }
        _ => c,
    };
    if shape.learned_state && states.is_none() {
        add("h0", &sum_over_batch(&dstates, ne));
    }
    if shape.no_self {
        let weights = gradients.get_mut(&format!("W{columns}")).expect("recurrent weights");
        (0..ne).for_each(|unit| weights[unit * ne + unit] = 0.0);
    }
    RecurrentBackward { dh: dh_all, dz: dz_all, dx, dstates, gradients }
}
