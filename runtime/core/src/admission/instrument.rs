//! Rewrites an admitted module.
//!
//! Sections that need no change are copied byte by byte, and so are operators within functions; nothing is renumbered,
//! because all that is added comes after what is there.

use alloc::format;
use alloc::vec::Vec;

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, Encode, ExportKind, ExportSection, Function, GlobalSection, GlobalType,
    Instruction, MemorySection, MemoryType, RawSection, SectionId, ValType,
};
use wasmparser::{BinaryReader, FunctionBody, Operator};

use super::profile::BodyFacts;
use super::scan::Module;
use super::{Admitted, MemoryBounds, MutableGlobal, START_EXPORT, limits};

/// Rewrites a module that was scanned and validated.
pub(super) fn instrument(module: &Module<'_>, facts: &[BodyFacts]) -> Admitted {
    let mut globals = Vec::new();
    let mut out = wasm_encoder::Module::new();
    let mut types = ResultTypes::new(module);
    let code = code_section(module, facts, &mut types);

    for id in [
        SectionId::Type,
        SectionId::Import,
        SectionId::Function,
        SectionId::Table,
        SectionId::Memory,
        SectionId::Global,
        SectionId::Export,
        SectionId::Element,
        SectionId::DataCount,
        SectionId::Code,
        SectionId::Data,
    ] {
        let original = module.sections.get(&(id as u8)).map(|range| &module.wasm[range.clone()]);
        match id {
            SectionId::Type => extend(&mut out, id, original, types.added.len() as u32, &types.encode()),
            SectionId::Memory => {
                if let Some(bounds) = module.memory {
                    out.section(&memory_section(bounds));
                }
            }
            SectionId::Global => extend(&mut out, id, original, 1, &stack_global()),
            SectionId::Export => {
                let (count, added) = exports(module, &mut globals);
                extend(&mut out, id, original, count, &added);
            }
            SectionId::Code => {
                if !module.bodies.is_empty() {
                    out.section(&code);
                }
            }
            _ => {
                if let Some(data) = original {
                    out.section(&RawSection { id: id as u8, data });
                }
            }
        }
    }
    Admitted {
        wasm: out.finish(),
        form: module.form,
        start: module.start.map(|_| START_EXPORT),
        globals,
        memory: module.memory.unwrap_or_default(),
        imports: module.imports.clone(),
        warnings: module.warnings.clone(),
    }
}

/// Writes a section with `count` more entries, whose bytes are `added`.
fn extend(out: &mut wasm_encoder::Module, id: SectionId, original: Option<&[u8]>, count: u32, added: &[u8]) {
    let (before, entries) = match original {
        Some(bytes) => {
            let mut reader = BinaryReader::new(bytes, 0);
            let before = reader.read_var_u32().expect("the section was read before");
            (before, &bytes[reader.original_position()..])
        }
        None => (0, &[][..]),
    };
    if before + count == 0 {
        return;
    }
    let mut data = Vec::new();
    (before + count).encode(&mut data);
    data.extend_from_slice(entries);
    data.extend_from_slice(added);
    out.section(&RawSection { id: id as u8, data: &data });
}

fn memory_section(MemoryBounds { initial, maximum }: MemoryBounds) -> MemorySection {
    let mut section = MemorySection::new();
    section.memory(MemoryType {
        minimum: initial,
        maximum: Some(maximum),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    section
}

/// The entries of a section without the count before them.
fn entries_of(section: &impl Encode) -> Vec<u8> {
    let mut bytes = Vec::new();
    section.encode(&mut bytes);
    let mut reader = BinaryReader::new(&bytes, 0);
    let skip = |reader: &mut BinaryReader<'_>| reader.read_var_u32().expect("an encoded number");
    skip(&mut reader);
    skip(&mut reader);
    let start = reader.original_position();
    bytes.split_off(start)
}

fn stack_global() -> Vec<u8> {
    let mut section = GlobalSection::new();
    section.global(GlobalType { val_type: ValType::I32, mutable: true, shared: false }, &ConstExpr::i32_const(0));
    entries_of(&section)
}

fn exports(module: &Module<'_>, globals: &mut Vec<MutableGlobal>) -> (u32, Vec<u8>) {
    let mut section = ExportSection::new();
    for &index in &module.mutable_globals {
        let export = format!("fedmkt:global:{index}");
        section.export(&export, ExportKind::Global, index);
        globals.push(MutableGlobal { export });
    }
    if let Some(start) = module.start {
        section.export(START_EXPORT, ExportKind::Func, start);
    }
    (section.len(), entries_of(&section))
}

/// Types without parameters, for blocks around bodies with several results.
struct ResultTypes {
    next: u32,
    added: Vec<Vec<wasmparser::ValType>>,
}

impl ResultTypes {
    fn new(module: &Module<'_>) -> Self {
        Self { next: module.types.len() as u32, added: Vec::new() }
    }

    fn block_type(&mut self, results: &[wasmparser::ValType]) -> BlockType {
        match results {
            [] => BlockType::Empty,
            [one] => BlockType::Result(encoder_type(*one)),
            several => {
                let known = self.added.iter().position(|added| added == several);
                let index = known.unwrap_or_else(|| {
                    self.added.push(several.to_vec());
                    self.added.len() - 1
                });
                BlockType::FunctionType(self.next + index as u32)
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut section = wasm_encoder::TypeSection::new();
        for results in &self.added {
            section.ty().function([], results.iter().map(|ty| encoder_type(*ty)));
        }
        entries_of(&section)
    }
}

fn encoder_type(ty: wasmparser::ValType) -> ValType {
    match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::Ref(_) => ValType::FUNCREF,
    }
}

fn code_section(module: &Module<'_>, facts: &[BodyFacts], types: &mut ResultTypes) -> CodeSection {
    let mut section = CodeSection::new();
    for ((body, facts), &ty) in module.bodies.iter().zip(facts).zip(&module.functions) {
        let words = facts.frame_words + limits::FRAME_WORDS;
        if !facts.calls && words <= limits::LEAF_WORDS {
            section.raw(&module.wasm[body.range()]);
        } else {
            let block = types.block_type(module.types[ty as usize].results());
            section.function(&metered(module.wasm, body, words, block, module.globals));
        }
    }
    section
}

/// The body with its frame counted on the way in and out. `return` becomes a branch out of a block around the body, to
/// which branches to the function's own label lead as well.
fn metered(wasm: &[u8], body: &FunctionBody<'_>, words: u32, block: BlockType, stack: u32) -> Function {
    const READ: &str = "the body was read before";
    let locals = body.get_locals_reader().expect(READ);
    let groups: Vec<_> = locals
        .into_iter()
        .map(|group| {
            let (count, ty) = group.expect(READ);
            (count, encoder_type(ty))
        })
        .collect();
    let mut out = Function::new(groups);
    out.instruction(&Instruction::GlobalGet(stack))
        .instruction(&Instruction::I32Const(words as i32))
        .instruction(&Instruction::I32Add)
        .instruction(&Instruction::GlobalSet(stack))
        .instruction(&Instruction::GlobalGet(stack))
        .instruction(&Instruction::I32Const(limits::STACK_WORDS as i32))
        .instruction(&Instruction::I32GtU)
        .instruction(&Instruction::If(BlockType::Empty))
        .instruction(&Instruction::Unreachable)
        .instruction(&Instruction::End)
        .instruction(&Instruction::Block(block));

    let mut operators = body.get_operators_reader().expect(READ);
    let mut copied = operators.original_position();
    let mut depth = 0;
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset().expect(READ);
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => depth += 1,
            // The last `end` closes the block around the body.
            Operator::End => depth -= i32::from(depth > 0),
            Operator::Return => {
                out.raw(wasm[copied..offset].iter().copied());
                out.instruction(&Instruction::Br(depth as u32));
                copied = operators.original_position();
            }
            _ => {}
        }
    }
    out.raw(wasm[copied..body.range().end].iter().copied());

    out.instruction(&Instruction::GlobalGet(stack))
        .instruction(&Instruction::I32Const(words as i32))
        .instruction(&Instruction::I32Sub)
        .instruction(&Instruction::GlobalSet(stack))
        .instruction(&Instruction::End);
    out
}
