//! The arguments, their help, and the exit codes.

use std::ffi::OsString;
use std::path::PathBuf;

use cid::Cid;
use clap::{Args, Parser, Subcommand};

use fedmkt_market::settings::{self, Flags};
use fedmkt_market::wallet;
use fedmkt_runtime::backends::Backends;

use crate::bytes::Bytes;
use crate::{backup, challenge, defend, devnet, jobs, work};

/// Exit code: what was asked about is not as it should be.
pub const REFUSED: u8 = 1;
/// Exit code: the command could not be carried out.
pub const FAILED: u8 = 3;
/// Exit code of `exec`: the program trapped. As a shell says of a process that aborts.
pub const TRAPPED: u8 = 134;

const AFTER_HELP: &str = "\
Examples:
  fedmkt check target/wasm32-wasip1/trainer/logistic-regression.wasm
  fedmkt publish job.toml
  fedmkt inspect bafyrei...
  fedmkt exec program.wasm --dir /work=folder -- --help
  fedmkt store export bafyrei... --output job.car
  fedmkt job list

Exit codes:
  0  done
  1  what was looked at is not as it should be: a module or job is refused, a store is damaged, results are wrong
  2  the arguments are wrong
  3  it could not be done: a file cannot be read or written, a block is not in the store
Those of exec are the program's; its help tells more.

Environment:
  FEDMKT_HOME  folder of fedmkt's files and of nothing else; ~/.fedmkt if it is not set. The store is in its subfolder store.
  FEDMKT_IPFS, FEDMKT_GATEWAYS  as --ipfs and --gateway, several gateways separated by commas
  FEDMKT_WALLET_PASSWORD_FILE  a file with the wallet's password
  FEDMKT_PASSPHRASE_FILE  a file with the passphrase of your identity, for accept
  Settings of the market have variables of their own: see `fedmkt config`.";

/// Make, look into and keep training jobs.
#[derive(Parser)]
#[command(name = "fedmkt", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct Arguments {
    /// The folder of the block store [default: $FEDMKT_HOME/store, else ~/.fedmkt/store]
    #[arg(long, global = true, value_name = "DIR")]
    pub store: Option<PathBuf>,
    #[command(flatten)]
    pub chain: Flags,
    #[command(flatten)]
    pub backends: Backends,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    New(New),
    Build(Build),
    Publish(Publish),
    Inspect(Inspect),
    Check(Check),
    Report(Report),
    Exec(Exec),
    /// Work with the block store: jobs, models, results and receipts, each under its CID
    #[command(subcommand, arg_required_else_help = true)]
    Store(Store),
    /// Offer rewards for jobs in the market, look at offers, and get and approve results
    #[command(subcommand, arg_required_else_help = true)]
    Job(jobs::Command),
    Accept(work::Accept),
    Submit(work::Submit),
    Disclose(work::Disclose),
    Status(work::Status),
    Claim(work::Claim),
    Defend(defend::Defend),
    /// Look at disputes, dispute a submission, and end what is overdue
    #[command(subcommand, arg_required_else_help = true)]
    Challenge(challenge::Command),
    #[command(hide = true)]
    Leaves(defend::Leaves),
    /// Keep keys of accounts, encrypted, and look at what they have
    #[command(subcommand, arg_required_else_help = true)]
    Wallet(wallet::Wallet),
    Config(settings::Config),
    Backup(backup::Backup),
    Devnet(devnet::Devnet),
}

/// Make a trainer crate to begin with: code, a test, an initial model, a job file and a README
#[derive(Args)]
#[command(after_help = "\
Examples:
  fedmkt new my-trainer
  cd my-trainer && cargo test && fedmkt build")]
pub struct New {
    /// The folder to make; its name is the trainer's
    #[arg(value_name = "NAME")]
    pub folder: PathBuf,
    /// The trainer's name, when it is not the folder's
    #[arg(long)]
    pub name: Option<String>,
    /// The guest SDK's folder [default: that of a checkout around the new folder, else the repository]
    #[arg(long, value_name = "DIR")]
    pub sdk: Option<PathBuf>,
}

/// Compile a trainer crate to a module, and check it
///
/// The same sources and the same compiler give the same bytes on any machine, unless a dependency is a folder elsewhere on
/// this one.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fedmkt build
  fedmkt build sample-trainers/logistic-regression --json | jq -r .module

Needs a Rust compiler for wasm32-wasip1: rustup target add wasm32-wasip1, or RUSTC set to one that has it.
Ends with exit code 1 when the module is refused.")]
pub struct Build {
    /// The crate's folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
    /// Linear memory that the job will allow
    #[arg(long, value_name = "SIZE", default_value = "512MiB")]
    pub memory: Bytes,
    /// Print one object with module, cid, bytes, check and notes
    #[arg(long)]
    pub json: bool,
}

/// Make a job from a job file, keep it in the store and print its CID
///
/// The module is checked as `fedmkt check` does, and everything that is wrong is reported at once. Nothing is printed
/// on standard output but the CID.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fedmkt publish job.toml
  fedmkt publish job.toml --ipfs http://127.0.0.1:5001     # upload it as well
  fedmkt publish job.toml --json | jq -r .job_root

A job file:
  name = \"my-trainer\"
  description = \"What is trained, and what for.\"  # optional
  trainer = \"my-trainer.wasm\"            # paths are relative to this file
  model = \"initial.safetensors\"          # a file or a folder
  arguments = []                         # optional
  steps-per-segment = 32                 # optional: else limits.steps / 32, rounded up
  [data]
  name = \"data\"                          # as in --grant data=DIR
  format = \"csv\"
  columns = [\"age\", \"outcome\"]           # optional
  least-rows = 100                       # optional
  most-bytes = 16777216
  [limits]
  memory = 67108864                      # bytes
  steps = 1000
  output = 1048576                       # bytes
  scratch = 0                            # bytes; optional
  open-files = 16                        # optional
  step-seconds = 60
  [[results]]
  name = \"weights.safetensors\"
  most-bytes = 65536
  [machine]
  class = \"S\"                            # S, M or L
  [disclosure]
  kind = \"open\"                          # open, private, or audited: with auditors, and per-million (else 100000)")]
pub struct Publish {
    /// The job file
    #[arg(value_name = "JOB.toml")]
    pub file: PathBuf,
    /// Print an object with job, trainer, model, job_root and notes
    #[arg(long)]
    pub json: bool,
}

/// Show a job, a receipt or any other block
#[derive(Args)]
#[command(after_help = "\
Examples:
  fedmkt inspect bafyrei...
  fedmkt inspect ipfs://bafyrei... --json | jq .node.limits

With --json, links stand as CIDs and bytes as 0x and hexadecimal digits.")]
pub struct Inspect {
    /// A CID, or ipfs://CID
    #[arg(value_parser = cid)]
    pub cid: Cid,
    /// Print one object
    #[arg(long)]
    pub json: bool,
}

/// Check whether a module may run as a trainer, and say all that speaks against it
#[derive(Args)]
#[command(after_help = "\
Examples:
  fedmkt check trainer.wasm
  fedmkt check trainer.wasm --memory 64MiB --json

Ends with exit code 1 when the module is refused.")]
pub struct Check {
    /// The module
    #[arg(value_name = "MODULE.wasm")]
    pub module: PathBuf,
    /// Linear memory that the job will allow
    #[arg(long, value_name = "SIZE", default_value = "512MiB")]
    pub memory: Bytes,
    /// Print one object
    #[arg(long)]
    pub json: bool,
}

/// Write a receipt as one HTML page: what ran on what, what it may do, curves, results, hashes
///
/// The page needs nothing else and loads nothing. Curves come from the result file metrics.csv.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fedmkt report bafyrei...
  fedmkt report bafyrei... --output run.html")]
pub struct Report {
    /// A receipt's CID, or ipfs://CID
    #[arg(value_name = "RECEIPT_CID", value_parser = cid)]
    pub receipt: Cid,
    /// The page; - is standard output [default: CID.html]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Run a WASI program in the sandbox of jobs, without a job
///
/// The program is admitted as a trainer is and sees the same clocks, randomness and file system: what it does here it
/// does in a job. Folders are copied into the sandbox, where the program may change them; the host's stay as they are
/// without --write-back. For trying out trainers, and for conformance tests.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fedmkt exec program.wasm -- --verbose file.txt < input
  fedmkt exec program.wasm --dir /work=folder --env LEVEL=3 --write-back
  fedmkt exec trainer.wasm --dir /data=samples --dir /job/model=model --dir /out=out --write-back

Exit codes:
  0-255  the program's; 255 also stands for a code that is not from 0 to 255
  134    the program trapped
  1      the module is refused
  2      the arguments are wrong
  3      it could not be done: a folder cannot be read or written, or has no room

Time and randomness are virtual and the same each time. Modes, owners and times of files are not
copied; a file with several names becomes several files. New links that could lead out of their
folder are not written back.")]
pub struct Exec {
    /// The program
    #[arg(value_name = "MODULE.wasm")]
    pub module: PathBuf,
    /// A folder HOST that the program sees at the path GUEST; / is possible. May be given several times
    #[arg(long = "dir", value_name = "GUEST=HOST", value_parser = guest_dir)]
    pub dirs: Vec<GuestDir>,
    /// An environment variable. May be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<OsString>,
    /// Write what the program changed in its folders back to the host
    #[arg(long)]
    pub write_back: bool,
    /// The most linear memory
    #[arg(long, value_name = "SIZE", default_value = "512MiB")]
    pub memory: Bytes,
    /// The most bytes of all files in the folders together
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub room: Bytes,
    /// Arguments of the program
    #[arg(last = true, value_name = "ARGUMENTS")]
    pub arguments: Vec<OsString>,
}

/// A folder and where a program sees it.
#[derive(Clone)]
pub struct GuestDir {
    /// The path in the sandbox.
    pub guest: String,
    /// The folder.
    pub host: PathBuf,
}

fn guest_dir(text: &str) -> Result<GuestDir, String> {
    match text.split_once('=') {
        Some((guest, host)) if !guest.is_empty() && !host.is_empty() => {
            Ok(GuestDir { guest: guest.into(), host: host.into() })
        }
        _ => Err("write it as GUEST=HOST, like /data=samples".into()),
    }
}

fn variable(text: &str) -> Result<OsString, String> {
    if text.find('=').is_some_and(|end| end > 0) { Ok(text.into()) } else { Err("write it as NAME=VALUE".into()) }
}

#[derive(Subcommand)]
pub enum Store {
    /// Add files and folders, pin them and print their CIDs
    #[command(after_help = "\
Examples:
  fedmkt store add model.safetensors
  tar c model | fedmkt store add -

The CIDs are those of `ipfs add --recursive --hidden` with the profile unixfs-v1-2025.")]
    Add {
        /// Files and folders; - is standard input
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Leave what was added to the next garbage collection that is an hour away
        #[arg(long)]
        no_pin: bool,
        /// Print an array of objects with cid and path
        #[arg(long)]
        json: bool,
    },
    /// Write a file or folder from the store
    #[command(after_help = "\
Examples:
  fedmkt store get bafybei... --output model
  fedmkt store get bafkrei... --output - | sha256sum")]
    Get {
        /// A CID, or ipfs://CID
        #[arg(value_parser = cid)]
        cid: Cid,
        /// Where to write; must not exist. - is standard output [default: the CID]
        #[arg(long, short, value_name = "PATH")]
        output: Option<PathBuf>,
        /// Stop when there is more than this
        #[arg(long, value_name = "SIZE", default_value = "16GiB")]
        most_bytes: Bytes,
    },
    /// List what is pinned, or what is below a CID
    #[command(after_help = "\
Examples:
  fedmkt store ls
  fedmkt store ls bafybei...
  fedmkt store ls --blocks --json")]
    Ls {
        /// List the files and folders below it, or its links
        #[arg(value_parser = cid)]
        cid: Option<Cid>,
        /// List all blocks
        #[arg(long, conflicts_with = "cid")]
        blocks: bool,
        /// Print an array of objects
        #[arg(long)]
        json: bool,
    },
    /// Write everything below CIDs into a CAR archive
    #[command(after_help = "\
Examples:
  fedmkt store export bafyrei... --output job.car
  fedmkt store export bafyrei... --output job.car --commp
  fedmkt store export bafyrei... | ssh host fedmkt store import -")]
    Export {
        /// CIDs, or ipfs://CID
        #[arg(required = true, value_parser = cid)]
        cids: Vec<Cid>,
        /// The archive; - is standard output
        #[arg(long, short, value_name = "FILE", default_value = "-")]
        output: PathBuf,
        /// Compute the archive's Filecoin piece commitment as well, and print it
        ///
        /// On standard output when the archive goes to a file; sizes of piece and archive go to standard error.
        #[arg(long)]
        commp: bool,
    },
    /// Add the blocks of a CAR archive, pin its roots and print them
    #[command(after_help = "\
Examples:
  fedmkt store import job.car
  ipfs dag export bafyrei... | fedmkt store import -")]
    Import {
        /// The archive; - is standard input
        #[arg(default_value = "-")]
        archive: PathBuf,
        /// Do not pin, and do not check that everything below the roots is there
        #[arg(long)]
        no_pin: bool,
        /// Print an array of CIDs
        #[arg(long)]
        json: bool,
    },
    /// Check every block against its CID, and that everything pinned is there
    #[command(after_help = "Ends with exit code 1 when something is damaged or missing.")]
    Verify {
        /// Remove damaged blocks, so that they can be added or imported again
        #[arg(long)]
        repair: bool,
        /// Print one object
        #[arg(long)]
        json: bool,
    },
    /// Keep everything below CIDs; with --ipfs or --gateway, get first what is not there
    #[command(after_help = "\
Examples:
  fedmkt store pin bafyrei...
  fedmkt store pin bafyrei... --gateway https://gateway.example --gateway https://other.example")]
    Pin {
        /// CIDs, or ipfs://CID
        #[arg(required = true, value_parser = cid)]
        cids: Vec<Cid>,
        /// Get no more than this
        #[arg(long, value_name = "SIZE", default_value = "16GiB")]
        most_bytes: Bytes,
    },
    /// Hand everything below CIDs over to the Kubo node that --ipfs names, which pins it
    #[command(after_help = "\
Examples:
  fedmkt store upload bafyrei... --ipfs http://127.0.0.1:5001

What the node has already is not sent again: after an interruption the same command goes on.")]
    Upload {
        /// CIDs, or ipfs://CID
        #[arg(required = true, value_parser = cid)]
        cids: Vec<Cid>,
        /// Print an array of objects with cid, bytes and sent
        #[arg(long)]
        json: bool,
    },
    /// No longer keep what is below CIDs, unless something else does
    Unpin {
        /// CIDs, or ipfs://CID
        #[arg(required = true, value_parser = cid)]
        cids: Vec<Cid>,
    },
    /// Remove blocks that nothing pinned needs
    #[command(after_help = "Blocks that were added within the last hour stay: somebody may be about to pin them.")]
    Gc {
        /// Remove young blocks as well; nobody else may be using the store
        #[arg(long)]
        now: bool,
        /// Print one object
        #[arg(long)]
        json: bool,
    },
    /// Show or set how large the store may become
    #[command(after_help = "\
Examples:
  fedmkt store quota
  fedmkt store quota 20GiB
  fedmkt store quota none")]
    Quota {
        /// A size, or none
        #[arg(value_parser = quota)]
        quota: Option<Quota>,
        /// Print one object
        #[arg(long)]
        json: bool,
    },
}

/// A limit on the store, or its absence.
#[derive(Clone, Copy)]
pub struct Quota(pub Option<u64>);

fn quota(text: &str) -> Result<Quota, String> {
    Ok(Quota(if text == "none" { None } else { Some(text.parse::<Bytes>()?.0) }))
}

/// A CID, or `ipfs://` and a CID.
pub fn cid(text: &str) -> Result<Cid, fedmkt_store::NotACid> {
    fedmkt_store::parse_cid(text)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        super::Arguments::command().debug_assert();
    }
}
