//! The market's part of a run, which the program `fedmkt` does: this one never sees a wallet's key.

use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail};
use cid::Cid;
use fedmkt_core::roots::{DataRoot, RunId};
use fedmkt_runtime::program;
use serde::Deserialize;
use serde_json::Value;

use crate::arguments::Arguments;

/// The variable that names the program.
const VARIABLE: &str = "FEDMKT_PROGRAM";

/// A slot that is this client's.
#[derive(Deserialize)]
pub struct Slot {
    pub slot: String,
    /// Root of the data for which it was taken.
    pub data_root: DataRoot,
    pub run_id: RunId,
    /// Whether its results were submitted already.
    pub submitted: bool,
}

/// Takes a slot of the job, or finds the one that was taken before.
///
/// # Errors
/// When there is no `fedmkt`, or it fails; it has said why.
pub fn accept(arguments: &Arguments, job: &Cid) -> anyhow::Result<Slot> {
    let mut command = fedmkt(arguments);
    command.arg("accept").arg(arguments.offer.clone().unwrap_or_else(|| job.to_string()));
    let (name, path) = &arguments.grant;
    let mut grant = std::ffi::OsString::from(format!("{name}="));
    grant.push(path);
    command.arg("--grant").arg(grant).arg("--json");
    if arguments.yes {
        command.arg("--yes");
    }
    let said = answer(command)?;
    serde_json::from_value(said).context("`fedmkt accept` gave a strange answer: are both programs of one release?")
}

/// Submits the results.
///
/// # Errors
/// As [`accept`].
pub fn submit(arguments: &Arguments, slot: &str, receipt: &Cid) -> anyhow::Result<Value> {
    let mut command = fedmkt(arguments);
    command.args(["submit", slot, "--receipt", &receipt.to_string(), "--json"]);
    if arguments.self_check {
        command.arg("--self-check");
    }
    answer(command)
}

/// The program beside this one, or on the `PATH`.
fn fedmkt(arguments: &Arguments) -> Command {
    let mut command = Command::new(program::find("fedmkt", VARIABLE));
    if let Some(store) = &arguments.store {
        command.arg("--store").arg(store);
    }
    arguments.backends.pass_to(&mut command);
    command
}

fn answer(mut command: Command) -> anyhow::Result<Value> {
    let program = command.get_program().to_owned();
    let said = command.stdin(Stdio::inherit()).stdout(Stdio::piped()).stderr(Stdio::inherit()).output();
    let said = said.with_context(|| format!("cannot run {}: it comes with fedmkt-run", program.display()))?;
    if !said.status.success() {
        bail!("`fedmkt` did not do it, as it says above; the same command goes on");
    }
    serde_json::from_slice(&said.stdout).map_err(|error| anyhow!("`fedmkt` gave a strange answer: {error}"))
}
