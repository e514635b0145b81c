//! WASI preview1 over an in-memory file tree.

mod function;

pub use function::{Function, ValueType};

/// Bytes that the WASI state takes in a state image.
pub const METADATA_BYTES: usize = 1 << 20;
