//! Runs a job to its end, from wherever it was left.

use std::io;
use std::time::{Duration, Instant};

use fedmkt_core::image::Header;
use fedmkt_core::inputs;
use fedmkt_core::roots::{DataRoot, RunId, StateRoot};
use fedmkt_core::trace::Level;

use crate::checkpoint::Checkpoints;
use crate::job::{Job, OtherRelease, check_release};
use crate::packed::Packed;
use crate::worker::{CodeCache, Limits, Program, Reason, Setup, Worker, WorkerError};

/// Everything that a run is a function of, and how it is executed.
pub struct Session<'a> {
    /// The job.
    pub job: &'a Job,
    /// The capsule.
    pub capsule: &'a Packed,
    /// The run.
    pub run_id: RunId,
    /// The program whose processes are workers.
    pub program: Program,
    /// Where compiled code is kept.
    pub cache: Option<CodeCache>,
    /// Whether the trainer's standard streams are passed on to standard error.
    pub log: bool,
    /// How long to wait for the worker.
    pub limits: Limits,
    /// Whether to refuse where the system lacks a wall around the worker.
    pub require_isolation: bool,
}

/// Why a run cannot begin or go on. There is no result, and nothing is lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainingError {
    /// The worker process gives no answer, or one that ends the run.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// Runs of the job are not what this program computes.
    #[error(transparent)]
    Release(#[from] OtherRelease),
    /// A checkpoint cannot be written.
    #[error("cannot write a checkpoint: {0}")]
    Checkpoint(#[from] io::Error),
    /// The run has fewer steps.
    #[error("the run has no step {0}")]
    NoSuchStep(u64),
}

/// A finished run.
pub struct Finished {
    /// The last state's header.
    pub header: Header,
    /// State roots at the ends of the segments.
    pub segments: Vec<StateRoot>,
    /// The result files' contents, in the order of the manifest; empty unless the status is "done".
    pub results: Vec<Vec<u8>>,
}

/// What is told while a run goes on.
pub trait Observer {
    /// The run is about to begin, or to go on from a checkpoint, in this worker.
    ///
    /// # Errors
    /// When it must not.
    fn starts(&mut self, worker: &Worker) -> Result<(), TrainingError>;

    /// Steps were executed.
    fn advanced(&mut self, worker: &mut Worker);

    /// Whether to stop.
    fn stop(&self) -> bool;
}

impl<'a> Session<'a> {
    /// The run of a job and a capsule that no market knows.
    pub fn local(job: &'a Job, capsule: &'a Packed) -> Self {
        let run_id = inputs::local_run_id(job.root(), DataRoot(capsule.root.0));
        Self {
            job,
            capsule,
            run_id,
            program: Program::this(),
            cache: None,
            log: false,
            limits: Limits::default(),
            require_isolation: false,
        }
    }

    /// A worker in which this run has not begun yet. Job and capsule are checked, the trainer is admitted and compiled.
    ///
    /// # Errors
    /// When it cannot be started, or something is refused.
    pub fn worker(&self) -> Result<Worker, TrainingError> {
        check_release(self.job.cid, &self.job.manifest)?;
        let setup = Setup {
            job: &self.job.drive,
            capsule: self.capsule,
            manifest: &self.job.manifest,
            run_id: self.run_id,
            log: self.log,
            cache: self.cache.as_ref(),
            limits: self.limits,
            require_isolation: self.require_isolation,
        };
        Ok(Worker::open(&self.program, &setup)?)
    }

    /// Goes to the latest state at or before `steps` that a checkpoint holds, or to the beginning.
    fn resume(&self, worker: &mut Worker, checkpoints: &mut Checkpoints, steps: u64) -> Result<(), TrainingError> {
        while let Some((at, root, image)) = checkpoints.latest(steps) {
            match worker.resume(&image) {
                Ok(()) => {
                    if worker.steps() == at && worker.state_root()? == root {
                        return Ok(());
                    }
                }
                Err(WorkerError::Cannot(Reason::Image, _)) => {}
                Err(error) => return Err(error.into()),
            }
            // Damaged: an earlier one, or the beginning, leads to the same state.
            checkpoints.forget(at)?;
        }
        Ok(worker.begin()?)
    }

    /// Runs to the end, from the last checkpoint on. `None` when the observer stopped it; a checkpoint was then written.
    /// Another one is written whenever `interval` has passed.
    ///
    /// # Errors
    /// When the host cannot go on. The same call goes on from the last checkpoint.
    pub fn train(
        &self,
        checkpoints: &mut Checkpoints,
        interval: Duration,
        observer: &mut dyn Observer,
    ) -> Result<Option<Finished>, TrainingError> {
        let manifest = &self.job.manifest;
        let steps_per_segment = manifest.steps_per_segment;
        let mut worker = self.worker()?;
        self.resume(&mut worker, checkpoints, u64::MAX)?;
        checkpoints.rewind(worker.steps() / steps_per_segment);
        observer.starts(&worker)?;
        let mut saved = Instant::now();
        loop {
            let segment_end = (worker.steps() / steps_per_segment + 1) * steps_per_segment;
            let status = worker.advance(segment_end)?;
            if status.is_final() || worker.steps() == segment_end {
                checkpoints.push_segment(worker.state_root()?);
            }
            observer.advanced(&mut worker);
            if status.is_final() {
                break;
            }
            let stop = observer.stop();
            if stop || saved.elapsed() >= interval {
                let root = worker.state_root()?;
                checkpoints.save(&mut worker, root)?;
                saved = Instant::now();
            }
            if stop {
                return Ok(None);
            }
        }
        let header = worker.header()?;
        let results = header.results.iter().enumerate().map(|(index, committed)| worker.result(index, committed));
        let results = results.collect::<Result<_, _>>()?;
        Ok(Some(Finished { header, segments: checkpoints.segments().to_vec(), results }))
    }

    /// A worker in the state after exactly `steps` steps, recomputed from the nearest checkpoint.
    ///
    /// # Errors
    /// When the host cannot, or the run ends before.
    pub fn state_at(&self, checkpoints: &mut Checkpoints, steps: u64) -> Result<Worker, TrainingError> {
        let mut worker = self.worker()?;
        self.resume(&mut worker, checkpoints, steps)?;
        worker.advance_to(steps)?;
        if worker.steps() == steps { Ok(worker) } else { Err(TrainingError::NoSuchStep(steps)) }
    }

    /// The leaves of a level of the trace, recomputed from the nearest checkpoint.
    ///
    /// # Errors
    /// As [`Self::state_at`].
    pub fn leaves(&self, checkpoints: &mut Checkpoints, level: &Level) -> Result<Vec<StateRoot>, TrainingError> {
        let mut worker = self.worker()?;
        self.resume(&mut worker, checkpoints, level.first)?;
        let mut leaves = Vec::new();
        for end in level.ends() {
            worker.advance_to(end)?;
            if worker.steps() != end {
                return Err(TrainingError::NoSuchStep(end));
            }
            leaves.push(worker.state_root()?);
        }
        Ok(leaves)
    }
}
