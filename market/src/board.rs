//! What stands in the market: jobs, slots and challenges, rebuilt from events alone.
//!
//! Events of blocks that are deep enough are kept in `market/CHAIN-ADDRESS.redb` of the home, so that only new ones are
//! asked for. The file can be deleted at any time. If the chain has another block where events were kept up to, all are
//! asked for again; if the node has none there it is behind, and nothing is read from it. A [`Follower`] keeps in memory what those events come to, for programs that look again and again.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use alloy::eips::BlockNumberOrTag;
use alloy::primitives::{Address, B256, U256};
use alloy::providers::Provider;
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::SolEvent;
use alloy::transports::RpcError;
use anyhow::{Context, anyhow, bail};
use cid::Cid;
use fedmkt_contracts::disputes::Disputes::{ChallengeEnded, ChallengeOpened, LeavesPosted, LeavesWanted, RulingWanted};
use fedmkt_contracts::market::Market::{
    AuditDue, Disclosed, JobClosed, JobPosted, LotteryHeld, RunDrawn, SlotAccepted, SlotEnded, Submitted,
};
use fedmkt_contracts::market::{Run, Submission, Terms};
use fedmkt_contracts::{ids, terms};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::chain::{Chain, sentence};
use crate::dispute::{self, Challenge, State};
use crate::records::Records;
use crate::settings::Settings;
use crate::submission;
use fedmkt_runtime::message::note;

/// How deep a block must be for its events to be kept. Events above are asked for each time.
const DEEP: u64 = 64;

/// How many blocks are asked for at first, and at most. Nodes that take fewer say so, in many ways.
const FIRST_SPAN: u64 = 50_000;
const MOST_SPAN: u64 = 1_000_000;

/// State of a slot in the contract.
pub const ACCEPTED: u8 = 1;
/// State of a slot in the contract.
pub const SUBMITTED: u8 = 2;
/// State of a slot in the contract.
pub const PAID: u8 = 3;

/// State of an audit in the contract.
pub const AUDIT_DUE: u8 = 1;

/// A job that was posted.
#[derive(Clone, Debug)]
pub struct Job {
    /// Names it in the market.
    pub id: B256,
    /// Who posted it.
    pub sponsor: Address,
    /// What was posted.
    pub terms: Terms,
    /// The block in which it was posted.
    pub block: u64,
    /// Whether the sponsor has ended the acceptance of clients.
    pub closed: bool,
    /// Slots that can be accepted.
    pub open: u32,
}

impl Job {
    /// The job's CID.
    pub fn cid(&self) -> Cid {
        terms::job_cid(&self.terms)
    }

    /// Whether a client can still accept at this time.
    pub fn is_open(&self, now: u64) -> bool {
        !self.closed && self.open > 0 && self.terms.acceptUntil.to::<u64>() >= now
    }
}

/// A slot that a client took.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Names it in the market.
    pub id: B256,
    /// Of which job it is.
    pub job: B256,
    /// Who took it.
    pub client: Address,
    /// Root of the client's capsule.
    pub data_root: B256,
    /// Until when the client can submit, in seconds since 1970.
    pub submit_until: u64,
    /// The block in which it was accepted.
    pub block: u64,
    /// The run's id, once it is fixed on the chain.
    pub run_id: Option<B256>,
    /// What the client has submitted, and what the market keeps of it.
    pub submission: Option<(Run, Submission)>,
    /// Until when the submission can be challenged, in seconds since 1970.
    pub challenge_until: u64,
    /// Whether the audit lottery was held.
    pub lottery_held: bool,
    /// Until when the client must disclose its data, if it must and has not.
    pub disclose_until: Option<u64>,
    /// Whether an audit was asked for or drawn, disclosed or not.
    pub audited: bool,
    /// Who asked for an audit and put up a bond for it.
    pub requester: Option<Address>,
    /// The client's capsule, encrypted to the job's auditors, once it has disclosed it.
    pub disclosed: Option<Cid>,
    /// How it ended: the contract's number.
    pub ending: Option<u8>,
}

impl Slot {
    /// How a slot stands, in one word.
    pub fn state(&self) -> &'static str {
        match (self.ending, &self.submission) {
            (Some(PAID), _) => "paid",
            (Some(4), _) => "returned",
            (Some(5), _) => "abandoned",
            (Some(6), _) => "forfeited",
            (Some(7), _) => "silent",
            (Some(8), _) => "refuted",
            (Some(_), _) => "ended",
            (None, Some(_)) if self.disclose_until.is_some() => "audit due",
            (None, Some(_)) => "submitted",
            (None, None) => "accepted",
        }
    }
}

/// Jobs, slots and challenges, as far as the events go that were seen.
#[derive(Clone, Default, Debug)]
pub struct Board {
    /// All jobs, by their ids.
    pub jobs: BTreeMap<B256, Job>,
    /// All slots, by their ids.
    pub slots: BTreeMap<B256, Slot>,
    /// All challenges, by their ids.
    pub challenges: BTreeMap<B256, Challenge>,
    /// How many events it was rebuilt from.
    pub events: usize,
    /// The block up to which events were asked for.
    pub block: u64,
    /// The file in which events are kept.
    cache: PathBuf,
}

/// Up to where events are kept.
#[derive(Clone, Copy, Serialize, Deserialize, PartialEq, Eq, Debug)]
struct Kept {
    block: u64,
    hash: B256,
}

impl Board {
    /// Reads all events of the market.
    ///
    /// # Errors
    /// When the node does not give them, or gives what cannot be.
    pub fn read(chain: &Chain, settings: &Settings) -> anyhow::Result<Self> {
        Follower::new(chain, settings)?.read(chain)
    }

    fn apply(&mut self, chain: &Chain, log: &Log) -> anyhow::Result<()> {
        self.events += 1;
        let block = log.block_number.context("an event is in no block")?;
        let data = &log.inner;
        let strange =
            |what: &str| anyhow!("the node gives events that cannot be ({what} in block {block}): use another node");
        match log.topic0() {
            Some(&JobPosted::SIGNATURE_HASH) => {
                let event = JobPosted::decode_log(data).map_err(|_| strange("a job"))?.data;
                if ids::job_id(chain.id, chain.market, event.sponsor, &event.terms) != event.job {
                    return Err(strange("a job with another id"));
                }
                let open = event.terms.slots;
                let job = Job { id: event.job, sponsor: event.sponsor, terms: event.terms, block, closed: false, open };
                self.jobs.insert(job.id, job);
            }
            Some(&JobClosed::SIGNATURE_HASH) => {
                let event = JobClosed::decode_log(data).map_err(|_| strange("a closed job"))?.data;
                let job = self.jobs.get_mut(&event.job).ok_or_else(|| strange("an unknown job"))?;
                (job.closed, job.open) = (true, 0);
            }
            Some(&SlotAccepted::SIGNATURE_HASH) => {
                let event = SlotAccepted::decode_log(data).map_err(|_| strange("a slot"))?.data;
                let job = self.jobs.get_mut(&event.job).ok_or_else(|| strange("a slot of an unknown job"))?;
                job.open = job.open.saturating_sub(1);
                let slot = Slot {
                    id: event.slot,
                    job: event.job,
                    client: event.client,
                    data_root: event.dataRoot,
                    submit_until: event.submitUntil.to(),
                    block,
                    run_id: None,
                    submission: None,
                    challenge_until: 0,
                    lottery_held: false,
                    disclose_until: None,
                    audited: false,
                    requester: None,
                    disclosed: None,
                    ending: None,
                };
                self.slots.insert(slot.id, slot);
            }
            Some(&RunDrawn::SIGNATURE_HASH) => {
                let event = RunDrawn::decode_log(data).map_err(|_| strange("a run"))?.data;
                self.slot_mut(event.slot).ok_or_else(|| strange("an unknown slot"))?.run_id = Some(event.runId);
            }
            Some(&Submitted::SIGNATURE_HASH) => {
                let event = Submitted::decode_log(data).map_err(|_| strange("a submission"))?.data;
                let slot = self.slot_mut(event.slot).ok_or_else(|| strange("an unknown slot"))?;
                slot.challenge_until = event.challengeUntil.to();
                slot.submission = Some((event.run, event.submission));
            }
            Some(&LotteryHeld::SIGNATURE_HASH) => {
                let event = LotteryHeld::decode_log(data).map_err(|_| strange("a lottery"))?.data;
                self.slot_mut(event.slot).ok_or_else(|| strange("an unknown slot"))?.lottery_held = true;
            }
            Some(&AuditDue::SIGNATURE_HASH) => {
                let event = AuditDue::decode_log(data).map_err(|_| strange("an audit"))?.data;
                let slot = self.slot_mut(event.slot).ok_or_else(|| strange("an unknown slot"))?;
                (slot.disclose_until, slot.audited) = (Some(event.discloseUntil.to()), true);
                // The lottery is nobody.
                slot.requester = Some(event.requester).filter(|requester| !requester.is_zero());
            }
            Some(&Disclosed::SIGNATURE_HASH) => {
                let event = Disclosed::decode_log(data).map_err(|_| strange("a disclosure"))?.data;
                let slot = self.slot_mut(event.slot).ok_or_else(|| strange("an unknown slot"))?;
                (slot.disclose_until, slot.challenge_until) = (None, event.challengeUntil.to());
                slot.disclosed = submission::cid_of(&event.capsule);
            }
            Some(&SlotEnded::SIGNATURE_HASH) => {
                let event = SlotEnded::decode_log(data).map_err(|_| strange("the end of a slot"))?.data;
                self.slot_mut(event.slot).ok_or_else(|| strange("an unknown slot"))?.ending = Some(event.ending);
                let job = self.jobs.get_mut(&event.job).ok_or_else(|| strange("an unknown job"))?;
                if event.ending != PAID && !job.closed {
                    job.open += 1;
                }
            }
            _ => {
                let slots = &self.slots;
                dispute::apply(&mut self.challenges, log, block, |slot| slots.contains_key(slot)).map_err(strange)?;
            }
        }
        Ok(())
    }

    fn slot_mut(&mut self, id: B256) -> Option<&mut Slot> {
        self.slots.get_mut(&id)
    }

    /// The job that a person means: its id, or a CID under which exactly one job can still be accepted, or was posted.
    ///
    /// # Errors
    /// When there is none, or several, or the node keeps it back.
    pub fn job(&self, chain: &Chain, reference: &Reference) -> anyhow::Result<&Job> {
        let cid = match reference {
            Reference::Id(id) => {
                return match self.jobs.get(id) {
                    Some(job) => Ok(job),
                    None if chain.has_job(*id, self.block.into())? => Err(self.unseen(&format!("job {id}"))),
                    None => bail!("there is no job {id} in this market"),
                };
            }
            Reference::Cid(cid) => cid,
        };
        let now = chain.latest()?.time;
        let posted: Vec<&Job> = self.jobs.values().filter(|job| job.cid() == *cid).collect();
        let open: Vec<&&Job> = posted.iter().filter(|job| job.is_open(now)).collect();
        match (&open[..], &posted[..]) {
            ([job], _) => Ok(job),
            ([], [job]) => Ok(job),
            (_, []) => bail!("nobody has posted {cid} in this market"),
            _ => {
                let ids: Vec<String> = posted.iter().map(|job| job.id.to_string()).collect();
                bail!("{cid} was posted more than once: name one of\n  {}", ids.join("\n  "))
            }
        }
    }

    /// A slot of this market.
    ///
    /// # Errors
    /// When there is none, or the node keeps it back.
    pub fn slot(&self, chain: &Chain, id: B256) -> anyhow::Result<&Slot> {
        match self.slots.get(&id) {
            Some(slot) => Ok(slot),
            None if self.lacks(chain, id)? => Err(self.unseen(&format!("slot {id}"))),
            None => bail!("there is no slot {id} in this market"),
        }
    }

    /// Compares the board with slots that were written down when they were taken.
    ///
    /// # Errors
    /// When the chain has one of which no event came.
    pub fn must_have(&self, chain: &Chain, slots: impl IntoIterator<Item = B256>) -> anyhow::Result<()> {
        slots.into_iter().filter(|id| !self.slots.contains_key(id)).try_for_each(|id| match self.lacks(chain, id)? {
            true => Err(self.unseen(&format!("slot {id}"))),
            false => Ok(()),
        })
    }

    /// Whether the chain had this slot where the events end. One that is taken later is no sign of anything.
    fn lacks(&self, chain: &Chain, id: B256) -> anyhow::Result<bool> {
        Ok(chain.call(chain.market().getSlot(id).block(self.block.into()))?.state != 0)
    }

    /// Compares what the events say of a slot with what the contract says of it, where the events end. What is wrong, if something
    /// is: if it is so once more at a later block, the node keeps something back ([`Self::kept_back`]). Before, events may be on
    /// their way, or the chain was reorganised.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn difference(&self, chain: &Chain, id: B256) -> anyhow::Result<Option<String>> {
        let (market, at) = (chain.market(), self.block.into());
        let found = chain.call(market.getSlot(id).block(at))?;
        let audit = chain.call(market.getAudit(id).block(at))?;
        let open = chain.call(market.openChallenges(id).block(at))?;
        let Some(slot) = self.slots.get(&id) else {
            return Ok((found.state != 0).then(|| format!("slot {id} is there, and no event of it came")));
        };
        let (state, deadline) = match &slot.submission {
            None => (ACCEPTED, slot.submit_until),
            Some(_) => (SUBMITTED, slot.challenge_until),
        };
        let mut challenges = self.challenges_of(id);
        challenges.retain(|challenge| !challenge.state.has_ended());
        let mut agrees = found.state == slot.ending.unwrap_or(state)
            && found.deadline.to::<u64>() == deadline
            && (audit.state == AUDIT_DUE) == slot.disclose_until.is_some()
            && open == U256::from(challenges.len());
        for challenge in challenges {
            let found = chain.call(chain.disputes().getChallenge(challenge.id).block(at))?;
            agrees &=
                State::of(found.state) == Some(challenge.state) && found.deadline.to::<u64>() == challenge.deadline;
        }
        Ok((!agrees).then(|| format!("slot {id} stands otherwise than its events say")))
    }

    /// The market has something of which no event came.
    fn unseen(&self, what: &str) -> anyhow::Error {
        self.kept_back(&format!("the market has {what}, and no event of it came"))
    }

    /// This node, or one that was asked before, gave less than there is. What is kept is of no use.
    pub fn kept_back(&self, why: &str) -> anyhow::Error {
        let hint = match std::fs::remove_file(&self.cache) {
            Ok(()) => "What was kept is thrown away, and asked for again the next time".to_owned(),
            Err(_) => format!("Delete {}, so that it is asked for again", self.cache.display()),
        };
        anyhow!(
            "a node keeps events back: {why}. {hint}; if this comes again, use another node, or set `from-block` to an earlier \
             block"
        )
    }

    /// The challenges of a slot, in the order in which they were opened.
    pub fn challenges_of(&self, slot: B256) -> Vec<&Challenge> {
        let mut found: Vec<_> = self.challenges.values().filter(|challenge| challenge.slot == slot).collect();
        found.sort_by_key(|challenge| (challenge.block, challenge.id));
        found
    }

    /// The slots of a job.
    pub fn slots_of(&self, job: B256) -> impl Iterator<Item = &Slot> {
        self.slots.values().filter(move |slot| slot.job == job)
    }
}

/// Reads the board again and again. What is deep is kept in memory and on disk, only what is new is asked for.
///
/// The file is open only while events are read, so that other programs can use the same home.
#[derive(Debug)]
pub struct Follower {
    cache: PathBuf,
    /// What the events up to `upto` come to.
    deep: Board,
    upto: Option<Kept>,
}

/// The name of the record that says up to where events are kept. Before challenges were, it had another one.
const KEPT: &str = "kept with challenges";

impl Follower {
    /// Has read nothing yet.
    ///
    /// # Errors
    /// When the folder of the file cannot be made.
    pub fn new(chain: &Chain, settings: &Settings) -> anyhow::Result<Self> {
        let folder = settings.home.path().join("market");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let cache = folder.join(format!("{}-{:#x}.redb", chain.id, chain.market));
        Ok(Self { cache, deep: Board::default(), upto: None })
    }

    /// The board up to the latest block.
    ///
    /// # Errors
    /// When the node does not give the events, or gives what cannot be. The next call begins anew.
    pub fn read(&mut self, chain: &Chain) -> anyhow::Result<Board> {
        let read = self.try_read(chain);
        if read.is_err() {
            // It may have seen a part.
            (self.deep, self.upto) = (Board::default(), None);
        }
        read
    }

    fn try_read(&mut self, chain: &Chain) -> anyhow::Result<Board> {
        let path = &self.cache;
        let cache = Records::open(path).with_context(|| format!("{} can be deleted", path.display()))?;
        let latest = chain.latest()?;
        let kept: Option<Kept> = cache.get(KEPT)?;
        // Another program may have come farther. But one that has less began anew, or the file was deleted: what is
        // added now would stand behind a hole.
        if let Some(upto) = self.upto
            && kept.is_none_or(|kept| kept != upto && kept.block <= upto.block)
        {
            (self.deep, self.upto) = (Board::default(), None);
        }
        if let Some(before) = self.upto.or(kept) {
            let there = chain.block(BlockNumberOrTag::Number(before.block))?.with_context(|| {
                format!(
                    "the node is behind: it does not have block {}, which was seen before. If the chain began anew, \
                     delete {}",
                    before.block,
                    path.display()
                )
            })?;
            if there.hash == before.hash {
                if self.upto.is_none() {
                    for (_, log) in cache.all::<Log>("log/")? {
                        // A program that was killed may have kept events of more blocks than it says.
                        if log.block_number.is_some_and(|block| block <= before.block) {
                            self.deep.apply(chain, &log)?;
                        }
                    }
                    self.upto = Some(before);
                }
            } else {
                note("Notice: the chain was reorganised, or is another one. All events are read again.");
                cache.clear()?;
                (self.deep, self.upto) = (Board::default(), None);
            }
        }
        let first = self.upto.map_or(chain.from_block, |upto| chain.from_block.max(upto.block + 1));
        let bar = progress(first, latest.number);
        let deep = latest.number.saturating_sub(DEEP);
        let (mut from, mut span, mut young) = (first, FIRST_SPAN, Vec::new());
        while from <= latest.number {
            let mut to = from.saturating_add(span - 1).min(latest.number);
            if from <= deep {
                to = to.min(deep);
            }
            let Some(logs) = logs(chain, from, to)? else {
                if span == 1 {
                    bail!("the node does not give the events of block {from}");
                }
                span = (span / 4).max(1);
                continue;
            };
            if to <= deep {
                let records: Vec<_> = logs.iter().map(|log| (record_name(log), log)).collect();
                cache.put_all(&records)?;
                let hash = chain.block(BlockNumberOrTag::Number(to))?.context("the node lost a block")?.hash;
                let upto = Kept { block: to, hash };
                // Another program may have come farther.
                if cache.get::<Kept>(KEPT)?.is_none_or(|kept| kept.block < to) {
                    cache.put(KEPT, &upto)?;
                }
                logs.iter().try_for_each(|log| self.deep.apply(chain, log))?;
                self.upto = Some(upto);
            } else {
                young.extend(logs);
            }
            bar.set_position(to + 1 - first);
            from = to + 1;
            span = (span * 2).min(MOST_SPAN);
        }
        bar.finish_and_clear();
        let mut board = self.deep.clone();
        (board.block, board.cache) = (latest.number, path.clone());
        young.iter().try_for_each(|log| board.apply(chain, log))?;
        Ok(board)
    }
}

/// A job, as a person names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reference {
    /// Its id in the market.
    Id(B256),
    /// The CID of its manifest.
    Cid(Cid),
}

impl std::str::FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("0x") {
            let id = text.parse().map_err(|_| format!("{text:?} is no id of a job: 0x and 64 hexadecimal digits"))?;
            return Ok(Self::Id(id));
        }
        fedmkt_store::parse_cid(text).map(Self::Cid).map_err(|error| error.to_string())
    }
}

/// The events of some blocks; `None` if the node does not give that many.
fn logs(chain: &Chain, from: u64, to: u64) -> anyhow::Result<Option<Vec<Log>>> {
    let events = vec![
        JobPosted::SIGNATURE_HASH,
        JobClosed::SIGNATURE_HASH,
        SlotAccepted::SIGNATURE_HASH,
        RunDrawn::SIGNATURE_HASH,
        Submitted::SIGNATURE_HASH,
        LotteryHeld::SIGNATURE_HASH,
        AuditDue::SIGNATURE_HASH,
        Disclosed::SIGNATURE_HASH,
        SlotEnded::SIGNATURE_HASH,
        ChallengeOpened::SIGNATURE_HASH,
        LeavesWanted::SIGNATURE_HASH,
        LeavesPosted::SIGNATURE_HASH,
        RulingWanted::SIGNATURE_HASH,
        ChallengeEnded::SIGNATURE_HASH,
    ];
    let contracts = vec![chain.market, chain.disputes];
    let filter = Filter::new().address(contracts.clone()).from_block(from).to_block(to).event_signature(events);
    match chain.wait(chain.node().get_logs(&filter)) {
        Ok(logs) => {
            let fits = |log: &Log| {
                contracts.contains(&log.address())
                    && !log.removed
                    && log.log_index.is_some()
                    && log.block_number.is_some_and(|block| (from..=to).contains(&block))
            };
            if !logs.iter().all(fits) {
                bail!("the node gives events that nobody asked for: use another node");
            }
            Ok(Some(logs))
        }
        // Too many blocks or events: each kind of node has words of its own for it. Answers may be too long to come in time, too.
        Err(RpcError::ErrorResp(_) | RpcError::Transport(_) | RpcError::DeserError { .. }) if to > from => Ok(None),
        Err(error) => Err(sentence(&error)),
    }
}

fn record_name(log: &Log) -> String {
    format!("log/{:016x}/{:08x}", log.block_number.unwrap_or(0), log.log_index.unwrap_or(0))
}

fn progress(first: u64, latest: u64) -> ProgressBar {
    let blocks = (latest + 1).saturating_sub(first);
    if !std::io::stderr().is_terminal() || blocks < FIRST_SPAN {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} block {pos} of {len}  {eta} left").expect("a template");
    let bar = ProgressBar::new(blocks).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_named_by_ids_and_cids() {
        let id = format!("0x{}", "ab".repeat(32));
        assert!(matches!(id.parse(), Ok(Reference::Id(_))));
        let cid = "bafyreigaknpexyvxt76zgkitavbwx6ejgfheup5oybpm77f3pxzrvwpfdi";
        assert!(matches!(cid.parse(), Ok(Reference::Cid(_))));
        assert!(matches!(format!("ipfs://{cid}").parse(), Ok(Reference::Cid(_))));
        for wrong in ["", "0x", "0x12", "job", "0xzz"] {
            assert!(wrong.parse::<Reference>().is_err(), "{wrong}");
        }
    }
}
