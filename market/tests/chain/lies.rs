//! Nodes that lie: nothing is lost, nothing is done twice, and what they gave does not stay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::devnet::Devnet;
use crate::party::{Done, FUNDS, Party, TOKEN};
use crate::proxy::Proxy;

/// Of nothing.
const HASH: &str = "0x1717171717171717171717171717171717171717171717171717171717171717";

/// A sponsor with a job for two clients, a client that has it, and its CID.
fn market(test: &str) -> Option<(Devnet, Party, Party, String, String)> {
    let net = Devnet::start(test)?;
    let (sponsor, client) = (Party::new(&net), Party::new(&net));
    let cid = sponsor.publish(|_| {});
    let job = sponsor.post(&net, &cid, 2, "100").text().to_owned();
    client.write_data(1);
    sponsor.hand(&cid, &client);
    Some((net, sponsor, client, cid, job))
}

fn is(request: &Value, method: &str) -> bool {
    request["method"] == method
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
            Some("eth_getTransactionReceipt") => json!({
                "transactionHash": request["params"][0], "transactionIndex": "0x0", "blockHash": HASH, "blockNumber": "0x1",
                "from": account, "to": account, "cumulativeGasUsed": "0x1", "gasUsed": "0x1", "effectiveGasPrice": "0x1",
                "contractAddress": null, "logs": [], "logsBloom": format!("0x{}", "00".repeat(256)), "status": "0x1",
                "type": "0x2",
            }),
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
fn an_answer_without_end_is_not_waited_for() {
    let Some(net) = Devnet::start("an endless answer") else { return };
    let mut party = Party::poor(&net);
    party.rpc = Proxy::endless().url();
    party.fedmkt(&["job", "list"]).fails(3, "its answer has more than 64 MiB");
}
