//! WASI preview1 over an in-memory file tree.

mod function;

pub use function::{Function, ValueType};
