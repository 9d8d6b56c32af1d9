//! An array as a step moves it.

use super::state::{FISHER, NEGATIVE, State, VELOCITY};
use super::update::{StepScale, Update};
use crate::driver::phase::run_elementwise;
use crate::element::Element;
use crate::kernels::Kernels;
use crate::kernels::update::{Policy, Rule};
use crate::params::ParamsMut;
use crate::params::schema::Schema;
use crate::threads::Team;

/// The arrays of a layer as a step moves them. [`State::prepare`] went before.
pub(crate) struct Targets<'a, T> {
    pub schema: &'a Schema,
    pub update: &'a Update,
    pub scale: StepScale,
    pub params: ParamsMut<'a, T>,
    pub state: &'a mut State<T>,
}

/// An array that a step moves, with what its rule keeps of it; what it does not keep is empty.
pub(crate) struct Target<'a, T> {
    pub array: &'a mut [T],
    velocity: &'a mut [T],
    fisher: &'a [T],
    negative: &'a mut [T],
    rule: Rule<T>,
}

impl<T: Element> Targets<'_, T> {
    /// Parameter `i`.
    pub fn target(&mut self, i: usize) -> Target<'_, T> {
        let parameter = &self.schema[i];
        let rule: Rule<T> = self.update.rule(parameter, &self.scale);
        let (mut velocity, mut fisher, mut negative): (&mut [T], &[T], &mut [T]) = (&mut [], &[], &mut []);
        for slot in self.state.slots.iter_mut().filter(|slot| (slot.kind.wanted)(self.update) && parameter.moves()) {
            let array = slot.params.array_mut(i);
            match slot.kind.name {
                name if name == VELOCITY.name && rule.momentum > T::ZERO => velocity = array,
                name if name == FISHER.name => fisher = array,
                name if name == NEGATIVE.name && rule.exponentiated => negative = array,
                _ => {}
            }
        }
        Target { array: self.params.array_mut(i), velocity, fisher, negative, rule }
    }
}

impl<T> Targets<'_, T> {
    /// How many elements parameter `i` has.
    pub fn len(&self, i: usize) -> usize {
        self.params.len(i)
    }
}

impl<T: Element> Target<'_, T> {
    /// Scale and bound of the step, if it is `max(θ − scale · dθ, low)` and nothing else.
    pub fn plain(&self) -> Option<(T, T)> {
        let Rule { correction, decay, floor, exponentiated, natural, rate, low, .. } = self.rule;
        let alone = self.velocity.is_empty() && decay.is_none() && floor.is_none();
        (alone && !exponentiated && natural.is_none() && correction == T::ONE).then_some((rate, low))
    }

    /// What is left of the step when its direction is known.
    pub fn along_direction(self) -> Self {
        let exponentiated = self.rule.exponentiated;
        let rule =
            Rule { correction: T::ONE, natural: None, decay: self.rule.decay.filter(|_| exponentiated), ..self.rule };
        Self { velocity: &mut [], fisher: &[], rule, ..self }
    }

    /// The step for kernels, with rows `ld` elements apart.
    pub fn policy(&mut self, ld: usize) -> Policy<T> {
        let len = self.array.len();
        let place = |array: &mut [T]| {
            assert!(array.is_empty() || array.len() == len, "{} elements of {len}", array.len());
            if array.is_empty() { std::ptr::null_mut() } else { array.as_mut_ptr() }
        };
        let fisher = if self.rule.natural.is_some() { len } else { 0 };
        assert_eq!(self.fisher.len(), fisher, "elements of the Fisher information");
        Policy {
            velocity: place(self.velocity),
            negative: place(self.negative),
            fisher: if self.fisher.is_empty() { std::ptr::null() } else { self.fisher.as_ptr() },
            w: self.array.as_mut_ptr(),
            ld,
            rule: self.rule,
        }
    }

    /// Takes the step of an array whose gradient is there.
    pub fn step(mut self, team: &Team<'_>, kernels: &Kernels<T>, gradient: &[T]) {
        assert_eq!(self.array.len(), gradient.len(), "elements of a parameter and its gradient");
        let policy = self.policy(0);
        // SAFETY: the arrays are borrowed, of one length, and a step does not write the gradient.
        unsafe { run_elementwise(team, kernels, gradient.len(), policy, gradient.as_ptr().cast_mut(), false) };
    }

    /// Overwrites the gradient of an array with the direction of its step.
    pub fn direction(mut self, team: &Team<'_>, kernels: &Kernels<T>, gradient: &mut [T]) {
        assert_eq!(self.array.len(), gradient.len(), "elements of a parameter and its gradient");
        let policy = self.policy(0);
        // SAFETY: the arrays are borrowed mutably and of one length.
        unsafe { run_elementwise(team, kernels, gradient.len(), policy, gradient.as_mut_ptr(), true) };
    }
}
