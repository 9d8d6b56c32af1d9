//! Trains networks with separate excitatory and inhibitory units beside a plain one and compares how well they learn.
//!
//! `cargo run --release --example train` draws its own images; `--data DIR` reads MNIST, Fashion-MNIST or any other
//! data set in their format. It ends with a table, `curves.svg` and `results.json` in the folder `--out`.

mod args;
#[path = "../common/mod.rs"]
mod common;
mod progress;
mod report;
mod run;

use args::Args;
use std::error::Error;
use std::process::ExitCode;

/// What the drawn images are: enough for networks to learn them well, few enough to learn them quickly.
const DRAWN: (usize, usize) = (16_000, 4_000);

fn main() -> ExitCode {
    common::args::exit(Args::read().and_then(|args| train(&args)))
}

fn train(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    if args.list_isas {
        interneuron::Isa::available().for_each(|isa| println!("{isa}"));
        return Ok(ExitCode::SUCCESS);
    }
    let isa = args.isa()?;
    common::files::check_folder(&args.out).map_err(|e| format!("--out {}: {e}", args.out.display()))?;
    let data = common::images::load(args.data.as_deref(), DRAWN, args.seed)?;
    let settings = run::Settings::new(args, isa, &data)?;
    let runs: Vec<run::Run> = settings
        .threads
        .install(|| args.models.iter().map(|&model| run::train(model, &settings, &data)).collect::<Result<_, _>>())?;
    report::write(&args.out, &runs)?;
    report::print(&args.out, &runs);
    Ok(if runs.iter().any(|run| run.diverged.is_some()) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
