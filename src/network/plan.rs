//! The passes through a network, on parameters that somebody owns.

use super::inspect::{LayerStatistics, Observer};
use super::loss::{Evaluation, draw_labels};
use super::purpose::{Gradients, Inspection, Purpose, Step};
use super::sequences::Sequences;
use super::target::{Mean, Target};
use super::train_state::TrainState;
use crate::buffer::{Activations, Examples, Units};
use crate::context::Context;
use crate::driver::{from_rows, largest_slab, slabs, to_rows};
use crate::element::Element;
use crate::error::{Error, area, same};
use crate::layers::LayerShape;
use crate::layers::buffers::{Batch, Input};
use crate::layers::collect::Destination;
use crate::layers::entry::Entry;
use crate::layers::inhibition::division::Divisor;
use crate::layers::inhibition::low::LowDivisors;
use crate::layers::pass::Pass;
use crate::layout::Split;
use crate::matrix::{MatMut, MatRef, Steps};
use crate::optim::apply::apply;
use crate::optim::clip::factor_of_network;
use crate::optim::state::FISHER;
use crate::optim::update::{Natural, Update};
use crate::params::network::{NetworkParams, NetworkParamsMut};
use crate::params::schema::Schema;
use crate::params::{Params, ParamsRef};
use crate::threads::{Team, Threads};

/// How a network computes: its layers, what its passes need, and the [`Context`]. Parameters, and what training keeps
/// beside them, are the caller's: a [`Network`](crate::Network) is a plan with its parameters.
///
/// What is called "parameters" here is a slice or a `Vec` of [`Params`], or of views of arrays that somebody else owns
/// ([`ParamsRef`](crate::ParamsRef), [`ParamsMut`](crate::ParamsMut)): one for each layer, from the input to the
/// output. A plan may serve several sets of parameters in turn, each with a [`TrainState`] of its own. Who changes
/// parameters between steps otherwise than by a step forgets what was kept of them: [`TrainState::forget`].
///
/// ```
/// use interneuron::*;
///
/// let architecture = Architecture::dann(&[2, 24, 2], &[4, 1])?.seed(1);
/// let mut plan: Plan<f32> = architecture.plan(&Context::new()?)?;
/// let (mut params, mut state) = (architecture.draw::<f32>()?, TrainState::new(1));
/// let x = MatRef::new(&[0.2, 0.8, 0.9, 0.1], 2, 2)?;
/// for _ in 0..10 {
///     plan.train_step(&mut params, &mut state, x, &[0, 1], &Update::csgd(0.1))?;
/// }
/// assert!(plan.evaluate(&params, x, &[0, 1])?.loss < 0.7);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct Plan<T: Element> {
    pub(super) layers: Vec<PlanLayer<T>>,
    pub(super) context: Context,
    pub(super) entry: Entry<T>,
    pub(super) doutputs: Activations<T>,
    /// Room for two rows of outputs.
    pub(super) row: Vec<T>,
    /// Outputs of a batch, and the loss's gradient by them, for losses that the caller computes.
    called: [Vec<T>; 2],
    /// Labels that a natural gradient drew.
    drawn: Vec<u32>,
    /// The most steps that a pass through time keeps.
    pub(super) most_steps: Option<usize>,
}

#[derive(Clone)]
pub(super) struct PlanLayer<T: Element> {
    pub shape: LayerShape,
    pub pass: Box<dyn Pass<T>>,
}

impl<T: Element> PlanLayer<T> {
    fn schema(&self) -> &Schema {
        &self.pass.buffers().schema
    }
}

impl<T: Element> Plan<T> {
    /// Layers that an [`Architecture`](crate::Architecture) allows.
    pub(crate) fn of(shapes: &[LayerShape], context: &Context) -> Result<Self, Error> {
        let layer = |shape: &LayerShape| Ok(PlanLayer { shape: *shape, pass: shape.pass(context.isa())? });
        let layers = shapes.iter().map(layer).collect::<Result<_, Error>>()?;
        Ok(Self {
            layers,
            context: context.clone(),
            entry: Entry::new(),
            doutputs: Activations::new(),
            row: vec![],
            called: [vec![], vec![]],
            drawn: vec![],
            most_steps: None,
        })
    }

    /// The instruction set and the threads.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Computes on other threads from now on.
    pub fn set_threads(&mut self, threads: impl Into<Threads>) {
        self.context.set_threads(threads);
    }

    /// The number of inputs.
    pub fn inputs(&self) -> usize {
        self.layers[0].shape.inputs()
    }

    /// The number of outputs.
    pub fn outputs(&self) -> usize {
        self.last().shape.outputs()
    }

    pub(super) fn last(&self) -> &PlanLayer<T> {
        self.layers.last().expect("an architecture has a layer")
    }

    /// The outputs of the last forward pass, and their examples.
    pub(super) fn last_outputs(&self) -> (Units<'_, T>, Split) {
        let pass = &self.last().pass;
        (pass.h(), pass.buffers().examples)
    }

    /// The states in which the last sequences ended, `[B, ne]` of each recurrent layer: `h_T`, or `v_T` in the `state`
    /// form. Empty matrices, none, of the other layers, and before the first call.
    pub fn last_states(&self) -> impl ExactSizeIterator<Item = Option<MatRef<'_, T>>> {
        self.layers.iter().map(|layer| layer.pass.last_states())
    }

    /// The shapes of the layers, from the input to the output.
    pub fn shapes(&self) -> impl ExactSizeIterator<Item = LayerShape> {
        self.layers.iter().map(|layer| layer.shape)
    }

    /// The arrays of each layer, from the input to the output.
    pub fn schemas(&self) -> impl ExactSizeIterator<Item = &Schema> {
        self.layers.iter().map(PlanLayer::schema)
    }

    /// Arrays of zeros, for the gradients of all layers.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if they do not fit in memory.
    pub fn zero_gradients(&self) -> Result<Vec<Params<T>>, Error> {
        self.schemas().map(|schema| Params::zeros_where(schema, |_| true)).collect()
    }

    /// One step of training on the examples `x [B, inputs]` with the `target` of each: forward, loss, backward and
    /// update of `params`, with what is kept in `state`. Returns the loss before the update. See
    /// [`Network::train_step`](crate::Network::train_step).
    ///
    /// # Errors
    /// As [`Network::train_step`](crate::Network::train_step); [`Error::Length`] if `params` or a used `state` has not
    /// one element for each layer, [`Error::Layer`] with [`Error::Length`] or [`Error::Kind`] if one has not the shape
    /// of its layer. Parameters and state are then as they were.
    pub fn train_step<'a, 'p>(
        &mut self,
        params: impl Into<NetworkParamsMut<'a, 'p, T>>,
        state: &'a mut TrainState<T>,
        x: impl Into<Sequences<'a, T>>,
        target: impl Into<Target<'a, T>>,
        update: &'a Update,
    ) -> Result<f64, Error>
    where
        T: 'a,
        'p: 'a,
    {
        let (params, x, target) = (params.into(), x.into(), target.into());
        params.view().check("params", self.schemas())?;
        self.check_update(update)?;
        if update.natural.is_some() && !target.is_softmax() {
            return Err(NATURAL_NEEDS_SOFTMAX);
        }
        let objective = self.objective(x, target)?;
        state.prepare(self.schemas(), update, &params)?;
        let result = self.pass(x, objective, &mut Step { params, state, update });
        state.end(result.is_ok());
        result
    }

    /// One step of training on the examples `x [B, inputs]` with a loss that the caller computes. See
    /// [`Network::step_with`](crate::Network::step_with).
    ///
    /// # Errors
    /// As [`Network::step_with`](crate::Network::step_with), also of `params` and `state`, as [`Plan::train_step`].
    pub fn step_with<'a, 'p>(
        &mut self,
        params: impl Into<NetworkParamsMut<'a, 'p, T>>,
        state: &'a mut TrainState<T>,
        x: impl Into<Sequences<'a, T>>,
        update: &'a Update,
        loss: impl FnOnce(MatRef<'_, T>, MatMut<'_, T>) -> f64,
    ) -> Result<f64, Error>
    where
        T: 'a,
        'p: 'a,
    {
        let (params, x) = (params.into(), x.into());
        params.view().check("params", self.schemas())?;
        self.check_update(update)?;
        if update.natural.is_some() {
            return Err(NATURAL_NEEDS_SOFTMAX);
        }
        self.check_inputs(x)?;
        state.prepare(self.schemas(), update, &params)?;
        let (rows, cols) = (x.rows(), self.outputs());
        let mut called = std::mem::take(&mut self.called);
        let result = self.call(x, &|k| params.layer(k), &mut called, loss).and_then(|(loss, forwarded)| {
            if !loss.is_finite() {
                return Err(Error::Diverged { step: state.steps, lr: update.lr, loss });
            }
            let doutputs = MatRef::new(&called[1], rows, cols)?;
            doutputs.check_finite("doutputs")?;
            self.pass(x, Objective::Given { doutputs, loss, forwarded }, &mut Step { params, state, update })
        });
        self.called = called;
        state.end(result.is_ok());
        result
    }

    /// The outputs of `x`, and what the caller makes of them: the loss, and whether the network is as after a forward
    /// pass of training with the whole batch.
    fn call(
        &mut self,
        x: Sequences<'_, T>,
        params: ParamsOf<'_, '_, T>,
        [outputs, doutputs]: &mut [Vec<T>; 2],
        loss: impl FnOnce(MatRef<'_, T>, MatMut<'_, T>) -> f64,
    ) -> Result<(f64, bool), Error> {
        let (rows, cols) = (x.rows(), self.outputs());
        let elements = area("x", rows, cols)?;
        for buffer in [&mut *outputs, &mut *doutputs] {
            buffer.clear();
            buffer.try_reserve_exact(elements).map_err(|_| Error::TooLarge { elements })?;
            buffer.resize(elements, T::ZERO);
        }
        let mut out = MatMut::new(outputs, rows, cols)?;
        let forwarded = !self.is_recurrent() && (self.has_batch_statistics() || slabs(rows).len() == 1);
        if forwarded {
            self.prepare(Batch::of(rows), true)?;
            self.begin_count();
            let threads = self.context.threads().clone();
            threads.region(self.flops(rows, |shape, batch, _| shape.forward_flops(batch)), |team| {
                self.forward(team, params, Steps::one(x.x), true);
                let (outputs, examples) = self.last_outputs();
                to_rows(team, outputs, examples, Steps::one(&mut out), |output| output);
            });
        } else {
            self.in_pieces(params, x, |team, piece, _| {
                to_rows(team, piece.outputs, piece.examples, piece.rows.of(&mut out), |output| output);
            })?;
        }
        self.check_divisors()?;
        Ok((loss(MatRef::new(outputs, rows, cols)?, MatMut::new(doutputs, rows, cols)?), forwarded))
    }

    /// Checks that there are as many inputs as the network has, and that they are finite: ReLU may hide an infinity from
    /// the loss, but not from the gradients, as zero times infinity is NaN.
    fn check_inputs(&self, x: Sequences<'_, T>) -> Result<(), Error> {
        self.check_sequences(x)?;
        x.x.check_finite("x")
    }

    /// Checks everything about sequences but that they are finite.
    fn check_sequences(&self, x: Sequences<'_, T>) -> Result<(), Error> {
        same("x", "columns", x.x.cols(), "the network", "inputs", self.inputs())?;
        x.check(self.shapes().map(|shape| shape.recurrent_units()))?;
        x.check_carried(self.last_states())
    }

    /// The mean loss of the target of each example, after checks of both.
    fn objective<'t>(&self, x: Sequences<'_, T>, target: Target<'t, T>) -> Result<Objective<'t, T>, Error> {
        self.check_sequences(x)?;
        target.check(x.rows(), self.outputs())?;
        x.x.check_finite("x")?;
        Ok(Objective::Mean(Mean::of(target, x.rows(), self.outputs())))
    }

    fn check_update(&self, update: &Update) -> Result<(), Error> {
        update.check::<T>()?;
        if update.natural.is_some() && self.has_batch_statistics() {
            return Err(Error::Unsupported {
                what: "a natural gradient of batch normalisation",
                expected: "layers that treat each example on its own",
            });
        }
        if update.natural.is_some() && self.is_recurrent() {
            return Err(Error::Unsupported {
                what: "a natural gradient through time",
                expected: "corrections, momentum or Adam",
            });
        }
        Ok(())
    }

    /// Whether a layer has states.
    pub(super) fn is_recurrent(&self) -> bool {
        self.layers.iter().any(|layer| layer.shape.is_recurrent())
    }

    fn has_batch_statistics(&self) -> bool {
        self.layers.iter().any(|layer| layer.shape.has_batch_statistics())
    }

    /// The loss on the examples `x [B, inputs]` with the `target` of each, and its gradients by all `params`, which
    /// overwrite `gradients`.
    ///
    /// # Errors
    /// As [`Plan::train_step`], also of `gradients`.
    pub fn gradients<'a, 'g>(
        &mut self,
        params: impl Into<NetworkParams<'a, T>>,
        x: impl Into<Sequences<'a, T>>,
        target: impl Into<Target<'a, T>>,
        gradients: impl Into<NetworkParamsMut<'a, 'g, T>>,
    ) -> Result<f64, Error>
    where
        T: 'a,
        'g: 'a,
    {
        let (params, x, target, gradients) = (params.into(), x.into(), target.into(), gradients.into());
        params.check("params", self.schemas())?;
        gradients.view().check("gradients", self.schemas())?;
        let objective = self.objective(x, target)?;
        self.pass(x, objective, &mut Gradients { params, gradients })
    }

    /// Statistics of what each layer does: see [`Network::inspect`](crate::Network::inspect).
    ///
    /// # Errors
    /// As [`Plan::gradients`]; [`Error::LearningRate`], [`Error::Factor`] or [`Error::Policy`] if the update cannot be
    /// used.
    pub fn inspect<'a>(
        &mut self,
        params: impl Into<NetworkParams<'a, T>>,
        x: impl Into<Sequences<'a, T>>,
        target: impl Into<Target<'a, T>>,
        update: &Update,
    ) -> Result<Vec<LayerStatistics>, Error>
    where
        T: 'a,
    {
        let (params, x, target) = (params.into(), x.into(), target.into());
        params.check("params", self.schemas())?;
        update.check::<T>()?;
        let objective = self.objective(x, target)?;
        let observers = self.shapes().map(|shape| Observer::new(&shape)).collect();
        let mut inspection = Inspection { params, gradients: self.zero_gradients()?, observers };
        self.pass(x, objective, &mut inspection)?;
        let Inspection { gradients, observers, .. } = inspection;
        let layers = self.layers.iter().zip(&gradients).zip(observers).enumerate();
        Ok(layers
            .map(|(k, ((layer, gradients), observer))| {
                observer.summarise((&layer.shape, layer.schema()), params.layer(k), gradients.view(), update)
            })
            .collect())
    }

    /// Takes a step with gradients that were handed out, perhaps averaged by the caller: `params` are overwritten. See
    /// [`Network::apply`](crate::Network::apply).
    ///
    /// # Errors
    /// As [`Network::apply`](crate::Network::apply), also of `params` and `state`, as [`Plan::train_step`].
    pub fn apply<'a, 'p>(
        &self,
        params: impl Into<NetworkParamsMut<'a, 'p, T>>,
        state: &mut TrainState<T>,
        update: &Update,
        gradients: impl Into<NetworkParams<'a, T>>,
    ) -> Result<(), Error>
    where
        T: 'a,
        'p: 'a,
    {
        let (mut params, gradients) = (params.into(), gradients.into());
        params.view().check("params", self.schemas())?;
        update.check::<T>()?;
        update.check_without_labels()?;
        gradients.check("gradients", self.schemas())?;
        state.prepare(self.schemas(), update, &params)?;
        // A step waits for memory: an element takes about as long as it does in a forward pass of 8 examples.
        let flops = self.flops(8, |shape, batch, _| shape.forward_flops(batch));
        let all = self.schemas().enumerate().map(|(k, schema)| (schema, gradients.layer(k)));
        let clip = factor_of_network(update, all);
        self.context.threads().region(flops, |team| {
            for (k, (layer, state)) in self.layers.iter().zip(&mut state.layers).enumerate() {
                let (kernels, rule) = (layer.pass.buffers().kernels, (layer.schema(), update));
                apply(team, kernels, rule, params.layer_mut(k), gradients.layer(k), state, clip);
            }
        });
        state.end(true);
        Ok(())
    }

    /// Forward, loss and backward, slab by slab; what becomes of each layer's gradients is the `purpose`'s to say.
    fn pass(
        &mut self,
        x: Sequences<'_, T>,
        objective: Objective<'_, T>,
        purpose: &mut dyn Purpose<T>,
    ) -> Result<f64, Error> {
        if self.is_recurrent() {
            return self.pass_through_time(x, objective, purpose);
        }
        // Where there is no state, a step is as good as another example.
        let x = x.x;
        let batch = x.rows();
        // A batch whose statistics matter is not cut.
        let whole = self.has_batch_statistics();
        let count = if whole { 1 } else { slabs(batch).len() };
        self.prepare(Batch::of(if whole { batch } else { largest_slab(batch) }), true)?;
        for layer in &mut self.layers {
            layer.pass.prepare_slabs(count)?;
        }
        if !objective.is_forwarded() {
            self.begin_count();
        }
        let mut labels_before = None;
        if let Some((_, state)) = purpose.fisher() {
            for layer in &mut self.layers {
                layer.pass.prepare_fisher_pass()?;
            }
            state.keep_fisher();
            labels_before = Some(state.label_generator.clone());
        }
        let slabs = slabs(batch).filter(|_| !whole).chain(std::iter::once((0, batch)).filter(|_| whole));
        let threads = self.context.threads().clone();
        threads.region(self.flops(batch, LayerShape::train_flops), |team| {
            let mut loss = 0.0;
            for (start, len) in slabs {
                let objective = objective.slice(start, len);
                self.prepare(Batch::of(len), true)?;
                if !objective.is_forwarded() {
                    self.forward(team, &|k| purpose.params(k), Steps::one(x.slice(start, len)?), true);
                }
                self.layers.iter().enumerate().for_each(|(k, layer)| purpose.observe(k, &*layer.pass, 0));
                self.estimate_fisher(team, purpose, objective, (start == 0, batch))?;
                loss += self.backward(team, &|k| purpose.params(k), objective, Steps::one(()));
                let last = start + len == batch;
                if last && let Err(error) = self.check_pass(purpose, objective, loss) {
                    if let (Some((_, state)), Some(before)) = (purpose.fisher(), labels_before) {
                        state.restore_fisher();
                        state.label_generator = before;
                    }
                    return Err(error);
                }
                self.for_each_down(|k, pass, x| {
                    if last {
                        purpose.finish(team, k, pass, x);
                    } else {
                        pass.collect(team, x, Destination::Accumulate);
                    }
                });
            }
            purpose.end(team, &|k| self.layers[k].pass.buffers());
            Ok(objective.finish(loss))
        })
    }

    /// Checks what a whole batch made, before anything is made of its gradients.
    pub(super) fn check_pass(
        &self,
        purpose: &dyn Purpose<T>,
        objective: Objective<'_, T>,
        loss: f64,
    ) -> Result<(), Error> {
        if purpose.needs_divisors() {
            self.check_divisors()?;
        }
        if loss.is_finite() { Ok(()) } else { Err(purpose.diverged(objective.finish(loss))) }
    }

    /// Checks that no layer without a remedy divided by less than ε since [`Plan::begin_count`].
    fn check_divisors(&self) -> Result<(), Error> {
        for (layer, (shape, low)) in self.shapes().zip(self.low_divisors()).enumerate() {
            if shape.divisor() == Some(Divisor::Plain)
                && let Some(low @ LowDivisors { smallest: Some(smallest), .. }) = low
            {
                return Err(Error::Divisor { layer, share: low.share(), smallest });
            }
        }
        Ok(())
    }

    pub(super) fn begin_count(&mut self) {
        self.layers.iter_mut().for_each(|layer| layer.pass.begin_count());
    }

    /// How many divisors of each layer were below their bound in the last call that went through the network, from the
    /// input to the output: none for a layer that does not divide. See [`Network::low_divisors`](crate::Network::low_divisors).
    pub fn low_divisors(&self) -> impl ExactSizeIterator<Item = Option<LowDivisors>> {
        self.layers.iter().map(|layer| layer.pass.low_divisors())
    }

    /// Calls `f` with each layer's pass and its input `x [B, d]`, from the last layer down.
    pub(super) fn for_each_down(&mut self, mut f: impl FnMut(usize, &mut dyn Pass<T>, Examples<'_, T>)) {
        for k in (0..self.layers.len()).rev() {
            let (below, here) = self.layers.split_at_mut(k);
            let x = below.last().map_or_else(|| self.entry.examples(), |below| below.pass.h_examples());
            f(k, &mut *here[0].pass, x);
        }
    }

    /// Adds a slab to the estimate of the Fisher information, if that is wanted: a backward pass from labels that are
    /// drawn from the network's own outputs. `first` begins a new batch, which has `batch` examples.
    fn estimate_fisher(
        &mut self,
        team: &Team<'_>,
        purpose: &mut dyn Purpose<T>,
        objective: Objective<'_, T>,
        (first, batch): (bool, usize),
    ) -> Result<(), Error> {
        let Some((Natural { c, f_lambda, .. }, state)) = purpose.fisher() else { return Ok(()) };
        let last = self.layers.len() - 1;
        // The step will fail, and nothing is to be drawn from what is not a number.
        let Objective::Mean(mean) = objective else { return Ok(()) };
        let outputs = self.layers[last].pass.outputs();
        if !mean.loss(outputs, Steps::one(()), None, &mut self.row).loss.is_finite() {
            return Ok(());
        }
        let mut drawn = std::mem::take(&mut self.drawn);
        draw_labels(self.layers[last].pass.outputs(), &mut state.label_generator, &mut drawn);
        // There is room for the largest slab already; this only makes it as large as this one.
        self.layers.iter_mut().try_for_each(|layer| layer.pass.prepare_fisher_pass())?;
        self.layers.iter_mut().for_each(|layer| layer.pass.begin_fisher_pass());
        // Gradients of single examples, not of their mean.
        let mean = Mean { target: Target::labels(&drawn), total: 1.0 };
        self.backward(team, &|k| purpose.params(k), Objective::Mean(mean), Steps::one(()));
        self.drawn = drawn;
        let keep = if first { 1.0 - c } else { 1.0 };
        let [keep, scale] = [keep, c * f_lambda / batch as f64].map(T::from_f64);
        let (_, state) = purpose.fisher().expect("a natural gradient");
        self.for_each_down(|k, pass, x| {
            let into = state.layers[k].slot_mut(&FISHER).expect("the state was prepared").view_mut();
            pass.collect(team, x, Destination::Fisher { into, keep, scale });
            pass.end_fisher_pass();
        });
        Ok(())
    }

    /// From the outputs of the present examples, whose targets are in the rows that `rows` says, to the deltas of all
    /// layers; returns the sum of the losses.
    pub(super) fn backward(
        &mut self,
        team: &Team<'_>,
        params: ParamsOf<'_, '_, T>,
        objective: Objective<'_, T>,
        rows: Steps<()>,
    ) -> f64 {
        let last = self.layers.len() - 1;
        let pass = &mut self.layers[last].pass;
        let loss = match objective {
            Objective::Mean(mean) => mean.loss(pass.outputs(), rows, Some(&mut self.doutputs), &mut self.row).loss,
            Objective::Given { doutputs, .. } => {
                from_rows(team, rows.of(doutputs), pass.buffers().examples, &mut self.doutputs);
                0.0
            }
        };
        pass.receive_array(team, params(last), &self.doutputs);
        for k in (0..self.layers.len()).rev() {
            let (below, here) = self.layers.split_at_mut(k);
            let pass = &mut here[0].pass;
            pass.inner_backward(team, params(k));
            if let Some(below) = below.last_mut() {
                below.pass.receive(team, params(k - 1), pass.input_gradient(params(k)));
            }
        }
        loss
    }

    /// Useful work in all layers.
    pub(super) fn flops(&self, batch: usize, of: impl Fn(&LayerShape, usize, bool) -> f64) -> f64 {
        self.shapes().enumerate().map(|(k, shape)| of(&shape, batch, k > 0)).sum()
    }

    /// Makes room for a slab.
    pub(super) fn prepare(&mut self, batch: Batch, training: bool) -> Result<(), Error> {
        for layer in &mut self.layers {
            layer.pass.prepare(batch, training)?;
        }
        self.entry.prepare(self.layers[0].pass.buffers())?;
        if training {
            self.doutputs.resize(self.outputs(), self.last().pass.buffers().all)?;
        }
        let room = 2 * self.outputs();
        let more = room.saturating_sub(self.row.len());
        self.row.try_reserve_exact(more).map_err(|_| Error::TooLarge { elements: room })?;
        self.row.resize(room, T::ZERO);
        Ok(())
    }

    pub(super) fn forward(
        &mut self,
        team: &Team<'_>,
        params: ParamsOf<'_, '_, T>,
        x: Steps<MatRef<'_, T>>,
        training: bool,
    ) {
        let input = self.entry.load(team, self.layers[0].pass.buffers(), x, training);
        self.layers[0].pass.forward(team, params(0), input, training);
        for k in 1..self.layers.len() {
            let (below, here) = self.layers.split_at_mut(k);
            let below = &below[k - 1].pass;
            let buffers = below.buffers();
            let input = if buffers.dots { Input::Examples(&buffers.h_examples) } else { Input::Units(below.h()) };
            here[0].pass.forward(team, params(k), input, training);
        }
    }

    /// Loss and errors on the examples `x [B, inputs]` with the `target` of each, for any B.
    ///
    /// # Errors
    /// As [`Network::evaluate`](crate::Network::evaluate), also of `params`, as [`Plan::train_step`].
    pub fn evaluate<'a>(
        &mut self,
        params: impl Into<NetworkParams<'a, T>>,
        x: impl Into<Sequences<'a, T>>,
        target: impl Into<Target<'a, T>>,
    ) -> Result<Evaluation, Error>
    where
        T: 'a,
    {
        let (params, x, target) = (params.into(), x.into(), target.into());
        params.check("params", self.schemas())?;
        self.check_sequences(x)?;
        target.check(x.rows(), self.outputs())?;
        let mean = Mean::of(target, x.rows(), self.outputs());
        let mut sum = Evaluation::default();
        self.in_pieces(&|k| params.layer(k), x, |_, piece, row| {
            sum.add(mean.loss((piece.outputs, piece.examples), piece.rows, None, row));
        })?;
        Ok(mean.finish(sum))
    }

    /// The outputs of the last layer: from `x [B, inputs]` to `logits [B, outputs]`, which is overwritten, for any B.
    ///
    /// # Errors
    /// As [`Network::logits`](crate::Network::logits), also of `params`, as [`Plan::train_step`].
    pub fn logits<'a>(
        &mut self,
        params: impl Into<NetworkParams<'a, T>>,
        x: impl Into<Sequences<'a, T>>,
        mut logits: MatMut<'_, T>,
    ) -> Result<(), Error>
    where
        T: 'a,
    {
        let (params, x) = (params.into(), x.into());
        params.check("params", self.schemas())?;
        self.check_sequences(x)?;
        same("logits", "rows", logits.rows(), "x", "rows", x.rows())?;
        same("logits", "columns", logits.cols(), "the network", "outputs", self.outputs())?;
        self.in_pieces(&|k| params.layer(k), x, |team, piece, _| {
            to_rows(team, piece.outputs, piece.examples, piece.rows.of(&mut logits), |logit| logit);
        })
    }

    /// Calls `each` with one piece of `x` after the other, and with room for two rows of outputs.
    fn in_pieces(
        &mut self,
        params: ParamsOf<'_, '_, T>,
        x: Sequences<'_, T>,
        mut each: impl FnMut(&Team<'_>, Piece<'_, T>, &mut [T]) + Send,
    ) -> Result<(), Error> {
        if self.is_recurrent() {
            return self.in_pieces_through_time(params, x, each);
        }
        let x = x.x;
        self.prepare(Batch::of(largest_slab(x.rows())), false)?;
        self.begin_count();
        let flops = self.flops(x.rows(), |shape, batch, _| shape.forward_flops(batch));
        let threads = self.context.threads().clone();
        threads.region(flops, |team| {
            for (start, len) in slabs(x.rows()) {
                let slab = x.slice(start, len)?;
                self.prepare(Batch::of(len), false)?;
                self.forward(team, params, Steps::one(slab), false);
                let last = self.layers.last().expect("an architecture has a layer");
                let (outputs, examples) = last.pass.outputs();
                let rows = Steps { rows: (), rows_of_step: x.rows(), first: start };
                each(team, Piece { outputs, examples, rows }, &mut self.row);
            }
            Ok(())
        })
    }
}

/// The parameters of a layer by its number.
pub(super) type ParamsOf<'f, 'p, T> = &'f (dyn Fn(usize) -> ParamsRef<'p, T> + Sync + 'f);

/// The outputs of some examples, and the rows that are theirs among those of all.
pub(super) struct Piece<'a, T> {
    pub outputs: Units<'a, T>,
    pub examples: Split,
    pub rows: Steps<()>,
}

/// What a pass has the gradient of.
#[derive(Clone, Copy)]
pub(super) enum Objective<'a, T> {
    /// The mean loss of a target.
    Mean(Mean<'a, T>),
    /// A loss that was computed elsewhere, with its gradient by the outputs. `forwarded` after a forward pass with the
    /// whole batch, which need not be made again.
    Given { doutputs: MatRef<'a, T>, loss: f64, forwarded: bool },
}

impl<T: Element> Objective<'_, T> {
    /// That of `len` examples from `start`.
    fn slice(self, start: usize, len: usize) -> Self {
        match self {
            Self::Mean(mean) => Self::Mean(mean.slice(start, len)),
            Self::Given { doutputs, loss, forwarded } => {
                let doutputs = doutputs.slice(start, len).expect("a part of the batch");
                Self::Given { doutputs, loss, forwarded }
            }
        }
    }

    pub(super) fn is_forwarded(&self) -> bool {
        matches!(self, Self::Given { forwarded: true, .. })
    }

    /// The loss, from the sum of those of all examples.
    pub(super) fn finish(&self, sum: f64) -> f64 {
        match self {
            Self::Mean(mean) => mean.finish(Evaluation { loss: sum, ..Evaluation::default() }).loss,
            Self::Given { loss, .. } => *loss,
        }
    }
}

const NATURAL_NEEDS_SOFTMAX: Error = Error::Unsupported {
    what: "a natural gradient of this loss",
    expected: "labels or probabilities, from whose softmax it can draw labels",
};

impl<T: Element> std::fmt::Debug for Plan<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shapes: Vec<_> = self.shapes().collect();
        f.debug_struct("Plan").field("shapes", &shapes).field("context", &self.context).finish()
    }
}
