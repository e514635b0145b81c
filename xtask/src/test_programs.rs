//! The tests of the workspace: cargo builds them, several programs of them run at a time.
//!
//! `cargo test` runs one program after the other. Some of them keep all processors busy, others wait for a chain's next block:
//! side by side they take half as long.

use std::collections::VecDeque;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{self, cargo, command};
use crate::workspace::Workspace;

/// Targets whose tests take minutes: these are begun first.
const LONG: &[&str] = &["equality", "chain", "watch", "training", "cli"];

/// What tests write in front of the reason why they did nothing.
const SKIPPED: &str = "SKIPPED";

/// A program of tests.
struct Program {
    /// The package and the target in it.
    name: String,
    /// Its place in [`LONG`], or behind all of these.
    order: usize,
    path: PathBuf,
    /// The package's, in which its tests expect to be.
    folder: PathBuf,
}

/// Builds and runs all tests of the workspace, those in documentation too, in the environment that `prepare` adds. Returns the
/// lines with which tests said that they did nothing, sorted, each once.
///
/// # Errors
/// If they do not build, or a test fails; the others run all the same.
pub fn run(workspace: &Workspace, prepare: impl Fn(&mut Command) + Sync) -> Result<Vec<String>> {
    let mut programs = build(workspace, &prepare)?;
    programs.sort_by(|one, other| (one.order, &one.name).cmp(&(other.order, &other.name)));
    // One more than there are processors, for there is always one that waits.
    let at_once = 1 + std::thread::available_parallelism().map_or(1, usize::from);
    println!("   {} programs of tests, {at_once} at a time", programs.len());
    let queue = Mutex::new(VecDeque::from(programs));
    let (skipped, failed) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(program) = { locked(&queue).pop_front() } {
                    match run_program(workspace, &program, &prepare) {
                        Ok(said) => locked(&skipped).extend(said),
                        Err(error) => {
                            println!("   {}: {error:#}", program.name);
                            locked(&failed).push(program.name);
                        }
                    }
                }
            });
        }
    });
    let (mut skipped, mut failed) = (into_inner(skipped), into_inner(failed));

    let mut documentation = cargo(workspace);
    prepare(&mut documentation);
    documentation.args(["test", "--locked", "--workspace", "--no-fail-fast", "--doc"]);
    if let Err(error) = process::run(&mut documentation) {
        println!("   {error:#}");
        failed.push("documentation".into());
    }
    if !failed.is_empty() {
        failed.sort();
        bail!("{} programs of tests failed: {}", failed.len(), failed.join(", "));
    }
    skipped.sort();
    skipped.dedup();
    Ok(skipped)
}

/// Has cargo build the tests, and tell where they are.
fn build(workspace: &Workspace, prepare: &impl Fn(&mut Command)) -> Result<Vec<Program>> {
    let mut build = cargo(workspace);
    prepare(&mut build);
    build.args(["test", "--locked", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
    println!("   $ {}", process::typed(&build));
    let output = build.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("starting cargo")?;
    if !output.status.success() {
        bail!("the tests do not build");
    }
    let messages = String::from_utf8(output.stdout).context("what cargo wrote is not UTF-8")?;
    let programs: Vec<Program> = messages.lines().filter_map(program).collect();
    if programs.is_empty() {
        bail!("cargo built no tests");
    }
    Ok(programs)
}

/// The program of tests that a message of cargo's tells of, if it does.
fn program(message: &str) -> Option<Program> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let target = message["target"]["name"].as_str()?;
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
    Some(Program {
        name: format!("{} {target}", folder.file_name()?.to_str()?),
        order: LONG.iter().position(|long| *long == target).unwrap_or(LONG.len()),
        path: message["executable"].as_str()?.into(),
        folder: folder.into(),
    })
}

/// Runs the tests of a program, prints what it wrote when it ends, and returns the lines that tell what was skipped.
fn run_program(workspace: &Workspace, program: &Program, prepare: &impl Fn(&mut Command)) -> Result<Vec<String>> {
    let begin = Instant::now();
    let (mut read, write) = std::io::pipe()?;
    let mut child = {
        let mut test = command(workspace, &program.path);
        prepare(&mut test);
        test.current_dir(&program.folder).env("CARGO_MANIFEST_DIR", &program.folder);
        // A test that lacks something on this machine says so and passes; shown is what passing tests print, so that it is seen.
        test.arg("--show-output").stdin(Stdio::null()).stdout(write.try_clone()?).stderr(write);
        // Gone with the command are this side's ends of the pipe, so that reading ends with the program.
        test.spawn().with_context(|| format!("starting {}", program.path.display()))?
    };
    let mut said = Vec::new();
    read.read_to_end(&mut said)?;
    let status = child.wait()?;
    let said = String::from_utf8_lossy(&said);
    let outcome = if status.success() { "ended" } else { "FAILED" };
    // In one piece: the others print, too.
    print!("== {} {outcome} after {:.1} s\n{said}", program.name, begin.elapsed().as_secs_f32());
    if !status.success() {
        bail!("tests failed ({status})");
    }
    Ok(said.lines().filter(|line| line.starts_with(SKIPPED)).map(str::to_owned).collect())
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while it is locked")
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().expect("nobody panics while it is locked")
}
