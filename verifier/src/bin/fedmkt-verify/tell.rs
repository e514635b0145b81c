//! `fedmkt-verify status`, `history` and `explain`: what the daemon has found and done, from its database.

use std::io::Write;

use alloy::primitives::B256;
use anyhow::anyhow;
use fedmkt_market::dispute::Kind;
use fedmkt_market::receipt::utc;
use fedmkt_runtime::message::printable_lines;
use fedmkt_verifier::watch::database::{Asked, Challenged, State};
use serde_json::json;

use crate::arguments::{self, DataFolder};
use crate::watch::data;
use crate::{Ended, Exit, OrExit, Outcome};

fn open(place: &DataFolder) -> Outcome<State> {
    let folder = data(place.data.as_ref())?;
    let state = State::of(&folder);
    if !state.exists() {
        let error = anyhow!("no verifier has been at work in {}: --data names another folder", folder.display());
        return Err(Ended(Exit::Usage, error));
    }
    Ok(state)
}

/// How a slot ended, by the contract's numbers.
fn ending(number: Option<u8>) -> &'static str {
    match number {
        None => "open",
        Some(3) => "paid",
        Some(4) => "returned",
        Some(5) => "abandoned",
        Some(6) => "forfeited",
        Some(7) => "silent",
        Some(8) => "refuted",
        Some(_) => "ended",
    }
}

/// What a question is about.
fn about(asked: &Asked) -> String {
    match asked.kind {
        Kind::Step => format!("step {} from the state {}", asked.step, asked.state_in),
        kind => format!("the {kind}"),
    }
}

/// A question without the secrets.
fn public(asked: &Asked) -> serde_json::Value {
    json!({
        "committee": asked.committee, "question": asked.question, "challenge": asked.challenge, "slot": asked.slot,
        "kind": asked.kind, "step": asked.step, "state_in": asked.state_in, "answer": asked.answer,
        "rounds": asked.votes.iter().map(|vote| vote.round).collect::<Vec<_>>(), "done": asked.done,
        "trouble": asked.trouble.as_ref().map(|(why, _)| why),
    })
}

pub fn status(arguments: &arguments::Told) -> Outcome<()> {
    let state = open(&arguments.place)?;
    let mut checked = state.checked().or_exit(Exit::Host)?;
    let mut challenges = state.challenges().or_exit(Exit::Host)?;
    let mut asked = state.questions().or_exit(Exit::Host)?;
    if !arguments.all {
        checked.retain(|checked| checked.ending.is_none());
        challenges.retain(|challenge| !challenge.ended);
        asked.retain(|asked| !asked.done);
    }
    let mut out = std::io::stdout().lock();
    let told = if arguments.place.json {
        let asked: Vec<_> = asked.iter().map(public).collect();
        writeln!(out, "{:#}", json!({ "submissions": checked, "challenges": challenges, "questions": asked }))
    } else {
        (|| {
            for checked in &checked {
                let finding = printable_lines(&checked.finding.to_string());
                writeln!(out, "submission {}  {}  {finding}", checked.slot, ending(checked.ending))?;
            }
            for known in &challenges {
                writeln!(out, "challenge  {}  {}: {}", known.challenge, known.kind, known.state)?;
            }
            for asked in &asked {
                let found = asked.answer.as_ref().map_or("looking".into(), |answer| answer.says.to_string());
                writeln!(out, "question   {}  {}: {found}", asked.question, about(asked))?;
            }
            if checked.is_empty() && challenges.is_empty() && asked.is_empty() {
                eprintln!("nothing is open: --all lists what has ended");
            }
            Ok(())
        })()
    };
    told.or_exit(Exit::Host)
}

pub fn history(arguments: &arguments::History) -> Outcome<()> {
    let state = open(&arguments.place)?;
    let mut notes = state.notes().or_exit(Exit::Host)?;
    notes.drain(..notes.len().saturating_sub(arguments.last));
    let mut out = std::io::stdout().lock();
    let told = if arguments.place.json {
        writeln!(out, "{:#}", json!(notes))
    } else {
        notes
            .iter()
            .try_for_each(|note| writeln!(out, "{}  {}  {}", utc(note.time), note.slot, printable_lines(&note.text)))
    };
    told.or_exit(Exit::Host)
}

pub fn explain(arguments: &arguments::Explain) -> Outcome<()> {
    let state = open(&arguments.place)?;
    let id = arguments.id;
    let challenges = state.challenges().or_exit(Exit::Host)?;
    let asked = state.questions().or_exit(Exit::Host)?;
    let challenge = challenges.iter().find(|known| known.challenge == id || known.slot == id);
    let question = asked.iter().find(|asked| {
        asked.challenge == id
            || asked.question == id
            || asked.slot == id
            || challenge.is_some_and(|known| known.challenge == asked.challenge)
    });
    let slot: Option<B256> = challenge.map(|known| known.slot).or(question.map(|asked| asked.slot));
    let checked = state.checked().or_exit(Exit::Host)?;
    let checked = checked.iter().find(|checked| Some(checked.slot) == slot || checked.slot == id);
    let Some(slot) = slot.or(checked.map(|checked| checked.slot)) else {
        let error =
            anyhow!("this verifier knows no challenge, question or slot {id}: `fedmkt-verify status --all` lists them");
        return Err(Ended(Exit::Usage, error));
    };
    let notes: Vec<_> = state.notes().or_exit(Exit::Host)?.into_iter().filter(|note| note.slot == slot).collect();
    let mut out = std::io::stdout().lock();
    if arguments.place.json {
        let object = json!({
            "slot": slot, "submission": checked, "challenge": challenge, "question": question.map(public), "notes": notes,
        });
        return writeln!(out, "{object:#}").or_exit(Exit::Host);
    }
    let mut tell = || -> std::io::Result<()> {
        writeln!(out, "slot {slot}")?;
        if let Some(checked) = checked {
            writeln!(out, "  client {}, job {}", checked.client, checked.job)?;
            let finding = printable_lines(&checked.finding.to_string());
            writeln!(out, "  found: {finding}; the slot is {}", ending(checked.ending))?;
        }
        if let Some(known) = challenge {
            explain_challenge(&mut out, known)?;
        }
        if let Some(asked) = question {
            writeln!(out, "question {} to the committee {}", asked.question, asked.committee)?;
            writeln!(out, "  about {}", about(asked))?;
            match &asked.answer {
                None => writeln!(out, "  this verifier has no answer yet")?,
                Some(answer) => {
                    writeln!(out, "  this verifier says: {}", answer.says)?;
                    writeln!(out, "  because: {}", printable_lines(&answer.how))?;
                }
            }
        }
        writeln!(out, "what happened:")?;
        notes.iter().try_for_each(|note| writeln!(out, "  {}  {}", utc(note.time), printable_lines(&note.text)))
    };
    tell().or_exit(Exit::Host)
}

fn explain_challenge(out: &mut dyn Write, known: &Challenged) -> std::io::Result<()> {
    writeln!(out, "challenge {} of kind {}: {}", known.challenge, known.kind, known.state)?;
    for chosen in &known.choices {
        let (first, last) = (chosen.first, chosen.first + chosen.steps - 1);
        writeln!(out, "  of steps {first} to {last}, part {} is the first wrong one:", chosen.index)?;
        writeln!(out, "    after {} steps the client says {}", chosen.end, chosen.claimed)?;
        writeln!(out, "    computed here:             {}", chosen.computed)?;
    }
    Ok(())
}
