// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

/// What forge's tests can do that contracts cannot: the part of it that is used here.
interface Vm {
    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }

    function warp(uint256 time) external;
    function roll(uint256 number) external;
    function chainId(uint256 id) external;
    function setBlockhash(uint256 number, bytes32 hash) external;
    function etch(address where, bytes calldata code) external;
    function prank(address caller) external;
    function startPrank(address caller) external;
    function stopPrank() external;
    function expectRevert() external;
    function expectRevert(bytes4 selector) external;
    function expectRevert(bytes calldata data) external;
    function expectPartialRevert(bytes4 selector) external;
    function expectEmit() external;
    function assume(bool condition) external pure;
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function addr(uint256 key) external pure returns (address);
    function label(address account, string calldata name) external;
    function recordLogs() external;
    function getRecordedLogs() external returns (Log[] memory);
    function snapshotState() external returns (uint256);
    function revertToState(uint256 id) external returns (bool);
    function snapshotValue(string calldata group, string calldata name, uint256 value) external;
    function snapshotGasLastCall(string calldata group, string calldata name) external returns (uint256);
    function readFile(string calldata path) external view returns (string memory);
    function toString(uint256 value) external pure returns (string memory);
    function toString(bytes calldata value) external pure returns (string memory);
    function keyExistsJson(string calldata json, string calldata key) external view returns (bool);
    function parseJsonUint(string calldata json, string calldata key) external pure returns (uint256);
    function parseJsonBytes32(string calldata json, string calldata key) external pure returns (bytes32);
    function parseJsonBytes32Array(string calldata json, string calldata key) external pure returns (bytes32[] memory);
    function parseJsonAddress(string calldata json, string calldata key) external pure returns (address);
    function parseJsonString(string calldata json, string calldata key) external pure returns (string memory);
    function assertTrue(bool condition, string calldata why) external pure;
    function assertEq(uint256 found, uint256 expected, string calldata why) external pure;
    function assertEq(bytes32 found, bytes32 expected, string calldata why) external pure;
    function assertEq(address found, address expected, string calldata why) external pure;
    function assertEq(bytes calldata found, bytes calldata expected, string calldata why) external pure;
    function assertLe(uint256 found, uint256 most, string calldata why) external pure;
    function assertGe(uint256 found, uint256 least, string calldata why) external pure;
}

/// A contract that forge takes for tests: all functions whose names begin with `test`.
abstract contract Test {
    bool public constant IS_TEST = true;

    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// A number from `least` to `most` that depends on `seed`.
    function bound(uint256 seed, uint256 least, uint256 most) internal pure returns (uint256) {
        if (seed >= least && seed <= most) return seed;
        uint256 count = most - least + 1;
        return count == 0 ? seed : least + seed % count;
    }

    function assertEq(uint256 found, uint256 expected, string memory why) internal pure {
        vm.assertEq(found, expected, why);
    }

    function assertEq(bytes32 found, bytes32 expected, string memory why) internal pure {
        vm.assertEq(found, expected, why);
    }

    function assertEq(address found, address expected, string memory why) internal pure {
        vm.assertEq(found, expected, why);
    }

    function assertTrue(bool condition, string memory why) internal pure {
        vm.assertTrue(condition, why);
    }
}
