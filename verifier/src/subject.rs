//! A receipt, and everything that it is about.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use cid::Cid;
use fedmkt_core::manifest::Disclosure;
use fedmkt_core::pack::{Pack, PackError};
use fedmkt_core::receipt::Body;
use fedmkt_core::roots::DataRoot;
use fedmkt_core::tree::{self, RootBuilder, keccak256};
use fedmkt_core::{inputs, roots::Hash};
use fedmkt_runtime::envelope::Envelope;
use fedmkt_runtime::grant::{Grant, GrantError};
use fedmkt_runtime::home::Home;
use fedmkt_runtime::identity::Identity;
use fedmkt_runtime::job::{Job, LoadError, Reference};
use fedmkt_runtime::packed::Packed;
use fedmkt_store::{BlockStore, StoreError, get_value};

/// A receipt, and the job that it is about.
pub struct Subject {
    /// The receipt.
    pub receipt: Cid,
    /// Who vouches for it.
    pub envelope: Envelope,
    /// What it claims.
    pub body: Body,
    /// The job.
    pub job: Job,
}

/// Where the data of a run comes from.
#[derive(Clone, Debug)]
pub enum Data {
    /// The folder or file that was granted.
    Grant(PathBuf),
    /// The capsule that the client disclosed.
    Capsule(PathBuf),
}

/// Why a receipt cannot be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectError {
    /// A block is not there, or not what it should be.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The receipt's signature is wrong.
    #[error("the signature of receipt {0} is wrong")]
    Signature(Cid),
    /// The receipt's parts do not agree with each other.
    #[error("the parts of receipt {0} do not agree with each other")]
    Inconsistent(Cid),
    /// The job cannot be had.
    #[error(transparent)]
    Job(#[from] LoadError),
    /// The receipt is about another job drive.
    #[error("the receipt names the job root {claimed}, but the job's drive has {found}")]
    OtherJob {
        /// In the receipt.
        claimed: fedmkt_core::roots::JobRoot,
        /// Computed.
        found: fedmkt_core::roots::JobRoot,
    },
    /// The data cannot be packed.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// A file cannot be read or written.
    #[error("cannot read {}: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        error: io::Error,
    },
    /// The file is no capsule.
    #[error("{} is no capsule: {error}", .path.display())]
    Capsule {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: PackError,
    },
    /// The capsule is too long for the job.
    #[error("{} has {bytes} bytes, more than any capsule of this job", .path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        bytes: u64,
    },
    /// It is other data.
    #[error(
        "{} has the data root {found}, the run was made with {claimed}: this is other data{}",
        .path.display(),
        if *.salted { ", or the salt is missing, which only the client has: ask for the capsule" } else { "" }
    )]
    OtherData {
        /// What was given.
        path: PathBuf,
        /// In the receipt.
        claimed: DataRoot,
        /// Computed.
        found: DataRoot,
        /// Whether data of this job has a salt.
        salted: bool,
    },
    /// The blind of the run does not come from the capsule's salt.
    #[error("the receipt's blind does not come from the capsule's salt: the receipt is false")]
    Blind,
}

impl Subject {
    /// Finds a receipt, checks it for itself, and finds its job.
    ///
    /// # Errors
    /// When a block is missing, or the receipt contradicts itself or its job.
    pub fn load(receipt: Cid, store: &impl BlockStore, home: &Home) -> Result<Self, SubjectError> {
        let envelope: Envelope = get_value(store, &receipt)?;
        if !envelope.is_signed() {
            return Err(SubjectError::Signature(receipt));
        }
        let body: Body = get_value(store, &envelope.body)?;
        if !body.is_consistent() {
            return Err(SubjectError::Inconsistent(receipt));
        }
        let job = Job::load(&Reference::Cid(body.job), store, home)?;
        if job.root() != body.job_root {
            return Err(SubjectError::OtherJob { claimed: body.job_root, found: job.root() });
        }
        let trace = &body.trace;
        if job.manifest.steps_per_segment != trace.steps_per_segment || trace.steps > job.manifest.limits.steps {
            return Err(SubjectError::Inconsistent(receipt));
        }
        Ok(Self { receipt, envelope, body, job })
    }

    /// The capsule of the run, checked against the receipt. Working files go to `folder`.
    ///
    /// A grant of a job whose data is not open needs the `identity` of the client who ran it.
    ///
    /// # Errors
    /// When it cannot be read, is no capsule, or that of other data.
    pub fn capsule(&self, data: &Data, folder: &Path, identity: Option<&Identity>) -> Result<Packed, SubjectError> {
        let manifest = &self.job.manifest;
        let salted = manifest.disclosure != Disclosure::Open;
        let (path, capsule) = match data {
            Data::Grant(path) => {
                let grant = Grant::survey(path)?;
                let capsule = match identity.filter(|_| salted) {
                    Some(identity) => grant.pack(manifest, identity, folder, &mut |_| {})?,
                    None => grant.pack_open(manifest, folder)?,
                };
                (path, capsule)
            }
            Data::Capsule(path) => (path, self.copied(path, folder)?),
        };
        let pack = Pack::open(capsule.bytes.clone()).and_then(|pack| pack.check_padding().map(|()| pack));
        let pack = pack.map_err(|error| SubjectError::Capsule { path: path.clone(), error })?;
        let found = DataRoot(capsule.root.0);
        if found != self.body.data_root {
            let claimed = self.body.data_root;
            return Err(SubjectError::OtherData { path: path.clone(), claimed, found, salted });
        }
        if keccak256(&inputs::blind(pack.salt()).0) != self.body.blind_hash {
            return Err(SubjectError::Blind);
        }
        Ok(capsule)
    }

    /// A copy of a stranger's file, which may change while it is used, with its root.
    fn copied(&self, path: &Path, folder: &Path) -> Result<Packed, SubjectError> {
        let log2 = self.job.manifest.machine.class.log2_data();
        let failed = |error| SubjectError::File { path: path.to_owned(), error };
        let mut source = File::open(path).map_err(failed)?;
        let bytes = source.metadata().map_err(failed)?.len();
        if bytes > 1 << log2 {
            return Err(SubjectError::TooLong { path: path.to_owned(), bytes });
        }
        let copy = |target: &mut File| -> io::Result<Hash> {
            let mut root = RootBuilder::new();
            let mut buffer = vec![0; 1 << 20];
            let mut left = 1u64 << log2;
            loop {
                let read = source.read(&mut buffer)?;
                if read == 0 || left < read as u64 {
                    break;
                }
                left -= read as u64;
                root.push(&buffer[..read]);
                target.write_all(&buffer[..read])?;
            }
            let size = tree::log2_size_for((1 << log2) - left);
            Ok(tree::padded_root(root.finish(size).root, size, log2))
        };
        Packed::write(folder, "capsule", false, copy).map_err(failed)
    }
}
