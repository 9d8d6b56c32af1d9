//! The tensors of a file that say what is done to inputs.

use super::header::Source;
use super::tensors::check;
use crate::element::Element;
use crate::params::array;
use crate::scaler::Scaler;

/// Their names, in the order of [`maps`].
pub(super) const NAMES: [&str; 2] = ["inputs.offset", "inputs.scale"];

/// Offsets and scales in the element type of a file, if they are of so many inputs.
pub(super) fn maps<T: Element>(scaler: &Scaler, d: usize) -> Result<[Vec<T>; 2], String> {
    let inputs = scaler.offset().len();
    if inputs != d {
        return Err(format!("the scaler has {inputs} inputs: expected {d}, those of the network"));
    }
    let maps = [scaler.offset(), scaler.scale()].map(|map| map.iter().map(|&x| T::from_f64(x)).collect::<Vec<T>>());
    // What a file cannot hold is not saved.
    let [offset, scale] = maps.each_ref().map(|map| map.iter().map(|x| x.to_f64()).collect());
    checked(offset, scale).map(|_| maps)
}

/// The scaler of a file, if it has one, which must be of so many inputs.
pub(super) fn read<T: Element>(source: &Source, d: usize) -> Result<Option<Scaler>, String> {
    let tensors = source.header.tensors();
    let found = NAMES.map(|name| tensors.get(name).copied());
    if found.iter().all(Option::is_none) {
        return Ok(None);
    }
    let read = |index: usize| {
        let name = NAMES[index];
        let tensor = found[index].ok_or_else(|| format!("no tensor {name}"))?;
        check::<T>(name, tensor, &[d])?;
        let mut map = array::<T>(d, |_| 0.0).map_err(|error| error.to_string())?;
        source.read(tensor, &mut map)?;
        Ok::<Vec<f64>, String>(map.iter().map(|x| x.to_f64()).collect())
    };
    checked(read(0)?, read(1)?).map(Some)
}

fn checked(offset: Vec<f64>, scale: Vec<f64>) -> Result<Scaler, String> {
    Scaler::new(offset, scale).map_err(|error| format!("inputs.{error}"))
}
