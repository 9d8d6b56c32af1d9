//! What is left of an experiment: a table, pictures, and numbers for other programs.

use super::common::files::write_whole;
use super::common::output;
use super::experiment::Experiment;
use super::pictures;
use super::run::Record;
use super::schedule::Runs;
use super::store::{CONFIG, Store};
use super::summary::{Summary, significant};
use std::error::Error;
use std::fmt::Write;

/// Prints the table, then writes everything.
pub fn write(experiment: &Experiment, store: &Store, runs: &[Runs]) -> Result<(), Box<dyn Error>> {
    let summaries: Vec<Summary> =
        experiment.kinds.iter().zip(runs).map(|(kind, runs)| Summary::new(kind, runs)).collect();
    let all: Vec<&Record> = runs.iter().flat_map(|runs| runs.trials.iter().chain(&runs.finals)).collect();
    let results = serde_json::json!({ "config": experiment.config, "networks": summaries, "runs": all });
    let table = table(&summaries);
    let mut files = vec![
        ("table.md", table.clone()),
        ("results.json", serde_json::to_string_pretty(&results)? + "\n"),
        ("results.csv", csv(&all)),
        ("curves.svg", pictures::curves(&experiment.kinds, runs)?),
    ];
    if experiment.config.trials > 0 {
        files.push(("rates.svg", pictures::rates(&experiment.kinds, runs)?));
    }
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).chain([CONFIG]).collect();
    let told = format!("in {}: {}\n", store.folder().display(), names.join(", "));
    let write = || files.iter().try_for_each(|(name, text)| write_whole(&store.path(name), text));
    output::report(&format!("\n{table}\n"), write, &told)
}

/// The table, which reads well as it is, too.
fn table(summaries: &[Summary]) -> String {
    const HEAD: [&str; 5] = ["network", "learning rate", "test error", "training error", "time per run"];
    let rows: Vec<[String; 5]> = summaries.iter().map(row).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEAD[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let line = |row: &[String; 5]| {
        let [network, others @ ..] = row;
        let mut line = format!("| {network:<0$} |", widths[0]);
        for (cell, width) in others.iter().zip(&widths[1..]) {
            // Writing to a string cannot fail.
            let _ = write!(line, " {cell:>width$} |");
        }
        line + "\n"
    };
    let rule = format!("|{}|", widths.map(|width| "-".repeat(width + 1)).join(":|").replacen(':', "-", 1) + ":") + "\n";
    line(&HEAD.map(str::to_owned)) + &rule + &rows.iter().map(line).collect::<String>()
}

fn row(summary: &Summary) -> [String; 5] {
    let percent = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.2} %"));
    let Summary { runs, diverged, .. } = *summary;
    let test = match (summary.test_error, summary.standard_error) {
        (None, _) => "diverged".into(),
        (Some(mean), None) => format!("{mean:.2} %"),
        (Some(mean), Some(error)) => format!("{mean:.2} ± {error:.2} %"),
    };
    let some =
        if diverged > 0 && diverged < runs { format!(" ({diverged} of {runs} diverged)") } else { String::new() };
    [
        summary.network.to_owned(),
        significant(summary.rate),
        test + &some,
        percent(summary.train_error),
        format!("{:.1} s", summary.seconds),
    ]
}

/// Every epoch of every run, a line each. Nothing in it needs quotes.
fn csv(runs: &[&Record]) -> String {
    let mut text = "network,phase,number,rate,seed,epoch,train_loss,error\n".to_owned();
    for run in runs {
        let settings = &run.settings;
        let phase = format!("{:?}", settings.phase).to_lowercase();
        for epoch in &run.epochs {
            let (network, number, rate, seed) = (&settings.network, settings.number, settings.rate, settings.seed);
            let (number_of_epoch, loss, error) = (epoch.epoch, epoch.train_loss, epoch.error);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{network},{phase},{number},{rate},{seed},{number_of_epoch},{loss},{error}");
        }
    }
    text
}
