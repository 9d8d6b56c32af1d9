//! What the runs of a network come to.

use super::networks::Kind;
use super::schedule::Runs;
use serde::Serialize;

/// A row of the table. Errors in percent.
#[derive(Serialize)]
pub struct Summary {
    pub network: &'static str,
    pub rate: f64,
    /// Of the trial that the rate is from.
    pub validation_error: Option<f64>,
    /// Mean over the final runs that did not diverge of the mean of their last five errors.
    pub test_error: Option<f64>,
    /// Of that mean, if there are at least two.
    pub standard_error: Option<f64>,
    pub train_error: Option<f64>,
    pub runs: usize,
    pub diverged: usize,
    /// Mean time of a final run.
    pub seconds: f64,
}

impl Summary {
    pub fn new(kind: &Kind, runs: &Runs) -> Self {
        let rate = runs.finals[0].settings.rate;
        let errors: Vec<f64> = runs.finals.iter().filter_map(|run| run.error()).collect();
        let train_errors: Vec<f64> = runs.finals.iter().filter_map(|run| run.train_error).collect();
        let seconds: Vec<f64> = runs.finals.iter().map(|run| run.seconds).collect();
        let trial = runs.trials.iter().find(|trial| trial.settings.rate == rate);
        Self {
            network: kind.name,
            rate,
            validation_error: trial.and_then(|trial| trial.error()),
            test_error: mean(&errors),
            standard_error: standard_error(&errors),
            train_error: mean(&train_errors),
            runs: runs.finals.len(),
            diverged: runs.finals.len() - errors.len(),
            seconds: mean(&seconds).unwrap_or_default(),
        }
    }
}

/// The mean of at least one value.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The standard error of the mean of at least two values.
fn standard_error(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let n = values.len() as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Some((variance / n).sqrt())
}

/// A positive number with four significant digits.
pub fn significant(value: f64) -> String {
    if !(1e-4..1e6).contains(&value) {
        return format!("{value:.3e}");
    }
    let digits = 3 - value.log10().floor() as i32;
    let text = format!("{value:.*}", digits.max(0) as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
