//! Networks in training, saved as files and loaded again.
//!
//! A checkpoint is a [safetensors](https://huggingface.co/docs/safetensors) file, which Python reads and writes with the
//! package of that name. The tensors of layer `k`, counted from the input, are `layers.{k}.NAME` with the names and
//! dimensions of [`LayerShape::arrays`], of the element type of the network: `layers.0.Wex [ne, d]`, `layers.0.Wix [ni, d]`
//! and so on for a layer with inhibition (without `alpha` and `g` if it does not divide), `layers.0.W [ne, d]` and
//! `layers.0.b [ne]` for a plain one. The metadata are
//!
//! | key | value | if missing |
//! |---|---|---|
//! | `format` | `interneuron 1` | the same |
//! | `dims` | the inputs and then the units of each layer: `784,500,10` | as the tensors are |
//! | `nis` | the interneurons of each layer, 0 for a plain one: `50,1` | as the tensors are |
//! | `nonlinearities` | `relu` or `identity` for each layer | `relu` for all but the last |
//! | `step` | the steps taken | 0 |
//! | `seed` | that of the run | 0 |
//! | `generator` | the state of its generator: key in hexadecimal, stream and position | that of the seed |
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
use crate::network::{Architecture, Network};
use crate::params::Nonlinearity;
use crate::params::dann::DannShape;
use crate::params::dense::DenseShape;
use crate::params::layer::{LayerParams, LayerShape};
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
    let mut tensors = vec![];
    for (k, (shape, params)) in shapes.iter().zip(network.params()).enumerate() {
        let arrays: HashMap<_, _> = params.arrays().into_iter().collect();
        for (name, dimensions) in shape.arrays() {
            let bytes = bytemuck::cast_slice(arrays[name]);
            let view = TensorView::new(dtype::<T>(), dimensions, bytes).map_err(|error| Error::file(path, error))?;
            tensors.push((format!("layers.{k}.{name}"), view));
        }
    }
    let metadata = Metadata::of(&shapes, network.steps(), run).0;
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
    let (step, run) = metadata.run().map_err(fail)?;
    Architecture::of(layers.iter().map(|(shape, _)| *shape).collect()).map_err(|error| fail(error.to_string()))?;
    Ok((Network::of(layers, isa, step)?, run))
}

fn dtype<T: Element>() -> Dtype {
    if size_of::<T>() == size_of::<f32>() { Dtype::F32 } else { Dtype::F64 }
}

/// The layers of a file. Errors say what is wrong.
fn layers<T: Element>(
    file: &SafeTensors<'_>,
    metadata: &Metadata,
) -> Result<Vec<(LayerShape, LayerParams<T>)>, String> {
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
    let mut layers = vec![];
    for ((position, nonlinearity), (k, mut tensors)) in nonlinearities.into_iter().enumerate().zip(tensors) {
        if k != position {
            return Err(format!("no tensors of layer {position}, but some of layer {k}"));
        }
        let shape = shape(k, &tensors, nonlinearity)?;
        // All tensors before any memory: what one promises may be more than another holds.
        let mut found = vec![];
        for (name, dimensions) in shape.arrays() {
            let tensor = tensors.remove(name).ok_or_else(|| format!("no tensor layers.{k}.{name}"))?;
            let (is, of, expected) = (tensor.shape(), tensor.dtype(), dtype::<T>());
            if (of, is) != (expected, &*dimensions) {
                return Err(format!("layers.{k}.{name} is {is:?} of {of}: expected {dimensions:?} of {expected}"));
            }
            found.push((name, tensor));
        }
        if let Some(name) = tensors.keys().next() {
            return Err(format!("layers.{k}.{name} is no tensor of such a layer"));
        }
        let mut params = LayerParams::<T>::zeros(&shape).map_err(|error| format!("layer {k}: {error}"))?;
        let mut arrays: HashMap<_, _> = params.view_mut().arrays().into_iter().collect();
        for (name, tensor) in found {
            let array = arrays.remove(name).expect("a layer has the arrays of its shape");
            let values = tensor.data().chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned);
            array.iter_mut().zip(values).for_each(|(to, value)| *to = value);
        }
        params.view().validate(&shape).map_err(|error| format!("layer {k}: {error}"))?;
        layers.push((shape, params));
    }
    Ok(layers)
}

/// The shape that the tensors of layer `k` have, as far as it can be told from one of each dimension.
fn shape(k: usize, tensors: &HashMap<&str, TensorView<'_>>, nonlinearity: Nonlinearity) -> Result<LayerShape, String> {
    let matrix = |name: &str| {
        let tensor = tensors.get(name).ok_or_else(|| format!("no tensor layers.{k}.{name}"))?;
        <[usize; 2]>::try_from(tensor.shape())
            .map_err(|_| format!("layers.{k}.{name} is {:?}: expected two dimensions", tensor.shape()))
    };
    if tensors.contains_key("W") {
        let [ne, d] = matrix("W")?;
        return Ok(DenseShape { d, ne, nonlinearity }.into());
    }
    let ([ne, d], [ni, _]) = (matrix("Wex")?, matrix("Wix")?);
    let divisive = tensors.contains_key("alpha");
    Ok(DannShape { d, ne, ni, nonlinearity, divisive }.into())
}

/// The metadata of a file.
struct Metadata(HashMap<String, String>);

impl Metadata {
    fn of(shapes: &[LayerShape], step: u64, run: &Run) -> Self {
        let name = |shape: &LayerShape| match shape.nonlinearity() {
            Nonlinearity::Relu => "relu",
            Nonlinearity::Identity => "identity",
        };
        let Run { seed, generator } = run;
        let key: String = generator.get_seed().iter().map(|byte| format!("{byte:02x}")).collect();
        let entries = [
            ("format", FORMAT.to_owned()),
            ("dims", dims(shapes)),
            ("nis", nis(shapes)),
            ("nonlinearities", shapes.iter().map(name).collect::<Vec<_>>().join(",")),
            ("step", step.to_string()),
            ("seed", seed.to_string()),
            ("generator", format!("{key}:{}:{}", generator.get_stream(), generator.get_word_pos())),
        ];
        Self(entries.map(|(key, value)| (key.to_owned(), value)).into())
    }

    /// What cannot be used under a key.
    fn wrong(&self, key: &str, expected: &str) -> String {
        format!("metadata {key} is {:?}: expected {expected}", self.0.get(key).map_or("", String::as_str))
    }

    /// Checks what is there against the layers.
    fn check<T>(&self, layers: &[(LayerShape, LayerParams<T>)]) -> Result<(), String> {
        let shapes: Vec<_> = layers.iter().map(|(shape, _)| *shape).collect();
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

    /// The steps taken and the state of the run.
    fn run(&self) -> Result<(u64, Run), String> {
        let number = |key| match self.0.get(key) {
            None => Ok(0),
            Some(value) => value.parse::<u64>().map_err(|_| self.wrong(key, "a whole number below 2^64")),
        };
        let (step, seed) = (number("step")?, number("seed")?);
        let generator = match self.0.get("generator") {
            None => generator(seed),
            Some(state) => parse_generator(state).ok_or_else(|| {
                self.wrong("generator", "64 hexadecimal digits, the stream and the position: KEY:0:0")
            })?,
        };
        Ok((step, Run { seed, generator }))
    }
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
        LayerShape::Dense(_) => 0,
    }))
}

fn join(numbers: impl Iterator<Item = usize>) -> String {
    numbers.map(|n| n.to_string()).collect::<Vec<_>>().join(",")
}
