//! What is left of the runs: a table, a picture, and numbers for other programs.

use super::run::{Epoch, Run};
use plotters::prelude::*;
use std::error::Error;
use std::fs;
use std::path::Path;

const CURVES: &str = "curves.svg";
const RESULTS: &str = "results.json";
/// Dark enough to be seen on white, and different also to the colour-blind.
const COLORS: [RGBColor; 5] =
    [RGBColor(0, 90, 181), RGBColor(220, 80, 30), RGBColor(20, 130, 90), RGBColor(150, 60, 150), RGBColor(90, 90, 90)];

/// Makes the folder and checks that files can be written there, before anything takes time.
pub fn check_folder(folder: &Path) -> Result<(), Box<dyn Error>> {
    let fail = |e| format!("--out {}: {e}", folder.display());
    fs::create_dir_all(folder).map_err(fail)?;
    tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
    Ok(())
}

/// Writes the picture and the numbers.
pub fn write(folder: &Path, runs: &[Run]) -> Result<(), Box<dyn Error>> {
    put(folder, RESULTS, &(serde_json::to_string_pretty(&serde_json::json!({ "runs": runs }))? + "\n"))?;
    put(folder, CURVES, &curves(runs)?)
}

/// Writes a file whole or not at all.
fn put(folder: &Path, name: &str, text: &str) -> Result<(), Box<dyn Error>> {
    let path = folder.join(name);
    let fail = |e: std::io::Error| format!("{}: {e}", path.display());
    // Not a temporary file of the usual kind: those can be read by nobody else.
    let unfinished = folder.join(format!(".{name}.{}", std::process::id()));
    fs::write(&unfinished, text).and_then(|()| fs::rename(&unfinished, &path)).map_err(|e| {
        let _ = fs::remove_file(&unfinished);
        fail(e).into()
    })
}

/// The learning curves: training loss and test error, each on a logarithmic scale.
fn curves(runs: &[Run]) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (1000, 420)).into_drawing_area();
        area.fill(&WHITE)?;
        let (left, right) = area.split_horizontally(500);
        panel(&left, "Training loss", runs, |epoch| epoch.train_loss)?;
        panel(&right, "Test error (%)", runs, |epoch| epoch.test_error)?;
        area.present()?;
    }
    Ok(svg)
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    runs: &[Run],
    value: impl Fn(&Epoch) -> f64,
) -> Result<(), Box<dyn Error>> {
    /// Below this a logarithmic scale tells nothing.
    const FLOOR: f64 = 1e-5;
    let value = |epoch: &Epoch| value(epoch).max(FLOOR);
    let values = || runs.iter().flat_map(|run| &run.epochs).map(&value).filter(|value| value.is_finite());
    let low = values().fold(f64::INFINITY, f64::min).min(1.0) * 0.8;
    let high = values().fold(low * 2.0, f64::max) * 1.25;
    let last = runs.iter().map(|run| run.epochs.len()).max().unwrap_or(0).max(2);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(60)
        .build_cartesian_2d(1.0..last as f64, (low..high).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("Epoch")
        .x_labels(last.min(10))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| if *y >= 0.1 { format!("{y:.1}") } else { format!("{y:.0e}") })
        .light_line_style(WHITE)
        .draw()?;
    for (i, run) in runs.iter().enumerate() {
        let color = COLORS[i % COLORS.len()];
        let points =
            run.epochs.iter().map(|epoch| (epoch.epoch as f64, value(epoch))).filter(|point| point.1.is_finite());
        let line = LineSeries::new(points, color.stroke_width(2));
        chart
            .draw_series(line)?
            .label(run.model)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
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
        println!("{}", if run.diverged.is_some() { "  (stopped: the loss was not finite)" } else { "" });
    }
    if let Some(run) = runs.first() {
        let threads = run.threads;
        println!("\ninstruction set {}, {threads} thread{}", run.isa, if threads == 1 { "" } else { "s" });
    }
    println!("wrote {} and {}", folder.join(CURVES).display(), folder.join(RESULTS).display());
}
