//! Passes over the images of a data set: for training and for testing.

use super::interrupt;
use interneuron::{
    Divisor, Error, Evaluation, Generator, LayerShape, MatRef, Network, NormShape, Normalisation, Update, generator,
};
use interneuron_datasets::Dataset;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Images as a network takes them. The memory is used again and again.
#[derive(Default)]
pub struct Examples {
    x: Vec<f32>,
    labels: Vec<u32>,
    /// The smallest divisor below ε, and of which layer, in the last evaluation: only inputs below 0 make such.
    pub low_divisor: Option<(usize, f64)>,
}

impl Examples {
    /// Some images of a set, and their labels.
    pub fn load(
        &mut self,
        data: &Dataset,
        indices: impl IntoIterator<Item = usize> + Clone,
    ) -> Result<(MatRef<'_, f32>, &[u32]), Error> {
        data.images.gather(indices.clone(), &mut self.x);
        self.labels.clear();
        self.labels.extend(indices.into_iter().map(|i| u32::from(data.labels[i])));
        let x = MatRef::new(&self.x, self.labels.len(), data.images.size())?;
        Ok((x, &self.labels))
    }

    /// Loss and errors of a network on a whole set, some images at a time.
    pub fn evaluate(&mut self, net: &mut Network<f32>, data: &Dataset) -> Result<Evaluation, Error> {
        const PIECE: usize = 2048;
        let mut sum = Evaluation::default();
        self.low_divisor = None;
        for start in (0..data.len()).step_by(PIECE) {
            let (x, labels) = self.load(data, start..(start + PIECE).min(data.len()))?;
            let piece = net.evaluate(x, labels)?;
            sum.loss += piece.loss * piece.examples as f64;
            sum.errors += piece.errors;
            sum.examples += piece.examples;
            let plain = net.shapes().map(|shape| shape.divisor() == Some(Divisor::Plain));
            let low = net.low_divisors().zip(plain).enumerate().filter(|(_, (_, plain))| *plain);
            let smallest = low.filter_map(|(layer, (low, _))| Some((layer, low?.smallest?)));
            self.low_divisor = self.low_divisor.into_iter().chain(smallest).min_by(|a, b| a.1.total_cmp(&b.1));
        }
        sum.loss /= sum.examples as f64;
        Ok(sum)
    }
}

/// Why a network has diverged after an epoch, if it has: its loss is not finite, or a parameter, which may be hidden
/// from the loss. Such a network cannot be saved either.
pub fn diverged(net: &Network<f32>, loss: f64, epoch: usize, rate: f64) -> Option<String> {
    let mut layers = net.shapes().zip(net.params()).enumerate();
    let wrong = if loss.is_finite() {
        layers.find_map(|(k, (shape, params))| Some(format!("layer {k}: {}", params.validate(&shape).err()?)))?
    } else {
        format!("the loss is {loss}")
    };
    Some(format!("{wrong} after epoch {epoch}, step {}, at learning rate {rate}", net.steps()))
}

/// What becomes of images that do not fill a batch at the end of an epoch.
///
/// A step takes the mean of its images' gradients, so a step from one image moves the parameters as far as one from 32,
/// in a direction that is mostly noise; and the test comes right after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LastBatch {
    /// They are spread over the steps of the epoch: each takes as many images as were asked for or a few more. All
    /// steps then weigh the same, and every image is learnt once.
    Spread,
    /// They make a short step of their own, of full length. The original experiments did so; the 60,000 images of MNIST
    /// fill their batches.
    Short,
}

impl LastBatch {
    pub const NAMES: [&str; 2] = ["spread", "short"];

    pub fn find(name: &str) -> Result<Self, String> {
        match name {
            "spread" => Ok(Self::Spread),
            "short" => Ok(Self::Short),
            _ => Err(format!("expected {}", Self::NAMES.join(" or "))),
        }
    }

    /// How many steps an epoch has.
    pub fn steps(self, images: usize, batch: usize) -> usize {
        match self {
            Self::Spread => (images / batch).max(1),
            Self::Short => images.div_ceil(batch),
        }
    }

    /// Where the batch of a step begins and where that of the next one does.
    fn bounds(self, images: usize, batch: usize, step: usize) -> (usize, usize) {
        let steps = self.steps(images, batch);
        let begin = |step: usize| match self {
            Self::Spread => (images as u128 * step as u128 / steps as u128) as usize,
            Self::Short => (step * batch).min(images),
        };
        (begin(step), begin(step + 1))
    }

    /// The images of the smallest step.
    fn fewest(self, images: usize, batch: usize) -> usize {
        match self {
            Self::Spread => images / self.steps(images, batch),
            Self::Short => {
                if images.is_multiple_of(batch) {
                    batch
                } else {
                    images % batch
                }
            }
        }
    }
}

/// Checks that a network can learn from so many images in such batches: a batch must not be larger than the data, and
/// batch normalisation has no use for a single image, whose every unit is its own mean. The error says what was
/// expected.
pub fn check_batches(
    shapes: impl IntoIterator<Item = LayerShape>,
    images: usize,
    batch: usize,
    last: LastBatch,
) -> Result<(), String> {
    if batch > images {
        return Err(format!("expected at most {images}"));
    }
    let over_examples = |shape| matches!(shape, LayerShape::Norm(NormShape { over: Normalisation::Batch, .. }));
    if shapes.into_iter().any(over_examples) && last.fewest(images, batch) < 2 {
        return Err(format!("of {images} images a step would have only one, and batch normalisation needs two"));
    }
    Ok(())
}

/// A step that was taken.
pub struct Step {
    pub loss: f64,
    pub images: usize,
    /// Of the step alone, without loading the images.
    pub time: Duration,
}

/// Shows a network all images of a set in a new random order each epoch.
pub struct Course<'a> {
    data: &'a Dataset,
    batch: usize,
    last: LastBatch,
    order: Vec<usize>,
    rng: Generator,
    pub examples: Examples,
}

impl<'a> Course<'a> {
    pub fn new(data: &'a Dataset, batch: usize, last: LastBatch, seed: u64) -> Self {
        let order = (0..data.len()).collect();
        Self { data, batch, last, order, rng: generator(seed), examples: Examples::default() }
    }

    /// Steps of an epoch.
    pub fn steps(&self) -> usize {
        self.last.steps(self.data.len(), self.batch)
    }

    /// Where the generator of the orders is.
    pub fn generator(&self) -> &Generator {
        &self.rng
    }

    /// Passes over epochs that were learnt before: what follows is as if they had been learnt now.
    pub fn skip(&mut self, epochs: usize) {
        (0..epochs).for_each(|_| self.order.shuffle(&mut self.rng));
    }

    /// One epoch, which ends early if somebody wants the program to end. A loss that is not finite ends it with
    /// [`Error::Diverged`]. `update` has the number of a step, counted from 1 through all epochs.
    pub fn epoch(
        &mut self,
        net: &mut Network<f32>,
        update: impl Fn(u64) -> Update,
        mut each: impl FnMut(Step),
    ) -> Result<ControlFlow<()>, Error> {
        self.order.shuffle(&mut self.rng);
        for step in 0..self.steps() {
            let (begin, end) = self.last.bounds(self.data.len(), self.batch, step);
            let (x, labels) = self.examples.load(self.data, self.order[begin..end].iter().copied())?;
            let start = Instant::now();
            let loss = net.train_step(x, labels, &update(net.steps() + 1))?;
            each(Step { loss, images: end - begin, time: start.elapsed() });
            if interrupt::requested() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
