//! `cargo xtask machine`: the replayer's image, and what a release pins of it.
//!
//! An image is the same wherever it is built, as long as compiler and sources are the same: paths are remapped, and crates
//! are told apart by their place within the workspace.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::process::{cargo, output, run};
use crate::toolchain::{Target, Toolchain};
use crate::workspace::Workspace;

/// Where RAM begins in the machine.
const RAM_START: u64 = 0x8000_0000;

/// The most bytes of an image.
const MOST_BYTES: usize = 2 << 20;

/// Without this feature wasmi reads every operand that is not known to be aligned byte by byte. Accesses that are misaligned
/// indeed are rare there, and the replayer has a handler for them. Everywhere else the compiler would make misaligned
/// accesses where it moves enums, and each costs 200 instructions: most of the time before the first guest instruction.
const FEATURE: &str = "-Ctarget-feature=+unaligned-scalar-mem";

/// The crates that are compiled with [`FEATURE`].
const FAST_CRATES: [&str; 3] = ["wasmi", "wasmi_core", "wasmi_ir"];

/// Set where this program is called by cargo in place of the compiler.
const WRAPPED: &str = "FEDMKT_XTASK_COMPILES";

/// Whether this program is called by cargo in place of the compiler.
pub fn is_wrapper() -> bool {
    std::env::var_os(WRAPPED).is_some()
}

/// Calls the compiler with the arguments that cargo gave, and [`FEATURE`] where it is wanted. Cargo has no flags by crate.
///
/// # Errors
/// When the compiler cannot be started.
pub fn compile(arguments: &[&str]) -> Result<bool> {
    let [compiler, rest @ ..] = arguments else { bail!("cargo named no compiler") };
    let mut command = std::process::Command::new(compiler);
    let name = rest.iter().skip_while(|argument| **argument != "--crate-name").nth(1);
    let for_image = rest.windows(2).any(|pair| pair == ["--target", Target::RiscV.triple()]);
    if for_image && name.is_some_and(|name| FAST_CRATES.contains(name)) {
        command.arg(FEATURE);
    }
    Ok(command.args(rest).status().with_context(|| format!("starting {compiler}"))?.success())
}

/// A copy of this program for cargo to call in place of the compiler: the program itself may be replaced while it runs, when
/// a part of the tests builds all programs.
fn wrapper(workspace: &Workspace) -> Result<PathBuf> {
    let path = workspace.target().join("machine/rustc-wrapper");
    let copy = path.with_extension(std::process::id().to_string());
    std::fs::create_dir_all(path.with_file_name(""))?;
    std::fs::copy("/proc/self/exe", &copy).context("copying this program")?;
    std::fs::rename(&copy, &path).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// An image that was built.
pub struct Image {
    path: PathBuf,
    sha256: String,
    bytes: usize,
    compiler: String,
}

impl Image {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What a release pins.
const RELEASES: &str = "verifier/releases";

/// Builds the image into `target/machine`.
///
/// # Errors
/// When there is no compiler, it does not build, or the image is too large.
pub fn build(workspace: &Workspace) -> Result<Image> {
    let toolchain = Toolchain::of(workspace, Target::RiscV)?;
    let mut build = toolchain.cargo(workspace, "build");
    build.args([
        "--locked",
        "--quiet",
        "--profile",
        "machine",
        "--package",
        "fedmkt-machine",
        "--bin",
        "fedmkt-replayer",
    ]);
    build.args(["--features", "tail-calls"]).env("RUSTC_BOOTSTRAP", "wasmi");
    run(build.env("RUSTC_WRAPPER", wrapper(workspace)?).env(WRAPPED, "1"))?;
    let program = workspace.target().join(Target::RiscV.triple()).join("machine/fedmkt-replayer");
    let elf = std::fs::read(&program).with_context(|| format!("{} was not made", program.display()))?;
    let image = flat(&elf).with_context(|| format!("{} is not what the linker script makes", program.display()))?;
    ensure!(image.len() <= MOST_BYTES, "the image has {} bytes, at most {MOST_BYTES} are wanted", image.len());
    let path = workspace.target().join("machine/fedmkt-replayer.bin");
    std::fs::create_dir_all(path.with_file_name(""))?;
    std::fs::write(&path, &image)?;
    let sha256 = Sha256::digest(&image).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Image { path, sha256, bytes: image.len(), compiler: toolchain.compiler(workspace)? })
}

/// What an ELF file for a 64-bit little-endian machine loads, from the beginning of RAM on.
fn flat(elf: &[u8]) -> Option<Vec<u8>> {
    let number = |at: usize, bytes: usize| {
        let field = elf.get(at..at.checked_add(bytes)?)?;
        Some(field.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte)))
    };
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, entry_bytes, entries) = (number(32, 8)? as usize, number(54, 2)? as usize, number(56, 2)? as usize);
    let mut image = Vec::new();
    for index in 0..entries {
        const LOAD: u64 = 1;
        let header = table + index * entry_bytes;
        let (offset, address, bytes) = (number(header + 8, 8)?, number(header + 24, 8)?, number(header + 32, 8)?);
        if number(header, 4)? != LOAD || bytes == 0 {
            continue;
        }
        let start = usize::try_from(address.checked_sub(RAM_START)?).ok()?;
        let content = elf.get(offset as usize..(offset + bytes) as usize)?;
        let end = start + content.len();
        image.resize(image.len().max(end), 0);
        image[start..end].copy_from_slice(content);
    }
    (!image.is_empty()).then_some(image)
}

/// `cargo xtask machine`, with `--check` or `--pin NAME`.
///
/// # Errors
/// When the image cannot be built, is not the pinned one, or cannot be pinned.
pub fn run_machine(workspace: &Workspace, arguments: &[&str]) -> Result<()> {
    let image = build(workspace)?;
    println!("   {}: {} bytes", image.path.display(), image.bytes);
    println!("   sha256 {}", image.sha256);
    println!("   by {}", image.compiler);
    match arguments {
        [] => Ok(()),
        ["--check"] => check(workspace, &image),
        ["--pin", name] => pin(workspace, &image, name),
        _ => bail!("`machine` takes nothing, `--check`, or `--pin NAME`"),
    }
}

/// Compares the image with the latest release's.
fn check(workspace: &Workspace, image: &Image) -> Result<()> {
    let Some(file) = workspace.files(RELEASES, "toml").pop() else {
        println!("   no release pins an image yet");
        return Ok(());
    };
    let text = std::fs::read_to_string(&file)?;
    let release: toml::Table = text.parse().with_context(|| format!("{} is no TOML", file.display()))?;
    let pinned = |field: &str| release.get(field).and_then(toml::Value::as_str).unwrap_or("nothing");
    if pinned("sha256") == image.sha256 {
        println!("   this is the image of release {}", pinned("release"));
        return Ok(());
    }
    bail!(
        "release {} pins the image {}, built by {}; this one was built by {}, from sources that may have changed since",
        pinned("release"),
        pinned("sha256"),
        pinned("compiler"),
        image.compiler
    )
}

/// Writes a release: the image's hash, and the templates, which take the emulator to compute.
fn pin(workspace: &Workspace, image: &Image, name: &str) -> Result<()> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-.".contains(letter);
    ensure!(!name.is_empty() && name.chars().all(plain), "{name:?}: letters, digits, `-` and `.` only");
    let file = workspace.root().join(RELEASES).join(format!("{name}.toml"));
    ensure!(!file.exists(), "{} is there already, and releases do not change", file.display());
    let mut verify = cargo(workspace);
    verify.args(["run", "--locked", "--quiet", "--package", "fedmkt-verifier", "--bin", "fedmkt-verify", "--"]);
    let templates = output(verify.arg("template").arg("--image").arg(&image.path))?;
    std::fs::create_dir_all(file.parent().unwrap_or(Path::new("")))?;
    std::fs::write(
        &file,
        format!(
            "release = {name:?}\nsha256 = {:?}\nbytes = {}\ncompiler = {:?}\n\n{templates}",
            image.sha256, image.bytes, image.compiler
        ),
    )?;
    println!("   {} is written", file.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_elf_file_is_laid_out_as_it_would_be_loaded() {
        let mut elf = vec![0; 64 + 2 * 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 2;
        for (index, (offset, address, bytes)) in [(176u64, RAM_START + 8, 3u64), (179, RAM_START, 2)].iter().enumerate()
        {
            let header = 64 + index * 56;
            elf[header] = 1;
            elf[header + 8..][..8].copy_from_slice(&offset.to_le_bytes());
            elf[header + 24..][..8].copy_from_slice(&address.to_le_bytes());
            elf[header + 32..][..8].copy_from_slice(&bytes.to_le_bytes());
        }
        elf.extend_from_slice(b"abcde");
        assert_eq!(flat(&elf).as_deref(), Some(&b"de\0\0\0\0\0\0abc"[..]));
        elf.pop();
        assert_eq!(flat(&elf), None, "a segment is cut short");
        assert_eq!(flat(b"not an ELF file"), None);
    }
}
