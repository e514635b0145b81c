// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {HashTree} from "./HashTree.sol";
import {BlindHash, DataRoot, JobRoot, ResultFile, RunId, SizeClass, StateRoot, Status} from "./Types.sol";

/// @title State headers
/// @notice Roots of the two states of a run whose images are the header alone over zeros: the one before step 0 and the
/// last one. All words of the header are public but the blind, and the node over that word is the hash of the blind.
library StateHeader {
    /// Word 0 of every header.
    bytes32 private constant MAGIC = "fedmkt state image 1";

    uint256 private constant WORDS = 11;
    uint256 private constant FIRST_RESULT_WORD = 16;
    uint256 private constant WORDS_PER_RESULT = 4;

    /// What all headers of a run have in common.
    /// @param profile Name of the profile, ASCII, zeros after it.
    struct Identity {
        bytes32 profile;
        RunId runId;
        JobRoot jobRoot;
        DataRoot dataRoot;
        BlindHash blindHash;
    }

    /// What the header of a last state has besides.
    /// @param exitCode The 32 bits of the code if the status is "failed", else 0.
    struct End {
        uint64 steps;
        Status status;
        uint32 exitCode;
        ResultFile[] results;
    }

    /// @notice Binary logarithm of the bytes of a state drive.
    function log2State(SizeClass class) internal pure returns (uint256) {
        if (class == SizeClass.S) return 24;
        return class == SizeClass.M ? 27 : 29;
    }

    /// @notice The root of the state before step 0.
    function firstState(Identity memory identity, SizeClass class) internal pure returns (StateRoot) {
        return _root(_nodes(identity, WORDS), class);
    }

    /// @notice The root of a last state.
    function lastState(Identity memory identity, SizeClass class, End memory end) internal pure returns (StateRoot) {
        uint256 count = end.results.length;
        bytes32[] memory nodes = _nodes(identity, count == 0 ? WORDS : FIRST_RESULT_WORD + count * WORDS_PER_RESULT);
        nodes[6] = _number(end.steps);
        nodes[7] = _number(uint256(end.status));
        nodes[8] = _number(end.exitCode);
        nodes[10] = _number(count);
        for (uint256 i = 0; i < count; ++i) {
            ResultFile memory file = end.results[i];
            uint256 word = FIRST_RESULT_WORD + i * WORDS_PER_RESULT;
            nodes[word] = _number(file.size);
            nodes[word + 1] = HashTree.leaf(file.root);
            nodes[word + 2] = HashTree.leaf(file.cid.digest);
            nodes[word + 3] = _number(file.cid.codec);
        }
        return _root(nodes, class);
    }

    function _nodes(Identity memory identity, uint256 words) private pure returns (bytes32[] memory nodes) {
        nodes = new bytes32[](words);
        for (uint256 i = 6; i < words; ++i) {
            nodes[i] = HashTree.ZERO_LEAF;
        }
        nodes[0] = HashTree.leaf(MAGIC);
        nodes[1] = HashTree.leaf(identity.profile);
        nodes[2] = HashTree.leaf(RunId.unwrap(identity.runId));
        nodes[3] = HashTree.leaf(JobRoot.unwrap(identity.jobRoot));
        nodes[4] = HashTree.leaf(DataRoot.unwrap(identity.dataRoot));
        nodes[5] = BlindHash.unwrap(identity.blindHash);
    }

    function _number(uint256 number) private pure returns (bytes32) {
        return HashTree.leaf(bytes32(number));
    }

    function _root(bytes32[] memory nodes, SizeClass class) private pure returns (StateRoot) {
        return StateRoot.wrap(HashTree.root(nodes, HashTree.LOG2_LEAF, log2State(class)));
    }
}
