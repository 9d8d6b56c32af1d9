//! IDX files, plain or compressed with gzip.
//!
//! A file begins with a magic number, big-endian as all its numbers: two zero bytes, the type of its elements (8 for
//! bytes) and the number of dimensions. The dimensions follow, then the elements.
//!
//! A header is not believed. Every file is read, and unpacked, to its end before there is memory for what it holds, and
//! then once more: whatever it says, what is allocated is at most the elements that it truly holds (that it unpacks
//! to), in the form in which they are kept, and 256 KiB. What is no regular file is refused.

use super::content::describe;
use super::elements::{ByteOrder, Kind};
use super::gzip::{self, Gunzip};
use super::{Images, Pixels};
use crate::open::open;
use interneuron::Error;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

/// The longest header: as many dimensions as a byte can count.
const LONGEST: usize = 4 + 4 * 255;
/// The codes of types in a header.
const CODES: [(u8, Kind); 6] =
    [(0x08, Kind::U8), (0x09, Kind::I8), (0x0B, Kind::I16), (0x0C, Kind::I32), (0x0D, Kind::F32), (0x0E, Kind::F64)];

/// Reads an IDX file of images, plain or compressed with gzip, whatever its name.
///
/// The first dimension counts the images. Two more are their height and width; if there is one, the height is 1, and of
/// more (colours, for instance) the last is the width. In other than three dimensions those of one are passed over.
///
/// Unsigned bytes are grey levels, and so are whole numbers of another type if all are 0 to 255. Floats are taken as
/// they are, unless all are whole numbers from 0 to 255 and some are above 1: then they are grey levels, too.
///
/// Whatever the file says, what is allocated is at most the pixels that it holds, as they are kept, and 256 KiB.
///
/// # Errors
/// [`Error::File`] if the file cannot be read, is truncated or too long, corrupt, or of another kind (which the error
/// names, as far as it is known), or if it has numbers that are no pixels: whole ones beyond 0 to 255, or floats
/// that are not finite as `f32`.
pub fn read_images(path: impl AsRef<Path>) -> Result<Images, Error> {
    let source = Source::open(path.as_ref(), Purpose::Images)?;
    let [height, width] = source.image()?;
    let (mut whole, mut largest) = (true, 0.0_f64);
    let float = source.kind.is_float();
    if source.kind == Kind::U8 {
        source.count()?;
    } else {
        source.scan(|index, value| {
            whole &= grey(value).is_some();
            largest = largest.max(value);
            match () {
                () if float && !(value as f32).is_finite() => {
                    Err(format!("pixel {index} is {value}: expected a finite number that 32 bits can hold"))
                }
                () if !float && !whole => {
                    Err(format!("pixel {index} is {value}: expected a grey level, a whole number from 0 to 255"))
                }
                () => Ok(()),
            }
        })?;
    }
    let len = source.len()?;
    let pixels = if !float || (whole && largest > 1.0) {
        Pixels::Bytes(source.keep(len, 1, grey)?)
    } else {
        Pixels::Floats(source.keep(len, 1, |value| Some(value as f32))?)
    };
    Ok(Images { pixels, scaler: None, count: source.dims[0], height, width })
}

/// Reads an IDX file of labels, plain or compressed with gzip, whatever its name.
///
/// They are whole numbers from 0 to 255 of any type. If there are several columns, the first counts, as in QMNIST;
/// further dimensions of one are passed over.
///
/// # Errors
/// As [`read_images`]; also if labels are one-hot: a row each, with a 1 in the column of the class, and zeros else.
pub fn read_labels(path: impl AsRef<Path>) -> Result<Vec<u8>, Error> {
    let source = Source::open(path.as_ref(), Purpose::Labels)?;
    let columns = source.columns()? as u64;
    // Whether all rows so far have a single 1, and what this row has.
    let (mut one_hot, mut ones, mut others) = (columns > 1, 0_u64, 0_u64);
    source.scan(|index, value| {
        let (row, column) = (index / columns, index % columns);
        if column == 0 && grey(value).is_none() {
            return Err(format!("label {row} is {value}: expected a whole number from 0 to 255"));
        }
        ones += u64::from(value == 1.0);
        others += u64::from(value != 1.0 && value != 0.0);
        if column + 1 == columns {
            one_hot &= (ones, others) == (1, 0);
            (ones, others) = (0, 0);
        }
        Ok(())
    })?;
    if one_hot {
        let reason =
            format!("one-hot labels, a row of {columns} columns each: expected the number of the class instead");
        return Err(source.fail(reason));
    }
    source.keep(source.dims[0], columns, grey)
}

/// A whole number from 0 to 255.
fn grey(value: f64) -> Option<u8> {
    let byte = value as u8;
    (f64::from(byte) == value).then_some(byte)
}

/// The type that a header names so.
fn kind_of(code: u8) -> Option<Kind> {
    CODES.into_iter().find(|&(of, _)| of == code).map(|(_, kind)| kind)
}

/// What a file is read for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Images,
    Labels,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Labels => "labels",
        }
    }

    /// The magic number of MNIST's files.
    fn magic(self) -> u32 {
        match self {
            Self::Images => 0x0803,
            Self::Labels => 0x0801,
        }
    }
}

/// An IDX file.
struct Source<'p> {
    path: &'p Path,
    file: File,
    /// How long it was when it was opened. No more is read of it.
    file_len: u64,
    zipped: bool,
    purpose: Purpose,
    kind: Kind,
    /// Its code in the header.
    code: u8,
    dims: Vec<usize>,
}

impl<'p> Source<'p> {
    /// Opens a file and reads its header.
    fn open(path: &'p Path, purpose: Purpose) -> Result<Self, Error> {
        let (file, file_len) = open(path)?;
        let mut source = Self { path, file, file_len, zipped: false, purpose, kind: Kind::U8, code: 0, dims: vec![] };
        let (mut begin, mut error) = source.first()?;
        if begin.starts_with(&gzip::MAGIC) {
            source.zipped = true;
            (begin, error) = source.first()?;
        }
        source.header(&begin, error)?;
        Ok(source)
    }

    fn fail(&self, reason: impl ToString) -> Error {
        Error::file(self.path, reason)
    }

    fn describe(&self, error: &io::Error) -> Error {
        self.fail(match error.kind() {
            io::ErrorKind::UnexpectedEof => "truncated: the file ends before its data does".to_owned(),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput if self.zipped => format!("corrupt gzip: {error}"),
            _ => error.to_string(),
        })
    }

    /// What it holds, unpacked, from the beginning, and no further than the file was long.
    fn begin(&self) -> Result<Box<dyn Read + '_>, Error> {
        (&self.file).rewind().map_err(|error| self.describe(&error))?;
        let bytes = BufReader::new((&self.file).take(self.file_len));
        Ok(if self.zipped { Box::new(BufReader::new(Gunzip::new(bytes))) } else { Box::new(bytes) })
    }

    /// The first bytes, as many as a header may have, and what ended them before.
    fn first(&self) -> Result<(Vec<u8>, Option<Error>), Error> {
        let mut bytes = Vec::with_capacity(LONGEST);
        let error = self.begin()?.take(LONGEST as u64).read_to_end(&mut bytes).err();
        Ok((bytes, error.map(|error| self.describe(&error))))
    }

    /// Takes type and dimensions from the first bytes.
    fn header(&mut self, begin: &[u8], error: Option<Error>) -> Result<(), Error> {
        let word = |i: usize| Some(u32::from_be_bytes(begin.get(4 * i..4 * i + 4)?.try_into().ok()?));
        // What they are cut by, or else the end of the file.
        let cut = |error: Option<Error>| error.unwrap_or_else(|| self.describe(&io::ErrorKind::UnexpectedEof.into()));
        if !begin.starts_with(&[0, 0][..begin.len().min(2)]) || begin.is_empty() {
            return Err(self.foreign(begin, error));
        }
        let Some(magic) = word(0) else { return Err(cut(error)) };
        let [_, _, code, rank] = magic.to_be_bytes();
        let Some(kind) = kind_of(code).filter(|_| rank > 0) else { return Err(self.foreign(begin, error)) };
        let dims: Option<Vec<usize>> = (1..=rank.into()).map(|i| Some(word(i)? as usize)).collect();
        let Some(dims) = dims else { return Err(cut(error)) };
        (self.kind, self.code, self.dims) = (kind, code, dims);
        Ok(())
    }

    /// The error of a file that is no IDX file.
    fn foreign(&self, begin: &[u8], error: Option<Error>) -> Error {
        let expected = format!("expected an IDX file of {}, plain or compressed with gzip", self.purpose.name());
        let gzip_of = if self.zipped { "gzip of " } else { "" };
        match begin {
            [] => error.unwrap_or_else(|| self.fail(format!("truncated: {gzip_of}an empty file: {expected}"))),
            [1..=8, code, 0, 0, ..] if kind_of(*code).is_some() => self
                .fail(format!("{gzip_of}an IDX file whose numbers are back to front: expected the highest byte first")),
            _ => match (describe(begin), begin) {
                (Some(kind), _) => self.fail(format!("this is {gzip_of}{kind}: {expected}")),
                (None, [a, b, c, d, ..]) => {
                    let magic = u32::from_be_bytes([*a, *b, *c, *d]);
                    let (wanted, purpose) = (self.purpose.magic(), self.purpose.name());
                    self.fail(format!(
                        "magic number {magic:#010x}: expected {wanted:#010x} or another of IDX {purpose}"
                    ))
                }
                (None, _) => error.unwrap_or_else(|| self.describe(&io::ErrorKind::UnexpectedEof.into())),
            },
        }
    }

    /// The error of dimensions that cannot be, for what the file is read for.
    fn rank(&self, expected: &str) -> Error {
        let (kind, dims, purpose) = (self.kind.name(), &self.dims, self.purpose.name());
        let is = match dims.len() {
            1 => format!("{kind} in 1 dimension"),
            rank => format!("{kind} in {rank} dimensions"),
        };
        let (magic, wanted) = (u32::from(self.code) << 8 | dims.len() as u32, self.purpose.magic());
        self.fail(format!("magic number {magic:#010x}: expected {wanted:#010x}: {is}, where {purpose} have {expected}"))
    }

    /// Refuses a dimension of zero.
    fn nonzero(&self) -> Result<(), Error> {
        if self.dims.contains(&0) {
            return Err(self.fail(format!("dimensions {:?}: expected at least 1 each", self.dims)));
        }
        Ok(())
    }

    /// Height and width of an image.
    fn image(&self) -> Result<[usize; 2], Error> {
        let expected = "2 or more, the first of which counts them";
        if self.dims.len() == 1 {
            return Err(self.rank(expected));
        }
        self.nonzero()?;
        if let [_, height, width] = self.dims[..] {
            return Ok([height, width]);
        }
        let sides: Vec<usize> = self.dims[1..].iter().copied().filter(|&side| side != 1).collect();
        match sides[..] {
            // A column: rather labels.
            [] if self.dims.len() == 2 => Err(self.rank("more than one pixel each")),
            [] => Ok([1, 1]),
            // What is larger than can be is larger than there is.
            [ref others @ .., width] => Ok([others.iter().fold(1, |h: usize, &side| h.saturating_mul(side)), width]),
        }
    }

    /// Columns of labels.
    fn columns(&self) -> Result<usize, Error> {
        let mut columns = self.dims[1..].iter().copied().filter(|&columns| columns != 1);
        let first = columns.next().unwrap_or(1);
        if columns.next().is_some() {
            return Err(self.rank("1, or 2 of which the first column counts"));
        }
        self.nonzero()?;
        Ok(first)
    }

    /// How many bytes of data there should be. More than can be stays more than there is.
    fn promised(&self) -> u64 {
        self.dims.iter().fold(self.kind.bytes() as u64, |product, &dim| product.saturating_mul(dim as u64))
    }

    /// The data.
    fn data(&self) -> Result<Box<dyn Read + '_>, Error> {
        let mut reader = self.begin()?;
        let mut header = [0; LONGEST];
        let header = &mut header[..4 + 4 * self.dims.len()];
        reader.read_exact(header).map_err(|error| self.describe(&error))?;
        Ok(reader)
    }

    /// Compares the bytes of data that there are, at most one more than promised, with those that there should be.
    fn compare(&self, held: u64) -> Result<(), Error> {
        let (dims, promised) = (&self.dims, self.promised());
        if held < promised {
            return Err(self.fail(format!("truncated: {held} bytes of data where the header promises {dims:?}")));
        }
        if held > promised {
            return Err(self.fail(format!("the file goes on after the {promised} bytes that its header promises")));
        }
        Ok(())
    }

    /// Reads to the end, which makes gzip compare its checksum, or a byte further than promised.
    fn count(&self) -> Result<(), Error> {
        let reader = self.data()?;
        let held = io::copy(&mut reader.take(self.promised().saturating_add(1)), &mut io::sink());
        self.compare(held.map_err(|error| self.describe(&error))?)
    }

    /// Reads to the end as [`Self::count`], and calls `look` with each element and its index.
    fn scan(&self, look: impl FnMut(u64, f64) -> Result<(), String>) -> Result<(), Error> {
        let mut reader = self.data()?;
        let held = self.each(&mut reader, self.promised(), look)?;
        let more = io::copy(&mut reader.take(1), &mut io::sink()).map_err(|error| self.describe(&error))?;
        self.compare(held + more)
    }

    /// Calls `look` with each element and its index, to the end of the file or of so many bytes; returns how many there
    /// are.
    fn each(
        &self,
        reader: &mut dyn Read,
        most: u64,
        mut look: impl FnMut(u64, f64) -> Result<(), String>,
    ) -> Result<u64, Error> {
        self.kind.each(
            ByteOrder::Big,
            reader,
            most,
            |error| self.describe(error),
            |index, value| look(index, value).map_err(|reason| self.fail(reason)),
        )
    }

    /// How many elements there are, once it is known that there are as many as promised.
    fn len(&self) -> Result<usize, Error> {
        let elements = self.promised() / self.kind.bytes() as u64;
        usize::try_from(elements).map_err(|_| self.fail(format!("{elements} elements do not fit in memory")))
    }

    /// The first of every so many elements, `len` in all, as they are kept, once it is known that they can be.
    fn keep<P: bytemuck::Pod>(
        &self,
        len: usize,
        columns: u64,
        as_kept: impl Fn(f64) -> Option<P>,
    ) -> Result<Vec<P>, Error> {
        let mut kept = Vec::new();
        let bytes = len.saturating_mul(size_of::<P>());
        kept.try_reserve_exact(len).map_err(|_| self.fail(format!("{bytes} bytes do not fit in memory")))?;
        let mut reader = self.data()?;
        let changed = || "changed while it was read";
        if self.kind == Kind::U8 && size_of::<P>() == 1 && columns == 1 {
            kept.resize(len, P::zeroed());
            let data = bytemuck::cast_slice_mut(&mut kept);
            reader.read_exact(data).map_err(|error| self.describe(&error))?;
            return Ok(kept);
        }
        self.each(&mut reader, self.promised(), |index, value| {
            if index % columns == 0 {
                kept.push(as_kept(value).ok_or_else(changed)?);
            }
            Ok(())
        })?;
        if kept.len() == len { Ok(kept) } else { Err(self.fail(changed())) }
    }
}
