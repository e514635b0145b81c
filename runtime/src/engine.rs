//! The native engine: Wasmtime behind [`Engine`].

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use fedmkt_core::admission::{Admitted, MutableGlobal};
use fedmkt_core::engine::{Called, Engine, Instance};
use fedmkt_core::image::GLOBAL_BYTES;
use fedmkt_core::tree::PAGE_BYTES;
use fedmkt_core::wasi::{Function, ValueType, Wasi};
use wasmtime::{
    Caller, Config, Extern, FuncType, Global, Linker, Memory, Module, OptLevel, ResourceLimiter, Store, Trap, Val,
    ValType,
};

use crate::written_pages::WrittenPages;

/// Bytes of native stack that guests may use: half as much again as 256 for each word that admission counts, which is what the
/// native frames that take most come near to. (Linux keeps 128 MiB free for the main thread's stack.)
pub const STACK_BYTES: usize = 96 << 20;

const WASI_MODULE: &str = "wasi_snapshot_preview1";

/// Wasmtime, compiling with Cranelift.
#[derive(Clone)]
pub struct Native {
    engine: wasmtime::Engine,
    written: Option<Arc<WrittenPages>>,
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
        Ok(Self { engine: wasmtime::Engine::new(&config)?, written: None })
    }

    /// The same engine; which pages change the kernel tells, instead of a look at all of them.
    #[must_use]
    pub fn told_by(self, written: Option<Arc<WrittenPages>>) -> Self {
        Self { written, ..self }
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
        let written =
            self.written.clone().filter(|written| memory.is_some_and(|memory| watch(written, memory, &store)));
        let changes = written.map_or(Changes::Compared(Vec::new()), Changes::Told);
        Ok(Some(NativeInstance { store, instance, memory, changes }))
    }
}

/// Watches a memory up to where it may grow. Whether that can be done.
fn watch(written: &WrittenPages, memory: Memory, store: &Store<Host>) -> bool {
    let Some(pages) = memory.ty(store).maximum() else { return false };
    let bytes = pages as usize * memory.page_size(store) as usize;
    bytes > 0 && written.watch(memory.data_ptr(store), bytes).is_ok()
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
    changes: Changes,
}

/// How it is known which pages have changed.
enum Changes {
    /// By the kernel.
    Told(Arc<WrittenPages>),
    /// By BLAKE3 of each page at the last look.
    Compared(Vec<[u8; 32]>),
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
        let memory = memory.data(&self.store);
        let (pages, _) = memory.as_chunks::<PAGE_BYTES>();
        let fingerprints = match &mut self.changes {
            Changes::Compared(fingerprints) => fingerprints,
            // All may have changed if the kernel cannot tell.
            Changes::Told(written) => {
                return written.take(memory).unwrap_or_else(|_| (0..pages.len() as u32).collect());
            }
        };
        let zero = *blake3::hash(&[0; PAGE_BYTES]).as_bytes();
        fingerprints.resize(pages.len(), zero);
        let mut changed = Vec::new();
        for (index, (page, known)) in (0..).zip(pages.iter().zip(fingerprints)) {
            let now = *blake3::hash(page).as_bytes();
            if now != *known {
                *known = now;
                changed.push(index);
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use fedmkt_core::admission::{ModuleLimits, admit};
    use fedmkt_core::wasi::{Config, Directories, Files, TreeLimits};

    use super::*;

    /// Writes a few words, copies and fills, and grows now and then, at places that a generator draws.
    const WRITER: &str = r#"(module
      (memory (export "memory") 4 64)
      (global $state (mut i64) (i64.const 88172645463325252))
      (data (i32.const 70000) "data")
      (func $draw (result i32)
        (global.set $state (i64.xor (global.get $state) (i64.shl (global.get $state) (i64.const 13))))
        (global.set $state (i64.xor (global.get $state) (i64.shr_u (global.get $state) (i64.const 7))))
        (global.set $state (i64.xor (global.get $state) (i64.shl (global.get $state) (i64.const 17))))
        (i32.rem_u (i32.wrap_i64 (global.get $state)) (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 9000))))
      (func (export "_initialize"))
      (func (export "fedmkt_init") (result i32) (i32.const 0))
      (func (export "fedmkt_step") (result i32)
        (if (i32.eqz (i32.and (call $draw) (i32.const 7))) (then (drop (memory.grow (i32.const 1)))))
        (i32.store (call $draw) (call $draw))
        (i32.store8 (call $draw) (call $draw))
        (v128.store (call $draw) (i64x2.splat (global.get $state)))
        (memory.fill (call $draw) (call $draw) (i32.const 9000))
        (memory.copy (call $draw) (call $draw) (i32.const 5000))
        (i32.const 0)))"#;

    #[test]
    fn the_kernel_tells_every_page_that_differs() {
        let Some(written) = crate::written_pages::account() else { return };
        let wasm = wat::parse_str(WRITER).expect("text");
        let admitted = admit(&wasm, &ModuleLimits { max_memory_bytes: 64 << 16 }).expect("admitted");
        let compares = Native::new().expect("an engine");
        let told = compares.clone().told_by(Some(Arc::new(written)));
        let start = |engine: &Native| {
            let limits = TreeLimits { inodes: 10, entries: 10, name_bytes: 100 };
            let files = Files::Directories(Directories::new(&["tmp"], 1, limits).expect("a folder"));
            let config = Config { args: Vec::new(), env: Vec::new(), files, open_files: 4, random_seed: [0; 32] };
            let module = engine.compile(&admitted).expect("compiled");
            engine.instantiate(&module, Wasi::new(config)).expect("the host can").expect("an instance")
        };
        let (mut compares, mut told) = (start(&compares), start(&told));
        assert!(matches!(told.changes, Changes::Told(_)));
        let mut superfluous = 0;
        for step in 0..300 {
            let (changed, said) = (compares.changed_pages(), told.changed_pages());
            assert!(changed.iter().all(|page| said.binary_search(page).is_ok()), "{step}: {changed:?} {said:?}");
            superfluous += said.len() - changed.len();
            for instance in [&mut compares, &mut told] {
                assert_eq!(instance.call("fedmkt_step").expect("the host can"), Called::Returned(Some(0)));
            }
        }
        assert!(compares.memory().len() > 20 << 16, "it has grown");
        // A write of what was there is a write, but a rare one here.
        assert!(superfluous < 300, "{superfluous}");
    }
}
