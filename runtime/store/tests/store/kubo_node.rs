//! A Kubo node that runs: what is handed to it by RPC, and what it gives by RPC and as a gateway.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use cid::Cid;
use fedmkt_core::unixfs::RAW;
use fedmkt_store::{
    BlockStore, CachedStore, DAG_CBOR, Endpoint, FolderStore, Kubo, Network, Patience, StoreError, car, files,
    put_value,
};
use fedmkt_test_kit::dag_pb::put_block;
use fedmkt_test_kit::kubo::Daemon;

use crate::stream::stream;
use crate::test_store::{TestStore, test_store};
use crate::vectors;

const MOST: u64 = 1 << 30;

fn patience() -> Patience {
    let mut patience = Patience::default();
    patience.pause = Duration::from_millis(1);
    patience
}

fn node(daemon: &Daemon) -> Kubo {
    Kubo::new(daemon.rpc.clone(), patience()).expect("a node")
}

/// Files of all kinds in folders, and an empty one.
fn tree(test: &TestStore) -> (std::path::PathBuf, Cid) {
    let folder = test.folder.path().join("tree");
    let entries = [
        ("empty", Some(0)),
        ("one block", Some(1 << 20)),
        ("more/blocks", Some((3 << 20) + 1)),
        ("more/and more/.hidden", Some(5)),
        ("nothing", None),
    ];
    vectors::write_folder(&folder, &entries.map(|(path, bytes)| (path.to_owned(), bytes)).into());
    let cid = files::add_tree(&test.store, &folder).expect("a folder").cid;
    (folder, cid)
}

/// A file of four parts of an upload.
fn large(test: &TestStore) -> Cid {
    files::add_file(&test.store, stream(64 << 20)).expect("a file").cid
}

fn archive_of(store: &impl BlockStore, root: &Cid) -> Vec<u8> {
    let mut archive = Vec::new();
    car::export(store, &[*root], &mut archive).expect("an archive");
    archive
}

#[test]
fn kubo_has_the_same_cids_and_gives_back_what_was_uploaded() {
    let Some(daemon) = Daemon::find("kubo_has_the_same_cids_and_gives_back_what_was_uploaded") else { return };
    let (test, node) = (test_store(), node(&daemon));
    let (folder, tree) = tree(&test);
    let added = daemon.repository.run(&[
        "add",
        "--recursive",
        "--hidden",
        "--quieter",
        "--pin=false",
        "--only-hash",
        folder.to_str().expect("a path"),
    ]);
    assert_eq!(added, tree.to_string());
    let value = put_value(&test.store, &BTreeMap::from([("tree", tree)])).expect("a value");
    let empty_file = files::add_file(&test.store, &b""[..]).expect("a file").cid;
    let empty_folder = test.folder.path().join("empty");
    fs::create_dir(&empty_folder).expect("a folder");
    let empty_folder = files::add_tree(&test.store, &empty_folder).expect("a folder").cid;
    for root in [value, tree, empty_file, empty_folder] {
        assert!(!node.is_pinned(&root).expect("an answer"), "{root}");
        let mut told = 0;
        let uploaded = node.upload(&test.store, &root, |bytes| told = bytes).expect("an upload");
        assert_eq!(told, uploaded.bytes, "{root}");
        assert!(node.is_pinned(&root).expect("an answer"), "{root}");
        assert_eq!(node.upload(&test.store, &root, |_| ()).expect("nothing to do"), Default::default(), "{root}");
    }
    let back = test.folder.path().join("back");
    daemon.repository.run(&["get", "--output", back.to_str().expect("a path"), &tree.to_string()]);
    assert_eq!(files::add_tree(&test.store, &back).expect("a folder").cid, tree);
    // Nothing but our blocks is there: what is no longer pinned can be collected, and then nothing is left.
    assert!(node.unpin(&value).expect("an answer") && !node.unpin(&value).expect("an answer"));
    for root in [tree, empty_file, empty_folder] {
        assert!(node.unpin(&root).expect("an answer"), "{root}");
    }
    daemon.repository.run(&["repo", "gc"]);
    // But for the empty folder, which every node has.
    let of_its_own = Cid::new_v1(RAW, *empty_folder.hash());
    assert_eq!(daemon.repository.run(&["refs", "local"]), of_its_own.to_string());
}

#[test]
fn single_blocks_go_to_kubo_and_back() {
    let Some(daemon) = Daemon::find("single_blocks_go_to_kubo_and_back") else { return };
    let (test, node) = (test_store(), node(&daemon));
    let (_, tree) = tree(&test);
    let value = put_value(&test.store, &"value").expect("a value");
    assert_eq!(value.codec(), DAG_CBOR);
    let leaf = put_block(&test.store, RAW, &[7; 2 << 20]);
    for cid in [tree, value, leaf] {
        assert!(!node.has(&cid).expect("an answer"));
        let error = node.get(&cid).expect_err("it is not there");
        assert!(error.to_string().contains("does not have it"), "{error}");
        let block = test.store.get(&cid).expect("a block");
        node.put(&cid, &block).expect("the node takes it");
        assert!(node.has(&cid).expect("an answer"));
        assert_eq!(node.get(&cid).expect("a block"), block);
    }
    assert!(matches!(node.put(&leaf, b"wrong"), Err(StoreError::Damaged { .. })));
    let error = node.pin(&tree).expect_err("what is below is not there");
    assert!(error.to_string().contains("does not have everything below"), "{error}");
}

#[test]
fn who_has_only_the_cid_gets_everything_from_kubo() {
    let Some(daemon) = Daemon::find("who_has_only_the_cid_gets_everything_from_kubo") else { return };
    let test = test_store();
    let (_, tree) = tree(&test);
    let root = put_value(&test.store, &BTreeMap::from([("tree", tree)])).expect("a value");
    node(&daemon).upload(&test.store, &root, |_| ()).expect("an upload");
    let nobody: Endpoint = "http://127.0.0.1:1".parse().expect("an address");
    let ways: [(Option<Endpoint>, Vec<Endpoint>); 4] = [
        (Some(daemon.rpc.clone()), vec![]),
        (None, vec![daemon.gateway.clone()]),
        (None, vec![nobody.clone(), daemon.gateway.clone()]),
        (Some(nobody), vec![daemon.gateway.clone()]),
    ];
    for (rpc, gateways) in ways {
        let other = test_store();
        let about = format!("{rpc:?} {gateways:?}");
        let network = Network::new(rpc, gateways, patience()).expect("a network");
        let store = CachedStore::new(FolderStore::new(other.store.folder()), Some(network));
        store.pin(&root, MOST).expect("everything");
        assert_eq!(archive_of(&other.store, &root), archive_of(&test.store, &root), "{about}");
        // And block by block.
        let one = test_store();
        let network = store.network().expect("a network");
        for (cid, _) in test.store.blocks().expect("blocks") {
            one.store.put(&cid, &network.block(&cid).expect("a block")).expect("a right block");
        }
        one.store.pin(&root).expect("everything");
        let absent = fedmkt_core::unixfs::block_cid(RAW, b"absent");
        let error = store.get(&absent).expect_err("nobody has it");
        assert!(error.is_absence(), "{about}: {error}");
    }
}

#[test]
fn a_node_that_dies_during_an_upload_loses_nothing() {
    let Some(mut daemon) = Daemon::find("a_node_that_dies_during_an_upload_loses_nothing") else { return };
    let test = test_store();
    let root = large(&test);
    let mut parts = 0;
    let rpc = node(&daemon);
    let uploaded = rpc.upload(&test.store, &root, |_| {
        parts += 1;
        if parts == 1 {
            daemon.kill();
        }
    });
    let error = uploaded.expect_err("nobody is there").to_string();
    assert!(error.contains(&rpc.endpoint().to_string()), "{error}");
    test.store.pin(&root).expect("everything is here");
    daemon.restart();
    let node = node(&daemon);
    assert!(!node.is_pinned(&root).expect("an answer"));
    let uploaded = node.upload(&test.store, &root, |_| ()).expect("an upload");
    assert!(uploaded.sent < uploaded.bytes && uploaded.bytes >= 64 << 20, "{uploaded:?}");
    assert!(node.is_pinned(&root).expect("an answer"));
    assert!(daemon.repository.run(&["repo", "verify"]).contains("verify complete"));
}

#[test]
fn what_kubo_lost_in_the_middle_is_sent_again() {
    let Some(daemon) = Daemon::find("what_kubo_lost_in_the_middle_is_sent_again") else { return };
    let (test, node) = (test_store(), node(&daemon));
    let root = large(&test);
    node.upload(&test.store, &root, |_| ()).expect("an upload");
    node.unpin(&root).expect("an answer");
    let links = files::Node::decode(&root, &test.store.get(&root).expect("a block")).expect("a node").links;
    daemon.repository.run(&["block", "rm", &links[20].cid.to_string()]);
    // Both ends of every part are there.
    let uploaded = node.upload(&test.store, &root, |_| ()).expect("an upload");
    assert_eq!(uploaded.sent, uploaded.bytes);
    assert!(node.is_pinned(&root).expect("an answer"));
}

/// Passes everything on, but breaks the first connection that has brought so many bytes.
fn breaking(target: &Endpoint, after: usize) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let target = target.to_string().replace("http://", "");
    let broken = Arc::new(AtomicBool::new(false));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let node = TcpStream::connect(&target).expect("the node");
            let (mut from, mut to) = (client.try_clone().expect("a socket"), node.try_clone().expect("a socket"));
            let broken = broken.clone();
            thread::spawn(move || {
                let (mut buffer, mut total) = (vec![0; 1 << 16], 0);
                while let Ok(bytes @ 1..) = from.read(&mut buffer) {
                    total += bytes;
                    if total > after && !broken.swap(true, Ordering::Relaxed) {
                        let _ = from.shutdown(Shutdown::Both);
                        break;
                    }
                    if to.write_all(&buffer[..bytes]).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(Shutdown::Both);
            });
            let (mut from, mut to) = (node, client);
            thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    });
    endpoint.parse().expect("an address")
}

#[test]
fn a_connection_that_breaks_during_an_upload_is_made_again() {
    let Some(daemon) = Daemon::find("a_connection_that_breaks_during_an_upload_is_made_again") else { return };
    let test = test_store();
    let root = large(&test);
    let node = Kubo::new(breaking(&daemon.rpc, 10 << 20), patience()).expect("a node");
    let uploaded = node.upload(&test.store, &root, |_| ()).expect("an upload");
    assert_eq!(uploaded.sent, uploaded.bytes);
    assert_eq!(archive_of(&node, &root), archive_of(&test.store, &root));
}
