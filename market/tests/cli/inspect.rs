//! `fedmkt inspect`.

use std::collections::BTreeMap;

use cid::Cid;
use fedmkt_core::image::Status;
use fedmkt_core::receipt::{Body, Trace, VERSION};
use fedmkt_core::roots::{Hash, StateRoot};
use fedmkt_core::trace::trace_root;
use fedmkt_store::{FolderStore, put_value};

use crate::sandbox::Sandbox;

/// The body of a run that failed after three steps.
fn body(job: Cid) -> Body {
    let segments = vec![StateRoot([1; 32]), StateRoot([2; 32])];
    let mut body = Body {
        version: VERSION,
        profile: "fedmkt-0".into(),
        job,
        run_id: Default::default(),
        job_root: Default::default(),
        data_root: Default::default(),
        blind_hash: Hash::default(),
        trace: Trace { root: trace_root(&segments), steps: 3, steps_per_segment: 2, segments },
        outcome: Status::Failed(7),
        results: Vec::new(),
    };
    body.trace.segments[1] = body.last_leaf(24);
    body.trace.root = trace_root(&body.trace.segments);
    body
}

fn inspect(sandbox: &Sandbox, cid: &Cid) -> crate::sandbox::Done {
    sandbox.run(&["inspect", &cid.to_string()])
}

fn put<T: serde::Serialize>(store: &FolderStore, value: &T) -> Cid {
    put_value(store, value).expect("a value")
}

#[test]
fn a_job_is_shown_by_cid_and_by_uri() {
    let sandbox = Sandbox::new();
    let job = sandbox.publish();
    let shown = sandbox.run(&["inspect", &job]);
    for said in [
        "Learns nothing.",
        "--grant data=...: csv, at least 10 rows, at most 1.00 MiB",
        "weights, at most 100 B",
        "anyone may read them",
        "at most 3 steps in 3 segments",
        "trainer.wasm",
        "job root  0x",
    ] {
        assert!(shown.text().contains(said), "{said}: {}", shown.text());
    }
    assert_eq!(sandbox.run(&["inspect", &format!("ipfs://{job}")]).text(), shown.text());
    let object = sandbox.run(&["inspect", &job, "--json"]).json();
    assert_eq!(object["kind"], "job");
    assert_eq!(object["node"]["limits"]["steps"], 3);
    let published = sandbox.run(&["publish", "job.toml", "--json"]).json();
    assert_eq!(object["job_root"], published["job_root"]);
    assert_eq!(object["node"]["trainer"], published["trainer"]);
}

#[test]
fn a_job_whose_model_is_not_there_is_shown_all_the_same() {
    let sandbox = Sandbox::new();
    let job = sandbox.publish();
    let block = fedmkt_store::BlockStore::get(&sandbox.store(), &job.parse().expect("a CID")).expect("a block");
    let other = FolderStore::new(sandbox.path("other"));
    fedmkt_store::BlockStore::put(&other, &job.parse().expect("a CID"), &block).expect("a block");
    let shown = sandbox.run(&["--store", "other", "inspect", &job]);
    assert!(shown.text().contains("This store cannot run the job"), "{}", shown.text());
    let object = sandbox.run(&["--store", "other", "inspect", &job, "--json"]).json();
    assert!(object["job_root"].is_null());
    assert!(object["problem"].as_str().expect("text").contains("is not in the store"));
}

#[test]
fn a_receipts_body_is_shown() {
    let sandbox = Sandbox::new();
    let job: Cid = sandbox.publish().parse().expect("a CID");
    let cid = put(&sandbox.store(), &body(job));
    let shown = inspect(&sandbox, &cid);
    for said in ["receipt", &job.to_string(), "failed with code 7", "3 in 2 segments of at most 2", "Trace root  0x"] {
        assert!(shown.text().contains(said), "{said}: {}", shown.text());
    }
    let object = sandbox.run(&["inspect", &cid.to_string(), "--json"]).json();
    assert_eq!(object["kind"], "receipt");
    assert_eq!(object["body"]["trace"]["steps"], 3);
    assert_eq!(object["problems"], serde_json::json!([]));
}

#[test]
fn a_receipt_that_contradicts_itself_is_refused() {
    let sandbox = Sandbox::new();
    let job: Cid = sandbox.publish().parse().expect("a CID");
    let good = body(job);
    let lies = [
        Body { trace: Trace { steps: 5, ..good.trace.clone() }, ..good.clone() },
        Body { trace: Trace { root: Default::default(), ..good.trace.clone() }, ..good.clone() },
        Body { outcome: Status::Done, ..good.clone() },
        Body { version: 2, ..good },
    ];
    for lie in lies {
        let cid = put(&sandbox.store(), &lie);
        inspect(&sandbox, &cid).fails(1, "its parts contradict each other");
    }
}

#[test]
fn files_folders_and_values_are_shown() {
    let sandbox = Sandbox::new();
    sandbox.write("folder/file", "some text\u{1b}[2J\n");
    let folder = sandbox.run(&["store", "add", "folder"]).line();
    let shown = sandbox.run(&["inspect", &folder]);
    assert!(shown.text().starts_with(&format!("folder {folder}, 1 entries")), "{}", shown.text());
    let file = sandbox.run(&["store", "add", "folder/file"]).line();
    let shown = sandbox.run(&["inspect", &file]);
    assert!(shown.text().contains("some text\\u{1b}[2J"), "{}", shown.text());
    let object = sandbox.run(&["inspect", &file, "--json"]).json();
    assert_eq!((&object["kind"], &object["bytes"]), (&"file".into(), &14.into()));
    let value = put(&sandbox.store(), &BTreeMap::from([("link", file.parse::<Cid>().expect("a CID"))]));
    let object = sandbox.run(&["inspect", &value.to_string(), "--json"]).json();
    assert_eq!((&object["kind"], &object["node"]["link"]), (&"node".into(), &file.into()));
}

#[test]
fn a_job_that_breaks_the_rules_is_shown_and_refused() {
    let sandbox = Sandbox::new();
    let job: Cid = sandbox.publish().parse().expect("a CID");
    let store = sandbox.store();
    let block = fedmkt_store::BlockStore::get(&store, &job).expect("a block");
    let mut manifest = fedmkt_core::manifest::Manifest::decode(&block).expect("a job");
    manifest.name = "two\nlines\u{7}".into();
    manifest.limits.steps = 0;
    let done = inspect(&sandbox, &put(&store, &manifest));
    done.fails(1, "limits.steps: 0 is not between");
    done.fails(1, "name: has control characters");
    assert!(!String::from_utf8(done.stdout).expect("text").contains('\u{7}'));
}

#[test]
fn what_is_not_in_the_store_is_said_with_the_place_of_the_store() {
    let sandbox = Sandbox::new();
    let done = sandbox.run(&["inspect", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"]);
    done.fails(3, "is not in the store: import it or add it first");
    done.fails(3, &sandbox.path("home/store").display().to_string());
    // A block by a hash that cannot be checked.
    sandbox.run(&["inspect", "bafkrgqbnlm4ecpz3b4y6ne5cq6mlmvhbcfdzjrgqhzvkhkmp53rp6kuvdw4bptlepo4ky7odznyxmdgkxcxvbjklkwzc5vvvzx2dzdtm67xuu"])
        .fails(3, "only CIDs with sha2-256");
}
