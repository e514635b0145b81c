// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {Escrow} from "./Escrow.sol";
import {HashTree} from "./HashTree.sol";
import {IArbitrator} from "./IArbitrator.sol";
import {Trace} from "./Trace.sol";
import {Disclosure, Duration, JobId, JobRoot, SizeClass, Time} from "./Types.sol";

/// What a sponsor offers. Amounts are in the token's smallest unit. A client compares this with the job's manifest.
/// @param nonce Anything: makes two jobs differ whose terms are else the same.
/// @param cid The sha2-256 digest in the job's CID.
/// @param root Root of the job drive.
/// @param class The manifest's size class.
/// @param stepsPerSegment As in the manifest.
/// @param results How many result files the manifest has.
/// @param token In which everything is paid.
/// @param slots How many results are wanted.
/// @param reward Paid for each.
/// @param bond What a client puts up.
/// @param acceptUntil When slots can be accepted at last.
/// @param submitTime How long a client has from acceptance to submission.
/// @param window How long a submission can be challenged.
/// @param moveTime How long a party has for each move in a dispute, and a client for disclosure.
/// @param disclosure As in the manifest.
/// @param auditsPerMillion As in the manifest; 0 unless the job is audited.
/// @param auditors The auditors' accounts, rising; empty unless the job is audited.
/// @param arbitrator Who rules; zero if the job is private, as all that follows.
/// @param arbitrationTime How long the arbitrator has.
/// @param arbitrationFee What it gets for a ruling.
/// @param challengeBond What a challenger, or who requests an audit, puts up.
/// @param compensation What the winner of a dispute gets from the loser.
struct Terms {
    bytes32 nonce;
    bytes32 cid;
    JobRoot root;
    SizeClass class;
    uint64 stepsPerSegment;
    uint8 results;
    IERC20 token;
    uint32 slots;
    uint128 reward;
    uint128 bond;
    Time acceptUntil;
    Duration submitTime;
    Duration window;
    Duration moveTime;
    Disclosure disclosure;
    uint24 auditsPerMillion;
    address[] auditors;
    IArbitrator arbitrator;
    Duration arbitrationTime;
    uint128 arbitrationFee;
    uint128 challengeBond;
    uint128 compensation;
}

/// What the market keeps of a job; names as in `Terms`.
/// @param open Slots that can be accepted.
/// @param auditors Root of the list of auditors: one level of a trace whose leaves are their accounts, zeros before them.
struct Job {
    address sponsor;
    Time acceptUntil;
    uint32 open;
    bool closed;
    SizeClass class;
    Disclosure disclosure;
    IERC20 token;
    Duration submitTime;
    Duration window;
    Duration moveTime;
    IArbitrator arbitrator;
    Duration arbitrationTime;
    uint24 auditsPerMillion;
    uint8 results;
    uint8 auditorCount;
    uint128 reward;
    uint128 bond;
    uint128 challengeBond;
    uint128 compensation;
    uint128 arbitrationFee;
    uint64 stepsPerSegment;
    JobRoot root;
    bytes32 auditors;
}

/// @title Jobs
/// @notice Posting and closing.
abstract contract Jobs is Escrow {
    /// The longest time that terms may have.
    uint256 public constant LONGEST = 365 days;

    uint256 private constant MAX_RESULTS = 16;
    uint256 private constant MAX_AUDITORS = 64;
    uint256 internal constant MILLION = 1_000_000;

    mapping(JobId => Job) internal _jobs;

    /// @notice A sponsor has posted a job.
    event JobPosted(JobId indexed job, address indexed sponsor, IERC20 indexed token, Terms terms);

    /// @notice A job takes no more clients; rewards of `slots` slots are the sponsor's again.
    event JobClosed(JobId indexed job, uint32 slots);

    /// The terms name a value that is not allowed. `field` is its name, ASCII, zeros after it.
    error BadTerm(bytes32 field, uint256 value, uint256 least, uint256 most);

    /// Auditors are to be in rising order of their accounts, none twice; this one is not.
    error AuditorsNotRising(address auditor);

    /// There is a job with exactly these terms.
    error JobExists(JobId job);

    /// There is no such job.
    error NoSuchJob(JobId job);

    /// The job takes no more clients.
    error JobIsClosed(JobId job);

    /// Only the sponsor may do this.
    error OnlySponsor(address sponsor, address caller);

    /// @notice The sponsor puts up the rewards of all slots and offers them to clients.
    function post(Terms calldata terms) external nonReentrant returns (JobId id) {
        id = jobIdOf(msg.sender, terms);
        Job storage job = _jobs[id];
        if (job.sponsor != address(0)) revert JobExists(id);
        _check(terms);

        job.sponsor = msg.sender;
        job.acceptUntil = terms.acceptUntil;
        job.open = terms.slots;
        job.class = terms.class;
        job.disclosure = terms.disclosure;
        job.token = terms.token;
        job.submitTime = terms.submitTime;
        job.window = terms.window;
        job.moveTime = terms.moveTime;
        job.arbitrator = terms.arbitrator;
        job.arbitrationTime = terms.arbitrationTime;
        job.auditsPerMillion = terms.auditsPerMillion;
        job.results = terms.results;
        job.auditorCount = uint8(terms.auditors.length);
        job.reward = terms.reward;
        job.bond = terms.bond;
        job.challengeBond = terms.challengeBond;
        job.compensation = terms.compensation;
        job.arbitrationFee = terms.arbitrationFee;
        job.stepsPerSegment = terms.stepsPerSegment;
        job.root = terms.root;
        if (terms.auditors.length > 0) job.auditors = _auditorsRoot(terms.auditors);

        emit JobPosted(id, msg.sender, terms.token, terms);
        _take(terms.token, msg.sender, uint256(terms.slots) * terms.reward);
    }

    /// @notice Ends the acceptance of clients and gives the sponsor the rewards of open slots. The sponsor at any time,
    /// anybody once nobody can accept any more.
    function close(JobId id) external {
        Job storage job = _job(id);
        if (job.closed) revert JobIsClosed(id);
        if (msg.sender != job.sponsor && !job.acceptUntil.isPast()) revert OnlySponsor(job.sponsor, msg.sender);
        uint32 slots = job.open;
        job.closed = true;
        job.open = 0;
        emit JobClosed(id, slots);
        _credit(job.token, job.sponsor, uint256(slots) * job.reward);
    }

    /// @notice What the market keeps of a job.
    function getJob(JobId id) public view virtual returns (Job memory) {
        return _job(id);
    }

    /// @notice The id of a job with these terms.
    function jobIdOf(address sponsor, Terms calldata terms) public view returns (JobId) {
        bytes32 hash = keccak256(abi.encode(terms));
        return JobId.wrap(keccak256(bytes.concat("fedmkt job", abi.encode(block.chainid, this, sponsor, hash))));
    }

    function _job(JobId id) internal view returns (Job storage job) {
        job = _jobs[id];
        if (job.sponsor == address(0)) revert NoSuchJob(id);
    }

    /// @dev The reward of a slot that has ended without a payment.
    function _giveBackReward(Job storage job) internal {
        if (job.closed) {
            _credit(job.token, job.sponsor, job.reward);
        } else {
            // Each open slot was open at the beginning: this never exceeds what `post` set.
            ++job.open;
        }
    }

    function _check(Terms calldata terms) private view {
        _range("acceptUntil", Time.unwrap(terms.acceptUntil), block.timestamp, block.timestamp + LONGEST);
        _range("submitTime", Duration.unwrap(terms.submitTime), 1, LONGEST);
        _range("window", Duration.unwrap(terms.window), 1, LONGEST);
        uint256 moveTime = Duration.unwrap(terms.moveTime);
        _range("moveTime", moveTime, 1, LONGEST);
        _range("stepsPerSegment", terms.stepsPerSegment, 1, Trace.MAX_STEPS);
        _range("results", terms.results, 1, MAX_RESULTS);
        _range("slots", terms.slots, 1, type(uint32).max);
        _range("reward", terms.reward, 1, type(uint128).max);
        bool audited = terms.disclosure == Disclosure.Audited;
        _range("auditors", terms.auditors.length, audited ? 1 : 0, audited ? MAX_AUDITORS : 0);
        _range("auditsPerMillion", terms.auditsPerMillion, audited ? 1 : 0, audited ? MILLION : 0);
        if (terms.disclosure == Disclosure.Private) {
            _range("arbitrator", uint160(address(terms.arbitrator)), 0, 0);
            _range("arbitrationTime", Duration.unwrap(terms.arbitrationTime), 0, 0);
            _range("arbitrationFee", terms.arbitrationFee, 0, 0);
            _range("challengeBond", terms.challengeBond, 0, 0);
            _range("compensation", terms.compensation, 0, 0);
        } else {
            // Time for the answer, and then for somebody to make it count.
            uint256 longest = uint256(Duration.unwrap(terms.arbitrator.longestAnswer())) + moveTime;
            _range("arbitrationTime", Duration.unwrap(terms.arbitrationTime), longest, LONGEST);
            _range("compensation", terms.compensation, 1, terms.bond / 2);
            uint256 loserPays = uint256(terms.compensation) + terms.arbitrationFee;
            _range("challengeBond", terms.challengeBond, loserPays, type(uint128).max);
            _range("bond", terms.bond, loserPays, type(uint128).max);
        }
        if (audited) {
            // A client that cheats, and refutes itself if it is drawn, must not gain on average.
            uint256 atRisk = uint256(terms.bond - terms.compensation) * terms.auditsPerMillion;
            uint256 gain = uint256(terms.reward) * (MILLION - terms.auditsPerMillion);
            _range("bond", atRisk, gain, type(uint256).max);
        }
    }

    function _range(bytes32 field, uint256 value, uint256 least, uint256 most) private pure {
        if (value < least || value > most) revert BadTerm(field, value, least, most);
    }

    function _auditorsRoot(address[] calldata auditors) private pure returns (bytes32) {
        bytes32[] memory nodes = new bytes32[](auditors.length);
        address last;
        for (uint256 i = 0; i < auditors.length; ++i) {
            if (auditors[i] <= last) revert AuditorsNotRising(auditors[i]);
            last = auditors[i];
            nodes[i] = HashTree.leaf(bytes32(uint256(uint160(last))));
        }
        return HashTree.root(nodes, HashTree.LOG2_LEAF, HashTree.LOG2_LEAF + Trace.DEPTH);
    }
}
