//! Checks of pointers, before a reference to a caller's memory is made.
//!
//! A call announces each array that it reads or writes to [`Arguments`], which checks the pointer by itself and, at the
//! end, each written range against all others. Only what comes out of that, [`Checked`], turns pointers into slices.

use crate::status::{
    Failure, INTERNEURON_INVALID_ARGUMENT, INTERNEURON_MISALIGNED, INTERNEURON_NULL_POINTER, INTERNEURON_OVERLAP,
    Outcome,
};
use interneuron::{MatMut, MatRef};
use std::ffi::c_void;
use std::fmt;

/// The arguments of a call with a layer: parameters, gradients and their struct, input, its gradient, the output's
/// gradient, an update with its three arrays and three structs; and a few to spare. Networks have more.
const FEW: usize = 24;

/// The arrays that a call reads and writes.
pub struct Arguments {
    few: [Range; FEW],
    count: usize,
    /// Those that the few have no place for.
    more: Vec<Range>,
}

/// What an array is called.
#[derive(Clone, Copy)]
pub struct Name {
    text: &'static str,
    /// Of a network with arrays for each layer, the layer.
    layer: Option<usize>,
}

impl Name {
    /// That of an array of layer `k` of a network, or of a layer on its own.
    pub fn of(text: &'static str, layer: Option<usize>) -> Self {
        Self { text, layer }
    }
}

impl From<&'static str> for Name {
    fn from(text: &'static str) -> Self {
        Self { text, layer: None }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)?;
        self.layer.map_or(Ok(()), |k| write!(f, " of layer {k}"))
    }
}

#[derive(Clone, Copy)]
struct Range {
    name: Name,
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

/// Where a matrix that is read begins, and how far apart its rows are, as a caller says it: 0 is packed.
pub type MatrixIn = (*const c_void, i64);
/// As [`MatrixIn`], of a matrix that is written.
pub type MatrixOut = (*mut c_void, i64);

/// How many rows a matrix has, how wide they are, and how far apart.
#[derive(Clone, Copy)]
struct Rows {
    count: usize,
    width: usize,
    stride: usize,
}

/// A matrix that is read.
#[derive(Clone, Copy)]
pub struct MatrixInput<T> {
    input: Input<T>,
    rows: Rows,
}

/// A matrix that is written.
pub struct MatrixOutput<T> {
    output: Output<T>,
    rows: Rows,
}

impl Arguments {
    pub fn new() -> Self {
        let nothing = Range { name: Name::from(""), start: 0, end: 0, written: false };
        Self { few: [nothing; FEW], count: 0, more: vec![] }
    }

    /// An array of `len` elements that the call reads. Without elements the pointer does not matter.
    pub fn read<T>(&mut self, name: impl Into<Name>, ptr: *const T, len: usize) -> Outcome<Input<T>> {
        if len == 0 {
            return Ok(Input::nothing());
        }
        self.announce(name.into(), ptr, len, false)?;
        Ok(Input { ptr, len })
    }

    /// An array of `len` elements that the call writes. Without elements the pointer does not matter.
    pub fn write<T>(&mut self, name: impl Into<Name>, ptr: *mut T, len: usize) -> Outcome<Output<T>> {
        if len == 0 {
            return Ok(Output::nothing());
        }
        self.announce(name.into(), ptr, len, true)?;
        Ok(Output { ptr, len })
    }

    /// As [`Arguments::write`], or nothing if the pointer is NULL.
    pub fn write_wanted<T>(&mut self, name: impl Into<Name>, ptr: *mut T, len: usize) -> Outcome<Option<Output<T>>> {
        if ptr.is_null() { Ok(None) } else { self.write(name, ptr, len).map(Some) }
    }

    /// A matrix of `count` rows of `width` elements that the call reads.
    pub fn read_matrix<T>(
        &mut self,
        name: &'static str,
        (ptr, stride): MatrixIn,
        (count, width): (usize, usize),
    ) -> Outcome<MatrixInput<T>> {
        let rows = Rows::new::<T>(name, count, width, stride)?;
        Ok(MatrixInput { input: self.read(name, ptr.cast(), rows.elements())?, rows })
    }

    /// A matrix of `count` rows of `width` elements that the call writes. What is between the rows is left alone.
    pub fn write_matrix<T>(
        &mut self,
        name: &'static str,
        (ptr, stride): MatrixOut,
        (count, width): (usize, usize),
    ) -> Outcome<MatrixOutput<T>> {
        let rows = Rows::new::<T>(name, count, width, stride)?;
        Ok(MatrixOutput { output: self.write(name, ptr.cast(), rows.elements())?, rows })
    }

    /// As [`Arguments::write_matrix`], or nothing if the pointer is NULL.
    pub fn write_matrix_wanted<T>(
        &mut self,
        name: &'static str,
        to: MatrixOut,
        size: (usize, usize),
    ) -> Outcome<Option<MatrixOutput<T>>> {
        if to.0.is_null() {
            Rows::new::<T>(name, size.0, size.1, to.1).map(|_| None)
        } else {
            self.write_matrix(name, to, size).map(Some)
        }
    }

    fn announce<T>(&mut self, name: Name, ptr: *const T, len: usize, written: bool) -> Outcome {
        pointer(name, ptr)?;
        let start = ptr.addr();
        let end = extent::<T>(len).and_then(|bytes| start.checked_add(bytes)).ok_or_else(|| {
            let text = format!("{name} has {len} elements at {ptr:p}: expected an array that fits in memory");
            Failure::new(INTERNEURON_INVALID_ARGUMENT, text)
        })?;
        let range = Range { name, start, end, written };
        match self.few.get_mut(self.count) {
            Some(place) => {
                *place = range;
                self.count += 1;
            }
            None => self.more.push(range),
        }
        Ok(())
    }

    /// All that was announced, in that order.
    fn ranges(&self) -> impl Iterator<Item = &Range> + Clone {
        self.few[..self.count].iter().chain(&self.more)
    }

    /// Whether none of many ranges that is written overlaps another one: by a look at each in the order of the addresses,
    /// with how far those before it reach.
    fn are_apart(&self) -> bool {
        let mut ranges: Vec<&Range> = self.ranges().collect();
        ranges.sort_unstable_by_key(|range| range.start);
        let (mut any, mut written) = (0, 0);
        ranges.into_iter().all(|range| {
            let apart = range.start >= if range.written { any } else { written };
            any = any.max(range.end);
            written = if range.written { written.max(range.end) } else { written };
            apart
        })
    }

    /// Checks that no array that is written overlaps another one.
    pub fn check(self) -> Outcome<Checked> {
        // Pairs are as many as the square of the arrays; they say which overlap.
        if !self.more.is_empty() && self.are_apart() {
            return Ok(Checked(()));
        }
        for (i, a) in self.ranges().enumerate() {
            for b in self.ranges().take(i) {
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

impl Rows {
    /// `name` is that of the matrix, whose stride is called after it.
    fn new<T>(name: &str, count: usize, width: usize, stride: i64) -> Outcome<Self> {
        if stride == 0 {
            area::<T>(count, width)?;
            return Ok(Self { count, width, stride: width });
        }
        let wrong = |expected: &str| Failure::argument(&format!("{name}_stride"), stride, expected);
        let stride = usize::try_from(stride).ok().filter(|&stride| stride >= width);
        let stride = stride.ok_or_else(|| wrong(&format!("0 (packed), or at least {width}, the columns")))?;
        let elements = (count - 1).checked_mul(stride).and_then(|elements| elements.checked_add(width));
        if elements.and_then(extent::<T>).is_none() {
            return Err(wrong(&format!("so little that {count} rows fit in memory")));
        }
        Ok(Self { count, width, stride })
    }

    /// From the first element to the last, with what is between the rows.
    fn elements(self) -> usize {
        (self.count - 1) * self.stride + self.width
    }
}

impl<T> MatrixInput<T> {
    /// # Safety
    /// As [`Input::slice`].
    pub unsafe fn get(self, checked: &Checked) -> Outcome<MatRef<'_, T>> {
        let Rows { count, width, stride } = self.rows;
        // SAFETY: as demanded here.
        Ok(MatRef::with_stride(unsafe { self.input.slice(checked) }, count, width, stride)?)
    }
}

impl<T> MatrixOutput<T> {
    /// # Safety
    /// As [`Output::slice`].
    pub unsafe fn get(self, checked: &Checked) -> Outcome<MatMut<'_, T>> {
        let Rows { count, width, stride } = self.rows;
        // SAFETY: as demanded here.
        Ok(MatMut::with_stride(unsafe { self.output.slice(checked) }, count, width, stride)?)
    }
}

/// The bytes of an array, if it can exist.
fn extent<T>(len: usize) -> Option<usize> {
    len.checked_mul(size_of::<T>()).filter(|&bytes| bytes <= isize::MAX as usize)
}

/// Checks that a pointer is neither NULL nor misaligned.
pub fn pointer<T>(name: impl fmt::Display, ptr: *const T) -> Outcome {
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
pub fn pointer_or_null<T>(name: impl fmt::Display, ptr: *const T) -> Outcome {
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

/// The elements of `batch` rows.
fn area<T>(batch: usize, width: usize) -> Outcome<usize> {
    let area = batch.checked_mul(width).filter(|&area| extent::<T>(area).is_some());
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
