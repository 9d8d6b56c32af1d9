//! The tensors of a file: which layers they make, and whether they can.

use super::header::Source;
use super::metadata::Metadata;
use crate::element::Element;
use crate::params::arrays::Letter;
use crate::params::dann::DannShape;
use crate::params::dense::{Columns, DenseShape};
use crate::params::layer::{LayerParams, LayerRef, LayerShape};
use crate::params::norm::{NormShape, Over};
use crate::params::state::State;
use crate::params::{Nonlinearity, array};
use safetensors::tensor::{Dtype, TensorInfo};
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
pub(super) fn present<T: Element>(params: LayerRef<'_, T>) -> impl Iterator<Item = (&'static str, &[T])> {
    params.arrays().into_iter().filter(|(_, array)| !array.is_empty())
}

/// What updates keep of a layer, array for array, with the prefix of its names, and whether it may be negative.
pub(super) fn kept<T: Element>(state: &State<T>) -> impl Iterator<Item = (&'static str, LayerRef<'_, T>, bool)> {
    let kept = [("velocity.", &state.velocity, true), ("fisher.", &state.fisher, false)];
    kept.into_iter().filter_map(|(prefix, params, signed)| Some((prefix, params.as_ref()?.view(), signed)))
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
pub(super) fn layers<T: Element>(source: &Source, metadata: &Metadata) -> Result<Vec<Loaded<T>>, String> {
    let all = source.header.tensors();
    let mut tensors: BTreeMap<usize, HashMap<&str, &TensorInfo>> = BTreeMap::new();
    for (full, &tensor) in &all {
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
        let mut tensors = Tensors { source, k, tensors };
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
    source: &'f Source,
    k: usize,
    tensors: HashMap<&'f str, &'f TensorInfo>,
}

impl<'f> Tensors<'f> {
    fn take(&mut self, name: &str) -> Result<&'f TensorInfo, String> {
        self.tensors.remove(name).ok_or_else(|| format!("no tensor layers.{}.{name}", self.k))
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The dimensions of a matrix.
    fn matrix(&self, name: &str) -> Result<[usize; 2], String> {
        let full = format!("layers.{}.{name}", self.k);
        let tensor = self.tensors.get(name).ok_or_else(|| format!("no tensor {full}"))?;
        <[usize; 2]>::try_from(&tensor.shape[..])
            .map_err(|_| format!("{full} is {:?}: expected two dimensions", tensor.shape))
    }

    /// The shape that the layer has, as far as one tensor of each dimension shows it.
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
        check::<T>(&name, tensor, &[d])?;
        let signs: Vec<T> = self.vector(tensor)?;
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
                check::<T>(&format!("layers.{k}.{prefix}{name}"), tensor, &dimensions)?;
                tensors.push(tensor);
            }
            found.insert(prefix, tensors);
        }
        let negative = self.tensors.remove(NEGATIVE);
        if let Some(negative) = negative {
            check::<T>(&format!("layers.{k}.{NEGATIVE}"), negative, &[shape.outputs()])?;
        }
        if let Some(name) = self.tensors.keys().next() {
            return Err(format!("layers.{k}.{name} is no tensor of such a layer"));
        }
        let mut read = |prefix| -> Result<_, String> {
            let Some(tensors) = found.remove(prefix) else { return Ok(None) };
            let mut params = LayerParams::<T>::zeros(&shape).map_err(|error| format!("layer {k}: {error}"))?;
            let mut arrays = params.view_mut().arrays();
            arrays.retain(|(_, array)| !array.is_empty());
            for ((_, array), tensor) in arrays.into_iter().zip(tensors) {
                self.source.read(tensor, array)?;
            }
            Ok(Some(params))
        };
        let params = read("")?.expect("every layer has parameters");
        let (velocity, fisher) = (read("velocity.")?, read("fisher.")?);
        let negative = negative.map_or(Ok(vec![]), |tensor| self.vector(tensor))?;
        let state = State { velocity, fisher, negative, ..State::new() };
        check_values(k, &shape, params.view(), &state)?;
        Ok(Loaded { shape, params, state })
    }

    /// The elements of a tensor in one dimension.
    fn vector<T: Element>(&self, tensor: &TensorInfo) -> Result<Vec<T>, String> {
        let mut vector = array(tensor.shape[0], |_| 0.0).map_err(|error| error.to_string())?;
        self.source.read(tensor, &mut vector)?;
        Ok(vector)
    }
}

/// Checks dimensions and element type of a tensor.
fn check<T: Element>(name: &str, tensor: &TensorInfo, dimensions: &[usize]) -> Result<(), String> {
    let (is, of, expected) = (&tensor.shape, tensor.dtype, dtype::<T>());
    if (of, &is[..]) != (expected, dimensions) {
        return Err(format!("{name} is {is:?} of {of}: expected {dimensions:?} of {expected}"));
    }
    Ok(())
}

/// Checks that values can be the parameters of layer `k`, and what updates keep of it. Errors name the tensor.
pub(super) fn check_values<T: Element>(
    k: usize,
    shape: &LayerShape,
    params: LayerRef<'_, T>,
    state: &State<T>,
) -> Result<(), String> {
    // Which parameters keep their sign depends on the layer.
    params.validate(shape).map_err(|error| format!("layer {k}: {error}"))?;
    for (prefix, kept, signed) in kept(state) {
        for (name, array) in present(kept) {
            finite(&format!("layers.{k}.{prefix}{name}"), array, signed)?;
        }
    }
    let negative = &state.negative;
    finite(&format!("layers.{k}.{NEGATIVE}"), negative, false)?;
    let mut wrong = None;
    params.for_each(|letter, bias| {
        if letter == Letter::B {
            wrong = bias.iter().zip(negative).position(|(&b, &negative)| b + negative < T::ZERO);
        }
    });
    if let Some(i) = wrong {
        let (name, value) = (format!("layers.{k}.{NEGATIVE}[{i}]"), negative[i]);
        return Err(format!("{name} is {value}: expected so much that b and it are not negative together"));
    }
    Ok(())
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
