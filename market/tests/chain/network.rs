//! Nobody hands anybody a file: everything goes through a Kubo node.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fedmkt_test_kit::kubo::Daemon;
use serde_json::Value;

use crate::devnet::Devnet;
use crate::party::{Done, FUNDS, Party, TOKEN, key};

fn blocks(daemon: &Daemon) -> usize {
    fn count(folder: &Path) -> usize {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
    }
    count(&daemon.repository.path().join("blocks"))
}

#[test]
fn a_job_its_data_and_its_results_go_through_a_node_that_is_killed_in_between() {
    let test = "a job on the network";
    let (Some(net), Some(mut daemon)) = (Devnet::start(test), Daemon::find(test)) else { return };
    let mut sponsor = Party::new(&net);
    sponsor.set("FEDMKT_IPFS", daemon.rpc.to_string());
    let (secret, recipient) = key();
    fs::write(sponsor.path("key.txt"), secret).expect("a file");
    let cid = sponsor.publish(|manifest| manifest.sponsor = Some(recipient));
    sponsor.fedmkt(&["store", "upload", &cid]).text();
    let job = sponsor.post(&net, &cid, 3, "100").text().to_owned();

    let mut clients: Vec<Party> = (0..3).map(|_| Party::new(&net)).collect();
    for (seed, client) in (0..).zip(&mut clients) {
        client.write_data(seed);
        client.set("FEDMKT_IPFS", daemon.rpc.to_string());
    }
    // From a gateway, where the node cannot be reached; so the results cannot go anywhere, and are not submitted.
    let first = &mut clients[0];
    first.set("FEDMKT_IPFS", "http://127.0.0.1:1".into());
    first.set("FEDMKT_GATEWAYS", daemon.gateway.to_string());
    let done = Done::from(first.work(&cid).output().expect("fedmkt-run runs"));
    done.fails(8, "nothing was submitted");
    done.fails(8, "http://127.0.0.1:1: it cannot be reached");
    let status = first.fedmkt(&["status", "--json"]).json();
    assert_eq!(status[0]["state"], "accepted");
    first.set("FEDMKT_IPFS", daemon.rpc.to_string());

    // A node that dies: the same command goes on when it is back.
    let second = &mut clients[1];
    let taken = second.fedmkt(&["accept", &cid, "--grant", "data=data", "--yes", "--json"]).json();
    daemon.kill();
    Done::from(second.work(&cid).output().expect("fedmkt-run runs")).fails(8, "nothing was submitted");
    daemon.restart();
    let mut submissions = Vec::new();
    for client in &mut clients {
        client.set("FEDMKT_IPFS", daemon.rpc.to_string());
        client.set("FEDMKT_GATEWAYS", daemon.gateway.to_string());
        let done = Done::from(client.work(&cid).output().expect("fedmkt-run runs")).json();
        submissions.push(done["submission"].clone());
    }
    assert_eq!(submissions[1]["slot"], taken["slot"]);

    // Every CID that the chain names can be read from the node alone.
    sponsor.set("FEDMKT_IPFS", daemon.rpc.to_string());
    let shown = sponsor.fedmkt(&["job", "show", &job, "--json"]).json();
    let taken = shown["taken"].as_array().expect("slots");
    assert_eq!(taken.len(), 3);
    let kubo = &daemon.repository;
    kubo.run(&["refs", "--offline", "--recursive", shown["cid"].as_str().expect("a CID")]);
    for (client, submission) in clients.iter().zip(&submissions) {
        let slot = submission["slot"].as_str().expect("a slot");
        let on_chain = taken.iter().find(|taken| taken["slot"] == slot).expect("the slot");
        let capsule = on_chain["submission"]["capsule"].as_str().expect("a capsule");
        let from_kubo = client.path("capsule");
        kubo.run(&["get", "--offline", "--output", from_kubo.to_str().expect("a path"), capsule]);
        assert_eq!(fs::read(from_kubo).expect("got"), client.capsule());
        kubo.run(&["refs", "--offline", "--recursive", submission["bundle"].as_str().expect("a bundle")]);
        // And by who has nothing but the slot's name.
        fs::remove_dir_all(sponsor.path("home/store")).expect("a store");
        let got = sponsor.path(slot);
        sponsor.fedmkt(&["job", "fetch", slot, "--output", slot, "--identity", "key.txt"]).text();
        assert_eq!(fs::read(got.join("weights")).expect("got"), fs::read(client.path("out/weights")).expect("made"));
    }
    net.wait(3601);
    for client in &clients {
        client.fedmkt(&["claim"]).text();
        assert_eq!(net.tokens(&client.account), FUNDS + 100 * TOKEN);
    }
    assert_eq!((net.tokens(&sponsor.account), net.tokens(&net.market)), (FUNDS - 300 * TOKEN, 0));
}

#[test]
fn a_disclosure_does_not_wait_for_the_node_and_its_upload_is_gone_on_with() {
    let test = "a disclosure through a node";
    let (Some(net), Some(daemon)) = (Devnet::start(test), Daemon::find(test)) else { return };
    let (sponsor, mut client) = (Party::new(&net), Party::new(&net));
    sponsor.audits(&net, &mut client, 1_000_000, "100", &[]);
    // It takes every connection and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    client.set("FEDMKT_IPFS", format!("http://{}", silent.local_addr().expect("an address")));
    let mut defend = client.command("fedmkt", &["defend", "--json"]);
    let told = File::create(client.path("told")).expect("a file");
    let mut defend = defend.stdout(Stdio::piped()).stderr(told).spawn().expect("it starts");
    let said = BufReader::new(defend.stdout.take().expect("piped")).lines();
    let mut said = said.map(|line| serde_json::from_str::<Value>(&line.expect("text")).expect("an object"));
    let disclosed = said.find(|object| object["event"] == "disclosed").expect("it discloses");
    let capsule = disclosed["capsule"].as_str().expect("a capsule");
    defend.kill().expect("killed");
    defend.wait().expect("ended");
    let told = fs::read_to_string(client.path("told")).expect("text");
    assert!(!told.contains("could not be handed"), "it has not given up before: {told}");

    client.set("FEDMKT_IPFS", daemon.rpc.to_string());
    let told = client.fedmkt(&["defend", "--once"]);
    assert!(told.stderr.contains(&format!("{capsule} is in the node")), "{}", told.stderr);
    assert!(daemon.repository.run(&["pin", "ls", "--type=recursive"]).contains(capsule));
}

#[test]
fn an_upload_whose_node_dies_is_told_and_goes_on() {
    let test = "an upload whose node dies";
    let (Some(net), Some(mut daemon)) = (Devnet::start(test), Daemon::find(test)) else { return };
    let mut party = Party::poor(&net);
    let content: Vec<u8> = (0..24u32 << 20).flat_map(u32::to_le_bytes).collect();
    fs::write(party.path("file"), content).expect("a file");
    let cid = party.fedmkt(&["store", "add", "file"]).text().to_owned();
    party.set("FEDMKT_IPFS", daemon.rpc.to_string());
    let before = blocks(&daemon);
    let mut upload = party.command("fedmkt", &["store", "upload", &cid]);
    let upload = upload.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    while blocks(&daemon) < before + 4 {
        std::thread::sleep(Duration::from_millis(1));
    }
    daemon.kill();
    let done = Done::from(upload.wait_with_output().expect("it ends"));
    done.fails(3, &daemon.rpc.to_string());
    daemon.restart();
    party.set("FEDMKT_IPFS", daemon.rpc.to_string());
    let sent = party.fedmkt(&["store", "upload", &cid, "--json"]).json();
    assert!(sent[0]["sent"].as_u64() <= sent[0]["bytes"].as_u64(), "{sent}");
    assert!(daemon.repository.run(&["pin", "ls", "--type=recursive"]).contains(&cid));
    daemon.repository.run(&["get", "--offline", "--output", party.path("back").to_str().expect("a path"), &cid]);
    assert!(fs::read(party.path("back")).expect("got") == fs::read(party.path("file")).expect("a file"));
}
