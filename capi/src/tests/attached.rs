//! Networks on a caller's arrays, and gradients that are handed out: what a network with parameters of its own does.

use super::results::{in_places, kinds};
use super::*;
use crate::checkpoint::*;
use crate::config::*;
use crate::inspect::*;
use crate::layer::{interneuron_layer_attach, interneuron_layer_infer};
use crate::network::*;
use crate::status::*;
use crate::targets::*;
use interneuron::checkpoint::{Run, load};
use interneuron::{
    Architecture, Element, Isa, LayerShape, MatMut, MatRef, Network, NormShape, Normalisation, PerRole, Target, Update,
};
use std::ptr::null;

const ROWS: usize = 6;
const TARGET: TargetConfig = TargetConfig { size: size_of::<TargetConfig>() as u64, ..TargetConfig::DEFAULT };

/// The arrays of the layers of a network, and their structs.
struct Layers<T> {
    arrays: Vec<[Vec<T>; 8]>,
}

impl<T: Element> Layers<T> {
    /// As those of a network, with this number everywhere.
    fn like(rust: &Network<T>, number: f64) -> Self {
        let number = T::from_f64(number);
        Self { arrays: rust.params().map(|p| in_places(p.arrays()).map(|a| vec![number; a.len()])).collect() }
    }

    fn of(rust: &Network<T>) -> Self {
        Self { arrays: rust.params().map(|params| in_places(params.arrays())).collect() }
    }

    fn structs(&mut self) -> Vec<Arrays> {
        self.arrays.iter_mut().map(pointers).collect()
    }
}

fn network_of(context: &OwnContext, shapes: &[LayerConfig], element: i64) -> OwnNetwork {
    let mut handle = 0;
    let (size, layers, shapes) = (size_of::<NetworkConfig>() as u64, shapes.len() as i64, shapes.as_ptr());
    let config = NetworkConfig { size, layers, shapes, seed: 4, element, ..NetworkConfig::DEFAULT };
    // SAFETY: pointers to locals.
    ok(unsafe { interneuron_network_create(context.0, &config, &mut handle) });
    OwnNetwork(handle)
}

/// All calls with a network of some layer below one that normalises over the batch.
fn attached<T: Element>(context: &OwnContext, (config, shape): (LayerConfig, LayerShape), element: i64) {
    let last = LayerConfig { kind: crate::shapes::INTERNEURON_BATCH_NORM, ..layer_config(7, 3, 0) };
    let shapes = [LayerConfig { inhibitory_inputs: 0, inhibitory_outputs: 0, ..config }, last];
    let network = network_of(context, &shapes, element);
    let norm = NormShape::new(7, 3, Normalisation::Batch);
    let mut rust: Network<T> =
        Architecture::of(vec![shape, norm.into()]).unwrap().seed(4).build(&Isa::select().unwrap().into()).unwrap();
    let x: Vec<T> = numbers(ROWS * 9).into_iter().map(|x| T::from_f64(x.into())).collect();
    let labels: Vec<u32> = (0..ROWS as u32).map(|i| i % 3).collect();
    let (matrix, target) = (MatRef::new(&x, ROWS, 9).unwrap(), Target::labels(&labels));
    let config = TargetConfig { labels: labels.as_ptr(), ..TARGET };
    let (x, batch, mut loss) = (x.as_ptr().cast(), ROWS as i64, 0.0);
    let update = Update { momentum: PerRole::all(0.5), ..Update::csgd(0.05) };
    let momentum = [0.5; 6];
    let step = UpdateConfig { momentum: momentum.as_ptr(), ..update_config(0.05, 1) };

    let mut own = Layers::of(&rust);
    let structs = own.structs();
    // SAFETY: arrays of the lengths of the layers, which live as long as the network or are detached; six examples.
    unsafe {
        ok(interneuron_network_attach(network.0, structs.as_ptr()));
        for round in 0..4 {
            let expected = rust.train_step(matrix, target, &update).unwrap();
            if round % 2 == 0 {
                ok(interneuron_network_train_step(network.0, batch, x, labels.as_ptr(), &step, &mut loss));
            } else {
                ok(interneuron_network_train_target(network.0, batch, x, &config, &step, &mut loss));
            }
            assert_eq!((loss.to_bits(), &own.arrays), (expected.to_bits(), &Layers::of(&rust).arrays), "{shape:?}");
        }
        // Gradients, of which one is not wanted, then all.
        let mut gradients = rust.zero_gradients().unwrap();
        let expected = rust.gradients(matrix, target, &mut gradients).unwrap();
        let mut got = Layers::like(&rust, -77.0);
        let mut some = got.structs();
        some[0].b = null_mut();
        ok(interneuron_network_gradients(network.0, batch, x, 0, &config, some.as_ptr(), &mut loss));
        assert!(got.arrays[0][5].iter().all(|&b| b == T::from_f64(-77.0)));
        let all = got.structs();
        ok(interneuron_network_gradients(network.0, batch, x, 9, &config, all.as_ptr(), null_mut()));
        let handed_out: Vec<_> = gradients.iter().map(|params| in_places(params.arrays())).collect();
        assert_eq!((loss.to_bits(), &got.arrays), (expected.to_bits(), &handed_out), "{shape:?}");
        rust.apply(&update, &gradients).unwrap();
        ok(interneuron_network_apply(network.0, &step, all.as_ptr()));
        assert_eq!(own.arrays, Layers::of(&rust).arrays);

        let expected = rust.evaluate(matrix, target).unwrap();
        let mut errors = 0;
        ok(interneuron_network_evaluate(network.0, batch, x, labels.as_ptr(), &mut loss, &mut errors));
        assert_eq!((loss, errors as usize), (expected.loss, expected.errors));
        let (mut logits, mut rust_logits) = (vec![T::from_f64(-77.0); ROWS * 3], vec![T::ZERO; ROWS * 3]);
        rust.logits(matrix, MatMut::new(&mut rust_logits, ROWS, 3).unwrap()).unwrap();
        ok(interneuron_network_logits(network.0, batch, x, logits.as_mut_ptr().cast()));
        assert_eq!(logits, rust_logits);
        let expected = rust.inspect(matrix, target, &update).unwrap();
        let mut statistics = [StatisticsOutput::DEFAULT; 2];
        ok(interneuron_network_inspect(network.0, batch, x, &config, &step, statistics.as_mut_ptr()));
        assert_eq!(statistics[0].zero_weights, expected[0].zero_weights);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net");
        ok(interneuron_network_save(network.0, CString::new(path.to_str().unwrap()).unwrap().as_ptr(), 4));
        let (loaded, run) = load::<T>(path, &Isa::select().unwrap().into()).unwrap();
        assert!(loaded.params().eq(rust.params()) && loaded.state() == rust.state() && run == Run::new(4));

        // Parameters go in and out, and what was kept is forgotten with them.
        let mut out = Layers::like(&rust, -77.0);
        for (k, arrays) in (0..).zip(out.structs()) {
            ok(interneuron_network_get_parameters(network.0, k, &arrays));
            ok(interneuron_network_set_parameters(network.0, k, &arrays));
            let params = rust.params().nth(k as usize).unwrap().clone();
            rust.set_params(k as usize, params).unwrap();
        }
        assert_eq!(out.arrays, own.arrays);
        // Detached, the network goes on, and the caller's arrays are left alone.
        ok(interneuron_network_detach(network.0));
        fails(interneuron_network_detach(network.0), INTERNEURON_WRONG_ORDER, &["interneuron_network_attach before"]);
        let expected = rust.train_step(matrix, target, &update).unwrap();
        ok(interneuron_network_train_step(network.0, batch, x, labels.as_ptr(), &step, &mut loss));
        assert_eq!((loss.to_bits(), &out.arrays), (expected.to_bits(), &own.arrays));
        for (k, arrays) in (0..).zip(out.structs()) {
            ok(interneuron_network_get_parameters(network.0, k, &arrays));
        }
        assert_eq!(out.arrays, Layers::of(&rust).arrays);
        // Gradients of parameters that the network owns, and a step along them.
        rust.gradients(matrix, target, &mut gradients).unwrap();
        rust.apply(&update, &gradients).unwrap();
        ok(interneuron_network_gradients(network.0, batch, x, 0, &config, all.as_ptr(), null_mut()));
        ok(interneuron_network_apply(network.0, &step, all.as_ptr()));
        for (k, arrays) in (0..).zip(out.structs()) {
            ok(interneuron_network_get_parameters(network.0, k, &arrays));
        }
        assert_eq!(out.arrays, Layers::of(&rust).arrays);
    }
}

#[test]
fn networks_use_a_callers_arrays() {
    let context = OwnContext::new(2, "");
    // The inputs of a network are excitatory, and what normalises takes no inhibitory ones.
    for kind in kinds().into_iter().filter(|(config, _)| config.kind != crate::shapes::INTERNEURON_COLUMNS) {
        attached::<f32>(&context, kind, crate::element::INTERNEURON_F32);
        attached::<f64>(&context, kind, crate::element::INTERNEURON_F64);
    }
}

/// So many arrays that each is held against its neighbours in memory only.
#[test]
fn arrays_of_many_layers() {
    const LAYERS: usize = 10;
    let context = OwnContext::new(0, "");
    let network = network_of(&context, &[layer_config(3, 3, 1); LAYERS], 0);
    let of = |memory: &mut Vec<f32>| -> Vec<Arrays> {
        // Wex, Wix, Wei, alpha, g and b have 9, 3, 3, 1, 3 and 3 numbers.
        let start = memory.as_mut_ptr();
        let layer = |k: usize| {
            let at = |offset| start.wrapping_add(22 * k + offset).cast();
            let [wex, wix, wei, alpha, g, b] = [0, 9, 12, 15, 16, 19].map(at);
            Arrays { size: size_of::<Arrays>() as u64, wex, wix, wei, alpha, g, b, ..Arrays::DEFAULT }
        };
        (0..LAYERS).map(layer).collect()
    };
    let mut memory = vec![0.25_f32; 22 * LAYERS];
    let mut structs = of(&mut memory);
    let (x, labels, mut loss) = (vec![0.5_f32; 6], [0_u32, 2], -1.0);
    let step = update_config(0.01, 0);
    // SAFETY: arrays of the lengths of the layers; overlaps are refused before a reference is made.
    unsafe {
        let (overlap, batch) = (INTERNEURON_OVERLAP, 2);
        let whole = structs.clone();
        structs[7].b = structs[8].wex.wrapping_byte_sub(4);
        let parts = ["arrays->wex of layer 8 is at 0x", "no overlap with arrays->b of layer 7"];
        fails(interneuron_network_attach(network.0, structs.as_ptr()), overlap, &parts);
        structs[7].b = structs[2].alpha.wrapping_byte_sub(8);
        let parts = ["no overlap with arrays->", " of layer 2 at"];
        fails(interneuron_network_attach(network.0, structs.as_ptr()), overlap, &parts);
        structs[7].b = null_mut();
        let parts = ["arrays->b of layer 7 is NULL"];
        fails(interneuron_network_attach(network.0, structs.as_ptr()), INTERNEURON_NULL_POINTER, &parts);
        structs[7] = Arrays { running_var: structs[6].b, ..whole[7] };
        let parts = ["arrays->running_var of layer 7", "NULL, as the layer has no such array"];
        fails(interneuron_network_attach(network.0, structs.as_ptr()), INTERNEURON_INVALID_ARGUMENT, &parts);
        structs[7] = Arrays { size: 56, ..whole[7] };
        let parts = ["arrays[7].size is 56", "72, as in the first"];
        fails(interneuron_network_attach(network.0, structs.as_ptr()), INTERNEURON_INVALID_ARGUMENT, &parts);
        fails(interneuron_network_attach(network.0, null()), INTERNEURON_NULL_POINTER, &["arrays is NULL"]);
        // None of these was attached to.
        fails(interneuron_network_detach(network.0), INTERNEURON_WRONG_ORDER, &["uses no arrays of the caller"]);

        ok(interneuron_network_attach(network.0, whole.as_ptr()));
        let before = memory.clone();
        let (x, labels) = (x.as_ptr().cast(), labels.as_ptr());
        let evaluate = |x, loss| interneuron_network_evaluate(network.0, batch, x, labels, loss, null_mut());
        ok(evaluate(x, &mut loss));
        // Reading what is attached is fine, writing is not.
        ok(evaluate(whole[3].wex.cast_const(), &mut loss));
        let inside = whole[3].wex.wrapping_byte_add(whole[3].wex.align_offset(8));
        let parts = ["loss is at 0x", "no overlap with the attached", " of layer 3 at"];
        fails(evaluate(x, inside.cast()), overlap, &parts);
        let logits = interneuron_network_logits(network.0, batch, x, whole[9].g);
        fails(logits, overlap, &["logits is at 0x", "no overlap with the attached g of layer 9"]);
        let count = interneuron_network_layer_count(network.0, inside.cast());
        fails(count, overlap, &["count is at 0x", "no overlap with the attached"]);
        let train = |x, loss| interneuron_network_train_step(network.0, batch, x, labels, &step, loss);
        let parts = ["the attached wex of layer 3 is at 0x", "overlap with x"];
        fails(train(whole[3].wex.cast_const(), null_mut()), overlap, &parts);
        let target = TargetConfig { labels, ..TARGET };
        let gradients = |arrays: &[Arrays]| {
            interneuron_network_gradients(network.0, batch, x, 0, &target, arrays.as_ptr(), null_mut())
        };
        fails(gradients(&whole), overlap, &["arrays->wex of layer 0 is at 0x", "with the attached wex of layer 0"]);
        let mut apart = vec![UNTOUCHED; 22 * LAYERS];
        let handed_in = of(&mut apart);
        let mut missing = handed_in.clone();
        missing[9].g = null_mut();
        let parts = ["arrays->g of layer 9 is NULL"];
        fails(interneuron_network_apply(network.0, &step, missing.as_ptr()), INTERNEURON_NULL_POINTER, &parts);
        let parts = ["arrays is NULL"];
        fails(interneuron_network_apply(network.0, &step, null()), INTERNEURON_NULL_POINTER, &parts);
        assert_eq!((&memory, apart.iter().all(|&a| a == UNTOUCHED)), (&before, true));
        ok(gradients(&handed_in));
        ok(interneuron_network_apply(network.0, &step, handed_in.as_ptr()));
        assert!(memory != before && apart.iter().all(|&a| a != UNTOUCHED));
        // Two may read the same arrays, one after the other.
        let layer = context.layer(layer_config(3, 3, 1));
        let mut h = [UNTOUCHED; 6];
        ok(interneuron_layer_attach(layer.0, &whole[0]));
        ok(interneuron_layer_infer(layer.0, batch, x, h.as_mut_ptr().cast()));
        assert!(h.iter().all(|&h| h != UNTOUCHED));
    }
}
