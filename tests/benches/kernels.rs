//! What determinism costs the kernels of the guest SDK: the same module as it is, admitted, and with Wasmtime's own
//! canonical NaNs, turn by turn, ten times each; medians of multiply-adds (millions for each second of CPU time).
//!
//! ```text
//! cargo bench -p fedmkt-guest --bench kernels --target wasm32-wasip1 --no-run
//! FEDMKT_KERNELS=target/wasm32-wasip1/release/deps/kernels-HASH.wasm cargo bench -p fedmkt-tests --bench kernels
//! ```
//!
//! Without `FEDMKT_KERNELS` it does nothing. Any command that prints lines `NAME: NUMBER` will do.

use fedmkt_core::admission::{self, ModuleLimits};
use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Caller, Config, Engine, Extern, FuncType, Linker, Module, Result, Store, Val};

const ROUNDS: usize = 10;

/// What the guest has printed.
#[derive(Default)]
struct Host {
    printed: Vec<u8>,
}

fn main() {
    let Some(path) = std::env::var_os("FEDMKT_KERNELS") else {
        println!("FEDMKT_KERNELS names no module: nothing is measured");
        return;
    };
    let wasm = std::fs::read(path).expect("the module of FEDMKT_KERNELS");
    let limits = ModuleLimits { max_memory_bytes: 1 << 30 };
    let admitted = admission::admit(&wasm, &limits).expect("a module of the profile").wasm;
    println!("{} bytes, admitted {}", wasm.len(), admitted.len());
    let forms = [
        ("as it is", prepare(&wasm, false)),
        ("admitted", prepare(&admitted, false)),
        ("admitted, canonical NaNs of the engine", prepare(&admitted, true)),
        ("as it is, canonical NaNs of the engine", prepare(&wasm, true)),
    ];
    let mut found: Vec<Vec<Vec<(String, f64)>>> = vec![Vec::new(); forms.len()];
    for _ in 0..ROUNDS {
        for (found, (_, (engine, module))) in found.iter_mut().zip(&forms) {
            found.push(run(engine, module));
        }
    }
    for line in 0..found[0][0].len() {
        println!("{}", found[0][0][line].0);
        let medians: Vec<f64> = found
            .iter()
            .map(|rounds| {
                let mut rates: Vec<f64> = rounds.iter().map(|round| round[line].1).collect();
                rates.sort_by(f64::total_cmp);
                (rates[ROUNDS / 2 - 1] + rates[ROUNDS / 2]) / 2.0
            })
            .collect();
        for ((form, _), median) in forms.iter().zip(&medians) {
            println!("   {form}: {median:.0} ({:.3})", median / medians[0]);
        }
    }
}

fn prepare(wasm: &[u8], canonical: bool) -> (Engine, Module) {
    let mut config = Config::new();
    config.cranelift_nan_canonicalization(canonical);
    let engine = Engine::new(&config).expect("Wasmtime works here");
    let module = Module::new(&engine, wasm).expect("a valid module");
    (engine, module)
}

/// What the module prints: names and numbers.
fn run(engine: &Engine, module: &Module) -> Vec<(String, f64)> {
    let mut linker = Linker::<Host>::new(engine);
    for import in module.imports() {
        let ty = import.ty().unwrap_func().clone();
        let name = import.name().to_owned();
        define(&mut linker, import.module(), &name, ty).expect("each function is imported once");
    }
    let mut store = Store::new(engine, Host::default());
    let instance = linker.instantiate(&mut store, module).expect("all imports are there");
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start").expect("a command");
    start.call(&mut store, ()).expect("it returns");
    let printed = String::from_utf8(store.into_data().printed).expect("text");
    printed
        .lines()
        .map(|line| {
            let (name, number) = line.rsplit_once(": ").expect("NAME: NUMBER");
            (name.to_owned(), number.parse().expect("a number"))
        })
        .collect()
}

/// A clock that counts CPU time, standard output, and otherwise nothing that succeeds with zeros.
fn define(linker: &mut Linker<Host>, module: &str, name: &str, ty: FuncType) -> Result<()> {
    let called = name.to_owned();
    linker.func_new(module, name, ty, move |mut caller, arguments, results| {
        let number = |index: usize| arguments[index].unwrap_i32() as u32 as usize;
        let errno = match called.as_str() {
            "clock_time_get" => {
                let now = clock_gettime(ClockId::ThreadCPUTime);
                write(&mut caller, number(2), &(now.tv_sec * 1_000_000_000 + now.tv_nsec).to_le_bytes())
            }
            "fd_write" => print(&mut caller, number(1), number(2), number(3)),
            "environ_sizes_get" | "args_sizes_get" => {
                write(&mut caller, number(0), &[0; 4]);
                write(&mut caller, number(1), &[0; 4])
            }
            // Bad file descriptor: nothing is open.
            "fd_prestat_get" => 8,
            "proc_exit" => panic!("the module ended itself"),
            _ => 0,
        };
        if let Some(result) = results.first_mut() {
            *result = Val::I32(errno);
        }
        Ok(())
    })?;
    Ok(())
}

fn write(caller: &mut Caller<'_, Host>, at: usize, bytes: &[u8]) -> i32 {
    let memory = caller.get_export("memory").and_then(Extern::into_memory).expect("memory");
    memory.write(caller, at, bytes).expect("an address in memory");
    0
}

fn print(caller: &mut Caller<'_, Host>, list: usize, count: usize, written: usize) -> i32 {
    let memory = caller.get_export("memory").and_then(Extern::into_memory).expect("memory");
    let (bytes, host) = memory.data_and_store_mut(&mut *caller);
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
    let mut total = 0;
    for part in 0..count {
        let (at, length) = (word(list + 8 * part), word(list + 8 * part + 4));
        host.printed.extend_from_slice(&bytes[at..at + length]);
        total += length as u32;
    }
    write(caller, written, &total.to_le_bytes())
}
