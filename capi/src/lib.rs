//! The C ABI: what `include/interneuron.h` declares.
//!
//! Every entry point has the same three parts: copy and check what the caller hands in, take the handle out of the
//! table, call the Rust crate. What can be told from an argument alone (NULL, alignment, sizes, overlap) is checked
//! before a reference to the caller's memory exists. That the memory is as long as the sizes say nobody can check; it
//! is the one thing that a caller must get right, and what the SAFETY lines call the contract of the header.

// The contract of all unsafe functions is the same and stands once, at the head of the header.
#![allow(clippy::missing_safety_doc)]

mod arguments;
mod arrays;
mod config;
mod context;
mod info;
mod layer;
mod network;
mod status;
mod table;

#[cfg(test)]
mod tests;
