// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {BlockHeader} from "@openzeppelin/contracts/utils/BlockHeader.sol";
import {RLP} from "@openzeppelin/contracts/utils/RLP.sol";

import {Randomness} from "../src/Randomness.sol";
import {Test} from "./Test.sol";

contract Headers {
    function prevrandao(bytes calldata header) external pure returns (bytes32) {
        return Randomness.prevrandao(header);
    }

    function afterBlock(uint256 number, bytes calldata header) external view returns (bytes32) {
        return Randomness.afterBlock(number, header);
    }

    function isOutOfReach(uint256 number) external view returns (bool) {
        return Randomness.isOutOfReach(number);
    }
}

/// Headers of blocks, against a complete reader of RLP.
contract RandomnessTest is Test {
    Headers private headers;

    function setUp() public {
        headers = new Headers();
        vm.roll(1000);
    }

    function _header(uint256[6] memory numbers, uint256 extra, uint256 fields, bytes32 randomness)
        private
        pure
        returns (bytes memory)
    {
        bytes[] memory items = new bytes[](fields);
        for (uint256 i = 0; i < fields; ++i) {
            items[i] = RLP.encode(keccak256(abi.encode(randomness, i)));
        }
        items[2] = RLP.encode(bytes.concat(bytes20(randomness)));
        items[6] = RLP.encode(new bytes(256));
        for (uint256 i = 0; i < 5; ++i) {
            items[7 + i] = RLP.encode(numbers[i]);
        }
        bytes memory data = new bytes(extra);
        for (uint256 i = 0; i < extra; ++i) {
            data[i] = bytes1(uint8(numbers[5] >> (8 * i)));
        }
        items[12] = RLP.encode(data);
        items[13] = RLP.encode(randomness);
        items[14] = RLP.encode(new bytes(8));
        return RLP.encode(items);
    }

    function testFuzz_AsACompleteReaderReadsIt(
        uint256[6] memory numbers,
        uint256[6] memory shifts,
        uint8 extra,
        uint8 fields,
        bytes32 randomness
    ) public view {
        for (uint256 i = 0; i < 5; ++i) {
            // Numbers of all lengths, zero among them.
            numbers[i] >>= bound(shifts[i], 0, 256);
        }
        bytes memory header = _header(numbers, bound(extra, 0, 32), bound(fields, 15, 30), randomness);
        assertEq(headers.prevrandao(header), randomness, "randomness");
        assertEq(BlockHeader.getPrevRandao(header), randomness, "the complete reader");
    }

    function testFuzz_WhatIsNoHeaderIsNotReadBeyondItsEnd(bytes calldata noise, uint16 length) public view {
        uint256[6] memory numbers;
        bytes memory header = _header(numbers, 3, 15, keccak256(noise));
        uint256 kept = bound(length, 0, header.length - 1);
        assembly {
            mstore(header, kept)
        }
        // Everything to the end of `prevrandao` is there, or it reverts.
        (bool read,) = address(headers).staticcall(abi.encodeCall(Headers.prevrandao, (header)));
        assertTrue(!read || kept >= 480 + 10, "read what is not there");
        (read,) = address(headers).staticcall(abi.encodeCall(Headers.prevrandao, (noise)));
        assertTrue(!read, "read noise");
    }

    /// The length of a longer field is not in its first byte.
    function test_HeadersWithLongFieldsAreRefused() public {
        uint256[6] memory numbers;
        bytes memory header = _header(numbers, 32, 30, keccak256("randomness"));
        assertEq(uint256(uint8(header[453])), 0xa0, "32 bytes of extra data");
        header[453 + 0xb8 - 0x7f] = 0xa0;
        header[453] = 0xb8;
        vm.expectRevert(Randomness.StrangeHeader.selector);
        headers.prevrandao(header);
    }

    function test_ReachIsFromTheFifthBlockTo8191BlocksLater() public {
        uint256[6] memory numbers;
        bytes memory header = _header(numbers, 3, 21, keccak256("randomness"));
        for (uint256 number = 1000; number <= 1004; ++number) {
            vm.roll(number);
            vm.expectRevert(abi.encodeWithSelector(Randomness.RandomnessNotInReach.selector, 1004));
            headers.afterBlock(1000, header);
            assertTrue(!headers.isOutOfReach(1000), "too early is not too late");
        }
        vm.roll(1005);
        vm.setBlockhash(1004, keccak256(header));
        assertEq(headers.afterBlock(1000, header), keccak256("randomness"), "at once");
        vm.roll(1004 + 256);
        assertEq(headers.afterBlock(1000, header), keccak256("randomness"), "as long as the chain keeps hashes");
        assertTrue(!headers.isOutOfReach(1000), "still in reach");
        // Without the history contract of EIP-2935 that is the end.
        vm.roll(1004 + 257);
        assertTrue(headers.isOutOfReach(1000), "out of reach");
        // With it there are 8191 blocks.
        vm.etch(0x0000F90827F1C53a10cb7A02335B175320002935, address(new History(1004, keccak256(header))).code);
        assertEq(headers.afterBlock(1000, header), keccak256("randomness"), "from the history contract");
        assertTrue(!headers.isOutOfReach(1000), "in reach");
        vm.roll(1004 + 8192);
        vm.expectRevert(abi.encodeWithSelector(Randomness.RandomnessNotInReach.selector, 1004));
        headers.afterBlock(1000, header);
        assertTrue(headers.isOutOfReach(1000), "out of reach for good");
    }
}

/// Answers as the history contract of EIP-2935 does, about one block.
contract History {
    uint256 private immutable _number;
    bytes32 private immutable _hash;

    constructor(uint256 number, bytes32 hash) {
        _number = number;
        _hash = hash;
    }

    fallback(bytes calldata input) external returns (bytes memory) {
        uint256 asked = uint256(bytes32(input));
        require(asked < block.number && block.number - asked <= 8191);
        return abi.encode(asked == _number ? _hash : bytes32(0));
    }
}
