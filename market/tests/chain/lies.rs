//! Nodes that lie: nothing is lost, nothing is done twice, and what they gave does not stay.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::providers::Provider;
use alloy::rpc::types::Block;
use fedmkt_contracts::{randomness, submission};
use fedmkt_core::roots::{DataRoot, Hash};
use fedmkt_market::board::Board;
use fedmkt_market::journal::Taken;
use fedmkt_market::records::Records;
use serde_json::{Value, json};

use crate::devnet::Devnet;
use crate::disputes::Program;
use crate::party::{Done, FUNDS, Party, TOKEN};
use crate::proxy::Proxy;

/// Of nothing.
const HASH: &str = "0x1717171717171717171717171717171717171717171717171717171717171717";

/// A sponsor with a job for two clients, a client that has it, and its CID.
fn market(test: &str) -> Option<(Devnet, Party, Party, String, String)> {
    let net = Devnet::start(test)?;
    let (sponsor, client) = (Party::new(&net), Party::new(&net));
    let (cid, job) = sponsor.offers(&net, &client, 2);
    Some((net, sponsor, client, cid, job))
}

fn is(request: &Value, method: &str) -> bool {
    request["method"] == method
}

/// A receipt of whatever transaction is asked for.
fn receipt(request: &Value, account: &str, status: &str) -> Value {
    json!({
        "transactionHash": request["params"][0], "transactionIndex": "0x0", "blockHash": HASH, "blockNumber": "0x1",
        "from": account, "to": account, "cumulativeGasUsed": "0x1", "gasUsed": "0x1", "effectiveGasPrice": "0x1",
        "contractAddress": null, "logs": [], "logsBloom": format!("0x{}", "00".repeat(256)), "status": status, "type": "0x2",
    })
}

#[test]
fn false_receipts_cost_nothing_and_the_next_node_goes_on() {
    let Some((net, sponsor, mut client, cid, job)) = market("false receipts") else { return };
    let accept = ["accept", &cid, "--grant", "data=data", "--yes", "--json"];
    let lies: [fn(&Value, &mut Value); 3] = [
        // That of another transaction.
        |request, result| {
            if is(request, "eth_getTransactionReceipt") && !result.is_null() {
                result["transactionHash"] = json!(HASH);
            }
        },
        // The contract has refused it.
        |request, result| {
            if is(request, "eth_getTransactionReceipt") && !result.is_null() {
                result["status"] = json!("0x0");
            }
        },
        // Of somebody else.
        |request, result| {
            if is(request, "eth_getTransactionReceipt") && !result.is_null() {
                result["from"] = json!("0x0000000000000000000000000000000000000017");
            }
        },
    ];
    let mut slots = Vec::new();
    for lie in lies {
        client.rpc = Proxy::lying(&net.address, lie).url();
        let done = client.fedmkt(&accept);
        assert!(matches!(done.code, Some(0 | 3)), "{}", done.stderr);
        if done.code == Some(0) {
            slots.push(done.json()["slot"].clone());
        }
        assert!(net.tokens(&client.account) >= FUNDS - 100 * TOKEN, "one bond at most");
    }
    client.rpc = net.url();
    let slot = client.fedmkt(&accept).json()["slot"].clone();
    assert!(slots.iter().all(|before| *before == slot), "{slots:?} {slot}");
    assert_eq!(net.tokens(&client.account), FUNDS - 100 * TOKEN, "one bond");
    let shown = sponsor.fedmkt(&["job", "show", &job, "--json"]).json();
    assert_eq!(shown["taken"].as_array().map(Vec::len), Some(1), "one slot");
    let done = Done::from(client.work(&cid).output().expect("fedmkt-run runs")).json();
    assert_eq!(done["submission"]["slot"], slot);
}

#[test]
fn what_a_node_only_says_it_did_is_done_by_the_next_one() {
    let Some((net, _, mut client, cid, _)) = market("a node that does nothing") else { return };
    let accept = ["accept", &cid, "--grant", "data=data", "--yes", "--json"];
    let account = client.account.clone();
    let swallowing = Proxy::answering(&net.address, move |request, honest| {
        let result = match request["method"].as_str() {
            Some("eth_sendRawTransaction") => json!(HASH),
            Some("eth_getTransactionReceipt") => receipt(request, &account, "0x1"),
            _ => return honest(),
        };
        json!({ "jsonrpc": "2.0", "id": request["id"], "result": result })
    });
    client.rpc = swallowing.url();
    client.fedmkt(&accept).fails(3, "the market does not have");
    assert_eq!((net.tokens(&client.account), net.nonce(&client.account)), (FUNDS, 0));
    client.rpc = net.url();
    client.fedmkt(&accept).json();
    assert_eq!(net.tokens(&client.account), FUNDS - 100 * TOKEN);
}

#[test]
fn events_that_are_kept_back_are_noticed_and_what_was_kept_of_them_is_not_used() {
    let Some((net, mut sponsor, mut client, cid, job)) = market("missing events") else { return };
    let done = Done::from(client.work(&cid).output().expect("fedmkt-run runs")).json();
    let slot = done["submission"]["slot"].as_str().expect("a slot").to_owned();
    // Deep enough to be kept.
    net.ask("anvil_mine", json!([100]));
    let silent = Proxy::lying(&net.address, |request, result| {
        if is(request, "eth_getLogs") {
            *result = json!([]);
        }
    });
    let fresh = Party::new(&net);
    for party in [&mut sponsor, &mut client] {
        let _ = std::fs::remove_dir_all(party.path("home/market"));
        party.rpc = silent.url();
    }
    let kept_back = "a node keeps events back";
    sponsor.fedmkt(&["job", "show", &job]).fails(3, kept_back);
    sponsor.fedmkt(&["job", "approve", &slot, "--yes"]).fails(3, kept_back);
    sponsor.fedmkt(&["job", "fetch", &slot, "--output", "got"]).fails(3, kept_back);
    client.fedmkt(&["status"]).fails(3, kept_back);
    client.fedmkt(&["claim"]).fails(3, kept_back);
    client.fedmkt(&["defend", "--once"]).fails(3, kept_back);
    // What there is not is not called kept back.
    sponsor.fedmkt(&["job", "show", HASH]).fails(3, "there is no job");
    sponsor.fedmkt(&["job", "approve", HASH, "--yes"]).fails(3, "there is no slot");
    assert_eq!(fresh.fedmkt(&["status", "--json"]).json(), json!([]));
    for party in [&mut sponsor, &mut client] {
        party.rpc = net.url();
    }
    assert_eq!(client.fedmkt(&["status", "--json"]).json()[0]["slot"], slot);
    // What the sponsor has kept is from when nothing seemed to be wrong.
    sponsor.fedmkt(&["job", "approve", &slot, "--yes"]).fails(3, kept_back);
    sponsor.fedmkt(&["job", "approve", &slot, "--yes"]).text();
    client.fedmkt(&["claim"]).text();
    assert_eq!(net.tokens(&client.account), FUNDS + 100 * TOKEN);
}

#[test]
fn a_client_is_not_told_that_all_is_over_while_the_market_has_a_challenge() {
    let Some((net, _, mut client, cid, _)) = market("a challenge that is kept back") else { return };
    let challenger = Party::new(&net);
    let done = Done::from(client.work(&cid).output().expect("fedmkt-run runs")).json();
    let slot = done["submission"]["slot"].as_str().expect("a slot").to_owned();
    let id = challenger.fedmkt(&["challenge", "open", &slot, "--yes"]).text().to_owned();
    let market = net.market.to_lowercase();
    let silent = Proxy::lying(&net.address, move |request, result| {
        if let Some(logs) = result.as_array_mut().filter(|_| is(request, "eth_getLogs")) {
            logs.retain(|log| log["address"].as_str().is_some_and(|address| address.to_lowercase() == market));
        }
    });
    client.rpc = silent.url();
    let kept_back = "a node keeps events back: slot";
    client.fedmkt(&["defend", "--once"]).fails(3, kept_back);
    // By the events alone its window has passed.
    net.wait(3601);
    let mut command = client.command("fedmkt", &["defend"]);
    let mut watching = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut told = BufReader::new(watching.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(told.any(|line| line.contains(kept_back)), "it ended");
    // Some looks later.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(watching.try_wait().expect("asked"), None, "it stays");
    watching.kill().expect("killed");
    watching.wait().expect("ended");
    client.rpc = net.url();
    let told = client.fedmkt(&["defend", "--once"]);
    assert!(told.stdout.contains(&id), "{}{}", told.stdout, told.stderr);
}

#[test]
fn events_that_cannot_be_are_refused() {
    let Some((net, mut sponsor, ..)) = market("false events") else { return };
    type Lie = fn(&mut Value);
    let lies: [(Lie, &str); 5] = [
        // Another compensation: the last but one word of the data.
        (
            |logs| {
                let mut data = logs[0]["data"].as_str().expect("data").to_owned();
                let at = data.len() - 65;
                let digit = if &data[at..=at] == "0" { "1" } else { "0" };
                data.replace_range(at..=at, digit);
                logs[0]["data"] = json!(data);
            },
            "cannot be",
        ),
        (|logs| logs[0]["data"] = json!("0x"), "cannot be"),
        (
            |logs| logs[0]["address"] = json!("0x0000000000000000000000000000000000000017"),
            "events that nobody asked for",
        ),
        (|logs| logs[0]["removed"] = json!(true), "events that nobody asked for"),
        (|logs| logs[0]["blockNumber"] = json!("0xffffff"), "events that nobody asked for"),
    ];
    let honest = sponsor.fedmkt(&["job", "list", "--json"]).json();
    for (lie, said) in lies {
        let lied = Arc::new(AtomicBool::new(false));
        let seen = lied.clone();
        let proxy = Proxy::lying(&net.address, move |request, result| {
            if is(request, "eth_getLogs") && result.as_array().is_some_and(|logs| !logs.is_empty()) {
                seen.store(true, Ordering::Relaxed);
                lie(result);
            }
        });
        let _ = std::fs::remove_dir_all(sponsor.path("home/market"));
        sponsor.rpc = proxy.url();
        sponsor.fedmkt(&["job", "list"]).fails(3, said);
        assert!(lied.load(Ordering::Relaxed));
        sponsor.rpc = net.url();
        assert_eq!(sponsor.fedmkt(&["job", "list", "--json"]).json(), honest);
    }
}

#[test]
fn a_fee_or_gas_beyond_all_measure_is_not_signed() {
    let Some((net, _, mut client, cid, _)) = market("dear nodes") else { return };
    let accept = ["accept", &cid, "--grant", "data=data", "--yes", "--json"];
    // A thousand gwei, which the account could pay; and what does not fit a sum.
    for tip in ["0xe8d4a51000", "0xffffffffffffffffffffffffffffffff"] {
        let dear = Proxy::lying(&net.address, move |request, result| {
            if is(request, "eth_feeHistory") {
                result["reward"] = json!(vec![[tip]; 10]);
            }
        });
        client.rpc = dear.url();
        client.fedmkt(&accept).fails(3, "`most-fee` allows 500 gwei");
        let program = Program::of(&client, &net);
        let token = net.token.parse().expect("an address");
        let call = program.chain.token_contract(token).approve(Address::repeat_byte(7), U256::ONE).calldata().to_vec();
        let error = program.sender().send("something", token, call).expect_err("nobody looks at this fee");
        assert!(error.to_string().contains("most-fee"), "{error:#}");
    }
    let dear = Proxy::lying(&net.address, |request, result| {
        if is(request, "eth_estimateGas") {
            *result = json!("0x1312d00");
        }
    });
    client.rpc = dear.url();
    client.fedmkt(&accept).fails(3, "takes 20000000 gas, and `most-gas` allows 5000000");
    let journal = Records::open(&client.path("home/journal.redb")).expect("a journal");
    assert_eq!(journal.all::<Value>("").expect("records"), [], "nothing was signed, and nothing is gone on with");
    drop(journal);
    assert_eq!((net.nonce(&client.account), net.waiting().len()), (0, 0));
    client.rpc = net.url();
    client.fedmkt(&accept).json();
}

#[test]
fn what_was_signed_is_not_forgotten_when_a_node_says_that_it_came_to_nothing() {
    let Some((net, sponsor, _, cid, job)) = market("late transactions") else { return };
    for (count, is_refused) in [(1, false), (2, true)] {
        let mut client = Party::new(&net);
        client.write_data(count);
        sponsor.hand(&cid, &client);
        let accept = ["accept", &cid, "--grant", "data=data", "--yes", "--json"];
        net.ask("anvil_setNonce", json!([client.account, "0x1"]));
        let kept = Arc::new(Mutex::new(None));
        let (seen, account) = (kept.clone(), client.account.clone());
        let forgetful = Proxy::answering(&net.address, move |request, honest| {
            let mut kept = seen.lock().expect("no panic");
            let result = match request["method"].as_str() {
                Some("eth_sendRawTransaction") => {
                    *kept = Some(request["params"][0].clone());
                    json!(HASH)
                }
                Some("eth_getTransactionReceipt") if is_refused => receipt(request, &account, "0x0"),
                // One less than before: what came before it is gone.
                Some("eth_getTransactionCount") if kept.is_some() && !is_refused => json!("0x0"),
                Some("eth_estimateGas") if kept.is_some() => {
                    let error = json!({ "code": -32000, "message": "it cannot be done" });
                    return json!({ "jsonrpc": "2.0", "id": request["id"], "error": error });
                }
                _ => return honest(),
            };
            json!({ "jsonrpc": "2.0", "id": request["id"], "result": result })
        });
        client.rpc = forgetful.url();
        client.fedmkt(&accept).fails(3, "it cannot be done");
        let signed = kept.lock().expect("no panic").take().expect("a transaction");
        net.ask("eth_sendRawTransaction", json!([signed]));
        net.ask("evm_mine", json!([]));
        assert_eq!(net.tokens(&client.account), FUNDS - 100 * TOKEN, "it was as good as before");
        client.rpc = net.url();
        let slot = client.fedmkt(&accept).json()["slot"].clone();
        assert_eq!(net.tokens(&client.account), FUNDS - 100 * TOKEN, "one bond");
        let shown = sponsor.fedmkt(&["job", "show", &job, "--json"]).json();
        let taken = shown["taken"].as_array().expect("slots");
        assert_eq!(taken.len() as u64, count, "one slot each");
        assert!(taken.iter().any(|taken| taken["slot"] == slot));
    }
}

#[test]
fn the_run_that_the_chain_has_drawn_counts_and_not_the_one_that_a_node_has_told() {
    let Some((net, sponsor, mut client, cid, _)) = market("a false header") else { return };
    let accept = ["accept", &cid, "--grant", "data=data", "--yes", "--json"];
    let lying = Proxy::lying(&net.address, |request, result| {
        let is_numbered = request["params"][0].as_str().is_some_and(|block| block.starts_with("0x"));
        if is(request, "eth_getBlockByNumber") && is_numbered && !result.is_null() {
            let mut block: Block = serde_json::from_value(result.clone()).expect("a block");
            block.header.inner.mix_hash = B256::repeat_byte(0x17);
            result["mixHash"] = json!(block.header.inner.mix_hash);
            result["hash"] = json!(keccak256(randomness::encoded(&block.header.inner)));
        }
    });
    client.rpc = lying.url();
    client.fedmkt(&accept);
    let journal = Records::open(&client.path("home/journal.redb")).expect("a journal");
    let mut all: Vec<(String, Taken)> = journal.all("slot/").expect("records");
    let (name, mut taken) = all.pop().expect("a slot");
    let told = taken.drawn.as_ref().expect("a run").run_id;
    taken.receipt = Some(cid.clone());
    journal.put(&name, &taken).expect("written");
    drop(journal);

    let program = Program::of(&sponsor, &net);
    let (chain, market) = (&program.chain, program.chain.market());
    let source = randomness::source(chain.call(market.getSlot(taken.slot)).expect("a slot").blockNumber.to());
    let block = chain.ask(chain.node().get_block_by_number(source.into())).expect("an answer").expect("a block");
    let run = submission::accepted(DataRoot(taken.data_root.0), Hash(taken.blind_hash.0), None);
    let call = market.drawRun(taken.slot, run, randomness::encoded(&block.header.inner)).calldata().to_vec();
    assert!(program.sender().send("draw", chain.market, call).expect("sent").status());
    let board = Board::read(chain, &program.settings).expect("events");
    let run_id = board.slots[&taken.slot].run_id.expect("drawn");
    assert_ne!(run_id, told);

    client.rpc = net.url();
    let accepted = client.fedmkt(&accept);
    assert!(accepted.stderr.contains("is trained again"), "{}", accepted.stderr);
    assert_eq!(accepted.json()["run_id"], run_id.to_string());
    let journal = Records::open(&client.path("home/journal.redb")).expect("a journal");
    assert_eq!(journal.get::<Taken>(&name).expect("a record").expect("a slot").receipt, None, "it is of another run");
    drop(journal);
    let done = Done::from(client.work(&cid).output().expect("fedmkt-run runs")).json();
    assert_eq!(done["submission"]["slot"], taken.slot.to_string());
}

#[test]
fn what_a_node_says_cannot_move_the_cursor() {
    let Some((net, mut sponsor, _, _, job)) = market("a node that draws") else { return };
    sponsor.fedmkt(&["job", "cancel", &job]).text();
    let drawing = Proxy::answering(&net.address, |request, honest| match is(request, "eth_estimateGas") {
        true => json!({
            "jsonrpc": "2.0", "id": request["id"],
            "error": { "code": -32000, "message": "\u{1b}[2Jyou have won\u{202e}" },
        }),
        false => honest(),
    });
    sponsor.rpc = drawing.url();
    let claimed = sponsor.fedmkt(&["claim"]);
    claimed.fails(1, "\\u{1b}[2Jyou have won\\u{202e}");
    assert!(!claimed.stderr.contains('\u{1b}'), "{}", claimed.stderr);
}

#[test]
fn an_answer_without_end_is_not_waited_for() {
    let Some(net) = Devnet::start("an endless answer") else { return };
    let mut party = Party::poor(&net);
    party.rpc = Proxy::endless().url();
    party.fedmkt(&["job", "list"]).fails(3, "its answer has more than 64 MiB");
}
