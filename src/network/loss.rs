//! Losses of outputs, example by example.

use super::target::{Aim, Mean, Weights};
use crate::buffer::{Activations, Units};
use crate::element::Element;
use crate::init::Generator;
use crate::layout::Split;
use crate::matrix::{MatMut, MatRef, Steps};
use rand::RngExt;

/// Loss and errors of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// The loss that the [`Target`](crate::Target) says: for labels, the mean cross-entropy in nats.
    pub loss: f64,
    /// Examples whose largest output is not that of their label, or of the class that is most probable; 0 where
    /// the target knows no classes.
    pub errors: usize,
    /// Examples that count: all whose weight is not zero.
    pub examples: usize,
}

impl Evaluation {
    /// Errors in percent of the examples.
    pub fn error_percent(&self) -> f64 {
        100.0 * self.errors as f64 / self.examples as f64
    }

    /// Adds the sums of some examples to those of others.
    pub(crate) fn add(&mut self, other: Self) {
        self.loss += other.loss;
        self.errors += other.errors;
        self.examples += other.examples;
    }
}

/// The sum of the weighted losses, from `outputs [B, K]`; the gradient of the mean overwrites `doutputs`.
pub(super) fn of_rows<T: Element>(
    mean: &Mean<'_, T>,
    outputs: MatRef<'_, T>,
    mut doutputs: Option<MatMut<'_, T>>,
) -> Evaluation {
    let mut sum = Evaluation::default();
    for example in 0..outputs.rows() {
        let gradient = doutputs.as_mut().map(|doutputs| doutputs.row_mut(example));
        sum.add(mean.of_example(example, outputs.row(example), gradient));
    }
    sum
}

/// The sum of the weighted losses of some examples, whose targets are in the rows that `rows` says, from `outputs [K, ·]`;
/// the gradient of the mean overwrites `gradient`. `room` is for two rows of outputs.
pub(super) fn of_groups<T: Element>(
    mean: &Mean<'_, T>,
    (outputs, examples): (Units<'_, T>, Split),
    rows: Steps<()>,
    mut gradient: Option<&mut Activations<T>>,
    room: &mut [T],
) -> Evaluation {
    let units = outputs.rows();
    let (row, drow) = room[..2 * units].split_at_mut(units);
    let mut sum = Evaluation::default();
    for group in examples.iter(0..examples.groups()) {
        let step = examples.block_of(group);
        let first = rows.row(step, group.first - step * examples.block_len());
        for i in 0..group.len {
            row.iter_mut().enumerate().for_each(|(unit, o)| *o = outputs.row(unit, group)[i]);
            sum.add(mean.of_example(first + i, row, gradient.is_some().then_some(&mut *drow)));
            if let Some(gradient) = &mut gradient {
                drow.iter().enumerate().for_each(|(unit, &d)| gradient.row_mut(unit, group)[i] = d);
            }
        }
        if let Some(gradient) = &mut gradient {
            (0..units).for_each(|unit| gradient.row_mut(unit, group)[group.len..].fill(T::ZERO));
        }
    }
    sum
}

impl<T: Element> Mean<'_, T> {
    /// The weighted loss of one example, and its part of the gradient.
    fn of_example(&self, example: usize, outputs: &[T], gradient: Option<&mut [T]>) -> Evaluation {
        let weight = match self.target.weights {
            Weights::Examples(w) => Some(w[example].to_f64()),
            Weights::Equal | Weights::Elements(_) => None,
        };
        if weight == Some(0.0) {
            // Whatever the outputs are: nothing is asked of them, not even that they are numbers.
            if let Some(gradient) = gradient {
                gradient.fill(T::ZERO);
            }
            return Evaluation::default();
        }
        let (loss, error) = match self.target.aim {
            Aim::Labels(labels) => {
                let label = labels[example] as usize;
                self.softmax(outputs, (|class| f64::from(class == label), label, 1.0), weight, gradient)
            }
            Aim::Probabilities(y) => {
                let y = y.row(example);
                let probability = |class: usize| y[class].to_f64();
                let total = y.iter().map(|y| y.to_f64()).sum::<f64>();
                self.softmax(outputs, (probability, largest(y), total), weight, gradient)
            }
            Aim::Values(y) => (self.elements(example, outputs, y, weight, gradient, square), false),
            Aim::Binary(y) => (self.elements(example, outputs, y, weight, gradient, logistic), false),
        };
        Evaluation { loss, errors: error.into(), examples: 1 }
    }

    /// `−w Σ t ln p` of one example, and whether its largest output is elsewhere than its largest target. The targets
    /// are given as a function of the class, with the class of the largest, and their sum.
    fn softmax(
        &self,
        outputs: &[T],
        (y, class, total): (impl Fn(usize) -> f64, usize, f64),
        weight: Option<f64>,
        mut gradient: Option<&mut [T]>,
    ) -> (f64, bool) {
        let (q, classes) = (self.target.smoothing, outputs.len());
        let target = |class| if q > 0.0 { (1.0 - q) * y(class) + q / classes as f64 } else { y(class) };
        let total = if q > 0.0 { (1.0 - q) * total + q } else { total };
        let best = largest(outputs);
        // The largest exponent is 0, so no exponential overflows. A NaN anywhere makes the sum NaN.
        let mut sum = T::ZERO;
        for (class, &output) in outputs.iter().enumerate() {
            let power = (output - outputs[best]).exp();
            sum = sum + power;
            if let Some(gradient) = &mut gradient {
                gradient[class] = power;
            }
        }
        let log = sum.to_f64().ln();
        // A class that is not asked for counts nothing, also where its output is infinitely small.
        let asked = (0..classes).map(|class| (target(class), outputs[class])).filter(|&(t, _)| t != 0.0);
        let loss: f64 = asked.map(|(t, output)| t * (log + (outputs[best] - output).to_f64())).sum();
        if let Some(gradient) = gradient {
            let scale = match weight {
                None => T::ONE / T::from_f64(self.total),
                Some(weight) => T::from_f64(weight / self.total),
            };
            let total = T::from_f64(total);
            for (class, d) in gradient.iter_mut().enumerate() {
                *d = (*d / sum * total - T::from_f64(target(class))) * scale;
            }
        }
        (weight.unwrap_or(1.0) * loss, best != class || !sum.is_finite())
    }

    /// The weighted sum of a loss of each element, which is given with its derivative.
    fn elements(
        &self,
        example: usize,
        outputs: &[T],
        y: MatRef<'_, T>,
        weight: Option<f64>,
        mut gradient: Option<&mut [T]>,
        of: impl Fn(f64, f64) -> (f64, f64),
    ) -> f64 {
        let mut sum = 0.0;
        for (unit, (o, y)) in outputs.iter().zip(y.row(example)).enumerate() {
            let weight = match self.target.weights {
                Weights::Elements(w) => w.row(example)[unit].to_f64(),
                Weights::Equal | Weights::Examples(_) => weight.unwrap_or(1.0),
            };
            // As for examples: of what does not count, nothing is asked.
            let (loss, derivative) = if weight == 0.0 { (0.0, 0.0) } else { of(o.to_f64(), y.to_f64()) };
            sum += weight * loss;
            if let Some(gradient) = &mut gradient {
                gradient[unit] = T::from_f64(if weight == 0.0 { 0.0 } else { weight / self.total * derivative });
            }
        }
        sum
    }
}

/// The first of the largest.
fn largest<T: Element>(of: &[T]) -> usize {
    (1..of.len()).fold(0, |best, i| if of[i] > of[best] { i } else { best })
}

/// `(o − y)²` and its derivative by o.
fn square(o: f64, y: f64) -> (f64, f64) {
    ((o - y).powi(2), 2.0 * (o - y))
}

/// The binary cross-entropy of a logit, and its derivative by o: neither overflows.
fn logistic(o: f64, y: f64) -> (f64, f64) {
    let power = (-o.abs()).exp();
    let sigmoid = if o >= 0.0 { 1.0 } else { power } / (1.0 + power);
    (o.max(0.0) - o * y + power.ln_1p(), sigmoid - y)
}

/// Draws a label for each example from the softmax of its `logits [classes, n]`; they overwrite `labels`.
pub(crate) fn draw_labels<T: Element>(
    (logits, examples): (Units<'_, T>, Split),
    rng: &mut Generator,
    labels: &mut Vec<u32>,
) {
    let classes = logits.rows();
    labels.clear();
    for group in examples.iter(0..examples.groups()) {
        for i in 0..group.len {
            let logit = |class: usize| logits.row(class, group)[i].to_f64();
            let largest = (0..classes).map(logit).fold(f64::NEG_INFINITY, f64::max);
            let power = |class| (logit(class) - largest).exp();
            let mut left = rng.random::<f64>() * (0..classes).map(power).sum::<f64>();
            let drawn = (0..classes - 1).find(|&class| {
                left -= power(class);
                left < 0.0
            });
            labels.push(drawn.unwrap_or(classes - 1) as u32);
        }
    }
}
