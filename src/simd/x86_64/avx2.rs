//! 256-bit vectors: AVX2 with fused multiply-add.

use super::x86_simd;
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

/// What AVX2 does with masks that are vectors: all bits of a lane set, or none.
macro_rules! masked {
    (
        $t:ty, $v:ty, $mask:ident = $lane_numbers:expr, $set1:ident as $int:ty, $greater:ident,
        $load_first:ident: $maskload:ident, $store_first:ident: $maskstore:ident, $first:ident: $cast:ident,
        $where_positive:ident: $cmp:ident, $select:ident, $zero:ident,
        $flip:ident: $xor:ident, $and:ident, $splat:ident,
        $times_power_of_two:ident: $bits:ident, $add:ident, $shift:ident by $fraction:literal
    ) => {
        /// The first `n` lanes set.
        #[inline]
        #[target_feature(enable = "avx2")]
        fn $mask(n: usize) -> __m256i {
            $greater($set1(n.min(size_of::<$v>() / size_of::<$t>()) as $int), $lane_numbers)
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        unsafe fn $load_first(p: *const $t, n: usize) -> $v {
            // SAFETY: lanes outside the mask are not accessed, the caller vouches for the others.
            unsafe { $maskload(p, $mask(n)) }
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        unsafe fn $store_first(p: *mut $t, x: $v, n: usize) {
            // SAFETY: lanes outside the mask are not accessed, the caller vouches for the others.
            unsafe { $maskstore(p, $mask(n), x) }
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        fn $first(x: $v, n: usize) -> $v {
            $and($cast($mask(n)), x)
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        fn $where_positive(test: $v, x: $v) -> $v {
            $select(test, x, $cmp::<_CMP_GT_OQ>(test, $zero()))
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        fn $flip(x: $v, by: $v) -> $v {
            $xor(x, $and(by, $splat(-0.0)))
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        fn $times_power_of_two(x: $v, n: $v) -> $v {
            $cast($add($bits(x), $shift::<$fraction>($bits(n))))
        }
    };
}

#[rustfmt::skip]
masked!(
    f32, __m256, mask_f32 = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32 as i32, _mm256_cmpgt_epi32,
    load_first_f32: _mm256_maskload_ps, store_first_f32: _mm256_maskstore_ps, first_f32: _mm256_castsi256_ps,
    where_positive_f32: _mm256_cmp_ps, _mm256_blendv_ps, _mm256_setzero_ps,
    flip_f32: _mm256_xor_ps, _mm256_and_ps, _mm256_set1_ps,
    times_power_of_two_f32: _mm256_castps_si256, _mm256_add_epi32, _mm256_slli_epi32 by 23
);

#[rustfmt::skip]
masked!(
    f64, __m256d, mask_f64 = _mm256_setr_epi64x(0, 1, 2, 3), _mm256_set1_epi64x as i64, _mm256_cmpgt_epi64,
    load_first_f64: _mm256_maskload_pd, store_first_f64: _mm256_maskstore_pd, first_f64: _mm256_castsi256_pd,
    where_positive_f64: _mm256_cmp_pd, _mm256_blendv_pd, _mm256_setzero_pd,
    flip_f64: _mm256_xor_pd, _mm256_and_pd, _mm256_set1_pd,
    times_power_of_two_f64: _mm256_castpd_si256, _mm256_add_epi64, _mm256_slli_epi64 by 52
);

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

#[rustfmt::skip]
x86_simd!(
    Avx2, f32, __m256, 8, enabled,
    _mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, load_first_f32, store_first_f32,
    _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps, _mm256_div_ps, _mm256_fmadd_ps, _mm256_max_ps,
    where_positive_f32, first_f32, sum_f32,
    _mm256_sqrt_ps, flip_f32, times_power_of_two_f32
);

#[rustfmt::skip]
x86_simd!(
    Avx2, f64, __m256d, 4, enabled,
    _mm256_setzero_pd, _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd, load_first_f64, store_first_f64,
    _mm256_add_pd, _mm256_sub_pd, _mm256_mul_pd, _mm256_div_pd, _mm256_fmadd_pd, _mm256_max_pd,
    where_positive_f64, first_f64, sum_f64,
    _mm256_sqrt_pd, flip_f64, times_power_of_two_f64
);
