//! `fedmkt check`: admission as a lint for authors.

use std::io::Write;
use std::path::Path;

use fedmkt_core::admission::{self, Admitted, ModuleLimits, Refusal};
use fedmkt_runtime::message::{note, printable, printable_lines};
use serde_json::{Value, json};

use crate::Refused;
use crate::bytes::Bytes;
use crate::cli::Check;
use crate::module::{self, Outline};

/// Bytes of the unit in which modules count memory.
const MEMORY_PAGE: u64 = 65_536;

pub fn run(arguments: &Check, out: &mut dyn Write) -> anyhow::Result<()> {
    let wasm = module::read(&arguments.module)?;
    let verdict = Verdict::of(&wasm, arguments.memory.0);
    if arguments.json {
        writeln!(out, "{:#}", verdict.json()?)?;
    } else {
        verdict.print(&arguments.module, out)?;
    }
    if verdict.admitted() { Ok(()) } else { Err(Refused.into()) }
}

/// What admission says of a module.
pub struct Verdict<'a> {
    wasm: &'a [u8],
    result: Result<Admitted, Refusal>,
}

impl<'a> Verdict<'a> {
    /// The verdict on a module in a job that allows it so many bytes of memory.
    pub fn of(wasm: &'a [u8], max_memory_bytes: u64) -> Self {
        Self { wasm, result: admission::admit(wasm, &ModuleLimits { max_memory_bytes }) }
    }

    pub fn admitted(&self) -> bool {
        self.result.is_ok()
    }

    /// The verdict for machines.
    pub fn json(&self) -> anyhow::Result<Value> {
        let admitted = match &self.result {
            Ok(admitted) => admitted,
            Err(refusal) => {
                let findings: Vec<_> = refusal.findings.iter().map(module::finding_json).collect();
                return Ok(json!({ "admitted": false, "findings": findings, "more": refusal.more }));
            }
        };
        let (before, after) = (Outline::of(self.wasm)?, Outline::of(&admitted.wasm)?);
        let exports = before.exports.iter().map(|(name, kind)| json!({ "name": name, "kind": kind }));
        let memory = &admitted.memory;
        Ok(json!({
            "admitted": true,
            "form": module::form_name(admitted.form),
            "memory": {
                "initial_bytes": memory.initial * MEMORY_PAGE,
                "maximum_bytes": memory.maximum * MEMORY_PAGE,
            },
            "code": { "bytes": before.code_bytes, "instrumented_bytes": after.code_bytes },
            "exports": exports.collect::<Vec<_>>(),
            "imports": admitted.imports.iter().map(|function| function.name()).collect::<Vec<_>>(),
            "mutable_globals": admitted.globals.len(),
            "findings": [],
            "more": 0,
            "warnings": admitted.warnings.iter().map(module::finding_json).collect::<Vec<_>>(),
        }))
    }

    /// The verdict for people; `path` is where the module is. Warnings go to standard error.
    pub fn print(&self, path: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
        let path = printable(&path.display().to_string());
        match &self.result {
            Ok(admitted) => self.print_admitted(&path, admitted, out),
            Err(refusal) => print_refusal(&path, refusal, out),
        }
    }

    fn print_admitted(&self, path: &str, admitted: &Admitted, out: &mut dyn Write) -> anyhow::Result<()> {
        for warning in &admitted.warnings {
            note(&format!("warning: {}", printable(&warning.to_string())));
        }
        let (before, after) = (Outline::of(self.wasm)?, Outline::of(&admitted.wasm)?);
        let memory = [admitted.memory.initial, admitted.memory.maximum].map(|pages| Bytes(pages * MEMORY_PAGE));
        let code = [before.code_bytes, after.code_bytes].map(|bytes| Bytes(bytes as u64));
        let growth = match before.code_bytes {
            0 => String::new(),
            bytes => format!(" ({:+.1} %)", 100.0 * (after.code_bytes as f64 / bytes as f64 - 1.0)),
        };
        let exports: Vec<_> =
            before.exports.iter().map(|(name, kind)| format!("{} ({kind})", printable(name))).collect();
        let imports: Vec<_> = admitted.imports.iter().map(|function| function.name()).collect();
        writeln!(out, "{path} may run as a trainer")?;
        writeln!(out, "  form      {}", module::form_text(admitted.form))?;
        writeln!(out, "  memory    {} at its start, at most {}", memory[0], memory[1])?;
        writeln!(out, "  code      {}, with stack metering {}{growth}", code[0], code[1])?;
        writeln!(out, "  globals   {} mutable", admitted.globals.len())?;
        writeln!(out, "  exports   {}", list(&exports))?;
        writeln!(out, "  imports   {}", list(&imports))?;
        Ok(())
    }
}

fn list<T: AsRef<str>>(names: &[T]) -> String {
    match names {
        [] => "none".into(),
        names => names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", "),
    }
}

fn print_refusal(path: &str, refusal: &Refusal, out: &mut dyn Write) -> anyhow::Result<()> {
    let count = refusal.findings.len() + refusal.more;
    let findings = if count == 1 { "1 finding" } else { &format!("{count} findings") };
    writeln!(out, "{path} may not run as a trainer: {findings}")?;
    for finding in &refusal.findings {
        writeln!(out, "  {}", printable_lines(&finding.to_string()).replace('\n', "\n    "))?;
    }
    if refusal.more > 0 {
        writeln!(out, "  and {} more", refusal.more)?;
    }
    Ok(())
}
