//! One step of a run on bare metal: what the replayer does, without the hardware.
//!
//! The binary of this crate is the image that runs in the Cartesi Machine and in QEMU's `virt` machine. Everything in it
//! that can be tested on a host is in this library, and what the machine's driver must know of it as well.
//!
//! - [`memory_map`]: where RAM and drives are, and how large.
//! - [`exit`]: what the machine's exit code means.
//! - [`replay`]: from the drives to the next state.
//! - [`engine`]: wasmi as an engine of `fedmkt-core`. The host uses it too, to compare.
//! - [`shield`]: faults of wasmi's, kept away from guests.
//! - [`device_tree`] and [`misaligned`]: what the hardware asks for.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod device_tree;
pub mod engine;
pub mod exit;
pub mod memory_map;
pub mod misaligned;
pub mod replay;
pub mod shield;
