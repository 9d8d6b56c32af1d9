//! Which runs there are, and the settings of each. Everything follows from the configuration and the data alone.

use super::common::images::{Data, FNV, Fingerprint, fnv};
use super::common::inputs::Preparation;
use super::common::learn::{LastBatch, check_batches};
use super::common::training::Training;
use super::config::{Config, Rates, Start};
use super::networks::{self, Kind, Sizes};
use super::store::CONFIG;
use interneuron::{Generator, Isa, LayerShape, Network, generator};
use interneuron_datasets::{Dataset, Files, TrainTest};
use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::path::Path;

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// To find a learning rate.
    Search,
    /// To be reported.
    Final,
}

/// All that decides what a run results in, on the same version of this program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub network: String,
    pub phase: Phase,
    /// Counted from 0 among the runs of its network and phase.
    pub number: usize,
    pub rate: f64,
    pub seed: u64,
    pub epochs: usize,
    pub batch: usize,
    pub last_batch: LastBatch,
    pub common: Common,
}

/// The settings that all runs of an experiment have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Common {
    pub version: String,
    pub isa: String,
    /// The hashes of all images and labels.
    pub data: Fingerprint,
    pub hidden: Vec<usize>,
    pub interneurons: usize,
    pub column_ratio: usize,
    pub natural_f_lambda: f64,
    pub natural_c: f64,
    /// The split between training and validation, and its seed.
    pub validation: usize,
    pub split_seed: u64,
    pub record: bool,
    /// Missing in records of older versions, as the next two: images as they are.
    #[serde(default)]
    pub inputs: Preparation,
    /// Plain steps, networks as in the original experiments.
    #[serde(default)]
    pub training: Training,
    #[serde(default)]
    pub scheme: Start,
}

/// What networks learn and are tested on in a phase, and the sizes that follow.
pub struct Stage {
    pub data: TrainTest,
    pub sizes: Sizes,
}

/// The whole experiment.
pub struct Experiment {
    pub config: Config,
    /// What it runs on, if this CPU has it. What is finished can be looked at without.
    isa: Result<Isa, interneuron::Error>,
    pub kinds: Vec<&'static Kind>,
    /// Missing if the known rates are used.
    search: Option<Stage>,
    last: Stage,
    common: Common,
}

impl Experiment {
    /// Loads the data and checks everything that can be checked before a run. An experiment that goes on must be as it
    /// was `before`, or more of the same, on the same data; the CPU may lack its instruction set, if all is done
    /// already.
    pub fn new(mut config: Config, before: Option<&Config>) -> Result<Self, Box<dyn Error>> {
        let file = Path::new(&config.out).join(CONFIG).display().to_string();
        let isa = match config.isa.as_str() {
            "" => Isa::select(),
            name => name.parse(),
        };
        match &isa {
            Ok(isa) => config.isa = isa.name().to_owned(),
            Err(interneuron::Error::UnsupportedIsa { .. }) if before.is_some() => {}
            Err(error) => return Err(format!("isa: {error}").into()),
        }
        if let Some(before) = before {
            config.check_extends(before).map_err(|error| format!("--resume: {error}, as in {file}"))?;
        }
        if !config.data.is_empty() {
            // An experiment may go on from another working folder.
            let path = std::path::absolute(&config.data)?;
            config.data = path.into_os_string().into_string().map_err(|_| "the working folder: expected UTF-8")?;
        }
        let folder = Some(Path::new(&config.data)).filter(|folder| !folder.as_os_str().is_empty());
        if let (Some(_), Some(Err(error))) = (before, folder.map(Files::find)) {
            return Err(format!("--resume: {error}: --data names where they are now").into());
        }
        let data = Data::load(folder, (config.drawn_train, config.drawn_test), config.seed, config.inputs)?;
        if let Some(name) = before.and_then(|before| data.difference(before.fingerprint.as_ref()?)) {
            return Err(format!("--resume: {name} are not those that the experiment was begun with, by {file}").into());
        }
        config.fingerprint = Some(data.fingerprint.clone());
        let kinds: Vec<_> = config.networks.iter().filter_map(|name| networks::find(name)).collect();
        let common = Common {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            isa: config.isa.clone(),
            data: data.fingerprint.clone(),
            hidden: config.hidden.clone(),
            interneurons: config.interneurons,
            column_ratio: config.column_ratio,
            natural_f_lambda: config.natural_f_lambda,
            natural_c: config.natural_c,
            validation: config.validation,
            split_seed: config.seed,
            record: config.record,
            inputs: config.inputs,
            training: config.training.clone(),
            scheme: config.scheme,
        };
        let search = if config.trials > 0 { Some(split(&data.sets.train, &config)?) } else { None };
        let outputs = data.classes.outputs();
        let stage = |data: TrainTest| Stage { sizes: Sizes::new(&config, &data, outputs), data };
        let (search, last) = (search.map(stage), stage(data.sets));
        let experiment = Self { config, isa, kinds, search, last, common };
        experiment.check()?;
        Ok(experiment)
    }

    /// Batches must fit the data, and networks must fit in memory.
    fn check(&self) -> Result<(), Box<dyn Error>> {
        let Config { epochs, search_epochs, trials, training, .. } = &self.config;
        let fewest = if *trials > 0 { epochs.min(search_epochs) } else { epochs };
        let rates = self.kinds.iter().map(|kind| self.config.rates[kind.name]);
        let largest = rates.map(|rates| if *trials > 0 { rates.high } else { rates.known }).fold(0.0, f64::max);
        training.check(*fewest, largest)?;
        let search = self.search.as_ref().map(|stage| (stage, "the training images without those for validation"));
        let stages = || search.into_iter().chain([(&self.last, "the training images")]);
        for kind in &self.kinds {
            let network = |error| format!("network {}: {error}", kind.name);
            let net = (kind.architecture)(&self.last.sizes).and_then(|it| it.build::<f32>(&Isa::best().into()));
            let shapes: Vec<LayerShape> = net.map_err(network)?.shapes().collect();
            let (field, batch) = (kind.batch)(&self.config);
            for (stage, which) in stages() {
                check_batches(shapes.iter().copied(), stage.data.train.len(), batch, self.config.last_batch)
                    .map_err(|expected| format!("{field} is {batch}: {expected}, {which}"))?;
            }
        }
        Ok(())
    }

    /// The instruction set that it runs on.
    pub fn isa(&self) -> Result<Isa, interneuron::Error> {
        self.isa.clone()
    }

    /// The data of a phase.
    pub fn stage(&self, phase: Phase) -> &Stage {
        match (phase, &self.search) {
            (Phase::Search, Some(search)) => search,
            _ => &self.last,
        }
    }

    /// The trials of a network. Their rates and seeds depend on the base seed and its name, not on other networks.
    pub fn trials(&self, kind: &Kind) -> Vec<Settings> {
        let Rates { low, high, .. } = self.config.rates[kind.name];
        let mut rng = named_generator(self.config.seed, kind.name);
        let mut trial = |number| {
            // Both bounds exactly, whatever rounding does.
            let rate = (low.ln() + rng.random::<f64>() * (high / low).ln()).exp().clamp(low, high);
            self.settings(kind, Phase::Search, number, rate, rng.random::<u32>().into())
        };
        (0..self.config.trials).map(&mut trial).collect()
    }

    /// The final runs of a network, all with the same rate.
    pub fn finals(&self, kind: &Kind, rate: f64) -> Vec<Settings> {
        let seed = |number| self.config.seed.wrapping_add(number as u64);
        (0..self.config.seeds).map(|number| self.settings(kind, Phase::Final, number, rate, seed(number))).collect()
    }

    fn settings(&self, kind: &Kind, phase: Phase, number: usize, rate: f64, seed: u64) -> Settings {
        let Config { epochs, search_epochs, .. } = self.config;
        Settings {
            network: kind.name.to_owned(),
            phase,
            number,
            rate,
            seed,
            epochs: if phase == Phase::Search { search_epochs } else { epochs },
            batch: (kind.batch)(&self.config).1,
            last_batch: self.config.last_batch,
            common: self.common.clone(),
        }
    }

    /// A network of the settings, with its parameters drawn.
    pub fn network(&self, kind: &Kind, settings: &Settings) -> Result<Network<f32>, interneuron::Error> {
        let sizes = &self.stage(settings.phase).sizes;
        (kind.architecture)(sizes)?.seed(settings.seed).build(&self.isa()?.into())
    }

    /// The images that a run learns, one counted once an epoch.
    pub fn images(&self, phase: Phase) -> u64 {
        let epochs = if phase == Phase::Search { self.config.search_epochs } else { self.config.epochs };
        (epochs * self.stage(phase).data.train.len()) as u64
    }
}

/// Holds some training images back for validation, chosen by the seed.
fn split(train: &Dataset, config: &Config) -> Result<TrainTest, String> {
    let (validation, images) = (config.validation, train.len());
    if validation >= images {
        return Err(format!("validation is {validation}: expected less than {images}, the training images"));
    }
    let mut order: Vec<usize> = (0..images).collect();
    order.shuffle(&mut named_generator(config.seed, "validation"));
    let (held_back, kept) = order.split_at_mut(validation);
    held_back.sort_unstable();
    kept.sort_unstable();
    Ok(TrainTest { train: train.subset(kept), test: train.subset(held_back) })
}

/// A generator of its own for each name.
fn named_generator(seed: u64, name: &str) -> Generator {
    let mut rng = generator(seed);
    rng.set_stream(fnv(FNV, name.as_bytes()));
    rng
}
