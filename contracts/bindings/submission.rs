//! From a receipt to the calls of a client, and leaves and proofs for disputes.

use alloy::primitives::B256;
use cid::Cid;
use fedmkt_core::image::Status;
use fedmkt_core::receipt::Body;
use fedmkt_core::roots::{DataRoot, Hash, RunId, StateRoot};
use fedmkt_core::trace::FAN_OUT;
use fedmkt_core::tree::{HashTree, PAGE_BYTES};

use crate::{disputes, market};

const SHA2_256: u64 = 0x12;
const LOG2_LEVEL: u32 = 13;

/// Why a receipt cannot be submitted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmissionError {
    /// Its parts do not agree with each other.
    #[error("the receipt is not consistent; it was damaged or made by something else")]
    Inconsistent,
    /// A CID is none that contracts can take.
    #[error("{0} cannot be submitted: contracts take CIDs of version 1 of files, with a sha2-256 digest")]
    Cid(Cid),
}

/// A run as the market knows it once it is accepted and, with `run_id`, drawn.
pub fn accepted(data_root: DataRoot, blind_hash: Hash, run_id: Option<RunId>) -> market::Run {
    market::Run {
        dataRoot: data_root.0.into(),
        blindHash: blind_hash.0.into(),
        runId: run_id.unwrap_or_default().0.into(),
        traceRoot: B256::ZERO,
        lastState: B256::ZERO,
        steps: 0,
    }
}

/// What a client claims: the call's arguments after the run.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The submission.
    pub submission: market::Submission,
    /// Shows that the last state is the last leaf under the trace root.
    pub siblings: Vec<B256>,
    /// The run as the market knows it afterwards.
    pub run: market::Run,
}

/// What to submit for a receipt.
///
/// `bundle` is where the results can be fetched, encrypted unless the job is open; `capsule` where the data can be, for an
/// open job.
///
/// # Errors
/// When the receipt is not consistent, or has a CID that contracts cannot take.
pub fn claim(body: &Body, bundle: Option<&Cid>, capsule: Option<&Cid>) -> Result<Claim, SubmissionError> {
    let last = body.trace.segments.last().filter(|_| body.is_consistent()).ok_or(SubmissionError::Inconsistent)?;
    let mut results = Vec::new();
    for file in &body.results {
        results.push(market::ResultFile { size: file.size, root: file.root.0.into(), cid: file_cid(Some(&file.cid))? });
    }
    let exit_code = if let Status::Failed(code) = body.outcome { code as u32 } else { 0 };
    let run = market::Run {
        traceRoot: body.trace.root.0.into(),
        lastState: last.0.into(),
        steps: body.trace.steps,
        ..accepted(body.data_root, body.blind_hash, Some(body.run_id))
    };
    let submission = market::Submission {
        traceRoot: body.trace.root.0.into(),
        steps: body.trace.steps,
        status: body.outcome.code() as u8,
        exitCode: exit_code,
        results,
        bundle: file_cid(bundle)?,
        capsule: file_cid(capsule)?,
    };
    let siblings = siblings(&body.trace.segments, body.trace.segments.len() - 1);
    Ok(Claim { submission, siblings, run })
}

/// A CID as contracts have it; all zero for none.
///
/// # Errors
/// When the CID is none that contracts can take.
pub fn file_cid(cid: Option<&Cid>) -> Result<market::Cid, SubmissionError> {
    let Some(cid) = cid else { return Ok(market::Cid { digest: B256::ZERO, codec: 0 }) };
    let is_file =
        cid.version() == cid::Version::V1 && matches!(cid.codec(), 0x55 | 0x70) && cid.hash().code() == SHA2_256;
    let digest = B256::try_from(cid.hash().digest()).ok().filter(|_| is_file);
    Ok(market::Cid { digest: digest.ok_or(SubmissionError::Cid(*cid))?, codec: cid.codec() as u8 })
}

/// The nodes beside the path from a leaf of a trace's level to its root, lowest first.
///
/// # Panics
/// When there are more than 256 leaves, or none with this index.
pub fn siblings(leaves: &[StateRoot], index: usize) -> Vec<B256> {
    assert!(leaves.len() as u64 <= FAN_OUT && index < leaves.len());
    let mut level = [[0; PAGE_BYTES]; 2];
    for (place, leaf) in level.as_flattened_mut().chunks_exact_mut(32).zip(leaves) {
        place.copy_from_slice(&leaf.0);
    }
    let mut tree = HashTree::new(LOG2_LEVEL);
    tree.update(&[(0, &level[0]), (1, &level[1])]);
    let address = 32 * index;
    let proof = tree.proof_in_page(address as u64, 5, &level[address / PAGE_BYTES]);
    proof.siblings.iter().map(|node| node.0.into()).collect()
}

/// What a challenger says when leaf `index` is the first wrong one. `before` is the state before the level.
///
/// # Panics
/// As [`siblings`].
pub fn choice(leaves: &[StateRoot], index: usize, before: StateRoot) -> disputes::Choice {
    let (leaf_before, siblings_before) = match index.checked_sub(1) {
        Some(last) => (leaves[last], siblings(leaves, last)),
        None => (before, Vec::new()),
    };
    disputes::Choice {
        index: alloy::primitives::U256::from(index),
        leaf: leaves[index].0.into(),
        siblings: siblings(leaves, index),
        leafBefore: leaf_before.0.into(),
        siblingsBefore: siblings_before,
    }
}

impl From<market::Run> for disputes::Run {
    fn from(run: market::Run) -> Self {
        let market::Run { dataRoot, blindHash, runId, traceRoot, lastState, steps } = run;
        Self { dataRoot, blindHash, runId, traceRoot, lastState, steps }
    }
}
