//! What is kept of the board: a file that is deleted, and a node that is behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use alloy::primitives::{B256, U256};
use fedmkt_contracts::market::Terms;
use fedmkt_market::board::Follower;
use fedmkt_market::records::Records;
use fedmkt_market::send::allow;
use serde_json::{Value, json};

use crate::devnet::Devnet;
use crate::disputes::Program;
use crate::party::Party;

/// More blocks than must stand over events that are kept.
const MANY: u64 = 100;

/// The file with what is kept.
fn cache(party: &Party) -> PathBuf {
    let mut files = fs::read_dir(party.path("home/market")).expect("a folder");
    files.next().expect("a file").expect("a file").path()
}

#[test]
fn a_file_that_is_deleted_meanwhile_is_made_again_without_holes() {
    let Some(net) = Devnet::start("a deleted file") else { return };
    let sponsor = Party::new(&net);
    let cid = sponsor.publish(|_| {});
    sponsor.post(&net, &cid, 1, "1").text();
    let program = Program::of(&sponsor, &net);
    let begin = || Follower::new(&program.chain, &program.settings).expect("a folder");
    net.ask("anvil_mine", json!([MANY]));
    let mut follower = begin();
    let before = follower.read(&program.chain).expect("events");
    assert_eq!(before.jobs.len(), 1);
    fs::remove_file(cache(&sponsor)).expect("removed");
    net.ask("anvil_mine", json!([MANY]));
    for follower in [&mut follower, &mut begin()] {
        let board = follower.read(&program.chain).expect("events");
        assert_eq!(board.events, before.events);
        assert_eq!(format!("{:?}", board.jobs), format!("{:?}", before.jobs));
    }
}

#[test]
fn a_node_that_is_behind_is_told_and_what_was_kept_stays() {
    let Some(net) = Devnet::start("a node that is behind") else { return };
    let sponsor = Party::new(&net);
    let cid = sponsor.publish(|_| {});
    sponsor.post(&net, &cid, 1, "1").text();
    let program = Program::of(&sponsor, &net);
    let mut follower = Follower::new(&program.chain, &program.settings).expect("a folder");
    let before = net.ask("evm_snapshot", json!([]));
    net.ask("anvil_mine", json!([2 * MANY]));
    let events = follower.read(&program.chain).expect("events").events;
    assert_eq!(net.ask("evm_revert", json!([before])), true);
    let mut other = Follower::new(&program.chain, &program.settings).expect("a folder");
    for follower in [&mut follower, &mut other] {
        let error = follower.read(&program.chain).expect_err("it has fewer blocks").to_string();
        assert!(error.contains("the node is behind"), "{error}");
    }
    let kept: Vec<(String, Value)> = Records::open(&cache(&sponsor)).expect("the file").all("log/").expect("events");
    assert_eq!(kept.len(), events, "nothing is cleared");
    net.ask("anvil_mine", json!([4 * MANY]));
    assert_eq!(follower.read(&program.chain).expect("events").events, events);
}

/// `--nocapture` shows how long each listing takes, for `docs/src/performance.md`.
#[test]
fn thousands_of_jobs_are_listed_from_the_node_and_from_what_is_kept() {
    const JOBS: u64 = 2_000;
    const AT_ONCE: u64 = 500;
    let Some(net) = Devnet::start("thousands of jobs") else { return };
    let sponsor = Party::new(&net);
    let cid = sponsor.publish(|_| {});
    sponsor.post(&net, &cid, 1, "0.001").text();
    // Room and coins for the gas of many.
    net.ask("evm_setBlockGasLimit", json!(["0x3b9aca00"]));
    net.ask("anvil_setBalance", json!([sponsor.account, "0x8ac7230489e80000"]));
    sponsor.fedmkt(&["config", "set", "most-gas", "200000000"]).text();
    let program = Program::of(&sponsor, &net);
    let market = program.chain.market();
    let board = Follower::new(&program.chain, &program.settings).expect("a folder").read(&program.chain);
    let terms = board.expect("events").jobs.into_values().next().expect("a job").terms;
    let sender = program.sender();
    allow(&sender, terms.token, U256::from(terms.reward) * U256::from(JOBS)).expect("allowed");
    for first in (1..=JOBS).step_by(AT_ONCE as usize) {
        let offer = |number| Terms { nonce: B256::from(U256::from(number)), ..terms.clone() };
        let calls = (first..first + AT_ONCE).map(|number| market.post(offer(number)).calldata().clone()).collect();
        let call = market.multicall(calls).calldata().to_vec();
        sender.send(&format!("post from {first}"), program.chain.market, call).expect("posted");
    }
    net.ask("anvil_mine", json!([MANY]));
    drop(sender);
    drop(program);
    fs::remove_dir_all(sponsor.path("home/market")).expect("removed");
    for from in ["the node", "what is kept"] {
        let start = Instant::now();
        let listed = sponsor.fedmkt(&["job", "list", "--json"]).json();
        println!("{} jobs listed from {from} in {:.2} s", JOBS + 1, start.elapsed().as_secs_f64());
        let ids: BTreeSet<&str> =
            listed.as_array().expect("a list").iter().filter_map(|job| job["job"].as_str()).collect();
        assert_eq!(ids.len() as u64, JOBS + 1, "{from}");
    }
}
