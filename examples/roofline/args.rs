//! The command line, and what follows from it.

use super::common::args::{count, one_line, path, whole};
use super::common::bounds::MOST_THREADS;
use super::common::threads;
use clap::Parser;
use interneuron::Isa;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

/// Batches on both sides of everything that a kernel might round up to.
const QUICK_BATCHES: [usize; 30] = [
    1, 2, 3, 4, 6, 8, 12, 15, 16, 17, 24, 31, 32, 33, 40, 47, 48, 49, 63, 64, 65, 80, 81, 96, 97, 112, 113, 128, 129,
    130,
];
/// Seconds to measure for, at most: a day.
const MOST_SECONDS: u64 = 86_400;
/// The largest batch of the whole sweep.
const LAST_BATCH: usize = 130;

/// Measure how close the kernels come to the limits of this machine.
#[derive(Parser)]
#[command(name = "roofline")]
pub struct Args {
    /// Shorter turns, and only some batches of the sweep: under a minute instead of about four
    #[arg(long)]
    quick: bool,
    /// Seconds to measure for, though never fewer than three rounds; the default is 225, or 38 with --quick
    #[arg(long, value_name = "N", value_parser = whole(1, MOST_SECONDS))]
    seconds: Option<u64>,
    /// Threads to measure with besides one; the default is 2, or 1 where there is one core
    #[arg(long, value_name = "N", value_parser = count(MOST_THREADS))]
    threads: Option<usize>,
    /// Instruction sets, as `train --list-isas` prints them; the default is all that this CPU has
    #[arg(long = "isa", value_name = "LIST", value_delimiter = ',')]
    isas: Vec<Isa>,
    /// File for the figures, for other programs
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub json: Option<PathBuf>,
}

impl Args {
    /// Reads the command line; an error is one line.
    pub fn read() -> Result<Self, Box<dyn Error>> {
        Self::try_parse().map_err(one_line)
    }

    /// The threads to measure with besides one; one alone if there is no other.
    pub fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        threads::number(Some(self.threads.unwrap_or(cores.min(2))))
    }

    /// What is to be measured, with so many threads besides one, and for how long.
    pub fn plan(&self, threads: usize) -> Plan {
        let asked_for = |isa: &Isa| self.isas.is_empty() || self.isas.contains(isa);
        let mut threads = vec![1, threads];
        threads.dedup();
        let (milliseconds, calls, seconds) = if self.quick { (4, 2, 38) } else { (20, 3, 225) };
        Plan {
            isas: Isa::available().filter(asked_for).collect(),
            threads,
            batches: if self.quick { QUICK_BATCHES.to_vec() } else { (1..=LAST_BATCH).collect() },
            turn: Duration::from_millis(milliseconds),
            calls,
            time: Duration::from_secs(self.seconds.unwrap_or(seconds)),
            long: !self.quick,
        }
    }
}

/// What is measured, and for how long.
pub struct Plan {
    /// From the narrowest to the widest, at least one.
    pub isas: Vec<Isa>,
    /// One, and the larger number if there is one.
    pub threads: Vec<usize>,
    /// Batches of the sweep, ascending.
    pub batches: Vec<usize>,
    /// How long an item is measured in each round, if `calls` calls do not take longer.
    pub turn: Duration,
    /// Calls in each round, at least.
    pub calls: usize,
    /// How long all rounds may take.
    pub time: Duration,
    /// Whether steps that take a second are measured, too.
    pub long: bool,
}

impl Plan {
    /// The widest instruction set that was asked for.
    pub fn widest(&self) -> Isa {
        *self.isas.last().expect("at least one instruction set")
    }
}
