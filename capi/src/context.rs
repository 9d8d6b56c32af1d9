//! Contexts: an instruction set, and the threads that layers and networks share.

use crate::arguments::Arguments;
use crate::config::{ContextConfig, versioned};
use crate::fork;
use crate::status::{Failure, INTERNEURON_OUT_OF_RESOURCES, Outcome, call};
use crate::table::{self, ContextId};
use interneuron::{Isa, Threads};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::ffi::CStr;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

/// More than this is a mistake rather than a machine.
const MOST_THREADS: usize = 1024;

/// What the layers and networks of a context share. Each holds a reference, so a context may be freed before them.
pub struct Context {
    pub isa: Isa,
    /// None if every call computes on the thread that makes it.
    pools: Option<Pools>,
}

impl Context {
    /// The threads for a call. After a fork, the first call in the child starts them anew.
    pub fn threads(&self) -> Outcome<Threads> {
        self.pools.as_ref().map_or(Ok(Threads::Serial), |pools| pools.current().map(|pool| pool.clone().into()))
    }
}

/// The pool of the process that made the context, and those of its descendants on the way to this one.
struct Pools {
    threads: usize,
    first: Generation,
}

/// The pool of a process, and of its child that came after it. What was added is never changed, so that a thread that
/// looks for a pool needs no lock.
struct Generation {
    number: u64,
    pool: ManuallyDrop<Pool>,
    next: OnceLock<Box<Self>>,
}

impl Pools {
    fn new(threads: usize) -> Outcome<Self> {
        let _building = fork::building();
        Ok(Self { threads, first: Generation::new(threads)? })
    }

    fn current(&self) -> Outcome<&Arc<ThreadPool>> {
        let generation = match self.first.find() {
            Ok(generation) => generation,
            Err(_) => self.grow()?,
        };
        Ok(generation.pool.pool.as_ref().expect("a pool that was built"))
    }

    #[cold]
    fn grow(&self) -> Outcome<&Generation> {
        let _building = fork::building();
        // Another thread may have been faster.
        self.first.find().or_else(|last| {
            let new = Box::new(Generation::new(self.threads)?);
            Ok(last.next.get_or_init(|| new))
        })
    }
}

impl Generation {
    fn new(threads: usize) -> Outcome<Self> {
        let (number, pool) = (fork::generation(), ManuallyDrop::new(Pool::new(threads)?));
        Ok(Self { number, pool, next: OnceLock::new() })
    }

    /// That of this process, or else the last one.
    fn find(&self) -> Result<&Self, &Self> {
        let number = fork::generation();
        let mut generation = self;
        while generation.number != number {
            generation = generation.next.get().ok_or(generation)?;
        }
        Ok(generation)
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        // The threads of other pools exist in other processes only: here nobody would hear that they should end, and
        // one of them may have held a lock of its pool.
        if self.number == fork::generation() {
            let _building = fork::building();
            // SAFETY: the generation is not used any more.
            unsafe { ManuallyDrop::drop(&mut self.pool) };
        }
    }
}

/// A pool whose threads have begun when it is made, and have ended when it is dropped: a thread that begins or ends may
/// hold locks of the standard library, and a fork would copy them as they are. Also, a program that unloads the library,
/// or ends under a tool that looks for leaks, would race against its end.
struct Pool {
    pool: Option<Arc<ThreadPool>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    fn new(threads: usize) -> Outcome<Self> {
        let mut pool = Self { pool: None, threads: vec![] };
        let begun = Arc::new((Mutex::new(0), Condvar::new()));
        let spawn = |thread: rayon::ThreadBuilder| {
            let builder = std::thread::Builder::new().name(format!("interneuron {}", thread.index()));
            let begun = begun.clone();
            pool.threads.push(builder.spawn(move || {
                *begun.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                begun.1.notify_one();
                drop(begun);
                thread.run();
            })?);
            Ok(())
        };
        let built = ThreadPoolBuilder::new().num_threads(threads).spawn_handler(spawn).build();
        pool.pool = Some(Arc::new(built.map_err(|error| {
            let text = format!("config->threads is {threads}: expected so few that they can be started ({error})");
            Failure::new(INTERNEURON_OUT_OF_RESOURCES, text)
        })?));
        let count = begun.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = begun.1.wait_while(count, |count| *count < threads);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
        Ok(pool)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Tells the threads to end, unless a call on another thread still has a share of the pool.
        if let Some(pool) = self.pool.take()
            && Arc::into_inner(pool).is_none()
        {
            return;
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has ended, too.
            let _ = thread.join();
        }
    }
}

/// Creates a context and stores its handle in `*context`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_context_create(config: *const ContextConfig, context: *mut ContextId) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        let context = arguments.write("context", context, 1)?;
        // SAFETY: the contract of the header.
        let config = unsafe { versioned(&mut arguments, "config", config) }?;
        let threads = match usize::try_from(config.threads) {
            Ok(threads) if threads <= MOST_THREADS => threads,
            _ => {
                let expected = format!("from 0 to {MOST_THREADS}");
                return Err(Failure::argument("config->threads", config.threads, &expected));
            }
        };
        let isa = if config.isa.is_null() {
            Isa::select()?
        } else {
            // SAFETY: the contract of the header: a string that ends with NUL.
            let name = unsafe { CStr::from_ptr(config.isa) };
            arguments.read("config->isa", name.as_ptr(), name.count_bytes() + 1)?;
            name.to_string_lossy().parse()?
        };
        let checked = arguments.check()?;
        // One thread of a pool would only stand in for the caller's.
        fork::watch()?;
        let pools = if threads > 1 { Some(Pools::new(threads)?) } else { None };
        let handle = table::insert(Arc::new(Context { isa, pools }));
        // SAFETY: the contract of the header.
        unsafe { context.put(handle, &checked) };
        Ok(())
    })
}

/// Frees a context. Its layers and networks may still be used; the pool ends with the last of them.
#[unsafe(no_mangle)]
pub extern "C" fn interneuron_context_free(context: ContextId) -> i32 {
    call(|| table::free::<Arc<Context>>(context))
}
