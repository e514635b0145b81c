//! Disks that are full or cannot be written: a clear error, exit code 1, and nothing lost.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fedmkt_test_kit::accidents::limited;
use landlock::{ABI, Access, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus};

use crate::support::{self, Client, Done, agreed};

fn run(mut command: Command) -> Done {
    Done::of(command.args(["--checkpoint-every", "0"]).output().expect("starts"))
}

fn forget(client: &Client) {
    for made in ["jobs", "capsules", "modules", "runs"] {
        let _ = fs::remove_dir_all(client.home().join(made));
    }
    let _ = fs::remove_dir_all(client.out());
}

/// Whether a run on a full disk failed as it should, and says where. One that needed less than there was is right too.
fn failed_for_want_of_room(done: &Done, client: &Client, case: &str) -> bool {
    if done.code == Some(0) {
        return false;
    }
    assert_eq!(done.code, Some(1), "{case}: {}", done.stderr);
    let said = ["File too large", "No space left on device"].iter().any(|reason| done.stderr.contains(reason));
    assert!(said && done.stderr.contains("cannot"), "{case}: {}", done.stderr);
    let last = done.stderr.split("fedmkt-run: ").last().unwrap_or_default();
    assert!(last.contains(&client.folder.path().display().to_string()), "{case}: {last}");
    assert!(done.json.is_none(), "{case}: no receipt without results");
    true
}

#[test]
fn a_run_that_cannot_write_any_more_says_so_and_goes_on_when_it_can() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {}).to_string();
    let expected = agreed(&client.run(&job).object(0));
    let mut failed = 0;
    for most in [0, 1, 30, 300, 3000, 4095, 5000, 20_000, 50_000, 60_000, 100_000, 1 << 20, 2 << 20] {
        forget(&client);
        let done = run(limited(client.command(&job), most));
        failed += u32::from(failed_for_want_of_room(&done, &client, &format!("{most} bytes")));
        assert_eq!(agreed(&run(client.command(&job)).object(0)), expected, "after {most} bytes");
    }
    assert!(failed > 5, "only {failed} failed");
}

#[test]
fn the_first_run_of_a_client_cannot_write_its_identity() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {}).to_string();
    fs::remove_file(client.home().join("identity.age")).expect("removed");
    let done = run(limited(client.command(&job), 10));
    assert!(failed_for_want_of_room(&done, &client, "an identity"));
    assert!(!client.home().join("identity.age").exists(), "half of a secret is none");
}

#[test]
fn a_run_needs_no_room_but_that_of_its_home() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {}).to_string();
    let expected = agreed(&client.run(&job).object(0));
    forget(&client);
    let mut command = client.command(&job);
    command.env("TMPDIR", client.folder.path().join("nowhere"));
    assert_eq!(agreed(&run(command).object(0)), expected);
    // Code that could not be kept would be no error.
    assert!(!support::find(&client.home().join("modules"), ".code").is_empty());
}

/// A file system in memory with little room, in a mount namespace of its own.
struct SmallDisk(Child);

impl SmallDisk {
    /// `None` where the system does not let us; says so.
    fn new(bytes: u64) -> Option<Self> {
        let options = format!("size={bytes}\0");
        let ids = [
            ("/proc/self/uid_map\0", rustix::process::geteuid().as_raw()),
            ("/proc/self/gid_map\0", rustix::process::getegid().as_raw()),
        ];
        let maps = ids.map(|(path, id)| (path, format!("0 {id} 1")));
        let mut holder = Command::new("sleep");
        holder.arg("100000").stdin(Stdio::null()).stdout(Stdio::null());
        // SAFETY: only system calls, on memory that was allocated before.
        unsafe {
            holder.pre_exec(move || {
                let check = |answer: i64| if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) };
                let write = |path: &str, text: &str| {
                    let file = check(libc::open(path.as_ptr().cast(), libc::O_WRONLY).into())? as i32;
                    let written = check(libc::write(file, text.as_ptr().cast(), text.len()) as i64);
                    libc::close(file);
                    written
                };
                check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL).into())?;
                check(libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS).into())?;
                let [(uid_path, uid), (gid_path, gid)] = &maps;
                write("/proc/self/setgroups\0", "deny")?;
                write(uid_path, uid)?;
                write(gid_path, gid)?;
                let tmpfs = c"tmpfs".as_ptr();
                check(libc::mount(tmpfs, c"/tmp".as_ptr(), tmpfs, 0, options.as_ptr().cast()).into())?;
                Ok(())
            })
        };
        match holder.spawn() {
            Ok(child) => Some(Self(child)),
            Err(error) => {
                println!(
                    "SKIPPED: no file system can be mounted here ({error}); full disks were tested by file sizes alone"
                );
                None
            }
        }
    }

    /// Where it can be reached from outside.
    fn path(&self) -> PathBuf {
        format!("/proc/{}/root/tmp", self.0.id()).into()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copied");
        }
    }
}

#[test]
fn a_full_disk_is_said_and_room_on_it_is_enough_to_go_on() {
    const ROOM: u64 = 48 << 20;
    let Some(disk) = SmallDisk::new(ROOM) else { return };
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {}).to_string();
    let expected = agreed(&client.run(&job).object(0));
    forget(&client);
    let home = disk.path().join("home");
    copy(&client.home(), &home);
    fs::remove_dir_all(client.home()).expect("removed");
    symlink(&home, client.home()).expect("linked");
    let mut failed = 0;
    for left in [0, 4 << 10, 16 << 10, 64 << 10, 128 << 10, 256 << 10, 1 << 20, 3 << 20, 5 << 20, 10 << 20] {
        forget(&client);
        let filler = disk.path().join("filler");
        let file = fs::File::create(&filler).expect("a file");
        let free = rustix::fs::statvfs(disk.path()).map(|stat| stat.f_bavail * stat.f_frsize).expect("room");
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, free - left).expect("filled");
        drop(file);
        let done = run(client.command(&job));
        failed += u32::from(failed_for_want_of_room(&done, &client, &format!("{left} bytes")));
        fs::remove_file(&filler).expect("removed");
        assert_eq!(agreed(&run(client.command(&job)).object(0)), expected, "after {left} bytes");
    }
    assert!(failed > 2, "only {failed} failed");
    let verified = client.store().verify_all(false).expect("verified");
    assert!(verified.damaged.is_empty() && verified.missing.is_empty(), "{verified:?}");
}

/// The command may write everywhere but below this folder.
fn read_only(mut command: Command, folder: &Path, client: &Client) -> Option<Command> {
    let (all, read) = (AccessFs::from_all(ABI::V1), AccessFs::from_read(ABI::V1));
    let mut ruleset = Ruleset::default().handle_access(all).expect("an access").create().expect("a ruleset");
    ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new("/").expect("the root"), read)).expect("a rule");
    let mut writable = vec![PathBuf::from("/dev"), std::env::temp_dir().join("nothing")];
    for path in [client.home(), client.folder.path().to_owned()] {
        writable.extend(fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path()));
    }
    // What contains the folder would open it too.
    for path in writable.into_iter().filter(|path| path.is_dir() && !folder.starts_with(path)) {
        ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(path).expect("a folder"), all)).expect("a rule");
    }
    let mut ruleset = Some(ruleset);
    let enforced = std::thread::spawn(|| {
        let probe = Ruleset::default().handle_access(AccessFs::from_all(ABI::V1)).ok()?.create().ok()?;
        Some(probe.restrict_self().ok()?.ruleset != RulesetStatus::NotEnforced)
    });
    if enforced.join().expect("it looks") != Some(true) {
        println!("SKIPPED: this system has no Landlock; a store that cannot be written was not tested");
        return None;
    }
    // SAFETY: the ruleset was made before; what remains is a system call or two.
    unsafe {
        command.pre_exec(move || {
            let ruleset = ruleset.take().ok_or(io::ErrorKind::Other)?;
            ruleset.restrict_self().map(drop).map_err(io::Error::other)
        })
    };
    Some(command)
}

#[test]
fn a_store_that_cannot_be_written_costs_no_work() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {}).to_string();
    let expected = agreed(&client.run(&job).object(0));
    // Another client publishes into a store that has no results yet.
    let client = Client::new();
    client.publish(&support::trainer(), |_| {});
    for made in ["jobs", "capsules", "modules", "runs"] {
        fs::create_dir_all(client.home().join(made)).expect("a folder");
    }
    fs::create_dir_all(client.out()).expect("a folder");
    let Some(command) = read_only(client.command(&job), &client.home().join("store"), &client) else { return };
    let done = run(command);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("cannot write") || done.stderr.contains("cannot lock"), "{}", done.stderr);
    let again = run(client.command(&job));
    assert!(again.stderr.contains("Going on after step"), "{}", again.stderr);
    assert_eq!(agreed(&again.object(0)), expected);
}
