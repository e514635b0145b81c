//! The market as its parties use it: `fedmkt` and `fedmkt-run` on a chain of their own, with real contracts, a token, and
//! an encrypted result.
//!
//! Needs anvil, and the programs: `cargo test --workspace` and `cargo xtask test` build them; one also needs a machine. Where
//! something is missing, the tests say that they were skipped.

mod accidents;
mod bad_input;
mod board;
mod devnet;
mod disputes;
mod happy_path;
mod lies;
mod network;
mod party;
mod permits;
mod proxy;
mod self_check;
