//! What a machine is given may be anything: it halts with the code that says what was wrong, in every machine.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use fedmkt_core::image::{Header, ResultCommitment, Status};
use fedmkt_core::manifest::SizeClass;
use fedmkt_core::pack::Bytes;
use fedmkt_core::roots::ResultRoot;
use fedmkt_core::unixfs::FileCid;
use fedmkt_machine::exit::Exit;
use fedmkt_machine::replay::{ReplayError, replay as replay_here};
use fedmkt_verifier::cartesi::Cartesi;
use fedmkt_verifier::machine::{Failure, Machine, Replayed};
use fedmkt_verifier::step::{Image, Limit, Step};

use crate::everywhere::history;
use crate::job::{Job, manifest, pack};
use crate::{machines, native};

/// The contents of the drives.
#[derive(Clone)]
pub struct Drives {
    job: Vec<u8>,
    data: Vec<u8>,
    state_in: Vec<u8>,
}

fn stepper(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module (memory (export "memory") 1 16) (global (mut i32) (i32.const 1)) (func (export "_initialize"))
            (func (export "fedmkt_init") (result i32) i32.const 0)
            (func (export "fedmkt_step") (result i32) {body}))"#
    );
    wat::parse_str(text).expect("wasm text")
}

/// The state before step 0 of a job, whose module need not be admissible.
fn before(job: &Job) -> Vec<u8> {
    let identity = job.identity;
    let header = Header {
        run_id: identity.run_id,
        job_root: identity.job_root,
        data_root: identity.data_root,
        blind: identity.blind,
        steps: 0,
        status: Status::Running,
        memory_bytes: 0,
        results: Vec::new(),
    };
    header.encode().to_vec()
}

impl Drives {
    pub fn of(job: &Job) -> Self {
        Self { job: job.job.to_vec(), data: job.data.to_vec(), state_in: before(job) }
    }

    /// The state after some steps instead.
    fn after(job: &Job, steps: u64) -> Self {
        let admitted = job.inputs.admit().expect("admitted");
        let state_in = history(native(), &admitted, job, steps + 1, false).images.pop().expect("an image");
        Self { state_in, ..Self::of(job) }
    }

    fn replay(&self, machine: &dyn Machine, image: &Image, folder: &Path, limit: Limit) -> Result<Replayed, Failure> {
        let put = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            std::fs::write(&path, bytes).expect("written");
            path
        };
        let (job, data, state_in) = (put("job", &self.job), put("data", &self.data), put("state-in", &self.state_in));
        let class = SizeClass::S;
        let step =
            Step { image, class, job: &job, data: &data, state_in: &state_in, work: folder, limit, hashes: false };
        machine.replay(&step, &mut |_| ControlFlow::Continue(()))
    }

    /// How the replayer ends here, as a library.
    fn exit_here(&self) -> Exit {
        let drive = |bytes: &[u8]| -> Bytes {
            let mut drive = bytes.to_vec();
            drive.resize(1 << 24, 0);
            std::sync::Arc::new(drive)
        };
        let mut state_in = self.state_in.clone();
        state_in.resize(1 << 24, 0);
        match replay_here(SizeClass::S, drive(&self.job), drive(&self.data), &state_in, |_, _| {}) {
            Ok(_) => Exit::Done,
            Err(error) => ReplayError::exit(&error),
        }
    }

    /// Asserts how every machine ends; some are only tried here, which is much quicker.
    pub fn end(&self, what: &str, exit: Exit, in_machines: bool) {
        assert_eq!(self.exit_here(), exit, "{what}");
        let folder = tempfile::tempdir().expect("a folder");
        for (image, machine) in machines().each().filter(|_| in_machines) {
            let replayed = self.replay(machine, image, folder.path(), Limit::of(SizeClass::S));
            let replayed = replayed.unwrap_or_else(|failure| panic!("{what} in {}: {failure}", machine.name()));
            assert_eq!(replayed.exit, exit, "{what} in {}: {}", machine.name(), replayed.said);
            if exit != Exit::Done {
                let out = replayed.state_out.map().expect("the drive");
                assert!(out.iter().all(|&byte| byte == 0), "{what}: nothing is written");
            }
        }
    }
}

fn garbage(length: usize) -> Vec<u8> {
    let mut random = crate::generated::Random::new(5);
    (0..length).map(|_| random.next() as u8).collect()
}

#[test]
fn drives_with_garbage_are_refused_each_with_its_code() {
    let job = Job::of(&stepper("i32.const 0"), 8);
    let good = Drives::of(&job);
    good.end("a good step", Exit::Done, true);
    for length in [0, 1, 100, 4096, 100_000] {
        let all = length == 4096;
        Drives { job: garbage(length), ..good.clone() }.end("a job of garbage", Exit::Job, all);
        Drives { data: garbage(length), ..good.clone() }.end("data of garbage", Exit::Data, all);
        Drives { state_in: garbage(length), ..good.clone() }.end("a state of garbage", Exit::State, all);
    }
    let cut = |bytes: &[u8], length: usize| bytes[..length].to_vec();
    for length in [4, 31, 100, 1000] {
        Drives { job: cut(&good.job, length), ..good.clone() }.end("a truncated job", Exit::Job, false);
        Drives { data: cut(&good.data, length.min(60)), ..good.clone() }.end("a truncated capsule", Exit::Data, false);
    }
    for length in [4, 31, 100, 180] {
        Drives { state_in: cut(&good.state_in, length), ..good.clone() }.end("a truncated header", Exit::State, false);
    }
}

#[test]
fn content_that_is_longer_than_its_drive_is_refused_before_the_machine_starts() {
    let job = Job::of(&stepper("i32.const 0"), 8);
    let long = Drives { data: vec![0; (1 << 24) + 1], ..Drives::of(&job) };
    let folder = tempfile::tempdir().expect("a folder");
    for (image, machine) in machines().each() {
        let failure = long.replay(machine, image, folder.path(), Limit::of(SizeClass::S)).expect_err("it is too long");
        assert!(matches!(failure, Failure::TooLong { drive: "data", .. }), "{failure}");
    }
}

#[test]
fn the_replayer_admits_modules_for_itself() {
    let modules = [
        ("another import", r#"(module (import "env" "f" (func)) (func (export "_start")))"#),
        ("threads", r#"(module (memory (export "memory") 1 1 shared) (func (export "_start")))"#),
        ("memory64", r#"(module (memory (export "memory") i64 1 1) (func (export "_start")))"#),
        ("2 GiB of memory", r#"(module (memory (export "memory") 32768 32768) (func (export "_start")))"#),
        ("no entry point", "(module)"),
    ];
    for (index, (what, text)) in modules.into_iter().enumerate() {
        let job = Job::of(&wat::parse_str(text).expect("wasm text"), 8);
        Drives::of(&job).end(what, Exit::Module, index == 0);
    }
    let job = Job::of(&garbage(1000), 8);
    Drives::of(&job).end("no module", Exit::Module, true);
}

#[test]
fn two_gibibytes_of_memory_are_refused_when_a_job_is_published() {
    let mut asked = manifest(8);
    asked.limits.memory = 2 << 30;
    assert!(!asked.check().is_empty(), "no size class has room for that");
}

#[test]
fn growing_beyond_the_limit_gives_the_guest_minus_one_in_every_machine() {
    let job = Job::of(
        &stepper("(if (i32.ne (memory.grow (i32.const 32767)) (i32.const -1)) (then unreachable)) i32.const 0"),
        8,
    );
    Drives::after(&job, 1).end("2 GiB at run time", Exit::Done, true);
}

#[test]
fn a_state_of_another_module_or_run_is_refused() {
    let job = Job::of(&stepper("i32.const 0"), 8);
    let good = Drives::after(&job, 2);
    good.end("a good state", Exit::Done, false);
    let without_memory = r#"(module (func (export "_initialize")) (func (export "fedmkt_init") (result i32) i32.const 0)
        (func (export "fedmkt_step") (result i32) i32.const 0))"#;
    let other = Job::of(&wat::parse_str(without_memory).expect("wasm text"), 8);
    Drives { job: other.job.to_vec(), ..good.clone() }.end("the state of a module with memory", Exit::State, true);
    let blind = 5 * 32;
    let mut changed = good.clone();
    for byte in &mut changed.state_in[blind..blind + 32] {
        *byte ^= 1;
    }
    changed.end("another blind", Exit::State, false);
    let mut larger = manifest(8);
    larger.machine.class = SizeClass::M;
    let job = Job::with(&stepper("i32.const 0"), &larger, &[("a", b"b")]);
    Drives::of(&job).end("a job of another class", Exit::OtherClass, true);
    let mut little = manifest(8);
    little.data.most_bytes = 10_000;
    let job = Job::with(&stepper("i32.const 0"), &little, &[("a", b"b")]);
    let data = pack(&[("a", &[1; 20_000])]);
    Drives { data, ..Drives::of(&job) }.end("more data than the job allows", Exit::TooMuchData, true);
}

#[test]
fn a_header_that_no_run_of_the_job_comes_to_is_refused() {
    let with = |drives: &Drives, change: &dyn Fn(&mut Header)| {
        let mut drives = drives.clone();
        let page: &mut [u8; 4096] = drives.state_in.first_chunk_mut().expect("a page");
        let mut header = Header::decode(page).expect("a header");
        change(&mut header);
        *page = header.encode();
        drives
    };
    let job = Job::of(&stepper("i32.const 0"), 8);
    let running = |steps| with(&Drives::after(&job, 2), &move |header| header.steps = steps);
    running(7).end("running before the last step", Exit::Done, false);
    running(8).end("running after the last step", Exit::State, true);
    running(9).end("running after more steps than there are", Exit::State, false);

    let finished = |drives: &Drives, status, steps, results: Vec<ResultCommitment>| {
        with(drives, &move |header| (header.status, header.steps, header.results) = (status, steps, results.clone()))
    };
    let of_size = |size| ResultCommitment { size, root: ResultRoot([1; 32]), cid: FileCid::new().finish() };
    let stepper = Drives::of(&job);
    for (status, steps, results, exit) in [
        (Status::StepsExhausted, 8, vec![], Exit::Done),
        (Status::StepsExhausted, 7, vec![], Exit::State),
        (Status::StepsExhausted, 9, vec![], Exit::State),
        (Status::DataRefused, 3, vec![], Exit::Done),
        (Status::DataRefused, 9, vec![], Exit::State),
        (Status::Trapped, 8, vec![], Exit::Done),
        (Status::Trapped, 9, vec![], Exit::State),
        (Status::Done, 8, vec![of_size(1 << 20)], Exit::Done),
        (Status::Done, 9, vec![of_size(1 << 20)], Exit::State),
        (Status::Done, 8, vec![of_size((1 << 20) + 1)], Exit::State),
        (Status::Done, 8, vec![of_size(1), of_size(1)], Exit::State),
    ] {
        finished(&stepper, status, steps, results).end(&format!("{status} after {steps} steps"), exit, false);
    }
    let command = Job::of(&wat::parse_str(r#"(module (func (export "_start")))"#).expect("wasm text"), 8);
    let command = Drives::of(&command);
    with(&command, &|header| header.steps = 1).end("a command that goes on", Exit::State, true);
    for (status, steps, exit) in [
        (Status::Trapped, 1, Exit::Done),
        (Status::Trapped, 2, Exit::State),
        (Status::DataRefused, 1, Exit::State),
        (Status::StepsExhausted, 1, Exit::State),
    ] {
        let what = format!("a command that is {status} after {steps} steps");
        finished(&command, status, steps, vec![]).end(&what, exit, false);
    }
}

#[test]
fn a_step_that_never_ends_is_ended_by_the_limit() {
    let job = Job::of(&stepper("(loop br 0) i32.const 0"), 8);
    let mut drives = Drives::of(&job);
    let mut header = Header::decode(drives.state_in.first_chunk().expect("a page")).expect("a header");
    // Step 0 ends; so begin with its outcome.
    let folder = tempfile::tempdir().expect("a folder");
    let admitted = job.inputs.admit().expect("admitted");
    let mut run = fedmkt_core::run::Run::begin(
        native(),
        fedmkt_core::engine::Engine::compile(&native(), &admitted).expect("compiled"),
        admitted,
        job.inputs.clone(),
        job.identity,
    );
    run.step().expect("step 0");
    header.steps = run.steps();
    let mut image = vec![0; run.layout().total_bytes() as usize];
    run.write_image(|offset, bytes| {
        image[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok::<_, std::convert::Infallible>(())
    })
    .unwrap_or_else(|never| match never {});
    drives.state_in = image;
    let limit = Limit { cycles: 1 << 29, time: Duration::from_secs(3) };
    for (image, machine) in machines().each() {
        let failure = drives.replay(machine, image, folder.path(), limit).expect_err("it has no end");
        assert!(matches!(failure, Failure::Endless(_)), "{}: {failure}", machine.name());
    }
}

/// The Cartesi Machine saves itself; a replay that was interrupted goes on, and ends the same after as many cycles.
#[test]
fn a_long_replay_goes_on_from_its_snapshot() {
    let cartesi = match (Cartesi::find(), Image::find()) {
        (Ok(cartesi), Ok(image)) => (cartesi, image),
        (cartesi, image) => {
            let why = [cartesi.err(), image.err()].into_iter().flatten().map(|why| why.to_string());
            eprintln!("\n*** SKIPPED: no replay is resumed: {}\n", why.collect::<Vec<_>>().join("; "));
            return;
        }
    };
    let body = "(local $i i32) (loop (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get $i) (i32.const 40000000)))) (i32.store (i32.const 0) (local.get $i)) i32.const 0";
    let job = Job::of(&stepper(body), 8);
    let drives = Drives::after(&job, 1);
    let folder = tempfile::tempdir().expect("a folder");
    let whole = drives.replay(&cartesi.0, &cartesi.1, folder.path(), Limit::of(SizeClass::S)).expect("replayed");
    let cycles = whole.cycles.expect("cycles");
    assert!(cycles > 1 << 29, "{cycles} cycles are not long");

    let snapshots = folder.path().join("snapshots");
    let saving = cartesi.0.with_snapshots(&snapshots, Duration::from_secs(3600));
    let put = |name: &str| folder.path().join(name);
    let (job_file, data, state_in) = (put("job"), put("data"), put("state-in"));
    let step = Step {
        image: &cartesi.1,
        class: SizeClass::S,
        job: &job_file,
        data: &data,
        state_in: &state_in,
        work: folder.path(),
        limit: Limit::of(SizeClass::S),
        hashes: false,
    };
    let mut reached = 0;
    let failure = saving.replay(&step, &mut |progress| {
        reached = progress.cycles.expect("cycles");
        ControlFlow::Break(())
    });
    assert!(matches!(failure, Err(Failure::Interrupted)));
    assert!(std::fs::read_dir(&snapshots).expect("a folder").count() == 1, "it was saved");
    let mut first = None;
    let resumed = saving.replay(&step, &mut |progress| {
        first.get_or_insert(progress.cycles.expect("cycles"));
        ControlFlow::Continue(())
    });
    let resumed = resumed.expect("replayed");
    assert!(first.is_none_or(|first| first > reached), "it went on where it was");
    assert_eq!((resumed.exit, resumed.cycles), (Exit::Done, Some(cycles)));
    assert_eq!(resumed.state_out.root().expect("a root"), whole.state_out.root().expect("a root"));
    assert!(std::fs::read_dir(&snapshots).expect("a folder").count() == 0, "what is not needed any more is gone");
}
