//! Between row-major arrays and the layouts of the kernels: activations in both forms, weights in panels.

use super::panels;
use crate::buffer::{Activations, Buffer};
use crate::element::Element;
use crate::kernels::access::PackedTransposed;
use crate::layout::{Group, Grouped, Split};
use crate::matrix::{MatMut, MatRef, SharedRows};
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

/// `out [units, examples] = xᵀ`, zero in the padding of the examples.
pub(crate) fn from_rows<T: Element>(team: &Team<'_>, x: MatRef<'_, T>, out: &mut Activations<T>) {
    let (units, examples) = (x.cols(), out.columns());
    assert_eq!((units, x.rows()), (out.rows(), examples.len()), "units and examples");
    let pieces = units.div_ceil(UNITS);
    let target = out.grouped_mut();
    each(team, units * examples.len(), pieces * examples.groups(), |task| {
        let group = examples.group(task / pieces);
        let start = task % pieces * UNITS;
        let count = UNITS.min(units - start);
        let from = x.as_ptr().wrapping_add(group.start * x.stride() + start);
        // SAFETY: x is borrowed and has these examples and units; `out` is borrowed mutably, has these rows and this
        // group, and no other task writes them.
        unsafe {
            transpose((from, x.stride()), (target.at(start, group), group.width), group.len, count);
            for unit in start..start + count {
                let padding = target.at(unit, group).add(group.len);
                std::slice::from_raw_parts_mut(padding, group.width - group.len).fill(T::ZERO);
            }
        }
    });
}

/// `out [examples, units] = x`, in the layout of the weight gradient: whole vectors that follow each other, where the
/// rows of a caller's array would often begin between cache lines and compete for the same few cache sets.
pub(crate) fn copy_examples<T: Element>(team: &Team<'_>, x: MatRef<'_, T>, out: &mut Activations<T>) {
    let units = out.columns();
    assert_eq!((x.rows(), x.cols()), (out.rows(), units.len()), "examples and units");
    let (target, examples) = (out.grouped_mut(), x.rows());
    each(team, examples * units.len(), examples.div_ceil(UNITS), |task| {
        for group in units.iter(0..units.groups()) {
            for i in task * UNITS..examples.min((task + 1) * UNITS) {
                let from = &x.row(i)[group.start..][..group.len];
                // SAFETY: `out` is borrowed mutably, has this row and group, and no other task writes it.
                let to = unsafe { std::slice::from_raw_parts_mut(target.at(i, group), group.width) };
                to[..group.len].copy_from_slice(from);
                to[group.len..].fill(T::ZERO);
            }
        }
    });
}

/// `out = hᵀ` without the padding, each element as `map` makes it.
pub(crate) fn to_rows<T: Element>(
    team: &Team<'_>,
    h: &Activations<T>,
    out: &mut MatMut<'_, T>,
    map: impl Fn(T) -> T + Sync,
) {
    let (units, examples) = (h.rows(), h.columns());
    assert_eq!((units, examples.len()), (out.cols(), out.rows()), "units and examples");
    let pieces = units.div_ceil(UNITS);
    let (source, target) = (h.grouped(), out.as_shared());
    each(team, units * examples.len(), pieces * examples.groups(), |task| {
        let group = examples.group(task / pieces);
        let start = task % pieces * UNITS;
        let count = UNITS.min(units - start);
        // SAFETY: h is borrowed and has these units and this group; `out` is borrowed mutably, has these rows and
        // columns, and no other task writes them.
        unsafe {
            transpose((source.at(start, group), group.width), target.at(group.start, start), count, group.len);
            for i in 0..group.len {
                let (row, _) = target.at(group.start + i, start);
                std::slice::from_raw_parts_mut(row, count).iter_mut().for_each(|value| *value = map(*value));
            }
        }
    });
}

/// Copies all units to the example-major form, `to [B, units] = fromᵀ`.
pub(crate) fn all_to_examples<T: Element>(team: &Team<'_>, from: &Activations<T>, to: &mut Activations<T>) {
    let (examples, units) = (from.columns(), to.columns());
    assert_eq!((from.rows(), examples.len()), (units.len(), to.rows()), "units and examples");
    let (from, to, groups) = (from.grouped(), to.grouped_mut(), examples.groups());
    // By groups of units: each is read and written whole by one task.
    team.run(units.len().saturating_mul(16 * examples.len()), units.groups(), |tasks| {
        for group in units.iter(tasks) {
            let rows = group.start..group.start + group.len;
            // SAFETY: both are borrowed and have these units and examples; tasks are disjoint.
            unsafe { to_examples(from, (to, units), rows, examples.iter(0..groups)) };
        }
    });
}

/// Copies the units `rows` of some groups of examples to the example-major form.
///
/// # Safety
/// `from` is valid for reading in these rows and groups; `to`, with the columns `units`, for writing those columns in
/// the groups' examples, and nothing else accesses them.
pub(crate) unsafe fn to_examples<T: Element>(
    from: Grouped<T>,
    (to, units): (Grouped<T>, Split),
    rows: Range<usize>,
    groups: impl Iterator<Item = Group>,
) {
    for group in groups {
        for columns in units.iter(0..units.groups()) {
            let columns_here = rows.start.max(columns.start)..rows.end.min(columns.start + columns.len);
            if columns_here.is_empty() {
                continue;
            }
            let to = to.at(group.start, columns).wrapping_add(columns_here.start - columns.start);
            let from = from.at(columns_here.start, group);
            // SAFETY: the caller vouches for these units and examples.
            unsafe { transpose((from, group.width), (to, columns.width), columns_here.len(), group.len) };
        }
    }
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
