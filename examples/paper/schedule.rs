//! Which run goes when: a queue that worker threads take runs from. What runs result in does not depend on it.

use super::common::interrupt;
use super::common::threads;
use super::experiment::{Experiment, Phase, Settings};
use super::networks::Kind;
use super::progress::Progress;
use super::run::{self, Record};
use super::store::Store;
use interneuron::Isa;
use std::error::Error;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// The runs of a network, in order.
#[derive(Default)]
pub struct Runs {
    pub trials: Vec<Record>,
    pub finals: Vec<Record>,
}

/// A run that can begin.
struct Job {
    network: usize,
    settings: Settings,
    /// How much there is to compute.
    work: f64,
}

/// A run that is finished or not.
type Place = Option<Record>;

/// What is known so far.
struct Board {
    ready: Vec<Job>,
    running: usize,
    /// For each network its trials and its final runs.
    places: Vec<[Vec<Place>; 2]>,
    failed: Option<Box<dyn Error + Send + Sync>>,
}

/// Everything that the workers share.
struct Schedule<'a> {
    experiment: &'a Experiment,
    store: &'a Store,
    progress: &'a Progress,
    /// Of each network: the work of one image.
    flops: Vec<f64>,
    board: Mutex<Board>,
    changed: Condvar,
}

/// Does all runs that are not in the store yet, and hands out the records of all; none if it was interrupted.
pub fn run_all(experiment: &Experiment, store: &Store) -> Result<Option<Vec<Runs>>, Box<dyn Error>> {
    let progress = Progress::new(experiment);
    let flops = experiment.kinds.iter().map(|kind| flops(experiment, kind)).collect::<Result<_, _>>()?;
    let places = experiment.kinds.iter().map(|_| [vec![], vec![]]).collect();
    let board = Board { ready: vec![], running: 0, places, failed: None };
    let board = Mutex::new(board);
    let schedule = Schedule { experiment, store, progress: &progress, flops, board, changed: Condvar::new() };
    for (network, kind) in experiment.kinds.iter().enumerate() {
        let mut board = schedule.lock();
        match experiment.trials(kind) {
            trials if trials.is_empty() => schedule.add_finals(&mut board, network),
            trials => schedule.add(&mut board, network, trials),
        }
    }
    let ready = schedule.lock().ready.len();
    if ready > 0 {
        // What is finished needs none.
        experiment.isa().map_err(|error| format!("isa: {error}, and runs are left to be done"))?;
    }
    progress.begin();
    let runs = experiment.kinds.len() * (experiment.config.trials + experiment.config.seeds);
    let asked = Some(experiment.config.threads).filter(|&threads| threads > 0);
    if ready > 0 {
        schedule.start(threads::number(asked).min(runs));
    }
    let board = schedule.board.into_inner().unwrap_or_else(PoisonError::into_inner);
    let left = board.places.iter().flatten().flatten().any(Option::is_none) || board.failed.is_some();
    progress.finish(board.failed.is_none() && left);
    if let Some(error) = board.failed {
        return Err(error);
    }
    if left {
        return Ok(None);
    }
    let all = |places: Vec<Place>| places.into_iter().map(|place| place.expect("no run is left")).collect();
    let runs = board.places.into_iter().map(|[trials, finals]| Runs { trials: all(trials), finals: all(finals) });
    Ok(Some(runs.collect()))
}

/// The work of training on one image, about.
fn flops(experiment: &Experiment, kind: &Kind) -> Result<f64, interneuron::Error> {
    let net = (kind.architecture)(&experiment.stage(Phase::Final).sizes)?.build::<f32>(&Isa::best().into())?;
    Ok(net.shapes().enumerate().map(|(k, shape)| shape.train_flops(1, k > 0)).sum())
}

/// The best rate: of the trial with the least error, and of the smallest rate where trials are equal.
fn best_rate<'a>(trials: impl IntoIterator<Item = &'a Record>) -> Option<f64> {
    let key = |record: &Record| (record.score(), record.settings.rate);
    let less = |a: &&Record, b: &&Record| key(a).partial_cmp(&key(b)).expect("neither is NaN");
    trials.into_iter().min_by(less).map(|record| record.settings.rate)
}

impl Schedule<'_> {
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the runs on so many threads, or on as many as can be started: on the calling one, if there is no other.
    fn start(&self, threads: usize) {
        thread::scope(|scope| {
            for started in 0..threads {
                if let Err(error) = thread::Builder::new().spawn_scoped(scope, || self.work()) {
                    threads::tell_fewer(threads, started.max(1), error);
                    if started == 0 {
                        self.work();
                    }
                    break;
                }
            }
        });
    }

    /// Adds the runs of a phase: those in the store are finished, the others ready.
    fn add(&self, board: &mut Board, network: usize, all: Vec<Settings>) {
        let phase = all[0].phase;
        board.places[network][phase as usize] = vec![None; all.len()];
        for settings in all {
            match self.store.load(&settings) {
                Some(record) => {
                    self.progress.keep(&settings);
                    self.finish(board, network, record);
                }
                None => {
                    let work = self.flops[network] * self.experiment.images(phase) as f64;
                    board.ready.push(Job { network, settings, work });
                }
            }
        }
    }

    /// Adds the final runs of a network whose search is complete.
    fn add_finals(&self, board: &mut Board, network: usize) {
        let kind = self.experiment.kinds[network];
        let known = self.experiment.config.rates[kind.name].known;
        let rate = best_rate(board.places[network][Phase::Search as usize].iter().flatten()).unwrap_or(known);
        self.add(board, network, self.experiment.finals(kind, rate));
    }

    /// Puts a record in its place. The last trial makes the final runs ready.
    fn finish(&self, board: &mut Board, network: usize, record: Record) {
        let Settings { phase, number, .. } = record.settings;
        let places = &mut board.places[network][phase as usize];
        places[number] = Some(record);
        if phase == Phase::Search && places.iter().all(Option::is_some) {
            self.add_finals(board, network);
        }
    }

    /// What one thread does.
    fn work(&self) {
        let _guard = Guard(self);
        while let Some(job) = self.take() {
            let result = self.run(&job);
            let mut board = self.lock();
            board.running -= 1;
            match result {
                Ok(Some(record)) => self.finish(&mut board, job.network, record),
                Ok(None) => {}
                Err(error) => board.failed = Some(error.to_string().into()),
            }
            drop(board);
            self.changed.notify_all();
        }
    }

    /// The longest run that is ready; waits for one. None if there will be none any more.
    fn take(&self) -> Option<Job> {
        let mut board = self.lock();
        loop {
            let over = board.failed.is_some() || interrupt::requested();
            if over || (board.ready.is_empty() && board.running == 0) {
                return None;
            }
            let longest = (0..board.ready.len()).max_by(|&a, &b| {
                let work = |i: usize| board.ready[i].work;
                // The first of several.
                work(a).total_cmp(&work(b)).then(b.cmp(&a))
            });
            if let Some(longest) = longest {
                board.running += 1;
                return Some(board.ready.remove(longest));
            }
            board = self.changed.wait(board).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Does a run and keeps its record. None if another has failed meanwhile.
    fn run(&self, job: &Job) -> Result<Option<Record>, Box<dyn Error>> {
        let watch = self.progress.start(&job.settings);
        let go_on = |epoch: &run::Epoch| {
            watch.epoch(epoch);
            self.lock().failed.is_none()
        };
        let save = self.store.network(&job.settings);
        let record = run::run(self.experiment, &job.settings, save.as_deref(), |images| watch.learnt(images), go_on)?;
        if let Some(record) = &record {
            self.store.save(record)?;
            watch.finish(record);
        }
        Ok(record)
    }
}

/// Tells the other threads if one panics, which would otherwise wait for it without end.
struct Guard<'a, 'b>(&'a Schedule<'b>);

impl Drop for Guard<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().failed = Some("a run panicked".into());
            self.0.changed.notify_all();
        }
    }
}
