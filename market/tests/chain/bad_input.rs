//! What people and nodes get wrong: a sentence each, nothing sent, nothing lost.

use std::fs;

use alloy::primitives::{Address, B256, U256};
use fedmkt_contracts::terms;
use fedmkt_market::board::Board;
use fedmkt_market::send::pay;
use fedmkt_store::job::JobDrive;
use serde_json::json;

use crate::devnet::{Devnet, PERMIT};
use crate::disputes::Program;
use crate::party::{Done, FUNDS, Party};

#[test]
fn what_is_wrong_is_told_and_nothing_is_sent() {
    let Some(net) = Devnet::start("bad input") else { return };
    let sponsor = Party::new(&net);
    let cid = sponsor.publish(|_| {});

    // The node, the chain, the contract.
    sponsor.fedmkt(&["job", "list", "--rpc", "http://127.0.0.1:1"]).fails(3, "cannot be reached");
    sponsor.fedmkt(&["job", "list", "--rpc", "nonsense"]).fails(3, "rpc is \"nonsense\" (from the command line)");
    sponsor.fedmkt(&["job", "list", "--chain-id", "1"]).fails(3, "is on chain 31337, not 1");
    sponsor.fedmkt(&["job", "list", "--market", &sponsor.account]).fails(3, "there is no contract");
    sponsor.fedmkt(&["job", "list", "--market", &net.token]).fails(3, "its code is another one");
    sponsor.fedmkt(&["job", "list", "--market", "0x12"]).fails(3, "market is \"0x12\"");

    // Offers.
    sponsor.post(&net, &cid, 1, "0").fails(3, "no reward");
    sponsor.post(&net, &cid, 1, "1.5e3").fails(3, "is no amount");
    sponsor.post(&net, &cid, 1, "0.0000000000000000001").fails(3, "more digits");
    sponsor.post(&net, &cid, 1, "10000000").fails(3, "are needed");
    sponsor.post(&net, &cid, 0, "1").fails(3, "the term `slots` is 0");
    let post = |arguments: &[&str]| {
        let base = ["job", "post", &cid, "--yes", "--reward", "1"];
        sponsor.fedmkt(&[&base[..], arguments].concat())
    };
    post(&["--token", &net.token]).fails(3, "--arbitrator");
    post(&["--arbitrator", &net.committee]).fails(3, "--token");
    post(&["--token", &sponsor.account, "--arbitrator", &net.committee]).fails(3, "there is no token");
    post(&["--token", &net.token, "--arbitrator", &net.token]).fails(3, "the arbitrator does not answer");
    post(&["--token", &net.token, "--arbitrator", &net.committee, "--bond", "0.1"]).fails(3, "the term `");
    post(&["--token", &net.token, "--arbitrator", &net.committee, "--window", "0s"]).fails(3, "the term `window` is 0");
    post(&["--token", &net.token, "--arbitrator", &net.committee, "--window", "soon"]).fails(2, "no length of time");
    let unknown = "bafyreigaknpexyvxt76zgkitavbwx6ejgfheup5oybpm77f3pxzrvwpfdi";
    sponsor.post(&net, unknown, 1, "1").fails(3, "not in the store");
    let raw = fedmkt_store::files::add_file(&sponsor.store(), &b"no job"[..]).expect("added").cid.to_string();
    sponsor.post(&net, &raw, 1, "1").fails(3, "job");
    assert_eq!(net.tokens(&sponsor.account), FUNDS);
    assert_eq!(sponsor.fedmkt(&["job", "list", "--all", "--json"]).json().as_array().map(Vec::len), Some(0));

    // Accounts.
    let poor = Party::poor(&net);
    poor.write_data(1);
    sponsor.post(&net, &cid, 1, "1").text();
    sponsor.hand(&cid, &poor);
    let accept = ["accept", &cid, "--grant", "data=data", "--yes"];
    poor.fedmkt(&accept).fails(3, "has 0 DEV, and 1 DEV are needed");
    poor.fedmkt(&["accept", &cid, "--grant", "other=data", "--yes"]).fails(3, "the job reads `data`");
    poor.fedmkt(&["accept", &cid, "--grant", "data=data"]).fails(3, "nobody is there to agree");
    poor.fedmkt(&["accept", unknown, "--grant", "data=data", "--yes"]).fails(3, "nobody has posted");
    poor.fedmkt(&["submit", &format!("0x{}", "00".repeat(32))]).fails(3, "was not accepted from here");

    // Who rules, and in what time.
    let mut wary = Party::new(&net);
    wary.write_data(1);
    sponsor.hand(&cid, &wary);
    wary.set("FEDMKT_ARBITRATORS", net.token.clone());
    let [token, committee] = [&net.token, &net.committee].map(|text| text.parse::<Address>().expect("an address"));
    let both = format!("config set arbitrators {token},{committee}");
    wary.fedmkt(&accept).fails(3, &both);
    wary.set("FEDMKT_ARBITRATORS", net.committee.clone());
    wary.set("FEDMKT_LEAST_MOVE_TIME", "7200".into());
    wary.fedmkt(&accept).fails(3, "you would have 1h for a move, less than your `least-move-time`, 2h");
    wary.fedmkt(&["config", "set", "arbitrators", "0x12"]).fails(3, "is no value of arbitrators");
    assert_eq!((net.tokens(&wary.account), net.nonce(&wary.account)), (FUNDS, 0));

    // Wallets.
    fs::write(poor.path("wrong"), "wrong\n").expect("a file");
    let rich = Party::new(&net);
    rich.write_data(1);
    sponsor.hand(&cid, &rich);
    fs::write(rich.path("wrong"), "wrong\n").expect("a file");
    let with_wrong = [&accept[..], &["--password-file", "wrong"]].concat();
    rich.fedmkt(&with_wrong).fails(3, "the password is wrong");
    let keystore = rich.path("home/wallets/default.json");
    let good = fs::read(&keystore).expect("a keystore");
    fs::write(&keystore, "{\"version\":3").expect("a file");
    rich.fedmkt(&accept).fails(3, "is no keystore file");
    fs::write(&keystore, good).expect("a file");
    rich.fedmkt(&["wallet", "new"]).fails(3, "is there already");
    rich.fedmkt(&["wallet", "address", "--wallet", "../x"]).fails(3, "cannot name a wallet");
    assert_eq!(rich.fedmkt(&["wallet", "address"]).text(), rich.account);
    fs::write(rich.path("key"), format!("0x{}\n", "11".repeat(32))).expect("a file");
    let imported = rich.fedmkt(&["wallet", "import", "key", "--wallet", "two"]);
    assert_eq!(imported.text(), "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A");
    assert_eq!(net.tokens(&rich.account), FUNDS);
}

#[test]
fn a_job_that_cannot_be_submitted_is_neither_posted_nor_accepted() {
    let Some(net) = Devnet::start("a job that cannot be submitted") else { return };
    let (sponsor, client) = (Party::new(&net), Party::new(&net));
    let good = sponsor.publish(|_| {});
    let posted = sponsor.post(&net, &good, 1, "1").text().parse::<B256>().expect("an id");
    let wrong = "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq";
    let cid = sponsor.publish(|manifest| manifest.sponsor = Some(wrong.into()));
    sponsor.post(&net, &cid, 1, "1").fails(3, "no client could submit what this job wants: sponsor");
    // A sponsor with another program.
    let program = Program::of(&sponsor, &net);
    let job = cid.parse().expect("a CID");
    let root = JobDrive::open(&sponsor.store(), &job).and_then(|drive| drive.root(&sponsor.store())).expect("a job");
    let mut terms = Board::read(&program.chain, &program.settings).expect("events").jobs[&posted].terms.clone();
    (terms.cid, terms.root) = (terms::job_digest(&job).expect("a job"), root.0.into());
    let (token, total) = (terms.token, U256::from(terms.reward));
    let call = program.chain.market().post(terms).calldata().to_vec();
    pay(&program.sender(), "post", token, total, call).expect("posted");
    client.write_data(1);
    sponsor.hand(&cid, &client);
    let refused = client.fedmkt(&["accept", &cid, "--grant", "data=data", "--yes"]);
    refused.fails(3, "you could not submit what this job wants");
    refused.fails(3, &format!("sponsor: {wrong} is no age recipient"));
    assert_eq!((net.tokens(&client.account), net.nonce(&client.account)), (FUNDS, 0));
}

#[test]
fn settings_say_where_they_come_from() {
    let Some(net) = Devnet::start("settings") else { return };
    let party = Party::poor(&net);
    party.fedmkt(&["config", "set", "wallet", "second"]).text();
    let shown = party.fedmkt(&["config", "--json", "--rpc", "http://flag"]).json();
    assert_eq!(
        (shown["rpc"]["value"].as_str(), shown["rpc"]["from"].as_str()),
        (Some("http://flag"), Some("the command line"))
    );
    for listed in [&["config", "--json"][..], &["config"]] {
        let listed = party.fedmkt(&[listed, &["--rpc", "http://user:secret@flag/secret"]].concat());
        assert!(listed.text().contains("http://flag/...") && !listed.stdout.contains("secret"), "{}", listed.stdout);
    }
    let wrong = party.fedmkt(&["config", "set", "rpc", "http://user:secret@two words"]);
    wrong.fails(3, "is no value of rpc");
    assert!(!wrong.stderr.contains("secret"), "{}", wrong.stderr);
    assert_eq!(shown["chain-id"]["from"], "FEDMKT_CHAIN_ID");
    assert!(shown["wallet"]["from"].as_str().is_some_and(|from| from.ends_with("config.toml")));
    assert_eq!(shown["from-block"]["from"], "default");
    party.fedmkt(&["config", "set", "colour", "red"]).fails(3, "is no setting");
    party.fedmkt(&["config", "set", "chain-id", "one"]).fails(3, "is no value of chain-id");
    party.fedmkt(&["config", "unset", "wallet"]).text();
    assert_eq!(party.fedmkt(&["config", "--json"]).json()["wallet"]["from"], "default");
    fs::write(party.path("home/config.toml"), "color = 1").expect("a file");
    party.fedmkt(&["config"]).fails(3, "no setting");
}

#[test]
fn an_allowance_that_is_too_small_is_taken_back_before_it_is_raised() {
    let Some(mut net) = Devnet::start("an allowance") else { return };
    net.use_token_without(&[PERMIT]);
    let sponsor = Party::new(&net);
    let cid = sponsor.publish(|_| {});
    net.ask("anvil_impersonateAccount", json!([sponsor.account]));
    // approve(address,uint256)
    let word = |number: &str| format!("{:0>64}", number.trim_start_matches("0x").to_lowercase());
    let data = format!("0x095ea7b3{}{}", word(&net.market), word("1"));
    net.ask("eth_sendTransaction", json!([{ "from": sponsor.account, "to": net.token, "data": data }]));
    net.ask("evm_mine", json!([]));
    sponsor.post(&net, &cid, 1, "1").text();
    // Approval(address,address,uint256)
    let approval = "0x8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c0f7b2291e5b200ac8c7c3b925";
    let owner = format!("0x{}", word(&sponsor.account));
    let filter = json!([{ "fromBlock": "0x0", "address": net.token, "topics": [approval, owner] }]);
    let logs = net.ask("eth_getLogs", filter);
    let values: Vec<&str> = logs.as_array().expect("logs").iter().filter_map(|log| log["data"].as_str()).collect();
    let [one, none, all] = values.as_slice() else { panic!("{values:?}") };
    assert_eq!((*one, *none), (&*format!("0x{}", word("1")), &*format!("0x{}", word("0"))));
    assert!(*all > *one, "the reward and what goes with it: {all}");
}

#[test]
fn a_token_with_77_decimals_is_counted_in_its_units_and_pays() {
    let Some(mut net) = Devnet::start("a token with 77 decimals") else { return };
    net.use_token_with_decimals(77);
    let (sponsor, client) = (Party::new(&net), Party::new(&net));
    let cid = sponsor.publish(|_| {});
    sponsor.post(&net, &cid, 1, "100").fails(3, "write \"100\" in units");
    let posted = sponsor.post(&net, &cid, 1, "100units");
    assert!(posted.stderr.contains("100 units of tokens"), "{}", posted.stderr);
    let listed = sponsor.fedmkt(&["job", "list"]);
    assert!(listed.text().contains("100 units of tokens"), "{}", listed.stdout);
    client.write_data(1);
    sponsor.hand(&cid, &client);
    assert_eq!(client.work(&cid).output().expect("fedmkt-run runs").status.code(), Some(0));
    net.wait(3601);
    assert_eq!(client.fedmkt(&["claim"]).text(), format!("200 units of tokens for {}", client.account));
    assert_eq!(net.tokens(&client.account), FUNDS + 100);
}

#[test]
fn what_comes_after_its_deadline_is_told_and_costs_nothing() {
    let Some(net) = Devnet::start("deadlines in the past") else { return };
    let (sponsor, client) = (Party::new(&net), Party::new(&net));
    let cid = sponsor.publish(|_| {});
    sponsor.post_with(&net, &cid, 1, "1", &["--accept-for", "0s"]).fails(2, "nobody could accept");
    assert_eq!(net.tokens(&sponsor.account), FUNDS, "nothing was posted");
    client.write_data(1);
    sponsor.hand(&cid, &client);
    let accept = ["accept", &cid, "--grant", "data=data", "--yes", "--json"];
    let late = sponsor.post_with(&net, &cid, 1, "1", &["--accept-for", "1h"]).text().to_owned();
    net.wait(3601);
    client.fedmkt(&accept).fails(3, "its time has passed");
    assert_eq!(net.tokens(&client.account), FUNDS, "no bond");
    assert_eq!(sponsor.fedmkt(&["job", "list", "--json"]).json(), json!([]));
    sponsor.fedmkt(&["job", "cancel", &late]).text();

    let job = sponsor.post_with(&net, &cid, 1, "1", &["--again"]).text().to_owned();
    let accept = ["accept", &job, "--grant", "data=data", "--yes", "--json"];
    let taken = client.fedmkt(&accept).json();
    let run = [&cid, "--grant", "data=data", "--out", "out", "--yes", "--json", "--run-id"];
    let run = [&run[..], &[taken["run_id"].as_str().expect("an id")]].concat();
    let done = Done::from(client.command("fedmkt-run", &run).output().expect("fedmkt-run runs")).json();
    net.wait(3601);
    let slot = taken["slot"].as_str().expect("a slot");
    let receipt = done["receipt"].as_str().expect("a receipt");
    client.fedmkt(&["submit", slot, "--receipt", receipt]).fails(3, "too late");
    let status = client.fedmkt(&["status", "--json"]).json();
    assert!(status[0]["next"].as_str().is_some_and(|next| next.contains("too late to submit")), "{status}");
}
