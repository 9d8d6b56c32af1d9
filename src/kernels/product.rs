//! Products whose columns are examples: the forward pass, the interneurons' deltas and the input gradient.
//!
//! `Σ_t A_t · B_t` over up to two terms, cut into tiles of a few rows by one group of examples. A tile's rows of
//! weights stay in the first-level cache while the groups of examples pass by.

use super::Tiled;
use super::access::{Access, Operand};
use super::tile::{Epilogue, load, zeros};
use crate::layout::{Group, Grouped, Split};
use crate::simd::{Scalar, Simd, Vectorized};
use std::ops::Range;

/// `init + Σ_t A_t · B_t`, handed to an epilogue tile by tile.
pub(crate) struct Product<T, W: Access, E> {
    /// What the accumulators begin with; zero if none.
    pub init: Option<Grouped<T>>,
    /// The terms; a missing one adds nothing.
    pub terms: [Option<Operand<T, W>>; 2],
    /// The examples.
    pub examples: Split,
    /// What becomes of the accumulators.
    pub epilogue: E,
}

// SAFETY: only addresses are shared; `product` is unsafe and its caller argues for the accesses.
unsafe impl<T: Sync, W: Access, E> Sync for Product<T, W, E> {}

/// The kernel of a [`Product`] with one access and one epilogue: computes all tiles of some rows by some groups.
pub(crate) type ProductKernel<T, W, E> = unsafe fn(&Product<T, W, E>, Range<usize>, Range<usize>);

/// Computes the tiles of `rows` by `groups`: the weights of a few rows meet all groups before the next rows do.
///
/// # Safety
/// The CPU has the instruction set of `S`. The operands are valid for reading, the epilogue's pointers for their use,
/// in these rows and groups, and nothing else accesses what the epilogue writes there.
pub(crate) unsafe fn product<T, S, W, E>(product: &Product<T, W, E>, rows: Range<usize>, groups: Range<usize>)
where
    T: Scalar,
    S: Tiled<T>,
    W: Access,
    E: Epilogue<T, S>,
{
    // SAFETY: the caller vouches for the instruction set.
    let s = unsafe { S::token() };
    let mut start = rows.start;
    while start < rows.end {
        let end = if rows.end - start <= S::LAST_ROWS { rows.end } else { start + S::ROWS };
        let mut all = product.examples.iter(groups.clone()).peekable();
        while let Some(group) = all.next() {
            if let Some(init) = product.init {
                // What the next tile begins with: its multiply-adds would wait for it (a tenth of a large product).
                let (rows, group) = match all.peek() {
                    Some(&next) => (start..end, next),
                    None => (end..rows.end.min(end + S::ROWS), product.examples.group(groups.start)),
                };
                prefetch::<T, S>(s, init, rows, group);
            }
            let mut row = start;
            while row < end {
                // SAFETY: the caller vouches for these rows and groups; a tile takes at most the rows that are left.
                row += unsafe { s.product_tile(product, row, end - row, group) };
            }
        }
        start = end;
    }
}

/// Prefetches some rows of one group.
fn prefetch<T: Scalar, S: Simd<T>>(s: S, of: Grouped<T>, rows: Range<usize>, group: Group) {
    for row in rows {
        for j in 0..group.vectors {
            s.prefetch(of.at(row, group).wrapping_add(j * S::LANES));
        }
    }
}

/// One tile of a product.
pub(crate) struct ProductTile<'a, S, T, W: Access, E, const MR: usize, const NV: usize> {
    pub s: S,
    pub product: &'a Product<T, W, E>,
    pub row: usize,
    pub group: Group,
}

impl<T, S, W, E, const MR: usize, const NV: usize> Vectorized for ProductTile<'_, S, T, W, E, MR, NV>
where
    T: Scalar,
    S: Simd<T>,
    W: Access,
    E: Epilogue<T, S>,
{
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { s, product, row, group } = self;
        debug_assert_eq!(group.vectors, NV);
        let mut acc = zeros::<T, S, MR, NV>(s);
        if let Some(init) = product.init {
            // SAFETY: `product` is called with operands that are valid in these rows and this group.
            acc = unsafe { load(s, init, row, group) };
        }
        for operand in product.terms.iter().flatten() {
            // SAFETY: as above.
            acc = unsafe { W::product(s, acc, *operand, row, group) };
        }
        // SAFETY: as above.
        unsafe { product.epilogue.finish(s, acc, row, group) };
    }
}
