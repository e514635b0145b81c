//! The job drive: from a job's CID to the bytes that a run and the machine read, and to the job root.
//!
//! A drive is written in two passes over the store. [`JobDrive::open`] reads the manifest and the nodes of trainer and
//! model, and decides where everything goes; [`JobDrive::write`] streams the contents. Memory is that of the index and
//! of one block, however large the model.

use std::collections::BTreeMap;
use std::io::{self, Write};

use cid::Cid;
use fedmkt_core::admission::limits::MODULE_BYTES;
use fedmkt_core::inputs::{MANIFEST_PATH, MODEL_PATH, TRAINER_PATH};
use fedmkt_core::manifest::{Manifest, ManifestError, SizeClass};
use fedmkt_core::pack::{self, Kind, Layout, PackError};
use fedmkt_core::roots::JobRoot;
use fedmkt_core::tree::RootBuilder;

use crate::files::{FileReader, visit_tree};
use crate::{BlockStore, DAG_CBOR, StoreError};

/// Why there is no drive for a job.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// A block of the job cannot be had or read, or the drive cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The CID is not that of a DAG-CBOR block.
    #[error("{0} is not a job: a job's CID names a DAG-CBOR block and begins with `bafyrei`")]
    NotAJob(Cid),
    /// The block is not a manifest, or one that may not run.
    #[error("{cid}: {error}")]
    Manifest {
        /// The job.
        cid: Cid,
        /// What is wrong with it.
        #[source]
        error: Box<ManifestError>,
    },
    /// The trainer is a folder.
    #[error("the trainer {0} is a folder, not a WebAssembly module")]
    TrainerIsFolder(Cid),
    /// The trainer is larger than admission allows.
    #[error("the trainer has {0} bytes, the limit is {MODULE_BYTES}")]
    TrainerTooLarge(u64),
    /// The model's files cannot stand in a pack.
    #[error("the model cannot be put on a drive: {0}")]
    Pack(#[from] PackError),
    /// The job does not fit the drive of its size class.
    #[error("the job needs a drive of {bytes} bytes, class {class:?} has {}{}", 1u64 << .class.log2_job(), hint(*.bytes))]
    TooLarge {
        /// Bytes that the drive would have, or a number that is more than any class has.
        bytes: u64,
        /// The job's class.
        class: SizeClass,
    },
}

fn hint(bytes: u64) -> String {
    match SizeClass::ALL.into_iter().find(|class| bytes <= 1 << class.log2_job()) {
        Some(class) => format!(": use class {class:?}, or a smaller model"),
        None => ": no class is large enough, use a smaller model".into(),
    }
}

/// The drive of a job: what is on it, and where.
#[derive(Clone, Debug)]
pub struct JobDrive {
    manifest: Manifest,
    block: Vec<u8>,
    layout: Layout,
    /// The files of the layout, by their paths, without the manifest.
    files: BTreeMap<String, Cid>,
}

impl JobDrive {
    /// The drive of the job with this CID.
    ///
    /// # Errors
    /// When the block is not a job that may run, something below it cannot be had or is not what it should be, or it is
    /// too large for its class.
    pub fn open(store: &impl BlockStore, job: &Cid) -> Result<Self, JobError> {
        if job.codec() != DAG_CBOR {
            return Err(JobError::NotAJob(*job));
        }
        let manifest = Manifest::decode(&store.get(job)?)
            .map_err(|error| JobError::Manifest { cid: *job, error: error.into() })?;
        Self::of_manifest(store, manifest)
    }

    /// The drive of a job that is not in the store yet, while its trainer and model are.
    ///
    /// # Errors
    /// As [`Self::open`]; the manifest itself is not checked.
    pub fn of_manifest(store: &impl BlockStore, manifest: Manifest) -> Result<Self, JobError> {
        let block = manifest.encode();
        let class = manifest.machine.class;
        let mut contents = Contents { class, entries: Vec::new(), files: BTreeMap::new(), bytes: 0, index_bytes: 0 };
        contents.add(MANIFEST_PATH.into(), Kind::File(block.len() as u64))?;
        // Blocks may be smaller than ours, and nodes stand above them.
        store.prepare(&manifest.trainer, 2 * MODULE_BYTES as u64)?;
        visit_tree(store, &manifest.trainer, |entry| {
            let bytes = entry.file_bytes.ok_or(JobError::TrainerIsFolder(manifest.trainer))?;
            if bytes > MODULE_BYTES as u64 {
                return Err(JobError::TrainerTooLarge(bytes));
            }
            contents.add_file(TRAINER_PATH.into(), entry.cid, bytes)
        })?;
        store.prepare(&manifest.model, 2 << class.log2_job())?;
        visit_tree(store, &manifest.model, |entry| {
            let path = match entry.path {
                "" => MODEL_PATH.into(),
                path => format!("{MODEL_PATH}/{path}"),
            };
            match entry.file_bytes {
                Some(bytes) => contents.add_file(path, entry.cid, bytes),
                None => contents.add(path, Kind::Directory),
            }
        })?;
        let Contents { entries, files, .. } = contents;
        let layout = Layout::new(entries)?;
        if layout.total_bytes() > 1 << class.log2_job() {
            return Err(JobError::TooLarge { bytes: layout.total_bytes(), class });
        }
        Ok(Self { manifest, block, layout, files })
    }

    /// The job's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Bytes that [`Self::write`] writes. The drive of a machine has zeros after them.
    pub fn total_bytes(&self) -> u64 {
        self.layout.total_bytes()
    }

    /// Path and bytes of each file, in the order of the drive.
    pub fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        self.layout.files().map(|(path, _, bytes)| (path, bytes))
    }

    /// Writes the drive and gives its root, that of the whole drive of the job's class.
    ///
    /// # Errors
    /// When a block cannot be had or read, or `out` cannot be written.
    pub fn write(&self, store: &impl BlockStore, out: impl Write) -> Result<JobRoot, JobError> {
        let mut drive = DriveWriter { out, root: RootBuilder::new(), written: 0 };
        drive.push(self.layout.front())?;
        for (path, offset, bytes) in self.layout.files() {
            drive.zeros_until(offset)?;
            match self.files.get(path) {
                None => drive.push(&self.block)?,
                Some(cid) => {
                    let mut reader = FileReader::new(store, cid, bytes);
                    loop {
                        let block = reader.next_block()?;
                        if block.is_empty() {
                            break;
                        }
                        drive.push(block)?;
                    }
                }
            }
            // The same blocks told the size before, and the reader holds every block to it.
            assert_eq!(drive.written, offset + bytes, "{path} has the length that its blocks say");
        }
        drive.zeros_until(self.layout.total_bytes())?;
        drive.out.flush().map_err(cannot_write)?;
        Ok(JobRoot(drive.root.finish(self.manifest.machine.class.log2_job()).root.0))
    }

    /// The root of the drive.
    ///
    /// # Errors
    /// When a block cannot be had or read.
    pub fn root(&self, store: &impl BlockStore) -> Result<JobRoot, JobError> {
        self.write(store, io::sink())
    }
}

/// Writes the drive of a job and gives its root: [`JobDrive::open`] and [`JobDrive::write`] in one.
///
/// # Errors
/// As these.
pub fn write_job_drive(store: &impl BlockStore, job: &Cid, out: impl Write) -> Result<JobRoot, JobError> {
    JobDrive::open(store, job)?.write(store, out)
}

/// What a drive will hold, counted while it is found: a model may be made to have more files than memory.
struct Contents {
    class: SizeClass,
    entries: Vec<(String, Kind)>,
    files: BTreeMap<String, Cid>,
    bytes: u64,
    index_bytes: u64,
}

impl Contents {
    fn add_file(&mut self, path: String, cid: Cid, bytes: u64) -> Result<(), JobError> {
        self.files.insert(path.clone(), cid);
        self.add(path, Kind::File(bytes))
    }

    fn add(&mut self, path: String, kind: Kind) -> Result<(), JobError> {
        if let Kind::File(bytes) = kind {
            self.bytes = self.bytes.saturating_add(bytes);
        }
        self.index_bytes += path.len() as u64;
        self.entries.push((path, kind));
        // Sizes up to that of the largest class are counted, so that a publisher learns which class it needs.
        if self.bytes > 1 << SizeClass::L.log2_job() {
            return Err(JobError::TooLarge { bytes: self.bytes, class: self.class });
        }
        if self.entries.len() as u64 > pack::MAX_ENTRIES {
            return Err(PackError::TooLarge("files and folders", pack::MAX_ENTRIES).into());
        }
        if self.index_bytes > pack::MAX_INDEX_BYTES {
            return Err(PackError::TooLarge("bytes of paths", pack::MAX_INDEX_BYTES).into());
        }
        Ok(())
    }
}

/// Writes bytes and hashes them.
struct DriveWriter<W> {
    out: W,
    root: RootBuilder,
    written: u64,
}

impl<W: Write> DriveWriter<W> {
    fn push(&mut self, bytes: &[u8]) -> Result<(), JobError> {
        self.out.write_all(bytes).map_err(cannot_write)?;
        self.root.push(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn zeros_until(&mut self, offset: u64) -> Result<(), JobError> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while self.written < offset {
            self.push(&ZEROS[..(offset - self.written).min(ZEROS.len() as u64) as usize])?;
        }
        Ok(())
    }
}

fn cannot_write(error: io::Error) -> JobError {
    JobError::Store(StoreError::Stream("write the job drive", error))
}
