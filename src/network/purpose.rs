//! What a pass forward and backward through a network is for.

use super::inspect::Observer;
use super::train_state::TrainState;
use crate::buffer::Examples;
use crate::element::Element;
use crate::error::Error;
use crate::layers::buffers::LayerBuffers;
use crate::layers::collect::Destination;
use crate::layers::pass::Pass;
use crate::optim::apply::apply_stored;
use crate::optim::clip::factor_of_network;
use crate::optim::update::{Natural, Update};
use crate::params::network::{NetworkParams, NetworkParamsMut};
use crate::params::{Params, ParamsRef};
use crate::threads::Team;

/// What a pass forward and backward through a network is for: whose parameters it reads, and what becomes of each
/// layer's gradients.
pub(super) trait Purpose<T: Element>: Send + Sync {
    /// The parameters of layer `k`.
    fn params(&self, k: usize) -> ParamsRef<'_, T>;

    /// Looks at layer `k` between forward and backward, where step 0 of what it keeps is step `start` of all.
    fn observe(&mut self, _k: usize, _pass: &dyn Pass<T>, _start: usize) {}

    /// The estimate of the Fisher information that the pass adds to, and what it is added to.
    fn fisher(&mut self) -> Option<(Natural, &mut TrainState<T>)> {
        None
    }

    /// Makes what is wanted of the gradients of layer `k`, whose input is `x`, from the last layer down.
    fn finish(&mut self, team: &Team<'_>, k: usize, pass: &mut dyn Pass<T>, x: Examples<'_, T>);

    /// After all layers were finished.
    fn end(&mut self, _team: &Team<'_>, _buffers: BuffersOf<'_, T>) {}

    /// Whether divisors below ε are an error.
    fn needs_divisors(&self) -> bool {
        true
    }

    /// The error of a loss that is not finite.
    fn diverged(&self, loss: f64) -> Error {
        Error::Loss { loss }
    }
}

/// What a layer's pass keeps, by the number of the layer.
pub(super) type BuffersOf<'b, T> = &'b (dyn Fn(usize) -> &'b LayerBuffers<T> + 'b);

/// A step of training.
pub(super) struct Step<'a, 'p, T> {
    pub params: NetworkParamsMut<'a, 'p, T>,
    pub state: &'a mut TrainState<T>,
    pub update: &'a Update,
}

impl<T: Element> Purpose<T> for Step<'_, '_, T> {
    fn params(&self, k: usize) -> ParamsRef<'_, T> {
        self.params.layer(k)
    }

    fn fisher(&mut self) -> Option<(Natural, &mut TrainState<T>)> {
        self.update.natural.map(|natural| (natural, &mut *self.state))
    }

    fn finish(&mut self, team: &Team<'_>, k: usize, pass: &mut dyn Pass<T>, x: Examples<'_, T>) {
        let state = &mut self.state.layers[k];
        if !self.update.clips_network() {
            return pass.update(team, self.update, self.params.layer_mut(k), x, state);
        }
        // The norm of all layers comes first.
        let gradients = state.gradients.as_mut().expect("the state was prepared");
        pass.collect(team, x, Destination::Store(gradients.view_mut()));
    }

    fn end(&mut self, team: &Team<'_>, buffers: BuffersOf<'_, T>) {
        if !self.update.clips_network() {
            return;
        }
        let gradients = self.state.layers.iter().map(|state| state.gradients.as_ref().expect("the state was prepared"));
        let all = gradients.enumerate().map(|(k, gradients)| (&*buffers(k).schema, gradients.view()));
        let clip = factor_of_network(self.update, all);
        for (k, state) in self.state.layers.iter_mut().enumerate() {
            let mut gradients = state.gradients.take().expect("the state was prepared");
            let (kernels, rule) = (buffers(k).kernels, (&*buffers(k).schema, self.update));
            apply_stored(team, kernels, rule, self.params.layer_mut(k), &mut gradients, state, clip);
            state.gradients = Some(gradients);
        }
    }

    fn diverged(&self, loss: f64) -> Error {
        Error::Diverged { step: self.state.steps, lr: self.update.lr, loss }
    }
}

/// Gradients that are handed out.
pub(super) struct Gradients<'a, 'g, T> {
    pub params: NetworkParams<'a, T>,
    pub gradients: NetworkParamsMut<'a, 'g, T>,
}

impl<T: Element> Purpose<T> for Gradients<'_, '_, T> {
    fn params(&self, k: usize) -> ParamsRef<'_, T> {
        self.params.layer(k)
    }

    fn finish(&mut self, team: &Team<'_>, k: usize, pass: &mut dyn Pass<T>, x: Examples<'_, T>) {
        pass.collect(team, x, Destination::Store(self.gradients.layer_mut(k)));
    }
}

/// Statistics of the layers.
pub(super) struct Inspection<'a, T> {
    pub params: NetworkParams<'a, T>,
    pub gradients: Vec<Params<T>>,
    pub observers: Vec<Observer>,
}

impl<T: Element> Purpose<T> for Inspection<'_, T> {
    fn params(&self, k: usize) -> ParamsRef<'_, T> {
        self.params.layer(k)
    }

    fn needs_divisors(&self) -> bool {
        false
    }

    fn observe(&mut self, k: usize, pass: &dyn Pass<T>, start: usize) {
        self.observers[k].observe(pass, start);
    }

    fn finish(&mut self, team: &Team<'_>, k: usize, pass: &mut dyn Pass<T>, x: Examples<'_, T>) {
        pass.collect(team, x, Destination::Store(self.gradients[k].view_mut()));
    }
}
