//! Programs that are not part of a Rust toolchain: where they are, or how they get here.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;

use anyhow::{Context, Result, bail};

use crate::process::{self, cargo, command, on_path, run};
use crate::workspace::Workspace;

/// Installs packages of a Debian-like system; those that are there already are not touched.
///
/// # Errors
/// If there is no `apt-get`, nobody who may use it, or a package cannot be had. The error says what to install by hand.
pub fn apt(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    static LISTS: Once = Once::new();
    let there = |package: &&&str| {
        let mut query = command(workspace, "dpkg-query");
        process::output(query.args(["--show", "--showformat=${db:Status-Status}", package]))
            .is_ok_and(|status| status == "installed")
    };
    let missing: Vec<&str> = packages.iter().filter(|package| !there(package)).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("please install by hand: {} (names of Debian's packages)", missing.join(" "));
    if !on_path("apt-get") {
        bail!("there is no apt-get here; {by_hand}");
    }
    let apt_get = || -> Command {
        let root = process::output(command(workspace, "id").arg("-u")).is_ok_and(|id| id.trim() == "0");
        let mut apt_get = command(workspace, if root { "apt-get" } else { "sudo" });
        if !root {
            apt_get.args(["-n", "apt-get"]);
        }
        apt_get.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq");
        apt_get
    };
    println!("   installing {} by apt-get", missing.join(" "));
    let mut listed = Ok(());
    LISTS.call_once(|| listed = run(apt_get().arg("update")));
    listed.with_context(|| by_hand.clone())?;
    run(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(&missing)).context(by_hand)
}

/// A program that crates.io has: the one on `PATH`, or one built into `target/tools`. It is built without optimisation, which is several
/// times quicker and makes no difference for what it does here.
///
/// # Errors
/// If it cannot be built.
pub fn cargo_tool(workspace: &Workspace, name: &str, options: &[&str]) -> Result<PathBuf> {
    if on_path(name) {
        return Ok(name.into());
    }
    let tools = workspace.target().join("tools");
    let program = tools.join("bin").join(name);
    if !program.is_file() {
        println!("   installing {name} into {}", tools.display());
        let mut install = cargo(workspace);
        install.args(["install", "--locked", "--quiet", "--debug", "--config=profile.dev.debug=0", name]);
        install.args(options).arg("--root").arg(&tools).arg("--target-dir").arg(tools.join("build"));
        // Outside the workspace, whose profiles and lock file are not meant for it.
        install.current_dir(std::env::temp_dir());
        run(&mut install)?;
        let _ = std::fs::remove_dir_all(tools.join("build"));
    }
    Ok(program)
}

/// cargo-deny: licences, sources, advisories and duplicates of what we depend on.
///
/// # Errors
/// If it cannot be built.
pub fn cargo_deny(workspace: &Workspace) -> Result<PathBuf> {
    cargo_tool(workspace, "cargo-deny", &[])
}

/// What compiles C to wasm: the packages that `sample-trainers/k-means-c` names.
///
/// # Errors
/// If they cannot be installed.
pub fn c_for_wasm(workspace: &Workspace) -> Result<()> {
    apt(workspace, &["clang", "lld", "libclang-rt-dev-wasm32", "wasi-libc"])
}

/// QEMU with a riscv64 machine, on `PATH`.
///
/// # Errors
/// If it is not there and cannot be installed.
pub fn qemu(workspace: &Workspace) -> Result<()> {
    if on_path("qemu-system-riscv64") { Ok(()) } else { apt(workspace, &["qemu-system-misc"]) }
}

/// mdBook, without the parts that serve and watch.
///
/// # Errors
/// If it cannot be built.
pub fn mdbook(workspace: &Workspace) -> Result<PathBuf> {
    cargo_tool(workspace, "mdbook", &["--no-default-features"])
}

/// Python of a private environment in `target/python`, so that what is downloaded with it stays there.
///
/// # Errors
/// If there is no Python 3 and it cannot be installed.
pub fn python(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target().join("python");
    let python = folder.join("bin/python");
    let works = || process::output(command(workspace, &python).args(["-m", "pip", "--version"])).is_ok();
    if !works() {
        println!("   making a private Python environment in {}", folder.display());
        let make = || run(command(workspace, "python3").args(["-m", "venv", "--clear"]).arg(&folder));
        if make().is_err() {
            // Debian keeps `venv` in a package of its own.
            apt(workspace, &["python3", "python3-venv"])?;
            make()?;
        }
    }
    Ok(python)
}

/// What makes the data sets that sample trainers learn from.
pub const DATASETS: &str = "sample-trainers/datasets.py";

/// The data sets that [`DATASETS`] knows.
///
/// # Errors
/// If there is no Python, or the script does not tell.
pub fn datasets(workspace: &Workspace) -> Result<Vec<String>> {
    let usage = command(workspace, python(workspace)?).arg(DATASETS).output().context("starting Python")?;
    let usage = String::from_utf8_lossy(&usage.stderr);
    let names = usage.split_once("datasets.py ").and_then(|(_, rest)| rest.split_once(" [OUT]"));
    let (names, _) = names.with_context(|| format!("{DATASETS} does not name its data sets: {usage}"))?;
    Ok(names.split('|').map(str::to_owned).collect())
}

/// Makes a data set in `target/datasets` and returns its folder.
///
/// # Errors
/// If it is neither there nor to be had from the package registry.
pub fn dataset(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let python = python(workspace)?;
    let folder = workspace.target().join("datasets").join(name);
    run(command(workspace, &python).args([DATASETS, name]).arg(&folder))?;
    Ok(folder)
}
