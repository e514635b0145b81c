//! A chain that goes back while a dispute is on: every program goes on from what the chain says then.

use alloy::primitives::U256;
use fedmkt_contracts::dev::{BOND, COMPENSATION, FEE, SEAT_STAKE};

use crate::lies::{Dice, Liar, Setting};
use crate::net::{FUNDS, Net, Party};
use crate::verifier::{Verifier, votes};
use crate::{BURNED, Cheater, REFUTED, WANTS_LEAVES, WANTS_RULING, until};

#[test]
fn a_challenge_goes_on_wherever_the_chain_goes_back() {
    let Some(net) = Net::start("a chain that goes back", 3) else { return };
    let mut setting = Setting::new();
    let store = setting.store().folder().to_owned();
    let job = net.post(&setting, 1);
    let mut watcher = Verifier::new(&net, &store, "");
    let policy = votes(&net, "native");
    let mut member = Verifier::new(&net, &store, &policy);
    member.take_seats(&net);
    member.start();
    let accepted = net.accept(job, &mut setting, 0);
    let mut liar = Liar::new(&setting);
    let lie = liar.lie(0, &mut Dice(0, 7));
    let taken = net.submit(&setting, accepted, &lie.states, lie.last.as_ref().expect("a header"));
    let slot = taken.slot;
    let cheater = Cheater { taken, lie, honest: liar.honest };

    // Before the challenge was opened.
    let submitted = net.snapshot();
    watcher.start();
    until("it is challenged", || net.challenge_of(slot, watcher.account).is_some());
    until("that is written down", || watcher.noted("of kind step opened") == 1);
    net.go_back(submitted);
    until("it is challenged again", || net.challenge_of(slot, watcher.account).is_some());
    let challenge = net.challenge_of(slot, watcher.account).expect("there is one");
    let found = || net.ask(net.disputes(Party::Other).getChallenge(challenge));

    // Before the leaves were posted, one of which was chosen.
    let challenged = net.snapshot();
    assert!(cheater.defend(&net, challenge));
    until("the first wrong part is named", || found().state == WANTS_LEAVES && !found().top);
    until("that is written down", || watcher.noted("named") == 1);
    net.go_back(challenged);
    assert!(found().top && found().state == WANTS_LEAVES, "the chain has gone back");

    // Before the question, about which the member has committed.
    until("a step is left", || {
        let now = found();
        let is_last = now.level.part == 1;
        // Not while a choice is wanted: by the time that it was defended, the leaves of the last level could be.
        if now.state == WANTS_LEAVES && !is_last {
            assert!(cheater.defend(&net, challenge));
        }
        now.state == WANTS_LEAVES && is_last
    });
    let narrowed = net.snapshot();
    assert!(cheater.defend(&net, challenge));
    let committee = net.committee(Party::Other);
    until("the member has committed", || {
        let now = found();
        now.state == WANTS_RULING && !net.ask(committee.getVote(now.question, 0, member.account)).commitment.is_zero()
    });
    until("that is written down", || member.noted("sent `commit") == 1);
    net.go_back(narrowed);
    assert_eq!(found().state, WANTS_LEAVES, "the question is gone");

    let market = net.market(Party::Other);
    until("the cheater is refuted", || {
        cheater.defend(&net, challenge);
        net.ask(market.getSlot(slot)).state == REFUTED
    });
    until("the watcher has its compensation", || net.tokens(watcher.account) == FUNDS + COMPENSATION);
    until("the member has its fee", || net.tokens(member.account) == FUNDS - 1000 + FEE);
    until("the member has its stake", || net.ask(committee.getMember(member.account)).stake == 2 * SEAT_STAKE);
    assert_eq!(net.tokens(net.account(Party::Client)), FUNDS - BOND);
    assert_eq!(net.ask(market.owed(net.token, BURNED)), U256::from(BOND - COMPENSATION - FEE));

    let told = watcher.json(&["explain", &challenge.to_string()]);
    let last = told["challenge"]["choices"].as_array().and_then(|choices| choices.last()).expect("a choice");
    assert_eq!(last["end"], cheater.lie.step + 1, "the step is named");
    assert_eq!(watcher.noted("of kind step opened"), 2, "it was opened again");
    assert_eq!(member.noted("sent `commit"), 2, "it was committed again");
    assert_eq!(watcher.end(), Some(0), "{}", watcher.log());
    assert_eq!(member.end(), Some(0), "{}", member.log());
}
