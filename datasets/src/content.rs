//! What a file is that is no IDX file, in words: people save the page that says that a download failed, for instance.

/// What files begin with, and what they are.
const KINDS: [(&[u8], &str); 26] = [
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "a zip archive"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"RIFF", "a RIFF file, such as a WebP image"),
    (b"\x89HDF", "an HDF5 file"),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program"),
    (b"\xfd7zXZ\0", "an xz-compressed file"),
    (b"BZh", "a bzip2-compressed file"),
    (b"\x28\xb5\x2f\xfd", "a zstd-compressed file"),
    (b"\x04\x22\x4d\x18", "an lz4-compressed file"),
    (b"\x1f\x9d", "a file compressed with compress"),
    (b"\x1f\x8b", "a gzip file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file that it stands for"),
];

/// Where a tar archive says that it is one.
const TAR: usize = 257;

/// What a file is that begins so, if its first bytes show it.
pub(super) fn describe(begin: &[u8]) -> Option<&'static str> {
    if begin.starts_with(b"PK\x03\x04") && first_in_zip(begin).is_some_and(|name| name.ends_with(b".npy")) {
        return Some("a NumPy archive (.npz)");
    }
    if begin.get(TAR..).is_some_and(|rest| rest.starts_with(b"ustar")) {
        return Some("a tar archive");
    }
    let known = KINDS.iter().find(|(magic, _)| begin.starts_with(magic));
    if let Some((_, kind)) = known.filter(|(magic, _)| *magic != b"BM" || text(begin).is_none()) {
        return Some(kind);
    }
    match begin {
        [0x80, 2 | 3, ..] | [0x80, 4 | 5, 0x95, ..] => Some("a pickle"),
        // In UTF-16, as far as its first character is a common one.
        [0xff, 0xfe, _, 0, ..] | [0xfe, 0xff, 0, _, ..] => Some("text"),
        _ => text(begin),
    }
}

/// The name of the first file in a zip archive.
fn first_in_zip(begin: &[u8]) -> Option<&[u8]> {
    let len = u16::from_le_bytes(begin.get(26..28)?.try_into().ok()?);
    begin.get(30..)?.get(..len.into())
}

/// What text it is, if it is text.
fn text(begin: &[u8]) -> Option<&'static str> {
    let text = begin.strip_prefix(b"\xef\xbb\xbf").unwrap_or(begin);
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        // A character that the end cuts.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&text[..error.valid_up_to()]).ok()?,
        Err(_) => return older_text(text).then_some("text"),
    };
    if text.is_empty() || text.chars().any(control) {
        return None;
    }
    let word = |begin: &str| {
        let text = text.trim_start().as_bytes();
        text.get(..begin.len()).is_some_and(|word| word.eq_ignore_ascii_case(begin.as_bytes()))
    };
    Some(match () {
        () if ["<!doctype html", "<html", "<head", "<body", "<script", "<title"].into_iter().any(word) => {
            "an HTML page"
        }
        () if word("<?xml") => "an XML document",
        () => "text",
    })
}

/// Whether it is text of the time before Unicode: mostly plain letters, and nothing that only other files have.
fn older_text(begin: &[u8]) -> bool {
    let plain = begin.iter().filter(|byte| byte.is_ascii()).count();
    2 * plain > begin.len() && !begin.iter().any(|&byte| control(byte.into()))
}

/// Whether text does not have such characters.
fn control(character: char) -> bool {
    (character < ' ' && !matches!(character, '\t' | '\n' | '\r' | '\x0c' | '\x1b')) || character == '\x7f'
}
