// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

// What the contracts talk about. A value of one of these types cannot be passed for another.

/// Names a job: hash of its terms, its sponsor, the market and the chain.
type JobId is bytes32;
/// Names a place in a job that one client has taken with one capsule.
type SlotId is bytes32;
/// Names a challenge of a submission.
type ChallengeId is bytes32;

/// Hash-tree root of a job drive.
type JobRoot is bytes32;
/// Hash-tree root of a capsule.
type DataRoot is bytes32;
/// Hash-tree root of a state image.
type StateRoot is bytes32;
/// Hash-tree root of the top level of a trace.
type TraceRoot is bytes32;
/// Keccak-256 of the blind: the node over word 5 of every state header of a run.
type BlindHash is bytes32;
/// Names a run: binds slot, client, data and randomness.
type RunId is bytes32;

/// Seconds since 1970.
type Time is uint40;
/// Seconds.
type Duration is uint32;

using {isPast} for Time global;
using {fromNow} for Duration global;
using {sameState as ==, otherState as !=} for StateRoot global;

function isPast(Time time) view returns (bool) {
    return block.timestamp > Time.unwrap(time);
}

function fromNow(Duration duration) view returns (Time) {
    return Time.wrap(uint40(block.timestamp + Duration.unwrap(duration)));
}

function sameState(StateRoot a, StateRoot b) pure returns (bool) {
    return StateRoot.unwrap(a) == StateRoot.unwrap(b);
}

function otherState(StateRoot a, StateRoot b) pure returns (bool) {
    return StateRoot.unwrap(a) != StateRoot.unwrap(b);
}

/// How large a job's machine is.
enum SizeClass {
    S,
    M,
    L
}

/// Who could ever be shown the data.
enum Disclosure {
    Open,
    Audited,
    Private
}

/// How a run stands; the numbers are those in a state header.
enum Status {
    Running,
    Done,
    DataRefused,
    Failed,
    Trapped,
    StepsExhausted,
    ResultsRefused
}

/// A CIDv1 with a sha2-256 digest.
/// @param digest The digest; zero stands for "none".
/// @param codec 0x55 raw or 0x70 dag-pb.
struct Cid {
    bytes32 digest;
    uint8 codec;
}

/// What commits to one result file.
/// @param size Bytes of the file.
/// @param root Its hash-tree root.
/// @param cid Its CID, before encryption.
struct ResultFile {
    uint64 size;
    bytes32 root;
    Cid cid;
}

/// What is known about a run, as the market keeps it (as a hash) and events show it. Zero is what is not known yet.
/// @param dataRoot Fixed by accepting.
/// @param blindHash Fixed by accepting.
/// @param runId Fixed by the randomness after that.
/// @param traceRoot Fixed by submitting.
/// @param lastState Fixed by submitting: the last leaf of the trace.
/// @param steps Fixed by submitting: steps executed.
struct Run {
    DataRoot dataRoot;
    BlindHash blindHash;
    RunId runId;
    TraceRoot traceRoot;
    StateRoot lastState;
    uint64 steps;
}
