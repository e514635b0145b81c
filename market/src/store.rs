//! `fedmkt store`: the block store.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use cid::Cid;
use fedmkt_core::unixfs::{DAG_PB, RAW};
use fedmkt_runtime::home::Home;
use fedmkt_store::files::{self, FileReader, visit_tree};
use fedmkt_store::{BlockStore, FolderStore, StoreError, car, dag};
use serde_json::json;

use crate::Refused;
use crate::bytes::Bytes;
use crate::cli::{Quota, Store};
use crate::terminal::shown_line;

/// The most files and folders that are listed.
const MAX_LISTED: u64 = 1 << 20;

/// The store in this folder, or where it is by default.
pub fn open(location: Option<PathBuf>) -> anyhow::Result<FolderStore> {
    let folder = match location {
        Some(folder) => folder,
        // The home folder is made private before anything is put into it.
        None => Home::open(fedmkt_store::home()?).context("cannot use the home folder")?.path().join("store"),
    };
    Ok(FolderStore::new(folder))
}

pub fn run(command: Store, store: &FolderStore, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        Store::Add { paths, no_pin, json } => add(store, &paths, no_pin, json, out),
        Store::Get { cid, output, most_bytes } => get(store, &cid, output, most_bytes.0, out),
        Store::Ls { cid: Some(cid), json, .. } => list_below(store, &cid, json, out),
        Store::Ls { blocks: true, json, .. } => list_blocks(store, json, out),
        Store::Ls { json, .. } => list_pins(store, json, out),
        Store::Export { cids, output } => export(store, &cids, &output, out),
        Store::Import { archive, no_pin, json } => import(store, &archive, no_pin, json, out),
        Store::Verify { repair, json } => verify(store, repair, json, out),
        Store::Pin { cids } => Ok(cids.iter().try_for_each(|cid| store.pin(cid))?),
        Store::Unpin { cids } => unpin(store, &cids),
        Store::Gc { now, json } => collect(store, now, json, out),
        Store::Quota { quota, json } => set_quota(store, quota, json, out),
    }
}

fn is_stream(path: &Path) -> bool {
    path == Path::new("-")
}

fn add(store: &FolderStore, paths: &[PathBuf], no_pin: bool, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut added = Vec::new();
    for path in paths {
        let link =
            if is_stream(path) { files::add_file(store, io::stdin().lock())? } else { files::add_tree(store, path)? };
        if !no_pin {
            store.pin(&link.cid)?;
        }
        if json {
            added.push(json!({ "cid": link.cid.to_string(), "path": path.display().to_string() }));
        } else {
            writeln!(out, "{}", link.cid)?;
        }
    }
    if json {
        writeln!(out, "{:#}", json!(added))?;
    }
    Ok(())
}

fn get(
    store: &FolderStore,
    cid: &Cid,
    output: Option<PathBuf>,
    most_bytes: u64,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if output.as_deref().is_some_and(is_stream) {
        let mut reader = FileReader::new(store, cid, most_bytes);
        loop {
            let block = reader.next_block()?;
            if block.is_empty() {
                return Ok(());
            }
            out.write_all(block)?;
        }
    }
    let target = output.unwrap_or_else(|| cid.to_string().into());
    if target.symlink_metadata().is_ok() {
        bail!("{} exists already: remove it, or name another place with --output", target.display());
    }
    match files::extract(store, cid, &target, most_bytes) {
        Err(error @ StoreError::TooMuch { .. }) => {
            Err(anyhow::Error::from(error).context("stopped: use --most-bytes if you want as much as this"))
        }
        result => Ok(result?),
    }
}

fn list_below(store: &FolderStore, cid: &Cid, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    if !matches!(cid.codec(), RAW | DAG_PB) {
        for link in dag::links(cid, &store.get(cid)?)? {
            if json {
                lines.push(json!({ "cid": link.to_string() }));
            } else {
                writeln!(out, "{link}")?;
            }
        }
    } else {
        let mut entries = 0;
        visit_tree(store, cid, |entry| {
            entries += 1;
            if entries > MAX_LISTED {
                bail!("{cid} has more than {MAX_LISTED} files and folders, the rest is not listed");
            }
            let path = if entry.path.is_empty() { "." } else { entry.path };
            if json {
                lines.push(json!({ "cid": entry.cid.to_string(), "path": path, "bytes": entry.file_bytes }));
            } else {
                let bytes = entry.file_bytes.map_or("-".into(), |bytes| bytes.to_string());
                writeln!(out, "{}  {bytes:>12}  {}", entry.cid, shown_line(path))?;
            }
            Ok(())
        })?;
    }
    if json {
        writeln!(out, "{:#}", json!(lines))?;
    }
    Ok(())
}

fn list_blocks(store: &FolderStore, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let blocks = store.blocks()?;
    if json {
        let blocks: Vec<_> =
            blocks.iter().map(|(cid, bytes)| json!({ "cid": cid.to_string(), "bytes": bytes })).collect();
        writeln!(out, "{:#}", json!(blocks))?;
    } else {
        blocks.iter().try_for_each(|(cid, bytes)| writeln!(out, "{cid}  {bytes:>8}"))?;
        let bytes = blocks.iter().map(|(_, bytes)| bytes).sum();
        eprintln!("{} blocks, {}", blocks.len(), Bytes(bytes));
    }
    Ok(())
}

fn list_pins(store: &FolderStore, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let pins = store.pins()?;
    if json {
        let pins: Vec<_> = pins.iter().map(|cid| json!({ "cid": cid.to_string(), "kind": kind(cid) })).collect();
        writeln!(out, "{:#}", json!(pins))?;
    } else {
        pins.iter().try_for_each(|cid| writeln!(out, "{cid}  {}", kind(cid)))?;
        if pins.is_empty() {
            eprintln!("nothing is pinned in {}", store.folder().display());
        }
    }
    Ok(())
}

fn kind(cid: &Cid) -> &'static str {
    match cid.codec() {
        RAW => "file",
        DAG_PB => "file or folder",
        _ => "job or other value",
    }
}

fn export(store: &FolderStore, cids: &[Cid], output: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    if !is_stream(output) {
        let file = File::create(output).with_context(|| format!("cannot write {}", output.display()))?;
        return Ok(car::export(store, cids, BufWriter::new(file))?);
    }
    if io::stdout().is_terminal() {
        bail!("an archive is not for a terminal: use --output FILE, or a pipe");
    }
    Ok(car::export(store, cids, BufWriter::new(out))?)
}

fn import(store: &FolderStore, archive: &Path, no_pin: bool, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let stream: Box<dyn Read> = if is_stream(archive) {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(archive).with_context(|| format!("cannot read {}", archive.display()))?)
    };
    let roots = car::import(store, io::BufReader::new(stream))?;
    if !no_pin {
        for root in &roots {
            store.pin(root).with_context(|| format!("the archive does not hold all of {root}, it is not pinned"))?;
        }
    }
    if json {
        let roots: Vec<_> = roots.iter().map(Cid::to_string).collect();
        writeln!(out, "{:#}", json!(roots))?;
    } else {
        roots.iter().try_for_each(|root| writeln!(out, "{root}"))?;
    }
    Ok(())
}

fn verify(store: &FolderStore, repair: bool, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let found = store.verify_all(repair)?;
    if json {
        let object = json!({
            "blocks": found.blocks,
            "damaged": found.damaged.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
            "missing": found.missing.iter().map(Cid::to_string).collect::<Vec<_>>(),
            "repaired": repair,
        });
        writeln!(out, "{object:#}")?;
    } else {
        writeln!(out, "{} blocks, {} damaged, {} missing", found.blocks, found.damaged.len(), found.missing.len())?;
        for path in &found.damaged {
            let removed = if repair { ", removed" } else { "" };
            writeln!(out, "damaged{removed}: {}", shown_line(&path.display().to_string()))?;
        }
        for cid in &found.missing {
            writeln!(out, "missing: {cid}")?;
        }
    }
    if found.damaged.is_empty() && found.missing.is_empty() {
        return Ok(());
    }
    if repair {
        eprintln!("add or import what is missing again");
    } else {
        eprintln!("`fedmkt store verify --repair` removes what is damaged; then add or import it again");
    }
    Err(Refused.into())
}

fn unpin(store: &FolderStore, cids: &[Cid]) -> anyhow::Result<()> {
    for cid in cids {
        if !store.unpin(cid)? {
            bail!("{cid} is not pinned: `fedmkt store ls` lists what is");
        }
    }
    Ok(())
}

fn collect(store: &FolderStore, now: bool, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let collected = if now { store.gc_older_than(Duration::ZERO)? } else { store.gc()? };
    if json {
        writeln!(out, "{:#}", json!({ "blocks": collected.blocks, "bytes": collected.bytes }))?;
    } else {
        writeln!(out, "{} blocks removed, {}", collected.blocks, Bytes(collected.bytes))?;
    }
    Ok(())
}

fn set_quota(store: &FolderStore, quota: Option<Quota>, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if let Some(Quota(quota)) = quota {
        return Ok(store.set_quota(quota)?);
    }
    let (quota, used) = (store.quota()?, store.used_bytes()?);
    if json {
        writeln!(out, "{:#}", json!({ "quota": quota, "used": used }))?;
    } else {
        let quota = quota.map_or("no quota".into(), |quota| format!("a quota of {}", Bytes(quota)));
        writeln!(out, "{} used, {quota}", Bytes(used))?;
    }
    Ok(())
}
