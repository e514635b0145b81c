//! Keeps faults of wasmi 2.0.0 away from guests, by giving it a module that means the same and does not meet them.
//!
//! **`select`.** wasmi fuses `select` with a comparison to zero that yields its condition. Where the compared operand is a
//! local, the fused instruction tests a register that holds something else, so that
//! `(select (i32.const 10) (i32.const 20) (i32.eqz (local.get 0)))` gives the wrong value. It happens when the comparison
//! is the last instruction that wasmi emitted, and many instructions emit nothing. So unless `select` directly follows an
//! instruction that is known to be harmless, `i32.const 0`, `i32.gt_u` is put before it: the condition stays as true as it
//! was.
//!
//! **Values on branches.** Where a block has parameters, wasmi does not always save the locals that lie on the stack below
//! them, and for some blocks its own (debug) assertions fail. So no block that wasmi sees has parameters or results, and
//! no branch carries values: they pass through locals that are added to the function. Compilers hardly use such blocks,
//! so this costs next to nothing.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use fedmkt_core::admission::operator::Current;
use wasm_encoder::{CodeSection, Encode, Function, Instruction, Module, RawSection};
use wasmparser::{BinaryReaderError, BlockType, FuncType, FunctionBody, Operator, Parser, Payload, ValType};

/// The bytes are not a module that admission let through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotAdmitted(String);

impl fmt::Display for NotAdmitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this is not an admitted module: {}", self.0)
    }
}

impl core::error::Error for NotAdmitted {}

impl From<BinaryReaderError> for NotAdmitted {
    fn from(error: BinaryReaderError) -> Self {
        Self(error.to_string())
    }
}

/// The same module, in a form that wasmi translates correctly.
///
/// # Errors
/// When the bytes are not a module of the profile. Only what is needed here is checked.
pub fn shielded(wasm: &[u8]) -> Result<Vec<u8>, NotAdmitted> {
    let mut module = Module::new();
    let mut code = CodeSection::new();
    let mut bodies = 0;
    let mut types: Vec<FuncType> = Vec::new();
    let mut functions: Vec<u32> = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        match &payload {
            Payload::TypeSection(section) => {
                types = section.clone().into_iter_err_on_gc_types().collect::<Result<_, _>>()?;
            }
            Payload::FunctionSection(section) => functions = section.clone().into_iter().collect::<Result<_, _>>()?,
            Payload::CodeSectionStart { count, .. } => {
                bodies = *count;
                if bodies == 0 {
                    module.section(&code);
                }
                continue;
            }
            Payload::CodeSectionEntry(body) => {
                let ty = functions.get(code.len() as usize).and_then(|&ty| types.get(ty as usize));
                let ty = ty.ok_or_else(|| malformed("a body without a type", body.range().start))?;
                code.function(&Body::shielded(wasm, body, &types, ty)?);
                if code.len() == bodies {
                    module.section(&code);
                }
                continue;
            }
            _ => {}
        }
        if let Some((id, range)) = payload.as_section() {
            module.section(&RawSection { id, data: &wasm[range] });
        }
    }
    Ok(module.finish())
}

fn malformed(what: &str, offset: usize) -> NotAdmitted {
    NotAdmitted(alloc::format!("{what} at offset {offset:#x}"))
}

fn encoded(ty: ValType, offset: usize) -> Result<wasm_encoder::ValType, NotAdmitted> {
    wasm_encoder::ValType::try_from(ty).map_err(|_| malformed("a type of another profile", offset))
}

/// Tells types apart.
fn key(ty: ValType) -> u8 {
    match ty {
        ValType::I32 => 0,
        ValType::I64 => 1,
        ValType::F32 => 2,
        ValType::F64 => 3,
        ValType::V128 => 4,
        ValType::Ref(ty) if ty == wasmparser::RefType::FUNCREF => 5,
        ValType::Ref(_) => 6,
    }
}

/// Whether `select` may directly follow: it gets a condition that wasmi does not fuse with it wrongly.
fn is_harmless(operator: &Operator<'_>) -> bool {
    use Operator::*;
    matches!(
        operator,
        I32LtS
            | I32LtU
            | I32GtS
            | I32GtU
            | I32LeS
            | I32LeU
            | I32GeS
            | I32GeU
            | I64LtS
            | I64LtU
            | I64GtS
            | I64GtU
            | I64LeS
            | I64LeU
            | I64GeS
            | I64GeU
            | F32Eq
            | F32Ne
            | F32Lt
            | F32Gt
            | F32Le
            | F32Ge
            | F64Eq
            | F64Ne
            | F64Lt
            | F64Gt
            | F64Le
            | F64Ge
    )
}

/// A block that is open.
#[derive(Clone, Copy)]
struct Frame {
    ty: BlockType,
    is_loop: bool,
}

/// A function while it is rewritten.
struct Body<'a> {
    wasm: &'a [u8],
    types: &'a [FuncType],
    ty: &'a FuncType,
    /// The open blocks, without the function itself.
    frames: Vec<Frame>,
    /// The new instructions.
    out: Vec<u8>,
    /// All before this offset is in `out`, or is not wanted.
    copied: usize,
    /// The local through which the nth value of a type passes.
    passages: BTreeMap<(u8, u32), u32>,
    /// The added locals.
    added: Vec<wasm_encoder::ValType>,
    first_added: u32,
    /// Whether a branch that carries values leaves the function.
    leaves: bool,
}

impl<'a> Body<'a> {
    fn shielded(
        wasm: &'a [u8],
        body: &FunctionBody<'_>,
        types: &'a [FuncType],
        ty: &'a FuncType,
    ) -> Result<Function, NotAdmitted> {
        let mut locals = Vec::new();
        let mut first_added = ty.params().len() as u32;
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            first_added = first_added.saturating_add(count);
            locals.push((count, encoded(ty, body.range().start)?));
        }
        let mut operators = body.get_operators_reader()?;
        let mut this = Self {
            wasm,
            types,
            ty,
            frames: Vec::new(),
            out: Vec::new(),
            copied: operators.original_position(),
            passages: BTreeMap::new(),
            added: Vec::new(),
            first_added,
            leaves: false,
        };
        let mut harmless = false;
        let mut current = Current::default();
        while !operators.eof() {
            let start = operators.original_position();
            let operator = current.read(&mut operators)?;
            let end = operators.original_position();
            if matches!(operator, Operator::Select | Operator::TypedSelect { .. }) && !harmless {
                this.copy(start);
                this.push(&[Instruction::I32Const(0), Instruction::I32GtU]);
            }
            harmless = is_harmless(operator);
            this.operator(operator, start, end)?;
        }
        this.copy(body.range().end);
        locals.extend(this.added.iter().map(|ty| (1, *ty)));
        let mut function = Function::new(locals);
        if this.leaves {
            let mut block = Vec::new();
            Instruction::Block(wasm_encoder::BlockType::Empty).encode(&mut block);
            function.raw(block);
        }
        function.raw(this.out);
        Ok(function)
    }

    fn operator(&mut self, operator: &Operator<'_>, start: usize, end: usize) -> Result<(), NotAdmitted> {
        match *operator {
            Operator::Block { blockty } => self.open(blockty, false, start, end, Instruction::Block),
            Operator::Loop { blockty } => self.open(blockty, true, start, end, Instruction::Loop),
            Operator::If { blockty } => {
                if !self.params(blockty, start)?.is_empty() {
                    self.copy(start);
                    let condition = self.passage(ValType::I32, u32::MAX, start)?;
                    self.push(&[Instruction::LocalSet(condition)]);
                    self.store(&self.params(blockty, start)?, start)?;
                    self.push(&[Instruction::LocalGet(condition)]);
                    self.push(&[Instruction::If(wasm_encoder::BlockType::Empty)]);
                    self.copied = end;
                    self.load(&self.params(blockty, start)?, start)?;
                    self.frames.push(Frame { ty: blockty, is_loop: false });
                    return Ok(());
                }
                self.open(blockty, false, start, end, Instruction::If)
            }
            Operator::Else => {
                let frame = *self.frames.last().ok_or_else(|| malformed("`else` without `if`", start))?;
                self.copy(start);
                self.store(&self.results(frame.ty, start)?, start)?;
                self.copy(end);
                self.load(&self.params(frame.ty, start)?, start)
            }
            Operator::End => {
                let frame = self.frames.pop();
                if frame.is_none() && !self.leaves {
                    return Ok(());
                }
                // Of an `if` without `else` the parameters are the results, and pass through the same locals.
                let results = match frame {
                    Some(frame) => self.results(frame.ty, start)?,
                    None => Cow::Borrowed(self.ty.results()),
                };
                self.copy(start);
                self.store(&results, start)?;
                self.copy(end);
                self.load(&results, start)?;
                if frame.is_none() {
                    self.push(&[Instruction::End]);
                }
                Ok(())
            }
            Operator::Br { relative_depth } => {
                let carried = self.carried(relative_depth, start)?;
                if !carried.is_empty() {
                    self.copy(start);
                    self.store(&carried, start)?;
                }
                Ok(())
            }
            Operator::BrIf { relative_depth } => {
                let carried = self.carried(relative_depth, start)?;
                if !carried.is_empty() {
                    self.copy(start);
                    let condition = self.passage(ValType::I32, u32::MAX, start)?;
                    self.push(&[Instruction::LocalSet(condition)]);
                    self.store(&carried, start)?;
                    self.load(&carried, start)?;
                    self.push(&[Instruction::LocalGet(condition)]);
                }
                Ok(())
            }
            Operator::BrTable { ref targets } => {
                // All labels carry the same types; each is asked for, as one may be the function's.
                let carried = self.carried(targets.default(), start)?;
                for target in targets.targets() {
                    self.carried(target?, start)?;
                }
                if !carried.is_empty() {
                    self.copy(start);
                    let condition = self.passage(ValType::I32, u32::MAX, start)?;
                    self.push(&[Instruction::LocalSet(condition)]);
                    self.store(&carried, start)?;
                    self.push(&[Instruction::LocalGet(condition)]);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn open(
        &mut self,
        ty: BlockType,
        is_loop: bool,
        start: usize,
        end: usize,
        instruction: fn(wasm_encoder::BlockType) -> Instruction<'static>,
    ) -> Result<(), NotAdmitted> {
        self.frames.push(Frame { ty, is_loop });
        if ty == BlockType::Empty {
            return Ok(());
        }
        let params = self.params(ty, start)?;
        self.copy(start);
        self.store(&params, start)?;
        self.push(&[instruction(wasm_encoder::BlockType::Empty)]);
        self.copied = end;
        self.load(&params, start)
    }

    /// Copies up to an offset what is not copied yet.
    fn copy(&mut self, up_to: usize) {
        self.out.extend_from_slice(&self.wasm[self.copied..up_to]);
        self.copied = up_to;
    }

    fn push(&mut self, instructions: &[Instruction<'_>]) {
        for instruction in instructions {
            instruction.encode(&mut self.out);
        }
    }

    /// Takes values of these types from the stack.
    fn store(&mut self, types: &[ValType], offset: usize) -> Result<(), NotAdmitted> {
        let passages = self.passages(types, offset)?;
        passages.iter().rev().for_each(|&local| self.push(&[Instruction::LocalSet(local)]));
        Ok(())
    }

    /// Puts them back.
    fn load(&mut self, types: &[ValType], offset: usize) -> Result<(), NotAdmitted> {
        let passages = self.passages(types, offset)?;
        passages.iter().for_each(|&local| self.push(&[Instruction::LocalGet(local)]));
        Ok(())
    }

    fn passages(&mut self, types: &[ValType], offset: usize) -> Result<Vec<u32>, NotAdmitted> {
        let mut counts: BTreeMap<u8, u32> = BTreeMap::new();
        let mut passages = Vec::with_capacity(types.len());
        for &ty in types {
            let count = counts.entry(key(ty)).or_default();
            passages.push(self.passage(ty, *count, offset)?);
            *count += 1;
        }
        Ok(passages)
    }

    fn passage(&mut self, ty: ValType, nth: u32, offset: usize) -> Result<u32, NotAdmitted> {
        if let Some(local) = self.passages.get(&(key(ty), nth)) {
            return Ok(*local);
        }
        let local = self.first_added + self.added.len() as u32;
        self.added.push(encoded(ty, offset)?);
        self.passages.insert((key(ty), nth), local);
        Ok(local)
    }

    /// What a branch to this depth carries.
    fn carried(&mut self, depth: u32, offset: usize) -> Result<Cow<'a, [ValType]>, NotAdmitted> {
        match (self.frames.len()).checked_sub(depth as usize + 1).map(|index| self.frames[index]) {
            Some(Frame { ty, is_loop: true }) => self.params(ty, offset),
            Some(Frame { ty, is_loop: false }) => self.results(ty, offset),
            None => {
                self.leaves |= !self.ty.results().is_empty();
                Ok(Cow::Borrowed(self.ty.results()))
            }
        }
    }

    fn params(&self, ty: BlockType, offset: usize) -> Result<Cow<'a, [ValType]>, NotAdmitted> {
        match ty {
            BlockType::Empty | BlockType::Type(_) => Ok(Cow::Borrowed(&[])),
            BlockType::FuncType(index) => Ok(Cow::Borrowed(self.block_type(index, offset)?.params())),
        }
    }

    fn results(&self, ty: BlockType, offset: usize) -> Result<Cow<'a, [ValType]>, NotAdmitted> {
        match ty {
            BlockType::Empty => Ok(Cow::Borrowed(&[])),
            BlockType::Type(ty) => Ok(Cow::Owned(alloc::vec![ty])),
            BlockType::FuncType(index) => Ok(Cow::Borrowed(self.block_type(index, offset)?.results())),
        }
    }

    fn block_type(&self, index: u32, offset: usize) -> Result<&'a FuncType, NotAdmitted> {
        self.types.get(index as usize).ok_or_else(|| malformed("a block of a type that does not exist", offset))
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;
    use std::vec;

    use super::*;

    fn call(wasm: &[u8], argument: i32) -> i32 {
        let engine = wasmi::Engine::default();
        let module = wasmi::Module::new(&engine, wasm).expect("a module");
        let mut store = wasmi::Store::new(&engine, ());
        let instance = wasmi::Linker::new(&engine).instantiate_and_start(&mut store, &module).expect("an instance");
        let function = instance.get_typed_func::<i32, i32>(&store, "f").expect("a function");
        function.call(&mut store, argument).expect("a value")
    }

    fn module(body: &str) -> Vec<u8> {
        let text = format!(r#"(module (func (export "f") (param i32) (result i32) (local i32 i32 i64 f32) {body}))"#);
        wat::parse_str(text).expect("wasm text")
    }

    fn after_shielding(body: &str, argument: i32) -> i32 {
        let wasm = shielded(&module(body)).expect("a module");
        wasmparser::validate(&wasm).expect("valid");
        call(&wasm, argument)
    }

    /// Selects 10 if the condition holds, and 20 otherwise, while wasmi's register holds 3.
    fn select(condition: &str) -> String {
        format!("(local.set 1 (i32.add (local.get 2) (i32.const 3))) i32.const 10 i32.const 20 {condition} select")
    }

    /// Conditions that are fused with `select`; the second is what is selected if the argument is 7, of the other values if
    /// it is 0.
    const FUSED: [(&str, i32); 12] = [
        ("local.get 0 i32.eqz", 20),
        ("local.get 0 i32.const 0 i32.eq", 20),
        ("i32.const 0 local.get 0 i32.eq", 20),
        ("local.get 0 i32.const 0 i32.ne", 10),
        ("i32.const 0 local.get 0 i32.ne", 10),
        ("local.get 0 i32.eqz i32.eqz", 10),
        ("local.get 0 i32.const 0 i32.xor i32.eqz", 20),
        ("local.get 0 i32.const 0 i32.xor i32.const 0 i32.ne", 10),
        ("local.get 0 i32.const 0 i32.xor i64.extend_i32_u i64.eqz", 20),
        ("local.get 0 i32.eqz nop", 20),
        ("local.get 0 i32.eqz local.get 2 local.set 2", 20),
        ("local.get 0 i32.eqz i32.const 0 br_if 0", 20),
    ];

    #[test]
    fn wasmi_is_wrong_about_fused_selects_without_the_shield() {
        for (condition, for_seven) in FUSED {
            let wasm = module(&select(condition));
            let right = call(&wasm, 7) == for_seven && call(&wasm, 0) == 30 - for_seven;
            assert!(!right, "{condition}: wasmi was mended; see what of the shield can go");
        }
    }

    #[test]
    fn select_after_a_comparison_with_zero_gives_the_right_value() {
        for (condition, for_seven) in FUSED {
            assert_eq!(after_shielding(&select(condition), 7), for_seven, "{condition}");
            assert_eq!(after_shielding(&select(condition), 0), 30 - for_seven, "{condition}");
        }
    }

    /// Comparisons that nothing is put after, with all kinds of operands: `select` and `if` agree, as do branches.
    #[test]
    fn other_comparisons_are_right_in_selects_and_branches() {
        let operands = |ty: &str, argument: &str| {
            let mut operands =
                vec![(argument.into(), format!("{ty}.const 0")), (format!("{ty}.const 0"), argument.into())];
            for other in ["1", "-1", "7"] {
                operands.push((argument.into(), format!("{ty}.const {other}")));
                operands.push((format!("{ty}.const {other}"), argument.into()));
            }
            operands.push((argument.into(), argument.into()));
            operands
        };
        let mut conditions = Vec::new();
        for ty in ["i32", "i64", "f32", "f64"] {
            let argument = match ty {
                "i32" => "local.get 0",
                "i64" => "local.get 3",
                "f32" => "local.get 4",
                _ => "local.get 4 f64.promote_f32",
            };
            let comparisons: &[&str] = match ty {
                "i32" | "i64" => &["eq", "ne", "lt_s", "lt_u", "gt_s", "gt_u", "le_s", "le_u", "ge_s", "ge_u"],
                _ => &["eq", "ne", "lt", "gt", "le", "ge"],
            };
            for (left, right) in operands(ty, argument) {
                for comparison in comparisons {
                    conditions.push(format!("{left} {right} {ty}.{comparison}"));
                }
            }
        }
        let prepare = "local.get 0 i64.extend_i32_s local.set 3 local.get 0 f32.convert_i32_s local.set 4
            (local.set 1 (i32.add (local.get 2) (i32.const 3)))";
        for condition in conditions {
            for negations in
                ["", "i32.eqz", "i32.eqz i32.eqz", "i32.const 0 i32.ne", "i32.eqz i64.extend_i32_u i64.eqz"]
            {
                let forms = [
                    format!("{prepare} i32.const 10 i32.const 20 {condition} {negations} select"),
                    format!("{prepare} {condition} {negations} if (result i32) i32.const 10 else i32.const 20 end"),
                    format!("{prepare} block {condition} {negations} br_if 0 i32.const 20 return end i32.const 10"),
                    format!(
                        "{prepare} {condition} {negations} local.set 1 i32.const 20 i32.const 10 local.get 1 i32.mul i32.sub"
                    ),
                ];
                for argument in [0, 1, -1, 7, i32::MIN] {
                    let values = forms.each_ref().map(|form| after_shielding(form, argument));
                    assert!(values.iter().all(|&value| value == values[0]), "{condition} {negations}: {values:?}");
                }
            }
        }
    }

    #[test]
    fn a_local_below_the_parameters_of_a_block_is_kept() {
        let body = "local.get 0 i32.const 5 block (param i32) (result i32)
                local.get 0 br_if 0
                i32.const 100 local.set 0
            end i32.sub";
        assert_eq!(after_shielding(body, 7), 2);
        assert_eq!(after_shielding(body, 0), -5);
        let right = call(&module(body), 7) == 2 && call(&module(body), 0) == -5;
        assert!(!right, "wasmi was mended; see what of the shield can go");
    }

    #[test]
    fn blocks_and_branches_carry_values() {
        type Case = (&'static str, fn(i32) -> i32);
        let cases: [Case; 9] = [
            ("local.get 0 i32.const 1 block (param i32 i32) (result i32 i32) i32.add i32.const 2 end i32.mul", |x| {
                (x + 1) * 2
            }),
            ("i32.const 1 i32.const 2 local.get 0 if (param i32 i32) (result i32 i32) i32.const 5 i32.add end i32.sub", |x| {
                if x != 0 { -6 } else { -1 }
            }),
            ("i32.const 1 i32.const 2 local.get 0 if (param i32 i32) (result i32) i32.add else i32.sub end", |x| {
                if x != 0 { 3 } else { -1 }
            }),
            ("i32.const 0 i32.const 5 loop (param i32 i32) (result i32) local.set 1 local.get 1 i32.add
                local.get 1 i32.const 1 i32.sub local.get 1 i32.const 1 i32.gt_s br_if 0 drop end local.get 0 i32.add",
             |x| 15 + x),
            ("block (result i32 i32) i32.const 9 local.get 0 i32.const 4 local.get 0 br_if 0 drop drop i32.const 1 end i32.sub",
             |x| if x != 0 { x - 4 } else { 8 }),
            ("i32.const 3 i32.const 8 block (param i32) (result i32) local.get 0 br_table 0 1 0 end i32.sub", |x| {
                if x == 1 { 8 } else { -5 }
            }),
            ("i32.const 33 local.get 0 br_if 0 drop i32.const 44", |x| if x != 0 { 33 } else { 44 }),
            ("block (result i32) i32.const 3 br 0 i32.add end local.get 0 i32.add", |x| 3 + x),
            ("i64.const 5 local.get 0 block (param i64 i32) (result i32 i64) local.set 1 local.set 3 local.get 1 local.get 3 end
                i32.wrap_i64 i32.add", |x| x + 5),
        ];
        for (body, right) in cases {
            for argument in [0, 1, 7] {
                assert_eq!(after_shielding(body, argument), right(argument), "{body} of {argument}");
            }
        }
    }

    #[test]
    fn what_needs_no_shield_stays_as_it_is() {
        let more: String = (0..200).map(|index| format!("(func (result i32) i32.const {index})")).collect();
        let text = format!(
            r#"(module (type (func)) (memory 1) (table 1 funcref) (global i32 (i32.const 1)) {more}
                (func (param i32) (result i32) i32.const 1 i32.const 2 local.get 0 i32.const 3 i32.lt_s select)
                (func (param i32) (result i32) block loop local.get 0 br_if 0 br 1 end end local.get 0 return)
                (elem (i32.const 0) 0) (data (i32.const 0) "abc"))"#
        );
        let wasm = wat::parse_str(text).expect("wasm text");
        assert_eq!(shielded(&wasm).expect("a module"), wasm);
        for end in 8..wasm.len() {
            let _ = shielded(&wasm[..end]);
        }
    }

    #[test]
    fn damaged_modules_are_no_harm() {
        let wasm =
            module("i32.const 1 i32.const 2 local.get 0 if (param i32 i32) (result i32) i32.add else i32.sub end");
        for at in 8..wasm.len() {
            for value in [0, 1, 5, 11, 64, 127, 255] {
                let mut damaged = wasm.clone();
                damaged[at] = value;
                let _ = shielded(&damaged);
            }
        }
    }
}
