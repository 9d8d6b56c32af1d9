//! Any bytes as an IDX file of images and one of labels, plain and compressed.
//!
//! What is compressed here must lead to the same result as it does plain. Bytes that are compressed already are read as
//! they are, too.
#![no_main]

mod folder;

use flate2::Compression;
use flate2::write::GzEncoder;
use folder::folder;
use interneuron::Error;
use interneuron_datasets::{Images, Pixels, read_images, read_labels};
use libfuzzer_sys::fuzz_target;
use std::fs;
use std::io::Write;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let folder = folder();
    // What is compressed is seen from its first bytes, so the names do not say it.
    let (plain, zipped) = (folder.path().join("plain"), folder.path().join("zipped"));
    if bytes.starts_with(&[0x1f, 0x8b]) {
        fs::write(&zipped, bytes).unwrap();
        read(&zipped);
        return;
    }
    fs::write(&plain, bytes).unwrap();
    let mut encoder = GzEncoder::new(fs::File::create(&zipped).unwrap(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap();
    assert_eq!(read(&plain), read(&zipped));
});

/// What a file holds, as far as it holds anything.
fn read(path: &Path) -> (Option<Images>, Option<Vec<u8>>) {
    let (images, labels) = (held(read_images(path)), held(read_labels(path)));
    if let Some(Images { pixels, count, height, width, .. }) = &images {
        assert!(pixels.len() == count * height * width && !pixels.is_empty());
        match pixels {
            Pixels::Bytes(bytes) => assert_eq!(bytes.capacity(), bytes.len()),
            Pixels::Floats(floats) => {
                assert!(floats.iter().all(|value| value.is_finite()));
                assert_eq!(floats.capacity(), floats.len());
            }
        }
    }
    if let Some(labels) = &labels {
        assert!(!labels.is_empty() && labels.capacity() == labels.len());
    }
    // A matrix may be either: flat images, or labels in its first column.
    if let (Some(images), Some(labels)) = (&images, &labels) {
        assert_eq!(images.count, labels.len());
    }
    (images, labels)
}

/// The value, or else an error of the file that is one short line.
fn held<R>(result: Result<R, Error>) -> Option<R> {
    match result {
        Ok(value) => Some(value),
        Err(Error::File { reason, .. }) => {
            assert!(reason.len() < 2000 && reason.lines().count() == 1, "{reason}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}
