//! The header of a NumPy array: magic number, version, length, and a dictionary of Python with the type of the elements,
//! their order and the dimensions.
//!
//! It is read here, because crates that do make room for as many bytes as it claims to have, or descend as deep as its
//! brackets nest. Of Python there is no more than what NumPy writes of plain numbers.

use super::elements::{ByteOrder, Kind};
use std::io::{self, Read};

/// What an array begins with.
const MAGIC: [u8; 6] = *b"\x93NUMPY";
/// The longest dictionary. NumPy writes about 120 bytes.
const LONGEST: usize = 4096;
/// The most dimensions that are of use to anybody here, and some more, so that errors can tell them.
const MOST_DIMS: usize = 8;

/// What a header says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    pub kind: Kind,
    pub order: ByteOrder,
    /// Whether the first index runs fastest.
    pub fortran: bool,
    pub dims: Vec<usize>,
    /// How many bytes the header has.
    pub len: u64,
}

/// Why there is no header.
#[derive(Debug)]
pub(super) enum Failure {
    Read(io::Error),
    Wrong(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl Header {
    /// Reads a header, and no further.
    pub fn read(reader: &mut dyn Read) -> Result<Self, Failure> {
        let wrong = |reason: String| Err(Failure::Wrong(reason));
        let mut begin = [0; 8];
        reader.read_exact(&mut begin)?;
        if begin[..6] != MAGIC {
            return wrong("no NumPy array: it does not begin as one".to_owned());
        }
        let mut width = [0; 4];
        let wide = match begin[6] {
            1 => 2,
            2 | 3 => 4,
            version => return wrong(format!("format {version}.{}: expected 1, 2 or 3", begin[7])),
        };
        reader.read_exact(&mut width[..wide])?;
        let len = u32::from_le_bytes(width) as usize;
        if len > LONGEST {
            return wrong(format!("a header of {len} bytes: expected at most {LONGEST}"));
        }
        let mut text = [0; LONGEST];
        let text = &mut text[..len];
        reader.read_exact(text)?;
        let (descr, fortran, dims) = Cursor(text).dictionary().map_err(Failure::Wrong)?;
        let (kind, order) = element(&descr).map_err(Failure::Wrong)?;
        Ok(Self { kind, order, fortran, dims, len: (begin.len() + wide + len) as u64 })
    }

    /// How many bytes of data there should be. More than can be stays more than there is.
    pub fn promised(&self) -> u64 {
        self.dims.iter().fold(self.kind.bytes() as u64, |product, &dim| product.saturating_mul(dim as u64))
    }
}

/// The type that NumPy calls so.
fn element(descr: &str) -> Result<(Kind, ByteOrder), String> {
    let refused = || {
        format!("elements of type {descr:?}: expected floats of 32 or 64 bits, integers or booleans, such as \"<f4\"")
    };
    let mut letters = descr.chars();
    let order = match letters.next() {
        Some('>') => ByteOrder::Big,
        Some('<' | '|') => ByteOrder::Little,
        _ => return Err(refused()),
    };
    let kind = match letters.as_str() {
        "b1" => Kind::Bool,
        "u1" => Kind::U8,
        "i1" => Kind::I8,
        "u2" => Kind::U16,
        "i2" => Kind::I16,
        "u4" => Kind::U32,
        "i4" => Kind::I32,
        "u8" => Kind::U64,
        "i8" => Kind::I64,
        "f4" => Kind::F32,
        "f8" => Kind::F64,
        _ => return Err(refused()),
    };
    Ok((kind, order))
}

/// What is left of a text.
struct Cursor<'t>(&'t [u8]);

impl<'t> Cursor<'t> {
    /// The three entries of the dictionary, each once, in any order.
    fn dictionary(mut self) -> Result<(String, bool, Vec<usize>), String> {
        let wrong = |what: &str| format!("a header without {what}");
        let (mut descr, mut fortran, mut dims) = (None, None, None);
        self.take(b'{').ok_or_else(|| wrong("a dictionary"))?;
        while self.take(b'}').is_none() {
            let key = self.string().ok_or_else(|| wrong("the names of its entries"))?;
            self.take(b':').ok_or_else(|| wrong("a colon behind a name"))?;
            let again = match key {
                b"descr" if self.peek() == Some(b'[') => {
                    return Err("elements of several fields: expected plain numbers".to_owned());
                }
                b"descr" => descr.replace(self.string().ok_or_else(|| wrong("a type of elements"))?).is_some(),
                b"fortran_order" => fortran.replace(self.truth().ok_or_else(|| wrong("an order"))?).is_some(),
                b"shape" => dims.replace(self.tuple()?).is_some(),
                other => return Err(format!("a header with an entry {:?}", String::from_utf8_lossy(other))),
            };
            if again {
                return Err(format!("a header with two entries {:?}", String::from_utf8_lossy(key)));
            }
            if self.take(b',').is_none() && self.peek() != Some(b'}') {
                return Err(wrong("a comma between its entries"));
            }
        }
        if let Some(byte) = self.peek() {
            return Err(format!("a header that goes on after its dictionary with {:?}", char::from(byte)));
        }
        match (descr, fortran, dims) {
            (Some(descr), Some(fortran), Some(dims)) => {
                Ok((String::from_utf8_lossy(descr).into_owned(), fortran, dims))
            }
            (None, ..) => Err(wrong("an entry \"descr\"")),
            (_, None, _) => Err(wrong("an entry \"fortran_order\"")),
            (.., None) => Err(wrong("an entry \"shape\"")),
        }
    }

    /// The next byte that is not blank.
    fn peek(&mut self) -> Option<u8> {
        self.0 = self.0.trim_ascii_start();
        self.0.first().copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then(|| self.0 = &self.0[1..])
    }

    /// What is between quotes, which it does not contain.
    fn string(&mut self) -> Option<&'t [u8]> {
        let quote = self.peek().filter(|byte| matches!(byte, b'\'' | b'"'))?;
        let len = self.0[1..].iter().position(|&byte| byte == quote)?;
        let (string, rest) = (&self.0[1..=len], &self.0[len + 2..]);
        self.0 = rest;
        Some(string)
    }

    fn truth(&mut self) -> Option<bool> {
        self.peek();
        let (word, truth) =
            [(&b"True"[..], true), (b"False", false)].into_iter().find(|(w, _)| self.0.starts_with(w))?;
        self.0 = &self.0[word.len()..];
        Some(truth)
    }

    /// Whole numbers between brackets.
    fn tuple(&mut self) -> Result<Vec<usize>, String> {
        let wrong = || "a header without dimensions".to_owned();
        let mut dims = vec![];
        self.take(b'(').ok_or_else(wrong)?;
        while self.take(b')').is_none() {
            self.peek();
            let len = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (digits, rest) = self.0.split_at(len);
            self.0 = rest;
            let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.is_empty()).ok_or_else(wrong)?;
            dims.push(digits.parse().map_err(|_| format!("a dimension of {digits}: more than can be"))?);
            if dims.len() > MOST_DIMS {
                return Err(format!("more than {MOST_DIMS} dimensions"));
            }
            // As Python 2 wrote long integers.
            self.take(b'L');
            if self.take(b',').is_none() && self.peek() != Some(b')') {
                return Err(wrong());
            }
        }
        Ok(dims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(version: u8, text: &str) -> Vec<u8> {
        let len = text.len() as u32;
        let width = if version == 1 { &len.to_le_bytes()[..2] } else { &len.to_le_bytes()[..] };
        [&MAGIC[..], &[version, 0], width, text.as_bytes()].concat()
    }

    fn parsed(text: &str) -> Result<Header, String> {
        Header::read(&mut &bytes(1, text)[..]).map_err(|failure| match failure {
            Failure::Read(error) => error.to_string(),
            Failure::Wrong(reason) => reason,
        })
    }

    #[test]
    fn what_numpy_writes_is_understood() {
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4, 5), }          \n";
        let want = Header {
            kind: Kind::F32,
            order: ByteOrder::Little,
            fortran: false,
            dims: vec![3, 4, 5],
            len: 10 + text.len() as u64,
        };
        assert_eq!(parsed(text).unwrap(), want);
        assert_eq!(want.promised(), 240);
        for version in [2, 3] {
            let long = Header { len: want.len + 2, ..want.clone() };
            assert_eq!(Header::read(&mut &bytes(version, text)[..]).unwrap(), long);
        }
        let other = parsed("{\"shape\":(7L,),\"descr\":\">i8\",\"fortran_order\":True}").unwrap();
        assert_eq!(
            (other.kind, other.order, other.fortran, &other.dims[..]),
            (Kind::I64, ByteOrder::Big, true, &[7][..])
        );
        let scalar = parsed("{'descr': '|b1', 'fortran_order': False, 'shape': ()}").unwrap();
        assert_eq!((scalar.kind, scalar.dims.len(), scalar.promised()), (Kind::Bool, 0, 1));
        let most =
            parsed(&format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({0}, {0})}}", usize::MAX)).unwrap();
        assert_eq!(most.promised(), u64::MAX);
    }

    #[test]
    fn what_is_no_header_is_told() {
        let entries = "'descr': '<f4', 'fortran_order': False";
        let nested = "(".repeat(4000);
        for (text, reason) in [
            ("", "without a dictionary"),
            ("[]", "without a dictionary"),
            ("{", "without the names"),
            ("{'shape'}", "without a colon"),
            ("{'shape': (1,) 'descr': '<f4'}", "without a comma"),
            ("{'shape': (1)) }", "without a comma"),
            ("{'shape': (1, -2)}", "without dimensions"),
            ("{'shape': (1 2)}", "without dimensions"),
            ("{'shape': 3}", "without dimensions"),
            (&format!("{{'shape': {nested}"), "without dimensions"),
            ("{'shape': (99999999999999999999,)}", "99999999999999999999: more than can be"),
            ("{'shape': (1,1,1,1,1,1,1,1,1)}", "more than 8 dimensions"),
            ("{'descr': [('a', '<f4')]}", "several fields"),
            ("{'descr': '<f4}", "without a type"),
            ("{'fortran_order': 0}", "without an order"),
            ("{'colour': 'red'}", "an entry \"colour\""),
            ("{'shape': (1,), 'shape': (1,)}", "two entries \"shape\""),
            (&format!("{{{entries}}}"), "without an entry \"shape\""),
            ("{'descr': '<f4', 'shape': ()}", "without an entry \"fortran_order\""),
            ("{'fortran_order': True, 'shape': ()}", "without an entry \"descr\""),
            (&format!("{{{entries}, 'shape': ()}} x"), "goes on after its dictionary with 'x'"),
            ("{'descr': '|O', 'fortran_order': False, 'shape': ()}", "type \"|O\": expected floats"),
            ("{'descr': '<c8', 'fortran_order': False, 'shape': ()}", "type \"<c8\": expected floats"),
            ("{'descr': 'f4', 'fortran_order': False, 'shape': ()}", "type \"f4\": expected floats"),
            ("{'descr': '', 'fortran_order': False, 'shape': ()}", "type \"\": expected floats"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(reason), "{text:.40}: {error:?} should contain {reason:?}");
        }
        let failure = |bytes: &[u8]| Header::read(&mut &*bytes).unwrap_err();
        assert!(matches!(failure(b"\x93NUMPZ\x01\x00"), Failure::Wrong(reason) if reason.contains("no NumPy array")));
        assert!(matches!(failure(b"\x93NUMPY\x04\x02"), Failure::Wrong(reason) if reason.contains("format 4.2")));
        let long = [&MAGIC[..], &[2, 0], &u32::MAX.to_le_bytes()].concat();
        assert!(matches!(failure(&long), Failure::Wrong(reason) if reason.contains("a header of 4294967295 bytes")));
        let whole = bytes(2, "{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}");
        for len in 0..whole.len() {
            assert!(matches!(failure(&whole[..len]), Failure::Read(e) if e.kind() == io::ErrorKind::UnexpectedEof));
        }
    }
}
