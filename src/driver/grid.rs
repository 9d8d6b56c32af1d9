//! How a phase is cut into tasks.

use crate::kernels::Kernels;
use crate::layout::Split;
use std::ops::Range;

/// Rows cut into even pieces, and groups cut into runs: a task is one piece of rows by one run of groups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    rows: usize,
    /// Rows come in units, so that pieces of different size are still made of whole tiles.
    unit: usize,
    pieces: usize,
    groups: usize,
    run: usize,
}

impl Grid {
    /// Bytes of activations that a task streams through for each tile of rows: with the weights of a tile they should
    /// stay in a second-level cache of 1 MiB or less.
    const STREAM: usize = 256 << 10;

    /// Units of rows that even out the last tiles: every tile height but the smallest is a multiple of it or of half.
    const UNIT: usize = 4;

    /// Rows of a weight gradient in a task: enough to hide the cost of taking it, few enough to share evenly.
    const GRADIENT_ROWS: usize = 128;

    fn new(rows: usize, unit: usize, piece: usize, groups: usize, run: usize) -> Self {
        let pieces = rows.div_ceil(unit).div_ceil((piece / unit).max(1));
        Self { rows, unit, pieces, groups, run: run.clamp(1, groups) }
    }

    /// The tasks of a product with `rows` rows and sums of length `k`.
    pub fn of_product<T>(kernels: &Kernels<T>, rows: usize, examples: Split, k: usize) -> Self {
        let group_bytes = k * kernels.example_vectors * kernels.lanes * size_of::<T>();
        Self::new(rows, Self::UNIT, kernels.rows, examples.groups(), Self::STREAM / group_bytes)
    }

    /// The tasks of a weight gradient with `rows` rows: one group of inputs each, whose examples stay in the
    /// first-level cache.
    pub fn of_gradient(rows: usize, inputs: Split) -> Self {
        Self::new(rows, 2 * Self::UNIT, Self::GRADIENT_ROWS, inputs.groups(), 1)
    }

    /// How many tasks there are.
    pub fn tasks(&self) -> usize {
        self.pieces * self.groups.div_ceil(self.run)
    }

    /// The rows and groups of a task. Neighbouring tasks have the same groups.
    pub fn task(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let units = self.rows.div_ceil(self.unit);
        let piece = task % self.pieces;
        let start = |piece: usize| (piece * units / self.pieces * self.unit).min(self.rows);
        let group = task / self.pieces * self.run;
        (start(piece)..start(piece + 1), group..(group + self.run).min(self.groups))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_cover_the_grid_once() {
        for rows in [1, 2, 3, 4, 5, 11, 12, 13, 50, 127, 128, 129, 500] {
            for groups in [1, 2, 3, 7, 32] {
                for (unit, piece, run) in [(4, 4, 1), (4, 12, 3), (8, 128, 2)] {
                    let grid = Grid::new(rows, unit, piece, groups, run);
                    let mut seen = vec![0; rows * groups];
                    for task in 0..grid.tasks() {
                        let (r, g) = grid.task(task);
                        assert!(!r.is_empty() && !g.is_empty());
                        r.for_each(|r| g.clone().for_each(|g| seen[r * groups + g] += 1));
                    }
                    assert!(seen.iter().all(|&n| n == 1), "{grid:?}");
                }
            }
        }
    }
}
