//! Whether what a sponsor posted is what the job's manifest says.
//!
//! The market knows nothing of manifests. A client compares before it accepts; the job's id covers the terms, so they
//! cannot change afterwards.

use std::fmt;

use alloy::primitives::B256;
use cid::Cid;
use cid::multihash::Multihash;
use fedmkt_core::manifest::{Disclosure, Manifest};
use fedmkt_core::roots::JobRoot;

use crate::market::Terms;

/// Who may see a client's data: everybody.
pub const OPEN: u8 = 0;

/// The auditors that the job names, after an audit was drawn or asked for.
pub const AUDITED: u8 = 1;

/// Nobody.
pub const PRIVATE: u8 = 2;

const SHA2_256: u64 = 0x12;
const DAG_CBOR: u64 = 0x71;

/// A field of the terms that is not what the manifest says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The field.
    pub field: &'static str,
    /// What the terms say.
    pub posted: String,
    /// What follows from the job.
    pub expected: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the terms say {}, the job says {}", self.field, self.posted, self.expected)
    }
}

/// The digest in a job's CID, as terms have it. `None` if it is not the CID of a job.
pub fn job_digest(job: &Cid) -> Option<B256> {
    let is_job = job.version() == cid::Version::V1 && job.codec() == DAG_CBOR && job.hash().code() == SHA2_256;
    is_job.then(|| B256::try_from(job.hash().digest()).ok()).flatten()
}

/// The CID of the job that terms are for.
pub fn job_cid(terms: &Terms) -> Cid {
    let digest = Multihash::wrap(SHA2_256, terms.cid.as_slice()).expect("32 bytes fit a multihash");
    Cid::new_v1(DAG_CBOR, digest)
}

/// All fields of the terms that are not what follows from the job; empty when a client can rely on them.
///
/// `root` is the root of the job drive as the client has computed it.
pub fn differences(terms: &Terms, job: &Cid, manifest: &Manifest, root: JobRoot) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut compare = |field, posted: String, expected: String| {
        if posted != expected {
            found.push(Difference { field, posted, expected });
        }
    };
    let digest = job_digest(job).map_or_else(|| "nothing, as it is no job".to_string(), |digest| digest.to_string());
    compare("cid", terms.cid.to_string(), digest);
    compare("root", terms.root.to_string(), root.to_string());
    compare("class", terms.class.to_string(), (manifest.machine.class as u8).to_string());
    compare("stepsPerSegment", terms.stepsPerSegment.to_string(), manifest.steps_per_segment.to_string());
    compare("results", terms.results.to_string(), manifest.results.len().to_string());
    let (disclosure, per_million, auditors) = match &manifest.disclosure {
        Disclosure::Open => (OPEN, 0, 0),
        Disclosure::Audited(audit) => (AUDITED, audit.per_million, audit.auditors.len()),
        Disclosure::Private => (PRIVATE, 0, 0),
    };
    compare("disclosure", terms.disclosure.to_string(), disclosure.to_string());
    compare("auditsPerMillion", terms.auditsPerMillion.to_string(), per_million.to_string());
    compare("auditors", terms.auditors.len().to_string(), auditors.to_string());
    if let Some(reward) = &manifest.reward {
        compare("token", format!("{:#x}", terms.token), reward.token.to_lowercase());
        compare("reward", terms.reward.to_string(), reward.amount.clone());
    }
    found
}
