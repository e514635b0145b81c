//! Jobs in which every challenger would lose its bond: whoever posts one could name an arbitrator that takes it, or leave too
//! little time for a move.

use fedmkt_contracts::dev::MOVE_TIME;

use crate::lies::{Dice, Liar, Setting};
use crate::net::{FUNDS, Net};
use crate::until;
use crate::verifier::Verifier;

#[test]
fn no_bond_is_put_up_under_an_arbitrator_that_the_policy_does_not_name_or_without_time_for_moves() {
    let Some(net) = Net::start("an unknown arbitrator", 1) else { return };
    let mut setting = Setting::new();
    let store = setting.store().folder().to_owned();
    let job = net.post(&setting, 2);
    let policy = |arbitrators: &str| format!("[challenge]\narbitrators = [{arbitrators}]\n[limits]\nat-once = 2\n");
    let mut wary = Verifier::new(&net, &store, &policy(""));
    let slow = format!(
        "[challenge]\nleast-move-time = {}\n[committee]\ncontracts = [\"{}\"]\n[limits]\nat-once = 2\n",
        MOVE_TIME + 1,
        net.committee
    );
    let mut slow = Verifier::new(&net, &store, &slow);
    slow.set("FEDMKT_CARTESI", "/no/such/machine");
    let mut other = Verifier::new(&net, &store, &policy(&format!("\"{}\"", net.token)));
    let lies = [1, 2].map(|number| {
        let accepted = net.accept(job, &mut setting, number);
        let mut liar = Liar::new(&setting);
        let lie = liar.lie(0, &mut Dice(0, number.into()));
        net.submit(&setting, accepted, &lie.states, lie.last.as_ref().expect("a header"))
    });
    wary.start();
    other.start();
    slow.start();
    let all = [(&wary, "challenge.arbitrators"), (&other, "challenge.arbitrators"), (&slow, "least-move-time")];
    for (verifier, setting) in all {
        for taken in &lies {
            until("the lie is found", || verifier.finding(taken.slot)["finding"] == "differs");
        }
        until("it is told", || verifier.noted(setting) > 0);
    }
    for verifier in [&wary, &other] {
        assert!(verifier.log().contains(&net.committee.to_string()), "it is said whom the job names");
    }
    net.wait_for_blocks(10);
    for (verifier, setting) in all {
        assert_eq!(verifier.noted(setting), 1, "once for a job");
        for taken in &lies {
            assert_eq!(net.challenge_of(taken.slot, verifier.account), None);
        }
        assert_eq!((net.tokens(verifier.account), net.seen_of(verifier.account).0.len()), (FUNDS, 0));
    }
    assert_eq!(wary.log().matches("nothing will be challenged").count(), 1);
    assert!(!other.log().contains("nothing will be challenged"));
    let told = "no question about a step can be answered";
    assert_eq!((slow.log().matches(told).count(), wary.log().matches(told).count()), (1, 0));

    // Who trusts it challenges.
    let mut trusting = Verifier::new(&net, &store, "");
    trusting.start();
    until("it is challenged", || net.challenge_of(lies[0].slot, trusting.account).is_some());
}
