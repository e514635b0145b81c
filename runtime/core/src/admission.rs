//! Admission: checks a module against the profile and instruments it.
//!
//! The meaning of a module under the profile is that of the instrumented module; every engine runs exactly that.
//!
//! 1. *Scan*: every section is looked up in the profile's allow-list, imports, exports and globals are checked, and sizes
//!    are held against [`limits`].
//! 2. *Validate*: wasmparser checks the module with the profile's features and nothing more; every operator is looked up
//!    and held against the restore rules.
//! 3. *Instrument*: NaNs are settled where they can be seen, stack metering goes into the functions, memory gets its
//!    maximum, mutable globals and the start function get exported names, custom sections go.
//!
//! A module that is not admitted is gone through once more, and all findings are reported at once.
//!
//! The same bytes and limits give the same bytes. Time and memory are linear in the module's size.

mod findings;
mod instrument;
pub mod limits;
mod nan;
pub mod operator;
mod profile;
mod scan;

use alloc::string::String;
use alloc::vec::Vec;

pub use findings::{Finding, Place, Refusal};

use crate::wasi::Function;

/// What begins the names of exports that admission adds; authors' exports must not begin so.
pub const RESERVED_PREFIX: &str = "fedmkt:";

/// The exported name of the former start function.
pub const START_EXPORT: &str = "fedmkt:start";

/// What a job allows a module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ModuleLimits {
    /// The most bytes of linear memory.
    pub max_memory_bytes: u64,
}

/// A module that may run, instrumented.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admitted {
    /// The instrumented module.
    pub wasm: Vec<u8>,
    /// How it is called.
    pub form: Form,
    /// The exported name of the former start function.
    pub start: Option<&'static str>,
    /// The mutable globals that are part of the state, in the order of the module.
    pub globals: Vec<MutableGlobal>,
    /// The bounds of linear memory; all zero when there is none.
    pub memory: MemoryBounds,
    /// The WASI functions that it imports, each once.
    pub imports: Vec<Function>,
    /// What an author should know, though it is allowed.
    pub warnings: Vec<Finding>,
}

/// How a module is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Exports `_start`: the whole run is one step.
    Command,
    /// Exports `fedmkt_init` and `fedmkt_step`.
    Stepper {
        /// Exports `_initialize`, which is called before `fedmkt_init`.
        initialize: bool,
    },
}

/// A mutable global of the author's module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MutableGlobal {
    /// The name by which the instrumented module exports it.
    pub export: String,
}

/// The bounds of linear memory, in pages of 64 KiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MemoryBounds {
    /// Pages at the beginning.
    pub initial: u64,
    /// The most pages; growth beyond fails.
    pub maximum: u64,
}

/// Checks a module against the profile and instruments it.
///
/// # Errors
/// With everything that is not allowed.
pub fn admit(wasm: &[u8], limits: &ModuleLimits) -> Result<Admitted, Refusal> {
    // What is admitted has its operators read once. Of everything else all that is wrong is found.
    let quickly = scan::outline(wasm, limits).and_then(|module| admit_scanned(&module));
    quickly.or_else(|_| admit_scanned(&scan::scan(wasm, limits)?))
}

fn admit_scanned(module: &scan::Module<'_>) -> Result<Admitted, Refusal> {
    let bodies = profile::validate(module)?;
    Ok(instrument::instrument(module, &bodies))
}

#[cfg(test)]
mod tests;
