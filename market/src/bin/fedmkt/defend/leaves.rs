//! Leaves of a level of a run's trace, computed from its checkpoints by a process that has no key of a wallet.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use alloy::primitives::B256;
use anyhow::{Context, anyhow, bail};
use cid::Cid;
use clap::Args;
use fedmkt_core::roots::{DataRoot, RunId, StateRoot};
use fedmkt_core::trace::Level;
use fedmkt_market::journal::Taken;
use fedmkt_runtime::checkpoint::Checkpoints;
use fedmkt_runtime::grant;
use fedmkt_runtime::home::Home;
use fedmkt_runtime::job::{Job, Reference, check_release};
use fedmkt_runtime::packed::Packed;
use fedmkt_runtime::training::Session;
use fedmkt_store::FolderStore;

/// Compute leaves of a run; `fedmkt defend` asks for this
#[derive(Args)]
pub struct Leaves {
    /// The job
    #[arg(value_parser = crate::cli::cid)]
    job: Cid,
    /// The capsule's file
    capsule: PathBuf,
    /// Its root
    data_root: DataRoot,
    /// The run
    run_id: RunId,
    /// The level's first step
    first: u64,
    /// Its number of steps
    steps: u64,
    /// Steps in each part
    part: u64,
}

impl Leaves {
    /// What to compute for a slot.
    pub fn of(taken: &Taken, home: &Home, run_id: B256, level: &Level) -> anyhow::Result<Self> {
        Ok(Self {
            job: fedmkt_store::parse_cid(&taken.cid)?,
            capsule: taken.capsule_file(home),
            data_root: DataRoot(taken.data_root.0),
            run_id: RunId(run_id.0),
            first: level.first,
            steps: level.steps,
            part: level.part,
        })
    }

    /// Lets another process of this program compute them.
    pub fn ask(&self, store: &Path) -> anyhow::Result<Vec<StateRoot>> {
        let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
        command.arg("--store").arg(store).arg("leaves").arg(self.job.to_string()).arg(&self.capsule);
        command.arg(self.data_root.to_string()).arg(self.run_id.to_string());
        command.args([self.first, self.steps, self.part].map(|number| number.to_string()));
        let said = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).output();
        let said = said.context("cannot start a process that computes leaves")?;
        if !said.status.success() {
            bail!("the leaves could not be computed, as it says above; the same command tries again");
        }
        serde_json::from_slice(&said.stdout).context("the process that computes leaves gave a strange answer")
    }

    fn level(&self) -> Level {
        Level { first: self.first, steps: self.steps, part: self.part }
    }
}

pub fn run(wanted: &Leaves, store: &FolderStore, out: &mut dyn Write) -> anyhow::Result<()> {
    if wanted.part == 0 {
        bail!("a part has steps");
    }
    let home = Home::open(fedmkt_store::home()?).context("cannot use the home folder")?;
    let job = Job::load(&Reference::Cid(wanted.job), store, &home)?;
    let capsule = capsule(&wanted.capsule, job.manifest.machine.class.log2_data())?;
    if capsule.root.0 != wanted.data_root.0 {
        bail!(
            "the capsule {} has the root {}, not {}: `fedmkt accept` with the same data packs it again",
            wanted.capsule.display(),
            capsule.root,
            wanted.data_root
        );
    }
    // Before checkpoints of another release are taken for damaged ones.
    check_release(job.cid, &job.manifest)?;
    let folder = home.run(wanted.run_id)?;
    let mut checkpoints = Checkpoints::open(&folder)
        .with_context(|| format!("cannot use {}", folder.display()))?
        .ok_or_else(|| anyhow!("another process works on this run: wait for it, or end it"))?;
    let session = Session { run_id: wanted.run_id, ..Session::local(&job, &capsule) };
    let leaves = session.leaves(&mut checkpoints, &wanted.level())?;
    writeln!(out, "{}", serde_json::to_string(&leaves)?)?;
    Ok(())
}

/// The capsule that was kept; read through if the record of its root is gone.
fn capsule(path: &Path, log2_size: u32) -> anyhow::Result<Packed> {
    let kept = path.parent().zip(path.file_stem().and_then(|stem| stem.to_str()));
    if let Some(kept) = kept.and_then(|(folder, name)| Packed::kept(folder, name)) {
        return Ok(kept);
    }
    grant::disclosed(path, log2_size).with_context(|| {
        format!("the capsule {} is damaged or gone: `fedmkt accept` with the same data packs it again", path.display())
    })
}
