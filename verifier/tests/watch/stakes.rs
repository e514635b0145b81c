//! Stakes of members: commands that are killed when what they have sent is in a block, but does not count yet.

use std::path::Path;
use std::process::Stdio;

use fedmkt_contracts::committee::Committee::Member;
use fedmkt_market::records::Records;
use serde_json::Value;

use crate::net::{FUNDS, Net, Party};
use crate::until;
use crate::verifier::Verifier;

#[test]
fn nothing_is_put_up_or_taken_back_twice_by_a_command_that_is_killed_and_run_again() {
    let Some(net) = Net::start("stakes", 1) else { return };
    let member = Verifier::new(&net, Path::new("store"), "");
    let (contract, committee) = (net.committee(Party::Other), net.committee.to_string());
    let now = || net.ask(contract.getMember(member.account));
    let stake = |change: &[&str]| member.command(&[&["stake", "--committee", &committee], change].concat());
    let killed_when = |change: &[&str], is_so: &dyn Fn(Member) -> bool| {
        let mut command = stake(change);
        let mut process = command.env("FEDMKT_CONFIRMATIONS", "40").stderr(Stdio::null()).spawn().expect("it starts");
        until("it is in a block", || is_so(now()));
        process.kill().expect("ended");
        process.wait().expect("ended");
    };
    let ends = |change: &[&str]| {
        let output = stake(change).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said.contains("has not ended: this goes on")
    };

    let add = ["add", "1000", "--seats", "2"];
    killed_when(&add, &|member| member.stake == 1000);
    killed_when(&add, &|member| member.seats == 1);
    killed_when(&add, &|member| member.seats == 2);
    assert!(ends(&add), "it was begun before");
    assert_eq!((now().stake, now().seats, net.tokens(member.account)), (1000, 2, FUNDS - 1000));
    // What has ended is done once more.
    assert!(!ends(&add));
    assert_eq!((now().stake, now().seats, net.tokens(member.account)), (2000, 4, FUNDS - 2000));
    killed_when(&["add", "500"], &|member| member.stake == 2500);
    assert!(!ends(&["add", "700"]), "another command is another change");
    assert_eq!((now().stake, now().seats), (3200, 4));

    let withdraw = ["withdraw", "300", "--seats", "4"];
    killed_when(&withdraw, &|member| member.seats == 3);
    killed_when(&withdraw, &|member| member.seats == 0);
    killed_when(&withdraw, &|member| member.leaving == 300);
    assert!(ends(&withdraw));
    assert_eq!((now().stake, now().seats, now().leaving), (3200, 0, 300));
    // What is written down as done is forgotten; what was not gone on with is the third change.
    let journal = Records::open(&member.home().join("watch/journal.redb")).expect("a journal");
    let left: Vec<(String, Value)> = journal.all("transaction/").expect("records");
    let left: Vec<String> = left.into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, [format!("transaction/deposit {committee} 2.0")]);
}
