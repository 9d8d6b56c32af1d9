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

    /// Tasks of a phase for each thread: the threads that have no task left wait for the last, on average half a task.
    /// One thread never waits and takes everything that shares a run of groups at once.
    const TASKS: usize = 32;

    /// Rows of a weight gradient in a task: enough to hide the cost of taking it.
    const GRADIENT_ROWS: usize = 64;

    fn new(rows: usize, (unit, piece): (usize, usize), groups: usize, run: usize, threads: usize) -> Self {
        let run = run.clamp(1, groups);
        let wanted = if threads == 1 { 1 } else { (Self::TASKS * threads).div_ceil(groups.div_ceil(run)) };
        let most = rows.div_ceil(unit).div_ceil((piece / unit).max(1));
        Self { rows, unit, pieces: wanted.min(most), groups, run }
    }

    /// The tasks of a product with `rows` rows and sums of length `k`.
    pub fn of_product<T>(kernels: &Kernels<T>, threads: usize, rows: usize, examples: Split, k: usize) -> Self {
        let group_bytes = k * kernels.example_vectors * kernels.lanes * size_of::<T>();
        Self::new(rows, (Self::UNIT, kernels.rows), examples.groups(), Self::STREAM / group_bytes, threads)
    }

    /// The tasks of a weight gradient with `rows` rows: one group of inputs each, whose examples stay in the
    /// first-level cache.
    pub fn of_gradient(threads: usize, rows: usize, inputs: Split) -> Self {
        Self::new(rows, (2 * Self::UNIT, Self::GRADIENT_ROWS), inputs.groups(), 1, threads)
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
                for (unit, piece, run, threads) in [(4, 4, 1, 1), (4, 4, 1, 2), (4, 12, 3, 2), (8, 128, 2, 4)] {
                    let grid = Grid::new(rows, (unit, piece), groups, run, threads);
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
