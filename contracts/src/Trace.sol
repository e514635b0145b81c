// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {HashTree} from "./HashTree.sol";
import {StateRoot} from "./Types.sol";

/// A stretch of steps and the parts that it is cut into.
/// @param first The first step.
/// @param steps How many steps there are; at least 1.
/// @param part Steps in each part; the last part may have fewer.
struct Level {
    uint64 first;
    uint64 steps;
    uint64 part;
}

/// @title Traces
/// @notice The state roots of a run, as a tree of fan-out 256 whose leaves are the states at the ends of parts.
library Trace {
    /// How many leaves a level has at most.
    uint256 internal constant FAN_OUT = 256;

    /// How many steps a run has at most.
    uint64 internal constant MAX_STEPS = 1 << 48;

    /// Levels of the hash tree between the root of a level and its leaves.
    uint256 internal constant DEPTH = 8;

    uint256 private constant LOG2_LEVEL = HashTree.LOG2_LEAF + DEPTH;

    /// The level has no part with this index.
    error NoSuchPart(uint256 index, uint256 parts);

    /// @notice The top level of a run.
    function top(uint64 steps, uint64 stepsPerSegment) internal pure returns (Level memory) {
        return Level(0, steps, stepsPerSegment);
    }

    /// @notice How many parts a level has.
    function parts(Level memory level) internal pure returns (uint256) {
        return (uint256(level.steps) + level.part - 1) / level.part;
    }

    /// @notice Part number `index`, cut in turn. If it is a single step, then it is its own only part.
    function below(Level memory level, uint256 index) internal pure returns (Level memory) {
        uint256 count = parts(level);
        if (index >= count) revert NoSuchPart(index, count);
        uint64 start = uint64(index) * level.part;
        uint64 steps = level.steps - start < level.part ? level.steps - start : level.part;
        uint64 part = 1;
        while (part * FAN_OUT < steps) part *= uint64(FAN_OUT);
        return Level(level.first + start, steps, part);
    }

    /// @notice The root of a level with these leaves.
    function root(StateRoot[] calldata leaves) internal pure returns (bytes32) {
        uint256 count = leaves.length;
        if (count > FAN_OUT) revert HashTree.TooManyNodes(count, FAN_OUT);
        bytes32[] memory nodes = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            nodes[i] = HashTree.leaf(StateRoot.unwrap(leaves[i]));
        }
        return HashTree.root(nodes, HashTree.LOG2_LEAF, LOG2_LEVEL);
    }

    /// @notice Reverts unless the level with this root has this leaf.
    function check(bytes32 levelRoot, StateRoot state, uint256 index, bytes32[] calldata siblings) internal pure {
        HashTree.check(levelRoot, HashTree.leaf(StateRoot.unwrap(state)), index, DEPTH, siblings);
    }
}
