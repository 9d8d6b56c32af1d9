//! The folder of an experiment: a file for each finished run, so that nothing which is finished is ever lost.

use super::common::files::{self, read_text, write_whole};
use super::common::output::note;
use super::config::{Config, Preset, Source};
use super::experiment::{Experiment, Phase, Settings};
use super::run::Record;
use std::error::Error;
use std::fs::{self, File};
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
    /// The configuration of the experiment in a folder, if there is one.
    pub fn config(folder: &str) -> Result<Option<Config>, String> {
        let file = Path::new(folder).join(CONFIG);
        if !file.exists() {
            return Ok(None);
        }
        Config::new(Preset::Paper, Source::read_whole(&file)?, &[]).map(Some)
    }

    /// Takes the folder for an experiment: a new one, or with `resume` one in which it was begun, and which it extends.
    pub fn open(experiment: &Experiment, resume: bool) -> Result<Self, Box<dyn Error>> {
        let folder = PathBuf::from(&experiment.config.out);
        let fail = |error: std::io::Error| format!("out: {}: {error}", folder.display());
        fs::create_dir_all(folder.join(RUNS)).map_err(fail)?;
        let lock = files::lock(&folder.join(LOCK)).map_err(|error| format!("out: {error}"))?;
        files::check_folder(&folder).map_err(fail)?;
        let store = Self { folder, checkpoints: experiment.config.checkpoints, _lock: lock };
        store.begin(&experiment.config, resume)?;
        Ok(store)
    }

    /// Looks at what is there, tidies up, and writes the configuration down.
    fn begin(&self, config: &Config, resume: bool) -> Result<(), Box<dyn Error>> {
        let file = self.path(CONFIG);
        let runs = self.files(RUNS)?.iter().any(|run| run.extension().is_some_and(|extension| extension == "json"));
        if !resume && (runs || file.exists()) {
            let folder = self.folder.display();
            return Err(format!("out: {folder}: there are runs already: go on with --resume, or use another").into());
        }
        if runs && !file.exists() {
            return Err(format!("--resume: {}: no such file, but runs", file.display()).into());
        }
        if config.checkpoints {
            fs::create_dir_all(self.path(NETWORKS))?;
        }
        for folder in ["", RUNS, NETWORKS] {
            files::tidy(&self.path(folder))?;
        }
        let text = config.print();
        let same = fs::read_to_string(&file).is_ok_and(|before| before == text);
        if same { Ok(()) } else { write_whole(&file, &text) }
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
        if record.settings != *settings {
            self.set_aside(settings, &record.settings);
            return None;
        }
        let network = self.network(settings).filter(|_| record.diverged.is_none());
        let saved = network.is_none_or(|network: PathBuf| network.exists());
        (record.is_whole() && saved).then_some(record)
    }

    /// Gives a record of other settings another name, so that it is not lost when the run is done again, and says so.
    fn set_aside(&self, settings: &Settings, other: &Settings) {
        let (path, name) = (self.run(settings), name(settings));
        let aside = path.with_extension("json.before");
        let kept =
            if fs::rename(&path, &aside).is_ok() { format!("; it is now {}", aside.display()) } else { String::new() };
        let rate = Settings { rate: settings.rate, ..other.clone() };
        if rate == *settings && settings.phase == Phase::Final {
            // More trials found a better one.
            let [before, now] = [other.rate, settings.rate];
            note(format_args!("{name}: again, at learning rate {now}: the search preferred {before} before{kept}"));
        } else {
            note(format_args!("{name}: again: the record that is there is of other settings or another version{kept}"));
        }
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
