//! Passes over the images of a data set: for training and for testing.

use interneuron::data::Dataset;
use interneuron::{Error, Evaluation, Generator, MatRef, Network, Threads, Update, generator};
use rand::seq::SliceRandom;
use std::time::{Duration, Instant};

/// Images as a network takes them. The memory is used again and again.
#[derive(Default)]
pub struct Examples {
    x: Vec<f32>,
    labels: Vec<u32>,
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
        let x = MatRef::new("x", &self.x, self.labels.len(), data.images.size())?;
        Ok((x, &self.labels))
    }

    /// Loss and errors of a network on a whole set, some images at a time.
    pub fn evaluate(
        &mut self,
        net: &mut Network<f32>,
        threads: Threads<'_>,
        data: &Dataset,
    ) -> Result<Evaluation, Error> {
        const PIECE: usize = 2048;
        let mut sum = Evaluation::default();
        for start in (0..data.len()).step_by(PIECE) {
            let (x, labels) = self.load(data, start..(start + PIECE).min(data.len()))?;
            let piece = net.evaluate(threads, x, labels)?;
            sum.loss += piece.loss * piece.examples as f64;
            sum.errors += piece.errors;
            sum.examples += piece.examples;
        }
        sum.loss /= sum.examples as f64;
        Ok(sum)
    }
}

/// Why a network has diverged after an epoch, if it has: its loss is not finite, or a parameter, which may be hidden from
/// the loss. Such a network cannot be saved either.
pub fn diverged(net: &Network<f32>, loss: f64, epoch: usize, rate: f64) -> Option<String> {
    let mut layers = net.shapes().zip(net.params()).enumerate();
    let wrong = if loss.is_finite() {
        layers.find_map(|(k, (shape, params))| Some(format!("layer {k}: {}", params.validate(&shape).err()?)))?
    } else {
        format!("the loss is {loss}")
    };
    Some(format!("{wrong} after epoch {epoch}, step {}, at learning rate {rate}", net.steps()))
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
    order: Vec<usize>,
    rng: Generator,
    pub examples: Examples,
}

impl<'a> Course<'a> {
    pub fn new(data: &'a Dataset, batch: usize, seed: u64) -> Self {
        let order = (0..data.len()).collect();
        Self { data, batch, order, rng: generator(seed), examples: Examples::default() }
    }

    /// One epoch. A loss that is not finite ends it with [`Error::Diverged`].
    pub fn epoch(
        &mut self,
        net: &mut Network<f32>,
        threads: Threads<'_>,
        update: &Update,
        mut each: impl FnMut(Step),
    ) -> Result<(), Error> {
        self.order.shuffle(&mut self.rng);
        for batch in self.order.chunks(self.batch) {
            let (x, labels) = self.examples.load(self.data, batch.iter().copied())?;
            let start = Instant::now();
            let loss = net.train_step(threads, x, labels, update)?;
            each(Step { loss, images: batch.len(), time: start.elapsed() });
        }
        Ok(())
    }
}
