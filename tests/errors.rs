//! Bad arguments: an error that names them, and outputs as they were.

use interneuron::*;
use interneuron_baseline as composed;

const SHAPE: DannShape = DannShape { d: 3, ne: 4, ni: 2, nonlinearity: Nonlinearity::Relu, divisive: true };

fn layer() -> (Layer<f32>, DannParams<f32>) {
    let params = Init::first().draw_dann(&SHAPE, &mut generator(1)).unwrap();
    (Layer::new(SHAPE, Isa::best()).unwrap(), params)
}

#[test]
fn dimensions() {
    for (shape, name) in
        [(DannShape { d: 0, ..SHAPE }, "d"), (DannShape { ne: 0, ..SHAPE }, "ne"), (DannShape { ni: 0, ..SHAPE }, "ni")]
    {
        let error = Layer::<f32>::new(shape, Isa::best()).err().unwrap();
        assert_eq!(error, Error::Dimension { name, value: 0, expected: "at least 1" });
        assert_eq!(error.to_string(), format!("{name} is 0: expected at least 1"));
        assert_eq!(DannParams::<f32>::zeros(&shape).unwrap_err(), error);
        assert_eq!(Init::first().draw_dann::<f32>(&shape, &mut generator(1)).unwrap_err(), error);
    }
    let overflowing = DannShape { d: usize::MAX / 2, ..SHAPE };
    assert!(matches!(Layer::<f32>::new(overflowing, Isa::best()).err(), Some(Error::Dimension { name: "ne", .. })));
    let huge = DannShape { d: 1 << 40, ne: 1 << 18, ..SHAPE };
    assert!(matches!(DannParams::<f64>::zeros(&huge), Err(Error::TooLarge { .. })));
    assert!(matches!(Init::first().draw_dann::<f64>(&huge, &mut generator(1)), Err(Error::TooLarge { .. })));
    assert!(matches!(Architecture::mlp(&[5]), Err(Error::Dimension { name: "layers", .. })));
    assert!(matches!(Architecture::mlp(&[]), Err(Error::Dimension { name: "layers", .. })));
    let error = Architecture::mlp(&[5, 4, 0, 3]).unwrap_err();
    assert_eq!(error.to_string(), "layer 1: ne is 0: expected at least 1");
    let source = std::error::Error::source(&error).expect("the error of the layer");
    assert_eq!(source.to_string(), "ne is 0: expected at least 1");
    assert!(matches!(Architecture::dann(&[5, 4, 3], &[1]), Err(Error::Length { name: "nis", len: 1, expected: 2 })));
    let layers = vec![DenseShape::new(3, 4).into(), DannShape::new(5, 2, 1).into()];
    let error = Architecture::of(layers).unwrap_err();
    assert_eq!(error.to_string(), "layer 1: the layer has 5 inputs, the layer below has 4 outputs");
}

#[test]
fn views() {
    let data = [0.0_f32; 12];
    assert!(matches!(MatRef::new(&data, 3, 3), Err(Error::Length { name: "data", len: 12, expected: 9 })));
    assert!(matches!(MatRef::new(&data, 0, 3), Err(Error::Length { .. })));
    assert!(matches!(MatRef::new(&data[..0], 0, 3), Err(Error::Dimension { name: "rows", .. })));
    assert!(matches!(MatRef::new(&data[..0], 3, 0), Err(Error::Dimension { name: "cols", .. })));
    assert!(matches!(MatRef::new(&data, usize::MAX, 2), Err(Error::Length { .. })));
    let stride = MatRef::with_stride(&data, 2, 4, 3).unwrap_err();
    assert_eq!(stride, Error::Stride { name: "data", stride: 3, width: 4 });
    assert!(matches!(MatRef::with_stride(&data, 3, 4, 5), Err(Error::Length { expected: 14, .. })));
    assert!(matches!(MatRef::with_stride(&data, 3, 1, usize::MAX), Err(Error::Length { .. })));
    assert!(MatRef::with_stride(&data, 3, 2, 5).is_ok(), "the last row ends with the data");
    let x = MatRef::new(&data, 4, 3).unwrap();
    assert!(
        x.slice(3, 1).is_ok() && x.slice(3, 2).is_err() && x.slice(0, 0).is_err() && x.slice(usize::MAX, 2).is_err()
    );
    let mut out = [0.0_f32; 4];
    assert!(matches!(MatMut::new(&mut out, 3, 2), Err(Error::Length { name: "data", .. })));
    assert!(matches!(MatMut::with_stride(&mut out, 3, 2, 2), Err(Error::Length { name: "data", .. })));
}

#[test]
fn layer_calls_leave_their_outputs() {
    let (mut layer, params) = layer();
    let x = [0.5_f32; 6];
    let x = MatRef::new(&x, 2, 3).unwrap();
    let wide = [0.5_f32; 8];
    let wide = MatRef::new(&wide, 2, 4).unwrap();
    let mark = [7.0_f32; 12];

    let mut forward = |params: DannRef<'_, f32>, x, rows, cols| {
        let mut h = mark;
        let out = MatMut::new(&mut h[..rows * cols], rows, cols).unwrap();
        let result = layer.forward(Threads::Serial, params, x, out);
        assert!(result.is_ok() || h == mark, "h was written");
        result
    };
    let mismatch = |name, dimension, value, other, other_dimension, expected| {
        Err(Error::Mismatch { name, dimension, value, other, other_dimension, expected })
    };
    assert_eq!(forward(params.view(), wide, 2, 4), mismatch("x", "columns", 4, "the layer", "inputs", 3));
    let error = forward(params.view(), wide, 2, 4).unwrap_err();
    assert_eq!(error.to_string(), "x has 4 columns, the layer has 3 inputs");
    assert_eq!(forward(params.view(), x, 3, 4), mismatch("h", "rows", 3, "x", "rows", 2));
    assert_eq!(forward(params.view(), x, 2, 3), mismatch("h", "columns", 3, "the layer", "outputs", 4));
    let short = Dann { wei: &params.wei[1..], ..params.view() };
    assert_eq!(forward(short, x, 2, 4), Err(Error::Length { name: "Wei", len: 7, expected: 8 }));
    assert_eq!(forward(params.view(), x, 2, 4), Ok(()));

    let dense = DenseParams::<f32>::zeros(&DenseShape::new(3, 4)).unwrap();
    let mut h = mark;
    let wrong_kind = layer.forward(Threads::Serial, dense.view(), x, MatMut::new(&mut h[..8], 2, 4).unwrap());
    assert_eq!(wrong_kind, Err(Error::Kind { expected: "DANN" }));
    let error = wrong_kind.unwrap_err();
    assert_eq!(error.to_string(), "the layer or the arrays are of another kind: expected DANN");

    let dh = [1.0_f32; 8];
    let dh = MatRef::new(&dh, 2, 4).unwrap();
    let mut changed = params.clone();
    let mut update = |layer: &mut Layer<f32>, x, dh, update: &Update, dx_cols| {
        let mut dx = mark;
        let out = MatMut::new(&mut dx[..2 * dx_cols], 2, dx_cols).unwrap();
        let result = layer.update(Threads::Serial, changed.view_mut(), x, dh, update, Some(out));
        assert!(result.is_ok() || (dx == mark && changed == params), "something was written");
        result
    };
    let fine = Update::csgd(0.1);
    layer.forward(Threads::Serial, params.view(), x, MatMut::new(&mut h[..8], 2, 4).unwrap()).unwrap();
    assert_eq!(update(&mut layer, wide, dh, &fine, 3), mismatch("x", "columns", 4, "the layer", "inputs", 3));
    assert_eq!(update(&mut layer, x, wide.slice(0, 1).unwrap(), &fine, 3), mismatch("dh", "rows", 1, "x", "rows", 2));
    assert_eq!(update(&mut layer, x, x, &fine, 3), mismatch("dh", "columns", 3, "the layer", "outputs", 4));
    assert_eq!(update(&mut layer, x, dh, &fine, 4), mismatch("dx", "columns", 4, "the layer", "inputs", 3));
    let mut dx = mark;
    let mut alone = |rows, cols| {
        let out = MatMut::new(&mut dx[..rows * cols], rows, cols).unwrap();
        layer.input_gradient(Threads::Serial, params.view(), dh, out)
    };
    assert_eq!(alone(2, 4), mismatch("dx", "columns", 4, "the layer", "inputs", 3));
    assert_eq!(alone(1, 3), mismatch("dx", "rows", 1, "dh", "rows", 2));
    assert_eq!(dx, mark);
    for lr in [f64::NAN, f64::INFINITY, -0.1, 1e60] {
        let error = update(&mut layer, x, dh, &Update::csgd(lr), 3).unwrap_err();
        assert!(matches!(error, Error::LearningRate { .. }), "{error}");
    }
    for value in [f64::NAN, -1.0, f64::INFINITY] {
        let bad = Update { factors: PerRole::all(1.0).with(Role::ToInterneurons, value), ..fine };
        let error = update(&mut layer, x, dh, &bad, 3).unwrap_err();
        assert!(matches!(error, Error::Factor { name: "Wix", .. }), "{error}");
    }
    assert_eq!(update(&mut layer, x, dh, &fine, 3), Ok(()), "errors did not use the forward pass up");
    let (mut layer, _) = self::layer();
    let mut again = params.clone();
    let mut backward = |layer: &mut Layer<f32>| layer.update(Threads::Serial, again.view_mut(), x, dh, &fine, None);
    let error = backward(&mut layer).unwrap_err();
    let expected = "no matching forward pass: call `forward` (not `infer`) with the same number of examples before \
                    each backward pass";
    assert_eq!(error.to_string(), expected);
    layer.forward(Threads::Serial, params.view(), x, MatMut::new(&mut h[..8], 2, 4).unwrap()).unwrap();
    assert_eq!(backward(&mut layer), Ok(()));
    assert!(matches!(backward(&mut layer), Err(Error::NoForward { .. })), "one backward for each forward");
    layer.infer(Threads::Serial, params.view(), x, MatMut::new(&mut h[..8], 2, 4).unwrap()).unwrap();
    assert!(matches!(backward(&mut layer), Err(Error::NoForward { .. })), "infer keeps nothing");
    let mut zi = mark;
    let out = MatMut::new(&mut zi[..4], 2, 2).unwrap();
    assert!(matches!(layer.interneurons(out), Err(Error::NoForward { .. })));
    assert_eq!(zi, mark);
}

#[test]
fn imported_parameters() {
    let mut net: Network<f32> = Architecture::dann(&[3, 4, 2], &[2, 1]).unwrap().build().unwrap();
    let good = net.params().next().unwrap().to_owned();
    let dann = &DannParams::try_from(good.clone()).unwrap();
    let before: Vec<_> = net.params().map(|params| params.to_owned()).collect();
    for (bad, name, index) in [
        (Dann { wex: vec![-0.5; 12], ..dann.clone() }, "Wex", 0),
        (Dann { wix: [vec![0.0; 5], vec![f32::NAN]].concat(), ..dann.clone() }, "Wix", 5),
        (Dann { wei: [vec![0.0; 3], vec![f32::INFINITY; 5]].concat(), ..dann.clone() }, "Wei", 3),
        (Dann { alpha: vec![-1.0, f32::NAN], ..dann.clone() }, "alpha", 1),
        (Dann { g: vec![1.0, -1e-30, 1.0, 1.0], ..dann.clone() }, "g", 1),
        (Dann { b: vec![-1.0, -2.0, f32::NEG_INFINITY, 0.0], ..dann.clone() }, "b", 2),
    ] {
        let error = net.set_params(0, bad.into()).unwrap_err();
        assert!(error.to_string().starts_with(&format!("layer 0: {name}[{index}] is ")), "{error}");
        let Error::Layer { index: 0, source } = error else { panic!("{error}") };
        assert!(matches!(*source, Error::Value { name: n, index: i, .. } if n == name && i == index), "{source}");
    }
    let short = Params::from(Dann { b: vec![0.0; 3], ..dann.clone() });
    let in_layer_0 = |error| Err(Error::Layer { index: 0, source: Box::new(error) });
    assert_eq!(net.set_params(0, short), in_layer_0(Error::Length { name: "b", len: 3, expected: 4 }));
    let plain = Params::from(Dense { w: vec![0.0; 12], b: vec![0.0; 4] });
    assert_eq!(net.set_params(0, plain), in_layer_0(Error::Kind { expected: "DANN" }));
    assert!(matches!(net.set_params(2, good.clone()), Err(Error::Dimension { name: "k", value: 2, .. })));
    let after: Vec<_> = net.params().map(|params| params.to_owned()).collect();
    assert_eq!(before, after);
    assert_eq!(net.set_params(0, good), Ok(()));
}

#[test]
fn network_calls() {
    let mut net: Network<f32> = Architecture::dann(&[3, 4, 2], &[2, 1]).unwrap().build().unwrap();
    let before: Vec<_> = net.params().map(|params| params.to_owned()).collect();
    let x = [0.5_f32; 6];
    let x = MatRef::new(&x, 2, 3).unwrap();
    let narrow = [0.5_f32; 4];
    let narrow = MatRef::new(&narrow, 2, 2).unwrap();
    let fine = Update::csgd(0.1);
    let error = net.train_step(Threads::Serial, narrow, &[0, 1], &fine).unwrap_err();
    assert_eq!(error.to_string(), "x has 2 columns, the network has 3 inputs");
    let error = net.train_step(Threads::Serial, x, &[0], &fine).unwrap_err();
    assert_eq!(error, Error::Length { name: "labels", len: 1, expected: 2 });
    let error = net.train_step(Threads::Serial, x, &[0, 2], &fine).unwrap_err();
    assert_eq!(error, Error::Label { index: 1, label: 2, classes: 2 });
    assert_eq!(error.to_string(), "label 1 is 2: expected less than 2, the number of classes");
    assert!(matches!(net.evaluate(Threads::Serial, x, &[0, 9]), Err(Error::Label { .. })));
    let error = net.train_step(Threads::Serial, x, &[0, 1], &Update::sgd(f64::NAN)).unwrap_err();
    assert!(matches!(error, Error::LearningRate { .. }));
    let poisoned = [f32::NAN; 6];
    let poisoned = MatRef::new(&poisoned, 2, 3).unwrap();
    let error = net.train_step(Threads::Serial, poisoned, &[0, 1], &fine).unwrap_err();
    assert_eq!(error.to_string(), "x[0] is NaN: expected a finite number");
    let huge = [f32::MAX; 6];
    let huge = MatRef::new(&huge, 2, 3).unwrap();
    let error = net.train_step(Threads::Serial, huge, &[0, 1], &fine).unwrap_err();
    assert!(matches!(error, Error::Diverged { step: 0, .. }), "{error}");
    let mut logits = [7.0; 4];
    let out = MatMut::new(&mut logits[..2], 1, 2).unwrap();
    assert!(matches!(
        net.logits(Threads::Serial, x, out),
        Err(Error::Mismatch { name: "logits", dimension: "rows", .. })
    ));
    let mut gradients = net.zero_gradients().unwrap();
    gradients.pop();
    let error = net.gradients(Threads::Serial, x, &[0, 1], &mut gradients).unwrap_err();
    assert_eq!(error, Error::Length { name: "gradients", len: 1, expected: 2 });
    assert_eq!(net.apply(Threads::Serial, &fine, &gradients).unwrap_err(), error);
    let mut gradients = net.zero_gradients().unwrap();
    let mut last = DannParams::try_from(gradients[1].clone()).unwrap();
    last.wex.pop();
    gradients[1] = last.into();
    let error = net.gradients(Threads::Serial, x, &[0, 1], &mut gradients).unwrap_err();
    assert_eq!(error.to_string(), "layer 1: Wex has 7 elements: expected 8");
    assert_eq!(net.apply(Threads::Serial, &fine, &gradients).unwrap_err(), error);
    gradients[1] = gradients[0].clone();
    gradients[0] = Dense { w: vec![0.0; 12], b: vec![0.0; 4] }.into();
    let error = net.apply(Threads::Serial, &fine, &gradients).unwrap_err();
    assert_eq!(error, Error::Layer { index: 0, source: Box::new(Error::Kind { expected: "DANN" }) });
    let after: Vec<_> = net.params().map(|params| params.to_owned()).collect();
    assert_eq!(before, after);
    assert_eq!(net.steps(), 0);
}

#[test]
fn policies_name_their_numbers() {
    let mut net: Network<f32> = Architecture::dann(&[3, 4, 2], &[2, 1]).unwrap().build().unwrap();
    let x = [0.5_f32; 6];
    let x = MatRef::new(&x, 2, 3).unwrap();
    let before: Vec<_> = net.params().map(|params| params.to_owned()).collect();
    let sgd = Update::sgd(0.1);
    let angle = Angle { lr_min: 0.01, rates: 3, cosine_epsilon: 0.1 };
    let natural = Natural::default();
    let cases = [
        (Update { momentum: PerRole::all(1.0), ..sgd }, "momentum of Wex is 1: expected at least 0 and less than 1"),
        // Less than 1, but not in f32.
        (
            Update { momentum: PerRole::all(1.0 - 1e-12), ..sgd },
            "momentum of Wex is 0.999999999999: expected at least 0 and less than 1",
        ),
        (
            Update { momentum: PerRole::all(f64::NAN), ..sgd },
            "momentum of Wex is NaN: expected at least 0 and less than 1",
        ),
        (Update { decay: PerRole::all(-0.5), ..sgd }, "decay of Wex is -0.5: expected a finite number ≥ 0"),
        (Update { floor: Some(f64::INFINITY), ..sgd }, "floor is inf: expected a finite number ≥ 0"),
        (Update { clip: Some(0.0), ..sgd }, "clip is 0: expected a finite number > 0"),
        // Not zero, but zero in f32.
        (Update { clip: Some(1e-60), ..sgd }, "clip is 0.0"),
        (Update { descent: Descent::Exponentiated { split: 0.0 }, ..sgd }, "split is 0: expected a finite number > 0"),
        (
            Update { angle: Some(Angle { lr_min: 0.2, ..angle }), ..sgd },
            "lr_min is 0.2: expected above 0 and at most lr",
        ),
        (Update { angle: Some(Angle { rates: 0, ..angle }), ..sgd }, "rates is 0: expected from 1 to 1000"),
        (
            Update { angle: Some(Angle { cosine_epsilon: 1.5, ..angle }), ..sgd },
            "cosine_epsilon is 1.5: expected from 0 to 1",
        ),
        (Update::natural(0.1, Natural { c: 0.0, ..natural }), "c is 0: expected above 0 and at most 1"),
        (Update::natural(0.1, Natural { f_lambda: -1.0, ..natural }), "f_lambda is -1: expected a finite number > 0"),
        (Update::natural(0.1, Natural { epsilon: 0.0, ..natural }), "epsilon is 0: expected a finite number > 0"),
    ];
    for (update, expected) in cases.into_iter().chain(cases_of_moments()) {
        let error = net.train_step(Threads::Serial, x, &[0, 1], &update).unwrap_err();
        assert!(matches!(error, Error::Policy { .. }) && error.to_string().starts_with(expected), "{error}");
    }
    assert!(net.params().map(|params| params.to_owned()).eq(before) && net.steps() == 0);
}

/// Numbers that momentum, Adam and decoupled decay cannot have, alone or together.
fn cases_of_moments() -> Vec<(Update, &'static str)> {
    let (sgd, adamw) = (Update::sgd(0.1), Update::adamw(0.1));
    let betas = |betas| Update { adam: Some(Adam { betas, ..Adam::default() }), ..adamw };
    let epsilon = |epsilon| Update { adam: Some(Adam { epsilon, ..Adam::default() }), ..adamw };
    let after = Update { decay_order: DecayOrder::AfterMomentum, decay: PerRole::all(11.0), ..sgd };
    vec![
        (betas([1.0, 0.999]), "beta1 is 1: expected at least 0 and less than 1"),
        // Less than 1, but not in f32.
        (betas([0.9, 1.0 - 1e-12]), "beta2 is 0.999999999999: expected at least 0 and less than 1"),
        (betas([0.9, -0.5]), "beta2 is -0.5: expected at least 0 and less than 1"),
        (epsilon(-1e-8), "epsilon is -0.00000001: expected a finite number ≥ 0"),
        (epsilon(f64::NAN), "epsilon is NaN: expected a finite number ≥ 0"),
        (
            Update { momentum: PerRole::all(0.0).with(Role::Gain, 0.9), ..adamw },
            "momentum of g is 0.9: expected 0 with Adam, whose beta1 takes its place",
        ),
        (Update { dampening: 0.5, ..adamw }, "dampening is 0.5: expected 0 with Adam"),
        (Update { dampening: 1.5, ..sgd }, "dampening is 1.5: expected from 0 to 1"),
        (Update { dampening: 0.5, nesterov: true, ..sgd }, "dampening is 0.5: expected 0 with Nesterov's momentum"),
        (
            Update { decay: PerRole::all(10.5), ..adamw },
            "decay of Wex is 10.5: expected at most 1 / (lr · factor) where it is decoupled",
        ),
        (after, "decay of Wex is 11: expected at most 1 / (lr · factor) where it is decoupled"),
        (
            Update { factors: PerRole::all(1.0).with(Role::Bias, 200.0), ..Update::adamw_eg(1.0) },
            "decay of b is 0.01: expected at most 1 / (lr · factor) where it is decoupled",
        ),
    ]
}

#[test]
fn rules_that_do_not_go_together_are_refused() {
    let mut net: Network<f32> = Architecture::mlp(&[3, 4, 2]).unwrap().build().unwrap();
    let x = [0.5_f32; 6];
    let x = MatRef::new(&x, 2, 3).unwrap();
    let before: Vec<_> = net.params().map(|params| params.to_owned()).collect();
    let coupled = Update { decay_order: DecayOrder::BeforeMomentum, ..Update::adamw_eg(0.1) };
    for update in [
        Update { nesterov: true, ..Update::adamw(0.1) },
        Update { natural: Some(Natural::default()), ..Update::adam(0.1) },
        coupled,
    ] {
        let error = net.train_step(Threads::Serial, x, &[0, 1], &update).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    }
    net.train_step(Threads::Serial, x, &[0, 1], &Update { decay: PerRole::all(0.0), ..coupled }).unwrap();
    assert!(!net.params().map(|params| params.to_owned()).eq(before) && net.steps() == 1);
}

#[test]
fn clipping_all_layers_refuses_what_is_not_theirs() {
    let net: Network<f32> = Architecture::mlp(&[3, 4, 2]).unwrap().build().unwrap();
    let mut gradients = net.zero_gradients().unwrap();
    gradients.iter_mut().for_each(|gradients| gradients["b"].fill(2.0));
    let (before, update) = (gradients.clone(), Update::sgd(0.1));
    let refused =
        |gradients: &mut [Params<f32>], most| update.clip_together(net.shapes(), gradients, most).unwrap_err();
    let expected = Error::Policy { name: "most", value: 0.0, expected: "a finite number > 0" };
    assert_eq!(refused(&mut gradients, 0.0), expected);
    assert_eq!(refused(&mut gradients[..1], 1.0), Error::Length { name: "gradients", len: 1, expected: 2 });
    let error = refused(&mut [before[1].clone(), before[0].clone()], 1.0);
    assert!(matches!(error, Error::Layer { index: 0, .. }), "{error}");
    assert_eq!(gradients, before);
    let norm = update.clip_together(net.shapes(), &mut gradients, 1.0).unwrap();
    assert!((norm - 24_f64.sqrt()).abs() < 1e-12 && (gradients[0]["b"][0] - 2.0 / 24_f32.sqrt()).abs() < 1e-6);
    // Short enough.
    let before = gradients.clone();
    update.clip_together(net.shapes(), &mut gradients, 1.5).unwrap();
    assert_eq!(gradients, before);
}

#[test]
fn natural_gradients_are_refused_where_they_have_no_meaning() {
    let update = Update::natural(0.1, Natural::default());
    let x = [0.5_f32; 6];
    let x = MatRef::new(&x, 2, 3).unwrap();
    let mut net: Network<f32> = Architecture::batch_norm(&[3, 4, 2]).unwrap().build().unwrap();
    let error = net.train_step(Threads::Serial, x, &[0, 1], &update).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    let expected = "a natural gradient of batch normalisation is not supported here; use layers that treat each example \
                    on its own";
    assert_eq!(error.to_string(), expected);
    let mut net: Network<f32> = Architecture::mlp(&[3, 4, 2]).unwrap().build().unwrap();
    let gradients = net.zero_gradients().unwrap();
    assert!(matches!(net.apply(Threads::Serial, &update, &gradients), Err(Error::Unsupported { .. })));
    let (mut layer, mut params) = layer();
    let mut h = [0.0; 8];
    layer.forward(Threads::Serial, params.view(), x, MatMut::new(&mut h, 2, 4).unwrap()).unwrap();
    let dh = MatRef::new(&h, 2, 4).unwrap();
    let result = layer.update(Threads::Serial, params.view_mut(), x, dh, &update, None);
    assert!(matches!(result, Err(Error::Unsupported { .. })));
    let composed = composed::Network::<f32>::new([(NormShape::new(3, 4, Normalisation::Layer).into(), {
        Params::zeros(&NormShape::new(3, 4, Normalisation::Layer)).unwrap()
    })]);
    assert!(matches!(composed, Err(Error::Unsupported { .. })));
}

/// What a rule keeps of one layer is refused by another, before anything moves.
#[test]
fn states_of_other_layers_are_refused() {
    let x = [0.5_f32; 6];
    let x = MatRef::new(&x, 2, 3).unwrap();
    let shapes: [LayerShape; 4] = [
        DannShape::new(3, 4, 2).into(),
        DannShape::new(3, 4, 3).into(),
        DenseShape::new(3, 4).into(),
        NormShape::new(3, 4, Normalisation::Batch).into(),
    ];
    for rule in
        [Update { momentum: PerRole::all(0.5), ..Update::sgd(0.1) }, Update { clip: Some(1.0), ..Update::sgd(0.1) }]
    {
        let states = shapes.map(|shape| {
            let mut params = Init::first().draw::<f32>(&shape, &mut generator(1)).unwrap();
            let (gradients, mut state) = (params.clone(), State::new());
            rule.apply(&shape, params.view_mut(), gradients.view(), &mut state).unwrap();
            state
        });
        for (i, shape) in shapes.iter().enumerate() {
            for (j, state) in states.iter().enumerate() {
                let mut params = Init::first().draw::<f32>(shape, &mut generator(1)).unwrap();
                let (before, gradients) = (params.clone(), params.clone());
                let result = rule.apply(shape, params.view_mut(), gradients.view(), &mut state.clone());
                assert_eq!(result.is_ok(), i == j, "{shape:?}: {result:?}");
                let mut layer = Layer::<f32>::new(*shape, Isa::best()).unwrap();
                layer.set_state(state.clone());
                let mut h = [0.0; 8];
                layer.forward(Threads::Serial, before.view(), x, MatMut::new(&mut h, 2, 4).unwrap()).unwrap();
                let dh = MatRef::new(&h, 2, 4).unwrap();
                let mut fused = before.clone();
                let result = layer.update(Threads::Serial, fused.view_mut(), x, dh, &rule, None);
                assert_eq!(result.is_ok(), i == j, "{shape:?}: {result:?}");
                assert!(i == j || (params == before && fused == before));
            }
        }
    }
}

#[test]
fn columns_fit_their_layers() {
    let bad = DenseShape::new(3, 4).columns(4, 0);
    let error = Layer::<f32>::new(bad, Isa::best()).err().unwrap();
    assert_eq!(error.to_string(), "inhibitory_inputs is 4: expected at most d, the inputs");
    let error = Layer::<f32>::new(DenseShape::new(3, 4).columns(0, 5), Isa::best()).err().unwrap();
    assert_eq!(error.to_string(), "inhibitory_outputs is 5: expected at most ne, the outputs");
    let stack = [DenseShape::new(3, 4).columns(0, 1), DenseShape::new(4, 2).columns(2, 0)];
    let error = Architecture::of(stack.map(LayerShape::from).to_vec()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "layer 0: the layer has 1 inhibitory output, the layer above has 2 inhibitory inputs"
    );
    // Signs that nobody above counts on would be lost in a checkpoint, and in the last layer they are logits.
    for above in [None, Some(DenseShape::new(4, 2).into()), Some(DannShape::new(4, 2, 1).into())] {
        let stack: Vec<LayerShape> =
            [Some(DenseShape::new(3, 4).columns(0, 1).into()), above].into_iter().flatten().collect();
        let error = Architecture::of(stack).unwrap_err();
        let Error::Layer { index: 0, source } = error else { panic!("{error}") };
        assert!(matches!(*source, Error::Mismatch { dimension: "inhibitory outputs", value: 1, .. }), "{source}");
    }
    assert!(matches!(Architecture::column_ei(&[3, 4], 0, 0.0), Err(Error::Dimension { name: "ratio", .. })));
    assert!(matches!(Architecture::column_ei(&[3, 4], 1, f64::NAN), Err(Error::Policy { name: "mean_input", .. })));
}

/// Layers of 400 MB each, which any machine has room for, and more of them than there are addresses.
#[test]
fn a_network_that_does_not_fit_is_refused_before_anything_is_drawn() {
    let dims = vec![10_000; 400_001];
    let expected = Error::TooLarge { elements: 400_000 * (10_000 * 10_000 + 10_000) };
    assert_eq!(Architecture::mlp(&dims).unwrap().build::<f32>().unwrap_err(), expected);
}

/// A caller's arrays are as many as the layer's, and each as long.
#[test]
fn arrays_of_a_caller() {
    let schema = DenseShape::new(3, 4).schema().unwrap();
    let (w, b) = ([0.0_f32; 12], [0.0_f32; 4]);
    assert_eq!(&ParamsRef::new(&schema, [&w[..], &b]).unwrap()["b"], &b);
    let refused = |arrays: &[&[f32]]| ParamsRef::new(&schema, arrays.iter().copied()).unwrap_err();
    assert_eq!(refused(&[&w]), Error::Length { name: "arrays", len: 1, expected: 2 });
    assert_eq!(refused(&[&w, &b, &b]), Error::Length { name: "arrays", len: 3, expected: 2 });
    assert_eq!(refused(&[&b, &w]), Error::Length { name: "W", len: 4, expected: 12 });
    let (mut w, mut b) = (w, b);
    let error = ParamsMut::new(&schema, [&mut w[..], &mut b, &mut []]).unwrap_err();
    assert_eq!(error, Error::Length { name: "arrays", len: 3, expected: 2 });
}
