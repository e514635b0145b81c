//! The two ways in which a trainer is called, and what it answers.
//!
//! [`trainer!`](crate::trainer) exports `fedmkt_init` and `fedmkt_step`, which the fedmkt runtime calls one by one, and
//! defines `main`, from which the compiler makes `_start`. Both drive the same [`Run`].

use std::process::ExitCode;

use crate::error::Kind;
use crate::{Error, Job, Step, Trainer};

/// There are more steps.
pub const MORE: i32 = 0;
/// The run is finished and its results are written.
pub const DONE: i32 = 1;
/// The data does not fit the trainer.
pub const REFUSED: i32 = 2;
/// The trainer could not go on.
pub const FAILED: i32 = 3;

/// A trainer at work, between its steps.
pub struct Run<T: Trainer> {
    job: Job,
    trainer: Option<T>,
}

impl<T: Trainer> Run<T> {
    /// Step 0: checks the data and starts from the model.
    ///
    /// # Errors
    /// What the trainer returns.
    pub fn begin(mut job: Job) -> Result<Self, Error> {
        job.limit_metrics(T::MOST_METRICS_BYTES);
        let data = T::check(&job)?;
        let trainer = Some(T::start(&mut job, data)?);
        Ok(Self { job, trainer })
    }

    /// One more step. In the last one the results are written; after it, nothing happens any more.
    ///
    /// # Errors
    /// What the trainer returns.
    pub fn step(&mut self) -> Result<Step, Error> {
        let Some(trainer) = &mut self.trainer else { return Ok(Step::Done) };
        self.job.begin_step();
        let step = trainer.step(&mut self.job)?;
        if step == Step::Done {
            self.trainer.take().expect("there before").finish(&mut self.job)?;
        }
        Ok(step)
    }

    /// Steps until there are no more.
    ///
    /// # Errors
    /// What the trainer returns.
    pub fn finish(&mut self) -> Result<(), Error> {
        while self.step()? == Step::More {}
        Ok(())
    }

    /// The trainer, until it is done.
    pub fn trainer(&self) -> Option<&T> {
        self.trainer.as_ref()
    }
}

/// The job in which this process runs.
///
/// In the sandbox it lies at `/`; natively in the folder that the environment variable `FEDMKT_ROOT` names.
fn process_job() -> Result<Job, Error> {
    let arguments = std::env::args().skip(1);
    if cfg!(target_arch = "wasm32") {
        return Ok(Job::in_folder("/", arguments));
    }
    match std::env::var_os("FEDMKT_ROOT") {
        Some(root) => Ok(Job::in_folder(root, arguments)),
        None => Err(Error::failed(
            "to run a trainer natively, set FEDMKT_ROOT to a folder with job/model, data, out and tmp",
        )),
    }
}

/// The code for how a step ended. The text of an error goes to standard error.
fn code(ended: Result<Step, Error>) -> i32 {
    match ended {
        Ok(Step::More) => MORE,
        Ok(Step::Done) => DONE,
        Err(error) => {
            eprintln!("{error}");
            match error.kind() {
                Kind::Refused => REFUSED,
                Kind::Failed => FAILED,
            }
        }
    }
}

/// What `fedmkt_init` does; part of [`trainer!`](crate::trainer).
#[doc(hidden)]
pub fn init<T: Trainer>(slot: &mut Option<Run<T>>) -> i32 {
    #[cfg(target_arch = "wasm32")]
    {
        unsafe extern "C" {
            fn __wasm_call_ctors();
        }
        // SAFETY: `_start` would call the module's constructors; the runtime calls this function instead of it, once.
        unsafe { __wasm_call_ctors() };
    }
    code(process_job().and_then(Run::begin).map(|run| {
        *slot = Some(run);
        Step::More
    }))
}

/// What `fedmkt_step` does; part of [`trainer!`](crate::trainer).
#[doc(hidden)]
pub fn step<T: Trainer>(slot: &mut Option<Run<T>>) -> i32 {
    code(match slot {
        Some(run) => run.step(),
        None => Err(Error::failed("fedmkt_step was called before fedmkt_init")),
    })
}

/// What `main` does; part of [`trainer!`](crate::trainer).
#[doc(hidden)]
pub fn main<T: Trainer>() -> ExitCode {
    let ended = process_job().and_then(Run::<T>::begin).and_then(|mut run| run.finish());
    match code(ended.map(|()| Step::Done)) {
        DONE => ExitCode::SUCCESS,
        failure => ExitCode::from(failure as u8),
    }
}

/// Makes a binary crate the trainer of this type, which implements [`Trainer`](crate::Trainer).
///
/// On WebAssembly it exports the steps of the fedmkt runtime beside `_start`. The exit code of `_start`, and of the
/// program when it is built natively, is 0 when the results are written, 2 when the data does not fit, 3 otherwise.
#[macro_export]
macro_rules! trainer {
    ($trainer:ty) => {
        #[cfg(target_arch = "wasm32")]
        ::std::thread_local! {
            static FEDMKT_RUN: ::core::cell::RefCell<::core::option::Option<$crate::Run<$trainer>>> =
                const { ::core::cell::RefCell::new(::core::option::Option::None) };
        }

        #[cfg(target_arch = "wasm32")]
        #[unsafe(no_mangle)]
        extern "C" fn fedmkt_init() -> i32 {
            FEDMKT_RUN.with_borrow_mut($crate::abi::init)
        }

        #[cfg(target_arch = "wasm32")]
        #[unsafe(no_mangle)]
        extern "C" fn fedmkt_step() -> i32 {
            FEDMKT_RUN.with_borrow_mut($crate::abi::step)
        }

        fn main() -> ::std::process::ExitCode {
            $crate::abi::main::<$trainer>()
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts to its argument, records each number, and writes the last.
    struct Counter(u64);

    impl Trainer for Counter {
        type Data = u64;
        const MOST_METRICS_BYTES: u64 = 60;

        fn check(job: &Job) -> Result<u64, Error> {
            job.arguments()[0].parse().map_err(|_| Error::refused("not a number"))
        }

        fn start(job: &mut Job, last: u64) -> Result<Self, Error> {
            assert_eq!(job.step(), 0);
            Ok(Self(last))
        }

        fn step(&mut self, job: &mut Job) -> Result<Step, Error> {
            job.metric("count", job.step() as f64)?;
            Ok(if job.step() < self.0 { Step::More } else { Step::Done })
        }

        fn finish(self, job: &mut Job) -> Result<(), Error> {
            job.write_result("count", self.0.to_string().as_bytes())
        }
    }

    fn run(folder: &std::path::Path, last: &str) -> Result<Run<Counter>, Error> {
        std::fs::create_dir_all(folder.join("out")).expect("a folder");
        Run::begin(Job::in_folder(folder, [last.to_string()]))
    }

    #[test]
    fn steps_end_with_the_results_and_nothing_happens_after() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut run = run(folder.path(), "3").expect("begun");
        let result = folder.path().join("out/count");
        assert_eq!([run.step(), run.step()], [Ok(Step::More), Ok(Step::More)]);
        assert!(run.trainer().is_some() && !result.exists());
        assert_eq!(run.step(), Ok(Step::Done));
        assert_eq!(std::fs::read(&result).expect("a result"), b"3");
        std::fs::remove_file(&result).expect("removed");
        assert_eq!(run.step(), Ok(Step::Done));
        assert!(run.trainer().is_none() && !result.exists());
    }

    #[test]
    fn codes_tell_whose_matter_an_end_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let begin = |last| code(run(folder.path(), last).map(|_| Step::More));
        assert_eq!((begin("3"), begin("x")), (MORE, REFUSED));
        // The metrics of ten steps are longer than this trainer allows.
        let flood = run(folder.path(), "10").and_then(|mut run| run.finish());
        assert_eq!(code(flood.map(|()| Step::Done)), FAILED);
        assert_eq!(code(Ok(Step::Done)), DONE);
        assert_eq!(step::<Counter>(&mut None), FAILED);
    }
}
