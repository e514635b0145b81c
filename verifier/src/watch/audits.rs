//! Audits of jobs that name this verifier as an auditor: lotteries are held, some audits are asked for, and silence is ended.

use alloy::primitives::{Bytes, U256};
use anyhow::Context;
use fedmkt_contracts::market::Terms;
use fedmkt_contracts::randomness;
use fedmkt_contracts::terms::AUDITED;
use fedmkt_market::board::Slot;
use fedmkt_market::send::pay;
use fedmkt_runtime::message::sentence;

use super::metrics::count;
use super::{View, Watcher};

impl Watcher<'_> {
    /// Makes the moves that are due in audits.
    pub(super) fn audits(&mut self, view: &View) -> anyhow::Result<()> {
        let me = self.account();
        for slot in view.board.slots.values().filter(|slot| slot.ending.is_none() && slot.submission.is_some()) {
            let terms = &view.board.jobs.get(&slot.job).context("the node does not give the event of a job")?.terms;
            if terms.disclosure == AUDITED
                && terms.auditors.contains(&me)
                && let Err(error) = self.audit(view, slot, terms)
            {
                count(&self.metrics.errors);
                tracing::warn!(slot = %slot.id, "audit: {}", sentence(&error));
            }
        }
        self.bonds(view)
    }

    fn audit(&mut self, view: &View, slot: &Slot, terms: &Terms) -> anyhow::Result<()> {
        let (id, market) = (slot.id, self.chain.market());
        if let Some(until) = slot.disclose_until {
            if until < view.block.time {
                let call = market.forfeit(id).calldata().to_vec();
                self.moves(id, &format!("forfeit {id}"), self.chain.market, call);
            }
            return Ok(());
        }
        if slot.audited || !self.place.policy.knows(terms.token) {
            return Ok(());
        }
        if slot.lottery_held {
            return self.request(view, slot, terms);
        }
        let number: u64 = self.chain.call(market.getSlot(id))?.blockNumber.to();
        let source = randomness::source(number);
        if view.block.number <= source {
            return Ok(());
        }
        // What cannot be looked up any more counts as drawn.
        let is_late = view.block.number > source + self.chain.reach()?;
        let header = if is_late { Bytes::new() } else { self.header(source)? };
        let call = market.drawAudit(id, header).calldata().to_vec();
        self.moves(id, &format!("lottery {id}"), self.chain.market, call);
        Ok(())
    }

    /// Asks for an audit that the lottery has not brought, if the policy and this verifier's own draw say so.
    fn request(&mut self, view: &View, slot: &Slot, terms: &Terms) -> anyhow::Result<()> {
        let (id, token, bond) = (slot.id, terms.token, terms.challengeBond);
        let in_time = slot.challenge_until >= view.block.time;
        if !in_time || !self.place.policy.asks_for_audit(&self.seed, id, token, bond) {
            return Ok(());
        }
        if let Err(why) = self.place.policy.trusts(terms.arbitrator) {
            return self.note_untrusted(slot, "no audit is asked for", &why);
        }
        // Before the bond is put up: it must be fetched again, whatever happens to this process.
        self.state.set_request(id, true)?;
        let call = self.chain.market().requestAudit(id).calldata().to_vec();
        let name = format!("request {id}");
        if self.carefully(&name, true, || pay(&self.sender(), &name, token, U256::from(bond), call))?.is_none() {
            return Ok(());
        }
        count(&self.metrics.requested);
        self.note(id, &format!("an audit was asked for, with a bond of {bond}"))
    }

    /// Fetches bonds of audits that this verifier has asked for, once their slots have ended.
    fn bonds(&self, view: &View) -> anyhow::Result<()> {
        for id in self.state.requests()? {
            // After a reorganisation it may come again.
            let Some(slot) = view.board.slots.get(&id).filter(|slot| slot.ending.is_some()) else { continue };
            let job = view.board.jobs.get(&slot.job).context("the node does not give the event of a job")?;
            if self.collect(id, job.terms.token)? {
                self.state.set_request(id, false)?;
            }
        }
        Ok(())
    }
}
