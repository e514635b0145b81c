//! The image of the replayer. On any other target than the bare machine this is an empty shell, so that the workspace
//! builds everywhere.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod hardware;

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    eprintln!("This program runs on a bare riscv64 machine only; `cargo xtask machine` builds it.");
    std::process::ExitCode::FAILURE
}
