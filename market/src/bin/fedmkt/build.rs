//! `fedmkt build`: from a trainer crate to its module.
//!
//! The same sources and the same compiler give the same bytes, whoever builds and wherever: everything that names a
//! place on this machine is replaced by a name. What cannot be replaced is the place of a crate outside of the trainer's
//! folder, which cargo makes part of every symbol; the author is told.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use fedmkt_core::unixfs::FileCid;
use fedmkt_runtime::message::note;
use serde_json::{Value, json};

use crate::Refused;
use crate::check::Verdict;
use crate::cli::Build;

const TARGET: &str = "wasm32-wasip1";

/// How trainers are compiled, whatever the crate's own `Cargo.toml` says of the profile.
const PROFILE: [&str; 6] = [
    "profile.trainer.inherits='release'",
    "profile.trainer.opt-level=3",
    "profile.trainer.lto=true",
    "profile.trainer.codegen-units=1",
    "profile.trainer.panic='abort'",
    "profile.trainer.strip=true",
];

pub fn run(arguments: &Build, out: &mut dyn Write) -> anyhow::Result<()> {
    let compiler = Compiler::find()?;
    let package = Package::find(&arguments.folder)?;
    let module = compile(&compiler, &package)?;
    let notes = package.notes();
    let wasm = fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
    let mut cid = FileCid::new();
    cid.push(&wasm);
    let cid = cid.finish();
    let verdict = Verdict::of(&wasm, arguments.memory.0);
    if arguments.json {
        let object = json!({ "module": module, "cid": cid.to_string(), "bytes": wasm.len(), "check": verdict.json()?, "notes": notes });
        writeln!(out, "{object:#}")?;
    } else {
        notes.iter().for_each(|what| note(&format!("note: {what}")));
        verdict.print(&module, out)?;
        writeln!(out, "  CID       {cid}")?;
    }
    if verdict.admitted() { Ok(()) } else { Err(Refused.into()) }
}

/// A program and arguments that must succeed; gives what it printed.
fn output(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{name} did not print text"))
}

fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The compiler that cargo uses.
struct Compiler {
    sysroot: PathBuf,
    commit: String,
}

impl Compiler {
    fn find() -> anyhow::Result<Self> {
        let program = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let ask = |arguments: &[&str]| {
            output(Command::new(&program).args(arguments))
                .context("there is no Rust compiler: install Rust, or set RUSTC")
        };
        let library = ask(&["--print", "target-libdir", "--target", TARGET])?;
        let has_std = fs::read_dir(library.trim()).is_ok_and(|mut entries| {
            entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libstd-")))
        });
        if !has_std {
            bail!(
                "the compiler has no standard library for {TARGET}: run `rustup target add {TARGET}`, or set RUSTC to a \
                 compiler that has one"
            );
        }
        let about = ask(&["-vV"])?;
        let commit = about.lines().find_map(|line| line.strip_prefix("commit-hash: ")).unwrap_or("unknown");
        Ok(Self { sysroot: ask(&["--print", "sysroot"])?.trim().into(), commit: commit.into() })
    }
}

/// A crate with one program.
struct Package {
    manifest: PathBuf,
    /// The folder of the crate, or of the workspace that it is in.
    root: PathBuf,
    /// Names and folders of crates that it uses from elsewhere on this machine.
    elsewhere: Vec<(String, PathBuf)>,
    program: String,
}

impl Package {
    fn find(folder: &Path) -> anyhow::Result<Self> {
        let manifest = folder.join("Cargo.toml");
        let manifest = fs::canonicalize(&manifest)
            .with_context(|| format!("{} has no Cargo.toml: name a trainer's folder", folder.display()))?;
        let metadata = output(
            cargo()
                .args(["metadata", "--format-version=1", "--filter-platform", TARGET, "--manifest-path"])
                .arg(&manifest),
        )?;
        let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata did not print JSON")?;
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let packages = list(&metadata["packages"]);
        let package = packages
            .iter()
            .find(|package| package["manifest_path"].as_str().map(Path::new) == Some(&manifest))
            .with_context(|| {
                format!("{} is no package, but a workspace: name a trainer's folder", manifest.display())
            })?;
        let is_program = |target: &Value| list(&target["kind"]).contains(&"bin".into());
        let programs: Vec<_> = list(&package["targets"]).into_iter().filter(is_program).collect();
        let [program] = &programs[..] else {
            bail!(
                "{} makes {} programs: a trainer is one, with fedmkt_guest::trainer! in src/main.rs",
                manifest.display(),
                programs.len()
            );
        };
        let text = |value: &Value| value.as_str().context("cargo metadata lacks a field").map(str::to_string);
        let root = PathBuf::from(text(&metadata["workspace_root"])?);
        let is_local = |package: &&Value| package["source"].is_null();
        let place = |package: &Value| {
            let manifest = PathBuf::from(text(&package["manifest_path"])?);
            Ok((text(&package["name"])?, manifest.parent().context("a manifest is in a folder")?.to_owned()))
        };
        let local: anyhow::Result<Vec<_>> = packages.iter().filter(is_local).map(place).collect();
        let elsewhere = local?.into_iter().filter(|(_, folder)| !folder.starts_with(&root)).collect();
        Ok(Self { program: text(&program["name"])?, root, elsewhere, manifest })
    }
}

impl Package {
    /// What keeps others from getting the same bytes.
    fn notes(&self) -> Vec<String> {
        let note = |(name, folder): &(String, PathBuf)| {
            format!(
                "{name} comes from {}: the module's bytes depend on that place. Use a version from a registry or \
                 repository before you publish",
                folder.display()
            )
        };
        self.elsewhere.iter().map(note).collect()
    }
}

/// Runs cargo and gives the module's path.
fn compile(compiler: &Compiler, package: &Package) -> anyhow::Result<PathBuf> {
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(env::home_dir()?.join(".cargo"))).context("there is no CARGO_HOME")?;
    let mut flags = vec![
        "-Ctarget-feature=+simd128".to_string(),
        remap(&package.root, "/trainer"),
        remap(&cargo_home, "/cargo"),
        remap(&compiler.sysroot.join("lib/rustlib/src/rust"), &format!("/rustc/{}", compiler.commit)),
    ];
    flags.extend(package.elsewhere.iter().map(|(name, folder)| remap(folder, &format!("/{name}"))));
    let mut command = cargo();
    // From there, so that cargo reads the configuration that belongs to the crate.
    command.current_dir(&package.root);
    command.args(["build", "--profile=trainer", "--target", TARGET, "--bin", &package.program]);
    command.arg("--manifest-path").arg(&package.manifest).arg("--message-format=json-render-diagnostics");
    command.args(PROFILE.map(|setting| format!("--config={setting}")));
    command.arg(format!("--config=target.{TARGET}.rustflags={}", toml::Value::from(flags)));
    // These would replace the flags above.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    let output = command.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("{} does not build", package.manifest.display());
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let module = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|message| {
        let program = message["reason"] == "compiler-artifact" && message["target"]["name"] == package.program.as_str();
        message["executable"].as_str().filter(|path| program && path.ends_with(".wasm")).map(PathBuf::from)
    });
    module.context("cargo built no module")
}
