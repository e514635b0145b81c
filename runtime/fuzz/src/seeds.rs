//! Where right inputs come from.

use std::path::Path;

use fedmkt_core::pack::{Kind, Layout};
use serde_json::Value;

/// The reference's vectors of this name.
pub fn vectors(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/vectors");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).expect("the vectors");
    serde_json::from_str(&text).expect("JSON")
}

/// Blocks that the vectors say are right.
pub fn accepted(name: &str) -> Vec<Vec<u8>> {
    let vectors = vectors(name);
    let blocks = vectors["accepted"].as_array().expect("a list").iter();
    blocks.map(|block| unhex(block["block"].as_str().expect("a block"))).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|digit| digit.to_digit(16).expect("a digit") as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// A pack of these files.
pub fn pack(files: &[(&str, &[u8])]) -> Vec<u8> {
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

/// What fuzzing this target found worth keeping: the inputs in `corpus/TARGET`.
pub fn kept(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = std::fs::read_dir(folder).expect("the corpus").map(|file| file.expect("a file").path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a file")).collect()
}

/// Bytes without a meaning, for targets that make their own input of them; always the same.
pub fn bytes() -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..8).map(|round| (0..300 << (round % 3)).map(|_| next()).collect()).collect()
}
