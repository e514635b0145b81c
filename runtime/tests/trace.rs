//! The finer levels of a trace are recomputed from checkpoints, and agree with the levels above.

mod support;

use std::time::Duration;

use fedmkt_core::trace::Level;
use fedmkt_runtime::checkpoint::Checkpoints;
use fedmkt_runtime::grant::Grant;
use fedmkt_runtime::home::Home;
use fedmkt_runtime::identity::Identity;
use fedmkt_runtime::job::{Job, Reference};
use fedmkt_runtime::training::{Observer, Session, TrainingError};
use fedmkt_runtime::worker::{Program, Worker};
use support::Client;

struct Silent;

impl Observer for Silent {
    fn starts(&mut self, _: &Worker) -> Result<(), TrainingError> {
        Ok(())
    }

    fn advanced(&mut self, _: &mut Worker) {}

    fn stop(&self) -> bool {
        false
    }
}

#[test]
fn leaves_below_a_segment_lead_from_its_beginning_to_its_end() {
    let client = Client::new();
    let home = Home::open(client.home()).expect("a home");
    let cid = client.publish(&support::trainer(), |_| {});
    let job = Job::load(&Reference::Cid(cid), &client.store(), &home).expect("a job");
    let identity = Identity::open(&home.identity(), |_| Ok("correct horse".to_owned().into())).expect("an identity");
    let grant = Grant::survey(&client.data()).expect("a grant");
    let capsule = grant.pack(&job.manifest, &identity, &home.capsules().expect("a folder"), &mut |_| {});
    let capsule = capsule.expect("a capsule");
    let program = Program { path: env!("CARGO_BIN_EXE_fedmkt-run").into(), arguments: Vec::new() };
    let session = Session { program, ..Session::local(&job, &capsule) };
    let folder = home.run(session.run_id).expect("a folder");
    let open = || Checkpoints::open(&folder).expect("opened").expect("nobody else works there");

    let mut checkpoints = open();
    let trained = session.train(&mut checkpoints, Duration::ZERO, &mut Silent).expect("trained");
    let segments = trained.expect("not stopped").segments;
    assert_eq!(segments.len(), 9);
    drop(checkpoints);

    let top = Level::top(61, 7);
    for with_checkpoints in [true, false] {
        if !with_checkpoints {
            support::find(&folder, ".state").iter().for_each(|image| std::fs::remove_file(image).expect("removed"));
        }
        let mut checkpoints = open();
        assert_eq!(session.leaves(&mut checkpoints, &top).expect("the top level"), segments);
        for (index, end) in (0..).zip(&segments) {
            let level = top.below(index).expect("a segment of several steps");
            let leaves = session.leaves(&mut checkpoints, &level).expect("the segment's steps");
            assert_eq!(leaves.len() as u64, level.steps);
            assert_eq!(leaves.last(), Some(end));
            let mut state = session.state_at(&mut checkpoints, level.first + 1).expect("a state");
            assert_eq!(state.state_root().expect("a root"), leaves[0]);
        }
        let beyond = session.state_at(&mut checkpoints, 62).err();
        assert!(matches!(beyond, Some(TrainingError::NoSuchStep(62))));
    }
}
