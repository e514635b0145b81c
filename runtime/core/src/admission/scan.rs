//! Goes through a module once, holds it against the rules, and notes where its parts are.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;

use wasmparser::{
    CompositeInnerType, DataKind, ElementItems, ExternalKind, FuncType, FunctionBody, Name, NameSectionReader,
    Operator, Parser, Payload, TypeRef, ValType,
};

use super::findings::{Finding, Findings, Place, Refusal, refuse};
use super::operator::Current;
use super::{Form, MemoryBounds, ModuleLimits, RESERVED_PREFIX, limits, profile};
use crate::image::MAX_GLOBALS;
use crate::wasi::{Function, ValueType};

const WASI_MODULE: &str = "wasi_snapshot_preview1";

/// A module and where its parts are.
pub(super) struct Module<'a> {
    pub(super) wasm: &'a [u8],
    /// The contents of the sections that are copied, by id.
    pub(super) sections: BTreeMap<u8, Range<usize>>,
    pub(super) types: Vec<FuncType>,
    /// How many functions are imported.
    pub(super) imported_functions: u32,
    /// Type indices of the functions that have bodies.
    pub(super) functions: Vec<u32>,
    pub(super) bodies: Vec<FunctionBody<'a>>,
    pub(super) tables: Vec<Table>,
    pub(super) globals: u32,
    pub(super) mutable_globals: Vec<u32>,
    pub(super) memory: Option<MemoryBounds>,
    pub(super) start: Option<u32>,
    pub(super) form: Form,
    pub(super) imports: Vec<Function>,
    pub(super) warnings: Vec<Finding>,
}

/// How many elements a table has and may have.
#[derive(Clone, Copy)]
pub(super) struct Table {
    pub(super) initial: u64,
    pub(super) maximum: Option<u64>,
}

/// Scans a module without its operators. It may be refused for less than all that is wrong with it.
pub(super) fn outline<'a>(wasm: &'a [u8], allowed: &ModuleLimits) -> Result<Module<'a>, Refusal> {
    let scan = scan_sections(wasm, false)?;
    scan.findings.check()?;
    scan.finish(wasm, allowed)
}

/// Scans a module.
pub(super) fn scan<'a>(wasm: &'a [u8], allowed: &ModuleLimits) -> Result<Module<'a>, Refusal> {
    let mut scan = scan_sections(wasm, true)?;
    scan.bodies();
    scan.finish(wasm, allowed)
}

fn scan_sections(wasm: &[u8], names: bool) -> Result<Scan<'_>, Refusal> {
    if wasm.len() > limits::MODULE_BYTES {
        return Err(refuse(format!("the module has {} bytes, the limit is {}", wasm.len(), limits::MODULE_BYTES), 0));
    }
    let mut scan = Scan::default();
    for payload in Parser::new(0).parse_all(wasm) {
        // After a parse error nothing that follows can be believed.
        if let Err(error) = payload.and_then(|payload| scan.section(&payload, names)) {
            scan.findings.add(format!("not WebAssembly: {}", error.message()), Some(at(error.offset())));
            break;
        }
    }
    Ok(scan)
}

fn at(offset: usize) -> Place {
    Place { offset, function: None }
}

#[derive(Default)]
struct Scan<'a> {
    findings: Findings,
    sections: BTreeMap<u8, Range<usize>>,
    names: BTreeMap<u32, String>,
    types: Vec<Option<FuncType>>,
    imported_functions: Vec<u32>,
    imports: Vec<Function>,
    functions: Vec<u32>,
    bodies: Vec<FunctionBody<'a>>,
    too_many_bodies: bool,
    tables: Vec<Table>,
    globals: u32,
    mutable_globals: Vec<u32>,
    /// Mutable globals that hold references, with their places.
    reference_globals: Vec<usize>,
    memory: Option<MemoryBounds>,
    start: Option<u32>,
    exports: BTreeMap<String, (ExternalKind, u32)>,
}

impl<'a> Scan<'a> {
    fn find(&mut self, what: impl Into<String>, offset: usize) {
        self.findings.add(what, Some(at(offset)));
    }

    /// Whether there are so few that they can be looked at.
    fn count(&mut self, what: &str, count: u32, most: u32, offset: usize) -> bool {
        if count > most {
            self.find(format!("{count} {what}; the limit is {most}"), offset);
        }
        count <= most
    }

    fn section(&mut self, payload: &Payload<'a>, names: bool) -> wasmparser::Result<()> {
        if let Some((id, range)) = payload.as_section()
            && id != 0
            && id != 10
        {
            self.sections.insert(id, range);
        }
        match payload {
            Payload::Version { encoding, range, .. } => {
                if *encoding != wasmparser::Encoding::Module {
                    self.find("components are not supported: build a core module", range.start);
                }
            }
            Payload::TypeSection(types) => {
                if !self.count("types", types.count(), limits::TYPES, types.range().start) {
                    return Ok(());
                }
                for group in types.clone().into_iter_with_offsets() {
                    let (offset, group) = group?;
                    // The section counts a group of types as one.
                    let count = self.types.len() as u32;
                    if !self.count("types", count.saturating_add(group.types().len() as u32), limits::TYPES, offset) {
                        return Ok(());
                    }
                    for ty in group.into_types() {
                        let function = match ty.composite_type.inner {
                            CompositeInnerType::Func(function) if !ty.composite_type.shared => Some(function),
                            _ => None,
                        };
                        match &function {
                            Some(function) => {
                                let most = function.params().len().max(function.results().len());
                                if most > limits::PARAMS {
                                    self.find(
                                        format!("{most} parameters or results; the limit is {}", limits::PARAMS),
                                        offset,
                                    );
                                }
                            }
                            None => self.find("garbage collection types are not in the profile", offset),
                        }
                        self.types.push(function);
                    }
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.clone().into_imports_with_offsets() {
                    let (offset, import) = import?;
                    self.import(import.module, import.name, import.ty, offset);
                }
            }
            Payload::FunctionSection(functions) => {
                let count = functions.count().saturating_add(self.imported_functions.len() as u32);
                if !self.count("functions", count, limits::FUNCTIONS, functions.range().start) {
                    return Ok(());
                }
                for function in functions.clone() {
                    self.functions.push(function?);
                }
            }
            Payload::TableSection(tables) => {
                if !self.count("tables", tables.count(), limits::TABLES, tables.range().start) {
                    return Ok(());
                }
                let mut elements = 0u64;
                for table in tables.clone().into_iter_with_offsets() {
                    let (offset, table) = table?;
                    elements = elements.saturating_add(table.ty.initial);
                    self.tables.push(Table { initial: table.ty.initial, maximum: table.ty.maximum });
                    if table.ty.table64 || table.ty.shared {
                        self.find("64-bit and shared tables are not in the profile", offset);
                    }
                }
                if elements > limits::TABLE_ELEMENTS {
                    self.find(
                        format!("{elements} table elements; the limit is {}", limits::TABLE_ELEMENTS),
                        tables.range().start,
                    );
                }
            }
            Payload::MemorySection(memories) => {
                if memories.count() > 1 {
                    self.find(
                        "multi-memory is not in the profile: a module has at most one memory",
                        memories.range().start,
                    );
                }
                for memory in memories.clone().into_iter_with_offsets() {
                    let (offset, memory) = memory?;
                    for (is, what) in [
                        (memory.memory64, "memory64 is"),
                        (memory.shared, "threads (a shared memory) are"),
                        (memory.page_size_log2.is_some(), "custom page sizes are"),
                    ] {
                        if is {
                            self.find(format!("{what} not in the profile"), offset);
                        }
                    }
                    self.memory =
                        Some(MemoryBounds { initial: memory.initial, maximum: memory.maximum.unwrap_or(65_536) });
                }
            }
            Payload::TagSection(tags) => {
                self.find("exceptions are not in the profile: build without them", tags.range().start);
            }
            Payload::GlobalSection(globals) => {
                if !self.count("globals", globals.count(), limits::GLOBALS, globals.range().start) {
                    return Ok(());
                }
                for global in globals.clone().into_iter_with_offsets() {
                    let (offset, global) = global?;
                    if global.ty.shared {
                        self.find("shared globals are not in the profile", offset);
                    }
                    if global.ty.mutable {
                        if let ValType::Ref(_) = global.ty.content_type {
                            self.reference_globals.push(offset);
                        }
                        self.mutable_globals.push(self.globals);
                    }
                    self.globals += 1;
                }
                self.count(
                    "mutable globals",
                    self.mutable_globals.len() as u32,
                    MAX_GLOBALS as u32,
                    globals.range().start,
                );
            }
            Payload::ExportSection(exports) => {
                if !self.count("exports", exports.count(), limits::EXPORTS, exports.range().start) {
                    return Ok(());
                }
                for export in exports.clone().into_iter_with_offsets() {
                    let (offset, export) = export?;
                    if export.name.starts_with(RESERVED_PREFIX) {
                        self.find(
                            format!("the export {:?} begins with the reserved `{RESERVED_PREFIX}`", short(export.name)),
                            offset,
                        );
                    }
                    self.exports.insert(export.name.to_string(), (export.kind, export.index));
                }
            }
            Payload::StartSection { func, .. } => self.start = Some(*func),
            Payload::ElementSection(elements) => {
                self.count("element segments", elements.count(), limits::SEGMENTS, elements.range().start);
                let mut count = 0u64;
                for segment in elements.clone() {
                    count += u64::from(match segment?.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    });
                }
                if count > limits::TABLE_ELEMENTS {
                    self.find(
                        format!("{count} elements in segments; the limit is {}", limits::TABLE_ELEMENTS),
                        elements.range().start,
                    );
                }
            }
            Payload::DataCountSection { count, range } => {
                self.count("data segments", *count, limits::SEGMENTS, range.start);
            }
            Payload::DataSection(data) => {
                self.count("data segments", data.count(), limits::SEGMENTS, data.range().start);
                for segment in data.clone() {
                    let segment = segment?;
                    if let DataKind::Active { memory_index: 1.., .. } = segment.kind {
                        self.find("multi-memory is not in the profile", segment.range.start);
                    }
                }
            }
            Payload::CodeSectionStart { count, range, .. } => {
                self.too_many_bodies = !self.count("bodies", *count, limits::FUNCTIONS, range.start);
            }
            Payload::CodeSectionEntry(body) => {
                if !self.too_many_bodies {
                    self.bodies.push(body.clone());
                }
            }
            Payload::End(_) => {}
            Payload::CustomSection(section) => {
                if names && let wasmparser::KnownCustom::Name(names) = section.as_known() {
                    self.read_names(names);
                }
            }
            other => {
                let offset = other.as_section().map_or(0, |(_, range)| range.start);
                self.find("a section that the profile does not know: build a core module", offset);
            }
        }
        Ok(())
    }

    /// Names only make messages better; what cannot be read is passed over.
    fn read_names(&mut self, names: NameSectionReader<'_>) {
        for part in names.into_iter().flatten() {
            if let Name::Function(functions) = part {
                let readable = functions.into_iter().flatten().take(limits::FUNCTIONS as usize);
                self.names.extend(
                    readable.map(|naming| {
                        (naming.index, naming.name.chars().filter(|c| !c.is_control()).take(120).collect())
                    }),
                );
            }
        }
    }

    fn import(&mut self, module: &str, name: &str, ty: TypeRef, offset: usize) {
        let shown = (short(module), short(name));
        let TypeRef::Func(type_index) = ty else {
            self.find(
                format!(
                    "imports {:?} {:?}, which is not a function: only WASI functions can be imported",
                    shown.0, shown.1
                ),
                offset,
            );
            return;
        };
        self.imported_functions.push(type_index);
        let function = (module == WASI_MODULE).then(|| Function::from_name(name)).flatten();
        let Some(function) = function else {
            self.find(
                format!(
                    "imports {:?} from {:?}: only the functions of {WASI_MODULE} can be imported",
                    shown.1, shown.0
                ),
                offset,
            );
            return;
        };
        let expected = |types: &[ValueType], found: &[ValType]| {
            types.len() == found.len()
                && types.iter().zip(found).all(|(expected, found)| {
                    *found
                        == match expected {
                            ValueType::I32 => ValType::I32,
                            ValueType::I64 => ValType::I64,
                        }
                })
        };
        let right = self.types.get(type_index as usize).and_then(Option::as_ref).is_some_and(|ty| {
            expected(function.params(), ty.params()) && expected(function.result().as_slice(), ty.results())
        });
        if !right {
            self.find(format!("imports {:?} with a signature that is not that of {WASI_MODULE}", shown.1), offset);
        }
        if !self.imports.contains(&function) {
            self.imports.push(function);
        }
    }

    fn is_stepper(&self) -> bool {
        self.exports.contains_key("fedmkt_init") || self.exports.contains_key("fedmkt_step")
    }

    fn bodies(&mut self) {
        let stepper = self.is_stepper();
        for (body, number) in core::mem::take(&mut self.bodies).into_iter().zip(0..) {
            let index = self.imported_functions.len() as u32 + number;
            let place =
                |scan: &Self, offset| Some(Place { offset, function: Some((index, scan.names.get(&index).cloned())) });
            let bytes = body.range().len();
            if bytes > limits::FUNCTION_BYTES {
                let place = place(self, body.range().start);
                self.findings
                    .add(format!("a function of {bytes} bytes; the limit is {}", limits::FUNCTION_BYTES), place);
            }
            if let Err(error) = self.body(&body, stepper, &place) {
                let place = place(self, error.offset());
                self.findings.add(format!("not WebAssembly: {}", error.message()), place);
            }
            self.bodies.push(body);
        }
    }

    fn globals(&mut self) {
        if self.is_stepper() {
            for offset in core::mem::take(&mut self.reference_globals) {
                self.find(
                    "a stepper cannot have mutable globals that hold references: they cannot be saved between steps",
                    offset,
                );
            }
        }
    }

    fn body(
        &mut self,
        body: &FunctionBody<'_>,
        stepper: bool,
        place: &dyn Fn(&Self, usize) -> Option<Place>,
    ) -> wasmparser::Result<()> {
        let mut operators = body.get_operators_reader()?;
        let mut nesting = 0u32;
        let mut current = Current::default();
        while !operators.eof() {
            let offset = operators.original_position();
            let what = match current.read(&mut operators)? {
                refused if profile::refused_feature(refused).is_some() => {
                    let feature = profile::refused_feature(refused).unwrap_or_default();
                    Some(format!("{feature} is not in the profile: build without this feature"))
                }
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                    nesting += 1;
                    (nesting == limits::NESTING + 1).then(|| format!("more than {} nested blocks", limits::NESTING))
                }
                Operator::End => {
                    nesting = nesting.saturating_sub(1);
                    None
                }
                Operator::BrTable { targets } if targets.len() > limits::BRANCH_TARGETS => {
                    Some(format!("br_table with {} targets; the limit is {}", targets.len(), limits::BRANCH_TARGETS))
                }
                operator if stepper => breaks_restore(operator).map(|name| {
                    format!("{name}: what it changes cannot be saved between steps, so a stepper cannot use it")
                }),
                _ => None,
            };
            if let Some(what) = what {
                let place = place(self, offset);
                self.findings.add(what, place);
            }
        }
        Ok(())
    }

    fn exported_function(&self, name: &str) -> Option<&FuncType> {
        let &(kind, index) = self.exports.get(name)?;
        if kind != ExternalKind::Func {
            return None;
        }
        let index = index as usize;
        let imported = self.imported_functions.len();
        let ty =
            if index < imported { self.imported_functions.get(index) } else { self.functions.get(index - imported) };
        self.types.get(*ty? as usize)?.as_ref()
    }

    /// Checks that an export, if it is there, is a function without parameters and with these results.
    fn check_entry(&mut self, name: &str, results: &[ValType]) -> bool {
        if !self.exports.contains_key(name) {
            return false;
        }
        let right = self.exported_function(name).is_some_and(|ty| ty.params().is_empty() && ty.results() == results);
        if !right {
            let result = if results.is_empty() { "no result" } else { "one result, an i32" };
            self.findings
                .add(format!("the export `{name}` must be a function without parameters and with {result}"), None);
        }
        true
    }

    fn finish(mut self, wasm: &'a [u8], allowed: &ModuleLimits) -> Result<Module<'a>, Refusal> {
        self.globals();
        let mut warnings = Vec::new();
        let start = self.check_entry("_start", &[]);
        let initialize = self.check_entry("_initialize", &[]);
        let init = self.check_entry("fedmkt_init", &[ValType::I32]);
        let step = self.check_entry("fedmkt_step", &[ValType::I32]);
        let form = if init || step { Form::Stepper { initialize } } else { Form::Command };
        let mut wrong = |what: &str| self.findings.add(what, None);
        if start && initialize {
            wrong("exports both `_start` and `_initialize`: a module is a WASI command or a reactor, never both");
        }
        match (init, step) {
            (true, false) => wrong("exports `fedmkt_init` without `fedmkt_step`"),
            (false, true) => wrong("exports `fedmkt_step` without `fedmkt_init`"),
            (true, true) if !start && !initialize => {
                wrong("exports neither `_start` nor `_initialize`: a stepper is a WASI command or a reactor as well");
            }
            (false, false) if !start => {
                wrong("exports neither `_start` nor `fedmkt_init` and `fedmkt_step`: there is nothing to run");
            }
            (false, false) => warnings.push(Finding {
                what: "exports `_start` only: the whole run is one step, and a dispute would replay all of it".into(),
                place: None,
            }),
            _ => {}
        }
        let exports_memory = self.exports.get("memory") == Some(&(ExternalKind::Memory, 0));
        if (!self.imports.is_empty() || self.memory.is_some()) && !exports_memory {
            wrong("does not export its memory as `memory`, which WASI and the state image need");
        }
        if let Some(memory) = &mut self.memory {
            memory.maximum = memory.maximum.min(allowed.max_memory_bytes / 65_536);
            if memory.initial > memory.maximum {
                self.findings.add(
                    format!(
                        "needs {} bytes of memory at its start, the job allows {}",
                        memory.initial.saturating_mul(65_536),
                        allowed.max_memory_bytes
                    ),
                    None,
                );
            }
        }
        self.findings.into_result()?;
        Ok(Module {
            wasm,
            sections: self.sections,
            types: self.types.into_iter().flatten().collect(),
            imported_functions: self.imported_functions.len() as u32,
            functions: self.functions,
            bodies: self.bodies,
            tables: self.tables,
            globals: self.globals,
            mutable_globals: self.mutable_globals,
            memory: self.memory,
            start: self.start,
            form,
            imports: self.imports,
            warnings,
        })
    }
}

/// The beginning of a name, for a message: names have up to 100,000 bytes.
fn short(name: &str) -> &str {
    &name[..name.floor_char_boundary(120)]
}

/// The name of an operator that changes what a state image does not hold.
pub(super) fn breaks_restore(operator: &Operator<'_>) -> Option<&'static str> {
    match operator {
        Operator::TableSet { .. } => Some("table.set"),
        Operator::TableGrow { .. } => Some("table.grow"),
        Operator::TableFill { .. } => Some("table.fill"),
        Operator::TableCopy { .. } => Some("table.copy"),
        Operator::TableInit { .. } => Some("table.init"),
        Operator::DataDrop { .. } => Some("data.drop"),
        Operator::ElemDrop { .. } => Some("elem.drop"),
        _ => None,
    }
}
