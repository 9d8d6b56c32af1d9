//! How a step changes parameters: update rules, what they keep from step to step, and steps with gradients that are
//! there.

pub(crate) mod apply;
pub(crate) mod schedule;
pub(crate) mod state;
pub(crate) mod target;
pub(crate) mod update;
