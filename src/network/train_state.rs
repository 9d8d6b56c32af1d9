//! What training keeps beside the parameters.

use crate::element::Element;
use crate::error::{Error, length};
use crate::init::{Generator, generator};
use crate::optim::state::State;
use crate::optim::update::Update;
use crate::params::network::NetworkParamsMut;
use crate::params::schema::Schema;

/// What training keeps of a network beside its parameters: what the updates of its layers keep from step to step, the
/// number of steps, and the generator of the labels that a natural gradient draws. It begins empty; the first step
/// makes room.
#[derive(Clone, Debug)]
pub struct TrainState<T> {
    pub(crate) layers: Vec<State<T>>,
    pub(crate) steps: u64,
    pub(crate) label_generator: Generator,
}

/// Equal if all that is kept is: a state of which nothing was used equals one of layers of which nothing is kept.
impl<T: PartialEq> PartialEq for TrainState<T> {
    fn eq(&self, other: &Self) -> bool {
        let nothing = State::new();
        let layers = (0..self.layers.len().max(other.layers.len()))
            .all(|k| self.layers.get(k).unwrap_or(&nothing) == other.layers.get(k).unwrap_or(&nothing));
        layers && self.steps == other.steps && self.label_generator == other.label_generator
    }
}

/// The generator of the labels that a natural gradient draws: a stream of its own of the network's seed.
pub(crate) fn label_generator(seed: u64) -> Generator {
    let mut generator = generator(seed);
    generator.set_stream(1);
    generator
}

impl<T: Element> TrainState<T> {
    /// Before the first step. The seed is that of the labels that a natural gradient draws; other rules draw nothing.
    pub fn new(seed: u64) -> Self {
        Self { layers: vec![], steps: 0, label_generator: label_generator(seed) }
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What the updates of each layer keep, from the input to the output; nothing before the first step of a plan.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = &State<T>> {
        self.layers.iter()
    }

    /// The same, to be changed: what is kept may be taken out, set ([`State::set`]) and put back. A plan wants one for each
    /// of its layers, or none at all.
    pub fn layers_mut(&mut self) -> &mut Vec<State<T>> {
        &mut self.layers
    }

    /// Forgets what was kept of layer `k`, whose parameters somebody changed otherwise than by a step: its velocities go
    /// on from zero.
    pub fn forget(&mut self, k: usize) {
        if let Some(state) = self.layers.get_mut(k) {
            *state = State::new();
        }
    }

    /// Checks that what is kept is of layers of these schemas.
    pub(crate) fn check<'s>(&self, schemas: impl ExactSizeIterator<Item = &'s Schema>) -> Result<(), Error> {
        if !self.layers.is_empty() {
            length("state", self.layers.len(), schemas.len())?;
        }
        let mut layers = schemas.zip(&self.layers).enumerate();
        layers.try_for_each(|(k, (schema, state))| state.check(schema).map_err(|error| error.in_layer(k)))
    }

    /// Makes room for what a step needs, and checks that what is kept already is of layers of these schemas.
    pub(crate) fn prepare<'s>(
        &mut self,
        schemas: impl ExactSizeIterator<Item = &'s Schema>,
        update: &Update,
        params: &NetworkParamsMut<'_, '_, T>,
    ) -> Result<(), Error> {
        if !self.layers.is_empty() {
            length("state", self.layers.len(), schemas.len())?;
        }
        self.layers.resize_with(schemas.len(), State::new);
        // What is undone was prepared by this step, also where it does not come to layer k.
        let mut prepared = 0;
        let result = schemas.zip(&mut self.layers).enumerate().try_for_each(|(k, (schema, state))| {
            let result = state.prepare(schema, update, params.layer(k));
            prepared += usize::from(result.is_ok());
            result.map_err(|error| error.in_layer(k))
        });
        if result.is_err() {
            self.undo(prepared);
        }
        result
    }

    /// Ends a step that was prepared: it was taken, or what is kept is as it was before.
    pub(crate) fn end(&mut self, taken: bool) {
        if taken {
            self.steps += 1;
        } else {
            self.undo(self.layers.len());
        }
    }

    /// Keeps of the first layers what was kept before the step that was prepared.
    fn undo(&mut self, layers: usize) {
        self.layers[..layers].iter_mut().for_each(State::undo);
        if self.layers.iter().all(|state| state.kept().next().is_none()) {
            // Of no network yet.
            self.layers.clear();
        }
    }

    pub(crate) fn keep_fisher(&mut self) {
        self.layers.iter_mut().for_each(State::keep_fisher);
    }

    pub(crate) fn restore_fisher(&mut self) {
        self.layers.iter_mut().for_each(State::restore_fisher);
    }
}
