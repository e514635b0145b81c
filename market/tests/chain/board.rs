//! What is kept of the board: a file that is deleted, and a node that is behind.

use std::fs;
use std::path::PathBuf;

use fedmkt_market::board::Follower;
use fedmkt_market::records::Records;
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
