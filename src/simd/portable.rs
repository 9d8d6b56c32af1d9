//! Vectors of the `wide` crate: right on any target, whatever it was compiled for.

use super::instance::impl_simd;
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
    ($lanes:literal lanes of $t:ty as $v:ty; fraction of $fraction:literal bits) => {
        impl_simd! {
            Portable: $lanes lanes of $t as $v;
            vectorize(work) = enabled(work);
            load(p) = <$v>::from(p.cast::<[$t; $lanes]>().read_unaligned());
            store(p, x) = p.cast::<[$t; $lanes]>().write_unaligned(x.to_array());
            load_first(p, n) = {
                let mut lanes = [0.0; $lanes];
                for (i, lane) in lanes.iter_mut().enumerate().take(n) {
                    *lane = *p.add(i);
                }
                <$v>::from(lanes)
            };
            store_first(p, x, n) = for (i, lane) in x.to_array().into_iter().enumerate().take(n) {
                *p.add(i) = lane;
            };
            prefetch(_p) = ();
            splat(x) = <$v>::splat(x);
            first(x, n) = {
                let mut lanes = x.to_array();
                for lane in lanes.iter_mut().skip(n) {
                    *lane = 0.0;
                }
                <$v>::from(lanes)
            };
            sum(x) = x.reduce_add();
            zero() = <$v>::ZERO;
            add(a, b) = a + b;
            sub(a, b) = a - b;
            mul(a, b) = a * b;
            div(a, b) = a / b;
            mul_add(a, b, c) = a.mul_add(b, c);
            at_least(x, low) = x.simd_lt(low).select(low, x);
            at_most(x, high) = high.simd_lt(x).select(high, x);
            where_positive(test, x) = test.simd_gt(<$v>::ZERO).select(x, test);
            flush(x) = x.abs().simd_lt(<$v>::splat(<$t>::MIN_POSITIVE)).select(<$v>::ZERO, x);
            sqrt(x) = x.sqrt();
            flip(x, by) = x ^ (by & <$v>::splat(-0.0));
            times_power_of_two(x, n) = {
                let (x, n) = (x.to_array(), n.to_array());
                <$v>::from(std::array::from_fn::<$t, $lanes, _>(|i| {
                    <$t>::from_bits(x[i].to_bits().wrapping_add(n[i].to_bits() << $fraction))
                }))
            };
        }
    };
}

portable!(8 lanes of f32 as f32x8; fraction of 23 bits);
portable!(4 lanes of f64 as f64x4; fraction of 52 bits);
