//! What the programs share: how they begin and end, and what they say, read and write. A program that is built on these
//! parts behaves like the others when a terminal goes away, a disk is full, a thread cannot start or somebody presses
//! Ctrl-C.
#![allow(dead_code)] // each program uses a part

pub mod args;
pub mod bounds;
pub mod files;
pub mod images;
pub mod inputs;
pub mod interrupt;
pub mod learn;
pub mod output;
pub mod plot;
pub mod progress;
pub mod threads;
pub mod training;
