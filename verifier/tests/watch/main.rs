//! Verifiers that watch a market on a chain of their own, with real contracts: who lies loses, whoever it is.

mod audited;
mod disclosed;
mod going_back;
#[allow(dead_code, reason = "several tests share it, each uses what it needs")]
#[path = "../lies/mod.rs"]
mod lies;
mod limits;
mod net;
mod refused;
mod requests;
mod shown;
mod slow;
mod stakes;
mod untrusted;
mod verifier;
mod withheld;

use std::time::Duration;

use alloy::primitives::{Address, B256, U256, address, keccak256};
use alloy::sol_types::SolValue;
use fedmkt_contracts::dev::{BOND, CHALLENGE_BOND, COMPENSATION, FEE, MOVE_TIME, PENALTY, REWARD, SEAT_STAKE, WINDOW};
use fedmkt_contracts::{ids, submission};
use fedmkt_core::image::Header;
use fedmkt_core::roots::StateRoot;
use fedmkt_core::trace::Level;
use fedmkt_verifier::cartesi::Cartesi;
use fedmkt_verifier::qemu::Qemu;
use fedmkt_verifier::step::Image;

use lies::{Dice, Liar, Lie, STEPS, Setting};
use net::{FUNDS, Net, Party, Taken, words};
use verifier::{Verifier, votes};

const BURNED: Address = address!("0x000000000000000000000000000000000000dEaD");

/// States of challenges and slots, as the contracts number them.
const WANTS_LEAVES: u8 = 1;
const WANTS_CHOICE: u8 = 2;
const WANTS_RULING: u8 = 3;
const LOST: u8 = 5;
const SUBMITTED: u8 = 2;
const PAID: u8 = 3;
const SILENT: u8 = 7;
const REFUTED: u8 = 8;

/// Asks again and again until something is so. Whether it comes in time is not what is tested: the limit only ends a test
/// that would never end.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..2400 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("it never came: {what}");
}

/// The best engine that this computer has for replaying a step.
fn engine() -> &'static str {
    match (Image::find().is_ok(), Cartesi::find().is_ok(), Qemu::find().is_ok()) {
        (true, true, _) => "cartesi",
        (true, _, true) => "qemu",
        _ => "native",
    }
}

/// A client that submitted a lie and stands by it.
struct Cheater {
    taken: Taken,
    lie: Lie,
    honest: Vec<StateRoot>,
}

impl Cheater {
    /// Posts the leaves of a challenge, if they are wanted. Whether they were.
    fn defend(&self, net: &Net, challenge: B256) -> bool {
        let disputes = net.disputes(Party::Client);
        let found = net.ask(disputes.getChallenge(challenge));
        let is_wanted = found.state == WANTS_LEAVES;
        if is_wanted {
            let level = Level { first: found.level.first, steps: found.level.steps, part: found.level.part };
            let leaves = words(&self.lie.posts(&level, &self.honest));
            net.send(net.disputes(self.taken.client).postLeaves(challenge, leaves));
        }
        is_wanted
    }

    /// A friend of the client disputes its first step, which is right, and loses as soon as it can.
    fn is_defended_by(&self, net: &Net, friend: Party) {
        net.send(net.disputes(friend).open(self.taken.slot, self.taken.run.clone(), 0));
        let disputes = net.disputes(friend);
        let challenge = net.challenge_of(self.taken.slot, net.account(friend)).expect("opened");
        until("the friend has lost", || {
            let found = net.ask(disputes.getChallenge(challenge));
            match found.state {
                WANTS_LEAVES => drop(self.defend(net, challenge)),
                WANTS_CHOICE => {
                    let level = Level { first: found.level.first, steps: found.level.steps, part: found.level.part };
                    let leaves = self.lie.posts(&level, &self.honest);
                    let choice = submission::choice(&leaves, 0, StateRoot(found.stateIn.0));
                    net.send(net.disputes(friend).choose(challenge, self.taken.run.clone(), choice));
                }
                _ => {}
            }
            found.state == LOST
        });
        assert!(net.ask(disputes.getChallenge(challenge)).ruled, "the committee says that the step is right");
    }
}

#[test]
fn cheating_clients_are_caught_and_every_unit_is_where_it_belongs() {
    let Some(net) = Net::start("cheating clients", 3) else { return };
    let mut setting = Setting::new();
    let store = setting.store().folder().to_owned();
    let job = net.post(&setting, 10);

    let mut watcher = Verifier::new(&net, &store, "[limits]\nat-once = 2\n");
    let policy = votes(&net, "native");
    let mut members: Vec<Verifier> = (0..2).map(|_| Verifier::new(&net, &store, &policy)).collect();
    for member in &members {
        let shown = member.take_seats(&net);
        assert_eq!((shown["stake"].as_str(), shown["seats"].as_u64()), (Some("1000"), Some(2)));
        assert_eq!(net.tokens(member.account), FUNDS - 1000);
    }
    watcher.start();
    members.iter_mut().for_each(Verifier::start);

    // A flipped bit in a weight at a late step; stopping early; skipped steps; other initial weights; false leaves below.
    let mut cheaters = Vec::new();
    for (number, kind) in [0, 3, 4, 7, 9].into_iter().enumerate() {
        let accepted = net.accept(job, &mut setting, number as u8);
        let mut liar = Liar::new(&setting);
        let lie = liar.lie(kind, &mut Dice(kind, 7));
        let taken = net.submit(&setting, accepted, &lie.states, lie.last.as_ref().expect("a header"));
        cheaters.push(Cheater { taken, lie, honest: liar.honest });
    }
    // One that is silent, and one that is honest.
    let accepted = net.accept(job, &mut setting, 100);
    let mut liar = Liar::new(&setting);
    let lie = liar.lie(0, &mut Dice(0, 9));
    let silent = net.submit(&setting, accepted, &lie.states, lie.last.as_ref().expect("a header"));
    // One that publishes other data than it has committed to: a table with one value changed.
    let accepted = net.accept(job, &mut setting, 102);
    let liar = Liar::new(&setting);
    let mut data = setting.capsule.bytes.to_vec();
    let changed = data.len() - 100;
    data[changed] ^= 1;
    let other_data = net.submit_with(&setting, accepted, &liar.honest, &liar.last, &data, &liar.results);
    // One that publishes other results than its run has.
    let accepted = net.accept(job, &mut setting, 103);
    let liar = Liar::new(&setting);
    let mut results = liar.results.clone();
    results[0][9] ^= 1;
    let data = setting.capsule.bytes.clone();
    let other_results = net.submit_with(&setting, accepted, &liar.honest, &liar.last, &data, &results);
    let accepted = net.accept(job, &mut setting, 101);
    let liar = Liar::new(&setting);
    let honest = net.submit_with(&setting, accepted, &liar.honest, &liar.last, &data, &liar.results);
    // One that has computed nothing: it takes the states and results of the honest one, whose data is open.
    let (mut states, last) = (liar.honest.clone(), liar.last.clone());
    let (copied, results) = (liar.honest, liar.results);
    let accepted = net.accept_as(Party::Other, job, &mut setting, 104);
    assert!(net.refuses(&setting, &accepted, &states, &last), "the last state names the run that it is of");
    let last = Header { run_id: setting.run_id, ..last };
    *states.last_mut().expect("states") = setting.root_alone(&last);
    let taken = net.submit_with(&setting, accepted, &states, &last, &data, &results);
    let lie = Lie { states, what: "a copied result", step: 0, last: Some(last), hides: false };
    cheaters.push(Cheater { taken, lie, honest: copied });
    // Nobody defends the first one before its friend has lost, and nobody is helped by that.
    cheaters[0].is_defended_by(&net, Party::Friend);

    let market = net.market(Party::Client);
    let state = |slot| net.ask(market.getSlot(slot)).state;
    let mut kills = 3;
    for cheater in &cheaters {
        let slot = cheater.taken.slot;
        until("it is challenged", || net.challenge_of(slot, watcher.account).is_some());
        let challenge = net.challenge_of(slot, watcher.account).expect("there is one");
        until(&format!("{} is refuted", cheater.lie.what), || {
            // The watcher dies a few times, wherever it is just then, and goes on.
            if cheater.defend(&net, challenge) && kills > 0 {
                kills -= 1;
                watcher.kill();
                watcher.start();
            }
            state(slot) == REFUTED
        });
        until("the watcher has seen it", || {
            let told = watcher.json(&["explain", &challenge.to_string()]);
            told["challenge"]["state"] == "won"
        });
        let told = watcher.json(&["explain", &challenge.to_string()]);
        let last = told["challenge"]["choices"].as_array().and_then(|choices| choices.last()).expect("a choice");
        assert_eq!(last["end"], cheater.lie.step + 1, "{}: the step is named", cheater.lie.what);
    }
    until("other data is refuted", || state(other_data.slot) == REFUTED);
    until("other results are refuted", || state(other_results.slot) == REFUTED);
    assert_eq!((state(silent.slot), state(honest.slot)), (SUBMITTED, SUBMITTED));

    // Nothing more can be challenged; who was silent has lost, who was not challenged is paid.
    net.pass(u64::from(WINDOW.max(MOVE_TIME)) + 1);
    until("silence is concluded", || state(silent.slot) == REFUTED);
    net.send(net.market(Party::Client).finalize(honest.slot));
    assert_eq!(state(honest.slot), PAID);
    net.send(net.market(Party::Client).withdraw(net.token, net.account(Party::Client)));
    assert_eq!(net.tokens(net.account(Party::Client)), FUNDS - 8 * BOND + REWARD + COMPENSATION);
    assert_eq!(net.tokens(net.account(Party::Other)), FUNDS - BOND);
    assert_eq!(net.tokens(net.account(Party::Friend)), FUNDS - CHALLENGE_BOND, "the friend has paid for it");

    until("the watcher has its compensations", || net.tokens(watcher.account) == FUNDS + 9 * COMPENSATION);
    until("members have their fees", || {
        members.iter().map(|member| net.tokens(member.account)).sum::<u128>() == 2 * (FUNDS - 1000) + 9 * FEE
    });
    let committee = net.committee(Party::Other);
    until("members have their stakes", || {
        members.iter().all(|member| net.ask(committee.getMember(member.account)).stake == 2 * SEAT_STAKE)
    });
    for member in &members {
        assert!(net.tokens(member.account).is_multiple_of(FEE / 3), "fees are paid by votes");
    }
    net.send(net.market(Party::Sponsor).close(job));
    net.send(net.market(Party::Sponsor).withdraw(net.token, net.account(Party::Sponsor)));
    assert_eq!(net.tokens(net.account(Party::Sponsor)), FUNDS - REWARD);
    let sham = CHALLENGE_BOND - COMPENSATION - FEE;
    let burned = 8 * (BOND - COMPENSATION - FEE) + BOND - COMPENSATION + sham;
    assert_eq!(net.ask(market.owed(net.token, BURNED)), U256::from(burned));
    assert_eq!(net.tokens(net.market), burned, "nothing else is left in the market");

    assert_eq!(watcher.end(), Some(0), "{}", watcher.log());
    let status = watcher.json(&["status", "--all"]);
    let findings: Vec<&str> = status["submissions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|checked| checked["finding"]["finding"].as_str().expect("a finding"))
        .collect();
    assert_eq!(findings.iter().filter(|finding| **finding == "differs").count(), 7, "{findings:?}");
    for other in ["other-data", "other-results"] {
        assert_eq!(findings.iter().filter(|finding| **finding == other).count(), 1, "{findings:?}");
    }
    assert_eq!(findings.iter().filter(|finding| **finding == "agrees").count(), 1, "{findings:?}");
}

#[test]
fn a_lying_challenger_with_a_seat_is_outvoted_and_a_member_that_crashed_after_its_commitment_reveals() {
    const PLACES: u128 = 15;
    let Some(net) = Net::start("a lying challenger", PLACES as u16) else { return };
    let mut setting = Setting::new();
    let store = setting.store().folder().to_owned();
    let job = net.post(&setting, 1);
    let policy = format!(
        "[challenge]\nenabled = false\n[committee]\ncontracts = [\"{}\"]\nengine = \"{}\"\n",
        net.committee,
        engine()
    );
    let mut member = Verifier::new(&net, &store, &policy);
    member.take_seats(&net);
    let other = net.committee(Party::Other);
    net.allow(Party::Other, net.committee);
    net.send(net.committee(Party::Other).deposit(SEAT_STAKE));
    net.send(net.committee(Party::Other).takeSeat());
    member.start();

    let accepted = net.accept(job, &mut setting, 0);
    let liar = Liar::new(&setting);
    let taken = net.submit(&setting, accepted, &liar.honest, &liar.last);
    let challenger = net.disputes(Party::Other);
    net.send(net.disputes(Party::Other).open(taken.slot, taken.run.clone(), 0));
    let challenge = ids::challenge_id(taken.slot, net.account(Party::Other), 0);
    let mine = net.account(Party::Other);
    let vote = |question, account| net.ask(other.getVote(question, 0, account));
    let drawn = |question, account| u128::from(vote(question, account).count);
    // The client shows what is so, the challenger names what it likes.
    let (mut step, mut before) = (0, None);
    let question = loop {
        let found = net.ask(challenger.getChallenge(challenge));
        let level = Level { first: found.level.first, steps: found.level.steps, part: found.level.part };
        let leaves: Vec<StateRoot> = level.ends().map(|end| liar.honest[end as usize - 1]).collect();
        match found.state {
            WANTS_LEAVES => drop(net.send(net.disputes(Party::Client).postLeaves(challenge, words(&leaves)))),
            WANTS_CHOICE => {
                let index = leaves.len() / 2;
                let choice = submission::choice(&leaves, index, StateRoot(found.stateIn.0));
                step = level.first + index as u64 * level.part;
                before = Some(net.snapshot());
                net.send(net.disputes(Party::Other).choose(challenge, taken.run.clone(), choice));
            }
            state => {
                assert_eq!(state, WANTS_RULING);
                until("members are drawn", || {
                    drawn(found.question, member.account) + drawn(found.question, mine) == PLACES
                });
                // Those who lie together are to be a minority, but there. Else the chain goes back, and draws others.
                if (1..=PLACES / 2).contains(&drawn(found.question, mine)) {
                    break found.question;
                }
                net.go_back(before.take().expect("a choice led here"));
            }
        }
    };
    assert!(step > 0 && step < STEPS);
    until("the member has committed", || !vote(question, member.account).commitment.is_zero());
    // It cannot have revealed: somebody else has not committed.
    member.kill();
    assert!(vote(question, member.account).answer.is_zero());
    // The challenger votes for itself.
    let (wrong, salt) = (B256::repeat_byte(7), B256::repeat_byte(9));
    let words = (question, U256::ZERO, mine, U256::from(1), wrong, salt).abi_encode();
    net.send(net.committee(Party::Other).commit(question, keccak256([&b"fedmkt vote"[..], &words].concat())));
    net.send(net.committee(Party::Other).reveal(question, 1, wrong, salt));
    member.start();
    until("the challenge has ended", || net.ask(challenger.getChallenge(challenge)).state == LOST);
    let right = liar.honest[step as usize].0;
    assert_eq!(net.ask(other.answer(question)).stateOut.0, right, "what the member had committed to is the truth");
    assert!(net.ask(challenger.getChallenge(challenge)).ruled);

    let told = member.json(&["explain", &challenge.to_string()]);
    let how = told["question"]["answer"]["how"].as_str().expect("an answer").to_owned();
    let name = match engine() {
        "cartesi" => "Cartesi",
        "qemu" => "QEMU",
        _ => "natively",
    };
    assert!(how.contains(name) && how.contains(&format!("step {step} ")), "{how}");

    let again = member.start_again();
    assert!(!again.status.success());
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("another verifier is at work"), "{said}");
    // Nor with another folder: two would take each other's nonces.
    let elsewhere = member.start_again_in("elsewhere");
    assert!(!elsewhere.status.success());
    let said = String::from_utf8_lossy(&elsewhere.stderr).into_owned();
    assert!(said.contains("is at work for the account"), "{said}");

    net.pass(u64::from(WINDOW) + 1);
    let market = net.market(Party::Client);
    net.send(net.market(Party::Client).finalize(taken.slot));
    net.send(net.market(Party::Client).withdraw(net.token, net.account(Party::Client)));
    assert_eq!(net.tokens(net.account(Party::Client)), FUNDS + REWARD + COMPENSATION);
    let (honest, lying) = (drawn(question, member.account), drawn(question, mine));
    let fee = FEE / honest * honest;
    until("the member has its fee", || net.tokens(member.account) == FUNDS - 1000 + fee);
    until("the member has its stake", || net.ask(other.getMember(member.account)).stake == 1000);
    let refused = net.wait(async { other.returnStake(question, 0, mine).call().await });
    assert!(refused.is_err(), "who lied gets nothing back");
    assert_eq!(net.ask(other.getMember(mine)).stake, SEAT_STAKE - lying * PENALTY);
    assert_eq!(net.tokens(mine), FUNDS - SEAT_STAKE - CHALLENGE_BOND);
    assert_eq!(net.tokens(BURNED), FEE - fee, "what votes cannot share");
    net.send(net.committee(Party::Other).burn());
    assert_eq!(net.tokens(BURNED), FEE - fee + lying * PENALTY);
    assert_eq!(net.tokens(net.committee), 1000 + SEAT_STAKE - lying * PENALTY, "nothing but stakes is left");
    let burned = CHALLENGE_BOND - COMPENSATION - FEE;
    assert_eq!(net.ask(market.owed(net.token, BURNED)), U256::from(burned));
    assert_eq!(net.tokens(net.market), burned);
    assert_eq!(member.end(), Some(0), "{}", member.log());
}

/// Prints what a dispute takes from challenge to resolution, for `docs/src/performance.md`.
#[test]
#[ignore = "it measures time and gas of moves that the tests above assert: run it with `--ignored --nocapture`"]
fn what_a_dispute_with_five_members_takes() {
    let Some(net) = Net::start("five members", 5) else { return };
    let mut setting = Setting::new();
    let store = setting.store().folder().to_owned();
    let job = net.post(&setting, 1);
    let policy = votes(&net, engine());
    let mut members: Vec<Verifier> = (0..5).map(|_| Verifier::new(&net, &store, &policy)).collect();
    for member in &mut members {
        member.take_seats(&net);
        member.start();
    }
    let mut watcher = Verifier::new(&net, &store, "");
    watcher.start();
    let accepted = net.accept(job, &mut setting, 0);
    let mut liar = Liar::new(&setting);
    let lie = liar.lie(0, &mut Dice(0, 7));
    let taken = net.submit(&setting, accepted, &lie.states, lie.last.as_ref().expect("a header"));
    let (slot, challenge) = (taken.slot, ids::challenge_id(taken.slot, watcher.account, 0));
    let cheater = Cheater { taken, lie, honest: liar.honest };
    until("the cheater is refuted", || {
        cheater.defend(&net, challenge);
        net.ask(net.market(Party::Other).getSlot(slot)).state == REFUTED
    });
    until("fees are paid", || {
        members.iter().map(|member| net.tokens(member.account)).sum::<u128>() == 5 * (FUNDS - 1000) + FEE
    });
    let whose = |account: Address| match account {
        account if account == watcher.account => "challenger",
        account if account == net.account(Party::Client) => "client",
        account if members.iter().any(|member| member.account == account) => "members",
        _ => "others",
    };
    let (seconds, gas) = net.dispute(challenge, whose);
    println!("{} seconds of the chain from the challenge to its end, {} engine", seconds, engine());
    for (who, gas) in gas {
        println!("{who}: {gas} gas");
    }
}
