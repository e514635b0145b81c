//! The daemon of a verifier: looks at what the market shows, makes runs again, challenges what differs, votes.
//!
//! ```text
//!               market's events --Board--> submissions --policy--> tasks (threads, so many at once)
//!                                                                    |
//!   chain <--Sender-- challenges (open, choose, resolve, conclude) <-+-> database (found, chosen, answered)
//!         <--Sender-- committee  (draw, commit, reveal, settle)    <-+
//! ```
//!
//! One thread looks at the chain whenever there is a new block, and makes all moves. Before each move it reads from the
//! chain how things stand, so that it can be ended at any time and goes on from there; what the chain does not keep (the
//! salts of commitments) is in the database before anything is sent.
//!
//! - [`policy`]: what is checked, put up and voted on; [`evidence`]: job and data of a submission.
//! - [`work`]: what takes long; [`challenges`] and [`committee`]: moves.
//! - [`audits`]: what auditors see to; [`refusals`]: moves that cost coins in vain.
//! - [`database`]: what was found and done; [`metrics`] and [`http`]: how the daemon is, for others.

pub mod audits;
pub mod challenges;
pub mod committee;
pub mod database;
pub mod evidence;
pub mod http;
pub mod metrics;
pub mod policy;
pub mod refusals;
pub mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender as Tell, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, U256};
use alloy::providers::Provider;
use alloy::rpc::types::{Filter, Log, TransactionReceipt};
use alloy::signers::local::PrivateKeySigner;
use alloy::transports::RpcError;
use anyhow::Context;
use fedmkt_market::board::{Board, Follower, Slot};
use fedmkt_market::chain::{Block, Chain};
use fedmkt_market::records::Records;
use fedmkt_market::send::Sender;
use fedmkt_market::settings::Settings;
use fedmkt_runtime::message::sentence;
use fedmkt_store::{BlockStore, FolderStore};
use rustix::fs::FlockOperation;

use database::{Checked, Finding, Search, State, now};
use metrics::{Metrics, count};
use policy::Offer;
use refusals::Refusals;
use work::{Found, Place, Subject, Task, Turn};

/// How often the daemon looks whether something has come of a task or it is to end.
const MOMENT: Duration = Duration::from_millis(200);

/// How long before the end of a window it is no longer waited for files that nobody has, in seconds; at most a quarter of
/// the window.
const MARGIN: u64 = 600;

/// So long a check may wait for files while others wait for its place. A node may have to look for a block that long.
const TURN: Duration = Duration::from_secs(600);

/// How many blocks of events are asked for at first. Nodes that take fewer say so.
const SPAN: u64 = 10_000;

/// Holds a data folder or an account for this process alone.
pub struct Lock(#[expect(dead_code, reason = "it is locked as long as it is open")] File);

/// Takes a data folder, which is made if it is not there.
///
/// # Errors
/// When another verifier has it, or it cannot be used.
pub fn lock(folder: &Path) -> anyhow::Result<Lock> {
    take(folder)?.with_context(|| {
        format!("another verifier is at work in {}: end it, or name another folder with --data", folder.display())
    })
}

/// Takes an account, whatever data folder is used: two processes that send for it would take each other's nonces.
///
/// # Errors
/// When another verifier has it, or the home cannot be used.
pub fn lock_account(home: &Path, account: Address) -> anyhow::Result<Lock> {
    take(&home.join("accounts").join(account.to_string()))?.with_context(|| {
        format!("another verifier is at work for the account {account}: end it, or name another wallet with --wallet")
    })
}

/// `None` when another process has it.
fn take(folder: &Path) -> anyhow::Result<Option<Lock>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock(file))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// A task that is at work.
struct AtWork {
    slot: B256,
    /// Whether it uses the folder of the slot's run.
    uses_run: bool,
    /// Whether it takes one of the places for checks.
    is_check: bool,
    since: Instant,
    turn: Arc<Turn>,
    thread: JoinHandle<()>,
}

impl AtWork {
    fn give_way(&self) {
        self.turn.gives_way.store(true, Ordering::Relaxed);
    }
}

/// The check that waits for files for the longest time, if it has had its turn. Whoever gives files slowly must not keep others
/// from being checked; what has come is kept.
fn slowest<'a>(checks: impl Iterator<Item = &'a AtWork>, now: Instant) -> Option<&'a AtWork> {
    let waits = |task: &&AtWork| task.turn.waits.load(Ordering::Relaxed) && now.duration_since(task.since) >= TURN;
    checks.filter(waits).min_by_key(|task| task.since)
}

/// Sorts what is due: whatever has not had a turn, or not for long, is first.
fn in_turn<T>(due: &mut [T], begun: impl Fn(&T) -> Option<Instant>) {
    due.sort_by_key(begun);
}

/// A verifier at work.
pub struct Watcher<'a> {
    chain: &'a Chain,
    journal: &'a Records,
    key: PrivateKeySigner,
    state: State,
    place: Place,
    seed: B256,
    metrics: Arc<Metrics>,
    at_work: BTreeMap<String, AtWork>,
    tell: Tell<(String, B256, Option<Found>)>,
    told: Receiver<(String, B256, Option<Found>)>,
    /// Choices that were computed and are to be sent.
    choices: BTreeMap<B256, challenges::Ready>,
    /// Challenges for which no choice could be computed: how often, and when to try again, in seconds since 1970.
    stuck: BTreeMap<B256, (u32, u64)>,
    refusals: Refusals,
    /// Jobs of which it was told what is not done, as their terms could cost a bond.
    untrusted: BTreeSet<(B256, &'static str)>,
    /// When the last check of a slot began.
    begun: BTreeMap<B256, Instant>,
    /// What tasks have told and could not be written down yet.
    unkept: VecDeque<(B256, Found)>,
    follower: Follower,
}

/// What is true at a block.
pub struct View {
    /// The block.
    pub block: Block,
    /// Jobs and slots.
    pub board: Board,
}

impl View {
    /// A submission.
    pub fn subject(&self, slot: B256) -> Option<Subject> {
        let found = self.board.slots.get(&slot)?;
        let (run, submission) = found.submission.clone()?;
        let terms = self.board.jobs.get(&found.job)?.terms.clone();
        Some(Subject { slot, terms, run, submission, disclosed: found.disclosed })
    }
}

impl<'a> Watcher<'a> {
    /// A verifier with this key, whose data folder is that of `place` and is locked.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub fn new(
        chain: &'a Chain,
        settings: &'a Settings,
        journal: &'a Records,
        key: PrivateKeySigner,
        place: Place,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let state = State::of(place.home.path());
        let seed = state.seed()?;
        let (tell, told) = channel();
        let follower = Follower::new(chain, settings)?;
        Ok(Self {
            chain,
            journal,
            key,
            state,
            place,
            seed,
            metrics,
            at_work: BTreeMap::new(),
            tell,
            told,
            choices: BTreeMap::new(),
            stuck: BTreeMap::new(),
            refusals: Refusals::default(),
            untrusted: BTreeSet::new(),
            begun: BTreeMap::new(),
            unkept: VecDeque::new(),
            follower,
        })
    }

    /// The account.
    pub fn account(&self) -> Address {
        self.key.address()
    }

    fn sender(&self) -> Sender<'_> {
        Sender { chain: self.chain, journal: self.journal, key: self.key.clone() }
    }

    /// Looks and moves until it is to end. Looks again after `pause`, if there is a new block.
    ///
    /// # Errors
    /// When the database cannot be used. What fails on the chain is told, and tried again.
    pub fn run(&mut self, pause: Duration) -> anyhow::Result<()> {
        let mut last = None;
        let mut waited = pause;
        while !self.place.stop.load(Ordering::Relaxed) {
            let heard = self.hear();
            if heard || waited >= pause {
                waited = Duration::ZERO;
                match self.look(&mut last, heard) {
                    Ok(()) => self.metrics.looked.store(now(), Ordering::Relaxed),
                    Err(error) => {
                        count(&self.metrics.errors);
                        tracing::warn!("{}", sentence(&error));
                    }
                }
            }
            waited += MOMENT;
        }
        tracing::info!("ending: waiting for {} tasks", self.at_work.len());
        for (_, task) in std::mem::take(&mut self.at_work) {
            let _ = task.thread.join();
        }
        while let Ok((_, slot, found)) = self.told.try_recv() {
            self.unkept.extend(found.map(|found| (slot, found)));
        }
        self.keep_all()
    }

    /// Waits a moment for what comes of tasks.
    fn hear(&mut self) -> bool {
        let heard = match self.told.recv_timeout(MOMENT) {
            Ok((name, slot, found)) => {
                self.at_work.remove(&name);
                self.metrics.tasks.store(self.at_work.len() as i64, Ordering::Relaxed);
                self.unkept.extend(found.map(|found| (slot, found)));
                true
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => false,
        };
        if let Err(error) = self.keep_all() {
            count(&self.metrics.errors);
            tracing::warn!("what was found cannot be written down, and is kept in memory: {}", sentence(&error));
        }
        heard
    }

    /// Writes down what tasks have told. What cannot be written now stays.
    fn keep_all(&mut self) -> anyhow::Result<()> {
        while let Some((slot, found)) = self.unkept.front().cloned() {
            self.keep(slot, found)?;
            self.unkept.pop_front();
        }
        Ok(())
    }

    fn look(&mut self, last: &mut Option<B256>, heard: bool) -> anyhow::Result<()> {
        let block = self.chain.latest()?;
        if !heard && *last == Some(block.hash) {
            return Ok(());
        }
        let view = View { block, board: self.follower.read(self.chain)? };
        self.metrics.block.store(block.number, Ordering::Relaxed);
        // What is lost when it comes too late is first.
        self.committees(&view)?;
        self.answers(&view)?;
        self.audits(&view)?;
        self.submissions(&view)?;
        self.challenges(&view)?;
        self.clean(&view)?;
        *last = Some(block.hash);
        Ok(())
    }

    /// Looks at what was submitted.
    fn submissions(&mut self, view: &View) -> anyhow::Result<()> {
        let known: BTreeMap<B256, Checked> =
            self.state.checked()?.into_iter().map(|checked| (checked.slot, checked)).collect();
        let mut all_due = Vec::new();
        for slot in view.board.slots.values() {
            let Some(subject) = view.subject(slot.id) else { continue };
            let before = known.get(&slot.id).filter(|known| known.trace_root == subject.run.traceRoot);
            let checked = match before {
                Some(known) if known.ending == slot.ending => known.clone(),
                Some(known) => {
                    let checked = Checked { ending: slot.ending, ..known.clone() };
                    self.state.put_checked(&checked)?;
                    checked
                }
                None => {
                    let Some(checked) = self.first_sight(slot, &subject, view.block.time) else { continue };
                    self.state.put_checked(&checked)?;
                    checked
                }
            };
            let left = slot.challenge_until.saturating_sub(view.block.time);
            let last = now() + left.saturating_sub(MARGIN.min(u64::from(subject.terms.window) / 4));
            // Audited data may be disclosed later, or never. Results are there or not, whatever comes of the data.
            let can_check = subject.has_data();
            let has_results = !subject.submission.bundle.digest.is_zero();
            let due = match checked.finding {
                Finding::Waiting | Finding::Undisclosed { .. } if can_check => {
                    Some(Task::Check { tries: 0, search: Search::default(), last })
                }
                Finding::Waiting if has_results => Some(Task::Look { run: None, search: Search::default(), last }),
                Finding::Undisclosed { search, .. } if search.next <= now() => {
                    Some(Task::Look { run: None, search, last })
                }
                Finding::CannotTell { next, tries, .. } if next <= now() => {
                    Some(Task::Check { tries, search: Search::default(), last })
                }
                Finding::NoData { search, .. } if search.next <= now() => Some(Task::Check { tries: 0, search, last }),
                Finding::NoResults { steps, seconds, search, .. } if search.next <= now() => {
                    Some(Task::Look { run: Some((steps, seconds)), search, last })
                }
                _ => None,
            };
            let in_time = slot.ending.is_none() && slot.challenge_until >= view.block.time;
            all_due.extend(due.filter(|_| in_time).map(|task| (subject, task)));
        }
        in_turn(&mut all_due, |(subject, _)| self.begun.get(&subject.slot).copied());
        for (subject, task) in all_due {
            self.begin(subject, task);
        }
        Ok(())
    }

    /// Decides about a submission that is new. One that was over before this verifier saw it is not kept.
    fn first_sight(&self, slot: &Slot, subject: &Subject, time: u64) -> Option<Checked> {
        if slot.ending.is_some() || slot.challenge_until < time {
            return None;
        }
        let terms = &subject.terms;
        let is_auditor = terms.auditors.contains(&self.account());
        let offer = Offer { disclosure: terms.disclosure, is_auditor, token: terms.token, reward: terms.reward };
        let wanted = self.place.policy.wants(&self.seed, slot.id, slot.job, offer);
        let finding = match wanted {
            Ok(()) => Finding::Waiting,
            Err(why) => Finding::Skipped { why },
        };
        tracing::info!(slot = %slot.id, "submitted: {finding:?}");
        let trace_root = subject.run.traceRoot;
        Some(Checked { slot: slot.id, job: slot.job, client: slot.client, trace_root, finding, ending: None })
    }

    /// Begins a task, if it is not at work and there is room.
    fn begin(&mut self, subject: Subject, task: Task) {
        let name = match &task {
            Task::Check { .. } => format!("check {}", subject.slot),
            Task::Look { .. } => format!("look {}", subject.slot),
            Task::Choose { challenge, level, .. } => {
                format!("choose {challenge} {} {} {}", level.first, level.steps, level.part)
            }
            Task::Replay { question, .. } | Task::Fetch { question, .. } => format!("answer {question}"),
        };
        // A run's folder is for one task at a time; fetching needs none. What a challenge or a committee waits for has a
        // deadline: it comes in addition.
        let uses_run = !matches!(task, Task::Fetch { .. } | Task::Look { .. });
        let same_run = |task: &AtWork| task.uses_run && task.slot == subject.slot;
        let is_busy = self.at_work.contains_key(&name)
            || (uses_run && self.at_work.values().any(same_run))
            || self.unkept.iter().any(|(slot, _)| *slot == subject.slot);
        let is_check = matches!(task, Task::Check { .. } | Task::Look { .. });
        if uses_run && !is_check {
            // A check of the same run takes long, and has no deadline.
            self.at_work.values().filter(|task| same_run(task)).for_each(AtWork::give_way);
        }
        if is_busy {
            return;
        }
        if is_check {
            // Looks for results compute nothing, and have as many places of their own.
            let checks = || self.at_work.values().filter(|task| task.is_check && task.uses_run == uses_run);
            if checks().count() >= self.place.policy.limits.at_once {
                slowest(checks(), Instant::now()).inspect(|task| task.give_way());
                return;
            }
            self.begun.insert(subject.slot, Instant::now());
        }
        let (place, tell, slot) = (self.place.clone(), self.tell.clone(), subject.slot);
        let its_name = name.clone();
        let (turn, since) = (Arc::new(Turn::default()), Instant::now());
        let its_turn = turn.clone();
        let thread = std::thread::spawn(move || {
            // Else the task would count as at work for ever.
            let worked = catch_unwind(AssertUnwindSafe(|| place.work(&subject, &task, &its_turn)));
            let found = worked.unwrap_or_else(|_| Some(task.failed(subject.run.traceRoot)));
            // Nobody listens any more when everything ends.
            let _ = tell.send((its_name, slot, found));
        });
        tracing::debug!("{name}");
        self.at_work.insert(name, AtWork { slot, uses_run, is_check, since, turn, thread });
        self.metrics.tasks.store(self.at_work.len() as i64, Ordering::Relaxed);
    }

    /// Writes down what came of a task.
    fn keep(&mut self, slot: B256, found: Found) -> anyhow::Result<()> {
        match found {
            Found::Finding { trace_root, finding } => {
                let Some(mut checked) = self.state.checked()?.into_iter().find(|checked| checked.slot == slot) else {
                    return Ok(());
                };
                if checked.trace_root != trace_root {
                    tracing::info!(%slot, "a finding about a submission that a reorganisation replaced is dropped");
                    return Ok(());
                }
                checked.finding = finding;
                self.state.put_checked(&checked)?;
                let counter = match &checked.finding {
                    // The daemon has not come to what it waits for.
                    Finding::Waiting | Finding::Undisclosed { why: None, .. } => return Ok(()),
                    Finding::Agrees { .. } => Some(&self.metrics.agrees),
                    Finding::Differs { .. } | Finding::OtherData { .. } | Finding::OtherResults { .. } => {
                        Some(&self.metrics.differs)
                    }
                    Finding::NoData { .. }
                    | Finding::NoResults { .. }
                    | Finding::Undisclosed { why: Some(_), .. }
                    | Finding::CannotTell { .. } => Some(&self.metrics.failed),
                    Finding::Skipped { .. } => None,
                };
                if let Some(counter) = counter {
                    count(counter);
                }
                self.note_if_possible(slot, &checked.finding.to_string());
                Ok(())
            }
            Found::Choice { challenge, chosen, leaves } => {
                self.stuck.remove(&challenge);
                self.choices.insert(challenge, challenges::Ready { chosen, leaves });
                Ok(())
            }
            Found::NoChoice { challenge, why } => {
                count(&self.metrics.failed);
                let tries = self.stuck.get(&challenge).map_or(0, |(tries, _)| *tries);
                self.stuck.insert(challenge, (tries + 1, work::again_at(tries)));
                self.note_if_possible(slot, &format!("challenge {challenge}: no leaf can be named: {why}"));
                Ok(())
            }
            Found::Answer { question, answer } => self.answered(question, answer),
        }
    }

    /// Tells that something happened, in the log and in the history.
    fn note(&self, slot: B256, text: &str) -> anyhow::Result<()> {
        tracing::info!(%slot, "{text}");
        self.state.note(slot, text)
    }

    /// Tells, once for each job, what is not done as its terms could cost a bond, and why.
    fn note_untrusted(&mut self, slot: &Slot, what: &'static str, why: &str) -> anyhow::Result<()> {
        if self.untrusted.insert((slot.job, what)) { self.note(slot.id, &format!("{what}: {why}")) } else { Ok(()) }
    }

    /// The same where the move or the finding counts, not the note.
    fn note_if_possible(&self, slot: B256, text: &str) {
        if let Err(error) = self.note(slot, text) {
            tracing::warn!("{}", sentence(&error));
        }
    }

    /// Makes a move; if it is refused, tells so and goes on. Whether it was made.
    fn moves(&self, slot: B256, name: &str, to: Address, call: Vec<u8>) -> bool {
        self.told(slot, name, self.sender().send(name, to, call).map(Some))
    }

    /// Tells what came of a move. Whether it was made.
    fn told(&self, slot: B256, name: &str, sent: anyhow::Result<Option<TransactionReceipt>>) -> bool {
        match sent {
            Ok(None) => false,
            Ok(Some(receipt)) => {
                self.note_if_possible(slot, &format!("sent `{name}`, {} gas", receipt.gas_used));
                true
            }
            Err(error) => {
                // Others may have made the same move at the same time.
                count(&self.metrics.errors);
                tracing::warn!(%slot, "`{name}`: {}", sentence(&error));
                false
            }
        }
    }

    /// Does something of this name that foreign code has a part in, as a token or an arbitrator, unless it was refused so
    /// often in blocks that it is given up, or not long ago. `None` when nothing was done. What is urgent and was refused
    /// before it cost anything is not put off.
    fn carefully<T>(
        &self,
        name: &str,
        is_urgent: bool,
        act: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<Option<T>> {
        if !self.refusals.allow(name, now()) {
            return Ok(None);
        }
        let before = self.sent()?;
        let done = act();
        let is_paid = done.is_err() && self.sent().is_ok_and(|after| after > before);
        if done.is_ok() {
            self.refusals.made(name);
        } else if (is_paid || !is_urgent) && self.refusals.refused(name, is_paid) {
            tracing::warn!(
                "`{name}` was refused in {} blocks, which cost coins: it is given up until this program begins anew",
                refusals::MOST
            );
        }
        done.map(Some)
    }

    /// How many transactions of this account are in blocks.
    fn sent(&self) -> anyhow::Result<u64> {
        self.chain.ask(self.chain.node().get_transaction_count(self.account()))
    }

    /// Gets what is owed, as [`Self::moves`]. Whether it did.
    fn gets(&self, slot: B256, name: &str, from: Address, call: Vec<u8>) -> bool {
        let sent = self.carefully(name, false, || {
            self.sender().do_again(name)?;
            self.sender().send(name, from, call)
        });
        self.told(slot, name, sent)
    }

    /// Fetches what the market owes this verifier in a token. Whether nothing is owed any more.
    fn collect(&self, slot: B256, token: Address) -> anyhow::Result<bool> {
        let owed = self.chain.owed(token, self.account())?;
        if owed > U256::ZERO {
            let call = self.chain.market().withdraw(token, self.account()).calldata().to_vec();
            return Ok(self.gets(slot, &format!("withdraw {token}"), self.chain.market, call));
        }
        Ok(true)
    }

    /// Removes what belongs to slots that have ended, and blocks that nothing needs.
    fn clean(&mut self, view: &View) -> anyhow::Result<()> {
        let home = &self.place.home;
        let busy: BTreeSet<B256> = self.at_work.values().map(|task| task.slot).collect();
        let asked: BTreeSet<B256> =
            self.state.questions()?.into_iter().filter(|asked| !asked.done).map(|asked| asked.slot).collect();
        let mut removed = false;
        let mut jobs: BTreeSet<String> = BTreeSet::new();
        for slot in view.board.slots.values() {
            if slot.ending.is_none() || busy.contains(&slot.id) || asked.contains(&slot.id) {
                jobs.extend(view.board.jobs.get(&slot.job).map(|job| job.cid().to_string()));
                continue;
            }
            let folders = [
                Some(home.path().join("capsules").join(slot.id.to_string())),
                slot.submission
                    .as_ref()
                    .map(|(run, _)| home.path().join("runs").join(fedmkt_core::roots::RunId(run.runId.0).to_string())),
            ];
            for folder in folders.into_iter().flatten().filter(|folder| folder.is_dir()) {
                std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
                removed = true;
            }
            self.begun.remove(&slot.id);
            removed |= slot.submission.as_ref().is_some_and(|(run, _)| self.place.entrusted.forget(run.runId));
        }
        pin(&FolderStore::new(&self.place.store), &self.state, &home.jobs()?, &jobs)?;
        if !removed {
            return Ok(());
        }
        for entry in std::fs::read_dir(home.jobs()?)?.flatten() {
            let path = entry.path();
            if path.file_stem().is_some_and(|cid| !jobs.contains(&*cid.to_string_lossy())) {
                std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        let collected = FolderStore::new(&self.place.store).gc()?;
        tracing::info!("removed what is over, with {} bytes of blocks", collected.bytes);
        Ok(())
    }

    /// Events of a contract of these blocks; `filter` says which. `None` if the node does not give that many at once.
    fn events(&self, filter: &Filter, from: u64, to: u64) -> anyhow::Result<Option<Vec<Log>>> {
        let filter = filter.clone().from_block(from).to_block(to);
        match self.chain.wait(self.chain.node().get_logs(&filter)) {
            Ok(logs) => Ok(Some(logs)),
            // Each kind of node has words of its own for it.
            Err(RpcError::ErrorResp(_) | RpcError::Transport(_) | RpcError::DeserError { .. }) if to > from => Ok(None),
            Err(error) => Err(fedmkt_market::chain::sentence(&error)),
        }
    }
}

/// Pins the jobs of slots that are not over and whose drives are in `drives`, as their manifests are read again; lets go of
/// those that it has pinned before.
fn pin(store: &FolderStore, state: &State, drives: &Path, jobs: &BTreeSet<String>) -> anyhow::Result<()> {
    let (ours, pinned) = (state.pins()?, store.pins()?);
    for cid in jobs.iter().filter(|cid| drives.join(format!("{cid}.pack")).is_file()) {
        let name = fedmkt_store::parse_cid(cid)?;
        // What somebody else has pinned in this store is left to them.
        if !pinned.contains(&name) && store.has(&name)? {
            state.set_pin(cid, true)?;
            if let Err(error) = store.pin(&name) {
                // Blocks that went before are fetched again when they are needed.
                tracing::debug!("cannot pin {cid}: {error}");
            }
        }
    }
    for cid in ours.iter().filter(|cid| !jobs.contains(*cid)) {
        store.unpin(&fedmkt_store::parse_cid(cid)?)?;
        state.set_pin(cid, false)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use fedmkt_store::files;

    use super::*;

    #[test]
    fn whoever_waits_long_for_files_makes_room_and_is_the_last_to_go_on() {
        let now = Instant::now() + 3 * TURN;
        let check = |waits: bool, age| AtWork {
            slot: B256::ZERO,
            uses_run: true,
            is_check: true,
            since: now - age,
            turn: Arc::new(Turn { waits: waits.into(), ..Turn::default() }),
            thread: std::thread::spawn(|| {}),
        };
        let young = [check(true, TURN / 2), check(false, 3 * TURN)];
        assert!(slowest(young.iter(), now).is_none(), "whoever computes, or has not waited for long, goes on");
        let old = [check(true, TURN), check(true, 2 * TURN), check(false, 3 * TURN)];
        assert_eq!(slowest(young.iter().chain(&old), now).map(|task| task.since), Some(now - 2 * TURN));

        let mut due = ["had a turn", "had one before", "had none"];
        in_turn(&mut due, |due| match *due {
            "had a turn" => Some(now),
            "had one before" => Some(now - TURN),
            _ => None,
        });
        assert_eq!(due, ["had none", "had one before", "had a turn"]);
    }

    #[test]
    fn jobs_in_use_are_pinned_and_others_are_let_go_unless_somebody_else_pinned_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, state) = (FolderStore::new(folder.path().join("store")), State::of(folder.path()));
        let add = |content: &[u8]| {
            let cid = files::add_file(&store, content).expect("added").cid;
            std::fs::write(folder.path().join(format!("{cid}.pack")), b"").expect("a drive");
            cid
        };
        let (ours, theirs) = (add(b"ours"), add(b"theirs"));
        store.pin(&theirs).expect("pinned");
        let jobs = BTreeSet::from([ours.to_string(), theirs.to_string()]);
        pin(&store, &state, folder.path(), &jobs).expect("pinned");
        assert_eq!(store.pins().expect("pins"), BTreeSet::from([ours, theirs]));
        pin(&store, &state, folder.path(), &jobs).expect("nothing to do");
        store.gc_older_than(Duration::ZERO).expect("collected");
        assert!(store.has(&ours).expect("a store"));
        pin(&store, &state, folder.path(), &BTreeSet::new()).expect("let go");
        assert_eq!(store.pins().expect("pins"), BTreeSet::from([theirs]));
        assert!(state.pins().expect("a database").is_empty());
    }
}
