//! A job to begin with, and what a run of it leaves.

use cid::Cid;
use fedmkt_core::image::Status;
use fedmkt_core::manifest::{
    DataRequirement, Disclosure, Limits, Machine, Manifest, PROFILE, ResultFile, SizeClass, VERSION,
};
use fedmkt_core::receipt::{self, Body, ResultRecord, Trace};
use fedmkt_core::roots::StateRoot;
use fedmkt_core::trace::trace_root;
use fedmkt_store::{BlockStore, files};

/// A trainer that reads its data and writes `weights` and `metrics.csv`; after 61 steps it is done.
///
/// # Panics
/// Never: the text is part of this crate.
pub fn trainer() -> Vec<u8> {
    wat::parse_str(include_str!("trainer.wat")).expect("the trainer is wasm text")
}

/// The manifest of an open job with [`trainer`]'s limits, for tests to change.
pub fn manifest(trainer: Cid, model: Cid) -> Manifest {
    Manifest {
        version: VERSION,
        profile: PROFILE.into(),
        name: "test".into(),
        description: "A job of the tests.".into(),
        trainer,
        model,
        arguments: vec![],
        steps_per_segment: 7,
        data: DataRequirement {
            name: "data".into(),
            format: "text".into(),
            columns: None,
            shape: None,
            least_rows: 0,
            most_bytes: 1 << 20,
        },
        limits: Limits { memory: 1 << 20, steps: 100, output: 1 << 17, scratch: 0, open_files: 16, step_seconds: 60 },
        results: vec![
            ResultFile { name: "weights".into(), most_bytes: 1 << 16 },
            ResultFile { name: "metrics.csv".into(), most_bytes: 1 << 16 },
        ],
        disclosure: Disclosure::Open,
        sponsor: None,
        machine: Machine { release: None, class: SizeClass::S },
        reward: None,
    }
}

/// Keeps a trainer and a model, and gives a manifest that names them.
///
/// # Panics
/// When the store cannot keep them.
pub fn stored(store: &impl BlockStore, trainer: &[u8]) -> Manifest {
    let add = |content: &[u8]| files::add_file(store, content).expect("added").cid;
    manifest(add(trainer), add(b"the initial model"))
}

/// The receipt of a run that left these results, which are kept. Its roots are those of no run.
///
/// # Panics
/// When the store cannot keep them.
pub fn done(store: &impl BlockStore, manifest: &Manifest, results: &[&[u8]]) -> Body {
    let add = |(file, content): (&ResultFile, &&[u8])| ResultRecord {
        name: file.name.clone(),
        size: content.len() as u64,
        root: Default::default(),
        cid: files::add_file(store, *content).expect("added").cid,
    };
    let segments = vec![StateRoot::default()];
    Body {
        version: receipt::VERSION,
        profile: manifest.profile.clone(),
        job: Cid::default(),
        run_id: Default::default(),
        job_root: Default::default(),
        data_root: Default::default(),
        blind_hash: Default::default(),
        trace: Trace { root: trace_root(&segments), steps: 1, steps_per_segment: 1, segments },
        outcome: Status::Done,
        results: manifest.results.iter().zip(results).map(add).collect(),
    }
}
