//! A small transformer that learns to write messages, character by character, as a keyboard would learn from private ones.
//!
//! [`WholeModel`] trains all weights. [`Adapters`] keeps the weights of a trained model and learns a low-rank change to
//! them; only that change leaves the machine. Both take one batch in each step.

mod adapters;
pub mod markov;
mod text;
mod transformer;
mod whole_model;

pub use adapters::{ADAPTERS_FILE, Adapters, apply};
pub use text::{SYMBOLS, Text, Windows};
pub use transformer::{CONTEXT, Transformer};
pub use whole_model::{WEIGHTS_FILE, WholeModel};
