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

/// A dimension of `len` elements, cut into groups of whole vectors; the last vector is padded. Over the steps of a
/// sequence the cut of the examples is repeated, block after block, and a cut may be that of some of the blocks only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    /// Elements of a block.
    len: usize,
    lanes: usize,
    /// The first groups, of `first_vectors` vectors each, take up the remainder.
    first_groups: usize,
    first_vectors: usize,
    /// Vectors of every other group.
    vectors: usize,
    /// Groups of a block.
    groups: usize,
    first_block: usize,
    blocks: usize,
}

/// One group of a [`Split`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// Its number in the split.
    pub index: usize,
    /// The place of its first element, after those of all groups before it with their padding.
    pub start: usize,
    /// The number of its first element, without any padding.
    pub first: usize,
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
        Self { len, lanes, first_groups, first_vectors, vectors, groups, first_block: 0, blocks: 1 }
    }

    /// The same cut in each of so many blocks.
    pub fn repeated(self, blocks: usize) -> Self {
        Self { first_block: 0, blocks, ..self }
    }

    /// That of some of the blocks, which are counted from the first of all.
    pub fn blocks(self, range: Range<usize>) -> Self {
        Self { first_block: range.start, blocks: range.len(), ..self }
    }

    /// As if block `first` were the first of all.
    pub fn since_block(self, first: usize) -> Self {
        Self { first_block: 0, blocks: (self.first_block + self.blocks).saturating_sub(first), ..self }
    }

    /// Elements without the padding.
    pub fn len(&self) -> usize {
        self.blocks * self.len
    }

    /// Elements with the padding.
    pub fn padded(&self) -> usize {
        self.blocks * self.block_padded()
    }

    /// Elements of a block, with the padding.
    pub fn block_padded(&self) -> usize {
        self.len.next_multiple_of(self.lanes)
    }

    /// The number behind that of its last element, in all blocks from the first of all.
    pub fn end(&self) -> usize {
        (self.first_block + self.blocks) * self.len
    }

    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.blocks * self.groups
    }

    /// How many groups a block has.
    pub fn block_groups(&self) -> usize {
        self.groups
    }

    /// Elements of a block, without the padding.
    pub fn block_len(&self) -> usize {
        self.len
    }

    /// Which of the blocks it has, counted from the first of all.
    pub fn block_range(&self) -> Range<usize> {
        self.first_block..self.first_block + self.blocks
    }

    /// The block of a group, counted from the first of all.
    pub fn block_of(&self, group: Group) -> usize {
        self.first_block + if group.index < self.groups { 0 } else { group.index / self.groups }
    }

    /// Whether it has all groups of another, in the same places.
    pub fn holds(&self, other: Self) -> bool {
        let end = |split: &Self| split.first_block + split.blocks;
        self.first_block <= other.first_block
            && end(&other) <= end(self)
            && Self { first_block: other.first_block, blocks: other.blocks, ..*self } == other
    }

    /// Group `j`.
    pub fn group(&self, j: usize) -> Group {
        debug_assert!(j < self.groups());
        // Nearly always there is one block.
        let (block, k) = if j < self.groups { (0, j) } else { (j / self.groups, j % self.groups) };
        let block = self.first_block + block;
        let (before, vectors) = match k.checked_sub(self.first_groups) {
            None => (k * self.first_vectors, self.first_vectors),
            Some(rest) => (self.first_groups * self.first_vectors + rest * self.vectors, self.vectors),
        };
        let (start, width) = (before * self.lanes, vectors * self.lanes);
        Group {
            index: j,
            start: block * self.block_padded() + start,
            first: block * self.len + start,
            vectors,
            width,
            len: width.min(self.len - start),
        }
    }

    /// The groups `range`, in order.
    pub fn iter(self, range: Range<usize>) -> impl Iterator<Item = Group> + Clone {
        debug_assert!(range.end <= self.groups());
        // A tile walks the groups of its sum: each follows from the one before, without a multiplication.
        let (mut start, mut first, mut k, mut left) = (0, 0, 0, self.len);
        if !range.is_empty() {
            let group = self.group(range.start);
            (start, first, k) = (group.start, group.first, range.start % self.groups);
            left = self.len - (first - (first / self.len) * self.len);
        }
        range.map(move |index| {
            let vectors = if k < self.first_groups { self.first_vectors } else { self.vectors };
            let width = vectors * self.lanes;
            let group = Group { index, start, first, vectors, width, len: width.min(left) };
            (start, first, left) = (start + width, first + group.len, left - group.len);
            k += 1;
            if k == self.groups {
                (k, left) = (0, self.len);
            }
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

    /// As if its block `first` were block 0, of columns that are cut so.
    pub fn since_block(self, first: usize, columns: Split) -> Self {
        Self { ptr: self.ptr.wrapping_add(first * columns.block_padded() * self.rows), ..self }
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
    fn blocks_repeat_the_cut() {
        for (len, lanes, vectors) in [(1, 4, 1), (5, 4, 2), (32, 16, 2), (33, 16, 2), (50, 16, 3), (64, 8, 3)] {
            let one = Split::new(len, lanes, vectors);
            let all = one.repeated(5);
            let some = all.blocks(1..4);
            assert_eq!((all.len(), all.padded(), all.groups()), (5 * len, 5 * one.padded(), 5 * one.groups()));
            assert!(all.holds(some) && all.holds(all) && !some.holds(all) && !one.holds(all), "{all:?}");
            let groups: Vec<_> = some.iter(0..some.groups()).collect();
            for (j, &group) in groups.iter().enumerate() {
                let (block, within) = (1 + j / one.groups(), one.group(j % one.groups()));
                let (start, first) = (block * one.padded() + within.start, block * len + within.start);
                assert_eq!(group, Group { index: j, start, first, ..within });
                assert_eq!(group, some.group(j));
                assert_eq!(some.iter(j..groups.len()).next(), Some(group));
            }
            assert_eq!(some.end(), 4 * len);
        }
    }

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
