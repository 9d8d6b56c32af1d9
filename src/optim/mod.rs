//! How a step changes parameters: update rules, what they keep from step to step, and steps with gradients that are
//! there.
//!
//! | file | holds |
//! |---|---|
//! | `update.rs` | the rule as users say it, and its checks |
//! | `schedule.rs` | learning rates from step to step |
//! | `momentum.rs`, `adam.rs`, `natural.rs` | where a step goes: what each keeps, and what it does to a vector |
//! | `projected.rs`, `exponentiated.rs` | how a parameter moves there |
//! | `clip.rs`, `angle.rs`, `sums.rs` | what needs all gradients or parameters of a layer |
//! | `policy.rs` | the step as kernels take it |
//! | `state.rs` | what is kept, as named data |
//! | `target.rs` | an array, its state and the numbers of its step |
//! | `apply.rs` | steps with gradients that are stored |

pub(crate) mod adam;
pub(crate) mod angle;
pub(crate) mod apply;
pub(crate) mod clip;
mod exponentiated;
mod momentum;
pub(crate) mod natural;
pub(crate) mod policy;
mod projected;
pub(crate) mod schedule;
pub(crate) mod state;
pub(crate) mod sums;
pub(crate) mod target;
pub(crate) mod update;
