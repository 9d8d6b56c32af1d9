//! What becomes of the library in a child process of `fork()`.
//!
//! The child has a copy of all memory and only the thread that forked. Three things follow. Locks that another thread
//! held are held without end: so the locks of the library are taken before the fork and released after it, on both
//! sides. Threads of pools do not exist: so the child counts its [`generation`] up, by which contexts tell their own
//! pool from those of ancestors. And what another thread was changing stays half-changed: so the table of handles notes
//! in which generation a call began.

#[cfg(unix)]
pub use unix::{building, generation, watch};

#[cfg(not(unix))]
pub use elsewhere::{building, generation, watch};

#[cfg(unix)]
mod unix {
    use crate::status::{Failure, INTERNEURON_OUT_OF_RESOURCES, Outcome};
    use crate::table::{self, TableGuard};
    use std::cell::UnsafeCell;
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    static GENERATION: AtomicU64 = AtomicU64::new(0);
    static WATCHED: AtomicBool = AtomicBool::new(false);
    static BUILDING: Mutex<()> = Mutex::new(());

    /// How many forks there were, with this library in use, between the first process and this one.
    pub fn generation() -> u64 {
        GENERATION.load(Ordering::Relaxed)
    }

    /// A thread that starts those of a pool, or waits for their end, holds this: no fork sees half of that.
    pub fn building() -> MutexGuard<'static, ()> {
        BUILDING.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that the library hears of forks. Threads that race register several times, which does no harm, where
    /// one that waited for another would wait without end in a child that was forked meanwhile.
    pub fn watch() -> Outcome {
        if !WATCHED.load(Ordering::Acquire) {
            // SAFETY: the functions do what may be done around a fork: they lock and unlock.
            let error = unsafe { libc::pthread_atfork(Some(before), Some(after), Some(in_child)) };
            if error != 0 {
                let text = format!("a function to be called on fork() is refused with error {error}: expected memory");
                return Err(Failure::new(INTERNEURON_OUT_OF_RESOURCES, text));
            }
            WATCHED.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// The locks of the library, while a thread forks.
    struct Held {
        /// The thread, by the address of a variable of its own; 0 is none.
        thread: AtomicUsize,
        /// How many registrations have taken the locks.
        times: UnsafeCell<usize>,
        guards: UnsafeCell<Option<(MutexGuard<'static, ()>, TableGuard)>>,
    }

    // SAFETY: only the thread that holds the locks uses the cells, and a child's only thread is that thread.
    unsafe impl Sync for Held {}

    static HELD: Held = Held { thread: AtomicUsize::new(0), times: UnsafeCell::new(0), guards: UnsafeCell::new(None) };

    fn this_thread() -> usize {
        thread_local!(static HERE: u8 = const { 0 });
        HERE.with(|here| std::ptr::from_ref(here).addr())
    }

    unsafe extern "C" fn before() {
        let this = this_thread();
        let mine = HELD.thread.load(Ordering::Relaxed) == this;
        let guards = (!mine).then(|| (building(), table::lock()));
        // SAFETY: this thread holds the locks.
        unsafe {
            *HELD.times.get() += 1;
            if guards.is_some() {
                *HELD.guards.get() = guards;
            }
        }
        HELD.thread.store(this, Ordering::Relaxed);
    }

    unsafe extern "C" fn after() {
        // SAFETY: this thread holds the locks since `before`.
        let guards = unsafe {
            *HELD.times.get() -= 1;
            if *HELD.times.get() > 0 {
                return;
            }
            (*HELD.guards.get()).take()
        };
        HELD.thread.store(0, Ordering::Relaxed);
        drop(guards);
    }

    unsafe extern "C" fn in_child() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
        // SAFETY: this is the thread that forked.
        unsafe { after() };
    }
}

/// Where there is no `fork()`.
#[cfg(not(unix))]
mod elsewhere {
    use crate::status::Outcome;

    pub fn generation() -> u64 {
        0
    }

    /// Nothing to wait for.
    pub struct Building;

    pub fn building() -> Building {
        Building
    }

    pub fn watch() -> Outcome {
        Ok(())
    }
}
