//! A worker in which a trainer broke out of the engine gets nowhere, and its host survives whatever it does.

mod support;

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fedmkt_core::manifest::Manifest;
use fedmkt_runtime::checkpoint::Checkpoints;
use fedmkt_runtime::grant::Grant;
use fedmkt_runtime::home::Home;
use fedmkt_runtime::identity::Identity;
use fedmkt_runtime::job::{Job, Reference};
use fedmkt_runtime::packed::Packed;
use fedmkt_runtime::training::{Observer, Session, TrainingError};
use fedmkt_runtime::worker::{CodeCache, Limits, Program, Worker, WorkerError};
use support::Client;

/// The example of this name, which `cargo test` builds.
fn hostile_worker() -> PathBuf {
    let tests = std::env::current_exe().expect("a test");
    tests.ancestors().nth(2).expect("the folder of the profile").join("examples/hostile-worker")
}

/// Nobody looks.
struct Nobody;

impl Observer for Nobody {
    fn starts(&mut self, _: &Worker) -> Result<(), TrainingError> {
        Ok(())
    }

    fn advanced(&mut self, _: &mut Worker) {}

    fn stop(&self) -> bool {
        false
    }
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
        Self::of(trainer, |_| {})
    }

    fn of(trainer: &[u8], change: impl FnOnce(&mut Manifest)) -> Self {
        let client = Client::new();
        let home = Home::open(client.home()).expect("a home");
        let cid = client.publish(trainer, change);
        let job = Job::load(&Reference::Cid(cid), &client.store(), &home).expect("a job");
        let identity =
            Identity::open(&home.identity(), |_| Ok("correct horse".to_owned().into())).expect("an identity");
        let grant = Grant::survey(&client.data()).expect("a grant");
        let capsule = grant.pack(&job.manifest, &identity, &home.capsules().expect("a folder"), &mut |_| {});
        Self { job, capsule: capsule.expect("a capsule"), _client: client }
    }

    /// A session with a worker that tries this.
    fn session(&self, attempt: &str) -> Session<'_> {
        let program = Program { path: hostile_worker(), arguments: vec![attempt.into()] };
        Session { program, ..Session::local(&self.job, &self.capsule) }
    }

    /// What the host gets from a worker that tries this.
    fn attempt(&self, attempt: &str) -> WorkerError {
        match self.session(attempt).worker() {
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
        "signal a thread of its host",
        "take shared memory",
        "take memory that grows",
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

/// Held while a worker takes gigabytes.
static MUCH_MEMORY: Mutex<()> = Mutex::new(());

#[test]
fn a_worker_cannot_take_all_memory() {
    let _turn = MUCH_MEMORY.lock();
    match Setting::new().attempt("take all memory") {
        WorkerError::Died(how) => assert!(how.contains("exit status: 1") || how.contains("SIGABRT"), "{how}"),
        other => panic!("{other}"),
    }
}

#[test]
fn a_worker_cannot_take_memory_that_the_system_does_not_count() {
    let _turn = MUCH_MEMORY.lock();
    let error = Setting::new().attempt("take memory and give up the right to write it");
    assert!(matches!(error, WorkerError::TooLarge(_)), "{error}");
}

#[test]
fn a_worker_that_moves_about_in_what_it_wrote_holds_nobody() {
    let setting = Setting::new();
    let folder = tempfile::tempdir().expect("a folder");
    let attempt = "move the place from which code is read";
    let cache = Some(CodeCache { folder: folder.path().into(), key: [1; 32] });
    let session = Session { cache, ..setting.session(attempt) };
    session.worker().expect("the code is read once and kept");
    let kept: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
    let bytes = kept[0].as_ref().expect("a file").metadata().expect("its length").len();
    assert_eq!((kept.len(), bytes), (1, (1 << 20) + 32));
}

#[test]
fn an_image_that_is_too_long_is_not_kept() {
    let setting = Setting::new();
    let mut worker = setting.session("write another image").worker().expect("it opens");
    worker.begin().expect("it begins");
    let file = tempfile::tempfile().expect("a file");
    let error = worker.write_image(&file).expect_err("it is too long");
    assert!(matches!(error, WorkerError::Nonsense(_)), "{error}");
    assert_eq!(file.metadata().expect("its length").len(), 0);
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
fn a_worker_that_does_not_get_on_holds_nobody() {
    let setting = Setting::of(&support::trainer(), |manifest| {
        manifest.limits.steps = 1 << 40;
        manifest.steps_per_segment = 1 << 36;
    });
    for attempt in ["talk without listening", "stand still", "run ahead"] {
        let mut worker = setting.session(attempt).worker().expect("it opens");
        worker.begin().expect("it begins");
        let error = worker.advance_to(u64::MAX).expect_err("no end");
        assert!(matches!(error, WorkerError::Nonsense(_)), "{attempt}: {error}");
        assert!(worker.steps() <= 1 << 40, "{attempt}: {} steps", worker.steps());
    }
}

#[test]
fn a_worker_that_keeps_what_it_wrote_to_has_one_file() {
    let setting = Setting::new();
    let mut worker = setting.session("keep every file").worker().expect("it opens");
    assert_eq!(worker.peek("a", 1 << 20).expect("a file"), b"1");
    assert_eq!(worker.peek("a", 1 << 20).expect("a file"), b"2");
    match worker.peek("a", 1 << 20).expect_err("it ended") {
        // It saw the second content in the first file, or nothing any more.
        WorkerError::Died(how) => assert!(how.contains("exit status: 1") || how.contains("SIGBUS"), "{how}"),
        other => panic!("{other}"),
    }
}

#[test]
fn a_run_is_the_one_that_was_asked_for_and_its_results_those_in_its_header() {
    let setting = Setting::new();
    let folder = tempfile::tempdir().expect("a folder");
    for attempt in ["another run", "another blind", "no result", "a huge result", "another result"] {
        let mut checkpoints = Checkpoints::unnamed(folder.path());
        let trained = setting.session(attempt).train(&mut checkpoints, Duration::MAX, &mut Nobody);
        match trained.err() {
            Some(TrainingError::Worker(WorkerError::Nonsense(_))) => {}
            other => panic!("{attempt}: {other:?}"),
        }
    }
}

#[test]
fn what_a_worker_says_cannot_rewrite_the_screen() {
    let error = Setting::new().attempt("deceive the terminal").to_string();
    assert!(error.contains("\\u{1b}[2J\\u{202e}all is well\nsecond line"), "{error:?}");
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
