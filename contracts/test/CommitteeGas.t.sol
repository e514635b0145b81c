// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {Choice} from "../src/Disputes.sol";
import {Kind, Verdict} from "../src/IArbitrator.sol";
import {Terms} from "../src/Jobs.sol";
import {Disclosure, Status} from "../src/Types.sol";
import {CommitteeKit} from "./Committee.t.sol";

/// What a committee costs; see `GasTest`.
///
/// forge-config: default.isolate = true
contract CommitteeGasTest is CommitteeKit {
    function test_ARulingByFive() public {
        vm.prank(verifiers[8]);
        committee.takeSeat();
        vm.snapshotGasLastCall("committee", "takeSeat");
        for (uint256 i = 0; i < 8; ++i) {
            _takeSeat(verifiers[i]);
        }
        vm.roll(block.number + 1);
        _ask(Disclosure.Open);
        bytes memory header = _reveal(committee.getCase(question).blockNumber, "randomness");
        address[] memory none;
        vm.prank(anybody);
        committee.draw(question, header, none);
        vm.snapshotGasLastCall("committee", "draw 5");
        address last;
        for (uint256 i = 0; i < verifiers.length; ++i) {
            if (_count(verifiers[i]) == 0) continue;
            last = verifiers[i];
            _commit(last, RIGHT_STATE);
            vm.snapshotGasLastCall("committee", "commit");
        }
        for (uint256 i = 0; i < verifiers.length; ++i) {
            if (_count(verifiers[i]) == 0) continue;
            _revealVote(verifiers[i], RIGHT_STATE);
            vm.snapshotGasLastCall("committee", "reveal");
        }
        vm.prank(anybody);
        committee.settle(question);
        vm.snapshotGasLastCall("committee", "settle");
        vm.prank(anybody);
        disputes.resolve(challengeId);
        vm.snapshotGasLastCall("committee", "resolve");
        vm.prank(last);
        committee.returnStake(question, 0, last);
        vm.snapshotGasLastCall("committee", "returnStake");
        vm.prank(last);
        committee.takeFee(question);
        vm.snapshotGasLastCall("committee", "takeFee");
        vm.prank(last);
        committee.payFee(question, last);
        vm.snapshotGasLastCall("committee", "payFee");
        (Verdict verdict,) = committee.answer(question);
        assertEq(uint256(verdict), uint256(Verdict.Executed), "verdict");
    }

    function test_BringingAStepToTheCommittee() public {
        Terms memory terms = _terms(Disclosure.Open);
        terms.arbitrator = committee;
        imagined = _submit(_accept(_post(terms)), 5, Status.Done, RIGHT);
        challengeId = _challenge(imagined, Kind.Step);
        _postLeaves(challengeId, imagined);
        _choose(challengeId, imagined, 3);
        _postLeaves(challengeId, imagined);
        Choice memory choice = _choice(challengeId, imagined, 3);
        vm.prank(challenger);
        disputes.choose(challengeId, imagined.run, choice);
        vm.snapshotGasLastCall("committee", "choose, a step");
    }

    function test_TheLargestDraw() public {
        for (uint256 i = 0; i < verifiers.length; ++i) {
            _takeSeat(verifiers[i]);
        }
        vm.roll(block.number + 1);
        _ask(Disclosure.Open);
        for (uint256 i = 0; i < 2; ++i) {
            vm.warp(block.timestamp + DRAW + 1);
            committee.settle(question);
        }
        bytes memory header = _reveal(committee.getCase(question).blockNumber, "randomness");
        address[] memory none;
        vm.prank(anybody);
        committee.draw(question, header, none);
        vm.snapshotGasLastCall("committee", "draw 23");
        assertEq(committee.getRound(question, 2).drawn, 23, "drawn");
    }
}
