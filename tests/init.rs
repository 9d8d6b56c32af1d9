//! Initialisation: what exact centring and measured moments promise, and what they refuse.

mod common;

use common::{Replay, Tolerance, assert_close, assert_within, isas};
use interneuron::reference::{CentredStatistics, centred_statistics, mean_and_variance};
use interneuron::*;
use proptest::prelude::*;

const LAWS: [Law; 3] = [Law::Exponential, Law::Lognormal { k: 1.0 }, Law::Lognormal { k: 0.6 }];
const INPUTS: [(Inputs, f64); 3] = [(Inputs::Linear, 1.0), (Inputs::Rectified, 2.0), (Inputs::Recurrent, 1.0 / 3.0)];

fn centred(inputs: Inputs, law: Law) -> Init {
    Init { inputs, scheme: Scheme::Centred(law), ..Init::default() }
}

fn k(law: Law) -> f64 {
    if let Law::Lognormal { k } = law { k } else { 1.0 }
}

/// Normal numbers of any sign.
fn signed(n: usize, seed: u64) -> Vec<f64> {
    let mut rng = generator(seed);
    (0..n).map(|_| rng.normal()).collect()
}

/// `zE − s [B, ne]`.
fn centred_excitation(shape: DannShape, params: &DannParams<f64>, x: &[f64]) -> Vec<f64> {
    let forward = reference::dann_forward(&shape, params, x);
    forward.ze.iter().zip(&forward.s).map(|(ze, s)| ze - s).collect()
}

proptest! {
    /// Inputs of any sign are centred, whatever the weights are, and these are what the reference makes of the numbers.
    #[test]
    fn exact_centring(
        (d, ne, ni) in (1_usize..40, 1_usize..30, 1_usize..8),
        law in prop::sample::select(&LAWS[..]),
        (inputs, n) in prop::sample::select(&INPUTS[..]),
        seed in any::<u64>(),
    ) {
        let shape = DannShape::new(d, ne, ni);
        let params = centred(inputs, law).draw_dann::<f64>(&shape, &mut generator(seed)).unwrap();
        params.view().zip(DannParams::<f64>::zeros(&shape).unwrap()).map(|(got, want)| assert_eq!(got.len(), want.len()));

        let CentredStatistics { scale, mu, sigma, alpha } = centred_statistics(&shape, n, k(law));
        let mut rng = generator(seed);
        let mut weight = || match law {
            Law::Exponential => scale * rng.exponential(),
            Law::Lognormal { .. } => (mu + sigma * rng.normal()).exp(),
        };
        let wex: Vec<f64> = (0..ne * d).map(|_| weight()).collect();
        let drawn_ei: Vec<f64> = (0..ne * ni).map(|_| weight()).collect();
        let (wix, wei) = reference::centre(&shape, &wex, &drawn_ei);
        for (what, got, want) in [("Wex", &params.wex, &wex), ("Wix", &params.wix, &wix), ("Wei", &params.wei, &wei)] {
            assert_close(what, got, want, 1e-13);
        }
        prop_assert!(params.alpha.iter().all(|a| (a - alpha).abs() < 1e-14));
        prop_assert!(params.g.iter().all(|&g| g == 1.0) && params.b.iter().all(|&b| b == 0.0));

        let x = signed(3 * d, seed ^ 1);
        for (x, left) in x.chunks_exact(d).zip(centred_excitation(shape, &params, &x).chunks_exact(ne)) {
            let excitation: f64 = params.wex.chunks_exact(d).flat_map(|w| w.iter().zip(x)).map(|(w, x)| w * x.abs()).sum();
            let sum: f64 = left.iter().sum();
            prop_assert!(sum.abs() <= 1e-13 * excitation, "{} of {}", sum, excitation);
        }
        // An f32 layer has the same numbers, and the mean of the weights as they are there.
        let narrow = centred(inputs, law).draw_dann::<f32>(&shape, &mut generator(seed)).unwrap();
        prop_assert!(narrow.wex.iter().zip(&params.wex).all(|(n, w)| *n == *w as f32));
        prop_assert!(narrow.wei.iter().zip(&params.wei).all(|(n, w)| *n == *w as f32));
        assert_close("Wix", &narrow.wix, &params.wix, 1e-6);
    }

    #[test]
    fn moments_are_those_of_the_reference((batch, d) in (2_usize..20, 1_usize..20), seed in any::<u64>()) {
        let x: Vec<f64> = signed(batch * d, seed).iter().map(|x| x.abs() + 0.1).collect();
        let got = InputMoments::of(MatRef::new(&x, batch, d).unwrap()).unwrap();
        let want = reference::input_moments(&x, d);
        for (got, want) in [got.m1, got.m2, got.v].into_iter().zip(want) {
            prop_assert!((got - want).abs() <= 1e-13 * want, "{} {}", got, want);
        }
        prop_assert!(!got.unit_variance);
    }
}

/// In f32, on the kernels of every instruction set, at the size of the paper's first layer.
#[test]
fn standardised_images_are_centred() {
    const BATCH: usize = 4;
    let shape = DannShape::new(784, 500, 50).linear().subtractive();
    let x: Vec<f32> = signed(BATCH * shape.d, 1).iter().map(|&x| x as f32).collect();
    for law in LAWS {
        let params = centred(Inputs::Linear, law).draw_dann::<f32>(&shape, &mut generator(2)).unwrap();
        for isa in isas() {
            let mut h = vec![0.0; BATCH * shape.ne];
            let layer = Layer::new(shape, &isa.into()).unwrap();
            let x = MatRef::new(&x, BATCH, shape.d).unwrap();
            layer.infer(params.view(), &mut Tape::new(), x, MatMut::new(&mut h, BATCH, shape.ne).unwrap()).unwrap();
            for h in h.chunks_exact(shape.ne) {
                let (mean, variance) = mean_and_variance(&h.iter().map(|&h| f64::from(h)).collect::<Vec<_>>());
                assert!(mean.abs() < 1e-5 * variance.sqrt(), "{isa}, {law:?}: mean {mean}, variance {variance}");
            }
        }
    }
}

/// The variance over the units is `n · mean x²` on average, whatever the law is.
#[test]
fn centred_variance() {
    const SEEDS: usize = 200;
    let shape = DannShape::new(40, 50, 3);
    let x = signed(shape.d, 3);
    let square = x.iter().map(|x| x * x).sum::<f64>() / shape.d as f64;
    for law in LAWS {
        for (inputs, n) in INPUTS {
            let variance = |seed| {
                let params = centred(inputs, law).draw_dann::<f64>(&shape, &mut generator(seed)).unwrap();
                mean_and_variance(&centred_excitation(shape, &params, &x)).1
            };
            let mean = (0..SEEDS as u64).map(variance).sum::<f64>() / SEEDS as f64;
            // A normal distribution has √(2/n) of its variance for the standard error of a variance of n. Weights have
            // longer tails, and a few inputs of 40 weigh most: twice as much, and five of those.
            let error = 10.0 * (2.0 / (SEEDS * shape.ne) as f64).sqrt();
            assert!((mean / (n * square) - 1.0).abs() < error, "{law:?}, {inputs:?}: {mean} for {}", n * square);
        }
    }
}

/// Rows of `Wei` sum up to one; by the exponential law they are uniform on the simplex.
#[test]
fn inhibition_is_shared_out() {
    let shape = DannShape::new(3, 4000, 5);
    for law in LAWS {
        let params = centred(Inputs::Linear, law).draw_dann::<f64>(&shape, &mut generator(4)).unwrap();
        for row in params.wei.chunks_exact(shape.ni) {
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-15 * shape.ni as f64);
        }
        if law == Law::Exponential {
            let ni = shape.ni as f64;
            let (_, variance) = mean_and_variance(&params.wei);
            let want = (ni - 1.0) / (ni * ni * (ni + 1.0));
            // Five standard errors of 4000 rows of 5, whose kurtosis is below 9.
            assert!((variance / want - 1.0).abs() < 5.0 * (8.0_f64 / 20_000.0).sqrt(), "{variance} {want}");
        }
    }
    // Numbers that are all 0, as no generator gives them: shared out evenly instead of NaN.
    let shape = DannShape::new(1, 1, 4);
    let init = centred(Inputs::Linear, Law::Exponential);
    let params = init.draw_dann::<f64>(&shape, &mut Replay::new(&[1.0, 0.0, 0.0, 0.0, 0.0])).unwrap();
    assert_eq!(params.wei, [0.25; 4]);
}

/// A layer of one unit gives its bias, and no gradient goes down.
#[test]
fn one_unit_is_centred_away() {
    let shape = DannShape::new(7, 1, 3).linear();
    let mut params = centred(Inputs::Rectified, Law::Exponential).draw_dann::<f64>(&shape, &mut generator(5)).unwrap();
    let s = centred_statistics(&shape, 2.0, 1.0).scale;
    assert!((s - (2.0_f64 / 7.0).sqrt()).abs() < 1e-15);
    params.b[0] = 0.75;
    let x: Vec<f64> = signed(14, 6).iter().map(|x| x.abs()).collect();
    let forward = reference::dann_forward(&shape, &params, &x);
    assert_within("h", &forward.h, &[0.75, 0.75], 1.0, 1e-14);
    let (dx, _) = reference::dann_backward(&shape, &params, &x, &forward, &[1.0, -1.0]);
    assert_within("dx", &dx, &[0.0; 14], 1.0, 1e-13);
}

/// Half-normal inputs are what the fixed divisor is made for.
#[test]
fn moments_of_a_half_normal_distribution() {
    let m1 = (2.0 * std::f64::consts::PI).sqrt().recip();
    let moments = InputMoments {
        m1,
        m2: 0.5,
        v: 0.5 - m1 * m1,
        sum2: 30.0 * (0.5 - m1 * m1) + 900.0 * m1 * m1,
        unit_variance: false,
    };
    let init = Init { inputs: Inputs::Measured(moments), ..Init::default() };
    let shape = DannShape::new(30, 4, 2);
    let measured = init.draw_dann::<f64>(&shape, &mut generator(1)).unwrap();
    let fixed = Init::deeper().draw_dann::<f64>(&shape, &mut generator(1)).unwrap();
    assert_close("alpha", &measured.alpha, &fixed.alpha, 1e-15);
    assert_eq!(measured.wei, fixed.wei);
    let root = shape.divisor(Divisor::Root);
    let [of_moments, of_root] =
        [init, Init::deeper()].map(|init| init.draw_dann::<f64>(&root, &mut generator(1)).unwrap());
    assert_close("alpha of a root", &of_moments.alpha, &of_root.alpha, 1e-15);
    // The weights are the same numbers on another scale.
    let ratio = measured.wex[0] / fixed.wex[0];
    let scaled: Vec<f64> = fixed.wex.iter().chain(&fixed.wix).map(|w| ratio * w).collect();
    assert_close("weights", &[measured.wex, measured.wix].concat(), &scaled, 1e-14);
}

/// Variance over the units and mean square of `ẑ`, for two interneurons, whose chance adds half to the square.
#[test]
fn measured_moments_standardise() {
    const SEEDS: u64 = 150;
    let shape = DannShape::new(200, 100, 2).linear();
    let x: Vec<f64> = signed(8 * shape.d, 7).iter().map(|x| x.max(0.0)).collect();
    let moments = InputMoments::of(MatRef::new(&x, 8, shape.d).unwrap()).unwrap();
    let want = reference::measured_statistics([moments.m1, moments.m2, moments.v], shape.d, shape.ni);
    for (unit_variance, factor) in [(false, 1.0), (true, 1.0 / want.variance)] {
        let inputs = Inputs::Measured(InputMoments { unit_variance, ..moments });
        let (mut variance, mut square) = (0.0, 0.0);
        for seed in 0..SEEDS {
            let params = Init { inputs, ..Init::default() }.draw_dann::<f64>(&shape, &mut generator(seed)).unwrap();
            let zhat = reference::dann_forward(&shape, &params, &x).zhat;
            for zhat in zhat.chunks_exact(shape.ne) {
                variance += mean_and_variance(zhat).1 / (8 * SEEDS) as f64;
                square += zhat.iter().map(|z| z * z).sum::<f64>() / (8 * SEEDS as usize * shape.ne) as f64;
            }
        }
        let [of_variance, of_square] = [want.variance, want.square].map(|want| factor * want);
        // The divisor, of 400 weights, adds about 1/400 to both; the variance of 100 units of 150 seeds is known to
        // √(2/15000), of which five, and the square has a third from 150 independent chances: a third of √(2/150).
        assert!((variance / of_variance - 1.0).abs() < 0.06, "variance {variance}, predicted {of_variance}");
        assert!((square / of_square - 1.0).abs() < 5.0 * 0.04, "square {square}, predicted {of_square}");
    }
}

/// With a root, the variance of `ẑ` over the units is about 1, for inputs of both signs as for others.
#[test]
fn a_root_standardises() {
    const SEEDS: u64 = 30;
    let shape = DannShape::new(200, 100, 30).linear().divisor(Divisor::Root);
    for (common, low) in [(0.0, f64::NEG_INFINITY), (1.0, f64::NEG_INFINITY), (0.0, 0.0)] {
        // Inputs that go up and down together, as the pixels of an image do.
        let together = signed(8, 3);
        let x: Vec<f64> = signed(8 * shape.d, 7);
        let x: Vec<f64> = x.iter().enumerate().map(|(i, x)| (x + common * together[i / shape.d]).max(low)).collect();
        let inputs = Inputs::Measured(InputMoments::of(MatRef::new(&x, 8, shape.d).unwrap()).unwrap());
        let mut ratio = 0.0;
        for seed in 0..SEEDS {
            let params = Init { inputs, ..Init::default() }.draw_dann::<f64>(&shape, &mut generator(seed)).unwrap();
            let forward = reference::dann_forward(&shape, &params, &x);
            let difference: Vec<f64> = forward.ze.iter().zip(&forward.s).map(|(ze, s)| ze - s).collect();
            let variance: f64 = difference.chunks(shape.ne).map(|u| mean_and_variance(u).1).sum();
            let square: f64 = forward.gamma.iter().map(|gamma| gamma * gamma).sum::<f64>() / shape.ne as f64;
            ratio += variance / square / SEEDS as f64;
        }
        // 1/100 of the variance is the mean's; γ² is a mean of 30 chances in each of 30 draws.
        assert!((ratio - 0.99).abs() < 0.12, "common part {common}, above {low}: {ratio}");
    }
}

/// A network is drawn from a batch, layer after layer: with the moments of what the layers below make of it where there
/// is inhibition that is matched or independent, and as ever elsewhere.
#[test]
fn networks_of_a_batch() {
    const BATCH: usize = 300; // More than a slab.
    fn check<T: Tolerance>(isa: Isa) {
        let layers: Vec<LayerShape> = vec![
            DannShape::new(6, 30, 2).divisor(Divisor::Root).into(),
            NormShape::new(30, 20, Normalisation::Batch).into(),
            DannShape::new(20, 15, 3).into(),
            DannShape::new(15, 12, 2).subtractive().into(),
            DenseShape::new(12, 11).into(),
            DannShape::new(11, 3, 1).linear().into(),
        ];
        let centred = Scheme::Centred(Law::Exponential);
        let architecture = Architecture::of(layers.clone()).unwrap().seed(5).init_layer(3, centred).unwrap();
        let architecture = architecture.init_layer(5, Scheme::Independent).unwrap();
        let x: Vec<T> = signed(BATCH * 6, 1).into_iter().map(T::from_f64).collect();
        let matrix = MatRef::new(&x, BATCH, 6).unwrap();
        let net: Network<T> = architecture.build_from(matrix, &isa.into()).unwrap();
        assert!(net.params().eq(architecture.draw_from(matrix, &isa.into()).unwrap().iter()));
        let mut input: Vec<f64> = x.iter().map(|x| x.to_f64()).collect();
        let mut rng = generator(5);
        for (k, (shape, got)) in layers.iter().zip(net.params()).enumerate() {
            let moments = || InputMoments::of(MatRef::new(&input, BATCH, shape.inputs()).unwrap()).unwrap();
            let (inputs, scheme) = match k {
                0 | 2 => (Inputs::Measured(moments()), Scheme::Matched),
                3 => (Inputs::Rectified, centred),
                5 => (Inputs::Measured(moments()), Scheme::Independent),
                _ => (Inputs::Rectified, Scheme::Matched),
            };
            let want = Init { inputs, scheme, ..Init::default() }.draw::<f64>(shape, &mut rng).unwrap();
            for ((name, got), (_, want)) in got.arrays().into_iter().zip(want.view().arrays()) {
                assert_close(&format!("{isa}, layer {k}: {name}"), got, want, T::NETWORK);
            }
            input = reference::forward(shape, &want, &input).h().to_vec();
        }
    }
    for isa in isas() {
        check::<f32>(isa);
        check::<f64>(isa);
    }
}

#[test]
fn batches_that_no_network_can_be_drawn_from() {
    let architecture = Architecture::dann(&[2, 3, 2], &[1, 1]).unwrap();
    let refused = |x: &[f64], rows: usize| {
        let x = MatRef::new(x, rows, x.len() / rows).unwrap();
        architecture.draw_from(x, &Context::new().unwrap()).unwrap_err().to_string()
    };
    assert_eq!(refused(&[0.5; 6], 2), "x has 3 columns, the network has 2 inputs");
    assert_eq!(refused(&[0.5, f64::NAN], 1), "x[1] is NaN: expected a finite number");
    assert_eq!(refused(&[0.5, 1.0], 1), "layer 0: rows is 1: expected at least 2");
    assert_eq!(refused(&[0.5, -1.0, 0.0, -0.5], 2), "layer 0: m1 is -0.25: expected a finite number > 0");
    assert_eq!(refused(&[0.5, 1.0, 0.5, 1.0], 2), "layer 0: v is 0: expected a finite number > 0");
}

/// The layers of a network are drawn one after the other, each for what lies before it.
#[test]
fn networks_of_a_scheme() {
    let draw = |init: Init, shape: LayerShape, rng: &mut Generator| init.draw::<f64>(&shape, rng).unwrap();
    let shapes: [LayerShape; 4] = [
        DannShape::new(6, 5, 2).into(),
        DannShape::new(5, 4, 2).linear().into(),
        DannShape::new(4, 5, 1).subtractive().into(),
        DenseShape::new(5, 3).linear().into(),
    ];
    let inputs = [Inputs::Linear, Inputs::Rectified, Inputs::Linear, Inputs::Rectified];
    let architecture = Architecture::of(shapes.to_vec()).unwrap().seed(9);
    let scheme = Scheme::Centred(Law::Lognormal { k: 0.5 });
    let net = architecture.clone().init(scheme).build::<f64>(&Context::new().unwrap()).unwrap();
    let mut rng = generator(9);
    for ((shape, inputs), got) in shapes.into_iter().zip(inputs).zip(net.params()) {
        assert_eq!(*got, draw(Init { inputs, scheme, ..Init::first() }, shape, &mut rng));
    }
    // One layer alone.
    let net = architecture.clone().init_layer(0, scheme).unwrap().build::<f64>(&Context::new().unwrap()).unwrap();
    let mut rng = generator(9);
    for ((k, shape), got) in shapes.into_iter().enumerate().zip(net.params()) {
        let (inputs, scheme) = if k == 0 { (Inputs::Linear, scheme) } else { (Inputs::Rectified, Scheme::Matched) };
        assert_eq!(*got, draw(Init { inputs, scheme, ..Init::first() }, shape, &mut rng));
    }
    assert_eq!(architecture.clone().init(Scheme::Independent), architecture.clone().iid_inhibition());
    assert_eq!(architecture.clone().init(Scheme::Matched), architecture);
}

#[test]
fn refusals() {
    let shape = DannShape::new(3, 4, 2);
    let refused = |init: Init| {
        let mut rng = generator(1);
        let error = init.draw_dann::<f64>(&shape, &mut rng).unwrap_err();
        assert_eq!(rng, generator(1), "{error}: numbers were drawn");
        error.to_string()
    };
    for k in [0.0, -1.0, 1e-4, 1001.0, f64::NAN, f64::INFINITY] {
        let scheme = Scheme::Centred(Law::Lognormal { k });
        let expected = format!("k is {k}: expected from 0.001 to 1000");
        assert_eq!(refused(Init { scheme, ..Init::first() }), expected);
        let net = Architecture::dann(&[5, 4, 3], &[1, 1])
            .unwrap()
            .init_layer(1, scheme)
            .unwrap()
            .build::<f32>(&Context::new().unwrap());
        assert_eq!(net.unwrap_err().to_string(), format!("layer 1: {expected}"));
    }
    for scheme in [Scheme::Matched, Scheme::Independent] {
        let text = refused(Init { inputs: Inputs::Recurrent, scheme, ..Init::default() });
        assert!(text.contains("recurrent") && text.contains("Scheme::Centred"), "{text}");
    }
    let moments = InputMoments { m1: 0.4, m2: 0.5, v: 0.3, sum2: 2.0, unit_variance: false };
    let measured = |moments| Init { inputs: Inputs::Measured(moments), ..Init::default() };
    let text = refused(Init { scheme: Scheme::Centred(Law::Exponential), ..measured(moments) });
    assert!(text.contains("moments") && text.contains("Inputs::Linear"), "{text}");
    let dense = measured(moments).draw::<f32>(&DenseShape::new(3, 4).into(), &mut generator(1));
    assert!(matches!(dense, Err(Error::Unsupported { .. })));
    for bad in [0.0, -0.5, f64::NAN, f64::INFINITY] {
        let expected = |name| format!("{name} is {bad}: expected a finite number > 0");
        assert_eq!(refused(measured(InputMoments { m1: bad, ..moments })), expected("m1"));
        assert_eq!(refused(measured(InputMoments { m2: bad, ..moments })), expected("m2"));
        assert_eq!(refused(measured(InputMoments { v: bad, ..moments })), expected("v"));
    }
    let text = refused(measured(InputMoments { m2: f64::MAX, v: f64::MAX, ..moments }));
    assert_eq!(text, "m2 + v is inf: expected a finite number > 0");
    // Weights of 1e-51 are none in f32.
    let tiny = measured(InputMoments { v: 1e-100, ..moments });
    assert!(tiny.draw_dann::<f64>(&shape, &mut generator(1)).is_ok());
    let error = tiny.draw_dann::<f32>(&shape, &mut generator(1)).unwrap_err();
    assert_eq!(error, Error::Policy { name: "v", value: 1e-100, expected: "a larger part of m2" });
    let none = Architecture::mlp(&[3, 2]).unwrap().init_layer(1, Scheme::Matched).unwrap_err();
    assert_eq!(none.to_string(), "k is 1: expected less than the number of layers");
}

#[test]
fn moments_that_nothing_can_be_drawn_from() {
    let of = |x: &[f64], rows| InputMoments::of(MatRef::new(x, rows, x.len() / rows).unwrap()).unwrap_err().to_string();
    assert_eq!(of(&[0.5, 1.0], 1), "rows is 1: expected at least 2");
    assert_eq!(of(&[0.5, 1.0, f64::NAN, 0.0], 2), "x[2] is NaN: expected a finite number");
    assert_eq!(of(&[0.5, 1.0, 0.5, 1.0], 2), "v is 0: expected a finite number > 0");
    assert_eq!(of(&[1e300, 1.0, 0.5, 1.0], 2), "m2 is inf: expected a finite number > 0");

    // Inputs whose mean is not above 0: only the divisors that it makes refuse them.
    let x = [0.5, -1.0, 0.0, -0.5];
    let inputs = Inputs::Measured(InputMoments::of(MatRef::new(&x, 2, 2).unwrap()).unwrap());
    let draw = |shape: DannShape| Init { inputs, ..Init::default() }.draw_dann::<f64>(&shape, &mut generator(1));
    let shape = DannShape::new(2, 3, 2);
    for refused in [shape, shape.divisor(Divisor::floor(0.1).unwrap())] {
        assert_eq!(draw(refused).unwrap_err().to_string(), "m1 is -0.25: expected a finite number > 0");
    }
    assert!(draw(shape.subtractive()).is_ok());
    // E‖x‖² = 0.75, E(Σx)² = 0.25
    assert!((draw(shape.divisor(Divisor::Root)).unwrap().alpha[0].exp() - 0.75_f64.sqrt()).abs() < 1e-15);
}

/// The same seed draws the same parameters in every version.
#[test]
fn numbers_of_a_seed_stay() {
    let shape = DannShape::new(3, 2, 2);
    let params = Init::deeper().draw_dann::<f64>(&shape, &mut generator(1)).unwrap();
    assert_eq!(params.wex[..3], [0.28138106498124105, 0.0986627530570346, 0.7648663056230186]);
    assert_eq!(params.wix[..3], [1.1694383023860704, 0.1442372665380885, 2.3503259049271072]);
    let independent = Init { scheme: Scheme::Independent, ..Init::first() };
    let params = independent.draw_dann::<f64>(&shape, &mut generator(1)).unwrap();
    assert_eq!(
        [params.wex[0], params.wix[0], params.wei[0]],
        [0.18244747568896275, 0.839156801102868, 0.15695384567429782]
    );
    let plain = Init::deeper().draw::<f64>(&DenseShape::new(3, 2).into(), &mut generator(1)).unwrap();
    assert_eq!(plain["W"][..3], [-0.19175182035184293, -1.1519278288611972, 0.27191673732087185]);
}

/// The spectral radius of a fresh layer of 200 units, as `inspect` tells it.
fn radius(shape: RecurrentShape, recurrent: RecurrentInit) -> f64 {
    let readout = DenseShape::new(200, 2).linear();
    let architecture = Architecture::of(vec![shape.into(), readout.into()]).unwrap().recurrent_init(recurrent).seed(3);
    let mut net: Network<f32> = architecture.build(&Context::new().unwrap()).unwrap();
    let x = MatRef::new(&[0.5; 3], 1, 3).unwrap();
    let statistics = net.inspect(x, &[1], &Update::sgd(0.1)).unwrap();
    statistics[0].radius.unwrap()
}

#[test]
fn recurrent_layers_begin_with_their_radius() {
    let published = RecurrentInit::default();
    let dann = RecurrentShape::dann(3, 200, 20, 20);
    let columns = RecurrentShape::columns(3, 200, 0, 20).unsigned();
    let plain = RecurrentShape::plain(3, 200);
    // That of a random matrix is near that of an infinite one.
    for shape in [dann, plain] {
        let is = radius(shape, published);
        assert!((is / (1.0_f64 / 3.0).sqrt() - 1.0).abs() < 0.1, "{is} of {shape:?}");
    }
    // These are scaled to theirs.
    let asked = RecurrentInit { radius: Some(1.2), ..published };
    for (shape, init, expected) in [(columns, published, 1.5), (columns, asked, 1.2), (plain, asked, 1.2)] {
        let is = radius(shape, init);
        assert!((is / expected - 1.0).abs() < 1e-4, "{is} of {shape:?}");
    }
    let is = radius(dann, asked);
    assert!((is / 1.2 - 1.0).abs() < 0.1, "{is} of {dann:?}");
    for wrong in [0.0, -1.0, f64::NAN, 1001.0] {
        let layers = vec![dann.into(), DenseShape::new(200, 2).linear().into()];
        let wrong = RecurrentInit { radius: Some(wrong), ..published };
        let error = Architecture::of(layers).unwrap().recurrent_init(wrong).draw::<f32>().unwrap_err();
        assert!(matches!(error, Error::Policy { name: "radius", .. }), "{error}");
    }
}

#[test]
fn recurrent_layers_begin_with_the_published_moments() {
    let (d, ne, ni) = (28, 200, 20);
    let shape = RecurrentShape::dann(d, ne, ni, ni);
    let params: Params<f64> = Init::first().draw(&shape.into(), &mut generator(1)).unwrap();
    for (letter, inputs) in [("U", d), ("W", ne)] {
        let array = |rest: &str| &params[&format!("{letter}{rest}")[..]];
        let (ex, ix, ei) = (array("ex"), array("ix"), array("ei"));
        let mean_row: Vec<f64> =
            (0..inputs).map(|j| ex.iter().skip(j).step_by(inputs).sum::<f64>() / ne as f64).collect();
        for row in ix.chunks_exact(inputs) {
            assert!(row.iter().zip(&mean_row).all(|(a, b)| (a - b).abs() < 1e-12), "{letter}ix is the mean row");
        }
        for row in ei.chunks_exact(ni) {
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12, "rows of {letter}ei sum to one");
        }
        // Of what is left of exponentials after their mean was taken from them.
        let effective = ex.iter().enumerate().map(|(i, x)| x - mean_row[i % inputs]);
        let variance = effective.map(|v| v * v).sum::<f64>() / (ne * inputs) as f64;
        let (expected, error) = (1.0 / (3.0 * ne as f64), (8.0 / (ne * inputs) as f64).sqrt());
        assert!((variance / expected - 1.0).abs() < 5.0 * error, "{letter}: {variance} instead of {expected}");
    }
    assert!(params["b"].iter().chain(&params["h0"]).all(|&x| x == 0.0));
    let few = Init { recurrent: RecurrentInit { input: InputLeg::FewInputs, radius: None }, ..Init::first() };
    let params: Params<f64> = few.draw(&RecurrentShape::dann(3, 400, 8, 8).into(), &mut generator(1)).unwrap();
    let mean = params["Uex"].iter().sum::<f64>() / 1200.0;
    assert!((mean * 3.0_f64.sqrt() - 1.0).abs() < 5.0 / 1200.0_f64.sqrt(), "few inputs drive many units");
    let learned = RecurrentShape::dann(3, 40, 8, 8).divisive(Divisor::Plain).learned_state();
    let params: Params<f64> = Init::first().draw(&learned.into(), &mut generator(1)).unwrap();
    assert!(params["h0"].iter().all(|&h0| h0 == 0.1), "a gradient by h0 = 0 would be that of a division by ε");
}
