//! Files of the client that are damaged: noticed, and made again where that is possible.

use std::fs;
use std::path::Path;

use fedmkt_store::BlockStore;

use crate::support::{self, Client, Done, agreed, find};

type Damage = fn(Vec<u8>) -> Vec<u8>;

/// What can become of a file.
const DAMAGES: [(&str, Damage); 5] = [
    ("a bit", |mut bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        bytes
    }),
    ("half of it", |bytes| bytes[..bytes.len() / 2].to_vec()),
    ("more than it", |mut bytes| {
        bytes.extend([1; 5000]);
        bytes
    }),
    ("nothing", |_| Vec::new()),
    ("zeros", |bytes| vec![0; bytes.len()]),
];

fn damage(path: &Path, how: Damage) {
    let bytes = fs::read(path).expect("a file");
    // Caches are mapped by nobody now, and written over here on purpose.
    fs::write(path, how(bytes)).expect("written");
}

#[test]
fn whatever_the_client_keeps_is_made_again_when_it_is_damaged() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {}).to_string();
    let run = || {
        let mut command = client.command(&job);
        agreed(&Done::of(command.args(["--checkpoint-every", "0"]).output().expect("starts")).object(0))
    };
    let expected = run();
    let mut damaged = 0;
    for folder in ["jobs", "capsules", "modules", "runs"] {
        let files: Vec<_> =
            find(&client.home().join(folder), "").into_iter().filter(|path| !path.ends_with("lock")).collect();
        // Of the checkpoints the last one, from which the run would go on.
        let last = files.iter().rfind(|path| path.to_string_lossy().ends_with(".state")).cloned();
        let chosen =
            files.iter().filter(|path| !path.to_string_lossy().ends_with(".state") || Some(*path) == last.as_ref());
        for path in chosen {
            for (what, how) in DAMAGES {
                if !path.exists() {
                    continue;
                }
                damage(path, how);
                damaged += 1;
                assert_eq!(run(), expected, "{what} of {}", path.display());
            }
        }
    }
    assert!(damaged > 25, "{damaged}");
}

#[test]
fn a_damaged_block_of_the_job_is_named_and_can_be_replaced() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {});
    let expected = agreed(&client.run(&job.to_string()).object(0));
    let mut archive = Vec::new();
    fedmkt_store::car::export(&client.store(), &[job], &mut archive).expect("exported");
    let manifest: fedmkt_core::manifest::Manifest = fedmkt_store::get_value(&client.store(), &job).expect("a job");
    for cid in [job, manifest.trainer, manifest.model] {
        for (what, how) in DAMAGES {
            let path = find(&client.home().join("store"), &cid.to_string()).pop().expect("a block");
            damage(&path, how);
            let _ = fs::remove_dir_all(client.home().join("jobs"));
            let done = client.run(&job.to_string());
            assert_eq!(done.code, Some(3), "{what}: {}", done.stderr);
            assert!(done.stderr.contains(&cid.to_string()) && done.stderr.contains("damaged"), "{}", done.stderr);
            fs::remove_file(path).expect("removed");
            let missing = client.run(&job.to_string());
            assert_eq!(missing.code, Some(3), "{}", missing.stderr);
            assert!(missing.stderr.contains("is not in the store"), "{}", missing.stderr);
            fedmkt_store::car::import(&client.store(), archive.as_slice()).expect("imported");
            assert!(client.store().has(&cid).expect("asked"));
        }
    }
    assert_eq!(agreed(&client.run(&job.to_string()).object(0)), expected);
}

#[test]
fn a_damaged_identity_is_not_written_over() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {}).to_string();
    let path = client.home().join("identity.age");
    let good = fs::read(&path).expect("an identity");
    for (what, how) in DAMAGES {
        let bad = how(good.clone());
        fs::write(&path, &bad).expect("written");
        let done = client.run(&job);
        assert_eq!(done.code, Some(1), "{what}: {}", done.stderr);
        assert!(done.stderr.contains("identity.age"), "{what}: {}", done.stderr);
        assert_eq!(fs::read(&path).expect("an identity"), bad, "{what}");
    }
    fs::write(&path, good).expect("written");
    client.run(&job).object(0);
}
