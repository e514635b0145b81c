//! What every operator of the profile does with NaNs.
//!
//! A float is *firm* if its bits are the same in every engine, and *loose* if they are so but for a NaN: where one
//! engine has a NaN every other has one as well, with other bits perhaps. Settling a loose value, which replaces each
//! NaN by the canonical one, makes it firm. Arithmetic gives loose values. Whether an operator may take one is said
//! here, for each, with its reason. The measure is the deterministic profile of WebAssembly 3.0, in which arithmetic
//! gives the canonical NaN and nothing else: what is settled later than there must come out the same.

use wasmparser::Operator;

use super::{Shape, Type};

/// What an operator does with floats and vectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// Nothing: it has none.
    None,
    /// Takes and gives what a [`Flow`] says.
    Flow(Flow),
    /// What the recorder finds out.
    Recorded,
}

/// Operands taken and result given; integers and references are not counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Flow {
    pub(super) pops: u8,
    pub(super) takes: Takes,
    pub(super) gives: Option<(Type, Gives)>,
}

/// What an operator sees of its operands, the same for all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Takes {
    /// Their bits.
    Bits,
    /// Nothing that depends on a NaN's bits, whatever the shape of the lanes.
    Nothing,
    /// Lanes of this shape, and nothing that depends on a NaN's bits.
    Lanes(Shape),
    /// Nothing, but it copies lanes of this shape, or of any shape, into its result.
    Copies(Option<Shape>),
    /// Nothing, but it copies lanes of this shape into its result: any of the first operand, those that are no NaN of the
    /// second.
    CopiesFirst(Shape),
}

/// What a result is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Gives {
    /// Firm bits.
    Firm,
    /// Firm and no NaN. In a vector: no NaN among its lanes as f32, which implies none as f64.
    NoNan,
    /// Loose in lanes of this shape.
    Loose(Shape),
    /// As loose as the operands.
    Copied,
}

/// Whether the profile has a proposal: operators of those that it refuses have no value of this type.
macro_rules! presence {
    (mvp) => {
        ()
    };
    (sign_extension) => {
        ()
    };
    (saturating_float_to_int) => {
        ()
    };
    (bulk_memory) => {
        ()
    };
    (reference_types) => {
        ()
    };
    (simd) => {
        ()
    };
    ($refused:ident) => {
        core::convert::Infallible
    };
}

macro_rules! present {
    (mvp $op:ident) => {
        Some(Name::$op(()))
    };
    (sign_extension $op:ident) => {
        Some(Name::$op(()))
    };
    (saturating_float_to_int $op:ident) => {
        Some(Name::$op(()))
    };
    (bulk_memory $op:ident) => {
        Some(Name::$op(()))
    };
    (reference_types $op:ident) => {
        Some(Name::$op(()))
    };
    (simd $op:ident) => {
        Some(Name::$op(()))
    };
    ($refused:ident $op:ident) => {
        None
    };
}

macro_rules! define_name {
    ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*) )*) => {
        /// The operators by name, so that the match below must have each one of the profile.
        #[expect(dead_code, reason = "operators of refused proposals cannot exist")]
        enum Name { $( $op(presence!($proposal)), )* }

        fn name(operator: &Operator<'_>) -> Option<Name> {
            match operator {
                $( Operator::$op { .. } => present!($proposal $op), )*
                // wasmparser reserves the right to add operators; every one of this version is named above.
                _ => None,
            }
        }
    };
}
wasmparser::for_each_operator!(define_name);

/// What an operator does with floats and vectors; `None` if it is not in the profile.
pub(super) fn effect(operator: &Operator<'_>) -> Option<Effect> {
    name(operator).map(effect_of)
}

/// No result that is a float or a vector.
fn sees(pops: u8) -> Effect {
    Effect::Flow(Flow { pops, takes: Takes::Bits, gives: None })
}

fn sees_and_gives(pops: u8, ty: Type) -> Effect {
    Effect::Flow(Flow { pops, takes: Takes::Bits, gives: Some((ty, Gives::Firm)) })
}

fn reads(pops: u8, shape: Shape) -> Effect {
    Effect::Flow(Flow { pops, takes: Takes::Lanes(shape), gives: None })
}

fn reads_and_gives(pops: u8, shape: Shape) -> Effect {
    Effect::Flow(Flow { pops, takes: Takes::Lanes(shape), gives: Some((Type::V128, Gives::Firm)) })
}

fn computes(pops: u8, from: Shape, ty: Type, to: Shape) -> Effect {
    Effect::Flow(Flow { pops, takes: Takes::Lanes(from), gives: Some((ty, Gives::Loose(to))) })
}

fn copies(pops: u8, shape: Option<Shape>, ty: Type) -> Effect {
    Effect::Flow(Flow { pops, takes: Takes::Copies(shape), gives: Some((ty, Gives::Copied)) })
}

fn copies_first(shape: Shape) -> Effect {
    Effect::Flow(Flow { pops: 2, takes: Takes::CopiesFirst(shape), gives: Some((Type::V128, Gives::Copied)) })
}

fn gives(ty: Type, gives: Gives) -> Effect {
    Effect::Flow(Flow { pops: 0, takes: Takes::Nothing, gives: Some((ty, gives)) })
}

fn effect_of(name: Name) -> Effect {
    use Gives::{Firm, NoNan};
    use Name::*;
    use Type::{F32, F64, V128};
    match name {
        // What they do with operands depends on types or constants that stand elsewhere, or on control: the recorder knows.
        Unreachable(_) | Block(_) | Loop(_) | If(_) | Else(_) | End(_) | Br(_) | BrIf(_) | BrTable(_) | Return(_)
        | Call(_) | CallIndirect(_) | Drop(_) | Select(_) | LocalGet(_) | LocalSet(_) | LocalTee(_) | GlobalGet(_)
        | GlobalSet(_) | F32Const(_) | F64Const(_) | TypedSelect(_) | TypedSelectMulti(_) | V128Const(_)
        | I8x16Shuffle(_) => Effect::Recorded,
        // Loaded bits are firm: a plain copy stays one.
        F32Load(_) => gives(F32, Firm),
        // Memory is seen.
        F32Store(_) => sees(1),
        // Comparison: a NaN is unordered whatever its bits.
        F32Eq(_) | F32Ne(_) | F32Lt(_) | F32Gt(_) | F32Le(_) | F32Ge(_) => reads(2, Shape::F32),
        // Arithmetic: whatever NaN it gives is loose.
        F32Ceil(_) | F32Floor(_) | F32Trunc(_) | F32Nearest(_) | F32Sqrt(_) => computes(1, Shape::F32, F32, Shape::F32),
        // Arithmetic. Minimum and maximum give a NaN if either operand is one.
        F32Add(_) | F32Sub(_) | F32Mul(_) | F32Div(_) | F32Min(_) | F32Max(_) => {
            computes(2, Shape::F32, F32, Shape::F32)
        }
        // Clears the sign, which the canonical NaN has clear: settling before and after give the same.
        F32Abs(_) => copies(1, Some(Shape::F32), F32),
        // Flips the sign, so a settled NaN would come out negative: not the same as settling the result.
        F32Neg(_) => sees_and_gives(1, F32),
        // The sign of the second operand is seen, and put on a first operand whose payload must be firm.
        F32Copysign(_) => sees_and_gives(2, F32),
        // Traps on every NaN.
        I32TruncF32S(_) | I32TruncF32U(_) | I64TruncF32S(_) | I64TruncF32U(_) => reads(1, Shape::F32),
        // 0 for every NaN.
        I32TruncSatF32S(_) | I32TruncSatF32U(_) | I64TruncSatF32S(_) | I64TruncSatF32U(_) => reads(1, Shape::F32),
        // An integer is never a NaN.
        F32ConvertI32S(_) | F32ConvertI32U(_) | F32ConvertI64S(_) | F32ConvertI64U(_) => gives(F32, NoNan),
        // Loaded bits are firm: a plain copy stays one.
        F64Load(_) => gives(F64, Firm),
        // Memory is seen.
        F64Store(_) => sees(1),
        // Comparison: a NaN is unordered whatever its bits.
        F64Eq(_) | F64Ne(_) | F64Lt(_) | F64Gt(_) | F64Le(_) | F64Ge(_) => reads(2, Shape::F64),
        // Arithmetic: whatever NaN it gives is loose.
        F64Ceil(_) | F64Floor(_) | F64Trunc(_) | F64Nearest(_) | F64Sqrt(_) => computes(1, Shape::F64, F64, Shape::F64),
        // Arithmetic. Minimum and maximum give a NaN if either operand is one.
        F64Add(_) | F64Sub(_) | F64Mul(_) | F64Div(_) | F64Min(_) | F64Max(_) => {
            computes(2, Shape::F64, F64, Shape::F64)
        }
        // Clears the sign, which the canonical NaN has clear: settling before and after give the same.
        F64Abs(_) => copies(1, Some(Shape::F64), F64),
        // Flips the sign, so a settled NaN would come out negative: not the same as settling the result.
        F64Neg(_) => sees_and_gives(1, F64),
        // The sign of the second operand is seen, and put on a first operand whose payload must be firm.
        F64Copysign(_) => sees_and_gives(2, F64),
        // Traps on every NaN.
        I32TruncF64S(_) | I32TruncF64U(_) | I64TruncF64S(_) | I64TruncF64U(_) => reads(1, Shape::F64),
        // 0 for every NaN.
        I32TruncSatF64S(_) | I32TruncSatF64U(_) | I64TruncSatF64S(_) | I64TruncSatF64U(_) => reads(1, Shape::F64),
        // An integer is never a NaN.
        F64ConvertI32S(_) | F64ConvertI32U(_) | F64ConvertI64S(_) | F64ConvertI64U(_) => gives(F64, NoNan),
        // Arithmetic: the NaN of the other width is loose again.
        F32DemoteF64(_) => computes(1, Shape::F64, F32, Shape::F32),
        // As demotion.
        F64PromoteF32(_) => computes(1, Shape::F32, F64, Shape::F64),
        // The bits are seen.
        I32ReinterpretF32(_) | I64ReinterpretF64(_) => sees(1),
        // Bits of integers are firm.
        F32ReinterpretI32(_) => gives(F32, Firm),
        // As above.
        F64ReinterpretI64(_) => gives(F64, Firm),
        // Loads, and integers in all lanes.
        V128Load(_) | V128Load8x8S(_) | V128Load8x8U(_) | V128Load16x4S(_) | V128Load16x4U(_) | V128Load32x2S(_)
        | V128Load32x2U(_) | V128Load8Splat(_) | V128Load16Splat(_) | V128Load32Splat(_) | V128Load64Splat(_)
        | V128Load32Zero(_) | V128Load64Zero(_) | I8x16Splat(_) | I16x8Splat(_) | I32x4Splat(_) | I64x2Splat(_) => {
            gives(V128, Firm)
        }
        // Memory is seen.
        V128Store(_) | V128Store8Lane(_) | V128Store16Lane(_) | V128Store32Lane(_) | V128Store64Lane(_) => sees(1),
        // The lanes that stay stand beside loaded bits, which must never be settled.
        V128Load8Lane(_) | V128Load16Lane(_) | V128Load32Lane(_) | V128Load64Lane(_) => sees_and_gives(1, V128),
        // An integer beside them must never be settled.
        I8x16ReplaceLane(_) | I16x8ReplaceLane(_) | I32x4ReplaceLane(_) | I64x2ReplaceLane(_) => {
            sees_and_gives(1, V128)
        }
        // A lane as an integer, and sign bits of lanes.
        I8x16ExtractLaneS(_) | I8x16ExtractLaneU(_) | I16x8ExtractLaneS(_) | I16x8ExtractLaneU(_)
        | I32x4ExtractLane(_) | I64x2ExtractLane(_) | I8x16Bitmask(_) | I16x8Bitmask(_) | I32x4Bitmask(_)
        | I64x2Bitmask(_) => sees(1),
        // No NaN is zero, whatever its sign and payload. A lane of 64 bits is true if either half is.
        V128AnyTrue(_) | I64x2AllTrue(_) => Effect::Flow(Flow { pops: 1, takes: Takes::Nothing, gives: None }),
        // As above, if the lanes are f32; as f64, half of a NaN may be zero.
        I32x4AllTrue(_) => reads(1, Shape::F32),
        // Parts of a NaN's bits may be zero.
        I8x16AllTrue(_) | I16x8AllTrue(_) => sees(1),
        // One float to all lanes.
        F32x4Splat(_) => copies(1, Some(Shape::F32), V128),
        // A whole lane.
        F32x4ExtractLane(_) => copies(1, Some(Shape::F32), F32),
        // Lanes of both operands.
        F32x4ReplaceLane(_) => copies(2, Some(Shape::F32), V128),
        // Comparison of lanes; a lane of the result is an integer, all ones or zero.
        F32x4Eq(_) | F32x4Ne(_) | F32x4Lt(_) | F32x4Gt(_) | F32x4Le(_) | F32x4Ge(_) => reads_and_gives(2, Shape::F32),
        // Arithmetic of lanes.
        F32x4Ceil(_) | F32x4Floor(_) | F32x4Trunc(_) | F32x4Nearest(_) | F32x4Sqrt(_) => {
            computes(1, Shape::F32, V128, Shape::F32)
        }
        // As above.
        F32x4Add(_) | F32x4Sub(_) | F32x4Mul(_) | F32x4Div(_) | F32x4Min(_) | F32x4Max(_) => {
            computes(2, Shape::F32, V128, Shape::F32)
        }
        // The second operand's lane if it compares less (or greater), else the first one's: a NaN comes from the first only.
        F32x4PMin(_) | F32x4PMax(_) => copies_first(Shape::F32),
        // As the scalar one.
        F32x4Abs(_) => copies(1, Some(Shape::F32), V128),
        // As the scalar one.
        F32x4Neg(_) => sees_and_gives(1, V128),
        // One float to all lanes.
        F64x2Splat(_) => copies(1, Some(Shape::F64), V128),
        // A whole lane.
        F64x2ExtractLane(_) => copies(1, Some(Shape::F64), F64),
        // Lanes of both operands.
        F64x2ReplaceLane(_) => copies(2, Some(Shape::F64), V128),
        // Comparison of lanes; a lane of the result is an integer, all ones or zero.
        F64x2Eq(_) | F64x2Ne(_) | F64x2Lt(_) | F64x2Gt(_) | F64x2Le(_) | F64x2Ge(_) => reads_and_gives(2, Shape::F64),
        // Arithmetic of lanes.
        F64x2Ceil(_) | F64x2Floor(_) | F64x2Trunc(_) | F64x2Nearest(_) | F64x2Sqrt(_) => {
            computes(1, Shape::F64, V128, Shape::F64)
        }
        // As above.
        F64x2Add(_) | F64x2Sub(_) | F64x2Mul(_) | F64x2Div(_) | F64x2Min(_) | F64x2Max(_) => {
            computes(2, Shape::F64, V128, Shape::F64)
        }
        // The second operand's lane if it compares less (or greater), else the first one's: a NaN comes from the first only.
        F64x2PMin(_) | F64x2PMax(_) => copies_first(Shape::F64),
        // As the scalar one.
        F64x2Abs(_) => copies(1, Some(Shape::F64), V128),
        // As the scalar one.
        F64x2Neg(_) => sees_and_gives(1, V128),
        // 0 for every NaN.
        I32x4TruncSatF32x4S(_) | I32x4TruncSatF32x4U(_) => reads_and_gives(1, Shape::F32),
        // As above.
        I32x4TruncSatF64x2SZero(_) | I32x4TruncSatF64x2UZero(_) => reads_and_gives(1, Shape::F64),
        // Four integers as floats: no NaN among them.
        F32x4ConvertI32x4S(_) | F32x4ConvertI32x4U(_) => {
            Effect::Flow(Flow { pops: 1, takes: Takes::Bits, gives: Some((V128, NoNan)) })
        }
        // No NaN as f64, but as f32 the low halves may look like one.
        F64x2ConvertLowI32x4S(_) | F64x2ConvertLowI32x4U(_) => sees_and_gives(1, V128),
        // As the scalar one.
        F32x4DemoteF64x2Zero(_) => computes(1, Shape::F64, V128, Shape::F32),
        // As the scalar one.
        F64x2PromoteLowF32x4(_) => computes(1, Shape::F32, V128, Shape::F64),
        // Integer operations on one vector (and an integer that shifts it).
        V128Not(_)
        | I8x16Abs(_)
        | I8x16Neg(_)
        | I8x16Popcnt(_)
        | I8x16Shl(_)
        | I8x16ShrS(_)
        | I8x16ShrU(_)
        | I16x8ExtAddPairwiseI8x16S(_)
        | I16x8ExtAddPairwiseI8x16U(_)
        | I16x8Abs(_)
        | I16x8Neg(_)
        | I16x8ExtendLowI8x16S(_)
        | I16x8ExtendHighI8x16S(_)
        | I16x8ExtendLowI8x16U(_)
        | I16x8ExtendHighI8x16U(_)
        | I16x8Shl(_)
        | I16x8ShrS(_)
        | I16x8ShrU(_)
        | I32x4ExtAddPairwiseI16x8S(_)
        | I32x4ExtAddPairwiseI16x8U(_)
        | I32x4Abs(_)
        | I32x4Neg(_)
        | I32x4ExtendLowI16x8S(_)
        | I32x4ExtendHighI16x8S(_)
        | I32x4ExtendLowI16x8U(_)
        | I32x4ExtendHighI16x8U(_)
        | I32x4Shl(_)
        | I32x4ShrS(_)
        | I32x4ShrU(_)
        | I64x2Abs(_)
        | I64x2Neg(_)
        | I64x2ExtendLowI32x4S(_)
        | I64x2ExtendHighI32x4S(_)
        | I64x2ExtendLowI32x4U(_)
        | I64x2ExtendHighI32x4U(_)
        | I64x2Shl(_)
        | I64x2ShrS(_)
        | I64x2ShrU(_) => sees_and_gives(1, V128),
        // Integer and bitwise operations on two vectors; swizzle moves bytes.
        I8x16Swizzle(_)
        | I8x16Eq(_)
        | I8x16Ne(_)
        | I8x16LtS(_)
        | I8x16LtU(_)
        | I8x16GtS(_)
        | I8x16GtU(_)
        | I8x16LeS(_)
        | I8x16LeU(_)
        | I8x16GeS(_)
        | I8x16GeU(_)
        | I16x8Eq(_)
        | I16x8Ne(_)
        | I16x8LtS(_)
        | I16x8LtU(_)
        | I16x8GtS(_)
        | I16x8GtU(_)
        | I16x8LeS(_)
        | I16x8LeU(_)
        | I16x8GeS(_)
        | I16x8GeU(_)
        | I32x4Eq(_)
        | I32x4Ne(_)
        | I32x4LtS(_)
        | I32x4LtU(_)
        | I32x4GtS(_)
        | I32x4GtU(_)
        | I32x4LeS(_)
        | I32x4LeU(_)
        | I32x4GeS(_)
        | I32x4GeU(_)
        | I64x2Eq(_)
        | I64x2Ne(_)
        | I64x2LtS(_)
        | I64x2GtS(_)
        | I64x2LeS(_)
        | I64x2GeS(_)
        | V128And(_)
        | V128AndNot(_)
        | V128Or(_)
        | V128Xor(_)
        | I8x16NarrowI16x8S(_)
        | I8x16NarrowI16x8U(_)
        | I8x16Add(_)
        | I8x16AddSatS(_)
        | I8x16AddSatU(_)
        | I8x16Sub(_)
        | I8x16SubSatS(_)
        | I8x16SubSatU(_)
        | I8x16MinS(_)
        | I8x16MinU(_)
        | I8x16MaxS(_)
        | I8x16MaxU(_)
        | I8x16AvgrU(_)
        | I16x8Q15MulrSatS(_)
        | I16x8NarrowI32x4S(_)
        | I16x8NarrowI32x4U(_)
        | I16x8Add(_)
        | I16x8AddSatS(_)
        | I16x8AddSatU(_)
        | I16x8Sub(_)
        | I16x8SubSatS(_)
        | I16x8SubSatU(_)
        | I16x8Mul(_)
        | I16x8MinS(_)
        | I16x8MinU(_)
        | I16x8MaxS(_)
        | I16x8MaxU(_)
        | I16x8AvgrU(_)
        | I16x8ExtMulLowI8x16S(_)
        | I16x8ExtMulHighI8x16S(_)
        | I16x8ExtMulLowI8x16U(_)
        | I16x8ExtMulHighI8x16U(_)
        | I32x4Add(_)
        | I32x4Sub(_)
        | I32x4Mul(_)
        | I32x4MinS(_)
        | I32x4MinU(_)
        | I32x4MaxS(_)
        | I32x4MaxU(_)
        | I32x4DotI16x8S(_)
        | I32x4ExtMulLowI16x8S(_)
        | I32x4ExtMulHighI16x8S(_)
        | I32x4ExtMulLowI16x8U(_)
        | I32x4ExtMulHighI16x8U(_)
        | I64x2Add(_)
        | I64x2Sub(_)
        | I64x2Mul(_)
        | I64x2ExtMulLowI32x4S(_)
        | I64x2ExtMulHighI32x4S(_)
        | I64x2ExtMulLowI32x4U(_)
        | I64x2ExtMulHighI32x4U(_) => sees_and_gives(2, V128),
        // Bit by bit; that a mask takes whole lanes cannot be told here.
        V128Bitselect(_) => sees_and_gives(3, V128),
        // Neither takes nor gives floats or vectors.
        Nop(_) | I32Load(_) | I64Load(_) | I32Load8S(_) | I32Load8U(_) | I32Load16S(_) | I32Load16U(_)
        | I64Load8S(_) | I64Load8U(_) | I64Load16S(_) | I64Load16U(_) | I64Load32S(_) | I64Load32U(_) | I32Store(_)
        | I64Store(_) | I32Store8(_) | I32Store16(_) | I64Store8(_) | I64Store16(_) | I64Store32(_) | MemorySize(_)
        | MemoryGrow(_) | I32Const(_) | I64Const(_) | I32Eqz(_) | I32Eq(_) | I32Ne(_) | I32LtS(_) | I32LtU(_)
        | I32GtS(_) | I32GtU(_) | I32LeS(_) | I32LeU(_) | I32GeS(_) | I32GeU(_) | I64Eqz(_) | I64Eq(_) | I64Ne(_)
        | I64LtS(_) | I64LtU(_) | I64GtS(_) | I64GtU(_) | I64LeS(_) | I64LeU(_) | I64GeS(_) | I64GeU(_) | I32Clz(_)
        | I32Ctz(_) | I32Popcnt(_) | I32Add(_) | I32Sub(_) | I32Mul(_) | I32DivS(_) | I32DivU(_) | I32RemS(_)
        | I32RemU(_) | I32And(_) | I32Or(_) | I32Xor(_) | I32Shl(_) | I32ShrS(_) | I32ShrU(_) | I32Rotl(_)
        | I32Rotr(_) | I64Clz(_) | I64Ctz(_) | I64Popcnt(_) | I64Add(_) | I64Sub(_) | I64Mul(_) | I64DivS(_)
        | I64DivU(_) | I64RemS(_) | I64RemU(_) | I64And(_) | I64Or(_) | I64Xor(_) | I64Shl(_) | I64ShrS(_)
        | I64ShrU(_) | I64Rotl(_) | I64Rotr(_) | I32WrapI64(_) | I64ExtendI32S(_) | I64ExtendI32U(_)
        | I32Extend8S(_) | I32Extend16S(_) | I64Extend8S(_) | I64Extend16S(_) | I64Extend32S(_) | MemoryInit(_)
        | DataDrop(_) | MemoryCopy(_) | MemoryFill(_) | TableInit(_) | ElemDrop(_) | TableCopy(_) | RefNull(_)
        | RefIsNull(_) | RefFunc(_) | TableFill(_) | TableGet(_) | TableSet(_) | TableGrow(_) | TableSize(_) => {
            Effect::None
        }
    }
}
