//! `fedmkt check`: admission as a lint for authors.

use std::io::Write;

use fedmkt_core::admission::{self, Admitted, ModuleLimits, Refusal};
use serde_json::json;

use crate::Refused;
use crate::bytes::Bytes;
use crate::cli::Check;
use crate::module::{self, Outline};
use crate::terminal::{shown, shown_line};

/// Bytes of the unit in which modules count memory.
const MEMORY_PAGE: u64 = 65_536;

pub fn run(arguments: &Check, out: &mut dyn Write) -> anyhow::Result<()> {
    let wasm = module::read(&arguments.module)?;
    match admission::admit(&wasm, &ModuleLimits { max_memory_bytes: arguments.memory.0 }) {
        Ok(admitted) => accept(arguments, &wasm, &admitted, out),
        Err(refusal) => {
            refuse(arguments, &refusal, out)?;
            Err(Refused.into())
        }
    }
}

fn accept(arguments: &Check, wasm: &[u8], admitted: &Admitted, out: &mut dyn Write) -> anyhow::Result<()> {
    let (before, after) = (Outline::of(wasm)?, Outline::of(&admitted.wasm)?);
    let (initial, maximum) = (admitted.memory.initial * MEMORY_PAGE, admitted.memory.maximum * MEMORY_PAGE);
    let imports: Vec<_> = admitted.imports.iter().map(|function| function.name()).collect();
    if arguments.json {
        let object = json!({
            "admitted": true,
            "form": module::form_name(admitted.form),
            "memory": { "initial_bytes": initial, "maximum_bytes": maximum },
            "code": { "bytes": before.code_bytes, "instrumented_bytes": after.code_bytes },
            "exports": before.exports.iter().map(|(name, kind)| json!({ "name": name, "kind": kind })).collect::<Vec<_>>(),
            "imports": imports,
            "mutable_globals": admitted.globals.len(),
            "findings": [],
            "more": 0,
            "warnings": admitted.warnings.iter().map(module::finding_json).collect::<Vec<_>>(),
        });
        return Ok(writeln!(out, "{object:#}")?);
    }
    for warning in &admitted.warnings {
        eprintln!("warning: {}", shown_line(&warning.to_string()));
    }
    let growth = match before.code_bytes {
        0 => String::new(),
        bytes => format!(" ({:+.1} %)", 100.0 * (after.code_bytes as f64 / bytes as f64 - 1.0)),
    };
    let exports: Vec<_> = before.exports.iter().map(|(name, kind)| format!("{} ({kind})", shown_line(name))).collect();
    writeln!(out, "{} may run as a trainer", shown_line(&arguments.module.display().to_string()))?;
    writeln!(out, "  form      {}", module::form_text(admitted.form))?;
    writeln!(out, "  memory    {} at its start, at most {}", Bytes(initial), Bytes(maximum))?;
    writeln!(
        out,
        "  code      {}, with stack metering {}{growth}",
        Bytes(before.code_bytes as u64),
        Bytes(after.code_bytes as u64)
    )?;
    writeln!(out, "  globals   {} mutable", admitted.globals.len())?;
    writeln!(out, "  exports   {}", list(&exports))?;
    writeln!(out, "  imports   {}", list(&imports))?;
    Ok(())
}

fn list<T: AsRef<str>>(names: &[T]) -> String {
    match names {
        [] => "none".into(),
        names => names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", "),
    }
}

fn refuse(arguments: &Check, refusal: &Refusal, out: &mut dyn Write) -> anyhow::Result<()> {
    if arguments.json {
        let object = json!({
            "admitted": false,
            "findings": refusal.findings.iter().map(module::finding_json).collect::<Vec<_>>(),
            "more": refusal.more,
        });
        return Ok(writeln!(out, "{object:#}")?);
    }
    let count = refusal.findings.len() + refusal.more;
    let things = if count == 1 { "1 finding" } else { &format!("{count} findings") };
    writeln!(out, "{} may not run as a trainer: {things}", shown_line(&arguments.module.display().to_string()))?;
    for finding in &refusal.findings {
        writeln!(out, "  {}", shown(&finding.to_string()).replace('\n', "\n    "))?;
    }
    if refusal.more > 0 {
        writeln!(out, "  and {} more", refusal.more)?;
    }
    Ok(())
}
