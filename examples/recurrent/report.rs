//! What is left of the runs: a table, pictures, and numbers for other programs.

use super::args::Args;
use super::common::files::write_whole;
use super::common::output::{self, plural};
use super::common::plot::{Curve, Look, Panel, Scale, picture};
use super::run::{Epoch, Record, Run, activity};
use super::trials::Trials;
use serde::Serialize;
use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;

/// Units whose activity is drawn: those that tell the answers apart best.
const DRAWN_UNITS: usize = 5;

/// What the file holds.
#[derive(Serialize)]
struct Results<'r> {
    settings: Settings,
    runs: Vec<&'r Record>,
}

#[derive(Serialize)]
struct Settings {
    version: &'static str,
    task: &'static str,
    hidden: Vec<usize>,
    inhibitory: Vec<usize>,
    batch: usize,
    updates_of_an_epoch: usize,
    dt: f64,
    noise: f64,
    seed: u64,
}

/// Prints the table, then writes the pictures and the numbers.
pub fn write(args: &Args, trials: &Trials, runs: &[Run]) -> Result<(), Box<dyn Error>> {
    let path = |name: &str| args.out.join(name);
    let mut written: Vec<PathBuf> = vec![];
    let some = runs.iter().any(|run| !run.record.epochs.is_empty() || run.record.diverged.is_some());
    let mut write = |name: &str, text: &str| {
        written.push(path(name));
        write_whole(&path(name), text)
    };
    let mut all = || {
        if !some {
            // What an earlier run left is worth more.
            return Ok::<_, Box<dyn Error>>(());
        }
        let settings = Settings {
            version: env!("CARGO_PKG_VERSION"),
            task: args.task.name(),
            inhibitory: args.hidden().into_iter().map(|units| args.inhibitory(units)).collect(),
            hidden: args.hidden(),
            batch: args.batch(),
            updates_of_an_epoch: trials.updates(),
            dt: args.dt(),
            noise: if args.task.is_cognitive() { args.noise } else { 0.0 },
            seed: args.seed,
        };
        let results = Results { settings, runs: runs.iter().map(|run| &run.record).collect() };
        write("results.json", &(serde_json::to_string_pretty(&results)? + "\n"))?;
        let loss = curves(runs, |epoch| Some(epoch.train_loss));
        let (title, test) = match runs.iter().flat_map(|run| &run.record.epochs).any(|epoch| epoch.test_error.is_some())
        {
            true => ("Test error (%)", curves(runs, |epoch| epoch.test_error)),
            false => ("Test loss", curves(runs, |epoch| Some(epoch.test_loss))),
        };
        let panel = |title, curves| Panel { title, x: "Epoch", log_x: false, y: Scale::Log, curves };
        let drawn = picture((1100, 420), &[panel("Training loss", &loss), panel(title, &test)])?;
        write("curves.svg", &drawn)?;
        if runs.iter().any(|run| run.record.psychometric.len() > 1) {
            let points = |record: &Record| record.psychometric.iter().map(|p| (p.coherence, 100.0 * p.first)).collect();
            let curves = of_runs(runs, points, true);
            let title = "Answer 1 (%), by the evidence for it (coherence in %)";
            let panel = Panel { title, x: "Evidence", log_x: false, y: Scale::Linear, curves: &curves };
            write("psychometric.svg", &picture((760, 420), &[panel])?)?;
        }
        if args.task.is_cognitive() && runs.iter().any(|run| run.record.diverged.is_none()) {
            write("activity.svg", &of_units(args, trials, runs)?)?;
        }
        Ok(())
    };
    let table = table(runs);
    output::report(&table, &mut all, "")?;
    let told = if some {
        let names: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
        format!("wrote {}\n", names.join(", "))
    } else {
        "no epoch was finished: nothing is written\n".to_owned()
    };
    output::print(&told)
}

fn of_runs(runs: &[Run], points: impl Fn(&Record) -> Vec<(f64, f64)>, dots: bool) -> Vec<Curve> {
    let curve = |(i, run): (usize, &Run)| Curve {
        name: run.record.model.clone(),
        look: Look(i),
        points: points(&run.record).into_iter().filter(|point| point.1.is_finite()).collect(),
        band: vec![],
        dots,
        crosses: vec![],
    };
    runs.iter().enumerate().map(curve).collect()
}

/// A learning curve of each run.
fn curves(runs: &[Run], value: impl Fn(&Epoch) -> Option<f64>) -> Vec<Curve> {
    let points =
        |record: &Record| record.epochs.iter().filter_map(|epoch| Some((epoch.epoch as f64, value(epoch)?))).collect();
    of_runs(runs, points, false)
}

/// The activity of some units of each network in time: with the strongest evidence for answer 1, and dashed for answer 2.
fn of_units(args: &Args, trials: &Trials, runs: &[Run]) -> Result<String, Box<dyn Error>> {
    let mut panels = vec![];
    for run in runs.iter().filter(|run| run.record.diverged.is_none()) {
        let [first, second] = [1, 2].map(|answer| activity(run, trials, answer));
        let (first, second) = (first?, second?);
        let apart = |unit: &usize| {
            let differences = first[*unit].iter().zip(&second[*unit]).map(|(a, b)| (a - b).abs());
            differences.fold(0.0, f64::max)
        };
        let mut units: Vec<usize> = (0..first.len()).collect();
        units.sort_by(|a, b| apart(b).total_cmp(&apart(a)));
        let curve = |(place, name, of): (usize, String, &Vec<f64>)| Curve {
            name,
            look: Look(place),
            points: of.iter().enumerate().map(|(t, &h)| (t as f64 * args.dt(), h)).collect(),
            band: vec![],
            dots: false,
            crosses: vec![],
        };
        let chosen = || units.iter().take(DRAWN_UNITS).enumerate();
        // One legend serves all networks: units are told by their place.
        let ones = chosen().map(|(i, &unit)| curve((i, format!("unit {}, answer 1", i + 1), &first[unit])));
        // The second five looks are dashed.
        let others =
            chosen().map(|(i, &unit)| curve((DRAWN_UNITS + i, format!("unit {}, answer 2", i + 1), &second[unit])));
        panels.push((format!("Activity, {}", run.record.model), ones.chain(others).collect::<Vec<_>>()));
    }
    let panels: Vec<Panel<'_>> = panels
        .iter()
        .map(|(title, curves)| Panel { title, x: "Time (ms)", log_x: false, y: Scale::Linear, curves })
        .collect();
    picture((420 * panels.len() as u32 + 130, 420), &panels)
}

fn table(runs: &[Run]) -> String {
    let mut table =
        "\nnetwork        lr  test error   test loss  train loss  time a step  sequences/s  training\n".to_owned();
    for Record { model, lr, epochs, step_us_median, sequences_per_second, status, .. } in
        runs.iter().map(|run| &run.record)
    {
        // Writing to a string cannot fail.
        let _ = write!(table, "{model:8} {lr:>8}");
        let _ = match epochs.last() {
            Some(last) => {
                let error = last.test_error.map_or("-".to_owned(), |error| format!("{error:.2} %"));
                let seconds = epochs.iter().map(|epoch| epoch.seconds).sum::<f64>();
                let (test, train) = (last.test_loss, last.train_loss);
                write!(
                    table,
                    "  {error:>10}  {test:>10.5}  {train:>10.5}  {step_us_median:>8.0} µs  {sequences_per_second:>11.0}  {seconds:>6.1} s"
                )
            }
            None => write!(table, "  no epoch was finished"),
        };
        table += &match *status {
            "diverged" => "  (stopped: it diverged)".to_owned(),
            "unfinished" => format!("  (interrupted after {} epoch{})", epochs.len(), plural(epochs.len())),
            _ => String::new(),
        };
        table.push('\n');
    }
    if let Some(Run { record, .. }) = runs.last() {
        let _ =
            writeln!(table, "\ninstruction set {}, {} thread{}", record.isa, record.threads, plural(record.threads));
    }
    table
}
