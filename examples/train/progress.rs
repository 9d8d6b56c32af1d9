//! Progress: a bar on a terminal, a line an epoch elsewhere.

use super::args::Model;
use super::run::Epoch;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

/// The progress of one run.
pub struct Progress {
    model: Model,
    /// None where there is no terminal.
    bar: Option<ProgressBar>,
    started: Instant,
    epochs: usize,
}

impl Progress {
    /// For a run of `epochs` epochs with `images` images each.
    pub fn new(model: Model, epochs: usize, images: usize) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = "{prefix:8} {bar:30} {percent:>3} %  {per_sec} images  {eta} left  {msg}";
            let style = ProgressStyle::with_template(style).expect("a valid template");
            let style = style.with_key("per_sec", |state: &indicatif::ProgressState, w: &mut dyn std::fmt::Write| {
                let _ = write!(w, "{:>7.0}/s", state.per_sec());
            });
            ProgressBar::new((epochs * images) as u64).with_style(style).with_prefix(model.name())
        });
        Self { model, bar, started: Instant::now(), epochs }
    }

    /// Some images were learnt.
    pub fn advance(&self, images: usize) {
        if let Some(bar) = &self.bar {
            bar.inc(images as u64);
        }
    }

    /// An epoch is over.
    pub fn epoch(&self, epoch: &Epoch, images_per_second: f64) {
        match &self.bar {
            Some(bar) => bar.set_message(format!("test error {:.2} %", epoch.test_error)),
            None => {
                let done = epoch.epoch as f64 / self.epochs as f64;
                let left = self.started.elapsed().mul_f64(1.0 / done - 1.0);
                eprintln!(
                    "{:8} epoch {:>3}/{}  train loss {:.4}  test error {:5.2} %  {images_per_second:>7.0} images/s  {} s left",
                    self.model,
                    epoch.epoch,
                    self.epochs,
                    epoch.train_loss,
                    epoch.test_error,
                    (left + Duration::from_millis(500)).as_secs()
                );
            }
        }
    }

    /// The run is over.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.abandon();
        }
    }
}
