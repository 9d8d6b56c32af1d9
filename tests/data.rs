//! Data sets: IDX files, good and bad, and the drawn digits.

use flate2::Compression;
use flate2::write::GzEncoder;
use interneuron::*;
use interneuron_datasets::*;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// An IDX file: magic number, dimensions, data.
fn idx(magic: u32, dims: &[u32], data: &[u8]) -> Vec<u8> {
    let header = [magic].into_iter().chain(dims.iter().copied()).flat_map(u32::to_be_bytes);
    header.chain(data.iter().copied()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const IMAGES: u32 = 0x0803;
const LABELS: u32 = 0x0801;

fn images(count: u32) -> Vec<u8> {
    idx(IMAGES, &[count, 2, 3], &(0..count * 6).map(|i| i as u8).collect::<Vec<_>>())
}

fn labels(count: u32) -> Vec<u8> {
    idx(LABELS, &[count], &(0..count).map(|i| (i % 10) as u8).collect::<Vec<_>>())
}

/// A folder with a good data set: some files plain, some compressed.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    put(&dir, "train-images-idx3-ubyte.gz", &gzip(&images(4)));
    put(&dir, "train-labels-idx1-ubyte", &labels(4));
    put(&dir, "t10k-images-idx3-ubyte", &images(2));
    put(&dir, "t10k-labels-idx1-ubyte.gz", &gzip(&labels(2)));
    dir
}

fn put(dir: &TempDir, name: &str, bytes: &[u8]) {
    fs::write(dir.path().join(name), bytes).unwrap();
}

#[track_caller]
fn assert_fails(dir: impl AsRef<Path>, file: &str, reason: &str) {
    let error = load(dir.as_ref()).unwrap_err();
    let Error::File { path, reason: got } = &error else { panic!("{error}") };
    assert!(path.ends_with(file), "{path} should be {file}: {got}");
    assert!(got.contains(reason), "{got:?} should contain {reason:?}");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
}

#[test]
fn good_files() {
    let data = load(folder().path()).unwrap();
    assert_eq!((data.train.len(), data.test.len()), (4, 2));
    assert_eq!((data.train.images.height, data.train.images.width), (2, 3));
    assert_eq!(data.train.images.pixels, Pixels::Bytes((0..24).collect()));
    assert_eq!(data.train.labels, [0, 1, 2, 3]);
    let mut x = vec![9.0_f64; 1];
    data.train.images.gather([3, 0], &mut x);
    let want: Vec<f64> = (18..24).chain(0..6).map(|p| f64::from(p) / 255.0).collect();
    assert_eq!(x, want);
}

#[test]
fn missing_files_and_folders() {
    assert_fails("/no/such/folder", "/no/such/folder", "no such folder");
    for name in
        ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte.gz"]
    {
        let dir = folder();
        fs::remove_file(dir.path().join(name)).unwrap();
        assert_fails(&dir, name.trim_end_matches(".gz"), "no such file, with or without .gz");
    }
}

#[test]
fn truncated_and_corrupt_files() {
    let train = "train-images-idx3-ubyte.gz";
    let whole = gzip(&images(4));
    for len in 0..whole.len() {
        let dir = folder();
        put(&dir, train, &whole[..len]);
        assert_fails(&dir, train, "");
    }
    let dir = folder();
    put(&dir, train, &whole[..whole.len() - 1]);
    assert_fails(&dir, train, "truncated");
    put(&dir, train, b"this is no gzip, whatever its name says");
    assert_fails(&dir, train, "this is text: expected an IDX file of images");
    put(&dir, train, &[&whole[..], b"garbage"].concat());
    assert_fails(&dir, train, "corrupt gzip: its data are followed by something else");
    let (front, back) = (images(4)[..20].to_vec(), images(4)[20..].to_vec());
    put(&dir, train, &[gzip(&front), gzip(&back)].concat());
    assert_eq!(load(dir.path()).unwrap().train.images, load(folder().path()).unwrap().train.images, "members");
    let mut corrupt = whole.clone();
    let checksum = corrupt.len() - 6;
    corrupt[checksum] ^= 0xff;
    put(&dir, train, &corrupt);
    assert_fails(&dir, train, "corrupt gzip");

    let test = "t10k-images-idx3-ubyte";
    let whole = images(2);
    for len in 0..whole.len() {
        let dir = folder();
        put(&dir, test, &whole[..len]);
        assert_fails(&dir, test, "");
    }
    let dir = folder();
    put(&dir, test, &[&whole[..], &[0]].concat());
    assert_fails(&dir, test, "goes on after the 12 bytes");
}

#[test]
fn wrong_headers() {
    let test = "t10k-images-idx3-ubyte";
    let dir = folder();
    put(&dir, test, &labels(2));
    assert_fails(&dir, test, "magic number 0x00000801: expected 0x00000803");
    put(&dir, test, &idx(IMAGES, &[0, 2, 3], &[]));
    assert_fails(&dir, test, "expected at least 1");
    put(&dir, test, &idx(IMAGES, &[u32::MAX, u32::MAX, u32::MAX], &[0; 100]));
    assert_fails(&dir, test, "truncated: 100 bytes of data where the header promises [4294967295, ");
    put(&dir, test, &idx(IMAGES, &[60000, 28, 28], &[0; 100]));
    assert_fails(&dir, test, "truncated: 100 bytes of data where the header promises [60000, 28, 28]");
    put(&dir, test, &idx(IMAGES, &[2, 3, 2], &[0; 12]));
    assert_fails(&dir, test, "images of 3 × 2");
    let zipped = "train-images-idx3-ubyte.gz";
    let dir = folder();
    put(&dir, zipped, &gzip(&idx(IMAGES, &[1 << 30, 28, 28], &[0; 100])));
    assert_fails(&dir, zipped, "truncated: 100 bytes of data where the header promises [1073741824, 28, 28]");
}

#[test]
fn counts_that_disagree() {
    let dir = folder();
    put(&dir, "train-labels-idx1-ubyte", &labels(5));
    assert_fails(&dir, "train-labels-idx1-ubyte", "5 labels for the 4 images");
}

/// A folder with these labels for training and testing.
fn labelled(train: &[u8], test: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (part, labels) in [("train", train), ("t10k", test)] {
        let count = labels.len() as u32;
        put(&dir, &format!("{part}-images-idx3-ubyte"), &images(count));
        put(&dir, &format!("{part}-labels-idx1-ubyte"), &idx(LABELS, &[count], labels));
    }
    dir
}

#[test]
fn classes_come_from_the_labels() {
    let every: Vec<u8> = (0..=255).collect();
    // Letters from 1 to 26; a class that only the test has; labels far apart; as many classes as there can be.
    let letters: Vec<u8> = (1..=26).cycle().take(60).collect();
    type Case<'a> = ([&'a [u8]; 2], [u8; 2], usize, usize);
    let cases: [Case<'_>; 5] = [
        ([&letters, &[1, 26]], [1, 26], 26, 27),
        ([&[0, 1, 2], &[3]], [0, 3], 4, 4),
        ([&[7], &[200]], [7, 200], 2, 201),
        ([&every, &[0, 255]], [0, 255], 256, 256),
        ([&[1, 1, 1], &[1, 0]], [0, 1], 2, 2),
    ];
    for ([train, test], [first, last], found, outputs) in cases {
        let data = load(labelled(train, test)).unwrap();
        assert_eq!((&data.train.labels[..], &data.test.labels[..]), (train, test));
        assert_eq!(data.classes(), Classes { found, first, last });
        assert_eq!(data.classes().outputs(), outputs);
    }
    let none = TrainTest::default().classes();
    assert_eq!((none, none.outputs()), (Classes::default(), 0));
    let (one, file) = (labelled(&[3, 3, 3], &[3]), "train-labels-idx1-ubyte");
    assert_fails(&one, file, "one class alone, label 3: expected at least 2");
}

#[test]
fn what_a_network_sees_of_pixels() {
    let bytes = Images::new(Pixels::Bytes(vec![9, 51, 102, 255, 0, 60]), 3, 1, 2).unwrap();
    let floats = [-1.5, 0.25, 1.0, 3.0, 0.5, -0.25];
    let floats = Images::new(Pixels::Floats(floats.to_vec()), 3, 2, 1).unwrap();
    assert_eq!((bytes.range(), bytes.mean()), ((0.0, 1.0), 477.0 / (255.0 * 6.0)));
    assert_eq!((floats.range(), floats.mean()), ((-1.5, 3.0), 0.5));
    assert_eq!((Images::default().range(), Images::default().mean()), ((0.0, 0.0), 0.0));
    let mut x: Vec<f64> = vec![];
    bytes.gather([2, 0], &mut x);
    assert_eq!(x, [0, 60, 9, 51].map(|level| f64::from(level) / 255.0));
    floats.gather([2, 0], &mut x);
    assert_eq!(x, [0.5, -0.25, -1.5, 0.25]);
    let mut single: Vec<f32> = vec![];
    floats.gather([1], &mut single);
    assert_eq!(single, [1.0, 3.0]);

    let chosen = Images::new(Pixels::Bytes(vec![0, 60, 9, 51, 0, 60]), 3, 1, 2).unwrap();
    assert_eq!(bytes.subset(&[2, 0, 2]), chosen);
    let set = Dataset { images: floats.clone(), labels: vec![4, 5, 6] };
    let chosen = set.subset(&[1]);
    assert_eq!(
        (chosen.labels, chosen.images.pixels, chosen.images.count),
        (vec![5], Pixels::Floats(vec![1.0, 3.0]), 1)
    );
    assert!(set.subset(&[]).is_empty());
    assert_eq!((bytes.pixels.len(), bytes.pixels.as_bytes()), (6, &[9, 51, 102, 255, 0, 60][..]));
    assert_eq!(floats.pixels.as_bytes()[..4], (-1.5_f32).to_ne_bytes());
    assert!(Pixels::default().is_empty());
    let error = Images::new(Pixels::default(), 1, 2, 3).unwrap_err().to_string();
    assert_eq!(error, "pixels has 0 elements: expected 6");
}

#[test]
fn scaled_images_are_seen_scaled() {
    let mut images = Images::new(Pixels::Floats(vec![-1.5, 0.25, 1.0, 3.0, 0.5, 4.25]), 3, 2, 1).unwrap();
    let statistics = images.statistics().unwrap();
    assert_eq!((statistics.least(), statistics.means()), (&[-1.5, 0.25][..], vec![0.0, 2.5]));
    images.scale_by(Arc::new(Scaler::new(statistics.least().to_vec(), vec![2.0, 0.5]).unwrap())).unwrap();
    let (mut x, seen): (Vec<f32>, _) = (vec![], [0.0_f32, 0.0, 5.0, 1.375, 4.0, 2.0]);
    images.gather(0..3, &mut x);
    assert_eq!(x, seen);
    images.gather([], &mut x);
    assert!(x.is_empty());
    assert_eq!((images.range(), images.mean()), ((0.0, 5.0), f64::from(seen.iter().sum::<f32>()) / 6.0));
    assert_eq!(images.subset(&[1]).mean(), (5.0 + 1.375) / 2.0);
    assert_eq!(images.statistics().unwrap().least(), [0.0; 2]);
    let error = images.scale_by(Arc::new(Scaler::new(vec![0.0; 2], vec![1.0; 2]).unwrap())).unwrap_err().to_string();
    assert_eq!(error, "a second scaler is not supported here; use one that does both");
    let error = images.scale_by(Arc::new(Scaler::new(vec![0.0], vec![1.0]).unwrap())).unwrap_err().to_string();
    assert_eq!(error, "the scaler has 1 input, an image has 2 pixels");
    let error = Images::default().statistics().unwrap_err().to_string();
    assert_eq!(error, "pixels is 0: expected at least 1");
    let error = Images::new(Pixels::default(), 0, 2, 2).unwrap().statistics().unwrap_err().to_string();
    assert_eq!(error, "images is 0: expected at least 1");
}

/// Elements of a type in an IDX file: its code, and an element as it has it.
#[derive(Clone, Copy)]
struct Type(u32, fn(f64) -> Vec<u8>);

const U8: Type = Type(0x08, |x| vec![x as u8]);
const I8: Type = Type(0x09, |x| (x as i8).to_be_bytes().to_vec());
const I16: Type = Type(0x0B, |x| (x as i16).to_be_bytes().to_vec());
const I32: Type = Type(0x0C, |x| (x as i32).to_be_bytes().to_vec());
const F32: Type = Type(0x0D, |x| (x as f32).to_be_bytes().to_vec());
const F64: Type = Type(0x0E, |x| x.to_be_bytes().to_vec());
const TYPES: [Type; 6] = [U8, I8, I16, I32, F32, F64];

/// An IDX file with elements of a type.
fn typed(kind: Type, dims: &[u32], elements: &[f64]) -> Vec<u8> {
    let data: Vec<u8> = elements.iter().flat_map(|&x| kind.1(x)).collect();
    idx(kind.0 << 8 | dims.len() as u32, dims, &data)
}

/// What reading these bytes as a file gives, which is the same if they are compressed.
#[track_caller]
fn read<R: PartialEq + std::fmt::Debug>(read: fn(&Path) -> Result<R, Error>, bytes: &[u8]) -> Result<R, String> {
    let plain = read_file(read, bytes);
    let zipped = read_file(read, &gzip(bytes)).map_err(|reason| reason.replace("gzip of ", ""));
    assert_eq!(plain, zipped);
    plain
}

/// What reading a file with these bytes gives, or the reason why not.
#[track_caller]
fn read_file<R>(read: fn(&Path) -> Result<R, Error>, bytes: &[u8]) -> Result<R, String> {
    let dir = tempfile::tempdir().unwrap();
    put(&dir, "file", bytes);
    let path = dir.path().join("file");
    read(&path).map_err(|error| {
        let Error::File { path: named, reason } = error else { panic!("{error}") };
        assert!(Path::new(&named) == path && reason.lines().count() == 1, "{named}: {reason}");
        reason
    })
}

fn images_of(bytes: &[u8]) -> Result<Images, String> {
    read(|path| read_images(path), bytes)
}

fn labels_of(bytes: &[u8]) -> Result<Vec<u8>, String> {
    read(|path| read_labels(path), bytes)
}

#[track_caller]
fn assert_says<R: std::fmt::Debug>(result: Result<R, String>, expected: &str) {
    let reason = result.unwrap_err();
    assert!(reason.contains(expected), "{reason:?} should contain {expected:?}");
}

#[test]
fn labels_of_every_type_and_form() {
    for kind in TYPES {
        let largest = if kind.0 == I8.0 { 127.0 } else { 255.0 };
        let labels = [1.0, 0.0, largest, 26.0];
        let want = labels.map(|x| x as u8);
        for dims in [&[4][..], &[4, 1], &[4, 1, 1]] {
            assert_eq!(labels_of(&typed(kind, dims, &labels)).unwrap(), want);
        }
        // QMNIST's columns, of which others may hold anything.
        let anything = [7.0, 120.0, 3.0];
        let columns: Vec<f64> = labels.iter().flat_map(|&label| [label].into_iter().chain(anything)).collect();
        for dims in [&[4, 4][..], &[4, 1, 4], &[4, 4, 1]] {
            assert_eq!(labels_of(&typed(kind, dims, &columns)).unwrap(), want);
        }
    }
    let columns = [3.0, -5.0, 2e9, 4.0, 70_000.0, -1.0];
    assert_eq!(labels_of(&typed(I32, &[2, 3], &columns)).unwrap(), [3, 4]);
    assert_eq!(labels_of(&typed(F64, &[2, 3], &[3.0, f64::NAN, 0.5, 4.0, 1e300, -1.0])).unwrap(), [3, 4]);
    // Rows that only the first of makes one-hot.
    assert_eq!(labels_of(&typed(U8, &[2, 2], &[1.0, 0.0, 1.0, 1.0])).unwrap(), [1, 1]);
}

#[test]
fn labels_that_are_none() {
    let cases: [(Type, f64, &str); 8] = [
        (I8, -1.0, "label 2 is -1: expected a whole number from 0 to 255"),
        (I16, 256.0, "label 2 is 256: expected"),
        (I32, -2e9, "label 2 is -2000000000: expected"),
        (I32, 65_536.0, "label 2 is 65536: expected"),
        (F32, 0.5, "label 2 is 0.5: expected"),
        (F32, 256.0, "label 2 is 256: expected"),
        (F64, f64::NAN, "label 2 is NaN: expected"),
        (F64, f64::INFINITY, "label 2 is inf: expected"),
    ];
    for (kind, bad, expected) in cases {
        assert_says(labels_of(&typed(kind, &[4], &[0.0, 1.0, bad, 3.0])), expected);
        assert_says(labels_of(&typed(kind, &[3, 2], &[0.0, 1.0, 1.0, 0.0, bad, 3.0])), expected);
    }
    let one_hot = [0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0];
    for kind in TYPES {
        let expected = "one-hot labels, a row of 3 columns each: expected the number of the class instead";
        assert_says(labels_of(&typed(kind, &[3, 3], &one_hot)), expected);
        assert_says(labels_of(&typed(kind, &[3, 1, 3, 1], &one_hot)), expected);
    }
    let images = typed(U8, &[2, 3, 4], &[0.0; 24]);
    assert_says(labels_of(&images), "magic number 0x00000803: expected 0x00000801: unsigned bytes in 3 dimensions");
    assert_says(labels_of(&typed(I32, &[2, 0], &[])), "dimensions [2, 0]: expected at least 1 each");
    let long = [typed(I32, &[2], &[0.0, 1.0]), vec![0]].concat();
    assert_says(labels_of(&long), "goes on after the 8 bytes");
    assert_says(labels_of(&long[..15]), "truncated: 7 bytes of data where the header promises [2]");
}

#[test]
fn images_of_every_type_and_form() {
    let levels: Vec<f64> = (0..24).map(f64::from).collect();
    let bytes = Pixels::Bytes((0..24).collect());
    let cases: [(&[u32], [usize; 2]); 9] = [
        (&[2, 3, 4], [3, 4]),
        (&[2, 12], [1, 12]),
        (&[2, 1, 3, 4], [3, 4]),
        (&[2, 3, 4, 1], [3, 4]),
        (&[2, 1, 3, 1, 4, 1], [3, 4]),
        // Colours, first and last.
        (&[2, 3, 2, 2], [6, 2]),
        (&[2, 2, 2, 3], [4, 3]),
        (&[2, 12, 1], [12, 1]),
        (&[24, 1, 1, 1], [1, 1]),
    ];
    for kind in TYPES {
        for (dims, [height, width]) in cases {
            let images = images_of(&typed(kind, dims, &levels)).unwrap();
            let count = dims[0] as usize;
            assert_eq!(images, Images::new(bytes.clone(), count, height, width).unwrap(), "{dims:?}");
        }
    }
    for kind in [F32, F64] {
        for floats in [[0.0, 1.0, 0.25, 0.5], [-1.5, 2.0, 3e38, -1e-30], [0.0, 1.0, 1.0, 0.0], [0.0, 255.0, 256.0, 1.0]]
        {
            let images = images_of(&typed(kind, &[2, 2], &floats)).unwrap();
            assert_eq!(images.pixels, Pixels::Floats(floats.map(|x| x as f32).to_vec()));
        }
        // Whole numbers up to 255 are grey levels, even if they are floats; those up to 1 may be either.
        let images = images_of(&typed(kind, &[2, 2], &[0.0, 2.0, -0.0, 1.0])).unwrap();
        assert_eq!(images.pixels, Pixels::Bytes(vec![0, 2, 0, 1]));
    }
    // More than one chunk of any size.
    let many: Vec<f64> = (0..30_000).map(|i| f64::from(i % 251)).collect();
    let images = images_of(&typed(F64, &[30, 1000], &many)).unwrap();
    assert_eq!(images.pixels, Pixels::Bytes(many.iter().map(|&x| x as u8).collect()));
}

#[test]
fn images_that_are_none() {
    let cases: [(Type, f64, &str); 7] = [
        (I8, -1.0, "pixel 2 is -1: expected a grey level, a whole number from 0 to 255"),
        (I16, 256.0, "pixel 2 is 256: expected a grey level"),
        (I32, 1e6, "pixel 2 is 1000000: expected a grey level"),
        (F32, f64::NAN, "pixel 2 is NaN: expected a finite number"),
        (F32, f64::INFINITY, "pixel 2 is inf: expected a finite number"),
        (F64, f64::NEG_INFINITY, "pixel 2 is -inf: expected a finite number"),
        (F64, 1e39, "expected a finite number that 32 bits can hold"),
    ];
    for (kind, bad, expected) in cases {
        assert_says(images_of(&typed(kind, &[2, 2], &[0.0, 1.0, bad, 3.0])), expected);
    }
    let one = typed(F32, &[4], &[0.0; 4]);
    assert_says(images_of(&one), "32-bit floats in 1 dimension, where images have 2 or more");
    assert_says(
        images_of(&typed(U8, &[4, 1], &[0.0; 4])),
        "unsigned bytes in 2 dimensions, where images have more than",
    );
    assert_says(images_of(&typed(F64, &[4, 0, 2], &[])), "dimensions [4, 0, 2]: expected at least 1 each");
    let huge = [u32::MAX; 255];
    assert_says(
        images_of(&typed(F64, &huge, &[0.0; 4])),
        "truncated: 32 bytes of data where the header promises [42949",
    );
    let whole = typed(F64, &[2, 2], &[0.0; 4]);
    for len in 0..whole.len() {
        assert_says(images_of(&whole[..len]), "truncated");
    }
    assert_says(images_of(&[&whole[..], &[0]].concat()), "goes on after the 32 bytes");
}

/// A set of images for training and one for testing, in a folder.
fn pair(train: &[u8], test: &[u8]) -> TempDir {
    let dir = labelled(&[0, 1], &[1, 0]);
    put(&dir, "train-images-idx3-ubyte", train);
    put(&dir, "t10k-images-idx3-ubyte", test);
    dir
}

#[test]
fn images_for_training_and_testing_are_alike() {
    let square = typed(U8, &[2, 2, 3], &[7.0; 12]);
    let flat = typed(F32, &[2, 6], &[9.0; 12]);
    for (train, test) in [(&square, &flat), (&flat, &square)] {
        let data = load(pair(train, test)).unwrap();
        for images in [&data.train.images, &data.test.images] {
            assert_eq!((images.height, images.width), (2, 3));
        }
    }
    let test = "t10k-images-idx3-ubyte";
    for other in [&[2, 3, 2][..], &[2, 4], &[2, 2, 3, 2]] {
        let other = typed(U8, other, &vec![7.0; other.iter().product::<u32>() as usize]);
        assert_fails(pair(&square, &other), test, "images of ");
    }
    let fractions = typed(F32, &[2, 2, 3], &[0.5; 12]);
    assert_fails(pair(&square, &fractions), test, "pixels are floats, used as they are, but those of ");
    assert_fails(pair(&fractions, &square), test, "pixels are grey levels from 0 to 255, used divided by 255, but ");
    assert_eq!(load(pair(&fractions, &fractions)).unwrap().test.images.mean(), 0.5);
}

/// A member of a gzip file with these flags and the bytes of their fields.
fn member(flags: u8, fields: &[u8], data: &[u8]) -> Vec<u8> {
    let plain = gzip(data);
    [&plain[..3], &[flags], &plain[4..10], fields, &plain[10..]].concat()
}

#[test]
fn what_gunzip_reads_is_read() {
    let (plain, labels) = (labels(4), |bytes: &[u8]| read_file(|path| read_labels(path), bytes));
    let good = |bytes: &[u8]| assert_eq!(labels(bytes).unwrap(), [0, 1, 2, 3]);
    let whole = gzip(&plain);
    let (front, back) = plain.split_at(9);
    let empty = gzip(&[]);
    good(&[gzip(front), gzip(back)].concat());
    good(&[&empty[..], &gzip(front), &empty, &empty, &gzip(back), &empty].concat());
    for zeros in [1, 2, 3, 10, 511, 100_000] {
        good(&[&whole[..], &vec![0; zeros]].concat());
    }
    let long = [&vec![b'n'; 200_000][..], &[0]].concat();
    let extra = [&[0xff, 0xff][..], &[7; 0xffff]].concat();
    let text = 1;
    good(&member(text, &[], &plain));
    good(&member(4, &[0, 0], &plain));
    good(&member(4, &extra, &plain));
    good(&member(8, b"name\0", &plain));
    good(&member(8, &long, &plain));
    good(&member(16, b"\0", &plain));
    good(&member(4 | 8 | 16, &[&[2, 0, 9, 9][..], b"name\0comment\0"].concat(), &plain));
    let header = [&whole[..3], &[2], &whole[4..10]].concat();
    let mut sum = flate2::Crc::new();
    sum.update(&header);
    let sum = (sum.sum() as u16).to_le_bytes();
    good(&member(2, &sum, &plain));

    assert_says(labels(&member(2, &[sum[0], !sum[1]], &plain)), "corrupt gzip: the checksum of a header");
    assert_says(labels(&member(32, &[], &plain)), "corrupt gzip: a header of a kind");
    assert_says(labels(&[&whole[..], &[0, 0, 1]].concat()), "corrupt gzip: its data are followed by");
    assert_says(labels(&[&whole[..], &[0, 0], &empty].concat()), "corrupt gzip: its data are followed by");
    assert_says(labels(&[&whole[..], &[0x1f]].concat()), "truncated");
    let mut length = whole.clone();
    *length.last_mut().unwrap() ^= 1;
    assert_says(labels(&length), "corrupt gzip: the checksum or the length");
    for len in 2..whole.len() {
        assert_says(labels(&whole[..len]), "truncated");
    }
}

#[test]
fn gzip_is_told_by_content() {
    let dir = folder();
    put(&dir, "train-images-idx3-ubyte.gz", &images(4));
    put(&dir, "t10k-images-idx3-ubyte", &gzip(&images(2)));
    assert_eq!(load(&dir).unwrap(), load(folder()).unwrap());
}

#[test]
fn what_is_no_idx_file_is_named() {
    // Longer than what is looked at, which ends within a character.
    let cut = format!("a{}", "\u{fc}".repeat(2000));
    let tar = [&[b'a'; 257][..], b"ustar\x0000", &[0; 255]].concat();
    let npz = [&b"PK\x03\x04"[..], &[0; 22], &[9, 0, 0, 0], b"train.npy"].concat();
    let cases: [(&[u8], &str); 24] = [
        (b"\n <!DOCTYPE html><html>", "an HTML page"),
        (b"<HTML><body>404", "an HTML page"),
        (b"\xef\xbb\xbf<html lang=\"en\">", "an HTML page"),
        (b"<?xml version=\"1.0\"?><Error>", "an XML document"),
        (b"PK\x03\x04\x14\0\0\0", "a zip archive"),
        (&npz, "a NumPy archive (.npz)"),
        (&tar, "a tar archive"),
        (b"\x93NUMPY\x01\0v\0", "a NumPy array (.npy)"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (b"\xff\xd8\xff\xe0", "a JPEG image"),
        (b"\x80\x04\x95\0\0", "a pickle"),
        (b"\x80\x02}q\0", "a pickle"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\xfd7zXZ\0\0\x04", "an xz-compressed file"),
        (b"BZh91AY&SY", "a bzip2-compressed file"),
        (b"\x28\xb5\x2f\xfd\x04", "a zstd-compressed file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"0,1,2,3\n4,5,6,7\n", "text"),
        (b"BMI,0,1\n", "text"),
        ("größe".as_bytes(), "text"),
        (b"gr\xf6\xdfe", "text"),
        (b"\xff\xfea\0b\0", "text"),
        (cut.as_bytes(), "text"),
        (b"a", "text"),
    ];
    for (bytes, is) in cases {
        assert_says(images_of(bytes), &format!("this is {is}"));
        assert_says(labels_of(bytes), "expected an IDX file of labels, plain or compressed with gzip");
        assert_says(read_file(|path| read_images(path), &gzip(bytes)), &format!("this is gzip of {is}"));
    }
    assert_says(read_file(|path| read_labels(path), &gzip(&gzip(&labels(2)))), "this is gzip of a gzip file");
    assert_says(images_of(&[]), "truncated: an empty file");
    assert_says(read_file(|path| read_images(path), &gzip(&[])), "truncated: gzip of an empty file");
    // No text either: pixels without a header, for instance.
    let unknown: [&[u8]; 7] = [
        &[0; 20],
        &[0, 0, 8, 0, 0],
        &[0, 0, 10, 1, 0],
        &[1, 2, 3, 4, 5],
        &[0, 1, 8, 3],
        &[255; 2000],
        &[255, 254, 253, 255, 200],
    ];
    for bytes in unknown {
        assert_says(images_of(bytes), "expected 0x00000803 or another of IDX images");
    }
    assert_says(images_of(&[3, 8, 0, 0, 2, 0, 0, 0]), "an IDX file whose numbers are back to front");
}

/// Empty files, and the folders that they are in.
fn touch(dir: &TempDir, names: &[&str]) {
    for name in names {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
}

/// The files found among some.
#[track_caller]
fn found(names: &[&str], asked: &str) -> Result<[String; 4], String> {
    let dir = tempfile::tempdir().unwrap();
    touch(&dir, names);
    let Files { train_images, train_labels, test_images, test_labels } =
        Files::find(dir.path().join(asked)).map_err(|error| {
            assert_eq!(error.to_string().lines().count(), 1, "{error}");
            error.to_string().replace(&dir.path().display().to_string(), "DIR")
        })?;
    let name = |path: std::path::PathBuf| path.strip_prefix(&dir).unwrap().to_str().unwrap().to_owned();
    Ok([train_images, train_labels, test_images, test_labels].map(name))
}

const MNIST: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

#[test]
fn files_of_many_names_are_found() {
    let sets: [[&str; 4]; 12] = [
        MNIST,
        MNIST.map(|name| &*format!("{name}.gz").leak()),
        ["train-images.idx3-ubyte", "train-labels.idx1-ubyte", "t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"],
        ["train_images", "train_labels", "test_images", "test_labels"],
        ["Train Image.idx", "TRAIN-LABEL.IDX1", "Test.Image_idx3.ubyte.GZ", "T10K-Label.gz"],
        MNIST.map(|name| &*format!("{name}/{name}").leak()),
        MNIST.map(|name| &*format!("{0}/{name}", name.replace("-idx", ".idx")).leak()),
        MNIST.map(|name| &*format!("{name}.gz/{0}", name.replace("-idx", ".idx")).leak()),
        MNIST.map(|name| &*format!("emnist-letters-{0}.gz", name.replace("t10k", "test")).leak()),
        [
            "qmnist-train-images-idx3-ubyte",
            "qmnist-train-labels-idx2-int",
            "qmnist-test-images-idx3-ubyte",
            "qmnist-test-labels-idx2-int.gz",
        ],
        [
            "My train set_train-images",
            "my_train.set-train-labels",
            "my-train-set-t10k-images",
            "MY TRAIN SET TEST LABELS",
        ],
        // Words that differ, but there is no other file.
        ["a-train-images", "b-train-labels", "t10k-images", "c.d.test-labels-idx3-float32"],
    ];
    let others = [
        "README.md",
        ".train-images-idx3-ubyte",
        "._train-images",
        "train-images-idx3-ubyte.md5",
        "train-images.txt",
        "test-images-idx3-ubyte.gz.part",
        "xtrain-images",
        "train-images-idx3-ubyte (1)",
        "train-images.png/1.png",
        "raw/train-images-idx3-ubyte",
        "test-labels/readme",
        "letters/train-labels",
        "idx3-ubyte",
    ];
    for set in sets {
        assert_eq!(found(&set, "").unwrap(), set);
        assert_eq!(found(&[&set[..], &others].concat(), "").unwrap(), set);
    }
}

#[test]
fn the_better_name_counts() {
    let spelled = ["train.images", "train.labels", "test.images", "test.labels"];
    let within = MNIST.map(|name| &*format!("{name}.gz/{name}").leak());
    let all = [&MNIST[..], &spelled, &within].concat();
    assert_eq!(found(&all, "").unwrap(), MNIST);
    assert_eq!(found(&[&spelled[..], &within].concat(), "").unwrap(), spelled);
    // Plain before compressed, of MNIST's names and of others.
    for set in [MNIST, spelled] {
        let zipped = set.map(|name| &*format!("{name}.gz").leak());
        assert_eq!(found(&[set, zipped].concat(), "").unwrap(), set);
        assert_eq!(found(&[&zipped[..], &set[1..]].concat(), "").unwrap(), [zipped[0], set[1], set[2], set[3]]);
    }
    // Each file by itself.
    let mixed = [MNIST[0], "train_labels", "t10k.images.idx3.ubyte", MNIST[3]];
    assert_eq!(found(&[&mixed[..], &["train_images"]].concat(), "").unwrap(), mixed);
}

#[test]
fn several_files_for_one_are_an_error() {
    let set = ["train-images", "train_labels", "test_images", "test_labels"];
    let more = |names: &[&'static str]| found(&[&set[..], names].concat(), "").unwrap_err();
    let error = more(&["t10k_labels", "Test-Labels.gz"]);
    let expected =
        "DIR: several files may be the labels for testing: expected one of Test-Labels.gz, t10k_labels, test_labels";
    assert_eq!(error.replace("DIR/:", "DIR:"), expected);
    let many: Vec<String> = (0..20).map(|i| format!("v{i}-train-images")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let error = found(&[&set[..], &many].concat(), "").unwrap_err();
    assert!(error.contains("v12-train-images and 15 more"), "{error}");
    // Another set, of which there is only a part: which is meant?
    let error = more(&["letters-train-images"]);
    assert!(error.ends_with("expected one of letters-train-images, train-images"), "{error}");
    let letters = MNIST.map(|name| &*format!("letters-{name}").leak());
    let error = found(&[&letters[..], &MNIST[..1]].concat(), "").unwrap_err();
    assert!(error.contains("several data sets, whose names begin with (nothing), letters: expected one"), "{error}");
}

#[test]
#[cfg(unix)]
fn two_names_of_one_file_are_one() {
    let dir = tempfile::tempdir().unwrap();
    touch(&dir, &["train.images", "train.labels", "test.images", "test.labels"]);
    std::os::unix::fs::symlink("train.images", dir.path().join("train_images")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("train_labels")).unwrap();
    let files = Files::find(&dir).unwrap();
    assert_eq!(files.train_labels, dir.path().join("train.labels"));
}

#[test]
fn one_of_several_sets_is_named() {
    let set = |prefix: &str, test: &str| {
        MNIST.map(|name| &*format!("{prefix}{}.gz", name.replace("t10k", test)).leak()).to_vec()
    };
    let names = ["balanced", "byclass", "letters"].map(|name| set(&format!("gzip/emnist-{name}-"), "test"));
    let all = [names.concat(), set("gzip/other-", "t10k"), vec!["gzip/emnist-letters-mapping.txt"]].concat();
    assert_eq!(found(&all, "gzip/emnist-letters").unwrap().to_vec(), names[2]);
    assert_eq!(found(&all, "gzip/EMNIST_Balanced-").unwrap().to_vec(), names[0]);
    assert_eq!(found(&all, "gzip/other").unwrap().to_vec(), set("gzip/other-", "t10k"));
    let expected = "several data sets, whose names begin with emnist-balanced, emnist-byclass, emnist-letters";
    for asked in ["gzip", "gzip/emnist"] {
        let error = found(&all, asked).unwrap_err();
        assert!(error.starts_with(&format!("DIR/{asked}: {expected}")), "{error}");
        assert!(error.contains("such as DIR/gzip/"), "{error}");
    }
    // The only one that begins so.
    let one = [set("gzip/emnist-letters-", "test"), set("gzip/other-", "t10k")].concat();
    assert_eq!(found(&one, "gzip/emnist").unwrap().to_vec(), one[..4]);
    for asked in ["gzip/emnis", "gzip/letters", "gzip/none", "none/emnist", "gzip/-"] {
        let error = found(&all, asked).unwrap_err();
        assert!(error.starts_with(&format!("DIR/{asked}: no such folder")), "{error}");
    }
    let error = found(&all[1..4], "gzip/emnist-balanced").unwrap_err();
    let expected =
        "DIR/gzip/emnist-balanced-train-images-idx3-ubyte: no such file, with or without .gz: no images for training";
    assert!(error.starts_with(expected), "{error}");
    let error = found(&MNIST, MNIST[0]).unwrap_err();
    assert_eq!(error, format!("DIR/{}: not a folder: expected one with the files of a data set", MNIST[0]));
}

#[test]
fn what_is_missing_is_named() {
    for (missing, what) in ["images for training", "labels for training", "images for testing", "labels for testing"]
        .into_iter()
        .enumerate()
    {
        let rest: Vec<&str> = (0..4).filter(|&i| i != missing).map(|i| MNIST[i]).collect();
        let error = found(&rest, "").unwrap_err();
        let name = MNIST[missing];
        let expected =
            format!("DIR/{name}: no such file, with or without .gz: no {what} in the folder; looked for {name}");
        assert!(error.starts_with(&expected), "{error}");
        assert!(error.ends_with("in a folder of such a name") && !error.contains('…'), "{error}");
    }
}

#[test]
#[cfg(unix)]
fn names_that_are_no_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(OsStr::from_bytes(b"caf\xe9\nau lait"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(OsStr::from_bytes(b"\xff\xfe.gz")), b"").unwrap();
    let error = load(&folder).unwrap_err().to_string();
    assert!(error.lines().count() == 1 && error.contains("\\nau lait"), "{error}");
    let prefix = OsStr::from_bytes(b"m\xfcnist");
    for name in MNIST {
        let (name, count) = (format!("-{name}"), if name.starts_with("train") { 4 } else { 2 });
        let path = folder.join([prefix.as_bytes(), name.as_bytes()].map(OsStr::from_bytes).join(OsStr::new("")));
        fs::write(path, if name.contains("images") { images(count) } else { labels(count) }).unwrap();
    }
    assert_eq!(load(&folder).unwrap().train.len(), 4);
    assert_eq!(load(folder.join(prefix)).unwrap().test.len(), 2);
    let name = [prefix.as_bytes(), b"-t10k-labels-idx1-ubyte"].concat();
    fs::write(folder.join(OsStr::from_bytes(&name)), labels(3)).unwrap();
    let error = load(&folder).unwrap_err().to_string();
    assert!(error.lines().count() == 1 && error.contains("3 labels for the 2 images of"), "{error}");
}

#[test]
fn digits_come_from_their_seed() {
    let data = digits(30, 20, 5);
    assert_eq!(data, digits(30, 20, 5));
    assert_ne!(data, digits(30, 20, 6));
    assert_eq!((data.train.len(), data.test.len(), data.train.images.size()), (30, 20, 784));
    assert!((0..10).all(|class| data.train.labels.iter().filter(|&&label| label == class).count() == 3));
    assert_ne!(data.train.images.subset(&[0]), data.train.images.subset(&[10]), "two zeros differ");
}

/// The digits are worth learning: too hard for a linear classifier, not too easy for a network.
#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes without optimisation")]
fn digits_are_hard_but_not_too_hard() {
    let data = digits(16_000, 4_000, 1);
    let labels = |set: &Dataset| -> Vec<u32> { set.labels.iter().map(|&label| label.into()).collect() };
    let (train, test) = (labels(&data.train), labels(&data.test));
    let (mut x, mut x_test) = (vec![], vec![]);
    data.train.images.gather(0..data.train.len(), &mut x);
    data.test.images.gather(0..data.test.len(), &mut x_test);
    let x_test = MatRef::new(&x_test, data.test.len(), 784).unwrap();
    let test_error = |dims: &[usize], lr| {
        let mut net: Network<f32> = Architecture::mlp(dims).unwrap().build(&Context::new().unwrap()).unwrap();
        for _ in 0..12 {
            // Labels follow each other in turn, so a batch needs no shuffling to hold all classes.
            for (x, labels) in x.chunks_exact(784 * 40).zip(train.chunks_exact(40)) {
                let x = MatRef::new(x, 40, 784).unwrap();
                net.train_step(x, labels, &Update::sgd(lr)).unwrap();
            }
        }
        net.evaluate(x_test, &test).unwrap().error_percent()
    };
    let linear = test_error(&[784, 10], 0.02);
    assert!(linear > 8.0, "a linear classifier errs on {linear} %");
    let network = test_error(&[784, 300, 300, 10], 0.2);
    assert!((1.0..5.0).contains(&network), "a network errs on {network} %");
}
