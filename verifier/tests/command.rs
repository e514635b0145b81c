//! `fedmkt-verify` on the command line: every verdict, and what it says then.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use alloy::primitives::B256;
use cid::Cid;
use fedmkt_core::image::Layout;
use fedmkt_core::manifest::Manifest;
use fedmkt_core::receipt::Body;
use fedmkt_core::roots::StateRoot;
use fedmkt_core::trace::trace_root;
use fedmkt_runtime::checkpoint::Checkpoints;
use fedmkt_runtime::envelope::Envelope;
use fedmkt_runtime::grant::Grant;
use fedmkt_runtime::home::Home;
use fedmkt_runtime::job::{Job, Reference};
use fedmkt_runtime::training::{Observer, Session, TrainingError};
use fedmkt_runtime::worker::{Program, Worker};
use fedmkt_store::{FolderStore, car, files, put_value};
use fedmkt_test_kit::job::{stored, trainer};
use fedmkt_verifier::qemu::Qemu;
use fedmkt_verifier::step::Image;
use fedmkt_verifier::watch::database::State;
use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_fedmkt-verify");
const STEPS_PER_SEGMENT: u64 = 7;
/// The trainer says after so many steps that it is done.
const STEPS: u64 = 61;

/// A client who ran a job.
struct Client {
    folder: TempDir,
    body: Body,
    receipt: Cid,
}

struct Quiet;

impl Observer for Quiet {
    fn starts(&mut self, _: &Worker) -> Result<(), TrainingError> {
        Ok(())
    }

    fn advanced(&mut self, _: &mut Worker) {}

    fn stop(&self) -> bool {
        false
    }
}

fn manifest(store: &FolderStore) -> Manifest {
    Manifest { steps_per_segment: STEPS_PER_SEGMENT, ..stored(store, &trainer()) }
}

impl Client {
    /// Runs the job, with a checkpoint after each segment.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path().join("home")).expect("a home");
        let store = FolderStore::new(home.path().join("store"));
        let data = folder.path().join("data");
        fs::create_dir(&data).expect("a folder");
        fs::write(data.join("table.csv"), "1,2,3\n".repeat(1000)).expect("a file");
        let cid = put_value(&store, &manifest(&store)).expect("stored");
        let job = Job::load(&Reference::Cid(cid), &store, &home).expect("a job");
        let capsule = Grant::survey(&data).expect("a grant");
        let capsule = capsule.pack_open(&job.manifest, &home.capsules().expect("a folder")).expect("packed");
        let program = Program { path: PROGRAM.into(), arguments: Vec::new() };
        let session = Session { program, ..Session::local(&job, &capsule) };
        let mut checkpoints =
            Checkpoints::open(&home.run(session.run_id).expect("a folder")).expect("opened").expect("not locked");
        let finished = session.train(&mut checkpoints, Duration::ZERO, &mut Quiet).expect("trained").expect("finished");
        assert_eq!(finished.header.steps, STEPS);
        let body = Body::new(cid, &job.manifest, &finished.header, finished.segments);
        for (content, record) in finished.results.iter().zip(&body.results) {
            assert_eq!(files::add_file(&store, &content[..]).expect("added").cid, record.cid);
        }
        let receipt = sign(&store, &body);
        Self { folder, body, receipt }
    }

    fn store(&self) -> FolderStore {
        FolderStore::new(self.home().join("store"))
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn grant(&self) -> String {
        format!("data={}", self.folder.path().join("data").display())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.env("FEDMKT_HOME", self.home()).stdin(Stdio::null());
        command
    }

    /// `fedmkt-verify replay` of a receipt, with more arguments.
    fn replay(&self, receipt: &Cid, arguments: &[&str]) -> Done {
        let mut command = self.command();
        command.args(["replay", &receipt.to_string(), "--grant", &self.grant(), "--json"]).args(arguments);
        Done::of(&command.output().expect("it starts"))
    }

    /// The checkpoint files, by steps.
    fn checkpoints(&self) -> Vec<(u64, PathBuf)> {
        let folder = self.home().join("runs").join(self.body.run_id.to_string());
        let mut found: Vec<(u64, PathBuf)> = fs::read_dir(folder)
            .expect("a folder")
            .filter_map(|entry| {
                let path = entry.expect("an entry").path();
                let steps = path.file_name()?.to_str()?.strip_suffix(".state")?.parse().ok()?;
                Some((steps, path))
            })
            .collect();
        found.sort();
        found
    }
}

fn sign(store: &FolderStore, body: &Body) -> Cid {
    let body = put_value(store, body).expect("stored");
    let key = ed25519_dalek::SigningKey::from_bytes(&[5; 32]);
    put_value(store, &Envelope::sign(body, "an engine", 1_800_000_000, 1, &key)).expect("stored")
}

/// How a command ended.
struct Done {
    code: Option<i32>,
    stderr: String,
    json: Option<Value>,
}

impl Done {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            json: serde_json::from_slice(&output.stdout).ok(),
        }
    }

    #[track_caller]
    fn is(self, code: i32, says: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        for text in says {
            assert!(self.stderr.contains(text), "{text:?} is not in {:?}", self.stderr);
        }
        self
    }
}

/// Whether steps can be replayed in QEMU here.
fn qemu_is_here() -> bool {
    match (Qemu::find(), Image::find()) {
        (Ok(_), Ok(_)) => true,
        (qemu, image) => {
            let why = [qemu.err(), image.err()].into_iter().flatten().map(|why| why.to_string());
            eprintln!("\n*** SKIPPED: nothing is replayed in QEMU: {}\n", why.collect::<Vec<_>>().join("; "));
            false
        }
    }
}

#[test]
fn an_honest_run_is_identical_as_a_whole_and_in_parts() {
    let client = Client::new();
    assert!(client.checkpoints().len() > 3);
    let done = client.replay(&client.receipt, &[]).is(0, &["identical", "steps 0 to 60"]);
    assert_eq!(done.json.expect("an object")["verdict"], "identical");
    client.replay(&client.receipt, &["--segment", "8"]).is(0, &["identical"]);
    client.replay(&client.receipt, &["--step", "60"]).is(0, &["identical"]);
    client.replay(&client.receipt, &["--step", "0"]).is(0, &["identical", "steps 0 to 6 "]);
    // Only the segment in question is recomputed when a checkpoint is a leaf of the receipt.
    let ends = |steps: u64| steps >= STEPS_PER_SEGMENT && steps.is_multiple_of(STEPS_PER_SEGMENT);
    let (steps, _) = client.checkpoints().into_iter().rfind(|(steps, _)| ends(*steps)).expect("a checkpoint");
    let segment = (steps / STEPS_PER_SEGMENT).to_string();
    client.replay(&client.receipt, &["--segment", &segment]).is(0, &[&format!("steps {steps} to ")]);

    // The same from an archive, in a home that knows nothing yet, with a capsule.
    let archive = client.folder.path().join("receipt.car");
    let file = fs::File::create(&archive).expect("a file");
    car::export(&client.store(), &[client.receipt], file).expect("exported");
    let capsule = client.home().join("capsules/open.pack");
    let mut command = client.command();
    command.env("FEDMKT_HOME", client.folder.path().join("other"));
    command.arg("replay").arg(&archive).arg("--capsule").arg(capsule);
    Done::of(&command.output().expect("it starts")).is(0, &["identical"]);
}

#[test]
fn what_does_not_exist_is_a_usage_error() {
    let client = Client::new();
    client.replay(&client.receipt, &["--step", "61"]).is(2, &["61 steps"]);
    client.replay(&client.receipt, &["--segment", "9"]).is(2, &["9 segments"]);
    client.replay(&client.receipt, &["--segment", "1", "--step", "1"]).is(2, &["cannot be used with"]);
    let mut command = client.command();
    command.args(["replay", &client.receipt.to_string()]);
    Done::of(&command.output().expect("it starts")).is(2, &["--grant"]);
    let mut command = client.command();
    command.args(["replay", &client.receipt.to_string(), "--grant", "other=."]);
    Done::of(&command.output().expect("it starts")).is(2, &["--grant data=PATH"]);
}

#[test]
fn a_flipped_bit_in_a_checkpoint_is_named_with_segment_step_and_page() {
    let client = Client::new();
    let layout = Layout::of(&manifest(&client.store()).limits);
    let (steps, path) = client.checkpoints().into_iter().nth(2).expect("a checkpoint");
    let whole = fs::read(&path).expect("an image");
    let address = 65_536 + 3 * 8;
    let cases = [
        (layout.memory() + address, format!("memory address {address:#x}")),
        (Layout::GLOBALS + 16, "mutable global 1".into()),
        (Layout::FILES + 5, "byte 5 of the file /out/".into()),
        (6 * 32 + 31, "the header's number of steps".into()),
    ];
    for (offset, place) in cases {
        let mut flipped = whole.clone();
        flipped[offset as usize] ^= 4;
        fs::write(&path, flipped).expect("written");
        let segment = format!("segment {}, step {}", (steps - 1) / STEPS_PER_SEGMENT, steps - 1);
        let page = format!("page {} ", offset / 4096);
        let done = client.replay(&client.receipt, &[]).is(3, &["different", &segment, &page, &place]);
        let object = done.json.expect("an object");
        assert_eq!(object["step"], steps - 1);
        assert_eq!(object["verdict"], "different");
    }
}

#[test]
fn a_false_receipt_is_different_in_the_segment_that_is_false() {
    let client = Client::new();
    let store = client.store();
    let with = |change: &dyn Fn(&mut Body)| {
        let mut body = client.body.clone();
        change(&mut body);
        body.trace.root = trace_root(&body.trace.segments);
        sign(&store, &body)
    };
    let leaf = with(&|body| body.trace.segments[4] = StateRoot([1; 32]));
    client.replay(&leaf, &[]).is(3, &["segment 4", "steps 28 to 34", "the receipt says 0x0101"]);
    client.replay(&leaf, &["--segment", "4"]).is(3, &["segment 4"]);
    // What is not in question is not looked at, and a false leaf is no place to start from.
    client.replay(&leaf, &["--segment", "8"]).is(0, &["identical"]);
    client.replay(&leaf, &["--segment", "5"]).is(3, &["segment 4"]);
    let shorter = with(&|body| {
        body.trace.steps = 56;
        body.trace.segments.truncate(8);
    });
    client.replay(&shorter, &[]).is(3, &["the run has more than 56 steps"]);
    let longer = with(&|body| body.trace.steps = 63);
    client.replay(&longer, &[]).is(3, &["segment 8"]);
    let result = with(&|body| body.results[0].size += 1);
    client.replay(&result, &[]).is(3, &["the run ended otherwise"]);

    let mut envelope: Envelope = fedmkt_store::get_value(&store, &client.receipt).expect("stored");
    envelope.seconds += 1;
    let unsigned = put_value(&store, &envelope).expect("stored");
    client.replay(&unsigned, &[]).is(3, &["signature"]);
    let mut body = client.body.clone();
    body.trace.steps += 70;
    client.replay(&sign(&store, &body), &[]).is(3, &["do not agree"]);
}

#[test]
fn without_the_right_data_or_job_nothing_is_shown() {
    let client = Client::new();
    let other = client.folder.path().join("other");
    fs::create_dir(&other).expect("a folder");
    fs::write(other.join("table.csv"), "1,2,4\n".repeat(1000)).expect("a file");
    let receipt = client.receipt.to_string();
    let verify = |arguments: &[&str]| {
        let mut command = client.command();
        command.args(["replay", &receipt]).args(arguments);
        Done::of(&command.output().expect("it starts"))
    };
    verify(&["--grant", &format!("data={}", other.display())]).is(4, &["inconclusive", "this is other data"]);
    let file = other.join("table.csv").display().to_string();
    verify(&["--capsule", &file]).is(4, &["is no capsule"]);
    verify(&["--capsule", "/nowhere"]).is(1, &["/nowhere"]);
    verify(&["--grant", "data=/nowhere"]).is(4, &["/nowhere"]);
    let mut command = client.command();
    command.env("FEDMKT_HOME", client.folder.path().join("empty")).args(["replay", &receipt, "--capsule", &file]);
    Done::of(&command.output().expect("it starts")).is(4, &["is not in the store"]);
}

#[test]
fn steps_are_replayed_in_qemu() {
    if !qemu_is_here() {
        return;
    }
    let client = Client::new();
    let done = client.replay(&client.receipt, &["--step", "17", "--engine", "qemu"]).is(0, &["identical", "QEMU"]);
    let object = done.json.expect("an object");
    assert_eq!(object["replays"][0]["step"], 17);
    client.replay(&client.receipt, &["--segment", "8", "--engine", "qemu"]).is(0, &["5 steps replayed in QEMU"]);
    let mut command = client.command();
    let arguments = ["audit", &client.receipt.to_string(), "--grant", &client.grant(), "--random", "2", "--json"];
    command.args(arguments).args(["--engine", "qemu"]);
    let done = Done::of(&command.output().expect("it starts")).is(0, &["2 of 61 steps replayed in QEMU", "about"]);
    assert_eq!(done.json.expect("an object")["replays"].as_array().map(Vec::len), Some(2));
}

#[test]
fn what_strangers_have_written_cannot_rewrite_the_screen() {
    let (hostile, harmless) = ("free\u{1b}[2J\u{202e}\u{9b}", "free\\u{1b}[2J\\u{202e}\\u{9b}");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join(hostile);
    let tell = |command: &str| {
        let mut program = Command::new(PROGRAM);
        program.arg(command).arg("--data").arg(&data).stdin(Stdio::null()).output().expect("it starts")
    };
    let said = tell("history").stderr;
    fs::create_dir(&data).expect("a folder");
    State::of(&data).note(B256::ZERO, &format!("one line\n{hostile}")).expect("written");
    let told = tell("history").stdout;
    for text in [said, told] {
        let text = String::from_utf8(text).expect("UTF-8");
        assert!(text.contains(harmless) && !text.contains(hostile), "{text:?}");
        assert!(!text.contains("\\u{a}"), "lines are as they were: {text:?}");
    }
}

#[test]
fn a_machine_that_is_not_here_is_said_with_what_to_do() {
    let client = Client::new();
    let replay = |engine: &str, variable: &str, value: &str| {
        let mut command = client.command();
        command.args(["replay", &client.receipt.to_string(), "--grant", &client.grant(), "--step", "1"]);
        command.args(["--engine", engine]).env(variable, value);
        Done::of(&command.output().expect("it starts"))
    };
    replay("cartesi", "FEDMKT_CARTESI", "/nowhere/server").is(1, &["cannot start /nowhere/server"]);
    replay("qemu", "PATH", "/nowhere").is(1, &["qemu-system-riscv64 is not on this computer", "apt-get install"]);
    let mut command = client.command();
    command.arg("doctor").env("PATH", "/nowhere").env_remove("FEDMKT_CARTESI").env("FEDMKT_REPLAYER", "/nowhere/image");
    let output = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success());
    for text in ["native   yes", "replayer no   cannot read /nowhere/image", "QEMU     no ", "Cartesi  no "] {
        assert!(said.contains(text), "{text:?} is not in {said:?}");
    }
}
