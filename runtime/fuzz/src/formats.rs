//! Blocks and packs: they are refused, or are what would have been written.

use std::sync::Arc;

use fedmkt_core::dagcbor;
use fedmkt_core::inputs::{Inputs, MANIFEST_PATH, MODEL_PATH, TRAINER_PATH};
use fedmkt_core::manifest::Manifest;
use fedmkt_core::pack::{Kind, Layout, Pack, set_salt};
use fedmkt_core::receipt::Body;
use fedmkt_core::tree::PAGE_BYTES;

use crate::seeds::{accepted, pack};

const NO_TRAINER: &[u8] = b"\0asm\x01\0\0\0";

pub fn manifests() -> Vec<Vec<u8>> {
    accepted("manifest")
}

pub fn manifest(block: &[u8]) -> bool {
    let Ok(manifest) = Manifest::decode(block) else { return false };
    assert_eq!(manifest.encode(), block);
    assert!(manifest.check().is_empty());
    // A job drive with it can be opened, unless the data is too large for it.
    let job = pack(&[(MANIFEST_PATH, block), (MODEL_PATH, b"model"), (TRAINER_PATH, NO_TRAINER)]);
    if let Ok(inputs) = Inputs::open(Arc::new(job), Arc::new(pack(&[("f", b"1")]))) {
        assert!(inputs.admit().is_err(), "it exports nothing");
    }
    true
}

pub fn receipts() -> Vec<Vec<u8>> {
    accepted("receipt")
}

pub fn receipt(block: &[u8]) -> bool {
    let Ok(body) = dagcbor::decode::<Body>(block) else { return false };
    assert_eq!(dagcbor::encode(&body), block);
    body.is_consistent();
    true
}

/// Bytes of the first page that mean something; what follows them in an input stands from the second page on.
const FRONT: usize = 88;

pub fn capsules() -> Vec<Vec<u8>> {
    let files: [&[(&str, &[u8])]; 3] = [
        &[("a", b"1"), ("b/c", &[7; 300]), ("b/d/e", b""), ("\u{e9}", b"x")],
        &[],
        &[(MANIFEST_PATH, b"manifest"), (MODEL_PATH, b"model"), (TRAINER_PATH, NO_TRAINER)],
    ];
    let short = |pack: Vec<u8>| {
        let rest = pack.get(PAGE_BYTES..).unwrap_or_default();
        [&pack[..FRONT.min(pack.len())], rest].concat()
    };
    files.into_iter().map(|files| short(pack(files))).collect()
}

pub fn capsule(input: &[u8]) -> bool {
    let mut bytes = input.to_vec();
    if let Some((front, rest)) = input.split_at_checked(FRONT) {
        bytes = front.to_vec();
        bytes.resize(PAGE_BYTES, 0);
        bytes.extend(rest);
    }
    let Ok(pack) = Pack::open(Arc::new(bytes.clone())) else { return false };
    assert!(pack.total_bytes() <= bytes.len() as u64);
    // What follows the pack on a drive is no part of it.
    bytes.truncate(pack.total_bytes() as usize);
    let paths: Vec<_> = pack.entries().map(|entry| entry.path.to_string()).collect();
    assert!(paths.iter().enumerate().all(|(number, path)| pack.find(path) == Some(number as u32)));
    if pack.check_padding().is_ok() {
        assert_eq!(packed_again(&pack), bytes);
    }
    true
}

/// What is in a pack, packed anew.
fn packed_again(pack: &Pack) -> Vec<u8> {
    let kind = |content: Option<&[u8]>| content.map_or(Kind::Directory, |content| Kind::File(content.len() as u64));
    let layout =
        Layout::new(pack.entries().map(|entry| (entry.path.to_string(), kind(entry.content)))).expect("a tree");
    let mut bytes = vec![0; layout.total_bytes() as usize];
    bytes[..layout.front().len()].copy_from_slice(layout.front());
    for (path, offset, length) in layout.files() {
        bytes[offset as usize..][..length as usize].copy_from_slice(pack.file(path).expect("a file"));
    }
    set_salt(bytes.first_chunk_mut().expect("a page"), pack.salt());
    bytes
}
