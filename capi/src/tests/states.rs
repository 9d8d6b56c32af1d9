//! What steps keep, out of and into a caller's arrays.

use super::results::{InC, in_places, updates};
use super::*;
use crate::config::*;
use crate::element::*;
use crate::layer::*;
use crate::network::*;
use crate::state::*;
use crate::status::*;
use interneuron::{Architecture, Element, Isa, MatRef, Network, Params, PerRole, Update};
use std::ffi::c_char;
use std::ptr::null;

const ROWS: usize = 20;

fn network_of(context: &OwnContext, element: i64) -> OwnNetwork {
    let (dims, nis, mut handle) = ([6, 9, 3], [2, 1], 0);
    let config = NetworkConfig { element, ..network_config(&dims, Some(&nis), 3) };
    // SAFETY: pointers to locals.
    ok(unsafe { interneuron_network_create(context.0, &config, &mut handle) });
    OwnNetwork(handle)
}

/// All that is kept of layer `k`, as C tells it: names, and arrays in the places.
fn kept<T: Element>(network: u64, k: i64, params: &Params<T>) -> Vec<(CString, [Vec<T>; 8])> {
    let mut count = -1;
    // SAFETY: pointers to locals; names are never freed; arrays of the lengths that the call tells.
    unsafe {
        ok(interneuron_network_state_count(network, k, &mut count));
        let all = (0..count).map(|i| {
            let mut name: *const c_char = null();
            ok(interneuron_network_state_name(network, k, i, &mut name));
            // Present arrays are in the order of the places.
            let mut arrays = in_places(params.arrays());
            for (i, array) in (0..).zip(arrays.iter_mut().filter(|array| !array.is_empty())) {
                let (mut rows, mut columns) = (-1, -1);
                ok(interneuron_network_state_size(network, k, name, i, &mut rows, &mut columns));
                *array = vec![T::from_f64(-77.0); (rows * columns) as usize];
            }
            ok(interneuron_network_get_state(network, k, name, &pointers(&mut arrays)));
            (CStr::from_ptr(name).to_owned(), arrays)
        });
        all.collect()
    }
}

fn states_of<T: Element>(context: &OwnContext, element: i64, update: &Update, seen: &mut Vec<CString>) {
    let x: Vec<T> = numbers(ROWS * 6).into_iter().map(|x| T::from_f64(x.into())).collect();
    let labels: Vec<u32> = (0..ROWS as u32).map(|i| i % 3).collect();
    let mut rust: Network<T> =
        Architecture::dann(&[6, 9, 3], &[2, 1]).unwrap().seed(3).build(&Isa::select().unwrap().into()).unwrap();
    let (network, again, in_c) = (network_of(context, element), network_of(context, element), InC::new(update));
    let step = in_c.config(update);
    let train = |network: u64| {
        let (mut loss, x, labels) = (0.0, x.as_ptr().cast(), labels.as_ptr());
        // SAFETY: 20 examples and labels.
        ok(unsafe { interneuron_network_train_step(network, ROWS as i64, x, labels, &step, &mut loss) });
        loss
    };
    for _ in 0..3 {
        let expected = rust.train_step(MatRef::new(&x, ROWS, 6).unwrap(), &labels, update).unwrap();
        assert_eq!(train(network.0), expected);
    }
    for (k, (params, state)) in (0..).zip(rust.params().zip(rust.state().layers())) {
        let got = kept(network.0, k, params);
        let expected: Vec<_> = state.iter().map(|(name, arrays)| (name, in_places(arrays.arrays()))).collect();
        let told: Vec<_> = got.iter().map(|(name, arrays)| (name.to_str().unwrap(), arrays.clone())).collect();
        assert_eq!(told, expected, "{update:?}");
        // Parameters, then what was kept, make of another network the same.
        let mut arrays = in_places(params.arrays());
        // SAFETY: arrays of the lengths of the layer, and as they came out.
        unsafe {
            ok(interneuron_network_set_parameters(again.0, k, &pointers(&mut arrays)));
            for (name, arrays) in &got {
                let mut arrays = arrays.clone();
                ok(interneuron_network_set_state(again.0, k, name.as_ptr(), &pointers(&mut arrays)));
            }
        }
        let mut sorted = kept(again.0, k, params);
        sorted.sort_by_key(|(name, _)| got.iter().position(|(known, _)| known == name));
        assert_eq!(sorted, got, "{update:?}");
        seen.extend(got.into_iter().map(|(name, _)| name));
    }
    // The labels that a natural gradient draws are those of the seed.
    if update.natural.is_none() {
        let expected = rust.train_step(MatRef::new(&x, ROWS, 6).unwrap(), &labels, update).unwrap();
        assert_eq!((train(network.0), train(again.0)), (expected, expected), "{update:?}");
        for (k, params) in (0..).zip(rust.params()) {
            let expected = in_places(params.arrays());
            let mut copy = expected.clone().map(|array| vec![T::from_f64(-77.0); array.len()]);
            // SAFETY: arrays of the lengths of the layer.
            ok(unsafe { interneuron_network_get_parameters(again.0, k, &pointers(&mut copy)) });
            assert_eq!(copy, expected, "{update:?}");
        }
    }
}

#[test]
fn states_of_networks_are_those_of_rust() {
    let context = OwnContext::new(0, "");
    let mut seen = vec![];
    for update in updates() {
        states_of::<f32>(&context, INTERNEURON_F32, &update, &mut seen);
        states_of::<f64>(&context, INTERNEURON_F64, &update, &mut seen);
    }
    seen.sort();
    seen.dedup();
    // Every name that there is, so that none is one that the ABI does not know.
    let names = [
        c"decay_velocity",
        c"fisher",
        c"largest_square",
        c"moment",
        c"negative",
        c"row_sums",
        c"square",
        c"steps",
        c"sum",
        c"velocity",
        c"velocity_steps",
    ];
    assert!(seen.iter().map(CString::as_c_str).eq(names), "{seen:?}");
}

#[test]
fn states_of_layers() {
    let context = OwnContext::new(0, "");
    let update = Update { momentum: PerRole::all(0.9), ..Update::csgd(0.05) };
    let in_c = InC::new(&update);
    let step = in_c.config(&update);
    let (x, dh, mut h) = (numbers(4 * 5), numbers(4 * 3), vec![UNTOUCHED; 4 * 3]);
    let [first, second] = [(); 2].map(|()| context.layer(layer_config(5, 3, 2)));
    let mut own = untouched(5, 3, 2);
    let mut velocity = own.clone();
    let mut train = |layer: u64| {
        // SAFETY: four examples of five inputs and three outputs.
        unsafe {
            ok(interneuron_layer_forward(layer, 4, x.as_ptr().cast(), h.as_mut_ptr().cast()));
            ok(interneuron_layer_update(layer, 4, x.as_ptr().cast(), dh.as_ptr().cast(), &step, null_mut()));
        }
    };
    let count = |layer: u64| {
        let mut count = -1;
        // SAFETY: a pointer to a local.
        ok(unsafe { interneuron_layer_state_count(layer, &mut count) });
        count
    };
    let name = c"velocity".as_ptr();
    let (invalid, wrong) = (INTERNEURON_INVALID_ARGUMENT, INTERNEURON_WRONG_ORDER);
    // SAFETY: arrays of the lengths of the layer, texts that end with NUL, pointers to locals.
    unsafe {
        ok(interneuron_layer_init(first.0, 7, 0));
        assert_eq!(count(first.0), 0);
        let out = pointers(&mut velocity);
        let get = |name, arrays: &Arrays| interneuron_layer_get_state(first.0, name, arrays);
        fails(get(name, &out), invalid, &["name is \"velocity\"", "one that is kept: nothing is"]);
        train(first.0);
        train(first.0);
        assert_eq!(count(first.0), 1);
        let mut told: *const c_char = null();
        ok(interneuron_layer_state_name(first.0, 0, &mut told));
        assert_eq!(CStr::from_ptr(told), c"velocity");
        fails(interneuron_layer_state_name(first.0, 1, &mut told), invalid, &["i is 1", "less than 1"]);
        // One array alone, then all.
        let alone = Arrays { alpha: out.alpha, size: out.size, ..Arrays::DEFAULT };
        ok(get(name, &alone));
        assert!(velocity[3].iter().all(|&v| v != UNTOUCHED) && velocity[0].iter().all(|&v| v == UNTOUCHED));
        ok(get(name, &out));
        assert!(velocity.iter().flatten().all(|&v| v != UNTOUCHED));
        ok(interneuron_layer_get_parameters(first.0, &pointers(&mut own)));

        fails(get(c"speed".as_ptr(), &out), invalid, &["name is \"speed\"", "one of velocity, fisher, "]);
        fails(get(c"moment".as_ptr(), &out), invalid, &["name is \"moment\"", "kept: velocity are"]);
        fails(get(null(), &out), INTERNEURON_NULL_POINTER, &["name is NULL"]);
        let shared = Arrays { g: out.b, ..out };
        fails(get(name, &shared), INTERNEURON_OVERLAP, &["arrays->b is at 0x", "no overlap with arrays->g"]);
        let set = |layer: &OwnLayer, name, arrays: &Arrays| interneuron_layer_set_state(layer.0, name, arrays);
        fails(set(&second, name, &out), wrong, &["no parameters"]);
        ok(interneuron_layer_attach(second.0, &pointers(&mut own)));
        fails(set(&second, c"".as_ptr(), &out), invalid, &["name is \"\"", "one of velocity"]);
        let missing = Arrays { wix: null_mut(), ..out };
        fails(set(&second, name, &missing), INTERNEURON_NULL_POINTER, &["arrays->wix is NULL"]);
        let (mut rows, mut columns) = (-1, -1);
        for (name, sizes) in
            [(c"velocity", [(3, 5), (3, 1)]), (c"row_sums", [(3, 1), (0, 0)]), (c"sum", [(1, 1), (0, 0)])]
        {
            for (i, expected) in [0, 5].into_iter().zip(sizes) {
                ok(interneuron_layer_state_size(second.0, name.as_ptr(), i, &mut rows, &mut columns));
                assert_eq!((rows, columns), expected, "{name:?}");
            }
        }
        let size = interneuron_layer_state_size(second.0, name, 6, &mut rows, null_mut());
        fails(size, invalid, &["i is 6", "less than 6"]);
        let sums = set(&second, c"sum".as_ptr(), &out);
        fails(sums, invalid, &["arrays->alpha is 0x", "NULL, as nothing is kept of it under this name"]);
        let mut bad = velocity.clone();
        bad[1][3] = f32::INFINITY;
        fails(set(&second, name, &pointers(&mut bad)), invalid, &["Wix[3] is inf", "a finite number"]);
        assert_eq!(count(second.0), 0);
        ok(set(&second, name, &out));
        train(first.0);
        train(second.0);
        let mut expected = untouched(5, 3, 2);
        ok(interneuron_layer_get_parameters(first.0, &pointers(&mut expected)));
        assert_eq!(own, expected, "with its velocities");
        assert_eq!(count(second.0), 1);
        // Outputs are none of the attached arrays.
        let (attached, inside) = (pointers(&mut own), 8 - own[0].as_ptr().addr() % 8);
        let inside = own[0].as_mut_ptr().wrapping_byte_add(inside % 8).cast();
        let status = interneuron_layer_get_state(second.0, name, &attached);
        fails(status, INTERNEURON_OVERLAP, &["arrays->wex is at 0x", "the attached wex"]);
        let status = interneuron_layer_state_count(second.0, inside);
        fails(status, INTERNEURON_OVERLAP, &["count is at 0x", "no overlap with the attached wex"]);
        assert_eq!(own, expected);
        ok(interneuron_layer_attach(second.0, &attached));
        assert_eq!(count(second.0), 0, "forgotten");
    }
}
