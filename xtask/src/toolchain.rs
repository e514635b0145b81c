//! A compiler for the targets that are not this machine.
//!
//! Three ways, tried in this order:
//!
//! 1. The compiler that cargo would use has the target's standard library already.
//! 2. `rustup target add`.
//! 3. Debian's `rustc-web`, which is kept current on stable releases. It has no standard library for these targets, but its sources: they are
//!    built once into a private sysroot below `target/toolchain`.
//!
//! `FEDMKT_TOOLCHAIN=debian` goes straight to the third.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{self, cargo, command, on_path, output, run};
use crate::tools;
use crate::workspace::Workspace;

/// The oldest compiler that builds this workspace; `rust-version` in the root `Cargo.toml`.
const OLDEST: (u32, u32) = (1, 95);

/// What Debian's way needs. `wasi-libc` has the C library and start files of the wasm target.
const DEBIAN: &[&str] = &["rustc-web", "cargo-web", "rust-web-src", "wasi-libc"];

/// A target that modules or the machine's programs are built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Trainers.
    Wasm,
    /// `fedmkt-core` in the machine.
    RiscV,
}

impl Target {
    /// The name that rustc knows.
    pub fn triple(self) -> &'static str {
        match self {
            Self::Wasm => "wasm32-wasip1",
            Self::RiscV => "riscv64gc-unknown-none-elf",
        }
    }

    /// The name under which LLVM's linker links for the target.
    fn linker(self) -> &'static str {
        match self {
            Self::Wasm => "wasm-ld",
            Self::RiscV => "ld.lld",
        }
    }

    /// The crates of the standard library that the target has.
    fn std(self) -> &'static str {
        match self {
            Self::Wasm => "std,panic_abort",
            Self::RiscV => "core,alloc",
        }
    }
}

/// A compiler that has a target's standard library.
#[derive(Debug)]
pub struct Toolchain {
    target: Target,
    /// `None`: the one that cargo uses anyway.
    rustc: Option<PathBuf>,
    /// Flags for rustc that make the result independent of where things lie on this machine.
    flags: Vec<String>,
}

impl Toolchain {
    /// Finds or makes a compiler for the target.
    ///
    /// # Errors
    /// If none of the three ways leads to one; the error tells how far each came.
    pub fn of(workspace: &Workspace, target: Target) -> Result<Self> {
        match std::env::var("FEDMKT_TOOLCHAIN").ok().as_deref() {
            Some("debian") => return Self::debian(workspace, target),
            None | Some("") => {}
            Some(other) => bail!("FEDMKT_TOOLCHAIN may be `debian` or absent, not `{other}`"),
        }
        if has_std(workspace, target) {
            return Self::usual(workspace, target);
        }
        let triple = target.triple();
        println!("   the compiler has no standard library for {triple}");
        let rustup = if on_path("rustup") {
            let mut add = command(workspace, "rustup");
            add.env_remove("RUST_BACKTRACE");
            process::run_within(add.args(["target", "add", triple]), Duration::from_secs(180))
        } else {
            Err(anyhow::anyhow!("there is no rustup"))
        };
        match rustup {
            Ok(()) if has_std(workspace, target) => Self::usual(workspace, target),
            Ok(()) => bail!("rustup has added {triple}, but not for the compiler that cargo uses"),
            Err(why) => {
                println!("   rustup cannot help ({why:#}); trying Debian's compiler");
                Self::debian(workspace, target).with_context(|| format!("no compiler for {triple}"))
            }
        }
    }

    fn usual(workspace: &Workspace, target: Target) -> Result<Self> {
        let about = output(rustc(workspace).arg("-vV"))?;
        let commit = field(&about, "commit-hash").unwrap_or("unknown");
        let sysroot = PathBuf::from(output(rustc(workspace).args(["--print", "sysroot"]))?.trim());
        // Where the sources of std are installed, rustc writes their place here instead of the name they were built under.
        let mut flags = remapped(workspace);
        flags.push(remap(&sysroot.join("lib/rustlib/src/rust"), &format!("/rustc/{commit}")));
        Ok(Self { target, rustc: None, flags })
    }

    fn debian(workspace: &Workspace, target: Target) -> Result<Self> {
        tools::apt(workspace, DEBIAN)?;
        let about = output(command(workspace, "/usr/bin/rustc").arg("-vV"))?;
        let release = field(&about, "release").context("/usr/bin/rustc does not tell its release")?;
        let host = field(&about, "host").context("/usr/bin/rustc does not tell its host")?;
        let mut parts = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        if (parts.next(), parts.next()) < (Some(OLDEST.0), Some(OLDEST.1)) {
            bail!("Debian's compiler is {release}, this workspace needs {}.{}", OLDEST.0, OLDEST.1);
        }
        let sysroot = workspace.target().join("toolchain").join(release);
        let source = Path::new("/usr/lib/rustlib/src/rust");
        let real_source = source.canonicalize().context("rust-web-src has no sources of the standard library")?;
        let mut flags = remapped(workspace);
        flags.extend([remap(source, "/rustc"), remap(&real_source, "/rustc")]);
        build_std(workspace, &sysroot, host, target, &flags)?;
        write_wrapper(workspace, &sysroot)?;
        Ok(Self { target, rustc: Some(sysroot.join("bin/rustc")), flags })
    }

    /// `cargo SUBCOMMAND --target ...` with this compiler.
    pub fn cargo(&self, workspace: &Workspace, subcommand: &str) -> Command {
        let mut cargo = cargo(workspace);
        // These would replace the flags below instead of adding to them.
        cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        cargo.args([subcommand, "--target", self.target.triple()]);
        let quoted: Vec<String> =
            self.flags.iter().map(|flag| serde_json::Value::from(flag.as_str()).to_string()).collect();
        cargo.arg(format!("--config=target.{}.rustflags=[{}]", self.target.triple(), quoted.join(",")));
        if let Some(rustc) = &self.rustc {
            cargo.env("RUSTC", rustc);
        }
        cargo
    }

    /// The compiler's version.
    ///
    /// # Errors
    /// If it does not tell.
    pub fn compiler(&self, workspace: &Workspace) -> Result<String> {
        let mut rustc = self.rustc.as_ref().map_or_else(|| rustc(workspace), |rustc| command(workspace, rustc));
        Ok(output(rustc.arg("--version"))?.trim().to_owned())
    }

    /// Lets a command of cargo for this machine use the same compiler, and with it all that it starts: tests build modules.
    pub fn use_for<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some(rustc) = &self.rustc {
            command.env("RUSTC", rustc).env("RUSTDOC", rustc.with_file_name("rustdoc"));
        }
        command
    }

    /// In words for a person: what to type to build for the target.
    pub fn by_hand(&self) -> String {
        let rustc = self.rustc.as_ref().map(|rustc| format!("RUSTC='{}' ", rustc.display())).unwrap_or_default();
        format!("  {rustc}cargo build --profile trainer --target {} -p NAME", self.target.triple())
    }
}

/// The compiler that cargo uses.
fn rustc(workspace: &Workspace) -> Command {
    command(workspace, std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// Whether the compiler that cargo uses has the target's standard library.
fn has_std(workspace: &Workspace, target: Target) -> bool {
    let Ok(folder) = output(rustc(workspace).args(["--print", "target-libdir", "--target", target.triple()])) else {
        return false;
    };
    std::fs::read_dir(folder.trim()).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("libcore-") && name.ends_with(".rlib")
        })
    })
}

/// A field of what `rustc -vV` prints.
fn field<'a>(about: &'a str, name: &str) -> Option<&'a str> {
    about.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn remap(from: &Path, to: &str) -> String {
    format!("--remap-path-prefix={}={to}", from.display())
}

/// Modules name source files in their panic messages: the same names wherever the project and cargo's home lie.
fn remapped(workspace: &Workspace) -> Vec<String> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
        .unwrap_or_default();
    vec![remap(workspace.root(), "/fedmkt"), remap(&home, "/cargo")]
}

/// A linker for the target: the one that rustup's compilers bring along, else one of Debian's.
fn linker(workspace: &Workspace, target: Target) -> Result<PathBuf> {
    // rustup's own compiler, even where RUSTC says another.
    for rustc in ["rustc", "/usr/bin/rustc"] {
        let Ok(libraries) = output(command(workspace, rustc).args(["--print", "target-libdir"])) else { continue };
        let bundled = Path::new(libraries.trim()).with_file_name("bin").join("rust-lld");
        if bundled.is_file() {
            return Ok(bundled);
        }
    }
    let name = target.linker();
    // Newest first: a linker may refuse objects of a compiler that is newer than itself.
    for version in (19..=30).rev() {
        let program = PathBuf::from(format!("/usr/bin/{name}-{version}"));
        if program.is_file() {
            return Ok(program);
        }
    }
    tools::apt(workspace, &["lld-22"]).or_else(|_| tools::apt(workspace, &["lld-19"]))?;
    let found = [22, 19].map(|version| PathBuf::from(format!("/usr/bin/{name}-{version}")));
    found.into_iter().find(|program| program.is_file()).with_context(|| format!("Debian's lld has no {name}"))
}

/// Writes the sysroot's `bin/rustc`: Debian's compiler with what it lacks, so that `RUSTC` is all that a build has to be told. And a
/// `bin/rustdoc` that belongs to it.
fn write_wrapper(workspace: &Workspace, sysroot: &Path) -> Result<()> {
    let rustdoc = "#!/bin/sh\nexec /usr/bin/rustdoc --sysroot \"$(dirname \"$(dirname \"$0\")\")\" \"$@\"\n";
    let script = format!(
        r#"#!/bin/sh
# Debian's compiler with the standard libraries that are built here.
sysroot=$(dirname "$(dirname "$0")")
case " $* " in
*" {wasm} "*)
    # The start file and the C library are wasi-libc's.
    own=$sysroot/lib/rustlib/{wasm}/lib/self-contained
    set -- "$@" -Clinker="$sysroot/bin/wasm-ld" -Clink-self-contained=no -Clink-arg="$own/crt1-command.o" -Lnative="$own"
    ;;
*" {riscv} "*)
    set -- "$@" -Clinker="$sysroot/bin/ld.lld"
    ;;
esac
exec /usr/bin/rustc --sysroot "$sysroot" "$@"
"#,
        wasm = Target::Wasm.triple(),
        riscv = Target::RiscV.triple(),
    );
    std::fs::create_dir_all(sysroot.join("bin"))?;
    // LLVM's linker is one program that goes by its name.
    for target in [Target::Wasm, Target::RiscV] {
        let link = sysroot.join("bin").join(target.linker());
        if !link.exists() {
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(linker(workspace, target)?, link)?;
        }
    }
    for (name, script) in [("rustc", script.as_str()), ("rustdoc", rustdoc)] {
        let file = sysroot.join("bin").join(name);
        // A file that is touched is a new compiler to cargo.
        if !std::fs::read_to_string(&file).is_ok_and(|there| there == script) {
            std::fs::write(&file, script)?;
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        }
    }
    Ok(())
}

/// Builds the target's standard library into the sysroot, unless it is there. About a minute.
fn build_std(workspace: &Workspace, sysroot: &Path, host: &str, target: Target, flags: &[String]) -> Result<()> {
    let triple = target.triple();
    let rustlib = sysroot.join("lib/rustlib");
    let library = rustlib.join(triple).join("lib");
    let complete = rustlib.join(triple).join("complete");
    if complete.is_file() {
        return Ok(());
    }
    println!("   building the standard library for {triple} into {}", sysroot.display());
    let _ = std::fs::remove_dir_all(rustlib.join(triple));
    // Cargo does not notice that a sysroot has changed.
    let _ = std::fs::remove_dir_all(workspace.target().join(triple));
    std::fs::create_dir_all(&library)?;
    let host_std = rustlib.join(host);
    if !host_std.exists() {
        // For build scripts and procedural macros.
        std::os::unix::fs::symlink(Path::new("/usr/lib/rustlib").join(host), &host_std)?;
    }
    if target == Target::Wasm {
        let own = library.join("self-contained");
        std::fs::create_dir_all(&own)?;
        for name in ["crt1-command.o", "crt1-reactor.o", "libc.a"] {
            std::fs::copy(Path::new("/usr/lib/wasm32-wasi").join(name), own.join(name))
                .with_context(|| format!("wasi-libc has no {name}"))?;
        }
    }

    // An empty crate whose build leaves the standard library's crates behind.
    let scratch = sysroot.join("scratch").join(triple);
    let _ = std::fs::remove_dir_all(&scratch);
    std::fs::create_dir_all(scratch.join("src"))?;
    std::fs::write(
        scratch.join("Cargo.toml"),
        "[package]\nname = \"nothing\"\nedition = \"2024\"\n[workspace]\n[profile.release]\nopt-level = 3\npanic = \"abort\"\n",
    )?;
    std::fs::write(scratch.join("src/lib.rs"), "#![no_std]\n")?;
    let mut all = vec!["-Cembed-bitcode=yes".to_owned()];
    if target == Target::Wasm {
        all.push("-Lnative=/usr/lib/wasm32-wasi".into());
    }
    all.extend_from_slice(flags);
    let mut build = command(workspace, "/usr/bin/cargo");
    build.current_dir(&scratch).env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
    build.env("CARGO_ENCODED_RUSTFLAGS", all.join("\u{1f}")).env("CARGO_TARGET_DIR", scratch.join("target"));
    build.args(["build", "--quiet", "--release", "--target", triple]).arg(format!("-Zbuild-std={}", target.std()));
    run(&mut build)?;
    for entry in std::fs::read_dir(scratch.join("target").join(triple).join("release/deps"))?.flatten() {
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if text.ends_with(".rlib") && !text.starts_with("libnothing-") {
            std::fs::copy(entry.path(), library.join(&name))?;
        }
    }
    std::fs::remove_dir_all(sysroot.join("scratch"))?;
    std::fs::write(&complete, "")?;
    Ok(())
}
