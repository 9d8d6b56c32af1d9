//! What a pass through a layer keeps, and the order of its phases.
//!
//! A pass goes through a [`Pass`] in this order:
//!
//! ```text
//! prepare            makes room for a batch
//! forward            x → h
//! receive            dh, from the layer above or an array, through the nonlinearity
//! inner_backward     what all units or examples together need between dh and du
//! input_gradient     dx, for the layer below to receive
//! gradients          lists the gradients of its parameters
//! ```
//!
//! A Fisher pass, which sums up squares, may come between the forward pass and the backward pass:
//! `begin_fisher_pass`, `receive` to `gradients`, `end_fisher_pass`.

use super::buffers::{Batch, Input, LayerBuffers, Scratch};
use super::collect::{Collect, Destination};
use super::inhibition::division::Division;
use super::inhibition::low::LowDivisors;
use super::input_gradient::InputGradient;
use super::recurrent::in_time::InTime;
use crate::buffer::{Activations, Examples, Units};
use crate::element::Element;
use crate::error::Error;
use crate::layout::Split;
use crate::matrix::MatRef;
use crate::optim::apply::apply_stored;
use crate::optim::state::State;
use crate::optim::target::Targets;
use crate::optim::update::Update;
use crate::params::{ParamsMut, ParamsRef};
use crate::threads::Team;
use std::ops::Range;

/// What a pass through a layer keeps from forward to backward, with the scratch that it needs, and the order of its
/// phases. Parameters come as the caller holds them: of the layer's kind and lengths, which the caller checked.
pub(crate) trait Pass<T: Element>: Send + Sync {
    fn clone_box(&self) -> Box<dyn Pass<T>>;
    fn buffers(&self) -> &LayerBuffers<T>;
    fn buffers_mut(&mut self) -> &mut LayerBuffers<T>;

    /// Makes room for a batch, after which a pass allocates nothing.
    fn prepare(&mut self, batch: Batch, training: bool) -> Result<(), Error>;

    /// Turns to other steps of the batch: no more than [`Batch::window`] of them.
    fn turn_to(&mut self, steps: Range<usize>) -> Result<(), Error> {
        self.buffers_mut().turn_to(steps)
    }

    /// Begins with no gradients of slabs, and makes room to sum them up if there is more than one slab.
    fn prepare_slabs(&mut self, slabs: usize) -> Result<(), Error> {
        self.buffers_mut().prepare_slabs(slabs)
    }

    /// What it does from step to step, in a recurrent layer.
    fn in_time(&mut self) -> Option<&mut dyn InTime<T>> {
        None
    }

    /// Its output, as the layer above reads it.
    fn h(&self) -> Units<'_, T> {
        self.buffers().h.units()
    }

    /// The same, and its present examples.
    fn outputs(&self) -> (Units<'_, T>, Split) {
        (self.h(), self.buffers().examples)
    }

    /// The states in which the last sequences ended, in a recurrent layer: a row an example.
    fn last_states(&self) -> Option<MatRef<'_, T>> {
        None
    }

    /// The same with a row an example.
    fn h_examples(&self) -> Examples<'_, T> {
        self.buffers().h_examples.examples()
    }

    /// From the layer's input to `h`, keeping for `training` what the backward pass needs.
    fn forward(&mut self, team: &Team<'_>, params: ParamsRef<'_, T>, x: Input<'_, T>, training: bool);

    /// What inhibition or normalisation did in the last forward pass of training; in a recurrent layer, in each leg. Before
    /// the backward pass.
    fn standardised(&self) -> [Option<Standardised<'_, T>>; 2] {
        [None, None]
    }

    /// The divisors below their bound since [`Pass::begin_count`], in a layer that divides.
    fn low_divisors(&self) -> Option<LowDivisors> {
        None
    }

    /// Begins to count divisors: before the first slab.
    fn begin_count(&mut self) {}

    /// `−zI [ni, B]` of the last forward pass, in a layer with interneurons.
    fn minus_zi(&self) -> Option<&Activations<T>> {
        None
    }

    /// Receives `dh` and takes it as far as each unit and example goes alone: through the nonlinearity, and the
    /// division. It may use up what the forward pass kept, so it can be done once after each.
    fn receive(&mut self, team: &Team<'_>, params: ParamsRef<'_, T>, dh: InputGradient<'_, T>);

    /// What must happen between `dh` and the gradients of inputs and weights, for all units or examples together.
    fn inner_backward(&mut self, _: &Team<'_>, _: ParamsRef<'_, T>) {}

    /// `dx [d, B]`, for the layer below to receive.
    fn input_gradient<'a>(&'a mut self, params: ParamsRef<'a, T>) -> InputGradient<'a, T>;

    /// Lists the gradients of its parameters, with the layer's input `x [B, d]`.
    fn gradients(&mut self, x: Examples<'_, T>, collect: &mut Collect<'_, '_, T>);

    /// Makes room for a Fisher pass, for the batch that was prepared.
    fn prepare_fisher_pass(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Saves what a backward pass uses up.
    fn save(&mut self) {}

    /// Takes back what [`Pass::save`] saved.
    fn restore(&mut self) {}
}

/// What inhibition or normalisation did.
pub(crate) struct Standardised<'a, T> {
    /// What is kept of `1/γ [ne, B]`, and the divisor by which it is to be read, in a layer that divides.
    pub inverse: Option<(&'a Activations<T>, Division<T>)>,
    /// `ẑ [ne, B]`
    pub zhat: &'a Activations<T>,
    /// The present examples.
    pub examples: Split,
}

impl<T: Element> dyn Pass<T> + '_ {
    /// Lists the gradients of its parameters, with the layer's input `x [B, d]`, for what is to become of them.
    pub fn collect(&mut self, team: &Team<'_>, x: Examples<'_, T>, into: Destination<'_, T>) {
        let LayerBuffers { kernels, accumulated, ref schema, .. } = *self.buffers();
        let schema = &schema.clone();
        let after = match into {
            Destination::Step(_) | Destination::Store(_) => false,
            Destination::Accumulate => true,
            Destination::Fisher { .. } => accumulated,
        };
        self.gradients(x, &mut Collect { team, kernels, schema, places: None, accumulated, into });
        self.buffers_mut().accumulated = after;
    }

    /// The step, with the layer's input `x [B, d]`: fused with the gradients where the rule allows it. The rule was
    /// checked and the state prepared for it.
    pub fn update(
        &mut self,
        team: &Team<'_>,
        update: &Update,
        params: ParamsMut<'_, T>,
        x: Examples<'_, T>,
        state: &mut State<T>,
    ) {
        let schema = &self.buffers().schema.clone();
        if update.needs_gradients() {
            let mut gradients = state.gradients.take().expect("the state was prepared");
            self.collect(team, x, Destination::Store(gradients.view_mut()));
            apply_stored(team, self.buffers().kernels, (schema, update), params, &mut gradients, state, None);
            state.gradients = Some(gradients);
        } else {
            let targets = Targets::begin((schema, update), params, state, Targets::<T>::WHOLE);
            self.collect(team, x, Destination::Step(targets));
        }
    }

    /// Receives a `dh` that is in an array.
    pub fn receive_array(&mut self, team: &Team<'_>, params: ParamsRef<'_, T>, dh: &Activations<T>) {
        let LayerBuffers { kernels, examples, .. } = *self.buffers();
        self.receive(team, params, InputGradient::of_array(kernels, dh.units(), examples, &mut Scratch::new()));
    }

    /// The next backward pass sums up squared gradients of the examples instead of gradients; what it uses up is saved
    /// for another.
    pub fn begin_fisher_pass(&mut self) {
        self.buffers_mut().squares = true;
        self.save();
    }

    /// Makes way for an ordinary backward pass of the same forward pass.
    pub fn end_fisher_pass(&mut self) {
        self.buffers_mut().squares = false;
        self.restore();
    }
}

impl<T: Element> Clone for Box<dyn Pass<T>> {
    fn clone(&self) -> Self {
        self.clone_box()
    }
}
