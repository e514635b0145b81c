//! `fedmkt report`: a receipt as one page for people.
//!
//! Everything on the page comes from the store: the receipt, its job, and the result files, of which `metrics.csv` gives
//! the curves. What the receipt says of them is checked on the way. All of it may come from strangers: [`page`] escapes
//! every text, and the page has no scripts and loads nothing.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use fedmkt_core::manifest::Manifest;
use fedmkt_core::receipt::ResultRecord;
use fedmkt_core::roots::ResultRoot;
use fedmkt_core::tree::{RootBuilder, log2_size_for};
use fedmkt_market::receipt::Receipt;
use fedmkt_runtime::metrics::{self, Point};
use fedmkt_store::files::{FileReader, read_file};
use fedmkt_store::job::{JobDrive, JobError};
use fedmkt_store::{CachedStore, StoreError};

use crate::cli::Report;

mod chart;
mod page;

/// The most bytes of a metrics file that are read.
const MOST_METRICS_BYTES: u64 = 16 << 20;

/// All that is known of a run.
struct Story {
    receipt: Receipt,
    /// The job and the bytes of the files on its drive; absent when it is not in the store.
    job: Option<(Manifest, Vec<(String, u64)>)>,
    points: Vec<Point>,
    checks: Vec<Check>,
}

/// Something that was held against the receipt.
struct Check {
    what: String,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Right,
    Wrong,
    /// What is needed is not in the store.
    Unknown,
}

pub fn run(arguments: &Report, store: &CachedStore, out: &mut dyn Write) -> anyhow::Result<()> {
    let cid = arguments.receipt;
    let Some(receipt) = Receipt::load(store, &cid)? else {
        bail!("{cid} is not a receipt: `fedmkt inspect {cid}` shows what it is");
    };
    let page = page::page(&tell(receipt, store)?);
    match &arguments.output {
        Some(path) if path == Path::new("-") => out.write_all(page.as_bytes())?,
        path => {
            let path = path.clone().unwrap_or_else(|| PathBuf::from(format!("{cid}.html")));
            fs::write(&path, &page).with_context(|| format!("cannot write {}", path.display()))?;
            writeln!(out, "{}", path.display())?;
        }
    }
    Ok(())
}

fn tell(receipt: Receipt, store: &CachedStore) -> anyhow::Result<Story> {
    let mut checks = Vec::new();
    let mut check = |what: String, right: Option<bool>| {
        let outcome = right.map_or(Outcome::Unknown, |right| if right { Outcome::Right } else { Outcome::Wrong });
        checks.push(Check { what, outcome });
    };
    let signed = receipt.envelope.as_ref().map(|envelope| envelope.is_signed());
    check("The receipt is signed by the client that it names".into(), signed);
    check(
        "Its parts agree: steps, segments, trace root, outcome and results".into(),
        Some(receipt.body.is_consistent()),
    );
    let job = job(&receipt, store)?;
    let same_root = job.as_ref().map(|(.., root)| *root == receipt.body.job_root);
    check("The job root is that of the job, recomputed from its blocks".into(), same_root);
    for (index, result) in receipt.body.results.iter().enumerate() {
        let limit = job.as_ref().map(|(manifest, ..)| {
            manifest.results.get(index).is_some_and(|file| file.name == result.name && result.size <= file.most_bytes)
        });
        check(format!("{} is a result of the job and within its limit", result.name), limit);
        check(format!("{} has the size and the root that the receipt says", result.name), content(result, store)?);
    }
    let points = match receipt.body.results.iter().find(|result| result.name == metrics::FILE) {
        Some(result) => match read_file(store, &result.cid, MOST_METRICS_BYTES) {
            Ok(file) => metrics::parse(&file),
            Err(StoreError::TooMuch { .. } | StoreError::Malformed { .. }) => Vec::new(),
            Err(error) if error.is_absence() => Vec::new(),
            Err(error) => return Err(error.into()),
        },
        None => Vec::new(),
    };
    let job = job.map(|(manifest, files, _)| (manifest, files));
    Ok(Story { receipt, job, points, checks })
}

type Job = (Manifest, Vec<(String, u64)>, fedmkt_core::roots::JobRoot);

fn job(receipt: &Receipt, store: &CachedStore) -> anyhow::Result<Option<Job>> {
    let found = JobDrive::open(store, &receipt.body.job).and_then(|drive| Ok((drive.root(store)?, drive)));
    match found {
        Ok((root, drive)) => {
            let files = drive.files().map(|(path, bytes)| (path.to_string(), bytes)).collect();
            Ok(Some((drive.manifest().clone(), files, root)))
        }
        Err(JobError::Store(error)) if error.is_absence() => Ok(None),
        Err(error) => Err(anyhow::Error::from(error).context("the receipt's job cannot be used")),
    }
}

/// Whether a result file has the size and root of its record; `None` when the store does not have all of it.
fn content(result: &ResultRecord, store: &CachedStore) -> anyhow::Result<Option<bool>> {
    let mut reader = FileReader::new(store, &result.cid, result.size);
    let mut root = RootBuilder::new();
    let mut bytes = 0;
    loop {
        match reader.next_block() {
            Ok([]) => break,
            Ok(block) => {
                bytes += block.len() as u64;
                root.push(block);
            }
            Err(error) if error.is_absence() => return Ok(None),
            Err(StoreError::TooMuch { .. } | StoreError::Malformed { .. }) => return Ok(Some(false)),
            Err(error) => return Err(error.into()),
        }
    }
    let root = ResultRoot(root.finish(log2_size_for(bytes)).root.0);
    Ok(Some(bytes == result.size && root == result.root))
}
