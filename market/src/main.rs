//! The `fedmkt` command: making jobs, looking into them, and the block store.
//!
//! `main` reads the arguments and turns an error into a sentence and an exit code; each command is a module. Results go
//! to standard output and nothing else does, so that scripts can use them; all else goes to standard error.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

mod bytes;
mod check;
mod cli;
mod inspect;
mod job_file;
mod module;
mod node_json;
mod publish;
mod store;
mod terminal;

/// What was asked about is understood, and is not as it should be. Everything there is to say has been said.
#[derive(Debug)]
struct Refused;

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let mut out = io::stdout().lock();
    match run(arguments, &mut out).and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Refused>() => ExitCode::from(cli::REFUSED),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", terminal::shown(&chain(&error)));
            ExitCode::from(cli::FAILED)
        }
    }
}

fn run(arguments: cli::Arguments, out: &mut dyn Write) -> anyhow::Result<()> {
    let location = arguments.store;
    match arguments.command {
        cli::Command::Publish(arguments) => publish::run(&arguments, &store::open(location)?, out),
        cli::Command::Inspect(arguments) => inspect::run(&arguments, &store::open(location)?, out),
        cli::Command::Check(arguments) => check::run(&arguments, out),
        cli::Command::Store(command) => store::run(command, &store::open(location)?, out),
    }
}

/// An error and its causes, each only if what stands before does not say it already.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Whoever read our output has read enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}
