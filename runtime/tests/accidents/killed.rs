//! `kill -9` and Ctrl-C at any moment.
//!
//! Every moment is right, so nothing here depends on how fast a computer is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fedmkt_test_kit::accidents::{Dice, files_below, wait_for_a_moment};
use rustix::process::{Pid, Signal};

use crate::support::{self, Client, Done, agreed};

/// Runs the command again and again, ending it with the signal at some moment. Tells how often it was in time for that.
fn disturb(
    command: impl Fn() -> Command,
    folder: &Path,
    takes: Duration,
    times: u32,
    signal: Signal,
    dice: &mut Dice,
) -> u32 {
    let mut in_time = 0;
    for _ in 0..times {
        let mut child = command().spawn().expect("the command starts");
        wait_for_a_moment(&mut child, folder, takes, dice);
        let _ = rustix::process::kill_process(Pid::from_child(&child), signal);
        let done = Done::of(child.wait_with_output().expect("it ends"));
        match (done.code, signal) {
            (Some(0), _) => {}
            // Before its handler is there, the system's own answer to Ctrl-C ends the process.
            (None, _) | (Some(130), Signal::INT) => in_time += 1,
            other => panic!("{other:?}, seed {}:\n{}", dice.0, done.stderr),
        }
    }
    in_time
}

/// No file that is not whole is left anywhere.
fn assert_no_remains(client: &Client) {
    let unfinished = |path: &PathBuf| path.to_string_lossy().contains("/.fedmkt-unfinished");
    let left: Vec<_> = files_below(client.folder.path()).into_iter().filter(unfinished).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A client whose run takes some time and writes many files, and what comes of its undisturbed run.
fn setting() -> (Client, String, serde_json::Value, Duration) {
    let client = Client::new();
    let private = |manifest: &mut fedmkt_core::manifest::Manifest| {
        manifest.disclosure = fedmkt_core::manifest::Disclosure::Private;
    };
    let job = client.publish(&support::trainer(), private).to_string();
    let started = Instant::now();
    let expected = agreed(&client.run(&job).object(0));
    let takes = started.elapsed();
    forget(&client);
    (client, job, expected, takes)
}

/// Removes everything that a run made, so that the next one makes it anew.
fn forget(client: &Client) {
    for made in ["jobs", "capsules", "modules", "runs"] {
        fs::remove_dir_all(client.home().join(made)).expect("removed");
    }
    fs::remove_dir_all(client.out()).expect("removed");
}

#[test]
fn a_run_that_is_killed_at_any_moment_ends_with_the_same_receipt() {
    let (client, job, expected, takes) = setting();
    let mut dice = Dice::new();
    let seed = dice.0;
    let command = || {
        let mut command = client.command(&job);
        command.args(["--checkpoint-every", "0"]);
        command
    };
    let mut killed = 0;
    for _ in 0..8 {
        killed += disturb(command, client.folder.path(), takes, 10, Signal::KILL, &mut dice);
        let found = agreed(&client.run(&job).object(0));
        assert_eq!(found, expected, "seed {seed}");
        assert_no_remains(&client);
        let verified = client.store().verify_all(false).expect("verified");
        assert!(verified.damaged.is_empty() && verified.missing.is_empty(), "seed {seed}: {verified:?}");
        forget(&client);
    }
    assert!(killed > 10, "only {killed} were killed, seed {seed}");
}

/// The same with jobs, capsules and modules to be made each time: packing and compiling are disturbed.
#[test]
fn packing_that_is_killed_at_any_moment_is_done_again() {
    let (client, job, expected, takes) = setting();
    for number in 0..300 {
        fs::write(client.data().join(format!("more-{number}")), vec![number as u8; 40_000]).expect("a file");
    }
    let larger = |manifest: &mut fedmkt_core::manifest::Manifest| {
        manifest.disclosure = fedmkt_core::manifest::Disclosure::Private;
        manifest.data.most_bytes = 1 << 24;
    };
    let larger_job = client.publish(&support::trainer(), larger).to_string();
    assert_ne!(job, larger_job);
    let expected_root = client.run(&larger_job).object(0)["data_root"].clone();
    assert_ne!(expected_root, expected["data_root"]);
    forget(&client);
    let mut dice = Dice::new();
    let seed = dice.0;
    let mut killed = 0;
    for _ in 0..40 {
        killed += disturb(|| client.command(&larger_job), &client.home(), takes, 1, Signal::KILL, &mut dice);
        // Whatever there is, capsules that claim to be whole are.
        for record in support::find(&client.home().join("capsules"), ".json") {
            let name = record.file_stem().expect("a name").to_string_lossy().into_owned();
            let folder = client.home().join("capsules");
            assert!(fedmkt_runtime::packed::Packed::kept(&folder, &name).is_some(), "seed {seed}");
        }
        if dice.roll(3) == 0 {
            assert_eq!(client.run(&larger_job).object(0)["data_root"], expected_root, "seed {seed}");
            assert_no_remains(&client);
            forget(&client);
        }
    }
    assert!(killed > 5, "only {killed} were killed, seed {seed}");
}

#[test]
fn ctrl_c_at_any_moment_ends_with_130_and_the_next_run_with_the_same_receipt() {
    let (client, job, expected, takes) = setting();
    let mut dice = Dice::new();
    let seed = dice.0;
    let mut interrupted = 0;
    for _ in 0..4 {
        interrupted += disturb(|| client.command(&job), client.folder.path(), takes, 5, Signal::INT, &mut dice);
        assert_eq!(agreed(&client.run(&job).object(0)), expected, "seed {seed}");
        assert_no_remains(&client);
        forget(&client);
    }
    assert!(interrupted > 2, "only {interrupted} were interrupted, seed {seed}");
}

#[test]
fn ctrl_c_leaves_a_checkpoint_and_ends_the_worker() {
    let client = Client::new();
    // Steps until it is interrupted.
    let text = r#"(module (memory (export "memory") 1) (global $n (mut i32) (i32.const 0))
        (func (export "_initialize")) (func (export "fedmkt_init") (result i32) i32.const 0)
        (func (export "fedmkt_step") (result i32) (global.set $n (i32.add (global.get $n) (i32.const 1))) i32.const 0))"#;
    let long = |manifest: &mut fedmkt_core::manifest::Manifest| {
        manifest.limits.steps = 1 << 40;
        manifest.steps_per_segment = 1 << 32;
    };
    let job = client.publish(&wat::parse_str(text).expect("wasm text"), long).to_string();
    let child = client.command(&job).spawn().expect("starts");
    let pid = Pid::from_child(&child);
    // The handler is there once the run's folder is; then the worker starts.
    while support::find(&client.home().join("runs"), "lock").is_empty() || workers(pid).is_empty() {
        std::thread::yield_now();
    }
    let worker = workers(pid)[0];
    rustix::process::kill_process(pid, Signal::INT).expect("signalled");
    let done = Done::of(child.wait_with_output().expect("ends"));
    assert_eq!(done.code, Some(130), "{}", done.stderr);
    assert!(done.stderr.contains("the same command goes on from here"), "{}", done.stderr);
    assert!(!support::find(&client.home().join("runs"), ".state").is_empty());
    assert!(rustix::process::test_kill_process(worker).is_err(), "the worker is gone");
}

/// The processes that a process started.
fn workers(of: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("processes").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?)) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // After the name, which may hold anything: the state, then the parent.
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        if parent == Some(of.as_raw_nonzero().get()) {
            found.push(pid);
        }
    }
    found
}
