//! IDX files, plain or compressed with gzip.
//!
//! A file begins with a magic number, big-endian as all its numbers: two zero bytes, the type of its elements (8 for
//! bytes) and the number of dimensions. The dimensions follow, then the elements.
//!
//! A header is not believed. Every file is read, and unpacked, to its end before there is memory for what it holds, and
//! then once more: whatever it says, what is allocated is at most the bytes of data that it truly holds (that it unpacks
//! to) and 256 KiB. What is no regular file is refused.

use super::{Images, Pixels};
use crate::error::Error;
use crate::file;
use flate2::read::MultiGzDecoder;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

/// Reads an IDX file of images: bytes in three dimensions.
///
/// Whatever the file says, what is allocated is at most the bytes of data that it holds, unpacked, and 256 KiB.
///
/// # Errors
/// [`Error::File`] if the file cannot be read, is truncated or too long, corrupt, or of another kind.
pub fn read_images(path: impl AsRef<Path>) -> Result<Images, Error> {
    let ([count, height, width], pixels) = read_idx::<3>(path.as_ref())?;
    Ok(Images { pixels: Pixels::Bytes(pixels), count, height, width })
}

/// Reads an IDX file of labels: bytes in one dimension.
///
/// # Errors
/// As [`read_images`].
pub fn read_labels(path: impl AsRef<Path>) -> Result<Vec<u8>, Error> {
    let ([_], labels) = read_idx::<1>(path.as_ref())?;
    Ok(labels)
}

/// Reads bytes in `D` dimensions.
fn read_idx<const D: usize>(path: &Path) -> Result<([usize; D], Vec<u8>), Error> {
    let fail = |reason: String| Error::file(path, reason);
    let (file, file_len) = file::open(path)?;
    let zipped = path.extension().is_some_and(|extension| extension == "gz");
    let describe = |e: io::Error| {
        fail(match (e.kind(), zipped) {
            (io::ErrorKind::UnexpectedEof, _) => "truncated: the file ends before its data does".to_owned(),
            (_, true) => format!("corrupt gzip: {e}"),
            (_, false) => e.to_string(),
        })
    };
    // From the beginning, and no further than the file was long.
    let begin = || -> Result<Box<dyn Read + '_>, Error> {
        (&file).rewind().map_err(describe)?;
        let bytes = BufReader::new((&file).take(file_len));
        Ok(if zipped { Box::new(BufReader::new(MultiGzDecoder::new(bytes))) } else { Box::new(bytes) })
    };
    let word = |reader: &mut dyn Read| -> Result<u32, Error> {
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).map_err(describe)?;
        Ok(u32::from_be_bytes(bytes))
    };

    let mut reader = begin()?;
    let magic = word(&mut reader)?;
    let expected = 0x0800 + D as u32;
    if magic != expected {
        return Err(fail(format!("magic number {magic:#010x}: expected {expected:#010x}, bytes in {D} dimensions")));
    }
    let mut dims = [0; D];
    for dim in &mut dims {
        *dim = word(&mut reader)? as usize;
    }
    if dims.contains(&0) {
        return Err(fail(format!("dimensions {dims:?}: expected at least 1 each")));
    }
    // More than there can be stays more than there is.
    let promised = dims.iter().fold(1_u64, |product, &dim| product.saturating_mul(dim as u64));
    // To the end, which makes gzip compare its checksum, or a byte further than promised.
    let held = io::copy(&mut reader.take(promised.saturating_add(1)), &mut io::sink()).map_err(describe)?;
    if held < promised {
        return Err(fail(format!("truncated: {held} bytes of data where the header promises {dims:?}")));
    }
    if held > promised {
        return Err(fail(format!("the file goes on after the {promised} bytes that its header promises")));
    }

    let too_large = || fail(format!("{held} bytes do not fit in memory"));
    let len = usize::try_from(held).map_err(|_| too_large())?;
    let mut data = Vec::new();
    data.try_reserve_exact(len).map_err(|_| too_large())?;
    data.resize(len, 0);
    let mut reader = begin()?;
    for _ in 0..=D {
        word(&mut reader)?;
    }
    reader.read_exact(&mut data).map_err(describe)?;
    Ok((dims, data))
}
