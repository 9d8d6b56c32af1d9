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

    /// Fills it with a number for each row and column, and the padding with zeros.
    pub fn fill(&mut self, f: impl Fn(usize, usize) -> T) {
        for group in self.columns.iter(0..self.columns.groups()) {
            for row in 0..self.rows {
                let (inside, padding) = self.row_mut(row, group).split_at_mut(group.len);
                inside.iter_mut().enumerate().for_each(|(i, to)| *to = f(row, group.first + i));
                padding.fill(T::ZERO);
            }
        }
    }

    /// Fills a block with a number for each row, and its padding with zeros.
    pub fn fill_block(&mut self, block: usize, f: impl Fn(usize) -> T) {
        let of_block = self.columns.blocks(block..block + 1);
        for group in of_block.iter(0..of_block.groups()) {
            for row in 0..self.rows {
                let (inside, padding) = self.row_mut(row, group).split_at_mut(group.len);
                inside.fill(f(row));
                padding.fill(T::ZERO);
            }
        }
    }

    /// Adds some of another's columns to its own.
    pub fn add(&mut self, other: &Self, columns: Split) {
        let blocks = columns.block_range();
        other.assert_shape("what is added", self.rows, columns);
        let size = self.rows * self.columns.block_padded();
        let from = &other.data[blocks.start * size..blocks.end * size];
        self.blocks_mut(blocks).iter_mut().zip(from).for_each(|(to, &from)| *to = *to + from);
    }

    /// Adds another's first block to one of its own.
    pub fn add_block(&mut self, block: usize, other: &Self) {
        let from = other.block(0);
        self.blocks_mut(block..block + 1).iter_mut().zip(from).for_each(|(to, &from)| *to = *to + from);
    }

    /// Copies a block of it to a block of another matrix with as many rows and such blocks.
    pub fn copy_block(&self, from: usize, to: &mut Self, at: usize) {
        let size = self.rows * self.columns.block_padded();
        assert_eq!(size, to.rows * to.columns.block_padded(), "elements of a block");
        to.data[at * size..][..size].copy_from_slice(&self.data[from * size..][..size]);
    }

    /// Copies a block of it to another one.
    pub fn copy_block_within(&mut self, from: usize, at: usize) {
        let size = self.rows * self.columns.block_padded();
        self.data.copy_within(from * size..(from + 1) * size, at * size);
    }

    /// The elements of some blocks.
    pub fn blocks_mut(&mut self, blocks: std::ops::Range<usize>) -> &mut [T] {
        let size = self.rows * self.columns.block_padded();
        &mut self.data[blocks.start * size..blocks.end * size]
    }

    /// The elements of a block.
    pub fn block(&self, block: usize) -> &[T] {
        let size = self.rows * self.columns.block_padded();
        &self.data[block * size..][..size]
    }

    /// Its rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Its columns.
    pub fn columns(&self) -> Split {
        self.columns
    }

    /// Panics unless it has `rows` rows and all of these columns: what a kernel is about to get.
    #[track_caller]
    pub fn assert_shape(&self, name: &str, rows: usize, columns: Split) {
        let fits = self.rows == rows && self.columns.holds(columns);
        assert!(
            fits,
            "rows and columns of {name}: {} by {:?} instead of {rows} by {columns:?}",
            self.rows, self.columns
        );
    }

    /// The same as an example-major matrix, from its first row on.
    pub fn examples(&self) -> Examples<'_, T> {
        self.examples_from(0)
    }

    /// The same as an example-major matrix, whose example 0 is row `first`.
    pub fn examples_from(&self, first: usize) -> Examples<'_, T> {
        Examples { of: self, first }
    }

    /// The same as a unit-major matrix, from its first block on.
    pub fn units(&self) -> Units<'_, T> {
        self.units_from(0)
    }

    /// The same as a unit-major matrix, whose block 0 is block `first`.
    pub fn units_from(&self, first: usize) -> Units<'_, T> {
        Units { of: self, first }
    }

    /// For kernels, as if its block `first` were block 0.
    pub fn grouped_from(&self, first: usize) -> Grouped<T> {
        self.grouped().since_block(first, self.columns)
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

/// Examples of an example-major matrix, whose columns are units.
#[derive(Clone, Copy)]
pub(crate) struct Examples<'a, T> {
    of: &'a Activations<T>,
    first: usize,
}

impl<'a, T: Element> Examples<'a, T> {
    /// Panics unless it has all of these examples, and these units.
    #[track_caller]
    pub fn assert_shape(&self, name: &str, examples: Split, units: Split) {
        let fits = self.of.columns == units && self.first + examples.end() <= self.of.rows;
        assert!(fits, "rows and columns of {name}: {:?} from row {}", (self.of.rows, self.of.columns), self.first);
    }

    /// Its columns.
    pub fn units(&self) -> Split {
        self.of.columns
    }

    /// For kernels, with the row of example 0.
    pub fn grouped(&self) -> (Grouped<T>, usize) {
        (self.of.grouped(), self.first)
    }
}

/// Blocks of a unit-major matrix, whose columns are examples.
#[derive(Clone, Copy)]
pub(crate) struct Units<'a, T> {
    of: &'a Activations<T>,
    first: usize,
}

impl<'a, T: Element> Units<'a, T> {
    /// Panics unless it has these rows and all of these columns.
    #[track_caller]
    pub fn assert_shape(&self, name: &str, rows: usize, columns: Split) {
        let blocks = self.of.columns.since_block(self.first);
        assert!(self.of.rows == rows && blocks.holds(columns), "rows and columns of {name}");
    }

    pub fn rows(&self) -> usize {
        self.of.rows
    }

    /// For kernels that read.
    pub fn grouped(&self) -> Grouped<T> {
        self.of.grouped_from(self.first)
    }

    /// Row `row` of `group`, padding included.
    pub fn row(&self, row: usize, group: Group) -> &'a [T] {
        let start = group.start + self.first * self.of.columns.block_padded();
        &self.of.data[start * self.of.rows + row * group.width..][..group.width]
    }
}
