//! A golden case, and the account of what was compared of it.

use crate::common::{Tolerance, assert_close_each, assert_within, cast};
use interneuron::*;
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The arrays of a case, and what its metadata say.
pub struct Case {
    /// The name of its file, without the ending.
    pub name: String,
    pub metadata: HashMap<String, String>,
    pub arrays: BTreeMap<String, Vec<f64>>,
}

impl Case {
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let array = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
            let number = |bytes: &[u8]| {
                let bytes = bytes.try_into().unwrap();
                match view.dtype() {
                    Dtype::F64 => f64::from_le_bytes(bytes),
                    Dtype::I64 => i64::from_le_bytes(bytes) as f64,
                    other => panic!("{name} is of type {other:?}"),
                }
            };
            let values = view.data().chunks_exact(8).map(number).collect();
            (name.clone(), values)
        };
        let arrays = tensors.tensors().into_iter().map(array).collect();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        Self { name, metadata: header.metadata().clone().unwrap_or_default(), arrays }
    }

    /// What the metadata call the kind of the case.
    pub fn kind(&self) -> &str {
        self.metadata.get("kind").map_or("unnamed", String::as_str)
    }

    /// What the metadata say under a key.
    pub fn says(&self, key: &str) -> &str {
        self.metadata.get(key).unwrap_or_else(|| panic!("{} does not say {key}", self.name))
    }

    pub fn array(&self, name: &str) -> &[f64] {
        self.arrays.get(name).unwrap_or_else(|| panic!("{} has no array {name}", self.name))
    }

    /// The number in an array of one element.
    pub fn number(&self, name: &str) -> f64 {
        let array = self.array(name);
        assert_eq!(array.len(), 1, "{}: elements of {name}", self.name);
        array[0]
    }

    pub fn integers(&self, name: &str) -> Vec<usize> {
        self.array(name).iter().map(|&x| x as usize).collect()
    }

    pub fn integer(&self, name: &str) -> usize {
        self.integers(name)[0]
    }

    pub fn cast<T: Element>(&self, name: &str) -> Vec<T> {
        cast(self.array(name))
    }

    pub fn dann<T: Element>(&self, name: impl Fn(&str) -> String) -> DannParams<T> {
        Dann::<()>::NAMES.map(|letter| self.cast(&name(letter)))
    }
}

/// Keeps account of the arrays of a case, so that none is left out.
pub struct Ledger<'c> {
    pub tolerance: f64,
    case: &'c Case,
    what: String,
    seen: Vec<String>,
}

impl<'c> Ledger<'c> {
    /// For a case that is computed in `T`, `by` what or whom.
    pub fn new<T>(case: &'c Case, by: &str, tolerance: f64) -> Self {
        let what = format!("{} {by} in {}", case.name, std::any::type_name::<T>());
        Self { tolerance, case, what, seen: vec![] }
    }

    /// Whether the case has an array.
    pub fn has(&self, name: &str) -> bool {
        self.case.arrays.contains_key(name)
    }

    pub fn close<T: Element>(&mut self, name: &str, got: &[T]) {
        let tolerance = self.tolerance;
        self.close_within(name, got, |_| tolerance);
    }

    /// With a tolerance of each element's own.
    pub fn close_within<T: Element>(&mut self, name: &str, got: &[T], tolerance: impl Fn(usize) -> f64) {
        assert_close_each(&format!("{}: {name}", self.what), got, self.case.array(name), tolerance);
        self.seen.push(name.to_owned());
    }

    /// Beside `scale` instead of the largest element, for what is left of a difference of numbers so large.
    pub fn close_beside<T: Element>(&mut self, scale: f64, name: &str, got: &[T]) {
        assert_within(&format!("{}: {name}", self.what), got, self.case.array(name), scale, self.tolerance);
        self.seen.push(name.to_owned());
    }

    /// Closes the account: every array but the inputs was compared.
    pub fn close_all(self, inputs: &[&str]) {
        for name in self.case.arrays.keys() {
            let seen = self.seen.contains(name) || inputs.contains(&name.as_str());
            assert!(seen, "{}: {name} was not compared", self.what);
        }
    }
}

/// For initialisations, which are no kernels: sums over whole batches, in whatever order, and logarithms.
pub fn drawn_tolerance<T: Tolerance>() -> f64 {
    T::LAYER.max(1e-12)
}
