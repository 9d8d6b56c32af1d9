//! Layers: each kind in a file of its own, behind two traits, and the parts that kinds share.
//!
//! | file | holds |
//! |---|---|
//! | `kinds.rs` | the list of the kinds |
//! | `kind.rs` | what a kind tells of a layer |
//! | `pass.rs` | what a pass through a layer keeps, and the order of its phases |
//! | `dann.rs`, `dense.rs`, `norm/` | a kind: its shape, arrays, initialisation, and the phases of its passes |
//! | `excite.rs` | units that nothing divides: a part of layers |
//! | `inhibition/` | interneurons, how they are drawn, and what they do to the units above them: a part of layers |
//! | `buffers.rs` | what every kind keeps of a pass: output, its gradient, partial sums |
//! | `entry.rs` | the input of the first layer, in the layouts that passes read |
//! | `input_gradient.rs` | an input gradient before it is computed: stored, or received by the layer below |
//! | `collect.rs` | what becomes of weight gradients: a step, an array, a sum over slabs, the Fisher information |

pub(crate) mod buffers;
pub(crate) mod collect;
pub(crate) mod dann;
pub(crate) mod dense;
pub(crate) mod entry;
mod excite;
pub(crate) mod inhibition;
pub(crate) mod input_gradient;
pub(crate) mod kind;
pub(crate) mod kinds;
pub(crate) mod nonlinearity;
pub(crate) mod norm;
pub(crate) mod pass;
pub(crate) mod recurrent;

pub use kinds::LayerShape;
pub use nonlinearity::Nonlinearity;
