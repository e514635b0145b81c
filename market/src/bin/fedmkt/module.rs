//! A trainer's module: reading its file, and what admission says of it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context;
use fedmkt_core::admission::limits::MODULE_BYTES;
use fedmkt_core::admission::{Finding, Form};
use serde_json::{Value, json};
use wasmparser::{ExternalKind, Parser, Payload};

/// Reads a module's file. One that is too large is cut one byte after the limit, so that admission says so.
pub fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let cannot = || format!("cannot read the module {}", path.display());
    let file = File::open(path).with_context(cannot)?;
    let mut wasm = Vec::new();
    file.take(MODULE_BYTES as u64 + 1).read_to_end(&mut wasm).with_context(cannot)?;
    Ok(wasm)
}

/// How a module is called, in words.
pub fn form_text(form: Form) -> &'static str {
    match form {
        Form::Command => "command: `_start` is the only step",
        Form::Stepper { initialize: false } => "stepper: `fedmkt_init`, then `fedmkt_step` again and again",
        Form::Stepper { initialize: true } => {
            "stepper: `_initialize` and `fedmkt_init`, then `fedmkt_step` again and again"
        }
    }
}

/// How a module is called, for machines.
pub fn form_name(form: Form) -> &'static str {
    match form {
        Form::Command => "command",
        Form::Stepper { .. } => "stepper",
    }
}

/// A finding for machines.
pub fn finding_json(finding: &Finding) -> Value {
    let function = finding.place.as_ref().and_then(|place| place.function.as_ref());
    json!({
        "what": finding.what,
        "offset": finding.place.as_ref().map(|place| place.offset),
        "function": function.map(|(index, name)| json!({ "index": index, "name": name })),
    })
}

/// What a valid module exports, as name and kind, and how many bytes its functions have.
#[derive(Default)]
pub struct Outline {
    pub exports: Vec<(String, &'static str)>,
    pub code_bytes: usize,
}

impl Outline {
    pub fn of(wasm: &[u8]) -> anyhow::Result<Self> {
        let mut outline = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        outline.exports.push((export.name.into(), kind_name(export.kind)));
                    }
                }
                Payload::CodeSectionStart { range, .. } => outline.code_bytes = range.len(),
                _ => {}
            }
        }
        Ok(outline)
    }
}

fn kind_name(kind: ExternalKind) -> &'static str {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => "function",
        ExternalKind::Table => "table",
        ExternalKind::Memory => "memory",
        ExternalKind::Global => "global",
        ExternalKind::Tag => "tag",
    }
}
