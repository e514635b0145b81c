//! Jobs, ready to run.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::str::FromStr;

use cid::Cid;
use fedmkt_core::manifest::{Manifest, ManifestError, RELEASE};
use fedmkt_core::roots::{Hash, JobRoot};
use fedmkt_store::job::{JobDrive, JobError};
use fedmkt_store::{BlockStore, NotACid, StoreError, car};

use crate::home::Home;
use crate::message::about;
use crate::packed::Packed;

/// How a person names a job: a CID, an `ipfs://` URI, or a CAR archive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reference {
    /// A CID.
    Cid(Cid),
    /// An archive whose first root is the job.
    Archive(PathBuf),
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        match fedmkt_store::parse_cid(text) {
            Ok(cid) => Ok(Self::Cid(cid)),
            Err(_) if path.is_file() => Ok(Self::Archive(path)),
            Err(error @ NotACid::Path) => Err(error.to_string()),
            Err(_) => Err(format!("{text:?} is no CID, no `ipfs://` URI and no file")),
        }
    }
}

/// A job whose drive is there.
pub struct Job {
    /// The job.
    pub cid: Cid,
    /// What the sponsor asks for.
    pub manifest: Manifest,
    /// The drive.
    pub drive: Packed,
}

/// Why a job cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file cannot be read or written.
    #[error("cannot {doing} {}: {error}", .path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What went wrong.
        #[source]
        error: io::Error,
    },
    /// The archive has no root.
    #[error("{} has no root: export it anew with `fedmkt store export`", .0.display())]
    NoRoot(PathBuf),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is no job, or one that cannot run.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The block is no manifest.
    #[error("{0}: {1}")]
    Manifest(Cid, ManifestError),
    /// The drive cannot be kept.
    #[error("cannot write the job's drive: {0}")]
    Drive(#[from] io::Error),
}

impl Job {
    /// Finds a job and writes its drive, unless it was written before.
    ///
    /// # Errors
    /// When it is no job, cannot run, or is not all there.
    pub fn load(reference: &Reference, store: &impl BlockStore, home: &Home) -> Result<Self, LoadError> {
        let cid = match reference {
            Reference::Cid(cid) => *cid,
            Reference::Archive(path) => {
                let file = File::open(path);
                let file = file.map_err(|error| LoadError::File { doing: "open", path: path.clone(), error })?;
                let roots = car::import(store, io::BufReader::new(file))?;
                *roots.first().ok_or_else(|| LoadError::NoRoot(path.clone()))?
            }
        };
        let folder = home.jobs()?;
        let name = cid.to_string();
        if let Some(drive) = Packed::kept(&folder, &name) {
            let block = store.get(&cid)?;
            let manifest = Manifest::decode(&block).map_err(|error| LoadError::Manifest(cid, error))?;
            return Ok(Self { cid, manifest, drive });
        }
        let plan = JobDrive::open(store, &cid)?;
        let drive = Packed::write(&folder, &name, true, |file| {
            let root = plan.write(store, BufWriter::new(file)).map_err(|error| match error {
                JobError::Store(StoreError::Stream(_, error)) => LoadError::Drive(about(&folder)(error)),
                error => error.into(),
            })?;
            Ok::<_, LoadError>(Hash(root.0))
        })?;
        Ok(Self { cid, manifest: plan.manifest().clone(), drive })
    }

    /// The root of the drive.
    pub fn root(&self) -> JobRoot {
        JobRoot(self.drive.root.0)
    }
}

/// What a job's runs are is not said by the release of the replayer that this program computes as.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OtherRelease {
    /// The job names another.
    #[error(
        "job {job} is for release {named:?} of the replayer, and this program computes as {RELEASE} does: use the version of \
         fedmkt that does as {named:?}, or ask the sponsor to publish the job anew"
    )]
    Named {
        /// The job.
        job: Cid,
        /// The release that it names.
        named: String,
    },
    /// It has a reward, for which verifiers must know what a run is, and names none.
    #[error("job {0} has a reward and names no release of the replayer: publish it anew with `fedmkt publish`")]
    Missing(Cid),
}

/// Checks that runs of a job are what this program computes.
///
/// # Errors
/// When they are not.
pub fn check_release(job: Cid, manifest: &Manifest) -> Result<(), OtherRelease> {
    match &manifest.machine.release {
        Some(named) if named != RELEASE => Err(OtherRelease::Named { job, named: named.clone() }),
        None if manifest.reward.is_some() => Err(OtherRelease::Missing(job)),
        _ => Ok(()),
    }
}
