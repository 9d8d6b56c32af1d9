//! Momentum: steps along a velocity.

use super::policy::{Direct, Scaled};
use super::state::{Numbers, SlotKind};
use super::update::Update;
use crate::kernels::update::Lanes;
use crate::params::schema::Role;
use crate::simd::{Scalar, Simd};

/// `v` of momentum.
pub(crate) static VELOCITY: SlotKind = SlotKind {
    name: "velocity",
    signed: true,
    of: |_| true,
    numbers: Numbers::Elements,
    wanted: Update::has_momentum,
    begin: |_, _| 0.0,
    advance: None,
    lasts: true,
};

/// The steps of a velocity with dampening, which does not dampen the first.
pub(crate) static DAMPED: SlotKind = SlotKind {
    name: "velocity_steps",
    signed: false,
    of: |_| true,
    numbers: Numbers::Array,
    wanted: |update| update.has_momentum() && update.dampening > 0.0,
    begin: |_, _| 0.0,
    advance: Some(|_, _, [steps, _]| steps + 1.0),
    lasts: true,
};

impl Update {
    /// Whether any parameter has a velocity.
    pub(crate) fn has_momentum(&self) -> bool {
        self.momentum.iter().any(|(_, &momentum)| momentum > 0.0)
    }

    /// What a gradient adds to its velocity, in the step of this number.
    pub(crate) fn share(&self, steps: f64) -> f64 {
        if steps > 1.0 { 1.0 - self.dampening } else { 1.0 }
    }

    /// What the velocity of a number is after a step: μ times what it was and its share of the number.
    pub(crate) fn velocity_of(&self, role: Role, number: f64, [before, steps]: [f64; 2]) -> f64 {
        self.momentum[role] * before + self.share(steps) * number
    }
}

/// `v ← momentum · v + share · d`, and `v` is the direction, or `d + momentum · v` with Nesterov's momentum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Velocity<T> {
    pub scaled: Scaled<T>,
    pub velocity: *mut T,
    pub momentum: T,
    pub share: T,
    pub nesterov: bool,
}

impl<T: Scalar> Velocity<T> {
    /// Whether it is a step that has a loop of its own: see [`Velocity::common`].
    pub fn is_common(&self) -> bool {
        self.scaled.natural.is_none()
    }

    /// The same where [`Velocity::is_common`], told in a way that the compiler sees.
    #[inline(always)]
    pub fn common(self) -> Self {
        Self { scaled: Scaled { natural: None, ..self.scaled }, ..self }
    }
}

impl<T: Scalar, S: Simd<T>> Direct<T, S> for Velocity<T> {
    #[inline(always)]
    unsafe fn direction(self, s: S, at: usize, lanes: Lanes, gradient: S::V, w: S::V) -> S::V {
        let Self { scaled, velocity, momentum, share, nesterov } = self;
        let place = velocity.wrapping_add(at);
        // SAFETY: the caller vouches for the arrays.
        unsafe {
            let d = scaled.direction(s, at, lanes, gradient, w);
            let v = s.add(s.mul(s.splat(momentum), lanes.load(s, place)), s.mul(s.splat(share), d));
            // Without gradients it would stick at a subnormal number, with which processors are slow.
            let v = s.flush(v);
            lanes.store(s, place, v);
            if nesterov { s.add(d, s.mul(s.splat(momentum), v)) } else { v }
        }
    }
}
