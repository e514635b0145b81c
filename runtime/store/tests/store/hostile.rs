//! Blocks as a stranger could make them. What links to itself cannot be made: its hash would have to be in it.

use std::fs;
use std::io;
use std::path::Path;

use cid::Cid;
use cid::multihash::Multihash;
use fedmkt_core::unixfs::{DAG_PB, RAW, block_cid};
use fedmkt_store::files::{self, FileReader, Node, visit_tree};
use fedmkt_store::{BlockStore, DAG_CBOR, FolderStore, MAX_BLOCK_BYTES, StoreError, dag, get_value};
use fedmkt_test_kit::dag_pb::{bytes, file_data, folder_data, link, number, put_block, put_file, put_folder, put_node};
use proptest::prelude::*;

use crate::test_store::test_store;

fn leaf(store: &impl BlockStore) -> Cid {
    put_block(store, RAW, b"leaf")
}

/// Visits everything below a root; says how many files and folders there are.
fn count(store: &impl BlockStore, root: &Cid) -> Result<u64, StoreError> {
    let mut entries = 0;
    visit_tree(store, root, |_| {
        entries += 1;
        Ok::<_, StoreError>(())
    })?;
    Ok(entries)
}

#[test]
fn a_block_that_is_not_what_its_cid_says_does_not_get_in() {
    let test = test_store();
    let cid = block_cid(RAW, b"right");
    assert!(matches!(test.store.put(&cid, b"wrong"), Err(StoreError::Damaged { .. })));
    let identity = Cid::new_v1(RAW, Multihash::wrap(0, b"right").expect("a hash"));
    assert!(matches!(test.store.put(&identity, b"wrong"), Err(StoreError::Damaged { .. })));
    assert_eq!(test.store.get(&identity).expect("it stands in the CID"), b"right");
    assert!(matches!(test.store.get(&cid), Err(StoreError::Missing(_))));
}

#[test]
fn blocks_that_cannot_be_checked_are_refused() {
    let test = test_store();
    let sha1 = Cid::new_v1(RAW, Multihash::wrap(0x11, &[0; 20]).expect("a hash"));
    let short = Cid::new_v1(RAW, Multihash::wrap(0x12, &[0; 20]).expect("a hash"));
    let git = Cid::new_v1(0x78, *block_cid(RAW, b"").hash());
    let long_identity = Cid::new_v1(RAW, Multihash::wrap(0, &[0; 33]).expect("a hash"));
    for cid in [sha1, short, git, long_identity] {
        assert!(matches!(test.store.get(&cid), Err(StoreError::Unsupported(_))), "{cid}");
        assert!(matches!(test.store.put(&cid, b""), Err(StoreError::Unsupported(_))), "{cid}");
    }
    let large = vec![0; MAX_BLOCK_BYTES + 1];
    assert!(matches!(test.store.put(&block_cid(RAW, &large), &large), Err(StoreError::BlockTooLarge(_))));
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let test = test_store();
    let leaf = leaf(&test.store);
    let long = "x".repeat(256);
    for name in
        ["", ".", "..", "/", "/etc", "a/b", "../a", "a\\b", "a\0", "\0", "a\nb", "\u{1b}[2J", "\u{85}", long.as_str()]
    {
        let folder = put_folder(&test.store, &[(name, leaf)]);
        let around = put_folder(&test.store, &[("inner", folder)]);
        let target = test.folder.path().join("target");
        for root in [folder, around] {
            let error = files::extract(&test.store, &root, &target, 1 << 20).expect_err(name);
            assert!(matches!(error, StoreError::Malformed { cid, .. } if cid == folder), "{name:?}: {error}");
        }
    }
    // Nothing but the store is there: neither a target nor what was written on the way.
    let left: Vec<_> = fs::read_dir(test.folder.path()).expect("a folder").collect();
    assert_eq!(left.len(), 1, "{left:?}");
    let not_text =
        put_node(&test.store, &[bytes(2, &[bytes(1, &leaf.to_bytes()), bytes(2, &[0xff])].concat()), folder_data()]);
    assert!(matches!(count(&test.store, &not_text), Err(StoreError::Malformed { .. })));
}

#[test]
fn names_that_are_there_twice_or_out_of_order_are_refused() {
    let test = test_store();
    let leaf = leaf(&test.store);
    for names in [["a", "a"], ["b", "a"]] {
        let folder = put_folder(&test.store, &names.map(|name| (name, leaf)));
        assert!(matches!(count(&test.store, &folder), Err(StoreError::Malformed { .. })), "{names:?}");
    }
}

#[test]
fn what_is_there_already_is_not_written_over() {
    let test = test_store();
    let leaf = leaf(&test.store);
    let target = test.folder.path().join("target");
    let elsewhere = test.folder.path().join("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, &target).expect("a link");
    assert!(matches!(files::extract(&test.store, &leaf, &target, 100), Err(StoreError::File { .. })));
    assert!(!elsewhere.exists());
}

/// A store during whose work somebody else writes a file.
struct Meanwhile<'a> {
    store: &'a FolderStore,
    file: &'a Path,
}

impl BlockStore for Meanwhile<'_> {
    fn get(&self, cid: &Cid) -> Result<Vec<u8>, StoreError> {
        fs::write(self.file, "theirs").expect("a file");
        self.store.get(cid)
    }

    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        self.store.has(cid)
    }

    fn put_verified(&self, cid: &Cid, block: &[u8]) -> Result<(), StoreError> {
        self.store.put_verified(cid, block)
    }
}

#[test]
fn what_others_write_meanwhile_is_not_written_over() {
    let test = test_store();
    let leaf = leaf(&test.store);
    let target = test.folder.path().join("target");
    for root in [leaf, put_folder(&test.store, &[("a", leaf)])] {
        let store = Meanwhile { store: &test.store, file: &target };
        let error = files::extract(&store, &root, &target, 100).expect_err("it is there");
        let is_there = |error: &io::Error| error.kind() == io::ErrorKind::AlreadyExists;
        assert!(matches!(&error, StoreError::File { error, .. } if is_there(error)), "{error}");
        assert_eq!(fs::read(&target).expect("their file"), b"theirs");
        fs::remove_file(&target).expect("removed");
    }
    let left: Vec<_> = fs::read_dir(test.folder.path()).expect("a folder").collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn folders_and_files_may_not_be_too_deep() {
    let test = test_store();
    let leaf = leaf(&test.store);
    let nested = |levels| (0..levels).fold(leaf, |below, _| put_folder(&test.store, &[("a", below)]));
    assert_eq!(count(&test.store, &nested(64)).expect("64 folders"), 65);
    assert!(matches!(count(&test.store, &nested(65)), Err(StoreError::Malformed { .. })));
    let parts = |levels| (0..levels).fold(leaf, |below, _| put_file(&test.store, &[(below, 4)]));
    assert_eq!(files::read_file(&test.store, &parts(16), 100).expect("a file"), b"leaf");
    assert!(matches!(files::read_file(&test.store, &parts(17), 100), Err(StoreError::Malformed { .. })));
}

#[test]
fn a_file_ends_where_it_is_said_to_end() {
    let test = test_store();
    let leaf = leaf(&test.store);
    let inline = put_node(&test.store, &[link(&leaf, "", 4), file_data(b"in", &[4])]);
    assert_eq!(files::read_file(&test.store, &inline, 6).expect("a file"), b"inleaf");
    assert!(matches!(files::read_file(&test.store, &inline, 5), Err(StoreError::TooMuch { .. })));
    for said in [0, 3, 5, 1 << 40] {
        let file = put_file(&test.store, &[(leaf, said)]);
        assert!(matches!(files::read_file(&test.store, &file, u64::MAX), Err(StoreError::Malformed { .. })), "{said}");
    }
    let without_sizes = put_node(&test.store, &[link(&leaf, "", 4), file_data(b"", &[])]);
    assert!(matches!(files::read_file(&test.store, &without_sizes, 100), Err(StoreError::Malformed { .. })));
    let folder_inside = put_file(&test.store, &[(put_folder(&test.store, &[]), 4)]);
    assert!(matches!(files::read_file(&test.store, &folder_inside, 100), Err(StoreError::Malformed { .. })));
}

#[test]
fn a_file_that_unfolds_without_end_is_read_as_far_as_allowed() {
    let test = test_store();
    let leaf = put_block(&test.store, RAW, &[7; 1 << 16]);
    let (bomb, bytes) =
        (0..15).fold((leaf, 1u64 << 16), |(below, bytes), _| (put_file(&test.store, &[(below, bytes); 8]), 8 * bytes));
    assert_eq!(bytes, 1 << 61);
    let mut reader = FileReader::new(&test.store, &bomb, 1 << 20);
    let mut read = 0;
    let error = loop {
        match reader.next_block() {
            Ok(block) => read += block.len(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::TooMuch { .. }), "{error}");
    assert_eq!(read, 1 << 20);
    let target = test.folder.path().join("target");
    assert!(matches!(files::extract(&test.store, &bomb, &target, 1 << 30), Err(StoreError::TooMuch { .. })));
    assert!(!target.exists());
}

#[test]
fn a_block_of_nothing_but_links_is_read() {
    let test = test_store();
    let absent = block_cid(RAW, b"absent");
    let one = link(&absent, "", 1);
    let links = (MAX_BLOCK_BYTES - 1000) / (one.len() + 2);
    let parts = vec![1; links];
    let mut fields = vec![one; links];
    fields.push(file_data(b"", &parts));
    let file = put_node(&test.store, &fields);
    let found = dag::links(&file, &test.store.get(&file).expect("a block")).expect("links");
    assert_eq!(found.len(), links);
    assert!(matches!(dag::walk(&test.store, &[file], |_, _| Ok(())), Err(StoreError::Missing(cid)) if cid == absent));
}

#[test]
fn values_that_are_nested_or_long_without_end_are_refused() {
    let test = test_store();
    let nested = |open: &[u8], levels: usize| [open.repeat(levels), vec![0xf6]].concat();
    let deep = nested(&[0x81], 1_000_000);
    let deep_map = nested(&[0xa1, 0x61, b'a'], 500_000);
    // An array, a map, bytes and text of 2^62 elements.
    let long = [0x9b, 0xbb, 0x5b, 0x7b].map(|kind| [&[kind][..], &(1u64 << 62).to_be_bytes()].concat());
    for block in long.into_iter().chain([deep, deep_map, vec![], vec![0xff], vec![0xd8, 42, 0x41, 1]]) {
        let cid = put_block(&test.store, DAG_CBOR, &block);
        let start = &block[..block.len().min(10)];
        assert!(matches!(dag::links(&cid, &block), Err(StoreError::Malformed { .. })), "{start:?}");
        assert!(test.store.pin(&cid).is_err(), "{start:?}");
        assert!(get_value::<Vec<Cid>>(&test.store, &cid).is_err(), "{start:?}");
    }
}

#[test]
fn what_only_looks_like_a_node_is_refused() {
    let cid = leaf(&test_store().store);
    let decode = |fields: &[Vec<u8>]| Node::decode(&cid, &fields.concat());
    assert!(decode(&[folder_data()]).is_ok());
    let refused: [&[Vec<u8>]; 14] = [
        &[],
        &[vec![0x80]],
        &[vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]],
        &[vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]],
        &[vec![0x0a, 5, 1]],
        // A fixed 32-bit field.
        &[vec![0x0d, 0, 0, 0, 0]],
        &[number(1, 1)],
        &[bytes(3, b"")],
        &[folder_data(), folder_data()],
        &[bytes(1, b"")],
        &[bytes(1, &[number(1, 1), number(1, 1)].concat())],
        &[bytes(1, &[number(1, 2), bytes(2, b"x"), bytes(2, b"x")].concat())],
        &[bytes(2, &bytes(1, b"no CID")), folder_data()],
        &[bytes(2, &bytes(2, b"no CID at all")), folder_data()],
    ];
    for fields in refused {
        assert!(matches!(decode(fields), Err(StoreError::Malformed { .. })), "{fields:?}");
    }
    for (kind, what) in [(4, "symbolic link"), (5, "sharded"), (3, "unknown"), (1 << 40, "unknown")] {
        let error = decode(&[bytes(1, &number(1, kind))]).expect_err(what).to_string();
        assert!(error.contains(what), "{error}");
    }
}

/// Nodes, and nodes with mistakes in them.
fn blocks() -> impl Strategy<Value = Vec<u8>> {
    let cid = block_cid(RAW, b"leaf");
    let fields = prop_oneof![
        ("[a-z]{0,3}", any::<u64>()).prop_map(move |(name, size)| link(&cid, &name, size)),
        prop::collection::vec(any::<u64>(), 0..3).prop_map(|parts| file_data(b"inline", &parts)),
        Just(folder_data()),
        (0u64..9, any::<u64>()).prop_map(|(field, value)| bytes(1, &number(field, value))),
        prop::collection::vec(any::<u8>(), 0..8),
    ];
    (prop::collection::vec(fields, 0..5), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(fields, at, value)| {
        let mut block = fields.concat();
        if !block.is_empty() && value < 128 {
            let at = at.index(block.len());
            block[at] = value;
        }
        block
    })
}

proptest! {
    #[test]
    fn no_node_is_too_strange_to_read_or_refuse(block in blocks()) {
        let test = test_store();
        let cid = put_block(&test.store, DAG_PB, &block);
        put_block(&test.store, RAW, b"leaf");
        if let Ok(node) = Node::decode(&cid, &block) {
            prop_assert!(node.file_bytes() == 0 || node.links.iter().all(|link| link.name.is_empty()));
        }
        let _ = files::read_file(&test.store, &cid, 1 << 20);
        let target = test.folder.path().join("target");
        prop_assert_eq!(files::extract(&test.store, &cid, &target, 1 << 20).is_ok(), target.exists());
    }
}
