//! How an instruction set says what it makes of each operation.

/// Implements [`Simd`](super::Simd) for a token: beside each operation stands what the instruction set has for it. That
/// may need the instruction set, which the token proves, and access memory, for which callers of the operation vouch.
macro_rules! impl_simd {
    (
        $token:ty: $lanes:literal lanes of $t:ty as $v:ty;
        vectorize($work:ident) = $vectorize:expr;
        load($load_p:ident) = $load:expr;
        store($store_p:ident, $store_x:ident) = $store:expr;
        load_first($load_first_p:ident, $load_first_n:ident) = $load_first:expr;
        store_first($store_first_p:ident, $store_first_x:ident, $store_first_n:ident) = $store_first:expr;
        prefetch($prefetch_p:ident) = $prefetch:expr;
        splat($splat_x:ident) = $splat:expr;
        first($first_x:ident, $first_n:ident) = $first:expr;
        sum($sum_x:ident) = $sum:expr;
        // From vectors to a vector.
        $($operation:ident($($x:ident),*) = $result:expr;)*
    ) => {
        #[allow(unused_unsafe)] // where any CPU has the operation
        impl Simd<$t> for $token {
            type V = $v;
            const LANES: usize = $lanes;

            #[inline(always)]
            fn vectorize<W: Vectorized>(self, $work: W) -> W::Output {
                // SAFETY: the token proves the features that are enabled.
                unsafe { $vectorize }
            }
            #[inline(always)]
            unsafe fn load(self, $load_p: *const $t) -> $v {
                // SAFETY: the token proves the instruction set; the caller vouches for `LANES` elements.
                unsafe { $load }
            }
            #[inline(always)]
            unsafe fn store(self, $store_p: *mut $t, $store_x: $v) {
                // SAFETY: the token proves the instruction set; the caller vouches for `LANES` elements.
                unsafe { $store }
            }
            #[inline(always)]
            unsafe fn load_first(self, $load_first_p: *const $t, $load_first_n: usize) -> $v {
                // SAFETY: the token proves the instruction set; the caller vouches for `n` elements.
                unsafe { $load_first }
            }
            #[inline(always)]
            unsafe fn store_first(self, $store_first_p: *mut $t, $store_first_x: $v, $store_first_n: usize) {
                // SAFETY: the token proves the instruction set; the caller vouches for `n` elements.
                unsafe { $store_first }
            }
            #[inline(always)]
            fn prefetch(self, $prefetch_p: *const $t) {
                // SAFETY: the token proves the instruction set; a hint accesses nothing.
                unsafe { $prefetch }
            }
            #[inline(always)]
            fn splat(self, $splat_x: $t) -> $v {
                // SAFETY: the token proves the instruction set.
                unsafe { $splat }
            }
            #[inline(always)]
            fn first(self, $first_x: $v, $first_n: usize) -> $v {
                // SAFETY: the token proves the instruction set.
                unsafe { $first }
            }
            #[inline(always)]
            fn sum(self, $sum_x: $v) -> $t {
                // SAFETY: the token proves the instruction set.
                unsafe { $sum }
            }
            $(
                #[inline(always)]
                fn $operation(self, $($x: $v),*) -> $v {
                    // SAFETY: the token proves the instruction set.
                    unsafe { $result }
                }
            )*
        }
    };
}

pub(super) use impl_simd;
