//! Views of a caller's row-major arrays.

use crate::element::Element;
use crate::error::Error;

/// A row-major matrix that is read: rows of `cols` elements, `stride` elements apart.
///
/// ```
/// use interneuron::MatRef;
///
/// let pixels = [0.0_f32; 6];
/// let x = MatRef::new("x", &pixels, 2, 3)?; // two examples of three inputs
/// assert_eq!((x.rows(), x.cols(), x.stride()), (2, 3, 3));
/// let first_two_columns = MatRef::with_stride("x", &pixels, 2, 2, 3)?;
/// assert_eq!(first_two_columns.row(1).len(), 2);
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

/// The address of a row-major matrix, without rights.
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

/// Checks that `len` elements hold the matrix.
fn check(name: &'static str, len: usize, rows: usize, cols: usize, stride: usize) -> Result<(), Error> {
    if rows == 0 || cols == 0 {
        return Err(Error::Dimension { name, value: 0, expected: "at least one row and one column" });
    }
    if stride < cols {
        return Err(Error::Stride { name, stride, width: cols });
    }
    let needed = (rows - 1).checked_mul(stride).and_then(|n| n.checked_add(cols));
    match needed {
        Some(needed) if needed <= len => Ok(()),
        _ => Err(Error::Length { name, len, expected: needed.unwrap_or(usize::MAX) }),
    }
}

impl<'a, T> MatRef<'a, T> {
    /// `rows` rows of `cols` elements, one after the other. `name` is what errors call the array.
    ///
    /// # Errors
    /// [`Error::Length`] if `data` has not exactly `rows · cols` elements, [`Error::Dimension`] if that is zero.
    pub fn new(name: &'static str, data: &'a [T], rows: usize, cols: usize) -> Result<Self, Error> {
        exact(name, data.len(), rows, cols)?;
        Self::with_stride(name, data, rows, cols, cols)
    }

    /// `rows` rows of `cols` elements, `stride` elements apart.
    ///
    /// # Errors
    /// [`Error::Stride`] if `stride < cols`, [`Error::Length`] if `data` ends before the last row does,
    /// [`Error::Dimension`] if the matrix is empty.
    pub fn with_stride(
        name: &'static str,
        data: &'a [T],
        rows: usize,
        cols: usize,
        stride: usize,
    ) -> Result<Self, Error> {
        check(name, data.len(), rows, cols, stride)?;
        Ok(Self { data, rows, cols, stride })
    }

    /// Row `row`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &'a [T] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        &self.data[row * self.stride..][..self.cols]
    }

    /// Checks that all elements are finite.
    pub(crate) fn check_finite(&self, name: &'static str) -> Result<(), Error>
    where
        T: Element,
    {
        let expected = "a finite number";
        for row in 0..self.rows {
            let values = self.row(row);
            // All of them first, which takes a vector at a time.
            if !values.iter().fold(true, |finite, value| finite & value.is_finite()) {
                let col = values.iter().take_while(|value| value.is_finite()).count();
                let (index, value) = (row * self.cols + col, values[col].to_f64());
                return Err(Error::Value { name, index, value, expected });
            }
        }
        Ok(())
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
    /// `rows` rows of `cols` elements, one after the other. `name` is what errors call the array.
    ///
    /// # Errors
    /// [`Error::Length`] if `data` has not exactly `rows · cols` elements, [`Error::Dimension`] if that is zero.
    pub fn new(name: &'static str, data: &'a mut [T], rows: usize, cols: usize) -> Result<Self, Error> {
        exact(name, data.len(), rows, cols)?;
        Self::with_stride(name, data, rows, cols, cols)
    }

    /// `rows` rows of `cols` elements, `stride` elements apart.
    ///
    /// # Errors
    /// [`Error::Stride`] if `stride < cols`, [`Error::Length`] if `data` ends before the last row does,
    /// [`Error::Dimension`] if the matrix is empty.
    pub fn with_stride(
        name: &'static str,
        data: &'a mut [T],
        rows: usize,
        cols: usize,
        stride: usize,
    ) -> Result<Self, Error> {
        check(name, data.len(), rows, cols, stride)?;
        Ok(Self { data, rows, cols, stride })
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

    /// The rows `start..start + rows`, which must exist.
    pub(crate) fn slice_mut(&mut self, start: usize, rows: usize) -> MatMut<'_, T> {
        assert!(start + rows <= self.rows, "rows {start}..{} of {}", start + rows, self.rows);
        MatMut { data: &mut self.data[start * self.stride..], rows, cols: self.cols, stride: self.stride }
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

/// Checks that `len` elements are the matrix and no more.
fn exact(name: &'static str, len: usize, rows: usize, cols: usize) -> Result<(), Error> {
    match rows.checked_mul(cols) {
        Some(expected) if expected == len => Ok(()),
        expected => Err(Error::Length { name, len, expected: expected.unwrap_or(usize::MAX) }),
    }
}
