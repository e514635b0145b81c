//! What an offer and a bond take when the token has permits, lacks them, or only seems to have them.

use std::process::Stdio;
use std::time::Duration;

use alloy::primitives::{Address, Bytes, U256};
use alloy::sol_types::SolCall;
use fedmkt_contracts::dev_token::DevToken::permitCall as TokenPermit;
use fedmkt_contracts::market::Market::{multicallCall as Multicall, permitCall as Permit};
use serde_json::{Value, json};

use crate::devnet::{DOMAIN_SEPARATOR, Devnet, PERMIT};
use crate::disputes::Program;
use crate::party::{Done, FUNDS, Party, TOKEN};

/// What the market may take from an account.
fn allowed(net: &Devnet, account: &str) -> Value {
    let word = |text: &str| format!("{:0>64}", text.trim_start_matches("0x").to_lowercase());
    let data = format!("0xdd62ed3e{}{}", word(account), word(&net.market));
    net.ask("eth_call", json!([{ "to": net.token, "data": data }, "latest"]))
}

#[test]
fn offer_and_bond_take_one_transaction_each() {
    let Some(net) = Devnet::start("permits") else { return };
    let (sponsor, client) = (Party::new(&net), Party::new(&net));
    let cid = sponsor.publish(|_| {});
    sponsor.post(&net, &cid, 1, "100").text();
    assert_eq!((net.nonce(&sponsor.account), net.tokens(&sponsor.account)), (1, FUNDS - 100 * TOKEN));
    client.write_data(1);
    sponsor.hand(&cid, &client);
    client.fedmkt(&["accept", &cid, "--grant", "data=data", "--yes"]).text();
    // The other one fixes the run's id: blocks come fast here.
    assert_eq!((net.nonce(&client.account), net.tokens(&client.account)), (2, FUNDS - 100 * TOKEN));
    for party in [&sponsor, &client] {
        assert_eq!(allowed(&net, &party.account), json!(format!("0x{:064x}", 0)), "nothing more is allowed");
    }
}

/// The token says how permits are signed and then knows none, or says nothing at all.
#[test]
fn tokens_without_a_real_permit_are_approved() {
    for missing in [&[PERMIT][..], &[PERMIT, DOMAIN_SEPARATOR]] {
        let Some(mut net) = Devnet::start("tokens without permits") else { return };
        net.use_token_without(missing);
        let sponsor = Party::new(&net);
        let cid = sponsor.publish(|_| {});
        sponsor.post(&net, &cid, 1, "100").text();
        assert_eq!((net.nonce(&sponsor.account), net.tokens(&sponsor.account)), (2, FUNDS - 100 * TOKEN));
    }
}

/// Whoever sees the signature before it is in a block can bring it to the token first. The offer stands all the same.
#[test]
fn a_permit_that_somebody_else_brings_first_stops_nobody() {
    let Some(net) = Devnet::start("a permit that is brought first") else { return };
    let sponsor = Party::new(&net);
    let cid = sponsor.publish(|_| {});
    net.ask("evm_setIntervalMining", json!([0]));
    let mut post = sponsor.post_command(&net, &cid, 1, "100", &[]);
    let post = post.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let sent = loop {
        if let Some(sent) = net.waiting().into_iter().next() {
            break sent;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let input: Bytes = sent["input"].as_str().expect("a call").parse().expect("bytes");
    let calls = Multicall::abi_decode(&input).expect("several calls").data;
    let signed = Permit::abi_decode(&calls[0]).expect("a permit");
    let stolen = TokenPermit {
        owner: sponsor.account.parse().expect("an address"),
        spender: net.market.parse().expect("an address"),
        value: signed.amount,
        deadline: signed.deadline,
        v: signed.v,
        r: signed.r,
        s: signed.s,
    };
    let somebody = net.ask("eth_accounts", json!([]))[1].clone();
    let call = Bytes::from(stolen.abi_encode());
    // Ten gwei for the miner: it comes first.
    let first = json!([{ "from": somebody, "to": net.token, "data": call, "maxPriorityFeePerGas": "0x2540be400",
                         "maxFeePerGas": "0x174876e800" }]);
    let first = net.ask("eth_sendTransaction", first);
    net.ask("evm_mine", json!([]));
    assert_eq!(net.ask("eth_getTransactionReceipt", json!([first]))["status"], "0x1");
    assert_eq!(net.ask("eth_getTransactionReceipt", json!([first]))["transactionIndex"], "0x0", "it came first");
    net.ask("evm_setIntervalMining", json!([1]));
    Done::from(post.wait_with_output().expect("it ends")).text();
    assert_eq!((net.nonce(&sponsor.account), net.tokens(&sponsor.account)), (1, FUNDS - 100 * TOKEN));
    let program = Program::of(&sponsor, &net);
    let token = program.chain.token_contract(net.token.parse().expect("an address"));
    let owner: Address = sponsor.account.parse().expect("an address");
    assert_eq!(program.chain.call(token.nonces(owner)).expect("a number"), U256::ONE, "the signature was used once");
}
