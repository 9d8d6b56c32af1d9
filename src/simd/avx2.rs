//! 256-bit vectors: AVX2 with fused multiply-add.

use super::{Simd, Token, Vectorized};
use std::arch::x86_64::*;

/// Proof that the CPU has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// Whether the CPU has the features that [`enabled`] enables: the two lists are one.
    pub(crate) fn detect() -> bool {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
    }
}

impl Token for Avx2 {
    unsafe fn token() -> Self {
        Self(())
    }
}

#[target_feature(enable = "avx2,fma")]
fn enabled<W: Vectorized>(work: W) -> W::Output {
    work.call()
}

/// All bits set in the first `n` of eight 32-bit lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn first_32(n: usize) -> __m256i {
    let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_cmpgt_epi32(_mm256_set1_epi32(n.min(8) as i32), lane)
}

/// All bits set in the first `n` of four 64-bit lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn first_64(n: usize) -> __m256i {
    let lane = _mm256_setr_epi64x(0, 1, 2, 3);
    _mm256_cmpgt_epi64(_mm256_set1_epi64x(n.min(4) as i64), lane)
}

/// ((x0+x4)+(x2+x6)) + ((x1+x5)+(x3+x7))
#[inline]
#[target_feature(enable = "avx2")]
fn sum_f32(x: __m256) -> f32 {
    let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
}

/// (x0+x2) + (x1+x3)
#[inline]
#[target_feature(enable = "avx2")]
fn sum_f64(x: __m256d) -> f64 {
    let x = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd::<1>(x));
    _mm_cvtsd_f64(_mm_add_sd(x, _mm_unpackhi_pd(x, x)))
}

macro_rules! avx2 {
    (
        $t:ty, $v:ty, $lanes:literal, $first:ident, $sum:ident, $zero:ident, $set1:ident, $load:ident, $store:ident,
        $maskload:ident, $maskstore:ident, $add:ident, $sub:ident, $mul:ident, $div:ident, $fmadd:ident, $max:ident,
        $cmp:ident, $and:ident, $cast:ident
    ) => {
        impl Simd<$t> for Avx2 {
            type V = $v;
            const LANES: usize = $lanes;

            #[inline(always)]
            fn vectorize<W: Vectorized>(self, work: W) -> W::Output {
                // SAFETY: the token proves the features that `enabled` enables.
                unsafe { enabled(work) }
            }
            #[inline(always)]
            fn zero(self) -> $v {
                // SAFETY: the token proves AVX2.
                unsafe { $zero() }
            }
            #[inline(always)]
            fn splat(self, x: $t) -> $v {
                // SAFETY: the token proves AVX2.
                unsafe { $set1(x) }
            }
            #[inline(always)]
            unsafe fn load(self, p: *const $t) -> $v {
                // SAFETY: the token proves AVX2; the caller vouches for `LANES` elements at `p`.
                unsafe { $load(p) }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $t, x: $v) {
                // SAFETY: the token proves AVX2; the caller vouches for `LANES` elements at `p`.
                unsafe { $store(p, x) }
            }
            #[inline(always)]
            unsafe fn load_first(self, p: *const $t, n: usize) -> $v {
                // SAFETY: the token proves AVX2; masked lanes are not accessed, the caller vouches for the others.
                unsafe { $maskload(p, $first(n)) }
            }
            #[inline(always)]
            unsafe fn store_first(self, p: *mut $t, x: $v, n: usize) {
                // SAFETY: the token proves AVX2; masked lanes are not accessed, the caller vouches for the others.
                unsafe { $maskstore(p, $first(n), x) }
            }
            #[inline(always)]
            fn add(self, a: $v, b: $v) -> $v {
                // SAFETY: the token proves AVX2.
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            fn sub(self, a: $v, b: $v) -> $v {
                // SAFETY: the token proves AVX2.
                unsafe { $sub(a, b) }
            }
            #[inline(always)]
            fn mul(self, a: $v, b: $v) -> $v {
                // SAFETY: the token proves AVX2.
                unsafe { $mul(a, b) }
            }
            #[inline(always)]
            fn div(self, a: $v, b: $v) -> $v {
                // SAFETY: the token proves AVX2.
                unsafe { $div(a, b) }
            }
            #[inline(always)]
            fn mul_add(self, a: $v, b: $v, c: $v) -> $v {
                // SAFETY: the token proves FMA.
                unsafe { $fmadd(a, b, c) }
            }
            #[inline(always)]
            fn at_least(self, x: $v, low: $v) -> $v {
                // The instruction returns its second operand where either is NaN.
                // SAFETY: the token proves AVX2.
                unsafe { $max(low, x) }
            }
            #[inline(always)]
            fn where_positive(self, test: $v, x: $v) -> $v {
                // SAFETY: the token proves AVX2.
                unsafe { $and($cmp::<_CMP_GT_OQ>(test, $zero()), x) }
            }
            #[inline(always)]
            fn first(self, x: $v, n: usize) -> $v {
                // SAFETY: the token proves AVX2.
                unsafe { $and($cast($first(n)), x) }
            }
            #[inline(always)]
            fn sum(self, x: $v) -> $t {
                // SAFETY: the token proves AVX2.
                unsafe { $sum(x) }
            }
        }
    };
}

avx2!(
    f32,
    __m256,
    8,
    first_32,
    sum_f32,
    _mm256_setzero_ps,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_maskload_ps,
    _mm256_maskstore_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_mul_ps,
    _mm256_div_ps,
    _mm256_fmadd_ps,
    _mm256_max_ps,
    _mm256_cmp_ps,
    _mm256_and_ps,
    _mm256_castsi256_ps
);
avx2!(
    f64,
    __m256d,
    4,
    first_64,
    sum_f64,
    _mm256_setzero_pd,
    _mm256_set1_pd,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_maskload_pd,
    _mm256_maskstore_pd,
    _mm256_add_pd,
    _mm256_sub_pd,
    _mm256_mul_pd,
    _mm256_div_pd,
    _mm256_fmadd_pd,
    _mm256_max_pd,
    _mm256_cmp_pd,
    _mm256_and_pd,
    _mm256_castsi256_pd
);
