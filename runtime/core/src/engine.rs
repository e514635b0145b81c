//! What a run needs of a WebAssembly engine.
//!
//! An engine executes admitted modules and passes host calls on to [`Wasi::call`]; it decides nothing that a guest can
//! see. Whatever an engine cannot do (no memory, a stack that is too small, a time limit) is an error and never a
//! result: a run that ends so has no state.

use alloc::vec::Vec;

use crate::admission::{Admitted, MutableGlobal};
use crate::image::GLOBAL_BYTES;
use crate::wasi::Wasi;

/// A WebAssembly engine.
pub trait Engine {
    /// A compiled module.
    type Module;
    /// An instance of a module.
    type Instance: Instance<Error = Self::Error>;
    /// The host could not; there is no result.
    type Error: core::error::Error + Send + Sync + 'static;

    /// Compiles an admitted module.
    ///
    /// # Errors
    /// When the host cannot.
    fn compile(&self, admitted: &Admitted) -> Result<Self::Module, Self::Error>;

    /// Instantiates a module: memory, tables and active segments, but no guest code. `wasi` moves into the instance.
    /// `None` when an active segment does not fit, which is a trap.
    ///
    /// # Errors
    /// When the host cannot.
    fn instantiate(&self, module: &Self::Module, wasi: Wasi) -> Result<Option<Self::Instance>, Self::Error>;
}

/// What a call into the guest ended with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Called {
    /// The function returned; with its result, if it has one.
    Returned(Option<i32>),
    /// The guest called `proc_exit` with this code.
    Exited(i32),
    /// The guest trapped.
    Trapped,
}

/// An instance of a module.
pub trait Instance {
    /// The host could not; there is no result.
    type Error;

    /// The WASI state that came with instantiation.
    fn wasi(&mut self) -> &mut Wasi;

    /// All of linear memory; empty when the module has none.
    fn memory(&mut self) -> &mut [u8];

    /// Makes linear memory `bytes` long. `bytes` is a multiple of 64 KiB within the module's maximum.
    ///
    /// # Errors
    /// When the host cannot.
    fn grow_memory(&mut self, bytes: u64) -> Result<(), Self::Error>;

    /// The bits of a mutable global, little-endian, zero-extended.
    ///
    /// # Panics
    /// When the module does not export it.
    fn global(&mut self, global: &MutableGlobal) -> [u8; GLOBAL_BYTES];

    /// Sets a mutable global.
    ///
    /// # Panics
    /// When the module does not export it.
    fn set_global(&mut self, global: &MutableGlobal, bits: [u8; GLOBAL_BYTES]);

    /// Calls an exported function that has no parameters and at most one result, an `i32`.
    ///
    /// # Errors
    /// When the host cannot.
    fn call(&mut self, export: &str) -> Result<Called, Self::Error>;

    /// The pages (4 KiB) of linear memory that may differ from what they were at the last call of this method, in
    /// rising order; at the first call, those that may be non-zero.
    fn changed_pages(&mut self) -> Vec<u32> {
        (0..(self.memory().len() / crate::tree::PAGE_BYTES) as u32).collect()
    }
}
