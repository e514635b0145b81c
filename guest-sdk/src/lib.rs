//! Write a trainer: a program that learns from data its author never sees.
//!
//! Implement [`Trainer`] and name the type in [`trainer!`]; the macro makes a binary crate for `wasm32-wasip1` into a
//! trainer. The file exports the steps that the fedmkt runtime calls one by one, and a `_start` that takes the same
//! steps, so that it gives the same result under any WASI runtime.
//!
//! ```
//! use fedmkt_guest::{Error, Job, Step, Trainer};
//!
//! /// Learns how long the files of the grant are on average.
//! struct MeanLength {
//!     lengths: Vec<u64>,
//!     next: usize,
//!     sum: u64,
//! }
//!
//! impl Trainer for MeanLength {
//!     type Data = Vec<u64>;
//!
//!     fn check(job: &Job) -> Result<Self::Data, Error> {
//!         let files = job.data_files()?;
//!         if files.is_empty() {
//!             return Err(Error::refused("the grant has no files"));
//!         }
//!         files.iter().map(|path| Ok(job.read_data(path)?.len() as u64)).collect()
//!     }
//!
//!     fn start(_job: &mut Job, lengths: Self::Data) -> Result<Self, Error> {
//!         Ok(Self { lengths, next: 0, sum: 0 })
//!     }
//!
//!     fn step(&mut self, job: &mut Job) -> Result<Step, Error> {
//!         self.sum += self.lengths[self.next];
//!         self.next += 1;
//!         job.metric("mean", self.sum as f64 / self.next as f64)?;
//!         Ok(if self.next < self.lengths.len() { Step::More } else { Step::Done })
//!     }
//!
//!     fn finish(self, job: &mut Job) -> Result<(), Error> {
//!         job.write_result("mean.txt", format!("{}\n", self.sum / self.next as u64).as_bytes())
//!     }
//! }
//!
//! # mod hidden { use super::MeanLength;
//! fedmkt_guest::trainer!(MeanLength);
//! # }
//! # fn main() {}
//! ```
//!
//! The same code compiles natively, for unit tests and debugging: build a [`Job`] over a folder with [`Job::in_folder`]
//! and give it to a [`Run`], or run the program with `FEDMKT_ROOT` set to such a folder.
//!
//! What a trainer computes must not depend on where it runs. In the sandbox nothing that differs can be seen; the
//! functions of `f32` and `f64` that are not exactly rounded (`exp`, `ln`, `tanh`, ...) come from the platform when a
//! trainer runs natively: use the `libm` crate, which computes the same bits everywhere.

pub mod abi;
pub mod array;
mod error;
mod job;
pub mod learn;
mod settings;
pub mod table;
mod tensors;

pub use abi::Run;
pub use error::{Error, Kind};
pub use job::{Job, METRICS_FILE};
pub use settings::Settings;
pub use tensors::Tensors;

/// What a trainer does.
///
/// The runtime calls [`check`](Self::check) and [`start`](Self::start) in step 0, [`step`](Self::step) once in each
/// later step, and [`finish`](Self::finish) in the step that was the last. Between steps the run may be stored, moved
/// and continued elsewhere; a trainer need not care, because all of its memory and files go along.
pub trait Trainer: Sized {
    /// What checking the data yields: a reader, a table in memory, or `()`.
    type Data;

    /// The most bytes that the metrics of a run may take; the job's limit for `metrics.csv` must be no less.
    const MOST_METRICS_BYTES: u64 = 64 << 10;

    /// Looks whether the granted data is what this trainer needs.
    ///
    /// # Errors
    /// [`Error::refused`] when the data does not fit, with a sentence that tells its owner why.
    fn check(job: &Job) -> Result<Self::Data, Error>;

    /// Starts from the initial model and the checked data.
    ///
    /// # Errors
    /// When the initial model or the arguments are not for this trainer.
    fn start(job: &mut Job, data: Self::Data) -> Result<Self, Error>;

    /// Learns for a while: some seconds at most, so that a dispute can replay a single step.
    ///
    /// # Errors
    /// When training cannot go on; the run fails then.
    fn step(&mut self, job: &mut Job) -> Result<Step, Error>;

    /// Writes the results.
    ///
    /// # Errors
    /// When they cannot be written; the run fails then.
    fn finish(self, job: &mut Job) -> Result<(), Error>;
}

/// Whether a trainer needs another step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// There is more to learn.
    More,
    /// This was the last step.
    Done,
}
