//! `fedmkt job`: offers in the market and what clients have submitted.

use std::io::Write;
use std::path::{Path, PathBuf};

use alloy::primitives::{B256, U256};
use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use fedmkt_contracts::market::Submission;
use fedmkt_core::manifest::{Disclosure, Manifest, ResultFile};
use fedmkt_core::tree::{RootBuilder, log2_size_for};
use fedmkt_core::unixfs::FileCid;
use fedmkt_market::board::{Board, Job, PAID, Reference, Slot};
use fedmkt_market::chain::Chain;
use fedmkt_market::duration::Seconds;
use fedmkt_market::receipt::utc;
use fedmkt_market::send::Sender;
use fedmkt_market::settings::Settings;
use fedmkt_market::{journal, submission, terminal, wallet};
use fedmkt_runtime::atomic_file;
use fedmkt_runtime::message::{note, printable};
use fedmkt_store::files::{self, visit_tree};
use fedmkt_store::{BlockStore, CachedStore, Counted, StoreError};
use serde_json::{Value, json};

use crate::{Refused, offer};

#[derive(Subcommand)]
pub enum Command {
    Post(Box<offer::Post>),
    /// List the jobs of the market
    List {
        /// Those as well that nobody can accept any more
        #[arg(long)]
        all: bool,
        /// Print an array of objects
        #[arg(long)]
        json: bool,
    },
    /// Show a job and its slots
    Show {
        /// Its id in the market, or its CID
        job: Reference,
        /// Print one object
        #[arg(long)]
        json: bool,
    },
    /// End the acceptance of clients; rewards of slots that nobody has taken are yours again, for `fedmkt claim`
    Cancel {
        /// Its id in the market, or its CID
        job: Reference,
    },
    /// List what clients have submitted
    Submissions {
        /// The job's id in the market, or its CID
        job: Reference,
        /// Print an array of objects
        #[arg(long)]
        json: bool,
    },
    Fetch(Fetch),
    /// Be content with a submission before its window has passed, or at all if the job is private
    Approve {
        /// The slot
        slot: B256,
        /// Agree without being asked
        #[arg(long, short)]
        yes: bool,
    },
}

/// Get the results of a submission, decrypt them, and check them against what the client has proven
///
/// Nothing is written unless all files are what they must be.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fedmkt job fetch 0x... --output results --identity sponsor-key.txt

Ends with exit code 1 when the results are not what was submitted: then do not approve, and challenge.")]
pub struct Fetch {
    /// The slot
    slot: B256,
    /// Where results are written
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// A file with the age key of the job's sponsor
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Print one object
    #[arg(long)]
    json: bool,
}

pub fn run(command: &Command, settings: &Settings, store: &CachedStore, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        Command::Post(post) => offer::run(post, settings, store, out),
        Command::List { all, json } => list(settings, *all, *json, out),
        Command::Show { job, json } => show(settings, job, *json, out),
        Command::Cancel { job } => cancel(settings, job, out),
        Command::Submissions { job, json } => submissions(settings, job, *json, out),
        Command::Fetch(arguments) => fetch(arguments, settings, store, out),
        Command::Approve { slot, yes } => approve(settings, *slot, *yes),
    }
}

/// Bytes of nodes that a bundle may have whatever is in it.
const MOST_NODES: u64 = 1 << 20;

fn disclosure(code: u8) -> &'static str {
    ["open", "audited", "private"].get(usize::from(code)).copied().unwrap_or("unknown")
}

/// How a run ended, by the number in a submission.
fn status(code: u8) -> &'static str {
    let names = ["running", "done", "data refused", "failed", "trapped", "steps exhausted", "results refused"];
    names.get(usize::from(code)).copied().unwrap_or("unknown")
}

fn job_json(chain: &Chain, job: &Job, now: u64) -> anyhow::Result<Value> {
    let terms = &job.terms;
    let kind = chain.token(terms.token)?;
    Ok(json!({
        "job": job.id, "cid": job.cid().to_string(), "sponsor": job.sponsor, "block": job.block,
        "open": job.is_open(now), "open_slots": job.open, "slots": terms.slots,
        "token": terms.token, "symbol": kind.symbol, "decimals": kind.decimals,
        "reward": terms.reward.to_string(), "bond": terms.bond.to_string(),
        "accept_until": terms.acceptUntil.to::<u64>(), "submit_time": terms.submitTime, "window": terms.window,
        "move_time": terms.moveTime, "disclosure": disclosure(terms.disclosure), "arbitrator": terms.arbitrator,
        "challenge_bond": terms.challengeBond.to_string(), "compensation": terms.compensation.to_string(),
        "arbitration_fee": terms.arbitrationFee.to_string(),
    }))
}

fn slot_json(slot: &Slot) -> Value {
    let submission = slot.submission.as_ref().map(|(run, submission)| {
        json!({
            "status": status(submission.status), "exit_code": submission.exitCode as i32, "steps": submission.steps,
            "trace_root": run.traceRoot, "run_id": run.runId,
            "bundle": submission::cid_of(&submission.bundle).map(|cid| cid.to_string()),
            "capsule": submission::cid_of(&submission.capsule).map(|cid| cid.to_string()),
            "results": submission.results.iter().map(|file| json!({
                "size": file.size, "root": file.root,
                "cid": submission::cid_of(&file.cid).map(|cid| cid.to_string()),
            })).collect::<Vec<_>>(),
        })
    });
    json!({
        "slot": slot.id, "job": slot.job, "client": slot.client, "state": slot.state(), "data_root": slot.data_root,
        "run_id": slot.run_id, "submit_until": slot.submit_until, "challenge_until": slot.challenge_until,
        "disclose_until": slot.disclose_until, "submission": submission,
    })
}

fn list(settings: &Settings, all: bool, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let chain = Chain::connect(settings)?;
    let board = Board::read(&chain, settings)?;
    let now = chain.latest()?.time;
    let mut jobs: Vec<&Job> = board.jobs.values().filter(|job| all || job.is_open(now)).collect();
    jobs.sort_by_key(|job| (job.block, job.id));
    if json {
        let objects = jobs.iter().map(|job| job_json(&chain, job, now)).collect::<anyhow::Result<Vec<_>>>()?;
        return Ok(writeln!(out, "{:#}", json!(objects))?);
    }
    for job in &jobs {
        let terms = &job.terms;
        // A token that is none must not hide the jobs of others.
        let amount = |units: u128| match chain.token(terms.token) {
            Ok(kind) => kind.amount(U256::from(units)),
            Err(_) => format!("{units} units of {}", terms.token),
        };
        writeln!(out, "{}  {}", job.id, job.cid())?;
        writeln!(
            out,
            "  {} for a bond of {}, {}, {} of {} slots open, until {}",
            amount(terms.reward),
            amount(terms.bond),
            disclosure(terms.disclosure),
            job.open,
            terms.slots,
            utc(terms.acceptUntil.to())
        )?;
    }
    if jobs.is_empty() {
        note(&format!("no job can be accepted{}", if all { "" } else { ": --all lists those that were posted" }));
    }
    Ok(())
}

fn show(settings: &Settings, reference: &Reference, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let chain = Chain::connect(settings)?;
    let board = Board::read(&chain, settings)?;
    let now = chain.latest()?.time;
    let job = board.job(&chain, reference)?;
    if json {
        let mut object = job_json(&chain, job, now)?;
        object["taken"] = board.slots_of(job.id).map(slot_json).collect();
        return Ok(writeln!(out, "{object:#}")?);
    }
    let (terms, kind) = (&job.terms, chain.token(job.terms.token)?);
    let amount = |units: u128| kind.amount(U256::from(units));
    writeln!(out, "job          {}", job.id)?;
    writeln!(out, "cid          {}", job.cid())?;
    writeln!(out, "sponsor      {}", job.sponsor)?;
    writeln!(out, "slots        {} of {} open{}", job.open, terms.slots, if job.closed { ", closed" } else { "" })?;
    writeln!(out, "reward       {}  (token {})", amount(terms.reward), terms.token)?;
    writeln!(out, "bond         {}", amount(terms.bond))?;
    writeln!(out, "accept until {}", utc(terms.acceptUntil.to()))?;
    writeln!(out, "times        {} to submit, {} to challenge", Seconds(terms.submitTime), Seconds(terms.window))?;
    writeln!(out, "disclosure   {}", disclosure(terms.disclosure))?;
    for slot in board.slots_of(job.id) {
        writeln!(out, "slot         {}  {}  by {}", slot.id, slot.state(), slot.client)?;
    }
    Ok(())
}

fn submissions(settings: &Settings, reference: &Reference, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let chain = Chain::connect(settings)?;
    let board = Board::read(&chain, settings)?;
    let job = board.job(&chain, reference)?;
    let slots: Vec<&Slot> = board.slots_of(job.id).filter(|slot| slot.submission.is_some()).collect();
    if json {
        let objects: Vec<Value> = slots.iter().map(|slot| slot_json(slot)).collect();
        return Ok(writeln!(out, "{:#}", json!(objects))?);
    }
    for slot in &slots {
        let (_, submission) = slot.submission.as_ref().expect("chosen");
        writeln!(out, "{}  {}", slot.id, slot.state())?;
        writeln!(out, "  client     {}", slot.client)?;
        writeln!(out, "  run        {} after {} steps", status(submission.status), submission.steps)?;
        if let Some(bundle) = submission::cid_of(&submission.bundle) {
            writeln!(out, "  results    {bundle}")?;
        }
        writeln!(out, "  challenge  until {}", utc(slot.challenge_until))?;
    }
    if slots.is_empty() {
        note("nobody has submitted yet");
    }
    Ok(())
}

fn cancel(settings: &Settings, reference: &Reference, out: &mut dyn Write) -> anyhow::Result<()> {
    let chain = Chain::connect(settings)?;
    let board = Board::read(&chain, settings)?;
    let job = board.job(&chain, reference)?;
    if job.closed {
        note("the job is closed already");
        return Ok(());
    }
    let key = wallet::open(settings)?;
    let journal = journal::open(settings)?;
    let sender = Sender { chain: &chain, journal: &journal, key };
    let call = chain.market().close(job.id).calldata().to_vec();
    sender.send(&format!("close {}", job.id), chain.market, call)?;
    let back = U256::from(job.terms.reward) * U256::from(job.open);
    writeln!(out, "closed; {} are yours again: `fedmkt claim`", chain.token(job.terms.token)?.amount(back))?;
    Ok(())
}

fn approve(settings: &Settings, id: B256, yes: bool) -> anyhow::Result<()> {
    let chain = Chain::connect(settings)?;
    let board = Board::read(&chain, settings)?;
    let slot = board.slot(&chain, id)?;
    if let Some(ending) = slot.ending {
        note(&format!("the slot has ended already: {}", slot.state()));
        return if ending == PAID { Ok(()) } else { Err(Refused.into()) };
    }
    let Some((run, _)) = &slot.submission else { bail!("slot {id} has no submission yet") };
    let now = chain.latest()?.time;
    if slot.requester.is_some() && (slot.disclose_until.is_some() || now <= slot.challenge_until) {
        bail!(
            "somebody has requested an audit of slot {id}: it can be approved when the client has disclosed its data and the window after \
             that has passed"
        );
    }
    let job = &board.jobs[&slot.job];
    let kind = chain.token(job.terms.token)?;
    let reward = kind.amount(U256::from(job.terms.reward));
    terminal::agree(yes, &format!("Approve, so that {} has {reward} at once?", slot.client))?;
    let key = wallet::open(settings)?;
    let journal = journal::open(settings)?;
    let sender = Sender { chain: &chain, journal: &journal, key };
    let call = chain.market().approve(id, run.clone()).calldata().to_vec();
    sender.send(&format!("approve {id}"), chain.market, call)?;
    Ok(())
}

fn fetch(arguments: &Fetch, settings: &Settings, store: &CachedStore, out: &mut dyn Write) -> anyhow::Result<()> {
    let chain = Chain::connect(settings)?;
    let board = Board::read(&chain, settings)?;
    let id = arguments.slot;
    let slot = board.slot(&chain, id)?;
    let Some((_, submitted)) = &slot.submission else { bail!("slot {id} has no submission yet") };
    let Some(bundle) = submission::cid_of(&submitted.bundle) else {
        bail!("slot {id} has no results: the run ended as {:?}", status(submitted.status))
    };
    let cid = board.jobs[&slot.job].cid();
    let manifest: Manifest =
        Manifest::decode(&store.get(&cid)?).map_err(|error| anyhow!("{cid} is no job: {error}"))?;
    let identity = match (&manifest.sponsor, &arguments.identity) {
        (None, _) => None,
        (Some(recipient), Some(path)) => {
            let key = read_identity(path)?;
            if key.to_public().to_string() != *recipient {
                bail!("{} is the key of {}, the results are encrypted to {recipient}", path.display(), key.to_public());
            }
            Some(key)
        }
        (Some(recipient), None) => bail!("the results are encrypted to {recipient}: name its key with --identity"),
    };
    let results = match open_bundle(store, &bundle, &manifest, submitted, identity.as_ref()) {
        Ok(results) => results,
        Err(error) if error.is::<NotWhatWasSubmitted>() => {
            note(&format!("error: {}", printable(&error.to_string())));
            note(&match identity {
                None => format!("  do not approve slot {id}; it can be challenged until {}", utc(slot.challenge_until)),
                Some(_) => format!(
                    "  do not approve slot {id}. What is encrypted to you nobody else can compare, so a challenge of results would be \
                     lost; whoever has the data can make the run again, and has its results"
                ),
            });
            return Err(Refused.into());
        }
        Err(error) => return Err(error),
    };
    std::fs::create_dir_all(&arguments.output)
        .with_context(|| format!("cannot make {}", arguments.output.display()))?;
    for (name, content) in &results {
        let path = arguments.output.join(name);
        atomic_file::replace(&path, |file| file.write_all(content))
            .with_context(|| format!("cannot write {}", path.display()))?;
        if !arguments.json {
            writeln!(out, "{}", path.display())?;
        }
    }
    if arguments.json {
        let names: Vec<_> = results.iter().map(|(name, _)| name).collect();
        let disclosed = if manifest.disclosure == Disclosure::Open { "open" } else { "encrypted" };
        writeln!(out, "{:#}", json!({ "slot": id, "bundle": bundle.to_string(), "files": names, "kind": disclosed }))?;
    }
    Ok(())
}

/// Results that the client has not proven.
#[derive(Debug)]
struct NotWhatWasSubmitted(String);

impl std::fmt::Display for NotWhatWasSubmitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotWhatWasSubmitted {}

fn read_identity(path: &Path) -> anyhow::Result<age::x25519::Identity> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let key = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let key = key.and_then(|line| line.parse().ok());
    key.with_context(|| format!("{} holds no age key (AGE-SECRET-KEY-1...)", path.display()))
}

/// The files of a bundle, decrypted, each checked against what was proven about it.
fn open_bundle(
    store: &CachedStore,
    bundle: &cid::Cid,
    manifest: &Manifest,
    submitted: &Submission,
    identity: Option<&age::x25519::Identity>,
) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let wrong = |what: String| anyhow::Error::from(NotWhatWasSubmitted(what));
    let overhead = |bytes| if identity.is_some() { submission::most_overhead(bytes) } else { 0 };
    let most = |file: &ResultFile| file.most_bytes.saturating_add(overhead(file.most_bytes));
    // Blocks may be smaller than ours, and nodes stand above them.
    let all = manifest.results.iter().fold(MOST_NODES, |all, file| all.saturating_add(most(file).saturating_mul(2)));
    match store.prepare(bundle, all) {
        Err(StoreError::TooMuch { what: Counted::Bytes, .. }) => {
            return Err(wrong("the results are larger than the job allows".into()));
        }
        prepared => prepared?,
    }
    let mut found = Vec::new();
    visit_tree::<StoreError>(store, bundle, |entry| {
        if found.len() <= manifest.results.len() {
            found.push((entry.path.to_owned(), entry.cid, entry.file_bytes));
        }
        Ok(())
    })?;
    if submitted.results.len() != manifest.results.len() {
        return Err(wrong("another number of results was submitted than the job has".into()));
    }
    let mut results = Vec::new();
    for (file, proven) in manifest.results.iter().zip(&submitted.results) {
        let name = &file.name;
        let place = submission::published_name(manifest, name);
        let link = found.iter().find(|(path, _, bytes)| *path == place && bytes.is_some());
        let (_, cid, _) = link.ok_or_else(|| wrong(format!("the results lack {place}")))?;
        let content = match files::read_file(store, cid, most(file)) {
            Err(StoreError::TooMuch { .. }) => return Err(wrong(format!("{place} is larger than the job allows"))),
            content => content?,
        };
        let content = match identity {
            Some(key) => age::decrypt(key, &content)
                .map_err(|error| wrong(format!("{place} cannot be decrypted with this key: {error}")))?,
            None => content,
        };
        let mut root = RootBuilder::new();
        root.push(&content);
        let bytes = content.len() as u64;
        let root = root.finish(log2_size_for(bytes)).root;
        let mut plain = FileCid::new();
        plain.push(&content);
        let expected = submission::cid_of(&proven.cid);
        if bytes != proven.size || root.0 != proven.root.0 || Some(plain.finish()) != expected {
            return Err(wrong(format!("{name} is not the file that the client has proven")));
        }
        results.push((name.clone(), content));
    }
    Ok(results)
}
