//! Threads: as many as were asked for, or as the system lets start.

use super::output::note;
use rayon::{ThreadBuilder, ThreadPool, ThreadPoolBuilder};
use std::fmt::Display;
use std::thread;

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

/// A pool of so many threads, or of as many as can be started. None where the calling thread is to do everything: one
/// thread was asked for, or no more than one can be had.
pub fn pool(threads: usize) -> Option<ThreadPool> {
    let mut wanted = threads;
    let mut why = None;
    while wanted > 1 {
        let mut started = 0;
        let spawn = |thread: ThreadBuilder| {
            thread::Builder::new().spawn(|| thread.run())?;
            started += 1;
            Ok(())
        };
        match ThreadPoolBuilder::new().num_threads(wanted).spawn_handler(spawn).build() {
            Ok(pool) => {
                if let Some(why) = why {
                    tell_fewer(threads, wanted, why);
                }
                return Some(pool);
            }
            // Those that had started end, but perhaps not at once.
            Err(error) => (wanted, why) = (started.min(wanted - 1), Some(error)),
        }
    }
    if let Some(why) = why {
        tell_fewer(threads, 1, why);
    }
    None
}
