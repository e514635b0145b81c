// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title A token for tests and devnets
/// @notice Anybody can make it, so it is worth nothing.
contract DevToken is ERC20, ERC20Permit {
    constructor() ERC20("Worthless development token", "DEV") ERC20Permit("Worthless development token") {}

    /// @notice Makes new tokens.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }
}
