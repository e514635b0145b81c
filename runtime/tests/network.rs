//! A job that the client has only the CID of.

#[path = "../store/tests/store/server.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod server;
mod support;

use fedmkt_store::{FolderStore, Kubo, Patience, car};
use fedmkt_test_kit::gateway::Gateway;
use fedmkt_test_kit::kubo::Daemon;
use server::{Answer, Server};
use support::{Client, Done};

fn run(client: &Client, job: &str, options: &[&str]) -> Done {
    Done::of(client.command(job).args(options).output().expect("the command starts"))
}

#[test]
fn a_job_comes_from_a_node_or_from_its_gateway() {
    let Some(daemon) = Daemon::find("a_job_comes_from_a_node_or_from_its_gateway") else { return };
    let sponsor = Client::new();
    let job = sponsor.publish(&support::trainer(), |_| {});
    let node = Kubo::new(daemon.rpc.clone(), Patience::default()).expect("a node");
    node.upload(&sponsor.store(), &job, |_| ()).expect("an upload");
    let job = job.to_string();
    let receipt = sponsor.run(&job).object(0)["receipt_body"].clone();
    let (rpc, gateway) = (daemon.rpc.to_string(), daemon.gateway.to_string());
    for options in [["--ipfs", &rpc], ["--gateway", &gateway]] {
        let client = Client::new();
        let done = client.run(&job);
        assert_eq!(done.code, Some(3), "{}", done.stderr);
        assert_eq!(run(&client, &job, &options).object(0)["receipt_body"], receipt, "{options:?}");
        // It is there now.
        assert_eq!(client.run(&job).object(0)["receipt_body"], receipt);
    }
}

#[test]
fn a_gateway_that_lies_does_no_harm() {
    let sponsor = Client::new();
    let job = sponsor.publish(&support::trainer(), |_| {});
    let other = sponsor.publish(&support::trainer(), |manifest| manifest.limits.memory *= 2);
    let folder = sponsor.store().folder().to_owned();
    let liar = Server::start(move |_| {
        let mut archive = Vec::new();
        car::export(&FolderStore::new(&folder), &[other], &mut archive).expect("an archive");
        Answer::Whole(200, archive)
    });
    let honest = Gateway::start(sponsor.store().folder());
    let (liar, honest) = (liar.endpoint.to_string(), honest.endpoint.to_string());
    let job = job.to_string();
    let client = Client::new();
    let done = run(&client, &job, &["--gateway", &liar]);
    assert_eq!(done.code, Some(3), "{}", done.stderr);
    assert!(done.stderr.contains(&format!("{liar} gave something else")), "{}", done.stderr);
    assert!(client.store().blocks().expect("blocks").is_empty());
    let receipt = run(&client, &job, &["--gateway", &liar, "--gateway", &honest]).object(0)["receipt_body"].clone();
    assert_eq!(receipt, sponsor.run(&job).object(0)["receipt_body"]);
}
