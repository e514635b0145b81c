//! An engine that gives the worst NaNs it may.
//!
//! WebAssembly lets arithmetic give any NaN whose payload has its highest bit set, of either sign, a different one each
//! time. No engine does. So modules are rewritten: after each such operator, each NaN becomes one that is chosen at
//! random. What reads bits of a NaN that arithmetic made then reads something else than in any real engine.

use wasm_encoder::{CodeSection, Function, Ieee32, Ieee64, Instruction, Module, RawSection, ValType};
use wasmparser::{FunctionBody, Operator, Parser, Payload};

use super::Numbers;

/// Which NaNs a result may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Result {
    F32,
    F64,
    F32x4,
    F64x2,
}

/// The result of an operator that WebAssembly lets choose its NaNs. The list is the specification's (`nans_N`), and
/// knows nothing of admission.
fn chosen(operator: &Operator<'_>) -> Option<Result> {
    use Operator::*;
    match operator {
        F32Add | F32Sub | F32Mul | F32Div | F32Sqrt | F32Min | F32Max | F32Ceil | F32Floor | F32Trunc | F32Nearest
        | F32DemoteF64 => Some(Result::F32),
        F64Add | F64Sub | F64Mul | F64Div | F64Sqrt | F64Min | F64Max | F64Ceil | F64Floor | F64Trunc | F64Nearest
        | F64PromoteF32 => Some(Result::F64),
        F32x4Add | F32x4Sub | F32x4Mul | F32x4Div | F32x4Sqrt | F32x4Min | F32x4Max | F32x4Ceil | F32x4Floor
        | F32x4Trunc | F32x4Nearest | F32x4DemoteF64x2Zero => Some(Result::F32x4),
        F64x2Add | F64x2Sub | F64x2Mul | F64x2Div | F64x2Sqrt | F64x2Min | F64x2Max | F64x2Ceil | F64x2Floor
        | F64x2Trunc | F64x2Nearest | F64x2PromoteLowF32x4 => Some(Result::F64x2),
        _ => None,
    }
}

/// The module with other NaNs. It must be valid and have no imports.
pub(super) fn hostile(wasm: &[u8], seed: u64) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    let mut module = Module::new();
    let mut code = CodeSection::new();
    let (mut types, mut functions, mut bodies) = (Vec::new(), Vec::new(), 0);
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.expect(VALID);
        match &payload {
            Payload::CodeSectionStart { count, .. } => bodies = *count,
            Payload::CodeSectionEntry(body) => {
                let ty: u32 = functions[code.len() as usize];
                code.function(&hostile_body(wasm, body, types[ty as usize], &mut numbers));
                if code.len() == bodies {
                    module.section(&code);
                }
            }
            _ => {
                match &payload {
                    Payload::TypeSection(section) => {
                        let all = section.clone().into_iter_err_on_gc_types();
                        types = all.map(|ty| ty.expect(VALID).params().len() as u32).collect();
                    }
                    Payload::FunctionSection(section) => {
                        functions = section.clone().into_iter().map(|ty| ty.expect(VALID)).collect();
                    }
                    _ => {}
                }
                if let Some((id, range)) = payload.as_section() {
                    module.section(&RawSection { id, data: &wasm[range] });
                }
            }
        }
    }
    module.finish()
}

const VALID: &str = "a valid module";

fn hostile_body(wasm: &[u8], body: &FunctionBody<'_>, params: u32, numbers: &mut Numbers<'_>) -> Function {
    let mut groups = Vec::new();
    for group in body.get_locals_reader().expect(VALID) {
        let (count, ty) = group.expect(VALID);
        groups.push((count, ValType::try_from(ty).expect("a type of the profile")));
    }
    let first = params + groups.iter().map(|(count, _)| count).sum::<u32>();
    groups.extend([(1, ValType::F32), (1, ValType::F64), (1, ValType::V128)]);
    let mut out = Function::new(groups);
    let mut operators = body.get_operators_reader().expect(VALID);
    let mut copied = operators.original_position();
    while !operators.eof() {
        let operator = operators.read().expect(VALID);
        let Some(result) = chosen(&operator) else { continue };
        let end = operators.original_position();
        out.raw(wasm[copied..end].iter().copied());
        copied = end;
        let (local, nans, equal, choose) = match result {
            Result::F32 => (
                first,
                Instruction::F32Const(Ieee32::new(any_f32_nan(numbers))),
                Instruction::F32Eq,
                Instruction::Select,
            ),
            Result::F64 => (
                first + 1,
                Instruction::F64Const(Ieee64::new(any_f64_nan(numbers))),
                Instruction::F64Eq,
                Instruction::Select,
            ),
            Result::F32x4 => {
                let nans = (0..4).fold(0, |bits, _| bits << 32 | u128::from(any_f32_nan(numbers)));
                (first + 2, Instruction::V128Const(nans as i128), Instruction::F32x4Eq, Instruction::V128Bitselect)
            }
            Result::F64x2 => {
                let nans = (0..2).fold(0, |bits, _| bits << 64 | u128::from(any_f64_nan(numbers)));
                (first + 2, Instruction::V128Const(nans as i128), Instruction::F64x2Eq, Instruction::V128Bitselect)
            }
        };
        out.instruction(&Instruction::LocalTee(local))
            .instruction(&nans)
            .instruction(&Instruction::LocalGet(local))
            .instruction(&Instruction::LocalGet(local))
            .instruction(&equal)
            .instruction(&choose);
    }
    out.raw(wasm[copied..body.range().end].iter().copied());
    out
}

fn any_f32_nan(numbers: &mut Numbers<'_>) -> u32 {
    0x7fc0_0000 | numbers.next() as u32
}

fn any_f64_nan(numbers: &mut Numbers<'_>) -> u64 {
    0x7ff8_0000_0000_0000 | numbers.next()
}
