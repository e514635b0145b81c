//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use fedmkt_core::manifest::is_grant_name;
use fedmkt_core::roots::RunId;
use fedmkt_runtime::backends::Backends;
use fedmkt_runtime::job::Reference;

const EXAMPLES: &str = "\
Examples:
  Look at what a job asks for, agree, and run it on the files in `patients`:
      fedmkt-run bafyrei... --grant data=patients

  The same, and get from IPFS what your store lacks:
      fedmkt-run bafyrei... --grant data=patients --gateway https://gateway.example

  A job that came as a file, results into `result`, no questions, one JSON object at the end:
      fedmkt-run job.car --grant data=patients --out result --yes --json

  A job of the market: accept it, run it, and submit the results; later `fedmkt claim` collects:
      fedmkt-run bafyrei... --grant data=patients --accept --submit --self-check

Ctrl-C is safe: the same command goes on where it stopped.

Exit codes:
  0    done, the results are there
  1    something on this computer failed; the same command goes on
  2    the command line is wrong
  3    the job is damaged, not all there, or not allowed by the profile
  4    the data does not fit the job, or changed while a slot was taken for it
  5    you did not agree
  6    the trainer failed; the receipt says how
  7    a limit of this computer was reached (time of a step, memory, a missing wall with
       --require-isolation); there is no result
  8    the market: it was not accepted or submitted; what is said tells whether the same command goes on
  130  interrupted; the same command goes on

Environment:
  FEDMKT_HOME             where identity, caches and checkpoints are kept (default: ~/.fedmkt)
  FEDMKT_PROGRAM          the program `fedmkt`, which accepts and submits (default: beside this one, else on the PATH)
  FEDMKT_PASSPHRASE_FILE  a file with the passphrase of your identity (default: asked for)
  FEDMKT_IPFS             as --ipfs
  FEDMKT_GATEWAYS         as --gateway, several separated by commas";

/// Trains a sponsor's model on your data. The data stays here; only the results may leave.
#[derive(Parser, Debug)]
#[command(name = "fedmkt-run", version, after_long_help = EXAMPLES, after_help = "More and examples: --help")]
pub struct Arguments {
    /// The job: a CID, an `ipfs://` URI, or a CAR archive
    pub job: Reference,

    /// What the job may read: the name that the job gives it, and a folder or file
    #[arg(long, value_name = "NAME=PATH", value_parser = grant)]
    pub grant: (String, PathBuf),

    /// Where results are written [default: `fedmkt-` and the run's first digits, here]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// The block store [default: `store` in the home]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,

    /// Take a slot of the job in the market first; what is asked then is asked by `fedmkt accept`
    #[arg(long, conflicts_with = "run_id")]
    pub accept: bool,

    /// Submit the results to the market
    #[arg(long, requires = "accept")]
    pub submit: bool,

    /// Replay a random step of the run in a machine before it is submitted; takes `fedmkt-verify`
    #[arg(long, requires = "submit")]
    pub self_check: bool,

    /// The job's id in the market, when its CID was posted more than once
    #[arg(long, value_name = "ID", requires = "accept")]
    pub offer: Option<String>,

    /// The run of a slot that `fedmkt accept` has taken
    #[arg(long, value_name = "ID", value_parser = run_id)]
    pub run_id: Option<RunId>,
    #[command(flatten)]
    pub backends: Backends,

    /// Agree without being asked
    #[arg(long, short)]
    pub yes: bool,

    /// Print one JSON object on standard output at the end
    #[arg(long)]
    pub json: bool,

    /// Show what the trainer prints
    #[arg(long)]
    pub log: bool,

    /// Refuse to run where the system cannot lock the trainer's process in (seccomp, Landlock)
    #[arg(long)]
    pub require_isolation: bool,

    /// Seconds between checkpoints
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub checkpoint_every: Duration,
}

fn grant(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if is_grant_name(name) && !path.is_empty() => Ok((name.to_owned(), path.into())),
        _ => Err("expected NAME=PATH, for example `data=patients`".into()),
    }
}

fn run_id(text: &str) -> Result<RunId, String> {
    text.parse().map_err(|_| "expected 0x and 64 hexadecimal digits".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
