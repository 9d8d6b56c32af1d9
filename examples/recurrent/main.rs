//! Trains recurrent networks with separate excitatory and inhibitory units beside others, on tasks through time.
//!
//! `cargo run --release --example recurrent` draws trials of a perceptual decision; `--task` picks another task, and
//! `--data DIR` reads MNIST or any other data set in its format for the rows of images. It ends with a table,
//! `curves.svg` and `results.json` in the folder `--out`, and for the cognitive tasks `psychometric.svg` and
//! `activity.svg`.
//!
//! The exit code is 0, or 1 if a network diverged, 2 if there was an error, 130 or 143 after Ctrl-C or SIGTERM.

mod args;
#[path = "../common/mod.rs"]
mod common;
mod networks;
mod report;
mod run;
mod trials;

use args::Args;
use common::{files, interrupt, output, progress::Screen, threads};
use std::error::Error;
use std::process::ExitCode;
use trials::Trials;

fn main() -> ExitCode {
    common::args::run(|| Args::read().and_then(|args| train(&args)))
}

fn train(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    if args.list_isas {
        let names: String = interneuron::Isa::available().map(|isa| format!("{isa}\n")).collect();
        output::print(&names)?;
        return Ok(ExitCode::SUCCESS);
    }
    let isa = args.isa()?;
    files::check_folder(&args.out).map_err(|e| format!("--out {}: {e}", args.out.display()))?;
    let _lock = files::lock(&args.out.join("lock")).map_err(|error| format!("--out {error}"))?;
    let trials = Trials::new(args)?;
    let threads = threads::pool(threads::number(args.threads));
    let screen = Screen::new();
    let mut runs = vec![];
    for &model in &args.models {
        if interrupt::requested() {
            break;
        }
        runs.push(run::train(model, args, isa, &trials, &threads, &screen)?);
    }
    report::write(args, &trials, &runs)?;
    Ok(if runs.iter().any(|run| run.record.diverged.is_some()) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
