//! 512-bit vectors: AVX-512 Foundation alone, so that every CPU with AVX-512 can run them. Masks are integers: a bit
//! for each lane.

use crate::simd::instance::impl_simd;
use crate::simd::{Simd, Token, Vectorized};
use std::arch::x86_64::*;

/// Proof that the CPU has AVX-512F.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Token for Avx512 {
    // The features that `enabled` enables: the two lists are one.
    fn detected() -> bool {
        is_x86_feature_detected!("avx512f")
    }

    unsafe fn token() -> Self {
        Self(())
    }
}

#[target_feature(enable = "avx512f")]
fn enabled<W: Vectorized>(work: W) -> W::Output {
    work.call()
}

/// The first `n` bits set.
#[inline]
fn mask(n: usize) -> u32 {
    (1_u32 << n.min(16)).wrapping_sub(1)
}

impl_simd! {
    Avx512: 16 lanes of f32 as __m512;
    vectorize(work) = enabled(work);
    load(p) = _mm512_loadu_ps(p);
    store(p, x) = _mm512_storeu_ps(p, x);
    load_first(p, n) = _mm512_maskz_loadu_ps(mask(n) as __mmask16, p);
    store_first(p, x, n) = _mm512_mask_storeu_ps(p, mask(n) as __mmask16, x);
    prefetch(p) = _mm_prefetch::<_MM_HINT_T0>(p.cast());
    splat(x) = _mm512_set1_ps(x);
    first(x, n) = _mm512_maskz_mov_ps(mask(n) as __mmask16, x);
    sum(x) = _mm512_reduce_add_ps(x);
    zero() = _mm512_setzero_ps();
    add(a, b) = _mm512_add_ps(a, b);
    sub(a, b) = _mm512_sub_ps(a, b);
    mul(a, b) = _mm512_mul_ps(a, b);
    div(a, b) = _mm512_div_ps(a, b);
    mul_add(a, b, c) = _mm512_fmadd_ps(a, b, c);
    // The second operand where either is NaN.
    at_least(x, low) = _mm512_max_ps(low, x);
    at_most(x, high) = _mm512_min_ps(high, x);
    where_positive(test, x) =
        _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(test, _mm512_setzero_ps()), test, x);
    // Not less, which NaN is not.
    flush(x) = _mm512_maskz_mov_ps(
        _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(_mm512_abs_ps(x), _mm512_set1_ps(f32::MIN_POSITIVE)),
        x,
    );
    sqrt(x) = _mm512_sqrt_ps(x);
    flip(x, by) = _mm512_castsi512_ps(_mm512_xor_si512(
        _mm512_castps_si512(x),
        _mm512_and_si512(_mm512_castps_si512(by), _mm512_castps_si512(_mm512_set1_ps(-0.0))),
    ));
    times_power_of_two(x, n) = _mm512_castsi512_ps(_mm512_add_epi32(
        _mm512_castps_si512(x),
        _mm512_slli_epi32::<23>(_mm512_castps_si512(n)),
    ));
}

impl_simd! {
    Avx512: 8 lanes of f64 as __m512d;
    vectorize(work) = enabled(work);
    load(p) = _mm512_loadu_pd(p);
    store(p, x) = _mm512_storeu_pd(p, x);
    load_first(p, n) = _mm512_maskz_loadu_pd(mask(n) as __mmask8, p);
    store_first(p, x, n) = _mm512_mask_storeu_pd(p, mask(n) as __mmask8, x);
    prefetch(p) = _mm_prefetch::<_MM_HINT_T0>(p.cast());
    splat(x) = _mm512_set1_pd(x);
    first(x, n) = _mm512_maskz_mov_pd(mask(n) as __mmask8, x);
    sum(x) = _mm512_reduce_add_pd(x);
    zero() = _mm512_setzero_pd();
    add(a, b) = _mm512_add_pd(a, b);
    sub(a, b) = _mm512_sub_pd(a, b);
    mul(a, b) = _mm512_mul_pd(a, b);
    div(a, b) = _mm512_div_pd(a, b);
    mul_add(a, b, c) = _mm512_fmadd_pd(a, b, c);
    // The second operand where either is NaN.
    at_least(x, low) = _mm512_max_pd(low, x);
    at_most(x, high) = _mm512_min_pd(high, x);
    where_positive(test, x) =
        _mm512_mask_blend_pd(_mm512_cmp_pd_mask::<_CMP_GT_OQ>(test, _mm512_setzero_pd()), test, x);
    // Not less, which NaN is not.
    flush(x) = _mm512_maskz_mov_pd(
        _mm512_cmp_pd_mask::<_CMP_NLT_UQ>(_mm512_abs_pd(x), _mm512_set1_pd(f64::MIN_POSITIVE)),
        x,
    );
    sqrt(x) = _mm512_sqrt_pd(x);
    flip(x, by) = _mm512_castsi512_pd(_mm512_xor_si512(
        _mm512_castpd_si512(x),
        _mm512_and_si512(_mm512_castpd_si512(by), _mm512_castpd_si512(_mm512_set1_pd(-0.0))),
    ));
    times_power_of_two(x, n) = _mm512_castsi512_pd(_mm512_add_epi64(
        _mm512_castpd_si512(x),
        _mm512_slli_epi64::<52>(_mm512_castpd_si512(n)),
    ));
}
