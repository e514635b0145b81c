//! What a submission is about: the job and the data, from wherever blocks come.

use std::io::{self, Write};
use std::path::Path;

use alloy::primitives::B256;
use fedmkt_contracts::market::{Run, Submission, Terms};
use fedmkt_contracts::terms;
use fedmkt_core::inputs;
use fedmkt_core::manifest::MAX_RESULTS;
use fedmkt_core::pack::Pack;
use fedmkt_core::roots::{DataRoot, Hash, RunId, StateRoot, TraceRoot};
use fedmkt_core::tree::{self, RootBuilder, keccak256};
use fedmkt_market::submission::{self, ENCRYPTED, most_overhead};
use fedmkt_runtime::home::Home;
use fedmkt_runtime::job::{Job, Reference};
use fedmkt_runtime::packed::Packed;
use fedmkt_store::files::{FileReader, visit_tree};
use fedmkt_store::{BlockStore, CachedStore, Counted, Failure, StoreError, Tried};

use crate::rerun::Claim;

/// The name of a capsule in its folder.
const CAPSULE: &str = "capsule";

/// Everything that a run is a function of.
pub struct Evidence {
    /// The job, as it was posted.
    pub job: Job,
    /// The capsule, as it was committed to.
    pub capsule: Packed,
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Missing {
    /// The job cannot be had, or is not what was posted. No client can be blamed for that.
    #[error("the job cannot be used: {0}")]
    Job(String),
    /// Everybody who could be asked says that the data is not there. It may be there later.
    #[error("the data cannot be had: {0}")]
    Absent(String),
    /// This verifier cannot tell, for a reason that is its own: its policy, its store, its network. Nobody is blamed.
    #[error("this verifier cannot get the data: {0}")]
    Ours(String),
    /// The data is there and is not what the client has committed to.
    #[error("the data is not what was committed to: {0}")]
    Other(String),
    /// This computer cannot keep it.
    #[error("cannot keep the data: {0}")]
    Disk(#[from] io::Error),
}

/// What the market knows of a run, as this program has it.
pub fn claim(run: &Run) -> Claim {
    Claim {
        run_id: RunId(run.runId.0),
        data_root: DataRoot(run.dataRoot.0),
        blind_hash: Hash(run.blindHash.0),
        trace_root: TraceRoot(run.traceRoot.0),
        last_state: StateRoot(run.lastState.0),
        steps: run.steps,
    }
}

/// Whether the capsule of a run was kept in `folder` before.
pub fn has_capsule(folder: &Path, run: &Run) -> bool {
    Packed::kept(folder, CAPSULE).is_some_and(|kept| kept.root.0 == run.dataRoot.0)
}

/// The job of these terms, checked against them.
///
/// # Errors
/// When it cannot be had or is another.
pub fn job(terms: &Terms, store: &CachedStore, home: &Home) -> Result<Job, Missing> {
    let cid = terms::job_cid(terms);
    let job = Job::load(&Reference::Cid(cid), store, home).map_err(|error| Missing::Job(error.to_string()))?;
    let differences = terms::differences(terms, &cid, &job.manifest, job.root());
    match differences.first() {
        None => Ok(job),
        Some(difference) => Err(Missing::Job(format!("what was posted does not fit it: {difference}"))),
    }
}

/// The capsule of a submission to an open job, checked against what was committed. It is written to `folder`, and kept there.
///
/// # Errors
/// When it cannot be had, or is another.
pub fn capsule(
    job: &Job,
    run: &Run,
    submission: &Submission,
    store: &CachedStore,
    folder: &Path,
    most_bytes: u64,
) -> Result<Packed, Missing> {
    let claim = claim(run);
    let known = Packed::kept(folder, CAPSULE).filter(|kept| kept.root.0 == claim.data_root.0);
    let capsule = match known {
        Some(kept) => kept,
        None => {
            // The contract asks for one where data is open; what is disclosed to auditors is not read here.
            let cid = submission::cid_of(&submission.capsule)
                .ok_or_else(|| Missing::Ours("it was not published for everybody".into()))?;
            let log2 = job.manifest.machine.class.log2_data();
            let longest = 1 << log2;
            let most = most_bytes.min(longest);
            if most < job.manifest.data.most_bytes {
                return Err(Missing::Ours(format!("it may be longer than the {most} bytes that the policy allows")));
            }
            let unusable = |error: &StoreError| unusable(error, most < longest);
            store.prepare(&cid, with_inner_blocks(most)).map_err(|error| unusable(&error))?;
            let mut reader = FileReader::new(store, &cid, most);
            Packed::write(folder, CAPSULE, true, |file| {
                let (mut root, mut bytes) = (RootBuilder::new(), 0u64);
                loop {
                    let block = reader.next_block().map_err(|error| unusable(&error))?;
                    if block.is_empty() {
                        break;
                    }
                    root.push(block);
                    file.write_all(block)?;
                    bytes += block.len() as u64;
                }
                let size = tree::log2_size_for(bytes);
                Ok::<_, Missing>(tree::padded_root(root.finish(size).root, size, log2))
            })?
        }
    };
    if capsule.root.0 != claim.data_root.0 {
        return Err(Missing::Other(format!("its root is {}, not {}", capsule.root, claim.data_root)));
    }
    let pack = Pack::open(capsule.bytes.clone()).and_then(|pack| pack.check_padding().map(|()| pack));
    let pack = pack.map_err(|error| Missing::Other(format!("it is no capsule: {error}")))?;
    if keccak256(&inputs::blind(pack.salt()).0) != claim.blind_hash {
        return Err(Missing::Other("the blind of the run does not come from its salt".into()));
    }
    Ok(capsule)
}

/// A limit for all blocks of so many bytes: inner blocks take a little more.
fn with_inner_blocks(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / 64 + (1 << 20))
}

/// What is too long, or no file, will never be what was committed to. What nobody has is absent. All else may be the fault of
/// this computer. `by_policy` says that the limit is this verifier's, not the job's.
fn unusable(error: &StoreError, by_policy: bool) -> Missing {
    match error {
        StoreError::TooMuch { .. } if by_policy => Missing::Ours(format!("{error}, and the policy allows no more")),
        StoreError::TooMuch { .. } | StoreError::Malformed { .. } | StoreError::Unsupported(_) => {
            Missing::Other(error.to_string())
        }
        StoreError::File { .. } => Missing::Disk(io::Error::other(error.to_string())),
        StoreError::Unavailable { tried, .. } if nobody_has(tried) => Missing::Absent(error.to_string()),
        error => Missing::Ours(error.to_string()),
    }
}

/// Whether somebody was reached, and all who were say that they do not have it or have looked for it in vain.
fn nobody_has(tried: &[Tried]) -> bool {
    let has_not = |tried: &Tried| match &tried.failure {
        Failure::Absent | Failure::Silent(_) => Some(true),
        Failure::Refused { code: 404 | 410 | 504, .. } => Some(true),
        Failure::Refused { said, .. } => Some(said.contains("deadline exceeded")),
        Failure::Slow(_) | Failure::Cut(_) => Some(false),
        // Whoever cannot be reached, or gives something else, says nothing.
        _ => None,
    };
    let answers: Vec<bool> = tried.iter().filter_map(has_not).collect();
    !answers.is_empty() && answers.iter().all(|has_not| *has_not)
}

/// Whether the results of a submission can be had and, where they are not encrypted, are those that the run committed to.
///
/// # Errors
/// When they cannot be had, or are others.
pub fn results(job: &Job, submission: &Submission, store: &CachedStore, most_bytes: u64) -> Result<(), Missing> {
    // The contract asks for one where there are results.
    let bundle = submission::cid_of(&submission.bundle).ok_or_else(|| Missing::Ours("there are no results".into()))?;
    let encrypted = job.manifest.sponsor.is_some();
    let longest = |bytes: u64| if encrypted { bytes.saturating_add(most_overhead(bytes)) } else { bytes };
    let all = job.manifest.results.iter().map(|file| longest(file.most_bytes)).fold(0, u64::saturating_add);
    let by_policy = most_bytes < all;
    let unusable = |error: &StoreError| unusable(error, by_policy);
    store.prepare(&bundle, with_inner_blocks(all.min(most_bytes))).map_err(|error| unusable(&error))?;
    let mut found = Vec::new();
    let visited = visit_tree(store, &bundle, |entry| {
        if entry.file_bytes.is_some() || !entry.path.is_empty() {
            found.push((entry.path.to_owned(), entry.cid));
        }
        match found.len() <= MAX_RESULTS {
            true => Ok(()),
            false => Err(StoreError::TooMuch { cid: bundle, what: Counted::Entries, most: MAX_RESULTS as u64 }),
        }
    });
    if let Err(StoreError::TooMuch { what: Counted::Entries, .. }) = visited {
        return Err(Missing::Other(format!("there are more than {MAX_RESULTS} files")));
    }
    visited.map_err(|error| unusable(&error))?;
    found.sort();
    let mut expected: Vec<_> = job.manifest.results.iter().zip(&submission.results).collect();
    expected.sort_by(|one, other| one.0.name.cmp(&other.0.name));
    if found.len() != expected.len() {
        return Err(Missing::Other(format!("there are {} files, not {}", found.len(), expected.len())));
    }
    for ((path, cid), (file, result)) in found.iter().zip(expected) {
        let name = if encrypted { format!("{}{ENCRYPTED}", file.name) } else { file.name.clone() };
        if *path != name {
            return Err(Missing::Other(format!("there is {path:?}, not {name:?}")));
        }
        if !encrypted && B256::try_from(cid.hash().digest()).ok() != Some(result.cid.digest) {
            return Err(Missing::Other(format!("{name} is another file than the run's")));
        }
        let mut reader = FileReader::new(store, cid, longest(file.most_bytes).min(most_bytes));
        while !reader.next_block().map_err(|error| unusable(&error))?.is_empty() {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cid::Cid;

    use super::*;

    fn unavailable(failures: &[Failure]) -> StoreError {
        let tried = |failure: &Failure| Tried { endpoint: "http://127.0.0.1:1".into(), failure: failure.clone() };
        StoreError::Unavailable { cid: Cid::default(), tried: failures.iter().map(tried).collect() }
    }

    #[test]
    fn only_what_nobody_has_is_absent() {
        let unreachable = Failure::Unreachable("refused".into());
        let refused = |code, said: &str| Failure::Refused { code, said: said.into() };
        let silent = Failure::Silent(Duration::from_secs(1));
        for failures in [
            vec![Failure::Absent],
            vec![Failure::Absent, unreachable.clone()],
            vec![silent.clone(), refused(504, "")],
            vec![refused(500, "context deadline exceeded")],
        ] {
            let missing = unusable(&unavailable(&failures), false);
            assert!(matches!(missing, Missing::Absent(_)), "{failures:?}: {missing}");
        }
        for failures in [
            vec![],
            vec![unreachable],
            vec![Failure::Wrong("other bytes".into())],
            vec![Failure::Absent, Failure::Cut("broken".into())],
            vec![Failure::Absent, refused(429, "slow down")],
            vec![silent, Failure::Slow(Duration::from_secs(1))],
        ] {
            let missing = unusable(&unavailable(&failures), false);
            assert!(matches!(missing, Missing::Ours(_)), "{failures:?}: {missing}");
        }
    }

    #[test]
    fn what_is_this_verifiers_own_fault_is_nobody_elses() {
        let cid = Cid::default();
        let too_much = StoreError::TooMuch { cid, what: Counted::Bytes, most: 5 };
        assert!(matches!(unusable(&too_much, true), Missing::Ours(_)));
        assert!(matches!(unusable(&too_much, false), Missing::Other(_)));
        let network = StoreError::Network { doing: "connect to", endpoint: "a".into(), why: "no".into() };
        for error in [
            StoreError::Quota { quota: 1 },
            StoreError::Missing(cid),
            StoreError::Damaged { cid, path: None },
            StoreError::Stream("read", io::Error::other("no")),
            network,
        ] {
            assert!(matches!(unusable(&error, false), Missing::Ours(_)), "{error}");
        }
    }
}
