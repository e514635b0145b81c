// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {HashTree} from "../src/HashTree.sol";
import {Terms} from "../src/Jobs.sol";
import {Slots, Submission} from "../src/Slots.sol";
import {Vm} from "./Test.sol";
import {
    BlindHash,
    Cid,
    DataRoot,
    Disclosure,
    JobId,
    ResultFile,
    Run,
    RunId,
    SlotId,
    StateRoot,
    Status,
    TraceRoot
} from "../src/Types.sol";
import {Imagined, Kit} from "./Kit.sol";

/// What a client may claim.
contract SubmissionTest is Kit {
    JobId private job;
    SlotId private slot;
    RunId private runId;
    bytes private header;
    Run private run;

    function setUp() public override {
        super.setUp();
        _prepare(_terms(Disclosure.Open));
    }

    function _prepare(Terms memory terms) private {
        job = _post(terms);
        slot = _accept(job);
        header = _reveal(block.number, keccak256("randomness"));
        runId = _runId(slot, keccak256("randomness"));
        run = _accepted();
    }

    function _claim(uint64 steps, Status status)
        private
        view
        returns (Submission memory claim, bytes32[] memory proof)
    {
        (, claim, proof) = _imagine(slot, runId, steps, status, RIGHT);
    }

    function _submit(Submission memory claim, bytes32[] memory proof) private {
        Run memory known = run;
        bytes memory source = header;
        vm.prank(client);
        market.submit(slot, known, claim, proof, source);
    }

    function _refuse(Submission memory claim, bytes32[] memory proof, bytes memory why) private {
        Run memory known = run;
        bytes memory source = header;
        vm.prank(client);
        vm.expectRevert(why);
        market.submit(slot, known, claim, proof, source);
    }

    function _refuseProof(Submission memory claim, bytes32[] memory proof) private {
        Run memory known = run;
        bytes memory source = header;
        vm.prank(client);
        vm.expectPartialRevert(HashTree.ProofFails.selector);
        market.submit(slot, known, claim, proof, source);
    }

    function test_EveryWordOfTheLastHeaderIsUnderTheTraceRoot() public {
        (Submission memory claim, bytes32[] memory proof) = _claim(1_000_001, Status.Done);
        claim.results[0].size += 1;
        _refuseProof(claim, proof);
        claim.results[0].size -= 1;
        claim.results[0].root = keccak256("other");
        _refuseProof(claim, proof);
        (claim,) = _claim(1_000_001, Status.Done);
        claim.results[0].cid.digest = keccak256("other");
        _refuseProof(claim, proof);
        (claim,) = _claim(1_000_001, Status.Done);
        claim.results[0].cid.codec = 0x70;
        _refuseProof(claim, proof);
        (claim,) = _claim(1_000_001, Status.Done);
        claim.steps -= 1;
        _refuseProof(claim, proof);
        (claim,) = _claim(1_000_001, Status.Done);
        claim.traceRoot = TraceRoot.wrap(keccak256("other"));
        _refuseProof(claim, proof);
        (claim, proof) = _claim(1_000_001, Status.Failed);
        claim.exitCode = 8;
        _refuseProof(claim, proof);
        claim.exitCode = 7;
        _submit(claim, proof);
    }

    function test_ATrappedRunIsNoExhaustedOne() public {
        (Submission memory claim, bytes32[] memory proof) = _claim(5, Status.Trapped);
        claim.status = Status.StepsExhausted;
        _refuseProof(claim, proof);
    }

    /// Another client's trace has another run id in its headers.
    function test_ACopiedResultIsRefused() public {
        (Submission memory claim, bytes32[] memory proof) = _claim(1_000_001, Status.Done);
        _submit(claim, proof);
        address copier = address(0xC0B1E5);
        _fund(token, copier);
        SlotId other = _accept(job, copier, 0);
        Run memory known = run;
        bytes memory source = _reveal(block.number, keccak256("randomness"));
        vm.prank(copier);
        vm.expectPartialRevert(HashTree.ProofFails.selector);
        market.submit(other, known, claim, proof, source);
    }

    function test_ARunningRunIsNotSubmitted() public {
        (Submission memory claim, bytes32[] memory proof) = _claim(5, Status.Trapped);
        claim.status = Status.Running;
        _refuse(claim, proof, abi.encodeWithSelector(Slots.BadSubmission.selector, Status.Running, 0, 0));
    }

    function test_DoneHasAllResultsAndNothingElseHasAny() public {
        (Submission memory claim, bytes32[] memory proof) = _claim(5, Status.Done);
        ResultFile[] memory results = claim.results;
        claim.results = new ResultFile[](0);
        _refuse(claim, proof, abi.encodeWithSelector(Slots.BadSubmission.selector, Status.Done, 0, 0));
        claim.results = new ResultFile[](2);
        _refuse(claim, proof, abi.encodeWithSelector(Slots.BadSubmission.selector, Status.Done, 0, 2));
        (claim, proof) = _claim(5, Status.ResultsRefused);
        claim.results = results;
        _refuse(claim, proof, abi.encodeWithSelector(Slots.BadSubmission.selector, Status.ResultsRefused, 0, 1));
    }

    function test_ExitCodesAreForFailures() public {
        (Submission memory claim, bytes32[] memory proof) = _claim(5, Status.Done);
        claim.exitCode = 1;
        _refuse(claim, proof, abi.encodeWithSelector(Slots.BadSubmission.selector, Status.Done, 1, 1));
        (claim, proof) = _claim(5, Status.Failed);
        claim.exitCode = 0;
        _refuse(claim, proof, abi.encodeWithSelector(Slots.BadSubmission.selector, Status.Failed, 0, 0));
    }

    function test_FilesAreWhereTheyShouldBe() public {
        (Submission memory claim, bytes32[] memory proof) = _claim(5, Status.Done);
        claim.bundle = _noCid();
        _refuse(claim, proof, _badCid(claim.bundle));
        claim.bundle = Cid(keccak256("bundle"), 0x71);
        _refuse(claim, proof, _badCid(claim.bundle));
        claim.bundle = Cid(0, 0x70);
        _refuse(claim, proof, _badCid(claim.bundle));
        (claim,) = _claim(5, Status.Done);
        claim.capsule = _noCid();
        _refuse(claim, proof, _badCid(claim.capsule));
        (claim,) = _claim(5, Status.Done);
        claim.results[0].cid.codec = 0;
        _refuse(claim, proof, _badCid(claim.results[0].cid));
        (claim, proof) = _claim(5, Status.Trapped);
        claim.bundle = _cid("bundle");
        _refuse(claim, proof, _badCid(claim.bundle));
        claim.bundle = Cid(0, 0x55);
        _refuse(claim, proof, _badCid(claim.bundle));
    }

    function test_DataThatIsNotOpenIsNotPublished() public {
        Terms memory terms = _terms(Disclosure.Private);
        _prepare(terms);
        (Submission memory claim, bytes32[] memory proof) = _claim(5, Status.Done);
        claim.capsule = _cid("capsule");
        _refuse(claim, proof, _badCid(claim.capsule));
    }

    function test_ARunHasStepsAndAtMost256Segments() public {
        (Submission memory claim, bytes32[] memory proof) = _claim(5, Status.Done);
        claim.steps = 0;
        _refuse(claim, proof, abi.encodeWithSelector(Slots.BadTrace.selector, 0, 0));
        claim.steps = (1 << 48) + 1;
        _refuse(claim, proof, abi.encodeWithSelector(Slots.BadTrace.selector, (1 << 48) + 1, 0));
        claim.steps = 256 * 70_000 + 1;
        _refuse(claim, proof, abi.encodeWithSelector(Slots.BadTrace.selector, 256 * 70_000 + 1, 257));
        (claim, proof) = _claim(256 * 70_000, Status.Done);
        _submit(claim, proof);
    }

    function test_TheLastLeafIsTheLast() public {
        // A trace with one segment more than the steps say.
        (Submission memory claim, bytes32[] memory proof) = _claim(140_000, Status.Done);
        claim.steps = 70_000;
        _refuseProof(claim, proof);
    }

    function test_TheRunIsTheOneThatWasAccepted() public {
        (Submission memory claim, bytes32[] memory proof) = _claim(5, Status.Done);
        bytes memory wrong = abi.encodeWithSelector(Slots.WrongRun.selector, slot, market.getSlot(slot).facts);
        Run memory known = run;
        run.dataRoot = DataRoot.wrap(keccak256("other"));
        _refuse(claim, proof, wrong);
        run = known;
        run.blindHash = BlindHash.wrap(keccak256("other"));
        _refuse(claim, proof, wrong);
        run = known;
        run.runId = runId;
        _refuse(claim, proof, wrong);
        run = known;
        run.lastState = StateRoot.wrap(keccak256("other"));
        _refuse(claim, proof, wrong);
        run = known;
        _submit(claim, proof);
    }

    function test_EverythingThatAChallengerNeedsIsInTheEvent() public {
        (Imagined memory imagined, Submission memory claim, bytes32[] memory proof) =
            _imagine(slot, runId, 1_000_001, Status.Done, RIGHT);
        vm.recordLogs();
        _submit(claim, proof);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs[0].topics[0], Slots.RunDrawn.selector, "first event");
        assertEq(logs[1].topics[0], Slots.Submitted.selector, "second event");
        (Run memory found, Submission memory said,) = abi.decode(logs[1].data, (Run, Submission, uint40));
        vm.assertEq(abi.encode(found), abi.encode(imagined.run), "run");
        vm.assertEq(abi.encode(said), abi.encode(claim), "submission");
        assertEq(keccak256(abi.encode(found)), market.getSlot(slot).facts, "facts");
    }

    function testFuzz_NoCorruptedProofIsAccepted(uint8 place, uint256 bits) public {
        vm.assume(bits != 0);
        (Submission memory claim, bytes32[] memory proof) = _claim(1_000_001, Status.Done);
        proof[bound(place, 0, 7)] ^= bytes32(bits);
        _refuseProof(claim, proof);
    }

    function _badCid(Cid memory cid) private pure returns (bytes memory) {
        return abi.encodeWithSelector(Slots.BadCid.selector, cid.digest, cid.codec);
    }
}
