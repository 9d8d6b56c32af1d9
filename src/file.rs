//! Files to be read.

use crate::error::Error;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Opens a file, and says how long it is. What is no regular file is refused: a pipe or a device may never end.
///
/// # Errors
/// [`Error::File`] if there is no such file or it is of another kind.
pub(crate) fn open(path: &Path) -> Result<(File, u64), Error> {
    let fail = |error: io::Error| Error::file(path, error);
    // Before it is opened: opening a pipe waits for somebody to write into it.
    if !fs::metadata(path).map_err(fail)?.is_file() {
        return Err(Error::file(path, "not a regular file"));
    }
    let file = File::open(path).map_err(fail)?;
    let len = file.metadata().map_err(fail)?.len();
    Ok((file, len))
}
