//! Where the targets that read files put them.

use std::path::Path;
use tempfile::TempDir;

/// A folder that goes with its owner, in memory if the system has a place for that.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a place for temporary files")
}
