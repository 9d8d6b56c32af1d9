//! Files that are there whole or not at all.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

/// How the name of an unfinished file ends.
pub const UNFINISHED: &str = ".unfinished";

/// Makes a folder and checks that files can be written there, before anything takes time.
pub fn check_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    tempfile::NamedTempFile::new_in(folder)?;
    Ok(())
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
pub fn write_whole(path: &Path, text: &str) -> Result<(), Box<dyn Error>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Not a temporary file of the usual kind: those can be read by nobody else.
    let unfinished = path.with_file_name(format!(".{name}.{}{UNFINISHED}", std::process::id()));
    let write = || -> io::Result<()> {
        let mut file = File::create(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&unfinished);
        format!("{}: {error}", path.display()).into()
    })
}
