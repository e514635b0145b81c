//! Challenges of this verifier: opened where something differs, narrowed down, ended.

use alloy::primitives::B256;
use fedmkt_core::roots::StateRoot;
use fedmkt_market::board::SUBMITTED;
use fedmkt_market::dispute::{self, Challenge, Kind, Moved, State};
use fedmkt_runtime::message::sentence;

use super::database::{Challenged, Chosen, Finding, now};
use super::metrics::count;
use super::work::{Subject, Task};
use super::{View, Watcher};

/// A choice that can be sent.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Which leaf.
    pub chosen: Chosen,
    /// The leaves that it is one of.
    pub leaves: Vec<StateRoot>,
}

impl Watcher<'_> {
    /// Opens what is to be opened.
    pub(super) fn challenges(&mut self, view: &View) -> anyhow::Result<()> {
        if self.place.policy.challenge.enabled {
            for checked in self.state.checked()?.into_iter().filter(|checked| checked.ending.is_none()) {
                let kind = match checked.finding {
                    Finding::Differs { .. } => Kind::Step,
                    Finding::OtherData { .. } => Kind::Capsule,
                    Finding::OtherResults { .. } => Kind::Results,
                    Finding::NoData { ref search, .. } if search.withheld => Kind::Capsule,
                    Finding::NoResults { ref search, .. } | Finding::Undisclosed { ref search, .. }
                        if search.withheld =>
                    {
                        Kind::Results
                    }
                    _ => continue,
                };
                if let Err(error) = self.open(view, checked.slot, kind) {
                    count(&self.metrics.errors);
                    tracing::warn!(slot = %checked.slot, "cannot challenge: {}", sentence(&error));
                }
            }
        }
        Ok(())
    }

    /// Goes on with what is open, what is due first before all else.
    pub(super) fn answers(&mut self, view: &View) -> anyhow::Result<()> {
        let me = self.account();
        let mut mine: Vec<_> = view.board.challenges.values().filter(|challenge| challenge.challenger == me).collect();
        mine.sort_by_key(|challenge| (challenge.state.has_ended(), challenge.deadline));
        for challenge in mine {
            if let Err(error) = self.go_on(view, challenge) {
                count(&self.metrics.errors);
                tracing::warn!(slot = %challenge.slot, "challenge {}: {}", challenge.id, sentence(&error));
            }
        }
        Ok(())
    }

    /// Opens a challenge, unless this verifier has had one of this kind, or there is no time any more.
    fn open(&mut self, view: &View, id: B256, kind: Kind) -> anyhow::Result<()> {
        let (Some(slot), me) = (view.board.slots.get(&id), self.account()) else { return Ok(()) };
        let Some(job) = view.board.jobs.get(&slot.job) else { return Ok(()) };
        let is_mine = |known: &&Challenge| known.slot == id && known.challenger == me && known.kind == kind;
        if slot.challenge_until < view.block.time || view.board.challenges.values().any(|known| is_mine(&known)) {
            return Ok(());
        }
        let (token, bond) = (job.terms.token, job.terms.challengeBond);
        if !self.place.policy.may_bond(token, bond) {
            tracing::warn!(slot = %id, "not challenged: the bond is {bond}, of {token}: the policy does not allow it");
            return Ok(());
        }
        let (policy, terms) = (&self.place.policy, &job.terms);
        // Files that are missing or wrong are for the arbitrator: the challenger has no move to make.
        let has_moves = kind == Kind::Step;
        let has_time = if has_moves { policy.has_time_for_moves(terms.moveTime) } else { Ok(()) };
        if let Err(why) = policy.trusts(terms.arbitrator).and(has_time) {
            return self.note_untrusted(slot, "not challenged", &why);
        }
        let name = format!("challenge {id} {kind}");
        let opened = self.carefully(&name, true, || dispute::open(&self.sender(), job, slot, kind))?;
        let Some(challenge) = opened else { return Ok(()) };
        count(&self.metrics.opened);
        self.note(id, &format!("challenge {challenge} of kind {kind} opened, with a bond of {bond}"))
    }

    /// Makes the move that is due in a challenge of this verifier.
    fn go_on(&mut self, view: &View, challenge: &Challenge) -> anyhow::Result<()> {
        let (id, slot) = (challenge.id, challenge.slot);
        let known = self.state.challenges()?.into_iter().find(|known| known.challenge == id);
        let state = challenge.state.to_string();
        let is_new = known.as_ref().is_none_or(|known| known.state != state);
        let mut known = known.unwrap_or(Challenged {
            challenge: id,
            slot,
            kind: challenge.kind,
            choices: Vec::new(),
            state: String::new(),
            ended: false,
        });
        if !is_new && known.ended {
            return Ok(());
        }
        let Some(subject) = view.subject(slot) else { return Ok(()) };
        if is_new {
            known.state = state;
            known.ended = false;
            self.state.put_challenge(&known)?;
            match challenge.state {
                State::Won => count(&self.metrics.won),
                State::Lost => count(&self.metrics.lost),
                _ => {}
            }
            self.note_if_possible(slot, &format!("challenge {id}: {}", challenge.state));
        }
        if challenge.state.has_ended() {
            self.choices.remove(&id);
            self.stuck.remove(&id);
            // Over only when it was paid.
            if self.collect(slot, subject.terms.token)? {
                known.ended = true;
                self.state.put_challenge(&known)?;
            }
            return Ok(());
        }
        let is_over = challenge.deadline < view.block.time;
        let is_void = self.chain.call(self.chain.market().getSlot(slot))?.state != SUBMITTED;
        if is_void || is_over {
            let moved = self.carefully(&format!("conclude {id}"), true, || dispute::conclude(&self.sender(), id))?;
            return self.moved(slot, &format!("challenge {id}: concluded"), moved);
        }
        match challenge.state {
            State::WantsChoice => self.choose(&subject, known, challenge),
            State::WantsRuling if dispute::answer(self.chain, &subject.terms, id)?.is_some() => {
                let moved = self.carefully(&format!("resolve {id}"), true, || dispute::resolve(&self.sender(), id))?;
                self.moved(slot, &format!("challenge {id}: resolved by the arbitrator's answer"), moved)
            }
            // The client has time, or the arbitrator.
            _ => Ok(()),
        }
    }

    /// Names the first wrong leaf, once it is computed.
    fn choose(&mut self, subject: &Subject, mut known: Challenged, challenge: &Challenge) -> anyhow::Result<()> {
        let (id, slot) = (challenge.id, challenge.slot);
        let Some(level) = challenge.level else { return Ok(()) };
        let ready = self.choices.get(&id).filter(|ready| ready.leaves == challenge.leaves).cloned();
        let Some(Ready { chosen, leaves }) = ready else {
            if self.stuck.get(&id).is_some_and(|(_, next)| *next > now()) {
                return Ok(());
            }
            let leaves = challenge.leaves.clone();
            self.begin(subject.clone(), Task::Choose { challenge: id, level, leaves });
            return Ok(());
        };
        if known.choices.last() != Some(&chosen) {
            known.choices.push(chosen.clone());
            self.state.put_challenge(&known)?;
        }
        let moved = dispute::choose(&self.sender(), &subject.run, id, &leaves, chosen.index as usize)?;
        self.choices.remove(&id);
        let (first, last) = (level.first, level.first + level.steps - 1);
        self.moved(
            slot,
            &format!("challenge {id}: part {} of steps {first} to {last} named", chosen.index),
            Some(moved),
        )
    }

    /// Writes down that a move was made, if it was.
    fn moved(&self, slot: B256, what: &str, moved: Option<Moved>) -> anyhow::Result<()> {
        match moved {
            Some(Moved::Yes) => self.note(slot, what),
            // Somebody was faster, the look was at an older block, or it was refused too often.
            Some(Moved::NotWanted(_)) | None => Ok(()),
        }
    }
}
