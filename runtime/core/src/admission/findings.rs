//! What admission tells authors.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// The most findings that are kept.
const MOST: usize = 100;

/// Where in a module something is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Byte offset in the module.
    pub offset: usize,
    /// The function: its index, and its name if the module tells.
    pub function: Option<(u32, Option<String>)>,
}

/// One thing that the profile does not allow, or that an author should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The feature or rule, and what to do.
    pub what: String,
    /// Where; absent when it is about the module as a whole.
    pub place: Option<Place>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        let Some(Place { offset, function }) = &self.place else { return Ok(()) };
        match function {
            Some((index, Some(name))) => write!(f, " (function {index} `{name}`, byte {offset:#x})"),
            Some((index, None)) => write!(f, " (function {index}, byte {offset:#x})"),
            None => write!(f, " (byte {offset:#x})"),
        }
    }
}

/// Everything for which a module is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The findings, in the order of the module; at most 100.
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub more: usize,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{finding}")?;
        }
        if self.more > 0 { write!(f, "\nand {} more", self.more) } else { Ok(()) }
    }
}

impl core::error::Error for Refusal {}

/// Findings as they are collected.
#[derive(Default)]
pub(super) struct Findings {
    kept: Vec<Finding>,
    more: usize,
}

impl Findings {
    pub(super) fn add(&mut self, what: impl Into<String>, place: Option<Place>) {
        if self.kept.len() < MOST {
            self.kept.push(Finding { what: what.into(), place });
        } else {
            self.more += 1;
        }
    }

    /// An error if there is any finding.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.kept.is_empty() { Ok(()) } else { Err(Refusal { findings: self.kept.clone(), more: self.more }) }
    }

    pub(super) fn into_result(self) -> Result<(), Refusal> {
        if self.kept.is_empty() { Ok(()) } else { Err(Refusal { findings: self.kept, more: self.more }) }
    }
}

/// A refusal with one finding.
pub(super) fn refuse(what: impl Into<String>, offset: usize) -> Refusal {
    let finding = Finding { what: what.into(), place: Some(Place { offset, function: None }) };
    Refusal { findings: Vec::from([finding]), more: 0 }
}
