//! `fedmkt store`: the block store.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use cid::Cid;
use fedmkt_core::unixfs::{DAG_PB, RAW};
use fedmkt_runtime::atomic_file;
use fedmkt_runtime::home::Home;
use fedmkt_runtime::message::{note, printable};
use fedmkt_store::files::{self, FileReader, visit_tree};
use fedmkt_store::piece::{Piece, PieceWriter};
use fedmkt_store::{BlockStore, CachedStore, FolderStore, Kubo, StoreError, Uploaded, car, dag};
use serde_json::json;

use crate::Refused;
use crate::bytes::Bytes;
use crate::cli::{Quota, Store};

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

pub fn run(command: Store, store: &CachedStore, out: &mut dyn Write) -> anyhow::Result<()> {
    let folder = store.folder();
    match command {
        Store::Add { paths, no_pin, json } => add(folder, &paths, no_pin, json, out),
        Store::Get { cid, output, most_bytes } => get(store, &cid, output, most_bytes.0, out),
        Store::Ls { cid: Some(cid), json, .. } => list_below(store, &cid, json, out),
        Store::Ls { blocks: true, json, .. } => list_blocks(folder, json, out),
        Store::Ls { json, .. } => list_pins(folder, json, out),
        Store::Export { cids, output, commp } => export(store, &cids, &output, commp, out),
        Store::Import { archive, no_pin, json } => import(folder, &archive, no_pin, json, out),
        Store::Verify { repair, json } => verify(folder, repair, json, out),
        Store::Pin { cids, most_bytes } => Ok(cids.iter().try_for_each(|cid| store.pin(cid, most_bytes.0))?),
        Store::Upload { cids, json } => upload(store, &cids, json, out),
        Store::Unpin { cids } => unpin(folder, &cids),
        Store::Gc { now, json } => collect(folder, now, json, out),
        Store::Quota { quota, json } => set_quota(folder, quota, json, out),
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
    store: &CachedStore,
    cid: &Cid,
    output: Option<PathBuf>,
    most_bytes: u64,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if output.as_deref().is_some_and(is_stream) {
        store.prepare(cid, most_bytes)?;
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
    match store.prepare(cid, most_bytes).and_then(|()| files::extract(store, cid, &target, most_bytes)) {
        Err(error @ StoreError::TooMuch { .. }) => {
            Err(anyhow::Error::from(error).context("stopped: use --most-bytes if you want as much as this"))
        }
        result => Ok(result?),
    }
}

fn list_below(store: &CachedStore, cid: &Cid, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
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
                writeln!(out, "{}  {bytes:>12}  {}", entry.cid, printable(path))?;
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
        note(&format!("{} blocks, {}", blocks.len(), Bytes(bytes)));
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
            note(&format!("nothing is pinned in {}", store.folder().display()));
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

fn export(store: &CachedStore, cids: &[Cid], output: &Path, commp: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if is_stream(output) && io::stdout().is_terminal() {
        bail!("an archive is not for a terminal: use --output FILE, or a pipe");
    }
    if is_stream(output) {
        let piece = export_to(store, cids, BufWriter::new(out), commp)?;
        piece.iter().for_each(|piece| note(&format!("{} {}", piece.cid, sizes(piece))));
    } else {
        let piece = export_to_file(store, cids, output, commp);
        if let Some(piece) = piece.with_context(|| format!("cannot write {}", output.display()))? {
            note(&sizes(&piece));
            writeln!(out, "{}", piece.cid)?;
        }
    }
    Ok(())
}

fn sizes(piece: &Piece) -> String {
    format!("piece of {} bytes, archive of {} bytes", piece.piece_bytes, piece.file_bytes)
}

/// Writes an archive to a file that is there whole or not at all; to a pipe or device as it comes.
fn export_to_file(store: &CachedStore, cids: &[Cid], output: &Path, commp: bool) -> anyhow::Result<Option<Piece>> {
    let path = match output.metadata() {
        Ok(found) if !found.is_file() => None,
        // Where a link leads to. Standard output may be a file that has no name any more.
        Ok(_) => output.canonicalize().ok(),
        // A link may lead to where nothing is yet.
        Err(_) => Some(output).filter(|output| !output.is_symlink()).map(Path::to_owned),
    };
    let Some(path) = path else { return export_to(store, cids, BufWriter::new(File::create(output)?), commp) };
    let mut failed = None;
    let written = atomic_file::replace_shared(&path, |file| {
        export_to(store, cids, BufWriter::new(file), commp).map_err(|error| {
            failed = Some(error);
            io::Error::other("not written")
        })
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(written?),
    }
}

/// Writes an archive, and computes its piece commitment if it is asked for.
fn export_to(store: &CachedStore, cids: &[Cid], out: impl Write, commp: bool) -> anyhow::Result<Option<Piece>> {
    if !commp {
        return Ok(car::export(store, cids, out).map(|()| None)?);
    }
    let mut both = Both(out, PieceWriter::new());
    car::export(store, cids, &mut both)?;
    Ok(Some(both.1.finish()))
}

/// Writes everything twice.
struct Both<W>(W, PieceWriter);

impl<W: Write> Write for Both<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.0.write(buffer)?;
        self.1.write_all(&buffer[..written])?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
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
            writeln!(out, "damaged{removed}: {}", printable(&path.display().to_string()))?;
        }
        for cid in &found.missing {
            writeln!(out, "missing: {cid}")?;
        }
    }
    if found.damaged.is_empty() && found.missing.is_empty() {
        return Ok(());
    }
    if repair {
        note("add or import what is missing again");
    } else {
        note("`fedmkt store verify --repair` removes what is damaged; then add or import it again");
    }
    Err(Refused.into())
}

fn upload(store: &CachedStore, cids: &[Cid], json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(node) = store.network().and_then(|network| network.node()) else {
        bail!("an upload goes to a Kubo node: name its RPC with --ipfs, for example --ipfs http://127.0.0.1:5001");
    };
    let mut objects = Vec::new();
    for cid in cids {
        let Uploaded { bytes, sent } = upload_to(node, store.folder(), cid)?;
        if json {
            objects.push(json!({ "cid": cid.to_string(), "bytes": bytes, "sent": sent }));
        } else {
            writeln!(out, "{cid}")?;
        }
    }
    if json {
        writeln!(out, "{:#}", json!(objects))?;
    }
    Ok(())
}

/// Hands everything below a CID over to a node, and tells on standard error how far it is.
pub fn upload_to(node: &Kubo, store: &FolderStore, cid: &Cid) -> anyhow::Result<Uploaded> {
    let mut last = Instant::now();
    let uploaded = node.upload(store, cid, |bytes| {
        if last.elapsed() >= Duration::from_secs(2) {
            last = Instant::now();
            note(&format!("uploading: {}", Bytes(bytes)));
        }
    })?;
    note(&format!("{} has {cid}: {} sent of {}", node.endpoint(), Bytes(uploaded.sent), Bytes(uploaded.bytes)));
    Ok(uploaded)
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
