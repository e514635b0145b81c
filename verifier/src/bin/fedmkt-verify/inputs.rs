//! From the command line to a receipt with its job and data.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, anyhow};
use cid::Cid;
use fedmkt_core::manifest::Disclosure;
use fedmkt_runtime::home::Home;
use fedmkt_runtime::identity::Identity;
use fedmkt_runtime::job::{Reference, check_release};
use fedmkt_runtime::packed::Packed;
use fedmkt_runtime::passphrase::passphrase;
use fedmkt_store::{FolderStore, car};
use fedmkt_verifier::subject::{Data, Subject, SubjectError};
use tempfile::TempDir;

use crate::{Ended, Exit, OrExit, Outcome, arguments};

/// Everything that is given.
pub struct Inputs {
    pub home: Home,
    pub subject: Subject,
    pub capsule: Packed,
    /// Holds the capsule, and whatever else is needed meanwhile.
    pub work: TempDir,
}

impl Inputs {
    /// Finds it all, and checks that it belongs together.
    pub fn open(arguments: &arguments::Subject) -> Outcome<Self> {
        let home =
            fedmkt_store::home().and_then(Home::open).context("cannot use the home folder").or_exit(Exit::Host)?;
        let store = FolderStore::new(arguments.store.clone().unwrap_or_else(|| home.path().join("store")));
        let receipt = receipt(&arguments.receipt, &store)?;
        let subject = Subject::load(receipt, &store, &home).map_err(|error| Ended(exit_of(&error), error.into()))?;
        check_release(subject.job.cid, &subject.job.manifest).or_exit(Exit::Inconclusive)?;
        let work = tempfile::Builder::new().prefix("verify-").tempdir_in(home.path()).or_exit(Exit::Host)?;
        let data = match (&arguments.grant, &arguments.capsule) {
            (Some((name, path)), _) => {
                let needed = &subject.job.manifest.data.name;
                if name != needed {
                    let error = anyhow!("the job reads `{needed}`, not `{name}`: give --grant {needed}=PATH");
                    return Err(Ended(Exit::Usage, error));
                }
                Data::Grant(path.clone())
            }
            (None, Some(file)) => Data::Capsule(file.clone()),
            (None, None) => return Err(Ended(Exit::Usage, anyhow!("either --grant or --capsule is needed"))),
        };
        let salted = subject.job.manifest.disclosure != Disclosure::Open;
        let own = matches!(data, Data::Grant(_)) && salted && home.identity().exists();
        let identity = own.then(|| Identity::open(&home.identity(), passphrase)).transpose().or_exit(Exit::Host)?;
        let capsule = subject
            .capsule(&data, work.path(), identity.as_ref())
            .map_err(|error| Ended(exit_of(&error), error.into()))?;
        Ok(Self { home, subject, capsule, work })
    }

    /// The folder for working files.
    pub fn work(&self) -> &Path {
        self.work.path()
    }
}

fn receipt(reference: &Reference, store: &FolderStore) -> Outcome<Cid> {
    match reference {
        Reference::Cid(cid) => Ok(*cid),
        Reference::Archive(path) => {
            let file =
                File::open(path).with_context(|| format!("cannot open {}", path.display())).or_exit(Exit::Host)?;
            let roots = car::import(store, BufReader::new(file)).or_exit(Exit::Inconclusive)?;
            roots.first().copied().ok_or_else(|| Ended(Exit::Inconclusive, anyhow!("{} has no root", path.display())))
        }
    }
}

/// What a receipt contradicts makes it different; what is missing leaves it open.
fn exit_of(error: &SubjectError) -> Exit {
    match error {
        SubjectError::Signature(_)
        | SubjectError::Inconsistent(_)
        | SubjectError::OtherJob { .. }
        | SubjectError::Blind => Exit::Different,
        SubjectError::File { .. } => Exit::Host,
        _ => Exit::Inconclusive,
    }
}
