//! The job manifest: what a sponsor asks for, in one DAG-CBOR block.
//!
//! The manifest links to everything a run needs, so that pinning the job pins it all. Unknown fields, unknown versions
//! and non-canonical encodings are refused, so that one job has one CID. [`Manifest::decode`] is the only way in for
//! foreign bytes; it ends with [`Manifest::check`], which a publisher may call to see every problem at once.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use cid::Cid;
use serde::{Deserialize, Serialize};

use crate::dagcbor;
use crate::image::Layout;
use crate::trace::MAX_SEGMENTS;
use crate::wasi::{MAX_FILE_PAGES, MAX_OPEN_FILES};

/// The version of the manifest's form that this crate reads and writes.
pub const VERSION: u64 = 1;

/// The name of the profile that this crate implements.
pub const PROFILE: &str = "fedmkt-0";

/// The release of the replayer that jobs name which are published with this version; `verifier/releases` says what it pins.
pub const RELEASE: &str = "fedmkt-0.3";

/// The most result files a job may have; their commitments fill the header page of the last state image.
pub const MAX_RESULTS: usize = 16;

/// A job: trainer, model, what data it needs, and what it may do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this form: [`VERSION`].
    pub version: u64,
    /// The profile by which the trainer runs: [`PROFILE`].
    pub profile: String,
    /// A short name for people, at most 100 bytes.
    pub name: String,
    /// What is trained and what for, at most 10,000 bytes.
    pub description: String,
    /// The trainer: a UnixFS file with a WASI module.
    pub trainer: Cid,
    /// The initial model: a UnixFS file or directory, seen by the trainer at `/job/model`.
    pub model: Cid,
    /// Arguments of the trainer, after the program name.
    pub arguments: Vec<String>,
    /// Steps between two leaves of the trace's top level.
    pub steps_per_segment: u64,
    /// What data the trainer needs.
    pub data: DataRequirement,
    /// What the run may use.
    pub limits: Limits,
    /// The files under `/out` that leave the machine, in the order of their commitments.
    pub results: Vec<ResultFile>,
    /// Who could ever be shown the data.
    pub disclosure: Disclosure,
    /// The age recipient to whom results are encrypted; absent for results that anyone may read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sponsor: Option<String>,
    /// In which machine a disputed step is replayed.
    pub machine: Machine,
    /// What the sponsor means to pay. The chain, not the manifest, decides what is paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward: Option<Reward>,
}

/// What the trainer expects under `/data`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRequirement {
    /// The name of the grant, as in `--grant NAME=DIR`.
    pub name: String,
    /// The format, in words a data owner knows (`csv`, `npy`, `idx`, `text`, ...).
    pub format: String,
    /// The columns that a table must have, in order; checked for `csv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// The shape of one example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<u64>>,
    /// The least number of rows or examples.
    pub least_rows: u64,
    /// The most bytes that the packed grant may have.
    pub most_bytes: u64,
}

/// What a run may use. All but `step_seconds` are seen by the trainer and the same on every machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Linear memory, in bytes.
    pub memory: u64,
    /// Steps, the first (initialisation) included.
    pub steps: u64,
    /// Bytes that files under `/out` may take, in pages of 4 KiB.
    pub output: u64,
    /// Bytes that files under `/tmp` may take, in pages of 4 KiB.
    pub scratch: u64,
    /// Open file descriptors, standard streams and preopened directories included.
    pub open_files: u64,
    /// Seconds a step may take on the client's machine before the client gives up without a result.
    pub step_seconds: u64,
}

/// A file that leaves the machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultFile {
    /// The file's name in `/out`.
    pub name: String,
    /// The most bytes it may have.
    pub most_bytes: u64,
}

/// Who could ever be shown the data.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Disclosure {
    /// Anyone may verify: the data is public, or may become so.
    Open,
    /// The named auditors may be shown the data.
    Audited(Audit),
    /// The data is never shown; the result is paid only on the sponsor's approval.
    Private,
}

/// The terms of an audited job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// The auditors' age recipients.
    pub auditors: Vec<String>,
    /// How many of a million submissions the lottery draws for an audit.
    pub per_million: u64,
}

/// In which machine a disputed step is replayed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The replayer's release, such as [`RELEASE`]; may be absent in jobs without a reward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// How large the machine's drives are.
    pub class: SizeClass,
}

/// The sizes of the machine's drives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum SizeClass {
    /// Job, data and state of 16 MiB each.
    S,
    /// A job of 64 MiB, data and state of 128 MiB each.
    M,
    /// A job of 256 MiB, data of 1 GiB and a state of 512 MiB.
    L,
}

impl SizeClass {
    /// Every class, smallest first.
    pub const ALL: [Self; 3] = [Self::S, Self::M, Self::L];

    /// Binary logarithm of the job drive's bytes.
    pub const fn log2_job(self) -> u32 {
        match self {
            Self::S => 24,
            Self::M => 26,
            Self::L => 28,
        }
    }

    /// Binary logarithm of the data drive's bytes.
    pub const fn log2_data(self) -> u32 {
        match self {
            Self::S => 24,
            Self::M => 27,
            Self::L => 30,
        }
    }

    /// Binary logarithm of the bytes of each of the two state drives.
    pub const fn log2_state(self) -> u32 {
        match self {
            Self::S => 24,
            Self::M => 27,
            Self::L => 29,
        }
    }
}

/// What the sponsor means to pay, for listings.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reward {
    /// The chain of the market.
    pub chain_id: u64,
    /// The market's contract, `0x` and 40 hexadecimal digits.
    pub market: String,
    /// The token's contract, likewise.
    pub token: String,
    /// The amount for one accepted result in the token's smallest unit, decimal.
    pub amount: String,
}

/// One thing wrong with a manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The field, with dots between levels.
    pub field: &'static str,
    /// What is wrong with it, and what would be right.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.what)
    }
}

/// Why a block is not a job.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ManifestError {
    /// The block cannot be read.
    Block(dagcbor::DecodeError),
    /// The block can be read, and breaks these rules.
    Rules(Vec<Problem>),
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(error) => write!(f, "not a job manifest: {error}"),
            Self::Rules(problems) => {
                f.write_str("the job manifest breaks its rules:")?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl core::error::Error for ManifestError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Block(error) => Some(error),
            Self::Rules(_) => None,
        }
    }
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// When the block is no canonical manifest of this version, or breaks a rule of [`Manifest::check`].
    pub fn decode(block: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self = dagcbor::decode(block).map_err(ManifestError::Block)?;
        let problems = manifest.check();
        if problems.is_empty() { Ok(manifest) } else { Err(ManifestError::Rules(problems)) }
    }

    /// The manifest's block.
    pub fn encode(&self) -> Vec<u8> {
        dagcbor::encode(self)
    }

    /// Everything that is wrong with this manifest; empty when it may be published and run.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Problems(Vec::new());
        problems
            .check("version", self.version == VERSION, || format!("{}: this program reads {VERSION}", self.version));
        problems
            .check("profile", self.profile == PROFILE, || format!("{:?}: this program runs {PROFILE}", self.profile));
        problems.text("name", &self.name, 1, 100);
        problems.text("description", &self.description, 0, 10_000);
        problems.file_cid("trainer", &self.trainer);
        problems.file_cid("model", &self.model);
        problems.check("arguments", self.arguments.len() <= 256, || "at most 256 are allowed".to_string());
        for argument in &self.arguments {
            problems.check("arguments", argument.len() <= 4096 && !argument.contains('\0'), || {
                "each has at most 4096 bytes and no NUL".to_string()
            });
        }
        self.data.check(self.machine.class, &mut problems);
        self.check_limits(&mut problems);
        self.check_results(&mut problems);
        self.check_parties(&mut problems);
        problems.0
    }

    fn check_limits(&self, problems: &mut Problems) {
        let limits = &self.limits;
        let class_state = 1u64 << self.machine.class.log2_state();
        problems.range("limits.memory", limits.memory, 65_536, class_state);
        problems.range("limits.steps", limits.steps, 1, 1 << 48);
        problems.range("limits.output", limits.output, 1, class_state);
        problems.range("limits.scratch", limits.scratch, 0, class_state);
        problems.range("limits.open_files", limits.open_files, 8, MAX_OPEN_FILES);
        let file_pages = limits.output.div_ceil(4096).saturating_add(limits.scratch.div_ceil(4096));
        problems.check("limits.output", file_pages <= MAX_FILE_PAGES, || {
            format!("with limits.scratch {file_pages} pages of 4 KiB; at most {MAX_FILE_PAGES} are allowed")
        });
        problems.range("limits.step_seconds", limits.step_seconds, 1, 7 * 24 * 3600);
        problems.range("steps_per_segment", self.steps_per_segment, 1, 1 << 48);
        let segments = limits.steps.div_ceil(self.steps_per_segment.max(1));
        problems.check("steps_per_segment", segments <= MAX_SEGMENTS, || {
            format!(
                "limits.steps would make {segments} segments, at most {MAX_SEGMENTS} are allowed: use at least {}",
                limits.steps.div_ceil(MAX_SEGMENTS)
            )
        });
        if problems.0.is_empty() {
            let total = Layout::of(limits).total_bytes();
            problems.check("machine.class", total <= class_state, || {
                format!("the state needs {total} bytes, class {:?} has {class_state}", self.machine.class)
            });
        }
    }

    fn check_results(&self, problems: &mut Problems) {
        problems.check("results", (1..=MAX_RESULTS).contains(&self.results.len()), || {
            format!("a job has between 1 and {MAX_RESULTS} result files")
        });
        let mut bytes = 0u64;
        // Too many were said above, and each name is compared with all before it.
        for (index, result) in self.results.iter().enumerate().take(MAX_RESULTS) {
            // Where a client puts its results, hidden files are settings of other programs.
            problems.check("results.name", is_file_name(&result.name) && !result.name.starts_with('.'), || {
                format!(
                    "{:?}: a plain file name of at most 255 bytes, without `/`, a `.` at its beginning and control characters",
                    result.name
                )
            });
            problems.check("results.name", self.results[..index].iter().all(|other| other.name != result.name), || {
                format!("{:?} is there twice", result.name)
            });
            bytes = bytes.saturating_add(result.most_bytes);
        }
        problems.check("results.most_bytes", bytes <= self.limits.output, || {
            format!("together {bytes} bytes may leave, but limits.output is {}", self.limits.output)
        });
    }

    fn check_parties(&self, problems: &mut Problems) {
        if let Disclosure::Audited(audit) = &self.disclosure {
            problems.check("disclosure.auditors", (1..=64).contains(&audit.auditors.len()), || {
                "an audited job names between 1 and 64 auditors".to_string()
            });
            for auditor in &audit.auditors {
                problems.recipient("disclosure.auditors", auditor);
            }
            problems.range("disclosure.per_million", audit.per_million, 1, 1_000_000);
        }
        if let Some(sponsor) = &self.sponsor {
            problems.recipient("sponsor", sponsor);
        }
        if let Some(release) = &self.machine.release {
            problems.text("machine.release", release, 1, 64);
        }
        if let Some(reward) = &self.reward {
            for (field, address) in [("reward.market", &reward.market), ("reward.token", &reward.token)] {
                let digits = address.strip_prefix("0x").unwrap_or("");
                problems.check(
                    field,
                    digits.len() == 40 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()),
                    || format!("{address:?}: 0x and 40 hexadecimal digits"),
                );
            }
            let amount = &reward.amount;
            let decimal = (1..=78).contains(&amount.len()) && amount.bytes().all(|digit| digit.is_ascii_digit());
            problems.check("reward.amount", decimal && !amount.starts_with('0'), || {
                format!("{amount:?}: a positive decimal number without leading zeros, in the token's smallest unit")
            });
        }
    }

    /// The most bytes that may leave the machine: the sum over the result files.
    pub fn most_result_bytes(&self) -> u64 {
        self.results.iter().map(|result| result.most_bytes).sum()
    }
}

impl DataRequirement {
    fn check(&self, class: SizeClass, problems: &mut Problems) {
        problems.check("data.name", is_grant_name(&self.name), || {
            format!("{:?}: 1 to 32 characters from a-z, 0-9, `-` and `_`", self.name)
        });
        problems.text("data.format", &self.format, 1, 100);
        problems.range("data.most_bytes", self.most_bytes, 1, 1 << class.log2_data());
        if let Some(columns) = &self.columns {
            problems.check("data.columns", (1..=16_384).contains(&columns.len()), || {
                "between 1 and 16,384 columns".to_string()
            });
            for column in columns {
                problems.text("data.columns", column, 0, 1000);
            }
        }
        if let Some(shape) = &self.shape {
            problems.check("data.shape", (1..=8).contains(&shape.len()) && !shape.contains(&0), || {
                "between 1 and 8 dimensions, none of them 0".to_string()
            });
        }
    }
}

/// Whether `name` can name a grant.
pub fn is_grant_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'))
}

/// Whether `name` is one plain component of a path that can be shown and created anywhere.
pub fn is_file_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.contains(['/', '\\'])
        && !name.chars().any(char::is_control)
}

struct Problems(Vec<Problem>);

impl Problems {
    fn check(&mut self, field: &'static str, right: bool, what: impl FnOnce() -> String) {
        if !right && self.0.len() < 100 {
            self.0.push(Problem { field, what: what() });
        }
    }

    fn range(&mut self, field: &'static str, value: u64, least: u64, most: u64) {
        self.check(field, (least..=most).contains(&value), || format!("{value} is not between {least} and {most}"));
    }

    fn text(&mut self, field: &'static str, text: &str, least: usize, most: usize) {
        self.check(field, (least..=most).contains(&text.len()), || {
            format!("has {} bytes, not between {least} and {most}", text.len())
        });
        self.check(field, !text.chars().any(|c| c.is_control() && c != '\n'), || "has control characters".to_string());
    }

    fn file_cid(&mut self, field: &'static str, cid: &Cid) {
        let sha2_256 = cid.hash().code() == 0x12 && cid.hash().size() == 32;
        let file_codec = matches!(cid.codec(), 0x55 | 0x70);
        self.check(field, cid.version() == cid::Version::V1 && sha2_256 && file_codec, || {
            format!("{cid}: a CIDv1 of a UnixFS file or directory with sha2-256 is needed")
        });
    }

    fn recipient(&mut self, field: &'static str, recipient: &str) {
        let form = recipient.len() == 62
            && recipient.starts_with("age1")
            && recipient.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        self.check(field, form, || "not an age recipient (age1 and 58 characters)".to_string());
    }
}
