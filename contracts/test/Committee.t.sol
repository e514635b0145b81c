// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {CaseState, Committee, Round} from "../src/Committee.sol";
import {ChallengeState, Disputes} from "../src/Disputes.sol";
import {Kind, Question, Verdict} from "../src/IArbitrator.sol";
import {Terms} from "../src/Jobs.sol";
import {Randomness} from "../src/Randomness.sol";
import {SlotState} from "../src/Slots.sol";
import {Stakes} from "../src/Stakes.sol";
import {ChallengeId, Disclosure, Duration, JobId, StateRoot, Status, Time} from "../src/Types.sol";
import {Imagined, Kit} from "./Kit.sol";
import {DevToken as Token} from "../src/dev/DevToken.sol";
import {Vm} from "./Test.sol";

/// Verifiers with seats, and questions for them.
abstract contract CommitteeKit is Kit {
    uint128 internal constant SEAT = 1000;
    uint128 internal constant PENALTY = 100;
    uint256 internal constant DRAW = 1 hours;
    uint256 internal constant COMMIT = 2 hours;
    uint256 internal constant REVEAL = 3 hours;

    StateRoot internal constant NONE = StateRoot.wrap(0);
    StateRoot internal constant RIGHT_STATE = StateRoot.wrap(keccak256("right"));
    StateRoot internal constant WRONG_STATE = StateRoot.wrap(keccak256("wrong"));

    Committee internal committee;
    Token internal stakes;
    address[] internal verifiers;
    Imagined internal imagined;
    JobId internal job;
    ChallengeId internal challengeId;
    bytes32 internal question;
    Question internal asked;

    function setUp() public virtual override {
        super.setUp();
        stakes = new Token();
        committee = new Committee(market, _rules());
        for (uint160 i = 0; i < 9; ++i) {
            verifiers.push(address(0xE000 + i));
            _deposit(verifiers[i], 10 * SEAT);
        }
    }

    function _rules() internal view returns (Committee.Rules memory) {
        return Committee.Rules({
            token: IERC20(address(stakes)),
            seatStake: SEAT,
            penalty: PENALTY,
            members: 5,
            drawTime: Duration.wrap(uint32(DRAW)),
            commitTime: Duration.wrap(uint32(COMMIT)),
            revealTime: Duration.wrap(uint32(REVEAL))
        });
    }

    function _deposit(address who, uint128 amount) internal {
        stakes.mint(who, amount);
        vm.startPrank(who);
        stakes.approve(address(committee), amount);
        committee.deposit(amount);
        vm.stopPrank();
    }

    function _takeSeat(address who) internal returns (uint256) {
        vm.prank(who);
        return committee.takeSeat();
    }

    function _seatAll() internal {
        for (uint256 i = 0; i < verifiers.length; ++i) {
            _takeSeat(verifiers[i]);
        }
        vm.roll(block.number + 1);
    }

    /// A challenge that waits for the committee, and its question.
    function _ask(Disclosure disclosure) internal {
        Terms memory terms = _terms(disclosure);
        terms.arbitrator = committee;
        terms.nonce = keccak256(abi.encode(question));
        if (disclosure == Disclosure.Audited) {
            for (uint256 i = 0; i < 2; ++i) {
                terms.auditors[i] = verifiers[i];
            }
        }
        _ask(terms);
    }

    function _ask(Terms memory terms) internal {
        job = _post(terms);
        imagined = _submit(_accept(job), 5, Status.Done, RIGHT);
        if (terms.disclosure == Disclosure.Audited) {
            _request(imagined.slot);
            _disclose(imagined.slot);
        }
        vm.recordLogs();
        challengeId = _challengeStep(imagined, 3);
        _readQuestion();
        assertEq(disputes.getChallenge(challengeId).question, question, "question");
    }

    /// The question in the last event that has one.
    function _readQuestion() internal {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] == Disputes.RulingWanted.selector) {
                (asked,) = abi.decode(logs[i].data, (Question, Time));
            }
        }
        question = keccak256(abi.encode(asked));
    }

    function _draw(bytes32 randomness) internal {
        address[] memory none;
        _draw(randomness, none);
    }

    function _draw(bytes32 randomness, address[] memory auditors) internal {
        bytes memory header = _reveal(committee.getCase(question).blockNumber, randomness);
        vm.prank(anybody);
        committee.draw(question, header, auditors);
    }

    function _start() internal {
        _seatAll();
        _ask(Disclosure.Open);
        _draw("randomness");
    }

    function _round() internal view returns (uint8) {
        return committee.getCase(question).round;
    }

    function _count(address member) internal view returns (uint256) {
        return committee.getVote(question, _round(), member).count;
    }

    function _commitment(address member, Verdict verdict, StateRoot stateOut) internal view returns (bytes32) {
        return committee.commitmentOf(question, _round(), member, verdict, stateOut, _salt(member));
    }

    function _salt(address member) internal pure returns (bytes32) {
        return keccak256(abi.encode("salt", member));
    }

    function _commit(address member, StateRoot stateOut) internal {
        _commit(member, Verdict.Executed, stateOut);
    }

    function _commit(address member, Verdict verdict, StateRoot stateOut) internal {
        if (_count(member) == 0) return;
        bytes32 commitment = _commitment(member, verdict, stateOut);
        vm.prank(member);
        committee.commit(question, commitment);
    }

    function _revealVote(address member, StateRoot stateOut) internal {
        _revealVote(member, Verdict.Executed, stateOut);
    }

    function _revealVote(address member, Verdict verdict, StateRoot stateOut) internal {
        if (_count(member) == 0) return;
        bytes32 salt = _salt(member);
        vm.prank(member);
        committee.reveal(question, verdict, stateOut, salt);
    }

    /// Everybody who was drawn says the same, but for the first `others` of them, who say something else.
    function _vote(uint256 others) internal returns (uint256 agreeing) {
        StateRoot[] memory answers = new StateRoot[](verifiers.length);
        uint256 left = others;
        for (uint256 i = 0; i < verifiers.length; ++i) {
            uint256 count = _count(verifiers[i]);
            answers[i] = RIGHT_STATE;
            if (count > 0 && left > 0) {
                answers[i] = WRONG_STATE;
                --left;
            } else {
                agreeing += count;
            }
            _commit(verifiers[i], answers[i]);
        }
        for (uint256 i = 0; i < verifiers.length; ++i) {
            _revealVote(verifiers[i], answers[i]);
        }
    }

    function _atRisk(address member) internal view returns (uint256) {
        return 10 * SEAT - committee.getMember(member).stake;
    }
}

/// The committee answers, and who does not do its part pays for it.
contract CommitteeTest is CommitteeKit {
    function test_TheMajorityAnswers() public {
        _start();
        (uint256 agreeing) = _vote(0);
        assertEq(agreeing, 5, "members");
        vm.prank(anybody);
        committee.settle(question);
        (Verdict verdict, StateRoot stateOut) = committee.answer(question);
        assertEq(uint256(verdict), uint256(Verdict.Executed), "verdict");
        assertTrue(stateOut == RIGHT_STATE, "state");
        disputes.resolve(challengeId);
        _checkState(imagined.slot, SlotState.Refuted);
        for (uint256 i = 0; i < verifiers.length; ++i) {
            if (_count(verifiers[i]) > 0) {
                assertEq(_atRisk(verifiers[i]), _count(verifiers[i]) * PENALTY, "at risk");
                committee.returnStake(question, 0, verifiers[i]);
            }
            assertEq(_atRisk(verifiers[i]), 0, "back");
        }
        assertEq(committee.lost(), 0, "lost");
    }

    function test_FeesGoToThoseWhoDecided() public {
        _start();
        _vote(1);
        committee.settle(question);
        vm.expectRevert(abi.encodeWithSelector(Committee.NoFee.selector, question));
        committee.takeFee(question);
        disputes.resolve(challengeId);
        vm.expectRevert(abi.encodeWithSelector(Committee.NoFee.selector, question));
        committee.payFee(question, verifiers[0]);
        committee.takeFee(question);
        vm.expectRevert(abi.encodeWithSelector(Committee.NoFee.selector, question));
        committee.takeFee(question);
        uint256 best = committee.getRound(question, 0).bestVotes;
        uint256 paid;
        uint256 unpaid;
        for (uint256 i = 0; i < verifiers.length; ++i) {
            if (_count(verifiers[i]) == 0) continue;
            if (committee.getVote(question, 0, verifiers[i]).answer == committee.getRound(question, 0).best) {
                committee.payFee(question, verifiers[i]);
                assertEq(token.balanceOf(verifiers[i]), F / best * _count(verifiers[i]), "fee");
                paid += token.balanceOf(verifiers[i]);
            } else {
                ++unpaid;
            }
            vm.expectRevert(abi.encodeWithSelector(Committee.NothingReturned.selector, verifiers[i]));
            committee.payFee(question, verifiers[i]);
        }
        assertEq(unpaid, 1, "outvoted");
        assertEq(paid + token.balanceOf(burned), F, "all of the fee");
        assertEq(token.balanceOf(address(committee)), 0, "left");
    }

    function test_WhoIsOutvotedLosesWhatItHadAtRisk() public {
        _start();
        uint256 agreeing = _vote(1);
        committee.settle(question);
        assertEq(committee.lost(), (5 - agreeing) * PENALTY, "lost");
        for (uint256 i = 0; i < verifiers.length; ++i) {
            if (_count(verifiers[i]) == 0) continue;
            if (committee.getVote(question, 0, verifiers[i]).answer != committee.getRound(question, 0).best) {
                vm.expectRevert(abi.encodeWithSelector(Committee.NothingReturned.selector, verifiers[i]));
            }
            committee.returnStake(question, 0, verifiers[i]);
        }
        committee.burn();
        assertEq(stakes.balanceOf(burned), (5 - agreeing) * PENALTY, "burned");
        vm.expectRevert(Stakes.NothingThere.selector);
        committee.burn();
    }

    function test_StakesComeBackOnceAndNotBeforeTheEnd() public {
        _start();
        address member = _anyMember();
        _vote(0);
        vm.expectRevert(abi.encodeWithSelector(Committee.RoundIsOpen.selector, question, 0));
        committee.returnStake(question, 0, member);
        committee.settle(question);
        committee.returnStake(question, 0, member);
        vm.expectRevert(abi.encodeWithSelector(Committee.NothingReturned.selector, member));
        committee.returnStake(question, 0, member);
        vm.expectRevert(abi.encodeWithSelector(Committee.NothingReturned.selector, anybody));
        committee.returnStake(question, 0, anybody);
        vm.expectRevert(abi.encodeWithSelector(Committee.RoundIsOpen.selector, question, 1));
        committee.returnStake(question, 1, member);
    }

    function test_WhoDoesNotRevealLosesWhatItHadAtRisk() public {
        _start();
        address silent = _anyMember();
        for (uint256 i = 0; i < verifiers.length; ++i) {
            _commit(verifiers[i], RIGHT_STATE);
        }
        for (uint256 i = 0; i < verifiers.length; ++i) {
            if (verifiers[i] != silent) _revealVote(verifiers[i], RIGHT_STATE);
        }
        uint256 deadline = Time.unwrap(committee.getRound(question, 0).revealUntil);
        vm.expectRevert(abi.encodeWithSelector(Stakes.TooEarly.selector, deadline));
        committee.settle(question);
        vm.warp(deadline + 1);
        bytes32 salt = _salt(silent);
        vm.prank(silent);
        vm.expectRevert(abi.encodeWithSelector(Committee.TooLate.selector, deadline));
        committee.reveal(question, Verdict.Executed, RIGHT_STATE, salt);
        committee.settle(question);
        assertEq(committee.lost(), _count(silent) * PENALTY, "lost");
        (Verdict verdict,) = committee.answer(question);
        assertEq(uint256(verdict), uint256(Verdict.Executed), "verdict");
    }

    function test_WhoDoesNotCommitLosesWhatItHadAtRisk() public {
        _start();
        address silent = _anyMember();
        for (uint256 i = 0; i < verifiers.length; ++i) {
            if (verifiers[i] != silent) _commit(verifiers[i], RIGHT_STATE);
        }
        uint256 deadline = Time.unwrap(committee.getRound(question, 0).commitUntil);
        vm.warp(deadline + 1);
        vm.prank(silent);
        vm.expectRevert(abi.encodeWithSelector(Committee.TooLate.selector, deadline));
        committee.commit(question, "anything");
        for (uint256 i = 0; i < verifiers.length; ++i) {
            if (verifiers[i] != silent) _revealVote(verifiers[i], RIGHT_STATE);
        }
        // All who have committed have revealed.
        committee.settle(question);
        assertEq(committee.lost(), _count(silent) * PENALTY, "lost");
    }

    function test_NobodyRevealsBeforeAllHaveCommitted() public {
        _start();
        address member = _anyMember();
        _commit(member, RIGHT_STATE);
        uint256 deadline = Time.unwrap(committee.getRound(question, 0).commitUntil);
        bytes32 salt = _salt(member);
        vm.prank(member);
        vm.expectRevert(abi.encodeWithSelector(Stakes.TooEarly.selector, deadline));
        committee.reveal(question, Verdict.Executed, RIGHT_STATE, salt);
        vm.warp(deadline + 1);
        vm.prank(member);
        committee.reveal(question, Verdict.Executed, RIGHT_STATE, salt);
    }

    function test_ACommitmentIsOfOneMemberAndOneAnswer() public {
        _start();
        address member = _anyMember();
        bytes32 salt = _salt(member);
        vm.prank(anybody);
        vm.expectRevert(abi.encodeWithSelector(Committee.WrongVote.selector, anybody, 0, bytes32(0)));
        committee.commit(question, "anything");
        vm.prank(member);
        vm.expectPartialRevert(Committee.WrongVote.selector);
        committee.commit(question, 0);
        _commit(member, RIGHT_STATE);
        vm.prank(member);
        vm.expectPartialRevert(Committee.WrongVote.selector);
        committee.commit(question, "again");
        vm.warp(block.timestamp + COMMIT + 1);
        vm.prank(member);
        vm.expectPartialRevert(Committee.WrongVote.selector);
        committee.reveal(question, Verdict.Executed, WRONG_STATE, salt);
        vm.prank(member);
        vm.expectPartialRevert(Committee.WrongVote.selector);
        committee.reveal(question, Verdict.Executed, RIGHT_STATE, "other salt");
        _revealVote(member, RIGHT_STATE);
        vm.prank(member);
        vm.expectPartialRevert(Committee.WrongVote.selector);
        committee.reveal(question, Verdict.Executed, RIGHT_STATE, salt);
        vm.prank(anybody);
        vm.expectPartialRevert(Committee.WrongVote.selector);
        committee.reveal(question, Verdict.Executed, RIGHT_STATE, salt);
    }

    /// Who copies a commitment cannot reveal it.
    function test_ACopiedCommitmentIsWorthless() public {
        _start();
        address member = _anyMember();
        address copier;
        for (uint256 i = 0; i < verifiers.length; ++i) {
            if (verifiers[i] != member && _count(verifiers[i]) > 0) copier = verifiers[i];
        }
        _commit(member, RIGHT_STATE);
        bytes32 copied = _commitment(member, Verdict.Executed, RIGHT_STATE);
        bytes32 salt = _salt(member);
        vm.prank(copier);
        committee.commit(question, copied);
        vm.warp(block.timestamp + COMMIT + 1);
        _revealVote(member, RIGHT_STATE);
        vm.prank(copier);
        vm.expectPartialRevert(Committee.WrongVote.selector);
        committee.reveal(question, Verdict.Executed, RIGHT_STATE, salt);
    }

    function test_AnswersFitTheQuestion() public {
        _start();
        address member = _anyMember();
        bytes32 salt = _salt(member);
        vm.warp(block.timestamp + COMMIT + 1);
        vm.startPrank(member);
        vm.expectRevert(abi.encodeWithSelector(Committee.NoAnswer.selector, Verdict.Pending, NONE));
        committee.reveal(question, Verdict.Pending, NONE, salt);
        vm.expectRevert(abi.encodeWithSelector(Committee.NoAnswer.selector, Verdict.ClientRight, RIGHT_STATE));
        committee.reveal(question, Verdict.ClientRight, RIGHT_STATE, salt);
    }

    function test_AQuestionAboutFilesHasNoStateForAnAnswer() public {
        _seatAll();
        _ask(Disclosure.Open);
        vm.recordLogs();
        challengeId = _challenge(imagined, Kind.Results);
        _readQuestion();
        _draw("randomness");
        address member = _anyMember();
        bytes32 salt = _salt(member);
        vm.warp(block.timestamp + COMMIT + 1);
        vm.prank(member);
        vm.expectRevert(abi.encodeWithSelector(Committee.NoAnswer.selector, Verdict.Executed, RIGHT_STATE));
        committee.reveal(question, Verdict.Executed, RIGHT_STATE, salt);
        vm.warp(block.timestamp - COMMIT - 1);
        for (uint256 i = 0; i < verifiers.length; ++i) {
            _commit(verifiers[i], Verdict.ClientWrong, NONE);
        }
        for (uint256 i = 0; i < verifiers.length; ++i) {
            _revealVote(verifiers[i], Verdict.ClientWrong, NONE);
        }
        committee.settle(question);
        disputes.resolve(challengeId);
        _checkState(imagined.slot, SlotState.Refuted);
    }

    // Rounds

    function test_WithoutAMajorityMoreAreDrawnAndInTheEndItIsUndecided() public {
        _start();
        uint256 lost;
        for (uint8 number = 0; number < 3; ++number) {
            assertEq(_round(), number, "round");
            if (number > 0) _draw(bytes32(uint256(number)));
            Round memory round = committee.getRound(question, number);
            assertEq(round.drawn, [5, 11, 23][number], "drawn");
            // Everybody says something else.
            for (uint256 i = 0; i < verifiers.length; ++i) {
                _commit(verifiers[i], StateRoot.wrap(bytes32(i)));
            }
            for (uint256 i = 0; i < verifiers.length; ++i) {
                _revealVote(verifiers[i], StateRoot.wrap(bytes32(i)));
            }
            (Verdict pending,) = committee.answer(question);
            assertEq(uint256(pending), uint256(Verdict.Pending), "no answer yet");
            committee.settle(question);
            lost += round.seated - round.drawn;
        }
        (Verdict verdict, StateRoot stateOut) = committee.answer(question);
        assertEq(uint256(verdict), uint256(Verdict.Undecided), "verdict");
        assertTrue(stateOut == NONE, "state");
        assertEq(committee.lost(), lost * PENALTY, "lost");
        vm.expectRevert(abi.encodeWithSelector(Committee.WrongCaseState.selector, question, CaseState.Answered));
        committee.settle(question);
        // Nobody was outvoted: all stakes come back, and the fee is for those who answered last.
        for (uint8 number = 0; number < 3; ++number) {
            for (uint256 i = 0; i < verifiers.length; ++i) {
                if (committee.getVote(question, number, verifiers[i]).count == 0) continue;
                committee.returnStake(question, number, verifiers[i]);
            }
        }
        disputes.resolve(challengeId);
        _checkState(challengeId, ChallengeState.Undecided);
        committee.takeFee(question);
        uint256 paid;
        for (uint256 i = 0; i < verifiers.length; ++i) {
            assertEq(_atRisk(verifiers[i]), 0, "back");
            if (_count(verifiers[i]) == 0) continue;
            committee.payFee(question, verifiers[i]);
            paid += token.balanceOf(verifiers[i]);
        }
        assertEq(paid + token.balanceOf(burned), F, "all of the fee");
    }

    function test_TooFewVotesAreNoMajority() public {
        _start();
        address member = _anyMember();
        _commit(member, RIGHT_STATE);
        vm.warp(block.timestamp + COMMIT + 1);
        _revealVote(member, RIGHT_STATE);
        uint256 count = _count(member);
        committee.settle(question);
        assertEq(_round(), 1, "round");
        assertEq(committee.lost(), (5 - count) * PENALTY, "lost");
        committee.returnStake(question, 0, member);
        assertEq(_atRisk(member), 0, "back");
    }

    function test_ASecondRoundMayDecide() public {
        _start();
        vm.warp(block.timestamp + COMMIT + REVEAL + 1);
        committee.settle(question);
        _draw("other randomness");
        _vote(1);
        committee.settle(question);
        (Verdict verdict,) = committee.answer(question);
        assertEq(uint256(verdict), uint256(Verdict.Executed), "verdict");
    }

    function test_WithoutMembersItIsUndecided() public {
        _ask(Disclosure.Open);
        uint256 start = block.timestamp;
        for (uint256 number = 0; number < 3; ++number) {
            bytes memory header = _reveal(committee.getCase(question).blockNumber, "randomness");
            address[] memory none;
            vm.expectRevert(Committee.NobodyToDraw.selector);
            committee.draw(question, header, none);
            uint256 deadline = Time.unwrap(committee.getCase(question).until);
            vm.expectRevert(abi.encodeWithSelector(Stakes.TooEarly.selector, deadline));
            committee.settle(question);
            vm.warp(deadline + 1);
            vm.expectRevert(abi.encodeWithSelector(Committee.TooLate.selector, deadline));
            committee.draw(question, header, none);
            committee.settle(question);
        }
        assertTrue(block.timestamp - start <= Duration.unwrap(committee.longestAnswer()) + 3, "too long");
        disputes.resolve(challengeId);
        _checkState(challengeId, ChallengeState.Undecided);
        // Nobody has earned the fee.
        committee.takeFee(question);
        assertEq(token.balanceOf(burned), F, "burned");
    }

    function test_TheLongestWayTakesNoLongerThanIsSaid() public {
        _seatAll();
        _ask(Disclosure.Open);
        uint256 start = block.timestamp;
        for (uint256 number = 0; number < 3; ++number) {
            vm.warp(Time.unwrap(committee.getCase(question).until));
            _draw(bytes32(number));
            vm.warp(Time.unwrap(committee.getRound(question, _round()).revealUntil) + 1);
            committee.settle(question);
        }
        assertEq(block.timestamp - start, Duration.unwrap(committee.longestAnswer()) + 3, "time");
        (Verdict verdict,) = committee.answer(question);
        assertEq(uint256(verdict), uint256(Verdict.Undecided), "verdict");
    }

    // Questions

    function test_OnlyDisputesAsk() public {
        _ask(Disclosure.Open);
        vm.expectRevert(abi.encodeWithSelector(Committee.OnlyDisputes.selector, address(this)));
        committee.ask(asked);
        assertEq(uint256(committee.getCase(question).state), uint256(CaseState.Drawing), "state");
        vm.expectRevert(abi.encodeWithSelector(Committee.WrongCaseState.selector, bytes32(0), CaseState.None));
        committee.settle(0);
    }

    /// An answer that comes after the market has given up earns no fee.
    function test_ALateAnswerEarnsNothing() public {
        _start();
        _vote(0);
        committee.settle(question);
        vm.warp(block.timestamp + RULE + 1);
        disputes.conclude(challengeId);
        _checkState(challengeId, ChallengeState.Undecided);
        vm.expectRevert(abi.encodeWithSelector(Committee.NoFee.selector, question));
        committee.takeFee(question);
    }

    function test_FeesOfSeveralQuestionsAreKeptApart() public {
        _start();
        _vote(0);
        committee.settle(question);
        disputes.resolve(challengeId);
        bytes32 first = question;
        _ask(Disclosure.Open);
        _draw("other randomness");
        _vote(0);
        committee.settle(question);
        disputes.resolve(challengeId);
        // Both fees come at once.
        committee.takeFee(question);
        committee.takeFee(first);
        assertEq(token.balanceOf(address(committee)) + token.balanceOf(burned), 2 * F, "fees");
    }

    // Drawing

    function test_TheRandomnessComesAfterTheQuestion() public {
        _seatAll();
        _ask(Disclosure.Open);
        uint256 number = committee.getCase(question).blockNumber;
        assertEq(number, block.number, "block");
        bytes memory header = _header(number + 4, "randomness");
        address[] memory none;
        vm.expectRevert(abi.encodeWithSelector(Randomness.RandomnessNotInReach.selector, number + 4));
        committee.draw(question, header, none);
        _draw("randomness");
        vm.expectRevert(abi.encodeWithSelector(Committee.WrongCaseState.selector, question, CaseState.Voting));
        committee.draw(question, header, none);
    }

    /// Seats that are taken when the randomness is known change nothing.
    function test_WhoComesAfterTheQuestionIsNotDrawn() public {
        _takeSeat(verifiers[0]);
        _ask(Disclosure.Open);
        vm.roll(block.number + 1);
        for (uint256 i = 1; i < verifiers.length; ++i) {
            _takeSeat(verifiers[i]);
        }
        vm.prank(verifiers[0]);
        committee.leaveSeat(0);
        _draw("randomness");
        assertEq(_count(verifiers[0]), 5, "drawn");
        assertEq(committee.getRound(question, 0).seated, 5, "seated");
    }

    function test_WhoLeavesIsStillAtRiskForDrawsOfThePast() public {
        address leaver = address(0xF00);
        _deposit(leaver, SEAT);
        _takeSeat(leaver);
        _ask(Disclosure.Open);
        vm.roll(block.number + 1);
        vm.prank(leaver);
        committee.leaveSeat(0);
        vm.prank(leaver);
        committee.unstake(SEAT);
        vm.warp(block.timestamp + DRAW);
        _draw("randomness");
        assertEq(_count(leaver), 5, "drawn");
        assertEq(committee.getMember(leaver).stake, SEAT - 5 * PENALTY, "stake");
        vm.warp(block.timestamp + Duration.unwrap(committee.leaveTime()) + 1);
        vm.prank(leaver);
        assertEq(committee.withdraw(leaver), SEAT - 5 * PENALTY, "withdrawn");
        committee.settle(question);
        assertEq(committee.lost(), 5 * PENALTY, "lost");
    }

    function test_DrawsAreInProportionToSeats() public {
        for (uint256 i = 0; i < 6; ++i) {
            _takeSeat(verifiers[0]);
        }
        _takeSeat(verifiers[1]);
        _takeSeat(verifiers[2]);
        vm.roll(block.number + 1);
        _ask(Disclosure.Open);
        uint256 drawn;
        uint256 snapshot = vm.snapshotState();
        for (uint256 i = 0; i < 200; ++i) {
            _draw(keccak256(abi.encode(i)));
            drawn += _count(verifiers[0]);
            vm.revertToState(snapshot);
            snapshot = vm.snapshotState();
        }
        // 750 of 1000 are expected; six standard deviations are 82.
        assertTrue(drawn > 668 && drawn < 832, "share of who has six of eight seats");
    }

    // Audited jobs

    function _auditors(uint256 count) private view returns (address[] memory auditors) {
        auditors = new address[](count);
        for (uint256 i = 0; i < count; ++i) {
            auditors[i] = verifiers[i];
        }
    }

    function test_AnAuditedJobIsJudgedByItsAuditors() public {
        _seatAll();
        _ask(Disclosure.Audited);
        _draw("randomness", _auditors(2));
        assertEq(committee.getRound(question, 0).drawn, 2, "drawn");
        assertEq(_count(verifiers[0]), 1, "first auditor");
        assertEq(_count(verifiers[1]), 1, "second auditor");
        _vote(0);
        committee.settle(question);
        disputes.resolve(challengeId);
        _checkState(imagined.slot, SlotState.Refuted);
    }

    function test_OneOfTwoAuditorsIsNoMajority() public {
        _ask(Disclosure.Audited);
        _draw("randomness", _auditors(2));
        _vote(1);
        committee.settle(question);
        assertEq(_round(), 1, "round");
    }

    function test_AnAuditorWithoutStakeIsAnEmptyPlace() public {
        Terms memory terms = _terms(Disclosure.Audited);
        terms.arbitrator = committee;
        terms.auditors = _auditors(3);
        terms.auditors[2] = address(0xEEEE);
        _ask(terms);
        _draw("randomness", terms.auditors);
        assertEq(committee.getRound(question, 0).drawn, 3, "drawn");
        assertEq(committee.getRound(question, 0).seated, 2, "seated");
        // The other two are more than half of three, when the time for commitments is over.
        _commit(verifiers[0], RIGHT_STATE);
        _commit(verifiers[1], RIGHT_STATE);
        bytes32 salt = _salt(verifiers[0]);
        vm.prank(verifiers[0]);
        vm.expectPartialRevert(Stakes.TooEarly.selector);
        committee.reveal(question, Verdict.Executed, RIGHT_STATE, salt);
        vm.warp(block.timestamp + COMMIT + 1);
        _revealVote(verifiers[0], RIGHT_STATE);
        _revealVote(verifiers[1], RIGHT_STATE);
        committee.settle(question);
        (Verdict verdict,) = committee.answer(question);
        assertEq(uint256(verdict), uint256(Verdict.Executed), "verdict");
    }

    /// A sponsor may name anybody.
    function test_AuditorsHaveNothingAtRiskBeforeTheyCommit() public {
        _ask(Disclosure.Audited);
        _draw("randomness", _auditors(2));
        assertEq(_atRisk(verifiers[0]) + _atRisk(verifiers[1]), 0, "nothing at risk");
        _commit(verifiers[0], RIGHT_STATE);
        assertEq(_atRisk(verifiers[0]), PENALTY, "its penalty");
        assertEq(committee.getMember(verifiers[0]).atRisk, PENALTY, "is at risk");
        vm.warp(block.timestamp + COMMIT + REVEAL + 1);
        committee.settle(question);
        assertEq(committee.lost(), PENALTY, "who has committed and not revealed loses");
        assertEq(_atRisk(verifiers[1]), 0, "who was only named does not");
        vm.expectRevert(abi.encodeWithSelector(Committee.NothingLost.selector, verifiers[1]));
        committee.loseStake(question, 0, verifiers[1]);
        committee.loseStake(question, 0, verifiers[0]);
        assertEq(committee.getMember(verifiers[0]).atRisk, 0, "nothing is at risk any more");
        vm.expectRevert(abi.encodeWithSelector(Committee.NothingLost.selector, verifiers[0]));
        committee.loseStake(question, 0, verifiers[0]);
        vm.expectRevert(abi.encodeWithSelector(Committee.NothingReturned.selector, verifiers[0]));
        committee.returnStake(question, 0, verifiers[0]);
    }

    function test_AnAuditorCommitsWithTheStakeThatItNeeds() public {
        _ask(Disclosure.Audited);
        _draw("randomness", _auditors(2));
        vm.startPrank(verifiers[0]);
        committee.unstake(10 * SEAT);
        vm.warp(block.timestamp + Duration.unwrap(committee.longestAnswer()) + 1);
        vm.expectPartialRevert(Committee.TooLate.selector);
        committee.commit(question, "a commitment");
        vm.stopPrank();
        _ask(Disclosure.Audited);
        _draw("randomness", _auditors(2));
        vm.startPrank(verifiers[0]);
        committee.withdraw(anybody);
        vm.expectRevert(abi.encodeWithSelector(Stakes.NotCovered.selector, verifiers[0], 0, PENALTY));
        committee.commit(question, "a commitment");
    }

    /// Whoever has members drawn could take their seats away.
    function test_WhatIsAtRiskIsNoReasonToEvict() public {
        address small = address(0xEEE1);
        _deposit(small, SEAT);
        uint256 position = _takeSeat(small);
        vm.roll(block.number + 1);
        _ask(Disclosure.Open);
        _draw("randomness");
        bytes32 first = question;
        _ask(Disclosure.Open);
        _draw("randomness");
        assertEq(committee.getMember(small).stake, 0, "all of it is at risk");
        vm.expectRevert(abi.encodeWithSelector(Stakes.SeatIsCovered.selector, position));
        committee.evict(position);
        vm.warp(block.timestamp + COMMIT + REVEAL + 1);
        committee.settle(first);
        committee.settle(question);
        assertEq(committee.lost(), SEAT, "all of it is lost");
        committee.loseStake(first, 0, small);
        vm.expectRevert(abi.encodeWithSelector(Stakes.SeatIsCovered.selector, position));
        committee.evict(position);
        committee.loseStake(question, 0, small);
        committee.evict(position);
        assertEq(committee.seatCount(), 0, "no seat is left");
    }

    /// Three rounds without anybody would be over in some blocks, before a single stake comes back.
    function test_ARoundWithoutStakesTakesItsTime() public {
        address small = address(0xEEE1);
        _deposit(small, SEAT);
        _takeSeat(small);
        vm.roll(block.number + 1);
        for (uint256 i = 0; i < 2; ++i) {
            _ask(Disclosure.Open);
            _draw("randomness");
        }
        _ask(Disclosure.Open);
        _draw("randomness");
        assertEq(committee.getRound(question, 0).seated, 0, "seated");
        vm.warp(block.timestamp + COMMIT);
        vm.expectPartialRevert(Stakes.TooEarly.selector);
        committee.settle(question);
        vm.warp(block.timestamp + 1);
        committee.settle(question);
        assertEq(_round(), 1, "round");
    }

    function test_AuditorsAreThoseOfTheJob() public {
        _ask(Disclosure.Audited);
        bytes memory header = _reveal(committee.getCase(question).blockNumber, "randomness");
        address[] memory wrong = _auditors(3);
        vm.expectPartialRevert(Committee.WrongAuditors.selector);
        committee.draw(question, header, wrong);
        wrong = _auditors(1);
        vm.expectPartialRevert(Committee.WrongAuditors.selector);
        committee.draw(question, header, wrong);
        wrong = _auditors(2);
        (wrong[0], wrong[1]) = (wrong[1], wrong[0]);
        vm.expectPartialRevert(Committee.WrongAuditors.selector);
        committee.draw(question, header, wrong);
        // Zeros after the end have the same root.
        wrong = new address[](3);
        (wrong[0], wrong[1]) = (verifiers[0], verifiers[1]);
        vm.expectPartialRevert(Committee.WrongAuditors.selector);
        committee.draw(question, header, wrong);
    }

    function test_OfManyAuditorsSomeAreDrawn() public {
        Terms memory terms = _terms(Disclosure.Audited);
        terms.arbitrator = committee;
        terms.auditors = _auditors(9);
        _ask(terms);
        _draw("randomness", _auditors(9));
        uint256 drawn;
        for (uint256 i = 0; i < 9; ++i) {
            drawn += _count(verifiers[i]);
        }
        assertEq(drawn, 5, "drawn");
    }

    // Rules

    function test_RulesHaveRanges() public {
        Committee.Rules memory rules = _rules();
        rules.members = 0;
        _refuse(rules, "members", 0, 1, 15);
        rules.members = 16;
        _refuse(rules, "members", 16, 1, 15);
        rules = _rules();
        rules.penalty = 0;
        _refuse(rules, "penalty", 0, 1, SEAT);
        rules.penalty = SEAT + 1;
        _refuse(rules, "penalty", SEAT + 1, 1, SEAT);
        rules = _rules();
        rules.drawTime = Duration.wrap(0);
        _refuse(rules, "drawTime", 0, 1, 60 days);
        rules = _rules();
        rules.commitTime = Duration.wrap(0);
        _refuse(rules, "commitTime", 0, 1, 60 days);
        rules = _rules();
        rules.revealTime = Duration.wrap(60 days + 1);
        _refuse(rules, "revealTime", 60 days + 1, 1, 60 days);
    }

    function _refuse(Committee.Rules memory rules, bytes32 rule, uint256 value, uint256 least, uint256 most) private {
        vm.expectRevert(abi.encodeWithSelector(Committee.BadRule.selector, rule, value, least, most));
        new Committee(market, rules);
    }

    // Conservation

    /// Whatever members do, each unit is with a member, at risk, or lost.
    function testFuzz_StakesAreConserved(uint256 seed) public {
        _seatAll();
        _ask(Disclosure.Open);
        for (uint8 number = 0; number < 3; ++number) {
            if (committee.getCase(question).state != CaseState.Drawing || _round() != number) break;
            if (_random(seed, number, 99, 5) != 0) {
                _draw(keccak256(abi.encode(seed, number)));
                for (uint256 i = 0; i < verifiers.length; ++i) {
                    if (_random(seed, number, i, 8) != 0) _commit(verifiers[i], _answer(seed, number, i));
                }
                vm.warp(block.timestamp + COMMIT + 1);
                for (uint256 i = 0; i < verifiers.length; ++i) {
                    bool committed = committee.getVote(question, number, verifiers[i]).commitment != 0;
                    if (committed && _random(seed, number, 10 + i, 8) != 0) {
                        _revealVote(verifiers[i], _answer(seed, number, i));
                    }
                }
                vm.warp(block.timestamp + REVEAL);
            }
            vm.warp(block.timestamp + DRAW + 1);
            committee.settle(question);
        }
        assertEq(uint256(committee.getCase(question).state), uint256(CaseState.Answered), "answered");
        for (uint8 number = 0; number < 3; ++number) {
            for (uint256 i = 0; i < verifiers.length; ++i) {
                (bool done,) =
                    address(committee).call(abi.encodeCall(committee.returnStake, (question, number, verifiers[i])));
                done;
            }
        }
        uint256 total = committee.lost();
        for (uint256 i = 0; i < verifiers.length; ++i) {
            total += committee.getMember(verifiers[i]).stake;
        }
        assertEq(total, verifiers.length * 10 * SEAT, "stakes");
        assertEq(stakes.balanceOf(address(committee)), total, "held");
        // And all fees are with members or burned.
        disputes.resolve(challengeId);
        committee.takeFee(question);
        for (uint256 i = 0; i < verifiers.length; ++i) {
            (bool done,) = address(committee).call(abi.encodeCall(committee.payFee, (question, verifiers[i])));
            done;
        }
        assertEq(token.balanceOf(address(committee)), 0, "fees left");
    }

    function _random(uint256 seed, uint256 number, uint256 which, uint256 count) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, number, which))) % count;
    }

    /// Two out of three say the same.
    function _answer(uint256 seed, uint256 number, uint256 which) private pure returns (StateRoot) {
        return _random(seed, number, 20 + which, 3) == 0 ? WRONG_STATE : RIGHT_STATE;
    }

    function _anyMember() private view returns (address member) {
        for (uint256 i = 0; member == address(0); ++i) {
            if (_count(verifiers[i]) > 0) member = verifiers[i];
        }
    }
}
