//! Views of a caller's row-major arrays.

use crate::element::Element;
use crate::error::{Error, packed_rows, strided_rows, values};

/// A row-major matrix that is read: rows of `cols` elements, `stride` elements apart.
///
/// ```
/// use interneuron::MatRef;
///
/// let pixels = [0.0_f32; 6];
/// let x = MatRef::new(&pixels, 2, 3)?; // two examples of three inputs
/// assert_eq!((x.rows(), x.cols(), x.stride()), (2, 3, 3));
/// let first_two_columns = MatRef::with_stride(&pixels, 2, 2, 3)?;
/// assert_eq!(first_two_columns.row(1).len(), 2);
/// let error = MatRef::new(&pixels, 2, 4).unwrap_err();
/// assert_eq!(error.to_string(), "data has 6 elements: expected 8");
/// # Ok::<(), interneuron::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    stride: usize,
}

/// A row-major matrix that is written: rows of `cols` elements, `stride` elements apart. Elements between the rows
/// are left alone.
#[derive(Debug)]
pub struct MatMut<'a, T> {
    data: &'a mut [T],
    rows: usize,
    cols: usize,
    stride: usize,
}

/// Rows of a caller's matrix as the examples of steps: example `i` of step `t` is row `t · rows_of_step + first + i`.
#[derive(Clone, Copy)]
pub(crate) struct Steps<M> {
    pub rows: M,
    pub rows_of_step: usize,
    pub first: usize,
}

impl<M> Steps<M> {
    /// Examples without steps.
    pub fn one(rows: M) -> Self {
        Self { rows, rows_of_step: 0, first: 0 }
    }

    /// The same rows of another matrix.
    pub fn of<N>(self, rows: N) -> Steps<N> {
        Steps { rows, rows_of_step: self.rows_of_step, first: self.first }
    }

    /// The row of an example of a step.
    pub fn row(&self, step: usize, example: usize) -> usize {
        step * self.rows_of_step + self.first + example
    }
}

/// The address of a row-major matrix, for tasks that write disjoint parts of it.
#[derive(Clone, Copy)]
pub(crate) struct SharedRows<T> {
    ptr: *mut T,
    stride: usize,
}

// SAFETY: only an address is shared; each dereference states why it is exclusive.
unsafe impl<T: Sync> Sync for SharedRows<T> {}

impl<T> SharedRows<T> {
    /// Rows `stride` elements apart from `ptr`.
    pub fn new(ptr: *mut T, stride: usize) -> Self {
        Self { ptr, stride }
    }

    /// Where an element is, and the distance of rows.
    pub fn at(&self, row: usize, col: usize) -> (*mut T, usize) {
        (self.ptr.wrapping_add(row * self.stride + col), self.stride)
    }
}

impl<'a, T> MatRef<'a, T> {
    /// `rows` rows of `cols` elements, one after the other.
    ///
    /// # Errors
    /// [`Error::Length`] if `data` has not exactly `rows · cols` elements, [`Error::Dimension`] if that is zero.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Result<Self, Error> {
        packed_rows(data.len(), rows, cols)?;
        Ok(Self { data, rows, cols, stride: cols })
    }

    /// `rows` rows of `cols` elements, `stride` elements apart.
    ///
    /// # Errors
    /// [`Error::Stride`] if `stride < cols`, [`Error::Length`] if `data` ends before the last row does,
    /// [`Error::Dimension`] if the matrix is empty.
    pub fn with_stride(data: &'a [T], rows: usize, cols: usize, stride: usize) -> Result<Self, Error> {
        strided_rows(data.len(), rows, cols, stride)?;
        Ok(Self { data, rows, cols, stride })
    }

    /// All elements, if rows follow one another without a gap.
    pub fn as_slice(&self) -> Option<&'a [T]> {
        (self.stride == self.cols).then(|| &self.data[..self.rows * self.cols])
    }

    /// Row `row`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &'a [T] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        &self.data[row * self.stride..][..self.cols]
    }

    /// Checks that all elements are finite and not negative.
    pub(crate) fn check_not_negative(&self, name: &'static str) -> Result<(), Error>
    where
        T: Element,
    {
        values(name, (0..self.rows).flat_map(|row| self.row(row)).map(|value| value.to_f64()), false)
    }

    /// Checks that all elements are finite.
    pub(crate) fn check_finite(&self, name: &'static str) -> Result<(), Error>
    where
        T: Element,
    {
        let rows = || (0..self.rows).map(|row| self.row(row));
        // A fold without an early end takes a vector at a time. Where the bad element is matters only if there is one.
        if rows().all(|row| row.iter().fold(true, |finite, value| finite & value.is_finite())) {
            return Ok(());
        }
        values(name, rows().flatten().map(|value| value.to_f64()), true)
    }

    /// The rows `start..start + rows`.
    ///
    /// # Errors
    /// [`Error::Dimension`] if there are not so many rows, or none are asked for.
    pub fn slice(&self, start: usize, rows: usize) -> Result<Self, Error> {
        match start.checked_add(rows) {
            Some(end) if rows > 0 && end <= self.rows => {
                Ok(Self { data: &self.data[start * self.stride..], rows, cols: self.cols, stride: self.stride })
            }
            _ => Err(Error::Dimension { name: "rows", value: rows, expected: "a range of rows inside the matrix" }),
        }
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Distance of rows, in elements.
    pub fn stride(&self) -> usize {
        self.stride
    }

    pub(crate) fn as_ptr(&self) -> *const T {
        self.data.as_ptr()
    }
}

impl<'a, T> MatMut<'a, T> {
    /// `rows` rows of `cols` elements, one after the other.
    ///
    /// # Errors
    /// [`Error::Length`] if `data` has not exactly `rows · cols` elements, [`Error::Dimension`] if that is zero.
    pub fn new(data: &'a mut [T], rows: usize, cols: usize) -> Result<Self, Error> {
        packed_rows(data.len(), rows, cols)?;
        Ok(Self { data, rows, cols, stride: cols })
    }

    /// `rows` rows of `cols` elements, `stride` elements apart.
    ///
    /// # Errors
    /// [`Error::Stride`] if `stride < cols`, [`Error::Length`] if `data` ends before the last row does,
    /// [`Error::Dimension`] if the matrix is empty.
    pub fn with_stride(data: &'a mut [T], rows: usize, cols: usize, stride: usize) -> Result<Self, Error> {
        strided_rows(data.len(), rows, cols, stride)?;
        Ok(Self { data, rows, cols, stride })
    }

    /// All elements, if rows follow one another without a gap.
    pub fn as_mut_slice(&mut self) -> Option<&mut [T]> {
        (self.stride == self.cols).then(|| &mut self.data[..self.rows * self.cols])
    }

    /// Row `row`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row_mut(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        &mut self.data[row * self.stride..][..self.cols]
    }

    /// Its place in memory, for tasks that write disjoint parts.
    pub(crate) fn as_shared(&mut self) -> SharedRows<T> {
        SharedRows::new(self.data.as_mut_ptr(), self.stride)
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns.
    pub fn cols(&self) -> usize {
        self.cols
    }
}
