//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use fedmkt_core::manifest::is_grant_name;
use fedmkt_runtime::job::Reference;

const EXAMPLES: &str = "\
Examples:
  What can this computer verify with?
      fedmkt-verify doctor

  Recompute a run on the same data, and compare:
      fedmkt-verify replay bafyrei... --grant data=patients

  Replay three random steps in a machine, the Cartesi Machine if it is here, else QEMU:
      fedmkt-verify audit receipt.car --capsule capsule --random 3

  The machine's hashes for a contract:
      fedmkt-verify hash bafyrei... --step 12 --grant data=patients

Exit codes:
  0    identical
  1    something on this computer failed; nothing was shown
  2    the command line is wrong
  3    different
  4    inconclusive: the receipt, the job or the data cannot be used to tell
  130  interrupted; a replay in the Cartesi Machine goes on from its last snapshot

Environment:
  FEDMKT_HOME             where jobs, checkpoints and snapshots are kept (default: ~/.fedmkt)
  FEDMKT_CARTESI          the Cartesi Machine's JSON-RPC server (default: cartesi-jsonrpc-machine on PATH)
  FEDMKT_REPLAYER         the replayer's image (default: beside this program)
  FEDMKT_PASSPHRASE_FILE  a file with the passphrase of your identity, for data of your own that is not open";

/// Shows whether a receipt is true: recomputes runs, and replays single steps in a machine.
#[derive(Parser, Debug)]
#[command(name = "fedmkt-verify", version, after_long_help = EXAMPLES, after_help = "More and examples: --help")]
pub struct Arguments {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Recompute a run, or part of it, and compare it with its receipt
    Replay(Replay),
    /// The machine's hash before and after a step
    Hash(Hash),
    /// Replay random steps of a run in a machine
    Audit(Audit),
    /// What this computer can verify with
    Doctor,
    /// The templates of a replayer's image, for a release; takes the Cartesi Machine
    #[command(hide = true)]
    Template(Image),
}

/// The receipt and its data.
#[derive(Args, Debug)]
pub struct Subject {
    /// The receipt: a CID, an `ipfs://` URI, or a CAR archive
    pub receipt: Reference,

    /// The data: the name that the job gives it, and the folder or file
    #[arg(long, value_name = "NAME=PATH", value_parser = grant, required_unless_present = "capsule")]
    pub grant: Option<(String, PathBuf)>,

    /// The capsule that the client disclosed, instead of the data
    #[arg(long, value_name = "FILE", conflicts_with = "grant")]
    pub capsule: Option<PathBuf>,

    /// The block store [default: `store` in the home]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,

    /// Print one JSON object on standard output at the end
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Replay {
    #[command(flatten)]
    pub subject: Subject,

    /// This segment only, counted from 0
    #[arg(long, value_name = "K", conflicts_with = "step")]
    pub segment: Option<u64>,

    /// This step only, counted from 0
    #[arg(long, value_name = "J")]
    pub step: Option<u64>,

    /// Where steps are executed
    #[arg(long, value_enum, default_value = "native")]
    pub engine: Engine,

    /// The client's folder of this run, whose checkpoints are compared as well [default: the one in the home, if there
    /// is one]
    #[arg(long, value_name = "DIR")]
    pub checkpoints: Option<PathBuf>,

    #[command(flatten)]
    pub image: Image,
}

#[derive(Args, Debug)]
pub struct Hash {
    #[command(flatten)]
    pub subject: Subject,

    /// The step, counted from 0
    #[arg(long, value_name = "J")]
    pub step: u64,

    #[command(flatten)]
    pub image: Image,
}

#[derive(Args, Debug)]
pub struct Audit {
    #[command(flatten)]
    pub subject: Subject,

    /// How many steps
    #[arg(long, value_name = "N")]
    pub random: u64,

    /// Where steps are replayed [default: the Cartesi Machine if it is here, else QEMU]
    #[arg(long, value_enum)]
    pub engine: Option<Engine>,

    #[command(flatten)]
    pub image: Image,
}

#[derive(Args, Debug)]
pub struct Image {
    /// The replayer's image
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
}

/// Where steps are executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Engine {
    /// The engine of `fedmkt-run`
    Native,
    /// The replayer in QEMU
    Qemu,
    /// The replayer in the Cartesi Machine
    Cartesi,
}

fn grant(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if is_grant_name(name) && !path.is_empty() => Ok((name.to_owned(), path.into())),
        _ => Err("expected NAME=PATH, for example `data=patients`".into()),
    }
}
