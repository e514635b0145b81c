//! Commands that are killed, interrupted, or run out of disk: the same command ends with the same CIDs.
//!
//! Every moment is right, so nothing here depends on how fast a computer is.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::sandbox::{Done, Sandbox};

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

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path);
        }
    }
    found
}

/// Waits for a moment of a process: some time after its start, or after it made its n-th file.
fn wait(child: &mut Child, store: &Path, takes: Duration, dice: &mut Dice) {
    if dice.roll(2) == 0 {
        std::thread::sleep(takes.mul_f64(dice.roll(1000) as f64 / 900.0));
        return;
    }
    let mut seen = files(store);
    let mut more = 1 + dice.roll(8);
    while more > 0 && child.try_wait().expect("a child").is_none() {
        let now = files(store);
        more = more.saturating_sub(now.difference(&seen).count() as u64);
        seen.extend(now);
    }
    std::thread::sleep(Duration::from_micros(dice.roll(500)));
}

/// What a store must be whatever became of those who wrote to it: blocks that are there are right.
fn assert_sound(sandbox: &Sandbox) {
    let verified = sandbox.store().verify_all(false).expect("verified");
    assert!(verified.damaged.is_empty() && verified.missing.is_empty(), "{verified:?}");
}

/// A sandbox with a job to publish, a folder to add and an archive to import; and its commands.
fn setting() -> (Sandbox, [Vec<&'static str>; 4]) {
    let sandbox = Sandbox::new();
    sandbox.publish();
    sandbox.write("folder/large", (0..5_000_000u32).map(|n| (n >> 9) as u8).collect::<Vec<_>>());
    for number in 0..40 {
        sandbox.write(&format!("folder/sub/{number}"), format!("content {number}"));
    }
    let root = sandbox.run(&["store", "add", "folder"]).text().split_whitespace().next().expect("a CID").to_owned();
    sandbox.run(&["store", "export", &root, "--output", "folder.car"]).text();
    fs::remove_dir_all(sandbox.path("home")).expect("removed");
    let commands = [
        vec!["publish", "job.toml"],
        vec!["store", "add", "folder"],
        vec!["store", "import", "folder.car"],
        vec!["store", "gc"],
    ];
    (sandbox, commands)
}

/// Runs each command to be undisturbed, then, in a new store, disturbed.
fn disturbed(times: u32, signal: i32) {
    let (sandbox, commands) = setting();
    let mut dice = Dice::new();
    let seed = dice.0;
    let store = sandbox.path("home/store");
    let mut ended = 0;
    for command in commands {
        let _ = fs::remove_dir_all(&store);
        let started = Instant::now();
        let expected = sandbox.run(&command).text().to_owned();
        let takes = started.elapsed();
        for round in 0..times {
            if round % 4 == 0 {
                let _ = fs::remove_dir_all(&store);
            }
            let mut child = sandbox.command(&command);
            child.stdout(Stdio::null()).stderr(Stdio::null());
            // A shell starts what it runs in the background deaf to SIGINT, and children are as their parents.
            // SAFETY: the call may be made between fork and exec.
            unsafe {
                child.pre_exec(move || {
                    libc::signal(signal, libc::SIG_DFL);
                    Ok(())
                })
            };
            let mut child = child.spawn().expect("fedmkt runs");
            wait(&mut child, &store, takes, &mut dice);
            // SAFETY: a signal to a child that was not waited for yet.
            unsafe { libc::kill(child.id() as libc::pid_t, signal) };
            let status = child.wait().expect("it ends");
            ended += u32::from(status.signal() == Some(signal));
            assert!(status.success() || status.signal() == Some(signal), "{status}");
            assert_sound(&sandbox);
            if round % 4 == 3 {
                assert_eq!(sandbox.run(&command).text(), expected, "{command:?}, seed {seed}");
                assert_sound(&sandbox);
            }
        }
    }
    assert!(ended > 0, "all had ended before, seed {seed}");
    // What was half written is gone after a collection.
    sandbox.run(&["store", "gc"]).text();
    let half: Vec<_> = files(&store.join("blocks")).into_iter().filter(|path| cid_of(path).is_none()).collect();
    assert!(half.is_empty(), "{half:?}");
}

fn cid_of(path: &Path) -> Option<cid::Cid> {
    path.file_name()?.to_str()?.parse().ok()
}

#[test]
fn commands_that_are_killed_at_any_moment_end_with_the_same_cids() {
    disturbed(24, libc::SIGKILL);
}

#[test]
fn commands_that_are_interrupted_at_any_moment_end_with_the_same_cids() {
    disturbed(8, libc::SIGINT);
}

/// No file can become larger than this, as if the disk were full then.
fn limited(mut command: Command, most_bytes: u64) -> Command {
    let limit = libc::rlimit { rlim_cur: most_bytes, rlim_max: most_bytes };
    // SAFETY: both calls may be made between fork and exec.
    unsafe {
        command.pre_exec(move || {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            if libc::setrlimit(libc::RLIMIT_FSIZE, &limit) == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        })
    };
    command
}

#[test]
fn a_full_disk_is_said_and_the_same_command_goes_on() {
    let (sandbox, commands) = setting();
    let store = sandbox.path("home/store");
    let mut failed = 0;
    for command in &commands[..3] {
        let _ = fs::remove_dir_all(&store);
        let expected = sandbox.run(command).text().to_owned();
        for most in [0, 1, 10, 100, 1000, 1 << 20] {
            let _ = fs::remove_dir_all(&store);
            let done: Done = limited(sandbox.command(command), most).output().expect("fedmkt runs").into();
            if done.code != Some(0) {
                done.fails(3, "File too large");
                failed += 1;
            }
            assert_sound(&sandbox);
            assert_eq!(sandbox.run(command).text(), expected, "{command:?} after {most} bytes");
        }
    }
    assert!(failed > 6, "only {failed} failed");
}

#[test]
fn a_full_output_is_said() {
    let (sandbox, _) = setting();
    let root =
        sandbox.run(&["store", "add", "folder/large"]).text().split_whitespace().next().expect("a CID").to_owned();
    let full = || fs::File::options().write(true).open("/dev/full").expect("a device that is always full");
    for command in [vec!["store", "get", &root, "--output", "-"], vec!["store", "export", &root], vec!["store", "ls"]] {
        let output = sandbox.command(&command).stdout(full()).output().expect("fedmkt runs");
        Done::from(output).fails(3, "No space left");
    }
    sandbox.write("existing", "before");
    let done: Done = limited(sandbox.command(&["store", "get", &root, "--output", "new"]), 1000)
        .output()
        .expect("fedmkt runs")
        .into();
    done.fails(3, "File too large");
    assert!(!sandbox.path("new").exists(), "half a file is none");
}
