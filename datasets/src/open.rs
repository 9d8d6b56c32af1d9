//! Files that are read.

use interneuron::Error;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Opens a file, and says how long it is. What is no regular file is refused: a pipe or a device may never end.
///
/// # Errors
/// [`Error::File`] if there is no such file or it is of another kind.
pub(crate) fn open(path: &Path) -> Result<(File, u64), Error> {
    let fail = |error: io::Error| Error::file(path, error);
    let regular = |metadata: fs::Metadata| match metadata.is_file() {
        true => Ok(metadata),
        false => Err(Error::file(path, "not a regular file")),
    };
    // Before it is opened: opening a pipe waits for somebody to write into it.
    regular(fs::metadata(path).map_err(fail)?)?;
    let file = File::open(path).map_err(fail)?;
    // Again, because another may be there meanwhile.
    let len = regular(file.metadata().map_err(fail)?)?.len();
    Ok((file, len))
}
