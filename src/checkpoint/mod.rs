//! Networks in training, saved as files and loaded again.
//!
//! A checkpoint is a [safetensors](https://huggingface.co/docs/safetensors) file, which Python reads and writes with
//! the package of that name. The tensors of layer `k`, counted from the input, are `layers.{k}.NAME` with the names and
//! dimensions of [`LayerShape::schema`], of the element type of the network:
//!
//! | layer | tensors |
//! |---|---|
//! | with inhibition that divides | `Wex [ne, d]`, `Wix [ni, d]`, `Wei [ne, ni]`, `alpha [ni]`, `g [ne]`, `b [ne]` |
//! | with inhibition that only subtracts | the same without `alpha` and `g` |
//! | plain | `W [ne, d]`, `b [ne]` |
//! | with sign-constrained columns | `Wpos [ne, d]`, `b [ne]`, `sign [d]` |
//! | layer normalisation | `W [ne, d]`, `g [ne]`, `b [ne]` |
//! | batch normalisation | the same, `running_mean [ne]`, `running_var [ne]` |
//! | recurrent, with inhibition that divides | `Uex [ne, d]`, `Uix [nu, d]`, `Uei [ne, nu]`, `Ualpha [nu]`, `Ug [ne]`, `Wex [ne, ne]`, `Wix [nw, ne]`, `Wei [ne, nw]`, `Walpha [nw]`, `Wg [ne]`, `b [ne]`, `h0 [ne]` |
//! | recurrent, with inhibition that only subtracts | the same without `Ualpha`, `Ug`, `Walpha` and `Wg` |
//! | recurrent, plain | `U [ne, d]`, `W [ne, ne]`, `b [ne]`, `h0 [ne]` |
//! | recurrent, with sign-constrained columns | `Upos [ne, d]`, `Wpos [ne, ne]`, `b [ne]`, `h0 [ne]`, `sign [d]`, `unit_sign [ne]` |
//!
//! Recurrent layers with a leak for each unit have `kappa [ne]` besides. `sign` is +1 for each excitatory input, then −1
//! for each inhibitory one, and so is `unit_sign` for the units. What is done to inputs before the network sees
//! them ([`Scaler`]) are the tensors `inputs.offset [d]` and `inputs.scale [d]`, both or none.
//!
//! What an [`Update`](crate::Update) keeps from step to step are tensors too, if there, for each of these names but
//! `sign`: `velocity.NAME`, `moment.NAME`, `square.NAME`, `largest_square.NAME` and `fisher.NAME` of the same dimensions;
//! one number each in `steps.NAME [1]`, Adam's t, `velocity_steps.NAME [1]`, which dampening counts, and
//! `decay_velocity.NAME [1]`, that of weight decay in exponentiated steps; `negative.b`, the part of a bias that is
//! subtracted; and for matrices `sum.NAME [1]` or `row_sums.NAME [rows]`, the sums that weights keep. The metadata are
//!
//! | key | value | if missing |
//! |---|---|---|
//! | `interneuron.format` | `2` | that of the other keys |
//! | `interneuron.dims` | the inputs and then the units of each layer: `784,500,10` | as the tensors are |
//! | `interneuron.nis` | the interneurons of each layer, 0 where there are none: `50,1` | as the tensors are |
//! | `interneuron.nonlinearities` | `relu` or `identity` for each layer | `relu` for all but the last |
//! | `interneuron.divisors` | what each layer divides by: `plain`, `root` or `floor:0.01`, `none` where nothing is | `plain` |
//! | `interneuron.recurrence` | how each layer goes from step to step: `plain`, `rate:0.2`, `state:0.2`, or without a number where each unit has its leak; and then, each after a space, `learned` (its `h0`), `no_self`, `visible:40` (units that go out), `unsigned`; `none` where there are no states | `plain` |
//! | `interneuron.step` | the steps taken | 0 |
//! | `interneuron.seed` | that of the run | 0 |
//! | `interneuron.generator` | the state of its generator: key in hexadecimal, stream and position | that of the seed |
//! | `interneuron.labels` | the state of the generator of the labels that a natural gradient draws | that of the seed |
//!
//! Other keys, such as the `{"format": "pt"}` of PyTorch's tools, are another program's, and not read. In files of
//! earlier versions, of format `interneuron 1`, the keys have no prefix. They are still read where `format` says so or
//! is missing, and where another program has changed it but left `nis`. Keys with a prefix come first, and if
//! `interneuron.format` is among them no others are read.
//!
//! Python's package writes the memory of a NumPy array as it lies. That of a transposed view lies in Fortran's order,
//! so a square matrix arrives transposed: pass such an array through `numpy.ascontiguousarray` first.
//!
//! ```
//! use interneuron::checkpoint::{self, Run};
//! use interneuron::{Architecture, Context, Network};
//!
//! let folder = tempfile::tempdir()?;
//! let file = folder.path().join("net.safetensors");
//! let context = Context::new()?;
//! let net: Network<f32> = Architecture::dann(&[4, 3, 2], &[2, 1])?.seed(7).build(&context)?;
//! checkpoint::save(&file, &net, &Run::new(7))?;
//! let (loaded, run) = checkpoint::load::<f32>(&file, &context)?;
//! assert!(loaded.params().eq(net.params()) && run.seed == 7);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod header;
mod inputs;
mod metadata;
mod tensors;

use crate::context::Context;
use crate::element::Element;
use crate::error::Error;
use crate::file;
use crate::init::{Generator, generator};
use crate::layers::LayerShape;
use crate::network::Network;
use crate::network::architecture::Architecture;
use crate::network::plan::Plan;
use crate::network::train_state::TrainState;
use crate::optim::state::{Slot, State};
use crate::params::network::NetworkParams;
use crate::scaler::Scaler;
use header::{Named, Source};
use metadata::{Metadata, parse_generator, print_generator};
use std::collections::HashMap;
use std::path::Path;
pub(crate) use tensors::{SIGN, UNIT_SIGN};
use tensors::{check_values, layers, signs};

/// What a run needs beside the network to go on as if it had never stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// Where its generator is: that which draws its batches, for instance.
    pub generator: Generator,
    /// What is done to inputs before the network sees them, if anything. A file holds it in the element type of the
    /// network, in which it is applied.
    pub scaler: Option<Scaler>,
}

impl Run {
    /// A run that has not begun: its generator is that of the seed, and inputs are as they are.
    pub fn new(seed: u64) -> Self {
        Self { seed, generator: generator(seed), scaler: None }
    }
}

/// Saves a network and the state of its run.
///
/// The file is written beside `path` under another name, reaches the disk, and only then takes the place of what was
/// there: whatever happens, `path` holds the old checkpoint or the new one. If the process is killed meanwhile, a file
/// `.checkpoint-*` may stay beside it, which nothing reads and anybody may delete. On a file system that cannot say
/// when a file is on the disk (`fsync` is not supported there), a loss of power may still lose the new one.
///
/// A network that [`load`] would refuse is not saved, so that one that diverged never replaces the last that was
/// finite.
///
/// # Errors
/// [`Error::File`] if the file cannot be written, or would be refused by [`load`]: if a parameter, or what updates keep
/// of it, is not finite, or negative where the sign is kept (the error names the tensor and the element), if the scaler
/// has not as many inputs as the network, or if there are so many layers that the header would be longer than 1 MiB. What was at `path` is still there then.
pub fn save<T: Element>(path: impl AsRef<Path>, network: &Network<T>, run: &Run) -> Result<(), Error> {
    let (plan, params, state) = network.parts();
    save_plan(path, plan, params, state, run)
}

/// As [`save`], of a network whose parameters somebody else owns: `params` and `state` are those of the steps that the
/// plan took.
///
/// # Errors
/// As [`save`]; [`Error::Length`] if `params` or a used `state` has not one element for each layer, [`Error::Layer`] with
/// [`Error::Length`] or [`Error::Kind`] if one has not the shape of its layer.
pub fn save_plan<'a, T: Element>(
    path: impl AsRef<Path>,
    plan: &Plan<T>,
    params: impl Into<NetworkParams<'a, T>>,
    state: &TrainState<T>,
    run: &Run,
) -> Result<(), Error> {
    let (path, params) = (path.as_ref(), params.into());
    let fail = |reason: String| Error::file(path, reason);
    if cfg!(target_endian = "big") {
        return Err(fail(NOT_LITTLE_ENDIAN.into()));
    }
    params.check("params", plan.schemas())?;
    state.check(plan.schemas())?;
    let shapes: Vec<LayerShape> = plan.shapes().collect();
    let signs: Vec<Vec<(&str, Vec<T>)>> = shapes.iter().map(signs).collect();
    let mut tensors: Vec<Named<'_, T>> = vec![];
    let nothing = State::new();
    for (k, schema) in plan.schemas().enumerate() {
        let (params, state) = (params.layer(k), state.layers().nth(k).unwrap_or(&nothing));
        check_values(k, schema, params, state).map_err(fail)?;
        for (parameter, array) in schema.iter().zip(params.iter()).filter(|(_, array)| !array.is_empty()) {
            tensors.push((format!("layers.{k}.{}", parameter.name), parameter.dimensions().to_vec(), array));
        }
        for Slot { kind, params, .. } in state.kept() {
            for (parameter, array) in schema.iter().zip(params.view().iter()) {
                if let Some(dimensions) = kind.dimensions(parameter) {
                    let name = format!("layers.{k}.{}.{}", kind.name, parameter.name);
                    tensors.push((name, dimensions.to_vec(), array));
                }
            }
        }
        for (name, signs) in &signs[k] {
            tensors.push((format!("layers.{k}.{name}"), vec![signs.len()], signs));
        }
    }
    let maps = run.scaler.as_ref().map(|scaler| inputs::maps::<T>(scaler, shapes[0].inputs())).transpose();
    let maps = maps.map_err(fail)?;
    for (name, map) in maps.iter().flat_map(|maps| inputs::NAMES.into_iter().zip(maps)) {
        tensors.push((name.to_owned(), vec![map.len()], map));
    }
    let metadata = Metadata::of(&shapes, state, run).all;
    write(path, &tensors, metadata).map_err(|error| fail(error.to_string()))
}

/// Writes a file that is there whole or not at all.
fn write<T: Element>(
    path: &Path,
    tensors: &[Named<'_, T>],
    metadata: HashMap<String, String>,
) -> Result<(), Box<dyn std::error::Error>> {
    let begin = header::print(tensors, metadata)?;
    file::write_whole(path, ".checkpoint-", |file| {
        file.write_all(&begin)?;
        tensors.iter().try_for_each(|(_, _, values)| file.write_all(bytemuck::cast_slice(values)))
    })?;
    Ok(())
}

/// Loads a network, to compute with a [`Context`], and the state of its run. What follows has the same bits as if the
/// run had not stopped, on the same instruction set.
///
/// A file is not believed: its header is held against its size before there is memory for what it promises, and no
/// header is longer than 1 MiB. Whatever the file says, no more is allocated than twice its bytes, and 64 MiB; for a
/// header as [`save`] writes it, hardly more than the network itself.
///
/// # Errors
/// [`Error::File`] if the file cannot be read, is no regular file or not a whole safetensors file, or does not hold a
/// network with elements `T`: it names the tensor or the key and what was expected. Values that a layer cannot have
/// (not finite, or negative where the sign is kept) are refused, too.
pub fn load<T: Element>(path: impl AsRef<Path>, context: &Context) -> Result<(Network<T>, Run), Error> {
    let path = path.as_ref();
    let fail = |reason: String| Error::file(path, reason);
    if cfg!(target_endian = "big") {
        return Err(fail(NOT_LITTLE_ENDIAN.into()));
    }
    let source = Source::open(path)?;
    let metadata = Metadata::read(source.header.metadata().clone().unwrap_or_default()).map_err(fail)?;
    let layers = layers::<T>(&source, &metadata).map_err(fail)?;
    let shapes: Vec<LayerShape> = layers.iter().map(|layer| layer.shape).collect();
    metadata.check(&shapes).map_err(fail)?;
    let (steps, mut run, label_generator) = metadata.run().map_err(fail)?;
    run.scaler = inputs::read::<T>(&source, shapes[0].inputs()).map_err(fail)?;
    let architecture = Architecture::of(shapes).map_err(|error| fail(error.to_string()))?;
    let (params, layers) = layers.into_iter().map(|layer| (layer.params, layer.state)).unzip();
    let network = Network::new(architecture.plan(context)?, params, TrainState { layers, steps, label_generator })?;
    Ok((network, run))
}

impl<T: Element> TrainState<T> {
    /// The steps taken and the generator of labels in a line of text, for who keeps parameters, and what the updates of
    /// layers keep, elsewhere than in such a file.
    pub fn to_line(&self) -> String {
        format!("{}:{}", self.steps, print_generator(&self.label_generator))
    }

    /// The state that [`TrainState::to_line`] tells of, with nothing kept of layers; none if it is no such line.
    pub fn of_line(line: &str) -> Option<Self> {
        let (steps, generator) = line.split_once(':')?;
        Some(Self { layers: vec![], steps: steps.parse().ok()?, label_generator: parse_generator(generator)? })
    }
}

const NOT_LITTLE_ENDIAN: &str = "checkpoints are little-endian, and this machine is not";
