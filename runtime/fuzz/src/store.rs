//! Archives and DAGs of blocks.

use std::cell::RefCell;
use std::collections::BTreeMap;

use arbitrary::Unstructured;
use cid::Cid;
use fedmkt_core::unixfs::{DAG_PB, Link, RAW, block_cid, directory_block};
use fedmkt_store::files::{self, Node, NodeKind};
use fedmkt_store::{BlockStore, DAG_CBOR, StoreError, car, dag, verify};
use fedmkt_test_kit::dag_pb::{bytes, link, number, put_block};

/// Blocks in memory.
#[derive(Default)]
struct MemoryStore(RefCell<BTreeMap<Cid, Vec<u8>>>);

impl BlockStore for MemoryStore {
    fn get(&self, cid: &Cid) -> Result<Vec<u8>, StoreError> {
        fedmkt_store::check_supported(cid)?;
        self.0.borrow().get(cid).cloned().ok_or(StoreError::Missing(*cid))
    }

    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        Ok(self.0.borrow().contains_key(cid))
    }

    fn put_verified(&self, cid: &Cid, block: &[u8]) -> Result<(), StoreError> {
        self.0.borrow_mut().insert(*cid, block.to_vec());
        Ok(())
    }
}

/// A small folder, and the CID of its top.
fn folder() -> (MemoryStore, Cid) {
    let store = MemoryStore::default();
    let large: Vec<u8> = (0..2_100_000u32).map(|n| (n >> 8) as u8).collect();
    let mut links = Vec::new();
    for (name, content) in [("a", &b"1"[..]), ("b", b""), ("c", &large)] {
        let link = files::add_file(&store, content).expect("added");
        links.push(Link { name: name.into(), ..link });
    }
    let block = directory_block(links);
    let cid = block_cid(DAG_PB, &block);
    store.put_verified(&cid, &block).expect("kept");
    (store, cid)
}

pub fn archives() -> Vec<Vec<u8>> {
    let (store, cid) = folder();
    let leaf = files::add_file(&store, &b"leaf"[..]).expect("added").cid;
    let value = fedmkt_core::dagcbor::encode(&vec![cid, leaf]);
    let top = block_cid(DAG_CBOR, &value);
    store.put_verified(&top, &value).expect("kept");
    let archive = |roots: &[Cid]| {
        let mut archive = Vec::new();
        car::export(&store, roots, &mut archive).expect("exported");
        archive
    };
    // The large file is left out: its archive is two megabytes.
    vec![archive(&[leaf]), archive(&[]), archive(&[leaf, leaf])]
}

/// An archive: what it leaves in a store is right; what is exported from there comes back.
pub fn car(input: &[u8]) -> bool {
    let store = MemoryStore::default();
    let roots = car::import(&store, input);
    for (cid, block) in store.0.borrow().iter() {
        verify(cid, block).expect("it was checked");
    }
    let Ok(roots) = roots else { return false };
    let mut exported = Vec::new();
    if car::export(&store, &roots, &mut exported).is_ok() {
        let again = MemoryStore::default();
        assert_eq!(car::import(&again, exported.as_slice()).expect("what was exported"), roots);
        assert!(again.0.borrow().iter().all(|(cid, block)| store.0.borrow().get(cid) == Some(block)));
        let mut twice = Vec::new();
        car::export(&again, &roots, &mut twice).expect("it is all there");
        assert_eq!(twice, exported);
    }
    true
}

pub fn dags() -> Vec<Vec<u8>> {
    let (store, _) = folder();
    let blocks = store.0.borrow();
    let nodes = blocks.iter().filter(|(cid, _)| cid.codec() == DAG_PB);
    let mut seeds: Vec<_> = nodes.map(|(_, block)| [&[0], block.as_slice()].concat()).collect();
    seeds.extend(crate::seeds::bytes().into_iter().map(|bytes| [&[1], bytes.as_slice()].concat()));
    seeds
}

/// A block that stands in the input, or a DAG that is made of it: reading it ends, within its limits, with what the
/// blocks say.
pub fn unixfs(input: &[u8]) -> bool {
    let store = MemoryStore::default();
    let root = match input.split_first() {
        Some((0, block)) => put_block(&store, DAG_PB, block),
        Some((_, recipe)) => match build(&store, &mut Unstructured::new(recipe)) {
            Ok(root) => root,
            Err(_) => return false,
        },
        None => return false,
    };
    const MOST: u64 = 1 << 16;
    if let Ok(content) = files::read_file(&store, &root, MOST) {
        assert!(content.len() as u64 <= MOST);
        if root.codec() == DAG_PB {
            let block = store.get(&root).expect("kept");
            let node = Node::decode(&root, &block).expect("it was read");
            assert!(matches!(node.kind, NodeKind::File { .. }));
            assert_eq!(node.file_bytes(), content.len() as u64);
        }
        let added = files::add_file(&store, content.as_slice()).expect("added");
        assert_eq!(files::read_file(&store, &added.cid, MOST).expect("just added"), content);
    }
    let mut left = 1000;
    let mut last: Option<String> = None;
    let _ = files::visit_tree(&store, &root, |entry| {
        assert!(last.as_ref().is_none_or(|last| last != entry.path), "each path once");
        assert!(!entry.path.split('/').any(|name| matches!(name, "." | "..")) && !entry.path.starts_with('/'));
        last = Some(entry.path.to_string());
        left -= 1;
        if left == 0 { Err(StoreError::Missing(root)) } else { Ok(()) }
    });
    let mut blocks = 0;
    if dag::walk(&store, &[root], |_, _| {
        blocks += 1;
        Ok(())
    })
    .is_ok()
    {
        assert!(blocks <= store.0.borrow().len());
    }
    true
}

/// Blocks that link to those before them; gives the last one.
fn build(store: &MemoryStore, from: &mut Unstructured<'_>) -> arbitrary::Result<Cid> {
    let mut made = vec![(put_block(store, RAW, b"leaf"), 4u64)];
    while !from.is_empty() && made.len() < 64 {
        let (cid, bytes) = match from.int_in_range(0..=3)? {
            0 => {
                let content = from.bytes_of_at_most(300)?;
                (put_block(store, RAW, &content), content.len() as u64)
            }
            1 => {
                let mut links = Vec::new();
                for index in 0..from.int_in_range(0..=4)? {
                    let (cid, bytes) = made[from.choose_index(made.len())?];
                    let names = ["", "a", "b", "..", "x/y", "\u{1}", "long name"];
                    let name = if from.ratio(3, 4)? { format!("{index}") } else { (*from.choose(&names)?).to_string() };
                    links.push(Link { cid, name, tree_bytes: bytes });
                }
                (put_block(store, DAG_PB, &directory_block(links)), 0)
            }
            _ => {
                let inline = from.bytes_of_at_most(20)?;
                let (mut links, mut sizes) = (Vec::new(), Vec::new());
                for _ in 0..from.int_in_range(0..=4)? {
                    let (cid, bytes) = made[from.choose_index(made.len())?];
                    let said = if from.ratio(9, 10)? { bytes } else { from.arbitrary()? };
                    links.extend(link(&cid, "", bytes));
                    sizes.push(said);
                }
                let data = bytes(
                    1,
                    &[number(1, 2), bytes(2, &inline), sizes.iter().flat_map(|size| number(4, *size)).collect()]
                        .concat(),
                );
                let total = sizes.iter().fold(inline.len() as u64, |sum, size| sum.wrapping_add(*size));
                (put_block(store, DAG_PB, &[links, data].concat()), total)
            }
        };
        made.push((cid, bytes));
    }
    Ok(made[made.len() - 1].0)
}

trait AtMost {
    fn bytes_of_at_most(&mut self, most: usize) -> arbitrary::Result<Vec<u8>>;
}

impl AtMost for Unstructured<'_> {
    fn bytes_of_at_most(&mut self, most: usize) -> arbitrary::Result<Vec<u8>> {
        let length = self.int_in_range(0..=most)?.min(self.len());
        Ok(self.bytes(length)?.to_vec())
    }
}
