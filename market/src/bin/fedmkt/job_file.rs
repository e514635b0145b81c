//! The job file: a job as a sponsor writes it, in TOML.

use std::path::PathBuf;

use cid::Cid;
use fedmkt_core::manifest::{
    Audit, DataRequirement, Disclosure, Limits, Machine, Manifest, PROFILE, RELEASE, ResultFile, Reward, SizeClass,
    VERSION,
};
use serde::Deserialize;

/// How many of a million submissions are drawn for an audit unless the job file says otherwise.
const AUDITS_PER_MILLION: u64 = 100_000;

/// Into how many segments the longest run is cut unless the job file says otherwise: a state is hashed after each of them.
const SEGMENTS: u64 = 32;

/// A job file. Its fields are those of the manifest, but trainer and model are paths, relative to the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct JobFile {
    name: String,
    #[serde(default)]
    description: String,
    pub trainer: PathBuf,
    pub model: PathBuf,
    #[serde(default)]
    arguments: Vec<String>,
    steps_per_segment: Option<u64>,
    data: DataTable,
    limits: LimitsTable,
    results: Vec<ResultTable>,
    disclosure: DisclosureTable,
    sponsor: Option<String>,
    machine: MachineTable,
    reward: Option<RewardTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct DataTable {
    name: String,
    format: String,
    columns: Option<Vec<String>>,
    shape: Option<Vec<u64>>,
    #[serde(default)]
    least_rows: u64,
    most_bytes: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct LimitsTable {
    memory: u64,
    steps: u64,
    output: u64,
    #[serde(default)]
    scratch: u64,
    #[serde(default = "default_open_files")]
    open_files: u64,
    step_seconds: u64,
}

fn default_open_files() -> u64 {
    16
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ResultTable {
    name: String,
    most_bytes: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MachineTable {
    class: SizeClass,
}

/// Kinds and their fields stand side by side, so that a field of another kind is a finding and not a riddle.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct DisclosureTable {
    kind: DisclosureKind,
    auditors: Option<Vec<String>>,
    per_million: Option<u64>,
    sponsor: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum DisclosureKind {
    Open,
    Audited,
    Private,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RewardTable {
    chain_id: u64,
    market: String,
    token: String,
    amount: String,
}

impl JobFile {
    /// The manifest, with everything that the file says against itself and that the manifest's own rules do not see.
    pub fn into_manifest(self, trainer: Cid, model: Cid) -> (Manifest, Vec<String>) {
        let mut findings = Vec::new();
        let DisclosureTable { kind, auditors, per_million, sponsor } = self.disclosure;
        if self.sponsor.is_some() && sponsor.is_some() {
            findings.push("sponsor: is there twice, at the top and in [disclosure]: remove one".to_string());
        }
        if kind != DisclosureKind::Audited {
            for (field, present) in [("auditors", auditors.is_some()), ("per-million", per_million.is_some())] {
                if present {
                    findings.push(format!("disclosure.{field}: only a job of kind \"audited\" has it"));
                }
            }
        }
        let disclosure = match kind {
            DisclosureKind::Open => Disclosure::Open,
            DisclosureKind::Private => Disclosure::Private,
            DisclosureKind::Audited => Disclosure::Audited(Audit {
                auditors: auditors.unwrap_or_default(),
                per_million: per_million.unwrap_or(AUDITS_PER_MILLION),
            }),
        };
        let manifest = Manifest {
            version: VERSION,
            profile: PROFILE.into(),
            name: self.name,
            description: self.description,
            trainer,
            model,
            arguments: self.arguments,
            // A run of no steps is a finding of its own.
            steps_per_segment: self.steps_per_segment.unwrap_or(self.limits.steps.div_ceil(SEGMENTS).max(1)),
            data: DataRequirement {
                name: self.data.name,
                format: self.data.format,
                columns: self.data.columns,
                shape: self.data.shape,
                least_rows: self.data.least_rows,
                most_bytes: self.data.most_bytes,
            },
            limits: Limits {
                memory: self.limits.memory,
                steps: self.limits.steps,
                output: self.limits.output,
                scratch: self.limits.scratch,
                open_files: self.limits.open_files,
                step_seconds: self.limits.step_seconds,
            },
            results: self
                .results
                .into_iter()
                .map(|result| ResultFile { name: result.name, most_bytes: result.most_bytes })
                .collect(),
            disclosure,
            sponsor: self.sponsor.or(sponsor),
            machine: Machine { release: Some(RELEASE.into()), class: self.machine.class },
            reward: self.reward.map(|reward| Reward {
                chain_id: reward.chain_id,
                market: reward.market,
                token: reward.token,
                amount: reward.amount,
            }),
        };
        (manifest, findings)
    }

    /// The most bytes of linear memory that the job allows.
    pub fn memory(&self) -> u64 {
        self.limits.memory
    }
}
