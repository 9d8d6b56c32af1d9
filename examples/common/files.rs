//! Files that are there whole or not at all, on whatever file system there is.

use super::output::note;
use std::error::Error;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Once;
use tempfile::NamedTempFile;

/// How the name of an unfinished file ends.
pub const UNFINISHED: &str = ".unfinished";

/// Makes a folder and checks that files can be written there, before anything takes time.
pub fn check_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut file = NamedTempFile::new_in(folder)?;
    // A disk without room for a few bytes fails here, and not after hours.
    file.write_all(b"interneuron")?;
    sync(file.as_file())
}

/// Waits until a file is on the disk, where the file system can tell. Where it cannot, that is said once.
fn sync(file: &File) -> io::Result<()> {
    static SAID: Once = Once::new();
    match file.sync_all() {
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::InvalidInput) => {
            SAID.call_once(|| {
                note(format_args!(
                    "this file system cannot tell when a file is on the disk ({error}): after a power failure the last \
                     files may be missing"
                ));
            });
            Ok(())
        }
        result => result,
    }
}

/// Locks a file, which is made if it is not there, against other processes. The lock ends with the file that is
/// returned, or with the process. On file systems without locks there is none, which is said.
pub fn lock(path: &Path) -> Result<File, String> {
    let fail = |error: io::Error| format!("{}: {error}", path.display());
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let folder = path.parent().unwrap_or(path).display();
            return Err(format!("{folder}: another process runs an experiment there"));
        }
        Err(TryLockError::Error(error)) => note(format_args!(
            "{}: this file system has no locks ({error}): make sure that no other process writes there",
            path.display()
        )),
    }
    Ok(file)
}

/// Reads a text of at most so many bytes. What is no regular file is refused: a pipe or a device may never end.
pub fn read_text(path: &Path, most: usize) -> io::Result<String> {
    // Before it is opened: opening a pipe waits for somebody to write into it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    if len > most as u64 {
        return Err(io::Error::other(format!("{len} bytes: expected at most {most}")));
    }
    let mut text = String::with_capacity(len as usize);
    file.take(len).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes a file under another name in the same folder, waits until it is on the disk, and only then gives it its name.
/// A folder that was removed meanwhile is made again.
pub fn write_whole(path: &Path, text: &str) -> Result<(), Box<dyn Error>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        if !folder.exists() {
            // Only itself: without the folders above, this is another disk than it was.
            fs::create_dir(folder)?;
        }
        let mut builder = tempfile::Builder::new();
        let prefix = format!(".{name}.");
        builder.prefix(&prefix).suffix(UNFINISHED);
        #[cfg(unix)]
        {
            // As other files: what the user's mask leaves.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        sync(file.as_file())?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Removes what processes that were killed left unfinished in a folder.
pub fn tidy(folder: &Path) -> io::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') && name.ends_with(UNFINISHED) || name.starts_with(".checkpoint-") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
