//! What a fedmkt run *is*.
//!
//! Everything that can influence a result lives in this crate, once, so that the native run and the replay in the
//! machine share every line of it. The crate has no I/O, no clock and no randomness of its own.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod admission;
pub mod dagcbor;
pub mod engine;
pub mod image;
pub mod inputs;
mod keccak;
pub mod manifest;
pub mod pack;
pub mod receipt;
pub mod roots;
pub mod run;
pub mod trace;
pub mod tree;
pub mod unixfs;
pub mod wasi;
