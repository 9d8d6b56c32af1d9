//! What studies of such networks look at: activity, weights and steps of a layer, as a few numbers.

use crate::buffer::Units;
use crate::element::Element;
use crate::layers::inhibition::low::LowDivisors;
use crate::layers::pass::{Pass, Standardised};
use crate::layers::{LayerShape, Nonlinearity};
use crate::layout::Split;
use crate::optim::update::Update;
use crate::params::ParamsRef;
use crate::params::schema::{Role, Schema};

/// The statistics of one layer on some examples: see [`Network::inspect`](crate::Network::inspect).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerStatistics {
    /// Mean and variance of the standardised excitation `ẑ` over units and examples, for layers that have it: those
    /// that divide, and normalised ones.
    pub zhat: Option<(f64, f64)>,
    /// Least and largest divisor `γ`, for layers that divide.
    pub gamma: Option<(f64, f64)>,
    /// How many divisors are below their bound, for layers that divide: of plain ones, below ε, a step of training allows
    /// none.
    pub low_divisors: Option<LowDivisors>,
    /// The part of the units that are silent: zero for every example. None in a layer without ReLU.
    pub silent: Option<f64>,
    /// What the units of a recurrent layer do at each step: those that go out. Empty for other layers.
    pub steps: Vec<StepStatistics>,
    /// The spectral radius of what takes the states of a recurrent layer from one step to the next, without its leak:
    /// `Wex − Wei Wix` where there are interneurons (before anything divides it), `Wpos` with the signs of the units, or
    /// `W`. Above 1, states and gradients may grow from step to step.
    pub radius: Option<f64>,
    /// The part of the weights that are zero.
    pub zero_weights: f64,
    /// The cosine between the step of projected descent along the gradients, with the update's rate, corrections,
    /// factors and floor but none of its other policies, and what the bound leaves of it: over the parameters that keep
    /// their sign; none where no parameter does, or where nothing moves.
    pub cosine: Option<f64>,
    /// The L2 norm of the gradient by each parameter, without corrections.
    pub gradient_norms: Vec<(&'static str, f64)>,
}

/// What the units of a recurrent layer do at one step: see [`LayerStatistics::steps`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepStatistics {
    /// The mean of `h` over units and examples.
    pub mean: f64,
    /// Its variance.
    pub variance: f64,
    /// The part of units and examples in which `h` is not zero.
    pub active: f64,
}

/// Gathers what a layer does while the examples pass by.
pub(crate) struct Observer {
    /// Sums of ẑ and its square, and how many there were.
    zhat: Option<[f64; 3]>,
    gamma: Option<(f64, f64)>,
    /// Of all slabs so far.
    low_divisors: Option<LowDivisors>,
    /// Whether each unit of a layer with ReLU has been active.
    active: Option<Vec<bool>>,
    /// Of each step of a recurrent layer: how many values, their sum, that of their squares, and how many are not zero.
    steps: Option<Vec<[f64; 4]>>,
}

impl Observer {
    pub fn new(shape: &LayerShape) -> Self {
        let active = (shape.nonlinearity() == Nonlinearity::Relu).then(|| vec![false; shape.outputs()]);
        let steps = shape.is_recurrent().then(Vec::new);
        Self { zhat: None, gamma: None, low_divisors: None, active, steps }
    }

    /// Looks at a layer between a forward pass of training and its backward pass, where step 0 of what it keeps is step
    /// `start` of all.
    pub fn observe<T: Element>(&mut self, pass: &dyn Pass<T>, start: usize) {
        let examples = pass.buffers().examples;
        for Standardised { inverse, zhat, examples } in pass.standardised().into_iter().flatten() {
            let [sum, squares, count] = self.zhat.get_or_insert([0.0; 3]);
            for_each(zhat.units(), examples, |_, zhat| {
                *sum += zhat;
                *squares += zhat * zhat;
                *count += 1.0;
            });
            if let Some((inverse, division)) = inverse {
                let (least, largest) = self.gamma.get_or_insert((f64::INFINITY, f64::NEG_INFINITY));
                for_each(inverse.units(), examples, |_, kept| {
                    let gamma = 1.0 / division.kept(T::from_f64(kept)).to_f64();
                    *least = least.min(gamma);
                    *largest = largest.max(gamma);
                });
            }
        }
        self.low_divisors = pass.low_divisors();
        for step in examples.block_range() {
            let Some(steps) = &mut self.steps else { break };
            steps.resize(steps.len().max(start + step + 1), [0.0; 4]);
            let [count, sum, squares, active] = &mut steps[start + step];
            for_each(pass.h(), examples.blocks(step..step + 1), |_, h| {
                *count += 1.0;
                *sum += h;
                *squares += h * h;
                *active += f64::from(u8::from(h != 0.0));
            });
        }
        if let Some(active) = &mut self.active {
            for_each(pass.h(), examples, |unit, h| active[unit] |= h != 0.0);
        }
    }

    /// The statistics of what was observed, and of the parameters and their gradients.
    pub fn summarise<T: Element>(
        self,
        (shape, schema): (&LayerShape, &Schema),
        params: ParamsRef<'_, T>,
        gradients: ParamsRef<'_, T>,
        update: &Update,
    ) -> LayerStatistics {
        let share = |part: usize, of: usize| part as f64 / of as f64;
        let (mut zeros, mut weights) = (0, 0);
        for (parameter, array) in schema.iter().zip(params.iter()) {
            if matches!(parameter.role, Role::Weights | Role::ToInterneurons | Role::FromInterneurons) {
                zeros += array.iter().filter(|&&w| w == T::ZERO).count();
                weights += array.len();
            }
        }
        let of_step = |[count, sum, squares, active]: [f64; 4]| {
            let mean = sum / count;
            StepStatistics { mean, variance: (squares / count - mean * mean).max(0.0), active: active / count }
        };
        let norm = |array: &[T]| array.iter().map(|gradient| gradient.to_f64().powi(2)).sum::<f64>().sqrt();
        let moved = schema.iter().zip(gradients.iter()).filter(|(parameter, _)| parameter.moves());
        let norms =
            moved.filter(|(_, array)| !array.is_empty()).map(|(parameter, array)| (parameter.name, norm(array)));
        LayerStatistics {
            zhat: self.zhat.map(|[sum, squares, count]| {
                let mean = sum / count;
                (mean, (squares / count - mean * mean).max(0.0))
            }),
            gamma: self.gamma,
            low_divisors: self.low_divisors,
            silent: self.active.map(|active| share(active.iter().filter(|&&active| !active).count(), active.len())),
            steps: self.steps.into_iter().flatten().map(of_step).collect(),
            radius: shape.radius(params),
            zero_weights: share(zeros, weights),
            cosine: cosine(schema, params, gradients, update),
            gradient_norms: norms.collect(),
        }
    }
}

/// Calls `f` with each unit and what it does in each example.
fn for_each<T: Element>(activity: Units<'_, T>, examples: Split, mut f: impl FnMut(usize, f64)) {
    for group in examples.iter(0..examples.groups()) {
        for unit in 0..activity.rows() {
            activity.row(unit, group)[..group.len].iter().for_each(|value| f(unit, value.to_f64()));
        }
    }
}

/// The cosine between the free and the bounded step of projected descent.
fn cosine<T: Element>(
    schema: &Schema,
    params: ParamsRef<'_, T>,
    gradients: ParamsRef<'_, T>,
    update: &Update,
) -> Option<f64> {
    let (mut product, mut free, mut bounded) = (0.0, 0.0, 0.0);
    let arrays = schema.iter().zip(params.iter().zip(gradients.iter()));
    for (parameter, (array, gradients)) in arrays.filter(|(parameter, _)| !parameter.signed && parameter.moves()) {
        let rate = update.lr * update.factors[parameter.role] * update.correction(parameter);
        for (theta, gradient) in array.iter().zip(gradients) {
            let (theta, step) = (theta.to_f64(), -rate * gradient.to_f64());
            let left = (theta + step).max(update.floor.unwrap_or(0.0)) - theta;
            product += step * left;
            free += step * step;
            bounded += left * left;
        }
    }
    let norms = (free * bounded).sqrt();
    // Rounding could lead beyond.
    (norms > 0.0).then(|| (product / norms).clamp(-1.0, 1.0))
}
