//! Loops over tiles and tasks: what runs when, in which order, and on which part of the matrices.
//!
//! Drivers are safe: they borrow every array that they hand to a kernel for the duration of the phase, and cut each
//! phase into tasks that write disjoint parts.

pub(crate) mod grid;
pub(crate) mod panels;
pub(crate) mod phase;
pub(crate) mod transpose;

pub(crate) use transpose::{copy_examples, from_rows, to_rows};

use crate::buffer::{Activations, Units};
use crate::element::Element;
use crate::kernels::access::{Access, Block, DotProduct, Operand};
use crate::kernels::tile::Broadcast;
use crate::layout::Split;

/// A batch cut into slabs of about 128 examples, the first example of each and their number. The activations of a slab
/// stay in a second-level cache of 1 MiB from one layer to the next; the gradients are carried over from slab to slab,
/// and the last is fused with the update. (Whole batches of 1024 took a tenth longer: every layer then reads and writes
/// some ten arrays of 2 MB.)
pub(crate) fn slabs(batch: usize) -> impl ExactSizeIterator<Item = (usize, usize)> {
    /// Whole vectors of any instruction set, two to a group.
    const UNIT: usize = 32;
    const SLAB: usize = 128;
    let slabs = ((batch + SLAB / 2) / SLAB).max(1);
    let units = batch.div_ceil(UNIT);
    // Units are shared out evenly: a last slab of a few examples would cost a pass over all weights.
    let start = move |i: usize| (i * units / slabs * UNIT).min(batch);
    (0..slabs).map(move |i| (start(i), start(i + 1) - start(i)))
}

/// The most examples of a slab: who makes room for them first fails before anything is written, or not at all.
pub(crate) fn largest_slab(batch: usize) -> usize {
    slabs(batch).map(|(_, len)| len).max().unwrap_or(0)
}

/// A side from which the forward product reads activations.
pub(crate) trait Side: Access {
    /// Whether rows are examples.
    const EXAMPLES: bool;
    /// Activations in the form that it reads.
    type Input<'a, T: Element>: Copy;
    /// Those of the two forms.
    fn input<'a, T: Element>(units: &'a Activations<T>, examples: &'a Activations<T>) -> Self::Input<'a, T>;
    /// Weights at `a` with rows `lda` elements apart, and the activations that they meet.
    fn operand<T: Element>(a: &[T], lda: usize, b: Self::Input<'_, T>) -> Operand<T, Self>;
    /// Parts of a sum, of `most` terms or a few less.
    fn parts(depth: Self::Depth, most: usize) -> usize;
    /// Part `i` of them.
    fn part(depth: Self::Depth, most: usize, i: usize) -> Self::Depth;
}

impl<W: Broadcast> Side for W {
    const EXAMPLES: bool = false;
    type Input<'a, T: Element> = Units<'a, T>;

    fn input<'a, T: Element>(units: &'a Activations<T>, _: &'a Activations<T>) -> Units<'a, T> {
        units.units()
    }

    fn operand<T: Element>(a: &[T], lda: usize, b: Units<'_, T>) -> Operand<T, Self> {
        Operand { a: a.as_ptr(), lda, b: b.grouped(), depth: Block { first: 0, len: b.rows() } }
    }
    fn parts(depth: Block, most: usize) -> usize {
        depth.len.div_ceil(most)
    }
    fn part(Block { first, len }: Block, most: usize, i: usize) -> Block {
        let each = len.div_ceil(len.div_ceil(most));
        Block { first: first + i * each, len: each.min(len - i * each) }
    }
}

impl Side for DotProduct {
    const EXAMPLES: bool = true;
    type Input<'a, T: Element> = &'a Activations<T>;

    fn input<'a, T: Element>(_: &'a Activations<T>, examples: &'a Activations<T>) -> &'a Activations<T> {
        examples
    }

    fn operand<T: Element>(a: &[T], lda: usize, b: &Activations<T>) -> Operand<T, Self> {
        Operand { a: a.as_ptr(), lda, b: b.grouped(), depth: b.columns() }
    }
    fn parts(_: Split, _: usize) -> usize {
        1
    }
    fn part(depth: Split, _: usize, _: usize) -> Split {
        depth
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn slabs_cover_the_batch_once() {
        for batch in 1..2000 {
            let mut next = 0;
            for (start, len) in super::slabs(batch) {
                let least = if batch < 192 { batch } else { 65 };
                assert!(start == next && (least..=192).contains(&len), "{batch}: {start}, {len}");
                next += len;
            }
            assert_eq!(next, batch);
        }
    }
}
