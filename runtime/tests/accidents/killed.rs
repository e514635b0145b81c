//! `kill -9` and Ctrl-C at any moment.
//!
//! Every moment is right, so nothing here depends on how fast a computer is: moments are drawn from the time that an
//! undisturbed run takes, and from those at which a file appears, as most can go wrong around these.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal};

use crate::support::{self, Client, Done, agreed};

/// Numbers that differ from run to run of the tests; the seed is shown on failure.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970");
        Self(now.as_nanos() as u64 | 1)
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// All paths below a folder, of files that are there but for a moment too.
fn paths(folder: &Path) -> BTreeSet<PathBuf> {
    support::find(folder, "").into_iter().collect()
}

/// Waits for a moment of a process: some time after its start, or after it made its n-th file.
fn wait(child: &mut Child, folder: &Path, takes: Duration, dice: &mut Dice) {
    if dice.roll(2) == 0 {
        std::thread::sleep(takes.mul_f64(dice.roll(1000) as f64 / 900.0));
        return;
    }
    let mut seen = paths(folder);
    let mut files = 1 + dice.roll(6);
    while files > 0 && child.try_wait().expect("a child").is_none() {
        let now = paths(folder);
        if now.difference(&seen).next().is_some() {
            files -= 1;
        }
        seen.extend(now);
    }
    std::thread::sleep(Duration::from_micros(dice.roll(1500)));
}

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
        wait(&mut child, folder, takes, dice);
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
    let left: Vec<_> = paths(client.folder.path()).into_iter().filter(unfinished).collect();
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
