//! The small vector trait that every kernel is written over, and its instances.
//!
//! A value of a token type ([`Portable`], [`Avx2`], [`Avx512`]) proves that the CPU has the instruction set: only
//! [`crate::Isa`] makes tokens, and it asks the CPU first. Vectors have no methods of their own; every operation
//! goes through a token, so no path reaches an instruction that the CPU lacks.

mod exp;
mod instance;
mod portable;
mod scalar;
#[cfg(all(target_arch = "x86_64", not(interneuron_portable)))]
mod x86_64;

pub(crate) use portable::Portable;
pub use scalar::Scalar;
#[cfg(all(target_arch = "x86_64", not(interneuron_portable)))]
pub(crate) use x86_64::{Avx2, Avx512};

/// Work to be compiled for one instruction set: see [`Simd::vectorize`].
pub(crate) trait Vectorized {
    /// What the work returns.
    type Output;
    /// Does the work. Implementations are `#[inline(always)]`, so that the body takes on the instruction set of the
    /// function that calls it. The same holds for all that they call: what uses vectors is no closure that the compiler
    /// may leave outside (such as one for `map` of an array), where each operation would be a call.
    fn call(self) -> Self::Output;
}

/// Vectors of `T` in one instruction set.
pub(crate) trait Simd<T: Scalar>: Token {
    /// A vector register.
    type V: Copy;

    /// Elements of a vector.
    const LANES: usize;

    /// Runs `work` in a function that is compiled with this instruction set enabled.
    fn vectorize<W: Vectorized>(self, work: W) -> W::Output;

    /// All lanes zero.
    fn zero(self) -> Self::V;
    /// All lanes `x`.
    fn splat(self, x: T) -> Self::V;

    /// The `LANES` elements at `p`.
    ///
    /// # Safety
    /// `p` is valid for reading `LANES` elements; it need not be aligned.
    unsafe fn load(self, p: *const T) -> Self::V;
    /// Stores `LANES` elements at `p`.
    ///
    /// # Safety
    /// `p` is valid for writing `LANES` elements; it need not be aligned.
    unsafe fn store(self, p: *mut T, x: Self::V);
    /// The first `n` elements at `p`, zero in the other lanes; nothing beyond them is touched.
    ///
    /// # Safety
    /// `p` is valid for reading `n` elements, and `n <= LANES`.
    unsafe fn load_first(self, p: *const T, n: usize) -> Self::V;
    /// Stores the first `n` lanes at `p`; nothing beyond them is touched.
    ///
    /// # Safety
    /// `p` is valid for writing `n` elements, and `n <= LANES`.
    unsafe fn store_first(self, p: *mut T, x: Self::V, n: usize);

    /// Prefetches the cache line at `p`; does nothing where there is no such instruction. `p` may be any address.
    fn prefetch(self, p: *const T);

    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a − b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`, in one rounding where the instruction set has it.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `low` where `x < low`, else `x`; a NaN in `x` stays.
    fn at_least(self, x: Self::V, low: Self::V) -> Self::V;
    /// `high` where `x > high`, else `x`; a NaN in `high` is passed over.
    fn at_most(self, x: Self::V, high: Self::V) -> Self::V;
    /// `x` where `test > 0`, else `test`.
    fn where_positive(self, test: Self::V, x: Self::V) -> Self::V;
    /// The first `n` lanes of `x`, zero in the others (`n` may exceed `LANES`).
    fn first(self, x: Self::V, n: usize) -> Self::V;
    /// The sum of all lanes, in a fixed order.
    fn sum(self, x: Self::V) -> T;
    /// `x`, or 0 where it is a subnormal number.
    fn flush(self, x: Self::V) -> Self::V;
    /// `√x`
    fn sqrt(self, x: Self::V) -> Self::V;
    /// `x`, or `−x` where the sign of `by` is negative (that of −0 is).
    fn flip(self, x: Self::V, by: Self::V) -> Self::V;
    /// `x · 2ⁿ`, with `n` in the lowest bits of a number whose other fraction bits shift out of the exponent: see
    /// [`Simd::exp`]. The result must be a normal number.
    fn times_power_of_two(self, x: Self::V, n: Self::V) -> Self::V;

    /// `e` to the power of `x`; the same bits on every instruction set. See `exp.rs`.
    #[inline(always)]
    fn exp(self, x: Self::V) -> Self::V {
        exp::exp(self, x)
    }
}

/// What proves that the CPU has an instruction set.
pub(crate) trait Token: Copy + Send + Sync + 'static {
    /// Whether the CPU has the instruction set.
    fn detected() -> bool;
    /// The token.
    ///
    /// # Safety
    /// The CPU has the instruction set.
    unsafe fn token() -> Self;
}
