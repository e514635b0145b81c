//! What a person sees while a run goes on: a bar on a terminal, now and then a line elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fedmkt_runtime::message::{note, printable};
use fedmkt_runtime::metrics;
use fedmkt_runtime::training::{Observer, TrainingError};
use fedmkt_runtime::worker::Worker;
use indicatif::{ProgressBar, ProgressStyle};

const LINE_EVERY: Duration = Duration::from_secs(5);
/// The most bytes of metrics that are looked at while a run goes on.
const MOST_METRICS: u64 = 16 << 20;
const METRICS_EVERY: Duration = Duration::from_millis(500);
/// The most metrics that are shown while a run goes on, and how wide the curve of each is on a terminal.
const MOST_SHOWN: usize = 4;
const CURVE_WIDTH: usize = 12;

/// Shows a run's progress and tells it when to stop.
pub struct Progress {
    bar: Option<ProgressBar>,
    most_steps: u64,
    interrupted: Arc<AtomicBool>,
    last_line: Instant,
    last_metrics: Instant,
    shown: String,
}

impl Progress {
    /// For a run of at most this many steps.
    pub fn new(most_steps: u64, interrupted: Arc<AtomicBool>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} step {pos} of at most {len}  {elapsed}  {msg}");
            ProgressBar::new(most_steps).with_style(style.expect("a template"))
        });
        let now = Instant::now();
        Self { bar, most_steps, interrupted, last_line: now, last_metrics: now, shown: String::new() }
    }

    fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => note(line),
        }
    }

    /// The run is over.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Progress {
    fn starts(&mut self, worker: &Worker) -> Result<(), TrainingError> {
        if let Some(missing) = worker.walls().missing() {
            self.line(&format!("Notice: this system has no {missing}; the trainer runs behind one wall less."));
        }
        if worker.steps() > 0 {
            self.line(&format!("Going on after step {}.", worker.steps()));
        }
        Ok(())
    }

    fn advanced(&mut self, worker: &mut Worker) {
        let steps = worker.steps();
        if self.last_metrics.elapsed() >= METRICS_EVERY {
            self.last_metrics = Instant::now();
            let points = worker.peek(metrics::FILE, MOST_METRICS).map(|file| metrics::parse(&file)).unwrap_or_default();
            let values: Vec<_> = metrics::series(&points)
                .into_iter()
                .take(MOST_SHOWN)
                .filter_map(|(name, values)| {
                    let curve = self.bar.as_ref().map(|_| metrics::sparkline(&values, CURVE_WIDTH) + " ");
                    Some(format!("{} {}{:.4}", printable(name), curve.unwrap_or_default(), values.last()?))
                })
                .collect();
            self.shown = values.join("  ");
        }
        if let Some(bar) = &self.bar {
            bar.set_position(steps);
            bar.set_message(self.shown.clone());
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            note(&format!("step {steps} of at most {}  {}", self.most_steps, self.shown));
        }
    }

    fn stop(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}
