//! The layers as their equations read: naive, in f64, never optimised, sharing no code with the kernels.
//!
//! This is what the tests compare everything with, and the place to look up what a kernel computes. All arrays are
//! row-major; `x` is `[B, d]`, outputs are `[B, ne]`. Functions panic if an array has not the length that the shape
//! prescribes.

mod recurrent;

pub use recurrent::{RecurrentBackward, RecurrentForward, SequencesOf, recurrent_backward, recurrent_forward};

use crate::layers::dann::{Dann, DannParams, DannShape};
use crate::layers::dense::{Dense, DenseParams, DenseShape};
use crate::layers::inhibition::division::Divisor;
use crate::layers::norm::{Norm, NormParams, NormShape, Normalisation};
use crate::layers::recurrent::{Cell, Dynamics};
use crate::layers::{LayerShape, Nonlinearity};
use crate::optim::update::{Adam, Angle, ClipScope, DecayOrder, Descent, KeptSums, Natural, Update};
use crate::params::Params;
use crate::params::schema::{PerRole, Role};
use std::f64::consts::PI;

/// ε of γ: the divisor of an example whose interneurons are silent.
pub const EPSILON: f64 = 1e-8;
/// ε beside the variance in layer and batch normalisation.
pub const NORM_EPSILON: f64 = 1e-5;
/// What is added under the root, where a root divides.
pub const ROOT_EPSILON: f64 = 1e-5;

/// Panics unless an array of the caller has the length that the shape prescribes.
#[track_caller]
fn length(name: &str, len: usize, expected: usize) {
    assert_eq!(len, expected, "length of {name}");
}

/// The examples of `x`, which are a whole number.
#[track_caller]
fn examples(x: &[f64], d: usize) -> usize {
    length("x", x.len() % d, 0);
    x.len() / d
}

#[track_caller]
fn dann_lengths(shape: &DannShape, params: &DannParams<f64>) {
    let &DannShape { d, ne, ni, divisive, .. } = shape;
    length("Wex", params.wex.len(), ne * d);
    length("Wix", params.wix.len(), ni * d);
    length("Wei", params.wei.len(), ne * ni);
    length("alpha", params.alpha.len(), if divisive { ni } else { 0 });
    length("g", params.g.len(), if divisive { ne } else { 0 });
    length("b", params.b.len(), ne);
}

#[track_caller]
fn norm_lengths(shape: &NormShape, params: &NormParams<f64>) {
    let running = if shape.over == Normalisation::Batch { shape.ne } else { 0 };
    length("W", params.w.len(), shape.ne * shape.d);
    length("g", params.g.len(), shape.ne);
    length("b", params.b.len(), shape.ne);
    length("running_mean", params.mean.len(), running);
    length("running_var", params.variance.len(), running);
}

#[track_caller]
fn dense_lengths(shape: &DenseShape, params: &DenseParams<f64>) {
    length("W", params.w.len(), shape.ne * shape.d);
    length("b", params.b.len(), shape.ne);
}

/// `A Bᵀ` for `A [rows, k]` and `B [cols, k]`.
fn times_transposed(a: &[f64], b: &[f64], k: usize) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    a.chunks_exact(k).flat_map(|row| b.chunks_exact(k).map(move |col| dot(row, col))).collect()
}

/// `A B` for `A [rows, k]` and `B [k, cols]`.
fn times(a: &[f64], b: &[f64], k: usize) -> Vec<f64> {
    times_transposed(a, &transposed(b, b.len() / k), k)
}

/// `Aᵀ` for `A [rows, cols]`.
fn transposed(a: &[f64], cols: usize) -> Vec<f64> {
    (0..cols).flat_map(|c| a[c..].iter().step_by(cols).copied()).collect()
}

/// The sum over the batch, `Σ_B A`, for `A [B, cols]`.
fn sum_over_batch(a: &[f64], cols: usize) -> Vec<f64> {
    transposed(a, cols).chunks_exact(a.len() / cols).map(|column| column.iter().sum()).collect()
}

/// `f(i)` for each element of an array of this length.
fn elementwise(len: usize, f: impl FnMut(usize) -> f64) -> Vec<f64> {
    (0..len).map(f).collect()
}

fn activate(nonlinearity: Nonlinearity, z: &[f64]) -> Vec<f64> {
    match nonlinearity {
        Nonlinearity::Relu => z.iter().map(|&z| if z < 0.0 { 0.0 } else { z }).collect(),
        Nonlinearity::Identity => z.to_vec(),
    }
}

fn through_activation(nonlinearity: Nonlinearity, z: &[f64], dh: &[f64]) -> Vec<f64> {
    match nonlinearity {
        // NaN has no derivative.
        Nonlinearity::Relu => elementwise(z.len(), |i| match z[i] {
            z if z > 0.0 => dh[i],
            z if z.is_nan() => z,
            _ => 0.0,
        }),
        Nonlinearity::Identity => dh.to_vec(),
    }
}

/// Everything that the forward pass of a layer with inhibition computes.
#[derive(Clone, Debug, PartialEq)]
pub struct DannForward {
    /// `zE [B, ne]`: excitation.
    pub ze: Vec<f64>,
    /// `zI [B, ni]`: activity of the interneurons.
    pub zi: Vec<f64>,
    /// `s [B, ne]`: subtractive inhibition.
    pub s: Vec<f64>,
    /// `γ [B, ne]`: what divides, with what is added or raised; all 1 in the subtractive variant.
    pub gamma: Vec<f64>,
    /// Where γ was below the floor of the layer `[B, ne]`; nowhere without one.
    pub floored: Vec<bool>,
    /// `ẑ [B, ne]`: standardised excitation.
    pub zhat: Vec<f64>,
    /// `z [B, ne]`: after gain and bias.
    pub z: Vec<f64>,
    /// `h [B, ne]`: the output.
    pub h: Vec<f64>,
}

/// The forward pass of a layer with inhibition.
pub fn dann_forward(shape: &DannShape, params: &DannParams<f64>, x: &[f64]) -> DannForward {
    let &DannShape { d, ne, ni, nonlinearity, divisive, divisor } = shape;
    dann_lengths(shape, params);
    examples(x, d);
    let ze = times_transposed(x, &params.wex, d);
    let zi = times_transposed(x, &params.wix, d);
    let s = times_transposed(&zi, &params.wei, ni);
    let mut floored = vec![false; ze.len()];
    let mut gamma = vec![1.0; ze.len()];
    if divisive {
        let azi = elementwise(zi.len(), |i| params.alpha[i % ni].exp() * zi[i]);
        gamma = times_transposed(&azi, &params.wei, ni).iter().map(|gamma| gamma + EPSILON).collect();
        match divisor {
            Divisor::Plain => {}
            Divisor::Floor(floor) => {
                floored = gamma.iter().map(|&gamma| gamma < floor.get()).collect();
                gamma.iter_mut().for_each(|gamma| *gamma = at_least(*gamma, floor.get()));
            }
            Divisor::Root => {
                let squares: Vec<f64> = azi.iter().map(|azi| azi * azi).collect();
                let variance = times_transposed(&squares, &params.wei, ni);
                gamma = variance.iter().map(|variance| (variance + ROOT_EPSILON).sqrt()).collect();
            }
        }
    }
    let zhat = elementwise(ze.len(), |i| (ze[i] - s[i]) / gamma[i]);
    let gain = |i: usize| if divisive { params.g[i % ne] } else { 1.0 };
    let z = elementwise(ze.len(), |i| gain(i) * zhat[i] + params.b[i % ne]);
    let h = activate(nonlinearity, &z);
    DannForward { ze, zi, s, gamma, floored, zhat, z, h }
}

/// The gradients of a layer with inhibition, without corrections: `dx [B, d]` and those of the parameters, from
/// `dh [B, ne]`.
pub fn dann_backward(
    shape: &DannShape,
    params: &DannParams<f64>,
    x: &[f64],
    forward: &DannForward,
    dh: &[f64],
) -> (Vec<f64>, DannParams<f64>) {
    let &DannShape { d, ne, ni, nonlinearity, divisive, .. } = shape;
    dann_lengths(shape, params);
    let batch = examples(x, d);
    length("dh", dh.len(), batch * ne);
    let DannForward { zi, gamma, floored, zhat, z, .. } = forward;
    let dz = through_activation(nonlinearity, z, dh);
    let db = sum_over_batch(&dz, ne);
    let gain = |i: usize| if divisive { params.g[i % ne] } else { 1.0 };
    let du = elementwise(dz.len(), |i| dz[i] * gain(i) / gamma[i]);
    let minus_p: Vec<f64> = times(&du, &params.wei, ne).iter().map(|p| -p).collect();
    let du_t = transposed(&du, ne);
    let minus_du_zi: Vec<f64> = times(&du_t, zi, batch).iter().map(|x| -x).collect();
    let (dg, dalpha, dzi, dwei);
    if divisive && shape.divisor == Divisor::Root {
        let a = |i: usize| params.alpha[i % ni].exp();
        dg = sum_over_batch(&elementwise(dz.len(), |i| dz[i] * zhat[i]), ne);
        let dvariance = elementwise(du.len(), |i| -du[i] * zhat[i] / (2.0 * gamma[i]));
        let q = times(&dvariance, &params.wei, ne);
        let squares = elementwise(zi.len(), |i| (a(i) * zi[i]).powi(2));
        dzi = elementwise(zi.len(), |i| minus_p[i] + 2.0 * a(i).powi(2) * zi[i] * q[i]);
        dalpha = sum_over_batch(&elementwise(zi.len(), |i| 2.0 * squares[i] * q[i]), ni);
        let from_squares = times(&transposed(&dvariance, ne), &squares, batch);
        dwei = elementwise(ne * ni, |i| minus_du_zi[i] + from_squares[i]);
    } else if divisive {
        let a = |i: usize| params.alpha[i % ni].exp();
        dg = sum_over_batch(&elementwise(dz.len(), |i| dz[i] * zhat[i]), ne);
        let dgamma = elementwise(du.len(), |i| if floored[i] { 0.0 } else { -du[i] * zhat[i] });
        let q = times(&dgamma, &params.wei, ne);
        dzi = elementwise(zi.len(), |i| minus_p[i] + a(i) * q[i]);
        dalpha = sum_over_batch(&elementwise(zi.len(), |i| a(i) * zi[i] * q[i]), ni);
        let dgamma_azi = times(&transposed(&dgamma, ne), &elementwise(zi.len(), |i| a(i) * zi[i]), batch);
        dwei = elementwise(ne * ni, |i| minus_du_zi[i] + dgamma_azi[i]);
    } else {
        (dg, dalpha, dzi, dwei) = (vec![], vec![], minus_p, minus_du_zi);
    }
    let from_excitation = times(&du, &params.wex, ne);
    let from_inhibition = times(&dzi, &params.wix, ni);
    let dx = elementwise(x.len(), |i| from_excitation[i] + from_inhibition[i]);
    let wex = times(&du_t, x, batch);
    let wix = times(&transposed(&dzi, ni), x, batch);
    (dx, Dann { wex, wix, wei: dwei, alpha: dalpha, g: dg, b: db })
}

/// The sign of each output of a layer without interneurons: −1 for the inhibitory units of sign-constrained columns.
fn signs(shape: &DenseShape) -> Vec<f64> {
    let inhibitory = shape.columns.map_or(0, |columns| columns.inhibitory_outputs);
    (0..shape.ne).map(|unit| if unit < shape.ne - inhibitory { 1.0 } else { -1.0 }).collect()
}

/// `z` and `h` of a layer without interneurons, `[B, ne]` each.
pub fn dense_forward(shape: &DenseShape, params: &DenseParams<f64>, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    dense_lengths(shape, params);
    examples(x, shape.d);
    let wx = times_transposed(x, &params.w, shape.d);
    let z = elementwise(wx.len(), |i| wx[i] + params.b[i % shape.ne]);
    let (f, signs) = (activate(shape.nonlinearity, &z), signs(shape));
    let h = elementwise(z.len(), |i| signs[i % shape.ne] * f[i]);
    (z, h)
}

/// The gradients of a layer without interneurons: `dx [B, d]` and those of the parameters, from `z` and `dh`, `[B, ne]`
/// each.
pub fn dense_backward(
    shape: &DenseShape,
    params: &DenseParams<f64>,
    x: &[f64],
    z: &[f64],
    dh: &[f64],
) -> (Vec<f64>, DenseParams<f64>) {
    dense_lengths(shape, params);
    let batch = examples(x, shape.d);
    length("z", z.len(), batch * shape.ne);
    length("dh", dh.len(), batch * shape.ne);
    let signs = signs(shape);
    let df = elementwise(dh.len(), |i| signs[i % shape.ne] * dh[i]);
    let dz = through_activation(shape.nonlinearity, z, &df);
    let dx = times(&dz, &params.w, shape.ne);
    let w = times(&transposed(&dz, shape.ne), x, batch);
    (dx, Dense { w, b: sum_over_batch(&dz, shape.ne) })
}

/// Everything that the forward pass of a normalised layer computes.
#[derive(Clone, Debug, PartialEq)]
pub struct NormForward {
    /// `u [B, ne]`: what is normalised.
    pub u: Vec<f64>,
    /// Means: of each example, or of each unit.
    pub mean: Vec<f64>,
    /// Variances: of each example, or of each unit.
    pub variance: Vec<f64>,
    /// `ẑ [B, ne]`
    pub zhat: Vec<f64>,
    /// `z [B, ne]`: after gain and bias.
    pub z: Vec<f64>,
    /// `h [B, ne]`: the output.
    pub h: Vec<f64>,
}

/// The forward pass of a normalised layer; `running` takes running statistics in the place of the batch's, which only
/// batch normalisation has.
pub fn norm_forward(shape: &NormShape, params: &NormParams<f64>, x: &[f64], running: bool) -> NormForward {
    let &NormShape { d, ne, nonlinearity, over } = shape;
    norm_lengths(shape, params);
    examples(x, d);
    let u = times_transposed(x, &params.w, d);
    let (mean, variance) = match over {
        Normalisation::Layer => u.chunks_exact(ne).map(mean_and_variance).unzip(),
        Normalisation::Batch if running => (params.mean.clone(), params.variance.clone()),
        Normalisation::Batch => transposed(&u, ne).chunks_exact(u.len() / ne).map(mean_and_variance).unzip(),
    };
    let which = |i: usize| if over == Normalisation::Layer { i / ne } else { i % ne };
    let zhat = elementwise(u.len(), |i| (u[i] - mean[which(i)]) / (variance[which(i)] + NORM_EPSILON).sqrt());
    let z = elementwise(u.len(), |i| params.g[i % ne] * zhat[i] + params.b[i % ne]);
    let h = activate(nonlinearity, &z);
    NormForward { u, mean, variance, zhat, z, h }
}

/// The gradients of a normalised layer: `dx [B, d]` and those of the parameters, from `dh [B, ne]`. In the place of
/// gradients of running statistics stand those of the batch, the variance for all examples that there are.
pub fn norm_backward(
    shape: &NormShape,
    params: &NormParams<f64>,
    x: &[f64],
    forward: &NormForward,
    dh: &[f64],
) -> (Vec<f64>, NormParams<f64>) {
    let &NormShape { d, ne, nonlinearity, over } = shape;
    norm_lengths(shape, params);
    let batch = examples(x, d);
    length("dh", dh.len(), batch * ne);
    let NormForward { mean, variance, zhat, z, .. } = forward;
    let dz = through_activation(nonlinearity, z, dh);
    let dzhat = elementwise(dz.len(), |i| dz[i] * params.g[i % ne]);
    let along = elementwise(dz.len(), |i| dzhat[i] * zhat[i]);
    // Sums over what is normalised over.
    let sums = |values: &[f64]| match over {
        Normalisation::Layer => values.chunks_exact(ne).map(|row| row.iter().sum::<f64>()).collect::<Vec<_>>(),
        Normalisation::Batch => sum_over_batch(values, ne),
    };
    let (plain, along) = (sums(&dzhat), sums(&along));
    let number = if over == Normalisation::Layer { ne } else { batch } as f64;
    let du = elementwise(dz.len(), |i| {
        let which = if over == Normalisation::Layer { i / ne } else { i % ne };
        (dzhat[i] - plain[which] / number - zhat[i] * along[which] / number) / (variance[which] + NORM_EPSILON).sqrt()
    });
    let dx = times(&du, &params.w, ne);
    let w = times(&transposed(&du, ne), x, batch);
    let g = sum_over_batch(&elementwise(dz.len(), |i| dz[i] * zhat[i]), ne);
    let all = batch as f64 / (batch as f64 - 1.0).max(1.0);
    let statistic = |values: &[f64], factor: f64| match over {
        Normalisation::Layer => vec![],
        Normalisation::Batch => values.iter().map(|value| factor * value).collect(),
    };
    let gradients =
        Norm { w, g, b: sum_over_batch(&dz, ne), mean: statistic(mean, 1.0), variance: statistic(variance, all) };
    (dx, gradients)
}

/// `low` where `x < low`, else `x`: a NaN stays, which `f64::max` would take for `low`.
fn at_least(x: f64, low: f64) -> f64 {
    if x < low { low } else { x }
}

/// What an update keeps from step to step: nothing at first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// `v` of each array; in exponentiated steps that of `b⁺` for a bias.
    pub velocity: Vec<Vec<f64>>,
    /// `v` of `−b⁻`, of exponentiated steps.
    pub negative_velocity: Vec<f64>,
    /// The steps that the velocity of each array has taken.
    pub velocity_steps: Vec<u64>,
    /// Adam's `m`, `v` and `w` of each array.
    pub moments: [Vec<Vec<f64>>; 3],
    /// Adam's `t` of each array.
    pub steps: Vec<u64>,
    /// `F` of each array, as it is to be used.
    pub fisher: Vec<Vec<f64>>,
    /// `b⁻`, of exponentiated steps; other steps forget it.
    pub negative: Vec<f64>,
    /// The sums that weights keep: of each array, or of each of its rows; other steps forget them.
    pub sums: Vec<Vec<f64>>,
}

/// What the reference knows of one parameter, by its name alone.
#[derive(Clone, Copy)]
struct Named {
    role: Role,
    keeps_sign: bool,
    correction: f64,
}

/// Whether steps follow a gradient.
fn is_moved(role: Role) -> bool {
    !matches!(role, Role::Statistic | Role::Constant)
}

impl Named {
    /// Whether a step moves it along its gradient.
    fn moves(&self, rule: &Update) -> bool {
        is_moved(self.role) && rule.factors[self.role] != 0.0
    }
}

/// The parameters of a layer. Which of them keep their sign, and their corrections, are written here a second time:
/// nothing is shared with what the kernels go by.
fn named(shape: &LayerShape) -> Vec<Named> {
    let (d, ne) = match shape {
        LayerShape::Recurrent(shape) => (shape.d as f64, shape.ne as f64),
        _ => (shape.inputs() as f64, shape.outputs() as f64),
    };
    // What comes in by W is what goes out, where that comes back.
    let (input, d) = (d, if shape.is_recurrent() { ne } else { d });
    let signed_state = match shape {
        LayerShape::Recurrent(shape) => matches!(shape.dynamics, Dynamics::State(_)) || shape.cell == Cell::Plain,
        _ => true,
    };
    let one = |name: &'static str| match name {
        "Uex" => Named { role: Role::Weights, keeps_sign: true, correction: 1.0 },
        "Uix" => Named { role: Role::ToInterneurons, keeps_sign: true, correction: 1.0 / ne.sqrt() },
        "Uei" => Named { role: Role::FromInterneurons, keeps_sign: true, correction: 1.0 / input },
        "Ualpha" => Named { role: Role::LogStrength, keeps_sign: false, correction: 1.0 / (ne.sqrt() * input) },
        "Walpha" => Named { role: Role::LogStrength, keeps_sign: false, correction: 1.0 / (ne.sqrt() * ne) },
        "Ug" | "Wg" => Named { role: Role::Gain, keeps_sign: true, correction: 1.0 },
        "U" | "Upos" => Named { role: Role::Weights, keeps_sign: name == "Upos", correction: 1.0 },
        "h0" => {
            let learned = matches!(shape, LayerShape::Recurrent(shape) if shape.learned_state);
            let role = if learned { Role::InitialState } else { Role::Constant };
            Named { role, keeps_sign: !signed_state, correction: 1.0 }
        }
        "kappa" => Named { role: Role::Constant, keeps_sign: true, correction: 1.0 },
        "Wex" => Named { role: Role::Weights, keeps_sign: true, correction: 1.0 },
        "Wix" => Named { role: Role::ToInterneurons, keeps_sign: true, correction: 1.0 / ne.sqrt() },
        "Wei" => Named { role: Role::FromInterneurons, keeps_sign: true, correction: 1.0 / d },
        "alpha" => Named { role: Role::LogStrength, keeps_sign: false, correction: 1.0 / (ne.sqrt() * d) },
        "g" => Named { role: Role::Gain, keeps_sign: shape.interneurons() > 0, correction: 1.0 },
        "b" => Named { role: Role::Bias, keeps_sign: false, correction: 1.0 },
        "W" | "Wpos" => Named { role: Role::Weights, keeps_sign: name == "Wpos", correction: 1.0 },
        "running_mean" | "running_var" => Named { role: Role::Statistic, keeps_sign: false, correction: 1.0 },
        _ => panic!("the reference knows no parameter {name}"),
    };
    shape.schema().expect("a possible shape").iter().map(|parameter| one(parameter.name)).collect()
}

/// One step of a layer of any kind, by any rule.
///
/// # Panics
/// If parameters and gradients are not those of the shape.
pub fn update(shape: &LayerShape, params: &mut Params<f64>, gradients: &Params<f64>, rule: &Update, kept: &mut Kept) {
    let schema = shape.schema().expect("a possible shape");
    params.view().check(&schema).expect("parameters of the shape");
    gradients.view().check(&schema).expect("gradients of the shape");
    let named = named(shape);
    let before: Vec<Vec<f64>> = params.view().iter().map(<[f64]>::to_vec).collect();
    let rows = schema
        .iter()
        .map(|parameter| if rule.kept_sums == Some(KeptSums::Row) { parameter.dimensions()[0] } else { 1 });
    let rows: Vec<usize> = rows.collect();
    begin(&named, &before, &rows, rule, kept);
    let mut gradients: Vec<Vec<f64>> = gradients.view().iter().map(<[f64]>::to_vec).collect();
    scale_gradients(&named, &mut gradients, rule, kept);
    let mut directions: Vec<Vec<[f64; 2]>> = vec![];
    for (k, named) in named.iter().enumerate() {
        let gradient = gradients[k].iter().zip(&before[k]);
        directions.push(match rule.adam {
            _ if !named.moves(rule) => gradient.map(|(&d, _)| [d; 2]).collect(),
            Some(adam) => {
                kept.steps[k] += 1;
                gradient
                    .enumerate()
                    .map(|(i, (&d, &theta))| by_moments((named, k, i), (theta, d), rule, &adam, kept))
                    .collect()
            }
            None => {
                kept.velocity_steps[k] += 1;
                gradient
                    .enumerate()
                    .map(|(i, (&d, &theta))| by_velocity((named, k, i), (theta, d), rule, kept))
                    .collect()
            }
        });
    }
    let lr = learning_rate(&named, &before, &directions, rule);
    for (k, array) in params.view_mut().into_iter().enumerate() {
        for (i, theta) in array.iter_mut().enumerate() {
            *theta = moved((named[k], i), *theta, directions[k][i], rule, lr, kept);
        }
        if named[k].moves(rule) && is_kept(&named[k], rule) && !array.is_empty() {
            let width = array.len() / rows[k];
            for (row, sum) in array.chunks_exact_mut(width).zip(&kept.sums[k]) {
                let is: f64 = row.iter().map(|theta| theta.abs()).sum();
                row.iter_mut().filter(|_| is > 0.0).for_each(|theta| *theta *= sum / is);
            }
        }
    }
}

/// Whether the sums of a parameter are kept.
fn is_kept(named: &Named, rule: &Update) -> bool {
    let weights = [Role::Weights, Role::ToInterneurons, Role::FromInterneurons];
    rule.kept_sums.is_some() && weights.contains(&named.role)
}

fn exponentiated(rule: &Update) -> bool {
    matches!(rule.descent, Descent::Exponentiated { .. })
}

/// Makes room for what is not kept yet, and forgets what other rules made wrong.
fn begin(named: &[Named], before: &[Vec<f64>], rows: &[usize], rule: &Update, kept: &mut Kept) {
    let zeros = || before.iter().map(|array| vec![0.0; array.len()]).collect::<Vec<_>>();
    [&mut kept.velocity].into_iter().chain(&mut kept.moments).filter(|arrays| arrays.is_empty()).for_each(|arrays| {
        *arrays = zeros();
    });
    kept.steps.resize(named.len(), 0);
    kept.velocity_steps.resize(named.len(), 0);
    match rule.descent {
        Descent::Exponentiated { split } if kept.negative.is_empty() => {
            let biases = named.iter().zip(before).filter(|(named, _)| named.role == Role::Bias);
            kept.negative = biases.flat_map(|(_, biases)| biases).map(|b| (-b).max(0.0) + split).collect();
            let velocities = named.iter().zip(&kept.velocity).filter(|(named, _)| named.role == Role::Bias);
            kept.negative_velocity = velocities.flat_map(|(_, velocities)| velocities).copied().collect();
        }
        Descent::Exponentiated { .. } => {}
        Descent::Projected => kept.negative.clear(),
    }
    if rule.kept_sums.is_none() {
        kept.sums.clear();
    } else if kept.sums.is_empty() {
        let sum = |row: &[f64]| row.iter().map(|theta| theta.abs()).sum();
        let of =
            |(array, &rows): (&Vec<f64>, &usize)| array.chunks((array.len() / rows.max(1)).max(1)).map(sum).collect();
        kept.sums = before.iter().zip(rows).map(of).collect();
    }
}

/// A number of a role; 0 for statistics, which have none.
fn of_role(values: &PerRole<f64>, role: Role) -> f64 {
    if is_moved(role) { values[role] } else { 0.0 }
}

/// Corrections, clipping and the natural gradient.
fn scale_gradients(named: &[Named], directions: &mut [Vec<f64>], rule: &Update, kept: &Kept) {
    if rule.corrections && rule.adam.is_none() {
        for (named, directions) in named.iter().zip(&mut *directions) {
            directions.iter_mut().for_each(|d| *d *= named.correction);
        }
    }
    if let Some(most) = rule.clip {
        let learnt: Vec<usize> = (0..named.len()).filter(|&k| is_moved(named[k].role)).collect();
        let groups: Vec<Vec<usize>> = match rule.clip_scope {
            ClipScope::Array => learnt.into_iter().map(|k| vec![k]).collect(),
            ClipScope::Layer => vec![learnt],
            ClipScope::Network => panic!("a layer does not know the norm of its network"),
        };
        for group in groups {
            let norm = group.iter().flat_map(|&k| &directions[k]).map(|d| d * d).sum::<f64>().sqrt();
            let factor = (most / (norm + 1e-6)).min(1.0);
            group.iter().for_each(|&k| directions[k].iter_mut().for_each(|d| *d *= factor));
        }
    }
    if let Some(Natural { epsilon, normalised, .. }) = rule.natural {
        let inverse = |f: &f64| 1.0 / (f + epsilon);
        let weights = named.iter().position(|named| named.role == Role::Weights).expect("a layer has weights");
        let norm = kept.fisher[weights].iter().map(|f| inverse(f).powi(2)).sum::<f64>().sqrt();
        for (directions, fisher) in directions.iter_mut().zip(&kept.fisher) {
            for (d, f) in directions.iter_mut().zip(fisher) {
                *d *= inverse(f) / if normalised { norm } else { 1.0 };
            }
        }
    }
}

fn sign(x: f64) -> f64 {
    if x.is_sign_negative() { -1.0 } else { 1.0 }
}

/// The gradients of an element θ and of `−b⁻`, with weight decay. The two are one but for a bias whose parts are
/// exponentiated, the first being that of `b⁺` then.
fn decayed(named: &Named, theta: f64, [d, minus]: [f64; 2], rule: &Update) -> [f64; 2] {
    let decay = rule.decay[named.role];
    match named.role {
        _ if !exponentiated(rule) => [d + decay * theta, minus],
        Role::Bias => [d + decay, minus - decay],
        _ => [d + decay * sign(theta), minus],
    }
}

/// The directions of element `i` of array `k`, and of `−b⁻`, by momentum.
fn by_velocity(
    (named, k, i): (&Named, usize, usize),
    (theta, d): (f64, f64),
    rule: &Update,
    kept: &mut Kept,
) -> [f64; 2] {
    let mut directions = [d; 2];
    if rule.decay_order == DecayOrder::BeforeMomentum {
        directions = decayed(named, theta, directions, rule);
    }
    let momentum = rule.momentum[named.role];
    let share = if kept.velocity_steps[k] == 1 { 1.0 } else { 1.0 - rule.dampening };
    let step = |v: &mut f64, d: &mut f64| {
        *v = momentum * *v + share * *d;
        *d = if rule.nesterov { *d + momentum * *v } else { *v };
    };
    if momentum > 0.0 {
        step(&mut kept.velocity[k][i], &mut directions[0]);
        if exponentiated(rule) && named.role == Role::Bias {
            step(&mut kept.negative_velocity[i], &mut directions[1]);
        }
    }
    if rule.decay_order == DecayOrder::AfterMomentum {
        directions = decayed(named, theta, directions, rule);
    }
    directions
}

/// The same by Adam's moments.
fn by_moments(
    (named, k, i): (&Named, usize, usize),
    (theta, d): (f64, f64),
    rule: &Update,
    &Adam { betas: [beta1, beta2], epsilon, amsgrad }: &Adam,
    kept: &mut Kept,
) -> [f64; 2] {
    let coupled = rule.decay_order == DecayOrder::BeforeMomentum;
    let d = if coupled { d + rule.decay[named.role] * theta } else { d };
    let t = kept.steps[k] as f64;
    let [m, v, w] = &mut kept.moments;
    let [m, v, w] = [&mut m[k][i], &mut v[k][i], &mut w[k][i]];
    *m = beta1 * *m + (1.0 - beta1) * d;
    *v = beta2 * *v + (1.0 - beta2) * d * d;
    *w = if amsgrad { w.max(*v) } else { *v };
    let divisor = w.sqrt() / (1.0 - beta2.powf(t)).sqrt() + epsilon;
    let q = if *m == 0.0 { 0.0 } else { *m / (1.0 - beta1.powf(t)) / divisor };
    let q = if rule.corrections { named.correction * q } else { q };
    if rule.decay_order == DecayOrder::AfterMomentum { decayed(named, theta, [q; 2], rule) } else { [q; 2] }
}

/// What decoupled decay leaves of a parameter.
fn left(named: &Named, rate: f64, rule: &Update) -> f64 {
    let decoupled = rule.decay_order == DecayOrder::Decoupled;
    if decoupled { 1.0 - rate * of_role(&rule.decay, named.role) } else { 1.0 }
}

/// The learning rate: that of the rule, or that which the angle rule chooses.
fn learning_rate(named: &[Named], before: &[Vec<f64>], directions: &[Vec<[f64; 2]>], rule: &Update) -> f64 {
    let Some(Angle { lr_min, rates, cosine_epsilon }) = rule.angle.filter(|_| !exponentiated(rule)) else {
        return rule.lr;
    };
    let floor = rule.floor.unwrap_or(0.0);
    let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
    let fits = |&lr: &f64| {
        let mut free: Vec<f64> = vec![];
        for (k, named) in named.iter().enumerate().filter(|(_, named)| named.keeps_sign) {
            let rate = lr * rule.factors[named.role];
            let left = left(named, rate, rule);
            free.extend(before[k].iter().zip(&directions[k]).map(|(theta, [d, _])| left * theta - rate * d));
        }
        let bounded: Vec<f64> = free.iter().map(|value| value.max(floor)).collect();
        norm(&bounded) >= (1.0 - cosine_epsilon) * norm(&free)
    };
    let mut grid = (0..rates).map(|i| rule.lr * (lr_min / rule.lr).powf(i as f64 / (rates.max(2) - 1) as f64));
    let last = grid.clone().next_back().expect("at least one rate");
    grid.find(fits).unwrap_or(last)
}

/// `exp(x)`, which is a normal number for any `x`: nothing vanishes for good, and 0 stays 0.
fn bounded_exp(x: f64) -> f64 {
    x.clamp(-708.0, 709.0).exp()
}

/// Element `i` of a parameter after a step from `old` along `d`.
fn moved((named, i): (Named, usize), old: f64, [d, minus]: [f64; 2], rule: &Update, lr: f64, kept: &mut Kept) -> f64 {
    let Named { role, keeps_sign, .. } = named;
    let rate = lr * of_role(&rule.factors, role);
    let (sign, left) = (sign(old), left(&named, rate, rule));
    let next = match rule.descent {
        _ if role == Role::Statistic => return 0.9 * old + 0.1 * d,
        _ if !named.moves(rule) => return old,
        Descent::Exponentiated { .. } if rate > 0.0 && role == Role::Bias => {
            let positive = left * (old + kept.negative[i]) * bounded_exp(-rate * d);
            kept.negative[i] *= left * bounded_exp(rate * minus);
            return positive - kept.negative[i];
        }
        Descent::Exponentiated { .. } if rate > 0.0 => left * old * bounded_exp(-rate * sign * d),
        _ => left * old - rate * d,
    };
    let floor = rule.floor.unwrap_or(0.0);
    if keeps_sign {
        at_least(next, floor)
    } else if role == Role::Weights && rule.floor.is_some() {
        sign * at_least(sign * next, floor)
    } else {
        next
    }
}

/// The forward pass of a layer of any kind in training, and what the backward pass needs of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Forward {
    /// Of a layer with inhibition.
    Dann(DannForward),
    /// `z` and `h` of a layer without interneurons.
    Dense(Vec<f64>, Vec<f64>),
    /// Of a normalised layer.
    Norm(NormForward),
}

impl Forward {
    /// `z [B, ne]`: before the nonlinearity.
    pub fn z(&self) -> &[f64] {
        match self {
            Self::Dann(forward) => &forward.z,
            Self::Dense(z, _) => z,
            Self::Norm(forward) => &forward.z,
        }
    }

    /// `h [B, ne]`: the output.
    pub fn h(&self) -> &[f64] {
        match self {
            Self::Dann(forward) => &forward.h,
            Self::Dense(_, h) => h,
            Self::Norm(forward) => &forward.h,
        }
    }
}

/// The forward pass of a layer of any kind, in training.
///
/// # Panics
/// If the parameters are not those of the shape.
pub fn forward(shape: &LayerShape, params: &Params<f64>, x: &[f64]) -> Forward {
    const OWN: &str = "parameters of the shape's kind";
    let params = params.clone();
    match shape {
        LayerShape::Dann(shape) => Forward::Dann(dann_forward(shape, &params.try_into().expect(OWN), x)),
        LayerShape::Dense(shape) => {
            let (z, h) = dense_forward(shape, &params.try_into().expect(OWN), x);
            Forward::Dense(z, h)
        }
        LayerShape::Norm(shape) => Forward::Norm(norm_forward(shape, &params.try_into().expect(OWN), x, false)),
        LayerShape::Recurrent(_) => panic!("a recurrent layer has sequences"),
    }
}

/// The gradients of a layer of any kind: `dx [B, d]` and those of the parameters.
///
/// # Panics
/// If the parameters or the forward pass are not those of the shape.
pub fn backward(
    shape: &LayerShape,
    params: &Params<f64>,
    x: &[f64],
    forward: &Forward,
    dh: &[f64],
) -> (Vec<f64>, Params<f64>) {
    const OWN: &str = "parameters of the shape's kind";
    let names = params.names();
    let params = params.clone();
    let (dx, gradients): (_, Params<f64>) = match (shape, forward) {
        (LayerShape::Dann(shape), Forward::Dann(forward)) => {
            let (dx, gradients) = dann_backward(shape, &params.try_into().expect(OWN), x, forward, dh);
            (dx, gradients.into())
        }
        (LayerShape::Dense(shape), Forward::Dense(z, _)) => {
            let (dx, gradients) = dense_backward(shape, &params.try_into().expect(OWN), x, z, dh);
            (dx, gradients.into())
        }
        (LayerShape::Norm(shape), Forward::Norm(forward)) => {
            let (dx, gradients) = norm_backward(shape, &params.try_into().expect(OWN), x, forward, dh);
            (dx, gradients.into())
        }
        _ => panic!("the forward pass of another kind of layer"),
    };
    (dx, gradients.renamed(names))
}

/// Mean softmax cross-entropy of `logits [B, classes]` and its gradient.
///
/// # Panics
/// If there is no label, if `logits` is not a whole number of classes for each, or if a label names no class.
pub fn softmax_cross_entropy(logits: &[f64], labels: &[u32]) -> (f64, Vec<f64>) {
    let batch = labels.len();
    assert!(batch > 0 && logits.len().is_multiple_of(batch), "{} logits for {batch} labels", logits.len());
    let classes = logits.len() / batch;
    let mut loss = 0.0;
    let mut gradient = Vec::with_capacity(logits.len());
    for (logits, &label) in logits.chunks_exact(classes).zip(labels) {
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        loss -= logits[label as usize] - largest - sum.ln();
        gradient.extend(logits.iter().enumerate().map(|(class, logit)| {
            let target = if class == label as usize { 1.0 } else { 0.0 };
            ((logit - largest).exp() / sum - target) / batch as f64
        }));
    }
    (loss / batch as f64, gradient)
}

/// The mean of `loss(o, y)` over the elements of `outputs`, each with its weight, and its gradient by them: zero, both,
/// where all weights are zero.
///
/// # Panics
/// If the arrays have other lengths.
pub fn mean_of_elements(
    outputs: &[f64],
    y: &[f64],
    weights: &[f64],
    loss: impl Fn(f64, f64) -> (f64, f64),
) -> (f64, Vec<f64>) {
    assert!(outputs.len() == y.len() && y.len() == weights.len(), "an output, a target and a weight for each element");
    let total: f64 = weights.iter().sum();
    let weights = weights.iter().map(|w| if total > 0.0 { w / total } else { 0.0 });
    let each = outputs.iter().zip(y).map(|(&o, &y)| loss(o, y)).zip(weights);
    let (losses, gradient): (Vec<_>, _) = each.map(|((loss, d), w)| (w * loss, w * d)).unzip();
    (losses.iter().sum(), gradient)
}

/// `(o − y)²` and its derivative by o.
pub fn squared_error(o: f64, y: f64) -> (f64, f64) {
    ((o - y).powi(2), 2.0 * (o - y))
}

/// `−y ln σ(o) − (1 − y) ln(1 − σ(o))` and its derivative by o.
pub fn binary_cross_entropy(o: f64, y: f64) -> (f64, f64) {
    (o.max(0.0) - o * y + (-o.abs()).exp().ln_1p(), 1.0 / (1.0 + (-o).exp()) - y)
}

/// The mean of `−Σ t ln softmax(o)` over the examples, each with its weight, and its gradient by the outputs `[B, K]`;
/// `t [B, K]`.
///
/// # Panics
/// If the arrays do not fit one another.
pub fn weighted_cross_entropy(outputs: &[f64], t: &[f64], weights: &[f64]) -> (f64, Vec<f64>) {
    assert!(outputs.len() == t.len() && t.len().is_multiple_of(weights.len()), "a row of each for each weight");
    let (classes, total) = (t.len() / weights.len(), weights.iter().sum::<f64>());
    let (mut loss, mut gradient) = (0.0, vec![]);
    for ((o, t), w) in outputs.chunks_exact(classes).zip(t.chunks_exact(classes)).zip(weights) {
        let w = if total > 0.0 { w / total } else { 0.0 };
        let largest = o.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = o.iter().map(|o| (o - largest).exp()).sum();
        let all: f64 = t.iter().sum();
        loss -= w * o.iter().zip(t).map(|(o, t)| t * (o - largest - sum.ln())).sum::<f64>();
        gradient.extend(o.iter().zip(t).map(|(o, t)| w * (all * (o - largest).exp() / sum - t)));
    }
    (loss, gradient)
}

/// What the initialisation of a layer with inhibition aims at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InitStatistics {
    /// Mean and standard deviation of `Wex`, and of `Wix` if there is more than one interneuron.
    pub scale: f64,
    /// Every element of `alpha`.
    pub alpha: f64,
}

/// The statistics of a fresh layer of `d` inputs: raw ones, or those that passed a ReLU.
pub fn init_statistics(d: usize, rectified_input: bool) -> InitStatistics {
    let d = d as f64;
    let scale = if rectified_input { (2.0 * PI / (d * (2.0 * PI - 1.0))).sqrt() } else { (1.0 / (2.0 * d)).sqrt() };
    InitStatistics { scale, alpha: ((2.0 * PI - 1.0) / d).sqrt().ln() }
}

/// What exact centring aims at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CentredStatistics {
    /// `s`: standard deviation of `Wex`. Its mean is `k s`.
    pub scale: f64,
    /// Mean and standard deviation of the logarithm of lognormal weights.
    pub mu: f64,
    /// See `mu`.
    pub sigma: f64,
    /// Every element of `alpha`.
    pub alpha: f64,
}

/// The statistics of a fresh layer whose weights have the numerator `n`, and `k` times their deviation for a mean.
pub fn centred_statistics(shape: &DannShape, n: f64, k: f64) -> CentredStatistics {
    let (d, ne) = (shape.d as f64, shape.ne as f64);
    let scale = if shape.ne == 1 { (n / d).sqrt() } else { (n * ne / (d * (ne - 1.0))).sqrt() };
    let sigma = (1.0 + 1.0 / (k * k)).ln().sqrt();
    let mu = (k * scale).ln() - sigma * sigma / 2.0;
    CentredStatistics { scale, mu, sigma, alpha: ((2.0 * PI - 1.0) / d).sqrt().ln() - k.ln() }
}

/// Exact centring of positive weights `Wex [ne, d]`: `Wix [ni, d]`, each row the mean row of `Wex`, and `Wei [ne, ni]`,
/// each row of these positive numbers divided by its sum.
pub fn centre(shape: &DannShape, wex: &[f64], drawn_ei: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let &DannShape { d, ne, ni, .. } = shape;
    length("Wex", wex.len(), ne * d);
    length("Wei", drawn_ei.len(), ne * ni);
    let mean: Vec<f64> = sum_over_batch(wex, d).iter().map(|sum| sum / ne as f64).collect();
    let sums: Vec<f64> = drawn_ei.chunks_exact(ni).map(|row| row.iter().sum()).collect();
    (elementwise(ni * d, |i| mean[i % d]), elementwise(ne * ni, |i| drawn_ei[i] / sums[i / ni]))
}

/// The mean of the inputs `x [B, d]`, that of their squares, and their unbiased variance over examples, averaged over
/// the inputs.
pub fn input_moments(x: &[f64], d: usize) -> [f64; 3] {
    let batch = examples(x, d) as f64;
    let (m1, _) = mean_and_variance(x);
    let (m2, _) = mean_and_variance(&elementwise(x.len(), |i| x[i] * x[i]));
    let variances: Vec<f64> =
        transposed(x, d).chunks_exact(x.len() / d).map(|input| mean_and_variance(input).1).collect();
    [m1, m2, mean_and_variance(&variances).0 * batch / (batch - 1.0)]
}

/// What an initialisation from the moments of its inputs aims at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeasuredStatistics {
    /// Mean and standard deviation of `Wex`, and of `Wix` if there is more than one interneuron.
    pub scale: f64,
    /// Every element of `exp(alpha)`.
    pub exp_alpha: f64,
    /// The same for unit variance.
    pub exp_alpha_unit: f64,
    /// The variance of `ẑ` over the units, without unit variance.
    pub variance: f64,
    /// The mean square of `ẑ`, without unit variance.
    pub square: f64,
}

/// The statistics of a fresh layer of `d` inputs with these moments, and `ni > 1` interneurons.
pub fn measured_statistics([m1, m2, v]: [f64; 3], d: usize, ni: usize) -> MeasuredStatistics {
    let (d, variance) = (d as f64, m2 / (m2 + v));
    MeasuredStatistics {
        scale: (v / (d * (m2 + v))).sqrt(),
        exp_alpha: ((m2 + v) / d).sqrt() / m1,
        exp_alpha_unit: (m2 / d).sqrt() / m1,
        variance,
        square: (1.0 + 1.0 / ni as f64) * variance,
    }
}

/// Mean and variance of some values, for checking that `ẑ` of a fresh layer is standardised.
pub fn mean_and_variance(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n)
}
