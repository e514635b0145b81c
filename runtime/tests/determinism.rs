//! The same job and data give the same receipt, whatever happens around the run.

mod support;

use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use fedmkt_test_kit::accidents::Dice;
use rustix::process::{Pid, Signal};
use serde_json::Value;
use support::{Client, Done, agreed, find};

const FILES: [&str; 5] = ["table.csv", "b/two.csv", "a.txt", "b/one.txt", "empty/x"];

fn touch(folder: &Path, dice: &mut Dice) {
    for path in find(folder, "") {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(dice.roll(2_000_000_000));
        File::options()
            .append(true)
            .open(path)
            .expect("a file")
            .set_times(FileTimes::new().set_modified(time))
            .expect("set");
    }
}

/// Varies what must not matter.
fn vary(command: &mut Command, dice: &mut Dice, folder: &Path) {
    let locales = ["C", "de_DE.UTF-8", "tr_TR.UTF-8", "ar_EG"];
    command.env("LC_ALL", locales[dice.roll(4) as usize]).env("TZ", "Asia/Kathmandu");
    for index in 0..dice.roll(20) {
        command.env(format!("SOME_VARIABLE_{index}"), "x".repeat(dice.roll(1000) as usize));
    }
    let elsewhere = folder.join(format!("cwd{}", dice.roll(1000)));
    fs::create_dir_all(&elsewhere).expect("a folder");
    command.current_dir(elsewhere);
}

/// Waits until the run wrote so many checkpoints that were not there before, or ended.
fn wait_for_checkpoints(client: &Client, pid: Pid, count: usize) {
    let runs = client.home().join("runs");
    let mut seen = find(&runs, ".state");
    let before = seen.len();
    let running = || rustix::process::test_kill_process(pid).is_ok() && !is_zombie(pid);
    while running() && seen.len() < before + count {
        std::thread::sleep(Duration::from_micros(500));
        let new: Vec<_> = find(&runs, ".state").into_iter().filter(|path| !seen.contains(path)).collect();
        seen.extend(new);
    }
}

fn is_zombie(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

/// Runs a job, interrupting it as often as asked at random points, and goes on until it is done.
///
/// Also tells how often it went on from a checkpoint.
fn run_with_interruptions(client: &Client, job: &str, dice: &mut Dice, mut interruptions: u64) -> (Value, u32) {
    let mut resumed = 0;
    loop {
        let mut command = client.command(job);
        // Every step, so that there is something to resume.
        command.args(["--checkpoint-every", "0"]);
        vary(&mut command, dice, client.folder.path());
        if dice.roll(2) == 0 {
            // One processor only.
            let program = command.get_program().to_owned();
            let mut single = Command::new("taskset");
            single.args(["-c", "0"]).arg(program).args(command.get_args());
            for (name, value) in command.get_envs() {
                match value {
                    Some(value) => single.env(name, value),
                    None => single.env_remove(name),
                };
            }
            single.current_dir(command.get_current_dir().expect("set above"));
            single.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
            single.stderr(std::process::Stdio::piped());
            command = single;
        }
        let child = command.spawn().expect("the command starts");
        if interruptions == 0 {
            let done = Done::of(child.wait_with_output().expect("ends"));
            resumed += u32::from(done.stderr.contains("Going on after step"));
            return (done.object(0), resumed);
        }
        interruptions -= 1;
        let pid = Pid::from_child(&child);
        let signal = if dice.roll(2) == 0 { Signal::KILL } else { Signal::INT };
        // Anywhere is right: while it starts, or, where most can go wrong, between and within steps and checkpoints.
        if dice.roll(4) == 0 {
            std::thread::sleep(Duration::from_millis(dice.roll(1000)));
        } else {
            wait_for_checkpoints(client, pid, 1 + dice.roll(3) as usize);
            std::thread::sleep(Duration::from_micros(dice.roll(3000)));
        }
        let _ = rustix::process::kill_process(pid, signal);
        let done = Done::of(child.wait_with_output().expect("ends"));
        resumed += u32::from(done.stderr.contains("Going on after step"));
        match done.code {
            Some(0) => return (done.object(0), resumed),
            // Before the handler is there, the system's own answer to Ctrl-C: killed by the signal.
            Some(130) | None => {}
            code => panic!("exit code {code:?} after {signal:?}:\n{}", done.stderr),
        }
    }
}

#[test]
fn twenty_runs_in_different_surroundings_agree_on_everything() {
    let mut dice = Dice::new();
    let seed = dice.0;
    let mut expected = None;
    let mut resumed = 0;
    for round in 0..20 {
        let client = Client::new();
        let mut order = FILES.to_vec();
        order.rotate_left(dice.roll(5) as usize);
        if dice.roll(2) == 0 {
            order.reverse();
        }
        client.write_data(&order);
        touch(&client.data(), &mut dice);
        let job = client.publish(&support::trainer(), |_| {}).to_string();
        let interruptions = if round == 0 { 0 } else { 1 + dice.roll(3) };
        let (object, times) = run_with_interruptions(&client, &job, &mut dice, interruptions);
        resumed += times;
        assert_eq!((&object["status"], &object["steps"]), (&"done".into(), &61.into()));
        let weights = fs::read(client.out().join("weights")).expect("the weights");
        let found = (agreed(&object), weights);
        let expected = expected.get_or_insert_with(|| found.clone());
        assert!(found == *expected, "round {round}, seed {seed}:\n{:#}\n{:#}", found.0, expected.0);
    }
    assert!(resumed > 2, "only {resumed} runs went on from a checkpoint, seed {seed}");
}

#[test]
fn a_finished_run_is_reproduced_by_running_it_again() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {}).to_string();
    let first = client.run(&job).object(0);
    let again = client.run(&job).object(0);
    assert_eq!(agreed(&first), agreed(&again));
}

#[test]
fn damaged_checkpoints_are_noticed_and_the_run_begins_before_them() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {}).to_string();
    let run = || {
        let mut command = client.command(&job);
        command.args(["--checkpoint-every", "0"]);
        Done::of(command.output().expect("starts")).object(0)
    };
    let first = run();
    let images = find(&client.home().join("runs"), ".state");
    assert!(images.len() > 3, "{images:?}");
    for image in &images[1..] {
        let mut bytes = fs::read(image).expect("an image");
        // A bit of linear memory, which no format checks: only the root tells.
        let at = bytes.len() - (1 << 20) + 8200;
        bytes[at] ^= 1;
        fs::write(image, bytes).expect("written");
    }
    assert_eq!(agreed(&run()), agreed(&first));
    fs::write(&find(&client.home().join("runs"), "journal.json")[0], "{").expect("written");
    assert_eq!(agreed(&run()), agreed(&first));
}

#[test]
fn salted_data_has_another_root_for_each_client_and_the_same_for_one() {
    let roots: Vec<_> = (0..2)
        .map(|_| {
            let client = Client::new();
            let private = |manifest: &mut fedmkt_core::manifest::Manifest| {
                manifest.disclosure = fedmkt_core::manifest::Disclosure::Private;
            };
            let job = client.publish(&support::trainer(), private).to_string();
            let root = client.run(&job).object(0)["data_root"].clone();
            assert_eq!(client.run(&job).object(0)["data_root"], root);
            root
        })
        .collect();
    assert_ne!(roots[0], roots[1]);
}
