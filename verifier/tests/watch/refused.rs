//! Moves that strangers' contracts let pass when they are estimated, and refuse when they are in a block.

use alloy::primitives::{Bytes, bytes};
use alloy::sol_types::SolCall;
use fedmkt_contracts::dev::MOVE_TIME;
use fedmkt_contracts::market::Market::withdrawCall;

use crate::lies::{Dice, Liar, Setting};
use crate::net::{Net, Party};
use crate::verifier::Verifier;
use crate::{REFUTED, until};

/// A contract that answers every call with 1 where gas costs nothing, as in estimates, and refuses it where gas costs something.
const TWO_FACED: Bytes = bytes!("3a600c5760015f5260205ff35b5f5ffd");

#[test]
fn a_token_that_refuses_every_payment_costs_a_verifier_no_more_than_a_few_transactions() {
    let Some(net) = Net::start("a token that refuses payments", 1) else { return };
    let mut setting = Setting::new();
    let store = setting.store().folder().to_owned();
    let job = net.post(&setting, 1);
    let accepted = net.accept(job, &mut setting, 0);
    let mut liar = Liar::new(&setting);
    let lie = liar.lie(0, &mut Dice(0, 7));
    let taken = net.submit(&setting, accepted, &lie.states, lie.last.as_ref().expect("a header"));
    let mut watcher = Verifier::new(&net, &store, "");
    watcher.start();
    until("it is challenged", || net.challenge_of(taken.slot, watcher.account).is_some());

    net.set_code(net.token, TWO_FACED);
    // The client is silent, and the watcher is owed what it cannot get.
    net.pass(u64::from(MOVE_TIME) + 1);
    until("silence is concluded", || net.ask(net.market(Party::Other).getSlot(taken.slot)).state == REFUTED);
    until("it is given up", || watcher.log().contains("it is given up"));
    let withdrawn = || {
        let (calls, _) = net.seen_of(watcher.account);
        (calls.len(), calls.iter().filter(|call| call.starts_with(&withdrawCall::SELECTOR)).count())
    };
    let before = withdrawn();
    assert_eq!(before.1, 3);
    net.wait_for_blocks(50);
    assert_eq!(withdrawn(), before, "nothing more is sent");
    assert_eq!(watcher.log().matches("it is given up").count(), 1, "it is said once");
    assert_eq!(watcher.end(), Some(0), "{}", watcher.log());
}
