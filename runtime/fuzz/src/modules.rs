//! Admission: it names what is wrong, or gives a module that is valid and has what it says it has.

use arbitrary::Unstructured;
use fedmkt_core::admission::{self, Form, ModuleLimits};
use fedmkt_tests::nan_modules::{Engines, module_of};
use wasmparser::{ExternalKind, Parser, Payload, Validator, WasmFeatures};

/// What modules are admitted under here.
pub const LIMITS: ModuleLimits = ModuleLimits { max_memory_bytes: 1 << 20 };

/// What generated modules export, and what they may import.
const SHAPE: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
  (memory (export "memory") 1) (func (export "_start")))"#;

/// What the header of a module begins with; other inputs are what a module is made of.
const MAGIC: &[u8] = b"\0asm";

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

/// What a module full of NaNs leaves does not depend on the engine, once it is admitted. There is a module for all bytes.
pub(crate) fn nan(choices: &[u8]) -> bool {
    thread_local!(static ENGINES: Engines = Engines::new());
    if let Err(difference) = ENGINES.with(|engines| engines.compare(&module_of(choices))) {
        panic!("{difference}");
    }
    true
}

pub(crate) fn choices() -> Vec<Vec<u8>> {
    [crate::seeds::bytes(), crate::seeds::kept("nan")].concat()
}

/// Modules with something of everything that admission looks at or rewrites. All are admitted.
///
/// # Panics
/// Never: the texts are part of this crate.
pub fn written() -> Vec<Vec<u8>> {
    WRITTEN.iter().map(|text| wat::parse_str(text).expect("a module")).collect()
}

pub(crate) fn modules() -> Vec<Vec<u8>> {
    [written(), crate::seeds::bytes()].concat()
}

/// A module made of these bytes, if they are enough.
///
/// # Panics
/// Never: what generated modules export is part of this crate.
pub fn generated(bytes: &[u8]) -> Option<Vec<u8>> {
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

/// The features of the profile, by a list of its own.
fn features() -> WasmFeatures {
    WasmFeatures::FLOATS
        | WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::SIMD
}

pub(crate) fn admission(input: &[u8]) -> bool {
    let generated = (!input.starts_with(MAGIC)).then(|| generated(input));
    let Some(wasm) = generated.unwrap_or_else(|| Some(input.to_vec())) else { return false };
    let admitted = match admission::admit(&wasm, &LIMITS) {
        Ok(admitted) => admitted,
        Err(refusal) => {
            assert!(!refusal.findings.is_empty());
            assert!(!refusal.to_string().is_empty());
            return false;
        }
    };
    Validator::new_with_features(features()).validate_all(&admitted.wasm).expect("what is admitted is valid");
    assert_eq!(admission::admit(&wasm, &LIMITS).expect("admitted before"), admitted, "the same each time");
    let mut functions = Vec::new();
    let mut globals = Vec::new();
    for payload in Parser::new(0).parse_all(&admitted.wasm) {
        if let Ok(Payload::ExportSection(exports)) = payload {
            for export in exports {
                let export = export.expect("it is valid");
                match export.kind {
                    ExternalKind::Func => functions.push(export.name.to_string()),
                    ExternalKind::Global => globals.push(export.name.to_string()),
                    _ => {}
                }
            }
        }
    }
    assert!(admitted.globals.iter().all(|global| globals.contains(&global.export)));
    let needed: &[&str] = match admitted.form {
        Form::Command => &["_start"],
        Form::Stepper { initialize: false } => &["fedmkt_init", "fedmkt_step"],
        Form::Stepper { initialize: true } => &["_initialize", "fedmkt_init", "fedmkt_step"],
    };
    assert!(needed.iter().copied().chain(admitted.start).all(|name| functions.iter().any(|has| has == name)));
    assert!(admitted.memory.initial <= admitted.memory.maximum);
    assert!(admitted.memory.maximum << 16 <= LIMITS.max_memory_bytes);
    true
}
