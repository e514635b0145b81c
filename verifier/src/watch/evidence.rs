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
use fedmkt_market::submission::{self, ENCRYPTED};
use fedmkt_runtime::home::Home;
use fedmkt_runtime::job::{Job, Reference};
use fedmkt_runtime::packed::Packed;
use fedmkt_store::files::{FileReader, visit_tree};
use fedmkt_store::{BlockStore, CachedStore, Counted, StoreError};

use crate::rerun::Claim;

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
    /// The data cannot be had. It may be there later.
    #[error("the data cannot be had: {0}")]
    Absent(String),
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
    const NAME: &str = "capsule";
    let claim = claim(run);
    let known = Packed::kept(folder, NAME).filter(|kept| kept.root.0 == claim.data_root.0);
    let capsule = match known {
        Some(kept) => kept,
        None => {
            let cid = submission::cid_of(&submission.capsule).ok_or_else(|| Missing::Absent("it has no CID".into()))?;
            let log2 = job.manifest.machine.class.log2_data();
            let most = most_bytes.min(1 << log2);
            if most < job.manifest.data.most_bytes {
                return Err(Missing::Absent(format!("it may be longer than the {most} bytes that the policy allows")));
            }
            // Inner blocks take a little more.
            store.prepare(&cid, most + most / 64 + (1 << 20)).map_err(|error| unusable(&error))?;
            let mut reader = FileReader::new(store, &cid, most);
            Packed::write(folder, NAME, true, |file| {
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

/// What is too long, or no file, will never be what was committed to; all else may be there later.
fn unusable(error: &StoreError) -> Missing {
    match error {
        StoreError::TooMuch { .. } | StoreError::Malformed { .. } => Missing::Other(error.to_string()),
        StoreError::File { .. } => Missing::Disk(io::Error::other(error.to_string())),
        error => Missing::Absent(error.to_string()),
    }
}

/// Whether the results of a submission can be had and, where they are not encrypted, are those that the run committed to.
///
/// # Errors
/// When they cannot be had, or are others.
pub fn results(job: &Job, submission: &Submission, store: &CachedStore, most_bytes: u64) -> Result<(), Missing> {
    let bundle = submission::cid_of(&submission.bundle).ok_or_else(|| Missing::Absent("they have no CID".into()))?;
    store.prepare(&bundle, most_bytes).map_err(|error| unusable(&error))?;
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
    visited.map_err(|error| unusable(&error))?;
    found.sort();
    let encrypted = job.manifest.sponsor.is_some();
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
        let mut reader = FileReader::new(store, cid, most_bytes);
        while !reader.next_block().map_err(|error| unusable(&error))?.is_empty() {}
    }
    Ok(())
}
