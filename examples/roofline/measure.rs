//! Measuring turn by turn: rounds, in each of which every item has a turn.

use super::args::Plan;
use super::cases::Case;
use super::common::interrupt;
use super::common::output::plural;
use super::common::progress::{Screen, brief};
use interneuron::Error;
use interneuron::Threads;
use std::time::{Duration, Instant};

/// Rounds that are measured however long they take.
const FEWEST_ROUNDS: u32 = 3;

/// Does what is measured once, and returns how long it took.
pub type Call<'a> = Box<dyn FnMut() -> Result<Duration, Error> + Send + 'a>;

/// Something that is measured, and how long it took each time.
pub struct Item<'a> {
    pub case: Case,
    /// Floating-point operations of a call, or bytes if it only reads.
    pub work: f64,
    /// The threads that compute.
    threads: &'a Threads,
    call: Call<'a>,
    /// Microseconds.
    samples: Vec<f64>,
}

impl<'a> Item<'a> {
    pub fn new(case: Case, work: f64, threads: &'a Threads, call: Call<'a>) -> Self {
        Self { case, work, threads, call, samples: vec![] }
    }

    /// Its turn in a round.
    fn turn(&mut self, plan: &Plan) -> Result<(), Error> {
        let Self { threads, call, samples, .. } = self;
        let turn = || {
            // Other items had the caches since, and perhaps the network had another batch.
            call()?;
            let start = Instant::now();
            for calls in 0.. {
                if calls >= plan.calls && start.elapsed() >= plan.turn {
                    break;
                }
                samples.push(call()?.as_secs_f64() * 1e6);
            }
            Ok(())
        };
        // A whole turn inside the pool, as a training loop should be: entering a pool wakes its threads up.
        threads.install(turn)
    }

    /// Median and minimum, in microseconds.
    pub fn microseconds(&self) -> (f64, f64) {
        let mut samples = self.samples.clone();
        samples.sort_by(f64::total_cmp);
        let at = |i: usize| samples.get(i).copied().unwrap_or(f64::NAN);
        (at(samples.len() / 2), at(0))
    }
}

/// Measures for as long as the plan says, or until somebody wants the program to end: then for whole rounds so far, but
/// for one at least.
pub fn rounds(items: &mut [Item<'_>], plan: &Plan) -> Result<(), Error> {
    let screen = Screen::new();
    let bar = screen.bar(1, "measuring {bar:40} {percent:>3} %  {msg}", "");
    if !screen.has_bars() {
        screen.note(format_args!("measuring {} items for about {} s", items.len(), plan.time.as_secs()));
    }
    let start = Instant::now();
    let (mut rounds, mut total) = (0, plan.time);
    loop {
        for item in items.iter_mut() {
            item.turn(plan)?;
            bar.set(start.elapsed().as_millis() as u64, total.as_millis() as u64);
            bar.message(|| format!("{} left", brief(total.saturating_sub(start.elapsed()))));
            if rounds > 0 && interrupt::requested() {
                break;
            }
        }
        rounds += 1;
        let round = start.elapsed() / rounds;
        let long_enough = rounds >= FEWEST_ROUNDS && start.elapsed() + round > plan.time;
        if long_enough || interrupt::requested() {
            break;
        }
        total = plan.time.max(round * FEWEST_ROUNDS);
    }
    bar.clear();
    if interrupt::requested() {
        screen.note(format_args!("interrupted: the figures are from {rounds} round{}", plural(rounds as usize)));
    }
    Ok(())
}
