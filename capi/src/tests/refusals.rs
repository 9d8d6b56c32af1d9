//! Everything that a call refuses: with a status, a text that names argument, value and expectation, and all outputs as
//! they were.

use super::*;
use crate::config::*;
use crate::context::*;
use crate::info::*;
use crate::layer::*;
use crate::network::*;
use crate::shapes::*;
use crate::status::*;
use std::ffi::c_char;
use std::ptr::null;

const D: usize = 5;
const NE: usize = 4;
const NI: usize = 2;
const BATCH: usize = 3;
const NOTHING: Arrays = Arrays { size: size_of::<Arrays>() as u64, ..Arrays::DEFAULT };

/// A layer after a forward pass, and all arrays that its calls take.
struct Setup {
    layer: OwnLayer,
    params: [Vec<f32>; 6],
    gradients: [Vec<f32>; 6],
    x: Vec<f32>,
    h: Vec<f32>,
    dh: Vec<f32>,
    dx: Vec<f32>,
    _context: OwnContext,
}

impl Setup {
    fn new() -> Self {
        let context = OwnContext::new(0, "");
        let layer = context.layer(layer_config(D as i64, NE as i64, NI as i64));
        let mut params = untouched(D, NE, NI);
        let (x, dh) = (numbers(BATCH * D), numbers(BATCH * NE));
        let mut h = vec![UNTOUCHED; BATCH * NE];
        // SAFETY: arrays of the layer's lengths, which live as long as it does.
        unsafe {
            ok(interneuron_layer_attach(layer.0, &pointers(&mut params)));
            ok(interneuron_layer_init(layer.0, 3, 0));
            ok(interneuron_layer_forward(layer.0, BATCH as i64, x.as_ptr().cast(), h.as_mut_ptr().cast()));
        }
        h.fill(UNTOUCHED);
        let (gradients, dx) = (untouched(D, NE, NI), vec![UNTOUCHED; BATCH * D]);
        Self { layer, params, gradients, x, h, dh, dx, _context: context }
    }

    /// Runs a call that must fail, and asserts that nothing was written and the forward pass still counts.
    #[track_caller]
    fn refuses(&mut self, expected: i32, parts: &[&str], call: impl FnOnce(&mut Self) -> i32) {
        let before = self.params.clone();
        let status = call(self);
        fails(status, expected, parts);
        assert_eq!(self.params, before);
        let outputs = self.gradients.iter().chain([&self.h, &self.dx]);
        assert!(outputs.flatten().all(|&value| value == UNTOUCHED), "an output was written");
        let (x, dh, out) = (self.x.as_ptr(), self.dh.as_ptr(), pointers(&mut self.gradients));
        // SAFETY: arrays of the layer's and the batch's lengths.
        unsafe {
            ok(interneuron_layer_backward(
                self.layer.0,
                BATCH as i64,
                x.cast(),
                dh.cast(),
                &out,
                self.dx.as_mut_ptr().cast(),
            ));
            ok(interneuron_layer_forward(self.layer.0, BATCH as i64, x.cast(), self.h.as_mut_ptr().cast()));
        }
        self.gradients.iter_mut().chain([&mut self.h, &mut self.dx]).for_each(|array| array.fill(UNTOUCHED));
    }
}

/// `backward` and `update` with these pointers.
///
/// # Safety
/// That of the calls.
unsafe fn backward(setup: &mut Setup, batch: i64, x: *const f32, dh: *const f32, arrays: &Arrays, dx: *mut f32) -> i32 {
    // SAFETY: as demanded here.
    unsafe { interneuron_layer_backward(setup.layer.0, batch, x.cast(), dh.cast(), arrays, dx.cast()) }
}

#[test]
fn null_pointers() {
    let mut setup = Setup::new();
    let batch = BATCH as i64;
    let null_pointer = |setup: &mut Setup, name: &str, call: &dyn Fn(&mut Setup) -> i32| {
        setup.refuses(INTERNEURON_NULL_POINTER, &[name, "is NULL: expected a pointer"], |setup| call(setup));
    };
    let context = OwnContext::new(0, "");
    let (layer, network) = (layer_config(2, 2, 1), network_config(&[2, 2], None, 0));
    let other = context.network(&[2, 2], None, 0);
    let (labels, step) = ([0_u32; 1], update_config(0.1, 0));
    let (mut id, mut loss) = (0, 0.0);
    // SAFETY: of each call one pointer is NULL; the others are to locals of the right lengths.
    unsafe {
        let (c, n) = (context.0, other.0);
        fails(interneuron_isa_count(null_mut()), INTERNEURON_NULL_POINTER, &["count is NULL"]);
        fails(interneuron_isa_name(0, null_mut()), INTERNEURON_NULL_POINTER, &["name is NULL"]);
        fails(interneuron_context_create(null(), &mut id), INTERNEURON_NULL_POINTER, &["config is NULL"]);
        let config = ContextConfig { size: 24, threads: 0, isa: null() };
        fails(interneuron_context_create(&config, null_mut()), INTERNEURON_NULL_POINTER, &["context is NULL"]);
        fails(interneuron_layer_create(c, null(), &mut id), INTERNEURON_NULL_POINTER, &["config is NULL"]);
        fails(interneuron_layer_create(c, &layer, null_mut()), INTERNEURON_NULL_POINTER, &["layer is NULL"]);
        fails(interneuron_network_create(c, null(), &mut id), INTERNEURON_NULL_POINTER, &["config is NULL"]);
        fails(interneuron_network_create(c, &network, null_mut()), INTERNEURON_NULL_POINTER, &["network is NULL"]);
        let no_dims = NetworkConfig { dims: null(), ..network };
        fails(interneuron_network_create(c, &no_dims, &mut id), INTERNEURON_NULL_POINTER, &["config->dims is NULL"]);
        assert_eq!(id, 0);

        let x = setup.x.as_ptr();
        let (l, step_p) = (labels.as_ptr(), &raw const step);
        let train = |x, l, step| interneuron_network_train_step(n, 1, x, l, step, &mut loss);
        let mut train = train;
        fails(train(null(), l, step_p), INTERNEURON_NULL_POINTER, &["x is NULL"]);
        fails(train(x.cast(), null(), step_p), INTERNEURON_NULL_POINTER, &["labels is NULL"]);
        fails(train(x.cast(), l, null()), INTERNEURON_NULL_POINTER, &["update is NULL"]);
        let evaluate = |x, l| interneuron_network_evaluate(n, 1, x, l, null_mut(), null_mut());
        fails(evaluate(null(), l), INTERNEURON_NULL_POINTER, &["x is NULL"]);
        fails(evaluate(x.cast(), null()), INTERNEURON_NULL_POINTER, &["labels is NULL"]);
        let logits = |x, logits| interneuron_network_logits(n, 1, x, logits);
        fails(logits(null(), setup.h.as_mut_ptr().cast()), INTERNEURON_NULL_POINTER, &["x is NULL"]);
        fails(logits(x.cast(), null_mut()), INTERNEURON_NULL_POINTER, &["logits is NULL"]);
        fails(interneuron_network_layer_count(n, null_mut()), INTERNEURON_NULL_POINTER, &["count is NULL"]);
        fails(interneuron_network_parameter_count(n, 0, null_mut()), INTERNEURON_NULL_POINTER, &["count is NULL"]);
        fails(interneuron_network_set_parameters(n, 0, null()), INTERNEURON_NULL_POINTER, &["arrays is NULL"]);
        fails(interneuron_network_get_parameters(n, 0, null()), INTERNEURON_NULL_POINTER, &["arrays is NULL"]);
        let nothing = NOTHING;
        let set = interneuron_network_set_parameters(n, 0, &nothing);
        fails(set, INTERNEURON_NULL_POINTER, &["arrays->wex is NULL"]);

        let id = setup.layer.0;
        fails(interneuron_layer_parameter_count(id, null_mut()), INTERNEURON_NULL_POINTER, &["count is NULL"]);
        null_pointer(&mut setup, "arrays", &|s| interneuron_layer_attach(s.layer.0, null()));
        null_pointer(&mut setup, "arrays->wex", &|s| interneuron_layer_attach(s.layer.0, &NOTHING));
        null_pointer(&mut setup, "arrays->alpha", &|s| {
            let arrays = Arrays { alpha: null_mut(), ..pointers(&mut s.params) };
            interneuron_layer_set_parameters(s.layer.0, &arrays)
        });
        null_pointer(&mut setup, "arrays", &|s| interneuron_layer_get_parameters(s.layer.0, null()));
        null_pointer(&mut setup, "x", &|s| {
            interneuron_layer_forward(s.layer.0, batch, null(), s.h.as_mut_ptr().cast())
        });
        null_pointer(&mut setup, "h", &|s| {
            interneuron_layer_forward(s.layer.0, batch, s.x.as_ptr().cast(), null_mut())
        });
        null_pointer(&mut setup, "x", &|s| interneuron_layer_infer(s.layer.0, batch, null(), s.h.as_mut_ptr().cast()));
        null_pointer(&mut setup, "h", &|s| interneuron_layer_infer(s.layer.0, batch, s.x.as_ptr().cast(), null_mut()));
        null_pointer(&mut setup, "x", &|s| {
            let (dh, out) = (s.dh.as_ptr(), pointers(&mut s.gradients));
            backward(s, batch, null(), dh, &out, null_mut())
        });
        null_pointer(&mut setup, "dh", &|s| {
            let (x, out) = (s.x.as_ptr(), pointers(&mut s.gradients));
            backward(s, batch, x, null(), &out, null_mut())
        });
        let update = |s: &mut Setup, x, dh, step| interneuron_layer_update(s.layer.0, batch, x, dh, step, null_mut());
        null_pointer(&mut setup, "x", &|s| update(s, null(), s.dh.as_ptr().cast(), step_p));
        null_pointer(&mut setup, "dh", &|s| update(s, s.x.as_ptr().cast(), null(), step_p));
        ok(interneuron_layer_inhibition(id, batch, null_mut(), null_mut(), null_mut()));
        null_pointer(&mut setup, "update", &|s| update(s, s.x.as_ptr().cast(), s.dh.as_ptr().cast(), null()));
        // Nothing wanted is no error.
        ok(interneuron_layer_parameter(id, 0, null_mut(), null_mut(), null_mut()));
        ok(interneuron_network_parameter(n, 0, 0, null_mut(), null_mut(), null_mut()));
    }
    assert_eq!(loss, 0.0);
}

#[test]
fn sizes_and_numbers() {
    let mut setup = Setup::new();
    let context = OwnContext::new(0, "");
    let mut id = 0;
    let invalid = INTERNEURON_INVALID_ARGUMENT;
    // SAFETY: all pointers are to locals; sizes that are too large are refused before anything is touched.
    unsafe {
        for (size, status) in [(0, invalid), (8, invalid), (23, invalid), (32, invalid), (16, 0), (24, 0)] {
            let config = ContextConfig { size, threads: 0, isa: null() };
            let got = interneuron_context_create(&config, &mut id);
            assert_eq!(got, status, "{size}");
            if status == invalid {
                fails(got, invalid, &[&format!("config->size is {size}: expected"), "16, 24"]);
            } else {
                ok(interneuron_context_free(id));
            }
        }
        id = 0;
        for threads in [-1, 1025, i64::MIN, i64::MAX] {
            let config = ContextConfig { size: 24, threads, isa: null() };
            let got = interneuron_context_create(&config, &mut id);
            fails(got, invalid, &[&format!("config->threads is {threads}: expected from 0 to 1024")]);
        }
        let config = ContextConfig { size: 24, threads: 0, isa: c"mmx".as_ptr() };
        let got = interneuron_context_create(&config, &mut id);
        fails(got, INTERNEURON_UNSUPPORTED, &["\"mmx\"", "expected one of portable, "]);

        let whole = layer_config(5, 4, 2);
        for (config, parts) in [
            (LayerConfig { d: 0, ..whole }, ["config->d is 0", "at least 1"]),
            (LayerConfig { ne: -4, ..whole }, ["config->ne is -4", "at least 1"]),
            (LayerConfig { ni: -1, ..whole }, ["config->ni is -1", "at least 0"]),
            (LayerConfig { d: i64::MAX, ..whole }, ["ne is 4", "fits in memory"]),
            (LayerConfig { nonlinearity: 2, ..whole }, ["config->nonlinearity is 2", "0 (ReLU) or 1"]),
            (LayerConfig { divisive: -1, ..whole }, ["config->divisive is -1", "0 or 1"]),
            (LayerConfig { size: 47, ..whole }, ["config->size is 47", "24, 32, 40, 48"]),
        ] {
            fails(interneuron_layer_create(context.0, &config, &mut id), invalid, &parts);
        }
        let (dims, nis) = ([3, 2, -2], [1, 0]);
        let network = network_config(&dims, Some(&nis), 0);
        for (config, parts) in [
            (network, ["config->dims[2] is -2", "at least 1"]),
            (NetworkConfig { layers: 1, nis: nis[1..].as_ptr(), ..network }, ["config->nis[0] is 0", "at least 1"]),
            (NetworkConfig { layers: 0, ..network }, ["config->layers is 0", "from 1 to 1024"]),
            (NetworkConfig { layers: i64::MIN, ..network }, ["config->layers is -9", "from 1 to 1024"]),
        ] {
            fails(interneuron_network_create(context.0, &config, &mut id), invalid, &parts);
        }
        assert_eq!(id, 0);

        for (batch, text) in
            [(0, "at least 1"), (-3, "at least 1"), (i64::MAX, "fit in memory"), (1 << 61, "fit in memory")]
        {
            let parts = [&*format!("batch is {batch}"), text];
            let step = update_config(0.1, 1);
            setup.refuses(invalid, &parts, |s| {
                interneuron_layer_forward(s.layer.0, batch, s.x.as_ptr().cast(), s.h.as_mut_ptr().cast())
            });
            setup.refuses(invalid, &parts, |s| {
                interneuron_layer_infer(s.layer.0, batch, s.x.as_ptr().cast(), s.h.as_mut_ptr().cast())
            });
            setup.refuses(invalid, &parts, |s| {
                let (x, dh, out) = (s.x.as_ptr(), s.dh.as_ptr(), pointers(&mut s.gradients));
                backward(s, batch, x, dh, &out, null_mut())
            });
            setup.refuses(invalid, &parts, |s| {
                interneuron_layer_update(s.layer.0, batch, s.x.as_ptr().cast(), s.dh.as_ptr().cast(), &step, null_mut())
            });
        }
        // So many that the array would wrap around the end of memory.
        setup.refuses(invalid, &["x has 2305843009213693950 elements", "fits in memory"], |s| {
            let end = (usize::MAX - 63) as *const f32;
            interneuron_layer_forward(s.layer.0, (1 << 61) / 5, end.cast(), s.h.as_mut_ptr().cast())
        });

        for (lr, corrections, size, parts) in [
            (-0.1, 1, 32, ["lr is -0.1", "finite number"]),
            (f64::NAN, 1, 32, ["lr is NaN", "finite number"]),
            (0.1, 2, 32, ["update->corrections is 2", "0 or 1"]),
            (0.1, 1, 20, ["update->size is 20", "16, 24, 32, 144"]),
        ] {
            let step = UpdateConfig { size, ..update_config(lr, corrections) };
            setup.refuses(invalid, &parts, |s| {
                interneuron_layer_update(
                    s.layer.0,
                    BATCH as i64,
                    s.x.as_ptr().cast(),
                    s.dh.as_ptr().cast(),
                    &step,
                    null_mut(),
                )
            });
        }
        let factors = [1.0, 1.0, -2.0, 1.0, 1.0, 1.0];
        let step = UpdateConfig { factors: factors.as_ptr(), ..update_config(0.1, 1) };
        setup.refuses(invalid, &["Wei", "is -2", "finite number"], |s| {
            interneuron_layer_update(
                s.layer.0,
                BATCH as i64,
                s.x.as_ptr().cast(),
                s.dh.as_ptr().cast(),
                &step,
                null_mut(),
            )
        });
        let good =
            AdamConfig { size: size_of::<AdamConfig>() as u64, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, amsgrad: 0 };
        let adam = [
            AdamConfig { size: 39, ..good },
            AdamConfig { beta1: 1.0, ..good },
            AdamConfig { epsilon: f64::NAN, ..good },
            AdamConfig { amsgrad: -1, ..good },
        ];
        let angle = AngleConfig { size: size_of::<AngleConfig>() as u64, lr_min: 0.01, rates: 0, cosine_epsilon: 0.1 };
        let size = size_of::<NaturalConfig>() as u64;
        let natural = NaturalConfig { size, c: 0.5, f_lambda: 1.0, epsilon: 1e-8, normalised: 2 };
        let (base, negative) = (update_config(0.1, 1), [0.0, 0.0, 0.0, -0.5, 0.0, 0.0]);
        let odd = good_address(&good).wrapping_byte_add(4);
        for (step, parts) in [
            (UpdateConfig { decay: negative.as_ptr(), ..base }, ["alpha", "is -0.5"]),
            (UpdateConfig { momentum: negative.as_ptr(), ..base }, ["alpha", "is -0.5"]),
            (UpdateConfig { decay_order: 3, ..base }, ["update->decay_order is 3", "from 0 to 2"]),
            (UpdateConfig { nesterov: 2, ..base }, ["update->nesterov is 2", "0 or 1"]),
            (UpdateConfig { dampening: 1.5, ..base }, ["dampening is 1.5", "from 0 to 1"]),
            (UpdateConfig { adam: &adam[0], ..base }, ["update->adam->size is 39", "40"]),
            (UpdateConfig { adam: &adam[1], ..base }, ["beta1 is 1", "less than 1"]),
            (UpdateConfig { adam: &adam[2], ..base }, ["epsilon is NaN", "finite"]),
            (UpdateConfig { adam: &adam[3], ..base }, ["update->adam->amsgrad is -1", "0 or 1"]),
            (UpdateConfig { split: -1.0, ..base }, ["split is -1", "> 0"]),
            (UpdateConfig { freeze_signs: 2, ..base }, ["update->freeze_signs is 2", "0 or 1"]),
            (UpdateConfig { freeze_signs: 1, floor: -1.0, ..base }, ["floor is -1", "≥ 0"]),
            (UpdateConfig { floor: 0.5, ..base }, ["update->floor is 0.5", "0 without freeze_signs"]),
            (UpdateConfig { floor: f64::NAN, ..base }, ["update->floor is NaN", "0 without freeze_signs"]),
            (UpdateConfig { clip: -1.0, ..base }, ["clip is -1", "> 0"]),
            (UpdateConfig { clip_scope: -1, ..base }, ["update->clip_scope is -1", "from 0 to 2"]),
            (UpdateConfig { kept_sums: 3, ..base }, ["update->kept_sums is 3", "from 0 to 2"]),
            (UpdateConfig { angle: &angle, ..base }, ["update->angle->rates is 0", "at least 1"]),
            (UpdateConfig { natural: &natural, ..base }, ["update->natural->normalised is 2", "0 or 1"]),
        ] {
            setup.refuses(invalid, &parts, |s| {
                interneuron_layer_update(
                    s.layer.0,
                    BATCH as i64,
                    s.x.as_ptr().cast(),
                    s.dh.as_ptr().cast(),
                    &step,
                    null_mut(),
                )
            });
        }
        let step = UpdateConfig { adam: odd, ..base };
        setup.refuses(INTERNEURON_MISALIGNED, &["update->adam is 0x", "multiple of 8"], |s| {
            interneuron_layer_update(
                s.layer.0,
                BATCH as i64,
                s.x.as_ptr().cast(),
                s.dh.as_ptr().cast(),
                &step,
                null_mut(),
            )
        });
        // Natural gradients are a matter of whole networks.
        let natural = NaturalConfig { normalised: 1, ..natural };
        let step = UpdateConfig { natural: &natural, ..update_config(0.1, 0) };
        setup.refuses(invalid, &["natural gradient", "use"], |s| {
            interneuron_layer_update(
                s.layer.0,
                BATCH as i64,
                s.x.as_ptr().cast(),
                s.dh.as_ptr().cast(),
                &step,
                null_mut(),
            )
        });
        setup.refuses(invalid, &["Wix[3] is -1", "expected a finite number"], |s| {
            let mut params = s.params.clone();
            params[1][3] = -1.0;
            interneuron_layer_set_parameters(s.layer.0, &pointers(&mut params))
        });
        setup.refuses(invalid, &["rectified_input is 7", "0 or 1"], |s| interneuron_layer_init(s.layer.0, 1, 7));
        for i in [-1, 6] {
            let parts = [&*format!("i is {i}"), "at least 0 and less than 6"];
            setup.refuses(invalid, &parts, |s| {
                interneuron_layer_parameter(s.layer.0, i, null_mut(), null_mut(), null_mut())
            });
        }
        let mut name: *const c_char = null();
        fails(interneuron_isa_name(-1, &mut name), invalid, &["i is -1", "at least 0"]);
        assert!(name.is_null());
        ok(interneuron_isa_name(0, &mut name));
        assert_eq!(CStr::from_ptr(name), c"portable");
    }
}

#[test]
fn layers_that_are_not_what_they_say() {
    let context = OwnContext::new(0, "");
    let (dann, plain) = (layer_config(3, 2, 1), layer_config(3, 2, 0));
    let columns = LayerConfig { kind: INTERNEURON_COLUMNS, ..plain };
    let cases: [(LayerConfig, [&str; 2]); 12] = [
        (LayerConfig { kind: 4, ..plain }, ["kind is 4", "from 0 to 3"]),
        (LayerConfig { kind: INTERNEURON_LAYER_NORM, ..dann }, ["ni is 1", "0 in a layer of this kind"]),
        (LayerConfig { inhibitory_inputs: 1, ..plain }, ["inhibitory_inputs is 1", "0 in a layer of this kind"]),
        (LayerConfig { inhibitory_outputs: 1, ..dann }, ["inhibitory_outputs is 1", "0 in a layer of this kind"]),
        (LayerConfig { inhibitory_inputs: -1, ..columns }, ["inhibitory_inputs is -1", "at least 0"]),
        (LayerConfig { inhibitory_inputs: 4, ..columns }, ["inhibitory", "is 4"]),
        (LayerConfig { divisor: 2, ..plain }, ["divisor is 2", "0 in a layer of this kind"]),
        (LayerConfig { divisor: 2, divisive: 0, ..dann }, ["divisor is 2", "0 in a layer of this kind"]),
        (LayerConfig { divisor: 3, ..dann }, ["divisor is 3", "from 0 to 2"]),
        (LayerConfig { divisor: 1, ..dann }, ["floor is 0", "from 1e-30 to 1e30"]),
        (LayerConfig { divisor: 1, floor: f64::NAN, ..dann }, ["floor is NaN", "from 1e-30 to 1e30"]),
        (LayerConfig { size: 56, ..dann }, ["size is 56", "24, 32, 40, 48, 88"]),
    ];
    for (config, parts) in cases {
        let mut id = 0;
        // SAFETY: pointers to locals; a size that no version has is refused after a look at the size alone.
        let status = unsafe { interneuron_layer_create(context.0, &config, &mut id) };
        fails(status, INTERNEURON_INVALID_ARGUMENT, &parts);
        // The same in a network, behind a layer that is as it should be.
        let shapes = [layer_config(5, 3, 1), config];
        let network = NetworkConfig { shapes: shapes.as_ptr(), ..network_config(&[0; 3], None, 0) };
        let network = NetworkConfig { dims: null(), ..network };
        // SAFETY: as above.
        let status = unsafe { interneuron_network_create(context.0, &network, &mut id) };
        let wrong_size = config.size != size_of::<LayerConfig>() as u64;
        let parts = if wrong_size { ["config->shapes[1].size is 56", "96, as in the first"] } else { parts };
        fails(status, INTERNEURON_INVALID_ARGUMENT, &parts);
        assert_eq!(id, 0);
    }
    let shapes = [layer_config(5, 3, 1), layer_config(4, 2, 0)];
    let (dims, mut id) = ([5, 3, 2], 0);
    let of = |config: NetworkConfig| NetworkConfig { shapes: shapes.as_ptr(), ..config };
    let base = network_config(&dims, None, 0);
    for (config, parts) in [
        (of(base), ["config->dims is 0x", "NULL, as there are shapes"]),
        (of(NetworkConfig { dims: null(), nis: dims.as_ptr(), ..base }), ["config->nis is 0x", "NULL"]),
        (of(NetworkConfig { dims: null(), ..base }), ["layer 1", "has 4 inputs"]),
        (NetworkConfig { scheme: 4, ..base }, ["config->scheme is 4", "from 0 to 3"]),
        (NetworkConfig { scheme: 3, k: -1.0, ..base }, ["k is -1", "from 0.001 to 1000"]),
        (NetworkConfig { k: 2.0, ..base }, ["config->k is 2", "other than INTERNEURON_CENTRED_LOGNORMAL"]),
        (NetworkConfig { k: f64::NAN, scheme: 2, ..base }, ["config->k is NaN", "0 with a scheme other"]),
        (NetworkConfig { mean_input: f64::NAN, ..base }, ["config->mean_input is NaN", "finite"]),
    ] {
        // SAFETY: pointers to locals.
        let status = unsafe { interneuron_network_create(context.0, &config, &mut id) };
        fails(status, INTERNEURON_INVALID_ARGUMENT, &parts);
    }
    assert_eq!(id, 0);
}

#[test]
fn more_memory_than_there_is() {
    let context = OwnContext::new(0, "");
    let (resources, large) = (INTERNEURON_OUT_OF_RESOURCES, 1 << 28);
    let layer = context.layer(layer_config(large, large, 1));
    // SAFETY: a layer without arrays of the caller.
    fails(unsafe { interneuron_layer_init(layer.0, 0, 0) }, resources, &["do not fit in memory"]);
    let (dims, mut id) = ([large, large], 0);
    // SAFETY: pointers to locals.
    let status = unsafe { interneuron_network_create(context.0, &network_config(&dims, None, 0), &mut id) };
    fails(status, resources, &["do not fit in memory"]);
    assert_eq!(id, 0);
    // A forward pass makes room before it reads or writes the first number.
    let layer = context.layer(layer_config(D as i64, NE as i64, NI as i64));
    let (x, mut h) = (numbers(D), vec![UNTOUCHED; NE]);
    // SAFETY: the arrays are shorter than the call says, but it does not come to that.
    unsafe {
        ok(interneuron_layer_init(layer.0, 0, 0));
        let far = (1_usize << 60) as *mut f32;
        fails(
            interneuron_layer_forward(layer.0, 1 << 50, x.as_ptr().cast(), far.cast()),
            resources,
            &["do not fit in memory"],
        );
        ok(interneuron_layer_forward(layer.0, 1, x.as_ptr().cast(), h.as_mut_ptr().cast()));
    }
    assert!(h.iter().all(|&value| value >= 0.0));
}

#[test]
fn arrays_that_a_layer_does_not_have() {
    let context = OwnContext::new(0, "");
    let layer = context.layer(LayerConfig { divisive: 0, ..layer_config(2, 2, 1) });
    let mut arrays = untouched(2, 2, 1);
    // SAFETY: arrays as long as those of a layer that divides.
    let status = unsafe { interneuron_layer_attach(layer.0, &pointers(&mut arrays)) };
    fails(
        status,
        INTERNEURON_INVALID_ARGUMENT,
        &["arrays->alpha is 0x", "expected NULL, as the layer has no such array"],
    );
}

#[test]
fn misaligned_pointers() {
    let mut setup = Setup::new();
    let batch = BATCH as i64;
    let odd = |ptr: *const f32| ptr.cast::<u8>().wrapping_add(2).cast::<f32>();
    let misaligned = INTERNEURON_MISALIGNED;
    // SAFETY: misaligned pointers are refused before they are used.
    unsafe {
        setup.refuses(misaligned, &["x is 0x", "a multiple of 4"], |s| {
            interneuron_layer_forward(s.layer.0, batch, odd(s.x.as_ptr().cast()).cast(), s.h.as_mut_ptr().cast())
        });
        setup.refuses(misaligned, &["h is 0x", "a multiple of 4"], |s| {
            interneuron_layer_infer(s.layer.0, batch, s.x.as_ptr().cast(), odd(s.h.as_ptr().cast()).cast_mut().cast())
        });
        setup.refuses(misaligned, &["arrays->g is 0x", "a multiple of 4"], |s| {
            let (x, dh, arrays) = (s.x.as_ptr(), s.dh.as_ptr(), pointers(&mut s.gradients));
            let arrays = Arrays { g: odd(arrays.g.cast()).cast_mut().cast(), ..arrays };
            backward(s, batch, x, dh, &arrays, null_mut())
        });
        setup.refuses(misaligned, &["dx is 0x", "a multiple of 4"], |s| {
            let step = update_config(0.1, 1);
            let dx = odd(s.dx.as_ptr()).cast_mut();
            interneuron_layer_update(s.layer.0, batch, s.x.as_ptr().cast(), s.dh.as_ptr().cast(), &step, dx.cast())
        });
        setup.refuses(misaligned, &["update is 0x", "a multiple of 8"], |s| {
            let steps = [update_config(0.1, 1); 2];
            let step = steps.as_ptr().cast::<u8>().wrapping_add(4).cast();
            interneuron_layer_update(s.layer.0, batch, s.x.as_ptr().cast(), s.dh.as_ptr().cast(), step, null_mut())
        });
        let mut ids = [0_u64; 2];
        let config = ContextConfig { size: 24, threads: 0, isa: null() };
        let id = ids.as_mut_ptr().cast::<u8>().wrapping_add(1).cast();
        fails(interneuron_context_create(&config, id), misaligned, &["context is 0x", "a multiple of 8"]);
        assert_eq!(ids, [0; 2]);
    }
}

#[test]
fn overlaps() {
    let mut setup = Setup::new();
    let batch = BATCH as i64;
    let overlap = INTERNEURON_OVERLAP;
    let step = update_config(0.1, 1);
    // SAFETY: every array is as long as the call takes it to be; overlaps are refused before a reference is made.
    unsafe {
        let mut shared = vec![UNTOUCHED; BATCH * (D + NE)];
        let shared_ptr = shared.as_mut_ptr();
        setup.refuses(overlap, &["h is at 0x", "no overlap with x"], |s| {
            interneuron_layer_forward(s.layer.0, batch, shared_ptr.cast(), shared_ptr.add(BATCH * D - 1).cast())
        });
        // Neighbours are no overlap.
        ok(interneuron_layer_infer(setup.layer.0, batch, shared_ptr.cast(), shared_ptr.add(BATCH * D).cast()));
        ok(interneuron_layer_forward(setup.layer.0, batch, setup.x.as_ptr().cast(), setup.h.as_mut_ptr().cast()));
        setup.h.fill(UNTOUCHED);
        setup.refuses(overlap, &["h is at 0x", "no overlap with the attached wex"], |s| {
            interneuron_layer_forward(s.layer.0, batch, s.x.as_ptr().cast(), s.params[0].as_mut_ptr().cast())
        });
        setup.refuses(overlap, &["arrays->b is at 0x", "no overlap with arrays->g"], |s| {
            let (x, dh, arrays) = (s.x.as_ptr(), s.dh.as_ptr(), pointers(&mut s.gradients));
            backward(s, batch, x, dh, &Arrays { b: arrays.g, ..arrays }, null_mut())
        });
        setup.refuses(overlap, &["arrays->wei is at 0x", "no overlap with the attached wei"], |s| {
            let (x, dh, arrays) = (s.x.as_ptr(), s.dh.as_ptr(), pointers(&mut s.gradients));
            let wei = s.params[2].as_mut_ptr();
            backward(s, batch, x, dh, &Arrays { wei: wei.cast(), ..arrays }, null_mut())
        });
        setup.refuses(overlap, &["dx is at 0x", "no overlap with dh"], |s| {
            let (x, dh) = (s.x.as_ptr(), s.dh.as_ptr());
            backward(s, batch, x, dh, &NOTHING, dh.cast_mut())
        });
        setup.refuses(overlap, &["dx is at 0x", "no overlap with x"], |s| {
            let x = s.x.as_ptr();
            interneuron_layer_update(s.layer.0, batch, x.cast(), s.dh.as_ptr().cast(), &step, x.cast_mut().cast())
        });
        setup.refuses(overlap, &["the attached wex is at 0x", "overlap with dh"], |s| {
            interneuron_layer_update(
                s.layer.0,
                batch,
                s.x.as_ptr().cast(),
                s.params[0].as_ptr().cast(),
                &step,
                null_mut(),
            )
        });
        setup.refuses(overlap, &["zhat is at 0x", "no overlap with the attached b"], |s| {
            interneuron_layer_inhibition(s.layer.0, 1, null_mut(), s.params[5].as_mut_ptr().cast(), null_mut())
        });
        setup.refuses(overlap, &["arrays->wex is at 0x", "no overlap with the attached wex"], |s| {
            interneuron_layer_get_parameters(s.layer.0, &pointers(&mut s.params))
        });
        setup.refuses(overlap, &["the attached", "no overlap with arrays->"], |s| {
            interneuron_layer_set_parameters(s.layer.0, &pointers(&mut s.params))
        });
        setup.refuses(overlap, &["arrays->b is at 0x", "no overlap with arrays->g"], |s| {
            let mut others = s.params.clone();
            let arrays = pointers(&mut others);
            interneuron_layer_attach(s.layer.0, &Arrays { b: arrays.g, ..arrays })
        });
        // Two inputs may be the same array.
        let network = setup._context.network(&[2, 2], None, 0);
        let mut same = [0.0_f64; 2];
        let both = same.as_mut_ptr();
        let (x, labels) = (both.cast(), both.cast());
        let evaluate = |loss, errors| interneuron_network_evaluate(network.0, 1, x, labels, loss, errors);
        ok(evaluate(null_mut(), null_mut()));
        fails(evaluate(both, null_mut()), overlap, &["loss is at 0x"]);
        let loss = both.add(1);
        fails(evaluate(loss, loss.cast()), overlap, &["errors is at 0x", "no overlap with loss"]);
        assert_eq!(same, [0.0; 2]);
    }
}

#[test]
fn overlaps_with_structs_and_of_single_numbers() {
    let mut setup = Setup::new();
    let context = OwnContext::new(0, "");
    let overlap = INTERNEURON_OVERLAP;
    let place = |field: *mut i64| field.cast::<u64>();
    let mut isa = [u64::from_ne_bytes(*b"portable"), 0];
    let name = isa.as_mut_ptr();
    let mut contexts = ContextConfig { size: 24, threads: 0, isa: name.cast() };
    let mut layers = layer_config(2, 2, 1);
    let mut dims = [2_i64, 2];
    let inputs = dims.as_mut_ptr();
    let networks = NetworkConfig { dims: inputs, ..network_config(&[2, 2], None, 0) };
    // SAFETY: every array is as long as the call takes it to be; overlaps are refused before anything is written.
    unsafe {
        let (threads, config) = (&raw mut contexts.threads, &raw const contexts);
        let status = interneuron_context_create(config, place(threads));
        fails(status, overlap, &["context is at 0x", "no overlap with config at"]);
        fails(interneuron_context_create(config, name), overlap, &["context is at 0x", "with config->isa at"]);
        let (ne, config) = (&raw mut layers.ne, &raw const layers);
        let status = interneuron_layer_create(context.0, config, place(ne));
        fails(status, overlap, &["layer is at 0x", "no overlap with config at"]);
        let status = interneuron_network_create(context.0, &networks, place(inputs));
        fails(status, overlap, &["network is at 0x", "no overlap with config->dims at"]);
        assert_eq!((contexts.threads, isa[0].to_ne_bytes(), layers.ne, dims), (0, *b"portable", 2, [2, 2]));

        let mut room = [update_config(0.1, 0); 2];
        let step = room.as_mut_ptr();
        setup.refuses(overlap, &["dx is at 0x", "no overlap with update at"], |s| {
            let (x, dh) = (s.x.as_ptr(), s.dh.as_ptr());
            interneuron_layer_update(s.layer.0, BATCH as i64, x.cast(), dh.cast(), step, step.cast())
        });
        let mut room = [pointers(&mut setup.gradients); 2];
        let arrays = room.as_mut_ptr();
        setup.refuses(overlap, &["dx is at 0x", "no overlap with arrays at"], |s| {
            backward(s, BATCH as i64, s.x.as_ptr(), s.dh.as_ptr(), &*arrays, arrays.cast())
        });
        (*arrays).b = arrays.cast();
        setup.refuses(overlap, &["arrays->b is at 0x", "no overlap with arrays at"], |s| {
            interneuron_layer_get_parameters(s.layer.0, arrays)
        });
        setup.refuses(overlap, &["count is at 0x", "no overlap with the attached wex"], |s| {
            interneuron_layer_parameter_count(s.layer.0, even(&mut s.params[0]))
        });
        setup.refuses(overlap, &["rows is at 0x", "no overlap with the attached wex"], |s| {
            interneuron_layer_parameter(s.layer.0, 0, null_mut(), even(&mut s.params[0]), null_mut())
        });
    }
}

fn good_address(config: &AdamConfig) -> *const AdamConfig {
    config
}

/// A place for a number of 64 bits in an array.
fn even(array: &mut [f32]) -> *mut i64 {
    let start = array.as_ptr().align_offset(8);
    array[start..].as_mut_ptr().cast()
}

#[test]
fn handles() {
    let setup = Setup::new();
    let context = OwnContext::new(2, "");
    let network = context.network(&[D as i64, NE as i64], None, 0);
    let mut h = vec![UNTOUCHED; BATCH * NE];
    let mut count = -5;
    let invalid = INTERNEURON_INVALID_HANDLE;
    // SAFETY: arrays of the layer's and the batch's lengths.
    unsafe {
        let mut forward =
            |id| interneuron_layer_forward(id, BATCH as i64, setup.x.as_ptr().cast(), h.as_mut_ptr().cast());
        for id in [0, 1, 2, 42, u64::MAX, (&raw const setup).addr() as u64] {
            fails(forward(id), invalid, &[&format!("the handle is {id:#x}: expected a layer")]);
            fails(interneuron_layer_init(id, 0, 0), invalid, &["expected a layer"]);
            fails(interneuron_layer_detach(id), invalid, &["expected a layer"]);
            fails(interneuron_layer_free(id), invalid, &["expected a layer"]);
            fails(interneuron_network_free(id), invalid, &["expected a network"]);
            fails(interneuron_context_free(id), invalid, &["expected a context"]);
            fails(interneuron_network_layer_count(id, &mut count), invalid, &["expected a network"]);
            fails(interneuron_layer_create(id, &layer_config(1, 1, 1), &mut 0), invalid, &["expected a context"]);
        }
        fails(forward(network.0), invalid, &["names a network: expected a layer"]);
        fails(forward(context.0), invalid, &["names a context: expected a layer"]);
        fails(interneuron_network_layer_count(setup.layer.0, &mut count), invalid, &["names a layer"]);
        fails(interneuron_context_free(setup.layer.0), invalid, &["names a layer: expected a context"]);

        // A context goes before its layers, a freed layer is no layer.
        let layer = context.layer(layer_config(D as i64, NE as i64, NI as i64));
        ok(interneuron_context_free(context.0));
        fails(interneuron_context_free(context.0), invalid, &["expected a context that was created"]);
        ok(interneuron_layer_init(layer.0, 0, 0));
        ok(interneuron_layer_free(layer.0));
        fails(forward(layer.0), invalid, &["not yet freed"]);
        fails(interneuron_layer_free(layer.0), invalid, &["not yet freed"]);
    }
    assert_eq!((h, count), (vec![UNTOUCHED; BATCH * NE], -5));
}

#[test]
fn calls_in_the_wrong_order() {
    let context = OwnContext::new(0, "");
    let layer = context.layer(layer_config(D as i64, NE as i64, NI as i64));
    let (x, dh) = (numbers(BATCH * D), numbers(BATCH * NE));
    let mut h = vec![UNTOUCHED; BATCH * NE];
    let mut arrays = untouched(D, NE, NI);
    let batch = BATCH as i64;
    // SAFETY: arrays of the layer's and the batch's lengths.
    unsafe {
        let wrong = INTERNEURON_WRONG_ORDER;
        let out = pointers(&mut arrays);
        let status = interneuron_layer_forward(layer.0, batch, x.as_ptr().cast(), h.as_mut_ptr().cast());
        fails(status, wrong, &["no parameters: expected interneuron_layer_init"]);
        fails(interneuron_layer_get_parameters(layer.0, &out), wrong, &["no parameters"]);
        fails(interneuron_layer_detach(layer.0), wrong, &["expected interneuron_layer_attach"]);
        ok(interneuron_layer_init(layer.0, 0, 0));
        let backward =
            || interneuron_layer_backward(layer.0, batch, x.as_ptr().cast(), dh.as_ptr().cast(), &out, null_mut());
        fails(backward(), wrong, &["call `forward` (not `infer`)"]);
        let mut zhat = vec![UNTOUCHED; BATCH * NE];
        let inhibition = |id, zi: *mut f32, zhat| interneuron_layer_inhibition(id, batch, zi.cast(), zhat, null_mut());
        fails(inhibition(layer.0, out.wex.cast(), zhat.as_mut_ptr().cast()), wrong, &["call `forward` (not `infer`)"]);
        fails(inhibition(layer.0, out.wex.cast(), null_mut()), wrong, &["call `forward` (not `infer`)"]);
        let invalid = INTERNEURON_INVALID_ARGUMENT;
        let plain = context.layer(layer_config(D as i64, NE as i64, 0));
        fails(inhibition(plain.0, out.wex.cast(), null_mut()), invalid, &["no interneurons"]);
        let subtractive = context.layer(LayerConfig { divisive: 0, ..layer_config(D as i64, NE as i64, NI as i64) });
        ok(interneuron_layer_init(subtractive.0, 0, 0));
        fails(inhibition(subtractive.0, out.wex.cast(), zhat.as_mut_ptr().cast()), invalid, &["only subtracts"]);
        assert!(zhat.iter().all(|&value| value == UNTOUCHED));
        ok(interneuron_layer_infer(layer.0, batch, x.as_ptr().cast(), h.as_mut_ptr().cast()));
        fails(backward(), wrong, &["call `forward` (not `infer`)"]);
        ok(interneuron_layer_forward(layer.0, 1, x.as_ptr().cast(), h.as_mut_ptr().cast()));
        fails(backward(), wrong, &["call `forward` (not `infer`)"]);
        assert!(arrays.iter().flatten().all(|&value| value == UNTOUCHED));
    }
}

#[test]
fn training_that_fails_changes_nothing() {
    let context = OwnContext::new(0, "");
    let network = context.network(&[2, 2], None, 0);
    // So large that outputs overflow, and their difference is NaN.
    let mut huge = [vec![3e38; 4], vec![], vec![], vec![], vec![], vec![0.0; 2]];
    // SAFETY: arrays of the layer's lengths.
    ok(unsafe { interneuron_network_set_parameters(network.0, 0, &pointers(&mut huge)) });
    let parameters = || {
        let mut arrays = huge.clone();
        arrays.iter_mut().for_each(|array| array.fill(UNTOUCHED));
        // SAFETY: arrays of the layer's lengths.
        ok(unsafe { interneuron_network_get_parameters(network.0, 0, &pointers(&mut arrays)) });
        arrays
    };
    let before = parameters();
    let mut loss = 5.0;
    let mut step = |x: [f32; 2], label: u32| {
        let step = update_config(0.1, 1);
        // SAFETY: one example and its label.
        unsafe { interneuron_network_train_step(network.0, 1, x.as_ptr().cast(), [label].as_ptr(), &step, &mut loss) }
    };
    fails(step([1.0, 2.0], 2), INTERNEURON_INVALID_ARGUMENT, &["label 0 is 2", "less than 2"]);
    fails(step([1.0, f32::NAN], 1), INTERNEURON_INVALID_ARGUMENT, &["x[1] is NaN", "a finite number"]);
    fails(step([1.0, 2.0], 1), INTERNEURON_DIVERGED, &["the loss is NaN"]);
    assert_eq!((loss, parameters()), (5.0, before));
}
