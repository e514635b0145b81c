//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use alloy::primitives::{Address, B256};
use clap::{Args, Parser, Subcommand, ValueEnum};
use fedmkt_core::manifest::is_grant_name;
use fedmkt_market::settings::Flags;
use fedmkt_runtime::backends::Backends;
use fedmkt_runtime::job::Reference;
use serde::{Deserialize, Serialize};

const EXAMPLES: &str = "\
Examples:
  What can this computer verify with?
      fedmkt-verify doctor

  Recompute a run on the same data, and compare:
      fedmkt-verify replay bafyrei... --grant data=patients

  Replay three random steps in a machine, the Cartesi Machine if it is here, else QEMU:
      fedmkt-verify audit receipt.car --capsule capsule --random 3

  Watch a market, challenge what is wrong, and see what was done:
      fedmkt-verify watch --gateway https://gateway.example
      fedmkt-verify status

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
  FEDMKT_REPLAYER         the replayer's image (default: beside this program, or what `cargo xtask machine` made)
  FEDMKT_PASSPHRASE_FILE  a file with the passphrase of your identity, for data of your own that is not open, or of an auditor's
                          key
  FEDMKT_WALLET_PASSWORD_FILE
                          a file with the wallet's password, for watch and stake";

/// Shows whether a receipt is true: recomputes runs, and replays single steps in a machine. Watches a market.
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
    /// Watch a market: make runs again, challenge what is not as claimed, vote in committees
    Watch(Watch),
    /// Put up a stake in a committee, or take it back
    Stake(Stake),
    /// The key by which clients disclose data to this verifier
    Auditor(Auditor),
    /// What the watching verifier has found and what is open
    Status(Told),
    /// What the watching verifier did
    History(History),
    /// Why the watching verifier challenged, and what came of it
    Explain(Explain),
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

    /// Where steps are replayed; not `native`
    #[arg(long, value_enum, default_value = "machine")]
    pub engine: Engine,

    #[command(flatten)]
    pub image: Image,
}

#[derive(Args, Debug)]
pub struct Image {
    /// The replayer's image
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
}

/// Where the watching verifier keeps what it knows, and how it is told.
#[derive(Args, Debug)]
pub struct DataFolder {
    /// The verifier's data folder [default: `watch` in the home]
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Print one JSON value on standard output
    #[arg(long, global = true)]
    pub json: bool,
}

/// Watch a market: make runs again, challenge what is not as claimed, vote in committees
///
/// Goes on where it was ended, whenever that was.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  fedmkt config set rpc https://rpc.example       # once; also chain-id and market
  fedmkt wallet new
  fedmkt-verify watch --gateway https://gateway.example
  fedmkt-verify watch --policy policy.toml --data /srv/verifier --http 127.0.0.1:9650

The account needs coins for gas, and tokens for the bonds of challenges. Nothing is challenged before the policy names arbitrators
whose rulings you trust (`challenge.arbitrators`, or `committee.contracts` where you are a member).")]
pub struct Watch {
    /// What is checked, put up and voted on [default: `policy.toml` in the data folder; without one, everything open is checked and
    /// nothing challenged]
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,

    #[command(flatten)]
    pub place: DataFolder,

    /// The block store [default: `store` in the data folder]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,

    /// Answer /healthz and /metrics at this address of this computer
    #[arg(long, value_name = "IP:PORT")]
    pub http: Option<SocketAddr>,

    /// Seconds between looks at the chain
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub pause: u64,

    /// How much is logged on standard error: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: tracing::Level,

    #[command(flatten)]
    pub backends: Backends,

    #[command(flatten)]
    pub market: Flags,
}

/// Put up a stake in a committee, or take it back
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  fedmkt-verify stake --committee 0x... show --json              # seat_stake: what a seat needs, in the token's smallest unit
  fedmkt-verify stake --committee 0x... add 1000 --seats 2
  fedmkt-verify stake --committee 0x... withdraw 500 --seats 1   # gives up a seat, and asks for the stake
  fedmkt-verify stake --committee 0x... withdraw                 # fetches it, after the committee's longestAnswer

End `fedmkt-verify watch` first if it is at work with the same account. What was interrupted goes on with the same command.")]
pub struct Stake {
    /// What to do
    #[command(subcommand)]
    pub change: Change,

    /// The committee's contract
    #[arg(long, value_name = "ADDRESS")]
    pub committee: Address,

    #[command(flatten)]
    pub place: DataFolder,

    #[command(flatten)]
    pub market: Flags,
}

/// The key by which clients disclose data to this verifier
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  fedmkt-verify auditor new     # makes a key, and prints the recipient that belongs to it
  fedmkt-verify auditor show    # prints all recipients

Sponsors name the recipient in the manifests of audited jobs (`auditors` in [disclosure]), and the account of the wallet in
what they post (`fedmkt job post --auditor`). The key is `auditor.age` in the data folder, encrypted with a passphrase, which
comes from the terminal or the file that FEDMKT_PASSPHRASE_FILE names. `fedmkt-verify watch` asks for it when it begins.
An age identity file of your own can be used: `age -p -o auditor.age KEYS`. Without the key nothing can be audited: keep a
copy.")]
pub struct Auditor {
    /// What to do
    #[command(subcommand)]
    pub act: AuditorAct,

    #[command(flatten)]
    pub place: DataFolder,
}

#[derive(Subcommand, Clone, Copy, Debug)]
pub enum AuditorAct {
    /// Make a key
    New,
    /// Show the recipients of the keys that there are
    Show,
}

#[derive(Subcommand, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Change {
    /// Show stake and seats
    Show,
    /// Put up more, and take seats
    Add {
        /// How much, in the token's smallest unit
        amount: u128,
        /// How many seats to take
        #[arg(long, default_value_t = 0)]
        seats: u64,
    },
    /// Give up seats, ask for stake back, and fetch what has left
    Withdraw {
        /// How much, in the token's smallest unit
        amount: Option<u128>,
        /// How many seats to give up
        #[arg(long, default_value_t = 0)]
        seats: u64,
    },
}

/// What the watching verifier has found and what is open
#[derive(Args, Debug)]
pub struct Told {
    #[command(flatten)]
    pub place: DataFolder,

    /// What has ended, too
    #[arg(long)]
    pub all: bool,
}

/// What the watching verifier did
#[derive(Args, Debug)]
pub struct History {
    #[command(flatten)]
    pub place: DataFolder,

    /// So many of the last events
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub last: usize,
}

/// Why the watching verifier challenged, and what came of it
#[derive(Args, Debug)]
pub struct Explain {
    /// A challenge, a question or a slot
    pub id: B256,

    #[command(flatten)]
    pub place: DataFolder,
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
    /// The Cartesi Machine if it is here, else QEMU
    Machine,
}

fn grant(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if is_grant_name(name) && !path.is_empty() => Ok((name.to_owned(), path.into())),
        _ => Err("expected NAME=PATH, for example `data=patients`".into()),
    }
}
