//! `fedmkt-verify`: shows whether a receipt is true, and watches a market.

mod arguments;
mod doctor;
mod inputs;
mod machines;
mod progress;
mod replay;
mod tell;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use fedmkt_runtime::message::{note, sentence};
use fedmkt_runtime::worker;

use arguments::{Arguments, Command};

/// How the command ends, unless it succeeds; its number is the exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Exit {
    Host = 1,
    Usage = 2,
    Different = 3,
    Inconclusive = 4,
    Interrupted = 130,
}

/// Why the command ends without success.
struct Ended(Exit, anyhow::Error);

type Outcome<T> = Result<T, Ended>;

/// Says with which code an error ends the command.
trait OrExit<T> {
    fn or_exit(self, exit: Exit) -> Outcome<T>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Outcome<T> {
        self.map_err(|error| Ended(exit, error.into()))
    }
}

fn main() -> ExitCode {
    worker::enter();
    let done = match Arguments::parse().command {
        Command::Replay(arguments) => replay::replay(&arguments),
        Command::Hash(arguments) => replay::hash(&arguments),
        Command::Audit(arguments) => replay::audit(&arguments),
        Command::Watch(arguments) => watch::watch(&arguments),
        Command::Stake(arguments) => watch::stake(&arguments),
        Command::Auditor(arguments) => watch::auditor(&arguments),
        Command::Status(arguments) => tell::status(&arguments),
        Command::History(arguments) => tell::history(&arguments),
        Command::Explain(arguments) => tell::explain(&arguments),
        Command::Doctor => doctor::doctor(),
        Command::Template(arguments) => doctor::template(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Ended(exit, error)) => {
            let word = match exit {
                Exit::Different => "different",
                Exit::Inconclusive => "inconclusive",
                _ => "error",
            };
            // What strangers have written may be in it.
            note(&format!("{word}: {}", sentence(&error)));
            ExitCode::from(exit as u8)
        }
    }
}
