//! The instruction sets of x86-64, and what they have in common.

mod avx2;
mod avx512;

pub(crate) use avx2::Avx2;
pub(crate) use avx512::Avx512;

/// Implements [`crate::simd::Simd`] for a token by intrinsics, and by functions of the token's file where the instruction
/// sets differ. `enabled` runs work with the features enabled that the token proves.
macro_rules! x86_simd {
    (
        $token:ty, $t:ty, $v:ty, $lanes:literal, $enabled:ident,
        $zero:ident, $splat:ident, $load:ident, $store:ident, $load_first:ident, $store_first:ident,
        $add:ident, $sub:ident, $mul:ident, $div:ident, $mul_add:ident, $max:ident,
        $where_positive:ident, $first:ident, $sum:ident,
        $sqrt:ident, $flip:ident, $times_power_of_two:ident
    ) => {
        impl Simd<$t> for $token {
            type V = $v;
            const LANES: usize = $lanes;

            #[inline(always)]
            fn vectorize<W: Vectorized>(self, work: W) -> W::Output {
                // SAFETY: the token proves the features that are enabled.
                unsafe { $enabled(work) }
            }
            #[inline(always)]
            fn zero(self) -> $v {
                // SAFETY: the token proves the instruction set.
                unsafe { $zero() }
            }
            #[inline(always)]
            fn splat(self, x: $t) -> $v {
                // SAFETY: the token proves the instruction set.
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load(self, p: *const $t) -> $v {
                // SAFETY: the token proves the instruction set; the caller vouches for `LANES` elements at `p`.
                unsafe { $load(p) }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $t, x: $v) {
                // SAFETY: the token proves the instruction set; the caller vouches for `LANES` elements at `p`.
                unsafe { $store(p, x) }
            }
            #[inline(always)]
            unsafe fn load_first(self, p: *const $t, n: usize) -> $v {
                // SAFETY: the token proves the instruction set; the caller vouches for `n` elements at `p`.
                unsafe { $load_first(p, n) }
            }
            #[inline(always)]
            unsafe fn store_first(self, p: *mut $t, x: $v, n: usize) {
                // SAFETY: the token proves the instruction set; the caller vouches for `n` elements at `p`.
                unsafe { $store_first(p, x, n) }
            }
            #[inline(always)]
            fn prefetch(self, p: *const $t) {
                // SAFETY: it is a hint of SSE, which x86-64 always has, and accesses nothing.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
            }
            #[inline(always)]
            fn add(self, a: $v, b: $v) -> $v {
                // SAFETY: the token proves the instruction set.
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            fn sub(self, a: $v, b: $v) -> $v {
                // SAFETY: the token proves the instruction set.
                unsafe { $sub(a, b) }
            }
            #[inline(always)]
            fn mul(self, a: $v, b: $v) -> $v {
                // SAFETY: the token proves the instruction set.
                unsafe { $mul(a, b) }
            }
            #[inline(always)]
            fn div(self, a: $v, b: $v) -> $v {
                // SAFETY: the token proves the instruction set.
                unsafe { $div(a, b) }
            }
            #[inline(always)]
            fn mul_add(self, a: $v, b: $v, c: $v) -> $v {
                // SAFETY: the token proves the instruction set.
                unsafe { $mul_add(a, b, c) }
            }
            #[inline(always)]
            fn at_least(self, x: $v, low: $v) -> $v {
                // The instruction returns its second operand where either is NaN.
                // SAFETY: the token proves the instruction set.
                unsafe { $max(low, x) }
            }
            #[inline(always)]
            fn where_positive(self, test: $v, x: $v) -> $v {
                // SAFETY: the token proves the instruction set.
                unsafe { $where_positive(test, x) }
            }
            #[inline(always)]
            fn first(self, x: $v, n: usize) -> $v {
                // SAFETY: the token proves the instruction set.
                unsafe { $first(x, n) }
            }
            #[inline(always)]
            fn sum(self, x: $v) -> $t {
                // SAFETY: the token proves the instruction set.
                unsafe { $sum(x) }
            }
            #[inline(always)]
            fn sqrt(self, x: $v) -> $v {
                // SAFETY: the token proves the instruction set.
                unsafe { $sqrt(x) }
            }
            #[inline(always)]
            fn flip(self, x: $v, by: $v) -> $v {
                // SAFETY: the token proves the instruction set.
                unsafe { $flip(x, by) }
            }
            #[inline(always)]
            fn times_power_of_two(self, x: $v, n: $v) -> $v {
                // SAFETY: the token proves the instruction set.
                unsafe { $times_power_of_two(x, n) }
            }
        }
    };
}

use x86_simd;
