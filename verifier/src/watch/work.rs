//! What takes long: making runs again and replaying steps. Each task has a thread of its own, and tells what came of it.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::B256;
use cid::Cid;
use fedmkt_contracts::market::{Run, Submission, Terms};
use fedmkt_contracts::terms::OPEN;
use fedmkt_core::image::Status;
use fedmkt_core::manifest::SizeClass;
use fedmkt_core::roots::StateRoot;
use fedmkt_core::trace::Level;
use fedmkt_machine::exit::Exit;
use fedmkt_market::dispute::{Answer as Says, Kind};
use fedmkt_runtime::auditor::AuditorKeys;
use fedmkt_runtime::backends::Backends;
use fedmkt_runtime::checkpoint::Checkpoints;
use fedmkt_runtime::home::Home;
use fedmkt_runtime::job::{Job, check_release};
use fedmkt_runtime::packed::Packed;
use fedmkt_runtime::training::Session;
use fedmkt_runtime::unnamed::Unnamed;
use fedmkt_runtime::worker::{CodeCache, Program};
use fedmkt_store::{CachedStore, FolderStore, Until};
use tempfile::TempDir;

use super::database::{Answer, Chosen, Finding, Search, now};
use super::evidence::{self, Evidence, Missing};
use super::policy::{Engine, Policy};
use crate::cartesi::Cartesi;
use crate::machine::{Failure, Machine, drive_root};
use crate::qemu::Qemu;
use crate::rerun::{Part, Rerun, first_wrong};
use crate::step::{Image, Limit, Step};

/// How often a run that is made again is saved.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);

/// How often a long replay in the Cartesi Machine is saved.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(300);

/// After so many seconds something that failed is tried again; each time twice as long, up to so many.
const LEAST_PAUSE: u64 = 15;
const MOST_PAUSE: u64 = 900;

/// How long the job's block is waited for when files are missing, in seconds.
const REACH: u64 = 300;

/// So many times nobody must have had files before that is challenged.
const LEAST_TRIES: u32 = 3;

/// Looks for files that are nearer to each other, in seconds, count as one; where `withheld-after` is short, a third of it.
const LEAST_SPACE: u64 = 60;

/// What was not looked for in so many seconds may have been there. One look may fail by a fault of one's own.
const MOST_GAP: u64 = 2 * (MOST_PAUSE + REACH);

/// What all tasks need.
#[derive(Clone)]
pub struct Place {
    /// The verifier's own folder of jobs, capsules and runs.
    pub home: Home,
    /// The folder of blocks.
    pub store: PathBuf,
    /// Where blocks come from.
    pub backends: Backends,
    /// What may be done.
    pub policy: Policy,
    /// Whose processes are workers.
    pub program: Program,
    /// The key of the seals of compiled code.
    pub seal: B256,
    /// With what it reads data that is disclosed to it, if it is an auditor.
    pub keys: Option<Arc<AuditorKeys>>,
    /// What was disclosed to it, as long as it is needed.
    pub entrusted: Entrusted,
    /// Becomes true when everything is to end.
    pub stop: Arc<AtomicBool>,
}

/// Data that clients have disclosed to this verifier, and states of runs on it, by runs. It is in files without names, so
/// nothing is left of it when this process ends, in whatever way.
#[derive(Clone, Default)]
pub struct Entrusted(Arc<Mutex<BTreeMap<B256, (Packed, Checkpoints)>>>);

impl Entrusted {
    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<B256, (Packed, Checkpoints)>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets go of what belongs to a run. Whether there was anything.
    pub fn forget(&self, run: B256) -> bool {
        self.with(|kept| kept.remove(&run)).is_some()
    }

    fn capsule(&self, run: B256) -> Option<Packed> {
        self.with(|kept| kept.get(&run).map(|(capsule, _)| capsule.clone()))
    }
}

/// A submission, as the market shows it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The slot.
    pub slot: B256,
    /// The terms of its job.
    pub terms: Terms,
    /// The run.
    pub run: Run,
    /// What was submitted.
    pub submission: Submission,
    /// The encrypted capsule, if the client was asked for it and has disclosed it.
    pub disclosed: Option<Cid>,
}

impl Subject {
    /// Whether the data can be had, as far as the chain tells.
    pub fn has_data(&self) -> bool {
        self.terms.disclosure == OPEN || self.disclosed.is_some()
    }
}

/// Something to find out about a submission.
#[derive(Clone, Debug)]
pub enum Task {
    /// Whether it is as claimed.
    Check {
        /// How often that was tried and came to nothing.
        tries: u32,
        /// How the data was looked for so far.
        search: Search,
        /// When there is no time any more to look for it again, in seconds since 1970.
        last: u64,
    },
    /// Whether the results can be had.
    Look {
        /// Steps of the run, which is as claimed, and how long it took to make it again; none if its data was not disclosed.
        run: Option<(u64, f64)>,
        /// How they were looked for so far.
        search: Search,
        /// When there is no time any more to look again, in seconds since 1970.
        last: u64,
    },
    /// Which leaf of this level is the first wrong one.
    Choose {
        /// The challenge.
        challenge: B256,
        /// The level.
        level: Level,
        /// What the client has posted.
        leaves: Vec<StateRoot>,
    },
    /// What to say to a question about a step.
    Replay {
        /// The question.
        question: B256,
        /// The state before it.
        state_in: StateRoot,
        /// The step.
        step: u64,
        /// What to say of data that nobody has.
        absence: Absence,
    },
    /// What to say to a question about files.
    Fetch {
        /// The question.
        question: B256,
        /// What is in question: the results or the capsule.
        kind: Kind,
        /// What to say of files that nobody has.
        absence: Absence,
    },
}

/// When files that nobody has, or that do not come, are answered with "client wrong".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Absence {
    /// Until then it is tried again, in seconds since 1970.
    pub until: u64,
    /// After that no answer counts.
    pub end: u64,
    /// The round of the case. In another one the files may be there.
    pub round: u8,
}

impl Absence {
    /// Until when a look that begins now may take. One that begins late has half of what is left: an answer is to be
    /// sent afterwards.
    fn deadline(&self, now: u64) -> u64 {
        self.until.max(self.halfway(now))
    }

    fn halfway(&self, now: u64) -> u64 {
        now + self.end.saturating_sub(now) / 2
    }
}

/// What the daemon and a task that is at work let each other know.
#[derive(Debug)]
pub struct Turn {
    /// Becomes true when something else waits for the task's place or for the folder of its run.
    pub gives_way: AtomicBool,
    /// Whether the task waits for files of others, and computes nothing.
    pub waits: AtomicBool,
}

impl Default for Turn {
    fn default() -> Self {
        Self { gives_way: AtomicBool::new(false), waits: AtomicBool::new(true) }
    }
}

impl Turn {
    fn is_over(&self) -> bool {
        self.gives_way.load(Ordering::Relaxed)
    }

    fn set_waits(&self, waits: bool) {
        self.waits.store(waits, Ordering::Relaxed);
    }
}

impl Task {
    /// What to tell when a task has ended without telling anything.
    pub fn failed(&self, trace_root: B256) -> Found {
        let why = "a fault of this program ended the task".to_owned();
        match self {
            Self::Check { tries, .. } => {
                let finding = Finding::CannotTell { why, tries: tries + 1, next: again_at(*tries) };
                Found::Finding { trace_root, finding }
            }
            Self::Look { run, search, .. } => {
                let search = Search { next: now() + MOST_PAUSE, withheld: false, ..search.clone() };
                Found::Finding { trace_root, finding: without_results(*run, why, search) }
            }
            Self::Choose { challenge, .. } => Found::NoChoice { challenge: *challenge, why },
            Self::Replay { question, .. } | Self::Fetch { question, .. } => {
                Found::Answer { question: *question, answer: Err(why) }
            }
        }
    }
}

/// What came of a task.
#[derive(Clone, Debug)]
pub enum Found {
    /// Of a check.
    Finding {
        /// The trace root of the submission that was checked.
        trace_root: B256,
        /// What was found.
        finding: Finding,
    },
    /// Of a choice.
    Choice {
        /// The challenge.
        challenge: B256,
        /// What was chosen, and the leaves that it was chosen from.
        chosen: Chosen,
        /// The leaves.
        leaves: Vec<StateRoot>,
    },
    /// Of a question.
    Answer {
        /// The question.
        question: B256,
        /// The answer, or why there is none yet.
        answer: Result<Answer, String>,
    },
    /// A choice could not be made.
    NoChoice {
        /// The challenge.
        challenge: B256,
        /// Why.
        why: String,
    },
}

/// When to try again what failed so many times.
pub fn again_at(tries: u32) -> u64 {
    now() + (LEAST_PAUSE << tries.min(10)).min(MOST_PAUSE)
}

impl Search {
    /// What is known after another look at the moment `now`. `is_absent` says that nobody has the files; else it may be this
    /// verifier's own fault, and does not count. They are withheld when that was so often enough, for `after` seconds or up
    /// to the moment `last`, when a challenge could come too late. After a gap, because this program was ended, was at work for
    /// long, or the clock was set, the search begins anew.
    fn after_look(&self, is_absent: bool, now: u64, after: u64, last: u64) -> Self {
        let space = (after / u64::from(LEAST_TRIES)).clamp(1, LEAST_SPACE);
        let goes_on = self.latest.is_some_and(|latest| (latest..=latest.saturating_add(MOST_GAP)).contains(&now));
        let before = if goes_on { self.clone() } else { Self::default() };
        let counts = is_absent && before.latest.is_none_or(|latest| now - latest >= space);
        let tries = before.tries + u32::from(counts);
        let since = before.since.or(counts.then_some(now));
        let latest = if counts { Some(now) } else { before.latest };
        let first = since.unwrap_or(now);
        let until = first.saturating_add(after).min(last);
        let pause = (until.saturating_sub(first) / u64::from(LEAST_TRIES)).clamp(space, MOST_PAUSE);
        // One look is at the end.
        let next = (now + pause).min(until.max(now + space));
        Self { tries, since, latest, next, withheld: counts && tries >= LEAST_TRIES && now >= until }
    }
}

/// Folders of working files begin so; they are gone with what uses them, unless this process dies.
const STEP: &str = "step-";
const ASKED: &str = "asked-";

/// A folder that only this account can read.
fn working_folder(beginning: &str, folder: &Path) -> std::io::Result<TempDir> {
    tempfile::Builder::new().prefix(beginning).permissions(Permissions::from_mode(0o700)).tempdir_in(folder)
}

/// Removes working files of a process that died from a data folder that nobody else uses.
///
/// # Errors
/// When the folder cannot be read or written.
pub fn remove_leftovers(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if [STEP, ASKED].iter().any(|beginning| name.to_string_lossy().starts_with(beginning)) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

impl Place {
    fn store(&self, until: &Until) -> Result<CachedStore, Missing> {
        let store = self.backends.before(FolderStore::new(&self.store));
        let store = store.map_err(|error| Missing::Disk(std::io::Error::other(error.to_string())))?;
        Ok(store.until(until.clone()))
    }

    /// Files are waited for up to a moment, if there is one, and not when everything is to end.
    fn until(&self, deadline: Option<Instant>) -> Until {
        let stop = self.stop.clone();
        Until::new(deadline, move || stop.load(Ordering::Relaxed))
    }

    /// The same up to a moment in seconds since 1970.
    fn until_time(&self, time: u64) -> Until {
        self.until(Instant::now().checked_add(Duration::from_secs(time.saturating_sub(now()))))
    }

    /// As [`Self::until`], and not when the task is to give way.
    fn until_turn(&self, deadline: Option<Instant>, turn: &Arc<Turn>) -> Until {
        let (stop, turn) = (self.stop.clone(), turn.clone());
        Until::new(deadline, move || stop.load(Ordering::Relaxed) || turn.is_over())
    }

    /// When what begins now has taken as long as a check may.
    fn most(&self) -> Option<Instant> {
        Instant::now().checked_add(Duration::from_secs(self.policy.limits.most_seconds))
    }

    /// The folder of a slot's capsule.
    pub fn capsule_folder(&self, slot: B256) -> std::io::Result<PathBuf> {
        let folder = self.home.capsules()?.join(slot.to_string());
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    fn is_ending(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Does something with job and data of a submission, which are waited for until then. States of runs on data that was
    /// disclosed to this verifier go to the checkpoints that come with it, never to a folder.
    fn with_evidence<T>(
        &self,
        subject: &Subject,
        until: &Until,
        act: impl FnOnce(&Evidence, Option<&mut Checkpoints>) -> T,
    ) -> Result<T, Missing> {
        let store = self.store(until)?;
        let job = evidence::job(&subject.terms, &store, &self.home)?;
        check_release(job.cid, &job.manifest)?;
        if subject.terms.disclosure == OPEN {
            let folder = self.capsule_folder(subject.slot)?;
            let most = self.policy.limits.most_bytes;
            let capsule = evidence::capsule(&job, &subject.run, &subject.submission, &store, &folder, most)?;
            return Ok(act(&Evidence { job, capsule }, None));
        }
        let run = subject.run.runId;
        let (capsule, mut checkpoints) = match self.entrusted.with(|kept| kept.remove(&run)) {
            Some(kept) => kept,
            None => (self.disclosed(subject, &job, &store)?, Checkpoints::unnamed(self.home.path())),
        };
        let evidence = Evidence { job, capsule };
        let done = act(&evidence, Some(&mut checkpoints));
        self.entrusted.with(|kept| kept.insert(run, (evidence.capsule, checkpoints)));
        Ok(done)
    }

    fn disclosed(&self, subject: &Subject, job: &Job, store: &CachedStore) -> Result<Packed, Missing> {
        let (cid, keys) = (subject.disclosed.as_ref(), self.keys.as_deref());
        evidence::disclosed(job, &subject.run, cid, keys, store, self.home.path(), self.policy.limits.most_bytes)
    }

    fn session<'a>(&self, subject: &Subject, evidence: &'a Evidence) -> anyhow::Result<Session<'a>> {
        Ok(Session {
            run_id: evidence::claim(&subject.run).run_id,
            program: self.program.clone(),
            cache: Some(CodeCache { folder: self.home.modules()?, key: self.seal.0 }),
            ..Session::local(&evidence.job, &evidence.capsule)
        })
    }

    /// Makes the run of a submission again. `None` when `stop` said so.
    fn rerun<'a>(
        &self,
        subject: &Subject,
        evidence: &'a Evidence,
        checkpoints: Option<&'a mut Checkpoints>,
        stop: &dyn Fn() -> bool,
    ) -> anyhow::Result<Option<Rerun<'a>>> {
        let session = self.session(subject, evidence)?;
        Ok(match checkpoints {
            Some(checkpoints) => Rerun::on(session, checkpoints, CHECKPOINT_EVERY, stop)?,
            None => {
                let folder = self.home.run(session.run_id)?;
                Rerun::run(session, &folder, CHECKPOINT_EVERY, stop)?
            }
        })
    }

    /// Makes its first so many steps again, or all if it has fewer. `None` when everything is to end.
    fn part<'a>(
        &self,
        subject: &Subject,
        evidence: &'a Evidence,
        checkpoints: Option<&'a mut Checkpoints>,
        steps: u64,
    ) -> anyhow::Result<Option<Part<'a>>> {
        let session = self.session(subject, evidence)?;
        let stop = || self.is_ending();
        Ok(match checkpoints {
            Some(checkpoints) => Part::on(session, checkpoints, steps, CHECKPOINT_EVERY, &stop)?,
            None => {
                let folder = self.home.run(session.run_id)?;
                Part::run(session, &folder, steps, CHECKPOINT_EVERY, &stop)?
            }
        })
    }

    /// Does a task. `None` when everything is to end. What is no question ends without telling anything, too, when it is to
    /// give way; it goes on later.
    pub fn work(&self, subject: &Subject, task: &Task, turn: &Arc<Turn>) -> Option<Found> {
        match task {
            Task::Check { tries, search, last } => {
                let trace_root = subject.run.traceRoot;
                let checked = self.check(subject, *tries, search, *last, turn);
                checked.map(|finding| Found::Finding { trace_root, finding })
            }
            Task::Look { run, search, last } => {
                let trace_root = subject.run.traceRoot;
                let looked = self.look(subject, *run, search, *last, turn);
                looked.map(|finding| Found::Finding { trace_root, finding })
            }
            Task::Choose { challenge, level, leaves } => {
                let challenge = *challenge;
                match self.choose(subject, level, leaves, turn) {
                    Ok(None) => None,
                    Ok(Some(chosen)) => Some(Found::Choice { challenge, chosen, leaves: leaves.clone() }),
                    Err(error) => Some(Found::NoChoice { challenge, why: format!("{error:#}") }),
                }
            }
            Task::Replay { question, state_in, step, absence } => {
                let until = self.until_time(absence.deadline(now()));
                let replayed = self.with_evidence(subject, &until, |evidence, checkpoints| {
                    self.replay(subject, evidence, checkpoints, *state_in, *step)
                });
                let answer = match replayed {
                    Ok(answer) => answer.map_err(|error| format!("{error:#}")).transpose()?,
                    Err(missing) => self.blame(subject, missing, *absence)?,
                };
                Some(Found::Answer { question: *question, answer })
            }
            Task::Fetch { question, kind, absence } => {
                let answer = self.fetch(subject, *kind, *absence)?;
                Some(Found::Answer { question: *question, answer })
            }
        }
    }

    fn check(&self, subject: &Subject, tries: u32, search: &Search, last: u64, turn: &Arc<Turn>) -> Option<Finding> {
        let cannot = |why: String| Finding::CannotTell { why, tries: tries + 1, next: again_at(tries) };
        // Fetching counts, too.
        let started = Instant::now();
        let most = self.policy.limits.most_seconds;
        let deadline = self.most();
        let until = self.until_turn(deadline, turn);
        let is_stopped = || self.is_ending() || turn.is_over();
        let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let too_long = || Some(Finding::Skipped { why: format!("data and run take longer than {most} s") });
        let checked = self.with_evidence(subject, &until, |evidence, checkpoints| {
            turn.set_waits(false);
            match self.rerun(subject, evidence, checkpoints, &|| is_stopped() || is_late()) {
                Ok(None) if is_stopped() => None,
                Ok(None) => too_long(),
                Ok(Some(rerun)) => Some(match rerun.differs(&evidence::claim(&subject.run)) {
                    Some(what) => Finding::Differs { what },
                    None => {
                        let seconds = started.elapsed().as_secs_f64();
                        let steps = rerun.header().steps;
                        turn.set_waits(true);
                        match self.results(subject, &evidence.job, rerun.header().status, &until) {
                            Ok(()) => Finding::Agrees { steps, seconds },
                            Err(Missing::Stopped) => return None,
                            Err(Missing::Other(what)) => Finding::OtherResults { what },
                            Err(missing) => {
                                let search = Search { next: now(), ..Search::default() };
                                Finding::NoResults { steps, seconds, why: missing.to_string(), search }
                            }
                        }
                    }
                }),
                Err(error) => Some(cannot(format!("{error:#}"))),
            }
        });
        match checked {
            Ok(finding) => finding,
            Err(Missing::Stopped) => None,
            Err(Missing::Late(_) | Missing::Job(_)) if is_late() => too_long(),
            Err(Missing::Other(what)) => Some(Finding::OtherData { what }),
            Err(missing) if search.since.is_some() || matches!(missing, Missing::Absent(_)) => {
                let (search, why) = self.searched(subject, search, &missing, last, turn)?;
                Some(Finding::NoData { why, search })
            }
            Err(missing) => Some(cannot(missing.to_string())),
        }
    }

    fn results(&self, subject: &Subject, job: &Job, status: Status, until: &Until) -> Result<(), Missing> {
        if status != Status::Done {
            return Ok(());
        }
        evidence::results(&job.manifest, &subject.submission, &self.store(until)?, self.policy.limits.most_bytes)
    }

    /// Looks for results, perhaps once more. `None` when it was stopped.
    fn look(
        &self,
        subject: &Subject,
        run: Option<(u64, f64)>,
        search: &Search,
        last: u64,
        turn: &Arc<Turn>,
    ) -> Option<Finding> {
        let looked = self.store(&self.until_turn(self.most(), turn)).and_then(|store| {
            let job = evidence::job(&subject.terms, &store, &self.home)?;
            evidence::results(&job.manifest, &subject.submission, &store, self.policy.limits.most_bytes)
        });
        Some(match (looked, run) {
            (Err(Missing::Stopped), _) => return None,
            (Ok(()), Some((steps, seconds))) => Finding::Agrees { steps, seconds },
            // They may be gone later.
            (Ok(()), None) => {
                Finding::Undisclosed { why: None, search: Search { next: now() + MOST_PAUSE, ..Search::default() } }
            }
            (Err(Missing::Other(what)), _) => Finding::OtherResults { what },
            (Err(missing), run) => {
                let (search, why) = self.searched(subject, search, &missing, last, turn)?;
                without_results(run, why, search)
            }
        })
    }

    /// What is known after another look for files that could not be had, and why they could not. `None` when it was stopped.
    fn searched(
        &self,
        subject: &Subject,
        search: &Search,
        missing: &Missing,
        last: u64,
        turn: &Arc<Turn>,
    ) -> Option<(Search, String)> {
        let until = self.until_turn(Instant::now().checked_add(Duration::from_secs(REACH)), turn);
        let (is_absent, why) = match missing {
            Missing::Absent(what) => match self.reach_job(subject, &until) {
                Ok(()) => (true, what.clone()),
                Err(_) if self.is_ending() || turn.is_over() => return None,
                Err(why) => (false, format!("{what}; {why}")),
            },
            missing => (false, missing.to_string()),
        };
        Some((search.after_look(is_absent, now(), self.policy.challenge.withheld_after, last), why))
    }

    /// Gets the job's block from the network. Whoever cannot is perhaps cut off, and must blame nobody for files that are
    /// missing.
    fn reach_job(&self, subject: &Subject, until: &Until) -> Result<(), String> {
        let job = fedmkt_contracts::terms::job_cid(&subject.terms);
        let store = self.store(until).map_err(|error| error.to_string())?;
        let network = store.network().ok_or("there is nobody to ask for files")?;
        network.block(&job).map(drop).map_err(|error| format!("but the job cannot be had either: {error}"))
    }

    fn choose(
        &self,
        subject: &Subject,
        level: &Level,
        leaves: &[StateRoot],
        turn: &Arc<Turn>,
    ) -> anyhow::Result<Option<Chosen>> {
        let chosen = self.with_evidence(subject, &self.until_turn(None, turn), |evidence, checkpoints| {
            let Some(mut part) = self.part(subject, evidence, checkpoints, level.first + level.steps)? else {
                return Ok(None);
            };
            let ours = part.leaves(level)?;
            let is_there = |index: &usize| *index < leaves.len().min(ours.len());
            let Some(index) = first_wrong(&ours, leaves).filter(is_there) else {
                anyhow::bail!("every leaf of this level is right");
            };
            Ok(Some(Chosen {
                first: level.first,
                steps: level.steps,
                index: index as u64,
                end: level.ends().nth(index).unwrap_or(level.first),
                claimed: leaves[index].0.into(),
                computed: ours[index].0.into(),
            }))
        });
        match chosen {
            Err(Missing::Stopped) => Ok(None),
            chosen => chosen?,
        }
    }

    /// Checks that questions about steps can be answered here, as the policy wants it.
    ///
    /// # Errors
    /// With what is missing.
    pub fn check_machine(&self) -> anyhow::Result<()> {
        if self.machine(false)?.is_some() {
            Image::find()?;
        }
        Ok(())
    }

    /// The machine that the policy wants, which `saves` long replays in a folder; `None` for the native engine.
    fn machine(&self, saves: bool) -> anyhow::Result<Option<Box<dyn Machine>>> {
        let cartesi = || -> Result<Box<dyn Machine>, Failure> {
            let cartesi = Cartesi::find()?;
            Ok(Box::new(match saves {
                true => cartesi.with_snapshots(&self.home.path().join("replays"), SNAPSHOT_EVERY),
                false => cartesi,
            }))
        };
        let qemu = || -> Result<Box<dyn Machine>, Failure> { Ok(Box::new(Qemu::find()?)) };
        Ok(match self.policy.committee.engine {
            Engine::Cartesi => Some(cartesi()?),
            Engine::Qemu => Some(cartesi().or_else(|_| qemu())?),
            Engine::Native => None,
        })
    }

    /// `Ok(None)` when everything is to end.
    fn replay(
        &self,
        subject: &Subject,
        evidence: &Evidence,
        checkpoints: Option<&mut Checkpoints>,
        state_in: StateRoot,
        step: u64,
    ) -> anyhow::Result<Option<Answer>> {
        // What a machine saves lies in a folder: nothing that was entrusted to us may.
        let saves = checkpoints.is_none();
        let Some(mut part) = self.part(subject, evidence, checkpoints, step + 1)? else { return Ok(None) };
        let machine = self.machine(saves)?;
        let work = working_folder(STEP, self.home.path())?;
        let (before, state_out) = (Unnamed::new(self.home.path())?, Unnamed::new(self.home.path())?);
        if part.write_state(step, &before.path())? != state_in {
            let how = format!("the run, made again from its beginning, has another state before step {step}");
            return Ok(Some(answer(Says::ClientRight, how)));
        }
        let after = part.write_state(step + 1, &state_out.path())?;
        let Some(machine) = machine else {
            let how = format!("step {step} executed natively");
            return Ok(Some(answer(Says::Executed(after), how)));
        };
        let image = Image::find()?;
        let class = evidence.job.manifest.machine.class;
        must_hold(&before.path(), class, state_in)?;
        let replayed = machine.replay(
            &Step {
                image: &image,
                class,
                job: &evidence.job.drive.path,
                data: &evidence.capsule.path,
                state_in: &before.path(),
                work: work.path(),
                limit: Limit::of(class),
                hashes: false,
            },
            &mut |_| match self.is_ending() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            },
        );
        let replayed = match replayed {
            Err(Failure::Interrupted) => return Ok(None),
            Err(Failure::Endless(limit)) => {
                let how = format!("step {step} does not end within {limit} in {}", machine.name());
                return Ok(Some(answer(Says::Undecided, how)));
            }
            replayed => replayed?,
        };
        if replayed.exit != Exit::Done {
            anyhow::bail!("step {step} in {}: {} ({})", machine.name(), replayed.exit, replayed.said.trim());
        }
        let root = replayed.state_out.root()?;
        if root != after {
            // One of the two is wrong, and a vote that may be wrong costs.
            anyhow::bail!("step {step} leads to {root} in {}, natively to {after}: this must not be", machine.name());
        }
        let cycles = replayed.cycles.map(|cycles| format!(", {cycles} cycles")).unwrap_or_default();
        let how = format!("step {step} in {}: {:.1} s{cycles}", machine.name(), replayed.took.as_secs_f64());
        Ok(Some(answer(Says::Executed(root), how)))
    }

    /// `None` when everything is to end.
    fn fetch(&self, subject: &Subject, kind: Kind, absence: Absence) -> Option<Result<Answer, String>> {
        let most = self.policy.limits.most_bytes;
        let until = self.until_time(absence.deadline(now()));
        let looked = || -> Result<(), Missing> {
            let store = self.store(&until)?;
            let job = evidence::job(&subject.terms, &store, &self.home)?;
            if kind == Kind::Results {
                return evidence::results(&job.manifest, &subject.submission, &store, most);
            }
            if subject.terms.disclosure != OPEN {
                // What was kept was decrypted and checked.
                return match self.entrusted.capsule(subject.run.runId) {
                    Some(_) => Ok(()),
                    None => self.disclosed(subject, &job, &store).map(drop),
                };
            }
            // A check of the same slot may write to the slot's folder at this moment; what it has written can be read.
            let own = working_folder(ASKED, self.home.path())?;
            let folder = self.capsule_folder(subject.slot)?;
            let folder = if evidence::has_capsule(&folder, &subject.run) { &folder } else { own.path() };
            evidence::capsule(&job, &subject.run, &subject.submission, &store, folder, most).map(drop)
        };
        match looked() {
            Ok(()) => Some(Ok(answer(Says::ClientRight, "the files are there and have the roots".into()))),
            Err(missing) => self.blame(subject, missing, absence),
        }
    }

    /// What to say when files are missing or others. Where it may be the fault of this verifier, not what, but why not.
    /// `None` when everything is to end.
    fn blame(&self, subject: &Subject, missing: Missing, absence: Absence) -> Option<Result<Answer, String>> {
        Some(match missing {
            Missing::Stopped => return None,
            Missing::Other(_) => Ok(answer(Says::ClientWrong, missing.to_string())),
            // Whoever computes as the job's release does says something else. A member that says nothing loses in any case.
            Missing::Release(_) => Ok(answer(Says::Undecided, missing.to_string())),
            Missing::Absent(_) | Missing::Late(_) if now() >= absence.until => {
                let until = self.until_time(absence.halfway(now()));
                match self.reach_job(subject, &until) {
                    Ok(()) => {
                        let says = answer(Says::ClientWrong, missing.to_string());
                        Ok(Answer { absent_in: Some(absence.round), ..says })
                    }
                    Err(_) if self.is_ending() => return None,
                    Err(why) => Err(format!("{missing}; {why}")),
                }
            }
            missing => Err(missing.to_string()),
        })
    }
}

/// Which state a file holds is a worker's word until it is hashed here, and a worker runs a stranger's code.
fn must_hold(file: &Path, class: SizeClass, state: StateRoot) -> anyhow::Result<()> {
    let held = drive_root(file, class.log2_state())?;
    if held.0 != state.0 {
        anyhow::bail!("the worker said that it had written the state {state}, but it is {held}");
    }
    Ok(())
}

/// What is found when results cannot be had.
fn without_results(run: Option<(u64, f64)>, why: String, search: Search) -> Finding {
    match run {
        Some((steps, seconds)) => Finding::NoResults { steps, seconds, why, search },
        None => Finding::Undisclosed { why: Some(why), search },
    }
}

fn answer(says: Says, how: String) -> Answer {
    Answer { says, how, absent_in: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_a_worker_has_not_written_is_not_replayed() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), b"state").expect("written");
        let root = drive_root(file.path(), SizeClass::S.log2_state()).expect("a root");
        must_hold(file.path(), SizeClass::S, StateRoot(root.0)).expect("it is there");
        std::fs::write(file.path(), b"other").expect("written");
        let error = must_hold(file.path(), SizeClass::S, StateRoot(root.0)).expect_err("another state");
        assert!(error.to_string().contains("had written the state"), "{error}");
    }

    #[test]
    fn time_is_left_to_answer_about_files_that_do_not_come() {
        let absence = Absence { until: 1000, end: 1120, round: 0 };
        assert_eq!(absence.deadline(0), 1000);
        // A file may come back at the last moment.
        assert_eq!(absence.deadline(990), 1055);
        assert_eq!(absence.deadline(1100), 1110);
        assert_eq!(absence.deadline(2000), 2000);
        assert_eq!((absence.halfway(1000), absence.halfway(1119)), (1060, 1119));
    }

    /// Looks whenever it is time to, from the moment 1000 on; `is_absent` is given the number of each look.
    fn looks(after: u64, last: u64, is_absent: impl Fn(u32) -> bool) -> Vec<(u64, Search)> {
        let mut search = Search { next: 1000, ..Search::default() };
        let mut looks = Vec::new();
        for number in 0..100 {
            let now = search.next;
            search = search.after_look(is_absent(number), now, after, last);
            looks.push((now, search.clone()));
            if search.withheld {
                break;
            }
        }
        looks
    }

    #[test]
    fn results_are_withheld_when_nobody_had_them_often_enough_for_long_enough() {
        let moments = |after, last| -> Vec<u64> {
            let looks = looks(after, last, |_| true);
            assert!(looks.last().expect("looks").1.withheld);
            looks.iter().map(|(moment, _)| *moment).collect()
        };
        assert_eq!(moments(30, 9000), [1000, 1010, 1020, 1030]);
        let six_hours = moments(21_600, 90_000);
        assert_eq!((six_hours.len(), six_hours.last()), (25, Some(&22_600)), "four times an hour");
        assert_eq!(moments(21_600, 1300), [1000, 1100, 1200, 1300], "not after the last moment");
        assert_eq!(moments(21_600, 10), [1000, 1060, 1120], "there is no time, but three looks are the least");
        assert_eq!(moments(0, 9000), [1000, 1001, 1002]);
        assert_eq!(moments(u64::MAX, 1300), [1000, 1100, 1200, 1300]);
    }

    #[test]
    fn looks_that_may_be_in_vain_by_a_fault_of_ones_own_do_not_count() {
        let never = looks(30, 9000, |_| false);
        assert!(never.iter().all(|(_, search)| search.tries == 0 && search.since.is_none()), "{never:?}");
        let from_the_third_on = looks(30, 9000, |number| number >= 3);
        let (end, search) = from_the_third_on.last().expect("looks");
        assert_eq!((*end, search.since, search.tries), (1060, Some(1030), 4));
        // Whoever was cut off at the end looks again before it blames anybody.
        let cut_off = looks(30, 9000, |number| number != 3);
        assert!(!cut_off[3].1.withheld);
        assert_eq!(cut_off.last().map(|(end, search)| (*end, search.tries)), Some((1040, 4)));
    }

    #[test]
    fn what_was_not_looked_for_meanwhile_is_not_withheld() {
        let (after, last) = (21_600, 90_000);
        let first = Search::default().after_look(true, 1000, after, last);
        let second = first.after_look(true, 1000 + MOST_GAP, after, last);
        assert_eq!((second.tries, second.since, second.latest), (2, Some(1000), Some(1000 + MOST_GAP)));
        // The program was ended, or at work with something else, or the clock was set.
        for now in [1000 + 2 * MOST_GAP + 1, 22_600, 1100, last] {
            let anew = second.after_look(true, now, after, last);
            assert_eq!((anew.tries, anew.since, anew.withheld), (1, Some(now), false), "at {now}");
        }
        // What does not count keeps nothing together.
        let cut_off = second.after_look(false, 1000 + 2 * MOST_GAP, after, last);
        assert_eq!((cut_off.tries, cut_off.latest), (2, second.latest));
        assert_eq!(cut_off.after_look(true, 1000 + 3 * MOST_GAP, after, last).tries, 1);
        let never = second.after_look(false, 1000 + 3 * MOST_GAP, after, last);
        assert_eq!((never.tries, never.since, never.latest), (0, None, None));
    }

    #[test]
    fn looks_that_are_near_to_each_other_are_one() {
        let (after, last) = (21_600, 1000);
        let mut search = Search::default();
        for (now, tries, withheld) in
            [(1000, 1, false), (1001, 1, false), (1059, 1, false), (1060, 2, false), (1119, 2, false), (1120, 3, true)]
        {
            search = search.after_look(true, now, after, last);
            assert_eq!((search.tries, search.withheld), (tries, withheld), "at {now}");
            assert!(search.next >= now + LEAST_SPACE, "at {now}");
        }
    }
}
