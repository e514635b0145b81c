//! Runs a job to its end, from wherever it was left.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cid::Cid;
use fedmkt_core::admission::{Admitted, Refusal};
use fedmkt_core::engine::Engine;
use fedmkt_core::image::{Header, Status};
use fedmkt_core::inputs::{self, Identity, InputError, Inputs};
use fedmkt_core::roots::{DataRoot, RunId, StateRoot};
use fedmkt_core::run::{Run, RunError};
use fedmkt_core::trace::Level;

use crate::checkpoint::Checkpoints;
use crate::engine::{Native, NativeError};
use crate::job::Job;
use crate::packed::Packed;

/// Everything that a run is a function of.
pub struct Prepared {
    /// The job.
    pub job: Cid,
    /// What the run is bound to.
    pub identity: Identity,
    inputs: Arc<Inputs>,
    admitted: Admitted,
}

/// Why a run cannot begin or go on. There is no result, and nothing is lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainingError {
    /// The drives do not make a run.
    #[error(transparent)]
    Inputs(#[from] InputError),
    /// The profile does not allow the trainer.
    #[error("the trainer is refused:\n{0}")]
    Refused(#[from] Refusal),
    /// The engine or the host could not go on.
    #[error(transparent)]
    Run(#[from] RunError<NativeError>),
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
    /// The run goes on from a checkpoint after this many steps.
    fn resumed(&mut self, steps: u64);

    /// A step was executed.
    fn stepped(&mut self, run: &mut Run<Native>);

    /// Whether to stop after this step.
    fn stop(&self) -> bool;
}

impl Prepared {
    /// Checks a job and a capsule, and admits the trainer. Without a `run_id` it is the local run of both.
    ///
    /// # Errors
    /// When the drives are not what they should be, or the trainer is refused.
    pub fn new(job: &Job, capsule: &Packed, run_id: Option<RunId>) -> Result<Self, TrainingError> {
        let inputs = Arc::new(Inputs::open(job.drive.bytes.clone(), capsule.bytes.clone())?);
        let (job_root, data_root) = (job.root(), DataRoot(capsule.root.0));
        let run_id = run_id.unwrap_or_else(|| inputs::local_run_id(job_root, data_root));
        let admitted = inputs.admit()?;
        Ok(Self { job: job.cid, identity: inputs.identity(run_id, job_root, data_root), inputs, admitted })
    }

    /// Job drive and capsule, parsed.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    fn begin(&self, engine: &Native) -> Result<Run<Native>, TrainingError> {
        let module = engine.compile(&self.admitted).map_err(RunError::Engine)?;
        Ok(Run::begin(engine.clone(), module, self.admitted.clone(), self.inputs.clone(), self.identity))
    }

    /// The latest state at or before `steps` that a checkpoint holds, or the first one.
    fn resume(&self, engine: &Native, checkpoints: &mut Checkpoints, steps: u64) -> Result<Run<Native>, TrainingError> {
        while let Some((at, root, image)) = checkpoints.latest(steps) {
            let module = engine.compile(&self.admitted).map_err(RunError::Engine)?;
            let (admitted, inputs) = (self.admitted.clone(), self.inputs.clone());
            match Run::resume(engine.clone(), module, admitted, inputs, self.identity, &image) {
                Ok(mut run) => {
                    if run.steps() == at && run.state_root() == root {
                        return Ok(run);
                    }
                }
                Err(RunError::Image(_)) => {}
                Err(error) => return Err(error.into()),
            }
            // Damaged: an earlier one, or the beginning, leads to the same state.
            checkpoints.forget(at)?;
        }
        self.begin(engine)
    }

    /// Runs to the end, from the last checkpoint on. `None` when the observer stopped it; a checkpoint was then written.
    /// Another one is written whenever `interval` has passed. With `log`, the trainer's standard streams go to standard
    /// error.
    ///
    /// # Errors
    /// When the host cannot go on. The same call goes on from the last checkpoint.
    pub fn train(
        &self,
        engine: &Native,
        checkpoints: &mut Checkpoints,
        interval: Duration,
        log: bool,
        observer: &mut dyn Observer,
    ) -> Result<Option<Finished>, TrainingError> {
        let steps_per_segment = self.inputs.manifest().steps_per_segment;
        let mut run = self.resume(engine, checkpoints, u64::MAX)?;
        checkpoints.rewind(run.steps() / steps_per_segment);
        if run.steps() > 0 {
            observer.resumed(run.steps());
        }
        if log {
            run.set_log(Box::new(|_, bytes| {
                // A closed stream is no reason to end a run.
                let _ = io::stderr().write_all(bytes);
            }));
        }
        let mut saved = Instant::now();
        loop {
            let status = run.step()?;
            let segment_ends = status.is_final() || run.steps().is_multiple_of(steps_per_segment);
            if segment_ends {
                checkpoints.push_segment(run.state_root());
            }
            observer.stepped(&mut run);
            if status.is_final() {
                break;
            }
            let stop = observer.stop();
            if stop || saved.elapsed() >= interval {
                let root = run.state_root();
                checkpoints.save(&mut run, root)?;
                saved = Instant::now();
            }
            if stop {
                return Ok(None);
            }
        }
        let segments = checkpoints.segments().to_vec();
        let count = if run.status() == Status::Done { self.inputs.manifest().results.len() } else { 0 };
        let results = (0..count).map(|index| run.result(index).expect("a run that is done has its results")).collect();
        Ok(Some(Finished { header: run.header().clone(), segments, results }))
    }

    /// The state after exactly `steps` steps, recomputed from the nearest checkpoint.
    ///
    /// # Errors
    /// When the host cannot, or the run ends before.
    pub fn state_at(
        &self,
        engine: &Native,
        checkpoints: &mut Checkpoints,
        steps: u64,
    ) -> Result<Run<Native>, TrainingError> {
        let mut run = self.resume(engine, checkpoints, steps)?;
        run.advance_to(steps, |_| {})?;
        if run.steps() == steps { Ok(run) } else { Err(TrainingError::NoSuchStep(steps)) }
    }

    /// The leaves of a level of the trace, recomputed from the nearest checkpoint.
    ///
    /// # Errors
    /// As [`Self::state_at`].
    pub fn leaves(
        &self,
        engine: &Native,
        checkpoints: &mut Checkpoints,
        level: &Level,
    ) -> Result<Vec<StateRoot>, TrainingError> {
        let mut run = self.resume(engine, checkpoints, level.first)?;
        let mut leaves = Vec::new();
        for end in level.ends() {
            run.advance_to(end, |_| {})?;
            if run.steps() != end {
                return Err(TrainingError::NoSuchStep(end));
            }
            leaves.push(run.state_root());
        }
        Ok(leaves)
    }
}
