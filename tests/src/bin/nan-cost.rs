//! What determinism costs: the same code as it is, admitted, and with Wasmtime's own canonical NaNs, turn by turn, ten times
//! each, by CPU time. Medians, and in brackets the speed against the first.
//!
//! ```text
//! cargo run --release -p fedmkt-tests --bin nan-cost -- [--kernels MODULE] [MODULE ...]
//! ```
//!
//! It measures loops of its own; the kernels of the guest SDK, which
//! `cargo bench -p fedmkt-guest --bench kernels --target wasm32-wasip1 --no-run` builds (any command that prints lines
//! `NAME: NUMBER` will do); and how fast other modules are admitted and how much they grow.

use fedmkt_core::admission::{self, ModuleLimits};
use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Caller, Config, Engine, Extern, FuncType, Instance, Linker, Module, Result, Store, TypedFunc, Val};

const ROUNDS: usize = 10;

const LIMITS: ModuleLimits = ModuleLimits { max_memory_bytes: 1 << 30 };

/// Forms of a module: whether it is admitted, and whether the engine makes NaNs canonical.
const FORMS: [(&str, bool, bool); 4] = [
    ("as it is", false, false),
    ("admitted", true, false),
    ("as it is, canonical NaNs of the engine", false, true),
    ("admitted, canonical NaNs of the engine", true, true),
];

fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    measure_loops();
    if arguments.next_if_eq("--kernels").is_some() {
        measure_kernels(&arguments.next().expect("--kernels MODULE"));
    }
    for path in arguments {
        measure_admission(&path);
    }
}

/// Nanoseconds of CPU time of this thread.
fn now() -> i64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    (of[(of.len() - 1) / 2] + of[of.len() / 2]) / 2.0
}

fn prepare(wasm: &[u8], admit: bool, canonical: bool) -> (Engine, Module) {
    let mut config = Config::new();
    config.cranelift_nan_canonicalization(canonical);
    let engine = Engine::new(&config).expect("Wasmtime works here");
    let admitted;
    let wasm = if admit {
        admitted = admission::admit(wasm, &LIMITS).expect("a module of the profile").wasm;
        &admitted
    } else {
        wasm
    };
    let module = Module::new(&engine, wasm).expect("a valid module");
    (engine, module)
}

fn measure_admission(path: &str) {
    let wasm = std::fs::read(path).expect("a module");
    let mut bytes = 0;
    let seconds = (0..ROUNDS)
        .map(|_| {
            let begin = now();
            bytes = admission::admit(&wasm, &LIMITS).expect("a module of the profile").wasm.len();
            (now() - begin) as f64 / 1e9
        })
        .collect();
    let growth = (bytes as f64 / wasm.len() as f64 - 1.0) * 100.0;
    let rate = wasm.len() as f64 / 1e6 / median(seconds);
    println!("{path}: {} bytes, admitted {growth:+.1} %, {rate:.1} MB/s", wasm.len());
}

/// Floats per operand: 64 KiB each, so that both operands stay in the caches.
const BYTES: u32 = 1 << 16;

/// Eight accumulators in locals, as in a product of matrices.
const ACCUMULATORS: &str = "accumulators";
/// `y += a * x`: a store for each multiplication and addition.
const STORES: &str = "stores";
/// The same with scalars.
const SCALAR_STORES: &str = "scalar stores";
/// A call of a small function for each value.
const CALLS: &str = "calls";

const LOOPS: [&str; 4] = [ACCUMULATORS, STORES, SCALAR_STORES, CALLS];

fn text(name: &str) -> String {
    let (locals, body, step) = match name {
        ACCUMULATORS => {
            let body: String = (0..8)
                .map(|sum| {
                    let offset = 16 * sum;
                    format!(
                        "(local.set {} (f32x4.add (local.get {0}) (f32x4.mul (v128.load offset={offset} (local.get 0))
                            (v128.load offset={} (local.get 0)))))",
                        sum + 1,
                        offset + BYTES
                    )
                })
                .collect();
            ("v128 ".repeat(8), body, 128)
        }
        STORES => {
            let body: String = (0..4)
                .map(|part| {
                    let (x, y) = (16 * part, 16 * part + BYTES);
                    format!(
                        "(v128.store offset={y} (local.get 0) (f32x4.add (v128.load offset={y} (local.get 0))
                            (f32x4.mul (v128.const f32x4 0.5 0.5 0.5 0.5) (v128.load offset={x} (local.get 0)))))"
                    )
                })
                .collect();
            (String::new(), body, 64)
        }
        SCALAR_STORES => {
            let body: String = (0..4)
                .map(|part| {
                    let (x, y) = (4 * part, 4 * part + BYTES);
                    format!(
                        "(f32.store offset={y} (local.get 0) (f32.add (f32.load offset={y} (local.get 0))
                            (f32.mul (f32.const 0.5) (f32.load offset={x} (local.get 0)))))"
                    )
                })
                .collect();
            (String::new(), body, 16)
        }
        _ => (
            String::new(),
            format!(
                "(f32.store offset={BYTES} (local.get 0) (call $f (f32.mul (f32.const 0.5) (f32.load (local.get 0)))))"
            ),
            4,
        ),
    };
    let sums: String = if name == ACCUMULATORS {
        (1..9)
            .map(|sum| format!("(v128.store offset={} (i32.const 0) (local.get {sum}))", 2 * BYTES + 16 * sum))
            .collect()
    } else {
        String::new()
    };
    format!(
        r#"(module (memory (export "memory") 4)
            (func $f (param f32) (result f32)
                (f32.div (local.get 0) (f32.add (f32.const 1) (f32.mul (local.get 0) (local.get 0)))))
            (func (export "_start") (local i32 {locals})
                (loop {body} (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const {step}))) (i32.const {BYTES}))))
                {sums}))"#
    )
}

fn ready(name: &str, admit: bool, canonical: bool) -> (Store<()>, TypedFunc<(), ()>) {
    let wasm = wat::parse_str(text(name)).expect("text of a module");
    let (engine, module) = prepare(&wasm, admit, canonical);
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).expect("a module without imports");
    let memory = instance.get_memory(&mut store, "memory").expect("memory");
    for (index, float) in memory.data_mut(&mut store)[..2 * BYTES as usize].chunks_exact_mut(4).enumerate() {
        float.copy_from_slice(&((index % 17) as f32 / 64.0 - 0.125).to_le_bytes());
    }
    let start = instance.get_typed_func(&mut store, "_start").expect("a command");
    (store, start)
}

fn measure_loops() {
    const CALLS_PER_ROUND: u32 = 300;
    for name in LOOPS {
        let mut ready = FORMS.map(|(_, admit, canonical)| ready(name, admit, canonical));
        let mut rates = FORMS.map(|_| Vec::new());
        for _ in 0..ROUNDS {
            for ((store, start), rates) in ready.iter_mut().zip(&mut rates) {
                let begin = now();
                for _ in 0..CALLS_PER_ROUND {
                    start.call(&mut *store, ()).expect("it returns");
                }
                rates.push(f64::from(CALLS_PER_ROUND * BYTES / 4) * 1e3 / (now() - begin) as f64);
            }
        }
        report(&format!("{name}, million values a second"), rates.map(median));
    }
}

fn report(what: &str, medians: [f64; FORMS.len()]) {
    println!("{what}");
    for ((form, ..), median) in FORMS.iter().zip(&medians) {
        println!("   {form}: {median:.0} ({:.2})", median / medians[0]);
    }
}

/// What the guest has printed.
#[derive(Default)]
struct Host {
    printed: Vec<u8>,
}

fn measure_kernels(path: &str) {
    let wasm = std::fs::read(path).expect("the module of the kernels");
    let modules = FORMS.map(|(_, admit, canonical)| prepare(&wasm, admit, canonical));
    let mut found = FORMS.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (found, (engine, module)) in found.iter_mut().zip(&modules) {
            found.push(run(engine, module));
        }
    }
    for line in 0..found[0][0].len() {
        let medians = std::array::from_fn(|form| median(found[form].iter().map(|round| round[line].1).collect()));
        report(&found[0][0][line].0, medians);
    }
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
            "clock_time_get" => write(&mut caller, number(2), &now().to_le_bytes()),
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
