//! Vectors of the `wide` crate: right on any target, whatever it was compiled for.

use super::{Simd, Token, Vectorized};
use wide::{f32x8, f64x4};

/// Needs nothing of the CPU.
#[derive(Clone, Copy)]
pub(crate) struct Portable(());

impl Token for Portable {
    fn detected() -> bool {
        true
    }

    unsafe fn token() -> Self {
        Self(())
    }
}

/// A function of its own, so that each tile gets its registers without regard to the others.
#[inline(never)]
fn enabled<W: Vectorized>(work: W) -> W::Output {
    work.call()
}

macro_rules! portable {
    ($t:ty, $v:ty, $lanes:literal, $fraction:literal) => {
        impl Simd<$t> for Portable {
            type V = $v;
            const LANES: usize = $lanes;

            #[inline(always)]
            fn vectorize<W: Vectorized>(self, work: W) -> W::Output {
                enabled(work)
            }
            #[inline(always)]
            fn zero(self) -> $v {
                <$v>::ZERO
            }
            #[inline(always)]
            fn splat(self, x: $t) -> $v {
                <$v>::splat(x)
            }
            #[inline(always)]
            unsafe fn load(self, p: *const $t) -> $v {
                // SAFETY: the caller vouches for `LANES` elements at `p`.
                <$v>::from(unsafe { p.cast::<[$t; $lanes]>().read_unaligned() })
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $t, x: $v) {
                // SAFETY: the caller vouches for `LANES` elements at `p`.
                unsafe { p.cast::<[$t; $lanes]>().write_unaligned(x.to_array()) }
            }
            #[inline(always)]
            unsafe fn load_first(self, p: *const $t, n: usize) -> $v {
                let mut lanes = [0.0; $lanes];
                for (i, lane) in lanes.iter_mut().enumerate().take(n) {
                    // SAFETY: the caller vouches for `n` elements at `p`.
                    *lane = unsafe { *p.add(i) };
                }
                <$v>::from(lanes)
            }
            #[inline(always)]
            unsafe fn store_first(self, p: *mut $t, x: $v, n: usize) {
                for (i, lane) in x.to_array().into_iter().enumerate().take(n) {
                    // SAFETY: the caller vouches for `n` elements at `p`.
                    unsafe { *p.add(i) = lane };
                }
            }
            #[inline(always)]
            fn prefetch(self, _: *const $t) {}
            #[inline(always)]
            fn add(self, a: $v, b: $v) -> $v {
                a + b
            }
            #[inline(always)]
            fn sub(self, a: $v, b: $v) -> $v {
                a - b
            }
            #[inline(always)]
            fn mul(self, a: $v, b: $v) -> $v {
                a * b
            }
            #[inline(always)]
            fn div(self, a: $v, b: $v) -> $v {
                a / b
            }
            #[inline(always)]
            fn mul_add(self, a: $v, b: $v, c: $v) -> $v {
                a.mul_add(b, c)
            }
            #[inline(always)]
            fn at_least(self, x: $v, low: $v) -> $v {
                x.simd_lt(low).select(low, x)
            }
            #[inline(always)]
            fn where_positive(self, test: $v, x: $v) -> $v {
                test.simd_gt(<$v>::ZERO).select(x, test)
            }
            #[inline(always)]
            fn first(self, x: $v, n: usize) -> $v {
                let mut lanes = x.to_array();
                for lane in lanes.iter_mut().skip(n) {
                    *lane = 0.0;
                }
                <$v>::from(lanes)
            }
            #[inline(always)]
            fn sum(self, x: $v) -> $t {
                x.reduce_add()
            }
            #[inline(always)]
            fn sqrt(self, x: $v) -> $v {
                x.sqrt()
            }
            #[inline(always)]
            fn flip(self, x: $v, by: $v) -> $v {
                x ^ (by & <$v>::splat(-0.0))
            }
            #[inline(always)]
            fn times_power_of_two(self, x: $v, n: $v) -> $v {
                let (x, n) = (x.to_array(), n.to_array());
                <$v>::from(std::array::from_fn::<$t, $lanes, _>(|i| {
                    <$t>::from_bits(x[i].to_bits().wrapping_add(n[i].to_bits() << $fraction))
                }))
            }
        }
    };
}

portable!(f32, f32x8, 8, 23);
portable!(f64, f64x4, 4, 52);
