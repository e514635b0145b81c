//! Kubo, the IPFS node that the store is tested against.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::process::{command, on_path, output, run};
use crate::tools;
use crate::workspace::Workspace;

/// The version that is built.
const VERSION: &str = "v0.42.0";

/// What its sources must be. They pin the versions of all else, whose hashes Go checks in its public log.
const HASHES: [&str; 2] =
    [" h1:mp40G/pAwckX54zJfIK3CTLK6S1Ae+Wa63g3I68W8cA=", "/go.mod h1:IEbpjOSRIVsZBrgoPxjhsErkUKgPQERiZyhRAXAvZnY="];

/// The Go that it is written for.
const GO: &str = "1.26.4";

/// The first minor version of Go that gets a newer one when a module needs it.
const LEAST_GO: u32 = 21;

/// The program: the one that `FEDMKT_KUBO` names, or one built into `target/tools`.
///
/// # Errors
/// If there is no Go and none that is new enough can be installed, or it does not build.
pub fn install(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("FEDMKT_KUBO") {
        return Ok(program.into());
    }
    let tools = workspace.target().join("tools");
    let program = tools.join("bin").join(format!("ipfs-{VERSION}"));
    if program.is_file() {
        return Ok(program);
    }
    check_go(workspace)?;
    println!("   building Kubo {VERSION} into {}; this takes some minutes, once", tools.display());
    let folder = tools.join("kubo");
    fs::create_dir_all(&folder)?;
    // `go install NAME@VERSION` wants a list of all versions, which not every proxy has; a module that requires it does
    // not.
    let name = "github.com/ipfs/kubo";
    fs::write(folder.join("go.mod"), format!("module tools\n\ngo {GO}\n\nrequire {name} {VERSION}\n"))?;
    let hashes = HASHES.map(|hash| format!("{name} {VERSION}{hash}\n"));
    fs::write(folder.join("go.sum"), hashes.concat())?;
    let unfinished = folder.join("ipfs");
    let mut build = command(workspace, "go");
    build.current_dir(&folder).args(["build", "-mod=mod", "-trimpath", "-tags=nofuse", "-ldflags=-s -w", "-o"]);
    build.arg(&unfinished).arg(format!("{name}/cmd/ipfs"));
    // Whatever the user has set for other projects. What is compiled is of no use to those, and is removed below.
    build.env("GOTOOLCHAIN", "auto").env("GOFLAGS", "").env("GOWORK", "off").env("CGO_ENABLED", "0");
    run(build.env("GOCACHE", folder.join("cache")))?;
    fs::create_dir_all(tools.join("bin"))?;
    fs::rename(&unfinished, &program).with_context(|| format!("cannot write {}", program.display()))?;
    let _ = fs::remove_dir_all(&folder);
    Ok(program)
}

/// Sees to it that there is a Go that can get the one that is needed.
fn check_go(workspace: &Workspace) -> Result<()> {
    if !on_path("go") {
        tools::apt(workspace, &["golang-go"]).context("Kubo is written in Go, which is not installed")?;
    }
    // As it was installed, whatever it could get.
    let version = output(command(workspace, "go").env("GOTOOLCHAIN", "local").args(["env", "GOVERSION"]))?;
    let version = version.trim();
    let minor = |version: &str| {
        version.strip_prefix("go1.")?.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
    };
    if minor(version) < Some(LEAST_GO) {
        bail!("Go is {version}; what Kubo needs can be got by 1.{LEAST_GO} and later: put a newer one on the PATH");
    }
    Ok(())
}
