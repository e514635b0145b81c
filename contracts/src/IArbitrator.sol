// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {ChallengeId, DataRoot, Duration, JobId, JobRoot, RunId, SlotId, StateRoot} from "./Types.sol";

/// What a challenge is about.
enum Kind {
    /// One step of the run does not lead where the trace says.
    Step,
    /// The encrypted results cannot be had, or are not those whose roots are in the last state.
    Results,
    /// The capsule that was published or disclosed cannot be had, or has another root.
    Capsule
}

/// What an arbitrator says.
enum Verdict {
    /// Nothing yet.
    Pending,
    /// The step leads to the state that is said beside the verdict.
    Executed,
    /// The client is right: the files are there; or there is no such step, as the state before it is none of this run.
    ClientRight,
    /// The client is wrong: the files are not there.
    ClientWrong,
    /// It cannot be said: the step is too long for the machine, or too few have answered.
    Undecided
}

/// What an arbitrator is asked.
/// @param stateIn Kind Step: the state before the step. Kind Results: the last state. Kind Capsule: zero.
/// @param step Kind Step: number of the step, from 0. Else 0.
struct Question {
    Kind kind;
    ChallengeId challenge;
    JobId job;
    SlotId slot;
    JobRoot jobRoot;
    DataRoot dataRoot;
    RunId runId;
    StateRoot stateIn;
    uint64 step;
}

/// @title Arbitrator
/// @notice Answers questions about runs. It is told a question as soon as a challenge comes to it; whoever wants the answer
/// to count makes the contract for disputes look at it.
interface IArbitrator {
    /// @notice Asks a question. If this reverts, what led to the question is refused.
    function ask(Question calldata question) external;

    /// @notice What the arbitrator says to the question with this hash (Keccak-256 of its ABI encoding).
    /// @return verdict The same for ever once it is not Pending.
    /// @return stateOut The state after the step if the verdict is Executed, else zero.
    function answer(bytes32 question) external view returns (Verdict verdict, StateRoot stateOut);

    /// @notice How long an answer takes at most.
    function longestAnswer() external view returns (Duration);
}
