//! What is left of the runs: a table, a picture, and numbers for other programs.

use super::common::files::write_whole;
use super::common::output::{self, plural};
use super::common::plot::{Curve, Look, Panel, Scale, picture};
use super::run::{Epoch, Run, Status};
use super::store::{RESULTS, Store};
use std::error::Error;
use std::fmt::Write;

const CURVES: &str = "curves.svg";

/// Prints the table, then writes the picture and the numbers.
pub fn write(store: &Store) -> Result<(), Box<dyn Error>> {
    let runs: Vec<&Run> = store.runs().collect();
    let [curves, results] = [CURVES, RESULTS].map(|name| store.path(name));
    let write = || {
        if !store.has_results() {
            // What an earlier run left is worth more.
            return Ok(());
        }
        store.save()?;
        let loss = curves_of(&runs, |epoch| epoch.train_loss);
        let error = curves_of(&runs, |epoch| epoch.test_error);
        let panel = |title, curves| Panel { title, x: "Epoch", log_x: false, y: Scale::Log, curves };
        let picture = picture((1100, 420), &[panel("Training loss", &loss), panel("Test error (%)", &error)])?;
        write_whole(&curves, &picture)
    };
    let told = if store.has_results() {
        format!("wrote {} and {}\n", curves.display(), results.display())
    } else {
        "no epoch was finished: nothing is written\n".to_owned()
    };
    output::report(&table(&runs), write, &told)
}

/// A learning curve of each run.
fn curves_of(runs: &[&Run], value: impl Fn(&Epoch) -> f64) -> Vec<Curve> {
    let point = |epoch: &Epoch| (epoch.epoch as f64, value(epoch));
    let curve = |(i, run): (usize, &&Run)| Curve {
        name: run.model.clone(),
        look: Look(i),
        points: run.epochs.iter().map(point).filter(|point| point.1.is_finite()).collect(),
        band: vec![],
        dots: false,
        crosses: vec![],
    };
    runs.iter().enumerate().map(curve).collect()
}

fn table(runs: &[&Run]) -> String {
    let mut table =
        "\nnetwork        lr    test error  train error  train loss  time a step    images/s  training\n".to_owned();
    for run in runs {
        // Writing to a string cannot fail.
        let _ = write!(table, "{:8} {:>8}", run.model, run.lr);
        let _ = match run.epochs.last() {
            Some(last) => write!(
                table,
                "  {:>8.2} %  {:>9.2} %  {:>10.5}  {:>8.0} µs  {:>10.0}  {:>6.1} s",
                last.test_error,
                last.train_error,
                last.train_loss,
                run.step_us_median,
                run.images_per_second,
                run.epochs.iter().map(|epoch| epoch.seconds).sum::<f64>()
            ),
            None => write!(table, "  no epoch was finished"),
        };
        table += &match run.status {
            Status::Finished => String::new(),
            Status::Diverged => "  (stopped: it diverged)".to_owned(),
            Status::Unfinished => {
                let epochs = run.epochs.len();
                format!("  (interrupted after {epochs} epoch{})", plural(epochs))
            }
        };
        table.push('\n');
    }
    if let Some(run) = runs.last() {
        let _ = writeln!(table, "\ninstruction set {}, {} thread{}", run.isa, run.threads, plural(run.threads));
    }
    table
}
