//! Pools of threads, one for each number that is asked for.
//!
//! No thread of a pool lives on in a child process of `fork()`, so the child forgets the pools of its parent and makes its
//! own. A pool is made, and looked for, by a thread that Python runs on, which no other thread of Python forks beside.

use crate::error::invalid_value;
use interneuron::Threads;
use pyo3::prelude::*;
use rayon::ThreadPoolBuilder;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// More than this is a mistake rather than a machine.
const MOST_THREADS: usize = 1024;
/// Pools that are kept.
const MOST_POOLS: usize = 4;

/// How many forks there were between the first process and this one.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// The pools of a generation, the one that was used last at the end.
struct Pools {
    generation: u64,
    pools: Vec<Arc<rayon::ThreadPool>>,
}

static POOLS: Mutex<Pools> = Mutex::new(Pools { generation: 0, pools: vec![] });

/// The threads that a call computes on, and by which number of the process and the pool they are known.
pub fn threads(py: Python<'_>, count: usize) -> PyResult<Threads> {
    match count {
        1 => return Ok(Threads::Serial),
        2..=MOST_THREADS => {}
        _ => return Err(invalid_value(py, format!("threads is {count}: expected from 1 to {MOST_THREADS}"))),
    }
    let mut all = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    let generation = generation();
    if all.generation != generation {
        // Their threads exist in another process, and one of them may have held a lock of its pool.
        std::mem::forget(std::mem::take(&mut all.pools));
        all.generation = generation;
    }
    if let Some(place) = all.pools.iter().position(|pool| pool.current_num_threads() == count) {
        let last = all.pools.len() - 1;
        all.pools.swap(place, last);
        return Ok(all.pools[last].clone().into());
    }
    let named = |k| format!("interneuron {k}");
    let pool = ThreadPoolBuilder::new().num_threads(count).thread_name(named).build().map_err(|error| {
        invalid_value(py, format!("threads is {count}: expected so few that they can be started ({error})"))
    })?;
    // A thread that begins may hold locks of the standard library, and a fork would copy them as they are.
    pool.broadcast(|_| ());
    if all.pools.len() == MOST_POOLS {
        all.pools.remove(0);
    }
    all.pools.push(Arc::new(pool));
    Ok(all.pools[all.pools.len() - 1].clone().into())
}

/// Which process this is, counted by forks.
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// How many pools of threads this process has.
#[pyfunction]
pub fn pools() -> usize {
    let all = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if all.generation == generation() { all.pools.len() } else { 0 }
}

/// Sees to it that forks are counted.
pub fn watch() {
    #[cfg(unix)]
    {
        unsafe extern "C" fn in_child() {
            GENERATION.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the function adds to an atomic number, which may be done after a fork. Where there is no memory for
        // another one, the process has none for a pool either.
        let error = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        assert_eq!(error, 0, "a function to be called on fork() is refused");
    }
}
