//! Networks of layers, trained on labels.

use crate::buffer::Activations;
use crate::driver::{Driver, Input, copy_examples, from_rows, largest_slab, slabs, to_rows};
use crate::element::Element;
use crate::error::Error;
use crate::init::{Init, generator};
use crate::isa::Isa;
use crate::layer::same;
use crate::loss::{Evaluation, check_labels, softmax_cross_entropy};
use crate::matrix::{MatMut, MatRef};
use crate::params::dann::DannShape;
use crate::params::dense::DenseShape;
use crate::params::layer::{LayerParams, LayerRef, LayerShape};
use crate::params::update::Update;
use crate::threads::{Crew, Threads};

/// What a network is made of, before its parameters are drawn.
///
/// ```
/// use interneuron::{Architecture, Network};
///
/// // The network of Cornford et al. (2021): three hidden layers of 500 excitatory and 50 inhibitory units.
/// let net: Network<f32> = Architecture::dann(&[784, 500, 500, 500, 10], &[50, 50, 50, 1])?.seed(7).build()?;
/// assert_eq!(net.shapes().count(), 4);
/// # Ok::<(), interneuron::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Architecture {
    layers: Vec<LayerShape>,
    iid_inhibition: bool,
    seed: u64,
    isa: Option<Isa>,
}

impl Architecture {
    /// Layers with separate excitatory and inhibitory units: `dims` are the inputs and then the excitatory units of
    /// each layer, `nis` the interneurons of each layer. Hidden layers have ReLU, the last the identity.
    ///
    /// # Errors
    /// As [`Architecture::of`]; [`Error::Length`] if `nis` has not one element for each layer.
    pub fn dann(dims: &[usize], nis: &[usize]) -> Result<Self, Error> {
        let layers = dims.len().saturating_sub(1);
        if nis.len() != layers {
            return Err(Error::Length { name: "nis", len: nis.len(), expected: layers });
        }
        let layers = dims.windows(2).zip(nis).enumerate().map(|(k, (dims, &ni))| {
            let shape = DannShape::new(dims[0], dims[1], ni);
            LayerShape::Dann(if k + 1 < layers { shape } else { shape.linear() })
        });
        Self::of(layers.collect())
    }

    /// Plain layers: `dims` are the inputs and then the units of each layer. Hidden layers have ReLU, the last the
    /// identity.
    ///
    /// # Errors
    /// As [`Architecture::of`].
    pub fn mlp(dims: &[usize]) -> Result<Self, Error> {
        let layers = dims.len().saturating_sub(1);
        let layers = dims.windows(2).enumerate().map(|(k, dims)| {
            let shape = DenseShape::new(dims[0], dims[1]);
            LayerShape::Dense(if k + 1 < layers { shape } else { shape.linear() })
        });
        Self::of(layers.collect())
    }

    /// Layers of any kind, from the input to the output.
    ///
    /// # Errors
    /// [`Error::Dimension`] if there is no layer, a dimension is zero, or an array would not fit in memory;
    /// [`Error::Mismatch`] if a layer has not as many inputs as the layer below has outputs.
    pub fn of(layers: Vec<LayerShape>) -> Result<Self, Error> {
        if layers.is_empty() {
            return Err(Error::Dimension { name: "layers", value: 0, expected: "at least 1" });
        }
        layers.iter().try_for_each(LayerShape::check)?;
        for pair in layers.windows(2) {
            same("inputs of a layer", pair[1].inputs(), pair[0].outputs(), "the layer below")?;
        }
        Ok(Self { layers, iid_inhibition: false, seed: 0, isa: None })
    }

    /// Takes the division out of every layer with inhibition.
    #[must_use]
    pub fn subtractive(mut self) -> Self {
        for layer in &mut self.layers {
            if let LayerShape::Dann(shape) = layer {
                shape.divisive = false;
            }
        }
        self
    }

    /// Draws inhibitory weights independently instead of matching them to the excitation.
    #[must_use]
    pub fn iid_inhibition(self) -> Self {
        Self { iid_inhibition: true, ..self }
    }

    /// The seed of the parameters; 0 if never called.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The instruction set; that of [`Isa::select`] if never called.
    #[must_use]
    pub fn isa(self, isa: Isa) -> Self {
        Self { isa: Some(isa), ..self }
    }

    /// Draws the parameters.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if the parameters do not fit in memory; those of [`Isa::select`] if no set was named.
    pub fn build<T: Element>(self) -> Result<Network<T>, Error> {
        let isa = self.isa.map_or_else(Isa::select, Ok)?;
        let mut rng = generator(self.seed);
        let layer = |(k, shape): (usize, &LayerShape)| {
            let init = Init { rectified_input: k > 0, iid_inhibition: self.iid_inhibition };
            Ok((*shape, init.draw(shape, &mut rng)?))
        };
        let layers = self.layers.iter().enumerate().map(layer).collect::<Result<Vec<_>, Error>>()?;
        Network::of(layers, isa, 0)
    }
}

/// A layer of a network.
#[derive(Clone)]
struct Block<T: Element> {
    shape: LayerShape,
    params: LayerParams<T>,
    driver: Driver<T>,
}

/// A network that classifies, with its parameters and the scratch memory of its steps.
///
/// The loss is the softmax cross-entropy, averaged over the batch.
#[derive(Clone)]
pub struct Network<T: Element> {
    blocks: Vec<Block<T>>,
    isa: Isa,
    x: Activations<T>,
    x_examples: Activations<T>,
    dlogits: Activations<T>,
    steps: u64,
}

impl<T: Element> Network<T> {
    /// Layers that an [`Architecture`] allows, with parameters of their shapes, after so many steps.
    pub(crate) fn of(layers: Vec<(LayerShape, LayerParams<T>)>, isa: Isa, steps: u64) -> Result<Self, Error> {
        let block = |(shape, params)| Ok(Block { shape, params, driver: Driver::new(shape, isa)? });
        let blocks = layers.into_iter().map(block).collect::<Result<_, Error>>()?;
        let [x, x_examples, dlogits] = [(); 3].map(|()| Activations::new());
        Ok(Self { blocks, isa, x, x_examples, dlogits, steps })
    }

    /// The instruction set that it runs on.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The number of inputs.
    pub fn inputs(&self) -> usize {
        self.blocks[0].shape.inputs()
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.last().shape.outputs()
    }

    fn last(&self) -> &Block<T> {
        self.blocks.last().expect("an architecture has a layer")
    }

    /// The shapes of the layers, from the input to the output.
    pub fn shapes(&self) -> impl ExactSizeIterator<Item = LayerShape> {
        self.blocks.iter().map(|block| block.shape)
    }

    /// The parameters of the layers, from the input to the output.
    pub fn params(&self) -> impl ExactSizeIterator<Item = LayerRef<'_, T>> {
        self.blocks.iter().map(|block| block.params.view())
    }

    /// Replaces the parameters of layer `k`.
    ///
    /// # Errors
    /// [`Error::Dimension`] if there is no such layer; [`Error::Kind`], [`Error::Length`] or [`Error::Value`] if the
    /// parameters are not of its kind and shape, not finite, or negative where the sign is kept.
    pub fn set_params(&mut self, k: usize, params: LayerParams<T>) -> Result<(), Error> {
        let Some(block) = self.blocks.get_mut(k) else {
            return Err(Error::Dimension { name: "k", value: k, expected: "less than the number of layers" });
        };
        params.view().validate(&block.shape)?;
        block.params = params;
        Ok(())
    }

    /// Arrays for the gradients of all layers.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if they do not fit in memory.
    pub fn zero_gradients(&self) -> Result<Vec<LayerParams<T>>, Error> {
        self.shapes().map(|shape| LayerParams::zeros(&shape)).collect()
    }

    /// One step of training on the examples `x [B, inputs]` with `labels [B]`: forward, loss, backward and update.
    /// Returns the loss before the update.
    ///
    /// A batch of 192 examples or more goes through the layers in slabs of about 128, which stay in the cache. The
    /// gradients of all slabs but the last are summed up in arrays as large as the parameters; otherwise no gradient of a
    /// weight is ever stored.
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Length`] or [`Error::Label`] if examples or labels do not fit the network,
    /// [`Error::LearningRate`] or [`Error::Factor`] if the update cannot be used, [`Error::Diverged`] if the loss is not
    /// finite, [`Error::TooLarge`] if the scratch does not fit in memory. Parameters are then as they were.
    pub fn train_step(
        &mut self,
        threads: Threads<'_>,
        x: MatRef<'_, T>,
        labels: &[u32],
        update: &Update,
    ) -> Result<f64, Error> {
        update.check::<T>()?;
        let finish = |crew: &Crew<'_>, _: usize, block: &mut Block<T>, x: &Activations<T>| {
            block.driver.update(crew, block.params.view_mut(), x, update);
        };
        let loss = self.pass(threads, x, labels, update.lr, finish)?;
        self.steps += 1;
        Ok(loss)
    }

    /// The loss on the examples `x [B, inputs]` with `labels [B]`, and its gradients by all parameters, which overwrite
    /// `gradients`; parameters are not changed.
    ///
    /// # Errors
    /// As [`Network::train_step`]; [`Error::Length`] or [`Error::Kind`] if `gradients` has not the network's shapes.
    pub fn gradients(
        &mut self,
        threads: Threads<'_>,
        x: MatRef<'_, T>,
        labels: &[u32],
        gradients: &mut [LayerParams<T>],
    ) -> Result<f64, Error> {
        self.check_gradients(gradients)?;
        let finish = |crew: &Crew<'_>, k: usize, block: &mut Block<T>, x: &Activations<T>| {
            block.driver.gradients(crew, gradients[k].view_mut(), x);
        };
        self.pass(threads, x, labels, 0.0, finish)
    }

    /// Takes a step with gradients that were handed out, perhaps clipped or averaged by the caller. With unchanged
    /// gradients the parameters get the same bits as by [`Network::train_step`].
    ///
    /// # Errors
    /// [`Error::Length`] or [`Error::Kind`] if `gradients` has not the network's shapes, [`Error::LearningRate`] or
    /// [`Error::Factor`] if the update cannot be used; nothing is changed then.
    pub fn apply(&mut self, update: &Update, gradients: &[LayerParams<T>]) -> Result<(), Error> {
        update.check::<T>()?;
        self.check_gradients(gradients)?;
        for (block, gradients) in self.blocks.iter_mut().zip(gradients) {
            update.apply(&block.shape, block.params.view_mut(), gradients.view())?;
        }
        self.steps += 1;
        Ok(())
    }

    fn check_gradients(&self, gradients: &[LayerParams<T>]) -> Result<(), Error> {
        if gradients.len() != self.blocks.len() {
            return Err(Error::Length { name: "gradients", len: gradients.len(), expected: self.blocks.len() });
        }
        self.blocks.iter().zip(gradients).try_for_each(|(block, gradients)| gradients.view().check(&block.shape))
    }

    /// Forward, loss and backward. `finish` makes what is wanted of each layer's deltas, from the last layer down.
    fn pass(
        &mut self,
        threads: Threads<'_>,
        x: MatRef<'_, T>,
        labels: &[u32],
        lr: f64,
        mut finish: impl FnMut(&Crew<'_>, usize, &mut Block<T>, &Activations<T>) + Send,
    ) -> Result<f64, Error> {
        same("columns of x", x.cols(), self.inputs(), "the network's inputs")?;
        check_labels(labels, x.rows(), self.classes())?;
        let batch = x.rows();
        self.prepare(largest_slab(batch), true)?;
        for block in &mut self.blocks {
            block.driver.prepare_slabs(slabs(batch).len())?;
        }
        threads.region(self.flops(batch, LayerShape::train_flops), |crew| {
            let mut loss = 0.0;
            for (start, len) in slabs(batch) {
                let slab = x.slice(start, len)?;
                self.prepare(len, true)?;
                self.forward(crew, slab, true);
                loss += self.backward(crew, &labels[start..][..len], batch);
                let last = start + len == batch;
                if last && !loss.is_finite() {
                    return Err(Error::Diverged { step: self.steps, lr, loss: loss / batch as f64 });
                }
                for k in (0..self.blocks.len()).rev() {
                    let (below, here) = self.blocks.split_at_mut(k);
                    let x = below.last().map_or(&self.x_examples, |below| below.driver.output_examples());
                    if last {
                        finish(crew, k, &mut here[0], x);
                    } else {
                        here[0].driver.carry(crew, x);
                    }
                }
            }
            Ok(loss / batch as f64)
        })
    }

    /// From the logits of a slab to the deltas of all layers; returns the sum of the losses.
    fn backward(&mut self, crew: &Crew<'_>, labels: &[u32], batch: usize) -> f64 {
        let last = self.blocks.last_mut().expect("an architecture has a layer");
        let gradient = Some((&mut self.dlogits, batch));
        let (loss, _) = softmax_cross_entropy(last.driver.output(), labels, gradient);
        last.driver.backward_from(crew, last.params.view(), &self.dlogits);
        for k in (0..self.blocks.len()).rev() {
            let (below, here) = self.blocks.split_at_mut(k);
            let here = &mut here[0];
            here.driver.interneurons_backward(crew, here.params.view());
            if let Some(below) = below.last_mut() {
                let into = below.driver.backward(below.params.view());
                here.driver.input_gradient(crew, here.params.view(), into);
            }
        }
        loss
    }

    /// Useful work in all layers.
    fn flops(&self, batch: usize, of: impl Fn(&LayerShape, usize, bool) -> f64) -> f64 {
        self.shapes().enumerate().map(|(k, shape)| of(&shape, batch, k > 0)).sum()
    }

    /// Makes room for a slab.
    fn prepare(&mut self, examples: usize, training: bool) -> Result<(), Error> {
        for block in &mut self.blocks {
            block.driver.prepare(examples, training)?;
        }
        let columns = self.last().driver.output().columns();
        self.x.resize(self.inputs(), columns)?;
        self.x_examples.resize(examples, self.blocks[0].driver.inputs())?;
        if training {
            self.dlogits.resize(self.classes(), columns)?;
        }
        Ok(())
    }

    fn forward(&mut self, crew: &Crew<'_>, x: MatRef<'_, T>, training: bool) {
        let few = self.last().driver.few(x.rows());
        if training || few {
            copy_examples(crew, x, &mut self.x_examples);
        }
        if !few {
            from_rows(crew, x, &mut self.x);
        }
        for k in 0..self.blocks.len() {
            let (below, here) = self.blocks.split_at_mut(k);
            let x = match below.last() {
                Some(below) => below.driver.output_for(few),
                None if few => Input::Examples(&self.x_examples),
                None => Input::Units(&self.x),
            };
            here[0].driver.forward(crew, here[0].params.view(), x, training);
        }
    }

    /// Loss and errors on the examples `x [B, inputs]` with `labels [B]`, for any B.
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Length`] or [`Error::Label`] if examples or labels do not fit the network,
    /// [`Error::TooLarge`] if the scratch does not fit in memory.
    pub fn evaluate(&mut self, threads: Threads<'_>, x: MatRef<'_, T>, labels: &[u32]) -> Result<Evaluation, Error> {
        same("columns of x", x.cols(), self.inputs(), "the network's inputs")?;
        check_labels(labels, x.rows(), self.classes())?;
        let mut sum = Evaluation { examples: x.rows(), ..Evaluation::default() };
        self.in_pieces(threads, x, |_, start, logits| {
            let labels = &labels[start..][..logits.columns().len()];
            let (loss, errors) = softmax_cross_entropy(logits, labels, None);
            sum.loss += loss;
            sum.errors += errors;
        })?;
        sum.loss /= x.rows() as f64;
        Ok(sum)
    }

    /// The outputs before the softmax: from `x [B, inputs]` to `logits [B, classes]`, which is overwritten, for any B.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the dimensions do not fit the network, [`Error::TooLarge`] if the scratch does not fit in
    /// memory.
    pub fn logits(&mut self, threads: Threads<'_>, x: MatRef<'_, T>, mut logits: MatMut<'_, T>) -> Result<(), Error> {
        same("columns of x", x.cols(), self.inputs(), "the network's inputs")?;
        same("rows of logits", logits.rows(), x.rows(), "x")?;
        same("columns of logits", logits.cols(), self.classes(), "the network's classes")?;
        self.in_pieces(threads, x, |crew, start, piece| {
            let mut rows = logits.slice_mut(start, piece.columns().len());
            to_rows(crew, piece, &mut rows, |logit| logit);
        })
    }

    /// Calls `each` with the index of the first example and the logits of one piece of `x` after the other.
    fn in_pieces(
        &mut self,
        threads: Threads<'_>,
        x: MatRef<'_, T>,
        mut each: impl FnMut(&Crew<'_>, usize, &Activations<T>) + Send,
    ) -> Result<(), Error> {
        self.prepare(largest_slab(x.rows()), false)?;
        let flops = self.flops(x.rows(), |shape, batch, _| shape.forward_flops(batch));
        threads.region(flops, |crew| {
            for (start, len) in slabs(x.rows()) {
                let slab = x.slice(start, len)?;
                self.prepare(len, false)?;
                self.forward(crew, slab, false);
                each(crew, start, self.last().driver.output());
            }
            Ok(())
        })
    }
}

impl<T: Element> std::fmt::Debug for Network<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shapes: Vec<_> = self.shapes().collect();
        f.debug_struct("Network").field("shapes", &shapes).field("isa", &self.isa).field("steps", &self.steps).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the tests of the crate itself a crew shares every phase, also the small ones.
    #[cfg(feature = "rayon")]
    #[test]
    fn every_phase_can_be_shared() {
        fn check<T: Element>(architecture: &Architecture, isa: Isa) {
            for batch in [1, 33, 300] {
                let x: Vec<T> = (0..batch * 37).map(|i| T::from_f64((i * i % 11) as f64 / 8.0)).collect();
                let x = MatRef::new("x", &x, batch, 37).unwrap();
                let labels: Vec<u32> = (0..batch as u32).map(|i| i % 5).collect();
                let run = |threads: Threads<'_>| {
                    let mut net: Network<T> = architecture.clone().isa(isa).build().unwrap();
                    let mut step = |_| net.train_step(threads, x, &labels, &Update::csgd(0.05)).unwrap().to_bits();
                    let losses: Vec<u64> = (0..3).map(&mut step).collect();
                    let params: Vec<_> = net.blocks.into_iter().map(|block| block.params).collect();
                    (losses, params)
                };
                let serial = run(Threads::Serial);
                for threads in 2..=4 {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    assert!(run(Threads::Pool(&pool)) == serial, "{isa}, batch {batch}, {threads} threads");
                }
            }
        }
        let dann = Architecture::dann(&[37, 53, 29, 5], &[7, 13, 1]).unwrap();
        for architecture in [dann.clone(), dann.subtractive(), Architecture::mlp(&[37, 53, 5]).unwrap()] {
            for isa in Isa::available() {
                check::<f32>(&architecture, isa);
                check::<f64>(&architecture, isa);
            }
        }
    }
}
