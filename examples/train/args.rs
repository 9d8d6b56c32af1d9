//! The command line.

use super::common::args::{clip, count, number, one_line, path, rate, text, units, whole};
use super::common::bounds::{MOST_DECAY, MOST_EPOCHS, MOST_IMAGES, MOST_MOMENTUM, MOST_SEED, MOST_THREADS};
use super::common::inputs::{Preparation, Remedy, Standardise};
use super::common::learn::LastBatch;
use super::common::training::{Course, Optimiser, Training};
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
    #[command(flatten)]
    inputs: InputArgs,
    /// Defaults of everything below: fast (98 % of MNIST's test images in seconds)
    #[arg(long, value_name = "NAME", value_parser = Preset::find)]
    preset: Option<Preset>,
    /// Networks to train: mlp, dann (with corrections), dann-nc (without)
    #[arg(long = "model", value_name = "LIST", value_delimiter = ',', default_value = "mlp,dann,dann-nc")]
    #[arg(default_value_if("preset", "fast", fast::MODELS))]
    pub models: Vec<Model>,
    /// Units of each hidden layer
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "500,500,500", value_parser = units)]
    #[arg(default_value_if("preset", "fast", fast::HIDDEN))]
    pub hidden: Vec<usize>,
    /// Interneurons of each hidden layer; the output layer has one
    #[arg(long, value_name = "N", default_value = "50", value_parser = units)]
    #[arg(default_value_if("preset", "fast", fast::INHIBITORY))]
    pub inhibitory: usize,
    /// Passes over the training images
    #[arg(long, value_name = "N", default_value = "12", value_parser = count(MOST_EPOCHS))]
    #[arg(default_value_if("preset", "fast", fast::EPOCHS))]
    pub epochs: usize,
    /// Images of a step
    #[arg(long, value_name = "N", default_value = "32", value_parser = count(MOST_IMAGES))]
    #[arg(default_value_if("preset", "fast", fast::BATCH))]
    pub batch: usize,
    /// Images that do not fill a batch: spread over the steps of an epoch, or a short last step as in the original
    /// experiments: spread or short
    #[arg(long, value_name = "HOW", default_value = "spread", value_parser = LastBatch::find)]
    pub last_batch: LastBatch,
    /// Largest learning rate of all networks; the default depends on network and optimiser. For sgd: mlp 0.2976, dann
    /// 0.1107, dann-nc 0.003981, each times 1 - MOMENTUM
    #[arg(long, value_name = "RATE", value_parser = rate, allow_negative_numbers = true)]
    lr: Option<f64>,
    #[command(flatten)]
    training: TrainingArgs,
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

/// What is done to images, or because of them.
#[derive(clap::Args)]
struct InputArgs {
    /// Give pixels mean 0 and variance 1: no, all (together) or each (by itself), by the training images
    #[arg(long, value_name = "WHICH", default_value = "no", value_parser = Standardise::find)]
    standardise: Standardise,
    /// What makes up for pixels below 0, with which divisive inhibition would be negative: none, shift (take from each
    /// pixel its smallest value in the training images), or another first layer: floor (divisors of 0.01 at least), root
    /// (divisors that are roots) or subtractive
    #[arg(long, value_name = "NAME", default_value = "none", value_parser = Remedy::find)]
    remedy: Remedy,
}

/// The optimiser, the schedule and clipping.
#[derive(clap::Args)]
struct TrainingArgs {
    /// sgd, adamw, eg (exponentiated gradient) or adamw-eg; dann corrects the steps of each
    #[arg(long, value_name = "NAME", default_value = "sgd", value_parser = Optimiser::find)]
    #[arg(default_value_if("preset", "fast", fast::OPTIMISER))]
    optimiser: Optimiser,
    /// Momentum of sgd and eg
    #[arg(long, value_name = "M", default_value = "0", value_parser = number(0.0, MOST_MOMENTUM))]
    #[arg(allow_negative_numbers = true)]
    momentum: f64,
    /// Weight decay of all parameters, decoupled with adamw and adamw-eg, for which PyTorch has 0.01
    #[arg(long, value_name = "L", default_value = "0", value_parser = number(0.0, MOST_DECAY))]
    #[arg(allow_negative_numbers = true)]
    weight_decay: f64,
    /// Largest norm of the gradients of a network; 0 does not clip
    #[arg(long, value_name = "NORM", default_value = "0", value_parser = clip, allow_negative_numbers = true)]
    clip: f64,
    /// What the learning rate does: constant, step, or linear or cosine down to 0 at the end of the last epoch
    #[arg(long, value_name = "NAME", default_value = "constant", value_parser = Course::find)]
    #[arg(default_value_if("preset", "fast", fast::SCHEDULE))]
    schedule: Course,
    /// Epochs, or a part of one, in which the learning rate grows from 0 at first
    #[arg(long, value_name = "EPOCHS", default_value = "0", value_parser = number(0.0, MOST_EPOCHS as f64))]
    #[arg(allow_negative_numbers = true)]
    warmup: f64,
    /// Epochs after which --schedule step multiplies the learning rate, again and again
    #[arg(long, value_name = "EPOCHS", default_value = "10", value_parser = count(MOST_EPOCHS))]
    step_every: usize,
    /// What --schedule step multiplies it by
    #[arg(long, value_name = "F", default_value = "0.1", value_parser = number(0.0, 1.0))]
    #[arg(allow_negative_numbers = true)]
    step_factor: f64,
}

/// A set of defaults.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Preset {
    /// A good network in seconds.
    Fast,
}

impl Preset {
    fn find(name: &str) -> Result<Self, String> {
        if name == "fast" { Ok(Self::Fast) } else { Err("expected fast".to_owned()) }
    }
}

/// What `--preset fast` is: see RESULTS.md.
mod fast {
    pub const MODELS: &str = "mlp,dann";
    pub const HIDDEN: &str = "256,256";
    pub const INHIBITORY: &str = "30";
    pub const EPOCHS: &str = "4";
    pub const BATCH: &str = "64";
    pub const OPTIMISER: &str = "adamw";
    pub const SCHEDULE: &str = "linear";
    /// With this optimiser.
    pub const LR: f64 = 0.004;
}

impl Args {
    /// Reads the command line; an error is one line.
    pub fn read() -> Result<Self, Box<dyn Error>> {
        Self::try_parse().map_err(one_line)
    }

    /// What is done to the images, or because of them.
    pub fn preparation(&self) -> Preparation {
        let InputArgs { standardise, remedy } = self.inputs;
        Preparation { standardise, remedy }
    }

    /// How the networks are trained.
    pub fn training(&self) -> Training {
        let TrainingArgs { optimiser, momentum, weight_decay, clip, schedule, warmup, step_every, step_factor } =
            self.training;
        Training { optimiser, momentum, weight_decay, clip, schedule, warmup, step_every, step_factor }
    }

    /// The largest learning rate of a network.
    pub fn lr(&self, model: Model) -> f64 {
        let training = self.training();
        let fast = self.preset == Some(Preset::Fast) && training.optimiser == Optimiser::Adamw;
        self.lr.unwrap_or(if fast { fast::LR } else { model.default_lr(&training) })
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

    /// The learning rate that the original experiments found for MNIST, or one that is known to do for another
    /// optimiser.
    fn default_lr(self, training: &Training) -> f64 {
        match (training.optimiser, self) {
            (Optimiser::Sgd, Self::Mlp) => training.scaled(0.2976),
            (Optimiser::Sgd, Self::Dann) => training.scaled(0.1107),
            (Optimiser::Sgd, Self::DannNc) => training.scaled(0.003981),
            (Optimiser::Eg, _) => training.scaled(0.1),
            (Optimiser::Adamw, _) => 0.001,
            (Optimiser::AdamwEg, _) => 0.01,
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
