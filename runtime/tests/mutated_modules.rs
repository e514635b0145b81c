//! Admission on modules that nobody wrote: it never panics, and what it lets through is valid and can be instantiated.

#[path = "../fuzz/tests/short/changes.rs"]
mod changes;

use arbitrary::Unstructured;
use changes::{apply, changes};
use fedmkt_core::admission::{self, Admitted, ModuleLimits};
use fedmkt_core::engine::{Engine, Instance};
use fedmkt_core::wasi::{Config, Directories, Files, TreeLimits, Wasi};
use fedmkt_runtime::engine::Native;
use proptest::prelude::*;

const LIMITS: ModuleLimits = ModuleLimits { max_memory_bytes: 1 << 20 };

/// What generated modules export, and what they may import.
const SHAPE: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
  (memory (export "memory") 1) (func (export "_start")))"#;

/// Modules with something of everything that admission looks at or rewrites.
const WRITTEN: [&str; 3] = [
    r#"(module (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1 3) (table 3 funcref) (elem (i32.const 0) $f $g) (elem declare func $w)
        (global $n (mut i32) (i32.const 7)) (global $v (mut v128) (v128.const i64x2 1 2)) (start $s)
        (func $s (global.set $n (i32.const 8)))
        (func $f (param i32) (result i32) (local i64 f64 v128)
          (block (br_if 0 (local.get 0)) (return (i32.const 1)))
          (loop (result i32) (br_if 0 (i32.eqz (local.get 0))) (call_indirect (param i32) (result i32) (local.get 0) (i32.const 1))))
        (func $g (param i32) (result i32) (if (result i32) (local.get 0) (then (call $f (i32.const 0))) (else (i32.const 2))))
        (func (export "_start") (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (drop (call $f (i32.const 3))))
        (data (i32.const 0) "\10\00\00\00\04\00\00\00") (data "passive"))"#,
    r#"(module (memory (export "memory") 0) (global (mut f32) (f32.const 1)) (global (mut i64) (i64.const 1))
        (func (export "_initialize")) (func (export "fedmkt_init") (result i32) i32.const 0)
        (func $two (param f32 f64) (result f64 f32) local.get 1 local.get 0 f32.sqrt)
        (func (export "fedmkt_step") (result i32)
          (call $two (f32.const 1) (f64.const 2)) drop drop
          (i32x4.extract_lane 1 (i32x4.trunc_sat_f32x4_s (f32x4.splat (f32.const nan))))))"#,
    r#"(module (memory (export "memory") 2) (func (export "fedmkt_init") (result i32) i32.const 0)
        (func (export "fedmkt_step") (result i32) (memory.copy (i32.const 0) (i32.const 1) (i32.const 2))
          (memory.fill (i32.const 0) (i32.const 1) (i32.const 2)) (memory.grow (i32.const 1)))
        (func (export "_start") (local i32) (block (block (br_table 0 1 (local.get 0))))))"#,
];

/// A module made of random bytes.
fn generated(bytes: &[u8]) -> Option<Vec<u8>> {
    let config = wasm_smith::Config {
        available_imports: Some(wat::parse_str(SHAPE).expect("a module")),
        exports: Some(wat::parse_str(SHAPE).expect("a module")),
        allow_start_export: true,
        // The one that is exported comes on top.
        max_memories: 0,
        max_memory32_bytes: 1 << 20,
        max_table_elements: 1000,
        // It would make externref, which the profile has not.
        reference_types_enabled: false,
        simd_enabled: true,
        gc_enabled: false,
        exceptions_enabled: false,
        threads_enabled: false,
        tail_call_enabled: false,
        memory64_enabled: false,
        extended_const_enabled: false,
        custom_page_sizes_enabled: false,
        wide_arithmetic_enabled: false,
        relaxed_simd_enabled: false,
        bulk_memory_enabled: true,
        multi_value_enabled: true,
        ..wasm_smith::Config::default()
    };
    wasm_smith::Module::new(config, &mut Unstructured::new(bytes)).ok().map(|module| module.to_bytes())
}

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
    fn mutated_modules_are_refused_or_run(which in 0..WRITTEN.len(), changes in changes(6)) {
        let mut wasm = wat::parse_str(WRITTEN[which]).expect("a module");
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
