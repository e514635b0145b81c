// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {Verdict} from "../src/IArbitrator.sol";
import {Disclosure} from "../src/Types.sol";
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
        vm.prank(anybody);
        committee.open(asked);
        vm.snapshotGasLastCall("committee", "open");
        bytes memory header = _reveal(block.number, "randomness");
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

    function test_TheLargestDraw() public {
        for (uint256 i = 0; i < verifiers.length; ++i) {
            _takeSeat(verifiers[i]);
        }
        vm.roll(block.number + 1);
        _ask(Disclosure.Open);
        _open();
        for (uint256 i = 0; i < 2; ++i) {
            vm.warp(block.timestamp + DRAW + 1);
            committee.settle(question);
        }
        bytes memory header = _reveal(block.number, "randomness");
        address[] memory none;
        vm.prank(anybody);
        committee.draw(question, header, none);
        vm.snapshotGasLastCall("committee", "draw 23");
        assertEq(committee.getRound(question, 2).drawn, 23, "drawn");
    }
}
