//! The layers as their equations read: naive, in f64, never optimised, sharing no code with the kernels.
//!
//! This is what the tests compare everything with, and the place to look up what a kernel computes. All arrays are
//! row-major; `x` is `[B, d]`, outputs are `[B, ne]`. Functions panic if an array has not the length that the shape
//! prescribes.

use crate::params::Nonlinearity;
use crate::params::dann::{Dann, DannParams, DannShape};
use crate::params::dense::{Dense, DenseParams, DenseShape};
use crate::params::update::Update;
use std::f64::consts::PI;

/// ε of γ: the divisor of an example whose interneurons are silent.
pub const EPSILON: f64 = 1e-8;

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
        Nonlinearity::Relu => elementwise(z.len(), |i| if z[i] > 0.0 { dh[i] } else { 0.0 }),
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
    /// `γ [B, ne]`: divisive inhibition, ε added; all 1 in the subtractive variant.
    pub gamma: Vec<f64>,
    /// `ẑ [B, ne]`: standardised excitation.
    pub zhat: Vec<f64>,
    /// `z [B, ne]`: after gain and bias.
    pub z: Vec<f64>,
    /// `h [B, ne]`: the output.
    pub h: Vec<f64>,
}

/// The forward pass of a layer with inhibition.
pub fn dann_forward(shape: &DannShape, params: &DannParams<f64>, x: &[f64]) -> DannForward {
    let &DannShape { d, ne, ni, nonlinearity, divisive } = shape;
    dann_lengths(shape, params);
    examples(x, d);
    let ze = times_transposed(x, &params.wex, d);
    let zi = times_transposed(x, &params.wix, d);
    let s = times_transposed(&zi, &params.wei, ni);
    let gamma = if divisive {
        let azi = elementwise(zi.len(), |i| params.alpha[i % ni].exp() * zi[i]);
        times_transposed(&azi, &params.wei, ni).iter().map(|gamma| gamma + EPSILON).collect()
    } else {
        vec![1.0; ze.len()]
    };
    let zhat = elementwise(ze.len(), |i| (ze[i] - s[i]) / gamma[i]);
    let gain = |i: usize| if divisive { params.g[i % ne] } else { 1.0 };
    let z = elementwise(ze.len(), |i| gain(i) * zhat[i] + params.b[i % ne]);
    let h = activate(nonlinearity, &z);
    DannForward { ze, zi, s, gamma, zhat, z, h }
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
    let &DannShape { d, ne, ni, nonlinearity, divisive } = shape;
    dann_lengths(shape, params);
    let batch = examples(x, d);
    length("dh", dh.len(), batch * ne);
    let DannForward { zi, gamma, zhat, z, .. } = forward;
    let dz = through_activation(nonlinearity, z, dh);
    let db = sum_over_batch(&dz, ne);
    let gain = |i: usize| if divisive { params.g[i % ne] } else { 1.0 };
    let du = elementwise(dz.len(), |i| dz[i] * gain(i) / gamma[i]);
    let minus_p: Vec<f64> = times(&du, &params.wei, ne).iter().map(|p| -p).collect();
    let du_t = transposed(&du, ne);
    let minus_du_zi: Vec<f64> = times(&du_t, zi, batch).iter().map(|x| -x).collect();
    let (dg, dalpha, dzi, dwei);
    if divisive {
        let a = |i: usize| params.alpha[i % ni].exp();
        dg = sum_over_batch(&elementwise(dz.len(), |i| dz[i] * zhat[i]), ne);
        let dgamma = elementwise(du.len(), |i| -du[i] * zhat[i]);
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

/// One step of a layer with inhibition: projected gradient descent, with the corrections if the rule says so.
pub fn dann_update(shape: &DannShape, params: &mut DannParams<f64>, gradients: &DannParams<f64>, rule: &Update) {
    dann_lengths(shape, params);
    dann_lengths(shape, gradients);
    let (d, ne) = (shape.d as f64, shape.ne as f64);
    let correction = |value: f64| if rule.corrections { value } else { 1.0 };
    let subtract = |theta: &mut [f64], gradient: &[f64], scale: f64| {
        theta.iter_mut().zip(gradient).for_each(|(theta, gradient)| *theta -= rule.lr * scale * gradient);
    };
    subtract(&mut params.wex, &gradients.wex, rule.factors.wex);
    subtract(&mut params.wix, &gradients.wix, rule.factors.wix * correction(1.0 / ne.sqrt()));
    subtract(&mut params.wei, &gradients.wei, rule.factors.wei * correction(1.0 / d));
    subtract(&mut params.alpha, &gradients.alpha, rule.factors.alpha * correction(1.0 / (ne.sqrt() * d)));
    subtract(&mut params.g, &gradients.g, rule.factors.g);
    subtract(&mut params.b, &gradients.b, rule.factors.b);
    for theta in [&mut params.wex, &mut params.wix, &mut params.wei, &mut params.g].into_iter().flatten() {
        if *theta < 0.0 {
            *theta = 0.0;
        }
    }
}

/// `z` and `h` of a plain layer, `[B, ne]` each.
pub fn dense_forward(shape: &DenseShape, params: &DenseParams<f64>, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    dense_lengths(shape, params);
    examples(x, shape.d);
    let wx = times_transposed(x, &params.w, shape.d);
    let z = elementwise(wx.len(), |i| wx[i] + params.b[i % shape.ne]);
    let h = activate(shape.nonlinearity, &z);
    (z, h)
}

/// The gradients of a plain layer: `dx [B, d]` and those of the parameters, from `z` and `dh`, `[B, ne]` each.
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
    let dz = through_activation(shape.nonlinearity, z, dh);
    let dx = times(&dz, &params.w, shape.ne);
    let w = times(&transposed(&dz, shape.ne), x, batch);
    (dx, Dense { w, b: sum_over_batch(&dz, shape.ne) })
}

/// One step of a plain layer. Its `W` takes the factor of `Wex`.
pub fn dense_update(params: &mut DenseParams<f64>, gradients: &DenseParams<f64>, rule: &Update) {
    length("dW", gradients.w.len(), params.w.len());
    length("db", gradients.b.len(), params.b.len());
    let subtract = |theta: &mut [f64], gradient: &[f64], factor: f64| {
        theta.iter_mut().zip(gradient).for_each(|(theta, gradient)| *theta -= rule.lr * factor * gradient);
    };
    subtract(&mut params.w, &gradients.w, rule.factors.wex);
    subtract(&mut params.b, &gradients.b, rule.factors.b);
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

/// Mean and variance of some values, for checking that `ẑ` of a fresh layer is standardised.
pub fn mean_and_variance(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n)
}
