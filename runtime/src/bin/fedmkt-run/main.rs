//! `fedmkt-run`: trains a sponsor's model on the client's data.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::Parser;
use fedmkt_core::image::Status;
use fedmkt_core::pack::Pack;
use fedmkt_runtime::checkpoint::Checkpoints;
use fedmkt_runtime::consent::{Bytes, Consent};
use fedmkt_runtime::finish::{Receipt, finish};
use fedmkt_runtime::grant::{Grant, GrantError};
use fedmkt_runtime::home::Home;
use fedmkt_runtime::identity::Identity;
use fedmkt_runtime::job::{Job, LoadError, check_release};
use fedmkt_runtime::message::{note, printable, sentence};
use fedmkt_runtime::passphrase::passphrase;
use fedmkt_runtime::policy::Policy;
use fedmkt_runtime::training::{Finished, Session, TrainingError};
use fedmkt_runtime::worker::{self, CodeCache, Reason, WorkerError};
use fedmkt_runtime::{metrics, requirement};
use fedmkt_store::job::JobError;
use fedmkt_store::{FolderStore, StoreError};
use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::progress::Progress;

mod arguments;
mod market;
mod progress;

/// Why the command ends without success; its number is the exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Exit {
    Host = 1,
    Job = 3,
    Data = 4,
    Consent = 5,
    Trainer = 6,
    Limit = 7,
    Market = 8,
    Interrupted = 130,
}

type Outcome<T> = Result<T, (Exit, anyhow::Error)>;

/// Says with which code an error ends the command.
trait OrExit<T> {
    fn or_exit(self, exit: Exit) -> Outcome<T>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Outcome<T> {
        self.map_err(|error| (exit, error.into()))
    }
}

fn main() -> ExitCode {
    worker::enter();
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err((exit, error)) => {
            note(&format!("fedmkt-run: {}", sentence(&error)));
            ExitCode::from(exit as u8)
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<()> {
    let home = fedmkt_store::home().and_then(Home::open).context("cannot use the home folder").or_exit(Exit::Host)?;
    let folder = FolderStore::new(arguments.store.clone().unwrap_or_else(|| home.path().join("store")));
    let store = arguments.backends.before(folder).or_exit(Exit::Host)?;
    let job = Job::load(&arguments.job, &store, &home).map_err(|error| (exit_of_load(&error), error.into()))?;
    check_release(job.cid, &job.manifest).or_exit(Exit::Job)?;
    let (name, path) = &arguments.grant;
    if *name != job.manifest.data.name {
        let needed = &job.manifest.data.name;
        let error = anyhow!("the job reads `{needed}`, not `{name}`: run it with --grant {needed}=PATH");
        return Err((Exit::Data, error));
    }
    let survey = || Grant::survey(path).map_err(|error| (exit_of_grant(&error), error.into()));
    let mut grant = survey()?;
    let slot = match arguments.accept {
        true => {
            let slot = market::accept(arguments, &job.cid).or_exit(Exit::Market)?;
            // The data may have changed while the chain was waited for.
            grant = survey()?;
            Some(slot)
        }
        false => {
            agree(arguments, &home, &job, &grant)?;
            None
        }
    };
    if let Some(slot) = slot.as_ref().filter(|slot| slot.submitted) {
        note(&format!("The results of slot {} were submitted already: `fedmkt status` says how it stands.", slot.slot));
        return Ok(());
    }

    let identity = Identity::open(&home.identity(), passphrase).or_exit(Exit::Host)?;
    let capsules = home.capsules().or_exit(Exit::Host)?;
    let mut packing = packing_progress(grant.bytes());
    let capsule = grant
        .pack(&job.manifest, &identity, &capsules, &mut packing)
        .map_err(|error| (exit_of_grant(&error), error.into()))?;
    if let Some(slot) = slot.as_ref().filter(|slot| slot.data_root.0 != capsule.root.0) {
        let error = anyhow!(
            "{} changed after slot {} was taken for it, and results of what it is now would be refused: bring back what it \
             was, and the same command goes on; or take another slot for what it is now by `fedmkt accept --again`",
            path.display(),
            slot.slot
        );
        return Err((Exit::Data, error));
    }
    let data = Pack::open(capsule.bytes.clone()).or_exit(Exit::Host)?;
    requirement::check(&job.manifest.data, &data)
        .with_context(|| format!("{} does not fit the job", path.display()))
        .or_exit(Exit::Data)?;

    let cache = CodeCache { folder: home.modules().or_exit(Exit::Host)?, key: identity.cache_key() };
    let local = Session::local(&job, &capsule);
    let run_id = slot.as_ref().map(|slot| slot.run_id).or(arguments.run_id).unwrap_or(local.run_id);
    let session = Session {
        run_id,
        cache: Some(cache),
        log: arguments.log,
        require_isolation: arguments.require_isolation,
        ..local
    };
    let started = Instant::now();
    let interrupted = interruptible()?;
    let finished = train(arguments, &home, &session, interrupted.clone())?;
    unless_interrupted(&interrupted)?;
    let out = arguments.out.clone().unwrap_or_else(|| default_out(&session));
    let receipt = finish(store.folder(), &identity, job.cid, &job.manifest, &finished, &out, started.elapsed())
        .or_exit(Exit::Host)?;
    let submission = match slot.as_ref().filter(|_| arguments.submit) {
        Some(slot) => {
            unless_interrupted(&interrupted)?;
            let submitted = market::submit(arguments, &slot.slot, &receipt.cid).or_exit(Exit::Market);
            // What ends this program at a terminal ends that one, too.
            if submitted.is_err() {
                unless_interrupted(&interrupted)?;
            }
            Some(submitted?)
        }
        None => None,
    };
    report(arguments, &finished, &receipt, &out, submission).or_exit(Exit::Host)?;
    match receipt.body.outcome {
        Status::Done => Ok(()),
        Status::DataRefused => Err((Exit::Data, anyhow!("the trainer says that the data does not fit"))),
        status => Err((Exit::Trainer, anyhow!("the trainer ended without a result: {status}"))),
    }
}

fn exit_of_load(error: &LoadError) -> Exit {
    match error {
        LoadError::Drive(_)
        | LoadError::Store(StoreError::File { .. } | StoreError::Quota { .. })
        | LoadError::Job(JobError::Store(
            StoreError::File { .. } | StoreError::Quota { .. } | StoreError::Stream(..),
        )) => Exit::Host,
        _ => Exit::Job,
    }
}

fn exit_of_grant(error: &GrantError) -> Exit {
    match error {
        GrantError::Capsule(_) => Exit::Host,
        _ => Exit::Data,
    }
}

fn exit_of_training(error: &TrainingError) -> Exit {
    match error {
        TrainingError::Worker(WorkerError::Cannot(Reason::Inputs | Reason::Refused, _)) => Exit::Job,
        TrainingError::Worker(
            WorkerError::Cannot(Reason::Host | Reason::Image, _)
            | WorkerError::TooLong { .. }
            | WorkerError::TooLarge(_)
            | WorkerError::Died(_)
            | WorkerError::Nonsense(_)
            | WorkerError::NotIsolated(_),
        ) => Exit::Limit,
        _ => Exit::Host,
    }
}

fn default_out(session: &Session<'_>) -> PathBuf {
    let run_id = session.run_id.to_string();
    format!("fedmkt-{}", &run_id[2..10]).into()
}

/// Shows what the job asks for and asks the client, unless the client has agreed before.
fn agree(arguments: &Arguments, home: &Home, job: &Job, grant: &Grant) -> Outcome<()> {
    let consent = Consent {
        job: job.cid,
        manifest: job.manifest.clone(),
        grant: grant.path().to_owned(),
        files: grant.files(),
        bytes: grant.bytes(),
    };
    let shown = writeln!(io::stderr(), "{consent}\n");
    let policy_path = home.policy();
    let policy = Policy::read(&policy_path)
        .with_context(|| format!("cannot use {}", policy_path.display()))
        .or_exit(Exit::Host)?;
    if arguments.yes || policy.covers(&consent) {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        let error = anyhow!("nobody is there to agree: use --yes, or allow the job in {}", policy_path.display());
        return Err((Exit::Consent, error));
    }
    // Nobody agrees to what could not be shown.
    shown.or_exit(Exit::Host)?;
    write!(io::stderr(), "Do you agree? [y]es, [N]o, [a]lways for this job: ").or_exit(Exit::Host)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).or_exit(Exit::Host)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        "a" | "always" => Policy::allow_job(&job.cid, &policy_path).or_exit(Exit::Host),
        _ => Err((Exit::Consent, anyhow!("you did not agree; nothing was read and nothing leaves"))),
    }
}

fn packing_progress(total: u64) -> impl FnMut(u64) {
    let mut last = Instant::now();
    move |bytes| {
        if last.elapsed() >= Duration::from_secs(2) {
            last = Instant::now();
            note(&format!("packing: {} of {}", Bytes(bytes), Bytes(total)));
        }
    }
}

/// A flag that Ctrl-C sets.
fn interruptible() -> Outcome<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    let handler = move || {
        if flag.swap(true, Ordering::Relaxed) {
            // The second time: at once. What is on disk is whole.
            std::process::exit(Exit::Interrupted as i32);
        }
        note("Stopping as soon as nothing is lost by it (again: at once).");
    };
    ctrlc::set_handler(handler).or_exit(Exit::Host)?;
    Ok(interrupted)
}

/// Ends the command if Ctrl-C was pressed.
fn unless_interrupted(interrupted: &AtomicBool) -> Outcome<()> {
    match interrupted.load(Ordering::Relaxed) {
        true => Err((Exit::Interrupted, anyhow!("interrupted; the same command goes on from here"))),
        false => Ok(()),
    }
}

fn train(arguments: &Arguments, home: &Home, session: &Session<'_>, interrupted: Arc<AtomicBool>) -> Outcome<Finished> {
    let folder = home.run(session.run_id).or_exit(Exit::Host)?;
    let mut checkpoints = Checkpoints::open(&folder)
        .context("cannot use the run's folder")
        .or_exit(Exit::Host)?
        .ok_or_else(|| (Exit::Host, anyhow!("this run is going on in another process: wait for it, or end it")))?;
    let most_steps = session.job.manifest.limits.steps;
    let mut progress = Progress::new(most_steps, interrupted);
    let trained = session.train(&mut checkpoints, arguments.checkpoint_every, &mut progress);
    progress.finish();
    match trained {
        Ok(Some(finished)) => Ok(finished),
        Ok(None) => Err((Exit::Interrupted, anyhow!("interrupted; the same command goes on from here"))),
        Err(error) => Err((exit_of_training(&error), error.into())),
    }
}

fn report(
    arguments: &Arguments,
    finished: &Finished,
    receipt: &Receipt,
    out: &Path,
    submission: Option<Value>,
) -> anyhow::Result<()> {
    let body = &receipt.body;
    let file = body.results.iter().position(|result| result.name == metrics::FILE);
    let points = file.map(|index| metrics::parse(&finished.results[index])).unwrap_or_default();
    let metrics = metrics::last(&points);
    note(&format!("{} after {} steps in {} segments", body.outcome, body.trace.steps, body.trace.segments.len()));
    for result in &body.results {
        note(&format!("  {}  {}  {}", out.join(&result.name).display(), Bytes(result.size), result.cid));
    }
    let curve = |values: &[f64]| io::stderr().is_terminal().then(|| metrics::sparkline(values, 40) + " ");
    for (name, values) in metrics::series(&points) {
        note(&format!("  {} {}{}", printable(name), curve(&values).unwrap_or_default(), metrics[name]));
    }
    note(&format!("  receipt  {}", receipt.cid));
    if let Some(slot) = submission.as_ref().and_then(|submission| submission["slot"].as_str()) {
        note(&format!("  submitted as slot {slot}; keep data and home until `fedmkt claim` has collected the reward"));
    }
    if arguments.json {
        let results: Vec<Value> = body
            .results
            .iter()
            .map(|result| {
                json!({
                    "name": result.name, "path": out.join(&result.name), "cid": result.cid.to_string(),
                    "size": result.size, "root": result.root,
                })
            })
            .collect();
        let exit_code = if let Status::Failed(code) = body.outcome { Some(code) } else { None };
        let object = json!({
            "job": body.job.to_string(),
            "run_id": body.run_id,
            "receipt": receipt.cid.to_string(),
            "receipt_body": receipt.envelope.body.to_string(),
            "weights": body.results.first().map(|result| result.cid.to_string()),
            "results": results,
            "job_root": body.job_root,
            "data_root": body.data_root,
            "trace_root": body.trace.root,
            "segments": body.trace.segments.len(),
            "steps": body.trace.steps,
            "status": body.outcome.name(),
            "exit_code": exit_code,
            "metrics": metrics,
            "submission": submission,
        });
        writeln!(io::stdout(), "{object}")?;
    }
    Ok(())
}
