//! Admission on modules that nobody wrote: it never panics, and what it lets through is valid and can be instantiated.

#[path = "../fuzz/tests/short/changes.rs"]
mod changes;

use changes::{apply, changes};
use fedmkt_core::admission::{self, Admitted};
use fedmkt_core::engine::{Engine, Instance};
use fedmkt_core::wasi::{Config, Directories, Files, TreeLimits, Wasi};
use fedmkt_fuzz::modules::{LIMITS, generated, written};
use fedmkt_runtime::engine::Native;
use proptest::prelude::*;

fn instantiate(engine: &Native, admitted: &Admitted) {
    wasmparser::Validator::new().validate_all(&admitted.wasm).expect("what is admitted is valid");
    let limits = TreeLimits { inodes: 1, entries: 0, name_bytes: 0 };
    let directories = Directories::new(&[], 0, limits).expect("no directories");
    let config = Config {
        args: Vec::new(),
        env: Vec::new(),
        files: Files::Directories(directories),
        open_files: 10,
        random_seed: [0; 32],
    };
    let module = engine.compile(admitted).expect("what is admitted compiles");
    // `None` is a segment that does not fit, which is a trap like any other.
    if let Some(mut instance) = engine.instantiate(&module, Wasi::new(config)).expect("what is admitted fits") {
        for global in &admitted.globals {
            let bits = instance.global(global);
            instance.set_global(global, bits);
        }
        let bytes = instance.memory().len() as u64;
        assert_eq!(bytes, admitted.memory.initial * 65_536);
        instance.grow_memory(admitted.memory.maximum * 65_536).expect("memory grows to its maximum");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_modules_are_refused_or_run(which in any::<prop::sample::Index>(), changes in changes(6)) {
        let mut wasm = which.get(&written()).clone();
        apply(&changes, &mut wasm);
        match admission::admit(&wasm, &LIMITS) {
            Ok(admitted) => instantiate(&Native::new().expect("an engine"), &admitted),
            Err(refusal) => prop_assert!(!refusal.findings.is_empty() && !refusal.to_string().is_empty()),
        }
    }

    #[test]
    fn generated_modules_are_refused_or_run(bytes in prop::collection::vec(any::<u8>(), 0..3000), changes in changes(6)) {
        let Some(mut wasm) = generated(&bytes) else { return Ok(()) };
        if bytes.len() % 2 == 0 {
            apply(&changes, &mut wasm);
        }
        if let Ok(admitted) = admission::admit(&wasm, &LIMITS) {
            instantiate(&Native::new().expect("an engine"), &admitted);
        }
    }
}

#[test]
fn most_generated_modules_are_admitted() {
    let mut admitted = 0;
    for seed in 0..200u32 {
        let bytes: Vec<u8> =
            (0..2000u32).map(|n| (n.wrapping_mul(2_654_435_761).wrapping_add(seed * 40_503) >> 13) as u8).collect();
        let Some(wasm) = generated(&bytes) else { continue };
        admitted += u32::from(admission::admit(&wasm, &LIMITS).is_ok());
    }
    // Otherwise the test above tests refusals only.
    assert!(admitted > 20, "{admitted} of 200");
}

/// The sections that are copied, and the one that is written anew, fit together whatever is missing.
#[test]
fn modules_of_almost_nothing_are_admitted_and_run() {
    let engine = Native::new().expect("an engine");
    for fields in
        ["", "(table 0 funcref)", "(data \"\")", "(elem func)", "(type (func))", "(memory (export \"memory\") 0 0)"]
    {
        let wasm = wat::parse_str(format!("(module (func (export \"_start\")) {fields})")).expect("a module");
        let admitted = admission::admit(&wasm, &LIMITS).unwrap_or_else(|refusal| panic!("{fields}: {refusal}"));
        instantiate(&engine, &admitted);
    }
}

#[test]
fn importing_one_function_twice_is_possible() {
    let wasm = wat::parse_str(
        r#"(module (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
            (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
            (memory (export "memory") 1) (func (export "_start")))"#,
    )
    .expect("a module");
    let admitted = admission::admit(&wasm, &LIMITS).expect("nothing speaks against it");
    instantiate(&Native::new().expect("an engine"), &admitted);
}
