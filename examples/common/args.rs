//! Command lines: values, and errors of one line.

use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
use std::error::Error;
use std::process::ExitCode;

/// Ends a program: an error becomes one line and the exit code 2.
pub fn exit(result: Result<ExitCode, Box<dyn Error>>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(2)
    })
}

/// The first line of clap's error, without its `error: `. Where help was asked for, that is printed and the program ends.
pub fn one_line(error: clap::Error) -> Box<dyn Error> {
    if matches!(error.kind(), DisplayHelp | DisplayVersion) {
        error.exit();
    }
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned().into()
}

/// A number of things, at least one.
pub fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "expected a whole number, at least 1".to_owned())
}

/// A learning rate.
pub fn rate(text: &str) -> Result<f64, String> {
    let valid = |lr: &f64| *lr >= 0.0 && (*lr as f32).is_finite();
    text.parse().ok().filter(valid).ok_or_else(|| "expected a finite number, at least 0".to_owned())
}
