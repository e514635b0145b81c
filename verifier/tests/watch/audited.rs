//! Jobs whose data only auditors may see: what is disclosed to them is checked and judged like open data, and stays with them.

use std::fs;
use std::path::Path;

use alloy::primitives::{B256, U256};
use fedmkt_contracts::dev::{BOND, COMPENSATION, FEE, MOVE_TIME, REWARD, WINDOW};
use fedmkt_contracts::{ids, submission};
use fedmkt_core::manifest::{Audit, Disclosure};
use fedmkt_market::submission::encrypt;

use crate::lies::{Dice, Liar, Setting};
use crate::net::{FUNDS, Net, Party};
use crate::verifier::Verifier;
use crate::{BURNED, Cheater, PAID, REFUTED, SILENT, SUBMITTED, until};

/// Whether a file in a folder, or below it, holds these bytes.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(folder).expect("a folder").flatten().any(|entry| {
        let path = entry.path();
        match path.is_dir() {
            true => holds(&path, bytes),
            false => fs::read(&path).unwrap_or_default().windows(bytes.len()).any(|window| window == bytes),
        }
    })
}

/// A client discloses a file to the auditors of a slot's job.
fn disclose(net: &Net, setting: &Setting, slot: B256, recipients: &[String], plain: &[u8]) {
    let cid = encrypt(&setting.store(), recipients, plain).expect("encrypted");
    let cid = submission::file_cid(Some(&cid)).expect("a file");
    net.send(net.market(Party::Client).disclose(slot, cid));
}

#[test]
fn auditors_check_what_is_disclosed_to_them_and_judge_it() {
    let Some(net) = Net::start("audited jobs", 3) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let policy = |challenges| {
        format!(
            "[challenge]\nenabled = {challenges}\n[committee]\ncontracts = [\"{}\"]\nengine = \"native\"\n",
            net.committee
        )
    };
    // One of them challenges; all of them judge.
    let mut auditors: Vec<Verifier> = (0..3).map(|number| Verifier::new(&net, &store, &policy(number == 0))).collect();
    let recipients: Vec<String> = auditors.iter().map(Verifier::auditor).collect();
    let accounts: Vec<_> = auditors.iter().map(|auditor| auditor.account).collect();
    let audit = Audit { auditors: recipients.clone(), per_million: 1_000_000 };
    let mut setting = Setting::disclosed(Disclosure::Audited(audit));
    std::os::unix::fs::symlink(setting.store().folder(), &store).expect("a store that all use");
    let job = net.post_for(&setting, 6, &accounts);
    for auditor in &mut auditors {
        // Auditors need stake, but no seat.
        auditor.stake(&net, "500", &[]);
        auditor.start();
    }

    let data = setting.capsule.bytes.to_vec();
    let mut changed = data.clone();
    let at = changed.len() - 100;
    changed[at] ^= 1;
    let market = net.market(Party::Client);
    let state = |slot| net.ask(market.getSlot(slot)).state;
    let audit_is_due = |slot| net.ask(market.getAudit(slot)).state == 1;

    // Honest ones: one discloses, one is silent.
    let mut take = |number: u8, lies: bool| {
        let accepted = net.accept(job, &mut setting, number);
        let mut liar = Liar::new(&setting);
        if lies {
            let lie = liar.lie(0, &mut Dice(0, 7));
            // Else it were found before anything is disclosed.
            let (last, results) = (lie.last.as_ref().expect("a header"), liar.results_of_last());
            let taken = net.submit_with(&setting, accepted, &lie.states, last, &[], &results);
            return Cheater { taken, lie, honest: liar.honest };
        }
        let taken = net.submit_with(&setting, accepted, &liar.honest, &liar.last, &[], &liar.results);
        let lie = crate::lies::Lie { states: Vec::new(), what: "none", step: 0, last: None, hides: false };
        Cheater { taken, lie, honest: liar.honest }
    };
    let cheater = take(1, true);
    let (honest, other_data, garbage, foreign, silent) =
        (take(2, false), take(3, false), take(4, false), take(5, false), take(6, false));
    let slots = [&cheater, &honest, &other_data, &garbage, &foreign, &silent].map(|taken| taken.taken.slot);
    // The auditors hold the lotteries: all are drawn.
    slots.iter().for_each(|slot| until("the lottery is held", || audit_is_due(*slot)));

    disclose(&net, &setting, cheater.taken.slot, &recipients, &data);
    disclose(&net, &setting, honest.taken.slot, &recipients, &data);
    disclose(&net, &setting, other_data.taken.slot, &recipients, &changed);
    // No age file; and one that is encrypted to somebody else.
    let cid = fedmkt_store::files::add_file(&setting.store(), &data[..10]).expect("added").cid;
    let cid = submission::file_cid(Some(&cid)).expect("a file");
    net.send(net.market(Party::Client).disclose(garbage.taken.slot, cid));
    let stranger = Verifier::new(&net, &store, "").auditor();
    disclose(&net, &setting, foreign.taken.slot, &[stranger], &data);

    let challenge = ids::challenge_id(cheater.taken.slot, accounts[0], 0);
    until("the cheater is refuted by its auditors", || {
        cheater.defend(&net, challenge);
        state(cheater.taken.slot) == REFUTED
    });
    for (slot, what) in [(&other_data, "other data"), (&garbage, "no age file"), (&foreign, "another's recipient")] {
        until(&format!("{what} is refuted"), || state(slot.taken.slot) == REFUTED);
    }
    assert_eq!((state(honest.taken.slot), state(silent.taken.slot)), (SUBMITTED, SUBMITTED));
    until("the honest run is found to be as claimed", || {
        let status = auditors[0].json(&["status", "--all"]);
        let list = status["submissions"].as_array().expect("a list").clone();
        list.iter().any(|checked| checked["finding"]["finding"] == "agrees")
    });

    net.pass(u64::from(WINDOW.max(MOVE_TIME)) + 1);
    until("silence is ended by the auditors", || state(silent.taken.slot) == SILENT);
    net.send(net.market(Party::Client).finalize(honest.taken.slot));
    assert_eq!(state(honest.taken.slot), PAID);

    // Every auditor has voted in each of four cases, and one of them has challenged. Nobody has asked for an audit.
    let client = net.account(Party::Client);
    net.send(net.market(Party::Client).withdraw(net.token, client));
    assert_eq!(net.tokens(client), FUNDS - 5 * BOND + REWARD);
    for (number, account) in accounts.iter().enumerate() {
        let won = if number == 0 { 4 * COMPENSATION } else { 0 };
        until("an auditor has what it is owed", || net.tokens(*account) == FUNDS - 500 + won + 4 * FEE / 3);
        let committee = net.committee(Party::Other);
        until("an auditor has its stake", || net.ask(committee.getMember(*account)).stake == 500);
    }
    net.send(net.market(Party::Sponsor).close(job));
    net.send(net.market(Party::Sponsor).withdraw(net.token, net.account(Party::Sponsor)));
    assert_eq!(net.tokens(net.account(Party::Sponsor)), FUNDS - REWARD);
    let burned = 4 * (BOND - COMPENSATION - FEE) + BOND;
    assert_eq!(net.ask(market.owed(net.token, BURNED)), U256::from(burned));
    assert_eq!(net.tokens(net.market), burned, "nothing else is left in the market");
    assert_eq!(net.tokens(net.committee), 3 * 500, "nothing but stakes is left in the committee");

    // What was entrusted to them is nowhere.
    let row = b"1,2,3\n1,2,3\n1,2,3\n";
    assert!(data.windows(row.len()).any(|window| window == row));
    for auditor in &mut auditors {
        auditor.kill();
        assert!(!holds(&auditor.home(), row), "an auditor keeps data in a file");
    }
    assert!(!holds(setting.store().folder(), row), "data was published");
}
