//! Makes a run again from its inputs, holds it against what somebody claims about it, and names the first state that is
//! not as claimed, from the top of the trace down to one step.
//!
//! Of a claim only the root of the top level and the last state are known at first. Leaves come one level at a time,
//! as a dispute goes on: [`Rerun::leaves`] computes the same level here, [`first_wrong`] says which leaf to dispute. A
//! claim may be about more or fewer steps than the run has: a finished run stays as it is, so every number of steps has
//! a state.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fedmkt_core::image::{Header, Status};
use fedmkt_core::receipt::Body;
use fedmkt_core::roots::{DataRoot, Hash, RunId, StateRoot, TraceRoot};
use fedmkt_core::trace::Level;
use fedmkt_core::tree::keccak256;
use fedmkt_runtime::checkpoint::Checkpoints;
use fedmkt_runtime::job::check_release;
use fedmkt_runtime::training::{Observer, Session, TrainingError};
use fedmkt_runtime::worker::{Worker, WorkerError};

/// What a client claims about a run, as a market keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The run.
    pub run_id: RunId,
    /// Root of the capsule.
    pub data_root: DataRoot,
    /// Keccak-256 of the blind.
    pub blind_hash: Hash,
    /// Root of the trace's top level.
    pub trace_root: TraceRoot,
    /// The last leaf of the trace.
    pub last_state: StateRoot,
    /// Steps executed.
    pub steps: u64,
}

impl Claim {
    /// What a receipt's body claims.
    ///
    /// `None` when it has no segments.
    pub fn of(body: &Body) -> Option<Self> {
        Some(Self {
            run_id: body.run_id,
            data_root: body.data_root,
            blind_hash: body.blind_hash,
            trace_root: body.trace.root,
            last_state: *body.trace.segments.last()?,
            steps: body.trace.steps,
        })
    }
}

/// Why a run cannot be made again. Nothing is known about the claim then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RerunError {
    /// The native run cannot go on.
    #[error(transparent)]
    Run(#[from] TrainingError),
    /// The worker cannot go on.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The run's folder cannot be used.
    #[error("cannot use {}: {error}", .path.display())]
    Folder {
        /// The folder, or a file in it.
        path: PathBuf,
        /// What went wrong.
        #[source]
        error: io::Error,
    },
    /// Another process works on the same run in the same folder.
    #[error("another process works in {}", .0.display())]
    Busy(PathBuf),
}

/// A run that was made again, to its end.
pub struct Rerun<'a> {
    part: Part<'a>,
    header: Header,
}

/// A run that was made again from its beginning on, as far as was asked for.
pub struct Part<'a> {
    session: Session<'a>,
    checkpoints: Held<'a>,
    segments: Vec<StateRoot>,
    /// Steps and last state of the run, if it has ended by then.
    end: Option<(u64, StateRoot)>,
}

/// The checkpoints of a part.
enum Held<'a> {
    Own(Checkpoints),
    Lent(&'a mut Checkpoints),
}

impl Held<'_> {
    fn get(&mut self) -> &mut Checkpoints {
        match self {
            Self::Own(checkpoints) => checkpoints,
            Self::Lent(checkpoints) => checkpoints,
        }
    }

    /// Those in a run's folder.
    fn open(session: &Session<'_>, folder: &Path) -> Result<Self, RerunError> {
        // Before checkpoints of another release are taken for damaged ones.
        check_release(session.job.cid, &session.job.manifest).map_err(TrainingError::from)?;
        let failed = |error| RerunError::Folder { path: folder.to_owned(), error };
        let opened = Checkpoints::open(folder).map_err(failed)?;
        Ok(Self::Own(opened.ok_or_else(|| RerunError::Busy(folder.to_owned()))?))
    }
}

/// Asks whether a computation is to stop.
struct Until<'a> {
    stop: &'a dyn Fn() -> bool,
    /// The number of steps that are wanted, and whether there are so many.
    steps: u64,
    is_there: bool,
}

impl Observer for Until<'_> {
    fn starts(&mut self, _: &Worker) -> Result<(), TrainingError> {
        Ok(())
    }

    fn advanced(&mut self, worker: &mut Worker) {
        self.is_there = worker.steps() >= self.steps;
    }

    fn stop(&self) -> bool {
        self.is_there || (self.stop)()
    }
}

/// Computes from the last checkpoint on, at least so many steps. The last state's header if the run has ended; `None` when
/// `stop` said so.
fn compute<'a>(
    session: Session<'a>,
    mut checkpoints: Held<'a>,
    steps: u64,
    interval: Duration,
    stop: &dyn Fn() -> bool,
) -> Result<Option<(Part<'a>, Option<Header>)>, RerunError> {
    let mut until = Until { stop, steps, is_there: false };
    let Some(finished) = session.train(checkpoints.get(), interval, &mut until)? else {
        let segments = checkpoints.get().segments().to_vec();
        return Ok(until.is_there.then_some((Part { session, checkpoints, segments, end: None }, None)));
    };
    let last = finished.header.root_alone(session.job.manifest.machine.class.log2_state());
    let end = Some((finished.header.steps, last));
    Ok(Some((Part { session, checkpoints, segments: finished.segments, end }, Some(finished.header))))
}

impl<'a> Rerun<'a> {
    /// Runs to the end, from the last checkpoint in `folder` on. A checkpoint is written whenever `interval` has passed.
    /// `None` when `stop` said so; the same call goes on later.
    ///
    /// # Errors
    /// When this computer cannot.
    pub fn run(
        session: Session<'a>,
        folder: &Path,
        interval: Duration,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Self>, RerunError> {
        let checkpoints = Held::open(&session, folder)?;
        Self::of(compute(session, checkpoints, u64::MAX, interval, stop)?)
    }

    /// The same with checkpoints that are in no folder.
    ///
    /// # Errors
    /// When this computer cannot.
    pub fn on(
        session: Session<'a>,
        checkpoints: &'a mut Checkpoints,
        interval: Duration,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Self>, RerunError> {
        Self::of(compute(session, Held::Lent(checkpoints), u64::MAX, interval, stop)?)
    }

    fn of(computed: Option<(Part<'a>, Option<Header>)>) -> Result<Option<Self>, RerunError> {
        Ok(computed.and_then(|(part, header)| Some(Self { part, header: header? })))
    }

    /// The last state's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What an honest client would have said.
    pub fn body(&self) -> Body {
        let job = self.part.session.job;
        Body::new(job.cid, &job.manifest, &self.header, self.part.segments.clone())
    }

    /// The root of the last state.
    pub fn last_state(&self) -> StateRoot {
        self.header.root_alone(self.part.session.job.manifest.machine.class.log2_state())
    }

    /// The root of the state before step 0.
    pub fn first_state(&self) -> StateRoot {
        let first =
            Header { steps: 0, status: Status::Running, memory_bytes: 0, results: Vec::new(), ..self.header.clone() };
        first.root_alone(self.part.session.job.manifest.machine.class.log2_state())
    }

    /// What of a claim is not so, in words; `None` when the run was as claimed, in every leaf of the top level.
    pub fn differs(&self, claim: &Claim) -> Option<String> {
        let body = self.body();
        if claim.blind_hash != keccak256(&self.header.blind.0) {
            return Some("its blind does not come from the capsule's salt".into());
        }
        if claim.steps != body.trace.steps {
            let (ours, outcome) = (body.trace.steps, body.outcome);
            return Some(format!("it claims {} steps, the run has {ours} ({outcome})", claim.steps));
        }
        if claim.last_state != self.last_state() {
            return Some(format!("it ends in {}, the run in {}", claim.last_state, self.last_state()));
        }
        if claim.trace_root != body.trace.root {
            return Some(format!("its trace is {}, that of the run {}", claim.trace_root, body.trace.root));
        }
        None
    }

    /// The leaves of a level of the claimed trace, as they are.
    ///
    /// # Errors
    /// When this computer cannot.
    pub fn leaves(&mut self, level: &Level) -> Result<Vec<StateRoot>, RerunError> {
        self.part.leaves(level)
    }

    /// Writes the image of the state after so many steps to a new file.
    ///
    /// # Errors
    /// When this computer cannot.
    pub fn write_state(&mut self, steps: u64, path: &Path) -> Result<StateRoot, RerunError> {
        self.part.write_state(steps, path)
    }
}

impl<'a> Part<'a> {
    /// Runs until so many steps are executed or the run ends, from the last checkpoint in `folder` on. Otherwise as
    /// [`Rerun::run`]. What is asked of it afterwards must lie within these steps.
    ///
    /// # Errors
    /// When this computer cannot.
    pub fn run(
        session: Session<'a>,
        folder: &Path,
        steps: u64,
        interval: Duration,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Self>, RerunError> {
        let checkpoints = Held::open(&session, folder)?;
        Ok(compute(session, checkpoints, steps, interval, stop)?.map(|(part, _)| part))
    }

    /// The same with checkpoints that are in no folder.
    ///
    /// # Errors
    /// When this computer cannot.
    pub fn on(
        session: Session<'a>,
        checkpoints: &'a mut Checkpoints,
        steps: u64,
        interval: Duration,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Self>, RerunError> {
        Ok(compute(session, Held::Lent(checkpoints), steps, interval, stop)?.map(|(part, _)| part))
    }

    /// The leaves of a level of the claimed trace, as they are.
    ///
    /// # Errors
    /// When this computer cannot.
    pub fn leaves(&mut self, level: &Level) -> Result<Vec<StateRoot>, RerunError> {
        let steps = self.end.map_or(u64::MAX, |(steps, _)| steps);
        let steps_per_segment = self.session.job.manifest.steps_per_segment;
        if level.first == 0 && level.part == steps_per_segment {
            // The top level was computed on the way; a claim may end where no segment of ours does.
            let known = |end: u64| match end {
                end if end >= steps => self.end.map(|(_, last)| last),
                end if end.is_multiple_of(steps_per_segment) => {
                    self.segments.get((end / steps_per_segment) as usize - 1).copied()
                }
                _ => None,
            };
            if let Some(leaves) = level.ends().map(known).collect() {
                return Ok(leaves);
            }
        }
        let before_end: Vec<u64> = level.ends().take_while(|end| *end < steps).collect();
        let mut leaves = Vec::new();
        if let Some(&first) = before_end.first() {
            let mut worker = self.session.state_at(self.checkpoints.get(), first)?;
            leaves.push(worker.state_root()?);
            for &end in &before_end[1..] {
                worker.advance_to(end)?;
                leaves.push(worker.state_root()?);
            }
        }
        if let Some((_, last)) = self.end {
            leaves.resize(level.parts() as usize, last);
        }
        Ok(leaves)
    }

    /// Writes the image of the state after so many steps to a new file.
    ///
    /// # Errors
    /// When this computer cannot.
    pub fn write_state(&mut self, steps: u64, path: &Path) -> Result<StateRoot, RerunError> {
        let failed = |error| RerunError::Folder { path: path.to_owned(), error };
        let mut worker =
            self.session.state_at(self.checkpoints.get(), self.end.map_or(steps, |(end, _)| steps.min(end)))?;
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path).map_err(failed)?;
        worker.write_image(&file)?;
        Ok(worker.state_root()?)
    }
}

/// The first leaf that is not as it should be; one that is missing or too many is wrong, too. `None` if all are right.
pub fn first_wrong(ours: &[StateRoot], claimed: &[StateRoot]) -> Option<usize> {
    let common = ours.len().min(claimed.len());
    (0..common).find(|&index| ours[index] != claimed[index]).or((ours.len() != claimed.len()).then_some(common))
}
