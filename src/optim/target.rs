//! An array as a step moves it.

use super::adam::{FIRST, LARGEST, Moments, Numbered, SECOND, STEPS};
use super::exponentiated::{DECAY, Exponentiated, NEGATIVE};
use super::momentum::{DAMPED, VELOCITY, Velocity};
use super::natural::{FISHER, Inverse};
use super::policy::{Direction, Motion, Policy, Scaled};
use super::projected::{Bound, Projected};
use super::state::{SLOTS, SlotKind, State};
use super::update::{DecayOrder, Update};
use crate::driver::phase::run_elementwise;
use crate::element::Element;
use crate::kernels::Kernels;
use crate::params::ParamsMut;
use crate::params::schema::{MOST_ARRAYS, Parameter, Role, Schema};
use crate::threads::Team;

/// The arrays of a layer as a step moves them.
pub(crate) struct Targets<'a, T> {
    pub schema: &'a Schema,
    pub update: &'a Update,
    pub params: ParamsMut<'a, T>,
    pub state: &'a mut State<T>,
    /// The learning rate: that of the update, unless the angle rule found another.
    pub lr: f64,
    /// What clipping leaves of the gradients of each array.
    pub clip: [f64; MOST_ARRAYS],
    /// One divided by the norm of the inverse Fisher information, or 1.
    natural: f64,
}

/// An array that a step moves, with what its rule keeps of it.
pub(crate) struct Target<'a, T> {
    pub array: &'a mut [T],
    /// Neither the array nor what is kept of it changes.
    frozen: bool,
    /// Its arrays are borrowed as `array` is, and as long.
    direction: Direction<T>,
    /// As `direction`.
    motion: Motion<T>,
}

/// What is kept of one parameter: an array for each of [`SLOTS`], empty where there is none.
struct Kept<'a, T>([&'a mut [T]; SLOTS.len()]);

impl<T: Element> Kept<'_, T> {
    /// An array of the parameter's elements; none, of none.
    fn array(&mut self, kind: &SlotKind, elements: usize) -> *mut T {
        let array = &mut self.0[kind.index()];
        assert_eq!(array.len(), elements, "elements of {}", kind.name);
        array.as_mut_ptr()
    }

    /// The number of the parameter; 0 if there is none.
    fn number(&self, kind: &SlotKind) -> f64 {
        self.0[kind.index()].first().map_or(0.0, |number| number.to_f64())
    }
}

impl<'a, T: Element> Targets<'a, T> {
    /// Begins a step, for which [`State::prepare`] made room: what is counted goes on.
    pub fn begin(
        (schema, update): (&'a Schema, &'a Update),
        params: ParamsMut<'a, T>,
        state: &'a mut State<T>,
        clip: [f64; MOST_ARRAYS],
    ) -> Self {
        state.advance(schema, update);
        let natural = state.natural_scale(schema, update);
        Self { schema, update, params, state, lr: update.lr, clip, natural }
    }

    /// Nothing is clipped.
    pub const WHOLE: [f64; MOST_ARRAYS] = [1.0; MOST_ARRAYS];

    /// Parameter `i`.
    pub fn target(&mut self, i: usize) -> Target<'_, T> {
        let parameter = &self.schema[i];
        let update = self.update;
        let frozen = self.frozen(i);
        let mut kept = Kept([(); SLOTS.len()].map(|()| &mut [][..]));
        for slot in self.state.slots.iter_mut().filter(|slot| (slot.kind.wanted)(update)) {
            kept.0[slot.kind.index()] = slot.params.array_mut(i);
        }
        let scale = Scale { lr: self.lr, clip: self.clip[i], natural: self.natural };
        let (direction, motion) =
            if parameter.moves() && !frozen { update.step(parameter, scale, &mut kept) } else { towards_statistic() };
        Target { array: self.params.array_mut(i), frozen, direction, motion }
    }
}

impl<T: Element> Targets<'_, T> {
    /// Keeps the diagonal of a matrix that has none at zero, and what is kept of it.
    pub fn hold(&mut self, i: usize) {
        let parameter = &self.schema[i];
        if parameter.zero_diagonal {
            parameter.clear_diagonal(self.params.array_mut(i));
            for slot in &mut self.state.slots {
                parameter.clear_diagonal(slot.params.array_mut(i));
            }
        }
    }
}

impl<T> Targets<'_, T> {
    /// How many elements parameter `i` has.
    pub fn len(&self, i: usize) -> usize {
        self.params.len(i)
    }

    /// Whether parameter `i` stays as it is, so that nobody needs its gradient.
    pub fn frozen(&self, i: usize) -> bool {
        let parameter = &self.schema[i];
        match parameter.role {
            Role::Statistic => false,
            _ => !self.update.moves(parameter),
        }
    }
}

/// What a step of one array multiplies with, beside what the [`Update`] says; see [`Targets`].
#[derive(Clone, Copy)]
struct Scale {
    lr: f64,
    clip: f64,
    natural: f64,
}

/// Where weight decay goes.
struct Decay {
    /// λ that times θ is added to the gradient.
    coupled: f64,
    /// λ that times sign(θ) is added to the direction.
    along: f64,
    /// What decoupled decay leaves of θ.
    keep: f64,
}

/// How much of a batch's statistics goes into the running ones.
const RUNNING_SHARE: f64 = 0.1;

/// `θ ← θ − 0.1 (θ − statistic)`: the "gradient" of a statistic is that of the batch.
fn towards_statistic<T: Element>() -> (Direction<T>, Motion<T>) {
    let direction = Scaled { correction: -T::ONE, natural: None, decay: Some(T::ONE) };
    let bound = Bound { low: T::NEG_INFINITY, floor: None };
    let motion = Projected { rate: T::from_f64(RUNNING_SHARE), keep: T::ONE, bound };
    (Direction::Gradient(direction), Motion::Projected(motion))
}

impl Update {
    /// How the elements of a parameter move that is not frozen.
    fn step<T: Element>(
        &self,
        parameter: &Parameter,
        scale: Scale,
        kept: &mut Kept<'_, T>,
    ) -> (Direction<T>, Motion<T>) {
        let &Parameter { role, signed, .. } = parameter;
        let (rate, elements) = (scale.lr * self.factors[role], parameter.elements());
        let Decay { coupled, along, keep } = self.decay_of(role, rate, kept);
        // A rate of zero moves nothing, not by a rounding either.
        let exponentiated = self.split().is_some() && rate > 0.0;
        let [correction, outer] = self.corrections_of(parameter);
        let correction = scale.clip * correction;
        let momentum = self.momentum[role];
        // Where nothing comes between them, both are one factor, which is rounded once.
        let between = exponentiated || self.natural.is_some() || self.angle.is_some() || self.adam.is_some();
        let alone = self.decay[role] == 0.0 && momentum == 0.0 && !between;
        let (correction, rate) = if alone { (1.0, rate * correction) } else { (correction, rate) };
        let some = |decay: f64| Some(decay).filter(|&decay| decay > 0.0).map(T::from_f64);
        let natural = self.natural.map(|natural| Inverse {
            fisher: kept.array(&FISHER, elements),
            scale: T::from_f64(scale.natural),
            epsilon: T::from_f64(natural.epsilon),
        });
        let scaled = Scaled { correction: T::from_f64(correction), natural, decay: some(coupled) };
        let direction = match self.adam {
            Some(adam) => Direction::Moments(Moments {
                scaled,
                first: kept.array(&FIRST, elements),
                second: kept.array(&SECOND, elements),
                largest: if adam.amsgrad { kept.array(&LARGEST, elements) } else { std::ptr::null_mut() },
                numbers: Numbered::new(&adam, kept.number(&STEPS), outer),
            }),
            None if momentum > 0.0 => Direction::Velocity(Velocity {
                scaled,
                velocity: kept.array(&VELOCITY, elements),
                momentum: T::from_f64(momentum),
                share: T::from_f64(self.share(kept.number(&DAMPED))),
                nesterov: self.nesterov,
            }),
            None => Direction::Gradient(scaled),
        };
        let low = if signed { T::NEG_INFINITY } else { T::from_f64(self.floor.unwrap_or(0.0)) };
        let floor = self.floor.filter(|_| signed && role == Role::Weights).map(T::from_f64);
        let (rate, keep, bound) = (T::from_f64(rate), T::from_f64(keep), Bound { low, floor });
        let motion = if exponentiated {
            let bias = role == Role::Bias;
            let negative = if bias { kept.array(&NEGATIVE, elements) } else { std::ptr::null_mut() };
            Motion::Exponentiated(Exponentiated { rate, keep, decay: some(along), negative, bound })
        } else {
            Motion::Projected(Projected { rate, keep, bound })
        };
        (direction, motion)
    }

    fn decay_of<T: Element>(&self, role: Role, rate: f64, kept: &Kept<'_, T>) -> Decay {
        let (decay, momentum) = (self.decay[role], self.momentum[role]);
        let none = Decay { coupled: 0.0, along: 0.0, keep: 1.0 };
        if self.decays_parameters() {
            return Decay { keep: 1.0 - rate * decay, ..none };
        }
        if self.split().is_none() {
            return Decay { coupled: decay, ..none };
        }
        let velocity = kept.number(&DECAY);
        let along = match self.decay_order {
            DecayOrder::BeforeMomentum if momentum > 0.0 && self.nesterov => decay + momentum * velocity,
            DecayOrder::BeforeMomentum if momentum > 0.0 => velocity,
            _ => decay,
        };
        Decay { along, ..none }
    }
}

impl<T: Element> Target<'_, T> {
    /// Scale and bound of the step, if it is `max(θ − scale · dθ, low)` and nothing else. One that is not made is.
    pub fn plain(&self) -> Option<(T, T)> {
        if self.frozen {
            return Some((T::ZERO, T::NEG_INFINITY));
        }
        let Direction::Gradient(Scaled { correction, natural: None, decay: None }) = self.direction else {
            return None;
        };
        let Motion::Projected(Projected { rate, keep, bound: Bound { low, floor: None } }) = self.motion else {
            return None;
        };
        (correction == T::ONE && keep == T::ONE).then_some((rate, low))
    }

    /// What is left of the step when its direction is known.
    pub fn along_direction(self) -> Self {
        Self { direction: Direction::Gradient(Scaled::NOTHING), ..self }
    }

    /// The step for kernels, with rows `ld` elements apart.
    pub fn policy(&mut self, ld: usize) -> Policy<T> {
        let Self { direction, motion, .. } = *self;
        Policy { w: self.array.as_mut_ptr(), ld, direction, motion, arrays: direction.arrays() }
    }

    /// Takes the step of an array whose gradient is there.
    pub fn step(mut self, team: &Team<'_>, kernels: &Kernels<T>, gradient: &[T]) {
        assert_eq!(self.array.len(), gradient.len(), "elements of a parameter and its gradient");
        if self.frozen {
            return;
        }
        let policy = self.policy(0);
        // SAFETY: the arrays are borrowed, of one length, and a step does not write the gradient.
        unsafe { run_elementwise(team, kernels, gradient.len(), policy, gradient.as_ptr().cast_mut(), false) };
    }

    /// Overwrites the gradient of an array with the direction of its step.
    pub fn direction(mut self, team: &Team<'_>, kernels: &Kernels<T>, gradient: &mut [T]) {
        assert_eq!(self.array.len(), gradient.len(), "elements of a parameter and its gradient");
        if self.frozen {
            return;
        }
        let policy = self.policy(0);
        // SAFETY: the arrays are borrowed mutably and of one length.
        unsafe { run_elementwise(team, kernels, gradient.len(), policy, gradient.as_mut_ptr(), true) };
    }
}
