//! The exponential function of vectors.

use super::{Scalar, Simd};

/// `exp(x) = 2ⁿ · exp(r)` with `n = round(x / ln 2)` and `r = x − n ln 2`, and `exp(r)` as the beginning of its series.
pub struct Constants<T: 'static> {
    /// Beyond these the result would not be a normal number.
    low: T,
    high: T,
    /// 1 / ln 2
    log2_e: T,
    /// ln 2 in two parts: the first has so few digits that its multiples by `n` are exact.
    ln_2: [T; 2],
    /// 1.5 times the number from which on there are no fractions: what is added to it is rounded, and stands in its
    /// lowest bits.
    rounder: T,
    /// `1/k!` from the last term down to `k = 0`. With |r| ≤ ln 2 / 2 the next term is below the rounding of 1.
    series: &'static [T],
}

impl Constants<f32> {
    pub(super) const VALUES: Self = {
        let first = 355.0 / 512.0;
        Self {
            low: -87.0,
            high: 88.0,
            log2_e: std::f32::consts::LOG2_E,
            ln_2: [first, (std::f64::consts::LN_2 - first as f64) as f32],
            rounder: 1.5 * (1_u32 << 23) as f32,
            series: &[1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0],
        }
    };
}

impl Constants<f64> {
    pub(super) const VALUES: Self = {
        let first = f64::from_bits(std::f64::consts::LN_2.to_bits() >> 32 << 32);
        Self {
            low: -708.0,
            high: 709.0,
            log2_e: std::f64::consts::LOG2_E,
            ln_2: [first, std::f64::consts::LN_2 - first],
            rounder: 1.5 * (1_u64 << 52) as f64,
            series: &[
                1.0 / 6_227_020_800.0,
                1.0 / 479_001_600.0,
                1.0 / 39_916_800.0,
                1.0 / 3_628_800.0,
                1.0 / 362_880.0,
                1.0 / 40_320.0,
                1.0 / 5040.0,
                1.0 / 720.0,
                1.0 / 120.0,
                1.0 / 24.0,
                1.0 / 6.0,
                0.5,
                1.0,
                1.0,
            ],
        }
    };
}

/// `exp(x)` for each lane, within a few units in the last place; arguments beyond the normal numbers are moved to their
/// ends, NaN stays. Products and sums are rounded one by one, so that all instruction sets give the same bits.
#[inline(always)]
pub(super) fn exp<T: Scalar, S: Simd<T>>(s: S, x: S::V) -> S::V {
    let Constants { low, high, log2_e, ln_2, rounder, series } = T::EXP;
    let x = s.at_least(x, s.splat(low));
    let x = s.sub(s.zero(), s.at_least(s.sub(s.zero(), x), s.splat(-high)));
    let rounded = s.add(s.mul(x, s.splat(log2_e)), s.splat(rounder));
    let n = s.sub(rounded, s.splat(rounder));
    let [first, rest] = ln_2;
    let r = s.sub(s.sub(x, s.mul(n, s.splat(first))), s.mul(n, s.splat(rest)));
    let mut sum = s.zero();
    for &term in series {
        sum = s.add(s.mul(sum, r), s.splat(term));
    }
    // A NaN would leave its other bits in the exponent. Zero times any other argument changes nothing.
    s.add(s.times_power_of_two(sum, rounded), s.mul(s.zero(), x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{ForIsa, InstructionSet, Isa};
    use crate::simd::Vectorized;

    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Numbers([f32; 16], [f64; 8]);

    struct Exp<S>(S, Numbers);

    impl<S: Simd<f32> + Simd<f64>> Vectorized for Exp<S> {
        type Output = Numbers;

        #[inline(always)]
        fn call(self) -> Numbers {
            let Self(s, Numbers(mut singles, mut doubles)) = self;
            for at in (0..16).step_by(<S as Simd<f32>>::LANES) {
                let p = singles[at..].as_mut_ptr();
                // SAFETY: `LANES` divides 16.
                unsafe { Simd::<f32>::store(s, p, Simd::<f32>::exp(s, Simd::<f32>::load(s, p))) };
            }
            for at in (0..8).step_by(<S as Simd<f64>>::LANES) {
                let p = doubles[at..].as_mut_ptr();
                // SAFETY: `LANES` divides 8.
                unsafe { Simd::<f64>::store(s, p, Simd::<f64>::exp(s, Simd::<f64>::load(s, p))) };
            }
            Numbers(singles, doubles)
        }
    }

    impl ForIsa for Numbers {
        type Output = Self;

        fn call<S: InstructionSet>(self) -> Self {
            // SAFETY: the tests dispatch from an `Isa`, which is one of this CPU.
            let s = unsafe { S::token() };
            Simd::<f32>::vectorize(s, Exp(s, self))
        }
    }

    #[test]
    fn exponentials_are_right_and_the_same_everywhere() {
        /// The rounding of the last operations: the series' terms before the last two weigh at most a third.
        const ULPS: f64 = 3.0;
        let portable: Isa = "portable".parse().unwrap();
        for step in -900..900 {
            let singles: [f32; 16] = std::array::from_fn(|i| (step as f32 + i as f32 / 16.0) * 0.0977);
            let doubles: [f64; 8] = std::array::from_fn(|i| (f64::from(step) + i as f64 / 8.0) * 0.0977);
            let Numbers(a, b) = portable.dispatch(Numbers(singles, doubles));
            for (got, x) in a.into_iter().zip(singles) {
                let want = f64::from(x.clamp(-87.0, 88.0)).exp();
                assert!((f64::from(got) / want - 1.0).abs() < ULPS * f64::from(f32::EPSILON), "{x}: {got} {want}");
            }
            for (got, x) in b.into_iter().zip(doubles) {
                // ln 2 itself is rounded, which the multiples of a large n show.
                let ulps = ULPS + x.abs();
                assert!((got / x.exp() - 1.0).abs() < ulps * f64::EPSILON, "{x}: {got} {}", x.exp());
            }
            for isa in Isa::available() {
                assert_eq!(isa.dispatch(Numbers(singles, doubles)), Numbers(a, b), "{isa}");
            }
        }
        // NaN, whatever its other bits.
        for bits in [0x7fc0_0000, 0x7fc0_0001, 0xffc0_00ff, 0x7fff_ffff] {
            let Numbers(nan, _) = portable.dispatch(Numbers([f32::from_bits(bits); 16], [0.0; 8]));
            assert!(nan.iter().all(|x| x.is_nan()), "{bits:x}");
        }
        assert_eq!(portable.dispatch(Numbers([0.0; 16], [0.0; 8])), Numbers([1.0; 16], [1.0; 8]));
    }
}
