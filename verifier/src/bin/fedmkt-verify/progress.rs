//! What a person sees while a machine runs.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fedmkt_verifier::machine::Progress;
use indicatif::{ProgressBar, ProgressStyle};

use crate::{Exit, OrExit, Outcome};

const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows how far a machine is, and tells it when to stop.
pub struct Watch {
    bar: Option<ProgressBar>,
    estimate: Duration,
    interrupted: Arc<AtomicBool>,
    last: Instant,
}

/// A flag that Ctrl-C sets.
pub fn interruptible() -> Outcome<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            std::process::exit(Exit::Interrupted as i32);
        }
    })
    .or_exit(Exit::Host)?;
    Ok(flag)
}

impl Watch {
    /// For a replay that probably takes this long.
    pub fn new(estimate: Duration, interrupted: Arc<AtomicBool>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {msg}  {elapsed}").expect("a template");
            ProgressBar::new(estimate.as_millis().max(1) as u64).with_style(style)
        });
        Self { bar, estimate, interrupted, last: Instant::now() }
    }

    /// Takes a look at the machine.
    pub fn look(&mut self, progress: Progress) -> ControlFlow<()> {
        let left = self.estimate.saturating_sub(progress.elapsed);
        let cycles = progress.cycles.map(|cycles| {
            let rate = cycles as f64 / progress.elapsed.as_secs_f64().max(1e-3);
            format!("{:.2} G cycles, {:.0} M/s", cycles as f64 / 1e9, rate / 1e6)
        });
        let text = format!("{}  about {} s left", cycles.unwrap_or_default(), left.as_secs());
        match &self.bar {
            Some(bar) => {
                bar.set_position((progress.elapsed.as_millis() as u64).min(self.estimate.as_millis() as u64));
                bar.set_message(text);
            }
            None if self.last.elapsed() >= LINE_EVERY => {
                self.last = Instant::now();
                eprintln!("{text}");
            }
            None => {}
        }
        if self.interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// The machine has halted.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
