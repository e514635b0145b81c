//! Results and data that nobody can fetch: withheld for good, gone for a while, and out of reach of one verifier alone.

use alloy::primitives::U256;
use cid::Cid;
use fedmkt_contracts::dev::{BOND, CHALLENGE_BOND, COMPENSATION, FEE, REWARD, WINDOW};
use fedmkt_core::manifest::{Audit, Disclosure};
use fedmkt_market::dispute::Kind;
use fedmkt_store::{BlockStore, FolderStore, files};
use fedmkt_test_kit::gateway::Gateway;

use crate::lies::{Liar, SPONSOR, Setting};
use crate::net::{FUNDS, Net, Party, Taken};
use crate::verifier::{Verifier, votes};
use crate::{BURNED, LOST, PAID, REFUTED, SUBMITTED, WANTS_RULING, until};

/// Copies what is in a store by now.
fn copy(from: &FolderStore, to: &FolderStore) {
    for (cid, _) in from.blocks().expect("blocks") {
        to.put_verified(&cid, &from.get(&cid).expect("a block")).expect("kept");
    }
}

fn bundle(taken: &Taken) -> Cid {
    taken.bundle.expect("results")
}

#[test]
fn files_that_nobody_has_are_challenged_and_the_client_can_still_bring_them() {
    let Some(net) = Net::start("withheld results", 3) else { return };
    // Each bundle is another one, as encrypting takes random bytes.
    let mut setting = Setting::with(|manifest| manifest.sponsor = Some(SPONSOR.into()));
    let store = setting.store();
    let job = net.post(&setting, 4);
    // One gateway for all; and one that has neither results nor the job, which its verifier has from before.
    let (gateway, cut_off) = (Gateway::start(store.folder()), Gateway::start(store.folder()));
    cut_off.withhold(setting.job.cid);
    let policy = |after: u32| format!("[challenge]\nwithheld-after = {after}\n[limits]\nat-once = 3\n");
    let mut watcher = Verifier::with_gateway(&net, &gateway, &policy(20));
    let mut lonely = Verifier::with_gateway(&net, &cut_off, &policy(1));
    copy(&store, &lonely.store());
    let policy = votes(&net, "native");
    let mut members: Vec<Verifier> = (0..2).map(|_| Verifier::with_gateway(&net, &gateway, &policy)).collect();
    for member in &mut members {
        member.take_seats(&net);
        member.start();
    }

    // Three honest runs whose results are not there.
    let [for_good, brought, late] = [1, 2, 3].map(|number| {
        let accepted = net.accept(job, &mut setting, number);
        let liar = Liar::new(&setting);
        let data = &setting.capsule.bytes;
        let taken = net.submit_with(&setting, accepted, &liar.honest, &liar.last, data, &liar.results);
        gateway.withhold(bundle(&taken));
        cut_off.withhold(bundle(&taken));
        taken
    });
    // One whose data is not there, with whatever in it.
    let accepted = net.accept(job, &mut setting, 4);
    let liar = Liar::new(&setting);
    let data = b"nobody will ever read this";
    let no_data = net.submit_with(&setting, accepted, &liar.honest, &liar.last, data, &liar.results);
    let capsule = files::add_file(&store, &data[..]).expect("there already").cid;
    gateway.withhold(capsule);
    cut_off.withhold(capsule);
    watcher.start();
    lonely.start();

    // What was seen so far is there when the watcher comes back.
    let since = |taken: &Taken| watcher.finding(taken.slot)["search"]["since"].as_u64();
    until("it is seen that nothing is there", || [&for_good, &no_data].iter().all(|taken| since(taken).is_some()));
    let first = [&for_good, &no_data].map(since);
    watcher.kill();
    watcher.start();

    // Back before they count as withheld.
    until("it is seen that they are not there", || watcher.finding(brought.slot)["search"]["tries"].as_u64() > Some(0));
    gateway.give(&bundle(&brought));
    until("it is seen that they are there", || watcher.finding(brought.slot)["finding"] == "agrees");
    assert_eq!(net.challenge_of(brought.slot, watcher.account), None);

    // Back when somebody has challenged it: the committee finds them.
    let disputes = net.disputes(Party::Other);
    let challenge = |taken: &Taken| net.challenge_of(taken.slot, watcher.account);
    let found = |taken: &Taken| net.ask(disputes.getChallenge(challenge(taken).expect("a challenge")));
    for (taken, kind) in [(&late, Kind::Results), (&for_good, Kind::Results), (&no_data, Kind::Capsule)] {
        until("it is challenged", || challenge(taken).is_some());
        assert_eq!((found(taken).state, found(taken).kind), (WANTS_RULING, kind as u8));
        let finding = watcher.finding(taken.slot);
        let search = &finding["search"];
        assert!(search["withheld"] == true && search["tries"].as_u64() >= Some(3), "{finding}");
    }
    assert_eq!([&for_good, &no_data].map(|taken| watcher.finding(taken.slot)["search"]["since"].as_u64()), first);
    gateway.give(&bundle(&late));
    until("the challenger has lost", || found(&late).state == LOST);
    assert!(found(&late).ruled);

    // Never: the members have looked for them to the last.
    let committee = net.committee(Party::Other);
    let ends = [&for_good, &no_data].map(|taken| {
        let question = found(taken).question;
        until("members are drawn", || !net.ask(committee.getRound(question, 0)).commitUntil.is_zero());
        net.ask(committee.getRound(question, 0)).commitUntil.to::<u64>()
    });
    net.pass_until(ends[0].min(ends[1]) - 60);
    let market = net.market(Party::Client);
    let state = |taken: &Taken| net.ask(market.getSlot(taken.slot)).state;
    until("withheld results are refuted", || state(&for_good) == REFUTED);
    until("withheld data is refuted", || state(&no_data) == REFUTED);
    assert_eq!((state(&late), state(&brought)), (SUBMITTED, SUBMITTED));

    // Who lacks the job as well has looked again and again, and holds that it is its own fault.
    for taken in [&brought, &late] {
        let finding = lonely.finding(taken.slot);
        assert_eq!((finding["finding"].as_str(), finding["search"]["tries"].as_u64()), (Some("no-results"), Some(0)));
        assert_eq!(net.challenge_of(taken.slot, lonely.account), None);
    }
    assert_eq!(net.challenge_of(no_data.slot, lonely.account), None);
    assert!(lonely.noted("but the job cannot be had either") >= 12);
    assert_eq!(net.tokens(lonely.account), FUNDS);

    net.pass(u64::from(WINDOW) + 1);
    for taken in [&late, &brought] {
        net.send(net.market(Party::Client).finalize(taken.slot));
        assert_eq!(state(taken), PAID);
    }
    let client = net.account(Party::Client);
    net.send(net.market(Party::Client).withdraw(net.token, client));
    assert_eq!(net.tokens(client), FUNDS - 2 * BOND + 2 * REWARD, "who brings files late earns nothing by that");
    until("the watcher has what is its own", || {
        net.tokens(watcher.account) == FUNDS + 2 * COMPENSATION - CHALLENGE_BOND
    });
    until("members have their fees", || {
        members.iter().map(|member| net.tokens(member.account)).sum::<u128>() == 2 * (FUNDS - 1000) + 3 * FEE
    });
    net.send(net.market(Party::Sponsor).close(job));
    net.send(net.market(Party::Sponsor).withdraw(net.token, net.account(Party::Sponsor)));
    assert_eq!(net.tokens(net.account(Party::Sponsor)), FUNDS - 2 * REWARD);
    let burned = 2 * (BOND - COMPENSATION - FEE) + CHALLENGE_BOND - FEE;
    assert_eq!(net.ask(market.owed(net.token, BURNED)), U256::from(burned));
    assert_eq!(net.tokens(net.market), burned, "nothing else is left in the market");
    assert_eq!(watcher.end(), Some(0), "{}", watcher.log());
}

#[test]
fn an_auditor_looks_for_results_whether_or_not_it_is_shown_the_data() {
    let Some(net) = Net::start("withheld results of an audited job", 1) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let gateway = Gateway::start(&store);
    let policy = format!(
        "[challenge]\nwithheld-after = 6\n[committee]\ncontracts = [\"{}\"]\nengine = \"native\"\n",
        net.committee
    );
    // It challenges, and judges alone.
    let mut auditor = Verifier::with_gateway(&net, &gateway, &policy);
    let audit = Audit { auditors: vec![auditor.auditor()], per_million: 1_000_000 };
    let mut setting = Setting::with(|manifest| {
        (manifest.disclosure, manifest.sponsor) = (Disclosure::Audited(audit), Some(SPONSOR.into()));
    });
    std::os::unix::fs::symlink(setting.store().folder(), &store).expect("what the gateway gives");
    let job = net.post_for(&setting, 2, &[auditor.account]);
    auditor.stake(&net, "500", &[]);
    let [withheld, there] = [1, 2].map(|number| {
        let accepted = net.accept(job, &mut setting, number);
        let liar = Liar::new(&setting);
        net.submit_with(&setting, accepted, &liar.honest, &liar.last, &[], &liar.results)
    });
    gateway.withhold(bundle(&withheld));
    auditor.start();
    until("it is challenged", || net.challenge_of(withheld.slot, auditor.account).is_some());
    let challenge = net.challenge_of(withheld.slot, auditor.account).expect("a challenge");
    let question = net.ask(net.disputes(Party::Other).getChallenge(challenge)).question;
    let committee = net.committee(Party::Other);
    until("the auditor is drawn", || !net.ask(committee.getRound(question, 0)).commitUntil.is_zero());
    net.pass_until(net.ask(committee.getRound(question, 0)).commitUntil.to::<u64>() - 60);
    let market = net.market(Party::Other);
    until("withheld results are refuted", || net.ask(market.getSlot(withheld.slot)).state == REFUTED);
    assert_eq!(auditor.finding(there.slot)["finding"], "undisclosed");
    assert_eq!(net.challenge_of(there.slot, auditor.account), None);
    until("the auditor has what is its own", || net.tokens(auditor.account) == FUNDS - 500 + COMPENSATION + FEE);
    assert_eq!(net.ask(market.owed(net.token, BURNED)), U256::from(BOND - COMPENSATION - FEE));
}
