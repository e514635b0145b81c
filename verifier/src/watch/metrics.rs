//! Figures for Prometheus.

use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::database::now;

/// What is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    /// The latest block that was looked at.
    pub block: AtomicU64,
    /// When the chain was last looked at with success, in seconds since 1970.
    pub looked: AtomicU64,
    /// Tasks that are at work.
    pub tasks: AtomicI64,
    /// Runs that are as claimed.
    pub agrees: AtomicU64,
    /// Submissions that are not.
    pub differs: AtomicU64,
    /// Checks that came to nothing.
    pub failed: AtomicU64,
    /// Audits that were asked for.
    pub requested: AtomicU64,
    /// Challenges that were opened.
    pub opened: AtomicU64,
    /// Challenges that were won.
    pub won: AtomicU64,
    /// Challenges that were lost.
    pub lost: AtomicU64,
    /// Commitments that were sent.
    pub committed: AtomicU64,
    /// Answers that were revealed.
    pub revealed: AtomicU64,
    /// Moves that were refused, and looks at the chain that failed.
    pub errors: AtomicU64,
}

/// One more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Metrics {
    /// Prometheus' text format, version 0.0.4.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut one = |name: &str, kind: &str, help: &str, value: i128| {
            let _ = writeln!(
                text,
                "# HELP fedmkt_verify_{name} {help}\n# TYPE fedmkt_verify_{name} {kind}\nfedmkt_verify_{name} {value}"
            );
        };
        let of = |counter: &AtomicU64| i128::from(counter.load(Ordering::Relaxed));
        one("block", "gauge", "The latest block that was looked at.", of(&self.block));
        one("looked_time_seconds", "gauge", "When the chain was last looked at.", of(&self.looked));
        one("tasks", "gauge", "Tasks that are at work.", i128::from(self.tasks.load(Ordering::Relaxed)));
        one("runs_agreed_total", "counter", "Submissions that are as claimed.", of(&self.agrees));
        one("runs_differed_total", "counter", "Submissions that are not as claimed.", of(&self.differs));
        one("checks_failed_total", "counter", "Checks that came to nothing.", of(&self.failed));
        one("audits_requested_total", "counter", "Audits that were asked for.", of(&self.requested));
        one("challenges_opened_total", "counter", "Challenges that were opened.", of(&self.opened));
        one("challenges_won_total", "counter", "Challenges that were won.", of(&self.won));
        one("challenges_lost_total", "counter", "Challenges that were lost.", of(&self.lost));
        one("votes_committed_total", "counter", "Commitments in committees.", of(&self.committed));
        one("votes_revealed_total", "counter", "Answers revealed in committees.", of(&self.revealed));
        one("errors_total", "counter", "Moves that were refused, and looks that failed.", of(&self.errors));
        text
    }

    /// Whether the chain was looked at within so many seconds.
    pub fn is_healthy(&self, within: u64) -> bool {
        now().saturating_sub(self.looked.load(Ordering::Relaxed)) <= within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_a_kind_and_a_value() {
        let metrics = Metrics::default();
        count(&metrics.won);
        let text = metrics.text();
        assert!(text.contains("\nfedmkt_verify_challenges_won_total 1\n"), "{text}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.split_once(' ').expect("a name and a value");
            assert!(text.contains(&format!("# TYPE {name} ")) && value.parse::<u64>().is_ok(), "{line}");
        }
        assert!(!metrics.is_healthy(60));
        metrics.looked.store(now(), Ordering::Relaxed);
        assert!(metrics.is_healthy(60));
    }
}
