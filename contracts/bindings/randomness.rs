//! Randomness that comes into being after a block: `prevrandao` in the header of a later block.

use alloy::consensus::Header;
use alloy::primitives::Bytes;

/// How many blocks later that is.
pub const DELAY: u64 = 4;

/// The block whose header has the randomness after block `number`.
pub const fn source(number: u64) -> u64 {
    number + DELAY
}

/// A header as the contracts want it: its RLP encoding, whose Keccak-256 is the hash of the block.
pub fn encoded(header: &Header) -> Bytes {
    alloy::rlp::encode(header).into()
}
