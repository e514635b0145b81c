// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {Disputes} from "./Disputes.sol";
import {HashTree} from "./HashTree.sol";
import {IArbitrator, Kind, Question, Verdict} from "./IArbitrator.sol";
import {Job, Jobs} from "./Jobs.sol";
import {Market} from "./Market.sol";
import {Randomness} from "./Randomness.sol";
import {Member, Stakes} from "./Stakes.sol";
import {ChallengeId, Disclosure, Duration, JobId, StateRoot, Time} from "./Types.sol";

/// Where a case stands.
enum CaseState {
    None,
    /// Members are to be drawn for a round.
    Drawing,
    /// They are to commit, then to reveal.
    Voting,
    /// There is an answer.
    Answered
}

/// A question that the committee was asked.
/// @param round The present round, or the one that gave the answer; from 0.
/// @param blockNumber When the round began: its members are drawn from those of that block, by randomness after it.
/// @param until When drawing ends.
/// @param audited Whether members are drawn from the auditors of the job.
struct Case {
    CaseState state;
    Kind kind;
    uint8 round;
    uint40 blockNumber;
    Time until;
    bool feeTaken;
    bool audited;
    Verdict verdict;
    StateRoot stateOut;
    JobId job;
    ChallengeId challenge;
    uint256 feePerVote;
}

/// A round of a case. Votes count once for each time that their member was drawn.
/// @param drawn How many were drawn.
/// @param seated How many of them had a stake to put at risk: those of seats from then on, auditors when they commit.
/// @param bestVotes How many votes the answer has that has most.
/// @param best Hash of that answer.
/// @param closed Whether it has ended.
/// @param decided Whether more than half of those drawn agreed.
struct Round {
    uint16 drawn;
    uint16 seated;
    uint16 committed;
    uint16 revealed;
    uint16 bestVotes;
    bool closed;
    bool decided;
    Time commitUntil;
    Time revealUntil;
    bytes32 best;
}

/// What a member does in a round.
/// @param count How often it was drawn.
/// @param stakeSettled Whether what it had at risk was given back, or taken from it.
/// @param answer Hash of the answer that it has revealed.
struct Vote {
    uint16 count;
    bool stakeSettled;
    bool feeReturned;
    bytes32 commitment;
    bytes32 answer;
}

/// @title A committee of verifiers
/// @notice Answers questions of one market. Members are drawn from all seats, or for an audited job from its auditors;
/// each replays the step and commits to what it found, then reveals it. More than half of those drawn decide. Who does not
/// reveal, or is outvoted, loses what it had at risk. An auditor, whom a sponsor may name unasked, has nothing at risk before
/// it commits.
contract Committee is IArbitrator, Stakes {
    using SafeERC20 for IERC20;

    /// What a committee is made with.
    /// @param token In which stakes are.
    /// @param seatStake The stake that a seat needs.
    /// @param penalty What a member has at risk each time that it is drawn.
    /// @param members How many are drawn in the first round.
    struct Rules {
        IERC20 token;
        uint128 seatStake;
        uint128 penalty;
        uint16 members;
        Duration drawTime;
        Duration commitTime;
        Duration revealTime;
    }

    /// Rounds before the committee gives up.
    uint8 public constant ROUNDS = 3;

    /// The most members of a first round; each further round has twice as many and one more.
    uint16 public constant MOST_MEMBERS = 15;

    /// The longest time of a phase.
    uint256 public constant LONGEST = 60 days;

    /// @notice Whose questions are answered.
    Market public immutable market;

    /// @notice Where the questions are asked.
    Disputes public immutable disputes;

    /// @notice What a member has at risk each time that it is drawn.
    uint128 public immutable penalty;

    /// @notice How many are drawn in the first round.
    uint16 public immutable members;

    /// @notice How long drawing may take.
    Duration public immutable drawTime;

    /// @notice How long committing may take.
    Duration public immutable commitTime;

    /// @notice How long revealing may take.
    Duration public immutable revealTime;

    /// @inheritdoc IArbitrator
    Duration public immutable longestAnswer;

    mapping(bytes32 question => Case) private _cases;
    mapping(bytes32 question => mapping(uint8 round => Round)) private _rounds;
    mapping(bytes32 question => mapping(uint8 round => mapping(address member => Vote))) private _votes;
    mapping(bytes32 question => mapping(uint8 round => mapping(bytes32 answer => uint16 votes))) private _tally;

    /// Fees that have come from the market and belong to no case yet.
    mapping(IERC20 => uint256) private _unassigned;

    /// @notice A question was asked, or goes into another round.
    event RoundOpened(bytes32 indexed question, uint8 indexed round, ChallengeId indexed challenge, Time drawUntil);

    /// @notice A member was drawn, `count` times.
    event Drawn(bytes32 indexed question, uint8 indexed round, address indexed member, uint16 count);

    /// @notice The members of a round are drawn.
    event VotingOpened(bytes32 indexed question, uint8 indexed round, Time commitUntil, Time revealUntil);

    /// @notice A member has committed.
    event Committed(bytes32 indexed question, uint8 indexed round, address indexed member);

    /// @notice A member has revealed.
    event Revealed(
        bytes32 indexed question, uint8 indexed round, address indexed member, Verdict verdict, StateRoot stateOut
    );

    /// @notice The committee has an answer.
    event Answered(bytes32 indexed question, uint8 round, Verdict verdict, StateRoot stateOut);

    /// The rules name a value that is not allowed. `rule` is its name, ASCII, zeros after it.
    error BadRule(bytes32 rule, uint256 value, uint256 least, uint256 most);

    /// Only the contract for disputes may do this.
    error OnlyDisputes(address caller);

    /// The case is in a state in which this cannot be done.
    error WrongCaseState(bytes32 question, CaseState state);

    /// The time for this has passed.
    error TooLate(Time deadline);

    /// These are not the auditors of the job.
    error WrongAuditors(bytes32 root, bytes32 expected);

    /// Nobody can be drawn.
    error NobodyToDraw();

    /// The member was not drawn, has committed, or has not.
    error WrongVote(address member, uint16 count, bytes32 commitment);

    /// This is no answer to the question.
    error NoAnswer(Verdict verdict, StateRoot stateOut);

    /// The round has not ended.
    error RoundIsOpen(bytes32 question, uint8 round);

    /// The member gets nothing back, or has it already.
    error NothingReturned(address member);

    /// The member has lost nothing, or it was taken from it already.
    error NothingLost(address member);

    /// The market has not been told, or the fee was taken.
    error NoFee(bytes32 question);

    constructor(Market market_, Rules memory rules) Stakes(rules.token, rules.seatStake, _longest(rules)) {
        _range("drawTime", Duration.unwrap(rules.drawTime), 1, LONGEST);
        _range("commitTime", Duration.unwrap(rules.commitTime), 1, LONGEST);
        _range("revealTime", Duration.unwrap(rules.revealTime), 1, LONGEST);
        _range("members", rules.members, 1, MOST_MEMBERS);
        _range("penalty", rules.penalty, 1, rules.seatStake);
        market = market_;
        disputes = market_.disputes();
        penalty = rules.penalty;
        members = rules.members;
        drawTime = rules.drawTime;
        commitTime = rules.commitTime;
        revealTime = rules.revealTime;
        longestAnswer = _longest(rules);
    }

    /// @inheritdoc IArbitrator
    function ask(Question calldata asked) external {
        if (msg.sender != address(disputes)) revert OnlyDisputes(msg.sender);
        // A question names its challenge, and no challenge asks twice.
        bytes32 question = keccak256(abi.encode(asked));
        Case storage case_ = _cases[question];
        case_.kind = asked.kind;
        case_.job = asked.job;
        case_.challenge = asked.challenge;
        _openRound(question, case_, 0);
    }

    /// @notice Draws the members of a round. Anybody.
    /// @param header The RLP encoding of the header of the block that has the randomness.
    /// @param auditors The auditors of the job, if it is audited.
    function draw(bytes32 question, bytes calldata header, address[] calldata auditors) external {
        Case storage case_ = _caseIn(question, CaseState.Drawing);
        if (case_.until.isPast()) revert TooLate(case_.until);
        bytes32 seed = keccak256(abi.encode(Randomness.afterBlock(case_.blockNumber, header), question));
        Round storage round = _rounds[question][case_.round];
        case_.audited = market.getJob(case_.job).disclosure == Disclosure.Audited;
        round.drawn = case_.audited ? _drawAuditors(question, case_, seed, auditors) : _drawSeats(question, case_, seed);
        round.commitUntil = commitTime.fromNow();
        round.revealUntil = Time.wrap(Time.unwrap(round.commitUntil) + Duration.unwrap(revealTime));
        case_.state = CaseState.Voting;
        emit VotingOpened(question, case_.round, round.commitUntil, round.revealUntil);
    }

    /// @notice A member commits to its answer.
    /// @param commitment What `commitmentOf` gives; without the salt it tells nothing.
    function commit(bytes32 question, bytes32 commitment) external {
        Case storage case_ = _caseIn(question, CaseState.Voting);
        Round storage round = _rounds[question][case_.round];
        if (round.commitUntil.isPast()) revert TooLate(round.commitUntil);
        Vote storage vote = _votes[question][case_.round][msg.sender];
        if (vote.count == 0 || vote.commitment != 0 || commitment == 0) {
            revert WrongVote(msg.sender, vote.count, vote.commitment);
        }
        if (case_.audited) _putAtRisk(msg.sender, vote.count);
        vote.commitment = commitment;
        round.committed += vote.count;
        emit Committed(question, case_.round, msg.sender);
    }

    /// @notice A member reveals its answer, once the time for commitments has passed or all places have committed.
    function reveal(bytes32 question, Verdict verdict, StateRoot stateOut, bytes32 salt) external {
        Case storage case_ = _caseIn(question, CaseState.Voting);
        uint8 number = case_.round;
        Round storage round = _rounds[question][number];
        if (!_isCommitted(round)) revert TooEarly(round.commitUntil);
        if (round.revealUntil.isPast()) revert TooLate(round.revealUntil);
        _checkAnswer(case_.kind, verdict, stateOut);
        Vote storage vote = _votes[question][number][msg.sender];
        bytes32 expected = commitmentOf(question, number, msg.sender, verdict, stateOut, salt);
        if (vote.commitment != expected || vote.answer != 0) {
            revert WrongVote(msg.sender, vote.count, vote.commitment);
        }
        vote.answer = keccak256(abi.encode(verdict, stateOut));
        emit Revealed(question, number, msg.sender, verdict, stateOut);
        if (_count(question, number, vote)) {
            case_.verdict = verdict;
            case_.stateOut = stateOut;
        }
    }

    /// @notice Ends a round, once its time has passed or everybody who could has revealed. Anybody.
    function settle(bytes32 question) external {
        Case storage case_ = _cases[question];
        uint8 number = case_.round;
        Round storage round = _rounds[question][number];
        if (case_.state == CaseState.Drawing) {
            if (!case_.until.isPast()) revert TooEarly(case_.until);
        } else if (case_.state == CaseState.Voting) {
            bool revealed = _isCommitted(round) && round.revealed == round.committed;
            if (!revealed && !round.revealUntil.isPast()) revert TooEarly(round.revealUntil);
        } else {
            revert WrongCaseState(question, case_.state);
        }
        round.closed = true;
        round.decided = 2 * round.bestVotes > round.drawn;
        lost += uint256((case_.audited ? round.committed : round.seated) - _returned(round)) * penalty;
        if (!round.decided) {
            case_.verdict = Verdict.Undecided;
            case_.stateOut = StateRoot.wrap(0);
            if (number + 1 < ROUNDS) return _openRound(question, case_, number + 1);
        }
        case_.state = CaseState.Answered;
        emit Answered(question, number, case_.verdict, case_.stateOut);
    }

    /// @notice Gives a member back what it had at risk in a round, if it revealed and was not outvoted. Anybody.
    function returnStake(bytes32 question, uint8 number, address member) external {
        Round storage round = _rounds[question][number];
        if (!round.closed) revert RoundIsOpen(question, number);
        Vote storage vote = _votes[question][number][member];
        if (!_isReturned(round, vote) || vote.stakeSettled) revert NothingReturned(member);
        vote.stakeSettled = true;
        uint128 stake = uint128(vote.count) * penalty;
        _members[member].atRisk -= stake;
        _members[member].stake += stake;
    }

    /// @notice Takes from a member what it had at risk in a round, if it did not reveal or was outvoted. It is lost in any case;
    /// from now on its seats are looked at without it. Anybody.
    function loseStake(bytes32 question, uint8 number, address member) external {
        Round storage round = _rounds[question][number];
        if (!round.closed) revert RoundIsOpen(question, number);
        Vote storage vote = _votes[question][number][member];
        bool hadRisk = vote.count > 0 && (!_cases[question].audited || vote.commitment != 0);
        if (!hadRisk || _isReturned(round, vote) || vote.stakeSettled) revert NothingLost(member);
        vote.stakeSettled = true;
        _members[member].atRisk -= uint128(vote.count) * penalty;
    }

    /// @notice Takes the fee for an answer from the market, once the market was told the answer. Anybody.
    function takeFee(bytes32 question) external nonReentrant {
        Case storage case_ = _cases[question];
        if (case_.state != CaseState.Answered) revert WrongCaseState(question, case_.state);
        if (case_.feeTaken || !disputes.getChallenge(case_.challenge).ruled) revert NoFee(question);
        Job memory job = market.getJob(case_.job);
        case_.feeTaken = true;
        uint256 votes = _returned(_rounds[question][case_.round]);
        case_.feePerVote = votes == 0 ? 0 : job.arbitrationFee / votes;
        if (market.owed(job.token, address(this)) > 0) {
            _unassigned[job.token] += market.withdraw(job.token, address(this));
        }
        _unassigned[job.token] -= job.arbitrationFee;
        uint256 rest = job.arbitrationFee - case_.feePerVote * votes;
        if (rest > 0) job.token.safeTransfer(BURNED, rest);
    }

    /// @notice Pays a member for its vote, once the fee was taken. Anybody.
    function payFee(bytes32 question, address member) external nonReentrant {
        Case storage case_ = _cases[question];
        if (!case_.feeTaken) revert NoFee(question);
        Vote storage vote = _votes[question][case_.round][member];
        if (!_isReturned(_rounds[question][case_.round], vote) || vote.feeReturned) revert NothingReturned(member);
        vote.feeReturned = true;
        market.getJob(case_.job).token.safeTransfer(member, case_.feePerVote * vote.count);
    }

    /// @inheritdoc IArbitrator
    function answer(bytes32 question) external view returns (Verdict verdict, StateRoot stateOut) {
        Case storage case_ = _cases[question];
        if (case_.state == CaseState.Answered) return (case_.verdict, case_.stateOut);
    }

    /// @notice A case.
    function getCase(bytes32 question) external view returns (Case memory) {
        return _cases[question];
    }

    /// @notice A round of a case.
    function getRound(bytes32 question, uint8 round) external view returns (Round memory) {
        return _rounds[question][round];
    }

    /// @notice What a member does in a round.
    function getVote(bytes32 question, uint8 round, address member) external view returns (Vote memory) {
        return _votes[question][round][member];
    }

    /// @notice How many are drawn in a round.
    function roundSize(uint8 round) public view returns (uint256) {
        return ((uint256(members) + 1) << round) - 1;
    }

    /// @notice What a member commits to. It is bound to the member, so that nobody can repeat another's.
    function commitmentOf(
        bytes32 question,
        uint8 round,
        address member,
        Verdict verdict,
        StateRoot stateOut,
        bytes32 salt
    ) public pure returns (bytes32) {
        bytes memory words = abi.encode(question, round, member, verdict, stateOut, salt);
        return keccak256(bytes.concat("fedmkt vote", words));
    }

    function _openRound(bytes32 question, Case storage case_, uint8 number) private {
        case_.state = CaseState.Drawing;
        case_.round = number;
        case_.blockNumber = uint40(block.number);
        case_.until = drawTime.fromNow();
        emit RoundOpened(question, number, case_.challenge, case_.until);
    }

    /// @dev Draws from those who held seats when the round began. They have something at risk from now on. Without stake, a
    /// place stays empty.
    function _drawSeats(bytes32 question, Case storage case_, bytes32 seed) private returns (uint16) {
        uint256 blockNumber = case_.blockNumber;
        uint256 seats = _seatCountAfter(blockNumber);
        if (seats == 0) revert NobodyToDraw();
        uint256 size = roundSize(case_.round);
        for (uint256 i = 0; i < size; ++i) {
            address holder = _holderAfter(_pick(seed, i, seats), blockNumber);
            if (_members[holder].stake < penalty) continue;
            _putAtRisk(holder, 1);
            _seat(question, case_.round, holder);
        }
        return uint16(size);
    }

    /// @dev Draws from the auditors of the job; all of them, if there are no more than are to be drawn. Without stake, a place
    /// stays empty.
    function _drawAuditors(bytes32 question, Case storage case_, bytes32 seed, address[] calldata auditors)
        private
        returns (uint16)
    {
        Job memory job = market.getJob(case_.job);
        bytes32 root = _auditorsRoot(auditors);
        if (root != job.auditors || auditors.length != job.auditorCount) revert WrongAuditors(root, job.auditors);
        uint256 size = roundSize(case_.round);
        bool all = auditors.length <= size;
        if (all) size = auditors.length;
        for (uint256 i = 0; i < size; ++i) {
            address auditor = auditors[all ? i : _pick(seed, i, auditors.length)];
            uint256 draws = uint256(_votes[question][case_.round][auditor].count) + 1;
            if (_members[auditor].stake >= draws * penalty) _seat(question, case_.round, auditor);
        }
        return uint16(size);
    }

    /// @dev Moves what so many draws put at risk out of a member's free stake.
    function _putAtRisk(address who, uint16 count) private {
        Member storage member = _members[who];
        uint128 stake = uint128(count) * penalty;
        if (member.stake < stake) revert NotCovered(who, member.stake, stake);
        member.stake -= stake;
        member.atRisk += stake;
    }

    /// @dev One draw.
    function _seat(bytes32 question, uint8 number, address drawn) private {
        ++_rounds[question][number].seated;
        uint16 count = ++_votes[question][number][drawn].count;
        emit Drawn(question, number, drawn, count);
    }

    /// @dev Counts a revealed vote, and says whether its answer has the most votes now.
    function _count(bytes32 question, uint8 number, Vote storage vote) private returns (bool) {
        Round storage round = _rounds[question][number];
        round.revealed += vote.count;
        uint16 votes = _tally[question][number][vote.answer] + vote.count;
        _tally[question][number][vote.answer] = votes;
        if (votes <= round.bestVotes) return false;
        round.bestVotes = votes;
        round.best = vote.answer;
        return true;
    }

    function _caseIn(bytes32 question, CaseState state) private view returns (Case storage case_) {
        case_ = _cases[question];
        if (case_.state != state) revert WrongCaseState(question, case_.state);
    }

    /// @dev Where places are empty the time is waited for: meanwhile stakes come back, of which the next round has need.
    function _isCommitted(Round storage round) private view returns (bool) {
        return round.committed == round.drawn || round.commitUntil.isPast();
    }

    /// @dev How many votes of a closed round get their stake back.
    function _returned(Round storage round) private view returns (uint16) {
        return round.decided ? round.bestVotes : round.revealed;
    }

    function _isReturned(Round storage round, Vote storage vote) private view returns (bool) {
        return vote.answer != 0 && (!round.decided || vote.answer == round.best);
    }

    function _pick(bytes32 seed, uint256 index, uint256 count) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, index))) % count;
    }

    function _checkAnswer(Kind kind, Verdict verdict, StateRoot stateOut) private pure {
        bool executed = verdict == Verdict.Executed;
        bool fits = verdict != Verdict.Pending && (kind == Kind.Step || !executed)
            && (executed || StateRoot.unwrap(stateOut) == 0);
        if (!fits) revert NoAnswer(verdict, stateOut);
    }

    function _auditorsRoot(address[] calldata auditors) private pure returns (bytes32) {
        bytes32[] memory nodes = new bytes32[](auditors.length);
        for (uint256 i = 0; i < auditors.length; ++i) {
            nodes[i] = HashTree.leaf(bytes32(uint256(uint160(auditors[i]))));
        }
        return HashTree.root(nodes, 5, 13);
    }

    /// @dev All rounds, each as long as can be.
    function _longest(Rules memory rules) private pure returns (Duration) {
        uint256 round = uint256(Duration.unwrap(rules.drawTime)) + Duration.unwrap(rules.commitTime)
            + Duration.unwrap(rules.revealTime);
        return Duration.wrap(uint32(ROUNDS * round));
    }

    function _range(bytes32 rule, uint256 value, uint256 least, uint256 most) private pure {
        if (value < least || value > most) revert BadRule(rule, value, least, most);
    }
}
