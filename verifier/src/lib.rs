//! Replays steps of a run and compares.
//!
//! - A step to be replayed is a [`step::Step`]: the replayer's image and three drives as files.
//! - [`machine::Machine`] is what can replay it: [`cartesi::Cartesi`], which also gives hashes that a contract can work
//!   with, or [`qemu::Qemu`], which shows only that the result is the same on another processor.
//! - [`subject`] is the receipt that is checked; [`recompute`] runs it natively; [`difference`] says where two states
//!   differ.
//! - [`rerun`] makes a run again from its inputs and names the first state that is not as somebody claims.
//! - [`watch`] is the daemon that does this with what a market shows, challenges, and votes in a committee.
//! - [`template`] computes the machine's hashes from the drives' roots, without any machine; [`release`] has the templates
//!   of the images that jobs name.

pub mod cartesi;
pub mod difference;
pub mod machine;
mod process;
pub mod qemu;
pub mod recompute;
pub mod release;
pub mod rerun;
pub mod step;
pub mod subject;
pub mod template;
pub mod watch;
