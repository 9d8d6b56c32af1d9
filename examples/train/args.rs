//! The command line.

use super::common::args::{count, one_line, rate};
use clap::Parser;
use interneuron::Isa;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Train networks with separate excitatory and inhibitory units beside a plain one.
#[derive(Parser)]
#[command(name = "train")]
pub struct Args {
    /// Folder with IDX files named as MNIST's, plain or .gz; without it, digit-like images are drawn
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Networks to train: mlp, dann (with corrections), dann-nc (without)
    #[arg(long = "model", value_name = "LIST", value_delimiter = ',', default_value = "mlp,dann,dann-nc")]
    pub models: Vec<Model>,
    /// Units of each hidden layer
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "500,500,500", value_parser = count)]
    pub hidden: Vec<usize>,
    /// Interneurons of each hidden layer; the output layer has one
    #[arg(long, value_name = "N", default_value = "50", value_parser = count)]
    pub inhibitory: usize,
    /// Passes over the training images
    #[arg(long, value_name = "N", default_value = "12", value_parser = count)]
    pub epochs: usize,
    /// Images of a step
    #[arg(long, value_name = "N", default_value = "32", value_parser = count)]
    pub batch: usize,
    /// Learning rate of all networks; the default depends on the network: mlp 0.2976, dann 0.1107, dann-nc 0.003981
    #[arg(long, value_name = "RATE", value_parser = rate, allow_negative_numbers = true)]
    pub lr: Option<f64>,
    /// Seed of the parameters, of the order of the images and of drawn images
    #[arg(long, value_name = "N", default_value = "1")]
    pub seed: u64,
    /// Threads; the default is all that the machine has
    #[arg(long, value_name = "N", value_parser = count)]
    pub threads: Option<usize>,
    /// Instruction set: portable, avx2 or avx512; the default is $INTERNEURON_ISA, or else the widest
    #[arg(long, value_name = "NAME")]
    isa: Option<String>,
    /// Folder for curves.svg and results.json
    #[arg(long, value_name = "DIR", default_value = "runs/train")]
    pub out: PathBuf,
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
