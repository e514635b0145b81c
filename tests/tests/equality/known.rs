//! Modules that somebody wrote: what generated ones seldom meet, and what was once wrong.

use fedmkt_core::image::Status;

use crate::everywhere::compare;
use crate::job::Job;
use crate::{machines, native};

/// A stepper whose only step is this body; memory has at most 16 pages. It ends before it is done, so that its states are
/// compared with all their memory.
fn same_everywhere(functions: &str, body: &str) -> Status {
    let text = format!(
        r#"(module (memory (export "memory") 4 16) {functions}
            (func (export "_initialize"))
            (func (export "fedmkt_init") (result i32) i32.const 0)
            (func (export "fedmkt_step") (result i32) {body} i32.const 0))"#
    );
    let trainer = wat::parse_str(text).expect("wasm text");
    match compare(&Job::of(&trainer, 8), &native(), machines(), 2, |step| step == 1) {
        Ok(Ok(history)) => history.last.status,
        Ok(Err(refusal)) => panic!("{refusal}"),
        Err(difference) => panic!("{difference}"),
    }
}

#[test]
fn lanes_are_stored_beyond_offset_65535() {
    let body = "(v128.store8_lane offset=65536 3 (i32.const 1) (v128.const i32x4 0x04030201 5 6 7))
        (v128.store16_lane offset=100000 3 (i32.const 1) (v128.const i32x4 0x04030201 5 6 7))
        (v128.store32_lane offset=131071 3 (i32.const 1) (v128.const i32x4 0x04030201 5 6 7))
        (v128.store64_lane offset=200000 1 (i32.const 1) (v128.const i32x4 0x04030201 5 6 7))";
    assert_eq!(same_everywhere("", body), Status::Running);
}

#[test]
fn select_follows_a_comparison_with_zero() {
    let functions = "(func $f (param i32) (result i32) (local i32 i32)
        (local.set 1 (i32.add (local.get 2) (i32.const 3))) i32.const 10 i32.const 20 local.get 0 i32.eqz select)";
    let body = "(i32.store (i32.const 0) (call $f (i32.const 0))) (i32.store (i32.const 4) (call $f (i32.const 7)))";
    assert_eq!(same_everywhere(functions, body), Status::Running);
}

#[test]
fn a_local_lies_below_the_parameters_of_a_block() {
    let functions = "(func $f (param i32) (result i32) local.get 0 i32.const 5 block (param i32) (result i32)
        local.get 0 br_if 0 i32.const 100 local.set 0 end i32.sub)";
    let body = "(i32.store (i32.const 0) (call $f (i32.const 0))) (i32.store (i32.const 4) (call $f (i32.const 7)))";
    assert_eq!(same_everywhere(functions, body), Status::Running);
}

#[test]
fn recursion_reaches_the_limit_at_the_same_depth() {
    // The depth is in memory when the guest overflows, and nothing of it is in a trapped state. So the limit is found by
    // the last depth that is still good.
    let functions = "(func $down (param i32) (result i32)
        local.get 0 i32.eqz if (result i32) i32.const 0 else local.get 0 i32.const 1 i32.sub call $down i32.const 1 i32.add end)";
    let ends =
        |depth: u32| same_everywhere(functions, &format!("(i32.store (i32.const 0) (call $down (i32.const {depth})))"));
    let (mut good, mut bad) = (1, 1 << 20);
    let admitted = |depth: u32| {
        let text = format!(
            r#"(module (memory (export "memory") 1 1) {functions} (func (export "_initialize"))
                (func (export "fedmkt_init") (result i32) i32.const 0)
                (func (export "fedmkt_step") (result i32) (drop (call $down (i32.const {depth}))) i32.const 0))"#
        );
        let job = Job::of(&wat::parse_str(text).expect("wasm text"), 8);
        let admitted = job.inputs.admit().expect("admitted");
        crate::everywhere::history(native(), &admitted, &job, 2, false).last.status
    };
    while bad - good > 1 {
        let middle = (good + bad) / 2;
        if admitted(middle) == Status::Running { good = middle } else { bad = middle }
    }
    assert!(good > 1000, "{good} calls are few");
    assert_eq!(ends(good), Status::Running);
    assert_eq!(ends(bad + 1), Status::Trapped);
}

#[test]
fn memory_grows_to_its_limit_and_no_further() {
    let body = "(i32.store (i32.const 0) (memory.grow (i32.const 12)))
        (i64.store (i32.const 8) (i64.extend_i32_u (memory.grow (i32.const 1))))
        (i64.store (i32.const 16) (i64.extend_i32_s (memory.grow (i32.const 65536))))
        (i32.store (i32.const 24) (memory.size))
        (memory.fill (i32.const 983040) (i32.const 7) (i32.const 65536))
        (memory.copy (i32.const 100) (i32.const 983000) (i32.const 5000))";
    assert_eq!(same_everywhere("", body), Status::Running);
}

#[test]
fn nans_of_all_kinds_look_the_same() {
    let mut body = String::new();
    let mut at = 0;
    let numbers = ["0x7fc00000", "0xffc00001", "0x7f800001", "0xff800000", "0x00000000", "0x3f800000"];
    for left in numbers {
        for right in numbers {
            for operator in ["f32.add", "f32.sub", "f32.mul", "f32.div", "f32.min", "f32.max", "f32.copysign"] {
                let value = |bits| format!("(f32.reinterpret_i32 (i32.const {bits}))");
                let (left, right) = (value(left), value(right));
                let splat = |value: &str| format!("(f32x4.splat {value})");
                let vector = operator.replace("f32.", "f32x4.");
                body += &format!("(f32.store (i32.const {at}) ({operator} {left} {right}))");
                body += &format!("(f64.store (i32.const {}) (f64.promote_f32 ({operator} {left} {right})))", at + 8);
                if operator != "f32.copysign" {
                    let (left, right) = (splat(&left), splat(&right));
                    body += &format!("(v128.store (i32.const {}) ({vector} {left} {right}))", at + 16);
                }
                at += 32;
            }
        }
    }
    assert_eq!(same_everywhere("", &body), Status::Running);
}
