//! Steps with gradients that are there: handed out to the caller, or stored because a rule needs all of a layer first.

use super::phase::{run_direction, run_elementwise};
use crate::element::Element;
use crate::error::Error;
use crate::isa::Isa;
use crate::kernels::Kernels;
use crate::params::arrays::Letter;
use crate::params::layer::{LayerMut, LayerOf, LayerParams, LayerRef, LayerShape};
use crate::params::state::{State, Target};
use crate::params::update::{Angle, Moment, Update};
use crate::threads::{Crew, Threads};

impl Update {
    /// Applies gradients that were handed out. The result has the same bits as the fused step. `state` is what the rule
    /// keeps of the layer from step to step.
    ///
    /// # Errors
    /// [`Error::Kind`], [`Error::Length`], [`Error::LearningRate`], [`Error::Factor`] or [`Error::Policy`];
    /// [`Error::Unsupported`] for a natural gradient, whose labels only a network draws; [`Error::TooLarge`] if what the
    /// rule keeps does not fit in memory; [`Error::UnknownIsa`] or [`Error::UnsupportedIsa`] as of [`Isa::select`].
    /// Nothing is changed then.
    pub fn apply<'p, 'g, T>(
        &self,
        shape: &LayerShape,
        params: impl Into<LayerMut<'p, T>>,
        gradients: impl Into<LayerRef<'g, T>>,
        state: &mut State<T>,
    ) -> Result<(), Error>
    where
        T: Element + 'p + 'g,
    {
        let (params, gradients) = (params.into(), gradients.into());
        self.check::<T>()?;
        self.check_without_labels()?;
        params.view().check(shape)?;
        gradients.check(shape)?;
        state.prepare(shape, self, params.view())?;
        let kernels = T::kernels(Isa::select()?).get();
        Threads::Serial.region(0.0, |crew| apply(crew, kernels, (shape, self), params, gradients, state));
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
pub(super) fn apply<T: Element>(
    crew: &Crew<'_>,
    kernels: &Kernels<T>,
    (shape, update): (&LayerShape, &Update),
    params: LayerMut<'_, T>,
    gradients: LayerRef<'_, T>,
    state: &mut State<T>,
) {
    if !update.needs_gradients() {
        let moment = Moment { lr: update.lr, clip: 1.0, natural: state.natural_scale(update) };
        step(crew, kernels, state.targets(shape, update, &moment, params), gradients);
        return;
    }
    let mut own = state.gradients.take().expect("the state was prepared");
    own.view_mut().zip(gradients).for_each(|_, (own, gradient)| own.copy_from_slice(gradient));
    apply_stored(crew, kernels, (shape, update), params, &mut own, state);
    state.gradients = Some(own);
}

/// As [`apply`]; the gradients may be overwritten.
pub(super) fn apply_stored<T: Element>(
    crew: &Crew<'_>,
    kernels: &Kernels<T>,
    (shape, update): (&LayerShape, &Update),
    mut params: LayerMut<'_, T>,
    gradients: &mut LayerParams<T>,
    state: &mut State<T>,
) {
    let clip = update.clip.map_or(1.0, |most| {
        let norm = squared_norms(shape, update, gradients.view()).sqrt();
        (most / (norm + 1e-6)).min(1.0)
    });
    let mut moment = Moment { lr: update.lr, clip, natural: state.natural_scale(update) };
    let Some(angle) = update.angle else {
        return step(crew, kernels, state.targets(shape, update, &moment, params), gradients.view());
    };
    let targets = state.targets(shape, update, &moment, reborrow(&mut params));
    targets.zip(gradients.view_mut()).for_each(|_, (mut target, gradient)| {
        run_direction(crew, kernels, &mut target, gradient);
    });
    moment.lr = largest_rate(shape, update, angle, params.view(), gradients.view());
    let targets = state.targets(shape, update, &moment, params).map(|_, target| target.along_direction());
    step(crew, kernels, targets, gradients.view());
}

/// Views of the same arrays for a shorter time.
fn reborrow<'a, T>(params: &'a mut LayerMut<'_, T>) -> LayerMut<'a, T> {
    use crate::params::{dann::Dann, dense::Dense, norm::Norm};
    match params {
        LayerMut::Dann(Dann { wex, wix, wei, alpha, g, b }) => LayerMut::Dann(Dann { wex, wix, wei, alpha, g, b }),
        LayerMut::Dense(Dense { w, b }) => LayerMut::Dense(Dense { w, b }),
        LayerMut::Norm(Norm { w, g, b, mean, variance }) => LayerMut::Norm(Norm { w, g, b, mean, variance }),
    }
}

fn step<T: Element>(
    crew: &Crew<'_>,
    kernels: &Kernels<T>,
    targets: LayerOf<Target<'_, T>>,
    gradients: LayerRef<'_, T>,
) {
    targets.zip(gradients).for_each(|_, (mut target, gradient)| run_elementwise(crew, kernels, &mut target, gradient));
}

/// The sum of the squares of a layer's corrected gradients.
fn squared_norms<T: Element>(shape: &LayerShape, update: &Update, gradients: LayerRef<'_, T>) -> f64 {
    let mut sum = 0.0;
    gradients.for_each(|letter, array| {
        if !matches!(letter, Letter::Mean | Letter::Variance) {
            let squares: f64 = array.iter().map(|gradient| gradient.to_f64().powi(2)).sum();
            sum += update.correction(shape, letter).powi(2) * squares;
        }
    });
    sum
}

/// The learning rate that the angle rule chooses for a step along `directions`.
fn largest_rate<T: Element>(
    shape: &LayerShape,
    update: &Update,
    Angle { lr_min, rates, cosine_epsilon }: Angle,
    params: LayerRef<'_, T>,
    directions: LayerRef<'_, T>,
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
        params.zip(directions).for_each(|letter, (array, directions)| {
            if shape.signed(letter) {
                return;
            }
            let (rate, floor) = (lr * update.factor(letter), update.floor.unwrap_or(0.0));
            for (theta, d) in array.iter().zip(directions) {
                let next = theta.to_f64() - rate * d.to_f64();
                free += next * next;
                bounded += next.max(floor).powi(2);
            }
        });
        // No rate helps a layer whose gradients are not finite, nor does one without such parameters need it.
        bounded.sqrt() >= (1.0 - cosine_epsilon) * free.sqrt()
    };
    let chosen = (0..rates).map(rate).find(|&lr| fits(lr));
    chosen.unwrap_or_else(|| rate(rates - 1))
}
