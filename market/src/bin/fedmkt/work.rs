//! The client's side of the market: `fedmkt accept`, `submit`, `status`, `claim`.
//!
//! Each command looks at the chain and the journal first and does what is left to do, so that it can be repeated at any
//! time. A slot's id follows from what is written down before it is accepted: nothing is accepted twice.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use alloy::eips::BlockNumberOrTag;
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::providers::Provider;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolValue;
use anyhow::{Context, anyhow, bail};
use cid::Cid;
use clap::Args;
use fedmkt_contracts::terms::{self, AUDITED, PRIVATE};
use fedmkt_contracts::{ids, randomness, submission as calls};
use fedmkt_core::inputs::{self, market_run_id};
use fedmkt_core::manifest::Disclosure;
use fedmkt_core::pack::Pack;
use fedmkt_core::roots::{DataRoot, Hash, RunId};
use fedmkt_core::tree;
use fedmkt_market::amount::Amount;
use fedmkt_market::board::{ACCEPTED, AUDIT_DUE, Board, Job, PAID, Reference, SUBMITTED, Slot};
use fedmkt_market::chain::Chain;
use fedmkt_market::dispute::Effort;
use fedmkt_market::duration::Seconds;
use fedmkt_market::journal::{self, Drawn, Taken};
use fedmkt_market::receipt::{Receipt, utc};
use fedmkt_market::records::Records;
use fedmkt_market::send::{Sender, fees, pay};
use fedmkt_market::settings::{Arbitrators, Settings};
use fedmkt_market::{submission, terminal, wallet};
use fedmkt_runtime::consent::Consent;
use fedmkt_runtime::grant::Grant;
use fedmkt_runtime::identity::Identity;
use fedmkt_runtime::job;
use fedmkt_runtime::message::{note, printable};
use fedmkt_runtime::passphrase::passphrase;
use fedmkt_runtime::requirement;
use fedmkt_store::{CachedStore, FolderStore, files};
use serde_json::{Value, json};

use crate::{Refused, challenge, offer, self_check};

/// What has happened to a slot: flags of the contract.
const DRAWN: u8 = 2;
const LOTTERY: u8 = 4;

/// Gas of all that a client sends until it has its reward, for the estimate that it is shown.
const GAS: u64 = 350_000;

const PAUSE: Duration = Duration::from_millis(500);

/// The most bytes of a header's `extraData` with which the market finds the field that comes after it.
const MOST_EXTRA: usize = 55;

/// How long a node may have no new block.
const PATIENCE: Duration = Duration::from_secs(300);

/// Take a slot of a job for your data: show what it may do and pays, put up the bond, and get the id of the run
///
/// Nothing is accepted twice for the same data: the same command goes on where it was interrupted.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fedmkt accept 0x... --grant data=patients
  fedmkt-run bafyrei... --grant data=patients --accept --submit     # the whole way

The job must be in the store, or come from --ipfs or --gateway. Then train with `fedmkt-run JOB_CID --grant data=patients --run-id RUN_ID`, and `fedmkt submit`.")]
pub struct Accept {
    /// The job's id in the market, or its CID
    job: Reference,
    /// What the job may read: the name that the job gives it, and a folder or file
    #[arg(long, value_name = "NAME=PATH", value_parser = grant)]
    grant: (String, PathBuf),
    /// Take another slot for the same data, after one has ended, or for other data while one waits for its results
    #[arg(long)]
    again: bool,
    /// Agree without being asked
    #[arg(long, short)]
    yes: bool,
    /// Print one object
    #[arg(long)]
    json: bool,
}

/// Submit the results of the run of a slot: encrypted to the sponsor if the job says so
#[derive(Args)]
#[command(after_help = "\
Examples:
  fedmkt submit 0x... --receipt bafyrei...
  fedmkt submit 0x... --receipt bafyrei... --self-check

The receipt is that which `fedmkt-run` printed. FEDMKT_VERIFIER names `fedmkt-verify`, where it is not beside this program.")]
pub struct Submit {
    /// The slot
    slot: B256,
    /// The receipt's CID [default: that of the last attempt]
    #[arg(long, value_name = "CID", value_parser = crate::cli::cid)]
    receipt: Option<Cid>,
    /// Replay a random step of the run in a machine first, with `fedmkt-verify`; what is not as the receipt says is not
    /// submitted
    #[arg(long)]
    self_check: bool,
    /// Print one object
    #[arg(long)]
    json: bool,
}

/// Show your slots: how they stand, and what is to be done until when
#[derive(Args)]
pub struct Status {
    /// Those as well that have ended
    #[arg(long)]
    all: bool,
    /// Print an array of objects
    #[arg(long)]
    json: bool,
}

/// End slots whose time has come, and take everything that the market owes you
///
/// Holds the audit lottery of a slot if nobody has.
#[derive(Args)]
#[command(after_help = "\
Ends with exit code 1 when a slot could not be ended, or was drawn for an audit: `fedmkt defend` or `fedmkt disclose` then, in time, or
the bond is lost.")]
pub struct Claim {
    /// Give up on private jobs whose window has passed: the bond comes back, and no reward
    #[arg(long)]
    without_approval: bool,
    /// Print one object
    #[arg(long)]
    json: bool,
}

/// Show your data to the auditors of a job, encrypted to them, when an audit of your slot is due
#[derive(Args)]
#[command(after_help = "\
Who the auditors are was part of what you agreed to when you accepted. Without this the bond is lost.")]
pub struct Disclose {
    /// The slot
    slot: B256,
    /// Agree without being asked
    #[arg(long, short)]
    yes: bool,
    /// Print one object
    #[arg(long)]
    json: bool,
}

fn grant(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), path.into())),
        _ => Err("expected NAME=PATH, for example `data=patients`".into()),
    }
}

pub fn accept(arguments: &Accept, settings: &Settings, store: &CachedStore, out: &mut dyn Write) -> anyhow::Result<()> {
    let chain = Chain::connect(settings)?;
    let board = Board::read(&chain, settings)?;
    let now = chain.latest()?.time;
    let posted = board.job(&chain, &arguments.job)?;
    let cid = posted.cid();
    let job = job::Job::load(&job::Reference::Cid(cid), store, &settings.home)?;
    job::check_release(cid, &job.manifest)?;
    let differences = terms::differences(&posted.terms, &cid, &job.manifest, job.root());
    if !differences.is_empty() {
        let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
        bail!("what was posted does not fit the job: do not accept it\n  {}", lines.join("\n  "));
    }
    let obstacles = submission::obstacles(&job.manifest);
    if !obstacles.is_empty() {
        let lines: Vec<String> = obstacles.iter().map(ToString::to_string).collect();
        bail!("you could not submit what this job wants: do not accept it\n  {}", lines.join("\n  "));
    }
    let (name, path) = &arguments.grant;
    if *name != job.manifest.data.name {
        bail!("the job reads `{0}`, not `{name}`: use --grant {0}=PATH", job.manifest.data.name);
    }
    let grant = Grant::survey(path)?;
    let client = wallet::address(settings)?;

    let identity = Identity::open(&settings.home.identity(), passphrase)?;
    let capsule = grant.pack(&job.manifest, &identity, &settings.home.capsules()?, &mut |_| {})?;
    let data = Pack::open(capsule.bytes.clone()).map_err(|error| anyhow!("the capsule is damaged: {error}"))?;
    requirement::check(&job.manifest.data, &data)
        .with_context(|| format!("{} does not fit the job", path.display()))?;
    let data_root = B256::from(capsule.root.0);
    let blind_hash = B256::from(tree::keccak256(&inputs::blind(data.salt()).0).0);
    let file = std::path::absolute(&capsule.path)?.display().to_string();

    let known = |journal: &Records| -> anyhow::Result<Option<Taken>> {
        let mut known: Vec<Taken> = taken(journal, &chain, client)?
            .into_iter()
            .filter(|taken| taken.job == posted.id && taken.data_root == data_root && taken.blind_hash == blind_hash)
            .collect();
        let goes_on = |taken: &Taken| board.slots.get(&taken.slot).is_none_or(|slot| slot.ending.is_none());
        known.sort_by_key(|taken| !goes_on(taken));
        Ok(known.into_iter().next().filter(|taken| !arguments.again || goes_on(taken)))
    };
    // The journal is not open while a person is asked: `fedmkt defend` needs it.
    let before = known(&journal::open(settings)?)?;
    let (fresh, key) = match before {
        Some(taken) => {
            let found = chain.call(chain.market().getSlot(taken.slot))?;
            let signs = found.state == 0
                || (found.state == ACCEPTED && found.flags & DRAWN == 0 && ends_late(&chain, &posted.terms)?);
            (None, signs.then(|| wallet::open(settings)).transpose()?)
        }
        None => {
            // Else a folder that changes now and then would take a bond each time.
            let other = board.slots_of(posted.id).find(|slot| {
                let waits = slot.submission.is_none() && slot.ending.is_none() && slot.submit_until >= now;
                slot.client == client && slot.data_root != data_root && waits
            });
            if let Some(slot) = other.filter(|_| !arguments.again) {
                bail!(
                    "slot {} of this job is yours and waits for its results until {}, on other data than {} is now: bring that \
                     back, or put up another bond for what it is now by `fedmkt accept --again`",
                    slot.id,
                    utc(slot.submit_until),
                    path.display()
                );
            }
            if !posted.is_open(now) {
                bail!("job {} takes no more clients: its slots are taken, or its time has passed", posted.id);
            }
            let consent = Consent {
                job: cid,
                manifest: job.manifest.clone(),
                grant: grant.path().to_owned(),
                files: grant.files(),
                bytes: grant.bytes(),
            };
            note(&format!("{consent}\n"));
            let kind = chain.token(posted.terms.token)?;
            offer::describe(&posted.terms, &kind, &job.manifest);
            let price = fees(&chain)?.max_fee_per_gas;
            note(&format!(
                "  gas        about {GAS} in all, at most {} at present",
                Amount::coins(U256::from(price) * U256::from(GAS))
            ));
            describe_disputes(&posted.terms, job.manifest.limits.steps, price);
            note(&format!("  account    {client}\n"));
            // Later the bond would be lost by it.
            readable(&chain, BlockNumberOrTag::Latest)?;
            for doubt in doubts(settings, &posted.terms)? {
                if arguments.yes {
                    bail!("not accepted unasked: {doubt}");
                }
                note(&format!("  warning    {doubt}\n"));
            }
            terminal::agree(arguments.yes, "Accept, and put up the bond?")?;
            let mut nonce = B256::ZERO;
            getrandom::fill(&mut nonce.0).map_err(|error| anyhow!("the system gives no randomness: {error}"))?;
            let slot = ids::slot_id(posted.id, client, data_root, blind_hash, nonce);
            let fresh = Taken {
                chain: chain.id,
                market: chain.market,
                client,
                slot,
                job: posted.id,
                cid: cid.to_string(),
                nonce,
                data_root,
                blind_hash,
                capsule: file.clone(),
                drawn: None,
                receipt: None,
                bundle: None,
            };
            (Some(fresh), Some(wallet::open(settings)?))
        }
    };
    let journal = journal::open(settings)?;
    // Meanwhile the same command may have taken a slot elsewhere.
    let (mut taken, is_fresh) = match known(&journal)? {
        Some(mut taken) => {
            // The home may have been moved meanwhile, or the data packed anew.
            if taken.capsule != file {
                taken.capsule = file;
                journal.put(&journal::name(taken.slot), &taken)?;
            }
            (taken, false)
        }
        None => (fresh.context("the slot that was begun is no longer in the journal: run the command again")?, true),
    };
    let found = chain.call(chain.market().getSlot(taken.slot))?;
    if found.state == 0 {
        let key = key.clone().context("the slot has gone from the chain just now: run the command again")?;
        let sender = Sender { chain: &chain, journal: &journal, key };
        journal.put(&journal::name(taken.slot), &taken)?;
        if let Err(error) = take(&sender, &posted.terms, &taken) {
            // What was refused is not gone on with. But once it was signed it may come later, whatever the node says now.
            if is_fresh && !sender.was_signed(&accepting(&taken))? {
                journal.remove(&journal::name(taken.slot))?;
            }
            return Err(error);
        }
    }
    let found = chain.call(chain.market().getSlot(taken.slot))?;
    if found.state == 0 {
        bail!(
            "the node says that slot {} was accepted, and the market does not have it: use another node; the same command \
             goes on",
            taken.slot
        );
    }
    if found.state == ACCEPTED {
        draw(settings, &chain, &journal, key, &posted.terms, &mut taken)?;
    }
    let drawn = taken.drawn.as_ref().context("the slot has ended, and its run was never drawn")?;
    let ended = found.state > SUBMITTED;
    if ended {
        note("This slot has ended: --again takes another one for the same data.");
    }
    if arguments.json {
        let object = json!({
            "slot": taken.slot, "job": taken.job, "cid": taken.cid, "data_root": taken.data_root,
            "run_id": drawn.run_id, "client": client, "submitted": found.state >= SUBMITTED, "ended": ended,
        });
        writeln!(out, "{object}")?;
    } else {
        writeln!(out, "slot    {}\nrun id  {}", taken.slot, drawn.run_id)?;
    }
    Ok(())
}

/// What a client lets itself in for if somebody disputes its work.
fn describe_disputes(terms: &fedmkt_contracts::market::Terms, most_steps: u64, price: u128) {
    if terms.arbitrator.is_zero() {
        return;
    }
    let effort = Effort::of(terms, most_steps);
    // In whole hours: `Seconds` of an odd number are hard to read.
    let longest = Seconds(u32::try_from(effort.seconds.div_ceil(3600) * 3600).unwrap_or(u32::MAX));
    let cost = Amount::coins(U256::from(price) * U256::from(effort.gas));
    note("  disputed   your bond is at stake. One challenge takes, at worst,");
    note(&format!("               {} transactions, each within {}", effort.moves, Seconds(terms.moveTime)));
    note(&format!("               about {} gas in all, at most {cost} at present", effort.gas));
    note(&format!("               {longest} until it has ended, in which nothing is paid"));
    note("               and computing a part of the run again: `fedmkt defend` does all this");
}

/// Why a person should look before a bond is put up: whoever posts a job names who rules in disputes, or votes there as its auditor,
/// and how much time there is for a move, and could take the bond by either.
fn doubts(settings: &Settings, terms: &fedmkt_contracts::market::Terms) -> anyhow::Result<Vec<String>> {
    let mut doubts = Vec::new();
    if terms.arbitrator.is_zero() {
        return Ok(doubts);
    }
    let Arbitrators(mut trusted) = settings.get("arbitrators")?;
    let mut judges = [&[terms.arbitrator], &terms.auditors[..]].concat();
    judges.retain(|judge| !trusted.contains(judge));
    if !judges.is_empty() {
        let list = |addresses: &[Address]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        let unknown = list(&judges).join(" and ");
        trusted.extend(judges);
        doubts.push(format!(
            "who rules in disputes of this job could take your bond, and your `arbitrators` do not name {unknown}. If you trust them: \
             `fedmkt config set arbitrators {}` (or FEDMKT_ARBITRATORS, if that is set)",
            list(&trusted).join(",")
        ));
    }
    let least: u32 = settings.get("least-move-time")?;
    if terms.moveTime < least {
        doubts.push(format!(
            "in a dispute you would have {} for a move, less than your `least-move-time`, {}: whoever is later loses the bond",
            Seconds(terms.moveTime),
            Seconds(least)
        ));
    }
    Ok(doubts)
}

/// The name of what takes a slot.
fn accepting(taken: &Taken) -> String {
    format!("accept {}", taken.slot)
}

fn take(sender: &Sender<'_>, terms: &fedmkt_contracts::market::Terms, taken: &Taken) -> anyhow::Result<()> {
    let chain = sender.chain;
    if sender.address() != taken.client {
        bail!("the slot was begun by {}: use that wallet", taken.client);
    }
    let call = chain.market().accept(taken.job, taken.data_root, taken.blind_hash, taken.nonce).calldata().to_vec();
    pay(sender, &accepting(taken), terms.token, U256::from(terms.bond), call)?;
    Ok(())
}

/// All that this account has written down for this market.
fn taken(journal: &Records, chain: &Chain, client: Address) -> anyhow::Result<Vec<Taken>> {
    let all: Vec<(String, Taken)> = journal.all("slot/")?;
    let here = |taken: &Taken| (taken.chain, taken.market, taken.client) == (chain.id, chain.market, client);
    Ok(all.into_iter().map(|(_, taken)| taken).filter(here).collect())
}

/// Whoever relies on the board for all that is theirs must not miss what is written down.
pub fn must_have_all(board: &Board, chain: &Chain, settings: &Settings, client: Address) -> anyhow::Result<()> {
    let taken = taken(&journal::open(settings)?, chain, client)?;
    board.must_have(chain, taken.into_iter().map(|taken| taken.slot))
}

/// The header that has the randomness after a block, once it counts; waits for it.
fn header(chain: &Chain, number: u64) -> anyhow::Result<(Bytes, B256)> {
    let source = randomness::source(number);
    // One block more: only in a later one can the market check it.
    let wanted = source + chain.confirmations;
    let (mut latest, mut since) = (chain.latest()?.number, Instant::now());
    if latest < wanted {
        note(&format!("Waiting for block {source}, whose randomness is in the id of the run."));
    }
    while latest < wanted {
        if since.elapsed() > PATIENCE {
            bail!(
                "the node has no new block after {latest} for {} minutes: look at it, or use another one; the same command \
                 goes on",
                PATIENCE.as_secs() / 60
            );
        }
        std::thread::sleep(PAUSE);
        let number = chain.latest()?.number;
        if number > latest {
            (latest, since) = (number, Instant::now());
        }
    }
    readable(chain, BlockNumberOrTag::Number(source))
}

/// The header of a block and the randomness in it, if the market can read them.
fn readable(chain: &Chain, number: BlockNumberOrTag) -> anyhow::Result<(Bytes, B256)> {
    let block = chain.ask(chain.node().get_block_by_number(number))?;
    let header = block.with_context(|| format!("the node has no block {number}"))?.header;
    let encoded = randomness::encoded(&header.inner);
    if keccak256(&encoded) != header.hash || header.extra_data.len() > MOST_EXTRA {
        bail!("block {} has a header of a form that the market cannot check: use another chain", header.number);
    }
    Ok((encoded, header.mix_hash))
}

/// Whether the randomness of a run could be out of the chain's reach before the time to submit ends, by the pace of the last
/// blocks.
fn ends_late(chain: &Chain, terms: &fedmkt_contracts::market::Terms) -> anyhow::Result<bool> {
    let latest = chain.latest()?;
    let span = latest.number.min(100);
    let past = chain.block(BlockNumberOrTag::Number(latest.number - span))?.context("the node lost a block")?;
    let pace = (latest.time.saturating_sub(past.time)) as f64 / (span.max(1)) as f64;
    Ok(f64::from(terms.submitTime) > pace * chain.reach()? as f64 / 2.0)
}

/// Learns the run's id, and keeps it; with `key`, fixes it on the chain if submitting could be too late for that.
fn draw(
    settings: &Settings,
    chain: &Chain,
    journal: &Records,
    key: Option<PrivateKeySigner>,
    terms: &fedmkt_contracts::market::Terms,
    taken: &mut Taken,
) -> anyhow::Result<()> {
    if is_drawn(settings, chain, journal, taken)? {
        return Ok(());
    }
    let accepted = chain.call(chain.market().getSlot(taken.slot))?;
    let number = accepted.blockNumber.to::<u64>();
    let latest = chain.latest()?;
    let reach = chain.reach()?;
    if latest.number > randomness::source(number) + reach {
        bail!(
            "the randomness of slot {} is out of the chain's reach: the run can no longer be submitted, and anybody can \
             forfeit its bond; `fedmkt accept` within {reach} blocks next time",
            taken.slot
        );
    }
    let (header, mix) = header(chain, number)?;
    let run_id = market_run_id(chain.id, &chain.market, &taken.slot, &taken.client, DataRoot(taken.data_root.0), &mix);
    let drawn = Drawn { block: number, header: header.clone(), run_id: B256::from(run_id.0) };
    let now = drawn.run_id;
    if taken.drawn.replace(drawn).is_some_and(|before| before.run_id != now) {
        note("Notice: the chain was reorganised. The run has another id, and is trained again.");
        (taken.receipt, taken.bundle) = (None, None);
    }
    journal.put(&journal::name(taken.slot), taken)?;

    if let Some(key) = key
        && ends_late(chain, terms)?
    {
        note(
            "Fixing the run's id on the chain, as its randomness will be out of reach before the time to submit ends.",
        );
        let sender = Sender { chain, journal, key };
        let run = calls::accepted(DataRoot(taken.data_root.0), Hash(taken.blind_hash.0), None);
        let call = chain.market().drawRun(taken.slot, run, header).calldata().to_vec();
        let sent = sender.send(&format!("draw {}", taken.slot), chain.market, call);
        // Anybody may have done it meanwhile.
        if !is_drawn(settings, chain, journal, taken)? {
            sent?;
        }
    }
    Ok(())
}

/// Whether a run's id is fixed on the chain. If so the journal has that one afterwards, whatever a node said before.
fn is_drawn(settings: &Settings, chain: &Chain, journal: &Records, taken: &mut Taken) -> anyhow::Result<bool> {
    let found = chain.call(chain.market().getSlot(taken.slot))?;
    if found.flags & DRAWN == 0 {
        return Ok(false);
    }
    let (root, blind) = (DataRoot(taken.data_root.0), Hash(taken.blind_hash.0));
    let fits = |id: &B256| keccak256(calls::accepted(root, blind, Some(RunId(id.0))).abi_encode()) == found.facts;
    // Once it is submitted the market knows more of the run.
    if found.state != ACCEPTED || taken.drawn.as_ref().is_some_and(|drawn| fits(&drawn.run_id)) {
        return Ok(true);
    }
    let board = Board::read(chain, settings)?;
    let run_id = board.slots.get(&taken.slot).and_then(|slot| slot.run_id).filter(fits);
    let run_id = run_id.context("the node does not give the event of the run that the market has: try again later")?;
    let drawn = Drawn { block: found.blockNumber.to(), header: Bytes::new(), run_id };
    if taken.drawn.replace(drawn).is_some() {
        note("Notice: the run has another id in the chain than a node has said before, and is trained again.");
        (taken.receipt, taken.bundle) = (None, None);
    }
    journal.put(&journal::name(taken.slot), taken)?;
    Ok(true)
}

pub fn submit(arguments: &Submit, settings: &Settings, store: &CachedStore, out: &mut dyn Write) -> anyhow::Result<()> {
    let chain = Chain::connect(settings)?;
    let mut taken = journal::written(&journal::open(settings)?, arguments.slot)?;
    if (taken.chain, taken.market) != (chain.id, chain.market) {
        bail!("slot {} is in the market {} on chain {}", taken.slot, taken.market, taken.chain);
    }
    let found = chain.call(chain.market().getSlot(taken.slot))?;
    if found.state == ACCEPTED {
        // The journal is not open meanwhile: `fedmkt defend` needs it.
        if arguments.self_check {
            self_check::run(settings, store.folder(), &receipt_of(arguments, &taken)?, &taken)?;
        }
        let key = wallet::open(settings)?;
        let journal = journal::open(settings)?;
        taken = journal::written(&journal, arguments.slot)?;
        let sender = Sender { chain: &chain, journal: &journal, key };
        submit_now(arguments, settings, store, &sender, &mut taken)?;
    } else if found.state < ACCEPTED {
        bail!("slot {} is not accepted: `fedmkt accept` first", taken.slot);
    } else if found.state > PAID {
        bail!("slot {} has ended before this was submitted: see `fedmkt status --all`", taken.slot);
    }
    let found = chain.call(chain.market().getSlot(taken.slot))?;
    let until: u64 = found.deadline.to();
    let bundle = taken.bundle.clone();
    if arguments.json {
        let object = json!({
            "slot": taken.slot, "receipt": taken.receipt, "bundle": bundle, "challenge_until": until,
            "paid": found.state == PAID,
        });
        writeln!(out, "{object}")?;
    } else {
        writeln!(out, "submitted; it can be challenged until {}, then `fedmkt claim`", utc(until))?;
    }
    Ok(())
}

/// The receipt that is to be submitted.
fn receipt_of(arguments: &Submit, taken: &Taken) -> anyhow::Result<Cid> {
    match (&arguments.receipt, &taken.receipt) {
        (Some(receipt), _) => Ok(*receipt),
        (None, Some(receipt)) => Ok(fedmkt_store::parse_cid(receipt)?),
        (None, None) => bail!("which run? Name its receipt with --receipt"),
    }
}

fn submit_now(
    arguments: &Submit,
    settings: &Settings,
    store: &CachedStore,
    sender: &Sender<'_>,
    taken: &mut Taken,
) -> anyhow::Result<()> {
    let (chain, journal) = (sender.chain, sender.journal);
    let name = journal::name(taken.slot);
    let board = Board::read(chain, settings)?;
    let posted: &Job = board.jobs.get(&taken.job).context("the node does not give the event of the job")?;
    let before = taken.drawn.as_ref().map(|drawn| drawn.run_id);
    draw(settings, chain, journal, Some(sender.key.clone()), &posted.terms, taken)?;
    let drawn = taken.drawn.clone().context("the run has no id")?;
    if before.is_some_and(|before| before != drawn.run_id) {
        bail!("the run has another id now, {}: train again with it", drawn.run_id);
    }
    let receipt = receipt_of(arguments, taken)?;
    let loaded = Receipt::load(store.folder(), &receipt)?.with_context(|| format!("{receipt} is no receipt"))?;
    let body = &loaded.body;
    if body.run_id != RunId(drawn.run_id.0) {
        bail!("receipt {receipt} is of the run {}, the slot's is {}: train with --run-id", body.run_id, drawn.run_id);
    }
    let facts = (body.data_root.0, body.blind_hash.0, body.job.to_string());
    if facts != (taken.data_root.0, taken.blind_hash.0, taken.cid.clone()) {
        bail!("receipt {receipt} is of another job or other data than slot {}", taken.slot);
    }
    let cid: Cid = body.job;
    let job = job::Job::load(&job::Reference::Cid(cid), store, &settings.home)?;
    if taken.receipt.as_deref() != Some(receipt.to_string().as_str()) {
        (taken.receipt, taken.bundle) = (Some(receipt.to_string()), None);
    }
    if taken.bundle.is_none() && !body.results.is_empty() {
        taken.bundle = Some(submission::publish(store.folder(), &job.manifest, body)?.to_string());
    }
    journal.put(&name, taken)?;
    let bundle = taken.bundle.as_deref().map(fedmkt_store::parse_cid).transpose()?;
    let capsule = match job.manifest.disclosure {
        Disclosure::Open => {
            let link = files::add_file(store.folder(), open_capsule(settings, taken)?)?;
            store.folder().pin(&link.cid)?;
            Some(link.cid)
        }
        _ => None,
    };
    let files = || bundle.iter().chain(&capsule);
    let with_node = upload(store, files())
        .context("nothing was submitted; without --ipfs it is, and others must get the files otherwise")?;
    if !with_node && files().next().is_some() {
        note(match job.manifest.disclosure {
            Disclosure::Private => "The sponsor will hardly approve what it cannot get.",
            _ => "Whoever cannot get what you submit may challenge it, and you lose the bond.",
        });
        files().for_each(|file| note(&how_to_hand_over(file)));
    }
    let claim = calls::claim(body, bundle.as_ref(), capsule.as_ref())?;
    let is_drawn = chain.call(chain.market().getSlot(taken.slot))?.flags & DRAWN != 0;
    let run_id = is_drawn.then_some(RunId(drawn.run_id.0));
    let accepted = calls::accepted(DataRoot(taken.data_root.0), Hash(taken.blind_hash.0), run_id);
    let header = if is_drawn { Bytes::new() } else { drawn.header };
    let market = chain.market();
    let call = market.submit(taken.slot, accepted, claim.submission, claim.siblings, header);
    sender.send(&format!("submit {}", taken.slot), chain.market, call.calldata().to_vec())?;
    Ok(())
}

/// The capsule of a slot.
fn open_capsule(settings: &Settings, taken: &Taken) -> anyhow::Result<File> {
    let path = taken.capsule_file(&settings.home);
    File::open(&path).with_context(|| {
        format!("the capsule {} is gone: `fedmkt accept` with the same data packs it again", path.display())
    })
}

/// The auditors' recipients that the job of a slot names, to whom its client has agreed by accepting it.
pub fn auditors(settings: &Settings, store: &CachedStore, taken: &Taken) -> anyhow::Result<Vec<String>> {
    let cid = fedmkt_store::parse_cid(&taken.cid)?;
    let job = job::Job::load(&job::Reference::Cid(cid), store, &settings.home)?;
    match job.manifest.disclosure {
        Disclosure::Audited(audit) => Ok(audit.auditors),
        _ => bail!("job {cid} has no auditors"),
    }
}

/// The capsule of a slot in the store, encrypted to its auditors. Encrypted again it is another file, and the first one may be on
/// its way to the chain: which one it is, is in the journal.
pub fn disclosed_capsule(
    settings: &Settings,
    store: &FolderStore,
    auditors: &[String],
    taken: &Taken,
) -> anyhow::Result<Cid> {
    let name = journal::disclosed(taken.slot);
    if let Some(kept) = journal::open(settings)?.get::<String>(&name)? {
        return Ok(fedmkt_store::parse_cid(&kept)?);
    }
    // Encrypting takes long: others may use the journal meanwhile, even for the same.
    let capsule = submission::encrypt(store, auditors, open_capsule(settings, taken)?)?;
    let journal = journal::open(settings)?;
    if let Some(kept) = journal.get::<String>(&name)? {
        return Ok(fedmkt_store::parse_cid(&kept)?);
    }
    journal.put(&name, &capsule.to_string())?;
    Ok(capsule)
}

/// What to do about a file that was handed to no node.
pub fn how_to_hand_over(file: &Cid) -> String {
    format!("Make {file} available: `fedmkt store upload {file} --ipfs URL`.")
}

/// Hands what others must be able to get over to the node that was named. Whether one was.
pub fn upload<'a>(store: &CachedStore, files: impl IntoIterator<Item = &'a Cid>) -> anyhow::Result<bool> {
    let Some(node) = store.network().and_then(|network| network.node()) else { return Ok(false) };
    files.into_iter().try_for_each(|file| crate::store::upload_to(node, store.folder(), file).map(drop))?;
    Ok(true)
}

pub fn disclose(
    arguments: &Disclose,
    settings: &Settings,
    store: &CachedStore,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let chain = Chain::connect(settings)?;
    let taken = journal::written(&journal::open(settings)?, arguments.slot)?;
    if chain.call(chain.market().getAudit(taken.slot))?.state != AUDIT_DUE {
        bail!("no audit of slot {} is due", taken.slot);
    }
    let auditors = auditors(settings, store, &taken)?;
    note(&format!("The data of slot {} goes to:", taken.slot));
    auditors.iter().for_each(|auditor| note(&format!("  {}", printable(auditor))));
    terminal::agree(arguments.yes, "Disclose it to them?")?;
    let key = wallet::open(settings)?;
    let capsule = disclosed_capsule(settings, store.folder(), &auditors, &taken)?;
    upload(store, [&capsule]).context("nothing was disclosed")?;
    // Not before: `fedmkt defend` needs it.
    let journal = journal::open(settings)?;
    let disclosed = calls::file_cid(Some(&capsule))?;
    let sender = Sender { chain: &chain, journal: &journal, key };
    let call = chain.market().disclose(taken.slot, disclosed).calldata().to_vec();
    sender.send(&format!("disclose {}", taken.slot), chain.market, call)?;
    if arguments.json {
        writeln!(out, "{}", json!({ "slot": taken.slot, "capsule": capsule.to_string() }))?;
    } else {
        writeln!(out, "{capsule}")?;
    }
    Ok(())
}

/// What is to be done about a slot.
fn next(board: &Board, slot: &Slot, job: &Job, now: u64) -> String {
    if slot.ending.is_some() {
        return "nothing".into();
    }
    if slot.submission.is_none() {
        return match slot.submit_until >= now {
            true => format!("train, and submit until {}", utc(slot.submit_until)),
            false => "too late to submit: the bond can be forfeited by anybody".into(),
        };
    }
    if let Some(until) = slot.disclose_until {
        return format!("an audit is due: `fedmkt disclose` until {}", utc(until));
    }
    let disputes = board.challenges_of(slot.id);
    let first =
        disputes.iter().filter(|challenge| !challenge.state.has_ended()).min_by_key(|challenge| challenge.deadline);
    if let Some(challenge) = first {
        return format!("it is disputed: `fedmkt defend`, the next move is due until {}", utc(challenge.deadline));
    }
    match (job.terms.disclosure, slot.challenge_until >= now) {
        (PRIVATE, _) => "wait for the sponsor's approval".into(),
        (_, true) => format!("keep data and home; `fedmkt claim` after {}", utc(slot.challenge_until)),
        (_, false) => "`fedmkt claim`".into(),
    }
}

pub fn status(arguments: &Status, settings: &Settings, out: &mut dyn Write) -> anyhow::Result<()> {
    let client = wallet::address(settings)?;
    let chain = Chain::connect(settings)?;
    let board = Board::read(&chain, settings)?;
    must_have_all(&board, &chain, settings, client)?;
    let now = chain.latest()?.time;
    let mut slots: Vec<&Slot> =
        board.slots.values().filter(|slot| slot.client == client && (arguments.all || slot.ending.is_none())).collect();
    slots.sort_by_key(|slot| (slot.block, slot.id));
    if arguments.json {
        let objects: Vec<Value> = slots
            .iter()
            .map(|slot| {
                let job = &board.jobs[&slot.job];
                json!({
                    "slot": slot.id, "job": slot.job, "cid": job.cid().to_string(), "state": slot.state(),
                    "next": next(&board, slot, job, now), "submit_until": slot.submit_until,
                    "challenge_until": slot.challenge_until, "run_id": slot.run_id,
                    "challenges": board.challenges_of(slot.id).into_iter().map(challenge::object).collect::<Vec<_>>(),
                })
            })
            .collect();
        return Ok(writeln!(out, "{:#}", json!(objects))?);
    }
    for slot in &slots {
        let job = &board.jobs[&slot.job];
        let kind = chain.token(job.terms.token)?;
        writeln!(out, "{}  {}", slot.id, slot.state())?;
        writeln!(out, "  job   {}  {}", job.cid(), kind.amount(U256::from(job.terms.reward)))?;
        writeln!(out, "  next  {}", next(&board, slot, job, now))?;
    }
    if slots.is_empty() {
        note(&format!(
            "{client} has no slots{}",
            if arguments.all { "" } else { " that have not ended: --all lists all" }
        ));
    }
    Ok(())
}

/// Makes transactions with the wallet's key, which is asked for once. The journal is open only meanwhile: others need it too.
pub fn with_sender<T>(
    settings: &Settings,
    chain: &Chain,
    key: &mut Option<PrivateKeySigner>,
    make: impl FnOnce(&Sender<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let key = match &*key {
        Some(key) => key.clone(),
        None => key.insert(wallet::open(settings)?).clone(),
    };
    let journal = journal::open(settings)?;
    make(&Sender { chain, journal: &journal, key })
}

pub fn claim(arguments: &Claim, settings: &Settings, out: &mut dyn Write) -> anyhow::Result<()> {
    let account = wallet::address(settings)?;
    let chain = Chain::connect(settings)?;
    let board = Board::read(&chain, settings)?;
    must_have_all(&board, &chain, settings, account)?;
    let mut key = None;
    let (mut ended, mut due, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for slot in board.slots.values().filter(|slot| slot.client == account && slot.ending.is_none()) {
        let job = &board.jobs[&slot.job];
        let now = chain.latest()?.time;
        let is_private = job.terms.disclosure == PRIVATE;
        if slot.submission.is_none() || slot.challenge_until >= now || (is_private && !arguments.without_approval) {
            continue;
        }
        // What one slot waits for is no reason to leave the others.
        match with_sender(settings, &chain, &mut key, |sender| finalize(sender, &board, slot)) {
            Ok(Settled::Ended) => ended.push(slot.id),
            Ok(Settled::NotYet) => {}
            Ok(Settled::AuditDue) => due.push(slot.id),
            Err(error) => {
                note(&format!("slot {}: {error:#}", slot.id));
                failed.push(slot.id);
            }
        }
    }
    let mine = board.challenges.values().filter(|challenge| challenge.challenger == account);
    let disputed: BTreeSet<B256> = mine.map(|challenge| board.slots[&challenge.slot].job).collect();
    let mut tokens: Vec<Address> = board
        .jobs
        .values()
        .filter(|job| {
            job.sponsor == account
                || disputed.contains(&job.id)
                || board.slots_of(job.id).any(|slot| slot.client == account || slot.requester == Some(account))
        })
        .map(|job| job.terms.token)
        .collect();
    tokens.sort();
    tokens.dedup();
    let mut got = Vec::new();
    for token in tokens {
        let owed = chain.owed(token, account)?;
        if owed.is_zero() {
            continue;
        }
        let call = chain.market().withdraw(token, account).calldata().to_vec();
        let name = format!("withdraw {token}");
        let sent = with_sender(settings, &chain, &mut key, |sender| {
            sender.do_again(&name)?;
            sender.send(&name, chain.market, call)
        });
        match sent {
            Ok(_) => got.push((token, owed)),
            // What was sent before, by a claim that did not wait for it, has brought it meanwhile.
            Err(_) if chain.owed(token, account)?.is_zero() => got.push((token, owed)),
            Err(error) => {
                note(&format!("token {token}: {error:#}"));
                failed.push(B256::left_padding_from(token.as_slice()));
            }
        }
    }
    if arguments.json {
        let got: Vec<Value> =
            got.iter().map(|(token, amount)| json!({ "token": token, "amount": amount.to_string() })).collect();
        writeln!(out, "{:#}", json!({ "account": account, "ended": ended, "audits_due": due, "withdrawn": got }))?;
    } else {
        for (token, amount) in &got {
            writeln!(out, "{} for {account}", chain.token(*token)?.amount(*amount))?;
        }
        if got.is_empty() {
            note(&format!("nothing is owed to {account} yet: see `fedmkt status`"));
        }
    }
    if failed.is_empty() && due.is_empty() { Ok(()) } else { Err(Refused.into()) }
}

/// Whether the audit lottery of a slot is still to be held: nothing is paid before, and anybody can hold it at any time.
pub fn wants_lottery(board: &Board, slot: &Slot) -> bool {
    board.jobs.get(&slot.job).is_some_and(|job| job.terms.disclosure == AUDITED)
        && slot.submission.is_some()
        && slot.ending.is_none()
        && !slot.lottery_held
        && !slot.audited
}

/// Whether the block counts that has the randomness of the audit lottery of a slot.
pub fn can_hold_lottery(chain: &Chain, slot: B256) -> anyhow::Result<bool> {
    let found = chain.call(chain.market().getSlot(slot))?;
    let source = randomness::source(found.blockNumber.to());
    Ok(found.state == SUBMITTED && found.flags & LOTTERY == 0 && chain.latest()?.number >= source + chain.confirmations)
}

/// Holds the audit lottery of a slot; waits for the block that has its randomness. When that is out of reach an audit is due.
pub fn hold_lottery(sender: &Sender<'_>, slot: B256) -> anyhow::Result<()> {
    let chain = sender.chain;
    let found = chain.call(chain.market().getSlot(slot))?;
    let number: u64 = found.blockNumber.to();
    let late = chain.latest()?.number > randomness::source(number) + chain.reach()?;
    let header = if late { Bytes::new() } else { header(chain, number)?.0 };
    let call = chain.market().drawAudit(slot, header).calldata().to_vec();
    let sent = sender.send(&format!("lottery {slot}"), chain.market, call);
    // Anybody may have done it meanwhile, or asked for an audit.
    if sent.is_err()
        && chain.call(chain.market().getSlot(slot))?.flags & LOTTERY == 0
        && chain.call(chain.market().getAudit(slot))?.state == 0
    {
        sent?;
    }
    Ok(())
}

/// What became of a slot whose window has passed.
enum Settled {
    Ended,
    AuditDue,
    NotYet,
}

/// Ends a slot whose window has passed.
fn finalize(sender: &Sender<'_>, board: &Board, slot: &Slot) -> anyhow::Result<Settled> {
    let chain = sender.chain;
    if wants_lottery(board, slot) {
        hold_lottery(sender, slot.id)?;
    }
    if chain.call(chain.market().getAudit(slot.id))?.state == AUDIT_DUE {
        note(&format!("slot {0} was drawn for an audit: `fedmkt disclose {0}`, or the bond is lost", slot.id));
        return Ok(Settled::AuditDue);
    }
    let call = chain.market().finalize(slot.id).calldata().to_vec();
    let sent = sender.send(&format!("finalize {}", slot.id), chain.market, call);
    // Anybody may have done it meanwhile.
    let found = chain.call(chain.market().getSlot(slot.id))?;
    if found.state <= SUBMITTED {
        sent?;
    }
    Ok(if found.state > SUBMITTED { Settled::Ended } else { Settled::NotYet })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_read() {
        assert_eq!(grant("data=a=b"), Ok(("data".into(), "a=b".into())));
        assert!(grant("data").is_err() && grant("=x").is_err() && grant("data=").is_err());
    }
}
