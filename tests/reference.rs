//! The reference itself: its gradients against central differences.

use interneuron::reference::*;
use interneuron::*;
use rand::RngExt;

/// Central differences with this step are off by about h² from truncation and ε/h from rounding.
const STEP: f64 = 1e-5;
/// 1e-10 of truncation and 1e-11 of rounding, times the curvature of a division by a small γ.
const TOLERANCE: f64 = 1e-7;

/// `Σ w ⊙ h`, a loss whose gradient at h is w.
fn weighted(h: &[f64], w: &[f64]) -> f64 {
    h.iter().zip(w).map(|(h, w)| h * w).sum()
}

/// The derivatives of `f` by each element of `at`.
fn differences(at: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut moved = at.to_vec();
    (0..at.len())
        .map(|i| {
            moved[i] = at[i] + STEP;
            let up = f(&moved);
            moved[i] = at[i] - STEP;
            let down = f(&moved);
            moved[i] = at[i];
            (up - down) / (2.0 * STEP)
        })
        .collect()
}

fn assert_equal(what: &str, analytic: &[f64], numeric: &[f64]) {
    assert_eq!(analytic.len(), numeric.len(), "{what}");
    let scale = numeric.iter().fold(1e-3, |m: f64, x| m.max(x.abs()));
    for (i, (a, n)) in analytic.iter().zip(numeric).enumerate() {
        assert!((a - n).abs() <= TOLERANCE * scale, "{what}[{i}]: {a} analytic, {n} numeric");
    }
}

#[test]
fn gradients_of_the_inhibited_layer() {
    for seed in 0..20 {
        let mut rng = generator(seed);
        let (batch, d, ne, ni) =
            (rng.random_range(1..5), rng.random_range(1..7), rng.random_range(1..6), rng.random_range(1..4));
        let shapes = [DannShape::new(d, ne, ni), DannShape::new(d, ne, ni).linear()];
        for shape in shapes.into_iter().flat_map(|shape| [shape, shape.subtractive()]) {
            let mut draw = |n: usize, low: f64| -> Vec<f64> { (0..n).map(|_| rng.random_range(low..1.0)).collect() };
            let x = draw(batch * d, 0.1);
            let w = draw(batch * ne, -1.0);
            let lengths = shape.lengths().unwrap();
            let params = Dann {
                wex: draw(lengths.wex, 0.0),
                wix: draw(lengths.wix, 0.1),
                wei: draw(lengths.wei, 0.1),
                alpha: draw(lengths.alpha, -1.0),
                g: draw(lengths.g, 0.1),
                b: draw(lengths.b, -1.0),
            };
            let forward = dann_forward(&shape, &params, &x);
            // At the kink of the ReLU there is no derivative to compare with.
            if forward.z.iter().any(|z| z.abs() < 1e-2) {
                continue;
            }
            let (dx, gradients) = dann_backward(&shape, &params, &x, &forward, &w);
            let loss = |params: &DannParams<f64>, x: &[f64]| weighted(&dann_forward(&shape, params, x).h, &w);
            assert_equal("dx", &dx, &differences(&x, |x| loss(&params, x)));
            macro_rules! check {
                ($($name:ident),*) => {$(
                    let numeric = differences(&params.$name, |moved| {
                        loss(&Dann { $name: moved.to_vec(), ..params.clone() }, &x)
                    });
                    assert_equal(stringify!($name), &gradients.$name, &numeric);
                )*};
            }
            check!(wex, wix, wei, alpha, g, b);
        }
    }
}

#[test]
fn gradients_of_the_plain_layer_and_the_loss() {
    for seed in 0..20 {
        let mut rng = generator(seed);
        let (batch, d, ne) = (rng.random_range(1..5), rng.random_range(1..7), rng.random_range(2..6));
        let mut draw = |n: usize| -> Vec<f64> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
        let (x, params) = (draw(batch * d), Dense { w: draw(ne * d), b: draw(ne) });
        let labels: Vec<u32> = (0..batch).map(|i| (i % ne) as u32).collect();
        for shape in [DenseShape::new(d, ne), DenseShape::new(d, ne).linear()] {
            let (z, h) = dense_forward(&shape, &params, &x);
            if z.iter().any(|z| z.abs() < 1e-2) {
                continue;
            }
            let loss = |params: &DenseParams<f64>, x: &[f64]| {
                softmax_cross_entropy(&dense_forward(&shape, params, x).1, &labels).0
            };
            let (_, dh) = softmax_cross_entropy(&h, &labels);
            let (dx, gradients) = dense_backward(&shape, &params, &x, &z, &dh);
            assert_equal("dx", &dx, &differences(&x, |x| loss(&params, x)));
            let with_w = |w: &[f64]| loss(&Dense { w: w.to_vec(), ..params.clone() }, &x);
            let with_b = |b: &[f64]| loss(&Dense { b: b.to_vec(), ..params.clone() }, &x);
            assert_equal("W", &gradients.w, &differences(&params.w, with_w));
            assert_equal("b", &gradients.b, &differences(&params.b, with_b));
        }
    }
}

#[test]
fn updates_descend_correct_and_clamp() {
    let shape = DannShape::new(2, 4, 1);
    let of = |x: f64| Dann {
        wex: vec![x; 8],
        wix: vec![x; 2],
        wei: vec![x; 4],
        alpha: vec![x],
        g: vec![x; 4],
        b: vec![x; 4],
    };
    let mut plain = of(0.5);
    dann_update(&shape, &mut plain, &of(1.0), &Update::sgd(0.25));
    assert_eq!(plain, of(0.25));
    let mut corrected = of(1.0);
    dann_update(&shape, &mut corrected, &of(1.0), &Update::csgd(0.5));
    let expected = Dann { wix: vec![0.75; 2], wei: vec![0.75; 4], alpha: vec![0.875], ..of(0.5) };
    assert_eq!(corrected, expected, "1/√ne = 1/2, 1/d = 1/2, 1/(√ne·d) = 1/4");
    let mut clamped = of(0.5);
    dann_update(&shape, &mut clamped, &of(1.0), &Update::sgd(1.0));
    assert_eq!(clamped, Dann { alpha: vec![-0.5], b: vec![-0.5; 4], ..of(0.0) });
}
