// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {Jobs, Terms} from "../src/Jobs.sol";
import {Randomness} from "../src/Randomness.sol";
import {AuditState, SlotState, Slots, Submission} from "../src/Slots.sol";
import {Disclosure, JobId, Run, RunId, SlotId, Status, TraceRoot} from "../src/Types.sol";
import {Imagined, Kit} from "./Kit.sol";

/// The rows of the tables of jobs and slots: what each call does and where the money goes.
contract SlotsTest is Kit {
    JobId private job;
    SlotId private slot;
    Imagined private imagined;

    function _open() private {
        job = _post(Disclosure.Open);
        slot = _accept(job);
    }

    function _submitted(Disclosure disclosure, Status status) private {
        job = _post(disclosure);
        slot = _accept(job);
        imagined = _submit(slot, 1_000_001, status, RIGHT);
    }

    // Jobs

    function test_PostingTakesAllRewards() public {
        job = _post(Disclosure.Open);
        assertEq(token.balanceOf(address(market)), 2 * R, "held");
        assertEq(market.getJob(job).open, 2, "open slots");
        assertEq(market.getJob(job).sponsor, sponsor, "sponsor");
    }

    function test_TheSameTermsCannotBePostedTwice() public {
        job = _post(Disclosure.Open);
        Terms memory terms = _terms(Disclosure.Open);
        vm.prank(sponsor);
        vm.expectRevert(abi.encodeWithSelector(Jobs.JobExists.selector, job));
        market.post(terms);
        terms.nonce = bytes32(uint256(1));
        _post(terms);
    }

    function test_TheSponsorClosesAtAnyTime() public {
        _open();
        vm.prank(sponsor);
        market.close(job);
        _checkOwed(R, 0, 0, 0, 0, 0);
        vm.prank(client);
        vm.expectRevert(abi.encodeWithSelector(Jobs.JobIsClosed.selector, job));
        market.accept(job, imagined.run.dataRoot, imagined.run.blindHash, 0);
        vm.prank(sponsor);
        vm.expectRevert(abi.encodeWithSelector(Jobs.JobIsClosed.selector, job));
        market.close(job);
    }

    function test_AnybodyClosesOnceNobodyCanAccept() public {
        _open();
        vm.warp(block.timestamp + ACCEPT);
        vm.prank(anybody);
        vm.expectRevert(abi.encodeWithSelector(Jobs.OnlySponsor.selector, sponsor, anybody));
        market.close(job);
        vm.warp(block.timestamp + 1);
        vm.prank(anybody);
        market.close(job);
        _checkOwed(R, 0, 0, 0, 0, 0);
    }

    function test_AcceptanceEndsInTimeAndWithTheSlots() public {
        job = _post(Disclosure.Open);
        vm.warp(block.timestamp + ACCEPT);
        _accept(job, client, 0);
        _accept(job, client, bytes32(uint256(1)));
        vm.prank(client);
        vm.expectRevert(abi.encodeWithSelector(Slots.NoOpenSlot.selector, job));
        market.accept(job, imagined.run.dataRoot, imagined.run.blindHash, 0);
        vm.warp(block.timestamp + 1);
        vm.prank(client);
        vm.expectRevert(abi.encodeWithSelector(Slots.TooLate.selector, block.timestamp - 1));
        market.accept(job, imagined.run.dataRoot, imagined.run.blindHash, 0);
    }

    function test_ASlotIsTakenOnce() public {
        _open();
        vm.expectRevert(abi.encodeWithSelector(Slots.SlotExists.selector, slot));
        _accept(job);
    }

    function test_AJobThatDoesNotExistCannotBeAcceptedOrClosed() public {
        job = JobId.wrap(keccak256("no job"));
        vm.expectRevert(abi.encodeWithSelector(Jobs.NoSuchJob.selector, job));
        market.close(job);
        vm.expectRevert(abi.encodeWithSelector(Jobs.NoSuchJob.selector, job));
        market.accept(job, imagined.run.dataRoot, imagined.run.blindHash, 0);
        vm.expectRevert(abi.encodeWithSelector(Jobs.NoSuchJob.selector, job));
        market.getJob(job);
    }

    // Accepted

    function test_AcceptingTakesTheBond() public {
        _open();
        assertEq(token.balanceOf(address(market)), 2 * R + B, "held");
        assertEq(market.getJob(job).open, 1, "open slots");
        _checkState(slot, SlotState.Accepted);
    }

    function test_AnybodyFixesTheRunId() public {
        _open();
        bytes memory header = _reveal(block.number, keccak256("randomness"));
        Run memory run = _accepted();
        vm.prank(anybody);
        market.drawRun(slot, run, header);
        run.runId = _runId(slot, keccak256("randomness"));
        assertEq(market.getSlot(slot).facts, keccak256(abi.encode(run)), "facts");
        vm.expectRevert(abi.encodeWithSelector(Slots.RunIsDrawn.selector, slot));
        market.drawRun(slot, run, header);
        // Submitting needs no header any more, however late it is.
        _loseRandomness();
        (, Submission memory submission, bytes32[] memory siblings) = _imagine(slot, run.runId, 5, Status.Done, RIGHT);
        vm.prank(client);
        market.submit(slot, run, submission, siblings, "");
        _checkState(slot, SlotState.Submitted);
    }

    function test_TheRunIdComesFromTheFourthBlockAlone() public {
        _open();
        uint256 number = block.number;
        bytes memory header = _header(number + 4, keccak256("randomness"));
        Run memory run = _accepted();
        vm.roll(number + 4);
        vm.expectRevert(abi.encodeWithSelector(Randomness.RandomnessNotInReach.selector, number + 4));
        market.drawRun(slot, run, header);
        vm.roll(number + 5);
        vm.setBlockhash(number + 4, keccak256(header));
        bytes memory other = _header(number + 4, keccak256("better randomness"));
        vm.expectRevert(abi.encodeWithSelector(Randomness.WrongHeader.selector, number + 4, keccak256(header)));
        market.drawRun(slot, run, other);
        vm.setBlockhash(number + 3, keccak256(other));
        vm.expectRevert(abi.encodeWithSelector(Randomness.WrongHeader.selector, number + 4, keccak256(header)));
        market.drawRun(slot, run, other);
        market.drawRun(slot, run, header);
    }

    function test_WhoLetsTheRandomnessGoForfeitsAtOnce() public {
        _open();
        vm.expectRevert(abi.encodeWithSelector(Slots.TooEarly.selector, block.timestamp + SUBMIT));
        market.forfeit(slot);
        _loseRandomness();
        vm.prank(anybody);
        market.forfeit(slot);
        _checkState(slot, SlotState.Forfeited);
        _checkOwed(0, 0, 0, 0, 0, B);
        assertEq(market.getJob(job).open, 2, "open slots");
    }

    function test_WhoHasARunIdIsNotForfeitedByLostRandomness() public {
        _open();
        market.drawRun(slot, _accepted(), _reveal(block.number, keccak256("randomness")));
        _loseRandomness();
        vm.expectRevert(abi.encodeWithSelector(Slots.TooEarly.selector, block.timestamp + SUBMIT));
        market.forfeit(slot);
    }

    function test_WhoDoesNotSubmitForfeits() public {
        _open();
        vm.warp(block.timestamp + SUBMIT);
        vm.expectRevert(abi.encodeWithSelector(Slots.TooEarly.selector, block.timestamp));
        market.forfeit(slot);
        vm.warp(block.timestamp + 1);
        vm.prank(anybody);
        market.forfeit(slot);
        _checkState(slot, SlotState.Forfeited);
        _checkOwed(0, 0, 0, 0, 0, B);
        assertEq(market.getJob(job).open, 2, "open slots");
    }

    function test_TheRewardOfAClosedJobGoesBackAtOnce() public {
        _open();
        vm.prank(sponsor);
        market.close(job);
        vm.warp(block.timestamp + SUBMIT + 1);
        market.forfeit(slot);
        _checkOwed(2 * R, 0, 0, 0, 0, B);
        assertEq(market.getJob(job).open, 0, "open slots");
    }

    function test_WhoGivesUpLosesHalf() public {
        _open();
        vm.prank(anybody);
        vm.expectRevert(abi.encodeWithSelector(Slots.OnlyClient.selector, client, anybody));
        market.abandon(slot);
        vm.warp(block.timestamp + SUBMIT);
        vm.prank(client);
        market.abandon(slot);
        _checkState(slot, SlotState.Abandoned);
        _checkOwed(0, B / 2, 0, 0, 0, B - B / 2);
        assertEq(market.getJob(job).open, 2, "open slots");
    }

    function test_ItIsTooLateToGiveUpAfterTheDeadline() public {
        _open();
        vm.warp(block.timestamp + SUBMIT + 1);
        vm.prank(client);
        vm.expectRevert(abi.encodeWithSelector(Slots.TooLate.selector, block.timestamp - 1));
        market.abandon(slot);
    }

    // Submitting

    function test_SubmittingIsForTheClientInTime() public {
        _open();
        bytes memory header = _reveal(block.number, keccak256("randomness"));
        RunId runId = _runId(slot, keccak256("randomness"));
        (, Submission memory submission, bytes32[] memory siblings) = _imagine(slot, runId, 5, Status.Done, RIGHT);
        Run memory run = _accepted();
        vm.prank(anybody);
        vm.expectRevert(abi.encodeWithSelector(Slots.OnlyClient.selector, client, anybody));
        market.submit(slot, run, submission, siblings, header);
        uint256 snapshot = vm.snapshotState();
        vm.warp(block.timestamp + SUBMIT + 1);
        vm.prank(client);
        vm.expectRevert(abi.encodeWithSelector(Slots.TooLate.selector, block.timestamp - 1));
        market.submit(slot, run, submission, siblings, header);
        vm.revertToState(snapshot);
        vm.warp(block.timestamp + SUBMIT);
        vm.prank(client);
        market.submit(slot, run, submission, siblings, header);
        _checkState(slot, SlotState.Submitted);
        assertEq(token.balanceOf(address(market)), 2 * R + B, "held");
    }

    // Submitted

    function test_TheSponsorApproves() public {
        _submitted(Disclosure.Open, Status.Done);
        vm.prank(anybody);
        vm.expectRevert(abi.encodeWithSelector(Jobs.OnlySponsor.selector, sponsor, anybody));
        market.approve(slot, imagined.run);
        vm.prank(sponsor);
        market.approve(slot, imagined.run);
        _checkState(slot, SlotState.Paid);
        _checkOwed(0, R + B, 0, 0, 0, 0);
        assertEq(market.getJob(job).open, 1, "open slots");
    }

    /// After a reorganisation something else may have been submitted than what the sponsor has looked at.
    function test_TheSponsorApprovesOfOneRun() public {
        _submitted(Disclosure.Open, Status.Done);
        Run memory other = imagined.run;
        other.traceRoot = TraceRoot.wrap(keccak256("other"));
        bytes memory wrong = abi.encodeWithSelector(Slots.WrongRun.selector, slot, market.getSlot(slot).facts);
        vm.prank(sponsor);
        vm.expectRevert(wrong);
        market.approve(slot, other);
    }

    function test_ApprovingAFailureReturnsTheBond() public {
        _submitted(Disclosure.Open, Status.Failed);
        vm.prank(sponsor);
        market.approve(slot, imagined.run);
        _checkState(slot, SlotState.Returned);
        _checkOwed(0, B, 0, 0, 0, 0);
        assertEq(market.getJob(job).open, 2, "open slots");
    }

    function test_AfterTheWindowAnybodyFinalizes() public {
        _submitted(Disclosure.Open, Status.Done);
        vm.warp(block.timestamp + WINDOW);
        vm.expectRevert(abi.encodeWithSelector(Slots.TooEarly.selector, block.timestamp));
        market.finalize(slot);
        vm.warp(block.timestamp + 1);
        vm.prank(anybody);
        market.finalize(slot);
        _checkState(slot, SlotState.Paid);
        _checkOwed(0, R + B, 0, 0, 0, 0);
    }

    function test_OnlyDoneIsPaid() public {
        for (uint256 status = uint256(Status.DataRefused); status <= uint256(Status.ResultsRefused); ++status) {
            uint256 snapshot = vm.snapshotState();
            _submitted(Disclosure.Open, Status(status));
            vm.warp(block.timestamp + WINDOW + 1);
            market.finalize(slot);
            _checkState(slot, SlotState.Returned);
            _checkOwed(0, B, 0, 0, 0, 0);
            vm.revertToState(snapshot);
        }
    }

    function test_APrivateJobPaysOnApproval() public {
        _submitted(Disclosure.Private, Status.Done);
        vm.prank(sponsor);
        market.approve(slot, imagined.run);
        _checkState(slot, SlotState.Paid);
        _checkOwed(0, R + B, 0, 0, 0, 0);
    }

    function test_APrivateJobPaysOnApprovalAlone() public {
        _submitted(Disclosure.Private, Status.Done);
        vm.warp(block.timestamp + WINDOW + 1);
        market.finalize(slot);
        _checkState(slot, SlotState.Returned);
        _checkOwed(0, B, 0, 0, 0, 0);
        assertEq(market.getJob(job).open, 2, "open slots");
    }

    // Audits

    function test_AnAuditedJobWaitsForTheLottery() public {
        _submitted(Disclosure.Audited, Status.Done);
        vm.warp(block.timestamp + WINDOW + 1);
        vm.expectRevert(abi.encodeWithSelector(Slots.WrongLottery.selector, slot, false));
        market.finalize(slot);
        _lottery(slot, false);
        market.finalize(slot);
        _checkState(slot, SlotState.Paid);
        _checkOwed(0, R + B, 0, 0, 0, 0);
    }

    function test_TheLotteryIsHeldOnce() public {
        _submitted(Disclosure.Audited, Status.Done);
        _lottery(slot, false);
        vm.expectRevert(abi.encodeWithSelector(Slots.WrongLottery.selector, slot, true));
        market.drawAudit(slot, "");
    }

    function test_WhoIsDrawnDiscloses() public {
        _submitted(Disclosure.Audited, Status.Done);
        _lottery(slot, true);
        assertEq(uint256(market.getAudit(slot).state), uint256(AuditState.Due), "audit");
        vm.expectRevert(abi.encodeWithSelector(Slots.WrongAuditState.selector, slot, AuditState.Due));
        market.drawAudit(slot, "");
        vm.warp(block.timestamp + MOVE);
        vm.expectRevert(abi.encodeWithSelector(Slots.OnlyClient.selector, client, address(this)));
        market.disclose(slot, _cid("disclosed"));
        _disclose(slot);
        assertEq(_deadline(slot), block.timestamp + WINDOW, "window");
        vm.warp(block.timestamp + WINDOW + 1);
        market.finalize(slot);
        _checkState(slot, SlotState.Paid);
        _checkOwed(0, R + B, 0, 0, 0, 0);
    }

    function test_AnAuditThatIsDueHoldsUpThePayment() public {
        _submitted(Disclosure.Audited, Status.Done);
        vm.warp(block.timestamp + WINDOW + 1);
        _lottery(slot, true);
        vm.expectRevert(abi.encodeWithSelector(Slots.WrongAuditState.selector, slot, AuditState.Due));
        market.finalize(slot);
    }

    function test_WhoIsDrawnAndSilentLosesTheBond() public {
        _submitted(Disclosure.Audited, Status.Done);
        _lottery(slot, true);
        vm.warp(block.timestamp + MOVE);
        vm.expectRevert(abi.encodeWithSelector(Slots.TooEarly.selector, block.timestamp));
        market.forfeit(slot);
        vm.warp(block.timestamp + 1);
        vm.prank(client);
        vm.expectRevert(abi.encodeWithSelector(Slots.TooLate.selector, block.timestamp - 1));
        market.disclose(slot, _cid("disclosed"));
        market.forfeit(slot);
        _checkState(slot, SlotState.Silent);
        _checkOwed(0, 0, 0, 0, 0, B);
        assertEq(market.getJob(job).open, 2, "open slots");
    }

    function test_ALotteryThatNobodyHeldCountsAsDrawn() public {
        _submitted(Disclosure.Audited, Status.Done);
        vm.expectRevert(abi.encodeWithSelector(Randomness.RandomnessNotInReach.selector, block.number + 4));
        market.drawAudit(slot, "");
        _loseRandomness();
        vm.prank(anybody);
        market.drawAudit(slot, "");
        assertEq(uint256(market.getAudit(slot).state), uint256(AuditState.Due), "audit");
    }

    function test_ARequestedAuditCompensatesTheClient() public {
        _submitted(Disclosure.Audited, Status.Done);
        _request(slot);
        assertEq(token.balanceOf(address(market)), 2 * R + B + C, "held");
        _disclose(slot);
        vm.warp(block.timestamp + WINDOW + 1);
        market.finalize(slot);
        _checkState(slot, SlotState.Paid);
        _checkOwed(0, R + B + K, 0, C - K, 0, 0);
    }

    function test_ARequestedAuditOfWhoIsSilentIsCompensated() public {
        _submitted(Disclosure.Audited, Status.Done);
        _request(slot);
        vm.warp(block.timestamp + MOVE + 1);
        market.forfeit(slot);
        _checkState(slot, SlotState.Silent);
        _checkOwed(0, 0, 0, C + K, 0, B - K);
    }

    /// What is on its way to the auditors would be read, and the client's `disclose` be too late to be paid for.
    function test_TheSponsorDoesNotApproveBeforeWhatWasRequestedIsDisclosed() public {
        _submitted(Disclosure.Audited, Status.Done);
        _request(slot);
        vm.prank(sponsor);
        vm.expectRevert(abi.encodeWithSelector(Slots.WrongAuditState.selector, slot, AuditState.Due));
        market.approve(slot, imagined.run);
    }

    /// Sponsor and client together would get K from everybody who requests an audit, or the sponsor alone data for nothing.
    function test_WhatIsDisclosedForARequestIsLookedAtBeforeTheSponsorApproves() public {
        _submitted(Disclosure.Audited, Status.Done);
        _request(slot);
        _disclose(slot);
        vm.warp(block.timestamp + WINDOW);
        vm.prank(sponsor);
        vm.expectRevert(abi.encodeWithSelector(Slots.TooEarly.selector, block.timestamp));
        market.approve(slot, imagined.run);
        vm.warp(block.timestamp + 1);
        vm.prank(sponsor);
        market.approve(slot, imagined.run);
        _checkState(slot, SlotState.Paid);
        _checkOwed(0, R + B + K, 0, C - K, 0, 0);
    }

    function test_AnAuditIsRequestedInTimeAndOnce() public {
        _submitted(Disclosure.Audited, Status.Done);
        uint256 snapshot = vm.snapshotState();
        vm.warp(block.timestamp + WINDOW + 1);
        vm.prank(requester);
        vm.expectRevert(abi.encodeWithSelector(Slots.TooLate.selector, block.timestamp - 1));
        market.requestAudit(slot);
        vm.revertToState(snapshot);
        vm.warp(block.timestamp + WINDOW);
        _request(slot);
        vm.prank(requester);
        vm.expectRevert(abi.encodeWithSelector(Slots.WrongAuditState.selector, slot, AuditState.Due));
        market.requestAudit(slot);
        _disclose(slot);
        vm.prank(requester);
        vm.expectRevert(abi.encodeWithSelector(Slots.WrongAuditState.selector, slot, AuditState.Disclosed));
        market.requestAudit(slot);
        vm.expectRevert(abi.encodeWithSelector(Slots.WrongAuditState.selector, slot, AuditState.Disclosed));
        market.drawAudit(slot, "");
    }

    function test_AnAuditCanBeRequestedAfterALotteryThatDrewNobody() public {
        _submitted(Disclosure.Audited, Status.Done);
        _lottery(slot, false);
        _request(slot);
        assertEq(market.getAudit(slot).requester, requester, "requester");
    }

    function test_JobsThatAreNotAuditedHaveNoAudits() public {
        for (uint256 i = 0; i < 2; ++i) {
            uint256 snapshot = vm.snapshotState();
            Disclosure disclosure = i == 0 ? Disclosure.Open : Disclosure.Private;
            _submitted(disclosure, Status.Done);
            bytes memory wrong = abi.encodeWithSelector(Slots.WrongDisclosure.selector, disclosure);
            vm.expectRevert(wrong);
            market.drawAudit(slot, "");
            vm.expectRevert(wrong);
            market.requestAudit(slot);
            vm.revertToState(snapshot);
        }
    }
}
