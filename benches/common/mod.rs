//! How a bench runs a call on one thread or several.

use criterion::Bencher;
use interneuron::Threads;
use std::time::{Duration, Instant};

/// Numbers of threads.
pub const THREADS: [usize; 2] = [1, 2];

/// A pool, or the calling thread.
pub fn pool(threads: usize) -> Threads {
    if threads == 1 {
        return Threads::Serial;
    }
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().into()
}

/// Times calls. With a pool the loop runs inside it, as a training loop should: entering a pool wakes its threads up.
pub fn timed(b: &mut Bencher<'_>, threads: &Threads, mut call: impl FnMut() + Send) {
    timed_after(b, threads, || {
        let start = Instant::now();
        call();
        start.elapsed()
    });
}

/// Adds up the times that calls return, for calls that are not timed as a whole.
pub fn timed_after(b: &mut Bencher<'_>, threads: &Threads, mut call: impl FnMut() -> Duration + Send) {
    b.iter_custom(|calls| threads.install(|| (0..calls).map(|_| call()).sum()));
}
