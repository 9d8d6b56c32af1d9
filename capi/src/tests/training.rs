//! Targets, losses of the caller's own, statistics and files: what the Rust crate makes of them, and what is refused.

use super::*;
use crate::checkpoint::*;
use crate::config::{NaturalConfig, Versioned};
use crate::inspect::*;
use crate::network::*;
use crate::status::*;
use crate::targets::*;
use interneuron::checkpoint::{Run, load, save};
use interneuron::{Architecture, Context, DenseShape, Isa, MatMut, MatRef, Network, RecurrentShape, Target, Update};
use std::ffi::c_void;
use std::path::Path;
use std::ptr::null;

const BATCH: usize = 12;
const INPUTS: usize = 6;
const OUTPUTS: usize = 3;

fn context() -> Context {
    Isa::select().unwrap().into()
}

fn rust() -> Network<f32> {
    Architecture::dann(&[INPUTS, 9, OUTPUTS], &[2, 1]).unwrap().seed(3).build(&context()).unwrap()
}

fn in_c(context: &OwnContext) -> OwnNetwork {
    context.network(&[INPUTS as i64, 9, OUTPUTS as i64], Some(&[2, 1]), 3)
}

fn x() -> Vec<f32> {
    numbers(BATCH * INPUTS)
}

fn matrix(elements: &[f32]) -> MatRef<'_, f32> {
    MatRef::new(elements, BATCH, elements.len() / BATCH).unwrap()
}

const TARGET: TargetConfig = TargetConfig { size: size_of::<TargetConfig>() as u64, ..TargetConfig::DEFAULT };

/// The arrays of targets: labels, probabilities or binary values, values, weights, a mask.
struct Arrays {
    labels: Vec<u32>,
    y: Vec<f32>,
    values: Vec<f32>,
    weights: Vec<f32>,
    mask: Vec<f32>,
}

impl Arrays {
    fn new() -> Self {
        let elements = BATCH * OUTPUTS;
        Self {
            labels: (0..BATCH as u32).map(|i| i * i % OUTPUTS as u32).collect(),
            y: numbers(elements),
            values: numbers(elements).into_iter().map(|y| 3.0 * y - 1.0).collect(),
            weights: (0..BATCH).map(|i| (i % 4) as f32).collect(),
            mask: (0..elements).map(|i| (i % 2) as f32).collect(),
        }
    }

    /// Targets as C and as Rust say them.
    fn targets(&self) -> Vec<(TargetConfig, Target<'_, f32>)> {
        let Self { labels, y, values, weights, mask } = self;
        let weighted = TargetConfig { weights: weights.as_ptr().cast(), ..TARGET };
        let masked = TargetConfig { mask: mask.as_ptr().cast(), ..TARGET };
        let by_labels = |config| TargetConfig { labels: labels.as_ptr(), ..config };
        let of = |kind, y: &[f32], config| TargetConfig { kind, y: y.as_ptr().cast(), ..config };
        vec![
            (by_labels(TARGET), Target::labels(labels)),
            (
                by_labels(TargetConfig { smoothing: 0.1, ..weighted }),
                Target::labels(labels).weighted(weights).smoothed(0.1),
            ),
            (of(INTERNEURON_PROBABILITIES, y, TARGET), Target::probabilities(matrix(y))),
            (of(INTERNEURON_VALUES, values, TARGET), Target::values(matrix(values))),
            (of(INTERNEURON_VALUES, values, masked), Target::values(matrix(values)).masked(matrix(mask))),
            (of(INTERNEURON_BINARY, y, weighted), Target::binary(matrix(y)).weighted(weights)),
        ]
    }
}

#[test]
fn targets_are_those_of_rust() {
    let (context, arrays, x) = (OwnContext::new(0, ""), Arrays::new(), x());
    for (config, target) in arrays.targets() {
        let (mut rust, network) = (rust(), in_c(&context));
        for _ in 0..3 {
            let expected = rust.train_step(matrix(&x), target, &Update::csgd(0.05)).unwrap();
            let (step, mut loss) = (update_config(0.05, 1), 0.0);
            // SAFETY: arrays of twelve examples.
            ok(unsafe {
                interneuron_network_train_target(network.0, BATCH as i64, x.as_ptr().cast(), &config, &step, &mut loss)
            });
            assert_eq!(loss.to_bits(), expected.to_bits(), "{target:?}");
        }
        let expected = rust.evaluate(matrix(&x), target).unwrap();
        let (mut loss, mut errors) = (0.0, 0);
        // SAFETY: as above.
        ok(unsafe {
            interneuron_network_evaluate_target(
                network.0,
                BATCH as i64,
                x.as_ptr().cast(),
                &config,
                &mut loss,
                &mut errors,
            )
        });
        assert_eq!((loss, errors as usize), (expected.loss, expected.errors));
    }
}

/// What a loss of the caller's own is handed.
struct Own {
    network: u64,
    values: Vec<f32>,
    /// What a call with the network returned meanwhile.
    nested: i32,
    loss: f64,
}

unsafe extern "C" fn own(data: *mut c_void, batch: i64, count: i64, outputs: *const f32, doutputs: *mut f32) -> f64 {
    assert_eq!((batch as usize, count as usize), (BATCH, OUTPUTS));
    // SAFETY: what the tests hand in, and as many elements as the header says.
    let (own, outputs, doutputs) = unsafe {
        let elements = BATCH * OUTPUTS;
        let outputs = std::slice::from_raw_parts(outputs, elements);
        (&mut *data.cast::<Own>(), outputs, std::slice::from_raw_parts_mut(doutputs, elements))
    };
    assert!(doutputs.iter().all(|&d| d == 0.0));
    let mut layers = 0;
    // SAFETY: a pointer to a local.
    own.nested = unsafe { interneuron_network_layer_count(own.network, &mut layers) };
    if own.loss != 0.0 {
        return own.loss;
    }
    let doutputs = MatMut::new(doutputs, BATCH, OUTPUTS).unwrap();
    Target::values(matrix(&own.values)).loss(matrix(outputs), Some(doutputs)).unwrap().loss
}

#[test]
fn a_loss_of_the_callers_own_is_called_back() {
    let (context, arrays, x) = (OwnContext::new(0, ""), Arrays::new(), x());
    let (mut rust, network) = (rust(), in_c(&context));
    let mut data = Own { network: network.0, values: arrays.values.clone(), nested: 0, loss: 0.0 };
    let step = update_config(0.05, 1);
    let call = |data: &mut Own, loss: &mut f64| {
        let data = (&raw mut *data).cast();
        // SAFETY: twelve examples, and data that `own` expects.
        unsafe {
            interneuron_network_train_with(network.0, BATCH as i64, x.as_ptr().cast(), Some(own), data, &step, loss)
        }
    };
    for _ in 0..3 {
        let target = Target::values(matrix(&arrays.values));
        let expected = rust.train_step(matrix(&x), target, &Update::csgd(0.05)).unwrap();
        let mut loss = 0.0;
        ok(call(&mut data, &mut loss));
        assert_eq!((loss.to_bits(), data.nested), (expected.to_bits(), INTERNEURON_BUSY));
    }
    let mut loss = -1.0;
    data.loss = f64::NAN;
    fails(call(&mut data, &mut loss), INTERNEURON_DIVERGED, &["the loss is NaN in step 3"]);
    assert_eq!(loss, -1.0);
    // SAFETY: as above.
    let status = unsafe {
        interneuron_network_train_with(network.0, BATCH as i64, x.as_ptr().cast(), None, null_mut(), &step, null_mut())
    };
    fails(status, INTERNEURON_NULL_POINTER, &["compute is NULL", "expected a function"]);
}

unsafe extern "C" fn halved(data: *mut c_void, batch: i64, count: i64, outputs: *const f32, doutputs: *mut f32) -> f64 {
    let elements = (batch * count) as usize;
    // SAFETY: as many elements as the header says, and a factor.
    let (outputs, doutputs, factor) = unsafe {
        let doutputs = std::slice::from_raw_parts_mut(doutputs, elements);
        (std::slice::from_raw_parts(outputs, elements), doutputs, *data.cast::<f32>())
    };
    let mut loss = 0.0;
    for (o, d) in outputs.iter().zip(doutputs) {
        *d = factor * o / elements as f32;
        loss += f64::from(o * o) / 2.0 / elements as f64;
    }
    loss
}

/// A batch that goes through the layers in slabs, forward twice, on a pool.
#[test]
fn a_large_batch_is_called_back_once() {
    const LARGE: usize = 400;
    let context = OwnContext::new(2, "");
    let x = numbers(LARGE * INPUTS);
    let (mut rust, network) = (rust(), in_c(&context));
    let train = |factor: f32, update: &UpdateConfig| {
        let (data, mut loss) = ((&raw const factor).cast_mut().cast(), -1.0);
        // SAFETY: as many examples, and a factor.
        let status = unsafe {
            interneuron_network_train_with(
                network.0,
                LARGE as i64,
                x.as_ptr().cast(),
                Some(halved),
                data,
                update,
                &mut loss,
            )
        };
        (status, loss)
    };
    for _ in 0..2 {
        let expected =
            rust.step_with(MatRef::new(&x, LARGE, INPUTS).unwrap(), &Update::csgd(0.05), |outputs, mut d| {
                let (elements, mut loss) = (LARGE * OUTPUTS, 0.0);
                for row in 0..LARGE {
                    for (o, d) in outputs.row(row).iter().zip(d.row_mut(row)) {
                        *d = o / elements as f32;
                        loss += f64::from(o * o) / 2.0 / elements as f64;
                    }
                }
                loss
            });
        let (status, loss) = train(1.0, &update_config(0.05, 1));
        ok(status);
        assert_eq!(loss.to_bits(), expected.unwrap().to_bits());
    }
    let before: Vec<_> = rust.params().cloned().collect();
    fails(train(f32::INFINITY, &update_config(0.05, 1)).0, INTERNEURON_INVALID_ARGUMENT, &["doutputs[", "finite"]);
    let size = size_of::<NaturalConfig>() as u64;
    let natural = NaturalConfig { size, c: 0.5, f_lambda: 1.0, epsilon: 1e-8, normalised: 0 };
    let step = UpdateConfig { natural: &natural, ..update_config(0.05, 0) };
    fails(train(1.0, &step).0, INTERNEURON_INVALID_ARGUMENT, &["natural gradient", "use"]);
    let mut own = untouched(INPUTS, 9, 2);
    // SAFETY: arrays of the lengths of the first layer.
    ok(unsafe { interneuron_network_get_parameters(network.0, 0, &pointers(&mut own)) });
    let expected: Vec<Vec<f32>> = before[0].arrays().into_iter().map(|(_, array)| array.to_vec()).collect();
    assert_eq!(own.to_vec(), expected);
}

#[test]
fn statistics_are_those_of_rust() {
    let (context, arrays, x) = (OwnContext::new(0, ""), Arrays::new(), x());
    let (mut rust, network) = (rust(), in_c(&context));
    let (config, target) = arrays.targets()[0];
    let (expected, step) = (rust.inspect(matrix(&x), target, &Update::csgd(0.1)).unwrap(), update_config(0.1, 1));
    let mut got = [StatisticsOutput::DEFAULT; 2];
    let inspect = |got: &mut [StatisticsOutput; 2]| {
        let got = got.as_mut_ptr();
        // SAFETY: twelve examples; two layers.
        unsafe { interneuron_network_inspect(network.0, BATCH as i64, x.as_ptr().cast(), &config, &step, got) }
    };
    ok(inspect(&mut got));
    for (got, expected) in got.iter().zip(&expected) {
        assert_eq!(
            (Some((got.zhat_mean, got.zhat_variance)), Some((got.y_least, got.y_largest))),
            (expected.zhat, expected.gamma)
        );
        let low = expected.low_divisors.unwrap();
        assert_eq!((got.low_divisors as u64, got.divisors as u64), (low.count, low.of));
        assert!(got.low_smallest.is_nan());
        assert_eq!((got.zero_weights, Some(got.cosine)), (expected.zero_weights, expected.cosine));
        assert!(expected.silent.map_or(got.silent.is_nan(), |silent| got.silent == silent));
        let norms: Vec<f64> = expected.gradient_norms.iter().map(|(_, norm)| *norm).collect();
        assert_eq!(got.gradient_norms.to_vec(), norms);
    }
    let mut wrong = [StatisticsOutput { size: 8, ..StatisticsOutput::DEFAULT }; 2];
    fails(inspect(&mut wrong), INTERNEURON_INVALID_ARGUMENT, &["statistics->size is 8", "136"]);
    assert!(wrong[0].cosine.is_nan());
}

#[test]
fn files_go_both_ways() {
    let (context, arrays, x) = (OwnContext::new(0, ""), Arrays::new(), x());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = |path: &Path| CString::new(path.to_str().unwrap()).unwrap();
    let (mut rust, network) = (rust(), in_c(&context));
    let (config, target) = arrays.targets()[0];
    let (update, c) = (Update { momentum: interneuron::PerRole::all(0.9), ..Update::csgd(0.05) }, [0.9; 6]);
    let step = UpdateConfig { momentum: c.as_ptr(), ..update_config(0.05, 1) };
    let train = |network: u64| {
        let mut loss = 0.0;
        // SAFETY: twelve examples.
        ok(unsafe {
            interneuron_network_train_target(network, BATCH as i64, x.as_ptr().cast(), &config, &step, &mut loss)
        });
        loss
    };
    for _ in 0..3 {
        assert_eq!(train(network.0), rust.train_step(matrix(&x), target, &update).unwrap());
    }
    let (from_c, from_rust) = (path("c.safetensors"), path("rust.safetensors"));
    save(&from_rust, &rust, &Run::new(9)).unwrap();
    let (mut id, mut seed) = (0, 0);
    // SAFETY: texts that end with NUL, pointers to locals.
    unsafe {
        ok(interneuron_network_save(network.0, text(&from_c).as_ptr(), 9));
        ok(interneuron_network_load(context.0, text(&from_rust).as_ptr(), &mut id, &mut seed));
    }
    let (again, (mut loaded, run)) = (OwnNetwork(id), load::<f32>(&from_c, &self::context()).unwrap());
    assert!(loaded.params().eq(rust.params()) && run == Run::new(9) && loaded.steps() == 3);
    let expected = rust.train_step(matrix(&x), target, &update).unwrap();
    assert_eq!((train(again.0), seed), (expected, 9), "with its velocities");
    assert_eq!(loaded.train_step(matrix(&x), target, &update).unwrap(), expected);

    // What is done to inputs stays with the network.
    let (offset, scale, mut there) = ([0.5; INPUTS], [2.0; INPUTS], -1);
    let (mut offset_out, mut scale_out, mut id) = ([-1.0; INPUTS], [-1.0; INPUTS], 0);
    // SAFETY: arrays of as many numbers as there are inputs, and pointers to locals.
    let scaled = unsafe {
        let get = |network, there: &mut i64, offset: &mut [f64; INPUTS], scale: &mut [f64; INPUTS]| {
            interneuron_network_get_scaler(network, there, offset.as_mut_ptr(), scale.as_mut_ptr())
        };
        ok(get(again.0, &mut there, &mut offset_out, &mut scale_out));
        assert_eq!((there, offset_out, scale_out), (0, [-1.0; INPUTS], [-1.0; INPUTS]));
        let bad = [0.0; INPUTS];
        let refused = interneuron_network_set_scaler(again.0, offset.as_ptr(), bad.as_ptr());
        fails(refused, INTERNEURON_INVALID_ARGUMENT, &["scale[0] is 0", "> 0"]);
        let half = interneuron_network_set_scaler(again.0, offset.as_ptr(), null());
        fails(half, INTERNEURON_NULL_POINTER, &["scale is NULL"]);
        ok(interneuron_network_set_scaler(again.0, offset.as_ptr(), scale.as_ptr()));
        ok(interneuron_network_save(again.0, text(&from_c).as_ptr(), 9));
        ok(interneuron_network_load(context.0, text(&from_c).as_ptr(), &mut id, null_mut()));
        let scaled = OwnNetwork(id);
        ok(get(scaled.0, &mut there, &mut offset_out, &mut scale_out));
        ok(interneuron_network_save(scaled.0, text(&from_c).as_ptr(), 9));
        scaled
    };
    assert_eq!((there, offset_out, scale_out), (1, offset, scale));
    let (_, run) = load::<f32>(&from_c, &self::context()).unwrap();
    assert_eq!(run.scaler.unwrap().offset(), offset);
    drop(scaled);

    // Calls have no steps.
    let layers = vec![RecurrentShape::plain(INPUTS, 3).into(), DenseShape::new(3, 2).linear().into()];
    let recurrent: Network<f32> = Architecture::of(layers).unwrap().build(&self::context()).unwrap();
    let through_time = path("recurrent.safetensors");
    save(&through_time, &recurrent, &Run::new(1)).unwrap();

    let missing = text(&path("none"));
    let mut id = 0;
    // SAFETY: as above.
    unsafe {
        let load = |path: *const _, id| interneuron_network_load(context.0, path, id, null_mut());
        fails(load(missing.as_ptr(), &mut id), INTERNEURON_FILE, &["none: "]);
        let through_time = text(&through_time);
        fails(load(through_time.as_ptr(), &mut id), INTERNEURON_FILE, &["a recurrent layer in the C library"]);
        fails(load(null(), &mut id), INTERNEURON_NULL_POINTER, &["path is NULL"]);
        fails(load(missing.as_ptr(), null_mut()), INTERNEURON_NULL_POINTER, &["network is NULL"]);
        let nowhere = text(&path("none/net.safetensors"));
        fails(interneuron_network_save(network.0, nowhere.as_ptr(), 1), INTERNEURON_FILE, &["none/net"]);
        let mut own = missing.clone().into_bytes_with_nul();
        own.resize(own.len() + 16, 0);
        let inside = own.as_mut_ptr().wrapping_add(own.as_ptr().align_offset(8)).cast();
        fails(load(own.as_ptr().cast(), inside), INTERNEURON_OVERLAP, &["network is at 0x", "no overlap with path"]);
        let handle = interneuron_network_load(0, text(&from_c).as_ptr(), &mut id, null_mut());
        fails(handle, INTERNEURON_INVALID_HANDLE, &["a context"]);
    }
    assert_eq!(id, 0);
}

#[test]
fn targets_that_do_not_fit_are_refused() {
    let (context, arrays, x) = (OwnContext::new(0, ""), Arrays::new(), x());
    let network = in_c(&context);
    let Arrays { labels, y, values, weights, mask } = &arrays;
    let (by_labels, large) = (TargetConfig { labels: labels.as_ptr(), ..TARGET }, [9_u32; BATCH]);
    let of = |kind, y: &[f32]| TargetConfig { kind, y: y.as_ptr().cast(), ..TARGET };
    let (invalid, null_pointer) = (INTERNEURON_INVALID_ARGUMENT, INTERNEURON_NULL_POINTER);
    for (config, status, parts) in [
        (TARGET, null_pointer, ["target->labels is NULL", "expected a pointer"]),
        (TargetConfig { kind: 2, ..TARGET }, null_pointer, ["target->y is NULL", "expected a pointer"]),
        (TargetConfig { kind: 4, ..by_labels }, invalid, ["target->kind is 4", "from 0 to 3"]),
        (TargetConfig { size: 57, ..by_labels }, invalid, ["target->size is 57", "56"]),
        (TargetConfig { y: y.as_ptr().cast(), ..by_labels }, invalid, ["target->y", "NULL with a target of this kind"]),
        (TargetConfig { kind: 1, ..by_labels }, invalid, ["target->labels", "NULL with a target of this kind"]),
        (TargetConfig { labels: large.as_ptr(), ..TARGET }, invalid, ["label 0 is 9", "less than 3"]),
        (of(INTERNEURON_BINARY, values), invalid, ["target->y[0] is -1", "from 0 to 1"]),
        (
            TargetConfig { weights: values.as_ptr().cast(), ..by_labels },
            invalid,
            ["target->weights[0] is -1", "a finite number ≥ 0"],
        ),
        (
            TargetConfig { mask: values.as_ptr().cast(), ..of(INTERNEURON_VALUES, values) },
            invalid,
            ["target->mask[0] is -1", "a finite number ≥ 0"],
        ),
        (of(INTERNEURON_PROBABILITIES, values), invalid, ["target->y[0] is -1", "a finite number ≥ 0"]),
        (TargetConfig { smoothing: 2.0, ..by_labels }, invalid, ["target->smoothing is 2", "from 0 to 1"]),
        (TargetConfig { mask: mask.as_ptr().cast(), ..by_labels }, invalid, ["a mask of softmax outputs", "use"]),
        (
            TargetConfig {
                mask: mask.as_ptr().cast(),
                weights: weights.as_ptr().cast(),
                ..of(INTERNEURON_VALUES, values)
            },
            invalid,
            ["target->mask", "weights of examples"],
        ),
    ] {
        let (step, mut loss) = (update_config(0.1, 1), -1.0);
        // SAFETY: arrays of twelve examples.
        unsafe {
            let (x, batch) = (x.as_ptr(), BATCH as i64);
            fails(
                interneuron_network_train_target(network.0, batch, x.cast(), &config, &step, &mut loss),
                status,
                &parts,
            );
            let evaluated =
                interneuron_network_evaluate_target(network.0, batch, x.cast(), &config, &mut loss, null_mut());
            fails(evaluated, status, &parts);
        }
        assert_eq!(loss, -1.0);
    }
}
