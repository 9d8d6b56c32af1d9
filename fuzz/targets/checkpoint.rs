//! Any bytes as a checkpoint, of f32 and of f64.
//!
//! A network that is loaded can be saved and loaded again, to the same bits, and takes a step. Changed bytes mostly get
//! the length of the header and of the file that fit them, or else hardly any would come as far as tensors.
#![no_main]

mod folder;

use folder::folder;
use interneuron::checkpoint::{load, save};
use interneuron::{Element, Error, Isa, MatRef, Natural, Network, PerRole, Update};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use std::fs;

/// The bytes of the length of the header.
const LEN: usize = 8;

fuzz_target!(|bytes: &[u8]| {
    go_on::<f32>(bytes);
    go_on::<f64>(bytes);
});

fn go_on<T: Element>(bytes: &[u8]) {
    let folder = folder();
    let path = folder.path().join("net.safetensors");
    fs::write(&path, bytes).unwrap();
    let (mut net, run) = match load::<T>(&path, &Isa::best().into()) {
        Ok(loaded) => loaded,
        Err(Error::File { reason, .. }) => return assert!(reason.len() < 2000, "{reason}"),
        Err(error) => panic!("{error}"),
    };
    save(&path, &net, &run).unwrap();
    let (again, run_again) = load::<T>(&path, &Isa::best().into()).unwrap();
    assert!(run_again == run && again.steps() == net.steps() && again.shapes().eq(net.shapes()));
    assert!(bits(&again).eq(bits(&net)) && again.state().layers().eq(net.state().layers()));

    let momentum = Update { momentum: PerRole::all(0.5), ..Update::csgd(0.1) };
    let updates = [Update::csgd(0.1), momentum, Update::eg(0.1), Update::natural(0.1, Natural::default())];
    let (inputs, classes) = (net.inputs(), net.outputs());
    let x: Vec<T> = (0..2 * inputs).map(|i| T::from_f64((i % 7) as f64 / 7.0)).collect();
    let x = MatRef::new(&x, 2, inputs).unwrap();
    let labels = [0, classes as u32 - 1];
    let _ = net.train_step(x, &labels, &updates[bytes.len() % updates.len()]);
    // A step may have made it one that cannot be saved.
    if save(&path, &net, &run).is_ok() {
        assert!(bits(&load::<T>(&path, &Isa::best().into()).unwrap().0).eq(bits(&net)));
    }
}

fn bits<T: Element>(net: &Network<T>) -> impl Iterator<Item = u64> {
    let arrays = net.params().flat_map(|params| params.arrays());
    arrays.flat_map(|(_, array)| array.iter().map(|value| value.to_f64().to_bits()))
}

fuzz_mutator!(|bytes: &mut [u8], len: usize, most: usize, seed: u32| {
    let len = fuzzer_mutate(bytes, len, most);
    if seed.is_multiple_of(4) { len } else { repair(bytes, len, most).unwrap_or(len) }
});

/// Makes the lengths fit: the header ends with its last brace, and the file with the last tensor. Returns the length of
/// the file.
fn repair(bytes: &mut [u8], len: usize, most: usize) -> Option<usize> {
    let rest = bytes.get(LEN..len)?;
    let text = &rest[..rest.iter().position(|&byte| byte == 0 || byte >= 0x80).unwrap_or(rest.len())];
    let header = text.iter().rposition(|&byte| byte == b'}')? + 1;
    let parsed = serde_json::from_slice::<serde_json::Value>(&text[..header]);
    bytes[..LEN].copy_from_slice(&(header as u64).to_le_bytes());
    let ends = |value: &serde_json::Value| value.get("data_offsets")?.get(1)?.as_u64();
    let end = parsed.ok()?.as_object()?.values().filter_map(ends).max()?;
    let whole = usize::try_from(end).ok()?.checked_add(LEN + header).filter(|&whole| whole <= most)?;
    if let Some(missing) = bytes.get_mut(len..whole) {
        missing.fill(0);
    }
    Some(whole)
}
