// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {Kind} from "./IArbitrator.sol";
import {Job} from "./Jobs.sol";
import {Slot} from "./Slots.sol";
import {JobId, SlotId} from "./Types.sol";

/// How a challenge has ended, as far as money is concerned.
enum Outcome {
    /// The submission is wrong.
    ChallengerWins,
    /// The submission has stood this challenge.
    ClientWins,
    /// The files that the challenger has missed are there, and are the right ones.
    FilesShown,
    /// Nobody can say whether the submission is right: it is not paid without approval.
    Undecided,
    /// Nobody can say; the submission stands.
    Dropped,
    /// The slot has ended before.
    Void
}

/// @title What disputes need of the market
interface IDisputable {
    /// @notice A job.
    function getJob(JobId id) external view returns (Job memory);

    /// @notice A slot.
    function getSlot(SlotId id) external view returns (Slot memory);

    /// @notice Takes the challenger's bond, if the submission can be challenged in this way.
    function openChallenge(SlotId id, address challenger, Kind kind) external;

    /// @notice Distributes the challenger's bond and, if the challenger wins, the client's.
    /// @param ruled Whether the arbitrator has earned its fee.
    function endChallenge(SlotId id, address challenger, Outcome outcome, bool ruled) external;
}
