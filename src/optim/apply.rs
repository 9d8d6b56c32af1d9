//! Steps with gradients that are there: handed out to the caller, or stored because a rule needs all of a layer first.

use super::angle::largest_rate;
use super::state::State;
use super::target::Targets;
use super::update::Update;
use super::{clip, sums};
use crate::element::{Element, table};
use crate::error::Error;
use crate::isa::Isa;
use crate::kernels::Kernels;
use crate::params::schema::{Schema, Shape};
use crate::params::{Params, ParamsMut, ParamsRef};
use crate::threads::{Team, Threads};

impl Update {
    /// Applies gradients that were handed out. The result has the same bits as the fused step. `state` is what the rule
    /// keeps of the layer from step to step.
    ///
    /// # Errors
    /// [`Error::Kind`], [`Error::Length`], [`Error::LearningRate`], [`Error::Factor`] or [`Error::Policy`];
    /// [`Error::Unsupported`] for a natural gradient, whose labels only a network draws; [`Error::TooLarge`] if what
    /// the rule keeps does not fit in memory; [`Error::UnknownIsa`] or [`Error::UnsupportedIsa`] as of [`Isa::select`].
    /// Nothing is changed then.
    pub fn apply<'p, 'g, T>(
        &self,
        shape: &impl Shape,
        params: impl Into<ParamsMut<'p, T>>,
        gradients: impl Into<ParamsRef<'g, T>>,
        state: &mut State<T>,
    ) -> Result<(), Error>
    where
        T: Element + 'p + 'g,
    {
        let (params, gradients) = (params.into(), gradients.into());
        self.check::<T>()?;
        self.check_without_labels()?;
        let schema = &shape.schema()?;
        params.view().check(schema)?;
        gradients.check(schema)?;
        state.prepare(schema, self, params.view())?;
        let kernels = table::<T, Kernels<T>>(Isa::select()?);
        Threads::Serial.region(0.0, |team| apply(team, kernels, (schema, self), params, gradients, state));
        Ok(())
    }

    /// Refuses what only a network can do.
    pub(crate) fn check_without_labels(&self) -> Result<(), Error> {
        if self.natural.is_some() {
            return Err(Error::Unsupported {
                what: "a natural gradient",
                expected: "Network::train_step, which draws labels from the network's own outputs",
            });
        }
        Ok(())
    }
}

/// Takes a step with the gradients of a layer, for which [`State::prepare`] made room.
pub(crate) fn apply<T: Element>(
    team: &Team<'_>,
    kernels: &Kernels<T>,
    rule: (&Schema, &Update),
    params: ParamsMut<'_, T>,
    gradients: ParamsRef<'_, T>,
    state: &mut State<T>,
) {
    let (_, update) = rule;
    if !update.needs_gradients() {
        return step(team, kernels, &mut Targets::begin(rule, params, state, Targets::<T>::WHOLE), gradients);
    }
    let mut own = state.gradients.take().expect("the state was prepared");
    own.view_mut().into_iter().zip(gradients.iter()).for_each(|(own, gradient)| own.copy_from_slice(gradient));
    apply_stored(team, kernels, rule, params, &mut own, state);
    state.gradients = Some(own);
}

/// As [`apply`]; the gradients may be overwritten.
pub(crate) fn apply_stored<T: Element>(
    team: &Team<'_>,
    kernels: &Kernels<T>,
    rule: (&Schema, &Update),
    params: ParamsMut<'_, T>,
    gradients: &mut Params<T>,
    state: &mut State<T>,
) {
    let (schema, update) = rule;
    let clip = clip::factors(schema, update, gradients.view());
    apply_clipped(team, kernels, Targets::begin(rule, params, state, clip), gradients);
}

/// As [`apply_stored`], when it is known what clipping leaves of the gradients: for [`Targets::begin`], before this.
pub(crate) fn apply_clipped<T: Element>(
    team: &Team<'_>,
    kernels: &Kernels<T>,
    mut targets: Targets<'_, T>,
    gradients: &mut Params<T>,
) {
    let (schema, update) = (targets.schema, targets.update);
    if let Some(angle) = update.angle {
        for (i, gradient) in gradients.view_mut().into_iter().enumerate() {
            targets.target(i).direction(team, kernels, gradient);
        }
        targets.lr = largest_rate(schema, update, angle, targets.params.view(), gradients.view());
        for (i, direction) in gradients.view().iter().enumerate() {
            targets.target(i).along_direction().step(team, kernels, direction);
        }
    } else {
        step(team, kernels, &mut targets, gradients.view());
    }
    sums::keep(schema, update, targets.params, targets.state);
}

fn step<T: Element>(team: &Team<'_>, kernels: &Kernels<T>, targets: &mut Targets<'_, T>, gradients: ParamsRef<'_, T>) {
    for (i, gradient) in gradients.iter().enumerate() {
        targets.target(i).step(team, kernels, gradient);
    }
}
