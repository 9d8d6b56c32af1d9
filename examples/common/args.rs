//! Command lines: what users type, with its bounds, and errors of one line.

use super::bounds::CLIPS;
use super::{interrupt, output};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs a program. An error becomes one line and the exit code 2; a program that was interrupted and ended well has the
/// code that shells give to a signal, 128 and its number.
pub fn run(program: impl FnOnce() -> Result<ExitCode, Box<dyn Error>>) -> ExitCode {
    interrupt::watch();
    match program() {
        Ok(code) => interrupt::exit_code().unwrap_or(code),
        Err(error) => {
            output::note(format_args!("error: {error}"));
            ExitCode::from(2)
        }
    }
}

/// The first line of clap's error, without its `error: `. Where help was asked for, that is printed and the program
/// ends.
pub fn one_line(error: clap::Error) -> Box<dyn Error> {
    let text = error.to_string();
    if matches!(error.kind(), DisplayHelp | DisplayVersion) {
        return match output::print(&text) {
            Ok(()) => std::process::exit(0),
            Err(error) => error,
        };
    }
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned().into()
}

/// A whole number from `low` to `high`, bounds included.
pub fn whole(low: u64, high: u64) -> impl Fn(&str) -> Result<u64, String> + Clone + Send + Sync {
    let expected = move || format!("expected a whole number from {low} to {high}");
    move |text| text.parse().ok().filter(|number| (low..=high).contains(number)).ok_or_else(expected)
}

/// The same, as a number of things.
pub fn count(high: u64) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync {
    let parse = whole(1, high);
    move |text| parse(text).and_then(|number| usize::try_from(number).map_err(|error| error.to_string()))
}

/// Units of a layer, at least one. How many are too many depends on the memory, which the network is held against.
pub fn units(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "expected a whole number, at least 1".to_owned())
}

/// A learning rate.
pub fn rate(text: &str) -> Result<f64, String> {
    let valid = |lr: &f64| *lr >= 0.0 && (*lr as f32).is_finite();
    text.parse().ok().filter(valid).ok_or_else(|| "expected a finite number, at least 0".to_owned())
}

/// A number from `low` to `high`, bounds included.
pub fn number(low: f64, high: f64) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync {
    let expected = move || format!("expected a number from {low} to {high}");
    move |text| text.parse().ok().filter(|number| (low..=high).contains(number)).ok_or_else(expected)
}

/// The largest norm of gradients, or 0 for none.
pub fn clip(text: &str) -> Result<f64, String> {
    let [low, high] = CLIPS;
    let valid = |&clip: &f64| clip == 0.0 || (low..=high).contains(&clip);
    text.parse().ok().filter(valid).ok_or_else(|| format!("expected 0, or a number from {low:e} to {high:e}"))
}

/// A text. What is not UTF-8 is refused everywhere: a configuration could not hold it.
pub fn text() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new().try_map(utf8)
}

/// A path, which is not empty.
pub fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(|text| match utf8(text)? {
        text if text.is_empty() => Err("expected a path".to_owned()),
        text => Ok(PathBuf::from(text)),
    })
}

fn utf8(text: OsString) -> Result<String, String> {
    text.into_string().map_err(|_| "expected UTF-8".to_owned())
}
