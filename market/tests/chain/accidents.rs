//! Programs that are killed, a network that loses and repeats, a chain that goes back.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alloy::primitives::{Address, U256};
use fedmkt_market::records::Records;
use serde_json::{Value, json};

use crate::devnet::{Devnet, program};
use crate::disputes::Program;
use crate::party::{Done, FUNDS, Party, TOKEN, killed_after};
use crate::proxy::Proxy;

/// Starts a command again and again and ends it as a power cut would, with all that it has started, each time after
/// another time; then lets it come to its end. What is true afterwards must not depend on when it was met.
fn killed(mut command: impl FnMut() -> Command, pauses: impl IntoIterator<Item = u64>) -> Done {
    let killed = pauses.into_iter().find_map(|pause| killed_after(command(), pause));
    killed.unwrap_or_else(|| command().output().expect("it runs").into())
}

/// Has `fedmkt-run` start a shell script instead of `fedmkt`, which is `$fedmkt` in there.
fn instead_of_fedmkt(party: &mut Party, script: &str) {
    let path = party.path("instead");
    let text = format!("#!/bin/sh\nfedmkt='{}'\n{script}\n", program("fedmkt").display());
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("set");
    party.set("FEDMKT_PROGRAM", path.display().to_string());
}

/// Times at which a command is met, in milliseconds: others in every run, told if the test fails.
fn moments(most: u64) -> Vec<u64> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("randomness");
    let moments: Vec<u64> =
        random.chunks(4).map(|four| u64::from(u32::from_le_bytes(four.try_into().expect("four"))) % most).collect();
    println!("killed after {moments:?} ms");
    moments
}

#[test]
fn a_client_that_is_killed_again_and_again_accepts_and_submits_once() {
    let Some(net) = Devnet::start("killed clients") else { return };
    let (sponsor, client) = (Party::new(&net), Party::new(&net));
    let (cid, job) = sponsor.offers(&net, &client, 5);
    let done = killed(|| client.work(&cid), [50, 400, 900, 1500, 2500, 4000, 6000]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let shown = client.fedmkt(&["job", "show", &job, "--json"]).json();
    assert_eq!(shown["taken"].as_array().map(Vec::len), Some(1), "one slot");
    assert_eq!(net.tokens(&client.account), FUNDS - 100 * TOKEN, "one bond");
    net.wait(3601);
    client.fedmkt(&["claim"]).text();
    assert_eq!(net.tokens(&client.account), FUNDS + 100 * TOKEN);
}

#[test]
fn whoever_is_killed_at_whatever_moment_does_everything_once() {
    let Some(net) = Devnet::start("killed parties") else { return };
    let sponsor = Party::new(&net);
    let cid = sponsor.publish(|_| {});
    let posted = killed(|| sponsor.post_command(&net, &cid, 3, "100", &[]), moments(2500));
    let job = posted.text().to_owned();
    assert_eq!(net.tokens(&sponsor.account), FUNDS - 300 * TOKEN, "one offer");

    let clients: Vec<Party> = (0..2).map(|_| Party::new(&net)).collect();
    let mut slots = Vec::new();
    for (seed, client) in (0..).zip(&clients) {
        client.write_data(seed);
        sponsor.hand(&cid, client);
        let accept = ["accept", &cid, "--grant", "data=data", "--yes", "--json"];
        let accepted = killed(|| client.command("fedmkt", &accept), moments(6000)).json();
        let run =
            [&cid, "--grant", "data=data", "--out", "out", "--run-id", accepted["run_id"].as_str().expect("an id")];
        let run = [&run[..], &["--yes", "--json"]].concat();
        let receipt = killed(|| client.command("fedmkt-run", &run), moments(2000)).json();
        let slot = accepted["slot"].as_str().expect("a slot").to_owned();
        let submit = ["submit", &slot, "--receipt", receipt["receipt"].as_str().expect("a receipt")];
        killed(|| client.command("fedmkt", &submit), moments(3000)).text();
        slots.push(slot);
    }
    let shown = sponsor.fedmkt(&["job", "show", &job, "--json"]).json();
    assert_eq!(shown["taken"].as_array().map(Vec::len), Some(2), "a slot for each");

    killed(|| sponsor.command("fedmkt", &["job", "approve", &slots[0], "--yes"]), moments(2500)).text();
    killed(|| sponsor.command("fedmkt", &["job", "cancel", &job]), moments(2500)).text();
    net.wait(3601);
    for party in clients.iter().chain([&sponsor]) {
        killed(|| party.command("fedmkt", &["claim"]), moments(4000)).text();
    }
    for client in &clients {
        assert_eq!(net.tokens(&client.account), FUNDS + 100 * TOKEN, "paid once");
    }
    assert_eq!(net.tokens(&sponsor.account), FUNDS - 200 * TOKEN, "the open slot's reward is back");
    assert_eq!(net.tokens(&net.market), 0);
}

#[test]
fn a_network_that_drops_delays_repeats_and_reorders_changes_nothing() {
    let Some(net) = Devnet::start("a bad network") else { return };
    let proxy = Proxy::bad(&net.address);
    let party = || {
        let mut party = Party::new(&net);
        party.rpc = proxy.url();
        party
    };
    let (sponsor, clients) = (party(), [party(), party()]);
    let cid = sponsor.publish(|_| {});
    let job = sponsor.post(&net, &cid, 3, "100").text().to_owned();
    // At the same time, so that there are answers that can be overtaken.
    std::thread::scope(|scope| {
        for (seed, client) in (1..).zip(&clients) {
            client.write_data(seed);
            sponsor.hand(&cid, client);
            let cid = &cid;
            scope.spawn(move || {
                let done = Done::from(client.work(cid).output().expect("fedmkt-run runs")).json();
                assert_eq!(done["status"], "done");
            });
        }
    });
    net.wait(3601);
    for client in &clients {
        client.fedmkt(&["claim"]).text();
    }
    sponsor.fedmkt(&["job", "cancel", &job]).text();
    sponsor.fedmkt(&["claim"]).text();
    for client in &clients {
        assert_eq!(net.tokens(&client.account), FUNDS + 100 * TOKEN);
    }
    assert_eq!(net.tokens(&sponsor.account), FUNDS - 200 * TOKEN);
    assert_eq!(net.tokens(&net.market), 0);
    let counts = proxy.counts();
    for count in [&counts.dropped, &counts.repeated, &counts.overtaken] {
        assert!(count.load(Ordering::Relaxed) > 5, "the network was bad: {counts:?}");
    }
}

#[test]
fn a_chain_that_goes_back_is_noticed() {
    let Some(net) = Devnet::start("a reorganisation") else { return };
    let (sponsor, client) = (Party::new(&net), Party::new(&net));
    let (cid, _) = sponsor.offers(&net, &client, 1);
    let before = net.ask("evm_snapshot", json!([]));
    let accept = ["accept", &cid, "--grant", "data=data", "--yes", "--json"];
    let first = client.fedmkt(&accept).json();
    assert_eq!(net.ask("evm_revert", json!([before])), true);
    assert_eq!(net.tokens(&client.account), FUNDS, "the chain forgot the bond");
    let second = client.fedmkt(&accept).json();
    assert_eq!(first["slot"], second["slot"], "the same slot is taken, not another one");
    assert_eq!(net.tokens(&client.account), FUNDS - 100 * TOKEN);
    let done = Done::from(client.work(&cid).output().expect("fedmkt-run runs")).json();
    assert_eq!(done["run_id"], second["run_id"]);
    assert_eq!(done["submission"]["slot"], second["slot"]);
}

#[test]
fn what_was_begun_and_left_gives_way_and_is_done_when_it_is_wanted_again() {
    let Some(net) = Devnet::start("a transaction that was left") else { return };
    let sponsor = Party::new(&net);
    let cid = sponsor.publish(|_| {});
    let pause = || std::thread::sleep(Duration::from_millis(100));
    // No blocks: what is sent waits.
    net.ask("evm_setIntervalMining", json!([0]));
    let before = net.nonce(&sponsor.account);
    let mut post = sponsor.post_command(&net, &cid, 1, "1", &[]);
    let mut post = post.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    while net.waiting().is_empty() {
        pause();
    }
    let left = net.waiting();
    post.kill().expect("killed");
    post.wait().expect("ended");

    let program = Program::of(&sponsor, &net);
    let token = net.token.parse().expect("an address");
    let call = program.chain.token_contract(token).approve(Address::repeat_byte(7), U256::ONE).calldata().to_vec();
    let ended = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        scope.spawn(|| {
            while net.waiting() == left && !ended.load(Ordering::Relaxed) {
                pause();
            }
            net.ask("evm_setIntervalMining", json!([1]));
        });
        let sent = program.sender().send("something else", token, call);
        ended.store(true, Ordering::Relaxed);
        sent
    });
    assert!(sent.expect("sent").status());
    assert_eq!(net.nonce(&sponsor.account), before + 1, "one of the two is in a block");
    drop(program);
    let journal = Records::open(&sponsor.path("home/journal.redb")).expect("a journal");
    assert_eq!(journal.all::<Value>("transaction/").expect("records"), [], "neither is on its way any more");
    drop(journal);
    sponsor.post(&net, &cid, 1, "1").text();
    assert_eq!(net.nonce(&sponsor.account), before + 2, "the job, with its allowance");
}

#[test]
fn what_a_node_has_refused_is_sent_again_with_the_usual_fees() {
    let Some(net) = Devnet::start("a refused transaction") else { return };
    let mut sponsor = Party::new(&net);
    let cid = sponsor.publish(|_| {});
    sponsor.fedmkt(&["config", "set", "most-fee", "1000000000"]).text();
    // A million gwei, which the account cannot pay.
    let dear = Proxy::lying(&net.address, |request, result| {
        if request["method"] == "eth_feeHistory" {
            result["reward"] = json!(vec![["0x38d7ea4c68000"]; 10]);
        }
    });
    let token = net.token.parse().expect("an address");
    let approve = |party: &Party, name: &str, units: u64| {
        let program = Program::of(party, &net);
        let contract = program.chain.token_contract(token);
        let call = contract.approve(Address::repeat_byte(7), U256::from(units)).calldata().to_vec();
        program.sender().send(name, token, call).map(|receipt| receipt.effective_gas_price)
    };
    let usual = 10_000_000_000;
    sponsor.rpc = dear.url();
    sponsor.post(&net, &cid, 1, "1").fails(3, "nsufficient funds");
    // The same again.
    sponsor.rpc = net.url();
    sponsor.post(&net, &cid, 1, "1").text();
    assert_eq!((net.nonce(&sponsor.account), net.tokens(&sponsor.account)), (1, FUNDS - TOKEN));
    // Something else, which takes its place.
    sponsor.rpc = dear.url();
    approve(&sponsor, "first", 1).expect_err("too dear");
    sponsor.rpc = net.url();
    assert!(approve(&sponsor, "second", 2).expect("sent") < usual);
    assert_eq!(net.nonce(&sponsor.account), 2, "with the same nonce");
    assert!(approve(&sponsor, "first", 1).expect("sent") < usual, "and what was refused is done as well");
}

#[test]
fn what_a_node_has_is_not_refused_in_whatever_words_it_says_so() {
    let Some(net) = Devnet::start("a node with other words") else { return };
    let mut party = Party::new(&net);
    let repeating = Proxy::answering(&net.address, |request, honest| {
        let answer = honest();
        match request["method"] == "eth_sendRawTransaction" {
            // As if it had got it before.
            true => json!({
                "jsonrpc": "2.0", "id": request["id"],
                "error": { "code": -32000, "message": "existing tx with same hash" },
            }),
            false => answer,
        }
    });
    party.rpc = repeating.url();
    let program = Program::of(&party, &net);
    let token = net.token.parse().expect("an address");
    let call = program.chain.token_contract(token).approve(Address::repeat_byte(7), U256::ONE).calldata().to_vec();
    assert!(program.sender().send("something", token, call).expect("sent").status());
    assert_eq!(net.nonce(&party.account), 1);
}

#[test]
fn a_deed_that_is_kept_is_done_once_until_it_is_forgotten() {
    let Some(net) = Devnet::start("a deed that is kept") else { return };
    let party = Party::new(&net);
    let program = Program::of(&party, &net);
    let token = net.token.parse().expect("an address");
    let contract = program.chain.token_contract(token);
    let call = |units: u64| contract.approve(Address::repeat_byte(7), U256::from(units)).calldata().to_vec();
    let keep = || program.sender().send_and_keep("first", token, call(1)).expect("sent").transaction_hash;
    let before = net.ask("evm_snapshot", json!([]));
    let first = keep();
    // As after a kill before it was written down that it is done.
    assert_eq!(keep(), first);
    program.sender().send("second", token, call(2)).expect("sent");
    assert_eq!((keep(), net.nonce(&party.account)), (first, 2));
    assert_eq!(net.ask("evm_revert", json!([before])), true);
    assert_eq!(net.nonce(&party.account), 0, "the chain forgot both");
    keep();
    assert_eq!(net.nonce(&party.account), 1, "it is done again");
    keep();
    assert_eq!(net.nonce(&party.account), 1, "once");
    program.sender().forget("first").expect("forgotten");
    keep();
    assert_eq!(net.nonce(&party.account), 2, "another deed of the same name");
}

#[test]
fn data_that_changes_after_the_bond_is_not_trained_on_and_takes_no_second_bond() {
    let Some(net) = Devnet::start("data that changes") else { return };
    let (sponsor, mut client) = (Party::new(&net), Party::new(&net));
    let (cid, _) = sponsor.offers(&net, &client, 2);
    let write = |digit| format!("printf {digit} | dd of=data/table.csv conv=notrunc status=none");
    instead_of_fedmkt(&mut client, &format!("{} && \"$fedmkt\" \"$@\" && {}", write(8), write(9)));
    let work = |client: &Party| Done::from(client.work(&cid).output().expect("fedmkt-run runs"));
    work(&client).fails(4, "data changed after slot");
    assert!(!client.path("home/runs").exists(), "nothing was trained");
    assert_eq!(net.tokens(&client.account), FUNDS - 100 * TOKEN, "one bond");

    client.set("FEDMKT_PROGRAM", program("fedmkt").display().to_string());
    work(&client).fails(8, "on other data than data is now");
    assert_eq!(net.tokens(&client.account), FUNDS - 100 * TOKEN, "one bond");
    let again = client.fedmkt(&["accept", &cid, "--grant", "data=data", "--yes", "--json", "--again"]).json();
    assert_eq!(net.tokens(&client.account), FUNDS - 200 * TOKEN, "another one, as it was wanted");

    let mut table = fs::read(client.path("data/table.csv")).expect("a file");
    table[0] = b'8';
    fs::write(client.path("data/table.csv"), table).expect("a file");
    let done = work(&client).json();
    assert_eq!(done["status"], "done");
    assert_ne!(done["submission"]["slot"], again["slot"], "it is that of the data which is back");
    assert_eq!(net.tokens(&client.account), FUNDS - 200 * TOKEN);
}

#[test]
fn ctrl_c_while_results_are_submitted_ends_with_130_and_the_same_command_goes_on() {
    let Some(net) = Devnet::start("Ctrl-C after training") else { return };
    let (sponsor, mut client) = (Party::new(&net), Party::new(&net));
    let (cid, _) = sponsor.offers(&net, &client, 1);
    // At a terminal it meets both programs.
    let script = "case \" $* \" in *' submit '*) kill -INT $PPID; sleep 1; exit 1;; esac\nexec \"$fedmkt\" \"$@\"";
    instead_of_fedmkt(&mut client, script);
    let interrupted = Done::from(client.work(&cid).output().expect("fedmkt-run runs"));
    interrupted.fails(130, "the same command goes on");
    assert_eq!(client.fedmkt(&["status", "--json"]).json()[0]["state"], "accepted", "nothing was submitted");
    client.set("FEDMKT_PROGRAM", program("fedmkt").display().to_string());
    let done = Done::from(client.work(&cid).output().expect("fedmkt-run runs")).json();
    assert!(done["submission"]["slot"].is_string(), "{done}");
}

#[test]
fn the_journal_is_free_while_a_person_is_waited_for() {
    let Some(net) = Devnet::start("a slow person") else { return };
    // So that the run's id is fixed on the chain as well, however fast blocks have come.
    net.forget_old_blocks();
    let mut sponsor = Party::new(&net);
    let cid = sponsor.publish(|_| {});
    let (job, other) = (sponsor.post(&net, &cid, 1, "1").text().to_owned(), sponsor.publish(|job| job.name.push('2')));
    // Something to claim.
    let third = sponsor.publish(|job| job.name.push('3'));
    let cancelled = sponsor.post(&net, &third, 1, "1").text().to_owned();
    sponsor.fedmkt(&["job", "cancel", &cancelled]).text();
    sponsor.write_data(1);
    let slow = sponsor.path("slow");
    assert!(Command::new("mkfifo").arg(&slow).status().expect("mkfifo runs").success());
    sponsor.set("FEDMKT_WALLET_PASSWORD_FILE", slow.display().to_string());
    let waits = |mut command: Command| {
        let waiting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        // Opened when the program asks.
        let mut password = OpenOptions::new().write(true).open(&slow).expect("a pipe");
        let journal = Records::open(&sponsor.path("home/journal.redb"));
        password.write_all(b"correct horse\n").expect("written");
        drop((password, journal.expect("nobody has it open")));
        assert!(!Done::from(waiting.wait_with_output().expect("it ended")).text().is_empty());
    };
    waits(sponsor.post_command(&net, &other, 1, "1", &[]));
    waits(sponsor.command("fedmkt", &["claim"]));
    let accept = || sponsor.command("fedmkt", &["accept", &job, "--grant", "data=data", "--yes"]);
    let before = net.ask("evm_snapshot", json!([]));
    waits(accept());
    // Gone on with, after the chain forgot it.
    assert_eq!(net.ask("evm_revert", json!([before])), true);
    waits(accept());
    // Where nothing is left to do nobody is asked.
    Done::from(accept().env("FEDMKT_WALLET_PASSWORD_FILE", "nowhere").output().expect("fedmkt runs")).text();
}

#[test]
fn a_transaction_is_begun_anew_when_the_chain_forgets_what_came_before_it() {
    let Some(net) = Devnet::start("a chain that forgets") else { return };
    let party = Party::new(&net);
    let program = Program::of(&party, &net);
    let token = net.token.parse().expect("an address");
    let contract = program.chain.token_contract(token);
    let call = |units| contract.approve(Address::repeat_byte(7), U256::from(units)).calldata().to_vec();
    let before = net.ask("evm_snapshot", json!([]));
    assert!(program.sender().send("first", token, call(1)).expect("sent").status());
    net.ask("evm_setIntervalMining", json!([0]));
    let sent = std::thread::scope(|scope| {
        scope.spawn(|| {
            while net.waiting().is_empty() {
                std::thread::sleep(Duration::from_millis(50));
            }
            assert_eq!(net.ask("evm_revert", json!([before])), true);
            assert_eq!(net.nonce(&party.account), 0, "the first is gone");
            net.ask("evm_setIntervalMining", json!([1]));
        });
        program.sender().send("second", token, call(2))
    });
    assert!(sent.expect("sent").status());
    let allowed = contract.allowance(program.sender().address(), Address::repeat_byte(7));
    assert_eq!(program.chain.call(allowed).expect("an answer"), U256::from(2));
}
