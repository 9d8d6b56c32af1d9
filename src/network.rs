//! Networks of layers, trained on labels.

use crate::buffer::Activations;
use crate::driver::{Driver, Input, copy_examples, from_rows, largest_slab, slabs, to_rows};
use crate::element::Element;
use crate::error::{Error, check_labels, length, same};
use crate::init::{Generator, generator};
use crate::isa::Isa;
use crate::loss::{Evaluation, draw_labels, softmax_cross_entropy};
use crate::matrix::{MatMut, MatRef};
use crate::params::layer::{LayerParams, LayerRef, LayerShape};
use crate::params::state::State;
use crate::params::update::{Natural, Update};
use crate::statistics::{LayerStatistics, Observer};
use crate::threads::{Crew, Threads};

/// The generator of the labels that a natural gradient draws: a stream of its own of the network's seed.
pub(crate) fn label_generator(seed: u64) -> Generator {
    let mut generator = generator(seed);
    generator.set_stream(1);
    generator
}

/// What a pass forward and backward is for.
#[derive(Clone, Copy, Default)]
struct Pass {
    /// The learning rate that an error names.
    lr: f64,
    /// The estimate of the Fisher information that the pass adds to.
    natural: Option<Natural>,
}

/// A layer of a network.
#[derive(Clone)]
struct Block<T: Element> {
    shape: LayerShape,
    params: LayerParams<T>,
    driver: Driver<T>,
    state: State<T>,
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
    /// Draws labels for a natural gradient, which come here.
    label_generator: Generator,
    drawn: Vec<u32>,
}

impl<T: Element> Network<T> {
    /// Layers that an [`Architecture`](crate::Architecture) allows, with parameters of their shapes, after so many
    /// steps.
    pub(crate) fn of(
        layers: Vec<(LayerShape, LayerParams<T>)>,
        isa: Isa,
        steps: u64,
        label_generator: Generator,
    ) -> Result<Self, Error> {
        let block =
            |(shape, params)| Ok(Block { shape, params, driver: Driver::new(shape, isa)?, state: State::new() });
        let blocks = layers.into_iter().map(block).collect::<Result<_, Error>>()?;
        let [x, x_examples, dlogits] = [(); 3].map(|()| Activations::new());
        Ok(Self { blocks, isa, x, x_examples, dlogits, steps, label_generator, drawn: vec![] })
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

    /// What the updates of the layers keep from step to step, from the input to the output.
    pub fn states(&self) -> impl ExactSizeIterator<Item = &State<T>> {
        self.blocks.iter().map(|block| &block.state)
    }

    /// Replaces what the updates of layer `k` keep, without a check.
    #[cfg(feature = "checkpoint")]
    pub(crate) fn set_state(&mut self, k: usize, state: State<T>) {
        self.blocks[k].state = state;
    }

    /// The generator of the labels that a natural gradient draws.
    #[cfg(feature = "checkpoint")]
    pub(crate) fn label_generator(&self) -> &Generator {
        &self.label_generator
    }

    /// Replaces the parameters of layer `k`. What updates kept of it is forgotten.
    ///
    /// # Errors
    /// [`Error::Dimension`] if there is no such layer; [`Error::Layer`] with [`Error::Kind`], [`Error::Length`] or
    /// [`Error::Value`] if the parameters are not of its kind and shape, not finite, or negative where the sign is
    /// kept.
    pub fn set_params(&mut self, k: usize, params: LayerParams<T>) -> Result<(), Error> {
        let Some(block) = self.blocks.get_mut(k) else {
            return Err(Error::Dimension { name: "k", value: k, expected: "less than the number of layers" });
        };
        params.view().validate(&block.shape).map_err(|error| error.in_layer(k))?;
        block.params = params;
        block.state = State::new();
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
    /// A batch of 192 examples or more goes through the layers in slabs of about 128, which stay in the cache, unless a
    /// layer normalises over the batch. The gradients of all slabs but the last are summed up in arrays as large as the
    /// parameters; otherwise no gradient of a weight is ever stored, but for rules that need all of a layer first.
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Length`] or [`Error::Label`] if examples or labels do not fit the network,
    /// [`Error::Value`] if an element of `x` is not finite, [`Error::LearningRate`], [`Error::Factor`] or
    /// [`Error::Policy`] if the update cannot be used, [`Error::Unsupported`] if it is a natural gradient and the
    /// network has batch normalisation, whose examples have no gradients of their own, [`Error::Diverged`] if the loss
    /// is not finite, [`Error::TooLarge`] if the scratch does not fit in memory. Parameters are then as they were.
    pub fn train_step(
        &mut self,
        threads: Threads<'_>,
        x: MatRef<'_, T>,
        labels: &[u32],
        update: &Update,
    ) -> Result<f64, Error> {
        self.check_update(update)?;
        self.check_examples(x, labels)?;
        for Block { shape, params, state, .. } in &mut self.blocks {
            state.prepare(shape, update, params.view())?;
        }
        let finish = |crew: &Crew<'_>, _: usize, block: &mut Block<T>, x: &Activations<T>| {
            let Block { shape, params, driver, state } = block;
            driver.update(crew, (shape, update), params.view_mut(), x, state);
        };
        let loss = self.pass(threads, x, labels, Pass { lr: update.lr, natural: update.natural }, |_, _| (), finish)?;
        self.steps += 1;
        Ok(loss)
    }

    /// Checks that there are as many inputs as the network has, and a label for each example.
    fn check_examples(&self, x: MatRef<'_, T>, labels: &[u32]) -> Result<(), Error> {
        same("x", "columns", x.cols(), "the network", "inputs", self.inputs())?;
        check_labels(labels, x.rows(), self.classes())
    }

    fn check_update(&self, update: &Update) -> Result<(), Error> {
        update.check::<T>()?;
        if update.natural.is_some() && self.has_batch_statistics() {
            return Err(Error::Unsupported {
                what: "a natural gradient of batch normalisation",
                expected: "layers that treat each example on its own",
            });
        }
        Ok(())
    }

    fn has_batch_statistics(&self) -> bool {
        self.blocks.iter().any(|block| block.shape.has_batch_statistics())
    }

    /// The loss on the examples `x [B, inputs]` with `labels [B]`, and its gradients by all parameters, which overwrite
    /// `gradients`; parameters are not changed.
    ///
    /// # Errors
    /// As [`Network::train_step`]; [`Error::Length`] if `gradients` has not one element for each layer,
    /// [`Error::Layer`] with [`Error::Length`] or [`Error::Kind`] if one has not the shape of its layer.
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
        self.pass(threads, x, labels, Pass::default(), |_, _| (), finish)
    }

    /// What studies of such networks look at: for each layer, the statistics of what it does on the examples
    /// `x [B, inputs]` with `labels [B]`, of its weights, and of a step of projected descent with the rate,
    /// corrections, factors and floor of `update`. Nothing is changed.
    ///
    /// # Errors
    /// As [`Network::train_step`]; any update can be asked about.
    pub fn inspect(
        &mut self,
        threads: Threads<'_>,
        x: MatRef<'_, T>,
        labels: &[u32],
        update: &Update,
    ) -> Result<Vec<LayerStatistics>, Error> {
        update.check::<T>()?;
        let mut gradients = self.zero_gradients()?;
        let mut observers: Vec<_> = self.shapes().map(|shape| Observer::new(&shape)).collect();
        let finish = |crew: &Crew<'_>, k: usize, block: &mut Block<T>, x: &Activations<T>| {
            block.driver.gradients(crew, gradients[k].view_mut(), x);
        };
        let see = |k: usize, block: &Block<T>| observers[k].see(&block.driver);
        self.pass(threads, x, labels, Pass { lr: update.lr, natural: None }, see, finish)?;
        let layers = self.blocks.iter().zip(&gradients).zip(observers);
        Ok(layers
            .map(|((block, gradients), observer)| {
                observer.finish(&block.shape, block.params.view(), gradients.view(), update)
            })
            .collect())
    }

    /// Takes a step with gradients that were handed out, perhaps averaged by the caller: the parameters are
    /// overwritten. With unchanged gradients they get the same bits as by [`Network::train_step`], on any number of
    /// threads.
    ///
    /// # Errors
    /// [`Error::Length`] if `gradients` has not one element for each layer, [`Error::Layer`] with [`Error::Length`] or
    /// [`Error::Kind`] if one has not the shape of its layer; [`Error::LearningRate`], [`Error::Factor`] or
    /// [`Error::Policy`] if the update cannot be used, [`Error::Unsupported`] if it is a natural gradient, which needs
    /// a whole step; [`Error::TooLarge`] if what the rule keeps does not fit in memory. Nothing is changed then.
    pub fn apply(&mut self, threads: Threads<'_>, update: &Update, gradients: &[LayerParams<T>]) -> Result<(), Error> {
        update.check::<T>()?;
        update.check_without_labels()?;
        self.check_gradients(gradients)?;
        for Block { shape, params, state, .. } in &mut self.blocks {
            state.prepare(shape, update, params.view())?;
        }
        // A step waits for memory: an element takes about as long as it does in a forward pass of 8 examples.
        threads.region(self.flops(8, |shape, batch, _| shape.forward_flops(batch)), |crew| {
            for (Block { shape, params, driver, state }, gradients) in self.blocks.iter_mut().zip(gradients) {
                driver.apply(crew, (shape, update), params.view_mut(), gradients.view(), state);
            }
        });
        self.steps += 1;
        Ok(())
    }

    fn check_gradients(&self, gradients: &[LayerParams<T>]) -> Result<(), Error> {
        length("gradients", gradients.len(), self.blocks.len())?;
        self.blocks.iter().zip(gradients).enumerate().try_for_each(|(k, (block, gradients))| {
            gradients.view().check(&block.shape).map_err(|error| error.in_layer(k))
        })
    }

    /// Forward, loss and backward. `see` looks at each layer between them; `finish` makes what is wanted of each
    /// layer's deltas, from the last layer down.
    fn pass(
        &mut self,
        threads: Threads<'_>,
        x: MatRef<'_, T>,
        labels: &[u32],
        Pass { lr, natural }: Pass,
        mut see: impl FnMut(usize, &Block<T>) + Send,
        mut finish: impl FnMut(&Crew<'_>, usize, &mut Block<T>, &Activations<T>) + Send,
    ) -> Result<f64, Error> {
        self.check_examples(x, labels)?;
        // ReLU may hide an infinity from the loss, but not from the gradients: zero times infinity is NaN.
        x.check_finite("x")?;
        let batch = x.rows();
        // A batch whose statistics matter is not cut.
        let whole = self.has_batch_statistics();
        let count = if whole { 1 } else { slabs(batch).len() };
        self.prepare(if whole { batch } else { largest_slab(batch) }, true)?;
        for block in &mut self.blocks {
            block.driver.prepare_slabs(count)?;
        }
        let labels_before = self.label_generator.clone();
        if natural.is_some() {
            for block in &mut self.blocks {
                block.driver.prepare_squares()?;
                block.state.keep_fisher();
            }
        }
        let slabs = slabs(batch).filter(|_| !whole).chain(std::iter::once((0, batch)).filter(|_| whole));
        threads.region(self.flops(batch, LayerShape::train_flops), |crew| {
            let mut loss = 0.0;
            for (start, len) in slabs {
                let slab = x.slice(start, len)?;
                let labels = &labels[start..][..len];
                self.prepare(len, true)?;
                self.forward(crew, slab, true);
                self.blocks.iter().enumerate().for_each(|(k, block)| see(k, block));
                if let Some(natural) = natural {
                    self.estimate_curvature(crew, natural, labels, (start == 0, batch))?;
                }
                loss += self.backward(crew, labels, batch);
                let last = start + len == batch;
                if last && !loss.is_finite() {
                    if natural.is_some() {
                        self.blocks.iter_mut().for_each(|block| block.state.restore_fisher());
                        self.label_generator = labels_before;
                    }
                    return Err(Error::Diverged { step: self.steps, lr, loss: loss / batch as f64 });
                }
                self.for_each_down(|k, block, x| {
                    if last {
                        finish(crew, k, block, x);
                    } else {
                        block.driver.carry(crew, x);
                    }
                });
            }
            Ok(loss / batch as f64)
        })
    }

    /// Calls `f` with each layer and its input `x [B, d]`, from the last layer down.
    fn for_each_down(&mut self, mut f: impl FnMut(usize, &mut Block<T>, &Activations<T>)) {
        for k in (0..self.blocks.len()).rev() {
            let (below, here) = self.blocks.split_at_mut(k);
            let x = below.last().map_or(&self.x_examples, |below| below.driver.output_examples());
            f(k, &mut here[0], x);
        }
    }

    /// Adds a slab to the estimate of the Fisher information: a backward pass from labels that are drawn from the
    /// network's own outputs. `first` begins a new batch, which has `batch` examples.
    fn estimate_curvature(
        &mut self,
        crew: &Crew<'_>,
        Natural { c, f_lambda, .. }: Natural,
        labels: &[u32],
        (first, batch): (bool, usize),
    ) -> Result<(), Error> {
        // The step will fail, and nothing is to be drawn from what is not a number.
        let (loss, _) = softmax_cross_entropy(self.last().driver.output(), labels, None);
        if !loss.is_finite() {
            return Ok(());
        }
        let mut drawn = std::mem::take(&mut self.drawn);
        let last = self.blocks.last().expect("an architecture has a layer");
        draw_labels(last.driver.output(), &mut self.label_generator, &mut drawn);
        // There is room for the largest slab already; this only makes it as large as this one.
        self.blocks.iter_mut().try_for_each(|block| block.driver.prepare_squares())?;
        self.blocks.iter_mut().for_each(|block| block.driver.begin_squares());
        // Gradients of single examples, not of their mean.
        self.backward(crew, &drawn, 1);
        self.drawn = drawn;
        let keep = if first { 1.0 - c } else { 1.0 };
        let coefficients = [keep, c * f_lambda / batch as f64].map(T::from_f64);
        self.for_each_down(|_, block, x| {
            let fisher = block.state.fisher.as_mut().expect("the state was prepared");
            block.driver.curvature(crew, fisher.view_mut(), x, coefficients);
        });
        Ok(())
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
            here.driver.inner_backward(crew, here.params.view());
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
        self.check_examples(x, labels)?;
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
        same("x", "columns", x.cols(), "the network", "inputs", self.inputs())?;
        same("logits", "rows", logits.rows(), "x", "rows", x.rows())?;
        same("logits", "columns", logits.cols(), "the network", "outputs", self.classes())?;
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
    use crate::architecture::Architecture;
    #[cfg(feature = "rayon")]
    use crate::params::dann::Dann;

    /// The estimate of the Fisher information against squares of gradients that are made example by example.
    #[test]
    fn curvature_is_the_mean_of_squared_gradients_of_single_examples() {
        use crate::reference;
        /// Sums over 240 examples and three layers.
        const TOLERANCE: f64 = 1e-11;
        let (dims, natural) = ([13, 21, 9, 5], Natural { c: 0.25, f_lambda: 0.5, ..Natural::default() });
        let dann = |nis: &[usize]| Architecture::dann(&dims, nis).unwrap();
        let architectures = [
            dann(&[1, 1, 1]),
            dann(&[4, 7, 2]),
            dann(&[3, 2, 1]).subtractive(),
            Architecture::mlp(&dims).unwrap(),
            Architecture::layer_norm(&dims).unwrap(),
            Architecture::column_ei(&dims, 3, 0.5).unwrap(),
        ];
        for (architecture, isa) in architectures.iter().flat_map(|a| Isa::available().map(move |isa| (a, isa))) {
            // One batch of a slab, one of two.
            for batch in [7, 240] {
                let x: Vec<f64> = (0..batch * 13).map(|i| (i * i % 17) as f64 / 16.0).collect();
                let labels: Vec<u32> = (0..batch as u32).map(|i| i % 5).collect();
                let mut net: Network<f64> = architecture.clone().seed(4).isa(isa).build().unwrap();
                // Away from the beginning, where some gradients are zero by symmetry.
                let matrix = MatRef::new(&x, batch, 13).unwrap();
                for _ in 0..3 {
                    net.train_step(Threads::Serial, matrix, &labels, &Update::csgd(0.05)).unwrap();
                }
                let params: Vec<_> = net.params().map(|params| params.to_owned()).collect();
                let shapes: Vec<_> = net.shapes().collect();
                // The labels that will be drawn, slab by slab: the same generator on the same outputs.
                let mut drawn = vec![];
                let mut labels_of = net.label_generator.clone();
                for (start, len) in slabs(batch) {
                    let x = MatRef::new(&x[start * 13..][..len * 13], len, 13).unwrap();
                    net.evaluate(Threads::Serial, x, &labels[..len]).unwrap();
                    let mut here = vec![];
                    draw_labels(net.last().driver.output(), &mut labels_of, &mut here);
                    drawn.extend(here);
                }
                net.train_step(Threads::Serial, matrix, &labels, &Update::natural(0.0, natural)).unwrap();

                let mut squares: Vec<LayerParams<f64>> = net.zero_gradients().unwrap();
                for (x, &label) in x.chunks_exact(13).zip(&drawn) {
                    let mut inputs = vec![x.to_vec()];
                    let mut passes = vec![];
                    for (shape, params) in shapes.iter().zip(&params) {
                        passes.push(reference::forward(shape, params, inputs.last().unwrap()));
                        inputs.push(passes.last().unwrap().h().to_vec());
                    }
                    let (_, mut dh) = reference::softmax_cross_entropy(inputs.last().unwrap(), &[label]);
                    for k in (0..shapes.len()).rev() {
                        let (dx, gradients) = reference::backward(&shapes[k], &params[k], &inputs[k], &passes[k], &dh);
                        squares[k].view_mut().zip(gradients.view()).for_each(|_, (sum, gradient)| {
                            sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g * g);
                        });
                        dh = dx;
                    }
                }
                for (k, (state, squares)) in net.states().zip(&squares).enumerate() {
                    let fisher = state.fisher.as_ref().unwrap().view();
                    fisher.zip(squares.view()).for_each(|letter, (got, squares)| {
                        let want = squares.iter().map(|sum| natural.c * natural.f_lambda * sum / batch as f64);
                        let largest = want.clone().fold(0.0, f64::max);
                        for (got, want) in got.iter().zip(want) {
                            assert!(
                                (got - want).abs() <= TOLERANCE * largest,
                                "{isa}, batch {batch}, layer {k}, {letter:?}: {got} {want}"
                            );
                        }
                    });
                }
                // The ordinary gradient and the step are what they are without the estimate: a zero rate moves nothing.
                assert!(net.params().map(|params| params.to_owned()).eq(params));
            }
        }
    }

    /// A natural step is the step of the reference with the same estimate.
    #[test]
    fn natural_steps_divide_by_the_estimate() {
        use crate::reference;
        let architecture = Architecture::dann(&[13, 21, 5], &[2, 1]).unwrap();
        let x: Vec<f64> = (0..40 * 13).map(|i| (i * i % 17) as f64 / 16.0).collect();
        let labels: Vec<u32> = (0..40).map(|i| i % 5).collect();
        let x = MatRef::new(&x, 40, 13).unwrap();
        for normalised in [false, true] {
            let natural = Natural { epsilon: 1e-3, normalised, ..Natural::default() };
            for update in [
                Update::natural(1e-3, natural),
                Update { clip: Some(0.1), momentum: 0.5, ..Update::natural(1e-3, natural) },
            ] {
                let mut net: Network<f64> = architecture.clone().build().unwrap();
                let mut gradients = net.zero_gradients().unwrap();
                net.gradients(Threads::Serial, x, &labels, &mut gradients).unwrap();
                let mut params: Vec<_> = net.params().map(|params| params.to_owned()).collect();
                net.train_step(Threads::Serial, x, &labels, &update).unwrap();
                let shapes: Vec<_> = net.shapes().collect();
                for (k, params) in params.iter_mut().enumerate() {
                    let fisher = net.blocks[k].state.fisher.as_ref().unwrap().view();
                    let fisher = fisher.arrays().into_iter().map(|(_, array)| array.to_vec()).collect();
                    let mut kept = reference::Kept { fisher, ..reference::Kept::default() };
                    reference::update(&shapes[k], params, &gradients[k], &update, &mut kept);
                    net.blocks[k].params.view().zip(params.view()).for_each(|letter, (got, want)| {
                        for (got, want) in got.iter().zip(want) {
                            assert!((got - want).abs() <= 1e-13 * (1.0 + want.abs()), "{letter:?}: {got} {want}");
                        }
                    });
                }
            }
        }
    }

    /// In the tests of the crate itself a crew shares every phase, also the small ones.
    #[cfg(feature = "rayon")]
    #[test]
    fn every_phase_can_be_shared() {
        fn check<T: Element>(architecture: &Architecture, isa: Isa) {
            for batch in [1, 33, 300] {
                let x: Vec<T> = (0..batch * 37).map(|i| T::from_f64((i * i % 11) as f64 / 8.0)).collect();
                let x = MatRef::new(&x, batch, 37).unwrap();
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
        for architecture in shared_architectures() {
            for isa in Isa::available() {
                check::<f32>(&architecture, isa);
                check::<f64>(&architecture, isa);
            }
        }
    }

    #[cfg(feature = "rayon")]
    fn shared_architectures() -> [Architecture; 6] {
        let dims = [37, 53, 29, 5];
        let dann = Architecture::dann(&dims, &[7, 13, 1]).unwrap();
        [
            dann.clone(),
            dann.subtractive(),
            Architecture::mlp(&dims).unwrap(),
            Architecture::layer_norm(&dims).unwrap(),
            Architecture::batch_norm(&dims).unwrap(),
            Architecture::column_ei(&dims, 4, 0.25).unwrap(),
        ]
    }

    /// The same with threads that a race detector understands: all phases of every kind of network and rule, of which
    /// only the losses are compared.
    #[cfg(feature = "rayon")]
    #[test]
    fn spawned_threads_do_not_change_a_loss() {
        let decay = Dann::all(0.01);
        let updates = [
            Update { momentum: 0.9, decay, ..Update::csgd(0.05) },
            Update { clip: Some(1.0), ..Update::eg(0.05) },
            Update::natural(1e-3, Natural::default()),
        ];
        for (architecture, update) in shared_architectures().iter().flat_map(|a| updates.iter().map(move |u| (a, u))) {
            for batch in [2, 33, 200] {
                let x: Vec<f32> = (0..batch * 37).map(|i| (i * i % 11) as f32 / 8.0).collect();
                let x = MatRef::new(&x, batch, 37).unwrap();
                let labels: Vec<u32> = (0..batch as u32).map(|i| i % 5).collect();
                let run = |threads: Threads<'_>| -> Result<Vec<u64>, Error> {
                    let mut net: Network<f32> = architecture.clone().build()?;
                    let mut losses = vec![net.evaluate(threads, x, &labels)?.loss.to_bits()];
                    for _ in 0..2 {
                        losses.push(net.train_step(threads, x, &labels, update)?.to_bits());
                    }
                    Ok(losses)
                };
                let serial = run(Threads::Serial);
                assert!(matches!(serial, Ok(_) | Err(Error::Unsupported { .. })));
                assert_eq!(run(Threads::Spawned(3)), serial, "{architecture:?}, {update:?}, batch {batch}");
            }
        }
    }
}
