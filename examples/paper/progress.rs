//! Progress: bars on a terminal, a line for each finished run elsewhere.

use super::experiment::{Experiment, Phase, Settings};
use super::run::{Epoch, Record};
use super::summary::significant;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The progress of the whole experiment.
pub struct Progress {
    /// None where there is no terminal.
    bars: Option<(MultiProgress, ProgressBar)>,
    started: Instant,
    runs: usize,
    /// Finished, those kept from before included.
    finished: AtomicUsize,
    kept: AtomicUsize,
    /// Images of a run of each phase, and of all runs.
    images: [u64; 2],
    all_images: u64,
    /// Images learnt or skipped, and those of them that were kept from before.
    done: AtomicU64,
    kept_images: AtomicU64,
}

/// The progress of one run.
pub struct Watch<'a> {
    progress: &'a Progress,
    settings: Settings,
    bar: Option<ProgressBar>,
    learnt: AtomicU64,
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a valid template")
}

impl Progress {
    pub fn new(experiment: &Experiment) -> Self {
        let networks = experiment.kinds.len();
        let (trials, seeds) = (experiment.config.trials, experiment.config.seeds);
        let images = [Phase::Search, Phase::Final].map(|phase| experiment.images(phase));
        let all_images = networks as u64 * (trials as u64 * images[0] + seeds as u64 * images[1]);
        let bars = stderr().is_terminal().then(|| {
            let bars = MultiProgress::new();
            let style = style("all runs              {bar:30} {percent:>3} %  {eta} left  {msg}");
            let whole = bars.add(ProgressBar::new(all_images).with_style(style));
            whole.enable_steady_tick(Duration::from_millis(250));
            (bars, whole)
        });
        Self {
            bars,
            started: Instant::now(),
            runs: networks * (trials + seeds),
            finished: AtomicUsize::new(0),
            kept: AtomicUsize::new(0),
            images,
            all_images,
            done: AtomicU64::new(0),
            kept_images: AtomicU64::new(0),
        }
    }

    /// A run is there from before.
    pub fn keep(&self, settings: &Settings) {
        let images = self.images[settings.phase as usize];
        self.finished.fetch_add(1, Relaxed);
        self.kept.fetch_add(1, Relaxed);
        self.kept_images.fetch_add(images, Relaxed);
        self.advance(images);
    }

    /// The first runs are about to start.
    pub fn begin(&self) {
        let (runs, kept) = (self.runs, self.kept.load(Relaxed));
        if let Some((_, whole)) = &self.bars {
            whole.reset_eta();
            whole.set_message(format!("{kept}/{runs} runs"));
        } else if kept > 0 {
            eprintln!("{kept} of {runs} runs are there already");
        }
    }

    /// A run starts.
    pub fn start(&self, settings: &Settings) -> Watch<'_> {
        let bar = self.bars.as_ref().map(|(bars, _)| {
            let style = style("{prefix:22}{bar:30} {percent:>3} %  {eta} left  {msg}");
            let bar = ProgressBar::new(self.images[settings.phase as usize]).with_style(style);
            bars.add(bar).with_prefix(title(settings))
        });
        Watch { progress: self, settings: settings.clone(), bar, learnt: AtomicU64::new(0) }
    }

    fn advance(&self, images: u64) {
        self.done.fetch_add(images, Relaxed);
        if let Some((_, whole)) = &self.bars {
            whole.inc(images);
        }
    }

    /// The time that the rest would take at the speed so far.
    fn left(&self) -> Duration {
        let (done, kept) = (self.done.load(Relaxed), self.kept_images.load(Relaxed));
        let rest = self.all_images.saturating_sub(done) as f64 / done.saturating_sub(kept).max(1) as f64;
        Duration::try_from_secs_f64(self.started.elapsed().as_secs_f64() * rest).unwrap_or(Duration::MAX)
    }

    /// All runs are over.
    pub fn finish(&self) {
        if let Some((_, whole)) = &self.bars {
            whole.finish_and_clear();
        }
    }
}

impl Watch<'_> {
    /// Some images were learnt.
    pub fn learnt(&self, images: usize) {
        self.learnt.fetch_add(images as u64, Relaxed);
        self.progress.advance(images as u64);
        if let Some(bar) = &self.bar {
            bar.inc(images as u64);
        }
    }

    /// An epoch is over.
    pub fn epoch(&self, epoch: &Epoch) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("rate {}  error {:.2} %", significant(self.settings.rate), epoch.error));
        }
    }

    /// The run is over.
    pub fn finish(self, record: &Record) {
        let Self { progress, settings, bar, learnt } = self;
        // What a run that diverged did not learn is done, too.
        progress.advance(progress.images[settings.phase as usize].saturating_sub(learnt.into_inner()));
        let finished = progress.finished.fetch_add(1, Relaxed) + 1;
        let done = format!("{finished}/{}", progress.runs);
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let why = record.diverged.as_ref().map(|why| format!("{} stopped: {why}", title(&settings)));
        match &progress.bars {
            Some((bars, whole)) => {
                whole.set_message(format!("{done} runs"));
                if let Some(why) = why {
                    // A terminal that is gone is no reason to stop.
                    let _ = bars.println(why);
                }
            }
            None => {
                let set = if settings.phase == Phase::Search { "validation" } else { "test" };
                let error = record.error().map_or("diverged".into(), |error| format!("{set} error {error:.2} %"));
                eprintln!(
                    "{done:>9}  {:22} rate {:<9} {error:24} {:>6.1} s, {} s left",
                    title(&settings),
                    significant(settings.rate),
                    record.seconds,
                    progress.left().as_secs()
                );
                if let Some(why) = why {
                    eprintln!("{why}");
                }
            }
        }
    }
}

/// What a run is called, for people.
fn title(settings: &Settings) -> String {
    let phase = if settings.phase == Phase::Search { "trial" } else { "final" };
    format!("{} {phase} {}", settings.network, settings.number + 1)
}
