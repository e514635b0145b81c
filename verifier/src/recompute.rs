//! Recomputes a run natively and holds it against a receipt.

use std::fs::File;
use std::path::{Path, PathBuf};

use fedmkt_core::receipt::Body;
use fedmkt_core::roots::StateRoot;
use fedmkt_runtime::packed::Packed;
use fedmkt_runtime::training::{Session, TrainingError};
use fedmkt_runtime::worker::{Program, Worker, WorkerError};

use crate::machine::Failure;
use crate::subject::Subject;

/// A run that is being recomputed, step by step, in a worker process of its own.
pub struct Recomputed<'a> {
    subject: &'a Subject,
    worker: Worker,
    /// Segments whose leaves were compared.
    compared: u64,
    /// The first state that was not computed from the beginning, if there is one: number of steps.
    trusted_from: u64,
}

/// The first place where a receipt is not what was recomputed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// The segment.
    pub segment: u64,
    /// Its first step.
    pub first: u64,
    /// The step after its last.
    pub end: u64,
    /// What differs.
    pub what: String,
}

/// Why a run cannot be recomputed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecomputeError {
    /// The native run cannot go on.
    #[error(transparent)]
    Run(#[from] TrainingError),
    /// The worker cannot go on.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A working file cannot be written.
    #[error(transparent)]
    File(#[from] Failure),
    /// The receipt's run has fewer steps.
    #[error("the receipt is about {has} steps; there is no step {asked}")]
    NoSuchStep {
        /// What was asked for.
        asked: u64,
        /// How many steps there are.
        has: u64,
    },
}

impl<'a> Recomputed<'a> {
    /// The state before step 0, in a worker process of `program`.
    ///
    /// # Errors
    /// When no worker can be started.
    pub fn begin(subject: &'a Subject, capsule: &Packed, program: Program) -> Result<Self, RecomputeError> {
        let session = Session { run_id: subject.body.run_id, program, ..Session::local(&subject.job, capsule) };
        let mut worker = session.worker()?;
        worker.begin()?;
        Ok(Self { subject, worker, compared: 0, trusted_from: 0 })
    }

    /// Goes on from a state that is a leaf of the receipt: nothing before it is recomputed. `false` when the image is not
    /// the state at the end of segment number `segment`, as the receipt has it.
    ///
    /// # Errors
    /// When the worker cannot.
    pub fn jump(&mut self, image: &File, segment: u64) -> Result<bool, RecomputeError> {
        let trace = &self.subject.body.trace;
        let Some(leaf) = trace.segments.get(segment as usize) else { return Ok(false) };
        match self.worker.resume(image) {
            Ok(()) => {}
            Err(WorkerError::Cannot(..)) => {
                self.worker.begin()?;
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        if self.worker.steps() != (segment + 1) * trace.steps_per_segment || self.worker.state_root()? != *leaf {
            self.worker.begin()?;
            return Ok(false);
        }
        self.compared = segment + 1;
        self.trusted_from = self.worker.steps();
        Ok(true)
    }

    /// Steps executed.
    pub fn steps(&self) -> u64 {
        self.worker.steps()
    }

    /// From which step on everything was recomputed.
    pub fn recomputed_from(&self) -> u64 {
        self.trusted_from
    }

    /// Executes steps until so many were executed, and compares the leaves of all segments that end on the way.
    ///
    /// # Errors
    /// When the worker cannot, or the receipt's run has fewer steps.
    pub fn advance_to(&mut self, steps: u64) -> Result<Option<Mismatch>, RecomputeError> {
        let body = &self.subject.body;
        let trace = &body.trace;
        if steps > trace.steps {
            return Err(RecomputeError::NoSuchStep { asked: steps, has: trace.steps });
        }
        while self.worker.steps() < steps {
            let segment = self.worker.steps() / trace.steps_per_segment;
            let first = segment * trace.steps_per_segment;
            let end = (first + trace.steps_per_segment).min(trace.steps);
            let mismatch = |what| Some(Mismatch { segment, first, end, what });
            self.worker.advance_to(end.min(steps))?;
            let (now, status) = (self.worker.steps(), self.worker.status());
            if now < end.min(steps) {
                return Ok(mismatch(format!("the run ends after {now} steps: {status}")));
            }
            if now == end && self.compared <= segment {
                let root = self.worker.state_root()?;
                let claimed = trace.segments[segment as usize];
                if root != claimed {
                    return Ok(mismatch(format!("its last state is {root}, the receipt says {claimed}")));
                }
                self.compared = segment + 1;
            }
            if now == trace.steps {
                if !status.is_final() {
                    return Ok(mismatch(format!("the run has more than {now} steps")));
                }
                let header = self.worker.header()?;
                let ours = Body::new(body.job, &self.subject.job.manifest, &header, trace.segments.clone());
                if ours != *body {
                    return Ok(mismatch(format!("the run ended otherwise: {} ({:?})", ours.outcome, ours.results)));
                }
            }
        }
        Ok(None)
    }

    /// The root of the present state.
    ///
    /// # Errors
    /// When the worker cannot.
    pub fn root(&mut self) -> Result<StateRoot, RecomputeError> {
        Ok(self.worker.state_root()?)
    }

    /// Writes the image of the present state to a new file in `folder`.
    ///
    /// # Errors
    /// When the worker or the disk cannot.
    pub fn write_image(&mut self, folder: &Path) -> Result<PathBuf, RecomputeError> {
        let path = folder.join(format!("{}.state", self.worker.steps()));
        let _ = std::fs::remove_file(&path);
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        self.worker.write_image(&file.map_err(Failure::file("write", &path))?)?;
        Ok(path)
    }
}
