//! Commands that are killed, interrupted, or run out of disk: the same command ends with the same CIDs.
//!
//! Every moment is right, so nothing here depends on how fast a computer is.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fedmkt_market::records::Records;
use fedmkt_test_kit::accidents::{Dice, files_below, limited, wait_for_a_moment};

use crate::sandbox::{Done, Sandbox};

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
            wait_for_a_moment(&mut child, &store, takes, &mut dice);
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
    let half: Vec<_> = files_below(&store.join("blocks")).into_iter().filter(|path| cid_of(path).is_none()).collect();
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

#[test]
fn the_journal_is_free_while_a_backup_copies_files() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("home")).expect("a folder");
    let slow = sandbox.path("home/policy.toml");
    assert!(Command::new("mkfifo").arg(&slow).status().expect("mkfifo runs").success());
    let mut backup = sandbox.command(&["backup", "copy"]);
    let mut backup = backup.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    // It can be opened once the program copies it.
    let policy = loop {
        match OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&slow) {
            Ok(pipe) => break pipe,
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENXIO), "{error}"),
        }
        assert_eq!(backup.try_wait().expect("asked"), None, "it ended");
        std::thread::sleep(Duration::from_millis(20));
    };
    let journal = Records::open(&sandbox.path("home/journal.redb"));
    drop((policy, journal.expect("nobody has it open")));
    Done::from(backup.wait_with_output().expect("it ended")).line();
    Records::open(&sandbox.path("copy/journal.redb")).expect("a journal");
}
