//! A moment of each target, on inputs that were right before something in them was changed.

mod changes;

use changes::{apply, changes};
use fedmkt_fuzz::target;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn run(name: &str, cases: u32) {
    let target = target(name);
    let seeds = (target.seeds)();
    let right = seeds.iter().filter(|seed| (target.run)(seed)).count();
    assert!(right * 2 > seeds.len(), "{name}: {right} of {} inputs are right", seeds.len());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let inputs = (any::<prop::sample::Index>(), changes(6), prop::option::weighted(0.1, any::<Vec<u8>>()));
    let tried = TestRunner::new(config).run(&inputs, |(which, changes, other)| {
        let mut input = other.unwrap_or_else(|| which.get(&seeds).clone());
        apply(&changes, &mut input);
        let _ = (target.run)(&input);
        Ok(())
    });
    tried.unwrap_or_else(|failed| panic!("{name}: {failed}"));
}

#[test]
fn manifests() {
    run("manifest", 3000);
}

#[test]
fn receipts() {
    run("receipt", 3000);
}

#[test]
fn capsules() {
    run("capsule", 3000);
}

#[test]
fn state_images() {
    run("state_image", 500);
}

#[test]
fn archives() {
    run("car", 3000);
}

#[test]
fn dags() {
    run("unixfs", 3000);
}

#[test]
fn admission() {
    run("admission", 1000);
}

#[test]
fn modules_full_of_nans() {
    run("nan", 50);
}

#[test]
fn wasi_calls() {
    run("wasi", 300);
}

#[cfg(target_os = "linux")]
#[test]
fn the_tree_behaves_as_that_of_linux() {
    run("tree", 300);
}

/// Inputs of random bytes alone: for targets that make their own input of them.
#[test]
fn what_is_made_of_bytes() {
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let bytes = prop::collection::vec(any::<u8>(), 0..1500);
    for name in ["unixfs", "admission", "wasi", "tree"] {
        if cfg!(not(target_os = "linux")) && name == "tree" {
            continue;
        }
        let target = target(name);
        let tried = TestRunner::new(config.clone()).run(&bytes, |bytes| {
            let input = if name == "unixfs" { [&[1], bytes.as_slice()].concat() } else { bytes };
            let _ = (target.run)(&input);
            Ok(())
        });
        tried.unwrap_or_else(|failed| panic!("{name}: {failed}"));
    }
}
