//! wasmi as an engine.

use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;

use fedmkt_core::admission::{Admitted, MutableGlobal, limits};
use fedmkt_core::engine::{Called, Engine, Instance};
use fedmkt_core::image::GLOBAL_BYTES;
use fedmkt_core::wasi::{Function, ValueType, Wasi};
use wasmi::errors::{ErrorKind, InstantiationError, MemoryError, TableError};
use wasmi::{
    Caller, CompilationMode, Config, Error, Extern, F32, F64, FuncType, Linker, Memory, Module, ResourceLimiter, Store,
    TrapCode, V128, Val, ValType,
};

use wasmi_core::LimiterError;

use crate::shield;

const WASI_MODULE: &str = "wasi_snapshot_preview1";

/// Bytes of wasmi's stack of values. Admission counts every word that a frame can hold, so that guests overflow there
/// and never here; this is eight times as much.
const VALUE_STACK_BYTES: usize = 8 * 8 * limits::STACK_WORDS as usize;

/// Frames of wasmi's call stack: more than admission lets a guest have.
const CALL_DEPTH: usize = 2 * (limits::STACK_WORDS / limits::FRAME_WORDS) as usize;

/// wasmi. It translates a function when it is called first: admission has validated all of them, and most of a trainer's
/// functions are not called in most steps.
#[derive(Clone, Debug)]
pub struct Wasmi(wasmi::Engine);

/// wasmi could not go on; this is no result.
#[derive(Debug)]
pub struct WasmiError(Error);

impl fmt::Display for WasmiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wasmi could not go on: {}", self.0)
    }
}

impl core::error::Error for WasmiError {}

impl From<Error> for WasmiError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl Default for Wasmi {
    fn default() -> Self {
        Self::new()
    }
}

impl Wasmi {
    /// The engine with the settings of the profile.
    pub fn new() -> Self {
        let mut config = Config::default();
        config
            .compilation_mode(CompilationMode::Lazy)
            .ignore_custom_sections(true)
            .set_max_stack_height(VALUE_STACK_BYTES)
            .set_max_recursion_depth(CALL_DEPTH);
        Self(wasmi::Engine::new(&config))
    }

    /// The engine's name and version.
    pub const fn name() -> &'static str {
        "wasmi 2"
    }
}

/// What belongs to an instance beside its memory.
struct Host {
    wasi: Wasi,
    memory: Option<Memory>,
}

/// Growth that the module's own maximum allows must not fail: a guest would see what the host has.
impl ResourceLimiter for Host {
    fn memory_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> Result<bool, LimiterError> {
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> Result<bool, LimiterError> {
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn memory_grow_failed(&mut self, error: &MemoryError) -> Result<(), LimiterError> {
        match error {
            MemoryError::OutOfSystemMemory => Err(LimiterError::ResourceLimiterDeniedAllocation),
            _ => Ok(()),
        }
    }

    fn table_grow_failed(&mut self, error: &TableError) -> Result<(), LimiterError> {
        match error {
            TableError::OutOfSystemMemory => Err(LimiterError::ResourceLimiterDeniedAllocation),
            _ => Ok(()),
        }
    }

    fn instances(&self) -> usize {
        usize::MAX
    }

    fn tables(&self) -> usize {
        usize::MAX
    }

    fn memories(&self) -> usize {
        usize::MAX
    }
}

impl Engine for Wasmi {
    type Module = Module;
    type Instance = WasmiInstance;
    type Error = WasmiError;

    fn compile(&self, admitted: &Admitted) -> Result<Module, WasmiError> {
        let wasm = shield::shielded(&admitted.wasm).map_err(|error| Error::new(error.to_string()))?;
        Ok(Module::new(&self.0, &wasm)?)
    }

    fn instantiate(&self, module: &Module, wasi: Wasi) -> Result<Option<WasmiInstance>, WasmiError> {
        let mut store = Store::new(&self.0, Host { wasi, memory: None });
        store.limiter(|host| host);
        let mut linker = Linker::new(&self.0);
        let mut linked = BTreeSet::new();
        // A module may import one function several times; a linker takes it once.
        for import in module.imports().filter(|import| linked.insert(import.name())) {
            let function = Function::from_name(import.name()).expect("admission checked the imports");
            linker
                .func_new(WASI_MODULE, import.name(), signature(function), move |caller, params, results| {
                    host_call(function, caller, params, results)
                })
                .map_err(|error| WasmiError(error.into()))?;
        }
        let instance = match linker.instantiate_and_start(&mut store, module) {
            Ok(instance) => instance,
            Err(error) if is_misfit(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let memory = instance.get_memory(&store, "memory");
        store.data_mut().memory = memory;
        Ok(Some(WasmiInstance { store, instance, memory }))
    }
}

fn signature(function: Function) -> FuncType {
    let as_wasm = |ty: &ValueType| match ty {
        ValueType::I32 => ValType::I32,
        ValueType::I64 => ValType::I64,
    };
    FuncType::new(
        function.params().iter().map(as_wasm).collect::<Vec<_>>(),
        function.result().iter().map(as_wasm).collect::<Vec<_>>(),
    )
}

/// Whether an active segment did not fit.
fn is_misfit(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Instantiation(error) => matches!(error, InstantiationError::ElementSegmentDoesNotFit { .. }),
        ErrorKind::Memory(error) => matches!(error, MemoryError::OutOfBoundsAccess),
        ErrorKind::Table(error) => matches!(error, TableError::InitOutOfBounds | TableError::CopyOutOfBounds),
        ErrorKind::TrapCode(code) => {
            matches!(code, TrapCode::MemoryOutOfBounds | TrapCode::TableOutOfBounds)
        }
        _ => false,
    }
}

fn host_call(
    function: Function,
    mut caller: Caller<'_, Host>,
    params: &[Val],
    results: &mut [Val],
) -> Result<(), Error> {
    let mut args = [0u64; 9];
    for (arg, param) in args.iter_mut().zip(params) {
        *arg = match param {
            Val::I32(value) => u64::from(*value as u32),
            Val::I64(value) => *value as u64,
            _ => unreachable!("WASI signatures are made of integers"),
        };
    }
    let args = &args[..params.len()];
    let answer = match caller.data().memory {
        Some(memory) => {
            let (bytes, host) = memory.data_and_store_mut(&mut caller);
            host.wasi.call(function, args, bytes)
        }
        None => caller.data_mut().wasi.call(function, args, &mut []),
    };
    let errno = answer.map_err(|exit| Error::i32_exit(exit.0))?;
    if let Some(result) = results.first_mut() {
        *result = Val::I32(errno as i32);
    }
    Ok(())
}

/// What an error of a call means for the run; `None` when it is the host's and there is no result.
fn outcome_of(error: &Error) -> Option<Called> {
    if let Some(code) = error.i32_exit_status() {
        return Some(Called::Exited(code));
    }
    match error.as_trap_code()? {
        TrapCode::UnreachableCodeReached
        | TrapCode::MemoryOutOfBounds
        | TrapCode::TableOutOfBounds
        | TrapCode::IndirectCallToNull
        | TrapCode::IntegerDivisionByZero
        | TrapCode::IntegerOverflow
        | TrapCode::BadConversionToInteger
        | TrapCode::BadSignature => Some(Called::Trapped),
        // Guests overflow in what admission put in; these are the host's failures.
        TrapCode::StackOverflow
        | TrapCode::OutOfFuel
        | TrapCode::GrowthOperationLimited
        | TrapCode::OutOfSystemMemory => None,
    }
}

/// An instance in wasmi.
pub struct WasmiInstance {
    store: Store<Host>,
    instance: wasmi::Instance,
    memory: Option<Memory>,
}

impl WasmiInstance {
    fn exported_global(&self, global: &MutableGlobal) -> wasmi::Global {
        match self.instance.get_export(&self.store, &global.export) {
            Some(Extern::Global(found)) => found,
            _ => panic!("admission exports every mutable global"),
        }
    }
}

impl Instance for WasmiInstance {
    type Error = WasmiError;

    fn wasi(&mut self) -> &mut Wasi {
        &mut self.store.data_mut().wasi
    }

    fn memory(&mut self) -> &mut [u8] {
        match self.memory {
            Some(memory) => memory.data_mut(&mut self.store),
            None => &mut [],
        }
    }

    fn grow_memory(&mut self, bytes: u64) -> Result<(), WasmiError> {
        if let Some(memory) = self.memory {
            let more = bytes.saturating_sub(memory.data_size(&self.store) as u64) / 65_536;
            memory.grow(&mut self.store, more).map_err(|error| WasmiError(error.into()))?;
        }
        Ok(())
    }

    fn global(&mut self, global: &MutableGlobal) -> [u8; GLOBAL_BYTES] {
        let bits = match self.exported_global(global).get(&self.store) {
            Val::I32(value) => u128::from(value as u32),
            Val::I64(value) => u128::from(value as u64),
            Val::F32(value) => u128::from(value.to_bits()),
            Val::F64(value) => u128::from(value.to_bits()),
            Val::V128(value) => value.as_u128(),
            // A command's globals may be references; a command has no state between steps.
            Val::FuncRef(_) | Val::ExternRef(_) => 0,
        };
        bits.to_le_bytes()
    }

    fn set_global(&mut self, global: &MutableGlobal, bits: [u8; GLOBAL_BYTES]) {
        let exported = self.exported_global(global);
        let bits = u128::from_le_bytes(bits);
        let value = match exported.ty(&self.store).content() {
            ValType::I32 => Val::I32(bits as i32),
            ValType::I64 => Val::I64(bits as i64),
            ValType::F32 => Val::F32(F32::from_bits(bits as u32)),
            ValType::F64 => Val::F64(F64::from_bits(bits as u64)),
            ValType::V128 => Val::V128(V128::from(bits)),
            ValType::FuncRef | ValType::ExternRef => return,
        };
        exported.set(&mut self.store, value).expect("the global is mutable and of this type");
    }

    fn call(&mut self, export: &str) -> Result<Called, WasmiError> {
        let function = self.instance.get_func(&self.store, export).expect("admission found the export");
        let mut results = [Val::I32(0)];
        let count = function.ty(&self.store).results().len();
        match function.call(&mut self.store, &[], &mut results[..count]) {
            Ok(()) => Ok(Called::Returned(results[..count].first().and_then(Val::i32))),
            Err(error) => outcome_of(&error).ok_or(WasmiError(error)),
        }
    }
}
