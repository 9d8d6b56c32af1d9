//! Data sets: IDX files, good and bad, and the drawn digits.

use flate2::Compression;
use flate2::write::GzEncoder;
use interneuron::data::*;
use interneuron::*;
use std::fs;
use std::io::Write;
use std::path::Path;
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
    assert_fails(&dir, train, "corrupt gzip");
    put(&dir, train, &[&whole[..], b"garbage"].concat());
    assert_fails(&dir, train, "");
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
    let cases: [(&[u8], &[u8], [u8; 2], usize, usize); 5] = [
        (&letters, &[1, 26], [1, 26], 26, 27),
        (&[0, 1, 2], &[3], [0, 3], 4, 4),
        (&[7], &[200], [7, 200], 2, 201),
        (&every, &[0, 255], [0, 255], 256, 256),
        (&[1, 1, 1], &[1, 0], [0, 1], 2, 2),
    ];
    for (train, test, [first, last], found, outputs) in cases {
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
    let bytes = Images { pixels: Pixels::Bytes(vec![9, 51, 102, 255, 0, 60]), count: 3, height: 1, width: 2 };
    let floats = [-1.5, 0.25, 1.0, 3.0, 0.5, -0.25];
    let floats = Images { pixels: Pixels::Floats(floats.to_vec()), count: 3, height: 2, width: 1 };
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

    let chosen = Images { pixels: Pixels::Bytes(vec![0, 60, 9, 51, 0, 60]), ..bytes.clone() };
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
    let x_test = MatRef::new("x", &x_test, data.test.len(), 784).unwrap();
    let test_error = |dims: &[usize], lr| {
        let mut net: Network<f32> = Architecture::mlp(dims).unwrap().build().unwrap();
        for _ in 0..12 {
            // Labels follow each other in turn, so a batch needs no shuffling to hold all classes.
            for (x, labels) in x.chunks_exact(784 * 40).zip(train.chunks_exact(40)) {
                let x = MatRef::new("x", x, 40, 784).unwrap();
                net.train_step(Threads::Serial, x, labels, &Update::sgd(lr)).unwrap();
            }
        }
        net.evaluate(Threads::Serial, x_test, &test).unwrap().error_percent()
    };
    let linear = test_error(&[784, 10], 0.02);
    assert!(linear > 8.0, "a linear classifier errs on {linear} %");
    let network = test_error(&[784, 300, 300, 10], 0.2);
    assert!((1.0..5.0).contains(&network), "a network errs on {network} %");
}
