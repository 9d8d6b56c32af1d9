//! The kernels: one source, compiled once for each instruction set and element type.
//!
//! | file | holds |
//! |---|---|
//! | `tile.rs` | the register tile, which knows no layer |
//! | `access.rs` | how a tile reads its weights: row-major, transposed, packed, by dot products |
//! | `product.rs` | its loops where columns are examples: forward, interneurons' deltas, input gradient |
//! | `gradient.rs` | its loops where columns are inputs: weight gradients |
//! | `update.rs` | epilogues of the weight gradients: the plain step, and what else becomes of gradients |
//! | `epilogue.rs` | what other epilogues share |
//! | `shapes.rs` | tile shapes for each instruction set |
//!
//! The epilogues of a layer, what it does with a tile in registers, are beside the layer in [`crate::layers`], with a
//! table of the kernels that end in them: see [`KernelTable`]. Those of update rules are in [`crate::optim`].

pub(crate) mod access;
pub(crate) mod epilogue;
pub(crate) mod gradient;
pub(crate) mod product;
mod shapes;
pub(crate) mod tile;
pub(crate) mod update;

use crate::layout::Group;
use crate::optim::policy::{ElementwiseKernel, Policy, elementwise, gradient_and_step};
use crate::simd::{Scalar, Simd};
use access::{Access, DotProduct, PackedTransposed, RowMajor, Transposed};
use epilogue::Store;
use gradient::{Gradient, GradientKernel, Part};
use product::{Product, ProductKernel};
use tile::Epilogue;
use update::{Curvature, Step, StoreGradient};

/// The tile shapes of an instruction set; see `shapes.rs`.
pub(crate) trait Tiled<T: Scalar>: Simd<T> {
    /// Vectors in a group of examples.
    const EXAMPLE_VECTORS: usize;
    /// Vectors in a group of inputs.
    const INPUT_VECTORS: usize;
    /// Rows of a product whose weights stay in the first-level cache while the groups pass by.
    const ROWS: usize;
    /// The most rows that are taken together when none are left after them: a tile that is a little taller than the
    /// others costs less than a small one, which waits for its own multiply-adds.
    const LAST_ROWS: usize;

    /// Computes the tallest tile that fits in `left` rows and returns its height.
    ///
    /// # Safety
    /// As [`product::product`], for these rows and this group.
    unsafe fn product_tile<W: Access, E: Epilogue<T, Self>>(
        self,
        product: &Product<T, W, E>,
        row: usize,
        left: usize,
        group: Group,
    ) -> usize;

    /// Computes the tallest tile that fits in `left` rows and returns its height.
    ///
    /// # Safety
    /// As [`gradient::gradient`], for these rows and this group; `only` is the whole sum of the group, if there.
    unsafe fn gradient_tile<E: Epilogue<T, Self>>(
        self,
        gradient: &Gradient<T, E>,
        only: Option<Part<T>>,
        row: usize,
        left: usize,
        group: Group,
    ) -> usize;
}

/// A table of kernels that belong together, compiled for each instruction set and element type. The list of the tables
/// is in [`crate::layers::kinds`].
pub(crate) trait KernelTable<T: Scalar>: 'static {
    /// The kernels compiled for `S`. Calling one is unsafe: the CPU must have the instruction set.
    fn of<S: Tiled<T>>() -> &'static Self;
}

/// The kernels of forward products that end in one epilogue: for vectors over examples, and for a few examples.
pub(crate) struct ForwardKernels<T, E, D = E> {
    pub along: ProductKernel<T, RowMajor, E>,
    pub dots: ProductKernel<T, DotProduct, D>,
}

impl<T: Scalar, E, D> ForwardKernels<T, E, D> {
    /// Those for `S`.
    pub const fn of<S: Tiled<T>>() -> Self
    where
        E: Epilogue<T, S>,
        D: Epilogue<T, S>,
    {
        Self { along: product::product::<T, S, _, _>, dots: product::product::<T, S, _, _> }
    }
}

/// The kernels of products with transposed weights that end in one epilogue: with the weights where they are, and with
/// weights that were copied to panels.
pub(crate) struct TransposedKernels<T, E> {
    pub in_place: ProductKernel<T, Transposed, E>,
    pub packed: ProductKernel<T, PackedTransposed, E>,
}

impl<T: Scalar, E> TransposedKernels<T, E> {
    /// Those for `S`.
    pub const fn of<S: Tiled<T>>() -> Self
    where
        E: Epilogue<T, S>,
    {
        // Only a tile that begins with its panel is higher than what is left of the first `STEP` columns.
        const {
            assert!(
                S::ROWS == PackedTransposed::STEP && S::LAST_ROWS <= PackedTransposed::WIDTH,
                "a tile fits its panel"
            );
        }
        Self { in_place: product::product::<T, S, _, _>, packed: product::product::<T, S, _, _> }
    }
}

/// The kernels that every layer uses, and the sizes of their tiles.
pub(crate) struct Kernels<T> {
    /// Elements of a vector.
    pub lanes: usize,
    /// Vectors in a group of examples.
    pub example_vectors: usize,
    /// Vectors in a group of inputs.
    pub input_vectors: usize,
    /// The most examples for which dot products are the faster way forward: with more, vectors over the examples, empty
    /// lanes and all, cost less than the sums across vectors.
    pub few: usize,
    /// Rows of a product that are best taken together; see [`Tiled::ROWS`].
    pub rows: usize,
    /// See [`Tiled::LAST_ROWS`].
    pub last_rows: usize,

    /// Products that are stored, or parts of long ones.
    pub store: ForwardKernels<T, Store<T>>,
    pub store_transposed: TransposedKernels<T, Store<T>>,

    pub step: GradientKernel<T, Step<T>>,
    pub policy: GradientKernel<T, Policy<T>>,
    pub store_gradients: GradientKernel<T, StoreGradient<T>>,
    pub accumulate: GradientKernel<T, Store<T>>,
    pub curvature: GradientKernel<T, Curvature<T>>,
    /// Steps of arrays whose gradients are there already.
    pub elementwise: ElementwiseKernel<T>,
}

impl<T: Scalar> KernelTable<T> for Kernels<T> {
    fn of<S: Tiled<T>>() -> &'static Self {
        const {
            &Self {
                lanes: S::LANES,
                example_vectors: S::EXAMPLE_VECTORS,
                input_vectors: S::INPUT_VECTORS,
                few: S::LANES / 4,
                rows: S::ROWS,
                last_rows: S::LAST_ROWS,
                store: ForwardKernels::of::<S>(),
                store_transposed: TransposedKernels::of::<S>(),
                step: gradient::gradient::<T, S, _>,
                policy: gradient_and_step::<T, S>,
                store_gradients: gradient::gradient::<T, S, _>,
                accumulate: gradient::gradient::<T, S, _>,
                curvature: gradient::gradient::<T, S, _>,
                elementwise: elementwise::<T, S>,
            }
        }
    }
}
