//! Exponentiated descent: parameters shrink and grow, and keep their signs.

use super::policy::Move;
use super::projected::Bound;
use super::state::{Numbers, SlotKind};
use super::update::DecayOrder;
use crate::kernels::update::Lanes;
use crate::params::schema::Role;
use crate::simd::{Scalar, Simd};

/// `b⁻` of exponentiated steps: a bias is the difference of two positive parts. Other steps move the bias as a whole,
/// and its parts are no longer known.
pub(crate) static NEGATIVE: SlotKind = SlotKind {
    name: "negative",
    signed: false,
    of: |parameter| parameter.role == Role::Bias,
    numbers: Numbers::Elements,
    wanted: |update| update.split().is_some(),
    begin: |update, own| own.map(|bias| (-bias).max(0.0)).sum::<f64>() + update.split().unwrap_or(0.0),
    advance: None,
    lasts: false,
};

/// The velocity of the decay of each array, where decay comes before momentum: λ · sign(θ) is added to the gradient, and
/// since signs never change, what it adds to the velocity is one number times them. So the velocity proper is that of
/// the gradient alone, and both parts of a bias share it.
pub(crate) static DECAY: SlotKind = SlotKind {
    name: "decay_velocity",
    signed: false,
    of: |_| true,
    numbers: Numbers::Array,
    wanted: |update| {
        let before = update.decay_order == DecayOrder::BeforeMomentum;
        before && update.split().is_some() && update.has_momentum()
    },
    begin: |_, _| 0.0,
    advance: Some(|update, role, before| update.velocity_of(role, update.decay[role], before)),
    lasts: true,
};

/// `θ ← keep · θ · exp(−rate · (sign(θ) · d + decay))`, and back to the bound. Decoupled decay is in `keep`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exponentiated<T> {
    pub rate: T,
    pub keep: T,
    pub decay: Option<T>,
    /// The part of a bias that is subtracted, if both parts are exponentiated: `b = b⁺ − b⁻`. Null elsewhere.
    pub negative: *mut T,
    pub bound: Bound<T>,
}

impl<T: Scalar> Exponentiated<T> {
    /// `keep · θ · exp(−rate · d)`
    #[inline(always)]
    fn shrunk<S: Simd<T>>(self, s: S, theta: S::V, d: S::V) -> S::V {
        let kept = s.mul(s.splat(self.keep), theta);
        s.mul(kept, s.exp(s.sub(s.zero(), s.mul(s.splat(self.rate), d))))
    }

    /// `d + decay`, with the sign of `sign`.
    #[inline(always)]
    fn decayed<S: Simd<T>>(self, s: S, d: S::V, sign: S::V) -> S::V {
        match self.decay {
            Some(decay) => s.add(d, s.flip(s.splat(decay), sign)),
            None => d,
        }
    }
}

impl<T: Scalar, S: Simd<T>> Move<T, S> for Exponentiated<T> {
    #[inline(always)]
    unsafe fn moved(self, s: S, at: usize, lanes: Lanes, w: S::V, d: S::V) -> S::V {
        if self.negative.is_null() {
            return self.bound.hold(s, self.shrunk(s, w, s.flip(self.decayed(s, d, w), w)), w);
        }
        let place = self.negative.wrapping_add(at);
        // SAFETY: the caller vouches for the arrays.
        unsafe {
            let negative = lanes.load(s, place);
            let positive = self.shrunk(s, s.add(w, negative), self.decayed(s, d, s.zero()));
            let negative = self.shrunk(s, negative, self.decayed(s, s.sub(s.zero(), d), s.zero()));
            lanes.store(s, place, negative);
            s.sub(positive, negative)
        }
    }
}
