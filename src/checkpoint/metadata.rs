//! The metadata of a file: what a run is beside its tensors.

use super::Run;
use super::tensors::Loaded;
use crate::element::Element;
use crate::init::{Generator, generator};
use crate::network::{Network, label_generator};
use crate::params::Nonlinearity;
use crate::params::layer::LayerShape;
use rand_chacha::rand_core::SeedableRng;
use std::collections::HashMap;

const FORMAT: &str = "interneuron 1";

/// The metadata of a file.
pub(super) struct Metadata(pub HashMap<String, String>);

impl Metadata {
    pub fn of<T: Element>(shapes: &[LayerShape], network: &Network<T>, run: &Run) -> Self {
        let name = |shape: &LayerShape| match shape.nonlinearity() {
            Nonlinearity::Relu => "relu",
            Nonlinearity::Identity => "identity",
        };
        let Run { seed, generator } = run;
        let entries = [
            ("format", FORMAT.to_owned()),
            ("dims", dims(shapes)),
            ("nis", nis(shapes)),
            ("nonlinearities", shapes.iter().map(name).collect::<Vec<_>>().join(",")),
            ("step", network.steps().to_string()),
            ("seed", seed.to_string()),
            ("generator", print_generator(generator)),
            ("labels", print_generator(network.label_generator())),
        ];
        Self(entries.map(|(key, value)| (key.to_owned(), value)).into())
    }

    /// What cannot be used under a key.
    fn wrong(&self, key: &str, expected: &str) -> String {
        format!("metadata {key} is {:?}: expected {expected}", self.0.get(key).map_or("", String::as_str))
    }

    /// Checks what is there against the layers.
    pub fn check<T>(&self, layers: &[Loaded<T>]) -> Result<(), String> {
        let shapes: Vec<_> = layers.iter().map(|layer| layer.shape).collect();
        let expected = [("format", FORMAT.to_owned()), ("dims", dims(&shapes)), ("nis", nis(&shapes))];
        for (key, expected) in expected {
            if self.0.get(key).is_some_and(|value| *value != expected) {
                return Err(self.wrong(key, &format!("{expected:?}")));
            }
        }
        Ok(())
    }

    pub fn nonlinearities(&self, layers: usize) -> Result<Vec<Nonlinearity>, String> {
        let Some(names) = self.0.get("nonlinearities") else {
            return Ok((1..=layers)
                .map(|k| if k < layers { Nonlinearity::Relu } else { Nonlinearity::Identity })
                .collect());
        };
        let nonlinearity = |name| match name {
            "relu" => Some(Nonlinearity::Relu),
            "identity" => Some(Nonlinearity::Identity),
            _ => None,
        };
        let all = names.split(',').map(nonlinearity).collect::<Option<Vec<_>>>();
        let expected = || self.wrong("nonlinearities", &format!("relu or identity for each of {layers} layers"));
        all.filter(|all| all.len() == layers).ok_or_else(expected)
    }

    /// The steps taken, the state of the run, and the generator of labels.
    pub fn run(&self) -> Result<(u64, Run, Generator), String> {
        let number = |key| match self.0.get(key) {
            None => Ok(0),
            Some(value) => value.parse::<u64>().map_err(|_| self.wrong(key, "a whole number below 2^64")),
        };
        let (step, seed) = (number("step")?, number("seed")?);
        let state = |key, fresh: fn(u64) -> Generator| match self.0.get(key) {
            None => Ok(fresh(seed)),
            Some(state) => parse_generator(state)
                .ok_or_else(|| self.wrong(key, "64 hexadecimal digits, the stream and the position: KEY:0:0")),
        };
        let run = Run { seed, generator: state("generator", generator)? };
        Ok((step, run, state("labels", label_generator)?))
    }
}

fn print_generator(generator: &Generator) -> String {
    let key: String = generator.get_seed().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{key}:{}:{}", generator.get_stream(), generator.get_word_pos())
}

fn parse_generator(state: &str) -> Option<Generator> {
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
    join(shapes.iter().map(|shape| match shape {
        LayerShape::Dann(shape) => shape.ni,
        _ => 0,
    }))
}

fn join(numbers: impl Iterator<Item = usize>) -> String {
    numbers.map(|n| n.to_string()).collect::<Vec<_>>().join(",")
}
