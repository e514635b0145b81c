//! What determinism costs: loops as trainers have them, as they are and admitted, with and without Wasmtime's own
//! canonical NaNs.
//!
//! Read the medians of one run as ratios: `cargo bench -p fedmkt-tests --bench determinism`.

use divan::Bencher;
use fedmkt_core::admission::{self, ModuleLimits};
use wasmtime::{Config, Engine, Instance, Module, Store, TypedFunc};

fn main() {
    divan::main();
}

/// Floats per operand: 64 KiB each, so that both operands stay in the caches.
const BYTES: u32 = 1 << 16;

/// Eight accumulators in locals, as in a product of matrices.
const ACCUMULATORS: &str = "accumulators";
/// `y += a * x`: a store for each multiplication and addition.
const STORES: &str = "stores";
/// The same with scalars.
const SCALAR_STORES: &str = "scalar stores";
/// A polynomial and a division by `1 + exp(-x)`'s kind of expression, with a call for each value.
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

fn ready(name: &str, canonical: bool, admit: bool) -> (Store<()>, TypedFunc<(), ()>) {
    let mut wasm = wat::parse_str(text(name)).expect("text of a module");
    if admit {
        let limits = ModuleLimits { max_memory_bytes: 1 << 20 };
        wasm = admission::admit(&wasm, &limits).expect("it is admitted").wasm;
    }
    let mut config = Config::new();
    config.cranelift_nan_canonicalization(canonical);
    let engine = Engine::new(&config).expect("Wasmtime works here");
    let module = Module::new(&engine, wasm).expect("a valid module");
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).expect("a module without imports");
    let memory = instance.get_memory(&mut store, "memory").expect("memory");
    for (index, float) in memory.data_mut(&mut store)[..2 * BYTES as usize].chunks_exact_mut(4).enumerate() {
        float.copy_from_slice(&((index % 17) as f32 / 64.0 - 0.125).to_le_bytes());
    }
    let start = instance.get_typed_func(&mut store, "_start").expect("a command");
    (store, start)
}

fn bench(bencher: Bencher<'_, '_>, name: &str, canonical: bool, admit: bool) {
    let (mut store, start) = ready(name, canonical, admit);
    bencher.bench_local(|| {
        for _ in 0..20 {
            start.call(&mut store, ()).expect("it returns");
        }
    });
}

#[divan::bench(args = LOOPS, sample_count = 200)]
fn as_it_is(bencher: Bencher<'_, '_>, name: &str) {
    bench(bencher, name, false, false);
}

#[divan::bench(args = LOOPS, sample_count = 200)]
fn admitted(bencher: Bencher<'_, '_>, name: &str) {
    bench(bencher, name, false, true);
}

#[divan::bench(args = LOOPS, sample_count = 200)]
fn canonical_nans_of_the_engine(bencher: Bencher<'_, '_>, name: &str) {
    bench(bencher, name, true, true);
}
