// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Duration, Time} from "./Types.sol";

/// What a member of a committee has put up.
/// @param stake What it has here and is not at risk in a vote at present.
/// @param leaving How much of that it wants back.
/// @param atRisk What it has at risk in votes, those included that were lost and not yet taken from here.
/// @param leaveAt When it can have that.
/// @param seats How many seats it holds.
struct Member {
    uint128 stake;
    uint128 leaving;
    Time leaveAt;
    uint64 seats;
    uint128 atRisk;
}

/// @title Stakes
/// @notice Members put up stakes and take seats, as many as their stake covers. Seats are places in a list of which every
/// past version is kept, so that a draw is from the list as it was before anybody knew the randomness.
abstract contract Stakes is ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using Checkpoints for Checkpoints.Trace160;

    /// To whom lost stakes go. No key of this address is known.
    address public constant BURNED = 0x000000000000000000000000000000000000dEaD;

    /// @notice In which stakes are.
    IERC20 public immutable token;

    /// @notice The stake that a seat needs when it is taken.
    uint128 public immutable seatStake;

    /// @notice How long a member waits for its stake.
    Duration public immutable leaveTime;

    mapping(address => Member) internal _members;

    /// Position in the list -> block -> who held it after that block.
    mapping(uint256 position => Checkpoints.Trace160) private _holders;

    /// Block -> how many seats there were after it.
    Checkpoints.Trace160 private _seatCount;

    /// @notice Stakes that were lost and not yet sent away.
    uint256 public lost;

    /// @notice A member has put up more.
    event Deposited(address indexed member, uint256 amount);

    /// @notice A member wants some of its stake back.
    event Leaving(address indexed member, uint256 amount, Time leaveAt);

    /// @notice A member has taken stake back.
    event Withdrawn(address indexed member, address indexed to, uint256 amount);

    /// @notice A position of the list of seats has another holder, or none.
    event SeatHeld(uint256 indexed position, address indexed member);

    /// The token has delivered another amount than it was told to.
    error TokenDeliversOtherAmount(uint256 expected, uint256 delivered);

    /// The stake does not cover this.
    error NotCovered(address member, uint256 free, uint256 needed);

    /// Somebody else, or nobody, holds this seat.
    error NotHolder(uint256 position, address holder);

    /// The seat is covered well enough.
    error SeatIsCovered(uint256 position);

    /// The time for this has not come.
    error TooEarly(Time deadline);

    /// There is nothing to send.
    error NothingThere();

    constructor(IERC20 token_, uint128 seatStake_, Duration leaveTime_) {
        token = token_;
        seatStake = seatStake_;
        leaveTime = leaveTime_;
    }

    /// @notice Puts up more.
    function deposit(uint128 amount) external nonReentrant {
        _members[msg.sender].stake += amount;
        emit Deposited(msg.sender, amount);
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 held = token.balanceOf(address(this));
        uint256 delivered = held < before ? 0 : held - before;
        if (delivered != amount) revert TokenDeliversOtherAmount(amount, delivered);
    }

    /// @notice Takes a seat.
    function takeSeat() external returns (uint256 position) {
        Member storage member = _members[msg.sender];
        uint256 needed = (uint256(member.seats) + 1) * seatStake;
        if (_free(member) < needed) revert NotCovered(msg.sender, _free(member), needed);
        ++member.seats;
        position = seatCount();
        _seatCount.push(_now(), uint160(position + 1));
        _hold(position, msg.sender);
    }

    /// @notice Gives a seat up.
    function leaveSeat(uint256 position) external {
        address holder = holderOf(position);
        if (holder != msg.sender) revert NotHolder(position, holder);
        _vacate(position, holder);
    }

    /// @notice Takes a seat away whose holder has lost so much that less than half of what its seats need is left. What is at
    /// risk is not lost: else whoever has members drawn could take their seats away. Anybody.
    function evict(uint256 position) external {
        address holder = holderOf(position);
        if (holder == address(0)) revert NotHolder(position, holder);
        Member storage member = _members[holder];
        uint256 had = uint256(member.stake) + member.atRisk;
        uint256 left = had > member.leaving ? had - member.leaving : 0;
        if (left >= uint256(member.seats) * seatStake / 2) revert SeatIsCovered(position);
        _vacate(position, holder);
    }

    /// @notice Asks for stake back that no seat needs. It is at risk until then, for draws that it was part of.
    function unstake(uint128 amount) external {
        Member storage member = _members[msg.sender];
        uint256 needed = uint256(member.seats) * seatStake + amount;
        if (_free(member) < needed) revert NotCovered(msg.sender, _free(member), needed);
        member.leaving += amount;
        member.leaveAt = leaveTime.fromNow();
        emit Leaving(msg.sender, amount, member.leaveAt);
    }

    /// @notice Takes what was asked for, as far as it was not lost meanwhile.
    function withdraw(address to) external nonReentrant returns (uint128 amount) {
        Member storage member = _members[msg.sender];
        if (!member.leaveAt.isPast()) revert TooEarly(member.leaveAt);
        amount = member.leaving < member.stake ? member.leaving : member.stake;
        if (amount == 0) revert NothingThere();
        member.leaving = 0;
        member.stake -= amount;
        emit Withdrawn(msg.sender, to, amount);
        token.safeTransfer(to, amount);
    }

    /// @notice Sends lost stakes to where nobody can have them.
    function burn() external nonReentrant returns (uint256 amount) {
        amount = lost;
        if (amount == 0) revert NothingThere();
        lost = 0;
        token.safeTransfer(BURNED, amount);
    }

    /// @notice A member.
    function getMember(address member) external view returns (Member memory) {
        return _members[member];
    }

    /// @notice How many seats there are.
    function seatCount() public view returns (uint256) {
        return _seatCount.latest();
    }

    /// @notice Who holds the seat at a position; nobody if there is none.
    function holderOf(uint256 position) public view returns (address) {
        return address(_holders[position].latest());
    }

    /// @dev How many seats there were after a past block.
    function _seatCountAfter(uint256 blockNumber) internal view returns (uint256) {
        return _seatCount.upperLookupRecent(uint96(blockNumber));
    }

    /// @dev Who held the seat at a position after a past block.
    function _holderAfter(uint256 position, uint256 blockNumber) internal view returns (address) {
        return address(_holders[position].upperLookupRecent(uint96(blockNumber)));
    }

    /// @dev The last seat moves to where the hole is.
    function _vacate(uint256 position, address holder) private {
        --_members[holder].seats;
        uint256 last = seatCount() - 1;
        if (position != last) _hold(position, holderOf(last));
        _hold(last, address(0));
        _seatCount.push(_now(), uint160(last));
    }

    function _hold(uint256 position, address member) private {
        _holders[position].push(_now(), uint160(member));
        emit SeatHeld(position, member);
    }

    function _free(Member storage member) private view returns (uint256) {
        // A member that lost stakes may have less than it asked for.
        return member.stake > member.leaving ? member.stake - member.leaving : 0;
    }

    function _now() private view returns (uint96) {
        return SafeCast.toUint96(block.number);
    }
}
