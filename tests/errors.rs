//! Bad arguments: an error that names them, and outputs as they were.

use interneuron::*;
use interneuron_baseline as composed;

const SHAPE: DannShape =
    DannShape { d: 3, ne: 4, ni: 2, nonlinearity: Nonlinearity::Relu, divisive: true, divisor: Divisor::Plain };

fn layer() -> (Layer<f32>, DannParams<f32>) {
    let params = Init::first().draw_dann(&SHAPE, &mut generator(1)).unwrap();
    (Layer::new(SHAPE, &Isa::best().into()).unwrap(), params)
}

#[test]
fn dimensions() {
    for (shape, name) in
        [(DannShape { d: 0, ..SHAPE }, "d"), (DannShape { ne: 0, ..SHAPE }, "ne"), (DannShape { ni: 0, ..SHAPE }, "ni")]
    {
        let error = Layer::<f32>::new(shape, &Isa::best().into()).err().unwrap();
        assert_eq!(error, Error::Dimension { name, value: 0, expected: "at least 1" });
        assert_eq!(error.to_string(), format!("{name} is 0: expected at least 1"));
        assert_eq!(DannParams::<f32>::zeros(&shape).unwrap_err(), error);
        assert_eq!(Init::first().draw_dann::<f32>(&shape, &mut generator(1)).unwrap_err(), error);
    }
    let overflowing = DannShape { d: usize::MAX / 2, ..SHAPE };
    assert!(matches!(
        Layer::<f32>::new(overflowing, &Isa::best().into()).err(),
        Some(Error::Dimension { name: "ne", .. })
    ));
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
    let (layer, params) = layer();
    let (mut tape, mut state) = (Tape::new(), State::new());
    let x = [0.5_f32; 6];
    let x = MatRef::new(&x, 2, 3).unwrap();
    let wide = [0.5_f32; 8];
    let wide = MatRef::new(&wide, 2, 4).unwrap();
    let mark = [7.0_f32; 12];

    let mut forward = |params: DannRef<'_, f32>, x, rows, cols| {
        let mut h = mark;
        let out = MatMut::new(&mut h[..rows * cols], rows, cols).unwrap();
        let result = layer.forward(params, &mut tape, x, out);
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
    let wrong_kind = layer.forward(dense.view(), &mut tape, x, MatMut::new(&mut h[..8], 2, 4).unwrap());
    assert_eq!(wrong_kind, Err(Error::Kind { expected: "DANN" }));
    let error = wrong_kind.unwrap_err();
    assert_eq!(error.to_string(), "the layer or the arrays are of another kind: expected DANN");

    let dh = [1.0_f32; 8];
    let dh = MatRef::new(&dh, 2, 4).unwrap();
    let mut changed = params.clone();
    let mut update = |tape: &mut Tape<f32>, dh, update: &Update, dx_cols| {
        let mut dx = mark;
        let out = MatMut::new(&mut dx[..2 * dx_cols], 2, dx_cols).unwrap();
        let result = layer.update(changed.view_mut(), &mut state, tape, dh, update, Some(out));
        assert!(result.is_ok() || (dx == mark && changed == params), "something was written");
        result
    };
    let fine = Update::csgd(0.1);
    layer.forward(params.view(), &mut tape, x, MatMut::new(&mut h[..8], 2, 4).unwrap()).unwrap();
    assert_eq!(update(&mut tape, wide.slice(0, 1).unwrap(), &fine, 3), mismatch("dx", "rows", 2, "dh", "rows", 1));
    assert_eq!(update(&mut tape, x, &fine, 3), mismatch("dh", "columns", 3, "the layer", "outputs", 4));
    assert_eq!(update(&mut tape, dh, &fine, 4), mismatch("dx", "columns", 4, "the layer", "inputs", 3));
    let mut dx = mark;
    let mut alone = |rows, cols| {
        let out = MatMut::new(&mut dx[..rows * cols], rows, cols).unwrap();
        layer.input_gradient(params.view(), &mut tape, dh, out)
    };
    assert_eq!(alone(2, 4), mismatch("dx", "columns", 4, "the layer", "inputs", 3));
    assert_eq!(alone(1, 3), mismatch("dx", "rows", 1, "dh", "rows", 2));
    assert_eq!(dx, mark);
    for lr in [f64::NAN, f64::INFINITY, -0.1, 1e60] {
        let error = update(&mut tape, dh, &Update::csgd(lr), 3).unwrap_err();
        assert!(matches!(error, Error::LearningRate { .. }), "{error}");
    }
    for value in [f64::NAN, -1.0, f64::INFINITY] {
        let bad = Update { factors: PerRole::all(1.0).with(Role::ToInterneurons, value), ..fine };
        let error = update(&mut tape, dh, &bad, 3).unwrap_err();
        assert!(matches!(error, Error::Factor { name: "Wix", .. }), "{error}");
    }
    assert_eq!(update(&mut tape, dh, &fine, 3), Ok(()), "errors did not use the forward pass up");
    let (mut again, mut state) = (params.clone(), State::new());
    let mut backward = |tape: &mut Tape<f32>, dh| layer.update(again.view_mut(), &mut state, tape, dh, &fine, None);
    let error = backward(&mut Tape::new(), dh).unwrap_err();
    let expected =
        "the tape keeps no forward pass of this layer: call `forward` (not `infer`) before each backward pass";
    assert_eq!(error.to_string(), expected);
    layer.forward(params.view(), &mut tape, x, MatMut::new(&mut h[..8], 2, 4).unwrap()).unwrap();
    let other = backward(&mut tape, wide.slice(0, 1).unwrap());
    assert_eq!(other.unwrap_err().to_string(), "dh has 1 row, the forward pass has 2 examples");
    let stranger = Layer::new(SHAPE, &Isa::best().into()).unwrap();
    let result = stranger.update(params.clone().view_mut(), &mut State::new(), &mut tape, dh, &fine, None);
    assert!(matches!(result, Err(Error::NoForward)), "the tape of another layer");
    assert_eq!(backward(&mut tape, dh), Ok(()));
    assert!(matches!(backward(&mut tape, dh), Err(Error::NoForward)), "one backward for each forward");
    layer.infer(params.view(), &mut tape, x, MatMut::new(&mut h[..8], 2, 4).unwrap()).unwrap();
    assert!(matches!(backward(&mut tape, dh), Err(Error::NoForward)), "infer keeps nothing");
    let mut zi = mark;
    let out = MatMut::new(&mut zi[..4], 2, 2).unwrap();
    assert!(matches!(tape.interneurons(out), Err(Error::NoForward)));
    assert_eq!(zi, mark);
}

#[test]
fn imported_parameters() {
    let mut net: Network<f32> =
        Architecture::dann(&[3, 4, 2], &[2, 1]).unwrap().build(&Context::new().unwrap()).unwrap();
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
    let mut net: Network<f32> =
        Architecture::dann(&[3, 4, 2], &[2, 1]).unwrap().build(&Context::new().unwrap()).unwrap();
    let before: Vec<_> = net.params().map(|params| params.to_owned()).collect();
    let x = [0.5_f32; 6];
    let x = MatRef::new(&x, 2, 3).unwrap();
    let narrow = [0.5_f32; 4];
    let narrow = MatRef::new(&narrow, 2, 2).unwrap();
    let fine = Update::csgd(0.1);
    let error = net.train_step(narrow, &[0, 1], &fine).unwrap_err();
    assert_eq!(error.to_string(), "x has 2 columns, the network has 3 inputs");
    let error = net.train_step(x, &[0], &fine).unwrap_err();
    assert_eq!(error, Error::Length { name: "labels", len: 1, expected: 2 });
    let error = net.train_step(x, &[0, 2], &fine).unwrap_err();
    assert_eq!(error, Error::Label { index: 1, label: 2, classes: 2 });
    assert_eq!(error.to_string(), "label 1 is 2: expected less than 2, the number of classes");
    assert!(matches!(net.evaluate(x, &[0, 9]), Err(Error::Label { .. })));
    let error = net.train_step(x, &[0, 1], &Update::sgd(f64::NAN)).unwrap_err();
    assert!(matches!(error, Error::LearningRate { .. }));
    let poisoned = [f32::NAN; 6];
    let poisoned = MatRef::new(&poisoned, 2, 3).unwrap();
    let error = net.train_step(poisoned, &[0, 1], &fine).unwrap_err();
    assert_eq!(error.to_string(), "x[0] is NaN: expected a finite number");
    let huge = [f32::MAX; 6];
    let huge = MatRef::new(&huge, 2, 3).unwrap();
    let error = net.train_step(huge, &[0, 1], &fine).unwrap_err();
    assert!(matches!(error, Error::Diverged { step: 0, .. }), "{error}");
    let mut logits = [7.0; 4];
    let out = MatMut::new(&mut logits[..2], 1, 2).unwrap();
    assert!(matches!(net.logits(x, out), Err(Error::Mismatch { name: "logits", dimension: "rows", .. })));
    let mut gradients = net.zero_gradients().unwrap();
    gradients.pop();
    let error = net.gradients(x, &[0, 1], &mut gradients).unwrap_err();
    assert_eq!(error, Error::Length { name: "gradients", len: 1, expected: 2 });
    assert_eq!(net.apply(&fine, &gradients).unwrap_err(), error);
    let mut gradients = net.zero_gradients().unwrap();
    let mut last = DannParams::try_from(gradients[1].clone()).unwrap();
    last.wex.pop();
    gradients[1] = last.into();
    let error = net.gradients(x, &[0, 1], &mut gradients).unwrap_err();
    assert_eq!(error.to_string(), "layer 1: Wex has 7 elements: expected 8");
    assert_eq!(net.apply(&fine, &gradients).unwrap_err(), error);
    gradients[1] = gradients[0].clone();
    gradients[0] = Dense { w: vec![0.0; 12], b: vec![0.0; 4] }.into();
    let error = net.apply(&fine, &gradients).unwrap_err();
    assert_eq!(error, Error::Layer { index: 0, source: Box::new(Error::Kind { expected: "DANN" }) });
    let after: Vec<_> = net.params().map(|params| params.to_owned()).collect();
    assert_eq!(before, after);
    assert_eq!(net.steps(), 0);
}

#[test]
fn plans_refuse_what_is_another_networks() {
    let context = Context::new().unwrap();
    let [architecture, other] = [4, 5].map(|units| Architecture::dann(&[3, units, 2], &[2, 1]).unwrap());
    let mut plan: Plan<f32> = architecture.plan(&context).unwrap();
    let rule = Update { momentum: PerRole::all(0.5), ..Update::csgd(0.1) };
    let x = [0.5_f32; 6];
    let x = MatRef::new(&x, 2, 3).unwrap();
    let (params, mut others) = (architecture.draw::<f32>().unwrap(), other.draw::<f32>().unwrap());
    let mut foreign = TrainState::new(1);
    other.plan(&context).unwrap().train_step(&mut others, &mut foreign, x, &[0, 1], &rule).unwrap();

    let mut moved = params.clone();
    let error = plan.train_step(&mut others, &mut TrainState::new(1), x, &[0, 1], &rule).unwrap_err();
    assert_eq!(error.to_string(), "layer 0: Wex has 15 elements: expected 12");
    let error = plan.train_step(&mut moved[..1], &mut TrainState::new(1), x, &[0, 1], &rule).unwrap_err();
    assert_eq!(error, Error::Length { name: "params", len: 1, expected: 2 });
    let before = foreign.clone();
    let error = plan.train_step(&mut moved, &mut foreign, x, &[0, 1], &rule).unwrap_err();
    assert_eq!(error.to_string(), "layer 0: Wex has 15 elements: expected 12");
    let gradients = plan.zero_gradients().unwrap();
    assert_eq!(plan.apply(&mut moved, &mut foreign, &rule, &gradients).unwrap_err(), error);
    assert_eq!(plan.evaluate(&others, x, &[0, 1]).unwrap_err(), error);
    let mut short = TrainState::new(1);
    let mut plain: Plan<f32> = Architecture::mlp(&[3, 2]).unwrap().plan(&context).unwrap();
    let mut plain_params = Architecture::mlp(&[3, 2]).unwrap().draw::<f32>().unwrap();
    plain.train_step(&mut plain_params, &mut short, x, &[0, 1], &rule).unwrap();
    let error = plan.train_step(&mut moved, &mut short, x, &[0, 1], &rule).unwrap_err();
    assert_eq!(error, Error::Length { name: "state", len: 1, expected: 2 });
    assert!(moved == params && foreign == before);
}

#[test]
fn policies_name_their_numbers() {
    let mut net: Network<f32> =
        Architecture::dann(&[3, 4, 2], &[2, 1]).unwrap().build(&Context::new().unwrap()).unwrap();
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
        let error = net.train_step(x, &[0, 1], &update).unwrap_err();
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
    let mut net: Network<f32> = Architecture::mlp(&[3, 4, 2]).unwrap().build(&Context::new().unwrap()).unwrap();
    let x = [0.5_f32; 6];
    let x = MatRef::new(&x, 2, 3).unwrap();
    let before: Vec<_> = net.params().map(|params| params.to_owned()).collect();
    let coupled = Update { decay_order: DecayOrder::BeforeMomentum, ..Update::adamw_eg(0.1) };
    for update in [
        Update { nesterov: true, ..Update::adamw(0.1) },
        Update { natural: Some(Natural::default()), ..Update::adam(0.1) },
        coupled,
    ] {
        let error = net.train_step(x, &[0, 1], &update).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    }
    net.train_step(x, &[0, 1], &Update { decay: PerRole::all(0.0), ..coupled }).unwrap();
    assert!(!net.params().map(|params| params.to_owned()).eq(before) && net.steps() == 1);
}

#[test]
fn clipping_by_the_norm_of_a_network_takes_a_network() {
    let (layer, params) = layer();
    let (mut moved, mut tape, mut state) = (params.clone(), Tape::new(), State::new());
    let update = Update { clip: Some(1.0), clip_scope: ClipScope::Network, ..Update::sgd(0.1) };
    let (x, mut h) = ([0.5; 6], [0.0; 8]);
    let x = MatRef::new(&x, 2, 3).unwrap();
    layer.forward(params.view(), &mut tape, x, MatMut::new(&mut h, 2, 4).unwrap()).unwrap();
    let dh = MatRef::new(&h, 2, 4).unwrap();
    let error = layer.update(moved.view_mut(), &mut state, &mut tape, dh, &update, None).unwrap_err();
    let expected = "clipping of one layer by the norm of a network is not supported here; use ClipScope::Layer, or a \
                    network or a plan";
    assert_eq!(error.to_string(), expected);
    assert_eq!(layer.apply(moved.view_mut(), &mut state, &update, params.view()).unwrap_err(), error);
    assert!(moved == params && state == State::new());
}

/// A step that is refused, or whose loss is not finite, leaves what was kept, so that the steps after it have the bits
/// of a run without it; also where only the last layer does not fit.
#[test]
fn steps_that_fail_leave_what_was_kept() {
    let context = Context::new().unwrap();
    let architecture = Architecture::dann(&[3, 4, 2], &[2, 1]).unwrap();
    let x = [0.5_f32, 0.1, 0.9, 0.3, 0.7, 0.2];
    let x = MatRef::new(&x, 2, 3).unwrap();
    let (nan, huge) = ([f32::NAN; 6], [f32::MAX; 6]);
    let [nan, huge] = [&nan, &huge].map(|x| MatRef::new(x, 2, 3).unwrap());
    let rules = [
        Update::sgd(0.1),
        Update { momentum: PerRole::all(0.9), ..Update::sgd(0.1) },
        Update::eg(0.1),
        Update::adamw(0.01),
        Update { clip: Some(0.1), clip_scope: ClipScope::Network, ..Update::sgd(0.1) },
        Update { kept_sums: Some(KeptSums::Row), ..Update::sgd(0.1) },
        Update::natural(0.01, Natural::default()),
    ];
    for first in &rules {
        for second in &rules {
            let mut net: Network<f32> = architecture.build(&context).unwrap();
            for _ in 0..2 {
                net.train_step(x, &[0, 1], first).unwrap();
            }
            let mut undisturbed = net.clone();
            for bad in [nan, huge] {
                assert!(net.train_step(bad, &[0, 1], second).is_err());
                assert!(net.state() == undisturbed.state(), "{first:?}, {second:?}");
            }
            assert!(net.step_with(x, second, |_, _| f64::NAN).is_err());
            for rule in [first, second] {
                let [got, want] = [&mut net, &mut undisturbed].map(|net| net.train_step(x, &[0, 1], rule));
                assert_eq!(got, want);
            }
            assert!(
                net.params().eq(undisturbed.params()) && net.state() == undisturbed.state(),
                "{first:?}, {second:?}"
            );
        }
        let (mut params, mut state) = (architecture.draw::<f32>().unwrap(), TrainState::new(0));
        let mut plan: Plan<f32> = architecture.plan(&context).unwrap();
        plan.train_step(&mut params, &mut state, x, &[0, 1], first).unwrap();
        let other = Architecture::dann(&[3, 4, 5], &[2, 1]).unwrap();
        let kept = state.layers().any(|layer| *layer != State::new());
        for second in &rules {
            let (mut others, mut tried) = (other.draw::<f32>().unwrap(), state.clone());
            let result = other.plan(&context).unwrap().train_step(&mut others, &mut tried, x, &[0, 1], second);
            assert!(if result.is_ok() { !kept } else { tried == state }, "{first:?}, {second:?}: {result:?}");
        }
    }
    // A state that was never used is still nobody's.
    let mut state = TrainState::new(0);
    let mut plan: Plan<f32> = architecture.plan(&context).unwrap();
    assert!(plan.train_step(&mut architecture.draw().unwrap(), &mut state, nan, &[0, 1], &rules[1]).is_err());
    let one = Architecture::mlp(&[3, 2]).unwrap();
    one.plan(&context).unwrap().train_step(&mut one.draw().unwrap(), &mut state, x, &[0, 1], &rules[1]).unwrap();
}

#[test]
fn natural_gradients_are_refused_where_they_have_no_meaning() {
    let update = Update::natural(0.1, Natural::default());
    let x = [0.5_f32; 6];
    let x = MatRef::new(&x, 2, 3).unwrap();
    let mut net: Network<f32> = Architecture::batch_norm(&[3, 4, 2]).unwrap().build(&Context::new().unwrap()).unwrap();
    let error = net.train_step(x, &[0, 1], &update).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    let expected = "a natural gradient of batch normalisation is not supported here; use layers that treat each example \
                    on its own";
    assert_eq!(error.to_string(), expected);
    let mut net: Network<f32> = Architecture::mlp(&[3, 4, 2]).unwrap().build(&Context::new().unwrap()).unwrap();
    let gradients = net.zero_gradients().unwrap();
    assert!(matches!(net.apply(&update, &gradients), Err(Error::Unsupported { .. })));
    let (layer, mut params) = layer();
    let (mut tape, mut state) = (Tape::new(), State::new());
    let mut h = [0.0; 8];
    layer.forward(params.view(), &mut tape, x, MatMut::new(&mut h, 2, 4).unwrap()).unwrap();
    let dh = MatRef::new(&h, 2, 4).unwrap();
    let result = layer.update(params.view_mut(), &mut state, &mut tape, dh, &update, None);
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
            let layer = Layer::new(shape, &Context::new().unwrap()).unwrap();
            layer.apply(&mut params, &mut state, &rule, &gradients).unwrap();
            state
        });
        for (i, shape) in shapes.iter().enumerate() {
            for (j, state) in states.iter().enumerate() {
                let mut params = Init::first().draw::<f32>(shape, &mut generator(1)).unwrap();
                let (before, gradients) = (params.clone(), params.clone());
                let layer = Layer::<f32>::new(*shape, &Isa::best().into()).unwrap();
                let result = layer.apply(&mut params, &mut state.clone(), &rule, &gradients);
                assert_eq!(result.is_ok(), i == j, "{shape:?}: {result:?}");
                let mut tape = Tape::new();
                let mut h = [0.0; 8];
                layer.forward(before.view(), &mut tape, x, MatMut::new(&mut h, 2, 4).unwrap()).unwrap();
                let dh = MatRef::new(&h, 2, 4).unwrap();
                let mut fused = before.clone();
                let result = layer.update(fused.view_mut(), &mut state.clone(), &mut tape, dh, &rule, None);
                assert_eq!(result.is_ok(), i == j, "{shape:?}: {result:?}");
                assert!(i == j || (params == before && fused == before));
            }
        }
    }
}

#[test]
fn columns_fit_their_layers() {
    let bad = DenseShape::new(3, 4).columns(4, 0);
    let error = Layer::<f32>::new(bad, &Isa::best().into()).err().unwrap();
    assert_eq!(error.to_string(), "inhibitory_inputs is 4: expected at most d, the inputs");
    let error = Layer::<f32>::new(DenseShape::new(3, 4).columns(0, 5), &Isa::best().into()).err().unwrap();
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
    assert_eq!(Architecture::mlp(&dims).unwrap().build::<f32>(&Context::new().unwrap()).unwrap_err(), expected);
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
