//! Both elements, packed and with strides: what the Rust crate computes, to the bit, and no more.

use super::results::{in_places, kinds};
use super::*;
use crate::checkpoint::*;
use crate::config::*;
use crate::element::*;
use crate::inspect::*;
use crate::layer::*;
use crate::network::*;
use crate::status::*;
use crate::targets::*;
use interneuron::checkpoint::{Run, load, save};
use interneuron::{
    Architecture, Element, Init, Isa, Layer, LayerShape, MatMut, MatRef, Network, Params, PerRole, State, Tape, Target,
    Update, generator,
};
use std::ffi::c_void;
use std::ptr::null;

/// A float or a double.
trait Number: Element {
    const ELEMENT: i64;
    /// A network that the file of a path holds.
    fn load(context: u64, path: &CStr, network: &mut u64) -> i32;
    /// A step with a loss of squares.
    fn train_with(network: u64, batch: i64, x: (*const c_void, i64), update: &UpdateConfig, loss: &mut f64) -> i32;
}

/// Half the sum of the squares of the outputs, and its gradient.
unsafe extern "C" fn squares<T: Element>(_: *mut c_void, batch: i64, count: i64, outputs: *const T, d: *mut T) -> f64 {
    let elements = (batch * count) as usize;
    // SAFETY: as many elements as the header says.
    let (outputs, d) =
        unsafe { (std::slice::from_raw_parts(outputs, elements), std::slice::from_raw_parts_mut(d, elements)) };
    d.copy_from_slice(outputs);
    outputs.iter().map(|o| o.to_f64().powi(2) / 2.0).sum()
}

impl Number for f32 {
    const ELEMENT: i64 = INTERNEURON_F32;

    fn load(context: u64, path: &CStr, network: &mut u64) -> i32 {
        // SAFETY: a text that ends with NUL, and a pointer to a local.
        unsafe { interneuron_network_load(context, path.as_ptr(), network, null_mut()) }
    }

    fn train_with(network: u64, batch: i64, (x, stride): (*const c_void, i64), u: &UpdateConfig, l: &mut f64) -> i32 {
        let (compute, data): (Loss, _) = (Some(squares), null_mut());
        // SAFETY: as many examples.
        unsafe { interneuron_network_train_with_strided(network, batch, x, stride, compute, data, u, l) }
    }
}

impl Number for f64 {
    const ELEMENT: i64 = INTERNEURON_F64;

    fn load(context: u64, path: &CStr, network: &mut u64) -> i32 {
        // SAFETY: a text that ends with NUL, and a pointer to a local.
        unsafe { interneuron_network_load_f64(context, path.as_ptr(), network, null_mut()) }
    }

    fn train_with(network: u64, batch: i64, (x, stride): (*const c_void, i64), u: &UpdateConfig, l: &mut f64) -> i32 {
        let (compute, data): (LossF64, _) = (Some(squares), null_mut());
        // SAFETY: as many examples.
        unsafe { interneuron_network_train_with_f64(network, batch, x, stride, compute, data, u, l) }
    }
}

/// Some numbers from 0 to 1.
fn of<T: Element>(len: usize) -> Vec<T> {
    numbers(len).into_iter().map(|x| T::from_f64(x.into())).collect()
}

const GAP: f64 = -77.0;

/// Rows as a stride has them, with a number of its own between them; 0 is packed. As long as the header says.
fn spread<T: Element>(packed: &[T], width: usize, stride: i64) -> Vec<T> {
    if stride == 0 {
        return packed.to_vec();
    }
    let mut all = vec![];
    for row in packed.chunks(width) {
        all.resize(all.len().next_multiple_of(stride as usize), T::from_f64(GAP));
        all.extend(row);
    }
    all
}

/// The batch that calls overwrite, as a stride has it.
fn room<T: Element>(rows: usize, width: usize, stride: i64) -> Vec<T> {
    spread(&vec![T::from_f64(GAP); rows * width], width, stride)
}

/// A matrix and its stride, as a caller says it.
fn at<T>(matrix: &[T], stride: i64) -> (*const c_void, i64) {
    (matrix.as_ptr().cast(), stride)
}

const BATCH: usize = 5;

/// The strides of matrices with nine and with seven columns.
const STRIDES: [(i64, i64); 3] = [(0, 0), (11, 7), (9, 10)];

fn layer_of<T: Number>(context: &OwnContext, config: LayerConfig, shape: LayerShape, (wide, narrow): (i64, i64)) {
    let layer = context.layer(LayerConfig { element: T::ELEMENT, ..config });
    let kernels = Layer::<T>::new(shape, &Isa::select().unwrap().into()).unwrap();
    let mut params = Init::first().draw(&shape, &mut generator(3)).unwrap();
    let (mut tape, mut state) = (Tape::new(), State::new());
    let (packed_x, packed_dh) = (of::<T>(BATCH * 9), of::<T>(BATCH * 7));
    let (x, dh) = (spread(&packed_x, 9, wide), spread(&packed_dh, 7, narrow));
    let (x_r, dh_r) = (MatRef::new(&packed_x, BATCH, 9).unwrap(), MatRef::new(&packed_dh, BATCH, 7).unwrap());
    let (mut rust_h, mut rust_dx) = (of::<T>(BATCH * 7), of::<T>(BATCH * 9));
    let (mut h, mut dx) = (room::<T>(BATCH, 7, narrow), room::<T>(BATCH, 9, wide));
    let mut gradients = Params::<T>::zeros(&shape).unwrap();
    let mut own = in_places(params.arrays()).map(|array| vec![T::from_f64(GAP); array.len()]);
    let (mut gradients_c, batch) = (own.clone(), BATCH as i64);
    let update = Update { momentum: PerRole::all(0.5), ..Update::csgd(0.05) };
    let momentum = [0.5; 6];
    let step = UpdateConfig { momentum: momentum.as_ptr(), ..update_config(0.05, 1) };
    let ((x, _), (dh, _)) = (at(&x, wide), at(&dh, narrow));
    let forward = |h: &mut [T]| {
        // SAFETY: five examples, with rows as far apart as the strides say.
        ok(unsafe { interneuron_layer_forward_strided(layer.0, batch, x, wide, h.as_mut_ptr().cast(), narrow) });
    };
    // SAFETY: arrays of the lengths of the layer and of five examples, with rows as far apart as the strides say.
    unsafe {
        ok(interneuron_layer_init(layer.0, 3, 0));
        for round in 0..3 {
            let out = MatMut::new(&mut rust_h, BATCH, 7).unwrap();
            kernels.forward(params.view(), &mut tape, x_r, out).unwrap();
            forward(&mut h);
            assert_eq!(h, spread(&rust_h, 7, narrow), "{shape:?}");
            let out = MatMut::new(&mut rust_h, BATCH, 7).unwrap();
            kernels.infer(params.view(), &mut tape, x_r, out).unwrap();
            h.fill(T::from_f64(GAP));
            ok(interneuron_layer_infer_strided(layer.0, batch, x, wide, h.as_mut_ptr().cast(), narrow));
            assert_eq!(h, spread(&rust_h, 7, narrow), "{shape:?}");
            let out = MatMut::new(&mut rust_h, BATCH, 7).unwrap();
            kernels.forward(params.view(), &mut tape, x_r, out).unwrap();
            if shape.interneurons() > 0 && shape.divisive() {
                let (mut zi, mut zhat, mut y) = (of::<T>(BATCH * 3), of::<T>(BATCH * 7), of::<T>(BATCH * 7));
                tape.interneurons(MatMut::new(&mut zi, BATCH, 3).unwrap()).unwrap();
                let [zhat_r, y_r] = [&mut zhat, &mut y].map(|out| MatMut::new(out, BATCH, 7).unwrap());
                tape.standardised(zhat_r, y_r).unwrap();
                forward(&mut h);
                let mut out = [room::<T>(BATCH, 3, 4), room(BATCH, 7, narrow), room(BATCH, 7, narrow)];
                let [zi_c, zhat_c, y_c] = out.each_mut().map(|out| out.as_mut_ptr().cast());
                ok(interneuron_layer_inhibition_strided(layer.0, batch, zi_c, 4, zhat_c, narrow, y_c, narrow));
                assert_eq!(out, [spread(&zi, 3, 4), spread(&zhat, 7, narrow), spread(&y, 7, narrow)]);
            }
            let dx_r = MatMut::new(&mut rust_dx, BATCH, 9).unwrap();
            kernels.backward(params.view(), &mut tape, dh_r, gradients.view_mut(), Some(dx_r)).unwrap();
            forward(&mut h);
            let (out, dx_c) = (pointers(&mut gradients_c), dx.as_mut_ptr().cast());
            ok(interneuron_layer_backward_strided(layer.0, batch, x, wide, dh, narrow, &out, dx_c, wide));
            assert_eq!(gradients_c, in_places(gradients.arrays()), "{shape:?}");
            assert_eq!(dx, spread(&rust_dx, 9, wide), "{shape:?}");
            // A step with gradients that were handed out, or one that never stores them.
            if round == 1 {
                kernels.apply(params.view_mut(), &mut state, &update, gradients.view()).unwrap();
                ok(interneuron_layer_apply(layer.0, &step, &out));
            } else {
                let out = MatMut::new(&mut rust_h, BATCH, 7).unwrap();
                kernels.forward(params.view(), &mut tape, x_r, out).unwrap();
                kernels.update(params.view_mut(), &mut state, &mut tape, dh_r, &update, None).unwrap();
                forward(&mut h);
                dx.fill(T::from_f64(GAP));
                let dx_c = dx.as_mut_ptr().cast();
                ok(interneuron_layer_update_strided(layer.0, batch, x, wide, dh, narrow, &step, dx_c, wide));
                assert_eq!(dx, spread(&rust_dx, 9, wide), "{shape:?}");
            }
            ok(interneuron_layer_get_parameters(layer.0, &pointers(&mut own)));
            assert_eq!(own, in_places(params.arrays()), "{shape:?}");
        }
        // In and out again; attached.
        ok(interneuron_layer_init(layer.0, 4, 0));
        ok(interneuron_layer_set_parameters(layer.0, &pointers(&mut own)));
        let mut again = own.clone().map(|array| vec![T::from_f64(GAP); array.len()]);
        ok(interneuron_layer_get_parameters(layer.0, &pointers(&mut again)));
        assert_eq!(again, own);
        ok(interneuron_layer_attach(layer.0, &pointers(&mut again)));
        ok(interneuron_layer_init(layer.0, 3, 0));
        let drawn = Init::first().draw::<T>(&shape, &mut generator(3)).unwrap();
        assert_eq!(again, in_places(drawn.arrays()));
        ok(interneuron_layer_detach(layer.0));
    }
}

#[test]
fn layers_of_both_elements_are_those_of_rust() {
    let context = OwnContext::new(0, "");
    for (config, shape) in kinds() {
        for strides in STRIDES {
            layer_of::<f32>(&context, config, shape, strides);
            layer_of::<f64>(&context, config, shape, strides);
        }
    }
}

const TARGET: TargetConfig = TargetConfig { size: size_of::<TargetConfig>() as u64, ..TargetConfig::DEFAULT };

fn network_of<T: Number>(context: &OwnContext, (wide, narrow): (i64, i64)) {
    const ROWS: usize = 12;
    let architecture = Architecture::dann(&[9, 8, 7], &[2, 1]).unwrap().seed(3);
    let kernels = Isa::select().unwrap().into();
    let build = || architecture.build::<T>(&kernels).unwrap();
    let create = || {
        let (dims, nis, mut handle) = ([9, 8, 7], [2, 1], 0);
        let config = NetworkConfig { element: T::ELEMENT, ..network_config(&dims, Some(&nis), 3) };
        // SAFETY: pointers to locals.
        ok(unsafe { interneuron_network_create(context.0, &config, &mut handle) });
        OwnNetwork(handle)
    };
    let (packed_x, packed_y, weights) = (of::<T>(ROWS * 9), of::<T>(ROWS * 7), of::<T>(ROWS));
    let packed_mask: Vec<T> = (0..ROWS * 7).map(|i| T::from_f64(f64::from(i as u32 % 2))).collect();
    let labels: Vec<u32> = (0..ROWS as u32).map(|i| i * i % 7).collect();
    let x = spread(&packed_x, 9, wide);
    let [y, mask] = [&packed_y, &packed_mask].map(|matrix| spread(matrix, 7, narrow));
    let [x_r, y_r, mask_r] = [(&packed_x, 9), (&packed_y, 7), (&packed_mask, 7)]
        .map(|(matrix, columns)| MatRef::new(matrix, ROWS, columns).unwrap());
    let config = |kind| TargetConfig { kind, y: y.as_ptr().cast(), y_stride: narrow, ..TARGET };
    let masked = TargetConfig { mask: mask.as_ptr().cast(), mask_stride: narrow, ..config(INTERNEURON_VALUES) };
    let weighted = TargetConfig { weights: weights.as_ptr().cast(), ..config(INTERNEURON_BINARY) };
    let targets = [
        (TargetConfig { labels: labels.as_ptr(), smoothing: 0.1, ..TARGET }, Target::labels(&labels).smoothed(0.1)),
        (config(INTERNEURON_PROBABILITIES), Target::probabilities(y_r)),
        (masked, Target::values(y_r).masked(mask_r)),
        (weighted, Target::binary(y_r).weighted(&weights)),
    ];
    let ((x, _), batch, step) = (at(&x, wide), ROWS as i64, update_config(0.05, 1));
    let update = Update::csgd(0.05);
    let (mut loss, mut errors) = (0.0, 0);
    for (config, target) in &targets {
        let (mut rust, network) = (build(), create());
        // SAFETY: twelve examples, with rows as far apart as the strides say; two layers.
        unsafe {
            for _ in 0..3 {
                let expected = rust.train_step(x_r, *target, &update).unwrap();
                let loss = &mut loss;
                ok(interneuron_network_train_target_strided(network.0, batch, x, wide, config, &step, loss));
                assert_eq!(loss.to_bits(), expected.to_bits(), "{target:?}");
            }
            let expected = rust.evaluate(x_r, *target).unwrap();
            let (l, e) = (&mut loss, &mut errors);
            ok(interneuron_network_evaluate_target_strided(network.0, batch, x, wide, config, l, e));
            assert_eq!((loss, errors as usize), (expected.loss, expected.errors));
            let expected = rust.inspect(x_r, *target, &update).unwrap();
            let mut statistics = [StatisticsOutput::DEFAULT; 2];
            let out = statistics.as_mut_ptr();
            ok(interneuron_network_inspect_strided(network.0, batch, x, wide, config, &step, out));
            for (got, expected) in statistics.iter().zip(expected) {
                assert_eq!((Some(got.cosine), got.zero_weights), (expected.cosine, expected.zero_weights));
            }
            let mut rust_logits = of::<T>(ROWS * 7);
            rust.logits(x_r, MatMut::new(&mut rust_logits, ROWS, 7).unwrap()).unwrap();
            let mut logits = room::<T>(ROWS, 7, narrow);
            let out = logits.as_mut_ptr().cast();
            ok(interneuron_network_logits_strided(network.0, batch, x, wide, out, narrow));
            assert_eq!(logits, spread(&rust_logits, 7, narrow));
        }
        parameters(&network, &rust);
    }

    // A loss of the caller's own, and files.
    let (mut rust, network) = (build(), create());
    let own = |outputs: MatRef<'_, T>, mut d: MatMut<'_, T>| {
        let (outputs, d) = (outputs.as_slice().unwrap(), d.as_mut_slice().unwrap());
        // SAFETY: as many elements.
        unsafe { squares(null_mut(), ROWS as i64, 7, outputs.as_ptr(), d.as_mut_ptr()) }
    };
    let expected = rust.step_with(x_r, &update, own).unwrap();
    ok(T::train_with(network.0, batch, (x, wide), &step, &mut loss));
    assert_eq!(loss.to_bits(), expected.to_bits());
    parameters(&network, &rust);
    let folder = tempfile::tempdir().unwrap();
    let [from_c, from_rust] = ["c", "rust"].map(|name| folder.path().join(name));
    let text = |path: &std::path::Path| CString::new(path.to_str().unwrap()).unwrap();
    save(&from_rust, &rust, &Run::new(3)).unwrap();
    let mut id = 0;
    // SAFETY: a text that ends with NUL.
    ok(unsafe { interneuron_network_save(network.0, text(&from_c).as_ptr(), 3) });
    ok(T::load(context.0, &text(&from_rust), &mut id));
    parameters(&OwnNetwork(id), &rust);
    let (loaded, run) = load::<T>(&from_c, &kernels).unwrap();
    assert!(loaded.params().eq(rust.params()) && loaded.state() == rust.state() && run == Run::new(3));
}

/// Copies all parameters out and compares them.
fn parameters<T: Element>(network: &OwnNetwork, rust: &Network<T>) {
    for (k, params) in (0..).zip(rust.params()) {
        let expected = in_places(params.arrays());
        let mut copy = expected.clone().map(|array| vec![T::from_f64(GAP); array.len()]);
        // SAFETY: arrays of the lengths of the layer.
        ok(unsafe { interneuron_network_get_parameters(network.0, k, &pointers(&mut copy)) });
        assert_eq!(copy, expected);
    }
}

#[test]
fn networks_of_both_elements_are_those_of_rust() {
    for threads in [0, 2] {
        let context = OwnContext::new(threads, "");
        for strides in STRIDES {
            network_of::<f32>(&context, strides);
            network_of::<f64>(&context, strides);
        }
    }
}

/// Whoever knows nothing of elements and strides has floats and packed rows, whatever lies behind the struct.
#[test]
fn structs_of_programs_that_know_no_elements() {
    let context = OwnContext::new(0, "");
    let layer = context.layer(LayerConfig { size: 88, element: 1, ..layer_config(2, 3, 1) });
    let (dims, nis, mut handle) = ([2, 3], [1], 0);
    let config = NetworkConfig { size: 72, element: 1, ..network_config(&dims, Some(&nis), 0) };
    // SAFETY: pointers to locals.
    ok(unsafe { interneuron_network_create(context.0, &config, &mut handle) });
    let network = OwnNetwork(handle);
    let (x, labels, mut h) = (numbers(2), [1], [UNTOUCHED; 4]);
    let target = TargetConfig { size: 56, labels: labels.as_ptr(), y_stride: 9, mask_stride: -1, ..TARGET };
    // SAFETY: one example of two inputs and three outputs.
    unsafe {
        ok(interneuron_layer_init(layer.0, 0, 0));
        ok(interneuron_layer_forward(layer.0, 1, x.as_ptr().cast(), h.as_mut_ptr().cast()));
        assert!(h[..3].iter().all(|&h| h != UNTOUCHED) && h[3] == UNTOUCHED);
        h.fill(UNTOUCHED);
        ok(interneuron_network_logits(network.0, 1, x.as_ptr().cast(), h.as_mut_ptr().cast()));
        assert!(h[..3].iter().all(|&h| h != UNTOUCHED) && h[3] == UNTOUCHED);
        let step = update_config(0.1, 0);
        ok(interneuron_network_train_target(network.0, 1, x.as_ptr().cast(), &target, &step, null_mut()));
    }
}

#[test]
fn elements_and_strides_that_do_not_fit_are_refused() {
    let context = OwnContext::new(0, "");
    let (invalid, overlap) = (INTERNEURON_INVALID_ARGUMENT, INTERNEURON_OVERLAP);
    let double = LayerConfig { element: INTERNEURON_F64, ..layer_config(3, 2, 1) };
    let mut id = 0;
    let text = |path: &std::path::Path| CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: pointers to locals, of the lengths that the calls take them to have.
    unsafe {
        let wrong = LayerConfig { element: 2, ..double };
        let status = interneuron_layer_create(context.0, &wrong, &mut id);
        fails(status, invalid, &["config->element is 2", "from 0 to 1"]);
        let shapes = [double];
        let of = |element| NetworkConfig {
            dims: null(),
            shapes: shapes.as_ptr(),
            element,
            ..network_config(&[0, 0], None, 0)
        };
        let status = interneuron_network_create(context.0, &of(INTERNEURON_F32), &mut id);
        fails(status, invalid, &["config->shapes[0].element is 1", "0, or that of the network, 0"]);
        let status = interneuron_network_create(context.0, &of(-1), &mut id);
        fails(status, invalid, &["config->shapes[0].element is 1"]);
        let dims = [3, 2];
        let wrong = NetworkConfig { element: -1, ..network_config(&dims, None, 0) };
        let status = interneuron_network_create(context.0, &wrong, &mut id);
        fails(status, invalid, &["config->element is -1", "from 0 to 1"]);
        assert_eq!(id, 0);
        ok(interneuron_network_create(context.0, &of(INTERNEURON_F64), &mut id));
        let network = OwnNetwork(id);

        let layer = context.layer(double);
        ok(interneuron_layer_init(layer.0, 1, 0));
        let (x, mut h) = (vec![0.5_f64; 12], vec![GAP; 10]);
        let (x, out) = (x.as_ptr(), h.as_mut_ptr());
        let forward = |x: *const f64, x_stride, h: *mut f64, h_stride| {
            interneuron_layer_forward_strided(layer.0, 2, x.cast(), x_stride, h.cast(), h_stride)
        };
        fails(forward(x, 2, out, 0), invalid, &["x_stride is 2", "0 (packed), or at least 3"]);
        fails(forward(x, -3, out, 0), invalid, &["x_stride is -3", "at least 3"]);
        fails(forward(x, 0, out, 1), invalid, &["h_stride is 1", "at least 2"]);
        fails(forward(x, i64::MAX, out, 0), invalid, &["x_stride is 9", "2 rows fit in memory"]);
        fails(forward(x.wrapping_byte_add(4), 0, out, 0), INTERNEURON_MISALIGNED, &["x is 0x", "multiple of 8"]);
        // What is between rows counts.
        fails(forward(out, 5, out.add(3), 5), overlap, &["h is at 0x", "no overlap with x"]);
        assert!(h.iter().all(|&h| h == GAP));
        ok(forward(out, 3, out.add(6), 0));
        let (two, three) = (vec![0.5_f64; 4], vec![0.5_f64; 6]);
        let labels = [0_u32, 1];
        let y = two.as_ptr().cast();
        let train = |x_stride, config: TargetConfig| {
            let (x, step) = (three.as_ptr().cast(), update_config(0.1, 1));
            interneuron_network_train_target_strided(network.0, 2, x, x_stride, &config, &step, null_mut())
        };
        let by_labels = TargetConfig { labels: labels.as_ptr(), ..TARGET };
        let values = TargetConfig { kind: INTERNEURON_VALUES, y, ..TARGET };
        fails(train(1, by_labels), invalid, &["x_stride is 1", "at least 3"]);
        fails(train(0, TargetConfig { y_stride: 2, ..by_labels }), invalid, &["target->y_stride is 2", "0, as there"]);
        fails(train(0, TargetConfig { mask_stride: 2, ..values }), invalid, &["target->mask_stride is 2", "0, as"]);
        fails(train(0, TargetConfig { y_stride: 1, ..values }), invalid, &["target->y_stride is 1", "at least 2"]);
        let masked = TargetConfig { mask: y, mask_stride: -2, ..values };
        fails(train(0, masked), invalid, &["target->mask_stride is -2", "at least 2"]);
        ok(train(3, TargetConfig { y_stride: 2, ..values }));

        let (x, step, compute): (_, _, Loss) = (three.as_ptr().cast(), update_config(0.1, 1), Some(squares));
        let status = interneuron_network_train_with(network.0, 2, x, compute, null_mut(), &step, null_mut());
        fails(status, invalid, &["compute is for another element", "interneuron_network_train_with_f64 with"]);
        let floats = context.network(&[3, 2], None, 0);
        let (compute, step): (LossF64, _) = (Some(squares), &step);
        let status = interneuron_network_train_with_f64(floats.0, 2, x, 0, compute, null_mut(), step, null_mut());
        fails(status, invalid, &["compute is for another element", "interneuron_network_train_with with"]);
        let status = interneuron_network_train_with_f64(network.0, 2, x, 0, None, null_mut(), step, null_mut());
        fails(status, INTERNEURON_NULL_POINTER, &["compute is NULL"]);
        // A file of one element is none of the other.
        let folder = tempfile::tempdir().unwrap();
        let path = text(&folder.path().join("net"));
        let mut id = 0;
        ok(interneuron_network_save(network.0, path.as_ptr(), 0));
        fails(f32::load(context.0, &path, &mut id), INTERNEURON_FILE, &["F64", "F32"]);
        ok(interneuron_network_save(floats.0, path.as_ptr(), 0));
        fails(f64::load(context.0, &path, &mut id), INTERNEURON_FILE, &["F32", "F64"]);
        assert_eq!(id, 0);
    }
}
