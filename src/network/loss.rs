//! Softmax cross-entropy.

use crate::buffer::Activations;
use crate::element::Element;
use crate::init::Generator;
use rand::RngExt;

/// Loss and errors of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Mean cross-entropy in nats: `−ln softmax(logits)[label]`, averaged over the examples.
    pub loss: f64,
    /// Examples whose largest logit is not that of their label.
    pub errors: usize,
    /// Examples.
    pub examples: usize,
}

impl Evaluation {
    /// Errors in percent of the examples.
    pub fn error_percent(&self) -> f64 {
        100.0 * self.errors as f64 / self.examples as f64
    }
}

/// The sum of the losses and the number of errors of some examples, from their `logits [classes, n]`; with `gradient`,
/// also the gradient of the mean loss of a batch of so many examples: `(softmax − onehot)/B`, zero in the padding.
pub(crate) fn softmax_cross_entropy<T: Element>(
    logits: &Activations<T>,
    labels: &[u32],
    mut gradient: Option<(&mut Activations<T>, usize)>,
) -> (f64, usize) {
    let (classes, examples) = (logits.rows(), logits.columns());
    let (mut loss, mut errors) = (0.0, 0);
    for group in examples.iter(0..examples.groups()) {
        for i in 0..group.len {
            let label = labels[group.start + i] as usize;
            let logit = |class: usize| logits.row(class, group)[i];
            let best = (1..classes).fold(0, |best, class| if logit(class) > logit(best) { class } else { best });
            // The largest exponent is 0, so no exponential overflows. A NaN anywhere makes the sum NaN.
            let mut sum = T::ZERO;
            for class in 0..classes {
                let power = (logit(class) - logit(best)).exp();
                sum = sum + power;
                if let Some((gradient, _)) = &mut gradient {
                    gradient.row_mut(class, group)[i] = power;
                }
            }
            loss += sum.to_f64().ln() + (logit(best) - logit(label)).to_f64();
            errors += usize::from(best != label || !sum.is_finite());
            if let Some((gradient, batch)) = &mut gradient {
                let per_example = T::ONE / T::from_f64(*batch as f64);
                for class in 0..classes {
                    let target = if class == label { T::ONE } else { T::ZERO };
                    let power = &mut gradient.row_mut(class, group)[i];
                    *power = (*power / sum - target) * per_example;
                }
            }
        }
        if let Some((gradient, _)) = &mut gradient {
            for class in 0..classes {
                gradient.row_mut(class, group)[group.len..].fill(T::ZERO);
            }
        }
    }
    (loss, errors)
}

/// Draws a label for each example from the softmax of its `logits [classes, n]`; they overwrite `labels`.
pub(crate) fn draw_labels<T: Element>(logits: &Activations<T>, rng: &mut Generator, labels: &mut Vec<u32>) {
    let (classes, examples) = (logits.rows(), logits.columns());
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
