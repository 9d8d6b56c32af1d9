//! How the networks learn, and how much that depends on their learning rates.

use super::common::plot::{Curve, Look, Panel, Scale, picture};
use super::networks::{self, Kind};
use super::run::Record;
use super::schedule::Runs;
use super::summary::mean;
use std::error::Error;

/// Test error over epochs: the mean of the final runs, between the best and the worst of them.
pub fn curves(kinds: &[&Kind], runs: &[Runs]) -> Result<String, Box<dyn Error>> {
    let curve = |(kind, runs): (&&Kind, &Runs)| {
        let finals: Vec<&Record> = runs.finals.iter().filter(|run| run.diverged.is_none()).collect();
        let epochs = finals.first().map_or(0, |run| run.epochs.len());
        let errors = |epoch: usize| finals.iter().map(|run| run.epochs[epoch].error).collect::<Vec<f64>>();
        let point = |epoch| Some(((epoch + 1) as f64, mean(&errors(epoch))?));
        let band = |epoch| {
            let (low, high) = errors(epoch).iter().fold((f64::MAX, 0.0_f64), |(l, h), &e| (l.min(e), h.max(e)));
            ((epoch + 1) as f64, low, high)
        };
        Curve {
            points: (0..epochs).filter_map(point).collect(),
            band: if finals.len() > 1 { (0..epochs).map(band).collect() } else { vec![] },
            ..curve_of(kind)
        }
    };
    let curves: Vec<Curve> = kinds.iter().zip(runs).map(curve).collect();
    picture(SIZE, &[Panel { title: "Test error (%)", x: "Epoch", log_x: false, y: Scale::Log, curves: &curves }])
}

/// Validation error over the learning rate, with crosses where trials diverged.
pub fn rates(kinds: &[&Kind], runs: &[Runs]) -> Result<String, Box<dyn Error>> {
    let curve = |(kind, runs): (&&Kind, &Runs)| {
        let point = |trial: &Record| Some((trial.settings.rate, trial.error()?));
        let mut points: Vec<_> = runs.trials.iter().filter_map(point).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let diverged = runs.trials.iter().filter(|trial| trial.diverged.is_some());
        let crosses = diverged.map(|trial| trial.settings.rate).collect();
        Curve { points, dots: true, crosses, ..curve_of(kind) }
    };
    let curves: Vec<Curve> = kinds.iter().zip(runs).map(curve).collect();
    picture(
        SIZE,
        &[Panel {
            title: "Validation error (%); × diverged",
            x: "Learning rate",
            log_x: true,
            y: Scale::Log,
            curves: &curves,
        }],
    )
}

const SIZE: (u32, u32) = (860, 520);

/// A network looks the same in all experiments.
fn curve_of(kind: &Kind) -> Curve {
    let number = networks::ALL.iter().position(|other| other.name == kind.name).unwrap_or_default();
    Curve { name: kind.name.to_owned(), look: Look(number), points: vec![], band: vec![], dots: false, crosses: vec![] }
}
