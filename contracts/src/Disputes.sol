// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {IArbitrator, Kind, Question, Verdict} from "./IArbitrator.sol";
import {IDisputable, Outcome} from "./IDisputable.sol";
import {Job} from "./Jobs.sol";
import {Slot, SlotState} from "./Slots.sol";
import {StateHeader} from "./StateHeader.sol";
import {Level, Trace} from "./Trace.sol";
import {ChallengeId, Run, SlotId, StateRoot, Time, TraceRoot} from "./Types.sol";

/// Where a challenge stands. From `Won` on it has ended and never changes again.
enum ChallengeState {
    None,
    /// The client is to post the leaves of a level.
    WantsLeaves,
    /// The challenger is to name the first wrong one.
    WantsChoice,
    /// The arbitrator is to answer.
    WantsRuling,
    /// The submission is refuted.
    Won,
    /// The challenger has lost its bond.
    Lost,
    /// The arbitrator could not say, or not in time.
    Undecided,
    /// The slot ended otherwise.
    Void
}

/// A challenge of a submission.
/// @param top Whether the level is that of the whole run.
/// @param ruled Whether the arbitrator has ended it.
/// @param deadline Of the move or the ruling that is wanted.
/// @param level The steps in dispute and how they are cut.
/// @param levelRoot Root of the level's leaves; zero before they are posted, except for the top level.
/// @param stateIn The state before the level; nobody disputes it in this challenge.
/// @param stateOut The state after the level, as the client says.
/// @param question Hash of what the arbitrator is asked.
struct Challenge {
    SlotId slot;
    address challenger;
    ChallengeState state;
    Kind kind;
    bool top;
    bool ruled;
    Time deadline;
    Level level;
    bytes32 levelRoot;
    StateRoot stateIn;
    StateRoot stateOut;
    bytes32 question;
}

/// Which leaf of a level is the first wrong one.
/// @param index Which it is.
/// @param leaf That leaf; `siblings` shows it under the level's root.
/// @param leafBefore The leaf before it; `siblingsBefore` shows it. For the first, the state before the level, and no
/// siblings.
struct Choice {
    uint256 index;
    StateRoot leaf;
    bytes32[] siblings;
    StateRoot leafBefore;
    bytes32[] siblingsBefore;
}

/// @title Disputes
/// @notice Narrowing a challenge down to a step, and asking the arbitrator about it. Holds no money: bonds lie in the
/// market, which is told how a challenge ends. Made by the market that it serves.
contract Disputes {
    /// @notice Whose submissions are disputed.
    IDisputable public immutable market;

    bytes32 private immutable _profile;

    mapping(ChallengeId => Challenge) private _challenges;

    /// @notice How many challenges a slot has had.
    mapping(SlotId => uint256) public challengeCount;

    /// @notice Somebody disputes a submission.
    event ChallengeOpened(ChallengeId indexed challenge, SlotId indexed slot, address indexed challenger, Kind kind);

    /// @notice The client is to post the leaves of this level.
    event LeavesWanted(ChallengeId indexed challenge, Level level, StateRoot stateIn, StateRoot stateOut, Time until);

    /// @notice The leaves of a level are there; the challenger is to name the first wrong one.
    event LeavesPosted(ChallengeId indexed challenge, bytes32 levelRoot, StateRoot[] leaves, Time until);

    /// @notice The arbitrator is to answer this question.
    event RulingWanted(ChallengeId indexed challenge, IArbitrator indexed arbitrator, Question question, Time until);

    /// @notice A challenge has ended. `ruled` says whether by the arbitrator; `stateOut` is what it said the step leads to.
    event ChallengeEnded(
        ChallengeId indexed challenge, SlotId indexed slot, ChallengeState ending, bool ruled, StateRoot stateOut
    );

    /// The slot is in a state in which this cannot be done.
    error WrongSlotState(SlotId slot, SlotState state);

    /// What was said about the run is not what the market knows.
    error WrongRun(SlotId slot, bytes32 facts);

    /// The challenge is in a state in which this cannot be done.
    error WrongChallengeState(ChallengeId challenge, ChallengeState state);

    /// Only the client of the slot may do this.
    error OnlyClient(address client, address caller);

    /// Only the challenger may do this.
    error OnlyChallenger(address challenger, address caller);

    /// The time for this has passed.
    error TooLate(Time deadline);

    /// The time for this has not come.
    error TooEarly(Time deadline);

    /// The level has another number of leaves.
    error WrongLeafCount(uint256 count, uint256 expected);

    /// The leaves are not those under the trace root.
    error WrongLevelRoot(bytes32 root, bytes32 expected);

    /// The last leaf is not the state that the level above says.
    error WrongLastLeaf(StateRoot leaf, StateRoot expected);

    /// The leaf before the first is the state before the level.
    error WrongLeafBefore(StateRoot leaf, StateRoot expected);

    /// The arbitrator has not answered.
    error NotAnswered(ChallengeId challenge);

    constructor(IDisputable market_, bytes32 profile) {
        market = market_;
        _profile = profile;
    }

    /// @notice Somebody puts up a bond, which goes to the market, and disputes a submission.
    /// @param run As the market knows it.
    function open(SlotId slotId, Run calldata run, Kind kind) external returns (ChallengeId id) {
        Slot memory slot = _slot(slotId);
        _checkRun(slotId, slot, run);
        id = challengeIdOf(slotId, msg.sender, challengeCount[slotId]++);
        Challenge storage challenge = _challenges[id];
        challenge.slot = slotId;
        challenge.challenger = msg.sender;
        challenge.kind = kind;
        emit ChallengeOpened(id, slotId, msg.sender, kind);
        // Whether the slot can be challenged is for the market to say.
        market.openChallenge(slotId, msg.sender, kind);
        Job memory job = market.getJob(slot.job);
        if (kind == Kind.Step) {
            challenge.top = true;
            challenge.levelRoot = TraceRoot.unwrap(run.traceRoot);
            StateRoot first = StateHeader.firstState(
                StateHeader.Identity(_profile, run.runId, job.root, run.dataRoot, run.blindHash), job.class
            );
            _wantLeaves(id, challenge, job, Trace.top(run.steps, job.stepsPerSegment), first, run.lastState);
        } else {
            StateRoot about = kind == Kind.Results ? run.lastState : StateRoot.wrap(0);
            _ask(id, challenge, job, slot, run, about, 0);
        }
    }

    /// @notice The client shows the leaves of the level in dispute; those of the top level can be shown by anybody.
    function postLeaves(ChallengeId id, StateRoot[] calldata leaves) external {
        Challenge storage challenge = _inTime(id, ChallengeState.WantsLeaves);
        Slot memory slot = _slot(challenge.slot);
        if (!challenge.top && msg.sender != slot.client) revert OnlyClient(slot.client, msg.sender);
        uint256 parts = Trace.parts(challenge.level);
        if (leaves.length != parts) revert WrongLeafCount(leaves.length, parts);
        StateRoot last = leaves[parts - 1];
        if (last != challenge.stateOut) revert WrongLastLeaf(last, challenge.stateOut);
        bytes32 root = Trace.root(leaves);
        if (challenge.top && root != challenge.levelRoot) revert WrongLevelRoot(root, challenge.levelRoot);

        Time until = market.getJob(slot.job).moveTime.fromNow();
        challenge.levelRoot = root;
        challenge.state = ChallengeState.WantsChoice;
        challenge.deadline = until;
        emit LeavesPosted(id, root, leaves, until);
    }

    /// @notice The challenger names the first wrong leaf.
    /// @param run As the market knows it.
    function choose(ChallengeId id, Run calldata run, Choice calldata choice) external {
        Challenge storage challenge = _inTime(id, ChallengeState.WantsChoice);
        if (msg.sender != challenge.challenger) revert OnlyChallenger(challenge.challenger, msg.sender);
        Slot memory slot = _slot(challenge.slot);
        _checkRun(challenge.slot, slot, run);
        Level memory part = Trace.below(challenge.level, choice.index);
        Trace.check(challenge.levelRoot, choice.leaf, choice.index, choice.siblings);
        if (choice.index > 0) {
            Trace.check(challenge.levelRoot, choice.leafBefore, choice.index - 1, choice.siblingsBefore);
        } else if (choice.leafBefore != challenge.stateIn) {
            revert WrongLeafBefore(choice.leafBefore, challenge.stateIn);
        }

        Job memory job = market.getJob(slot.job);
        challenge.top = false;
        challenge.levelRoot = 0;
        if (part.steps > 1) {
            _wantLeaves(id, challenge, job, part, choice.leafBefore, choice.leaf);
        } else {
            challenge.level = part;
            challenge.stateOut = choice.leaf;
            _ask(id, challenge, job, slot, run, choice.leafBefore, part.first);
        }
    }

    /// @notice Ends a challenge by the arbitrator's answer. Anybody.
    function resolve(ChallengeId id) external {
        Challenge storage challenge = _inTime(id, ChallengeState.WantsRuling);
        Job memory job = market.getJob(_slot(challenge.slot).job);
        (Verdict verdict, StateRoot stateOut) = job.arbitrator.answer(challenge.question);
        if (verdict == Verdict.Pending) revert NotAnswered(id);
        ChallengeState ending;
        if (verdict == Verdict.ClientRight) {
            ending = ChallengeState.Lost;
        } else if (verdict == Verdict.ClientWrong) {
            ending = ChallengeState.Won;
        } else if (verdict == Verdict.Executed && challenge.kind == Kind.Step) {
            ending = stateOut == challenge.stateOut ? ChallengeState.Lost : ChallengeState.Won;
        } else {
            ending = ChallengeState.Undecided;
        }
        _end(id, challenge, ending, true, stateOut);
    }

    /// @notice Ends a challenge in which somebody has let the time pass, or whose slot has ended. Anybody.
    function conclude(ChallengeId id) external {
        Challenge storage challenge = _challenges[id];
        ChallengeState state = challenge.state;
        if (state == ChallengeState.None || state >= ChallengeState.Won) revert WrongChallengeState(id, state);
        ChallengeState ending;
        if (market.getSlot(challenge.slot).state != SlotState.Submitted) {
            ending = ChallengeState.Void;
        } else if (!challenge.deadline.isPast()) {
            revert TooEarly(challenge.deadline);
        } else if (state == ChallengeState.WantsLeaves) {
            ending = ChallengeState.Won;
        } else if (state == ChallengeState.WantsChoice) {
            ending = ChallengeState.Lost;
        } else {
            ending = ChallengeState.Undecided;
        }
        _end(id, challenge, ending, false, StateRoot.wrap(0));
    }

    /// @notice A challenge.
    function getChallenge(ChallengeId id) external view returns (Challenge memory) {
        return _challenges[id];
    }

    /// @notice The id of a challenge.
    /// @param number How many challenges the slot had before.
    function challengeIdOf(SlotId slotId, address challenger, uint256 number) public pure returns (ChallengeId) {
        bytes memory words = abi.encode(slotId, challenger, number);
        return ChallengeId.wrap(keccak256(bytes.concat("fedmkt challenge", words)));
    }

    /// @dev The challenge, if a move of this kind is wanted and its time has not passed.
    function _inTime(ChallengeId id, ChallengeState state) private view returns (Challenge storage challenge) {
        challenge = _challenges[id];
        if (challenge.state != state) revert WrongChallengeState(id, challenge.state);
        if (challenge.deadline.isPast()) revert TooLate(challenge.deadline);
    }

    /// @dev The slot, if its submission can still be disputed.
    function _slot(SlotId id) private view returns (Slot memory slot) {
        slot = market.getSlot(id);
        if (slot.state != SlotState.Submitted) revert WrongSlotState(id, slot.state);
    }

    function _checkRun(SlotId id, Slot memory slot, Run calldata run) private pure {
        if (keccak256(abi.encode(run)) != slot.facts) revert WrongRun(id, slot.facts);
    }

    function _wantLeaves(
        ChallengeId id,
        Challenge storage challenge,
        Job memory job,
        Level memory level,
        StateRoot stateIn,
        StateRoot stateOut
    ) private {
        Time until = job.moveTime.fromNow();
        challenge.state = ChallengeState.WantsLeaves;
        challenge.deadline = until;
        challenge.level = level;
        challenge.stateIn = stateIn;
        challenge.stateOut = stateOut;
        emit LeavesWanted(id, level, stateIn, stateOut, until);
    }

    function _ask(
        ChallengeId id,
        Challenge storage challenge,
        Job memory job,
        Slot memory slot,
        Run calldata run,
        StateRoot stateIn,
        uint64 step
    ) private {
        Question memory question = Question(
            challenge.kind, id, slot.job, challenge.slot, job.root, run.dataRoot, run.runId, stateIn, step
        );
        Time until = job.arbitrationTime.fromNow();
        challenge.state = ChallengeState.WantsRuling;
        challenge.deadline = until;
        challenge.stateIn = stateIn;
        challenge.question = keccak256(abi.encode(question));
        emit RulingWanted(id, job.arbitrator, question, until);
        job.arbitrator.ask(question);
    }

    function _end(ChallengeId id, Challenge storage challenge, ChallengeState ending, bool ruled, StateRoot stateOut)
        private
    {
        challenge.state = ending;
        challenge.ruled = ruled;
        emit ChallengeEnded(id, challenge.slot, ending, ruled, stateOut);
        Outcome outcome = Outcome.Void;
        if (ending == ChallengeState.Won) outcome = Outcome.ChallengerWins;
        if (ending == ChallengeState.Lost) {
            outcome = challenge.kind == Kind.Step ? Outcome.ClientWins : Outcome.FilesShown;
        }
        // Results that somebody may not have found are no reason not to pay; a run that nobody can judge is.
        if (ending == ChallengeState.Undecided) {
            outcome = challenge.kind == Kind.Results ? Outcome.Dropped : Outcome.Undecided;
        }
        market.endChallenge(challenge.slot, challenge.challenger, outcome, ruled);
    }
}
