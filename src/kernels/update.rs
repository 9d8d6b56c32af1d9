//! Epilogues of the weight gradient, and the same steps for arrays whose gradient is there already.

use super::tile::{Acc, Epilogue};
use crate::layout::Group;
use crate::simd::{Scalar, Simd, Vectorized};
use std::ops::Range;

/// How a step moves each element θ of a parameter, from its gradient dθ:
///
/// ```text
/// d = correction · dθ                       first of all, times scale / (F + ε) with a diagonal natural gradient
/// descent:       d ← d + decay · θ          then momentum:  v ← momentum · v + d,  d ← v  (Nesterov: d + momentum · v)
///                θ ← max(θ − rate · d, low)
/// exponentiated: momentum, then d ← d + decay · sign(θ)
///                θ ← θ · exp(−rate · sign(θ) · d)
/// ```
///
/// Products and sums are rounded one by one, so that a step has the same bits wherever it is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule<T> {
    pub correction: T,
    pub rate: T,
    pub decay: Option<T>,
    pub momentum: T,
    pub nesterov: bool,
    /// 0 or more for parameters that are not negative, −∞ for others.
    pub low: T,
    /// The least magnitude of parameters of any sign that keep theirs.
    pub floor: Option<T>,
    pub exponentiated: bool,
    /// `scale` and ε of the natural gradient.
    pub natural: Option<(T, T)>,
}

/// `W ← max(W − scale · dW, low)`, the gradient being the accumulators: it need not be stored. The fast path
/// of plain projected descent: no branches on other policies.
#[derive(Clone, Copy)]
pub(crate) struct Step<T, V = T> {
    /// The weights, row-major.
    pub w: *mut T,
    /// Distance of their rows.
    pub ld: usize,
    /// Learning rate times correction times factor.
    pub scale: V,
    /// 0 for weights that keep their sign, −∞ for others.
    pub low: V,
}

/// A step by any [`Rule`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy<T> {
    /// The parameter, row-major.
    pub w: *mut T,
    /// Distance of its rows, and of those of all arrays here.
    pub ld: usize,
    /// `v`; null without momentum.
    pub velocity: *mut T,
    /// `F`; null without a natural gradient.
    pub fisher: *const T,
    /// The part of a bias that is subtracted, where both parts are exponentiated: `b = b⁺ − b⁻`. Null elsewhere.
    pub negative: *mut T,
    pub rule: Rule<T>,
}

/// `dW`, stored row-major.
#[derive(Clone, Copy)]
pub(crate) struct StoreGradient<T> {
    /// The gradient.
    pub grad: *mut T,
    /// Distance of its rows.
    pub ld: usize,
}

/// `F ← min(keep · F + scale · Σ_B (∂W)², MAX)`: the accumulators are sums of squares.
#[derive(Clone, Copy)]
pub(crate) struct Curvature<T> {
    /// `F`, row-major.
    pub fisher: *mut T,
    /// Distance of its rows.
    pub ld: usize,
    pub keep: T,
    pub scale: T,
}

/// What an epilogue does with each vector of a gradient; no closure, see [`Vectorized::call`].
trait ForEach<T: Scalar, S: Simd<T>>: Copy {
    /// Treats `x`, whose place is `at` elements from the beginning of a row-major matrix.
    ///
    /// # Safety
    /// The arrays are valid for reading and writing these lanes.
    unsafe fn vector(self, s: S, at: usize, lanes: Lanes, x: S::V);
}

/// Treats all vectors of a tile.
///
/// A tile with a partial last vector takes a path of its own: testing every vector spilled accumulators and cost a
/// tenth of an update.
///
/// # Safety
/// As [`Epilogue::finish`].
#[inline(always)]
unsafe fn for_each<T: Scalar, S: Simd<T>, const MR: usize, const NV: usize>(
    s: S,
    acc: Acc<S::V, MR, NV>,
    ld: usize,
    (row, group): (usize, Group),
    work: impl ForEach<T, S>,
) {
    let at = |i, j| (row + i) * ld + group.start + j * S::LANES;
    if group.len == group.width {
        for (i, x) in acc.into_iter().enumerate() {
            for (j, x) in x.into_iter().enumerate() {
                // SAFETY: the caller vouches for the arrays in these rows and columns.
                unsafe { work.vector(s, at(i, j), Lanes::All, x) };
            }
        }
        return;
    }
    for (i, x) in acc.into_iter().enumerate() {
        for (j, x) in x.into_iter().enumerate() {
            let lanes = Lanes::First((group.len - j * S::LANES).min(S::LANES));
            // SAFETY: as above.
            unsafe { work.vector(s, at(i, j), lanes, x) };
        }
    }
}

/// The lanes of a vector that are inside an array.
#[derive(Clone, Copy)]
enum Lanes {
    All,
    First(usize),
}

impl Lanes {
    /// # Safety
    /// `p` is valid for reading these lanes.
    #[inline(always)]
    unsafe fn load<T: Scalar, S: Simd<T>>(self, s: S, p: *const T) -> S::V {
        // SAFETY: the caller vouches for `p`.
        unsafe {
            match self {
                Self::All => s.load(p),
                Self::First(n) => s.load_first(p, n),
            }
        }
    }

    /// # Safety
    /// `p` is valid for writing these lanes.
    #[inline(always)]
    unsafe fn store<T: Scalar, S: Simd<T>>(self, s: S, p: *mut T, x: S::V) {
        // SAFETY: the caller vouches for `p`.
        unsafe {
            match self {
                Self::All => s.store(p, x),
                Self::First(n) => s.store_first(p, x, n),
            }
        }
    }
}

/// Prefetches a tile of a row-major matrix. The rows of large weights are pages apart, where the hardware does not
/// guess which line is next.
#[inline(always)]
fn prefetch<T: Scalar, S: Simd<T>, const MR: usize, const NV: usize>(
    s: S,
    matrix: *const T,
    ld: usize,
    (row, group): (usize, Group),
) {
    let mut w = matrix.wrapping_add(row * ld + group.start);
    for _ in 0..MR {
        for j in 0..NV {
            s.prefetch(w.wrapping_add(j * S::LANES));
        }
        s.prefetch(w.wrapping_add(NV * S::LANES - 1));
        w = w.wrapping_add(ld);
    }
}

impl<T: Scalar, S: Simd<T>> Epilogue<T, S> for Step<T> {
    #[inline(always)]
    fn prepare<const MR: usize, const NV: usize>(&self, s: S, row: usize, group: Group) {
        prefetch::<T, S, MR, NV>(s, self.w, self.ld, (row, group));
    }

    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        let Self { w, ld, scale, low } = *self;
        let vectors = Step { w, ld, scale: s.splat(scale), low: s.splat(low) };
        // SAFETY: the caller vouches for the arrays.
        unsafe { for_each(s, acc, ld, (row, group), vectors) };
    }
}

impl<T: Scalar, S: Simd<T>> ForEach<T, S> for Step<T, S::V> {
    #[inline(always)]
    unsafe fn vector(self, s: S, at: usize, lanes: Lanes, dw: S::V) {
        let w = self.w.wrapping_add(at);
        // SAFETY: the caller vouches for the weights.
        unsafe { lanes.store(s, w, s.at_least(s.sub(lanes.load(s, w), s.mul(self.scale, dw)), self.low)) };
    }
}

impl<T: Scalar, S: Simd<T>> Epilogue<T, S> for Policy<T> {
    #[inline(always)]
    fn prepare<const MR: usize, const NV: usize>(&self, s: S, row: usize, group: Group) {
        for array in [self.w, self.velocity, self.fisher.cast_mut()] {
            if !array.is_null() {
                prefetch::<T, S, MR, NV>(s, array, self.ld, (row, group));
            }
        }
    }

    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        // SAFETY: the caller vouches for the arrays.
        unsafe { for_each(s, acc, self.ld, (row, group), self) };
    }
}

impl<T: Scalar, S: Simd<T>> ForEach<T, S> for &Policy<T> {
    #[inline(always)]
    unsafe fn vector(self, s: S, at: usize, lanes: Lanes, gradient: S::V) {
        s.vectorize(PolicyStep { s, policy: self, at, lanes, gradient });
    }
}

impl<T: Scalar, S: Simd<T>> Epilogue<T, S> for StoreGradient<T> {
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        // SAFETY: the caller vouches for the arrays.
        unsafe { for_each(s, acc, self.ld, (row, group), *self) };
    }
}

impl<T: Scalar, S: Simd<T>> ForEach<T, S> for StoreGradient<T> {
    #[inline(always)]
    unsafe fn vector(self, s: S, at: usize, lanes: Lanes, dw: S::V) {
        // SAFETY: the caller vouches for the gradient.
        unsafe { lanes.store(s, self.grad.wrapping_add(at), dw) };
    }
}

impl<T: Scalar, S: Simd<T>> Epilogue<T, S> for Curvature<T> {
    const SQUARES: bool = true;

    #[inline(always)]
    unsafe fn finish<const MR: usize, const NV: usize>(&self, s: S, acc: Acc<S::V, MR, NV>, row: usize, group: Group) {
        // SAFETY: the caller vouches for the arrays.
        unsafe { for_each(s, acc, self.ld, (row, group), *self) };
    }
}

impl<T: Scalar, S: Simd<T>> ForEach<T, S> for Curvature<T> {
    #[inline(always)]
    unsafe fn vector(self, s: S, at: usize, lanes: Lanes, squares: S::V) {
        let f = self.fisher.wrapping_add(at);
        // An infinity would stay.
        let [keep, scale, least] = [s.splat(self.keep), s.splat(self.scale), s.splat(-T::MAX)];
        // SAFETY: the caller vouches for F.
        unsafe {
            let sum = s.add(s.mul(keep, lanes.load(s, f)), s.mul(scale, squares));
            lanes.store(s, f, s.sub(s.zero(), s.at_least(s.sub(s.zero(), sum), least)));
        }
    }
}

/// The step of one vector by a policy: too long to be a part of every tile.
struct PolicyStep<'a, S: Simd<T>, T: Scalar> {
    s: S,
    policy: &'a Policy<T>,
    at: usize,
    lanes: Lanes,
    gradient: S::V,
}

impl<T: Scalar, S: Simd<T>> Vectorized for PolicyStep<'_, S, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        // SAFETY: `vector` is called with arrays that are valid in these lanes.
        unsafe { self.policy.step(self.s, self.at, self.lanes, self.gradient) };
    }
}

impl<T: Scalar> Policy<T> {
    /// The step of one vector, `at` elements from the beginning.
    ///
    /// # Safety
    /// The arrays are valid for reading and writing these lanes.
    #[inline(always)]
    unsafe fn step<S: Simd<T>>(&self, s: S, at: usize, lanes: Lanes, gradient: S::V) {
        // SAFETY: the caller vouches for the arrays.
        unsafe {
            let place = self.w.wrapping_add(at);
            let w = lanes.load(s, place);
            let d = self.direction(s, at, lanes, gradient, w);
            lanes.store(s, place, self.moved(s, at, lanes, w, d));
        }
    }

    /// `d` of the rule; the velocity moves.
    ///
    /// # Safety
    /// As [`Policy::step`].
    #[inline(always)]
    unsafe fn direction<S: Simd<T>>(&self, s: S, at: usize, lanes: Lanes, gradient: S::V, w: S::V) -> S::V {
        let Rule { correction, decay, momentum, nesterov, exponentiated, natural, .. } = self.rule;
        let mut d = s.mul(s.splat(correction), gradient);
        // SAFETY: the caller vouches for the arrays.
        unsafe {
            if let Some((scale, epsilon)) = natural {
                let fisher = lanes.load(s, self.fisher.wrapping_add(at));
                d = s.div(s.mul(s.splat(scale), d), s.add(fisher, s.splat(epsilon)));
            }
            if let Some(decay) = decay.filter(|_| !exponentiated) {
                d = s.add(d, s.mul(s.splat(decay), w));
            }
            if !self.velocity.is_null() {
                let place = self.velocity.wrapping_add(at);
                let v = s.add(s.mul(s.splat(momentum), lanes.load(s, place)), d);
                lanes.store(s, place, v);
                d = if nesterov { s.add(d, s.mul(s.splat(momentum), v)) } else { v };
            }
        }
        d
    }

    /// Where a step in the direction `d` leads.
    ///
    /// # Safety
    /// As [`Policy::step`].
    #[inline(always)]
    unsafe fn moved<S: Simd<T>>(&self, s: S, at: usize, lanes: Lanes, w: S::V, d: S::V) -> S::V {
        let Rule { rate, low, floor, exponentiated, .. } = self.rule;
        if !exponentiated {
            return self::bounded(s, s.sub(w, s.mul(s.splat(rate), d)), w, low, floor);
        }
        if self.negative.is_null() {
            return self::bounded(s, self.shrunk(s, w, s.flip(self.decayed(s, d, w), w)), w, low, floor);
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

    /// `θ · exp(−rate · d)`
    #[inline(always)]
    fn shrunk<S: Simd<T>>(&self, s: S, theta: S::V, d: S::V) -> S::V {
        s.mul(theta, s.exp(s.sub(s.zero(), s.mul(s.splat(self.rule.rate), d))))
    }

    /// `d + decay`, with the sign of `sign`.
    #[inline(always)]
    fn decayed<S: Simd<T>>(&self, s: S, d: S::V, sign: S::V) -> S::V {
        match self.rule.decay {
            Some(decay) => s.add(d, s.flip(s.splat(decay), sign)),
            None => d,
        }
    }
}

/// What may become of `w` where `next` is wanted.
#[inline(always)]
fn bounded<T: Scalar, S: Simd<T>>(s: S, next: S::V, w: S::V, low: T, floor: Option<T>) -> S::V {
    match floor {
        Some(floor) => s.flip(s.at_least(s.flip(next, w), s.splat(floor)), w),
        None => s.at_least(next, s.splat(low)),
    }
}

/// A step of an array whose gradient is there already.
pub(crate) struct Elementwise<T> {
    pub policy: Policy<T>,
    pub gradient: *mut T,
    /// Whether the direction of the step overwrites the gradient, instead of the step being made.
    pub direction_only: bool,
}

// SAFETY: only addresses are shared; `elementwise` is unsafe and its caller argues for the accesses.
unsafe impl<T: Sync> Sync for Elementwise<T> {}

/// The kernel of [`Elementwise`], for some of the elements.
pub(crate) type ElementwiseKernel<T> = unsafe fn(&Elementwise<T>, Range<usize>);

/// Makes the step of some elements.
///
/// # Safety
/// The CPU has the instruction set of `S`. The arrays are valid for reading and writing these elements, and nothing
/// else accesses them.
pub(crate) unsafe fn elementwise<T: Scalar, S: Simd<T>>(work: &Elementwise<T>, range: Range<usize>) {
    // SAFETY: the caller vouches for the instruction set.
    let s = unsafe { S::token() };
    s.vectorize(Elements { s, work, range });
}

struct Elements<'a, S, T> {
    s: S,
    work: &'a Elementwise<T>,
    range: Range<usize>,
}

impl<T: Scalar, S: Simd<T>> Vectorized for Elements<'_, S, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { s, work: Elementwise { policy, gradient, direction_only }, range } = self;
        for at in range.clone().step_by(S::LANES) {
            let left = range.end - at;
            let lanes = if left >= S::LANES { Lanes::All } else { Lanes::First(left) };
            let place = gradient.wrapping_add(at);
            // SAFETY: `elementwise` is called with arrays that are valid in the range.
            unsafe {
                let gradient = lanes.load(s, place);
                if *direction_only {
                    let w = lanes.load(s, policy.w.wrapping_add(at));
                    lanes.store(s, place, policy.direction(s, at, lanes, gradient, w));
                } else {
                    policy.step(s, at, lanes, gradient);
                }
            }
        }
    }
}
