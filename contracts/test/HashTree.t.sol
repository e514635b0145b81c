// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {HashTree} from "../src/HashTree.sol";
import {Level, Trace} from "../src/Trace.sol";
import {StateRoot} from "../src/Types.sol";
import {Test} from "./Test.sol";
import {Libraries} from "./Vectors.t.sol";

/// A tree as plain as can be, and hostile proofs.
contract HashTreeTest is Test {
    Libraries private libraries;

    function setUp() public {
        libraries = new Libraries();
    }

    function testFuzz_RootIsThatOfThePlainDefinition(uint256 seed, uint8 count, uint8 extra) public view {
        bytes32[] memory nodes = _nodes(seed, count);
        uint256 depth = 8 + bound(extra, 0, 3);
        bytes32 plain = _plain(nodes, 0, depth);
        assertEq(libraries.root(nodes, 7, 7 + depth), plain, "root");
    }

    function testFuzz_TooManyNodesAreRefused(uint8 log2, uint8 more) public {
        uint256 depth = bound(log2, 0, 7);
        uint256 count = (1 << depth) + bound(more, 1, 20);
        vm.expectRevert(abi.encodeWithSelector(HashTree.TooManyNodes.selector, count, 1 << depth));
        libraries.root(new bytes32[](count), 5, 5 + depth);
    }

    function test_MoreThan256LeavesAreRefused() public {
        vm.expectRevert(abi.encodeWithSelector(HashTree.TooManyNodes.selector, 257, 256));
        libraries.levelRoot(new StateRoot[](257));
    }

    function testFuzz_ProofsHold(uint256 seed, uint8 which) public view {
        (bytes32[] memory nodes, bytes32[] memory siblings) = _proof(seed, which);
        libraries.check(_plain(nodes, 0, 8), nodes[which], which, 8, siblings);
    }

    function testFuzz_CorruptedProofsFail(uint256 seed, uint8 which, uint8 place, uint256 bits) public {
        vm.assume(bits != 0);
        (bytes32[] memory nodes, bytes32[] memory siblings) = _proof(seed, which);
        bytes32 root = _plain(nodes, 0, 8);
        bytes32 node = nodes[which];
        uint256 index = which;
        uint256 kind = bound(place, 0, 10);
        if (kind < 8) siblings[kind] ^= bytes32(bits);
        else if (kind == 8) root ^= bytes32(bits);
        else if (kind == 9) node ^= bytes32(bits);
        else index ^= bits;
        vm.expectRevert(abi.encodeWithSelector(HashTree.ProofFails.selector, root, node, index));
        libraries.check(root, node, index, 8, siblings);
    }

    function testFuzz_ProofsOfAnotherLengthFail(uint256 seed, uint8 which, uint8 length) public {
        (bytes32[] memory nodes, bytes32[] memory siblings) = _proof(seed, which);
        vm.assume(length != 8 && length < 20);
        bytes32 root = _plain(nodes, 0, 8);
        bytes32[] memory other = new bytes32[](length);
        for (uint256 i = 0; i < length && i < 8; ++i) {
            other[i] = siblings[i];
        }
        // Even the root that they lead to does not make them a proof.
        vm.expectPartialRevert(HashTree.ProofFails.selector);
        libraries.check(root, nodes[which], which, 8, other);
        if (length == 0) root = nodes[which];
        vm.expectPartialRevert(HashTree.ProofFails.selector);
        libraries.check(root, nodes[which], 0, 8, other);
    }

    /// An inner node is no leaf: 64 bytes and 32 bytes are hashed differently, and the depth is fixed.
    function testFuzz_AnInnerNodeIsNoLeaf(uint256 seed, uint8 which) public {
        (bytes32[] memory nodes, bytes32[] memory siblings) = _proof(seed, which);
        bytes32[] memory upper = new bytes32[](7);
        for (uint256 i = 0; i < 7; ++i) {
            upper[i] = siblings[i + 1];
        }
        bytes32 inner = which & 1 == 1
            ? keccak256(bytes.concat(siblings[0], nodes[which]))
            : keccak256(bytes.concat(nodes[which], siblings[0]));
        vm.expectPartialRevert(HashTree.ProofFails.selector);
        libraries.check(_plain(nodes, 0, 8), inner, which >> 1, 8, upper);
    }

    function testFuzz_ASpliceIsTheTreeWithTheOtherNode(uint256 seed, uint8 which, bytes32 other) public view {
        (bytes32[] memory nodes, bytes32[] memory siblings) = _proof(seed, which);
        bytes32 root = _plain(nodes, 0, 8);
        bytes32 spliced = libraries.splice(root, nodes[which], other, which, 8, siblings);
        nodes[which] = other;
        assertEq(spliced, _plain(nodes, 0, 8), "root after the splice");
    }

    function testFuzz_ASpliceOfAnotherNodeIsRefused(uint256 seed, uint8 which, bytes32 wrong) public {
        (bytes32[] memory nodes, bytes32[] memory siblings) = _proof(seed, which);
        vm.assume(wrong != nodes[which]);
        vm.expectPartialRevert(HashTree.ProofFails.selector);
        libraries.splice(_plain(nodes, 0, 8), wrong, nodes[which], which, 8, siblings);
    }

    function testFuzz_PartsOfALevelFollowEachOtherWithoutGaps(uint48 steps, uint48 perSegment, uint8 which)
        public
        view
    {
        uint64 run = uint64(bound(steps, 1, Trace.MAX_STEPS));
        uint64 part = uint64(bound(perSegment, (run + 255) / 256, Trace.MAX_STEPS));
        Level memory level = Trace.top(run, part);
        for (uint256 depth = 0; level.steps > 1; ++depth) {
            assertTrue(depth <= 7, "a level too many");
            uint256 parts = Trace.parts(level);
            assertTrue(parts <= 256, "fan-out");
            uint256 index = bound(which, 0, parts - 1);
            Level memory part_ = libraries.below(level, index);
            uint256 end = index + 1 == parts ? level.first + level.steps : libraries.below(level, index + 1).first;
            assertEq(part_.first + part_.steps, end, "the part ends where the next begins");
            assertEq(libraries.below(level, 0).first, level.first, "the first part begins with the level");
            assertTrue(part_.steps >= 1 && part_.part >= 1, "not empty");
            level = part_;
        }
    }

    function test_APartThatDoesNotExistIsRefused() public {
        vm.expectRevert(abi.encodeWithSelector(Trace.NoSuchPart.selector, 15, 15));
        libraries.below(Level(0, 1_000_001, 70_000), 15);
        vm.expectRevert(abi.encodeWithSelector(Trace.NoSuchPart.selector, type(uint256).max, 15));
        libraries.below(Level(0, 1_000_001, 70_000), type(uint256).max);
    }

    function _nodes(uint256 seed, uint256 count) private pure returns (bytes32[] memory nodes) {
        nodes = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            nodes[i] = keccak256(abi.encode(seed, i));
        }
    }

    /// 256 nodes, and the siblings of one of them.
    function _proof(uint256 seed, uint256 which)
        private
        pure
        returns (bytes32[] memory nodes, bytes32[] memory siblings)
    {
        nodes = _nodes(seed, 256);
        siblings = new bytes32[](8);
        for (uint256 level = 0; level < 8; ++level) {
            siblings[level] = _plain(nodes, ((which >> level) ^ 1) << level, level);
        }
    }

    /// The node over `2^depth` nodes from `first`, zeros standing for those that are not there. Nodes are over 2^7 bytes if
    /// some are missing.
    function _plain(bytes32[] memory nodes, uint256 first, uint256 depth) private pure returns (bytes32) {
        if (first >= nodes.length) return HashTree.zeroNode(7 + depth);
        if (depth == 0) return nodes[first];
        bytes32 left = _plain(nodes, first, depth - 1);
        bytes32 right = _plain(nodes, first + (1 << (depth - 1)), depth - 1);
        return keccak256(bytes.concat(left, right));
    }
}
