//! The state image: everything that a run is between two steps, as one flat file.
//!
//! | offset | bytes | what |
//! | --- | --- | --- |
//! | 0 | 4,096 | the header |
//! | 4,096 | 16,384 | mutable globals, 16 bytes each, little-endian, zero-padded, in the order of the module |
//! | 20,480 | [`wasi::METADATA_BYTES`] | WASI state without file contents |
//! | then | pages of `limits.output` and `limits.scratch` | the file area |
//! | then | `limits.memory` rounded up to pages | linear memory |
//!
//! All areas start at a multiple of 4,096 bytes. What is not used is zero. The image of a finished run, and the one
//! before step 0, is the header alone over zeros.
//!
//! The header is made of 32-byte words. Numbers are unsigned 256-bit big-endian, as contracts have them:
//!
//! | word | content |
//! | --- | --- |
//! | 0 | `fedmkt state image 1`, ASCII, zero-padded |
//! | 1 | the profile's name, ASCII, zero-padded |
//! | 2 | run id |
//! | 3 | job root |
//! | 4 | data root |
//! | 5 | blind |
//! | 6 | number of steps executed |
//! | 7 | status ([`Status::code`]) |
//! | 8 | exit code: what the process or the step returned, as an unsigned 32-bit number, if the status is "failed" |
//! | 9 | bytes of linear memory |
//! | 10 | number of results: 0, or that of the manifest if the status is "done" |
//! | 16 + 4i | size of result i in bytes |
//! | 17 + 4i | its hash-tree root |
//! | 18 + 4i | the sha2-256 digest in its CID |
//! | 19 + 4i | the codec in its CID: 0x55 raw, 0x70 dag-pb |
//!
//! All other words are zero.

use alloc::vec::Vec;
use core::fmt;

use cid::Cid;
use cid::multihash::Multihash;
use serde::{Deserialize, Serialize};

use crate::manifest::{Limits, MAX_RESULTS, PROFILE};
use crate::roots::{Blind, DataRoot, JobRoot, ResultRoot, RunId, StateRoot};
use crate::tree::{self, PAGE_BYTES};
use crate::unixfs::{CHUNK_BYTES, DAG_PB, RAW};
use crate::wasi;

/// What word 0 of the header starts with.
pub const MAGIC: &str = "fedmkt state image 1";

/// The most mutable globals that a module may have.
pub const MAX_GLOBALS: usize = 1024;

/// Bytes that one global takes.
pub const GLOBAL_BYTES: usize = 16;

const PAGE: u64 = PAGE_BYTES as u64;
const WORD: usize = 32;
const FIRST_RESULT_WORD: usize = 16;
const WORDS_PER_RESULT: usize = 4;
const SHA2_256: u64 = 0x12;

const _: () = assert!((FIRST_RESULT_WORD + WORDS_PER_RESULT * MAX_RESULTS) * WORD <= PAGE_BYTES);
const _: () = assert!((MAX_GLOBALS * GLOBAL_BYTES).is_multiple_of(PAGE_BYTES));
const _: () = assert!(wasi::METADATA_BYTES.is_multiple_of(PAGE_BYTES));

/// Where the parts of a job's state images lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Pages of `/out`.
    pub out_pages: u64,
    /// Pages of `/tmp`.
    pub scratch_pages: u64,
    /// The most pages of linear memory, in pages of 4 KiB.
    pub memory_pages: u64,
}

impl Layout {
    /// The first byte of the globals.
    pub const GLOBALS: u64 = PAGE;
    /// The first byte of the WASI state.
    pub const METADATA: u64 = Self::GLOBALS + (MAX_GLOBALS * GLOBAL_BYTES) as u64;
    /// The first byte of the file area.
    pub const FILES: u64 = Self::METADATA + wasi::METADATA_BYTES as u64;

    /// The layout that follows from a job's limits.
    pub fn of(limits: &Limits) -> Self {
        Self {
            out_pages: limits.output.div_ceil(PAGE),
            scratch_pages: limits.scratch.div_ceil(PAGE),
            memory_pages: limits.memory.div_ceil(PAGE),
        }
    }

    /// The first byte of linear memory.
    pub fn memory(&self) -> u64 {
        Self::FILES + (self.out_pages + self.scratch_pages) * PAGE
    }

    /// Bytes of the whole image.
    pub fn total_bytes(&self) -> u64 {
        self.memory() + self.memory_pages * PAGE
    }
}

/// How a run stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "status", content = "exit_code")]
pub enum Status {
    /// There are more steps.
    Running,
    /// The trainer finished and all results are there.
    Done,
    /// The trainer said that the data does not fit.
    DataRefused,
    /// The trainer exited with, or a step returned, this code.
    Failed(i32),
    /// The trainer trapped.
    Trapped,
    /// The trainer wanted more steps than the job allows.
    StepsExhausted,
    /// The trainer finished, but a result is missing or too large.
    ResultsRefused,
}

impl Status {
    /// The number that stands in the header.
    pub const fn code(self) -> u64 {
        match self {
            Self::Running => 0,
            Self::Done => 1,
            Self::DataRefused => 2,
            Self::Failed(_) => 3,
            Self::Trapped => 4,
            Self::StepsExhausted => 5,
            Self::ResultsRefused => 6,
        }
    }

    /// The word by which receipts and programs know the status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::DataRefused => "data-refused",
            Self::Failed(_) => "failed",
            Self::Trapped => "trapped",
            Self::StepsExhausted => "steps-exhausted",
            Self::ResultsRefused => "results-refused",
        }
    }

    fn exit_code(self) -> u64 {
        if let Self::Failed(code) = self { u64::from(code as u32) } else { 0 }
    }

    fn from_codes(status: u64, exit_code: u64) -> Option<Self> {
        let found = match status {
            0 => Self::Running,
            1 => Self::Done,
            2 => Self::DataRefused,
            3 if exit_code != 0 => Self::Failed(u32::try_from(exit_code).ok()? as i32),
            4 => Self::Trapped,
            5 => Self::StepsExhausted,
            6 => Self::ResultsRefused,
            _ => return None,
        };
        (found.exit_code() == exit_code).then_some(found)
    }

    /// Whether there are no more steps.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Running)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Done => f.write_str("done"),
            Self::DataRefused => f.write_str("data refused"),
            Self::Failed(code) => write!(f, "failed with code {code}"),
            Self::Trapped => f.write_str("trapped"),
            Self::StepsExhausted => f.write_str("out of steps"),
            Self::ResultsRefused => f.write_str("results refused"),
        }
    }
}

/// What commits to one result file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResultCommitment {
    /// Bytes of the file.
    pub size: u64,
    /// Root of the file, zero-padded to the smallest power of two of at least a page.
    pub root: ResultRoot,
    /// The file's CID under the `unixfs-v1-2025` profile.
    pub cid: Cid,
}

/// The first page of a state image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// The run.
    pub run_id: RunId,
    /// The job drive.
    pub job_root: JobRoot,
    /// The capsule.
    pub data_root: DataRoot,
    /// The word that hides guessable states.
    pub blind: Blind,
    /// Number of steps executed.
    pub steps: u64,
    /// How the run stands.
    pub status: Status,
    /// Bytes of linear memory; 0 before step 0 and at the end.
    pub memory_bytes: u64,
    /// The results, in the order of the manifest; empty unless the status is "done".
    pub results: Vec<ResultCommitment>,
}

/// A page is not the header of a state image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct HeaderError {
    /// The word that is wrong.
    pub word: usize,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a state image of this version and profile: word {} of its header is wrong", self.word)
    }
}

impl core::error::Error for HeaderError {}

impl Header {
    /// The header's page.
    pub fn encode(&self) -> [u8; PAGE_BYTES] {
        let mut words = Words([0; PAGE_BYTES]);
        words.text(0, MAGIC);
        words.text(1, PROFILE);
        words.bytes(2, &self.run_id.0);
        words.bytes(3, &self.job_root.0);
        words.bytes(4, &self.data_root.0);
        words.bytes(5, &self.blind.0);
        words.number(6, self.steps);
        words.number(7, self.status.code());
        words.number(8, self.status.exit_code());
        words.number(9, self.memory_bytes);
        words.number(10, self.results.len() as u64);
        for (index, result) in self.results.iter().enumerate() {
            let word = FIRST_RESULT_WORD + index * WORDS_PER_RESULT;
            words.number(word, result.size);
            words.bytes(word + 1, &result.root.0);
            words.bytes(word + 2, result.cid.hash().digest());
            words.number(word + 3, result.cid.codec());
        }
        words.0
    }

    /// Reads a header page.
    ///
    /// # Errors
    /// When any byte of the page differs from what [`Header::encode`] would write.
    pub fn decode(page: &[u8; PAGE_BYTES]) -> Result<Self, HeaderError> {
        let words = Words(*page);
        let number = |word: usize| words.read_number(word).ok_or(HeaderError { word });
        let status = Status::from_codes(number(7)?, number(8)?).ok_or(HeaderError { word: 7 })?;
        let count = number(10)?;
        if count > MAX_RESULTS as u64 || (count == 0) == (status == Status::Done) {
            return Err(HeaderError { word: 10 });
        }
        let mut results = Vec::new();
        for index in 0..count as usize {
            let word = FIRST_RESULT_WORD + index * WORDS_PER_RESULT;
            let (size, codec) = (number(word)?, number(word + 3)?);
            // A file of one block has no node above it.
            if codec != if size <= CHUNK_BYTES as u64 { RAW } else { DAG_PB } {
                return Err(HeaderError { word: word + 3 });
            }
            let digest = Multihash::wrap(SHA2_256, &words.read(word + 2)).expect("32 bytes fit a multihash");
            results.push(ResultCommitment {
                size,
                root: ResultRoot(words.read(word + 1)),
                cid: Cid::new_v1(codec, digest),
            });
        }
        let steps = number(6)?;
        if steps == 0 && status.is_final() {
            return Err(HeaderError { word: 6 });
        }
        let header = Self {
            run_id: RunId(words.read(2)),
            job_root: JobRoot(words.read(3)),
            data_root: DataRoot(words.read(4)),
            blind: Blind(words.read(5)),
            steps,
            status,
            memory_bytes: number(9)?,
            results,
        };
        if header.is_alone() && header.memory_bytes != 0 {
            return Err(HeaderError { word: 9 });
        }
        let encoded = header.encode();
        match encoded.chunks_exact(WORD).zip(page.chunks_exact(WORD)).position(|(ours, theirs)| ours != theirs) {
            Some(word) => Err(HeaderError { word }),
            None => Ok(header),
        }
    }

    /// Whether the image with this header is the header over zeros: it is before step 0, and of a finished run.
    pub fn is_alone(&self) -> bool {
        self.steps == 0 || self.status.is_final()
    }

    /// The root of the image that is this header alone over zeros, on a drive of 2^`log2_size` bytes.
    pub fn root_alone(&self, log2_size: u32) -> StateRoot {
        StateRoot(tree::bytes_root(&self.encode(), log2_size).0)
    }
}

struct Words([u8; PAGE_BYTES]);

impl Words {
    fn bytes(&mut self, word: usize, bytes: &[u8]) {
        self.0[word * WORD..][..bytes.len()].copy_from_slice(bytes);
    }

    fn text(&mut self, word: usize, text: &str) {
        assert!(text.len() <= WORD);
        self.bytes(word, text.as_bytes());
    }

    fn number(&mut self, word: usize, number: u64) {
        self.0[(word + 1) * WORD - 8..][..8].copy_from_slice(&number.to_be_bytes());
    }

    fn read(&self, word: usize) -> [u8; WORD] {
        self.0[word * WORD..][..WORD].try_into().expect("a word has 32 bytes")
    }

    fn read_number(&self, word: usize) -> Option<u64> {
        let bytes = self.read(word);
        let (high, low) = bytes.split_at(WORD - 8);
        high.iter().all(|&byte| byte == 0).then(|| u64::from_be_bytes(low.try_into().expect("8 bytes")))
    }
}
