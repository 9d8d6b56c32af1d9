//! Steps with gradients that are there: handed out to the caller, or stored because a rule needs all of a layer first.

use super::angle::largest_rate;
use super::state::State;
use super::target::Targets;
use super::update::Update;
use super::{clip, sums};
use crate::element::Element;
use crate::error::Error;
use crate::kernels::Kernels;
use crate::params::schema::{MOST_ARRAYS, Schema};
use crate::params::{Params, ParamsMut, ParamsRef};
use crate::threads::Team;

impl Update {
    /// Refuses what takes a whole step of a network, which draws labels from its own outputs.
    pub(crate) fn check_without_labels(&self) -> Result<(), Error> {
        if self.natural.is_some() {
            return Err(Error::Unsupported {
                what: "a natural gradient",
                expected: "train_step of a network or a plan, which draws labels from the network's own outputs",
            });
        }
        Ok(())
    }

    /// Refuses what only a network can do.
    pub(crate) fn check_for_layer(&self) -> Result<(), Error> {
        self.check_without_labels()?;
        if self.clips_network() {
            return Err(Error::Unsupported {
                what: "clipping of one layer by the norm of a network",
                expected: "ClipScope::Layer, or a network or a plan",
            });
        }
        Ok(())
    }
}

/// Takes a step with the gradients of a layer, for which [`State::prepare`] made room. `clip` is what clipping leaves of
/// all of them, where that is known already.
pub(crate) fn apply<T: Element>(
    team: &Team<'_>,
    kernels: &Kernels<T>,
    rule: (&Schema, &Update),
    params: ParamsMut<'_, T>,
    gradients: ParamsRef<'_, T>,
    state: &mut State<T>,
    clip: Option<f64>,
) {
    let (_, update) = rule;
    if !update.needs_gradients() {
        return step(team, kernels, &mut Targets::begin(rule, params, state, Targets::<T>::WHOLE), gradients);
    }
    let mut own = state.gradients.take().expect("the state was prepared");
    own.view_mut().into_iter().zip(gradients.iter()).for_each(|(own, gradient)| own.copy_from_slice(gradient));
    apply_stored(team, kernels, rule, params, &mut own, state, clip);
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
    clip: Option<f64>,
) {
    let (schema, update) = rule;
    let clip = clip.map_or_else(|| clip::factors(schema, update, gradients.view()), |clip| [clip; MOST_ARRAYS]);
    apply_clipped(team, kernels, Targets::begin(rule, params, state, clip), gradients);
}

/// Takes the step of targets that know what clipping leaves of the gradients.
fn apply_clipped<T: Element>(
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
            targets.hold(i);
        }
    } else {
        step(team, kernels, &mut targets, gradients.view());
    }
    sums::keep(schema, update, targets.params, targets.state);
}

fn step<T: Element>(team: &Team<'_>, kernels: &Kernels<T>, targets: &mut Targets<'_, T>, gradients: ParamsRef<'_, T>) {
    for (i, gradient) in gradients.iter().enumerate() {
        targets.target(i).step(team, kernels, gradient);
        targets.hold(i);
    }
}
