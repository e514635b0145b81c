//! The receipt's body: what two honest runs of the same inputs agree on to the byte.
//!
//! The body is a DAG-CBOR block. It links to the job and to the result files, so that pinning it pins what is needed
//! to look into it. Who ran it, when and with which engine stands in a signed envelope that links to the body; an
//! envelope is the host's matter.

use alloc::string::String;
use alloc::vec::Vec;

use cid::Cid;
use serde::{Deserialize, Serialize};

use crate::image::{Header, Status};
use crate::manifest::Manifest;
use crate::roots::{DataRoot, Hash, JobRoot, ResultRoot, RunId, StateRoot, TraceRoot};
use crate::trace::{Level, MAX_SEGMENTS, trace_root};
use crate::tree::keccak256;

/// The version of the body's form.
pub const VERSION: u64 = 1;

/// What two honest runs cannot differ in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// Version of this form: [`VERSION`].
    pub version: u64,
    /// The profile by which the trainer ran.
    pub profile: String,
    /// The job.
    pub job: Cid,
    /// The run.
    pub run_id: RunId,
    /// Root of the job drive.
    pub job_root: JobRoot,
    /// Root of the capsule.
    pub data_root: DataRoot,
    /// Keccak-256 of the blind, the word 5 of each state header.
    pub blind_hash: Hash,
    /// The trace's top level.
    pub trace: Trace,
    /// How the run ended.
    pub outcome: Status,
    /// The results, in the order of the manifest; empty unless the run is done.
    pub results: Vec<ResultRecord>,
}

/// The top level of a trace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// The root of the segments.
    pub root: TraceRoot,
    /// Steps executed.
    pub steps: u64,
    /// Steps in each segment but the last.
    pub steps_per_segment: u64,
    /// State roots at the segments' ends.
    pub segments: Vec<StateRoot>,
}

/// A file that the run left.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultRecord {
    /// Its name in `/out`.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Its hash-tree root.
    pub root: ResultRoot,
    /// The file, as a link.
    pub cid: Cid,
}

impl Body {
    /// The body for a finished run.
    ///
    /// # Panics
    /// When the header is not that of a finished run, or has other results than the manifest.
    pub fn new(job: Cid, manifest: &Manifest, header: &Header, segments: Vec<StateRoot>) -> Self {
        assert!(header.status.is_final());
        let results = header
            .results
            .iter()
            .zip(&manifest.results)
            .map(|(result, file)| ResultRecord {
                name: file.name.clone(),
                size: result.size,
                root: result.root,
                cid: result.cid,
            })
            .collect();
        Self {
            version: VERSION,
            profile: manifest.profile.clone(),
            job,
            run_id: header.run_id,
            job_root: header.job_root,
            data_root: header.data_root,
            blind_hash: keccak256(&header.blind.0),
            trace: Trace {
                root: trace_root(&segments),
                steps: header.steps,
                steps_per_segment: manifest.steps_per_segment,
                segments,
            },
            outcome: header.status,
            results,
        }
    }

    /// Whether the parts of this body agree with each other: version, number of segments, trace root, results.
    pub fn is_consistent(&self) -> bool {
        let Trace { root, steps, steps_per_segment, ref segments } = self.trace;
        self.version == VERSION
            && steps > 0
            && steps_per_segment > 0
            && segments.len() as u64 <= MAX_SEGMENTS
            && Level::top(steps, steps_per_segment).parts() == segments.len() as u64
            && trace_root(segments) == root
            && self.outcome.is_final()
            && self.outcome != Status::Failed(0)
            && (self.outcome == Status::Done) != self.results.is_empty()
    }
}
