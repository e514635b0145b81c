use fedmkt_core::admission::*;
#[test]
fn probe() {
    for text in [
        r#"(module (func (export "_start") (local externref)))"#,
        r#"(module (table 1 externref) (func (export "_start")))"#,
        r#"(module (table 1 funcref) (func (export "_start") (drop (table.grow 0 (ref.null func) (i32.const 4000000)))))"#,
        r#"(module (func $f (result v128 i32 i32) (v128.const i64x2 0 0) (i32.const 1) (i32.const 2)) (func (export "_start") (call $f) drop drop drop))"#,
        r#"(module (func $f (result v128 i32 i32) unreachable) (func (export "_start") (call $f) drop drop drop))"#,
        r#"(module (global (mut funcref) (ref.null func)) (func (export "_start")))"#,
        r#"(module (memory 1 1) (memory 1 1) (func (export "_start")))"#,
        r#"(module (func $g) (elem declare func $g) (func (export "_start") (local funcref) (local.set 0 (ref.func $g)) (call $g)))"#,
        r#"(module (global i32 (i32.const 1)) (global i32 (global.get 0)) (func (export "_start")))"#,
    ] {
        let wasm = wat::parse_str(text).unwrap();
        match admit(&wasm, &ModuleLimits { max_memory_bytes: 1 << 20 }) {
            Ok(a) => {
                println!("{text}\n  ok: {:02x?} globals {:?}", a.wasm, a.globals);
            }
            Err(e) => println!("{text}\n  {e}"),
        }
    }
}
