// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";

import {Disputes} from "./Disputes.sol";
import {Kind} from "./IArbitrator.sol";
import {IDisputable, Outcome} from "./IDisputable.sol";
import {Job, Jobs} from "./Jobs.sol";
import {AuditState, Slot, SlotState, Slots} from "./Slots.sol";
import {Disclosure, JobId, SlotId} from "./Types.sol";

/// @title The market
/// @notice Sponsors post jobs with rewards in escrow, clients accept, run and submit, whoever doubts challenges. What each
/// party may do when, and where the money goes, is the table in docs/src/reference/market.md. Nobody owns the market and
/// nobody can change it.
contract Market is Slots, Multicall, IDisputable {
    /// @notice Where submissions are disputed.
    Disputes public immutable disputes;

    /// There is nothing to challenge in this way.
    error NotChallengeable(SlotId slot, Kind kind);

    /// Only the contract for disputes may do this.
    error OnlyDisputes(address caller);

    /// @param profile_ Name of the profile by which runs of this market go, ASCII, zeros after it.
    constructor(bytes32 profile_) Slots(profile_) {
        disputes = new Disputes(this, profile_);
    }

    /// @inheritdoc IDisputable
    function openChallenge(SlotId id, address challenger, Kind kind) external nonReentrant {
        _checkCaller();
        Slot storage slot = _slotIn(id, SlotState.Submitted);
        if (slot.deadline.isPast()) revert TooLate(slot.deadline);
        Job storage job = _jobs[slot.job];
        if (!_isChallengeable(id, slot, job, kind)) revert NotChallengeable(id, kind);
        ++openChallenges[id];
        _take(job.token, challenger, job.challengeBond);
    }

    /// @inheritdoc IDisputable
    function endChallenge(SlotId id, address challenger, Outcome outcome, bool ruled) external nonReentrant {
        _checkCaller();
        Slot storage slot = outcome == Outcome.Void ? _slots[id] : _slotIn(id, SlotState.Submitted);
        Job storage job = _jobs[slot.job];
        uint256 fee = ruled ? job.arbitrationFee : 0;
        uint256 bond = job.challengeBond;
        --openChallenges[id];
        if (outcome == Outcome.ChallengerWins) {
            _credit(job.token, challenger, bond);
            _endAgainstClient(id, slot, SlotState.Refuted, challenger, fee);
        } else if (outcome == Outcome.ClientWins || outcome == Outcome.FilesShown) {
            // Who keeps files back until somebody misses them must not earn by that.
            uint256 compensation = outcome == Outcome.ClientWins ? job.compensation : 0;
            _credit(job.token, slot.client, compensation);
            _credit(job.token, address(job.arbitrator), fee);
            _credit(job.token, BURNED, bond - compensation - fee);
        } else {
            if (outcome == Outcome.Undecided) slot.flags |= UNDECIDED;
            _credit(job.token, address(job.arbitrator), fee);
            _credit(job.token, challenger, bond - fee);
        }
    }

    /// @inheritdoc IDisputable
    function getJob(JobId id) public view override(Jobs, IDisputable) returns (Job memory) {
        return super.getJob(id);
    }

    /// @inheritdoc IDisputable
    function getSlot(SlotId id) public view override(Slots, IDisputable) returns (Slot memory) {
        return super.getSlot(id);
    }

    function _checkCaller() private view {
        if (msg.sender != address(disputes)) revert OnlyDisputes(msg.sender);
    }

    function _isChallengeable(SlotId id, Slot storage slot, Job storage job, Kind kind) private view returns (bool) {
        if (job.disclosure == Disclosure.Private) return false;
        if (kind == Kind.Results) return slot.flags & DONE != 0;
        // Nobody can judge data that nobody has seen.
        return job.disclosure == Disclosure.Open || _audits[id].state == AuditState.Disclosed;
    }
}
