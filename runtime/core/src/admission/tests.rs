//! Rules by rule, on modules in the text format.

use std::string::{String, ToString};
use std::vec::Vec;

use super::*;

const LIMITS: ModuleLimits = ModuleLimits { max_memory_bytes: 1 << 20 };

fn admit_text(text: &str) -> Result<Admitted, Refusal> {
    admit(&wat::parse_str(text).expect("a module"), &LIMITS)
}

/// What is said of a stepper with these fields added.
fn refused(fields: &str) -> String {
    let text = std::format!(
        r#"(module (memory (export "memory") 1)
             (func (export "_start")) (func (export "fedmkt_init") (result i32) i32.const 0)
             (func (export "fedmkt_step") (result i32) i32.const 1) {fields})"#
    );
    admit_text(&text).expect_err("a refusal").to_string()
}

fn reparse(admitted: &Admitted) {
    wasmparser::Validator::new_with_features(profile::FEATURES)
        .validate_all(&admitted.wasm)
        .expect("the instrumented module is valid");
}

#[test]
fn a_command_is_one_step_and_its_author_is_told() {
    let admitted = admit_text(r#"(module (func (export "_start")))"#).expect("a command");
    assert_eq!(admitted.form, Form::Command);
    assert!(admitted.warnings[0].to_string().contains("one step"));
    reparse(&admitted);
}

#[test]
fn the_same_module_gives_the_same_bytes() {
    let text = r#"(module (memory (export "memory") 1 2) (global (mut i32) (i32.const 1)) (func $f call $f)
        (func (export "_start") call $f) (start $f))"#;
    let admitted = admit_text(text).expect("a command");
    assert_eq!(admit_text(text).expect("again"), admitted);
    assert_eq!(admitted.start, Some(START_EXPORT));
    assert_eq!(admitted.globals[0].export, "fedmkt:global:0");
    assert_eq!(admitted.memory, MemoryBounds { initial: 1, maximum: 2 });
    reparse(&admitted);
}

#[test]
fn memory_is_bounded_by_the_job() {
    let admitted = admit_text(r#"(module (memory (export "memory") 1) (func (export "_start")))"#).expect("a command");
    assert_eq!(admitted.memory.maximum, 16);
    let refusal = admit_text(r#"(module (memory (export "memory") 17) (func (export "_start")))"#);
    assert!(refusal.expect_err("too much").to_string().contains("the job allows 1048576"));
}

#[test]
fn bodies_with_returns_and_branches_out_stay_valid() {
    let text = r#"(module
        (func $two (param i32) (result i32 f64)
          (block (br_if 1 (i32.const 1) (f64.const 2) (local.get 0)) drop drop)
          (if (local.get 0) (then (return (i32.const 3) (f64.const 4))))
          (call $two (local.get 0)))
        (func $table (param i32) (result i32)
          (block (result i32) (br_table 0 1 (i32.const 5) (local.get 0)))
          (drop (call $table (local.get 0))))
        (func (export "_start") (call $two (i32.const 0)) drop drop))"#;
    reparse(&admit_text(text).expect("a command"));
}

#[test]
fn refused_features_are_named_with_function_and_offset() {
    for (fields, feature) in [
        (
            "(func $f (drop (f32x4.relaxed_madd (v128.const i64x2 0 0) (v128.const i64x2 0 0) (v128.const i64x2 0 0))))",
            "relaxed SIMD",
        ),
        ("(func $f (drop (i32.atomic.load (i32.const 0))))", "threads and atomics"),
        ("(func $f (return_call $f))", "tail calls"),
        ("(func $f (throw 0)) (tag)", "exceptions"),
        (
            "(func $f (drop (i64.add128 (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0))) drop)",
            "wide arithmetic",
        ),
        ("(func $f (drop (ref.as_non_null (ref.null func))))", "typed function references"),
        ("(func $f (drop (ref.i31 (i32.const 0))))", "garbage collection"),
    ] {
        let said = refused(fields);
        assert!(said.contains(&std::format!("{feature} is not in the profile")), "{fields}: {said}");
        assert!(said.contains("function 3 `f`, byte 0x"), "{fields}: {said}");
    }
}

#[test]
fn refused_sections_and_types_are_named() {
    for (fields, what) in [
        ("(memory 1)", "multi-memory"),
        ("(tag)", "exceptions"),
        (r#"(import "env" "f" (func))"#, "only the functions of wasi_snapshot_preview1"),
        (r#"(import "wasi_snapshot_preview1" "fd_dup" (func))"#, "only the functions of wasi_snapshot_preview1"),
        (r#"(import "wasi_snapshot_preview1" "fd_close" (func (param i64) (result i32)))"#, "signature"),
        (r#"(import "wasi_snapshot_preview1" "memory" (memory 1))"#, "not a function"),
        (r#"(func (export "fedmkt:x"))"#, "reserved"),
        ("(type (struct))", "garbage collection"),
        ("(global (mut externref) (ref.null extern))", "references"),
        ("(table 1000001 funcref)", "table elements"),
        (&std::format!("(elem func {0}) (elem func {0})", "0 ".repeat(500_001)), "1000002 elements in segments"),
    ] {
        let fields = if fields.starts_with("(import") {
            let text = std::format!(r#"(module {fields} (memory (export "memory") 1) (func (export "_start")))"#);
            admit_text(&text).expect_err("a refusal").to_string()
        } else {
            refused(fields)
        };
        assert!(fields.contains(what), "{what}: {fields}");
    }
    let said = admit_text(r#"(module (memory i64 1) (func (export "_start")))"#).expect_err("a refusal").to_string();
    assert!(said.contains("memory64"), "{said}");
    let said =
        admit_text(r#"(module (memory 1 1 shared) (func (export "_start")))"#).expect_err("a refusal").to_string();
    assert!(said.contains("threads"), "{said}");
    let said = admit(b"\0asm\x0d\0\x01\0", &LIMITS).expect_err("a refusal").to_string();
    assert!(said.contains("component"), "{said}");
}

#[test]
fn steppers_cannot_change_what_a_state_does_not_hold() {
    let fields = r#"(table $t 1 funcref) (elem $e funcref (ref.null func)) (data $d "x")
        (global (mut funcref) (ref.null func))
        (func (table.set $t (i32.const 0) (ref.null func)))
        (func (drop (table.grow $t (ref.null func) (i32.const 0))))
        (func (table.fill $t (i32.const 0) (ref.null func) (i32.const 0)))
        (func (table.copy $t $t (i32.const 0) (i32.const 0) (i32.const 0)))
        (func (table.init $t $e (i32.const 0) (i32.const 0) (i32.const 0)))
        (func (elem.drop $e)) (func (data.drop $d))"#;
    let said = refused(fields);
    for name in ["table.set", "table.grow", "table.fill", "table.copy", "table.init", "elem.drop", "data.drop"] {
        assert!(said.contains(&std::format!("{name}: what it changes")), "{name}: {said}");
    }
    assert!(said.contains("mutable globals that hold references"), "{said}");
}

#[test]
fn entry_points_must_fit_together() {
    let stepper = |exports: &[(&str, &str)]| {
        let functions: Vec<String> =
            exports.iter().map(|(name, ty)| std::format!(r#"(func (export "{name}") {ty} unreachable)"#)).collect();
        admit_text(&std::format!("(module {})", functions.concat()))
    };
    let result = "(result i32)";
    let (start, initialize) = (("_start", ""), ("_initialize", ""));
    let (init, step) = (("fedmkt_init", result), ("fedmkt_step", result));
    assert_eq!(stepper(&[start, init, step]).expect("a stepper").form, Form::Stepper { initialize: false });
    assert_eq!(stepper(&[initialize, init, step]).expect("a stepper").form, Form::Stepper { initialize: true });
    for wrong in [
        &[start, init][..],
        &[start, step],
        &[init, step],
        &[start, initialize, init, step],
        &[initialize],
        &[("_start", "(param i32)")],
        &[start, ("fedmkt_init", ""), step],
        &[],
    ] {
        assert!(stepper(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn wasi_needs_the_memory() {
    let text = r#"(module (import "wasi_snapshot_preview1" "fd_close" (func (param i32) (result i32)))
        (memory 1) (func (export "_start")))"#;
    assert!(admit_text(text).expect_err("a refusal").to_string().contains("export its memory"));
}

#[test]
fn limits_on_the_shape_hold() {
    let locals = std::format!("(func {})", "(local i32)".repeat(limits::LOCALS as usize + 1));
    assert!(refused(&locals).contains("locals"));
    let nesting = limits::NESTING as usize + 1;
    assert!(
        refused(&std::format!("(func {} {})", "block ".repeat(nesting), "end ".repeat(nesting))).contains("nested")
    );
    // The stack is measured on the way and not when all of it is there.
    let values = "i32 ".repeat(limits::PARAMS);
    let operands = std::format!("(func $many (result {values}) {})", "call $many ".repeat(100_000));
    assert!(refused(&operands).contains("has 10240 operands"));
    assert!(refused(&"(func)".repeat(limits::FUNCTIONS as usize)).contains("functions; the limit is"));
    let long = std::format!("(func {})", "i32.const 1000000 drop ".repeat(limits::FUNCTION_BYTES / 5));
    assert!(refused(&long).contains("a function of"));
    assert!(
        admit(&std::vec![0; limits::MODULE_BYTES + 1], &LIMITS).expect_err("a refusal").to_string().contains("bytes")
    );
    assert!(refused(&"(global (mut i32) (i32.const 0))".repeat(1025)).contains("mutable globals"));
}

#[test]
fn what_branches_carry_is_bounded() {
    let values = "i32 ".repeat(limits::PARAMS);
    let many = std::format!("(type $many (func (param {values}) (result {values})))");
    let constants = "i32.const 0 ".repeat(limits::PARAMS);
    let drops = "drop ".repeat(limits::PARAMS);
    // Each counts 256 values twice, at its beginning and its end.
    let most = limits::ADDED_BYTES / limits::EDGE_BYTES / (2 * limits::PARAMS);
    let blocks = |blocks: usize| {
        let fields = std::format!("(func {constants} {} {drops})", "block (type $many) end ".repeat(blocks));
        admit_text(&std::format!(r#"(module {many} {fields} (func (export "_start")))"#))
    };
    reparse(&blocks(most).expect("the most that is allowed"));
    let said = blocks(most + 1).expect_err("one more").to_string();
    assert!(said.contains("what its branches carry would take more than"), "{said}");
    // Each for itself would do, also where nothing gets.
    for (what, body, times) in [
        ("block", "block (type $many) end", most + 1),
        ("loop", "loop (type $many) end", most + 1),
        ("if", "i32.const 0 if (type $many) else end", most),
        ("br", "br 0", 2 * most),
        ("br_if", "i32.const 0 br_if 0", 2 * most),
        ("br_table", "i32.const 0 br_table 0 0", 2 * most),
        ("return", "return", 2 * most),
        ("call", "call 0", 2 * most),
        ("call_indirect", "i32.const 0 call_indirect (type $many)", 2 * most),
        ("targets of one br_table", &std::format!("i32.const 0 br_table{}", " 0".repeat(2 * most + 1)), 0),
        ("select", "select", limits::ADDED_BYTES / limits::EDGE_BYTES),
    ] {
        let text = std::format!(
            r#"(module {many} (table 1 funcref)
                (func (param {values}) (result {values}) unreachable {}) (func (export "_start")))"#,
            std::format!("{body} ").repeat(times + 1)
        );
        let said = match admit_text(&text) {
            Ok(_) => std::format!("{what} is free"),
            Err(refusal) => refusal.to_string(),
        };
        assert!(said.contains("what its branches carry"), "{what}: {said}");
    }
    // All functions together have a limit as well.
    let function = std::format!("(func {constants} {} {drops})", "block (type $many) end ".repeat(most));
    let functions = limits::INSTRUMENTED_BYTES / limits::ADDED_BYTES;
    let text = std::format!(r#"(module {many} {} (func (export "_start")))"#, function.repeat(functions));
    let said = admit_text(&text).expect_err("too much together").to_string();
    assert!(said.contains("what its branches carry"), "{said}");
}

#[test]
fn locals_of_all_functions_are_bounded() {
    let function = std::format!("(func (local {}))", "i32 ".repeat(limits::LOCALS as usize));
    let functions = (limits::ALL_LOCALS / limits::LOCALS) as usize;
    let text = |functions: usize| std::format!(r#"(module {} (func (export "_start")))"#, function.repeat(functions));
    assert!(admit_text(&text(functions)).is_ok());
    let said = admit_text(&text(functions + 1)).expect_err("too many").to_string();
    assert!(said.contains("4010000 locals together"), "{said}");
}

#[test]
fn tables_together_cannot_grow_beyond_the_limit() {
    let maxima = |tables: &str| -> Vec<Option<u64>> {
        let admitted = admit_text(&std::format!(r#"(module {tables} (func (export "_start")))"#)).expect("a command");
        reparse(&admitted);
        let mut maxima = Vec::new();
        for payload in wasmparser::Parser::new(0).parse_all(&admitted.wasm) {
            if let wasmparser::Payload::TableSection(tables) = payload.expect("a module") {
                maxima.extend(tables.into_iter().map(|table| table.expect("a table").ty.maximum));
            }
        }
        maxima
    };
    assert_eq!(maxima("(table 5 funcref)"), [Some(1_000_000)]);
    assert_eq!(maxima("(table 5 7 funcref)"), [Some(7)]);
    assert_eq!(maxima("(table 1000000 2000000 funcref) (table 0 funcref)"), [Some(1_000_000), Some(0)]);
    assert_eq!(
        maxima("(table 10 funcref) (table 20 funcref) (table 1 1 funcref)").iter().flatten().sum::<u64>(),
        666_677
    );
    assert_eq!(maxima(""), []);
}

#[test]
fn numbers_that_only_some_engines_read_are_refused() {
    let text = r#"(module (memory (export "memory") 1) (func (export "_start") i32.const 0 i32.load drop))"#;
    let wasm = wat::parse_str(text).expect("a module");
    let load = [0x28, 2, 0];
    let at = wasm.windows(3).position(|bytes| bytes == load).expect("the load");
    assert!(admit(&wasm, &LIMITS).is_ok());
    // The index of a memory, of which there are no two, and an offset of 64 bits.
    for more in [&[0x28, 0x42, 0, 0][..], &[0x28, 2, 0x80, 0x80, 0x80, 0x80, 0x80, 0]] {
        let longer = (more.len() - load.len()) as u8;
        let mut wasm = wasm.clone();
        wasm.splice(at..at + 3, more.iter().copied());
        // The lengths of the section and of the body lie before it.
        for length in [at - 6, at - 4] {
            wasm[length] += longer;
        }
        let parsed = wasmparser::Parser::new(0).parse_all(&wasm).all(|payload| payload.is_ok());
        assert!(parsed, "the lengths are right");
        let said = admit(&wasm, &LIMITS).expect_err("a refusal").to_string();
        assert!(said.contains("not valid WebAssembly under this profile"), "{said}");
    }
}

#[test]
fn long_bodies_have_longer_frames() {
    let words = |operators: usize| {
        let text = std::format!(r#"(module (func $f (export "_start") call $f {}))"#, "nop ".repeat(operators));
        let admitted = admit_text(&text).expect("a command");
        let bodies = wasmparser::Parser::new(0).parse_all(&admitted.wasm).filter_map(|payload| match payload {
            Ok(wasmparser::Payload::CodeSectionEntry(body)) => Some(body),
            _ => None,
        });
        let mut operators = bodies.last().expect("a body").get_operators_reader().expect("operators");
        operators.read().expect("global.get");
        match operators.read() {
            Ok(wasmparser::Operator::I32Const { value }) => value,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(words(0), limits::FRAME_WORDS as i32);
    assert_eq!(words(64 * 100), limits::FRAME_WORDS as i32 + 100);
}

#[test]
fn at_most_a_hundred_findings_are_told() {
    let refusal = admit_text(&std::format!("(module {})", r#"(import "a" "b" (func))"#.repeat(150)));
    let refusal = refusal.expect_err("a refusal");
    assert_eq!(refusal.findings.len(), 100);
    assert_eq!(refusal.more, 51);
}

#[test]
fn damaged_modules_are_refused_without_harm() {
    let module = wat::parse_str(
        r#"(module (memory (export "memory") 1) (table 2 funcref) (elem (i32.const 0) $f)
             (func $f (result i32) (local v128 i64) (block (result i32) (i32.const 7) (return)))
             (func (export "_start") (drop (call $f))) (data (i32.const 8) "abc"))"#,
    )
    .expect("a module");
    assert!(admit(&module, &LIMITS).is_ok());
    for length in 0..module.len() {
        // A cut between two sections can leave a whole module.
        if let Ok(admitted) = admit(&module[..length], &LIMITS) {
            reparse(&admitted);
        }
    }
    for at in 0..module.len() {
        for bit in 0..8 {
            let mut damaged = module.clone();
            damaged[at] ^= 1 << bit;
            if let Ok(admitted) = admit(&damaged, &LIMITS) {
                reparse(&admitted);
            }
        }
    }
}
