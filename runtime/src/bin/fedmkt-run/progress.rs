//! What a person sees while a run goes on: a bar on a terminal, now and then a line elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fedmkt_core::run::Run;
use fedmkt_runtime::consent::printable;
use fedmkt_runtime::engine::Native;
use fedmkt_runtime::metrics;
use fedmkt_runtime::training::Observer;
use indicatif::{ProgressBar, ProgressStyle};

const LINE_EVERY: Duration = Duration::from_secs(5);
const METRICS_EVERY: Duration = Duration::from_millis(500);

/// Shows a run's progress and tells it when to stop.
pub struct Progress {
    bar: Option<ProgressBar>,
    most_steps: u64,
    interrupted: Arc<AtomicBool>,
    /// Steps so far, for the watch on their time.
    steps: Arc<AtomicU64>,
    last_line: Instant,
    last_metrics: Instant,
    shown: String,
}

impl Progress {
    /// For a run of at most this many steps.
    pub fn new(most_steps: u64, interrupted: Arc<AtomicBool>, steps: Arc<AtomicU64>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} step {pos} of at most {len}  {elapsed}  {msg}");
            ProgressBar::new(most_steps).with_style(style.expect("a template"))
        });
        let now = Instant::now();
        Self { bar, most_steps, interrupted, steps, last_line: now, last_metrics: now, shown: String::new() }
    }

    /// The run is over.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Progress {
    fn resumed(&mut self, steps: u64) {
        let line = format!("Going on after step {steps}.");
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    fn stepped(&mut self, run: &mut Run<Native>) {
        let steps = run.steps();
        self.steps.store(steps, Ordering::Relaxed);
        if self.last_metrics.elapsed() >= METRICS_EVERY {
            self.last_metrics = Instant::now();
            let points = run.peek(metrics::FILE).map(|file| metrics::parse(&file)).unwrap_or_default();
            let values: Vec<_> = metrics::last(&points)
                .into_iter()
                .take(4)
                .map(|(name, value)| format!("{} {value:.4}", printable(&name)))
                .collect();
            self.shown = values.join("  ");
        }
        if let Some(bar) = &self.bar {
            bar.set_position(steps);
            bar.set_message(self.shown.clone());
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            eprintln!("step {steps} of at most {}  {}", self.most_steps, self.shown);
        }
    }

    fn stop(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}
