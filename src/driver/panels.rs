//! Panels: copies of large weights, some rows of them after the other, that tiles read from beginning to end.

use crate::cache;
use crate::kernels::access::PackedTransposed;
use crate::layout::Split;

/// Terms of a sum that are copied to panels at a time.
pub(super) const DEPTH: usize = 256;

/// Elements from panel to panel for so many terms: one cache line of padding, so that panels do not all start in the
/// same cache set.
pub(super) fn stride(depth: usize) -> usize {
    (depth + 1) * PackedTransposed::WIDTH
}

/// Elements of the panels of a matrix with so many columns.
pub(crate) fn elements(columns: usize) -> usize {
    count(columns) * stride(DEPTH)
}

/// Panels of a matrix with so many columns. A tile begins in panel `row / STEP`, wherever in it, so there is
/// a panel for every column, also for one that the panel before holds too.
pub(super) fn count(columns: usize) -> usize {
    columns.div_ceil(PackedTransposed::STEP)
}

/// Whether the input gradient of a layer with `rows` inputs and sums of length `k` is made from a copy of the weights
/// in panels. Tiles of it walk down the columns of the weights. In a large matrix each step is on another page, and
/// where rows are a large power of two apart all steps fall in the same few cache sets.
pub(crate) fn pay<T>(rows: usize, k: usize, examples: Split) -> bool {
    /// Fewer examples do not pay for the copy.
    const EXAMPLES: usize = 32;
    let row = rows * size_of::<T>();
    let crowded = row.is_multiple_of(1024) && k >= 64;
    examples.len() >= EXAMPLES && (crowded || row * k > cache::weights())
}
