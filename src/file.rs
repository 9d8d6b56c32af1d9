//! Files that are read, and that take the place of others.

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

/// Writes a file that is there whole or not at all. It is written beside `path` under another name, which begins with
/// `prefix` and is like no other's, reaches the disk as far as the file system can say so, and only then takes the
/// place of what was there.
///
/// # Errors
/// If it cannot be written. What was there is still there then, and nothing else.
pub(crate) fn write_whole(
    path: &Path,
    prefix: &str,
    write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    #[cfg(unix)]
    {
        // As other files: what the user's mask leaves.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder)?;
    let mut writer = io::BufWriter::new(&mut file);
    write(&mut writer)?;
    io::Write::flush(&mut writer)?;
    drop(writer);
    sync(file.as_file())?;
    file.persist(path)?;
    Ok(())
}

/// Waits until a file is on the disk. Some file systems (FUSE, shared folders of virtual machines) do not know such a
/// wish; that is no reason to lose what was written.
fn sync(file: &File) -> io::Result<()> {
    file.sync_all().or_else(|error| match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Ok(()),
        _ => Err(error),
    })
}
