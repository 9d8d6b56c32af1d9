//! The experiment of Cornford et al., "Learning to live with Dale's principle" (ICLR 2021): networks with separate
//! excitatory and inhibitory units, and what they are compared with, each tuned and repeated in the same way.
//!
//! ```sh
//! cargo run --release --example paper                       # drawn images, small networks: a minute or two
//! cargo run --release --example paper -- --data DIR         # the settings of the paper: hours
//! cargo run --release --example paper -- --resume           # goes on after an interruption
//! ```
//!
//! For each network, learning rates are drawn at random, tried on the training images without a validation split, and
//! scored by the mean of the last five validation errors. The best then trains networks of several seeds on all
//! training images; reported is the mean of their last five test errors, with its standard error. Every finished run is
//! a file of its own in the folder `--out`, so that an experiment can be stopped at any time and loses only what was
//! running.
//!
//! `--print-config` prints all settings with comments, to be edited and used with `--config`. The exit code is 2 if
//! there was an error, 1 if a final run diverged, and 130 or 143 after Ctrl-C or SIGTERM.

mod args;
#[path = "../common/mod.rs"]
mod common;
mod config;
mod experiment;
mod layers;
mod networks;
mod pictures;
mod progress;
mod report;
mod run;
mod schedule;
mod store;
mod summary;

use args::Args;
use common::output;
use experiment::Experiment;
use std::error::Error;
use std::process::ExitCode;
use store::Store;

fn main() -> ExitCode {
    common::args::run(|| Args::read().and_then(paper))
}

fn paper(args: Args) -> Result<ExitCode, Box<dyn Error>> {
    if args.print_config {
        output::print(&args.config.print())?;
        return Ok(ExitCode::SUCCESS);
    }
    let before = if args.resume { Store::config(&args.config.out)? } else { None };
    let experiment = Experiment::new(args.config, before.as_ref())?;
    let store = Store::open(&experiment, args.resume)?;
    let Some(runs) = schedule::run_all(&experiment, &store)? else {
        return Ok(ExitCode::SUCCESS);
    };
    report::write(&experiment, &store, &runs)?;
    let diverged = runs.iter().flat_map(|runs| &runs.finals).any(|run| run.diverged.is_some());
    Ok(if diverged { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
