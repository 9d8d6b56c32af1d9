//! Between row-major arrays and the layouts of the kernels: activations in both forms, weights in panels.

use super::panels;
use crate::buffer::{Activations, Buffer, Units};
use crate::element::Element;
use crate::kernels::access::PackedTransposed;
use crate::layout::{Group, Grouped, Split};
use crate::matrix::{MatMut, MatRef, SharedRows, Steps};
use crate::threads::Team;
use std::ops::Range;

/// Units that a task transposes: their values for one group of examples stay in the first-level cache.
const UNITS: usize = 64;

/// Side of the blocks that are transposed in registers.
const SIDE: usize = 4;

/// `to[j, i] = from[i, j]` for `rows` by `cols` elements of `from`; both matrices are given by their first element and
/// the distance of their rows.
///
/// # Safety
/// `from` is valid for reading `rows` by `cols` elements, `to` for writing `cols` by `rows`; they do not overlap.
unsafe fn transpose<T: Element>((from, ld): (*const T, usize), (to, ldt): (*mut T, usize), rows: usize, cols: usize) {
    let (whole_rows, whole_cols) = (rows - rows % SIDE, cols - cols % SIDE);
    for j in (0..whole_cols).step_by(SIDE) {
        for i in (0..whole_rows).step_by(SIDE) {
            // SAFETY: the block lies within the rows and columns that the caller vouches for.
            unsafe {
                let block = std::array::from_fn(|r| from.add((i + r) * ld + j).cast::<[T; SIDE]>().read_unaligned());
                for (c, column) in T::transpose(block).into_iter().enumerate() {
                    to.add((j + c) * ldt + i).cast::<[T; SIDE]>().write_unaligned(column);
                }
            }
        }
    }
    for i in 0..rows {
        for j in if i < whole_rows { whole_cols..cols } else { 0..cols } {
            // SAFETY: as above.
            unsafe { *to.add(j * ldt + i) = *from.add(i * ld + j) };
        }
    }
}

/// Runs tasks that move `elements` elements between them; moving one takes as long as some multiply-adds.
fn each(team: &Team<'_>, elements: usize, tasks: usize, task: impl Fn(usize) + Sync) {
    team.run(elements.saturating_mul(16), tasks, |range| range.for_each(&task));
}

/// Panics unless the examples are rows of a caller's matrix.
#[track_caller]
fn assert_rows<M>(steps: &Steps<M>, rows: usize, examples: Split) {
    let last = examples.groups().checked_sub(1).map(|last| examples.group(last));
    let end = last.map_or(0, |last| row_of(steps, last, examples) + last.len);
    assert!(end <= rows && (steps.rows_of_step > 0 || examples.len() == rows), "{rows} rows for {examples:?}");
}

/// The row of the first example of a group.
fn row_of<M>(steps: &Steps<M>, group: Group, examples: Split) -> usize {
    let step = examples.block_of(group);
    steps.row(step, group.first - step * examples.block_len())
}

/// The examples `examples` of `out [units, ·] = xᵀ`, zero in their padding.
pub(crate) fn from_rows<T: Element>(
    team: &Team<'_>,
    x: Steps<MatRef<'_, T>>,
    examples: Split,
    out: &mut Activations<T>,
) {
    let units = x.rows.cols();
    assert_rows(&x, x.rows.rows(), examples);
    out.assert_shape("out", units, examples);
    let pieces = units.div_ceil(UNITS);
    let target = out.grouped_mut();
    each(team, units * examples.len(), pieces * examples.groups(), |task| {
        let group = examples.group(task / pieces);
        let start = task % pieces * UNITS;
        let count = UNITS.min(units - start);
        let stride = x.rows.stride();
        let from = x.rows.as_ptr().wrapping_add(row_of(&x, group, examples) * stride + start);
        // SAFETY: x is borrowed and has these examples and units; `out` is borrowed mutably, has these rows and this
        // group, and no other task writes them.
        unsafe {
            transpose((from, stride), (target.at(start, group), group.width), group.len, count);
            for unit in start..start + count {
                let padding = target.at(unit, group).add(group.len);
                std::slice::from_raw_parts_mut(padding, group.width - group.len).fill(T::ZERO);
            }
        }
    });
}

/// The examples `examples` of `out [·, units] = x`, in the layout of the weight gradient: whole vectors that follow each other, where the
/// rows of a caller's array would often begin between cache lines and compete for the same few cache sets.
pub(crate) fn copy_examples<T: Element>(
    team: &Team<'_>,
    x: Steps<MatRef<'_, T>>,
    examples: Split,
    out: &mut Activations<T>,
) {
    let units = out.columns();
    assert_rows(&x, x.rows.rows(), examples);
    assert_eq!(x.rows.cols(), units.len(), "units");
    out.examples().assert_shape("out", examples, units);
    let target = out.grouped_mut();
    each(team, examples.len() * units.len(), examples.groups(), |task| {
        let of = examples.group(task);
        let row = row_of(&x, of, examples);
        for group in units.iter(0..units.groups()) {
            for i in 0..of.len {
                let from = &x.rows.row(row + i)[group.start..][..group.len];
                // SAFETY: `out` is borrowed mutably, has this row and group, and no other task writes it.
                let to = unsafe { std::slice::from_raw_parts_mut(target.at(of.first + i, group), group.width) };
                to[..group.len].copy_from_slice(from);
                to[group.len..].fill(T::ZERO);
            }
        }
    });
}

/// `out = hᵀ` of the examples `examples`, without their padding, each element as `map` makes it.
pub(crate) fn to_rows<T: Element>(
    team: &Team<'_>,
    h: Units<'_, T>,
    examples: Split,
    out: Steps<&mut MatMut<'_, T>>,
    map: impl Fn(T) -> T + Sync,
) {
    let units = h.rows();
    h.assert_shape("h", units, examples);
    assert_rows(&out, out.rows.rows(), examples);
    assert_eq!(units, out.rows.cols(), "units");
    let pieces = units.div_ceil(UNITS);
    let Steps { rows, rows_of_step, first } = out;
    let (source, target) = (h.grouped(), rows.as_shared());
    let out = Steps { rows: (), rows_of_step, first };
    each(team, units * examples.len(), pieces * examples.groups(), |task| {
        let group = examples.group(task / pieces);
        let start = task % pieces * UNITS;
        let count = UNITS.min(units - start);
        let first = row_of(&out, group, examples);
        // SAFETY: h is borrowed and has these units and this group; `out` is borrowed mutably, has these rows and
        // columns, and no other task writes them.
        unsafe {
            transpose((source.at(start, group), group.width), target.at(first, start), count, group.len);
            for i in 0..group.len {
                let (row, _) = target.at(first + i, start);
                std::slice::from_raw_parts_mut(row, count).iter_mut().for_each(|value| *value = map(*value));
            }
        }
    });
}

/// Copies the first units of some examples to the example-major form, `to [B, units] = fromᵀ`.
pub(crate) fn all_to_examples<T: Element>(
    team: &Team<'_>,
    from: Units<'_, T>,
    examples: Split,
    to: &mut Activations<T>,
) {
    let units = to.columns();
    from.assert_shape("units", from.rows(), examples);
    assert!(units.len() <= from.rows(), "units");
    to.examples().assert_shape("examples", examples, units);
    let (from, to, groups) = (from.grouped(), to.grouped_mut(), examples.groups());
    // By groups of units: each is read and written whole by one task.
    team.run(units.len().saturating_mul(16 * examples.len()), units.groups(), |tasks| {
        for group in units.iter(tasks) {
            let rows = group.start..group.start + group.len;
            // SAFETY: both are borrowed and have these units and examples; tasks are disjoint.
            unsafe { to_examples(from, (to, units, 0), rows, examples.iter(0..groups)) };
        }
    });
}

/// Copies the units `rows` of some groups of examples to the example-major form, where example 0 is in row `first`.
///
/// # Safety
/// `from` is valid for reading in these rows and groups; `to`, with the columns `units`, for writing those columns in
/// the groups' examples, and nothing else accesses them.
pub(crate) unsafe fn to_examples<T: Element>(
    from: Grouped<T>,
    (to, units, first): (Grouped<T>, Split, usize),
    rows: Range<usize>,
    groups: impl Iterator<Item = Group>,
) {
    for group in groups {
        for columns in units.iter(0..units.groups()) {
            let columns_here = rows.start.max(columns.start)..rows.end.min(columns.start + columns.len);
            if columns_here.is_empty() {
                continue;
            }
            let to = to.at(first + group.first, columns).wrapping_add(columns_here.start - columns.start);
            let from = from.at(columns_here.start, group);
            // SAFETY: the caller vouches for these units and examples.
            unsafe { transpose((from, group.width), (to, columns.width), columns_here.len(), group.len) };
        }
    }
}

/// `to = fromᵀ`, row-major, of rows with so many columns.
pub(crate) fn transposed<T: Element>(from: &[T], cols: usize, to: &mut [T]) {
    assert!(from.len() == to.len() && from.len().is_multiple_of(cols), "elements of a matrix and its transpose");
    let rows = from.len() / cols;
    // SAFETY: both have these rows and columns, and one is borrowed mutably.
    unsafe { transpose((from.as_ptr(), cols), (to.as_mut_ptr(), rows), rows, cols) };
}

/// Copies `len` rows of weights, `ld` elements apart from `a`, to panels of their `rows` columns: see
/// [`PackedTransposed`].
///
/// # Safety
/// `a` is valid for reading `len` rows of `rows` elements.
pub(super) unsafe fn to_panels<T: Element>(
    team: &Team<'_>,
    (a, ld, len): (*const T, usize, usize),
    (rows, count): (usize, usize),
    out: &mut Buffer<T>,
) {
    /// Rows of a task. Each is read from beginning to end: in shorter runs, weights that come from memory arrive at a
    /// third of the speed.
    const TOGETHER: usize = 16;
    let panel = panels::stride(len);
    assert!(out.len() >= count * panel, "room for panels");
    let (from, to) = (SharedRows::new(a.cast_mut(), ld), SharedRows::new(out.as_mut_ptr(), panel));
    each(team, rows * len, len.div_ceil(TOGETHER), |task| {
        for k in task * TOGETHER..len.min((task + 1) * TOGETHER) {
            for p in 0..count {
                let start = p * PackedTransposed::STEP;
                let width = PackedTransposed::WIDTH.min(rows - start);
                let (from, _) = from.at(k, start);
                let (to, _) = to.at(p, k * PackedTransposed::WIDTH);
                // SAFETY: the caller vouches for the weights; `out` is borrowed mutably, has room for the panels, and
                // no other task writes these.
                unsafe {
                    if width == PackedTransposed::WIDTH {
                        to.copy_from_nonoverlapping(from, PackedTransposed::WIDTH);
                    } else {
                        to.copy_from_nonoverlapping(from, width);
                        std::slice::from_raw_parts_mut(to.add(width), PackedTransposed::WIDTH - width).fill(T::ZERO);
                    }
                }
            }
        }
    });
}
