//! Who computes: the calling thread alone, or a pool that the caller hands in.
//!
//! A step opens one parallel region and runs many short phases in it. A phase is a number of tasks, each of which
//! writes its own outputs in an order of its own, so it does not matter for the result who computes what. The calling
//! thread leads: it publishes a phase, takes tasks until none is left, and waits for those that helpers took; a phase
//! of a few microseconds it does alone. Helpers are volunteers: if the pool's threads are busy elsewhere the leader
//! does everything itself, so several networks may share a pool without a deadlock. A helper stays until its region
//! ends, so their steps may wait for one another: for speed, give each network a pool of its own, or one thread.
//!
//! A worker of one pool that opens a region on another one leads it where it is, and the other pool's threads come to
//! help. Were it to wait for the other pool, as `ThreadPool::install` does, it would meanwhile begin other work of its
//! own pool, which may open such a region again: thousands of networks in a `par_iter` would pile up on one stack.

#[cfg(feature = "rayon")]
use crate::modes::Modes;
use std::ops::Range;
#[cfg(feature = "rayon")]
use std::panic::{AssertUnwindSafe, catch_unwind};
#[cfg(feature = "rayon")]
use std::sync::Arc;
#[cfg(feature = "rayon")]
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// The threads that layers and networks of a [`Context`](crate::Context) compute on. The result has the same bits
/// whatever is chosen, also where the caller changed the processor's modes of rounding or of flushing to zero: a pool
/// takes them on for the time of the call.
///
/// A call with less than 300,000 multiply-adds (a few microseconds) does not wake a pool up: the calling thread
/// computes alone. So it does the small parts of a larger call.
#[derive(Clone, Debug, Default)]
pub enum Threads {
    /// The calling thread.
    #[default]
    Serial,
    /// The threads of this pool. The caller waits, or takes part if it is one of them or a worker of another pool:
    /// pools may be nested in any way.
    ///
    /// How many threads a pool has is for the caller to say when it is built: this crate reads neither
    /// `RAYON_NUM_THREADS`, which `rayon` takes for its global pool and for pools of no stated number, nor
    /// `OMP_NUM_THREADS`.
    ///
    /// A pool of `rayon` does not survive `fork()`: in the child process it has no threads, and a call that uses it
    /// never returns, so a child builds a pool of its own. (The C library does that by itself.)
    #[cfg(feature = "rayon")]
    Pool(Arc<rayon::ThreadPool>),
    /// So many threads that begin and end with each region. They hand over by what the system has for it, which race
    /// detectors understand, where that of a pool would have to be compiled for them.
    #[cfg(all(test, feature = "rayon"))]
    Spawned(usize),
}

#[cfg(feature = "rayon")]
impl From<rayon::ThreadPool> for Threads {
    fn from(pool: rayon::ThreadPool) -> Self {
        Self::Pool(Arc::new(pool))
    }
}

#[cfg(feature = "rayon")]
impl From<Arc<rayon::ThreadPool>> for Threads {
    fn from(pool: Arc<rayon::ThreadPool>) -> Self {
        Self::Pool(pool)
    }
}

impl Threads {
    /// How many threads there are.
    pub fn count(&self) -> usize {
        match self {
            Self::Serial => 1,
            #[cfg(feature = "rayon")]
            Self::Pool(pool) => pool.current_num_threads(),
            #[cfg(all(test, feature = "rayon"))]
            Self::Spawned(threads) => *threads,
        }
    }

    /// Calls `f` in the pool, if there is one. A loop of many calls runs best so: none of them then enters the pool from
    /// outside, for which its threads have to be woken up.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        match self {
            #[cfg(feature = "rayon")]
            Self::Pool(pool) => pool.install(f),
            _ => f(),
        }
    }

    /// Opens a parallel region and leads it. `flops` is the useful work in it.
    pub(crate) fn region<R: Send>(&self, flops: f64, lead: impl FnOnce(&Team<'_>) -> R + Send) -> R {
        debug_assert!(flops >= 0.0);
        match self {
            #[cfg(feature = "rayon")]
            Self::Pool(pool) if pool.current_num_threads() > 1 && flops / 2.0 >= Team::ALONE as f64 => {
                let helpers = pool.current_num_threads() - 1;
                if rayon::current_thread_index().is_some() && pool.current_thread_index().is_none() {
                    return Board::with_volunteers(pool, helpers, lead);
                }
                // Those of this thread, which need not be the one that leads.
                let modes = Modes::current();
                pool.install(|| {
                    let board = Board { threads: helpers + 1, modes, ..Board::default() };
                    board.with_helpers(helpers, lead)
                })
            }
            #[cfg(all(test, feature = "rayon"))]
            &Self::Spawned(threads) => {
                let board = Board { threads, modes: Modes::current(), ..Board::default() };
                std::thread::scope(|scope| {
                    let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(|| board.help())).collect();
                    let result = board.with_helpers(0, lead);
                    helpers.into_iter().for_each(|helper| helper.join().expect("helpers do not panic"));
                    result
                })
            }
            _ => lead(&Team { board: None }),
        }
    }
}

/// The threads inside a parallel region.
pub(crate) struct Team<'b> {
    #[cfg(feature = "rayon")]
    board: Option<&'b Board>,
    #[cfg(not(feature = "rayon"))]
    board: Option<&'b std::convert::Infallible>,
}

impl Team<'_> {
    /// Multiply-adds (or as much other work) below which the leader works alone: some microseconds, about what it costs
    /// the others to notice the phase and to fetch what the leader has in its caches.
    /// (Tests of this crate and fuzz targets share everything, however little.)
    pub const ALONE: usize = if cfg!(any(test, fuzzing)) { 1 } else { 300_000 };

    /// How many threads work together.
    pub fn threads(&self) -> usize {
        #[cfg(feature = "rayon")]
        if let Some(board) = self.board {
            return board.threads;
        }
        1
    }

    /// Runs the tasks `0..tasks`, each once, in ranges of neighbours, and returns when all are done. `work` is how many
    /// multiply-adds they make together, roughly.
    pub fn run<F: Fn(Range<usize>) + Sync>(&self, work: usize, tasks: usize, task: F) {
        #[cfg(feature = "rayon")]
        if let Some(board) = self.board.filter(|_| tasks > 1 && work >= Self::ALONE) {
            return board.run(tasks, &task);
        }
        debug_assert!(self.board.is_none() || tasks <= 1 || work < Self::ALONE);
        task(0..tasks);
    }
}

/// A phase: how to call a task, and how many there are. It lives on the leader's stack until the phase is over.
#[cfg(feature = "rayon")]
struct Phase {
    call: unsafe fn(*const (), Range<usize>),
    task: *const (),
    tasks: usize,
}

/// Where the leader publishes phases and helpers find them.
///
/// Idle helpers read it all the time, so it must not share a cache line (or the line that is fetched with it) with
/// anything that the leader writes while it works.
#[cfg(feature = "rayon")]
#[derive(Default)]
#[repr(align(128))]
struct Board {
    /// Number of the phase in the upper half, tasks that nobody has taken in the lower half.
    state: AtomicU64,
    /// The phase whose number is in `state`. Valid while one of its tasks is taken and not done.
    phase: AtomicPtr<Phase>,
    /// Tasks of the phase that are done.
    done: AtomicUsize,
    /// The region is over.
    over: AtomicBool,
    /// A task panicked.
    poisoned: AtomicBool,
    /// The leader and its helpers.
    threads: usize,
    /// The caller's modes, in which they all work.
    modes: Modes,
}

#[cfg(feature = "rayon")]
impl Board {
    /// Turns of a waiting loop before it lets other threads of the machine run. Phases follow each other within
    /// microseconds; on a machine with more threads than cores, the thread that is waited for needs the core.
    const SPINS: u32 = 1 << 10;

    /// Runs `lead` on this thread while up to `helpers` other threads of the pool help.
    fn with_helpers<R: Send>(&self, helpers: usize, lead: impl FnOnce(&Team<'_>) -> R + Send) -> R {
        if helpers > 0 {
            return rayon::join(|| self.lead(lead), || self.help_together(helpers)).0;
        }
        self.lead(lead)
    }

    /// Helps, and lets others of the pool do so, in halves: one after the other would take a stack that grows with
    /// their number.
    fn help_together(&self, helpers: usize) {
        if helpers > 1 {
            let half = helpers / 2;
            rayon::join(|| self.help_together(half), || self.help_together(helpers - half));
        } else {
            self.help();
        }
    }

    /// Runs `lead` on this thread, which is none of the pool, while up to `helpers` threads of the pool help. One that
    /// comes late finds the region over, and so leaves: the board is there as long as somebody may look at it.
    fn with_volunteers<R: Send>(pool: &rayon::ThreadPool, helpers: usize, lead: impl FnOnce(&Team<'_>) -> R) -> R {
        let board = Arc::new(Self { threads: helpers + 1, modes: Modes::current(), ..Self::default() });
        for _ in 0..helpers {
            let board = Arc::clone(&board);
            // A panic would end the process here. The leader hears of it by `poisoned`.
            pool.spawn(move || _ = catch_unwind(AssertUnwindSafe(|| board.help())));
        }
        board.lead(lead)
    }

    /// Runs `lead` on this thread, and then the region is over.
    fn lead<R>(&self, lead: impl FnOnce(&Team<'_>) -> R) -> R {
        /// Sends the helpers home, also when the leader panics.
        struct Over<'b>(&'b AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Release);
            }
        }
        let _over = Over(&self.over);
        let _modes = self.modes.enter();
        lead(&Team { board: Some(self) })
    }

    fn run<F: Fn(Range<usize>) + Sync>(&self, tasks: usize, task: &F) {
        /// # Safety
        /// `task` points to an `F`.
        unsafe fn call<F: Fn(Range<usize>)>(task: *const (), range: Range<usize>) {
            // SAFETY: the caller vouches for the type.
            unsafe { (*task.cast::<F>())(range) }
        }
        let remaining = u32::try_from(tasks).expect("a phase has fewer than 2^32 tasks");
        let mut phase = Phase { call: call::<F>, task: std::ptr::from_ref(task).cast(), tasks };
        self.done.store(0, Ordering::Relaxed);
        self.phase.store(&raw mut phase, Ordering::Relaxed);
        let number = (self.state.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        self.state.store(number << 32 | u64::from(remaining), Ordering::Release);

        /// Keeps the phase alive until no helper works on it, also when a task of the leader panics.
        struct Finish<'b>(&'b Board, usize);
        impl Drop for Finish<'_> {
            fn drop(&mut self) {
                // Tasks that nobody took yet need not be done after a panic.
                while let Some((_, taken)) = self.0.take() {
                    self.0.done.fetch_add(taken as usize, Ordering::Relaxed);
                }
                let mut turn = 0;
                while self.0.done.load(Ordering::Acquire) < self.1 {
                    Board::wait(&mut turn);
                }
            }
        }
        let finish = Finish(self, tasks);
        while self.take_and_do() {}
        drop(finish);
        assert!(!self.poisoned.load(Ordering::Relaxed), "a task panicked on another thread");
    }

    /// Does tasks of whatever phase is published until the region is over.
    fn help(&self) {
        let _modes = self.modes.enter();
        let mut turn = 0;
        while !self.over.load(Ordering::Acquire) {
            if self.take_and_do() {
                turn = 0;
            } else {
                Self::wait(&mut turn);
            }
        }
    }

    fn wait(turn: &mut u32) {
        if *turn < Self::SPINS {
            *turn += 1;
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }

    /// Takes tasks of the present phase: how many were left, and how many of those are taken. At first large shares, so
    /// that taking costs little and neighbours stay together; at last single tasks, so that all threads end together.
    fn take(&self) -> Option<(u32, u32)> {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            let remaining = state as u32;
            if remaining == 0 {
                return None;
            }
            let taken = (remaining / (2 * self.threads as u32)).max(1);
            let next = state - u64::from(taken);
            // Fails if another thread took tasks, or if this phase ended and another began: its number differs.
            match self.state.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some((remaining, taken)),
                Err(now) => state = now,
            }
        }
    }

    /// Takes tasks and does them; false if none is left.
    fn take_and_do(&self) -> bool {
        let Some((remaining, taken)) = self.take() else { return false };
        /// Counts the tasks as done, also when one panics: otherwise the leader would never return.
        struct Done<'b> {
            board: &'b Board,
            taken: usize,
            returned: bool,
        }
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                if !self.returned {
                    self.board.poisoned.store(true, Ordering::Relaxed);
                }
                self.board.done.fetch_add(self.taken, Ordering::Release);
            }
        }
        let mut done = Done { board: self, taken: taken as usize, returned: false };
        // SAFETY: this thread has taken tasks that are not done, so the leader is still in `run` of this phase, and the
        // pointer is the one it published before the tasks could be taken.
        unsafe {
            let phase = &*self.phase.load(Ordering::Acquire);
            let start = phase.tasks - remaining as usize;
            (phase.call)(phase.task, start..start + taken as usize);
        }
        done.returned = true;
        true
    }
}

#[cfg(all(test, feature = "rayon"))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    /// Enough for the leader to share.
    const WORK: usize = Team::ALONE;
    const FLOPS: f64 = 2.0 * Team::ALONE as f64;

    fn pool(threads: usize) -> Arc<rayon::ThreadPool> {
        Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap())
    }

    #[test]
    fn every_task_runs_once_in_every_phase() {
        for threads in 1..=5 {
            let pool = pool(threads);
            Threads::Pool(pool.clone()).region(FLOPS, |team| {
                for tasks in 0..200 {
                    let counts: Vec<AtomicU32> = (0..tasks).map(|_| AtomicU32::new(0)).collect();
                    team.run(WORK, tasks, |range| {
                        counts[range].iter().for_each(|n| _ = n.fetch_add(1, Ordering::Relaxed));
                    });
                    assert!(counts.iter().all(|n| n.load(Ordering::Relaxed) == 1));
                }
            });
        }
    }

    #[test]
    fn spawned_threads_see_what_the_leader_wrote_and_it_what_they_wrote() {
        let (mut sums, tasks) = (vec![0_u64; 50], 50);
        Threads::Spawned(3).region(FLOPS, |team| {
            for phase in 0..100 {
                // Plain memory of the leader, which each task changes a part of.
                let place = sums.as_mut_ptr().expose_provenance();
                team.run(WORK, tasks, |range| {
                    for task in range {
                        // SAFETY: the array is borrowed mutably, and each task has an element of its own.
                        unsafe { *std::ptr::with_exposed_provenance_mut::<u64>(place).add(task) += phase };
                    }
                });
                assert_eq!(sums.iter().sum::<u64>(), tasks as u64 * (0..=phase).sum::<u64>());
            }
        });
    }

    #[test]
    fn regions_that_share_a_pool_do_not_deadlock() {
        let pool = pool(2);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let sum = AtomicU32::new(0);
                        Threads::Pool(pool.clone()).region(FLOPS, |team| {
                            for _ in 0..20 {
                                team.run(WORK, 10, |range| {
                                    sum.fetch_add(range.sum::<usize>() as u32, Ordering::Relaxed);
                                });
                            }
                        });
                        assert_eq!(sum.into_inner(), 20 * 45);
                    }
                });
            }
        });
    }

    /// The regions of thousands of jobs of one pool on another do not pile up on a stack, in whichever order they wait.
    #[test]
    fn regions_of_jobs_of_another_pool_do_not_pile_up() {
        use rayon::prelude::*;
        const JOBS: usize = if cfg!(debug_assertions) { 1000 } else { 20_000 };
        // Small for so many, and large enough for one without optimisation, or under a sanitizer.
        const STACK: usize = if cfg!(debug_assertions) { 2 << 20 } else { 256 << 10 };
        let pool =
            |threads| Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(STACK).build().unwrap());
        let (a, b) = (pool(2), pool(2));
        let region = |pool: &Arc<rayon::ThreadPool>| {
            let sum = AtomicUsize::new(0);
            Threads::Pool(pool.clone()).region(FLOPS, |team| {
                for _ in 0..3 {
                    team.run(WORK, 10, |range| _ = sum.fetch_add(range.sum(), Ordering::Relaxed));
                }
            });
            assert_eq!(sum.into_inner(), 3 * 45);
        };
        let all = |job: &(dyn Fn() + Sync)| (0..JOBS).into_par_iter().for_each(|_| job());
        a.install(|| all(&|| region(&b)));
        a.install(|| all(&|| region(&a)));
        // A in B in A: the outer jobs wait for B, so there are few of them.
        let few = |job: &(dyn Fn() + Sync)| (0..20).into_par_iter().for_each(|_| job());
        a.install(|| few(&|| b.install(|| few(&|| region(&a)))));
    }

    /// What a region takes of the stack does not grow with the threads of its pool.
    #[test]
    fn many_threads_need_no_large_stacks() {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(400).stack_size(128 << 10).build().unwrap());
        for _ in 0..5 {
            let sum = AtomicUsize::new(0);
            Threads::Pool(pool.clone()).region(FLOPS, |team| {
                team.run(WORK, 1000, |range| _ = sum.fetch_add(range.len(), Ordering::Relaxed));
            });
            assert_eq!(sum.into_inner(), 1000);
        }
    }

    #[test]
    fn a_panic_of_a_volunteer_reaches_the_leader() {
        let (a, b) = (pool(1), pool(3));
        for guilty in [0, 7, 63] {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                a.install(|| {
                    Threads::Pool(b.clone()).region(FLOPS, |team| {
                        team.run(WORK, 64, |range| {
                            std::thread::sleep(std::time::Duration::from_micros(50));
                            assert!(!range.contains(&guilty), "task {guilty}");
                        });
                    });
                });
            }));
            assert!(result.is_err());
        }
    }

    #[test]
    fn a_region_in_a_destructor_survives_unwinding() {
        struct Guard<'a>(&'a Arc<rayon::ThreadPool>, &'a AtomicUsize);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                Threads::Pool(self.0.clone()).region(FLOPS, |team| {
                    team.run(WORK, 50, |range| _ = self.1.fetch_add(range.len(), Ordering::Relaxed));
                });
            }
        }
        let (pool, count) = (pool(2), AtomicUsize::new(0));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.install(|| {
                let _guard = Guard(&pool, &count);
                panic!("on purpose");
            })
        }));
        assert!(result.is_err());
        assert_eq!(count.into_inner(), 50);
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        let pool = pool(3);
        for guilty in [0, 7, 63] {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                Threads::Pool(pool.clone()).region(FLOPS, |team| {
                    team.run(WORK, 64, |range| {
                        std::thread::sleep(std::time::Duration::from_micros(10));
                        assert!(!range.contains(&guilty), "task {guilty}");
                    });
                });
            }));
            assert!(result.is_err());
        }
        let sum = AtomicUsize::new(0);
        Threads::Pool(pool.clone()).region(FLOPS, |team| {
            team.run(WORK, 9, |range| _ = sum.fetch_add(range.sum(), Ordering::Relaxed));
        });
        assert_eq!(sum.into_inner(), 36);
    }
}
