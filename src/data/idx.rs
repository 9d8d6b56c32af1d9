//! IDX files, plain or compressed with gzip.
//!
//! A file begins with a magic number, big-endian as all its numbers: two zero bytes, the type of its elements (8 for
//! bytes) and the number of dimensions. The dimensions follow, then the elements.
//!
//! A header is not believed: what it promises is first held against the size of the file, so that a hostile one
//! allocates nothing that the file could not fill.

use super::{Dataset, Images, TrainTest};
use crate::error::Error;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// Bytes that one byte of gzip can become at the most: the limit of its compression method.
const GZIP_EXPANSION: u64 = 1032;

/// Reads the four files of a data set in the format of MNIST from a folder: `train-images-idx3-ubyte`,
/// `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, each plain or with `.gz` appended.
///
/// # Errors
/// [`Error::File`], naming the file, if one is missing, cannot be read or is no IDX file of the right kind, if images
/// and labels differ in number or images in size, or if a label is not below `classes`.
pub fn load(folder: impl AsRef<Path>, classes: u8) -> Result<TrainTest, Error> {
    let read = |part: &str| {
        let images_path = find(folder.as_ref(), &format!("{part}-images-idx3-ubyte"))?;
        let labels_path = find(folder.as_ref(), &format!("{part}-labels-idx1-ubyte"))?;
        let images = read_images(&images_path)?;
        let labels = read_labels(&labels_path)?;
        if images.count != labels.len() {
            let reason =
                format!("{} labels for the {} images of {}", labels.len(), images.count, images_path.display());
            return Err(Error::file(&labels_path, reason));
        }
        if let Some(index) = labels.iter().position(|&label| label >= classes) {
            let reason = format!("label {index} is {}: expected less than {classes}", labels[index]);
            return Err(Error::file(&labels_path, reason));
        }
        Ok((images_path, Dataset { images, labels }))
    };
    let (train_path, train) = read("train")?;
    let (test_path, test) = read("t10k")?;
    let size = |set: &Dataset| (set.images.height, set.images.width);
    if size(&train) != size(&test) {
        let ((h, w), (train_h, train_w)) = (size(&test), size(&train));
        let reason = format!("images of {h} × {w}, but those of {} have {train_h} × {train_w}", train_path.display());
        return Err(Error::file(&test_path, reason));
    }
    Ok(TrainTest { train, test })
}

/// Reads an IDX file of images: bytes in three dimensions.
///
/// # Errors
/// [`Error::File`] if the file cannot be read, is truncated or too long, corrupt, or of another kind.
pub fn read_images(path: impl AsRef<Path>) -> Result<Images, Error> {
    let ([count, height, width], pixels) = read_idx::<3>(path.as_ref())?;
    Ok(Images { pixels, count, height, width })
}

/// Reads an IDX file of labels: bytes in one dimension.
///
/// # Errors
/// As [`read_images`].
pub fn read_labels(path: impl AsRef<Path>) -> Result<Vec<u8>, Error> {
    let ([_], labels) = read_idx::<1>(path.as_ref())?;
    Ok(labels)
}

/// The file of this name, or with `.gz` appended.
fn find(folder: &Path, name: &str) -> Result<PathBuf, Error> {
    if !folder.is_dir() {
        return Err(Error::file(folder, "no such folder"));
    }
    let candidates = [folder.join(name), folder.join(format!("{name}.gz"))];
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| Error::file(&folder.join(name), "no such file, with or without .gz"))
}

/// Reads bytes in `D` dimensions.
fn read_idx<const D: usize>(path: &Path) -> Result<([usize; D], Vec<u8>), Error> {
    let fail = |reason: String| Error::file(path, reason);
    let file = File::open(path).map_err(|e| fail(e.to_string()))?;
    let file_len = file.metadata().map_err(|e| fail(e.to_string()))?.len();
    let zipped = path.extension().is_some_and(|extension| extension == "gz");
    let mut reader: Box<dyn Read> = if zipped {
        Box::new(BufReader::new(MultiGzDecoder::new(BufReader::new(file))))
    } else {
        Box::new(BufReader::new(file))
    };
    let describe = |e: io::Error| {
        fail(match (e.kind(), zipped) {
            (io::ErrorKind::UnexpectedEof, _) => "truncated: the file ends before its data does".to_owned(),
            (_, true) => format!("corrupt gzip: {e}"),
            (_, false) => e.to_string(),
        })
    };

    let mut word = || -> Result<u32, Error> {
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).map_err(describe)?;
        Ok(u32::from_be_bytes(bytes))
    };
    let magic = word()?;
    let expected = 0x0800 + D as u32;
    if magic != expected {
        return Err(fail(format!("magic number {magic:#010x}: expected {expected:#010x}, bytes in {D} dimensions")));
    }
    let mut dims = [0; D];
    for dim in &mut dims {
        *dim = word()? as usize;
    }
    if dims.contains(&0) {
        return Err(fail(format!("dimensions {dims:?}: expected at least 1 each")));
    }
    let promised = dims.iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim as u64));
    let possible = if zipped { file_len.saturating_mul(GZIP_EXPANSION) } else { file_len };
    let len = match promised.map(usize::try_from) {
        Some(Ok(len)) if len as u64 <= possible => len,
        _ => {
            return Err(fail(format!(
                "the header promises {dims:?} bytes, more than a file of {file_len} bytes can hold"
            )));
        }
    };

    let mut data = Vec::new();
    data.try_reserve_exact(len).map_err(|_| fail(format!("{len} bytes do not fit in memory")))?;
    reader.by_ref().take(len as u64).read_to_end(&mut data).map_err(describe)?;
    if data.len() < len {
        return Err(fail(format!("truncated: {} bytes of data where the header promises {len}", data.len())));
    }
    // Reading on to the end also makes gzip compare its checksum.
    if io::copy(&mut reader.take(1), &mut io::sink()).map_err(describe)? > 0 {
        return Err(fail(format!("the file goes on after the {len} bytes that its header promises")));
    }
    Ok((dims, data))
}
