//! Update rules: projected or exponentiated gradient descent, the corrections from the Fisher information, and policies
//! that can be added to them.

use crate::element::Element;
use crate::error::Error;
use crate::kernels::update::Rule;
use crate::params::schema::{Parameter, PerRole, Role};

/// How a step changes the parameters. Projected gradient descent alone is
///
/// ```text
/// θ ← θ − lr · factor · correction · dθ,  then max(θ, 0) for parameters that keep their sign
/// ```
///
/// which are `Wex`, `Wix`, `Wei` and `g` of a layer with inhibition and `Wpos` of one with sign-constrained columns.
/// Everything else is a policy: a field whose default, in all constructors, is not to have it. A step pays for the
/// policies that it uses: most change the weights in the pass that makes their gradient; [`Update::clip`] and
/// [`Update::angle`] need all gradients of a layer first, which are then stored.
///
/// In this order: corrections, clipping, natural gradient, weight decay, momentum, the angle rule, the step, the bound.
/// (Where a step is exponentiated, weight decay comes after momentum.)
///
/// With corrections, inhibitory gradients are scaled because a change of an inhibitory parameter moves the layer's
/// output distribution much further than one of an excitatory weight: `dWix` by `1/√ne`, `dWei` by `1/d`, `dalpha` by
/// `1/(√ne · d)`. Source: Cornford et al., ICLR 2021, section 4.
///
/// ```
/// use interneuron::{PerRole, Role, Update};
///
/// let corrected = Update::csgd(0.1);
/// let plain = Update::sgd(0.004);
/// let fixed = [Role::ToInterneurons, Role::FromInterneurons, Role::LogStrength];
/// let factors = fixed.into_iter().fold(PerRole::all(1.0), |factors, role| factors.with(role, 0.0));
/// let frozen_inhibition = Update { factors, ..corrected };
/// let decay = PerRole::all(0.0).with(Role::Weights, 1e-4);
/// let heavy = Update { momentum: PerRole::all(0.9), decay, clip: Some(1.0), ..corrected };
/// assert!(plain.corrections != frozen_inhibition.corrections && heavy.corrections);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Learning rate η, finite and ≥ 0.
    pub lr: f64,
    /// Whether the gradients of inhibitory parameters are corrected.
    pub corrections: bool,
    /// Further factors on the learning rate of the parameters of each role, finite and ≥ 0.
    pub factors: PerRole<f64>,
    /// How a parameter moves.
    pub descent: Descent,
    /// Weight decay λ of the parameters of each role, finite and ≥ 0: adds `λ · θ` to the gradient, or `λ · sign(θ)`
    /// where the step is exponentiated. 0 leaves a parameter alone.
    pub decay: PerRole<f64>,
    /// Momentum μ of the parameters of each role, at least 0 and less than 1: `v ← μ · v + d`, and `v` takes the place
    /// of the gradient `d`. Velocities begin at zero and are kept beside the parameters, also while a rule without
    /// momentum takes its turn. Where μ is 0, the gradient takes the step alone.
    pub momentum: PerRole<f64>,
    /// Nesterov's momentum: `d + μ · v` takes the place of the gradient instead of `v`.
    pub nesterov: bool,
    /// Sign freezing: no weight crosses zero. Parameters that keep their sign anyway have this floor instead of 0, and
    /// the weights of layers whose weights have any sign keep it, with at least this magnitude. Finite and ≥ 0.
    pub floor: Option<f64>,
    /// The largest L2 norm of all gradients of a layer together, after the corrections: they are scaled by
    /// `clip / (norm + 1e-6)` where that is below 1. Finite and above 0.
    pub clip: Option<f64>,
    /// Lets the angle between the step and what the bound leaves of it choose the learning rate of each layer.
    pub angle: Option<Angle>,
    /// Divides by an estimate of the Fisher information. Only for [`Network::train_step`](crate::Network::train_step).
    pub natural: Option<Natural>,
}

/// How a parameter moves along a direction `d`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Descent {
    /// `θ ← θ − η · d`, not below zero where a parameter keeps its sign.
    #[default]
    Projected,
    /// Exponentiated gradient: `θ ← θ · exp(−η · sign(θ) · d)`. Parameters keep their signs, and zeros stay.
    ///
    /// A bias is the difference of two positive parts, `b = b⁺ − b⁻`, which move so; at first they are `max(±b, 0) +
    /// split`.
    ///
    /// Source: Cornford, Pogodin, Ghosh, Sheng, Bicknell, Codol, Clark, Lajoie, Richards, "Brain-like learning with
    /// exponentiated gradients", 2024.
    Exponentiated {
        /// What both parts of a bias have beyond its value at first, or after a step of another kind: finite, above 0,
        /// and well above the rounding of a bias.
        split: f64,
    },
}

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

/// The diagonal natural gradient, d-NGD: for each parameter
///
/// ```text
/// F ← (1−c) · F + c · f_lambda · mean_B (∂ℓ_b/∂θ)²
/// ```
///
/// where `ℓ_b` is the loss of example b on a label drawn from the model's own softmax; the step takes `dθ / (F + ε)` in
/// the place of `dθ`. `F` begins at zero. Squared gradients of single examples are summed up in registers and never
/// stored. A step costs one backward pass more, whose gradients of weights cost twice as much as others.
///
/// Source: Cornford et al., ICLR 2021, appendix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Natural {
    /// Weight of the newest batch: above 0, at most 1.
    pub c: f64,
    /// Scale of the estimate: finite and above 0.
    pub f_lambda: f64,
    /// ε: finite and above 0.
    pub epsilon: f64,
    /// Whether `1/(F + ε)` is divided by its L2 norm over the layer's `Wex`.
    pub normalised: bool,
}

impl Default for Natural {
    /// What the original experiments used: c = 0.02, f_lambda = 2.5e-5, normalised.
    fn default() -> Self {
        Self { c: 0.02, f_lambda: 2.5e-5, epsilon: 1e-8, normalised: true }
    }
}

/// What a step of one layer multiplies with, beside what the [`Update`] says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepScale {
    /// The learning rate: that of the update, unless the angle rule found another.
    pub lr: f64,
    /// What clipping leaves of the gradients.
    pub clip: f64,
    /// One divided by the norm of the inverse Fisher information, or 1.
    pub natural: f64,
}

impl Update {
    /// Projected stochastic gradient descent without corrections.
    pub fn sgd(lr: f64) -> Self {
        Self {
            lr,
            corrections: false,
            factors: PerRole::all(1.0),
            descent: Descent::Projected,
            decay: PerRole::all(0.0),
            momentum: PerRole::all(0.0),
            nesterov: false,
            floor: None,
            clip: None,
            angle: None,
            natural: None,
        }
    }

    /// Fisher-corrected stochastic gradient descent.
    pub fn csgd(lr: f64) -> Self {
        Self { corrections: true, ..Self::sgd(lr) }
    }

    /// Exponentiated gradient descent, without corrections. Both parts of a bias begin 0.1 above its value.
    pub fn eg(lr: f64) -> Self {
        Self { descent: Descent::Exponentiated { split: 0.1 }, ..Self::sgd(lr) }
    }

    /// Diagonal natural gradient descent. The Fisher information takes the place of the corrections.
    pub fn natural(lr: f64, natural: Natural) -> Self {
        Self { natural: Some(natural), ..Self::sgd(lr) }
    }

    /// Checks the numbers as they will be rounded to `T`.
    pub(crate) fn check<T: Element>(&self) -> Result<(), Error> {
        let finite = |x: f64| T::from_f64(x).is_finite();
        let valid = |x: f64| x >= 0.0 && finite(x);
        if !valid(self.lr) {
            return Err(Error::LearningRate { lr: self.lr });
        }
        if let Some((role, &value)) =
            self.factors.iter().find(|&(_, &factor)| !valid(factor) || !valid(factor * self.lr))
        {
            return Err(Error::Factor { name: role.letter(), value });
        }
        let rule = |name, value, fine: bool, expected| {
            if fine { Ok(()) } else { Err(Error::Policy { name, value, expected }) }
        };
        let positive = |x: f64| x > 0.0 && finite(x) && T::from_f64(x) > T::ZERO;
        for (role, &decay) in self.decay.iter() {
            rule(DECAY_NAMES[role], decay, valid(decay), "a finite number ≥ 0")?;
        }
        for (role, &momentum) in self.momentum.iter() {
            let less_than_one = momentum >= 0.0 && T::from_f64(momentum) < T::ONE;
            rule(MOMENTUM_NAMES[role], momentum, less_than_one, "at least 0 and less than 1")?;
        }
        if let Descent::Exponentiated { split } = self.descent {
            rule("split", split, positive(split), "a finite number > 0")?;
        }
        if let Some(floor) = self.floor {
            rule("floor", floor, valid(floor), "a finite number ≥ 0")?;
        }
        if let Some(clip) = self.clip {
            rule("clip", clip, positive(clip), "a finite number > 0")?;
        }
        if let Some(Angle { lr_min, rates, cosine_epsilon }) = self.angle {
            rule("lr_min", lr_min, positive(lr_min) && lr_min <= self.lr, "above 0 and at most lr")?;
            rule("rates", rates as f64, (1..=1000).contains(&rates), "from 1 to 1000")?;
            rule("cosine_epsilon", cosine_epsilon, (0.0..=1.0).contains(&cosine_epsilon), "from 0 to 1")?;
        }
        if let Some(Natural { c, f_lambda, epsilon, .. }) = self.natural {
            rule("c", c, c > 0.0 && c <= 1.0, "above 0 and at most 1")?;
            rule("f_lambda", f_lambda, positive(f_lambda), "a finite number > 0")?;
            rule("epsilon", epsilon, positive(epsilon), "a finite number > 0")?;
        }
        Ok(())
    }

    /// Whether all gradients of a layer are needed before any parameter can move.
    pub(crate) fn needs_gradients(&self) -> bool {
        self.clip.is_some() || self.angle.is_some()
    }

    /// Whether steps are exponentiated, and what both parts of a bias have beyond its value.
    pub(crate) fn split(&self) -> Option<f64> {
        match self.descent {
            Descent::Exponentiated { split } => Some(split),
            Descent::Projected => None,
        }
    }

    /// What a parameter's gradient is multiplied with first of all.
    pub(crate) fn correction(&self, parameter: &Parameter) -> f64 {
        if self.corrections { parameter.correction } else { 1.0 }
    }

    /// How the elements of one parameter move.
    pub(crate) fn rule<T: Element>(&self, parameter: &Parameter, scale: &StepScale) -> Rule<T> {
        let plain = Rule {
            correction: T::ONE,
            rate: T::ZERO,
            decay: None,
            momentum: T::ZERO,
            nesterov: false,
            low: T::NEG_INFINITY,
            floor: None,
            exponentiated: false,
            natural: None,
        };
        if !parameter.moves() {
            // The "gradient" is the batch's statistic: θ ← θ − 0.1 (θ − statistic).
            return Rule { correction: -T::ONE, decay: Some(T::ONE), rate: T::from_f64(RUNNING_SHARE), ..plain };
        }
        let &Parameter { role, signed, .. } = parameter;
        let (correction, rate) = (scale.clip * self.correction(parameter), scale.lr * self.factors[role]);
        let (decay, momentum) = (Some(self.decay[role]).filter(|&decay| decay > 0.0), self.momentum[role]);
        // A rate of zero moves nothing, not by a rounding either.
        let exponentiated = self.split().is_some() && rate > 0.0;
        // Where nothing comes between them, both are one factor, which is rounded once.
        let alone =
            decay.is_none() && momentum == 0.0 && !exponentiated && self.natural.is_none() && self.angle.is_none();
        let (correction, rate) = if alone { (1.0, rate * correction) } else { (correction, rate) };
        Rule {
            correction: T::from_f64(correction),
            rate: T::from_f64(rate),
            decay: decay.map(T::from_f64),
            momentum: T::from_f64(momentum),
            nesterov: self.nesterov,
            low: if signed { T::NEG_INFINITY } else { T::from_f64(self.floor.unwrap_or(0.0)) },
            floor: self.floor.filter(|_| signed && role == Role::Weights).map(T::from_f64),
            exponentiated,
            natural: self.natural.map(|natural| (T::from_f64(scale.natural), T::from_f64(natural.epsilon))),
        }
    }
}

const DECAY_NAMES: PerRole<&str> =
    PerRole::new(["decay of Wex", "decay of Wix", "decay of Wei", "decay of alpha", "decay of g", "decay of b"]);

const MOMENTUM_NAMES: PerRole<&str> = PerRole::new([
    "momentum of Wex",
    "momentum of Wix",
    "momentum of Wei",
    "momentum of alpha",
    "momentum of g",
    "momentum of b",
]);

/// How much of a batch's statistics goes into the running ones.
const RUNNING_SHARE: f64 = 0.1;
