//! Bounds on the shape of modules.
//!
//! Each lies below the own limit of every engine, so that no engine refuses what admission let through, and above what compilers
//! produce. Compiling can still take more time or memory than a worker has; there is no result then.

/// Bytes of a module.
pub const MODULE_BYTES: usize = 16 << 20;

/// Types.
pub const TYPES: u32 = 10_000;

/// Parameters, and results, of a function type.
pub const PARAMS: usize = 256;

/// Functions, imported ones included.
pub const FUNCTIONS: u32 = 100_000;

/// Bytes of a function body.
pub const FUNCTION_BYTES: usize = 1 << 20;

/// Bytes that may be added to a function: to settle NaNs, and [`EDGE_BYTES`] for what its branches carry. Engines stop at
/// functions of some 7 million bytes.
pub const ADDED_BYTES: usize = 4 << 20;

/// Bytes that a module and what is added to its functions may have together. An interpreter's code may take 16 bytes for
/// each byte of a module, and 4 for each that is added; the smallest machine has room for that.
pub const INSTRUMENTED_BYTES: usize = 32 << 20;

/// Bytes that each `return`, `select` and value on an edge of a block counts among the added ones, whether the edge can be
/// reached or not. An edge is where a block begins or ends, a `return`, or a branch; its values may be 256 for one byte of
/// code. An interpreter that has no operands across edges passes each through a local that it adds (2 bytes), by a
/// `local.set` and a `local.get` (3 bytes each). What a call passes beyond [`FREE_ARGUMENTS`] counts as well.
pub const EDGE_BYTES: usize = 8;

/// Parameters and results of a call that count nothing.
pub const FREE_ARGUMENTS: usize = 16;

/// Locals of a function, parameters included.
pub const LOCALS: u32 = 10_000;

/// Locals of all functions together, parameters included.
pub const ALL_LOCALS: u32 = 4_000_000;

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

/// Elements of all tables together, at the beginning and when they have grown; and of all element segments.
pub const TABLE_ELEMENTS: u64 = 1_000_000;

/// Data segments, and element segments.
pub const SEGMENTS: u32 = 100_000;

/// Exports.
pub const EXPORTS: u32 = 10_000;

/// Words of 8 bytes that all frames together may have: parameters, locals and operands (two words for a `v128`), and
/// [`FRAME_WORDS`] for each frame, one for every [`BODY_BYTES_PER_WORD`] and one for every [`MADE_PER_WORD`]. Overflow traps.
pub const STACK_WORDS: u32 = 256 << 10;

/// Words that a frame counts beside what it holds: 8 for what engines keep there, and 10 for the locals and operands with
/// which NaNs are settled, whether a function has them or not.
pub const FRAME_WORDS: u32 = 18;

/// Bytes of a body for which its frame counts a word: compilers keep across calls what a body would compute again, which
/// is neither a local nor an operand. A vector of 16 bytes that is worth keeping takes 8 bytes of code or more, and native
/// stacks have 256 bytes for each word.
pub const BODY_BYTES_PER_WORD: usize = 64;

/// Results of calls and values on edges for which a frame counts a word: many of them are made by few bytes of code, and each may
/// have 16 bytes of a native frame for itself, also when what it is needed for is over.
pub const MADE_PER_WORD: usize = 16;

/// A function that calls no other function of the module and whose frame has at most this many words is not counted:
/// there is at most one such frame, and engines have room for it beyond [`STACK_WORDS`].
pub const LEAF_WORDS: u32 = 256;
