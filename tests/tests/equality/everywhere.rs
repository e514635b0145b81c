//! The same run in every engine and every machine.

use std::convert::Infallible;
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use fedmkt_core::admission::{Admitted, Refusal};
use fedmkt_core::engine::Engine;
use fedmkt_core::image::{Header, Status};
use fedmkt_core::roots::StateRoot;
use fedmkt_core::run::{Run, RunError};
use fedmkt_machine::engine::Wasmi;
use fedmkt_machine::exit::Exit;
use fedmkt_runtime::engine::Native;
use fedmkt_verifier::cartesi::Cartesi;
use fedmkt_verifier::difference;
use fedmkt_verifier::machine::{Machine, Replayed};
use fedmkt_verifier::qemu::Qemu;
use fedmkt_verifier::step::{Image, Limit, Step};

use crate::job::Job;

/// The machines of this computer, and what runs in them.
pub struct Machines {
    image: Option<Image>,
    machines: Vec<Box<dyn Machine + Sync + Send>>,
}

impl Machines {
    /// Looks for all of them. What is missing is said loudly, or is a failure if `FEDMKT_EXPECT` names it.
    pub fn find() -> Self {
        let expected = std::env::var("FEDMKT_EXPECT").unwrap_or_default();
        let missing = |name: &str, why: &dyn fmt::Display| {
            assert!(!expected.split(',').any(|word| word == name), "{name} is expected here: {why}");
            eprintln!("\n*** SKIPPED: nothing is compared with {name}: {why}\n");
        };
        let mut machines: Vec<Box<dyn Machine + Sync + Send>> = Vec::new();
        let image = Image::find().inspect_err(|why| missing("image", why)).ok();
        match Qemu::find() {
            Ok(qemu) => machines.push(Box::new(qemu)),
            Err(why) => missing("qemu", &why),
        }
        match Cartesi::find() {
            Ok(cartesi) => machines.push(Box::new(cartesi)),
            Err(why) => missing("cartesi", &why),
        }
        Self { image, machines }
    }

    /// The image and the machines, if there is an image.
    pub fn each(&self) -> impl Iterator<Item = (&Image, &(dyn Machine + Sync + Send))> {
        self.image.iter().flat_map(|image| self.machines.iter().map(move |machine| (image, &**machine)))
    }

    /// No machines: engines on the host only.
    pub fn none() -> Self {
        Self { image: None, machines: Vec::new() }
    }
}

/// All states of a run.
pub struct History {
    /// The root before step 0 and after each step.
    pub roots: Vec<StateRoot>,
    /// The images of all states but the last.
    pub images: Vec<Vec<u8>>,
    /// What each step took.
    pub took: Vec<Duration>,
    /// The last header.
    pub last: Header,
    /// The contents of the results, if the run is done.
    pub results: Vec<Vec<u8>>,
}

/// Two places where the same run came to different states.
#[derive(Debug)]
pub struct Difference {
    /// Where it was not as native.
    pub place: String,
    /// The step after which the states differ.
    pub step: u64,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} differs from native in step {}: {}", self.place, self.step, self.what)
    }
}

/// Runs a job to its end, or for `most` steps. With `restore`, every step begins from an image, as in a machine.
pub fn history<E>(engine: E, admitted: &Admitted, job: &Job, most: u64, restore: bool) -> History
where
    E: Engine + Clone,
    E::Module: Clone,
{
    let module = engine.compile(admitted).expect("the engine compiles what was admitted");
    let inputs = || (engine.clone(), module.clone(), admitted.clone(), job.inputs.clone(), job.identity);
    let (e, m, a, i, identity) = inputs();
    let mut run = Run::begin(e, m, a, i, identity);
    let mut history = History {
        roots: vec![run.state_root()],
        images: vec![],
        took: vec![],
        last: run.header().clone(),
        results: vec![],
    };
    while !run.status().is_final() && run.steps() < most {
        let image = image_of(&mut run);
        if restore {
            let (e, m, a, i, identity) = inputs();
            run = Run::resume(e, m, a, i, identity, &image).unwrap_or_else(|error: RunError<_>| panic!("{error}"));
            assert_eq!(run.state_root(), *history.roots.last().expect("one at least"), "a restored state is the same");
        }
        history.images.push(image);
        let started = Instant::now();
        run.step().unwrap_or_else(|error| panic!("{error}"));
        history.took.push(started.elapsed());
        history.roots.push(run.state_root());
    }
    history.last = run.header().clone();
    if run.status() == Status::Done {
        let count = history.last.results.len();
        history.results = (0..count).map(|index| run.result(index).expect("a result")).collect();
    }
    history
}

fn image_of<E: Engine>(run: &mut Run<E>) -> Vec<u8> {
    let mut image = vec![0; run.layout().total_bytes() as usize];
    run.write_image(|offset, bytes| {
        image[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok::<_, Infallible>(())
    })
    .unwrap_or_else(|never| match never {});
    image
}

/// Runs a job, or its first `most` steps, natively, in wasmi, and in the machines: there those that `steps` chooses.
pub fn compare(
    job: &Job,
    native: &Native,
    machines: &Machines,
    most: u64,
    steps: impl Fn(u64) -> bool,
) -> Result<Result<History, Refusal>, Difference> {
    let admitted = match job.inputs.admit() {
        Ok(admitted) => admitted,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let ours = history(native.clone(), &admitted, job, most, false);
    for (place, theirs) in [
        ("native, restored before each step", history(native.clone(), &admitted, job, most, true)),
        ("wasmi", history(Wasmi::new(), &admitted, job, most, false)),
        ("wasmi, restored before each step", history(Wasmi::new(), &admitted, job, most, true)),
    ] {
        let step = (0..).zip(ours.roots.iter().skip(1).zip(theirs.roots.iter().skip(1))).find(|(_, (a, b))| a != b);
        let differs = |step, what| Difference { place: place.into(), step, what };
        if let Some((step, _)) = step {
            let next = step as usize + 1;
            let limits = &job.inputs.manifest().limits;
            let images = ours.images.get(next).zip(theirs.images.get(next));
            let found = images.and_then(|(ours, theirs)| difference::first(ours, theirs, limits));
            let what = match found {
                Some(found) => found.to_string(),
                None => format!("it ended in {} instead of {}", theirs.last.status, ours.last.status),
            };
            return Err(differs(step, what));
        }
        if ours.last != theirs.last || ours.results != theirs.results {
            return Err(differs(ours.last.steps, format!("it ended in {:?} instead of {:?}", theirs.last, ours.last)));
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    for (step, state) in (0..).zip(&ours.images).filter(|(step, _)| steps(*step)) {
        for (image, machine) in machines.each() {
            let difference = |what| Difference { place: machine.name().into(), step, what };
            let replayed = replay(machine, image, job, state, folder.path());
            if replayed.exit != Exit::Done {
                return Err(difference(format!("{}: {}", replayed.exit, replayed.said)));
            }
            let root = replayed.state_out.root().expect("the state");
            let wanted = ours.roots[step as usize + 1];
            if root != wanted {
                return Err(difference(format!("state root {root} instead of {wanted}")));
            }
        }
    }
    Ok(Ok(ours))
}

/// Replays a step in a machine.
pub fn replay(machine: &dyn Machine, image: &Image, job: &Job, state: &[u8], folder: &Path) -> Replayed {
    let path = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    let (job_file, data, state_in) = (path("job", &job.job), path("data", &job.data), path("state-in", state));
    let step = Step {
        image,
        class: job.inputs.manifest().machine.class,
        job: &job_file,
        data: &data,
        state_in: &state_in,
        work: folder,
        limit: Limit::of(job.inputs.manifest().machine.class),
        hashes: false,
    };
    machine.replay(&step, &mut |_| ControlFlow::Continue(())).unwrap_or_else(|failure| panic!("{failure}"))
}
