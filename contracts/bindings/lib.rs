//! The market's contracts for Rust: bindings, and what goes into their calls.
//!
//! - [`market`], [`disputes`], [`committee`]: generated from `contracts/artifacts/`, which `cargo xtask contracts` writes.
//! - [`dev_token`]: a token for devnets; [`dev`]: rules and terms for them.
//! - [`ids`]: names of jobs, slots and challenges, as the contracts compute them.
//! - [`terms`]: whether what a sponsor posted is what the job's manifest says.
//! - [`submission`]: from a receipt to the calls of a client, and leaves and proofs for disputes.
//! - [`randomness`]: headers as the contracts want them.
//! - [`refusal`]: what a contract's error means, and what to do.
//! - [`code`]: whether the code at an address is that of these contracts.
//!
//! What the contracts do is in `docs/src/reference/market.md`.

pub mod code;
pub mod dev;
pub mod ids;
pub mod randomness;
pub mod refusal;
pub mod submission;
pub mod terms;

/// Posting, accepting, submitting, audits and money.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod market {
    alloy::sol!(
        #[sol(rpc, all_derives)]
        Market,
        "artifacts/Market.json"
    );
    pub use Market::{Audit, Cid, Job, ResultFile, Run, Slot, Submission, Terms};
}

/// Challenges of submissions.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod disputes {
    alloy::sol!(
        #[sol(rpc, all_derives)]
        Disputes,
        "artifacts/Disputes.json"
    );
    pub use Disputes::{Challenge, Choice, Question, Run};
}

/// An arbitrator whose members vote.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod committee {
    alloy::sol!(
        #[sol(rpc, all_derives)]
        Committee,
        "artifacts/Committee.json"
    );
    pub use Committee::{Question, Rules};
}

/// A token for tests and devnets.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod dev_token {
    alloy::sol!(
        #[sol(rpc, all_derives)]
        DevToken,
        "artifacts/DevToken.json"
    );
}
