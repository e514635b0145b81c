//! What devnets begin with: rules of a committee and terms of a job, for tests and `fedmkt devnet` to change.

use alloy::primitives::aliases::{U24, U40};
use alloy::primitives::{Address, B256};
use fedmkt_core::manifest::PROFILE;

use crate::committee::Rules;
use crate::market::Terms;

/// Reward of one slot.
pub const REWARD: u128 = 1000;

/// Bond of a client.
pub const BOND: u128 = 10_000;

/// Bond of a challenge or an audit request.
pub const CHALLENGE_BOND: u128 = 900;

/// What the winner of a dispute gets from the loser.
pub const COMPENSATION: u128 = 300;

/// Fee for a ruling. It can be divided by 3, 5, 9 and 15 votes.
pub const FEE: u128 = 225;

/// Stake for a seat.
pub const SEAT_STAKE: u128 = 500;

/// What a member has at risk each time that it is drawn. A seat covers a first round of the most members.
pub const PENALTY: u128 = 10;

/// Seconds in which a submission can be challenged.
pub const WINDOW: u32 = 3600;

/// Seconds for a move.
pub const MOVE_TIME: u32 = 1800;

/// The profile, as a market is made with.
pub fn profile() -> B256 {
    B256::right_padding_from(PROFILE.as_bytes())
}

/// Rules of a committee that draws `members` places first, with ten minutes for each phase.
pub fn rules(token: Address, members: u16) -> Rules {
    Rules { token, seatStake: SEAT_STAKE, penalty: PENALTY, members, drawTime: 600, commitTime: 600, revealTime: 600 }
}

/// Terms of an open job with one slot that can be accepted for an hour from `now` on, in seconds since 1970. `longest` is the
/// longest time that the arbitrator takes for an answer. What is the job's own is zero.
pub fn terms(token: Address, arbitrator: Address, longest: u32, now: u64) -> Terms {
    Terms {
        nonce: B256::ZERO,
        cid: B256::ZERO,
        root: B256::ZERO,
        class: 0,
        stepsPerSegment: 1,
        results: 1,
        token,
        slots: 1,
        reward: REWARD,
        bond: BOND,
        acceptUntil: U40::from(now + 3600),
        submitTime: 3600,
        window: WINDOW,
        moveTime: MOVE_TIME,
        disclosure: 0,
        auditsPerMillion: U24::ZERO,
        auditors: Vec::new(),
        arbitrator,
        arbitrationTime: longest + MOVE_TIME,
        arbitrationFee: FEE,
        challengeBond: CHALLENGE_BOND,
        compensation: COMPENSATION,
    }
}
