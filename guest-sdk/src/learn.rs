//! What learning needs: random numbers, batches, layers with their gradients, and optimisers.
//!
//! All of it gives the same bits on every machine, natively and in WebAssembly, with vectors or without (see
//! [`matrix`]). Values are `f32` in row-major order; a batch is a matrix with an example in each row.

mod batches;
mod lanes;
pub mod layers;
pub mod matrix;
mod optimiser;
mod parameters;
mod random;

pub use batches::Batches;
pub use optimiser::{Adam, Momentum, clip_norm, norm};
pub use parameters::{Parameters, Slot};
pub use random::Random;
