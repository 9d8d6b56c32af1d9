//! The command line.

use super::common::args::{clip, count, number, one_line, path, rate, text, units, whole};
use super::common::bounds::{MOST_EPOCHS, MOST_IMAGES, MOST_SEED, MOST_THREADS};
use super::common::training::words;
use clap::Parser;
use interneuron::Isa;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Train recurrent networks with separate excitatory and inhibitory units beside others, on tasks through time.
///
/// Ctrl-C or SIGTERM ends after the present step and writes what there is; the second ends at once.
#[derive(Parser)]
#[command(name = "recurrent")]
pub struct Args {
    /// adding, rows (of images), decision (perceptual), matching (delayed match to sample), context (dependent decision),
    /// song (the decision of Song and others) or own (sequences of --data)
    #[arg(long, value_name = "NAME", default_value = "decision", value_parser = TaskName::find)]
    pub task: TaskName,
    /// Networks to train: rnn, dann (with corrections where steps are plain), dann-nc (without), dann-div (divisive, by roots in the cognitive tasks) and
    /// columns (sign-constrained)
    #[arg(long = "model", value_name = "LIST", value_delimiter = ',', default_value = "rnn,dann,columns")]
    pub models: Vec<Model>,
    /// Units of each recurrent layer; the default is that of the task: 10 for adding, 100 for rows, else 50
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = units)]
    hidden: Vec<usize>,
    /// Interneurons of each leg; the default is a tenth of the units for adding and rows, else a fifth
    #[arg(long, value_name = "N", value_parser = units)]
    inhibitory: Option<usize>,
    /// Steps of a sequence of adding
    #[arg(long, value_name = "T", default_value = "20", value_parser = steps())]
    pub steps: usize,
    /// Milliseconds of a time step of the cognitive tasks; the default is 20 for decision and song, else 100
    #[arg(long, value_name = "MS", value_parser = number(1.0, 100.0), allow_negative_numbers = true)]
    dt: Option<f64>,
    /// Deviation of the noise of units in the cognitive tasks
    #[arg(long, value_name = "S", default_value = "0.15", value_parser = number(0.0, 10.0))]
    #[arg(allow_negative_numbers = true)]
    pub noise: f64,
    /// For rows a folder with IDX files named as MNIST's; without it, digit-like images are drawn. For own a NumPy archive
    /// (.npz) with x [N, T, d], y (labels or values) [N, T], [N, T, K], [N] or [N, K], and perhaps weights m [N, T]: the last
    /// fifth of the sequences are those of the test
    #[arg(long, value_name = "DIR", value_parser = path())]
    pub data: Option<PathBuf>,
    /// In the archive of own, steps come before sequences: x [T, N, d]
    #[arg(long)]
    pub steps_first: bool,
    /// Epochs: passes over the data for rows and own, else so many updates: 141 for adding, 100 for the others
    #[arg(long, value_name = "N", value_parser = count(MOST_EPOCHS))]
    epochs: Option<usize>,
    /// Sequences of a step; the default is 64 for adding, 32 for rows, else 16
    #[arg(long, value_name = "N", value_parser = count(MOST_IMAGES))]
    batch: Option<usize>,
    /// Learning rate of all networks; the default depends on task and network
    #[arg(long, value_name = "RATE", value_parser = rate, allow_negative_numbers = true)]
    lr: Option<f64>,
    /// Largest norm of gradients: of each layer with interneurons, of each array with columns, else of the network; 0
    /// does not clip. The default depends on task and network
    #[arg(long, value_name = "NORM", value_parser = clip, allow_negative_numbers = true)]
    clip: Option<f64>,
    /// Seed of the parameters, of the trials and of their order
    #[arg(long, value_name = "N", default_value = "1", value_parser = whole(0, MOST_SEED))]
    pub seed: u64,
    /// Threads; the default is all cores that the process may use. Variables such as RAYON_NUM_THREADS or
    /// OMP_NUM_THREADS are not read
    #[arg(long, value_name = "N", value_parser = count(MOST_THREADS))]
    pub threads: Option<usize>,
    /// Instruction set, as --list-isas prints it; the default is $INTERNEURON_ISA, or else the widest
    #[arg(long, value_name = "NAME", value_parser = text())]
    isa: Option<String>,
    /// Folder for pictures and results.json
    #[arg(long, value_name = "DIR", default_value = "runs/recurrent", value_parser = path())]
    pub out: PathBuf,
    /// Print the instruction sets that this CPU has, and end
    #[arg(long)]
    pub list_isas: bool,
}

/// A task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskName {
    Adding,
    Rows,
    Decision,
    Matching,
    Context,
    Song,
    Own,
}

words!(TaskName: Adding = "adding", Rows = "rows", Decision = "decision", Matching = "matching", Context = "context", Song = "song", Own = "own");

impl TaskName {
    /// Whether it is a task of cognitive neuroscience, for leaky units with noise.
    pub fn is_cognitive(self) -> bool {
        !matches!(self, Self::Adding | Self::Rows | Self::Own)
    }

    /// Whether its networks learn by Adam, clipped as a whole.
    pub fn has_adam(self) -> bool {
        !matches!(self, Self::Adding | Self::Rows)
    }
}

/// A network to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    Rnn,
    Dann,
    DannNc,
    DannDiv,
    Columns,
}

words!(Model: Rnn = "rnn", Dann = "dann", DannNc = "dann-nc", DannDiv = "dann-div", Columns = "columns");

impl FromStr for Model {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::find(name)
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Steps of the adding problem: two of them are marked.
fn steps() -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync {
    let parse = whole(2, 10_000);
    move |text| parse(text).map(|steps| steps as usize)
}

impl Args {
    /// Reads the command line; an error is one line.
    pub fn read() -> Result<Self, Box<dyn Error>> {
        Self::try_parse().map_err(one_line)
    }

    /// Units of each recurrent layer.
    pub fn hidden(&self) -> Vec<usize> {
        if !self.hidden.is_empty() {
            return self.hidden.clone();
        }
        match self.task {
            TaskName::Adding => vec![10],
            TaskName::Rows => vec![100],
            _ => vec![50],
        }
    }

    /// Interneurons of each leg of a layer of so many units.
    pub fn inhibitory(&self, units: usize) -> usize {
        let every = if self.task.is_cognitive() { 5 } else { 10 };
        self.inhibitory.unwrap_or((units / every).max(1))
    }

    /// Milliseconds of a time step.
    pub fn dt(&self) -> f64 {
        let default = if matches!(self.task, TaskName::Matching | TaskName::Context) { 100.0 } else { 20.0 };
        self.dt.unwrap_or(default)
    }

    pub fn epochs(&self) -> usize {
        self.epochs.unwrap_or(match self.task {
            TaskName::Rows => 5,
            TaskName::Adding => 100,
            _ => 50,
        })
    }

    /// Updates of an epoch, where it is no pass over images.
    pub fn updates(&self) -> usize {
        if self.task == TaskName::Adding { 141 } else { 100 }
    }

    pub fn batch(&self) -> usize {
        self.batch.unwrap_or(match self.task {
            TaskName::Adding => 64,
            TaskName::Rows => 32,
            _ => 16,
        })
    }

    pub fn lr(&self, model: Model) -> f64 {
        self.lr.unwrap_or(match (self.task, model) {
            (TaskName::Adding, _) => 0.1,
            (TaskName::Rows, Model::Rnn) => 0.015,
            (TaskName::Rows, _) => 0.0158,
            _ => 0.001,
        })
    }

    /// The largest norm, if there is one.
    pub fn clip(&self, model: Model) -> Option<f64> {
        let default = match (self.task, model) {
            (TaskName::Adding, Model::Rnn) => 0.0,
            (TaskName::Adding, Model::Columns) => 7.0,
            (TaskName::Adding, _) => 3.0,
            (TaskName::Rows, _) => 10.0,
            _ => 1.0,
        };
        Some(self.clip.unwrap_or(default)).filter(|&clip| clip > 0.0)
    }

    /// The instruction set asked for, by the option or the environment.
    pub fn isa(&self) -> Result<Isa, interneuron::Error> {
        self.isa.as_deref().map_or_else(Isa::select, str::parse)
    }
}
