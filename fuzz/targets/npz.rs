//! Any bytes as a NumPy archive of labelled sequences.
//!
//! Bytes that begin as a zip archive are read as they are. Others are cut before each array that they hold, and these
//! become an archive, once plain and once deflated, which must be read alike: so a change of an array meets no checksum.
#![no_main]

mod folder;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use folder::folder;
use interneuron::{Error, MatRef};
use interneuron_datasets::{Axes, Loss, NpzOptions, SequenceBatch, SequenceSet, read_npz};
use libfuzzer_sys::fuzz_target;
use rawzip::{CompressionMethod, ZipArchiveWriter};
use std::fs;
use std::io::Write;
use std::path::Path;

/// What arrays begin with.
const MAGIC: &[u8] = b"\x93NUMPY";
/// The most bytes of sequences in memory, whatever an input of some kilobytes unpacks to.
const MOST: u64 = 256 << 10;

fuzz_target!(|bytes: &[u8]| {
    let folder = folder();
    let path = folder.path().join("trials.npz");
    if bytes.starts_with(b"PK") {
        fs::write(&path, bytes).unwrap();
        let _ = read(&path);
        return;
    }
    let [plain, deflated] = [CompressionMethod::STORE, CompressionMethod::DEFLATE].map(|method| {
        fs::write(&path, zip(&arrays(bytes), method)).unwrap();
        read(&path)
    });
    assert_eq!(plain, deflated);
});

/// The bytes up to each next array.
fn arrays(bytes: &[u8]) -> Vec<&[u8]> {
    let mut starts: Vec<usize> =
        bytes.windows(MAGIC.len()).enumerate().filter(|(_, w)| *w == MAGIC).map(|(i, _)| i).collect();
    if starts.first() != Some(&0) {
        starts.insert(0, 0);
    }
    let ends = starts[1..].iter().copied().chain([bytes.len()]);
    starts.iter().zip(ends).map(|(&start, end)| &bytes[start..end]).take(3).collect()
}

/// An archive of the arrays, in the order x, y, m.
fn zip(arrays: &[&[u8]], method: CompressionMethod) -> Vec<u8> {
    let mut bytes = vec![];
    let mut archive = ZipArchiveWriter::new(&mut bytes);
    for (name, data) in ["x.npy", "y.npy", "m.npy"].into_iter().zip(arrays) {
        let (mut entry, config) = archive.new_file(name).compression_method(method).start().unwrap();
        let descriptor = if method == CompressionMethod::DEFLATE {
            let mut writer = config.wrap(DeflateEncoder::new(&mut entry, Compression::fast()));
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

/// What a file holds with either order of axes, as far as it holds anything, or its errors.
fn read(path: &Path) -> [Result<SequenceSet, String>; 2] {
    [Axes::ExamplesFirst, Axes::StepsFirst].map(|axes| {
        let set = read_npz(path, NpzOptions { axes, most_bytes: MOST });
        match set {
            Ok(set) => {
                check(&set);
                Ok(set)
            }
            Err(Error::File { reason, .. }) => {
                assert!(reason.len() < 2000 && reason.lines().count() == 1, "{reason}");
                Err(reason)
            }
            Err(error) => panic!("{error}"),
        }
    })
}

/// Sequences are what a network takes.
fn check(set: &SequenceSet) {
    let rows = set.len() * set.steps();
    assert!(rows > 0 && set.x().len() == rows * set.inputs() && set.weights().len() == rows);
    assert!(set.lengths().iter().all(|length| (1..=set.steps()).contains(length)));
    assert!(set.x().iter().all(|x| x.is_finite()));
    let indices = [0, set.len() - 1, 0];
    let mut batch = SequenceBatch::new();
    batch.gather(set, &indices).unwrap();
    let (x, target) = (batch.x().unwrap(), batch.target().unwrap());
    assert!(x.examples() == 3 && x.steps() == indices.map(|i| set.lengths()[i]).into_iter().max().unwrap());
    assert!(batch.weights().iter().any(|&weight| weight > 0.0));
    // A loss needs as many outputs as the largest label says: not too many of them here.
    if set.outputs() <= 64 {
        let outputs = vec![0.0; x.rows() * set.outputs()];
        target.loss(MatRef::new(&outputs, x.rows(), set.outputs()).unwrap(), None).unwrap();
    } else {
        assert!(set.loss() == Loss::Values || set.outputs() <= 1 << 20);
    }
}
