//! What the contracts must compute as this crate does: `contracts/test/vectors/core.json`.
//!
//! The test fails when the file is not what this crate says. `FEDMKT_BLESS=1` writes it anew.

use cid::Cid;
use cid::multihash::Multihash;
use fedmkt_core::image::{Header, ResultCommitment, Status};
use fedmkt_core::inputs::market_run_id;
use fedmkt_core::manifest::{MAX_RESULTS, PROFILE, SizeClass};
use fedmkt_core::roots::{Blind, DataRoot, Hash, JobRoot, ResultRoot, RunId, StateRoot};
use fedmkt_core::trace::{self, FAN_OUT, Level};
use fedmkt_core::tree::{self, HashTree, PAGE_BYTES};
use serde_json::{Value, json};

/// 32 bytes that look random and are always the same for the same label.
fn noise(label: &str) -> [u8; 32] {
    tree::keccak256(label.as_bytes()).0
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_string(), |text, byte| text + &format!("{byte:02x}"))
}

fn result(label: &str, codec: u64) -> ResultCommitment {
    let digest = Multihash::wrap(0x12, &noise(&format!("{label} digest"))).expect("32 bytes fit a multihash");
    let [size, ..] = noise(&format!("{label} size"));
    ResultCommitment {
        size: u64::from(size) << 32,
        root: ResultRoot(noise(&format!("{label} root"))),
        cid: Cid::new_v1(codec, digest),
    }
}

/// Headers of first and last states.
fn headers() -> Vec<Value> {
    let ends = [
        (Status::Done, 1),
        (Status::Done, 2),
        (Status::Done, 4),
        (Status::Done, 5),
        (Status::Done, MAX_RESULTS),
        (Status::DataRefused, 0),
        (Status::Failed(-1), 0),
        (Status::Failed(7), 0),
        (Status::Trapped, 0),
        (Status::StepsExhausted, 0),
        (Status::ResultsRefused, 0),
    ];
    let classes = SizeClass::ALL.into_iter().cycle();
    let cases = ends.into_iter().zip(classes).enumerate();
    cases
        .map(|(index, ((status, results), class))| {
            let word = |name: &str| noise(&format!("header {index} {name}"));
            let first = Header {
                run_id: RunId(word("run")),
                job_root: JobRoot(word("job")),
                data_root: DataRoot(word("data")),
                blind: Blind(word("blind")),
                steps: 0,
                status: Status::Running,
                memory_bytes: 0,
                results: Vec::new(),
            };
            let last = Header {
                steps: (1 << 47) + index as u64,
                status,
                results: (0..results)
                    .map(|file| result(&format!("header {index} file {file}"), [0x55, 0x70][file % 2]))
                    .collect(),
                ..first.clone()
            };
            let files: Vec<Value> = last
                .results
                .iter()
                .map(|file| {
                    let (digest, codec) = (hex(file.cid.hash().digest()), file.cid.codec());
                    json!({ "size": file.size, "root": file.root, "digest": digest, "codec": codec })
                })
                .collect();
            let exit_code = if let Status::Failed(code) = status { code as u32 } else { 0 };
            json!({
                "class": class as u8,
                "run_id": first.run_id,
                "job_root": first.job_root,
                "data_root": first.data_root,
                "blind_hash": tree::keccak256(&first.blind.0),
                "steps": last.steps,
                "status": status.code(),
                "exit_code": exit_code,
                "files": files,
                "first": first.root_alone(class.log2_state()),
                "last": last.root_alone(class.log2_state()),
            })
        })
        .collect()
}

/// Levels of a trace, with a proof of their last leaf.
fn levels() -> Vec<Value> {
    let counts = [1, 2, 3, 5, 128, 129, 255, FAN_OUT as usize];
    counts
        .into_iter()
        .map(|count| {
            let leaves: Vec<StateRoot> =
                (0..count).map(|leaf| StateRoot(noise(&format!("level {count} leaf {leaf}")))).collect();
            let bytes: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.0).collect();
            let mut pages = [[0; PAGE_BYTES]; 2];
            pages.as_flattened_mut()[..bytes.len()].copy_from_slice(&bytes);
            let mut level = HashTree::new(13);
            level.update(&[(0, &pages[0]), (1, &pages[1])]);
            assert_eq!(level.root(), trace::level_root(&leaves));
            let address = 32 * (count - 1);
            let proof = level.proof_in_page(address as u64, 5, &pages[address / PAGE_BYTES]);
            json!({ "leaves": leaves, "root": level.root(), "siblings": proof.siblings })
        })
        .collect()
}

/// Runs, and how the level of a part is cut in turn until it is one step.
fn cuts() -> Vec<Value> {
    let runs: [(u64, u64, &[u64]); 5] = [
        (1, 1, &[0]),
        (1_000_001, 70_000, &[2, 1, 17, 111]),
        (1_000_001, 70_000, &[14, 78, 32]),
        (1 << 48, 1 << 48, &[0, 255, 255, 255, 255, 255, 255]),
        ((1 << 48) - 1, 1 << 40, &[255, 255, 255, 255, 255, 254]),
    ];
    runs.into_iter()
        .map(|(steps, steps_per_segment, path)| {
            let mut level = Level::top(steps, steps_per_segment);
            let cut: Vec<Value> = path
                .iter()
                .map(|&index| {
                    let parts = level.parts();
                    assert!(index < parts, "{index} of {parts}");
                    let first = level.first + index * level.part;
                    // A part of one step has no level below; contracts say so by its being its own only part.
                    level = level.below(index).unwrap_or(Level { first, steps: 1, part: 1 });
                    json!({ "parts": parts, "index": index, "first": level.first, "steps": level.steps, "part": level.part })
                })
                .collect();
            assert_eq!(level.steps, 1);
            json!({ "steps": steps, "steps_per_segment": steps_per_segment, "cut": cut })
        })
        .collect()
}

/// Replacing three nodes of a larger tree, one after the other.
fn splices() -> Vec<Value> {
    const LOG2: u32 = 30;
    let mut pages: Vec<(u64, [u8; PAGE_BYTES])> = Vec::new();
    let mut machine = HashTree::new(LOG2);
    let mut put = |machine: &mut HashTree, page: u64, label: &str| {
        pages.push((page, std::array::from_fn(|byte| noise(label)[byte % 32])));
        machine.update(&[(page, &pages.last().expect("a page").1)]);
    };
    put(&mut machine, 0, "splice program");
    [(0x100_0000, 24), (0x400_0000, 26), (0x2000_0000, 27)]
        .into_iter()
        .map(|(address, log2_size)| {
            let before = machine.proof(address, log2_size);
            let old_root = machine.root();
            put(&mut machine, address >> 12, &format!("splice {address}"));
            let new = machine.node(address, log2_size);
            json!({
                "old_root": old_root,
                "old": before.target,
                "new": new,
                "index": address >> log2_size,
                "depth": LOG2 - log2_size,
                "siblings": before.siblings,
                "new_root": machine.root(),
            })
        })
        .collect()
}

fn run_ids() -> Vec<Value> {
    (0..3)
        .map(|index| {
            let word = |name: &str| noise(&format!("run {index} {name}"));
            let account = |name: &str| -> [u8; 20] { *word(name).last_chunk().expect("20 of 32 bytes") };
            let (market, client, data_root) = (account("market"), account("client"), DataRoot(word("data")));
            let chain_id = 1 << (20 * index);
            let run_id = market_run_id(chain_id, &market, &word("slot"), &client, data_root, &word("randomness"));
            json!({
                "chain_id": chain_id,
                "market": hex(&market),
                "slot": hex(&word("slot")),
                "client": hex(&client),
                "data_root": data_root,
                "randomness": hex(&word("randomness")),
                "run_id": run_id,
            })
        })
        .collect()
}

#[test]
fn the_vectors_of_the_contracts_are_what_this_crate_says() {
    let zeros: Vec<Hash> = tree::zero_roots()[5..=30].to_vec();
    let vectors = json!({
        "profile": PROFILE,
        "zeros": zeros,
        "headers": headers(),
        "levels": levels(),
        "cuts": cuts(),
        "splices": splices(),
        "run_ids": run_ids(),
    });
    let text = format!("{vectors:#}\n");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contracts/test/vectors/core.json");
    if std::env::var_os("FEDMKT_BLESS").is_some() {
        std::fs::write(path, &text).expect("the vectors can be written");
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == text, "{path} is stale: run this test with FEDMKT_BLESS=1 and look at the difference");
}
