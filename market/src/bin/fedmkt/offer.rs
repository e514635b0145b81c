//! `fedmkt job post`: a sponsor offers a reward for a job.

use std::io::Write;

use alloy::eips::BlockId;
use alloy::primitives::aliases::{U24, U40};
use alloy::primitives::{Address, B256, U256};
use alloy::sol_types::SolValue;
use anyhow::{Context, anyhow, bail};
use cid::Cid;
use clap::Args;
use fedmkt_contracts::committee::Committee::CommitteeInstance;
use fedmkt_contracts::market::Terms;
use fedmkt_contracts::{ids, terms};
use fedmkt_core::manifest::{Disclosure, Manifest};
use fedmkt_market::amount::Amount;
use fedmkt_market::chain::Chain;
use fedmkt_market::duration::Seconds;
use fedmkt_market::receipt::utc;
use fedmkt_market::send::{Sender, pay};
use fedmkt_market::settings::{LEAST_MOVE_TIME, Settings};
use fedmkt_market::{journal, submission, terminal, wallet};
use fedmkt_runtime::job::check_release;
use fedmkt_runtime::message::{note, printable};
use fedmkt_store::CachedStore;
use fedmkt_store::job::JobDrive;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Offer a reward for a job that is in the store: its amount goes to the market until it is earned
///
/// A job is posted once: the same command goes on where it was interrupted, and then says the same id again. What a client and a
/// challenger put up follows from the reward unless it is given.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fedmkt job post bafyrei... --slots 3 --reward 100 --token 0x... --arbitrator 0x...
  fedmkt job post bafyrei... --reward 100 --token 0x...          # a private job has no arbitrator

Prints the id that names the job in the market.")]
pub struct Post {
    /// The job's CID
    #[arg(value_name = "JOB_CID", value_parser = crate::cli::cid)]
    job: Cid,
    /// How many results are wanted
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    slots: u32,
    /// Paid for each result, in tokens [default: as in the job]
    #[arg(long, value_name = "AMOUNT")]
    reward: Option<String>,
    /// The token in which everything is paid [default: as in the job]
    #[arg(long, value_name = "ADDRESS")]
    token: Option<Address>,
    /// What a client puts up [default: as much as the rules of the market need, at least the reward]
    #[arg(long, value_name = "AMOUNT")]
    bond: Option<String>,
    /// How long clients can accept
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = some_time)]
    accept_for: Seconds,
    /// How long a client has from accepting to submitting
    #[arg(long, value_name = "TIME", default_value = "2d")]
    submit_time: Seconds,
    /// How long a submission can be challenged before it is paid
    #[arg(long, value_name = "TIME", default_value = "2d")]
    window: Seconds,
    /// How long a party has for a move in a dispute
    #[arg(long, value_name = "TIME", default_value = "1d")]
    move_time: Seconds,
    /// The contract that rules in disputes; private jobs have none
    #[arg(long, value_name = "ADDRESS")]
    arbitrator: Option<Address>,
    /// How long it has [default: as long as it takes at most, and a move]
    #[arg(long, value_name = "TIME")]
    arbitration_time: Option<Seconds>,
    /// What it gets for a ruling [default: a twentieth of the reward]
    #[arg(long, value_name = "AMOUNT")]
    arbitration_fee: Option<String>,
    /// What the winner of a dispute gets from the loser [default: a tenth of the reward]
    #[arg(long, value_name = "AMOUNT")]
    compensation: Option<String>,
    /// What a challenger puts up [default: compensation and fee]
    #[arg(long, value_name = "AMOUNT")]
    challenge_bond: Option<String>,
    /// An auditor's account, for audited jobs: as many as the job names recipients; may be given several times
    #[arg(long = "auditor", value_name = "ADDRESS")]
    auditors: Vec<Address>,
    /// Offer another reward for a job that was posted before
    #[arg(long)]
    again: bool,
    /// Agree without being asked
    #[arg(long, short)]
    yes: bool,
    /// Print one object
    #[arg(long)]
    json: bool,
}

/// A chain takes a deadline that is its present time, but nobody could keep it.
fn some_time(text: &str) -> Result<Seconds, String> {
    match text.parse()? {
        Seconds(0) => Err("nobody could accept in no time".into()),
        time => Ok(time),
    }
}

/// A job that is about to be posted, or was. Kept so that the same command never posts another one: under one name until its id
/// was said, under another from then on, so that an offer that comes to nothing takes no other with it.
#[derive(PartialEq, Serialize, Deserialize)]
struct Begun {
    chain: u64,
    market: Address,
    sponsor: Address,
    /// ABI encoding.
    terms: alloy::primitives::Bytes,
}

pub fn run(post: &Post, settings: &Settings, store: &CachedStore, out: &mut dyn Write) -> anyhow::Result<()> {
    let drive = JobDrive::open(store, &post.job)?;
    check_release(post.job, drive.manifest())?;
    if let Some(obstacle) = submission::obstacles(drive.manifest()).first() {
        bail!("no client could submit what this job wants: {obstacle}; publish it anew");
    }
    let root = drive.root(store)?;
    let chain = Chain::connect(settings)?;
    let sponsor = wallet::address(settings)?;
    let offer = format!("{}/{:#x}/{sponsor}/{}", chain.id, chain.market, post.job);
    let (key, posted_key) = (format!("post/{offer}"), format!("posted/{offer}"));
    // The journal is not open while a person is asked: `fedmkt defend` needs it.
    let (begun, done) = {
        let journal = journal::open(settings)?;
        (journal.get::<Begun>(&key)?, journal.get::<Begun>(&posted_key)?.filter(|_| !post.again))
    };
    let resumed = begun.is_some() || done.is_some();
    let terms = match begun.as_ref().or(done.as_ref()) {
        Some(before) => {
            note(if begun.is_some() {
                "Going on with the offer that was begun before; what else is given now does not change it."
            } else {
                "The job was posted before, and this is what was offered; `--again` offers another reward."
            });
            Terms::abi_decode(&before.terms).map_err(|_| anyhow!("the journal is damaged: {key}"))?
        }
        None => new_terms(post, &chain, drive.manifest(), root.0.into())?,
    };
    let found = terms::differences(&terms, &post.job, drive.manifest(), root);
    if let Some(difference) = found.first() {
        bail!("the offer does not fit the job: {difference}");
    }
    let kind = chain.token(terms.token)?;
    let total = U256::from(terms.reward) * U256::from(terms.slots);
    describe(&terms, &kind, drive.manifest());
    note(&format!("  in all     {} from {sponsor}", kind.amount(total)));
    if !terms.arbitrator.is_zero() && terms.moveTime < LEAST_MOVE_TIME {
        note("  warning    with so little time for a move few clients accept, and few verifiers challenge a step");
    }
    if !resumed {
        terminal::agree(post.yes, "Post this job?")?;
    }
    let id = ids::job_id(chain.id, chain.market, sponsor, &terms);
    let posted = chain.has_job(id, BlockId::latest())?;
    let account = if posted { None } else { Some(wallet::open(settings)?) };
    let journal = journal::open(settings)?;
    if journal.get(&key)? != begun {
        bail!("another command has begun or ended an offer of this job meanwhile: run the command again");
    }
    let begun = Begun { chain: chain.id, market: chain.market, sponsor, terms: terms.abi_encode().into() };
    if !resumed {
        journal.put(&key, &begun)?;
    }
    if let Some(account) = account {
        let sender = Sender { chain: &chain, journal: &journal, key: account };
        let call = chain.market().post(terms.clone()).calldata().to_vec();
        let name = format!("post {id}");
        if let Err(error) = pay(&sender, &name, terms.token, total, call) {
            // An offer that the market refuses is not gone on with. But one that was signed may come later.
            if !chain.has_job(id, BlockId::latest())? && !sender.can_come(&name)? {
                journal.remove(&key)?;
            }
            return Err(error);
        }
    }
    if post.json {
        let object = json!({ "job": id, "cid": post.job.to_string(), "sponsor": sponsor, "escrow": total.to_string() });
        writeln!(out, "{object:#}")?;
    } else {
        writeln!(out, "{id}")?;
    }
    out.flush()?;
    journal.put(&posted_key, &begun)?;
    journal.remove(&key)
}

fn new_terms(post: &Post, chain: &Chain, manifest: &Manifest, root: B256) -> anyhow::Result<Terms> {
    let wanted = manifest.reward.as_ref();
    if let Some(wanted) = wanted {
        let market: Address = wanted.market.parse().context("the job's reward.market")?;
        if (wanted.chain_id, market) != (chain.id, chain.market) {
            bail!("the job is for the market {market} on chain {}", wanted.chain_id);
        }
    }
    let token = match (post.token, wanted) {
        (Some(token), _) => token,
        (None, Some(wanted)) => wanted.token.parse().context("the job's reward.token")?,
        (None, None) => bail!("in which token is the reward? Name its contract with --token"),
    };
    let kind = chain.token(token)?;
    let parse = |text: &str| kind.parse(text).map_err(|error| anyhow!(error));
    let reward = match (&post.reward, wanted) {
        (Some(text), _) => parse(text)?,
        (None, Some(wanted)) => wanted.amount.parse().context("the job's reward.amount")?,
        (None, None) => bail!("what is the reward? Say it with --reward"),
    };
    if reward == 0 {
        bail!("a reward of nothing is no reward");
    }
    let amount = |text: &Option<String>, default: u128| text.as_deref().map_or(Ok(default), parse);
    let is_private = manifest.disclosure == Disclosure::Private;
    let share = |part: u128| if is_private { 0 } else { (reward / part).max(1) };
    let compensation = amount(&post.compensation, share(10))?;
    let fee = amount(&post.arbitration_fee, share(20))?;
    let challenge_bond = amount(&post.challenge_bond, compensation.saturating_add(fee))?;
    let (code, per_million) = match &manifest.disclosure {
        Disclosure::Open => (0, 0),
        Disclosure::Audited(audit) => (1, audit.per_million),
        Disclosure::Private => (2, 0),
    };
    let mut least = if is_private { 0 } else { reward.max(compensation * 2).max(compensation + fee) };
    if per_million > 0 {
        // A client that cheats and is drawn must not gain on average.
        let at_risk = U256::from(reward) * U256::from(1_000_000 - per_million.min(1_000_000));
        let at_risk = at_risk.div_ceil(U256::from(per_million)).saturating_to::<u128>();
        least = least.max(compensation.saturating_add(at_risk));
    }
    let bond = amount(&post.bond, least)?;
    let mut auditors = post.auditors.clone();
    auditors.sort();
    let (arbitrator, arbitration_time) = match (post.arbitrator, is_private) {
        (None, true) => (Address::ZERO, 0),
        (Some(_), true) => bail!("nobody rules about a private job: leave --arbitrator out"),
        (None, false) => bail!("who rules in disputes? Name a committee with --arbitrator"),
        (Some(arbitrator), false) => {
            let committee = CommitteeInstance::new(arbitrator, chain.node().clone());
            let longest = chain.call(committee.longestAnswer()).context("the arbitrator does not answer")?;
            let least = longest.saturating_add(post.move_time.0);
            (arbitrator, post.arbitration_time.map_or(least, |time| time.0))
        }
    };
    let mut nonce = B256::ZERO;
    getrandom::fill(&mut nonce.0).map_err(|error| anyhow!("the system gives no randomness: {error}"))?;
    let until = chain.latest()?.time + u64::from(post.accept_for.0);
    Ok(Terms {
        nonce,
        cid: terms::job_digest(&post.job).context("this is no CID of a job")?,
        root,
        class: manifest.machine.class as u8,
        stepsPerSegment: manifest.steps_per_segment,
        results: u8::try_from(manifest.results.len()).context("too many results")?,
        token,
        slots: post.slots,
        reward,
        bond,
        acceptUntil: U40::from(until),
        submitTime: post.submit_time.0,
        window: post.window.0,
        moveTime: post.move_time.0,
        disclosure: code,
        auditsPerMillion: U24::from(per_million),
        auditors,
        arbitrator,
        arbitrationTime: arbitration_time,
        arbitrationFee: fee,
        challengeBond: challenge_bond,
        compensation,
    })
}

/// What an offer says, for people.
pub fn describe(terms: &Terms, kind: &Amount, manifest: &Manifest) {
    let amount = |units: u128| kind.amount(U256::from(units));
    note(&printable(&manifest.name));
    note(&format!(
        "  reward     {} for each of {} results  (token {})",
        amount(terms.reward),
        terms.slots,
        terms.token
    ));
    note(&format!("  bond       {} from each client", amount(terms.bond)));
    note(&format!("  accepting  until {}", utc(terms.acceptUntil.to())));
    note(&format!("  submitting within {} of accepting", Seconds(terms.submitTime)));
    if terms.arbitrator.is_zero() {
        note("  payment    only when the sponsor approves: the job is private");
    } else {
        note(&format!("  payment    {} after submitting, or when the sponsor approves", Seconds(terms.window)));
        note(&format!(
            "  disputes   a challenger puts up {}, the winner gets {}; {} rules, for {}",
            amount(terms.challengeBond),
            amount(terms.compensation),
            terms.arbitrator,
            amount(terms.arbitrationFee)
        ));
    }
    if !terms.auditors.is_empty() {
        note("  auditors   these accounts vote in disputes; the job names only their keys, so ask whose they are:");
        terms.auditors.iter().for_each(|account| note(&format!("               {account}")));
    }
}
