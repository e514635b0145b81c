//! Rewrites an admitted module.
//!
//! Sections that need no change are copied byte by byte, and so are operators within functions; nothing is renumbered,
//! because all that is added comes after what is there.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, Encode, ExportKind, ExportSection, Function, GlobalSection, GlobalType, Ieee32,
    Ieee64, Instruction, MemorySection, MemoryType, RawSection, RefType, SectionId, TableSection, TableType,
    TypeSection, ValType,
};
use wasmparser::{BinaryReader, FuncType, FunctionBody};

use super::nan::{Added, Insertion, Shape, Type};
use super::profile::{BodyFacts, Return};
use super::scan::{Module, Table};
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
            SectionId::Type => extend(&mut out, id, original, types.section.len(), &entries_of(&types.section)),
            SectionId::Table => {
                if !module.tables.is_empty() {
                    out.section(&table_section(&module.tables));
                }
            }
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

/// The tables with a maximum each, so that all of them together never have more elements than [`limits::TABLE_ELEMENTS`].
fn table_section(tables: &[Table]) -> TableSection {
    let initial: u64 = tables.iter().map(|table| table.initial).sum();
    let growth = (limits::TABLE_ELEMENTS - initial) / tables.len() as u64;
    let mut section = TableSection::new();
    for &Table { initial, maximum } in tables {
        let most = initial + growth;
        section.table(TableType {
            element_type: RefType::FUNCREF,
            minimum: initial,
            maximum: Some(maximum.map_or(most, |maximum| maximum.min(most))),
            table64: false,
            shared: false,
        });
    }
    section
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
struct ResultTypes<'a> {
    types: &'a [FuncType],
    /// The type of the block, by the function's type.
    known: BTreeMap<u32, u32>,
    section: TypeSection,
}

impl<'a> ResultTypes<'a> {
    fn new(module: &'a Module<'_>) -> Self {
        Self { types: &module.types, known: BTreeMap::new(), section: TypeSection::new() }
    }

    fn block_type(&mut self, function_type: u32) -> BlockType {
        match self.types[function_type as usize].results() {
            [] => BlockType::Empty,
            [one] => BlockType::Result(encoder_type(*one)),
            several => BlockType::FunctionType(*self.known.entry(function_type).or_insert_with(|| {
                self.section.ty().function([], several.iter().map(|ty| encoder_type(*ty)));
                self.types.len() as u32 + self.section.len() - 1
            })),
        }
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

fn code_section(module: &Module<'_>, facts: &[BodyFacts], types: &mut ResultTypes<'_>) -> CodeSection {
    let mut section = CodeSection::new();
    for ((body, facts), &ty) in module.bodies.iter().zip(facts).zip(&module.functions) {
        let words = facts.frame_words + limits::FRAME_WORDS;
        let metered = facts.calls || words > limits::LEAF_WORDS;
        let meter = metered.then(|| Meter { words, block: types.block_type(ty), counter: module.globals });
        if meter.is_none() && facts.insertions.is_empty() {
            section.raw(&module.wasm[body.range()]);
        } else {
            let params = module.types[ty as usize].params().len();
            section.function(&rewritten(module.wasm, body, params, facts, meter));
        }
    }
    section
}

/// How a frame is counted.
struct Meter {
    words: u32,
    /// The type of the block around the body.
    block: BlockType,
    /// The global.
    counter: u32,
}

/// The body with NaNs settled and its frame counted on the way in and out. `return` then becomes a branch out of a block
/// around the body, to which branches to the function's own label lead as well.
fn rewritten(wasm: &[u8], body: &FunctionBody<'_>, params: usize, facts: &BodyFacts, meter: Option<Meter>) -> Function {
    const READ: &str = "the body was read before";
    let locals = body.get_locals_reader().expect(READ);
    let mut groups: Vec<_> = locals
        .into_iter()
        .map(|group| {
            let (count, ty) = group.expect(READ);
            (count, encoder_type(ty))
        })
        .collect();
    let first_scratch = params as u32 + groups.iter().map(|(count, _)| count).sum::<u32>();
    let scratch = Scratch::new(&facts.insertions, first_scratch, &mut groups);
    let mut out = Function::new(groups);
    if let Some(Meter { words, block, counter }) = meter {
        out.instruction(&Instruction::GlobalGet(counter))
            .instruction(&Instruction::I32Const(words as i32))
            .instruction(&Instruction::I32Add)
            .instruction(&Instruction::GlobalSet(counter))
            .instruction(&Instruction::GlobalGet(counter))
            .instruction(&Instruction::I32Const(limits::STACK_WORDS as i32))
            .instruction(&Instruction::I32GtU)
            .instruction(&Instruction::If(BlockType::Empty))
            .instruction(&Instruction::Unreachable)
            .instruction(&Instruction::End)
            .instruction(&Instruction::Block(block));
    }

    let operators = body.get_operators_reader().expect(READ);
    let mut copy = Copy { wasm, done: operators.original_position(), out };
    let mut insertions = facts.insertions.iter().copied().peekable();
    let returns = if meter.is_some() { &facts.returns[..] } else { &[] };
    for &Return { at, depth } in returns {
        let at = at as usize;
        while let Some(insertion) = insertions.next_if(|insertion| insertion.at <= at) {
            copy.insert(insertion, &scratch);
        }
        copy.up_to(at);
        copy.out.instruction(&Instruction::Br(depth));
        copy.done = at + 1;
    }
    for insertion in insertions {
        copy.insert(insertion, &scratch);
    }
    copy.up_to(body.range().end);

    let mut out = copy.out;
    if let Some(Meter { words, counter, .. }) = meter {
        out.instruction(&Instruction::GlobalGet(counter))
            .instruction(&Instruction::I32Const(words as i32))
            .instruction(&Instruction::I32Sub)
            .instruction(&Instruction::GlobalSet(counter))
            .instruction(&Instruction::End);
    }
    out
}

/// A body that is being copied.
struct Copy<'a> {
    wasm: &'a [u8],
    /// The offset of what is not copied yet.
    done: usize,
    out: Function,
}

impl Copy<'_> {
    fn up_to(&mut self, offset: usize) {
        self.out.raw(self.wasm[self.done..offset].iter().copied());
        self.done = offset;
    }

    fn insert(&mut self, Insertion { at, what }: Insertion, scratch: &Scratch) {
        match what {
            // Instead of the `br_if` before it.
            Added::BranchEnd { .. } => self.done = at,
            _ => self.up_to(at),
        }
        let out = &mut self.out;
        match what {
            Added::Operand { ty, shape, local } => scratch.settle(ty, shape, local, out),
            Added::Local { ty, shape, local } => {
                out.instruction(&Instruction::LocalGet(local));
                scratch.settle(ty, shape, Some(local), out);
                out.instruction(&Instruction::LocalSet(local));
            }
            Added::Else => {
                out.instruction(&Instruction::Else);
            }
            Added::BranchBegin => {
                out.instruction(&Instruction::If(BlockType::Empty));
            }
            Added::BranchEnd { depth } => {
                out.instruction(&Instruction::Br(depth + 1)).instruction(&Instruction::End);
            }
        }
    }
}

/// The locals with which operands are settled: for f32, f64 and vectors, those that are needed.
struct Scratch([u32; 3]);

impl Scratch {
    /// Adds them to the groups of locals.
    fn new(insertions: &[Insertion], first: u32, groups: &mut Vec<(u32, ValType)>) -> Self {
        let mut next = first;
        Self([(Type::F32, ValType::F32), (Type::F64, ValType::F64), (Type::V128, ValType::V128)].map(
            |(wanted, local)| {
                let index = next;
                let needs =
                    |added: &Insertion| matches!(added.what, Added::Operand { ty, local: None, .. } if ty == wanted);
                if insertions.iter().any(needs) {
                    groups.push((1, local));
                    next += 1;
                }
                index
            },
        ))
    }

    /// `x == x ? x : canonical` for the operand on the top, which `local` may hold too.
    fn settle(&self, ty: Type, shape: Shape, local: Option<u32>, out: &mut Function) {
        let local = local.unwrap_or_else(|| {
            let scratch = self.0[ty as usize];
            out.instruction(&Instruction::LocalTee(scratch));
            scratch
        });
        let (canonical, equal, choose) = match (ty, shape) {
            (Type::F32, _) => (Instruction::F32Const(Ieee32::new(F32_NAN)), Instruction::F32Eq, Instruction::Select),
            (Type::F64, _) => (Instruction::F64Const(Ieee64::new(F64_NAN)), Instruction::F64Eq, Instruction::Select),
            (Type::V128, Shape::F32) => {
                (Instruction::V128Const(F32X4_NANS), Instruction::F32x4Eq, Instruction::V128Bitselect)
            }
            (Type::V128, Shape::F64) => {
                (Instruction::V128Const(F64X2_NANS), Instruction::F64x2Eq, Instruction::V128Bitselect)
            }
        };
        out.instruction(&canonical)
            .instruction(&Instruction::LocalGet(local))
            .instruction(&Instruction::LocalGet(local))
            .instruction(&equal)
            .instruction(&choose);
    }
}

/// The positive canonical NaNs.
const F32_NAN: u32 = 0x7fc0_0000;
const F64_NAN: u64 = 0x7ff8_0000_0000_0000;
const F32X4_NANS: i128 = F32_NAN as i128 * 0x1_0000_0001_0000_0001_0000_0001;
const F64X2_NANS: i128 = F64_NAN as i128 * 0x1_0000_0000_0000_0001;
