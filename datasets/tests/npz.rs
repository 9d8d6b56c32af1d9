//! NumPy archives, good and bad.

use flate2::Compression;
use flate2::write::DeflateEncoder;
use interneuron::{Architecture, Context, DannShape, Error, Network, RecurrentShape, Update};
use interneuron_datasets::{Axes, Loss, NpzOptions, SequenceBatch, SequenceSet, SequenceTargets, read_npz};
use rawzip::{CompressionMethod, ZipArchiveWriter};
use std::fs;
use std::io::Write;

/// An array as NumPy writes it.
fn npy(descr: &str, fortran: bool, dims: &[usize], data: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let dims: String = dims.iter().map(|dim| format!("{dim}, ")).collect();
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({dims}), }}");
    while !(text.len() + 11).is_multiple_of(64) {
        text.push(' ');
    }
    text.push('\n');
    [b"\x93NUMPY\x01\0", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), data].concat()
}

fn f4(dims: &[usize], values: &[f32]) -> Vec<u8> {
    npy("<f4", false, dims, &values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())
}

fn i8(dims: &[usize], values: &[i64]) -> Vec<u8> {
    npy("<i8", false, dims, &values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())
}

/// An archive of such arrays, deflated or not.
fn zip(arrays: &[(&str, Vec<u8>)], deflated: bool) -> Vec<u8> {
    let mut bytes = vec![];
    let mut archive = ZipArchiveWriter::new(&mut bytes);
    for (name, data) in arrays {
        let method = if deflated { CompressionMethod::DEFLATE } else { CompressionMethod::STORE };
        let (mut entry, config) = archive.new_file(name).compression_method(method).start().unwrap();
        let descriptor = if deflated {
            let mut writer = config.wrap(DeflateEncoder::new(&mut entry, Compression::default()));
            writer.write_all(data).unwrap();
            let (encoder, descriptor) = writer.finish().unwrap();
            encoder.finish().unwrap();
            descriptor
        } else {
            let mut writer = config.wrap(&mut entry);
            writer.write_all(data).unwrap();
            writer.finish().unwrap().1
        };
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap();
    bytes
}

fn read_with(bytes: &[u8], options: NpzOptions) -> Result<SequenceSet, Error> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trials.npz");
    fs::write(&path, bytes).unwrap();
    let result = read_npz(&path, options);
    if let Err(error) = &result {
        let Error::File { path: named, .. } = error else { panic!("{error}") };
        assert!(named.ends_with("trials.npz") && error.to_string().lines().count() == 1, "{error}");
    }
    result
}

fn read(arrays: &[(&str, Vec<u8>)]) -> Result<SequenceSet, Error> {
    read_with(&zip(arrays, false), NpzOptions::default())
}

#[track_caller]
fn assert_refused(result: Result<SequenceSet, Error>, expected: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(expected), "{error:?} should contain {expected:?}");
}

const STEPS_FIRST: NpzOptions = NpzOptions { axes: Axes::StepsFirst, most_bytes: 1 << 20 };

/// Two sequences of three steps and two inputs: the second has two steps.
const X: [f32; 12] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0];
const Y: [i64; 6] = [0, 1, 2, 3, 4, 5];
const M: [f32; 6] = [1.0, 0.0, 0.5, 1.0, 2.0, 0.0];

fn arrays() -> Vec<(&'static str, Vec<u8>)> {
    vec![("x.npy", f4(&[2, 3, 2], &X)), ("y.npy", i8(&[2, 3], &Y)), ("m.npy", f4(&[2, 3], &M))]
}

/// The same archive with another array in the place of one.
fn with(name: &'static str, array: Vec<u8>) -> Vec<(&'static str, Vec<u8>)> {
    let mut arrays = arrays();
    arrays.retain(|(old, _)| *old != name);
    arrays.push((name, array));
    arrays
}

fn without(name: &str) -> Vec<(&'static str, Vec<u8>)> {
    arrays().into_iter().filter(|(old, _)| *old != name).collect()
}

#[test]
fn an_archive_becomes_sequences() {
    let set = read(&arrays()).unwrap();
    assert_eq!((set.len(), set.steps(), set.inputs(), set.outputs()), (2, 3, 2, 5));
    // What has no weight is zero.
    assert_eq!(set.x(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 0.0, 0.0]);
    assert_eq!(set.targets(), &SequenceTargets::Labels(vec![0, 0, 2, 3, 4, 0]));
    assert_eq!((set.weights(), set.lengths()), (&M[..], &[3, 2][..]));
    let deflated = zip(&arrays(), true);
    assert_eq!(read_with(&deflated, NpzOptions::default()).unwrap(), set);
    // The same as if it were made of arrays in memory.
    let labels = SequenceTargets::Labels(Y.map(|y| y as u32).to_vec());
    assert_eq!(SequenceSet::new(X.to_vec(), [2, 3, 2], labels, M.to_vec()).unwrap(), set);
    let more = [arrays(), vec![("coherence.npy", i8(&[2], &[1, 2])), ("folder/x.npy", vec![])]].concat();
    assert_eq!(read(&more).unwrap(), set, "other arrays are passed over");
}

#[test]
fn a_batch_of_an_archive_trains_a_network() {
    let set = read(&arrays()).unwrap();
    let layers = vec![
        RecurrentShape::dann(2, 8, 2, 2).into(),
        DannShape::new(8, set.outputs(), 1).subtractive().linear().into(),
    ];
    let mut net: Network<f32> = Architecture::of(layers).unwrap().seed(1).build(&Context::new().unwrap()).unwrap();
    let mut batch = SequenceBatch::new();
    batch.gather(&set, &[1, 0]).unwrap();
    let losses: Vec<f64> = (0..30)
        .map(|_| net.train_step(batch.x().unwrap(), batch.target().unwrap(), &Update::csgd(0.02)).unwrap())
        .collect();
    assert!(losses[29] < losses[0], "{losses:?}");
    // Padding changes nothing: a batch that the longer sequence makes longer has the same loss for the shorter one.
    let mut alone = SequenceBatch::new();
    alone.gather(&set, &[1]).unwrap();
    let one = net.evaluate(alone.x().unwrap(), alone.target().unwrap()).unwrap().loss;
    alone.gather(&set, &[0]).unwrap();
    let other = net.evaluate(alone.x().unwrap(), alone.target().unwrap()).unwrap().loss;
    let both = net.evaluate(batch.x().unwrap(), batch.target().unwrap()).unwrap().loss;
    assert!((both - (3.0 * one + 1.5 * other) / 4.5).abs() < 1e-5, "{both}, {one}, {other}");
}

#[test]
fn the_order_of_axes_and_of_elements_is_no_matter() {
    let set = read(&arrays()).unwrap();
    // Row r of [N, T] is row of [T, N] transposed.
    let transposed = |width: usize| {
        (0..3).flat_map(move |t| (0..2).flat_map(move |n| (0..width).map(move |i| (n * 3 + t) * width + i)))
    };
    let x: Vec<f32> = transposed(2).map(|i| X[i]).collect();
    let y: Vec<i64> = transposed(1).map(|i| Y[i]).collect();
    let m: Vec<f32> = transposed(1).map(|i| M[i]).collect();
    let steps_first = [("x.npy", f4(&[3, 2, 2], &x)), ("y.npy", i8(&[3, 2], &y)), ("m.npy", f4(&[3, 2], &m))];
    assert_eq!(read_with(&zip(&steps_first, false), STEPS_FIRST).unwrap(), set);
    // As the same arrays are three sequences then, the last of which has no weight at its end.
    let other = read_with(&zip(&arrays(), false), STEPS_FIRST).unwrap();
    assert_eq!((other.len(), other.steps(), other.lengths()), (3, 2, &[2, 2, 1][..]));

    // Columns first: the first index of [2, 3, 2] runs fastest.
    let bytes = |order: &mut dyn Iterator<Item = usize>| order.flat_map(|i| X[i].to_le_bytes()).collect::<Vec<u8>>();
    let mut order = (0..2).flat_map(|i| (0..3).flat_map(move |t| (0..2).map(move |n| (n * 3 + t) * 2 + i)));
    let fortran = npy("<f4", true, &[2, 3, 2], &bytes(&mut order));
    let y: Vec<u8> = transposed(1).flat_map(|i| Y[i].to_le_bytes()).collect();
    let both = [("x.npy", fortran), ("y.npy", npy("<i8", true, &[2, 3], &y)), ("m.npy", f4(&[2, 3], &M))];
    assert_eq!(read(&both).unwrap(), set);
}

#[test]
fn all_types_of_elements_are_read_in_both_byte_orders() {
    let set = read(&arrays()).unwrap();
    macro_rules! each {
        ($($descr:literal $type:ty),*) => {
            [$(
                ($descr, X.iter().flat_map(|&x| (x as $type).to_le_bytes()).collect::<Vec<u8>>(), size_of::<$type>()),
            )*]
        };
    }
    for (descr, little, width) in
        each!("f4" f32, "f8" f64, "u1" u8, "i1" i8, "u2" u16, "i2" i16, "u4" u32, "i4" i32, "u8" u64, "i8" i64)
    {
        let big: Vec<u8> = little.chunks_exact(width).flat_map(|bytes| bytes.iter().rev().copied()).collect();
        for (order, data) in [("<", &little), (">", &big)] {
            let x = npy(&format!("{order}{descr}"), false, &[2, 3, 2], data);
            assert_eq!(read(&with("x.npy", x)).unwrap(), set, "{order}{descr}");
        }
    }
    let mask = npy("|b1", false, &[2, 3], &[1, 0, 1, 1, 1, 0]);
    let masked = read(&with("m.npy", mask)).unwrap();
    assert_eq!((masked.weights(), masked.lengths()), (&[1.0, 0.0, 1.0, 1.0, 1.0, 0.0][..], &[3, 2][..]));
}

#[test]
fn targets_may_be_classes_of_steps_or_of_sequences_or_values() {
    let ones = read(&without("m.npy")).unwrap();
    assert_eq!((ones.weights(), ones.lengths()), (&[1.0; 6][..], &[3, 3][..]));
    assert_eq!(ones.targets(), &SequenceTargets::Labels(vec![0, 1, 2, 3, 4, 5]));

    let of_sequences = ("y.npy", i8(&[2], &[4, 7]));
    let set = read(&[arrays()[0].clone(), of_sequences.clone()]).unwrap();
    assert_eq!(set.weights(), [0.0, 0.0, 1.0, 0.0, 0.0, 1.0], "the last step");
    assert_eq!((set.targets(), set.outputs()), (&SequenceTargets::Labels(vec![0, 0, 4, 0, 0, 7]), 8));
    let set = read(&with("y.npy", of_sequences.1)).unwrap();
    assert_eq!(set.targets(), &SequenceTargets::Labels(vec![4, 0, 4, 7, 7, 0]));

    let values: Vec<f32> = (0..18).map(|i| i as f32 - 0.5).collect();
    let set = read(&with("y.npy", f4(&[2, 3, 3], &values))).unwrap();
    assert_eq!((set.loss(), set.outputs()), (Loss::Values, 3));
    let SequenceTargets::Values { y, outputs: 3 } = set.targets() else { panic!("values") };
    assert_eq!(y[..6], [-0.5, 0.5, 1.5, 0.0, 0.0, 0.0]);
    assert_eq!(read(&with("y.npy", i8(&[2, 3, 1], &Y))).unwrap().loss(), Loss::Values, "integers as values");
}

#[test]
fn padding_may_be_anything() {
    let set = read(&arrays()).unwrap();
    let (mut x, mut y) = (X, Y);
    (x[10], x[11]) = (f32::NAN, f32::INFINITY);
    (y[1], y[5]) = (-100, i64::MAX);
    let padded = [("x.npy", f4(&[2, 3, 2], &x)), ("y.npy", i8(&[2, 3], &y)), ("m.npy", f4(&[2, 3], &M))];
    assert_eq!(read(&padded).unwrap(), set);
    let values = [0.0, f32::NAN, 2.0, 3.0, 4.0, f32::NEG_INFINITY];
    assert_eq!(read(&with("y.npy", f4(&[2, 3, 1], &values))).unwrap().outputs(), 1);
}

#[test]
fn what_an_array_may_not_hold_is_told() {
    let mut x = X;
    x[9] = f32::NAN;
    assert_refused(read(&with("x.npy", f4(&[2, 3, 2], &x))), "array x: x[1, 1, 1] is NaN: expected a finite number");
    let wide = X.iter().flat_map(|&x| (f64::from(x) * 1e38).to_le_bytes()).collect::<Vec<_>>();
    assert_refused(read(&with("x.npy", npy("<f8", false, &[2, 3, 2], &wide))), "array x: x[0, 2, 0] is 4");
    for bad in [-1, 1 << 20, -(1 << 40)] {
        let mut y = Y;
        y[2] = bad;
        let expected = format!("array y: y[0, 2] is {bad}: expected a class, a whole number from 0 to 1048575");
        assert_refused(read(&with("y.npy", i8(&[2, 3], &y))), &expected);
    }
    assert_refused(read(&with("y.npy", i8(&[2], &[0, -5]))), "array y: y[1] is -5: expected a class");
    let mut values = [0.5; 6];
    values[3] = f32::INFINITY;
    assert_refused(
        read(&with("y.npy", f4(&[2, 3, 1], &values))),
        "array y: y[1, 0, 0] is inf: expected a finite number",
    );
    for bad in [-0.5, f32::NAN, f32::INFINITY] {
        let mut m = M;
        m[4] = bad;
        let expected = format!("array m: m[1, 1] is {bad}: expected a finite number ≥ 0 that 32 bits can hold");
        assert_refused(read(&with("m.npy", f4(&[2, 3], &m))), &expected);
    }
    let m = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0];
    assert_refused(read(&with("m.npy", f4(&[2, 3], &m))), "array m: sequence 1 has no weight above 0");
}

#[test]
fn dimensions_and_types_that_do_not_fit_are_told() {
    assert_refused(
        read(&with("x.npy", f4(&[6, 2], &X))),
        "array x: dimensions [6, 2]: expected three, [sequences, steps, inputs]",
    );
    let result = read_with(&zip(&with("x.npy", f4(&[12], &X)), false), STEPS_FIRST);
    assert_refused(result, "array x: dimensions [12]: expected three, [steps, sequences, inputs]");
    assert_refused(
        read(&with("x.npy", f4(&[0, 3, 2], &[]))),
        "array x: dimensions [0, 3, 2]: expected at least 1 each",
    );
    assert_refused(
        read(&with("y.npy", i8(&[3, 2], &Y))),
        "array y: dimensions [3, 2]: expected [2, 3], as x has [2, 3, 2]",
    );
    assert_refused(read(&with("y.npy", i8(&[6], &Y))), "array y: dimensions [6]: expected [2], as x has [2, 3, 2]");
    assert_refused(
        read(&with("y.npy", f4(&[1, 6, 1], &[0.0; 6]))),
        "array y: dimensions [1, 6, 1]: expected [2, 3, 1]",
    );
    assert_refused(read(&with("m.npy", f4(&[2], &[1.0; 2]))), "array m: dimensions [2]: expected [2, 3]");
    let floats = "array y: 32-bit floats of dimensions [2, 3]: expected integers, the classes, of [sequences, steps] or \
                  [sequences], or values of [sequences, steps, outputs]";
    assert_refused(read(&with("y.npy", f4(&[2, 3], &M))), floats);
    assert_refused(read(&with("y.npy", i8(&[], &[1]))), "array y: 64-bit integers of dimensions []: expected");
    assert_refused(read(&with("y.npy", i8(&[1, 2, 3, 1], &Y))), "array y: 64-bit integers of dimensions [1, 2, 3, 1]");
    assert_refused(
        read(&with("y.npy", npy("|O", false, &[2, 3], &[0; 48]))),
        "array y: elements of type \"|O\": expected floats",
    );
    assert_refused(read(&with("x.npy", npy("<f2", false, &[2, 3, 2], &[0; 24]))), "array x: elements of type \"<f2\"");
    assert_refused(read(&with("x.npy", b"no array".to_vec())), "array x: no NumPy array");
    assert_refused(read(&with("x.npy", vec![])), "array x: truncated");
    assert_refused(read(&without("y.npy")), "no array y: expected x and y, and m if there are weights");
    let others: Vec<(String, Vec<u8>)> = (0..9).map(|i| (format!("a{i}.npy"), vec![])).collect();
    let others: Vec<(&str, Vec<u8>)> = others.iter().map(|(name, data)| (&name[..], data.clone())).collect();
    assert_refused(
        read(&others),
        "no array x and y: expected x and y, and m if there are weights, beside a0, a1, a2, a3, a4, a5, …",
    );
    assert_refused(read(&[arrays(), vec![arrays()[1].clone()]].concat()), "array y: there are two");
    let most = NpzOptions { most_bytes: 2 * 3 * 4 * (2 + 1 + 1) - 1, ..NpzOptions::default() };
    assert_refused(
        read_with(&zip(&arrays(), true), most),
        "array x: sequences that take 96 bytes in memory: expected at most 95",
    );
    let enough = NpzOptions { most_bytes: 96, ..most };
    assert_eq!(read_with(&zip(&arrays(), true), enough).unwrap().len(), 2);
}

#[test]
fn files_of_another_kind_are_told() {
    let default = NpzOptions::default();
    assert_refused(read_with(b"", default), "truncated: an empty file: expected a NumPy archive (.npz)");
    assert_refused(read_with(&arrays()[0].1, default), "this is a NumPy array (.npy): expected a NumPy archive (.npz)");
    assert_refused(read_with(b"<html>not found</html>", default), "this is an HTML page: expected");
    assert_refused(read_with(&[7; 100], default), "this is no zip archive: expected");
    assert_refused(
        read_with(b"PK\x03\x04 and so on", default),
        "truncated: the directory of a zip archive is at its end",
    );
    let missing = read_npz("/no/such/file.npz", default).unwrap_err();
    assert!(matches!(&missing, Error::File { path, .. } if path.ends_with("file.npz")), "{missing}");
    let dir = tempfile::tempdir().unwrap();
    assert!(read_npz(dir.path(), default).unwrap_err().to_string().contains("not a regular file"));
}

#[test]
fn a_cut_or_changed_archive_is_an_error_or_the_same() {
    let set = read(&arrays()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trials.npz");
    for whole in [zip(&arrays(), false), zip(&arrays(), true)] {
        let try_bytes = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            read_npz(&path, NpzOptions::default())
        };
        for len in 0..whole.len() {
            assert!(matches!(try_bytes(&whole[..len]), Err(Error::File { .. })), "{len}");
        }
        let mut changed = whole.clone();
        let mut refused = 0;
        for place in 0..whole.len() {
            for bit in [0x01, 0x80] {
                changed[place] ^= bit;
                match try_bytes(&changed) {
                    // A date, for instance. What is data has a checksum.
                    Ok(other) => assert!(other == set || other.weights() == [1.0; 6], "byte {place}"),
                    Err(Error::File { .. }) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
                changed[place] ^= bit;
            }
        }
        assert!(refused > whole.len(), "{refused} of {}", 2 * whole.len());
    }
}
