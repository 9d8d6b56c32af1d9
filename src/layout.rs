//! How activations are laid out for the kernels.
//!
//! A [`Split`] cuts one dimension (the examples of a batch, or the units of a layer) into groups of one to three
//! vectors. A [`Grouped`] matrix stores, group after group, all rows of that group's columns: element `(r, c)` of
//! group `j` is at `start_j · rows + r · width_j + (c − start_j)`. Whatever the size of the matrix, a register tile
//! therefore streams through consecutive cache lines: with power-of-two strides instead, the rows of a large batch
//! would compete for the same few cache sets.
//!
//! Activations exist in two such forms: *unit-major* (a row a unit, columns = examples), which the forward product and
//! the input gradient read, and *example-major* (a row an example, columns = units), which the weight gradient reads.

use std::ops::Range;

/// A dimension of `len` elements, cut into groups of whole vectors; the last vector is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    len: usize,
    lanes: usize,
    /// The first groups, of `first_vectors` vectors each, take up the remainder.
    first_groups: usize,
    first_vectors: usize,
    /// Vectors of every other group.
    vectors: usize,
    groups: usize,
}

/// One group of a [`Split`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// Its number in the split.
    pub index: usize,
    /// First element.
    pub start: usize,
    /// Vectors.
    pub vectors: usize,
    /// Elements with the padding: `vectors · lanes`.
    pub width: usize,
    /// Elements without the padding.
    pub len: usize,
}

impl Split {
    /// Cuts `len` elements into groups of `vectors` (1, 2 or 3) vectors of `lanes` elements. The remainder makes
    /// groups of 2 or 3 vectors, never a narrow one beside wide ones: a tile one vector wide waits for its own
    /// multiply-adds.
    pub fn new(len: usize, lanes: usize, vectors: usize) -> Self {
        let total = len.div_ceil(lanes);
        let (first_groups, first_vectors) = match (vectors, total % vectors.max(1)) {
            (_, 0) => (0, 0),
            _ if total < vectors => (1, total),
            (2, _) => (1, 3),
            (3, 1) => (2, 2),
            (3, _) => (1, 2),
            _ => unreachable!("groups have 1 to 3 vectors, not {vectors}"),
        };
        let groups = first_groups + (total - first_groups * first_vectors) / vectors;
        Self { len, lanes, first_groups, first_vectors, vectors, groups }
    }

    /// Elements without the padding.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Elements with the padding.
    pub fn padded(&self) -> usize {
        self.len.next_multiple_of(self.lanes)
    }

    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Group `j`.
    pub fn group(&self, j: usize) -> Group {
        debug_assert!(j < self.groups);
        let (before, vectors) = match j.checked_sub(self.first_groups) {
            None => (j * self.first_vectors, self.first_vectors),
            Some(rest) => (self.first_groups * self.first_vectors + rest * self.vectors, self.vectors),
        };
        let start = before * self.lanes;
        let width = vectors * self.lanes;
        Group { index: j, start, vectors, width, len: width.min(self.len - start) }
    }

    /// The groups `range`, in order.
    pub fn iter(self, range: Range<usize>) -> impl Iterator<Item = Group> + Clone {
        debug_assert!(range.end <= self.groups);
        // A tile walks the groups of its sum: each follows from the one before, without a multiplication.
        let mut start = if range.is_empty() { 0 } else { self.group(range.start).start };
        range.map(move |index| {
            let vectors = if index < self.first_groups { self.first_vectors } else { self.vectors };
            let width = vectors * self.lanes;
            let group = Group { index, start, vectors, width, len: width.min(self.len - start) };
            start += width;
            group
        })
    }
}

/// A matrix whose columns are stored in the groups of a [`Split`], as a pointer for the kernels.
#[derive(Debug)]
pub(crate) struct Grouped<T> {
    ptr: *mut T,
    rows: usize,
}

impl<T> Clone for Grouped<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Grouped<T> {}

impl<T> Grouped<T> {
    /// `rows` rows at `ptr`, which holds `rows · split.padded()` elements.
    pub fn new(ptr: *mut T, rows: usize) -> Self {
        Self { ptr, rows }
    }

    /// Where row `row` of `group` begins. Rows of a group follow each other at a distance of `group.width`.
    pub fn at(&self, row: usize, group: Group) -> *mut T {
        self.ptr.wrapping_add(group.start * self.rows + row * group.width)
    }
}

// SAFETY: only an address is shared; each dereference states why it is exclusive.
unsafe impl<T: Sync> Sync for Grouped<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Grouped<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_cover_the_dimension_once() {
        for lanes in [4, 8, 16] {
            for vectors in 1..=3 {
                for len in 1..400 {
                    let split = Split::new(len, lanes, vectors);
                    let groups: Vec<_> = split.iter(0..split.groups()).collect();
                    let mut next = 0;
                    for group in &groups {
                        assert_eq!(group.start, next);
                        assert_eq!(group.width, group.vectors * lanes);
                        assert!((1..=3).contains(&group.vectors));
                        assert!(group.vectors > 1 || groups.len() == 1 || vectors == 1, "narrow group in {split:?}");
                        assert!(group.len >= 1 && group.len <= group.width);
                        next += group.width;
                    }
                    assert_eq!(next, split.padded());
                    assert_eq!(groups.iter().map(|g| g.len).sum::<usize>(), len);
                }
            }
        }
    }
}
