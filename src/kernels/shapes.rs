//! Which tiles each instruction set uses.
//!
//! A tile has to fill the multiply-add units (rows × vectors ≥ 8 accumulators) and to fit the registers
//! (rows × vectors + vectors + 1). The rows of a shape are tried from the largest down, so a matrix of any height is
//! covered; small heights only ever end a matrix.
//!
//! Products sum over hundreds of terms and take the largest tile that fits. Weight gradients sum over a batch and then
//! load, change and store as many vectors as they summed: tiles of half the size let the multiply-adds of the next tile
//! start while the last one still waits for its weights. (Batch 32, one thread: AVX-512 with 5 × 3 instead of 8 × 3
//! took 3 % off an update, AVX2 with 3 × 3 instead of 6 × 2 took 4 %.)

use super::Tiled;
use super::access::Access;
use super::gradient::{Gradient, Part, gradient_tile};
use super::product::{Product, ProductTile};
use super::tile::Epilogue;
use crate::layout::Group;
use crate::simd::Simd;

/// Implements [`Tiled`]: `vectors => [rows, ...]` for every number of vectors that a group can have.
macro_rules! tiles {
    (
        $token:ty, $t:ty,
        product: $example_vectors:literal vectors, $rows:literal to $last_rows:literal rows,
            { $($pv:literal => [$($pr:literal),*]),* },
        gradient: $input_vectors:literal vectors, { $($gv:literal => [$($gr:literal),*]),* }
    ) => {
        impl Tiled<$t> for $token {
            const EXAMPLE_VECTORS: usize = $example_vectors;
            const INPUT_VECTORS: usize = $input_vectors;
            const ROWS: usize = $rows;
            const LAST_ROWS: usize = $last_rows;

            #[inline(always)]
            unsafe fn product_tile<W: Access, E: Epilogue<$t, Self>>(
                self,
                product: &Product<$t, W, E>,
                row: usize,
                left: usize,
                group: Group,
            ) -> usize {
                match group.vectors {
                    $($pv => {
                        $(if left >= $pr {
                            let tile = ProductTile::<_, _, _, _, $pr, $pv> { s: self, product, row, group };
                            Simd::<$t>::vectorize(self, tile);
                            return $pr;
                        })*
                    })*
                    vectors => unreachable!("a group of {vectors} vectors"),
                }
                unreachable!("a tile without rows")
            }

            #[inline(always)]
            unsafe fn gradient_tile<E: Epilogue<$t, Self>>(
                self,
                gradient: &Gradient<$t, E>,
                only: Option<Part<$t>>,
                row: usize,
                left: usize,
                group: Group,
            ) -> usize {
                match group.vectors {
                    $($gv => {
                        $(if left >= $gr {
                            // SAFETY: the caller vouches for these rows and this group.
                            unsafe { gradient_tile::<$t, Self, E, $gr, $gv>(self, gradient, only, row, group) };
                            return $gr;
                        })*
                    })*
                    vectors => unreachable!("a group of {vectors} vectors"),
                }
                unreachable!("a tile without rows")
            }
        }
    };
}

macro_rules! tiles_for_both {
    ($set:ident $(on $arch:literal)?, $($shapes:tt)*) => {
        #[cfg(all($(target_arch = $arch, not(interneuron_portable))?))]
        tiles!(crate::simd::$set, f32, $($shapes)*);
        #[cfg(all($(target_arch = $arch, not(interneuron_portable))?))]
        tiles!(crate::simd::$set, f64, $($shapes)*);
    };
}

// Sixteen 128-bit registers on x86 without AVX; a vector of `wide` takes two of them.
tiles_for_both!(
    Portable,
    product: 1 vectors, 12 to 12 rows, { 1 => [6, 4, 2, 1] },
    gradient: 1 vectors, { 1 => [4, 2, 1] }
);

tiles_for_both!(
    Avx2 on "x86_64",
    product: 2 vectors, 12 to 12 rows, { 1 => [12, 6, 4, 2, 1], 2 => [6, 4, 2, 1], 3 => [4, 2, 1] },
    gradient: 3 vectors, { 1 => [8, 4, 1], 2 => [6, 4, 2, 1], 3 => [3, 2, 1] }
);

tiles_for_both!(
    Avx512 on "x86_64",
    product: 2 vectors, 12 to 14 rows, { 1 => [12, 8, 6, 4, 2, 1], 2 => [14, 12, 8, 6, 4, 2, 1], 3 => [8, 4, 2, 1] },
    gradient: 3 vectors, { 1 => [12, 8, 4, 1], 2 => [8, 4, 2, 1], 3 => [5, 4, 2, 1] }
);
