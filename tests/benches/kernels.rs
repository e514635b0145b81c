//! What determinism costs the kernels of the guest SDK: the same module as it is, admitted, and with Wasmtime's own
//! canonical NaNs, and the same work in NumPy and PyTorch, turn by turn, thirty times each; medians and the best of
//! multiply-adds (millions for each second of CPU time). Turns are short, because other guests of a shared processor come
//! and go.
//!
//! ```text
//! cargo bench -p fedmkt-guest --bench kernels --target wasm32-wasip1 --no-run
//! FEDMKT_KERNELS=target/wasm32-wasip1/release/deps/kernels-HASH.wasm cargo bench -p fedmkt-tests --bench kernels
//! ```
//!
//! Without `FEDMKT_KERNELS` it does nothing. Any command that prints lines `NAME: NUMBER` will do. With
//! `FEDMKT_PYTHON=PROGRAM`, a Python that has NumPy, and perhaps PyTorch, these have their turns too.

use std::path::Path;
use std::process::Command;

use fedmkt_core::admission::{self, ModuleLimits};
use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Caller, Config, Engine, Extern, FuncType, Linker, Module, Result, Store, Val};

const ROUNDS: usize = 30;

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
    let mut forms = vec![
        ("as it is", prepare(&wasm, false)),
        ("admitted", prepare(&admitted, false)),
        ("admitted, canonical NaNs of the engine", prepare(&admitted, true)),
        ("as it is, canonical NaNs of the engine", prepare(&wasm, true)),
    ];
    let python = std::env::var("FEDMKT_PYTHON").ok();
    for library in ["numpy", "torch"] {
        if let Some(program) = &python
            && Command::new(program).args(["-c", &format!("import {library}")]).status().is_ok_and(|it| it.success())
        {
            forms.push((library, Form::Python { program: program.clone(), library }));
        }
    }
    let mut found: Vec<Vec<Rates>> = vec![Vec::new(); forms.len()];
    let mut order: Vec<usize> = (0..forms.len()).collect();
    for _ in 0..ROUNDS {
        for &index in &order {
            found[index].push(match &forms[index].1 {
                Form::Module(engine, module) => run(engine, module),
                Form::Python { program, library } => run_python(program, library),
            });
        }
        // To and fro: no form always has the same one before it, which may leave the processor slower.
        order.reverse();
    }
    for (name, _) in &found[0][0] {
        println!("{name}");
        let mut of_module: Option<[f64; 2]> = None;
        for ((form, _), rounds) in forms.iter().zip(&found) {
            let mut rates: Vec<f64> =
                rounds.iter().flatten().filter(|(other, _)| other == name).map(|&(_, rate)| rate).collect();
            if rates.len() == ROUNDS {
                rates.sort_by(f64::total_cmp);
                let median = (rates[ROUNDS / 2 - 1] + rates[ROUNDS / 2]) / 2.0;
                let best = rates[ROUNDS - 1];
                let [median_of_module, best_of_module] = *of_module.get_or_insert([median, best]);
                println!(
                    "   {form}: {median:.0} ({:.3}), best {best:.0} ({:.3})",
                    median / median_of_module,
                    best / best_of_module
                );
            }
        }
    }
}

/// Names of what was measured, and millions of multiply-adds a second.
type Rates = Vec<(String, f64)>;

/// In what form the work is done.
enum Form {
    Module(Engine, Module),
    Python { program: String, library: &'static str },
}

fn prepare(wasm: &[u8], canonical: bool) -> Form {
    let mut config = Config::new();
    config.cranelift_nan_canonicalization(canonical);
    let engine = Engine::new(&config).expect("Wasmtime works here");
    let module = Module::new(&engine, wasm).expect("a valid module");
    Form::Module(engine, module)
}

fn run_python(program: &str, library: &str) -> Rates {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-sdk/benches/reference.py");
    let output =
        Command::new(program).arg(script).arg(library).env("OMP_NUM_THREADS", "1").output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    rates(output.stdout)
}

/// What was printed: names and numbers.
fn rates(printed: Vec<u8>) -> Rates {
    let printed = String::from_utf8(printed).expect("text");
    let rate = |line: &str| {
        let (name, number) = line.rsplit_once(": ").expect("NAME: NUMBER");
        (name.to_owned(), number.parse().expect("a number"))
    };
    printed.lines().map(rate).collect()
}

fn run(engine: &Engine, module: &Module) -> Rates {
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
    rates(store.into_data().printed)
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
