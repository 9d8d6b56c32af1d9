//! The arguments of one call in memory of their own, and what is asked of its outcome.

use crate::draw::{Place, Struct, Where};
use interneuron_capi::*;
use std::alloc::Layout;
use std::ffi::{CStr, c_char, c_void};
use std::hash::{DefaultHasher, Hasher};
use std::rc::Rc;

/// One for each array of a layer.
pub type Eight<T> = [T; 8];

/// Arrays of more elements are never allocated: their pointers are NULL.
pub const MOST: usize = 1 << 20;

/// Memory that ends where C would say that it ends, so that AddressSanitizer sees an access behind it.
pub struct Memory {
    start: *mut u8,
    layout: Layout,
}

impl Memory {
    pub fn new(bytes: usize) -> Rc<Self> {
        let layout = Layout::from_size_align(bytes.max(1), 16).unwrap();
        // SAFETY: at least one byte.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        assert!(!start.is_null(), "no memory for the target itself");
        Rc::new(Self { start, layout })
    }

    /// Where byte `offset` is.
    pub fn at<T>(&self, offset: usize) -> *mut T {
        self.start.wrapping_add(offset).cast()
    }

    /// Writes elements one after the other. They must be plain numbers.
    pub fn fill<T>(&self, offset: usize, values: impl IntoIterator<Item = T>) {
        for (i, value) in values.into_iter().enumerate() {
            let offset = offset + i * size_of::<T>();
            assert!(offset + size_of::<T>() <= self.layout.size());
            // SAFETY: inside this memory.
            unsafe { self.at::<T>(offset).write_unaligned(value) };
        }
    }

    /// A copy of what is there.
    pub fn bytes(&self) -> Vec<u8> {
        // SAFETY: all of it is initialised, and nobody writes to it before the copy is made.
        unsafe { std::slice::from_raw_parts(self.start, self.layout.size()) }.to_vec()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { std::alloc::dealloc(self.start, self.layout) };
    }
}

/// An array in some memory.
#[derive(Clone)]
pub struct Slot {
    memory: Rc<Memory>,
    offset: usize,
    bytes: usize,
}

impl Slot {
    fn start(&self) -> usize {
        self.memory.start.addr() + self.offset
    }

    /// The bytes of its numbers.
    pub fn content(&self) -> Vec<u8> {
        self.memory.bytes()[self.offset..][..self.bytes].to_vec()
    }
}

/// What a call does with an array.
#[derive(Clone, Copy, PartialEq)]
pub enum Role {
    /// It is read.
    Input,
    /// It is overwritten.
    Output,
    /// It is overwritten, unless the pointer is NULL.
    Wanted,
    /// It is neither read nor written yet, but later calls will do both.
    Kept,
}

/// What an argument of a call is.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Numbers that are read.
    Read,
    /// Numbers that are written.
    Written,
    /// A struct or a string, which is read.
    Struct,
}

/// A set of statuses, one bit for each.
#[derive(Clone, Copy, Debug, Default)]
struct Statuses(u16);

impl Statuses {
    fn add(&mut self, status: i32) {
        self.0 |= 1 << status;
    }

    fn has(self, status: i32) -> bool {
        self.0 >> status & 1 == 1
    }
}

/// What a call reads or writes.
struct Argument {
    slot: Slot,
    kind: Kind,
    /// How many bytes of each row it is, and how far the rows are apart.
    row: usize,
    stride: usize,
}

impl Argument {
    /// Whether byte `i` is in a row, and not between two.
    fn has(&self, i: usize) -> bool {
        i % self.stride < self.row
    }
}

/// The extent of a matrix, in elements.
#[derive(Clone, Copy)]
pub struct Extent {
    pub len: usize,
    pub width: usize,
    pub stride: usize,
}

impl Extent {
    /// All elements, without a gap.
    pub fn whole(len: usize) -> Self {
        Self { len, width: len.max(1), stride: len.max(1) }
    }

    /// Whether element `i` is in a row, and not between two.
    pub fn has(&self, i: usize) -> bool {
        i % self.stride < self.width
    }
}

/// The arguments of one call.
pub struct Frame {
    /// What they point into, with the bytes before the call.
    memory: Vec<(Rc<Memory>, Vec<u8>)>,
    /// What the call reads and writes.
    arguments: Vec<Argument>,
    /// Memory that many arrays share.
    shared: Rc<Memory>,
    /// The arrays that layers are attached to.
    attached: Vec<Slot>,
    /// What outputs hold before the call.
    garbage: u8,
    /// If there is any, the call must return one of these.
    faults: Statuses,
    /// The call may return one of these although nothing is wrong.
    excuses: Statuses,
}

impl Frame {
    pub fn new(shared: Rc<Memory>, attached: Vec<Slot>, garbage: u8) -> Self {
        let (faults, excuses) = Default::default();
        Self { memory: vec![], arguments: vec![], shared, attached, garbage, faults, excuses }
    }

    /// Unless `fine`, the call must fail.
    pub fn demand(&mut self, fine: bool, status: i32) {
        if !fine {
            self.faults.add(status);
        }
    }

    /// The call may fail so.
    pub fn excuse(&mut self, status: i32) {
        self.excuses.add(status);
    }

    /// The call reads or writes this.
    fn add(&mut self, slot: &Slot, kind: Kind) {
        let whole = slot.bytes.max(1);
        self.add_rows(slot, kind, (whole, whole));
    }

    fn add_rows(&mut self, slot: &Slot, kind: Kind, (row, stride): (usize, usize)) {
        self.remember(&slot.memory);
        self.arguments.push(Argument { slot: slot.clone(), kind, row, stride });
    }

    fn remember(&mut self, memory: &Rc<Memory>) {
        // Only the bytes of last count: a struct may be written into an output.
        self.memory.retain(|(known, _)| !Rc::ptr_eq(known, memory));
        self.memory.push((memory.clone(), memory.bytes()));
    }

    /// The call reads or writes an array that it does not get now.
    pub fn implicit(&mut self, slot: &Slot, written: bool) {
        self.add(slot, if written { Kind::Written } else { Kind::Read });
    }

    /// A place in one of the arguments so far.
    fn within(&self, i: usize, bytes: usize, align: usize, fits: impl Fn(&Slot, Kind) -> bool) -> Option<Slot> {
        let slots = self.arguments.iter().filter(|argument| fits(&argument.slot, argument.kind));
        let slots = slots.map(|argument| &argument.slot);
        pick(slots, i, bytes, align)
    }

    /// Whether this call alone uses the memory.
    fn is_own(&self, Slot { memory, .. }: &Slot) -> bool {
        let mut others = self.attached.iter().map(|slot| &slot.memory).chain([&self.shared]);
        !others.any(|other| Rc::ptr_eq(other, memory))
    }

    /// An array of `len` elements, which are numbers.
    pub fn array<T>(&mut self, place: Place, len: usize, role: Role, value: impl Fn(usize) -> T) -> *mut T {
        self.matrix(place, Extent::whole(len), role, value)
    }

    /// A matrix of floats or doubles.
    pub fn numbers(
        &mut self,
        double: bool,
        place: Place,
        extent: Extent,
        role: Role,
        value: impl Fn(usize) -> f32,
    ) -> *mut c_void {
        if double {
            self.matrix(place, extent, role, |i| f64::from(value(i))).cast()
        } else {
            self.matrix(place, extent, role, value).cast()
        }
    }

    /// What the rows of such a matrix hold now; nothing if its pointer is wrong.
    pub fn values(&self, double: bool, ptr: *const c_void, extent: Extent) -> Vec<f64> {
        let all = match double {
            true => self.content(ptr.cast::<f64>(), extent.len),
            false => self.content(ptr.cast::<f32>(), extent.len).into_iter().map(f64::from).collect(),
        };
        all.into_iter().enumerate().filter(|&(i, _)| extent.has(i)).map(|(_, value)| value).collect()
    }

    /// A matrix, whose elements are numbers.
    fn matrix<T>(&mut self, place: Place, extent: Extent, role: Role, value: impl Fn(usize) -> T) -> *mut T {
        let Extent { len, width, stride } = extent;
        let (size, align) = (size_of::<T>(), align_of::<T>());
        let place = match role {
            _ if len > MOST => Where::Null,
            Role::Wanted => place.get_wanted(),
            _ => place.get(),
        };
        if let Where::Null = place {
            self.demand(role == Role::Wanted, INTERNEURON_NULL_POINTER);
            return std::ptr::null_mut();
        }
        let bytes = len * size;
        if let Where::Misaligned = place {
            self.demand(false, INTERNEURON_MISALIGNED);
            let memory = Memory::new(bytes + align);
            self.remember(&memory);
            return memory.at(align / 2);
        }
        let found = match place {
            Where::Shared(start) => Some(Slot { memory: self.shared.clone(), offset: start * size, bytes })
                .filter(|slot| slot.offset + bytes <= slot.memory.layout.size()),
            Where::Attached(i) => pick(self.attached.iter(), i, bytes, align),
            // Addresses, which differ from run to run, are no numbers to compute with.
            Where::Within(i) => self.within(i, bytes, align, |_, kind| role != Role::Input || kind != Kind::Struct),
            _ => None,
        };
        let slot = found.unwrap_or_else(|| {
            let memory = Memory::new(bytes);
            if matches!(role, Role::Input | Role::Kept) {
                memory.fill(0, (0..len).map(value));
            } else {
                memory.fill(0, std::iter::repeat_n(self.garbage, bytes));
            }
            Slot { memory, offset: 0, bytes }
        });
        let kind = if role == Role::Input { Kind::Read } else { Kind::Written };
        self.add_rows(&slot, kind, (width * size, stride.saturating_mul(size)));
        slot.memory.at(slot.offset)
    }

    /// What an array holds now; nothing if its pointer is wrong.
    pub fn content<T: Copy>(&self, ptr: *const T, len: usize) -> Vec<T> {
        let known = |slot: &Slot| slot.start() == ptr.addr() && slot.bytes >= len * size_of::<T>();
        let known = self.arguments.iter().any(|argument| known(&argument.slot));
        // SAFETY: an array of this frame.
        if known { unsafe { std::slice::from_raw_parts(ptr, len) }.to_vec() } else { vec![] }
    }

    /// The array that begins there.
    pub fn slot(&self, ptr: *mut c_void) -> Option<Slot> {
        self.arguments.iter().map(|argument| &argument.slot).find(|slot| slot.start() == ptr.addr()).cloned()
    }

    /// A string that ends with NUL.
    pub fn string(&mut self, text: &[u8]) -> *const c_char {
        let memory = Memory::new(text.len() + 1);
        memory.fill(0, text.iter().copied().chain([0]));
        let slot = Slot { memory, offset: 0, bytes: text.len() + 1 };
        self.add(&slot, Kind::Struct);
        slot.memory.at(0)
    }

    /// A struct that begins with its size, of one of the `known` versions, and what the library is to make of it.
    pub fn structure<T: Copy>(&mut self, choice: Struct, known: &[usize], default: T, value: T) -> (*const T, T) {
        let (ptr, effective) = self.structures(choice, known, default, &[value]);
        (ptr, effective.first().copied().unwrap_or(default))
    }

    /// Such structs, one after the other and of one version; of a NULL pointer the library makes nothing.
    pub fn structures<T: Copy>(
        &mut self,
        choice: Struct,
        known: &[usize],
        default: T,
        values: &[T],
    ) -> (*const T, Vec<T>) {
        let size = choice.size(known);
        let is_known = known.iter().any(|&known| known as u64 == size);
        // A size that no version has is refused after a look at the size alone.
        self.demand(is_known, INTERNEURON_INVALID_ARGUMENT);
        let each = size.clamp(8, 4096) as usize;
        let bytes = each * if is_known { values.len() } else { 1 };
        let own = |offset| Slot { memory: Memory::new(offset + bytes), offset, bytes };
        let slot = match choice.0.get() {
            Where::Null => {
                self.demand(false, INTERNEURON_NULL_POINTER);
                return (std::ptr::null(), vec![]);
            }
            Where::Misaligned => {
                self.demand(false, INTERNEURON_MISALIGNED);
                own(align_of::<T>() / 2)
            }
            Where::Within(i) => {
                let fits = |slot: &Slot, kind| kind == Kind::Written && self.is_own(slot);
                self.within(i, bytes, align_of::<T>(), fits).unwrap_or_else(|| own(0))
            }
            _ => own(0),
        };
        let copied = each.min(size_of::<T>());
        let mut all = vec![];
        for (i, value) in values.iter().enumerate().take(bytes / each) {
            let (mut effective, offset) = (default, slot.offset + i * each);
            // SAFETY: both are as large; any bits are a value of a C struct.
            unsafe {
                slot.memory.at::<u8>(offset).copy_from_nonoverlapping((&raw const *value).cast(), copied);
                (&raw mut effective).cast::<u8>().copy_from_nonoverlapping((&raw const *value).cast(), copied);
            }
            slot.memory.fill(offset, [size]);
            all.push(effective);
        }
        self.add(&slot, Kind::Struct);
        (slot.memory.at(slot.offset), all)
    }

    /// Structs that the call writes, of which the first says its size.
    pub fn written_structures<T>(&mut self, place: Place, count: usize, size: u64) -> *mut T {
        let ptr: *mut T = self.array(place.alone(), count, Role::Output, |_| unreachable!("an output"));
        self.demand(size == size_of::<T>() as u64, INTERNEURON_INVALID_ARGUMENT);
        if let Some(slot) = self.slot(ptr.cast()) {
            slot.memory.fill(slot.offset, [size]);
            self.remember(&slot.memory);
        }
        ptr
    }

    /// Asserts that the outcome is what the header promises; returns whether the call succeeded, and a hash of the
    /// arrays that it wrote. `last` is the text of the last error.
    pub fn check(mut self, status: i32, last: &mut String) -> (bool, u64) {
        let overlap = self.arguments.iter().enumerate().any(|(i, Argument { slot: a, kind: a_kind, .. })| {
            self.arguments[..i].iter().any(|Argument { slot: b, kind: b_kind, .. }| {
                (*a_kind == Kind::Written || *b_kind == Kind::Written)
                    && a.start() < b.start() + b.bytes
                    && b.start() < a.start() + a.bytes
            })
        });
        self.demand(!overlap, INTERNEURON_OVERLAP);
        let ok = status == INTERNEURON_OK;
        let allowed = if ok { self.faults.0 == 0 } else { self.faults.has(status) || self.excuses.has(status) };
        let text = last_error();
        assert!(allowed, "status {status} ({text}) where {:?} are wrong and {:?} excused", self.faults, self.excuses);
        if !ok {
            assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?} is not a line");
            last.clone_from(&text);
        }
        assert_eq!(&text, last, "the text changed though nothing failed");
        let written = || self.arguments.iter().filter(|argument| ok && argument.kind == Kind::Written);
        let may_change = |address: usize| {
            written().any(|argument| {
                let (start, bytes) = (argument.slot.start(), argument.slot.bytes);
                (start..start + bytes).contains(&address) && argument.has(address - start)
            })
        };
        for (memory, before) in &self.memory {
            let after = memory.bytes();
            if *before != after {
                let changed = (0..after.len()).find(|&i| before[i] != after[i] && !may_change(memory.start.addr() + i));
                assert_eq!(changed, None, "status {status}: a byte changed that the call does not write");
            }
        }
        let mut hash = DefaultHasher::new();
        for argument in written() {
            let content = argument.slot.content().into_iter().enumerate();
            let rows: Vec<u8> = content.filter(|&(i, _)| argument.has(i)).map(|(_, byte)| byte).collect();
            hash.write(&rows);
        }
        (ok, hash.finish())
    }
}

/// A place for so many bytes at the beginning of one of the slots that have it.
fn pick<'a>(slots: impl Iterator<Item = &'a Slot>, i: usize, bytes: usize, align: usize) -> Option<Slot> {
    let large: Vec<_> = slots.filter(|slot| slot.bytes >= bytes && slot.start().is_multiple_of(align)).collect();
    large.get(i % large.len().max(1)).map(|&slot| Slot { bytes, ..slot.clone() })
}

/// The text of the thread's last error.
pub fn last_error() -> String {
    // SAFETY: a string that ends with NUL, and no call of this thread fails before it is copied.
    unsafe { CStr::from_ptr(interneuron_last_error()) }.to_str().expect("UTF-8").to_owned()
}
