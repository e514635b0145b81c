//! A worker in which a trainer broke out of the engine gets nowhere, and its host survives whatever it does.

mod support;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fedmkt_runtime::grant::Grant;
use fedmkt_runtime::home::Home;
use fedmkt_runtime::identity::Identity;
use fedmkt_runtime::job::{Job, Reference};
use fedmkt_runtime::packed::Packed;
use fedmkt_runtime::training::{Session, TrainingError};
use fedmkt_runtime::worker::{CodeCache, Limits, Program, WorkerError};
use support::Client;

/// The example of this name, which `cargo test` builds.
fn hostile_worker() -> PathBuf {
    let tests = std::env::current_exe().expect("a test");
    tests.ancestors().nth(2).expect("the folder of the profile").join("examples/hostile-worker")
}

struct Setting {
    _client: Client,
    job: Job,
    capsule: Packed,
}

impl Setting {
    fn new() -> Self {
        Self::with(&support::trainer())
    }

    fn with(trainer: &[u8]) -> Self {
        let client = Client::new();
        let home = Home::open(client.home()).expect("a home");
        let cid = client.publish(trainer, |_| {});
        let job = Job::load(&Reference::Cid(cid), &client.store(), &home).expect("a job");
        let identity =
            Identity::open(&home.identity(), |_| Ok("correct horse".to_owned().into())).expect("an identity");
        let grant = Grant::survey(&client.data()).expect("a grant");
        let capsule = grant.pack(&job.manifest, &identity, &home.capsules().expect("a folder"), &mut |_| {});
        Self { job, capsule: capsule.expect("a capsule"), _client: client }
    }

    /// What the host gets from a worker that tries this.
    fn attempt(&self, attempt: &str) -> WorkerError {
        let program = Program { path: hostile_worker(), arguments: vec![attempt.into()] };
        let session = Session { program, ..Session::local(&self.job, &self.capsule) };
        match session.worker() {
            Err(TrainingError::Worker(error)) => error,
            other => panic!("{attempt}: {other:?}"),
        }
    }
}

#[test]
fn a_worker_that_reaches_for_the_system_is_killed() {
    let setting = Setting::new();
    let attempts = [
        "read a file",
        "write a file",
        "look for a file",
        "list a folder",
        "connect",
        "connect to a socket file",
        "start a program",
        "start a thread",
        "kill its host",
        "ask its channel for more",
        "ask the account of pages for more",
    ];
    for attempt in attempts {
        match setting.attempt(attempt) {
            WorkerError::Died(how) => assert!(how.contains("SIGSYS"), "{attempt}: {how}"),
            other => panic!("{attempt}: {other}"),
        }
    }
    assert!(!std::path::Path::new("/tmp/fedmkt-hostile").exists());
}

#[test]
fn a_worker_cannot_take_all_memory() {
    match Setting::new().attempt("take all memory") {
        WorkerError::Died(how) => assert!(how.contains("exit status: 1") || how.contains("SIGABRT"), "{how}"),
        other => panic!("{other}"),
    }
}

#[test]
fn a_worker_cannot_fill_the_disk() {
    let setting = Setting::new();
    let folder = tempfile::tempdir().expect("a folder");
    let program = Program { path: hostile_worker(), arguments: vec!["fill the disk".into()] };
    let cache = Some(CodeCache { folder: folder.path().into(), key: [1; 32] });
    let session = Session { program, cache, ..Session::local(&setting.job, &setting.capsule) };
    match session.worker() {
        Err(TrainingError::Worker(WorkerError::Died(how))) => assert!(how.contains("SIGXFSZ"), "{how}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is kept");
}

#[test]
fn nonsense_on_the_channel_ends_the_worker() {
    let setting = Setting::new();
    for attempt in ["nonsense", "another reply", "too large", "a flood"] {
        let error = setting.attempt(attempt);
        assert!(matches!(error, WorkerError::Nonsense(_)), "{attempt}: {error}");
    }
    for attempt in ["empty", "exit"] {
        let error = setting.attempt(attempt);
        assert!(matches!(error, WorkerError::Died(_)), "{attempt}: {error}");
    }
}

#[test]
fn last_words_are_bounded_and_harmless() {
    let error = Setting::new().attempt("a flood of words").to_string();
    assert!(error.contains("I am your bank") && !error.contains('\u{1b}'), "{error:?}");
    assert!(error.len() < 20_000, "{} bytes", error.len());
}

#[test]
fn a_trainer_that_takes_too_long_to_compile_is_given_up() {
    // 64 functions of 80 KB each: many times what the limit leaves an optimising compiler.
    let body = "(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 3)) (local.get 1)))".repeat(8_000);
    let functions = format!("(func (param i32 i32) {body})").repeat(64);
    let text = format!("(module (memory (export \"memory\") 1) (func (export \"_start\")) {functions})");
    let setting = Setting::with(&wat::parse_str(text).expect("wasm text"));
    let limits = Limits { start: Duration::from_millis(100), ..Limits::default() };
    let program = Program { path: env!("CARGO_BIN_EXE_fedmkt-run").into(), arguments: Vec::new() };
    let session = Session { program, limits, ..Session::local(&setting.job, &setting.capsule) };
    let error = session.worker().expect_err("it takes longer");
    assert!(matches!(error, TrainingError::Worker(WorkerError::TooLong { .. })), "{error}");
}

#[test]
fn a_worker_that_says_nothing_is_ended_in_time() {
    let setting = Setting::new();
    let started = Instant::now();
    let program = Program { path: hostile_worker(), arguments: vec!["hang".into()] };
    let limits = Limits { start: Duration::from_secs(5), ..Limits::default() };
    let session = Session { program, limits, ..Session::local(&setting.job, &setting.capsule) };
    let error = session.worker().expect_err("no answer");
    assert!(matches!(error, TrainingError::Worker(WorkerError::TooLong { .. })), "{error}");
    assert!(started.elapsed() >= Duration::from_secs(5));
}

#[test]
fn a_worker_that_says_nothing_later_is_ended_in_time() {
    let setting = Setting::new();
    let program = Program { path: hostile_worker(), arguments: vec!["say nothing later".into()] };
    let limits = Limits { service: Duration::from_millis(200), ..Limits::default() };
    let session = Session { program, limits, ..Session::local(&setting.job, &setting.capsule) };
    let mut worker = session.worker().expect("it opens");
    let error = worker.begin().expect_err("no answer");
    assert!(matches!(error, WorkerError::TooLong { limit, .. } if limit == limits.service), "{error}");
}
