//! The tensors of a file: which layers they make, and whether they can.

use super::header::{Source, dtype};
use super::inputs;
use super::metadata::Metadata;
use crate::element::Element;
use crate::layers::LayerShape;
use crate::layers::inhibition::division::Divisor;
use crate::layers::kind::Tensors as Found;
use crate::optim::state::{Bad, SLOTS, Slot, SlotKind, State};
use crate::params::schema::{Parameter, Schema};
use crate::params::{Params, ParamsRef, array};
use safetensors::tensor::TensorInfo;
use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;

/// The tensor with the signs of the inputs of sign-constrained columns.
pub(crate) const SIGN: &str = "sign";
/// The tensor with the signs of the units of recurrent columns.
pub(crate) const UNIT_SIGN: &str = "unit_sign";

/// A layer as a file has it.
pub(super) struct Loaded<T> {
    pub shape: LayerShape,
    pub params: Params<T>,
    pub state: State<T>,
}

/// The signs of the inputs of a layer with sign-constrained columns, and those of its units if they come back.
pub(super) fn signs<T: Element>(shape: &LayerShape) -> Vec<(&'static str, Vec<T>)> {
    let signs = |n: usize, inhibitory: usize| {
        let sign = |i| if i < n - inhibitory { T::ONE } else { -T::ONE };
        (0..n).map(sign).collect::<Vec<_>>()
    };
    let Some([inputs, _]) = shape.inhibitory() else { return vec![] };
    let of_units = match shape {
        LayerShape::Recurrent(shape) => Some((UNIT_SIGN, signs(shape.ne, shape.inhibitory_units()))),
        _ => None,
    };
    std::iter::once((SIGN, signs(shape.inputs(), inputs))).chain(of_units).collect()
}

/// The layers of a file. Errors say what is wrong.
pub(super) fn layers<T: Element>(source: &Source, metadata: &Metadata) -> Result<Vec<Loaded<T>>, String> {
    let all = source.header.tensors();
    let mut tensors: BTreeMap<usize, HashMap<&str, &TensorInfo>> = BTreeMap::new();
    for (full, &tensor) in all.iter().filter(|(name, _)| !inputs::NAMES.contains(&name.as_str())) {
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
    let divisors = metadata.divisors(count)?.unwrap_or_else(|| vec![None; count]);
    let recurrences = metadata.recurrences(count)?.unwrap_or_else(|| vec![None; count]);
    let mut found = vec![];
    for ((position, nonlinearity), (k, tensors)) in nonlinearities.into_iter().enumerate().zip(tensors) {
        if k != position {
            return Err(format!("no tensors of layer {position}, but some of layer {k}"));
        }
        let divisor = divisors[position].unwrap_or_default();
        let recurrence = recurrences[position].clone();
        let mut tensors = Tensors { source, k, tensors, divisor, recurrence, element: PhantomData::<T> };
        let shape = LayerShape::of_tensors(&mut tensors, nonlinearity)?;
        found.push((tensors, shape));
    }
    // The outputs of a layer have the signs of the inputs above.
    for k in 1..count {
        if let Some([inputs, _]) = found[k].1.inhibitory() {
            found[k - 1].1 = found[k - 1].1.with_inhibitory_outputs(inputs);
        }
    }
    found.into_iter().map(|(tensors, shape)| tensors.load(shape)).collect()
}

/// The tensors of a layer.
struct Tensors<'f, T> {
    source: &'f Source,
    k: usize,
    tensors: HashMap<&'f str, &'f TensorInfo>,
    divisor: Divisor,
    recurrence: Option<String>,
    element: PhantomData<T>,
}

impl<T: Element> Found for Tensors<'_, T> {
    fn layer(&self) -> String {
        format!("layers.{}", self.k)
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn matrix(&self, name: &str) -> Result<[usize; 2], String> {
        let full = format!("layers.{}.{name}", self.k);
        let tensor = self.tensors.get(name).ok_or_else(|| format!("no tensor {full}"))?;
        <[usize; 2]>::try_from(&tensor.shape[..])
            .map_err(|_| format!("{full} is {:?}: expected two dimensions", tensor.shape))
    }

    fn divisor(&self) -> Divisor {
        self.divisor
    }

    fn recurrence(&self) -> Option<String> {
        self.recurrence.clone()
    }

    fn take_signs(&mut self, name: &str, n: usize) -> Result<usize, String> {
        let tensor = self.take(name)?;
        let of = if name == SIGN { "inputs" } else { "units" };
        let name = format!("layers.{}.{name}", self.k);
        check::<T>(&name, tensor, &[n])?;
        let mut signs = array::<T>(n, |_| 0.0).map_err(|error| error.to_string())?;
        self.source.read(tensor, &mut signs)?;
        let negative = signs.iter().filter(|&&sign| sign < T::ZERO).count();
        let expected = |i| if i < n - negative { T::ONE } else { -T::ONE };
        match signs.iter().enumerate().position(|(i, &sign)| sign != expected(i)) {
            None => Ok(negative),
            Some(i) => Err(format!("{name}[{i}] is {}: expected 1 for the first {of} and -1 for the others", signs[i])),
        }
    }
}

/// Tensors of one kind, one for each array that a layer has of it.
type OfParameters<'f> = Vec<Option<&'f TensorInfo>>;

impl<'f, T: Element> Tensors<'f, T> {
    fn take(&mut self, name: &str) -> Result<&'f TensorInfo, String> {
        self.tensors.remove(name).ok_or_else(|| format!("no tensor layers.{}.{name}", self.k))
    }

    /// The layer of this shape, if the tensors are its own and no others.
    fn load(mut self, shape: LayerShape) -> Result<Loaded<T>, String> {
        let k = self.k;
        let schema = &shape.schema().map_err(|error| format!("layer {k}: {error}"))?;
        // All tensors before any memory: what one promises may be more than another holds.
        let params = self.take_all(schema, "", all)?;
        let mut slots = vec![];
        for kind in SLOTS {
            let prefix = format!("{}.", kind.name);
            if self.tensors.keys().any(|name| name.starts_with(&prefix)) {
                slots.push((kind, self.take_all(schema, &prefix, |parameter| kind.dimensions(parameter))?));
            }
        }
        if let Some(name) = self.tensors.keys().next() {
            return Err(format!("layers.{k}.{name} is no tensor of such a layer"));
        }
        let params = self.read(schema, Parameter::elements, &params)?;
        let slot = |(kind, tensors): (&'static SlotKind, OfParameters<'f>)| {
            let params = self.read(schema, |parameter| kind.len(parameter), &tensors)?;
            Ok::<_, String>(Slot { kind, params, kept: true })
        };
        let state = State { slots: slots.into_iter().map(slot).collect::<Result<_, _>>()?, ..State::new() };
        check_values(k, schema, params.view(), &state)?;
        Ok(Loaded { shape, params, state })
    }

    /// Takes tensors of some parameters out of the file's: those that have dimensions.
    fn take_all(
        &mut self,
        schema: &Schema,
        prefix: &str,
        dimensions: impl Fn(&Parameter) -> Option<&[usize]>,
    ) -> Result<OfParameters<'f>, String> {
        let k = self.k;
        let take = |parameter: &Parameter| {
            let Some(dimensions) = dimensions(parameter) else { return Ok(None) };
            let name = format!("{prefix}{}", parameter.name);
            let tensor = self.take(&name)?;
            check::<T>(&format!("layers.{k}.{name}"), tensor, dimensions)?;
            Ok(Some(tensor))
        };
        schema.iter().map(take).collect()
    }

    /// Reads tensors of so many elements for each parameter.
    fn read(
        &self,
        schema: &Schema,
        len: impl Fn(&Parameter) -> usize,
        tensors: &OfParameters<'f>,
    ) -> Result<Params<T>, String> {
        let mut params = Params::zeros_sized(schema, len).map_err(|error| format!("layer {}: {error}", self.k))?;
        for (array, tensor) in params.view_mut().into_iter().zip(tensors) {
            tensor.map_or(Ok(()), |tensor| self.source.read(tensor, array))?;
        }
        Ok(params)
    }
}

/// The dimensions of a parameter, if it is there.
fn all(parameter: &Parameter) -> Option<&[usize]> {
    Some(parameter.dimensions()).filter(|_| parameter.elements() > 0)
}

/// Checks dimensions and element type of a tensor.
pub(super) fn check<T: Element>(name: &str, tensor: &TensorInfo, dimensions: &[usize]) -> Result<(), String> {
    let (is, of, expected) = (&tensor.shape, tensor.dtype, dtype::<T>());
    if (of, &is[..]) != (expected, dimensions) {
        return Err(format!("{name} is {is:?} of {of}: expected {dimensions:?} of {expected}"));
    }
    Ok(())
}

/// Checks that values can be the parameters of layer `k`, and what updates keep of it. Errors name the tensor.
pub(super) fn check_values<T: Element>(
    k: usize,
    schema: &Schema,
    params: ParamsRef<'_, T>,
    state: &State<T>,
) -> Result<(), String> {
    // Which parameters keep their sign depends on the layer.
    params.check_values(schema).map_err(|error| format!("layer {k}: {error}"))?;
    for slot in state.kept() {
        slot.check_values(schema, params).map_err(|Bad { parameter, index, value, expected }| {
            format!("layers.{k}.{}.{parameter}[{index}] is {value}: expected {expected}", slot.kind.name)
        })?;
    }
    Ok(())
}
