//! What layers and networks compute with.

use crate::error::Error;
use crate::isa::Isa;
use crate::threads::Threads;

/// The instruction set and the threads of layers and networks, chosen once. Neither changes what a call means: the
/// threads not a bit of its result, the instruction set only how sums are rounded. A clone shares the threads.
///
/// ```
/// use interneuron::{Context, Isa};
///
/// let serial = Context::new()?;
/// let widest = serial.clone().with_isa(Isa::best());
/// assert_eq!((widest.isa(), widest.threads().count()), (Isa::best(), 1));
/// # #[cfg(feature = "rayon")]
/// # {
/// let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build()?;
/// let parallel = serial.with_threads(pool);
/// assert_eq!(parallel.threads().count(), 2);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Context {
    isa: Isa,
    threads: Threads,
}

impl Context {
    /// The instruction set of [`Isa::select`], on the thread that makes a call.
    ///
    /// # Errors
    /// Those of [`Isa::select`].
    pub fn new() -> Result<Self, Error> {
        Isa::select().map(Self::from)
    }

    /// The same with another instruction set.
    #[must_use]
    pub fn with_isa(self, isa: Isa) -> Self {
        Self { isa, ..self }
    }

    /// The same with other threads: [`Threads::Serial`], or a pool.
    #[must_use]
    pub fn with_threads(self, threads: impl Into<Threads>) -> Self {
        Self { threads: threads.into(), ..self }
    }

    pub(crate) fn set_threads(&mut self, threads: impl Into<Threads>) {
        self.threads = threads.into();
    }

    /// The instruction set of the kernels.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The threads that compute.
    pub fn threads(&self) -> &Threads {
        &self.threads
    }
}

/// This instruction set, on the thread that makes a call.
impl From<Isa> for Context {
    fn from(isa: Isa) -> Self {
        Self { isa, threads: Threads::Serial }
    }
}
