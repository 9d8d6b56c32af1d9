//! Labelled sequences at hand, of which batches are made.

use crate::sequences::Loss;
use interneuron::Error;

/// The most classes: labels are less. It bounds the outputs of a network that is made for whatever a file says.
pub(crate) const MOST_CLASSES: u32 = 1 << 20;
/// The same in words.
pub(crate) const LABEL: &str = "a class, a whole number from 0 to 1048575";

/// What the outputs of a network are compared with, for all steps of all sequences: row `n · T + t` is sequence `n` at step
/// `t`.
#[derive(Clone, Debug, PartialEq)]
pub enum SequenceTargets {
    /// The class of each row, `[N, T]`.
    Labels(Vec<u32>),
    /// The values of each row, `[N, T, K]`.
    Values {
        /// `N · T · K` numbers.
        y: Vec<f32>,
        /// How many a row has, `K`.
        outputs: usize,
    },
}

/// Labelled sequences, example after example: `x [N, T, d]`, with targets and weights of the loss `m [N, T]`.
/// [`SequenceBatch::gather`](crate::SequenceBatch::gather) makes batches of some of them.
///
/// A sequence ends with its last step that has a weight: what comes behind is padding. It is cut from batches that need
/// not be so long, and whatever it held is zero here.
#[derive(Clone, Debug, PartialEq)]
pub struct SequenceSet {
    x: Vec<f32>,
    targets: SequenceTargets,
    weights: Vec<f32>,
    lengths: Vec<usize>,
    steps: usize,
    inputs: usize,
    outputs: usize,
}

impl SequenceSet {
    /// Sequences `x` of `dims` `[N, T, d]`, with weights `m [N, T]`.
    ///
    /// ```
    /// use interneuron_datasets::{SequenceBatch, SequenceSet, SequenceTargets};
    ///
    /// // Two sequences of one input. The second has one step; the other is padding.
    /// let labels = SequenceTargets::Labels(vec![0, 1, 2, 0]);
    /// let set = SequenceSet::new(vec![0.1, 0.2, 0.3, 0.0], [2, 2, 1], labels, vec![1.0, 1.0, 1.0, 0.0])?;
    /// assert_eq!((set.lengths(), set.outputs()), (&[2, 1][..], 3));
    /// let mut batch = SequenceBatch::new();
    /// batch.gather(&set, &[1, 0])?;
    /// assert_eq!((batch.steps(), batch.labels()), (2, &[2, 0, 0, 1][..]));
    /// # Ok::<(), interneuron::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Dimension`] if one is 0, [`Error::Length`] if arrays do not have the length that the dimensions say,
    /// [`Error::Value`] if a weight is negative or not finite, a sequence has no weight above 0, or `x` before the end of
    /// a sequence, or a target with a weight, is not finite; [`Error::Label`] if a label with a weight is not below
    /// 1,048,576.
    pub fn new(
        mut x: Vec<f32>,
        dims: [usize; 3],
        mut targets: SequenceTargets,
        weights: Vec<f32>,
    ) -> Result<Self, Error> {
        for (name, value) in ["sequences", "steps", "inputs"].into_iter().zip(dims) {
            if value == 0 {
                return Err(Error::Dimension { name, value, expected: "at least 1" });
            }
        }
        let [count, steps, inputs] = dims;
        let rows = count.saturating_mul(steps);
        let length = |name, len, expected| match len == expected {
            true => Ok(()),
            false => Err(Error::Length { name, len, expected }),
        };
        length("x", x.len(), rows.saturating_mul(inputs))?;
        length("weights", weights.len(), rows)?;
        let value = |name, index, value: f32, expected| Error::Value { name, index, value: value.into(), expected };
        if let Some(index) = weights.iter().position(|&w| !(w.is_finite() && w >= 0.0)) {
            return Err(value("weights", index, weights[index], "a finite number ≥ 0"));
        }
        let lengths = lengths(&weights, steps)
            .map_err(|n| value("weights", n * steps, 0.0, "a weight above 0 in at least one step of a sequence"))?;
        for (row, x) in x.chunks_exact_mut(inputs).enumerate() {
            if row % steps >= lengths[row / steps] {
                x.fill(0.0);
            } else if let Some(i) = x.iter().position(|x| !x.is_finite()) {
                return Err(value("x", row * inputs + i, x[i], "a finite number"));
            }
        }
        match &mut targets {
            SequenceTargets::Labels(labels) => {
                length("labels", labels.len(), rows)?;
                for (index, (label, &weight)) in labels.iter_mut().zip(&weights).enumerate() {
                    if weight == 0.0 {
                        *label = 0;
                    } else if *label >= MOST_CLASSES {
                        return Err(Error::Label { index, label: *label, classes: MOST_CLASSES as usize });
                    }
                }
            }
            SequenceTargets::Values { y, outputs } => {
                if *outputs == 0 {
                    return Err(Error::Dimension { name: "outputs", value: 0, expected: "at least 1" });
                }
                length("y", y.len(), rows.saturating_mul(*outputs))?;
                for (row, (y, &weight)) in y.chunks_exact_mut(*outputs).zip(&weights).enumerate() {
                    if weight == 0.0 {
                        y.fill(0.0);
                    } else if let Some(i) = y.iter().position(|y| !y.is_finite()) {
                        return Err(value("y", row * *outputs + i, y[i], "a finite number"));
                    }
                }
            }
        }
        Ok(Self::of(x, dims, targets, weights, lengths))
    }

    /// The same of parts that were checked, and are zero where they have no weight.
    pub(crate) fn of(
        x: Vec<f32>,
        [_, steps, inputs]: [usize; 3],
        targets: SequenceTargets,
        weights: Vec<f32>,
        lengths: Vec<usize>,
    ) -> Self {
        let outputs = match &targets {
            SequenceTargets::Labels(labels) => labels.iter().max().map_or(0, |&label| label as usize + 1),
            SequenceTargets::Values { outputs, .. } => *outputs,
        };
        Self { x, targets, weights, lengths, steps, inputs, outputs }
    }

    /// How many sequences `N`.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there is none: never.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Steps `T`, padding included.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Inputs `d`.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The output units that a network needs: `K` of values, or one more than the largest label.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// What outputs are compared with.
    pub fn loss(&self) -> Loss {
        match self.targets {
            SequenceTargets::Labels(_) => Loss::Labels,
            SequenceTargets::Values { .. } => Loss::Values,
        }
    }

    /// The inputs `x [N, T, d]`.
    pub fn x(&self) -> &[f32] {
        &self.x
    }

    /// The targets, zeros where there is no weight.
    pub fn targets(&self) -> &SequenceTargets {
        &self.targets
    }

    /// Weights of the loss `m [N, T]`.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The steps of each sequence, up to its last with a weight.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The least and the largest input. Inhibition that divides needs inputs ≥ 0.
    pub fn range(&self) -> (f32, f32) {
        let ends = (f32::INFINITY, f32::NEG_INFINITY);
        self.x.iter().fold(ends, |(least, largest), &x| (least.min(x), largest.max(x)))
    }
}

/// The steps of each sequence up to its last with a weight, or else the first sequence without.
pub(crate) fn lengths(weights: &[f32], steps: usize) -> Result<Vec<usize>, usize> {
    let sequences = weights.chunks_exact(steps).enumerate();
    sequences.map(|(n, m)| m.iter().rposition(|&m| m > 0.0).map(|t| t + 1).ok_or(n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SequenceBatch;
    use interneuron::MatRef;

    /// Three sequences of at most 3 steps and 2 inputs, of 3, 1 and 2 steps.
    fn x() -> Vec<f32> {
        (0..18).map(|i| i as f32).collect()
    }

    const WEIGHTS: [f32; 9] = [0.0, 0.0, 1.0, 0.5, 0.0, 0.0, 1.0, 2.0, 0.0];

    #[test]
    fn batches_are_cut_to_the_longest_sequence() {
        let mut given = x();
        // Padding may be anything.
        (given[8], given[16]) = (f32::NAN, f32::INFINITY);
        let labels = SequenceTargets::Labels(vec![9, u32::MAX, 1, 2, 9, 9, 0, 3, 9]);
        let set = SequenceSet::new(given, [3, 3, 2], labels, WEIGHTS.to_vec()).unwrap();
        assert_eq!((set.lengths(), set.outputs(), set.loss()), (&[3, 1, 2][..], 4, Loss::Labels));
        assert_eq!(set.range(), (0.0, 15.0));
        let mut batch = SequenceBatch::new();
        batch.gather(&set, &[2, 1, 2]).unwrap();
        assert_eq!((batch.steps(), batch.examples(), batch.inputs()), (2, 3, 2));
        assert_eq!(batch.lengths(), [2, 1, 2]);
        let rows: Vec<&[f32]> =
            (0..2).flat_map(|t| (0..3).map(move |i| (t, i))).map(|(t, i)| batch.input(t, i)).collect();
        assert_eq!(rows, [[12.0, 13.0], [6.0, 7.0], [12.0, 13.0], [14.0, 15.0], [0.0, 0.0], [14.0, 15.0]]);
        assert_eq!((batch.labels(), batch.weights()), (&[0, 2, 0, 3, 0, 3][..], &[1.0, 0.5, 1.0, 2.0, 0.0, 2.0][..]));
        batch.gather(&set, &[0]).unwrap();
        assert_eq!((batch.steps(), batch.labels(), batch.weights()), (3, &[0, 0, 1][..], &[0.0, 0.0, 1.0][..]));
        assert!(batch.gather(&set, &[]).is_err() && batch.x().is_err());
    }

    #[test]
    fn values_have_a_loss_that_the_weights_weigh() {
        let values = SequenceTargets::Values { y: (0..9).map(|i| i as f32).collect(), outputs: 1 };
        let set = SequenceSet::new(x(), [3, 3, 2], values, WEIGHTS.to_vec()).unwrap();
        let mut batch = SequenceBatch::new();
        batch.gather(&set, &[0, 1, 2]).unwrap();
        let zeros = [0.0; 9];
        let loss = batch.target().unwrap().loss(MatRef::new(&zeros, 9, 1).unwrap(), None).unwrap().loss;
        // Weighted squares of what has a weight: y is 2, 3, 6 and 7 there.
        assert!((loss - (4.0 + 0.5 * 9.0 + 36.0 + 2.0 * 49.0) / 4.5).abs() < 1e-6, "{loss}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let labels = |labels: &[u32]| SequenceTargets::Labels(labels.to_vec());
        let values = |y: &[f32]| SequenceTargets::Values { y: y.to_vec(), outputs: 1 };
        let new = |x: &[f32], dims, targets, m: &[f32]| SequenceSet::new(x.to_vec(), dims, targets, m.to_vec());
        let error = |result: Result<SequenceSet, Error>| result.unwrap_err().to_string();
        let (one, m) = ([1, 2, 1], [1.0, 1.0]);
        assert_eq!(error(new(&[], [0, 2, 1], labels(&[]), &[])), "sequences is 0: expected at least 1");
        assert!(error(new(&[1.0; 3], one, labels(&[0; 2]), &m)).starts_with("x has 3 elements: expected 2"));
        assert!(error(new(&[1.0; 2], one, labels(&[0; 2]), &[1.0])).starts_with("weights has 1 element"));
        assert!(error(new(&[1.0; 2], one, labels(&[0]), &m)).starts_with("labels has 1 element"));
        assert!(error(new(&[1.0; 2], one, values(&[0.0; 3]), &m)).starts_with("y has 3 elements"));
        assert!(error(new(&[1.0; 2], one, labels(&[0; 2]), &[1.0, -1.0])).starts_with("weights[1] is -1"));
        assert!(error(new(&[1.0; 2], one, labels(&[0; 2]), &[f32::NAN, 1.0])).starts_with("weights[0] is NaN"));
        assert!(error(new(&[1.0; 2], one, labels(&[0; 2]), &[0.0; 2])).starts_with("weights[0] is 0"));
        assert!(error(new(&[1.0, f32::NAN], one, labels(&[0; 2]), &m)).starts_with("x[1] is NaN"));
        assert!(error(new(&[1.0; 2], one, values(&[0.0, f32::INFINITY]), &m)).starts_with("y[1] is inf"));
        assert!(error(new(&[1.0; 2], one, labels(&[0, 1 << 20]), &m)).starts_with("label 1 is 1048576"));
        let huge = [usize::MAX, 2, usize::MAX];
        assert!(error(new(&[1.0; 2], huge, labels(&[0; 2]), &m)).starts_with("x has 2 elements"));
        let none = SequenceTargets::Values { y: vec![], outputs: 0 };
        assert_eq!(error(new(&[1.0; 2], one, none, &m)), "outputs is 0: expected at least 1");
    }
}
