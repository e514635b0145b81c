//! `fedmkt check`.

use crate::sandbox::{Sandbox, stepper};

#[test]
fn a_module_that_may_run_is_described() {
    let sandbox = Sandbox::new();
    sandbox.write("trainer.wasm", stepper());
    let done = sandbox.run(&["check", "trainer.wasm"]);
    for said in ["may run as a trainer", "stepper", "64.00 KiB at its start", "fedmkt_step (function)"] {
        assert!(done.text().contains(said), "{said}: {}", done.text());
    }
    let object = sandbox.run(&["check", "trainer.wasm", "--json", "--memory", "1MiB"]).json();
    assert_eq!(object["admitted"], true);
    assert_eq!(object["form"], "stepper");
    assert_eq!(object["memory"]["initial_bytes"], 65_536);
    assert_eq!(object["memory"]["maximum_bytes"], 1 << 20);
    assert_eq!(object["exports"][0]["name"], "memory");
    assert_eq!(object["warnings"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_module_of_one_step_is_warned_about() {
    let sandbox = Sandbox::new();
    sandbox.write("command.wasm", wat::parse_str(r#"(module (func (export "_start")))"#).expect("a module"));
    let done = sandbox.run(&["check", "command.wasm"]);
    assert!(done.text().contains("command: `_start` is the only step"));
    assert!(done.stderr.contains("warning: exports `_start` only"), "{}", done.stderr);
}

#[test]
fn everything_that_speaks_against_a_module_is_said_at_once() {
    let sandbox = Sandbox::new();
    let text = r#"(module
        (import "env" "unknown" (func))
        (memory (export "memory") 1)
        (table 1 funcref)
        (func $sets_a_table (table.set (i32.const 0) (ref.null func)))
        (func (export "fedmkt_init") (result i32) i32.const 0))"#;
    sandbox.write("bad.wasm", wat::parse_str(text).expect("a module"));
    let done = sandbox.run(&["check", "bad.wasm"]);
    assert_eq!(done.code, Some(1));
    let said = String::from_utf8(done.stdout).expect("text");
    for finding in ["env", "fedmkt_init` without `fedmkt_step", "table.set"] {
        assert!(said.contains(finding), "{finding}: {said}");
    }
    assert!(said.contains("(function 1 `sets_a_table`, byte 0x"), "{said}");
    let done = sandbox.run(&["check", "bad.wasm", "--json"]);
    assert_eq!(done.code, Some(1));
    let object: serde_json::Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!(object["admitted"], false);
    let findings = object["findings"].as_array().expect("findings");
    assert!(findings.len() >= 3);
    let table = findings.iter().find(|finding| finding["what"].as_str().expect("text").contains("table.set"));
    let table = table.expect("a finding");
    assert_eq!(table["function"]["name"], "sets_a_table");
    assert!(table["offset"].as_u64().expect("a number") > 8);
}

#[test]
fn names_of_strangers_cannot_write_on_the_terminal() {
    let sandbox = Sandbox::new();
    let text = r#"(module (import "\1b[2J\e2\80\ae" "x" (func)) (func (export "_start")))"#;
    sandbox.write("rude.wasm", wat::parse_str(text).expect("a module"));
    let done = sandbox.run(&["check", "rude.wasm"]);
    assert_eq!(done.code, Some(1));
    let said = String::from_utf8(done.stdout).expect("text");
    assert!(!said.contains(['\u{1b}', '\u{202e}']), "{said:?}");
}

#[test]
fn what_is_no_module_is_refused_and_what_is_not_there_fails() {
    let sandbox = Sandbox::new();
    sandbox.write("text.wasm", "not a module");
    assert_eq!(sandbox.run(&["check", "text.wasm"]).code, Some(1));
    sandbox.write("empty.wasm", "");
    assert_eq!(sandbox.run(&["check", "empty.wasm"]).code, Some(1));
    sandbox.write("large.wasm", vec![0; (32 << 20) + 1]);
    assert_eq!(sandbox.run(&["check", "large.wasm"]).code, Some(1));
    sandbox.run(&["check", "nowhere.wasm"]).fails(3, "cannot read the module nowhere.wasm");
    sandbox.run(&["check", "."]).fails(3, "cannot read the module .");
}
