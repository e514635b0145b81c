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
