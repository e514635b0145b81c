//! Set-up and chores: `cargo xtask demo | test | trainers | machine | setup`.
//!
//! Every command finds out for itself what is missing on this machine, installs it where that is possible (in `target/`, or by the
//! system's package manager) and says so. A second run finds it there.

mod contracts;
mod demo;
mod demo_market;
mod kubo;
mod links;
mod machine;
mod process;
mod sections;
mod test_programs;
mod toolchain;
mod tools;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};
use workspace::Workspace;

const USAGE: &str = "\
Set-up and chores of this workspace.

Usage: cargo xtask COMMAND

Commands:
  demo                     train a model on data that its owner never hands out, twice, and compare the two runs
  test [--only SECTION]..  everything that a change must pass; sections may be separated by commas
  test --list              the sections and what each of them does
  trainers                 build the sample trainers' modules: the same bytes wherever the project lies
  machine                  build the replayer's image into target/machine, and print its hash
  machine --check          ... and say whether it is the image that the latest release pins
  machine --pin NAME       ... and pin it as a release; needs the Cartesi Machine
  soak MINUTES             compare generated modules in all engines and machines for so long, with fresh seeds and a log
  contracts                build the contracts and write contracts/artifacts, from which Rust has their interfaces
  setup                    install everything that `test` and `demo` need, and say how to build by hand

Environment:
  FEDMKT_TOOLCHAIN=debian  build wasm and riscv64 code with Debian's compiler, even if rustup could do it

Exit codes: 0 everything passed, 1 something failed, 2 the command line was not understood
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if machine::is_wrapper() {
        return match machine::compile(&arguments) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let workspace = Workspace::this();
    let done = match arguments.as_slice() {
        [] | ["help" | "-h" | "--help"] => {
            print!("{USAGE}");
            Ok(())
        }
        ["contracts"] => contracts::run_contracts(&workspace),
        ["demo"] => demo::run_demo(&workspace, demo::PACKAGES),
        ["machine", rest @ ..] => machine::run_machine(&workspace, rest),
        ["soak", minutes] if minutes.parse::<u64>().is_ok() => sections::soak(&workspace, minutes),
        ["trainers"] => sections::build_trainers(&workspace, &[]),
        ["setup"] => setup(&workspace),
        ["test", "--list"] => {
            sections::list();
            Ok(())
        }
        ["test", rest @ ..] => match sections::chosen(rest) {
            Ok(chosen) => sections::run_all(&workspace, &chosen),
            Err(error) => return misunderstood(&error.to_string()),
        },
        [other, ..] => return misunderstood(&format!("there is no command `{other}` with these arguments")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn misunderstood(why: &str) -> ExitCode {
    eprintln!("error: {why}\n\n{USAGE}");
    ExitCode::from(2)
}

/// Installs everything, then says which environment makes a plain `cargo build --target ...` work.
fn setup(workspace: &Workspace) -> Result<()> {
    let mut missing = Vec::new();
    for (name, install) in sections::NEEDS {
        println!("== {name}");
        if let Err(error) = install(workspace) {
            println!("   missing: {error:#}");
            missing.push(*name);
        }
    }
    let wasm = toolchain::Toolchain::of(workspace, toolchain::Target::Wasm)?;
    println!("\nTo build a trainer by hand:\n{}", wasm.by_hand());
    if !missing.is_empty() {
        bail!("could not be installed: {}", missing.join(", "));
    }
    Ok(())
}
