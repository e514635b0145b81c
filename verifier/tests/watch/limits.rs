//! Limits of a policy: what goes beyond them is not done and told, and nobody is challenged for it.

use alloy::primitives::B256;
use fedmkt_core::unixfs::{RAW, block_cid};
use fedmkt_market::dispute::Kind;
use fedmkt_test_kit::gateway::Gateway;

use crate::lies::{Dice, Liar, Setting};
use crate::net::{Net, Party, Taken};
use crate::slow::Slow;
use crate::verifier::{Verifier, votes};
use crate::{REFUTED, until};

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

/// A submission whose data comes byte by byte.
fn with_slow_data(net: &Net, setting: &mut Setting, job: B256, slow: &Slow) -> Taken {
    let accepted = net.accept(job, setting, 0);
    let data = b"nobody will ever read this";
    slow.hold(&block_cid(RAW, data));
    let liar = Liar::new(setting);
    net.submit_with(setting, accepted, &liar.honest, &liar.last, data, &liar.results)
}

/// One that is a lie, whose data is there.
fn with_lie(net: &Net, setting: &mut Setting, job: B256) -> Taken {
    let accepted = net.accept(job, setting, 1);
    let mut liar = Liar::new(setting);
    let lie = liar.lie(0, &mut Dice(0, 7));
    net.submit(setting, accepted, &lie.states, lie.last.as_ref().expect("a header"))
}

#[test]
fn data_that_comes_without_end_keeps_nobody_else_from_being_checked_and_the_program_from_ending() {
    let Some(net) = Net::start("slow data", 1) else { return };
    let mut setting = Setting::new();
    let gateway = Gateway::start(setting.store().folder());
    let slow = Slow::before(&gateway);
    let job = net.post(&setting, 2);
    let mut verifier = Verifier::with_blocks_from(&net, &slow.endpoint, "[limits]\nat-once = 1\nmost-seconds = 30\n");
    let held = with_slow_data(&net, &mut setting, job, &slow);
    verifier.start();
    until("it waits for the data", || slow.asked() == 1);
    let taken = with_lie(&net, &mut setting, job);
    until("the other one is challenged", || net.challenge_of(taken.slot, verifier.account).is_some());
    let finding = verifier.finding(held.slot);
    let told = finding["why"].as_str().unwrap_or_default();
    assert!(finding["finding"] == "skipped" && told.contains("take longer than 30 s"), "{finding}");
    assert_eq!(net.challenge_of(held.slot, verifier.account), None);
    assert_eq!(verifier.end(), Some(0), "{}", verifier.log());

    // One that would wait for a day.
    let before = slow.asked();
    let mut patient = Verifier::with_blocks_from(&net, &slow.endpoint, "");
    patient.start();
    until("it waits for the data", || slow.asked() > before);
    assert_eq!(patient.end(), Some(0), "{}", patient.log());
    assert_eq!(patient.finding(held.slot)["finding"], "waiting", "it goes on when it is started again");
}

#[test]
fn a_member_answers_in_time_about_data_that_comes_without_end() {
    let Some(net) = Net::start("slow data in question", 1) else { return };
    let mut setting = Setting::new();
    let gateway = Gateway::start(setting.store().folder());
    let slow = Slow::before(&gateway);
    let (job, other) = (net.post(&setting, 1), net.post(&setting, 2));
    let policy = votes(&net, "native").replace("[committee]", &format!("jobs = [\"{other}\"]\n[committee]"));
    let mut member = Verifier::with_blocks_from(&net, &slow.endpoint, &policy);
    member.take_seats(&net);
    member.start();
    let held = with_slow_data(&net, &mut setting, job, &slow);
    net.send(net.disputes(Party::Other).open(held.slot, held.run.clone(), Kind::Capsule as u8));
    let challenge = net.challenge_of(held.slot, net.account(Party::Other)).expect("opened");
    let question = net.ask(net.disputes(Party::Other).getChallenge(challenge)).question;
    let committee = net.committee(Party::Other);
    until("the member is drawn", || !net.ask(committee.getRound(question, 0)).commitUntil.is_zero());
    until("it waits for the data", || slow.asked() > 0);
    // What it is asked takes no place away from what it checks.
    let taken = with_lie(&net, &mut setting, other);
    until("another one is challenged", || net.challenge_of(taken.slot, member.account).is_some());
    // A task that is at work does not see that the chain's time makes a leap.
    member.kill();
    net.pass_until(net.ask(committee.getRound(question, 0)).commitUntil.to::<u64>() - 60);
    member.start();
    until("the client has lost", || net.ask(net.market(Party::Other).getSlot(held.slot)).state == REFUTED);
    assert!(net.ask(net.disputes(Party::Other).getChallenge(challenge)).ruled, "by the member's answer");
    assert_eq!(member.end(), Some(0), "{}", member.log());
}
