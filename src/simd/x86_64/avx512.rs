//! 512-bit vectors: AVX-512 Foundation alone, so that every CPU with AVX-512 can run them.

use super::x86_simd;
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

/// What AVX-512 does with masks that are integers: a bit for each lane.
macro_rules! masked {
    (
        $t:ty, $v:ty, $bits:ty,
        $load_first:ident: $maskload:ident, $store_first:ident: $maskstore:ident, $first:ident: $select:ident,
        $where_positive:ident: $cmp:ident, $blend:ident, $zero:ident,
        $flip:ident: $xor:ident, $and:ident, $splat:ident,
        $times_power_of_two:ident: $to_bits:ident, $from_bits:ident, $add:ident, $shift:ident by $fraction:literal
    ) => {
        #[inline]
        #[target_feature(enable = "avx512f")]
        unsafe fn $load_first(p: *const $t, n: usize) -> $v {
            // SAFETY: lanes outside the mask are not accessed, the caller vouches for the others.
            unsafe { $maskload(first(n) as $bits, p) }
        }

        #[inline]
        #[target_feature(enable = "avx512f")]
        unsafe fn $store_first(p: *mut $t, x: $v, n: usize) {
            // SAFETY: lanes outside the mask are not accessed, the caller vouches for the others.
            unsafe { $maskstore(p, first(n) as $bits, x) }
        }

        #[inline]
        #[target_feature(enable = "avx512f")]
        fn $first(x: $v, n: usize) -> $v {
            $select(first(n) as $bits, x)
        }

        #[inline]
        #[target_feature(enable = "avx512f")]
        fn $where_positive(test: $v, x: $v) -> $v {
            $blend($cmp::<_CMP_GT_OQ>(test, $zero()), test, x)
        }

        #[inline]
        #[target_feature(enable = "avx512f")]
        fn $flip(x: $v, by: $v) -> $v {
            $from_bits($xor($to_bits(x), $and($to_bits(by), $to_bits($splat(-0.0)))))
        }

        #[inline]
        #[target_feature(enable = "avx512f")]
        fn $times_power_of_two(x: $v, n: $v) -> $v {
            $from_bits($add($to_bits(x), $shift::<$fraction>($to_bits(n))))
        }
    };
}

/// The first `n` bits set.
#[inline]
fn first(n: usize) -> u32 {
    (1_u32 << n.min(16)).wrapping_sub(1)
}

#[rustfmt::skip]
masked!(
    f32, __m512, __mmask16,
    load_first_f32: _mm512_maskz_loadu_ps, store_first_f32: _mm512_mask_storeu_ps, first_f32: _mm512_maskz_mov_ps,
    where_positive_f32: _mm512_cmp_ps_mask, _mm512_mask_blend_ps, _mm512_setzero_ps,
    flip_f32: _mm512_xor_si512, _mm512_and_si512, _mm512_set1_ps,
    times_power_of_two_f32: _mm512_castps_si512, _mm512_castsi512_ps, _mm512_add_epi32, _mm512_slli_epi32 by 23
);

#[rustfmt::skip]
masked!(
    f64, __m512d, __mmask8,
    load_first_f64: _mm512_maskz_loadu_pd, store_first_f64: _mm512_mask_storeu_pd, first_f64: _mm512_maskz_mov_pd,
    where_positive_f64: _mm512_cmp_pd_mask, _mm512_mask_blend_pd, _mm512_setzero_pd,
    flip_f64: _mm512_xor_si512, _mm512_and_si512, _mm512_set1_pd,
    times_power_of_two_f64: _mm512_castpd_si512, _mm512_castsi512_pd, _mm512_add_epi64, _mm512_slli_epi64 by 52
);

#[rustfmt::skip]
x86_simd!(
    Avx512, f32, __m512, 16, enabled,
    _mm512_setzero_ps, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, load_first_f32, store_first_f32,
    _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps, _mm512_div_ps, _mm512_fmadd_ps, _mm512_max_ps,
    where_positive_f32, first_f32, _mm512_reduce_add_ps,
    _mm512_sqrt_ps, flip_f32, times_power_of_two_f32
);

#[rustfmt::skip]
x86_simd!(
    Avx512, f64, __m512d, 8, enabled,
    _mm512_setzero_pd, _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, load_first_f64, store_first_f64,
    _mm512_add_pd, _mm512_sub_pd, _mm512_mul_pd, _mm512_div_pd, _mm512_fmadd_pd, _mm512_max_pd,
    where_positive_f64, first_f64, _mm512_reduce_add_pd,
    _mm512_sqrt_pd, flip_f64, times_power_of_two_f64
);
