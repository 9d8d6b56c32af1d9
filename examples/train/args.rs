//! The command line.

use super::common::args::{count, one_line, path, rate, text, units, whole};
use super::common::bounds::{MOST_EPOCHS, MOST_IMAGES, MOST_SEED, MOST_THREADS};
use super::common::learn::LastBatch;
use clap::Parser;
use interneuron::Isa;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Train networks with separate excitatory and inhibitory units beside a plain one.
///
/// Results of finished networks are on disk at once. Ctrl-C or SIGTERM ends after the present step and writes what
/// there is; the second ends at once.
#[derive(Parser)]
#[command(name = "train")]
pub struct Args {
    /// Folder with IDX files named as MNIST's or EMNIST's, plain or .gz; without it, digit-like images are drawn
    #[arg(long, value_name = "DIR", value_parser = path())]
    pub data: Option<PathBuf>,
    /// Networks to train: mlp, dann (with corrections), dann-nc (without)
    #[arg(long = "model", value_name = "LIST", value_delimiter = ',', default_value = "mlp,dann,dann-nc")]
    pub models: Vec<Model>,
    /// Units of each hidden layer
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "500,500,500", value_parser = units)]
    pub hidden: Vec<usize>,
    /// Interneurons of each hidden layer; the output layer has one
    #[arg(long, value_name = "N", default_value = "50", value_parser = units)]
    pub inhibitory: usize,
    /// Passes over the training images
    #[arg(long, value_name = "N", default_value = "12", value_parser = count(MOST_EPOCHS))]
    pub epochs: usize,
    /// Images of a step
    #[arg(long, value_name = "N", default_value = "32", value_parser = count(MOST_IMAGES))]
    pub batch: usize,
    /// Images that do not fill a batch: spread over the steps of an epoch, or a short last step as in the original
    /// experiments: spread or short
    #[arg(long, value_name = "HOW", default_value = "spread", value_parser = LastBatch::find)]
    pub last_batch: LastBatch,
    /// Learning rate of all networks; the default depends on the network: mlp 0.2976, dann 0.1107, dann-nc 0.003981
    #[arg(long, value_name = "RATE", value_parser = rate, allow_negative_numbers = true)]
    pub lr: Option<f64>,
    /// Seed of the parameters, of the order of the images and of drawn images
    #[arg(long, value_name = "N", default_value = "1", value_parser = whole(0, MOST_SEED))]
    pub seed: u64,
    /// Threads; the default is all cores that the process may use. Variables such as RAYON_NUM_THREADS or
    /// OMP_NUM_THREADS are not read
    #[arg(long, value_name = "N", value_parser = count(MOST_THREADS))]
    pub threads: Option<usize>,
    /// Instruction set, as --list-isas prints it; the default is $INTERNEURON_ISA, or else the widest
    #[arg(long, value_name = "NAME", value_parser = text())]
    isa: Option<String>,
    /// Folder for curves.svg, results.json and checkpoints
    #[arg(long, value_name = "DIR", default_value = "runs/train", value_parser = path())]
    pub out: PathBuf,
    /// Save each network after every epoch, and the best by its test error, as networks/MODEL-last.safetensors and
    /// networks/MODEL-best.safetensors
    #[arg(long)]
    pub checkpoints: bool,
    /// Go on with what is in the folder --out: finished networks are kept, others go on from their last checkpoint, or
    /// begin again if there is none
    #[arg(long)]
    pub resume: bool,
    /// Print the instruction sets that this CPU has, and end
    #[arg(long)]
    pub list_isas: bool,
}

impl Args {
    /// Reads the command line; an error is one line.
    pub fn read() -> Result<Self, Box<dyn Error>> {
        Self::try_parse().map_err(one_line)
    }

    /// The instruction set asked for, by the option or the environment.
    pub fn isa(&self) -> Result<Isa, interneuron::Error> {
        self.isa.as_deref().map_or_else(Isa::select, str::parse)
    }
}

/// A network to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    Mlp,
    Dann,
    DannNc,
}

impl Model {
    const ALL: [Self; 3] = [Self::Mlp, Self::Dann, Self::DannNc];

    pub fn name(self) -> &'static str {
        match self {
            Self::Mlp => "mlp",
            Self::Dann => "dann",
            Self::DannNc => "dann-nc",
        }
    }

    /// The learning rate that the original experiments found for MNIST.
    pub fn default_lr(self) -> f64 {
        match self {
            Self::Mlp => 0.2976,
            Self::Dann => 0.1107,
            Self::DannNc => 0.003981,
        }
    }
}

impl FromStr for Model {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|model| model.name() == name).ok_or_else(|| format!("expected one of {}", names()))
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
