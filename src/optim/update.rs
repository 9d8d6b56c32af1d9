//! Update rules as users say them: projected or exponentiated gradient descent, the corrections from the Fisher
//! information, and policies that can be added to them.

pub use super::adam::Adam;
pub use super::angle::Angle;
pub use super::clip::ClipScope;
pub use super::natural::Natural;
pub use super::sums::KeptSums;
use crate::element::Element;
use crate::error::Error;
use crate::params::schema::{Parameter, PerRole};

/// How a step changes the parameters. Projected gradient descent alone is
///
/// ```text
/// θ ← θ − lr · factor · correction · dθ,  then max(θ, 0) for parameters that keep their sign
/// ```
///
/// which are `Wex`, `Wix`, `Wei` and `g` of a layer with inhibition and `Wpos` of one with sign-constrained columns.
/// Everything else is a policy: a field whose default is not to have it. A step pays for the policies that it uses: most
/// change the weights in the pass that makes their gradient; [`Update::clip`], [`Update::angle`] and
/// [`Update::kept_sums`] need all of a layer first, whose gradients are then stored.
///
/// In this order: corrections, clipping, natural gradient, weight decay, momentum or moments, the angle rule, the step,
/// the bound, kept sums. ([`DecayOrder`] has other places for weight decay.)
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
/// let adamw = Update { corrections: true, ..Update::adamw(1e-3) };
/// assert!(plain.corrections != frozen_inhibition.corrections && heavy.corrections && adamw.adam.is_some());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Learning rate η, finite and ≥ 0. A [`Schedule`](crate::Schedule) has one for each step.
    pub lr: f64,
    /// Whether the gradients of inhibitory parameters are corrected.
    pub corrections: bool,
    /// Further factors on the learning rate of the parameters of each role, finite and ≥ 0. Where the factor is 0, the
    /// step leaves parameters alone to the bit, and so what it would keep of them: velocities, moments, counted steps.
    pub factors: PerRole<f64>,
    /// How a parameter moves.
    pub descent: Descent,
    /// Weight decay λ of the parameters of each role, finite and ≥ 0: adds `λ · θ` to the gradient, or `λ · sign(θ)`
    /// where the step is exponentiated, unless [`Update::decay_order`] says otherwise. 0 leaves a parameter alone.
    pub decay: PerRole<f64>,
    /// Where weight decay comes in.
    pub decay_order: DecayOrder,
    /// Momentum μ of the parameters of each role, at least 0 and less than 1: `v ← μ · v + d`, and `v` takes the place
    /// of the gradient `d`. Velocities begin at zero and are kept beside the parameters, also while a rule without
    /// momentum takes its turn. Where μ is 0, the gradient takes the step alone.
    pub momentum: PerRole<f64>,
    /// Nesterov's momentum: `d + μ · v` takes the place of the gradient instead of `v`.
    pub nesterov: bool,
    /// Dampening τ of momentum, from 0 to 1: `v ← μ · v + (1−τ) · d`, but in the first step. Not with Nesterov's.
    pub dampening: f64,
    /// Adam's moments in the place of momentum.
    pub adam: Option<Adam>,
    /// Sign freezing: no weight crosses zero. Parameters that keep their sign anyway have this floor instead of 0, and
    /// the weights of layers whose weights have any sign keep it, with at least this magnitude. Finite and ≥ 0.
    pub floor: Option<f64>,
    /// The largest L2 norm of the gradients of a layer together, after the corrections (which Adam has elsewhere): they
    /// are scaled by `clip / (norm + 1e-6)` where that is below 1. Finite and above 0.
    pub clip: Option<f64>,
    /// Which gradients clipping takes together.
    pub clip_scope: ClipScope,
    /// Scales weights, after the step and the bound, so that their magnitudes add up to what they did at first.
    pub kept_sums: Option<KeptSums>,
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

/// Where weight decay λ comes in. With momentum μ, the λ of the first counts up to `1/(1−μ)` times as much as that of
/// the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DecayOrder {
    /// Coupled: `d ← d + λ · θ`, or `d + λ · sign(θ)` where the step is exponentiated, before momentum or moments. This
    /// is the published order of exponentiated gradient, and "Adam" with its `weight_decay`. Not with exponentiated
    /// steps by moments.
    #[default]
    BeforeMomentum,
    /// The same is added to what momentum or moments make of the gradient. Where the step is projected, that is what
    /// decoupled decay does.
    AfterMomentum,
    /// Decoupled, as in AdamW: `θ ← θ · (1 − η · factor · λ)` before the step. η · factor · λ is at most 1.
    Decoupled,
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
            decay_order: DecayOrder::BeforeMomentum,
            momentum: PerRole::all(0.0),
            nesterov: false,
            dampening: 0.0,
            adam: None,
            floor: None,
            clip: None,
            clip_scope: ClipScope::Layer,
            kept_sums: None,
            angle: None,
            natural: None,
        }
    }

    /// Fisher-corrected stochastic gradient descent.
    pub fn csgd(lr: f64) -> Self {
        Self { corrections: true, ..Self::sgd(lr) }
    }

    /// Adam without weight decay, projected, without corrections.
    pub fn adam(lr: f64) -> Self {
        Self { adam: Some(Adam::default()), ..Self::sgd(lr) }
    }

    /// AdamW, projected, without corrections: Adam with a decoupled weight decay of 0.01, as in PyTorch of all
    /// parameters.
    pub fn adamw(lr: f64) -> Self {
        Self { decay: PerRole::all(0.01), decay_order: DecayOrder::Decoupled, ..Self::adam(lr) }
    }

    /// Exponentiated gradient descent, without corrections. Both parts of a bias begin 0.1 above its value.
    pub fn eg(lr: f64) -> Self {
        Self { descent: Descent::Exponentiated { split: 0.1 }, ..Self::sgd(lr) }
    }

    /// Exponentiated steps along the direction of AdamW, with its decoupled weight decay of 0.01.
    pub fn adamw_eg(lr: f64) -> Self {
        Self { descent: Descent::Exponentiated { split: 0.1 }, ..Self::adamw(lr) }
    }

    /// Diagonal natural gradient descent. The Fisher information takes the place of the corrections.
    pub fn natural(lr: f64, natural: Natural) -> Self {
        Self { natural: Some(natural), ..Self::sgd(lr) }
    }

    /// Checks the numbers as they will be rounded to `T`, which every step does, too.
    ///
    /// # Errors
    /// [`Error::LearningRate`], [`Error::Factor`], [`Error::Policy`] or [`Error::Unsupported`] if it cannot be used.
    pub fn check<T: Element>(&self) -> Result<(), Error> {
        if !valid::<T>(self.lr) {
            return Err(Error::LearningRate { lr: self.lr });
        }
        let fine = |factor: f64| valid::<T>(factor) && valid::<T>(factor * self.lr);
        if let Some((role, &value)) = self.factors.iter().find(|&(_, &factor)| !fine(factor)) {
            return Err(Error::Factor { name: role.letter(), value });
        }
        self.check_decay::<T>()?;
        self.check_momentum::<T>()?;
        self.check_moments::<T>()?;
        if let Descent::Exponentiated { split } = self.descent {
            policy("split", split, positive::<T>(split), "a finite number > 0")?;
        }
        if let Some(floor) = self.floor {
            policy("floor", floor, valid::<T>(floor), "a finite number ≥ 0")?;
        }
        if let Some(clip) = self.clip {
            policy("clip", clip, positive::<T>(clip), "a finite number > 0")?;
        }
        if let Some(Angle { lr_min, rates, cosine_epsilon }) = self.angle {
            policy("lr_min", lr_min, positive::<T>(lr_min) && lr_min <= self.lr, "above 0 and at most lr")?;
            policy("rates", rates as f64, (1..=1000).contains(&rates), "from 1 to 1000")?;
            policy("cosine_epsilon", cosine_epsilon, (0.0..=1.0).contains(&cosine_epsilon), "from 0 to 1")?;
        }
        if let Some(Natural { c, f_lambda, epsilon, .. }) = self.natural {
            policy("c", c, c > 0.0 && c <= 1.0, "above 0 and at most 1")?;
            policy("f_lambda", f_lambda, positive::<T>(f_lambda), "a finite number > 0")?;
            policy("epsilon", epsilon, positive::<T>(epsilon), "a finite number > 0")?;
        }
        Ok(())
    }

    fn check_decay<T: Element>(&self) -> Result<(), Error> {
        for (role, &decay) in self.decay.iter() {
            policy(DECAY_NAMES[role], decay, valid::<T>(decay), "a finite number ≥ 0")?;
            // What is left of a parameter would have the other sign.
            let fine = !self.decays_parameters() || self.lr * self.factors[role] * decay <= 1.0;
            policy(DECAY_NAMES[role], decay, fine, "at most 1 / (lr · factor) where it is decoupled")?;
        }
        Ok(())
    }

    fn check_momentum<T: Element>(&self) -> Result<(), Error> {
        for (role, &momentum) in self.momentum.iter() {
            let less_than_one = momentum >= 0.0 && T::from_f64(momentum) < T::ONE;
            policy(MOMENTUM_NAMES[role], momentum, less_than_one, "at least 0 and less than 1")?;
        }
        policy("dampening", self.dampening, (0.0..=1.0).contains(&self.dampening), "from 0 to 1")?;
        let fine = !self.nesterov || self.dampening == 0.0;
        policy("dampening", self.dampening, fine, "0 with Nesterov's momentum")
    }

    fn check_moments<T: Element>(&self) -> Result<(), Error> {
        let Some(Adam { betas, epsilon, .. }) = self.adam else { return Ok(()) };
        for (name, beta) in ["beta1", "beta2"].into_iter().zip(betas) {
            let less_than_one = beta >= 0.0 && T::from_f64(beta) < T::ONE;
            policy(name, beta, less_than_one, "at least 0 and less than 1")?;
        }
        policy("epsilon", epsilon, valid::<T>(epsilon), "a finite number ≥ 0")?;
        for (role, &momentum) in self.momentum.iter() {
            policy(MOMENTUM_NAMES[role], momentum, momentum == 0.0, "0 with Adam, whose beta1 takes its place")?;
        }
        policy("dampening", self.dampening, self.dampening == 0.0, "0 with Adam, which has no momentum")?;
        let unsupported = |what, expected| Err(Error::Unsupported { what, expected });
        if self.nesterov {
            return unsupported("Nesterov's momentum with Adam", "Adam without it");
        }
        if self.natural.is_some() {
            return unsupported("a natural gradient with Adam", "one of them");
        }
        let coupled = self.decay_order == DecayOrder::BeforeMomentum;
        if coupled && self.split().is_some() && self.decay.iter().any(|(_, &decay)| decay > 0.0) {
            return unsupported("weight decay in the moments of exponentiated steps", "DecayOrder::Decoupled");
        }
        Ok(())
    }

    /// Whether all gradients of a network are needed before any parameter can move.
    pub(crate) fn clips_network(&self) -> bool {
        self.clip.is_some() && self.clip_scope == ClipScope::Network
    }

    /// Whether all gradients of a layer are needed before any parameter can move, or all parameters after that.
    pub(crate) fn needs_gradients(&self) -> bool {
        self.clip.is_some() || self.angle.is_some() || self.kept_sums.is_some()
    }

    /// Whether steps are exponentiated, and what both parts of a bias have beyond its value.
    pub(crate) fn split(&self) -> Option<f64> {
        match self.descent {
            Descent::Exponentiated { split } => Some(split),
            Descent::Projected => None,
        }
    }

    /// Whether weight decay shrinks the parameters themselves.
    pub(crate) fn decays_parameters(&self) -> bool {
        match self.decay_order {
            DecayOrder::BeforeMomentum => false,
            DecayOrder::AfterMomentum => self.split().is_none(),
            DecayOrder::Decoupled => true,
        }
    }

    /// Whether a step moves a parameter along its gradient.
    pub(crate) fn moves(&self, parameter: &Parameter) -> bool {
        parameter.moves() && self.factors[parameter.role] > 0.0
    }

    /// The correction of a parameter, if the update has corrections.
    pub(crate) fn correction(&self, parameter: &Parameter) -> f64 {
        if self.corrections { parameter.correction } else { 1.0 }
    }

    /// What multiplies the gradient of a parameter first of all, and what multiplies Adam's quotient.
    pub(crate) fn corrections_of(&self, parameter: &Parameter) -> [f64; 2] {
        let correction = self.correction(parameter);
        if self.adam.is_some() { [1.0, correction] } else { [correction, 1.0] }
    }
}

fn finite<T: Element>(x: f64) -> bool {
    T::from_f64(x).is_finite()
}

fn valid<T: Element>(x: f64) -> bool {
    x >= 0.0 && finite::<T>(x)
}

fn positive<T: Element>(x: f64) -> bool {
    x > 0.0 && finite::<T>(x) && T::from_f64(x) > T::ZERO
}

/// Refuses a number of a policy unless it is fine.
fn policy(name: &'static str, value: f64, fine: bool, expected: &'static str) -> Result<(), Error> {
    if fine { Ok(()) } else { Err(Error::Policy { name, value, expected }) }
}

const DECAY_NAMES: PerRole<&str> = PerRole::new([
    "decay of Wex",
    "decay of Wix",
    "decay of Wei",
    "decay of alpha",
    "decay of g",
    "decay of b",
    "decay of h0",
]);

const MOMENTUM_NAMES: PerRole<&str> = PerRole::new([
    "momentum of Wex",
    "momentum of Wix",
    "momentum of Wei",
    "momentum of alpha",
    "momentum of g",
    "momentum of b",
    "momentum of h0",
]);
