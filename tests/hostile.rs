//! Files that lie: what reading them allocates, and that it ends, with an error and without a panic.

#[path = "../examples/common/mod.rs"]
mod common;
#[allow(dead_code)] // what an experiment does with it
#[path = "../examples/paper/config.rs"]
mod config;
#[allow(dead_code)]
#[path = "../examples/paper/networks.rs"]
mod networks;

use config::{Config, FIELDS, Preset, Source};
use flate2::write::{DeflateEncoder, GzEncoder};
use flate2::{Compression, Crc};
use interneuron::checkpoint::{self, Run};
use interneuron::{Architecture, Context, Error, Isa, MatRef, Network, PerRole, Update};
use interneuron_datasets::{NpzOptions, read_images, read_labels, read_npz};
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::TempDir;

/// Counts the bytes that all threads have allocated, and the most that they were.
struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

fn count(bytes: isize) {
    let live = LIVE.fetch_add(bytes, Ordering::SeqCst) + bytes;
    PEAK.fetch_max(live, Ordering::SeqCst);
}

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller vouches for the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller vouches for the pointer.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new, as if it were always copied.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: the caller vouches for pointer and layout.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What reading an IDX file takes beside its data.
const IDX: usize = 256 << 10;
/// What reading a NumPy archive takes beside its data.
const NPZ: usize = 1 << 20;
/// What the header of a checkpoint takes.
const HEADER: usize = 64 << 20;
/// What a configuration takes.
const CONFIG: usize = 16 << 20;

/// A folder for files, while no other test runs: it would allocate at the same time.
struct Bench {
    dir: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Bench {
    fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        Self { dir: tempfile::tempdir().unwrap(), _alone: alone }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// What can be at a path and is no regular file.
    fn special_files(&self) -> Vec<PathBuf> {
        let mut paths = vec![self.dir.path().to_owned(), self.path("none")];
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            let pipe = self.path("pipe.gz");
            let name = std::ffi::CString::new(pipe.as_os_str().as_bytes()).unwrap();
            // SAFETY: the name ends with a zero byte and lives through the call.
            assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
            paths.extend([pipe, "/dev/zero".into(), "/dev/null".into()]);
        }
        paths
    }
}

/// What a call returns, and by how many bytes memory grew meanwhile at the most.
fn peak<R>(call: impl FnOnce() -> R) -> (R, usize) {
    let before = LIVE.load(Ordering::SeqCst);
    PEAK.store(before, Ordering::SeqCst);
    let result = call();
    (result, (PEAK.load(Ordering::SeqCst) - before) as usize)
}

/// Panics unless a call ends with an error of a file that contains `expected`, and took at most so many bytes.
#[track_caller]
fn assert_refused<R>(name: &str, call: impl FnOnce() -> Result<R, Error>, expected: &str, most: usize) {
    let (result, bytes) = peak(call);
    let Err(Error::File { reason, .. }) = result.map(|_| ()) else { panic!("{name}: expected an error of the file") };
    assert!(reason.contains(expected), "{name}: {reason:?} should contain {expected:?}");
    assert!(reason.len() < 2000, "{name}: an error of {} bytes", reason.len());
    assert!(bytes <= most, "{name}: {bytes} bytes, expected at most {most}");
}

fn idx(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let magic = 0x0800 + dims.len() as u32;
    let header = [magic].into_iter().chain(dims.iter().copied()).flat_map(u32::to_be_bytes);
    header.chain(data.iter().copied()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn an_idx_file_gets_the_memory_that_it_can_fill() {
    let bench = Bench::new();
    const HELD: usize = 4 << 20;
    let zeros = vec![0; HELD];
    let cases: [(&str, &[u32], &[u8], &str); 7] = [
        ("all it can", &[u32::MAX; 3], &zeros[..100], "truncated: 100 bytes of data where the header promises [42949"),
        ("a terabyte", &[1 << 20, 1 << 10, 1 << 10], &zeros[..100], "truncated: 100 bytes"),
        ("a gigabyte", &[1 << 10, 1 << 10, 1 << 10], &zeros[..100], "truncated: 100 bytes"),
        ("much, and holds much", &[HELD as u32 + 1, 1, 1], &zeros, "truncated: 4194304 bytes"),
        ("little, and holds much", &[2, 3, 1], &zeros, "goes on after the 6 bytes"),
        ("a byte too few", &[HELD as u32 - 1, 1, 1], &zeros, "goes on after the 4194303 bytes"),
        ("nothing", &[HELD as u32, 0, 1], &zeros, "expected at least 1"),
    ];
    for (name, dims, data, expected) in cases {
        let plain = idx(dims, data);
        let name = format!("a header that promises {name}");
        let path = bench.file("plain", &plain);
        assert_refused(&name, || read_images(&path), expected, IDX);
        let path = bench.file("zipped.gz", &gzip(&plain));
        assert_refused(&name, || read_images(&path), expected, IDX);
    }

    for zipped in [false, true] {
        let whole = idx(&[HELD as u32], &zeros);
        let whole = if zipped { gzip(&whole) } else { whole };
        let name = if zipped { "good.gz" } else { "good" };
        let path = bench.file(name, &whole);
        let (labels, bytes) = peak(|| read_labels(&path).unwrap());
        assert_eq!((labels.len(), labels.capacity()), (HELD, HELD));
        assert!(bytes <= HELD + IDX, "{name}: {bytes} bytes");
        for len in (0..whole.len()).step_by(whole.len() / 20 + 1) {
            let path = bench.file(name, &whole[..len]);
            assert_refused(&format!("{len} bytes of {name}"), || read_labels(&path), "truncated", IDX);
        }
    }

    // As many dimensions as there can be, and none of them true.
    for dims in [[u32::MAX; 255], [1; 255]] {
        let path = bench.file("dimensions", &idx(&dims, &zeros));
        assert_refused("dimensions", || read_images(&path), "", IDX);
    }

    let members = gzip(&[]).repeat(10_000);
    let path = bench.file("members.gz", &members);
    assert_refused("members that hold nothing", || read_labels(&path), "truncated", IDX);
    // A name of the file within that does not end.
    let path = bench.file("name.gz", &[&[31, 139, 8, 8, 0, 0, 0, 0, 0, 0][..], &[b'a'; HELD]].concat());
    assert_refused("a name", || read_labels(&path), "", IDX);
    for path in bench.special_files() {
        assert_refused(&path.display().to_string(), || read_labels(&path), "", IDX);
    }
}

/// What is kept takes other room than what is read: a byte, or a float of 32 bits.
#[test]
fn elements_take_the_room_that_they_are_kept_in() {
    let bench = Bench::new();
    const ELEMENTS: usize = 256 << 10;
    let cases: [(&str, u8, &[u8], usize, bool); 5] = [
        ("16-bit grey levels", 0x0B, &[0, 3], 1, true),
        ("32-bit grey levels", 0x0C, &[0, 0, 0, 3], 1, true),
        ("32-bit floats", 0x0D, &[0; 4], 4, true),
        ("64-bit grey levels", 0x0E, &2.0_f64.to_be_bytes(), 1, true),
        ("64-bit floats", 0x0E, &0.5_f64.to_be_bytes(), 4, false),
    ];
    for (name, code, element, kept, labels) in cases {
        let mut whole = idx(&[ELEMENTS as u32 / 4, 4], &element.repeat(ELEMENTS));
        whole[2] = code;
        for path in [bench.file("typed", &whole), bench.file("typed.gz", &gzip(&whole))] {
            let (images, bytes) = peak(|| read_images(&path).unwrap());
            assert_eq!((images.pixels.len(), images.pixels.as_bytes().len()), (ELEMENTS, kept * ELEMENTS), "{name}");
            assert!(bytes <= kept * ELEMENTS + IDX, "{name}: {bytes} bytes");
            let (read, bytes) = peak(|| read_labels(&path).ok());
            assert_eq!(read.map(|read| read.capacity()), labels.then_some(ELEMENTS / 4), "{name}");
            assert!(bytes <= ELEMENTS / 4 + IDX, "{name}: {bytes} bytes for labels");
        }
        whole.pop();
        for path in [bench.file("cut", &whole), bench.file("cut.gz", &gzip(&whole))] {
            assert_refused(name, || read_images(&path), "truncated", IDX);
        }
    }
}

#[test]
fn what_gzip_has_beside_data_takes_no_memory() {
    let bench = Bench::new();
    const LONG: usize = 256 << 10;
    // All that a header may have, each at its longest or longer.
    let long = [&[31, 139, 8, 28, 0, 0, 0, 0, 0, 0, 255, 255][..], &[b'a'; 65_535]].concat();
    let long = [&long[..], &[b'a'; LONG], &[0], &[b'a'; LONG], &[0], &gzip(&idx(&[4], &[0, 1, 2, 3]))[10..]].concat();
    let path = bench.file("fields.gz", &long);
    let (labels, bytes) = peak(|| read_labels(&path).unwrap());
    assert!(labels == [0, 1, 2, 3] && bytes <= IDX, "{bytes} bytes for long fields");
    // Members and members, and zeros at the end.
    let path = bench.file("zeros.gz", &[&gzip(&idx(&[4], &[0, 1, 2, 3]))[..], &vec![0; 4 << 20]].concat());
    let (labels, bytes) = peak(|| read_labels(&path).unwrap());
    assert!(labels == [0, 1, 2, 3] && bytes <= IDX, "{bytes} bytes for zeros");
}

/// An array of NumPy with these dimensions, and whatever data.
fn npy(descr: &str, dims: &[usize], data: &[u8]) -> Vec<u8> {
    let dims: String = dims.iter().map(|dim| format!("{dim},")).collect();
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims})}}\n");
    [b"\x93NUMPY\x01\0", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), data].concat()
}

/// A file within a zip archive: its name, its data, and the size that it claims to unpack to, if that is a lie.
struct Packed<'a>(&'a str, &'a [u8], Option<u32>);

/// A zip archive, deflated.
fn zip(files: &[Packed<'_>]) -> Vec<u8> {
    let (mut bytes, mut directory) = (vec![], vec![]);
    for Packed(name, data, claimed) in files {
        let mut encoder = DeflateEncoder::new(vec![], Compression::fast());
        encoder.write_all(data).unwrap();
        let packed = encoder.finish().unwrap();
        let mut crc = Crc::new();
        crc.update(data);
        let sizes = [crc.sum(), packed.len() as u32, claimed.unwrap_or(data.len() as u32)];
        let method = [20, 0, 8, 0, 0, 0].map(|half: u16| half.to_le_bytes()).concat();
        let sizes = [&sizes.map(u32::to_le_bytes).concat()[..], &(name.len() as u32).to_le_bytes()].concat();
        let place = bytes.len() as u32;
        bytes.extend([b"PK\x03\x04", &method[..10], &sizes, name.as_bytes(), &packed].concat());
        let rest = [&[0; 10][..], &place.to_le_bytes()].concat();
        directory.extend([b"PK\x01\x02\x14\0", &method[..10], &sizes, &rest, name.as_bytes()].concat());
    }
    let place = [directory.len() as u32, bytes.len() as u32].map(u32::to_le_bytes).concat();
    let count = (files.len() as u16).to_le_bytes();
    [bytes, directory, [b"PK\x05\x06\0\0\0\0", &count[..], &count, &place, &[0; 2]].concat()].concat()
}

#[test]
fn a_numpy_archive_gets_the_memory_that_it_can_fill() {
    let bench = Bench::new();
    const STEPS: usize = 1 << 20;
    let zeros = vec![0; 4 * STEPS];
    let refuse = |name: &str, files: &[Packed<'_>], expected: &str| {
        let path = bench.file("trials.npz", &zip(files));
        assert_refused(name, || read_npz(&path, NpzOptions::default()), expected, NPZ);
    };
    let y = npy("<i4", &[1], &[0; 4]);
    for (name, dims, data, claimed, expected) in [
        ("all it can", [usize::MAX; 3], &zeros[..100], None, "array x: truncated: 100 bytes of data where the header"),
        ("a terabyte", [1 << 20; 3], &zeros[..100], None, "array x: truncated: 100 bytes"),
        ("little, and holds much", [1, 1, 1], &zeros, None, "array x: 4194304 bytes of data, more than the 4"),
        ("nothing", [1, 0, 1], &[], None, "array x: dimensions [1, 0, 1]: expected at least 1"),
        // The directory agrees, and both lie.
        (
            "a gigabyte, as the directory",
            [1, 1 << 28, 1],
            &zeros[..100],
            Some(4 << 28),
            "array x: sequences that take 3",
        ),
        ("much, as the directory", [1, 1 << 26, 1], &zeros[..100], Some(4 << 26), "array x: corrupt: "),
        ("much, as the directory, and holds much", [1, 1 << 26, 1], &zeros, Some(4 << 26), "array x: corrupt: "),
        ("little, as the directory, and holds much", [1, 1, 1], &zeros, Some(4), "array x: corrupt: "),
    ] {
        let x = npy("<f4", &dims, data);
        let claimed = claimed.map(|data_len| data_len + (x.len() - data.len()) as u32);
        let most = if name.starts_with("a gigabyte") { 1 << 30 } else { 4 << 30 };
        let path = bench.file("trials.npz", &zip(&[Packed("x.npy", &x, claimed), Packed("y.npy", &y, None)]));
        let options = NpzOptions { most_bytes: most, ..NpzOptions::default() };
        let name = format!("an array that promises {name}");
        assert_refused(&name, || read_npz(&path, options), expected, NPZ);
    }

    // A small file that unpacks to much, all of it true.
    let x = npy("<f4", &[1, STEPS, 1], &zeros);
    let files = [Packed("x.npy", &x, None), Packed("y.npy", &y, None)];
    let path = bench.file("bomb.npz", &zip(&files));
    assert!(fs::metadata(&path).unwrap().len() < 64 << 10);
    let (set, bytes) = peak(|| read_npz(&path, NpzOptions::default()).unwrap());
    // Inputs, labels and weights, once each.
    assert!(set.steps() == STEPS && bytes <= 12 * STEPS + NPZ, "{bytes} bytes");
    drop(set);
    let options = NpzOptions { most_bytes: 12 * STEPS as u64 - 1, ..NpzOptions::default() };
    let expected = "array x: sequences that take 12582912 bytes in memory: expected at most 12582911";
    assert_refused("a bomb", || read_npz(&path, options), expected, NPZ);
    let whole = fs::read(&path).unwrap();
    for len in (0..whole.len()).step_by(whole.len() / 20 + 1) {
        let path = bench.file("cut.npz", &whole[..len]);
        assert_refused(&format!("{len} bytes"), || read_npz(&path, NpzOptions::default()), "truncated", NPZ);
    }

    // Labels and weights by dimensions that only x has, or that nothing has.
    let lie = npy("<f4", &[1, 1 << 26, 1], &[]);
    let claimed = Some(lie.len() as u32 + (4 << 26));
    let (labels, ones) = (npy("<i4", &[1], &[0; 4]), npy("<f4", &[1, 1 << 26], &[]));
    let ones_claimed = Some(ones.len() as u32 + (4 << 26));
    let files = [Packed("x.npy", &lie, claimed), Packed("y.npy", &labels, None), Packed("m.npy", &ones, ones_claimed)];
    refuse("labels of nothing", &files[..2], "array x: corrupt: ");
    refuse("weights of nothing", &files, "array m: corrupt: ");

    // What is no number, or is too long for a header.
    let long = [b"\x93NUMPY\x02\0", &u32::MAX.to_le_bytes()[..], &zeros].concat();
    let nested = npy("<f4", &[], &[]);
    let nested = [&nested[..10], &b"(".repeat(nested.len() - 10)].concat();
    for (name, x) in [("a long header", &long), ("brackets", &nested), ("zeros", &zeros), ("no bytes", &vec![])] {
        refuse(name, &[Packed("x.npy", x, None), Packed("y.npy", &y, None)], "array x: ");
    }
    // Files without end, with long names.
    let name = "n".repeat(60_000);
    let many: Vec<Packed<'_>> = (0..300).map(|_| Packed(&name, &[], None)).collect();
    refuse("long names", &many, "no array x and y");
    let many: Vec<Packed<'_>> = (0..60_000).map(|_| Packed("a.npy", &[], None)).collect();
    refuse(
        "many names",
        &many,
        "no array x and y: expected x and y, and m if there are weights, beside a, a, a, a, a, a, …",
    );
    for path in bench.special_files() {
        assert_refused(&path.display().to_string(), || read_npz(&path, NpzOptions::default()), "", NPZ);
    }
}

/// A file of this header and so many bytes of data, with the length of the header that it claims to have.
fn safetensors(claimed: u64, header: &str, data: usize) -> Vec<u8> {
    [&claimed.to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
}

/// A tensor in a header.
fn tensor(name: &str, shape: &str, offsets: [usize; 2]) -> String {
    format!(r#""{name}":{{"dtype":"F32","shape":[{shape}],"data_offsets":{offsets:?}}}"#)
}

#[test]
fn a_checkpoint_gets_the_memory_that_it_can_fill() {
    let bench = Bench::new();
    const LONGEST: usize = 1 << 20;
    let load = |name: &str, bytes: &[u8], expected: &str, most: usize| {
        let path = bench.file("bad.safetensors", bytes);
        assert_refused(name, || checkpoint::load::<f32>(&path, &Isa::best().into()), expected, most);
    };
    // As many items as a header may have bytes for.
    let fill = |item: &dyn Fn(usize) -> String| {
        let mut items = String::new();
        for i in 0.. {
            let item = item(i);
            if items.len() + item.len() > LONGEST - 2000 {
                return items;
            }
            items += if i == 0 { "" } else { "," };
            items += &item;
        }
        items
    };
    let header = |header: &str| safetensors(header.len() as u64, header, 0);
    let small = 16 << 10;

    for claimed in [u64::MAX, u64::MAX - 7, 1 << 63, 1 << 40, LONGEST as u64 + 1] {
        load("a long header", &safetensors(claimed, "{}", 100), "expected at most 1048576", small);
    }
    for claimed in [3, LONGEST as u64] {
        load("a header that is not there", &safetensors(claimed, "{}", 0), "more than there are", small);
    }
    for claimed in [0, 1, 2] {
        load("a short header", &safetensors(claimed, "{}", 100), "not a whole safetensors file", small);
    }
    for (first, second) in [([0, 16], [8, 24]), ([0, 16], [24, 40]), ([0, 16], [0, 16]), ([16, 0], [16, 32])] {
        let text = format!("{{{},{}}}", tensor("layers.0.W", "2,2", first), tensor("layers.0.b", "2,2", second));
        load("offsets", &safetensors(text.len() as u64, &text, 40), "invalid", small);
    }
    let huge = usize::MAX;
    for shape in [format!("{huge},{huge}"), format!("{huge},1"), format!("0,{huge},{huge}"), format!("{huge},{huge},0")]
    {
        let text = format!("{{{}}}", tensor("layers.0.W", &shape, [0, 0]));
        load("a shape that overflows", &header(&text), "", small);
    }
    let text = format!("{{{}}}", tensor("layers.0.W", "1000000,1000000", [0, 4_000_000_000_000]));
    load("a tensor of terabytes", &header(&text), "4000000000000 of tensors", small);
    let text = format!("{{{},{}}}", tensor("layers.0.W", "0,1000000000000", [0, 0]), tensor("layers.0.b", "0", [0, 0]));
    load("inputs of no unit", &header(&text), "", small);

    let tiny = fill(&|i| tensor(&i.to_string(), "", [4 * i, 4 * i + 4]));
    let count = tiny.matches("dtype").count();
    load(
        "tiny tensors",
        &safetensors(tiny.len() as u64 + 2, &format!("{{{tiny}}}"), 4 * count),
        "expected a name",
        HEADER,
    );
    let many: String = (0..100_000).map(|i| tensor(&i.to_string(), "1", [4 * i, 4 * i + 4]) + ",").collect();
    let many = format!("{{{}}}", many.trim_end_matches(','));
    load("100,000 tensors", &safetensors(many.len() as u64, &many, 400_000), "expected at most 1048576", small);
    let empty = fill(&|i| tensor(&format!("layers.{i}.W"), "0", [0, 0]));
    load("layers of nothing", &header(&format!("{{{empty}}}")), "expected two dimensions", HEADER);
    let shape = fill(&|_| "1".to_owned());
    let text = format!("{{{}}}", tensor("layers.0.W", &shape, [0, 4]));
    load("a shape of dimensions", &safetensors(text.len() as u64, &text, 4), "expected two dimensions", HEADER);
    let shape = vec!["1"; 5000].join(",");
    let text = format!("{{{}}}", tensor("layers.0.W", &shape, [0, 4]));
    load("5000 dimensions", &safetensors(text.len() as u64, &text, 4), "expected two dimensions", HEADER);
    let metadata = fill(&|i| format!(r#""{i}":"""#));
    load("metadata", &header(&format!(r#"{{"__metadata__":{{{metadata}}}}}"#)), "no tensors", HEADER);
    let net = format!("{},{}", tensor("layers.0.W", "1,1", [0, 4]), tensor("layers.0.b", "1", [4, 8]));
    let keys =
        ["dims", "nonlinearities", "step", "generator"].map(|key| [key.to_owned(), format!("interneuron.{key}")]);
    for key in keys.as_flattened() {
        let value = "a,".repeat(LONGEST / 2 - 1000);
        let text = format!(r#"{{"__metadata__":{{"{key}":"{value}"}},{net}}}"#);
        if text.len() < LONGEST {
            load("a value", &safetensors(text.len() as u64, &text, 8), &format!("metadata {key} is \"a,a,"), HEADER);
        }
    }
    let name = "\\u0001".repeat(LONGEST / 6 - 1000);
    let text = format!("{{{}}}", tensor(&name, "1", [0, 4]));
    load("a name", &safetensors(text.len() as u64, &text, 4), "expected a name", HEADER);
    // Each of these characters takes six to show.
    let name = format!("layers.0.{}", "\\u009f".repeat(LONGEST / 6 - 1000));
    let text = format!("{{{net},{}}}", tensor(&name, "1", [8, 12]));
    load("a name in a layer", &safetensors(text.len() as u64, &text, 12), "no tensor of such a layer", HEADER);
    let dtype = format!(r#"{{"layers.0.W":{{"dtype":"{}"}}}}"#, "F".repeat(LONGEST - 1000));
    load("an element type", &header(&dtype), "unknown variant", HEADER);
    for open in ["[", "{\"a\":", "{\"__metadata__\":["] {
        let text = open.repeat((LONGEST - 100) / open.len());
        load("nesting", &header(&text), "not a whole safetensors file", HEADER);
    }
    let text = " ".repeat(LONGEST);
    load("no header", &header(&text), "not a whole safetensors file", HEADER);
    for path in bench.special_files() {
        let load = || checkpoint::load::<f32>(&path, &Isa::best().into());
        assert_refused(&path.display().to_string(), load, "", small);
    }
    // Terabytes of nothing.
    let path = bench.path("sparse.safetensors");
    if File::create(&path).unwrap().set_len(1 << 42).is_ok() {
        assert_refused("a sparse file", || checkpoint::load::<f32>(&path, &Isa::best().into()), "", small);
    }
}

#[test]
fn a_good_checkpoint_takes_hardly_more_than_itself() {
    let bench = Bench::new();
    let path = bench.path("good.safetensors");
    let architectures = [
        Architecture::dann(&[300, 200, 10], &[20, 1]),
        Architecture::column_ei(&[300, 200, 10], 3, 0.5),
        Architecture::batch_norm(&[300, 200, 10]),
    ];
    for architecture in architectures {
        let mut net: Network<f32> = architecture.unwrap().build(&Context::new().unwrap()).unwrap();
        let x = vec![0.5; 600];
        let x = MatRef::new(&x, 2, 300).unwrap();
        net.train_step(x, &[0, 1], &Update { momentum: PerRole::all(0.5), ..Update::sgd(0.01) }).unwrap();
        let run = Run::new(1);
        let (_, bytes) = peak(|| checkpoint::save(&path, &net, &run).unwrap());
        assert!(bytes <= 64 << 10, "{bytes} bytes to save");
        let len = fs::metadata(&path).unwrap().len() as usize;
        let ((loaded, _), bytes) = peak(|| checkpoint::load::<f32>(&path, &Isa::best().into()).unwrap());
        assert!(loaded.params().eq(net.params()) && loaded.state().layers().eq(net.state().layers()));
        assert!(bytes <= len + (64 << 10), "{bytes} bytes to load {len}");
        let whole = fs::read(&path).unwrap();
        for cut in (0..len).step_by(len / 50).chain(0..16) {
            let path = bench.file("cut.safetensors", &whole[..cut]);
            let load = || checkpoint::load::<f32>(&path, &Isa::best().into());
            assert_refused(&format!("{cut} bytes"), load, "not a whole safetensors file", 64 << 10);
        }
    }
}

#[test]
fn a_configuration_cannot_nest_or_grow_without_bounds() {
    let bench = Bench::new();
    const LONGEST: usize = 1 << 16;
    let read = |name: &str, text: &str, expected: &str| {
        let path = bench.file("bad.toml", text.as_bytes());
        let (result, bytes) = peak(|| Config::new(Preset::Small, Source::read(&path)?, &[]));
        let error = result.expect_err(name);
        assert!(error.contains(expected), "{name}: {error:?} should contain {expected:?}");
        assert!(error.len() < 2000 && error.lines().count() == 1, "{name}: an error of {} bytes", error.len());
        assert!(bytes <= if text.len() > LONGEST { 64 << 10 } else { CONFIG }, "{name}: {bytes} bytes");
    };
    let fill = |item: &str| item.repeat((LONGEST - 100) / item.len());
    for long in ["hidden = [1]\n", "a=[", "[a]\n", "\0", "# nothing\n"] {
        read("a long file", &long.repeat(1 << 18), "expected at most 65536");
    }
    for open in ["[", "{a=", "[{a=", "a={", "[["] {
        read("nesting", &format!("a={}", open.repeat(100_000)), "expected at most 65536");
        read("nesting", &format!("a={}", fill(open)), "line 1");
    }
    read("lists", &format!("a={}{}", "[".repeat(70), "]".repeat(70)), "nested deeper");
    read("dots", &format!("{}a = 1", "a.".repeat(30_000)), "line 1");
    read("a table's dots", &format!("[{}a]", "a.".repeat(30_000)), "line 1");
    read("keys", &(0..6000).map(|i| format!("k{i} = 1\n")).collect::<String>(), "unknown field k0");
    read("tables", &fill("[[a]]\n"), "unknown field a");
    read("values", &format!("hidden = [{}]", fill("1,")), "expected whole numbers, 1 to 100 of them");
    read("tables within", &format!("hidden = [{}]", fill("{},")), "expected whole numbers");
    read("errors", &fill("=\n"), "line 1");
    read("brackets", &fill("]"), "line 1");
    read("a name", &format!("{} = 1", fill("a")), "unknown field aaa");
    read("a network's name", &format!("rates.{}.low = 1", fill("a")), "unknown field rates.aaa");
    read("a rate's name", &format!("rates.mlp.{} = 1", fill("a")), "unknown field rates.mlp.aaa");
    read("a text", &format!("hidden = \"{}\"", fill("a")), "hidden is \"aaa");
    // What the parser itself lets through: inline tables, each behind as many dots as there may be.
    for parts in [3, 10, 79] {
        let key = vec!["a"; parts].join(".");
        for tables in [1, 10, 78] {
            let text = format!("[{key}]\n{}{key} = 1{}", format!("{key} = {{").repeat(tables), "}".repeat(tables));
            read("tables in tables", &text, "a: nested deeper than any field");
        }
    }
    for path in bench.special_files() {
        assert!(Source::read(&path).is_err(), "{}", path.display());
    }
}

#[test]
fn a_configuration_of_large_numbers_takes_no_more_than_another() {
    let bench = Bench::new();
    let numbers = ["9223372036854775807", "-9223372036854775808", "1000000000000", "1e300", "0x7fffffffffffffff"];
    for field in FIELDS {
        for number in numbers {
            for text in [format!("{} = {number}\n", field.name), format!("{} = [{number}]\n", field.name)] {
                let path = bench.file("large.toml", text.as_bytes());
                let (result, bytes) = peak(|| Config::new(Preset::Small, Source::read(&path)?, &[]));
                assert!(bytes <= 256 << 10, "{text}: {bytes} bytes");
                match result {
                    Ok(_) => assert!(["seed", "natural_f_lambda"].contains(&field.name), "{text}"),
                    Err(error) => assert!(error.contains(field.name), "{text}: {error}"),
                }
            }
        }
    }
}
