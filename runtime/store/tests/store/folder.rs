//! The store's folder: what is kept, what is collected, what is noticed, and who may work in it at once.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use cid::Cid;
use fedmkt_core::unixfs::{RAW, block_cid};
use fedmkt_store::{BlockStore, FolderStore, StoreError, files, put_value};
use fedmkt_test_kit::dag_pb::{put_block, put_folder};

use crate::stream::stream;
use crate::test_store::{TestStore, test_store};

fn add(store: &FolderStore, content: &[u8]) -> Cid {
    files::add_file(store, content).expect("a file").cid
}

/// The files in the folders of blocks.
fn block_files(test: &TestStore) -> Vec<PathBuf> {
    let shards = fs::read_dir(test.store.folder().join("blocks")).expect("blocks");
    let files =
        |shard: fs::DirEntry| fs::read_dir(shard.path()).expect("a folder").map(|file| file.expect("a file").path());
    shards.flat_map(|shard| files(shard.expect("a folder"))).collect()
}

fn block_file(test: &TestStore, cid: &Cid) -> PathBuf {
    let name = cid.to_string();
    block_files(test).into_iter().find(|file| file.ends_with(&name)).expect("the block's file")
}

#[test]
fn collection_keeps_what_is_below_a_pin_and_what_is_young() {
    let test = test_store();
    let (kept, dropped) = (add(&test.store, b"kept"), add(&test.store, b"dropped"));
    let folder = put_folder(&test.store, &[("kept", kept)]);
    let root = put_value(&test.store, &[folder]).expect("a value");
    test.store.pin(&root).expect("a pin");
    assert_eq!(test.store.gc().expect("a collection").blocks, 0);
    let collected = test.store.gc_older_than(Duration::ZERO).expect("a collection");
    assert_eq!((collected.blocks, collected.bytes), (1, 7));
    assert!(!test.store.has(&dropped).expect("a store"));
    assert!(test.store.verify_all(false).expect("a store").missing.is_empty());
    assert!(test.store.unpin(&root).expect("a pin"));
    assert!(!test.store.unpin(&root).expect("no pin"));
    assert_eq!(test.store.gc_older_than(Duration::ZERO).expect("a collection").blocks, 3);
    assert_eq!(block_files(&test), Vec::<PathBuf>::new());
}

#[test]
fn what_is_added_again_is_young_again() {
    let test = test_store();
    let cid = add(&test.store, b"content");
    let long_ago = SystemTime::now() - Duration::from_secs(24 * 3600);
    let make_old = || {
        let file = fs::File::options().append(true).open(block_file(&test, &cid)).expect("a block");
        file.set_modified(long_ago).expect("a time");
    };
    make_old();
    add(&test.store, b"content");
    assert_eq!(test.store.gc().expect("a collection").blocks, 0);
    make_old();
    assert_eq!(test.store.gc().expect("a collection").blocks, 1);
}

#[test]
fn what_is_not_all_there_cannot_be_pinned() {
    let test = test_store();
    let absent = block_cid(RAW, b"absent");
    let root = put_folder(&test.store, &[("absent", absent)]);
    assert!(matches!(test.store.pin(&root), Err(StoreError::Missing(cid)) if cid == absent));
    assert!(matches!(test.store.pin(&absent), Err(StoreError::Missing(cid)) if cid == absent));
    assert!(test.store.pins().expect("pins").is_empty());
}

#[test]
fn nothing_is_collected_while_something_pinned_cannot_be_read() {
    let test = test_store();
    let folder = put_folder(&test.store, &[("leaf", add(&test.store, b"leaf"))]);
    test.store.pin(&folder).expect("a pin");
    add(&test.store, b"other");
    fs::remove_file(block_file(&test, &folder)).expect("a block");
    assert!(matches!(test.store.gc_older_than(Duration::ZERO), Err(StoreError::Missing(cid)) if cid == folder));
    assert_eq!(block_files(&test).len(), 2);
}

#[test]
fn damage_is_noticed_named_and_repaired() {
    let test = test_store();
    let (pinned, other) = (add(&test.store, b"pinned"), add(&test.store, b"other"));
    test.store.pin(&pinned).expect("a pin");
    let path = block_file(&test, &pinned);
    fs::write(&path, b"penned").expect("a block");
    fs::write(path.with_file_name("not-a-cid"), b"").expect("a file");
    let error = test.store.get(&pinned).expect_err("damage").to_string();
    assert!(error.contains(&*path.to_string_lossy()) && error.contains("--repair"), "{error}");
    let found = test.store.verify_all(false).expect("a store");
    assert_eq!((found.blocks, found.damaged.len(), found.missing.len()), (3, 2, 0));
    let found = test.store.verify_all(true).expect("a store");
    assert_eq!((found.damaged.len(), found.missing), (2, vec![pinned]));
    assert_eq!(add(&test.store, b"pinned"), pinned);
    let found = test.store.verify_all(false).expect("a store");
    assert_eq!((found.blocks, found.damaged.len(), found.missing.len()), (2, 0, 0));
    assert_eq!(test.store.get(&other).expect("a block"), b"other");
}

#[test]
fn a_block_in_the_wrong_place_is_damage() {
    let test = test_store();
    let (one, other) = (add(&test.store, b"one"), add(&test.store, b"other"));
    fs::rename(block_file(&test, &one), block_file(&test, &other)).expect("a block");
    assert!(matches!(test.store.get(&other), Err(StoreError::Damaged { .. })));
    assert_eq!(test.store.verify_all(false).expect("a store").damaged.len(), 1);
}

#[test]
fn what_cannot_be_read_is_not_taken_for_damage() {
    let test = test_store();
    let path = block_file(&test, &add(&test.store, b"content"));
    fs::remove_file(&path).expect("a block");
    fs::create_dir(&path).expect("a folder");
    let error = test.store.verify_all(true).expect_err("a block that cannot be read").to_string();
    assert!(error.contains(&*path.to_string_lossy()), "{error}");
    assert!(path.exists());
}

#[test]
fn a_block_from_the_future_is_young() {
    let test = test_store();
    let file = fs::File::options().append(true).open(block_file(&test, &add(&test.store, b"content")));
    file.and_then(|file| file.set_modified(SystemTime::now() + Duration::from_secs(24 * 3600))).expect("a time");
    assert_eq!(test.store.gc().expect("a collection").blocks, 0);
    assert_eq!(test.store.gc_older_than(Duration::ZERO).expect("a collection").blocks, 1);
}

#[test]
fn adding_again_mends_a_damaged_block() {
    let test = test_store();
    let cid = add(&test.store, b"content");
    for damage in [&b""[..], b"contend", b"content and more"] {
        fs::write(block_file(&test, &cid), damage).expect("a block");
        add(&test.store, b"content");
        assert_eq!(test.store.get(&cid).expect("a block"), b"content");
    }
}

#[test]
fn both_versions_of_a_cid_name_one_block() {
    let test = test_store();
    let folder = put_folder(&test.store, &[]);
    let version_0 = Cid::new_v0(*folder.hash()).expect("a CID");
    assert_eq!(test.store.get(&version_0).expect("a block"), test.store.get(&folder).expect("a block"));
    test.store.pin(&version_0).expect("a pin");
    assert_eq!(test.store.pins().expect("pins").into_iter().collect::<Vec<_>>(), [folder]);
    assert_eq!(test.store.gc_older_than(Duration::ZERO).expect("a collection").blocks, 0);
    let around = put_folder(&test.store, &[("inner", version_0)]);
    test.store.pin(&around).expect("a pin");
    test.store.unpin(&folder).expect("a pin");
    assert_eq!(test.store.gc_older_than(Duration::ZERO).expect("a collection").blocks, 0);
}

#[test]
fn a_quota_holds_for_everybody_who_opens_the_store() {
    let test = test_store();
    test.store.set_quota(Some(10)).expect("a quota");
    let other = FolderStore::new(test.store.folder());
    assert_eq!(other.quota().expect("a quota"), Some(10));
    put_block(&test.store, RAW, b"123456");
    let refused = files::add_file(&other, &b"12345"[..]);
    assert!(matches!(refused, Err(StoreError::Quota { quota: 10 })), "{refused:?}");
    // What is there already costs nothing.
    put_block(&other, RAW, b"123456");
    put_block(&other, RAW, b"1234");
    assert_eq!(other.used_bytes().expect("a store"), 10);
    test.store.gc_older_than(Duration::ZERO).expect("a collection");
    put_block(&test.store, RAW, b"1234567890");
    assert!(matches!(files::add_file(&test.store, &b"x"[..]), Err(StoreError::Quota { .. })));
    test.store.set_quota(None).expect("no quota");
    add(&test.store, b"x");
    fs::write(test.store.folder().join("quota"), "much").expect("a file");
    assert!(matches!(files::add_file(&test.store, &b"y"[..]), Err(StoreError::Path { .. })));
}

#[test]
fn many_may_add_while_others_collect() {
    let test = test_store();
    let folder = test.store.folder();
    let shared = 3 << 20;
    let roots: Vec<Cid> = std::thread::scope(|scope| {
        let adders = [0u8, 1, 2, 3].map(|number| {
            scope.spawn(move || {
                let store = FolderStore::new(folder);
                for round in 0..10u8 {
                    files::add_file(&store, stream(shared)).expect("a file");
                    add(&store, &[number, round]);
                }
                let own = add(&store, &[number; 100]);
                let root = put_folder(&store, &[("own", own), ("shared", add_stream(&store, shared))]);
                store.pin(&root).expect("a pin");
                root
            })
        });
        let collector = scope.spawn(move || {
            let store = FolderStore::new(folder);
            for _ in 0..20 {
                store.gc().expect("a collection");
            }
        });
        collector.join().expect("a collector");
        adders.map(|adder| adder.join().expect("an adder")).into()
    });
    let found = test.store.verify_all(false).expect("a store");
    assert_eq!((found.damaged.len(), found.missing.len()), (0, 0));
    test.store.gc_older_than(Duration::ZERO).expect("a collection");
    for root in roots {
        let most = 1 << 30;
        let back = test.folder.path().join(root.to_string());
        files::extract(&test.store, &root, &back, most).expect("the folder");
        assert_eq!(fs::metadata(back.join("shared")).expect("a file").len(), shared);
    }
}

fn add_stream(store: &FolderStore, bytes: u64) -> Cid {
    files::add_file(store, stream(bytes)).expect("a file").cid
}

#[test]
fn a_pin_holds_against_a_collection_that_runs_at_once() {
    let test = test_store();
    let folder = test.store.folder();
    for round in 0..50u8 {
        let leaf = add(&test.store, &[round; 10]);
        let root = put_folder(&test.store, &[("leaf", leaf)]);
        let pinned = std::thread::scope(|scope| {
            let collector = scope.spawn(move || FolderStore::new(folder).gc_older_than(Duration::ZERO));
            let pinned = FolderStore::new(folder).pin(&root);
            collector.join().expect("a collector").expect("a collection");
            pinned
        });
        // Either the pin was first and all is there, or the collection was and the pin fails.
        match pinned {
            Ok(()) => assert_eq!(files::read_file(&test.store, &leaf, 10).expect("a file"), [round; 10]),
            Err(error) => assert!(matches!(error, StoreError::Missing(_)), "{error}"),
        }
        assert!(test.store.verify_all(false).expect("a store").missing.is_empty());
        test.store.unpin(&root).expect("a store");
    }
}
