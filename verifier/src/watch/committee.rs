//! A member of a committee: is drawn, finds out, commits, reveals, and gets back what it had at risk.
//!
//! A commitment's salt is in the database before the commitment is sent. Without it the answer could not be revealed, and
//! the stake would be lost.

use alloy::eips::BlockNumberOrTag;
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::providers::{DynProvider, Provider};
use alloy::rpc::types::Filter;
use alloy::sol_types::{SolEvent, SolValue};
use anyhow::{Context, bail};
use fedmkt_contracts::committee::Committee::CommitteeInstance;
use fedmkt_contracts::disputes::Disputes::RulingWanted;
use fedmkt_contracts::{code, randomness};
use fedmkt_core::roots::StateRoot;
use fedmkt_market::chain::Chain;
use fedmkt_market::dispute::{Kind, State};
use fedmkt_runtime::message::sentence;

use super::database::{Answer, Asked, Vote, now, random};
use super::metrics::count;
use super::work::{Absence, Task, again_at};
use super::{SPAN, View, Watcher};

/// How a case stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum CaseState {
    /// The chain does not know it.
    None,
    /// Members are to be drawn.
    Drawing,
    /// They commit, then reveal.
    Voting,
    /// There is an answer.
    Answered,
}

impl CaseState {
    /// The state with the contract's number.
    fn of(code: u8) -> Option<Self> {
        [Self::None, Self::Drawing, Self::Voting, Self::Answered].get(usize::from(code)).copied()
    }
}

/// So many blocks are looked at again for questions: a reorganisation may have brought others.
const AGAIN: u64 = 64;

/// How long before the end of the commitments a member that found no files says so, in seconds, for each commitment that it
/// has to make: one is sent after the other. At most a quarter of the time for commitments.
const MARGIN: u64 = 120;

/// When files that nobody has are given up, by this computer's clock, with so many commitments to make.
fn gives_up(now: u64, left: u64, commit_time: u64, commitments: u64) -> u64 {
    (now + left).saturating_sub(MARGIN.saturating_mul(commitments).min(commit_time / 4))
}

/// What a case waits for.
struct Due {
    /// Until when, by the chain's clock.
    until: u64,
    /// Whether it is a commitment of this verifier.
    is_commitment: bool,
}

impl Due {
    /// Whatever has no such moment.
    const LATER: Self = Self { until: u64::MAX, is_commitment: false };
}

/// A committee's contract, once its code was compared.
///
/// # Errors
/// When there is no committee that this program knows.
pub fn committee(chain: &Chain, address: Address) -> anyhow::Result<CommitteeInstance<DynProvider>> {
    if !code::COMMITTEE.is(&chain.ask(chain.node().get_code_at(address))?) {
        bail!("{address} on chain {} is no committee that this program knows; nothing was sent", chain.id);
    }
    Ok(CommitteeInstance::new(address, chain.node().clone()))
}

impl Watcher<'_> {
    /// Does what is due in all committees that this verifier is a member of.
    pub(super) fn committees(&mut self, view: &View) -> anyhow::Result<()> {
        for address in self.place.policy.committee.contracts.clone() {
            if let Err(error) = self.questions(view, address) {
                tracing::warn!(committee = %address, "{}", sentence(&error));
            }
        }
        let open = self.state.questions()?.into_iter().filter(|asked| !asked.done);
        // Why it cannot be told is said below.
        let due = |asked: &Asked| self.due(asked, view.block.time).unwrap_or(Due::LATER);
        let mut open: Vec<_> = open.map(|asked| (due(&asked), asked)).collect();
        open.sort_by_key(|(due, _)| due.until);
        let commitments = open.iter().filter(|(due, _)| due.is_commitment).count() as u64;
        for (_, asked) in open {
            let (slot, question) = (asked.slot, asked.question);
            if let Err(error) = self.attend(view, asked, commitments) {
                tracing::warn!(%slot, "question {question}: {}", sentence(&error));
            }
        }
        Ok(())
    }

    /// Finds questions that are new.
    fn questions(&mut self, view: &View, address: Address) -> anyhow::Result<()> {
        let known_to = self.state.known_to(address)?;
        let from = known_to.map_or(self.chain.from_block, |known| (known + 1).saturating_sub(AGAIN));
        let filter = Filter::new()
            .address(self.chain.disputes)
            .event_signature(RulingWanted::SIGNATURE_HASH)
            .topic2(address.into_word());
        let known: Vec<B256> = self.state.questions()?.into_iter().map(|asked| asked.question).collect();
        let (mut first, mut span) = (from, SPAN);
        while first <= view.block.number {
            let last = first.saturating_add(span - 1).min(view.block.number);
            let Some(logs) = self.events(&filter, first, last)? else {
                span = (span / 4).max(1);
                continue;
            };
            for log in logs {
                let event =
                    RulingWanted::decode_log(&log.inner).context("the node gives an event that cannot be")?.data;
                let asked = event.question;
                let question = keccak256(asked.abi_encode());
                if known.contains(&question) {
                    continue;
                }
                self.state.put_question(&Asked {
                    committee: address,
                    question,
                    challenge: asked.challenge,
                    job: asked.job,
                    slot: asked.slot,
                    kind: Kind::of(asked.kind).context("the node gives a question that cannot be")?,
                    state_in: asked.stateIn,
                    step: asked.step,
                    answer: None,
                    trouble: None,
                    votes: Vec::new(),
                    done: false,
                })?;
                tracing::info!(slot = %asked.slot, "the committee {address} is asked about step {}", asked.step);
            }
            // What is known is not asked for again when a later span fails.
            if last == view.block.number || known_to.is_none_or(|known| last > known) {
                self.state.set_known_to(address, last)?;
            }
            first = last + 1;
        }
        Ok(())
    }

    /// What the case of a question waits for at the moment `time`.
    fn due(&self, asked: &Asked, time: u64) -> anyhow::Result<Due> {
        let (question, contract) = (asked.question, CommitteeInstance::new(asked.committee, self.chain.node().clone()));
        let case = self.chain.call(contract.getCase(question))?;
        Ok(match CaseState::of(case.state) {
            Some(CaseState::Drawing) => Due { until: case.until.to(), is_commitment: false },
            Some(CaseState::Voting) => {
                let round = self.chain.call(contract.getRound(question, case.round))?;
                let vote = self.chain.call(contract.getVote(question, case.round, self.account()))?;
                let (commit_until, reveal_until): (u64, u64) = (round.commitUntil.to(), round.revealUntil.to());
                let is_commitment = vote.count > 0 && vote.commitment.is_zero() && commit_until >= time;
                Due { until: if is_commitment { commit_until } else { reveal_until }, is_commitment }
            }
            _ => Due::LATER,
        })
    }

    /// Does what is due about a question. `commitments` is how many this verifier has to make in all.
    fn attend(&mut self, view: &View, mut asked: Asked, commitments: u64) -> anyhow::Result<()> {
        let contract = committee(self.chain, asked.committee)?;
        let (slot, question, me) = (asked.slot, asked.question, self.account());
        let case = self.chain.call(contract.getCase(question))?;
        // Moves about other questions may have taken long.
        let time = self.chain.latest()?.time;
        let to = asked.committee;
        let state = CaseState::of(case.state).with_context(|| {
            format!("case {question} is in a state that this program does not know: {}", case.state)
        })?;
        if let (CaseState::Drawing | CaseState::Voting, Some(last)) = (&state, case.round.checked_sub(1)) {
            // What earlier rounds give back may be needed in this one.
            self.take_back(&contract, &asked, last, None)?;
        }
        match state {
            // A reorganisation took the question away; it may come again.
            CaseState::None => Ok(()),
            CaseState::Drawing if case.until.to::<u64>() < time => {
                self.moves(
                    slot,
                    &format!("settle {question} {}", case.round),
                    to,
                    contract.settle(question).calldata().to_vec(),
                );
                Ok(())
            }
            CaseState::Drawing => {
                // Whoever could be drawn has an interest in the draw; one is enough.
                let source = randomness::source(case.blockNumber.to());
                let job =
                    &view.board.jobs.get(&asked.job).context("the node does not give the event of the job")?.terms;
                let member = self.chain.call(contract.getMember(me))?;
                if (member.seats == 0 && !job.auditors.contains(&me)) || view.block.number <= source {
                    return Ok(());
                }
                let header = self.header(source)?;
                let call = contract.draw(question, header, job.auditors.clone()).calldata().to_vec();
                self.moves(slot, &format!("draw {question} {}", case.round), to, call);
                Ok(())
            }
            CaseState::Voting => {
                let round = self.chain.call(contract.getRound(question, case.round))?;
                let vote = self.chain.call(contract.getVote(question, case.round, me))?;
                let (commit_until, reveal_until): (u64, u64) = (round.commitUntil.to(), round.revealUntil.to());
                let all_committed = round.committed == round.drawn || commit_until < time;
                if (all_committed && round.revealed == round.committed) || reveal_until < time {
                    let call = contract.settle(question).calldata().to_vec();
                    self.moves(slot, &format!("settle {question} {}", case.round), to, call);
                    return Ok(());
                }
                if vote.count == 0 {
                    return Ok(());
                }
                if vote.commitment.is_zero() && commit_until >= time {
                    // The chain's time may not be that of this computer.
                    let (now, left) = (now(), commit_until - time);
                    let commit_time = self.chain.call(contract.commitTime())?.into();
                    let until = gives_up(now, left, commit_time, commitments);
                    return self.commit(view, &contract, asked, Absence { until, end: now + left, round: case.round });
                }
                if !vote.commitment.is_zero() && vote.answer.is_zero() && all_committed {
                    let Some(kept) = asked
                        .votes
                        .iter()
                        .rev()
                        .find(|kept| kept.round == case.round && commitment(question, me, kept) == vote.commitment)
                    else {
                        bail!("this commitment was made by another program with the same key: it must reveal");
                    };
                    let call =
                        contract.reveal(question, kept.answer.says.verdict(), kept.answer.says.state_out(), kept.salt);
                    if self.moves(slot, &format!("reveal {question} {}", case.round), to, call.calldata().to_vec()) {
                        count(&self.metrics.revealed);
                    }
                }
                Ok(())
            }
            CaseState::Answered => {
                let challenge = self.chain.call(self.chain.disputes().getChallenge(asked.challenge))?;
                let fee_taken = challenge.ruled.then_some(case.feeTaken);
                let has_to_come = self.take_back(&contract, &asked, case.round, fee_taken)?;
                let standing = State::of(challenge.state);
                if standing == Some(State::WantsRuling) && challenge.deadline.to::<u64>() >= time {
                    // Without this there is no fee.
                    let call = self.chain.disputes().resolve(asked.challenge).calldata().to_vec();
                    self.moves(slot, &format!("resolve {}", asked.challenge), self.chain.disputes, call);
                    return Ok(());
                }
                if standing.is_some_and(State::has_ended) && !has_to_come {
                    asked.done = true;
                    self.state.put_question(&asked)?;
                }
                Ok(())
            }
        }
    }

    /// The header of a block, as contracts take it.
    pub(super) fn header(&self, number: u64) -> anyhow::Result<Bytes> {
        let block = self.chain.ask(self.chain.node().get_block_by_number(BlockNumberOrTag::Number(number)))?;
        let block = block.with_context(|| format!("the node has no block {number}"))?;
        Ok(randomness::encoded(&block.header.inner))
    }

    /// Commits to the answer, once there is one.
    fn commit(
        &mut self,
        view: &View,
        contract: &CommitteeInstance<DynProvider>,
        mut asked: Asked,
        absence: Absence,
    ) -> anyhow::Result<()> {
        let (slot, question, round) = (asked.slot, asked.question, absence.round);
        let subject = view.subject(slot).context("the node does not give the event of the submission")?;
        // What nobody had in another round may be there now.
        let answer = asked.answer.clone().filter(|answer| answer.absent_in.is_none_or(|then| then == round));
        let Some(answer) = answer else {
            // At the end there is no time for pauses.
            if asked.trouble.as_ref().is_some_and(|(_, next)| *next > now()) && now() < absence.until {
                return Ok(());
            }
            let task = match asked.kind {
                Kind::Step => {
                    Task::Replay { question, state_in: StateRoot(asked.state_in.0), step: asked.step, absence }
                }
                kind => Task::Fetch { question, kind, absence },
            };
            self.begin(subject, task);
            return Ok(());
        };
        let kept = asked.votes.iter().rev().find(|kept| kept.round == round && kept.answer == answer).cloned();
        let vote = match kept {
            Some(vote) => vote,
            None => {
                let vote = Vote { round, answer, salt: random()? };
                asked.votes.push(vote.clone());
                self.state.put_question(&asked)?;
                vote
            }
        };
        let call = contract.commit(question, commitment(question, self.account(), &vote)).calldata().to_vec();
        if self.moves(slot, &format!("commit {question} {round}"), asked.committee, call) {
            count(&self.metrics.committed);
        }
        Ok(())
    }

    /// Keeps what was found out about a question.
    pub(super) fn answered(&mut self, question: B256, answer: Result<Answer, String>) -> anyhow::Result<()> {
        let Some(mut asked) = self.state.questions()?.into_iter().find(|asked| asked.question == question) else {
            return Ok(());
        };
        match answer {
            Ok(answer) => {
                self.note(asked.slot, &format!("question {question}: {}: {}", answer.says, answer.how))?;
                (asked.answer, asked.trouble) = (Some(answer), None);
            }
            Err(why) => {
                count(&self.metrics.failed);
                self.note(asked.slot, &format!("question {question}: nothing found yet: {why}"))?;
                asked.trouble = Some((why, again_at(0)));
            }
        }
        self.state.put_question(&asked)
    }

    /// Takes back what was at risk in rounds that have ended, and a share of the fee: `fee_taken` says whether the committee
    /// has fetched it from the market, once there is one. Whether some of it has still to come.
    fn take_back(
        &self,
        contract: &CommitteeInstance<DynProvider>,
        asked: &Asked,
        last: u8,
        fee_taken: Option<bool>,
    ) -> anyhow::Result<bool> {
        let (me, question, slot) = (self.account(), asked.question, asked.slot);
        let mut has_to_come = false;
        for number in 0..=last {
            let vote = self.chain.call(contract.getVote(question, number, me))?;
            let round = self.chain.call(contract.getRound(question, number))?;
            let is_right = !vote.answer.is_zero() && (!round.decided || vote.answer == round.best);
            if !round.closed || vote.count == 0 || !is_right {
                continue;
            }
            if !vote.stakeSettled {
                let call = contract.returnStake(question, number, me).calldata().to_vec();
                self.gets(slot, &format!("return {question} {number}"), asked.committee, call);
                has_to_come = true;
            }
            if let Some(fee_taken) = fee_taken
                && number == last
                && !vote.feeReturned
            {
                let (fetch, pay) = (format!("take fee {question}"), format!("fee {question}"));
                if fee_taken {
                    self.gets(slot, &pay, asked.committee, contract.payFee(question, me).calldata().to_vec());
                } else {
                    self.gets(slot, &fetch, asked.committee, contract.takeFee(question).calldata().to_vec());
                }
                has_to_come |= ![fetch, pay].iter().any(|what| self.refusals.is_given_up(what));
            }
        }
        Ok(has_to_come)
    }
}

/// What a member commits to.
fn commitment(question: B256, member: Address, vote: &Vote) -> B256 {
    let Vote { round, answer, salt } = vote;
    let words =
        (question, U256::from(*round), member, U256::from(answer.says.verdict()), answer.says.state_out(), *salt)
            .abi_encode();
    keccak256([&b"fedmkt vote"[..], &words].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_of_the_time_for_commitments_is_left_to_look_for_files() {
        assert_eq!(gives_up(1000, 3600, 3600, 1), 1000 + 3600 - 120);
        assert_eq!(gives_up(1000, 60, 60, 1), 1000 + 45);
        assert_eq!(gives_up(0, 5, 3600, 1), 0);
    }

    #[test]
    fn there_is_time_to_send_one_commitment_after_the_other() {
        assert_eq!(gives_up(1000, 3600, 3600, 5), 1000 + 3600 - 600);
        // Many questions must not take the time away in which files can be brought.
        assert_eq!(gives_up(1000, 3600, 3600, 100), 1000 + 2700);
        assert_eq!(gives_up(1000, 3600, 3600, u64::MAX), 1000 + 2700);
    }
}
