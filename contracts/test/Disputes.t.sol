// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {ChallengeState, Choice, Disputes} from "../src/Disputes.sol";
import {HashTree} from "../src/HashTree.sol";
import {Kind, Question, Verdict} from "../src/IArbitrator.sol";
import {Outcome} from "../src/IDisputable.sol";
import {Terms} from "../src/Jobs.sol";
import {Market} from "../src/Market.sol";
import {SlotState, Slots} from "../src/Slots.sol";
import {StateHeader} from "../src/StateHeader.sol";
import {Trace} from "../src/Trace.sol";
import {ChallengeId, DataRoot, Disclosure, JobId, Run, SlotId, StateRoot, Status} from "../src/Types.sol";
import {Imagined, Kit} from "./Kit.sol";

/// The rows of the tables of challenges.
contract DisputesTest is Kit {
    StateRoot private constant OTHER = StateRoot.wrap(keccak256("another state"));
    StateRoot private constant NONE = StateRoot.wrap(0);

    JobId private job;
    SlotId private slot;
    Imagined private imagined;

    function _submitted(Disclosure disclosure, uint64 steps, Status status, uint64 wrongFrom) private {
        job = _post(disclosure);
        slot = _accept(job);
        imagined = _submit(slot, steps, status, wrongFrom);
    }

    function _submitted() private {
        _submitted(Disclosure.Open, 1_000_001, Status.Done, RIGHT);
    }

    // Opening

    function test_AChallengeTakesABond() public {
        _submitted();
        ChallengeId id = _challenge(imagined, Kind.Step);
        assertEq(token.balanceOf(address(market)), 2 * R + B + C, "held");
        assertEq(market.openChallenges(slot), 1, "open challenges");
        _checkState(id, ChallengeState.WantsLeaves);
    }

    function test_AChallengeIsOpenedInTime() public {
        _submitted();
        vm.warp(block.timestamp + WINDOW);
        _challenge(imagined, Kind.Step);
        vm.warp(block.timestamp + 1);
        vm.prank(challenger);
        vm.expectRevert(abi.encodeWithSelector(Slots.TooLate.selector, block.timestamp - 1));
        disputes.open(slot, imagined.run, Kind.Step);
    }

    function test_AChallengeIsAboutWhatWasSubmitted() public {
        _submitted();
        Run memory other = imagined.run;
        other.lastState = OTHER;
        bytes32 facts = market.getSlot(slot).facts;
        vm.prank(challenger);
        vm.expectRevert(abi.encodeWithSelector(Disputes.WrongRun.selector, slot, facts));
        disputes.open(slot, other, Kind.Step);
    }

    function test_WhatIsNotSubmittedCannotBeChallenged() public {
        job = _post(Disclosure.Open);
        slot = _accept(job);
        vm.prank(challenger);
        vm.expectRevert(abi.encodeWithSelector(Disputes.WrongSlotState.selector, slot, SlotState.Accepted));
        disputes.open(slot, imagined.run, Kind.Step);
    }

    function test_APrivateJobCannotBeChallenged() public {
        _submitted(Disclosure.Private, 5, Status.Done, RIGHT);
        for (uint256 kind = 0; kind < 3; ++kind) {
            vm.prank(challenger);
            vm.expectRevert(abi.encodeWithSelector(Market.NotChallengeable.selector, slot, Kind(kind)));
            disputes.open(slot, imagined.run, Kind(kind));
        }
    }

    function test_AnAuditedJobIsChallengedAfterDisclosure() public {
        _submitted(Disclosure.Audited, 5, Status.Done, RIGHT);
        for (uint256 i = 0; i < 2; ++i) {
            Kind kind = i == 0 ? Kind.Step : Kind.Capsule;
            vm.prank(challenger);
            vm.expectRevert(abi.encodeWithSelector(Market.NotChallengeable.selector, slot, kind));
            disputes.open(slot, imagined.run, kind);
        }
        _challenge(imagined, Kind.Results);
        _request(slot);
        vm.prank(challenger);
        vm.expectRevert(abi.encodeWithSelector(Market.NotChallengeable.selector, slot, Kind.Step));
        disputes.open(slot, imagined.run, Kind.Step);
        _disclose(slot);
        _challenge(imagined, Kind.Step);
        _challenge(imagined, Kind.Capsule);
        assertEq(market.openChallenges(slot), 3, "open challenges");
    }

    function test_WhatHasNoResultsIsNotChallengedForThem() public {
        _submitted(Disclosure.Open, 5, Status.Trapped, RIGHT);
        vm.prank(challenger);
        vm.expectRevert(abi.encodeWithSelector(Market.NotChallengeable.selector, slot, Kind.Results));
        disputes.open(slot, imagined.run, Kind.Results);
    }

    function test_OnlyDisputesTellTheMarketOfChallenges() public {
        _submitted();
        vm.expectRevert(abi.encodeWithSelector(Market.OnlyDisputes.selector, address(this)));
        market.openChallenge(slot, client, Kind.Step);
        vm.expectRevert(abi.encodeWithSelector(Market.OnlyDisputes.selector, address(this)));
        market.endChallenge(slot, client, Outcome.ChallengerWins, true);
    }

    // Narrowing

    /// Every wrong step of a run that a test can reach is found, and the question is about it.
    function testFuzz_TheFirstWrongStepIsFound(uint64 steps, uint64 wrong) public {
        steps = uint64(bound(steps, 1, 256 * 70_000));
        wrong = uint64(bound(wrong, 0, steps - 1));
        _submitted(Disclosure.Open, steps, Status.Done, wrong);
        ChallengeId id = _challenge(imagined, Kind.Step);
        uint256 moves;
        while (disputes.getChallenge(id).state != ChallengeState.WantsRuling) {
            _postLeaves(id, imagined);
            // The challenger knows all states and names the first leaf that is wrong.
            _choose(id, imagined, wrong);
            assertTrue(++moves <= 4, "too many levels");
        }
        StateRoot before = wrong == 0 ? _firstState() : _state(imagined, wrong);
        Question memory question = Question(
            Kind.Step, id, job, slot, market.getJob(job).root, imagined.run.dataRoot, imagined.run.runId, before, wrong
        );
        assertEq(disputes.getChallenge(id).question, keccak256(abi.encode(question)), "question");
        assertEq(arbitrator.asked(keccak256(abi.encode(question))), 1, "asked once");
        StateRoot claimed = disputes.getChallenge(id).stateOut;
        assertTrue(claimed == _state(imagined, wrong + 1), "claimed state");
        _rule(id, Verdict.Executed, OTHER);
        _checkState(slot, SlotState.Refuted);
    }

    function test_TheLongestRunTakesSevenLevels() public {
        Terms memory terms = _terms(Disclosure.Open);
        terms.stepsPerSegment = 1 << 48;
        job = _post(terms);
        slot = _accept(job);
        imagined = _submit(slot, 1 << 48, Status.Done, RIGHT);
        ChallengeId id = _challenge(imagined, Kind.Step);
        uint256 levels;
        for (; disputes.getChallenge(id).state == ChallengeState.WantsLeaves; ++levels) {
            _postLeaves(id, imagined);
            _choose(id, imagined, (1 << 48) - 1);
        }
        assertEq(levels, 7, "levels");
        _rule(id, Verdict.Executed, imagined.run.lastState);
        _checkState(id, ChallengeState.Lost);
    }

    function test_AnybodyShowsTheTopLevelButOnlyTheClientTheOthers() public {
        _submitted();
        ChallengeId id = _challenge(imagined, Kind.Step);
        StateRoot[] memory leaves = _leaves(imagined, disputes.getChallenge(id).level);
        vm.prank(anybody);
        disputes.postLeaves(id, leaves);
        _choose(id, imagined, 5);
        leaves = _leaves(imagined, disputes.getChallenge(id).level);
        vm.prank(challenger);
        vm.expectRevert(abi.encodeWithSelector(Disputes.OnlyClient.selector, client, challenger));
        disputes.postLeaves(id, leaves);
        _postLeaves(id, imagined);
    }

    function test_LeavesOfTheTopLevelAreThoseUnderTheTraceRoot() public {
        _submitted();
        ChallengeId id = _challenge(imagined, Kind.Step);
        StateRoot[] memory leaves = _leaves(imagined, disputes.getChallenge(id).level);
        bytes32 root = _levelRoot(leaves);
        leaves[3] = OTHER;
        vm.prank(client);
        vm.expectRevert(abi.encodeWithSelector(Disputes.WrongLevelRoot.selector, _levelRoot(leaves), root));
        disputes.postLeaves(id, leaves);
    }

    function test_LeavesAreAsManyAsTheLevelHasAndEndWhereItEnds() public {
        _submitted();
        ChallengeId id = _challenge(imagined, Kind.Step);
        for (uint256 round = 0; round < 2; ++round) {
            StateRoot[] memory leaves = _leaves(imagined, disputes.getChallenge(id).level);
            StateRoot[] memory fewer = new StateRoot[](leaves.length - 1);
            vm.prank(client);
            vm.expectRevert(abi.encodeWithSelector(Disputes.WrongLeafCount.selector, fewer.length, leaves.length));
            disputes.postLeaves(id, fewer);
            StateRoot last = leaves[leaves.length - 1];
            leaves[leaves.length - 1] = OTHER;
            vm.prank(client);
            vm.expectRevert(abi.encodeWithSelector(Disputes.WrongLastLeaf.selector, OTHER, last));
            disputes.postLeaves(id, leaves);
            _postLeaves(id, imagined);
            _choose(id, imagined, 5);
        }
    }

    function test_AChoiceIsForTheChallengerAndIsProven() public {
        _submitted();
        ChallengeId id = _challenge(imagined, Kind.Step);
        _postLeaves(id, imagined);
        Choice memory choice = _choice(id, imagined, 200_000);
        assertEq(choice.index, 2, "index");

        vm.prank(client);
        vm.expectRevert(abi.encodeWithSelector(Disputes.OnlyChallenger.selector, challenger, client));
        disputes.choose(id, imagined.run, choice);

        Choice memory wrong = _choice(id, imagined, 200_000);
        wrong.leaf = OTHER;
        _refuseChoice(id, wrong);
        wrong = _choice(id, imagined, 200_000);
        wrong.leafBefore = OTHER;
        _refuseChoice(id, wrong);
        wrong = _choice(id, imagined, 200_000);
        wrong.index = 3;
        _refuseChoice(id, wrong);
        wrong = _choice(id, imagined, 200_000);
        wrong.siblingsBefore = wrong.siblings;
        _refuseChoice(id, wrong);
        // A leaf that is not there is a zero, and it can be proven, but it is no part of the level.
        wrong.index = 15;
        vm.prank(challenger);
        vm.expectRevert(abi.encodeWithSelector(Trace.NoSuchPart.selector, 15, 15));
        disputes.choose(id, imagined.run, wrong);

        Run memory other = imagined.run;
        other.dataRoot = _otherData();
        bytes32 facts = market.getSlot(slot).facts;
        vm.prank(challenger);
        vm.expectRevert(abi.encodeWithSelector(Disputes.WrongRun.selector, slot, facts));
        disputes.choose(id, other, choice);

        vm.prank(challenger);
        disputes.choose(id, imagined.run, choice);
        _checkState(id, ChallengeState.WantsLeaves);
    }

    function test_BeforeTheFirstLeafIsTheStateBeforeTheLevel() public {
        _submitted();
        ChallengeId id = _challenge(imagined, Kind.Step);
        _postLeaves(id, imagined);
        Choice memory choice = _choice(id, imagined, 0);
        assertTrue(choice.leafBefore == _firstState(), "state before step 0");
        choice.leafBefore = OTHER;
        bytes memory wrong = abi.encodeWithSelector(Disputes.WrongLeafBefore.selector, OTHER, _firstState());
        vm.prank(challenger);
        vm.expectRevert(wrong);
        disputes.choose(id, imagined.run, choice);
    }

    function test_MovesComeInTurn() public {
        _submitted();
        ChallengeId id = _challenge(imagined, Kind.Step);
        StateRoot[] memory leaves = _leaves(imagined, disputes.getChallenge(id).level);
        Choice memory choice = _choice(id, imagined, 5);
        vm.expectRevert(_wrongState(id, ChallengeState.WantsLeaves));
        disputes.choose(id, imagined.run, choice);
        vm.expectRevert(_wrongState(id, ChallengeState.WantsLeaves));
        disputes.resolve(id);
        _postLeaves(id, imagined);
        vm.expectRevert(_wrongState(id, ChallengeState.WantsChoice));
        disputes.postLeaves(id, leaves);
        vm.expectRevert(_wrongState(id, ChallengeState.WantsChoice));
        disputes.resolve(id);
        _narrowFromChoice(id);
        vm.expectRevert(_wrongState(id, ChallengeState.WantsRuling));
        disputes.postLeaves(id, leaves);
        vm.expectRevert(_wrongState(id, ChallengeState.WantsRuling));
        disputes.choose(id, imagined.run, choice);
    }

    // Ends by time

    function test_AClientThatDoesNotPostLeavesLoses() public {
        _submitted();
        ChallengeId id = _challenge(imagined, Kind.Step);
        vm.warp(block.timestamp + MOVE);
        vm.expectRevert(abi.encodeWithSelector(Disputes.TooEarly.selector, block.timestamp));
        disputes.conclude(id);
        vm.warp(block.timestamp + 1);
        StateRoot[] memory leaves = _leaves(imagined, disputes.getChallenge(id).level);
        vm.prank(client);
        vm.expectRevert(abi.encodeWithSelector(Disputes.TooLate.selector, block.timestamp - 1));
        disputes.postLeaves(id, leaves);
        vm.prank(anybody);
        disputes.conclude(id);
        _checkState(id, ChallengeState.Won);
        _checkState(slot, SlotState.Refuted);
        _checkOwed(0, 0, C + K, 0, 0, B - K);
        assertEq(market.getJob(job).open, 2, "open slots");
    }

    function test_AClientThatDoesNotPostLowerLeavesLoses() public {
        _submitted();
        ChallengeId id = _challenge(imagined, Kind.Step);
        _postLeaves(id, imagined);
        _choose(id, imagined, 5);
        vm.warp(block.timestamp + MOVE + 1);
        disputes.conclude(id);
        _checkState(id, ChallengeState.Won);
        _checkOwed(0, 0, C + K, 0, 0, B - K);
    }

    function test_AChallengerThatDoesNotChooseLoses() public {
        _submitted();
        ChallengeId id = _challenge(imagined, Kind.Step);
        _postLeaves(id, imagined);
        vm.warp(block.timestamp + MOVE);
        vm.expectRevert(abi.encodeWithSelector(Disputes.TooEarly.selector, block.timestamp));
        disputes.conclude(id);
        vm.warp(block.timestamp + 1);
        Choice memory choice = _choice(id, imagined, 5);
        vm.prank(challenger);
        vm.expectRevert(abi.encodeWithSelector(Disputes.TooLate.selector, block.timestamp - 1));
        disputes.choose(id, imagined.run, choice);
        disputes.conclude(id);
        _checkState(id, ChallengeState.Lost);
        _checkState(slot, SlotState.Submitted);
        _checkOwed(0, K, 0, 0, 0, C - K);
    }

    function test_AnArbitratorThatDoesNotAnswerLeavesItUndecided() public {
        _submitted();
        ChallengeId id = _challengeStep(imagined, 5);
        vm.expectRevert(abi.encodeWithSelector(Disputes.NotAnswered.selector, id));
        disputes.resolve(id);
        vm.warp(block.timestamp + RULE);
        vm.expectRevert(abi.encodeWithSelector(Disputes.TooEarly.selector, block.timestamp));
        disputes.conclude(id);
        vm.warp(block.timestamp + 1);
        arbitrator.say(disputes.getChallenge(id).question, Verdict.ClientWrong, NONE);
        vm.expectRevert(abi.encodeWithSelector(Disputes.TooLate.selector, block.timestamp - 1));
        disputes.resolve(id);
        vm.prank(anybody);
        disputes.conclude(id);
        _checkState(id, ChallengeState.Undecided);
        _checkOwed(0, 0, C, 0, 0, 0);
        market.finalize(slot);
        _checkState(slot, SlotState.Returned);
        _checkOwed(0, B, C, 0, 0, 0);
        assertEq(market.getJob(job).open, 2, "open slots");
    }

    // Ends by ruling

    function test_AWrongStepRefutes() public {
        _submitted();
        ChallengeId id = _challengeStep(imagined, 5);
        _rule(id, Verdict.Executed, OTHER);
        _checkState(id, ChallengeState.Won);
        _checkState(slot, SlotState.Refuted);
        _checkOwed(0, 0, C + K, 0, F, B - K - F);
    }

    function test_ARightStepStands() public {
        _submitted();
        ChallengeId id = _challengeStep(imagined, 5);
        _rule(id, Verdict.Executed, _state(imagined, 6));
        _checkState(id, ChallengeState.Lost);
        _checkState(slot, SlotState.Submitted);
        _checkOwed(0, K, 0, 0, F, C - K - F);
        _finalize();
        _checkOwed(0, K + R + B, 0, 0, F, C - K - F);
    }

    function test_WhoDisputesAStepFromAStateOfNoRunLoses() public {
        _submitted();
        ChallengeId id = _challengeStep(imagined, 5);
        _rule(id, Verdict.ClientRight, NONE);
        _checkState(id, ChallengeState.Lost);
        _checkOwed(0, K, 0, 0, F, C - K - F);
    }

    function test_AStepTooLongForTheMachineIsUndecided() public {
        _submitted();
        ChallengeId id = _challengeStep(imagined, 5);
        _rule(id, Verdict.Undecided, NONE);
        _checkState(id, ChallengeState.Undecided);
        _checkOwed(0, 0, C - F, 0, F, 0);
        _finalize();
        _checkState(slot, SlotState.Returned);
        _checkOwed(0, B, C - F, 0, F, 0);
    }

    function test_TheSponsorMayPayWhatIsUndecided() public {
        _submitted();
        ChallengeId id = _challengeStep(imagined, 5);
        _rule(id, Verdict.Undecided, NONE);
        vm.prank(sponsor);
        market.approve(slot, imagined.run);
        _checkState(slot, SlotState.Paid);
        _checkOwed(0, R + B, C - F, 0, F, 0);
    }

    function test_AStepTooLongProtectsNoOtherStep() public {
        _submitted();
        ChallengeId tooLong = _challengeStep(imagined, 700_000);
        ChallengeId wrong = _challengeStep(imagined, 5);
        _rule(tooLong, Verdict.Undecided, NONE);
        _rule(wrong, Verdict.Executed, OTHER);
        _checkState(slot, SlotState.Refuted);
        _checkOwed(0, 0, C - F + C + K, 0, 2 * F, B - K - F);
    }

    function test_MissingResultsRefute() public {
        _submitted();
        ChallengeId id = _challenge(imagined, Kind.Results);
        _checkState(id, ChallengeState.WantsRuling);
        _rule(id, Verdict.ClientWrong, NONE);
        _checkState(slot, SlotState.Refuted);
        _checkOwed(0, 0, C + K, 0, F, B - K - F);
    }

    /// The client may have brought them only when they were missed: it has nothing of it.
    function test_FilesThatAreThereStandAndEarnNothing() public {
        _submitted();
        _rule(_challenge(imagined, Kind.Results), Verdict.ClientRight, NONE);
        _checkOwed(0, 0, 0, 0, F, C - F);
        _rule(_challenge(imagined, Kind.Capsule), Verdict.ClientRight, NONE);
        _checkOwed(0, 0, 0, 0, 2 * F, 2 * (C - F));
        _checkState(slot, SlotState.Submitted);
    }

    function test_ResultsThatNobodyCanJudgeStillCount() public {
        _submitted();
        ChallengeId id = _challenge(imagined, Kind.Results);
        _rule(id, Verdict.Undecided, NONE);
        _checkState(id, ChallengeState.Undecided);
        _finalize();
        _checkState(slot, SlotState.Paid);
        _checkOwed(0, R + B, C - F, 0, F, 0);
    }

    function test_AMissingCapsuleRefutes() public {
        _submitted();
        ChallengeId id = _challenge(imagined, Kind.Capsule);
        _rule(id, Verdict.ClientWrong, NONE);
        _checkState(slot, SlotState.Refuted);
        _checkOwed(0, 0, C + K, 0, F, B - K - F);
    }

    function test_ACapsuleThatNobodyCanJudgeIsNotPaid() public {
        _submitted();
        _rule(_challenge(imagined, Kind.Capsule), Verdict.Undecided, NONE);
        _finalize();
        _checkState(slot, SlotState.Returned);
    }

    function test_AStateIsNoAnswerToAQuestionAboutFiles() public {
        _submitted();
        ChallengeId id = _challenge(imagined, Kind.Results);
        _rule(id, Verdict.Executed, OTHER);
        _checkState(id, ChallengeState.Undecided);
        _checkState(slot, SlotState.Submitted);
    }

    function test_AQuestionAboutResultsIsAboutTheLastState() public {
        _submitted();
        ChallengeId id = _challenge(imagined, Kind.Results);
        Question memory question = Question(
            Kind.Results,
            id,
            job,
            slot,
            market.getJob(job).root,
            imagined.run.dataRoot,
            imagined.run.runId,
            imagined.run.lastState,
            0
        );
        assertEq(disputes.getChallenge(id).question, keccak256(abi.encode(question)), "question");
    }

    // Several at once

    function test_ALostChallengeMakesNothingImmune() public {
        _submitted();
        _rule(_challengeStep(imagined, 5), Verdict.Executed, _state(imagined, 6));
        _rule(_challengeStep(imagined, 6), Verdict.Executed, OTHER);
        _checkState(slot, SlotState.Refuted);
        _checkOwed(0, K, C + K, 0, 2 * F, C - K - F + B - K - F);
    }

    function test_WhatIsOpenWhenTheSlotEndsIsVoid() public {
        _submitted();
        ChallengeId first = _challengeStep(imagined, 5);
        ChallengeId second = _challenge(imagined, Kind.Step);
        ChallengeId third = _challengeStep(imagined, 7);
        _rule(first, Verdict.Executed, OTHER);
        StateRoot[] memory leaves = _leaves(imagined, disputes.getChallenge(second).level);
        bytes memory ended = abi.encodeWithSelector(Disputes.WrongSlotState.selector, slot, SlotState.Refuted);
        vm.prank(client);
        vm.expectRevert(ended);
        disputes.postLeaves(second, leaves);
        arbitrator.say(disputes.getChallenge(third).question, Verdict.Executed, OTHER);
        vm.expectRevert(ended);
        disputes.resolve(third);
        disputes.conclude(second);
        disputes.conclude(third);
        _checkState(second, ChallengeState.Void);
        _checkState(third, ChallengeState.Void);
        _checkOwed(0, 0, 3 * C + K, 0, F, B - K - F);
        assertEq(market.openChallenges(slot), 0, "open challenges");
    }

    function test_AChallengeHoldsUpApprovalAndPayment() public {
        _submitted();
        ChallengeId id = _challengeStep(imagined, 5);
        bytes memory open = abi.encodeWithSelector(Slots.ChallengesOpen.selector, slot, 1);
        vm.prank(sponsor);
        vm.expectRevert(open);
        market.approve(slot, imagined.run);
        vm.warp(block.timestamp + WINDOW + 1);
        vm.expectRevert(open);
        market.finalize(slot);
        _rule(id, Verdict.Executed, _state(imagined, 6));
        market.finalize(slot);
        _checkState(slot, SlotState.Paid);
    }

    function test_ASilentClientLosesWhileChallengesAreOpen() public {
        _submitted(Disclosure.Audited, 5, Status.Done, RIGHT);
        ChallengeId id = _challenge(imagined, Kind.Results);
        _lottery(slot, true);
        vm.warp(block.timestamp + MOVE + 1);
        market.forfeit(slot);
        disputes.conclude(id);
        _checkState(id, ChallengeState.Void);
        _checkOwed(0, 0, C, 0, 0, B);
    }

    function test_WhoAskedForTheAuditOfAWrongRunHasItsBondBack() public {
        _submitted(Disclosure.Audited, 5, Status.Done, RIGHT);
        _request(slot);
        _disclose(slot);
        _rule(_challengeStep(imagined, 3), Verdict.Executed, OTHER);
        _checkState(slot, SlotState.Refuted);
        _checkOwed(0, 0, C + K, C, F, B - K - F);
    }

    function test_WhatHasEndedDoesNotEndAgain() public {
        _submitted();
        ChallengeId id = _challengeStep(imagined, 5);
        vm.expectRevert(_wrongState(ChallengeId.wrap(0), ChallengeState.None));
        disputes.conclude(ChallengeId.wrap(0));
        _rule(id, Verdict.Executed, _state(imagined, 6));
        vm.warp(block.timestamp + RULE + 1);
        vm.expectRevert(_wrongState(id, ChallengeState.Lost));
        disputes.resolve(id);
        vm.expectRevert(_wrongState(id, ChallengeState.Lost));
        disputes.conclude(id);
        market.finalize(slot);
        vm.expectRevert(_wrongState(id, ChallengeState.Lost));
        disputes.conclude(id);
    }

    // Arbitrators that are no good

    function test_AnArbitratorThatRevertsHoldsNobodyUpForEver() public {
        _submitted();
        ChallengeId id = _challengeStep(imagined, 5);
        vm.etch(address(arbitrator), hex"fe");
        vm.expectRevert();
        disputes.resolve(id);
        vm.warp(block.timestamp + RULE + 1);
        disputes.conclude(id);
        _checkState(id, ChallengeState.Undecided);
        market.finalize(slot);
        _checkState(slot, SlotState.Returned);
    }

    /// Nobody pays for a question that the arbitrator does not take.
    function test_AnArbitratorThatTakesNoQuestionsEndsTheChallenge() public {
        _submitted(Disclosure.Open, 5, Status.Done, RIGHT);
        ChallengeId id = _challenge(imagined, Kind.Step);
        _postLeaves(id, imagined);
        _choose(id, imagined, 3);
        _postLeaves(id, imagined);
        vm.etch(address(arbitrator), hex"fe");
        Choice memory choice = _choice(id, imagined, 3);
        vm.prank(challenger);
        vm.expectRevert();
        disputes.choose(id, imagined.run, choice);
        vm.prank(challenger);
        vm.expectRevert();
        disputes.open(slot, imagined.run, Kind.Results);
        assertEq(token.balanceOf(address(market)), 2 * R + B + C, "held");
        vm.warp(block.timestamp + MOVE + 1);
        disputes.conclude(id);
        _checkState(id, ChallengeState.Lost);
        _finalize();
        _checkState(slot, SlotState.Paid);
    }

    function _finalize() private {
        vm.warp(block.timestamp + WINDOW + 1);
        market.finalize(slot);
    }

    function _narrowFromChoice(ChallengeId id) private {
        _choose(id, imagined, 5);
        _narrow(id, imagined, 5);
    }

    function _refuseChoice(ChallengeId id, Choice memory choice) private {
        Run memory run = imagined.run;
        vm.prank(challenger);
        vm.expectPartialRevert(HashTree.ProofFails.selector);
        disputes.choose(id, run, choice);
    }

    function _wrongState(ChallengeId id, ChallengeState state) private pure returns (bytes memory) {
        return abi.encodeWithSelector(Disputes.WrongChallengeState.selector, id, state);
    }

    function _otherData() private pure returns (DataRoot) {
        return DataRoot.wrap(keccak256("other data"));
    }

    function _firstState() private view returns (StateRoot) {
        return StateHeader.firstState(
            StateHeader.Identity(
                PROFILE, imagined.run.runId, market.getJob(job).root, imagined.run.dataRoot, imagined.run.blindHash
            ),
            market.getJob(job).class
        );
    }
}
