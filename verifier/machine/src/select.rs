//! Keeps wasmi 2.0.0 from miscompiling `select`.
//!
//! wasmi fuses `select` with a comparison to zero that yields its condition. Where the compared operand is a local, the
//! fused instruction tests a register that holds something else, so that
//! `(select (i32.const 10) (i32.const 20) (i32.eqz (local.get 0)))` gives the wrong value. The fusion happens only if the
//! comparison is the last instruction before `select` that wasmi emits code for. So another one is put between them that
//! leaves the condition's truth as it is: `i32.const 0`, `i32.gt_u`.

use alloc::vec::Vec;

use wasm_encoder::{CodeSection, Module, RawSection};
use wasmparser::{BinaryReaderError, FunctionBody, Operator, Parser, Payload};

/// `i32.const 0`, `i32.gt_u`.
const IS_NOT_ZERO: [u8; 3] = [0x41, 0x00, 0x4b];

/// The same module, with what keeps comparisons and `select` apart.
///
/// # Errors
/// When the bytes are not a module.
pub fn shielded(wasm: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    let mut module = Module::new();
    let mut code = CodeSection::new();
    let mut bodies = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        match &payload {
            Payload::CodeSectionStart { count, .. } => bodies = *count,
            Payload::CodeSectionEntry(body) => {
                code.raw(&shielded_body(wasm, body)?);
                if code.len() == bodies {
                    module.section(&code);
                }
            }
            _ => {
                if let Some((id, range)) = payload.as_section() {
                    module.section(&RawSection { id, data: &wasm[range] });
                }
            }
        }
    }
    Ok(module.finish())
}

fn shielded_body(wasm: &[u8], body: &FunctionBody<'_>) -> Result<Vec<u8>, BinaryReaderError> {
    let mut out = Vec::new();
    let mut copied = body.range().start;
    let mut compared = false;
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset()?;
        if compared && matches!(operator, Operator::Select | Operator::TypedSelect { .. }) {
            out.extend_from_slice(&wasm[copied..offset]);
            out.extend_from_slice(&IS_NOT_ZERO);
            copied = offset;
        }
        compared = match operator {
            Operator::I32Eqz | Operator::I32Eq | Operator::I32Ne => true,
            // wasmi emits nothing for these, or only later.
            Operator::Nop
            | Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::End
            | Operator::Drop
            | Operator::LocalGet { .. }
            | Operator::I32Const { .. }
            | Operator::I64Const { .. }
            | Operator::F32Const { .. }
            | Operator::F64Const { .. }
            | Operator::V128Const { .. }
            | Operator::RefNull { .. } => compared,
            _ => false,
        };
    }
    out.extend_from_slice(&wasm[copied..body.range().end]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;

    use super::*;

    fn call(wasm: &[u8], argument: i32) -> i32 {
        let engine = wasmi::Engine::default();
        let module = wasmi::Module::new(&engine, wasm).expect("a module");
        let mut store = wasmi::Store::new(&engine, ());
        let instance = wasmi::Linker::new(&engine).instantiate_and_start(&mut store, &module).expect("an instance");
        let function = instance.get_typed_func::<i32, i32>(&store, "f").expect("a function");
        function.call(&mut store, argument).expect("a value")
    }

    fn module(condition: &str) -> Vec<u8> {
        let text = format!(
            r#"(module (func (export "f") (param i32) (result i32) (local i32 i32)
                (local.set 1 (i32.add (local.get 2) (i32.const 3)))
                i32.const 10 i32.const 20 {condition} select))"#
        );
        wat::parse_str(text).expect("wasm text")
    }

    #[test]
    fn select_after_a_comparison_with_zero_gives_the_right_value() {
        let cases: [(&str, i32); 6] = [
            ("local.get 0 i32.eqz", 20),
            ("local.get 0 i32.const 0 i32.eq", 20),
            ("i32.const 0 local.get 0 i32.eq", 20),
            ("local.get 0 i32.const 0 i32.ne", 10),
            ("local.get 0 i32.const 0 i32.ne nop local.get 2 drop", 10),
            ("local.get 0 i32.eqz i32.eqz", 10),
        ];
        for (condition, for_seven) in cases {
            let wasm = shielded(&module(condition)).expect("a module");
            wasmparser::validate(&wasm).expect("valid");
            assert_eq!(call(&wasm, 7), for_seven, "{condition}");
            assert_eq!(call(&wasm, 0), 30 - for_seven, "{condition}");
        }
    }

    #[test]
    fn wasmi_is_still_wrong_without_it() {
        assert_eq!(call(&module("local.get 0 i32.eqz"), 0), 20, "wasmi was mended: this module can go");
    }

    #[test]
    fn other_selects_and_sections_stay_as_they_are() {
        let more: String = (0..200).map(|index| format!("(func (result i32) i32.const {index})")).collect();
        let text = format!(
            r#"(module (type (func)) (memory 1) (table 1 funcref) (global i32 (i32.const 1)) {more}
                (func (param i32) (result i32) i32.const 1 i32.const 2 local.get 0 i32.const 3 i32.lt_s select)
                (func (param i32) (result i32) i32.const 1 i32.const 2 local.get 0 select)
                (elem (i32.const 0) 0) (data (i32.const 0) "abc"))"#
        );
        let wasm = wat::parse_str(text).expect("wasm text");
        assert_eq!(shielded(&wasm).expect("a module"), wasm);
        for end in 8..wasm.len() {
            let _ = shielded(&wasm[..end]);
        }
    }
}
