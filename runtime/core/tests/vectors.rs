//! The test vectors of the reference in `docs/`: computed here and compared with the files.
//!
//! `FEDMKT_BLESS=1 cargo test -p fedmkt-core --test vectors` writes the files anew. That a file changes means that
//! results of older versions cannot be reproduced any more.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use cid::Cid;
use fedmkt_core::admission::{self, Form, ModuleLimits};
use fedmkt_core::image::{Header, ResultCommitment, Status};
use fedmkt_core::inputs::{blind, local_run_id, random_seed};
use fedmkt_core::manifest::{
    Audit, DataRequirement, Disclosure, Limits, Machine, Manifest, ManifestError, PROFILE, ResultFile, Reward,
    SizeClass,
};
use fedmkt_core::pack::{Kind, Layout, Pack, set_salt};
use fedmkt_core::receipt::Body;
use fedmkt_core::roots::{DataRoot, Hash, JobRoot, ResultRoot, Salt, StateRoot};
use fedmkt_core::trace::{Level, level_root, trace_root};
use fedmkt_core::tree::{
    HashTree, LOG2_PAGE, PAGE_BYTES, RootBuilder, bytes_root, keccak256, log2_size_for, zero_roots,
};
use fedmkt_core::unixfs::{FileBuilder, FileCid, Link, block_cid, directory_block};
use fedmkt_core::wasi::{Config, Function, METADATA_BYTES, Wasi};
use fedmkt_core::{dagcbor, manifest};
use serde_json::{Value, json};

const DAG_CBOR: u64 = 0x71;
const RAW: u64 = 0x55;

fn check(name: &str, found: &Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/vectors");
    let file = folder.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(found).expect("JSON") + "\n";
    if std::env::var_os("FEDMKT_BLESS").is_some() {
        fs::write(&file, text).expect("the vectors can be written");
        return;
    }
    let known = fs::read_to_string(&file).unwrap_or_default();
    if let Some((line, (known, found))) =
        (1..).zip(known.lines().zip(text.lines())).find(|(_, (known, found))| known != found)
    {
        panic!("{}:{line}: the file says {known}, computed was {found}", file.display());
    }
    assert!(known == text, "{} is not as long as what was computed", file.display());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that are not zero and not all alike; the reference gives the rule.
fn pattern(bytes: usize, seed: u8) -> Vec<u8> {
    (0..bytes as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed).collect()
}

/// Bytes as a list of parts: zeros by their number, others in hexadecimal.
fn parts(mut bytes: &[u8]) -> Value {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        if zeros >= 32 {
            parts.push(json!({ "zeros": zeros }));
            bytes = &bytes[zeros..];
            continue;
        }
        let end = bytes.windows(32).position(|window| window.iter().all(|&byte| byte == 0)).unwrap_or(bytes.len());
        parts.push(json!({ "hex": hex(&bytes[..end]) }));
        bytes = &bytes[end..];
    }
    Value::Array(parts)
}

/// A content of a file or image and its description.
#[derive(Clone)]
struct Content {
    bytes: Vec<u8>,
    parts: Value,
}

fn bytes(bytes: &[u8]) -> Content {
    Content { bytes: bytes.to_vec(), parts: parts(bytes) }
}

fn noise(length: usize, seed: u8) -> Content {
    Content { bytes: pattern(length, seed), parts: json!([{ "pattern": { "bytes": length, "seed": seed } }]) }
}

#[test]
fn tree() {
    let zeros = zero_roots();
    let zeros: Vec<_> = (5..zeros.len()).map(|n| json!({ "log2_size": n, "node": zeros[n] })).collect();
    let mut sparse = noise(4096, 7);
    sparse.bytes.extend_from_slice(&[0; 3 * 4096]);
    sparse.bytes.push(1);
    sparse.parts = json!([sparse.parts[0], { "zeros": 3 * 4096 }, { "hex": "01" }]);
    let images = [
        (bytes(b""), 12),
        (bytes(b"\x01"), 12),
        (noise(4096, 1), 12),
        (noise(4097, 2), 13),
        (noise(20_487, 3), 15),
        (noise(40_000, 4), 24),
        (sparse, 63),
    ];
    let images: Vec<_> = images
        .into_iter()
        .map(|(image, n)| json!({ "image": image.parts, "log2_size": n, "root": bytes_root(&image.bytes, n) }))
        .collect();

    let image = noise(11 * PAGE_BYTES, 5);
    let mut tree = HashTree::new(17);
    tree.update(&(0..).zip(image.bytes.as_chunks::<PAGE_BYTES>().0).collect::<Vec<_>>());
    let mut proofs = Vec::new();
    for (address, size) in [(0u64, 5), (10 * 4096 + 32, 5), (4096 + 1024, 10), (8192, 12), (65_536, 16), (0, 17)] {
        let proof = if size < LOG2_PAGE {
            let page = &image.bytes.as_chunks::<PAGE_BYTES>().0[address as usize / PAGE_BYTES];
            tree.proof_in_page(address, size, page)
        } else {
            tree.proof(address, size)
        };
        let mut add = |proof: &fedmkt_core::tree::Proof| {
            proofs.push(json!({
                "address": proof.address,
                "log2_target_size": proof.log2_target_size,
                "log2_root_size": proof.log2_root_size,
                "target": proof.target,
                "siblings": proof.siblings,
                "holds": proof.verify(&tree.root()),
            }));
        };
        add(&proof);
        for change in 0..5 {
            let mut wrong = proof.clone();
            match change {
                0 => wrong.address ^= 1 << size,
                1 => wrong.target.0[31] ^= 1,
                2 if !wrong.siblings.is_empty() => wrong.siblings[0].0[0] ^= 128,
                3 if size > 5 => wrong.address += 1,
                4 => wrong.siblings.push(Hash::default()),
                _ => continue,
            }
            add(&wrong);
        }
    }
    let proofs = json!({ "image": image.parts, "root": tree.root(), "proofs": proofs });
    check("tree", &json!({ "zeros": zeros, "images": images, "proofs": proofs }));
}

type Files = Vec<(&'static str, Option<Content>)>;

fn write_pack(files: &Files, salt: Salt) -> Vec<u8> {
    let kind = |content: &Option<Content>| match content {
        Some(content) => Kind::File(content.bytes.len() as u64),
        None => Kind::Directory,
    };
    let layout =
        Layout::new(files.iter().map(|(path, content)| ((*path).into(), kind(content)))).expect("a tree of files");
    let mut bytes = vec![0; layout.total_bytes() as usize];
    bytes[..layout.front().len()].copy_from_slice(layout.front());
    for (path, offset, length) in layout.files() {
        let content = files.iter().find(|(name, _)| *name == path).and_then(|(_, content)| content.as_ref());
        bytes[offset as usize..][..length as usize].copy_from_slice(&content.expect("a file").bytes);
    }
    set_salt(bytes.first_chunk_mut().expect("a page"), salt);
    bytes
}

fn folder() -> Files {
    vec![
        ("a-b", Some(bytes(b"1"))),
        ("a/c", Some(bytes(b"two"))),
        ("a/b/d", Some(bytes(b""))),
        ("empty", None),
        ("\u{e9} \u{1f600}.csv", Some(noise(33, 1))),
        ("z", Some(noise(5000, 2))),
    ]
}

#[test]
fn pack() {
    let mut packs = Vec::new();
    for (files, salt) in [
        (vec![], Salt::default()),
        (vec![("x", Some(bytes(b"")))], Salt::default()),
        (folder(), Salt::default()),
        (folder(), Salt([9; 32])),
        (vec![("full", Some(noise(4096, 3))), ("more/full", Some(noise(8192, 4)))], Salt::default()),
    ] {
        let pack = write_pack(&files, salt);
        Pack::open(Arc::new(pack.clone())).expect("a pack").check_padding().expect("zeros");
        let roots: serde_json::Map<_, _> = ["S", "M", "L"]
            .into_iter()
            .zip(SizeClass::ALL)
            .map(|(name, class)| (name.to_string(), json!(bytes_root(&pack, class.log2_data()))))
            .collect();
        let files: Vec<_> = files
            .iter()
            .map(|(path, content)| json!({ "path": path, "content": content.as_ref().map(|content| &content.parts) }))
            .collect();
        packs.push(json!({
            "files": files,
            "salt": salt,
            "pack": parts(&pack),
            "keccak256": keccak256(&pack),
            "data_roots": roots,
        }));
    }

    let mut small = folder();
    small.last_mut().expect("a file").1 = Some(noise(100, 2));
    let good = write_pack(&small, Salt::default());
    let mut refused = Vec::new();
    let mut refuse = |why: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        let opened = Pack::open(Arc::new(bytes.clone())).and_then(|pack| pack.check_padding());
        let error = opened.expect_err("refused").to_string();
        refused.push(json!({ "why": why, "error": error, "pack": parts(&bytes) }));
    };
    refuse("another name", &|bytes| bytes[0] = b'F');
    refuse("another version", &|bytes| bytes[12] = b'2');
    refuse("no zeros after the name", &|bytes| bytes[31] = 1);
    refuse("shorter than a header", &|bytes| bytes.truncate(4095));
    refuse("the rest of the header is not zero", &|bytes| bytes[4095] = 1);
    refuse("one entry more than there is", &|bytes| bytes[64] += 1);
    refuse("one entry less than there is", &|bytes| bytes[64] -= 1);
    refuse("too many entries", &|bytes| bytes[71] = 1);
    refuse("an index larger than the pack", &|bytes| bytes[75] = 1);
    refuse("cut short by a page", &|bytes| bytes.truncate(bytes.len() - 4096));
    refuse("a page too long by its own word", &|bytes| {
        bytes[81] += 16;
        bytes.resize(bytes.len() + 4096, 0);
    });
    refuse("unknown kind", &|bytes| bytes[4096] = 2);
    refuse("a directory with content", &|bytes| bytes[4096 + 3] = 1);
    refuse("a parent that is a file", &|bytes| bytes[4096] = 1);
    refuse("out of order", &|bytes| bytes[4096 + 11] = b'z');
    refuse("no UTF-8", &|bytes| bytes[4096 + 11] = 0xff);
    refuse("an empty component", &|bytes| bytes[4096 + 11] = b'/');
    refuse("a dot", &|bytes| bytes[4096 + 11] = b'.');
    refuse("a backslash", &|bytes| bytes[4096 + 11] = b'\\');
    refuse("a control character", &|bytes| bytes[4096 + 11] = 0x1f);
    refuse("no parent", &|bytes| bytes[4096 + 11] = b'Z');
    refuse("a byte between contents", &|bytes| {
        let at = bytes.windows(3).position(|window| window == b"two").expect("a content") + 3;
        bytes[at] = 1;
    });
    refuse("a byte after the last content", &|bytes| *bytes.last_mut().expect("a byte") = 1);
    refuse("a byte after the pack", &|bytes| bytes.extend_from_slice(&[0, 1]));
    check("pack", &json!({ "packs": packs, "refused": refused }));
}

#[test]
fn unixfs() {
    const MIB: usize = 1 << 20;
    let zeros = |length: usize| Content { bytes: vec![0; length], parts: json!([{ "zeros": length }]) };
    let mut files = Vec::new();
    for content in
        [bytes(b""), bytes(b"hello\n"), noise(MIB, 1), noise(MIB + 1, 2), noise(3 * MIB, 3), zeros(5 * MIB + 17)]
    {
        let mut last = (0, Vec::new());
        let mut builder = FileBuilder::new(|cid: &Cid, block: &[u8]| {
            last = (cid.codec(), block.to_vec());
            Ok::<(), std::convert::Infallible>(())
        });
        builder.push(&content.bytes).expect("no error");
        let link = builder.finish().expect("no error");
        let mut case = json!({ "content": content.parts, "cid": link.cid.to_string(), "tree_bytes": link.tree_bytes });
        if last.0 != RAW {
            case["top_block"] = hex(&last.1).into();
        }
        files.push(case);
    }
    // One chunk more than a node has links: the last node of the lower level has a single link.
    let mut large = FileCid::new();
    let chunk = vec![0; MIB];
    (0..1024).for_each(|_| large.push(&chunk));
    large.push(&[0]);
    files.push(json!({ "content": [{ "zeros": 1024 * MIB + 1 }], "cid": large.finish().to_string() }));

    let link = |name: &str, content: &[u8]| Link {
        cid: block_cid(RAW, content),
        name: name.into(),
        tree_bytes: content.len() as u64,
    };
    let mut directories = Vec::new();
    for links in [vec![], vec![link("b", b"two"), link("a", b"one"), link("a-", b""), link("\u{e9}", b"three")]] {
        let entries: Vec<_> = links
            .iter()
            .map(|link| json!({ "name": link.name, "cid": link.cid.to_string(), "tree_bytes": link.tree_bytes }))
            .collect();
        let block = directory_block(links);
        directories.push(json!({
            "entries": entries,
            "block": hex(&block),
            "cid": block_cid(0x70, &block).to_string(),
        }));
    }
    let blocks: Vec<_> = [(RAW, &b"block"[..]), (0x70, b"\x0a\x02\x08\x01"), (DAG_CBOR, b"\xa0")]
        .into_iter()
        .map(|(codec, block)| {
            let cid = block_cid(codec, block);
            json!({ "codec": codec, "block": hex(block), "cid": cid.to_string(), "cid_bytes": hex(&cid.to_bytes()) })
        })
        .collect();
    check("unixfs", &json!({ "files": files, "directories": directories, "blocks": blocks }));
}

fn small_manifest() -> Manifest {
    Manifest {
        version: manifest::VERSION,
        profile: PROFILE.into(),
        name: "example".into(),
        description: String::new(),
        trainer: block_cid(RAW, b"trainer"),
        model: block_cid(RAW, b"model"),
        arguments: vec![],
        steps_per_segment: 1,
        data: DataRequirement {
            name: "data".into(),
            format: "text".into(),
            columns: None,
            shape: None,
            least_rows: 0,
            most_bytes: 1 << 20,
        },
        limits: Limits { memory: 65_536, steps: 3, output: 4096, scratch: 0, open_files: 16, step_seconds: 1 },
        results: vec![ResultFile { name: "model".into(), most_bytes: 100 }],
        disclosure: Disclosure::Open,
        sponsor: None,
        machine: Machine { release: None, class: SizeClass::S },
        reward: None,
    }
}

fn age_recipient(letter: &str) -> String {
    format!("age1{}", letter.repeat(58))
}

fn full_manifest() -> Manifest {
    Manifest {
        name: "Diabetic retinopathy, stage \u{2265} 2".into(),
        description: "Two lines\nof words.".into(),
        model: block_cid(0x70, &directory_block(vec![])),
        arguments: vec!["--epochs".into(), "12".into(), String::new()],
        steps_per_segment: 1000,
        data: DataRequirement {
            name: "clinic_2-a".into(),
            format: "csv".into(),
            columns: Some(vec!["age".into(), "\u{b5}g/l".into(), String::new()]),
            shape: Some(vec![28, 28, 1]),
            least_rows: 200,
            most_bytes: 1 << 30,
        },
        limits: Limits {
            memory: (96 << 20) + 1,
            steps: 256_000,
            output: 10_000,
            scratch: 1,
            open_files: 1024,
            step_seconds: 604_800,
        },
        results: vec![
            ResultFile { name: "weights.safetensors".into(), most_bytes: 9000 },
            ResultFile { name: "metrics.csv".into(), most_bytes: 1000 },
        ],
        disclosure: Disclosure::Audited(Audit {
            auditors: vec![age_recipient("q"), age_recipient("7")],
            per_million: 50_000,
        }),
        sponsor: Some(age_recipient("z")),
        machine: Machine { release: Some("0.1.0".into()), class: SizeClass::L },
        reward: Some(Reward {
            chain_id: 11_155_111,
            market: format!("0x{}", "0aF".repeat(13) + "9"),
            token: format!("0x{}", "00".repeat(20)),
            amount: "115792089237316195423570985008687907853269984665640564039457584007913129639935".into(),
        }),
        ..small_manifest()
    }
}

/// A change that makes a good thing bad, and its name.
type Change<T> = (&'static str, fn(&mut T));

#[test]
fn manifests() {
    let private = Manifest { disclosure: Disclosure::Private, ..small_manifest() };
    let mut accepted = Vec::new();
    for manifest in [small_manifest(), full_manifest(), private] {
        let block = manifest.encode();
        assert_eq!(Manifest::decode(&block).as_ref(), Ok(&manifest));
        accepted.push(json!({ "block": hex(&block), "cid": block_cid(DAG_CBOR, &block).to_string() }));
    }

    let mut refused = Vec::new();
    let rules: &[Change<Manifest>] = &[
        ("version", |m| m.version = 2),
        ("profile", |m| m.profile = "fedmkt-1".into()),
        ("name", |m| m.name = String::new()),
        ("name", |m| m.name = "x".repeat(101)),
        ("name", |m| m.name = "bell\u{7}".into()),
        ("description", |m| m.description = "x".repeat(10_001)),
        ("trainer", |m| m.trainer = block_cid(DAG_CBOR, b"")),
        ("model", |m| m.model = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG".parse().expect("a CID")),
        ("arguments", |m| m.arguments = vec![String::new(); 257]),
        ("arguments", |m| m.arguments = vec!["a\0b".into()]),
        ("arguments", |m| m.arguments = vec!["x".repeat(4097)]),
        ("steps_per_segment", |m| m.steps_per_segment = 0),
        ("steps_per_segment", |m| m.limits.steps = 257),
        ("data.name", |m| m.data.name = "Data".into()),
        ("data.format", |m| m.data.format = String::new()),
        ("data.columns", |m| m.data.columns = Some(vec![])),
        ("data.columns", |m| m.data.columns = Some(vec!["x".repeat(1001)])),
        ("data.shape", |m| m.data.shape = Some(vec![3, 0])),
        ("data.shape", |m| m.data.shape = Some(vec![1; 9])),
        ("data.most_bytes", |m| m.data.most_bytes = 0),
        ("data.most_bytes", |m| m.data.most_bytes = (1 << 24) + 1),
        ("limits.memory", |m| m.limits.memory = 65_535),
        ("limits.steps", |m| m.limits.steps = 0),
        ("limits.output", |m| m.limits.output = 0),
        ("limits.scratch", |m| m.limits.scratch = (1 << 24) + 1),
        ("limits.open_files", |m| m.limits.open_files = 7),
        ("limits.open_files", |m| m.limits.open_files = 1025),
        ("limits.step_seconds", |m| m.limits.step_seconds = 604_801),
        ("limits.output", |m| {
            m.machine.class = SizeClass::L;
            m.limits.output = 65_536 * 4096;
            m.limits.scratch = 1;
        }),
        ("results", |m| m.results = vec![]),
        ("results", |m| {
            m.results = (0..17).map(|n| ResultFile { name: n.to_string(), most_bytes: 1 }).collect();
        }),
        ("results.name", |m| m.results[0].name = "../x".into()),
        ("results.name", |m| m.results[0].name = ".profile".into()),
        ("results.name", |m| m.results.push(m.results[0].clone())),
        ("results.most_bytes", |m| m.results[0].most_bytes = 4097),
        ("disclosure.auditors", |m| {
            m.disclosure = Disclosure::Audited(Audit { auditors: vec![], per_million: 1 });
        }),
        ("disclosure.per_million", |m| {
            m.disclosure = Disclosure::Audited(Audit { auditors: vec![age_recipient("q")], per_million: 0 });
        }),
        ("sponsor", |m| m.sponsor = Some(age_recipient("Q"))),
        ("machine.release", |m| m.machine.release = Some(String::new())),
        ("machine.class", |m| m.limits.memory = 1 << 24),
        ("reward.market", |m| m.reward.as_mut().expect("a reward").market = "0x12".into()),
        ("reward.amount", |m| m.reward.as_mut().expect("a reward").amount = "012".into()),
    ];
    for (field, change) in rules {
        let mut manifest = small_manifest();
        manifest.reward = full_manifest().reward;
        change(&mut manifest);
        let block = manifest.encode();
        match Manifest::decode(&block) {
            Err(ManifestError::Rules(problems)) if problems.iter().any(|problem| problem.field == *field) => {}
            other => panic!("{field}: {other:?}"),
        }
        refused.push(json!({ "why": field, "block": hex(&block) }));
    }

    let good = small_manifest().encode();
    let blocks: &[Change<Vec<u8>>] = &[
        ("a byte after the block", |block| block.push(0)),
        ("cut short", |block| block.truncate(block.len() - 1)),
        ("a field is missing", |block| {
            let at = find(block, b"\x6bdescription\x60");
            block.drain(at..at + 13);
            block[0] -= 1;
        }),
        ("an unknown field", |block| {
            block[0] += 1;
            block.splice(1..1, *b"\x61x\x00");
        }),
        ("keys out of order", |block| {
            let at = find(block, b"\x64name");
            let field: Vec<u8> = block.drain(at..at + 13).collect();
            block.extend_from_slice(&field);
        }),
        ("a number that is not in its shortest form", |block| {
            let at = find(block, b"\x67version\x01") + 8;
            block.splice(at..=at, [0x18, 1]);
        }),
        ("a text of indefinite length", |block| {
            let at = find(block, b"\x64name\x67example") + 5;
            block.splice(at..at + 1, [0x7f, 0x67]);
            block.insert(at + 9, 0xff);
        }),
        ("an optional field that is null", |block| {
            block[0] += 1;
            let at = find(block, b"\x67version");
            block.splice(at..at, *b"\x67sponsor\xf6");
        }),
    ];
    for (why, change) in blocks {
        let mut block = good.clone();
        change(&mut block);
        assert!(matches!(Manifest::decode(&block), Err(ManifestError::Block(_))), "{why}");
        refused.push(json!({ "why": why, "block": hex(&block) }));
    }
    check("manifest", &json!({ "accepted": accepted, "refused": refused }));
}

fn find(block: &[u8], what: &[u8]) -> usize {
    block.windows(what.len()).position(|window| window == what).expect("it is there")
}

fn roots() -> (JobRoot, DataRoot, Salt) {
    (JobRoot(keccak256(b"job").0), DataRoot(keccak256(b"data").0), Salt(keccak256(b"salt").0))
}

#[test]
fn run() {
    let (job_root, data_root, secret) = roots();
    let mut cases = Vec::new();
    for salt in [Salt::default(), secret] {
        let run_id = local_run_id(job_root, data_root);
        let blind = blind(salt);
        let random_seed = random_seed(run_id, salt);
        let mut wasi = Wasi::new(Config { random_seed, ..config() });
        let mut memory = vec![0; 65_536];
        // In two calls: the stream goes on where it was.
        assert_eq!(wasi.call(Function::RandomGet, &[0, 70], &mut memory).map(|errno| errno as u16), Ok(0));
        assert_eq!(wasi.call(Function::RandomGet, &[70, 58], &mut memory).map(|errno| errno as u16), Ok(0));
        cases.push(json!({
            "job_root": job_root,
            "data_root": data_root,
            "salt": salt,
            "local_run_id": run_id,
            "blind": blind,
            "blind_hash": keccak256(&blind.0),
            "random_key": Hash(random_seed),
            "random": hex(&memory[..128]),
        }));
    }
    check("run", &json!({ "cases": cases }));
}

fn header(status: Status) -> Header {
    let (job_root, data_root, salt) = roots();
    Header {
        run_id: local_run_id(job_root, data_root),
        job_root,
        data_root,
        blind: blind(salt),
        steps: 0,
        status,
        memory_bytes: 0,
        results: vec![],
    }
}

fn commitment(content: &[u8]) -> ResultCommitment {
    let size = content.len() as u64;
    let mut cid = FileCid::new();
    cid.push(content);
    ResultCommitment { size, root: ResultRoot(bytes_root(content, log2_size_for(size)).0), cid: cid.finish() }
}

fn done() -> Header {
    Header {
        steps: 1_000_001,
        results: vec![commitment(&pattern(5000, 1)), commitment(b""), commitment(&pattern((1 << 20) + 1, 2))],
        ..header(Status::Done)
    }
}

#[test]
fn headers() {
    let running = Header { steps: 7, memory_bytes: 3 << 16, ..header(Status::Running) };
    let mut headers = vec![header(Status::Running), running, done()];
    for status in [
        Status::DataRefused,
        Status::Failed(3),
        Status::Failed(-1),
        Status::Trapped,
        Status::StepsExhausted,
        Status::ResultsRefused,
    ] {
        headers.push(Header { steps: 1, ..header(status) });
    }
    let accepted: Vec<_> = headers
        .iter()
        .map(|header| {
            let page = header.encode();
            assert_eq!(Header::decode(&page).as_ref(), Ok(header));
            let results: Vec<_> = header
                .results
                .iter()
                .map(|result| json!({ "size": result.size, "root": result.root, "cid": result.cid.to_string() }))
                .collect();
            json!({
                "run_id": header.run_id,
                "job_root": header.job_root,
                "data_root": header.data_root,
                "blind": header.blind,
                "steps": header.steps,
                "status": header.status.name(),
                "exit_code": if let Status::Failed(code) = header.status { code } else { 0 },
                "memory_bytes": header.memory_bytes,
                "results": results,
                "page": parts(&page),
                "root_alone": { "S": header.root_alone(24), "M": header.root_alone(27), "L": header.root_alone(29) },
            })
        })
        .collect();
    let mut refused = Vec::new();
    let mut refuse = |header: &Header, at: usize, value: u8| {
        let mut page = header.encode();
        page[at] = value;
        let error = Header::decode(&page).expect_err("refused");
        refused.push(json!({ "word": error.word, "page": parts(&page) }));
    };
    let last = |word: usize| 32 * word + 31;
    refuse(&headers[0], 0, b'F');
    refuse(&headers[0], 31, 1);
    refuse(&headers[0], 32 + 7, b'1');
    refuse(&headers[0], 32 * 6, 1);
    refuse(&headers[0], last(7), 7);
    refuse(&headers[0], last(7), 1);
    refuse(&headers[0], last(8), 1);
    refuse(&headers[0], last(10), 1);
    refuse(&headers[0], last(11), 1);
    refuse(&headers[0], 4095, 1);
    refuse(&headers[2], last(10), 0);
    refuse(&headers[2], last(10), 17);
    refuse(&headers[2], last(10), 4);
    refuse(&headers[2], last(19), 0x71);
    refuse(&headers[2], last(19), 0x70);
    refuse(&headers[4], 32 * 8 + 27, 1);
    refuse(&headers[4], last(8), 0);
    refuse(&headers[3], last(6), 0);
    refuse(&headers[3], last(9) - 2, 1);
    refuse(&headers[0], last(9) - 2, 1);
    check("header", &json!({ "accepted": accepted, "refused": refused }));
}

fn leaves(count: u64) -> Vec<StateRoot> {
    (0..count).map(|index| StateRoot(keccak256(&index.to_le_bytes()).0)).collect()
}

#[test]
fn trace() {
    let roots: Vec<_> = [1, 2, 15, 255, 256]
        .into_iter()
        .map(|count| {
            let leaves = leaves(count);
            let root = level_root(&leaves);
            json!({ "leaves": leaves, "root": root })
        })
        .collect();
    let mut levels = Vec::new();
    for (steps, steps_per_segment, path) in [
        (1, 1, &[][..]),
        (1, 70_000, &[]),
        (1_000_001, 70_000, &[2, 1, 17]),
        (1 << 48, 1 << 40, &[255, 0, 255, 3, 9]),
        (65_537, 65_537, &[0, 256, 0]),
        (256, 1, &[255]),
    ] {
        let mut level = Some(Level::top(steps, steps_per_segment));
        let mut cuts = Vec::new();
        for index in path.iter().map(Some).chain([None]) {
            let Some(known) = level else {
                cuts.push(json!(null));
                break;
            };
            let ends: Vec<_> = known.ends().collect();
            let (first, parts) = (known.first, known.parts());
            cuts.push(json!({
                "begins_after": first,
                "parts": parts,
                "part": known.part,
                "first_end": ends[0],
                "last_end": ends[ends.len() - 1],
            }));
            level = index.and_then(|&index| known.below(index));
        }
        levels.push(json!({
            "steps": steps, "steps_per_segment": steps_per_segment, "path": path, "levels": cuts,
        }));
    }
    check("trace", &json!({ "roots": roots, "cuts": levels }));
}

fn body(header: &Header, manifest: &Manifest) -> Body {
    let count = header.steps.div_ceil(manifest.steps_per_segment);
    let mut segments = leaves(count);
    segments[count as usize - 1] = header.root_alone(manifest.machine.class.log2_state());
    Body::new(block_cid(DAG_CBOR, &manifest.encode()), manifest, header, segments)
}

#[test]
fn receipts() {
    let (_, _, salt) = roots();
    let mut manifest = full_manifest();
    manifest.steps_per_segment = 70_000;
    manifest.limits.steps = 2_000_000;
    manifest.limits.output = 1 << 24;
    manifest.results = [("weights", 9000), ("empty", 0), ("large", 2 << 20)]
        .map(|(name, most_bytes)| ResultFile { name: name.into(), most_bytes })
        .to_vec();
    assert_eq!(manifest.check(), []);
    let failed = Header { steps: 3, ..header(Status::Failed(-7)) };
    let refused = Header { steps: 1, ..header(Status::DataRefused) };
    let mut accepted = Vec::new();
    for (header, manifest) in [(done(), &manifest), (failed, &small_manifest()), (refused, &small_manifest())] {
        let body = body(&header, manifest);
        assert!(body.is_consistent());
        let block = dagcbor::encode(&body);
        assert_eq!(dagcbor::decode::<Body>(&block).as_ref(), Ok(&body));
        accepted.push(json!({
            "block": hex(&block),
            "cid": block_cid(DAG_CBOR, &block).to_string(),
            "job": hex(&manifest.encode()),
            "salt": salt,
            "status": header.status.name(),
            "steps": header.steps,
            "trace_root": trace_root(&body.trace.segments),
            "results": header.results.iter().map(|result| result.cid.to_string()).collect::<Vec<_>>(),
        }));
    }

    let good = body(&done(), &manifest);
    let mut refused = Vec::new();
    let changes: &[Change<Body>] = &[
        ("another version", |body| body.version = 2),
        ("a segment changed", |body| body.trace.segments[3].0[0] ^= 1),
        ("a segment is missing", |body| body.trace.segments.truncate(14)),
        ("a segment more, and its root", |body| {
            body.trace.segments.push(StateRoot::default());
            body.trace.root = trace_root(&body.trace.segments);
        }),
        ("no steps", |body| body.trace.steps = 0),
        ("no steps in a segment", |body| body.trace.steps_per_segment = 0),
        ("not finished", |body| body.outcome = Status::Running),
        ("results of a run that failed", |body| body.outcome = Status::Failed(1)),
        ("failed with code 0", |body| {
            body.outcome = Status::Failed(0);
            body.results.clear();
        }),
        ("no results of a run that is done", |body| body.results.clear()),
    ];
    for (why, change) in changes {
        let mut body = good.clone();
        change(&mut body);
        assert!(!body.is_consistent(), "{why}");
        refused.push(json!({ "why": why, "block": hex(&dagcbor::encode(&body)) }));
    }
    let blocks: &[Change<Vec<u8>>] = &[
        ("an exit code of a run that is done", |block| {
            let at = find(block, b"\xa1\x66status\x64done");
            block.splice(at..at + 13, *b"\xa2\x66status\x64done\x69exit_code\x00");
        }),
        ("an unknown outcome", |block| {
            let at = find(block, b"\x64done");
            block[at + 4] = b'x';
        }),
        ("a root of 31 bytes", |block| {
            let at = find(block, b"\x66run_id\x58\x20") + 8;
            block[at] = 0x1f;
            block.remove(at + 1);
        }),
        ("a link without its leading zero", |block| {
            let at = find(block, b"\xd8\x2a\x58\x25\x00") + 3;
            block[at] = 0x24;
            block.remove(at + 1);
        }),
    ];
    for (why, change) in blocks {
        let mut block = dagcbor::encode(&good);
        change(&mut block);
        assert!(dagcbor::decode::<Body>(&block).is_err(), "{why}");
        refused.push(json!({ "why": why, "block": hex(&block) }));
    }
    check("receipt", &json!({ "accepted": accepted, "refused": refused }));
}

fn config() -> Config {
    let open = |files: &Files| Arc::new(Pack::open(Arc::new(write_pack(files, Salt::default()))).expect("a pack"));
    let job = open(&vec![
        ("job.cbor", Some(bytes(b"manifest"))),
        ("model/layer.bin", Some(bytes(b"weights"))),
        ("trainer.wasm", Some(bytes(b"module"))),
    ]);
    let model = job.find("model").expect("the model");
    Config {
        args: vec![b"trainer".to_vec(), b"--epochs".to_vec()],
        env: vec![],
        files: fedmkt_core::wasi::Files::Job {
            model: (job, model),
            data: open(&vec![("a.csv", Some(bytes(b"1,2\n3,4\n"))), ("more/b.csv", Some(bytes(b"5,6\n")))]),
            out_pages: 3,
            scratch_pages: 2,
        },
        open_files: 10,
        random_seed: [7; 32],
    }
}

/// A guest whose calls are written down.
struct Guest {
    wasi: Wasi,
    memory: Vec<u8>,
    /// What the guest wrote into its memory since the last call.
    writes: Vec<Value>,
    calls: Vec<Value>,
}

impl Guest {
    fn put(&mut self, at: usize, bytes: &[u8]) -> [u64; 2] {
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
        self.writes.push(json!({ "at": at, "hex": hex(bytes) }));
        [at as u64, bytes.len() as u64]
    }

    fn call(&mut self, function: Function, args: &[u64]) -> u16 {
        let before = self.memory.clone();
        let errno = self.wasi.call(function, args, &mut self.memory).expect("no exit") as u16;
        let mut answer = Vec::new();
        let mut at = 0;
        while let Some(start) = (at..before.len()).find(|&index| before[index] != self.memory[index]) {
            let end = (start..before.len()).find(|&index| before[index] == self.memory[index]).unwrap_or(before.len());
            answer.push(json!({ "at": start, "hex": hex(&self.memory[start..end]) }));
            at = end;
        }
        let writes = std::mem::take(&mut self.writes);
        self.calls.push(json!({
            "writes": writes, "function": function.name(), "args": args, "errno": errno, "changes": answer,
        }));
        errno
    }

    /// Opens with rights to read, write and list; the descriptor or the errno.
    fn open(&mut self, path: &str, how: u64, flags: u64) -> Result<u64, u16> {
        const READ: u64 = 1 << 1 | 1 << 2 | 1 << 5 | 1 << 14 | 1 << 21;
        const WRITE: u64 = 1 << 6 | 1 << 8 | 1 << 22;
        let rights = if how & 2 != 0 || path.starts_with("data") { READ } else { READ | WRITE };
        let [at, length] = self.put(1024, path.as_bytes());
        match self.call(Function::PathOpen, &[3, 1, at, length, how, rights, READ | WRITE, flags, 512]) {
            0 => Ok(u32::from_le_bytes(self.memory[512..516].try_into().expect("4 bytes")).into()),
            errno => Err(errno),
        }
    }

    fn write(&mut self, fd: u64, content: &[u8]) -> u16 {
        self.put(8192, content);
        self.put(0, &[8192u32.to_le_bytes(), (content.len() as u32).to_le_bytes()].concat());
        self.call(Function::FdWrite, &[fd, 0, 1, 16])
    }

    fn on_path(&mut self, function: Function, path: &str) -> u16 {
        let [at, length] = self.put(1024, path.as_bytes());
        self.call(function, &[3, at, length])
    }

    fn on_two_paths(&mut self, function: Function, one: &str, other: &str) -> u16 {
        let [one, one_length] = self.put(1024, one.as_bytes());
        let [other, other_length] = self.put(1280, other.as_bytes());
        match function {
            Function::PathRename => self.call(function, &[3, one, one_length, 3, other, other_length]),
            Function::PathLink => self.call(function, &[3, 0, one, one_length, 3, other, other_length]),
            _ => self.call(function, &[one, one_length, 3, other, other_length]),
        }
    }
}

#[test]
fn wasi() {
    const CREATE: u64 = 1;
    const DIRECTORY: u64 = 2;
    const APPEND: u64 = 1;
    let mut guest = Guest { wasi: Wasi::new(config()), memory: vec![0; 65_536], writes: vec![], calls: vec![] };
    let g = &mut guest;
    g.call(Function::ArgsSizesGet, &[0, 4]);
    g.call(Function::ArgsGet, &[8, 64]);
    g.call(Function::FdPrestatGet, &[3, 16]);
    g.call(Function::FdPrestatDirName, &[3, 16, 1]);
    g.call(Function::ClockTimeGet, &[1, 0, 16]);
    g.call(Function::ClockTimeGet, &[0, 0, 16]);
    g.call(Function::RandomGet, &[32, 20]);
    // Reading.
    let data = g.open("data", DIRECTORY, 0).expect("the grant");
    g.call(Function::FdReaddir, &[data, 4096, 200, 0, 16]);
    let file = g.open("data/more/b.csv", 0, 0).expect("a file of the grant");
    g.put(0, &[8192u32.to_le_bytes(), 100u32.to_le_bytes()].concat());
    g.call(Function::FdRead, &[file, 0, 1, 16]);
    g.call(Function::FdFilestatGet, &[file, 256]);
    g.call(Function::FdClose, &[file]);
    // What is refused.
    assert_eq!(g.open("data/a.csv", CREATE | 4, 0), Err(20));
    assert_eq!(g.open("out/../../etc/passwd", 0, 0), Err(63));
    assert_eq!(g.open("/etc/passwd", 0, 0), Err(63));
    assert_eq!(g.open("data/none", 0, 0), Err(44));
    assert_eq!(g.on_path(Function::PathUnlinkFile, "data/a.csv"), 69);
    // Writing: pages are shared by both mounts, the lowest free one first.
    let model = g.open("out/model", CREATE, 0).expect("a result");
    assert_eq!(g.write(model, &pattern(5000, 1)), 0);
    let scratch = g.open("tmp/scratch", CREATE, 0).expect("scratch");
    assert_eq!(g.write(scratch, &pattern(4100, 2)), 0);
    assert_eq!(g.write(model, &pattern(7500, 3)), 0);
    assert_eq!(g.write(model, b"no room"), 51);
    g.call(Function::FdFilestatSetSize, &[model, 4000]);
    let log = g.open("out/log", CREATE, APPEND).expect("a log");
    g.write(log, b"loss,1.5\n");
    g.write(log, b"loss,0.5\n");
    // Names.
    assert_eq!(g.on_path(Function::PathCreateDirectory, "tmp/d"), 0);
    assert_eq!(g.on_two_paths(Function::PathSymlink, "../out/log", "tmp/link"), 0);
    assert_eq!(g.on_two_paths(Function::PathLink, "tmp/scratch", "tmp/d/hard"), 0);
    assert_eq!(g.on_two_paths(Function::PathRename, "tmp/scratch", "tmp/moved"), 0);
    assert_eq!(g.on_two_paths(Function::PathRename, "tmp/d", "out/d"), 75);
    assert_eq!(g.on_path(Function::PathRemoveDirectory, "tmp/d"), 55);
    let link = g.open("tmp/link", 0, 0).expect("the log");
    g.call(Function::FdSeek, &[link, 5, 0, 16]);
    let tmp = g.open("tmp", DIRECTORY, 0).expect("scratch");
    g.call(Function::FdReaddir, &[tmp, 4096, 300, 0, 16]);
    g.call(Function::FdReaddir, &[tmp, 4096, 30, 0, 16]);
    // An open file lives on without a name.
    assert_eq!(g.on_path(Function::PathUnlinkFile, "tmp/moved"), 0);
    assert_eq!(g.on_path(Function::PathUnlinkFile, "tmp/d/hard"), 0);
    assert_eq!(g.on_path(Function::PathRemoveDirectory, "tmp/d"), 0);
    // A jump of the clock.
    g.put(1536, &{
        let mut subscription = [0; 48];
        subscription[..8].copy_from_slice(&77u64.to_le_bytes());
        subscription[16] = 1;
        subscription[24..32].copy_from_slice(&5_000_000_000u64.to_le_bytes());
        subscription
    });
    assert_eq!(g.call(Function::PollOneoff, &[1536, 1664, 1, 1792]), 0);
    g.call(Function::FdFilestatGet, &[log, 256]);
    // The last descriptor, and one too many.
    assert_eq!(g.open("out/more", CREATE, 0), Err(33));
    g.call(Function::FdClose, &[data]);
    let again = g.open("out/model", 0, 0).expect("a result");
    assert_eq!(again, data, "the lowest free number");

    let mut metadata = vec![0; METADATA_BYTES];
    g.wasi.save(&mut metadata);
    let mut files = vec![0; 5 * PAGE_BYTES];
    files[..g.wasi.file_area().len()].copy_from_slice(g.wasi.file_area());
    let mut restored = Wasi::restore(config(), &metadata, &files).expect("a state");
    let mut saved = vec![0; METADATA_BYTES];
    restored.save(&mut saved);
    assert_eq!(saved, metadata);
    restored.set_log(Box::new(|_, _| {}));

    let results: Vec<_> = ["model", "log"]
        .into_iter()
        .map(|name| {
            let contents = g.wasi.result(name).expect("a result");
            let size = contents.len();
            let (mut root, mut cid) = (RootBuilder::new(), FileCid::new());
            contents.for_each(|part| {
                root.push(part);
                cid.push(part);
            });
            let root = root.finish(log2_size_for(size)).root;
            json!({ "name": name, "size": size, "root": root, "cid": cid.finish().to_string() })
        })
        .collect();
    check(
        "wasi",
        &json!({
            "arguments": ["trainer", "--epochs"],
            "job_drive": [
                { "path": "job.cbor", "content": [{ "hex": hex(b"manifest") }] },
                { "path": "model/layer.bin", "content": [{ "hex": hex(b"weights") }] },
                { "path": "trainer.wasm", "content": [{ "hex": hex(b"module") }] },
            ],
            "capsule": [
                { "path": "a.csv", "content": [{ "hex": hex(b"1,2\n3,4\n") }] },
                { "path": "more/b.csv", "content": [{ "hex": hex(b"5,6\n") }] },
            ],
            "output_pages": 3,
            "scratch_pages": 2,
            "open_files": 10,
            "random_key": hex(&[7; 32]),
            "memory_bytes": 65_536,
            "calls": guest.calls,
            "wasi_state": parts(&metadata),
            "file_area": parts(&files),
            "results": results,
        }),
    );
}

#[test]
fn admission() {
    // 239 words and the 18 that each frame counts.
    let large_leaf = format!(r#"(module (func (export "_start") (local {} i32)))"#, "v128 ".repeat(119));
    // 31 results of a call and one of a block.
    let many_results = format!(
        r#"(module (func $many (result {i32s}) {ones})
            (func (export "_start") (call $many) {drops} (drop (block (result i32) (i32.const 1)))))"#,
        i32s = "i32 ".repeat(31),
        ones = "(i32.const 1)".repeat(31),
        drops = "drop ".repeat(31),
    );
    let long_body = format!(r#"(module (func (export "_start") call 0 {}))"#, "nop ".repeat(3 * 64));
    let modules = [
        ("a command that needs no metering", 1 << 20, r#"(module (func (export "_start")))"#),
        (
            "memory, WASI, a start function and custom sections",
            3 << 16,
            r#"(module
                (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
                (memory (export "memory") 2)
                (global (mut i64) (i64.const -1)) (global i32 (i32.const 4)) (global (mut v128) (v128.const i64x2 1 2))
                (data (i32.const 8) "text") (data "passive")
                (start $begin)
                (func $begin (memory.init 1 (i32.const 16) (i32.const 0) (i32.const 3)))
                (func (export "_initialize"))
                (func (export "fedmkt_init") (result i32) i32.const 0)
                (func (export "fedmkt_step") (result i32) call $begin i32.const 1)
                (@custom "note" "gone"))"#,
        ),
        (
            "returns, branches out, several results, vectors",
            1 << 16,
            r#"(module
                (func $two (param v128 f64) (result i32 i32) (local i64)
                    (block (loop (br_if 2 (i32.const 1) (i32.const 2) (i32.const 0)) drop drop (br_if 1 (i32.const 0))))
                    (if (i32.const 1) (then (return (i32.const 3) (i32.const 4))))
                    (call $two (local.get 0) (local.get 1)))
                (func $one (param i32) (result f32)
                    (drop (block (result f32) (br_table 0 1 (f32.const 1) (local.get 0))))
                    (drop (call_indirect (param i32) (result f32) (i32.const 1) (i32.const 0))) f32.const 2)
                (table 2 2 funcref) (elem (i32.const 0) $one)
                (func (export "_start") (drop (call $one (i32.const 0)))))"#,
        ),
        (
            "a vector below two other operands",
            1 << 16,
            r#"(module
                (func $leaf (result v128 i32 i32) (v128.const i64x2 0 0) (i32.const 1) (i32.const 2))
                (func $pass (result v128 i32 i32) (call $leaf))
                (func (export "_start") (call $pass) drop drop drop))"#,
        ),
        ("a leaf just too large to go uncounted", 1 << 16, &large_leaf),
        ("a long body, whose frame counts three words more", 1 << 16, &long_body),
        ("many results, for which a frame counts two words more", 1 << 16, &many_results),
        (
            "tables that may grow, and a return that cannot be reached",
            1 << 16,
            r#"(module (table 10 funcref) (table 20 funcref) (table 1 1 funcref)
                (func (export "_start") (drop (table.grow 1 (ref.null func) (i32.const 5))) call 0 return return))"#,
        ),
    ];
    let mut accepted = Vec::new();
    for (about, max_memory_bytes, text) in modules {
        let wasm = wat::parse_str(text).expect("text of a module");
        let admitted = admission::admit(&wasm, &ModuleLimits { max_memory_bytes }).expect("admitted");
        let globals: Vec<_> = admitted.globals.iter().map(|global| global.export.as_str()).collect();
        accepted.push(json!({
            "about": about,
            "limits_memory": max_memory_bytes,
            "module": hex(&wasm),
            "instrumented": hex(&admitted.wasm),
            "form": match admitted.form {
                Form::Command => "command",
                Form::Stepper { initialize: false } => "stepper",
                Form::Stepper { initialize: true } => "stepper with _initialize",
            },
            "start": admitted.start,
            "mutable_globals": globals,
            "memory_pages": [admitted.memory.initial, admitted.memory.maximum],
        }));
    }

    let stepper = r#"(func (export "_start")) (func (export "fedmkt_init") (result i32) i32.const 0)"#;
    let step = r#"(func (export "fedmkt_step") (result i32) i32.const 0)"#;
    let bodies = [
        ("no entry", String::new()),
        ("init without step", stepper.into()),
        ("neither command nor reactor", stepper.replace("_start", "x") + step),
        ("command and reactor", r#"(func (export "_start")) (func (export "_initialize"))"#.into()),
        ("a reserved export", r#"(func (export "_start")) (func (export "fedmkt:x"))"#.into()),
        ("an entry of another type", r#"(func (export "_start") (param i32))"#.into()),
        ("an import of another module", r#"(import "env" "f" (func)) (func (export "_start"))"#.into()),
        (
            "a WASI function with another signature",
            r#"(import "wasi_snapshot_preview1" "sched_yield" (func)) (memory (export "memory") 1)
                (func (export "_start"))"#
                .into(),
        ),
        ("an imported global", r#"(import "env" "g" (global i32)) (func (export "_start"))"#.into()),
        ("a memory of another name", r#"(memory (export "mem") 1) (func (export "_start"))"#.into()),
        (
            "WASI without a memory",
            r#"(import "wasi_snapshot_preview1" "sched_yield" (func (result i32))) (func (export "_start"))"#.into(),
        ),
        ("too much memory", r#"(memory (export "memory") 17) (func (export "_start"))"#.into()),
        ("two memories", r#"(memory (export "memory") 1) (memory 1) (func (export "_start"))"#.into()),
        ("memory64", r#"(memory (export "memory") i64 1) (func (export "_start"))"#.into()),
        ("a shared memory", r#"(memory (export "memory") 1 1 shared) (func (export "_start"))"#.into()),
        ("externref", r#"(func (export "_start") (local externref))"#.into()),
        ("an exception", r#"(tag) (func (export "_start"))"#.into()),
        ("a tail call", r#"(func (export "_start") (return_call 0))"#.into()),
        (
            "relaxed SIMD",
            r#"(func (export "_start") (drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0))))"#
                .into(),
        ),
        (
            "an extended constant",
            r#"(global i32 (i32.add (i32.const 1) (i32.const 1))) (func (export "_start"))"#.into(),
        ),
        (
            "a stepper that writes a table",
            format!(r#"{stepper}{step} (table 1 funcref) (func (table.set (i32.const 0) (ref.null func)))"#),
        ),
        (
            "a stepper that drops a segment",
            format!(r#"{stepper}{step} (data "x") (func (data.drop 0)) (memory (export "memory") 1)"#),
        ),
        ("a stepper with a global reference", format!(r#"{stepper}{step} (global (mut funcref) (ref.null func))"#)),
    ];
    let mut refused = Vec::new();
    for (about, fields) in bodies {
        let wasm = wat::parse_str(format!("(module {fields})")).expect("text of a module");
        let refusal = admission::admit(&wasm, &ModuleLimits { max_memory_bytes: 1 << 20 }).expect_err(about);
        let findings: Vec<_> = refusal.findings.iter().map(ToString::to_string).collect();
        refused.push(json!({
            "about": about, "limits_memory": 1 << 20, "module": hex(&wasm), "findings": findings,
        }));
    }
    check("admission", &json!({ "accepted": accepted, "refused": refused }));
}
