//! The kernels: one source, compiled once for each instruction set and element type.
//!
//! | file | holds |
//! |---|---|
//! | `tile.rs` | the register tile, which knows no layer |
//! | `walk.rs` | where a tile finds its elements: rows, columns, panels, dot products |
//! | `product.rs` | its loops where columns are examples: forward, interneurons' deltas, input gradient |
//! | `gradient.rs` | its loops where columns are inputs: weight gradients |
//! | `forward.rs`, `backward.rs`, `update.rs` | epilogues: what each layer does with a tile in registers |
//! | `normalise.rs` | passes over activations, for layer and batch normalisation |
//! | `shapes.rs` | tile shapes for each instruction set |
//!
//! A new kind of layer is a new epilogue and a new line in [`Kernels`].

pub(crate) mod backward;
pub(crate) mod forward;
pub(crate) mod gradient;
pub(crate) mod normalise;
pub(crate) mod product;
mod shapes;
pub(crate) mod tile;
pub(crate) mod update;
pub(crate) mod walk;

use crate::layout::Group;
use crate::simd::{Scalar, Simd};
use backward::{ExciteBackward, GainBackward, InhibitBackward, InterneuronsBackward, Store};
use forward::{Excite, Inhibit, Interneurons};
use gradient::{Gradient, GradientKernel, Part};
use normalise::Normalisation;
use product::{Product, ProductKernel};
use tile::Epilogue;
use update::{Curvature, ElementwiseKernel, HandOut, Policy, Step};
use walk::{AlongRows, Dots, DownColumns, Panels, Walk};

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
    unsafe fn product_tile<W: Walk, E: Epilogue<T, Self>>(
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

/// The products of a forward pass.
pub(crate) struct Forward<T, W: Walk> {
    pub interneurons: ProductKernel<T, W, Interneurons<T>>,
    pub excite: ProductKernel<T, W, Excite<T>>,
    pub inhibit: ProductKernel<T, W, Inhibit<T, W>>,
    /// The sum itself, or part of a long one.
    pub store: ProductKernel<T, W, Store<T>>,
}

impl<T: Scalar, W: Walk> Forward<T, W> {
    const fn of<S: Tiled<T>>() -> Self {
        Self {
            interneurons: product::product::<T, S, _, _>,
            excite: product::product::<T, S, _, _>,
            inhibit: product::product::<T, S, _, _>,
            store: product::product::<T, S, _, _>,
        }
    }
}

/// The products with transposed weights: those of the interneurons' deltas, and the input gradient, which is stored (or
/// part of a long sum is) or goes on through the nonlinearity of the layer below.
pub(crate) struct Backward<T, W: Walk> {
    pub interneurons: ProductKernel<T, W, InterneuronsBackward<T>>,
    pub store: ProductKernel<T, W, Store<T>>,
    pub excite: ProductKernel<T, W, ExciteBackward<T>>,
    pub inhibit: ProductKernel<T, W, InhibitBackward<T>>,
    pub gain: ProductKernel<T, W, GainBackward<T>>,
}

impl<T: Scalar, W: Walk> Backward<T, W> {
    const fn of<S: Tiled<T>>() -> Self {
        // Only a tile that begins with its panel is higher than what is left of the first `STEP` columns.
        assert!(S::ROWS == Panels::STEP && S::LAST_ROWS <= Panels::WIDTH, "a tile ends in the panel where it begins");
        Self {
            interneurons: product::product::<T, S, _, _>,
            store: product::product::<T, S, _, _>,
            excite: product::product::<T, S, _, _>,
            inhibit: product::product::<T, S, _, _>,
            gain: product::product::<T, S, _, _>,
        }
    }
}

/// The kernels of one instruction set for elements `T`.
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

    /// Forward, for vectors over examples.
    pub along: Forward<T, AlongRows>,
    /// Forward, for a few examples.
    pub dots: Forward<T, Dots>,
    /// Products with transposed weights, where these are.
    pub down: Backward<T, DownColumns>,
    /// Products with transposed weights that were copied to panels.
    pub panels: Backward<T, Panels>,

    pub step: GradientKernel<T, Step<T>>,
    pub policy: GradientKernel<T, Policy<T>>,
    pub hand_out: GradientKernel<T, HandOut<T>>,
    pub carry: GradientKernel<T, Store<T>>,
    pub curvature: GradientKernel<T, Curvature<T>>,
    /// Steps of arrays whose gradients are there already.
    pub elementwise: ElementwiseKernel<T>,

    pub normalisation: Normalisation<T>,
}

impl<T: Scalar> Kernels<T> {
    /// The kernels compiled for `S`. Calling one is unsafe: the CPU must have the instruction set.
    pub const fn of<S: Tiled<T>>() -> Self {
        Self {
            lanes: S::LANES,
            example_vectors: S::EXAMPLE_VECTORS,
            input_vectors: S::INPUT_VECTORS,
            few: S::LANES / 4,
            rows: S::ROWS,
            last_rows: S::LAST_ROWS,
            along: Forward::of::<S>(),
            dots: Forward::of::<S>(),
            down: Backward::of::<S>(),
            panels: Backward::of::<S>(),
            step: gradient::gradient::<T, S, _>,
            hand_out: gradient::gradient::<T, S, _>,
            policy: gradient::gradient::<T, S, _>,
            carry: gradient::gradient::<T, S, _>,
            curvature: gradient::gradient::<T, S, _>,
            elementwise: update::elementwise::<T, S>,
            normalisation: Normalisation::of::<S>(),
        }
    }
}
