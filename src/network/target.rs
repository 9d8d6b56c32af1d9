//! What the outputs of a network are to be, and so the loss.

use super::loss::{self, Evaluation};
use crate::buffer::{Activations, Units};
use crate::element::Element;
use crate::error::{Error, check_labels, length, same, values};
use crate::layout::Split;
use crate::matrix::{MatMut, MatRef, Steps};
use std::ops::Range;

/// What the outputs `o [B, K]` of a network are to be, and so the loss `L = Σ w ℓ / Σ w`, a mean over examples or over
/// elements, in which each has the weight 1 unless the target says otherwise:
///
/// ```text
/// labels, probabilities   ℓ_b  = −Σ_k t ln p,  p = softmax(o)       do = w (T p − t) / Σw,  T = Σ_k t
/// values                  ℓ_bk = (o − y)²                           do = 2 w (o − y) / Σw
/// binary                  ℓ_bk = max(o, 0) − o y + ln(1 + e^−|o|)   do = w (σ(o) − y) / Σw
/// ```
///
/// These are the losses `cross_entropy`, `mse_loss` and `binary_cross_entropy_with_logits` of PyTorch. Where all weights
/// are zero, so are the loss and its gradient. A slice or a `Vec` of labels is a target by itself.
///
/// ```
/// use interneuron::{MatRef, Target};
///
/// let outputs = MatRef::new(&[2.0_f32, 0.0, 1.0, 1.0], 2, 2)?;
/// let labels = Target::labels(&[0, 1]).smoothed(0.1);
/// let result = labels.loss(outputs, None)?;
/// assert!((result.loss - 0.460).abs() < 1e-3 && result.errors == 1);
/// # Ok::<(), interneuron::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Target<'a, T> {
    pub(super) aim: Aim<'a, T>,
    pub(super) weights: Weights<'a, T>,
    pub(super) smoothing: f64,
}

/// What the outputs are to be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Aim<'a, T> {
    Labels(&'a [u32]),
    Probabilities(MatRef<'a, T>),
    Values(MatRef<'a, T>),
    Binary(MatRef<'a, T>),
}

/// What the losses of examples or elements count.
#[derive(Clone, Copy, Debug)]
pub(super) enum Weights<'a, T> {
    Equal,
    Examples(&'a [T]),
    Elements(MatRef<'a, T>),
}

impl<'a, T> Target<'a, T> {
    /// Softmax cross-entropy with `labels [B]`, the class of each example.
    pub const fn labels(labels: &'a [u32]) -> Self {
        Self::new(Aim::Labels(labels))
    }

    /// Softmax cross-entropy with soft targets: the probability of each class `y [B, K]`, ≥ 0. The rows may sum to any
    /// number.
    pub const fn probabilities(y: MatRef<'a, T>) -> Self {
        Self::new(Aim::Probabilities(y))
    }

    /// Squared error: outputs are to be `y [B, K]`.
    pub const fn values(y: MatRef<'a, T>) -> Self {
        Self::new(Aim::Values(y))
    }

    /// Binary cross-entropy with logits: the sigmoid of each output is to be `y [B, K]`, from 0 to 1.
    pub const fn binary(y: MatRef<'a, T>) -> Self {
        Self::new(Aim::Binary(y))
    }

    const fn new(aim: Aim<'a, T>) -> Self {
        Self { aim, weights: Weights::Equal, smoothing: 0.0 }
    }

    /// The same with weights of the examples, `w [B]`, finite and ≥ 0. One of an example counts for each of its elements.
    #[must_use]
    pub const fn weighted(self, w: &'a [T]) -> Self {
        Self { weights: Weights::Examples(w), ..self }
    }

    /// The same with weights of the elements, `w [B, K]`, finite and ≥ 0, for [`Target::values`] and
    /// [`Target::binary`]: a mask, for instance, of zeros and ones.
    #[must_use]
    pub const fn masked(self, w: MatRef<'a, T>) -> Self {
        Self { weights: Weights::Elements(w), ..self }
    }

    /// The same with label smoothing, for [`Target::labels`] and [`Target::probabilities`]: `t = (1 − q) y + q / K`, q
    /// from 0 to 1.
    #[must_use]
    pub const fn smoothed(self, q: f64) -> Self {
        Self { smoothing: q, ..self }
    }

    /// Whether the loss is a cross-entropy with the softmax of the outputs.
    pub(crate) fn is_softmax(&self) -> bool {
        matches!(self.aim, Aim::Labels(_) | Aim::Probabilities(_))
    }

    /// Those of `len` examples from `start`.
    pub(crate) fn slice(self, start: usize, len: usize) -> Self {
        let rows = |matrix: MatRef<'a, T>| matrix.slice(start, len).expect("a part of the batch");
        let aim = match self.aim {
            Aim::Labels(labels) => Aim::Labels(&labels[start..][..len]),
            Aim::Probabilities(y) => Aim::Probabilities(rows(y)),
            Aim::Values(y) => Aim::Values(rows(y)),
            Aim::Binary(y) => Aim::Binary(rows(y)),
        };
        let weights = match self.weights {
            Weights::Equal => Weights::Equal,
            Weights::Examples(w) => Weights::Examples(&w[start..][..len]),
            Weights::Elements(w) => Weights::Elements(rows(w)),
        };
        Self { aim, weights, ..self }
    }
}

impl<T: Element> Target<'_, T> {
    /// The loss of `outputs [B, K]`, and its gradient by them, which overwrites `doutputs [B, K]` if that is wanted.
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Length`] or [`Error::Label`] if the target or `doutputs` does not fit the outputs,
    /// [`Error::Value`] if a target or a weight is not what it may be, [`Error::Policy`] if the smoothing is not from 0
    /// to 1, [`Error::Unsupported`] if it is smoothing of values, or a mask of a softmax.
    pub fn loss(&self, outputs: MatRef<'_, T>, doutputs: Option<MatMut<'_, T>>) -> Result<Evaluation, Error> {
        self.check(outputs.rows(), outputs.cols())?;
        if let Some(doutputs) = &doutputs {
            same("doutputs", "rows", doutputs.rows(), "outputs", "rows", outputs.rows())?;
            same("doutputs", "columns", doutputs.cols(), "outputs", "columns", outputs.cols())?;
        }
        let mean = Mean::of(*self, outputs.rows(), outputs.cols());
        Ok(mean.finish(loss::of_rows(&mean, outputs, doutputs)))
    }

    /// Checks that there is a target for each of the examples, for a network of so many outputs.
    pub(crate) fn check(&self, examples: usize, outputs: usize) -> Result<(), Error> {
        let fits = |name, matrix: MatRef<'_, T>| {
            same(name, "rows", matrix.rows(), "x", "rows", examples)?;
            same(name, "columns", matrix.cols(), "the network", "outputs", outputs)
        };
        match self.aim {
            Aim::Labels(labels) => check_labels(labels, examples, outputs)?,
            Aim::Probabilities(y) => fits("probabilities", y).and_then(|()| y.check_not_negative("probabilities"))?,
            Aim::Values(y) => fits("values", y).and_then(|()| y.check_finite("values"))?,
            Aim::Binary(y) => {
                fits("binary", y)?;
                let elements = (0..examples).flat_map(|row| y.row(row)).map(|y| y.to_f64());
                if let Some((index, value)) = elements.enumerate().find(|(_, y)| !(0.0..=1.0).contains(y)) {
                    return Err(Error::Value { name: "binary", index, value, expected: "a number from 0 to 1" });
                }
            }
        }
        match self.weights {
            Weights::Equal => {}
            Weights::Examples(w) => {
                length("weights", w.len(), examples)?;
                values("weights", w.iter().map(|w| w.to_f64()), false)?;
            }
            Weights::Elements(_) if self.is_softmax() => {
                let expected = "weights of examples, or a target of values";
                return Err(Error::Unsupported { what: "a mask of softmax outputs", expected });
            }
            Weights::Elements(w) => fits("mask", w).and_then(|()| w.check_not_negative("mask"))?,
        }
        if !(0.0..=1.0).contains(&self.smoothing) {
            return Err(Error::Policy { name: "smoothing", value: self.smoothing, expected: "from 0 to 1" });
        }
        if self.smoothing > 0.0 && !self.is_softmax() {
            return Err(Error::Unsupported { what: "label smoothing of values", expected: "labels or probabilities" });
        }
        Ok(())
    }
}

impl<'a, T> From<&'a [u32]> for Target<'a, T> {
    fn from(labels: &'a [u32]) -> Self {
        Self::labels(labels)
    }
}

impl<'a, T, const B: usize> From<&'a [u32; B]> for Target<'a, T> {
    fn from(labels: &'a [u32; B]) -> Self {
        Self::labels(labels)
    }
}

impl<'a, T> From<&'a Vec<u32>> for Target<'a, T> {
    fn from(labels: &'a Vec<u32>) -> Self {
        Self::labels(labels)
    }
}

/// The mean of a batch's losses: a target, and the sum of all weights of the batch that it is a part of.
#[derive(Clone, Copy)]
pub(crate) struct Mean<'a, T> {
    pub target: Target<'a, T>,
    /// `Σw`
    pub total: f64,
}

impl<'a, T: Element> Mean<'a, T> {
    /// Of a whole batch, whose target was checked.
    pub fn of(target: Target<'a, T>, examples: usize, outputs: usize) -> Self {
        let each = if target.is_softmax() { 1.0 } else { outputs as f64 };
        let total = match target.weights {
            Weights::Equal => examples as f64 * each,
            Weights::Examples(w) => w.iter().map(|w| w.to_f64()).sum::<f64>() * each,
            Weights::Elements(w) => (0..examples).flat_map(|row| w.row(row)).map(|w| w.to_f64()).sum(),
        };
        Self { target, total }
    }

    /// That of `len` examples from `start`.
    pub fn slice(self, start: usize, len: usize) -> Self {
        Self { target: self.target.slice(start, len), ..self }
    }

    /// The sum of the weighted losses of some examples, whose targets are in the rows that `rows` says, and their errors,
    /// from their `outputs [K, ·]`; with `gradient`, also the gradient of the whole batch's mean by them, zero in the
    /// padding. `row` is room for two rows of outputs.
    pub fn loss(
        &self,
        outputs: (Units<'_, T>, Split),
        rows: Steps<()>,
        gradient: Option<&mut Activations<T>>,
        row: &mut [T],
    ) -> Evaluation {
        loss::of_groups(self, outputs, rows, gradient, row)
    }

    /// The rows from the first to the last that have a weight.
    pub fn weighty(&self, rows: Range<usize>) -> Range<usize> {
        let Weights::Examples(w) = self.target.weights else { return rows };
        let is = |row: &usize| w[*row] != T::ZERO;
        match rows.clone().find(is) {
            Some(first) => first..rows.rev().find(is).map_or(first, |last| last + 1),
            None => rows.start..rows.start,
        }
    }

    /// The mean of the losses whose sum was made.
    pub fn finish(&self, sum: Evaluation) -> Evaluation {
        Evaluation { loss: if self.total > 0.0 { sum.loss / self.total } else { 0.0 }, ..sum }
    }
}
