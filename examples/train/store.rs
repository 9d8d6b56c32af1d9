//! The folder of the results: what is finished is there at once, and can be gone on with.

use super::args::{Args, Model};
use super::common::files::{self, read_text, write_whole};
use super::common::images::{Data, Fingerprint};
use super::common::inputs::Preparation;
use super::common::learn::LastBatch;
use super::common::output::note;
use super::common::training::Training;
use super::run::{Run, Settings, Status};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

pub const RESULTS: &str = "results.json";
const LOCK: &str = "lock";
const NETWORKS: &str = "networks";
/// The most bytes of the results: hundreds of thousands of epochs.
const LONGEST: usize = 1 << 28;

/// What all runs of a folder have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Common {
    pub version: String,
    pub data: Fingerprint,
    pub classes: usize,
    pub hidden: Vec<usize>,
    pub inhibitory: usize,
    pub batch: usize,
    pub last_batch: LastBatch,
    pub seed: u64,
    /// Missing in files of older versions: images as they are.
    #[serde(default)]
    pub inputs: Preparation,
    /// Missing in files of older versions: plain steps at a constant rate.
    #[serde(default)]
    pub training: Training,
    /// The epochs after which the schedule ends, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_epochs: Option<usize>,
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Results {
    settings: Common,
    runs: Vec<Run>,
}

/// The folder, while networks are trained.
pub struct Store {
    folder: PathBuf,
    settings: Common,
    /// For each network that was asked for its run, as far as it has got.
    asked: Vec<Option<Run>>,
    /// Runs from before of networks that were not asked for now.
    others: Vec<Run>,
    checkpoints: bool,
    /// Checkpoints that could not be saved, and why.
    unsaved: BTreeMap<PathBuf, String>,
    _lock: File,
}

impl Store {
    /// Takes the folder, which is there. With `--resume` what it holds must be of the same settings.
    pub fn open(args: &Args, settings: &Settings, data: &Data) -> Result<Self, Box<dyn Error>> {
        let lock = files::lock(&args.out.join(LOCK)).map_err(|error| format!("--out {error}"))?;
        let mut store = Self {
            folder: args.out.clone(),
            settings: settings.common.clone(),
            asked: vec![None; args.models.len()],
            others: vec![],
            checkpoints: args.checkpoints,
            unsaved: BTreeMap::new(),
            _lock: lock,
        };
        for folder in ["", NETWORKS] {
            files::tidy(&store.path(folder))?;
        }
        let file = store.path(RESULTS);
        if args.resume && file.exists() {
            store
                .resume(args, settings, data, &file)
                .map_err(|error| format!("--resume: {}: {error}", file.display()))?;
        } else if file.exists() {
            note(format_args!("{}: the results of an earlier run will be replaced", file.display()));
        }
        if args.checkpoints {
            fs::create_dir_all(store.path(NETWORKS))?;
            store.forget_checkpoints(args)?;
        }
        Ok(store)
    }

    /// Takes over the runs of a file, if they are of these settings.
    fn resume(&mut self, args: &Args, settings: &Settings, data: &Data, file: &Path) -> Result<(), Box<dyn Error>> {
        let Results { settings: before, mut runs } = serde_json::from_str(&read_text(file, LONGEST)?)?;
        settings.check_same(&before, data)?;
        for (index, (place, &model)) in self.asked.iter_mut().zip(&args.models).enumerate() {
            let Some(found) = runs.iter().position(|run| run.model == model.name()) else { continue };
            let run = runs.remove(found);
            let (lr, epochs) = (settings.lr(index), run.epochs.len());
            if run.lr != lr {
                return Err(format!("lr of {model} is {lr}: expected {}", run.lr).into());
            }
            if epochs > args.epochs {
                return Err(format!("epochs is {}: expected at least {epochs}, as of {model}", args.epochs).into());
            }
            *place = Some(run);
        }
        self.others = runs;
        Ok(())
    }

    /// Removes checkpoints of networks that begin anew: they are of other runs.
    fn forget_checkpoints(&self, args: &Args) -> Result<(), Box<dyn Error>> {
        for index in (0..args.models.len()).filter(|&index| self.asked[index].is_none()) {
            for path in [Which::Last, Which::Best].map(|which| self.checkpoint_path(&args.models, index, which)) {
                if path.exists() {
                    note(format_args!("{}: of an earlier run, removed", path.display()));
                    fs::remove_file(&path)?;
                }
            }
        }
        Ok(())
    }

    /// A file or folder within.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Where a checkpoint of a network is, if checkpoints are saved.
    pub fn checkpoint(&self, models: &[Model], index: usize, which: Which) -> Option<PathBuf> {
        self.checkpoints.then(|| self.checkpoint_path(models, index, which))
    }

    /// Where it is, or would be.
    pub fn checkpoint_path(&self, models: &[Model], index: usize, which: Which) -> PathBuf {
        let model = models[index];
        let which = if which == Which::Last { "last" } else { "best" };
        // A network may be asked for more than once.
        let again = match models[..index].iter().filter(|&&before| before == model).count() {
            0 => String::new(),
            before => format!("-{}", before + 1),
        };
        self.path(NETWORKS).join(format!("{model}{again}-{which}.safetensors"))
    }

    /// Whether checkpoints are saved.
    pub fn saves_checkpoints(&self) -> bool {
        self.checkpoints
    }

    /// Whether there is anything to report: an epoch, or that a run diverged.
    pub fn has_results(&self) -> bool {
        self.runs().any(|run| !run.epochs.is_empty() || run.diverged.is_some())
    }

    /// The run of a network as it was left.
    pub fn run(&self, index: usize) -> Option<&Run> {
        self.asked[index].as_ref()
    }

    /// Keeps a run, as far as it has got. Where it is not written, that is said, and tried again at the end.
    pub fn keep(&mut self, index: usize, run: Run) {
        let worth_it = run.status != Status::Unfinished || self.checkpoints;
        self.asked[index] = Some(run);
        if worth_it && let Err(error) = self.save() {
            note(format_args!("{error}: the results are not on disk yet"));
        }
    }

    /// Saves a checkpoint of a network, if checkpoints are saved. One that cannot be saved is named, and once more at
    /// the end if no later one takes its place.
    pub fn save_checkpoint(
        &mut self,
        path: Option<PathBuf>,
        save: impl FnOnce(&Path) -> Result<(), interneuron::Error>,
    ) {
        let Some(path) = path else { return };
        if let Some(folder) = path.parent() {
            // It may have been removed meanwhile; if it cannot be made, saving tells.
            let _ = fs::create_dir_all(folder);
        }
        match save(&path) {
            Ok(()) => drop(self.unsaved.remove(&path)),
            Err(error) => {
                note(format_args!("{error}: the checkpoint is not on disk"));
                self.unsaved.insert(path, error.to_string());
            }
        }
    }

    /// An error if a checkpoint is missing.
    pub fn check_saved(&self) -> Result<(), Box<dyn Error>> {
        self.unsaved.values().next().map_or(Ok(()), |error| Err(error.clone().into()))
    }

    /// All runs that there are.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.asked.iter().flatten().chain(&self.others)
    }

    /// Writes the results.
    pub fn save(&self) -> Result<(), Box<dyn Error>> {
        let results = Results { settings: self.settings.clone(), runs: self.runs().cloned().collect() };
        write_whole(&self.path(RESULTS), &(serde_json::to_string_pretty(&results)? + "\n"))
    }
}

/// Which checkpoint of a network.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// After the last epoch.
    Last,
    /// After the first of the epochs with the least test error.
    Best,
}
