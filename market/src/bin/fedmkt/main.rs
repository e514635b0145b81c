//! The `fedmkt` command: making jobs, looking into them, and the block store.
//!
//! `main` reads the arguments and turns an error into a sentence and an exit code; each command is a module. Results go
//! to standard output and nothing else does, so that scripts can use them; all else goes to standard error.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Parser;
use fedmkt_market::settings::{Flags, Settings};
use fedmkt_runtime::backends::Backends;
use fedmkt_runtime::message::{note, sentence};
use fedmkt_store::job::JobError;
use fedmkt_store::{CachedStore, StoreError};

mod backup;
mod build;
mod bytes;
mod challenge;
mod check;
mod cli;
mod defend;
mod devnet;
mod exec;
mod inspect;
mod job_file;
mod jobs;
mod module;
mod new;
mod node_json;
mod offer;
mod publish;
mod report;
mod self_check;
mod store;
mod work;

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
    // This program's processes may be workers, which know only this.
    fedmkt_runtime::worker::enter();
    let arguments = cli::Arguments::parse();
    let done = match arguments.command {
        // The program writes to standard output from a thread of its own.
        cli::Command::Exec(arguments) => exec::run(&arguments),
        command => {
            let mut out = io::stdout().lock();
            run(arguments.store, &arguments.backends, arguments.chain, command, &mut out)
                .and_then(|()| Ok(out.flush()?))
                .map(|()| ExitCode::SUCCESS)
        }
    };
    match done {
        Ok(code) => code,
        Err(error) if error.is::<Refused>() => ExitCode::from(cli::REFUSED),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("error: {}", sentence(&error)));
            ExitCode::from(cli::FAILED)
        }
    }
}

fn run(
    place: Option<PathBuf>,
    backends: &Backends,
    flags: Flags,
    command: cli::Command,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    match command {
        cli::Command::Exec(_) => unreachable!("it writes for itself"),
        cli::Command::New(arguments) => new::run(&arguments, out),
        cli::Command::Build(arguments) => build::run(&arguments, out),
        cli::Command::Check(arguments) => check::run(&arguments, out),
        cli::Command::Publish(arguments) => in_store(place, backends, |store| publish::run(&arguments, store, out)),
        cli::Command::Inspect(arguments) => in_store(place, backends, |store| inspect::run(&arguments, store, out)),
        cli::Command::Report(arguments) => in_store(place, backends, |store| report::run(&arguments, store, out)),
        cli::Command::Config(config) => fedmkt_market::settings::run(&config, flags, out),
        cli::Command::Wallet(wallet) => fedmkt_market::wallet::run(&wallet, flags, out),
        cli::Command::Job(command) => {
            let settings = Settings::read(flags)?;
            in_store(place, backends, |store| jobs::run(&command, &settings, store, out))
        }
        cli::Command::Accept(arguments) => {
            let settings = Settings::read(flags)?;
            in_store(place, backends, |store| work::accept(&arguments, &settings, store, out))
        }
        cli::Command::Submit(arguments) => {
            let settings = Settings::read(flags)?;
            in_store(place, backends, |store| work::submit(&arguments, &settings, store, out))
        }
        cli::Command::Disclose(arguments) => {
            let settings = Settings::read(flags)?;
            in_store(place, backends, |store| work::disclose(&arguments, &settings, store, out))
        }
        cli::Command::Status(arguments) => work::status(&arguments, &Settings::read(flags)?, out),
        cli::Command::Claim(arguments) => work::claim(&arguments, &Settings::read(flags)?, out),
        cli::Command::Defend(arguments) => {
            let settings = Settings::read(flags)?;
            in_store(place, backends, |store| defend::run(&arguments, &settings, store, out))
        }
        cli::Command::Challenge(command) => challenge::run(&command, &Settings::read(flags)?, out),
        cli::Command::Leaves(arguments) => {
            in_store(place, backends, |store| defend::compute(&arguments, store.folder(), out))
        }
        cli::Command::Devnet(devnet) => devnet::run(&devnet, flags.rpc.as_deref(), out),
        cli::Command::Backup(arguments) => {
            let settings = Settings::read(flags)?;
            in_store(place, backends, |store| backup::run(&arguments, &settings, store.folder(), out))
        }
        cli::Command::Store(command) => in_store(place, backends, |store| store::run(command, store, out)),
    }
}

/// Does something with the store in this folder; says which store it was when a block is not in it.
fn in_store(
    place: Option<PathBuf>,
    backends: &Backends,
    work: impl FnOnce(&CachedStore) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let store = backends.before(store::open(place)?)?;
    work(&store).map_err(|error| match is_missing(&error) {
        true => {
            let folder = store.folder().folder().display();
            anyhow!(
                "{}\n  the store is {folder}; --store names another, --ipfs and --gateway where to get it",
                sentence(&error)
            )
        }
        false => error,
    })
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        matches!(cause.downcast_ref(), Some(StoreError::Missing(_)))
            || matches!(cause.downcast_ref(), Some(JobError::Store(StoreError::Missing(_))))
    })
}

/// Whoever read our output has read enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}
