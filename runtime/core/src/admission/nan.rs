//! Settles NaNs: makes the bits of every NaN that a module can see the same in all engines.
//!
//! WebAssembly leaves sign and payload of a NaN that arithmetic gives to the engine. Its deterministic profile makes it
//! the positive canonical NaN. An engine that does so compares and selects after every operation, which makes vector
//! code several times slower. But the bits matter only where something can see them, and a module sees few of the values
//! that it computes. So this pass finds the values that arithmetic may have made (they are *loose*) and that an operator
//! takes bit by bit, and settles just those, between the two: `x == x ? x : canonical`. What a module then does is what
//! the deterministic profile says, in every engine, whatever that engine does with NaNs. Values that no arithmetic made
//! are never touched: they may be integers, or a NaN that has to be copied as it is.
//!
//! Which operators see what is in [`operators`]. The rest is data flow:
//!
//! - An operand of the stack is settled where it was pushed, if what pops it sees it. Operands of labels, parameters and
//!   results of functions and globals count as seen.
//! - For each local the pass keeps the set of what its value may be: firm bits, loose as f32, loose as f64, or none of
//!   the three, which is a value without any NaN, such as the zero at the beginning. A vector has no type that tells
//!   what its lanes are; where branches meet and one of them brings firm bits and another loose ones, it could not be
//!   settled later. If something that follows may see its bits, the loose ones are settled at the branch. If not (the
//!   local is dead, or only goes into arithmetic of the same shape, as accumulators do), it stays in both states.
//! - Loops are gone through until nothing changes.
//!
//! If a function has very many branches or takes very many turns, all locals are kept firm instead, by settling what is
//! put into them: both give the same results, so no number here is part of the profile.

mod operators;

use alloc::vec::Vec;

use wasmparser::{BlockType, FuncType, Operator, ValType};

use super::scan::Module;
use operators::{Effect, Flow, Gives, Takes};

/// The most locals per function whose state is kept; others are always firm.
const TRACKED: usize = 256;

/// The most labels of a function whose states are kept, and targets of its tables of branches.
const MOST_LABELS: usize = 1 << 14;

/// How often a function is gone through at most before its locals are all kept firm.
const MOST_PASSES: u32 = 12;

/// Types of which the pass knows operands and locals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Type {
    F32,
    F64,
    V128,
}

impl Type {
    pub(super) fn of(ty: ValType) -> Option<Self> {
        match ty {
            ValType::F32 => Some(Self::F32),
            ValType::F64 => Some(Self::F64),
            ValType::V128 => Some(Self::V128),
            ValType::I32 | ValType::I64 | ValType::Ref(_) => None,
        }
    }
}

/// How the lanes of a value are read; a scalar has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    F32,
    F64,
}

impl Shape {
    fn loose(self) -> Mask {
        match self {
            Self::F32 => LOOSE_F32,
            Self::F64 => LOOSE_F64,
        }
    }
}

/// Something to add to a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Insertion {
    /// Before the byte at this offset of the module.
    pub(super) at: usize,
    pub(super) what: Added,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Added {
    /// Settles the operand on the top. The local, if there is one, has the same value.
    Operand { ty: Type, shape: Shape, local: Option<u32> },
    /// Settles a local.
    Local { ty: Type, shape: Shape, local: u32 },
    /// Gives an `if` an empty `else`.
    Else,
    /// The `br_if` that stands here becomes an `if`.
    BranchBegin,
    /// ... in which this branch is taken; the author's `br_if` before this offset is left out.
    BranchEnd { depth: u32 },
}

impl Added {
    /// The most bytes that it takes.
    pub(super) fn most_bytes(self) -> usize {
        match self {
            Self::Operand { .. } => 35,
            Self::Local { .. } => 38,
            Self::Else => 1,
            Self::BranchBegin => 2,
            Self::BranchEnd { .. } => 7,
        }
    }
}

/// What to add to a function.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Plan {
    /// In order.
    pub(super) insertions: Vec<Insertion>,
    /// The most bytes that all of them take.
    pub(super) most_bytes: usize,
}

/// What a value may be, as a set; also what is seen of a local later: bits, or lanes of a shape.
type Mask = u8;
const FIRM: Mask = 1;
const BITS: Mask = 1;
const LOOSE_F32: Mask = 2;
const LOOSE_F64: Mask = 4;
const LOOSE: Mask = LOOSE_F32 | LOOSE_F64;

/// A [`Mask`] for each tracked local.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Masks([[u64; TRACKED / 64]; 3]);

impl Masks {
    fn get(&self, slot: u8) -> Mask {
        let (word, bit) = (usize::from(slot / 64), slot % 64);
        (0..3).map(|plane| ((self.0[plane][word] >> bit & 1) as Mask) << plane).sum()
    }

    fn put(&mut self, slot: u8, mask: Mask) {
        let (word, bit) = (usize::from(slot / 64), slot % 64);
        for plane in 0..3 {
            let set = u64::from(mask >> plane & 1);
            self.0[plane][word] = self.0[plane][word] & !(1 << bit) | set << bit;
        }
    }

    /// Whether that changed anything.
    fn add_all(&mut self, other: &Self) -> bool {
        let mut added = 0;
        for (plane, others) in self.0.iter_mut().zip(&other.0) {
            for (word, other) in plane.iter_mut().zip(others) {
                added |= other & !*word;
                *word |= other;
            }
        }
        added != 0
    }

    /// The state where branches meet that bring these states, given what is seen later.
    fn met(mut self, seen: &Self) -> Self {
        for word in 0..TRACKED / 64 {
            let [firm, f32, f64] = [0, 1, 2].map(|plane: usize| self.0[plane][word]);
            let [bits, as_f32, as_f64] = [0, 1, 2].map(|plane: usize| seen.0[plane][word]);
            let differ = firm & f32 | firm & f64 | f32 & f64;
            let settled_f32 = f32 & differ & (bits | as_f64);
            let settled_f64 = f64 & differ & (bits | as_f32);
            self.0[0][word] |= settled_f32 | settled_f64;
            self.0[1][word] &= !settled_f32;
            self.0[2][word] &= !settled_f64;
        }
        self
    }

    /// The locals that are loose here and not there.
    fn unsettled(&self, there: &Self) -> impl Iterator<Item = u8> + use<> {
        let words: [u64; TRACKED / 64] = core::array::from_fn(|word| {
            let lost = |plane: usize| self.0[plane][word] & !there.0[plane][word];
            (lost(1) | lost(2)) & there.0[0][word]
        });
        words.into_iter().zip((0..=u8::MAX).step_by(64)).flat_map(|(mut left, first)| {
            core::iter::from_fn(move || {
                let bit = left.trailing_zeros() as u8;
                left &= left.checked_sub(1)?;
                Some(first + bit)
            })
        })
    }
}

/// A local with its slot among the [`Masks`], if it is tracked.
#[derive(Clone, Copy)]
struct Local {
    index: u32,
    ty: Type,
    slot: Option<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LabelKind {
    Function,
    Block,
    Loop,
    If,
}

/// A function, `block`, `loop` or `if`.
struct Label {
    kind: LabelKind,
    /// Floats and vectors among the parameters and results.
    params: u16,
    results: u16,
    /// Whether a branch to it takes operands, of any type.
    takes_operands: bool,
    has_else: bool,
    /// All that branches bring.
    brought: Masks,
    /// What is seen after a branch to it.
    seen: Masks,
}

/// An operator that matters.
struct Step {
    /// The offsets in the module of its first byte and of the next operator.
    start: u32,
    end: u32,
    what: What,
}

enum What {
    Flow(Flow),
    Get {
        local: Local,
        seen: Mask,
        /// The `local.set` that takes the value.
        copied_by: Option<u32>,
    },
    Set {
        local: Local,
        /// What is seen of the new value.
        seen: Mask,
    },
    Tee {
        local: Local,
    },
    /// Pops operands whose bits are seen, then pushes firm ones.
    Call {
        pops: u16,
        pushes: u16,
    },
    Open(u32),
    Else(u32),
    End(u32),
    Branch(u32),
    BranchIf {
        label: u32,
        depth: u32,
    },
    /// Indices of `targets`.
    BranchTable {
        from: u32,
        to: u32,
    },
    /// `return` or `unreachable`.
    Leave {
        pops: u16,
    },
}

/// Plans what to add to one function after the other.
pub(super) struct Planner<'m, 'a> {
    module: &'m Module<'a>,
    locals: Vec<Option<Local>>,
    /// The local of each slot.
    slots: Vec<Local>,
    parameters: usize,
    steps: Vec<Step>,
    labels: Vec<Label>,
    targets: Vec<u32>,
    /// The labels that are open at the operator that is recorded.
    open: Vec<u32>,
    /// Whether that operator cannot be reached, and if so how many blocks were opened since.
    dead: Option<u32>,
    /// Whether any value is loose.
    arithmetic: bool,
}

fn count(types: &[ValType]) -> u16 {
    types.iter().filter(|ty| Type::of(**ty).is_some()).count() as u16
}

impl<'m, 'a> Planner<'m, 'a> {
    pub(super) fn new(module: &'m Module<'a>) -> Self {
        Self {
            module,
            locals: Vec::new(),
            slots: Vec::new(),
            parameters: 0,
            steps: Vec::new(),
            labels: Vec::new(),
            targets: Vec::new(),
            open: Vec::new(),
            dead: None,
            arithmetic: false,
        }
    }

    /// Begins a function with these parameters and locals.
    pub(super) fn begin(&mut self, ty: &FuncType, locals: impl Iterator<Item = Option<ValType>>) {
        self.steps.clear();
        self.labels.clear();
        self.targets.clear();
        self.open.clear();
        self.dead = None;
        self.arithmetic = false;
        self.parameters = ty.params().len();
        self.locals.clear();
        self.locals.extend((0..).zip(locals).map(|(index, ty)| {
            let ty = ty.and_then(Type::of)?;
            Some(Local { index, ty, slot: None })
        }));
        self.slots.clear();
        // Vectors first: they are what is used in the hottest loops.
        for vectors in [true, false] {
            for local in self.locals.iter_mut().flatten().filter(|local| (local.ty == Type::V128) == vectors) {
                if self.slots.len() < TRACKED {
                    local.slot = Some(self.slots.len() as u8);
                    self.slots.push(*local);
                }
            }
        }
        self.label(LabelKind::Function, &[], ty.results());
    }

    fn label(&mut self, kind: LabelKind, params: &[ValType], results: &[ValType]) -> u32 {
        let taken = if kind == LabelKind::Loop { params } else { results };
        let id = self.labels.len() as u32;
        self.labels.push(Label {
            kind,
            params: count(params),
            results: count(results),
            takes_operands: !taken.is_empty(),
            has_else: false,
            brought: Masks::default(),
            seen: Masks::default(),
        });
        self.open.push(id);
        id
    }

    fn open_label(&self, depth: u32) -> u32 {
        self.open[self.open.len() - 1 - depth as usize]
    }

    fn local(&self, index: u32) -> Option<Local> {
        self.locals[index as usize]
    }

    /// Takes a validated operator. `subject` is the type of what `drop`, `select` and `global.set` take and
    /// `global.get` gives. `false` if the operator is none of the profile's.
    pub(super) fn record(
        &mut self,
        operator: &Operator<'_>,
        subject: Option<ValType>,
        start: usize,
        end: usize,
    ) -> bool {
        let Some(effect) = operators::effect(operator) else { return false };
        if let Some(nested) = self.dead {
            match operator {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                    self.dead = Some(nested + 1);
                    return true;
                }
                Operator::End if nested > 0 => {
                    self.dead = Some(nested - 1);
                    return true;
                }
                Operator::End | Operator::Else if nested == 0 => self.dead = None,
                _ => return true,
            }
        }
        let what = match effect {
            Effect::None => None,
            Effect::Flow(flow) => {
                self.arithmetic |= matches!(flow.gives, Some((_, Gives::Loose(_))));
                Some(What::Flow(flow))
            }
            Effect::Recorded => self.recorded(operator, subject.and_then(Type::of)),
        };
        self.steps.extend(what.map(|what| Step { start: start as u32, end: end as u32, what }));
        true
    }

    fn recorded(&mut self, operator: &Operator<'_>, subject: Option<Type>) -> Option<What> {
        let flow = |pops, takes, gives| Some(What::Flow(Flow { pops, takes, gives }));
        let constant =
            |ty, no_nan| flow(0, Takes::Nothing, Some((ty, if no_nan { Gives::NoNan } else { Gives::Firm })));
        let select = |ty: Type| flow(2, Takes::Copies(None), Some((ty, Gives::Copied)));
        match operator {
            Operator::LocalGet { local_index } => {
                Some(What::Get { local: self.local(*local_index)?, seen: 0, copied_by: None })
            }
            Operator::LocalSet { local_index } => Some(What::Set { local: self.local(*local_index)?, seen: 0 }),
            Operator::LocalTee { local_index } => Some(What::Tee { local: self.local(*local_index)? }),
            Operator::GlobalGet { .. } => flow(0, Takes::Nothing, Some((subject?, Gives::Firm))),
            Operator::GlobalSet { .. } => subject.and_then(|_| flow(1, Takes::Bits, None)),
            Operator::Drop => subject.and_then(|_| flow(1, Takes::Nothing, None)),
            Operator::Select => select(subject?),
            Operator::TypedSelect { ty } => select(Type::of(*ty)?),
            Operator::F32Const { value } => constant(Type::F32, !f32::from_bits(value.bits()).is_nan()),
            Operator::F64Const { value } => constant(Type::F64, !f64::from_bits(value.bits()).is_nan()),
            Operator::V128Const { value } => {
                let (lanes, _) = value.bytes().as_chunks::<4>();
                constant(Type::V128, lanes.iter().all(|lane| !f32::from_le_bytes(*lane).is_nan()))
            }
            Operator::I8x16Shuffle { lanes } => {
                let whole = |width: u8| {
                    lanes
                        .chunks(width.into())
                        .all(|lane| lane[0].is_multiple_of(width) && lane.windows(2).all(|pair| pair[1] == pair[0] + 1))
                };
                let takes = match (whole(8), whole(4)) {
                    (true, _) => Takes::Copies(None),
                    (false, true) => Takes::Copies(Some(Shape::F32)),
                    (false, false) => Takes::Bits,
                };
                let gives = if takes == Takes::Bits { Gives::Firm } else { Gives::Copied };
                flow(2, takes, Some((Type::V128, gives)))
            }
            Operator::Call { function_index } => match function_index.checked_sub(self.module.imported_functions) {
                Some(defined) => {
                    let ty = &self.module.types[self.module.functions[defined as usize] as usize];
                    Some(What::Call { pops: count(ty.params()), pushes: count(ty.results()) })
                }
                // WASI functions take and give integers.
                None => None,
            },
            Operator::CallIndirect { type_index, .. } => {
                let ty = &self.module.types[*type_index as usize];
                Some(What::Call { pops: count(ty.params()), pushes: count(ty.results()) })
            }
            Operator::Block { blockty } => Some(self.opened(LabelKind::Block, *blockty)),
            Operator::Loop { blockty } => Some(self.opened(LabelKind::Loop, *blockty)),
            Operator::If { blockty } => Some(self.opened(LabelKind::If, *blockty)),
            Operator::Else => {
                let label = self.open_label(0);
                self.labels[label as usize].has_else = true;
                Some(What::Else(label))
            }
            Operator::End => self.open.pop().map(What::End),
            Operator::Br { relative_depth } => {
                self.dead = Some(0);
                Some(What::Branch(self.open_label(*relative_depth)))
            }
            Operator::BrIf { relative_depth } => {
                Some(What::BranchIf { label: self.open_label(*relative_depth), depth: *relative_depth })
            }
            Operator::BrTable { targets } => {
                self.dead = Some(0);
                let from = self.targets.len() as u32;
                for depth in targets.targets().map_while(Result::ok).chain([targets.default()]) {
                    let label = self.open_label(depth);
                    self.targets.push(label);
                }
                Some(What::BranchTable { from, to: self.targets.len() as u32 })
            }
            Operator::Return => {
                self.dead = Some(0);
                Some(What::Leave { pops: self.labels[0].results })
            }
            Operator::Unreachable => {
                self.dead = Some(0);
                Some(What::Leave { pops: 0 })
            }
            other => unreachable!("{other:?} has an effect of its own"),
        }
    }

    fn opened(&mut self, kind: LabelKind, ty: BlockType) -> What {
        let module = self.module;
        What::Open(match ty {
            BlockType::Empty => self.label(kind, &[], &[]),
            BlockType::Type(result) => self.label(kind, &[], &[result]),
            BlockType::FuncType(index) => {
                let ty = &module.types[index as usize];
                self.label(kind, ty.params(), ty.results())
            }
        })
    }

    /// What to add to the function that was recorded. `None` if that would be more bytes than there is room for.
    pub(super) fn plan(&mut self, room: usize) -> Option<Plan> {
        if !self.arithmetic {
            return Some(Plan::default());
        }
        let few_labels = self.labels.len() + self.targets.len() <= MOST_LABELS;
        let tracked = if few_labels { self.plan_tracked(room) } else { None };
        let mut plan = match tracked {
            Some(plan) => plan,
            None => self.plan_untracked(room)?,
        };
        plan.insertions.sort_by_key(|insertion| insertion.at);
        Some(plan)
    }

    /// With all locals firm.
    fn plan_untracked(&mut self, room: usize) -> Option<Plan> {
        self.slots.clear();
        for label in &mut self.labels {
            label.brought = Masks::default();
        }
        for step in &mut self.steps {
            if let What::Get { local, .. } | What::Set { local, .. } | What::Tee { local } = &mut step.what {
                local.slot = None;
            }
        }
        let mut pass = Pass::new(self, Phase::Insert, room);
        let ended = pass.run();
        debug_assert!(ended.is_some() || pass.full, "without tracked locals every operand is either firm or loose");
        ended.map(|()| pass.plan)
    }

    fn plan_tracked(&mut self, room: usize) -> Option<Plan> {
        // What is seen of a local where branches meet decides whether it may be in two states there, so none of these
        // passes should end early. If one did, all locals would be kept firm: nothing depends on it but speed.
        let whole = |pass: &mut Pass<'_, '_, '_>| {
            let ended = pass.run();
            debug_assert!(ended.is_some() || pass.full, "a value is seen that may be loose and may be firm");
            ended
        };
        whole(&mut Pass::new(self, Phase::Uses, 0))?;
        (0..MOST_PASSES).find(|_| !self.look_back())?;
        (0..MOST_PASSES).find(|_| {
            let mut pass = Pass::new(self, Phase::States, 0);
            whole(&mut pass).is_none() || !pass.changed
        })?;
        let mut pass = Pass::new(self, Phase::Insert, room);
        whole(&mut pass)?;
        Some(pass.plan)
    }

    /// Goes through the function from its end and finds out what is seen of locals at labels. Whether that changed
    /// anything at the beginning of a loop.
    fn look_back(&mut self) -> bool {
        let mut changed = false;
        let mut seen = Masks::default();
        // For each `if`: what is seen where its condition is false.
        let mut otherwise = Vec::new();
        for index in (0..self.steps.len()).rev() {
            match self.steps[index].what {
                What::Flow(_) | What::Call { .. } => {}
                What::Get { local, seen: mut here, copied_by } => {
                    if let Some(What::Set { seen, .. }) = copied_by.map(|by| &self.steps[by as usize].what) {
                        here |= seen;
                    }
                    if let Some(slot) = local.slot {
                        seen.put(slot, seen.get(slot) | here);
                    }
                }
                What::Set { local, seen: ref mut of_value } => {
                    if let Some(slot) = local.slot {
                        *of_value = seen.get(slot);
                        seen.put(slot, 0);
                    }
                }
                What::Tee { local } => {
                    if let Some(slot) = local.slot {
                        seen.put(slot, 0);
                    }
                }
                What::End(label) => {
                    let label = &mut self.labels[label as usize];
                    if label.kind != LabelKind::Loop {
                        label.seen = seen;
                    }
                    if label.kind == LabelKind::If {
                        otherwise.push(seen);
                    }
                }
                What::Else(label) => {
                    if let Some(otherwise) = otherwise.last_mut() {
                        *otherwise = seen;
                    }
                    seen = self.labels[label as usize].seen;
                }
                What::Open(label) => {
                    let label = &mut self.labels[label as usize];
                    match label.kind {
                        LabelKind::Loop => changed |= label.seen.add_all(&seen),
                        LabelKind::If => {
                            seen.add_all(&otherwise.pop().unwrap_or_default());
                        }
                        LabelKind::Block | LabelKind::Function => {}
                    }
                }
                What::Branch(label) => seen = self.labels[label as usize].seen,
                What::BranchIf { label, .. } => {
                    seen.add_all(&self.labels[label as usize].seen);
                }
                What::BranchTable { from, to } => {
                    seen = Masks::default();
                    for label in &self.targets[from as usize..to as usize] {
                        seen.add_all(&self.labels[*label as usize].seen);
                    }
                }
                What::Leave { .. } => seen = Masks::default(),
            }
        }
        changed
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// What is seen of the value of each `local.get`.
    Uses,
    /// What is brought to each label.
    States,
    /// What is to be added.
    Insert,
}

/// A float or vector on the stack.
#[derive(Clone, Copy)]
struct Operand {
    mask: Mask,
    ty: Type,
    /// Where it is on the top.
    at: u32,
    /// A local that has the same value there.
    local: Option<u32>,
    /// The `local.get` that pushed it.
    get: Option<u32>,
}

/// One way through a function from its beginning.
struct Pass<'p, 'm, 'a> {
    planner: &'p mut Planner<'m, 'a>,
    phase: Phase,
    stack: Vec<Operand>,
    state: Masks,
    reachable: bool,
    changed: bool,
    plan: Plan,
    /// How many bytes there is room for.
    room: usize,
    /// Whether that is not enough.
    full: bool,
}

impl<'p, 'm, 'a> Pass<'p, 'm, 'a> {
    fn new(planner: &'p mut Planner<'m, 'a>, phase: Phase, room: usize) -> Self {
        let mut state = Masks::default();
        for local in &planner.slots {
            if (local.index as usize) < planner.parameters
                && let Some(slot) = local.slot
            {
                state.put(slot, FIRM);
            }
        }
        let plan = Plan::default();
        Self { planner, phase, stack: Vec::new(), state, reachable: true, changed: false, plan, room, full: false }
    }

    /// `None` if there is no room for it.
    fn add(&mut self, at: u32, what: Added) -> Option<()> {
        if self.phase == Phase::Insert {
            self.plan.most_bytes += what.most_bytes();
            self.full = self.plan.most_bytes > self.room;
            if self.full {
                return None;
            }
            self.plan.insertions.push(Insertion { at: at as usize, what });
        }
        Some(())
    }

    fn push(&mut self, mask: Mask, ty: Type, at: u32) {
        self.stack.push(Operand { mask, ty, at, local: None, get: None });
    }

    fn push_firm(&mut self, operands: u16, at: u32) {
        for _ in 0..operands {
            self.push(FIRM, Type::V128, at);
        }
    }

    fn note_use(&mut self, operand: &Operand, seen: Mask) {
        if self.phase == Phase::Uses
            && let Some(get) = operand.get
            && let What::Get { seen: known, .. } = &mut self.planner.steps[get as usize].what
        {
            *known |= seen;
        }
    }

    /// Makes an operand firm where it was pushed. `None` if it may be loose and may be firm, which is never seen.
    fn settle(&mut self, operand: &mut Operand) -> Option<()> {
        let shape = match operand.mask {
            0 | FIRM => return Some(()),
            LOOSE_F32 => Shape::F32,
            LOOSE_F64 => Shape::F64,
            _ => return None,
        };
        self.add(operand.at, Added::Operand { ty: operand.ty, shape, local: operand.local })?;
        operand.mask = FIRM;
        Some(())
    }

    /// Pops operands whose bits are seen.
    fn pop_seen(&mut self, operands: u16) -> Option<()> {
        for _ in 0..operands {
            let mut operand = self.stack.pop()?;
            self.note_use(&operand, BITS);
            self.settle(&mut operand)?;
        }
        Some(())
    }

    /// The same for operands that stay where they are.
    fn see(&mut self, operands: u16) -> Option<()> {
        let first = self.stack.len().checked_sub(operands.into())?;
        for index in first..self.stack.len() {
            let mut operand = self.stack[index];
            self.note_use(&operand, BITS);
            self.settle(&mut operand)?;
            self.stack[index] = operand;
        }
        Some(())
    }

    fn flow(&mut self, flow: Flow, at: u32) -> Option<()> {
        let first = self.stack.len().checked_sub(flow.pops.into())?;
        let mut operands = [None::<Operand>; 3];
        for (taken, operand) in operands.iter_mut().zip(self.stack.drain(first..)) {
            *taken = Some(operand);
        }
        let mut copied = 0;
        for (position, operand) in operands.iter_mut().flatten().enumerate() {
            let takes = match (flow.takes, position) {
                (Takes::CopiesFirst(shape), 0) => Takes::Copies(Some(shape)),
                (Takes::CopiesFirst(shape), _) => Takes::Lanes(shape),
                (takes, _) => takes,
            };
            match takes {
                Takes::Nothing => {}
                Takes::Bits => {
                    self.note_use(operand, BITS);
                    self.settle(operand)?;
                }
                Takes::Lanes(shape) => {
                    self.note_use(operand, shape.loose());
                    if operand.mask & LOOSE & !shape.loose() != 0 {
                        self.settle(operand)?;
                    }
                }
                Takes::CopiesFirst(_) => {}
                Takes::Copies(shape) => {
                    self.note_use(operand, BITS);
                    if shape.is_some_and(|shape| operand.mask & LOOSE & !shape.loose() != 0) {
                        self.settle(operand)?;
                    }
                    copied |= operand.mask;
                }
            }
        }
        if copied.count_ones() > 1 {
            for operand in operands.iter_mut().flatten() {
                self.settle(operand)?;
            }
            copied = FIRM;
        }
        // Lanes that are no NaN as f64 may hold one as f32.
        if copied == 0 && matches!(flow.takes, Takes::Copies(Some(Shape::F64)) | Takes::CopiesFirst(Shape::F64)) {
            copied = FIRM;
        }
        if let Some((ty, gives)) = flow.gives {
            let mask = match gives {
                Gives::Firm => FIRM,
                Gives::NoNan => 0,
                Gives::Loose(shape) => shape.loose(),
                Gives::Copied => copied,
            };
            self.push(mask, ty, at);
        }
        Some(())
    }

    /// Puts the top operand, which was popped, into a local.
    fn assign(&mut self, operand: &mut Operand, local: Local) -> Option<()> {
        match local.slot {
            Some(slot) => self.state.put(slot, operand.mask),
            None => {
                self.note_use(operand, BITS);
                self.settle(operand)?;
            }
        }
        Some(())
    }

    /// Brings the state to a label.
    fn bring(&mut self, label: u32, state: Masks) {
        if self.phase == Phase::States {
            let label = &mut self.planner.labels[label as usize];
            let changed = label.brought.add_all(&state);
            self.changed |= changed && label.kind == LabelKind::Loop;
        }
    }

    fn settle_locals(&mut self, slots: impl Iterator<Item = u8>, state: &Masks, at: u32) -> Option<()> {
        for slot in slots {
            let Local { index: local, ty, .. } = self.planner.slots[usize::from(slot)];
            let shape = match state.get(slot) {
                LOOSE_F32 => Shape::F32,
                LOOSE_F64 => Shape::F64,
                _ => return None,
            };
            self.add(at, Added::Local { ty, shape, local })?;
        }
        Some(())
    }

    /// The state after a label.
    fn met(&self, label: u32) -> Masks {
        let label = &self.planner.labels[label as usize];
        if label.kind == LabelKind::Function { Masks::default() } else { label.brought.met(&label.seen) }
    }

    /// Brings the state to a label by an edge of control, before the operator at `at`.
    fn edge(&mut self, label: u32, state: Masks, at: u32) -> Option<()> {
        self.bring(label, state);
        if self.phase == Phase::Insert {
            let there = self.met(label);
            self.settle_locals(state.unsettled(&there), &state, at)?;
        }
        Some(())
    }

    /// Floats and vectors that a branch to a label takes.
    fn taken(&self, label: u32) -> u16 {
        let label = &self.planner.labels[label as usize];
        if label.kind == LabelKind::Loop { label.params } else { label.results }
    }

    /// `None` if a value that may be loose and may be firm is seen.
    fn run(&mut self) -> Option<()> {
        if self.phase == Phase::States {
            for label in &mut self.planner.labels {
                if label.kind != LabelKind::Loop {
                    label.brought = Masks::default();
                }
            }
        }
        // For each open label: the stack's height without its parameters, and the state at an `if`.
        let mut open = Vec::from([(0, Masks::default())]);
        for index in 0..self.planner.steps.len() {
            let Step { start, end, ref what } = self.planner.steps[index];
            match *what {
                What::Flow(flow) => self.flow(flow, end)?,
                What::Get { local, .. } => {
                    let mask = match local.slot {
                        Some(slot) if self.phase != Phase::Uses => self.state.get(slot),
                        _ => FIRM,
                    };
                    let get = Some(index as u32);
                    self.stack.push(Operand { mask, ty: local.ty, at: end, local: Some(local.index), get });
                }
                What::Set { local, .. } => {
                    let mut operand = self.stack.pop()?;
                    if self.phase == Phase::Uses
                        && let Some(get) = operand.get
                        && let What::Get { copied_by, .. } = &mut self.planner.steps[get as usize].what
                    {
                        *copied_by = Some(index as u32);
                    }
                    self.assign(&mut operand, local)?;
                }
                What::Tee { local } => {
                    let mut operand = self.stack.pop()?;
                    self.note_use(&operand, BITS);
                    self.assign(&mut operand, local)?;
                    self.stack.push(Operand {
                        mask: operand.mask,
                        ty: local.ty,
                        at: end,
                        local: Some(local.index),
                        get: None,
                    });
                }
                What::Call { pops, pushes } => {
                    self.pop_seen(pops)?;
                    self.push_firm(pushes, end);
                }
                What::Open(label) => {
                    let Label { kind, params, .. } = self.planner.labels[label as usize];
                    self.pop_seen(params)?;
                    open.push((self.stack.len(), self.state));
                    self.push_firm(params, end);
                    if kind == LabelKind::Loop {
                        self.edge(label, self.state, start)?;
                        self.state = self.met(label);
                    }
                }
                What::Else(label) => {
                    if self.reachable {
                        self.pop_seen(self.planner.labels[label as usize].results)?;
                        self.edge(label, self.state, start)?;
                    }
                    let &(height, at_if) = open.last()?;
                    self.stack.truncate(height);
                    self.push_firm(self.planner.labels[label as usize].params, end);
                    self.state = at_if;
                    self.reachable = true;
                }
                What::End(label) => {
                    let Label { kind, results, has_else, .. } = self.planner.labels[label as usize];
                    if self.reachable {
                        self.pop_seen(results)?;
                    }
                    let (height, at_if) = open.pop()?;
                    if kind != LabelKind::Loop {
                        if self.reachable {
                            self.edge(label, self.state, start)?;
                        }
                        if kind == LabelKind::If && !has_else {
                            self.bring(label, at_if);
                            let there = self.met(label);
                            if self.phase == Phase::Insert && at_if.unsettled(&there).next().is_some() {
                                self.add(start, Added::Else)?;
                                self.settle_locals(at_if.unsettled(&there), &at_if, start)?;
                            }
                        }
                        self.state = self.met(label);
                    } else if !self.reachable {
                        // Nothing gets here, so locals are nothing.
                        self.state = Masks::default();
                    }
                    self.stack.truncate(height);
                    self.push_firm(results, end);
                    self.reachable = true;
                }
                What::Branch(label) => {
                    self.pop_seen(self.taken(label))?;
                    self.edge(label, self.state, start)?;
                    self.reachable = false;
                }
                What::BranchIf { label, depth } => {
                    self.see(self.taken(label))?;
                    let there = self.met(label);
                    if self.planner.labels[label as usize].takes_operands
                        || self.phase != Phase::Insert
                        || self.state.unsettled(&there).next().is_none()
                    {
                        self.edge(label, self.state, start)?;
                    } else {
                        self.add(start, Added::BranchBegin)?;
                        self.edge(label, self.state, start)?;
                        self.add(end, Added::BranchEnd { depth })?;
                    }
                }
                What::BranchTable { from, to } => {
                    let targets = from as usize..to as usize;
                    self.pop_seen(self.taken(self.planner.targets[from as usize]))?;
                    let mut settled = Masks::default();
                    for index in targets {
                        let label = self.planner.targets[index];
                        self.bring(label, self.state);
                        let there = self.met(label);
                        for slot in self.state.unsettled(&there) {
                            settled.put(slot, FIRM);
                        }
                    }
                    self.settle_locals(self.state.unsettled(&settled), &self.state.clone(), start)?;
                    self.reachable = false;
                }
                What::Leave { pops } => {
                    self.pop_seen(pops)?;
                    self.reachable = false;
                }
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
