//! 256-bit vectors: AVX2 with fused multiply-add. Masks are vectors: all bits of a lane set, or none.

use crate::simd::instance::impl_simd;
use crate::simd::{Simd, Token, Vectorized};
use std::arch::x86_64::*;

/// Proof that the CPU has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Token for Avx2 {
    // The features that `enabled` enables: the two lists are one.
    fn detected() -> bool {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
    }

    unsafe fn token() -> Self {
        Self(())
    }
}

#[target_feature(enable = "avx2,fma")]
fn enabled<W: Vectorized>(work: W) -> W::Output {
    work.call()
}

/// The first `n` lanes set.
#[inline]
#[target_feature(enable = "avx2")]
fn mask_f32(n: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(n.min(8) as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

/// The first `n` lanes set.
#[inline]
#[target_feature(enable = "avx2")]
fn mask_f64(n: usize) -> __m256i {
    _mm256_cmpgt_epi64(_mm256_set1_epi64x(n.min(4) as i64), _mm256_setr_epi64x(0, 1, 2, 3))
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

impl_simd! {
    Avx2: 8 lanes of f32 as __m256;
    vectorize(work) = enabled(work);
    load(p) = _mm256_loadu_ps(p);
    store(p, x) = _mm256_storeu_ps(p, x);
    load_first(p, n) = _mm256_maskload_ps(p, mask_f32(n));
    store_first(p, x, n) = _mm256_maskstore_ps(p, mask_f32(n), x);
    prefetch(p) = _mm_prefetch::<_MM_HINT_T0>(p.cast());
    splat(x) = _mm256_set1_ps(x);
    first(x, n) = _mm256_and_ps(_mm256_castsi256_ps(mask_f32(n)), x);
    sum(x) = sum_f32(x);
    zero() = _mm256_setzero_ps();
    add(a, b) = _mm256_add_ps(a, b);
    sub(a, b) = _mm256_sub_ps(a, b);
    mul(a, b) = _mm256_mul_ps(a, b);
    div(a, b) = _mm256_div_ps(a, b);
    mul_add(a, b, c) = _mm256_fmadd_ps(a, b, c);
    // The second operand where either is NaN.
    at_least(x, low) = _mm256_max_ps(low, x);
    at_most(x, high) = _mm256_min_ps(high, x);
    where_positive(test, x) = _mm256_blendv_ps(test, x, _mm256_cmp_ps::<_CMP_GT_OQ>(test, _mm256_setzero_ps()));
    // Not less, which NaN is not.
    flush(x) = _mm256_and_ps(x, _mm256_cmp_ps::<_CMP_NLT_UQ>(
        _mm256_andnot_ps(_mm256_set1_ps(-0.0), x),
        _mm256_set1_ps(f32::MIN_POSITIVE),
    ));
    sqrt(x) = _mm256_sqrt_ps(x);
    flip(x, by) = _mm256_xor_ps(x, _mm256_and_ps(by, _mm256_set1_ps(-0.0)));
    times_power_of_two(x, n) = _mm256_castsi256_ps(_mm256_add_epi32(
        _mm256_castps_si256(x),
        _mm256_slli_epi32::<23>(_mm256_castps_si256(n)),
    ));
}

impl_simd! {
    Avx2: 4 lanes of f64 as __m256d;
    vectorize(work) = enabled(work);
    load(p) = _mm256_loadu_pd(p);
    store(p, x) = _mm256_storeu_pd(p, x);
    load_first(p, n) = _mm256_maskload_pd(p, mask_f64(n));
    store_first(p, x, n) = _mm256_maskstore_pd(p, mask_f64(n), x);
    prefetch(p) = _mm_prefetch::<_MM_HINT_T0>(p.cast());
    splat(x) = _mm256_set1_pd(x);
    first(x, n) = _mm256_and_pd(_mm256_castsi256_pd(mask_f64(n)), x);
    sum(x) = sum_f64(x);
    zero() = _mm256_setzero_pd();
    add(a, b) = _mm256_add_pd(a, b);
    sub(a, b) = _mm256_sub_pd(a, b);
    mul(a, b) = _mm256_mul_pd(a, b);
    div(a, b) = _mm256_div_pd(a, b);
    mul_add(a, b, c) = _mm256_fmadd_pd(a, b, c);
    // The second operand where either is NaN.
    at_least(x, low) = _mm256_max_pd(low, x);
    at_most(x, high) = _mm256_min_pd(high, x);
    where_positive(test, x) = _mm256_blendv_pd(test, x, _mm256_cmp_pd::<_CMP_GT_OQ>(test, _mm256_setzero_pd()));
    // Not less, which NaN is not.
    flush(x) = _mm256_and_pd(x, _mm256_cmp_pd::<_CMP_NLT_UQ>(
        _mm256_andnot_pd(_mm256_set1_pd(-0.0), x),
        _mm256_set1_pd(f64::MIN_POSITIVE),
    ));
    sqrt(x) = _mm256_sqrt_pd(x);
    flip(x, by) = _mm256_xor_pd(x, _mm256_and_pd(by, _mm256_set1_pd(-0.0)));
    times_power_of_two(x, n) = _mm256_castsi256_pd(_mm256_add_epi64(
        _mm256_castpd_si256(x),
        _mm256_slli_epi64::<52>(_mm256_castpd_si256(n)),
    ));
}
