//! Scratch memory: zeroed, aligned to cache lines, growing but never shrinking.

use crate::element::Element;
use crate::error::Error;
use crate::layout::{Group, Grouped, Split};
use bytemuck::{Pod, Zeroable};

/// A cache line.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A growing array that begins on a cache line.
#[derive(Clone, Default)]
pub(crate) struct Buffer<T> {
    lines: Vec<Line>,
    len: usize,
    element: std::marker::PhantomData<T>,
}

impl<T: Element> Buffer<T> {
    /// Makes the length `len`, or fails without a change. Allocates only when it was never so long.
    pub fn resize(&mut self, len: usize) -> Result<(), Error> {
        let lines =
            len.checked_mul(size_of::<T>()).ok_or(Error::TooLarge { elements: len })?.div_ceil(size_of::<Line>());
        if let Some(more) = lines.checked_sub(self.lines.len()) {
            self.lines.try_reserve_exact(more).map_err(|_| Error::TooLarge { elements: len })?;
            self.lines.resize(lines, Line::zeroed());
        }
        self.len = len;
        Ok(())
    }
}

impl<T: Element> std::ops::Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl<T: Element> std::ops::DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

/// A matrix in the layout of the kernels: rows of columns that are cut into groups.
#[derive(Clone)]
pub(crate) struct Activations<T> {
    data: Buffer<T>,
    rows: usize,
    columns: Split,
}

impl<T: Element> Activations<T> {
    /// An empty matrix.
    pub fn new() -> Self {
        Self { data: Buffer::default(), rows: 0, columns: Split::new(0, 1, 1) }
    }

    /// Makes it `rows` by `columns`; what it holds is then unspecified.
    pub fn resize(&mut self, rows: usize, columns: Split) -> Result<(), Error> {
        let len = rows.checked_mul(columns.padded()).ok_or(Error::TooLarge { elements: usize::MAX })?;
        self.data.resize(len)?;
        self.rows = rows;
        self.columns = columns;
        Ok(())
    }

    /// Makes it as large as another.
    pub fn resize_as(&mut self, other: &Self) -> Result<(), Error> {
        self.resize(other.rows, other.columns)
    }

    /// Makes it a copy of another of its size.
    pub fn copy_from(&mut self, other: &Self) {
        assert_eq!((self.rows, self.columns), (other.rows, other.columns), "rows and columns");
        self.data.copy_from_slice(&other.data);
    }

    /// Its rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Its columns.
    pub fn columns(&self) -> Split {
        self.columns
    }

    /// Panics unless it is `rows` by `columns`: the size that a kernel is about to get.
    #[track_caller]
    pub fn assert_shape(&self, name: &str, rows: usize, columns: Split) {
        assert_eq!((self.rows, self.columns), (rows, columns), "rows and columns of {name}");
    }

    /// For kernels that read.
    pub fn grouped(&self) -> Grouped<T> {
        Grouped::new(self.data.as_ptr().cast_mut(), self.rows)
    }

    /// For kernels that write.
    pub fn grouped_mut(&mut self) -> Grouped<T> {
        Grouped::new(self.data.as_mut_ptr(), self.rows)
    }

    /// Row `row` of `group`, padding included.
    pub fn row(&self, row: usize, group: Group) -> &[T] {
        &self.data[group.start * self.rows + row * group.width..][..group.width]
    }

    /// Row `row` of `group`, padding included.
    pub fn row_mut(&mut self, row: usize, group: Group) -> &mut [T] {
        &mut self.data[group.start * self.rows + row * group.width..][..group.width]
    }
}
