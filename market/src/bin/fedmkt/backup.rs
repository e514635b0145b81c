//! `fedmkt backup`: copies of what cannot be made again.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use fedmkt_market::journal::{self, Taken};
use fedmkt_market::settings::Settings;
use fedmkt_runtime::atomic_file;
use serde_json::Value;

/// Copy what cannot be made again into a new folder: keys, settings, and the journal with the capsules of slots
///
/// Keys are copied encrypted, as they are kept: their passwords are not in it. To restore, put the files into an empty home.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fedmkt backup /media/stick/fedmkt-2026-11-23")]
pub struct Backup {
    /// The folder to make
    folder: PathBuf,
}

pub fn run(backup: &Backup, settings: &Settings, out: &mut dyn Write) -> anyhow::Result<()> {
    let folder = &backup.folder;
    if folder.exists() {
        bail!("{} is there already: name a new folder", folder.display());
    }
    // Nobody writes to the journal while it is copied.
    let journal = journal::open(settings)?;
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let making = tempfile::tempdir_in(parent).with_context(|| format!("cannot write in {}", parent.display()))?;
    let home = settings.home.path();
    for name in ["identity.age", "policy.toml", "config.toml"] {
        copy(&home.join(name), &making.path().join(name))?;
    }
    let wallets = home.join("wallets");
    if wallets.is_dir() {
        fs::create_dir(making.path().join("wallets"))?;
        for entry in fs::read_dir(&wallets)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                copy(&entry.path(), &making.path().join("wallets").join(entry.file_name()))?;
            }
        }
    }
    fs::create_dir(making.path().join("capsules"))?;
    let mut lost = Vec::new();
    for (_, taken) in journal.all::<Taken>("slot/")? {
        let capsule = PathBuf::from(&taken.capsule);
        let Some(name) = capsule.file_name() else { continue };
        if capsule.is_file() {
            copy(&capsule, &making.path().join("capsules").join(name))?;
        } else {
            lost.push(taken.capsule);
        }
    }
    let records = fedmkt_market::records::Records::open(&making.path().join("journal.redb"))?;
    let all: Vec<(String, Value)> = journal.all("")?;
    let all: Vec<(String, &Value)> = all.iter().map(|(name, value)| (name.clone(), value)).collect();
    records.put_all(&all)?;
    drop(records);
    fs::rename(making.path(), folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // The folder has another name now, and stays.
    let _ = making.keep();
    for capsule in lost {
        eprintln!("warning: the capsule {capsule} is gone: it can be packed again from the same data");
    }
    writeln!(out, "{}", folder.display())?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    match fs::File::open(from) {
        Ok(mut file) => atomic_file::replace(to, |copy| std::io::copy(&mut file, copy).map(drop))
            .with_context(|| format!("cannot copy {}", from.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", from.display())),
    }
}
