//! Auditors that ask for audits which the lottery has not brought.

use alloy::primitives::{Address, U256};
use fedmkt_contracts::dev::{BOND, CHALLENGE_BOND, COMPENSATION, MOVE_TIME, REWARD, WINDOW};
use fedmkt_contracts::submission;
use fedmkt_core::manifest::{Audit, Disclosure};
use fedmkt_market::submission::encrypt;

use crate::lies::{Liar, Setting};
use crate::net::{FUNDS, Net, Party};
use crate::verifier::Verifier;
use crate::{BURNED, PAID, SILENT, SUBMITTED, until};

/// A flag of slots, as the contract has it: the lottery was held.
const LOTTERY: u8 = 4;

/// States of audits, as the contract numbers them.
const NO_AUDIT: u8 = 0;
const DUE: u8 = 1;

#[test]
fn an_auditor_asks_for_its_share_of_audits_within_its_bond_and_by_default_for_none() {
    const SLOTS: u32 = 12;
    let Some(net) = Net::start("audit requests", 3) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let policy = |share: &str, most: u128| {
        format!("[check]\ntokens = [\"{}\"]\n[audit]\n{share}\nmost-bond = \"{most}\"\n", net.token)
    };
    let mut content = Verifier::new(&net, &store, "");
    let mut poor = Verifier::new(&net, &store, &policy("request-share = 1.0", CHALLENGE_BOND - 1));
    let mut eager = Verifier::new(&net, &store, &policy("request-share = 1.0", CHALLENGE_BOND));
    let recipients: Vec<String> = [&content, &poor, &eager].map(Verifier::auditor).to_vec();
    let accounts = [&content, &poor, &eager].map(|auditor| auditor.account);
    // The least that terms can have with these amounts.
    let audit = Audit { auditors: recipients.clone(), per_million: 100_000 };
    let mut setting = Setting::disclosed(Disclosure::Audited(audit));
    std::os::unix::fs::symlink(setting.store().folder(), &store).expect("a store that all use");
    let job = net.post_for(&setting, SLOTS, &accounts);
    content.start();
    poor.start();

    // Two submissions that the lottery does not draw.
    let market = net.market(Party::Client);
    let audit = |slot| net.ask(market.getAudit(slot));
    let state = |slot| net.ask(market.getSlot(slot)).state;
    let (mut drawn, mut spared) = (0, Vec::new());
    for number in 0..SLOTS as u8 {
        let accepted = net.accept(job, &mut setting, number);
        let liar = Liar::new(&setting);
        let taken = net.submit_with(&setting, accepted, &liar.honest, &liar.last, &[], &liar.results);
        until("the lottery is held", || net.ask(market.getSlot(taken.slot)).flags & LOTTERY != 0);
        match audit(taken.slot).state {
            NO_AUDIT => spared.push(taken.slot),
            _ => drawn += 1,
        }
        if spared.len() == 2 {
            break;
        }
    }
    let [honest, silent] = spared[..] else { panic!("the lottery has drawn {drawn} of {SLOTS}") };
    // Those who ask for none, or for none that costs so much, have time to look at it often.
    net.wait_for_blocks(15);
    assert_eq!((audit(honest).state, audit(silent).state), (NO_AUDIT, NO_AUDIT));

    eager.start();
    for slot in [honest, silent] {
        until("an audit is asked for", || audit(slot).state == DUE);
        assert_eq!(audit(slot).requester, eager.account);
    }
    assert_eq!(net.tokens(eager.account), FUNDS - 2 * CHALLENGE_BOND);
    // It dies before the bonds are back.
    eager.kill();
    eager.start();
    let cid = encrypt(&setting.store(), &recipients, &setting.capsule.bytes[..]).expect("encrypted");
    net.send(market.disclose(honest, submission::file_cid(Some(&cid)).expect("a file")));
    for auditor in [&content, &eager] {
        until("what is disclosed is checked", || auditor.finding(honest)["finding"] == "agrees");
    }
    assert_eq!((state(honest), state(silent)), (SUBMITTED, SUBMITTED));

    net.pass(u64::from(WINDOW.max(MOVE_TIME)) + 1);
    until("silence is ended by the auditors", || state(silent) == SILENT);
    // What an audit costs whoever asks for it in vain, and what it brings where the client is silent.
    until("bond and compensation are back", || net.tokens(eager.account) == FUNDS - CHALLENGE_BOND + COMPENSATION);
    net.send(market.finalize(honest));
    assert_eq!(state(honest), PAID);
    until("the other bond is back", || net.tokens(eager.account) == FUNDS);
    let client = net.account(Party::Client);
    net.send(market.withdraw(net.token, client));
    assert_eq!(net.tokens(client), FUNDS - BOND + REWARD + COMPENSATION - drawn * BOND);
    assert_eq!((net.tokens(content.account), net.tokens(poor.account)), (FUNDS, FUNDS));
    let owed = |party: Address| net.ask(market.owed(net.token, party));
    until("silence where the lottery has drawn is ended, too", || {
        owed(BURNED) == U256::from(BOND - COMPENSATION + drawn * BOND)
    });
    net.send(net.market(Party::Sponsor).close(job));
    net.send(net.market(Party::Sponsor).withdraw(net.token, net.account(Party::Sponsor)));
    assert_eq!(net.tokens(net.account(Party::Sponsor)), FUNDS - REWARD);
    assert_eq!(U256::from(net.tokens(net.market)), owed(BURNED), "nothing else is left in the market");
}
