//! What a verifier has found and done: `watch.redb` in its data folder.
//!
//! The file is open for the moment of each access only, so that `fedmkt-verify status` reads it while the daemon is at
//! work. Who may write is settled by the lock on the folder.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use alloy::primitives::{Address, B256};
use anyhow::anyhow;
use fedmkt_market::dispute::{self, Kind};
use fedmkt_market::records::Records;
use serde::{Deserialize, Serialize};

/// The database's file in the data folder.
pub const FILE: &str = "watch.redb";

/// How many notes are kept.
const MOST_NOTES: usize = 10_000;

/// A submission, and what came of looking at it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Checked {
    /// The slot.
    pub slot: B256,
    /// The job.
    pub job: B256,
    /// Who submitted.
    pub client: Address,
    /// The trace root that was submitted. After a reorganisation it may be another.
    pub trace_root: B256,
    /// What was found.
    pub finding: Finding,
    /// Whether the slot has ended, and how: the contract's number.
    pub ending: Option<u8>,
}

/// What came of looking at a submission.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "finding")]
pub enum Finding {
    /// Nothing yet.
    Waiting,
    /// It is not looked at.
    Skipped {
        /// Why not.
        why: String,
    },
    /// The run is as claimed.
    Agrees {
        /// Steps that were computed.
        steps: u64,
        /// How long it took.
        seconds: f64,
    },
    /// The run is not as claimed.
    Differs {
        /// In what.
        what: String,
    },
    /// The data is not what was committed to.
    OtherData {
        /// In what.
        what: String,
    },
    /// The run is as claimed, but what was published as its results is something else.
    OtherResults {
        /// In what.
        what: String,
    },
    /// The run is as claimed, but what was published as its results cannot be had, for now.
    NoResults {
        /// Steps that were computed.
        steps: u64,
        /// How long it took.
        seconds: f64,
        /// Why not.
        why: String,
        /// How they were looked for.
        search: Search,
    },
    /// The data was not disclosed yet. Meanwhile it is looked for the results.
    Undisclosed {
        /// Why they could not be had at the last look, if they could not.
        why: Option<String>,
        /// How they were looked for.
        search: Search,
    },
    /// The data that was published or disclosed cannot be had, for now.
    NoData {
        /// Why not.
        why: String,
        /// How it was looked for.
        search: Search,
    },
    /// It cannot be told, for now.
    CannotTell {
        /// Why.
        why: String,
        /// How often it was tried.
        tries: u32,
        /// When it is tried again, in seconds since 1970.
        next: u64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.write_str("waits to be checked"),
            Self::Skipped { why } => write!(f, "not checked: {why}"),
            Self::Agrees { steps, seconds } => {
                write!(f, "as claimed: {steps} steps made again, with fetching the data, in {seconds:.1} s")
            }
            Self::Differs { what } => write!(f, "not as claimed: {what}"),
            Self::OtherData { what } => write!(f, "the data is wrong: {what}"),
            Self::OtherResults { what } => write!(f, "the published results are wrong: {what}"),
            Self::NoResults { why, search, .. } => {
                write!(f, "as claimed, but its results cannot be had ({search}): {why}")
            }
            Self::Undisclosed { why: None, .. } => f.write_str("not disclosed; its results are there"),
            Self::Undisclosed { why: Some(why), search } => {
                write!(f, "not disclosed, and its results cannot be had ({search}): {why}")
            }
            Self::NoData { why, search } => write!(f, "the data cannot be had ({search}): {why}"),
            Self::CannotTell { why, tries, .. } => write!(f, "cannot tell after {tries} tries: {why}"),
        }
    }
}

/// How it was looked for files that cannot be had.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Search {
    /// How often nobody had them, while the job came from the network at that moment.
    pub tries: u32,
    /// When that was so first, in seconds since 1970.
    pub since: Option<u64>,
    /// When it was so last, in seconds since 1970.
    #[serde(default)]
    pub latest: Option<u64>,
    /// When it is looked again, in seconds since 1970.
    pub next: u64,
    /// Whether nobody had them at the last look, either, and that is enough to hold that they are withheld.
    pub withheld: bool,
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let withheld = if self.withheld { ": withheld" } else { "" };
        write!(f, "nobody had it {} times{withheld}", self.tries)
    }
}

/// A challenge by this verifier.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Challenged {
    /// The challenge.
    pub challenge: B256,
    /// The slot.
    pub slot: B256,
    /// What it is about.
    pub kind: Kind,
    /// What was found wrong, at each level so far.
    pub choices: Vec<Chosen>,
    /// How it stands, in words.
    pub state: String,
    /// Whether it has ended and everything that was owed is here.
    pub ended: bool,
}

/// The leaf that was named as the first wrong one of a level.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Chosen {
    /// The level's first step.
    pub first: u64,
    /// How many steps it has.
    pub steps: u64,
    /// Which leaf.
    pub index: u64,
    /// Steps executed at that leaf.
    pub end: u64,
    /// What the client says the state is.
    pub claimed: B256,
    /// What it is.
    pub computed: B256,
}

/// A question to a committee that this verifier is a member of.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// The committee.
    pub committee: Address,
    /// Hash of the question.
    pub question: B256,
    /// The challenge.
    pub challenge: B256,
    /// The job.
    pub job: B256,
    /// The slot.
    pub slot: B256,
    /// What it is about.
    pub kind: Kind,
    /// The state before the step.
    pub state_in: B256,
    /// The step.
    pub step: u64,
    /// What this verifier has found, once it has.
    pub answer: Option<Answer>,
    /// Why it has found nothing, and when it looks again, in seconds since 1970.
    pub trouble: Option<(String, u64)>,
    /// Secrets of the commitments of each round, written before they are sent.
    pub votes: Vec<Vote>,
    /// Whether there is nothing left to do.
    pub done: bool,
}

/// What a member says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The answer.
    pub says: dispute::Answer,
    /// How it was found.
    pub how: String,
    /// The round of the case in which nobody had the files, if that is the reason. In another round they may be there.
    #[serde(default)]
    pub absent_in: Option<u8>,
}

/// A commitment in a round.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Vote {
    /// The round.
    pub round: u8,
    /// What was committed to.
    pub answer: Answer,
    /// The salt; nobody may know it before all have committed.
    pub salt: B256,
}

/// Something that happened.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Note {
    /// In seconds since 1970.
    pub time: u64,
    /// The slot.
    pub slot: B256,
    /// What.
    pub text: String,
}

/// The database in a data folder.
#[derive(Clone, Debug)]
pub struct State(PathBuf);

/// Seconds since 1970, by this computer's clock.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl State {
    /// That of this data folder.
    pub fn of(folder: &Path) -> Self {
        Self(folder.join(FILE))
    }

    /// Whether there is any.
    pub fn exists(&self) -> bool {
        self.0.is_file()
    }

    fn records(&self) -> anyhow::Result<Records> {
        Records::open(&self.0)
    }

    /// A secret that stays the same.
    ///
    /// # Errors
    /// When the file cannot be used, or the system has no randomness.
    pub fn seed(&self) -> anyhow::Result<B256> {
        let records = self.records()?;
        if let Some(seed) = records.get("seed")? {
            return Ok(seed);
        }
        let seed = random()?;
        records.put("seed", &seed)?;
        Ok(seed)
    }

    /// All submissions that were seen.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn checked(&self) -> anyhow::Result<Vec<Checked>> {
        self.all("checked/")
    }

    /// Keeps what is known about a submission.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn put_checked(&self, checked: &Checked) -> anyhow::Result<()> {
        self.records()?.put(&format!("checked/{}", checked.slot), checked)
    }

    /// All challenges by this verifier.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn challenges(&self) -> anyhow::Result<Vec<Challenged>> {
        self.all("challenge/")
    }

    /// Keeps what is known about a challenge.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn put_challenge(&self, challenged: &Challenged) -> anyhow::Result<()> {
        self.records()?.put(&format!("challenge/{}", challenged.challenge), challenged)
    }

    /// All questions.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn questions(&self) -> anyhow::Result<Vec<Asked>> {
        self.all("question/")
    }

    /// Keeps what is known about a question.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn put_question(&self, asked: &Asked) -> anyhow::Result<()> {
        self.records()?.put(&format!("question/{}", asked.question), asked)
    }

    /// The block up to which questions to a committee are known.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn known_to(&self, committee: Address) -> anyhow::Result<Option<u64>> {
        self.records()?.get(&format!("known/{committee}"))
    }

    /// Sets it.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn set_known_to(&self, committee: Address, block: u64) -> anyhow::Result<()> {
        self.records()?.put(&format!("known/{committee}"), &block)
    }

    /// Slots of which this verifier has asked for an audit, or was about to, and whose bond is not back yet.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn requests(&self) -> anyhow::Result<Vec<B256>> {
        self.all("request/")
    }

    /// Writes down that it asks for an audit of a slot, or that the bond is back.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn set_request(&self, slot: B256, is_open: bool) -> anyhow::Result<()> {
        let name = format!("request/{slot}");
        if is_open { self.records()?.put(&name, &slot) } else { self.records()?.remove(&name) }
    }

    /// CIDs of jobs that this verifier has pinned.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn pins(&self) -> anyhow::Result<Vec<String>> {
        self.all("pin/")
    }

    /// Writes down that it pins the job with this CID, or no longer.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn set_pin(&self, cid: &str, is_pinned: bool) -> anyhow::Result<()> {
        let name = format!("pin/{cid}");
        if is_pinned { self.records()?.put(&name, &cid) } else { self.records()?.remove(&name) }
    }

    /// Writes down that something happened. The oldest notes go when there are too many.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn note(&self, slot: B256, text: &str) -> anyhow::Result<()> {
        let records = self.records()?;
        let next: u64 = records.get("notes")?.unwrap_or(0);
        let note = Note { time: now(), slot, text: text.to_owned() };
        records.put(&format!("note/{next:016x}"), &note)?;
        records.put("notes", &(next + 1))?;
        if let Some(old) = next.checked_sub(MOST_NOTES as u64) {
            records.remove(&format!("note/{old:016x}"))?;
        }
        Ok(())
    }

    /// What happened, the oldest first.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn notes(&self) -> anyhow::Result<Vec<Note>> {
        self.all("note/")
    }

    fn all<T: serde::de::DeserializeOwned>(&self, beginning: &str) -> anyhow::Result<Vec<T>> {
        Ok(self.records()?.all(beginning)?.into_iter().map(|(_, value)| value).collect())
    }
}

/// 32 bytes that nobody knows.
///
/// # Errors
/// When the system has none.
pub fn random() -> anyhow::Result<B256> {
    let mut bytes = B256::ZERO;
    getrandom::fill(&mut bytes.0).map_err(|error| anyhow!("the system gives no randomness: {error}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_there_for_others_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let (daemon, person) = (State::of(folder.path()), State::of(folder.path()));
        assert!(!person.exists());
        let seed = daemon.seed().expect("a seed");
        assert_eq!(person.seed().expect("the same"), seed);
        let slot = B256::repeat_byte(1);
        let mut checked = Checked {
            slot,
            job: B256::ZERO,
            client: Address::ZERO,
            trace_root: B256::ZERO,
            finding: Finding::Waiting,
            ending: None,
        };
        daemon.put_checked(&checked).expect("written");
        checked.finding = Finding::CannotTell { why: "no data".into(), tries: 1, next: 5 };
        daemon.put_checked(&checked).expect("written");
        assert_eq!(person.checked().expect("read"), [checked]);
        daemon.note(slot, "first").expect("written");
        daemon.note(slot, "second").expect("written");
        let notes: Vec<String> = person.notes().expect("read").into_iter().map(|note| note.text).collect();
        assert_eq!(notes, ["first", "second"]);
    }
}
