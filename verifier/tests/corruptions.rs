//! Whatever is changed in a run, its trace or its receipt: it is found, and the first wrong segment and step are named.
//!
//! `FEDMKT_CORRUPTIONS=200` tries so many; without it there are enough for each kind.

#[allow(dead_code, reason = "several tests share it, each uses what it needs")]
mod lies;

use std::fs;
use std::path::Path;
use std::time::Duration;

use alloy::primitives::B256;
use fedmkt_contracts::submission;
use fedmkt_core::roots::StateRoot;
use fedmkt_core::trace::Level;
use fedmkt_core::tree::keccak256;
use fedmkt_store::{CachedStore, files};
use fedmkt_verifier::rerun::{Claim, Part, Rerun, first_wrong};
use fedmkt_verifier::watch::evidence::{self, Missing};

use lies::{Dice, KINDS, Liar, STEPS, STEPS_PER_SEGMENT, Setting};

fn rerun<'a>(setting: &'a Setting, folder: &Path) -> Rerun<'a> {
    fs::create_dir_all(folder).expect("a folder");
    Rerun::run(setting.session(), folder, Duration::ZERO, &|| false).expect("run").expect("not stopped")
}

/// Narrows a dispute down: the first wrong segment and step, and the state before it.
fn narrowed(
    rerun: &mut Rerun<'_>,
    claim: &Claim,
    mut ask: impl FnMut(&Level) -> Vec<StateRoot>,
) -> (u64, u64, StateRoot) {
    let mut level = Level::top(claim.steps, STEPS_PER_SEGMENT);
    let mut before = rerun.first_state();
    let mut segment = None;
    loop {
        let theirs = ask(&level);
        let ours = rerun.leaves(&level).expect("leaves");
        let index = first_wrong(&ours, &theirs).expect("a wrong leaf");
        segment = segment.or(Some(index as u64));
        if index > 0 {
            before = theirs[index - 1];
        }
        match level.below(index as u64) {
            Some(below) => level = below,
            None => return (segment.expect("a segment"), level.first + index as u64 * level.part, before),
        }
    }
}

#[test]
fn every_corruption_is_found_down_to_its_step() {
    let setting = Setting::new();
    let mut rerun = rerun(&setting, &setting.folder.path().join("rerun"));
    let honest = Claim::of(&rerun.body()).expect("segments");
    assert_eq!(rerun.differs(&honest), None);
    let mut liar = Liar::new(&setting);
    assert_eq!(liar.honest.len() as u64, STEPS);
    let count = std::env::var("FEDMKT_CORRUPTIONS").ok().map_or(2 * KINDS, |count| count.parse().expect("a number"));
    for number in 0..count {
        let mut dice = Dice(number, 0);
        let lie = liar.lie(number % KINDS, &mut dice);
        let about = format!("corruption {number}: {} in step {}", lie.what, lie.step);
        let claim = lie.claim(&honest);
        assert!(rerun.differs(&claim).is_some(), "{about}");
        let honest_states = &liar.honest;
        let (segment, step, before) = narrowed(&mut rerun, &claim, |level| lie.posts(level, honest_states));
        assert_eq!((segment, step), (lie.step / STEPS_PER_SEGMENT, lie.step), "{about}");
        let expected = if step == 0 { rerun.first_state() } else { honest_states[step as usize - 1] };
        assert_eq!(before, expected, "{about}: the state before the step is right");
    }
}

#[test]
fn a_rerun_that_was_stopped_goes_on_and_comes_to_the_same() {
    let setting = Setting::new();
    let whole = rerun(&setting, &setting.folder.path().join("whole")).body();
    let folder = setting.folder.path().join("parts");
    fs::create_dir(&folder).expect("a folder");
    let stopped = Rerun::run(setting.session(), &folder, Duration::ZERO, &|| true).expect("run");
    assert!(stopped.is_none());
    let states = fs::read_dir(&folder).expect("a folder").flatten();
    assert!(states.filter(|entry| entry.path().extension().is_some_and(|end| end == "state")).count() > 0);
    assert_eq!(rerun(&setting, &folder).body(), whole);
}

#[test]
fn a_part_of_a_run_has_the_leaves_and_states_of_the_whole() {
    let setting = Setting::new();
    let mut whole = rerun(&setting, &setting.folder.path().join("whole"));
    let top = Level::top(STEPS, STEPS_PER_SEGMENT);
    let below = top.below(0).expect("a level of the first segment");
    let folder = setting.folder.path().join("part");
    fs::create_dir(&folder).expect("a folder");
    let run = |steps| Part::run(setting.session(), &folder, steps, Duration::ZERO, &|| false);
    let end = below.first + below.steps;
    let mut part = run(end).expect("run").expect("not stopped");
    assert_eq!(part.leaves(&below).expect("leaves"), whole.leaves(&below).expect("leaves"));
    for steps in [0, 1, end] {
        let (one, other) = (setting.folder.path().join("one"), setting.folder.path().join("other"));
        let ours = part.write_state(steps, &one).expect("a state");
        assert_eq!(ours, whole.write_state(steps, &other).expect("a state"), "after {steps} steps");
    }
    // The rest of the run was not computed: no state beyond the next segment is in its folder.
    let states = fs::read_dir(&folder)
        .expect("a folder")
        .flatten()
        .filter_map(|entry| entry.path().file_name()?.to_str()?.strip_suffix(".state")?.parse::<u64>().ok());
    assert!(states.max().is_some_and(|steps| (end..STEPS).contains(&steps)));
    drop(part);
    // Asked for more than there is, it is the whole run.
    let mut part = run(STEPS + 1).expect("run").expect("not stopped");
    assert_eq!(part.leaves(&top).expect("leaves"), whole.leaves(&top).expect("leaves"));
}

/// What a verifier says of a capsule that was published so, when its policy allows so many bytes.
fn looked(setting: &Setting, published: Option<&[u8]>, most_bytes: u64) -> Result<(), Missing> {
    let folder = tempfile::tempdir().expect("a folder");
    let rerun = rerun(setting, &folder.path().join("rerun"));
    let store = setting.store();
    let capsule = files::add_file(&store, published.unwrap_or(&setting.capsule.bytes)).expect("added").cid;
    // Any CID does for the results: they are not looked at.
    let claim = submission::claim(&rerun.body(), Some(&capsule), Some(&capsule)).expect("a claim");
    let mut submitted = claim.submission;
    if published.is_none() {
        submitted.capsule.digest = B256::ZERO;
    }
    let store = CachedStore::new(store, None);
    evidence::capsule(&setting.job, &claim.run, &submitted, &store, folder.path(), most_bytes).map(drop)
}

#[test]
fn nobody_is_blamed_for_a_capsule_that_was_not_published_or_that_the_policy_does_not_allow() {
    let setting = Setting::new();
    let (data, plenty) = (setting.capsule.bytes.to_vec(), 1 << 30);
    looked(&setting, Some(&data), plenty).expect("as committed");
    assert!(matches!(looked(&setting, None, plenty), Err(Missing::Ours(_))));
    assert!(matches!(looked(&setting, Some(&data), 1), Err(Missing::Ours(_))));
    let mut other = data;
    *other.last_mut().expect("bytes") ^= 1;
    assert!(matches!(looked(&setting, Some(&other), plenty), Err(Missing::Other(_))));
}

#[test]
fn a_blind_that_is_not_of_the_capsule_is_told() {
    let setting = Setting::new();
    let rerun = rerun(&setting, &setting.folder.path().join("rerun"));
    let honest = Claim::of(&rerun.body()).expect("segments");
    let claim = Claim { blind_hash: keccak256(b"another"), ..honest };
    assert!(rerun.differs(&claim).is_some_and(|what| what.contains("blind")));
}
