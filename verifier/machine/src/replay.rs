//! From the drives to the next state.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

use fedmkt_core::admission::Refusal;
use fedmkt_core::engine::Engine;
use fedmkt_core::image::{Header, HeaderError, Status};
use fedmkt_core::inputs::{InputError, Inputs};
use fedmkt_core::manifest::SizeClass;
use fedmkt_core::pack::Bytes;
use fedmkt_core::run::{ImageError, Run, RunError};
use fedmkt_core::tree::PAGE_BYTES;

use crate::engine::{Wasmi, WasmiError};
use crate::exit::Exit;

/// Why there is no next state.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplayError {
    /// The job is of another size class than the machine: the job's and the machine's.
    Class(SizeClass, SizeClass),
    /// The job drive or the data drive.
    Inputs(InputError),
    /// The profile does not admit the module.
    Module(Refusal),
    /// The state-in drive does not begin with a header.
    Header(HeaderError),
    /// The blind in the state's header does not come from the capsule's salt.
    Blind,
    /// The state-in drive does not hold a state of this run.
    State(ImageError),
    /// The engine could not go on.
    Engine(WasmiError),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(job, machine) => write!(f, "the job is of size class {job:?}, the machine of {machine:?}"),
            Self::Inputs(error) => error.fmt(f),
            Self::Module(error) => error.fmt(f),
            Self::Header(error) => error.fmt(f),
            Self::Blind => f.write_str("the state belongs to a capsule with another salt"),
            Self::State(error) => error.fmt(f),
            Self::Engine(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ReplayError {}

impl ReplayError {
    /// The exit code that tells it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Class(..) => Exit::OtherClass,
            Self::Inputs(InputError::Data(_)) => Exit::Data,
            Self::Inputs(InputError::TooMuchData(..)) => Exit::TooMuchData,
            Self::Inputs(_) => Exit::Job,
            Self::Module(_) => Exit::Module,
            Self::Header(_) | Self::Blind | Self::State(_) => Exit::State,
            Self::Engine(_) => Exit::Engine,
        }
    }
}

impl From<RunError<WasmiError>> for ReplayError {
    fn from(error: RunError<WasmiError>) -> Self {
        match error {
            RunError::Engine(error) => Self::Engine(error),
            RunError::Image(error) => Self::State(error),
            error => unreachable!("{error}"),
        }
    }
}

/// Executes one step of the run that the drives hold, which are all as long as those of `class`, and passes the parts of
/// the next image that may be non-zero to `write`, with their offsets.
///
/// Roots are not computed: whoever starts the machine knows which roots its drives have, and the state's header says
/// which ones the run is bound to.
///
/// # Errors
/// When the drives do not hold a state of a run, or the engine could not go on.
///
/// # Panics
/// When `state_in` is shorter than a page.
pub fn replay(
    class: SizeClass,
    job: Bytes,
    data: Bytes,
    state_in: &[u8],
    mut write: impl FnMut(u64, &[u8]),
) -> Result<Status, ReplayError> {
    let inputs = Inputs::open(job, data).map_err(ReplayError::Inputs)?;
    let wanted = inputs.manifest().machine.class;
    if wanted != class {
        return Err(ReplayError::Class(wanted, class));
    }
    let page: &[u8; PAGE_BYTES] = state_in.first_chunk().expect("a drive has at least a page");
    let header = Header::decode(page).map_err(ReplayError::Header)?;
    let identity = inputs.identity(header.run_id, header.job_root, header.data_root);
    if identity.blind != header.blind {
        return Err(ReplayError::Blind);
    }
    let admitted = inputs.admit().map_err(ReplayError::Module)?;
    let engine = Wasmi::new();
    let module = engine.compile(&admitted).map_err(ReplayError::Engine)?;
    let mut run = Run::resume(engine, module, admitted, Arc::new(inputs), identity, state_in)?;
    let status = run.step()?;
    run.write_image(|offset, bytes| {
        write(offset, bytes);
        Ok::<_, core::convert::Infallible>(())
    })
    .unwrap_or_else(|never| match never {});
    // Nothing is freed one by one: the machine halts.
    core::mem::forget(Box::new(run));
    Ok(status)
}
