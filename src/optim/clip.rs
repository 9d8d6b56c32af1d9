//! Clipping: gradients that are too long are scaled down.

use super::update::Update;
use crate::element::Element;
use crate::error::{Error, length};
use crate::params::schema::{MOST_ARRAYS, Parameter, Schema, Shape};
use crate::params::{Params, ParamsRef};

/// Which gradients clipping takes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClipScope {
    /// Those of each array.
    Array,
    /// Those of all arrays of a layer.
    #[default]
    Layer,
}

impl Update {
    /// Scales the gradients of all layers of a network, in place, so that their L2 norm after the corrections is at most
    /// `most`: all are multiplied by `most / (norm + 1e-6)` where that is below 1. Gradients of parameters with the
    /// factor 0 count; statistics are no gradients and stay. Returns the norm before. Adam, which has its corrections
    /// elsewhere, is clipped without them.
    ///
    /// What follows is [`Network::apply`](crate::Network::apply) or [`Update::apply`]:
    ///
    /// ```
    /// use interneuron::{Architecture, MatRef, Network, Threads, Update};
    ///
    /// let mut net: Network<f32> = Architecture::dann(&[3, 4, 2], &[2, 1])?.build()?;
    /// let x = [0.5; 6];
    /// let (x, labels) = (MatRef::new(&x, 2, 3)?, [0, 1]);
    /// let (update, mut gradients) = (Update::adamw(1e-3), net.zero_gradients()?);
    /// net.gradients(Threads::Serial, x, &labels, &mut gradients)?;
    /// update.clip_together(net.shapes(), &mut gradients, 1.0)?;
    /// net.apply(Threads::Serial, &update, &gradients)?;
    /// # Ok::<(), interneuron::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Policy`] unless `most` is finite and above 0; [`Error::Length`] if there are not as many shapes as
    /// gradients; [`Error::Layer`] with [`Error::Kind`] or [`Error::Length`] if those of a layer have not its shape.
    /// Nothing is changed then.
    pub fn clip_together<T: Element, S: Shape>(
        &self,
        shapes: impl IntoIterator<Item = S>,
        gradients: &mut [Params<T>],
        most: f64,
    ) -> Result<f64, Error> {
        if !(most > 0.0 && most.is_finite()) {
            return Err(Error::Policy { name: "most", value: most, expected: "a finite number > 0" });
        }
        let layer = |(k, shape): (usize, S)| shape.schema().map_err(|error| error.in_layer(k));
        let schemas = shapes.into_iter().enumerate().map(layer).collect::<Result<Vec<_>, _>>()?;
        length("gradients", gradients.len(), schemas.len())?;
        for (k, (schema, gradients)) in schemas.iter().zip(&*gradients).enumerate() {
            gradients.view().check(schema).map_err(|error| error.in_layer(k))?;
        }
        let norm = norm(self, schemas.iter().zip(gradients.iter().map(Params::view)));
        let factor = factor(most, norm);
        if factor < 1.0 {
            let factor = T::from_f64(factor);
            for (schema, gradients) in schemas.iter().zip(gradients) {
                let arrays =
                    schema.iter().zip(gradients.view_mut().into_iter()).filter(|(parameter, _)| parameter.moves());
                arrays.flat_map(|(_, array)| array).for_each(|gradient| *gradient = factor * *gradient);
            }
        }
        Ok(norm)
    }
}

/// The L2 norm of the corrected gradients of all layers together. A network that clips in its own steps calls this when
/// the gradients of all layers are stored, and then [`super::apply::apply_clipped`] for each layer, with what [`factor`]
/// makes of it for all arrays.
pub(crate) fn norm<'a, T: Element>(
    update: &Update,
    layers: impl Iterator<Item = (&'a Schema, ParamsRef<'a, T>)>,
) -> f64 {
    layers.map(|(schema, gradients)| squared_norm(schema, update, gradients)).sum::<f64>().sqrt()
}

/// What clipping to `most` leaves of gradients with this norm.
pub(crate) fn factor(most: f64, norm: f64) -> f64 {
    (most / (norm + 1e-6)).min(1.0)
}

/// What clipping leaves of the gradients of each array of a layer.
pub(super) fn factors<T: Element>(schema: &Schema, update: &Update, gradients: ParamsRef<'_, T>) -> [f64; MOST_ARRAYS] {
    let mut factors = [1.0; MOST_ARRAYS];
    let Some(most) = update.clip else { return factors };
    match update.clip_scope {
        ClipScope::Layer => factors.fill(factor(most, norm(update, [(schema, gradients)].into_iter()))),
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
