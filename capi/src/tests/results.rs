//! What the entry points compute is what the Rust crate computes, to the bit.

use super::*;
use crate::config::*;
use crate::info::INTERNEURON_IDENTITY;
use crate::layer::*;
use crate::network::*;
use crate::shapes::*;
use interneuron::{
    Adam, Angle, Architecture, ClipScope, DannParams, DannShape, DecayOrder, DenseShape, Descent, Divisor, Init, Isa,
    KeptSums, Law, Layer, LayerShape, MatMut, MatRef, Natural, Network, NormShape, Normalisation, Params, PerRole,
    Role, Scheme, State, Tape, Update, generator,
};
use std::ptr::null;

const D: usize = 37;
const NE: usize = 29;
const NI: usize = 5;
const BATCH: usize = 33;

/// What a layer does in all its calls, by the Rust crate.
struct Expected {
    params: DannParams<f32>,
    h: Vec<f32>,
    gradients: DannParams<f32>,
    dx: Vec<f32>,
    updated: DannParams<f32>,
}

fn update() -> Update {
    Update {
        factors: PerRole::all(1.0).with(Role::ToInterneurons, 0.5).with(Role::LogStrength, 0.0),
        ..Update::csgd(0.05)
    }
}

fn expected(shape: DannShape, isa: Isa) -> Expected {
    let params = Init::deeper().draw_dann::<f32>(&shape, &mut generator(9)).unwrap();
    let layer = Layer::new(shape, &isa.into()).unwrap();
    let mut tape = Tape::new();
    let (x, dh) = (numbers(BATCH * D), numbers(BATCH * NE));
    let (x, dh) = (MatRef::new(&x, BATCH, D).unwrap(), MatRef::new(&dh, BATCH, NE).unwrap());
    let (mut h, mut dx) = (vec![0.0; BATCH * NE], vec![0.0; BATCH * D]);
    let mut gradients = DannParams::zeros(&shape).unwrap();
    let mut updated = params.clone();
    let mut forward = |tape: &mut Tape<f32>| {
        layer.forward(params.view(), tape, x, MatMut::new(&mut h, BATCH, NE).unwrap()).unwrap();
    };
    forward(&mut tape);
    let dx_out = MatMut::new(&mut dx, BATCH, D).unwrap();
    layer.backward(params.view(), &mut tape, dh, gradients.view_mut(), Some(dx_out)).unwrap();
    forward(&mut tape);
    layer.update(updated.view_mut(), &mut State::new(), &mut tape, dh, &update(), None).unwrap();
    Expected { params, h, gradients, dx, updated }
}

#[test]
fn layers_do_what_the_rust_layer_does() {
    for isa in Isa::available() {
        for divisive in [true, false] {
            let shape = DannShape { divisive, ..DannShape::new(D, NE, NI) };
            let expected = expected(shape, isa);
            for (threads, attached) in [(0, true), (0, false), (2, true)] {
                let context = OwnContext::new(threads, isa.name());
                let config = LayerConfig { divisive: divisive.into(), ..layer_config(D as i64, NE as i64, NI as i64) };
                layer(&context.layer(config), &expected, attached);
            }
        }
    }
}

fn layer(layer: &OwnLayer, expected: &Expected, attached: bool) {
    let empty = || expected.params.clone().into_array().map(|a| vec![UNTOUCHED; a.len()]);
    let mut own = empty();
    let batch = BATCH as i64;
    let (x, dh) = (numbers(BATCH * D), numbers(BATCH * NE));
    let (mut h, mut dx) = (vec![UNTOUCHED; BATCH * NE], vec![UNTOUCHED; BATCH * D]);
    let arrays = pointers(&mut own);
    // SAFETY: all arrays have the lengths of the layer and the batch, and live to the end.
    unsafe {
        if attached {
            ok(interneuron_layer_attach(layer.0, &arrays));
        }
        ok(interneuron_layer_init(layer.0, 9, 1));
        let copy_out = |own: &mut [Vec<f32>; 6]| {
            if !attached {
                ok(interneuron_layer_get_parameters(layer.0, &pointers(own)));
            }
        };
        copy_out(&mut own);
        assert_eq!(own, expected.params.clone().into_array());

        ok(interneuron_layer_infer(layer.0, batch, x.as_ptr().cast(), h.as_mut_ptr().cast()));
        assert_eq!(bits(&h), bits(&expected.h));
        h.fill(UNTOUCHED);
        let mut forward = || ok(interneuron_layer_forward(layer.0, batch, x.as_ptr().cast(), h.as_mut_ptr().cast()));
        forward();
        if expected.params.g.len() == NE {
            let mut out = [NI, NE, NE].map(|n| vec![UNTOUCHED; BATCH * n]);
            let [zi, zhat, y] = out.each_mut().map(Vec::as_mut_ptr);
            ok(interneuron_layer_inhibition(layer.0, batch, zi.cast(), null_mut(), y.cast()));
            ok(interneuron_layer_inhibition(layer.0, batch, null_mut(), zhat.cast(), null_mut()));
            let [_, zhat, y] = &out;
            assert!(out.iter().flatten().all(|&value| value != UNTOUCHED) && y.iter().all(|&y| y > 0.0));
            for (i, &h) in expected.h.iter().enumerate() {
                let z = expected.params.g[i % NE] * zhat[i] + expected.params.b[i % NE];
                assert!((z.max(0.0) - h).abs() <= 1e-6 * (1.0 + h), "{z} {h}");
            }
        }
        let mut gradients = empty();
        let out = pointers(&mut gradients);
        ok(interneuron_layer_backward(
            layer.0,
            batch,
            x.as_ptr().cast(),
            dh.as_ptr().cast(),
            &out,
            dx.as_mut_ptr().cast(),
        ));
        assert_eq!(gradients, expected.gradients.clone().into_array());
        assert_eq!(bits(&dx), bits(&expected.dx));

        // Each output alone.
        for wanted in 0..6 {
            let mut some: [Vec<f32>; 6] = Default::default();
            some[wanted] = vec![UNTOUCHED; own[wanted].len()];
            forward();
            let out = pointers(&mut some);
            ok(interneuron_layer_backward(layer.0, batch, x.as_ptr().cast(), dh.as_ptr().cast(), &out, null_mut()));
            assert_eq!(some[wanted], expected.gradients.clone().into_array()[wanted]);
        }
        dx.fill(UNTOUCHED);
        forward();
        ok(interneuron_layer_backward(
            layer.0,
            batch,
            x.as_ptr().cast(),
            dh.as_ptr().cast(),
            null(),
            dx.as_mut_ptr().cast(),
        ));
        assert_eq!(bits(&dx), bits(&expected.dx));

        dx.fill(UNTOUCHED);
        forward();
        let factors: Vec<f64> = update().factors.iter().map(|(_, &factor)| factor).collect();
        let step = UpdateConfig { factors: factors.as_ptr(), ..update_config(0.05, 1) };
        ok(interneuron_layer_update(
            layer.0,
            batch,
            x.as_ptr().cast(),
            dh.as_ptr().cast(),
            &step,
            dx.as_mut_ptr().cast(),
        ));
        assert_eq!(bits(&dx), bits(&expected.dx));
        copy_out(&mut own);
        assert_eq!(own, expected.updated.clone().into_array());
        assert_eq!(bits(&h), bits(&expected.h));

        // Detached, the layer goes on with what was there, and the caller's arrays are left alone.
        if attached {
            ok(interneuron_layer_detach(layer.0));
            let kept = std::mem::replace(&mut own, expected.params.clone().into_array());
            ok(interneuron_layer_init(layer.0, 1, 0));
            assert_eq!(own, expected.params.clone().into_array());
            let mut copied = kept;
            ok(interneuron_layer_set_parameters(layer.0, &pointers(&mut copied)));
            let mut again = empty();
            ok(interneuron_layer_get_parameters(layer.0, &pointers(&mut again)));
            assert_eq!(again, copied);
        }
    }
}

#[test]
fn plain_layers_have_two_arrays() {
    let context = OwnContext::new(0, "");
    let layer = context.layer(LayerConfig { nonlinearity: 1, ..layer_config(3, 2, 0) });
    let mut arrays = [vec![1.0_f32, 2.0, 3.0, -1.0, 0.5, 0.0], vec![], vec![], vec![], vec![], vec![0.5, 0.25]];
    let mut h = [UNTOUCHED; 2];
    let (mut count, mut name, mut rows, mut columns) = (0, null(), 0, 0);
    // SAFETY: all arrays have the lengths of the layer and of one example.
    unsafe {
        ok(interneuron_layer_attach(layer.0, &pointers(&mut arrays)));
        ok(interneuron_layer_forward(layer.0, 1, [1.0_f32, 1.0, -1.0].as_ptr().cast(), h.as_mut_ptr().cast()));
        ok(interneuron_layer_parameter_count(layer.0, &mut count));
        ok(interneuron_layer_parameter(layer.0, 0, &mut name, &mut rows, &mut columns));
        assert_eq!((CStr::from_ptr(name), rows, columns), (c"W", 2, 3));
        ok(interneuron_layer_parameter(layer.0, 1, &mut name, &mut rows, null_mut()));
        assert_eq!((CStr::from_ptr(name), rows), (c"b", 2));
    }
    assert_eq!((h, count), ([0.5, -0.25], 2));
}

#[test]
fn networks_do_what_the_rust_network_does() {
    let dims = [20, 24, 7];
    let (x, labels) = (numbers(50 * 20), (0..50).map(|i| i % 7).collect::<Vec<u32>>());
    let dims_c = dims.map(|n| n as i64);
    for nis in [None, Some([3, 1])] {
        let architecture = match nis {
            None => Architecture::mlp(&dims),
            Some(nis) => Architecture::dann(&dims, &nis.map(|n| n as usize)),
        };
        for isa in Isa::available() {
            let mut rust: Network<f32> = architecture.clone().unwrap().seed(5).build(&isa.into()).unwrap();
            let matrix = MatRef::new(&x, 50, 20).unwrap();
            let context = OwnContext::new(2, isa.name());
            let network = context.network(&dims_c, nis.as_ref().map(|nis| nis.as_slice()), 5);
            drop(context);
            for _ in 0..5 {
                let expected = rust.train_step(matrix, &labels, &Update::csgd(0.1)).unwrap();
                let mut loss = 0.0;
                let step = update_config(0.1, 1);
                // SAFETY: 50 examples and labels.
                ok(unsafe {
                    interneuron_network_train_step(network.0, 50, x.as_ptr().cast(), labels.as_ptr(), &step, &mut loss)
                });
                assert_eq!(loss.to_bits(), expected.to_bits());
            }
            let expected = rust.evaluate(matrix, &labels).unwrap();
            let (mut loss, mut errors) = (0.0, 0);
            let mut logits = vec![UNTOUCHED; 50 * 7];
            let mut rust_logits = vec![0.0; 50 * 7];
            rust.logits(matrix, MatMut::new(&mut rust_logits, 50, 7).unwrap()).unwrap();
            // SAFETY: 50 examples, labels and rows of logits.
            unsafe {
                let (x, labels) = (x.as_ptr(), labels.as_ptr());
                ok(interneuron_network_evaluate(network.0, 50, x.cast(), labels, &mut loss, &mut errors));
                ok(interneuron_network_evaluate(network.0, 50, x.cast(), labels, null_mut(), null_mut()));
                ok(interneuron_network_logits(network.0, 50, x.cast(), logits.as_mut_ptr().cast()));
            }
            assert_eq!((loss, errors as usize), (expected.loss, expected.errors));
            assert_eq!(bits(&logits), bits(&rust_logits));
            parameters(&network, &rust);
        }
    }
}

/// An update of Rust as C says it. What it points to lives as long as this.
pub struct InC {
    numbers: [Vec<f64>; 3],
    adam: Option<AdamConfig>,
    angle: Option<AngleConfig>,
    natural: Option<NaturalConfig>,
}

impl InC {
    pub fn new(update: &Update) -> Self {
        let numbers = [&update.factors, &update.decay, &update.momentum];
        let adam = update.adam.map(|Adam { betas: [beta1, beta2], epsilon, amsgrad }| AdamConfig {
            size: size_of::<AdamConfig>() as u64,
            beta1,
            beta2,
            epsilon,
            amsgrad: amsgrad.into(),
        });
        let angle = update.angle.map(|Angle { lr_min, rates, cosine_epsilon }| AngleConfig {
            size: size_of::<AngleConfig>() as u64,
            lr_min,
            rates: rates as i64,
            cosine_epsilon,
        });
        let natural = update.natural.map(|Natural { c, f_lambda, epsilon, normalised }| {
            let size = size_of::<NaturalConfig>() as u64;
            NaturalConfig { size, c, f_lambda, epsilon, normalised: normalised.into() }
        });
        Self { numbers: numbers.map(|six| six.iter().map(|(_, &number)| number).collect()), adam, angle, natural }
    }

    pub fn config(&self, update: &Update) -> UpdateConfig {
        let [factors, decay, momentum] = self.numbers.each_ref().map(|six| six.as_ptr());
        UpdateConfig {
            factors,
            decay,
            decay_order: update.decay_order as i64,
            momentum,
            nesterov: update.nesterov.into(),
            dampening: update.dampening,
            adam: self.adam.as_ref().map_or(null(), |adam| adam),
            split: if let Descent::Exponentiated { split } = update.descent { split } else { 0.0 },
            freeze_signs: update.floor.is_some().into(),
            floor: update.floor.unwrap_or(0.0),
            clip: update.clip.unwrap_or(0.0),
            clip_scope: match update.clip_scope {
                ClipScope::Layer => INTERNEURON_CLIP_LAYER,
                ClipScope::Array => INTERNEURON_CLIP_ARRAY,
                _ => INTERNEURON_CLIP_NETWORK,
            },
            kept_sums: match update.kept_sums {
                None => 0,
                Some(KeptSums::Array) => 1,
                Some(_) => 2,
            },
            angle: self.angle.as_ref().map_or(null(), |angle| angle),
            natural: self.natural.as_ref().map_or(null(), |natural| natural),
            ..update_config(update.lr, update.corrections.into())
        }
    }
}

/// Every field of an update, alone or with what it is for.
pub fn updates() -> Vec<Update> {
    let csgd = Update::csgd(0.05);
    let heavy = Update { momentum: PerRole::all(0.9).with(Role::Bias, 0.0), ..csgd };
    let decay = PerRole::all(0.0).with(Role::Weights, 0.01);
    let adam = Some(Adam { betas: [0.8, 0.99], epsilon: 1e-6, amsgrad: true });
    vec![
        Update { factors: PerRole::all(0.5).with(Role::ToInterneurons, 0.0), ..csgd },
        heavy,
        Update { nesterov: true, ..heavy },
        Update { dampening: 0.25, decay, ..heavy },
        Update { decay_order: DecayOrder::AfterMomentum, decay, ..heavy },
        Update { decay_order: DecayOrder::Decoupled, decay, ..csgd },
        Update { corrections: true, ..Update::adamw(0.01) },
        Update { adam, ..Update::adam(0.01) },
        Update::eg(0.05),
        Update { decay, momentum: PerRole::all(0.9), ..Update::eg(0.05) },
        Update { kept_sums: Some(KeptSums::Row), ..Update::adamw_eg(0.01) },
        Update { kept_sums: Some(KeptSums::Array), ..csgd },
        Update { floor: Some(1e-3), ..csgd },
        Update { clip: Some(0.1), ..csgd },
        Update { clip: Some(0.1), clip_scope: ClipScope::Array, ..csgd },
        Update { clip: Some(0.1), clip_scope: ClipScope::Network, ..csgd },
        Update { angle: Some(Angle { lr_min: 1e-4, rates: 10, cosine_epsilon: 0.01 }), ..csgd },
        Update::natural(1.0, Natural::default()),
    ]
}

#[test]
fn updates_are_those_of_rust() {
    let (x, labels) = (numbers(20 * 6), (0..20).map(|i| i % 3).collect::<Vec<u32>>());
    let context = OwnContext::new(0, "");
    let mut seen = vec![];
    for update in updates() {
        let mut rust: Network<f32> =
            Architecture::dann(&[6, 9, 3], &[2, 1]).unwrap().seed(3).build(&Isa::select().unwrap().into()).unwrap();
        let network = context.network(&[6, 9, 3], Some(&[2, 1]), 3);
        let in_c = InC::new(&update);
        for _ in 0..4 {
            let expected = rust.train_step(MatRef::new(&x, 20, 6).unwrap(), &labels, &update).unwrap();
            let (step, mut loss) = (in_c.config(&update), 0.0);
            // SAFETY: 20 examples and labels.
            ok(unsafe {
                interneuron_network_train_step(network.0, 20, x.as_ptr().cast(), labels.as_ptr(), &step, &mut loss)
            });
            assert_eq!(loss.to_bits(), expected.to_bits(), "{update:?}");
        }
        let after: Vec<_> =
            rust.params().flat_map(|params| params.arrays()).flat_map(|(_, array)| bits(array)).collect();
        assert!(!seen.contains(&after), "{update:?} does something of its own");
        seen.push(after);
        parameters(&network, &rust);
    }
}

/// What a step keeps is the layer's own, and is forgotten with its parameters.
#[test]
fn layers_keep_velocities() {
    let context = OwnContext::new(0, "");
    let update = Update { momentum: PerRole::all(0.9), ..Update::csgd(0.05) };
    let in_c = InC::new(&update);
    let step = in_c.config(&update);
    let (x, dh) = (numbers(4 * 5), numbers(4 * 3));
    let layer = context.layer(layer_config(5, 3, 2));
    let run = |steps: usize| {
        let mut h = vec![UNTOUCHED; 4 * 3];
        // SAFETY: four examples of five inputs and three outputs; arrays of the lengths of the layer.
        unsafe {
            ok(interneuron_layer_init(layer.0, 7, 0));
            for _ in 0..steps {
                ok(interneuron_layer_forward(layer.0, 4, x.as_ptr().cast(), h.as_mut_ptr().cast()));
                ok(interneuron_layer_update(layer.0, 4, x.as_ptr().cast(), dh.as_ptr().cast(), &step, null_mut()));
            }
            let mut own = untouched(5, 3, 2);
            ok(interneuron_layer_get_parameters(layer.0, &pointers(&mut own)));
            own
        }
    };
    let shape = LayerShape::from(DannShape::new(5, 3, 2));
    let kernels = Layer::<f32>::new(shape, &Isa::select().unwrap().into()).unwrap();
    let mut params = Init::first().draw(&shape, &mut generator(7)).unwrap();
    let (mut tape, mut state, mut h) = (Tape::new(), State::new(), vec![0.0; 4 * 3]);
    for _ in 0..3 {
        let (x, dh) = (MatRef::new(&x, 4, 5).unwrap(), MatRef::new(&dh, 4, 3).unwrap());
        kernels.forward(params.view(), &mut tape, x, MatMut::new(&mut h, 4, 3).unwrap()).unwrap();
        kernels.update(params.view_mut(), &mut state, &mut tape, dh, &update, None).unwrap();
    }
    let expected = params.arrays().into_iter().map(|(_, array)| array.to_vec()).collect::<Vec<_>>();
    assert_eq!(run(3).to_vec(), expected);
    assert_eq!(run(3).to_vec(), expected, "velocities of the first run are forgotten");
    assert_ne!(run(2).to_vec(), expected);
}

/// Every kind of layer, of nine inputs and seven outputs, as C and as Rust say it.
pub fn kinds() -> Vec<(LayerConfig, LayerShape)> {
    let (dann, plain, c) = (DannShape::new(9, 7, 3), DenseShape::new(9, 7), layer_config(9, 7, 0));
    let c_dann = layer_config(9, 7, 3);
    let [layer, batch] = [Normalisation::Layer, Normalisation::Batch].map(|over| NormShape::new(9, 7, over));
    let columns = LayerConfig { kind: INTERNEURON_COLUMNS, inhibitory_inputs: 2, ..c };
    let divisor = |divisor, floor| LayerConfig { divisor, floor, ..c_dann };
    vec![
        (c_dann, dann.into()),
        (LayerConfig { divisive: 0, nonlinearity: INTERNEURON_IDENTITY, ..c_dann }, dann.subtractive().linear().into()),
        (divisor(INTERNEURON_DIVISOR_FLOOR, 0.5), dann.divisor(Divisor::floor(0.5).unwrap()).into()),
        (divisor(INTERNEURON_DIVISOR_ROOT, 0.0), dann.divisor(Divisor::Root).into()),
        (c, plain.into()),
        (columns, plain.columns(2, 0).into()),
        (LayerConfig { inhibitory_outputs: 1, ..columns }, plain.columns(2, 1).into()),
        (LayerConfig { kind: INTERNEURON_LAYER_NORM, ..c }, layer.into()),
        (LayerConfig { kind: INTERNEURON_BATCH_NORM, ..c }, batch.into()),
    ]
}

/// Where C has the arrays of a layer.
fn place(name: &str) -> usize {
    const NAMES: [&str; 8] = ["Wex", "Wix", "Wei", "alpha", "g", "b", "running_mean", "running_var"];
    // Other names are those of weights.
    NAMES.into_iter().position(|known| known == name).unwrap_or(0)
}

/// The arrays in C's places.
pub fn in_places<T: Clone>(arrays: Vec<(&'static str, &[T])>) -> [Vec<T>; 8] {
    let mut all = [(); 8].map(|()| vec![]);
    arrays.into_iter().for_each(|(name, array)| all[place(name)] = array.to_vec());
    all
}

#[test]
fn every_kind_of_layer_is_that_of_rust() {
    const BATCH: usize = 5;
    let (x, dh) = (numbers(BATCH * 9), numbers(BATCH * 7));
    let context = OwnContext::new(0, "");
    let update = Update { momentum: PerRole::all(0.5), ..Update::csgd(0.05) };
    let in_c = InC::new(&update);
    let step = in_c.config(&update);
    for (config, shape) in kinds() {
        let layer = context.layer(config);
        let kernels = Layer::<f32>::new(shape, &Isa::select().unwrap().into()).unwrap();
        let mut params = Init::first().draw(&shape, &mut generator(3)).unwrap();
        let (mut tape, mut state) = (Tape::new(), State::new());
        let (mut rust_h, mut rust_dx) = (vec![0.0; BATCH * 7], vec![0.0; BATCH * 9]);
        let (mut h, mut dx) = (vec![UNTOUCHED; BATCH * 7], vec![UNTOUCHED; BATCH * 9]);
        let mut gradients = Params::zeros(&shape).unwrap();
        let mut own = in_places(params.arrays()).map(|array| vec![UNTOUCHED; array.len()]);
        let mut gradients_c = own.clone();
        // SAFETY: five examples; arrays of the lengths of the layer.
        unsafe { ok(interneuron_layer_init(layer.0, 3, 0)) };
        for _ in 0..2 {
            let (x_r, dh_r) = (MatRef::new(&x, BATCH, 9).unwrap(), MatRef::new(&dh, BATCH, 7).unwrap());
            let (x, dh) = (x.as_ptr(), dh.as_ptr());
            let mut forward = || {
                kernels.forward(params.view(), &mut tape, x_r, MatMut::new(&mut rust_h, BATCH, 7).unwrap()).unwrap();
                // SAFETY: as above.
                ok(unsafe { interneuron_layer_forward(layer.0, BATCH as i64, x.cast(), h.as_mut_ptr().cast()) });
                assert_eq!(bits(&h), bits(&rust_h), "{shape:?}");
            };
            forward();
            let dx_r = MatMut::new(&mut rust_dx, BATCH, 9).unwrap();
            kernels.backward(params.view(), &mut tape, dh_r, gradients.view_mut(), Some(dx_r)).unwrap();
            // SAFETY: as above.
            unsafe {
                let out = pointers(&mut gradients_c);
                ok(interneuron_layer_backward(
                    layer.0,
                    BATCH as i64,
                    x.cast(),
                    dh.cast(),
                    &out,
                    dx.as_mut_ptr().cast(),
                ));
            }
            assert_eq!(bits(&dx), bits(&rust_dx), "{shape:?}");
            assert_eq!(gradients_c, in_places(gradients.arrays()), "{shape:?}");
            kernels.forward(params.view(), &mut tape, x_r, MatMut::new(&mut rust_h, BATCH, 7).unwrap()).unwrap();
            kernels.update(params.view_mut(), &mut state, &mut tape, dh_r, &update, None).unwrap();
            // SAFETY: as above.
            unsafe {
                ok(interneuron_layer_forward(layer.0, BATCH as i64, x.cast(), h.as_mut_ptr().cast()));
                ok(interneuron_layer_update(layer.0, BATCH as i64, x.cast(), dh.cast(), &step, null_mut()));
                ok(interneuron_layer_get_parameters(layer.0, &pointers(&mut own)));
            }
            assert_eq!(own, in_places(params.arrays()), "{shape:?}");
        }
        let (mut count, there) = (0, own.iter().filter(|array| !array.is_empty()).count());
        // SAFETY: pointers to locals; attached arrays that outlive the layer.
        unsafe {
            ok(interneuron_layer_parameter_count(layer.0, &mut count));
            assert_eq!(count as usize, there);
            ok(interneuron_layer_attach(layer.0, &pointers(&mut own)));
            ok(interneuron_layer_infer(layer.0, BATCH as i64, x.as_ptr().cast(), h.as_mut_ptr().cast()));
        }
        let out = MatMut::new(&mut rust_h, BATCH, 7).unwrap();
        kernels.infer(params.view(), &mut tape, MatRef::new(&x, BATCH, 9).unwrap(), out).unwrap();
        assert_eq!(bits(&h), bits(&rust_h), "{shape:?}");
    }
}

#[test]
fn networks_of_any_layers_are_those_of_rust() {
    let context = OwnContext::new(0, "");
    let (x, labels) = (numbers(20 * 9), (0..20).map(|i| i % 3).collect::<Vec<u32>>());
    // One of the first layers hands on numbers of both signs.
    let (nonlinearity, divisor) = (INTERNEURON_IDENTITY, INTERNEURON_DIVISOR_ROOT);
    let last = LayerConfig { nonlinearity, divisor, ..layer_config(7, 3, 1) };
    let columns = LayerConfig { kind: INTERNEURON_COLUMNS, inhibitory_inputs: 1, ..layer_config(7, 3, 0) };
    let schemes = [
        Scheme::Matched,
        Scheme::Independent,
        Scheme::Centred(Law::Exponential),
        Scheme::Centred(Law::Lognormal { k: 0.5 }),
    ];
    for (number, (config, shape)) in kinds().into_iter().enumerate() {
        let hands_on = config.inhibitory_outputs > 0;
        // The inputs of a network are excitatory.
        let first = LayerConfig { inhibitory_inputs: 0, ..config };
        let first_shape = if config.kind == INTERNEURON_COLUMNS {
            DenseShape::new(9, 7).columns(0, config.inhibitory_outputs as usize).into()
        } else {
            shape
        };
        let shapes = [first, if hands_on { columns } else { last }];
        let last_shape = if hands_on {
            DenseShape::new(7, 3).columns(1, 0).into()
        } else {
            DannShape::new(7, 3, 1).linear().divisor(Divisor::Root).into()
        };
        let scheme = number % schemes.len();
        let size = size_of::<NetworkConfig>() as u64;
        let default = NetworkConfig::DEFAULT;
        let config = NetworkConfig {
            size,
            layers: 2,
            seed: 4,
            shapes: shapes.as_ptr(),
            scheme: scheme as i64,
            k: if scheme == 3 { 0.5 } else { 0.0 },
            mean_input: 0.25,
            ..default
        };
        let mut handle = 0;
        // SAFETY: pointers to locals.
        ok(unsafe { interneuron_network_create(context.0, &config, &mut handle) });
        let network = OwnNetwork(handle);
        let architecture = Architecture::of(vec![first_shape, last_shape]).unwrap();
        let architecture = architecture.init(schemes[scheme]).seed(4).mean_input(0.25);
        let mut rust: Network<f32> = architecture.build(&Isa::select().unwrap().into()).unwrap();
        for _ in 0..3 {
            let expected = rust.train_step(MatRef::new(&x, 20, 9).unwrap(), &labels, &Update::csgd(0.05)).unwrap();
            let (step, mut loss) = (update_config(0.05, 1), 0.0);
            // SAFETY: 20 examples and labels.
            ok(unsafe {
                interneuron_network_train_step(network.0, 20, x.as_ptr().cast(), labels.as_ptr(), &step, &mut loss)
            });
            assert_eq!(loss.to_bits(), expected.to_bits(), "{shape:?}");
        }
        parameters(&network, &rust);
    }
}

/// Copies all parameters out, compares them, and copies others in.
fn parameters(network: &OwnNetwork, rust: &Network<f32>) {
    let mut layers = 0;
    // SAFETY: pointers to locals; arrays of the lengths that the network itself gives.
    unsafe {
        ok(interneuron_network_layer_count(network.0, &mut layers));
        assert_eq!(layers, 2);
        for (k, params) in (0..layers).zip(rust.params()) {
            let mut count = 0;
            ok(interneuron_network_parameter_count(network.0, k, &mut count));
            let mut expected = in_places(params.arrays());
            let mut lengths = vec![];
            for i in 0..count {
                let (mut rows, mut columns) = (0, 0);
                ok(interneuron_network_parameter(network.0, k, i, null_mut(), &mut rows, &mut columns));
                lengths.push((rows * columns) as usize);
            }
            let there: Vec<_> = expected.iter().map(Vec::len).filter(|&len| len > 0).collect();
            assert_eq!(lengths, there);
            let mut copy = expected.clone().map(|a| vec![UNTOUCHED; a.len()]);
            ok(interneuron_network_get_parameters(network.0, k, &pointers(&mut copy)));
            assert_eq!(copy, expected);
            expected[5].fill(0.75);
            ok(interneuron_network_set_parameters(network.0, k, &pointers(&mut expected)));
            ok(interneuron_network_get_parameters(network.0, k, &pointers(&mut copy)));
            assert_eq!(copy, expected);
        }
    }
}
