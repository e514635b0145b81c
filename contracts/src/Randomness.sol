// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {Blockhash} from "@openzeppelin/contracts/utils/Blockhash.sol";

/// @title Randomness that comes into being after a block
/// @notice `prevrandao` in the header of the fourth block after it. The first block's proposer knows that of the next
/// block already, so it must be a later one; and since the block is fixed, nobody gains by asking at a chosen time.
library Randomness {
    /// Blocks between what must be fixed before and the header that has the randomness.
    uint256 internal constant DELAY = 4;

    /// Where the number fields of a header begin: after a list prefix of 3 bytes, the hashes of parent and ommers, the
    /// coinbase, three roots and the bloom filter, each with its prefix.
    uint256 private constant NUMBERS = 3 + 33 + 33 + 21 + 3 * 33 + 259;

    /// Difficulty, number, gas limit, gas used, time; and extra data, which is as short.
    uint256 private constant SHORT_FIELDS = 6;

    /// The block is not there yet, or so old that the chain cannot check its header any more.
    error RandomnessNotInReach(uint256 blockNumber);

    /// This is not the header of the block.
    error WrongHeader(uint256 blockNumber, bytes32 expectedHash);

    /// The chain has headers of another form.
    error StrangeHeader();

    /// @notice The randomness after a block.
    /// @param header The RLP encoding of the header of the block that is `DELAY` later.
    function afterBlock(uint256 number, bytes calldata header) internal view returns (bytes32) {
        uint256 source = number + DELAY;
        bytes32 expected = Blockhash.blockHash(source);
        if (expected == 0) revert RandomnessNotInReach(source);
        if (keccak256(header) != expected) revert WrongHeader(source, expected);
        return prevrandao(header);
    }

    /// @notice Whether it is too late to learn the randomness after a block.
    function isOutOfReach(uint256 number) internal view returns (bool) {
        return block.number > number + DELAY && Blockhash.blockHash(number + DELAY) == 0;
    }

    /// @notice The field `prevrandao` of a header.
    function prevrandao(bytes calldata header) internal pure returns (bytes32) {
        if (header.length < NUMBERS || header[0] != 0xf9) revert StrangeHeader();
        uint256 position = NUMBERS;
        for (uint256 i = 0; i < SHORT_FIELDS; ++i) {
            uint8 prefix = uint8(header[position]);
            if (prefix > 0xb7) revert StrangeHeader();
            // A small number is its own encoding; others have their length before them.
            position += prefix <= 0x80 ? 1 : prefix - 0x7f;
        }
        if (header.length < position + 33 || header[position] != 0xa0) revert StrangeHeader();
        return bytes32(header[position + 1:position + 33]);
    }
}
