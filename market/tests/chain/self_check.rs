//! `--self-check`: a client looks for itself before it submits.

use std::process::Command;

use cid::Cid;
use fedmkt_core::trace::trace_root;
use fedmkt_market::receipt::Receipt;
use fedmkt_runtime::envelope::Envelope;
use fedmkt_store::put_value;

use crate::devnet::{Devnet, program, skipped};
use crate::party::{Done, FUNDS, Party, TOKEN};

/// Whether a step can be replayed in a machine here; if not, that is said.
fn machine_is_here(test: &str) -> bool {
    let said = match Command::new(program("fedmkt-verify")).arg("doctor").output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => format!("fedmkt-verify is not built: {error}; `cargo build --workspace` builds it"),
    };
    let has = |name: &str| said.lines().any(|line| line.split_whitespace().take(2).eq([name, "yes"]));
    let is_here = has("replayer") && (has("QEMU") || has("Cartesi"));
    if !is_here {
        skipped(test, &said);
    }
    is_here
}

#[test]
fn a_run_that_is_not_as_its_receipt_says_is_not_submitted() {
    const TEST: &str = "a self-check";
    if !machine_is_here(TEST) {
        return;
    }
    let Some(net) = Devnet::start(TEST) else { return };
    let (sponsor, client) = (Party::new(&net), Party::new(&net));
    let cid = sponsor.publish(|_| {});
    sponsor.post(&net, &cid, 1, "100").text();
    client.write_data(1);
    sponsor.hand(&cid, &client);
    let taken = client.fedmkt(&["accept", &cid, "--grant", "data=data", "--yes", "--json"]).json();
    let (slot, run_id) = (taken["slot"].as_str().expect("a slot"), taken["run_id"].as_str().expect("an id"));
    let arguments = [&cid, "--grant", "data=data", "--run-id", run_id, "--out", "out", "--yes", "--json"];
    let run = Done::from(client.command("fedmkt-run", &arguments).output().expect("fedmkt-run runs")).json();
    let honest = run["receipt"].as_str().expect("a receipt").to_owned();

    // What a computer would say on which every step goes wrong.
    let store = client.store();
    let honest_cid: Cid = honest.parse().expect("a CID");
    let mut body = Receipt::load(&store, &honest_cid).expect("stored").expect("a receipt").body;
    body.trace.segments.iter_mut().for_each(|leaf| leaf.0[31] ^= 1);
    body.trace.root = trace_root(&body.trace.segments);
    let key = ed25519_dalek::SigningKey::from_bytes(&[5; 32]);
    let body = put_value(&store, &body).expect("stored");
    let wrong = put_value(&store, &Envelope::sign(body, "an engine", 1_800_000_000, 1, &key)).expect("stored");

    let wrong = wrong.to_string();
    let submit = |receipt: &str| client.command("fedmkt", &["submit", slot, "--receipt", receipt, "--self-check"]);
    let refused = Done::from(submit(&wrong).output().expect("fedmkt runs"));
    refused.fails(3, "nothing was submitted: the run is not as receipt");
    for said in ["the receipt says", "train again", run_id] {
        assert!(refused.stderr.contains(said), "{said:?} is not in {:?}", refused.stderr);
    }
    let missing = submit(&honest).env("FEDMKT_VERIFIER", "/nowhere/verify").output().expect("fedmkt runs");
    Done::from(missing).fails(3, "cannot run /nowhere/verify");
    let no_machine = submit(&honest).env("FEDMKT_REPLAYER", "/nowhere/image").output().expect("fedmkt runs");
    Done::from(no_machine).fails(3, "the self-check could not be made");
    assert_eq!(client.fedmkt(&["status", "--json"]).json()[0]["state"], "accepted", "nothing was submitted");

    let done = Done::from(client.work(&cid).arg("--self-check").output().expect("fedmkt-run runs"));
    assert!(done.stderr.contains("identical: 1 steps replayed in"), "{}", done.stderr);
    assert_eq!(done.json()["submission"]["slot"], taken["slot"]);
    net.wait(3601);
    client.fedmkt(&["claim"]).text();
    assert_eq!(net.tokens(&client.account), FUNDS + 100 * TOKEN);
}
