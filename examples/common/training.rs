//! How networks are trained: by which optimiser, with which learning rate in each step, and whether gradients are
//! clipped.

use interneuron::{ClipScope, DecayOrder, PerRole, Schedule, Update};
use serde::{Deserialize, Serialize};

/// A word for each variant, as users type it and as files hold it.
macro_rules! words {
    ($name:ident: $($variant:ident = $word:literal),*) => {
        impl $name {
            pub const NAMES: &[&str] = &[$($word),*];

            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            pub fn find(name: &str) -> Result<Self, String> {
                match name {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("expected one of {}", Self::NAMES.join(", "))),
                }
            }
        }
    };
}

pub(crate) use words;

/// What a step makes of the gradients. Corrections are a matter of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimiser {
    #[default]
    Sgd,
    Adamw,
    Eg,
    AdamwEg,
}

words!(Optimiser: Sgd = "sgd", Adamw = "adamw", Eg = "eg", AdamwEg = "adamw-eg");

impl Optimiser {
    /// Whether its steps are along Adam's moments.
    pub fn has_moments(self) -> bool {
        matches!(self, Self::Adamw | Self::AdamwEg)
    }
}

/// What the learning rate does after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Course {
    #[default]
    Constant,
    /// It is multiplied by a factor again and again.
    Step,
    /// It falls to 0 at the end of the last epoch.
    Linear,
    Cosine,
}

words!(Course: Constant = "constant", Step = "step", Linear = "linear", Cosine = "cosine");

/// How networks are trained. By default: plain steps at a constant rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    pub optimiser: Optimiser,
    pub momentum: f64,
    /// Of all parameters: decoupled where there are moments, and otherwise a part of the gradient.
    pub weight_decay: f64,
    /// The largest norm of the gradients of all layers together; 0 does not clip.
    pub clip: f64,
    pub schedule: Course,
    /// Epochs in which the rate grows to its peak, not always a whole number.
    pub warmup: f64,
    /// Epochs between two steps of [`Course::Step`], and what multiplies the rate then.
    pub step_every: usize,
    pub step_factor: f64,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            optimiser: Optimiser::Sgd,
            momentum: 0.0,
            weight_decay: 0.0,
            clip: 0.0,
            schedule: Course::Constant,
            warmup: 0.0,
            step_every: 10,
            step_factor: 0.1,
        }
    }
}

impl Training {
    /// Checks what does not follow from the bounds of the single numbers, for so many epochs and the largest of the
    /// learning rates. The error begins with the name of the field.
    pub fn check(&self, epochs: usize, rate: f64) -> Result<(), String> {
        let Self { optimiser, momentum, weight_decay, warmup, .. } = *self;
        if optimiser.has_moments() && momentum > 0.0 {
            return Err(format!("momentum is {momentum}: expected 0 with {}, which has moments", optimiser.name()));
        }
        if optimiser.has_moments() && weight_decay * rate > 1.0 {
            let name = optimiser.name();
            return Err(format!("weight-decay is {weight_decay}: expected at most 1 / {rate}, the rate, with {name}"));
        }
        if warmup > epochs as f64 {
            return Err(format!("warmup is {warmup}: expected at most {epochs}, the epochs"));
        }
        Ok(())
    }

    /// Whether the rate of a step depends on how many there will be.
    pub fn ends(&self) -> bool {
        matches!(self.schedule, Course::Linear | Course::Cosine)
    }

    /// The update, with the corrections of a plain one.
    pub fn update(&self, plain: Update) -> Update {
        let lr = plain.lr;
        let rule = match self.optimiser {
            Optimiser::Sgd => plain,
            Optimiser::Eg => Update::eg(lr),
            Optimiser::Adamw => Update::adam(lr),
            Optimiser::AdamwEg => Update { descent: Update::eg(lr).descent, ..Update::adam(lr) },
        };
        let decoupled = self.optimiser.has_moments();
        Update {
            corrections: plain.corrections,
            momentum: PerRole::all(self.momentum),
            decay: PerRole::all(self.weight_decay),
            decay_order: if decoupled { DecayOrder::Decoupled } else { DecayOrder::BeforeMomentum },
            clip: Some(self.clip).filter(|&clip| clip > 0.0),
            clip_scope: ClipScope::Network,
            ..rule
        }
    }

    /// The learning rate of each step, the largest of which is `rate`.
    pub fn schedule(&self, rate: f64, epochs: usize, steps_an_epoch: usize) -> Result<Schedule, interneuron::Error> {
        let steps = |epochs: usize| epochs as u64 * steps_an_epoch as u64;
        let schedule = match self.schedule {
            Course::Constant => Schedule::constant(rate),
            Course::Step => Schedule::steps(rate, steps(self.step_every), self.step_factor),
            Course::Linear => Schedule::linear(rate, steps(epochs)),
            Course::Cosine => Schedule::cosine(rate, steps(epochs)),
        }?;
        schedule.warmup((self.warmup * steps_an_epoch as f64).round() as u64)
    }

    /// A rate that is as good as one of plain steps is without momentum: this lengthens steps by 1/(1−μ).
    pub fn scaled(&self, plain: f64) -> f64 {
        if self.momentum > 0.0 { significant(plain * (1.0 - self.momentum)) } else { plain }
    }
}

/// A positive number with four significant digits.
fn significant(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}
