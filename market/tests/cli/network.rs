//! Nodes and gateways that the commands are told of.

use fedmkt_test_kit::gateway::Gateway;
use fedmkt_test_kit::kubo::Daemon;

use crate::sandbox::Sandbox;

const NOBODY: &str = "http://127.0.0.1:1";

#[test]
fn what_the_store_lacks_comes_from_a_gateway() {
    let sponsor = Sandbox::new();
    let job = sponsor.publish();
    let gateway = Gateway::start(sponsor.store().folder());
    let url = gateway.endpoint.to_string();
    let client = Sandbox::new();
    client.run(&["inspect", &job]).fails(3, "--gateway");
    let shown = client.run(&["inspect", &job, "--gateway", &url, "--json"]).json();
    assert_eq!(shown["job_root"], sponsor.run(&["inspect", &job, "--json"]).json()["job_root"]);
    // What was shown is there now.
    client.run(&["store", "pin", &job]).text();
    let asked = gateway.asked();
    client.run(&["store", "pin", &job, "--gateway", &url]).text();
    assert_eq!(gateway.asked(), asked);

    // By a variable, where somebody is out of reach; a file, to standard output.
    sponsor.write("file", "content");
    let file = sponsor.run(&["store", "add", "file"]).line();
    let mut command = client.command(&["store", "get", &file, "--output", "-"]);
    let output = command.env("FEDMKT_GATEWAYS", format!("{NOBODY},{url}")).output().expect("fedmkt runs");
    assert_eq!(crate::sandbox::Done::from(output).text(), "content");
    client.run(&["store", "get", &file, "--gateway", &url, "--most-bytes", "3"]).fails(3, "more than 3 bytes");
}

#[test]
fn who_cannot_be_asked_is_named() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "content");
    let cid = sandbox.run(&["store", "add", "file"]).line();
    let absent = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
    let gateway = Gateway::start(sandbox.store().folder());
    let url = gateway.endpoint.to_string();
    let done = sandbox.run(&["store", "get", absent, "--gateway", &url]);
    done.fails(3, "cannot be had from elsewhere");
    done.fails(3, &format!("{url} does not have it"));
    sandbox.run(&["store", "upload", &cid]).fails(3, "--ipfs http://127.0.0.1:5001");
    let done = sandbox.run(&["store", "upload", &cid, "--ipfs", NOBODY]);
    done.fails(3, "http://127.0.0.1:1: it cannot be reached");
    done.fails(3, "is it running");
    // A gateway takes no uploads.
    sandbox.run(&["store", "upload", &cid, "--ipfs", &url]).fails(3, "");
    sandbox.run(&["store", "ls", "--ipfs", "127.0.0.1:5001"]).fails(2, "http://127.0.0.1:5001");
    sandbox.run(&["store", "ls", "--gateway", "ftp://gateway.example"]).fails(2, "https://gateway.example");
}

#[test]
fn a_published_job_is_for_everybody_who_knows_its_cid() {
    let Some(daemon) = Daemon::find("a_published_job_is_for_everybody_who_knows_its_cid") else { return };
    let (rpc, gateway) = (daemon.rpc.to_string(), daemon.gateway.to_string());
    let sponsor = Sandbox::new();
    sponsor.write_job();
    let published = sponsor.run(&["publish", "job.toml", "--ipfs", &rpc]);
    let job = published.line();
    assert!(published.stderr.contains(&format!("{rpc} has {job}")), "{}", published.stderr);
    assert!(daemon.repository.run(&["pin", "ls", "--type=recursive"]).contains(&job));
    for from in [["--ipfs", &rpc], ["--gateway", &gateway]] {
        let client = Sandbox::new();
        client.run(&[&["store", "pin", &job], &from[..]].concat()).text();
        let theirs = sponsor.run(&["inspect", &job, "--json"]).json();
        assert_eq!(client.run(&["inspect", &job, "--json"]).json(), theirs);
    }
    let again = sponsor.run(&["store", "upload", &job, "--ipfs", &rpc, "--json"]).json();
    assert_eq!((&again[0]["cid"], &again[0]["sent"]), (&job.clone().into(), &0.into()));
}

#[test]
fn a_job_that_cannot_be_uploaded_is_not_lost() {
    let sponsor = Sandbox::new();
    sponsor.write_job();
    let done = sponsor.run(&["publish", "job.toml", "--ipfs", NOBODY]);
    done.fails(3, "the job is in the store; `fedmkt store upload bafyrei");
    let job = sponsor.run(&["publish", "job.toml"]).line();
    done.fails(3, &job);
    assert!(sponsor.run(&["store", "ls"]).text().contains(&job));
}
