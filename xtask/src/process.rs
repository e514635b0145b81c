//! Starting other programs: what is run is printed, and a failure says which command it was.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// A command in the workspace's root, without what `cargo run` put into the environment for xtask itself: build scripts would see it
/// change and build again.
pub fn command(workspace: &Workspace, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace.root());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "CARGO_BIN_NAME" {
            command.env_remove(&name);
        }
    }
    if let Some(list) = std::env::var_os("LD_LIBRARY_PATH") {
        let foreign = |path: &Path| !path.starts_with(workspace.target()) && !path.join("rustlib").is_dir();
        let kept = std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty() && foreign(path));
        match std::env::join_paths(kept) {
            Ok(kept) if !kept.is_empty() => command.env("LD_LIBRARY_PATH", kept),
            _ => command.env_remove("LD_LIBRARY_PATH"),
        };
    }
    command
}

/// The cargo that started xtask.
pub fn cargo(workspace: &Workspace) -> Command {
    command(workspace, std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// How a command would be typed in the workspace's root, with what was added to its environment. Flags about paths are left out.
pub fn typed(command: &Command) -> String {
    let root = command.get_current_dir().map(|root| format!("{}/", root.display())).unwrap_or_default();
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value.filter(|_| name != "LD_LIBRARY_PATH" && name != "CARGO_ENCODED_RUSTFLAGS") {
            words.push(format!("{}={}", name.to_string_lossy(), quoted(value, &root)));
        }
    }
    let program = Path::new(command.get_program());
    let by_name = program.file_name().is_some_and(|name| name == "cargo");
    words.push(if by_name { "cargo".into() } else { quoted(program.as_os_str(), &root) });
    let of_interest = |word: &&OsStr| !word.to_string_lossy().starts_with("--config=target.");
    words.extend(command.get_args().filter(of_interest).map(|word| quoted(word, &root)));
    words.join(" ")
}

fn quoted(word: &OsStr, root: &str) -> String {
    let text = word.to_string_lossy();
    let text = if root.is_empty() { text.into_owned() } else { text.replace(root, "") };
    let plain = |letter: char| letter.is_alphanumeric() || "-_./=:,+@%".contains(letter);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Prints the command and runs it, its output going to ours.
///
/// # Errors
/// If it cannot be started or does not exit with 0.
pub fn run(command: &mut Command) -> Result<()> {
    println!("   $ {}", typed(command));
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("starting {:?}", command.get_program()))?;
    if !status.success() {
        bail!("`{}` failed ({status})", typed(command));
    }
    Ok(())
}

/// Runs the command and returns what it wrote to standard output; what it wrote to standard error is part of the error.
///
/// # Errors
/// If it cannot be started, does not exit with 0, or wrote something that is not UTF-8.
pub fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("starting {:?}", command.get_program()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({})\n{}", typed(command), output.status, said.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("what `{}` wrote is not UTF-8", typed(command)))
}

/// Like [`run`], but the command is ended after `limit`: for downloads from hosts that may swallow packets.
///
/// # Errors
/// As [`run`], and if the limit passes.
pub fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    println!("   $ {}", typed(command));
    let mut child =
        command.stdin(Stdio::null()).spawn().with_context(|| format!("starting {:?}", command.get_program()))?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                bail!("`{}` failed ({status})", typed(command));
            }
            return Ok(());
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("`{}` was ended after {} s", typed(command), limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether a program of this name is on `PATH`.
pub fn on_path(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|list| std::env::split_paths(&list).any(|folder| folder.join(name).is_file()))
}
