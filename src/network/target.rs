//! What the outputs of a network are to be, and the loss that says how far they are from it.

use super::loss::softmax_cross_entropy;
use crate::buffer::Activations;
use crate::element::Element;
use crate::error::{Error, check_labels};

/// What the outputs of a network are to be, and so the loss. It is made of a slice or a `Vec` of labels.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Target<'a> {
    /// `labels [B]`: the class of each example. The loss is the softmax cross-entropy, averaged over the batch:
    /// `−ln softmax(outputs)[label]`.
    Labels(&'a [u32]),
}

impl<'a> From<&'a [u32]> for Target<'a> {
    fn from(labels: &'a [u32]) -> Self {
        Self::Labels(labels)
    }
}

impl<'a, const B: usize> From<&'a [u32; B]> for Target<'a> {
    fn from(labels: &'a [u32; B]) -> Self {
        Self::Labels(labels)
    }
}

impl<'a> From<&'a Vec<u32>> for Target<'a> {
    fn from(labels: &'a Vec<u32>) -> Self {
        Self::Labels(labels)
    }
}

impl Target<'_> {
    /// Checks that there is a target for each of the examples, for a network of so many outputs.
    pub(crate) fn check(self, examples: usize, outputs: usize) -> Result<(), Error> {
        match self {
            Self::Labels(labels) => check_labels(labels, examples, outputs),
        }
    }

    /// Those of `len` examples from `start`.
    pub(crate) fn slice(self, start: usize, len: usize) -> Self {
        match self {
            Self::Labels(labels) => Self::Labels(&labels[start..][..len]),
        }
    }

    /// The sum of the losses and the number of errors of the examples, from their `outputs [K, n]`; with `gradient`,
    /// also the gradient of the mean loss of a batch of so many examples, zero in the padding.
    pub(crate) fn loss<T: Element>(
        self,
        outputs: &Activations<T>,
        gradient: Option<(&mut Activations<T>, usize)>,
    ) -> (f64, usize) {
        match self {
            Self::Labels(labels) => softmax_cross_entropy(outputs, labels, gradient),
        }
    }
}
