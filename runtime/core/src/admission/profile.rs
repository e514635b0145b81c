//! The profile's allow-list of WebAssembly features.

use alloc::format;
use alloc::vec::Vec;

use wasmparser::{
    BlockType, FrameKind, FuncType, FuncValidator, FuncValidatorAllocations, Operator, OperatorsReader, Parser,
    ValType, ValidPayload, Validator, ValidatorResources, WasmFeatures,
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

/// A `return` where the innermost block can be reached, as far as validation knows.
pub(super) struct Return {
    /// The offset in the module of its only byte.
    pub(super) at: u32,
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
    let mut all_locals = 0u32;
    let stepper = module.form != Form::Command;
    let mut current = Current::default();
    let vector_results: Vec<bool> = module.types.iter().map(|ty| ty.results().contains(&ValType::V128)).collect();
    let invalid = |error: wasmparser::BinaryReaderError| {
        refuse(format!("not valid WebAssembly under this profile: {}", error.message()), error.offset())
    };
    // Engines read numbers as the features say: of an overlong one, one engine would take what another refuses.
    let mut parser = Parser::new(0);
    parser.set_features(FEATURES);
    for payload in parser.parse_all(wasm) {
        let payload = payload.map_err(invalid)?;
        let ValidPayload::Func(function, body) = validator.payload(&payload).map_err(invalid)? else { continue };
        let index = function.index;
        if body.range().len() > limits::FUNCTION_BYTES {
            return Err(refuse("a function is too long", body.range().start));
        }
        let mut function = function.into_validator(allocations);
        let mut reader = body.get_binary_reader();
        function.read_locals(&mut reader).map_err(invalid)?;
        let too_many = |what: &str, count: u32, limit: u32| {
            refuse(format!("function {index} has {count} {what}; the limit is {limit}"), body.range().start)
        };
        if function.len_locals() > limits::LOCALS {
            return Err(too_many("locals", function.len_locals(), limits::LOCALS));
        }
        all_locals += function.len_locals();
        if all_locals > limits::ALL_LOCALS {
            return Err(too_many("locals together with those before it", all_locals, limits::ALL_LOCALS));
        }
        let mut words = 0;
        for local in 0..function.len_locals() {
            words += function.get_local_type(local).map_or(1, type_words);
        }
        let ty = &module.types[module.functions[facts.len()] as usize];
        planner.begin(ty, (0..function.len_locals()).map(|local| function.get_local_type(local)));
        let (mut height, mut vectors, mut calls, mut edges, mut results) = (0, false, false, 0usize, 0usize);
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
            edges += carried(operator, &function, module);
            if let Operator::Return = operator
                && function.get_control_frame(0).is_some_and(|frame| !frame.unreachable)
            {
                returns.push(Return { at: offset as u32, depth: function.control_stack_height() - 1 });
            }
            function.op(offset, operator).map_err(invalid)?;
            let refused = match operator {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                    function.control_stack_height() > limits::NESTING + 1
                }
                Operator::BrTable { targets } => targets.len() > limits::BRANCH_TARGETS,
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
            if height > limits::OPERANDS {
                return Err(too_many("operands", height, limits::OPERANDS));
            }
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
            results += called(operator, module).map_or(0, |ty| ty.results().len());
        }
        operators.finish().map_err(invalid)?;
        let room = limits::ADDED_BYTES.min(limits::INSTRUMENTED_BYTES.saturating_sub(grown));
        let too_large = |what: &str| {
            let what = format!("function {index} is too large: {what} would take more than {room} bytes");
            refuse(what, body.range().start)
        };
        let edge_bytes = edges.saturating_mul(limits::EDGE_BYTES);
        let left = room.checked_sub(edge_bytes).ok_or_else(|| too_large("what its branches carry"))?;
        let plan = planner.plan(left).ok_or_else(|| too_large("what makes its NaNs the same everywhere"))?;
        let more = edge_bytes + plan.most_bytes;
        grown += more;
        words += height * if vectors { 2 } else { 1 };
        words += (body.range().len() / limits::BODY_BYTES_PER_WORD) as u32;
        words += ((edges + results) / limits::MADE_PER_WORD) as u32;
        facts.push(BodyFacts { frame_words: words, calls, returns, insertions: plan.insertions });
        allocations = function.into_allocations();
    }
    Ok(facts)
}

/// How often an operator that is about to be validated counts [`limits::EDGE_BYTES`].
fn carried(operator: &Operator<'_>, function: &FuncValidator<ValidatorResources>, module: &Module<'_>) -> usize {
    let values = |ty: BlockType, of: fn(&FuncType) -> &[ValType]| match ty {
        BlockType::Empty => 0,
        BlockType::Type(_) => 1,
        BlockType::FuncType(index) => module.types.get(index as usize).map_or(0, |ty| of(ty).len()),
    };
    let params = |ty| if let BlockType::Type(_) = ty { 0 } else { values(ty, FuncType::params) };
    let results = |ty| values(ty, FuncType::results);
    let frame = |depth: u32| function.get_control_frame(depth as usize);
    let label = |depth| {
        frame(depth).map_or(0, |label| {
            if label.kind == FrameKind::Loop { params(label.block_type) } else { results(label.block_type) }
        })
    };
    // A condition or an index that lies on values has to pass as they do.
    let with_condition = |values: usize| if values > 0 { values + 1 } else { 0 };
    match *operator {
        Operator::Block { blockty } | Operator::Loop { blockty } => params(blockty),
        // Without an `else`, settling may add one.
        Operator::If { blockty } => with_condition(2 * params(blockty)),
        Operator::Else | Operator::End => frame(0).map_or(0, |open| results(open.block_type)),
        Operator::Br { relative_depth } => label(relative_depth),
        Operator::BrIf { relative_depth } => with_condition(label(relative_depth)),
        // Validation looks at them for each target.
        Operator::BrTable { ref targets } => {
            with_condition(label(targets.default())).saturating_mul(targets.len() as usize + 1)
        }
        Operator::Return => 1 + label(function.control_stack_height() - 1),
        Operator::Select | Operator::TypedSelect { .. } => 1,
        Operator::Call { .. } | Operator::CallIndirect { .. } => called(operator, module)
            .map_or(0, |ty| (ty.params().len() + ty.results().len()).saturating_sub(limits::FREE_ARGUMENTS)),
        _ => 0,
    }
}

/// The type of the function that an operator calls, if the module defines it or a table has it.
fn called<'a>(operator: &Operator<'_>, module: &'a Module<'_>) -> Option<&'a FuncType> {
    let index = match *operator {
        Operator::Call { function_index } => {
            let defined = function_index.checked_sub(module.imported_functions)?;
            *module.functions.get(defined as usize)?
        }
        Operator::CallIndirect { type_index, .. } => type_index,
        _ => return None,
    };
    module.types.get(index as usize)
}

/// Words of a value.
pub(super) fn type_words(ty: ValType) -> u32 {
    match ty {
        ValType::V128 => 2,
        ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64 | ValType::Ref(_) => 1,
    }
}
