//! The consent manifest: what a job may read, what may leave, what it may cost, and who could ever see the data.

use std::fmt;
use std::path::PathBuf;

use cid::Cid;
use fedmkt_core::manifest::{Disclosure, Manifest};
use serde_json::{Value, json};

use crate::message::{printable, quoted};

/// What a client is asked to agree to.
#[derive(Clone, Debug)]
pub struct Consent {
    /// The job.
    pub job: Cid,
    /// What the sponsor asks for.
    pub manifest: Manifest,
    /// The granted folder or file.
    pub grant: PathBuf,
    /// Files that can be read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Consent {
    /// As JSON, for machines.
    pub fn json(&self) -> Value {
        let limits = &self.manifest.limits;
        json!({
            "job": self.job.to_string(),
            "name": self.manifest.name,
            "reads": { "grant": self.manifest.data.name, "path": self.grant, "files": self.files, "bytes": self.bytes },
            "may_leave": {
                "bytes": self.manifest.most_result_bytes(),
                "files": self.manifest.results.iter().map(|file| json!({ "name": file.name, "most_bytes": file.most_bytes })).collect::<Vec<_>>(),
                "encrypted_to": self.manifest.sponsor,
            },
            "limits": {
                "memory": limits.memory, "steps": limits.steps, "output": limits.output, "scratch": limits.scratch,
                "step_seconds": limits.step_seconds,
            },
            "disclosure": self.manifest.disclosure,
        })
    }
}

impl fmt::Display for Consent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manifest = &self.manifest;
        // The sponsor's words cannot be taken for ours.
        for line in [&manifest.name, &manifest.description].into_iter().flat_map(|text| quoted(text)) {
            writeln!(f, "  | {line}")?;
        }
        writeln!(f, "  job        {}", self.job)?;
        let plural = if self.files == 1 { "" } else { "s" };
        writeln!(
            f,
            "  may read   {} file{plural}, {}, in {} (as /data, nothing else)",
            self.files,
            Bytes(self.bytes),
            printable(&self.grant.display().to_string())
        )?;
        let most = manifest.most_result_bytes();
        writeln!(f, "  may leave  at most {}, {}:", Bytes(most), share(most, self.bytes))?;
        for file in &manifest.results {
            writeln!(f, "               {} (at most {})", printable(&file.name), Bytes(file.most_bytes))?;
        }
        writeln!(f, "             Weights can encode data: whoever gets them may learn something about it.")?;
        match &manifest.sponsor {
            Some(_) => writeln!(f, "  readers    the results are meant for the sponsor's key alone")?,
            None => writeln!(f, "  readers    anyone may read the results")?,
        }
        match &manifest.disclosure {
            Disclosure::Open => writeln!(f, "  data       open: anyone who wants to verify may be shown the data")?,
            Disclosure::Audited(audit) => {
                writeln!(
                    f,
                    "  data       audited: {} named auditors may be shown it; drawn for {:.4} % of submissions",
                    audit.auditors.len(),
                    audit.per_million as f64 / 10_000.0
                )?;
                for auditor in &audit.auditors {
                    writeln!(f, "               {auditor}")?;
                }
            }
            Disclosure::Private => writeln!(
                f,
                "  data       private: never shown to anybody; so nobody can check the work, and it is paid only if the \
                 sponsor approves"
            )?,
        }
        let limits = &manifest.limits;
        write!(
            f,
            "  limits     {} of memory, {} of scratch files, {} steps of at most {} s; no network, no other files, no \
             clock",
            Bytes(limits.memory),
            Bytes(limits.scratch),
            limits.steps,
            limits.step_seconds
        )
    }
}

fn share(leaves: u64, reads: u64) -> String {
    match (leaves, reads) {
        (_, 0) => "while nothing is read".into(),
        (leaves, reads) if leaves >= reads => "as much as all that is read: a copy of the data would fit".into(),
        (leaves, reads) => format!("{:.1} % of what is read", leaves as f64 * 100.0 / reads as f64),
    }
}

/// Bytes, for people.
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        indicatif::BinaryBytes(self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_as_large_as_the_data_is_told() {
        assert!(share(100, 100).contains("a copy of the data would fit"));
        assert_eq!(share(10, 1000), "1.0 % of what is read");
    }
}
