//! Between row-major arrays and the two layouts of activations.

use crate::buffer::Activations;
use crate::element::Element;
use crate::layout::{Group, Grouped, Split};
use crate::matrix::{MatMut, MatRef};
use crate::threads::Crew;
use std::ops::Range;

/// Units that a task transposes: their values for one group of examples stay in the first-level cache.
const UNITS: usize = 64;

/// `out [units, examples] = xᵀ`, zero in the padding of the examples.
pub(crate) fn from_rows<T: Element>(crew: &Crew<'_>, x: MatRef<'_, T>, out: &mut Activations<T>) {
    let (units, examples) = (x.cols(), out.columns());
    assert_eq!((units, x.rows()), (out.rows(), examples.len()), "units and examples");
    let pieces = units.div_ceil(UNITS);
    let target = out.grouped_mut();
    crew.run(pieces * examples.groups(), |task| {
        let group = examples.group(task / pieces);
        let start = task % pieces * UNITS;
        for unit in start..(start + UNITS).min(units) {
            // SAFETY: `out` is borrowed mutably, has this row and group, and no other task writes them.
            let row = unsafe { std::slice::from_raw_parts_mut(target.at(unit, group), group.width) };
            let (inside, padding) = row.split_at_mut(group.len);
            for (i, value) in inside.iter_mut().enumerate() {
                *value = x.row(group.start + i)[unit];
            }
            padding.fill(T::ZERO);
        }
    });
}

/// `out = hᵀ`, without the padding.
pub(crate) fn to_rows<T: Element>(h: &Activations<T>, out: &mut MatMut<'_, T>, map: impl Fn(T) -> T) {
    let examples = h.columns();
    assert_eq!((h.rows(), examples.len()), (out.cols(), out.rows()), "units and examples");
    for group in examples.iter(0..examples.groups()) {
        for i in 0..group.len {
            for (unit, value) in out.row_mut(group.start + i).iter_mut().enumerate() {
                *value = map(h.row(unit, group)[i]);
            }
        }
    }
}

/// Copies the units `rows` of some groups of examples to the example-major form.
///
/// # Safety
/// `from` is valid for reading in these rows and groups; `to`, with the columns `units`, for writing those columns in
/// the groups' examples, and nothing else accesses them.
pub(super) unsafe fn to_examples<T: Element>(
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
            for i in 0..group.len {
                for unit in columns_here.clone() {
                    // SAFETY: the caller vouches for these elements.
                    unsafe {
                        *to.at(group.start + i, columns).add(unit - columns.start) = *from.at(unit, group).add(i)
                    };
                }
            }
        }
    }
}
