//! When it is no longer waited for others.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

/// How soon an end is noticed while nothing comes.
pub(super) const MOMENT: Duration = Duration::from_millis(100);

/// How long blocks are waited for, whoever gives them and however slowly: up to a moment, and as long as nobody wants to
/// stop. By default without end.
#[derive(Clone, Default)]
pub struct Until {
    deadline: Option<Instant>,
    stop: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

/// Why it is no longer waited.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// The time is over.
    #[error("there is no more time")]
    Late,
    /// Somebody wants to stop.
    #[error("it was stopped")]
    Stopped,
}

impl fmt::Debug for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Until({:?}, {})", self.deadline, if self.stop.is_some() { "or a stop" } else { "no stop" })
    }
}

impl Until {
    /// Up to `deadline`, if there is one, and as long as `stop` does not say so. It is asked often, on several threads, and
    /// must not wait for anything.
    pub fn new(deadline: Option<Instant>, stop: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { deadline, stop: Some(Arc::new(stop)) }
    }

    /// Whether it goes on.
    pub(crate) fn check(&self) -> Result<(), Ended> {
        if self.stop.as_ref().is_some_and(|stop| stop()) {
            return Err(Ended::Stopped);
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Ended::Late),
            _ => Ok(()),
        }
    }

    /// What comes of something; it is dropped at the end, and nothing is begun after it.
    pub(super) async fn wait_for<T>(&self, task: impl Future<Output = T>) -> Result<T, Ended> {
        let mut task = pin!(task);
        loop {
            self.check()?;
            if let Ok(done) = timeout(MOMENT, task.as_mut()).await {
                return Ok(done);
            }
        }
    }
}
