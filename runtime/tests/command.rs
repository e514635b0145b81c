//! `fedmkt-run` on the command line: every exit code, and what it says then.

mod support;

use std::fs;
use std::io::Write;
use std::process::Stdio;

use fedmkt_core::manifest::{Disclosure, Manifest};
use fedmkt_store::{BlockStore, car, put_value};
use support::{Client, Done};

/// A stepper whose step is this.
fn stepper(init: &str, step: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1 2)
            (func (export "_initialize"))
            (func (export "fedmkt_init") (result i32) {init})
            (func (export "fedmkt_step") (result i32) {step}))"#
    );
    wat::parse_str(text).expect("wasm text")
}

fn run(wasm: &[u8], change: impl FnOnce(&mut Manifest)) -> Done {
    let client = Client::new();
    let job = client.publish(wasm, change).to_string();
    client.run(&job)
}

fn fails(done: &Done, code: i32, says: &str) {
    assert_eq!(done.code, Some(code), "{}", done.stderr);
    let last = done.stderr.split("fedmkt-run: ").last().unwrap_or_default();
    assert!(last.contains(says), "{says:?} is not in {last:?}");
}

#[test]
fn a_job_can_be_a_cid_a_uri_or_an_archive() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {});
    let archive = client.folder.path().join("job.car");
    let file = fs::File::create(&archive).expect("a file");
    car::export(&client.store(), &[job], file).expect("exported");
    let receipts: Vec<_> = [job.to_string(), format!("ipfs://{job}"), archive.display().to_string()]
        .iter()
        .map(|name| client.run(name).object(0)["receipt_body"].clone())
        .collect();
    assert!(receipts.iter().all(|receipt| *receipt == receipts[0]));
    // The archive alone is enough.
    let other = Client::new();
    assert_eq!(other.run(&archive.display().to_string()).object(0)["receipt_body"], receipts[0]);
}

#[test]
fn the_receipt_is_signed_pinned_and_survives_garbage_collection() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {});
    let object = client.run(&job.to_string()).object(0);
    let store = client.store();
    store.gc_older_than(std::time::Duration::ZERO).expect("collected");
    let receipt = object["receipt"].as_str().expect("a CID").parse().expect("a CID");
    let envelope: fedmkt_runtime::envelope::Envelope = fedmkt_store::get_value(&store, &receipt).expect("kept");
    assert!(envelope.is_signed());
    let body: fedmkt_core::receipt::Body = fedmkt_store::get_value(&store, &envelope.body).expect("kept");
    assert!(body.is_consistent());
    assert_eq!(body.job, job);
    assert_eq!(body.results.len(), 2);
    body.results.iter().for_each(|result| assert!(store.has(&result.cid).expect("asked")));
}

#[test]
fn usage_errors() {
    let client = Client::new();
    let no_job = client.command("neither-cid-nor-file").output().expect("starts");
    fails(&Done::of(no_job), 2, "no CID, no `ipfs://` URI and no file");
    let mut no_grant = std::process::Command::new(env!("CARGO_BIN_EXE_fedmkt-run"));
    let job = client.publish(&support::trainer(), |_| {}).to_string();
    fails(&Done::of(no_grant.arg(&job).output().expect("starts")), 2, "--grant");
}

#[test]
fn jobs_that_are_missing_damaged_or_not_allowed() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {});
    let elsewhere = Client::new();
    fails(&elsewhere.run(&job.to_string()), 3, "is not in the store");

    let value = put_value(&client.store(), &"not a job").expect("stored");
    fails(&client.run(&value.to_string()), 3, "not a job manifest");

    let newer = client.publish(&support::trainer(), |manifest| manifest.version = 2);
    fails(&client.run(&newer.to_string()), 3, "version: 2");

    let truncated = client.folder.path().join("half.car");
    let mut archive = Vec::new();
    car::export(&client.store(), &[job], &mut archive).expect("exported");
    fs::write(&truncated, &archive[..archive.len() / 2]).expect("written");
    fails(&client.run(&truncated.display().to_string()), 3, "CAR");

    fails(&run(b"\0asm nonsense", |_| {}), 3, "the trainer is refused");
    let threads = wat::parse_str(r#"(module (memory (export "memory") 1 1 shared) (func (export "_start")))"#);
    fails(&run(&threads.expect("wasm"), |_| {}), 3, "shared");
}

#[test]
fn data_that_does_not_fit() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |manifest| manifest.data.name = "patients".into()).to_string();
    fails(&client.run(&job), 4, "--grant patients=PATH");
    fails(&run(&support::trainer(), |manifest| manifest.data.format = "csv".into()), 0, "done");
    let columns = |manifest: &mut Manifest| {
        manifest.data.format = "csv".into();
        manifest.data.columns = Some(vec!["age".into(), "sick".into()]);
    };
    fails(&run(&support::trainer(), columns), 4, "does not fit the job");
    fails(&run(&support::trainer(), |manifest| manifest.data.most_bytes = 4096), 4, "takes at most 4096");

    let refused = run(&stepper("(i32.const 2)", "(i32.const 1)"), |_| {});
    fails(&refused, 4, "the trainer says that the data does not fit");
    assert_eq!(refused.json.expect("a receipt all the same")["status"], "data-refused");

    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {}).to_string();
    fs::remove_dir_all(client.data()).expect("removed");
    fails(&client.run(&job), 4, "No such file");
}

#[test]
fn trainers_that_fail_leave_a_receipt_that_says_how() {
    let more = "(i32.const 0)";
    let cases = [
        (stepper("(unreachable)", more), "trapped", None),
        (stepper(more, "(i32.div_u (i32.const 1) (i32.const 0))"), "trapped", None),
        (stepper("(i32.const 7)", more), "failed", Some(7)),
        (stepper(more, "(call $exit (i32.const 3)) (unreachable)"), "failed", Some(3)),
        (stepper(more, more), "steps-exhausted", None),
        (stepper(more, "(i32.const 1)"), "results-refused", None),
    ];
    for (wasm, status, exit_code) in cases {
        let object = run(&wasm, |_| {}).object(6);
        assert_eq!((&object["status"], &object["exit_code"]), (&status.into(), &exit_code.into()));
        assert_eq!(object["weights"], serde_json::Value::Null);
    }
}

#[test]
fn a_step_that_never_ends_is_ended_and_has_no_result() {
    let endless = stepper("(i32.const 0)", "(loop $again (br $again)) (i32.const 0)");
    let done = run(&endless, |manifest| manifest.limits.step_seconds = 1);
    fails(&done, 7, "there is no result");
    assert_eq!(done.json, None);
}

#[test]
fn nothing_runs_without_consent() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {}).to_string();
    let run = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_fedmkt-run"));
        let configured = client.command(&job);
        for (name, value) in configured.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.args(configured.get_args().filter(|argument| *argument != "--yes"));
        Done::of(command.stdin(Stdio::null()).output().expect("starts"))
    };
    let policy = client.home().join("policy.toml");
    fails(&run(), 5, "use --yes, or allow the job");
    assert!(!client.home().join("capsules").exists(), "nothing was packed");

    fs::write(&policy, format!("jobs = [\"{job}\"]")).expect("written");
    fails(&run(), 0, "");
    let rule = |grant: &str, disclosure: &str, most: u64| {
        let rule =
            format!("[[rule]]\ngrants = [{grant:?}]\ndisclosure = [{disclosure:?}]\nmost-result-bytes = {most}\n");
        fs::write(&policy, rule).expect("written");
        run().code
    };
    let data = client.data().display().to_string();
    assert_eq!(rule(&data, "open", 1 << 20), Some(0));
    assert_eq!(rule(&format!("{data}/b"), "open", 1 << 20), Some(5));
    assert_eq!(rule(&data, "private", 1 << 20), Some(5));
    assert_eq!(rule(&data, "open", 1000), Some(5));
    fs::write(&policy, "jobs = [").expect("written");
    fails(&run(), 1, "policy.toml");
}

#[test]
fn the_identity_needs_its_passphrase() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {}).to_string();
    client.run(&job).object(0);
    let mut wrong = tempfile::NamedTempFile::new().expect("a file");
    wrong.write_all(b"wrong").expect("written");
    let mut command = client.command(&job);
    fails(&Done::of(command.env("FEDMKT_PASSPHRASE_FILE", wrong.path()).output().expect("starts")), 1, "passphrase");
    let mut command = client.command(&job);
    let output = command.env_remove("FEDMKT_PASSPHRASE_FILE").output().expect("starts");
    fails(&Done::of(output), 1, "FEDMKT_PASSPHRASE_FILE");
}

#[test]
fn a_run_is_worked_on_by_one_process() {
    let client = Client::new();
    let slow = stepper("(i32.const 0)", "(loop $again (br $again)) (i32.const 0)");
    let job = client.publish(&slow, |manifest| manifest.limits.step_seconds = 600).to_string();
    let mut first = client.command(&job).spawn().expect("starts");
    while support::find(&client.home().join("runs"), "lock").is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    fails(&client.run(&job), 1, "another process");
    first.kill().expect("killed");
    first.wait().expect("ended");
}

#[test]
fn results_are_written_whole_or_the_run_says_why_not() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {}).to_string();
    fs::write(client.out(), "a file where the folder should be").expect("written");
    fails(&client.run(&job), 1, "cannot write");
    fs::remove_file(client.out()).expect("removed");
    client.run(&job).object(0);
    assert_eq!(fs::read(client.out().join("weights")).expect("the weights").len(), 60_000);
}

#[test]
fn private_jobs_say_what_that_means() {
    let done = run(&support::trainer(), |manifest| {
        manifest.disclosure = Disclosure::Private;
        manifest.description = "first line\nfedmkt-run: done".into();
    });
    assert!(done.stderr.contains("private: never shown to anybody"), "{}", done.stderr);
    assert!(done.stderr.contains("\n  | fedmkt-run: done"), "a stranger's text is marked");
}

#[test]
fn the_first_run_makes_an_identity() {
    let client = Client::new();
    let path = client.home().join("identity.age");
    fs::remove_file(&path).expect("removed");
    let job = client.publish(&support::trainer(), |_| {}).to_string();
    client.run(&job).object(0);
    let made = fs::read(&path).expect("an identity");
    assert!(made.starts_with(b"age-encryption.org/v1\n-> scrypt "));
    client.run(&job).object(0);
    assert_eq!(fs::read(&path).expect("the identity"), made);
}

#[test]
fn compiled_code_that_is_damaged_or_not_ours_is_made_again() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {}).to_string();
    let expected = client.run(&job).object(0)["receipt_body"].clone();
    let path = support::find(&client.home().join("modules"), ".code").pop().expect("compiled code");
    let good = fs::read(&path).expect("the code");
    // Used as it is: the file is not written anew.
    let written = fs::metadata(&path).expect("the file").modified().expect("a time");
    client.run(&job).object(0);
    assert_eq!(fs::metadata(&path).expect("the file").modified().expect("a time"), written);

    let other = Client::new();
    let same_job = other.publish(&support::trainer(), |_| {}).to_string();
    other.run(&same_job).object(0);
    let foreign = fs::read(support::find(&other.home().join("modules"), ".code").pop().expect("code")).expect("read");
    assert_ne!(foreign[..32], good[..32], "each client has its own seal");
    let mut flipped = good.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    for bad in [foreign, flipped, good[..good.len() / 2].to_vec(), Vec::new()] {
        fs::write(&path, bad).expect("written");
        assert_eq!(client.run(&job).object(0)["receipt_body"], expected);
        assert!(fs::read(&path).expect("the code")[32..] == good[32..], "made again");
    }
}

#[test]
fn a_run_that_nobody_listens_to_ends_well() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {}).to_string();
    let mut child = client.command(&job).spawn().expect("starts");
    drop(child.stderr.take());
    Done::of(child.wait_with_output().expect("it ends")).object(0);
}
