//! The folder of an experiment: a file for each finished run, so that nothing which is finished is ever lost.

use super::common::files::{UNFINISHED, read_text, write_whole};
use super::config::{Config, Preset, Source};
use super::experiment::{Experiment, Phase, Settings};
use super::run::Record;
use std::error::Error;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// The configuration as it was used.
pub const CONFIG: &str = "config.toml";
/// The file that a running experiment has locked. The lock ends with the process, however that ends.
const LOCK: &str = "lock";
const RUNS: &str = "runs";
const NETWORKS: &str = "networks";
/// The most bytes of a record: tens of thousands of epochs, with what every layer does.
const LONGEST: usize = 1 << 28;

/// The folder of an experiment that runs.
pub struct Store {
    folder: PathBuf,
    checkpoints: bool,
    _lock: File,
}

impl Store {
    /// Takes the folder for an experiment: a new one, or with `resume` one in which it was begun.
    pub fn open(experiment: &Experiment, resume: bool) -> Result<Self, Box<dyn Error>> {
        let folder = PathBuf::from(&experiment.config.out);
        let fail = |error: std::io::Error| format!("out: {}: {error}", folder.display());
        fs::create_dir_all(folder.join(RUNS)).map_err(fail)?;
        let lock = File::create(folder.join(LOCK)).map_err(fail)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!("out: {}: another process runs an experiment there", folder.display()).into());
            }
            Err(TryLockError::Error(error)) => return Err(fail(error).into()),
        }
        let store = Self { folder, checkpoints: experiment.config.checkpoints, _lock: lock };
        store.begin(&experiment.config, resume)?;
        Ok(store)
    }

    /// Compares with what is there, tidies up, and writes the configuration down.
    fn begin(&self, config: &Config, resume: bool) -> Result<(), Box<dyn Error>> {
        let file = self.path(CONFIG);
        let runs = self.files(RUNS)?.iter().any(|run| run.extension().is_some_and(|extension| extension == "json"));
        if !resume && (runs || file.exists()) {
            let folder = self.folder.display();
            return Err(format!("out: {folder}: there are runs already: go on with --resume, or use another").into());
        }
        if file.exists() {
            let before = Config::new(Preset::Paper, Source::read_whole(&file)?, &[])?;
            config.check_same(&before).map_err(|error| format!("--resume: {error}, as in {}", file.display()))?;
        } else if runs {
            return Err(format!("--resume: {}: no such file, but runs", file.display()).into());
        }
        if config.checkpoints {
            fs::create_dir_all(self.path(NETWORKS))?;
        }
        for folder in ["", RUNS, NETWORKS] {
            for file in self.files(folder)? {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                if name.starts_with('.') && name.ends_with(UNFINISHED) || name.starts_with(".checkpoint-") {
                    fs::remove_file(&file)?;
                }
            }
        }
        if file.exists() { Ok(()) } else { write_whole(&file, &config.print()) }
    }

    /// The files of a folder within; none if there is no such folder.
    fn files(&self, folder: &str) -> Result<Vec<PathBuf>, Box<dyn Error>> {
        let path = self.path(folder);
        if !path.is_dir() {
            return Ok(vec![]);
        }
        Ok(fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?)
    }

    /// A file or folder within.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn run(&self, settings: &Settings) -> PathBuf {
        self.path(RUNS).join(format!("{}.json", name(settings)))
    }

    /// Where the network of a run is to be saved, if it is.
    pub fn network(&self, settings: &Settings) -> Option<PathBuf> {
        let saved = self.checkpoints && settings.phase == Phase::Final;
        saved.then(|| self.path(NETWORKS).join(format!("{}.safetensors", name(settings))))
    }

    /// The record of a finished run, if there is one of exactly these settings. A file that cannot be read, or
    /// is longer than records are, is none.
    pub fn load(&self, settings: &Settings) -> Option<Record> {
        let text = read_text(&self.run(settings), LONGEST).ok()?;
        let record: Record = serde_json::from_str(&text).ok()?;
        let network = self.network(settings).filter(|_| record.diverged.is_none());
        let saved = network.is_none_or(|network: PathBuf| network.exists());
        (record.settings == *settings && record.is_whole() && saved).then_some(record)
    }

    /// Keeps the record of a finished run.
    pub fn save(&self, record: &Record) -> Result<(), Box<dyn Error>> {
        write_whole(&self.run(&record.settings), &(serde_json::to_string_pretty(record)? + "\n"))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// What the files of a run are called.
fn name(settings: &Settings) -> String {
    let phase = if settings.phase == Phase::Search { "search" } else { "final" };
    format!("{}-{phase}-{:02}", settings.network, settings.number)
}
