//! How fast modules are admitted, and how much they grow.
//!
//! `FEDMKT_MODULES=FILE:FILE cargo bench -p fedmkt-core --bench admission` takes modules of compilers as well.

use divan::Bencher;
use divan::counter::BytesCount;
use fedmkt_core::admission::{self, ModuleLimits};

const LIMITS: ModuleLimits = ModuleLimits { max_memory_bytes: 1 << 30 };

fn main() {
    for (name, wasm) in modules() {
        let admitted = admission::admit(&wasm, &LIMITS).expect("a module of the profile").wasm.len();
        println!("{name}: {} bytes, admitted {admitted}", wasm.len());
    }
    divan::main();
}

fn modules() -> Vec<(String, Vec<u8>)> {
    let paths = std::env::var("FEDMKT_MODULES").unwrap_or_default();
    let files = paths.split(':').filter(|path| !path.is_empty());
    let mut modules: Vec<_> =
        files.map(|path| (path.to_owned(), std::fs::read(path).expect("a file of FEDMKT_MODULES"))).collect();
    modules.push(("integers".into(), made("(local.set 0 (i32.add (local.get 0) (i32.load (local.get 1))))")));
    modules.push((
        "floats".into(),
        made("(f32.store (local.get 0) (f32.mul (f32.load (local.get 1)) (f32.add (f32.load (local.get 0)) (f32.const 1))))"),
    ));
    modules
}

/// Functions of many loops with this in them.
fn made(statement: &str) -> Vec<u8> {
    let inside = statement.repeat(10);
    let body = format!("(loop {inside} (br_if 0 (local.get 0)))").repeat(100);
    let functions = format!("(func (param i32 i32) {body})").repeat(50);
    wat::parse_str(format!(r#"(module (memory (export "memory") 1) (func (export "_start")) {functions})"#))
        .expect("text of a module")
}

#[divan::bench(args = modules().into_iter().map(|(name, _)| name).collect::<Vec<_>>())]
fn admit(bencher: Bencher<'_, '_>, name: &str) {
    let (_, wasm) = modules().into_iter().find(|(known, _)| known == name).expect("it was listed");
    bencher.counter(BytesCount::new(wasm.len())).bench(|| admission::admit(&wasm, &LIMITS).expect("it was admitted"));
}
