//! Fused CPU kernels for neural networks with separate excitatory and inhibitory units ("Dale's ANNs").
//!
//! In such a network only excitatory units project from layer to layer. Each layer has interneurons of its own, which
//! see the same input and inhibit the layer's excitatory units, by subtraction and by division:
//!
//! ```text
//! zE = x Wexᵀ                    excitation                     [B, ne]
//! zI = x Wixᵀ                    activity of the interneurons   [B, ni]
//! s  = zI Weiᵀ                   subtractive inhibition         [B, ne]
//! γ  = (exp(alpha) ⊙ zI) Weiᵀ + ε    divisive inhibition        [B, ne]
//! h  = f(g ⊙ (zE − s) / γ + b)   output, f = ReLU or identity   [B, ne]
//! ```
//!
//! All weights are ≥ 0 and stay so. An initialisation ([`Init`]) with which inhibition centres and standardises the
//! excitation, and updates of the inhibitory weights that are scaled by corrections from the Fisher information
//! ([`Update::csgd`]), make such networks learn as well as ordinary ones. Source: Cornford, Kalajdzievski, Leite,
//! Lamarquette, Kullmann, Richards, "Learning to live with Dale's principle: ANNs with separate excitatory and
//! inhibitory units", ICLR 2021.
//!
//! # Letters
//!
//! | letter | meaning |
//! |---|---|
//! | `B` | batch: number of examples |
//! | `d` | inputs of a layer |
//! | `ne` | excitatory units = outputs of a layer |
//! | `ni` | inhibitory interneurons of a layer |
//! | `Wex [ne, d]` | input → excitatory weights, ≥ 0 |
//! | `Wix [ni, d]` | input → interneuron weights, ≥ 0 |
//! | `Wei [ne, ni]` | interneuron → excitatory weights, ≥ 0 |
//! | `alpha [ni]` | log-strength of divisive inhibition, of any sign |
//! | `g [ne]`, `b [ne]` | gain, ≥ 0, and bias |
//! | `x [B, d]`, `h [B, ne]` | input and output, one example a row |
//! | `dθ` | gradient of the loss by θ |
//!
//! Of recurrent layers ([`RecurrentShape`]), whose arrays over time are time-major, one step after the other:
//!
//! | letter | meaning |
//! |---|---|
//! | `T`, `t` | time steps |
//! | `nu`, `nw` | interneurons of the input leg and of the recurrent leg |
//! | `Uex [ne, d]`, `Uix [nu, d]`, `Uei [ne, nu]`, `Ualpha [nu]`, `Ug [ne]` | the input leg |
//! | `Wex [ne, ne]`, `Wix [nw, ne]`, `Wei [ne, nw]`, `Walpha [nw]`, `Wg [ne]` | the recurrent leg |
//! | `x [T, B, d]`, `h [T, B, ne]`, `h0 [ne]` | inputs, states, initial state |
//! | `κ` (`kappa`) | leak, a time step over a time constant |
//! | `ξ [T, B, ne]` | noise |
//! | `m [T, B]` | weights ≥ 0 of the loss |
//!
//! Matrices are row-major with the last index contiguous, as PyTorch's `nn.Linear` and NumPy store them.
//!
//! # Where to begin
//!
//! - [`Architecture`] describes a network, with inhibition or one of those that it is compared with; [`Network`] trains
//!   it: [`Network::train_step`] is one fused step.
//! - [`RecurrentShape`] is a layer with states, and [`Sequences`] are its inputs.
//! - [`Plan`] is the same on parameters that somebody else owns.
//! - [`Layer`] is one layer on a caller's own arrays: forward, all gradients, or the fused update.
//! - [`Init`] is how parameters are drawn: for which [`Inputs`], and by which [`Scheme`] where there is inhibition.
//! - [`InputStatistics`] and [`Scaler`] are what is known of the inputs of a data set, and what is done to them.
//! - [`Update`] is how a step changes the parameters: by projected descent, and by policies that can be added to it.
//! - [`Network::inspect`] tells what each layer does, as a few numbers.
//! - [`reference`](mod@reference) is the same in plain f64 code that reads like the equations.
//!
//! ```
//! use interneuron::*;
//!
//! // Two classes of points: those where the first coordinate is the larger one, and the others.
//! let x: Vec<f32> = (0..64).map(|i| ((i * 37 + i / 2) % 64) as f32 / 64.0).collect();
//! let labels: Vec<u32> = x.chunks(2).map(|point| u32::from(point[0] > point[1])).collect();
//! let x = MatRef::new(&x, 32, 2)?;
//!
//! // Two inputs, a hidden layer of 24 excitatory and 4 inhibitory units, two classes and one interneuron.
//! let mut net: Network<f32> = Architecture::dann(&[2, 24, 2], &[4, 1])?.seed(1).build(&Context::new()?)?;
//! let before = net.evaluate(x, &labels)?;
//! for _ in 0..500 {
//!     net.train_step(x, &labels, &Update::csgd(0.1))?;
//! }
//! let after = net.evaluate(x, &labels)?;
//! assert!(after.loss < 0.5 * before.loss);
//! # Ok::<(), Error>(())
//! ```
//!
//! # Instruction sets, threads, memory
//!
//! The kernels exist for AVX-512, for AVX2 with FMA, and in portable form. [`Isa`] lists what this CPU has; the widest
//! is used unless `INTERNEURON_ISA` or the caller names another. A call computes on the calling thread or on a `rayon`
//! pool that the caller hands in ([`Threads`]); nothing is spawned otherwise. A [`Context`] has both. The same seed and
//! inputs give the same bits for any number of threads on the same instruction set. Once it has seen the batch size, a
//! step allocates nothing, serially or inside the pool.
//!
//! # Numbers at the edge
//!
//! - *Not finite.* Arithmetic is that of IEEE 754. A NaN or an infinity in an example reaches the outputs of this
//!   example and those of no other (batch normalisation, whose examples meet in their statistics, excepted); so does
//!   one in a row of `dh` with `dx`. ReLU keeps a NaN, also one that was made inside the layer (of an infinite weight
//!   and an input of zero), and its gradient there is NaN. Gradients of weights are sums over the batch, so one bad
//!   example reaches them all: steps of a [`Network`] refuse inputs that are not finite ([`Error::Value`]).
//! - *A loss that is not finite* ends a step with [`Error::Diverged`], which names the step and the learning rate,
//!   before any parameter moves. A single step can be so long that parameters overflow while its own loss, which is
//!   that before the step, is still finite: the next step shows it. Checkpoints of such parameters are refused, so the
//!   last one that was saved is of finite numbers.
//! - *Inputs below zero* can make divisive inhibition negative, and what it divides then has a pole between examples. A
//!   step of a [`Network`] that meets a divisor γ < ε in any layer ends with [`Error::Divisor`] before any parameter
//!   moves, and so does [`Network::gradients`]; [`Network::evaluate`] and [`Network::inspect`] go on and count
//!   ([`Network::low_divisors`]), and so does a [`Layer`] ([`Tape::low_divisors`]). Inputs ≥ 0 never do that. For others
//!   subtract each input's smallest value in the training data ([`InputStatistics::shifted`], a [`Scaler`] that
//!   checkpoints hold), give the first layer another [`Divisor`] ([`Architecture::divisor_layer`]), or let it only subtract
//!   ([`Architecture::subtractive_layer`]), with [`Scheme::Centred`].
//! - *γ is ε.* Without input, or without inhibition, γ is ε = 1e-8: outputs and gradients are then up to 1e8
//!   times those of others, but numbers. A constant layer `h = f(b)` is what is left without input.
//! - *Normalisation divides by √(var + 1e-5)*, so what is constant should become 0. A mean is rounded, however, and
//!   what is left of a constant is that rounding: up to some units in the last place of it, and in the order of sums
//!   that is the instruction set's own. Beyond 1e5 or so (in f32) a constant may therefore be ±1 after normalisation on
//!   one set and 0 on another. Subtract what is common to such inputs before.
//! - *Zero.* Weights that keep their sign are driven to exactly zero and not below, and may grow again. Units that no
//!   example activates have gradients of exactly zero, and a step without decay, momentum or moments leaves their
//!   parameters to the bit.
//! - *Subnormal numbers* count, unless the caller set the processor to flush them to zero: its modes of rounding and of
//!   flushing are left as the caller set them, and hold on the threads of a pool, too, while they work for that call.
//!   (On x86-64 and aarch64; elsewhere threads of a pool keep their own.) Velocities and moments are the exception: those
//!   of silent units would stick at subnormal numbers, and become zero instead.
//!
//! # Features
//!
//! - `f64` (default): kernels in `f64` beside those in `f32`; without them the crate compiles in half the time.
//! - `rayon` (default): pools of threads.
//! - `checkpoint`: saves networks in training and loads them again (`safetensors`, `serde_json`, `tempfile`).

mod buffer;
mod cache;
#[cfg(feature = "checkpoint")]
pub mod checkpoint;
mod context;
mod driver;
mod element;
mod error;
#[cfg(feature = "checkpoint")]
mod file;
mod init;
mod isa;
mod kernels;
mod layers;
mod layout;
mod matrix;
#[cfg(feature = "rayon")]
mod modes;
mod network;
mod optim;
mod params;
pub mod reference;
mod scaler;
mod simd;
mod threads;

pub use context::Context;
pub use element::Element;
pub use error::Error;
pub use init::{Generator, Init, InputMoments, Inputs, Law, RandomNumbers, Scheme, generator};
pub use isa::Isa;
pub use layers::dann::{Dann, DannMut, DannParams, DannRef, DannShape};
pub use layers::dense::{Columns, Dense, DenseMut, DenseParams, DenseRef, DenseShape};
pub use layers::inhibition::division::{Divisor, Floor};
pub use layers::inhibition::low::LowDivisors;
pub use layers::norm::{Norm, NormMut, NormParams, NormRef, NormShape, Normalisation};
pub use layers::recurrent::{Cell, Dynamics, InputLeg, Leak, RecurrentInit, RecurrentShape};
pub use layers::{LayerShape, Nonlinearity};
pub use matrix::{MatMut, MatRef};
pub use network::Network;
pub use network::architecture::Architecture;
pub use network::inspect::{LayerStatistics, StepStatistics};
pub use network::layer::Layer;
pub use network::loss::Evaluation;
pub use network::plan::Plan;
pub use network::sequences::Sequences;
pub use network::tape::Tape;
pub use network::target::Target;
pub use network::train_state::TrainState;
pub use optim::schedule::Schedule;
pub use optim::state::State;
pub use optim::update::{Adam, Angle, ClipScope, DecayOrder, Descent, KeptSums, Natural, Update};
pub use params::network::{NetworkParams, NetworkParamsMut};
pub use params::schema::{Parameter, PerRole, Role, Schema, Shape};
pub use params::{Params, ParamsMut, ParamsRef};
pub use scaler::{InputStatistics, Scaler};
pub use simd::Scalar;
pub use threads::Threads;

/// The example of the README, run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
