//! What is left of the runs: a table, a picture, and numbers for other programs.

use super::common::files::write_whole;
use super::common::plot::{Curve, Look, Panel, picture};
use super::run::{Epoch, Run};
use std::error::Error;
use std::path::Path;

const CURVES: &str = "curves.svg";
const RESULTS: &str = "results.json";

/// Writes the picture and the numbers.
pub fn write(folder: &Path, runs: &[Run]) -> Result<(), Box<dyn Error>> {
    let results = serde_json::to_string_pretty(&serde_json::json!({ "runs": runs }))? + "\n";
    write_whole(&folder.join(RESULTS), &results)?;
    let loss = curves(runs, |epoch| epoch.train_loss);
    let error = curves(runs, |epoch| epoch.test_error);
    let panel = |title, curves| Panel { title, x: "Epoch", log_x: false, curves };
    let picture = picture((1100, 420), &[panel("Training loss", &loss), panel("Test error (%)", &error)])?;
    write_whole(&folder.join(CURVES), &picture)
}

/// A learning curve of each run.
fn curves(runs: &[Run], value: impl Fn(&Epoch) -> f64) -> Vec<Curve> {
    let point = |epoch: &Epoch| (epoch.epoch as f64, value(epoch));
    let curve = |(i, run): (usize, &Run)| Curve {
        name: run.model.to_owned(),
        look: Look(i),
        points: run.epochs.iter().map(point).filter(|point| point.1.is_finite()).collect(),
        band: vec![],
        dots: false,
        crosses: vec![],
    };
    runs.iter().enumerate().map(curve).collect()
}

/// Prints the table.
pub fn print(folder: &Path, runs: &[Run]) {
    println!("\nnetwork        lr    test error  train error  train loss  time a step    images/s");
    for run in runs {
        print!("{:8} {:>8}", run.model, run.lr);
        match run.epochs.last() {
            Some(last) => print!(
                "  {:>8.2} %  {:>9.2} %  {:>10.5}  {:>8.0} µs  {:>10.0}",
                last.test_error, last.train_error, last.train_loss, run.step_us_median, run.images_per_second
            ),
            None => print!("  no epoch was finished"),
        }
        println!("{}", if run.diverged.is_some() { "  (stopped: it diverged)" } else { "" });
    }
    if let Some(run) = runs.first() {
        let threads = run.threads;
        println!("\ninstruction set {}, {threads} thread{}", run.isa, if threads == 1 { "" } else { "s" });
    }
    println!("wrote {} and {}", folder.join(CURVES).display(), folder.join(RESULTS).display());
}
