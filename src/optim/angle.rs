//! The angle rule: the learning rate of a layer from how much of a step the bound leaves.

use super::update::Update;
use crate::element::Element;
use crate::params::ParamsRef;
use crate::params::schema::Schema;

/// The angle rule: over the parameters that keep their sign, the largest learning rate of a grid for which
/// `‖bounded θ'‖ ≥ (1 − cosine_epsilon) · ‖θ'‖`, where `θ'` is what the step makes of them before the bound: the two
/// then point almost the same way. If no rate does, the smallest is taken. The grid goes in equal ratios from the
/// learning rate of the update down to `lr_min`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Angle {
    /// The smallest learning rate: above 0 and at most that of the update.
    pub lr_min: f64,
    /// Rates of the grid, from 1 to 1000.
    pub rates: usize,
    /// How much the cosine may fall short of 1: from 0 to 1.
    pub cosine_epsilon: f64,
}

/// The learning rate that the angle rule chooses for a step along `directions`.
pub(super) fn largest_rate<T: Element>(
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
            let keep = if update.decays_parameters() { 1.0 - rate * update.decay[parameter.role] } else { 1.0 };
            for (theta, d) in array.iter().zip(directions) {
                let next = keep * theta.to_f64() - rate * d.to_f64();
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
