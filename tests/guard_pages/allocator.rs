//! An allocator whose pieces of memory end, or begin, at a page that nobody may touch.
//!
//! A thread asks for that with [`guarded`]; what it allocates meanwhile gets pages of its own out of one large reserved
//! range, between pages without any rights. Small pieces that are freed are used again by the same thread, as they are:
//! asking the system for each would take most of the time. New memory that need not be zeros holds bytes of all
//! ones: a float of those is a NaN, which shows in any result that it reaches.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// On which side of a piece of memory the unreadable page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The piece ends where the page begins: it catches what goes too far.
    After,
    /// The piece begins where the page ends: it catches what begins too early.
    Before,
}

pub struct GuardPages;

/// The most pages of a piece that is used again.
const SMALL: usize = 32;

thread_local! {
    static SIDE: Cell<Option<Side>> = const { Cell::new(None) };
    /// For each number of pages the first free piece, which holds the address of the next.
    static FREE: Cell<[*mut u8; SMALL + 1]> = const { Cell::new([null_mut(); SMALL + 1]) };
}

/// Runs `body` while all that this thread allocates is guarded.
pub fn guarded<R>(side: Side, body: impl FnOnce() -> R) -> R {
    /// Ends it, also when `body` panics: what reports a panic need not be guarded.
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            SIDE.set(None);
        }
    }
    SIDE.set(Some(side));
    let _end = End;
    body()
}

/// Addresses that are reserved: for some 10⁸ pieces, which take no memory before they are used.
const RESERVED: usize = 1 << 40;

/// Where the reserved range begins.
fn range() -> usize {
    static RANGE: OnceLock<usize> = OnceLock::new();
    *RANGE.get_or_init(|| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the system's choice.
        let range = unsafe { libc::mmap(null_mut(), RESERVED, libc::PROT_NONE, flags, -1, 0) };
        assert_ne!(range, libc::MAP_FAILED, "reserving addresses");
        range.addr()
    })
}

fn page() -> usize {
    static PAGE: OnceLock<usize> = OnceLock::new();
    // SAFETY: asks for a number.
    *PAGE.get_or_init(|| unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize)
}

/// Pages of a piece of memory.
fn pages(layout: Layout) -> usize {
    layout.size().div_ceil(page()).max(1)
}

/// Pages that were free, or new ones.
fn take(pages: usize) -> Option<*mut u8> {
    /// Bytes of the range that were handed out.
    static USED: AtomicUsize = AtomicUsize::new(0);
    let mut free = FREE.get();
    if let Some(first) = free.get_mut(pages).filter(|first| !first.is_null()) {
        let taken = *first;
        // SAFETY: a free piece, which holds an address.
        *first = unsafe { taken.cast::<*mut u8>().read() };
        FREE.set(free);
        return Some(taken);
    }
    let bytes = pages * page();
    // The first page of each piece stays without rights; so does the first page of the next.
    let offset = USED.fetch_add(bytes + page(), Ordering::Relaxed) + page();
    let first = std::ptr::with_exposed_provenance_mut::<u8>(range() + offset);
    // SAFETY: pages of the range that nobody else was given.
    let may = |rights| unsafe { libc::mprotect(first.cast(), bytes, rights) } == 0;
    (offset + bytes + page() <= RESERVED && may(libc::PROT_READ | libc::PROT_WRITE)).then_some(first)
}

/// Keeps small pieces for later, and gives large ones back.
///
/// # Safety
/// The pages are a piece of the range that nobody uses any more.
unsafe fn give(first: *mut u8, pages: usize) {
    let mut free = FREE.get();
    if let Some(next) = free.get_mut(pages) {
        // SAFETY: the caller vouches for the pages.
        unsafe { first.cast::<*mut u8>().write(*next) };
        *next = first;
        FREE.set(free);
        return;
    }
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    // SAFETY: the caller vouches for the pages, which lose their rights and their memory.
    let unmapped = unsafe { libc::mmap(first.cast(), pages * page(), libc::PROT_NONE, flags, -1, 0) };
    debug_assert_ne!(unmapped, libc::MAP_FAILED);
}

// SAFETY: pieces have pages of their own, large enough and aligned; the others are left to the system's allocator.
unsafe impl GlobalAlloc for GuardPages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(side) = SIDE.get().filter(|_| layout.align() <= page()) else {
            // SAFETY: the caller vouches for the layout.
            return unsafe { System.alloc(layout) };
        };
        let Some(first) = take(pages(layout)) else { return null_mut() };
        let bytes = pages(layout) * page();
        // SAFETY: so many bytes are there.
        unsafe {
            let start = match side {
                // The size of a slice is a multiple of its alignment: it ends with the page.
                Side::After => first.add((bytes - layout.size()) & !(layout.align() - 1)),
                Side::Before => first,
            };
            start.write_bytes(0xff, layout.size());
            start
        }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        let Some(offset) = ptr.addr().checked_sub(range()).filter(|&offset| offset < RESERVED) else {
            // SAFETY: the caller vouches for pointer and layout, and it is no piece of the range.
            return unsafe { System.dealloc(ptr, layout) };
        };
        let first = std::ptr::with_exposed_provenance_mut::<u8>(range() + offset / page() * page());
        // SAFETY: the caller does not use the piece any more.
        unsafe { give(first, pages(layout)) };
    }
}
