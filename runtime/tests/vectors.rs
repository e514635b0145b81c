//! Test vectors that need an engine or a key: see `runtime/core/tests/vectors.rs` for the others and for how to use
//! them. Whoever changes `runtime/core` runs both.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use fedmkt_core::dagcbor;
use fedmkt_core::engine::Engine;
use fedmkt_core::inputs::{Inputs, local_run_id};
use fedmkt_core::manifest::{
    DataRequirement, Disclosure, Limits, Machine, Manifest, PROFILE, ResultFile, SizeClass, VERSION,
};
use fedmkt_core::pack::{Kind, Layout, set_salt};
use fedmkt_core::receipt::Body;
use fedmkt_core::roots::{DataRoot, JobRoot, Salt, StateRoot};
use fedmkt_core::run::Run;
use fedmkt_core::tree::bytes_root;
use fedmkt_core::unixfs::block_cid;
use fedmkt_runtime::engine::Native;
use fedmkt_runtime::envelope::Envelope;
use serde_json::{Value, json};

const DAG_CBOR: u64 = 0x71;
const RAW: u64 = 0x55;

fn check(name: &str, found: &Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/reference/vectors");
    let file = folder.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(found).expect("JSON") + "\n";
    if std::env::var_os("FEDMKT_BLESS").is_some() {
        fs::write(&file, text).expect("the vectors can be written");
        return;
    }
    let known = fs::read_to_string(&file).unwrap_or_default();
    assert!(known == text, "{} is not what was computed", file.display());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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

#[test]
fn envelopes() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let body = block_cid(DAG_CBOR, b"body");
    let good = Envelope::sign(body, "wasmtime 48", 1_800_000_000, 5, &key);
    assert!(good.is_signed());
    let block = dagcbor::encode(&good);
    let accepted = json!([{
        "block": hex(&block),
        "cid": block_cid(DAG_CBOR, &block).to_string(),
        "body": body.to_string(),
        "secret_key": hex(&[7; 32]),
        "client": hex(&good.client),
    }]);
    let mut refused = Vec::new();
    let mut refuse = |why: &str, envelope: Envelope| {
        assert!(!envelope.is_signed(), "{why}");
        refused.push(json!({ "why": why, "block": hex(&dagcbor::encode(&envelope)) }));
    };
    let flip = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    refuse("another version", Envelope { version: 2, ..good.clone() });
    refuse("another body", Envelope { body: block_cid(DAG_CBOR, b"other"), ..good.clone() });
    refuse("another engine", Envelope { engine: "wasmtime 49".into(), ..good.clone() });
    refuse("another time", Envelope { finished: 0, ..good.clone() });
    refuse("another duration", Envelope { seconds: 6, ..good.clone() });
    refuse("another client", Envelope { client: flip(&good.client, 0), ..good.clone() });
    refuse("another point in the signature", Envelope { signature: flip(&good.signature, 0), ..good.clone() });
    refuse("another number in the signature", Envelope { signature: flip(&good.signature, 32), ..good.clone() });
    refuse("a short signature", Envelope { signature: good.signature[..63].to_vec(), ..good.clone() });
    refuse("no signature", Envelope { signature: Vec::new(), ..good.clone() });
    // The neutral point as key and as commitment signs every message.
    let neutral = [&[1][..], &[0; 31]].concat();
    let forged = Envelope { client: neutral.clone(), signature: [neutral, vec![0; 32]].concat(), ..good.clone() };
    refuse("a key of small order", forged);
    check("envelope", &json!({ "accepted": accepted, "refused": refused }));
}

/// Three steps that leave something in every part of the state: globals, memory, files, clock, random stream.
const TRAINER: &str = r#"(module
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
    (memory (export "memory") 1 2)
    (data (i32.const 0) "\40\00\00\00\10\00\00\00")
    (data (i32.const 1024) "data/a.csvout/modeltmp/scratch")
    (global $steps (mut i32) (i32.const 0))
    (global $nan (mut f32) (f32.const 0))
    (global $lanes (mut v128) (v128.const f32x4 0 1 2 3))
    (func $begin (i32.store (i32.const 48) (i32.const 0x12345678)))
    (start $begin)
    (func $must (param i32) (if (local.get 0) (then unreachable)))
    (func (export "_initialize") (global.set $steps (i32.const -1)))
    (func (export "fedmkt_init") (result i32)
        ;; data/a.csv for reading into 64..80, out/model and tmp/scratch for writing
        (call $must (call $open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 10) (i32.const 0)
            (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))
        (call $must (call $read (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 20)))
        (call $must (call $open (i32.const 3) (i32.const 0) (i32.const 1034) (i32.const 9) (i32.const 1)
            (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 24)))
        (call $must (call $open (i32.const 3) (i32.const 0) (i32.const 1043) (i32.const 11) (i32.const 1)
            (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 28)))
        (call $must (call $random (i32.const 4096) (i32.const 100)))
        (i32.const 0))
    (func (export "fedmkt_step") (result i32)
        (global.set $steps (i32.add (global.get $steps) (i32.const 1)))
        ;; 0 / 0 has the bits of the canonical NaN, scalar and in lanes
        (global.set $nan (f32.div (f32.const 0) (f32.convert_i32_s (global.get $steps))))
        (global.set $lanes (f32x4.div (global.get $lanes) (f32x4.splat (f32.convert_i32_s (global.get $steps)))))
        (v128.store (i32.const 2048) (global.get $lanes))
        (call $must (call $clock (i32.const 0) (i64.const 0) (i32.const 56)))
        (if (i32.eqz (global.get $steps)) (then
            (drop (memory.grow (i32.const 1)))
            (i32.store8 (i32.const 131071) (i32.const 255))))
        (call $must (call $write (i32.load (i32.const 24)) (i32.const 0) (i32.const 1) (i32.const 20)))
        (call $must (call $write (i32.load (i32.const 28)) (i32.const 0) (i32.const 1) (i32.const 20)))
        (i32.eq (global.get $steps) (i32.const 2))))"#;

fn pack(files: &[(&str, &[u8])], salt: Salt) -> Vec<u8> {
    let kinds = files.iter().map(|(path, content)| ((*path).into(), Kind::File(content.len() as u64)));
    let layout = Layout::new(kinds).expect("a tree of files");
    let mut bytes = vec![0; layout.total_bytes() as usize];
    bytes[..layout.front().len()].copy_from_slice(layout.front());
    for (path, offset, length) in layout.files() {
        let (_, content) = files.iter().find(|(name, _)| *name == path).expect("a file");
        bytes[offset as usize..][..length as usize].copy_from_slice(content);
    }
    set_salt(bytes.first_chunk_mut().expect("a page"), salt);
    bytes
}

fn image(run: &mut Run<Native>) -> Vec<u8> {
    let mut image = vec![0; run.layout().total_bytes() as usize];
    let written: Result<(), Infallible> = run.write_image(|offset, bytes| {
        image[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    });
    written.expect("memory takes everything");
    image
}

#[test]
fn whole_run() {
    let trainer = wat::parse_str(TRAINER).expect("text of a module");
    let model: &[u8] = b"initial weights";
    let manifest = Manifest {
        version: VERSION,
        profile: PROFILE.into(),
        name: "whole run".into(),
        description: "A test vector.".into(),
        trainer: block_cid(RAW, &trainer),
        model: block_cid(RAW, model),
        arguments: vec!["--rate=0.5".into()],
        steps_per_segment: 2,
        data: DataRequirement {
            name: "data".into(),
            format: "csv".into(),
            columns: None,
            shape: None,
            least_rows: 0,
            most_bytes: 1 << 20,
        },
        limits: Limits { memory: 131_072, steps: 10, output: 5000, scratch: 4096, open_files: 16, step_seconds: 60 },
        results: vec![ResultFile { name: "model".into(), most_bytes: 1000 }],
        disclosure: Disclosure::Private,
        sponsor: None,
        machine: Machine { release: None, class: SizeClass::S },
        reward: None,
    };
    assert_eq!(manifest.check(), []);
    let block = manifest.encode();
    let job = pack(&[("job.cbor", &block), ("model", model), ("trainer.wasm", &trainer)], Salt::default());
    let table: &[u8] = b"1,2\n3,4\n5,6\n7,8\n";
    let salt = Salt([0x5a; 32]);
    let capsule = pack(&[("a.csv", table), ("more/b.csv", b"")], salt);
    let class = manifest.machine.class;
    let job_root = JobRoot(bytes_root(&job, class.log2_job()).0);
    let data_root = DataRoot(bytes_root(&capsule, class.log2_data()).0);
    let run_id = local_run_id(job_root, data_root);
    let inputs = Arc::new(Inputs::open(Arc::new(job.clone()), Arc::new(capsule.clone())).expect("inputs"));
    let identity = inputs.identity(run_id, job_root, data_root);
    let admitted = inputs.admit().expect("admitted");
    let engine = Native::new().expect("an engine");
    let module = engine.compile(&admitted).expect("compiled");

    let mut run = Run::begin(engine, module, admitted, inputs, identity);
    let mut states = Vec::new();
    let mut roots: Vec<StateRoot> = Vec::new();
    loop {
        let root = run.state_root();
        roots.push(root);
        states.push(json!({ "root": root, "status": run.status().name(), "image": parts(&image(&mut run)) }));
        if run.status().is_final() {
            break;
        }
        run.step().expect("the engine can");
    }
    assert_eq!(run.steps(), 4);
    let segments = vec![roots[2], roots[4]];
    let body = Body::new(block_cid(DAG_CBOR, &block), &manifest, run.header(), segments);
    assert!(body.is_consistent());
    let body_block = dagcbor::encode(&body);
    check(
        "whole-run",
        &json!({
            "trainer": hex(&trainer),
            "model": hex(model),
            "job": hex(&block),
            "job_drive": parts(&job),
            "job_root": job_root,
            "capsule_files": [
                { "path": "a.csv", "content": [{ "hex": hex(table) }] },
                { "path": "more/b.csv", "content": [] },
            ],
            "salt": salt,
            "capsule": parts(&capsule),
            "data_root": data_root,
            "run_id": run_id,
            "states": states,
            "result": hex(&run.result(0).expect("a result")),
            "receipt_body": hex(&body_block),
            "receipt_body_cid": block_cid(DAG_CBOR, &body_block).to_string(),
        }),
    );
}
