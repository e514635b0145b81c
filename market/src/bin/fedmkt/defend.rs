//! `fedmkt defend`: the client answers challenges and audits of its submissions with what it kept.
//!
//! What is to be done follows from the chain each time, and moves are sent once ([`dispute`]): this program can be ended
//! and started again at any moment. Leaves that are not in the receipt are computed by another process of this program,
//! which has no key, and kept in the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::mpsc::{self, Receiver, Sender as Queue};
use std::thread;
use std::time::{Duration, Instant};

use alloy::eips::BlockNumberOrTag;
use alloy::primitives::{Address, B256};
use alloy::signers::local::PrivateKeySigner;
use anyhow::{Context, bail};
use cid::Cid;
use clap::Args;
use fedmkt_contracts::submission as calls;
use fedmkt_core::roots::StateRoot;
use fedmkt_core::trace::Level;
use fedmkt_market::board::{AUDIT_DUE, Board, Follower, Slot};
use fedmkt_market::chain::Chain;
use fedmkt_market::dispute::{self, Answer, Challenge, Kind, Moved, State};
use fedmkt_market::journal;
use fedmkt_market::receipt::{Receipt, utc};
use fedmkt_market::send::Sender;
use fedmkt_market::settings::Settings;
use fedmkt_market::{submission, wallet};
use fedmkt_runtime::message::{note, sentence};
use fedmkt_store::{CachedStore, FolderStore};
use serde_json::json;

use crate::{Refused, work};

mod leaves;

pub use leaves::Leaves;

/// How long to wait before the chain is looked at again.
const PAUSE: Duration = Duration::from_secs(2);

/// The longest wait before something that failed is tried again.
const MOST_PAUSE: Duration = Duration::from_secs(300);

/// How long to wait before the contract is asked again whether slots stand as their events say.
const ASK_AFTER: Duration = Duration::from_secs(30);

/// State of a slot in the contract: lost for silence, or refuted.
const SLOT_SILENT: u8 = 7;
const SLOT_REFUTED: u8 = 8;

/// Answer challenges and audits of your submissions with what was kept of the runs, until nothing can be disputed any more
///
/// Holds the audit lottery of a submission as soon as its randomness is there: later it draws for sure. When an audit is
/// due, the data is disclosed, encrypted to the auditors of the job, as you have agreed to by accepting it.
/// Looks at the chain again and again. Whoever is silent in a dispute loses it: let this run from submitting until
/// it ends by itself, or look with --once, more often than the job's time for a move.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fedmkt defend                  # all your slots, until nothing can happen to them
  fedmkt defend 0x... --json     # one slot; a line of JSON for each thing that happens
  fedmkt defend --once           # what is wanted now, for a timer

It can be ended at any moment (Ctrl-C) and started again: nothing is sent twice.
Where nobody can type, the wallet's password must come from --password-file or FEDMKT_WALLET_PASSWORD_FILE.
Needs what the run left in the home: capsule, checkpoints, receipt. What cannot be found is computed again.
Ends with exit code 1 when a submission was refuted, or, with --once, when something could not be done.")]
pub struct Defend {
    /// Slots [default: all of the wallet's that have not ended]
    slots: Vec<B256>,
    /// Do what is wanted now, and end
    #[arg(long)]
    once: bool,
    /// Print an object on a line for each thing that happens
    #[arg(long)]
    json: bool,
}

pub fn compute(arguments: &Leaves, store: &FolderStore, out: &mut dyn Write) -> anyhow::Result<()> {
    leaves::run(arguments, store, out)
}

pub fn run(arguments: &Defend, settings: &Settings, store: &CachedStore, out: &mut dyn Write) -> anyhow::Result<()> {
    let (uploads, files) = mpsc::channel();
    // What is still on its way to the node in the end is waited for.
    thread::scope(|scope| {
        scope.spawn(move || hand_over(store, &files));
        watch(arguments, settings, store, uploads, out)
    })
}

/// Hands files over to the node that was named, one after the other. If none was, or it fails, a person is told what to do.
fn hand_over(store: &CachedStore, files: &Receiver<Cid>) {
    for file in files {
        note(&match work::upload(store, [&file]) {
            Ok(true) => format!("{file} is in the node that --ipfs names."),
            Ok(false) => work::how_to_hand_over(&file),
            Err(error) => format!(
                "{file} could not be handed to the node: {}. {}",
                sentence(&error),
                work::how_to_hand_over(&file)
            ),
        });
    }
}

fn watch(
    arguments: &Defend,
    settings: &Settings,
    store: &CachedStore,
    uploads: Queue<Cid>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let client = wallet::address(settings)?;
    let chain = Chain::connect(settings)?;
    let mut follower = Follower::new(&chain, settings)?;
    // The time first: if a window has passed by then, the board shows every challenge that came in time.
    let look = |follower: &mut Follower| -> anyhow::Result<_> {
        let now = chain.latest()?.time;
        let board = follower.read(&chain)?;
        // The last blocks may lack events, by a node that lags or a reorganisation: that a window has passed must be true
        // of a block below them.
        let sure = BlockNumberOrTag::Number(board.block.saturating_sub(chain.confirmations));
        let sure = chain.block(sure)?.context("the node is behind: it lacks a block that it had before")?.time;
        Ok((board, now, sure))
    };
    let (mut board, mut now, mut sure) = look(&mut follower)?;
    work::must_have_all(&board, &chain, settings, client)?;
    for id in &arguments.slots {
        let slot = board.slot(&chain, *id)?;
        if slot.client != client {
            bail!("slot {id} is that of {}: name its wallet with --wallet", slot.client);
        }
    }
    let mut defence = Defence {
        settings,
        store,
        chain: &chain,
        client,
        // Nobody is there later to be asked for the password.
        key: if arguments.once { None } else { Some(wallet::open(settings)?) },
        json: arguments.json,
        uploads,
        handed_over: BTreeSet::new(),
        told: BTreeSet::new(),
        failed: BTreeMap::new(),
        open: BTreeSet::new(),
        lost: false,
    };
    let is_meant = |slot: &&Slot| {
        slot.client == client
            && match arguments.slots.as_slice() {
                [] => true,
                named => named.contains(&slot.id),
            }
    };
    // Slots that had ended before are nobody's concern.
    let mut open: BTreeSet<B256> =
        board.slots.values().filter(is_meant).filter(|slot| slot.ending.is_none()).map(|slot| slot.id).collect();
    // Whether the events agreed with the contract, and whether they did not at the last look.
    let (mut ask_at, mut agrees, mut suspected) = (Instant::now(), true, false);
    loop {
        let slots: Vec<&Slot> = board.slots.values().filter(is_meant).collect();
        open.extend(slots.iter().filter(|slot| slot.ending.is_none()).map(|slot| slot.id));
        let followed: Vec<&Slot> = slots.into_iter().filter(|slot| open.contains(&slot.id)).collect();
        let concerns: BTreeSet<B256> = open.iter().chain(&arguments.slots).copied().collect();
        for id in concerns.iter().filter(|id| !board.slots.contains_key(*id)) {
            defence
                .tell(&format!("Slot {id} is gone: the node is behind, or the chain was reorganised. Waiting for it."));
        }
        let are_over = concerns.iter().all(|id| is_over(&board, id, sure));
        // Before the moves, which may take hours: nodes forget how things stood at old blocks. After a difference all events are
        // read again, which a node does not give every two seconds.
        let asks = arguments.once || suspected || (are_over && agrees) || Instant::now() >= ask_at;
        let compared = match asks {
            true => concerns.iter().find_map(|id| board.difference(&chain, *id).transpose()).transpose(),
            false => Ok(None),
        };
        let done = defence.answer_all(&board, &followed, now, out);
        if asks {
            ask_at = Instant::now() + ASK_AFTER;
            match compared {
                Ok(None) if arguments.once => {
                    return if done && !defence.lost { Ok(()) } else { Err(Refused.into()) };
                }
                Ok(None) if are_over => break,
                Ok(None) => (agrees, suspected) = (true, false),
                Ok(Some(_)) if !suspected => suspected = true,
                Ok(Some(why)) => {
                    let error = board.kept_back(&why);
                    if arguments.once {
                        return Err(error);
                    }
                    note(&sentence(&error));
                    (agrees, suspected) = (false, false);
                }
                Err(error) if arguments.once => return Err(error),
                Err(error) => note(&sentence(&error)),
            }
        }
        thread::sleep(PAUSE);
        // A node that does not answer for a while is no reason to leave.
        (board, now, sure) = loop {
            match look(&mut follower) {
                Ok(seen) => break seen,
                Err(error) => note(&sentence(&error)),
            }
            thread::sleep(PAUSE);
        };
    }
    note("Nothing of yours can be disputed any more: `fedmkt claim`.");
    if defence.lost { Err(Refused.into()) } else { Ok(()) }
}

/// Whether nothing can happen to a slot any more but its settlement. `sure` is the time of a block whose events the board
/// has for sure. Of a slot that the board lacks nothing is known.
fn is_over(board: &Board, id: &B256, sure: u64) -> bool {
    let Some(slot) = board.slots.get(id) else { return false };
    if slot.ending.is_some() {
        return true;
    }
    let until = if slot.submission.is_some() { slot.challenge_until } else { slot.submit_until };
    let is_disputed = board.challenges_of(slot.id).iter().any(|challenge| !challenge.state.has_ended());
    sure > until && !is_disputed && slot.disclose_until.is_none() && !work::wants_lottery(board, slot)
}

/// Something that failed when it was last tried.
struct Failed {
    /// When it is tried again, and how long after it failed that is.
    again_at: Instant,
    pause: Duration,
    /// What a person was told.
    said: String,
}

/// How long to wait before something that failed is tried again: twice as long as before, and at most an eighth of the time that
/// is left for it, if it has a deadline.
fn pause_after(before: Option<Duration>, left: Option<Duration>) -> Duration {
    let most = left.map_or(MOST_PAUSE, |left| MOST_PAUSE.min(left / 8));
    before.map_or(PAUSE, |before| before * 2).min(most).max(PAUSE)
}

struct Defence<'a> {
    settings: &'a Settings,
    store: &'a CachedStore,
    chain: &'a Chain,
    client: Address,
    key: Option<PrivateKeySigner>,
    json: bool,
    /// Takes files that are to be handed over to the node.
    uploads: Queue<Cid>,
    /// Disclosed files that were put there.
    handed_over: BTreeSet<Cid>,
    /// What a person was told already.
    told: BTreeSet<String>,
    /// What failed, by what it is.
    failed: BTreeMap<String, Failed>,
    /// Challenges that had not ended when they were last looked at.
    open: BTreeSet<B256>,
    /// Whether a submission was refuted.
    lost: bool,
}

impl Defence<'_> {
    /// Does what is wanted in all challenges of these slots, the most urgent first. Whether all could be done.
    fn answer_all(&mut self, board: &Board, slots: &[&Slot], now: u64, out: &mut dyn Write) -> bool {
        let (mut challenges, mut done) = (Vec::new(), true);
        let start = Instant::now();
        // What is over has no deadline.
        let deadline = |until: u64| start.checked_add(Duration::from_secs(until.checked_sub(now)?));
        for slot in slots {
            // What is drawn late is drawn for sure: nobody else may hold it in time, and it is not put off.
            if work::wants_lottery(board, slot) {
                let what = format!("audit lottery of slot {}", slot.id);
                done &= self.tries(what, Some(start), |defence| defence.hold_lottery(slot, out));
            }
            if let Some(until) = slot.disclose_until.filter(|_| slot.ending.is_none()) {
                if now > until {
                    self.tell(&format!("Slot {}: the time to disclose has passed, anybody can end it.", slot.id));
                } else {
                    let what = format!("audit of slot {}", slot.id);
                    done &= self.tries(what, deadline(until), |defence| defence.disclose(slot, until, out));
                }
            }
            // This program may have been ended between disclosing and the end of the upload.
            if let Some(file) = slot.disclosed.filter(|_| slot.ending.is_none() && self.has_node())
                && self.handed_over.insert(file)
            {
                self.make_available(file);
            }
            if matches!(slot.ending, Some(SLOT_SILENT | SLOT_REFUTED)) {
                self.lost = true;
                self.tell(&format!("Slot {} is lost: {}.", slot.id, slot.state()));
            }
            challenges.extend(board.challenges_of(slot.id).into_iter().map(|challenge| (*slot, challenge)));
        }
        challenges.sort_by_key(|(_, challenge)| (challenge.deadline, challenge.id));
        for (slot, challenge) in challenges {
            let id = challenge.id;
            if challenge.state.has_ended() {
                if self.open.remove(&id) {
                    let object = json!({ "event": "ended", "challenge": id, "slot": slot.id,
                                         "ending": challenge.state.to_string(), "ruled": challenge.ruling.is_some() });
                    let line = format!("challenge {id} has ended: {}", challenge.state);
                    self.say(&object, &line, out);
                }
                continue;
            }
            if self.open.insert(id) {
                let object = json!({ "event": "challenged", "challenge": id, "slot": slot.id,
                                     "kind": challenge.kind.to_string(), "challenger": challenge.challenger });
                let line = format!("challenge {id} of slot {}, about the {}", slot.id, challenge.kind);
                self.say(&object, &line, out);
            }
            if slot.ending.is_some() {
                continue;
            }
            // What one challenge waits for is no reason to leave the others.
            done &= self.tries(format!("challenge {id}"), deadline(challenge.deadline), |defence| {
                defence.answer(board, slot, challenge, now, out)
            });
        }
        done
    }

    /// Does something, unless it failed not long ago. Why it fails is said once, as long as that is the same. Whether it was
    /// done.
    fn tries(
        &mut self,
        what: String,
        deadline: Option<Instant>,
        act: impl FnOnce(&mut Self) -> anyhow::Result<()>,
    ) -> bool {
        if self.failed.get(&what).is_some_and(|failed| Instant::now() < failed.again_at) {
            return false;
        }
        let done = act(self);
        let before = self.failed.remove(&what);
        let Err(error) = done else { return true };
        let said = format!("{what}: {}", sentence(&error));
        if before.as_ref().is_none_or(|before| before.said != said) {
            note(&said);
        }
        let now = Instant::now();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
        let pause = pause_after(before.map(|before| before.pause), left);
        self.failed.insert(what, Failed { again_at: now + pause, pause, said });
        false
    }

    fn answer(
        &mut self,
        board: &Board,
        slot: &Slot,
        challenge: &Challenge,
        now: u64,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let id = challenge.id;
        let late = now > challenge.deadline;
        let (event, moved) = match challenge.state {
            State::WantsLeaves if late => {
                self.tell(&format!("Challenge {id}: the time to post leaves has passed, anybody can end it."));
                return Ok(());
            }
            State::WantsLeaves => {
                let level = challenge.level.context("the node does not give the level in dispute")?;
                let leaves = self.leaves(slot, challenge, &level)?;
                ("leaves", self.send(|sender| dispute::post_leaves(sender, id, &leaves))?)
            }
            State::WantsChoice | State::WantsRuling if late => {
                ("concluded", self.send(|sender| dispute::conclude(sender, id))?)
            }
            State::WantsRuling => {
                let terms = &board.jobs[&slot.job].terms;
                match dispute::answer(self.chain, terms, id)? {
                    None => {
                        self.tell_what_helps(slot, challenge);
                        return Ok(());
                    }
                    Some(Answer::ClientRight) => {}
                    Some(Answer::Executed(state)) if state == challenge.state_out => {}
                    Some(_) => {
                        self.tell(&format!("Challenge {id}: the arbitrator does not say that you are right."));
                        return Ok(());
                    }
                }
                ("resolved", self.send(|sender| dispute::resolve(sender, id))?)
            }
            _ => return Ok(()),
        };
        if moved == Moved::Yes {
            let level = challenge.level.map(|level| json!({ "first": level.first, "steps": level.steps }));
            let object = json!({ "event": event, "challenge": id, "slot": slot.id, "level": level });
            let line = match (event, challenge.level) {
                ("leaves", Some(level)) => {
                    format!(
                        "challenge {id}: posted the leaves of steps {} to {}",
                        level.first,
                        level.first + level.steps - 1
                    )
                }
                _ => format!("challenge {id}: {event}"),
            };
            self.say(&object, &line, out);
        }
        Ok(())
    }

    /// Holds the audit lottery of a slot once its randomness counts.
    fn hold_lottery(&mut self, slot: &Slot, out: &mut dyn Write) -> anyhow::Result<()> {
        let id = slot.id;
        if !work::can_hold_lottery(self.chain, id)? {
            return Ok(());
        }
        self.send(|sender| work::hold_lottery(sender, id).map(|()| Moved::Yes))?;
        let audit = self.chain.call(self.chain.market().getAudit(id))?;
        let drawn = audit.state == AUDIT_DUE;
        let object = json!({ "event": "lottery", "slot": id, "drawn": drawn });
        let outcome = if drawn { "an audit is due" } else { "it was not drawn for an audit" };
        self.say(&object, &format!("slot {id}: the audit lottery was held, {outcome}"), out);
        if drawn { self.disclose(slot, audit.deadline.to(), out) } else { Ok(()) }
    }

    /// Discloses the data of a slot to the auditors of its job, as its client has agreed to by accepting it.
    fn disclose(&mut self, slot: &Slot, until: u64, out: &mut dyn Write) -> anyhow::Result<()> {
        let id = slot.id;
        // The event may be older than the disclosure.
        if self.chain.call(self.chain.market().getAudit(id))?.state != AUDIT_DUE {
            return Ok(());
        }
        let taken = journal::written(&journal::open(self.settings)?, id)?;
        let auditors = work::auditors(self.settings, self.store, &taken)?;
        self.tell(&format!(
            "An audit of slot {id} is due until {}: its data is disclosed to the job's auditors, as you have agreed to.",
            utc(until)
        ));
        let capsule = work::disclosed_capsule(self.settings, self.store.folder(), &auditors, &taken)?;
        if self.handed_over.insert(capsule) {
            self.make_available(capsule);
        }
        let disclosed = calls::file_cid(Some(&capsule))?;
        self.send(|sender| {
            let call = sender.chain.market().disclose(id, disclosed).calldata().to_vec();
            sender.send(&format!("disclose {id}"), sender.chain.market, call)?;
            Ok(Moved::Yes)
        })?;
        let object = json!({ "event": "disclosed", "slot": id, "capsule": capsule.to_string() });
        self.say(&object, &format!("slot {id}: disclosed {capsule}, encrypted to {} auditors", auditors.len()), out);
        Ok(())
    }

    /// Whether a node was named to which files are handed over.
    fn has_node(&self) -> bool {
        self.store.network().is_some_and(|network| network.node().is_some())
    }

    /// Lets a file be handed over. What is sent to the chain has a deadline, and does not wait for the node.
    fn make_available(&self, file: Cid) {
        // Whoever takes it is there until this program ends.
        let _ = self.uploads.send(file);
    }

    /// What a client can do when files are said to be missing.
    fn tell_what_helps(&mut self, slot: &Slot, challenge: &Challenge) {
        let Some((_, submitted)) = &slot.submission else { return };
        let cid = match challenge.kind {
            Kind::Step => return,
            Kind::Results => submission::cid_of(&submitted.bundle),
            Kind::Capsule => submission::cid_of(&submitted.capsule).or(slot.disclosed),
        };
        // A challenge is looked at again and again; the files are handed over once.
        let said = format!("Challenge {}: somebody says that the {} cannot be had.", challenge.id, challenge.kind);
        if let Some(cid) = cid
            && !self.told.contains(&said)
        {
            self.tell(&said);
            self.make_available(cid);
        }
    }

    /// The leaves of a level: from the receipt, from the journal, or computed.
    fn leaves(&mut self, slot: &Slot, challenge: &Challenge, level: &Level) -> anyhow::Result<Vec<StateRoot>> {
        let journal = journal::open(self.settings)?;
        let taken = journal::written(&journal, slot.id)?;
        let run_id = taken.drawn.as_ref().context("the run has no id")?.run_id;
        let name = format!("leaves/{run_id}/{}-{}-{}", level.first, level.steps, level.part);
        if let Some(kept) = journal.get(&name)? {
            return Ok(kept);
        }
        // Computing takes long: others may use the journal meanwhile.
        drop(journal);
        let is_top = level.first == 0 && slot.submission.as_ref().is_some_and(|(run, _)| run.steps == level.steps);
        if is_top
            && let Some(receipt) = taken.receipt.as_deref()
            && let Ok(Some(receipt)) = Receipt::load(self.store.folder(), &fedmkt_store::parse_cid(receipt)?)
            && receipt.body.trace.segments.len() as u64 == level.parts()
        {
            return Ok(receipt.body.trace.segments);
        }
        self.tell(&format!(
            "Computing the leaves of steps {} to {} for challenge {}, which are wanted until {}.",
            level.first,
            level.first + level.steps - 1,
            challenge.id,
            utc(challenge.deadline)
        ));
        let leaves = Leaves::of(&taken, &self.settings.home, run_id, level)?.ask(self.store.folder().folder())?;
        journal::open(self.settings)?.put(&name, &leaves)?;
        Ok(leaves)
    }

    /// Makes a move. The journal is open only meanwhile: other commands need it too.
    fn send(&mut self, make: impl FnOnce(&Sender<'_>) -> anyhow::Result<Moved>) -> anyhow::Result<Moved> {
        let client = self.client;
        work::with_sender(self.settings, self.chain, &mut self.key, |sender| {
            if sender.address() != client {
                bail!("the wallet has another key than it says");
            }
            make(sender)
        })
    }

    /// Says what has happened. That it cannot be written, whatever the reason, is none to be silent in a dispute.
    fn say(&mut self, object: &serde_json::Value, line: &str, out: &mut dyn Write) {
        let line = if self.json { object.to_string() } else { line.to_owned() };
        if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
            self.tell(&format!("What this prints cannot be written any more ({error}); it goes on all the same."));
        }
    }

    /// Tells a person something once.
    fn tell(&mut self, what: &str) {
        if self.told.insert(what.to_owned()) {
            note(what);
        }
    }
}

#[cfg(test)]
mod tests {
    use fedmkt_contracts::market::Terms;
    use fedmkt_market::board::Job;

    use super::*;

    #[test]
    fn what_fails_is_tried_again_ever_later_but_in_time() {
        let waits = std::iter::successors(Some(PAUSE), |before| Some(pause_after(Some(*before), None)));
        let waits: Vec<u64> = waits.map(|pause| pause.as_secs()).take(10).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        let left = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(pause_after(None, left(3600)), PAUSE);
        assert_eq!(pause_after(left(256), left(3600)), MOST_PAUSE);
        assert_eq!(pause_after(left(256), left(80)), Duration::from_secs(10));
        assert_eq!(pause_after(left(256), left(0)), PAUSE);
    }

    #[test]
    fn a_slot_is_over_when_its_window_has_passed_for_sure_and_never_when_it_is_missing() {
        let id = B256::repeat_byte(1);
        let mut board = Board::default();
        assert!(!is_over(&board, &id, u64::MAX), "of a slot that is missing nothing is known");
        let slot = Slot {
            id,
            job: B256::ZERO,
            client: Address::ZERO,
            data_root: B256::ZERO,
            submit_until: 10,
            block: 1,
            run_id: None,
            submission: Some(Default::default()),
            challenge_until: 20,
            lottery_held: false,
            disclose_until: None,
            audited: false,
            requester: None,
            disclosed: None,
            ending: None,
        };
        board.slots.insert(id, slot.clone());
        assert!(!is_over(&board, &id, 20), "it can still be challenged");
        assert!(is_over(&board, &id, 21));
        board.slots.insert(id, Slot { disclose_until: Some(30), ..slot.clone() });
        assert!(!is_over(&board, &id, 21), "an audit is due");
        let terms = Terms { disclosure: 1, ..Terms::default() };
        let audited = Job { id, sponsor: Address::ZERO, terms, block: 1, closed: false, open: 0 };
        board.jobs.insert(id, audited);
        let of_audited = Slot { job: id, ..slot.clone() };
        board.slots.insert(id, of_audited.clone());
        assert!(!is_over(&board, &id, 21), "anybody can still hold the lottery");
        board.slots.insert(id, Slot { lottery_held: true, ..of_audited.clone() });
        assert!(is_over(&board, &id, 21), "it was not drawn");
        board.slots.insert(id, Slot { audited: true, ..of_audited.clone() });
        assert!(is_over(&board, &id, 21), "it was audited and has disclosed");
        board.slots.insert(id, Slot { submission: None, ..of_audited });
        assert!(is_over(&board, &id, 11), "there is nothing to audit");
        board.slots.insert(id, Slot { submission: None, ..slot.clone() });
        assert!(is_over(&board, &id, 11), "nothing was submitted");
        board.slots.insert(id, Slot { ending: Some(SLOT_REFUTED), ..slot });
        assert!(is_over(&board, &id, 0));
    }
}
