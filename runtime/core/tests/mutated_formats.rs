//! Decoders of what strangers send, on bytes that were right before something was changed: they never panic, and what
//! they accept is what they would have written.

#[path = "support/changes.rs"]
mod changes;

use std::path::Path;
use std::sync::Arc;

use changes::{apply, changes};
use fedmkt_core::dagcbor;
use fedmkt_core::image::Header;
use fedmkt_core::inputs::{Inputs, MANIFEST_PATH, MODEL_PATH, TRAINER_PATH};
use fedmkt_core::manifest::Manifest;
use fedmkt_core::pack::{Kind, Layout, Pack, set_salt};
use fedmkt_core::receipt::Body;
use fedmkt_core::tree::PAGE_BYTES;
use proptest::prelude::*;
use serde_json::Value;

/// Blocks that the reference's vectors say are right.
fn accepted(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/vectors");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).expect("the vectors");
    let vectors: Value = serde_json::from_str(&text).expect("JSON");
    let blocks = vectors["accepted"].as_array().expect("a list").iter();
    blocks.map(|block| unhex(block["block"].as_str().expect("a block"))).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|digit| digit.to_digit(16).expect("a digit") as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn pack(files: &[(&str, &[u8])]) -> Vec<u8> {
    let entries = files.iter().map(|(path, content)| ((*path).to_string(), Kind::File(content.len() as u64)));
    let layout = Layout::new(entries).expect("a tree");
    let mut bytes = vec![0; layout.total_bytes() as usize];
    bytes[..layout.front().len()].copy_from_slice(layout.front());
    for (path, offset, length) in layout.files() {
        let (_, content) = files.iter().find(|(name, _)| *name == path).expect("a file");
        bytes[offset as usize..][..length as usize].copy_from_slice(content);
    }
    bytes
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn manifests(which in any::<prop::sample::Index>(), changes in changes(4)) {
        let blocks = accepted("manifest");
        let mut block = which.get(&blocks).clone();
        apply(&changes, &mut block);
        if let Ok(manifest) = Manifest::decode(&block) {
            prop_assert_eq!(manifest.encode(), block);
            prop_assert!(manifest.check().is_empty());
        }
    }

    #[test]
    fn receipts(which in any::<prop::sample::Index>(), changes in changes(4)) {
        let blocks = accepted("receipt");
        let mut block = which.get(&blocks).clone();
        apply(&changes, &mut block);
        if let Ok(body) = dagcbor::decode::<Body>(&block) {
            prop_assert_eq!(dagcbor::encode(&body), block);
            let _ = body.is_consistent();
        }
    }

    #[test]
    fn values_of_any_shape(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = (Manifest::decode(&bytes), dagcbor::decode::<Body>(&bytes));
    }

    #[test]
    fn headers_of_state_images(words in prop::collection::vec((0usize..32, 0usize..32, any::<u8>()), 0..4), done in any::<bool>()) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/vectors/header.json");
        let vectors: Value = serde_json::from_str(&std::fs::read_to_string(folder).expect("the vectors")).expect("JSON");
        let one = &vectors["accepted"][if done { 2 } else { 1 }]["page"];
        let mut page = [0; PAGE_BYTES];
        let mut at = 0;
        for part in one.as_array().expect("parts") {
            match part["hex"].as_str().map(unhex) {
                Some(bytes) => {
                    page[at..at + bytes.len()].copy_from_slice(&bytes);
                    at += bytes.len();
                }
                None => at += part["zeros"].as_u64().expect("a number") as usize,
            }
        }
        prop_assert!(Header::decode(&page).is_ok());
        for (word, byte, value) in words {
            page[word * 32 + byte] = value;
        }
        if let Ok(header) = Header::decode(&page) {
            prop_assert_eq!(header.encode(), page);
        }
    }

    #[test]
    fn packs(changes in changes(5)) {
        let mut bytes = pack(&[("a", b"1"), ("b/c", &[7; 5000]), ("b/d/e", b""), ("\u{e9}", b"x")]);
        // Most of the first page is reserved, and content means nothing: what is changed is moved to where it does.
        let mut front: Vec<u8> = [&bytes[..88], &bytes[PAGE_BYTES..PAGE_BYTES + 120]].concat();
        apply(&changes, &mut front);
        front.resize(208, 0);
        bytes[..88].copy_from_slice(&front[..88]);
        bytes[PAGE_BYTES..PAGE_BYTES + 120].copy_from_slice(&front[88..]);
        if let Ok(pack) = Pack::open(Arc::new(bytes.clone())) && pack.check_padding().is_ok() {
            prop_assert_eq!(packed_again(&pack), bytes);
        }
    }

    #[test]
    fn inputs(changes in changes(3), in_manifest in any::<bool>()) {
        let mut manifest = accepted("manifest").swap_remove(0);
        if in_manifest {
            apply(&changes, &mut manifest);
        }
        let trainer = b"\0asm\x01\0\0\0";
        let mut job = pack(&[(MANIFEST_PATH, &manifest), (MODEL_PATH, b"model"), (TRAINER_PATH, trainer)]);
        if !in_manifest {
            apply(&changes, &mut job);
        }
        if let Ok(inputs) = Inputs::open(Arc::new(job), Arc::new(pack(&[("f", b"1")]))) {
            prop_assert!(inputs.manifest().check().is_empty());
            prop_assert!(inputs.admit().is_err(), "it exports nothing");
        }
    }
}

/// Nesting, lengths and numbers that a decoder must not believe.
#[test]
fn values_that_claim_more_than_they_hold_are_refused() {
    let deep = |open: u8| vec![open; 1 << 20];
    let claims: [Vec<u8>; 8] = [
        deep(0x81),
        deep(0x82),
        [vec![0xa1, 0x60], deep(0x81)].concat(),
        deep(0xd8),
        vec![0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0xbb, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0x5b, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ];
    for claim in claims {
        assert!(Manifest::decode(&claim).is_err());
        assert!(dagcbor::decode::<Body>(&claim).is_err());
        // The same in the place of a value.
        for mut block in [accepted("manifest").swap_remove(0), accepted("receipt").swap_remove(0)] {
            let middle = block.len() / 2;
            block.splice(middle..middle, claim.iter().copied());
            assert!(Manifest::decode(&block).is_err());
            assert!(dagcbor::decode::<Body>(&block).is_err());
        }
    }
}
