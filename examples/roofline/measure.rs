//! Measuring turn by turn: rounds, in each of which every item has a turn.

use super::args::Plan;
use super::cases::Case;
use indicatif::{ProgressBar, ProgressStyle};
use interneuron::Error;
use rayon::ThreadPool;
use std::io::{IsTerminal, stderr};
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
    /// The pool that computes, or none.
    pool: Option<&'a ThreadPool>,
    call: Call<'a>,
    /// Microseconds.
    samples: Vec<f64>,
}

impl<'a> Item<'a> {
    pub fn new(case: Case, work: f64, pool: Option<&'a ThreadPool>, call: Call<'a>) -> Self {
        Self { case, work, pool, call, samples: vec![] }
    }

    /// Its turn in a round.
    fn turn(&mut self, plan: &Plan) -> Result<(), Error> {
        let Self { pool, call, samples, .. } = self;
        let mut turn = || {
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
        match pool {
            Some(pool) => pool.install(turn),
            None => turn(),
        }
    }

    /// Median and minimum, in microseconds.
    pub fn microseconds(&self) -> (f64, f64) {
        let mut samples = self.samples.clone();
        samples.sort_by(f64::total_cmp);
        let at = |i: usize| samples.get(i).copied().unwrap_or(f64::NAN);
        (at(samples.len() / 2), at(0))
    }
}

/// Measures for as long as the plan says.
pub fn rounds(items: &mut [Item<'_>], plan: &Plan) -> Result<(), Error> {
    let progress = Progress::new(plan.time, items.len());
    let start = Instant::now();
    let (mut rounds, mut total) = (0, plan.time);
    loop {
        for item in items.iter_mut() {
            item.turn(plan)?;
            progress.show(start.elapsed(), total);
        }
        rounds += 1;
        let round = start.elapsed() / rounds;
        if rounds >= FEWEST_ROUNDS && start.elapsed() + round > plan.time {
            break;
        }
        total = plan.time.max(round * FEWEST_ROUNDS);
    }
    progress.finish();
    Ok(())
}

/// A bar on a terminal, one line elsewhere.
struct Progress(Option<ProgressBar>);

impl Progress {
    fn new(time: Duration, items: usize) -> Self {
        if !stderr().is_terminal() {
            eprintln!("measuring {items} items for about {} s", time.as_secs());
            return Self(None);
        }
        let style = ProgressStyle::with_template("measuring {bar:40} {percent:>3} %  {msg}").expect("a valid template");
        Self(Some(ProgressBar::new(1).with_style(style)))
    }

    fn show(&self, elapsed: Duration, total: Duration) {
        if let Some(bar) = &self.0 {
            bar.set_length(total.as_millis() as u64);
            bar.set_position(elapsed.min(total).as_millis() as u64);
            bar.set_message(format!("{} s left", total.saturating_sub(elapsed).as_secs()));
        }
    }

    fn finish(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}
