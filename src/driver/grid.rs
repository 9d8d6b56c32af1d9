//! How a phase is cut into tasks.

use crate::cache;
use crate::kernels::Kernels;
use crate::layout::Split;
use std::ops::Range;

/// Rows cut into pieces, and groups cut into runs: a task is one piece of rows by one run of groups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    rows: usize,
    piece: usize,
    pieces: usize,
    groups: usize,
    run: usize,
}

impl Grid {
    /// Rows of a weight gradient in a task: a multiple of the usual tiles' heights.
    const GRADIENT_ROWS: usize = 60;

    /// How many pieces of `piece` rows there are, the last of which has up to `most`.
    fn pieces(rows: usize, (piece, most): (usize, usize)) -> usize {
        (rows / piece + usize::from(rows % piece > most - piece)).max(1)
    }

    fn new(rows: usize, (piece, most): (usize, usize), groups: usize, run: usize) -> Self {
        Self { rows, piece, pieces: Self::pieces(rows, (piece, most)), groups, run: run.clamp(1, groups) }
    }

    /// The tasks of a product with `rows` rows and sums of length `k`.
    pub fn of_product<T>(kernels: &Kernels<T>, rows: usize, examples: Split, k: usize) -> Self {
        let group_bytes = k * kernels.example_vectors * kernels.lanes * size_of::<T>();
        Self::new(rows, (kernels.rows, kernels.last_rows), examples.groups(), cache::activations() / group_bytes)
    }

    /// The tasks of a weight gradient with `rows` rows: one group of inputs each, whose examples stay in the
    /// first-level cache.
    pub fn of_gradient(rows: usize, inputs: Split) -> Self {
        Self::new(rows, (Self::GRADIENT_ROWS, Self::GRADIENT_ROWS), inputs.groups(), 1)
    }

    /// How many tasks there are.
    pub fn tasks(&self) -> usize {
        self.pieces * self.groups.div_ceil(self.run)
    }

    /// The rows and groups of some tasks. Neighbouring tasks have the same groups and are one here.
    pub fn parts(self, tasks: Range<usize>) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let start = move |piece: usize| if piece == self.pieces { self.rows } else { piece * self.piece };
        let mut next = tasks.start;
        std::iter::from_fn(move || {
            let (run, piece) = (next / self.pieces, next % self.pieces);
            let end = self.pieces.min(piece + tasks.end.saturating_sub(next));
            next += end - piece;
            let groups = run * self.run..((run + 1) * self.run).min(self.groups);
            (piece < end).then(|| (start(piece)..start(end), groups))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_cover_the_grid_once() {
        for rows in [1, 2, 3, 4, 5, 11, 12, 13, 50, 127, 128, 129, 500] {
            for groups in [1, 2, 3, 7, 32] {
                for (piece, most, run, share) in [(4, 4, 1, 1), (12, 14, 1, 5), (12, 14, 3, 2), (60, 60, 2, 100)] {
                    let grid = Grid::new(rows, (piece, most), groups, run);
                    let mut seen = vec![0; rows * groups];
                    for start in (0..grid.tasks()).step_by(share) {
                        for (r, g) in grid.parts(start..grid.tasks().min(start + share)) {
                            assert!(!r.is_empty() && !g.is_empty());
                            r.for_each(|r| g.clone().for_each(|g| seen[r * groups + g] += 1));
                        }
                    }
                    assert!(seen.iter().all(|&n| n == 1), "{grid:?}");
                }
            }
        }
    }
}
