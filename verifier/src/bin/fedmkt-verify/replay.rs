//! Recomputing, replaying, comparing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use fedmkt_core::roots::StateRoot;
use fedmkt_machine::exit::Exit as MachineExit;
use fedmkt_runtime::checkpoint::Checkpoints;
use fedmkt_runtime::worker::Program;
use fedmkt_verifier::cartesi::Cartesi;
use fedmkt_verifier::difference::{self, Difference};
use fedmkt_verifier::machine::{Failure, Machine, Replayed};
use fedmkt_verifier::recompute::{Mismatch, RecomputeError, Recomputed};
use fedmkt_verifier::release::Release;
use fedmkt_verifier::step::{Image, Limit, Step};
use fedmkt_verifier::template::Template;
use serde_json::{Value, json};

use crate::arguments::{self, Engine};
use crate::inputs::Inputs;
use crate::progress::{Watch, interruptible};
use crate::{Ended, Exit, OrExit, Outcome, machines};

/// How many times longer a step takes in a machine than natively, for estimates: measured with SIMD training loops.
const SLOWER: u32 = 1600;

/// What booting, admitting and translating takes, for estimates.
const START: Duration = Duration::from_secs(1);

impl From<RecomputeError> for Ended {
    fn from(error: RecomputeError) -> Self {
        let exit = match error {
            RecomputeError::NoSuchStep { .. } => Exit::Usage,
            _ => Exit::Host,
        };
        Self(exit, error.into())
    }
}

pub fn replay(arguments: &arguments::Replay) -> Outcome<()> {
    let inputs = Inputs::open(&arguments.subject)?;
    let trace = &inputs.subject.body.trace;
    let range = match (arguments.segment, arguments.step) {
        (Some(segment), _) if segment >= trace.segments.len() as u64 => {
            let count = trace.segments.len();
            return Err(Ended(Exit::Usage, anyhow!("the run has {count} segments; there is no segment {segment}")));
        }
        (Some(segment), _) => {
            let first = segment * trace.steps_per_segment;
            first..(first + trace.steps_per_segment).min(trace.steps)
        }
        (None, Some(step)) if step >= trace.steps => {
            return Err(Ended(Exit::Usage, anyhow!("the run has {} steps; there is no step {step}", trace.steps)));
        }
        (None, Some(step)) => step..step + 1,
        (None, None) => 0..trace.steps,
    };
    let checkpoints = checkpoints(&inputs, arguments.checkpoints.as_deref())?;
    let mut report = Report::new(arguments.subject.json);
    let mut run = Recomputed::begin(&inputs.subject, &inputs.capsule, Program::this())?;
    let whole = range.end - range.start == trace.steps;
    if !whole {
        // From the latest checkpoint that is a leaf of the receipt, if there is one: what is before it is not in question.
        for (steps, path) in checkpoints.iter().rev().filter(|(steps, _)| *steps <= range.start) {
            let segment_ended = *steps > 0 && steps.is_multiple_of(trace.steps_per_segment);
            let file = std::fs::File::open(path).or_exit(Exit::Host)?;
            if segment_ended && run.jump(&file, steps / trace.steps_per_segment - 1)? {
                break;
            }
        }
    }
    let machine = match arguments.engine {
        Engine::Native => None,
        engine => Some((
            machines::choose(engine, &inputs.home)?,
            machines::image_of(&arguments.image, inputs.subject.job.manifest.machine.release.as_deref())?,
        )),
    };
    let interrupted = interruptible()?;
    // To the end of the segment that the last step is in: only there does the receipt say what must come out.
    let end = range.end.div_ceil(trace.steps_per_segment).saturating_mul(trace.steps_per_segment).min(trace.steps);
    let mut from = run.steps();
    loop {
        let step = machine.as_ref().map(|_| from.max(range.start)).filter(|step| *step < range.end);
        let checkpoint = checkpoints.iter().map(|(steps, _)| *steps).find(|steps| (from..=end).contains(steps));
        let Some(stop) = step.into_iter().chain(checkpoint).min() else { break };
        agree(run.advance_to(stop)?, &mut report)?;
        if let Some((_, path)) = checkpoints.iter().find(|(steps, _)| *steps == stop) {
            compare_checkpoint(&inputs, &mut run, path, &mut report)?;
        }
        if let Some((machine, image)) = machine.as_ref().filter(|_| step == Some(stop)) {
            let prepared = prepare(&inputs, &mut run, &mut report)?;
            replay_step(&inputs, &**machine, image, &prepared, &interrupted, &mut report, false)?;
        }
        from = stop + 1;
    }
    agree(run.advance_to(end)?, &mut report)?;
    let from = run.recomputed_from();
    report.identical(&match &machine {
        None => {
            format!("steps {from} to {} recomputed natively, {} leaves of the receipt", end - 1, trace.segments.len())
        }
        Some((machine, _)) => format!("{} steps replayed in {}", range.end - range.start, machine.name()),
    });
    Ok(())
}

pub fn audit(arguments: &arguments::Audit) -> Outcome<()> {
    let inputs = Inputs::open(&arguments.subject)?;
    let machine = machines::choose(arguments.engine, &inputs.home)?;
    let image = machines::image_of(&arguments.image, inputs.subject.job.manifest.machine.release.as_deref())?;
    let interrupted = interruptible()?;
    let steps = inputs.subject.body.trace.steps;
    let chosen = random_steps(arguments.random, steps).or_exit(Exit::Host)?;
    eprintln!("Steps {chosen:?} of {steps}.");
    let mut report = Report::new(arguments.subject.json);
    let mut run = Recomputed::begin(&inputs.subject, &inputs.capsule, Program::this())?;
    let mut prepared = Vec::new();
    for step in &chosen {
        agree(run.advance_to(*step)?, &mut report)?;
        prepared.push(prepare(&inputs, &mut run, &mut report)?);
    }
    agree(run.advance_to(steps)?, &mut report)?;
    let total: Duration = prepared.iter().map(Prepared::estimate).sum();
    eprintln!("The run is as its receipt says. Replaying in {}: about {} s.", machine.name(), total.as_secs().max(1));
    for step in &prepared {
        replay_step(&inputs, &*machine, &image, step, &interrupted, &mut report, false)?;
    }
    report.identical(&format!("{} of {steps} steps replayed in {}", chosen.len(), machine.name()));
    Ok(())
}

pub fn hash(arguments: &arguments::Hash) -> Outcome<()> {
    let inputs = Inputs::open(&arguments.subject)?;
    let (class, work) = (inputs.subject.job.manifest.machine.class, inputs.work());
    let image = machines::image_of(&arguments.image, inputs.subject.job.manifest.machine.release.as_deref())?;
    let cartesi = Cartesi::find().or_exit(Exit::Host)?;
    let interrupted = interruptible()?;
    let mut report = Report::new(arguments.subject.json);
    let mut run = Recomputed::begin(&inputs.subject, &inputs.capsule, Program::this())?;
    agree(run.advance_to(arguments.step)?, &mut report)?;
    let before = run.root()?;
    let template: Template = match Release::of(&image) {
        Some(release) => release.template(class),
        None => cartesi.template(&image, class, work).or_exit(Exit::Host)?,
    };
    let body = &inputs.subject.body;
    let initial = template.initial_hash(body.job_root, body.data_root, before);
    eprintln!("initial  {initial}");
    let prepared = prepare(&inputs, &mut run, &mut report)?;
    let replayed = replay_step(&inputs, &cartesi, &image, &prepared, &interrupted, &mut report, true)?;
    let hashes = replayed.hashes.ok_or_else(|| Ended(Exit::Host, anyhow!("the machine gave no hashes")))?;
    if hashes.initial != initial {
        let computed = hashes.initial;
        let error = anyhow!("the emulator's initial hash is {computed}, the spliced one {initial}");
        return Err(Ended(Exit::Different, error));
    }
    if !hashes.proofs.show(class, &hashes.last, MachineExit::Done, prepared.after) {
        return Err(Ended(Exit::Different, anyhow!("the machine's proofs do not show the state that was expected")));
    }
    eprintln!("final    {}", hashes.last);
    report.add("initial", json!(hashes.initial));
    report.add("final", json!(hashes.last));
    report.add("state_out", json!(prepared.after));
    report.identical(&format!("step {} replayed in {}", arguments.step, cartesi.name()));
    Ok(())
}

/// So many different steps, by the system's randomness.
fn random_steps(count: u64, steps: u64) -> Result<BTreeSet<u64>, getrandom::Error> {
    let mut chosen = BTreeSet::new();
    while (chosen.len() as u64) < count.min(steps) {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        // 128 random bits make the bias of the remainder unnoticeable.
        chosen.insert((u128::from_le_bytes(bytes) % u128::from(steps)) as u64);
    }
    Ok(chosen)
}

/// A step whose states before and after were computed natively.
struct Prepared {
    step: u64,
    state_in: PathBuf,
    after: StateRoot,
    state_out: PathBuf,
    took: Duration,
}

impl Prepared {
    fn estimate(&self) -> Duration {
        START + self.took * SLOWER
    }
}

/// Executes the next step natively, and keeps the states around it.
fn prepare(inputs: &Inputs, run: &mut Recomputed<'_>, report: &mut Report) -> Outcome<Prepared> {
    let step = run.steps();
    let state_in = run.write_image(inputs.work())?;
    let started = Instant::now();
    agree(run.advance_to(step + 1)?, report)?;
    let took = started.elapsed();
    Ok(Prepared { step, state_in, after: run.root()?, state_out: run.write_image(inputs.work())?, took })
}

/// Replays one step and compares.
fn replay_step(
    inputs: &Inputs,
    machine: &dyn Machine,
    image: &Image,
    prepared: &Prepared,
    interrupted: &Arc<AtomicBool>,
    report: &mut Report,
    hashes: bool,
) -> Outcome<Replayed> {
    let class = inputs.subject.job.manifest.machine.class;
    let step = Step {
        image,
        class,
        job: &inputs.subject.job.drive.path,
        data: &inputs.capsule.path,
        state_in: &prepared.state_in,
        work: inputs.work(),
        limit: Limit::of(class),
        hashes,
    };
    let mut watch = Watch::new(prepared.estimate(), interrupted.clone());
    let replayed = machine.replay(&step, &mut |progress| watch.look(progress));
    watch.finish();
    let replayed = replayed.map_err(|failure| match failure {
        Failure::Interrupted => Ended(Exit::Interrupted, failure.into()),
        failure => Ended(Exit::Host, failure.into()),
    })?;
    let number = prepared.step;
    report.replayed(machine.name(), number, &replayed);
    if replayed.exit != MachineExit::Done {
        let what = format!("step {number}: {} ({})", replayed.exit, replayed.said.trim());
        let exit = if replayed.exit.is_refusal() { Exit::Different } else { Exit::Host };
        return Err(Ended(exit, anyhow!(what)));
    }
    let root = replayed.state_out.root().or_exit(Exit::Host)?;
    if root != prepared.after {
        let theirs = replayed.state_out.map().or_exit(Exit::Host)?;
        let ours = std::fs::read(&prepared.state_out).or_exit(Exit::Host)?;
        let found = difference::first(&ours, &theirs, &inputs.subject.job.manifest.limits);
        let segment = number / inputs.subject.body.trace.steps_per_segment;
        return Err(report.differ(segment, number + 1, found.as_ref(), machine.name()));
    }
    Ok(replayed)
}

/// The client's checkpoints of this run: how many steps each is after, and its image.
fn checkpoints(inputs: &Inputs, folder: Option<&Path>) -> Outcome<Vec<(u64, PathBuf)>> {
    let own = inputs.home.path().join("runs").join(inputs.subject.body.run_id.to_string());
    let folder = match folder {
        Some(folder) => folder.to_owned(),
        None if own.is_dir() => own,
        None => return Ok(Vec::new()),
    };
    let Some(checkpoints) = Checkpoints::open(&folder).or_exit(Exit::Host)? else {
        eprintln!("Note: the run goes on in another process; its checkpoints are left alone.");
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    let mut below = Some(u64::MAX);
    while let Some((steps, _, _)) = below.and_then(|below| checkpoints.latest(below)) {
        found.push((steps, folder.join(format!("{steps}.state"))));
        below = steps.checked_sub(1);
    }
    found.reverse();
    Ok(found)
}

/// Compares a checkpoint with the state that was recomputed.
fn compare_checkpoint(
    inputs: &Inputs,
    run: &mut Recomputed<'_>,
    checkpoint: &Path,
    report: &mut Report,
) -> Outcome<()> {
    let ours = run.write_image(inputs.work())?;
    let ours = std::fs::read(ours).or_exit(Exit::Host)?;
    let theirs = std::fs::read(checkpoint).or_exit(Exit::Host)?;
    let steps = run.steps();
    match difference::first(&ours, &theirs, &inputs.subject.job.manifest.limits) {
        None => Ok(()),
        Some(found) => {
            let segment = steps.saturating_sub(1) / inputs.subject.body.trace.steps_per_segment;
            Err(report.differ(segment, steps, Some(&found), &format!("the checkpoint {}", checkpoint.display())))
        }
    }
}

/// Goes on if nothing differed.
fn agree(mismatch: Option<Mismatch>, report: &mut Report) -> Outcome<()> {
    let Some(Mismatch { segment, first, end, what }) = mismatch else { return Ok(()) };
    report.add("segment", json!(segment));
    report.print("different");
    Err(Ended(Exit::Different, anyhow!("segment {segment} (steps {first} to {}): {what}", end - 1)))
}

/// What is printed at the end with `--json`.
struct Report {
    json: bool,
    object: serde_json::Map<String, Value>,
    replays: Vec<Value>,
}

impl Report {
    fn new(json: bool) -> Self {
        Self { json, object: serde_json::Map::new(), replays: Vec::new() }
    }

    fn add(&mut self, name: &str, value: Value) {
        self.object.insert(name.into(), value);
    }

    fn replayed(&mut self, machine: &str, step: u64, replayed: &Replayed) {
        let cycles = replayed.cycles.map(|cycles| format!(", {cycles} cycles")).unwrap_or_default();
        eprintln!("Step {step} in {machine}: {:.1} s{cycles}", replayed.took.as_secs_f64());
        self.replays.push(json!({
            "step": step, "machine": machine, "cycles": replayed.cycles, "seconds": replayed.took.as_secs_f64(),
        }));
    }

    fn differ(&mut self, segment: u64, steps: u64, found: Option<&Difference>, other: &str) -> Ended {
        let place = found.map_or_else(|| "a page that cannot be told".into(), ToString::to_string);
        self.add("segment", json!(segment));
        self.add("step", json!(steps.saturating_sub(1)));
        self.add("difference", json!(place));
        self.print("different");
        let step = steps.saturating_sub(1);
        Ended(Exit::Different, anyhow!("segment {segment}, step {step}, compared with {other}: {place}"))
    }

    fn identical(&mut self, what: &str) {
        eprintln!("identical: {what}");
        self.print("identical");
    }

    fn print(&mut self, verdict: &str) {
        if self.json {
            self.add("verdict", json!(verdict));
            let replays = std::mem::take(&mut self.replays);
            self.add("replays", Value::Array(replays));
            println!("{}", Value::Object(std::mem::take(&mut self.object)));
        }
    }
}
