//! NumPy archives (`.npz`) of labelled sequences.
//!
//! An archive is a zip file of arrays, plain or deflated. Nothing that it says of sizes is believed. Each array is
//! unpacked to its end, and its checksum compared, before there is memory for it, and then once more: what is allocated is
//! at most what it truly holds, in the form in which it is kept, and some buffers.

use super::content::describe;
use super::npy::{Failure, Header};
use super::open::open;
use super::sequence_set::{LABEL, MOST_CLASSES, lengths};
use super::{SequenceSet, SequenceTargets};
use flate2::bufread::DeflateDecoder;
use interneuron::Error;
use rawzip::{CompressionMethod, ErrorKind, FileReader, ZipArchive, ZipArchiveEntryWayfinder};
use std::io::{self, BufReader, Read};
use std::path::Path;

/// Which index of the arrays comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Axes {
    /// `x [N, T, d]`: that of the sequence.
    #[default]
    ExamplesFirst,
    /// `x [T, N, d]`: that of the step.
    StepsFirst,
}

/// How a NumPy archive is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NpzOptions {
    /// Which index of all its arrays comes first.
    pub axes: Axes,
    /// The most bytes that its sequences may take in memory, whatever it unpacks to: 4 bytes for each input, weight, label
    /// and value.
    pub most_bytes: u64,
}

impl Default for NpzOptions {
    /// `[N, T, d]`, and at most 4 GiB.
    fn default() -> Self {
        Self { axes: Axes::ExamplesFirst, most_bytes: 4 << 30 }
    }
}

/// Reads labelled sequences from a NumPy archive, as `np.savez` and `np.savez_compressed` write it, with the arrays
///
/// ```text
/// x   inputs    [N, T, d]
/// y   classes   [N, T], or [N], one for all steps of a sequence: integers
///     or values [N, T, K]: floats or integers
/// m   weights   [N, T], ≥ 0; if there is none, 1 at all steps, or at the last step where y is [N]
/// ```
///
/// and with steps first (`[T, N, …]`) if [`NpzOptions::axes`] says so. Elements are floats of 32 or 64 bits, integers or
/// booleans, in any byte order, rows or columns first; they become `f32`, or `u32` where they are classes. Other arrays are
/// passed over. Sequences of unequal length are padded: each ends with its last step of `m > 0`, and whatever `x` holds
/// behind is not looked at, nor `y` where `m` is 0.
///
/// ```python
/// np.savez_compressed("trials.npz", x=x, y=y, m=m)
/// ```
///
/// Whatever the file says, what is allocated is at most what it holds, as it is kept, up to [`NpzOptions::most_bytes`],
/// 8 bytes for each sequence, and 1 MiB.
///
/// # Errors
/// [`Error::File`], naming the file and the array, if the file cannot be read, is truncated, corrupt, encrypted or of another
/// kind (which the error names, as far as it is known); if there is no `x` or `y`, or an array twice; if an array has
/// other dimensions or types than those above, or is larger than allowed; if a weight is negative or not finite, a sequence
/// has no weight above 0, a class is not from 0 to 1,048,575, or an input or value is not finite in 32 bits, where it
/// counts: then with the index and the value.
pub fn read_npz(path: impl AsRef<Path>, options: NpzOptions) -> Result<SequenceSet, Error> {
    let archive = Archive::open(path.as_ref())?;
    let [x, y, m] = [archive.array(X)?, archive.array(Y)?, archive.array(M)?];
    let (Some(x), Some(y)) = (x, y) else { return Err(archive.missing()) };
    let dims = Dims::of(&x, &y, options)?;
    if let Some(m) = &m {
        m.same_dims(&dims.in_file(None), &x)?;
    }
    let rows = dims.sequences * dims.steps;

    // Weights first, because they say what else counts. Where they are not given, they follow the data of x: nothing is
    // allocated by dimensions that no data stand for.
    let weights = match &m {
        Some(m) => Some(m.keep(rows, &dims, |row, _, value| match value as f32 {
            weight if weight.is_finite() && weight >= 0.0 => Ok((row, weight)),
            _ => Err("a finite number ≥ 0 that 32 bits can hold"),
        })?),
        None => None,
    };
    let ends =
        match (&weights, &m) {
            (Some(weights), Some(m)) => Some(lengths(weights, dims.steps).map_err(|n| {
                m.fail(format!("sequence {n} has no weight above 0: expected at least one step that has"))
            })?),
            _ => None,
        };
    let inputs = x.keep(rows * dims.inputs, &dims, |row, i, value| {
        let counts = ends.as_ref().is_none_or(|ends| row % dims.steps < ends[row / dims.steps]);
        Ok((row * dims.inputs + i, if counts { finite(value)? } else { 0.0 }))
    })?;
    let whole = y.header.dims.len() == 1;
    let weights = weights.unwrap_or_else(|| match whole {
        true => (0..rows).map(|row| if (row + 1) % dims.steps == 0 { 1.0 } else { 0.0 }).collect(),
        false => vec![1.0; rows],
    });
    let ends = ends.unwrap_or_else(|| vec![dims.steps; dims.sequences]);
    let targets = match dims.outputs {
        Some(outputs) => SequenceTargets::Values {
            y: y.keep(rows * outputs, &dims, |row, k, value| {
                Ok((row * outputs + k, if weights[row] > 0.0 { finite(value)? } else { 0.0 }))
            })?,
            outputs,
        },
        None if whole => {
            let labels = y.keep(dims.sequences, &dims, |n, _, value| Ok((n, class(value)?)))?;
            let row = |row: usize| if weights[row] > 0.0 { labels[row / dims.steps] } else { 0 };
            SequenceTargets::Labels((0..rows).map(row).collect())
        }
        None => SequenceTargets::Labels(
            y.keep(rows, &dims, |row, _, value| Ok((row, if weights[row] > 0.0 { class(value)? } else { 0 })))?,
        ),
    };
    Ok(SequenceSet::of(inputs, [dims.sequences, dims.steps, dims.inputs], targets, weights, ends))
}

fn finite(value: f64) -> Result<f32, &'static str> {
    Some(value as f32).filter(|value| value.is_finite()).ok_or("a finite number that 32 bits can hold")
}

fn class(value: f64) -> Result<u32, &'static str> {
    let label = value as u32;
    Some(label).filter(|&label| f64::from(label) == value && label < MOST_CLASSES).ok_or(LABEL)
}

/// The arrays, by their place in [`NAMES`].
const X: usize = 0;
const Y: usize = 1;
const M: usize = 2;
const NAMES: [&str; 3] = ["x", "y", "m"];
/// What their names end with in the archive.
const SUFFIX: &str = ".npy";
/// The most names of other arrays in an error.
const MOST_NAMES: usize = 6;
/// How many of a file's first bytes are looked at to tell what it is.
const BEGIN: u64 = 1024;

/// An archive that has been looked through.
struct Archive<'p> {
    path: &'p Path,
    zip: ZipArchive<FileReader>,
    entries: [Option<Entry>; 3],
    /// What else there is: some names.
    others: Vec<String>,
}

/// Where an array is.
#[derive(Clone, Copy)]
struct Entry {
    place: ZipArchiveEntryWayfinder,
    method: CompressionMethod,
    encrypted: bool,
}

impl<'p> Archive<'p> {
    fn open(path: &'p Path) -> Result<Self, Error> {
        let (file, _) = open(path)?;
        let mut begin = vec![];
        (&file).take(BEGIN).read_to_end(&mut begin).map_err(|error| Error::file(path, error))?;
        if !begin.starts_with(b"PK") {
            let expected = "expected a NumPy archive (.npz)";
            return Err(Error::file(
                path,
                match describe(&begin) {
                    Some(kind) => format!("this is {kind}: {expected}"),
                    None if begin.is_empty() => format!("truncated: an empty file: {expected}"),
                    None => format!("this is no zip archive: {expected}"),
                },
            ));
        }
        let mut buffer = vec![0; rawzip::MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
        let corrupt = |error| Error::file(path, zip_error(error));
        let zip = ZipArchive::from_file(file, &mut buffer).map_err(corrupt)?;
        let (mut entries, mut others) = ([None; 3], vec![]);
        let mut all = zip.entries(&mut buffer);
        while let Some(entry) = all.next_entry().map_err(corrupt)? {
            let file_path = entry.file_path();
            let name = file_path.as_ref();
            let array = name.strip_suffix(SUFFIX.as_bytes());
            match NAMES.iter().position(|own| array == Some(own.as_bytes())) {
                Some(index) => {
                    let found = Entry {
                        place: entry.wayfinder(),
                        method: entry.compression_method(),
                        encrypted: entry.flags().is_encrypted(),
                    };
                    if entries[index].replace(found).is_some() {
                        return Err(Error::file(path, format!("array {}: there are two", NAMES[index])));
                    }
                }
                None if others.len() <= MOST_NAMES => {
                    others.push(String::from_utf8_lossy(array.unwrap_or(name)).chars().take(40).collect());
                }
                None => {}
            }
        }
        Ok(Self { path, zip, entries, others })
    }

    /// One of the arrays, if there is one.
    fn array(&self, index: usize) -> Result<Option<Array<'_>>, Error> {
        self.entries[index].map(|entry| Array::open(self, NAMES[index], entry)).transpose()
    }

    /// The error of an archive without `x` or `y`.
    fn missing(&self) -> Error {
        let gone: Vec<&str> = [X, Y].into_iter().filter(|&i| self.entries[i].is_none()).map(|i| NAMES[i]).collect();
        let mut others = self.others.clone();
        if others.len() > MOST_NAMES {
            others[MOST_NAMES] = "…".to_owned();
        }
        let others = if others.is_empty() { String::new() } else { format!(", beside {}", others.join(", ")) };
        Error::file(
            self.path,
            format!("no array {}: expected x and y, and m if there are weights{others}", gone.join(" and ")),
        )
    }
}

/// What is wrong with an archive.
fn zip_error(error: rawzip::Error) -> String {
    match error.kind() {
        ErrorKind::MissingEndOfCentralDirectory => {
            "truncated: the directory of a zip archive is at its end, and there is none".to_owned()
        }
        ErrorKind::Eof => "truncated: the zip archive ends before what it has should".to_owned(),
        ErrorKind::IO(error) => io_error(error),
        _ => format!("corrupt zip archive: {error}"),
    }
}

fn io_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "truncated: it ends before its data does".to_owned(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => format!("corrupt: {error}"),
        _ => error.to_string(),
    }
}

/// An array whose header was read.
struct Array<'a> {
    archive: &'a Archive<'a>,
    name: &'static str,
    entry: Entry,
    header: Header,
}

impl<'a> Array<'a> {
    fn open(archive: &'a Archive<'a>, name: &'static str, entry: Entry) -> Result<Self, Error> {
        let fail = |reason: String| Error::file(archive.path, format!("array {name}: {reason}"));
        if entry.encrypted {
            return Err(fail("encrypted: expected plain data".to_owned()));
        }
        if ![CompressionMethod::STORE, CompressionMethod::DEFLATE].contains(&entry.method) {
            return Err(fail(format!("compressed by {}: expected DEFLATE, or not at all", entry.method)));
        }
        let mut reader = unpack(archive, entry).map_err(fail)?;
        let header = Header::read(&mut *reader).map_err(|failure| match failure {
            Failure::Read(error) => fail(io_error(&error)),
            Failure::Wrong(reason) => fail(reason),
        })?;
        let (dims, promised) = (&header.dims, header.promised());
        // What the directory says. That there is as much is seen while it is read.
        let held = entry.place.uncompressed_size_hint().saturating_sub(header.len);
        if held < promised {
            return Err(fail(format!("truncated: {held} bytes of data where the header promises {dims:?}")));
        }
        if held > promised {
            return Err(fail(format!("{held} bytes of data, more than the {promised} that the header promises")));
        }
        if dims.contains(&0) {
            return Err(fail(format!("dimensions {dims:?}: expected at least 1 each")));
        }
        Ok(Self { archive, name, entry, header })
    }

    fn fail(&self, reason: impl std::fmt::Display) -> Error {
        Error::file(self.archive.path, format!("array {}: {reason}", self.name))
    }

    /// Checks the dimensions against those that they should be because of `x`.
    fn same_dims(&self, expected: &[usize], x: &Array<'_>) -> Result<(), Error> {
        if self.header.dims != expected {
            let (dims, x) = (&self.header.dims, &x.header.dims);
            return Err(self.fail(format!("dimensions {dims:?}: expected {expected:?}, as x has {x:?}")));
        }
        Ok(())
    }

    /// Reads to the end, so that the checksum is compared, and calls `look` with the row of each element (`n · T + t`, or
    /// `n` of one dimension), its place in the row, and its value. What `look` returns instead of a value is expected there.
    fn each(
        &self,
        dims: &Dims,
        mut look: impl FnMut(usize, usize, f64) -> Result<(), &'static str>,
    ) -> Result<(), Error> {
        let mut reader = unpack(self.archive, self.entry).map_err(|reason| self.fail(reason))?;
        let describe = |error: &io::Error| self.fail(io_error(error));
        io::copy(&mut (&mut reader).take(self.header.len), &mut io::sink()).map_err(|error| describe(&error))?;
        let (kind, order, promised) = (self.header.kind, self.header.order, self.header.promised());
        let mut walk = Walk::new(&self.header);
        let held = kind.each(order, &mut *reader, promised, describe, |_, value| {
            let (row, column) = dims.place(walk.at());
            look(row, column, value).map_err(|expected| {
                self.fail(format!("{}{:?} is {value}: expected {expected}", self.name, walk.at()))
            })?;
            walk.advance();
            Ok(())
        })?;
        // The end itself, which what unpacks to more does not have here.
        let more = reader.read(&mut [0]).map_err(|error| describe(&error))?;
        if held < promised || more > 0 {
            return Err(self.fail("corrupt: it unpacks to another length than the archive says"));
        }
        Ok(())
    }

    /// The elements as they are kept, `len` in all, each where `look` says from its row, place in the row, and value.
    fn keep<P: Copy + Default>(
        &self,
        len: usize,
        dims: &Dims,
        look: impl Fn(usize, usize, f64) -> Result<(usize, P), &'static str>,
    ) -> Result<Vec<P>, Error> {
        self.each(dims, |row, column, value| look(row, column, value).map(|_| ()))?;
        let mut kept = Vec::new();
        let bytes = len.saturating_mul(size_of::<P>());
        kept.try_reserve_exact(len).map_err(|_| self.fail(format!("{bytes} bytes do not fit in memory")))?;
        kept.resize(len, P::default());
        self.each(dims, |row, column, value| {
            let (index, value) = look(row, column, value)?;
            kept[index] = value;
            Ok(())
        })?;
        Ok(kept)
    }
}

/// The bytes of an array, header included.
fn unpack<'a>(archive: &'a Archive<'a>, entry: Entry) -> Result<Box<dyn Read + 'a>, String> {
    let found = archive.zip.get_entry(entry.place).map_err(zip_error)?;
    Ok(if entry.method == CompressionMethod::DEFLATE {
        Box::new(found.verifying_reader(DeflateDecoder::new(BufReader::new(found.reader()))))
    } else {
        Box::new(found.verifying_reader(found.reader()))
    })
}

/// The dimensions of all arrays.
struct Dims {
    axes: Axes,
    sequences: usize,
    steps: usize,
    inputs: usize,
    /// Of values.
    outputs: Option<usize>,
}

impl Dims {
    /// Takes them from `x`, and compares those of `y`.
    fn of(x: &Array<'_>, y: &Array<'_>, options: NpzOptions) -> Result<Self, Error> {
        let axes = options.axes;
        let words = match axes {
            Axes::ExamplesFirst => "[sequences, steps",
            Axes::StepsFirst => "[steps, sequences",
        };
        let [first, second, inputs] = x.header.dims[..] else {
            let dims = &x.header.dims;
            return Err(x.fail(format!("dimensions {dims:?}: expected three, {words}, inputs]")));
        };
        let (sequences, steps) = if axes == Axes::ExamplesFirst { (first, second) } else { (second, first) };
        let mut dims = Self { axes, sequences, steps, inputs, outputs: None };
        match (&y.header.dims[..], y.header.kind.is_float()) {
            ([_], false) => y.same_dims(&[sequences], x)?,
            ([_, _], false) => y.same_dims(&dims.in_file(None), x)?,
            (&[.., outputs], _) if y.header.dims.len() == 3 => {
                dims.outputs = Some(outputs);
                y.same_dims(&dims.in_file(dims.outputs), x)?;
            }
            (dims, _) => {
                let kind = y.header.kind.name();
                return Err(y.fail(format!(
                    "{kind} of dimensions {dims:?}: expected integers, the classes, of {words}] or [sequences], or \
                     values of {words}, outputs]"
                )));
            }
        }
        // Inputs, a weight, and a label or values.
        let of_row = (inputs as u64).saturating_add(1).saturating_add(dims.outputs.unwrap_or(1) as u64);
        let bytes = [sequences as u64, steps as u64, 4].into_iter().fold(of_row, u64::saturating_mul);
        let most = options.most_bytes.min(isize::MAX as u64);
        if bytes > most {
            return Err(x.fail(format!("sequences that take {bytes} bytes in memory: expected at most {most}")));
        }
        Ok(dims)
    }

    /// Those of an array with as many columns.
    fn in_file(&self, columns: Option<usize>) -> Vec<usize> {
        let (sequences, steps) = (self.sequences, self.steps);
        let rows = if self.axes == Axes::ExamplesFirst { [sequences, steps] } else { [steps, sequences] };
        rows.into_iter().chain(columns).collect()
    }

    /// The row and the column of an element.
    fn place(&self, at: &[usize]) -> (usize, usize) {
        let (n, t) = match (at, self.axes) {
            (&[n], _) => return (n, 0),
            (&[n, t, ..], Axes::ExamplesFirst) | (&[t, n, ..], Axes::StepsFirst) => (n, t),
            ([], _) => (0, 0),
        };
        (n * self.steps + t, at.get(2).copied().unwrap_or(0))
    }
}

/// The indices of elements, in the order in which they lie.
struct Walk<'h> {
    dims: &'h [usize],
    fortran: bool,
    at: [usize; 3],
}

impl<'h> Walk<'h> {
    /// Of an array with at most three dimensions.
    fn new(header: &'h Header) -> Self {
        Self { dims: &header.dims, fortran: header.fortran, at: [0; 3] }
    }

    fn at(&self) -> &[usize] {
        &self.at[..self.dims.len()]
    }

    fn advance(&mut self) {
        let rank = self.dims.len();
        for k in 0..rank {
            let axis = if self.fortran { k } else { rank - 1 - k };
            self.at[axis] += 1;
            if self.at[axis] < self.dims[axis] {
                return;
            }
            self.at[axis] = 0;
        }
    }
}
