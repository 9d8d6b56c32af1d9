//! How a bench runs a call on one thread or several.

use criterion::Bencher;
use interneuron::Threads;
use std::time::{Duration, Instant};

/// Numbers of threads.
pub const THREADS: [usize; 2] = [1, 2];

/// A pool, or none for one thread.
pub fn pool(threads: usize) -> Option<rayon::ThreadPool> {
    (threads > 1).then(|| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap())
}

/// Times calls. With a pool the loop runs inside it, as a training loop should: entering a pool wakes its threads up.
pub fn timed(b: &mut Bencher<'_>, pool: &Option<rayon::ThreadPool>, mut call: impl FnMut(Threads<'_>) + Send) {
    timed_after(b, pool, |threads| {
        let start = Instant::now();
        call(threads);
        start.elapsed()
    });
}

/// Adds up the times that calls return, for calls that are not timed as a whole.
pub fn timed_after(
    b: &mut Bencher<'_>,
    pool: &Option<rayon::ThreadPool>,
    mut call: impl FnMut(Threads<'_>) -> Duration + Send,
) {
    b.iter_custom(|calls| match pool {
        None => (0..calls).map(|_| call(Threads::Serial)).sum(),
        Some(pool) => pool.install(|| (0..calls).map(|_| call(Threads::Pool(pool))).sum()),
    });
}
