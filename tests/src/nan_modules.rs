//! Modules full of NaNs, made from a number, and what becomes of them in several engines.
//!
//! The modules are valid, have no imports and end: loops are counted, and functions only call those after them.
//! Constants, memory and globals hold NaNs of every kind; locals are few, so that vectors of floats and of integers take
//! turns in them.

mod adversary;
mod choices;

use std::fmt;
use std::slice;
use std::sync::LazyLock;

use fedmkt_core::admission::{self, Admitted, ModuleLimits};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, ElementSection, Elements, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, Ieee32, Ieee64, Instruction, MemArg, MemorySection, MemoryType, Module,
    RefType, TableSection, TableType, TypeSection, ValType,
};

use choices::{LANE_LOADS, LANE_STORES, LANES, LOADS, PLAIN, Plain, STORES};

/// Bytes of memory; one page.
const MEMORY_BYTES: u64 = 1 << 16;

/// Bytes that loads and stores reach.
const REACHED: u32 = 1024;

const TYPES: [ValType; 5] = [ValType::I32, ValType::I64, ValType::F32, ValType::F64, ValType::V128];

/// Parameters and results of functions and of blocks.
const SIGNATURES: [(&[ValType], &[ValType]); 8] = [
    (&[], &[]),
    (&[ValType::F32], &[ValType::F32]),
    (&[ValType::V128, ValType::F64], &[ValType::V128]),
    (&[ValType::V128], &[ValType::V128, ValType::V128]),
    (&[ValType::I32, ValType::V128, ValType::F32], &[ValType::F64, ValType::V128, ValType::I32]),
    (&[ValType::F64], &[]),
    (&[], &[ValType::V128, ValType::F32]),
    (&[ValType::V128, ValType::V128], &[ValType::V128, ValType::V128]),
];

/// What chooses: bytes, one for each choice, so that a fuzzer that changes a byte changes a choice; after them, or without
/// them, the numbers of SplitMix64.
#[derive(Clone, Debug)]
struct Numbers<'a> {
    choices: slice::Iter<'a, u8>,
    state: u64,
}

impl Numbers<'_> {
    fn new(seed: u64) -> Self {
        Self { choices: [].iter(), state: seed }
    }

    fn next(&mut self) -> u64 {
        if !self.choices.as_slice().is_empty() {
            return self.choices.by_ref().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        if bound <= 256
            && let Some(choice) = self.choices.next()
        {
            return usize::from(*choice) % bound;
        }
        (self.next() % bound as u64) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn f32_bits(&mut self) -> u32 {
        match self.below(8) {
            0 => 0x7fc0_0000,
            1 => 0xffc0_0000,
            2 => 0x7f80_0001 | self.next() as u32,
            3 => 0xff80_0001 | self.next() as u32,
            4 => self.pick(&[0, 0x8000_0000, 0x7f80_0000, 0xff80_0000]),
            5 => self.next() as u32,
            _ => (self.below(17) as f32 - 8.0).to_bits(),
        }
    }

    fn f64_bits(&mut self) -> u64 {
        match self.below(8) {
            0 => 0x7ff8_0000_0000_0000,
            1 => 0xfff8_0000_0000_0000,
            2 => 0x7ff0_0000_0000_0001 | self.next(),
            3 => 0xfff0_0000_0000_0001 | self.next(),
            4 => self.pick(&[0, 1 << 63, 0x7ff0_0000_0000_0000, 0xfff0_0000_0000_0000]),
            5 => self.next(),
            _ => (self.below(17) as f64 - 8.0).to_bits(),
        }
    }

    fn v128_bits(&mut self) -> u128 {
        if self.one_in(3) {
            u128::from(self.f64_bits()) << 64 | u128::from(self.f64_bits())
        } else {
            (0..4).fold(0, |bits, _| bits << 32 | u128::from(self.f32_bits()))
        }
    }

    fn constant(&mut self, ty: ValType) -> Instruction<'static> {
        match ty {
            ValType::I32 => Instruction::I32Const(self.f32_bits() as i32),
            ValType::I64 => Instruction::I64Const(self.f64_bits() as i64),
            ValType::F32 => Instruction::F32Const(Ieee32::new(self.f32_bits())),
            ValType::F64 => Instruction::F64Const(Ieee64::new(self.f64_bits())),
            ValType::V128 => Instruction::V128Const(self.v128_bits() as i128),
            ValType::Ref(_) => unreachable!("there are no values of reference types"),
        }
    }
}

/// A module. The same seed and size give the same one.
///
/// It is a command, and a stepper that does the same in each step after its first, without end: so what it leaves is part of
/// a state.
pub fn module(seed: u64, size: usize) -> Vec<u8> {
    build(Numbers::new(seed), size)
}

/// A module of which these bytes choose the beginning of each part, for fuzzers.
pub fn module_of(choices: &[u8]) -> Vec<u8> {
    let mut numbers = Numbers { choices: choices.iter(), state: 0 };
    let size = 50 + numbers.below(8) * 100;
    build(numbers, size)
}

fn build(mut numbers: Numbers<'_>, size: usize) -> Vec<u8> {
    let signatures: Vec<usize> =
        (0..1 + numbers.below(4)).map(|index| if index == 0 { 0 } else { numbers.below(SIGNATURES.len()) }).collect();
    let globals: Vec<ValType> = (0..3).map(|_| numbers.pick(&TYPES)).collect();

    let mut types = TypeSection::new();
    for (params, results) in SIGNATURES {
        types.ty().function(params.iter().copied(), results.iter().copied());
    }
    types.ty().function([], [ValType::I32]);
    let mut functions = FunctionSection::new();
    for signature in &signatures {
        functions.function(*signature as u32);
    }
    let count = signatures.len() as u32;
    let [init, step] = [count, count + 1];
    for _ in [init, step] {
        functions.function(SIGNATURES.len() as u32);
    }
    let mut tables = TableSection::new();
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: count.into(),
        maximum: None,
        shared: false,
    });
    let mut elements = ElementSection::new();
    let indices: Vec<u32> = (0..count).collect();
    elements.active(None, &ConstExpr::i32_const(0), Elements::Functions(indices.into()));
    let mut memories = MemorySection::new();
    memories.memory(MemoryType { minimum: 1, maximum: None, memory64: false, shared: false, page_size_log2: None });
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0).export("_start", ExportKind::Func, 0);
    exports.export("fedmkt_init", ExportKind::Func, init).export("fedmkt_step", ExportKind::Func, step);
    let mut global_section = GlobalSection::new();
    for (index, ty) in (0..).zip(&globals) {
        let constant = match numbers.constant(*ty) {
            Instruction::I32Const(value) => ConstExpr::i32_const(value),
            Instruction::I64Const(value) => ConstExpr::i64_const(value),
            Instruction::F32Const(value) => ConstExpr::f32_const(value),
            Instruction::F64Const(value) => ConstExpr::f64_const(value),
            Instruction::V128Const(value) => ConstExpr::v128_const(value),
            _ => unreachable!("a constant"),
        };
        global_section.global(GlobalType { val_type: *ty, mutable: true, shared: false }, &constant);
        exports.export(&format!("global {index}"), ExportKind::Global, index);
    }
    let mut code = CodeSection::new();
    for index in 0..signatures.len() {
        code.function(&Body::new(&mut numbers, &signatures, index, &globals, size).finish());
    }
    for calls in [None, Some(Instruction::Call(0))] {
        let mut function = Function::new([]);
        if let Some(call) = calls {
            function.instruction(&call);
        }
        function.instruction(&Instruction::I32Const(0)).instruction(&Instruction::End);
        code.function(&function);
    }
    let mut data = DataSection::new();
    let bytes: Vec<u8> = (0..REACHED / 8).flat_map(|_| numbers.v128_bits().to_le_bytes()).collect();
    data.active(0, &ConstExpr::i32_const(0), bytes);

    let mut module = Module::new();
    module
        .section(&types)
        .section(&functions)
        .section(&tables)
        .section(&memories)
        .section(&global_section)
        .section(&exports)
        .section(&elements)
        .section(&code)
        .section(&data);
    module.finish()
}

/// A function that is being made.
struct Body<'a, 'n> {
    numbers: &'a mut Numbers<'n>,
    signatures: &'a [usize],
    /// Its own index.
    index: usize,
    globals: &'a [ValType],
    /// Types of parameters and locals, but not of those that count turns.
    locals: Vec<ValType>,
    /// The first local that counts turns, and how many of them are in use.
    counters: u32,
    turns: u32,
    /// What branches to each open label take, the innermost last.
    labels: Vec<Vec<ValType>>,
    /// The open loops that count their turns: the index of the label, and the local.
    loops: Vec<(usize, u32)>,
    /// How many more operators there may be.
    left: usize,
    out: Function,
}

/// Nested loops.
const MOST_TURNS: u32 = 3;

impl<'a, 'n> Body<'a, 'n> {
    fn new(
        numbers: &'a mut Numbers<'n>,
        signatures: &'a [usize],
        index: usize,
        globals: &'a [ValType],
        size: usize,
    ) -> Self {
        let (params, results) = SIGNATURES[signatures[index]];
        let mut groups = Vec::new();
        let mut locals = params.to_vec();
        for ty in [ValType::V128, ValType::F32, ValType::V128, ValType::F64, ValType::I32, ValType::I64] {
            let count = if ty == ValType::V128 { 2 } else { 1 + numbers.below(2) };
            groups.push((count as u32, ty));
            locals.extend((0..count).map(|_| ty));
        }
        groups.push((MOST_TURNS, ValType::I32));
        Self {
            numbers,
            signatures,
            index,
            globals,
            counters: locals.len() as u32,
            locals,
            turns: 0,
            labels: vec![results.to_vec()],
            loops: Vec::new(),
            left: size,
            out: Function::new(groups),
        }
    }

    fn finish(mut self) -> Function {
        let statements = 2 + self.numbers.below(8);
        self.statements(statements);
        let (_, results) = SIGNATURES[self.signatures[self.index]];
        self.values(results);
        self.put(&Instruction::End);
        self.out
    }

    fn put(&mut self, instruction: &Instruction<'_>) {
        self.left = self.left.saturating_sub(1);
        self.out.instruction(instruction);
    }

    fn statements(&mut self, count: usize) {
        for _ in 0..count {
            self.statement();
        }
    }

    fn local(&mut self, ty: ValType) -> u32 {
        let of_type: Vec<u32> =
            (0..).zip(&self.locals).filter(|(_, own)| **own == ty).map(|(index, _)| index).collect();
        self.numbers.pick(&of_type)
    }

    fn memarg(&mut self) -> MemArg {
        MemArg { offset: self.numbers.below(256) as u64, align: 0, memory_index: 0 }
    }

    /// An address and what to add to it, together below [`REACHED`] and 256 and some.
    fn address(&mut self) -> MemArg {
        if self.left > 0 && self.numbers.one_in(4) {
            self.value(ValType::I32);
            self.put(&Instruction::I32Const(REACHED as i32 - 1));
            self.put(&Instruction::I32And);
        } else {
            let address = self.numbers.below(REACHED as usize) as i32 & !7;
            self.put(&Instruction::I32Const(address));
        }
        self.memarg()
    }

    fn values(&mut self, types: &[ValType]) {
        for ty in types {
            self.value(*ty);
        }
    }

    fn keep(&mut self, types: &[ValType]) {
        for ty in types.iter().rev() {
            if self.numbers.one_in(5) {
                self.put(&Instruction::Drop);
            } else {
                let local = self.local(*ty);
                self.put(&Instruction::LocalSet(local));
            }
        }
    }

    fn statement(&mut self) {
        if self.left == 0 {
            return;
        }
        match self.numbers.below(20) {
            0..6 => {
                let ty = if self.numbers.one_in(2) { ValType::V128 } else { self.numbers.pick(&TYPES) };
                self.value(ty);
                let local = self.local(ty);
                self.put(&Instruction::LocalSet(local));
            }
            6..10 => {
                let (store, ty) = if self.numbers.one_in(2) {
                    (Instruction::V128Store as fn(MemArg) -> _, ValType::V128)
                } else {
                    self.numbers.pick(STORES)
                };
                let memarg = self.address();
                self.value(ty);
                self.put(&store(memarg));
            }
            10 => {
                let (store, lanes) = self.numbers.pick(LANE_STORES);
                let memarg = self.address();
                self.value(ValType::V128);
                let lane = self.numbers.below(lanes.into()) as u8;
                self.put(&store(memarg, lane));
            }
            11 | 12 => {
                let global = self.numbers.below(self.globals.len());
                self.value(self.globals[global]);
                self.put(&Instruction::GlobalSet(global as u32));
            }
            13 => {
                self.value(ValType::I32);
                self.block(&Instruction::If, &[], &[], |body| {
                    body.some_statements();
                    if body.numbers.one_in(2) {
                        body.put(&Instruction::Else);
                        body.some_statements();
                    }
                });
            }
            14 | 15 => self.block(&Instruction::Block, &[], &[], Self::some_statements),
            16 => self.repeat(),
            17 => self.branch(),
            18 => self.several_blocks(),
            _ => self.call(),
        }
    }

    fn some_statements(&mut self) {
        let count = 1 + self.numbers.below(4);
        self.statements(count);
    }

    /// A block around what `inside` puts, which must leave the results.
    fn block(
        &mut self,
        open: &dyn Fn(BlockType) -> Instruction<'static>,
        taken: &[ValType],
        results: &[ValType],
        inside: impl FnOnce(&mut Self),
    ) {
        let ty = match results {
            [] => BlockType::Empty,
            [one] => BlockType::Result(*one),
            _ => unreachable!("several_blocks makes the others"),
        };
        self.put(&open(ty));
        self.labels.push(taken.to_vec());
        inside(self);
        self.put(&Instruction::End);
        self.labels.pop();
    }

    /// A counted loop.
    fn repeat(&mut self) {
        if self.turns == MOST_TURNS {
            return;
        }
        let counter = self.counters + self.turns;
        self.turns += 1;
        let turns = 1 + self.numbers.below(3) as i32;
        self.put(&Instruction::I32Const(turns));
        self.put(&Instruction::LocalSet(counter));
        self.block(&Instruction::Loop, &[], &[], |body| {
            // Branches to the label of a loop must count.
            body.labels.pop();
            body.labels.push(vec![ValType::FUNCREF]);
            body.loops.push((body.labels.len() - 1, counter));
            body.some_statements();
            body.count_turn(counter);
            body.put(&Instruction::BrIf(0));
            body.loops.pop();
        });
        self.turns -= 1;
    }

    /// Leaves whether there is another turn.
    fn count_turn(&mut self, counter: u32) {
        self.put(&Instruction::LocalGet(counter));
        self.put(&Instruction::I32Const(1));
        self.put(&Instruction::I32Sub);
        self.put(&Instruction::LocalTee(counter));
        self.put(&Instruction::I32Const(0));
        self.put(&Instruction::I32GtS);
    }

    /// A branch back to an open loop from within.
    fn next_turn(&mut self) {
        if self.loops.is_empty() {
            return;
        }
        let index = self.numbers.below(self.loops.len());
        let (label, counter) = self.loops[index];
        let depth = (self.labels.len() - 1 - label) as u32;
        match self.numbers.below(3) {
            0 => {
                self.count_turn(counter);
                self.put(&Instruction::BrIf(depth));
            }
            1 => {
                self.value(ValType::I32);
                self.put(&Instruction::If(BlockType::Empty));
                self.labels.push(Vec::new());
                self.some_statements();
                self.count_turn(counter);
                self.put(&Instruction::BrIf(depth + 1));
                self.put(&Instruction::End);
                self.labels.pop();
            }
            _ => {
                self.put(&Instruction::Block(BlockType::Empty));
                self.labels.push(Vec::new());
                let mut out = self.targets(Some(&[]));
                let leave = self.numbers.pick(&out);
                out.push(0);
                // Not another turn: out of here, or of something around.
                let otherwise = self.numbers.pick(&out);
                self.count_turn(counter);
                self.put(&Instruction::BrTable(vec![otherwise, depth + 1].into(), leave));
                self.put(&Instruction::End);
                self.labels.pop();
            }
        }
    }

    /// Labels to which a branch may lead, with what it takes: all but loops.
    fn targets(&self, taken: Option<&[ValType]>) -> Vec<u32> {
        let labels = (0..).zip(self.labels.iter().rev());
        labels
            .filter(|(_, types)| !types.contains(&ValType::FUNCREF) && taken.is_none_or(|taken| taken == *types))
            .map(|(depth, _)| depth)
            .collect()
    }

    fn branch(&mut self) {
        if self.numbers.one_in(3) {
            return self.next_turn();
        }
        let targets = self.targets(None);
        let depth = self.numbers.pick(&targets);
        let taken = self.labels[self.labels.len() - 1 - depth as usize].clone();
        match self.numbers.below(5) {
            0..3 => {
                self.values(&taken);
                self.value(ValType::I32);
                self.put(&Instruction::BrIf(depth));
                self.keep(&taken);
            }
            3 => {
                // What follows an unconditional branch is dead up to the end of a block of its own.
                self.value(ValType::I32);
                self.put(&Instruction::If(BlockType::Empty));
                self.labels.push(Vec::new());
                self.values(&taken);
                if self.numbers.one_in(4) && self.labels[0] == taken {
                    self.put(&Instruction::Return);
                } else {
                    self.put(&Instruction::Br(depth + 1));
                }
                if self.numbers.one_in(3) {
                    self.some_statements();
                }
                self.put(&Instruction::End);
                self.labels.pop();
            }
            _ => {
                self.value(ValType::I32);
                self.put(&Instruction::If(BlockType::Empty));
                self.labels.push(Vec::new());
                let targets = self.targets(Some(&taken));
                let table: Vec<u32> = (0..self.numbers.below(4)).map(|_| self.numbers.pick(&targets)).collect();
                self.values(&taken);
                self.value(ValType::I32);
                self.put(&Instruction::I32Const(3));
                self.put(&Instruction::I32And);
                self.put(&Instruction::BrTable(table.into(), depth + 1));
                self.put(&Instruction::End);
                self.labels.pop();
            }
        }
    }

    /// A block, loop or `if` with parameters and several results.
    fn several_blocks(&mut self) {
        let signature = self.numbers.below(SIGNATURES.len());
        let (params, results) = SIGNATURES[signature];
        let ty = BlockType::FunctionType(signature as u32);
        self.values(params);
        let kind = self.numbers.below(3);
        if kind == 2 {
            self.value(ValType::I32);
        }
        self.put(&match kind {
            0 => Instruction::Block(ty),
            1 => Instruction::Loop(ty),
            _ => Instruction::If(ty),
        });
        self.labels.push(if kind == 1 { vec![ValType::FUNCREF] } else { results.to_vec() });
        for half in 0..1 + usize::from(kind == 2) {
            if half == 1 {
                self.put(&Instruction::Else);
            }
            self.keep(params);
            self.some_statements();
            self.values(results);
        }
        self.put(&Instruction::End);
        self.labels.pop();
        self.keep(results);
    }

    /// A call of a function after this one.
    fn call(&mut self) {
        let later: Vec<usize> = (self.index + 1..self.signatures.len()).collect();
        if later.is_empty() || self.turns > 1 {
            return;
        }
        let callee = self.numbers.pick(&later);
        let signature = self.signatures[callee];
        let (params, results) = SIGNATURES[signature];
        self.values(params);
        if self.numbers.one_in(2) {
            self.put(&Instruction::Call(callee as u32));
        } else {
            self.put(&Instruction::I32Const(callee as i32));
            self.put(&Instruction::CallIndirect { type_index: signature as u32, table_index: 0 });
        }
        self.keep(results);
    }

    /// Leaves a value of this type.
    fn value(&mut self, ty: ValType) {
        if self.left == 0 || self.numbers.one_in(5) {
            if self.numbers.one_in(2) {
                let local = self.local(ty);
                return self.put(&Instruction::LocalGet(local));
            }
            let constant = self.numbers.constant(ty);
            return self.put(&constant);
        }
        match self.numbers.below(24) {
            0..3 => {
                let local = self.local(ty);
                self.put(&Instruction::LocalGet(local));
            }
            3 => {
                self.value(ty);
                let local = self.local(ty);
                self.put(&Instruction::LocalTee(local));
            }
            4 => {
                let of_type: Vec<u32> =
                    (0..).zip(self.globals).filter(|(_, own)| **own == ty).map(|(index, _)| index).collect();
                if of_type.is_empty() {
                    return self.value(ty);
                }
                let global = self.numbers.pick(&of_type);
                self.put(&Instruction::GlobalGet(global));
            }
            5 | 6 => {
                let of_type: Vec<_> = LOADS.iter().filter(|(_, own)| *own == ty).collect();
                let (load, _) = self.numbers.pick(&of_type);
                let memarg = self.address();
                self.put(&load(memarg));
            }
            7 => {
                self.value(ty);
                self.value(ty);
                self.value(ValType::I32);
                let typed = self.numbers.one_in(2);
                self.put(&if typed { Instruction::TypedSelect(ty) } else { Instruction::Select });
            }
            8 => {
                self.block(&Instruction::Block, &[ty], &[ty], |body| {
                    body.some_statements();
                    body.value(ty);
                });
            }
            9 => {
                self.value(ValType::I32);
                self.block(&Instruction::If, &[ty], &[ty], |body| {
                    body.value(ty);
                    body.put(&Instruction::Else);
                    body.value(ty);
                });
            }
            10 if ty == ValType::V128 => {
                let (load, lanes) = self.numbers.pick(LANE_LOADS);
                let memarg = self.address();
                self.value(ty);
                let lane = self.numbers.below(lanes.into()) as u8;
                self.put(&load(memarg, lane));
            }
            11 if ty == ValType::V128 => {
                self.value(ty);
                self.value(ty);
                let width = self.numbers.pick(&[1, 4, 4, 8]);
                let mut lanes = [0; 16];
                for lane in lanes.chunks_mut(width) {
                    let from = self.numbers.below(32 / width) * width;
                    for (index, byte) in lane.iter_mut().enumerate() {
                        *byte = (from + index) as u8;
                    }
                }
                self.put(&Instruction::I8x16Shuffle(lanes));
            }
            12 | 13 => {
                let of_type: Vec<_> = LANES.iter().filter(|(.., result)| *result == ty).collect();
                let (make, lanes, operands, _) = *self.numbers.pick(&of_type);
                self.values(operands);
                let lane = self.numbers.below(lanes.into()) as u8;
                self.put(&make(lane));
            }
            _ => {
                let all: Vec<&Plain> = if self.numbers.one_in(2) { ARITHMETIC.clone() } else { PLAIN.iter().collect() };
                let of_type: Vec<_> = all.into_iter().filter(|(.., result)| *result == ty).collect();
                if of_type.is_empty() {
                    let constant = self.numbers.constant(ty);
                    return self.put(&constant);
                }
                let mut picked = self.numbers.pick(&of_type);
                // A trap ends it all, so there are few.
                if may_trap(&picked.0) && !self.numbers.one_in(8) {
                    picked = self.numbers.pick(&of_type);
                }
                let (operator, operands, _) = picked;
                self.values(operands);
                self.put(operator);
            }
        }
    }
}

/// Conversions that refuse NaNs, and integer division.
fn may_trap(operator: &Instruction<'_>) -> bool {
    let name = format!("{operator:?}");
    let whole = name.starts_with("I32") || name.starts_with("I64");
    whole && ["TruncF", "Div", "Rem"].iter().any(|part| name[3..].starts_with(part))
}

/// Operators that make NaNs, roughly: they are chosen more often.
static ARITHMETIC: LazyLock<Vec<&Plain>> = LazyLock::new(|| {
    let is_arithmetic = |(operator, operands, _): &Plain| {
        let name = format!("{operator:?}");
        let float = operands.iter().any(|ty| matches!(ty, ValType::F32 | ValType::F64)) || name.starts_with('F');
        float && ["Add", "Sub", "Mul", "Div", "Sqrt", "Min", "Max", "mote"].iter().any(|part| name.contains(part))
    };
    PLAIN.iter().filter(|plain| is_arithmetic(plain)).collect()
});

/// What a module left.
#[derive(Clone, PartialEq, Eq)]
pub struct Left {
    /// Whether it returned; otherwise it trapped.
    pub returned: bool,
    /// All of memory.
    pub memory: Vec<u8>,
    /// The bits of all globals.
    pub globals: Vec<u128>,
}

impl fmt::Debug for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = self.memory.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        f.debug_struct("Left")
            .field("returned", &self.returned)
            .field("globals", &format_args!("{:x?}", self.globals))
            .field("memory", &format_args!("{:x?}", &self.memory[..used]))
            .finish()
    }
}

/// The engines that are compared.
pub struct Engines {
    canonical: wasmtime::Engine,
    plain: wasmtime::Engine,
    wasmi: wasmi::Engine,
}

impl Default for Engines {
    fn default() -> Self {
        Self::new()
    }
}

impl Engines {
    /// Wasmtime with NaNs as the processor makes them and with canonical ones, and wasmi.
    pub fn new() -> Self {
        let wasmtime = |canonical| {
            let mut config = wasmtime::Config::new();
            config.cranelift_nan_canonicalization(canonical);
            wasmtime::Engine::new(&config).expect("Wasmtime works on this host")
        };
        Self { canonical: wasmtime(true), plain: wasmtime(false), wasmi: wasmi::Engine::default() }
    }

    /// Runs the author's module in an engine whose NaNs are canonical, and the admitted one in engines with other NaNs.
    /// What they leave is the same, or the message tells how it differs.
    ///
    /// # Errors
    /// When they differ.
    pub fn compare(&self, wasm: &[u8]) -> Result<Compared, String> {
        let limits = ModuleLimits { max_memory_bytes: MEMORY_BYTES };
        let admitted = admission::admit(wasm, &limits).map_err(|refusal| refusal.to_string())?;
        let expected = in_wasmtime(&self.canonical, wasm);
        let hostile = adversary::hostile(&admitted.wasm, wasm.len() as u64);
        for (name, found) in [
            ("an engine with the worst NaNs", in_wasmtime(&self.plain, &hostile)),
            ("Wasmtime", in_wasmtime(&self.plain, &admitted.wasm)),
            ("Wasmtime with canonical NaNs", in_wasmtime(&self.canonical, &admitted.wasm)),
            ("wasmi", in_wasmi(&self.wasmi, &admitted.wasm)),
        ] {
            if found != expected {
                return Err(format!("{name} left\n{found:?}\ninstead of\n{expected:?}"));
            }
        }
        let unsettled = in_wasmtime(&self.plain, &adversary::hostile(wasm, wasm.len() as u64));
        Ok(Compared { returned: expected.returned, nans_seen: unsettled != expected, admitted })
    }
}

/// What is known of a module on which all engines agree.
pub struct Compared {
    /// Whether it returned; otherwise it trapped.
    pub returned: bool,
    /// Whether the author's module leaves something else in an engine with other NaNs.
    pub nans_seen: bool,
    /// The admitted module.
    pub admitted: Admitted,
}

fn in_wasmtime(engine: &wasmtime::Engine, wasm: &[u8]) -> Left {
    use wasmtime::{Instance, Module, Store, Val};
    let module = Module::new(engine, wasm).expect("a valid module");
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, &module, &[]).expect("a module without imports");
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start").expect("a command");
    let returned = start.call(&mut store, ()).is_ok();
    let memory = instance.get_memory(&mut store, "memory").expect("memory").data(&store).to_vec();
    let globals = (0..)
        .map_while(|index| instance.get_global(&mut store, &format!("global {index}")))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|global| match global.get(&mut store) {
            Val::I32(bits) => u128::from(bits as u32),
            Val::I64(bits) => u128::from(bits as u64),
            Val::F32(bits) => u128::from(bits),
            Val::F64(bits) => u128::from(bits),
            Val::V128(bits) => bits.as_u128(),
            _ => unreachable!("no global is a reference"),
        })
        .collect();
    Left { returned, memory, globals }
}

fn in_wasmi(engine: &wasmi::Engine, wasm: &[u8]) -> Left {
    use wasmi::{Linker, Module, Store, Val};
    let wasm = fedmkt_machine::shield::shielded(wasm).expect("a valid module");
    let module = Module::new(engine, wasm).expect("a valid module");
    let mut store = Store::new(engine, ());
    let instance = Linker::new(engine).instantiate_and_start(&mut store, &module).expect("a module without imports");
    let start = instance.get_typed_func::<(), ()>(&store, "_start").expect("a command");
    let returned = start.call(&mut store, ()).is_ok();
    let memory = instance.get_memory(&store, "memory").expect("memory").data(&store).to_vec();
    let globals = (0..)
        .map_while(|index| instance.get_global(&store, &format!("global {index}")))
        .map(|global| match global.get(&store) {
            Val::I32(bits) => u128::from(bits as u32),
            Val::I64(bits) => u128::from(bits as u64),
            Val::F32(value) => u128::from(value.to_bits()),
            Val::F64(value) => u128::from(value.to_bits()),
            Val::V128(bits) => bits.as_u128(),
            _ => unreachable!("no global is a reference"),
        })
        .collect();
    Left { returned, memory, globals }
}
