//! The metadata of a file: what a run is beside its tensors.

use super::Run;
use crate::element::Element;
use crate::init::{Generator, generator};
use crate::layers::inhibition::division::Divisor;
use crate::layers::{LayerShape, Nonlinearity};
use crate::network::train_state::{TrainState, label_generator};
use rand_chacha::rand_core::SeedableRng;
use std::collections::HashMap;

/// What every key begins with, so that none is another program's, too.
const PREFIX: &str = "interneuron.";
const FORMAT: &str = "2";
/// The format whose keys had no prefix.
const OLD_FORMAT: &str = "interneuron 1";
/// A key of that format that no other program has.
const OLD_MARK: &str = "nis";

/// The metadata of a file.
pub(super) struct Metadata {
    pub all: HashMap<String, String>,
    /// Whether keys without a prefix are read.
    old: bool,
}

impl Metadata {
    pub fn of<T: Element>(shapes: &[LayerShape], state: &TrainState<T>, run: &Run) -> Self {
        let name = |shape: &LayerShape| shape.nonlinearity().name();
        let Run { seed, generator, .. } = run;
        let entries = [
            ("format", FORMAT.to_owned()),
            ("dims", dims(shapes)),
            ("nis", nis(shapes)),
            ("nonlinearities", shapes.iter().map(name).collect::<Vec<_>>().join(",")),
            ("step", state.steps().to_string()),
            ("seed", seed.to_string()),
            ("generator", print_generator(generator)),
            ("labels", print_generator(&state.label_generator)),
        ];
        let entries = entries.into_iter().chain(divisors(shapes).map(|divisors| ("divisors", divisors)));
        let entries = entries.chain(recurrences(shapes).map(|recurrences| ("recurrence", recurrences)));
        Self { all: entries.map(|(key, value)| (format!("{PREFIX}{key}"), value)).collect(), old: false }
    }

    /// Those that a file has, of which others may be another program's.
    pub fn read(all: HashMap<String, String>) -> Result<Self, String> {
        let wrong =
            |key: &str, value: &str, expected| Err(format!("metadata {key} is {value:?}: expected {expected:?}"));
        let key = format!("{PREFIX}format");
        let new = all.get(&key);
        if let Some(format) = new.filter(|format| *format != FORMAT) {
            return wrong(&key, format, FORMAT);
        }
        // Others write here what they are, such as "pt", and may do so into a file that was ours.
        let old = match all.get("format") {
            None => true,
            Some(format) if format == OLD_FORMAT => true,
            Some(format) if format.starts_with("interneuron") => return wrong("format", format, OLD_FORMAT),
            Some(_) => all.contains_key(OLD_MARK),
        };
        let old = old && new.is_none();
        Ok(Self { all, old })
    }

    /// What is there under a key, with or without the prefix; and the key as it is there.
    fn entry(&self, key: &str) -> Option<(&str, &str)> {
        let prefixed = self.all.get_key_value(&format!("{PREFIX}{key}"));
        let (key, value) = prefixed.or_else(|| self.all.get_key_value(key).filter(|_| self.old))?;
        Some((key, value))
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.entry(key).map(|(_, value)| value)
    }

    /// What cannot be used under a key.
    fn wrong(&self, key: &str, expected: &str) -> String {
        let (key, value) = self.entry(key).unwrap_or((key, ""));
        format!("metadata {key} is {value:?}: expected {expected}")
    }

    /// Checks what is there against the layers.
    pub fn check(&self, shapes: &[LayerShape]) -> Result<(), String> {
        for (key, expected) in [("dims", dims(shapes)), ("nis", nis(shapes))] {
            if self.get(key).is_some_and(|value| *value != expected) {
                return Err(self.wrong(key, &format!("{expected:?}")));
            }
        }
        let divisors = self.divisors(shapes.len())?;
        if divisors.is_some_and(|divisors| !divisors.into_iter().eq(shapes.iter().map(LayerShape::divisor))) {
            return Err(self.wrong("divisors", "none for the layers that do not divide, and for no others"));
        }
        Ok(())
    }

    /// What each layer divides by, if the file says so.
    pub fn divisors(&self, layers: usize) -> Result<Option<Vec<Option<Divisor>>>, String> {
        let Some(texts) = self.get("divisors") else { return Ok(None) };
        let divisor = |text| if text == "none" { Some(None) } else { Divisor::of_text(text).map(Some) };
        let all = texts.split(',').map(divisor).collect::<Option<Vec<_>>>();
        let expected = || {
            let expected =
                format!("none, plain, root or a floor from 1e-30 to 1e30, floor:0.01, for each of {layers} layers");
            self.wrong("divisors", &expected)
        };
        all.filter(|all| all.len() == layers).map(Some).ok_or_else(expected)
    }

    /// How each layer goes from step to step, if the file says so.
    pub fn recurrences(&self, layers: usize) -> Result<Option<Vec<Option<String>>>, String> {
        let Some(texts) = self.get("recurrence") else { return Ok(None) };
        let all: Vec<_> = texts.split(',').map(|text| Some(text.to_owned()).filter(|text| text != "none")).collect();
        let expected = || self.wrong("recurrence", &format!("none, plain, rate or state for each of {layers} layers"));
        Some(all).filter(|all| all.len() == layers).map(Some).ok_or_else(expected)
    }

    pub fn nonlinearities(&self, layers: usize) -> Result<Vec<Nonlinearity>, String> {
        let Some(names) = self.get("nonlinearities") else {
            return Ok((1..=layers)
                .map(|k| if k < layers { Nonlinearity::Relu } else { Nonlinearity::Identity })
                .collect());
        };
        let all = names.split(',').map(Nonlinearity::of_name).collect::<Option<Vec<_>>>();
        let expected = || self.wrong("nonlinearities", &format!("relu or identity for each of {layers} layers"));
        all.filter(|all| all.len() == layers).ok_or_else(expected)
    }

    /// The steps taken, the state of the run, and the generator of labels.
    pub fn run(&self) -> Result<(u64, Run, Generator), String> {
        let number = |key| match self.get(key) {
            None => Ok(0),
            Some(value) => value.parse::<u64>().map_err(|_| self.wrong(key, "a whole number below 2^64")),
        };
        let (step, seed) = (number("step")?, number("seed")?);
        let state = |key, fresh: fn(u64) -> Generator| match self.get(key) {
            None => Ok(fresh(seed)),
            Some(state) => parse_generator(state)
                .ok_or_else(|| self.wrong(key, "64 hexadecimal digits, the stream and the position: KEY:0:0")),
        };
        let run = Run { generator: state("generator", generator)?, ..Run::new(seed) };
        Ok((step, run, state("labels", label_generator)?))
    }
}

pub(super) fn print_generator(generator: &Generator) -> String {
    let key: String = generator.get_seed().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{key}:{}:{}", generator.get_stream(), generator.get_word_pos())
}

pub(super) fn parse_generator(state: &str) -> Option<Generator> {
    let mut parts = state.split(':');
    let (key, stream) = (parts.next()?, parts.next()?.parse().ok()?);
    // Positions have 68 bits; then the generator begins again.
    let position: u128 = parts.next()?.parse().ok().filter(|position| *position < 1 << 68)?;
    if parts.next().is_some() || key.len() != 64 || !key.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut seed = [0; 32];
    for (i, byte) in seed.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&key[2 * i..2 * i + 2], 16).ok()?;
    }
    let mut generator = Generator::from_seed(seed);
    generator.set_stream(stream);
    generator.set_word_pos(position);
    Some(generator)
}

fn dims(shapes: &[LayerShape]) -> String {
    let inputs = shapes.first().map(LayerShape::inputs);
    join(inputs.into_iter().chain(shapes.iter().map(LayerShape::outputs)))
}

fn nis(shapes: &[LayerShape]) -> String {
    join(shapes.iter().map(LayerShape::interneurons))
}

/// What each layer divides by; nothing if no divisor is other than plain.
fn divisors(shapes: &[LayerShape]) -> Option<String> {
    let other = |shape: &LayerShape| shape.divisor().is_some_and(|divisor| divisor != Divisor::Plain);
    let text = |shape: &LayerShape| shape.divisor().map_or("none".to_owned(), Divisor::text);
    shapes.iter().any(other).then(|| shapes.iter().map(text).collect::<Vec<_>>().join(","))
}

/// How each layer goes from step to step; nothing if no layer has states.
fn recurrences(shapes: &[LayerShape]) -> Option<String> {
    let text = |shape: &LayerShape| match shape {
        LayerShape::Recurrent(shape) => shape.text(),
        _ => "none".to_owned(),
    };
    shapes.iter().any(LayerShape::is_recurrent).then(|| shapes.iter().map(text).collect::<Vec<_>>().join(","))
}

fn join(numbers: impl Iterator<Item = usize>) -> String {
    numbers.map(|n| n.to_string()).collect::<Vec<_>>().join(",")
}
