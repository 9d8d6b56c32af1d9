//! wip
mod buffer;
#[cfg(feature = "composed")]
pub mod composed;
#[cfg(feature = "data")]
pub mod data;
mod driver;
mod element;
mod error;
mod init;
mod isa;
mod kernels;
mod layer;
mod layout;
mod loss;
mod matrix;
mod network;
mod params;
mod simd;
mod threads;
pub use element::Element;
pub use error::Error;
pub use init::*;
pub use isa::Isa;
pub use layer::Layer;
pub use loss::Evaluation;
pub use matrix::{MatMut, MatRef};
pub use network::*;
pub use params::{Nonlinearity, dann::*, dense::*, layer::*, update::*};
pub use threads::Threads;
