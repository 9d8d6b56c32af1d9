//! How a tile reads its weights, and along which dimension its vectors run.
//!
//! | access | weights | vectors run over | used for |
//! |---|---|---|---|
//! | [`RowMajor`] | as the caller stores them | examples | the forward product `W x` |
//! | [`Transposed`] | as the caller stores them | examples | `Wᵀ δ` |
//! | [`PackedTransposed`] | a copy of part of them | examples | `Wᵀ δ` of large layers |
//! | [`DotProduct`] | as the caller stores them | the sum | `W x` of a few examples |

use super::tile::{Acc, Broadcast, Term, accumulate};
use crate::layout::{Group, Grouped, Split};
use crate::simd::{Scalar, Simd, Vectorized};

/// In which order `A` is read, and what the sum runs over.
pub(crate) trait Access: Copy + 'static {
    /// The part of the sum that is wanted.
    type Depth: Copy;

    /// The length of the sum.
    fn len(depth: Self::Depth) -> usize;

    /// `acc + A · B` for the tile whose first row is `row` and whose columns are `group`, in an order that depends on
    /// nothing else.
    ///
    /// # Safety
    /// The operand is valid for reading in the rows `row..row + MR` and the columns of `group`, which has `NV` vectors.
    unsafe fn product<T: Scalar, S: Simd<T>, const MR: usize, const NV: usize>(
        s: S,
        acc: Acc<S::V, MR, NV>,
        operand: Operand<T, Self>,
        row: usize,
        group: Group,
    ) -> Acc<S::V, MR, NV>;
}

impl<W: Broadcast> Access for W {
    type Depth = Block;

    fn len(depth: Block) -> usize {
        depth.len
    }

    #[inline(always)]
    unsafe fn product<T: Scalar, S: Simd<T>, const MR: usize, const NV: usize>(
        s: S,
        acc: Acc<S::V, MR, NV>,
        operand: Operand<T, Self>,
        row: usize,
        group: Group,
    ) -> Acc<S::V, MR, NV> {
        let Operand { a, lda, b, depth: Block { first, len } } = operand;
        let a = a.wrapping_add(W::origin(row, first, lda));
        let term = Term { a, lda, b: b.at(first, group), ldb: group.width, k: len };
        // SAFETY: the caller vouches for the operand.
        unsafe { accumulate::<T, S, W, MR, NV>(s, acc, term) }
    }
}

/// The tile's rows are stored rows of `A`, the sum runs along them: `A[row, k]` of the forward product `W x`.
#[derive(Clone, Copy)]
pub(crate) struct RowMajor;

impl Broadcast for RowMajor {
    #[inline(always)]
    fn index(row: usize, k: usize, ld: usize) -> usize {
        row * ld + k
    }
}

/// The tile's rows are stored columns of `A`, the sum runs down them: the transposed product `Wᵀ δ`.
#[derive(Clone, Copy)]
pub(crate) struct Transposed;

impl Broadcast for Transposed {
    #[inline(always)]
    fn index(row: usize, k: usize, ld: usize) -> usize {
        k * ld + row
    }
}

/// [`Transposed`] of a copy of part of `A` in panels: panel after panel, each of [`PackedTransposed::WIDTH`] columns,
/// of which the first [`PackedTransposed::STEP`] begin tiles and the others end them; the next panel holds these again.
/// Panels are `ld` elements apart.
#[derive(Clone, Copy)]
pub(crate) struct PackedTransposed;

impl PackedTransposed {
    /// Rows of the product from panel to panel: those of [`super::Tiled::ROWS`].
    pub const STEP: usize = 12;
    /// Columns that a panel holds: a last tile may be a little taller than the others.
    pub const WIDTH: usize = 16;
}

impl Broadcast for PackedTransposed {
    #[inline(always)]
    fn origin(row: usize, k: usize, ld: usize) -> usize {
        row / Self::STEP * ld + row % Self::STEP + k * Self::WIDTH
    }
    #[inline(always)]
    fn index(row: usize, k: usize, _: usize) -> usize {
        k * Self::WIDTH + row
    }
}

/// The tile's rows are stored rows of `A` and so are the columns of `B`: vectors run along the sum. For batches of a
/// few examples, which would leave most lanes of a vector over examples empty. `B` has a row an example.
#[derive(Clone, Copy)]
pub(crate) struct DotProduct;

impl Access for DotProduct {
    /// The dimension that is summed over, in the groups of `B`.
    type Depth = Split;

    fn len(depth: Split) -> usize {
        depth.len()
    }

    #[inline(always)]
    unsafe fn product<T: Scalar, S: Simd<T>, const MR: usize, const NV: usize>(
        s: S,
        mut acc: Acc<S::V, MR, NV>,
        operand: Operand<T, Self>,
        row: usize,
        group: Group,
    ) -> Acc<S::V, MR, NV> {
        for first in (0..MR).step_by(DOT_ROWS) {
            let mut sums = [[T::ZERO; MAX_LANES]; DOT_ROWS];
            let rows = DOT_ROWS.min(MR - first);
            let mut e = 0;
            while e < group.len {
                let at = (row + first, group.first + e);
                // SAFETY: the caller vouches for these rows and examples.
                e += unsafe {
                    match (rows, group.len - e) {
                        (DOT_ROWS, 2..) => dots::<T, S, DOT_ROWS, 2>(s, operand, at, (0, e), &mut sums),
                        (DOT_ROWS, _) => dots::<T, S, DOT_ROWS, 1>(s, operand, at, (0, e), &mut sums),
                        _ => (0..rows)
                            .fold(1, |_, r| dots::<T, S, 1, 1>(s, operand, (at.0 + r, at.1), (r, e), &mut sums)),
                    }
                };
            }
            for (acc, sums) in acc[first..].iter_mut().zip(&sums) {
                for (j, acc) in acc.iter_mut().enumerate() {
                    // SAFETY: there are `MAX_LANES` sums, as many as a group can have elements.
                    *acc = s.add(*acc, unsafe { s.load(sums.as_ptr().add(j * S::LANES)) });
                }
            }
        }
        acc
    }
}

/// The most vectors of a group. Each has sums of its own, so that they do not wait for one another.
const VECTORS: usize = 3;

/// The most elements of a group of examples: vectors of 16 lanes.
const MAX_LANES: usize = VECTORS * 16;

/// Rows of a block of dot products: so many streams of weights read faster than one (45 to 36 GB/s).
const DOT_ROWS: usize = 4;

/// `sums[r..][e..]` of a block of dot products: `R` rows of weights by `E` examples from `at`. Returns `E`.
///
/// # Safety
/// The operand is valid for reading in these rows and examples.
#[inline(always)]
unsafe fn dots<T: Scalar, S: Simd<T>, const R: usize, const E: usize>(
    s: S,
    operand: Operand<T, DotProduct>,
    at: (usize, usize),
    (r, e): (usize, usize),
    sums: &mut [[T; MAX_LANES]; DOT_ROWS],
) -> usize {
    for (sums, block) in sums[r..].iter_mut().zip(s.vectorize(DotBlock::<S, T, R, E> { s, operand, at })) {
        sums[e..e + E].copy_from_slice(&block);
    }
    E
}

/// A block of dot products: `R` rows of weights by `E` examples.
struct DotBlock<S, T, const R: usize, const E: usize> {
    s: S,
    operand: Operand<T, DotProduct>,
    /// The first row and the first example.
    at: (usize, usize),
}

/// The sums of a block of dot products, a vector for each vector of a group.
type DotSums<V, const R: usize, const E: usize> = [[[V; VECTORS]; E]; R];

impl<S: Simd<T>, T: Scalar, const R: usize, const E: usize> Vectorized for DotBlock<S, T, R, E> {
    type Output = [[T; E]; R];

    #[inline(always)]
    fn call(self) -> [[T; E]; R] {
        let Self { s, operand: Operand { a, lda, b, depth: columns }, at: (row, example) } = self;
        let mut acc = [[[s.zero(); VECTORS]; E]; R];
        for group in columns.iter(0..columns.groups()) {
            let w = a.wrapping_add(row * lda + group.start);
            let x = b.at(example, group);
            // SAFETY: `dots` is called with an operand that is valid in these rows and examples.
            unsafe {
                if group.len == VECTORS * S::LANES {
                    self.add_whole_group(&mut acc, w, x, group);
                } else {
                    self.add_last_group(&mut acc, w, x, group);
                }
            }
        }
        totals(s, acc)
    }
}

impl<S: Simd<T>, T: Scalar, const R: usize, const E: usize> DotBlock<S, T, R, E> {
    /// Adds a group that all vectors fill.
    ///
    /// # Safety
    /// `w` is valid for reading `R` rows and `x` for reading `E` rows of the group.
    #[inline(always)]
    unsafe fn add_whole_group(&self, acc: &mut DotSums<S::V, R, E>, w: *const T, x: *const T, group: Group) {
        /// Elements from what is read to what is prefetched. Weights that come from memory arrive some 6 % faster
        /// than by the machine's own guess.
        const AHEAD: usize = 512;
        let (s, lda) = (self.s, self.operand.lda);
        for j in 0..VECTORS {
            // SAFETY: the caller vouches for these rows of the group.
            unsafe {
                let mut vectors = [s.zero(); E];
                for (e, vector) in vectors.iter_mut().enumerate() {
                    *vector = s.load(x.add(e * group.width + j * S::LANES));
                }
                for (r, acc) in acc.iter_mut().enumerate() {
                    let w = w.add(r * lda + j * S::LANES);
                    s.prefetch(w.wrapping_add(AHEAD));
                    let w = s.load(w);
                    for (acc, x) in acc.iter_mut().zip(vectors) {
                        acc[j] = s.mul_add(w, x, acc[j]);
                    }
                }
            }
        }
    }

    /// Adds a group that ends before all vectors are full.
    ///
    /// # Safety
    /// As [`DotBlock::add_whole_group`].
    #[inline(always)]
    unsafe fn add_last_group(&self, acc: &mut DotSums<S::V, R, E>, w: *const T, x: *const T, group: Group) {
        let (s, lda) = (self.s, self.operand.lda);
        for j in 0..VECTORS {
            let lane = j * S::LANES;
            let lanes = group.len.saturating_sub(lane);
            if lanes == 0 {
                continue;
            }
            // SAFETY: the caller vouches for these rows of the group. Rows of weights have no padding. That of `B` is
            // there to be read, but it may hold anything, NaN too, which a weight of zero would not silence.
            unsafe {
                let mut vectors = [s.zero(); E];
                for (e, vector) in vectors.iter_mut().enumerate() {
                    let x = x.add(e * group.width + lane);
                    *vector = if lanes >= S::LANES { s.load(x) } else { s.load_first(x, lanes) };
                }
                for (r, acc) in acc.iter_mut().enumerate() {
                    let w = w.add(r * lda + lane);
                    let w = if lanes >= S::LANES { s.load(w) } else { s.load_first(w, lanes) };
                    for (acc, x) in acc.iter_mut().zip(vectors) {
                        acc[j] = s.mul_add(w, x, acc[j]);
                    }
                }
            }
        }
    }
}

/// The sum of each dot product from those of its lanes.
#[inline(always)]
fn totals<T: Scalar, S: Simd<T>, const R: usize, const E: usize>(s: S, acc: [[[S::V; VECTORS]; E]; R]) -> [[T; E]; R] {
    let mut sums = [[T::ZERO; E]; R];
    for (sums, acc) in sums.iter_mut().zip(acc) {
        for (sum, [first, second, third]) in sums.iter_mut().zip(acc) {
            *sum = s.sum(s.add(s.add(first, second), third));
        }
    }
    sums
}

/// Part of a sum: its first term and its length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub first: usize,
    pub len: usize,
}

/// A weight matrix and the activations that it meets.
pub(crate) struct Operand<T, W: Access> {
    /// The weights at row 0, k = 0.
    pub a: *const T,
    /// Distance of the weights' stored rows.
    pub lda: usize,
    /// The activations.
    pub b: Grouped<T>,
    /// What is summed over.
    pub depth: W::Depth,
}

impl<T, W: Access> Clone for Operand<T, W> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T, W: Access> Copy for Operand<T, W> {}
