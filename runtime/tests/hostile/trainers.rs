//! Trainers that mean harm: what they get is an error number, a trap, or their end.

use crate::support::{Client, Done};
use fedmkt_core::manifest::{Manifest, SizeClass};

/// WASI, two pages of memory, and texts to point to: paths of these lengths stand at these places.
const PRELUDE: &str = r#"
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_symlink" (func $symlink (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_rename" (func $rename (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_allocate" (func $allocate (param i32 i64 i64) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send" (func $send (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_raise" (func $raise (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 256) "/etc/passwd")
  (data (i32.const 320) "out/../../etc/passwd")
  (data (i32.const 384) "data/a.txt")
  (data (i32.const 448) "job/model")
  (data (i32.const 512) "../../etc")
  (data (i32.const 576) "out/up")
  (data (i32.const 640) "out/up/passwd")
  (data (i32.const 704) "out/big")
  (data (i32.const 768) "tmp/big")
  (data (i32.const 1024) "\1b]0;title\07\1b[2J\1b[31mfedmkt-run: done\08\r\0a")
  ;; Opens a path, with rights to read or write.
  (func $open (param $at i32) (param $length i32) (param $how i32) (param $rights i64) (result i32)
    (call $path_open (i32.const 3) (i32.const 1) (local.get $at) (local.get $length) (local.get $how)
      (local.get $rights) (i64.const 0) (i32.const 0) (i32.const 128)))
  ;; Writes a memory page to a descriptor again and again; gives the first error.
  (func $fill (param $fd i32) (result i32) (local $errno i32)
    (i32.store (i32.const 0) (i32.const 65536)) (i32.store (i32.const 4) (i32.const 65536))
    (loop $more
      (br_if $more (i32.eqz (local.tee $errno (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))))
    (local.get $errno))
  (func $open_all (result i32) (local $errno i32)
    (loop $more
      (br_if $more (i32.eqz (local.tee $errno (call $open (i32.const 384) (i32.const 10) (i32.const 0) (i64.const 2))))))
    (local.get $errno))
  (func $recurse (param i32) (result i32) (i32.add (call $recurse (local.get 0)) (i32.const 1)))
"#;

/// A stepper whose first step ends the process with what this expression gives.
fn exits_with(expression: &str) -> Vec<u8> {
    stepper("", &format!("(call $exit {expression})"), "")
}

fn stepper(fields: &str, init: &str, step: &str) -> Vec<u8> {
    let text = format!(
        r#"(module {PRELUDE} {fields} (func (export "_initialize"))
            (func (export "fedmkt_init") (result i32) {init} (i32.const 0))
            (func (export "fedmkt_step") (result i32) {step} (i32.const 1)))"#
    );
    wat::parse_str(text).expect("wasm text")
}

fn run(wasm: &[u8], change: impl FnOnce(&mut Manifest)) -> Done {
    let client = Client::new();
    let job = client.publish(wasm, change).to_string();
    client.run(&job)
}

#[test]
fn what_a_trainer_must_not_do_gives_it_an_error_number() {
    let (perm, rofs, nospc, mfile, notsock, notsup, fbig) = (63, 69, 51, 33, 57, 58, 22);
    let cases = [
        ("an absolute path", "(call $open (i32.const 256) (i32.const 11) (i32.const 0) (i64.const 2))", perm),
        ("a path that leads out", "(call $open (i32.const 320) (i32.const 20) (i32.const 0) (i64.const 2))", perm),
        (
            "a symbolic link that leads out",
            "(block (result i32)
               (drop (call $symlink (i32.const 512) (i32.const 9) (i32.const 3) (i32.const 576) (i32.const 6)))
               (call $open (i32.const 640) (i32.const 13) (i32.const 0) (i64.const 2)))",
            perm,
        ),
        (
            "an absolute link",
            "(call $symlink (i32.const 256) (i32.const 11) (i32.const 3) (i32.const 576) (i32.const 6))",
            perm,
        ),
        ("writing to the data", "(call $open (i32.const 384) (i32.const 10) (i32.const 0) (i64.const 64))", rofs),
        ("truncating the model", "(call $open (i32.const 448) (i32.const 9) (i32.const 8) (i64.const 2))", rofs),
        ("removing the data", "(call $unlink (i32.const 3) (i32.const 384) (i32.const 10))", rofs),
        (
            "moving the data",
            "(call $rename (i32.const 3) (i32.const 384) (i32.const 10) (i32.const 3) (i32.const 704) (i32.const 7))",
            rofs,
        ),
        (
            "more results than allowed",
            "(block (result i32)
               (drop (call $open (i32.const 704) (i32.const 7) (i32.const 1) (i64.const 64)))
               (call $fill (i32.load (i32.const 128))))",
            nospc,
        ),
        (
            "more scratch files than allowed",
            "(block (result i32)
               (drop (call $open (i32.const 768) (i32.const 7) (i32.const 1) (i64.const 64)))
               (call $fill (i32.load (i32.const 128))))",
            nospc,
        ),
        (
            "room for more than the job allows",
            "(block (result i32)
               (drop (call $open (i32.const 704) (i32.const 7) (i32.const 1) (i64.const 256)))
               (call $allocate (i32.load (i32.const 128)) (i64.const 0) (i64.const 0x28000)))",
            fbig,
        ),
        (
            "room for more than there is anywhere",
            "(block (result i32)
               (drop (call $open (i32.const 704) (i32.const 7) (i32.const 1) (i64.const 256)))
               (call $allocate (i32.load (i32.const 128)) (i64.const 0) (i64.const 0x4000000000000)))",
            fbig,
        ),
        ("ten thousand open files", "(call $open_all)", mfile),
        ("sending", "(call $send (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 8))", notsock),
        ("accepting", "(call $accept (i32.const 1) (i32.const 0) (i32.const 8))", notsock),
        ("signals", "(call $raise (i32.const 9))", notsup),
        // What -1 as unsigned number becomes, as it would with any engine.
        ("more memory than allowed", "(i32.sub (memory.grow (i32.const 15)) (i32.const -8))", 7),
        ("all memory there is", "(i32.sub (memory.grow (i32.const 65535)) (i32.const -8))", 7),
    ];
    for (what, expression, errno) in cases {
        let object = run(&exits_with(expression), |manifest| manifest.limits.scratch = 8192).object(6);
        assert_eq!(object["exit_code"], errno, "{what}: {object}");
        assert_eq!(object["status"], "failed", "{what}");
    }
}

#[test]
fn memory_can_grow_as_far_as_the_job_allows() {
    // 2 of 16 pages are there.
    let object = run(&exits_with("(memory.grow (i32.const 14))"), |_| {}).object(6);
    assert_eq!(object["exit_code"], 2);
}

#[test]
fn a_trainer_that_never_ends_is_ended_wherever_it_hangs() {
    let forever = "(loop $again (br $again))";
    let in_calls = "(loop $again (drop (call $random (i32.const 65536) (i32.const 65536))) (br $again))";
    let asleep = "(i32.store8 (i32.const 4096) (i32.const 0)) (i64.store (i32.const 4120) (i64.const -1))
        (loop $again (drop (call $poll (i32.const 4096) (i32.const 8192) (i32.const 1) (i32.const 16))) (br $again))";
    let text = |fields: &str| wat::parse_str(format!("(module {PRELUDE} {fields})")).expect("wasm text");
    let ends = r#"(func (export "fedmkt_init") (result i32) i32.const 0)
        (func (export "fedmkt_step") (result i32) i32.const 1)"#;
    let cases = [
        ("a start function", text(&format!(r#"(start $s) (func $s {forever}) (func (export "_initialize")) {ends}"#))),
        ("_initialize", text(&format!(r#"(func (export "_initialize") {forever}) {ends}"#))),
        ("_start", text(&format!(r#"(func (export "_start") {forever})"#))),
        ("fedmkt_init", stepper("", forever, "")),
        ("fedmkt_step", stepper("", "", forever)),
        ("calls of the host", stepper("", "", in_calls)),
        ("sleep", stepper("", "", asleep)),
    ];
    for (what, wasm) in cases {
        let done = run(&wasm, |manifest| manifest.limits.step_seconds = 1);
        assert_eq!(done.code, Some(7), "{what}: {}", done.stderr);
        assert!(done.stderr.contains("there is no result"), "{what}: {}", done.stderr);
        assert_eq!(done.json, None, "{what}");
    }
}

#[test]
fn recursion_without_end_traps_and_is_a_result_like_any_other() {
    let object = run(&exits_with("(call $recurse (i32.const 1))"), |_| {}).object(6);
    assert_eq!(object["status"], "trapped");
    assert!(object["receipt"].is_string());
}

/// What a function computes before it calls itself and would compute again after, a compiler keeps on the native stack.
#[test]
fn recursion_with_large_native_frames_traps_where_every_engine_does() {
    let values: String = (0..1000)
        .map(|number| format!("(i64x2.replace_lane 0 (local.get 0) (i64.const {number})) v128.xor "))
        .collect();
    let deep = format!("(func $deep (param v128) (result v128) (local.get 0) {values} call $deep {values})");
    let init = "(drop (i32x4.extract_lane 0 (call $deep (v128.const i64x2 1 2))))";
    let object = run(&stepper(&deep, init, ""), |_| {}).object(6);
    assert_eq!(object["status"], "trapped");
}

#[test]
fn recursion_with_frames_of_what_calls_handed_over_traps_where_every_engine_does() {
    // Nine values are needed to the end, so that a compiler that looks for a free place among the first ten finds none for the
    // results of a call, and gives each another one.
    let floats = "f64 ".repeat(8);
    let all: String = (0..8).map(|local| format!("(local.get {local})")).collect();
    let kept: String = (1..10).map(|local| format!("(local.get {local})")).collect();
    let passed: String = (1..9).map(|local| format!("(local.get {local})")).collect();
    let handed_over = "call $same call $nothing ".repeat(1000);
    let functions = format!(
        "(func $nothing) (func $same (param {floats}) (result {floats}) {all})
         (func $deep (param i32 {floats} f64)
           (if (i32.eqz (local.get 0)) (then (return)))
           {passed} {handed_over} {} (i32.sub (local.get 0) (i32.const 1)) {kept} call $deep)",
        "drop ".repeat(8)
    );
    let zeros = "(f64.const 0)".repeat(9);
    let status = |depth: u32| {
        let done = run(&stepper(&functions, &format!("(call $deep (i32.const {depth}) {zeros})"), ""), |_| {});
        done.json.unwrap_or_else(|| panic!("{}", done.stderr))["status"].clone()
    };
    // 8,000 results count 500 words: some 400 frames have room, each of 112 kB natively.
    assert_ne!(status(300), "trapped");
    assert_eq!(status(1000), "trapped");
}

#[test]
fn a_flood_on_standard_output_harms_no_terminal() {
    let flood = "(local $n i32) (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 44))
        (loop $more
          (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
          (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (br_if $more (i32.lt_u (local.get $n) (i32.const 20000))))";
    let client = Client::new();
    let job = client.publish(&stepper("", flood, ""), |_| {}).to_string();
    let mut command = client.command(&job);
    let done = Done::of(command.arg("--log").output().expect("starts"));
    assert!(done.stderr.contains("fedmkt-run: done"), "it is shown");
    let harmless = |c: char| !c.is_control() || c == '\n';
    assert!(done.stderr.chars().all(harmless), "{:?}", done.stderr.chars().find(|&c| !harmless(c)));
    // Without being asked for it, nothing is shown.
    let quiet = client.run(&job);
    assert!(!quiet.stderr.contains("title"), "{}", quiet.stderr);
    assert_eq!(quiet.json.expect("a receipt")["receipt_body"], done.json.expect("a receipt")["receipt_body"]);
}

#[test]
fn modules_that_want_more_than_the_profile_has_are_refused_by_name() {
    let start = r#"(func (export "_start"))"#;
    let memory = r#"(memory (export "memory") 1)"#;
    let cases = [
        (format!(r#"(module (import "env" "system" (func)) {memory} {start})"#), "system"),
        (format!(r#"(module (import "wasi_snapshot_preview1" "fd_exec" (func)) {memory} {start})"#), "fd_exec"),
        (format!(r#"(module (import "wasi_unstable" "fd_write" (func)) {memory} {start})"#), "wasi_unstable"),
        (format!(r#"(module (import "env" "memory" (memory 1)) {start})"#), "memory"),
        (format!(r#"(module (import "wasi_snapshot_preview1" "g" (global i32)) {memory} {start})"#), "not a function"),
        (format!(r#"(module (import "wasi_snapshot_preview1" "fd_close" (func)) {memory} {start})"#), "fd_close"),
        (format!(r#"(module (memory (export "memory") i64 1) {start})"#), "64"),
        (format!(r#"(module {memory} (memory 1) {start})"#), "memor"),
        (format!(r#"(module {memory} (tag) {start})"#), "exception"),
        (format!(r#"(module {memory} (type (struct)) {start})"#), "garbage"),
        (format!(r#"(module {memory} (func $f (return_call $f)) {start})"#), "tail"),
        (format!(r#"(module (memory (export "memory") 1 65536) {start} (data (i32.const 0) "x"))"#), ""),
        (format!(r#"(module (memory (export "memory") 100) {start})"#), "memory"),
        (format!(r#"(module {memory})"#), "_start"),
        (format!(r#"(module {start})"#), ""),
    ];
    for (text, says) in cases {
        let done = run(&wat::parse_str(&text).expect("wasm text"), |_| {});
        if says.is_empty() {
            // Allowed, with what the job allows: it ends without results.
            assert_eq!(done.code, Some(6), "{text}: {}", done.stderr);
            continue;
        }
        assert_eq!(done.code, Some(3), "{text}: {}", done.stderr);
        let refusal = done.stderr.split("the trainer is refused").last().unwrap_or_default().to_lowercase();
        assert!(refusal.contains(says), "{text}: {says:?} is not in {refusal}");
        assert_eq!(done.json, None);
    }
}

#[test]
fn what_a_refusal_says_of_a_module_harms_no_terminal() {
    let name = r#"\1b]52;c;AAAA\07\1b[2J\e2\80\aefedmkt-run: done"#;
    let exports = format!(r#"(export "{name}" (func $f))"#).repeat(2);
    let text = format!(r#"(module (memory (export "memory") 1) (func $f (export "_start")) {exports})"#);
    let done = run(&wat::parse_str(&text).expect("wasm text"), |_| {});
    assert_eq!(done.code, Some(3), "{}", done.stderr);
    assert!(done.stderr.contains("fedmkt-run: done"), "it is named: {}", done.stderr);
    let harms = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!done.stderr.contains(harms), "{:?}", done.stderr);
}

#[test]
fn metrics_that_are_too_long_to_be_shown_do_not_end_the_run() {
    let long = "(local $n i64)
        (loop $more (br_if $more (i64.lt_u (local.tee $n (i64.add (local.get $n) (i64.const 1))) (i64.const 2000000000))))";
    let metrics = r#"(data (i32.const 832) "out/metrics.csv")"#;
    let fill = "(drop (call $open (i32.const 832) (i32.const 15) (i32.const 1) (i64.const 64)))
        (drop (call $fill (i32.load (i32.const 128))))";
    let wasm = stepper(metrics, fill, long);
    let done = run(&wasm, |manifest| {
        manifest.machine.class = SizeClass::M;
        manifest.limits.output = 20 << 20;
    });
    // Its results are missing, which is a result.
    assert_eq!(done.code, Some(6), "{}", done.stderr);
}
