//! `fedmkt challenge`: disputes by hand. `fedmkt-verify watch` does the same by itself, and computes what is to be said.

use std::io::Write;

use alloy::primitives::{B256, U256};
use anyhow::{Context, bail};
use clap::Subcommand;
use fedmkt_market::board::{Board, Job};
use fedmkt_market::chain::Chain;
use fedmkt_market::dispute::{self, Challenge, Kind, Moved, State};
use fedmkt_market::receipt::utc;
use fedmkt_market::send::Sender;
use fedmkt_market::settings::Settings;
use fedmkt_market::{journal, terminal, wallet};
use fedmkt_runtime::message::note;
use serde_json::{Value, json};

#[derive(Subcommand)]
pub enum Command {
    /// List challenges that have not ended
    List {
        /// Only those of this slot
        #[arg(long)]
        slot: Option<B256>,
        /// Those as well that have ended
        #[arg(long)]
        all: bool,
        /// Print an array of objects
        #[arg(long)]
        json: bool,
    },
    /// Show a challenge: what is disputed, how it stands, and who is to do what until when
    Show {
        /// The challenge
        challenge: B256,
        /// Print one object
        #[arg(long)]
        json: bool,
    },
    /// Dispute a submission: put up the challenger's bond, and get the challenge's id
    #[command(after_help = "\
Examples:
  fedmkt challenge open 0x... --kind results     # the results cannot be had
  fedmkt challenge open 0x...                    # the run went otherwise than its trace says

Of kind step: somebody must then name the first wrong leaf within the job's time for a move, or the bond is lost.
`fedmkt-verify watch` computes and names it, with the same wallet.
The same command goes on where it was interrupted; nothing is challenged twice at a time.")]
    Open {
        /// The slot
        slot: B256,
        /// What is disputed: step, results or capsule
        #[arg(long, default_value = "step")]
        kind: Kind,
        /// Agree without being asked
        #[arg(long, short)]
        yes: bool,
        /// Print one object
        #[arg(long)]
        json: bool,
    },
    /// End a challenge: by the arbitrator's answer if there is one, else because somebody has let the time pass
    Conclude {
        /// The challenge
        challenge: B256,
        /// Print one object
        #[arg(long)]
        json: bool,
    },
}

pub fn run(command: &Command, settings: &Settings, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        Command::List { slot, all, json } => list(settings, *slot, *all, *json, out),
        Command::Show { challenge, json } => show(settings, *challenge, *json, out),
        Command::Open { slot, kind, yes, json } => open(settings, *slot, *kind, *yes, *json, out),
        Command::Conclude { challenge, json } => conclude(settings, *challenge, *json, out),
    }
}

fn job_of<'a>(board: &'a Board, chain: &Chain, slot: B256) -> anyhow::Result<&'a Job> {
    let slot = board.slot(chain, slot)?;
    Ok(&board.jobs[&slot.job])
}

fn known(board: &Board, id: B256) -> anyhow::Result<&Challenge> {
    board.challenges.get(&id).with_context(|| format!("there is no challenge {id} in this market"))
}

/// A challenge, for machines.
pub fn object(challenge: &Challenge) -> Value {
    let level = challenge.level.map(|level| json!({ "first": level.first, "steps": level.steps, "part": level.part }));
    json!({
        "challenge": challenge.id, "slot": challenge.slot, "challenger": challenge.challenger,
        "kind": challenge.kind.to_string(), "state": challenge.state.to_string(), "ended": challenge.state.has_ended(),
        "deadline": challenge.deadline, "level": level, "state_in": challenge.state_in,
        "state_out": challenge.state_out, "leaves": challenge.leaves,
        "arbitrator": challenge.question.as_ref().map(|(arbitrator, _)| arbitrator),
        "ruling": challenge.ruling,
    })
}

/// Which steps are in dispute, for people.
fn about(challenge: &Challenge) -> String {
    match challenge.level {
        Some(level) if level.steps == 1 => format!("step {}", level.first),
        Some(level) => format!("steps {} to {}", level.first, level.first + level.steps - 1),
        None => format!("the {}", challenge.kind),
    }
}

/// What is to be done, by whom, until when.
fn next(challenge: &Challenge, now: u64) -> String {
    let until = utc(challenge.deadline);
    let late = now > challenge.deadline;
    match challenge.state {
        State::WantsLeaves if late => {
            "the client was silent: `fedmkt challenge conclude`, and the challenger wins".into()
        }
        State::WantsChoice if late => {
            "the challenger was silent: `fedmkt challenge conclude`, and the client wins".into()
        }
        State::WantsRuling if late => "the arbitrator was silent: `fedmkt challenge conclude` ends it undecided".into(),
        State::WantsLeaves => format!("the client posts leaves (`fedmkt defend`) until {until}"),
        State::WantsChoice => format!("the challenger names the first wrong leaf until {until}"),
        State::WantsRuling => {
            format!("the arbitrator answers until {until}, and `fedmkt challenge conclude` makes it count")
        }
        _ => "nothing: it has ended".into(),
    }
}

fn list(settings: &Settings, slot: Option<B256>, all: bool, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let chain = Chain::connect(settings)?;
    let board = Board::read(&chain, settings)?;
    let now = chain.latest()?.time;
    let mut found: Vec<&Challenge> = board
        .challenges
        .values()
        .filter(|challenge| slot.is_none_or(|slot| challenge.slot == slot) && (all || !challenge.state.has_ended()))
        .collect();
    found.sort_by_key(|challenge| (challenge.block, challenge.id));
    if json {
        let objects: Vec<Value> = found.iter().map(|challenge| object(challenge)).collect();
        return Ok(writeln!(out, "{:#}", json!(objects))?);
    }
    for challenge in &found {
        writeln!(out, "{}  {}", challenge.id, challenge.state)?;
        writeln!(out, "  slot   {}  by {}", challenge.slot, challenge.challenger)?;
        writeln!(out, "  about  {}", about(challenge))?;
        writeln!(out, "  next   {}", next(challenge, now))?;
    }
    if found.is_empty() {
        note(&format!("no challenge is open{}", if all { "" } else { ": --all lists those that have ended" }));
    }
    Ok(())
}

fn show(settings: &Settings, id: B256, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let chain = Chain::connect(settings)?;
    let board = Board::read(&chain, settings)?;
    let challenge = known(&board, id)?;
    if json {
        return Ok(writeln!(out, "{:#}", object(challenge))?);
    }
    let job = job_of(&board, &chain, challenge.slot)?;
    let kind = chain.token(job.terms.token)?;
    writeln!(out, "challenge   {id}  {}", challenge.state)?;
    writeln!(out, "slot        {}", challenge.slot)?;
    writeln!(out, "job         {}", job.cid())?;
    writeln!(out, "challenger  {}, bond {}", challenge.challenger, kind.amount(U256::from(job.terms.challengeBond)))?;
    writeln!(out, "about       {}", about(challenge))?;
    if challenge.level.is_some() {
        writeln!(out, "before      {}", challenge.state_in)?;
        writeln!(out, "after       {}  as the client says", challenge.state_out)?;
    }
    if let Some(ruling) = challenge.ruling {
        writeln!(out, "ruling      {ruling}")?;
    }
    writeln!(out, "next        {}", next(challenge, chain.latest()?.time))?;
    Ok(())
}

fn open(settings: &Settings, slot: B256, kind: Kind, yes: bool, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let chain = Chain::connect(settings)?;
    let board = Board::read(&chain, settings)?;
    let job = job_of(&board, &chain, slot)?;
    let found = &board.slots[&slot];
    let (terms, token) = (&job.terms, chain.token(job.terms.token)?);
    let amount = |units: u128| token.amount(U256::from(units));
    note(&format!("A challenge of slot {slot}, of the {kind}:"));
    note(&format!("  bond       {} from {}", amount(terms.challengeBond), wallet::address(settings)?));
    note(&format!("  if you win it comes back with {}; if you lose it is lost", amount(terms.compensation)));
    note(&format!("  arbitrator {}, who gets {} for a ruling", terms.arbitrator, amount(terms.arbitrationFee)));
    terminal::agree(yes, "Challenge, and put up the bond?")?;
    let key = wallet::open(settings)?;
    let journal = journal::open(settings)?;
    let sender = Sender { chain: &chain, journal: &journal, key };
    let id = dispute::open(&sender, job, found, kind)?;
    if json {
        writeln!(out, "{}", json!({ "challenge": id, "slot": slot, "kind": kind.to_string() }))?;
    } else {
        writeln!(out, "{id}")?;
    }
    Ok(())
}

fn conclude(settings: &Settings, id: B256, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let chain = Chain::connect(settings)?;
    let (_, found) = dispute::standing(&chain, id)?;
    let board = Board::read(&chain, settings)?;
    let job = job_of(&board, &chain, found.slot)?;
    let key = wallet::open(settings)?;
    let journal = journal::open(settings)?;
    let in_time = chain.latest()?.time <= found.deadline.to::<u64>();
    let is_answered = in_time && dispute::answer(&chain, &job.terms, id)?.is_some();
    let sender = Sender { chain: &chain, journal: &journal, key };
    let moved = if is_answered { dispute::resolve(&sender, id)? } else { dispute::conclude(&sender, id)? };
    let (state, _) = dispute::standing(&chain, id)?;
    if let Moved::NotWanted(state) = moved
        && !state.has_ended()
    {
        bail!("challenge {id} {state}: see `fedmkt challenge show {id}`");
    }
    if json {
        writeln!(out, "{}", json!({ "challenge": id, "state": state.to_string() }))?;
    } else {
        writeln!(out, "{state}")?;
    }
    Ok(())
}
