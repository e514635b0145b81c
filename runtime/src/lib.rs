//! The client: runs a sponsor's trainer on private data and leaves results and a receipt.
//!
//! ```text
//! job::Reference --load--> job::Job ----+
//!                                       +--> training::Session --train--> training::Finished --finish--> receipt
//! folder --survey--> grant::Grant --pack+
//! ```
//!
//! What a run is, and everything that can influence its result, is in [`fedmkt_core`]; this crate gives it an engine,
//! drives, and disks to survive on.

pub mod atomic_file;
pub mod auditor;
pub mod backends;
pub mod checkpoint;
pub mod consent;
pub mod engine;
pub mod envelope;
pub mod finish;
pub mod grant;
mod growing_root;
pub mod home;
pub mod identity;
pub mod job;
pub mod message;
pub mod metrics;
pub mod packed;
pub mod passphrase;
pub mod policy;
pub mod program;
pub mod requirement;
pub mod training;
pub mod unnamed;
pub mod worker;
pub mod written_pages;
