//! Threads: as many as were asked for, or as the system lets start.

use super::output::note;
use interneuron::Threads;
use rayon::{ThreadBuilder, ThreadPoolBuilder};
use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

/// How many threads to use: as asked for, or as many as this process may use cores. Says so if that is many more than
/// there are.
pub fn number(asked: Option<usize>) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = asked.unwrap_or(cores);
    if threads > 2 * cores {
        note(format_args!("{threads} threads on {cores} cores wait for one another: fewer are faster"));
    }
    threads
}

/// Says that not all threads could be started.
pub fn tell_fewer(threads: usize, started: usize, why: impl Display) {
    note(format_args!("of {threads} threads the system lets only {started} start ({why}): going on with these"));
}

/// A pool of so many threads, or of as many as can be started. The calling thread alone where one thread was asked for,
/// or no more than one can be had.
pub fn pool(threads: usize) -> Threads {
    /// How long threads that were started in vain may take to end: until then they count.
    const PATIENCE: Duration = Duration::from_millis(200);
    let (mut wanted, mut failed) = (threads, None);
    while wanted > 1 {
        let mut started = 0;
        let spawn = |thread: ThreadBuilder| {
            thread::Builder::new().spawn(|| thread.run())?;
            started += 1;
            Ok(())
        };
        match ThreadPoolBuilder::new().num_threads(wanted).spawn_handler(spawn).build() {
            Ok(pool) => {
                if let Some((why, _)) = failed {
                    tell_fewer(threads, wanted, why);
                }
                return pool.into();
            }
            Err(error) => {
                let (_, since) = failed.get_or_insert_with(|| (error, Instant::now()));
                if started > 1 && started < wanted {
                    wanted = started;
                } else if since.elapsed() > PATIENCE {
                    wanted /= 2;
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
    if let Some((why, _)) = failed {
        tell_fewer(threads, 1, why);
    }
    Threads::Serial
}
