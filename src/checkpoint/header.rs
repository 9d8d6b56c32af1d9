//! The header of a file: a length, and as many bytes of JSON that say what the tensors are and where.

use crate::element::Element;
use crate::error::Error;
use crate::file;
use safetensors::tensor::{Dtype, Metadata as Header, TensorInfo};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// The longest header, in bytes: enough for thousands of tensors. As values it takes many times that.
const LONGEST: usize = 1 << 20;
/// The bytes of its length.
const LEN: usize = size_of::<u64>();

/// What a file calls the elements.
pub(super) fn dtype<T: Element>() -> Dtype {
    if size_of::<T>() == size_of::<f32>() { Dtype::F32 } else { Dtype::F64 }
}

/// A file to be read, with its header.
pub(super) struct Source {
    file: File,
    pub header: Header,
    /// Where the tensors begin.
    data: u64,
}

impl Source {
    /// Reads the header. It holds together, and its tensors fill the file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (mut file, file_len) = file::open(path)?;
        let broken =
            |why: &dyn ToString| Error::file(path, format!("not a whole safetensors file: {}", why.to_string()));
        let mut len = [0; LEN];
        file.read_exact(&mut len).map_err(|_| broken(&"the length of the header is missing"))?;
        let len = u64::from_le_bytes(len);
        if len > LONGEST as u64 {
            return Err(Error::file(path, format!("the header has {len} bytes: expected at most {LONGEST}")));
        }
        let data = LEN as u64 + len;
        if data > file_len {
            return Err(broken(&format!("the header has {len} bytes, more than there are")));
        }
        let mut text = vec![0; len as usize];
        file.read_exact(&mut text).map_err(|error| broken(&error))?;
        let header: Header = serde_json::from_slice(&text).map_err(|error| broken(&error))?;
        let tensors = header.data_len() as u64;
        if data.checked_add(tensors) != Some(file_len) {
            return Err(broken(&format!("{file_len} bytes: expected {data} of the header and {tensors} of tensors")));
        }
        Ok(Self { file, header, data })
    }

    /// Fills an array with the elements of a tensor, as many as it has.
    pub fn read<T: Element>(&self, tensor: &TensorInfo, array: &mut [T]) -> Result<(), String> {
        let mut file = &self.file;
        let mut read = || -> io::Result<()> {
            file.seek(SeekFrom::Start(self.data + tensor.data_offsets.0 as u64))?;
            file.read_exact(bytemuck::cast_slice_mut(array))
        };
        read().map_err(|error| error.to_string())
    }
}

/// A tensor to be written: its name, dimensions and elements.
pub(super) type Named<'a, T> = (String, Vec<usize>, &'a [T]);

/// What a file with these tensors begins with.
pub(super) fn print<T: Element>(
    tensors: &[Named<'_, T>],
    metadata: HashMap<String, String>,
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut end = 0;
    let place = |(name, dimensions, values): &Named<'_, T>| {
        let begin = end;
        end += size_of_val(*values);
        (name.clone(), TensorInfo { dtype: dtype::<T>(), shape: dimensions.clone(), data_offsets: (begin, end) })
    };
    let header = Header::new(Some(metadata), tensors.iter().map(place).collect())?;
    let mut text = serde_json::to_vec(&header)?;
    // So that tensors are aligned in the file.
    text.resize(text.len().next_multiple_of(LEN), b' ');
    if text.len() > LONGEST {
        return Err(format!("the header has {} bytes: expected at most {LONGEST}", text.len()).into());
    }
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.write_all(&text)?;
    Ok(bytes)
}
