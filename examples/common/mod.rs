//! What the examples share.
#![allow(dead_code)] // each example uses a part

pub mod args;
pub mod files;
pub mod images;
pub mod learn;
pub mod plot;
