//! Small functions that are dense with what engines fuse, move and keep in registers: comparisons, `select`, locals, and
//! branches that carry values. wasm-smith's modules have these too, but seldom side by side.

use std::fmt::Write;

use crate::generated::Random;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Type {
    I32,
    I64,
    F32,
    F64,
    V128,
}

impl Type {
    const ALL: [Self; 5] = [Self::I32, Self::I64, Self::F32, Self::F64, Self::V128];

    const fn name(self) -> &'static str {
        match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::V128 => "v128",
        }
    }
}

use Type::{F32, F64, I32, I64, V128};

/// Operators: parameters, result, name.
const OPERATORS: [(&[Type], Type, &str); 96] = [
    (&[I32, I32], I32, "i32.add"),
    (&[I32, I32], I32, "i32.sub"),
    (&[I32, I32], I32, "i32.mul"),
    (&[I32, I32], I32, "i32.and"),
    (&[I32, I32], I32, "i32.or"),
    (&[I32, I32], I32, "i32.xor"),
    (&[I32, I32], I32, "i32.shl"),
    (&[I32, I32], I32, "i32.shr_s"),
    (&[I32, I32], I32, "i32.rotl"),
    (&[I32, I32], I32, "i32.eq"),
    (&[I32, I32], I32, "i32.ne"),
    (&[I32, I32], I32, "i32.lt_s"),
    (&[I32, I32], I32, "i32.lt_u"),
    (&[I32, I32], I32, "i32.gt_s"),
    (&[I32, I32], I32, "i32.gt_u"),
    (&[I32, I32], I32, "i32.le_s"),
    (&[I32, I32], I32, "i32.le_u"),
    (&[I32, I32], I32, "i32.ge_s"),
    (&[I32, I32], I32, "i32.ge_u"),
    (&[I32], I32, "i32.eqz"),
    (&[I32], I32, "i32.eqz"),
    (&[I32], I32, "i32.const 0 i32.eq"),
    (&[I32], I32, "i32.const 0 i32.ne"),
    (&[I32], I32, "i32.clz"),
    (&[I32], I32, "i32.popcnt"),
    (&[I32], I32, "i32.extend8_s"),
    (&[I64, I64], I64, "i64.add"),
    (&[I64, I64], I64, "i64.sub"),
    (&[I64, I64], I64, "i64.mul"),
    (&[I64, I64], I64, "i64.and"),
    (&[I64, I64], I64, "i64.or"),
    (&[I64, I64], I64, "i64.xor"),
    (&[I64, I64], I64, "i64.shr_u"),
    (&[I64, I64], I32, "i64.eq"),
    (&[I64, I64], I32, "i64.ne"),
    (&[I64, I64], I32, "i64.lt_s"),
    (&[I64, I64], I32, "i64.lt_u"),
    (&[I64, I64], I32, "i64.ge_s"),
    (&[I64, I64], I32, "i64.gt_u"),
    (&[I64], I32, "i64.eqz"),
    (&[I64], I32, "i64.const 0 i64.ne"),
    (&[I64], I64, "i64.ctz"),
    (&[I32], I64, "i64.extend_i32_u"),
    (&[I32], I64, "i64.extend_i32_u"),
    (&[I32], I64, "i64.extend_i32_s"),
    (&[I64], I32, "i32.wrap_i64"),
    (&[I64], I32, "i32.wrap_i64"),
    (&[F32, F32], F32, "f32.add"),
    (&[F32, F32], F32, "f32.sub"),
    (&[F32, F32], F32, "f32.mul"),
    (&[F32, F32], F32, "f32.div"),
    (&[F32, F32], F32, "f32.min"),
    (&[F32, F32], F32, "f32.max"),
    (&[F32, F32], F32, "f32.copysign"),
    (&[F32, F32], I32, "f32.eq"),
    (&[F32, F32], I32, "f32.ne"),
    (&[F32, F32], I32, "f32.lt"),
    (&[F32, F32], I32, "f32.ge"),
    (&[F32], F32, "f32.abs"),
    (&[F32], F32, "f32.neg"),
    (&[F32], F32, "f32.sqrt"),
    (&[F64, F64], F64, "f64.add"),
    (&[F64, F64], F64, "f64.mul"),
    (&[F64, F64], F64, "f64.div"),
    (&[F64, F64], F64, "f64.max"),
    (&[F64, F64], I32, "f64.eq"),
    (&[F64, F64], I32, "f64.le"),
    (&[F64, F64], I32, "f64.gt"),
    (&[F64], F64, "f64.abs"),
    (&[F64], F64, "f64.neg"),
    (&[F64], F64, "f64.nearest"),
    (&[I32], F32, "f32.convert_i32_s"),
    (&[I64], F64, "f64.convert_i64_u"),
    (&[F32], I32, "i32.trunc_sat_f32_s"),
    (&[F64], I64, "i64.trunc_sat_f64_u"),
    (&[F32], I32, "i32.reinterpret_f32"),
    (&[I32], F32, "f32.reinterpret_i32"),
    (&[F64], I64, "i64.reinterpret_f64"),
    (&[I64], F64, "f64.reinterpret_i64"),
    (&[F32], F64, "f64.promote_f32"),
    (&[F64], F32, "f32.demote_f64"),
    (&[I32], V128, "i32x4.splat"),
    (&[F32], V128, "f32x4.splat"),
    (&[V128, V128], V128, "i32x4.add"),
    (&[V128, V128], V128, "f32x4.mul"),
    (&[V128, V128], V128, "f32x4.add"),
    (&[V128, V128], V128, "f32x4.pmin"),
    (&[V128, V128], V128, "f64x2.max"),
    (&[V128, V128], V128, "f32x4.lt"),
    (&[V128, V128], V128, "v128.xor"),
    (&[V128, V128], V128, "i16x8.narrow_i32x4_s"),
    (&[V128, V128, V128], V128, "v128.bitselect"),
    (&[V128], I32, "v128.any_true"),
    (&[V128], I32, "i32x4.all_true"),
    (&[V128], F32, "f32x4.extract_lane 2"),
    (&[V128, I64], V128, "i64x2.replace_lane 1"),
];

/// Reads and writes of memory; the address is below 4096, the offsets lie on both sides of 65,535.
const READS: [(Type, &str); 10] = [
    (I32, "i32.load"),
    (I32, "i32.load8_s"),
    (I32, "i32.load16_u"),
    (I64, "i64.load"),
    (I64, "i64.load32_s"),
    (F32, "f32.load"),
    (F64, "f64.load"),
    (V128, "v128.load"),
    (V128, "v128.load32_splat"),
    (V128, "v128.load8x8_s"),
];
const WRITES: [(Type, &str); 8] = [
    (I32, "i32.store"),
    (I32, "i32.store8"),
    (I64, "i64.store"),
    (I64, "i64.store16"),
    (F32, "f32.store"),
    (F64, "f64.store"),
    (V128, "v128.store"),
    (I32, "i32.store16"),
];
const LANES: [(&str, u64); 8] = [
    ("v128.load8_lane", 16),
    ("v128.load16_lane", 8),
    ("v128.load32_lane", 4),
    ("v128.load64_lane", 2),
    ("v128.store8_lane", 16),
    ("v128.store16_lane", 8),
    ("v128.store32_lane", 4),
    ("v128.store64_lane", 2),
];
const OFFSETS: [u32; 6] = [0, 4, 1000, 65_535, 65_536, 100_001];

/// Steps of each module; each but the first calls some of its functions.
pub const STEPS: u64 = 6;

/// Functions of each module.
pub const FUNCTIONS: u32 = 40;

/// Where what functions return is kept: after all that they read and write.
const KEPT: u32 = 3 << 16;

/// A label: what a branch to it carries, and whether it is a loop's.
#[derive(Clone)]
struct Label {
    carried: Vec<Type>,
    is_loop: bool,
}

/// A function while it is written.
struct Body<'a> {
    random: &'a mut Random,
    text: String,
    locals: Vec<Type>,
    labels: Vec<Label>,
}

impl Body<'_> {
    fn any(&mut self) -> Type {
        // Vectors are dearer, and seldom where engines go wrong.
        match self.random.below(12) {
            0..6 => I32,
            6..8 => I64,
            8..10 => F32,
            10 => F64,
            _ => V128,
        }
    }

    fn some(&mut self, most: u64) -> Vec<Type> {
        (0..self.random.below(most + 1)).map(|_| self.any()).collect()
    }

    fn emit(&mut self, text: &str) {
        self.text.push(' ');
        self.text.push_str(text);
    }

    fn constant(&mut self, ty: Type) {
        let small = [0, 1, u64::MAX, 2][self.random.below(4) as usize];
        let number = if self.random.below(2) == 0 { small } else { self.random.interesting() };
        let text = match ty {
            I32 => format!("i32.const {}", number as i32),
            I64 => format!("i64.const {}", number as i64),
            F32 => format!("i32.const {} f32.reinterpret_i32", number as i32),
            F64 => format!("f64.const {}", number as i32),
            V128 => format!("v128.const i64x2 {} {}", number as i64, self.random.interesting() as i64),
        };
        self.emit(&text);
    }

    /// Puts a value of this type on the stack.
    fn value(&mut self, ty: Type) {
        let locals: Vec<usize> = (0..self.locals.len()).filter(|&index| self.locals[index] == ty).collect();
        if locals.is_empty() || self.random.below(4) == 0 {
            self.constant(ty);
        } else {
            let local = locals[self.random.below(locals.len() as u64) as usize];
            self.emit(&format!("local.get {local}"));
        }
    }

    /// Makes the top of the stack what is asked for: what is there stays if it fits, and is dropped if not.
    fn settle(&mut self, stack: &mut Vec<Type>, wanted: &[Type]) {
        while !(stack.len() <= wanted.len() && wanted.starts_with(stack)) {
            stack.pop();
            self.emit("drop");
        }
        for &ty in &wanted[stack.len()..] {
            self.value(ty);
            stack.push(ty);
        }
    }

    /// Puts what is missing on the stack, so that these are on top.
    fn offer(&mut self, stack: &mut Vec<Type>, wanted: &[Type]) {
        let there = (0..=wanted.len()).rev().find(|&count| stack.ends_with(&wanted[..count])).unwrap_or(0);
        for &ty in &wanted[there..] {
            self.value(ty);
            stack.push(ty);
        }
    }

    fn address(&mut self) -> u32 {
        self.emit("i32.const 4095 i32.and");
        OFFSETS[self.random.below(OFFSETS.len() as u64) as usize]
    }

    /// Some instructions that leave `results` on a stack of `params`.
    fn instructions(&mut self, params: &[Type], results: &[Type], count: u64, depth: u32) {
        let mut stack = params.to_vec();
        for _ in 0..count {
            match self.random.below(20) {
                0..8 => {
                    let (params, result, name) = OPERATORS[self.random.below(OPERATORS.len() as u64) as usize];
                    self.offer(&mut stack, params);
                    self.emit(name);
                    stack.truncate(stack.len() - params.len());
                    stack.push(result);
                }
                8 | 9 => {
                    let ty = self.any();
                    self.offer(&mut stack, &[ty, ty, I32]);
                    let typed = format!("select (result {})", ty.name());
                    let typed = (self.random.below(3) == 0).then_some(typed);
                    self.emit(typed.as_deref().unwrap_or("select"));
                    stack.truncate(stack.len() - 2);
                }
                10 | 11 => {
                    let local = self.random.below(self.locals.len() as u64) as usize;
                    let ty = self.locals[local];
                    self.offer(&mut stack, &[ty]);
                    if self.random.below(2) == 0 {
                        self.emit(&format!("local.tee {local}"));
                    } else {
                        self.emit(&format!("local.set {local}"));
                        stack.pop();
                    }
                }
                12 => {
                    let ty = self.any();
                    self.value(ty);
                    stack.push(ty);
                }
                13 if depth > 0 => self.block(&mut stack, depth),
                14 if depth > 0 => self.block(&mut stack, depth),
                15 | 16 => self.branch(&mut stack),
                17 => {
                    let (ty, name) = READS[self.random.below(READS.len() as u64) as usize];
                    self.offer(&mut stack, &[I32]);
                    let offset = self.address();
                    self.emit(&format!("{name} offset={offset}"));
                    stack.pop();
                    stack.push(ty);
                }
                18 => {
                    let (ty, name) = WRITES[self.random.below(WRITES.len() as u64) as usize];
                    self.offer(&mut stack, &[I32]);
                    let offset = self.address();
                    self.value(ty);
                    self.emit(&format!("{name} offset={offset}"));
                    stack.pop();
                }
                19 => {
                    let (name, lanes) = LANES[self.random.below(LANES.len() as u64) as usize];
                    self.offer(&mut stack, &[I32]);
                    let offset = self.address();
                    self.value(V128);
                    let lane = self.random.below(lanes);
                    self.emit(&format!("{name} offset={offset} {lane}"));
                    stack.pop();
                    if name.contains("load") {
                        stack.push(V128);
                    }
                }
                _ => self.emit("nop"),
            }
        }
        self.settle(&mut stack, results);
    }

    fn block(&mut self, stack: &mut Vec<Type>, depth: u32) {
        let count = self.random.below(stack.len().min(3) as u64 + 1) as usize;
        let kind = ["block", "loop", "if"][self.random.below(3) as usize];
        if kind == "if" {
            self.offer(stack, &[I32]);
        }
        let below = stack.len() - usize::from(kind == "if");
        let count = count.min(below);
        let params = stack[below - count..below].to_vec();
        let without_else = kind == "if" && self.random.below(3) == 0;
        let results = if without_else { params.clone() } else { self.some(3) };
        let names = |types: &[Type]| types.iter().map(|ty| ty.name()).collect::<Vec<_>>().join(" ");
        self.emit(&format!("{kind} (param {}) (result {})", names(&params), names(&results)));
        let is_loop = kind == "loop";
        self.labels.push(Label { carried: if is_loop { params.clone() } else { results.clone() }, is_loop });
        let instructions = self.random.below(12);
        self.instructions(&params, &results, instructions, depth - 1);
        if kind == "if" && !without_else {
            self.emit("else");
            let instructions = self.random.below(12);
            self.instructions(&params, &results, instructions, depth - 1);
        }
        self.labels.pop();
        self.emit("end");
        stack.truncate(below - count);
        stack.extend(results);
    }

    fn branch(&mut self, stack: &mut Vec<Type>) {
        let depth = self.random.below(self.labels.len() as u64) as usize;
        let label = self.labels[self.labels.len() - 1 - depth].clone();
        let mut wanted = label.carried.clone();
        wanted.push(I32);
        self.offer(stack, &wanted);
        if label.is_loop {
            self.emit(&format!("call $burn i32.and br_if {depth}"));
            stack.pop();
            return;
        }
        let same: Vec<usize> = (0..self.labels.len())
            .filter(|&other| {
                let other = &self.labels[self.labels.len() - 1 - other];
                !other.is_loop && other.carried == label.carried
            })
            .collect();
        match self.random.below(8) {
            0 => {
                // The table, or the branch, is only taken sometimes: what follows is reachable.
                let names = |types: &[Type]| types.iter().map(|ty| ty.name()).collect::<Vec<_>>().join(" ");
                let carried = names(&label.carried);
                self.emit(&format!("local.set 0 block (param {carried}) (result {carried})"));
                self.value(I32);
                self.emit("br_if 0");
                self.value(I32);
                let targets: String =
                    (0..3).map(|_| format!(" {}", same[self.random.below(same.len() as u64) as usize] + 1)).collect();
                self.emit(&format!("br_table{targets} end"));
            }
            _ => self.emit(&format!("br_if {depth}")),
        }
        stack.pop();
    }
}

/// A stepper of the functions that `called` lists.
pub fn trainer(seed: u64, called: &[u32]) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut text = String::from(
        "(module (memory (export \"memory\") 5 5) (global $fuel (mut i32) (i32.const 0))
        (global $step (mut i32) (i32.const 0))
        (func $burn (result i32) global.get $fuel i32.eqz if i32.const 0 return end
            global.get $fuel i32.const 1 i32.sub global.set $fuel i32.const 1)\n",
    );
    let mut calls: Vec<String> = vec![String::new(); STEPS as usize];
    let mut kept = KEPT;
    for function in 0..FUNCTIONS {
        let params: Vec<Type> = [vec![I32], (0..4).map(|_| Type::ALL[random.below(5) as usize]).collect()].concat();
        let mut body = Body { random: &mut random, text: String::new(), locals: params.clone(), labels: Vec::new() };
        let results = body.some(3);
        body.locals.extend([I32, I32, I64, F32, F64, V128]);
        body.labels.push(Label { carried: results.clone(), is_loop: false });
        let count = 5 + body.random.below(25);
        body.instructions(&[], &results, count, 3);
        let body = body.text;
        let names = |types: &[Type]| types.iter().map(|ty| ty.name()).collect::<Vec<_>>().join(" ");
        let _ = writeln!(
            text,
            "(func $f{function} (param {}) (result {}) (local i32 i32 i64 f32 f64 v128){body})",
            names(&params),
            names(&results)
        );
        let step = &mut calls[1 + function as usize % (STEPS as usize - 1)];
        for _ in 0..4 {
            let mut caller = Body { random: &mut random, text: String::new(), locals: Vec::new(), labels: Vec::new() };
            params.iter().for_each(|&param| caller.value(param));
            let arguments = caller.text;
            let mut call = format!("i32.const 100 global.set $fuel {arguments} call $f{function}\n");
            for result in results.iter().rev() {
                let ty = result.name();
                let _ = writeln!(call, "local.set ${ty} i32.const {kept} local.get ${ty} {ty}.store");
                kept += 16;
            }
            if called.contains(&function) {
                step.push_str(&call);
            }
        }
    }
    assert!(kept < 5 << 16, "{kept} bytes are not enough for what is kept");
    for (step, calls) in calls.iter().enumerate() {
        let _ = writeln!(
            text,
            "(func $s{step} (local $i32 i32) (local $i64 i64) (local $f32 f32) (local $f64 f64) (local $v128 v128)\n{calls})"
        );
    }
    text.push_str("(func (export \"_initialize\")) (func (export \"fedmkt_init\") (result i32) call $s0 i32.const 0)");
    text.push_str(
        "(func (export \"fedmkt_step\") (result i32) global.get $step i32.const 1 i32.add global.set $step\n",
    );
    for step in 1..STEPS {
        let _ = writeln!(text, "global.get $step i32.const {step} i32.eq if call $s{step} end");
    }
    let _ = writeln!(text, "global.get $step i32.const {STEPS} i32.ge_u))");
    wat::parse_str(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"))
}
