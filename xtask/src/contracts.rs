//! `cargo xtask contracts`: the Solidity side, and what the Rust side gets of it.
//!
//! Compiler and test runner come from npm, pinned by `contracts/package-lock.json`. Interfaces and code that Rust needs are
//! kept in `contracts/artifacts/`, so that a build of the Rust side needs none of that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::process::{command, on_path, output, run};
use crate::tools;
use crate::workspace::Workspace;

/// The contracts that Rust talks to or deploys: file and name.
const ARTIFACTS: &[(&str, &str)] = &[
    ("Market.sol", "Market"),
    ("Disputes.sol", "Disputes"),
    ("Committee.sol", "Committee"),
    ("DevToken.sol", "DevToken"),
];

/// The first version of Node.js that runs the compiler.
const NODE: u64 = 18;

/// Whether the programs exist for this machine.
pub fn is_supported() -> bool {
    cfg!(all(target_os = "linux", target_arch = "x86_64"))
}

/// Installs compiler, test runner, devnet and libraries into `contracts/node_modules`.
///
/// # Errors
/// When there is no Node.js and it cannot be installed, or the registry cannot be reached.
pub fn install(workspace: &Workspace) -> Result<()> {
    let folder = workspace.root().join("contracts");
    let lock = fs::read(folder.join("package-lock.json")).context("contracts/package-lock.json")?;
    let installed = folder.join("node_modules/.installed-lock.json");
    if fs::read(&installed).is_ok_and(|found| found == lock) {
        return Ok(());
    }
    if !on_path("npm") || !on_path("node") {
        tools::apt(workspace, &["nodejs", "npm"])?;
    }
    let version = output(command(workspace, "node").arg("--version"))?;
    let major = version.trim().trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
    ensure!(major >= Some(NODE), "Node.js is {}, the compiler needs {NODE} or later", version.trim());
    run(command(workspace, "npm").args(["ci", "--no-audit", "--no-fund", "--prefix", "contracts"]))?;
    fs::write(installed, lock)?;
    Ok(())
}

/// A program of Foundry, in the folder of the contracts.
fn foundry(workspace: &Workspace, name: &str) -> Command {
    let mut program = command(workspace, program(workspace, name));
    program.current_dir(workspace.root().join("contracts"));
    program
}

fn program(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.root().join("contracts/node_modules/.bin").join(name)
}

/// Form, tests and artifacts of the contracts.
///
/// # Errors
/// When one of them is not as it should be.
pub fn test(workspace: &Workspace) -> Result<()> {
    install(workspace)?;
    run(foundry(workspace, "forge").args(["fmt", "--check"]))?;
    run(foundry(workspace, "forge").args(["test", "--summary"]))?;
    artifacts(workspace, false)
}

/// `cargo xtask contracts`: builds the contracts and writes the artifacts.
///
/// # Errors
/// When they cannot be built.
pub fn run_contracts(workspace: &Workspace) -> Result<()> {
    if !is_supported() {
        bail!("the programs that this needs are pinned for Linux on x86-64 only");
    }
    install(workspace)?;
    run(foundry(workspace, "forge").arg("build"))?;
    artifacts(workspace, true)
}

/// Writes the artifacts from what forge has built, or says whether they are what it has built.
fn artifacts(workspace: &Workspace, write: bool) -> Result<()> {
    // Where `contracts/foundry.toml` says, whatever cargo's target folder is.
    let built = workspace.root().join("target/contracts/out");
    let kept = workspace.root().join("contracts/artifacts");
    for (file, name) in ARTIFACTS {
        let text = artifact(&built.join(file).join(format!("{name}.json")))?;
        let path = kept.join(format!("{name}.json"));
        if write {
            fs::create_dir_all(&kept)?;
            fs::write(&path, &text)?;
            println!("   {}: {} bytes", path.display(), text.len());
        } else if fs::read_to_string(&path).unwrap_or_default() != text {
            bail!("{} is not what the sources say: run `cargo xtask contracts`", path.display());
        }
    }
    Ok(())
}

/// What Rust needs of an artifact of forge: interface, code to deploy, and deployed code with the places that deployment
/// fills in, in order. (The compiler lists the places under numbers that depend on which other files it read.)
fn artifact(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("{} was not made", path.display()))?;
    let full: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let deployed = &full["deployedBytecode"];
    let mut immutables: Vec<&Value> = deployed["immutableReferences"]
        .as_object()
        .into_iter()
        .flat_map(|references| references.values().filter_map(Value::as_array).flatten())
        .collect();
    immutables.sort_by_key(|place| place["start"].as_u64());
    let kept = json!({
        "abi": full["abi"],
        "bytecode": { "object": full["bytecode"]["object"] },
        "deployedBytecode": { "object": deployed["object"], "immutables": immutables },
    });
    Ok(format!("{kept:#}\n"))
}
