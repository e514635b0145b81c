// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {ChallengeState, Choice, Disputes} from "../src/Disputes.sol";
import {Kind, Verdict} from "../src/IArbitrator.sol";
import {Market} from "../src/Market.sol";
import {SlotState, Submission} from "../src/Slots.sol";
import {ChallengeId, Disclosure, JobId, Run, RunId, SlotId, StateRoot, Status} from "../src/Types.sol";
import {Imagined, Kit} from "./Kit.sol";

/// Who may do what in every situation, and that nobody may do anything else: each cell of the tables in
/// docs/src/reference/market.md is tried by each party.
///
/// In a row there is a letter for each call: `-` nobody, `c` the client alone, `s` the sponsor alone, `h` the challenger
/// alone, `*` everybody.
contract MatrixTest is Kit {
    StateRoot private constant NONE = StateRoot.wrap(0);

    JobId private job;
    SlotId private slot;
    Imagined private imagined;
    ChallengeId private id;

    // What the calls of a slot are tried with.
    Run private run;
    bytes private header;
    bytes private submitCall;

    function _start(Disclosure disclosure) private {
        job = _post(disclosure);
        slot = _accept(job);
        run = _accepted();
        header = _reveal(block.number, keccak256("randomness"));
        _prepareSubmit(header);
    }

    function _prepareSubmit(bytes memory source) private {
        RunId runId = _runId(slot, keccak256("randomness"));
        Submission memory submission;
        bytes32[] memory siblings;
        (imagined, submission, siblings) = _imagine(slot, runId, 1_000_001, Status.Done, RIGHT);
        submitCall = abi.encodeCall(market.submit, (slot, run, submission, siblings, source));
    }

    function _startSubmitted(Disclosure disclosure) private {
        _start(disclosure);
        imagined = _submit(slot, 1_000_001, Status.Done, RIGHT);
        run = imagined.run;
        if (disclosure == Disclosure.Audited) header = _reveal(block.number, _ticket(true));
    }

    function _ticket(bool drawn) private view returns (bytes32 randomness) {
        for (uint256 i = 0;; ++i) {
            randomness = bytes32(i);
            uint256 ticket = uint256(keccak256(bytes.concat("fedmkt audit", SlotId.unwrap(slot), randomness)));
            if ((ticket % 1_000_000 < 100_000) == drawn) return randomness;
        }
    }

    function _later(uint256 time) private {
        vm.warp(block.timestamp + time);
    }

    // Slots

    function test_ASlotThatNobodyHasTaken() public {
        _start(Disclosure.Open);
        slot = SlotId.wrap(keccak256("no slot"));
        bytes memory patched = submitCall;
        bytes32 other = SlotId.unwrap(slot);
        assembly {
            // The first argument comes after the length and the selector.
            mstore(add(patched, 0x24), other)
        }
        submitCall = patched;
        _trySlot("------------");
    }

    function test_Accepted() public {
        _start(Disclosure.Open);
        _trySlot("*cc---------");
    }

    function test_AcceptedWithARunId() public {
        _start(Disclosure.Open);
        market.drawRun(slot, run, header);
        run.runId = imagined.run.runId;
        _prepareSubmit("");
        _trySlot("-cc---------");
    }

    function test_AcceptedAndOverdue() public {
        _start(Disclosure.Open);
        _later(SUBMIT + 1);
        _trySlot("*----*------");
    }

    function test_AcceptedAndTheRandomnessIsLost() public {
        _start(Disclosure.Open);
        _loseRandomness();
        _trySlot("-c---*------");
    }

    function test_Submitted() public {
        _startSubmitted(Disclosure.Open);
        _trySlot("---s-----***");
    }

    function test_SubmittedAFailure() public {
        _start(Disclosure.Open);
        imagined = _submit(slot, 5, Status.Trapped, RIGHT);
        run = imagined.run;
        _trySlot("---s-----*-*");
    }

    function test_Challenged() public {
        _startSubmitted(Disclosure.Open);
        _challenge(imagined, Kind.Step);
        _trySlot("---------***");
    }

    function test_ChallengedAndTheWindowHasPassed() public {
        _startSubmitted(Disclosure.Open);
        _challenge(imagined, Kind.Step);
        _later(WINDOW + 1);
        _trySlot("------------");
    }

    function test_TheWindowHasPassed() public {
        _startSubmitted(Disclosure.Open);
        _later(WINDOW + 1);
        _trySlot("---s*-------");
    }

    function test_AuditedBeforeTheLottery() public {
        _startSubmitted(Disclosure.Audited);
        _trySlot("---s--**--*-");
    }

    function test_AuditedAndNotDrawn() public {
        _startSubmitted(Disclosure.Audited);
        _lottery(slot, false);
        _trySlot("---s---*--*-");
    }

    function test_AuditDue() public {
        _startSubmitted(Disclosure.Audited);
        market.drawAudit(slot, header);
        _trySlot("---s----c-*-");
    }

    function test_AuditRequested() public {
        _startSubmitted(Disclosure.Audited);
        _request(slot);
        _trySlot("--------c-*-");
    }

    function test_AuditOverdue() public {
        _startSubmitted(Disclosure.Audited);
        market.drawAudit(slot, header);
        _later(MOVE + 1);
        _trySlot("---s-*----*-");
    }

    function test_AuditDisclosed() public {
        _startSubmitted(Disclosure.Audited);
        market.drawAudit(slot, header);
        _disclose(slot);
        _trySlot("---s-----***");
    }

    function test_RequestedAuditDisclosed() public {
        _startSubmitted(Disclosure.Audited);
        _request(slot);
        _disclose(slot);
        _trySlot("---------***");
    }

    function test_AuditDisclosedAndTheWindowHasPassed() public {
        _startSubmitted(Disclosure.Audited);
        market.drawAudit(slot, header);
        _disclose(slot);
        _later(WINDOW + 1);
        _trySlot("---s*-------");
    }

    function test_AuditedAndTheWindowHasPassedWithoutALottery() public {
        _startSubmitted(Disclosure.Audited);
        _later(WINDOW + 1);
        _trySlot("---s--*-----");
        _loseRandomness();
        _trySlot("---s--*-----");
    }

    function test_AuditedNotDrawnAndTheWindowHasPassed() public {
        _startSubmitted(Disclosure.Audited);
        _lottery(slot, false);
        _later(WINDOW + 1);
        _trySlot("---s*-------");
    }

    function test_PrivateSubmitted() public {
        _startSubmitted(Disclosure.Private);
        _trySlot("---s--------");
        _later(WINDOW + 1);
        _trySlot("---s*-------");
    }

    function test_Ended() public {
        _startSubmitted(Disclosure.Open);
        vm.prank(sponsor);
        market.approve(slot, imagined.run);
        _tryEnded(SlotState.Paid);

        setUp();
        _startSubmitted(Disclosure.Private);
        _later(WINDOW + 1);
        market.finalize(slot);
        _tryEnded(SlotState.Returned);

        setUp();
        _start(Disclosure.Open);
        vm.prank(client);
        market.abandon(slot);
        _tryEnded(SlotState.Abandoned);

        setUp();
        _start(Disclosure.Open);
        _later(SUBMIT + 1);
        market.forfeit(slot);
        _tryEnded(SlotState.Forfeited);

        setUp();
        _startSubmitted(Disclosure.Audited);
        _request(slot);
        _later(MOVE + 1);
        market.forfeit(slot);
        _tryEnded(SlotState.Silent);

        setUp();
        _startSubmitted(Disclosure.Open);
        _rule(_challengeStep(imagined, 5), Verdict.Executed, NONE);
        _tryEnded(SlotState.Refuted);
    }

    function _tryEnded(SlotState state) private {
        _checkState(slot, state);
        _trySlot("------------");
        _later(1000 days);
        _loseRandomness();
        _trySlot("------------");
    }

    function _trySlot(bytes memory row) private {
        bytes[12] memory calls = [
            abi.encodeCall(market.drawRun, (slot, run, header)),
            abi.encodeCall(market.abandon, (slot)),
            submitCall,
            abi.encodeCall(market.approve, (slot, run)),
            abi.encodeCall(market.finalize, (slot)),
            abi.encodeCall(market.forfeit, (slot)),
            abi.encodeCall(market.drawAudit, (slot, header)),
            abi.encodeCall(market.requestAudit, (slot)),
            abi.encodeCall(market.disclose, (slot, _cid("disclosed"))),
            abi.encodeCall(disputes.open, (slot, run, Kind.Step)),
            abi.encodeCall(disputes.open, (slot, run, Kind.Results)),
            abi.encodeCall(disputes.open, (slot, run, Kind.Capsule))
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            address target = i < 9 ? address(market) : address(disputes);
            _try(target, calls[i], row[i]);
        }
    }

    // Challenges

    function _startChallenge() private {
        _startSubmitted(Disclosure.Open);
        id = _challenge(imagined, Kind.Step);
    }

    function test_AChallengeThatNobodyHasOpened() public {
        _startChallenge();
        id = ChallengeId.wrap(keccak256("no challenge"));
        _tryChallenge("----");
    }

    function test_WantsLeavesOfTheTopLevel() public {
        _startChallenge();
        _tryChallenge("*---");
        _later(MOVE + 1);
        _tryChallenge("---*");
    }

    function test_WantsLeavesOfALowerLevel() public {
        _startChallenge();
        _postLeaves(id, imagined);
        _choose(id, imagined, 5);
        _tryChallenge("c---");
        _later(MOVE + 1);
        _tryChallenge("---*");
    }

    function test_WantsAChoice() public {
        _startChallenge();
        _postLeaves(id, imagined);
        _tryChallenge("-h--");
        _later(MOVE + 1);
        _tryChallenge("---*");
    }

    function test_WantsARuling() public {
        _startChallenge();
        _narrow(id, imagined, 5);
        _tryChallenge("----");
        arbitrator.say(disputes.getChallenge(id).question, Verdict.Executed, NONE);
        _tryChallenge("--*-");
        _later(RULE + 1);
        _tryChallenge("---*");
    }

    function test_TheSlotHasEnded() public {
        for (uint256 moves = 0; moves < 3; ++moves) {
            setUp();
            _startChallenge();
            if (moves == 1) _postLeaves(id, imagined);
            if (moves == 2) {
                _narrow(id, imagined, 5);
                arbitrator.say(disputes.getChallenge(id).question, Verdict.Executed, NONE);
            }
            _rule(_challengeStep(imagined, 7), Verdict.Executed, NONE);
            _tryChallenge("---*");
        }
    }

    function test_ChallengeEnded() public {
        _startChallenge();
        ChallengeId other = _challenge(imagined, Kind.Step);
        _narrow(id, imagined, 5);
        _rule(id, Verdict.Executed, NONE);
        _tryEndedChallenge(ChallengeState.Won);
        disputes.conclude(other);
        id = other;
        _tryEndedChallenge(ChallengeState.Void);

        setUp();
        _startChallenge();
        _narrow(id, imagined, 5);
        _rule(id, Verdict.ClientRight, NONE);
        _tryEndedChallenge(ChallengeState.Lost);

        setUp();
        _startChallenge();
        _narrow(id, imagined, 5);
        _rule(id, Verdict.Undecided, NONE);
        _tryEndedChallenge(ChallengeState.Undecided);
    }

    function _tryEndedChallenge(ChallengeState state) private {
        _checkState(id, state);
        _tryChallenge("----");
        _later(1000 days);
        _tryChallenge("----");
        vm.warp(block.timestamp - 1000 days);
    }

    function _tryChallenge(bytes memory row) private {
        StateRoot[] memory leaves;
        Choice memory choice;
        if (disputes.getChallenge(id).level.part > 0) {
            leaves = _leaves(imagined, disputes.getChallenge(id).level);
            if (disputes.getChallenge(id).level.steps > 1) choice = _choice(id, imagined, 5);
        }
        bytes[4] memory calls = [
            abi.encodeCall(disputes.postLeaves, (id, leaves)),
            abi.encodeCall(disputes.choose, (id, imagined.run, choice)),
            abi.encodeCall(disputes.resolve, (id)),
            abi.encodeCall(disputes.conclude, (id))
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            _try(address(disputes), calls[i], row[i]);
        }
    }

    function _try(address target, bytes memory call, bytes1 allowed) private {
        address[4] memory parties = [sponsor, client, challenger, requester];
        for (uint256 i = 0; i < parties.length; ++i) {
            address party = parties[i];
            bool expected = allowed == "*" || (allowed == "s" && party == sponsor)
                || (allowed == "c" && party == client) || (allowed == "h" && party == challenger);
            uint256 snapshot = vm.snapshotState();
            vm.prank(party);
            (bool done,) = target.call(call);
            vm.revertToState(snapshot);
            if (done != expected) {
                string memory who = ["sponsor", "client", "challenger", "anybody"][i];
                vm.label(party, who);
                string memory what = done ? " was allowed " : " was refused ";
                assertTrue(false, string.concat(who, what, vm.toString(abi.encodePacked(bytes4(call)))));
            }
        }
    }
}
