//! Networks of layers.

pub(crate) mod architecture;
pub(crate) mod inspect;
pub(crate) mod layer;
pub(crate) mod loss;
pub(crate) mod plan;
mod presets;
mod purpose;
pub(crate) mod sequences;
pub(crate) mod tape;
pub(crate) mod target;
#[cfg(test)]
mod tests;
mod through_time;
pub(crate) mod train_state;

use crate::context::Context;
use crate::element::Element;
use crate::error::{Error, length};
use crate::isa::Isa;
use crate::layers::LayerShape;
use crate::layers::inhibition::low::LowDivisors;
use crate::matrix::{MatMut, MatRef};
use crate::network::inspect::LayerStatistics;
use crate::network::loss::Evaluation;
use crate::network::plan::Plan;
use crate::network::sequences::Sequences;
use crate::network::target::Target;
use crate::network::train_state::TrainState;
use crate::optim::state::State;
use crate::optim::update::Update;
use crate::params::Params;
use crate::params::network::{NetworkParams, NetworkParamsMut};
use crate::threads::Threads;

/// A network with its parameters, what training keeps beside them, and the scratch memory of its steps: a [`Plan`] for
/// who has no parameters elsewhere.
///
/// The loss is what the [`Target`] says: of labels, the softmax cross-entropy, averaged over the batch.
#[derive(Clone)]
pub struct Network<T: Element> {
    plan: Plan<T>,
    params: Vec<Params<T>>,
    state: TrainState<T>,
}

impl<T: Element> Network<T> {
    /// A plan with parameters, and what was kept of them: [`TrainState::new`] before the first step.
    ///
    /// # Errors
    /// [`Error::Length`] if there is not one element of `params` (and of a `state` that was used) for each layer,
    /// [`Error::Layer`] with [`Error::Kind`], [`Error::Length`] or [`Error::Value`] if one is not of the kind and shape
    /// of its layer, not finite, or negative where the sign is kept.
    pub fn new(plan: Plan<T>, params: Vec<Params<T>>, mut state: TrainState<T>) -> Result<Self, Error> {
        length("params", params.len(), plan.shapes().len())?;
        for (k, (schema, params)) in plan.schemas().zip(&params).enumerate() {
            params.view().check_values(schema).map_err(|error| error.in_layer(k))?;
        }
        state.check(plan.schemas())?;
        state.layers.resize_with(params.len(), State::new);
        Ok(Self { plan, params, state })
    }

    /// As [`Network::into_parts`], to look at.
    #[cfg(feature = "checkpoint")]
    pub(crate) fn parts(&self) -> (&Plan<T>, &[Params<T>], &TrainState<T>) {
        (&self.plan, &self.params, &self.state)
    }

    /// The plan, the parameters, and what was kept of them.
    pub fn into_parts(self) -> (Plan<T>, Vec<Params<T>>, TrainState<T>) {
        (self.plan, self.params, self.state)
    }

    /// The instruction set and the threads.
    pub fn context(&self) -> &Context {
        self.plan.context()
    }

    /// Computes on other threads from now on: [`Threads::Serial`], or a pool.
    pub fn set_threads(&mut self, threads: impl Into<Threads>) {
        self.plan.set_threads(threads);
    }

    /// The instruction set that it runs on.
    pub fn isa(&self) -> Isa {
        self.context().isa()
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.state.steps
    }

    /// The number of inputs.
    pub fn inputs(&self) -> usize {
        self.plan.inputs()
    }

    /// The number of outputs.
    pub fn outputs(&self) -> usize {
        self.plan.outputs()
    }

    /// The shapes of the layers, from the input to the output.
    pub fn shapes(&self) -> impl ExactSizeIterator<Item = LayerShape> {
        self.plan.shapes()
    }

    /// The parameters of the layers, from the input to the output.
    pub fn params(&self) -> impl ExactSizeIterator<Item = &Params<T>> {
        self.params.iter()
    }

    /// Keeps no more than so many steps of a sequence for the backward pass: see [`Plan::keep_at_most`].
    pub fn keep_at_most(&mut self, steps: Option<usize>) {
        self.plan.keep_at_most(steps);
    }

    /// The states in which the last sequences ended: see [`Plan::last_states`].
    pub fn last_states(&self) -> impl ExactSizeIterator<Item = Option<MatRef<'_, T>>> {
        self.plan.last_states()
    }

    /// What training keeps beside the parameters.
    pub fn state(&self) -> &TrainState<T> {
        &self.state
    }

    /// Replaces the parameters of layer `k`. What updates kept of it is forgotten.
    ///
    /// # Errors
    /// [`Error::Dimension`] if there is no such layer; [`Error::Layer`] with [`Error::Kind`], [`Error::Length`] or
    /// [`Error::Value`] if the parameters are not of its kind and shape, not finite, or negative where the sign is
    /// kept.
    pub fn set_params(&mut self, k: usize, params: Params<T>) -> Result<(), Error> {
        let Some(schema) = self.plan.schemas().nth(k) else {
            return Err(Error::Dimension { name: "k", value: k, expected: "less than the number of layers" });
        };
        params.view().check_values(schema).map_err(|error| error.in_layer(k))?;
        self.params[k] = params.renamed(schema.names);
        self.state.forget(k);
        Ok(())
    }

    /// Arrays for the gradients of all layers.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if they do not fit in memory.
    pub fn zero_gradients(&self) -> Result<Vec<Params<T>>, Error> {
        self.plan.zero_gradients()
    }

    /// One step of training on the examples `x [B, inputs]` with the `target` of each, such as `labels [B]`: forward,
    /// loss, backward and update. Returns the loss before the update.
    ///
    /// A batch of 192 examples or more goes through the layers in slabs of about 128, which stay in the cache, unless a
    /// layer normalises over the batch. The gradients of all slabs but the last are summed up in arrays as large as the
    /// parameters; otherwise no gradient of a weight is ever stored, but for rules that need all of a layer first.
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Length`] or [`Error::Label`] if examples or targets do not fit the network,
    /// [`Error::Value`] if an element of `x` is not finite, [`Error::LearningRate`], [`Error::Factor`] or
    /// [`Error::Policy`] if the update cannot be used, [`Error::Unsupported`] if it is a natural gradient and the
    /// network has batch normalisation, whose examples have no gradients of their own, or the loss is not that of a
    /// softmax, [`Error::Divisor`] if a divisor of a layer is below ε, as inputs below zero can make it,
    /// [`Error::Diverged`] if the loss is not finite, [`Error::TooLarge`] if the scratch does not fit in memory.
    /// Parameters, and what is kept beside them, are then as they were.
    pub fn train_step<'t>(
        &mut self,
        x: impl Into<Sequences<'t, T>>,
        target: impl Into<Target<'t, T>>,
        update: &Update,
    ) -> Result<f64, Error>
    where
        T: 't,
    {
        self.plan.train_step(&mut self.params, &mut self.state, x.into(), target.into(), update)
    }

    /// One step of training on the examples `x [B, inputs]` with a loss that the caller computes: `loss` is given the
    /// outputs `[B, K]` and writes the gradient of what it returns by each of them, `[B, K]`, which begins as zeros. With
    /// a [`Target`]'s own [`loss`](Target::loss) it is the step of [`Network::train_step`] to the bit. It is called on the
    /// calling thread, once.
    ///
    /// The forward pass of a batch of 192 examples or more, which goes through the layers in slabs, is made twice:
    /// before the loss for all outputs, and after it for what the backward pass needs.
    ///
    /// # Errors
    /// As [`Network::train_step`]; [`Error::Value`] if an element of the gradient is not finite, [`Error::Unsupported`]
    /// if the update is a natural gradient.
    ///
    /// ```
    /// use interneuron::*;
    ///
    /// let mut net: Network<f32> = Architecture::dann(&[2, 8, 1], &[2, 1])?.build(&Context::new()?)?;
    /// let x = MatRef::new(&[0.1, 0.9, 0.7, 0.2], 2, 2)?;
    /// // The absolute error from 0.5.
    /// let loss = net.step_with(x, &Update::csgd(0.01), |outputs, mut doutputs| {
    ///     let errors = (0..2).map(|example| outputs.row(example)[0] - 0.5);
    ///     errors.clone().enumerate().for_each(|(example, error)| doutputs.row_mut(example)[0] = error.signum() / 2.0);
    ///     f64::from(errors.map(f32::abs).sum::<f32>() / 2.0)
    /// })?;
    /// assert!(loss > 0.0);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn step_with<'x>(
        &mut self,
        x: impl Into<Sequences<'x, T>>,
        update: &Update,
        loss: impl FnOnce(MatRef<'_, T>, MatMut<'_, T>) -> f64,
    ) -> Result<f64, Error>
    where
        T: 'x,
    {
        self.plan.step_with(&mut self.params, &mut self.state, x.into(), update, loss)
    }

    /// The loss on the examples `x [B, inputs]` with the `target` of each, and its gradients by all parameters, which
    /// overwrite `gradients`, a slice or a `Vec` with [`Params`] or views for each layer; parameters are not changed.
    ///
    /// # Errors
    /// As [`Network::train_step`], but [`Error::Loss`] if the loss is not finite; [`Error::Length`] if `gradients` has
    /// not one element for each layer, [`Error::Layer`] with [`Error::Length`] or [`Error::Kind`] if one has not the
    /// shape of its layer.
    pub fn gradients<'t, 'g>(
        &mut self,
        x: impl Into<Sequences<'t, T>>,
        target: impl Into<Target<'t, T>>,
        gradients: impl Into<NetworkParamsMut<'t, 'g, T>>,
    ) -> Result<f64, Error>
    where
        T: 't,
        'g: 't,
    {
        self.plan.gradients(&self.params, x.into(), target.into(), gradients.into())
    }

    /// What studies of such networks look at: for each layer, the statistics of what it does on the examples
    /// `x [B, inputs]` with the `target` of each, of its weights, and of a step of projected descent with the rate,
    /// corrections, factors and floor of `update`. Nothing is changed.
    ///
    /// # Errors
    /// As [`Network::gradients`], but divisors below ε are counted, and no error; any update can be asked about.
    pub fn inspect<'t>(
        &mut self,
        x: impl Into<Sequences<'t, T>>,
        target: impl Into<Target<'t, T>>,
        update: &Update,
    ) -> Result<Vec<LayerStatistics>, Error>
    where
        T: 't,
    {
        self.plan.inspect(&self.params, x.into(), target.into(), update)
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
    pub fn apply<'g>(&mut self, update: &Update, gradients: impl Into<NetworkParams<'g, T>>) -> Result<(), Error>
    where
        T: 'g,
    {
        self.plan.apply(&mut self.params, &mut self.state, update, gradients.into())
    }

    /// Loss and errors on the examples `x [B, inputs]` with the `target` of each, for any B.
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Length`] or [`Error::Label`] if examples or targets do not fit the network,
    /// [`Error::TooLarge`] if the scratch does not fit in memory.
    pub fn evaluate<'t>(
        &mut self,
        x: impl Into<Sequences<'t, T>>,
        target: impl Into<Target<'t, T>>,
    ) -> Result<Evaluation, Error>
    where
        T: 't,
    {
        self.plan.evaluate(&self.params, x.into(), target.into())
    }

    /// How many divisors of each layer were below their bound in the last step, evaluation or other call that went
    /// through the network, from the input to the output: none for a layer that does not divide. Steps refuse plain
    /// divisors below ε ([`Error::Divisor`]); evaluation goes on and counts.
    ///
    /// ```
    /// use interneuron::*;
    ///
    /// let mut net: Network<f32> = Architecture::dann(&[2, 8, 2], &[2, 1])?.build(&Context::new()?)?;
    /// let x = MatRef::new(&[-0.5, -1.5, 0.5, 1.5], 2, 2)?;
    /// net.evaluate(x, &[0, 1])?;
    /// let low = net.low_divisors().next().flatten().expect("the first layer divides");
    /// assert_eq!((low.count, low.of), (8, 16));
    /// assert!(matches!(net.train_step(x, &[0, 1], &Update::csgd(0.1)), Err(Error::Divisor { layer: 0, .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn low_divisors(&self) -> impl ExactSizeIterator<Item = Option<LowDivisors>> {
        self.plan.low_divisors()
    }

    /// The outputs before the softmax: from `x [B, inputs]` to `logits [B, outputs]`, which is overwritten, for any B.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the dimensions do not fit the network, [`Error::TooLarge`] if the scratch does not fit in
    /// memory.
    pub fn logits<'x>(&mut self, x: impl Into<Sequences<'x, T>>, logits: MatMut<'_, T>) -> Result<(), Error>
    where
        T: 'x,
    {
        self.plan.logits(&self.params, x.into(), logits)
    }
}

impl<T: Element> std::fmt::Debug for Network<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shapes: Vec<_> = self.shapes().collect();
        f.debug_struct("Network")
            .field("shapes", &shapes)
            .field("context", self.context())
            .field("steps", &self.steps())
            .finish()
    }
}
