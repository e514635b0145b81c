// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {HashTree} from "./HashTree.sol";
import {Job, Jobs} from "./Jobs.sol";
import {Randomness} from "./Randomness.sol";
import {StateHeader} from "./StateHeader.sol";
import {Level, Trace} from "./Trace.sol";
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
    Time,
    TraceRoot
} from "./Types.sol";

/// Where a slot stands. From `Paid` on it has ended and never changes again.
enum SlotState {
    None,
    /// A client is to submit.
    Accepted,
    /// A submission can be challenged, approved, audited, finalized.
    Submitted,
    /// The client has reward and bond.
    Paid,
    /// The client has its bond.
    Returned,
    /// The client gave up and has half of its bond.
    Abandoned,
    /// The client did not submit and has lost its bond.
    Forfeited,
    /// The client did not disclose its data and has lost its bond.
    Silent,
    /// The submission was wrong; the client has lost its bond.
    Refuted
}

/// What a slot's audit waits for.
enum AuditState {
    None,
    /// The client is to disclose its data.
    Due,
    /// It has.
    Disclosed
}

/// A place in a job.
/// @param flags What has happened: see the constants of `Slots`.
/// @param deadline Of the submission; once submitted, of challenges.
/// @param blockNumber When it was accepted; once submitted, when that was.
/// @param facts Keccak-256 of the ABI encoding of the `Run`.
struct Slot {
    address client;
    SlotState state;
    uint8 flags;
    Time deadline;
    uint40 blockNumber;
    JobId job;
    bytes32 facts;
}

/// An audit of a slot.
/// @param requester Who asked for it; zero if it was drawn.
/// @param deadline Of the disclosure.
struct Audit {
    address requester;
    AuditState state;
    Time deadline;
}

/// What a client claims to have computed.
/// @param exitCode The 32 bits of the code if the status is "failed", else 0.
/// @param results What the last header says of each result file; empty unless the status is "done".
/// @param bundle The results as they can be fetched: encrypted unless the job is open. None unless the status is "done".
/// @param capsule The capsule as it can be fetched, for open jobs; else none.
struct Submission {
    TraceRoot traceRoot;
    uint64 steps;
    Status status;
    uint32 exitCode;
    ResultFile[] results;
    Cid bundle;
    Cid capsule;
}

/// @title Slots
/// @notice What happens between a client and a sponsor, and audits.
abstract contract Slots is Jobs {
    /// The status of the submission is "done".
    uint8 public constant DONE = 1;
    /// The run id is known.
    uint8 public constant DRAWN = 2;
    /// The audit lottery was held.
    uint8 public constant LOTTERY = 4;
    /// An arbitrator could not say whether the submission is right.
    uint8 public constant UNDECIDED = 8;

    /// @notice Name of the profile by which runs of this market go, ASCII, zeros after it.
    bytes32 public immutable profile;

    mapping(SlotId => Slot) internal _slots;
    mapping(SlotId => Audit) internal _audits;

    /// @notice How many challenges of a slot have not ended.
    mapping(SlotId => uint256) public openChallenges;

    /// @notice A client has taken a slot.
    event SlotAccepted(
        SlotId indexed slot,
        JobId indexed job,
        address indexed client,
        DataRoot dataRoot,
        BlindHash blindHash,
        Time submitUntil
    );

    /// @notice The run of a slot has its id.
    event RunDrawn(SlotId indexed slot, RunId runId);

    /// @notice A client has submitted.
    event Submitted(SlotId indexed slot, JobId indexed job, Run run, Submission submission, Time challengeUntil);

    /// @notice The audit lottery was held.
    event LotteryHeld(SlotId indexed slot, bool drawn);

    /// @notice The client is to disclose its data to the auditors. `requester` is zero if the lottery has drawn it.
    event AuditDue(SlotId indexed slot, address indexed requester, Time discloseUntil);

    /// @notice The client has disclosed its capsule, encrypted to the auditors.
    event Disclosed(SlotId indexed slot, Cid capsule, Time challengeUntil);

    /// @notice A slot has ended.
    event SlotEnded(SlotId indexed slot, JobId indexed job, address indexed client, SlotState ending);

    /// All slots are taken.
    error NoOpenSlot(JobId job);

    /// The time for this has passed.
    error TooLate(Time deadline);

    /// The time for this has not come.
    error TooEarly(Time deadline);

    /// The client has accepted with this capsule and nonce before.
    error SlotExists(SlotId slot);

    /// The slot is in a state in which this cannot be done.
    error WrongSlotState(SlotId slot, SlotState state);

    /// Only the client of the slot may do this.
    error OnlyClient(address client, address caller);

    /// What was said about the run is not what the market knows.
    error WrongRun(SlotId slot, bytes32 facts);

    /// The run id is known already.
    error RunIsDrawn(SlotId slot);

    /// There are too many steps or segments, or none.
    error BadTrace(uint64 steps, uint256 segments);

    /// Status, exit code, results and files do not go together.
    error BadSubmission(Status status, uint32 exitCode, uint256 results);

    /// This CID is missing, is there though it should not, or has a codec that no file has.
    error BadCid(bytes32 digest, uint8 codec);

    /// The job's data is not disclosed in this way.
    error WrongDisclosure(Disclosure disclosure);

    /// The audit does not stand so that this could be done.
    error WrongAuditState(SlotId slot, AuditState state);

    /// The lottery was held, or was not yet held.
    error WrongLottery(SlotId slot, bool held);

    /// Challenges must end first.
    error ChallengesOpen(SlotId slot, uint256 count);

    constructor(bytes32 profile_) {
        profile = profile_;
    }

    /// @notice The client puts up its bond and takes a slot for a run on the capsule with this root.
    /// @param nonce Anything: makes slots differ for the same capsule.
    function accept(JobId jobId, DataRoot dataRoot, BlindHash blindHash, bytes32 nonce)
        external
        nonReentrant
        returns (SlotId id)
    {
        Job storage job = _job(jobId);
        if (job.closed) revert JobIsClosed(jobId);
        if (job.acceptUntil.isPast()) revert TooLate(job.acceptUntil);
        if (job.open == 0) revert NoOpenSlot(jobId);
        id = slotIdOf(jobId, msg.sender, dataRoot, blindHash, nonce);
        Slot storage slot = _slots[id];
        if (slot.state != SlotState.None) revert SlotExists(id);

        --job.open;
        Run memory run;
        run.dataRoot = dataRoot;
        run.blindHash = blindHash;
        Time until = job.submitTime.fromNow();
        slot.client = msg.sender;
        slot.state = SlotState.Accepted;
        slot.deadline = until;
        slot.blockNumber = uint40(block.number);
        slot.job = jobId;
        slot.facts = _facts(run);

        emit SlotAccepted(id, jobId, msg.sender, dataRoot, blindHash, until);
        _take(job.token, msg.sender, job.bond);
    }

    /// @notice Fixes the id of a run. Anybody; only needed if submitting will take longer than the randomness is in reach.
    /// @param header The RLP encoding of the header of the block that has the randomness.
    function drawRun(SlotId id, Run memory run, bytes calldata header) external {
        Slot storage slot = _slotIn(id, SlotState.Accepted);
        _checkFacts(id, slot, run);
        if (slot.flags & DRAWN != 0) revert RunIsDrawn(id);
        _draw(id, slot, run, header);
        slot.flags |= DRAWN;
        slot.facts = _facts(run);
    }

    /// @notice The client gives up: it gets half of its bond back, and the slot opens again.
    function abandon(SlotId id) external {
        Slot storage slot = _slotIn(id, SlotState.Accepted);
        if (msg.sender != slot.client) revert OnlyClient(slot.client, msg.sender);
        if (slot.deadline.isPast()) revert TooLate(slot.deadline);
        Job storage job = _end(id, slot, SlotState.Abandoned);
        uint256 half = job.bond / 2;
        _credit(job.token, slot.client, half);
        _credit(job.token, BURNED, job.bond - half);
    }

    /// @notice The client claims the result of its run.
    /// @param run As the market knows it.
    /// @param siblings Shows that the last state is the last leaf under the trace root.
    /// @param header As for `drawRun`; empty if the run id is known.
    function submit(
        SlotId id,
        Run memory run,
        Submission calldata submission,
        bytes32[] calldata siblings,
        bytes calldata header
    ) external {
        Slot storage slot = _slotIn(id, SlotState.Accepted);
        if (msg.sender != slot.client) revert OnlyClient(slot.client, msg.sender);
        if (slot.deadline.isPast()) revert TooLate(slot.deadline);
        _checkFacts(id, slot, run);
        if (slot.flags & DRAWN == 0) _draw(id, slot, run, header);
        Job storage job = _jobs[slot.job];
        _checkSubmission(job, submission);

        run.traceRoot = submission.traceRoot;
        run.steps = submission.steps;
        run.lastState = StateHeader.lastState(
            _identity(job, run),
            job.class,
            StateHeader.End(submission.steps, submission.status, submission.exitCode, submission.results)
        );
        _checkTrace(job, run, siblings);

        Time until = job.window.fromNow();
        slot.state = SlotState.Submitted;
        slot.flags = submission.status == Status.Done ? DRAWN | DONE : DRAWN;
        slot.deadline = until;
        slot.blockNumber = uint40(block.number);
        slot.facts = _facts(run);
        emit Submitted(id, slot.job, run, submission, until);
    }

    /// @notice The sponsor is content before the window has passed, or the job is private. Where somebody has requested an audit,
    /// the client has to disclose its data and the window after that to pass.
    /// @param run As the sponsor knows it: should the chain go back, it has not approved of what is submitted then.
    function approve(SlotId id, Run calldata run) external {
        Slot storage slot = _slotIn(id, SlotState.Submitted);
        address sponsor = _jobs[slot.job].sponsor;
        if (msg.sender != sponsor) revert OnlySponsor(sponsor, msg.sender);
        _checkFacts(id, slot, run);
        _checkUnchallenged(id);
        // Who requested an audit has the time to look at what was disclosed: else sponsor and client could take its bond together,
        // or the sponsor have data disclosed for nothing.
        Audit storage audit = _audits[id];
        if (audit.requester != address(0)) {
            if (audit.state == AuditState.Due) revert WrongAuditState(id, audit.state);
            if (!slot.deadline.isPast()) revert TooEarly(slot.deadline);
        }
        _settle(id, slot, slot.flags & DONE != 0);
    }

    /// @notice Ends a slot whose window has passed. Anybody.
    function finalize(SlotId id) external {
        Slot storage slot = _slotIn(id, SlotState.Submitted);
        if (!slot.deadline.isPast()) revert TooEarly(slot.deadline);
        _checkUnchallenged(id);
        Disclosure disclosure = _jobs[slot.job].disclosure;
        if (disclosure == Disclosure.Audited) {
            AuditState state = _audits[id].state;
            if (state == AuditState.Due) revert WrongAuditState(id, state);
            if (state == AuditState.None && slot.flags & LOTTERY == 0) revert WrongLottery(id, false);
        }
        _settle(id, slot, slot.flags & (DONE | UNDECIDED) == DONE && disclosure != Disclosure.Private);
    }

    /// @notice Ends a slot whose client has not submitted, has let the randomness get out of reach, or has not disclosed
    /// its data. Anybody.
    function forfeit(SlotId id) external {
        Slot storage slot = _slots[id];
        if (slot.state == SlotState.Accepted) {
            bool lost = slot.flags & DRAWN == 0 && Randomness.isOutOfReach(slot.blockNumber);
            if (!lost && !slot.deadline.isPast()) revert TooEarly(slot.deadline);
            Job storage job = _end(id, slot, SlotState.Forfeited);
            _credit(job.token, BURNED, job.bond);
            return;
        }
        _slotIn(id, SlotState.Submitted);
        Audit storage audit = _audits[id];
        if (audit.state != AuditState.Due) revert WrongAuditState(id, audit.state);
        if (!audit.deadline.isPast()) revert TooEarly(audit.deadline);
        _endAgainstClient(id, slot, SlotState.Silent, audit.requester, 0);
    }

    /// @notice Holds the audit lottery for a submission. Anybody. Once the randomness is out of reach, an audit is due.
    /// @param header The RLP encoding of the header of the block that has the randomness; empty if that is out of reach.
    function drawAudit(SlotId id, bytes calldata header) external {
        Slot storage slot = _slotIn(id, SlotState.Submitted);
        Job storage job = _auditable(slot);
        AuditState state = _audits[id].state;
        if (state != AuditState.None) revert WrongAuditState(id, state);
        if (slot.flags & LOTTERY != 0) revert WrongLottery(id, true);

        bool drawn = Randomness.isOutOfReach(slot.blockNumber);
        if (!drawn) {
            bytes32 randomness = Randomness.afterBlock(slot.blockNumber, header);
            uint256 ticket = uint256(keccak256(bytes.concat("fedmkt audit", SlotId.unwrap(id), randomness)));
            drawn = ticket % MILLION < job.auditsPerMillion;
        }
        slot.flags |= LOTTERY;
        emit LotteryHeld(id, drawn);
        if (drawn) _audit(id, job, address(0));
    }

    /// @notice Somebody wants the client to disclose its data to the auditors, and puts up a bond.
    function requestAudit(SlotId id) external nonReentrant {
        Slot storage slot = _slotIn(id, SlotState.Submitted);
        Job storage job = _auditable(slot);
        if (slot.deadline.isPast()) revert TooLate(slot.deadline);
        AuditState state = _audits[id].state;
        if (state != AuditState.None) revert WrongAuditState(id, state);
        _audit(id, job, msg.sender);
        _take(job.token, msg.sender, job.challengeBond);
    }

    /// @notice The client discloses its data.
    /// @param capsule The capsule, encrypted to all auditors that the job names.
    function disclose(SlotId id, Cid calldata capsule) external {
        Slot storage slot = _slotIn(id, SlotState.Submitted);
        if (msg.sender != slot.client) revert OnlyClient(slot.client, msg.sender);
        Audit storage audit = _audits[id];
        if (audit.state != AuditState.Due) revert WrongAuditState(id, audit.state);
        if (audit.deadline.isPast()) revert TooLate(audit.deadline);
        _checkCid(capsule, true);
        Time until = _jobs[slot.job].window.fromNow();
        audit.state = AuditState.Disclosed;
        slot.deadline = until;
        emit Disclosed(id, capsule, until);
    }

    /// @notice A slot.
    function getSlot(SlotId id) public view virtual returns (Slot memory) {
        return _slots[id];
    }

    /// @notice The audit of a slot.
    function getAudit(SlotId id) external view returns (Audit memory) {
        return _audits[id];
    }

    /// @notice The id of a slot.
    function slotIdOf(JobId jobId, address client, DataRoot dataRoot, BlindHash blindHash, bytes32 nonce)
        public
        pure
        returns (SlotId)
    {
        bytes memory words = abi.encode(jobId, client, dataRoot, blindHash, nonce);
        return SlotId.wrap(keccak256(bytes.concat("fedmkt slot", words)));
    }

    function _slotIn(SlotId id, SlotState state) internal view returns (Slot storage slot) {
        slot = _slots[id];
        if (slot.state != state) revert WrongSlotState(id, slot.state);
    }

    function _facts(Run memory run) private pure returns (bytes32) {
        return keccak256(abi.encode(run));
    }

    function _checkFacts(SlotId id, Slot storage slot, Run memory run) internal view {
        if (_facts(run) != slot.facts) revert WrongRun(id, slot.facts);
    }

    /// @dev What stands in all headers of a run.
    function _identity(Job storage job, Run memory run) internal view returns (StateHeader.Identity memory) {
        return StateHeader.Identity(profile, run.runId, job.root, run.dataRoot, run.blindHash);
    }

    /// @dev Ends a slot that its client has lost. `winner` gets the compensation, if there is one.
    function _endAgainstClient(SlotId id, Slot storage slot, SlotState ending, address winner, uint256 arbitrationFee)
        internal
    {
        Job storage job = _end(id, slot, ending);
        uint256 compensation = winner == address(0) ? 0 : job.compensation;
        _credit(job.token, winner, compensation);
        _credit(job.token, address(job.arbitrator), arbitrationFee);
        _credit(job.token, BURNED, job.bond - compensation - arbitrationFee);
    }

    /// @dev Ends a slot with a payment, or gives the bond back.
    function _settle(SlotId id, Slot storage slot, bool pays) private {
        Job storage job = _end(id, slot, pays ? SlotState.Paid : SlotState.Returned);
        _credit(job.token, slot.client, pays ? uint256(job.reward) + job.bond : job.bond);
    }

    /// @dev Ends a slot, gives the reward back unless it is paid, and the bond of an audit request. The client's bond is for
    /// the caller to distribute.
    function _end(SlotId id, Slot storage slot, SlotState ending) private returns (Job storage job) {
        job = _jobs[slot.job];
        slot.state = ending;
        emit SlotEnded(id, slot.job, slot.client, ending);
        if (ending != SlotState.Paid) _giveBackReward(job);
        Audit storage audit = _audits[id];
        if (audit.requester != address(0)) {
            bool owesClient = audit.state == AuditState.Disclosed && ending != SlotState.Refuted;
            uint256 compensation = owesClient ? job.compensation : 0;
            _credit(job.token, slot.client, compensation);
            _credit(job.token, audit.requester, job.challengeBond - compensation);
        }
    }

    function _draw(SlotId id, Slot storage slot, Run memory run, bytes calldata header) private {
        bytes32 randomness = Randomness.afterBlock(slot.blockNumber, header);
        bytes memory words = abi.encode(block.chainid, this, id, slot.client, run.dataRoot, randomness);
        run.runId = RunId.wrap(keccak256(bytes.concat("fedmkt market run", words)));
        emit RunDrawn(id, run.runId);
    }

    function _audit(SlotId id, Job storage job, address requester) private {
        Time until = job.moveTime.fromNow();
        _audits[id] = Audit(requester, AuditState.Due, until);
        emit AuditDue(id, requester, until);
    }

    function _auditable(Slot storage slot) private view returns (Job storage job) {
        job = _jobs[slot.job];
        if (job.disclosure != Disclosure.Audited) revert WrongDisclosure(job.disclosure);
    }

    function _checkUnchallenged(SlotId id) private view {
        uint256 count = openChallenges[id];
        if (count != 0) revert ChallengesOpen(id, count);
    }

    function _checkSubmission(Job storage job, Submission calldata submission) private view {
        bool done = submission.status == Status.Done;
        bool fits = submission.status != Status.Running && submission.results.length == (done ? job.results : 0)
            && (submission.exitCode == 0) == (submission.status != Status.Failed);
        if (!fits) revert BadSubmission(submission.status, submission.exitCode, submission.results.length);
        _checkCid(submission.bundle, done);
        _checkCid(submission.capsule, job.disclosure == Disclosure.Open);
        for (uint256 i = 0; i < submission.results.length; ++i) {
            _checkCid(submission.results[i].cid, true);
        }
    }

    function _checkCid(Cid calldata cid, bool wanted) private pure {
        bool file = cid.digest != 0 && (cid.codec == 0x55 || cid.codec == 0x70);
        bool none = cid.digest == 0 && cid.codec == 0;
        if (wanted ? !file : !none) revert BadCid(cid.digest, cid.codec);
    }

    function _checkTrace(Job storage job, Run memory run, bytes32[] calldata siblings) private view {
        if (run.steps == 0 || run.steps > Trace.MAX_STEPS) revert BadTrace(run.steps, 0);
        uint256 segments = Trace.parts(Trace.top(run.steps, job.stepsPerSegment));
        if (segments > Trace.FAN_OUT) revert BadTrace(run.steps, segments);
        Trace.check(TraceRoot.unwrap(run.traceRoot), run.lastState, segments - 1, siblings);
    }
}
