//! `cargo xtask test`: what a change must pass, in sections that can be run one by one.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{self, cargo, command, run};
use crate::toolchain::{Target, Toolchain};
use crate::workspace::Workspace;
use crate::{contracts as solidity, demo, kubo, links, machine, test_programs, tools};

/// How a section that did not fail has ended.
enum Outcome {
    Passed,
    /// It passed, but something was left out, for this reason.
    Partly(String),
}

/// A part of the tests.
pub struct Section {
    name: &'static str,
    what: &'static str,
    run: fn(&Workspace) -> Result<Outcome>,
}

/// In the order in which they run: what fails most often and quickest comes first.
const SECTIONS: &[Section] = &[
    Section { name: "fmt", what: "the code is formatted", run: fmt },
    Section { name: "clippy", what: "lints of all targets of all crates, warnings are errors", run: clippy },
    Section { name: "rustdoc", what: "the documentation of all crates builds, warnings are errors", run: rustdoc },
    Section { name: "docs", what: "the book builds, and its links lead somewhere", run: docs },
    Section {
        name: "machine",
        what: "fedmkt-core and the replayer build for riscv64gc-unknown-none-elf",
        run: machine,
    },
    Section { name: "trainers", what: "the sample trainers build for wasm32-wasip1", run: trainers },
    Section { name: "data", what: "the data sets that the sample trainers learn from can be made", run: data },
    Section { name: "programs", what: "all programs and examples build", run: programs },
    Section { name: "demo", what: "the whole path, twice, with the same result", run: demo },
    Section { name: "tests", what: "all tests of all crates, those in documentation too", run: tests },
    Section { name: "contracts", what: "the contracts: form, tests, artifacts", run: contracts },
    Section {
        name: "python",
        what: "the checks in tests/*.py: a second implementation, from the documents alone",
        run: python,
    },
    Section { name: "deny", what: "licences, sources, advisories and duplicates of dependencies", run: deny },
];

/// Makes sure that something is there.
type Install = fn(&Workspace) -> Result<()>;

/// What [`SECTIONS`] need, for `cargo xtask setup`.
pub const NEEDS: &[(&str, Install)] = &[
    ("rustfmt and clippy", |workspace| component(workspace, "rustfmt").and_then(|()| component(workspace, "clippy"))),
    ("compiler for wasm", |workspace| Toolchain::of(workspace, Target::Wasm).map(drop)),
    ("compiler for riscv64", |workspace| Toolchain::of(workspace, Target::RiscV).map(drop)),
    ("C compiler for wasm", tools::c_for_wasm),
    ("QEMU", tools::qemu),
    ("cargo-deny", |workspace| tools::cargo_deny(workspace).map(drop)),
    ("mdbook", |workspace| tools::mdbook(workspace).map(drop)),
    ("Foundry and solc", |workspace| if solidity::is_supported() { solidity::install(workspace) } else { Ok(()) }),
    ("Kubo", |workspace| kubo::install(workspace).map(drop)),
    ("Python", |workspace| tools::python(workspace).map(drop)),
];

/// Prints the sections.
pub fn list() {
    for section in SECTIONS {
        println!("{:<10} {}", section.name, section.what);
    }
}

/// The sections that the arguments after `test` choose; all of them if there are none.
///
/// # Errors
/// If an argument is unknown or names no section.
pub fn chosen(arguments: &[&str]) -> Result<Vec<&'static Section>> {
    let mut chosen = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let names = match argument.split_once('=') {
            Some(("--only", names)) => names,
            None if *argument == "--only" => rest.next().context("--only wants a section")?,
            _ => bail!("`test` does not understand `{argument}`"),
        };
        for name in names.split(',') {
            let section = SECTIONS.iter().find(|section| section.name == name);
            chosen.push(section.with_context(|| format!("there is no section `{name}`; `--list` shows them"))?);
        }
    }
    Ok(if arguments.is_empty() { SECTIONS.iter().collect() } else { chosen })
}

/// Runs the sections, all of them even if one fails, and prints a summary.
///
/// # Errors
/// If a section failed.
pub fn run_all(workspace: &Workspace, sections: &[&Section]) -> Result<()> {
    let start = Instant::now();
    let mut summary = Vec::new();
    let mut failed = 0;
    for section in sections {
        println!("\n== {}: {}", section.name, section.what);
        let begin = Instant::now();
        let outcome = (section.run)(workspace);
        let seconds = begin.elapsed().as_secs_f32();
        let (word, why) = match outcome {
            Ok(Outcome::Passed) => ("passed", String::new()),
            Ok(Outcome::Partly(why)) => ("PARTLY", why),
            Err(error) => ("FAILED", format!("{error:#}")),
        };
        if word == "FAILED" {
            failed += 1;
        }
        println!("== {}: {word} after {seconds:.1} s", section.name);
        if !why.is_empty() {
            println!("   {}", why.replace('\n', "\n   "));
        }
        // The beginning: the rest stands above.
        let why: String = why.lines().next().unwrap_or_default().chars().take(100).collect();
        summary.push(format!("{:<10} {word:<8} {seconds:>7.1} s  {why}", section.name));
    }
    println!("\n== summary\n{}", summary.join("\n"));
    println!("{:<10} {:<8} {:>7.1} s", "all", "", start.elapsed().as_secs_f32());
    println!("sections: {} passed, {failed} failed", sections.len() - failed);
    if failed > 0 {
        bail!("{failed} of {} sections failed", sections.len());
    }
    Ok(())
}

/// A part of the toolchain that rustup keeps apart.
fn component(workspace: &Workspace, name: &str) -> Result<()> {
    let program = if name == "clippy" { "cargo-clippy" } else { "rustfmt" };
    if process::output(command(workspace, program).arg("--version")).is_ok() {
        return Ok(());
    }
    println!("   installing {name}");
    let mut add = command(workspace, "rustup");
    process::run_within(add.args(["component", "add", name]), Duration::from_secs(180))
        .with_context(|| format!("{name} is not installed and rustup cannot get it"))
}

fn fmt(workspace: &Workspace) -> Result<Outcome> {
    component(workspace, "rustfmt")?;
    run(cargo(workspace).args(["fmt", "--all", "--check"]))?;
    Ok(Outcome::Passed)
}

fn clippy(workspace: &Workspace) -> Result<Outcome> {
    component(workspace, "clippy")?;
    run(cargo(workspace).args(["clippy", "--locked", "--workspace", "--all-targets", "--", "-Dwarnings"]))?;
    Ok(Outcome::Passed)
}

fn rustdoc(workspace: &Workspace) -> Result<Outcome> {
    run(cargo(workspace).args(["doc", "--locked", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-Dwarnings"))?;
    Ok(Outcome::Passed)
}

fn docs(workspace: &Workspace) -> Result<Outcome> {
    let (pages, found) = links::check(workspace)?;
    println!("   {pages} pages, {found} links");
    let mdbook = tools::mdbook(workspace)?;
    run(command(workspace, mdbook).args(["build", "docs", "--dest-dir"]).arg(workspace.target().join("book")))?;
    Ok(Outcome::Passed)
}

fn machine(workspace: &Workspace) -> Result<Outcome> {
    machine::run_machine(workspace, &[])?;
    Ok(Outcome::Passed)
}

/// Builds the modules of the sample trainers in these packages, or of all of them if none is named.
///
/// # Errors
/// If there is no compiler for wasm or one of them does not build.
pub fn build_trainers(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    let toolchain = Toolchain::of(workspace, Target::Wasm)?;
    let mut chosen = workspace.trainers();
    chosen.retain(|trainer| packages.is_empty() || packages.contains(&trainer.package.as_str()));
    let mut build = toolchain.cargo(workspace, "build");
    build.args(["--locked", "--profile", "trainer", "--bins"]);
    build.args(chosen.iter().map(|trainer| format!("--package={}", trainer.package)));
    run(&mut build)?;
    for name in chosen.iter().flat_map(|trainer| &trainer.modules) {
        let module = workspace.target().join(Target::Wasm.triple()).join("trainer").join(format!("{name}.wasm"));
        let size = std::fs::metadata(&module).with_context(|| format!("{} was not made", module.display()))?.len();
        println!("   {name}.wasm: {size} bytes");
    }
    Ok(())
}

fn trainers(workspace: &Workspace) -> Result<Outcome> {
    build_trainers(workspace, &[])?;
    // Those in C have a script.
    for script in workspace.scripts() {
        tools::c_for_wasm(workspace)?;
        run(command(workspace, "bash").arg(script))?;
    }
    Ok(Outcome::Passed)
}

fn data(workspace: &Workspace) -> Result<Outcome> {
    for name in tools::datasets(workspace)? {
        tools::dataset(workspace, &name)?;
    }
    Ok(Outcome::Passed)
}

fn programs(workspace: &Workspace) -> Result<Outcome> {
    demo::build_programs(workspace, &["--workspace"])?;
    Ok(Outcome::Passed)
}

fn demo(workspace: &Workspace) -> Result<Outcome> {
    demo::run_demo(workspace, &["--workspace"])?;
    Ok(Outcome::Passed)
}

fn tests(workspace: &Workspace) -> Result<Outcome> {
    // Steps are replayed in a machine: another processor, by emulation.
    let image = machine::build(workspace)?;
    let emulator = tools::qemu(workspace);
    // Contracts are called on a devnet.
    let devnet = if solidity::is_supported() { solidity::install(workspace) } else { Ok(()) };
    // Files and archives go to a node of IPFS and back.
    let node = kubo::install(workspace);
    let wasm = Toolchain::of(workspace, Target::Wasm)?;
    let mut skipped = test_programs::run(workspace, |command| {
        command.env("FEDMKT_REPLAYER", image.path());
        if let Ok(program) = &node {
            command.env("FEDMKT_KUBO", program);
        }
        wasm.use_for(command);
    })?;
    if let Err(error) = emulator {
        skipped.push(format!("QEMU could not be installed: {error:#}"));
    }
    if let Err(error) = devnet {
        skipped.push(format!("anvil could not be installed: {error:#}"));
    }
    if let Err(error) = node {
        skipped.push(format!("Kubo could not be installed: {error:#}"));
    }
    Ok(if skipped.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Partly(format!("SOME TESTS WERE SKIPPED:\n{}", skipped.join("\n")))
    })
}

/// Compares generated modules with fresh seeds for so many minutes.
///
/// # Errors
/// If the replayer does not build, or a module is not the same everywhere.
pub fn soak(workspace: &Workspace, minutes: &str) -> Result<()> {
    let image = machine::build(workspace)?;
    if let Err(error) = tools::qemu(workspace) {
        println!("   QEMU could not be installed: {error:#}");
    }
    let mut test = cargo(workspace);
    test.env("FEDMKT_REPLAYER", image.path()).env("FEDMKT_SOAK_MINUTES", minutes);
    test.args(["test", "--locked", "--package", "fedmkt-tests", "--test", "equality", "soak"]);
    run(test.args(["--", "--ignored", "--nocapture"]))
}

fn contracts(workspace: &Workspace) -> Result<Outcome> {
    if !solidity::is_supported() {
        return Ok(Outcome::Partly("THE CONTRACTS WERE NOT TESTED: their tools are pinned for Linux on x86-64".into()));
    }
    solidity::test(workspace)?;
    Ok(Outcome::Passed)
}

fn python(workspace: &Workspace) -> Result<Outcome> {
    let checks = workspace.files("tests", "py");
    if checks.is_empty() {
        bail!("there is no check in tests/");
    }
    let python = tools::python(workspace)?;
    for check in &checks {
        let name = Path::new("tests").join(check.file_name().unwrap_or_default());
        run(command(workspace, &python).arg(name))?;
    }
    Ok(Outcome::Passed)
}

fn deny(workspace: &Workspace) -> Result<Outcome> {
    let program = tools::cargo_deny(workspace)?;
    let deny = || command(workspace, &program);
    run(deny().args([
        "--log-level",
        "warn",
        "--locked",
        "check",
        "-Dunmatched-skip",
        "-Dunnecessary-skip",
        "licenses",
        "bans",
        "sources",
    ]))?;
    // The list of advisories is a git repository; some networks have package registries and nothing else.
    let fetch = process::run_within(deny().args(["--log-level", "error", "fetch", "db"]), Duration::from_secs(90));
    if let Err(error) = fetch {
        println!("   {error:#}");
        return Ok(Outcome::Partly("ADVISORIES WERE NOT CHECKED: their list cannot be fetched from here".into()));
    }
    run(deny().args(["--log-level", "warn", "--locked", "check", "advisories"]))?;
    Ok(Outcome::Passed)
}
