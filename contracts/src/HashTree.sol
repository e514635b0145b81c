// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";

/// @title Hash trees
/// @notice Keccak-256 Merkle roots over images of 2^n bytes with leaves of 32 bytes, as the Cartesi Machine computes them
/// for its drives. The node over a leaf is its hash, the node over two nodes the hash of both, left first. An image counts
/// as padded with zeros.
/// @dev Sizes are binary logarithms of bytes: 5 is a leaf, 12 a page. A node is found by its size and its index among the
/// nodes of that size.
library HashTree {
    /// Binary logarithm of the bytes of a leaf.
    uint256 internal constant LOG2_LEAF = 5;

    /// The node over 32 zero bytes.
    bytes32 internal constant ZERO_LEAF = 0x290decd9548b62a8d60345a988386fc84ba6bc95484008f6362f93160ef3e563;

    /// There are more nodes than the image has room for.
    error TooManyNodes(uint256 count, uint256 most);

    /// The proof does not lead from the node to the root.
    error ProofFails(bytes32 root, bytes32 node, uint256 index);

    /// @notice The node over the leaf that has `word`.
    function leaf(bytes32 word) internal pure returns (bytes32 node) {
        assembly ("memory-safe") {
            mstore(0x00, word)
            node := keccak256(0x00, 0x20)
        }
    }

    /// @notice The node over 2^`log2Size` zero bytes.
    function zeroNode(uint256 log2Size) internal pure returns (bytes32 node) {
        node = ZERO_LEAF;
        for (uint256 size = LOG2_LEAF; size < log2Size; ++size) {
            node = Hashes.efficientKeccak256(node, node);
        }
    }

    /// @notice The root of the image of 2^`log2Image` bytes that begins with these nodes and is zero after them.
    /// @param nodes Nodes over 2^`log2Node` bytes each, from the image's beginning. Destroyed.
    function root(bytes32[] memory nodes, uint256 log2Node, uint256 log2Image) internal pure returns (bytes32) {
        uint256 width = nodes.length;
        uint256 most = 1 << (log2Image - log2Node);
        if (width > most) revert TooManyNodes(width, most);
        if (width == 0) return zeroNode(log2Image);
        bytes32 zero = zeroNode(log2Node);
        for (uint256 size = log2Node; size < log2Image; ++size) {
            assembly ("memory-safe") {
                let first := add(nodes, 0x20)
                let half := shr(1, width)
                for { let i := 0 } lt(i, half) { i := add(i, 1) } {
                    // Both children are read before the place of either is written again.
                    mstore(add(first, shl(5, i)), keccak256(add(first, shl(6, i)), 0x40))
                }
            }
            if (width & 1 == 1) nodes[width >> 1] = Hashes.efficientKeccak256(nodes[width - 1], zero);
            width = (width + 1) >> 1;
            zero = Hashes.efficientKeccak256(zero, zero);
        }
        return nodes[0];
    }

    /// @notice The root of the image in which `node` has this index, `siblings` being the nodes beside its path, lowest
    /// first. Means something only if the number of siblings is right and the index is less than 2 to that number.
    function rootWith(bytes32 node, uint256 index, bytes32[] calldata siblings) internal pure returns (bytes32) {
        for (uint256 i = 0; i < siblings.length; ++i) {
            node = index & 1 == 1
                ? Hashes.efficientKeccak256(siblings[i], node)
                : Hashes.efficientKeccak256(node, siblings[i]);
            index >>= 1;
        }
        return node;
    }

    /// @notice Reverts unless the image with the root `imageRoot` has `node` at `index`, `depth` levels below the root.
    function check(bytes32 imageRoot, bytes32 node, uint256 index, uint256 depth, bytes32[] calldata siblings)
        internal
        pure
    {
        bool sound = siblings.length == depth && index >> depth == 0;
        if (!sound || rootWith(node, index, siblings) != imageRoot) revert ProofFails(imageRoot, node, index);
    }

    /// @notice The root of the image after one node was replaced.
    /// @dev Three of these put job, data and state into the initial hash of a machine whose drives are empty.
    function splice(
        bytes32 imageRoot,
        bytes32 oldNode,
        bytes32 newNode,
        uint256 index,
        uint256 depth,
        bytes32[] calldata siblings
    ) internal pure returns (bytes32) {
        check(imageRoot, oldNode, index, depth, siblings);
        return rootWith(newNode, index, siblings);
    }
}
