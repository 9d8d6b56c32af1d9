//! Checks of pointers, before a reference to a caller's memory is made.
//!
//! A call announces each array that it reads or writes to [`Arguments`], which checks the pointer by itself and, at the
//! end, each written range against all others. Only what comes out of that, [`Checked`], turns pointers into slices.

use crate::status::{
    Failure, INTERNEURON_INVALID_ARGUMENT, INTERNEURON_MISALIGNED, INTERNEURON_NULL_POINTER, INTERNEURON_OVERLAP,
    Outcome,
};

/// The arguments of a call: parameters, gradients and their struct, input, its gradient, the output's gradient, an
/// update with its three arrays and three structs; and a few to spare.
const MOST: usize = 24;

/// The arrays that a call reads and writes.
pub struct Arguments {
    ranges: [Range; MOST],
    count: usize,
}

#[derive(Clone, Copy)]
struct Range {
    name: &'static str,
    start: usize,
    end: usize,
    written: bool,
}

/// Proof that no array that is written overlaps another one.
pub struct Checked(());

/// An array that is read.
#[derive(Clone, Copy)]
pub struct Input<T> {
    ptr: *const T,
    len: usize,
}

/// An array that is written.
pub struct Output<T> {
    ptr: *mut T,
    len: usize,
}

impl Arguments {
    pub fn new() -> Self {
        Self { ranges: [Range { name: "", start: 0, end: 0, written: false }; MOST], count: 0 }
    }

    /// An array of `len` elements that the call reads. Without elements the pointer does not matter.
    pub fn read<T>(&mut self, name: &'static str, ptr: *const T, len: usize) -> Outcome<Input<T>> {
        if len == 0 {
            return Ok(Input::nothing());
        }
        self.announce(name, ptr, len, false)?;
        Ok(Input { ptr, len })
    }

    /// An array of `len` elements that the call writes. Without elements the pointer does not matter.
    pub fn write<T>(&mut self, name: &'static str, ptr: *mut T, len: usize) -> Outcome<Output<T>> {
        if len == 0 {
            return Ok(Output::nothing());
        }
        self.announce(name, ptr, len, true)?;
        Ok(Output { ptr, len })
    }

    /// As [`Arguments::write`], or nothing if the pointer is NULL.
    pub fn write_wanted<T>(&mut self, name: &'static str, ptr: *mut T, len: usize) -> Outcome<Option<Output<T>>> {
        if ptr.is_null() { Ok(None) } else { self.write(name, ptr, len).map(Some) }
    }

    fn announce<T>(&mut self, name: &'static str, ptr: *const T, len: usize, written: bool) -> Outcome {
        pointer(name, ptr)?;
        let start = ptr.addr();
        let end = extent::<T>(len).and_then(|bytes| start.checked_add(bytes)).ok_or_else(|| {
            let text = format!("{name} has {len} elements at {ptr:p}: expected an array that fits in memory");
            Failure::new(INTERNEURON_INVALID_ARGUMENT, text)
        })?;
        self.ranges[self.count] = Range { name, start, end, written };
        self.count += 1;
        Ok(())
    }

    /// Checks that no array that is written overlaps another one.
    pub fn check(self) -> Outcome<Checked> {
        let ranges = &self.ranges[..self.count];
        for (i, a) in ranges.iter().enumerate() {
            for b in &ranges[..i] {
                if (a.written || b.written) && a.start < b.end && b.start < a.end {
                    let (out, other) = if a.written { (a, b) } else { (b, a) };
                    let Range { name, start, end, .. } = out;
                    let text = format!(
                        "{name} is at {start:#x} to {end:#x}: expected no overlap with {} at {:#x} to {:#x}",
                        other.name, other.start, other.end
                    );
                    return Err(Failure::new(INTERNEURON_OVERLAP, text));
                }
            }
        }
        Ok(Checked(()))
    }
}

impl<T> Input<T> {
    /// No elements.
    pub fn nothing() -> Self {
        Self { ptr: std::ptr::dangling(), len: 0 }
    }

    /// # Safety
    /// The array must be as long as was announced and readable while `Checked` is borrowed, and nothing may write to it
    /// meanwhile; that no array which the call writes overlaps it was checked.
    pub unsafe fn slice(self, _: &Checked) -> &[T] {
        // SAFETY: not NULL, aligned, at most isize::MAX bytes, no wrap-around (`announce`), or dangling and empty; the
        // rest the caller vouches for.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
}

impl<T> Output<T> {
    /// No elements.
    pub fn nothing() -> Self {
        Self { ptr: std::ptr::dangling_mut(), len: 0 }
    }

    /// # Safety
    /// The array must be as long as was announced, readable and writable while `Checked` is borrowed, and nothing else
    /// may use it meanwhile; that no other array of the call overlaps it was checked.
    #[expect(clippy::mut_from_ref, reason = "there is one `Output` of an array, which this takes")]
    pub unsafe fn slice(self, _: &Checked) -> &mut [T] {
        // SAFETY: as for `Input::slice`. Memory that comes from outside Rust counts as initialised: any bits are a
        // value of the plain numbers used here.
        unsafe { std::slice::from_raw_parts_mut(self.ptr, self.len) }
    }

    /// Writes a single value.
    ///
    /// # Safety
    /// As [`Output::slice`].
    pub unsafe fn put(self, value: T, checked: &Checked) {
        // SAFETY: as demanded here.
        let slice = unsafe { self.slice(checked) };
        slice[0] = value;
    }
}

/// The bytes of an array, if it can exist.
fn extent<T>(len: usize) -> Option<usize> {
    len.checked_mul(size_of::<T>()).filter(|&bytes| bytes <= isize::MAX as usize)
}

/// Checks that a pointer is neither NULL nor misaligned.
pub fn pointer<T>(name: &str, ptr: *const T) -> Outcome {
    if ptr.is_null() {
        return Err(Failure::new(INTERNEURON_NULL_POINTER, format!("{name} is NULL: expected a pointer")));
    }
    if !ptr.is_aligned() {
        let text = format!("{name} is {ptr:p}: expected a multiple of {}, its alignment", align_of::<T>());
        return Err(Failure::new(INTERNEURON_MISALIGNED, text));
    }
    Ok(())
}

/// As [`pointer`], but NULL is fine.
pub fn pointer_or_null<T>(name: &str, ptr: *const T) -> Outcome {
    if ptr.is_null() { Ok(()) } else { pointer(name, ptr) }
}

/// A size, which must be at least `least`.
pub fn size(name: &str, value: i64, least: usize) -> Outcome<usize> {
    match usize::try_from(value) {
        Ok(size) if size >= least => Ok(size),
        _ => Err(Failure::argument(name, value, &format!("at least {least}"))),
    }
}

/// A number of examples.
pub fn examples(batch: i64) -> Outcome<usize> {
    size("batch", batch, 1)
}

/// The elements of `batch` rows of f32.
pub fn area(batch: usize, width: usize) -> Outcome<usize> {
    let area = batch.checked_mul(width).filter(|&area| extent::<f32>(area).is_some());
    area.ok_or_else(|| {
        Failure::argument("batch", batch, &format!("so few examples that arrays of {width} columns fit in memory"))
    })
}

/// 0 or 1.
pub fn flag(name: &str, value: i64) -> Outcome<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Failure::argument(name, value, "0 or 1")),
    }
}

/// One of several things, by its number.
pub fn choice<A: Copy>(name: &str, value: i64, choices: &[A]) -> Outcome<A> {
    let found = usize::try_from(value).ok().and_then(|index| choices.get(index)).copied();
    found.ok_or_else(|| Failure::argument(name, value, &format!("from 0 to {}", choices.len() - 1)))
}

/// An index below `count`.
pub fn index(name: &str, value: i64, count: usize) -> Outcome<usize> {
    match usize::try_from(value) {
        Ok(index) if index < count => Ok(index),
        _ => Err(Failure::argument(name, value, &format!("at least 0 and less than {count}"))),
    }
}
