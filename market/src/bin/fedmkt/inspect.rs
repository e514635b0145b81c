//! `fedmkt inspect`: what is behind a CID.

use std::io::Write;

use fedmkt_core::manifest::{Disclosure, Manifest, ManifestError};
use fedmkt_core::receipt::Body;
use fedmkt_core::unixfs::{DAG_PB, RAW};
use fedmkt_market::receipt::{Receipt, utc};
use fedmkt_runtime::job::check_release;
use fedmkt_runtime::message::{note, printable, printable_lines, quoted};
use fedmkt_store::files::{Node, NodeKind};
use fedmkt_store::job::JobDrive;
use fedmkt_store::{BlockStore, CachedStore, StoreError};
use ipld_core::ipld::Ipld;
use serde_json::{Value, json};

use crate::Refused;
use crate::bytes::Bytes;
use crate::cli::Inspect;
use crate::node_json;

/// Bytes of a raw block that are shown as text.
const PREVIEW_BYTES: usize = 400;

pub fn run(arguments: &Inspect, store: &CachedStore, out: &mut dyn Write) -> anyhow::Result<()> {
    let cid = arguments.cid;
    let block = store.get(&cid)?;
    match cid.codec() {
        RAW | DAG_PB => unixfs(arguments, &block, out),
        _ => value(arguments, store, &block, out),
    }
}

fn unixfs(arguments: &Inspect, block: &[u8], out: &mut dyn Write) -> anyhow::Result<()> {
    let cid = arguments.cid;
    let node = match cid.codec() {
        RAW => Node { kind: NodeKind::File { inline: block.to_vec(), parts: Vec::new() }, links: Vec::new() },
        _ => Node::decode(&cid, block)?,
    };
    let kind = if node.kind == NodeKind::Directory { "folder" } else { "file" };
    if arguments.json {
        let links: Vec<_> =
            node.links.iter().map(|link| json!({ "name": link.name, "cid": link.cid.to_string() })).collect();
        let bytes = (kind == "file").then(|| node.file_bytes());
        let object = json!({ "cid": cid.to_string(), "kind": kind, "bytes": bytes, "links": links });
        return Ok(writeln!(out, "{object:#}")?);
    }
    match kind {
        "folder" => {
            writeln!(out, "folder {cid}, {} entries", node.links.len())?;
            for link in &node.links {
                writeln!(out, "  {}  {}", link.cid, printable(&link.name))?;
            }
        }
        _ => {
            writeln!(out, "file {cid}, {} in {} parts", Bytes(node.file_bytes()), node.links.len().max(1))?;
            let preview = &block[..block.len().min(PREVIEW_BYTES)];
            if cid.codec() == RAW
                && let Ok(text) = std::str::from_utf8(preview)
                && !text.contains('\0')
            {
                text.lines().try_for_each(|line| writeln!(out, "  {}", printable(line)))?;
            }
        }
    }
    writeln!(out, "\n`fedmkt store get {cid}` writes it to disk.")?;
    Ok(())
}

/// A DAG-CBOR block: a job, a receipt, or anything else.
fn value(arguments: &Inspect, store: &CachedStore, block: &[u8], out: &mut dyn Write) -> anyhow::Result<()> {
    let cid = arguments.cid;
    let node: Ipld = serde_ipld_dagcbor::from_slice(block)
        .map_err(|error| StoreError::Malformed { cid, what: format!("is not DAG-CBOR: {error}").into() })?;
    let node = node_json::to_json(&node);
    match Manifest::decode(block) {
        Ok(manifest) => return job(arguments, store, &manifest, node, out),
        Err(ManifestError::Rules(problems)) => {
            print_node(arguments, "job", node, out)?;
            note("error: this job may not run:");
            problems.iter().for_each(|problem| note(&format!("  {problem}")));
            return Err(Refused.into());
        }
        Err(_) => {}
    }
    if let Some(found) = Receipt::load(store, &cid)? {
        return receipt(arguments, &found, out);
    }
    print_node(arguments, "node", node, out)
}

fn print_node(arguments: &Inspect, kind: &str, node: Value, out: &mut dyn Write) -> anyhow::Result<()> {
    if arguments.json {
        let object = json!({ "cid": arguments.cid.to_string(), "kind": kind, "node": node });
        writeln!(out, "{object:#}")?;
    } else {
        writeln!(out, "{kind} {}\n{}", arguments.cid, printable_lines(&format!("{node:#}")))?;
    }
    Ok(())
}

fn job(
    arguments: &Inspect,
    store: &CachedStore,
    manifest: &Manifest,
    node: Value,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    // A job without its blocks, or for another release, can still be read.
    let other_release = check_release(arguments.cid, manifest).err();
    let drive = JobDrive::open(store, &arguments.cid).and_then(|drive| Ok((drive.root(store)?, drive)));
    if arguments.json {
        let root = drive.as_ref().ok().map(|(root, _)| root);
        let bytes = drive.as_ref().ok().map(|(_, drive)| drive.total_bytes());
        let problem = drive.as_ref().err().map(ToString::to_string);
        let problem = problem.or_else(|| other_release.as_ref().map(ToString::to_string));
        let object = json!({
            "cid": arguments.cid.to_string(),
            "kind": "job",
            "job_root": root,
            "drive_bytes": bytes,
            "problem": problem,
            "node": node,
        });
        return Ok(writeln!(out, "{object:#}")?);
    }
    writeln!(out, "job {}", arguments.cid)?;
    print_manifest(manifest, out)?;
    match drive {
        Ok((root, drive)) => {
            writeln!(
                out,
                "\nJob drive: {} of {}",
                Bytes(drive.total_bytes()),
                Bytes(1 << manifest.machine.class.log2_job())
            )?;
            for (path, bytes) in drive.files() {
                writeln!(out, "  {:>10}  {}", Bytes(bytes).to_string(), printable(path))?;
            }
            writeln!(out, "  job root  {root}")?;
        }
        Err(error) => writeln!(out, "\nThis store cannot run the job: {}", printable_lines(&error.to_string()))?,
    }
    if let Some(error) = other_release {
        writeln!(out, "\nThis program cannot run it: {}", printable_lines(&error.to_string()))?;
    }
    Ok(())
}

fn print_manifest(manifest: &Manifest, out: &mut dyn Write) -> anyhow::Result<()> {
    let Manifest { data, limits, .. } = manifest;
    writeln!(out, "\n{}", printable(&manifest.name))?;
    for line in quoted(&manifest.description) {
        writeln!(out, "  | {line}")?;
    }
    writeln!(out, "\nRuns    trainer {}", manifest.trainer)?;
    writeln!(out, "        model   {}", manifest.model)?;
    if !manifest.arguments.is_empty() {
        writeln!(out, "        arguments {}", printable(&format!("{:?}", manifest.arguments)))?;
    }
    writeln!(out, "        profile {}, machine of class {:?}", printable(&manifest.profile), manifest.machine.class)?;
    if let Some(release) = &manifest.machine.release {
        writeln!(out, "        replayer {}", printable(release))?;
    }
    writeln!(
        out,
        "Reads   --grant {}=...: {}, at least {} rows, at most {}",
        data.name,
        printable(&data.format),
        data.least_rows,
        Bytes(data.most_bytes)
    )?;
    if let Some(columns) = &data.columns {
        writeln!(out, "        columns {}", printable(&columns.join(", ")))?;
    }
    if let Some(shape) = &data.shape {
        writeln!(out, "        examples of shape {shape:?}")?;
    }
    writeln!(out, "Leaves  at most {} in all:", Bytes(manifest.most_result_bytes()))?;
    for result in &manifest.results {
        writeln!(out, "        {}, at most {}", printable(&result.name), Bytes(result.most_bytes))?;
    }
    let readers = match &manifest.sponsor {
        Some(sponsor) => format!("encrypted to the sponsor, {}", printable(sponsor)),
        None => "anyone may read them".into(),
    };
    writeln!(out, "        {readers}")?;
    writeln!(
        out,
        "Uses    {} memory, {} output, {} scratch, {} open files",
        Bytes(limits.memory),
        Bytes(limits.output),
        Bytes(limits.scratch),
        limits.open_files
    )?;
    let segments = limits.steps.div_ceil(manifest.steps_per_segment);
    writeln!(
        out,
        "        at most {} steps in {segments} segments, {} s for a step",
        limits.steps, limits.step_seconds
    )?;
    match &manifest.disclosure {
        Disclosure::Open => writeln!(out, "Shown   open: anyone may be given the data to check the run")?,
        Disclosure::Private => writeln!(out, "Shown   private: the data is never shown")?,
        Disclosure::Audited(audit) => {
            writeln!(
                out,
                "Shown   audited: {} of a million runs are drawn, and the data is shown to",
                audit.per_million
            )?;
            for auditor in &audit.auditors {
                writeln!(out, "        {}", printable(auditor))?;
            }
        }
    }
    if let Some(reward) = &manifest.reward {
        writeln!(
            out,
            "Pays    {} of the smallest unit of token {} on chain {}, by market {}",
            printable(&reward.amount),
            printable(&reward.token),
            reward.chain_id,
            printable(&reward.market)
        )?;
    }
    Ok(())
}

fn receipt(arguments: &Inspect, receipt: &Receipt, out: &mut dyn Write) -> anyhow::Result<()> {
    let Receipt { envelope, body, .. } = receipt;
    let problems = receipt.problems();
    if arguments.json {
        let node = |value: &Ipld| node_json::to_json(value);
        let object = json!({
            "cid": receipt.cid.to_string(),
            "kind": "receipt",
            "problems": problems,
            "envelope": envelope.as_ref().map(ipld_core::serde::to_ipld).transpose()?.as_ref().map(node),
            "body_cid": receipt.body_cid.to_string(),
            "body": node(&ipld_core::serde::to_ipld(body)?),
        });
        writeln!(out, "{object:#}")?;
    } else {
        writeln!(out, "receipt {}\n", receipt.cid)?;
        if let Some(envelope) = envelope {
            let signed = if envelope.is_signed() { "signed" } else { "NOT signed" };
            writeln!(out, "Client      {}, {signed}", node_json::hex(&envelope.client))?;
            writeln!(out, "Finished    {}, after {} s", utc(envelope.finished), envelope.seconds)?;
            writeln!(out, "Engine      {}", printable(&envelope.engine))?;
            writeln!(out, "Body        {}", receipt.body_cid)?;
        }
        print_body(body, out)?;
    }
    if problems.is_empty() {
        return Ok(());
    }
    problems.iter().for_each(|problem| note(&format!("error: {problem}")));
    Err(Refused.into())
}

fn print_body(body: &Body, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "Job         {}", body.job)?;
    writeln!(out, "Outcome     {}", body.outcome)?;
    writeln!(
        out,
        "Steps       {} in {} segments of at most {}",
        body.trace.steps,
        body.trace.segments.len(),
        body.trace.steps_per_segment
    )?;
    writeln!(out, "Profile     {}", printable(&body.profile))?;
    writeln!(out, "Run id      {}", body.run_id)?;
    writeln!(out, "Job root    {}", body.job_root)?;
    writeln!(out, "Data root   {}", body.data_root)?;
    writeln!(out, "Blind hash  {}", body.blind_hash)?;
    writeln!(out, "Trace root  {}", body.trace.root)?;
    for result in &body.results {
        writeln!(out, "\nResult      {}, {}", printable(&result.name), Bytes(result.size))?;
        writeln!(out, "  CID       {}", result.cid)?;
        writeln!(out, "  root      {}", result.root)?;
    }
    Ok(())
}
