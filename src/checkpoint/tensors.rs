//! The tensors of a file: which layers they make, and whether they can.

use super::metadata::Metadata;
use crate::element::Element;
use crate::params::Nonlinearity;
use crate::params::arrays::Letter;
use crate::params::dann::DannShape;
use crate::params::dense::{Columns, DenseShape};
use crate::params::layer::{LayerParams, LayerRef, LayerShape};
use crate::params::norm::{NormShape, Over};
use crate::params::state::State;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};

/// The tensor with the signs of the inputs of sign-constrained columns.
pub(super) const SIGN: &str = "sign";
/// The tensor with the subtracted part of a bias.
pub(super) const NEGATIVE: &str = "negative.b";

/// A layer as a file has it.
pub(super) struct Loaded<T> {
    pub shape: LayerShape,
    pub params: LayerParams<T>,
    pub state: State<T>,
}

/// The arrays that a variant of a layer has.
pub(super) fn there_are<T: Element>(params: LayerRef<'_, T>) -> impl Iterator<Item = (&'static str, &[T])> {
    params.arrays().into_iter().filter(|(_, array)| !array.is_empty())
}

/// The signs of the inputs of a layer with sign-constrained columns.
pub(super) fn signs<T: Element>(shape: &LayerShape) -> Option<Vec<T>> {
    let LayerShape::Dense(DenseShape { d, columns: Some(columns), .. }) = *shape else { return None };
    let sign = |input| if input < d - columns.inhibitory_inputs { T::ONE } else { -T::ONE };
    Some((0..d).map(sign).collect())
}

pub(super) fn dtype<T: Element>() -> Dtype {
    if size_of::<T>() == size_of::<f32>() { Dtype::F32 } else { Dtype::F64 }
}

/// The layers of a file. Errors say what is wrong.
pub(super) fn layers<T: Element>(file: &SafeTensors<'_>, metadata: &Metadata) -> Result<Vec<Loaded<T>>, String> {
    let mut tensors: BTreeMap<usize, HashMap<&str, TensorView<'_>>> = BTreeMap::new();
    for (full, tensor) in file.iter() {
        let parts = full.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
        // One name for each tensor: not also layers.00.Wex.
        let number = |k: &str| k.parse::<usize>().ok().filter(|number| number.to_string() == k);
        let Some((k, name)) = parts.and_then(|(k, name)| Some((number(k)?, name))) else {
            return Err(format!("tensor {full:?}: expected a name such as layers.0.Wex"));
        };
        tensors.entry(k).or_default().insert(name, tensor);
    }
    let count = tensors.len();
    if count == 0 {
        return Err("no tensors: expected those of a layer at least".into());
    }
    let nonlinearities = metadata.nonlinearities(count)?;
    let mut found = vec![];
    for ((position, nonlinearity), (k, tensors)) in nonlinearities.into_iter().enumerate().zip(tensors) {
        if k != position {
            return Err(format!("no tensors of layer {position}, but some of layer {k}"));
        }
        let mut tensors = Tensors { k, tensors };
        let shape = tensors.shape::<T>(nonlinearity)?;
        found.push((tensors, shape));
    }
    // The outputs of a layer have the signs of the inputs above.
    for k in 1..count {
        let (below, above) = found.split_at_mut(k);
        if let (LayerShape::Dense(below), LayerShape::Dense(above)) = (&mut below[k - 1].1, &above[0].1)
            && let (Some(below), Some(above)) = (&mut below.columns, &above.columns)
        {
            below.inhibitory_outputs = above.inhibitory_inputs;
        }
    }
    found.into_iter().map(|(tensors, shape)| tensors.load(shape)).collect()
}

/// The tensors of a layer.
struct Tensors<'f> {
    k: usize,
    tensors: HashMap<&'f str, TensorView<'f>>,
}

impl<'f> Tensors<'f> {
    fn take(&mut self, name: &str) -> Result<TensorView<'f>, String> {
        self.tensors.remove(name).ok_or_else(|| format!("no tensor layers.{}.{name}", self.k))
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The dimensions of a matrix.
    fn matrix(&self, name: &str) -> Result<[usize; 2], String> {
        let full = format!("layers.{}.{name}", self.k);
        let tensor = self.tensors.get(name).ok_or_else(|| format!("no tensor {full}"))?;
        <[usize; 2]>::try_from(tensor.shape())
            .map_err(|_| format!("{full} is {:?}: expected two dimensions", tensor.shape()))
    }

    /// The shape that the layer has, as far as it can be told from one tensor of each dimension.
    fn shape<T: Element>(&mut self, nonlinearity: Nonlinearity) -> Result<LayerShape, String> {
        if self.has("Wpos") {
            let [ne, d] = self.matrix("Wpos")?;
            let inhibitory_inputs = self.inhibitory_inputs::<T>(d)?;
            let columns = Some(Columns { inhibitory_inputs, inhibitory_outputs: 0 });
            return Ok(DenseShape { d, ne, nonlinearity, columns }.into());
        }
        if self.has("W") {
            let [ne, d] = self.matrix("W")?;
            if self.has("g") {
                let over = if self.has("running_mean") { Over::Examples } else { Over::Units };
                return Ok(NormShape { d, ne, nonlinearity, over }.into());
            }
            return Ok(DenseShape { d, ne, nonlinearity, columns: None }.into());
        }
        let ([ne, d], [ni, _]) = (self.matrix("Wex")?, self.matrix("Wix")?);
        let divisive = self.has("alpha");
        Ok(DannShape { d, ne, ni, nonlinearity, divisive }.into())
    }

    /// How many inputs have a negative sign.
    fn inhibitory_inputs<T: Element>(&mut self, d: usize) -> Result<usize, String> {
        let name = format!("layers.{}.{SIGN}", self.k);
        let tensor = self.take(SIGN)?;
        check::<T>(&name, &tensor, &[d])?;
        let signs: Vec<T> = values(&tensor).collect();
        let negative = signs.iter().filter(|&&sign| sign < T::ZERO).count();
        let expected = |i| if i < d - negative { T::ONE } else { -T::ONE };
        match signs.iter().enumerate().position(|(i, &sign)| sign != expected(i)) {
            None => Ok(negative),
            Some(i) => {
                Err(format!("{name}[{i}] is {}: expected 1 for the first inputs and -1 for the others", signs[i]))
            }
        }
    }

    /// The layer of this shape, if the tensors are its own and no others.
    fn load<T: Element>(mut self, shape: LayerShape) -> Result<Loaded<T>, String> {
        let k = self.k;
        let has_state = |tensors: &Self, prefix: &str| tensors.tensors.keys().any(|name| name.starts_with(prefix));
        let kept = ["velocity.", "fisher."].map(|prefix| (prefix, has_state(&self, prefix)));
        // All tensors before any memory: what one promises may be more than another holds.
        let groups = [("", true)].into_iter().chain(kept).filter(|(_, there)| *there).map(|(prefix, _)| prefix);
        let mut found = HashMap::new();
        for prefix in groups {
            let mut tensors = vec![];
            for (name, dimensions) in shape.arrays() {
                let tensor = self.take(&format!("{prefix}{name}"))?;
                check::<T>(&format!("layers.{k}.{prefix}{name}"), &tensor, &dimensions)?;
                tensors.push(tensor);
            }
            found.insert(prefix, tensors);
        }
        let negative = self.tensors.remove(NEGATIVE);
        if let Some(negative) = &negative {
            check::<T>(&format!("layers.{k}.{NEGATIVE}"), negative, &[shape.outputs()])?;
        }
        if let Some(name) = self.tensors.keys().next() {
            return Err(format!("layers.{k}.{name} is no tensor of such a layer"));
        }
        let mut read = |prefix, check_values: fn(&str, &[T]) -> Result<(), String>| -> Result<_, String> {
            let Some(tensors) = found.remove(prefix) else { return Ok(None) };
            let mut params = LayerParams::<T>::zeros(&shape).map_err(|error| format!("layer {k}: {error}"))?;
            let mut arrays = params.view_mut().arrays();
            arrays.retain(|(_, array)| !array.is_empty());
            for ((_, array), tensor) in arrays.into_iter().zip(tensors) {
                array.iter_mut().zip(values(&tensor)).for_each(|(to, value)| *to = value);
            }
            for ((name, _), (_, array)) in shape.arrays().into_iter().zip(there_are(params.view())) {
                check_values(&format!("layers.{k}.{prefix}{name}"), array)?;
            }
            Ok(Some(params))
        };
        // Which parameters keep their sign depends on the layer.
        let params = read("", |_, _| Ok(()))?.expect("every layer has parameters");
        params.view().validate(&shape).map_err(|error| format!("layer {k}: {error}"))?;
        let velocity = read("velocity.", |name, values| finite(name, values, true))?;
        let fisher = read("fisher.", |name, values| finite(name, values, false))?;
        let negative: Vec<T> = negative.iter().flat_map(values).collect();
        finite(&format!("layers.{k}.{NEGATIVE}"), &negative, false)?;
        let mut wrong = None;
        params.view().for_each(|letter, bias| {
            if letter == Letter::B {
                wrong = bias.iter().zip(&negative).position(|(&b, &negative)| b + negative < T::ZERO);
            }
        });
        if let Some(i) = wrong {
            let (name, value) = (format!("layers.{k}.{NEGATIVE}[{i}]"), negative[i]);
            return Err(format!("{name} is {value}: expected so much that b and it are not negative together"));
        }
        Ok(Loaded { shape, params, state: State { velocity, fisher, negative, ..State::new() } })
    }
}

/// Checks dimensions and element type of a tensor.
fn check<T: Element>(name: &str, tensor: &TensorView<'_>, dimensions: &[usize]) -> Result<(), String> {
    let (is, of, expected) = (tensor.shape(), tensor.dtype(), dtype::<T>());
    if (of, is) != (expected, dimensions) {
        return Err(format!("{name} is {is:?} of {of}: expected {dimensions:?} of {expected}"));
    }
    Ok(())
}

/// The elements of a tensor.
fn values<T: Element>(tensor: &TensorView<'_>) -> impl Iterator<Item = T> {
    tensor.data().chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned)
}

/// Checks that values are finite and, unless `signed`, not negative.
fn finite<T: Element>(name: &str, values: &[T], signed: bool) -> Result<(), String> {
    match values.iter().position(|&value| !value.is_finite() || (!signed && value < T::ZERO)) {
        None => Ok(()),
        Some(i) => {
            let expected = if signed { "a finite number" } else { "a finite number ≥ 0" };
            Err(format!("{name}[{i}] is {}: expected {expected}", values[i]))
        }
    }
}
