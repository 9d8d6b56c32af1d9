//! Trains networks with separate excitatory and inhibitory units beside a plain one and compares how well they learn.
//!
//! `cargo run --release --example train` draws its own images; `--data DIR` reads MNIST, Fashion-MNIST, EMNIST or any
//! other data set in their format. It ends with a table, `curves.svg` and `results.json` in the folder `--out`.
//!
//! The exit code is 0, or 1 if a network diverged, 2 if there was an error, 130 or 143 after Ctrl-C or SIGTERM.

mod args;
#[path = "../common/mod.rs"]
mod common;
mod report;
mod run;
mod store;

use args::Args;
use common::images::Data;
use common::{files, interrupt, output, progress::Screen, threads};
use std::error::Error;
use std::process::ExitCode;
use store::Store;

/// What the drawn images are: enough for networks to learn them well, few enough to learn them quickly.
const DRAWN: (usize, usize) = (16_000, 4_000);

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
    let data = Data::load(args.data.as_deref(), DRAWN, args.seed, args.preparation())?;
    let settings = run::Settings::new(args, isa, &data)?;
    let mut store = Store::open(args, &settings, &data)?;
    let threads = threads::pool(threads::number(args.threads));
    let screen = Screen::new();
    for (index, &model) in args.models.iter().enumerate() {
        if interrupt::requested() {
            break;
        }
        run::train(model, index, &settings, &data, &threads, &screen, &mut store)?;
    }
    report::write(&store)?;
    store.check_saved()?;
    Ok(if store.runs().any(|run| run.diverged.is_some()) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
