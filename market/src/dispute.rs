//! Disputes about submissions: what stands, and the moves of both sides.
//!
//! | who | what | with |
//! | --- | --- | --- |
//! | anybody | see challenges and the leaves that were posted | [`Board::challenges`](crate::board::Board::challenges) |
//! | challenger | dispute a submission | [`open`] |
//! | client | show the leaves of the level in dispute | [`post_leaves`] |
//! | challenger | name the first wrong one ([`first_wrong`]) | [`choose`] |
//! | anybody | end it by the arbitrator's answer ([`answer`]) | [`resolve`] |
//! | anybody | end it because somebody was silent | [`conclude`] |
//!
//! Each move first asks the contract how the challenge stands, and does nothing when the move is not wanted (any more): a
//! program that was killed, or that is late, repeats it without harm. A move that is on its way is in the journal under a
//! name of its own, so that it is sent once ([`Sender::send`]).
//!
//! What the contract does is in `docs/src/reference/market.md`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use alloy::primitives::{Address, B256, U256};
use alloy::rpc::types::Log;
use alloy::sol_types::SolEvent;
use anyhow::{Context, bail};
use fedmkt_contracts::committee::Committee::CommitteeInstance;
use fedmkt_contracts::disputes::Disputes::{ChallengeEnded, ChallengeOpened, LeavesPosted, LeavesWanted, RulingWanted};
use fedmkt_contracts::disputes::{self, Question};
use fedmkt_contracts::market::{Run, Terms};
use fedmkt_contracts::{ids, submission};
use fedmkt_core::roots::StateRoot;
use fedmkt_core::trace::{FAN_OUT, Level, level_root};
use serde::{Deserialize, Serialize};

use crate::board::{Job, Slot};
use crate::chain::Chain;
use crate::send::{Sender, allow};

/// What a challenge says. The numbers are those of the contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One step of the run does not lead where the trace says.
    Step,
    /// The encrypted results cannot be had, or are not what the last state says.
    Results,
    /// The capsule that was published or disclosed cannot be had, or has another root.
    Capsule,
}

impl Kind {
    const ALL: [(Self, &str); 3] = [(Self::Step, "step"), (Self::Results, "results"), (Self::Capsule, "capsule")];

    /// The kind with this number.
    pub fn of(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).map(|(kind, _)| *kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Self::ALL[*self as usize].1)
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(kind, _)| *kind).ok_or_else(|| format!("{text:?} is none of step, results and capsule"))
    }
}

/// How a challenge stands. From [`Self::Won`] on it has ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum State {
    /// The client is to post the leaves of a level.
    WantsLeaves,
    /// The challenger is to name the first wrong one.
    WantsChoice,
    /// The arbitrator is to answer.
    WantsRuling,
    /// The submission is refuted.
    Won,
    /// The challenger has lost its bond.
    Lost,
    /// The arbitrator could not say, or not in time.
    Undecided,
    /// The slot ended otherwise.
    Void,
}

impl State {
    const ALL: [(Self, &str); 7] = [
        (Self::WantsLeaves, "wants leaves"),
        (Self::WantsChoice, "wants a choice"),
        (Self::WantsRuling, "wants a ruling"),
        (Self::Won, "won"),
        (Self::Lost, "lost"),
        (Self::Undecided, "undecided"),
        (Self::Void, "void"),
    ];

    /// The state with the contract's number; `None` for a challenge that is not there.
    pub fn of(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).map(|(state, _)| *state)
    }

    /// Whether the challenge has ended.
    pub fn has_ended(self) -> bool {
        self >= Self::Won
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Self::ALL[*self as usize].1)
    }
}

/// A challenge, as the events tell it.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// Names it in the market.
    pub id: B256,
    /// Of which slot.
    pub slot: B256,
    /// Who put up the bond.
    pub challenger: Address,
    /// What it says.
    pub kind: Kind,
    /// The block in which it was opened.
    pub block: u64,
    /// How it stands.
    pub state: State,
    /// Until when the move or the ruling that is wanted can come, in seconds since 1970.
    pub deadline: u64,
    /// The steps in dispute and how they are cut, of kind step; a single step when a ruling is wanted.
    pub level: Option<Level>,
    /// The state before the level.
    pub state_in: StateRoot,
    /// The state after the level, as the client says.
    pub state_out: StateRoot,
    /// The leaves of the level, once they are posted; empty again when the challenge has ended.
    pub leaves: Vec<StateRoot>,
    /// What the arbitrator is asked, and who it is.
    pub question: Option<(Address, Question)>,
    /// Whether the arbitrator has ended it; and the state that it said the step leads to.
    pub ruling: Option<StateRoot>,
}

/// Changes what stands by an event of the contract for disputes.
///
/// # Errors
/// With the name of what cannot be.
pub(crate) fn apply(
    challenges: &mut BTreeMap<B256, Challenge>,
    log: &Log,
    block: u64,
    has_slot: impl Fn(&B256) -> bool,
) -> Result<(), &'static str> {
    let data = &log.inner;
    let level_of =
        |level: &disputes::Disputes::Level| Level { first: level.first, steps: level.steps, part: level.part };
    match log.topic0() {
        Some(&ChallengeOpened::SIGNATURE_HASH) => {
            let event = ChallengeOpened::decode_log(data).map_err(|_| "a challenge")?.data;
            if !has_slot(&event.slot) {
                return Err("a challenge of an unknown slot");
            }
            let challenge = Challenge {
                id: event.challenge,
                slot: event.slot,
                challenger: event.challenger,
                kind: Kind::of(event.kind).ok_or("a challenge of an unknown kind")?,
                block,
                state: State::WantsRuling,
                deadline: 0,
                level: None,
                state_in: StateRoot::default(),
                state_out: StateRoot::default(),
                leaves: Vec::new(),
                question: None,
                ruling: None,
            };
            challenges.insert(challenge.id, challenge);
        }
        Some(&LeavesWanted::SIGNATURE_HASH) => {
            let event = LeavesWanted::decode_log(data).map_err(|_| "a level")?.data;
            let challenge = challenges.get_mut(&event.challenge).ok_or("an unknown challenge")?;
            challenge.state = State::WantsLeaves;
            challenge.deadline = event.until.to();
            challenge.level = Some(level_of(&event.level));
            (challenge.state_in, challenge.state_out) = (StateRoot(event.stateIn.0), StateRoot(event.stateOut.0));
            challenge.leaves.clear();
        }
        Some(&LeavesPosted::SIGNATURE_HASH) => {
            let event = LeavesPosted::decode_log(data).map_err(|_| "leaves")?.data;
            let challenge = challenges.get_mut(&event.challenge).ok_or("an unknown challenge")?;
            let leaves: Vec<StateRoot> = event.leaves.iter().map(|leaf| StateRoot(leaf.0)).collect();
            if leaves.len() as u64 > FAN_OUT || level_root(&leaves).0 != event.levelRoot.0 {
                return Err("leaves under another root");
            }
            (challenge.state, challenge.deadline, challenge.leaves) = (State::WantsChoice, event.until.to(), leaves);
        }
        Some(&RulingWanted::SIGNATURE_HASH) => {
            let event = RulingWanted::decode_log(data).map_err(|_| "a question")?.data;
            let challenge = challenges.get_mut(&event.challenge).ok_or("an unknown challenge")?;
            (challenge.state, challenge.deadline) = (State::WantsRuling, event.until.to());
            if let (Kind::Step, Some(level)) = (challenge.kind, challenge.level) {
                let step = event.question.step;
                let index = level.ends().position(|end| end == step + 1);
                let leaf =
                    index.and_then(|index| challenge.leaves.get(index)).ok_or("a question about another step")?;
                challenge.state_out = *leaf;
                challenge.level = Some(Level { first: step, steps: 1, part: 1 });
            }
            challenge.state_in = StateRoot(event.question.stateIn.0);
            challenge.question = Some((event.arbitrator, event.question));
        }
        Some(&ChallengeEnded::SIGNATURE_HASH) => {
            let event = ChallengeEnded::decode_log(data).map_err(|_| "the end of a challenge")?.data;
            let challenge = challenges.get_mut(&event.challenge).ok_or("an unknown challenge")?;
            challenge.state = State::of(event.ending).filter(|state| state.has_ended()).ok_or("an unknown ending")?;
            challenge.ruling = event.ruled.then_some(StateRoot(event.stateOut.0));
            challenge.leaves = Vec::new();
        }
        _ => {}
    }
    Ok(())
}

/// Whether a move was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moved {
    /// It counts.
    Yes,
    /// It was not wanted: this is how the challenge stands. Somebody was faster, it was made before, or it has ended.
    NotWanted(State),
}

/// How a challenge stands in the contract, now.
///
/// # Errors
/// When there is no such challenge, or the chain does not answer.
pub fn standing(chain: &Chain, id: B256) -> anyhow::Result<(State, disputes::Challenge)> {
    let found = chain.call(chain.disputes().getChallenge(id))?;
    let state = State::of(found.state).with_context(|| format!("there is no challenge {id} in this market"))?;
    Ok((state, found))
}

/// Makes a move if the challenge is in the state `wanted`.
fn make(sender: &Sender<'_>, id: B256, wanted: State, name: &str, call: Vec<u8>) -> anyhow::Result<Moved> {
    let sent = sender.send(name, sender.chain.disputes, call);
    if let Err(error) = sent {
        // Somebody else may have done it, or the challenge has ended meanwhile.
        return match standing(sender.chain, id)?.0 {
            state if state == wanted => Err(error),
            state => Ok(Moved::NotWanted(state)),
        };
    }
    Ok(Moved::Yes)
}

/// Disputes the submission of a slot: lets the market take the job's challenge bond and opens a challenge, whose id it gives.
/// A challenge of this kind by the same account that has not ended is gone on with.
///
/// Whether it is the sender's own money that is at stake, and how much ([`Terms::challengeBond`]), is for the caller to
/// tell its user first.
///
/// # Errors
/// When the slot has no submission, it cannot be challenged in this way or any more, or the account has not enough.
pub fn open(sender: &Sender<'_>, job: &Job, slot: &Slot, kind: Kind) -> anyhow::Result<B256> {
    let chain = sender.chain;
    let (run, _) = slot.submission.as_ref().with_context(|| format!("slot {} has no submission", slot.id))?;
    let name = format!("challenge {} {kind}", slot.id);
    // First: what is in a block by now is found below.
    sender.do_again(&name)?;
    let count = chain.call(chain.disputes().challengeCount(slot.id))?;
    for number in 0..count.saturating_to::<u64>() {
        let id = ids::challenge_id(slot.id, sender.address(), number);
        let found = chain.call(chain.disputes().getChallenge(id))?;
        let goes_on = State::of(found.state).is_some_and(|state| !state.has_ended());
        if goes_on && found.kind == kind as u8 {
            return Ok(id);
        }
    }
    allow(sender, job.terms.token, U256::from(job.terms.challengeBond))?;
    let call = chain.disputes().open(slot.id, run.clone().into(), kind as u8).calldata().to_vec();
    let receipt = sender.send(&name, chain.disputes, call)?;
    let opened = receipt.logs().iter().filter(|log| log.address() == chain.disputes);
    let opened = opened.filter_map(|log| ChallengeOpened::decode_log(&log.inner).ok()).next();
    Ok(opened.context("the node gives a receipt without the challenge's event")?.challenge)
}

/// Posts the leaves of the level in dispute: the state roots at [`Level::ends`]. For the client; those of the top level can be
/// posted by anybody.
///
/// # Errors
/// When these are not leaves of the level: their number is another one, the last is not the state that the level above
/// says, or, at the top, they are not those under the trace root. Nothing is sent then.
pub fn post_leaves(sender: &Sender<'_>, id: B256, leaves: &[StateRoot]) -> anyhow::Result<Moved> {
    let chain = sender.chain;
    let (state, found) = standing(chain, id)?;
    if state != State::WantsLeaves {
        return Ok(Moved::NotWanted(state));
    }
    let level = Level { first: found.level.first, steps: found.level.steps, part: found.level.part };
    if leaves.len() as u64 != level.parts() {
        bail!("{} leaves were computed, challenge {id} wants {}", leaves.len(), level.parts());
    }
    let last = leaves.last().context("a level has parts")?;
    if last.0 != found.stateOut.0 {
        bail!("step {} leads to {last}, but what was submitted says {}", level.first + level.steps, found.stateOut);
    }
    if found.top && level_root(leaves).0 != found.levelRoot.0 {
        bail!("these are not the leaves of the trace that was submitted: its root is {}", found.levelRoot);
    }
    let call: Vec<B256> = leaves.iter().map(|leaf| leaf.0.into()).collect();
    let call = chain.disputes().postLeaves(id, call).calldata().to_vec();
    make(sender, id, state, &format!("leaves {id} {} {}", level.first, level.steps), call)
}

/// The first leaf that is not what was computed. `own` may end earlier when the run does: states after the last are the same
/// as the last. `None` when all are right, or nothing was computed.
pub fn first_wrong(posted: &[StateRoot], own: &[StateRoot]) -> Option<usize> {
    let last = own.last()?;
    posted.iter().enumerate().position(|(index, leaf)| leaf != own.get(index).unwrap_or(last))
}

/// Names the first wrong leaf of the level that was posted. For the challenger; `run` is what was submitted, `leaves` what
/// was posted ([`Challenge::leaves`]).
///
/// The challenge then wants the leaves of that part; or, if the part is a single step, the arbitrator's answer.
///
/// # Errors
/// When there is no such leaf, these are not the leaves that were posted, or the sender is not the challenger.
pub fn choose(sender: &Sender<'_>, run: &Run, id: B256, leaves: &[StateRoot], index: usize) -> anyhow::Result<Moved> {
    let chain = sender.chain;
    let (state, found) = standing(chain, id)?;
    if state != State::WantsChoice {
        return Ok(Moved::NotWanted(state));
    }
    if leaves.len() as u64 > FAN_OUT || level_root(leaves).0 != found.levelRoot.0 {
        bail!("these are not the leaves that were posted in challenge {id}: read its events again");
    }
    if index >= leaves.len() {
        bail!("there is no leaf {index}: the level of challenge {id} has {}", leaves.len());
    }
    let choice = submission::choice(leaves, index, StateRoot(found.stateIn.0));
    let call = chain.disputes().choose(id, run.clone().into(), choice).calldata().to_vec();
    make(sender, id, state, &format!("choose {id} {} {}", found.level.first, found.level.steps), call)
}

/// What an arbitrator says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict", content = "state_out")]
pub enum Answer {
    /// The step leads to this state.
    Executed(StateRoot),
    /// The client is right.
    ClientRight,
    /// The client is wrong.
    ClientWrong,
    /// It cannot be said.
    Undecided,
}

impl Answer {
    /// The answer with the contract's number of the verdict; `None` as long as there is none.
    pub fn of(verdict: u8, state_out: B256) -> Option<Self> {
        Some(match verdict {
            0 => return None,
            1 => Self::Executed(StateRoot(state_out.0)),
            2 => Self::ClientRight,
            3 => Self::ClientWrong,
            _ => Self::Undecided,
        })
    }

    /// The contract's number of the verdict.
    pub fn verdict(self) -> u8 {
        match self {
            Self::Executed(_) => 1,
            Self::ClientRight => 2,
            Self::ClientWrong => 3,
            Self::Undecided => 4,
        }
    }

    /// The state after the step if it was executed, else zero.
    pub fn state_out(self) -> B256 {
        if let Self::Executed(state) = self { state.0.into() } else { B256::ZERO }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Executed(state) => write!(f, "the step leads to {state}"),
            Self::ClientRight => f.write_str("the client is right"),
            Self::ClientWrong => f.write_str("the client is wrong"),
            Self::Undecided => f.write_str("it cannot be said"),
        }
    }
}

/// What the arbitrator has answered in a challenge that wants a ruling; `None` if nothing yet, or no ruling is wanted.
///
/// # Errors
/// When the arbitrator or the chain does not answer.
pub fn answer(chain: &Chain, terms: &Terms, id: B256) -> anyhow::Result<Option<Answer>> {
    let (state, found) = standing(chain, id)?;
    if state != State::WantsRuling {
        return Ok(None);
    }
    // All arbitrators answer in this way.
    let arbitrator = CommitteeInstance::new(terms.arbitrator, chain.node().clone());
    let answer = chain.call(arbitrator.answer(found.question)).context("asking the arbitrator")?;
    Ok(Answer::of(answer.verdict, answer.stateOut))
}

/// Ends a challenge by what the arbitrator has answered. Anybody.
///
/// # Errors
/// When it has not answered, or the time for that has passed.
pub fn resolve(sender: &Sender<'_>, id: B256) -> anyhow::Result<Moved> {
    let (state, _) = standing(sender.chain, id)?;
    if state != State::WantsRuling {
        return Ok(Moved::NotWanted(state));
    }
    make(sender, id, state, &format!("resolve {id}"), sender.chain.disputes().resolve(id).calldata().to_vec())
}

/// Ends a challenge in which somebody has let the time pass, or whose slot has ended otherwise. Anybody.
///
/// # Errors
/// When its time has not passed.
pub fn conclude(sender: &Sender<'_>, id: B256) -> anyhow::Result<Moved> {
    let (state, _) = standing(sender.chain, id)?;
    if state.has_ended() {
        return Ok(Moved::NotWanted(state));
    }
    make(sender, id, state, &format!("conclude {id}"), sender.chain.disputes().conclude(id).calldata().to_vec())
}

/// What defending one challenge takes of a client at worst.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Effort {
    /// How often leaves must be posted.
    pub moves: u64,
    /// Gas of all that.
    pub gas: u64,
    /// Seconds from opening to the end, everybody taking all the time that there is.
    pub seconds: u64,
}

/// Gas of posting leaves: of a transaction, and for each leaf. `contracts/snapshots/` has what 256 of them cost.
const POST_GAS: u64 = 60_000;
const LEAF_GAS: u64 = 1_300;

impl Effort {
    /// For a run of at most so many steps.
    pub fn of(terms: &Terms, most_steps: u64) -> Self {
        let part = terms.stepsPerSegment.max(1);
        let mut level = Some(Level::top(most_steps.max(1), part));
        let (mut moves, mut gas) = (0, 0);
        while let Some(this) = level {
            moves += 1;
            gas += POST_GAS + LEAF_GAS * this.parts().min(FAN_OUT);
            // The first part of a level is as long as any.
            level = this.below(0);
        }
        let seconds = 2 * moves * u64::from(terms.moveTime) + u64::from(terms.arbitrationTime);
        Self { moves, gas, seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(numbers: &[u8]) -> Vec<StateRoot> {
        numbers.iter().map(|number| StateRoot([*number; 32])).collect()
    }

    #[test]
    fn the_first_wrong_leaf_is_found() {
        let posted = roots(&[1, 2, 3, 4]);
        assert_eq!(first_wrong(&posted, &posted), None);
        assert_eq!(first_wrong(&posted, &roots(&[1, 2, 9, 9])), Some(2));
        assert_eq!(first_wrong(&posted, &roots(&[9])), Some(0));
        assert_eq!(first_wrong(&posted, &[]), None, "nothing was computed");
        // The run ends earlier than was posted: its last state goes on.
        assert_eq!(first_wrong(&posted, &roots(&[1, 2])), Some(2));
        assert_eq!(first_wrong(&roots(&[1, 2, 2]), &roots(&[1, 2])), None);
    }

    #[test]
    fn the_effort_grows_with_the_levels_of_the_trace() {
        let terms = |part| Terms { stepsPerSegment: part, moveTime: 10, arbitrationTime: 7, ..Terms::default() };
        // Steps are leaves of the top level.
        assert_eq!(Effort::of(&terms(1), 200), Effort { moves: 1, gas: 320_000, seconds: 27 });
        // 100 segments of 7 steps.
        assert_eq!(Effort::of(&terms(7), 700), Effort { moves: 2, gas: 120_000 + 107 * 1_300, seconds: 47 });
        assert_eq!(Effort::of(&terms(70_000), 1_000_001).moves, 4);
        assert_eq!(Effort::of(&terms(0), 0).moves, 1, "nonsense is no harm");
    }

    #[test]
    fn kinds_and_states_have_the_numbers_of_the_contract() {
        for (code, kind) in [(0, "step"), (1, "results"), (2, "capsule")] {
            let found = Kind::of(code).expect("a kind");
            assert_eq!((found as u8, found.to_string(), kind.parse()), (code, kind.into(), Ok(found)));
        }
        assert_eq!(Kind::of(3), None);
        assert!("Step".parse::<Kind>().is_err());
        for (code, name) in [(1, "the step leads to"), (2, "right"), (3, "wrong"), (4, "cannot be said")] {
            let answer = Answer::of(code, B256::repeat_byte(7)).expect("an answer");
            assert!(answer.verdict() == code && answer.to_string().contains(name), "{answer}");
            assert_eq!(answer.state_out(), if code == 1 { B256::repeat_byte(7) } else { B256::ZERO });
        }
        assert_eq!(Answer::of(0, B256::ZERO), None);
        assert_eq!((State::of(0), State::of(8)), (None, None));
        for (code, state) in [(1, State::WantsLeaves), (3, State::WantsRuling), (4, State::Won), (7, State::Void)] {
            assert_eq!(State::of(code), Some(state));
            assert_eq!(state.has_ended(), code >= 4);
        }
    }
}
