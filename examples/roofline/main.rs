//! How close the kernels come to what this machine can do.
//!
//! In one run, turn by turn, so that a busy neighbour or a changing clock meets everything alike, it measures
//!
//! - the limits: multiply-adds a second in registers alone, and bytes a second of a long array that is read, for each
//!   instruction set and number of threads;
//! - train steps, single layers forward and backward, and one example through a large layer: how much useful work a
//!   second they do, which fraction of the limit that is, and how much longer the composed baseline takes;
//! - train steps of every batch up to 130: a smaller batch should not take longer than a larger one.
//!
//! It ends with tables and with a list of targets, met or not. For one example through a layer the limit is the rate at
//! which the weights can be read; for all else it is the rate of multiply-adds.
//!
//! ```sh
//! cargo run --release --example roofline -- --quick                     # under a minute
//! cargo run --release --example roofline -- --json runs/roofline.json   # about four minutes, for other programs too
//! ```

mod args;
mod cases;
#[path = "../common/mod.rs"]
mod common;
mod items;
mod machine;
mod measure;
mod report;
mod targets;

use args::Args;
use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    common::args::run(|| Args::read().and_then(|args| run(&args)).map(|()| ExitCode::SUCCESS))
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    if let Some(file) = &args.json {
        report::check_folder(file)?;
    }
    let pool = common::threads::pool(args.threads());
    let plan = args.plan(pool.count());
    let inputs = items::Inputs::new();
    let mut builder = items::Builder::new(&inputs, &pool);
    let mut items = cases::all(&plan).into_iter().map(|case| builder.item(case)).collect::<Result<Vec<_>, _>>()?;
    measure::rounds(&mut items, &plan)?;
    let report = report::Report::new(&items, plan.widest());
    let tables = report.print() + &targets::print(&report);
    let Some(file) = &args.json else {
        return common::output::print(&tables);
    };
    common::output::report(&tables, || report.write(file), &format!("\nwrote {}\n", file.display()))
}
