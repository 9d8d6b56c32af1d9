//! What programs say: results on standard output, everything else on standard error.

use std::error::Error;
use std::fmt::Arguments;
use std::io::{Write, stderr, stdout};

/// Shows a line on standard error. If nobody reads there any more, or the disk under a log is full, it is not shown:
/// the work goes on.
pub fn note(line: Arguments<'_>) {
    // As one piece, so that lines of several threads do not mix.
    let _ = stderr().write_all(format!("{line}\n").as_bytes());
}

/// Prints a text on standard output. Results that do not arrive are an error.
pub fn print(text: &str) -> Result<(), Box<dyn Error>> {
    let mut out = stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| format!("standard output: {error}").into())
}

/// Reports a piece of work: `table` is printed first, so that it is there whatever becomes of the files that `write`
/// makes; `told` is printed after them. All is tried, and the first error returned.
pub fn report(
    table: &str,
    write: impl FnOnce() -> Result<(), Box<dyn Error>>,
    told: &str,
) -> Result<(), Box<dyn Error>> {
    let printed = print(table);
    write()?;
    printed?;
    print(told)
}

/// `s` where there is not exactly one.
pub fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
