//! `fedmkt publish`: from a job file to a job.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use cid::Cid;
use fedmkt_core::admission::{self, ModuleLimits};
use fedmkt_core::manifest::{Manifest, SizeClass};
use fedmkt_core::unixfs::FileCid;
use fedmkt_market::submission;
use fedmkt_runtime::message::note;
use fedmkt_store::job::{JobDrive, JobError};
use fedmkt_store::{CachedStore, FolderStore, files, put_value};
use serde_json::json;

use crate::Refused;
use crate::bytes::Bytes;
use crate::cli::Publish;
use crate::job_file::JobFile;
use crate::module;

pub fn run(arguments: &Publish, cached: &CachedStore, out: &mut dyn Write) -> anyhow::Result<()> {
    let store = cached.folder();
    let path = &arguments.file;
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the job file {}", path.display()))?;
    let file: JobFile = match toml::from_str(&text) {
        Ok(file) => file,
        Err(error) => return refuse(path, &[error.to_string().trim_end().to_string()]),
    };
    // The parent of a plain file name is the empty path, which joins as the current folder.
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut findings = Vec::new();
    let mut notes = Vec::new();
    let trainer = add_trainer(store, &folder.join(&file.trainer), file.memory(), &mut findings, &mut notes)?;
    let model = add_model(store, &folder.join(&file.model), &mut findings)?;
    let (manifest, more) = file.into_manifest(trainer.unwrap_or_else(any_file), model.unwrap_or_else(any_file));
    findings.extend(more);
    let mut problems = manifest.check();
    let mut obstacles = submission::obstacles(&manifest);
    // What has not even the right form is told once.
    obstacles.retain(|obstacle| problems.iter().all(|problem| problem.field != obstacle.field));
    problems.extend(obstacles);
    findings.extend(problems.iter().map(|problem| format!("{}: {}", problem.field.replace('_', "-"), problem.what)));
    let drive = match (trainer, model) {
        (Some(_), Some(_)) => drive(store, &manifest, &mut findings)?,
        _ => None,
    };
    let Some(drive) = drive.filter(|_| findings.is_empty()) else { return refuse(path, &findings) };
    let job_root = drive.root(store)?;
    let job = put_value(store, &manifest)?;
    store.pin(&job)?;
    if let Some(node) = cached.network().and_then(|network| network.node()) {
        crate::store::upload_to(node, store, &job)
            .with_context(|| format!("the job is in the store; `fedmkt store upload {job}` goes on"))?;
    }
    if arguments.json {
        let object = json!({
            "job": job.to_string(),
            "trainer": manifest.trainer.to_string(),
            "model": manifest.model.to_string(),
            "job_root": job_root,
            "notes": notes,
        });
        writeln!(out, "{object:#}")?;
    } else {
        notes.iter().for_each(|what| note(&format!("note: {what}")));
        writeln!(out, "{job}")?;
    }
    Ok(())
}

/// Stands in for a file that could not be added, so that all else can be checked.
fn any_file() -> Cid {
    FileCid::new().finish()
}

fn refuse(file: &Path, findings: &[String]) -> anyhow::Result<()> {
    let things = if findings.len() == 1 { "1 thing" } else { &format!("{} things", findings.len()) };
    note(&format!("error: {} cannot be published, {things} must be changed", file.display()));
    findings.iter().for_each(|finding| note(&format!("  {}", finding.replace('\n', "\n    "))));
    Err(Refused.into())
}

fn add_trainer(
    store: &FolderStore,
    path: &Path,
    memory: u64,
    findings: &mut Vec<String>,
    notes: &mut Vec<String>,
) -> anyhow::Result<Option<Cid>> {
    let wasm = match module::read(path) {
        Ok(wasm) => wasm,
        Err(error) => {
            findings.push(format!("trainer: {error:#}"));
            return Ok(None);
        }
    };
    match admission::admit(&wasm, &ModuleLimits { max_memory_bytes: memory }) {
        Ok(admitted) => {
            notes.extend(admitted.warnings.iter().map(|warning| format!("{}: {warning}", path.display())));
            Ok(Some(files::add_file(store, &wasm[..])?.cid))
        }
        Err(refusal) => {
            findings.extend(refusal.findings.iter().map(|finding| format!("trainer: {finding}")));
            if refusal.more > 0 {
                findings.push(format!("trainer: and {} more: see `fedmkt check`", refusal.more));
            }
            Ok(None)
        }
    }
}

fn add_model(store: &FolderStore, path: &Path, findings: &mut Vec<String>) -> anyhow::Result<Option<Cid>> {
    // Nothing is added that no class could hold.
    let most = 1 << SizeClass::L.log2_job();
    match content_bytes(path, most) {
        Ok(bytes) if bytes > most => {
            findings.push(format!("model: {} has more than {}, no class is large enough", path.display(), Bytes(most)));
            return Ok(None);
        }
        Ok(_) => {}
        Err((path, error)) => {
            findings.push(format!("model: cannot read {}: {error}", path.display()));
            return Ok(None);
        }
    }
    match files::add_tree(store, path) {
        Ok(link) => Ok(Some(link.cid)),
        Err(error @ fedmkt_store::StoreError::Path { .. }) => {
            findings.push(format!("model: {error}"));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Bytes of a file, or of all files in a folder; a number that is more than `most` as soon as there are more.
fn content_bytes(path: &Path, most: u64) -> Result<u64, (PathBuf, io::Error)> {
    let failed = |error| (path.to_owned(), error);
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let mut bytes = 0;
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // Links are for `add_tree` to refuse; they are not followed, so that they cannot lead in circles.
        if bytes <= most && !entry.file_type().map_err(failed)?.is_symlink() {
            bytes += content_bytes(&entry.path(), most)?;
        }
    }
    Ok(bytes)
}

/// The job drive, or a finding that says why there can be none.
fn drive(store: &FolderStore, manifest: &Manifest, findings: &mut Vec<String>) -> anyhow::Result<Option<JobDrive>> {
    match JobDrive::of_manifest(store, manifest.clone()) {
        Ok(drive) => Ok(Some(drive)),
        Err(error @ (JobError::TooLarge { .. } | JobError::Pack(_))) => {
            findings.push(format!("machine.class: {error}"));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
