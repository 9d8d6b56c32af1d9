//! What `gunzip` reads: members one after the other, which may be empty, with any fields in their headers, and zero
//! bytes after the last.
//!
//! The headers are read here, because flate2 keeps their fields in memory, and refuses long ones.

use flate2::bufread::DeflateDecoder;
use flate2::{Crc, CrcReader};
use std::io::{self, BufRead, Read};

/// What a compressed file begins with.
pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Flags of a header: what it has.
const HEADER_CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// What a compressed file unpacks to.
pub(super) struct Gunzip<R> {
    state: State<R>,
    /// Whether a member was read to its end.
    any: bool,
}

enum State<R> {
    /// Before a member, or at the end.
    Between(R),
    Within(CrcReader<DeflateDecoder<R>>),
    /// At the end, or after an error.
    Done,
}

impl<R: BufRead> Gunzip<R> {
    pub fn new(reader: R) -> Self {
        Self { state: State::Between(reader), any: false }
    }

    /// What comes between members.
    fn between(&mut self, mut reader: R) -> io::Result<State<R>> {
        let end = reader.fill_buf()?.first().copied();
        match end {
            None if self.any => return Ok(State::Done),
            // A tape has them after its last block, for instance.
            Some(0) if self.any => {
                return if only_zeros(&mut reader)? { Ok(State::Done) } else { Err(garbage()) };
            }
            Some(byte) if self.any && byte != MAGIC[0] => return Err(garbage()),
            _ => {}
        }
        header(&mut reader)?;
        Ok(State::Within(CrcReader::new(DeflateDecoder::new(reader))))
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            self.state = match std::mem::replace(&mut self.state, State::Done) {
                State::Done => return Ok(0),
                State::Between(reader) => self.between(reader)?,
                State::Within(mut member) => {
                    let len = member.read(buffer)?;
                    if len > 0 {
                        self.state = State::Within(member);
                        return Ok(len);
                    }
                    let (sum, amount) = (member.crc().sum(), member.crc().amount());
                    let mut reader = member.into_inner().into_inner();
                    let (sum_there, amount_there) = (word(&mut reader)?, word(&mut reader)?);
                    if (sum_there, amount_there) != (sum, amount) {
                        return Err(corrupt("the checksum or the length is that of other data"));
                    }
                    self.any = true;
                    State::Between(reader)
                }
            };
        }
    }
}

/// Reads the header of a member.
fn header(reader: &mut impl BufRead) -> io::Result<()> {
    let mut crc = Crc::new();
    let mut read = |bytes: &mut [u8]| {
        reader.read_exact(bytes)?;
        crc.update(bytes);
        Ok::<_, io::Error>(())
    };
    let mut begin = [0; 10];
    read(&mut begin)?;
    let [magic_0, magic_1, method, flags, ..] = begin;
    if [magic_0, magic_1] != MAGIC {
        return Err(garbage());
    }
    if method != 8 || flags & RESERVED != 0 {
        return Err(corrupt("a header of a kind that there is not"));
    }
    if flags & EXTRA != 0 {
        let mut len = [0; 2];
        read(&mut len)?;
        for _ in 0..u16::from_le_bytes(len) {
            read(&mut [0])?;
        }
    }
    for field in [NAME, COMMENT] {
        if flags & field != 0 {
            let mut byte = [1];
            while byte != [0] {
                read(&mut byte)?;
            }
        }
    }
    if flags & HEADER_CRC != 0 {
        let mut sum = [0; 2];
        reader.read_exact(&mut sum)?;
        if u16::from_le_bytes(sum) != crc.sum() as u16 {
            return Err(corrupt("the checksum of a header is that of another"));
        }
    }
    Ok(())
}

fn word(reader: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

/// Whether what is left are zeros.
fn only_zeros(reader: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(true);
        }
        if bytes.iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        let len = bytes.len();
        reader.consume(len);
    }
}

fn garbage() -> io::Error {
    corrupt("its data are followed by something else")
}

fn corrupt(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
