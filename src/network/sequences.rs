//! Inputs in time.

use crate::element::Element;
use crate::error::{Error, dimension, same};
use crate::layers::buffers::Batch;
use crate::matrix::{MatRef, Steps};
use std::ops::Range;

/// Sequences of inputs, time-major: `x [T·B, d]`, whose row `t · B + i` is example `i` at step `t`. Examples without
/// steps, a matrix by itself, are sequences of one step.
///
/// Sequences of unequal length are padded to the longest one, with any finite numbers (≥ 0 where inhibition divides), and
/// the padding has weight 0 in the loss: see [`Target::weighted`](crate::Target::weighted).
///
/// ```
/// use interneuron::*;
///
/// let layers = vec![RecurrentShape::dann(3, 20, 2, 2).into(), DannShape::new(20, 2, 1).subtractive().linear().into()];
/// let mut net: Network<f32> = Architecture::of(layers)?.seed(1).build(&Context::new()?)?;
/// let x: Vec<f32> = (0..5 * 4 * 3).map(|i| (i % 7) as f32 / 7.0).collect();
/// let x = Sequences::new(MatRef::new(&x, 5 * 4, 3)?, 5)?; // five steps of four examples
/// // The loss is that of the last step.
/// let (labels, weights) = ([1; 20], [[0.0; 4], [0.0; 4], [0.0; 4], [0.0; 4], [1.0; 4]]);
/// let target = Target::labels(&labels).weighted(weights.as_flattened());
/// let loss = net.train_step(x, target, &Update::csgd(0.01))?;
/// assert!(loss > 0.0);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Sequences<'a, T> {
    pub(super) x: MatRef<'a, T>,
    pub(super) steps: usize,
    noise: &'a [Option<MatRef<'a, T>>],
    start: Start<'a, T>,
}

/// The states in which sequences begin.
#[derive(Clone, Copy, Debug)]
enum Start<'a, T> {
    /// Those of the parameter `h0`.
    Own,
    /// Those in which the last call ended.
    Carried,
    /// For each layer, if given.
    Given(&'a [Option<MatRef<'a, T>>]),
}

/// The states in which the sequences of one layer begin.
#[derive(Clone, Copy)]
pub(crate) enum LayerStart<'a, T> {
    Own,
    /// Those in which the last call ended, from this example on.
    Carried(usize),
    Given(Steps<MatRef<'a, T>>),
}

impl<'a, T: Element> Sequences<'a, T> {
    /// `x [T·B, d]` of so many steps `T`.
    ///
    /// # Errors
    /// [`Error::Dimension`] if there is no step, or the rows are not a whole number of examples for each.
    pub fn new(x: MatRef<'a, T>, steps: usize) -> Result<Self, Error> {
        dimension("steps", steps)?;
        if !x.rows().is_multiple_of(steps) {
            let expected = "a number of steps that divides the rows of x";
            return Err(Error::Dimension { name: "steps", value: steps, expected });
        }
        Ok(Self { steps, ..x.into() })
    }

    /// The same with noise `ξ [T·B, ne]` for each layer of a network that has some: it is added to what the units of a
    /// recurrent layer get.
    #[must_use]
    pub fn noise(self, noise: &'a [Option<MatRef<'a, T>>]) -> Self {
        Self { noise, ..self }
    }

    /// The same, beginning in states `h0 [B, ne]` of each layer of a network, one an example (`v0` in the `state` form), in
    /// the place of the parameter `h0`. A layer that is given none has its own.
    #[must_use]
    pub fn states(self, states: &'a [Option<MatRef<'a, T>>]) -> Self {
        Self { start: Start::Given(states), ..self }
    }

    /// The same, beginning in the states in which the last call with so many examples ended: truncated backpropagation, no
    /// gradient of which goes beyond the call. A call that fails may have gone on all the same: parameters are then as they
    /// were, but states are those at its end.
    #[must_use]
    pub fn carried(self) -> Self {
        Self { start: Start::Carried, ..self }
    }

    /// Steps `T`.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Examples `B`.
    pub fn examples(&self) -> usize {
        self.x.rows() / self.steps
    }

    /// Rows of `x`, `T · B`.
    pub fn rows(&self) -> usize {
        self.x.rows()
    }

    /// The same rows as examples without steps.
    pub(super) fn rows_alone(self) -> Self {
        self.x.into()
    }

    /// Checks noise and states against the units of each layer, 0 of one that has none.
    pub(super) fn check(&self, units: impl ExactSizeIterator<Item = usize>) -> Result<(), Error> {
        let layers = units.len();
        let states = match self.start {
            Start::Given(states) => states,
            Start::Own | Start::Carried => &[],
        };
        let fits = |name, all: &[Option<MatRef<'_, T>>], k: usize, units, rows| {
            let Some(Some(matrix)) = all.get(k) else { return Ok(()) };
            same(name, "rows", matrix.rows(), "x", if rows == self.rows() { "rows" } else { "examples" }, rows)?;
            same(name, "columns", matrix.cols(), "the layer", "recurrent units", units)?;
            matrix.check_finite(name)
        };
        for (name, all) in [("noise", self.noise), ("states", states)] {
            if !all.is_empty() {
                same(name, "layers", all.len(), "the network", "layers", layers)?;
            }
        }
        for (k, units) in units.enumerate() {
            fits("noise", self.noise, k, units, self.rows()).map_err(|error| error.in_layer(k))?;
            fits("states", states, k, units, self.examples()).map_err(|error| error.in_layer(k))?;
        }
        Ok(())
    }

    /// Checks that each layer has states to carry over, if that is wanted.
    pub(super) fn check_carried<'l>(
        &self,
        mut last: impl ExactSizeIterator<Item = Option<MatRef<'l, T>>>,
    ) -> Result<(), Error>
    where
        T: 'l,
    {
        if !matches!(self.start, Start::Carried) {
            return Ok(());
        }
        let mut any = false;
        last.try_for_each(|states| {
            let Some(states) = states else { return Ok(()) };
            any = true;
            same("x", "examples", self.examples(), "the call before", "examples", states.rows())
        })?;
        if any { Ok(()) } else { same("x", "examples", self.examples(), "the call before", "examples", 0) }
    }

    /// The noise of layer `k`.
    pub(super) fn noise_of(&self, k: usize) -> Option<MatRef<'a, T>> {
        self.noise.get(k).copied().flatten()
    }

    /// How the sequences of layer `k` begin, those from example `first` on.
    pub(super) fn start_of(&self, k: usize, first: usize) -> LayerStart<'a, T> {
        match self.start {
            Start::Own => LayerStart::Own,
            Start::Carried => LayerStart::Carried(first),
            Start::Given(states) => match states.get(k).copied().flatten() {
                Some(rows) => LayerStart::Given(Steps { rows, rows_of_step: rows.rows(), first }),
                None => LayerStart::Own,
            },
        }
    }
}

impl<'a, T> From<MatRef<'a, T>> for Sequences<'a, T> {
    fn from(x: MatRef<'a, T>) -> Self {
        Self { x, steps: 1, noise: &[], start: Start::Own }
    }
}

/// How the steps of sequences are gone through: in chunks, of which one at a time is kept for the backward pass, and these
/// in windows that stay in the cache from layer to layer, as slabs of a batch do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course {
    examples: usize,
    steps: usize,
    /// Steps of a chunk; the last may have less.
    chunk: usize,
    /// Steps of a window; the last of a chunk may have less.
    window: usize,
}

impl Course {
    /// Of `steps` with so many examples each. No more than `limit` steps are kept, or as many as a window has.
    pub fn new(steps: usize, examples: usize, limit: Option<usize>) -> Self {
        /// Examples of a window, of all its steps.
        const TOGETHER: usize = 192;
        let windows = |steps: usize, most: usize| steps.div_ceil(steps.div_ceil(most));
        let window = windows(steps, (TOGETHER / examples).max(1));
        let chunk = match limit {
            Some(limit) if limit < steps => limit.next_multiple_of(window).min(steps),
            _ => steps,
        };
        Self { examples, steps, chunk, window }
    }

    /// What a pass makes room for; `dots` as [`Batch::dots`].
    pub fn batch(&self, dots: bool) -> Batch {
        let &Self { examples, steps, chunk, window } = self;
        Batch { examples, steps: chunk, window, dots, whole: steps }
    }

    /// The rows of a chunk in matrices with so many rows a step, those from `first` on.
    pub fn rows(&self, chunk: usize, rows_of_step: usize, first: usize) -> Steps<()> {
        Steps { rows: (), rows_of_step, first: self.start(chunk) * rows_of_step + first }
    }

    /// How many chunks there are.
    pub fn chunks(&self) -> usize {
        self.steps.div_ceil(self.chunk)
    }

    /// The first step of a chunk.
    pub fn start(&self, chunk: usize) -> usize {
        chunk * self.chunk
    }

    /// The windows of a chunk, in steps from its first.
    pub fn windows(self, chunk: usize) -> impl DoubleEndedIterator<Item = Range<usize>> {
        let steps = self.chunk.min(self.steps - self.start(chunk));
        (0..steps.div_ceil(self.window)).map(move |i| i * self.window..steps.min((i + 1) * self.window))
    }

    /// How many windows there are in all chunks.
    pub fn all_windows(self) -> usize {
        (0..self.chunks()).map(|chunk| self.windows(chunk).count()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_the_steps_once() {
        for steps in [1, 2, 5, 28, 60, 300] {
            for examples in [1, 4, 32, 64, 200, 1000] {
                for limit in [None, Some(1), Some(7), Some(1000)] {
                    let course = Course::new(steps, examples, limit);
                    let mut next = 0;
                    for chunk in 0..course.chunks() {
                        assert_eq!(course.start(chunk), next);
                        for window in course.windows(chunk) {
                            assert!(!window.is_empty() && window.len() <= course.window && window.end <= course.chunk);
                            assert_eq!(course.start(chunk) + window.start, next);
                            next += window.len();
                        }
                    }
                    assert_eq!(next, steps);
                    let kept = limit.map_or(steps, |limit| limit.next_multiple_of(course.window).min(steps));
                    assert_eq!(course.chunk, kept, "{steps} {examples} {limit:?}");
                }
            }
        }
    }
}
