//! `fedmkt backup`: copies of what cannot be made again.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use cid::Cid;
use clap::Args;
use fedmkt_market::journal::{self, Taken};
use fedmkt_market::records::Records;
use fedmkt_market::settings::Settings;
use fedmkt_runtime::atomic_file;
use fedmkt_runtime::message::note;
use fedmkt_store::{FolderStore, StoreError, car};
use serde_json::Value;

/// Copy what cannot be made again into a new folder: keys, settings, and the journal with the capsules of slots, and what was
/// encrypted for others
///
/// Keys are copied encrypted, as they are kept: their passwords are not in it. To restore, put the files into an empty home,
/// and `fedmkt store import` each of its `archives`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fedmkt backup /media/stick/fedmkt-2026-11-23")]
pub struct Backup {
    /// The folder to make
    folder: PathBuf,
}

pub fn run(backup: &Backup, settings: &Settings, store: &FolderStore, out: &mut dyn Write) -> anyhow::Result<()> {
    let folder = &backup.folder;
    if folder.exists() {
        bail!("{} is there already: name a new folder", folder.display());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let making = tempfile::tempdir_in(parent).with_context(|| format!("cannot write in {}", parent.display()))?;
    let slots = copy_journal(settings, &making.path().join("journal.redb"))?;
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
    let archives = making.path().join("archives");
    fs::create_dir(&archives)?;
    let (mut lost, mut lost_files) = (Vec::new(), Vec::new());
    for (taken, disclosed) in slots {
        for file in taken.bundle.iter().chain(&disclosed) {
            let path = archives.join(format!("{file}.car"));
            if !archive(store, &fedmkt_store::parse_cid(file)?, &path)? {
                lost_files.push((taken.slot, file.clone()));
            }
        }
        let capsule = taken.capsule_file(&settings.home);
        let Some(name) = capsule.file_name() else { continue };
        if capsule.is_file() {
            copy(&capsule, &making.path().join("capsules").join(name))?;
        } else {
            lost.push(capsule);
        }
    }
    fs::rename(making.path(), folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // The folder has another name now, and stays.
    let _ = making.keep();
    for capsule in lost {
        let capsule = capsule.display();
        note(&format!("warning: the capsule {capsule} is gone: it can be packed again from the same data"));
    }
    for (slot, file) in lost_files {
        note(&format!(
            "warning: the store lacks {file}, which slot {slot} has published: encrypted again it would be another file"
        ));
    }
    writeln!(out, "{}", folder.display())?;
    Ok(())
}

/// Copies the journal, and gives the slots that are in it, with the CIDs of what their client has disclosed. It is open only for
/// so long: copying capsules takes longer than `fedmkt defend` can wait.
fn copy_journal(settings: &Settings, to: &Path) -> anyhow::Result<Vec<(Taken, Option<String>)>> {
    let journal = journal::open(settings)?;
    let all: Vec<(String, Value)> = journal.all("")?;
    let all: Vec<(String, &Value)> = all.iter().map(|(name, value)| (name.clone(), value)).collect();
    Records::open(to)?.put_all(&all)?;
    let slots: Vec<(String, Taken)> = journal.all("slot/")?;
    let with_disclosed = |(_, taken): (String, Taken)| {
        let disclosed = journal.get(&journal::disclosed(taken.slot))?;
        Ok((taken, disclosed))
    };
    slots.into_iter().map(with_disclosed).collect()
}

/// Writes what is below a CID into an archive. Whether the store has all of it.
fn archive(store: &FolderStore, cid: &Cid, to: &Path) -> anyhow::Result<bool> {
    let mut is_missing = false;
    let written = atomic_file::replace(to, |file| {
        car::export(store, &[*cid], BufWriter::new(file)).map_err(|error| {
            is_missing = matches!(error, StoreError::Missing(_));
            io::Error::other(error)
        })
    });
    match written {
        Err(_) if is_missing => Ok(false),
        written => written.map(|()| true).with_context(|| format!("cannot write {}", to.display())),
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    match fs::File::open(from) {
        Ok(mut file) => atomic_file::replace(to, |copy| io::copy(&mut file, copy).map(drop))
            .with_context(|| format!("cannot copy {}", from.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", from.display())),
    }
}
