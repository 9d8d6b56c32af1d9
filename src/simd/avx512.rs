//! 512-bit vectors: AVX-512 Foundation alone, so that every CPU with AVX-512 can run them.

use super::{Simd, Token, Vectorized};
use std::arch::x86_64::*;

/// Proof that the CPU has AVX-512F.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// Whether the CPU has the features that [`enabled`] enables: the two lists are one.
    pub(crate) fn detect() -> bool {
        is_x86_feature_detected!("avx512f")
    }
}

impl Token for Avx512 {
    unsafe fn token() -> Self {
        Self(())
    }
}

#[target_feature(enable = "avx512f")]
fn enabled<W: Vectorized>(work: W) -> W::Output {
    work.call()
}

macro_rules! avx512 {
    (
        $t:ty, $v:ty, $lanes:literal, $mask:ty, $zero:ident, $set1:ident, $load:ident, $store:ident, $maskload:ident,
        $maskstore:ident, $add:ident, $sub:ident, $mul:ident, $div:ident, $fmadd:ident, $max:ident, $cmp:ident,
        $mov:ident, $sum:ident
    ) => {
        impl Simd<$t> for Avx512 {
            type V = $v;
            const LANES: usize = $lanes;

            #[inline(always)]
            fn vectorize<W: Vectorized>(self, work: W) -> W::Output {
                // SAFETY: the token proves the features that `enabled` enables.
                unsafe { enabled(work) }
            }
            #[inline(always)]
            fn zero(self) -> $v {
                // SAFETY: the token proves AVX-512F.
                unsafe { $zero() }
            }
            #[inline(always)]
            fn splat(self, x: $t) -> $v {
                // SAFETY: the token proves AVX-512F.
                unsafe { $set1(x) }
            }
            #[inline(always)]
            unsafe fn load(self, p: *const $t) -> $v {
                // SAFETY: the token proves AVX-512F; the caller vouches for `LANES` elements at `p`.
                unsafe { $load(p) }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $t, x: $v) {
                // SAFETY: the token proves AVX-512F; the caller vouches for `LANES` elements at `p`.
                unsafe { $store(p, x) }
            }
            #[inline(always)]
            unsafe fn load_first(self, p: *const $t, n: usize) -> $v {
                let first = (1u32 << n).wrapping_sub(1) as $mask;
                // SAFETY: the token proves AVX-512F; masked lanes are not accessed, the caller vouches for the others.
                unsafe { $maskload(first, p) }
            }
            #[inline(always)]
            unsafe fn store_first(self, p: *mut $t, x: $v, n: usize) {
                let first = (1u32 << n).wrapping_sub(1) as $mask;
                // SAFETY: the token proves AVX-512F; masked lanes are not accessed, the caller vouches for the others.
                unsafe { $maskstore(p, first, x) }
            }
            #[inline(always)]
            fn add(self, a: $v, b: $v) -> $v {
                // SAFETY: the token proves AVX-512F.
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            fn sub(self, a: $v, b: $v) -> $v {
                // SAFETY: the token proves AVX-512F.
                unsafe { $sub(a, b) }
            }
            #[inline(always)]
            fn mul(self, a: $v, b: $v) -> $v {
                // SAFETY: the token proves AVX-512F.
                unsafe { $mul(a, b) }
            }
            #[inline(always)]
            fn div(self, a: $v, b: $v) -> $v {
                // SAFETY: the token proves AVX-512F.
                unsafe { $div(a, b) }
            }
            #[inline(always)]
            fn mul_add(self, a: $v, b: $v, c: $v) -> $v {
                // SAFETY: the token proves AVX-512F.
                unsafe { $fmadd(a, b, c) }
            }
            #[inline(always)]
            fn at_least(self, x: $v, low: $v) -> $v {
                // The instruction returns its second operand where either is NaN.
                // SAFETY: the token proves AVX-512F.
                unsafe { $max(low, x) }
            }
            #[inline(always)]
            fn where_positive(self, test: $v, x: $v) -> $v {
                // SAFETY: the token proves AVX-512F.
                unsafe { $mov($cmp::<_CMP_GT_OQ>(test, $zero()), x) }
            }
            #[inline(always)]
            fn first(self, x: $v, n: usize) -> $v {
                let first = (1u32 << n.min($lanes)).wrapping_sub(1) as $mask;
                // SAFETY: the token proves AVX-512F.
                unsafe { $mov(first, x) }
            }
            #[inline(always)]
            fn sum(self, x: $v) -> $t {
                // SAFETY: the token proves AVX-512F.
                unsafe { $sum(x) }
            }
        }
    };
}

avx512!(
    f32,
    __m512,
    16,
    __mmask16,
    _mm512_setzero_ps,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_maskz_loadu_ps,
    _mm512_mask_storeu_ps,
    _mm512_add_ps,
    _mm512_sub_ps,
    _mm512_mul_ps,
    _mm512_div_ps,
    _mm512_fmadd_ps,
    _mm512_max_ps,
    _mm512_cmp_ps_mask,
    _mm512_maskz_mov_ps,
    _mm512_reduce_add_ps
);
avx512!(
    f64,
    __m512d,
    8,
    __mmask8,
    _mm512_setzero_pd,
    _mm512_set1_pd,
    _mm512_loadu_pd,
    _mm512_storeu_pd,
    _mm512_maskz_loadu_pd,
    _mm512_mask_storeu_pd,
    _mm512_add_pd,
    _mm512_sub_pd,
    _mm512_mul_pd,
    _mm512_div_pd,
    _mm512_fmadd_pd,
    _mm512_max_pd,
    _mm512_cmp_pd_mask,
    _mm512_maskz_mov_pd,
    _mm512_reduce_add_pd
);
