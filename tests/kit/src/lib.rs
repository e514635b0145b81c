//! What the tests of several crates share.
//!
//! - [`accidents`]: processes that are ended at any moment, and disks that are full.
//! - [`dag_pb`]: blocks with any content, also such as no builder would make.
//! - [`gateway`]: where blocks come from, and may be gone.
//! - [`job`]: a job to begin with.
//! - [`kubo`]: an IPFS node of a test's own.

pub mod accidents;
pub mod dag_pb;
pub mod gateway;
pub mod job;
pub mod kubo;
