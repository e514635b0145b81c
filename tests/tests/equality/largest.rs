//! Modules as large as admission lets them be, in the directions that cost the replayer most: it has room for them in the
//! smallest machine.

use fedmkt_core::admission::limits;
use fedmkt_machine::exit::Exit;
use wasm_encoder::{
    BlockType, CodeSection, ElementSection, Elements, Encode, ExportKind, ExportSection, Function, FunctionSection,
    HeapType, Instruction, MemorySection, MemoryType, Module, RefType, TableSection, TableType, TypeSection, ValType,
};

use crate::bad_input::Drives;
use crate::job::Job;

/// Bytes of a job drive of the smallest class without its other files.
const MODULE_BYTES: usize = (16 << 20) - (64 << 10);

/// Bytes of operators in a body that is nearly as long as it may be.
const BODY_BYTES: usize = limits::FUNCTION_BYTES - 100;

/// A command of functions without parameters and results, all of which it calls: the replayer's engine translates a function
/// when it is called.
struct Large {
    /// Beside the functions' type, which is the first.
    types: TypeSection,
    bodies: Vec<Function>,
    /// Bytes of it, and those together with what admission counts as added.
    bytes: usize,
    grown: usize,
    memory: bool,
    /// Elements in a table without a maximum.
    table: Option<u64>,
    /// Elements in a passive segment.
    elements: usize,
}

impl Default for Large {
    fn default() -> Self {
        let mut types = TypeSection::new();
        types.ty().function([], []);
        Self { types, bodies: Vec::new(), bytes: 2000, grown: 2000, memory: false, table: None, elements: 0 }
    }
}

impl Large {
    fn encode(&self) -> Vec<u8> {
        let mut module = Module::new();
        module.section(&self.types);
        let start = self.bodies.len() as u32;
        let mut functions = FunctionSection::new();
        (0..=start).for_each(|_| {
            functions.function(0);
        });
        module.section(&functions);
        if let Some(minimum) = self.table {
            let mut tables = TableSection::new();
            let element_type = RefType::FUNCREF;
            tables.table(TableType { element_type, minimum, maximum: None, table64: false, shared: false });
            module.section(&tables);
        }
        let mut exports = ExportSection::new();
        exports.export("_start", ExportKind::Func, start);
        if self.memory {
            let mut memories = MemorySection::new();
            let (minimum, maximum) = (1, None);
            memories.memory(MemoryType { minimum, maximum, memory64: false, shared: false, page_size_log2: None });
            module.section(&memories);
            exports.export("memory", ExportKind::Memory, 0);
        }
        module.section(&exports);
        if self.elements > 0 {
            let mut elements = ElementSection::new();
            elements.passive(Elements::Functions(vec![0; self.elements].into()));
            module.section(&elements);
        }
        let mut code = CodeSection::new();
        self.bodies.iter().for_each(|body| {
            code.function(body);
        });
        let calls: Vec<Instruction<'_>> = (0..start).map(Instruction::Call).collect();
        code.function(&function(&[], &operators(&calls)));
        module.section(&code);
        module.finish()
    }

    fn has_room(&self, what: &str) {
        let wasm = self.encode();
        assert!(wasm.len() <= MODULE_BYTES, "{what}: {} bytes", wasm.len());
        Drives::of(&Job::of(&wasm, 8)).end(what, Exit::Done, true);
    }
}

fn operators(instructions: &[Instruction<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    instructions.iter().for_each(|instruction| instruction.encode(&mut bytes));
    bytes
}

fn function(locals: &[(u32, ValType)], operators: &[u8]) -> Function {
    let mut function = Function::new(locals.iter().copied());
    function.raw(operators.iter().copied());
    function.instruction(&Instruction::End);
    function
}

impl Large {
    /// Adds a function, if there is room for it and for the bytes that admission counts beside its own.
    fn add(&mut self, body: &Function, added: usize) -> bool {
        let bytes = body.byte_len() + 8;
        let has_room = self.bytes + bytes < MODULE_BYTES && self.grown + bytes + added < limits::INSTRUMENTED_BYTES;
        if has_room {
            self.bytes += bytes;
            self.grown += bytes + added;
            self.bodies.push(body.clone());
        }
        has_room
    }

    /// Adds as many as there is room for.
    fn fill(&mut self, body: &Function, added: usize) {
        while self.add(body, added) {}
    }
}

#[test]
fn what_branches_carry_has_room() {
    use Instruction::*;
    let values = limits::PARAMS;
    let blocks = limits::ADDED_BYTES / limits::EDGE_BYTES / (2 * values);
    let body = [
        operators(&[I64Const(0)]).repeat(values),
        operators(&[Block(BlockType::FunctionType(1)), End]).repeat(blocks),
        operators(&[Drop]).repeat(values),
    ];
    let mut large = Large::default();
    large.types.ty().function([ValType::I64; limits::PARAMS], [ValType::I64; limits::PARAMS]);
    large.fill(&function(&[], &body.concat()), limits::ADDED_BYTES);
    large.has_room("values on edges of blocks");
}

#[test]
fn settled_nans_have_room() {
    use Instruction::*;
    let body = [
        operators(&[F64Const(0.0.into())]),
        operators(&[F64Sqrt, F64Neg]).repeat(limits::ADDED_BYTES / 35),
        operators(&[Drop]),
    ];
    let mut large = Large::default();
    large.fill(&function(&[], &body.concat()), limits::ADDED_BYTES);
    large.has_room("NaNs to settle");
}

/// The interpreter's code for these is the longest for each byte that admission counts: every operand is copied. Beside them
/// are bodies of which admission keeps most while it looks at them: blocks, returns, and arithmetic in locals.
#[test]
fn copies_have_room() {
    use Instruction::*;
    let mut large = Large { memory: true, ..Large::default() };
    let floats = [(300, ValType::F32)];
    let loose = operators(&[F32Const(0.0.into()), F32Sqrt, Drop]);
    for operators in [
        operators(&[Block(BlockType::Empty), End]),
        operators(&[Block(BlockType::Empty), Return, End]),
        operators(&[LocalGet(0), F32Sqrt, LocalSet(0)]),
    ] {
        let times = (BODY_BYTES - loose.len()) / operators.len();
        let body = function(&floats, &[&loose[..], &operators.repeat(times)].concat());
        assert!(large.add(&body, times * limits::EDGE_BYTES), "nothing else is there yet");
    }
    // Each begin and end copies what `i64.add` left.
    const VALUES: usize = 16;
    large.types.ty().function([ValType::I64; VALUES], [ValType::I64; VALUES]);
    let changed = [operators(&[LocalSet(0)]), operators(&[LocalGet(0), I64Const(1), I64Add]).repeat(VALUES)].concat();
    let drops = operators(&[Drop]).repeat(VALUES - 1);
    let begin = operators(&[Block(BlockType::FunctionType(1))]);
    let block = [&drops[..], &changed, &begin, &drops, &changed, &operators(&[End])].concat();
    let added = 2 * VALUES * limits::EDGE_BYTES;
    let blocks = (limits::ADDED_BYTES / added - 1).min(BODY_BYTES / block.len() - 1);
    let body = [operators(&[I64Const(0)]).repeat(VALUES), block.repeat(blocks), operators(&[Drop]).repeat(VALUES)];
    large.fill(&function(&[(1, ValType::I64)], &body.concat()), blocks * added);
    // Memory's size is an operand for two bytes, and so is a sum for one.
    let sum =
        [operators(&[MemorySize(0)]).repeat(9000), operators(&[I32Add]).repeat(8999), operators(&[Drop])].concat();
    large.fill(&function(&[], &sum.repeat(BODY_BYTES / sum.len())), 0);
    large.has_room("copies");
}

#[test]
fn tables_that_grow_and_elements_have_room() {
    use Instruction::*;
    let grow = |by| [RefNull(HeapType::FUNC), I32Const(by), TableGrow(0)];
    let more = limits::TABLE_ELEMENTS as i32;
    let body = [
        operators(&grow(more)),
        operators(&[I32Const(-1), I32Ne, If(BlockType::Empty), Unreachable, End]),
        operators(&grow(more - 1)),
        operators(&[I32Const(1), I32Ne, If(BlockType::Empty), Unreachable, End]),
    ];
    let mut large = Large { table: Some(1), elements: more as usize, ..Large::default() };
    large.bodies.push(function(&[], &body.concat()));
    large.has_room("a table and elements");
}
