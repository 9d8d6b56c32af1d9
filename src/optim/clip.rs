//! Clipping: gradients that are too long are scaled down.

use super::update::Update;
use crate::element::Element;
use crate::params::ParamsRef;
use crate::params::schema::{MOST_ARRAYS, Schema};

/// What clipping leaves of the gradients of each array of a layer.
pub(super) fn factors<T: Element>(schema: &Schema, update: &Update, gradients: ParamsRef<'_, T>) -> [f64; MOST_ARRAYS] {
    let factor = update.clip.map_or(1.0, |most| {
        let norm = squared_norm(schema, update, gradients).sqrt();
        (most / (norm + 1e-6)).min(1.0)
    });
    [factor; MOST_ARRAYS]
}

/// The sum of the squares of a layer's corrected gradients.
fn squared_norm<T: Element>(schema: &Schema, update: &Update, gradients: ParamsRef<'_, T>) -> f64 {
    let mut sum = 0.0;
    for (parameter, array) in schema.iter().zip(gradients.iter()).filter(|(parameter, _)| parameter.moves()) {
        let squares: f64 = array.iter().map(|gradient| gradient.to_f64().powi(2)).sum();
        let [correction, _] = update.corrections_of(parameter);
        sum += correction.powi(2) * squares;
    }
    sum
}
