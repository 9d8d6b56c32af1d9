//! Networks in training, saved as files and loaded again.
//!
//! A checkpoint is a [safetensors](https://huggingface.co/docs/safetensors) file, which Python reads and writes with the
//! package of that name. The tensors of layer `k`, counted from the input, are `layers.{k}.NAME` with the names and
//! dimensions of [`LayerShape::arrays`], of the element type of the network:
//!
//! | layer | tensors |
//! |---|---|
//! | with inhibition | `Wex [ne, d]`, `Wix [ni, d]`, `Wei [ne, ni]`, `alpha [ni]`, `g [ne]`, `b [ne]`; without `alpha` and `g` if it does not divide |
//! | plain | `W [ne, d]`, `b [ne]` |
//! | with sign-constrained columns | `Wpos [ne, d]`, `b [ne]`, and `sign [d]`: +1 for each excitatory input, then −1 for each inhibitory one |
//! | layer normalisation | `W [ne, d]`, `g [ne]`, `b [ne]` |
//! | batch normalisation | the same, `running_mean [ne]`, `running_var [ne]` |
//!
//! What an [`Update`](crate::Update) keeps from step to step are tensors too, if there: `velocity.NAME` and `fisher.NAME`
//! for each of these names but `sign`, and `negative.b`, the part of a bias that is subtracted. The metadata are
//!
//! | key | value | if missing |
//! |---|---|---|
//! | `format` | `interneuron 1` | the same |
//! | `dims` | the inputs and then the units of each layer: `784,500,10` | as the tensors are |
//! | `nis` | the interneurons of each layer, 0 where there are none: `50,1` | as the tensors are |
//! | `nonlinearities` | `relu` or `identity` for each layer | `relu` for all but the last |
//! | `step` | the steps taken | 0 |
//! | `seed` | that of the run | 0 |
//! | `generator` | the state of its generator: key in hexadecimal, stream and position | that of the seed |
//! | `labels` | the state of the generator of the labels that a natural gradient draws | that of the seed |
//!
//! ```
//! use interneuron::checkpoint::{self, Run};
//! use interneuron::{Architecture, Isa, Network, generator};
//!
//! let folder = tempfile::tempdir()?;
//! let file = folder.path().join("net.safetensors");
//! let net: Network<f32> = Architecture::dann(&[4, 3, 2], &[2, 1])?.seed(7).build()?;
//! checkpoint::save(&file, &net, &Run { seed: 7, generator: generator(7) })?;
//! let (loaded, run) = checkpoint::load::<f32>(&file, Isa::select()?)?;
//! assert!(loaded.params().eq(net.params()) && run.seed == 7);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::element::Element;
use crate::error::Error;
use crate::init::{Generator, generator};
use crate::isa::Isa;
use crate::network::{Architecture, Network, label_generator};
use crate::params::Nonlinearity;
use crate::params::dann::DannShape;
use crate::params::dense::{Columns, DenseShape};
use crate::params::layer::{LayerParams, LayerRef, LayerShape};
use crate::params::norm::{NormShape, Over};
use crate::params::state::State;
use rand_chacha::rand_core::SeedableRng;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

const FORMAT: &str = "interneuron 1";

/// What a run needs beside the network to go on as if it had never stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// Where its generator is: that which draws its batches, for instance.
    pub generator: Generator,
}

/// Saves a network and the state of its run.
///
/// The file is written beside `path` under another name, reaches the disk, and only then takes the place of what was
/// there: whatever happens, `path` holds the old checkpoint or the new one.
///
/// # Errors
/// [`Error::File`] if the file cannot be written.
pub fn save<T: Element>(path: impl AsRef<Path>, network: &Network<T>, run: &Run) -> Result<(), Error> {
    let path = path.as_ref();
    let shapes: Vec<LayerShape> = network.shapes().collect();
    let signs: Vec<Option<Vec<T>>> = shapes.iter().map(signs).collect();
    let mut tensors = vec![];
    let mut add = |name: String, dimensions: Vec<usize>, values| {
        let view = TensorView::new(dtype::<T>(), dimensions, bytemuck::cast_slice(values));
        view.map(|view| tensors.push((name, view))).map_err(|error| Error::file(path, error))
    };
    for (k, (shape, (params, state))) in shapes.iter().zip(network.params().zip(network.states())).enumerate() {
        let kept = [(&state.velocity, "velocity."), (&state.fisher, "fisher.")];
        let kept = kept.into_iter().filter_map(|(params, prefix)| Some((prefix, params.as_ref()?.view())));
        for (prefix, params) in [("", params)].into_iter().chain(kept) {
            for ((name, dimensions), (_, array)) in shape.arrays().into_iter().zip(there_are(params)) {
                add(format!("layers.{k}.{prefix}{name}"), dimensions, array)?;
            }
        }
        if !state.negative.is_empty() {
            add(format!("layers.{k}.{NEGATIVE}"), vec![state.negative.len()], &state.negative)?;
        }
        if let Some(signs) = &signs[k] {
            add(format!("layers.{k}.{SIGN}"), vec![signs.len()], signs)?;
        }
    }
    let metadata = Metadata::of(&shapes, network, run).0;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> Result<(), Box<dyn std::error::Error>> {
        if cfg!(target_endian = "big") {
            return Err("checkpoints are little-endian, and this machine is not".into());
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".checkpoint-");
        #[cfg(unix)]
        {
            // As other files: what the user's mask leaves.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file = builder.tempfile_in(folder)?;
        safetensors::serialize_to_file(tensors, Some(metadata), file.path())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|error| Error::file(path, error))
}

/// Loads a network, to run on an instruction set, and the state of its run. What follows has the same bits as if the run
/// had not stopped, on the same instruction set.
///
/// # Errors
/// [`Error::File`] if the file cannot be read, is not a whole safetensors file, or does not hold a network with elements
/// `T`: it names the tensor or the key and what was expected. Values that a layer cannot have (not finite, or negative
/// where the sign is kept) are refused, too.
pub fn load<T: Element>(path: impl AsRef<Path>, isa: Isa) -> Result<(Network<T>, Run), Error> {
    let path = path.as_ref();
    let fail = |reason: String| Error::file(path, reason);
    if cfg!(target_endian = "big") {
        return Err(fail("checkpoints are little-endian, and this machine is not".into()));
    }
    let bytes = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
    let whole = |error| fail(format!("not a whole safetensors file: {error}"));
    let file = SafeTensors::deserialize(&bytes).map_err(whole)?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(whole)?;
    let metadata = Metadata(header.metadata().clone().unwrap_or_default());
    let layers = layers::<T>(&file, &metadata).map_err(fail)?;
    metadata.check(&layers).map_err(fail)?;
    let (step, run, labels) = metadata.run().map_err(fail)?;
    Architecture::of(layers.iter().map(|layer| layer.shape).collect()).map_err(|error| fail(error.to_string()))?;
    let states: Vec<State<T>> = layers.iter().map(|layer| layer.state.clone()).collect();
    let layers = layers.into_iter().map(|layer| (layer.shape, layer.params)).collect();
    let mut network = Network::of(layers, isa, step, labels)?;
    states.into_iter().enumerate().for_each(|(k, state)| network.set_state(k, state));
    Ok((network, run))
}

/// The tensor with the signs of the inputs of sign-constrained columns.
const SIGN: &str = "sign";
/// The tensor with the subtracted part of a bias.
const NEGATIVE: &str = "negative.b";

/// A layer as a file has it.
struct Loaded<T> {
    shape: LayerShape,
    params: LayerParams<T>,
    state: State<T>,
}

/// The arrays that a variant of a layer has.
fn there_are<T: Element>(params: LayerRef<'_, T>) -> impl Iterator<Item = (&'static str, &[T])> {
    params.arrays().into_iter().filter(|(_, array)| !array.is_empty())
}

/// The signs of the inputs of a layer with sign-constrained columns.
fn signs<T: Element>(shape: &LayerShape) -> Option<Vec<T>> {
    let LayerShape::Dense(DenseShape { d, columns: Some(columns), .. }) = *shape else { return None };
    let sign = |input| if input < d - columns.inhibitory_inputs { T::ONE } else { -T::ONE };
    Some((0..d).map(sign).collect())
}

fn dtype<T: Element>() -> Dtype {
    if size_of::<T>() == size_of::<f32>() { Dtype::F32 } else { Dtype::F64 }
}

/// The layers of a file. Errors say what is wrong.
fn layers<T: Element>(file: &SafeTensors<'_>, metadata: &Metadata) -> Result<Vec<Loaded<T>>, String> {
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
        Ok(Loaded { shape, params, state: State { velocity, fisher, negative, gradients: None } })
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

/// The metadata of a file.
struct Metadata(HashMap<String, String>);

impl Metadata {
    fn of<T: Element>(shapes: &[LayerShape], network: &Network<T>, run: &Run) -> Self {
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
    fn check<T>(&self, layers: &[Loaded<T>]) -> Result<(), String> {
        let shapes: Vec<_> = layers.iter().map(|layer| layer.shape).collect();
        let expected = [("format", FORMAT.to_owned()), ("dims", dims(&shapes)), ("nis", nis(&shapes))];
        for (key, expected) in expected {
            if self.0.get(key).is_some_and(|value| *value != expected) {
                return Err(self.wrong(key, &format!("{expected:?}")));
            }
        }
        Ok(())
    }

    fn nonlinearities(&self, layers: usize) -> Result<Vec<Nonlinearity>, String> {
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
    fn run(&self) -> Result<(u64, Run, Generator), String> {
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
