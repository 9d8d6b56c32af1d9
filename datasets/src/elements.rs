//! The numbers that files hold, element by element.

use std::io::{self, Read};

/// How many bytes are taken at a time: whole elements of any type.
const CHUNK: usize = 8 << 10;

/// The type of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

/// Which byte of a number comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteOrder {
    /// The lowest.
    Little,
    /// The highest.
    Big,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "booleans",
            Self::U8 => "unsigned bytes",
            Self::I8 => "signed bytes",
            Self::U16 => "unsigned 16-bit integers",
            Self::I16 => "16-bit integers",
            Self::U32 => "unsigned 32-bit integers",
            Self::I32 => "32-bit integers",
            Self::U64 => "unsigned 64-bit integers",
            Self::I64 => "64-bit integers",
            Self::F32 => "32-bit floats",
            Self::F64 => "64-bit floats",
        }
    }

    pub fn bytes(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }

    /// The value of an element, which has as many bytes as the type. All values of all types are values of `f64`, but for
    /// integers beyond 2⁵³, which are rounded to one that is.
    fn decode(self, bytes: &[u8], order: ByteOrder) -> f64 {
        fn fixed<const N: usize>(bytes: &[u8], order: ByteOrder) -> [u8; N] {
            std::array::from_fn(|i| bytes[if order == ByteOrder::Big { N - 1 - i } else { i }])
        }
        match self {
            Self::Bool => f64::from(u8::from(bytes[0] != 0)),
            Self::U8 => bytes[0].into(),
            Self::I8 => i8::from_le_bytes(fixed(bytes, order)).into(),
            Self::U16 => u16::from_le_bytes(fixed(bytes, order)).into(),
            Self::I16 => i16::from_le_bytes(fixed(bytes, order)).into(),
            Self::U32 => u32::from_le_bytes(fixed(bytes, order)).into(),
            Self::I32 => i32::from_le_bytes(fixed(bytes, order)).into(),
            Self::U64 => u64::from_le_bytes(fixed(bytes, order)) as f64,
            Self::I64 => i64::from_le_bytes(fixed(bytes, order)) as f64,
            Self::F32 => f32::from_le_bytes(fixed(bytes, order)).into(),
            Self::F64 => f64::from_le_bytes(fixed(bytes, order)),
        }
    }

    /// Calls `look` with each element and its index, to the end of the reader or of `most` bytes; returns how many bytes
    /// there are. An error of the reader becomes one of the caller's by `describe`.
    pub fn each<E>(
        self,
        order: ByteOrder,
        reader: &mut dyn Read,
        most: u64,
        describe: impl Fn(&io::Error) -> E,
        mut look: impl FnMut(u64, f64) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut chunk = [0; CHUNK];
        let (mut held, mut index) = (0, 0);
        while held < most {
            let wanted = (most - held).min(CHUNK as u64) as usize;
            let mut len = 0;
            while len < wanted {
                match reader.read(&mut chunk[len..wanted]) {
                    Ok(0) => break,
                    Ok(more) => len += more,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(describe(&error)),
                }
            }
            for bytes in chunk[..len].chunks_exact(self.bytes()) {
                look(index, self.decode(bytes, order))?;
                index += 1;
            }
            held += len as u64;
            if len < wanted {
                break;
            }
        }
        Ok(held)
    }
}
