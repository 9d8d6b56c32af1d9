//! Networks of layers, trained on labels.

pub(crate) mod architecture;
pub(crate) mod inspect;
pub(crate) mod layer;
pub(crate) mod loss;
mod presets;
#[cfg(test)]
mod tests;

use crate::buffer::Activations;
use crate::driver::{copy_examples, from_rows, largest_slab, slabs, to_rows};
use crate::element::Element;
use crate::error::{Error, check_labels, length, same};
use crate::init::{Generator, generator};
use crate::isa::Isa;
use crate::layers::LayerShape;
use crate::layers::buffers::Input;
use crate::layers::collect::Destination;
use crate::layers::tape::Tape;
use crate::matrix::{MatMut, MatRef};
use crate::network::inspect::{LayerStatistics, Observer};
use crate::network::loss::{Evaluation, draw_labels, softmax_cross_entropy};
use crate::optim::apply::apply;
use crate::optim::state::{FISHER, State};
use crate::optim::update::{Natural, Update};
use crate::params::Params;
use crate::params::schema::Schema;
use crate::threads::{Team, Threads};

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
    schema: Schema,
    params: Params<T>,
    tape: Box<dyn Tape<T>>,
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
        layers: Vec<(LayerShape, Params<T>)>,
        isa: Isa,
        steps: u64,
        label_generator: Generator,
    ) -> Result<Self, Error> {
        let block = |(shape, params): (LayerShape, _)| {
            Ok(Block { shape, schema: shape.schema()?, params, tape: shape.tape(isa)?, state: State::new() })
        };
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
    pub fn params(&self) -> impl ExactSizeIterator<Item = &Params<T>> {
        self.blocks.iter().map(|block| &block.params)
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
    pub fn set_params(&mut self, k: usize, params: Params<T>) -> Result<(), Error> {
        let Some(block) = self.blocks.get_mut(k) else {
            return Err(Error::Dimension { name: "k", value: k, expected: "less than the number of layers" });
        };
        params.view().validate(&block.shape).map_err(|error| error.in_layer(k))?;
        block.params = params.renamed(block.schema.names);
        block.state = State::new();
        Ok(())
    }

    /// Arrays for the gradients of all layers.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if they do not fit in memory.
    pub fn zero_gradients(&self) -> Result<Vec<Params<T>>, Error> {
        self.shapes().map(|shape| Params::zeros(&shape)).collect()
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
        for Block { schema, params, state, .. } in &mut self.blocks {
            state.prepare(schema, update, params.view())?;
        }
        let finish = |team: &Team<'_>, _: usize, block: &mut Block<T>, x: &Activations<T>| {
            let Block { params, tape, state, .. } = block;
            tape.update(team, update, params.view_mut(), x, state);
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
        gradients: &mut [Params<T>],
    ) -> Result<f64, Error> {
        self.check_gradients(gradients)?;
        let finish = |team: &Team<'_>, k: usize, block: &mut Block<T>, x: &Activations<T>| {
            block.tape.collect(team, x, Destination::Store(gradients[k].view_mut()));
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
        let finish = |team: &Team<'_>, k: usize, block: &mut Block<T>, x: &Activations<T>| {
            block.tape.collect(team, x, Destination::Store(gradients[k].view_mut()));
        };
        let see = |k: usize, block: &Block<T>| observers[k].observe(&*block.tape);
        self.pass(threads, x, labels, Pass { lr: update.lr, natural: None }, see, finish)?;
        let layers = self.blocks.iter().zip(&gradients).zip(observers);
        Ok(layers
            .map(|((block, gradients), observer)| {
                observer.summarise(&block.schema, block.params.view(), gradients.view(), update)
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
    pub fn apply(&mut self, threads: Threads<'_>, update: &Update, gradients: &[Params<T>]) -> Result<(), Error> {
        update.check::<T>()?;
        update.check_without_labels()?;
        self.check_gradients(gradients)?;
        for Block { schema, params, state, .. } in &mut self.blocks {
            state.prepare(schema, update, params.view())?;
        }
        // A step waits for memory: an element takes about as long as it does in a forward pass of 8 examples.
        threads.region(self.flops(8, |shape, batch, _| shape.forward_flops(batch)), |team| {
            for (Block { schema, params, tape, state, .. }, gradients) in self.blocks.iter_mut().zip(gradients) {
                let kernels = tape.buffers().kernels;
                apply(team, kernels, (schema, update), params.view_mut(), gradients.view(), state);
            }
        });
        self.steps += 1;
        Ok(())
    }

    fn check_gradients(&self, gradients: &[Params<T>]) -> Result<(), Error> {
        length("gradients", gradients.len(), self.blocks.len())?;
        self.blocks.iter().zip(gradients).enumerate().try_for_each(|(k, (block, gradients))| {
            gradients.view().check(&block.schema).map_err(|error| error.in_layer(k))
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
        mut finish: impl FnMut(&Team<'_>, usize, &mut Block<T>, &Activations<T>) + Send,
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
            block.tape.prepare_slabs(count)?;
        }
        let labels_before = self.label_generator.clone();
        if natural.is_some() {
            for block in &mut self.blocks {
                block.tape.prepare_fisher_pass()?;
                block.state.keep_fisher();
            }
        }
        let slabs = slabs(batch).filter(|_| !whole).chain(std::iter::once((0, batch)).filter(|_| whole));
        threads.region(self.flops(batch, LayerShape::train_flops), |team| {
            let mut loss = 0.0;
            for (start, len) in slabs {
                let slab = x.slice(start, len)?;
                let labels = &labels[start..][..len];
                self.prepare(len, true)?;
                self.forward(team, slab, true);
                self.blocks.iter().enumerate().for_each(|(k, block)| see(k, block));
                if let Some(natural) = natural {
                    self.estimate_fisher(team, natural, labels, (start == 0, batch))?;
                }
                loss += self.backward(team, labels, batch);
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
                        finish(team, k, block, x);
                    } else {
                        block.tape.collect(team, x, Destination::Accumulate);
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
            let x = below.last().map_or(&self.x_examples, |below| &below.tape.buffers().h_examples);
            f(k, &mut here[0], x);
        }
    }

    /// Adds a slab to the estimate of the Fisher information: a backward pass from labels that are drawn from the
    /// network's own outputs. `first` begins a new batch, which has `batch` examples.
    fn estimate_fisher(
        &mut self,
        team: &Team<'_>,
        Natural { c, f_lambda, .. }: Natural,
        labels: &[u32],
        (first, batch): (bool, usize),
    ) -> Result<(), Error> {
        // The step will fail, and nothing is to be drawn from what is not a number.
        let (loss, _) = softmax_cross_entropy(&self.last().tape.buffers().h, labels, None);
        if !loss.is_finite() {
            return Ok(());
        }
        let mut drawn = std::mem::take(&mut self.drawn);
        let last = self.blocks.last().expect("an architecture has a layer");
        draw_labels(&last.tape.buffers().h, &mut self.label_generator, &mut drawn);
        // There is room for the largest slab already; this only makes it as large as this one.
        self.blocks.iter_mut().try_for_each(|block| block.tape.prepare_fisher_pass())?;
        self.blocks.iter_mut().for_each(|block| block.tape.begin_fisher_pass());
        // Gradients of single examples, not of their mean.
        self.backward(team, &drawn, 1);
        self.drawn = drawn;
        let keep = if first { 1.0 - c } else { 1.0 };
        let [keep, scale] = [keep, c * f_lambda / batch as f64].map(T::from_f64);
        self.for_each_down(|_, Block { tape, state, .. }, x| {
            let into = state.slot_mut(&FISHER).expect("the state was prepared").view_mut();
            tape.collect(team, x, Destination::Fisher { into, keep, scale });
            tape.end_fisher_pass();
        });
        Ok(())
    }

    /// From the logits of a slab to the deltas of all layers; returns the sum of the losses.
    fn backward(&mut self, team: &Team<'_>, labels: &[u32], batch: usize) -> f64 {
        let last = self.blocks.last_mut().expect("an architecture has a layer");
        let gradient = Some((&mut self.dlogits, batch));
        let (loss, _) = softmax_cross_entropy(&last.tape.buffers().h, labels, gradient);
        last.tape.receive_array(team, last.params.view(), &self.dlogits);
        for k in (0..self.blocks.len()).rev() {
            let (below, here) = self.blocks.split_at_mut(k);
            let here = &mut here[0];
            here.tape.inner_backward(team, here.params.view());
            if let Some(below) = below.last_mut() {
                let dh = here.tape.input_gradient(here.params.view());
                below.tape.receive(team, below.params.view(), dh);
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
            block.tape.prepare(examples, training)?;
        }
        let columns = self.last().tape.buffers().h.columns();
        self.x.resize(self.inputs(), columns)?;
        self.x_examples.resize(examples, self.blocks[0].tape.buffers().inputs())?;
        if training {
            self.dlogits.resize(self.classes(), columns)?;
        }
        Ok(())
    }

    fn forward(&mut self, team: &Team<'_>, x: MatRef<'_, T>, training: bool) {
        let few = self.last().tape.buffers().uses_dot_products(x.rows());
        if training || few {
            copy_examples(team, x, &mut self.x_examples);
        }
        if !few {
            from_rows(team, x, &mut self.x);
        }
        for k in 0..self.blocks.len() {
            let (below, here) = self.blocks.split_at_mut(k);
            let x = match below.last() {
                Some(below) => below.tape.buffers().output(few),
                None if few => Input::Examples(&self.x_examples),
                None => Input::Units(&self.x),
            };
            here[0].tape.forward(team, here[0].params.view(), x, training);
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
        self.in_pieces(threads, x, |team, start, piece| {
            let mut rows = logits.slice_mut(start, piece.columns().len());
            to_rows(team, piece, &mut rows, |logit| logit);
        })
    }

    /// Calls `each` with the index of the first example and the logits of one piece of `x` after the other.
    fn in_pieces(
        &mut self,
        threads: Threads<'_>,
        x: MatRef<'_, T>,
        mut each: impl FnMut(&Team<'_>, usize, &Activations<T>) + Send,
    ) -> Result<(), Error> {
        self.prepare(largest_slab(x.rows()), false)?;
        let flops = self.flops(x.rows(), |shape, batch, _| shape.forward_flops(batch));
        threads.region(flops, |team| {
            for (start, len) in slabs(x.rows()) {
                let slab = x.slice(start, len)?;
                self.prepare(len, false)?;
                self.forward(team, slab, false);
                each(team, start, &self.last().tape.buffers().h);
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
