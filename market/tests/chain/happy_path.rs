//! A sponsor, three clients, and everybody is paid.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use alloy::primitives::{B256, U256};
use fedmkt_core::manifest::{Audit, Disclosure};
use fedmkt_market::board::Board;
use fedmkt_market::journal::Taken;
use fedmkt_market::records::Records;
use fedmkt_market::send::allow;
use serde_json::{Value, json};

use crate::devnet::Devnet;
use crate::disputes::Program;
use crate::party::{Done, FUNDS, Party, TOKEN, key};

/// How many slots of a job were taken.
fn count(party: &Party, job: &str) -> usize {
    let shown = party.fedmkt(&["job", "show", job, "--json"]).json();
    shown["taken"].as_array().expect("a list").len()
}

#[test]
fn three_clients_train_and_are_paid_to_the_unit() {
    let Some(net) = Devnet::start("three clients") else { return };
    let sponsor = Party::new(&net);
    let (secret, recipient) = key();
    fs::write(sponsor.path("key.txt"), format!("# results\n{secret}\n")).expect("a file");
    let cid = sponsor.publish(|manifest| manifest.sponsor = Some(recipient));
    let job = sponsor.post(&net, &cid, 3, "100").text().to_owned();
    assert_eq!(net.tokens(&sponsor.account), FUNDS - 300 * TOKEN);
    assert_eq!(net.tokens(&net.market), 300 * TOKEN);

    let clients: Vec<Party> = (0..3).map(|_| Party::new(&net)).collect();
    let mut slots = Vec::new();
    for (index, client) in clients.iter().enumerate() {
        client.write_data(index as u64);
        sponsor.hand(&cid, client);
        let listed = client.fedmkt(&["job", "list", "--json"]).json();
        assert_eq!((listed[0]["job"].as_str(), listed[0]["cid"].as_str()), (Some(&job[..]), Some(&cid[..])));
        assert_eq!(listed[0]["open_slots"], 3 - index);
        let done = Done::from(client.work(&cid).output().expect("fedmkt-run runs"));
        assert!(done.stderr.contains("Whoever cannot get what you submit may challenge it"), "{}", done.stderr);
        let done = done.json();
        assert_eq!(done["status"], "done");
        let submission = &done["submission"];
        assert_eq!(net.tokens(&client.account), FUNDS - 100 * TOKEN, "the bond");
        let slot = submission["slot"].as_str().expect("a slot").to_owned();
        let bundle = submission["bundle"].as_str().expect("a bundle");
        client.hand(bundle, &sponsor);
        slots.push(slot);

        // The same again does nothing.
        let again = Done::from(client.work(&cid).output().expect("fedmkt-run runs"));
        assert_eq!(again.code, Some(0), "{}", again.stderr);
        assert!(again.stderr.contains("submitted already"), "{}", again.stderr);
        assert_eq!(count(&sponsor, &job), index + 1);
    }

    // The sponsor looks at one, is content, and approves; the others are paid by time.
    let (slot, first) = (&slots[0], &clients[0]);
    sponsor.fedmkt(&["job", "fetch", slot, "--output", "got"]).fails(3, "--identity");
    sponsor.fedmkt(&["job", "fetch", slot, "--output", "got", "--identity", "key.txt"]).text();
    for file in ["weights", "metrics.csv"] {
        let (got, made) = (sponsor.path("got").join(file), first.path("out").join(file));
        assert_eq!(fs::read(got).expect("fetched"), fs::read(made).expect("made"), "{file}");
    }
    fs::write(sponsor.path("other.txt"), key().0).expect("a file");
    sponsor.fedmkt(&["job", "fetch", slot, "--output", "no", "--identity", "other.txt"]).fails(3, "is the key of");
    assert!(!sponsor.path("no").exists());
    sponsor.fedmkt(&["job", "approve", slot, "--yes"]).text();
    sponsor.fedmkt(&["job", "approve", slot, "--yes"]).text();
    let claimed = first.fedmkt(&["claim", "--json"]).json();
    assert_eq!(claimed["withdrawn"][0]["amount"], (200 * TOKEN).to_string());
    assert_eq!(net.tokens(&first.account), FUNDS + 100 * TOKEN);

    let second = &clients[1];
    let early = second.fedmkt(&["claim", "--json"]).json();
    assert_eq!(early["withdrawn"].as_array().map(Vec::len), Some(0), "the window has not passed");
    let status = second.fedmkt(&["status", "--json"]).json();
    assert_eq!(status[0]["state"], "submitted");
    net.wait(3601);
    for client in &clients[1..] {
        client.fedmkt(&["claim"]).text();
        assert_eq!(net.tokens(&client.account), FUNDS + 100 * TOKEN);
        assert_eq!(client.fedmkt(&["status", "--all", "--json"]).json()[0]["state"], "paid");
        client.fedmkt(&["claim"]).text();
        assert_eq!(net.tokens(&client.account), FUNDS + 100 * TOKEN, "nobody is paid twice");
    }
    assert_eq!(net.tokens(&net.market), 0, "every unit went to somebody");
    assert_eq!(net.tokens(&sponsor.account), FUNDS - 300 * TOKEN);
}

#[test]
fn a_sponsor_gets_rewards_of_open_slots_back() {
    let Some(net) = Devnet::start("a cancelled job") else { return };
    let sponsor = Party::new(&net);
    let cid = sponsor.publish(|_| {});
    let job = sponsor.post(&net, &cid, 2, "0.000000000000000007").text().to_owned();
    assert_eq!(net.tokens(&net.market), 14);
    sponsor.fedmkt(&["job", "cancel", &job]).text();
    sponsor.fedmkt(&["job", "cancel", &job]).text();
    assert_eq!(sponsor.fedmkt(&["job", "list", "--json"]).json().as_array().map(Vec::len), Some(0));
    sponsor.fedmkt(&["claim"]).text();
    assert_eq!((net.tokens(&net.market), net.tokens(&sponsor.account)), (0, FUNDS));
    assert_eq!(sponsor.post(&net, &cid, 1, "1").text(), job, "nobody offers a second reward unawares");
    assert_eq!(net.tokens(&sponsor.account), FUNDS);
    // Another one that comes to nothing takes none with it.
    sponsor.post_with(&net, &cid, 1, "10000000", &["--again"]).fails(3, "are needed");
    assert_eq!(sponsor.post(&net, &cid, 1, "1").text(), job);
    let other = sponsor.post_with(&net, &cid, 1, "1", &["--again"]).text().to_owned();
    assert_ne!(other, job, "the same job can be offered again");
    assert_eq!(net.tokens(&sponsor.account), FUNDS - TOKEN);
    sponsor.fedmkt(&["backup", "copy"]).text();
    for kept in ["identity.age", "wallets/default.json", "journal.redb"] {
        assert!(sponsor.path("copy").join(kept).is_file(), "{kept}");
    }
    sponsor.fedmkt(&["backup", "copy"]).fails(3, "is there already");
}

#[test]
fn an_audited_client_discloses_and_is_paid() {
    let Some(net) = Devnet::start("an audit") else { return };
    let (sponsor, mut client) = (Party::new(&net), Party::new(&net));
    let (secret, auditor) = key();
    let cid = sponsor.publish(|manifest| {
        manifest.disclosure = Disclosure::Audited(Audit { auditors: vec![auditor], per_million: 1_000_000 });
    });
    let audited = ["--auditor", &sponsor.account];
    let job = sponsor.post_with(&net, &cid, 1, "100", &audited).text().to_owned();
    client.write_data(1);
    sponsor.hand(&cid, &client);
    // Whoever posts a job names its auditors, and these vote in disputes.
    let accept = ["accept", &cid, "--grant", "data=data", "--yes"];
    client.fedmkt(&accept).fails(3, "your `arbitrators` do not name 0x");
    assert_eq!((net.tokens(&client.account), net.nonce(&client.account)), (FUNDS, 0));
    client.trusts(&net, &sponsor.account);
    let done = Done::from(client.work(&cid).output().expect("fedmkt-run runs")).json();
    let slot = done["submission"]["slot"].as_str().expect("a slot").to_owned();
    client.fedmkt(&["disclose", &slot, "--yes"]).fails(3, "is due");
    net.wait(3601);
    let claimed = client.fedmkt(&["claim", "--json"]);
    claimed.fails(1, "drawn for an audit");
    let claimed: Value = serde_json::from_str(&claimed.stdout).expect("an object");
    assert_eq!((&claimed["audits_due"], &claimed["withdrawn"]), (&json!([slot]), &json!([])));
    assert_eq!(client.fedmkt(&["status", "--json"]).json()[0]["state"], "audit due");
    // Begun, killed, and lost on its way: it goes on with the same file, for encrypted again it is another.
    net.ask("evm_setIntervalMining", json!([0]));
    let mut begun = client.command("fedmkt", &["disclose", &slot, "--yes"]);
    let mut begun = begun.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    while net.waiting().is_empty() {
        std::thread::sleep(Duration::from_millis(50));
    }
    begun.kill().expect("killed");
    begun.wait().expect("ended");
    net.ask("anvil_dropAllTransactions", json!([]));
    net.ask("evm_setIntervalMining", json!([1]));
    let told = client.fedmkt(&["defend", "--once", "--json"]);
    assert!(told.stderr.contains("is disclosed to the job's auditors"), "{}", told.stderr);
    let told = told.json();
    assert_eq!((told["event"].as_str(), told["slot"].as_str()), (Some("disclosed"), Some(&slot[..])));
    let capsule = told["capsule"].as_str().expect("a capsule").to_owned();
    let program = Program::of(&client, &net);
    let board = Board::read(&program.chain, &program.settings).expect("events");
    let disclosed = board.slots[&slot.parse::<B256>().expect("an id")].disclosed.expect("a file");
    assert_eq!(disclosed.to_string(), capsule, "the chain names what was told");
    drop(program);
    assert_eq!(client.fedmkt(&["defend", "--once", "--json"]).text(), "", "it is disclosed once");
    client.fedmkt(&["disclose", &slot, "--yes"]).fails(3, "is due");
    // What was encrypted cannot be made again: it is in the backup, and comes from there.
    client.fedmkt(&["backup", "copy"]).text();
    let restored = Party::poor(&net);
    let bundle = done["submission"]["bundle"].as_str().expect("a bundle");
    for file in [bundle, &capsule] {
        let archive = client.path(format!("copy/archives/{file}.car"));
        restored.fedmkt(&["store", "import", archive.to_str().expect("a path")]).text();
        restored.fedmkt(&["store", "get", file]).text();
    }
    let store = client.store();
    assert!(store.unpin(&capsule.parse().expect("a CID")).expect("the store"));
    client.fedmkt(&["store", "gc", "--now"]).text();
    let warned = client.fedmkt(&["backup", "second"]);
    assert!(warned.stderr.contains(&format!("the store lacks {capsule}")), "{}", warned.stderr);
    assert!(!warned.stderr.contains(bundle) && warned.code == Some(0), "{}", warned.stderr);
    restored.hand(&capsule, &client);
    client.hand(&capsule, &sponsor);
    let encrypted = fedmkt_store::files::read_file(&sponsor.store(), &capsule.parse().expect("a CID"), 1 << 20);
    let key: age::x25519::Identity = secret.parse().expect("a key");
    let plain = age::decrypt(&key, &encrypted.expect("a file")).expect("decrypted");
    assert_eq!(plain, client.capsule(), "the auditor has what the client ran on");
    net.wait(3601);
    client.fedmkt(&["claim"]).text();
    assert_eq!(net.tokens(&client.account), FUNDS + 100 * TOKEN);
    assert_eq!(count(&sponsor, &job), 1);
}

#[test]
fn a_client_whose_home_was_moved_discloses_from_there() {
    let Some(net) = Devnet::start("a home that was moved") else { return };
    let (sponsor, mut client) = (Party::new(&net), Party::new(&net));
    let (cid, slot) = sponsor.audits(&net, &mut client, 1_000_000, "100", &[]);
    net.wait(3601);
    client.fedmkt(&["claim"]).fails(1, "drawn for an audit");
    let moved = client.path("moved");
    fs::rename(client.path("home"), &moved).expect("moved");
    client.set("FEDMKT_HOME", moved.display().to_string());
    client.fedmkt(&["disclose", &slot, "--yes"]).text();
    assert_eq!(client.fedmkt(&["status", "--json"]).json()[0]["state"], "submitted");

    // From now on it is known to be there.
    client.fedmkt(&["accept", &cid, "--grant", "data=data", "--yes"]).text();
    let journal = Records::open(&moved.join("journal.redb")).expect("a journal");
    let taken: Vec<(String, Taken)> = journal.all("slot/").expect("records");
    assert!(taken[0].1.capsule.starts_with(moved.to_str().expect("a path")), "{}", taken[0].1.capsule);
}

#[test]
fn whoever_asked_for_an_audit_gets_its_bond_back_by_claim() {
    let Some(net) = Devnet::start("an audit request") else { return };
    let (sponsor, mut client, asking) = (Party::new(&net), Party::new(&net), Party::new(&net));
    let bonds = ["--challenge-bond", "20", "--compensation", "10"];
    let (_, slot) = sponsor.audits(&net, &mut client, 1_000_000, "100", &bonds);
    let slot: B256 = slot.parse().expect("an id");
    let program = Program::of(&asking, &net);
    let (sender, market) = (program.sender(), program.chain.market);
    allow(&sender, net.token.parse().expect("an address"), U256::from(20 * TOKEN)).expect("allowed");
    let call = program.chain.market().requestAudit(slot).calldata().to_vec();
    assert!(sender.send("request", market, call).expect("sent").status());
    assert_eq!(net.tokens(&asking.account), FUNDS - 20 * TOKEN);
    // All that this account knew of it is lost.
    drop(sender);
    drop(program);
    fs::remove_file(asking.path("home/journal.redb")).expect("a journal");

    client.fedmkt(&["defend", "--once"]).text();
    net.wait(3601);
    client.fedmkt(&["claim"]).text();
    asking.fedmkt(&["claim"]).text();
    // The client has disclosed, and is paid for its trouble.
    assert_eq!(net.tokens(&asking.account), FUNDS - 10 * TOKEN);
    assert_eq!(net.tokens(&client.account), FUNDS + 110 * TOKEN);
    assert_eq!(net.tokens(&net.market), 0, "every unit went to somebody");
}

#[test]
fn whoever_defends_holds_the_audit_lottery_before_it_draws_for_sure() {
    let Some(net) = Devnet::start("an audit lottery") else { return };
    net.forget_old_blocks();
    let (sponsor, mut client, anybody) = (Party::new(&net), Party::new(&net), Party::poor(&net));
    // Where so few are drawn the bond is a million rewards.
    let (_, slot) = sponsor.audits(&net, &mut client, 1, "0.0001", &[]);
    let mut defend = client.command("fedmkt", &["defend", "--json"]);
    let defend = defend.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let program = Program::of(&anybody, &net);
    let id: B256 = slot.parse().expect("an id");
    for _ in 0..300 {
        let found = program.chain.call(program.chain.market().getSlot(id)).expect("a slot");
        if found.flags & 4 != 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    // Past the chain's reach, and past the window: from now on the lottery draws for sure.
    assert_eq!(program.chain.reach().expect("an answer"), 256);
    net.ask("anvil_mine", json!([300]));
    net.wait(3601);
    let told = Done::from(defend.wait_with_output().expect("it ended"));
    assert_eq!(told.json(), json!({ "event": "lottery", "slot": slot, "drawn": false }));
    let claimed = client.fedmkt(&["claim", "--json"]).json();
    assert_eq!((&claimed["ended"], &claimed["audits_due"]), (&json!([slot]), &json!([])));
    assert_eq!(net.tokens(&client.account), FUNDS + TOKEN / 10_000);
}
