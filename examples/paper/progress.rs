//! The progress of an experiment: a bar for each run and one for all, or a line for each finished run.

use super::common::progress::{Bar, Screen, brief, left};
use super::experiment::{Experiment, Phase, Settings};
use super::run::{Epoch, Record};
use super::summary::significant;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// The progress of the whole experiment.
pub struct Progress {
    screen: Screen,
    /// All runs together.
    whole: Bar,
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
    bar: Bar,
    learnt: AtomicU64,
}

impl Progress {
    pub fn new(experiment: &Experiment) -> Self {
        let networks = experiment.kinds.len();
        let (trials, seeds) = (experiment.config.trials, experiment.config.seeds);
        let images = [Phase::Search, Phase::Final].map(|phase| experiment.images(phase));
        let all_images = networks as u64 * (trials as u64 * images[0] + seeds as u64 * images[1]);
        let screen = Screen::new();
        let whole = screen.bar(all_images, "all runs              {bar:30} {percent:>3} %  {eta} left  {msg}", "");
        Self {
            screen,
            whole,
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
        self.whole.begin();
        self.whole.message(|| format!("{kept}/{runs} runs"));
        if !self.screen.has_bars() && kept > 0 {
            self.screen.note(format_args!("{kept} of {runs} runs are there already"));
        }
    }

    /// A run starts.
    pub fn start(&self, settings: &Settings) -> Watch<'_> {
        let template = "{prefix:22}{bar:30} {percent:>3} %  {eta} left  {msg}";
        let bar = self.screen.bar(self.images[settings.phase as usize], template, title(settings));
        Watch { progress: self, settings: settings.clone(), bar, learnt: AtomicU64::new(0) }
    }

    fn advance(&self, images: u64) {
        self.done.fetch_add(images, Relaxed);
        self.whole.advance(images);
    }

    /// All runs are over, or no more are begun. Says so if some are left.
    pub fn finish(&self, interrupted: bool) {
        self.whole.clear();
        if interrupted {
            let (finished, runs) = (self.finished.load(Relaxed), self.runs);
            self.screen.note(format_args!("interrupted: {finished} of {runs} runs are finished; --resume goes on"));
        }
    }
}

impl Watch<'_> {
    /// Some images were learnt.
    pub fn learnt(&self, images: usize) {
        self.learnt.fetch_add(images as u64, Relaxed);
        self.progress.advance(images as u64);
        self.bar.advance(images as u64);
    }

    /// An epoch is over.
    pub fn epoch(&self, epoch: &Epoch) {
        self.bar.message(|| format!("rate {}  error {:.2} %", significant(self.settings.rate), epoch.error));
    }

    /// The run is over.
    pub fn finish(self, record: &Record) {
        let Self { progress, settings, bar, learnt } = self;
        // What a run that diverged did not learn is done, too.
        progress.advance(progress.images[settings.phase as usize].saturating_sub(learnt.into_inner()));
        let finished = progress.finished.fetch_add(1, Relaxed) + 1;
        let done = format!("{finished}/{}", progress.runs);
        bar.clear();
        progress.whole.message(|| format!("{done} runs"));
        if !progress.screen.has_bars() {
            let set = if settings.phase == Phase::Search { "validation" } else { "test" };
            let error = record.error().map_or("diverged".into(), |error| format!("{set} error {error:.2} %"));
            // At the speed so far.
            let (images, kept) = (progress.done.load(Relaxed), progress.kept_images.load(Relaxed));
            let learnt = images.saturating_sub(kept) as f64;
            let left = left(progress.started.elapsed(), learnt, progress.all_images.saturating_sub(kept) as f64);
            progress.screen.note(format_args!(
                "{done:>9}  {:22} rate {:<9} {error:24} {:>6.1} s, {} left",
                title(&settings),
                significant(settings.rate),
                record.seconds,
                brief(left)
            ));
        }
        if let Some(why) = &record.diverged {
            progress.screen.note(format_args!("{} stopped: {why}", title(&settings)));
        }
    }
}

/// What a run is called, for people.
fn title(settings: &Settings) -> String {
    let phase = if settings.phase == Phase::Search { "trial" } else { "final" };
    format!("{} {phase} {}", settings.network, settings.number + 1)
}
