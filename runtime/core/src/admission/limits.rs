//! Bounds on the shape of modules.
//!
//! Each lies below the own limit of every engine, so that no engine refuses or fails on what admission let through, and
//! above what compilers produce.

/// Bytes of a module.
pub const MODULE_BYTES: usize = 32 << 20;

/// Types.
pub const TYPES: u32 = 10_000;

/// Parameters, and results, of a function type.
pub const PARAMS: usize = 256;

/// Functions, imported ones included.
pub const FUNCTIONS: u32 = 100_000;

/// Bytes of a function body.
pub const FUNCTION_BYTES: usize = 1 << 20;

/// Bytes that may be added to a function to settle NaNs; engines stop at functions of some 7 million bytes.
pub const ADDED_BYTES: usize = 4 << 20;

/// Bytes that a module and what is added to settle NaNs may have together.
pub const INSTRUMENTED_BYTES: usize = 64 << 20;

/// Locals of a function, parameters included.
pub const LOCALS: u32 = 10_000;

/// Operands on the stack of a function.
pub const OPERANDS: u32 = 10_000;

/// Nested blocks.
pub const NESTING: u32 = 4_096;

/// Targets of a `br_table`.
pub const BRANCH_TARGETS: u32 = 16_384;

/// Globals of all kinds.
pub const GLOBALS: u32 = 10_000;

/// Tables.
pub const TABLES: u32 = 16;

/// Elements of all tables together.
pub const TABLE_ELEMENTS: u64 = 1_000_000;

/// Data segments, and element segments.
pub const SEGMENTS: u32 = 100_000;

/// Exports.
pub const EXPORTS: u32 = 10_000;

/// Words of 8 bytes that all frames together may have: parameters, locals and operands (two words for a `v128`), and
/// [`FRAME_WORDS`] for each frame. Overflow traps.
pub const STACK_WORDS: u32 = 256 << 10;

/// Words that a frame counts beside what it holds: 8 for what engines keep there, and 10 for the locals and operands with
/// which NaNs are settled, whether a function has them or not.
pub const FRAME_WORDS: u32 = 18;

/// A function that calls no other function of the module and whose frame has at most this many words is not counted:
/// there is at most one such frame, and engines have room for it beyond [`STACK_WORDS`].
pub const LEAF_WORDS: u32 = 256;
