//! Blocks that claim to hold more than they do.

use std::path::Path;

use fedmkt_core::dagcbor;
use fedmkt_core::manifest::Manifest;
use fedmkt_core::receipt::Body;
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
