//! Challenges of this verifier: opened where something differs, narrowed down, ended.

use alloy::primitives::{B256, U256};
use alloy::rpc::types::Filter;
use alloy::sol_types::SolEvent;
use anyhow::Context;
use fedmkt_contracts::disputes::Disputes::LeavesPosted;
use fedmkt_contracts::disputes::{Challenge, Run};
use fedmkt_contracts::{ids, submission};
use fedmkt_core::roots::{StateRoot, TraceRoot};
use fedmkt_core::trace::{FAN_OUT, Level, trace_root};
use fedmkt_market::board::SUBMITTED;
use fedmkt_market::send::allow;
use fedmkt_runtime::message::sentence;

use super::database::{Challenged, Chosen, Finding};
use super::metrics::count;
use super::work::{Subject, Task};
use super::{View, Watcher};

/// The kind of challenges about a step, as the contract numbers it.
pub const STEP: u8 = 0;
/// The kind about the data.
pub const CAPSULE: u8 = 2;

/// The state of a challenge in which the challenger is to name a leaf, as the contract numbers it.
pub const WANTS_CHOICE: u8 = 2;
/// The state in which the arbitrator is to answer.
pub const WANTS_RULING: u8 = 3;
/// The state of a challenge that was won. From here on it has ended.
pub const WON: u8 = 4;
/// The state of a challenge that was lost.
pub const LOST: u8 = 5;

/// A choice that can be sent.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Which leaf.
    pub chosen: Chosen,
    /// The leaves that it is one of.
    pub leaves: Vec<StateRoot>,
}

/// How a challenge stands, in words.
pub fn state(number: u8) -> &'static str {
    const NAMES: [&str; 8] = [
        "not there",
        "the client is to post leaves",
        "the first wrong leaf is to be named",
        "the arbitrator is to answer",
        "won",
        "lost",
        "undecided",
        "void, as the slot ended otherwise",
    ];
    NAMES.get(usize::from(number)).copied().unwrap_or("unknown")
}

/// The level that a challenge is at.
fn level(challenge: &Challenge) -> Level {
    Level { first: challenge.level.first, steps: challenge.level.steps, part: challenge.level.part }
}

impl Watcher<'_> {
    /// Opens what is to be opened, and goes on with what is open.
    pub(super) fn challenges(&mut self, view: &View) -> anyhow::Result<()> {
        if self.place.policy.challenge.enabled {
            for checked in self.state.checked()? {
                let kind = match checked.finding {
                    Finding::Differs { .. } => STEP,
                    Finding::OtherData { .. } => CAPSULE,
                    _ => continue,
                };
                let Some(subject) = view.subject(checked.slot).filter(|_| checked.ending.is_none()) else { continue };
                if let Err(error) = self.open(view, &subject, kind) {
                    tracing::warn!(slot = %checked.slot, "cannot challenge: {}", sentence(&error));
                }
            }
        }
        for known in self.state.challenges()?.into_iter().filter(|known| known.state < WON) {
            let (challenge, slot) = (known.challenge, known.slot);
            if let Err(error) = self.go_on(view, known) {
                tracing::warn!(%slot, "challenge {challenge}: {}", sentence(&error));
            }
        }
        Ok(())
    }

    /// Opens a challenge, unless this verifier has one of this kind, or there is no time any more.
    fn open(&mut self, view: &View, subject: &Subject, kind: u8) -> anyhow::Result<()> {
        let slot = subject.slot;
        let known = self.state.challenges()?;
        if known.iter().any(|known| known.slot == slot && known.kind == kind) {
            return Ok(());
        }
        let disputes = self.chain.disputes();
        // The chain knows better than the database which challenges there are.
        let number: U256 = self.chain.call(disputes.challengeCount(slot))?;
        for number in 0..number.saturating_to::<u64>() {
            let challenge = ids::challenge_id(slot, self.account(), number);
            let found = self.chain.call(disputes.getChallenge(challenge))?;
            if found.state != 0 && found.kind == kind {
                let known = Challenged { challenge, slot, kind, choices: Vec::new(), state: found.state };
                return self.state.put_challenge(&known);
            }
        }
        let terms = &subject.terms;
        let on_chain = self.chain.call(self.chain.market().getSlot(slot))?;
        if on_chain.state != SUBMITTED || on_chain.deadline.to::<u64>() < view.block.time {
            return Ok(());
        }
        if !self.place.policy.may_bond(terms.challengeBond) {
            let bond = terms.challengeBond;
            tracing::warn!(%slot, "not challenged: the bond is {bond}, more than challenge.most-bond");
            return Ok(());
        }
        allow(&self.sender(), terms.token, U256::from(terms.challengeBond))?;
        let call = disputes.open(slot, Run::from(subject.run.clone()), kind).calldata().to_vec();
        if self.moves(slot, &format!("challenge {slot} {kind}"), self.chain.disputes, call) {
            count(&self.metrics.opened);
        }
        // Whether or not, the next look finds it.
        Ok(())
    }

    /// Makes the move that is due in a challenge.
    fn go_on(&mut self, view: &View, mut known: Challenged) -> anyhow::Result<()> {
        let (id, slot) = (known.challenge, known.slot);
        let disputes = self.chain.disputes();
        let found = self.chain.call(disputes.getChallenge(id))?;
        if found.state != known.state {
            known.state = found.state;
            self.state.put_challenge(&known)?;
            self.note(slot, &format!("challenge {id}: {}", state(found.state)))?;
        }
        let Some(subject) = view.subject(slot) else { return Ok(()) };
        if found.state >= WON {
            match found.state {
                WON => count(&self.metrics.won),
                LOST => count(&self.metrics.lost),
                _ => {}
            }
            self.choices.remove(&id);
            return self.collect(slot, subject.terms.token);
        }
        let is_over = found.deadline.to::<u64>() < view.block.time;
        let is_void = self.chain.call(self.chain.market().getSlot(slot))?.state != SUBMITTED;
        if is_void || (is_over && found.state != WANTS_CHOICE) {
            self.moves(slot, &format!("conclude {id}"), self.chain.disputes, disputes.conclude(id).calldata().to_vec());
            return Ok(());
        }
        match found.state {
            WANTS_CHOICE if !is_over => self.choose(view, &subject, known, &found),
            WANTS_RULING if self.is_answered(&subject, &found)? => {
                let call = disputes.resolve(id).calldata().to_vec();
                self.moves(slot, &format!("resolve {id}"), self.chain.disputes, call);
                Ok(())
            }
            // The client has time, or the arbitrator.
            _ => Ok(()),
        }
    }

    /// Names the first wrong leaf, once it is computed.
    fn choose(
        &mut self,
        view: &View,
        subject: &Subject,
        mut known: Challenged,
        found: &Challenge,
    ) -> anyhow::Result<()> {
        let (id, level) = (known.challenge, level(found));
        let ready = self.choices.get(&id).filter(|ready| {
            (ready.chosen.first, ready.chosen.steps) == (level.first, level.steps)
                && trace_root(&ready.leaves).0 == found.levelRoot.0
        });
        let Some(Ready { chosen, leaves }) = ready.cloned() else {
            let leaves = self.posted(view, known.slot, id, TraceRoot(found.levelRoot.0))?;
            self.begin(subject.clone(), Task::Choose { challenge: id, level, leaves }, 0);
            return Ok(());
        };
        let choice = submission::choice(&leaves, chosen.index as usize, StateRoot(found.stateIn.0));
        if known.choices.last() != Some(&chosen) {
            known.choices.push(chosen.clone());
            self.state.put_challenge(&known)?;
        }
        let call = self.chain.disputes().choose(id, Run::from(subject.run.clone()), choice).calldata().to_vec();
        let name = format!("choose {id} {} {} {}", level.first, level.steps, level.part);
        if self.moves(known.slot, &name, self.chain.disputes, call) {
            self.choices.remove(&id);
        }
        Ok(())
    }

    /// The leaves that were posted for the level with this root.
    fn posted(&self, view: &View, slot: B256, id: B256, root: TraceRoot) -> anyhow::Result<Vec<StateRoot>> {
        let from = view.board.slots.get(&slot).map_or(self.chain.from_block, |slot| slot.block);
        let filter =
            Filter::new().address(self.chain.disputes).event_signature(LeavesPosted::SIGNATURE_HASH).topic1(id);
        let logs = self.events(&filter, from, view.block.number)?;
        let leaves = logs.iter().rev().filter_map(|log| LeavesPosted::decode_log(&log.inner).ok()).find_map(|event| {
            let leaves: Vec<StateRoot> = event.data.leaves.iter().map(|leaf| StateRoot(leaf.0)).collect();
            // The node is not trusted to give the right ones.
            let fits = event.data.challenge == id && leaves.len() as u64 <= FAN_OUT && trace_root(&leaves) == root;
            fits.then_some(leaves)
        });
        leaves.context("the node does not give the leaves that were posted")
    }

    fn is_answered(&self, subject: &Subject, found: &Challenge) -> anyhow::Result<bool> {
        let arbitrator = fedmkt_contracts::committee::Committee::new(subject.terms.arbitrator, self.chain.node());
        Ok(self.chain.call(arbitrator.answer(found.question))?.verdict != 0)
    }
}
