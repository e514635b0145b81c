//! What can replay a step.

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fedmkt_core::roots::{Hash, StateRoot};
use fedmkt_core::tree::{self, RootBuilder};
use fedmkt_machine::exit::Exit;
use memmap2::{Mmap, MmapOptions};
use tempfile::TempDir;

use crate::step::Step;
use crate::template::FinalProofs;

/// A machine in which the replayer runs.
pub trait Machine {
    /// Name and version.
    fn name(&self) -> &str;

    /// Replays a step. `watch` is called many times a second.
    ///
    /// # Errors
    /// When there is no machine, it cannot take the step, or it did not halt within the limit.
    fn replay(&self, step: &Step<'_>, watch: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<Replayed, Failure>;
}

/// How far a replay is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Machine cycles so far; only the Cartesi Machine counts them.
    pub cycles: Option<u64>,
    /// Time since the machine was started.
    pub elapsed: Duration,
}

/// A machine that halted.
#[derive(Debug)]
pub struct Replayed {
    /// What the replayer said with its exit code.
    pub exit: Exit,
    /// What the replayer wrote to its console, for people.
    pub said: String,
    /// Machine cycles from start to halt; only the Cartesi Machine counts them.
    pub cycles: Option<u64>,
    /// From the start of the machine to its halt.
    pub took: Duration,
    /// The state-out drive.
    pub state_out: StateOut,
    /// Hashes of the whole machine, if they were asked for and the machine has such.
    pub hashes: Option<Hashes>,
}

/// Hashes of the whole machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hashes {
    /// Before the first instruction.
    pub initial: Hash,
    /// After the halt.
    pub last: Hash,
    /// What is in the machine after the halt.
    pub proofs: FinalProofs,
}

/// The content of the state-out drive, for as long as this value lives.
#[derive(Debug)]
pub struct StateOut {
    pub(crate) file: PathBuf,
    pub(crate) offset: u64,
    pub(crate) log2_bytes: u32,
    /// Holds the file.
    pub(crate) _folder: TempDir,
}

impl StateOut {
    /// The drive's bytes.
    ///
    /// # Errors
    /// When the file cannot be mapped.
    pub fn map(&self) -> io::Result<Mmap> {
        let file = std::fs::File::open(&self.file)?;
        // SAFETY: the machine has ended, and the file is in a folder of our own.
        unsafe { MmapOptions::new().offset(self.offset).len(1 << self.log2_bytes).map(&file) }
    }

    /// The drive's root.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn root(&self) -> io::Result<StateRoot> {
        let mut builder = RootBuilder::new();
        builder.push(&self.map()?);
        Ok(StateRoot(builder.finish(self.log2_bytes).root.0))
    }
}

/// The root of a drive of 2^`log2_bytes` bytes that begins with what is in `file`.
///
/// # Errors
/// When the file cannot be read, or is longer.
pub fn drive_root(file: &Path, log2_bytes: u32) -> io::Result<Hash> {
    let file = std::fs::File::open(file)?;
    let bytes = file.metadata()?.len();
    if bytes > 1 << log2_bytes {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{bytes} bytes are more than 2^{log2_bytes}")));
    }
    if bytes == 0 {
        return Ok(tree::zero_roots()[log2_bytes as usize]);
    }
    // SAFETY: drives are not changed while they are replayed; should one be, the root is wrong and nothing else.
    let map = unsafe { Mmap::map(&file) }?;
    Ok(tree::bytes_root(&map, log2_bytes))
}

/// Why there is no replay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The machine's program is not on this computer.
    #[error("{program} is not on this computer: {remedy}")]
    Missing {
        /// What was looked for.
        program: &'static str,
        /// How to get it.
        remedy: &'static str,
    },
    /// It is of a version that is not supported.
    #[error("{program} is of version {found}, but {wanted} is needed")]
    Version {
        /// What was asked.
        program: &'static str,
        /// Its answer.
        found: String,
        /// What this program was made for.
        wanted: &'static str,
    },
    /// A file cannot be read or written.
    #[error("cannot {doing} {}: {error}", .path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What went wrong.
        #[source]
        error: io::Error,
    },
    /// A drive's content is longer than the drive.
    #[error("{} has {bytes} bytes, but the {drive} drive of this size class has {most}", .path.display())]
    TooLong {
        /// The drive's name.
        drive: &'static str,
        /// The file.
        path: PathBuf,
        /// Its bytes.
        bytes: u64,
        /// Those of the drive.
        most: u64,
    },
    /// The program could not be started.
    #[error("cannot start {program}: {error}")]
    Start {
        /// The program.
        program: String,
        /// What went wrong.
        #[source]
        error: io::Error,
    },
    /// The program ended, or could not be reached any more.
    #[error("{program} ended before the replay did ({how}){}", Said(.said))]
    Died {
        /// The program.
        program: &'static str,
        /// How it ended, as far as is known.
        how: String,
        /// The end of what it wrote.
        said: String,
    },
    /// The machine's server refused a request.
    #[error("the machine's server refused `{method}`: {message}")]
    Refused {
        /// What was asked.
        method: &'static str,
        /// Why not.
        message: String,
    },
    /// The machine's server answered what makes no sense.
    #[error("the machine's server does not answer as it should: {0}")]
    Nonsense(String),
    /// The machine halted with a code that the replayer does not have.
    #[error("the machine halted with the unknown code {code}{}", Said(.said))]
    UnknownExit {
        /// The code.
        code: u64,
        /// What was on the console.
        said: String,
    },
    /// The machine stopped without halting.
    #[error("the machine stopped ({0})")]
    Stopped(String),
    /// The machine did not halt within the limit.
    #[error("the step did not end within {0}")]
    Endless(String),
    /// The watcher wanted it to stop.
    #[error("interrupted")]
    Interrupted,
}

/// What a program said, as the end of a sentence.
struct Said<'a>(&'a str);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = self.0.trim();
        if said.is_empty() { Ok(()) } else { write!(f, "; it said: {said}") }
    }
}

impl Failure {
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { doing, path, error }
    }
}
