//! The native engine: Wasmtime behind [`Engine`].

use std::collections::BTreeSet;
use std::fmt;

use fedmkt_core::admission::{Admitted, MutableGlobal};
use fedmkt_core::engine::{Called, Engine, Instance};
use fedmkt_core::image::GLOBAL_BYTES;
use fedmkt_core::tree::PAGE_BYTES;
use fedmkt_core::wasi::{Function, ValueType, Wasi};
use wasmtime::{
    Caller, Config, Extern, FuncType, Global, Linker, Memory, Module, OptLevel, ResourceLimiter, Store, Trap, Val,
    ValType,
};

/// Bytes of native stack that guests may use: many times what the words that admission counts can take.
pub const STACK_BYTES: usize = 64 << 20;

const WASI_MODULE: &str = "wasi_snapshot_preview1";

/// Wasmtime, compiling with Cranelift.
#[derive(Clone)]
pub struct Native {
    engine: wasmtime::Engine,
}

/// The host could not go on.
#[derive(Debug)]
pub struct NativeError(wasmtime::Error);

impl fmt::Display for NativeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the engine could not go on: {:#}", self.0)
    }
}

impl std::error::Error for NativeError {}

impl From<wasmtime::Error> for NativeError {
    fn from(error: wasmtime::Error) -> Self {
        Self(error)
    }
}

impl Native {
    /// The engine with the settings of the profile.
    ///
    /// # Errors
    /// When Wasmtime does not work on this host.
    pub fn new() -> Result<Self, NativeError> {
        let mut config = Config::new();
        config
            .cranelift_opt_level(OptLevel::Speed)
            .wasm_simd(true)
            .wasm_relaxed_simd(false)
            .wasm_multi_memory(false)
            .wasm_memory64(false)
            .wasm_tail_call(false)
            .wasm_extended_const(true)
            // The worker process has one thread, and maps nothing but memory.
            .parallel_compilation(false)
            .memory_init_cow(false)
            .max_wasm_stack(STACK_BYTES)
            // Not used, but checked against the line above.
            .async_stack_size(STACK_BYTES);
        Ok(Self { engine: wasmtime::Engine::new(&config)? })
    }

    /// The engine's name and version.
    pub fn name() -> &'static str {
        "wasmtime 48"
    }

    /// A compiled module for keeping: which module it is, and its code.
    ///
    /// # Errors
    /// When Wasmtime cannot.
    pub fn store(&self, admitted: &Admitted, module: &Module) -> Result<Vec<u8>, NativeError> {
        let mut kept = blake3::hash(&admitted.wasm).as_bytes().to_vec();
        kept.extend(module.serialize()?);
        Ok(kept)
    }

    /// The module that was kept, if it is this one and this engine made it. The code will be executed: it must come from
    /// where only this client writes, and is for a worker process alone.
    pub fn load(&self, admitted: &Admitted, kept: &[u8]) -> Option<Module> {
        let code = kept.strip_prefix(blake3::hash(&admitted.wasm).as_bytes())?;
        // SAFETY: as said above, the bytes are what `serialize` gave.
        unsafe { Module::deserialize(&self.engine, code) }.ok()
    }
}

impl Engine for Native {
    type Module = Module;
    type Instance = NativeInstance;
    type Error = NativeError;

    fn compile(&self, admitted: &Admitted) -> Result<Module, NativeError> {
        Ok(Module::new(&self.engine, &admitted.wasm)?)
    }

    fn instantiate(&self, module: &Module, wasi: Wasi) -> Result<Option<NativeInstance>, NativeError> {
        let mut store = Store::new(&self.engine, Host { wasi, memory: None });
        store.limiter(|host| host);
        let mut linker = Linker::new(&self.engine);
        let mut linked = BTreeSet::new();
        // A module may import one function several times; a linker takes it once.
        for import in module.imports().filter(|import| linked.insert(import.name())) {
            let function = Function::from_name(import.name()).expect("admission checked the imports");
            let ty = signature(&self.engine, function);
            linker.func_new(WASI_MODULE, import.name(), ty, move |caller, params, results| {
                host_call(function, caller, params, results)
            })?;
        }
        let instance = match linker.instantiate(&mut store, module) {
            Ok(instance) => instance,
            Err(error) if outcome_of(&error).is_some() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let memory = instance.get_memory(&mut store, "memory");
        store.data_mut().memory = memory;
        Ok(Some(NativeInstance { store, instance, memory, fingerprints: Vec::new() }))
    }
}

fn signature(engine: &wasmtime::Engine, function: Function) -> FuncType {
    let as_wasm = |ty: &ValueType| match ty {
        ValueType::I32 => ValType::I32,
        ValueType::I64 => ValType::I64,
    };
    FuncType::new(engine, function.params().iter().map(as_wasm), function.result().iter().map(as_wasm))
}

/// What belongs to an instance beside its memory.
struct Host {
    wasi: Wasi,
    memory: Option<Memory>,
}

/// Growth that the module's own maximum allows must not fail: a guest would see what the host has.
impl ResourceLimiter for Host {
    fn memory_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error.context("there is not enough memory on this computer"))
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error.context("there is not enough memory on this computer"))
    }
}

/// `proc_exit`.
#[derive(Debug)]
struct GuestExit(i32);

impl fmt::Display for GuestExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit with code {}", self.0)
    }
}

impl std::error::Error for GuestExit {}

fn host_call(
    function: Function,
    mut caller: Caller<'_, Host>,
    params: &[Val],
    results: &mut [Val],
) -> wasmtime::Result<()> {
    let mut args = [0u64; 9];
    for (arg, param) in args.iter_mut().zip(params) {
        *arg = match param {
            Val::I32(value) => u64::from(*value as u32),
            Val::I64(value) => *value as u64,
            _ => unreachable!("WASI signatures are made of integers"),
        };
    }
    let answer = match caller.data().memory {
        Some(memory) => {
            let (bytes, host) = memory.data_and_store_mut(&mut caller);
            host.wasi.call(function, &args[..params.len()], bytes)
        }
        None => caller.data_mut().wasi.call(function, &args[..params.len()], &mut []),
    };
    let errno = answer.map_err(|exit| GuestExit(exit.0))?;
    if let Some(result) = results.first_mut() {
        *result = Val::I32(errno as i32);
    }
    Ok(())
}

/// What an error of a call means for the run; `None` when it is the host's and there is no result.
fn outcome_of(error: &wasmtime::Error) -> Option<Called> {
    if let Some(exit) = error.downcast_ref::<GuestExit>() {
        return Some(Called::Exited(exit.0));
    }
    match error.downcast_ref::<Trap>()? {
        Trap::UnreachableCodeReached
        | Trap::MemoryOutOfBounds
        | Trap::TableOutOfBounds
        | Trap::IndirectCallToNull
        | Trap::BadSignature
        | Trap::IntegerOverflow
        | Trap::IntegerDivisionByZero
        | Trap::BadConversionToInteger => Some(Called::Trapped),
        // The native stack is larger than what admission counts: this is the host's failure.
        _ => None,
    }
}

/// An instance in Wasmtime.
pub struct NativeInstance {
    store: Store<Host>,
    instance: wasmtime::Instance,
    memory: Option<Memory>,
    /// BLAKE3 of each page at the last look.
    fingerprints: Vec<[u8; 32]>,
}

impl NativeInstance {
    fn exported_global(&mut self, global: &MutableGlobal) -> Global {
        match self.instance.get_export(&mut self.store, &global.export) {
            Some(Extern::Global(found)) => found,
            _ => panic!("admission exports every mutable global"),
        }
    }
}

impl Instance for NativeInstance {
    type Error = NativeError;

    fn wasi(&mut self) -> &mut Wasi {
        &mut self.store.data_mut().wasi
    }

    fn memory(&mut self) -> &mut [u8] {
        match self.memory {
            Some(memory) => memory.data_mut(&mut self.store),
            None => &mut [],
        }
    }

    fn grow_memory(&mut self, bytes: u64) -> Result<(), NativeError> {
        if let Some(memory) = self.memory {
            let more = bytes.saturating_sub(memory.data_size(&self.store) as u64) / memory.page_size(&self.store);
            memory.grow(&mut self.store, more)?;
        }
        Ok(())
    }

    fn global(&mut self, global: &MutableGlobal) -> [u8; GLOBAL_BYTES] {
        let bits = match self.exported_global(global).get(&mut self.store) {
            Val::I32(value) => u128::from(value as u32),
            Val::I64(value) => u128::from(value as u64),
            Val::F32(bits) => u128::from(bits),
            Val::F64(bits) => u128::from(bits),
            Val::V128(value) => value.as_u128(),
            // A command's globals may be references; a command has no state between steps.
            _ => 0,
        };
        bits.to_le_bytes()
    }

    fn set_global(&mut self, global: &MutableGlobal, bits: [u8; GLOBAL_BYTES]) {
        let exported = self.exported_global(global);
        let bits = u128::from_le_bytes(bits);
        let value = match exported.ty(&self.store).content() {
            ValType::I32 => Val::I32(bits as i32),
            ValType::I64 => Val::I64(bits as i64),
            ValType::F32 => Val::F32(bits as u32),
            ValType::F64 => Val::F64(bits as u64),
            ValType::V128 => Val::V128(bits.into()),
            ValType::Ref(_) => return,
        };
        exported.set(&mut self.store, value).expect("the global is mutable and of this type");
    }

    fn call(&mut self, export: &str) -> Result<Called, NativeError> {
        let function = self.instance.get_func(&mut self.store, export).expect("admission found the export");
        let mut results = [Val::I32(0)];
        let count = function.ty(&self.store).results().len();
        match function.call(&mut self.store, &[], &mut results[..count]) {
            Ok(()) => Ok(Called::Returned(results[..count].first().and_then(Val::i32))),
            Err(error) => outcome_of(&error).ok_or(NativeError(error)),
        }
    }

    fn changed_pages(&mut self) -> Vec<u32> {
        let Some(memory) = self.memory else { return Vec::new() };
        let zero = *blake3::hash(&[0; PAGE_BYTES]).as_bytes();
        let (pages, _) = memory.data(&self.store).as_chunks::<PAGE_BYTES>();
        self.fingerprints.resize(pages.len(), zero);
        let mut changed = Vec::new();
        for (index, (page, known)) in (0..).zip(pages.iter().zip(&mut self.fingerprints)) {
            let now = *blake3::hash(page).as_bytes();
            if now != *known {
                *known = now;
                changed.push(index);
            }
        }
        changed
    }
}
