// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @title Escrow
/// @notice Takes tokens in and keeps what is owed to whom. Tokens go out only when the party that they are owed to asks.
abstract contract Escrow is ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// To whom burned tokens are owed. No key of this address is known.
    address public constant BURNED = 0x000000000000000000000000000000000000dEaD;

    /// @notice What the market owes to a party and no longer needs for anything else.
    mapping(IERC20 token => mapping(address party => uint256 amount)) public owed;

    /// @notice More is owed to a party.
    event Credited(IERC20 indexed token, address indexed party, uint256 amount);

    /// @notice A party has taken what it was owed.
    event Withdrawn(IERC20 indexed token, address indexed party, address indexed to, uint256 amount);

    /// A token has delivered another amount than it was told to.
    error TokenDeliversOtherAmount(IERC20 token, uint256 expected, uint256 delivered);

    /// Nothing is owed.
    error NothingOwed(IERC20 token, address party);

    /// Tokens sent there would be lost.
    error BadReceiver(address to);

    /// @notice Sends everything that the caller is owed to `to`.
    function withdraw(IERC20 token, address to) external nonReentrant returns (uint256 amount) {
        if (to == address(0) || to == address(this)) revert BadReceiver(to);
        return _payOut(token, msg.sender, to);
    }

    /// @notice Sends what was burned to where nobody can have it.
    function burn(IERC20 token) external nonReentrant returns (uint256 amount) {
        return _payOut(token, BURNED, BURNED);
    }

    /// @notice Lets the market take `amount` from the caller, by a signature (EIP-2612). For use in a multicall, before the
    /// call that takes it.
    /// @dev A signature that somebody else has already brought to the token is no failure: what counts is the allowance.
    function permit(IERC20Permit token, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external {
        try token.permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
    }

    /// @dev Takes exactly `amount` from a party that is, or has told, the caller. The last thing that a function does: the
    /// token may call anybody.
    function _take(IERC20 token, address party, uint256 amount) internal {
        if (amount == 0) return;
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(party, address(this), amount);
        uint256 held = token.balanceOf(address(this));
        uint256 delivered = held < before ? 0 : held - before;
        if (delivered != amount) revert TokenDeliversOtherAmount(token, amount, delivered);
    }

    function _credit(IERC20 token, address party, uint256 amount) internal {
        if (amount == 0) return;
        owed[token][party] += amount;
        emit Credited(token, party, amount);
    }

    function _payOut(IERC20 token, address party, address to) private returns (uint256 amount) {
        amount = owed[token][party];
        if (amount == 0) revert NothingOwed(token, party);
        owed[token][party] = 0;
        emit Withdrawn(token, party, to, amount);
        token.safeTransfer(to, amount);
    }
}
