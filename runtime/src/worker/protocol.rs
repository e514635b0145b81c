//! What host and worker say to each other: one request, one reply, each one packet. Whatever is large travels through
//! files whose descriptors the host hands over.

use fedmkt_core::image::Status;
use fedmkt_core::roots::{DataRoot, JobRoot, RunId, StateRoot};
use serde::{Deserialize, Serialize};

/// The most bytes of a packet.
pub const MOST_BYTES: usize = 64 << 10;

/// The most descriptors that come with a packet.
pub const MOST_DESCRIPTORS: usize = 3;

/// The longest text in a reply, in bytes.
pub const MOST_TEXT: usize = 32 << 10;

/// From the host.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Read, admit and compile. Descriptors: job drive, capsule, and compiled code if there is any.
    Open {
        /// The run.
        run_id: RunId,
        /// Root of the job drive.
        job_root: JobRoot,
        /// Root of the capsule.
        data_root: DataRoot,
        /// Bytes of each file, in the order of the descriptors: a worker cannot ask the kernel.
        bytes: Vec<u64>,
        /// Whether the guest's standard streams go to the worker's standard error.
        log: bool,
    },
    /// Write the compiled code to the descriptor.
    Code,
    /// Start before step 0.
    Begin,
    /// Start from the state image in the descriptor.
    Resume {
        /// Its bytes.
        bytes: u64,
    },
    /// Execute steps until so many have been executed since the beginning, for a moment at most.
    Advance {
        /// Steps.
        to: u64,
    },
    /// The root of the present state.
    Root,
    /// Write the present state's image to the descriptor.
    Image,
    /// Write a result of a run that is done to the descriptor.
    Result {
        /// Its number in the manifest.
        index: u64,
    },
    /// Write the beginning of what there is so far of a file in `/out` to the descriptor.
    Peek {
        /// Its name.
        name: String,
        /// The most bytes.
        most: u64,
    },
    /// The present state's header.
    Header,
}

/// From the worker.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// It is locked in; comes without a request, first.
    Ready(Walls),
    /// Done.
    Done,
    /// It is open. Tells whether the code that came was of no use.
    Opened {
        /// Whether it compiled.
        compiled: bool,
    },
    /// How the run stands.
    At {
        /// Steps executed since the beginning.
        steps: u64,
        /// How it stands.
        status: Status,
    },
    /// A state root.
    Root(StateRoot),
    /// A header page.
    Header(#[serde(with = "serde_bytes")] Vec<u8>),
    /// It cannot.
    Cannot(Reason, String),
}

/// Whose fault it is that a worker cannot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reason {
    /// Job drive or capsule are not what they should be.
    Inputs,
    /// The profile does not allow the trainer.
    Refused,
    /// The image is not a state of this run.
    Image,
    /// The engine or the host.
    Host,
    /// A file that the host handed over cannot be read or written.
    File,
}

/// What keeps a worker in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Walls {
    /// System calls other than those on a short list end the process.
    pub seccomp: bool,
    /// No path, no network and no other process can be reached, whatever system calls there are.
    pub landlock: bool,
}

impl Walls {
    /// The mechanisms that the system lacks, if any.
    pub fn missing(self) -> Option<String> {
        let missing: Vec<_> = [(self.seccomp, "seccomp"), (self.landlock, "Landlock")]
            .into_iter()
            .filter_map(|(there, name)| (!there).then_some(name))
            .collect();
        (!missing.is_empty()).then(|| missing.join(" and "))
    }
}
