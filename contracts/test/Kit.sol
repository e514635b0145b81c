// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {RLP} from "@openzeppelin/contracts/utils/RLP.sol";

import {ChallengeState, Choice, Disputes} from "../src/Disputes.sol";
import {Escrow} from "../src/Escrow.sol";
import {HashTree} from "../src/HashTree.sol";
import {IArbitrator, Kind, Question, Verdict} from "../src/IArbitrator.sol";
import {Terms} from "../src/Jobs.sol";
import {Market} from "../src/Market.sol";
import {Slot, SlotState, Submission} from "../src/Slots.sol";
import {StateHeader} from "../src/StateHeader.sol";
import {Level, Trace} from "../src/Trace.sol";
import {
    BlindHash,
    ChallengeId,
    Cid,
    DataRoot,
    Disclosure,
    Duration,
    JobId,
    JobRoot,
    ResultFile,
    Run,
    RunId,
    SizeClass,
    SlotId,
    StateRoot,
    Status,
    Time,
    TraceRoot
} from "../src/Types.sol";
import {DevToken as Token} from "../src/dev/DevToken.sol";
import {Test} from "./Test.sol";

/// An arbitrator that says what it is told to say.
contract ScriptedArbitrator is IArbitrator {
    struct Answer {
        Verdict verdict;
        StateRoot stateOut;
    }

    Duration public longestAnswer = Duration.wrap(1 hours);

    mapping(bytes32 question => Answer) private _answers;

    /// How often it was asked.
    mapping(bytes32 question => uint256) public asked;

    function ask(Question calldata question) external {
        ++asked[keccak256(abi.encode(question))];
    }

    function say(bytes32 question, Verdict verdict, StateRoot stateOut) external {
        _answers[question] = Answer(verdict, stateOut);
    }

    function answer(bytes32 question) external view returns (Verdict, StateRoot) {
        return (_answers[question].verdict, _answers[question].stateOut);
    }
}

/// A run as a test imagines it: states are hashes of what they are, but the last one.
/// @param wrongFrom The first step that the trace has wrong; more than all steps if it is right.
struct Imagined {
    SlotId slot;
    Run run;
    uint64 stepsPerSegment;
    uint64 wrongFrom;
}

/// Parties, a market, and what they do to each other, so that a test can begin in any state.
abstract contract Kit is Test {
    bytes32 internal constant PROFILE = "fedmkt-0";
    uint64 internal constant RIGHT = type(uint64).max;

    Market internal market;
    Disputes internal disputes;
    Token internal token;
    ScriptedArbitrator internal arbitrator;

    address internal sponsor = address(0x51);
    address internal client = address(0xC1);
    address internal challenger = address(0xC4);
    address internal requester = address(0xAE);
    address internal anybody = address(0xAB);
    address internal burned;

    uint128 internal constant R = 1000;
    uint128 internal constant B = 10_001;
    uint128 internal constant C = 900;
    uint128 internal constant K = 300;
    uint128 internal constant F = 200;

    uint256 internal constant ACCEPT = 30 days;
    uint256 internal constant SUBMIT = 2 days;
    uint256 internal constant WINDOW = 3 days;
    uint256 internal constant MOVE = 6 hours;
    uint256 internal constant RULE = 5 days;

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        vm.roll(20_000_000);
        market = new Market(PROFILE);
        disputes = market.disputes();
        burned = market.BURNED();
        token = new Token();
        arbitrator = new ScriptedArbitrator();
        _fund(token, sponsor);
        _fund(token, client);
        _fund(token, challenger);
        _fund(token, requester);
    }

    function _fund(Token which, address party) internal {
        which.mint(party, 1_000_000);
        vm.prank(party);
        which.approve(address(market), type(uint256).max);
    }

    // Jobs

    function _terms(Disclosure disclosure) internal view returns (Terms memory terms) {
        terms.cid = keccak256("job");
        terms.root = JobRoot.wrap(keccak256("job root"));
        terms.class = SizeClass.M;
        terms.stepsPerSegment = 70_000;
        terms.results = 1;
        terms.token = IERC20(address(token));
        terms.slots = 2;
        terms.reward = R;
        terms.bond = B;
        terms.acceptUntil = Time.wrap(uint40(block.timestamp + ACCEPT));
        terms.submitTime = Duration.wrap(uint32(SUBMIT));
        terms.window = Duration.wrap(uint32(WINDOW));
        terms.moveTime = Duration.wrap(uint32(MOVE));
        terms.disclosure = disclosure;
        if (disclosure != Disclosure.Private) {
            terms.arbitrator = arbitrator;
            terms.arbitrationTime = Duration.wrap(uint32(RULE));
            terms.arbitrationFee = F;
            terms.challengeBond = C;
            terms.compensation = K;
        }
        if (disclosure == Disclosure.Audited) {
            terms.auditsPerMillion = 100_000;
            terms.auditors = new address[](2);
            terms.auditors[0] = address(0xA1);
            terms.auditors[1] = address(0xA2);
        }
    }

    function _post(Terms memory terms) internal returns (JobId) {
        vm.prank(sponsor);
        return market.post(terms);
    }

    function _post(Disclosure disclosure) internal returns (JobId) {
        return _post(_terms(disclosure));
    }

    // Blocks

    /// The RLP encoding of a block's header, of which nothing matters but `prevrandao`.
    function _header(uint256 number, bytes32 randomness) internal view returns (bytes memory) {
        bytes[] memory fields = new bytes[](21);
        for (uint256 i = 0; i < fields.length; ++i) {
            fields[i] = RLP.encode(keccak256(abi.encode("header", number, i)));
        }
        fields[2] = RLP.encode(address(0xC0FFEE));
        fields[6] = RLP.encode(new bytes(256));
        fields[7] = RLP.encode(uint256(0));
        fields[8] = RLP.encode(number);
        fields[9] = RLP.encode(uint256(36_000_000));
        fields[10] = RLP.encode(uint256(12_345_678));
        fields[11] = RLP.encode(block.timestamp);
        fields[12] = RLP.encode(bytes("made for a test"));
        fields[13] = RLP.encode(randomness);
        fields[14] = RLP.encode(new bytes(8));
        fields[15] = RLP.encode(uint256(7));
        fields[17] = RLP.encode(uint256(0));
        fields[18] = RLP.encode(uint256(0));
        return RLP.encode(fields);
    }

    /// Makes the blocks after block `number` until the randomness after it can be had, and gives the header that has it.
    function _reveal(uint256 number, bytes32 randomness) internal returns (bytes memory header) {
        uint256 source = number + 4;
        header = _header(source, randomness);
        if (block.number <= source) vm.roll(source + 1);
        vm.setBlockhash(source, keccak256(header));
    }

    /// Goes on to when the randomness of the present block cannot be had any more.
    function _loseRandomness() internal {
        vm.roll(block.number + 8200);
    }

    // Slots

    function _capsule() internal pure returns (DataRoot, BlindHash) {
        return (DataRoot.wrap(keccak256("data")), BlindHash.wrap(keccak256("blind hash")));
    }

    function _accept(JobId job, address who, bytes32 nonce) internal returns (SlotId) {
        (DataRoot data, BlindHash blind) = _capsule();
        vm.prank(who);
        return market.accept(job, data, blind, nonce);
    }

    function _accept(JobId job) internal returns (SlotId) {
        return _accept(job, client, 0);
    }

    function _accepted() internal pure returns (Run memory run) {
        (run.dataRoot, run.blindHash) = _capsule();
    }

    function _runId(SlotId slot, bytes32 randomness) internal view returns (RunId) {
        (DataRoot data,) = _capsule();
        address who = market.getSlot(slot).client;
        bytes memory words = abi.encode(block.chainid, market, slot, who, data, randomness);
        return RunId.wrap(keccak256(bytes.concat("fedmkt market run", words)));
    }

    function _cid(string memory what) internal pure returns (Cid memory) {
        return Cid(keccak256(bytes(what)), 0x70);
    }

    function _noCid() internal pure returns (Cid memory none) {}

    /// What a client would submit, and the run that it is about.
    function _imagine(SlotId slot, RunId runId, uint64 steps, Status status, uint64 wrongFrom)
        internal
        view
        returns (Imagined memory imagined, Submission memory submission, bytes32[] memory siblings)
    {
        JobId job = market.getSlot(slot).job;
        imagined.slot = slot;
        imagined.run = _accepted();
        imagined.run.runId = runId;
        imagined.run.steps = steps;
        imagined.stepsPerSegment = market.getJob(job).stepsPerSegment;
        imagined.wrongFrom = wrongFrom;
        submission.steps = steps;
        submission.status = status;
        submission.exitCode = status == Status.Failed ? 7 : 0;
        if (status == Status.Done) {
            submission.results = new ResultFile[](1);
            submission.results[0] = ResultFile(4321, keccak256("result"), Cid(keccak256("result cid"), 0x55));
            submission.bundle = _cid("bundle");
        }
        if (market.getJob(job).disclosure == Disclosure.Open) submission.capsule = _cid("capsule");
        imagined.run.lastState = StateHeader.lastState(
            StateHeader.Identity(
                PROFILE, runId, market.getJob(job).root, imagined.run.dataRoot, imagined.run.blindHash
            ),
            market.getJob(job).class,
            StateHeader.End(steps, status, submission.exitCode, submission.results)
        );
        StateRoot[] memory leaves = _leaves(imagined, Trace.top(steps, imagined.stepsPerSegment));
        siblings = _siblings(leaves, leaves.length - 1);
        imagined.run.traceRoot = TraceRoot.wrap(_levelRoot(leaves));
        submission.traceRoot = imagined.run.traceRoot;
    }

    /// Submits for a slot that was accepted just now.
    function _submit(SlotId slot, uint64 steps, Status status, uint64 wrongFrom)
        internal
        returns (Imagined memory imagined)
    {
        bytes memory header = _reveal(market.getSlot(slot).blockNumber, keccak256("randomness"));
        Submission memory submission;
        bytes32[] memory siblings;
        RunId runId = _runId(slot, keccak256("randomness"));
        (imagined, submission, siblings) = _imagine(slot, runId, steps, status, wrongFrom);
        vm.prank(market.getSlot(slot).client);
        market.submit(slot, _accepted(), submission, siblings, header);
    }

    function _submit(JobId job) internal returns (Imagined memory) {
        return _submit(_accept(job), 1_000_001, Status.Done, RIGHT);
    }

    // Audits

    /// Holds the lottery with a ticket that is drawn, or not.
    function _lottery(SlotId slot, bool drawn) internal {
        uint256 perMillion = market.getJob(market.getSlot(slot).job).auditsPerMillion;
        bytes32 randomness;
        for (uint256 i = 0;; ++i) {
            randomness = bytes32(i);
            uint256 ticket = uint256(keccak256(bytes.concat("fedmkt audit", SlotId.unwrap(slot), randomness)));
            if ((ticket % 1_000_000 < perMillion) == drawn) break;
        }
        bytes memory header = _reveal(market.getSlot(slot).blockNumber, randomness);
        vm.prank(anybody);
        market.drawAudit(slot, header);
    }

    function _request(SlotId slot) internal {
        vm.prank(requester);
        market.requestAudit(slot);
    }

    function _disclose(SlotId slot) internal {
        vm.prank(market.getSlot(slot).client);
        market.disclose(slot, _cid("disclosed"));
    }

    // Challenges

    function _challenge(Imagined memory imagined, Kind kind) internal returns (ChallengeId) {
        vm.prank(challenger);
        return disputes.open(imagined.slot, imagined.run, kind);
    }

    /// The client posts the leaves of the level in dispute.
    function _postLeaves(ChallengeId id, Imagined memory imagined) internal {
        StateRoot[] memory leaves = _leaves(imagined, disputes.getChallenge(id).level);
        vm.prank(market.getSlot(imagined.slot).client);
        disputes.postLeaves(id, leaves);
    }

    /// The challenger names the leaf after step `step`.
    function _choose(ChallengeId id, Imagined memory imagined, uint64 step) internal {
        Choice memory choice = _choice(id, imagined, step);
        vm.prank(challenger);
        disputes.choose(id, imagined.run, choice);
    }

    function _choice(ChallengeId id, Imagined memory imagined, uint64 step)
        internal
        view
        returns (Choice memory choice)
    {
        Level memory level = disputes.getChallenge(id).level;
        StateRoot[] memory leaves = _leaves(imagined, level);
        choice.index = (step - level.first) / level.part;
        choice.leaf = leaves[choice.index];
        choice.siblings = _siblings(leaves, choice.index);
        if (choice.index == 0) {
            choice.leafBefore = disputes.getChallenge(id).stateIn;
        } else {
            choice.leafBefore = leaves[choice.index - 1];
            choice.siblingsBefore = _siblings(leaves, choice.index - 1);
        }
    }

    /// Both parties narrow a challenge down to one step.
    function _narrow(ChallengeId id, Imagined memory imagined, uint64 step) internal {
        while (disputes.getChallenge(id).state == ChallengeState.WantsLeaves) {
            _postLeaves(id, imagined);
            _choose(id, imagined, step);
        }
    }

    /// A challenge of kind step that waits for the arbitrator.
    function _challengeStep(Imagined memory imagined, uint64 step) internal returns (ChallengeId id) {
        id = _challenge(imagined, Kind.Step);
        _narrow(id, imagined, step);
    }

    function _rule(ChallengeId id, Verdict verdict, StateRoot stateOut) internal {
        arbitrator.say(disputes.getChallenge(id).question, verdict, stateOut);
        vm.prank(anybody);
        disputes.resolve(id);
    }

    // Traces

    /// The state after `steps` steps, as the trace says.
    function _state(Imagined memory imagined, uint64 steps) internal pure returns (StateRoot) {
        if (steps == imagined.run.steps) return imagined.run.lastState;
        return StateRoot.wrap(keccak256(abi.encode(imagined.run.runId, steps, steps > imagined.wrongFrom)));
    }

    function _leaves(Imagined memory imagined, Level memory level) internal pure returns (StateRoot[] memory leaves) {
        leaves = new StateRoot[](Trace.parts(level));
        for (uint64 i = 0; i < leaves.length; ++i) {
            uint64 end = (i + 1) * level.part < level.steps ? (i + 1) * level.part : level.steps;
            leaves[i] = _state(imagined, level.first + end);
        }
    }

    function _nodes(StateRoot[] memory leaves) private pure returns (bytes32[] memory nodes) {
        nodes = new bytes32[](256);
        for (uint256 i = 0; i < 256; ++i) {
            nodes[i] = i < leaves.length ? HashTree.leaf(StateRoot.unwrap(leaves[i])) : HashTree.ZERO_LEAF;
        }
    }

    function _levelRoot(StateRoot[] memory leaves) internal pure returns (bytes32) {
        return HashTree.root(_nodes(leaves), 5, 13);
    }

    function _siblings(StateRoot[] memory leaves, uint256 index) internal pure returns (bytes32[] memory siblings) {
        siblings = new bytes32[](8);
        bytes32[] memory nodes = _nodes(leaves);
        for (uint256 level = 0; level < 8; ++level) {
            siblings[level] = nodes[index ^ 1];
            index >>= 1;
            for (uint256 i = 0; i < 128 >> level; ++i) {
                nodes[i] = keccak256(bytes.concat(nodes[2 * i], nodes[2 * i + 1]));
            }
        }
    }

    // Signatures

    /// The call that lets the market take `amount`, by a signature that is good in this block.
    function _permitCall(uint256 key, address signer, uint256 amount) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = _permit(key, signer, amount);
        IERC20Permit signed = IERC20Permit(address(token));
        return abi.encodeCall(Escrow.permit, (signed, amount, block.timestamp, v, r, s));
    }

    function _permit(uint256 key, address signer, uint256 amount) internal view returns (uint8, bytes32, bytes32) {
        bytes32 permit = keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 message = keccak256(abi.encode(permit, signer, market, amount, token.nonces(signer), block.timestamp));
        return vm.sign(key, keccak256(bytes.concat(hex"1901", token.DOMAIN_SEPARATOR(), message)));
    }

    // Money

    /// What the market owes to everybody.
    function _checkOwed(
        uint256 toSponsor,
        uint256 toClient,
        uint256 toChallenger,
        uint256 toRequester,
        uint256 toArbitrator,
        uint256 toNobody
    ) internal view {
        IERC20 tested = IERC20(address(token));
        assertEq(market.owed(tested, sponsor), toSponsor, "owed to the sponsor");
        assertEq(market.owed(tested, client), toClient, "owed to the client");
        assertEq(market.owed(tested, challenger), toChallenger, "owed to the challenger");
        assertEq(market.owed(tested, requester), toRequester, "owed to the requester");
        assertEq(market.owed(tested, address(arbitrator)), toArbitrator, "owed to the arbitrator");
        assertEq(market.owed(tested, burned), toNobody, "burned");
    }

    function _deadline(SlotId slot) internal view returns (uint256) {
        return Time.unwrap(market.getSlot(slot).deadline);
    }

    function _checkState(SlotId slot, SlotState expected) internal view {
        assertEq(uint256(market.getSlot(slot).state), uint256(expected), "state of the slot");
    }

    function _checkState(ChallengeId id, ChallengeState expected) internal view {
        assertEq(uint256(disputes.getChallenge(id).state), uint256(expected), "state of the challenge");
    }
}
