//! The table that handles are looked up in.
//!
//! A handle is a number and not a pointer, so a freed or invented one finds nothing instead of foreign memory. Numbers
//! are never used twice, and they are scattered over all of 64 bits, so that a counter or a pointer of the caller,
//! handed in by mistake, hardly ever is one.

use crate::context::Context;
use crate::fork;
use crate::layer::AnyLayer;
use crate::network::AnyNetwork;
use crate::status::{Failure, INTERNEURON_BUSY, INTERNEURON_INTERNAL, INTERNEURON_INVALID_HANDLE, Outcome};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};

/// The handle of a context: an instruction set, and the threads that the layers and networks made in it share.
pub type ContextId = u64;
/// The handle of a layer.
pub type LayerId = u64;
/// The handle of a network.
pub type NetworkId = u64;

/// What a handle names.
pub type Slot<T> = Arc<Guarded<T>>;

/// An object that one call at a time may use.
pub struct Guarded<T> {
    /// 0, or one more than the generation of the process whose thread is in a call with the object. If that is another
    /// process, then the thread was in its call when an ancestor forked: it does not return here.
    user: AtomicU64,
    /// `None` is what a call finds that looked the handle up just before another thread freed it. The lock is free
    /// whenever `user` is 0.
    object: Mutex<Option<T>>,
}

/// Why an object cannot be used.
enum Occupied {
    /// By a thread of this process.
    Here,
    /// By one that was lost in a fork.
    Lost,
}

/// Ends the use of an object, whatever happens in it.
struct InUse<'a>(&'a AtomicU64);

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

impl<T> Guarded<T> {
    fn new(object: T) -> Self {
        Self { user: AtomicU64::new(0), object: Mutex::new(Some(object)) }
    }

    fn enter(&self) -> Result<InUse<'_>, Occupied> {
        let this = fork::generation() + 1;
        match self.user.compare_exchange(0, this, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Ok(InUse(&self.user)),
            Err(user) if user == this => Err(Occupied::Here),
            Err(_) => Err(Occupied::Lost),
        }
    }
}

/// A kind of object with a handle.
pub trait Object: Sized {
    const KIND: &'static str;
    fn enter(slot: Slot<Self>) -> Entry;
    fn find(entry: &Entry) -> Option<&Slot<Self>>;
}

pub enum Entry {
    Context(Slot<Arc<Context>>),
    Layer(Slot<AnyLayer>),
    Network(Slot<AnyNetwork>),
}

macro_rules! object {
    ($type:ty, $variant:ident, $kind:literal) => {
        impl Object for $type {
            const KIND: &'static str = $kind;

            fn enter(slot: Slot<Self>) -> Entry {
                Entry::$variant(slot)
            }

            fn find(entry: &Entry) -> Option<&Slot<Self>> {
                if let Entry::$variant(slot) = entry { Some(slot) } else { None }
            }
        }
    };
}

object!(Arc<Context>, Context, "a context");
object!(AnyLayer, Layer, "a layer");
object!(AnyNetwork, Network, "a network");

impl Entry {
    fn kind(&self) -> &'static str {
        match self {
            Self::Context(_) => <Arc<Context>>::KIND,
            Self::Layer(_) => AnyLayer::KIND,
            Self::Network(_) => AnyNetwork::KIND,
        }
    }
}

static TABLE: RwLock<BTreeMap<u64, Entry>> = RwLock::new(BTreeMap::new());
static COUNTER: AtomicU64 = AtomicU64::new(1);

/// Odd, so multiplying with it maps the numbers of the counter one to one, and none but 0 to 0.
const SCATTER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Gives an object a handle.
pub fn insert<T: Object>(object: T) -> u64 {
    let handle = COUNTER.fetch_add(1, Ordering::Relaxed).wrapping_mul(SCATTER);
    let entry = T::enter(Arc::new(Guarded::new(object)));
    lock().insert(handle, entry);
    handle
}

/// Holds everything up that looks for handles.
pub type TableGuard = RwLockWriteGuard<'static, BTreeMap<u64, Entry>>;

/// Takes the table for this thread alone.
pub fn lock() -> TableGuard {
    TABLE.write().unwrap_or_else(PoisonError::into_inner)
}

fn freed(handle: u64, kind: &str) -> Failure {
    let text = format!("the handle is {handle:#x}: expected {kind} that was created and is not yet freed");
    Failure::new(INTERNEURON_INVALID_HANDLE, text)
}

fn look_up<T: Object>(table: &BTreeMap<u64, Entry>, handle: u64) -> Outcome<&Slot<T>> {
    let entry = table.get(&handle).ok_or_else(|| freed(handle, T::KIND))?;
    T::find(entry).ok_or_else(|| {
        let text = format!("the handle {handle:#x} names {}: expected {}", entry.kind(), T::KIND);
        Failure::new(INTERNEURON_INVALID_HANDLE, text)
    })
}

fn busy(handle: u64) -> Failure {
    Failure::new(
        INTERNEURON_BUSY,
        format!(
            "the handle {handle:#x} is in use by a call, of another thread or around this one: expected one at a time"
        ),
    )
}

fn lost(handle: u64) -> Failure {
    let text = format!(
        "the handle {handle:#x} was in use by another thread when this process was forked: expected to be freed"
    );
    Failure::new(INTERNEURON_INTERNAL, text)
}

/// Calls `body` with what the handle names.
pub fn with<T: Object, R>(handle: u64, body: impl FnOnce(&mut T) -> Outcome<R>) -> Outcome<R> {
    let slot = look_up::<T>(&TABLE.read().unwrap_or_else(PoisonError::into_inner), handle)?.clone();
    // Given back after the lock, which is the later one.
    let _in_use = slot.enter().map_err(|occupied| match occupied {
        Occupied::Here => busy(handle),
        Occupied::Lost => lost(handle),
    })?;
    let mut object = slot.object.lock().map_err(|_| {
        let text =
            format!("the handle {handle:#x} met a defect of interneuron in an earlier call: expected to be freed");
        Failure::new(INTERNEURON_INTERNAL, text)
    })?;
    body(object.as_mut().ok_or_else(|| freed(handle, T::KIND))?)
}

/// The context of this handle. Threads may create things in one context at the same time: they wait for one another.
pub fn context(handle: u64) -> Outcome<Arc<Context>> {
    // The table is held meanwhile, so that no fork falls into it.
    let table = TABLE.read().unwrap_or_else(PoisonError::into_inner);
    let slot = look_up::<Arc<Context>>(&table, handle)?;
    let context = slot.object.lock().unwrap_or_else(PoisonError::into_inner);
    context.clone().ok_or_else(|| freed(handle, <Arc<Context>>::KIND))
}

/// Frees what the handle names, unless a call is using it.
pub fn free<T: Object>(handle: u64) -> Outcome {
    let mut table = lock();
    let slot = look_up::<T>(&table, handle)?.clone();
    let object = match slot.enter() {
        Ok(_in_use) => slot.object.lock().unwrap_or_else(PoisonError::into_inner).take(),
        Err(Occupied::Here) => return Err(busy(handle)),
        Err(Occupied::Lost) => {
            // Half-changed, perhaps: its memory is given up.
            std::mem::forget(slot.clone());
            None
        }
    };
    table.remove(&handle);
    if table.is_empty() {
        // An empty tree may keep a node: a library that is not used holds no memory.
        *table = BTreeMap::new();
    }
    drop(table);
    // Outside of all locks: the end of a pool waits for its threads.
    drop(object);
    Ok(())
}
