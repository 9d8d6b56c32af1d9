//! Clipping: gradients that are too long are scaled down.

use super::update::Update;
use crate::element::Element;
use crate::params::ParamsRef;
use crate::params::schema::{MOST_ARRAYS, Parameter, Schema};

/// Which gradients clipping takes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClipScope {
    /// Those of each array.
    Array,
    /// Those of all arrays of a layer.
    #[default]
    Layer,
    /// Those of all layers of a network. Only for networks and plans.
    Network,
}

/// The L2 norm of the corrected gradients of all layers together.
fn norm<'a, T: Element>(update: &Update, layers: impl Iterator<Item = (&'a Schema, ParamsRef<'a, T>)>) -> f64 {
    layers.map(|(schema, gradients)| squared_norm(schema, update, gradients)).sum::<f64>().sqrt()
}

/// What clipping leaves of the gradients of all layers of a network, if it takes them together.
pub(crate) fn factor_of_network<'a, T: Element>(
    update: &Update,
    layers: impl Iterator<Item = (&'a Schema, ParamsRef<'a, T>)>,
) -> Option<f64> {
    let most = update.clip.filter(|_| update.clip_scope == ClipScope::Network)?;
    Some(factor(most, norm(update, layers)))
}

/// What clipping to `most` leaves of gradients with this norm.
fn factor(most: f64, norm: f64) -> f64 {
    (most / (norm + 1e-6)).min(1.0)
}

/// What clipping leaves of the gradients of each array of a layer.
pub(super) fn factors<T: Element>(schema: &Schema, update: &Update, gradients: ParamsRef<'_, T>) -> [f64; MOST_ARRAYS] {
    let mut factors = [1.0; MOST_ARRAYS];
    let Some(most) = update.clip else { return factors };
    match update.clip_scope {
        // A network knows the norm of all its layers, and does not come here.
        ClipScope::Layer | ClipScope::Network => {
            factors.fill(factor(most, norm(update, [(schema, gradients)].into_iter())))
        }
        ClipScope::Array => {
            for (factor, (parameter, array)) in factors.iter_mut().zip(schema.iter().zip(gradients.iter())) {
                *factor = self::factor(most, squares(update, parameter, array).sqrt());
            }
        }
    }
    factors
}

/// The sum of the squares of a layer's corrected gradients.
fn squared_norm<T: Element>(schema: &Schema, update: &Update, gradients: ParamsRef<'_, T>) -> f64 {
    let arrays = schema.iter().zip(gradients.iter());
    arrays.fold(0.0, |sum, (parameter, array)| sum + squares(update, parameter, array))
}

/// The sum of the squares of an array's corrected gradients; 0 for statistics, which have none.
fn squares<T: Element>(update: &Update, parameter: &Parameter, array: &[T]) -> f64 {
    if !parameter.moves() {
        return 0.0;
    }
    let squares: f64 = array.iter().map(|gradient| gradient.to_f64().powi(2)).sum();
    let [correction, _] = update.corrections_of(parameter);
    correction.powi(2) * squares
}
