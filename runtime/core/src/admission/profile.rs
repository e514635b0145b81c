//! The profile's allow-list of WebAssembly features.

use alloc::format;
use alloc::vec::Vec;

use wasmparser::{
    BlockType, FuncValidatorAllocations, Operator, OperatorsReader, Parser, ValType, ValidPayload, Validator,
    WasmFeatures,
};

use super::findings::{Refusal, refuse};
use super::nan::{Insertion, Planner};
use super::operator::Current;
use super::scan::{Module, breaks_restore};
use super::{Form, limits};

/// The features with which modules are validated.
pub(super) const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::FLOATS);

/// Which proposals the profile has: a name for those that it refuses. A proposal that is not listed here does not
/// compile.
macro_rules! refused_proposal {
    (mvp) => {
        None
    };
    (sign_extension) => {
        None
    };
    (saturating_float_to_int) => {
        None
    };
    (bulk_memory) => {
        None
    };
    (reference_types) => {
        None
    };
    (simd) => {
        None
    };
    (relaxed_simd) => {
        Some("relaxed SIMD")
    };
    (threads) => {
        Some("threads and atomics")
    };
    (shared_everything_threads) => {
        Some("shared-everything threads")
    };
    (acquire_release_atomics) => {
        Some("acquire-release atomics")
    };
    (tail_call) => {
        Some("tail calls")
    };
    (exceptions) => {
        Some("exceptions")
    };
    (legacy_exceptions) => {
        Some("legacy exceptions")
    };
    (function_references) => {
        Some("typed function references")
    };
    (gc) => {
        Some("garbage collection")
    };
    (memory_control) => {
        Some("memory control")
    };
    (stack_switching) => {
        Some("stack switching")
    };
    (wide_arithmetic) => {
        Some("wide arithmetic")
    };
    (custom_descriptors) => {
        Some("custom descriptors")
    };
}

macro_rules! define_refused_feature {
    ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*) )*) => {
        /// The feature by which an operator is refused; `None` if the profile has it.
        pub(super) fn refused_feature(operator: &Operator<'_>) -> Option<&'static str> {
            match operator {
                $( Operator::$op { .. } => refused_proposal!($proposal), )*
                // wasmparser reserves the right to add operators; every one of this version is named above.
                _ => Some("an operator that this profile does not know"),
            }
        }
    };
}
wasmparser::for_each_operator!(define_refused_feature);

/// What instrumentation must know of a function body.
pub(super) struct BodyFacts {
    /// Words of the frame: parameters, locals and the highest operand stack, two for each `v128`.
    pub(super) frame_words: u32,
    /// Whether it calls functions of the module.
    pub(super) calls: bool,
    /// Where it returns, in order.
    pub(super) returns: Vec<Return>,
    /// What makes its NaNs the same everywhere, in order.
    pub(super) insertions: Vec<Insertion>,
}

/// A `return`.
pub(super) struct Return {
    /// The offset in the module of its first byte.
    pub(super) start: usize,
    /// ... and of the next operator.
    pub(super) end: usize,
    /// How many blocks are open there.
    pub(super) depth: u32,
}

/// Validates a module with the profile's features, and refuses what [`scan`](super::scan::scan) finds in bodies.
pub(super) fn validate(module: &Module<'_>) -> Result<Vec<BodyFacts>, Refusal> {
    let wasm = module.wasm;
    let mut validator = Validator::new_with_features(FEATURES);
    let mut allocations = FuncValidatorAllocations::default();
    let mut facts = Vec::new();
    let mut planner = Planner::new(module);
    let mut grown = wasm.len();
    let stepper = module.form != Form::Command;
    let mut current = Current::default();
    let vector_results: Vec<bool> = module.types.iter().map(|ty| ty.results().contains(&ValType::V128)).collect();
    let invalid = |error: wasmparser::BinaryReaderError| {
        refuse(format!("not valid WebAssembly under this profile: {}", error.message()), error.offset())
    };
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(invalid)?;
        let ValidPayload::Func(function, body) = validator.payload(&payload).map_err(invalid)? else { continue };
        let index = function.index;
        if body.range().len() > limits::FUNCTION_BYTES {
            return Err(refuse("a function is too long", body.range().start));
        }
        let mut function = function.into_validator(allocations);
        let mut reader = body.get_binary_reader();
        function.read_locals(&mut reader).map_err(invalid)?;
        let mut words = 0;
        for local in 0..function.len_locals() {
            words += function.get_local_type(local).map_or(1, type_words);
        }
        let ty = &module.types[module.functions[facts.len()] as usize];
        planner.begin(ty, (0..function.len_locals()).map(|local| function.get_local_type(local)));
        let (mut height, mut vectors, mut calls) = (0, false, false);
        let mut returns = Vec::new();
        let mut operators = OperatorsReader::new(reader);
        while !operators.eof() {
            let offset = operators.original_position();
            let operator = current.read(&mut operators).map_err(invalid)?;
            let end = operators.original_position();
            let taken = match *operator {
                Operator::Drop | Operator::GlobalSet { .. } => function.get_operand_type(0),
                Operator::Select => function.get_operand_type(1),
                _ => None,
            };
            function.op(offset, operator).map_err(invalid)?;
            let refused = match operator {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                    function.control_stack_height() > limits::NESTING + 1
                }
                Operator::BrTable { targets } => targets.len() > limits::BRANCH_TARGETS,
                Operator::Return => {
                    returns.push(Return { start: offset, end, depth: function.control_stack_height() - 1 });
                    false
                }
                operator => stepper && breaks_restore(operator).is_some(),
            };
            let subject = match *operator {
                Operator::GlobalGet { .. } => function.get_operand_type(0),
                _ => taken,
            };
            if refused || !planner.record(operator, subject.flatten(), offset, end) {
                return Err(refuse("an operator that this profile does not know", offset));
            }
            height = height.max(function.operand_stack_height());
            // Only the newest operands can be vectors that were not seen before, or results that came together.
            vectors |= (0..2).any(|depth| function.get_operand_type(depth) == Some(Some(ValType::V128)));
            vectors |= match *operator {
                Operator::Call { function_index } => function_index
                    .checked_sub(module.imported_functions)
                    .is_some_and(|defined| vector_results[module.functions[defined as usize] as usize]),
                Operator::CallIndirect { type_index, .. } => vector_results[type_index as usize],
                Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => match blockty {
                    BlockType::FuncType(index) => vector_results[index as usize],
                    BlockType::Empty | BlockType::Type(_) => false,
                },
                _ => false,
            };
            calls |= match *operator {
                Operator::Call { function_index } => function_index >= module.imported_functions,
                Operator::CallIndirect { .. } => true,
                _ => false,
            };
        }
        operators.finish().map_err(invalid)?;
        let parameters_and_locals = function.len_locals();
        if parameters_and_locals > limits::LOCALS || height > limits::OPERANDS {
            return Err(refuse(
                format!(
                    "function {index} has {parameters_and_locals} locals and {height} operands; the limits are {} and {}",
                    limits::LOCALS,
                    limits::OPERANDS
                ),
                body.range().start,
            ));
        }
        let mut insertions = planner.plan();
        let mut more = most_bytes(&insertions);
        if more > limits::ADDED_BYTES {
            insertions = planner.plan_untracked();
            more = most_bytes(&insertions);
        }
        grown += more;
        if more > limits::ADDED_BYTES || grown > limits::INSTRUMENTED_BYTES {
            return Err(refuse(
                format!("function {index} is too large: what makes its NaNs the same everywhere takes {more} bytes"),
                body.range().start,
            ));
        }
        facts.push(BodyFacts { frame_words: words + height * if vectors { 2 } else { 1 }, calls, returns, insertions });
        allocations = function.into_allocations();
    }
    Ok(facts)
}

fn most_bytes(insertions: &[Insertion]) -> usize {
    insertions.iter().map(|insertion| insertion.what.most_bytes()).sum()
}

/// Words of a value.
pub(super) fn type_words(ty: ValType) -> u32 {
    match ty {
        ValType::V128 => 2,
        ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64 | ValType::Ref(_) => 1,
    }
}
