//! Modules that nobody wrote: wasm-smith's, with entry points that call their functions and keep what they return.

use arbitrary::Unstructured;
use fedmkt_core::wasi::{Function as Wasi, ValueType};
use wasm_encoder::reencode::{Error, Reencode};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataCountSection, DataSection, ElementSection, EntityType, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, HeapType, ImportSection, Instruction as I,
    MemArg, MemorySection, Module, StartSection, TableSection, TypeSection, ValType,
};
use wasmparser::{Parser, Payload};

/// Numbers from a seed: xorshift64*.
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }

    /// An interesting number: small, a bound of some type, a bit pattern of some float, or any.
    pub fn interesting(&mut self) -> u64 {
        const NUMBERS: [u64; 20] = [
            0,
            1,
            2,
            7,
            64,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            1 << 63,
            u64::MAX,
            0x7f80_0000,           // f32 infinity
            0x7fc0_0000,           // f32 canonical NaN
            0xffc0_0001,           // f32 negative NaN with payload
            0x7f80_0001,           // f32 signalling NaN
            0x3f80_0000,           // f32 1
            0x0000_0001,           // f32 smallest subnormal
            0x7ff0_0000_0000_0000, // f64 infinity
            0x7ff8_0000_0000_0000, // f64 canonical NaN
            0xfff0_0000_dead_beef, // f64 negative signalling NaN
            0x3ff0_0000_0000_0000, // f64 1
        ];
        match self.below(3) {
            0 => self.next(),
            _ => NUMBERS[self.below(NUMBERS.len() as u64) as usize],
        }
    }
}

/// What is generated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// `_start` only; everything in the profile is allowed, and memory goes into the result.
    Command,
    /// Steps; without what the profile forbids there.
    Stepper,
}

/// Bytes of memory that a command puts into its result.
const RESULT_BYTES: i32 = 65_536;

/// Where in memory the results of functions go.
const KEPT: u64 = 1024;

/// What each call of a function may burn before it traps.
const FUEL: i32 = 20_000;

/// wasm-smith's module, taken apart.
pub struct Generated {
    wasm: Vec<u8>,
    fuel: u32,
    form: Form,
    seed: u64,
    /// How many functions it has.
    pub functions: u32,
}

impl Generated {
    /// The module of a seed.
    #[expect(clippy::field_reassign_with_default, reason = "dozens of fields, each on a line")]
    pub fn new(seed: u64, form: Form) -> Self {
        let mut random = Random::new(seed);
        let bytes: Vec<u8> = (0..8192).flat_map(|_| random.next().to_le_bytes()).collect();
        let mut config = wasm_smith::Config::default();
        config.exceptions_enabled = false;
        config.gc_enabled = false;
        config.tail_call_enabled = false;
        config.threads_enabled = false;
        config.relaxed_simd_enabled = false;
        config.memory64_enabled = false;
        config.wide_arithmetic_enabled = false;
        config.custom_page_sizes_enabled = false;
        config.reference_types_enabled = form == Form::Command;
        config.bulk_memory_enabled = form == Form::Command;
        config.extended_const_enabled = false;
        config.disallow_traps = random.below(5) > 0;
        config.max_imports = 0;
        config.max_memories = 1;
        config.min_memories = 1;
        config.max_memory32_bytes = 4 << 20;
        config.memory_max_size_required = random.below(2) == 0;
        config.max_table_elements = 1000;
        config.table_max_size_required = true;
        config.min_funcs = 10;
        config.max_funcs = 30;
        config.max_instructions = 200;
        config.allow_start_export = random.below(4) == 0;
        config.min_uleb_size = 1;
        let mut module = wasm_smith::Module::new(config, &mut Unstructured::new(&bytes)).expect("a module");
        let fuel = module.ensure_termination(FUEL as u32).expect("all functions were generated");
        let wasm = module.to_bytes();
        let functions = Parser::new(0).parse_all(&wasm).find_map(|payload| match payload.expect("valid") {
            Payload::FunctionSection(section) => Some(section.count()),
            _ => None,
        });
        Self { wasm, fuel, form, seed, functions: functions.unwrap_or(0) }
    }

    /// The module's name.
    pub fn name(&self) -> String {
        format!("{:?}-{}", self.form, self.seed).to_lowercase()
    }

    /// A trainer that calls these functions.
    pub fn trainer(&self, called: &[u32]) -> Vec<u8> {
        let mut shift = Shift(Wasi::ALL.len() as u32);
        assemble(self, called, &mut shift).unwrap_or_else(|error| panic!("seed {}: {error}", self.seed))
    }
}

/// Makes room for imported functions.
struct Shift(u32);

impl Reencode for Shift {
    type Error = std::convert::Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error<Self::Error>> {
        Ok(function + self.0)
    }

    /// The profile has no `externref`; wasm-smith cannot do without.
    fn abstract_heap_type(
        &mut self,
        ty: wasmparser::AbstractHeapType,
    ) -> Result<wasm_encoder::AbstractHeapType, Error<Self::Error>> {
        match ty {
            wasmparser::AbstractHeapType::Extern => Ok(wasm_encoder::AbstractHeapType::Func),
            other => Ok(wasm_encoder::reencode::utils::abstract_heap_type(self, other)),
        }
    }
}

fn value_type(ty: &ValueType) -> ValType {
    match ty {
        ValueType::I32 => ValType::I32,
        ValueType::I64 => ValType::I64,
    }
}

fn assemble(
    generated: &Generated,
    called: &[u32],
    shift: &mut Shift,
) -> Result<Vec<u8>, Error<std::convert::Infallible>> {
    let mut types = TypeSection::new();
    let mut signatures: Vec<wasmparser::FuncType> = Vec::new();
    let (mut functions, mut function_types) = (FunctionSection::new(), Vec::new());
    let (mut tables, mut memories, mut globals) = (TableSection::new(), MemorySection::new(), GlobalSection::new());
    let (mut elements, mut data, mut count) = (ElementSection::new(), DataSection::new(), None);
    let (mut code, mut start) = (CodeSection::new(), None);
    for payload in Parser::new(0).parse_all(&generated.wasm) {
        match payload? {
            Payload::TypeSection(section) => {
                for group in section.clone() {
                    for ty in group?.into_types() {
                        signatures.push(ty.unwrap_func().clone());
                    }
                }
                shift.parse_type_section(&mut types, section)?;
            }
            Payload::FunctionSection(section) => {
                for ty in section.clone() {
                    function_types.push(ty?);
                }
                shift.parse_function_section(&mut functions, section)?;
            }
            Payload::TableSection(section) => shift.parse_table_section(&mut tables, section)?,
            Payload::MemorySection(section) => shift.parse_memory_section(&mut memories, section)?,
            Payload::GlobalSection(section) => shift.parse_global_section(&mut globals, section)?,
            Payload::ElementSection(section) => shift.parse_element_section(&mut elements, section)?,
            Payload::DataSection(section) => shift.parse_data_section(&mut data, section)?,
            Payload::DataCountSection { count: found, .. } => count = Some(found),
            Payload::StartSection { func, .. } => start = Some(func + shift.0),
            Payload::CodeSectionEntry(body) => shift.parse_function_body(&mut code, body)?,
            _ => {}
        }
    }

    // Types and functions of our own come after those that are there.
    let mut imports = ImportSection::new();
    for wasi in Wasi::ALL {
        imports.import("wasi_snapshot_preview1", wasi.name(), EntityType::Function(types.len()));
        types.ty().function(wasi.params().iter().map(value_type), wasi.result().iter().map(value_type));
    }
    let (nothing, number) = (types.len(), types.len() + 1);
    types.ty().function([], []);
    types.ty().function([], [ValType::I32]);
    let counter = globals.len();
    globals.global(GlobalType { val_type: ValType::I32, mutable: true, shared: false }, &ConstExpr::i32_const(0));

    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    let mut random = Random::new(generated.seed ^ 0x5eed);
    let mut entry = |name, ty, last: &[I<'static>]| {
        let mut body = Body::new(&mut random, generated.fuel);
        for &function in called {
            let ty = function_types[function as usize];
            body.call(shift.0 + function, &signatures[ty as usize]);
        }
        (0..4).for_each(|_| body.call_wasi());
        exports.export(name, ExportKind::Func, shift.0 + functions.len());
        functions.function(ty);
        code.function(&body.finish(last));
    };
    match generated.form {
        Form::Command => entry("_start", nothing, &write_result()),
        Form::Stepper => {
            entry("_initialize", nothing, &[]);
            entry("fedmkt_init", number, &[I::I32Const(0)]);
            let count = [I::GlobalGet(counter), I::I32Const(1), I::I32Add, I::GlobalSet(counter)];
            let done = [I::GlobalGet(counter), I::I32Const(3), I::I32GeS];
            entry("fedmkt_step", number, &[&write_result()[..], &count, &done].concat());
        }
    }

    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&tables).section(&memories).section(&globals);
    module.section(&exports);
    if let Some(function_index) = start {
        module.section(&StartSection { function_index });
    }
    module.section(&elements);
    if let Some(count) = count {
        module.section(&DataCountSection { count });
    }
    module.section(&code).section(&data);
    Ok(module.finish())
}

const fn at(offset: u64) -> MemArg {
    MemArg { offset, align: 0, memory_index: 0 }
}

/// The index of an imported function.
fn imported(wasi: Wasi) -> u32 {
    Wasi::ALL.iter().position(|function| *function == wasi).expect("all are imported") as u32
}

/// Opens `out/model` and writes memory to it.
fn write_result() -> Vec<I<'static>> {
    const CREATE_AND_TRUNCATE: i32 = 1 | 8;
    const RIGHT_TO_WRITE: i64 = 1 << 6;
    vec![
        I::I32Const(0),
        I::I64Const(i64::from_le_bytes(*b"out/mode")),
        I::I64Store(at(8)),
        I::I32Const(0),
        I::I32Const(i32::from(b'l')),
        I::I32Store(at(16)),
        I::I32Const(3),
        I::I32Const(0),
        I::I32Const(8),
        I::I32Const(9),
        I::I32Const(CREATE_AND_TRUNCATE),
        I::I64Const(RIGHT_TO_WRITE),
        I::I64Const(0),
        I::I32Const(0),
        I::I32Const(24),
        I::Call(imported(Wasi::PathOpen)),
        I::Drop,
        I::I32Const(0),
        I::I32Const(0),
        I::I32Store(at(32)),
        I::I32Const(0),
        I::I32Const(RESULT_BYTES),
        I::I32Store(at(36)),
        I::I32Const(0),
        I::I32Load(at(24)),
        I::I32Const(32),
        I::I32Const(1),
        I::I32Const(40),
        I::Call(imported(Wasi::FdWrite)),
        I::Drop,
    ]
}

/// The body of an entry point.
struct Body<'a> {
    random: &'a mut Random,
    fuel: u32,
    locals: Vec<ValType>,
    code: Vec<I<'static>>,
    kept: u64,
}

impl<'a> Body<'a> {
    /// Begins by making sure that there is a page of memory.
    fn new(random: &'a mut Random, fuel: u32) -> Self {
        let code = vec![
            I::MemorySize(0),
            I::I32Eqz,
            I::If(BlockType::Empty),
            I::I32Const(1),
            I::MemoryGrow(0),
            I::Drop,
            I::End,
        ];
        Self { random, fuel, locals: Vec::new(), code, kept: KEPT }
    }

    /// Calls a function with some arguments, and keeps what it returns in memory.
    fn call(&mut self, function: u32, ty: &wasmparser::FuncType) {
        self.code.extend([I::I32Const(FUEL), I::GlobalSet(self.fuel)]);
        for param in ty.params() {
            let number = self.random.interesting();
            self.code.push(match param {
                wasmparser::ValType::I32 => I::I32Const(number as i32),
                wasmparser::ValType::I64 => I::I64Const(number as i64),
                wasmparser::ValType::F32 => I::F32Const(f32::from_bits(number as u32).into()),
                wasmparser::ValType::F64 => I::F64Const(f64::from_bits(number).into()),
                wasmparser::ValType::V128 => {
                    I::V128Const((u128::from(number) << 64 | u128::from(self.random.interesting())) as i128)
                }
                wasmparser::ValType::Ref(_) => I::RefNull(HeapType::FUNC),
            });
        }
        self.code.push(I::Call(function));
        for result in ty.results().iter().rev() {
            let (local, store) = match result {
                wasmparser::ValType::I32 => (ValType::I32, I::I32Store(at(self.kept))),
                wasmparser::ValType::I64 => (ValType::I64, I::I64Store(at(self.kept))),
                wasmparser::ValType::F32 => (ValType::F32, I::F32Store(at(self.kept))),
                wasmparser::ValType::F64 => (ValType::F64, I::F64Store(at(self.kept))),
                wasmparser::ValType::V128 => (ValType::V128, I::V128Store(at(self.kept))),
                wasmparser::ValType::Ref(_) => {
                    self.code.push(I::Drop);
                    continue;
                }
            };
            let index = self.locals.len() as u32;
            self.locals.push(local);
            self.code.extend([I::LocalSet(index), I::I32Const(0), I::LocalGet(index), store]);
            self.kept += 16;
        }
    }

    /// Calls a WASI function with some arguments: most are wrong, some are not.
    fn call_wasi(&mut self) {
        let wasi = loop {
            let wasi = Wasi::ALL[self.random.below(Wasi::ALL.len() as u64) as usize];
            if wasi != Wasi::ProcExit || self.random.below(8) == 0 {
                break wasi;
            }
        };
        let index = imported(wasi);
        if wasi.result().is_some() {
            self.code.push(I::I32Const(0));
        }
        for param in wasi.params() {
            let number = if self.random.below(4) == 0 { self.random.interesting() } else { self.random.below(48) };
            self.code.push(match param {
                ValueType::I32 => I::I32Const(number as i32),
                ValueType::I64 => I::I64Const(number as i64),
            });
        }
        self.code.push(I::Call(index));
        if wasi.result().is_some() {
            self.code.push(I::I32Store(at(self.kept)));
            self.kept += 16;
        }
    }

    fn finish(self, last: &[I<'static>]) -> Function {
        let mut function = Function::new_with_locals_types(self.locals);
        self.code.iter().chain(last).for_each(|instruction| {
            function.instruction(instruction);
        });
        function.instruction(&I::End);
        function
    }
}
