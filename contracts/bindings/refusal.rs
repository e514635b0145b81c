//! What a contract's error means, and what to do.

use alloy::primitives::{B256, Bytes};
use alloy::sol_types::SolInterface;

use crate::committee::Committee::CommitteeErrors;
use crate::disputes::Disputes::DisputesErrors;
use crate::market::Market::MarketErrors;

/// What the data with which a call of one of the contracts was refused means, as a sentence or two. `None` if it is no error
/// of theirs.
pub fn explain(data: &Bytes) -> Option<String> {
    if let Ok(error) = MarketErrors::abi_decode(data) {
        return Some(market(&error));
    }
    if let Ok(error) = DisputesErrors::abi_decode(data) {
        return Some(disputes(&error));
    }
    CommitteeErrors::abi_decode(data).ok().map(|error| committee(&error))
}

/// A name as contracts have it. A stranger's may hold anything, also what moves a terminal's cursor.
fn name(field: &B256) -> String {
    String::from_utf8_lossy(field.as_slice()).trim_end_matches('\0').escape_debug().to_string()
}

/// Names of the values of a Solidity enum, by their numbers.
fn of(names: &[&'static str], value: u8) -> &'static str {
    names.get(usize::from(value)).copied().unwrap_or("in a state that this program does not know")
}

const SLOT_STATES: &[&str] = &[
    "not taken by anybody",
    "accepted",
    "submitted",
    "paid",
    "returned",
    "abandoned",
    "forfeited",
    "lost, as its client was silent",
    "refuted",
];

const CHALLENGE_STATES: &[&str] = &[
    "not there",
    "waiting for leaves",
    "waiting for a choice",
    "waiting for the arbitrator",
    "won",
    "lost",
    "undecided",
    "void",
];

const AUDIT_STATES: &[&str] = &["not asked for", "due", "disclosed"];

const DISCLOSURES: &[&str] = &["open", "audited", "private"];

const KINDS: &[&str] = &["step", "results", "capsule"];

const CASE_STATES: &[&str] = &["not there", "waiting for a draw", "voting", "answered"];

fn too_early(deadline: impl std::fmt::Display) -> String {
    format!("it is too early: wait until the chain's time is past {deadline}")
}

fn too_late(deadline: impl std::fmt::Display) -> String {
    format!("it is too late: the time for this ended at {deadline}")
}

fn out_of_reach(block: impl std::fmt::Display) -> String {
    format!(
        "the chain cannot check the header of block {block}: it is still to come, or too old; ask again later, or see whether somebody fixed the randomness already"
    )
}

fn wrong_header(block: impl std::fmt::Display) -> String {
    format!("this is not the header of block {block}: after a reorganisation of the chain, fetch it again")
}

const STRANGE_HEADER: &str = "this chain has headers that the market cannot read: it cannot be used here";

const NESTED: &str = "the token called back into the contract, which is refused: this token cannot be used";

fn token_refused(token: impl std::fmt::Display) -> String {
    format!(
        "the token {token} refused the transfer: look at the balance, the allowance and whether the token is stopped"
    )
}

fn proof_fails(index: impl std::fmt::Display) -> String {
    format!(
        "the proof for node {index} does not lead to the root: the trace, the header or a result is not what was committed"
    )
}

fn wrong_run(slot: &B256) -> String {
    format!("what was said about the run is not what the market knows of slot {slot}: read its events again")
}

fn market(error: &MarketErrors) -> String {
    use MarketErrors as E;
    match error {
        E::AddressEmptyCode(e) => format!("there is no contract at {}", e.target),
        E::AuditorsNotRising(e) => {
            format!("auditors must be in rising order of their accounts, none twice: {} is not", e.auditor)
        }
        E::BadCid(e) if e.digest.is_zero() => {
            "a CID is missing: results of a finished run, and data of an open job, must be published first".into()
        }
        E::BadCid(e) => format!(
            "the CID with digest {} and codec {:#x} cannot be here: only files have one, and only what this job publishes",
            e.digest, e.codec
        ),
        E::BadReceiver(e) => format!("tokens that are sent to {} would be lost: name an account of yours", e.to),
        E::BadSubmission(e) => format!(
            "status {}, exit code {} and {} results do not go together for this job",
            e.status, e.exitCode, e.results
        ),
        E::BadTerm(e) => {
            format!("the term `{}` is {}; it must be from {} to {}", name(&e.field), e.value, e.least, e.most)
        }
        E::BadTrace(e) => format!("a run of {} steps in {} segments cannot be submitted", e.steps, e.segments),
        E::ChallengesOpen(e) => {
            format!(
                "{} challenges of slot {} have not ended: wait, or conclude those that are overdue",
                e.count, e.slot
            )
        }
        E::FailedCall(_) => "a call within the transaction failed without saying why".into(),
        E::JobExists(e) => format!("job {} was posted already: another nonce makes another job", e.job),
        E::JobIsClosed(e) => format!("job {} is closed", e.job),
        E::NoOpenSlot(e) => format!("all slots of job {} are taken: one may open again later", e.job),
        E::NoSuchJob(e) => format!("there is no job {} in this market", e.job),
        E::NotChallengeable(e) => format!(
            "slot {} cannot be challenged for its {}: the job is private, its data is not disclosed, or it has no results",
            e.slot,
            of(KINDS, e.kind)
        ),
        E::NothingOwed(e) => format!("{} is owed nothing in the token {}", e.party, e.token),
        E::OnlyClient(e) => format!("only the client, {}, may do this; the caller is {}", e.client, e.caller),
        E::OnlyDisputes(e) => {
            format!("only the market's contract for disputes may do this; the caller is {}", e.caller)
        }
        E::OnlySponsor(e) => format!("only the sponsor, {}, may do this; the caller is {}", e.sponsor, e.caller),
        E::ProofFails(e) => proof_fails(e.index),
        E::RandomnessNotInReach(e) => out_of_reach(e.blockNumber),
        E::ReentrancyGuardReentrantCall(_) => NESTED.into(),
        E::RunIsDrawn(e) => format!("the run of slot {} has its id already", e.slot),
        E::SafeERC20FailedOperation(e) => token_refused(e.token),
        E::SlotExists(e) => {
            format!("slot {} was taken with the same capsule: another nonce makes another slot", e.slot)
        }
        E::StrangeHeader(_) => STRANGE_HEADER.into(),
        E::TokenDeliversOtherAmount(e) => format!(
            "the token {} delivered {} instead of {}: tokens that keep a part of transfers cannot be used",
            e.token, e.delivered, e.expected
        ),
        E::TooEarly(e) => too_early(e.deadline),
        E::TooLate(e) => too_late(e.deadline),
        E::TooManyNodes(e) => format!("{} leaves were given, a level has at most {}", e.count, e.most),
        E::WrongAuditState(e) => format!("the audit of slot {} is {}", e.slot, of(AUDIT_STATES, e.state)),
        E::WrongDisclosure(e) => format!("the job is {}: it has no audits", of(DISCLOSURES, e.disclosure)),
        E::WrongHeader(e) => wrong_header(e.blockNumber),
        E::WrongLottery(e) if e.held => format!("the audit lottery of slot {} was held already", e.slot),
        E::WrongLottery(e) => format!("the audit lottery of slot {} must be held first", e.slot),
        E::WrongRun(e) => wrong_run(&e.slot),
        E::WrongSlotState(e) => format!("slot {} is {}", e.slot, of(SLOT_STATES, e.state)),
    }
}

fn disputes(error: &DisputesErrors) -> String {
    use DisputesErrors as E;
    match error {
        E::NoSuchPart(e) => format!("there is no leaf {}: the level has {}", e.index, e.parts),
        E::NotAnswered(e) => format!("the arbitrator has not answered challenge {}: ask again later", e.challenge),
        E::OnlyChallenger(e) => {
            format!("only the challenger, {}, may do this; the caller is {}", e.challenger, e.caller)
        }
        E::OnlyClient(e) => format!("only the client, {}, may do this; the caller is {}", e.client, e.caller),
        E::ProofFails(e) => proof_fails(e.index),
        E::TooEarly(e) => too_early(e.deadline),
        E::TooLate(e) => too_late(e.deadline),
        E::TooManyNodes(e) => format!("{} leaves were given, a level has at most {}", e.count, e.most),
        E::WrongChallengeState(e) => {
            format!("challenge {} is {}", e.challenge, of(CHALLENGE_STATES, e.state))
        }
        E::WrongLastLeaf(e) => {
            format!("the last leaf is {}, but the level above ends in {}: compute the part again", e.leaf, e.expected)
        }
        E::WrongLeafBefore(e) => format!("the state before the level is {}, not {}", e.expected, e.leaf),
        E::WrongLeafCount(e) => format!("{} leaves were given, the level has {}", e.count, e.expected),
        E::WrongLevelRoot(e) => {
            format!(
                "the leaves have the root {}, but {} was submitted: these are not the leaves of this run",
                e.root, e.expected
            )
        }
        E::WrongRun(e) => wrong_run(&e.slot),
        E::WrongSlotState(e) => format!("slot {} is {}", e.slot, of(SLOT_STATES, e.state)),
    }
}

fn committee(error: &CommitteeErrors) -> String {
    use CommitteeErrors as E;
    match error {
        E::BadRule(e) => {
            format!("the rule `{}` is {}; it must be from {} to {}", name(&e.rule), e.value, e.least, e.most)
        }
        E::CheckpointUnorderedInsertion(_) | E::SafeCastOverflowedUintDowncast(_) => {
            "the chain's block numbers are not what the committee can keep".into()
        }
        E::NoAnswer(e) => format!("verdict {} with state {} answers no question of this kind", e.verdict, e.stateOut),
        E::NoFee(e) => {
            format!("there is no fee for question {}: the market was not told the answer, or it was taken", e.question)
        }
        E::NobodyToDraw(_) => "nobody holds a seat in this committee".into(),
        E::OnlyDisputes(e) => format!("only the market's contract for disputes may ask; the caller is {}", e.caller),
        E::NotCovered(e) => {
            format!("{} has {} of free stake, but {} are needed: deposit more", e.member, e.free, e.needed)
        }
        E::NotHolder(e) => format!("seat {} is held by {}", e.position, e.holder),
        E::NothingLost(e) => format!("{} has lost nothing there, or it was taken from it already", e.member),
        E::NothingReturned(e) => {
            format!("nothing is returned to {}: it was outvoted, did not vote, or has it already", e.member)
        }
        E::NothingThere(_) => "there is nothing to send".into(),
        E::RandomnessNotInReach(e) => out_of_reach(e.blockNumber),
        E::ReentrancyGuardReentrantCall(_) => NESTED.into(),
        E::RoundIsOpen(e) => format!("round {} of question {} has not ended", e.round, e.question),
        E::SafeERC20FailedOperation(e) => token_refused(e.token),
        E::SeatIsCovered(e) => format!("seat {} is covered well enough", e.position),
        E::StrangeHeader(_) => STRANGE_HEADER.into(),
        E::TokenDeliversOtherAmount(e) => {
            format!("the token delivered {} instead of {}: it cannot be used for stakes", e.delivered, e.expected)
        }
        E::TooEarly(e) => too_early(e.deadline),
        E::TooLate(e) => too_late(e.deadline),
        E::TooManyNodes(e) => format!("{} auditors were given, there are at most {}", e.count, e.most),
        E::WrongAuditors(e) => {
            format!(
                "the auditors have the root {}, those of the job have {}: take them from the job's event",
                e.root, e.expected
            )
        }
        E::WrongCaseState(e) => format!("question {} is {}", e.question, of(CASE_STATES, e.state)),
        E::WrongHeader(e) => wrong_header(e.blockNumber),
        E::WrongVote(e) if e.count == 0 => format!("{} was not drawn for this round", e.member),
        E::WrongVote(e) => format!("{} has committed {}, or has revealed already", e.member, e.commitment),
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, U256, b256};
    use alloy::sol_types::SolError;

    use super::*;
    use crate::committee::Committee;
    use crate::disputes::Disputes;
    use crate::market::Market;

    #[test]
    fn errors_become_sentences() {
        let mut field = B256::ZERO;
        field[..4].copy_from_slice(b"bond");
        let (value, least, most) = (U256::from(3), U256::from(4), U256::from(5));
        let refused = Market::BadTerm { field, value, least, most }.abi_encode().into();
        assert_eq!(explain(&refused).as_deref(), Some("the term `bond` is 3; it must be from 4 to 5"));
        field[..4].copy_from_slice(b"\x1b[2J");
        let refused = Market::BadTerm { field, value, least, most }.abi_encode().into();
        assert_eq!(explain(&refused).as_deref(), Some("the term `\\u{1b}[2J` is 3; it must be from 4 to 5"));
        let slot = b256!("0x00000000000000000000000000000000000000000000000000000000000000aa");
        let refused = Market::WrongSlotState { slot, state: 8 }.abi_encode().into();
        assert_eq!(explain(&refused), Some(format!("slot {slot} is refuted")));
        let refused = Disputes::NotAnswered { challenge: slot }.abi_encode().into();
        assert!(explain(&refused).is_some_and(|text| text.contains("has not answered")));
        let refused =
            Committee::WrongVote { member: Address::ZERO, count: 0, commitment: B256::ZERO }.abi_encode().into();
        assert!(explain(&refused).is_some_and(|text| text.contains("was not drawn")));
    }

    #[test]
    fn what_is_no_error_of_the_contracts_has_no_sentence() {
        assert_eq!(explain(&Bytes::new()), None);
        assert_eq!(explain(&Bytes::from_static(&[1, 2, 3])), None);
        assert_eq!(explain(&Bytes::from_static(b"\x08\xc3\x79\xa0")), None);
        // A right selector with a wrong rest.
        let short = Market::TooEarly::SELECTOR.to_vec().into();
        assert_eq!(explain(&short), None);
    }
}
