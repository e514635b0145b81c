//! CAR archives: whole ones, damaged ones, and other things that are not archives.

use cid::Cid;
use fedmkt_core::unixfs::{RAW, block_cid};
use fedmkt_store::{FolderStore, StoreError, car, files, put_value};
use fedmkt_test_kit::dag_pb::put_folder;
use proptest::prelude::*;

use crate::test_store::test_store;

/// An archive with a folder, files and a value.
fn archive() -> (Vec<u8>, Cid) {
    let test = test_store();
    let leaf = files::add_file(&test.store, &b"leaf"[..]).expect("a file").cid;
    let folder = put_folder(&test.store, &[("a", leaf), ("b", leaf)]);
    let root = put_value(&test.store, &[folder, leaf]).expect("a value");
    let mut archive = Vec::new();
    car::export(&test.store, &[root], &mut archive).expect("an archive");
    (archive, root)
}

fn import(archive: &[u8]) -> (Result<Vec<Cid>, StoreError>, FolderStore, tempfile::TempDir) {
    let test = test_store();
    (car::import(&test.store, archive), test.store, test.folder)
}

fn refused(archive: &[u8]) -> String {
    import(archive).0.expect_err("not an archive").to_string()
}

/// The length of what follows, as archives have it.
fn section(content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 128);
    [&[content.len() as u8], content].concat()
}

#[test]
fn an_archive_comes_back_byte_for_byte() {
    let (archive, root) = archive();
    let (roots, store, _folder) = import(&archive);
    assert_eq!(roots.expect("an archive"), [root]);
    store.pin(&root).expect("everything is there");
    let mut again = Vec::new();
    car::export(&store, &[root], &mut again).expect("an archive");
    assert_eq!(again, archive);
}

#[test]
fn an_archive_that_is_cut_anywhere_is_noticed() {
    let (archive, root) = archive();
    for length in 0..archive.len() {
        let (roots, store, _folder) = import(&archive[..length]);
        // Between two blocks an archive may end; then not everything is there.
        let whole = roots.and_then(|roots| {
            assert_eq!(roots, [root]);
            store.pin(&root)
        });
        assert!(whole.is_err(), "cut at {length}");
        assert_eq!(store.pins().expect("pins").len(), 0);
        assert_eq!(store.verify_all(false).expect("a store").damaged, Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn an_archive_with_a_changed_byte_is_never_believed() {
    let (archive, _) = archive();
    for at in 0..archive.len() {
        let mut changed = archive.clone();
        changed[at] ^= 1;
        let (_, store, _folder) = import(&changed);
        assert_eq!(store.verify_all(false).expect("a store").damaged, Vec::<std::path::PathBuf>::new(), "{at}");
    }
}

#[test]
fn what_is_no_archive_is_refused_with_a_reason() {
    assert_eq!(refused(b""), "not a CAR archive: it is empty");
    assert!(refused(b"PK\x03\x04 something else altogether").contains("not a CAR archive"));
    assert!(refused(&[0xff; 20]).contains("impossible length"));
    // 2^35 - 1 bytes of header.
    assert!(refused(&[0xff, 0xff, 0xff, 0xff, 0x7f]).contains("the limit is"));
    let version_2 = section(&[0xa1, 0x67, b'v', b'e', b'r', b's', b'i', b'o', b'n', 2]);
    assert!(refused(&version_2).contains("version 2, only 1"), "{}", refused(&version_2));
    let (archive, _) = archive();
    assert!(refused(&[&archive[..], &section(b"no CID")].concat()).contains("a CID in it is wrong"));
    assert!(refused(&[&archive[..], &section(b"")].concat()).contains("a CID in it is wrong"));
}

#[test]
fn a_block_that_is_not_what_its_cid_says_ends_the_import() {
    let (archive, _) = archive();
    let cid = block_cid(RAW, b"right");
    let lie = section(&[&cid.to_bytes()[..], b"wrong"].concat());
    let (result, store, _folder) = import(&[&archive[..], &lie].concat());
    assert!(matches!(result, Err(StoreError::Damaged { cid: found, .. }) if found == cid));
    assert!(!fedmkt_store::BlockStore::has(&store, &cid).expect("a store"));
}

#[test]
fn an_export_of_what_is_not_all_there_fails() {
    let test = test_store();
    let absent = block_cid(RAW, b"absent");
    let folder = put_folder(&test.store, &[("absent", absent)]);
    let result = car::export(&test.store, &[folder], Vec::new());
    assert!(matches!(result, Err(StoreError::Missing(cid)) if cid == absent));
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange_to_refuse(bytes in prop::collection::vec(any::<u8>(), 0..200), after in any::<bool>()) {
        let bytes = if after { [archive().0, bytes].concat() } else { bytes };
        let (_, store, _folder) = import(&bytes);
        prop_assert!(store.verify_all(false).expect("a store").damaged.is_empty());
    }
}
