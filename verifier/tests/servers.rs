//! Machine servers that die, or answer nonsense: an error that says so, and never a result.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use fedmkt_verifier::cartesi::Cartesi;
use fedmkt_verifier::cartesi::client::{BreakReason, Client};
use fedmkt_verifier::machine::Failure;
use serde_json::json;

/// A client of a server that answers every request with these bytes.
fn answered_with(answer: Vec<u8>) -> Client {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let mut reader = BufReader::new(&stream);
            let mut length = 0;
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap_or(0);
                }
                line.clear();
            }
            let mut body = vec![0; length];
            let _ = reader.read_exact(&mut body);
            let _ = (&stream).write_all(&answer);
        }
    });
    Client::new(address).with_patience(Duration::from_secs(2))
}

fn http(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into()
}

fn result(value: &serde_json::Value) -> Client {
    answered_with(http(&json!({ "jsonrpc": "2.0", "id": 1, "result": value }).to_string()))
}

#[test]
fn sensible_answers_are_understood() {
    assert_eq!(result(&json!("halted")).run(1).expect("an answer"), BreakReason::Halted);
    assert_eq!(result(&json!(7)).register("mcycle").expect("an answer"), 7);
    let refused = answered_with(http(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"no machine"}}"#));
    let failure = refused.run(1).expect_err("an error");
    assert!(matches!(&failure, Failure::Refused { method: "machine.run", message } if message == "no machine"));
}

#[test]
fn nonsense_is_no_result() {
    let hash = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let proof = |log2: u32, siblings: usize| {
        json!({
            "target_address": 0x1_8000_0000u64, "log2_target_size": log2, "target_hash": hash, "log2_root_size": 64,
            "root_hash": hash, "sibling_hashes": vec![hash; siblings],
        })
    };
    let is_nonsense = |failure: Failure| assert!(matches!(failure, Failure::Nonsense(_)), "{failure}");
    is_nonsense(result(&json!("flying")).run(1).expect_err("no such reason"));
    is_nonsense(result(&json!(-1)).register("mcycle").expect_err("no such number"));
    is_nonsense(result(&json!("AAAA")).root_hash().expect_err("too short"));
    is_nonsense(result(&json!(false)).destroy().expect_err("not done"));
    is_nonsense(result(&json!({})).architecture().expect_err("no marchid"));
    is_nonsense(result(&json!("AAAA")).read_memory(0, 4).expect_err("three bytes"));
    for wrong in [proof(24, 40), proof(24, 39), proof(25, 39), proof(64, 0)] {
        is_nonsense(result(&wrong).proof(0x1_8000_0000, 24).expect_err("proves nothing"));
    }
    for body in [
        "",
        "{",
        "[]",
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","id":2,"result":"halted"}"#,
        r#"{"jsonrpc":"1.0","id":1,"result":"halted"}"#,
    ] {
        is_nonsense(answered_with(http(body)).run(1).expect_err(body));
    }
    is_nonsense(answered_with(b"HTTP/1.1 500 Oops\r\n\r\n".to_vec()).run(1).expect_err("an HTTP error"));
    is_nonsense(answered_with(b"HTTP/1.1 200 OK\r\n\r\nhello".to_vec()).run(1).expect_err("no length"));
    let huge = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n".to_vec();
    is_nonsense(answered_with(huge).run(1).expect_err("a length that cannot be"));
    is_nonsense(answered_with(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()).run(1).expect_err("another protocol"));
}

#[test]
fn a_server_that_goes_away_is_said_to_have_died() {
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "HTTP/1.1 200 OK\r\nContent-"] {
        let failure = answered_with(answer.into()).run(1).expect_err("no answer");
        assert!(matches!(failure, Failure::Died { .. }), "{answer:?}: {failure}");
    }
}

#[test]
fn a_server_that_never_answers_is_not_waited_for_for_ever() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let client = Client::new(listener.local_addr().expect("an address")).with_patience(Duration::from_millis(200));
    let failure = client.run(1).expect_err("no answer");
    assert!(failure.to_string().contains("no answer within"), "{failure}");
}

#[test]
fn programs_that_are_no_server_are_refused_with_what_they_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = |name: &str, script: &str| {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("executable");
        path
    };
    let failure = Cartesi::at(&program("dies", "echo 'no libraries' >&2; exit 7")).expect_err("it died");
    let said = failure.to_string();
    assert!(said.contains("exit status: 7") && said.contains("no libraries"), "{said}");
    let failure = Cartesi::at(&folder.path().join("nowhere")).expect_err("it is not there");
    assert!(matches!(failure, Failure::Start { .. }), "{failure}");
    fs::write(folder.path().join("text"), "not a program").expect("written");
    let failure = Cartesi::at(&folder.path().join("text")).expect_err("it is no program");
    assert!(matches!(failure, Failure::Start { .. }), "{failure}");
}
