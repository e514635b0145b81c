//! What a submission is about: the job and the data, from wherever blocks come.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use alloy::primitives::B256;
use cid::Cid;
use fedmkt_contracts::market::{Run, Submission, Terms};
use fedmkt_contracts::terms;
use fedmkt_core::inputs;
use fedmkt_core::manifest::{Disclosure, MAX_RESULTS, Manifest};
use fedmkt_core::pack::Pack;
use fedmkt_core::roots::{DataRoot, Hash, RunId, StateRoot, TraceRoot};
use fedmkt_core::tree::{self, RootBuilder, keccak256};
use fedmkt_market::submission::{self, most_overhead, published_name};
use fedmkt_runtime::auditor::AuditorKeys;
use fedmkt_runtime::home::Home;
use fedmkt_runtime::job::{Job, LoadError, OtherRelease, Reference};
use fedmkt_runtime::packed::Packed;
use fedmkt_store::files::{FileReader, visit_tree};
use fedmkt_store::job::JobError;
use fedmkt_store::{BlockStore, CachedStore, Counted, Ended, Failure, StoreError, Tried};

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
    /// Runs of the job are not what this program computes. No client can be blamed for that.
    #[error(transparent)]
    Release(#[from] OtherRelease),
    /// Everybody who could be asked says that the data is not there. It may be there later.
    #[error("the data cannot be had: {0}")]
    Absent(String),
    /// The data comes, or is looked for, and was not all there when the time for it was over.
    #[error("the data does not come in time: {0}")]
    Late(String),
    /// It was not waited for: something else is to be done, or everything is to end.
    #[error("it was stopped")]
    Stopped,
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
    let job = Job::load(&Reference::Cid(cid), store, home).map_err(|error| match error {
        LoadError::Store(StoreError::Ended { why: Ended::Stopped, .. })
        | LoadError::Job(JobError::Store(StoreError::Ended { why: Ended::Stopped, .. })) => Missing::Stopped,
        error => Missing::Job(error.to_string()),
    })?;
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
            // The contract asks for one where data is open.
            let cid = submission::cid_of(&submission.capsule)
                .ok_or_else(|| Missing::Ours("it was not published for everybody".into()))?;
            let room = Room::of(job, most_bytes)?;
            store.prepare(&cid, with_inner_blocks(room.most)).map_err(|error| room.unusable(&error))?;
            let mut reader = FileReader::new(store, &cid, room.most);
            Packed::write(folder, CAPSULE, true, |file| {
                let mut drive = Drive::new(file, &room);
                loop {
                    let block = reader.next_block().map_err(|error| room.unusable(&error))?;
                    if block.is_empty() {
                        break;
                    }
                    drive.push(block)?;
                }
                Ok::<_, Missing>(drive.root())
            })?
        }
    };
    checked(capsule, &claim)
}

/// The capsule that a client has disclosed to the auditors of its job, decrypted with `keys` and checked against what was
/// committed. It is written to a file without a name on the file system of `folder`.
///
/// The client is blamed only for what every auditor of the job must find: the file is no age file, is not encrypted to
/// an auditor that the job names and whose keys these are, is damaged, or holds something else.
///
/// # Errors
/// When it cannot be had or decrypted, or is another.
pub fn disclosed(
    job: &Job,
    run: &Run,
    disclosed: Option<&Cid>,
    keys: Option<&AuditorKeys>,
    store: &CachedStore,
    folder: &Path,
    most_bytes: u64,
) -> Result<Packed, Missing> {
    let Disclosure::Audited(audit) = &job.manifest.disclosure else {
        return Err(Missing::Ours("the job has no auditors".into()));
    };
    let cid = disclosed.ok_or_else(|| Missing::Ours("it was not disclosed".into()))?;
    let keys = keys.ok_or_else(|| Missing::Ours("it has no auditor's key: `fedmkt-verify auditor new`".into()))?;
    if !keys.recipients().any(|ours| audit.auditors.contains(&ours)) {
        return Err(Missing::Ours("the job names none of this auditor's keys".into()));
    }
    let room = Room::of(job, most_bytes)?;
    let most = room.most.saturating_add(HEADER_BYTES).saturating_add(most_overhead(room.most));
    store.prepare(cid, with_inner_blocks(most)).map_err(|error| room.unusable(&error))?;
    let encrypted = Encrypted {
        file: FileReader::new(store, cid, most),
        failed: &RefCell::default(),
        left: &Cell::new(HEADER_BYTES),
    };
    let (failed, left) = (encrypted.failed, encrypted.left);
    // What the store cannot give is not what the client has encrypted.
    let undecryptable = |error: &dyn std::fmt::Display| match failed.take() {
        Some(failed) => room.unusable(&failed),
        None => Missing::Other(format!("it cannot be decrypted: {error}")),
    };
    let mut plain = keys.decrypt(BufReader::new(encrypted)).map_err(|error| undecryptable(&error))?;
    left.set(u64::MAX);
    let capsule = Packed::unnamed(folder, |file| {
        let mut drive = Drive::new(file, &room);
        let mut block = vec![0; 1 << 20];
        loop {
            match plain.read(&mut block) {
                Ok(0) => break,
                Ok(bytes) => drive.push(&block[..bytes])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(undecryptable(&error)),
            }
        }
        Ok(drive.root())
    })?;
    checked(capsule, &claim(run))
}

/// The most bytes of an age file before its content: 64 auditors take about 100 each.
const HEADER_BYTES: u64 = 16 << 10;

/// An encrypted file as its blocks come. What decrypts it learns only that it cannot be read; why is in `failed`.
struct Encrypted<'a> {
    file: FileReader<'a, CachedStore>,
    failed: &'a RefCell<Option<StoreError>>,
    /// How many bytes more may be read: a header has an end.
    left: &'a Cell<u64>,
}

impl Read for Encrypted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.get() == 0 {
            return Err(io::Error::other("its header does not end"));
        }
        let most = usize::try_from(self.left.get()).unwrap_or(usize::MAX).min(buffer.len());
        let bytes = self.file.read(&mut buffer[..most]).map_err(|error| match error.downcast::<StoreError>() {
            Ok(why) => {
                let error = io::Error::other(why.to_string());
                self.failed.replace(Some(why));
                error
            }
            Err(error) => error,
        })?;
        self.left.set(self.left.get().saturating_sub(bytes as u64));
        Ok(bytes)
    }
}

/// How long a capsule may be.
struct Room {
    /// In bytes, by the job and by the policy.
    most: u64,
    /// By the job alone: that of its drive.
    log2: u32,
}

impl Room {
    fn of(job: &Job, most_bytes: u64) -> Result<Self, Missing> {
        let log2 = job.manifest.machine.class.log2_data();
        let most = most_bytes.min(1 << log2);
        if most < job.manifest.data.most_bytes {
            return Err(Missing::Ours(format!("it may be longer than the {most} bytes that the policy allows")));
        }
        Ok(Self { most, log2 })
    }

    fn by_policy(&self) -> bool {
        self.most < 1 << self.log2
    }

    fn unusable(&self, error: &StoreError) -> Missing {
        unusable(error, self.by_policy())
    }
}

/// A capsule that is being written, and its root.
struct Drive<'a> {
    file: &'a mut File,
    room: &'a Room,
    root: RootBuilder,
    bytes: u64,
}

impl<'a> Drive<'a> {
    fn new(file: &'a mut File, room: &'a Room) -> Self {
        Self { file, room, root: RootBuilder::new(), bytes: 0 }
    }

    fn push(&mut self, block: &[u8]) -> Result<(), Missing> {
        self.bytes += block.len() as u64;
        if self.bytes > self.room.most {
            let why = format!("it is longer than {} bytes", self.room.most);
            return Err(if self.room.by_policy() { Missing::Ours(why) } else { Missing::Other(why) });
        }
        self.root.push(block);
        Ok(self.file.write_all(block)?)
    }

    fn root(self) -> Hash {
        let size = tree::log2_size_for(self.bytes);
        tree::padded_root(self.root.finish(size).root, size, self.room.log2)
    }
}

/// A capsule, if it is what was committed to.
fn checked(capsule: Packed, claim: &Claim) -> Result<Packed, Missing> {
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

/// What is too long, or no file, will never be what was committed to. What nobody has is absent, what was not all there in
/// time is late. All else may be the fault of this computer. `by_policy` says that the limit is this verifier's, not the job's.
fn unusable(error: &StoreError, by_policy: bool) -> Missing {
    match error {
        StoreError::TooMuch { .. } if by_policy => Missing::Ours(format!("{error}, and the policy allows no more")),
        StoreError::TooMuch { .. } | StoreError::Malformed { .. } | StoreError::Unsupported(_) => {
            Missing::Other(error.to_string())
        }
        StoreError::File { .. } => Missing::Disk(io::Error::other(error.to_string())),
        StoreError::Ended { why: Ended::Stopped, .. } => Missing::Stopped,
        StoreError::Ended { .. } => Missing::Late(error.to_string()),
        StoreError::Unavailable { tried, .. } if nobody_has(tried) => Missing::Absent(error.to_string()),
        StoreError::Unavailable { tried, .. }
            if tried.iter().any(|tried| matches!(tried.failure, Failure::Slow(_))) =>
        {
            Missing::Late(error.to_string())
        }
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
pub fn results(
    manifest: &Manifest,
    submission: &Submission,
    store: &CachedStore,
    most_bytes: u64,
) -> Result<(), Missing> {
    // The contract asks for one where there are results.
    let bundle = submission::cid_of(&submission.bundle).ok_or_else(|| Missing::Ours("there are no results".into()))?;
    let encrypted = manifest.sponsor.is_some();
    let longest = |bytes: u64| if encrypted { bytes.saturating_add(most_overhead(bytes)) } else { bytes };
    let all = manifest.results.iter().map(|file| longest(file.most_bytes)).fold(0, u64::saturating_add);
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
    let expected = manifest.results.iter().zip(&submission.results);
    let mut expected: Vec<_> =
        expected.map(|(file, result)| (published_name(manifest, &file.name), file, result)).collect();
    // Published names may come in another order than those of the manifest: `w-1.age` is before `w.age`.
    expected.sort_by(|one, other| one.0.cmp(&other.0));
    if found.len() != expected.len() {
        return Err(Missing::Other(format!("there are {} files, not {}", found.len(), expected.len())));
    }
    for ((path, cid), (name, file, result)) in found.iter().zip(expected) {
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

    use fedmkt_core::manifest::ResultFile;
    use fedmkt_store::FolderStore;

    use super::*;

    /// A key to which results can be encrypted. Nobody can decrypt them.
    const SPONSOR: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

    /// What a client submits that has published these results.
    fn published(store: &FolderStore, manifest: &Manifest, results: &[&[u8]]) -> Submission {
        let body = fedmkt_test_kit::job::done(store, manifest, results);
        let bundle = submission::publish(store, manifest, &body).expect("published");
        fedmkt_contracts::submission::claim(&body, Some(&bundle), None).expect("a claim").submission
    }

    #[test]
    fn results_are_the_runs_in_whatever_order_their_names_come() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = CachedStore::new(FolderStore::new(folder.path()), None);
        let names = ["w", "model-v2", "w-1", "model", "w.age"];
        let contents: [&[u8]; 5] = [b"one", b"two", b"three", b"four", b"five"];
        for sponsor in [None, Some(SPONSOR.to_owned())] {
            let mut manifest = fedmkt_test_kit::job::manifest(Cid::default(), Cid::default());
            manifest.results = names.map(|name| ResultFile { name: name.into(), most_bytes: 10 }).to_vec();
            manifest.sponsor = sponsor;
            let mut submission = published(store.folder(), &manifest, &contents);
            results(&manifest, &submission, &store, 1 << 20).expect("an honest client's");
            // Encrypted ones are the sponsor's to compare.
            if manifest.sponsor.is_none() {
                submission.results.swap(0, 2);
                let missing = results(&manifest, &submission, &store, 1 << 20).expect_err("another file");
                assert!(matches!(missing, Missing::Other(_)), "{missing}");
            }
        }
    }

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
        ] {
            let missing = unusable(&unavailable(&failures), false);
            assert!(matches!(missing, Missing::Ours(_)), "{failures:?}: {missing}");
        }
    }

    #[test]
    fn what_does_not_come_in_time_is_late_and_what_is_stopped_is_nothing() {
        let ended = |why| StoreError::Ended { cid: Cid::default(), why };
        let slow = unavailable(&[Failure::Silent(Duration::from_secs(1)), Failure::Slow(Duration::from_secs(1))]);
        assert!(matches!(unusable(&slow, false), Missing::Late(_)));
        assert!(matches!(unusable(&ended(Ended::Late), false), Missing::Late(_)));
        assert!(matches!(unusable(&ended(Ended::Stopped), false), Missing::Stopped));
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
