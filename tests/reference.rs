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
        let floor = |least| Divisor::floor(0.3 * least).unwrap();
        for shape in shapes
            .into_iter()
            .flat_map(|shape| [shape, shape.subtractive(), shape.divisor(floor(1.0)), shape.divisor(Divisor::Root)])
        {
            let mut draw = |n: usize, low: f64| -> Vec<f64> { (0..n).map(|_| rng.random_range(low..1.0)).collect() };
            let other = shape.divisor != Divisor::Plain;
            let x = draw(batch * d, if other { -1.0 } else { 0.1 });
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
            // Near the least root the curvature is too large for the differences.
            if shape.divisor == Divisor::Root && forward.gamma.iter().any(|&gamma| gamma < 0.05) {
                continue;
            }
            // Nor where a divisor is at its floor.
            let floored = |least| dann_forward(&shape.divisor(floor(least)), &params, &x).floored;
            if shape.divisor == floor(1.0) && floored(0.99) != floored(1.01) {
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
fn gradients_of_normalised_layers_and_signed_columns() {
    for seed in 0..20 {
        let mut rng = generator(seed);
        let (batch, d, ne) = (rng.random_range(1..6), rng.random_range(1..7), rng.random_range(1..6));
        let mut draw = |n: usize| -> Vec<f64> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
        let (x, w) = (draw(batch * d), draw(batch * ne));
        let norms = [Normalisation::Layer, Normalisation::Batch].map(|over| NormShape::new(d, ne, over));
        let norms = norms.into_iter().flat_map(|shape| [shape, shape.linear()]).map(LayerShape::from);
        let columns = DenseShape::new(d, ne).columns(d / 2, ne.div_ceil(2));
        let columns = [columns, columns.linear()].map(LayerShape::from);
        for shape in norms.chain(columns) {
            let mut params = Params::<f64>::zeros(&shape).unwrap();
            params.view_mut().arrays().into_iter().for_each(|(_, array)| array.copy_from_slice(&draw(array.len())));
            let out = forward(&shape, &params, &x);
            // At the kink of the ReLU there is no derivative, and a variance near ε has a large third one.
            let steep = |out: &Forward| match out {
                Forward::Norm(out) => out.variance.iter().any(|&variance| variance < 1e-2),
                _ => false,
            };
            if out.z().iter().any(|z| z.abs() < 1e-2) || steep(&out) {
                continue;
            }
            let (dx, gradients) = backward(&shape, &params, &x, &out, &w);
            let loss = |params: &Params<f64>, x: &[f64]| weighted(forward(&shape, params, x).h(), &w);
            assert_equal("dx", &dx, &differences(&x, |x| loss(&params, x)));
            for (k, (name, analytic)) in gradients.view().arrays().into_iter().enumerate() {
                if name.starts_with("running") {
                    continue;
                }
                let at = params.view().arrays()[k].1.to_vec();
                let numeric = differences(&at, |moved| {
                    let mut params = params.clone();
                    params.view_mut().arrays()[k].1.copy_from_slice(moved);
                    loss(&params, &x)
                });
                assert_equal(name, analytic, &numeric);
            }
        }
    }
}

/// A layer with inhibition whose every element is `x`.
fn dann_of(x: f64) -> Params<f64> {
    Params::from(Dann {
        wex: vec![x; 8],
        wix: vec![x; 2],
        wei: vec![x; 4],
        alpha: vec![x],
        g: vec![x; 4],
        b: vec![x; 4],
    })
}

fn after(steps: usize, from: Params<f64>, gradient: f64, rule: &Update) -> DannParams<f64> {
    let (mut params, mut kept) = (from, Kept::default());
    for _ in 0..steps {
        update(&DannShape::new(2, 4, 1).into(), &mut params, &dann_of(gradient), rule, &mut kept);
    }
    DannParams::try_from(params).unwrap()
}

#[test]
fn updates_descend_correct_and_clamp() {
    let of = |x: f64| after(0, dann_of(x), 0.0, &Update::sgd(0.0));
    assert_eq!(after(1, dann_of(0.5), 1.0, &Update::sgd(0.25)), of(0.25));
    let corrected = after(1, dann_of(1.0), 1.0, &Update::csgd(0.5));
    let expected = Dann { wix: vec![0.75; 2], wei: vec![0.75; 4], alpha: vec![0.875], ..of(0.5) };
    assert_eq!(corrected, expected, "1/√ne = 1/2, 1/d = 1/2, 1/(√ne·d) = 1/4");
    let clamped = after(1, dann_of(0.5), 1.0, &Update::sgd(1.0));
    assert_eq!(clamped, Dann { alpha: vec![-0.5], b: vec![-0.5; 4], ..of(0.0) });
}

/// As below, of rules with moments and of the places of weight decay.
#[test]
fn rules_do_what_they_say() {
    let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-12, "{got}, expected {want}");
    let (sgd, half) = (Update::sgd(0.1), PerRole::all(0.5));
    // The first step of Adam is as long as the rate; a correction of 1/√ne = 1/2 halves it.
    let adam = Some(Adam { epsilon: 0.0, ..Adam::default() });
    let adamw = after(1, dann_of(1.0), 3.0, &Update { adam, decay: half, corrections: true, ..Update::adamw(0.1) });
    near(adamw.wex[0], 0.95 - 0.1);
    near(adamw.wix[0], 0.95 - 0.05);
    // Gradients of 3 and 1: m = 0.1 · 3, then 0.9 · 0.3 + 0.1; v = 0.001 · 9, then 0.999 · 0.009 + 0.001.
    let adam = Update { adam, ..sgd };
    let (shape, mut params) = (DannShape::new(2, 4, 1).into(), dann_of(1.0));
    let mut kept = Kept::default();
    for gradient in [3.0, 1.0] {
        update(&shape, &mut params, &dann_of(gradient), &adam, &mut kept);
    }
    let second = (0.37 / (1.0 - 0.81)) / ((0.999_f64 * 0.009 + 0.001) / (1.0 - 0.998001)).sqrt();
    near(params["b"][0], 1.0 - 0.1 - 0.1 * second);
    // Dampening of 1/2: v = 1, then 0.5 + 0.5.
    near(after(2, dann_of(1.0), 1.0, &Update { momentum: half, dampening: 0.5, ..sgd }).b[0], 0.8);
    // Four ones have the norm 2.
    let clipped = after(1, dann_of(1.0), 1.0, &Update { clip: Some(1.0), clip_scope: ClipScope::Array, ..sgd });
    near(clipped.b[0], 1.0 - 0.1 / (2.0 + 1e-6));
    // Decay before momentum: v = 1.5, then 0.75 + 1.5. After it: 1 + 0.5, then 1.5 + 0.5. Decoupled: 1, then 1.5.
    let eg = Update { momentum: half, decay: half, ..Update::eg(0.1) };
    let exponent = |decay_order| after(2, dann_of(1.0), 1.0, &Update { decay_order, ..eg }).wex[0].ln() / -0.1;
    near(exponent(DecayOrder::BeforeMomentum), 1.5 + 2.25);
    near(exponent(DecayOrder::AfterMomentum), 1.5 + 2.0);
    near(exponent(DecayOrder::Decoupled), 2.5 - 2.0 * 0.95_f64.ln() / 0.1);
    let parts = after(2, dann_of(1.0), 1.0, &eg).b[0];
    // And of b⁻: 0.5, then 0.25 + 0.5.
    near(parts, 1.1 * (-0.375_f64).exp() - 0.1 * 0.125_f64.exp());
    // What all weights lose, they get back; biases do not.
    let kept = after(1, dann_of(1.0), 1.0, &Update { kept_sums: Some(KeptSums::Row), ..sgd });
    near(kept.wex[0], 1.0);
    near(kept.b[0], 0.9);
    // The factor 0 leaves what is kept as it was.
    let frozen = Update { factors: PerRole::all(0.0), momentum: half, ..sgd };
    let (mut params, mut kept) = (dann_of(1.0), Kept::default());
    update(&shape, &mut params, &dann_of(1.0), &frozen, &mut kept);
    assert!(params == dann_of(1.0) && kept.velocity.iter().flatten().all(|&v| v == 0.0));
}

/// Each policy by an example that can be worked out by hand.
#[test]
fn policies_do_what_they_say() {
    let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-12, "{got}, expected {want}");
    let sgd = Update::sgd(0.1);
    // 1 − 0.1 (1 + 0.5) and 1 − 0.1 (1 + 0.5 · 1): only Wex decays.
    let decayed = after(1, dann_of(1.0), 1.0, &Update { decay: PerRole::all(0.0).with(Role::Weights, 0.5), ..sgd });
    near(decayed.wex[0], 0.85);
    near(decayed.wix[0], 0.9);
    // v = 1, then 0.5 + 1: 1 − 0.1 − 0.15. Nesterov: d = 1 + 0.5, then 1 + 0.75.
    near(after(2, dann_of(1.0), 1.0, &Update { momentum: PerRole::all(0.5), ..sgd }).b[0], 0.75);
    near(
        after(2, dann_of(1.0), 1.0, &Update { momentum: PerRole::all(0.5), nesterov: true, ..sgd }).b[0],
        1.0 - 0.15 - 0.175,
    );
    // Gradients of 23 ones have the norm √23.
    let clipped = after(1, dann_of(1.0), 1.0, &Update { clip: Some(1.0), ..sgd });
    near(clipped.wex[0], 1.0 - 0.1 / (23_f64.sqrt() + 1e-6));
    near(after(1, dann_of(1.0), 1.0, &Update { clip: Some(5.0), ..sgd }).wex[0], 0.9);
    let floored = after(1, dann_of(0.05), 1.0, &Update { floor: Some(0.01), ..sgd });
    near(floored.wex[0], 0.01);
    near(floored.b[0], -0.05);
    // θ exp(−0.1 · 1), and a bias of 1.1 exp(−0.1) − 0.1 exp(0.1).
    let exponentiated = after(1, dann_of(1.0), 1.0, &Update::eg(0.1));
    near(exponentiated.wei[0], (-0.1_f64).exp());
    near(exponentiated.b[0], 1.1 * (-0.1_f64).exp() - 0.1 * 0.1_f64.exp());
    near(after(1, dann_of(-1.0), 1.0, &Update::eg(0.1)).alpha[0], -(0.1_f64.exp()));
    // All 18 clamped parameters fall to −0.5 at a rate of 1 and are at 0 at 0.5: the largest rate that fits is 0.5.
    let angle = Some(Angle { lr_min: 0.25, rates: 3, cosine_epsilon: 0.1 });
    near(after(1, dann_of(0.5), 1.0, &Update { angle, ..Update::sgd(1.0) }).b[0], 0.0);
    near(after(1, dann_of(0.1), 1.0, &Update { angle, ..Update::sgd(1.0) }).b[0], 0.1 - 0.25);
}
