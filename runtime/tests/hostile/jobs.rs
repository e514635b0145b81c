//! Jobs that are not what they should be.

use std::fs;

use cid::Cid;
use fedmkt_core::manifest::{Manifest, RELEASE, ResultFile, Reward};
use fedmkt_core::unixfs::RAW;
use fedmkt_store::{BlockStore, DAG_CBOR, FolderStore, car, files, put_value};
use fedmkt_test_kit::dag_pb::{put_block, put_file, put_folder};

use crate::support::{self, Client, Done};

fn refused(done: &Done, says: &str) {
    assert_eq!(done.code, Some(3), "{}", done.stderr);
    let last = done.stderr.split("fedmkt-run: ").last().unwrap_or_default();
    assert!(last.contains(says), "{says:?} is not in {last:?}");
    assert_eq!(done.json, None);
}

/// What there is at home after a refusal: nothing was packed, compiled or begun.
fn nothing_was_done(client: &Client) {
    assert!(!client.home().join("capsules").exists());
    assert!(!client.home().join("modules").exists());
    assert!(!client.home().join("runs").exists());
}

#[test]
fn a_job_that_asks_for_the_impossible_is_refused_with_the_field_that_does() {
    type Change = fn(&mut Manifest);
    let cases: [(&str, Change); 18] = [
        ("version", |manifest| manifest.version = 2),
        ("version", |manifest| manifest.version = u64::MAX),
        ("profile", |manifest| manifest.profile = "fedmkt-9".into()),
        ("name", |manifest| manifest.name = "\u{1b}[2J".into()),
        ("limits.memory", |manifest| manifest.limits.memory = u64::MAX),
        ("limits.memory", |manifest| manifest.limits.memory = 0),
        ("limits.steps", |manifest| manifest.limits.steps = 0),
        ("limits.steps", |manifest| manifest.limits.steps = u64::MAX),
        ("limits.output", |manifest| manifest.limits.output = u64::MAX),
        ("limits.scratch", |manifest| manifest.limits.scratch = 1 << 60),
        ("limits.open_files", |manifest| manifest.limits.open_files = 1 << 40),
        ("limits.step_seconds", |manifest| manifest.limits.step_seconds = 0),
        ("limits.step_seconds", |manifest| manifest.limits.step_seconds = u64::MAX),
        ("steps_per_segment", |manifest| manifest.steps_per_segment = 0),
        ("steps_per_segment", |manifest| manifest.limits.steps = 7 * 256 + 1),
        ("results", |manifest| manifest.results.clear()),
        ("data.most_bytes", |manifest| manifest.data.most_bytes = u64::MAX),
        ("data.name", |manifest| manifest.data.name = "../data".into()),
    ];
    for (field, change) in cases {
        let client = Client::new();
        let job = client.publish(&support::trainer(), change).to_string();
        refused(&client.run(&job), field);
        nothing_was_done(&client);
    }
}

#[test]
fn a_job_whose_runs_another_release_defines_is_refused() {
    let named = |release: &str| {
        let client = Client::new();
        let job = client.publish(&support::trainer(), |manifest| manifest.machine.release = Some(release.into()));
        (client.run(&job.to_string()), client)
    };
    assert_eq!(named(RELEASE).0.code, Some(0));
    for release in ["fedmkt-0.1", "fedmkt-9.9", "FEDMKT", "\u{202e}"] {
        let (done, client) = named(release);
        refused(&done, &format!("is for release {release:?} of the replayer"));
        nothing_was_done(&client);
    }
    let client = Client::new();
    let address = format!("0x{}", "1".repeat(40));
    let reward = Reward { chain_id: 1, market: address.clone(), token: address, amount: "1".into() };
    let job = client.publish(&support::trainer(), |manifest| manifest.reward = Some(reward));
    refused(&client.run(&job.to_string()), "has a reward and names no release");
    nothing_was_done(&client);
}

#[test]
fn results_cannot_be_named_so_that_they_lie_elsewhere() {
    for name in ["../x", "..", ".", "", "/etc/x", "a/b", "a\\b", "a\0b", "a\nb", &"x".repeat(256)] {
        let client = Client::new();
        let named = |manifest: &mut Manifest| {
            manifest.results[0] = ResultFile { name: name.into(), most_bytes: 100 };
        };
        let job = client.publish(&support::trainer(), named).to_string();
        refused(&client.run(&job), "results");
        assert!(!client.out().exists());
    }
}

#[test]
fn a_name_in_a_model_cannot_lead_elsewhere() {
    for name in ["..", "../x", "/x", "a/b", "", "a\u{202e}b\n"] {
        let client = Client::new();
        let store = client.store();
        let leaf = put_block(&store, RAW, b"1");
        let model = put_folder(&store, &[(name, leaf)]);
        let job = client.publish(&support::trainer(), |manifest| manifest.model = model).to_string();
        refused(&client.run(&job), "not allowed");
    }
}

/// A file of the same part again and again.
fn repeated(store: &FolderStore, part: &Cid, part_bytes: u64, times: usize) -> Cid {
    put_file(store, &vec![(*part, part_bytes); times])
}

#[test]
fn a_module_of_a_gigabyte_is_refused_before_it_is_read() {
    let client = Client::new();
    let store = client.store();
    let part = put_block(&store, RAW, &[0; 1 << 20]);
    let module = repeated(&store, &part, 1 << 20, 1024);
    let job = client.publish(&support::trainer(), |manifest| manifest.trainer = module).to_string();
    refused(&client.run(&job), "1073741824 bytes");
    // A model of 2^50 bytes in three blocks.
    let model =
        (0..2).fold((part, 1u64 << 20), |(cid, bytes), _| (repeated(&store, &cid, bytes, 1 << 15), bytes << 15));
    let job = client.publish(&support::trainer(), |manifest| manifest.model = model.0).to_string();
    refused(&client.run(&job), "no class is large enough");
    // A model of 8 MiB, each byte of which is a block.
    let crumb = put_block(&store, RAW, b"1");
    let crumbs = repeated(&store, &repeated(&store, &crumb, 1, 1 << 12), 1 << 12, 1 << 11);
    let job = client.publish(&support::trainer(), |manifest| manifest.model = crumbs).to_string();
    refused(&client.run(&job), "blocks that are too short");
    // Folders in folders, each of which has to be looked at while those above it are open.
    let crowded = (0..4).fold(crumb, |below, _| {
        let names: Vec<String> = (0..40_000).map(|number| format!("{number:05}")).collect();
        let entry = |(index, name): (usize, &'_ String)| (name.clone(), if index == 0 { below } else { crumb });
        let entries: Vec<(String, Cid)> = names.iter().enumerate().map(entry).collect();
        put_folder(&store, &entries.iter().map(|(name, cid)| (name.as_str(), *cid)).collect::<Vec<_>>())
    });
    let job = client.publish(&support::trainer(), |manifest| manifest.model = crowded).to_string();
    refused(&client.run(&job), "too many of them");
    // Folders in folders: 2^60 files.
    let folder =
        (0..60).fold(put_block(&store, RAW, b"1"), |below, _| put_folder(&store, &[("a", below), ("b", below)]));
    let job = client.publish(&support::trainer(), |manifest| manifest.model = folder).to_string();
    refused(&client.run(&job), "too many");
    nothing_was_done(&client);
}

#[test]
fn blocks_that_are_nested_without_end_or_no_blocks_at_all_are_refused() {
    let client = Client::new();
    let store = client.store();
    let nested = put_block(&store, DAG_CBOR, &[vec![0x81; 1 << 20], vec![0xf6]].concat());
    refused(&client.run(&nested.to_string()), "not a job manifest");
    let empty = put_block(&store, DAG_CBOR, b"");
    refused(&client.run(&empty.to_string()), "not a job manifest");
    let text = put_value(&store, &"text").expect("stored");
    refused(&client.run(&text.to_string()), "not a job manifest");
    let file = files::add_file(&store, &b"a file"[..]).expect("added").cid;
    refused(&client.run(&file.to_string()), "not a job");
    // A folder where the module should be.
    let folder = put_folder(&store, &[]);
    let job = client.publish(&support::trainer(), |manifest| manifest.trainer = folder).to_string();
    refused(&client.run(&job), "is a folder");
    nothing_was_done(&client);
}

#[test]
fn archives_that_lie_are_refused() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {});
    let mut good = Vec::new();
    car::export(&client.store(), &[job], &mut good).expect("exported");
    let path = client.folder.path().join("job.car");
    let run = |archive: &[u8]| {
        fs::write(&path, archive).expect("written");
        // Blocks before a fault stay in the store.
        Client::new().run(&path.display().to_string())
    };
    let mut flipped = good.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    refused(&run(&flipped), "damaged");
    refused(&run(&good[..good.len() - 1]), "cut short");
    refused(&run(&[good.as_slice(), &[0xff; 9]].concat()), "impossible length");
    refused(&run(&[good.as_slice(), &[0xff, 0xff, 0xff, 0x7f]].concat()), "the limit is");
    refused(&run(b""), "it is empty");
    refused(&run(b"PK\x03\x04 some other archive"), "CAR");
    let mut rootless = Vec::new();
    car::export(&client.store(), &[], &mut rootless).expect("exported");
    refused(&run(&rootless), "has no root");
    // The job's block without what it links to.
    let block = client.store().get(&job).expect("the job");
    let at = good.windows(block.len()).position(|window| window == block).expect("it is there");
    refused(&run(&good[..at + block.len()]), "is not in the store");
    assert_eq!(run(&good).code, Some(0), "after all that, the right one");
}
