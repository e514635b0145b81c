//! Several runs at once.

use std::path::Path;
use std::process::Child;

use crate::support::{self, Client, Done, agreed};

fn done(child: Child) -> serde_json::Value {
    agreed(&Done::of(child.wait_with_output().expect("ends")).object(0))
}

/// Two jobs of one client, and two clients with one store, all at the same time.
#[test]
fn runs_on_one_store_do_not_disturb_each_other() {
    let (one, two) = (Client::new(), Client::new());
    let jobs: Vec<_> = (0..3)
        .map(|number| {
            let arguments = |manifest: &mut fedmkt_core::manifest::Manifest| {
                manifest.arguments = vec![number.to_string()];
            };
            one.publish(&support::trainer(), arguments).to_string()
        })
        .collect();
    let expected: Vec<_> = jobs.iter().map(|job| agreed(&one.run(job).object(0))).collect();
    for made in ["jobs", "capsules", "modules", "runs"] {
        std::fs::remove_dir_all(one.home().join(made)).expect("removed");
    }
    let store = one.home().join("store");
    let start = |client: &Client, job: &str, out: &Path| {
        let mut command = client.command(job);
        command.args(["--checkpoint-every", "0"]).arg("--store").arg(&store);
        // Results of several runs must not have one place.
        let program = command.get_program().to_owned();
        let folder = client.out();
        let arguments: Vec<_> = command
            .get_args()
            .map(|argument| if argument == folder.as_os_str() { out.as_os_str() } else { argument })
            .collect();
        let mut moved = std::process::Command::new(program);
        moved.args(arguments).envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        moved.stdin(std::process::Stdio::null());
        moved.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        moved.spawn().expect("starts")
    };
    let children: Vec<_> = jobs
        .iter()
        .flat_map(|job| [&one, &two].map(|client| start(client, job, &client.folder.path().join(job))))
        .collect();
    let found: Vec<_> = children.into_iter().map(done).collect();
    for (pair, expected) in found.chunks_exact(2).zip(&expected) {
        // Their data is the same and open.
        assert_eq!(&pair[0], expected);
        assert_eq!(&pair[1], expected);
    }
    let verified = one.store().verify_all(false).expect("verified");
    assert!(verified.damaged.is_empty() && verified.missing.is_empty(), "{verified:?}");
}

#[test]
fn collecting_garbage_during_runs_takes_nothing_that_they_need() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {});
    client.store().pin(&job).expect("pinned");
    let expected = agreed(&client.run(&job.to_string()).object(0));
    std::fs::remove_dir_all(client.home().join("jobs")).expect("removed");
    let run = client.command(&job.to_string()).spawn().expect("starts");
    let store = client.store();
    // What is younger than a minute may be about to be pinned.
    for _ in 0..50 {
        store.gc_older_than(std::time::Duration::from_secs(60)).expect("collected");
    }
    assert_eq!(done(run), expected);
    let receipt = client.run(&job.to_string()).object(0);
    store.gc_older_than(std::time::Duration::ZERO).expect("collected");
    assert!(store.verify_all(false).expect("verified").missing.is_empty());
    assert!(receipt["receipt"].is_string());
}
