//! Audits of jobs that name this verifier as an auditor: lotteries are held, and silence is ended.

use alloy::primitives::Bytes;
use anyhow::Context;
use fedmkt_contracts::market::Terms;
use fedmkt_contracts::randomness;
use fedmkt_contracts::terms::AUDITED;
use fedmkt_market::board::Slot;
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
        Ok(())
    }

    fn audit(&self, view: &View, slot: &Slot, terms: &Terms) -> anyhow::Result<()> {
        let (id, market) = (slot.id, self.chain.market());
        if let Some(until) = slot.disclose_until {
            if until < view.block.time {
                let call = market.forfeit(id).calldata().to_vec();
                self.moves(id, &format!("forfeit {id}"), self.chain.market, call);
            }
            return Ok(());
        }
        if slot.audited || slot.lottery_held || !self.place.policy.knows(terms.token) {
            return Ok(());
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
}
