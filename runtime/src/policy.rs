//! What a client has agreed to beforehand: `policy.toml`.
//!
//! ```toml
//! # Jobs that need no question, whatever they ask for.
//! jobs = ["bafy..."]
//!
//! # Or by what they ask for. All conditions of a rule must hold.
//! [[rule]]
//! grants = ["/srv/open-data"]        # only folders and files below these
//! disclosure = ["open", "private"]
//! most-result-bytes = 1_000_000
//! ```

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cid::Cid;
use fedmkt_core::manifest::Disclosure;
use serde::{Deserialize, Serialize};

use crate::atomic_file;
use crate::consent::Consent;

/// What needs no question.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// Jobs that may run.
    #[serde(default)]
    jobs: BTreeSet<String>,
    /// Kinds of jobs that may run.
    #[serde(default, rename = "rule", skip_serializing_if = "Vec::is_empty")]
    rules: Vec<Rule>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Rule {
    grants: Vec<PathBuf>,
    disclosure: Vec<DisclosureKind>,
    most_result_bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum DisclosureKind {
    Open,
    Audited,
    Private,
}

impl Policy {
    /// Reads the policy at `path`; there need not be one.
    ///
    /// # Errors
    /// When it cannot be read: a policy with a mistake in it allows nothing.
    pub fn read(path: &Path) -> io::Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Whether the client has agreed to this.
    pub fn covers(&self, consent: &Consent) -> bool {
        self.jobs.contains(&consent.job.to_string()) || self.rules.iter().any(|rule| rule.covers(consent))
    }

    /// Agrees to a job from now on, in the policy as it is at this moment: it may have changed while somebody was asked.
    ///
    /// # Errors
    /// When the policy at `path` cannot be read or written.
    pub fn allow_job(job: &Cid, path: &Path) -> io::Result<()> {
        let mut policy = Self::read(path)?;
        policy.jobs.insert(job.to_string());
        let text = toml::to_string_pretty(&policy).map_err(io::Error::other)?;
        atomic_file::replace(path, |file| file.write_all(text.as_bytes()))
    }
}

impl Rule {
    fn covers(&self, consent: &Consent) -> bool {
        let kind = match consent.manifest.disclosure {
            Disclosure::Open => DisclosureKind::Open,
            Disclosure::Audited(_) => DisclosureKind::Audited,
            Disclosure::Private => DisclosureKind::Private,
        };
        // Links in either path must not make it look as if it lay elsewhere.
        let real = |path: &Path| path.canonicalize().ok();
        let grant = real(&consent.grant);
        let below = grant.is_some_and(|grant| {
            self.grants.iter().filter_map(|allowed| real(allowed)).any(|allowed| grant.starts_with(allowed))
        });
        below && self.disclosure.contains(&kind) && consent.manifest.most_result_bytes() <= self.most_result_bytes
    }
}
