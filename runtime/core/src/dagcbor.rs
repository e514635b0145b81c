//! DAG-CBOR blocks: one encoding for a value, and no value without it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde::{Serialize, de::DeserializeOwned};

/// The largest block that is decoded, in bytes: what IPFS nodes exchange without trouble.
pub const MAX_BLOCK_BYTES: usize = 1 << 20;

/// Why bytes are not the block they should be.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DecodeError {
    /// More than [`MAX_BLOCK_BYTES`]; holds the length.
    TooLarge(usize),
    /// Not DAG-CBOR, or not of the expected type; holds what the decoder said.
    Malformed(String),
    /// Decodes, but is not what encoding the value gives: the same value would have two CIDs.
    NotCanonical,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(bytes) => write!(f, "the block has {bytes} bytes, the limit is {MAX_BLOCK_BYTES}"),
            Self::Malformed(what) => write!(f, "the block is not of the expected form: {what}"),
            Self::NotCanonical => f.write_str("the block is not canonical DAG-CBOR"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// The canonical block of `value`.
///
/// # Panics
/// If the value cannot be expressed in DAG-CBOR (a map with keys that are no strings): none of this project's types.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).expect("the types of this crate have a DAG-CBOR form")
}

/// Reads a value from its canonical block.
///
/// # Errors
/// When the block is larger than [`MAX_BLOCK_BYTES`], malformed, or not canonical.
pub fn decode<T: Serialize + DeserializeOwned>(block: &[u8]) -> Result<T, DecodeError> {
    if block.len() > MAX_BLOCK_BYTES {
        return Err(DecodeError::TooLarge(block.len()));
    }
    let value = serde_ipld_dagcbor::from_slice(block).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    if encode(&value) != block {
        return Err(DecodeError::NotCanonical);
    }
    Ok(value)
}
