//! Steps with gradients that are there: handed out to the caller, or stored because a rule needs all of a layer first.

use super::state::State;
use super::target::Targets;
use super::update::{Angle, StepScale, Update};
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
    (schema, update): (&Schema, &Update),
    params: ParamsMut<'_, T>,
    gradients: ParamsRef<'_, T>,
    state: &mut State<T>,
) {
    if !update.needs_gradients() {
        let scale = StepScale { lr: update.lr, clip: 1.0, natural: state.natural_scale(schema, update) };
        return step(team, kernels, Targets { schema, update, scale, params, state }, gradients);
    }
    let mut own = state.gradients.take().expect("the state was prepared");
    own.view_mut().into_iter().zip(gradients.iter()).for_each(|(own, gradient)| own.copy_from_slice(gradient));
    apply_stored(team, kernels, (schema, update), params, &mut own, state);
    state.gradients = Some(own);
}

/// As [`apply`]; the gradients may be overwritten.
pub(crate) fn apply_stored<T: Element>(
    team: &Team<'_>,
    kernels: &Kernels<T>,
    (schema, update): (&Schema, &Update),
    params: ParamsMut<'_, T>,
    gradients: &mut Params<T>,
    state: &mut State<T>,
) {
    let clip = update.clip.map_or(1.0, |most| {
        let norm = squared_norms(schema, update, gradients.view()).sqrt();
        (most / (norm + 1e-6)).min(1.0)
    });
    let scale = StepScale { lr: update.lr, clip, natural: state.natural_scale(schema, update) };
    let mut targets = Targets { schema, update, scale, params, state };
    let Some(angle) = update.angle else { return step(team, kernels, targets, gradients.view()) };
    for (i, gradient) in gradients.view_mut().into_iter().enumerate() {
        targets.target(i).direction(team, kernels, gradient);
    }
    targets.scale.lr = largest_rate(schema, update, angle, targets.params.view(), gradients.view());
    for (i, direction) in gradients.view().iter().enumerate() {
        targets.target(i).along_direction().step(team, kernels, direction);
    }
}

fn step<T: Element>(team: &Team<'_>, kernels: &Kernels<T>, mut targets: Targets<'_, T>, gradients: ParamsRef<'_, T>) {
    for (i, gradient) in gradients.iter().enumerate() {
        targets.target(i).step(team, kernels, gradient);
    }
}

/// The sum of the squares of a layer's corrected gradients.
fn squared_norms<T: Element>(schema: &Schema, update: &Update, gradients: ParamsRef<'_, T>) -> f64 {
    let mut sum = 0.0;
    for (parameter, array) in schema.iter().zip(gradients.iter()).filter(|(parameter, _)| parameter.moves()) {
        let squares: f64 = array.iter().map(|gradient| gradient.to_f64().powi(2)).sum();
        sum += update.correction(parameter).powi(2) * squares;
    }
    sum
}

/// The learning rate that the angle rule chooses for a step along `directions`.
fn largest_rate<T: Element>(
    schema: &Schema,
    update: &Update,
    Angle { lr_min, rates, cosine_epsilon }: Angle,
    params: ParamsRef<'_, T>,
    directions: ParamsRef<'_, T>,
) -> f64 {
    if update.split().is_some() {
        return update.lr; // Nothing is bounded.
    }
    let rate = |i: usize| match rates {
        1 => update.lr,
        _ => update.lr * (lr_min / update.lr).powf(i as f64 / (rates - 1) as f64),
    };
    let fits = |lr: f64| {
        let (mut bounded, mut free) = (0.0, 0.0);
        let arrays = schema.iter().zip(params.iter().zip(directions.iter()));
        for (parameter, (array, directions)) in arrays.filter(|(parameter, _)| !parameter.signed && parameter.moves()) {
            let (rate, floor) = (lr * update.factors[parameter.role], update.floor.unwrap_or(0.0));
            for (theta, d) in array.iter().zip(directions) {
                let next = theta.to_f64() - rate * d.to_f64();
                free += next * next;
                bounded += next.max(floor).powi(2);
            }
        }
        // No rate helps a layer whose gradients are not finite, nor does one without such parameters need it.
        bounded.sqrt() >= (1.0 - cosine_epsilon) * free.sqrt()
    };
    let chosen = (0..rates).map(rate).find(|&lr| fits(lr));
    chosen.unwrap_or_else(|| rate(rates - 1))
}
