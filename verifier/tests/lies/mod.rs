//! A dishonest client that computes its lies, for several tests.

use std::fs::{self, File};

use fedmkt_core::image::{Header, Layout, Status};
use fedmkt_core::manifest::{Disclosure, Limits, Manifest};
use fedmkt_core::roots::{ResultRoot, RunId, StateRoot};
use fedmkt_core::trace::{Level, trace_root};
use fedmkt_core::tree::keccak256;
use fedmkt_runtime::grant::Grant;
use fedmkt_runtime::home::Home;
use fedmkt_runtime::identity::Identity;
use fedmkt_runtime::job::{Job, Reference};
use fedmkt_runtime::packed::Packed;
use fedmkt_runtime::training::Session;
use fedmkt_runtime::worker::{Program, Worker};
use fedmkt_store::{FolderStore, put_value};
use fedmkt_test_kit::job::stored;
use fedmkt_verifier::rerun::Claim;
use tempfile::TempDir;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_fedmkt-verify");
pub const STEPS: u64 = 701;
/// Segments of 300 steps are cut into parts of 256, and these into steps: three levels.
pub const STEPS_PER_SEGMENT: u64 = 300;
pub const KINDS: u64 = 10;

/// A key to which results can be encrypted. Nobody in the tests can decrypt them.
pub const SPONSOR: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

/// The trainer of the test kit with more and shorter steps.
fn trainer() -> Vec<u8> {
    let mut text = include_str!("../../../tests/kit/src/trainer.wat").to_owned();
    for (long, short) in [
        ("(i32.const 300000)", "(i32.const 30)"),
        ("(i32.eq (global.get $step) (i32.const 60))", "(i32.eq (global.get $step) (i32.const 700))"),
        ("(i32.const 65536) (i32.const 1000)", "(i32.const 65536) (i32.const 80)"),
    ] {
        assert!(text.contains(long));
        text = text.replace(long, short);
    }
    wat::parse_str(text).expect("wasm text")
}

/// Numbers that are always the same, so that a failure comes again.
pub struct Dice(pub u64, pub u64);

impl Dice {
    pub fn below(&mut self, sides: u64) -> u64 {
        self.1 += 1;
        let bytes = keccak256(format!("{} {}", self.0, self.1).as_bytes()).0;
        u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) % sides
    }

    fn noise(&mut self) -> StateRoot {
        self.1 += 1;
        StateRoot(keccak256(format!("noise {} {}", self.0, self.1).as_bytes()).0)
    }
}

pub struct Setting {
    pub folder: TempDir,
    pub job: Job,
    pub capsule: Packed,
    pub run_id: RunId,
}

impl Setting {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// One whose data may be shown to these.
    pub fn disclosed(disclosure: Disclosure) -> Self {
        Self::with(|manifest| manifest.disclosure = disclosure)
    }

    /// One whose manifest went through `change`.
    pub fn with(change: impl FnOnce(&mut Manifest)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path().join("home")).expect("a home");
        let store = FolderStore::new(home.path().join("store"));
        let manifest = stored(&store, &trainer());
        let limits = Limits { steps: 1400, ..manifest.limits };
        let mut manifest = Manifest { steps_per_segment: STEPS_PER_SEGMENT, limits, ..manifest };
        change(&mut manifest);
        let cid = put_value(&store, &manifest).expect("stored");
        let job = Job::load(&Reference::Cid(cid), &store, &home).expect("a job");
        let data = folder.path().join("data");
        fs::create_dir(&data).expect("a folder");
        fs::write(data.join("table.csv"), "1,2,3\n".repeat(1000)).expect("a file");
        let grant = Grant::survey(&data).expect("a grant");
        let capsules = home.capsules().expect("a folder");
        let capsule = match job.manifest.disclosure {
            Disclosure::Open => grant.pack_open(&job.manifest, &capsules),
            _ => {
                let path = home.path().join("identity.age");
                let identity = Identity::open(&path, |_| Ok("correct horse".to_owned().into())).expect("an identity");
                grant.pack(&job.manifest, &identity, &capsules, &mut |_| {})
            }
        };
        let capsule = capsule.expect("packed");
        let run_id = Session::local(&job, &capsule).run_id;
        Self { folder, job, capsule, run_id }
    }

    pub fn session(&self) -> Session<'_> {
        Session {
            run_id: self.run_id,
            program: Program { path: PROGRAM.into(), arguments: Vec::new() },
            ..Session::local(&self.job, &self.capsule)
        }
    }

    pub fn store(&self) -> FolderStore {
        FolderStore::new(self.folder.path().join("home/store"))
    }

    pub fn root_alone(&self, header: &Header) -> StateRoot {
        header.root_alone(self.job.manifest.machine.class.log2_state())
    }
}

/// What a dishonest client says: the state after each number of steps, from 1.
pub struct Lie {
    pub states: Vec<StateRoot>,
    /// What it does.
    pub what: &'static str,
    /// The first step that is wrong.
    pub step: u64,
    /// The last state's header, where it has one.
    pub last: Option<Header>,
    /// Whether it admits only the last leaf of each level that it is asked for.
    pub hides: bool,
}

impl Lie {
    pub fn after(&self, steps: u64) -> StateRoot {
        self.states[steps as usize - 1]
    }

    pub fn claim(&self, honest: &Claim) -> Claim {
        let steps = self.states.len() as u64;
        let segments: Vec<StateRoot> = Level::top(steps, STEPS_PER_SEGMENT).ends().map(|end| self.after(end)).collect();
        Claim { trace_root: trace_root(&segments), last_state: self.after(steps), steps, ..*honest }
    }

    /// What it posts when it is asked for the leaves of a level.
    pub fn posts(&self, level: &Level, honest: &[StateRoot]) -> Vec<StateRoot> {
        let mut leaves: Vec<StateRoot> = level.ends().map(|end| self.after(end)).collect();
        let is_top = level.part == STEPS_PER_SEGMENT;
        if self.hides && !is_top {
            let last = leaves.len() - 1;
            for (leaf, end) in leaves.iter_mut().zip(level.ends()).take(last) {
                *leaf = honest[end as usize - 1];
            }
        }
        leaves
    }
}

/// A client that computes its lies.
pub struct Liar<'a> {
    setting: &'a Setting,
    worker: Worker,
    pub honest: Vec<StateRoot>,
    pub last: Header,
    /// The contents of the result files.
    pub results: Vec<Vec<u8>>,
    image: std::path::PathBuf,
}

impl<'a> Liar<'a> {
    pub fn new(setting: &'a Setting) -> Self {
        let mut worker = setting.session().worker().expect("a worker");
        worker.begin().expect("begun");
        let mut honest = Vec::new();
        while !worker.status().is_final() {
            worker.advance_to(honest.len() as u64 + 1).expect("a step");
            honest.push(worker.state_root().expect("a root"));
        }
        let last = worker.header().expect("a header");
        let image = setting.folder.path().join("changed");
        let mut liar = Self { setting, worker, honest, last, results: Vec::new(), image };
        liar.results = liar.results_of_last();
        liar
    }

    /// The contents of the result files of the run that was made last.
    pub fn results_of_last(&mut self) -> Vec<Vec<u8>> {
        let committed = self.worker.header().expect("a header").results;
        let results = committed.iter().enumerate();
        results.map(|(index, committed)| self.worker.result(index, committed).expect("a result")).collect()
    }

    /// The states of a run that is honest for `steps` steps; then its image is changed, and it goes on to its end.
    fn changed(&mut self, steps: u64, change: impl FnOnce(&mut [u8])) -> (Vec<StateRoot>, Option<Header>) {
        self.worker.begin().expect("begun");
        self.worker.advance_to(steps).expect("steps");
        let file = File::create_new(&self.image).expect("a file");
        self.worker.write_image(&file).expect("an image");
        let mut image = fs::read(&self.image).expect("an image");
        change(&mut image);
        fs::write(&self.image, image).expect("written");
        self.worker.resume(&File::open(&self.image).expect("a file")).expect("resumed");
        fs::remove_file(&self.image).expect("removed");
        let mut states = self.honest[..steps as usize].to_vec();
        // The state after the last honest step is a changed one.
        states.pop();
        while (states.len() as u64) < self.worker.steps() - 1 {
            // Steps that are skipped have states that nobody computed.
            states.push(StateRoot(keccak256(&states.len().to_le_bytes()).0));
        }
        states.push(self.worker.state_root().expect("a root"));
        while !self.worker.status().is_final() {
            self.worker.advance_to(states.len() as u64 + 1).expect("a step");
            states.push(self.worker.state_root().expect("a root"));
        }
        (states, Some(self.worker.header().expect("a header")))
    }

    /// Ends after so many steps with this header.
    fn ends(&self, header: &Header) -> (Vec<StateRoot>, Option<Header>) {
        let mut states = self.honest[..header.steps as usize - 1].to_vec();
        states.push(self.setting.root_alone(header));
        (states, Some(header.clone()))
    }

    pub fn lie(&mut self, kind: u64, dice: &mut Dice) -> Lie {
        let memory = Layout::of(&self.setting.job.manifest.limits).memory() as usize;
        // Late enough that the first nine weights are there, before the last step.
        let at = 20 + dice.below(STEPS - 22);
        let flip = |offset: usize, dice: &mut Dice| {
            let (offset, bit) = (offset + dice.below(8) as usize, dice.below(8));
            move |image: &mut [u8]| image[offset] ^= 1 << bit
        };
        let lie = |what, (states, last), step| Lie { states, what, step, last, hides: false };
        match kind {
            0 => {
                let weight = memory + 65_536 + 8 * (1 + dice.below(9) as usize);
                let flip = flip(weight, dice);
                lie("a bit of a weight is flipped", self.changed(at, flip), at - 1)
            }
            1 => {
                let mut states = self.honest.clone();
                states[at as usize..].iter_mut().for_each(|state| *state = dice.noise());
                lie("from some step on the trace is noise", (states, None), at)
            }
            2 => {
                let mut states = self.honest.clone();
                let end = STEPS_PER_SEGMENT * (1 + dice.below(STEPS / STEPS_PER_SEGMENT));
                states[end as usize - 1] = dice.noise();
                lie("one leaf of the trace is noise", (states, None), end - 1)
            }
            3 => {
                let header = Header { steps: at, ..self.last.clone() };
                lie("it stops early", self.ends(&header), at - 1)
            }
            4 => {
                let skipped = 1 + dice.below(STEPS_PER_SEGMENT);
                let change =
                    |image: &mut [u8]| image[6 * 32 + 24..7 * 32].copy_from_slice(&(at + skipped).to_be_bytes());
                lie("steps are skipped", self.changed(at, change), at - 1)
            }
            5 => {
                let mut header = self.last.clone();
                let root = &mut header.results[dice.below(2) as usize].root;
                *root = ResultRoot(dice.noise().0);
                lie("a result is another file", self.ends(&header), STEPS - 1)
            }
            6 => {
                let header =
                    Header { steps: at, status: Status::DataRefused, results: Vec::new(), ..self.last.clone() };
                lie("it says that the data does not fit", self.ends(&header), at - 1)
            }
            7 => {
                let flip = flip(memory + 16_384, dice);
                lie("the initial weights are others", self.changed(1, flip), 0)
            }
            8 => {
                let mut states = self.honest.clone();
                states.pop();
                let more = 2 + dice.below(600);
                states.extend((0..more).map(|_| dice.noise()));
                lie("it goes on after the end", (states, None), STEPS - 1)
            }
            _ => {
                let weight = memory + 65_536 + 8 * (1 + dice.below(9) as usize);
                let flip = flip(weight, dice);
                let (states, last) = self.changed(at, flip);
                let segment_end = (at.div_ceil(STEPS_PER_SEGMENT) * STEPS_PER_SEGMENT).min(STEPS);
                // Who says that all is well but the last state of a level stands for its last step.
                Lie { states, what: "leaves below are false", step: segment_end - 1, last, hides: true }
            }
        }
    }
}
