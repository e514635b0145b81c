//! Every point where NaNs are settled: with it a module does in an engine that leaves NaNs as the processor makes them
//! what it does in one that makes them canonical; without it, it does not.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use wasmparser::Operator;
use wasmtime::{Config, Engine, Instance, Module, Store};

use super::super::{ModuleLimits, instrument, profile, scan};
use super::operators::{self, Effect, Flow, Takes};
use super::{Added, Type};

const LIMITS: ModuleLimits = ModuleLimits { max_memory_bytes: 1 << 16 };

/// Bytes of memory that are compared.
const SEEN_BYTES: usize = 2048;

struct Engines {
    /// Makes the NaNs of arithmetic canonical.
    canonical: Engine,
    /// Leaves them as the processor makes them.
    plain: Engine,
}

impl Engines {
    fn new() -> Self {
        let engine = |canonical| {
            let mut config = Config::new();
            config.cranelift_nan_canonicalization(canonical);
            Engine::new(&config).expect("Wasmtime works here")
        };
        Self { canonical: engine(true), plain: engine(false) }
    }
}

/// Whether `run` returned, and memory after it, for each way to fill memory.
fn run(engine: &Engine, wasm: &[u8]) -> Vec<(bool, Vec<u8>)> {
    let module = Module::new(engine, wasm).expect("a valid module");
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, &module, &[]).expect("a module without imports");
    let memory = instance.get_memory(&mut store, "memory").expect("memory");
    let run = instance.get_typed_func::<(), ()>(&mut store, "_start").expect("a command");
    fills()
        .map(|fill| {
            memory.data_mut(&mut store)[..SEEN_BYTES].copy_from_slice(&fill);
            let returned = run.call(&mut store, ()).is_ok();
            (returned, memory.data(&store)[..SEEN_BYTES].to_vec())
        })
        .collect()
}

/// Contents of memory. From 64 on there are pairs of vectors, the first of which has NaNs: their sum is loose. From 1024
/// on there are vectors of all kinds.
fn fills() -> impl Iterator<Item = Vec<u8>> {
    let nans: [u128; 4] = [
        u128::MAX,
        0xfff8_1234_4049_0fdb_fffc_1234_4049_0fdb,
        0xffc1_2345_ffc7_6543_ffff_0001_ff80_1000,
        0xffc1_0001_7f80_0000_ffc0_0001_3f80_0000,
    ];
    let [a, b] = [1, 4].map(|n| n * 0x0123_4567_89ab_cdef_fedc_ba98_7654_3211_u128);
    let sign_bits = 0x8000_0000_0000_0000_8000_0000_0000_0000;
    let canonical = 0x7fc0_0000_7fc0_0000_7fc0_0000_7fc0_0000;
    let others = [0, u128::MAX, a, sign_bits, b, canonical];
    nans.into_iter().flat_map(move |nans| {
        (0..others.len()).map(move |turn| {
            let mut memory = std::vec![0; SEEN_BYTES];
            for at in (64..1024).step_by(32) {
                memory[at..at + 16].copy_from_slice(&nans.to_le_bytes());
                memory[at + 16..at + 32].copy_from_slice(&0x3ff0_0000_3f80_0000_3ff0_0000_3f80_0000_u128.to_le_bytes());
            }
            for (index, at) in (1024..SEEN_BYTES).step_by(16).enumerate() {
                memory[at..at + 16].copy_from_slice(&others[(index + turn) % others.len()].to_le_bytes());
            }
            memory
        })
    })
}

/// Checks a module, and that it goes wrong if any of the values that count is not settled. How many these are.
fn check(engines: &Engines, about: &str, text: &str, counts: fn(Added) -> bool) -> usize {
    let wasm = wat::parse_str(text).unwrap_or_else(|error| panic!("{about}: {error}\n{text}"));
    let module = scan::scan(&wasm, &LIMITS).unwrap_or_else(|refusal| panic!("{about}: {refusal}"));
    let facts = || profile::validate(&module).unwrap_or_else(|refusal| panic!("{about}: {refusal}"));
    let expected = run(&engines.canonical, &wasm);
    let admitted = instrument::instrument(&module, &facts());
    assert!(run(&engines.plain, &admitted.wasm) == expected, "{about}: settled, it goes wrong");
    assert!(run(&engines.canonical, &admitted.wasm) == expected, "{about}: settled, it goes wrong with canonical NaNs");

    let mut settled = 0;
    for function in 0..module.bodies.len() {
        for index in 0..facts()[function].insertions.len() {
            let mut facts = facts();
            let left_out = facts[function].insertions.remove(index);
            if counts(left_out.what) {
                settled += 1;
                let wasm = instrument::instrument(&module, &facts).wasm;
                assert!(run(&engines.plain, &wasm) != expected, "{about}: {left_out:?} is not needed");
            }
        }
    }
    settled
}

/// Checks the function `$test`; results go to memory below 64.
fn check_function(about: &str, fields: &str) {
    let text = format!(r#"(module (memory (export "memory") 1) {fields})"#);
    let counts = |added| matches!(added, Added::Operand { .. } | Added::Local { .. });
    assert!(check(&Engines::new(), about, &text, counts) > 0, "{about}: nothing was settled");
}

/// A loose value, made of what is in memory at `at`.
fn loose(ty: &str, at: u32) -> String {
    let load = if ty.contains('x') { "v128" } else { ty };
    format!("({ty}.add ({load}.load offset={at} (i32.const 0)) ({load}.load offset={} (i32.const 0)))", at + 16)
}

/// Mnemonics of the profile's operators with what they do.
fn operators() -> Vec<(String, Flow)> {
    macro_rules! flows {
        ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*) )*) => {
            Vec::from([ $( (stringify!($op), stringify!($visit)), )* ])
        };
    }
    let names = wasmparser::for_each_operator!(flows);
    let mut found = Vec::new();
    for (_, visit) in names {
        let mnemonic = visit.trim_start_matches("visit_").replacen('_', ".", 1);
        let Some(text) = with_immediates(&mnemonic) else { continue };
        let Ok(wasm) = wat::parse_str(format!("(module (memory 1) (func {text}))")) else { continue };
        if let Some(flow) = flow_in(&wasm) {
            found.push((mnemonic, flow));
        }
    }
    found
}

/// The flow of the first operator of the first function.
fn flow_in(wasm: &[u8]) -> Option<Flow> {
    for payload in wasmparser::Parser::new(0).parse_all(wasm) {
        if let Ok(wasmparser::Payload::CodeSectionEntry(body)) = payload {
            let operator: Operator<'_> = body.get_operators_reader().ok()?.read().ok()?;
            return match operators::effect(&operator) {
                Some(Effect::Flow(flow)) => Some(flow),
                _ => None,
            };
        }
    }
    None
}

fn with_immediates(mnemonic: &str) -> Option<String> {
    let lane = mnemonic.contains("_lane");
    match mnemonic {
        "i8x16.shuffle" | "v128.const" | "f32.const" | "f64.const" => None,
        _ if lane => Some(format!("{mnemonic} 0")),
        _ => Some(mnemonic.into()),
    }
}

/// The types of an operator's operands and of its result.
fn signature(mnemonic: &str, flow: Flow) -> (Vec<&'static str>, Option<&'static str>) {
    let (prefix, name) = mnemonic.split_once('.').expect("type and name");
    let vector = prefix.contains('x') || prefix == "v128";
    let scalar = match prefix {
        "f32" | "f32x4" => "f32",
        "f64" | "f64x2" => "f64",
        "i64" | "i64x2" => "i64",
        _ => "i32",
    };
    let own = if vector { "v128" } else { scalar };
    let taken = match name {
        "demote_f64" => "f64",
        "promote_f32" => "f32",
        "splat" => scalar,
        _ if name.contains("_f32") && !vector => "f32",
        _ if name.contains("_f64") && !vector => "f64",
        _ => own,
    };
    let mut operands = Vec::from_iter((0..flow.pops).map(|_| taken));
    if name.starts_with("replace_lane") {
        operands = Vec::from(["v128", scalar]);
    } else if name.starts_with("shl") || name.starts_with("shr") {
        operands.push("i32");
    } else if name.starts_with("load") || name.starts_with("store") {
        operands.insert(0, "i32");
    }
    let result = match flow.gives {
        Some((Type::F32, _)) => Some("f32"),
        Some((Type::F64, _)) => Some("f64"),
        Some((Type::V128, _)) => Some("v128"),
        None if name.starts_with("store") => None,
        None if name.starts_with("extract_lane") => Some(scalar),
        None if vector => Some("i32"),
        None if matches!(name, "eq" | "ne" | "lt" | "gt" | "le" | "ge") => Some("i32"),
        None => Some(own),
    };
    (operands, result)
}

#[test]
fn every_operator_that_sees_bits_gets_settled_operands() {
    let engines = Engines::new();
    let (mut modules, mut settled) = (0, 0);
    for (mnemonic, flow) in operators() {
        let (types, result) = signature(&mnemonic, flow);
        for (position, ty) in types.iter().enumerate() {
            let shapes: &[&str] = match *ty {
                "v128" => &["f32x4", "f64x2"],
                "f32" => &["f32"],
                "f64" => &["f64"],
                _ => continue,
            };
            for shape in shapes {
                let operands: String = (0..)
                    .zip(&types)
                    .map(|(index, ty)| match *ty {
                        "i32" if mnemonic.contains("load") || mnemonic.contains("store") => "(i32.const 32)".into(),
                        _ if index == position => loose(shape, 64 + 32 * index as u32),
                        ty => format!("({ty}.load offset={} (i32.const 0))", 1024 + 16 * index),
                    })
                    .collect();
                let operator = with_immediates(&mnemonic).expect("it was found by this");
                let store = result.map_or_else(String::new, |ty| format!("({ty}.store (i32.const 0) (local.get 0))"));
                let (local, set) = result.map_or_else(Default::default, |ty| (format!("(local {ty})"), "local.set 0"));
                let text = format!(
                    r#"(module (memory (export "memory") 1)
                        (func (export "_start") {local} {operands} {operator} {set} {store}))"#
                );
                let about = format!("{mnemonic}, operand {position} loose as {shape}");
                // Results are stored from a local. They need not have a NaN.
                let counts = |added| matches!(added, Added::Operand { local: None, .. });
                let count = check(&engines, &about, &text, counts);
                if flow.takes == Takes::Bits {
                    assert!(count > 0, "{about}: nothing was settled");
                }
                modules += 1;
                settled += count;
            }
        }
    }
    assert!(modules > 450 && settled > 400, "{modules} modules, {settled} points");
}

/// A function `_start` with these locals and this body.
fn check_body(about: &str, locals: &str, body: &str) {
    check_function(about, &format!(r#"(func (export "_start") {locals} {body})"#));
}

/// One loose value of each type and shape, with the text of its type.
fn loose_values() -> [(&'static str, String); 4] {
    [("f32", "f32"), ("f64", "f64"), ("v128", "f32x4"), ("v128", "f64x2")].map(|(ty, shape)| (ty, loose(shape, 64)))
}

#[test]
fn globals_are_seen() {
    for (ty, value) in loose_values() {
        let zero = if ty == "v128" { "v128.const i64x2 0 0".into() } else { format!("{ty}.const 0") };
        check_function(
            "global.set",
            &format!(
                r#"(global $g (mut {ty}) ({zero}))
                (func (export "_start") (global.set $g {value}) ({ty}.store (i32.const 0) (global.get $g)))"#
            ),
        );
    }
}

#[test]
fn arguments_of_calls_are_seen() {
    for (ty, value) in loose_values() {
        for call in ["call $f", "(i32.const 0) call_indirect (type $f)"] {
            check_function(
                call,
                &format!(
                    r#"(type $f (func (param i32 {ty} i32)))
                    (func $f (type $f) ({ty}.store (local.get 0) (local.get 1)))
                    (table funcref (elem $f))
                    (func (export "_start") (i32.const 8) {value} (i32.const 1) {call})"#
                ),
            );
        }
    }
}

#[test]
fn results_of_functions_are_seen() {
    for (ty, value) in loose_values() {
        for (about, leave) in [
            ("the end of a function", ""),
            ("return", "(return)"),
            ("a branch out of a function", "(br 0)"),
            ("a branch from a block out of a function", "(br_if 0 (i32.load (i32.const 1024)))"),
            ("a table of branches out of a function", "(br_table 0 0 (i32.const 0))"),
        ] {
            check_function(
                about,
                &format!(
                    r#"(func $f (result i32 {ty} i32) (i32.const 3) {value} (i32.const 4) {leave})
                    (func (export "_start") (local {ty}) (call $f) drop local.set 0 drop
                        ({ty}.store (i32.const 0) (local.get 0)))"#
                ),
            );
        }
    }
}

#[test]
fn results_of_blocks_are_seen() {
    for (ty, value) in loose_values() {
        for (about, block) in [
            ("the end of a block", format!("(block (result {ty}) {value})")),
            ("the end of a loop", format!("(loop (result {ty}) {value})")),
            ("a branch", format!("(block (result {ty}) {value} (br 0))")),
            ("a conditional branch", format!("(block (result {ty}) {value} (br_if 0 (i32.load (i32.const 1024))))")),
            ("a table of branches", format!("(block (result {ty}) {value} (br_table 0 0 (i32.const 0)))")),
            (
                "both halves of an if",
                format!(
                    "(if (result {ty}) (i32.load (i32.const 1024)) (then {value}) (else ({ty}.load (i32.const 1040))))"
                ),
            ),
            (
                "the other half of an if",
                format!(
                    "(if (result {ty}) (i32.load (i32.const 1024)) (then ({ty}.load (i32.const 1040))) (else {value}))"
                ),
            ),
        ] {
            check_body(
                about,
                &format!("(local {ty})"),
                &format!("{block} local.set 0 ({ty}.store (i32.const 0) (local.get 0))"),
            );
        }
    }
}

#[test]
fn parameters_of_blocks_are_seen() {
    for (ty, value) in loose_values() {
        for (about, block) in [
            ("a block", format!("block (param i32 {ty} i32) drop local.set 0 drop end")),
            ("a loop", format!("loop (param i32 {ty} i32) drop local.set 0 drop end")),
            ("an if", format!("(i32.const 1) if (param i32 {ty} i32) drop local.set 0 drop else drop drop drop end")),
        ] {
            check_body(
                about,
                &format!("(local {ty})"),
                &format!("(i32.const 1) {value} (i32.const 2) {block} ({ty}.store (i32.const 0) (local.get 0))"),
            );
        }
    }
}

#[test]
fn branches_back_bring_firm_parameters() {
    for (ty, value) in loose_values() {
        check_body(
            "a branch back",
            &format!("(local {ty} i32)"),
            &format!(
                r#"({ty}.load (i32.const 1024))
                loop (param {ty})
                  local.set 0
                  ({ty}.store (i32.const 0) (local.get 0))
                  {value}
                  (local.tee 1 (i32.add (local.get 1) (i32.const 1)))
                  (i32.lt_u (i32.const 2))
                  br_if 0
                  drop
                end"#
            ),
        );
    }
}

#[test]
fn values_in_locals_are_settled_where_they_are_seen() {
    for (ty, value) in loose_values() {
        let store = format!("({ty}.store (i32.const 0) (local.get 0))");
        check_body("set and get", &format!("(local {ty})"), &format!("(local.set 0 {value}) {store}"));
        check_body(
            "tee",
            &format!("(local {ty})"),
            &format!("({ty}.store (i32.const 32) (local.tee 0 {value})) {store}"),
        );
        check_body(
            "a copy",
            &format!("(local {ty} {ty})"),
            &format!("(local.set 1 {value}) (local.set 0 (local.get 1)) {store}"),
        );
        check_body(
            "loose on both ways",
            &format!("(local {ty})"),
            &format!(
                "(if (i32.load (i32.const 1024)) (then (local.set 0 {value})) (else (local.set 0 {value}))) {store}"
            ),
        );
        check_body(
            "loose or still zero",
            &format!("(local {ty})"),
            &format!("(if (i32.load (i32.const 1024)) (then (local.set 0 {value}))) {store}"),
        );
    }
}

/// Where branches meet, of which one brings what memory holds and another a loose value, and the local is then stored.
#[test]
fn loose_values_are_settled_before_they_meet_firm_ones() {
    for (ty, value) in loose_values() {
        let load = format!("(local.set 0 ({ty}.load (i32.const 1024)))");
        let set = format!("(local.set 0 {value})");
        let store = format!("({ty}.store (i32.const 0) (local.get 0))");
        let when = "(i32.and (i32.load (i32.const 1040)) (i32.const 1))";
        let store_in_turn = format!("({ty}.store (local.get 1) (local.get 0))");
        let again = "(br_if 0 (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 16))) (i32.const 48)))";
        for (about, body) in [
            ("the end of an if", format!("{load} (if {when} (then {set})) {store}")),
            ("an if that is left out", format!("{set} (if {when} (then {load})) {store}")),
            ("an if that ends with a branch", format!("{set} (block (if {when} (then {load} (br 1))) nop) {store}")),
            ("an if that ends with a branch out", format!("(block {set} (if {when} (then (br 1) )) {load}) {store}")),
            ("the end of the first half", format!("(if {when} (then {set}) (else {load})) {store}")),
            ("the end of the second half", format!("(if {when} (then {load}) (else {set})) {store}")),
            ("a branch", format!("(block (if {when} (then {set} (br 1))) {load}) {store}")),
            ("a conditional branch", format!("(block {set} (br_if 0 {when}) {load}) {store}")),
            (
                "a conditional branch with a result",
                format!("(drop (block (result i32) {set} (br_if 0 (i32.const 7) {when}) {load})) {store}"),
            ),
            ("the end of a block", format!("(block {load} (br_if 0 {when}) {set}) {store}")),
            ("a table of branches", format!("(block (block {set} (br_table 0 1 {when})) {load}) {store}")),
            ("a loop that begins loose", format!("{set} (loop {store_in_turn} {load} {again})")),
            ("a branch back to a loop", format!("{load} (loop {store_in_turn} {set} {again} {load})")),
        ] {
            check_body(about, &format!("(local {ty} i32)"), &body);
        }
    }
}

#[test]
fn what_is_copied_beside_firm_bits_is_settled() {
    for (ty, value) in loose_values() {
        let when = "(i32.load (i32.const 1040))";
        for typed in ["", &format!("(result {ty})")] {
            for operands in
                [format!("{value} ({ty}.load (i32.const 1024))"), format!("({ty}.load (i32.const 1024)) {value}")]
            {
                check_body("select", "", &format!("(i32.const 0) {operands} {when} (select {typed}) {ty}.store"));
            }
        }
    }
    for lanes in [
        "0 1 2 3 20 21 22 23 4 5 6 7 16 17 18 19",
        "0 1 2 3 4 5 6 7 24 25 26 27 28 29 30 31",
        "31 30 29 28 5 4 3 2 1 0 7 8 9 10 11 12",
    ] {
        for shape in ["f32x4", "f64x2"] {
            let (value, load) = (loose(shape, 64), "(v128.load (i32.const 1024))");
            for operands in [format!("{value} {load}"), format!("{load} {value}")] {
                check_body(
                    "i8x16.shuffle",
                    "",
                    &format!("(i32.const 0) {operands} (i8x16.shuffle {lanes}) v128.store"),
                );
            }
        }
    }
}

/// A vector that is loose as f32 must not be settled as f64, nor the other way round.
#[test]
fn shapes_are_kept_apart() {
    let (f32s, f64s) = (loose("f32x4", 64), loose("f64x2", 96));
    let when = "(i32.load (i32.const 1040))";
    check_body("select", "", &format!("(i32.const 0) {f32s} {f64s} {when} select v128.store"));
    check_body(
        "if",
        "(local v128)",
        &format!(
            "(if {when} (then (local.set 0 {f32s})) (else (local.set 0 {f64s}))) (v128.store (i32.const 0) (local.get 0))"
        ),
    );
    check_body(
        "arithmetic of the other shape after branches met",
        "(local v128)",
        &format!(
            "(local.set 0 (v128.load (i32.const 1024))) (if {when} (then (local.set 0 {f32s})))
             (v128.store (i32.const 0) (f64x2.add (local.get 0) (v128.load (i32.const 1056))))"
        ),
    );
}

/// One that is loose as f32 or firm, and only goes into f32 arithmetic, then meets one that is loose as f64.
#[test]
fn a_local_in_two_states_can_meet_a_third() {
    let (f32s, f64s) = (loose("f32x4", 64), loose("f64x2", 96));
    let when = "(i32.and (i32.load (i32.const 1040)) (i32.const 1))";
    check_body(
        "three states",
        "(local v128)",
        &format!(
            "(local.set 0 (v128.load (i32.const 1024))) (if {when} (then (local.set 0 {f32s})))
             (if (i32.and (i32.load (i32.const 1056)) (i32.const 1)) (then (local.set 0 {f64s})))
             (v128.store (i32.const 0) (f32x4.add (local.get 0) (v128.load (i32.const 1056))))"
        ),
    );
}

/// How many values are settled in a module.
fn settled(text: &str) -> usize {
    let wasm = wat::parse_str(text).expect("text of a module");
    let module = scan::scan(&wasm, &LIMITS).expect("a module of the profile");
    let facts = profile::validate(&module).expect("a valid module");
    facts.iter().map(|body| body.insertions.len()).sum()
}

#[test]
fn copies_and_integers_are_left_alone() {
    let count = settled(
        r#"(module (memory (export "memory") 1) (global (mut v128) (v128.const i64x2 0 0))
            (func $copy (param v128 f32) (result f64 v128)
                (f32.store (i32.const 0) (f32.load (i32.const 4)))
                (f32.store (i32.const 0) (local.get 1))
                (global.set 0 (i32x4.add (local.get 0) (v128.load (i32.const 8))))
                (f64.load (i32.const 8)) (select (local.get 0) (global.get 0) (i32.const 0)))
            (func (export "_start") (drop (f32.add (f32.const 1) (f32.load (i32.const 0))))))"#,
    );
    assert_eq!(count, 0);
}

/// As in a product of matrices: nothing is settled but what is stored in the end.
#[test]
fn accumulators_are_settled_once() {
    let text = |first: &str| {
        format!(
            r#"(module (memory (export "memory") 1)
            (func (export "_start") (local $sum v128) (local $at i32)
                (local.set $sum {first})
                (if (i32.load (i32.const 8)) (then
                (loop
                    (local.set $sum (f32x4.add (local.get $sum)
                        (f32x4.mul (v128.load (local.get $at)) (v128.load offset=512 (local.get $at)))))
                    (br_if 0 (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (i32.const 512))))))
                (v128.store (i32.const 1024) (local.get $sum))))"#
        )
    };
    assert_eq!(settled(&text("(v128.const i64x2 0 0)")), 1, "at the store");
    assert_eq!(
        settled(&text("(v128.load (i32.const 2048))")),
        1,
        "at the end of the if, where memory may be what is stored"
    );
}

#[test]
fn very_large_functions_are_admitted_with_all_locals_firm() {
    let branches = "(br_if 0 (i32.const 0))".repeat(10) + &"(if (i32.const 0) (then))".repeat(super::MOST_LABELS);
    let value = loose("f32x4", 64);
    check_body(
        "many labels",
        "(local v128)",
        &format!("{branches} (local.set 0 {value}) (v128.store (i32.const 0) (local.get 0))"),
    );
    let copies: String = (1..300).map(|to| format!("(local.set {to} (local.get {}))", to - 1)).collect();
    check_body(
        "many locals",
        &format!("(local {})", "v128 ".repeat(300)),
        &format!("(local.set 0 {value}) {copies} (v128.store (i32.const 0) (local.get 299))"),
    );
}

/// Where each of very many branches would settle all locals, planning gives up and settles what is put into them.
#[test]
fn functions_with_too_much_to_settle_at_branches_keep_their_locals_firm() {
    let set: String =
        (0..256).map(|local| format!("(local.set {local} (f32.neg (f32.load (i32.const {})))) ", local * 4)).collect();
    let see: String =
        (0..256).map(|local| format!("(f32.store (i32.const {}) (local.get {local})) ", local * 4)).collect();
    let loosen: String = (0..256)
        .map(|local| format!("(local.set {local} (f32.add (local.get {local}) (local.get {local}))) "))
        .collect();
    let branches = "(br_if 0 (i32.const 0)) ".repeat(super::super::limits::ADDED_BYTES / 38 / 256 + 10);
    let body = format!("{set} (block (br_if 0 (i32.const 0)) {loosen} {branches}) {see}");
    let text = format!(
        r#"(module (memory (export "memory") 1) (func (export "_start") (local {}) {body}))"#,
        "f32 ".repeat(256)
    );
    let wasm = wat::parse_str(text).expect("text of a module");
    let module = scan::scan(&wasm, &LIMITS).expect("a module of the profile");
    let facts = profile::validate(&module).expect("it is admitted");
    assert_eq!(facts[0].insertions.len(), 256, "once for each local");
    let engines = Engines::new();
    let admitted = instrument::instrument(&module, &facts);
    assert!(run(&engines.plain, &admitted.wasm) == run(&engines.canonical, &wasm));
}

#[test]
fn what_follows_a_loop_without_end_sees_nothing() {
    let value = loose("f32x4", 64);
    let two_states =
        format!("(local.set 0 (v128.load (i32.const 2048))) (if (i32.const 1) (then (local.set 0 {value})))");
    check_body(
        "what cannot be reached",
        "(local v128)",
        &format!(
            "(v128.store (i32.const 0) {value})
            (block (br_if 0 (i32.const 1)) {two_states} (loop (br 0)) (v128.store (i32.const 16) (local.get 0)))"
        ),
    );
}

#[test]
fn functions_that_would_grow_too_much_are_refused() {
    let text = format!(
        r#"(module (func (export "_start") (f64.const 0) {} drop))"#,
        "f64.sqrt f64.neg ".repeat(super::super::limits::FUNCTION_BYTES / 2 - 100)
    );
    let wasm = wat::parse_str(text).expect("text of a module");
    let refusal = super::super::admit(&wasm, &LIMITS).expect_err("a refusal");
    assert!(refusal.to_string().contains("is too large"), "{refusal}");
}
