//! What goes into a run: the job drive and the capsule.
//!
//! Both are *packs* ([`crate::pack`]). A job drive holds the manifest's block at `job.cbor`, the module at
//! `trainer.wasm` and the initial model at `model`, a file or a directory.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::admission::{self, Admitted, ModuleLimits, Refusal};
use crate::manifest::{Manifest, ManifestError};
use crate::pack::{Bytes, Pack, PackError};
use crate::roots::{Blind, DataRoot, JobRoot, RunId, Salt};
use crate::tree::keccak256;
use crate::wasi;

/// Path of the manifest in a job drive.
pub const MANIFEST_PATH: &str = "job.cbor";
/// Path of the trainer in a job drive.
pub const TRAINER_PATH: &str = "trainer.wasm";
/// Path of the initial model in a job drive.
pub const MODEL_PATH: &str = "model";

/// A job drive and a capsule, parsed and checked.
#[derive(Clone)]
pub struct Inputs {
    manifest: Manifest,
    job: Arc<Pack>,
    data: Arc<Pack>,
}

/// Why drives cannot go into a run.
#[derive(Debug)]
#[non_exhaustive]
pub enum InputError {
    /// The job drive is not a pack.
    Job(PackError),
    /// The job drive lacks a file; holds its path.
    Missing(&'static str),
    /// The job drive has something else too; holds its path.
    Extra(String),
    /// The job drive has a salt.
    Salted,
    /// The manifest in the job drive is not one.
    Manifest(ManifestError),
    /// The capsule is not a pack.
    Data(PackError),
    /// The capsule is larger than the job allows; holds its bytes and the limit.
    TooMuchData(u64, u64),
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(error) => write!(f, "the job drive is damaged: {error}"),
            Self::Missing(path) => write!(f, "the job drive has no `{path}`"),
            Self::Extra(path) => write!(f, "the job drive has {path:?}, which no job has"),
            Self::Salted => f.write_str("the job drive has a salt, which no job has"),
            Self::Manifest(error) => error.fmt(f),
            Self::Data(error) => write!(f, "the capsule is damaged: {error}"),
            Self::TooMuchData(bytes, most) => {
                write!(f, "the packed grant has {bytes} bytes, the job takes at most {most}")
            }
        }
    }
}

impl core::error::Error for InputError {}

/// What a run is bound to; it stands in the header of all its state images.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The run.
    pub run_id: RunId,
    /// Root of the job drive.
    pub job_root: JobRoot,
    /// Root of the capsule.
    pub data_root: DataRoot,
    /// The word that hides guessable states.
    pub blind: Blind,
}

impl Inputs {
    /// Reads a job drive and a capsule.
    ///
    /// # Errors
    /// When either is not what it should be.
    pub fn open(job: Bytes, data: Bytes) -> Result<Self, InputError> {
        let job = Arc::new(Pack::open(job).map_err(InputError::Job)?);
        let data = Arc::new(Pack::open(data).map_err(InputError::Data)?);
        if job.salt() != Salt::default() {
            return Err(InputError::Salted);
        }
        let of_model = |path: &str| path.strip_prefix(MODEL_PATH).is_some_and(|rest| rest.starts_with('/'));
        let belongs = |path: &str| matches!(path, MANIFEST_PATH | TRAINER_PATH | MODEL_PATH) || of_model(path);
        if let Some(extra) = job.entries().find(|entry| !belongs(entry.path)) {
            return Err(InputError::Extra(extra.path.into()));
        }
        let file = |path| job.file(path).ok_or(InputError::Missing(path));
        let manifest = Manifest::decode(file(MANIFEST_PATH)?).map_err(InputError::Manifest)?;
        file(TRAINER_PATH)?;
        job.find(MODEL_PATH).ok_or(InputError::Missing(MODEL_PATH))?;
        // The pack's own length: the drive of a machine is longer.
        let data_bytes = data.total_bytes();
        if data_bytes > manifest.data.most_bytes {
            return Err(InputError::TooMuchData(data_bytes, manifest.data.most_bytes));
        }
        Ok(Self { manifest, job, data })
    }

    /// The job's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The capsule.
    pub fn data(&self) -> &Pack {
        &self.data
    }

    /// The trainer's bytes.
    pub fn trainer(&self) -> &[u8] {
        self.job.file(TRAINER_PATH).expect("checked by open")
    }

    /// The capsule's salt.
    pub fn salt(&self) -> Salt {
        self.data.salt()
    }

    /// Admits the trainer.
    ///
    /// # Errors
    /// With everything that the profile does not allow.
    pub fn admit(&self) -> Result<Admitted, Refusal> {
        admission::admit(self.trainer(), &ModuleLimits { max_memory_bytes: self.manifest.limits.memory })
    }

    /// What a run of these inputs is bound to.
    pub fn identity(&self, run_id: RunId, job_root: JobRoot, data_root: DataRoot) -> Identity {
        Identity { run_id, job_root, data_root, blind: blind(self.salt()) }
    }

    pub(crate) fn wasi_config(&self, run_id: RunId) -> wasi::Config {
        let limits = &self.manifest.limits;
        let layout = crate::image::Layout::of(limits);
        wasi::Config {
            args: core::iter::once(String::from("trainer"))
                .chain(self.manifest.arguments.iter().cloned())
                .map(String::into_bytes)
                .collect(),
            env: Vec::new(),
            files: wasi::Files::Job {
                model: (self.job.clone(), self.job.find(MODEL_PATH).expect("checked by open")),
                data: self.data.clone(),
                out_pages: layout.out_pages as u32,
                scratch_pages: layout.scratch_pages as u32,
            },
            open_files: limits.open_files as u32,
            random_seed: random_seed(run_id, self.salt()),
        }
    }
}

/// The run id of a run that no market knows: `keccak256("fedmkt local run" || job root || data root)`.
pub fn local_run_id(job_root: JobRoot, data_root: DataRoot) -> RunId {
    RunId(digest(b"fedmkt local run", &[&job_root.0, &data_root.0]))
}

/// The id of a run that a market knows:
/// `keccak256("fedmkt market run" || chain id || market || slot || client || data root || randomness)`, each value in 32
/// bytes, the chain id big-endian, the accounts with zeros before them.
///
/// `randomness` is `prevrandao` of a block after that in which the client accepted.
pub fn market_run_id(
    chain_id: u64,
    market: &[u8; 20],
    slot: &[u8; 32],
    client: &[u8; 20],
    data_root: DataRoot,
    randomness: &[u8; 32],
) -> RunId {
    let padded = |bytes: &[u8]| {
        let mut word = [0; 32];
        word[32 - bytes.len()..].copy_from_slice(bytes);
        word
    };
    let (chain_id, market, client) = (padded(&chain_id.to_be_bytes()), padded(market), padded(client));
    RunId(digest(b"fedmkt market run", &[&chain_id, &market, slot, &client, &data_root.0, randomness]))
}

/// The blind of a run: `keccak256("fedmkt blind" || salt)`.
pub fn blind(salt: Salt) -> Blind {
    Blind(digest(b"fedmkt blind", &[&salt.0]))
}

/// The key of a run's random stream: `keccak256("fedmkt random" || run id || salt)`.
pub fn random_seed(run_id: RunId, salt: Salt) -> [u8; 32] {
    digest(b"fedmkt random", &[&run_id.0, &salt.0])
}

fn digest(domain: &[u8], parts: &[&[u8; 32]]) -> [u8; 32] {
    let mut message = domain.to_vec();
    parts.iter().for_each(|part| message.extend_from_slice(*part));
    keccak256(&message).0
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use std::string::ToString;

    use super::*;
    use crate::manifest::{DataRequirement, Disclosure, Limits, Machine, PROFILE, ResultFile, SizeClass, VERSION};
    use crate::pack::{Kind, Layout, set_salt};
    use crate::unixfs::FileCid;

    fn pack(files: &[(&str, &[u8])]) -> Vec<u8> {
        let layout =
            Layout::new(files.iter().map(|(path, content)| (path.to_string(), Kind::File(content.len() as u64))));
        let layout = layout.expect("a tree");
        let mut bytes = vec![0; layout.total_bytes() as usize];
        bytes[..layout.front().len()].copy_from_slice(layout.front());
        for (path, offset, length) in layout.files() {
            let (_, content) = files.iter().find(|(name, _)| *name == path).expect("a file of the tree");
            bytes[offset as usize..][..length as usize].copy_from_slice(content);
        }
        bytes
    }

    fn manifest(most_data_bytes: u64) -> Vec<u8> {
        let cid = FileCid::new().finish();
        let manifest = Manifest {
            version: VERSION,
            profile: PROFILE.into(),
            name: "example".into(),
            description: String::new(),
            trainer: cid,
            model: cid,
            arguments: Vec::new(),
            steps_per_segment: 1,
            data: DataRequirement {
                name: "data".into(),
                format: "text".into(),
                columns: None,
                shape: None,
                least_rows: 0,
                most_bytes: most_data_bytes,
            },
            limits: Limits { memory: 65_536, steps: 3, output: 4096, scratch: 0, open_files: 16, step_seconds: 1 },
            results: vec![ResultFile { name: "model".into(), most_bytes: 100 }],
            disclosure: Disclosure::Open,
            sponsor: None,
            machine: Machine { release: None, class: SizeClass::S },
            reward: None,
        };
        assert_eq!(manifest.check(), []);
        manifest.encode()
    }

    fn open(job: &[(&str, &[u8])], data: Vec<u8>) -> Result<Inputs, InputError> {
        Inputs::open(Arc::new(pack(job)), Arc::new(data))
    }

    #[test]
    fn the_data_of_a_machine_is_as_large_as_the_pack_on_its_drive() {
        let data = pack(&[("a", &[1; 5000])]);
        let bytes = data.len() as u64;
        for length in [data.len(), 1 << 24] {
            let mut drive = data.clone();
            drive.resize(length, 0);
            let with = |most: u64| {
                let manifest = manifest(most);
                open(&[("job.cbor", &manifest), ("model", b""), ("trainer.wasm", b"")], drive.clone())
            };
            assert_eq!(with(bytes).expect("inputs").data().file("a"), Some(&[1; 5000][..]));
            assert!(matches!(with(bytes - 1), Err(InputError::TooMuchData(found, _)) if found == bytes), "{length}");
        }
    }

    #[test]
    fn a_job_drive_with_something_else_is_refused() {
        let manifest = manifest(1 << 20);
        let parts: [(&str, &[u8]); 3] = [("job.cbor", &manifest), ("model/a/b", b""), ("trainer.wasm", b"")];
        assert!(open(&parts, pack(&[])).is_ok());
        for extra in ["a", "job.cbor.old", "modelx", "trainer.wasm.old", "x/y"] {
            let error = open(&[parts[0], parts[1], parts[2], (extra, b"")], pack(&[])).err();
            let named = |path: &str| extra.starts_with(path);
            assert!(matches!(&error, Some(InputError::Extra(path)) if named(path)), "{extra}: {error:?}");
        }
        let mut salted = pack(&parts);
        set_salt(salted.first_chunk_mut().expect("a page"), Salt([1; 32]));
        assert!(matches!(Inputs::open(Arc::new(salted), Arc::new(pack(&[]))), Err(InputError::Salted)));
    }

    #[test]
    fn a_job_drive_without_one_of_its_parts_is_refused() {
        let manifest = manifest(1 << 20);
        let parts: [(&str, &[u8]); 3] = [("job.cbor", &manifest), ("model", b""), ("trainer.wasm", b"")];
        for missing in 0..parts.len() {
            let rest: Vec<_> = (0..).zip(parts).filter(|(index, _)| *index != missing).map(|(_, part)| part).collect();
            let error = open(&rest, pack(&[])).err();
            assert!(matches!(error, Some(InputError::Missing(path)) if path == parts[missing].0));
        }
    }
}
