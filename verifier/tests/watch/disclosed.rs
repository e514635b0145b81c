//! What is disclosed to an auditor and is not what was committed to, case by case: who is blamed for it.

use std::io::Read;

use cid::Cid;
use fedmkt_contracts::market::Run;
use fedmkt_core::inputs;
use fedmkt_core::manifest::{Audit, Disclosure};
use fedmkt_core::pack::Pack;
use fedmkt_core::tree::{self, RootBuilder, keccak256};
use fedmkt_market::submission::encrypt;
use fedmkt_runtime::auditor::AuditorKeys;
use fedmkt_runtime::backends::Backends;
use fedmkt_runtime::packed::Packed;
use fedmkt_store::{FolderStore, files};
use fedmkt_test_kit::gateway::Gateway;
use fedmkt_verifier::watch::evidence::{self, Missing};
use tempfile::TempDir;

use crate::lies::{SPONSOR, Setting};

/// A job with one auditor, who has been given a file.
struct Scene {
    folder: TempDir,
    setting: Setting,
    keys: AuditorKeys,
    recipient: String,
    /// What the client has committed to.
    run: Run,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = keys(&folder, "auditor.age");
        let recipient = keys.recipients().next().expect("a key");
        let audit = Audit { auditors: vec![recipient.clone()], per_million: 1_000_000 };
        let setting = Setting::disclosed(Disclosure::Audited(audit));
        let salt = Pack::open(setting.capsule.bytes.clone()).expect("a capsule").salt();
        let run = Run {
            dataRoot: setting.capsule.root.0.into(),
            blindHash: keccak256(&inputs::blind(salt).0).0.into(),
            ..Run::default()
        };
        Self { folder, setting, keys, recipient, run }
    }

    fn store(&self) -> FolderStore {
        self.setting.store()
    }

    /// Encrypts as a client does.
    fn encrypt(&self, plain: impl Read) -> Cid {
        encrypt(&self.store(), std::slice::from_ref(&self.recipient), plain).expect("encrypted")
    }

    /// A file as it is.
    fn add(&self, content: impl Read) -> Cid {
        files::add_file(&self.store(), content).expect("added").cid
    }

    /// The right one, encrypted.
    fn right(&self) -> Vec<u8> {
        let cid = self.encrypt(&self.setting.capsule.bytes[..]);
        files::read_file(&self.store(), &cid, 1 << 24).expect("a file")
    }

    fn look(&self, cid: &Cid) -> Result<Packed, Missing> {
        self.look_as(Some(&self.keys), &self.run, cid, u64::MAX, &Backends::default(), self.store())
    }

    fn look_as(
        &self,
        keys: Option<&AuditorKeys>,
        run: &Run,
        cid: &Cid,
        most: u64,
        backends: &Backends,
        store: FolderStore,
    ) -> Result<Packed, Missing> {
        let store = backends.before(store).expect("a store");
        evidence::disclosed(&self.setting.job, run, Some(cid), keys, &store, self.folder.path(), most)
    }
}

fn keys(folder: &TempDir, name: &str) -> AuditorKeys {
    AuditorKeys::make(&folder.path().join(name), || Ok("correct".to_owned().into())).expect("keys")
}

/// The client is blamed, for this.
#[track_caller]
fn is_blamed(found: Result<Packed, Missing>, what: &str) {
    let missing = found.err().expect("it is not what was committed to");
    assert!(matches!(missing, Missing::Other(_)) && missing.to_string().contains(what), "{missing:?}");
}

/// Nobody is, for this.
#[track_caller]
fn is_own_fault(found: Result<Packed, Missing>, what: &str) {
    let missing = found.err().expect("it cannot be had");
    assert!(matches!(missing, Missing::Ours(_)) && missing.to_string().contains(what), "{missing:?}");
}

#[test]
fn a_client_is_blamed_for_what_every_auditor_must_find() {
    let scene = Scene::new();
    let right = scene.right();
    let found = scene.look(&scene.add(&right[..])).expect("the capsule");
    assert_eq!(found.bytes[..], scene.setting.capsule.bytes[..], "nothing is wrong with the right one");

    let cannot = "cannot be decrypted";
    is_blamed(scene.look(&scene.add(&b"no age file"[..])), cannot);
    is_blamed(scene.look(&scene.add(&b""[..])), cannot);
    // A recipient is the line of its kind and lines of base64: there may be many, but not without end.
    let endless: Vec<u8> =
        b"age-encryption.org/v1\n".iter().chain(b"-> stranger\nAAAA\n".repeat(4096).iter()).copied().collect();
    is_blamed(scene.look(&scene.add(&endless[..])), "header does not end");
    // Each part has a code of its own; the last one says that it is the last.
    for at in [right.len() - 1, right.len() / 2] {
        let mut damaged = right.clone();
        damaged[at] ^= 1;
        is_blamed(scene.look(&scene.add(&damaged[..])), cannot);
    }
    is_blamed(scene.look(&scene.add(&right[..right.len() - 1])), cannot);
    is_blamed(scene.look(&scene.add(&[&right[..], b"more"].concat()[..])), cannot);
    // To somebody who is no auditor of the job.
    let foreign = encrypt(&scene.store(), &[SPONSOR.into()], &scene.setting.capsule.bytes[..]).expect("encrypted");
    is_blamed(scene.look(&foreign), cannot);

    let mut changed = scene.setting.capsule.bytes.to_vec();
    *changed.last_mut().expect("bytes") ^= 1;
    is_blamed(scene.look(&scene.encrypt(&changed[..])), "its root is");
    is_blamed(scene.look(&scene.encrypt(&b""[..])), "its root is");
    // A byte more than the job's drive has, of which nothing is kept.
    let log2 = scene.setting.job.manifest.machine.class.log2_data();
    let too_long = scene.encrypt(std::io::repeat(0).take((1 << log2) + 1));
    is_blamed(scene.look(&too_long), "longer than");
    assert_eq!(
        std::fs::read_dir(scene.folder.path()).expect("a folder").count(),
        1,
        "the keys alone are in the folder"
    );

    // What has the root that was committed to, but is no capsule.
    let garbage = b"no capsule".repeat(500);
    let mut root = RootBuilder::new();
    root.push(&garbage);
    let size = tree::log2_size_for(garbage.len() as u64);
    let root = tree::padded_root(root.finish(size).root, size, log2);
    let run = Run { dataRoot: root.0.into(), ..scene.run.clone() };
    let look = |run: &Run, cid: &Cid| {
        scene.look_as(Some(&scene.keys), run, cid, u64::MAX, &Backends::default(), scene.store())
    };
    is_blamed(look(&run, &scene.encrypt(&garbage[..])), "no capsule");
    let run = Run { blindHash: [7; 32].into(), ..scene.run.clone() };
    is_blamed(look(&run, &scene.add(&right[..])), "salt");
    // What is no file at all is nobody else's fault, either.
    let folder = tempfile::tempdir().expect("a folder");
    let no_file = files::add_tree(&scene.store(), folder.path()).expect("added").cid;
    is_blamed(scene.look(&no_file), "folder");
}

#[test]
fn nobody_is_blamed_for_what_may_be_the_auditors_own_fault() {
    let scene = Scene::new();
    let right = scene.add(&scene.right()[..]);
    let none = Backends::default();
    let look = |keys: Option<&AuditorKeys>, most| scene.look_as(keys, &scene.run, &right, most, &none, scene.store());
    is_own_fault(look(None, u64::MAX), "has no auditor's key");
    is_own_fault(look(Some(&keys(&scene.folder, "other.age")), u64::MAX), "names none of this auditor's keys");
    is_own_fault(look(Some(&scene.keys), 1 << 10), "the policy allows");

    // A store that lacks it, or has it damaged, and nobody to ask.
    let empty = tempfile::tempdir().expect("a folder");
    let look = |store: FolderStore, backends: &Backends| {
        scene.look_as(Some(&scene.keys), &scene.run, &right, u64::MAX, backends, store)
    };
    let store = || FolderStore::new(empty.path());
    assert!(matches!(look(store(), &none), Err(Missing::Ours(_))));
    // Nobody can be reached.
    let unreachable = Backends { gateways: vec!["http://127.0.0.1:1".parse().expect("an address")], ..none.clone() };
    assert!(matches!(look(store(), &unreachable), Err(Missing::Ours(_))));
    // Somebody was, and has it not: that is for a committee to say, and for nobody to be challenged for at once.
    let gateway = Gateway::start(scene.store().folder());
    gateway.withhold(right);
    let reached = Backends { gateways: vec![gateway.endpoint.clone()], ..none.clone() };
    assert!(matches!(look(store(), &reached), Err(Missing::Absent(_))));
    gateway.give(&right);
    assert!(look(store(), &reached).is_ok(), "and now it has it");
    // There is no room for it.
    let full = tempfile::tempdir().expect("a folder");
    FolderStore::new(full.path()).set_quota(Some(10)).expect("set");
    assert!(matches!(look(FolderStore::new(full.path()), &reached), Err(Missing::Ours(_))));
}
