// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {Choice} from "../src/Disputes.sol";
import {Kind, Verdict} from "../src/IArbitrator.sol";
import {Run, ChallengeId, Disclosure, JobId, RunId, SlotId, StateRoot, Status} from "../src/Types.sol";
import {Terms} from "../src/Jobs.sol";
import {Submission} from "../src/Slots.sol";
import {Imagined, Kit} from "./Kit.sol";

/// What the calls cost, each as a transaction of its own, the 21,000 and the calldata of the transaction included.
///
/// The figures are kept in `snapshots/`; `FORGE_SNAPSHOT_CHECK=true forge test` compares them.
///
/// forge-config: default.isolate = true
contract GasTest is Kit {
    uint256 private total;

    /// A token that parties have used before, and that the market already holds: what an account costs that was empty is
    /// the token's and not the market's.
    function setUp() public override {
        super.setUp();
        token.mint(address(market), 1);
    }

    function _measure(string memory name) private {
        uint256 gas = vm.snapshotGasLastCall("market", name);
        total += gas;
    }

    function test_TheHappyPathCostsTheClientLittle() public {
        Terms memory terms = _terms(Disclosure.Open);
        vm.prank(sponsor);
        JobId job = market.post(terms);
        _measure("post");
        vm.assertLe(total, 300_000, "post");
        total = 0;
        SlotId slot = _accept(job);
        _measure("accept");
        bytes memory header = _reveal(block.number, keccak256("randomness"));
        RunId runId = _runId(slot, keccak256("randomness"));
        (, Submission memory submission, bytes32[] memory siblings) =
            _imagine(slot, runId, 1_000_001, Status.Done, RIGHT);
        Run memory run = _accepted();
        vm.prank(client);
        market.submit(slot, run, submission, siblings, header);
        _measure("submit");
        vm.warp(block.timestamp + WINDOW + 1);
        vm.prank(client);
        market.finalize(slot);
        _measure("finalize");
        vm.prank(client);
        market.withdraw(token, client);
        _measure("withdraw");
        vm.snapshotValue("market", "client, happy path", total);
        vm.assertLe(total, 350_000, "accept, submit, finalize and withdraw");
    }

    /// An account that has never given an allowance, nor signed one.
    function test_PostingWithAPermit() public {
        uint256 key = 0xA11CE;
        address signer = vm.addr(key);
        token.mint(signer, 1_000_000);
        Terms memory terms = _terms(Disclosure.Open);
        bytes[] memory calls = new bytes[](2);
        calls[0] = _permitCall(key, signer, uint256(terms.slots) * terms.reward);
        calls[1] = abi.encodeCall(market.post, (terms));
        vm.prank(signer);
        market.multicall(calls);
        _measure("post, with a permit");
        vm.assertLe(total, 300_000, "post, with a permit");
    }

    function test_PostingWithAuditors() public {
        Terms memory terms = _terms(Disclosure.Audited);
        vm.prank(sponsor);
        market.post(terms);
        _measure("post, audited, 2 auditors");
    }

    function test_TheOtherCallsOfASlot() public {
        JobId job = _post(Disclosure.Audited);
        SlotId slot = _accept(job);
        bytes memory header = _reveal(block.number, keccak256("randomness"));
        Run memory run = _accepted();
        vm.prank(client);
        market.drawRun(slot, run, header);
        _measure("drawRun");
        run.runId = _runId(slot, keccak256("randomness"));
        (Imagined memory imagined, Submission memory submission, bytes32[] memory siblings) =
            _imagine(slot, run.runId, 1_000_001, Status.Done, RIGHT);
        vm.prank(client);
        market.submit(slot, run, submission, siblings, "");
        _measure("submit, run id known");
        _lottery(slot, false);
        _measure("drawAudit, not drawn");
        vm.prank(requester);
        market.requestAudit(slot);
        _measure("requestAudit");
        vm.prank(client);
        market.disclose(slot, _cid("disclosed"));
        _measure("disclose");
        vm.warp(block.timestamp + WINDOW + 1);
        vm.prank(sponsor);
        market.approve(slot, imagined.run);
        _measure("approve, audit requested");
        slot = _accept(job, client, "next");
        vm.prank(client);
        market.abandon(slot);
        _measure("abandon");
        slot = _accept(job, client, "third");
        vm.warp(block.timestamp + SUBMIT + 1);
        vm.prank(anybody);
        market.forfeit(slot);
        _measure("forfeit");
        vm.prank(sponsor);
        market.close(job);
        _measure("close");
        vm.prank(anybody);
        market.burn(token);
        _measure("burn");
    }

    /// Levels of 256 leaves.
    function test_ADisputeAtItsWorst() public {
        Terms memory terms = _terms(Disclosure.Open);
        JobId job = _post(terms);
        Imagined memory imagined = _submit(_accept(job), 256 * 70_000, Status.Done, RIGHT);
        vm.prank(challenger);
        ChallengeId id = disputes.open(imagined.slot, imagined.run, Kind.Step);
        _measure("open");
        StateRoot[] memory leaves = _leaves(imagined, disputes.getChallenge(id).level);
        vm.prank(client);
        disputes.postLeaves(id, leaves);
        _measure("postLeaves, 256 leaves");
        Choice memory choice = _choice(id, imagined, 17_000_000);
        vm.prank(challenger);
        disputes.choose(id, imagined.run, choice);
        _measure("choose, a part");
        _postLeaves(id, imagined);
        while (disputes.getChallenge(id).level.part > 1) {
            _choose(id, imagined, 17_000_000);
            _postLeaves(id, imagined);
        }
        choice = _choice(id, imagined, 17_000_000);
        vm.prank(challenger);
        disputes.choose(id, imagined.run, choice);
        _measure("choose, a step");
        arbitrator.say(disputes.getChallenge(id).question, Verdict.Executed, StateRoot.wrap(0));
        vm.prank(challenger);
        disputes.resolve(id);
        _measure("resolve, refuted");
    }

    function test_EndsByTime() public {
        Imagined memory imagined = _submit(_post(Disclosure.Open));
        ChallengeId id = _challenge(imagined, Kind.Step);
        ChallengeId other = _challenge(imagined, Kind.Step);
        vm.warp(block.timestamp + MOVE + 1);
        vm.prank(anybody);
        disputes.conclude(id);
        _measure("conclude, the client was silent");
        vm.prank(anybody);
        disputes.conclude(other);
        _measure("conclude, void");
    }
}
