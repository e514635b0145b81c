//! Drives for a module, in memory.

use std::sync::Arc;

use fedmkt_core::inputs::{Identity, Inputs, local_run_id};
use fedmkt_core::manifest::{Limits, Machine, Manifest, ResultFile, SizeClass};
use fedmkt_core::pack::{Kind, Layout};
use fedmkt_core::roots::{DataRoot, JobRoot};
use fedmkt_core::tree::bytes_root;
use fedmkt_core::unixfs::FileCid;

/// The class of every job here.
pub const CLASS: SizeClass = SizeClass::S;

/// A job and its data.
pub struct Job {
    /// The job drive's content.
    pub job: Arc<Vec<u8>>,
    /// The capsule.
    pub data: Arc<Vec<u8>>,
    /// Both, parsed.
    pub inputs: Arc<Inputs>,
    /// The local run of both.
    pub identity: Identity,
}

/// The canonical pack of these files.
pub fn pack(files: &[(&str, &[u8])]) -> Vec<u8> {
    let entries = files.iter().map(|(path, content)| (path.to_string(), Kind::File(content.len() as u64)));
    let layout = Layout::new(entries).expect("a tree");
    let mut bytes = vec![0; layout.total_bytes() as usize];
    bytes[..layout.front().len()].copy_from_slice(layout.front());
    for (path, offset, length) in layout.files() {
        let (_, content) = files.iter().find(|(name, _)| *name == path).expect("a file of the tree");
        bytes[offset as usize..][..length as usize].copy_from_slice(content);
    }
    bytes
}

/// A manifest that gives a trainer what class S has room for.
pub fn manifest(steps: u64) -> Manifest {
    let cid = FileCid::new().finish();
    Manifest {
        name: "equality".into(),
        arguments: vec!["one".into(), "two".into()],
        steps_per_segment: 1,
        limits: Limits { memory: 8 << 20, steps, output: 1 << 20, scratch: 1 << 20, open_files: 32, step_seconds: 60 },
        results: vec![ResultFile { name: "model".into(), most_bytes: 1 << 20 }],
        machine: Machine { release: None, class: CLASS },
        ..fedmkt_test_kit::job::manifest(cid, cid)
    }
}

impl Job {
    /// A job of this trainer, a small model and some data.
    pub fn of(trainer: &[u8], steps: u64) -> Self {
        Self::with(trainer, &manifest(steps), &[("a.txt", b"some data"), ("folder/b.txt", &[7; 5000])])
    }

    /// A job of this trainer and data, and a small model.
    pub fn with(trainer: &[u8], manifest: &Manifest, data: &[(&str, &[u8])]) -> Self {
        Self::with_model(trainer, &[0, 0, 128, 63, 0, 0, 192, 127], manifest, data)
    }

    /// A job of this trainer, model and data.
    pub fn with_model(trainer: &[u8], model: &[u8], manifest: &Manifest, data: &[(&str, &[u8])]) -> Self {
        assert_eq!(manifest.check(), []);
        let job = Arc::new(pack(&[("job.cbor", &manifest.encode()), ("model", model), ("trainer.wasm", trainer)]));
        let data = Arc::new(pack(data));
        let inputs = Arc::new(Inputs::open(job.clone(), data.clone()).expect("inputs"));
        let class = manifest.machine.class;
        let job_root = JobRoot(bytes_root(&job, class.log2_job()).0);
        let data_root = DataRoot(bytes_root(&data, class.log2_data()).0);
        let identity = inputs.identity(local_run_id(job_root, data_root), job_root, data_root);
        Self { job, data, inputs, identity }
    }
}
