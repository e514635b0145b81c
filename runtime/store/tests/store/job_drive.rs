//! Job drives: what is on them, their roots, and jobs that have none.

use std::sync::Arc;

use cid::Cid;
use fedmkt_core::inputs::Inputs;
use fedmkt_core::manifest::{Limits, Manifest, ResultFile, SizeClass};
use fedmkt_core::pack::{Layout, Pack};
use fedmkt_core::tree::bytes_root;
use fedmkt_core::unixfs::RAW;
use fedmkt_store::job::{JobDrive, JobError, write_job_drive};
use fedmkt_store::{FolderStore, StoreError, files, put_value};
use fedmkt_test_kit::dag_pb::{file_data, link, put_block, put_file, put_folder, put_node};

use crate::test_store::test_store;

fn manifest(trainer: Cid, model: Cid) -> Manifest {
    Manifest {
        name: "example".into(),
        description: String::new(),
        steps_per_segment: 1,
        limits: Limits { memory: 65_536, steps: 3, output: 4096, scratch: 0, open_files: 16, step_seconds: 1 },
        results: vec![ResultFile { name: "model".into(), most_bytes: 100 }],
        ..fedmkt_test_kit::job::manifest(trainer, model)
    }
}

fn add(store: &FolderStore, content: &[u8]) -> Cid {
    files::add_file(store, content).expect("a file").cid
}

/// Drive and root of a job with this model, which must have one.
fn drive(store: &FolderStore, manifest: &Manifest) -> (Vec<u8>, String) {
    let job = put_value(store, manifest).expect("a job");
    let mut bytes = Vec::new();
    let root = write_job_drive(store, &job, &mut bytes).expect("a drive");
    (bytes, root.to_string())
}

fn refused(store: &FolderStore, manifest: &Manifest) -> JobError {
    let job = put_value(store, manifest).expect("a job");
    JobDrive::open(store, &job).and_then(|drive| drive.root(store)).expect_err("no drive")
}

#[test]
fn a_drive_is_the_pack_of_manifest_trainer_and_model() {
    let test = test_store();
    let model: Vec<u8> = (0..3_000_000u32).map(|index| (index % 251) as u8).collect();
    let manifest = manifest(add(&test.store, b"\0asm"), add(&test.store, &model));
    let (bytes, root) = drive(&test.store, &manifest);
    assert_eq!(root, bytes_root(&bytes, 24).to_string());
    let pack = Pack::open(Arc::new(bytes.clone())).expect("a pack");
    assert_eq!(pack.check_padding(), Ok(()));
    assert_eq!(pack.file("job.cbor"), Some(&manifest.encode()[..]));
    assert_eq!(pack.file("trainer.wasm"), Some(&b"\0asm"[..]));
    assert_eq!(pack.file("model"), Some(&model[..]));
    assert_eq!(pack.len(), 3);
    let nothing = Layout::new([]).expect("an empty pack").front().to_vec();
    assert_eq!(*Inputs::open(Arc::new(bytes), Arc::new(nothing)).expect("inputs").manifest(), manifest);
}

#[test]
fn a_model_may_be_a_folder() {
    let test = test_store();
    let folder = test.folder.path().join("model");
    std::fs::create_dir_all(folder.join("b/empty")).expect("folders");
    std::fs::write(folder.join("b/c"), b"c").expect("a file");
    std::fs::write(folder.join("b-"), b"").expect("a file");
    let model = files::add_tree(&test.store, &folder).expect("a folder").cid;
    let (bytes, root) = drive(&test.store, &manifest(add(&test.store, b""), model));
    assert_eq!(root, bytes_root(&bytes, 24).to_string());
    let pack = Pack::open(Arc::new(bytes)).expect("a pack");
    let paths: Vec<_> = pack.entries().map(|entry| entry.path).collect();
    assert_eq!(paths, ["job.cbor", "model", "model/b", "model/b-", "model/b/c", "model/b/empty", "trainer.wasm"]);
    assert_eq!(pack.file("model/b/c"), Some(&b"c"[..]));
}

#[test]
fn a_job_that_is_too_large_for_its_class_is_told_which_class_it_needs() {
    let test = test_store();
    let trainer = add(&test.store, b"");
    let model = add(&test.store, &vec![1; 16 << 20]);
    let mut manifest = manifest(trainer, model);
    let error = refused(&test.store, &manifest).to_string();
    assert_eq!(error, "the job needs a drive of 16785408 bytes, class S has 16777216: use class M, or a smaller model");
    manifest.machine.class = SizeClass::M;
    assert_eq!(drive(&test.store, &manifest).0.len(), 16_785_408);
}

/// A folder that holds one file 2^levels times.
fn bomb(store: &FolderStore, leaf: Cid, levels: u32) -> Cid {
    (0..levels).fold(leaf, |below, _| put_folder(store, &[("a", below), ("b", below)]))
}

#[test]
fn a_model_that_unfolds_without_end_is_refused() {
    let test = test_store();
    let trainer = add(&test.store, b"");
    let many_bytes = bomb(&test.store, add(&test.store, &[1; 1 << 16]), 40);
    assert!(matches!(
        refused(&test.store, &manifest(trainer, many_bytes)),
        JobError::TooLarge { class: SizeClass::S, .. }
    ));
    // Each half of a file is the file below it.
    let leaf = add(&test.store, &[1; 1 << 19]);
    let large_file = (0..14).fold((leaf, 1 << 19), |(below, bytes), _| {
        (put_file(&test.store, &[(below, bytes), (below, bytes)]), 2 * bytes)
    });
    assert!(matches!(refused(&test.store, &manifest(trainer, large_file.0)), JobError::TooLarge { .. }));
    let deep = (0..70).fold(leaf, |below, _| put_folder(&test.store, &[("a", below)]));
    assert!(matches!(refused(&test.store, &manifest(trainer, deep)), JobError::Store(StoreError::Malformed { .. })));
}

#[test]
fn blocks_that_lie_about_sizes_are_refused() {
    let test = test_store();
    let trainer = add(&test.store, b"");
    let leaf = put_block(&test.store, RAW, b"12345");
    let inner = put_file(&test.store, &[(leaf, 5)]);
    for (part, said) in [(leaf, 4), (leaf, 6), (leaf, 0), (inner, 4), (inner, 6), (leaf, u64::MAX)] {
        let file = put_file(&test.store, &[(part, said)]);
        let error = refused(&test.store, &manifest(trainer, file));
        let known = matches!(error, JobError::Store(StoreError::Malformed { .. }) | JobError::TooLarge { .. });
        assert!(known, "{said}: {error}");
    }
    let overflow = put_file(&test.store, &[(leaf, u64::MAX), (leaf, 6)]);
    assert!(matches!(
        refused(&test.store, &manifest(trainer, overflow)),
        JobError::Store(StoreError::Malformed { .. })
    ));
    let named = put_node(&test.store, &[link(&leaf, "name", 5), file_data(b"", &[5])]);
    assert!(matches!(refused(&test.store, &manifest(trainer, named)), JobError::Store(StoreError::Malformed { .. })));
}

#[test]
fn what_is_no_job_is_refused() {
    let test = test_store();
    let file = add(&test.store, b"text");
    assert!(matches!(JobDrive::open(&test.store, &file), Err(JobError::NotAJob(cid)) if cid == file));
    let folder = put_folder(&test.store, &[]);
    assert!(matches!(refused(&test.store, &manifest(folder, file)), JobError::TrainerIsFolder(_)));
    let large = add(&test.store, &vec![0; (32 << 20) + 1]);
    assert!(matches!(refused(&test.store, &manifest(large, file)), JobError::TrainerTooLarge(33_554_433)));
    let value = put_value(&test.store, &"not a manifest").expect("a block");
    assert!(matches!(JobDrive::open(&test.store, &value), Err(JobError::Manifest { .. })));
    let rules = Manifest { name: String::new(), ..manifest(file, file) };
    assert!(matches!(refused(&test.store, &rules), JobError::Manifest { .. }));
    let absent = fedmkt_core::unixfs::block_cid(RAW, b"absent");
    assert!(matches!(
        refused(&test.store, &manifest(file, absent)),
        JobError::Store(StoreError::Missing(cid)) if cid == absent
    ));
}
