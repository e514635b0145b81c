//! `fedmkt submit --self-check`: whether another processor comes to what the receipt says, in one random step of the run.
//!
//! `fedmkt-verify` does it, which knows the machines. Only the segment of the step is recomputed, from a checkpoint of the run if
//! there is one, so it costs little besides the step itself.

use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail};
use cid::Cid;
use fedmkt_market::journal::Taken;
use fedmkt_market::receipt::Receipt;
use fedmkt_market::settings::Settings;
use fedmkt_runtime::message::note;
use fedmkt_runtime::program;
use fedmkt_store::FolderStore;

/// The variable that names the program.
const VARIABLE: &str = "FEDMKT_VERIFIER";

/// The program's exit code when something is not as the receipt says.
const DIFFERENT: i32 = 3;

/// Replays a random step of the run of a slot, and the segment that it is in.
///
/// # Errors
/// When it is not as the receipt says, or cannot be replayed here. Both say what to do.
pub fn run(settings: &Settings, store: &FolderStore, receipt: &Cid, taken: &Taken) -> anyhow::Result<()> {
    let loaded = Receipt::load(store, receipt)?.with_context(|| format!("{receipt} is no receipt"))?;
    let steps = loaded.body.trace.steps;
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| anyhow!("the system gives no randomness: {error}"))?;
    // 128 random bits make the bias of the remainder unnoticeable.
    let step = u128::from_le_bytes(random) % u128::from(steps.max(1));
    note(&format!("Before submitting, step {step} of {steps} is replayed in a machine."));
    let mut command = Command::new(program::find("fedmkt-verify", VARIABLE));
    command.args(["replay", &receipt.to_string(), "--step", &step.to_string(), "--engine", "machine"]);
    command.arg("--capsule").arg(taken.capsule_file(&settings.home)).arg("--store").arg(store.folder());
    command.env("FEDMKT_HOME", settings.home.path()).stdin(Stdio::null()).stdout(Stdio::null());
    let name = command.get_program().display().to_string();
    let ended = command.status().with_context(|| {
        format!("cannot run {name}, which the self-check takes: it comes with fedmkt, or {VARIABLE} names it")
    })?;
    match ended.code() {
        Some(0) => Ok(()),
        Some(DIFFERENT) => bail!(
            "nothing was submitted: the run is not as receipt {receipt} says, and whoever challenges it would win\n  remove \
             {} and train again, from the beginning; if that differs, too, this computer or this release has a fault: train \
             on another one before the time to submit ends, which `fedmkt status` shows",
            settings.home.path().join("runs").join(loaded.body.run_id.to_string()).display()
        ),
        _ => bail!(
            "nothing was submitted: the self-check could not be made, as is said above\n  `fedmkt-verify doctor` tells what is \
             missing; without --self-check the results are submitted as they are"
        ),
    }
}
