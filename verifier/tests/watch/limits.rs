//! Limits of a policy: what goes beyond them is not done and told, and nobody is challenged for it.

use fedmkt_test_kit::gateway::Gateway;

use crate::lies::{Dice, Liar, Setting};
use crate::net::Net;
use crate::until;
use crate::verifier::Verifier;

#[test]
fn what_is_beyond_a_limit_is_told_and_challenged_by_those_who_have_room() {
    let Some(net) = Net::start("limits", 1) else { return };
    let mut setting = Setting::new();
    let gateway = Gateway::start(setting.store().folder());
    let job = net.post(&setting, 1);
    // A wrong run: whoever looks at it challenges.
    let accepted = net.accept(job, &mut setting, 0);
    let mut liar = Liar::new(&setting);
    let lie = liar.lie(0, &mut Dice(0, 7));
    let taken = net.submit(&setting, accepted, &lie.states, lie.last.as_ref().expect("a header"));

    let limits = [
        ("most-seconds = 0", "skipped", "take longer than 0 s"),
        ("most-bytes = 1000", "cannot-tell", "1000"),
        ("at-once = 1", "cannot-tell", "quota"),
    ];
    let mut verifiers =
        limits.map(|(limit, ..)| Verifier::with_gateway(&net, &gateway, &format!("[limits]\n{limit}\n")));
    verifiers[2].store().set_quota(Some(1000)).expect("a quota");
    verifiers.iter_mut().for_each(Verifier::start);
    for (verifier, (limit, kind, why)) in verifiers.iter().zip(limits) {
        until(&format!("{limit} is told"), || verifier.finding(taken.slot)["why"].is_string());
        let finding = verifier.finding(taken.slot);
        let told = finding["why"].as_str().unwrap_or_default();
        assert!(finding["finding"] == kind && told.contains(why), "{limit}: {finding}");
        assert_eq!(net.challenge_of(taken.slot, verifier.account), None, "{limit}");
    }
    let mut able = Verifier::with_gateway(&net, &gateway, "");
    able.start();
    until("it is challenged", || net.challenge_of(taken.slot, able.account).is_some());
    for verifier in &mut verifiers {
        assert_eq!(net.challenge_of(taken.slot, verifier.account), None);
        assert_eq!(verifier.end(), Some(0), "{}", verifier.log());
    }
}
