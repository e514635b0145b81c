//! `fedmkt exec` from outside: programs, folders, streams and exit codes.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// What programs import, a memory, and functions to work with.
///
/// Paths begin at the root, descriptor 3. `$must` ends the program with 100 plus the errno.
const PRELUDE: &str = r#"
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_remove_directory" (func $rmdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_symlink" (func $symlink (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_rename" (func $rename (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (func $must (param $errno i32)
    (if (local.get $errno) (then (call $exit (i32.add (i32.const 100) (local.get $errno))))))
  ;; Writes bytes to a descriptor.
  (func $write (param $fd i32) (param $at i32) (param $bytes i32)
    (i32.store (i32.const 65536) (local.get $at)) (i32.store (i32.const 65540) (local.get $bytes))
    (call $must (call $fd_write (local.get $fd) (i32.const 65536) (i32.const 1) (i32.const 65544))))
  ;; Reads up to 4096 bytes to 70000; gives their number.
  (func $read (param $fd i32) (result i32)
    (i32.store (i32.const 65536) (i32.const 70000)) (i32.store (i32.const 65540) (i32.const 4096))
    (call $must (call $fd_read (local.get $fd) (i32.const 65536) (i32.const 1) (i32.const 65544)))
    (i32.load (i32.const 65544)))
  ;; Opens a path, making it or cutting it as `$how` says; gives the descriptor.
  (func $open (param $at i32) (param $bytes i32) (param $how i32) (result i32)
    (call $must (call $path_open (i32.const 3) (i32.const 1) (local.get $at) (local.get $bytes) (local.get $how)
      (i64.const 0x42) (i64.const 0) (i32.const 0) (i32.const 65548)))
    (i32.load (i32.const 65548)))
"#;

/// A program of these fields, kept in a folder of its own.
struct Program {
    folder: TempDir,
}

impl Program {
    fn new(fields: &str) -> Self {
        Self::of_text(&format!("(module {PRELUDE} {fields})"))
    }

    fn of_text(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let wasm = wat::parse_str(text).expect("a module");
        fs::write(folder.path().join("program.wasm"), wasm).expect("written");
        Self { folder }
    }

    fn exec(&self, arguments: &[&str]) -> Output {
        self.exec_with_input(arguments, b"")
    }

    /// Arguments before `--` first, with the module put in front.
    fn exec_with_input(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = fedmkt();
        command.arg(self.folder.path().join("program.wasm")).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.as_mut().expect("fedmkt starts");
        child.stdin.take().expect("a pipe").write_all(input).expect("it reads");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        std::io::copy(&mut child.stdout.take().expect("a pipe"), &mut out).expect("read");
        std::io::copy(&mut child.stderr.take().expect("a pipe"), &mut err).expect("read");
        Output { status: child.wait().expect("it ends"), stdout: out, stderr: err }
    }
}

fn fedmkt() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fedmkt"));
    command.arg("exec");
    command
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

/// A folder with files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, content).expect("written");
    }
    folder
}

/// Everything below a folder: folders with `/`, links with their target.
fn shown(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(folder.join(&path)).expect("a folder") {
            let entry = entry.expect("an entry");
            let below = path.join(entry.file_name());
            let kind = entry.file_type().expect("a type");
            let name = below.display();
            if kind.is_dir() {
                all.push(format!("{name}/"));
                open.push(below);
            } else if kind.is_symlink() {
                all.push(format!("{name}->{}", fs::read_link(entry.path()).expect("a link").display()));
            } else {
                all.push(format!("{name}={}", fs::read_to_string(entry.path()).expect("text")));
            }
        }
    }
    all.sort();
    all
}

fn dir(guest: &str, host: &Path) -> String {
    format!("--dir={guest}={}", host.display())
}

#[test]
fn arguments_and_environment_are_passed() {
    let program = Program::new(
        r#"(func (export "_start")
          (call $must (call $args_sizes_get (i32.const 0) (i32.const 4)))
          (call $must (call $args_get (i32.const 100) (i32.const 2000)))
          (call $write (i32.const 1) (i32.const 2000) (i32.load (i32.const 4)))
          (call $must (call $environ_sizes_get (i32.const 0) (i32.const 4)))
          (call $must (call $environ_get (i32.const 100) (i32.const 2000)))
          (call $write (i32.const 1) (i32.const 2000) (i32.load (i32.const 4))))"#,
    );
    let output = program.exec(&["--env", "A=1", "--env=B=x=y", "--", "--first", "-", ""]);
    assert_eq!(code(&output), 0, "{output:?}");
    let shown = String::from_utf8(output.stdout).expect("text");
    assert_eq!(shown, "program.wasm\0--first\0-\0\0A=1\0B=x=y\0");
}

#[test]
fn standard_streams_are_passed_through() {
    let program = Program::new(
        r#"(func (export "_start") (local $bytes i32)
          (loop $more
            (local.set $bytes (call $read (i32.const 0)))
            (call $write (i32.const 1) (i32.const 70000) (local.get $bytes))
            (br_if $more (local.get $bytes)))
          (call $write (i32.const 2) (i32.const 0) (i32.const 4)))
        (data (i32.const 0) "end\n")"#,
    );
    let input: Vec<u8> = (0..100_000u32).map(|n| (n * 7) as u8).collect();
    let output = program.exec_with_input(&[], &input);
    assert_eq!(code(&output), 0);
    assert!(output.stdout == input);
    assert_eq!(output.stderr, b"end\n");
}

#[test]
fn the_exit_code_is_the_programs() {
    for (exit, expected) in [(0, 0), (7, 7), (255, 255), (256, 255), (-1, 255)] {
        let program = Program::new(&format!(r#"(func (export "_start") (call $exit (i32.const {exit})))"#));
        assert_eq!(code(&program.exec(&[])), expected, "{exit}");
    }
    let trapping = Program::new(r#"(func (export "_start") unreachable)"#).exec(&[]);
    assert_eq!(code(&trapping), 134);
    assert!(String::from_utf8_lossy(&trapping.stderr).contains("trapped"));
    let endless = Program::new(r#"(func $f (export "_start") (call $f))"#).exec(&[]);
    assert_eq!(code(&endless), 134, "recursion ends where admission says");
}

#[test]
fn what_cannot_run_is_told_as_such() {
    let refused = Program::of_text(r#"(module (import "env" "f" (func)) (func (export "_start")))"#);
    let output = refused.exec(&[]);
    assert_eq!(code(&output), 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("refused: imports \"f\""));
    let reactor = Program::new(
        r#"(func (export "_initialize")) (func (export "fedmkt_init") (result i32) i32.const 0)
        (func (export "fedmkt_step") (result i32) i32.const 1)"#,
    );
    let output = reactor.exec(&[]);
    assert_eq!(code(&output), 3);
    assert!(String::from_utf8_lossy(&output.stderr).contains("`_start`"));
    let stepper = Program::new(
        r#"(func (export "_start") (call $exit (i32.const 9))) (func (export "fedmkt_init") (result i32) i32.const 0)
        (func (export "fedmkt_step") (result i32) i32.const 1)"#,
    );
    assert_eq!(code(&stepper.exec(&[])), 9, "a stepper that is a command is one");
    let program = Program::new(r#"(func (export "_start"))"#);
    assert_eq!(code(&program.exec(&["--dir", "data"])), 2);
    assert_eq!(code(&program.exec(&["--env", "=x"])), 2);
    assert_eq!(code(&program.exec(&["--dir", "/a=/nowhere/at/all"])), 3);
    let one = folder(&[]);
    assert_eq!(code(&program.exec(&[&dir("/a", one.path()), &dir("/a/b", one.path())])), 3);
    assert_eq!(code(&program.exec(&[&dir("/../a", one.path())])), 3);
    assert_eq!(code(&program.exec(&["--memory", "64KiB"])), 1, "it begins with more");
    let missing = fedmkt().arg("/nowhere/program.wasm").output().expect("fedmkt starts");
    assert_eq!(code(&missing), 3);
}

/// Copies `/in/a` to `/out/d/copy`, removes `/out/old`, overwrites `/out/kept`, and makes links.
const CHANGES: &str = r#"
  (func (export "_start") (local $to i32)
    (call $must (call $mkdir (i32.const 3) (i32.const 0) (i32.const 5)))
    (local.set $to (call $open (i32.const 10) (i32.const 10) (i32.const 1)))
    (call $write (local.get $to) (i32.const 70000) (call $read (call $open (i32.const 30) (i32.const 4) (i32.const 0))))
    (call $must (call $unlink (i32.const 3) (i32.const 40) (i32.const 7)))
    (local.set $to (call $open (i32.const 50) (i32.const 8) (i32.const 8)))
    (call $write (local.get $to) (i32.const 60) (i32.const 3))
    (call $must (call $symlink (i32.const 70) (i32.const 6) (i32.const 3) (i32.const 80) (i32.const 8)))
    (call $must (call $symlink (i32.const 90) (i32.const 8) (i32.const 3) (i32.const 100) (i32.const 7)))
    (call $must (call $rename (i32.const 3) (i32.const 110) (i32.const 9) (i32.const 3) (i32.const 120) (i32.const 9)))
    (call $exit (i32.const 5)))
  (data (i32.const 0) "out/d")
  (data (i32.const 10) "out/d/copy")
  (data (i32.const 30) "in/a")
  (data (i32.const 40) "out/old")
  (data (i32.const 50) "out/kept")
  (data (i32.const 60) "new")
  (data (i32.const 70) "d/copy")
  (data (i32.const 80) "out/link")
  (data (i32.const 90) "../../in")
  (data (i32.const 100) "out/bad")
  (data (i32.const 110) "out/moved")
  (data (i32.const 120) "out/there")
"#;

#[test]
fn folders_stay_as_they_are_unless_they_are_to_be_written() {
    let program = Program::new(CHANGES);
    let input = folder(&[("a", "content")]);
    let files = [("old", "1"), ("kept", "long before"), ("moved/f", "f"), ("same/g", "g")];
    let out = folder(&files);
    let before = shown(out.path());
    let dirs = [dir("/in", input.path()), dir("out/", out.path())];
    let arguments: Vec<&str> = dirs.iter().map(String::as_str).collect();
    assert_eq!(code(&program.exec(&arguments)), 5);
    assert_eq!(shown(out.path()), before);

    let same = fs::metadata(out.path().join("same/g")).expect("a file").modified().expect("a time");
    let output = program.exec(&[&arguments[..], &["--write-back"]].concat());
    assert_eq!(code(&output), 5, "{output:?}");
    let expected = ["d/", "d/copy=content", "kept=new", "link->d/copy", "same/", "same/g=g", "there/", "there/f=f"];
    assert_eq!(shown(out.path()), expected);
    assert_eq!(shown(input.path()), ["a=content"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("bad would lead to"), "{output:?}");
    let untouched = fs::metadata(out.path().join("same/g")).expect("a file").modified().expect("a time");
    assert_eq!(same, untouched);
}

#[test]
fn a_program_may_have_the_root_and_cannot_leave_it() {
    let program = Program::new(
        r#"(func (export "_start")
          (drop (call $open (i32.const 0) (i32.const 3) (i32.const 1)))
          (call $must (call $path_open (i32.const 3) (i32.const 1) (i32.const 10) (i32.const 14) (i32.const 0)
            (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 65548))))
        (data (i32.const 0) "new") (data (i32.const 10) "up/secret/file")"#,
    );
    let around = folder(&[("secret/file", "secret"), ("root/f", "")]);
    std::os::unix::fs::symlink("..", around.path().join("root/up")).expect("linked");
    let output = program.exec(&[&dir("/", &around.path().join("root")), "--write-back"]);
    assert_eq!(code(&output), 163, "perm: {output:?}");
    assert_eq!(shown(&around.path().join("root")), ["f=", "new=", "up->.."]);
}

#[cfg(unix)]
#[test]
fn a_folder_with_more_than_files_is_read_as_far_as_it_goes() {
    let program = Program::new(r#"(func (export "_start"))"#);
    let odd = folder(&[("f", "")]);
    let _socket = std::os::unix::net::UnixListener::bind(odd.path().join("socket")).expect("a socket");
    let output = program.exec(&[&dir("/a", odd.path()), "--write-back"]);
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("socket is no file"), "{output:?}");
    assert!(odd.path().join("socket").exists());
    use std::os::unix::ffi::OsStrExt;
    fs::write(odd.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").expect("written");
    let output = program.exec(&[&dir("/a", odd.path())]);
    assert_eq!(code(&output), 3);
    assert!(String::from_utf8_lossy(&output.stderr).contains("not UTF-8"), "{output:?}");
}

#[test]
fn a_folder_that_is_too_large_is_refused() {
    let program = Program::new(r#"(func (export "_start"))"#);
    let large = folder(&[("f", &"x".repeat(5000))]);
    let output = program.exec(&[&dir("/a", large.path()), "--room=4KiB"]);
    assert_eq!(code(&output), 3);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--room"), "{output:?}");
    assert_eq!(code(&program.exec(&[&dir("/a", large.path()), "--room=8KiB"])), 0);
}

#[test]
fn every_run_is_the_same() {
    let program = Program::new(
        r#"(func (export "_start")
          (call $must (call $random_get (i32.const 0) (i32.const 16)))
          (call $must (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 16)))
          (call $write (i32.const 1) (i32.const 0) (i32.const 24)))"#,
    );
    let first = program.exec(&[]).stdout;
    assert_eq!(first.len(), 24);
    assert_eq!(program.exec(&[]).stdout, first);
}

#[test]
fn a_program_ends_when_nobody_reads_it_any_more() {
    let program = Program::new(
        r#"(func (export "_start") (loop $more (call $write (i32.const 1) (i32.const 0) (i32.const 4096)) (br $more)))"#,
    );
    let mut command = fedmkt();
    command.arg(program.folder.path().join("program.wasm"));
    let mut child = command.stdout(Stdio::piped()).spawn().expect("fedmkt starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
}

/// What the kernel says about each thread of a program that waits for input: whether it can gain privileges, and how its
/// system calls are filtered.
fn walls(arguments: &[String]) -> Vec<String> {
    let program = Program::new(
        r#"(data (i32.const 0) "ready")
        (func (export "_start")
          (call $write (i32.const 1) (i32.const 0) (i32.const 5))
          (drop (call $read (i32.const 0))))"#,
    );
    let mut command = fedmkt();
    command.arg(program.folder.path().join("program.wasm")).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("fedmkt starts");
    let mut said = [0; 5];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut said).expect("it is ready");
    let threads = fs::read_dir(format!("/proc/{}/task", child.id())).expect("Linux tells");
    let found = threads.map(|thread| {
        let status = fs::read_to_string(thread.expect("a thread").path().join("status")).expect("Linux tells");
        let lines = status.lines().filter(|line| ["NoNewPrivs:", "Seccomp:"].iter().any(|name| line.starts_with(name)));
        lines.collect::<Vec<_>>().join(" ")
    });
    let found = found.collect();
    drop(child.stdin.take());
    assert!(child.wait().expect("it ends").success());
    found
}

#[test]
fn the_process_is_locked_in_unless_it_has_to_write_back() {
    let folder = folder(&[("a", "text")]);
    let shared = dir("/work", folder.path());
    let kept_in = walls(std::slice::from_ref(&shared));
    assert_eq!(kept_in.len(), 2, "the guest has a thread of its own");
    // 2: system calls are filtered.
    assert!(kept_in.iter().all(|thread| thread == "NoNewPrivs:\t1 Seccomp:\t2"), "{kept_in:?}");
    let free = walls(&[shared, "--write-back".into()]);
    assert!(free.iter().all(|thread| thread.ends_with("Seccomp:\t0")), "{free:?}");
}
