//! A job to begin with.

use cid::Cid;
use fedmkt_core::manifest::{
    DataRequirement, Disclosure, Limits, Machine, Manifest, PROFILE, ResultFile, SizeClass, VERSION,
};
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
